//! Another dispatcher takes over a connection, a connection leaves its reactor, and input is read again:
//! no byte is lost or read twice.

mod util;

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use slabloop::framing::{Framed, Framing, Handler, LengthPrefix, Terminator};
use slabloop::{Accepted, Cause, Context, Detached, Dispatcher, Id, Reactor, TimerId};
use util::*;

/// Keeps what it reads, and says that it was dropped.
#[derive(Clone, Default)]
struct Sink {
    bytes: Rc<RefCell<Vec<u8>>>,
    events: Rc<RefCell<Vec<&'static str>>>,
}

impl Dispatcher for Sink {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|bytes, _| {
            self.bytes.borrow_mut().extend(bytes);
            Ok(())
        })
    }

    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.events.borrow_mut().push("eof");
        cx.close();
        Ok(())
    }

    fn handle_timer(&mut self, _: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        self.events.borrow_mut().push("timer");
        Ok(())
    }

    fn handle_close(&mut self, _: &mut Context<'_>) {
        self.events.borrow_mut().push("close");
    }
}

/// A line protocol until the line `upgrade`, after which the rest is a sink's.
#[derive(Default)]
struct Lines {
    lines: Rc<RefCell<Vec<String>>>,
    next: Option<Sink>,
    id: Rc<Cell<Option<Id<Sink>>>>,
}

impl Handler for Lines {
    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        _: &mut Framing,
        line: &[u8],
    ) -> io::Result<()> {
        let line = String::from_utf8_lossy(line).into_owned();
        if line == "upgrade" {
            let next = self.next.take().expect("it comes once");
            cx.set_timer(Duration::ZERO);
            self.id.set(Some(cx.replace(next)?));
        }
        self.lines.borrow_mut().push(line);
        Ok(())
    }

    fn handle_close(&mut self, _: &mut Context<'_>) {
        assert!(self.id.get().is_none(), "its place was taken");
    }
}

#[test]
fn what_a_layer_had_read_too_far_its_successor_reads_first() {
    let stream = b"one\ntwo\nupgrade\nthree\nfour".to_vec();
    // Cut anywhere: what comes after the line may have been read already, or not.
    for cut in 0..=stream.len() {
        let mut reactor = Reactor::new().expect("a poller");
        let (ours, mut peer) = tcp_pair();
        let (sink, lines) = (Sink::default(), Rc::default());
        let id = Rc::new(Cell::new(None));
        let handler = Lines {
            lines: Rc::clone(&lines),
            next: Some(sink.clone()),
            id: Rc::clone(&id),
        };
        let framed = Framed::new(Terminator::Line, handler).expect("a terminator");
        let before = reactor.add(ours, framed).expect("a stream");
        peer.write_all(&stream[..cut]).expect("room");
        settle(&mut reactor);
        peer.write_all(&stream[cut..]).expect("room");
        drop(peer);
        turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
        assert_eq!(*lines.borrow(), ["one", "two", "upgrade"], "cut at {cut}");
        assert_eq!(*sink.bytes.borrow(), b"three\nfour", "cut at {cut}");
        assert_eq!(
            *sink.events.borrow(),
            ["eof", "close"],
            "no timer of the old one's"
        );
        assert_eq!(
            id.get().expect("replaced").any(),
            before.any(),
            "the id stays"
        );
    }
}

#[test]
fn a_successor_set_from_outside_takes_over_at_once_and_old_typed_ids_reach_nobody() {
    struct Old(Rc<Cell<bool>>);
    impl Dispatcher for Old {}
    impl Drop for Old {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, mut peer) = tcp_pair();
    let (dropped, sink) = (Rc::new(Cell::new(false)), Sink::default());
    let old = reactor
        .add(ours, Old(Rc::clone(&dropped)))
        .expect("a stream");
    reactor.at(old).expect("open").set_timer(Duration::ZERO);
    let new = reactor
        .at(old)
        .expect("open")
        .replace(sink.clone())
        .expect("open");
    assert!(dropped.get());
    assert!(reactor.with(old, |_, _| ()).is_none());
    assert!(reactor.with(new, |_, _| ()).is_some());
    assert!(
        reactor.at(old).is_some(),
        "without its type it names the connection"
    );
    peer.write_all(b"x").expect("room");
    turn_until(&mut reactor, "the byte", |_| {
        !sink.bytes.borrow().is_empty()
    });
    assert!(sink.events.borrow().is_empty(), "no timer of the old one's");
}

