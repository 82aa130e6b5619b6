//! The example `chat` with `--backplane`: several processes, one room, over a real redis-server that is killed, loses its
//! data or stops; and over things that are none.
//!
//! Without redis-server the tests say so and are skipped.

#[path = "util/asking.rs"]
mod asking;
#[path = "../util/programs.rs"]
mod programs;
#[path = "../../examples/common/redis/mod.rs"]
mod redis;
#[path = "util/redis_server.rs"]
mod redis_server;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use asking::ask;
use programs::{PATIENCE, Server, client};
use redis::Reply;
use redis_server::Redis;

const AWAY: &str = "* the backplane is away: lines are refused until it is back";
const BACK: &str = "* the backplane is back";

/// One process of the chat. `lease` is in seconds: short where a test waits for its end, and otherwise so long that a
/// busy machine does not end it.
fn chat(broker: SocketAddr, lease: &str) -> Server {
    let broker = format!("redis://{broker}");
    let arguments = ["--backplane", &broker, "--lease", lease];
    Server::start("chat_tested", &arguments)
}

/// Someone at a terminal.
struct Person {
    reader: BufReader<TcpStream>,
}

impl Person {
    fn arrives(server: &Server) -> Person {
        let reader = BufReader::new(client(server.address));
        let mut person = Person { reader };
        person.hears("* welcome; your nickname?");
        person
    }

    /// Arrives, and asks for a nickname until the backplane is there.
    #[track_caller]
    fn enters(server: &Server, nick: &str) -> Person {
        let mut person = Person::arrives(server);
        person.asks_for(nick, &format!("* {nick} joined"));
        person
    }

    /// Asks again and again, until this is the answer.
    #[track_caller]
    fn asks_for(&mut self, nick: &str, answer: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.says(nick);
            let line = self.line();
            if line == answer {
                return;
            }
            let is_refused = line.starts_with("* not now: ") || line.ends_with("another nickname?");
            assert!(is_refused && Instant::now() < deadline, "{line}");
            // What ends the waiting is told to nobody who is not in the room.
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn says(&mut self, line: &str) {
        let line = format!("{line}\n");
        self.reader
            .get_mut()
            .write_all(line.as_bytes())
            .expect("connected");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("a line comes");
        line.trim_end_matches('\n').to_owned()
    }

    #[track_caller]
    fn hears(&mut self, expected: &str) {
        assert_eq!(self.line(), expected);
    }

    /// The first line that begins with one of these.
    #[track_caller]
    fn hears_until_any(&mut self, beginnings: &[&str]) -> String {
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "the end, before any of {beginnings:?}");
            if beginnings
                .iter()
                .any(|beginning| line.starts_with(beginning))
            {
                return line;
            }
        }
    }

    /// All lines up to this one, which is the last of them.
    #[track_caller]
    fn hears_until(&mut self, last: &str) -> Vec<String> {
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line| line != last) {
            let line = self.line();
            assert!(!line.is_empty(), "the end, before {last:?}: {lines:?}");
            lines.push(line);
        }
        lines
    }
}

#[test]
fn members_of_two_processes_are_in_one_room() {
    let Some(redis) = Redis::start("one-room") else {
        return;
    };
    let (here, there) = (chat(redis.address(), "30"), chat(redis.address(), "30"));
    let mut ada = Person::enters(&here, "ada");
    let mut bob = Person::enters(&there, "bob");
    ada.hears("* bob joined");
    ada.says("/who");
    ada.hears("* here: ada, bob");
    bob.says("/who");
    bob.hears("* here: ada, bob");
    // More than fit the window, in one piece: all come, in order, and to their sender, too.
    ada.says(
        &(0..50)
            .map(|number| format!("line {number}"))
            .collect::<Vec<_>>()
            .join("\n"),
    );
    for number in 0..50 {
        let line = format!("ada: line {number}");
        bob.hears(&line);
        ada.hears(&line);
    }
    // What comes behind a new nickname is said by that.
    ada.says("/nick bob");
    ada.hears("* bob is taken; another nickname?");
    ada.says("before\n/nick eve\nafter\n/quit\nnothing");
    for line in [
        "ada: before",
        "* ada is now eve",
        "eve: after",
        "* eve left",
    ] {
        bob.hears(line);
    }
    // Who leaves does not wait for what it has said.
    for line in ["ada: before", "* ada is now eve", "* goodbye", ""] {
        ada.hears(line);
    }
    drop(ada);
    // A long line is refused, and the next one is not.
    bob.says(&format!("{}\nshort", "x".repeat(5000)));
    bob.hears(&format!(
        "* not sent (lines have 4 KiB at most): {}",
        "x".repeat(60)
    ));
    bob.hears("bob: short");
    drop(bob);
    let mut ada = Person::enters(&here, "bob");
    ada.says("/who");
    ada.hears("* here: bob");
    drop(ada);
    here.stop();
    there.stop();
}

