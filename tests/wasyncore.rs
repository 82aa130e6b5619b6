//! What waitress's test suite demands of its copy of asyncore, as far as it says more than Python's own.
//!
//! Each test stands for one of waitress's `test_wasyncore`; `docs/asyncore-tests.md` says which. That suite
//! drives one function at a time with sockets that are doubles; here the cause is real wherever the kernel
//! gives it on demand, and a scripted socket where it does not.

mod util;

#[path = "util/family.rs"]
mod family;
#[path = "util/log_lines.rs"]
mod log_lines;
#[path = "util/scripted.rs"]
mod scripted;

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use family::{
    Family, Peer, Place, assert_asleep, over_all_families, over_v4_and_v6, read_to_end,
    run_guarded, told, until_kernel_says,
};
use log_lines::{keep_log, take_log};
use mio::Token;
use scripted::{Script, add_scripted, os};
use slabloop::testing::{Bits, SimClock, SimKernel};
use slabloop::{Context, Dispatcher, Id, PanicPolicy, Reactor};
use util::*;

over_all_families! {
    input_calls_handle_read
    stop_in_handle_read_is_no_error
    error_in_handle_read_calls_handle_error_once
    room_calls_handle_write
    stop_in_handle_write_is_no_error
    error_in_handle_write_calls_handle_error_once
    input_alone_calls_no_other_callback
    room_alone_calls_no_other_callback
    hang_up_ends_in_handle_close
    full_socket_keeps_the_rest_queued
    reset_seen_by_recv_ends_in_handle_close
    connect_result_precedes_handle_read
    listener_gets_no_write_callback
    default_handle_accept_closes_the_connection
}

over_v4_and_v6! {
    urgent_data_calls_handle_priority
    stop_in_handle_priority_is_no_error
    error_in_handle_priority_calls_handle_error_once
    urgent_data_alone_delivers_no_input
    socket_error_of_connect_reaches_handle_error
    reset_beside_urgent_data_ends_in_handle_close
}

/// No errno that the reactor knows.
const EIO: i32 = 5;

/// A spy whose `handle_error` leaves the connection alone.
fn forgiving(diary: &Diary) -> Spy {
    Spy::new("spy", diary).on_error(|_| Ok(()))
}

// ---- Reading ----

fn input_calls_handle_read(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let spy = Spy::new("spy", &diary);
    let received = spy.received();
    let (_id, mut peer) = family.added(&mut reactor, spy);
    peer.write_all(b"input").unwrap();
    turn_until(&mut reactor, "the input", |_| {
        *received.borrow() == b"input"
    });
    assert_eq!(told(&diary, "spy"), ["read"]);
}

fn stop_in_handle_read_is_no_error(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let spy = Spy::new("spy", &diary).on_read(|cx| {
        cx.recv(&mut [0; 8])?;
        cx.stop();
        Ok(())
    });
    let (id, mut peer) = family.added(&mut reactor, spy);
    peer.write_all(b"input").unwrap();
    run_guarded(&mut reactor);
    assert_eq!(told(&diary, "spy"), ["read"]);
    assert!(reactor.at(id).is_some());
}

fn error_in_handle_read_calls_handle_error_once(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let spy = forgiving(&diary).on_read(|cx| {
        cx.recv(&mut [0; 8])?;
        Err(io::ErrorKind::InvalidData.into())
    });
    let (id, _peer) = family.added_with_input(&mut reactor, spy, b"input");
    settle(&mut reactor);
    assert_eq!(diary.of("spy"), ["read", "error InvalidData"]);
    assert!(reactor.at(id).is_some(), "its handle_error keeps it");
}

// ---- Writing ----

/// Asks for writing, once.
fn asking(reactor: &mut Reactor, id: Id<Spy>) {
    reactor.at(id).unwrap().start_writing();
}

fn room_calls_handle_write(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let spy = Spy::new("spy", &diary).on_write(|cx| {
        cx.stop_writing();
        cx.send(b"output")
    });
    let (id, peer) = family.added(&mut reactor, spy);
    asking(&mut reactor, id);
    settle(&mut reactor);
    assert_eq!(diary.of("spy"), ["write"]);
    assert_eq!(family::read_exactly(&peer, 6), b"output");
}

