//! A single-threaded callback reactor on [`mio`](https://docs.rs/mio), in the manner of Python's
//! asyncore.
//!
//! A [`Reactor`] owns sockets. Each has a [`Dispatcher`], whose `handle_*` callbacks are called, one at
//! a time and on one thread, when something has happened to its socket. Here is a complete echo server:
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
//! survives running out of descriptors, and serves all ready connections fairly.
//!
//! A callback must not block: while it runs, no other connection is served. Work that takes long belongs on another
//! thread, which [posts](Handle::post) its result.
//!
//! # Where to find what
//!
//! | page | contents |
//! |---|---|
//! | [`Dispatcher`] | the callbacks: when each is called, in which order, and what an error does |
//! | [`Context`] | what a callback can do: read, send, close, set timers, reach other dispatchers |
//! | [`Reactor`] | how a program adds dispatchers, runs the loop and shuts it down |
//! | [`Handle`] | how other threads reach the loop |
//! | [`Builder`] | all limits and timeouts, with their defaults |
//! | [`Socket`], [`SocketOptions`] | what can be added to a reactor, and the options of sockets |
//! | [`framing`] | lines, length-prefixed records, netstrings, producers |
//! | [`Counters`], [`Gauges`], [`Cause`] | what has happened, what the reactor holds, and why a dispatcher ended |
//!
//! # One turn
//!
//! A turn is one pass of the reactor's loop, in eight steps, which are the same in the source of [`Reactor::turn`]:
//!
//! ```text
//!  ┌──► 1 timeout   0 if work was carried over, else until the next timer
//!  │    2 wait      the only place where the program sleeps
//!  │    3 merge     each event updates the readiness of its slot
//!  │    4 dispatch  each ready slot once: accept, read or write
//!  │    5 timers    each expired timer; what they set waits for the next turn
//!  │    6 posts     deferred closures, then closures from other threads
//!  │    7 flush     each outbox with output is written once
//!  └─── 8 close     handle_close, deregister, drop; the slot is free again
//! ```
//!
//! The kernel reports *changes*; each slot adds them up into *state*; the ready list turns state into
//! callbacks. Everything between two waits happens sequentially. No slot is freed while an
//! event might still refer to it. (If no slot carried work over, steps 3 and 4 are fused: each event is merged
//! and its callback made immediately.)
//!
//! Dispatchers may have a [`Priority`]; then step 4 serves one class after the other. A turn may have a time limit
//! ([`Builder::turn_time`]); then steps 4, 5 and 6 leave the rest of their work to the next turn, which does it first,
//! so that no class, timer or post starves.
//!
//! # Limits
//!
//! Each connection's queued output has a high mark (64 KiB), a low mark (32 KiB) and a hard cap
//! (1 MiB); accepting, posting and draining have budgets per turn. [`Builder`] lists and sets them all.
//!
//! # Optional features
//!
//! | feature | module and purpose | dependencies |
//! |---|---|---|
//! | `group` | `kit::group`: several reactors, each on a thread of its own; `docs/several-reactors.md` is the guide | |
//! | `affinity` | `kit::group::processors` and `Builder::pin`: each of these threads on one processor | rustix |
//! | `inspector` | `inspector`: a web page that shows the loop at work, served by the loop itself | httparse, serde, serde_json |
//! | `limits` | `kit::limits`: connections per peer, request rates, concurrency with load shedding | |
//! | `metrics` | `metrics`: metrics of the loop, for Prometheus and others; `docs/monitoring.md` is the guide | hdrhistogram, prometheus-client, rustix |
//! | `observer` | `observe`: reports of everything that the loop does | |
//! | `pool` | `kit::pool`: a pool of connections for clients | |
//! | `process` | `kit::child`: child processes as dispatchers | rustix, signal-hook |
//! | `resolver` | `kit::resolver`: looks up host names, and connects to them | domain |
//! | `retry` | `kit::retry`: backoff, retry budgets, circuit breakers, reconnecting | |
//! | `signals` | `kit::signals`: Unix signals as callbacks | signal-hook, signal-hook-mio |
//! | `tls` | `tls`: TLS for any dispatcher; `docs/tls.md` is the guide | rustls, ring |
//! | `trace` | `trace`: a record of what the loop did, as a file for the Perfetto viewer | |
//! | `workers` | `kit::workers`: a thread pool for long computations and blocking calls | |
//! | `full` | all features above | |
//! | `test` | `test`: simulated peers and a clock that the test moves, for tests of programs; `docs/testing-your-protocol.md` is the guide | |
//! | `examples` | adds nothing to the crate; dependencies of the larger examples | hdrhistogram, httparse, httpdate, listenfd, mime_guess, plotters, resp-rs, rustix |
//! | `restart` | adds nothing to the crate; the examples restart without downtime | listenfd |
//! | `system-roots` | adds nothing to the crate; the examples that are TLS clients trust the system's certificates | rustls-native-certs |
//!
//! # Log lines
//!
//! The crate logs through the [`log`](https://docs.rs/log) crate, under a target for each topic, so
//! that a logger can select: `RUST_LOG=warn,slabloop::connection=debug` with `env_logger`. Conditions that a peer can
//! cause are logged at level warn at most, and such warnings are limited to one a second of each kind.
//!
//! Install a logger. Without one these lines are lost, and an error of a connection that no `handle_error` of yours
//! handles is a log line and nothing else. A program needs three lines, in `Cargo.toml` and in `main`:
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
//! `RUST_LOG=info,slabloop=debug` also shows the begin and end of each connection. Single callbacks are not logged: see
//! them with the feature `trace`, or by an `observe::Ring`. A debug build warns of mistakes that
//! would otherwise be silent: a dispatcher that is called again and again because it leaves its input unread, a
//! connection that is still open ten seconds after its peer finished sending, a callback of more than 100 ms.
//!
//! | target | topic |
//! |---|---|
//! | `slabloop::accept` | accepting connections, and listeners that pause |
//! | `slabloop::connection` | connections that are added, established, replaced, broken, closed |
//! | `slabloop::fault` | faults of connections: the default `handle_error`, `log_fault` |
//! | `slabloop::flow` | backpressure: output over its marks, and connections that are not read because of it |
//! | `slabloop::callback` | panics, slow callbacks, callbacks that are not implemented |
//! | `slabloop::timer` | timers that never fire |
//! | `slabloop::poll` | the poller and its wake-ups |
//! | `slabloop::child` | child processes |
//! | `slabloop::kit::pool` | failed connection attempts, and connections that ended while idle; at level debug |
//!
//! # Reading the source
//!
//! The path of one byte, in and out, is in twelve files and takes an evening to read:
//!
//! | file | contents |
//! |---|---|
//! | `dispatcher.rs` | the contract: when each callback is called |
//! | `reactor.rs` | the turn, in eight steps, and how it starts and stops |
//! | `turn/dispatch.rs` | steps 3 and 4: an event finds its slot, a ready slot is served |
//! | `slot/readiness.rs` | how edges become levels, in one word |
//! | `turn/call.rs` | how a dispatcher is called without `Rc<RefCell<_>>` |
//! | `context/bytes.rs` | `recv` and `send` |
//! | `slot/io.rs` | the two functions through which a slot reads and writes |
//! | `turn/settle.rs` | what follows from the result of a callback |
//! | `slot/outbox.rs` | bytes accepted for sending, and their marks |
//! | `state/output.rs` | step 7: the flush |
//! | `state.rs` | the state of a reactor |
//! | `turn/close.rs` | step 8: `handle_close`, and the slot is free |
//!
//! The folders are layers, and each uses only those below it:
//!
//! ```text
//!   test/                        simulated peers, for tests of programs
//!   framing/  kit/  tls          records, ready-made parts, TLS: public API only
//!   metrics/  trace/             metrics and traces of the loop
//!   reactor  builder  handle     what a program calls from outside callbacks
//!   turn/  dispatcher  context/  the steps; the only code that calls dispatchers
//!   ──────────────────────────────────────────────────────────────────────────
//!   state/                       all slots: ready, held and ending ones
//!   slot/                        one connection
//!   time/  watch/                timers; counters, log limits, observers
//!   world/                       sockets, the poller, ids, errors
//! ```
//!
//! Code below the line cannot call a dispatcher, because it does not know the type.
//! `docs/internals.md` in the repository is the guided tour.

#![forbid(unsafe_code)]
#![deny(missing_docs, missing_debug_implementations)]
#![cfg_attr(docsrs, feature(doc_cfg))]

// The first three in the order in which the documentation shows the methods of `Reactor` and `Context`.
mod builder;

mod context;

mod reactor;

mod dispatcher;
pub mod framing;
mod handle;
#[cfg(feature = "inspector")]
#[cfg_attr(docsrs, doc(cfg(feature = "inspector")))]
pub mod inspector;
#[cfg(any(
    feature = "group",
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
pub use time::timer_id::TimerId;
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

/// The version of mio that this crate is built on, for programs with event sources of their own: [`Socket::from_fd`]
/// takes its [`Interest`](mio::Interest), [`Socket::foreign`] its [`Source`](mio::event::Source).
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

/// The programs of the page on several reactors, compiled.
#[cfg(all(doctest, feature = "group"))]
#[doc = include_str!("../docs/several-reactors.md")]
struct SeveralReactorsPage;

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
