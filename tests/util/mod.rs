//! What the test files share: turning the loop until something holds, with a deadline, checking every
//! invariant after each turn; and a dispatcher that writes down what it is told.

#![allow(dead_code, reason = "each test file uses a part")]

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use slabloop::{Accepted, AnyId, Context, Dispatcher, Id, Reactor, TimerId};

/// Guards against a hang; nothing is measured with it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// One turn that does not wait for long, then every invariant.
pub(crate) fn turn(reactor: &mut Reactor) {
    turn_for(reactor, Duration::from_millis(10));
}

/// One turn that waits for at most `timeout`, then every invariant.
pub(crate) fn turn_for(reactor: &mut Reactor, timeout: Duration) {
    reactor.turn(timeout).expect("the wait does not fail");
    reactor.check_invariants();
}

/// Turns until `done` says so. `what` is what the test waits for.
#[track_caller]
pub(crate) fn turn_until(
    reactor: &mut Reactor,
    what: &str,
    mut done: impl FnMut(&mut Reactor) -> bool,
) {
    let deadline = Instant::now() + DEADLINE;
    while !done(reactor) {
        assert!(
            Instant::now() < deadline,
            "waited too long for: {what}; {reactor:?}"
        );
        turn(reactor);
    }
}

/// Turns until nothing is ready any more: a turn that sees no event and makes no callback.
pub(crate) fn settle(reactor: &mut Reactor) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let before = reactor.counters();
        turn_for(reactor, Duration::from_millis(2));
        let after = reactor.counters();
        if (before.events, before.callbacks) == (after.events, after.callbacks) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "the loop does not come to rest: {reactor:?}"
        );
    }
}

/// What a spy writes down: who, which callback, in which turn of whose counting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) who: &'static str,
    pub(crate) id: AnyId,
    pub(crate) callback: String,
}

/// The diary that spies share. Tests hold a clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Diary(Rc<RefCell<Vec<Note>>>);

impl Diary {
    pub(crate) fn note(&self, who: &'static str, id: AnyId, callback: impl Into<String>) {
        self.0.borrow_mut().push(Note {
            who,
            id,
            callback: callback.into(),
        });
    }

    /// The callbacks of one spy, in order.
    pub(crate) fn of(&self, who: &str) -> Vec<String> {
        let notes = self.0.borrow();
        notes
            .iter()
            .filter(|note| note.who == who)
            .map(|note| note.callback.clone())
            .collect()
    }

    /// All callbacks, as `who callback`.
    pub(crate) fn all(&self) -> Vec<String> {
        let notes = self.0.borrow();
        notes
            .iter()
            .map(|note| format!("{} {}", note.who, note.callback))
            .collect()
    }

    /// How often one spy got one callback.
    pub(crate) fn count(&self, who: &str, callback: &str) -> usize {
        self.of(who)
            .iter()
            .filter(|noted| noted.starts_with(callback))
            .count()
    }

    pub(crate) fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}

type Act<'s> = Box<dyn FnMut(&mut Context<'_>) -> io::Result<()> + 's>;

/// Writes down every callback, and can be told what to do in each.
pub(crate) struct Spy {
    pub(crate) who: &'static str,
    pub(crate) diary: Diary,
    pub(crate) received: Rc<RefCell<Vec<u8>>>,
    pub(crate) on_read: Option<Act<'static>>,
    pub(crate) on_eof: Option<Act<'static>>,
    pub(crate) on_write: Option<Act<'static>>,
    pub(crate) on_connect: Option<Act<'static>>,
    pub(crate) on_timer: Option<Act<'static>>,
    pub(crate) on_priority: Option<Act<'static>>,
    pub(crate) on_error: Option<Act<'static>>,
    pub(crate) on_close: Option<Act<'static>>,
}

impl Spy {
    pub(crate) fn new(who: &'static str, diary: &Diary) -> Spy {
        Spy {
            who,
            diary: diary.clone(),
            received: Rc::default(),
            on_read: None,
            on_eof: None,
            on_write: None,
            on_connect: None,
            on_timer: None,
            on_priority: None,
            on_error: None,
            on_close: None,
        }
    }

