//! Ends tell the truth: what the peer sees, and what `end_cause` says, for every way to end, with and
//! without unread input and queued output. The rows are those of the table in `Dispatcher`'s docs.

#[cfg_attr(feature = "tls", path = "util/tls.rs")]
#[cfg_attr(not(feature = "tls"), path = "util/plain.rs")]
mod over;
mod util;

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;

use over::{Peer, spied_pair, tcp_pair};
use slabloop::testing::SimClock;
use slabloop::{Cause, Context, Dispatcher, End, Reactor, TimerId};
use util::*;

/// How a connection is brought to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Close,
    Abort,
    AbortWhenSent,
    /// Both sides shut their write sides.
    BothFinish,
    Disconnect,
    Fault,
    FaultKept,
    FaultThenClose,
    Panic,
    OverCap,
    OverCapThenClose,
    Idle,
    Stalled,
    CloseTimeout,
    CloseAll,
    Dropped,
    PeerResets,
}

/// What the peer sees behind the bytes that it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sees {
    EndOfStream,
    Reset,
    /// With unread input the kernel sends a reset by itself; without, the end of the stream.
    WhatTheKernelDoes,
}

const QUEUED: usize = 200_000;
const LIMIT: Duration = Duration::from_secs(5);

struct Subject {
    way: Way,
    cause: Rc<Cell<Option<Cause>>>,
    how: Rc<Cell<Option<End>>>,
    errors: Rc<Cell<u32>>,
    unsent: Rc<Cell<usize>>,
}

impl Dispatcher for Subject {
    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        match self.way {
            Way::Close | Way::CloseTimeout => cx.close(),
            Way::Abort => cx.abort(),
            Way::AbortWhenSent => cx.abort_when_sent(),
            Way::BothFinish => cx.shutdown_write(),
            Way::Disconnect => return Err(io::ErrorKind::ConnectionReset.into()),
            Way::Fault | Way::FaultKept | Way::FaultThenClose => {
                return Err(io::Error::other("wanted"));
            }
            Way::Panic => panic!("wanted"),
            Way::OverCap => return cx.send(&vec![7; cx.hard_cap() + 1]),
            Way::OverCapThenClose => {
                let _ = cx.send(&vec![7; cx.hard_cap() + 1]);
                cx.close();
            }
            Way::CloseAll => cx.close_all(),
            Way::Idle | Way::Stalled | Way::Dropped | Way::PeerResets => {}
        }
        Ok(())
    }

    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.way != Way::BothFinish {
            cx.close();
        }
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, _: io::Error) {
        self.errors.set(self.errors.get() + 1);
        match self.way {
            Way::FaultKept => {
                // Kept, and closed later for no fault at all.
                self.way = Way::Close;
                cx.set_timer(Duration::ZERO);
            }
            Way::FaultThenClose => cx.close(),
            Way::Fault => cx.abort_when_sent(),
            // What the default and most programs do, whatever the fault.
            _ => cx.close(),
        }
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        self.cause.set(cx.end_cause());
        self.how.set(cx.how_it_ended());
        self.unsent.set(cx.unsent());
    }
}

struct Outcome {
    received: usize,
    reset: bool,
    cause: Cause,
    how: End,
    errors: u32,
    unsent: usize,
}

