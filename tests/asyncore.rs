//! What asyncore's own test suite demands of a dispatcher, demanded of this one.
//!
//! Each test stands for one of Python 3.11's `test_asyncore`; `docs/asyncore-tests.md` says which, and
//! which have no counterpart. Where asyncore calls back from inside a call, asks everybody in every pass
//! or swallows an error, the test holds this crate to what it does instead.

mod util;

#[path = "util/family.rs"]
mod family;
#[path = "util/log_lines.rs"]
mod log_lines;
#[path = "util/scripted.rs"]
mod scripted;

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use family::{
    Family, Place, Taking, assert_asleep, over_all_families, over_v4_and_v6, read_exactly,
    read_to_end, run_guarded, told,
};
use log_lines::{keep_log, take_log};
use scripted::{Script, add_scripted};
use slabloop::testing::Bits;
use slabloop::{Accepted, AnyId, Context, Dispatcher, Reactor, TimerId};
use util::*;

over_all_families! {
    three_sends_arrive_in_order_and_outbox_drains
    handle_connect_follows_connect
    handle_accept_runs_on_the_listener
    dropped_accepted_closes_the_connection
    handle_read_runs_when_data_arrives
    handle_write_runs_only_while_asked_for
    handle_close_follows_the_peer_closing
    writing_to_a_broken_peer_ends_in_handle_close
    error_from_handle_write_reaches_handle_error
    states_of_listener_and_client_through_their_life
    sockets_are_nonblocking_and_close_on_exec
    second_listen_on_one_address_fails
}

over_v4_and_v6! {
    urgent_byte_calls_handle_priority
    only_listeners_reuse_addresses
    client_that_resets_at_once_does_no_harm
}

// ---- Events and errors ----

/// The callbacks that can fail.
const CALLBACKS: [&str; 7] = [
    "accept", "connect", "read", "eof", "write", "priority", "timer",
];

/// Does something in one of its callbacks, the first time.
struct Doing {
    callback: &'static str,
    what: Option<fn(&mut Context<'_>) -> io::Result<()>>,
    diary: Diary,
}

impl Doing {
    fn called(&mut self, callback: &str, cx: &mut Context<'_>) -> io::Result<()> {
        self.diary.note("doing", cx.any_id(), callback);
        if callback != self.callback {
            return Ok(());
        }
        self.what.take().map_or(Ok(()), |what| what(cx))
    }
}

impl Dispatcher for Doing {
    fn handle_accept(&mut self, cx: &mut Context<'_>, _: Accepted) -> io::Result<()> {
        self.called("accept", cx)
    }

    fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.called("connect", cx)
    }

    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv(&mut [0; 64])?;
        self.called("read", cx)
    }

    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.called("eof", cx)
    }

    fn handle_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.stop_writing();
        self.called("write", cx)
    }

    fn handle_priority(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.called("priority", cx)
    }

    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        self.called("timer", cx)
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        self.diary
            .note("doing", cx.any_id(), format!("error: {error}"));
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        self.diary.note("doing", cx.any_id(), "close");
    }
}

/// A reactor in which the next turn makes just this callback.
fn about_to_call(
    callback: &'static str,
    what: fn(&mut Context<'_>) -> io::Result<()>,
) -> (Reactor, AnyId, Diary, Script) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let doing = Doing {
        callback,
        what: Some(what),
        diary: diary.clone(),
    };
    let script = Script::default();
    script.with(|state| match callback {
        "accept" => state.accept.push_back(Ok(Script::default())),
        "read" => state.recv.push_back(Ok(b"input".to_vec())),
        "eof" => state.recv.push_back(Ok(Vec::new())),
        _ => {}
    });
    let id = match callback {
        "accept" => reactor.add(script.listener(), doing).unwrap(),
        "connect" => reactor
            .connect_simulated(script.boxed(slabloop::testing::SimKind::Stream), doing)
            .unwrap(),
        _ => reactor.add(script.stream(), doing).unwrap(),
    };
    let mut cx = reactor.at(id).unwrap();
    match callback {
        "write" => cx.start_writing(),
        "priority" => cx.watch_priority(),
        "timer" => {
            cx.set_timer(Duration::ZERO);
        }
        _ => {}
    }
    let bits = match callback {
        "connect" | "write" => Bits::WRITABLE,
        "priority" => Bits::URGENT,
        "timer" => 0,
        _ => Bits::READABLE,
    };
    reactor.inject(id, bits);
    (reactor, id.any(), diary, script)
}