fn stop_in_handle_write_is_no_error(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let spy = Spy::new("spy", &diary).on_write(|cx| {
        cx.stop();
        Ok(())
    });
    let (id, _peer) = family.added(&mut reactor, spy);
    asking(&mut reactor, id);
    run_guarded(&mut reactor);
    assert_eq!(diary.of("spy"), ["write"]);
    assert!(reactor.at(id).is_some());
}

fn error_in_handle_write_calls_handle_error_once(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let spy = forgiving(&diary).on_write(|cx| {
        cx.stop_writing();
        Err(io::ErrorKind::InvalidData.into())
    });
    let (id, _peer) = family.added(&mut reactor, spy);
    asking(&mut reactor, id);
    settle(&mut reactor);
    assert_eq!(diary.of("spy"), ["write", "error InvalidData"]);
    assert!(reactor.at(id).is_some());
}

// ---- Urgent data ----

/// A dispatcher that waits for urgent data, and has some.
fn urged(family: Family, reactor: &mut Reactor, spy: Spy) -> (Id<Spy>, Peer) {
    let (id, peer) = family.added(reactor, spy);
    reactor.at(id).unwrap().watch_priority();
    peer.send_out_of_band(b"!").unwrap();
    (id, peer)
}

/// What a spy was told but for reads that found nothing: urgent data looks like input.
fn but_for_reads(diary: &Diary) -> Vec<String> {
    let mut noted = diary.of("spy");
    noted.retain(|callback| callback != "read");
    noted
}

fn urgent_data_calls_handle_priority(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (_id, _peer) = urged(family, &mut reactor, Spy::new("spy", &diary));
    turn_until(&mut reactor, "the urgent byte", |_| {
        diary.count("spy", "priority") > 0
    });
    settle(&mut reactor);
    assert_eq!(but_for_reads(&diary), ["priority"]);
}

fn stop_in_handle_priority_is_no_error(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let spy = Spy::new("spy", &diary).on_priority(|cx| {
        cx.stop();
        Ok(())
    });
    let (id, _peer) = urged(family, &mut reactor, spy);
    run_guarded(&mut reactor);
    assert_eq!(but_for_reads(&diary), ["priority"]);
    assert!(reactor.at(id).is_some());
}

fn error_in_handle_priority_calls_handle_error_once(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let spy = forgiving(&diary).on_priority(|_| Err(io::ErrorKind::InvalidData.into()));
    let (id, _peer) = urged(family, &mut reactor, spy);
    turn_until(&mut reactor, "the error", |_| {
        diary.count("spy", "error") > 0
    });
    settle(&mut reactor);
    assert_eq!(but_for_reads(&diary), ["priority", "error InvalidData"]);
    assert!(reactor.at(id).is_some());
}

fn urgent_data_alone_delivers_no_input(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let spy = Spy::new("spy", &diary);
    let received = spy.received();
    let (id, _peer) = urged(family, &mut reactor, spy);
    turn_until(&mut reactor, "the urgent byte", |_| {
        diary.count("spy", "priority") > 0
    });
    assert_asleep(&mut reactor, "after the urgent byte");
    assert!(received.borrow().is_empty());
    assert!(diary.count("spy", "read") <= 1, "one rumour at most");
    assert!(reactor.at(id).is_some());
}

// ---- One event, one callback ----

fn input_alone_calls_no_other_callback(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (id, _peer) = family.added_with_input(&mut reactor, Spy::new("spy", &diary), b"input");
    reactor.at(id).unwrap().watch_priority();
    turn(&mut reactor);
    settle(&mut reactor);
    assert_eq!(diary.of("spy"), ["read"]);
    assert_eq!(reactor.counters().callbacks, 1);
}

fn room_alone_calls_no_other_callback(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let spy = Spy::new("spy", &diary).on_write(|cx| {
        cx.stop_writing();
        Ok(())
    });
    let (id, _peer) = family.added(&mut reactor, spy);
    reactor.at(id).unwrap().watch_priority();
    asking(&mut reactor, id);
    reactor.inject(id, Bits::WRITABLE);
    turn(&mut reactor);
    settle(&mut reactor);
    assert_eq!(diary.of("spy"), ["write"]);
    assert_eq!(reactor.counters().callbacks, 1);
}