#[test]
fn of_two_who_ask_for_a_nickname_at_once_one_gets_it() {
    let Some(redis) = Redis::start("claims") else {
        return;
    };
    let (here, there) = (chat(redis.address(), "30"), chat(redis.address(), "30"));
    let mut witness = Person::enters(&here, "witness");
    drop(Person::enters(&there, "other"));
    witness.hears_until("* other left");
    for round in 0..40 {
        let nick = format!("n{round}");
        let mut two = [Person::arrives(&here), Person::arrives(&there)];
        for person in &mut two {
            person.says(&nick);
        }
        let joined = format!("* {nick} joined");
        let taken = format!("* {nick} is taken; another nickname?");
        let answers = two.each_mut().map(|person| person.line());
        let mut sorted = answers.clone();
        sorted.sort();
        assert_eq!(sorted, [taken, joined.clone()], "{answers:?}");
        drop(two);
        assert_eq!(witness.line(), joined);
        witness.hears(&format!("* {nick} left"));
    }
}

#[test]
fn shutdown_sends_what_was_said_tells_the_leave_and_frees_nicknames() {
    let Some(redis) = Redis::start("shutdown") else {
        return;
    };
    let (here, there) = (chat(redis.address(), "60"), chat(redis.address(), "60"));
    let mut ada = Person::enters(&here, "ada");
    let mut bob = Person::enters(&there, "bob");
    ada.hears("* bob joined");
    ada.says("last words");
    ada.hears("ada: last words");
    here.process.signal("-INT");
    bob.hears("ada: last words");
    bob.hears("* ada left");
    bob.says("/nick ada");
    bob.hears("* bob is now ada");
    let mut rest = String::new();
    ada.reader.read_to_string(&mut rest).expect("the end");
    drop(ada);
    let ended = here.end();
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
}

#[test]
fn at_shutdown_the_sender_of_a_line_without_an_answer_is_told() {
    let Some(redis) = Redis::start("shutdown-stall") else {
        return;
    };
    let broker = format!("redis://{}", redis.address());
    let arguments = ["--backplane", &broker, "--lease", "30", "--drain", "0.5"];
    let here = Server::start("chat_tested", &arguments);
    let mut ada = Person::enters(&here, "ada");
    redis.signal("-STOP");
    // The answer to what is no line comes behind the line.
    ada.says("hello\n/who");
    ada.hears("* here: ada");
    here.process.signal("-INT");
    ada.hears("* perhaps not sent (the server is shutting down): hello");
    ada.hears("");
    drop(ada);
    assert_eq!(here.end().code, Some(0));
}

#[test]
fn members_of_a_process_that_was_killed_leave_when_its_lease_ends() {
    let Some(redis) = Redis::start("lease") else {
        return;
    };
    let (here, there) = (chat(redis.address(), "3"), chat(redis.address(), "3"));
    let _ada = Person::enters(&here, "ada");
    let Reply::Array(leases) = ask(redis.address(), &["KEYS", "{chat}:lease:*"]) else {
        panic!("no leases");
    };
    let mut bob = Person::enters(&there, "bob");
    let mut cyd = Person::arrives(&there);
    // Each lease is renewed: what is left of it becomes more.
    for lease in leases {
        let Reply::Bulk(lease) = lease else {
            panic!("{lease:?}");
        };
        let deadline = Instant::now() + PATIENCE;
        let mut before = i64::MAX;
        loop {
            let Reply::Integer(left) = ask(redis.address(), &[b"PTTL", &lease[..]]) else {
                panic!("no time");
            };
            if left > before {
                break;
            }
            assert!(left > 0 && Instant::now() < deadline, "{left}");
            before = left;
            // Nothing tells when it is.
            thread::sleep(Duration::from_millis(20));
        }
    }
    cyd.says("ada");
    cyd.hears("* ada is taken; another nickname?");
    here.process.signal("-KILL");
    bob.hears_until("* ada left");
    cyd.asks_for("ada", "* ada joined");
    bob.hears("* ada joined");
}

