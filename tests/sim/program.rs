//! The random program: dispatchers that do anything that the API allows, in any callback, in any order.
//!
//! Every choice is drawn from the run's one generator. What is done is noted in the [`Book`], whose rules then have to
//! hold.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use slabloop::testing::SimKind;
use slabloop::{AnyId, Handle};

use super::book::Book;
use super::faults::Fault;
use super::kernel::{Kernel, Net, Saw, bytes_at};

mod acts;
mod adding;
mod subject;

/// What a wanted panic says.
pub(crate) const WANTED: &str = "wanted: a panic in a callback";

/// What all dispatchers of a run share.
pub(crate) struct Run {
    pub(crate) net: Net,
    pub(crate) book: RefCell<Book>,
    pub(crate) handle: RefCell<Option<Handle>>,
    /// Nothing is done any more but reading.
    pub(crate) quiet: Cell<bool>,
    /// A panic is contained.
    pub(crate) in_turn: Cell<bool>,
    pub(crate) posts_per_turn: Cell<usize>,
}

thread_local! {
    /// The run in hand: a posted closure has to be `Send`, and can carry nothing of it.
    static RUNNING: RefCell<Option<Rc<Run>>> = const { RefCell::new(None) };
}

pub(crate) fn set_running(run: Option<Rc<Run>>) {
    RUNNING.with(|running| *running.borrow_mut() = run);
}

pub(super) fn running() -> Option<Rc<Run>> {
    RUNNING.with(|running| running.borrow().clone())
}

impl Run {
    pub(crate) fn below(&self, bound: usize) -> usize {
        self.net.with(|kernel| kernel.rng.usize(..bound))
    }

    pub(super) fn fault(&self, fault: Fault) -> bool {
        self.net.with(|kernel| kernel.fault(fault))
    }

    /// Looks something up, or notes it; a rule that does not hold is kept.
    pub(crate) fn check(&self, body: impl FnOnce(&mut Book, &Kernel) -> Result<(), String>) {
        self.net.with(|kernel| {
            if let Err(rule) = body(&mut self.book.borrow_mut(), kernel) {
                kernel.breaks(|| rule);
            }
        });
    }

    pub(super) fn kind(&self, end: usize) -> SimKind {
        self.net.with(|kernel| kernel.ends[end].kind)
    }

    pub(super) fn turn(&self) -> u64 {
        self.net.with(|kernel| kernel.turns)
    }

    pub(super) fn time(&self) -> Duration {
        let choices = [0, 1, 999, 1_000, 7_000, 100_000, 2_500_000];
        let micros = choices[self.below(choices.len())];
        Duration::from_micros(micros)
    }

    pub(super) fn size(&self) -> usize {
        let most = [2, 20, 300, 3_000, 30_000][self.below(5)];
        self.below(most)
    }

    /// One of those that are alive, or were.
    pub(super) fn somebody(&self) -> Option<AnyId> {
        let book = self.book.borrow();
        if book.conns.is_empty() {
            return None;
        }
        let recent = book.conns.len().min(12);
        let place = book.conns.len() - 1 - self.below(recent);
        book.conns[place].id
    }

    /// The peers' ends.
    pub(crate) fn add_peer(&self, end: usize) {
        self.book.borrow_mut().peers.push(end);
    }

    /// A peer reads, and what it gets is compared.
    pub(crate) fn peer_reads(&self, peer: usize, most: usize) -> usize {
        let mut book = self.book.borrow_mut();
        self.net.with(|kernel| {
            let ours = kernel.ends[peer].other;
            let before = kernel.ends[peer].received;
            let had_ended = kernel.ends[peer].saw.is_some();
            let bytes = kernel.peer_reads(peer, most);
            if bytes != bytes_at(ours, before, bytes.len()) {
                kernel.breaks(|| format!("1: peer {peer} receives wrong bytes from {before} on"));
            }
            let conn = book.conns.iter_mut().find(|conn| conn.end == ours);
            let end = &kernel.ends[peer];
            let ended_well = conn.as_ref().is_some_and(|conn| conn.ended_well);
            if matches!(end.saw, Some(Saw::Error(_))) && !had_ended && ended_well {
                kernel.breaks(|| format!("2: peer {peer} sees a reset after a graceful close"));
            }
            let end = &kernel.ends[peer];
            if end.saw == Some(Saw::End) && !had_ended && end.kind == SimKind::Stream {
                let accepted = conn.map_or(0, |conn| conn.accepted);
                let received = end.received;
                // (A Unix socket knows no reset: an abort looks like an end.)
                let may_be_cut = kernel.is_unix(peer) && !ended_well;
                if received != accepted && !may_be_cut {
                    kernel.breaks(|| {
                        format!("2: peer {peer} sees a clean end at {received} of {accepted} bytes")
                    });
                }
            }
            bytes.len()
        })
    }
}