fn play(way: Way, unread: bool, queued: bool) -> Outcome {
    let clock = SimClock::new();
    let mut builder = Reactor::builder();
    builder
        .clock(clock.clone())
        .stall_timeout(LIMIT)
        .close_timeout(LIMIT);
    let mut reactor = builder.build().expect("a poller");
    let (ours, mut peer) = tcp_pair();
    let reads = matches!(
        way,
        Way::Close
            | Way::AbortWhenSent
            | Way::BothFinish
            | Way::Fault
            | Way::FaultThenClose
            | Way::FaultKept
    );
    let ends = [socket2::SockRef::from(&ours), socket2::SockRef::from(&peer)];
    for end in ends.into_iter().filter(|_| !reads) {
        // Most of the output stays queued.
        end.set_send_buffer_size(8 * 1024).expect("a socket");
        end.set_recv_buffer_size(8 * 1024).expect("a socket");
    }
    let (cause, how, errors) = Default::default();
    let unsent: Rc<Cell<usize>> = Rc::default();
    let subject = Subject {
        way,
        cause: Rc::clone(&cause),
        how: Rc::clone(&how),
        errors: Rc::clone(&errors),
        unsent: Rc::clone(&unsent),
    };
    let id = over::add(&mut reactor, ours, subject);
    let mut cx = reactor.at(id).expect("open");
    cx.pause_reading();
    if unread {
        peer.write_all(b"nobody reads this").expect("room");
    }
    if queued {
        cx.send(&pattern(3, QUEUED)).expect("below the cap");
    }
    cx.set_timer(Duration::ZERO);
    if way == Way::Idle {
        cx.set_idle_timeout(LIMIT);
    }
    match way {
        Way::BothFinish => {
            peer.shutdown(std::net::Shutdown::Write).expect("connected");
            cx.resume_reading();
        }
        Way::PeerResets => {
            cx.resume_reading();
            over::reset(std::mem::replace(&mut peer, tcp_pair().1));
        }
        _ => {}
    }
    // Some let the output leave, so the peer reads from the start, and ends its own side: a graceful close waits for
    // that, too.
    let reading = match reads {
        true => Ok(read_all(peer, true)),
        false => Err(peer),
    };
    turn_for(&mut reactor, Duration::ZERO);
    if matches!(way, Way::Idle | Way::Stalled | Way::CloseTimeout) {
        // The kernel's buffers fill up first.
        for _ in 0..5 {
            settle(&mut reactor);
            std::thread::yield_now();
        }
        clock.advance(2 * LIMIT);
        turn_for(&mut reactor, Duration::ZERO);
        clock.advance(2 * LIMIT);
        turn_for(&mut reactor, Duration::ZERO);
    }
    if way == Way::Dropped {
        drop(reactor);
        let reader = reading.unwrap_or_else(|peer| read_all(peer, false));
        let (received, reset) = reader.join().expect("it reads");
        return Outcome {
            received,
            reset,
            cause: cause.get().expect("it closed"),
            how: how.get().expect("it closed"),
            errors: errors.get(),
            unsent: unsent.get(),
        };
    }
    turn_until(&mut reactor, "the close", |_| cause.get().is_some());
    let (mut received, mut reset) = (0, false);
    if way != Way::PeerResets {
        let reader = reading.unwrap_or_else(|peer| read_all(peer, false));
        (received, reset) = reader.join().expect("it reads");
    }
    assert_eq!(reactor.end_of(id), cause.get(), "and afterwards");
    assert_eq!(reactor.counters().ends.total(), 1);
    Outcome {
        received,
        reset,
        cause: cause.get().expect("it closed"),
        how: how.get().expect("it closed"),
        errors: errors.get(),
        unsent: unsent.get(),
    }
}

/// Reads to the end of the stream or the reset; how many bytes came, and which it was.
fn read_all(mut peer: Peer<TcpStream>, finishes: bool) -> std::thread::JoinHandle<(usize, bool)> {
    std::thread::spawn(move || {
        peer.set_read_timeout(Some(DEADLINE)).expect("a socket");
        let mut buffer = vec![0; 64 * 1024];
        let mut received = 0;
        if finishes {
            let _ = peer.shutdown(std::net::Shutdown::Write);
        }
        loop {
            match peer.read(&mut buffer) {
                Ok(0) => return (received, false),
                Ok(count) => received += count,
                Err(error) => match error.kind() {
                    // The second if the reset came before its own end of the stream, the third over TLS.
                    io::ErrorKind::ConnectionReset
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::UnexpectedEof => return (received, true),
                    _ => panic!("{error}"),
                },
            }
        }
    })
}

