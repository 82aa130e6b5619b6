//! Ways to read and to send that spare a buffer, say when all is sent, or fit a library's `Read` and `Write`.

#[cfg_attr(feature = "tls", path = "util/tls.rs")]
#[cfg_attr(not(feature = "tls"), path = "util/plain.rs")]
mod over;
mod util;
#[path = "util/wire.rs"]
mod wire;

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::rc::Rc;

use over::{reset, tcp_pair, unix_pair};
use slabloop::{Cause, Context, Dispatcher, Reactor};
use util::*;

#[test]
fn recv_with_lends_what_there_is_and_is_not_called_for_the_end() {
    struct Lent(Rc<RefCell<Vec<u8>>>, Rc<Cell<u32>>);
    impl Dispatcher for Lent {
        fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            cx.recv_with(|bytes, cx| {
                assert!(!bytes.is_empty());
                self.0.borrow_mut().extend(bytes);
                // The buffer is away; a second read inside gets another.
                match cx.recv_with(|_, _| unreachable!("all is read")) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    outcome => outcome?,
                }
                cx.send(bytes)
            })
        }

        fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            self.1.set(self.1.get() + 1);
            cx.close();
            Ok(())
        }
    }
    let mut reactor = Reactor::new().expect("a poller");
    let (bytes, ends) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Cell::new(0)));
    let (ours, mut peer) = tcp_pair();
    let lent = Lent(Rc::clone(&bytes), Rc::clone(&ends));
    over::add(&mut reactor, ours, lent);
    peer.write_all(b"hello").expect("room");
    turn_until(&mut reactor, "the bytes", |_| *bytes.borrow() == b"hello");
    peer.shutdown(std::net::Shutdown::Write).expect("connected");
    turn_until(&mut reactor, "the end", |_| ends.get() == 1);
    turn(&mut reactor);
    let mut answer = Vec::new();
    peer.read_to_end(&mut answer).expect("a clean end");
    assert_eq!(answer, b"hello");
}

#[test]
fn what_the_closure_of_recv_with_returns_is_returned() {
    struct Fails;
    impl Dispatcher for Fails {
        fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            cx.recv_with(|_, _| Err(io::ErrorKind::InvalidData.into()))
        }
    }
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, mut peer) = tcp_pair();
    let id = over::add(&mut reactor, ours, Fails);
    peer.write_all(b"x").expect("room");
    turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
    let cause = Cause::Error(io::ErrorKind::InvalidData);
    assert_eq!(reactor.end_of(id), Some(cause));
}

/// Notes the length of what it reads, and where that begins.
struct Mover {
    limit: usize,
    lent: Rc<RefCell<Vec<(usize, usize)>>>,
}

impl Dispatcher for Mover {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_up_to(self.limit, |bytes, _| {
            let lent = (bytes.len(), bytes.as_ptr() as usize);
            self.lent.borrow_mut().push(lent);
            Ok(())
        })
    }
}

/// What is lent of 110,000 bytes, as [`Mover`] notes it, and the reactor that lends it.
fn lent_up_to(limit: usize) -> (Vec<(usize, usize)>, Reactor) {
    let mut reactor = Reactor::new().expect("a poller");
    let lent = Rc::new(RefCell::new(Vec::new()));
    let (ours, mut peer) = unix_pair();
    let mover = Mover {
        limit,
        lent: Rc::clone(&lent),
    };
    over::add(&mut reactor, ours, mover);
    peer.write_all(&[7; 110_000]).expect("room");
    turn_until(&mut reactor, "all bytes", |_| {
        lent.borrow()
            .iter()
            .map(|(length, _)| length)
            .sum::<usize>()
            == 110_000
    });
    (lent.take(), reactor)
}

#[test]
fn recv_up_to_lends_as_much_as_it_was_asked_for_and_no_more() {
    if over::is_skipped("recv_up_to_lends_as_much_as_it_was_asked_for_and_no_more") {
        return;
    }
    let lengths = |limit| {
        let (lent, _) = lent_up_to(limit);
        lent.iter().map(|(length, _)| *length).collect::<Vec<_>>()
    };
    assert_eq!(lengths(50_000), [50_000, 50_000, 10_000]);
    assert_eq!(lengths(300_000), [110_000]);
}

