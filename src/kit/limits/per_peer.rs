//! A limit on the number of connections of a peer.

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
/// A listener calls [`admit`](PerPeer::admit) for each connection, and gives the [`Place`] to the connection's
/// dispatcher. When the dispatcher is dropped, whatever the reason, the place is free again. Clones are the same
/// limit: use one for each listener, or share one between several.
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
/// The limit has one hash table entry for each peer with a connection, and nothing for other peers.
#[derive(Clone)]
pub struct PerPeer(Rc<RefCell<Table>>);

struct Table {
    most: u32,
    lengths: PrefixLengths,
    open: HashMap<Prefix, u32>,
    gauges: PerPeerGauges,
}

/// The counters of a [`PerPeer`].
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
    /// Up to `most` connections for each prefix; at least 1.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if `most` is 0.
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
    /// [`TooMany`] if all places of that peer are taken.
    ///
    /// # Example
    ///
    /// ```
    /// use slabloop::kit::limits::{PerPeer, PrefixLengths};
    ///
    /// let per_peer = PerPeer::new(1, PrefixLengths::default())?;
    /// let address = "192.0.2.7".parse()?;
    /// let place = per_peer.admit(address)?;
    /// let refused = per_peer.admit(address).unwrap_err();
    /// assert_eq!(refused.most, 1);
    ///
    /// drop(place); // the connection has ended
    /// assert!(per_peer.admit(address).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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

    /// The counters, and the present number of peers and connections.
    #[must_use]
    pub fn gauges(&self) -> PerPeerGauges {
        let table = self.0.borrow();
        PerPeerGauges {
            peers: table.open.len(),
            ..table.gauges
        }
    }

    /// The number of peers for which memory is reserved.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.0.borrow().open.capacity()
    }
}

/// The place of a connection among those of its peer. It is free again when this is dropped.
#[must_use = "a place that is dropped is free again"]
pub struct Place {
    table: Rc<RefCell<Table>>,
    prefix: Prefix,
}

impl Place {
    /// The peer that it belongs to.
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
        // After a flood the memory goes back. A map's memory grows and shrinks by factors of two, so this does
        // something only when half of it is enough for twice as many: rarely, and not again at the next place.
        if table.open.capacity() > SMALL {
            table.open.shrink_to(table.open.len() * 2);
        }
    }
}

/// A peer has reached its limit of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// The peer.
    pub prefix: Prefix,
    /// The limit.
    pub most: u32,
}

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TooMany { prefix, most } = self;
        write!(
            f,
            "{prefix} has {most} connections, which is the limit for one peer"
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
