//! The example `redis_client` against a real redis-server that is killed again and again under load. Each request has
//! one outcome, and the server's own count agrees with them.
//!
//! Without redis-server the tests say so and are skipped.

#[path = "../util/programs.rs"]
mod programs;
#[path = "../../examples/common/redis/mod.rs"]
mod redis;
#[path = "util/redis_server.rs"]
mod redis_server;

use std::io;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use programs::{Lines, PATIENCE, Running, example};
use redis::{Client, Connection, Gauges, Login, Outcome, Reply, Settings};
use redis_server::Redis;
use slabloop::{Context, Dispatcher, Id, Reactor, TimerId};

const OPEN: u8 = 0;
const DONE: u8 = 1;
const NOT_SENT: u8 = 2;
const UNKNOWN: u8 = 3;

/// Increments a counter so many times a second, and keeps one byte for each request.
struct Issuer {
    client: Id<Client>,
    rate: u128,
    until: Duration,
    began: Option<Instant>,
    outcomes: Vec<u8>,
    open: usize,
    /// The replies, by the order of the requests; 0 for none.
    counts: Vec<i64>,
    errors: u64,
    /// When a request was done that was made after the one before was not.
    recovered: Vec<Instant>,
    is_out: bool,
    most_waiting: usize,
    /// How often requests were on their way when the timer fired; the largest number when it does so no more.
    looks: Arc<AtomicU32>,
}

impl Issuer {
    fn issue(&mut self, cx: &mut Context<'_>) {
        let number = self.outcomes.len();
        self.outcomes.push(OPEN);
        self.counts.push(0);
        self.open += 1;
        let me = cx.id::<Issuer>();
        let deliver = move |issuer: &mut Issuer, cx: &mut Context<'_>, outcome| {
            issuer.answered(cx, number, &outcome);
            Ok(())
        };
        Client::request(cx, self.client, me, &["INCR", "counter"], deliver);
    }

    fn answered(&mut self, cx: &mut Context<'_>, number: usize, outcome: &Outcome) {
        assert_eq!(
            self.outcomes[number], OPEN,
            "request {number} is answered twice"
        );
        self.open -= 1;
        self.outcomes[number] = match outcome {
            Outcome::Done(Reply::Integer(count)) => {
                self.counts[number] = *count;
                if std::mem::take(&mut self.is_out) {
                    self.recovered.push(cx.now());
                }
                DONE
            }
            Outcome::Done(Reply::Error(_)) => {
                self.errors += 1;
                DONE
            }
            Outcome::Done(other) => panic!("{other:?} for INCR"),
            Outcome::NotSent(_) => NOT_SENT,
            Outcome::Unknown(_) => UNKNOWN,
        };
        self.is_out |= self.outcomes[number] != DONE;
    }

    fn how_many(&self, outcome: u8) -> u64 {
        self.outcomes.iter().filter(|&&of| of == outcome).count() as u64
    }
}

impl Dispatcher for Issuer {
    fn handle_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) -> io::Result<()> {
        let began = *self.began.get_or_insert(cx.now());
        let elapsed = cx.now().saturating_duration_since(began);
        let due = elapsed.min(self.until).as_nanos() * self.rate / 1_000_000_000;
        while (self.outcomes.len() as u128) < due {
            self.issue(cx);
        }
        let gauges = Client::gauges(cx, self.client);
        if elapsed >= self.until {
            cx.cancel_timer(timer);
            self.looks.store(u32::MAX, Ordering::Relaxed);
        } else if gauges.in_flight() > 0 {
            self.looks.fetch_add(1, Ordering::Relaxed);
        }
        self.most_waiting = self.most_waiting.max(gauges.waiting);
        assert!(gauges.in_flight() <= 4 * 64 + 10_000, "{gauges:?}");
        Ok(())
    }
}

/// The largest amount of memory that this process has had, in KiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let digits = line.and_then(|line| line.split_whitespace().next());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn turn_until(reactor: &mut Reactor, what: &str, mut done: impl FnMut(&mut Reactor) -> bool) {
    let deadline = Instant::now() + 2 * PATIENCE;
    while !done(reactor) {
        assert!(Instant::now() < deadline, "waited too long for: {what}");
        reactor.turn(Duration::from_millis(5)).expect("no fault");
    }
}