#[test]
fn the_last_of_several_successors_counts_and_a_closing_one_takes_none() {
    struct Twice(Sink, Sink);
    impl Dispatcher for Twice {
        fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            let first = cx.replace(self.0.clone())?;
            let second = cx.replace(self.1.clone())?;
            assert_eq!(first, second);
            Ok(())
        }
    }
    let mut reactor = Reactor::new().expect("a poller");
    let (first, second) = (Sink::default(), Sink::default());
    let (ours, mut peer) = tcp_pair();
    let id = reactor
        .add(ours, Twice(first.clone(), second.clone()))
        .expect("a stream");
    peer.write_all(b"x").expect("room");
    turn_until(&mut reactor, "the byte", |_| {
        !second.bytes.borrow().is_empty()
    });
    assert!(first.bytes.borrow().is_empty());
    reactor.at(id).expect("open").close();
    let refused = reactor.at(id).expect("closing").replace(Sink::default());
    assert_eq!(
        refused.expect_err("closing").kind(),
        io::ErrorKind::NotConnected
    );
}

#[test]
fn a_successor_gets_the_error_that_its_predecessor_returned_after_giving_way() {
    struct Fails(Spy);
    impl Dispatcher for Fails {
        fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            let next = std::mem::replace(&mut self.0, Spy::new("unused", &Diary::default()));
            cx.replace(next)?;
            Err(io::Error::other("after the handover"))
        }
    }
    let mut reactor = Reactor::new().expect("a poller");
    let diary = Diary::default();
    let (ours, mut peer) = tcp_pair();
    reactor
        .add(ours, Fails(Spy::new("next", &diary)))
        .expect("a stream");
    peer.write_all(b"x").expect("room");
    turn_until(&mut reactor, "the error", |_| !diary.of("next").is_empty());
    assert!(diary.of("next")[0].contains("Other"), "{:?}", diary.all());
}

#[test]
fn a_successor_set_in_handle_error_lives_on() {
    struct Fails(Sink);
    impl Dispatcher for Fails {
        fn handle_read(&mut self, _: &mut Context<'_>) -> io::Result<()> {
            Err(io::Error::other("on purpose"))
        }

        fn handle_error(&mut self, cx: &mut Context<'_>, _: io::Error) {
            cx.replace(self.0.clone()).expect("still open");
        }
    }
    let mut reactor = Reactor::new().expect("a poller");
    let sink = Sink::default();
    let (ours, mut peer) = tcp_pair();
    reactor.add(ours, Fails(sink.clone())).expect("a stream");
    peer.write_all(b"still here").expect("room");
    turn_until(&mut reactor, "the bytes", |_| {
        *sink.bytes.borrow() == b"still here"
    });
}

#[test]
fn input_that_is_put_back_is_read_first_and_the_end_comes_after_it() {
    struct Picky(Sink, bool);
    impl Dispatcher for Picky {
        fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            if std::mem::replace(&mut self.1, true) {
                return self.0.handle_read(cx);
            }
            let mut buffer = [0; 16];
            let count = cx.recv(&mut buffer)?;
            cx.unread(&buffer[..count])?;
            // Read again in pieces, with more put in front.
            let mut one = [0];
            assert_eq!((cx.recv(&mut one)?, one), (1, [b'a']));
            cx.unread(b"A")?;
            cx.unread(b"")?;
            Ok(())
        }

        fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            self.0.handle_eof(cx)
        }
    }
    for closed in [false, true] {
        let mut reactor = Reactor::new().expect("a poller");
        let sink = Sink::default();
        let (ours, mut peer) = tcp_pair();
        peer.write_all(b"abc").expect("room");
        if closed {
            drop(peer);
        }
        let id = reactor
            .add(ours, Picky(sink.clone(), false))
            .expect("a stream");
        turn_until(&mut reactor, "the bytes", |_| {
            *sink.bytes.borrow() == b"Abc"
        });
        if closed {
            turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
            assert_eq!(*sink.events.borrow(), ["eof"]);
        } else {
            assert_asleep(&mut reactor, "with all read again");
            let mut cx = reactor.at(id).expect("open");
            cx.pause_reading();
            cx.unread(b"held").expect("open");
            settle(&mut reactor);
            assert_eq!(*sink.bytes.borrow(), b"Abc", "paused");
            reactor.at(id).expect("open").resume_reading();
            turn_until(&mut reactor, "the bytes", |_| {
                *sink.bytes.borrow() == b"Abcheld"
            });
        }
    }
}

