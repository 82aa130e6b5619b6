//! How many connections a peer may have.

use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;

use super::invalid;
use super::prefix::{Prefix, PrefixLengths};

/// A limit on the connections of each peer.
///
/// A listener asks it for a [`Place`] for each connection and gives that to the connection's dispatcher. The place
/// comes back when the dispatcher is dropped, however it ended, after a panic as well. Clones are the same limit:
/// one for each listener, or one that several share.
///
/// ```
/// use slabloop::kit::limits::{PerPeer, Place, PrefixLengths};
/// use slabloop::{Accepted, Context, Dispatcher, Reactor};
/// use std::io;
///
/// struct Listener { per_peer: PerPeer }
/// impl Dispatcher for Listener {
///     fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
///         // A refusal closes the connection. The default handle_error logs it, one line a second at most.
///         let place = accepted.peer().map(|peer| self.per_peer.admit(peer.ip())).transpose()?;
///         cx.add(accepted, Echo { _place: place })?;
///         Ok(())
///     }
/// }
///
/// struct Echo { _place: Option<Place> }
/// impl Dispatcher for Echo {
///     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
///         cx.recv_with(|bytes, cx| cx.send(bytes))
///     }
/// }
///
/// # fn main() -> io::Result<()> {
/// let mut reactor = Reactor::new()?;
/// let per_peer = PerPeer::new(10, PrefixLengths::default())?;
/// reactor.listen("127.0.0.1:0", Listener { per_peer })?;
/// # Ok(()) }
/// ```
///
/// It has one entry in a hash table for each peer that has a connection, and nothing for others.
#[derive(Clone)]
pub struct PerPeer(Rc<RefCell<Table>>);

struct Table {
    most: u32,
    lengths: PrefixLengths,
    open: HashMap<Prefix, u32>,
    gauges: PerPeerGauges,
}

/// What a [`PerPeer`] has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PerPeerGauges {
    /// Places that are taken.
    pub open: usize,
    /// Peers that have a place.
    pub peers: usize,
    /// Connections that were refused.
    pub refused: u64,
}

impl PerPeer {
    /// At most `most` connections of each prefix, at least 1.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a limit of 0.
    pub fn new(most: u32, lengths: PrefixLengths) -> io::Result<PerPeer> {
        if most == 0 {
            return Err(invalid(
                "connections per peer: at most 0: expected at least 1".to_owned(),
            ));
        }
        Ok(PerPeer(Rc::new(RefCell::new(Table {
            most,
            lengths,
            open: HashMap::new(),
            gauges: PerPeerGauges::default(),
        }))))
    }

    /// Takes a place for a connection from `address`.
    ///
    /// # Errors
    ///
    /// [`TooMany`] if that peer has all of its places.
    pub fn admit(&self, address: IpAddr) -> Result<Place, TooMany> {
        let table = &mut *self.0.borrow_mut();
        let prefix = Prefix::of(address, table.lengths);
        let open = table.open.entry(prefix).or_insert(0);
        if *open >= table.most {
            table.gauges.refused += 1;
            return Err(TooMany {
                prefix,
                most: table.most,
            });
        }
        *open += 1;
        table.gauges.open += 1;
        Ok(Place {
            table: Rc::clone(&self.0),
            prefix,
        })
    }

    /// What it has seen.
    #[must_use]
    pub fn gauges(&self) -> PerPeerGauges {
        let table = self.0.borrow();
        PerPeerGauges {
            peers: table.open.len(),
            ..table.gauges
        }
    }

    /// For how many peers memory is reserved.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.0.borrow().open.capacity()
    }
}

/// A connection's place among those of its peer, given back when it is dropped.
#[must_use = "dropped it gives the place back"]
pub struct Place {
    table: Rc<RefCell<Table>>,
    prefix: Prefix,
}

impl Place {
    /// Whose place it is.
    #[must_use]
    pub fn prefix(&self) -> Prefix {
        self.prefix
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        /// Below this the memory is not worth a look.
        const SMALL: usize = 64;
        let table = &mut *self.table.borrow_mut();
        table.gauges.open -= 1;
        if let Some(open) = table.open.get_mut(&self.prefix) {
            *open -= 1;
            if *open == 0 {
                table.open.remove(&self.prefix);
            }
        }
        // After a flood the memory goes back, in steps that make it cheap for each place.
        if table.open.capacity() > SMALL && table.open.len() < table.open.capacity() / 4 {
            table.open.shrink_to(table.open.len() * 2);
        }
    }
}

/// A peer has as many connections as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// Whose limit it is.
    pub prefix: Prefix,
    /// The limit.
    pub most: u32,
}

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TooMany { prefix, most } = self;
        write!(
            f,
            "{prefix} has {most} connections, as many as one peer may have"
        )
    }
}

impl Error for TooMany {}

/// Of kind `QuotaExceeded`.
impl From<TooMany> for io::Error {
    fn from(refusal: TooMany) -> io::Error {
        io::Error::new(io::ErrorKind::QuotaExceeded, refusal)
    }
}

impl fmt::Debug for PerPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PerPeer").field(&self.gauges()).finish()
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&self.prefix).finish()
    }
}
