//! Descriptors of any kind as dispatchers, with an interest of their own; and how pipes and foreign sources
//! are named.

#![cfg(target_os = "linux")]

#[path = "../util/mod.rs"]
mod util;

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use rustix::event::{EventfdFlags, eventfd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use slabloop::mio::{Interest, Registry, Token, event::Source};
use slabloop::{Context, Descriptor, Reactor, Socket};
use util::*;

/// A spy that reads counts of eight bytes, as eventfd and timerfd give them.
fn counting(diary: &Diary) -> (Spy, Rc<RefCell<Vec<u64>>>) {
    let counts: Rc<RefCell<Vec<u64>>> = Rc::default();
    let kept = Rc::clone(&counts);
    let spy = Spy::new("it", diary).on_read(move |cx| {
        let mut count = [0; 8];
        cx.read_with(|descriptor: &mut Descriptor| descriptor.read_exact(&mut count))?;
        kept.borrow_mut().push(u64::from_ne_bytes(count));
        Ok(())
    });
    (spy, counts)
}

#[test]
fn an_eventfd_is_read_until_it_would_block_and_closed_with_its_dispatcher() {
    let diary = Diary::default();
    let mut reactor = Reactor::new().unwrap();
    // In blocking mode: without the change on the way in, the second read would never return.
    let ours = eventfd(0, EventfdFlags::empty()).unwrap();
    let mut ours_too = Descriptors::keep(&ours);
    let number = ours.as_raw_fd();
    let (spy, counts) = counting(&diary);
    let id = reactor
        .add(Socket::from_fd(ours, Interest::READABLE), spy)
        .unwrap();
    assert_asleep(&mut reactor, "while nothing is counted");
    assert!(diary.of("it").is_empty());

    ours_too.add(3);
    ours_too.add(4);
    turn_until(&mut reactor, "the count", |_| !counts.borrow().is_empty());
    assert_asleep(&mut reactor, "when it is drained");
    assert_eq!(*counts.borrow(), [7]);
    ours_too.add(1);
    turn_until(&mut reactor, "the next count", |_| {
        counts.borrow().len() == 2
    });

    // It is `read_with`'s alone, and by its own type.
    let mut at = reactor.at(id).unwrap();
    let refused = at.recv(&mut [0; 8]).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::Unsupported);
    let refused = at.read_with(|_: &mut OwnedFdSource| Ok(())).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::Unsupported);
    at.close();
    turn_until(&mut reactor, "the close", |reactor| reactor.count() == 0);
    assert_ne!(
        std::fs::read_link(format!("/proc/self/fd/{number}"))
            .map(|link| link.display().to_string())
            .ok(),
        Some("anon_inode:[eventfd]".to_owned()),
        "the descriptor is closed"
    );
}

#[test]
fn a_timerfd_wakes_the_loop() {
    let diary = Diary::default();
    let mut reactor = Reactor::new().unwrap();
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::empty()).unwrap();
    let soon = Itimerspec {
        it_interval: Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
        it_value: Timespec {
            tv_sec: 0,
            tv_nsec: 1_000_000,
        },
    };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &soon).unwrap();
    let (spy, counts) = counting(&diary);
    reactor
        .add(Socket::from_fd(timer, Interest::READABLE), spy)
        .unwrap();
    turn_until(&mut reactor, "the timer", |_| *counts.borrow() == [1]);
    assert_asleep(&mut reactor, "when it has fired");
}

#[test]
fn a_descriptor_is_read_and_written_both_ways() {
    let diary = Diary::default();
    let mut reactor = Reactor::new().unwrap();
    let (ours, mut peer) = unix_pair();
    let spy = Spy::new("it", &diary).on_read(|cx| {
        let mut chunk = [0; 64];
        let count = cx.read_with(|d: &mut Descriptor| d.read(&mut chunk))?;
        if count == 0 {
            cx.close();
            return Ok(());
        }
        cx.write_with(|d: &mut Descriptor| d.write_all(&chunk[..count]))
    });
    let both = Interest::READABLE | Interest::WRITABLE;
    reactor.add(Socket::from_fd(ours, both), spy).unwrap();
    peer.write_all(b"there and back").unwrap();
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    turn_until(&mut reactor, "the end", |reactor| reactor.count() == 0);
    let mut back = String::new();
    peer.read_to_string(&mut back).unwrap();
    assert_eq!(back, "there and back");
}

#[test]
fn only_what_the_interest_names_is_reported() {
    let diary = Diary::default();
    let mut reactor = Reactor::new().unwrap();
    let (reads, mut reads_peer) = unix_pair();
    let (writes, mut writes_peer) = unix_pair();
    let reading = Socket::from_fd(reads, Interest::READABLE);
    reactor
        .add(reading, Spy::new("reads", &diary).on_read(|_| Ok(())))
        .unwrap();
    settle(&mut reactor);
    assert_eq!(
        reactor.counters().events,
        0,
        "that it could be written is not asked for"
    );

    let written = Rc::new(RefCell::new(0));
    let count = Rc::clone(&written);
    let spy = Spy::new("writes", &diary).on_write(move |cx| {
        *count.borrow_mut() += cx.write_with(|d: &mut Descriptor| d.write(&[1; 10_000]))?;
        Ok(())
    });
    let writing = reactor
        .add(Socket::from_fd(writes, Interest::WRITABLE), spy)
        .unwrap();
    writes_peer.write_all(b"unasked").unwrap();
    settle(&mut reactor);
    assert_eq!(diary.count("writes", "read"), 0);
    reactor.at(writing).unwrap().start_writing();
    settle(&mut reactor);
    assert_asleep(&mut reactor, "when it is full");
    let first = *written.borrow();
    assert!(first > 0);
    writes_peer.read_exact(&mut vec![0; first]).unwrap();
    turn_until(&mut reactor, "room", |_| *written.borrow() > first);

    // An error is reported whoever asks; it is the writer's to find, and no input.
    reactor.at(writing).unwrap().stop_writing();
    drop(writes_peer);
    assert_asleep(&mut reactor, "with nobody at the other end");
    assert_eq!(diary.count("writes", "read"), 0);
    reads_peer.write_all(b"x").unwrap();
    turn_until(&mut reactor, "input", |_| diary.count("reads", "read") > 0);
}