/// The poll variant of asyncore closed on a hang-up even if there was input left.
fn hang_up_ends_in_handle_close(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let spy = Spy::new("spy", &diary);
    let received = spy.received();
    let (ours, mut peer) = family.pair();
    peer.write_all(b"last words").unwrap();
    ours.shutdown(Shutdown::Write).unwrap();
    drop(peer);
    until_kernel_says(&ours, "hung up", mio::event::Event::is_write_closed);
    reactor.add(family.socket(ours), spy).unwrap();
    turn_until(&mut reactor, "the close", |reactor| reactor.count() == 0);
    assert_eq!(*received.borrow(), b"last words");
    assert_eq!(told(&diary, "spy"), ["read", "eof", "close"]);
}

// ---- Classes of error ----

/// What a spy is told when its `handle_read` returns this.
fn told_after(make: impl Fn() -> io::Error + 'static) -> Vec<String> {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let spy = Spy::new("spy", &diary).on_read(move |cx| {
        cx.recv(&mut [0; 8])?;
        Err(make())
    });
    let (_id, script) = add_scripted(&mut reactor, spy);
    script.with(|state| state.recv.extend([Ok(b"input".to_vec()), Ok(Vec::new())]));
    reactor.inject(_id, Bits::READABLE | Bits::READ_CLOSED);
    turn_until(&mut reactor, "the close", |reactor| reactor.count() == 0);
    diary.of("spy")
}

#[test]
fn other_io_error_goes_to_handle_error() {
    for errno in [EIO, 12, 28, 110, 9] {
        let kind = os(errno).kind();
        assert_eq!(
            told_after(move || os(errno)),
            ["read", &format!("error {kind:?}"), "close"],
            "errno {errno}"
        );
    }
}

#[test]
fn disconnect_error_goes_to_handle_close_only() {
    for kind in [
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::BrokenPipe,
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::NotConnected,
    ] {
        assert_eq!(told_after(move || kind.into()), ["read", "close"], "{kind}");
    }
}

#[test]
fn custom_error_goes_to_handle_error() {
    #[derive(Debug)]
    struct Mine(u32);
    impl std::fmt::Display for Mine {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "mine, number {}", self.0)
        }
    }
    impl std::error::Error for Mine {}
    struct Failing(Rc<Cell<u32>>);
    impl Dispatcher for Failing {
        fn handle_read(&mut self, _: &mut Context<'_>) -> io::Result<()> {
            Err(io::Error::other(Mine(42)))
        }
        fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
            let mine = error
                .get_ref()
                .and_then(|inner| inner.downcast_ref::<Mine>());
            self.0.set(mine.expect("the very same error").0);
            cx.abort();
        }
    }
    let mut reactor = Reactor::new().unwrap();
    let number = Rc::<Cell<u32>>::default();
    let (id, _script) = add_scripted(&mut reactor, Failing(Rc::clone(&number)));
    reactor.inject(id, Bits::READABLE);
    turn(&mut reactor);
    assert_eq!(number.get(), 42);
    assert_eq!(reactor.count(), 0);
}

/// asyncore's exception for leaving the loop left it in the middle of a pass: whoever came later in the
/// pass was not served, and what had been sent did not leave.
#[test]
fn stop_lets_the_turn_finish() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let first = Spy::new("first", &diary).on_read(|cx| {
        cx.recv(&mut [0; 8])?;
        cx.stop();
        cx.send(b"sent before the stop")?;
        cx.set_timer(Duration::ZERO);
        Ok(())
    });
    let (_id, peer) = Family::V4.added_with_input(&mut reactor, first, b"go");
    let second = Spy::new("second", &diary).on_read(|cx| {
        cx.recv(&mut [0; 8])?;
        cx.abort();
        Ok(())
    });
    let (_id, _other) = Family::V4.added_with_input(&mut reactor, second, b"go");
    run_guarded(&mut reactor);
    assert_eq!(diary.of("first"), ["read"], "its timer waits");
    assert_eq!(diary.of("second"), ["read", "close"]);
    assert_eq!(reactor.counters().turns, 1);
    assert_eq!(family::read_exactly(&peer, 20), b"sent before the stop");
}

// ---- Waiting ----

