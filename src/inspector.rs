//! A web page that shows the loop at work, served by that loop.
//!
//! [`listen`] adds a listener to a reactor. A browser at its address shows live what the loop does: how its time is
//! spent, which dispatchers are busy and which wait, what is queued, and which dispatchers were added and closed,
//! with the cause. If the inspector detects a known problem, the page explains it in a sentence, a *lint*.
//!
//! The page is served by the loop that it shows. So when a callback blocks the loop, the page gets no data. It
//! detects that and shows for how long; when the loop continues, the page names the callback.
//!
//! ```no_run
//! use slabloop::{Accepted, Context, Dispatcher, Reactor, inspector};
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
//!     let inspector = inspector::listen(&mut reactor, "127.0.0.1:9000", &inspector::Options::new())?;
//!     println!("inspector on {inspector}"); // http://127.0.0.1:9000/
//!     reactor.run()
//! }
//! ```
//!
//! # The paths
//!
//! | path | content |
//! |---|---|
//! | `/` | the page |
//! | `/events` | a beat every 100 ms, as server-sent events |
//! | `/snapshot.json` | one beat |
//! | `/recording.json` | the beats of the last minute in which a page was open; [`replay`] shows them again |
//! | `/lints.json` | the lints that hold |
//! | `/metrics` | figures for Prometheus; with the feature `metrics` |
//! | `/trace.json` | a trace of the next second, for a trace viewer; with the feature `trace` |
//!
//! The inspector only reads; it cannot change the program.
//!
//! # What the inspector costs
//!
//! From [`listen`] on each callback is measured: two clock readings and some additions. While a page is open, a beat
//! is made every 100 ms from the sums. Its size is bounded, however many connections there are, and it contains
//! counts of what it omits. A page that reads slowly gets the newest beat and skips older ones. A thread of the
//! inspector's wakes the loop for each beat, so that the loop's own waits need no timeout. Without an open page there is
//! neither thread nor timer, and the loop is not woken. At most eight connections are served at a time.
//!
//! Its own dispatchers are marked as internal, and are left out of totals and lints. They count towards the reactor's
//! limit of connections, and the listener keeps [`Reactor::run`] from returning, like any listener.

mod batch;
mod beat;
mod client;
mod gather;
mod history;
mod hub;
mod json;
mod lints;
mod listener;
mod log;
mod options;
mod page;
mod pulse;
mod replay;
mod reply;
mod request;
mod rows;
mod slices;
mod span;
#[cfg(feature = "trace")]
mod tracing;
mod watch;

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::rc::Rc;

use crate::{AnyId, Reactor, SocketOptions};

pub use self::options::Options;

use self::client::Server;
use self::gather::Gather;
use self::hub::Hub;
use self::listener::Listener;
use self::replay::Replay;

/// Bytes of an answer that the kernel may hold, so that a page that reads slowly gets no old beats.
const SEND_BUFFER: usize = 128 * 1024;

/// An inspector that listens. Its `Display` is the address of the page: `http://127.0.0.1:9000/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspection {
    address: SocketAddr,
    listener: AnyId,
}

impl Inspection {
    /// The address of the listener. If port 0 was given, this has the real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The listener's id. To accept no further connections, close it.
    ///
    /// ```
    /// use slabloop::{Reactor, inspector};
    ///
    /// let mut reactor = Reactor::new()?;
    /// let inspection = inspector::listen(&mut reactor, "127.0.0.1:0", &inspector::Options::new())?;
    /// if let Some(mut listener) = reactor.at(inspection.listener()) {
    ///     listener.close();
    /// }
    /// reactor.run()?; // returns, because no listener is left
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn listener(&self) -> AnyId {
        self.listener
    }
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}/", self.address)
    }
}

