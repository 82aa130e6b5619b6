//! A rate that processes share by way of Redis, in the examples `http_server`, `http_proxy` and `proxy`: over several
//! processes, without Redis, and with one that is slow, silent or refuses.
//!
//! Without redis-server the tests that want one say so and are skipped.

#![cfg(target_os = "linux")]

#[path = "util/http.rs"]
mod http;
#[path = "../util/programs.rs"]
mod programs;
#[path = "util/proxied.rs"]
mod proxied;
#[path = "util/redis_server.rs"]
mod redis_server;
#[allow(dead_code, reason = "a part is used")]
#[path = "../../examples/common/redis/resp.rs"]
mod resp;

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use http::*;
use programs::*;
use redis_server::Redis;
use resp::{Input, Reply, encode};

fn url(address: SocketAddr) -> String {
    format!("redis://{address}")
}

/// A server of `root` whose clients share a rate.
#[track_caller]
fn limited(root: &Root, redis: SocketAddr, arguments: &[&str]) -> Server {
    let url = url(redis);
    let common = ["--shared-limit", &url, "--max-requests", "0"];
    root.serve(&[&common, arguments].concat())
}

/// Some bytes. A call with a deadline is not made again by itself if it is interrupted.
fn read(stream: &mut TcpStream, bytes: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// Asks Redis by a connection of its own.
fn ask(redis: SocketAddr, words: &[&str]) -> Reply {
    ask_all(redis, &[words])
}

/// The same for one that wants a password.
fn ask_as(redis: SocketAddr, password: &str, words: &[&str]) -> Reply {
    ask_all(redis, &[&["AUTH", password], words])
}

/// The last reply.
fn ask_all(redis: SocketAddr, all: &[&[&str]]) -> Reply {
    let mut stream = client(redis);
    let mut input = Input::new(1 << 20);
    let questions: Vec<_> = all.iter().map(|words| encode(words)).collect();
    stream.write_all(&questions.concat()).expect("it is there");
    let mut left = all.len();
    loop {
        while let Some(reply) = input.next().expect("RESP") {
            left -= 1;
            if left == 0 {
                return reply;
            }
        }
        let mut bytes = [0; 4096];
        let count = read(&mut stream, &mut bytes).expect("an answer");
        assert!(count > 0, "it has hung up");
        input.extend(&bytes[..count]);
    }
}

/// One more request of a client.
#[track_caller]
fn get(client: &mut TcpStream, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    client.write_all(request.as_bytes()).expect("it stays");
    answer(client)
}

/// What the server says of its limit in the end.
struct Decisions(String);

impl Decisions {
    #[track_caller]
    fn of(server: Server) -> Decisions {
        server.process.signal("-INT");
        let ended = server.end();
        assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
        let mut lines = ended.stdout.into_iter();
        let line = lines.find(|line| line.starts_with("rate limit: "));
        Decisions(line.expect("a line about it"))
    }

    #[track_caller]
    fn count(&self, name: &str) -> u64 {
        let mut words = self.0.split(' ');
        let value = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        let value = value.unwrap_or_else(|| panic!("no {name} in {}", self.0));
        value.parse().expect("a number")
    }
}

/// When a request was sent, when its answer was there, and whether the client was admitted.
type Take = (Instant, Instant, bool);

/// One client after another of each server for a while.
fn takes(servers: &[SocketAddr], span: Duration) -> Vec<Take> {
    let began = Instant::now();
    let clients = servers.iter().flat_map(|server| [*server, *server]);
    let clients = clients.map(|server| {
        thread::spawn(move || {
            let mut client = client(server);
            let mut takes = Vec::new();
            while began.elapsed() < span {
                let sent = Instant::now();
                let answer = get(&mut client, "/small.txt");
                let is_admitted = match answer.status() {
                    200 => true,
                    429 => {
                        let after = answer.field("Retry-After").expect("when to come back");
                        assert_eq!(after, "1", "a token comes back in less");
                        false
                    }
                    other => panic!("{other}"),
                };
                takes.push((sent, Instant::now(), is_admitted));
            }
            takes
        })
    });
    let clients: Vec<_> = clients.collect();
    let takes = clients.into_iter();
    takes
        .flat_map(|client| client.join().expect("no panic"))
        .collect()
}

/// In every span that begins with an admitted request and ends with the answer to one.
#[track_caller]
fn no_more_than(all: &[Take], rate: f64, burst: f64) -> usize {
    let mut admitted: Vec<_> = all.iter().filter(|take| take.2).collect();
    admitted.sort_by_key(|take| take.0);
    for first in 0..admitted.len() {
        let mut end = admitted[first].1;
        for (count, take) in (1_u32..).zip(&admitted[first..]) {
            end = end.max(take.1);
            let span = end.duration_since(admitted[first].0).as_secs_f64();
            let most = burst + rate * span;
            assert!(
                f64::from(count) <= most + 0.001,
                "{count} in {span} s: at most {most}"
            );
        }
    }
    admitted.len()
}

#[test]
fn two_processes_together_admit_what_one_would() {
    let Some(redis) = Redis::start("shared-two") else {
        return;
    };
    let root = Root::new();
    let arguments = [
        "--rate",
        "100",
        "--burst",
        "20",
        "--shared-by",
        "2",
        "--shared-wait",
        "30",
    ];
    let mut servers = [0; 2].map(|_| limited(&root, redis.address(), &arguments));
    for server in &mut servers {
        server.stderr_says("shared by way of redis");
    }
    let addresses = [servers[0].address, servers[1].address];
    let all = takes(&addresses, Duration::from_millis(1500));
    let admitted = no_more_than(&all, 100.0, 20.0);
    let decisions = servers.map(Decisions::of);
    let sum = |name| decisions.iter().map(|one| one.count(name)).sum::<u64>();
    assert_eq!(sum("shared"), admitted as u64);
    assert_eq!(
        sum("refused") + sum("remembered"),
        (all.len() - admitted) as u64
    );
    assert_eq!(sum("own") + sum("own_refused") + sum("outages"), 0);
    assert!(admitted >= 20, "the burst at least");
}

/// Requests of one client, one after the other, until it is dropped; their number, and of those that were admitted.
struct Background {
    is_over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<Vec<Take>>>,
}

impl Background {
    fn to(server: SocketAddr) -> Background {
        let is_over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let mut all = Vec::new();
            while !until.load(Ordering::Relaxed) {
                all.extend(takes(&[server], Duration::from_millis(20)));
            }
            all
        });
        let thread = Some(thread);
        Background { is_over, thread }
    }

    fn end(mut self) -> Vec<Take> {
        self.is_over.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("it ends once");
        thread.join().expect("each has an answer")
    }
}