/// In asyncore one exception class left the loop from inside any handler, in the middle of a pass; here
/// `stop` does, from every callback, and is no error.
#[test]
fn errors_reach_handle_error_and_stop_ends_run() {
    for callback in CALLBACKS {
        let (mut reactor, id, diary, _script) =
            about_to_call(callback, |_| Err(io::Error::other("as wanted")));
        turn(&mut reactor);
        let all = diary.of("doing");
        assert!(all.contains(&callback.to_owned()), "{callback}: {all:?}");
        assert_eq!(all.last().unwrap(), "error: as wanted", "after {callback}");
        assert_eq!(diary.count("doing", "error"), 1, "{callback}");
        assert!(reactor.at(id).is_some(), "its handle_error keeps it");

        let (mut reactor, id, diary, _script) = about_to_call(callback, |cx| {
            cx.stop();
            Ok(())
        });
        run_guarded(&mut reactor);
        assert_eq!(diary.count("doing", callback), 1);
        assert_eq!(diary.count("doing", "error"), 0, "{callback}");
        assert_eq!(diary.count("doing", "close"), 0, "{callback}");
        assert!(reactor.at(id).is_some());
    }
}

#[test]
fn each_readiness_calls_its_own_callback() {
    const ECONNRESET: i32 = 104;
    type Row = (
        &'static str,
        u32,
        Option<Result<&'static [u8], i32>>,
        &'static [&'static str],
    );
    let rows: [Row; 7] = [
        ("input", Bits::READABLE, Some(Ok(b"x")), &["read"]),
        ("room", Bits::WRITABLE, None, &["write"]),
        ("urgent data", Bits::URGENT, None, &["priority"]),
        (
            "the end of the stream",
            Bits::READABLE | Bits::READ_CLOSED,
            Some(Ok(b"")),
            &["read", "eof", "close"],
        ),
        (
            "a hang-up alone",
            Bits::HUNG_UP,
            Some(Ok(b"")),
            &["read", "eof", "close"],
        ),
        (
            "an error alone",
            Bits::ERROR,
            Some(Err(ECONNRESET)),
            &["read", "close"],
        ),
        (
            "an error and a hang-up",
            Bits::ERROR | Bits::HUNG_UP,
            Some(Err(ECONNRESET)),
            &["read", "close"],
        ),
    ];
    for (what, bits, answer, expected) in rows {
        let mut reactor = Reactor::new().unwrap();
        let diary = Diary::default();
        let spy = Spy::new("spy", &diary).on_write(|cx| {
            cx.stop_writing();
            Ok(())
        });
        let (id, script) = add_scripted(&mut reactor, spy);
        script.with(|state| state.recv.extend(answer.map(|a| a.map(<[u8]>::to_vec))));
        let mut cx = reactor.at(id).unwrap();
        match bits {
            Bits::WRITABLE => cx.start_writing(),
            Bits::URGENT => cx.watch_priority(),
            _ => {}
        }
        reactor.inject(id, bits);
        turn_for(&mut reactor, Duration::ZERO);
        turn_for(&mut reactor, Duration::ZERO);
        if expected.contains(&"eof") {
            // Closing waits for the end of the peer's stream, which has been seen: it is over.
            turn_until(&mut reactor, "the close", |reactor| reactor.count() == 0);
        }
        assert_eq!(diary.of("spy"), expected, "{what}");
    }
}

// ---- Closing everything ----