#[test]
fn while_the_broker_is_away_members_are_told_and_lines_are_refused() {
    let Some(mut redis) = Redis::start("away") else {
        return;
    };
    let (here, there) = (chat(redis.address(), "10"), chat(redis.address(), "10"));
    let mut ada = Person::enters(&here, "ada");
    let mut bob = Person::enters(&there, "bob");
    ada.hears("* bob joined");
    ada.says("kept");
    ada.hears("ada: kept");
    bob.hears("ada: kept");
    redis.end();
    ada.hears(AWAY);
    bob.hears(AWAY);
    for number in 0..1000 {
        ada.says(&format!("lost {number}"));
        ada.hears(&format!(
            "* not sent (the backplane is away): lost {number}"
        ));
    }
    ada.says("/nick eve");
    ada.hears("* not now: the backplane is away; try again");
    let mut late = Person::arrives(&there);
    late.says("late");
    late.hears("* not now: the backplane is away; try again");
    drop(bob);
    redis.run();
    // The other process may be the first to be back.
    let mut heard = [ada.line(), ada.line()];
    heard.sort();
    assert_eq!(heard, ["* bob left", BACK]);
    late.asks_for("late", "* late joined");
    ada.hears("* late joined");
    ada.says("again");
    late.hears("ada: again");
    ada.hears("ada: again");
    // Nothing that waits for the broker keeps a process from ending.
    redis.end();
    ada.hears(AWAY);
    here.process.signal("-INT");
    drop((ada, late));
    assert_eq!(here.end().code, Some(0));
}

#[test]
fn a_line_whose_answer_was_lost_is_there_once() {
    let Some(redis) = Redis::start("unknown") else {
        return;
    };
    let (here, there) = (chat(redis.address(), "3"), chat(redis.address(), "30"));
    let mut ada = Person::enters(&here, "ada");
    let mut bob = Person::enters(&there, "bob");
    ada.hears("* bob joined");
    redis.signal("-STOP");
    let lines: Vec<_> = (0..10).map(|number| number.to_string()).collect();
    ada.says(&lines.join("\n"));
    ada.hears(AWAY);
    // As many as may be under way; what is behind them is read now, and refused.
    for line in &lines[8..] {
        ada.hears(&format!("* not sent (the backplane is away): {line}"));
    }
    redis.signal("-CONT");
    // The broker may apply what it was sent before it was given up, or what it is sent again.
    let before = ada.hears_until(BACK);
    ada.says("last");
    let after = ada.hears_until("ada: last");
    let said = lines[..8].iter().map(String::as_str).chain(["last"]);
    let said: Vec<_> = said.map(|line| format!("ada: {line}")).collect();
    for mut heard in [[before, after].concat(), bob.hears_until("ada: last")] {
        heard.retain(|line| line.starts_with("ada: "));
        assert_eq!(heard, said);
    }
}

