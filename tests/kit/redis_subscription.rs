//! The examples' subscription to Redis, against servers that do as they are told.

#[path = "../../examples/common/redis/mod.rs"]
mod redis;
#[path = "../util/mod.rs"]
mod util;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use redis::{Heard, Input, Login, Reply, Settings, encode, subscribe};
use slabloop::testing::SimClock;
use slabloop::{Context, Dispatcher, Id, Reactor};
use util::{DEADLINE, turn_until};

const SUBSCRIBED: &[u8] = b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n";
const MESSAGE: &[u8] = b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n";
const PONG: &[u8] = b"*2\r\n$4\r\npong\r\n$0\r\n\r\n";

/// Of the subscription.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What two subscriptions have received.
const RECEIVED: u64 = 2 * (SUBSCRIBED.len() + MESSAGE.len()) as u64;

/// A server: each connection in its turn does one of `scripts`, which gets each command and answers it. Without more
/// scripts it accepts no more. What it was asked is told.
fn server(scripts: Vec<fn(&str) -> Vec<u8>>) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (tell, told) = channel();
    thread::spawn(move || {
        for script in scripts {
            let (mut stream, _) = listener.accept().expect("a connection");
            let tell = tell.clone();
            thread::spawn(move || {
                while let Some(command) = command(&mut stream) {
                    let answer = script(&command);
                    let _ = tell.send(command);
                    if stream.write_all(&answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, told)
}

/// The next command's words. (They come one at a time.)
fn command(stream: &mut TcpStream) -> Option<String> {
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    let mut input = Input::new(1 << 20);
    let mut byte = [0];
    loop {
        stream.read_exact(&mut byte).ok()?;
        input.extend(&byte);
        if let Some(Reply::Array(words)) = input.next().ok()? {
            let words = words.into_iter().map(|word| match word {
                Reply::Bulk(word) => String::from_utf8(word).expect("text"),
                other => panic!("{other:?}"),
            });
            return Some(words.collect::<Vec<_>>().join(" "));
        }
    }
}

#[derive(Default)]
struct Listener {
    heard: Vec<Heard>,
}

impl Dispatcher for Listener {}

/// A reactor whose clock the test moves, with a subscription.
struct Bench {
    reactor: Reactor,
    clock: SimClock,
    listener: Id<Listener>,
}

impl Bench {
    fn new(server: SocketAddr) -> Bench {
        Bench::with_login(server, None)
    }

    fn with_login(server: SocketAddr, login: Option<Login>) -> Bench {
        let clock = SimClock::new();
        let reactor = Reactor::builder().clock(clock.clone()).build();
        let mut reactor = reactor.expect("a poller");
        let mut settings = Settings::new(server);
        settings.timeout = TIMEOUT;
        settings.login = login;
        let listener = reactor.add_service(Listener::default()).expect("room");
        let hears = |listener: &mut Listener, _: &mut Context<'_>, heard| {
            listener.heard.push(heard);
            Ok(())
        };
        subscribe(&mut reactor, &settings, "news", listener, hears).expect("room");
        Bench {
            reactor,
            clock,
            listener,
        }
    }

    /// Turns until so much was heard.
    #[track_caller]
    fn hears(&mut self, count: usize) -> Vec<Heard> {
        let mut all = Vec::new();
        let listener = self.listener;
        turn_until(&mut self.reactor, "what is to be heard", |reactor| {
            let heard = reactor.with(listener, |listener, _| listener.heard.clone());
            all = heard.expect("it is there");
            all.len() >= count
        });
        all
    }

    /// Turns, and lets time pass, until the server is asked for a subscription.
    #[track_caller]
    fn subscribes(&mut self, told: &Receiver<String>) {
        let clock = self.clock.clone();
        turn_until(&mut self.reactor, "a subscription", |_| {
            clock.advance(Duration::from_millis(20));
            told.try_recv().is_ok_and(|asked| asked == "SUBSCRIBE news")
        });
    }

    /// Turns until the server is asked this next.
    #[track_caller]
    fn asks(&mut self, told: &Receiver<String>, question: &str) {
        turn_until(&mut self.reactor, question, |_| {
            let asked = told.try_recv().ok();
            assert!(asked.iter().all(|asked| asked == question), "{asked:?}");
            asked.is_some()
        });
    }
}

fn answers(command: &str) -> Vec<u8> {
    match command {
        "SUBSCRIBE news" => [SUBSCRIBED, MESSAGE].concat(),
        "PING" => PONG.to_vec(),
        other => panic!("{other}"),
    }
}

#[test]
fn a_server_that_falls_silent_is_left_and_subscribed_to_again() {
    let falls_silent = |command: &str| match command {
        "PING" => Vec::new(),
        _ => answers(command),
    };
    let (address, told) = server(vec![falls_silent, answers]);
    let mut bench = Bench::new(address);
    bench.subscribes(&told);
    bench.hears(2);
    bench.clock.advance(TIMEOUT);
    bench.asks(&told, "PING");
    bench.clock.advance(TIMEOUT);
    bench.hears(3);
    bench.subscribes(&told);
    let hello = Heard::Message(b"hello".to_vec());
    let silent = Heard::Lost("the server says nothing".into());
    let again = [
        Heard::Subscribed,
        hello.clone(),
        silent,
        Heard::Subscribed,
        hello,
    ];
    assert_eq!(bench.hears(5), again);
    // One that answers is kept.
    for pings in 1..5 {
        bench.clock.advance(TIMEOUT);
        bench.asks(&told, "PING");
        turn_until(&mut bench.reactor, "the answer", |reactor| {
            reactor.counters().bytes_in >= RECEIVED + pings * PONG.len() as u64
        });
    }
    assert_eq!(bench.hears(5).len(), 5);
}

#[test]
fn what_is_no_subscription_is_left_and_not_told() {
    let nothing = |_: &str| Vec::new();
    let refuses = |_: &str| b"-NOAUTH Authentication required.\r\n".to_vec();
    let raves = |_: &str| b"SSH-2.0-OpenSSH\r\n".to_vec();
    let talks_before = |_: &str| MESSAGE.to_vec();
    let elsewhere = |_: &str| encode(&["subscribe", "other"]);
    let scripts: Vec<fn(&str) -> Vec<u8>> =
        vec![nothing, refuses, raves, talks_before, elsewhere, answers];
    let (address, told) = server(scripts);
    let mut bench = Bench::new(address);
    bench.subscribes(&told);
    // The first says nothing.
    bench.clock.advance(TIMEOUT);
    for _ in 0..5 {
        turn_until(&mut bench.reactor, "the end of that", |reactor| {
            reactor.gauges().connections == 0
        });
        bench.subscribes(&told);
    }
    assert_eq!(bench.hears(1)[0], Heard::Subscribed);
}

#[test]
fn a_subscription_logs_in_on_each_connection_and_a_refusal_is_not_told() {
    const OK: &[u8] = b"+OK\r\n";
    fn accepts(command: &str) -> Vec<u8> {
        match command {
            "AUTH secret" => OK.to_vec(),
            _ => answers(command),
        }
    }
    let refuses = |command: &str| match command {
        "AUTH secret" => {
            b"-WRONGPASS invalid username-password pair or user is disabled.\r\n".to_vec()
        }
        _ => b"-NOAUTH Authentication required.\r\n".to_vec(),
    };
    // What is subscribed before the login is accepted is none.
    let forgets = |command: &str| match command {
        "AUTH secret" => Vec::new(),
        _ => answers(command),
    };
    let ends = |command: &str| match command {
        "SUBSCRIBE news" => [SUBSCRIBED, b"oh\r\n"].concat(),
        _ => OK.to_vec(),
    };
    let (address, told) = server(vec![refuses, forgets, ends, accepts]);
    let login = Login::of_default_user(b"secret".to_vec());
    let mut bench = Bench::with_login(address, Some(login));
    let clock = bench.clock.clone();
    let (listener, mut heard) = (bench.listener, Vec::new());
    turn_until(&mut bench.reactor, "the fourth connection", |reactor| {
        clock.advance(Duration::from_millis(20));
        let all = reactor.with(listener, |listener, _| listener.heard.clone());
        heard = all.expect("it is there");
        heard.len() >= 4
    });
    let asked: Vec<_> = told.try_iter().collect();
    assert_eq!(asked[0], "AUTH secret");
    let logins = asked.iter().filter(|asked| *asked == "AUTH secret");
    assert_eq!(logins.count(), 4, "{asked:?}");
    let hello = Heard::Message(b"hello".to_vec());
    assert_eq!([&heard[0], &heard[2]], [&Heard::Subscribed; 2]);
    assert!(matches!(heard[1], Heard::Lost(_)), "{heard:?}");
    assert_eq!(heard[3..], [hello]);
}
