//! Records out of a byte stream, and output drawn from producers: asynchat's layer.
//!
//! A TCP stream knows no messages: what one side sends in one call may arrive in three pieces, or
//! together with the next. [`Framed`] is a dispatcher that puts the pieces together and calls a
//! [`Handler`] with whole records. It is composition, not inheritance: the handler is a value inside.
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
//! What ends a record is a [`Terminator`]; it can be changed from inside the callback that found one,
//! which is how a header is followed by a body of a length that it told. Records are bounded, and none
//! is handed out after a close. The names are those of Python's asynchat, without its quadratic
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