/// One dispatcher of every kind, with a spy each.
fn one_of_each(reactor: &mut Reactor, diary: &Diary) -> (Vec<AnyId>, Vec<OwnedFd>) {
    let (listener, place) = Family::V4.listen(reactor, Spy::new("listener", diary));
    let (stream, peer) = spied_pair(reactor, Spy::new("stream", diary));
    let (unix, other) = Family::Unix.added(reactor, Spy::new("unix", diary));
    let udp = UdpSocket::bind(Family::V4.any_port()).unwrap();
    let udp = reactor.add(udp, Spy::new("udp", diary)).unwrap();
    let connecting = place.connect(reactor, Spy::new("connecting", diary));
    let ids = [listener, stream, unix, udp, connecting.unwrap()];
    let ids = ids.map(|id| id.any()).to_vec();
    (ids, vec![peer.into(), other.into()])
}

#[test]
fn close_all_closes_every_dispatcher() {
    let mut reactor = Reactor::new().unwrap();
    reactor.close_all();
    let diary = Diary::default();
    let (ids, _peers) = one_of_each(&mut reactor, &diary);
    reactor.close_all();
    reactor.check_invariants();
    assert_eq!(reactor.count(), 0);
    assert_eq!(
        diary.all(),
        [
            "listener close",
            "stream close",
            "unix close",
            "udp close",
            "connecting close"
        ]
    );
    assert!(ids.iter().all(|&id| reactor.at(id).is_none()));
    // And it can be used again.
    let (_again, _peers) = one_of_each(&mut reactor, &diary);
    turn(&mut reactor);
    assert_eq!(reactor.count(), 5);
}

/// asyncore's map was a global of the module: whoever forgot to empty it left sockets open. A reactor is
/// a value.
#[test]
fn dropping_the_reactor_closes_every_dispatcher() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (ids, _peers) = one_of_each(&mut reactor, &diary);
    drop(reactor);
    assert_eq!(diary.all().len(), ids.len());
    assert!(diary.all().iter().all(|noted| noted.ends_with(" close")));
}

// ---- A dispatcher by itself ----

/// Both `readable()` and `writable()` were true from the start, so that a dispatcher which overrode
/// neither was woken without end as soon as its socket could be written.
#[test]
fn fresh_dispatcher_reads_and_does_not_write() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (id, mut peer) = spied_pair(&mut reactor, Spy::new("spy", &diary));
    assert!(reactor.at(id).unwrap().is_reading());
    assert_asleep(&mut reactor, "on a fresh connection");
    assert!(diary.all().is_empty());
    peer.write_all(b"input").unwrap();
    turn_until(&mut reactor, "the read", |_| diary.count("spy", "read") > 0);
    assert_asleep(&mut reactor, "once it has been read");
    assert_eq!(diary.count("spy", "write"), 0);
}

#[test]
fn debug_output_names_type_and_state() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (ids, _peers) = one_of_each(&mut reactor, &diary);
    for (id, state) in ids.iter().zip([
        "state: listening",
        "state: connected",
        "state: connected",
        "state: open",
        "state: connecting",
    ]) {
        let text = format!("{:?}", reactor.at(*id).unwrap());
        assert!(text.starts_with("Spy"), "{text}");
        assert!(text.contains(state), "{text}");
        assert!(text.contains(&format!("id: {id}")), "{text}");
    }
    assert!(format!("{reactor:?}").contains("dispatchers: 5"));
}

// ---- Log ----

/// Overrides nothing.
struct Plain;
impl Dispatcher for Plain {}

#[test]
fn messages_go_through_the_log_facade() {
    keep_log();
    let mut reactor = Reactor::new().unwrap();
    let (ours, _peer) = tcp_pair();
    let id = reactor.add(ours, Plain).unwrap();
    let lines = take_log();
    assert!(
        lines.iter().any(|(_, text)| text.contains("added")),
        "{lines:?}"
    );
    reactor.at(id).unwrap().abort();
    turn(&mut reactor);
    let lines = take_log();
    assert!(
        lines.iter().any(|(_, text)| text.contains("closed")),
        "{lines:?}"
    );
}

