//! For tests of programs that stand on this crate: a peer whose every byte the test decides, a clock that the test
//! moves, and turns that the test counts. No sockets, no sleeping; the same on every machine.
//!
//! Feature `test`, which belongs into a program's dev-dependencies:
//!
//! ```toml
//! [dev-dependencies]
//! slabloop = { version = "0.1", features = ["test"] }
//! ```
//!
//! The reactor is the usual one, and so are the dispatchers. What is simulated stands where the system stands:
//!
//! | in place of | there is | the test decides |
//! |---|---|---|
//! | a connection | [`connection`], [`Peer`] | pieces, errors, ends and resets; room, short writes |
//! | a connection attempt | [`connecting`] for one, [`dials`] for all | whether and how it ends |
//! | a listener | [`listener`], [`Clients`] | who comes, from where; what `accept` fails with |
//! | time | [`Clock`] | when it passes |
//! | `run` | [`run_until_quiet`], [`run_until`], [`run_for`] | how many turns it may take |
//!
//! # A protocol, a byte at a time
//!
//! ```
//! use slabloop::test::{Clock, connection, run_for, run_until_quiet};
//! use slabloop::{Context, Dispatcher, PanicPolicy, Reactor};
//! use std::io;
//! use std::time::Duration;
//!
//! /// Answers each line with its length, and closes a connection that says nothing for a minute.
//! struct Lengths {
//!     line: Vec<u8>,
//! }
//!
//! impl Dispatcher for Lengths {
//!     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
//!         cx.set_idle_timeout(Duration::from_secs(60));
//!         cx.recv_with(|bytes, cx| {
//!             for &byte in bytes {
//!                 if byte == b'\n' {
//!                     cx.send(format!("{}\n", self.line.len()).as_bytes())?;
//!                     self.line.clear();
//!                 } else {
//!                     self.line.push(byte);
//!                 }
//!             }
//!             Ok(())
//!         })
//!     }
//! }
//!
//! # fn main() -> io::Result<()> {
//! let mut reactor = Reactor::builder()
//!     .clock(Clock::new())
//!     .panic_policy(PanicPolicy::Propagate)
//!     .build()?;
//! let (peer, socket) = connection();
//! reactor.add(socket, Lengths { line: Vec::new() })?;
//!
//! peer.send_in_pieces("hello\nworld!\n", 1);
//! run_until_quiet(&mut reactor, 100);
//! assert_eq!(peer.take_received(), b"5\n6\n");
//!
//! run_for(&mut reactor, Duration::from_secs(59), 100);
//! assert!(!peer.is_closed());
//! run_for(&mut reactor, Duration::from_secs(1), 100);
//! assert!(peer.is_closed());
//! # Ok(()) }
//! ```
//!
//! With [`PanicPolicy::Propagate`](crate::PanicPolicy::Propagate) an `assert` in a dispatcher fails the test; by default the
//! reactor contains it, and the connection ends.
//!
//! # Name and cost
//!
//! Features of this crate have the name of the module that they bring, and this one does. It is not in `full`, because
//! that is what a program ships: with `test` every reactor has one more place to look at when it waits. Without it
//! there is nothing of all this.
//!
//! `docs/testing-your-protocol.md` in the repository is the guide.

mod clients;
mod dials;
mod peer;
mod turns;
mod wire;

pub use self::clients::{Clients, listener};
pub use self::dials::{Dials, dials};
pub use self::peer::{Peer, connecting, connection};
pub use self::turns::{run_for, run_until, run_until_quiet};
pub use crate::world::simulated::clock::Clock;