#[test]
fn what_is_put_back_after_the_end_was_seen_is_read_before_it() {
    struct AtTheEnd(Sink, bool);
    impl Dispatcher for AtTheEnd {
        fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            self.0.handle_read(cx)
        }

        fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            self.0.events.borrow_mut().push("eof");
            if !std::mem::replace(&mut self.1, true) {
                return cx.unread(b"one more");
            }
            cx.close();
            Ok(())
        }
    }
    let mut reactor = Reactor::new().expect("a poller");
    let sink = Sink::default();
    let (ours, peer) = tcp_pair();
    drop(peer);
    reactor
        .add(ours, AtTheEnd(sink.clone(), false))
        .expect("a stream");
    turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
    assert_eq!(*sink.bytes.borrow(), b"one more");
    assert_eq!(*sink.events.borrow(), ["eof", "eof"]);
}

#[test]
fn input_can_be_put_back_on_an_open_stream_alone_and_others_are_told_why_not() {
    let mut reactor = Reactor::new().expect("a poller");
    let listener = reactor.listen("127.0.0.1:0", Sink::default());
    let listener = listener.expect("a port").any();
    let datagrams = reactor.bind_udp("127.0.0.1:0", Sink::default());
    let datagrams = datagrams.expect("a port").any();
    let service = reactor.add_service(Sink::default()).expect("room").any();
    let address = reactor.local_addr(listener).expect("bound");
    let connecting = reactor.connect(address, Sink::default());
    let connecting = connecting.expect("it listens").any();
    let (ours, _peer) = tcp_pair();
    let closing = reactor.add(ours, Sink::default()).expect("a stream").any();
    reactor.at(closing).expect("open").close();
    let refused = |reactor: &mut Reactor, id| {
        let error = reactor.at(id).expect("there").unread(b"x");
        let error = error.expect_err("no open stream");
        (error.kind(), error.to_string())
    };
    for (id, what) in [
        (listener, "listener"),
        (datagrams, "UDP"),
        (service, "service"),
    ] {
        let (kind, text) = refused(&mut reactor, id);
        assert_eq!(kind, io::ErrorKind::Unsupported, "{what}");
        assert!(text.contains(what), "{text}");
    }
    for (id, why) in [(connecting, "before"), (closing, "after close")] {
        let (kind, text) = refused(&mut reactor, id);
        assert_eq!(kind, io::ErrorKind::NotConnected, "{why}");
        assert!(text.contains(why), "{text}");
    }
}

/// A connection with 3 bytes that a layer has read, and so many in its outbox.
fn busy_connection(reactor: &mut Reactor, unsent: usize) -> (Id<Framed<Lines>>, TcpStream) {
    let (ours, mut peer) = tcp_pair();
    let handler = Lines {
        lines: Rc::default(),
        next: None,
        id: Rc::default(),
    };
    let framed = Framed::new(Terminator::Line, handler).expect("a terminator");
    let id = reactor.add(ours, framed).expect("a stream");
    peer.write_all(b"hal").expect("room");
    settle(reactor);
    let mut cx = reactor.at(id).expect("open");
    let cap = unsent.max(1 << 20);
    cx.set_marks(1, cap, cap).expect("in range");
    cx.send(&pattern(1, unsent)).expect("room");
    (id, peer)
}