#[test]
fn without_redis_each_process_gives_its_part_and_with_it_the_rate_is_shared_again() {
    let Some(mut redis) = Redis::start("shared-away") else {
        return;
    };
    let root = Root::new();
    let common = ["--rate", "200", "--burst", "20", "--shared-by", "2"];
    let arguments = [&common[..], &["--shared-wait", "2"]].concat();
    let mut server = limited(&root, redis.address(), &arguments);
    server.stderr_says("shared by way of redis");
    assert_eq!(get(&mut server.client(), "/small.txt").status(), 200);
    redis.end();
    let clients = Background::to(server.address);
    server.stderr_says("does not answer");
    clients.end();
    let clients = Background::to(server.address);
    let away = takes(&[server.address], Duration::from_millis(500));
    let others = clients.end();
    no_more_than(&[away, others].concat(), 100.0, 10.0);

    redis.run();
    let clients = Background::to(server.address);
    server.stderr_says("answers again");
    clients.end();
    assert_eq!(get(&mut server.client(), "/missing").status() / 100, 4);
    let Reply::Bulk(asked) = ask(redis.address(), &["INFO", "commandstats"]) else {
        panic!("no text");
    };
    let asked = String::from_utf8(asked).unwrap();
    assert!(asked.contains("cmdstat_evalsha:"), "{asked}");
    let decisions = Decisions::of(server);
    assert!(decisions.count("own") > 0 && decisions.count("own_refused") > 0);
    assert_eq!(decisions.count("outages"), 1, "{}", decisions.0);
}

