//! The example `redis_client` against a server that does as it is told: every request is answered exactly once, and the
//! answer is true.

#[path = "../../examples/common/redis/mod.rs"]
mod redis;
#[path = "../util/mod.rs"]
mod util;

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use redis::{
    Client, Connection, Connections, Gauges, Input, Login, Outcome, Refusal, Reply,
    Server as Named, Settings, Version, encode,
};
use slabloop::kit::pool::PoolOptions;
use slabloop::testing::SimClock;
use slabloop::{Accepted, AnyId, Context, Dispatcher, Id, Pause, Reactor};
use util::*;

/// What the server is asked: the how-many-eth command of the how-many-eth connection, both from 0, the greeting apart.
struct Asked {
    connection: usize,
    number: usize,
    words: Vec<Vec<u8>>,
}

type Script = Rc<dyn Fn(&mut Context<'_>, &Asked)>;

struct Server {
    script: Script,
    greeting: Rc<dyn Fn(usize) -> Vec<u8>>,
    connections: Rc<Cell<usize>>,
    seen: Rc<RefCell<Vec<Vec<u8>>>>,
}

impl Dispatcher for Server {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let connection = self.connections.get();
        self.connections.set(connection + 1);
        let served = Served {
            script: Rc::clone(&self.script),
            greeting: (self.greeting)(connection),
            is_greeted: false,
            connection,
            number: 0,
            input: Input::new(64 << 20),
            seen: Rc::clone(&self.seen),
        };
        let id = cx.add(accepted, served)?;
        // Whatever a test has it send.
        cx.at(id).map_or(Ok(()), |mut served| {
            served.set_marks(1 << 20, 2 << 20, 64 << 20)
        })
    }
}

struct Served {
    script: Script,
    greeting: Vec<u8>,
    is_greeted: bool,
    connection: usize,
    number: usize,
    input: Input,
    /// The last word of each command that has come as a whole.
    seen: Rc<RefCell<Vec<Vec<u8>>>>,
}

impl Dispatcher for Served {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|bytes, _| {
            self.input.extend(bytes);
            Ok(())
        })?;
        while let Some(command) = self.input.next()? {
            if !std::mem::replace(&mut self.is_greeted, true) {
                cx.send(&self.greeting)?;
                continue;
            }
            let Reply::Array(words) = command else {
                panic!("no command: {command:?}");
            };
            let words: Vec<_> = words.into_iter().map(word).collect();
            self.seen.borrow_mut().extend(words.last().cloned());
            let (connection, number) = (self.connection, self.number);
            self.number += 1;
            if !cx.is_closing() {
                (self.script)(
                    cx,
                    &Asked {
                        connection,
                        number,
                        words,
                    },
                );
            }
        }
        Ok(())
    }
}

fn word(reply: Reply) -> Vec<u8> {
    match reply {
        Reply::Bulk(bytes) => bytes,
        other => panic!("no word: {other:?}"),
    }
}

fn send(cx: &mut Context<'_>, bytes: &[u8]) {
    let _ = cx.send(bytes);
}

/// Sends the last word back.
fn echo(cx: &mut Context<'_>, asked: &Asked) {
    let word = &asked.words[asked.words.len() - 1];
    let mut bytes = format!("${}\r\n", word.len()).into_bytes();
    bytes.extend_from_slice(word);
    bytes.extend_from_slice(b"\r\n");
    send(cx, &bytes);
}

/// Sends bytes in the next turn.
fn send_later(cx: &mut Context<'_>, bytes: &[u8]) {
    let (id, bytes) = (cx.any_id(), bytes.to_vec());
    cx.call_later(Duration::ZERO, move |reactor: &mut Reactor| {
        if let Some(mut cx) = reactor.at(id) {
            let _ = cx.send(&bytes);
        }
    });
}

/// Makes requests, and writes down each answer.
#[derive(Default)]
struct Asker {
    outcomes: Vec<Vec<Outcome>>,
}

impl Dispatcher for Asker {}

struct Bench {
    reactor: Reactor,
    clock: SimClock,
    address: SocketAddr,
    server: Id<Server>,
    connections: Rc<Cell<usize>>,
    seen: Rc<RefCell<Vec<Vec<u8>>>>,
    client: Id<Client>,
    asker: Id<Asker>,
}

