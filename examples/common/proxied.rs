//! `--proxy-protocol`: clients come through a load balancer, which names each in a PROXY header before anything else.
//!
//! A connection is held by a [`Header`] until its header has come. Then the listener welcomes the client, as if it had
//! been accepted just now, and the dispatcher that it gives takes the header's place. What follows the header is that
//! dispatcher's first input, or the first of TLS.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use lexopt::Parser;
use slabloop::{Accepted, AnyId, Context, Dispatcher, Id, Reactor, TimerId};

use super::proxy_header::{LONGEST, Parsed, Source, parse};
use super::{Failure, Limit, Tls, options};

/// Read at a time. Nearly all headers are shorter, and of what follows little is read twice.
const PIECE: usize = 512;

/// `--proxy-protocol`, `--proxy-from ADDRESSES` and `--proxy-timeout SECONDS`, as they were given.
#[derive(Clone, Debug, Default)]
pub struct Proxied {
    is_on: bool,
    from: Option<Vec<Network>>,
    limit: Option<Duration>,
}

impl Proxied {
    /// Takes one flag. False if it is none of these.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] if its value is missing or wrong.
    pub fn take(&mut self, flag: &str, parser: &mut Parser) -> Result<bool, Failure> {
        match flag {
            "proxy-protocol" => self.is_on = true,
            "proxy-from" => {
                let right = "addresses such as 10.0.0.5 or networks such as 10.0.0.0/8, with commas between them";
                let List(from) = options::value("--proxy-from", parser, right)?;
                self.from = Some(from);
            }
            "proxy-timeout" => {
                let limit = options::seconds("--proxy-timeout", parser, Limit::AboveZero)?;
                self.limit = Some(limit);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// # Errors
    ///
    /// [`Failure::Usage`] if the flags do not go together.
    pub fn checked(self) -> Result<Proxied, Failure> {
        let alone = match (&self.from, &self.limit) {
            (Some(_), _) => "--proxy-from",
            (None, Some(_)) => "--proxy-timeout",
            (None, None) => return Ok(self),
        };
        match self.is_on {
            true => Ok(self),
            false => Err(Failure::Usage(format!("{alone} wants --proxy-protocol"))),
        }
    }

    /// Whether a header from this address is believed. If nothing was said, one from this machine.
    fn trusts(&self, peer: Option<SocketAddr>) -> bool {
        let Some(ip) = peer.map(|peer| peer.ip().to_canonical()) else {
            return false;
        };
        match &self.from {
            Some(from) => from.iter().any(|network| network.has(ip)),
            None => ip.is_loopback(),
        }
    }
}

/// A listener whose clients may come through a load balancer.
pub trait Welcome: Dispatcher + Sized {
    /// Whether they do.
    fn proxied(&self) -> &Proxied;

    /// It is known who the client is. It is served by [`Client::serve`], or else turned away.
    ///
    /// # Errors
    ///
    /// As those of `handle_accept`; the client is turned away.
    fn welcome(&mut self, cx: &mut Context<'_>, client: Client) -> io::Result<()>;
}

/// What `handle_accept` of such a listener does.
///
/// # Errors
///
/// What the listener says, and what the system says of the socket; `PermissionDenied` for one whom no header is believed.
pub fn accept<L: Welcome>(
    listener: &mut L,
    cx: &mut Context<'_>,
    accepted: Accepted,
) -> io::Result<()> {
    let proxied = listener.proxied();
    if !proxied.is_on {
        let peer = accepted.peer();
        return listener.welcome(cx, Client(peer, How::Accepted(accepted)));
    }
    if !proxied.trusts(accepted.peer()) {
        let text = format!("{accepted}: no PROXY header is taken from there; see --proxy-from");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    }
    let limit = proxied.limit.unwrap_or(Duration::from_secs(5));
    let header = Header {
        listener: cx.id::<L>(),
        taken: Vec::new(),
    };
    let id = cx.add(accepted, header)?;
    if let Some(mut header) = cx.at(id) {
        header.set_timer(limit);
    }
    Ok(())
}

/// A client that is to be served.
#[derive(Debug)]
pub struct Client(Option<SocketAddr>, How);

#[derive(Debug)]
enum How {
    Accepted(Accepted),
    /// In the place of the dispatcher that has read its header.
    Held(AnyId),
}

impl Client {
    /// Its address: its own, not the load balancer's, if that has said it.
    #[must_use]
    pub fn peer(&self) -> Option<SocketAddr> {
        self.0
    }

    /// Gives it a dispatcher, and TLS if that is asked for.
    ///
    /// # Errors
    ///
    /// What the system says of the socket, or rustls of its configuration.
    pub fn serve<D: Dispatcher>(
        self,
        cx: &mut Context<'_>,
        tls: &Tls,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        match self.1 {
            How::Accepted(accepted) => cx.add(tls.socket(accepted)?, dispatcher),
            How::Held(id) => {
                let held = cx.at(id);
                let mut held = held.ok_or(io::ErrorKind::NotConnected)?;
                tls.start(&mut held)?;
                held.replace(dispatcher)
            }
        }
    }
}

/// A connection whose header has not come.
struct Header<L> {
    listener: Id<L>,
    taken: Vec<u8>,
}

impl<L: Welcome> Header<L> {
    fn take(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut piece = [0; PIECE];
        let room = PIECE.min(LONGEST - self.taken.len());
        let count = cx.recv(&mut piece[..room])?;
        self.taken.extend_from_slice(&piece[..count]);
        match parse(&self.taken) {
            Parsed::Partial => Ok(()),
            Parsed::Refused(why) => Err(io::Error::new(io::ErrorKind::InvalidData, why)),
            Parsed::Complete(source, length) => {
                cx.unread(&self.taken[length..])?;
                match source {
                    Source::Inet(client) => cx.set_peer(client)?,
                    Source::Unix(path) => log::debug!("{}: from {}", cx.label(), path.display()),
                    Source::Local | Source::Unknown => {}
                }
                self.welcome(cx);
                Ok(())
            }
        }
    }

    /// Once this callback has returned, so that the listener can put its dispatcher in this one's place, and reach it.
    fn welcome(&self, cx: &mut Context<'_>) {
        cx.pause_reading();
        let (me, listener) = (cx.id::<Header<L>>(), self.listener);
        cx.defer(move |reactor| welcome(reactor, listener, me));
    }
}

fn welcome<L: Welcome>(reactor: &mut Reactor, listener: Id<L>, held: Id<Header<L>>) {
    let Some(mut cx) = reactor.at(held) else {
        return;
    };
    cx.resume_reading();
    let client = Client(cx.peer(), How::Held(held.into()));
    // No listener: this is the end of the program.
    let _ = reactor.call(listener, |listener, cx| listener.welcome(cx, client));
    // The header itself is there still if the listener has turned the client away.
    reactor.with(held, |_, cx| cx.abort_when_sent());
}

impl<L: Welcome> Dispatcher for Header<L> {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.take(cx)
    }

    fn handle_eof(&mut self, _: &mut Context<'_>) -> io::Result<()> {
        let text = "it ended before its PROXY header";
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }

    fn handle_timer(&mut self, _: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        let text = "its PROXY header did not come in time";
        Err(io::Error::new(io::ErrorKind::TimedOut, text))
    }
}

/// Addresses that have their first bits in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    length: u32,
}

impl Network {
    fn has(&self, ip: IpAddr) -> bool {
        match (self.address, ip) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - self.length).unwrap_or(0);
                own.to_bits() & mask == ip.to_bits() & mask
            }
            (IpAddr::V6(own), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - self.length).unwrap_or(0);
                own.to_bits() & mask == ip.to_bits() & mask
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Network, ()> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| ())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = length.map_or(Ok(most), |length| length.parse().map_err(|_| ()))?;
        match length <= most {
            true => Ok(Network { address, length }),
            false => Err(()),
        }
    }
}

struct List(Vec<Network>);

impl FromStr for List {
    type Err = ();

    fn from_str(text: &str) -> Result<List, ()> {
        let networks = text.split(',').map(str::parse);
        networks.collect::<Result<_, _>>().map(List)
    }
}

impl<L> fmt::Debug for Header<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Header({} bytes)", self.taken.len())
    }
}