#[test]
fn messages_carry_level_and_dispatcher() {
    keep_log();
    let mut reactor = Reactor::new().unwrap();
    let (ours, peer) = tcp_pair();
    let id = reactor.add(ours, Plain).unwrap();
    let label = format!("Plain {id} ({})", peer.local_addr().unwrap());
    assert_eq!(reactor.at(id).unwrap().label().to_string(), label);
    let fault = io::Error::other("as wanted");
    reactor.at(id).unwrap().log_fault(&fault);
    let lines = take_log();
    assert!(lines.contains(&(log::Level::Debug, format!("{label}: added"))));
    assert!(lines.contains(&(log::Level::Warn, format!("{label}: as wanted"))));
    let other = io::Error::new(io::ErrorKind::NotFound, "no such key");
    let mut context = reactor.at(id).unwrap();
    context.log_fault_in("cannot read the store", &other);
    let warnings = take_log();
    let [(log::Level::Warn, line)] = &warnings[..] else {
        panic!("{warnings:?}");
    };
    assert!(line.starts_with(&label), "{line}");
    assert!(line.contains("cannot read the store"), "{line}");
    assert!(line.contains("no such key"), "{line}");
}

/// The four defaults of asyncore that only warned left their event pending: the next pass warned again.
#[test]
fn default_callbacks_log_and_do_not_spin() {
    keep_log();
    let mut reactor = Reactor::new().unwrap();
    let (_listener, place) = Family::V4.listen(&mut reactor, Plain);
    let mut client = place.client();
    let (ours, mut peer) = tcp_pair();
    let id = reactor.add(ours, Plain).unwrap();
    let connecting = place.connect(&mut reactor, Plain).unwrap();
    reactor.at(id).unwrap().start_writing();
    reactor.at(id).unwrap().watch_priority();
    reactor.at(id).unwrap().set_timer(Duration::ZERO);
    peer.write_all(b"input").unwrap();
    socket2::SockRef::from(&peer)
        .send_out_of_band(b"!")
        .unwrap();
    let mut lines = Vec::new();
    for expected in [
        "no handle_accept; closing",
        ": connected",
        "5 bytes discarded",
        "no handle_write; writing stopped",
        "no handle_priority; urgent data ignored",
        "no handle_timer",
    ] {
        turn_until(&mut reactor, expected, |_| {
            lines.extend(take_log());
            lines.iter().any(|(_, text)| text.contains(expected))
        });
    }
    // The client that connected from here, and the one from outside, were both turned away.
    turn_until(&mut reactor, "the connection's end", |reactor| {
        reactor.at(connecting).is_none()
    });
    assert_eq!(client.read(&mut [0; 8]).unwrap(), 0);
    assert_asleep(&mut reactor, "with nothing but defaults");
    peer.shutdown(Shutdown::Write).unwrap();
    turn_until(&mut reactor, "end of stream", |_| {
        lines.extend(take_log());
        lines.iter().any(|(_, text)| text.contains("end of stream"))
    });
    assert!(
        lines.iter().all(|(level, _)| *level == log::Level::Debug),
        "{lines:?}"
    );
}

// ---- Sending, and sockets made elsewhere ----

/// `dispatcher_with_send`.
fn three_sends_arrive_in_order_and_outbox_drains(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (id, peer) = family.added(&mut reactor, Spy::new("spy", &diary));
    let mut cx = reactor.at(id).unwrap();
    cx.pause_reading();
    for part in [&b"Suppose there isn't"[..], b" a 16-ton", b" weight?"] {
        cx.send(part).unwrap();
    }
    assert_eq!(cx.queued(), 36);
    let writes = reactor.counters().writes;
    turn_until(&mut reactor, "an empty outbox", |reactor| {
        reactor.at(id).unwrap().queued() == 0
    });
    assert_eq!(reactor.counters().writes, writes + 1, "one write for three");
    assert_eq!(
        read_exactly(&peer, 36),
        b"Suppose there isn't a 16-ton weight?"
    );
    assert!(diary.all().is_empty());
}

#[test]
fn added_socket_outlives_its_clone() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (ours, mut peer) = UnixStream::pair().unwrap();
    let clone = ours.try_clone().unwrap();
    let spy = Spy::new("spy", &diary);
    let received = spy.received();
    let id = reactor.add(ours, spy).unwrap();
    drop(clone);
    peer.write_all(b"It's not dead").unwrap();
    turn_until(&mut reactor, "the input", |_| {
        *received.borrow() == b"It's not dead"
    });
    reactor.at(id).unwrap().close();
    // Not an error of the caller's: it is closing, and then it is gone.
    assert_eq!(
        reactor
            .at(id)
            .unwrap()
            .recv(&mut [0; 8])
            .unwrap_err()
            .kind(),
        io::ErrorKind::NotConnected
    );
    drop(peer);
    turn_until(&mut reactor, "the close", |reactor| {
        reactor.at(id).is_none()
    });
    assert_eq!(diary.count("spy", "close"), 1);
}

