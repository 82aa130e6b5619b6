//! Records in a byte stream, and output from producers: the counterpart of Python's asynchat.
//!
//! A TCP stream has no message boundaries: what one side sends in one call may arrive in three pieces, or
//! together with the next message. [`Framed`] is a dispatcher that assembles the pieces and calls a
//! [`Handler`] with whole records. The handler is a value inside it (composition, not inheritance).
//!
//! ```
//! use slabloop::framing::{Framed, Framing, Handler, Terminator};
//! use slabloop::{Accepted, Context, Dispatcher};
//! use std::io;
//!
//! struct Listener;
//! impl Dispatcher for Listener {
//!     fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
//!         cx.add(accepted, Framed::new(Terminator::Line, Shouter)?)?;
//!         Ok(())
//!     }
//! }
//!
//! struct Shouter;
//! impl Handler for Shouter {
//!     fn found_terminator(
//!         &mut self,
//!         cx: &mut Context<'_>,
//!         framing: &mut Framing,
//!         line: &[u8],
//!     ) -> io::Result<()> {
//!         framing.push(cx, &line.to_ascii_uppercase())?;
//!         framing.push(cx, b"\n")
//!     }
//! }
//! ```
//!
//! A [`Terminator`] ends a record. It can be changed in the callback that gets a record, for example from a line
//! to the length of the body that a header announces. The length of records is bounded, and no record
//! is delivered after a close. The names are those of Python's asynchat, without its quadratic
//! scanning, its unbounded buffers and its records after the close.

pub(crate) mod decoder;
mod framed;
mod handler;
mod producers;
pub(crate) mod search;
mod stream;
mod terminator;

pub use framed::Framed;
pub use handler::Handler;
pub use stream::Framing;
pub use terminator::{LengthPrefix, Terminator};