#[test]
fn a_broker_that_stalls_stops_the_senders_and_loses_nothing() {
    let Some(redis) = Redis::start("stall") else {
        return;
    };
    let here = chat(redis.address(), "30");
    let mut ada = Person::enters(&here, "ada");
    let mut bob = Person::enters(&here, "bob");
    ada.hears("* bob joined");
    redis.signal("-STOP");
    ada.says(
        &(0..20)
            .map(|number| format!("{number}\n"))
            .collect::<String>(),
    );
    ada.says("/who");
    // The loop has seen to her when it answers him.
    bob.says("/who");
    bob.hears("* here: ada, bob");
    redis.signal("-CONT");
    // Her question is behind more lines than may be under way.
    ada.hears("ada: 0");
    ada.hears_until("ada: 19");
    bob.says("/quit");
    ada.hears_until("* bob left");

    redis.signal("-STOP");
    let line = |number: usize| format!("{number} {}\n", "x".repeat(4000));
    let stream = ada.reader.get_ref();
    let patience = Some(Duration::from_millis(300));
    stream.set_write_timeout(patience).expect("a positive time");
    let (mut whole, mut rest) = (0, 0);
    while rest == 0 {
        assert!(whole < 16_000, "64 MB are taken, and nobody has them");
        let line = line(whole);
        let mut sent = 0;
        while sent < line.len() && rest == 0 {
            match ada.reader.get_mut().write(&line.as_bytes()[sent..]) {
                Ok(count) => sent += count,
                Err(_) => rest = line.len() - sent,
            }
        }
        whole += 1;
    }
    redis.signal("-CONT");
    for number in 0..whole - 1 {
        ada.hears(&format!("ada: {}", line(number).trim_end()));
    }
    let line = line(whole - 1);
    let rest = &line.as_bytes()[line.len() - rest..];
    ada.reader.get_mut().write_all(rest).expect("connected");
    ada.hears(&format!("ada: {}", line.trim_end()));
}

#[test]
fn who_was_taken_for_gone_says_nothing_before_it_is_back() {
    let Some(redis) = Redis::start("stopped") else {
        return;
    };
    let (here, there) = (chat(redis.address(), "2"), chat(redis.address(), "2"));
    let mut ada = Person::enters(&here, "ada");
    let mut bob = Person::enters(&there, "bob");
    ada.hears_until("* bob joined");
    here.process.signal("-STOP");
    ada.says("too late");
    bob.hears_until("* ada left");
    here.process.signal("-CONT");
    let (refused, said) = (
        "* not sent (your nickname was given up): too late",
        "ada: too late",
    );
    let mut heard = Vec::new();
    while !heard.iter().any(|line| line == refused || line == said) {
        heard.push(ada.line());
    }
    // (On a slow machine this may happen more than once.)
    if !heard.contains(&"* ada joined".to_owned()) {
        ada.hears_until("* ada joined");
    }
    loop {
        ada.says("at last");
        let answer = ada.hears_until_any(&["ada: at last", "* not sent"]);
        if answer == "ada: at last" {
            break;
        }
    }
    let heard = bob.hears_until("ada: at last");
    let joined = heard.iter().position(|line| line == "* ada joined");
    let first = heard.iter().position(|line| line.starts_with("ada: "));
    assert!(joined < first, "{heard:?}");
}

#[test]
fn a_broker_that_applies_nothing_is_away_until_it_does() {
    let Some(redis) = Redis::start("full") else {
        return;
    };
    let here = chat(redis.address(), "10");
    let mut ada = Person::enters(&here, "ada");
    let memory = |bytes: &str| ask(redis.address(), &["CONFIG", "SET", "maxmemory", bytes]);
    memory("1");
    ada.says("is there room?");
    ada.hears_until(AWAY);
    for number in 0..300 {
        ada.says(&format!("{number}"));
        ada.hears(&format!("* not sent (the backplane is away): {number}"));
        // It is asked again meanwhile.
        thread::sleep(Duration::from_millis(2));
    }
    memory("0");
    let mut heard = [ada.line(), ada.line()];
    heard.sort();
    assert_eq!(heard, [BACK, "ada: is there room?"]);
}