fn play(redis: Option<Redis>, login: Option<Login>, kills: u32, span: Duration) {
    let Some(redis) = redis else {
        return;
    };
    let mut reactor = Reactor::new().expect("a poller");
    let mut settings = Settings::new(redis.address());
    settings.login = login;
    let for_connections = settings.clone();
    let client = Client::start(&mut reactor, &settings, move |cx, server, seat| {
        cx.connect(*server, seat.hold(Connection::new(&for_connections)))
    });
    let client = client.expect("sensible settings");
    let looks = Arc::<AtomicU32>::default();
    let issuer = Issuer {
        client,
        looks: Arc::clone(&looks),
        rate: 10_000,
        until: span,
        began: None,
        outcomes: Vec::new(),
        open: 0,
        counts: Vec::new(),
        errors: 0,
        recovered: Vec::new(),
        is_out: false,
        most_waiting: 0,
    };
    let issuer = reactor.add_service(issuer).expect("room");
    if let Some(mut cx) = reactor.at(issuer) {
        cx.set_interval(Duration::from_millis(1));
    }
    let (killer, told) = redis.killed_again_and_again(kills, span, looks);
    let all = u128::from(10_000_u32) * span.as_nanos() / 1_000_000_000;
    turn_until(&mut reactor, "all requests to be answered", |reactor| {
        let is_done = |issuer: &mut Issuer, _: &mut Context<'_>| {
            issuer.outcomes.len() as u128 == all && issuer.open == 0
        };
        reactor.with(issuer, is_done).expect("it is there")
    });
    let redis = killer.join().expect("the killer does not panic");
    let memory = peak_memory();

    // The server's count, asked for over the same client. (The last pause may not be over.)
    let value = std::rc::Rc::new(std::cell::Cell::new(None));
    turn_until(&mut reactor, "the count", |reactor| {
        if value.get().is_none() {
            value.set(Some(-1));
            let value = std::rc::Rc::clone(&value);
            let deliver = move |_: &mut Issuer, _: &mut Context<'_>, outcome| {
                value.set(match outcome {
                    Outcome::Done(Reply::Bulk(text)) => std::str::from_utf8(&text)
                        .ok()
                        .and_then(|text| text.parse::<i64>().ok()),
                    _ => None,
                });
                Ok(())
            };
            if let Some(mut cx) = reactor.at(issuer) {
                Client::request(&mut cx, client, issuer, &["GET", "counter"], deliver);
            }
        }
        value.get().is_some_and(|value| value >= 0)
    });
    let value = u64::try_from(value.get().expect("a count")).expect("not negative");
    let gauges = reactor.with(issuer, |issuer, cx| Client::gauges(cx, issuer.client));
    let gauges: Gauges = gauges.expect("it is there");
    reactor.with(issuer, |issuer, _| {
        let [open, done, not_sent, unknown] = [OPEN, DONE, NOT_SENT, UNKNOWN].map(|of| issuer.how_many(of));
        let incremented = done - issuer.errors;
        println!(
            "{kills} kills in {span:?}: issued={} done={done} not_sent={not_sent} unknown={unknown} errors={} \
             counter={value} most_waiting={} memory_kib={memory} {:?}",
            issuer.outcomes.len(), issuer.errors, issuer.most_waiting, gauges.pool,
        );
        for (killed, up) in told.try_iter() {
            let recovered = issuer.recovered.iter().find(|&&at| at >= killed);
            println!(
                "  the server was away for {:?}; the first request was done {:?} after it answered again",
                up - killed,
                recovered.map(|&at| at.saturating_duration_since(up)),
            );
        }
        assert_eq!(open, 0);
        assert_eq!(done + not_sent + unknown, issuer.outcomes.len() as u64, "each has one outcome");
        assert_eq!(gauges.answered.dropped, 0);
        assert_eq!(gauges.answered.undelivered, 0);
        assert_eq!(gauges.issued, gauges.answered.total());
        assert!(
            (incremented..=incremented + unknown).contains(&value),
            "{value} is not in {incremented}..={}",
            incremented + unknown
        );
        // No increment was lost or made twice: each count was told once.
        let mut counts: Vec<_> = issuer.counts.iter().filter(|&&count| count > 0).collect();
        counts.sort_unstable();
        assert!(counts.windows(2).all(|pair| pair[0] < pair[1]), "a count was told twice");
        assert!(done > 0 && unknown > 0, "it was worth it: {done} {unknown}");
        // After the last kill it may be the question for the count that was answered first.
        assert!(issuer.recovered.len() + 1 >= kills as usize, "{} recoveries", issuer.recovered.len());
    });
    assert!(memory < 300 * 1024, "{memory} KiB");
    drop(redis);
}

