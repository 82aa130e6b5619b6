//! A socket that does what a test wrote down for it, for failures that no kernel gives on demand.
//!
//! Each call takes the next answer from its script; an empty script is a quiet, healthy socket:
//! nothing to read, room for everything. Events are the test's own, by `Reactor::inject`.

#![allow(dead_code, reason = "each test file uses a part")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use mio::Token;
use slabloop::testing::{SimKind, SimSocket};
use slabloop::{Accepted, Context, Dispatcher, Id, Reactor, Socket};

/// What an errno stands for.
pub(crate) fn os(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

/// The answers that a scripted socket still has to give, and what became of it.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) recv: VecDeque<Result<Vec<u8>, i32>>,
    /// `Ok` takes everything.
    pub(crate) send: VecDeque<Result<(), i32>>,
    pub(crate) accept: VecDeque<Result<Script, i32>>,
    pub(crate) shutdown: Option<i32>,
    /// The first is the call's own failure, the second what it reports.
    pub(crate) take_error: Option<Result<i32, i32>>,
    pub(crate) check_connected: Option<i32>,
    pub(crate) register: Option<i32>,
    pub(crate) deregister: Option<i32>,
    pub(crate) panics_when_dropped: bool,
    /// Whether the reactor goes the short ways of a stream socket of the system's.
    pub(crate) stands_for_a_stream: bool,
    /// What was sent.
    pub(crate) sent: Vec<u8>,
    pub(crate) registered: usize,
    pub(crate) deregistered: usize,
    pub(crate) dropped: usize,
    /// Calls of `recv`, `send` and `accept`.
    pub(crate) calls: usize,
}

/// The test's end of a scripted socket. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Script(Rc<RefCell<State>>);

impl Script {
    /// A script with these answers to `recv`.
    pub(crate) fn receiving<const N: usize>(answers: [Result<&[u8], i32>; N]) -> Script {
        let script = Script::default();
        script.with(|state| {
            state.recv = answers
                .into_iter()
                .map(|answer| answer.map(<[u8]>::to_vec))
                .collect();
        });
        script
    }

    /// A script with these answers to `accept`.
    pub(crate) fn accepting(answers: impl IntoIterator<Item = Result<Script, i32>>) -> Script {
        let script = Script::default();
        script.with(|state| state.accept = answers.into_iter().collect());
        script
    }

    pub(crate) fn with<R>(&self, body: impl FnOnce(&mut State) -> R) -> R {
        body(&mut self.0.borrow_mut())
    }

    pub(crate) fn boxed(&self, kind: SimKind) -> Box<dyn SimSocket> {
        Box::new(Scripted {
            kind,
            script: self.clone(),
        })
    }

    pub(crate) fn stream(&self) -> Socket {
        self.boxed(SimKind::Stream).into()
    }

    pub(crate) fn listener(&self) -> Socket {
        self.boxed(SimKind::Listener).into()
    }

    pub(crate) fn datagram(&self) -> Socket {
        self.boxed(SimKind::Datagram).into()
    }
}

struct Scripted {
    kind: SimKind,
    script: Script,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        let panics = self.script.with(|state| {
            state.dropped += 1;
            state.panics_when_dropped
        });
        assert!(!panics, "wanted: drop of a socket");
    }
}

impl SimSocket for Scripted {
    fn kind(&self) -> SimKind {
        self.kind
    }

    fn stands_for_a_stream(&self) -> bool {
        self.script.with(|state| state.stands_for_a_stream)
    }

    fn register(&mut self, _: Token) -> io::Result<()> {
        self.script.with(|state| {
            state.registered += 1;
            state.register.take().map_or(Ok(()), |errno| Err(os(errno)))
        })
    }

    fn deregister(&mut self) -> io::Result<()> {
        self.script.with(|state| {
            state.deregistered += 1;
            state
                .deregister
                .take()
                .map_or(Ok(()), |errno| Err(os(errno)))
        })
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.script.with(|state| {
            state.calls += 1;
            match state.recv.pop_front() {
                None => Err(io::ErrorKind::WouldBlock.into()),
                Some(Err(errno)) => Err(os(errno)),
                Some(Ok(bytes)) => {
                    assert!(bytes.len() <= buffer.len(), "scripts are short");
                    buffer[..bytes.len()].copy_from_slice(&bytes);
                    Ok(bytes.len())
                }
            }
        })
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.script.with(|state| {
            state.calls += 1;
            match state.send.pop_front() {
                Some(Err(errno)) => Err(os(errno)),
                None | Some(Ok(())) => {
                    state.sent.extend_from_slice(bytes);
                    Ok(bytes.len())
                }
            }
        })
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.script
            .with(|state| state.shutdown.take())
            .map_or(Ok(()), |errno| Err(os(errno)))
    }

    fn accept(&mut self) -> io::Result<Box<dyn SimSocket>> {
        self.script.with(|state| {
            state.calls += 1;
            match state.accept.pop_front() {
                None => Err(io::ErrorKind::WouldBlock.into()),
                Some(Err(errno)) => Err(os(errno)),
                Some(Ok(script)) => Ok(script.boxed(SimKind::Stream)),
            }
        })
    }

    fn take_error(&mut self) -> io::Result<Option<io::Error>> {
        match self.script.with(|state| state.take_error.take()) {
            None => Ok(None),
            Some(Ok(errno)) => Ok(Some(os(errno))),
            Some(Err(errno)) => Err(os(errno)),
        }
    }

    fn check_connected(&mut self) -> io::Result<()> {
        self.script
            .with(|state| state.check_connected.take())
            .map_or(Ok(()), |errno| Err(os(errno)))
    }
}

/// Adds a scripted stream.
pub(crate) fn add_scripted<D: Dispatcher>(reactor: &mut Reactor, dispatcher: D) -> (Id<D>, Script) {
    let script = Script::default();
    let id = reactor
        .add(script.stream(), dispatcher)
        .expect("a scripted socket can be added");
    (id, script)
}

/// Accepts with a closure.
pub(crate) struct OnAccept<F>(pub(crate) F);

impl<F> Dispatcher for OnAccept<F>
where
    F: FnMut(&mut Context<'_>, Accepted) -> io::Result<()> + 'static,
{
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        (self.0)(cx, accepted)
    }
}

/// Numbers that follow from a seed (splitmix64).
pub(crate) struct Seeded(pub(crate) u64);

impl Seeded {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }
}