/// Adds an inspector for this reactor at `address`, which must be a loopback address (127.0.0.1, `[::1]`) unless
/// [`Options::allow_remote`] was set. Port 0 selects a free port. If `address` is a name, it is looked up, which
/// blocks.
///
/// Call this before the reactor runs, or between turns. A second inspector listens as well and shows the same; its options
/// decide from then on which callback is slow.
///
/// # Errors
///
/// `InvalidInput` if the address is not a loopback address; otherwise the system's error, for example that the
/// address is in use.
///
/// # Example
///
/// ```
/// use slabloop::{Reactor, inspector};
///
/// let mut reactor = Reactor::new()?;
/// let page = inspector::listen(&mut reactor, "127.0.0.1:0", inspector::Options::new().program("demo"))?;
/// println!("inspector on {page}");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn listen(
    reactor: &mut Reactor,
    address: impl ToSocketAddrs,
    options: &Options,
) -> io::Result<Inspection> {
    let addresses = checked(address, options)?;
    match reactor.observer_mut::<Gather>() {
        Some(gather) => gather.set_threshold(options.slow_callback),
        None => {
            let capacity = reactor.handle().capacity();
            let turn = reactor.counters().turns + 1;
            reactor.observe(Gather::new(options.slow_callback, capacity, turn));
        }
    }
    serve(reactor, &addresses, options, &options.program, None)
}

/// Serves the page for a recording, in place of the reactor's own data. `recording` is the content of
/// `/recording.json`. The address has the same rules as in [`listen`].
///
/// # Errors
///
/// `InvalidData` if it is not a recording; otherwise those of [`listen`].
///
/// # Example
///
/// ```no_run
/// use slabloop::{Reactor, inspector};
///
/// let mut reactor = Reactor::new()?;
/// let recording = std::fs::read("recording.json")?;
/// let page = inspector::replay(&mut reactor, "127.0.0.1:9001", &inspector::Options::new(), &recording)?;
/// println!("recording on {page}");
/// reactor.run()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn replay(
    reactor: &mut Reactor,
    address: impl ToSocketAddrs,
    options: &Options,
    recording: &[u8],
) -> io::Result<Inspection> {
    let addresses = checked(address, options)?;
    let replay = Replay::new(recording)?;
    let program = replay.program.clone();
    serve(reactor, &addresses, options, &program, Some(replay))
}

/// What the inspectors of a reactor have done themselves, for programs that print what they have done: their part of the
/// reactor's [`Counters`](crate::Counters).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnWork {
    /// Connections accepted.
    pub connections: u64,
    /// Callbacks of their dispatchers.
    pub callbacks: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes accepted for sending.
    pub bytes_out: u64,
}

/// What the inspectors that [listen](listen()) in this reactor have done so far; zero if none does.
///
/// ```
/// use slabloop::{Reactor, inspector};
///
/// let mut reactor = Reactor::new()?;
/// inspector::listen(&mut reactor, "127.0.0.1:0", &inspector::Options::new())?;
/// let own = inspector::own_work(&reactor);
/// let clients = reactor.counters().accepted - own.connections;
/// assert_eq!(clients, 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use]
pub fn own_work(reactor: &Reactor) -> OwnWork {
    let gather = reactor.observer::<Gather>();
    gather.map_or(OwnWork::default(), |gather| gather.own_work)
}

fn checked(address: impl ToSocketAddrs, options: &Options) -> io::Result<Vec<SocketAddr>> {
    let addresses: Vec<_> = address.to_socket_addrs()?.collect();
    let remote = addresses.iter().find(|address| !address.ip().is_loopback());
    match remote {
        Some(remote) if !options.allow_remote => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "other machines can reach {remote}, and the inspector has no password: use 127.0.0.1, or allow_remote"
            ),
        )),
        _ => Ok(addresses),
    }
}

fn serve(
    reactor: &mut Reactor,
    addresses: &[SocketAddr],
    options: &Options,
    program: &str,
    replay: Option<Replay>,
) -> io::Result<Inspection> {
    let hub = reactor.add_service(Hub::new(program))?;
    let server = Server {
        hub,
        hosts: options.hosts.clone().into(),
        replay,
        places: Rc::new(()),
    };
    let mut socket = SocketOptions::new();
    socket.send_buffer(SEND_BUFFER);
    let listening = reactor.listen_with(addresses, &socket, Listener { server });
    let listener = match listening {
        Ok(listener) => listener.any(),
        Err(error) => {
            if let Some(mut hub) = reactor.at(hub) {
                hub.close();
            }
            return Err(error);
        }
    };
    if let Some(gather) = reactor.observer_mut::<Gather>() {
        gather.disown(hub.any());
        gather.disown(listener);
    }
    Ok(Inspection {
        address: reactor.local_addr(listener)?,
        listener,
    })
}