#[test]
fn a_redis_that_forgets_the_script_is_told_it_again() {
    let Some(redis) = Redis::start("shared-flush") else {
        return;
    };
    let root = Root::new();
    let arguments = ["--rate", "1000", "--shared-wait", "30"];
    let mut server = limited(&root, redis.address(), &arguments);
    server.stderr_says("shared by way of redis");
    let mut client = server.client();
    for _ in 0..3 {
        ask(redis.address(), &["SCRIPT", "FLUSH"]);
        assert_eq!(get(&mut client, "/small.txt").status(), 200);
        assert_eq!(get(&mut client, "/small.txt").status(), 200);
    }
    assert_eq!(Decisions::of(server).count("shared"), 6);
}

#[test]
fn a_redis_that_refuses_is_as_good_as_none_and_its_reason_is_told() {
    let Some(redis) = Redis::start("shared-refuses") else {
        return;
    };
    let root = Root::new();
    let arguments = ["--rate", "1000", "--shared-wait", "30"];
    let mut server = limited(&root, redis.address(), &arguments);
    server.stderr_says("shared by way of redis");
    ask(redis.address(), &["CONFIG", "SET", "maxmemory", "1"]);
    let mut client = server.client();
    for _ in 0..10 {
        assert_eq!(get(&mut client, "/small.txt").status(), 200);
    }
    server.stderr_says("OOM");
    assert!(Decisions::of(server).count("own") >= 3);
}

/// A Redis that greets, and says nothing else before it is told to.
struct Silent {
    address: SocketAddr,
    /// A word for each question that is not answered.
    asked: Receiver<()>,
    open: Arc<Mutex<Option<Vec<TcpStream>>>>,
}

impl Silent {
    fn start(greets: bool) -> Silent {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, asked) = channel();
        let open = Arc::new(Mutex::new(Some(Vec::new())));
        let shared = Arc::clone(&open);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // As Redis does. Many small answers would wait for each other's acknowledgement otherwise.
                stream.set_nodelay(true).unwrap();
                let (tell, open) = (tell.clone(), Arc::clone(&shared));
                thread::spawn(move || Silent::converse(stream, greets, &tell, &open));
            }
        });
        Silent {
            address,
            asked,
            open,
        }
    }

    fn converse(
        mut stream: TcpStream,
        greets: bool,
        tell: &Sender<()>,
        open: &Mutex<Option<Vec<TcpStream>>>,
    ) {
        let mut input = Input::new(1 << 20);
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = read(&mut stream, &mut bytes) {
            input.extend(&bytes[..count]);
            while let Some(Reply::Array(words)) = input.next().expect("RESP") {
                if !greets {
                    continue;
                }
                if words == [Reply::Bulk(b"PING".to_vec())] {
                    let _ = stream.write_all(b"+PONG\r\n");
                    continue;
                }
                match &mut *open.lock().unwrap() {
                    Some(open) => open.push(stream.try_clone().unwrap()),
                    None => drop(stream.write_all(b":0\r\n")),
                }
                let _ = tell.send(());
            }
        }
    }

    /// Answers all questions, and those to come.
    fn speak(&self) {
        for mut asker in self.open.lock().unwrap().take().into_iter().flatten() {
            let _ = asker.write_all(b":0\r\n");
        }
    }
}

const PATHS: [(&str, u16); 4] = [
    ("/small.txt", 200),
    ("/missing", 404),
    ("/nothing", 200),
    ("/sub", 301),
];