/// With nobody to ask for, asyncore slept in `time.sleep`; and it spun while everybody said no.
#[test]
fn turn_with_nothing_wanted_waits_its_timeout() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (id, _peer) = Family::V4.added_with_input(&mut reactor, Spy::new("spy", &diary), b"input");
    reactor.at(id).unwrap().pause_reading();
    settle(&mut reactor);
    reactor.take_waits();
    turn_for(&mut reactor, Duration::from_millis(3));
    assert_eq!(reactor.take_waits(), [Some(Duration::from_millis(3))]);
    assert!(diary.all().is_empty());
    let mut empty = Reactor::new().unwrap();
    turn_for(&mut empty, Duration::from_millis(3));
    assert_eq!(empty.take_waits(), [Some(Duration::from_millis(3))]);
}

/// A signal that a handler catches ends the wait early. That is no event, and no error.
#[test]
fn interrupted_wait_is_an_empty_turn() {
    let caught = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(&caught)).unwrap();
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (_id, _peer) = spied_pair(&mut reactor, Spy::new("spy", &diary));
    settle(&mut reactor);
    let before = reactor.counters();
    // Linux delivers a signal for a thread's number to that thread, if it takes signals.
    let link = std::fs::read_link("/proc/thread-self").unwrap();
    let thread = link.file_name().unwrap().to_str().unwrap().to_owned();
    let is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    // Again and again, for the first may come before the wait.
    let sender = std::thread::spawn(move || {
        while !over.load(Ordering::Acquire) {
            let killed = std::process::Command::new("sh")
                .args(["-c", "kill -USR1 \"$0\"", &thread])
                .status();
            assert!(killed.unwrap().success());
        }
    });
    let started = std::time::Instant::now();
    let turned = reactor.turn(DEADLINE);
    is_over.store(true, Ordering::Release);
    sender.join().unwrap();
    turned.expect("an interrupted wait is no error");
    reactor.check_invariants();
    assert!(started.elapsed() < DEADLINE, "a signal ended the wait");
    assert!(caught.load(Ordering::Acquire));
    let after = reactor.counters();
    assert_eq!(after.turns, before.turns + 1);
    assert_eq!(
        (after.events, after.callbacks),
        (before.events, before.callbacks)
    );
}

/// A kernel whose wait fails.
struct Failing(i32);

impl SimKernel for Failing {
    fn wait(&mut self, _: Option<Duration>, _: &mut Vec<(Token, u32)>) -> io::Result<()> {
        Err(os(self.0))
    }
}

#[test]
fn only_interrupted_waits_are_swallowed() {
    const EINTR: i32 = 4;
    for errno in [EINTR, 9, 14, 22, 12, EIO, 11] {
        let mut reactor = Reactor::new().unwrap();
        let diary = Diary::default();
        let (_id, _peer) = spied_pair(&mut reactor, Spy::new("spy", &diary));
        reactor.set_kernel(Box::new(Failing(errno)));
        let turned = reactor.turn(Duration::ZERO);
        reactor.check_invariants();
        match errno {
            EINTR => turned.expect("an interrupted wait is no error"),
            _ => {
                assert_eq!(turned.unwrap_err().raw_os_error(), Some(errno));
                let turns = reactor.counters().turns;
                assert_eq!(reactor.run().unwrap_err().raw_os_error(), Some(errno));
                assert_eq!(reactor.counters().turns, turns + 1, "one try");
            }
        }
        assert!(diary.all().is_empty(), "nobody is told of it");
    }
}

// ---- Debug ----

#[test]
fn debug_of_a_listener_says_listening() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    for family in [Family::V4, Family::Unix] {
        let (id, place) = family.listen(&mut reactor, Spy::new("spy", &diary));
        let address = match &place {
            Place::Inet(address) => address.to_string(),
            Place::Path(path) => path.0.display().to_string(),
        };
        let text = format!("{:?}", reactor.at(id).unwrap());
        assert!(text.contains("state: listening"), "{text}");
        assert!(text.contains(&address), "{text}");
    }
}

#[test]
fn debug_of_a_connection_says_connected() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (id, peer) = spied_pair(&mut reactor, Spy::new("spy", &diary));
    let text = format!("{:?}", reactor.at(id).unwrap());
    let address = peer.local_addr().unwrap().to_string();
    assert!(text.contains("state: connected"), "{text}");
    assert!(text.contains(&address), "{text}");
}