#[test]
fn every_request_is_accounted_for_when_the_server_is_killed() {
    play(Redis::start("short"), None, 2, Duration::from_secs(2));
}

#[test]
fn every_request_is_accounted_for_when_each_connection_has_to_log_in() {
    let redis = Redis::start_with_password("logins", "secret");
    let login = Login::of_default_user(b"secret".to_vec());
    play(redis, Some(login), 2, Duration::from_secs(2));
}

#[test]
#[ignore = "takes eight seconds"]
fn every_request_is_accounted_for_when_the_server_is_killed_five_times() {
    play(Redis::start("long"), None, 5, Duration::from_secs(8));
}

/// Runs the program to its end, however much it says.
fn run(arguments: &[&str]) -> Output {
    run_with_password(arguments, None)
}

/// The same with a password in the environment.
fn run_with_password(arguments: &[&str], password: Option<&str>) -> Output {
    let mut command = Command::new(example("redis_client_tested"));
    command.args(arguments).env_remove("RUST_LOG");
    command.envs(password.map(|password| ("REDISCLI_AUTH", password)));
    command.stdin(Stdio::null()).output().expect("it starts")
}

/// The numbers behind these names, in a line such as `requests: issued=1 done=1`.
fn numbers<const N: usize>(output: &str, line: &str, names: [&str; N]) -> [u64; N] {
    let line = output
        .lines()
        .find_map(|text| text.strip_prefix(line))
        .expect(line);
    names.map(|name| {
        let word = line
            .split_whitespace()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        word.and_then(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("{name} in {line}"))
    })
}

#[test]
fn the_program_makes_load_survives_a_kill_and_its_sums_are_the_servers() {
    let Some(mut redis) = Redis::start("program") else {
        return;
    };
    let address = redis.address().to_string();
    let mut command = Command::new(example("redis_client_tested"));
    command
        .args(["--connect", &address, "--rate", "5000"])
        .env_remove("RUST_LOG");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().expect("it starts");
    let mut stdout = Lines::of(child.stdout.take().expect("piped"));
    let mut process = Running(child);
    stdout.wait_for("second=1 ");
    redis.kill();
    // The second in which it is there again is not over.
    stdout.skip_those_that_are_there();
    stdout.wait_for("second=");
    while stdout.wait_for("second=").contains(" done=0 ") {}
    // Ctrl-C: what is in flight is waited for.
    process.signal("-INT");
    assert_eq!(process.wait(), Some(0));
    let output = stdout.all().join("\n");
    let names = ["issued", "done", "not_sent", "unknown", "errors"];
    let [issued, done, not_sent, unknown, errors] = numbers(&output, "requests:", names);
    assert_eq!(issued, done + not_sent + unknown, "{output}");
    assert!(done > 0 && errors == 0, "{output}");
    let [done, unknown] = numbers(&output, "increments:", ["done", "unknown"]);
    let arguments = ["--connect", &address, "get", "slabloop:counter"];
    let got = run(&arguments);
    let value: u64 = String::from_utf8_lossy(&got.stdout)
        .trim()
        .parse()
        .expect("a number");
    assert!(
        (done..=done + unknown).contains(&value),
        "{value}: {output}"
    );
}