/// Pipelined requests for these, again and again; the answers come in their order.
#[track_caller]
fn pipelined(client: &mut TcpStream, rounds: usize) {
    let mut requests = String::new();
    for (path, _) in PATHS.iter().cycle().take(rounds * PATHS.len()) {
        requests += &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        requests += "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
    }
    client.write_all(requests.as_bytes()).unwrap();
    for (_, status) in PATHS.iter().cycle().take(rounds * PATHS.len()) {
        assert_eq!(answer(client).status(), *status);
        assert_eq!(answer(client).text(), "hello");
    }
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let Some(redis) = Redis::start("shared-pipelined") else {
        return;
    };
    let root = Root::new();
    let arguments = ["--rate", "10000", "--shared-wait", "30"];
    let mut server = limited(&root, redis.address(), &arguments);
    server.stderr_says("shared by way of redis");
    pipelined(&mut server.client(), 10);
    let decisions = Decisions::of(server);
    assert_eq!(decisions.count("shared"), 80, "{}", decisions.0);
}

#[test]
fn refusals_keep_a_connection_unless_a_body_follows() {
    let Some(redis) = Redis::start("shared-refusals") else {
        return;
    };
    let root = Root::new();
    let arguments = ["--rate", "1", "--burst", "2", "--shared-wait", "30"];
    let mut server = limited(&root, redis.address(), &arguments);
    server.stderr_says("shared by way of redis");
    let mut client = server.client();
    let began = Instant::now();
    let statuses: Vec<_> = (0..20)
        .map(|_| get(&mut client, "/small.txt").status())
        .collect();
    assert_eq!(statuses[..2], [200, 200]);
    let admitted = statuses.iter().filter(|&&status| status == 200).count();
    assert!(
        admitted as u64 <= 2 + began.elapsed().as_secs() + 1,
        "{statuses:?}"
    );
    assert!(statuses.contains(&429), "{statuses:?}");
    // A token may come back meanwhile: until one is refused.
    let refused = loop {
        let mut client = server.client();
        let request = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
        client.write_all(request).unwrap();
        let answer = answer(&mut client);
        if answer.status() == 429 {
            assert_eq!(
                rest(&mut client),
                "",
                "closed, and the body is not taken for a request"
            );
            break answer;
        }
    };
    assert_eq!(refused.field("Connection"), Some("close"));
    assert_eq!(refused.field("Retry-After"), Some("1"));
    // A client that has just been refused need not be asked for.
    assert!(Decisions::of(server).count("remembered") > 0);
}

#[test]
fn a_redis_that_accepts_and_says_nothing_delays_few_requests() {
    for greets in [false, true] {
        let silent = Silent::start(greets);
        let root = Root::new();
        let arguments = ["--rate", "10000", "--shared-wait", "0.1"];
        let mut server = limited(&root, silent.address, &arguments);
        server.stderr_says("does not answer: no answer within 100ms");
        let mut client = server.client();
        for _ in 0..100 {
            assert_eq!(get(&mut client, "/small.txt").status(), 200);
        }
        pipelined(&mut client, 5);
        let decisions = Decisions::of(server);
        assert_eq!(decisions.count("own"), 140);
        // With the first question, which nobody waits for, that is three in a row.
        assert!(decisions.count("late") <= 2, "{}", decisions.0);
    }
}

