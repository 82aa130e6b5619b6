//! Events of sockets that a test supplies: what the next wait will find.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use mio::Token;

/// The events that wait for the next turn, and which turn it is. Clones are the same list.
#[derive(Clone, Debug, Default)]
pub(crate) struct News(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    events: RefCell<Vec<(Token, u32)>>,
    turn: Cell<u64>,
}

impl News {
    /// The next wait finds this event.
    #[cfg(feature = "testing")]
    pub(crate) fn report(&self, token: Token, bits: u32) {
        self.0.events.borrow_mut().push((token, bits));
    }

    /// As [`report`](News::report), but one wait has one event of a socket, as with epoll.
    pub(crate) fn merge(&self, token: Token, bits: u32) {
        let mut events = self.0.events.borrow_mut();
        match events.iter_mut().find(|(known, _)| *known == token) {
            Some((_, known)) => *known |= bits,
            None => events.push((token, bits)),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.events.borrow().is_empty()
    }

    /// How many waits there have been.
    pub(crate) fn turn(&self) -> u64 {
        self.0.turn.get()
    }

    /// A wait is over, and this is what it found.
    pub(crate) fn next_turn(&self) -> Vec<(Token, u32)> {
        self.0.turn.set(self.turn() + 1);
        self.0.events.take()
    }
}
