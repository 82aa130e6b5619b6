//! Files as output: they leave in order with the bytes around them, whatever the socket; everything that waits
//! for output waits for them; one that cannot be read ends in a reset, never in a short answer.

mod util;

use std::cell::{Cell, RefCell};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::Token;
use slabloop::framing::{Framed, Framing, Handler, Terminator};
use slabloop::testing::{SimClock, SimKind, SimSocket};
use slabloop::{Cause, Context, Dispatcher, Id, Rate, Reactor, Socket};
use util::*;

const LARGE: usize = 20_000_000;

/// What one connection sends of files in a turn, at most.
const SHARE: u64 = 256 * 1024;

/// A file of these bytes, which is gone when it is closed. It can be written as well, to be made shorter.
fn file_of(bytes: &[u8]) -> File {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    let name = format!("file-{}-{number}", std::process::id());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, bytes).expect("room on the disk");
    let file = OpenOptions::new().read(true).write(true).open(&path);
    fs::remove_file(&path).expect("it was made a moment ago");
    file.expect("it was made a moment ago")
}

/// All that comes until the end, or the error in its place, read by another thread.
fn read_in_background(mut peer: TcpStream) -> JoinHandle<io::Result<Vec<u8>>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).map(|_| bytes)
    })
}

/// What the peer of the one connection gets while the loop turns, until it has ended.
#[track_caller]
fn received(reactor: &mut Reactor, peer: TcpStream) -> io::Result<Vec<u8>> {
    let reading = read_in_background(peer);
    turn_until(reactor, "the peer's end", |_| reading.is_finished());
    reading.join().expect("the reader does not panic")
}

/// A connection with a spy, and what it notes.
struct One {
    reactor: Reactor,
    diary: Diary,
    id: Id<Spy>,
    peer: TcpStream,
}

impl One {
    fn new() -> One {
        One::with(|_| {})
    }

    fn with(set: impl FnOnce(&mut slabloop::Builder)) -> One {
        let mut builder = Reactor::builder();
        set(&mut builder);
        let mut reactor = builder.build().expect("a poller");
        let diary = Diary::default();
        let (ours, peer) = tcp_pair();
        // Fixed and small, so that little fits into the kernel and the rest waits.
        for socket in [socket2::SockRef::from(&ours), socket2::SockRef::from(&peer)] {
            socket.set_send_buffer_size(64 * 1024).expect("tcp");
            socket.set_recv_buffer_size(64 * 1024).expect("tcp");
        }
        let id = reactor
            .add(ours, Spy::new("one", &diary))
            .expect("a stream");
        One {
            reactor,
            diary,
            id,
            peer,
        }
    }

    fn cx(&mut self) -> Context<'_> {
        self.reactor.at(self.id).expect("open")
    }

    /// Turns until nothing fits any more.
    fn fill(&mut self) {
        let mut before = u64::MAX;
        while self.cx().queued_in_files() != before {
            before = self.cx().queued_in_files();
            settle(&mut self.reactor);
        }
        assert!(before > 0, "a part of the file still waits");
    }

    fn received(&mut self) -> io::Result<Vec<u8>> {
        let peer = self.peer.try_clone().expect("a descriptor");
        received(&mut self.reactor, peer)
    }
}

#[test]
fn files_and_the_bytes_around_them_leave_in_the_order_in_which_they_were_sent() {
    let mut one = One::new();
    let (first, second) = (pattern(1, 300_000), pattern(2, 10));
    let mut cx = one.cx();
    cx.send(b"<").expect("room");
    cx.send_file(file_of(&first), ..).expect("a file");
    cx.send(b"|").expect("room");
    cx.send(&[b'-'; 40_000]).expect("room");
    cx.send_file(file_of(&second), ..).expect("a file");
    cx.send_file(file_of(&second), 2..5).expect("a file");
    cx.send_file(file_of(&second), 5..5)
        .expect("nothing of a file");
    cx.send_file(file_of(b""), ..).expect("an empty file");
    cx.send(b">").expect("room");
    assert_eq!(cx.queued(), 40_003);
    assert_eq!(cx.queued_in_files(), 300_013);
    cx.close();
    let expected = [
        b"<",
        &first[..],
        b"|",
        &[b'-'; 40_000],
        &second,
        &second[2..5],
        b">",
    ];
    assert_eq!(one.received().expect("a clean end"), expected.concat());
    one.peer.shutdown(Shutdown::Write).expect("connected");
    turn_until(&mut one.reactor, "the end", |reactor| reactor.count() == 0);
    assert_eq!(one.reactor.end_of(one.id), Some(Cause::Finished));
}

#[test]
fn bytes_sent_while_a_file_is_under_way_go_behind_it() {
    let mut one = One::new();
    let bytes = pattern(3, 2_000_000);
    one.cx().send_file(file_of(&bytes), ..).expect("a file");
    one.fill();
    one.cx().send(b"behind").expect("room");
    one.cx().send_file(file_of(b"last"), ..).expect("a file");
    one.fill();
    one.cx().close();
    let expected = [&bytes[..], b"behind", b"last"].concat();
    assert_eq!(one.received().expect("a clean end"), expected);
}