#[test]
fn a_detached_connection_goes_on_in_another_reactor_on_another_thread() {
    const UNSENT: usize = 8_000_000;
    let mut reactor = Reactor::new().expect("a poller");
    let (id, mut peer) = busy_connection(&mut reactor, UNSENT);
    let detached: Detached = reactor.detach(id).expect("open");
    assert_eq!(detached.peer(), Some(peer.local_addr().expect("connected")));
    turn(&mut reactor);
    assert_eq!(reactor.end_of(id), Some(Cause::Detached));
    assert_eq!((reactor.count(), reactor.counters().ends.detached), (0, 1));
    let other = thread::spawn(move || {
        let mut reactor = Reactor::new().expect("a poller");
        let sink = Sink::default();
        let id = reactor.add(detached, sink.clone()).expect("a stream");
        reactor.at(id).expect("open").send(b"and on").expect("room");
        turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
        assert_eq!(*sink.events.borrow(), ["eof", "close"]);
        sink.bytes.take()
    });
    let mut received = vec![0; UNSENT];
    peer.read_exact(&mut received).expect("it goes on");
    assert_eq!(received, pattern(1, UNSENT), "in order, without a gap");
    peer.write_all(b"f and half").expect("room");
    peer.shutdown(std::net::Shutdown::Write).expect("connected");
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).expect("a clean end");
    assert_eq!(rest, b"and on");
    assert_eq!(other.join().expect("no panic"), b"half and half");
}

#[test]
fn a_detached_connection_becomes_a_blocking_stream_once_its_bytes_are_taken() {
    let mut reactor = Reactor::new().expect("a poller");
    let (id, mut peer) = busy_connection(&mut reactor, 10);
    let detached = reactor.detach(id).expect("open");
    let error = TcpStream::try_from(detached).expect_err("bytes would be lost");
    assert!(
        error.to_string().contains("3 unread and 10 unsent"),
        "{error}"
    );
    let gone = peer.read(&mut [0; 8]);
    assert!(matches!(gone, Ok(0) | Err(_)), "dropping it closes it");

    let (id, mut peer) = busy_connection(&mut reactor, 10);
    let mut detached = reactor.detach(id).expect("open");
    assert_eq!(detached.take_unread(), b"hal");
    assert_eq!(detached.take_unsent(), pattern(1, 10));
    let mut stream = TcpStream::try_from(detached).expect("a TCP connection");
    let reader = thread::spawn(move || {
        let mut byte = [0];
        stream.read_exact(&mut byte).map(|()| byte[0])
    });
    peer.write_all(b"x").expect("room");
    assert_eq!(reader.join().expect("no panic").expect("it blocks"), b'x');

    let (ours, _peer) = UnixStream::pair().expect("descriptors");
    let id = reactor.add(ours, Sink::default()).expect("a stream");
    let detached = reactor.detach(id).expect("open");
    assert!(
        TcpStream::try_from(detached).is_err(),
        "it is of another kind"
    );
}

#[test]
fn a_record_that_is_half_there_leaves_as_it_came_with_its_length_or_half_its_end() {
    let two = Terminator::Prefixed(LengthPrefix::Two);
    let end = Terminator::Bytes(b"\r\n.".to_vec());
    let cases = [
        (Terminator::Line, &b"half\r"[..]),
        (end, b"half\r\n"),
        (Terminator::Length(10), b"half"),
        (Terminator::Netstring, b"10:half"),
        (Terminator::Netstring, b"1"),
        (Terminator::Netstring, b"4:half"),
        (two.clone(), b"\0\x0ahalf"),
        (two, b"\x01"),
    ];
    for (terminator, came) in cases {
        let mut reactor = Reactor::new().expect("a poller");
        let (ours, mut peer) = tcp_pair();
        let framed = Framed::new(terminator.clone(), Lines::default()).expect("a terminator");
        let id = reactor.add(ours, framed).expect("a stream");
        peer.write_all(came).expect("room");
        turn_until(&mut reactor, "it is read", |reactor| {
            reactor.counters().bytes_in == came.len() as u64
        });
        let mut detached = reactor.detach(id).expect("open");
        assert_eq!(detached.take_unread(), came, "{terminator:?}");
    }
}