impl Bench {
    fn new(
        change: impl FnOnce(&mut Settings),
        script: impl Fn(&mut Context<'_>, &Asked) + 'static,
    ) -> Bench {
        Bench::greeting(change, |_| b"+PONG\r\n".to_vec(), script)
    }

    fn greeting(
        change: impl FnOnce(&mut Settings),
        greeting: impl Fn(usize) -> Vec<u8> + 'static,
        script: impl Fn(&mut Context<'_>, &Asked) + 'static,
    ) -> Bench {
        let clock = SimClock::new();
        let mut reactor = Reactor::builder()
            .clock(clock.clone())
            .build()
            .expect("a poller");
        let (connections, seen) = <(Rc<Cell<usize>>, Rc<RefCell<_>>)>::default();
        let server = Server {
            script: Rc::new(script),
            greeting: Rc::new(greeting),
            connections: Rc::clone(&connections),
            seen: Rc::clone(&seen),
        };
        let server = reactor.listen("127.0.0.1:0", server).expect("a free port");
        let address = reactor.local_addr(server).expect("it listens");
        let mut settings = Settings::new(address);
        settings.connections = 1;
        change(&mut settings);
        let asker = reactor.add_service(Asker::default()).expect("room");
        let connect = connecting(&settings);
        let client = Client::start(&mut reactor, &settings, connect).expect("sensible settings");
        Bench {
            reactor,
            clock,
            address,
            server,
            connections,
            seen,
            client,
            asker,
        }
    }

    fn ask_of(&mut self, client: Id<Client>, words: &[&str]) -> usize {
        let number = self.reactor.with(self.asker, |asker, cx| {
            let number = asker.outcomes.len();
            asker.outcomes.push(Vec::new());
            let me = cx.id::<Asker>();
            let deliver = move |asker: &mut Asker, _: &mut Context<'_>, outcome| {
                asker.outcomes[number].push(outcome);
                Ok(())
            };
            Client::request(cx, client, me, words, deliver);
            assert!(asker.outcomes[number].is_empty(), "never at once");
            number
        });
        number.expect("it is there")
    }

    fn ask(&mut self, words: &[&str]) -> usize {
        self.ask_of(self.client, words)
    }

    fn ask_many(&mut self, count: usize) -> std::ops::Range<usize> {
        let first = self.ask(&["ECHO", "0"]);
        for number in 1..count {
            self.ask(&["ECHO", &number.to_string()]);
        }
        first..first + count
    }

    fn outcomes(&mut self) -> Vec<Vec<Outcome>> {
        let outcomes = self
            .reactor
            .with(self.asker, |asker, _| asker.outcomes.clone());
        outcomes.expect("it is there")
    }

    /// Turns without letting time pass.
    fn turn(&mut self) {
        for _ in 0..20 {
            turn_for(&mut self.reactor, Duration::ZERO);
        }
    }

    /// Turns until all requests are answered; simulated time passes.
    #[track_caller]
    fn settle(&mut self) {
        let deadline = Instant::now() + DEADLINE;
        while self.outcomes().iter().any(Vec::is_empty) {
            assert!(Instant::now() < deadline, "{:?}", self.outcomes());
            turn_for(&mut self.reactor, Duration::ZERO);
            self.clock.advance(Duration::from_millis(1));
        }
    }

    /// The one outcome of each request, when all have one; and that the client has counted the same.
    #[track_caller]
    fn settled(&mut self) -> Vec<Outcome> {
        self.settle();
        self.turn();
        let outcomes = self.outcomes();
        let (client, mut counts) = (self.client, Gauges::default());
        if let Some(mut cx) = self.reactor.at(self.server) {
            counts = Client::gauges(&mut cx, client);
        }
        assert_eq!(counts.answered.total(), counts.issued, "{counts:?}");
        assert_eq!(counts.answered.dropped, 0, "{counts:?}");
        outcomes
            .into_iter()
            .map(|mut outcomes| {
                assert_eq!(outcomes.len(), 1, "exactly one: {outcomes:?}");
                outcomes.remove(0)
            })
            .collect()
    }
}

type Seat = slabloop::kit::pool::Seat<SocketAddr, Connection>;
type Pooled = slabloop::kit::pool::Pooled<SocketAddr, Connection>;

fn connecting(
    settings: &Settings,
) -> impl FnMut(&mut Context<'_>, &SocketAddr, Seat) -> io::Result<Id<Pooled>> + use<> {
    let settings = settings.clone();
    move |cx, server, seat| cx.connect(*server, seat.hold(Connection::new(&settings)))
}

fn bulk(text: &str) -> Reply {
    Reply::Bulk(text.into())
}

#[track_caller]
fn assert_unknown(outcome: &Outcome, why: &str) {
    assert!(
        matches!(outcome, Outcome::Unknown(reason) if reason.contains(why)),
        "{outcome:?} for {why:?}"
    );
}

#[track_caller]
fn assert_not_sent(outcome: &Outcome, why: &str) {
    assert!(
        matches!(outcome, Outcome::NotSent(reason) if reason.contains(why)),
        "{outcome:?} for {why:?}"
    );
}

/// Replies of each kind, as they are sent, and what they are.
fn replies() -> Vec<(&'static [u8], Reply)> {
    let big = Reply::Bulk(vec![b'x'; 300]);
    let big_sent: &[u8] = Box::leak(Box::new(
        [b"$300\r\n".to_vec(), vec![b'x'; 300], b"\r\n".to_vec()].concat(),
    ));
    vec![
        (b"+OK\r\n", Reply::Simple(b"OK".into())),
        (b"-ERR no\r\n", Reply::Error("ERR no".into())),
        (b"!6\r\nERR no\r\n", Reply::Error("ERR no".into())),
        (b":-12\r\n", Reply::Integer(-12)),
        (b"$5\r\na\r\nb\0\r\n", Reply::Bulk(b"a\r\nb\0".into())),
        (b"$0\r\n\r\n", bulk("")),
        (big_sent, big),
        (b"$-1\r\n", Reply::Nil),
        (b"*-1\r\n", Reply::Nil),
        (b"_\r\n", Reply::Nil),
        (b"*0\r\n", Reply::Array(vec![])),
        (b"#t\r\n", Reply::Boolean(true)),
        (b",1.5\r\n", Reply::Double(1.5)),
        (b",-inf\r\n", Reply::Double(f64::NEG_INFINITY)),
        (
            b"(123456789012345678901\r\n",
            Reply::BigNumber(b"123456789012345678901".into()),
        ),
        (b"=7\r\ntxt:abc\r\n", Reply::Verbatim(b"abc".into())),
        (
            b"*3\r\n*2\r\n:1\r\n*1\r\n$-1\r\n*0\r\n+x\r\n",
            Reply::Array(vec![
                Reply::Array(vec![Reply::Integer(1), Reply::Array(vec![Reply::Nil])]),
                Reply::Array(vec![]),
                Reply::Simple(b"x".into()),
            ]),
        ),
        (
            b"%2\r\n+b\r\n~1\r\n%0\r\n*1\r\n:1\r\n+a\r\n",
            Reply::Map(vec![
                (
                    Reply::Simple(b"b".into()),
                    Reply::Set(vec![Reply::Map(vec![])]),
                ),
                (
                    Reply::Array(vec![Reply::Integer(1)]),
                    Reply::Simple(b"a".into()),
                ),
            ]),
        ),
        (b"|1\r\n+ttl\r\n:3\r\n+OK\r\n", Reply::Simple(b"OK".into())),
        (
            b"|1\r\n+a\r\n|1\r\n+b\r\n:1\r\n*1\r\n:2\r\n:7\r\n",
            Reply::Integer(7),
        ),
        (
            b"*2\r\n|1\r\n+a\r\n:1\r\n:5\r\n:6\r\n",
            Reply::Array(vec![Reply::Integer(5), Reply::Integer(6)]),
        ),
    ]
}

#[test]
fn a_reply_of_any_kind_is_found_however_it_is_split() {
    for (bytes, expected) in replies() {
        for cut in 0..bytes.len() {
            let mut input = Input::new(1000);
            input.extend(&bytes[..cut]);
            assert_eq!(
                input.next().expect("no fault"),
                None,
                "{expected:?} at {cut}"
            );
            input.extend(&bytes[cut..]);
            input.extend(b"+next\r\n");
            assert_eq!(input.next().expect("no fault"), Some(expected.clone()));
            let next = input.next().expect("no fault");
            assert_eq!(next, Some(Reply::Simple(b"next".into())));
            assert!(input.is_empty());
        }
        let mut input = Input::new(1000);
        let (last, before) = bytes.split_last().expect("not empty");
        for byte in before {
            input.extend(&[*byte]);
            assert_eq!(input.next().expect("no fault"), None);
        }
        input.extend(&[*last]);
        assert_eq!(input.next().expect("no fault"), Some(expected));
    }
}

#[test]
fn what_is_no_reply_or_too_much_is_refused_with_a_reason() {
    let deep = b"*1\r\n".repeat(40);
    let endless = vec![b'x'; 70_000];
    let endless = [b"+".as_slice(), &endless].concat();
    let many = [b"*2000000\r\n".as_slice(), b":1\r\n"].concat();
    let cases: [(&[u8], &str); 12] = [
        (b"?\r\n", "begins with '?'"),
        (b"HTTP/1.1 400 Bad Request\r\n", "begins with 'H'"),
        (b"$x\r\n", "a length"),
        (b"$-2\r\n", "a length"),
        (b"*99999999999999999999\r\n", "a length"),
        (b"*?\r\n", "a length"),
        (b"$3\r\nabcde\r\n", "does not end where it says"),
        (b"$1001\r\n", "more than 1000 bytes"),
        (b":1x\r\n", "no RESP"),
        (&many, "more than 1048576 elements"),
        (&deep, "more than 32 levels"),
        (&endless, "a line without an end"),
    ];
    for (bytes, why) in cases {
        let mut input = Input::new(1000);
        input.extend(bytes);
        let error = input.next().expect_err("no reply");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(error.to_string().contains(why), "{error} for {why}");
    }
}

#[test]
fn a_large_array_in_small_pieces_is_looked_at_once() {
    const ELEMENTS: usize = 200_000;
    let mut bytes = format!("*{ELEMENTS}\r\n").into_bytes();
    bytes.extend(b":1\r\n".repeat(ELEMENTS));
    let mut input = Input::new(64 << 20);
    // Once for each piece this would be 10^10 elements.
    for piece in bytes.chunks(16) {
        assert_eq!(input.next().expect("no fault"), None);
        input.extend(piece);
    }
    match input.next().expect("no fault") {
        Some(Reply::Array(elements)) => assert_eq!(elements.len(), ELEMENTS),
        other => panic!("{other:?}"),
    }
}

#[test]
fn errors_by_which_nothing_is_done_say_what_would_help() {
    let refusal = |text: &str| Reply::Error(text.into()).refusal();
    assert_eq!(refusal("LOADING Redis is loading"), Some(Refusal::Loading));
    let to = "127.0.0.1:7001".to_owned();
    let moved = Refusal::Moved {
        slot: 3999,
        to: to.clone(),
    };
    assert_eq!(refusal("MOVED 3999 127.0.0.1:7001"), Some(moved));
    let ask = Refusal::Ask { slot: 3999, to };
    assert_eq!(refusal("ASK 3999 127.0.0.1:7001"), Some(ask));
    assert_eq!(refusal("BUSY a script runs"), Some(Refusal::TryAgain));
    assert_eq!(refusal("NOAUTH first"), Some(Refusal::NoAuth));
    assert_eq!(refusal("ERR no"), None);
    assert_eq!(refusal("MOVED to nowhere"), None);
    assert_eq!(Reply::Nil.refusal(), None);
}

#[test]
fn many_requests_are_in_flight_and_each_gets_its_own_answer() {
    let most = Rc::new(Cell::new(0));
    let waiting: Rc<RefCell<Vec<Asked>>> = Rc::default();
    let (seen_most, queue) = (Rc::clone(&most), Rc::clone(&waiting));
    let mut bench = Bench::new(
        |settings| settings.pipeline = 8,
        move |cx, asked| {
            let Asked {
                connection,
                number,
                words,
            } = asked;
            queue.borrow_mut().push(Asked {
                connection: *connection,
                number: *number,
                words: words.clone(),
            });
            let id = cx.any_id();
            let queue = Rc::clone(&queue);
            let most = Rc::clone(&seen_most);
            // Answered when no more come.
            cx.call_later(Duration::from_millis(1), move |reactor: &mut Reactor| {
                let asked: Vec<_> = queue.borrow_mut().drain(..).collect();
                most.set(most.get().max(asked.len()));
                if let Some(mut cx) = reactor.at(id) {
                    asked.iter().for_each(|asked| echo(&mut cx, asked));
                }
            });
        },
    );
    bench.ask_many(100);
    let outcomes = bench.settled();
    for (number, outcome) in outcomes.iter().enumerate() {
        assert_eq!(*outcome, Outcome::Done(bulk(&number.to_string())));
    }
    assert_eq!(most.get(), 8, "as many at a time as may");
    assert_eq!(bench.connections.get(), 1);
}

#[test]
fn replies_of_any_kind_come_through_a_connection_split_or_not() {
    for (bytes, expected) in replies() {
        for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            let mut bench = Bench::new(
                |_| {},
                move |cx, _| {
                    send(cx, &bytes[..cut]);
                    send_later(cx, &bytes[cut..]);
                },
            );
            bench.ask(&["GET", "a"]);
            bench.settle();
            bench.ask(&["GET", "b"]);
            for outcome in bench.settled() {
                assert_eq!(outcome, Outcome::Done(expected.clone()));
            }
        }
    }
}

