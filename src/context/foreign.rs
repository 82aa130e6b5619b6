//! Reading and writing sources that the reactor does not know how to: through a closure whose result
//! tells when there is nothing left.

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
    /// Reads a [foreign](crate::Socket::foreign) source. The closure reads once, or until there is nothing
    /// left, and then says `WouldBlock`: until it does, `handle_read` is called again, every turn.
    ///
    /// # Errors
    ///
    /// What the closure returns. `Unsupported` if the source is not of type `S`; `WouldBlock` if there
    /// has been no event since the closure last said so; `NotConnected` after `close` or `abort`. In
    /// these three cases the closure does not run.
    pub fn read_with<S: Source + Any, R>(
        &mut self,
        read: impl FnOnce(&mut S) -> io::Result<R>,
    ) -> io::Result<R> {
        self.foreign(Flag::Readable, read)
    }

    /// Writes a [foreign](crate::Socket::foreign) source, as [`Context::read_with`] reads it.
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