#[test]
fn what_cannot_be_detached_says_why_and_stays() {
    struct Asks(Rc<RefCell<Option<io::Error>>>);
    impl Dispatcher for Asks {
        fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
            let id = cx.any_id();
            *self.0.borrow_mut() = cx.detach(id).err();
            Ok(())
        }
    }
    let mut reactor = Reactor::new().expect("a poller");
    let refused = Rc::new(RefCell::new(None));
    let (ours, _peer) = tcp_pair();
    let own = reactor
        .add(ours, Asks(Rc::clone(&refused)))
        .expect("a stream");
    reactor.at(own).expect("open").set_timer(Duration::ZERO);
    turn_until(&mut reactor, "the timer", |_| refused.borrow().is_some());
    let error = refused.take().expect("refused");
    assert!(error.to_string().contains("its own callback"), "{error}");

    let listener = reactor
        .listen("127.0.0.1:0", Sink::default())
        .expect("a port");
    let error = reactor.detach(listener).expect_err("no connection");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);

    let far = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = far.local_addr().expect("bound");
    let connecting = reactor
        .connect(address, Sink::default())
        .expect("it listens");
    assert!(reactor.detach(connecting).is_err(), "not established");

    let (id, _peer) = busy_connection(&mut reactor, 0);
    reactor.with(id, |framed, cx| {
        framed
            .framing()
            .push_producer(cx, io::repeat(7).take(100_000_000));
    });
    let error = reactor.detach(id).expect_err("a producer is at work");
    assert!(error.to_string().contains("output"), "{error}");
    assert!(reactor.at(id).is_some(), "it stays");

    reactor.at(own).expect("open").abort();
    turn(&mut reactor);
    let error = reactor.detach(own).expect_err("gone");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_callback_detaches_its_own_connection_by_deferring_it() {
    struct Leaves(Rc<Cell<bool>>);
    impl Dispatcher for Leaves {
        fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            cx.recv(&mut [0; 1])?;
            let (id, left) = (cx.any_id(), Rc::clone(&self.0));
            cx.defer(move |reactor| left.set(reactor.detach(id).is_ok()));
            Ok(())
        }
    }
    let mut reactor = Reactor::new().expect("a poller");
    let left = Rc::new(Cell::new(false));
    let (ours, mut peer) = tcp_pair();
    reactor
        .add(ours, Leaves(Rc::clone(&left)))
        .expect("a stream");
    peer.write_all(b"xyz").expect("room");
    turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
    assert!(left.get());
}

#[test]
fn an_accepted_connection_becomes_a_blocking_stream() {
    struct Door(Rc<RefCell<Option<TcpStream>>>);
    impl Dispatcher for Door {
        fn handle_accept(&mut self, _: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
            *self.0.borrow_mut() = Some(accepted.try_into()?);
            Ok(())
        }
    }
    let mut reactor = Reactor::new().expect("a poller");
    let taken = Rc::new(RefCell::new(None));
    let id = reactor
        .listen("127.0.0.1:0", Door(Rc::clone(&taken)))
        .expect("a port");
    let address = reactor.local_addr(id).expect("a listener");
    let mut client = TcpStream::connect(address).expect("it listens");
    turn_until(&mut reactor, "the client", |_| taken.borrow().is_some());
    let mut stream: TcpStream = taken.take().expect("taken");
    let reader = thread::spawn(move || stream.read(&mut [0; 1]).ok());
    client.write_all(b"x").expect("room");
    assert_eq!(reader.join().expect("no panic"), Some(1));
}

/// Gives what it accepts to the test, as a stream that blocks.
#[derive(Clone, Default)]
struct GivesAway(Rc<RefCell<Option<(UnixStream, bool)>>>);

impl Dispatcher for GivesAway {
    fn handle_accept(&mut self, _: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let is_nameless = accepted.peer_path().is_none() && accepted.peer().is_none();
        let stream = UnixStream::try_from(accepted)?;
        *self.0.borrow_mut() = Some((stream, is_nameless));
        Ok(())
    }
}