#[test]
fn any_mixture_of_sends_broadcasts_and_files_arrives_in_order() {
    let bytes = pattern(25, 400_000);
    let file = Arc::new(file_of(&bytes));
    for seed in 1..=20 {
        let mut state: u32 = seed;
        let mut random = |below: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as usize % below
        };
        let mut one = One::new();
        let mut peer = one.peer.try_clone().expect("a descriptor");
        peer.set_nonblocking(true).expect("tcp");
        let (mut sent, mut got) = (Vec::new(), Vec::new());
        for _ in 0..150 {
            let most = [100, 5_000, 60_000][random(3)];
            let start = random(bytes.len() - most);
            let piece = &bytes[start..start + 1 + random(most)];
            let id = one.id;
            let mut cx = one.reactor.at(id).expect("open");
            let fits = cx.queued() + piece.len() < 500_000;
            match random(6) {
                0 | 1 if fits => cx.send(piece).expect("room"),
                2 if fits => assert_eq!(cx.broadcast([id], piece), 1),
                3 => cx
                    .send_file(
                        Arc::clone(&file),
                        start as u64..(start + piece.len()) as u64,
                    )
                    .expect("a file"),
                4 => {
                    turn_for(&mut one.reactor, Duration::ZERO);
                    continue;
                }
                _ => {
                    // Now and then all is read, so that the next send is the first again.
                    let most = if random(4) == 0 { 400_000 } else { most };
                    let before = got.len();
                    got.resize(before + most, 0);
                    let read = peer.read(&mut got[before..]);
                    got.truncate(before + read.unwrap_or(0));
                    continue;
                }
            }
            sent.extend_from_slice(piece);
        }
        one.cx().close();
        peer.set_nonblocking(false).expect("tcp");
        got.extend(one.received().expect("a clean end"));
        assert!(got == sent, "seed {seed}: {} of {}", got.len(), sent.len());
    }
}

#[test]
fn one_open_file_goes_to_many_whole_and_in_parts() {
    let mut reactor = Reactor::new().expect("a poller");
    let bytes = pattern(4, 1_000_000);
    let file = Arc::new(file_of(&bytes));
    let mut readers = Vec::new();
    for start in 0..8 {
        let (ours, peer) = tcp_pair();
        let id = reactor.add(ours, Echo).expect("a stream");
        let mut cx = reactor.at(id).expect("open");
        cx.send_file(Arc::clone(&file), start * 1_000..)
            .expect("a file");
        cx.close_when_sent();
        readers.push(read_in_background(peer));
    }
    turn_until(&mut reactor, "all ends", |_| {
        readers.iter().all(JoinHandle::is_finished)
    });
    for (start, reader) in readers.into_iter().enumerate() {
        let got = reader.join().expect("no panic").expect("a clean end");
        assert!(got == bytes[start * 1_000..], "reader {start}");
    }
    turn_until(&mut reactor, "all closed", |reactor| reactor.count() == 0);
    assert_eq!(
        Arc::strong_count(&file),
        1,
        "a file that was sent is let go"
    );
}

#[test]
fn a_large_file_reaches_a_slow_reader_and_a_fast_one() {
    let mut reactor = Reactor::new().expect("a poller");
    let file = Arc::new(file_of(&pattern(5, LARGE)));
    let add = |reactor: &mut Reactor| {
        let (ours, peer) = tcp_pair();
        let id = reactor.add(ours, Echo).expect("a stream");
        let mut cx = reactor.at(id).expect("open");
        cx.send_file(Arc::clone(&file), ..).expect("a file");
        cx.close();
        (id, peer)
    };
    let (slow, mut slow_peer) = add(&mut reactor);
    let (_, fast_peer) = add(&mut reactor);
    let whole = pattern(5, LARGE);
    let fast = received(&mut reactor, fast_peer).expect("a clean end");
    assert!(fast == whole, "the fast one got the file");
    assert!(reactor.at(slow).is_some(), "the slow one has read nothing");
    let mut got = Vec::new();
    let mut piece = vec![0; 500_000];
    slow_peer.set_nonblocking(true).expect("tcp");
    turn_until(&mut reactor, "the slow one's end", |_| {
        match slow_peer.read(&mut piece) {
            Ok(0) => true,
            Ok(count) => {
                got.extend_from_slice(&piece[..count]);
                false
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                false
            }
        }
    });
    assert!(got == whole, "the slow one got the file");
}

#[test]
fn what_cannot_be_sent_is_refused_with_a_word_why_and_nothing_is_sent() {
    let mut one = One::new();
    let kind_and_text = |outcome: io::Result<()>| {
        let error = outcome.expect_err("refused");
        (error.kind(), error.to_string())
    };
    let folder = File::open(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let (kind, text) = kind_and_text(one.cx().send_file(folder, ..));
    assert_eq!(kind, io::ErrorKind::InvalidInput);
    assert!(text.contains("a directory"), "{text}");
    let device = File::open("/dev/zero").expect("a device");
    let (kind, text) = kind_and_text(one.cx().send_file(device, ..10));
    assert_eq!(kind, io::ErrorKind::InvalidInput);
    assert!(text.contains("a device"), "{text}");
    let (kind, text) = kind_and_text(one.cx().send_file(file_of(b"short"), 2..9));
    assert_eq!(kind, io::ErrorKind::InvalidInput);
    assert!(text.contains("5 bytes"), "{text}");

    let path =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("unread-{}", std::process::id()));
    fs::write(&path, b"cannot be read").expect("room on the disk");
    let unreadable = OpenOptions::new().append(true).open(&path);
    fs::remove_file(&path).expect("it is there");
    let unreadable = unreadable.expect("it was there");
    let (kind, text) = kind_and_text(one.cx().send_file(unreadable, ..));
    assert_eq!(kind, io::ErrorKind::InvalidInput);
    assert!(text.contains("not open for reading"), "{text}");
    assert_eq!(one.cx().queued_in_files(), 0);

    let file = Arc::new(file_of(b"x"));
    for _ in 0..256 {
        one.cx().send_file(Arc::clone(&file), ..).expect("room");
    }
    let (kind, _) = kind_and_text(one.cx().send_file(Arc::clone(&file), ..));
    assert_eq!(kind, io::ErrorKind::QuotaExceeded);
    let detached = one.reactor.detach(one.id).expect_err("a file waits");
    assert_eq!(detached.kind(), io::ErrorKind::InvalidInput);
    assert!(detached.to_string().contains("file"), "{detached}");

    one.cx().shutdown_write();
    let (kind, _) = kind_and_text(one.cx().send_file(file_of(b"y"), ..));
    assert_eq!(kind, io::ErrorKind::BrokenPipe);
    one.cx().close();
    let (kind, _) = kind_and_text(one.cx().send_file(file_of(b"y"), ..));
    assert_eq!(kind, io::ErrorKind::NotConnected);
    assert_eq!(one.received().expect("a clean end"), vec![b'x'; 256]);

    let (listener, _) = serve(&mut one.reactor, || Echo);
    let mut cx = one.reactor.at(listener).expect("open");
    let (kind, _) = kind_and_text(cx.send_file(file_of(b"y"), ..));
    assert_eq!(kind, io::ErrorKind::Unsupported);
    let datagrams = one.reactor.bind_udp("127.0.0.1:0", Echo).expect("a port");
    let mut cx = one.reactor.at(datagrams).expect("open");
    let (kind, _) = kind_and_text(cx.send_file(file_of(b"y"), ..));
    assert_eq!(kind, io::ErrorKind::Unsupported);
}