// ---- Listening ----

/// asyncore swallowed a system's refusal to reuse addresses. Unix sockets don't know the option, and a
/// listener that was made elsewhere need not have it: both listen all the same.
#[test]
fn listen_does_not_depend_on_address_reuse() {
    for family in [Family::V4, Family::Unix] {
        let mut reactor = Reactor::new().unwrap();
        let diary = Diary::default();
        let made = socket2::Socket::new(family.domain(), socket2::Type::STREAM, None).unwrap();
        let path = Place::new_path();
        match (&path, family) {
            (Place::Path(path), Family::Unix) => {
                made.bind(&socket2::SockAddr::unix(&path.0).unwrap())
            }
            _ => made.bind(&family.any_port().into()),
        }
        .unwrap();
        made.listen(8).unwrap();
        let spy = Spy::new("listener", &diary);
        let place = match family {
            Family::Unix => {
                let listener = std::os::unix::net::UnixListener::from(OwnedFd::from(made));
                reactor.add(listener, spy).unwrap();
                path
            }
            _ => {
                assert!(!made.reuse_address().unwrap());
                let listener = std::net::TcpListener::from(OwnedFd::from(made));
                let id = reactor.add(listener, spy).unwrap();
                Place::Inet(reactor.local_addr(id).unwrap())
            }
        };
        let _client = place.client();
        turn_until(&mut reactor, "the client", |_| {
            diary.count("listener", "accept") == 1
        });
    }
}

#[test]
fn unexpected_accept_error_keeps_the_listener() {
    let clock = SimClock::new();
    let mut reactor = Reactor::builder().clock(clock.clone()).build().unwrap();
    let diary = Diary::default();
    let script = Script::accepting([Err(EIO), Ok(Script::default())]);
    let spy = Spy::new("listener", &diary).on_error(|_| Ok(()));
    let id = reactor.add(script.listener(), spy).unwrap();
    reactor.inject(id, Bits::READABLE);
    for _ in 0..5 {
        turn_for(&mut reactor, Duration::ZERO);
    }
    assert_eq!(diary.of("listener").len(), 1, "it does not spin");
    assert_eq!(diary.count("listener", "error"), 1);
    // It tries again after a while, without another event.
    clock.advance(Duration::from_millis(100));
    turn_for(&mut reactor, Duration::ZERO);
    turn_for(&mut reactor, Duration::ZERO);
    assert_eq!(diary.of("listener")[1..], ["accept"]);

    // The default of handle_error logs and keeps a listener, too.
    let script = Script::accepting([Err(EIO)]);
    let id = reactor
        .add(script.listener(), Undecided(diary.clone()))
        .unwrap();
    reactor.inject(id, Bits::READABLE);
    turn_for(&mut reactor, Duration::ZERO);
    turn_for(&mut reactor, Duration::ZERO);
    assert!(reactor.at(id).is_some());
    assert!(diary.of("default").is_empty());
}

fn listener_gets_no_write_callback(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (id, place) = family.listen(&mut reactor, Spy::new("listener", &diary));
    let mut cx = reactor.at(id).unwrap();
    cx.start_writing();
    cx.watch_priority();
    reactor.inject(id, Bits::WRITABLE);
    turn(&mut reactor);
    assert_asleep(&mut reactor, "with a listener that asks for writing");
    assert!(diary.all().is_empty());
    let _client = place.client();
    turn_until(&mut reactor, "the client", |_| !diary.all().is_empty());
    settle(&mut reactor);
    assert_eq!(diary.of("listener"), ["accept"]);
}

/// Overrides nothing but the notice of its end.
struct Undecided(Diary);

impl Dispatcher for Undecided {
    fn handle_close(&mut self, cx: &mut Context<'_>) {
        self.0.note("default", cx.any_id(), "close");
    }
}

fn default_handle_accept_closes_the_connection(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (id, place) = family.listen(&mut reactor, Undecided(diary.clone()));
    let clients: Vec<_> = (0..3).map(|_| place.client()).collect();
    turn_until(&mut reactor, "the clients", |reactor| {
        reactor.counters().accepted == 3
    });
    for client in clients {
        assert!(read_to_end(&client).is_empty());
    }
    assert!(reactor.at(id).is_some());
    assert!(diary.all().is_empty());
}