#[test]
fn a_connection_that_ends_at_any_byte_of_a_reply_leaves_its_request_unknown() {
    let reply: &[u8] = b"*2\r\n$3\r\nabc\r\n:12\r\n";
    for cut in 0..=reply.len() {
        for is_reset in [false, true] {
            let mut bench = Bench::new(
                |_| {},
                move |cx, asked| {
                    if asked.connection > 0 {
                        return echo(cx, asked);
                    }
                    send(cx, &reply[..cut]);
                    if is_reset {
                        cx.abort_when_sent();
                    } else {
                        cx.close();
                    }
                },
            );
            let [first, second] = [bench.ask(&["ECHO", "a"]), bench.ask(&["ECHO", "b"])];
            bench.settle();
            let third = bench.ask(&["ECHO", "c"]);
            let outcomes = bench.settled();
            match &outcomes[first] {
                // A reset may overtake what was sent before it.
                Outcome::Unknown(_) => assert!(cut < reply.len() || is_reset),
                Outcome::Done(Reply::Array(_)) => assert_eq!(cut, reply.len()),
                other => panic!("{other:?} at {cut}"),
            }
            assert!(
                matches!(outcomes[second], Outcome::Unknown(_)),
                "{:?}",
                outcomes[second]
            );
            assert_eq!(
                outcomes[third],
                Outcome::Done(bulk("c")),
                "over another connection"
            );
        }
    }
}

