//! From flights to servers and back: which question is sent next, and what its answer means for the waiting lookups.

use std::net::IpAddr;
use std::rc::Rc;

use super::super::attempt::{End, Ticket};
use super::super::cache::Finding;
use super::super::flight::{Flight, Found, KINDS, Next, Side, Way};
use super::super::serving::{Serving, tag};
use super::super::wire::Query;
use super::super::{Addresses, Origin, order, tcp, udp};
use super::{OF_FLIGHT, Service};
use crate::Context;

impl Service {
    /// Not inside itself: one that fails at once makes room for the next, and a long queue would be a deep stack.
    pub(super) fn start_queued(&mut self, cx: &mut Context<'_>) {
        if std::mem::replace(&mut self.is_starting, true) {
            return;
        }
        while self.in_flight < self.config.max_in_flight {
            let Some(key) = self.queue.pop_front() else {
                break;
            };
            self.in_flight += 1;
            self.flights[key].is_started = true;
            for side in 0..KINDS.len() {
                self.ask(cx, key, side);
            }
        }
        self.is_starting = false;
    }

    /// Sends a side's question, to as many servers as it takes until one can be sent to.
    fn ask(&mut self, cx: &mut Context<'_>, key: usize, side: usize) {
        loop {
            let config = Rc::clone(&self.config);
            let Some(flight) = self.flights.get_mut(key) else {
                return;
            };
            let Some(question) = flight.question(side) else {
                return;
            };
            self.serial += 1;
            let ticket = Ticket {
                flight: key,
                side,
                serial: self.serial,
            };
            let place = question.server(&config);
            let known = self.servers[place];
            let (server, way) = (config.servers[place], question.way);
            let edns = !(question.plain || known.no_edns);
            let strict = config.mixed_case && !known.no_case && way != Way::UdpAnyCase;
            let query = Query::new(
                &question.target,
                KINDS[side],
                edns,
                strict,
                &mut self.random,
            );
            let whom = (cx.id(), ticket);
            let sent = match way {
                Way::Udp | Way::UdpAnyCase => {
                    self.stats.udp_queries += 1;
                    udp::ask(cx, server, query, strict, config.timeout, whom)
                }
                Way::Tcp | Way::TcpForCase => {
                    self.stats.tcp_queries += 1;
                    tcp::ask(cx, server, query, config.timeout, whom)
                }
            };
            match sent {
                Ok(id) => {
                    question.attempt = Some((ticket, id));
                    return;
                }
                Err(error) => {
                    let name = flight.name.clone();
                    if let Some(question) = flight.question(side) {
                        let next = question.ended(&name, End::Failed(error), &config, cx.now());
                        if !self.go_on(cx, key, side, next) {
                            return;
                        }
                    }
                }
            }
        }
    }

    /// An attempt has ended. One that is not awaited any more changes nothing.
    pub(in super::super) fn attempt_ended(
        &mut self,
        cx: &mut Context<'_>,
        ticket: Ticket,
        end: End,
    ) {
        let Ticket {
            flight: key, side, ..
        } = ticket;
        let config = Rc::clone(&self.config);
        let Some(flight) = self.flights.get_mut(key) else {
            return;
        };
        let name = flight.name.clone();
        let Some(question) = flight.question(side) else {
            return;
        };
        if question
            .attempt
            .is_none_or(|(awaited, _)| awaited != ticket)
        {
            return;
        }
        if matches!(end, End::TimedOut) {
            self.stats.timeouts += 1;
        }
        let place = question.server(&config);
        if let End::Answer {
            keeps_case: false, ..
        } = end
        {
            // Over TCP, or where the server has no TCP: this is not an attacker's guess.
            self.servers[place].no_case = true;
        }
        let was_plain = question.plain;
        let next = question.ended(&name, end, &config, cx.now());
        if question.plain && !was_plain {
            self.servers[place].no_edns = true;
        }
        if self.go_on(cx, key, side, next) {
            self.ask(cx, key, side);
        }
    }

    /// What follows for a side. True if its question is to be sent.
    fn go_on(&mut self, cx: &mut Context<'_>, key: usize, side: usize, next: Next) -> bool {
        let Next::Done(found) = next else {
            return true;
        };
        let has_addresses = matches!(found, Found::Addresses(..));
        let Some(flight) = self.flights.get_mut(key) else {
            return false;
        };
        flight.sides[side] = Side::Done(found, cx.now());
        if flight.is_done() {
            self.land(cx, key);
        } else if has_addresses {
            let delay = self.config.resolution_delay;
            flight.grace = Some(cx.set_tagged_timer(delay, OF_FLIGHT | tag(key)));
        }
        false
    }

    /// The other family takes too long: what there is is given out.
    pub(super) fn grace_is_over(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(flight) = self.flights.get_mut(key) else {
            return;
        };
        flight.grace = None;
        let mut addresses = flight.addresses();
        order::sort(&mut addresses);
        let list: Rc<[IpAddr]> = addresses.into();
        flight.partial = Some(Rc::clone(&list));
        for waiter in std::mem::take(&mut flight.waiters) {
            let addresses = Addresses::new(Rc::clone(&list), Origin::Asked, None);
            self.settle(cx, waiter, Ok(addresses));
        }
    }

    /// Both families are known: the answer is cached, and delivered to all waiting lookups.
    fn land(&mut self, cx: &mut Context<'_>, key: usize) {
        let Some(flight) = self.end_flight(cx, key) else {
            return;
        };
        let mut addresses = flight.addresses();
        let finding: Finding = if addresses.is_empty() {
            Err(flight.failure())
        } else {
            order::sort(&mut addresses);
            Ok(addresses.into())
        };
        let until = flight.keep(&self.config, cx.now());
        if let Some(until) = until {
            self.cache
                .insert(Rc::clone(&flight.key), finding.clone(), until);
        }
        for waiter in flight.waiters {
            match &finding {
                Ok(list) => {
                    let addresses = Addresses::new(Rc::clone(list), Origin::Asked, until);
                    self.settle(cx, waiter, Ok(addresses));
                }
                Err(error) => self.advance(cx, waiter, Some(error)),
            }
        }
        self.start_queued(cx);
    }

    /// Takes a flight out, and closes what it has open.
    pub(super) fn end_flight(&mut self, cx: &mut Context<'_>, key: usize) -> Option<Flight> {
        let mut flight = self.flights.try_remove(key)?;
        self.by_name.remove(&flight.key);
        if flight.is_started {
            self.in_flight -= 1;
        } else {
            self.queue.retain(|other| *other != key);
        }
        if let Some(timer) = flight.grace.take() {
            cx.cancel_timer(timer);
        }
        for side in 0..KINDS.len() {
            let attempt = flight.question(side).and_then(|question| question.attempt);
            if let Some(mut attempt) = attempt.and_then(|(_, id)| cx.at(id)) {
                attempt.abort();
            }
        }
        Some(flight)
    }
}