#[test]
fn sends_to_an_added_socket_append() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (ours, mut peer) = UnixStream::pair().unwrap();
    (&ours).write_all(b"d1 ").unwrap();
    let id = reactor.add(ours, Spy::new("spy", &diary)).unwrap();
    reactor.at(id).unwrap().send(b"d2 ").unwrap();
    turn(&mut reactor);
    reactor.at(id).unwrap().send(b"d3").unwrap();
    turn(&mut reactor);
    let mut got = [0; 8];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"d1 d2 d3");
}

/// `file_dispatcher`. A pipe, a terminal or a socket can be waited for; a regular file is always ready,
/// and epoll says so by refusing it.
#[test]
fn added_socket_delivers_handle_read() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (ours, mut peer) = UnixStream::pair().unwrap();
    let spy = Spy::new("spy", &diary);
    let received = spy.received();
    reactor.add(ours, spy).unwrap();
    peer.write_all(b"data").unwrap();
    turn_until(&mut reactor, "the input", |_| *received.borrow() == b"data");
    let file = UnixStream::from(OwnedFd::from(File::open("/proc/self/exe").unwrap()));
    let refused = reactor.add(file, Spy::new("file", &diary)).unwrap_err();
    assert!(matches!(
        refused.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::Other
    ));
    assert_eq!(reactor.count(), 1);
    assert!(diary.of("file").is_empty());
}

#[test]
fn second_close_does_nothing() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (id, peer) = spied_pair(&mut reactor, Spy::new("spy", &diary));
    for _ in 0..3 {
        reactor.at(id).unwrap().close();
    }
    turn(&mut reactor);
    if let Some(mut closing) = reactor.at(id) {
        closing.close();
    }
    drop(peer);
    turn_until(&mut reactor, "the close", |reactor| reactor.count() == 0);
    assert!(reactor.at(id).is_none());
    assert_eq!(diary.of("spy"), ["close"]);
    assert_eq!(reactor.counters().closed, 1);
}

// ---- Through the API, over every family ----

fn handle_connect_follows_connect(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let served = diary.clone();
    let place = family.serve(&mut reactor, move || Spy::new("server", &served));
    let id = place
        .connect(&mut reactor, Spy::new("client", &diary))
        .unwrap();
    assert!(diary.all().is_empty(), "nothing is called from inside");
    turn_until(&mut reactor, "the connection", |_| {
        diary.count("client", "connect") == 1
    });
    settle(&mut reactor);
    assert_eq!(diary.of("client"), ["connect"]);
    assert!(reactor.at(id).is_some());
}

fn handle_accept_runs_on_the_listener(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (_id, place) = family.listen(&mut reactor, Spy::new("listener", &diary));
    let _client = place.client();
    turn_until(&mut reactor, "the client", |_| {
        diary.count("listener", "accept") == 1
    });
    settle(&mut reactor);
    assert_eq!(diary.all(), ["listener accept"]);
}

fn dropped_accepted_closes_the_connection(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let calls = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&calls);
    let (_id, place) = family.listen(
        &mut reactor,
        Taking(move |_: &mut Context<'_>, accepted: Accepted| {
            seen.borrow_mut().push(accepted.peer());
            drop(accepted);
            Ok(())
        }),
    );
    let client = place.client();
    turn_until(&mut reactor, "the client", |_| !calls.borrow().is_empty());
    assert!(read_to_end(&client).is_empty());
    let local = client.local_addr().unwrap().as_socket();
    assert_eq!(*calls.borrow(), [local]);
    assert_eq!(reactor.count(), 1);
}

