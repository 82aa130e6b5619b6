//! A proxied connection: two sockets and a relay each way.
//!
//! Each direction ends by itself: when the client has no more to say, the upstream is told so and
//! may still answer. The link is over when both directions are. Any fault on either socket ends
//! both, because half a proxied connection is of no use to anybody.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use crate::relay::{Progress, Relay};

/// A socket of which the writing side can be shut: std's and mio's streams alike.
pub trait ShutdownWrite {
    /// Tells the other side that no more bytes will come.
    ///
    /// # Errors
    ///
    /// The kernel's.
    fn shutdown_write(&self) -> io::Result<()>;
}

impl ShutdownWrite for std::net::TcpStream {
    fn shutdown_write(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl ShutdownWrite for mio::net::TcpStream {
    fn shutdown_write(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

/// Which of the two sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that was accepted.
    Client,
    /// The one that was connected.
    Upstream,
}

/// What an event said of a socket's reading side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Nothing: the event was about writing.
    None,
    /// There is something to read.
    Readable,
    /// The other side has closed, or the connection broke.
    Closed,
}

/// A direction and whether its end has been passed on.
#[derive(Debug, Default)]
enum Flow {
    #[default]
    Open,
    Shut,
}

/// Two sockets, relayed both ways.
#[derive(Debug)]
pub struct Link<S> {
    client: S,
    upstream: S,
    up: Relay,
    up_flow: Flow,
    down: Relay,
    down_flow: Flow,
}

impl<S: ShutdownWrite> Link<S>
where
    for<'a> &'a S: Read + Write,
{
    /// Joins two sockets.
    pub fn new(client: S, upstream: S) -> Self {
        Link {
            client,
            upstream,
            up: Relay::default(),
            up_flow: Flow::Open,
            down: Relay::default(),
            down_flow: Flow::Open,
        }
    }

    /// Takes note of an event.
    pub fn note(&mut self, side: Side, input: Input) {
        let relay = match side {
            Side::Client => &mut self.up,
            Side::Upstream => &mut self.down,
        };
        match input {
            Input::None => {}
            Input::Readable => relay.note_readable(),
            Input::Closed => relay.note_closed(),
        }
    }

    /// Moves what can be moved; `Done` when both directions have ended.
    ///
    /// # Errors
    ///
    /// A fault on either socket.
    pub fn pump(&mut self, scratch: &mut [u8]) -> io::Result<Progress> {
        let Link {
            client,
            upstream,
            up,
            up_flow,
            down,
            down_flow,
        } = self;
        relay(up, up_flow, client, upstream, scratch)?;
        relay(down, down_flow, upstream, client, scratch)?;
        match (up_flow, down_flow) {
            (Flow::Shut, Flow::Shut) => Ok(Progress::Done),
            (Flow::Open, _) | (_, Flow::Open) => Ok(Progress::Waiting),
        }
    }

    /// Both sockets, to register or deregister them.
    pub fn sockets(&mut self) -> (&mut S, &mut S) {
        (&mut self.client, &mut self.upstream)
    }

    /// For a level-triggered poller: whether a socket should be watched for reading, then for
    /// writing.
    pub fn interest(&self, side: Side) -> (bool, bool) {
        match side {
            Side::Client => (self.up.wants_input(), self.down.is_blocked()),
            Side::Upstream => (self.down.wants_input(), self.up.is_blocked()),
        }
    }
}

fn relay<S: ShutdownWrite>(
    relay: &mut Relay,
    flow: &mut Flow,
    from: &S,
    to: &S,
    scratch: &mut [u8],
) -> io::Result<()>
where
    for<'a> &'a S: Read + Write,
{
    if let Flow::Shut = flow {
        return Ok(());
    }
    if relay.pump(from, to, scratch)? == Progress::Done {
        // ENOTCONN when the other side has reset meanwhile; the end is then known there anyway.
        let _ = to.shutdown_write();
        *flow = Flow::Shut;
    }
    Ok(())
}