#[test]
fn a_file_that_becomes_shorter_ends_in_a_reset_and_an_error_that_says_so() {
    let endings: [fn(&mut Context<'_>); 5] = [
        |_| {},
        |cx| cx.close(),
        |cx| cx.close_when_sent(),
        |cx| cx.shutdown_write(),
        |cx| cx.close_when_done(),
    ];
    for (number, ending) in endings.into_iter().enumerate() {
        let mut one = One::new();
        let file = file_of(&pattern(6, 2_000_000));
        let same = file.try_clone().expect("a descriptor");
        one.cx().send_file(file, ..).expect("a file");
        one.fill();
        one.cx().send(b"behind").expect("room");
        ending(&mut one.cx());
        same.set_len(1_000_000).expect("it is open for writing");
        let error = one.received().expect_err("no clean end");
        assert_eq!(
            error.kind(),
            io::ErrorKind::ConnectionReset,
            "ending {number}"
        );
        turn_until(&mut one.reactor, "the end", |reactor| reactor.count() == 0);
        let cause = Cause::Error(io::ErrorKind::UnexpectedEof);
        assert_eq!(one.reactor.end_of(one.id), Some(cause));
        assert_eq!(
            one.diary.of("one"),
            ["error UnexpectedEof", "close"],
            "ending {number}"
        );
    }
}

#[test]
fn the_error_of_a_file_names_the_connection_and_reaches_nobody_else() {
    struct Failing(Rc<RefCell<String>>, Rc<Cell<bool>>);
    impl Dispatcher for Failing {
        fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
            *self.0.borrow_mut() = error.to_string();
            // Nothing of this saves it.
            self.1.set(cx.send(b"sorry").is_err());
            cx.close();
        }
    }
    let mut reactor = Reactor::new().expect("a poller");
    let text = Rc::new(RefCell::new(String::new()));
    let refused = Rc::new(Cell::new(false));
    let (ours, peer) = tcp_pair();
    let id = reactor
        .add(ours, Failing(Rc::clone(&text), Rc::clone(&refused)))
        .expect("a stream");
    let file = file_of(b"0123456789");
    let same = file.try_clone().expect("a descriptor");
    reactor
        .at(id)
        .expect("open")
        .send_file(file, 5..)
        .expect("a file");
    same.set_len(5).expect("it is open for writing");
    turn(&mut reactor);
    let text = text.borrow();
    assert!(
        text.contains("Failing") && text.contains("shorter"),
        "{text}"
    );
    assert!(refused.get(), "nothing can be sent any more");
    let error = received(&mut reactor, peer).expect_err("no clean end");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_file_whose_bytes_cannot_be_read_ends_in_a_reset() {
    // The loopback interface has no speed: its file has a length, and every read of it fails.
    let path = "/sys/class/net/lo/speed";
    let readable = |mut file: &File| file.read(&mut [0; 10]).is_ok();
    let Some(file) = File::open(path).ok().filter(|file| !readable(file)) else {
        println!("skipped: no file with a length that cannot be read");
        return;
    };
    let mut one = One::new();
    one.cx().send_file(file, ..10).expect("its length is known");
    one.cx().close();
    let error = one.received().expect_err("no clean end");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(one.diary.of("one"), ["error InvalidInput", "close"]);
}

#[test]
fn shutting_the_write_side_and_handle_sent_wait_for_the_file() {
    struct Sent(Rc<Cell<u32>>);
    impl Dispatcher for Sent {
        fn handle_sent(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            assert_eq!((cx.queued(), cx.queued_in_files()), (0, 0));
            self.0.set(self.0.get() + 1);
            Ok(())
        }
        fn handle_eof(&mut self, _: &mut Context<'_>) -> io::Result<()> {
            Ok(())
        }
    }
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, peer) = tcp_pair();
    let sent = Rc::new(Cell::new(0));
    let id = reactor.add(ours, Sent(Rc::clone(&sent))).expect("a stream");
    let bytes = pattern(7, LARGE);
    let mut cx = reactor.at(id).expect("open");
    cx.send_file(file_of(&bytes), ..).expect("a file");
    cx.notify_when_sent().expect("open");
    cx.shutdown_write();
    settle(&mut reactor);
    assert_eq!(sent.get(), 0, "the file is under way");
    assert!(reactor.at(id).is_some());
    let got = received(&mut reactor, peer.try_clone().expect("a descriptor"));
    assert!(got.expect("a clean end") == bytes);
    assert_eq!(sent.get(), 1);
    assert!(reactor.at(id).is_some(), "the other half is open");
    peer.shutdown(Shutdown::Write).expect("connected");
    turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
}