/// Some processors copy five times as slowly to 16 bytes behind the start of a page, which is where the
/// allocator puts the larger of these buffers.
#[test]
fn a_lent_buffer_begins_at_a_cache_line_wherever_its_memory_is() {
    let limits = (0..16).map(|more| 50_000 * (1 + more % 4) + 16 * more);
    // All are kept, so that no memory is used again.
    let lent: Vec<_> = limits.map(lent_up_to).collect();
    for (_, start) in lent.iter().flat_map(|(lent, _)| lent) {
        assert_eq!(start % 64, 0);
    }
}

#[test]
fn recv_up_to_nothing_is_refused_for_it_would_look_like_the_end() {
    struct Refused(Rc<Cell<u32>>);
    impl Dispatcher for Refused {
        fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            let nothing = cx.recv_up_to(0, |_, _| unreachable!("there is no room"));
            let refused = nothing.map_err(|error| error.kind());
            if refused == Err(io::ErrorKind::InvalidInput) {
                self.0.set(self.0.get() + 1);
            }
            cx.recv_with(|_, _| Ok(()))
        }
    }
    let mut reactor = Reactor::new().expect("a poller");
    let refusals = Rc::new(Cell::new(0));
    let (ours, mut peer) = tcp_pair();
    let refused = Refused(Rc::clone(&refusals));
    over::add(&mut reactor, ours, refused);
    peer.write_all(b"x").expect("room");
    turn_until(&mut reactor, "the refusal", |_| refusals.get() == 1);
}

/// Notes each `handle_sent`, with what was queued.
struct Sender(Rc<RefCell<Vec<usize>>>);

impl Dispatcher for Sender {
    fn handle_sent(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.0.borrow_mut().push(cx.queued());
        Ok(())
    }
}

#[test]
fn handle_sent_comes_once_when_all_is_with_the_kernel() {
    const LARGE: usize = 20_000_000;
    let mut reactor = Reactor::new().expect("a poller");
    let sent = Rc::new(RefCell::new(Vec::new()));
    let (ours, mut peer) = tcp_pair();
    let id = over::add(&mut reactor, ours, Sender(Rc::clone(&sent)));
    let mut cx = reactor.at(id).expect("open");
    cx.set_marks(1, LARGE, LARGE).expect("in range");
    cx.send(&vec![7; LARGE]).expect("room");
    cx.notify_when_sent().expect("open");
    settle(&mut reactor);
    assert!(sent.borrow().is_empty(), "the peer has not read");
    let reader = std::thread::spawn(move || peer.read_exact(&mut vec![0; LARGE]).map(|()| peer));
    turn_until(&mut reactor, "the call", |_| !sent.borrow().is_empty());
    let _peer = reader.join().expect("no panic").expect("all of it");
    settle(&mut reactor);
    assert_eq!(*sent.borrow(), [0], "once, with nothing queued");
    // With nothing queued it comes in the next flush; asked for twice, once.
    let mut cx = reactor.at(id).expect("open");
    cx.notify_when_sent().expect("open");
    cx.notify_when_sent().expect("open");
    turn(&mut reactor);
    assert_eq!(*sent.borrow(), [0, 0]);
    // And before a shutdown of the write side is done, not in place of it.
    let mut cx = reactor.at(id).expect("open");
    cx.send(b"last").expect("room");
    cx.shutdown_write();
    cx.notify_when_sent().expect("open");
    settle(&mut reactor);
    assert_eq!(*sent.borrow(), [0, 0, 0]);
}

#[test]
fn handle_sent_does_not_come_after_a_close_or_a_failure() {
    let mut reactor = Reactor::new().expect("a poller");
    let sent = Rc::new(RefCell::new(Vec::new()));
    for abort in [false, true] {
        let (ours, peer) = tcp_pair();
        let id = over::add(&mut reactor, ours, Sender(Rc::clone(&sent)));
        let mut cx = reactor.at(id).expect("open");
        cx.send(b"x").expect("room");
        cx.notify_when_sent().expect("open");
        if abort {
            reset(peer);
        } else {
            cx.close();
            let refused = cx.notify_when_sent().expect_err("closing");
            assert_eq!(refused.kind(), io::ErrorKind::NotConnected);
            drop(peer);
        }
        if !abort {
            turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
            assert!(sent.borrow().is_empty());
        }
    }
    let (mut reactor, id) = {
        let mut reactor = Reactor::new().expect("a poller");
        let id = reactor.add_service(Sender(Rc::default())).expect("room");
        (reactor, id)
    };
    let refused = reactor.at(id).expect("there").notify_when_sent();
    assert_eq!(
        refused.expect_err("no socket").kind(),
        io::ErrorKind::Unsupported
    );
}