#[test]
fn unix_connections_leave_the_reactor_as_streams_that_block() {
    let mut reactor = Reactor::new().expect("a poller");
    let name = format!("slabloop-handover-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let given = GivesAway::default();
    let listener = std::os::unix::net::UnixListener::bind(&path).expect("a path");
    reactor.add(listener, given.clone()).expect("a listener");
    let mut peer = UnixStream::connect(&path).expect("it listens");
    std::fs::remove_file(&path).expect("it is there");
    turn_until(&mut reactor, "a connection", |_| given.0.borrow().is_some());
    let (mut stream, is_nameless) = given.0.take().expect("it has come");
    assert!(is_nameless, "the client has bound no path");
    let reader = thread::spawn(move || {
        let mut byte = [0];
        stream.read_exact(&mut byte).map(|()| byte[0])
    });
    peer.write_all(b"x").expect("room");
    assert_eq!(reader.join().expect("no panic").expect("it blocks"), b'x');

    let (ours, mut peer) = UnixStream::pair().expect("descriptors");
    let id = reactor.add(ours, Sink::default()).expect("a stream");
    let detached = reactor.detach(id).expect("open");
    assert_eq!((detached.peer(), detached.peer_path()), (None, None));
    let mut stream = UnixStream::try_from(detached).expect("a Unix stream");
    let reader = thread::spawn(move || {
        let mut byte = [0];
        stream.read_exact(&mut byte).map(|()| byte[0])
    });
    peer.write_all(b"y").expect("room");
    assert_eq!(reader.join().expect("no panic").expect("it blocks"), b'y');

    let (ours, _peer) = tcp_pair();
    let id = reactor.add(ours, Sink::default()).expect("a stream");
    let detached = reactor.detach(id).expect("open");
    let error = UnixStream::try_from(detached).expect_err("it is of another kind");
    assert!(error.to_string().contains("not a Unix stream"), "{error}");
}

/// Takes the pieces of its first record itself, and gives way in the middle of it.
struct GivesWay(Sink, Rc<RefCell<Vec<u8>>>);

impl Handler for GivesWay {
    fn found_terminator(
        &mut self,
        _: &mut Context<'_>,
        _: &mut Framing,
        _: &[u8],
    ) -> io::Result<()> {
        panic!("its end is the successor's");
    }

    fn collect_incoming(
        &mut self,
        cx: &mut Context<'_>,
        _: &mut Framing,
        piece: &[u8],
    ) -> io::Result<()> {
        self.1.borrow_mut().extend(piece);
        cx.replace(self.0.clone())?;
        cx.pause_reading();
        Ok(())
    }
}

#[test]
fn the_end_of_a_record_whose_pieces_were_taken_is_the_successors() {
    for (terminator, end) in [
        (Terminator::Line, "\r\n"),
        (Terminator::Line, "\n"),
        (Terminator::Bytes(b"END".to_vec()), "END"),
    ] {
        let mut reactor = Reactor::new().expect("a poller");
        let (sink, taken) = (Sink::default(), Rc::default());
        let handler = GivesWay(sink.clone(), Rc::clone(&taken));
        let framed = Framed::new(terminator, handler).expect("a terminator");
        let (ours, mut peer) = tcp_pair();
        let id = reactor.add(ours, framed).expect("a stream");
        peer.write_all(format!("first{end}second").as_bytes())
            .expect("room");
        turn_until(&mut reactor, "the piece", |_| !taken.borrow().is_empty());
        reactor.at(id.any()).expect("open").resume_reading();
        let expected = format!("{end}second");
        turn_until(&mut reactor, "the rest", |_| {
            sink.bytes.borrow().len() >= expected.len()
        });
        assert_eq!(*taken.borrow(), b"first");
        assert_eq!(*sink.bytes.borrow(), expected.as_bytes(), "{end:?}");
    }
}

/// As one that reads a PROXY header does.
struct Names(&'static str);

impl Dispatcher for Names {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|bytes, cx| cx.unread(bytes))?;
        cx.set_peer(self.0.parse().expect("an address"))?;
        cx.replace(Sink::default())?;
        Ok(())
    }
}