    pub(crate) fn on_read(
        mut self,
        act: impl FnMut(&mut Context<'_>) -> io::Result<()> + 'static,
    ) -> Spy {
        self.on_read = Some(Box::new(act));
        self
    }

    pub(crate) fn on_eof(
        mut self,
        act: impl FnMut(&mut Context<'_>) -> io::Result<()> + 'static,
    ) -> Spy {
        self.on_eof = Some(Box::new(act));
        self
    }

    pub(crate) fn on_write(
        mut self,
        act: impl FnMut(&mut Context<'_>) -> io::Result<()> + 'static,
    ) -> Spy {
        self.on_write = Some(Box::new(act));
        self
    }

    pub(crate) fn on_connect(
        mut self,
        act: impl FnMut(&mut Context<'_>) -> io::Result<()> + 'static,
    ) -> Spy {
        self.on_connect = Some(Box::new(act));
        self
    }

    pub(crate) fn on_timer(
        mut self,
        act: impl FnMut(&mut Context<'_>) -> io::Result<()> + 'static,
    ) -> Spy {
        self.on_timer = Some(Box::new(act));
        self
    }

    pub(crate) fn on_priority(
        mut self,
        act: impl FnMut(&mut Context<'_>) -> io::Result<()> + 'static,
    ) -> Spy {
        self.on_priority = Some(Box::new(act));
        self
    }

    /// Replaces the default, which closes.
    pub(crate) fn on_error(
        mut self,
        act: impl FnMut(&mut Context<'_>) -> io::Result<()> + 'static,
    ) -> Spy {
        self.on_error = Some(Box::new(act));
        self
    }

    pub(crate) fn on_close(
        mut self,
        act: impl FnMut(&mut Context<'_>) -> io::Result<()> + 'static,
    ) -> Spy {
        self.on_close = Some(Box::new(act));
        self
    }

    /// What its default `handle_read` has collected.
    pub(crate) fn received(&self) -> Rc<RefCell<Vec<u8>>> {
        Rc::clone(&self.received)
    }
}

impl Dispatcher for Spy {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        self.diary.note(self.who, cx.any_id(), "accept");
        let _ = accepted;
        Ok(())
    }

    fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.diary.note(self.who, cx.any_id(), "connect");
        self.on_connect.as_mut().map_or(Ok(()), |act| act(cx))
    }

    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.diary.note(self.who, cx.any_id(), "read");
        if let Some(act) = &mut self.on_read {
            return act(cx);
        }
        let mut chunk = [0; 4096];
        let n = cx.recv(&mut chunk)?;
        self.received.borrow_mut().extend_from_slice(&chunk[..n]);
        Ok(())
    }

    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.diary.note(self.who, cx.any_id(), "eof");
        match &mut self.on_eof {
            Some(act) => act(cx),
            None => {
                cx.close();
                Ok(())
            }
        }
    }

    fn handle_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.diary.note(self.who, cx.any_id(), "write");
        self.on_write.as_mut().map_or(Ok(()), |act| act(cx))
    }

    fn handle_priority(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.diary.note(self.who, cx.any_id(), "priority");
        self.on_priority.as_mut().map_or(Ok(()), |act| act(cx))
    }

    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        self.diary.note(self.who, cx.any_id(), "timer");
        self.on_timer.as_mut().map_or(Ok(()), |act| act(cx))
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        self.diary
            .note(self.who, cx.any_id(), format!("error {:?}", error.kind()));
        match &mut self.on_error {
            Some(act) => act(cx).expect("on_error has no error of its own"),
            None => cx.close(),
        }
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        self.diary.note(self.who, cx.any_id(), "close");
        if let Some(act) = &mut self.on_close {
            act(cx).expect("on_close has no error");
        }
    }
}

/// The quick start's echo.
pub(crate) struct Echo;

impl Dispatcher for Echo {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut chunk = [0; 4096];
        let n = cx.recv(&mut chunk)?;
        cx.send(&chunk[..n])
    }
}

/// Accepts with whatever `make` gives.
pub(crate) struct Accepting<F>(pub(crate) F);

impl<D: Dispatcher, F: FnMut() -> D + 'static> Dispatcher for Accepting<F> {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        cx.add(accepted, (self.0)())?;
        Ok(())
    }
}

