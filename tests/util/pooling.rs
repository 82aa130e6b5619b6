//! What the tests of the pool share: connections that count themselves, and holders that keep what they get.

#![allow(dead_code, reason = "each test file uses a part")]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use slabloop::kit::pool::{
    Acquired, Lease, Pool, PoolGauges, PoolOptions, Refused, Reusable, Seat, Ticket,
};
use slabloop::tls::Connector;
use slabloop::tls::rustls::ClientConfig;
use slabloop::{Context, Dispatcher, Id, Reactor, Socket};

use crate::util::{turn, turn_until};

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Where {
    Tcp(SocketAddr),
    Unix(PathBuf),
    Tls(SocketAddr),
}

pub(crate) type TestPool = Pool<Where, Client>;
pub(crate) type TestLease = Lease<Where, Client>;

/// What all clients of one test share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared {
    /// How many there are: each from its making until it is dropped, after its descriptor is closed.
    pub(crate) alive: Rc<Cell<usize>>,
    /// The most that there were after a checked turn. (Within a turn it may be one more: the dispatcher of a
    /// connection whose descriptor is closed goes after its successor has come.)
    pub(crate) most: Rc<Cell<usize>>,
    /// And how many to each destination.
    pub(crate) alive_at: Rc<RefCell<BTreeMap<Where, usize>>>,
    /// What happened to any of them.
    pub(crate) notes: Rc<RefCell<Vec<String>>>,
    /// Clients wait for a greeting before they are ready.
    pub(crate) greeting: Rc<Cell<bool>>,
    /// Whether `is_reusable` panics.
    pub(crate) panics: Rc<Cell<bool>>,
    /// For destinations with TLS.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// Asks, and counts the bytes that come back.
pub(crate) struct Client {
    shared: Shared,
    place: Where,
    outstanding: usize,
    asker: Option<(Id<Holder>, u32)>,
    is_ready: bool,
}

impl Client {
    pub(crate) fn new(shared: &Shared, place: &Where) -> Client {
        shared.alive.set(shared.alive.get() + 1);
        *shared
            .alive_at
            .borrow_mut()
            .entry(place.clone())
            .or_default() += 1;
        Client {
            shared: shared.clone(),
            place: place.clone(),
            outstanding: 0,
            asker: None,
            is_ready: !shared.greeting.get(),
        }
    }

    /// One byte, for which one comes back.
    pub(crate) fn ask(
        &mut self,
        cx: &mut Context<'_>,
        asker: Option<(Id<Holder>, u32)>,
    ) -> io::Result<()> {
        self.outstanding += 1;
        self.asker = asker;
        cx.send(b"?")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.alive.set(self.shared.alive.get() - 1);
        *self
            .shared
            .alive_at
            .borrow_mut()
            .get_mut(&self.place)
            .expect("counted") -= 1;
    }
}

impl Dispatcher for Client {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut bytes = [0; 64];
        let received = cx.recv(&mut bytes)?;
        if !self.is_ready {
            self.is_ready = received > 0;
            return Ok(());
        }
        self.outstanding = self.outstanding.saturating_sub(received);
        if let Some((asker, tag)) = self.asker.take() {
            let _ = cx.call(asker, |asker, cx| asker.answered(cx, tag));
        }
        Ok(())
    }

    fn handle_handshake(&mut self, _: &mut Context<'_>) -> io::Result<()> {
        self.shared.notes.borrow_mut().push("handshake".to_owned());
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        self.shared
            .notes
            .borrow_mut()
            .push(format!("error {:?}", error.kind()));
        cx.close();
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        let cause = cx.end_cause().expect("it has ended");
        self.shared
            .notes
            .borrow_mut()
            .push(format!("close {cause:?}"));
    }
}

impl Reusable for Client {
    fn is_reusable(&mut self, _: &mut Context<'_>) -> bool {
        assert!(!self.shared.panics.get(), "on purpose");
        self.outstanding == 0
    }

    fn is_ready(&mut self) -> bool {
        self.is_ready
    }
}

/// A pool of clients.
pub(crate) fn pool_of(
    reactor: &mut Reactor,
    options: &PoolOptions,
    shared: &Shared,
) -> Id<TestPool> {
    let pool = new_pool(options, shared);
    reactor.add_service(pool).expect("room")
}

pub(crate) fn new_pool(options: &PoolOptions, shared: &Shared) -> TestPool {
    let shared = shared.clone();
    let connect = move |cx: &mut Context<'_>, place: &Where, seat: Seat<Where, Client>| {
        let client = seat.hold(Client::new(&shared, place));
        match place {
            Where::Tcp(address) => cx.connect(*address, client),
            Where::Unix(path) => cx.connect_unix(path, client),
            Where::Tls(address) => {
                let config = shared.tls.clone().expect("a configuration");
                let layer = Connector::new(config).session("localhost")?;
                cx.add(Socket::dial(*address)?.layered(layer), client)
            }
        }
    };
    Pool::new(options, connect).expect("good limits")
}

