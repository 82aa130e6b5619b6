//! Those who ask for connections, and do with their leases whatever the API allows.

use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use slabloop::kit::pool::{Acquired, Lease, Pool, Refused, Ticket};
use slabloop::{Context, Dispatcher};

use super::connection::Connection;
use super::world::{Ask, Outcome, PLACES, World};

type Got = Result<Lease<usize, Connection>, Refused>;

pub(crate) struct Holder {
    world: Rc<World>,
    pub(crate) number: usize,
    pub(crate) leases: BTreeMap<usize, Lease<usize, Connection>>,
    tickets: BTreeMap<usize, Ticket>,
}

impl Holder {
    pub(crate) fn new(world: &Rc<World>) -> Holder {
        let number = world.next_holder.get();
        world.next_holder.set(number + 1);
        Holder {
            world: Rc::clone(world),
            number,
            leases: BTreeMap::new(),
            tickets: BTreeMap::new(),
        }
    }

    /// Asks for a connection, within a limit that is drawn.
    pub(crate) fn ask(&mut self, cx: &mut Context<'_>) {
        let world = Rc::clone(&self.world);
        let Some(pool) = world.pool.get() else {
            return;
        };
        let (place, now, me) = (world.below(PLACES), world.now(), cx.id::<Holder>());
        let own = match world.below(10) {
            0 => Some(None),
            1 => Some(Some(Duration::ZERO)),
            2 | 3 => Some(Some(Duration::from_millis(world.below(4_000) as u64))),
            _ => None,
        };
        let limit = own.unwrap_or(Some(world.limits.wait));
        let ask = world.asks.borrow().len();
        world.asks.borrow_mut().push(Ask {
            place,
            holder: self.number,
            began: now,
            deadline: limit.map(|limit| now + limit),
            has_waited: false,
            outcome: Outcome::Pending,
            conn: None,
        });
        world.count("asks");
        let guard = Rc::clone(&world.closures);
        let deliver = move |this: &mut Holder, cx: &mut Context<'_>, got: Got| {
            drop(guard);
            this.told(cx, ask, got, false);
            Ok(())
        };
        let acquired = match own {
            Some(limit) => Pool::acquire_within(cx, pool, &place, me, limit, deliver),
            None => Pool::acquire(cx, pool, &place, me, deliver),
        };
        match acquired {
            Acquired::Now(got) => self.told(cx, ask, got, true),
            Acquired::Later(ticket) => {
                world.asks.borrow_mut()[ask].has_waited = true;
                self.tickets.insert(ask, ticket);
            }
        }
    }

    pub(crate) fn below(&self, bound: usize) -> usize {
        self.world.below(bound)
    }

    fn told(&mut self, cx: &mut Context<'_>, ask: usize, got: Got, at_once: bool) {
        let world = Rc::clone(&self.world);
        self.tickets.remove(&ask);
        let lease = match got {
            Ok(lease) => lease,
            Err(refused) => {
                world.told(ask, Outcome::Refused(refused.reason()));
                if world.below(4) == 0 && !world.is_ending.get() && !at_once {
                    self.ask(cx);
                }
                return;
            }
        };
        world.told(ask, Outcome::Leased);
        let number = lease.with(cx, |connection, _| connection.number);
        let Ok(number) = number else {
            // It has ended since it was lent: the holder is told by the lease.
            assert!(!at_once, "ask {ask} gets at once what has ended");
            world.count("leases of what has ended");
            return lease.release(cx);
        };
        world.lent(ask, number, at_once);
        self.leases.insert(ask, lease);
        if !world.is_ending.get() {
            self.act(cx, ask);
        }
    }

    /// Does something with a lease.
    pub(crate) fn act(&mut self, cx: &mut Context<'_>, ask: usize) {
        let world = Rc::clone(&self.world);
        match world.below(24) {
            0..8 => self.question(cx, ask),
            8..12 => self.give_back(cx, ask, How::Release),
            12 | 13 => self.give_back(cx, ask, How::Drop),
            14 => self.give_back(cx, ask, How::Discard),
            15 if world.below(4) == 0 => self.give_back(cx, ask, How::Take),
            16 => {
                // An answer is outstanding.
                self.question(cx, ask);
                self.give_back(cx, ask, How::Release);
            }
            17 => self.ask(cx),
            18 => {
                if let Some(mut connection) = self.leases[&ask].at(cx) {
                    connection.close();
                }
            }
            19 if world.below(8) == 0 => cx.close(),
            _ => {}
        }
    }

    fn question(&mut self, cx: &mut Context<'_>, ask: usize) {
        let me = cx.id::<Holder>();
        if let Some(lease) = self.leases.get(&ask) {
            // It may have ended, and what it says of that is the pool's to know.
            let _ = lease.with(cx, |connection, cx| connection.ask(cx, ask, me));
        }
    }

    pub(crate) fn give_back(&mut self, cx: &mut Context<'_>, ask: usize, how: How) {
        let Some(lease) = self.leases.remove(&ask) else {
            return;
        };
        let world = Rc::clone(&self.world);
        world.gives_back(ask);
        match how {
            How::Release => lease.release(cx),
            How::Drop => {
                world.returning.set(world.returning.get() + 1);
                drop(lease);
            }
            How::Discard => lease.discard(cx),
            How::Take => {
                let conn = world.asks.borrow()[ask].conn.expect("it is leased");
                let is_taken = |is| world.conns.borrow_mut()[conn].is_taken = is;
                // Before: its place is free inside the call.
                is_taken(true);
                match lease.take(cx) {
                    Ok(_) => world.count("taken"),
                    Err(_) => is_taken(false),
                }
            }
        }
    }

    pub(crate) fn answered(&mut self, cx: &mut Context<'_>, ask: usize) -> io::Result<()> {
        if self.leases.contains_key(&ask) {
            if self.world.below(3) > 0 || self.world.is_ending.get() {
                self.give_back(cx, ask, How::Release);
            } else {
                self.question(cx, ask);
            }
        }
        Ok(())
    }

    /// Gives up one of the asks that wait.
    pub(crate) fn cancel(&mut self, cx: &mut Context<'_>) {
        let world = Rc::clone(&self.world);
        let Some(pool) = world.pool.get() else {
            return;
        };
        let place = world.below(self.tickets.len().max(1));
        let Some((&ask, &ticket)) = self.tickets.iter().nth(place) else {
            return;
        };
        if Pool::cancel(cx, pool, ticket) {
            self.tickets.remove(&ask);
            world.told(ask, Outcome::Cancelled);
            world.count("cancelled");
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    Release,
    Drop,
    Discard,
    Take,
}

impl Dispatcher for Holder {}

impl Drop for Holder {
    fn drop(&mut self) {
        let world = &self.world;
        world
            .returning
            .set(world.returning.get() + self.leases.len());
        for ask in self.leases.keys() {
            world.gives_back(*ask);
        }
        let number = self.number;
        world
            .holders
            .borrow_mut()
            .retain(|(other, _)| *other != number);
    }
}