/// A listener whose connections are made by `make`, and its address.
pub(crate) fn serve<D: Dispatcher>(
    reactor: &mut Reactor,
    make: impl FnMut() -> D + 'static,
) -> (AnyId, SocketAddr) {
    let id = reactor
        .listen("127.0.0.1:0", Accepting(make))
        .expect("a free port");
    (
        id.any(),
        reactor.local_addr(id).expect("a listener has an address"),
    )
}

/// A connected pair of Unix sockets, cheap and as good as TCP where only bytes matter: the first end for
/// the reactor, the second, blocking with a deadline, for the test.
pub(crate) fn unix_pair() -> (UnixStream, UnixStream) {
    let (ours, peer) = UnixStream::pair().expect("descriptors");
    peer.set_read_timeout(Some(DEADLINE)).expect("positive");
    peer.set_write_timeout(Some(DEADLINE)).expect("positive");
    (ours, peer)
}

/// As [`unix_pair`], of TCP sockets.
pub(crate) fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a listener has an address");
    let peer = TcpStream::connect(address).expect("loopback connects");
    let (ours, _) = listener.accept().expect("it is in the queue");
    peer.set_read_timeout(Some(DEADLINE))
        .expect("a positive time");
    peer.set_write_timeout(Some(DEADLINE))
        .expect("a positive time");
    peer.set_nodelay(true).expect("tcp");
    (ours, peer)
}

/// A pair of which one end is in the reactor with a spy.
pub(crate) fn spied_pair(reactor: &mut Reactor, spy: Spy) -> (Id<Spy>, TcpStream) {
    let (ours, peer) = tcp_pair();
    (reactor.add(ours, spy).expect("a stream can be added"), peer)
}

/// Has the peer's end closed with a reset.
pub(crate) fn reset(peer: TcpStream) {
    socket2::SockRef::from(&peer)
        .set_linger(Some(Duration::ZERO))
        .expect("tcp");
    drop(peer);
}

/// How many descriptors this process has open.
pub(crate) fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("procfs").count()
}

/// Bytes that tell their stream and place, so that a stray one names its origin.
pub(crate) fn pattern(stream: u8, length: usize) -> Vec<u8> {
    let mut state = u32::from(stream)
        .wrapping_mul(2_654_435_761)
        .wrapping_add(1);
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

/// Writes all of `bytes` and reads `expected` bytes back, in two threads' worth of blocking I/O, while
/// the caller turns the loop.
pub(crate) fn exchange_in_background(
    mut peer: TcpStream,
    bytes: Vec<u8>,
    half_close: bool,
) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut reader = peer.try_clone().expect("a descriptor");
        let reading = std::thread::spawn(move || {
            let mut back = Vec::new();
            reader
                .read_to_end(&mut back)
                .expect("the end comes before the deadline");
            back
        });
        peer.write_all(&bytes).expect("the server takes it");
        if half_close {
            peer.shutdown(std::net::Shutdown::Write).expect("connected");
        }
        reading.join().expect("the reader does not panic")
    })
}

/// Asserts that the loop is asleep: no event, no callback, and no wait for zero, in twenty turns.
#[track_caller]
pub(crate) fn assert_asleep(reactor: &mut Reactor, when: &str) {
    settle(reactor);
    reactor.take_waits();
    let before = reactor.counters();
    for _ in 0..20 {
        turn_for(reactor, Duration::from_millis(1));
    }
    let after = reactor.counters();
    assert_eq!(
        (before.events, before.callbacks, before.writes),
        (after.events, after.callbacks, after.writes),
        "nothing happens {when}"
    );
    let waits = reactor.take_waits();
    assert!(
        waits
            .iter()
            .all(|wait| *wait == Some(Duration::from_millis(1))),
        "no wait is for zero {when}: {waits:?}"
    );
}