#[test]
fn a_peer_that_is_named_is_the_peer_of_all_that_comes_after() {
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, mut peer) = tcp_pair();
    let named = "192.0.2.7:4000";
    let id = reactor.add(ours, Names(named)).expect("a stream");
    peer.write_all(b"x").expect("room");
    turn_until(&mut reactor, "the replacement", |reactor| {
        // The id of the one that was replaced is of another type.
        reactor.with(id, |_, _| ()).is_none()
    });
    let cx = reactor.at(id).expect("open");
    assert_eq!(cx.peer(), named.parse().ok());
    assert!(cx.label().to_string().ends_with("(192.0.2.7:4000)"));
    // The socket is as it was: an abort is a reset, and what leaves the reactor has the name.
    let detached = reactor.detach(id).expect("open");
    assert_eq!(detached.peer(), named.parse().ok());
    let again = reactor.add(detached, Sink::default()).expect("a stream");
    reactor.at(again).expect("open").abort();
    turn(&mut reactor);
    let end = peer.read(&mut [0]).expect_err("a reset");
    assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_listener_has_no_peer_that_could_be_named() {
    let mut reactor = Reactor::new().expect("a poller");
    let id = reactor.listen("127.0.0.1:0", Sink::default());
    let mut cx = reactor.at(id.expect("a port")).expect("it listens");
    let own = cx.peer();
    let refused = cx.set_peer(([192, 0, 2, 7], 1).into());
    assert_eq!(refused.expect_err("no").kind(), io::ErrorKind::Unsupported);
    assert_eq!(cx.peer(), own);
}

#[test]
fn an_accepted_connection_tells_the_path_of_a_client_that_has_one() {
    struct Notes(Rc<RefCell<Option<PathBuf>>>);
    impl Dispatcher for Notes {
        fn handle_accept(&mut self, _: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
            *self.0.borrow_mut() = accepted.peer_path().map(Path::to_owned);
            Ok(())
        }
    }
    let name = |what: &str| {
        let file = format!("slabloop-{}-path-of-{what}", std::process::id());
        std::env::temp_dir().join(file)
    };
    let (server, client) = (name("server"), name("client"));
    let mut reactor = Reactor::new().expect("a poller");
    let noted = Rc::new(RefCell::new(None));
    let listener = std::os::unix::net::UnixListener::bind(&server).expect("a path");
    reactor
        .add(listener, Notes(Rc::clone(&noted)))
        .expect("a listener");
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
    let socket = socket.expect("a descriptor");
    let address = |path| socket2::SockAddr::unix(path).expect("it is short");
    socket.bind(&address(&client)).expect("a path");
    socket.connect(&address(&server)).expect("it listens");
    turn_until(&mut reactor, "the client", |_| noted.borrow().is_some());
    assert_eq!(noted.take().as_ref(), Some(&client));
    for path in [server, client] {
        std::fs::remove_file(path).expect("our own file");
    }
}

/// No event announces it: the kernel has nothing more to say.
#[test]
fn what_a_detached_connection_had_read_is_the_first_input_of_the_next_reactor() {
    struct Keeps(Vec<u8>);
    impl Dispatcher for Keeps {
        fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            let mut buffer = [0; 16];
            let count = cx.recv(&mut buffer)?;
            self.0.extend(&buffer[..count]);
            Ok(())
        }

        fn take_unread(&mut self) -> Vec<u8> {
            std::mem::take(&mut self.0)
        }
    }
    let mut first = Reactor::new().expect("a poller");
    let (ours, mut peer) = tcp_pair();
    let id = first.add(ours, Keeps(Vec::new())).expect("a stream");
    peer.write_all(b"half a line").expect("room");
    turn_until(&mut first, "the input", |reactor| {
        reactor.with(id, |keeps, _| keeps.0.len()) == Some(11)
    });
    let detached = first.detach(id).expect("open");
    let mut second = Reactor::new().expect("a poller");
    let id = second.add(detached, Keeps(Vec::new())).expect("a stream");
    turn_until(&mut second, "the same input", |reactor| {
        reactor.with(id, |keeps, _| keeps.0.clone()) == Some(b"half a line".to_vec())
    });
}
