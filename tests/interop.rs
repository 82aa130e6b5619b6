//! Records between Python's asynchat and our framing, in both roles: what one cuts into a stream the
//! other must cut out of it again, wherever the network and the reader cut it meanwhile.
//!
//! Eight connections at a time, with terminators of one to eight bytes. Records are random over few
//! letters, so that beginnings of the terminator that are none abound. Each is answered by its hexadecimal
//! form. Needs a Python that still has asyncore; without one the tests say so and check nothing.

#[path = "conformance/python.rs"]
mod python;
mod util;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;
use std::time::Duration;

use slabloop::framing::{Framed, Framing, Handler, Terminator};
use slabloop::{Accepted, Context, Dispatcher, Reactor, TimerId};
use util::turn_until;

const CONNECTIONS: usize = 8;
const RECORDS: usize = 1300;

fn hex(record: &[u8]) -> Vec<u8> {
    record
        .iter()
        .flat_map(|byte| format!("{byte:02x}").into_bytes())
        .collect()
}

/// A generator that needs no crate, and gives the same on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }

    fn letters(&mut self, of: &[u8], least: usize, most: usize) -> Vec<u8> {
        let length = least + self.below(most - least + 1);
        (0..length).map(|_| of[self.below(of.len())]).collect()
    }
}

/// What a server's connections share with the test.
#[derive(Clone, Default)]
struct Tally {
    records: Rc<Cell<usize>>,
    closed: Rc<Cell<usize>>,
}

struct Listener(Tally);

impl Dispatcher for Listener {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let server = Server {
            state: State::Size,
            tally: self.0.clone(),
        };
        cx.add(accepted, Framed::new(Terminator::Length(1), server)?)?;
        Ok(())
    }
}

/// The first byte of a connection says how long the terminator is that follows it.
enum State {
    Size,
    Terminator,
    Records,
}

struct Server {
    state: State,
    tally: Tally,
}

impl Handler for Server {
    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        record: &[u8],
    ) -> io::Result<()> {
        match self.state {
            State::Size => {
                self.state = State::Terminator;
                framing.set_terminator(Terminator::Length(record[0].into()))
            }
            State::Terminator => {
                self.state = State::Records;
                framing.set_terminator(Terminator::Bytes(record.to_vec()))
            }
            State::Records => {
                self.tally.records.set(self.tally.records.get() + 1);
                framing.push_record(cx, &hex(record))
            }
        }
    }

    fn handle_error(&mut self, _: &mut Context<'_>, error: io::Error) {
        panic!("the server fails: {error}");
    }

    fn handle_close(&mut self, _: &mut Context<'_>) {
        self.tally.closed.set(self.tally.closed.get() + 1);
    }
}

/// Sends its records in pieces of a few bytes, one each turn.
struct Client {
    stream: VecDeque<u8>,
    random: Random,
    /// The answers that are still to come.
    wanted: VecDeque<Vec<u8>>,
    answered: Rc<Cell<usize>>,
    wrong: Rc<RefCell<Vec<String>>>,
}

impl Client {
    fn new(size: usize, answered: &Rc<Cell<usize>>, wrong: &Rc<RefCell<Vec<String>>>) -> Client {
        let mut random = Random(size as u64);
        let end = random.letters(b"xy\r\n", size, size);
        let mut stream = VecDeque::from([u8::try_from(size).expect("at most eight")]);
        stream.extend(&end);
        let mut wanted = VecDeque::new();
        while wanted.len() < RECORDS {
            let record = random.letters(b"xy\r\nabc", 0, 30);
            let sent = [&record[..], &end].concat();
            let first = sent.windows(size).position(|window| window == end);
            if first == Some(record.len()) {
                stream.extend(sent);
                wanted.push_back(hex(&record));
            }
        }
        Client {
            stream,
            random,
            wanted,
            answered: Rc::clone(answered),
            wrong: Rc::clone(wrong),
        }
    }

    fn terminator(&self) -> Terminator {
        let size = usize::from(self.stream[0]);
        Terminator::Bytes(self.stream.range(1..=size).copied().collect())
    }
}

impl Handler for Client {
    fn handle_connect(&mut self, cx: &mut Context<'_>, _: &mut Framing) -> io::Result<()> {
        cx.set_interval(Duration::ZERO);
        Ok(())
    }

    fn handle_timer(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        timer: TimerId,
    ) -> io::Result<()> {
        let size = (1 + self.random.below(9)).min(self.stream.len());
        let piece: Vec<u8> = self.stream.drain(..size).collect();
        if self.stream.is_empty() {
            cx.cancel_timer(timer);
        }
        framing.push(cx, &piece)
    }

    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        _: &mut Framing,
        record: &[u8],
    ) -> io::Result<()> {
        let wanted = self.wanted.pop_front().unwrap_or_default();
        if record != wanted {
            let text = format!("{wanted:?} came back as {record:?}");
            self.wrong.borrow_mut().push(text);
        }
        self.answered.set(self.answered.get() + 1);
        if self.wanted.is_empty() {
            cx.close();
        }
        Ok(())
    }

    fn handle_error(&mut self, _: &mut Context<'_>, error: io::Error) {
        self.wrong.borrow_mut().push(error.to_string());
    }
}

#[test]
fn asynchat_clients_get_every_record_back_from_our_server() {
    let Some(python) = python::with_asyncore() else {
        return;
    };
    let mut reactor = Reactor::new().expect("a poller");
    let tally = Tally::default();
    let listener = reactor
        .listen("127.0.0.1:0", Listener(tally.clone()))
        .expect("a free port");
    let port = reactor
        .local_addr(listener)
        .expect("it listens")
        .port()
        .to_string();
    let records = RECORDS.to_string();
    let mut child = python::start(&python, "interop.py", &["client", &port, &records]);
    turn_until(&mut reactor, "all clients to be done", |_| {
        tally.closed.get() == CONNECTIONS
    });
    let mut printed = String::new();
    let mut stdout = child.stdout.take().expect("piped");
    stdout.read_to_string(&mut printed).expect("text");
    assert!(child.wait().expect("started here").success());
    assert_eq!(printed.trim(), (CONNECTIONS * RECORDS).to_string());
    assert_eq!(tally.records.get(), CONNECTIONS * RECORDS);
}

#[test]
fn our_clients_get_every_record_back_from_an_asynchat_server() {
    let Some(python) = python::with_asyncore() else {
        return;
    };
    let mut child = python::start(&python, "interop.py", &["server", "8"]);
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("it prints its port");
    let address = format!("127.0.0.1:{}", line.trim());
    let mut reactor = Reactor::new().expect("a poller");
    let (answered, wrong) = (Rc::default(), Rc::default());
    for size in 1..=CONNECTIONS {
        let client = Client::new(size, &answered, &wrong);
        let framed = Framed::new(client.terminator(), client).expect("a good terminator");
        reactor.connect(&address, framed).expect("loopback");
    }
    turn_until(&mut reactor, "all records to be answered", |reactor| {
        reactor.count() == 0
    });
    assert_eq!(*wrong.borrow(), Vec::<String>::new());
    assert_eq!(answered.get(), CONNECTIONS * RECORDS);
    line.clear();
    stdout.read_line(&mut line).expect("it prints its count");
    assert!(child.wait().expect("started here").success());
    assert_eq!(line.trim(), (CONNECTIONS * RECORDS).to_string());
}
