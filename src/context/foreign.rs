//! Reading and writing sources that the reactor cannot read itself: through a closure whose `WouldBlock`
//! means that nothing is left.

use std::any::Any;
use std::io;

use mio::event::Source;

use super::Context;
use crate::slot::life::Life;
use crate::slot::readiness::Flag;
use crate::world::endpoint::Kind;
use crate::world::errors::{is_would_block, unsupported};
use crate::world::foreign::Foreign;
use crate::world::ids::short_type_name;

/// # Foreign sources
impl Context<'_> {
    /// Reads a [foreign](crate::Socket::foreign) source. The closure reads once, or until nothing is left, in which
    /// case it returns `WouldBlock`; until it does, `handle_read` is called in every turn. [`Socket::from_fd`] has an
    /// example.
    ///
    /// [`Socket::from_fd`]: crate::Socket::from_fd
    ///
    /// # Errors
    ///
    /// Any error of the closure. `Unsupported` if the source is not of type `S`; `WouldBlock` if no event has come
    /// since the closure last returned `WouldBlock`; `NotConnected` after `close` or `abort`. In these three cases the
    /// closure does not run.
    pub fn read_with<S: Source + Any, R>(
        &mut self,
        read: impl FnOnce(&mut S) -> io::Result<R>,
    ) -> io::Result<R> {
        self.foreign(Flag::Readable, read)
    }

    /// Writes to a [foreign](crate::Socket::foreign) source, as [`Context::read_with`] reads from it.
    ///
    /// # Errors
    ///
    /// As [`Context::read_with`].
    pub fn write_with<S: Source + Any, R>(
        &mut self,
        write: impl FnOnce(&mut S) -> io::Result<R>,
    ) -> io::Result<R> {
        self.foreign(Flag::Writable, write)
    }

    fn foreign<S: Source + Any, R>(
        &mut self,
        direction: Flag,
        operate: impl FnOnce(&mut S) -> io::Result<R>,
    ) -> io::Result<R> {
        let slot = self.core.state.slots.slot_mut(self.id);
        if slot.life() == Life::Ended {
            return Err(self.refusal(io::ErrorKind::NotConnected, "read_with or write_with"));
        }
        let kind = slot.io.kind();
        let Some(Foreign { source, .. }) = slot.io.as_other::<Foreign<S>>() else {
            let wanted = short_type_name(std::any::type_name::<S>());
            let on = match kind {
                Kind::Foreign => "a source of another type",
                _ => slot.io.name(),
            };
            let operation = format!("read_with or write_with as {wanted}");
            return Err(unsupported(&operation, on));
        };
        if !slot.readiness.has(direction) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let result = operate(source);
        if result.as_ref().is_err_and(is_would_block) {
            slot.readiness.clear(direction);
        }
        result
    }
}