#[test]
fn a_graceful_shutdown_waits_for_files_and_a_hurried_one_says_what_it_cut() {
    let mut one = One::new();
    let bytes = pattern(8, 3_000_000);
    one.cx().send_file(file_of(&bytes), ..).expect("a file");
    one.fill();
    let reading = read_in_background(one.peer);
    let aborted = one.reactor.shutdown(DEADLINE).expect("the loop works");
    assert_eq!(aborted, []);
    assert!(reading.join().expect("no panic").expect("a clean end") == bytes);

    let mut one = One::new();
    one.cx().send_file(file_of(&bytes), ..).expect("a file");
    one.fill();
    let left = one.cx().queued_in_files();
    let aborted = one
        .reactor
        .shutdown(Duration::ZERO)
        .expect("the loop works");
    assert_eq!(aborted.len(), 1);
    assert_eq!(aborted[0].unsent as u64, left);
    let error = one.received().expect_err("no clean end");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn an_abort_throws_the_file_away_and_a_reset_after_it_comes_after_it() {
    let mut one = One::new();
    let file = Arc::new(file_of(&pattern(9, 3_000_000)));
    one.cx().send_file(Arc::clone(&file), ..).expect("a file");
    one.fill();
    one.cx().abort();
    turn(&mut one.reactor);
    assert_eq!(Arc::strong_count(&file), 1, "the file is let go");
    let error = one.received().expect_err("no clean end");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

    let mut one = One::new();
    one.cx().send_file(Arc::clone(&file), ..).expect("a file");
    one.fill();
    one.cx().abort_when_sent();
    let mut got = 0;
    let mut peer = one.peer.try_clone().expect("a descriptor");
    peer.set_nonblocking(true).expect("tcp");
    turn_until(&mut one.reactor, "the reset", |_| {
        loop {
            match peer.read(&mut [0; 10_000]) {
                Ok(0) => panic!("no clean end"),
                Ok(count) => got += count,
                Err(error) => break error.kind() == io::ErrorKind::ConnectionReset,
            }
        }
    });
    // What the kernel had and the peer had not read is lost with a reset.
    assert!(got > 2_500_000, "{got}");
}

#[test]
fn of_what_an_abort_throws_away_the_bytes_before_and_behind_files_are_counted() {
    let mut one = One::new();
    let unsent = Rc::new(Cell::new(0));
    let counted = Rc::clone(&unsent);
    one.reactor.with(one.id, |spy, cx| {
        spy.on_close = Some(Box::new(move |cx| {
            counted.set(cx.unsent());
            Ok(())
        }));
        cx.send(b"12").expect("room");
        cx.send_file(file_of(&pattern(30, 1_000)), ..)
            .expect("a file");
        cx.send(b"345").expect("room");
        cx.send_file(file_of(&pattern(31, 1_000)), ..)
            .expect("a file");
        cx.send(b"6789").expect("room");
        cx.abort();
    });
    turn(&mut one.reactor);
    assert_eq!(unsent.get(), 9);
}

/// A large payload is offered to the kernel at once, but not past a file that waits, though the kernel has room again.
#[test]
fn a_large_send_waits_behind_a_file_also_when_there_is_room_again() {
    let mut one = One::new();
    let (bytes, behind) = (pattern(32, 3_000_000), pattern(33, 100_000));
    one.cx().send_file(file_of(&bytes), ..).expect("a file");
    one.fill();
    // All that is there, so that there is room for sure.
    one.peer.set_nonblocking(true).expect("tcp");
    let mut got = Vec::new();
    let full = one.peer.read_to_end(&mut got).expect_err("there is more");
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    one.peer.set_nonblocking(false).expect("tcp");
    one.cx().send(&behind).expect("room");
    one.cx().close();
    let rest = one.received().expect("a clean end");
    assert!([got, rest].concat() == [bytes, behind].concat());
}

#[test]
fn a_reader_that_stalls_ends_in_a_timeout_that_says_what_was_not_sent() {
    let clock = SimClock::new();
    let second = Duration::from_secs(1);
    let mut one = One::with(|builder| {
        builder.clock(clock.clone()).stall_timeout(second);
    });
    one.cx()
        .send_file(file_of(&pattern(10, 3_000_000)), ..)
        .expect("a file");
    one.fill();
    let unsent = usize::try_from(one.cx().queued_in_files()).expect("a few MB");
    clock.advance(second * 2);
    turn_until(&mut one.reactor, "the end", |reactor| reactor.count() == 0);
    assert_eq!(one.reactor.end_of(one.id), Some(Cause::Stalled { unsent }));
    assert_eq!(one.diary.of("one"), ["error TimedOut", "close"]);
    let error = one.received().expect_err("no clean end");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

    let mut one = One::with(|builder| {
        builder.clock(clock.clone()).close_timeout(second);
    });
    one.cx()
        .send_file(file_of(&pattern(10, 3_000_000)), ..)
        .expect("a file");
    one.fill();
    let unsent = usize::try_from(one.cx().queued_in_files()).expect("a few MB");
    one.cx().close();
    turn(&mut one.reactor);
    clock.advance(second * 2);
    turn_until(&mut one.reactor, "the end", |reactor| reactor.count() == 0);
    assert_eq!(
        one.reactor.end_of(one.id),
        Some(Cause::CloseTimeout { unsent })
    );
    let error = one.received().expect_err("no clean end");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_slow_reader_of_a_file_that_goes_on_reading_is_not_stalled() {
    let clock = SimClock::new();
    let mut one = One::with(|builder| {
        builder
            .clock(clock.clone())
            .stall_timeout(Duration::from_secs(1));
    });
    one.cx()
        .send_file(file_of(&pattern(26, 3_000_000)), ..)
        .expect("a file");
    one.fill();
    let mut piece = vec![0; 300_000];
    for _ in 0..4 {
        clock.advance(Duration::from_millis(600));
        let before = one.cx().queued_in_files();
        let mut peer = &one.peer;
        turn_until(&mut one.reactor, "more of the file", |reactor| {
            peer.set_nonblocking(true).expect("tcp");
            // That there is nothing to read yet is no matter.
            let _ = peer.read(&mut piece);
            let now = reactor.at(one.id).map(|cx| cx.queued_in_files());
            now.expect("it is not stalled") < before
        });
        one.fill();
    }
    assert_eq!(one.diary.count("one", "error"), 0);
}

#[test]
fn marks_that_are_set_while_a_file_waits_hold_for_the_bytes_behind_it() {
    let mut one = One::new();
    let bytes = pattern(27, 1_000_000);
    one.cx().send_file(file_of(&bytes), ..).expect("a file");
    one.cx().send(b"behind").expect("room");
    one.cx().set_marks(100, 200, 1_000).expect("in range");
    let mut peer = one.peer.try_clone().expect("a descriptor");
    let mut got = vec![0; bytes.len() + 6];
    let reading = thread::spawn(move || peer.read_exact(&mut got).map(|()| got));
    turn_until(&mut one.reactor, "all bytes", |_| reading.is_finished());
    assert!(reading.join().expect("no panic").is_ok());
    assert_eq!(one.cx().hard_cap(), 1_000);
}

#[test]
fn what_feeds_the_connection_is_held_while_a_file_waits() {
    let mut one = One::new();
    let (ours, mut feeder_peer) = tcp_pair();
    let sink = one.id;
    let feeder = Spy::new("feeder", &one.diary)
        .on_read(move |cx| cx.recv_with(|bytes, cx| cx.at(sink).expect("open").send(bytes)));
    let feeder = one.reactor.add(ours, feeder).expect("a stream");
    one.reactor.at(feeder).expect("open").feeds(sink);
    let bytes = pattern(11, 1_000_000);
    one.cx().send_file(file_of(&bytes), ..).expect("a file");
    feeder_peer.write_all(b"behind").expect("room");
    one.peer.write_all(b"and its own").expect("room");
    one.fill();
    assert_eq!(one.diary.count("feeder", "read"), 0);
    assert_eq!(one.diary.count("one", "read"), 0);
    assert_eq!(one.reactor.gauges().held, 2);
    let writing = one.cx().try_send(b"x").expect_err("no room");
    assert_eq!(writing.kind(), io::ErrorKind::WouldBlock);
    assert!(!one.cx().wants_output());
    let mut got = vec![0; bytes.len() + 6];
    let mut peer = one.peer.try_clone().expect("a descriptor");
    let reading = thread::spawn(move || peer.read_exact(&mut got).map(|()| got));
    turn_until(&mut one.reactor, "all bytes", |_| reading.is_finished());
    let got = reading.join().expect("no panic").expect("all of it");
    assert!(got == [&bytes[..], b"behind"].concat());
    turn_until(&mut one.reactor, "its own", |_| {
        one.diary.count("one", "read") == 1
    });
    assert_eq!(one.reactor.gauges().held, 0);
}

#[test]
fn bytes_behind_a_file_are_within_the_hard_cap_and_the_file_is_not() {
    let mut one = One::new();
    one.cx().set_marks(100, 200, 1_000).expect("in range");
    one.cx()
        .send_file(file_of(&pattern(12, 2_000_000)), ..)
        .expect("a file");
    one.cx().send(&[0; 600]).expect("room");
    one.cx().send_file(file_of(b"x"), ..).expect("a file");
    one.cx().send(&[0; 400]).expect("room");
    let as_many = one.cx().set_marks(100, 200, 1_000);
    as_many.expect("no more than that are queued");
    let lower = one
        .cx()
        .set_marks(100, 200, 999)
        .expect_err("1,000 are queued");
    assert_eq!(lower.kind(), io::ErrorKind::InvalidInput);
    let error = one.cx().send(&[0; 1]).expect_err("over the cap");
    assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
    turn_until(&mut one.reactor, "the end", |reactor| reactor.count() == 0);
    let cause = one.reactor.end_of(one.id);
    assert!(
        matches!(cause, Some(Cause::OverCap { unsent }) if unsent >= 2_001_001),
        "{cause:?}"
    );
    assert!(one.received().is_err(), "no clean end");
}

/// Takes as many bytes as it is offered, and counts them.
struct Taker(Rc<Cell<u64>>);

impl SimSocket for Taker {
    fn kind(&self) -> SimKind {
        SimKind::Stream
    }
    fn register(&mut self, _: Token) -> io::Result<()> {
        Ok(())
    }
    fn recv(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.set(self.0.get() + bytes.len() as u64);
        Ok(bytes.len())
    }
}

#[test]
fn a_turn_sends_one_share_of_a_connections_files_however_much_is_taken() {
    let mut reactor = Reactor::new().expect("a poller");
    let file = file_of(b"");
    file.set_len(3 * SHARE).expect("it is open for writing");
    let file = Arc::new(file);
    let takers = [(); 2].map(|()| {
        let taken = Rc::new(Cell::new(0));
        let socket: Box<dyn SimSocket> = Box::new(Taker(Rc::clone(&taken)));
        let id = reactor
            .add(Socket::from(socket), Echo)
            .expect("it is simulated");
        let mut cx = reactor.at(id).expect("open");
        // Two files that make two shares and a half: the bound is for both together.
        cx.send_file(Arc::clone(&file), ..SHARE / 2)
            .expect("a file");
        cx.send_file(Arc::clone(&file), SHARE..).expect("a file");
        taken
    });
    for expected in [SHARE, 2 * SHARE, 2 * SHARE + SHARE / 2] {
        let before = reactor.counters();
        turn(&mut reactor);
        assert_eq!(takers.each_ref().map(|taken| taken.get()), [expected; 2]);
        let after = reactor.counters();
        assert!(after.writes > before.writes, "each call is counted");
    }
}

/// `sendfile` does not say whether the file or the socket fails, so the file is read and written. The kernel tells the
/// error of a socket once: if that fails again, the first error is the one that says why.
#[test]
fn whatever_the_kernel_says_when_it_copies_a_file_the_socket_s_first_error_is_the_one_that_is_told()
{
    use io::ErrorKind::{InvalidInput, PermissionDenied, TimedOut, Unsupported, WouldBlock};
    // What the kernel's copying fails with, what the write fails with then, and what comes of it.
    let cases = [
        (PermissionDenied, Some(TimedOut), Some(PermissionDenied)),
        // These two say no more than that there is no such call for this file or socket.
        (Unsupported, Some(TimedOut), Some(TimedOut)),
        (InvalidInput, Some(TimedOut), Some(TimedOut)),
        (PermissionDenied, Some(WouldBlock), None),
        (PermissionDenied, None, None),
        (WouldBlock, None, None),
    ];
    for (copying, writing, expected) in cases {
        let case = format!("{copying:?}, {writing:?}");
        let mut reactor = Reactor::new().expect("a poller");
        let diary = Diary::default();
        let (peer, socket) = slabloop::test::connection();
        let id = reactor
            .add(socket, Spy::new("one", &diary))
            .expect("a stream");
        peer.fail_write(copying);
        if let Some(writing) = writing {
            peer.fail_write(writing);
        }
        let mut cx = reactor.at(id).expect("open");
        cx.send_file(file_of(b"all of the file"), ..)
            .expect("a file");
        slabloop::test::run_until_quiet(&mut reactor, 100);
        reactor.check_invariants();
        match expected {
            Some(kind) => {
                let error = format!("error {kind:?}");
                assert_eq!(diary.of("one"), ["read", &error, "close"], "{case}");
                assert_eq!(reactor.end_of(id), Some(Cause::Error(kind)), "{case}");
                assert!(peer.is_reset(), "{case}");
            }
            None => {
                assert_eq!(diary.of("one"), [""; 0], "{case}");
                assert_eq!(peer.take_received(), b"all of the file", "{case}");
            }
        }
    }
}

#[test]
fn others_are_answered_while_a_large_file_is_under_way() {
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, peer) = tcp_pair();
    // As much room as the system allows, so that it is the share that counts.
    socket2::SockRef::from(&ours)
        .set_send_buffer_size(16 << 20)
        .expect("tcp");
    let fast = reactor.add(ours, Echo).expect("a stream");
    let (ours, mut small_peer) = tcp_pair();
    reactor.add(ours, Echo).expect("a stream");
    let mut cx = reactor.at(fast).expect("open");
    let file = file_of(b"");
    // A hole: what is in it does not matter here.
    file.set_len(4 * LARGE as u64)
        .expect("it is open for writing");
    cx.send_file(file, ..).expect("a file");
    let reading = read_in_background(peer);
    let mut answered = 0;
    let mut left = 4 * LARGE as u64;
    while left > 0 {
        small_peer.write_all(b"ping").expect("room");
        let before = reactor.counters();
        // A turn without waiting: the ping may be a turn late, for its own kernel is.
        turn_until(&mut reactor, "the echo", |reactor| {
            let now = reactor.at(fast).expect("open").queued_in_files();
            assert!(left - now <= SHARE, "{} bytes in a turn", left - now);
            left = now;
            reactor.counters().bytes_in >= before.bytes_in + 4
        });
        small_peer.read_exact(&mut [0; 4]).expect("an echo");
        answered += 1;
    }
    assert!(answered > 10, "{answered} echoes meanwhile");
    reactor.at(fast).expect("open").close();
    turn_until(&mut reactor, "the end", |_| reading.is_finished());
}

#[test]
fn on_unix_sockets_files_go_as_well() {
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, mut peer) = unix_pair();
    let id = reactor.add(ours, Echo).expect("a stream");
    let bytes = pattern(14, 3_000_000);
    let mut cx = reactor.at(id).expect("open");
    cx.send(b"<").expect("room");
    cx.send_file(file_of(&bytes), ..).expect("a file");
    cx.send(b">").expect("room");
    cx.close();
    let reading = thread::spawn(move || {
        let mut got = Vec::new();
        peer.read_to_end(&mut got).map(|_| got)
    });
    turn_until(&mut reactor, "the end", |_| reading.is_finished());
    let got = reading.join().expect("no panic").expect("a clean end");
    assert!(got == [b"<", &bytes[..], b">"].concat());
}