#[test]
fn try_send_takes_what_there_is_room_for_below_the_high_mark_and_holds_nobody() {
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, mut peer) = tcp_pair();
    let id = over::add(&mut reactor, ours, Sender(Rc::default()));
    let mut cx = reactor.at(id).expect("open");
    cx.set_marks(10, 100, 1000).expect("in range");
    cx.send(&[1; 40]).expect("room");
    assert_eq!(cx.try_send(&[2; 100]).ok(), Some(60));
    assert!(cx.is_reading(), "not held");
    let full = cx.try_send(&[3; 1]).expect_err("no room");
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    assert_eq!(cx.try_send(&[]).ok(), Some(0));
    turn(&mut reactor);
    let mut received = [0; 100];
    peer.read_exact(&mut received).expect("all of it");
    assert_eq!(received[39..41], [1, 2]);
    let mut cx = reactor.at(id).expect("open");
    assert_eq!(cx.try_send(&[4; 5]).ok(), Some(5), "there is room again");
    cx.close();
    let closed = cx.try_send(&[5; 5]).expect_err("closed");
    assert_eq!(closed.kind(), io::ErrorKind::NotConnected);
}

/// Writes the numbers up to a million through a library's `Write`, as there is room.
struct Numbers(u32);

impl Dispatcher for Numbers {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut request = [0; 8];
        let count = cx.stream().read(&mut request)?;
        if count > 0 {
            cx.start_writing();
        }
        Ok(())
    }

    fn handle_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while self.0 < 100_000 {
            let line = format!("{:07}\n", self.0);
            match cx.stream().write(line.as_bytes()) {
                Ok(count) if count == line.len() => self.0 += 1,
                Ok(_) => unreachable!("eight divides the high mark"),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        cx.close();
        Ok(())
    }
}

#[test]
fn a_stream_reads_and_writes_for_a_library_and_handle_write_goes_on_when_there_is_room() {
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, mut peer) = tcp_pair();
    over::add(&mut reactor, ours, Numbers(0));
    peer.write_all(b"go").expect("room");
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        peer.read_to_string(&mut text).map(|_| text)
    });
    turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
    let text = reader.join().expect("no panic").expect("a clean end");
    assert_eq!(text.lines().count(), 100_000);
    assert!(
        text.lines()
            .enumerate()
            .all(|(i, line)| line.parse() == Ok(i))
    );
}

#[test]
fn close_when_sent_does_not_wait_for_the_peers_end_and_delivers_everything() {
    const LARGE: usize = 5_000_000;
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, mut peer) = tcp_pair();
    let id = over::add(&mut reactor, ours, Sender(Rc::default()));
    let mut cx = reactor.at(id).expect("open");
    cx.set_marks(1, LARGE, LARGE).expect("in range");
    cx.send(&vec![7; LARGE]).expect("room");
    cx.close_when_sent();
    assert!(cx.is_closing());
    let reader = std::thread::spawn(move || {
        let mut received = Vec::new();
        peer.read_to_end(&mut received).map(|count| (count, peer))
    });
    // The peer keeps its side open, and it ends all the same.
    turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
    assert_eq!(reactor.end_of(id), Some(Cause::Finished));
    let (count, _peer) = reader.join().expect("no panic").expect("a clean end");
    assert_eq!(count, LARGE);
}

#[test]
fn after_a_write_that_failed_nobody_is_told_that_all_was_sent() {
    struct Asks(Rc<RefCell<Vec<&'static str>>>);
    impl Dispatcher for Asks {
        /// The write has failed, and a read is to find out the rest. This one does not read at once.
        fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            if self.0.borrow().is_empty() {
                self.0.borrow_mut().push("asked");
                return cx.notify_when_sent();
            }
            cx.recv(&mut [0; 16])?;
            Ok(())
        }

        fn handle_sent(&mut self, _: &mut Context<'_>) -> io::Result<()> {
            self.0.borrow_mut().push("sent");
            Ok(())
        }

        fn handle_close(&mut self, _: &mut Context<'_>) {
            self.0.borrow_mut().push("closed");
        }
    }
    let mut reactor = Reactor::new().expect("a poller");
    let told = Rc::new(RefCell::new(Vec::new()));
    let wire = wire::Wire::open();
    let id = reactor
        .add(wire.socket(), Asks(Rc::clone(&told)))
        .expect("a simulated stream");
    wire.break_silently(io::ErrorKind::BrokenPipe);
    let mut cx = reactor.at(id).expect("open");
    cx.send(b"thrown away").expect("the outbox takes it");
    turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
    assert_eq!(*told.borrow(), ["asked", "closed"]);
}