#[test]
fn the_program_prints_replies_as_redis_cli_does() {
    let Some(redis) = Redis::start("print") else {
        return;
    };
    let port = redis.address().port().to_string();
    let address = redis.address().to_string();
    let commands: [&[&str]; 13] = [
        &["set", "a", "1"],
        &["get", "a"],
        &["get", "b"],
        &["strlen", "a"],
        &["set", "c", "\"quoted\"\r\n\u{1}\\ é"],
        &["get", "c"],
        &["zrange", "z", "0", "-1", "withscores"],
        &["zscore", "z", "x"],
        &["lrange", "nothing", "0", "-1"],
        &["config", "get", "max*"],
        &["command", "docs"],
        &["command", "info", "get", "nosuch"],
        &["eval", "return {1,{2,{'three',{}}},false,{ok='fine'}}", "0"],
    ];
    let filled = ["--connect", &address, "zadd", "z", "1.5", "x", "2", "y"];
    assert_eq!(run(&filled).stdout, b"2\n");
    // Redis moves the entries of its tables of commands on by a step with each look at them, and lists them in
    // another order until all are moved. Once they are, two answers are the same.
    let settled = Command::new("redis-cli")
        .args(["-p", &port, "-r", "64", "command", "docs", "get"])
        .output();
    assert!(settled.expect("there is a redis-cli").status.success());
    for command in commands {
        for version in [&[][..], &["-3"]] {
            let options = [&["--no-raw"], version].concat();
            let theirs = Command::new("redis-cli")
                .args(["-p", &port])
                .args(&options)
                .args(command)
                .output();
            let theirs = theirs.expect("there is a redis-cli");
            let ours = [&["--connect", &address], &options[..], command].concat();
            let ours = run(&ours);
            assert_eq!(
                String::from_utf8_lossy(&ours.stdout).trim_end(),
                String::from_utf8_lossy(&theirs.stdout).trim_end(),
                "{command:?} {version:?}"
            );
        }
    }
    let refused = run(&["--connect", &address, "nosuch"]);
    assert_eq!(refused.status.code(), Some(1));
    drop(redis);
    let away = run(&["--connect", &address, "get", "a"]);
    assert_eq!(away.status.code(), Some(1));
    let said = String::from_utf8_lossy(&away.stderr);
    assert!(said.contains("not sent: "), "{said}");
}

#[test]
fn the_program_logs_in_or_says_why_it_cannot() {
    let Some(redis) = Redis::start_with_password("login", "s:cret@1") else {
        return;
    };
    let user = "ACL SETUSER reader on >secret2 ~* +ping +get";
    redis.is_told("s:cret@1", &[user, "SET a 1"]);
    let address = redis.address().to_string();
    for (login, password) in [
        ("redis://:s%3Acret%401@", None),
        ("redis://default:s:cret@1@", None),
        ("redis://reader:secret2@", Some("another")),
        ("redis://reader@", Some("secret2")),
        ("redis://", Some("s:cret@1")),
        ("", Some("s:cret@1")),
    ] {
        for version in [&[][..], &["-3"]] {
            let server = format!("{login}{address}");
            let got = [version, &["--connect", &server, "get", "a"]].concat();
            let output = run_with_password(&got, password);
            assert_eq!(output.stdout, b"1\n", "{login} {output:?}");
        }
    }
    for (login, password, said) in [
        (
            "redis://:secret@",
            None,
            "refuses the password, or the user: WRONGPASS",
        ),
        (
            "redis://nobody:s:cret@1@",
            None,
            "refuses the password, or the user: WRONGPASS",
        ),
        (
            "redis://reader@",
            Some("s:cret@1"),
            "refuses the password, or the user: WRONGPASS",
        ),
        (
            "",
            None,
            "the server wants a password, and this client was given none",
        ),
    ] {
        let server = format!("{login}{address}");
        let output = run_with_password(&["--connect", &server, "get", "a"], password);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        let last = stderr.lines().last().unwrap_or_default();
        assert!(
            last.starts_with("redis_client_tested: not sent: "),
            "{stderr}"
        );
        assert!(last.contains(&address) && last.contains(said), "{stderr}");
        assert!(!stderr.contains("cret"), "{stderr}");
    }
    let server = format!("redis://reader:secret2@{address}");
    let refused = run(&["--connect", &server, "set", "a", "2"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stdout.starts_with(b"NOPERM"), "{refused:?}");
    let wrong = run(&["--connect", "redis://secret@127.0.0.1", "get", "a"]);
    let stderr = String::from_utf8_lossy(&wrong.stderr);
    assert_eq!(wrong.status.code(), Some(2), "{stderr}");
    assert!(
        stderr.contains("--connect: before the @ expected"),
        "{stderr}"
    );
    assert!(!stderr.contains("secret"), "{stderr}");
}
