//! A single-threaded callback reactor on [`mio`](https://docs.rs/mio), in the manner of Python's
//! asyncore.
//!
//! A [`Reactor`] owns sockets. Each has a [`Dispatcher`], whose `handle_*` callbacks are called, one at
//! a time and on one thread, when something happened to its socket. Here is a complete echo server:
//!
//! ```no_run
//! use slabloop::{Accepted, Context, Dispatcher, Reactor};
//! use std::io;
//!
//! struct Listener;
//! impl Dispatcher for Listener {
//!     fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
//!         cx.add(accepted, Echo)?;
//!         Ok(())
//!     }
//! }
//!
//! struct Echo;
//! impl Dispatcher for Echo {
//!     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
//!         cx.recv_with(|bytes, cx| cx.send(bytes))
//!     }
//! }
//!
//! fn main() -> io::Result<()> {
//!     let mut reactor = Reactor::new()?;
//!     reactor.listen("127.0.0.1:7000", Listener)?;
//!     reactor.run()
//! }
//! ```
//!
//! You need no more than this. It serves thousands of connections, sends the whole reply to a client that
//! has finished sending (half-close), stops reading from a client that does not read (backpressure),
//! survives running out of descriptors, and gives every ready connection its turn.
//!
//! # One turn
//!
//! The reactor's loop is eight steps, the same in [`Reactor::turn`]'s source:
//!
//! ```text
//!  ┌──► 1 timeout   0 if work was carried over, else until the next timer (rounded up), else for ever
//!  │    2 wait      the only place where the program sleeps
//!  │    3 merge     event ─► slot (index, then generation) ─► readiness bits ─► ready list
//!  │    4 dispatch  each ready slot once: accept batch, read or write; still ready ─► to the back
//!  │    5 timers    all that have expired; what they arm waits for the next turn
//!  │    6 posts     what callbacks put off, and what other threads handed over by now, capped
//!  │    7 flush     every dirty outbox, one write each
//!  └─── 8 close     handle_close, deregister, drop; only now is the slot free again
//! ```
//!
//! The kernel reports *changes*; each slot adds them up into *state*; the ready list turns state into
//! callbacks. Everything between two waits happens one thing after another. Nothing is freed while an
//! event might still name it. (If no slot carried work over, steps 3 and 4 are fused: each event is merged
//! and its callback made at once.)
//!
//! Dispatchers may have a [`Priority`]; then step 4 serves one class after the other. A turn may have a limit in time
//! ([`Builder::turn_time`]); then steps 4, 5 and 6 leave to the next turn what they have no time for. It comes first
//! there, and no class, no timer and no post starves.
//!
//! # What is bounded
//!
//! Each connection's queued output has a high mark (64 KiB), a low mark (32 KiB) and a hard cap
//! (1 MiB); accepting, posting and draining have budgets per turn. [`Builder`] lists and sets them all.
//!
//! # Optional features
//!
//! | feature | brings | needs |
//! |---|---|---|
//! | `inspector` | `inspector`: a page that shows the loop at work, served by the loop itself | httparse, serde, serde_json |
//! | `limits` | `kit::limits`: connections per peer, request rates, concurrency with load shedding | |
//! | `metrics` | `metrics`: what the loop measures of itself, for Prometheus and others; `docs/monitoring.md` is the guide | hdrhistogram, prometheus-client, rustix |
//! | `observer` | `observe`: the loop tells whoever wants to know what it does | |
//! | `pool` | `kit::pool`: a pool of connections for clients | |
//! | `process` | `kit::child`: child processes as dispatchers | rustix, signal-hook |
//! | `resolver` | `kit::resolver`: names to addresses, connections to names | domain |
//! | `retry` | `kit::retry`: backoff, retry budgets, circuit breakers, reconnecting | |
//! | `signals` | `kit::signals`: signals of the system as callbacks | signal-hook, signal-hook-mio |
//! | `tls` | `tls`: TLS below any dispatcher; `docs/tls.md` is the guide | rustls, ring |
//! | `trace` | `trace`: what the loop did, as a file for Perfetto's viewer | |
//! | `workers` | `kit::workers`: a pool of threads for work that takes long and for calls that block | |
//! | `full` | all of these | |
//! | `test` | `test`: simulated peers and a clock that the test moves, for tests of programs; `docs/testing-your-protocol.md` is the guide | |
//! | `examples` | nothing to the crate; what the larger examples are made of | hdrhistogram, httparse, httpdate, mime_guess, plotters, resp-rs, rustix |
//! | `system-roots` | nothing to the crate; the example `proxy` trusts whom the system trusts | rustls-native-certs |
//!
//! # Log lines
//!
//! The crate logs through the [`log`](https://docs.rs/log) crate, under targets that say what a line speaks of, so
//! that a logger can pick: `RUST_LOG=warn,slabloop::connection=debug` with `env_logger`. What a peer can cause
//! is logged as a warning at most, and such warnings are limited to one a second of a kind.
//!
//! Without a logger all of this is lost: an error of a connection that no `handle_error` of yours deals with is a log
//! line and nothing else. A program needs three lines, in `Cargo.toml` and in `main`:
//!
//! ```toml
//! log = "0.4"
//! env_logger = "0.11"
//! ```
//!
//! ```no_run
//! env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
//! ```
//!
//! `RUST_LOG=info,slabloop=debug` shows each connection's begin and end as well. A debug build warns of slips that would
//! pass in silence: a dispatcher that is called again and again because it leaves its input unread, one that is still open
//! ten seconds after its peer finished sending, a callback of more than 100 ms.
//!
//! | target | what it speaks of |
//! |---|---|
//! | `slabloop::accept` | accepting, and listeners that pause |
//! | `slabloop::connection` | added, connected, replaced, broken, closed |
//! | `slabloop::fault` | faults of connections: the default `handle_error`, `log_fault` |
//! | `slabloop::flow` | output over its marks, and what is not read because of it |
//! | `slabloop::callback` | panics, slow callbacks, callbacks that were not written |
//! | `slabloop::timer` | timers that never fire |
//! | `slabloop::poll` | the poller and its wake-ups |
//! | `slabloop::child` | child processes |
//! | `slabloop::kit::pool` | attempts that failed, connections that ended while idle; all at level debug |
//!
//! # Reading the source
//!
//! The way of one byte, in and out, is twelve files and an evening's reading:
//!
//! | file | what it tells |
//! |---|---|
//! | `dispatcher.rs` | the contract: which callback comes when |
//! | `reactor.rs` | the turn, in eight steps, and how it starts and stops |
//! | `turn/dispatch.rs` | steps 3 and 4: an event finds its slot, a ready slot is served |
//! | `slot/readiness.rs` | how edges become levels, in one word |
//! | `turn/call.rs` | how a dispatcher is called without `Rc<RefCell<_>>` |
//! | `context/bytes.rs` | `recv` and `send` |
//! | `slot/io.rs` | the two doors between a slot and the kernel |
//! | `turn/settle.rs` | what follows from what a callback returned |
//! | `slot/outbox.rs` | bytes accepted for sending, and their marks |
//! | `state/output.rs` | step 7: the flush |
//! | `state.rs` | everything that a reactor remembers |
//! | `turn/close.rs` | step 8: `handle_close`, and the slot is free |
//!
//! The folders are layers, and each names only those below it:
//!
//! ```text
//!   test/                         simulated peers, for tests of programs
//!   framing/  kit/  tls           records and producers; child processes, signals; TLS: on the public face alone
//!   metrics/  trace/              those who watch the loop
//!   reactor  builder  handle      the door (and observe, the names of what an observer is told)
//!   turn/  dispatcher  context/   the steps; the only place that calls users' code
//!   ─────────────────────────────────────────────────────────────────────────────
//!   state/                        all slots together: who is due, who is held, what ends
//!   slot/                         one connection
//!   time/  watch/                 due times; what the loop counts, logs and tells observers
//!   world/                        sockets, the wait, ids, errors
//! ```
//!
//! Below the line nothing can call a dispatcher, because nothing there knows what one is.
//! `docs/internals.md` in the repository is the guided tour.

