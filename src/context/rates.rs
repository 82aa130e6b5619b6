//! Limiting how fast a connection reads and writes.

use std::io;

use super::Context;
use crate::state::rates::{self, RateGroup};
use crate::watch::rate::Rate;
use crate::world::metered::Direction;

/// # Rate limits
impl Context<'_> {
    /// Limits how fast this connection is read; `None` removes the limit. Input that arrives faster waits in the
    /// kernel; when the receive window is full, the peer has to wait. Bytes are counted as they are read from the
    /// kernel.
    ///
    /// ```
    /// use slabloop::{Accepted, Context, Dispatcher, Rate};
    /// use std::io;
    ///
    /// # struct Upload;
    /// # impl Dispatcher for Upload {}
    /// struct Listener;
    /// impl Dispatcher for Listener {
    ///     fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
    ///         let id = cx.add(accepted, Upload)?;
    ///         if let Some(mut upload) = cx.at(id) {
    ///             upload.set_read_rate(Rate::per_second(1_000_000))?;
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a rate or a burst of 0, and on anything but a stream socket.
    pub fn set_read_rate(&mut self, rate: impl Into<Option<Rate>>) -> io::Result<()> {
        rates::set_rate(&mut self.core.state, self.id, Direction::Read, rate.into())
    }

    /// Limits how fast the output of this connection is written to the kernel; `None` removes the limit. Output that is
    /// sent faster waits in the outbox, whose marks and cap apply. While output waits because of the limit, the stall
    /// timeout does not run.
    ///
    /// # Errors
    ///
    /// As [`set_read_rate`](Context::set_read_rate).
    pub fn set_write_rate(&mut self, rate: impl Into<Option<Rate>>) -> io::Result<()> {
        rates::set_rate(&mut self.core.state, self.id, Direction::Write, rate.into())
    }

    /// Creates a limit that several connections share: together they move no more than `rate`, in equal parts
    /// while all of them could move more. One timer serves the group.
    ///
    /// ```
    /// use slabloop::{Rate, Reactor};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let mut reactor = Reactor::new()?;
    /// let downloads = reactor.rate_group(Rate::per_second(10_000_000))?;
    /// // And for each: cx.share_write_rate(downloads)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a rate or a burst of 0.
    pub fn rate_group(&mut self, rate: Rate) -> io::Result<RateGroup> {
        rates::add_group(&mut self.core.state, rate)
    }

    /// Changes the rate of a group.
    ///
    /// # Errors
    ///
    /// As [`rate_group`](Context::rate_group); `NotFound` if the group was removed and has no members.
    pub fn set_group_rate(&mut self, group: RateGroup, rate: Rate) -> io::Result<()> {
        rates::set_group(&mut self.core.state, group, rate)
    }

    /// Removes a group as soon as its last member has ended. Without this call it is kept as long as the reactor.
    pub fn remove_rate_group(&mut self, group: RateGroup) {
        rates::remove_group(&mut self.core.state, group);
    }

    /// Puts the reading of this connection under a group's limit, in place of a limit of its own.
    ///
    /// # Errors
    ///
    /// `NotFound` if the group was removed; `InvalidInput` on anything but a stream socket.
    pub fn share_read_rate(&mut self, group: RateGroup) -> io::Result<()> {
        rates::share(&mut self.core.state, self.id, Direction::Read, group)
    }

    /// Puts the sending of this connection under a group's limit, in place of a limit of its own.
    ///
    /// # Errors
    ///
    /// As [`share_read_rate`](Context::share_read_rate).
    pub fn share_write_rate(&mut self, group: RateGroup) -> io::Result<()> {
        rates::share(&mut self.core.state, self.id, Direction::Write, group)
    }
}
