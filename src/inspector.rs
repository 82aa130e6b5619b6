//! A page that shows the loop at work, served by that loop.
//!
//! [`listen`] adds a listener to a reactor; a browser that opens its address sees what the loop does, live: where its
//! time goes, which dispatchers are busy and which wait, what is queued, who was added and closed and why. If something
//! is wrong that the inspector knows about, the page says so in a sentence, the *lint*.
//!
//! The page lives in the loop that it shows. So when a callback blocks the loop, the page goes silent; it notices, says
//! for how long, and when the loop goes on it names the culprit.
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
//! # What it serves
//!
//! | path | |
//! |---|---|
//! | `/` | the page |
//! | `/events` | a beat every 100 ms, as server-sent events |
//! | `/snapshot.json` | one beat |
//! | `/recording.json` | the beats of the last minute in which somebody looked; [`replay`] shows them again |
//! | `/lints.json` | the lints that hold |
//! | `/metrics` | figures for Prometheus; with the feature `metrics` |
//! | `/trace.json` | what happens in the next second, for a trace viewer; with the feature `trace` |
//!
//! Nothing can be changed through it.
//!
//! # What it costs
//!
//! From [`listen`] on each callback is measured: two readings of the clock and some additions. With a page open a beat is
//! made every 100 ms, from what was added up; what it shows has a fixed size, however many connections there are, and it
//! counts what it leaves out. A page that does not read gets the newest beat when it does, and no older ones. A thread of
//! the inspector's wakes the loop for it, so that the loop's own waits need no limit. With no page open there is no such
//! thread and no timer, and the loop is not woken. At most eight connections are served at a time.
//!
//! Its own dispatchers are marked as internal, and are left out of totals and lints. They count as connections where the
//! reactor has a limit to them, and the listener keeps [`Reactor::run`] from returning, as any does.

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

/// An inspector that listens. Shown as the page's address: `http://127.0.0.1:9000/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspection {
    address: SocketAddr,
    listener: AnyId,
}

impl Inspection {
    /// Where it listens; for port 0 with the real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its listener: closed, it takes no further connections.
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

/// Shows this reactor at `address`, which is one of this machine's own (127.0.0.1, `[::1]`) unless
/// [`Options::allow_remote`] was set. Port 0 means any free one. A name is looked up, which blocks.
///
/// To be called before the reactor runs or between turns. A second one listens as well and shows the same; which callback is
/// slow is as the last one's options have it.
///
/// # Errors
///
/// `InvalidInput` if the address is not one of this machine's own; otherwise what the system says: address in use, for
/// one.
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

/// Shows a recording in place of the reactor, which only serves the page: `recording` is what `/recording.json` gave. The
/// address is as for [`listen`].
///
/// # Errors
///
/// `InvalidData` if it is no recording; otherwise as [`listen`].
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
                "other machines reach {remote}, and the inspector has no password: take 127.0.0.1, or allow_remote"
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