#[test]
fn many_wait_at_a_time_and_the_rest_does_not() {
    let silent = Silent::start(true);
    let root = Root::new();
    let arguments = ["--rate", "100000", "--shared-wait", "30"];
    let server = limited(&root, silent.address, &arguments);
    silent
        .asked
        .recv_timeout(PATIENCE)
        .expect("the first question");
    let mut clients: Vec<_> = (0..1100).map(|_| server.client()).collect();
    for client in &mut clients {
        let request = b"GET /small.txt HTTP/1.1\r\nHost: x\r\n\r\n";
        client.write_all(request).unwrap();
    }
    // 1024 with the first; the others are decided at once, while those wait.
    for _ in 0..1023 {
        silent.asked.recv_timeout(PATIENCE).expect("a question");
    }
    is_well(&server);
    // Half of them leave, and need no answer.
    let leaving = clients.split_off(550);
    drop(leaving);
    is_well(&server);
    silent.speak();
    for client in &mut clients {
        assert_eq!(answer(client).status(), 200);
    }
    is_well(&server);
    let decisions = Decisions::of(server);
    assert_eq!(
        decisions.count("crowded"),
        1100 - 1023 + 2,
        "{}",
        decisions.0
    );
    assert_eq!(decisions.count("own"), decisions.count("crowded"));
    assert_eq!(decisions.count("late"), 0);
}

#[test]
fn without_redis_at_the_start_a_server_says_so_and_serves() {
    let nobody: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let root = Root::new();
    let mut server = limited(&root, nobody, &["--rate", "1000"]);
    server.stderr_says(&format!("redis at {nobody} does not answer"));
    is_well(&server);
    assert_eq!(Decisions::of(server).count("own"), 1);
}

#[test]
fn what_waits_for_redis_is_answered_before_the_server_ends() {
    let silent = Silent::start(true);
    let root = Root::new();
    // Nor does what Redis has not answered keep the server until the end of the drain.
    let arguments = ["--rate", "1000", "--shared-wait", "1000", "--drain", "1000"];
    let server = limited(&root, silent.address, &arguments);
    silent
        .asked
        .recv_timeout(PATIENCE)
        .expect("the first question");
    let mut client = server.client();
    let request = b"GET /small.txt HTTP/1.1\r\nHost: x\r\n\r\n";
    client.write_all(request).unwrap();
    silent.asked.recv_timeout(PATIENCE).expect("its question");
    let decisions = Decisions::of(server);
    assert_eq!(answer(&mut client).status(), 200);
    assert_eq!(decisions.count("own"), 1);
}

#[test]
fn a_wrong_command_line_is_told_at_the_start() {
    let cases: &[(&[&str], i32, &str)] = &[
        (
            &["--rate", "1", "--shared-limit", "127.0.0.1:6379"],
            2,
            "expected redis://HOST:PORT",
        ),
        (
            &["--rate", "1", "--shared-limit", "rediss://x:1"],
            2,
            "TLS is not possible",
        ),
        (
            &["--rate", "1", "--shared-limit", "redis://secret@x:1"],
            2,
            "--shared-limit: before the @ expected USER:PASSWORD",
        ),
        (
            &["--rate", "1", "--shared-limit", "redis://x:1/3"],
            2,
            "without a database",
        ),
        (
            &["--rate", "1", "--shared-limit", "redis://x:99999"],
            2,
            "a port from 1 to 65535",
        ),
        (
            &["--rate", "1", "--shared-limit", "redis://x:0"],
            2,
            "a port from 1 to 65535",
        ),
        (
            &["--rate", "1", "--shared-limit", "redis://:1"],
            2,
            "such as redis://",
        ),
        (
            &["--rate", "1", "--shared-limit", "redis://::1"],
            2,
            "such as redis://",
        ),
        (
            &[
                "--rate",
                "1",
                "--shared-limit",
                "redis://u:secret@no.such.name.invalid:1",
            ],
            1,
            "--shared-limit no.such",
        ),
        (
            &["--rate", "0", "--shared-limit", "redis://127.0.0.1:1"],
            2,
            "Give --rate",
        ),
        (
            &["--rate", "1", "--burst", "0"],
            2,
            "--burst 0: expected a whole number of at least 1",
        ),
        (&["--shared-by", "0"], 2, "--shared-by 0"),
        (&["--shared-wait", "0"], 2, "--shared-wait 0"),
        (&["--rate", "-1"], 2, "--rate -1: expected a whole number"),
    ];
    for program in ["http_server_tested", "http_proxy_tested", "proxy_tested"] {
        for (arguments, code, part) in cases {
            let all = [&["--listen", "127.0.0.1:0"], *arguments].concat();
            let output = run(program, &all);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains(part), "{program} {arguments:?}: {said}");
            assert!(!said.contains("secret"), "{program}: {said}");
            assert_eq!(output.status.code(), Some(*code), "{program} {arguments:?}");
        }
    }
}