#![forbid(unsafe_code)]
#![deny(missing_docs, missing_debug_implementations)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod builder;
mod context;
mod dispatcher;
pub mod framing;
mod handle;
#[cfg(feature = "inspector")]
#[cfg_attr(docsrs, doc(cfg(feature = "inspector")))]
pub mod inspector;
#[cfg(any(
    feature = "limits",
    feature = "pool",
    feature = "process",
    feature = "resolver",
    feature = "retry",
    feature = "signals",
    feature = "workers"
))]
pub mod kit;
#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub mod metrics;
#[cfg(feature = "observer")]
pub mod observe;
mod reactor;
mod slot;
mod state;
#[cfg(feature = "test")]
#[cfg_attr(docsrs, doc(cfg(feature = "test")))]
pub mod test;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub mod testing;
mod time;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "trace")]
#[cfg_attr(docsrs, doc(cfg(feature = "trace")))]
pub mod trace;
mod turn;
mod watch;
mod world;

pub use builder::Builder;
pub use context::{Context, Stream};
pub use dispatcher::Dispatcher;
pub use handle::{Handle, Permit, PostError};
pub use reactor::{Aborted, Reactor};
pub use slot::pauses::Pause;
pub use slot::priority::Priority;
pub use state::config::PanicPolicy;
pub use state::rates::RateGroup;
pub use time::timers::TimerId;
pub use turn::visit::Unreached;
pub use watch::counters::Counters;
pub use watch::ends::{Cause, End, Ends};
pub use watch::gauges::Gauges;
pub use watch::rate::Rate;
pub use watch::timeouts::Timeout;
pub use world::accept::Accepted;
pub use world::descriptor::Descriptor;
pub use world::detached::Detached;
pub use world::ids::{AnyId, Id};
pub use world::layer::{Below, Layer};
pub use world::options::SocketOptions;
pub use world::socket::Socket;

/// The mio that this crate is built on, for those who bring event sources of their own: [`Socket::from_fd`] takes
/// its [`Interest`](mio::Interest), [`Socket::foreign`] its [`Source`](mio::event::Source).
pub use mio;

/// The README's programs, compiled.
#[cfg(all(doctest, feature = "signals"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// The programs of the guide for those who come from asyncore, compiled.
#[cfg(doctest)]
#[doc = include_str!("../docs/asyncore.md")]
struct AsyncorePortingGuide;

/// The program of the page on threads, compiled.
#[cfg(all(doctest, feature = "workers"))]
#[doc = include_str!("../docs/workers.md")]
struct WorkersPage;

/// The programs of the page on tests, compiled.
#[cfg(all(doctest, feature = "test"))]
#[doc = include_str!("../docs/testing-your-protocol.md")]
struct TestingPage;

/// The programs of the page on TLS, compiled.
#[cfg(all(doctest, feature = "tls"))]
#[doc = include_str!("../docs/tls.md")]
struct TlsGuide;

/// The programs of the page on names, compiled.
#[cfg(all(doctest, feature = "resolver"))]
#[doc = include_str!("../docs/resolver.md")]
struct ResolverPage;