// ---- Sending ----

fn full_socket_keeps_the_rest_queued(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (ours, peer) = family.narrow_pair();
    let output = pattern(3, 900_000);
    let id = reactor
        .add(family.socket(ours), Spy::new("spy", &diary))
        .unwrap();
    reactor.at(id).unwrap().send(&output).unwrap();
    settle(&mut reactor);
    if family == Family::Unix {
        // TCP may find room for a little more at any time, by its own timers.
        assert_asleep(&mut reactor, "with a full socket");
    }
    let queued = reactor.at(id).unwrap().queued();
    assert!(queued > 0 && queued < output.len(), "{queued}");
    assert!(diary.all().is_empty());
    reactor.at(id).unwrap().close();
    let reading = std::thread::spawn(move || read_to_end(&peer));
    turn_until(&mut reactor, "the close", |reactor| reactor.count() == 0);
    assert_eq!(reading.join().unwrap(), output);
    assert_eq!(diary.of("spy"), ["close"]);
}

#[test]
fn unexpected_send_error_is_one_error_then_close() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (id, script) = add_scripted(&mut reactor, forgiving(&diary));
    script.with(|state| state.send.push_back(Err(EIO)));
    reactor.at(id).unwrap().send(b"output").unwrap();
    turn_until(&mut reactor, "the close", |reactor| reactor.count() == 0);
    let mut noted = diary.of("spy");
    // It may be asked to read what the kernel has left.
    noted.retain(|callback| callback != "read");
    let kind = os(EIO).kind();
    assert_eq!(noted, [format!("error {kind:?}"), "close".to_owned()]);
    assert_eq!(reactor.counters().errors, 1);
}

/// Nothing is called from inside `recv`.
fn reset_seen_by_recv_ends_in_handle_close(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let notes = diary.clone();
    let spy = Spy::new("spy", &diary).on_read(move |cx| {
        let error = cx.recv(&mut [0; 8]).unwrap_err();
        notes.note("spy", cx.any_id(), format!("{:?}", error.kind()));
        notes.note("spy", cx.any_id(), "still here");
        // As if it had not seen it.
        Ok(())
    });
    let (ours, peer) = family.pair();
    family.arm_reset(&ours);
    family.reset(peer);
    until_kernel_says(&ours, "reset", mio::event::Event::is_error);
    reactor.add(family.socket(ours), spy).unwrap();
    turn_until(&mut reactor, "the close", |reactor| reactor.count() == 0);
    assert_eq!(
        diary.of("spy"),
        ["read", "ConnectionReset", "still here", "close"]
    );
}

#[test]
fn queued_output_leaves_without_write_interest() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (id, peer) = Family::V4.added(&mut reactor, Spy::new("spy", &diary));
    reactor.at(id).unwrap().stop_writing();
    reactor.at(id).unwrap().send(b"output").unwrap();
    turn(&mut reactor);
    assert_eq!(reactor.at(id).unwrap().queued(), 0);
    assert_eq!(family::read_exactly(&peer, 6), b"output");
    assert!(diary.all().is_empty());
}

// ---- Connecting ----

/// In asyncore the first read or write event settled the connection from inside.
fn connect_result_precedes_handle_read(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (listener, place) = Place::std_listener(family);
    let spy = Spy::new("client", &diary);
    let received = spy.received();
    let id = place.connect(&mut reactor, spy).unwrap();
    // Its first event says input as well as room: the server spoke, and finished, before the first turn.
    let (mut server, _) = socket2::Socket::from(listener).accept().unwrap();
    server.write_all(b"welcome").unwrap();
    drop(server);
    turn_until(&mut reactor, "the close", |reactor| reactor.count() == 0);
    assert_eq!(
        told(&diary, "client"),
        ["connect", "read", "eof", "close"],
        "{id}"
    );
    assert_eq!(*received.borrow(), b"welcome");
}