#[test]
fn two_http_proxies_share_the_rate_of_a_client() {
    let Some(redis) = Redis::start("shared-proxies") else {
        return;
    };
    let url = url(redis.address());
    let origin = proxied::answering(proxied::OK);
    let arguments = [
        "--rate",
        "1",
        "--burst",
        "4",
        "--shared-limit",
        &url,
        "--shared-wait",
        "30",
    ];
    let mut proxies = [0; 2].map(|_| proxied::proxy_to(&[origin], &arguments));
    for proxy in &mut proxies {
        proxy.stderr_says("shared by way of redis");
    }
    let began = Instant::now();
    let mut admitted = 0;
    for _ in 0..6 {
        for proxy in &proxies {
            let (answer, is_whole) = proxied::exchange(proxy, &proxied::get(origin, "/", ""));
            assert!(is_whole);
            if answer.starts_with("HTTP/1.1 200") {
                admitted += 1;
            } else {
                assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
                assert!(answer.contains("\r\nRetry-After: 1\r\n"), "{answer}");
            }
        }
    }
    assert!(admitted >= 4, "the burst");
    assert!(admitted <= 4 + began.elapsed().as_secs() + 1, "{admitted}");
    // What one has used up the other has not got: pipelined, on one connection of each.
    for proxy in proxies {
        let request = format!("GET http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\n\r\n");
        let mut client = proxy.client();
        client.write_all(request.repeat(5).as_bytes()).unwrap();
        for _ in 0..5 {
            assert!([200, 429].contains(&answer(&mut client).status()));
        }
        assert!(Decisions::of(proxy).count("refused") > 0);
    }
}

#[test]
fn two_proxies_close_connections_of_a_client_beyond_its_rate() {
    let Some(redis) = Redis::start("shared-connections") else {
        return;
    };
    let url = url(redis.address());
    let upstream = proxied::origin(|_, mut stream| {
        let _ = stream.write_all(b"welcome");
        let _ = stream.read(&mut [0]);
    });
    let upstream = upstream.to_string();
    let arguments = ["--upstream", &upstream, "--rate", "1", "--burst", "4"];
    let shared = ["--shared-limit", &url, "--shared-wait", "30"];
    let all = [&arguments[..], &shared].concat();
    let mut proxies = [0; 2].map(|_| Server::start("proxy_tested", &all));
    for proxy in &mut proxies {
        proxy.stderr_says("shared by way of redis");
    }
    let began = Instant::now();
    let mut admitted = Vec::new();
    for _ in 0..5 {
        for proxy in &proxies {
            let mut client = proxy.client();
            let mut word = [0; 7];
            match read(&mut client, &mut word).expect("no reset") {
                0 => {}
                _ => admitted.push(client),
            }
        }
    }
    let most = 4 + began.elapsed().as_secs() + 1;
    assert!(
        (4..=most).contains(&(admitted.len() as u64)),
        "{}",
        admitted.len()
    );
    drop(admitted);
    for mut proxy in proxies {
        proxy.stderr_says("too many connections");
        Decisions::of(proxy);
    }
}

/// With a password in the environment, if any.
#[track_caller]
fn program(name: &str, arguments: &[&str], password: Option<&str>) -> Server {
    let mut command = Command::new(example(name));
    command.args(["--listen", "127.0.0.1:0"]).args(arguments);
    command.envs(password.map(|password| ("REDISCLI_AUTH", password)));
    Server::spawn(command)
}