/// Keeps its leases by their tags, and what else it was told.
#[derive(Default)]
pub(crate) struct Holder {
    pub(crate) leases: BTreeMap<u32, TestLease>,
    pub(crate) refusals: Vec<(u32, Refused)>,
    /// The tags of all leases that it got, in order.
    pub(crate) order: Vec<u32>,
    /// Asks at once when it gets a lease, and releases it when the answer comes.
    pub(crate) is_busy: bool,
    pub(crate) answers: usize,
}

impl Holder {
    fn told(&mut self, cx: &mut Context<'_>, tag: u32, outcome: Result<TestLease, Refused>) {
        match outcome {
            Ok(lease) => {
                self.order.push(tag);
                if self.is_busy {
                    let me = cx.id::<Holder>();
                    let asked = lease.with(cx, |client, cx| client.ask(cx, Some((me, tag))));
                    asked.expect("it is there").expect("room");
                }
                self.leases.insert(tag, lease);
            }
            Err(refused) => self.refusals.push((tag, refused)),
        }
    }

    fn answered(&mut self, cx: &mut Context<'_>, tag: u32) -> io::Result<()> {
        self.answers += 1;
        if let Some(lease) = self.leases.remove(&tag) {
            lease.release(cx);
        }
        Ok(())
    }
}

impl Dispatcher for Holder {}

pub(crate) fn holder(reactor: &mut Reactor) -> Id<Holder> {
    reactor.add_service(Holder::default()).expect("room")
}

/// Has a holder ask for a connection; its ticket, if it has to wait.
pub(crate) fn ask(
    reactor: &mut Reactor,
    pool: Id<TestPool>,
    holder: Id<Holder>,
    place: &Where,
    tag: u32,
) -> Option<Ticket> {
    let asked = reactor.with(holder, |this, cx| {
        let acquired = Pool::acquire(
            cx,
            pool,
            place,
            holder,
            move |this: &mut Holder, cx, outcome| {
                this.told(cx, tag, outcome);
                Ok(())
            },
        );
        match acquired {
            Acquired::Now(outcome) => {
                this.told(cx, tag, outcome);
                None
            }
            Acquired::Later(ticket) => Some(ticket),
        }
    });
    asked.expect("the holder is there")
}

/// As `ask`, and turns until it is there.
pub(crate) fn get(
    reactor: &mut Reactor,
    pool: Id<TestPool>,
    holder: Id<Holder>,
    place: &Where,
    tag: u32,
) -> Id<Client> {
    ask(reactor, pool, holder, place, tag);
    turn_until(reactor, "a lease", |reactor| has(reactor, holder, tag));
    let id = reactor.with(holder, |this, _| this.leases[&tag].id());
    id.expect("there")
}

pub(crate) fn has(reactor: &mut Reactor, holder: Id<Holder>, tag: u32) -> bool {
    reactor
        .with(holder, |this, _| this.leases.contains_key(&tag))
        .unwrap_or(false)
}

pub(crate) fn take(reactor: &mut Reactor, holder: Id<Holder>, tag: u32) -> TestLease {
    let lease = reactor.with(holder, |this, _| this.leases.remove(&tag));
    lease.flatten().expect("it has this lease")
}

pub(crate) fn release(reactor: &mut Reactor, holder: Id<Holder>, tag: u32) {
    let lease = take(reactor, holder, tag);
    lease.release(&mut reactor.at(holder).expect("there"));
}

/// What a holder was refused, by its text.
pub(crate) fn refusals(reactor: &mut Reactor, holder: Id<Holder>) -> Vec<(u32, String)> {
    let refusals = reactor.with(holder, |this, _| {
        let texts = this
            .refusals
            .iter()
            .map(|(tag, refused)| (*tag, refused.to_string()));
        texts.collect()
    });
    refusals.expect("there")
}

pub(crate) fn gauges(reactor: &mut Reactor, pool: Id<TestPool>) -> PoolGauges {
    let mut cx = reactor.at(pool).expect("the pool is there");
    Pool::gauges(&mut cx, pool).expect("it is not running")
}

/// A turn, and that the books agree with what there is.
pub(crate) fn checked_turn(
    reactor: &mut Reactor,
    pool: Id<TestPool>,
    shared: &Shared,
    limit: usize,
) {
    turn(reactor);
    shared.most.set(shared.most.get().max(shared.alive.get()));
    let gauges = gauges(reactor, pool);
    let in_books = gauges.open + gauges.connecting + gauges.closing;
    assert_eq!(in_books, shared.alive.get(), "{gauges:?}");
    assert!(
        shared.most.get() <= limit,
        "{} connections at one time",
        shared.most.get()
    );
}