#[test]
fn after_so_many_replies_of_a_pipeline_the_rest_is_unknown_and_what_waits_goes_elsewhere() {
    for replies in 0..=8 {
        let mut bench = Bench::new(
            |settings| settings.pipeline = 8,
            move |cx, asked| match asked {
                Asked {
                    connection: 0,
                    number,
                    ..
                } if *number >= replies => {
                    cx.close();
                }
                _ => echo(cx, asked),
            },
        );
        bench.ask_many(12);
        let outcomes = bench.settled();
        // With each reply another leaves.
        let sent = 12.min(replies + 8);
        for (number, outcome) in outcomes.iter().enumerate() {
            if number < replies || number >= sent {
                assert_eq!(*outcome, Outcome::Done(bulk(&number.to_string())));
            } else if number < 8 {
                assert_unknown(outcome, "closed");
            } else {
                // It waited when the end came, or had just left.
                let text = bulk(&number.to_string());
                assert!(matches!(outcome, Outcome::Unknown(_)) || *outcome == Outcome::Done(text));
            }
        }
    }
}

#[test]
fn what_has_not_left_is_not_sent_and_the_server_never_sees_it() {
    // A server that greets, and then reads nothing until the client has given up.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let mut bench = Bench::new(
        |settings| (settings.server, settings.pipeline) = (address, 100_000),
        echo,
    );
    let value = "x".repeat(1000);
    bench.ask(&["SET", &value, "0"]);
    bench.turn();
    let (mut server, _) = listener.accept().expect("it connects");
    server.set_read_timeout(Some(DEADLINE)).expect("positive");
    server.read_exact(&mut [0; 14]).expect("a PING");
    server.write_all(b"+PONG\r\n").expect("room");
    for number in 1..20_000 {
        bench.ask(&["SET", &value, &number.to_string()]);
        if number % 50 == 0 {
            turn_for(&mut bench.reactor, Duration::ZERO);
        }
    }
    let outcomes = bench.settled();
    let (mut seen, mut input) = (HashSet::new(), Input::new(1 << 20));
    let mut bytes = vec![0; 1 << 16];
    // To the reset.
    while let Ok(count @ 1..) = server.read(&mut bytes) {
        input.extend(&bytes[..count]);
        while let Some(command) = input.next().expect("commands") {
            if let Reply::Array(mut words) = command {
                seen.extend(words.pop().map(word));
            }
        }
    }
    let (mut unknown, mut not_sent) = (0, 0);
    for (number, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Outcome::Unknown(_) => {
                unknown += 1;
                assert_eq!(unknown, number + 1, "those that have left come first");
            }
            Outcome::NotSent(_) => {
                not_sent += 1;
                assert!(
                    !seen.contains(number.to_string().as_bytes()),
                    "{number} was seen"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    let in_outbox = |outcome: &&Outcome| matches!(outcome, Outcome::NotSent(why) if why.contains("no answer in time"));
    let in_outbox = outcomes.iter().filter(in_outbox).count();
    assert!(
        (10..100).contains(&in_outbox),
        "{in_outbox} of 1 KiB were in the outbox of 64 KiB"
    );
    assert!(
        unknown > 100 && not_sent > in_outbox,
        "{unknown} {not_sent}"
    );
    assert!(seen.len() > 100, "{} were seen", seen.len());
}

#[test]
fn a_reply_that_nobody_has_asked_for_ends_its_connection() {
    let mut bench = Bench::new(
        |_| {},
        |cx, asked| {
            echo(cx, asked);
            if asked.connection == 0 {
                send(cx, b"+one too many\r\n");
            }
        },
    );
    let first = bench.ask(&["ECHO", "a"]);
    bench.settle();
    bench.turn();
    let second = bench.ask(&["ECHO", "b"]);
    let outcomes = bench.settled();
    assert_eq!(outcomes[first], Outcome::Done(bulk("a")));
    assert_eq!(outcomes[second], Outcome::Done(bulk("b")));
    assert_eq!(bench.connections.get(), 2);
}

#[test]
fn a_reply_before_any_request_is_no_answer() {
    let mut bench = Bench::greeting(
        |_| {},
        |connection| match connection {
            0 => b"+PONG\r\n+early\r\n".to_vec(),
            _ => b"+PONG\r\n".to_vec(),
        },
        echo,
    );
    bench.ask(&["ECHO", "a"]);
    assert_eq!(bench.settled(), [Outcome::Done(bulk("a"))]);
    assert_eq!(bench.connections.get(), 2);
}

#[test]
fn a_server_that_is_loading_is_asked_again_and_nothing_is_sent_to_it() {
    let mut bench = Bench::greeting(
        |_| {},
        |connection| match connection {
            0..3 => b"-LOADING Redis is loading the dataset in memory\r\n".to_vec(),
            _ => b"+PONG\r\n".to_vec(),
        },
        echo,
    );
    bench.ask(&["ECHO", "a"]);
    assert_eq!(bench.settled(), [Outcome::Done(bulk("a"))]);
    assert_eq!(bench.connections.get(), 4);
}

#[test]
fn a_server_without_resp3_is_spoken_to_in_resp2() {
    let mut bench = Bench::greeting(
        |settings| settings.version = Version::Resp3,
        |_| b"-ERR unknown command 'HELLO'\r\n".to_vec(),
        |cx, asked| match &asked.words[..] {
            [only] if only == b"PING" => send(cx, b"+PONG\r\n"),
            _ => echo(cx, asked),
        },
    );
    bench.ask(&["ECHO", "a"]);
    assert_eq!(bench.settled(), [Outcome::Done(bulk("a"))]);
}

/// What a server is sent to log in, and where it is.
#[track_caller]
fn named(url: &str, password: Option<&str>) -> (String, Option<Vec<u8>>) {
    let password = password.map(|password| password.as_bytes().to_vec());
    let named = Named::parse(url, password).expect("a good one");
    let shown = format!("{named:?}");
    assert!(!shown.contains("cret"), "{shown}");
    (named.name, named.login.map(|login| login.command()))
}

#[test]
fn a_url_says_where_the_server_is_and_how_to_log_in() {
    let of_default = |password: &str| Some(encode(&["AUTH", password]));
    let of = |user: &str, password: &str| Some(encode(&["AUTH", user, password]));
    for (url, password, name, login) in [
        ("redis://a", None, "a:6379", None),
        ("redis://a:1/", None, "a:1", None),
        ("redis://[::1]", None, "[::1]:6379", None),
        ("redis://[::1]:2", None, "[::1]:2", None),
        ("redis://:secret@a:1", None, "a:1", of_default("secret")),
        ("redis://u:secret@a", None, "a:6379", of("u", "secret")),
        (
            "redis://u%40x:s%3acret%25@[::1]:3/",
            None,
            "[::1]:3",
            of("u@x", "s:cret%"),
        ),
        // As it is, which other clients would not take.
        (
            "redis://u:se:c/r#e?t@2@a:1",
            None,
            "a:1",
            of("u", "se:c/r#e?t@2"),
        ),
        ("redis://a:1", Some("secret"), "a:1", of_default("secret")),
        (
            "redis://u@a:1",
            Some("secret%25"),
            "a:1",
            of("u", "secret%25"),
        ),
        ("redis://u:@a:1", Some("secret"), "a:1", of("u", "secret")),
        (
            "redis://u:secret1@a:1",
            Some("secret2"),
            "a:1",
            of("u", "secret1"),
        ),
    ] {
        assert_eq!(named(url, password), (name.to_owned(), login), "{url}");
    }
    let bytes = Named::parse("redis://:%ff%00@a", None).expect("a good one");
    let bytes = bytes.login.expect("a login").command();
    assert_eq!(bytes, encode(&[b"AUTH".as_slice(), b"\xff\0"]));
}

#[test]
fn what_is_wrong_with_a_url_is_said_and_the_password_is_not() {
    for (url, said) in [
        ("secret", "or redis://USER:PASSWORD@HOST:PORT"),
        (":secret@a:1", "or redis://USER:PASSWORD@HOST:PORT"),
        ("rediss://:secret@a:1", "TLS is not possible"),
        ("redis://:secret@a:1/3", "without a database"),
        ("redis://:secret", "a port from 1 to 65535"),
        ("redis://u:secret@a:0", "a port from 1 to 65535"),
        ("redis://:secret@a:x", "a port from 1 to 65535"),
        ("redis://:secret@", "such as redis://"),
        ("redis://:secret@:1", "such as redis://"),
        ("redis://:secret@::1", "such as redis://"),
        ("redis://secret@a:1", "before the @"),
        ("redis://secret:@a:1", "before the @"),
        ("redis://@a:1", "before the @"),
        ("redis://:secret%@a:1", "two hexadecimal digits"),
        ("redis://:secret%4@a:1", "two hexadecimal digits"),
        ("redis://s%xcret:a@a:1", "two hexadecimal digits"),
        ("redis://:secret%+1@a:1", "two hexadecimal digits"),
    ] {
        let why = Named::parse(url, None).expect_err(url);
        assert!(why.contains(said), "{url}: {why}");
        assert!(!why.contains("cret"), "{url}: {why}");
    }
}

fn with_password(settings: &mut Settings) {
    settings.login = Some(Login::of_default_user(b"secret".to_vec()));
}

#[test]
fn a_connection_logs_in_first_and_requests_wait_for_that() {
    for version in [Version::Resp2, Version::Resp3] {
        let log_in = |settings: &mut Settings| {
            settings.version = version;
            with_password(settings);
        };
        // `AUTH` is answered when all of the greeting has come, and the rest late.
        let mut bench = Bench::greeting(
            log_in,
            |_| b"+OK\r\n".to_vec(),
            |cx, asked| match &asked.words[0][..] {
                b"HELLO" => send_later(cx, b"%1\r\n+proto\r\n:3\r\n"),
                b"PING" => send_later(cx, b"+PONG\r\n"),
                _ => echo(cx, asked),
            },
        );
        let requests = bench.ask_many(3);
        let outcomes = bench.settled();
        for number in requests {
            assert_eq!(outcomes[number], Outcome::Done(bulk(&number.to_string())));
        }
        let greeting: &[&[u8]] = match version {
            Version::Resp2 => &[b"PING"],
            Version::Resp3 => &[b"3", b"PING"],
        };
        let requests: [&[u8]; 3] = [b"0", b"1", b"2"];
        assert_eq!(*bench.seen.borrow(), [greeting, &requests].concat());
    }
}

#[test]
fn a_login_that_is_refused_is_told_with_a_reason_and_nothing_is_sent() {
    let quotes = "ERR unknown command 'AUTH', with args beginning with: 'secret' ";
    let unknown = "does not let this client log in: ERR";
    for (answer, said) in [
        (
            "WRONGPASS invalid username-password pair or user is disabled.",
            "WRONGPASS",
        ),
        ("ERR invalid password", "refuses the password"),
        (
            "ERR AUTH <password> called without any password configured for the default user. Are you sure?",
            "has no password, and this client was given one",
        ),
        (
            "ERR Client sent AUTH, but no password is set",
            "has no password, and this client was given one",
        ),
        (quotes, unknown),
        ("secret", "does not let this client log in: an error"),
    ] {
        let answer = format!("-{answer}\r\n").into_bytes();
        // It would answer `PING`.
        let mut bench = Bench::greeting(
            with_password,
            move |_| answer.clone(),
            |cx, asked| match &asked.words[0][..] {
                b"PING" => send(cx, b"+PONG\r\n"),
                _ => panic!("a request"),
            },
        );
        bench.ask(&["ECHO", "a"]);
        let outcomes = bench.settled();
        let Outcome::NotSent(why) = &outcomes[0] else {
            panic!("{outcomes:?}");
        };
        assert!(why.contains(said), "{why}");
        assert!(why.contains(&bench.address.to_string()), "{why}");
        assert!(!why.contains("secret"), "{why}");
        // Not again and again while the request waits.
        assert_eq!(bench.connections.get(), 1);
    }
}

#[test]
fn what_answers_a_login_and_is_no_redis_is_left() {
    for answer in [
        "+PONG",
        "*2\r\n$4\r\nAUTH\r\n$6\r\nsecret",
        ":1",
        "$2\r\nOK",
    ] {
        let answer = format!("{answer}\r\n+PONG\r\n").into_bytes();
        let greeting = move |connection| match connection {
            0 => answer.clone(),
            _ => b"+OK\r\n+PONG\r\n".to_vec(),
        };
        let mut bench = Bench::greeting(with_password, greeting, |cx, asked| {
            if asked.words[0] != b"PING" {
                echo(cx, asked);
            }
        });
        bench.ask(&["ECHO", "a"]);
        assert_eq!(bench.settled(), [Outcome::Done(bulk("a"))]);
        assert_eq!(bench.connections.get(), 2);
    }
}

#[test]
fn a_connection_that_ends_during_its_login_was_sent_no_request() {
    for answer in ["", "+OK\r\n", "+O"] {
        let greeting = move |connection| match connection {
            0 => answer.as_bytes().to_vec(),
            _ => b"+OK\r\n+PONG\r\n".to_vec(),
        };
        let mut bench = Bench::greeting(with_password, greeting, |cx, asked| {
            match (asked.connection, &asked.words[0][..]) {
                (0, b"PING") => cx.close(),
                (_, b"PING") => {}
                _ => echo(cx, asked),
            }
        });
        let requests = bench.ask_many(3);
        let outcomes = bench.settled();
        for number in requests {
            assert_eq!(outcomes[number], Outcome::Done(bulk(&number.to_string())));
        }
        assert_eq!(bench.connections.get(), 2);
    }
}

#[test]
fn after_a_login_that_was_refused_another_is_tried_for_what_is_asked_later() {
    let mut bench = Bench::greeting(
        with_password,
        |connection| match connection {
            0 => b"-WRONGPASS invalid username-password pair or user is disabled.\r\n".to_vec(),
            _ => b"+OK\r\n+PONG\r\n".to_vec(),
        },
        |cx, asked| {
            if asked.words[0] != b"PING" {
                echo(cx, asked);
            }
        },
    );
    bench.ask(&["ECHO", "early"]);
    assert_not_sent(&bench.settled()[0], "WRONGPASS");
    bench.clock.advance(Duration::from_secs(2));
    bench.turn();
    bench.ask(&["ECHO", "late"]);
    assert_eq!(bench.settled()[1], Outcome::Done(bulk("late")));
}

#[test]
fn what_is_pushed_is_no_answer() {
    let mut bench = Bench::greeting(
        |settings| settings.version = Version::Resp3,
        |_| b"%1\r\n+proto\r\n:3\r\n".to_vec(),
        |cx, asked| match &asked.words[..] {
            [only] if only == b"PING" => send(cx, b"+PONG\r\n"),
            _ => {
                send(cx, b">2\r\n+invalidate\r\n*1\r\n+a\r\n");
                echo(cx, asked);
            }
        },
    );
    bench.ask_many(3);
    let done = |text: &str| Outcome::Done(bulk(text));
    assert_eq!(bench.settled(), [done("0"), done("1"), done("2")]);
}

#[test]
fn malformed_input_ends_the_connection_and_says_why() {
    let mut bench = Bench::new(
        |settings| settings.max_reply = 1000,
        |cx, asked| match asked.number {
            0 => echo(cx, asked),
            _ => send(cx, b"$1001\r\n"),
        },
    );
    bench.ask_many(3);
    let outcomes = bench.settled();
    assert_eq!(outcomes[0], Outcome::Done(bulk("0")));
    assert_unknown(&outcomes[1], "a reply of more than 1000 bytes");
    assert_unknown(&outcomes[2], "a reply of more than 1000 bytes");
}

#[test]
fn a_server_that_is_too_slow_leaves_the_request_unknown_and_its_connection_is_not_used_again() {
    let late: Rc<Cell<Option<AnyId>>> = Rc::default();
    let slow = Rc::clone(&late);
    let mut bench = Bench::new(
        |_| {},
        move |cx, asked| match asked.connection {
            0 => slow.set(Some(cx.any_id())),
            _ => echo(cx, asked),
        },
    );
    bench.ask(&["ECHO", "a"]);
    bench.turn();
    bench.clock.advance(Duration::from_millis(999));
    bench.turn();
    assert!(bench.outcomes()[0].is_empty(), "not yet");
    bench.clock.advance(Duration::from_millis(1));
    turn_for(&mut bench.reactor, Duration::ZERO);
    if let Some(mut cx) = late.get().and_then(|id| bench.reactor.at(id)) {
        let _ = cx.send(b"$1\r\na\r\n");
    }
    bench.ask(&["ECHO", "b"]);
    let outcomes = bench.settled();
    assert_unknown(&outcomes[0], "no answer in time");
    assert_eq!(outcomes[1], Outcome::Done(bulk("b")));
    assert_eq!(bench.connections.get(), 2);
}

#[test]
fn who_waits_for_a_pool_that_others_have_waits_no_longer_than_its_deadline() {
    let mut bench = Bench::new(|_| {}, |_, _| {});
    let mut settings = Settings::new(bench.address);
    settings.connections = 1;
    let mut options = PoolOptions::new();
    options.max_connections(1);
    let pool = Connections::new(&options, connecting(&settings)).expect("sensible options");
    let pool = bench.reactor.add_service(pool).expect("room");
    settings.timeout = Duration::from_secs(60);
    let first = Client::with_pool(&mut bench.reactor, &settings, pool).expect("room");
    settings.timeout = Duration::from_secs(1);
    let second = Client::with_pool(&mut bench.reactor, &settings, pool).expect("room");
    let kept = bench.ask_of(first, &["ECHO", "kept"]);
    bench.turn();
    let waits = bench.ask_of(second, &["ECHO", "waits"]);
    bench.turn();
    assert!(bench.outcomes()[waits].is_empty(), "it waits");
    bench.clock.advance(Duration::from_secs(1));
    bench.turn();
    assert_not_sent(&bench.outcomes()[waits][0], "in time");
    assert!(bench.outcomes()[kept].is_empty());
    assert_eq!(*bench.seen.borrow(), [b"kept"]);
    let outcomes = bench.settled();
    assert_unknown(&outcomes[kept], "no answer in time");
}

#[test]
fn without_a_server_nothing_is_sent_and_waiting_has_an_end() {
    let mut bench = Bench::new(|_| {}, echo);
    let listener = bench.server;
    if let Some(mut cx) = bench.reactor.at(listener) {
        cx.abort();
    }
    bench.turn();
    for _ in 0..50 {
        bench.ask(&["ECHO", "a"]);
    }
    bench.settle();
    // The budget for attempts is spent: refused sooner than at its deadline.
    for _ in 0..50 {
        bench.ask(&["ECHO", "a"]);
        bench.clock.advance(Duration::from_millis(100));
        bench.turn();
    }
    bench.settle();
    for outcome in bench.outcomes() {
        assert!(matches!(&outcome[..], [Outcome::NotSent(_)]), "{outcome:?}");
    }
}

#[test]
fn no_more_wait_than_may_and_none_longer_than_its_deadline() {
    let mut bench = Bench::new(
        |settings| (settings.pipeline, settings.max_waiting) = (2, 3),
        |_, _| {},
    );
    bench.ask_many(2);
    bench.turn();
    bench.ask_many(5);
    let outcomes = bench.settled();
    assert_unknown(&outcomes[0], "no answer in time");
    assert_unknown(&outcomes[1], "no answer in time");
    for outcome in &outcomes[2..5] {
        assert_not_sent(outcome, "no connection had room in time");
    }
    for outcome in &outcomes[5..7] {
        assert_not_sent(outcome, "as many requests wait as may");
    }
}

#[test]
fn what_would_confuse_a_shared_connection_is_not_sent() {
    let mut bench = Bench::new(|settings| settings.max_request = 100, echo);
    let client = bench.client;
    for words in [
        &["select", "1"][..],
        &["MULTI"],
        &["client", "reply", "off"],
        &["Subscribe", "a"],
    ] {
        bench.ask(words);
    }
    let none = bench.ask(&[]);
    let large = bench.ask(&["ECHO", &"x".repeat(100)]);
    let outcomes = bench.settled();
    for outcome in &outcomes[..none] {
        assert_not_sent(outcome, "connections are shared");
    }
    assert_not_sent(&outcomes[none], "without a command");
    assert_not_sent(&outcomes[large], "too large");
    if let Some(mut cx) = bench.reactor.at(client) {
        cx.close();
    }
    bench.turn();
    let late = bench.ask(&["ECHO", "a"]);
    bench.settle();
    assert_not_sent(&bench.outcomes()[late][0], "the client has ended");
    assert!(bench.seen.borrow().is_empty());
}

#[test]
fn a_request_as_large_as_may_be_goes_behind_others() {
    let value = "x".repeat(3 << 20);
    let mut bench = Bench::new(|settings| settings.max_request = 4 << 20, echo);
    bench.ask_many(10);
    let large = bench.ask(&["ECHO", &value]);
    let last = bench.ask(&["ECHO", "last"]);
    let outcomes = bench.settled();
    assert_eq!(outcomes[large], Outcome::Done(bulk(&value)));
    assert_eq!(outcomes[last], Outcome::Done(bulk("last")));
}

#[test]
fn a_drain_waits_for_what_is_in_flight_and_not_for_ever() {
    let mut bench = Bench::new(
        |settings| (settings.pipeline, settings.timeout) = (2, Duration::from_secs(60)),
        |cx, asked| {
            if asked.words[1] == b"quick" {
                let id = cx.any_id();
                cx.call_later(Duration::from_millis(500), move |reactor: &mut Reactor| {
                    if let Some(mut cx) = reactor.at(id) {
                        send(&mut cx, b"$5\r\nquick\r\n");
                    }
                });
            }
        },
    );
    let quick = bench.ask(&["ECHO", "quick"]);
    let slow = bench.ask(&["ECHO", "slow"]);
    bench.turn();
    let waits = bench.ask(&["ECHO", "waits"]);
    let client = bench.client;
    if let Some(mut cx) = bench.reactor.at(bench.asker) {
        Client::drain(&mut cx, client, Duration::from_secs(1));
    }
    let late = bench.ask(&["ECHO", "late"]);
    bench.turn();
    let outcomes = bench.outcomes();
    assert_not_sent(&outcomes[waits][0], "shutting down");
    assert_not_sent(&outcomes[late][0], "shutting down");
    let before = bench.reactor.counters();
    let outcomes = bench.settled();
    assert_eq!(outcomes[quick], Outcome::Done(bulk("quick")));
    assert_unknown(&outcomes[slow], "");
    assert!(
        bench.reactor.counters().turns - before.turns < 3000,
        "long before its deadline"
    );
}

#[test]
fn a_shutdown_of_the_reactor_waits_for_answers_in_flight() {
    let mut bench = Bench::new(|_| {}, echo);
    bench.ask_many(5);
    // What the server is asked while it shuts down it answers, too; only nobody is accepted any more.
    bench.turn();
    bench.ask_many(5);
    let aborted = bench
        .reactor
        .shutdown(Duration::from_secs(5))
        .expect("no fault");
    assert!(aborted.is_empty(), "{aborted:?}");
}

#[test]
fn a_client_that_ends_leaves_nobody_without_an_answer() {
    let mut bench = Bench::new(|settings| settings.pipeline = 2, |_, _| {});
    bench.ask_many(5);
    bench.turn();
    let client = bench.client;
    if let Some(mut cx) = bench.reactor.at(client) {
        cx.abort();
    }
    bench.turn();
    let outcomes = bench.outcomes();
    for outcome in &outcomes[..2] {
        assert!(matches!(&outcome[..], [Outcome::Unknown(_)]), "{outcome:?}");
    }
    for outcome in &outcomes[2..] {
        assert!(matches!(&outcome[..], [Outcome::NotSent(_)]), "{outcome:?}");
    }
}

#[test]
fn an_asker_that_has_gone_or_panics_is_no_concern_of_the_others() {
    struct Torn;
    impl Dispatcher for Torn {}
    let mut bench = Bench::new(|_| {}, echo);
    let (client, asker) = (bench.client, bench.asker);
    let gone = bench.reactor.add_service(Torn).expect("room");
    let torn = bench.reactor.add_service(Torn).expect("room");
    bench.ask(&["ECHO", "a"]);
    if let Some(mut cx) = bench.reactor.at(asker) {
        Client::request(&mut cx, client, gone, &["ECHO", "b"], |_, _, _| {
            unreachable!("it has gone")
        });
        Client::request(&mut cx, client, torn, &["ECHO", "c"], |_, _, _| {
            panic!("wanted")
        });
    }
    if let Some(mut cx) = bench.reactor.at(gone) {
        cx.abort();
    }
    bench.ask(&["ECHO", "d"]);
    let done = |text: &str| Outcome::Done(bulk(text));
    assert_eq!(bench.settled(), [done("a"), done("d")]);
    let counts = bench
        .reactor
        .at(asker)
        .map(|mut cx| Client::gauges(&mut cx, client));
    assert_eq!(counts.expect("it is there").answered.undelivered, 2);
    assert_eq!(bench.connections.get(), 1);
}

/// What a server does with a command.
#[derive(Clone, Copy, Debug)]
enum Act {
    Answer,
    AnswerLater,
    AnswerInParts,
    Nothing,
    Close,
    Reset,
    Garbage,
    HalfAndClose,
    AnswerAndClose,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => Just(Act::Answer),
        2 => Just(Act::AnswerLater),
        2 => Just(Act::AnswerInParts),
        1 => Just(Act::Nothing),
        1 => Just(Act::Close),
        1 => Just(Act::Reset),
        1 => Just(Act::Garbage),
        1 => Just(Act::HalfAndClose),
        1 => Just(Act::AnswerAndClose),
    ]
}

fn perform(cx: &mut Context<'_>, asked: &Asked, act: Act) {
    let word = &asked.words[1];
    let reply = [format!("${}\r\n", word.len()).as_bytes(), word, b"\r\n"].concat();
    match act {
        Act::Answer => send(cx, &reply),
        // Whatever is asked behind it is answered after it.
        Act::AnswerLater | Act::AnswerInParts => {
            let half = if matches!(act, Act::AnswerLater) {
                0
            } else {
                reply.len() / 2
            };
            send(cx, &reply[..half]);
            cx.pause_reading();
            let (id, rest) = (cx.any_id(), reply[half..].to_vec());
            cx.call_later(Duration::from_millis(3), move |reactor: &mut Reactor| {
                if let Some(mut cx) = reactor.at(id) {
                    let _ = cx.send(&rest);
                    cx.resume_reading();
                }
            });
        }
        Act::Nothing => cx.pause_reading(),
        Act::Close => cx.close(),
        Act::Reset => cx.abort(),
        Act::Garbage => send(cx, b"\x16\x03\x01garbage\r\n"),
        Act::HalfAndClose => {
            send(cx, &reply[..reply.len() / 2]);
            cx.close();
        }
        Act::AnswerAndClose => {
            send(cx, &reply);
            cx.close();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Whatever the server does: each request has one outcome, an answer is its own, and what is said not to be sent
    /// was never seen.
    #[test]
    fn each_request_has_one_outcome_and_it_is_true(
        acts in proptest::collection::vec(act(), 1..40),
        connections in 1..4_usize,
        pipeline in 1..10_usize,
        max_waiting in 1..30_usize,
        bursts in proptest::collection::vec((1..12_usize, 0..30_u64), 1..12),
    ) {
        let next = Cell::new(0);
        let mut bench = Bench::new(
            |settings| {
                settings.connections = connections;
                settings.pipeline = pipeline;
                settings.max_waiting = max_waiting;
                settings.timeout = Duration::from_millis(100);
            },
            move |cx, asked| {
                let act = acts[next.get() % acts.len()];
                next.set(next.get() + 1);
                if cx.is_reading() {
                    perform(cx, asked, act);
                } else {
                    // It must not answer what is behind one that it has not answered.
                    cx.pause_reading_for(Pause::Handshake);
                }
            },
        );
        let mut asked = 0;
        for (count, pause) in bursts {
            for _ in 0..count {
                bench.ask(&["ECHO", &asked.to_string()]);
                asked += 1;
            }
            for _ in 0..pause {
                turn_for(&mut bench.reactor, Duration::ZERO);
                bench.clock.advance(Duration::from_millis(1));
            }
        }
        let outcomes = bench.settled();
        prop_assert_eq!(outcomes.len(), asked);
        let seen: HashSet<_> = bench.seen.borrow().iter().cloned().collect();
        for (number, outcome) in outcomes.iter().enumerate() {
            let text = number.to_string();
            match outcome {
                Outcome::Done(reply) => prop_assert_eq!(reply, &bulk(&text)),
                Outcome::NotSent(_) => prop_assert!(!seen.contains(text.as_bytes())),
                Outcome::Unknown(_) => {}
            }
        }
    }
}