#[test]
fn each_program_shares_a_rate_by_way_of_a_redis_that_wants_a_password() {
    let Some(redis) = Redis::start_with_password("shared-password", "s:cret@1") else {
        return;
    };
    // One who may do this and no more.
    let user = "ACL SETUSER limits on >secret ~rate:* +ping +eval +evalsha +time +get +set";
    assert!(redis_server::has(
        include_str!("../../docs/shared-rate-limit.md"),
        user
    ));
    redis.is_told("s:cret@1", &[user]);
    let address = redis.address();
    let origin = proxied::answering(proxied::OK).to_string();
    let in_url = format!("redis://:s%3Acret%401@{address}");
    let of_user = format!("redis://limits:secret@{address}");
    let bare = url(address);
    let programs: [(&str, &[&str]); 3] = [
        ("http_server_tested", &[]),
        ("http_proxy_tested", &["--allow", &origin]),
        ("proxy_tested", &["--upstream", &origin]),
    ];
    for (name, arguments) in programs {
        let logins = [(&in_url, None), (&of_user, None), (&bare, Some("s:cret@1"))];
        for (shared_limit, password) in logins {
            let common = ["--rate", "1000", "--shared-wait", "30", "--shared-limit"];
            let all = [&common[..], &[shared_limit], arguments].concat();
            let mut server = program(name, &all, password);
            server.stderr_says(&format!("shared by way of redis at {address}"));
            let mut client = server.client();
            let request = format!("GET http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\n\r\n");
            client.write_all(request.as_bytes()).unwrap();
            answer(&mut client);
            drop(client);
            let decisions = Decisions::of(server);
            assert_eq!(decisions.count("shared"), 1, "{name}: {}", decisions.0);
        }
    }
}

#[test]
fn a_password_that_is_wrong_is_told_and_tried_until_it_is_right() {
    let Some(redis) = Redis::start_with_password("shared-wrong", "first-secret") else {
        return;
    };
    let root = Root::new();
    let address = redis.address();
    let wrong = format!("redis://:second-secret@{address}");
    let path = root.path();
    let arguments = ["--root", &path, "--rate", "1000", "--shared-wait", "30"];
    let arguments = [&arguments[..], &["--shared-limit", &wrong]].concat();
    let mut server = program("http_server_tested", &arguments, Some("another"));
    // Both lines name the server.
    server.stderr_says(&format!(
        "redis at {address}: the server refuses the password"
    ));
    let told = server.stderr_says(&format!("redis at {address} does not answer"));
    assert!(told.contains("WRONGPASS"), "{told}");
    let mut client = server.client();
    assert_eq!(get(&mut client, "/small.txt").status(), 200);
    redis.is_told("first-secret", &["CONFIG SET requirepass second-secret"]);
    // A question that nobody waits for, once a second: where there are requests.
    let is_asked = || match ask_as(address, "second-secret", &["INFO", "commandstats"]) {
        Reply::Bulk(text) => String::from_utf8_lossy(&text).contains("cmdstat_eval:"),
        other => panic!("{other:?}"),
    };
    let deadline = Instant::now() + PATIENCE;
    while !is_asked() {
        assert!(Instant::now() < deadline, "it is not asked again");
        assert_eq!(get(&mut client, "/small.txt").status(), 200);
        thread::sleep(Duration::from_millis(20));
    }
    server.stderr_says("answers again");
    server.process.signal("-INT");
    let ended = server.end();
    let said = [ended.stdout, ended.stderr].concat().join("\n");
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn without_a_shared_limit_each_process_has_its_own() {
    let root = Root::new();
    let server = root.serve(&["--rate", "1", "--burst", "3"]);
    let mut client = server.client();
    let statuses: Vec<_> = (0..5)
        .map(|_| get(&mut client, "/small.txt").status())
        .collect();
    assert_eq!(statuses[..3], [200, 200, 200]);
    assert!(statuses.contains(&429), "{statuses:?}");
    server.stop();
}