fn handle_read_runs_when_data_arrives(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let spy = Spy::new("server", &diary);
    let received = spy.received();
    let client = Spy::new("client", &diary).on_connect(|cx| cx.send(b"data"));
    family.both_ends(&mut reactor, spy, client);
    turn_until(&mut reactor, "the data", |_| *received.borrow() == b"data");
    assert_eq!(told(&diary, "server"), ["read"]);
}

/// A client of asyncore was asked to write at least once, as soon as it was connected.
fn handle_write_runs_only_while_asked_for(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (server, client) = family.both_ends(
        &mut reactor,
        Spy::new("server", &diary),
        Spy::new("client", &diary),
    );
    assert_asleep(&mut reactor, "while nobody asks for writing");
    assert_eq!(diary.count("client", "write"), 0);
    reactor.at(client).unwrap().start_writing();
    for turns in 1..=3 {
        turn(&mut reactor);
        assert_eq!(diary.count("client", "write"), turns, "once a turn");
    }
    reactor.at(client).unwrap().stop_writing();
    assert_asleep(&mut reactor, "once it has stopped asking");
    assert_eq!(diary.count("client", "write"), 3);
    assert!(reactor.at(server).is_some());
}

fn handle_close_follows_the_peer_closing(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (_id, peer) = family.added(&mut reactor, Spy::new("spy", &diary));
    drop(peer);
    turn_until(&mut reactor, "the close", |reactor| reactor.count() == 0);
    assert_eq!(told(&diary, "spy"), ["read", "eof", "close"]);
}

/// CPython bpo-5661 and bpo-11265: a peer that had reset its connection made the
/// next `send` of its dispatcher raise. The exception went to `handle_error`, with a traceback in the log,
/// for what is no more than a peer that has gone.
fn writing_to_a_broken_peer_ends_in_handle_close(family: Family) {
    for reading in [true, false] {
        let mut reactor = Reactor::new().unwrap();
        let diary = Diary::default();
        let spy = Spy::new("spy", &diary)
            .on_write(|cx| cx.send(b"is anybody there?"))
            .on_read(|cx| cx.recv(&mut [0; 64]).map(|_| ()))
            .on_eof(|_| Ok(()));
        let (ours, peer) = family.pair();
        family.arm_reset(&ours);
        let id = reactor.add(family.socket(ours), spy).unwrap();
        reactor.at(id).unwrap().start_writing();
        if !reading {
            reactor.at(id).unwrap().pause_reading();
        }
        turn(&mut reactor);
        family.reset(peer);
        turn_until(&mut reactor, "the close", |reactor| reactor.count() == 0);
        let all = diary.of("spy");
        assert_eq!(all.last().unwrap(), "close");
        assert_eq!(diary.count("spy", "close"), 1);
        assert_eq!(diary.count("spy", "error"), 0, "{all:?}");
        assert_eq!(diary.count("spy", "eof"), 0, "{all:?}");
        assert_eq!(reactor.counters().errors, 0);
    }
}

fn urgent_byte_calls_handle_priority(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let received: Rc<RefCell<Vec<u8>>> = Rc::default();
    let kept = Rc::clone(&received);
    let spy = Spy::new("spy", &diary).on_priority(move |cx| {
        let mut byte = [0; 8];
        let n = cx.recv(&mut byte)?;
        kept.borrow_mut().extend_from_slice(&byte[..n]);
        Ok(())
    });
    let by_reading = spy.received();
    let (id, peer) = family.added(&mut reactor, spy);
    let mut cx = reactor.at(id).unwrap();
    cx.urgent_inline(true).unwrap();
    cx.watch_priority();
    peer.send_out_of_band(b"!").unwrap();
    turn_until(&mut reactor, "the urgent byte", |_| {
        diary.count("spy", "priority") == 1
    });
    turn_until(&mut reactor, "the byte itself", |_| {
        by_reading.borrow().len() + received.borrow().len() == 1
    });
    assert_asleep(&mut reactor, "after an urgent byte");
    assert_eq!(diary.count("spy", "priority"), 1, "once an event");
    assert_eq!(diary.count("spy", "error"), 0);
}