#[test]
fn what_cannot_be_waited_for_is_refused_by_name() {
    let diary = Diary::default();
    let mut reactor = Reactor::new().unwrap();
    let file = std::fs::File::open("Cargo.toml").unwrap();
    let number = file.as_raw_fd();
    let socket = Socket::from_fd(file, Interest::READABLE);
    let refused = reactor.add(socket, Spy::new("file", &diary)).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    let text = refused.to_string();
    assert!(
        text.contains(&format!("descriptor {number}:")) && text.contains("regular file"),
        "{text}"
    );
    assert_eq!(reactor.count(), 0);
    assert!(diary.all().is_empty());
}

/// What has no address says what it is, also at the very end, when the socket is gone.
#[test]
fn pipes_and_foreign_sources_are_named_in_labels_and_debug() {
    let diary = Diary::default();
    let mut reactor = Reactor::new().unwrap();
    let labels: Rc<RefCell<Vec<String>>> = Rc::default();
    let labelling = || {
        let kept = Rc::clone(&labels);
        Spy::new("it", &diary).on_close(move |cx| {
            kept.borrow_mut().push(cx.label().to_string());
            Ok(())
        })
    };
    let (writing, reading) = mio::unix::pipe::new().unwrap();
    let (descriptor, _peer) = UnixStream::pair().unwrap();
    let (foreign, _other_peer) = UnixStream::pair().unwrap();
    foreign.set_nonblocking(true).unwrap();
    let foreign = mio::net::UnixStream::from_std(foreign);
    let (stream, _third_peer) = UnixStream::pair().unwrap();
    let ids = [
        reactor.add(reading, labelling()).unwrap(),
        reactor.add(writing, labelling()).unwrap(),
        reactor
            .add(Socket::from_fd(descriptor, Interest::READABLE), labelling())
            .unwrap(),
        reactor.add(Socket::foreign(foreign), labelling()).unwrap(),
        reactor.add(stream, labelling()).unwrap(),
    ];
    let wanted = [
        "the reading end of a pipe",
        "the writing end of a pipe",
        "Descriptor",
        "UnixStream",
        "unnamed",
    ];
    for (id, what) in ids.into_iter().zip(wanted) {
        let at = reactor.at(id).unwrap();
        assert_eq!(at.label().to_string(), format!("Spy {id} ({what})"));
        assert!(format!("{at:?}").contains(&format!("address: {what}")));
        assert_eq!((at.peer(), at.peer_path()), (None, None));
    }
    reactor.close_all();
    let expected: Vec<_> = ids
        .iter()
        .zip(wanted)
        .map(|(id, what)| format!("Spy {id} ({what})"))
        .collect();
    assert_eq!(*labels.borrow(), expected);
}

/// The test's own hold on a descriptor that the reactor has.
struct Descriptors(std::fs::File);

impl Descriptors {
    fn keep(fd: &OwnedFd) -> Descriptors {
        Descriptors(fd.try_clone().unwrap().into())
    }

    fn add(&mut self, count: u64) {
        self.0.write_all(&count.to_ne_bytes()).unwrap();
    }
}

/// A source of another type.
struct OwnedFdSource;

impl Source for OwnedFdSource {
    fn register(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
        Ok(())
    }

    fn reregister(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
        Ok(())
    }

    fn deregister(&mut self, _: &Registry) -> io::Result<()> {
        Ok(())
    }
}

/// `as_fd` is for the calls that a descriptor has beside read and write.
#[test]
fn a_descriptor_lends_its_number_to_other_calls() {
    let diary = Diary::default();
    let mut reactor = Reactor::new().unwrap();
    let (ours, mut peer) = unix_pair();
    let seen: Rc<RefCell<Option<bool>>> = Rc::default();
    let kept = Rc::clone(&seen);
    let spy = Spy::new("it", &diary).on_read(move |cx: &mut Context<'_>| {
        let nonblocking =
            cx.read_with(|d: &mut Descriptor| socket2::SockRef::from(&d.as_fd()).nonblocking())?;
        *kept.borrow_mut() = Some(nonblocking);
        cx.close();
        Ok(())
    });
    reactor
        .add(Socket::from_fd(ours, Interest::READABLE), spy)
        .unwrap();
    peer.write_all(b"x").unwrap();
    turn_until(&mut reactor, "the close", |reactor| reactor.count() == 0);
    assert_eq!(*seen.borrow(), Some(true));
}