fn socket_error_of_connect_reaches_handle_error(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    // Bound and not listening: nobody else gets the port.
    let bound = socket2::Socket::new(family.domain(), socket2::Type::STREAM, None).unwrap();
    bound.bind(&family.any_port().into()).unwrap();
    let address = bound.local_addr().unwrap().as_socket().unwrap();
    let id = reactor.connect(address, forgiving(&diary)).unwrap();
    assert!(diary.all().is_empty());
    turn_until(&mut reactor, "the refusal", |reactor| reactor.count() == 0);
    assert_eq!(diary.of("spy"), ["error ConnectionRefused", "close"]);
    assert!(reactor.at(id).is_none(), "its handle_error cannot keep it");
}

/// asyncore looked at the pending error before it told of urgent data, and thereby took the error away.
fn reset_beside_urgent_data_ends_in_handle_close(family: Family) {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (ours, peer) = family.pair();
    peer.send_out_of_band(b"!").unwrap();
    until_kernel_says(&ours, "urgent", mio::event::Event::is_priority);
    family.reset(peer);
    until_kernel_says(&ours, "reset", mio::event::Event::is_error);
    let id = reactor
        .add(family.socket(ours), Spy::new("spy", &diary))
        .unwrap();
    reactor.at(id).unwrap().watch_priority();
    turn_until(&mut reactor, "the close", |reactor| reactor.count() == 0);
    let mut noted = but_for_reads(&diary);
    noted.retain(|callback| callback != "priority");
    assert_eq!(noted, ["close"]);
}

#[test]
fn connect_error_known_at_once_is_returned() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let place = Place::new_path();
    let missing = place.connect(&mut reactor, Spy::new("spy", &diary));
    assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    let Place::Path(path) = &place else {
        unreachable!("it is a path");
    };
    drop(std::os::unix::net::UnixListener::bind(&path.0).unwrap());
    let refused = place.connect(&mut reactor, Spy::new("spy", &diary));
    assert_eq!(
        refused.unwrap_err().kind(),
        io::ErrorKind::ConnectionRefused
    );
    assert_eq!(reactor.count(), 0);
    settle(&mut reactor);
    assert!(diary.all().is_empty());
}

/// A dispatcher's constructor that failed after it had entered itself into the map left a half-made
/// channel there, for ever readable.
#[test]
fn socket_that_cannot_be_registered_is_not_kept() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let file = UnixStream::from(OwnedFd::from(File::open("/proc/self/exe").unwrap()));
    reactor.add(file, Spy::new("file", &diary)).unwrap_err();
    let script = Script::default();
    script.with(|state| state.register = Some(12));
    let refused = reactor.add(script.stream(), Spy::new("scripted", &diary));
    assert_eq!(refused.unwrap_err().raw_os_error(), Some(12));
    assert_eq!(script.with(|state| state.dropped), 1);
    assert_eq!(reactor.count(), 0);
    assert_asleep(&mut reactor, "after sockets that could not be registered");
    drop(reactor);
    assert!(diary.all().is_empty(), "they never were");
}

// ---- Defaults and closing ----

/// Fails, and leaves what follows to the default.
struct Unlucky(Diary);

impl Dispatcher for Unlucky {
    fn handle_read(&mut self, _: &mut Context<'_>) -> io::Result<()> {
        Err(io::Error::other("bad luck"))
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        self.0.note("unlucky", cx.any_id(), "close");
    }
}

#[test]
fn default_handle_error_logs_and_closes() {
    keep_log();
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (_id, peer) = Family::V4.added_with_input(&mut reactor, Unlucky(diary.clone()), b"input");
    turn(&mut reactor);
    drop(peer);
    turn_until(&mut reactor, "the close", |reactor| reactor.count() == 0);
    let mut lines = take_log();
    lines.retain(|(level, _)| *level <= log::Level::Info);
    assert_eq!(lines.len(), 1, "{lines:?}");
    let (level, text) = &lines[0];
    assert_eq!(*level, log::Level::Warn);
    assert!(
        text.contains("Unlucky") && text.ends_with("bad luck"),
        "{text}"
    );
    assert_eq!(diary.of("unlucky"), ["close"]);
}