/// More is said than the broker keeps, while a process has no subscription.
#[test]
fn members_are_told_of_lines_that_are_not_kept_for_them() {
    let Some(redis) = Redis::start("trimmed") else {
        return;
    };
    let broker = format!("redis://{}", redis.address());
    let arguments = ["--backplane", &broker, "--lease", "60", "--keep", "10"];
    let here = Server::start("chat_tested", &arguments);
    let there = Server::start("chat_tested", &arguments);
    let mut ada = Person::enters(&here, "ada");
    let mut bob = Person::enters(&there, "bob");
    ada.hears("* bob joined");
    here.process.signal("-STOP");
    let killed = ask(redis.address(), &["CLIENT", "KILL", "TYPE", "pubsub"]);
    assert_eq!(killed, Reply::Integer(2));
    bob.hears_until(BACK);
    // Entries are dropped by the hundred.
    for number in 0..300 {
        bob.says(&format!("{number}"));
        bob.hears(&format!("bob: {number}"));
    }
    bob.says("/nick eve");
    bob.hears("* bob is now eve");
    here.process.signal("-CONT");
    ada.hears(AWAY);
    ada.hears("* lines may have been missed: the backplane has lost them");
    ada.hears(BACK);
    ada.says("/who");
    ada.hears("* here: ada, eve");
    bob.says("go on");
    ada.hears("eve: go on");
}

/// One batch of process `me`, as the chat sends it.
fn apply(
    redis: &Redis,
    me: &str,
    number: u32,
    lease: u32,
    sweeps: bool,
    operations: &[[&str; 3]],
) -> Reply {
    let [last, own] = ["batch", "lease"].map(|kind| format!("{{chat}}:{kind}:{me}"));
    let (number, lease) = (number.to_string(), lease.to_string());
    let sweeps = if sweeps { "1" } else { "0" };
    let mut command = vec![
        "EVAL",
        include_str!("../../examples/chat/apply.lua"),
        "5",
        "{chat}:stream",
        "{chat}:nicks",
        "{chat}:processes",
        &last,
        &own,
        me,
        &number,
        &lease,
        "1000",
        sweeps,
        "{chat}:lease:",
    ];
    let ids: Vec<_> = (1..=operations.len()).map(|id| id.to_string()).collect();
    for ([kind, nick, text], id) in operations.iter().zip(&ids) {
        command.extend([kind, id.as_str(), nick, text]);
    }
    ask(redis.address(), &command)
}