fn error_from_handle_write_reaches_handle_error(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let spy = Spy::new("spy", &diary).on_write(|_| Err(io::ErrorKind::InvalidData.into()));
    let (id, peer) = family.added(&mut reactor, spy);
    reactor.at(id).unwrap().start_writing();
    turn(&mut reactor);
    assert_eq!(diary.of("spy")[..2], ["write", "error InvalidData"]);
    drop(peer);
    turn_until(&mut reactor, "the close", |reactor| reactor.count() == 0);
    assert_eq!(diary.of("spy"), ["write", "error InvalidData", "close"]);
}

/// `connected`, `accepting` and `closing` were three attributes that anybody could set, and that did not
/// always agree with the socket.
fn states_of_listener_and_client_through_their_life(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let served = diary.clone();
    let (listener, place) =
        family.listen(&mut reactor, Accepting(move || Spy::new("server", &served)));
    let state = |reactor: &mut Reactor, id: AnyId, expected: &str| {
        let text = reactor
            .at(id)
            .map_or("gone".to_owned(), |cx| format!("{cx:?}"));
        assert!(text.contains(expected), "{expected}: {text}");
    };
    state(&mut reactor, listener.any(), "state: listening");
    let in_connect: Rc<RefCell<String>> = Rc::default();
    let in_close: Rc<RefCell<String>> = Rc::default();
    let (kept, kept_too) = (Rc::clone(&in_connect), Rc::clone(&in_close));
    let client = Spy::new("client", &diary)
        .on_connect(move |cx| {
            *kept.borrow_mut() = format!("{cx:?}");
            Ok(())
        })
        .on_close(move |cx| {
            *kept_too.borrow_mut() = format!("{cx:?}");
            Ok(())
        });
    let client = place.connect(&mut reactor, client).unwrap();
    state(&mut reactor, client.any(), "state: connecting");
    turn_until(&mut reactor, "the connection", |_| {
        diary.count("client", "connect") == 1
    });
    assert!(in_connect.borrow().contains("state: connected"));
    state(&mut reactor, client.any(), "state: connected");
    reactor.at(client).unwrap().close();
    state(&mut reactor, client.any(), "state: closing");
    turn_until(&mut reactor, "the close", |reactor| {
        reactor.at(client).is_none()
    });
    assert!(in_close.borrow().contains("state: closed"));
    state(&mut reactor, client.any(), "gone");
    state(&mut reactor, listener.any(), "state: listening");
    reactor.at(listener).unwrap().close();
    turn(&mut reactor);
    state(&mut reactor, listener.any(), "gone");
}

// ---- The sockets themselves ----

/// What a child is told by its parent.
const CHILD: &str = "SLABLOOP_CHILD";

/// Runs as a child, where no other test opens descriptors meanwhile.
#[test]
#[ignore = "a role for a child process"]
fn child_looks_at_its_sockets() {
    let family = match std::env::var(CHILD).as_deref() {
        Ok("V4") => Family::V4,
        Ok("V6") => Family::V6,
        Ok("Unix") => Family::Unix,
        _ => return,
    };
    const O_NONBLOCK: u32 = 0o4000;
    const O_CLOEXEC: u32 = 0o2_000_000;
    let mut reactor = Reactor::new().unwrap();
    let before = sockets_of_this_process();
    let diary = Diary::default();
    let (server, client) = (Spy::new("server", &diary), Spy::new("client", &diary));
    family.both_ends(&mut reactor, server, client);
    let (_id, _place) = family.listen(&mut reactor, Spy::new("listener", &diary));
    let made: Vec<_> = sockets_of_this_process()
        .into_iter()
        .filter(|(descriptor, _)| before.iter().all(|(old, _)| old != descriptor))
        .collect();
    assert_eq!(made.len(), 3, "a listener and two ends: {made:?}");
    for (descriptor, flags) in made {
        assert_ne!(flags & O_NONBLOCK, 0, "{descriptor}: {flags:o}");
        assert_ne!(flags & O_CLOEXEC, 0, "{descriptor}: {flags:o}");
    }
    // One that was made elsewhere, in blocking mode, does not stay so.
    let (ours, _peer) = family.pair();
    let name = std::os::fd::AsRawFd::as_raw_fd(&ours).to_string();
    let flags = |name: &str| {
        let all = sockets_of_this_process();
        all.into_iter().find(|(one, _)| one == name).unwrap().1
    };
    assert_eq!(flags(&name) & O_NONBLOCK, 0);
    reactor
        .add(family.socket(ours), Spy::new("added", &diary))
        .unwrap();
    assert_ne!(flags(&name) & O_NONBLOCK, 0);
    println!("looked");
}

