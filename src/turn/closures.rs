//! Closures that get the reactor itself, where they wait.
//!
//! The timer queue knows a closure by its number only, so that it can stand below everything that runs
//! users' code; and this layer does not know the reactor, which is above it, so a closure takes it as
//! [`Any`]. A closure is out of its place while it runs; one whose timer is cancelled is dropped at the end
//! of the turn, for its number must not name another while it may still be running.

use std::any::Any;
use std::fmt;

use slab::Slab;

use crate::time::action::Action;

/// Runs once; its argument is the reactor.
pub(crate) type Once = Box<dyn FnOnce(&mut dyn Any)>;

/// Runs again and again.
pub(crate) type Repeating = Box<dyn FnMut(&mut dyn Any)>;

/// A closure that waits for its timer.
pub(crate) enum Closure {
    Once(Once),
    Repeating(Repeating),
}

/// All closures of a reactor's timers, by number. `None` is one that is running.
#[derive(Default)]
pub(crate) struct Closures(Slab<Option<Closure>>);

impl Closures {
    pub(crate) fn add(&mut self, closure: Closure) -> Action {
        let number = self.0.insert(Some(closure));
        let number = u32::try_from(number).expect("four billion closures do not fit in memory");
        Action::Closure(number)
    }

    /// Takes one out to be run. One that runs once is gone then.
    pub(crate) fn take(&mut self, number: u32) -> Option<Closure> {
        let number = number as usize;
        let closure = self.0.get_mut(number)?.take();
        if let Some(Closure::Once(_)) = &closure {
            self.0.remove(number);
        }
        closure
    }

    /// Puts a repeating one back.
    pub(crate) fn put_back(&mut self, number: u32, closure: Closure) {
        self.0[number as usize] = Some(closure);
    }

    /// Takes out one whose timer was cancelled.
    pub(crate) fn remove(&mut self, number: u32) -> Option<Closure> {
        self.0.remove(number as usize)
    }

    pub(crate) fn into_all(self) -> impl Iterator<Item = Closure> {
        self.0.into_iter().filter_map(|(_, closure)| closure)
    }
}

impl fmt::Debug for Closures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Closures({})", self.0.len())
    }
}