/// The events that are kept.
fn events(redis: &Redis) -> Vec<String> {
    let Reply::Array(entries) = ask(redis.address(), &["XRANGE", "{chat}:stream", "-", "+"]) else {
        panic!("no entries");
    };
    let event = |entry| match entry {
        Reply::Array(mut parts) => match parts.pop() {
            Some(Reply::Array(mut fields)) => match fields.pop() {
                Some(Reply::Bulk(event)) => String::from_utf8(event).expect("text"),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    entries.into_iter().map(event).collect()
}

#[test]
fn a_batch_is_applied_once_and_an_old_one_never() {
    let Some(redis) = Redis::start("batches") else {
        return;
    };
    let said = |text: &'static str| ["line", "ada", text];
    let verdicts = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
    let first = [
        ["join", "ada", ""],
        said("one"),
        ["line", "bob", "forged"],
        ["rename", "bob", "x"],
    ];
    for _ in 0..2 {
        assert_eq!(
            apply(&redis, "a", 1, 60_000, true, &first),
            verdicts("ooll")
        );
    }
    let of_b = [
        ["join", "ada", ""],
        ["join", "bob", ""],
        ["rename", "bob", "ada"],
        ["leave", "ada", ""],
    ];
    assert_eq!(apply(&redis, "b", 1, 60_000, true, &of_b), verdicts("totl"));
    assert_eq!(
        apply(&redis, "a", 2, 60_000, true, &[said("two")]),
        verdicts("o")
    );
    // The first, which was late on another connection.
    let late = apply(&redis, "a", 1, 60_000, true, &first);
    assert!(
        matches!(&late, Reply::Error(text) if text.starts_with("STALE")),
        "{late:?}"
    );
    // A renewal says nothing; and one that is late does not have others leave.
    assert_eq!(apply(&redis, "a", 0, 1, true, &[]), verdicts(""));
    let kept = [
        "joined a.1 ada ",
        "line a.2 ada one",
        "joined b.2 bob ",
        "line a.1 ada two",
    ];
    while ask(redis.address(), &["EXISTS", "{chat}:lease:a"]) != Reply::Integer(0) {}
    assert_eq!(apply(&redis, "b", 0, 60_000, false, &[]), verdicts(""));
    assert_eq!(events(&redis), kept);
    for _ in 0..2 {
        assert_eq!(apply(&redis, "b", 0, 60_000, true, &[]), verdicts(""));
        assert_eq!(events(&redis), [&kept[..], &["left a.0 ada "]].concat());
    }
}

#[test]
fn a_broker_that_is_absent_at_the_start_is_waited_for() {
    let Some(mut redis) = Redis::absent("absent") else {
        return;
    };
    let here = chat(redis.address(), "10");
    let mut ada = Person::arrives(&here);
    ada.says("ada");
    ada.hears("* not now: the backplane is away; try again");
    redis.run();
    ada.asks_for("ada", "* ada joined");
}

#[test]
fn a_broker_that_has_lost_its_data_is_given_the_nicknames_again() {
    let Some(mut redis) = Redis::start("forgetful") else {
        return;
    };
    let (here, there) = (chat(redis.address(), "10"), chat(redis.address(), "10"));
    let mut ada = Person::enters(&here, "ada");
    let mut bob = Person::enters(&there, "bob");
    ada.hears("* bob joined");
    redis.end_and_forget();
    ada.hears(AWAY);
    bob.hears(AWAY);
    // This process is late, and its nickname is taken by then.
    here.process.signal("-STOP");
    redis.run();
    bob.hears_until("* bob joined");
    let mut other = Person::enters(&there, "ada");
    bob.hears_until("* ada joined");
    here.process.signal("-CONT");
    ada.hears_until(
        "* your nickname was given up while the backplane was away; it is asked for again",
    );
    ada.hears_until("* ada is taken; another nickname?");
    ada.asks_for("eve", "* eve joined");
    bob.hears_until("* eve joined");
    other.hears_until("* eve joined");
    for person in [&mut ada, &mut bob, &mut other] {
        person.says("/who");
        person.hears_until("* here: ada, bob, eve");
    }
    other.says("mine now");
    ada.hears_until("ada: mine now");
}

/// Accepts whatever comes, says something to it, and then nothing more.
fn broker_that_says(bytes: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        let mut all = Vec::new();
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.write_all(bytes);
            all.push(stream);
        }
    });
    address
}

#[test]
fn a_broker_that_says_nothing_or_nonsense_keeps_nobody_waiting() {
    let forged: &[u8] = b"+PONG\r\n*3\r\n$9\r\nsubscribe\r\n$13\r\n{chat}:stream\r\n:1\r\n\
        *3\r\n$7\r\nmessage\r\n$13\r\n{chat}:stream\r\n$8\r\n\xff\xfe 1 2 3\r\n*1\r\n:5\r\n";
    for bytes in [
        b"".as_slice(),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"*999999999\r\n",
        b"-NOAUTH Authentication required.\r\n",
        forged,
    ] {
        let broker = broker_that_says(bytes);
        let here = chat(broker, "0.2");
        let mut ada = Person::arrives(&here);
        let until = Instant::now() + Duration::from_millis(400);
        while Instant::now() < until {
            ada.says("ada");
            ada.hears("* not now: the backplane is away; try again");
        }
        ada.says("/who");
        ada.hears("* a nickname has 1 to 32 characters, no space or colon, and no / or * in front");
        drop(ada);
        here.process.signal("-INT");
        let ended = here.end();
        assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
        assert!(ended.stderr.len() < 40, "{:?}", ended.stderr);
    }
}

/// A process that was given a password, in the address or in the environment.
fn chat_with_password(broker: &str, password: Option<&str>) -> Server {
    let mut command = Command::new(programs::example("chat_tested"));
    command.args(["--listen", "127.0.0.1:0", "--lease", "30"]);
    command.args(["--backplane", broker]);
    command.envs(password.map(|password| ("REDISCLI_AUTH", password)));
    Server::spawn(command)
}