#[test]
fn on_a_pipe_the_file_is_read_and_written() {
    let mut reactor = Reactor::new().expect("a poller");
    let (writer, reader) = mio::unix::pipe::new().expect("descriptors");
    let id = reactor.add(writer, Echo).expect("a pipe");
    let bytes = pattern(15, 1_000_000);
    let mut cx = reactor.at(id).expect("open");
    cx.send(b"<").expect("room");
    cx.send_file(file_of(&bytes), 1..).expect("a file");
    cx.send(b">").expect("room");
    cx.close();
    reader.set_nonblocking(false).expect("a pipe");
    let mut reader = File::from(std::os::fd::OwnedFd::from(reader));
    let reading = thread::spawn(move || {
        let mut got = Vec::new();
        reader.read_to_end(&mut got).map(|_| got)
    });
    turn_until(&mut reactor, "the end", |_| reading.is_finished());
    let got = reading.join().expect("no panic").expect("a clean end");
    assert!(got == [b"<", &bytes[1..], b">"].concat());
}

#[test]
fn a_socket_without_the_call_gets_the_file_in_pieces_and_a_shorter_one_is_noticed() {
    /// Takes a few bytes at a time.
    struct Taking(Rc<RefCell<Vec<u8>>>, Rc<Cell<bool>>);
    impl SimSocket for Taking {
        fn kind(&self) -> SimKind {
            SimKind::Stream
        }
        fn register(&mut self, _: Token) -> io::Result<()> {
            Ok(())
        }
        fn recv(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }
        fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.1.get() {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            let count = bytes.len().min(999);
            self.0.borrow_mut().extend_from_slice(&bytes[..count]);
            Ok(count)
        }
    }
    let (taken, broken) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Cell::new(false)));
    let mut reactor = Reactor::new().expect("a poller");
    let diary = Diary::default();
    let add = |reactor: &mut Reactor| {
        let socket: Box<dyn SimSocket> = Box::new(Taking(Rc::clone(&taken), Rc::clone(&broken)));
        reactor
            .add(Socket::from(socket), Spy::new("one", &diary))
            .expect("it is simulated")
    };
    let id = add(&mut reactor);
    let bytes = pattern(16, 500_000);
    reactor
        .at(id)
        .expect("open")
        .send_file(file_of(&bytes), ..)
        .expect("a file");
    reactor.at(id).expect("open").send(b"end").expect("room");
    turn_until(&mut reactor, "all bytes", |_| {
        taken.borrow().len() >= 500_003
    });
    assert!(*taken.borrow() == [&bytes[..], b"end"].concat());

    // More than a turn sends.
    let bytes = vec![b'x'; 4_000_000];
    let file = file_of(&bytes);
    let same = file.try_clone().expect("a descriptor");
    reactor
        .at(id)
        .expect("open")
        .send_file(file, ..)
        .expect("a file");
    turn(&mut reactor);
    same.set_len(10).expect("it is open for writing");
    turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
    assert_eq!(diary.of("one"), ["error UnexpectedEof", "close"]);

    // That its peer is gone is no error.
    diary.clear();
    let id = add(&mut reactor);
    reactor
        .at(id)
        .expect("open")
        .send_file(file_of(&bytes), ..)
        .expect("a file");
    turn(&mut reactor);
    broken.set(true);
    turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
    assert_eq!(diary.count("one", "error"), 0, "{:?}", diary.of("one"));
    assert_eq!(reactor.end_of(id), Some(Cause::Reset));
}