/// asyncore's default `handle_close` did the closing; whoever overrode it and forgot to leaked a socket.
#[test]
fn connection_closes_with_default_handle_close() {
    struct Plain(#[expect(dead_code, reason = "it is dropped")] Rc<()>);
    impl Dispatcher for Plain {}
    let mut reactor = Reactor::new().unwrap();
    let alive = Rc::new(());
    let (_id, peer) = Family::V4.added(&mut reactor, Plain(Rc::clone(&alive)));
    peer.shutdown(Shutdown::Write).unwrap();
    assert!(read_to_end_while(&mut reactor, peer).is_empty());
    assert_eq!(reactor.count(), 0);
    assert_eq!(Rc::strong_count(&alive), 1);
}

fn read_to_end_while(reactor: &mut Reactor, peer: Peer) -> Vec<u8> {
    let reading = std::thread::spawn(move || read_to_end(&peer));
    turn_until(reactor, "the close", |reactor| reactor.count() == 0);
    reading.join().unwrap()
}

/// Its write side fails to shut.
#[test]
fn error_while_shutting_down_is_contained() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (id, script) = add_scripted(&mut reactor, Spy::new("spy", &diary));
    script.with(|state| {
        state.shutdown = Some(EIO);
        state.deregister = Some(2);
    });
    let mut cx = reactor.at(id).unwrap();
    cx.send(b"output").unwrap();
    cx.close();
    turn_until(&mut reactor, "the close", |reactor| reactor.count() == 0);
    assert_eq!(script.with(|state| state.sent.clone()), b"output");
    assert_eq!(diary.of("spy"), ["close"]);
    assert_eq!(script.with(|state| state.dropped), 1);
}

#[test]
fn close_all_includes_those_already_closing() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let (closing, _peer) = spied_pair(&mut reactor, Spy::new("closing", &diary));
    let (aborted, _other) = spied_pair(&mut reactor, Spy::new("aborted", &diary));
    let (_open, _third) = spied_pair(&mut reactor, Spy::new("open", &diary));
    reactor.at(closing).unwrap().close();
    turn(&mut reactor);
    assert_eq!(diary.all().len(), 0, "its peer has not finished");
    reactor.at(aborted).unwrap().abort();
    reactor.close_all();
    reactor.check_invariants();
    assert_eq!(reactor.count(), 0);
    let mut all = diary.all();
    all.sort();
    assert_eq!(all, ["aborted close", "closing close", "open close"]);
    assert_eq!(reactor.counters().panics, 0);
}

#[test]
fn close_all_goes_on_after_an_error() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    let scripts: Vec<_> = (0..5)
        .map(|_| {
            let (_id, script) = add_scripted(&mut reactor, Spy::new("spy", &diary));
            script.with(|state| state.deregister = Some(EIO));
            script
        })
        .collect();
    reactor.close_all();
    reactor.check_invariants();
    assert_eq!(reactor.count(), 0);
    assert_eq!(diary.count("spy", "close"), 5);
    for script in scripts {
        let counts = script.with(|state| (state.deregistered, state.dropped));
        assert_eq!(counts, (1, 1));
    }
}

/// Five, of whom the third panics when it is told of its end.
fn five_of_whom_one_panics(reactor: &mut Reactor, diary: &Diary) {
    for number in 0..5 {
        let spy = Spy::new("spy", diary).on_close(move |_| {
            assert_ne!(number, 2, "wanted: handle_close");
            Ok(())
        });
        add_scripted(reactor, spy);
    }
}

#[test]
fn let_through_panic_leaves_close_all_complete() {
    let mut reactor = Reactor::builder()
        .panic_policy(PanicPolicy::Propagate)
        .build()
        .unwrap();
    let diary = Diary::default();
    five_of_whom_one_panics(&mut reactor, &diary);
    let panicked = catch_unwind(AssertUnwindSafe(|| reactor.close_all()));
    assert!(panicked.is_err());
    reactor.check_invariants();
    assert_eq!(reactor.count(), 0);
    assert_eq!(diary.count("spy", "close"), 5);
    // And it can be used again.
    let (_id, _peer) = spied_pair(&mut reactor, Spy::new("again", &diary));
    turn(&mut reactor);
    assert_eq!(reactor.count(), 1);
}

#[test]
fn close_all_goes_on_after_a_panic() {
    let mut reactor = Reactor::new().unwrap();
    let diary = Diary::default();
    five_of_whom_one_panics(&mut reactor, &diary);
    reactor.close_all();
    reactor.check_invariants();
    assert_eq!(reactor.count(), 0);
    assert_eq!(diary.count("spy", "close"), 5);
    assert_eq!(reactor.counters().panics, 1);
}