#[test]
fn every_end_shows_the_peer_what_happened_and_names_its_cause() {
    use Sees::*;
    let other = Cause::Error(io::ErrorKind::Other);
    let stalled = Cause::Stalled { unsent: 0 };
    let late = Cause::CloseTimeout { unsent: 0 };
    let over = Cause::OverCap { unsent: 0 };
    // The way; what the peer sees with nothing queued, and with output queued; the cause; handle_error.
    // A cause that counts unsent bytes is compared without them.
    let rows = [
        (Way::Close, EndOfStream, EndOfStream, Cause::Finished, 0),
        (Way::Abort, Reset, Reset, Cause::Aborted, 0),
        (Way::AbortWhenSent, Reset, Reset, Cause::Aborted, 0),
        (
            Way::BothFinish,
            EndOfStream,
            EndOfStream,
            Cause::Finished,
            0,
        ),
        (Way::Disconnect, WhatTheKernelDoes, Reset, Cause::Reset, 0),
        (Way::Fault, Reset, Reset, other, 1),
        (Way::FaultKept, EndOfStream, EndOfStream, Cause::Finished, 1),
        (Way::FaultThenClose, EndOfStream, EndOfStream, other, 1),
        (Way::Panic, Reset, Reset, Cause::Panic, 0),
        (Way::OverCap, Reset, Reset, over, 1),
        (Way::OverCapThenClose, Reset, Reset, over, 1),
        (Way::Idle, WhatTheKernelDoes, Reset, Cause::Idle, 1),
        (Way::Stalled, EndOfStream, Reset, stalled, 1),
        (Way::CloseTimeout, EndOfStream, Reset, late, 1),
        (Way::CloseAll, WhatTheKernelDoes, Reset, Cause::Shutdown, 0),
        (Way::Dropped, WhatTheKernelDoes, Reset, Cause::Shutdown, 0),
        (Way::PeerResets, EndOfStream, EndOfStream, Cause::Reset, 0),
    ];
    for (way, empty, full, cause, errors) in rows {
        for (unread, queued) in [(false, false), (true, false), (false, true), (true, true)] {
            if !queued && matches!(way, Way::Stalled | Way::CloseTimeout) {
                // Without output nothing stalls.
                continue;
            }
            let case = format!("{way:?}, unread input: {unread}, queued output: {queued}");
            let outcome = play(way, unread, queued);
            let reset = match if queued { full } else { empty } {
                EndOfStream => false,
                Reset => true,
                WhatTheKernelDoes => unread || over::SILENCE_IS_A_CUT,
            };
            if way != Way::PeerResets {
                assert_eq!(outcome.reset, reset, "{case}");
                if !reset {
                    let whole = if queued { QUEUED } else { 0 };
                    assert_eq!(
                        outcome.received, whole,
                        "{case}: a clean end is a whole answer"
                    );
                }
            }
            let class = |cause: Cause| std::mem::discriminant(&cause);
            assert_eq!(
                class(outcome.cause),
                class(cause),
                "{case}: {:?}",
                outcome.cause
            );
            assert_eq!(outcome.how, outcome.cause.end(), "{case}");
            assert_eq!(outcome.errors, errors, "{case}");
            if let Cause::Stalled { unsent } | Cause::CloseTimeout { unsent } = outcome.cause {
                assert!(unsent > 0 && unsent <= QUEUED, "{case}: {unsent}");
                assert_eq!(outcome.unsent, unsent, "{case}");
            }
            let Outcome {
                received, unsent, ..
            } = outcome;
            assert!(
                received + unsent <= QUEUED,
                "{case}: of {unsent} bytes unsent the peer has seen none, and it has seen {received}"
            );
            if queued && matches!(outcome.cause.end(), End::Aborted) && way != Way::AbortWhenSent {
                assert!(unsent > 0, "{case}: most of the output was queued");
            }
            if !outcome.reset && way != Way::PeerResets {
                assert_eq!(unsent, 0, "{case}: everything has left");
            }
        }
    }
}

#[test]
fn a_refused_connection_ended_because_it_was_refused() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = nobody.local_addr().expect("bound");
    drop(nobody);
    let (cause, how, errors): (Rc<Cell<_>>, Rc<Cell<_>>, Rc<Cell<_>>) = Default::default();
    let mut reactor = Reactor::new().expect("a poller");
    let subject = Subject {
        way: Way::Close,
        cause: Rc::clone(&cause),
        how: Rc::clone(&how),
        errors: Rc::clone(&errors),
        unsent: Rc::default(),
    };
    reactor.connect(address, subject).expect("it is under way");
    turn_until(&mut reactor, "the refusal", |_| cause.get().is_some());
    let refused = Cause::ConnectFailed(io::ErrorKind::ConnectionRefused);
    assert_eq!(cause.get(), Some(refused));
    assert_eq!((how.get(), errors.get()), (Some(End::Failed), 1));
    assert_eq!(reactor.counters().ends.connect_failed, 1);
}

#[test]
fn the_cause_of_an_end_can_be_asked_for_until_the_place_is_used_again() {
    let mut reactor = Reactor::new().expect("a poller");
    let (first, _peer) = unix_pair();
    let first = reactor.add(first, Echo).expect("a stream");
    assert_eq!(reactor.end_of(first), None, "it has not ended");
    reactor.at(first).expect("open").abort();
    turn_for(&mut reactor, Duration::ZERO);
    assert_eq!(reactor.end_of(first), Some(Cause::Aborted));
    let (second, peer) = unix_pair();
    let second = reactor.add(second, Echo).expect("a stream");
    assert_eq!(reactor.end_of(first), Some(Cause::Aborted), "still");
    assert_eq!(reactor.end_of(second), None);
    let context = reactor.at(second).expect("open");
    assert_eq!(
        context.end_of(first),
        Some(Cause::Aborted),
        "as the reactor says"
    );
    assert_eq!(context.end_of(second), None);
    drop(peer);
    turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
    assert_eq!(reactor.end_of(second), Some(Cause::Finished));
    assert_eq!(reactor.end_of(first), None, "its place has had another");
}

#[test]
fn abort_when_sent_after_a_clean_end_does_not_change_what_happened() {
    let mut reactor = Reactor::new().expect("a poller");
    let diary = Diary::default();
    let (id, mut peer) = spied_pair(&mut reactor, Spy::new("closing", &diary));
    reactor.at(id).expect("open").close();
    turn(&mut reactor);
    assert_eq!(peer.read(&mut [0; 8]).ok(), Some(0), "a clean end");
    reactor.at(id).expect("draining").abort_when_sent();
    drop(peer);
    turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
    assert_eq!(reactor.end_of(id), Some(Cause::Finished));
}