#[test]
fn a_rate_limit_holds_for_files_and_nothing_is_lost() {
    let clock = SimClock::new();
    let mut one = One::with(|builder| {
        builder
            .clock(clock.clone())
            .stall_timeout(Duration::from_secs(5));
    });
    let rate = Rate::per_second(100_000).burst(1_000);
    one.cx().set_write_rate(Some(rate)).expect("a stream");
    let bytes = pattern(17, 200_000);
    one.cx().send_file(file_of(&bytes), ..).expect("a file");
    one.cx().send(b"end").expect("room");
    let reading = read_in_background(one.peer.try_clone().expect("a descriptor"));
    for _ in 0..100 {
        clock.advance(Duration::from_millis(10));
        settle(&mut one.reactor);
    }
    // A second has passed.
    let sent = bytes.len() as u64 - one.cx().queued_in_files();
    assert!((90_000..=102_000).contains(&sent), "{sent}");
    one.cx().close();
    turn_until(&mut one.reactor, "the end", |_| {
        clock.advance(Duration::from_millis(10));
        reading.is_finished()
    });
    let got = reading.join().expect("no panic").expect("a clean end");
    assert!(got == [&bytes[..], b"end"].concat());
}

#[test]
fn a_peer_that_resets_in_the_middle_ends_the_connection_without_an_error() {
    let mut one = One::new();
    let file = Arc::new(file_of(&pattern(18, 3_000_000)));
    one.cx().send_file(Arc::clone(&file), ..).expect("a file");
    one.fill();
    reset(one.peer);
    turn_until(&mut one.reactor, "the end", |reactor| reactor.count() == 0);
    // What the kernel still has to say is read; that the peer has gone is no error.
    assert_eq!(one.diary.count("one", "error"), 0);
    assert_eq!(one.reactor.end_of(one.id), Some(Cause::Reset));
    assert_eq!(Arc::strong_count(&file), 1, "the file is let go");
}