/// Ends a process, which has said nothing of a password.
#[track_caller]
fn ends_and_has_told_no_secret(server: Server) {
    server.process.signal("-INT");
    let ended = server.end();
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    let said = [ended.stdout, ended.stderr].concat().join("\n");
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn a_broker_that_wants_a_password_is_given_it() {
    let Some(redis) = Redis::start_with_password("password", "s:cret@1") else {
        return;
    };
    // One who may do this and no more.
    let user = "ACL SETUSER chat on >secret ~{chat}:* &{chat}:stream +ping +subscribe +eval +xrange +xrevrange +xadd \
        +publish +set +del +exists +pexpire +hget +hmget +hgetall +hset +hdel +hexists +sadd +srem +smembers";
    assert!(redis_server::has(
        include_str!("../../docs/chat-over-redis.md"),
        user
    ));
    redis.is_told("s:cret@1", &[user]);
    let address = redis.address();
    let servers = [
        chat_with_password(&format!("redis://:s%3Acret%401@{address}"), None),
        chat_with_password(&format!("redis://{address}"), Some("s:cret@1")),
        chat_with_password(&format!("redis://chat:secret@{address}"), Some("another")),
        chat_with_password(&format!("redis://chat@{address}"), Some("secret")),
    ];
    let mut people = Vec::new();
    for (server, nick) in servers.iter().zip(["ada", "bob", "cyd", "dan"]) {
        people.push(Person::enters(server, nick));
    }
    for (number, nick) in ["ada", "bob", "cyd", "dan"].into_iter().enumerate() {
        people[number].says(&format!("I am {nick}"));
        for person in &mut people {
            person.hears_until(&format!("{nick}: I am {nick}"));
        }
    }
    people[3].says("/nick eve");
    people[0].hears_until("* dan is now eve");
    drop(people);
    for server in servers {
        ends_and_has_told_no_secret(server);
    }
}

#[test]
fn a_password_that_is_wrong_is_told_in_the_log_and_tried_until_it_is_right() {
    let Some(redis) = Redis::start_with_password("wrong-password", "first-secret") else {
        return;
    };
    let broker = format!("redis://:second-secret@{}", redis.address());
    let mut here = chat_with_password(&broker, None);
    let refused = format!("{}): the server refuses the password", redis.address());
    here.stderr_says(&refused);
    let mut ada = Person::arrives(&here);
    ada.says("ada");
    ada.hears("* not now: the backplane is away; try again");
    redis.is_told("first-secret", &["CONFIG SET requirepass second-secret"]);
    ada.asks_for("ada", "* ada joined");
    // Who is connected stays so, until its connection ends.
    let another = "CONFIG SET requirepass third-secret";
    redis.is_told("second-secret", &[another]);
    ada.says("still here");
    ada.hears("ada: still here");
    let kills = ["CLIENT KILL TYPE normal", "CLIENT KILL TYPE pubsub"];
    redis.is_told("third-secret", &kills);
    ada.hears(AWAY);
    here.stderr_says(&refused);
    ada.says("anybody?");
    ada.hears("* not sent (the backplane is away): anybody?");
    redis.is_told("third-secret", &["CONFIG SET requirepass second-secret"]);
    ada.hears(BACK);
    ada.says("again");
    ada.hears("ada: again");
    drop(ada);
    ends_and_has_told_no_secret(here);
}

#[test]
fn a_password_for_a_broker_that_has_none_is_told_in_the_log() {
    let Some(redis) = Redis::start("no-password") else {
        return;
    };
    let mut here = chat_with_password(&format!("redis://:secret@{}", redis.address()), None);
    let said = here.stderr_says("the server has no password, and this client was given one");
    assert!(said.contains(&redis.address().to_string()), "{said}");
    ends_and_has_told_no_secret(here);
}

#[test]
fn an_address_that_is_none_is_refused() {
    for address in [
        "127.0.0.1:6379",
        "redis://:6379",
        "redis://:secret",
        "redis://:secret@",
        "redis://:secret@127.0.0.1:x",
        "rediss://a:1",
    ] {
        let ended = programs::run("chat_tested", &["--backplane", address]);
        let stderr = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(2), "{stderr}");
        let said = "chat_tested: --backplane: expected redis://HOST:PORT";
        assert!(stderr.starts_with(said), "{stderr}");
        assert!(!stderr.contains("secret"), "{stderr}");
    }
}