/// The descriptors that are sockets, with the flags that procfs shows.
fn sockets_of_this_process() -> Vec<(String, u32)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        let entry = entry.unwrap();
        let Ok(link) = std::fs::read_link(entry.path()) else {
            continue;
        };
        if !link.to_string_lossy().starts_with("socket:") {
            continue;
        }
        let name = entry.file_name().into_string().unwrap();
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{name}")).unwrap();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = u32::from_str_radix(flags.unwrap().trim(), 8).unwrap();
        found.push((name, flags));
    }
    found
}

fn sockets_are_nonblocking_and_close_on_exec(family: Family) {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_looks_at_its_sockets"])
        .args(["--ignored", "--nocapture", "--test-threads=1"])
        .env(CHILD, format!("{family:?}"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("looked"), "{said}");
}

fn second_listen_on_one_address_fails(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (_first, place) = family.listen(&mut reactor, Spy::new("first", &diary));
    let error = place
        .listen_again(&mut reactor, Spy::new("second", &diary))
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert_eq!(reactor.count(), 1);
    let _client = place.client();
    turn_until(&mut reactor, "the first one's client", |_| {
        diary.count("first", "accept") == 1
    });
    assert!(diary.of("second").is_empty());
}

/// A server must be able to start again while connections of its port still time out; a client's port
/// is nobody else's.
fn only_listeners_reuse_addresses(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let hasty = diary.clone();
    // The server closes first, so it is at its port that the connection times out.
    let (listener, place) =
        family.listen(&mut reactor, Accepting(move || Spy::new("server", &hasty)));
    let client = place.client();
    turn_until(&mut reactor, "the client", |reactor| reactor.count() == 2);
    reactor.at(listener).unwrap().close();
    let own = place
        .connect(&mut reactor, Spy::new("client", &diary))
        .unwrap();
    let Place::Inet(address) = place else {
        unreachable!("it is TCP");
    };
    let Ok(local) = reactor.local_addr(own) else {
        panic!("a connecting socket has an address");
    };
    // Whoever asks for reuse gets it only where the other has asked too, and does not listen.
    let intruder = socket2::Socket::new(family.domain(), socket2::Type::STREAM, None).unwrap();
    intruder.set_reuse_address(true).unwrap();
    assert_eq!(
        intruder.bind(&local.into()).unwrap_err().kind(),
        io::ErrorKind::AddrInUse,
        "a client's port can be taken"
    );
    reactor.close_all();
    drop(client);
    let strict = socket2::Socket::new(family.domain(), socket2::Type::STREAM, None).unwrap();
    strict.bind(&address.into()).unwrap_err();
    drop(strict);
    reactor
        .listen(address, Spy::new("again", &diary))
        .expect("the address is reused");
}

/// CPython bpo-10340: a client that connected and reset its connection at once made the
/// first look at its address fail with `EINVAL` on some systems, which nobody had expected. The error came
/// out of the constructor of the server's handler, and went on to the listener, which was closed for it.
fn client_that_resets_at_once_does_no_harm(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let served = diary.clone();
    let place = family.serve(&mut reactor, move || Spy::new("server", &served));
    for clients in 0..100 {
        family.reset(place.client());
        if clients % 7 == 0 {
            turn(&mut reactor);
        }
    }
    turn_until(&mut reactor, "the last of them", |reactor| {
        reactor.counters().accepted == 100 && reactor.count() == 1
    });
    assert_eq!(diary.count("server", "close"), 100);
    assert_eq!(diary.count("server", "error"), 0);
    assert_eq!(reactor.counters().errors, 0);
    let mut last = place.client();
    last.write_all(b"data").unwrap();
    turn_until(&mut reactor, "a client that stays", |reactor| {
        reactor.counters().bytes_in == 4
    });
}