#[test]
fn a_file_sent_before_the_connection_is_established_waits_for_it() {
    let mut reactor = Reactor::new().expect("a poller");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let bytes = pattern(19, 300_000);
    let id = reactor.connect(address, Echo).expect("it begins");
    let mut cx = reactor.at(id).expect("connecting");
    cx.send_file(file_of(&bytes), ..).expect("a file");
    cx.close();
    let (peer, _) = listener.accept().expect("it connects");
    assert!(received(&mut reactor, peer).expect("a clean end") == bytes);

    // The same without a close, which would have it looked at.
    let id = reactor.connect(address, Echo).expect("it begins");
    let mut cx = reactor.at(id).expect("connecting");
    cx.send_file(file_of(&bytes), ..).expect("a file");
    let (mut peer, _) = listener.accept().expect("it connects");
    let reading = thread::spawn(move || {
        let mut got = vec![0; 300_000];
        peer.read_exact(&mut got).map(|()| (got, peer))
    });
    turn_until(&mut reactor, "the file", |_| reading.is_finished());
    let (got, _peer) = reading.join().expect("no panic").expect("all of it");
    assert!(got == bytes);
}

#[test]
fn handle_write_waits_until_the_file_is_through() {
    let mut one = One::new();
    let diary = one.diary.clone();
    let spy = Spy::new("writing", &diary).on_write(|cx| {
        assert_eq!(cx.queued_in_files(), 0);
        cx.send(b"written")?;
        cx.stop_writing();
        Ok(())
    });
    one.cx().replace(spy).expect("open");
    let bytes = pattern(24, 1_000_000);
    one.cx().send_file(file_of(&bytes), ..).expect("a file");
    one.cx().start_writing();
    one.fill();
    assert_eq!(diary.count("writing", "write"), 0);
    one.cx().close_when_done();
    assert!(one.received().expect("a clean end") == [&bytes[..], b"written"].concat());
    assert_eq!(diary.count("writing", "write"), 1);
}