#[test]
fn after_a_write_that_failed_a_short_read_does_not_leave_the_connection_waiting_for_an_event() {
    let mut reactor = Reactor::new().expect("a poller");
    let diary = Diary::default();
    let wire = wire::Wire::open();
    // A buffer that is larger than what there is.
    let spy = Spy::new("reads short", &diary).on_read(|cx| cx.recv(&mut [0; 16]).map(|_| ()));
    let id = reactor.add(wire.socket(), spy).expect("a simulated stream");
    wire.break_silently(io::ErrorKind::BrokenPipe);
    let mut cx = reactor.at(id).expect("open");
    cx.send(b"thrown away").expect("the outbox takes it");
    wire.input(&mut reactor, id, b"what has arrived");
    wire.input(&mut reactor, id, b" before");
    settle(&mut reactor);
    assert_eq!(wire.unread(), 0);
    let all = ["reads short read", "reads short read", "reads short read"];
    assert_eq!(diary.all()[..3], all, "it is read to the last byte");
    assert_eq!(diary.all()[3..], ["reads short close"]);
}

#[test]
fn what_is_sent_between_the_flush_and_handle_sent_has_left_as_well_when_that_comes() {
    struct Asks(Rc<RefCell<Vec<usize>>>);
    impl Dispatcher for Asks {
        /// Comes before `handle_sent`, in the same turn.
        fn handle_error(&mut self, cx: &mut Context<'_>, _: io::Error) {
            cx.send(b"more").expect("open");
        }

        fn handle_sent(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            self.0.borrow_mut().push(cx.queued());
            Ok(())
        }
    }
    let mut reactor = Reactor::new().expect("a poller");
    let queued = Rc::new(RefCell::new(Vec::new()));
    let wire = wire::Wire::open();
    let id = reactor
        .add(wire.socket(), Asks(Rc::clone(&queued)))
        .expect("a simulated stream");
    let mut cx = reactor.at(id).expect("open");
    cx.fail(io::Error::other("a fault that is no end"));
    cx.notify_when_sent().expect("open");
    turn_until(&mut reactor, "the news", |_| !queued.borrow().is_empty());
    assert_eq!(*queued.borrow(), [0]);
    assert_eq!(wire.output(), b"more");
}

#[test]
fn the_write_side_is_shut_when_the_producer_says_that_there_is_no_more() {
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, mut peer) = std::os::unix::net::UnixStream::pair().expect("descriptors");
    peer.set_nonblocking(true).expect("a socket");
    let id = reactor.add(ours, Echo).expect("a stream");
    let mut cx = reactor.at(id).expect("open");
    cx.has_more_output(true);
    cx.shutdown_write();
    settle(&mut reactor);
    let kind = peer.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(kind, Err(io::ErrorKind::WouldBlock), "there may be more");
    reactor.at(id).expect("open").has_more_output(false);
    turn_until(&mut reactor, "the end of the stream", |_| {
        matches!(peer.read(&mut [0]), Ok(0))
    });
}

/// A producer that was there before the close may say again that it has more; one that was not comes too late.
#[test]
fn a_connection_that_is_closed_before_it_is_made_waits_for_its_producer() {
    for has_producer in [true, false] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let mut reactor = Reactor::new().expect("a poller");
        let id = reactor.connect(address, Echo).expect("an attempt");
        let mut cx = reactor.at(id).expect("connecting");
        cx.has_more_output(has_producer);
        cx.close();
        cx.has_more_output(true);
        let (mut peer, _) = listener.accept().expect("it has come");
        let reading = std::thread::spawn(move || {
            let mut received = Vec::new();
            peer.read_to_end(&mut received).map(|_| received)
        });
        if has_producer {
            turn_until(&mut reactor, "the producer's turn", |reactor| {
                let mut cx = reactor.at(id).expect("it waits");
                cx.send(b"last").is_ok()
            });
            reactor.at(id).expect("it waits").has_more_output(false);
        }
        turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
        let received = reading.join().expect("no panic").expect("a clean end");
        let expected: &[u8] = if has_producer { b"last" } else { b"" };
        assert_eq!(received, expected);
    }
}