#[test]
fn a_dispatcher_that_takes_the_place_of_another_goes_on_with_its_files() {
    let mut one = One::new();
    let bytes = pattern(20, 2_000_000);
    one.cx().send_file(file_of(&bytes), ..).expect("a file");
    one.fill();
    one.cx().replace(Echo).expect("open");
    one.fill();
    one.cx().send(b"end").expect("room");
    one.cx().close();
    assert!(one.received().expect("a clean end") == [&bytes[..], b"end"].concat());
}

/// Answers each record with a head, a file and an end.
struct Pages(Arc<File>);

impl Handler for Pages {
    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        record: &[u8],
    ) -> io::Result<()> {
        framing.push(cx, record)?;
        if record == b"produced" {
            framing.push_producer(cx, io::Cursor::new(pattern(21, 100_000)));
            framing.push_file(cx, Arc::clone(&self.0), 10..20)?;
            framing.push_producer(cx, io::Cursor::new(b"again".to_vec()));
        }
        framing.push_file(cx, Arc::clone(&self.0), ..)?;
        framing.push(cx, b".")
    }
}

#[test]
fn a_framed_stream_sends_files_between_records_and_producers() {
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, mut peer) = tcp_pair();
    let bytes = pattern(22, 400_000);
    let pages = Pages(Arc::new(file_of(&bytes)));
    let framed = Framed::new(Terminator::Line, pages).expect("a terminator");
    reactor.add(ours, framed).expect("a stream");
    peer.write_all(b"one\nproduced\ntwo\n").expect("room");
    peer.shutdown(Shutdown::Write).expect("connected");
    let produced = pattern(21, 100_000);
    let expected = [
        b"one",
        &bytes[..],
        b".",
        b"produced",
        &produced,
        &bytes[10..20],
        b"again",
        &bytes,
        b".",
        b"two",
        &bytes,
        b".",
    ];
    assert!(received(&mut reactor, peer).expect("a clean end") == expected.concat());
    turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
}

#[test]
fn a_framed_stream_that_closes_when_done_sends_the_file_behind_its_producer_first() {
    struct Last(Arc<File>, Rc<Cell<Option<io::ErrorKind>>>);
    impl Handler for Last {
        fn found_terminator(
            &mut self,
            cx: &mut Context<'_>,
            framing: &mut Framing,
            _: &[u8],
        ) -> io::Result<()> {
            framing.push_producer(cx, io::Cursor::new(pattern(28, 200_000)));
            framing.push_file(cx, Arc::clone(&self.0), ..)?;
            framing.push(cx, b"end")?;
            framing.close_when_done(cx);
            let late = framing.push_file(cx, Arc::clone(&self.0), ..);
            self.1.set(late.err().map(|error| error.kind()));
            Ok(())
        }
    }
    let mut reactor = Reactor::new().expect("a poller");
    let (ours, mut peer) = tcp_pair();
    let bytes = pattern(29, 1_000_000);
    let late = Rc::new(Cell::new(None));
    let last = Last(Arc::new(file_of(&bytes)), Rc::clone(&late));
    let framed = Framed::new(Terminator::Line, last).expect("a terminator");
    reactor.add(ours, framed).expect("a stream");
    peer.write_all(b"go\n").expect("room");
    let got = received(&mut reactor, peer).expect("a clean end");
    assert!(got == [&pattern(28, 200_000)[..], &bytes, b"end"].concat());
    assert_eq!(late.get(), Some(io::ErrorKind::NotConnected));
}

/// Not a test of its own: what the one below traces.
#[test]
#[ignore = "a part of another"]
fn child_sends_a_file() {
    let mut one = One::new();
    one.cx()
        .send_file(file_of(&pattern(23, 2_000_000)), ..)
        .expect("a file");
    one.cx().close();
    let peer = one.peer.try_clone().expect("a descriptor");
    peer.set_nonblocking(true).expect("tcp");
    let mut got = 0;
    // The marks tell the trace of the loop from that of what is around it.
    let _ = fs::metadata("/begin-of-the-trace");
    turn_until(&mut one.reactor, "the end", |_| {
        loop {
            match (&peer).read(&mut [0; 100_000]) {
                Ok(0) => break true,
                Ok(count) => got += count,
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    break false;
                }
            }
        }
    });
    assert_eq!(got, 2_000_000);
}

#[test]
fn for_a_tcp_client_the_kernel_copies_the_file() {
    if Command::new("strace").arg("--version").output().is_err() {
        println!("skipped: strace is not installed");
        return;
    }
    let trace =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("trace-{}", std::process::id()));
    let output = Command::new("strace")
        .args([
            "-f",
            "-e",
            "trace=sendfile,read,pread64,write,sendto,sendmsg,statx,stat",
            "-o",
        ])
        .arg(&trace)
        .arg(std::env::current_exe().expect("this program has a path"))
        .args(["--exact", "child_sends_a_file", "--ignored", "--nocapture"])
        .output()
        .expect("strace is installed");
    let Ok(text) = fs::read_to_string(&trace) else {
        println!("skipped: strace may not trace here");
        return;
    };
    let _ = fs::remove_file(&trace);
    assert!(output.status.success(), "{output:?}");
    let Some((_, text)) = text.split_once("begin-of-the-trace") else {
        println!("skipped: strace may not trace here");
        return;
    };
    let count = |call: &str| text.lines().filter(|line| line.contains(call)).count();
    assert!(
        count(" sendfile(") >= 8,
        "2 MB through a small buffer:\n{text}"
    );
    for call in [" read(", " pread64(", " sendto(", " sendmsg("] {
        assert_eq!(count(call), 0, "{call}\n{text}");
    }
}
