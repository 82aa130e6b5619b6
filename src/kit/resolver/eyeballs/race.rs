//! The attempts of one connection, beside each other, until the first is established.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::super::waiters::next_number;
use super::super::{Lookup, Outcome, Resolve};
use super::error::{ConnectError, Reason, Target};
use crate::{AnyId, Context, Dispatcher, Id, Reactor, Socket, SocketOptions, TimerId};

/// Tags of the two timers.
const NEXT_ATTEMPT: u32 = 1;
const DEADLINE: u32 = 2;

/// Adds the dispatcher with its socket, or drops it; and calls the owner.
pub(super) type Finish = Box<dyn FnOnce(&mut Reactor, Result<Socket, ConnectError>)>;

/// Cancels the lookup.
type Cancel = Box<dyn FnOnce(&mut Context<'_>)>;

/// All attempts of one connection: a service.
pub(super) struct Race {
    /// No other race of the program has it, of whatever reactor.
    pub(super) number: u64,
    target: Target,
    options: SocketOptions,
    stagger: Duration,
    limit: Duration,
    /// Until there is an outcome.
    finish: Option<Finish>,
    cancel_lookup: Option<Cancel>,
    /// One for each address, in the order in which they are tried.
    attempts: Vec<(SocketAddr, Tried)>,
    begun: usize,
    /// When the next is to begin beside those that run.
    next: Option<TimerId>,
}

/// How an attempt stands.
#[derive(Debug)]
pub(super) enum Tried {
    Not,
    Running(AnyId),
    Failed(io::Error),
}

impl Race {
    pub(super) fn new(
        target: Target,
        options: SocketOptions,
        stagger: Duration,
        limit: Duration,
    ) -> Race {
        Race {
            number: next_number(),
            target,
            options,
            stagger,
            limit,
            finish: None,
            cancel_lookup: None,
            attempts: Vec::new(),
            begun: 0,
            next: None,
        }
    }

    /// Looks up the name; all else follows.
    pub(super) fn begin(
        &mut self,
        cx: &mut Context<'_>,
        resolver: impl Resolve + 'static,
        finish: Finish,
    ) {
        self.finish = Some(finish);
        if self.limit < Duration::MAX {
            cx.set_tagged_timer(self.limit, DEADLINE);
        }
        let me: Id<Race> = cx.id();
        // The deadline here is one for all.
        let lookup: Lookup =
            resolver.lookup_within(cx, me, &self.target.name, Duration::MAX, Race::found);
        self.cancel_lookup = Some(Box::new(move |cx| {
            resolver.cancel(cx, lookup);
        }));
    }

    /// Drops what was to follow, and closes. False if there is an outcome already.
    pub(super) fn cancel(&mut self, cx: &mut Context<'_>) -> bool {
        cx.close();
        self.finish.take().is_some()
    }

    fn found(&mut self, cx: &mut Context<'_>, outcome: Outcome) -> io::Result<()> {
        self.cancel_lookup = None;
        match outcome {
            Ok(addresses) => {
                let port = self.target.port;
                let in_turns = in_turns(&addresses).into_iter();
                let attempts = in_turns.map(|address| ((address, port).into(), Tried::Not));
                self.attempts = attempts.collect();
                self.try_next(cx);
            }
            Err(error) => self.fail(cx, Reason::Lookup(error)),
        }
        Ok(())
    }

    /// Begins the next attempt, or finds that there is nothing left to wait for.
    fn try_next(&mut self, cx: &mut Context<'_>) {
        if let Some(timer) = self.next.take() {
            cx.cancel_timer(timer);
        }
        let me: Id<Race> = cx.id();
        while let Some((address, tried)) = self.attempts.get_mut(self.begun) {
            let place = self.begun;
            self.begun += 1;
            match cx.connect_with(*address, &self.options, Attempt { race: me, place }) {
                Ok(id) => {
                    *tried = Tried::Running(id.any());
                    if self.begun < self.attempts.len() {
                        self.next = Some(cx.set_tagged_timer(self.stagger, NEXT_ATTEMPT));
                    }
                    return;
                }
                Err(error) => *tried = Tried::Failed(error),
            }
        }
        let mut attempts = self.attempts.iter();
        if attempts.all(|(_, tried)| matches!(tried, Tried::Failed(_))) {
            let attempts = self.close_attempts(cx, None);
            self.fail(cx, Reason::Attempts(attempts, None));
        }
    }

    fn lost(&mut self, cx: &mut Context<'_>, place: usize, error: io::Error) {
        match self.attempts.get_mut(place) {
            Some((_, tried)) if matches!(tried, Tried::Running(_)) => *tried = Tried::Failed(error),
            _ => return,
        }
        self.try_next(cx);
    }

    /// The connection is handed over outside of all callbacks: it cannot leave its dispatcher while that runs.
    fn won(&mut self, cx: &mut Context<'_>, winner: AnyId) {
        let me: Id<Race> = cx.id();
        self.close_attempts(cx, Some(winner));
        cx.defer(move |reactor| {
            let taken = reactor.with(me, |race, cx| {
                cx.close();
                let finish = race.finish.take()?;
                Some((finish, race.target.clone()))
            });
            let Some((finish, target)) = taken.flatten() else {
                // It was cancelled meanwhile.
                if let Some(mut winner) = reactor.at(winner) {
                    winner.abort();
                }
                return;
            };
            let socket = hand_over(reactor, winner)
                .map_err(|error| ConnectError::new(target, Reason::NotAdded(error)));
            finish(reactor, socket);
        });
    }

    fn fail(&mut self, cx: &mut Context<'_>, reason: Reason) {
        cx.close();
        if let Some(finish) = self.finish.take() {
            let error = ConnectError::new(self.target.clone(), reason);
            cx.defer(move |reactor| finish(reactor, Err(error)));
        }
    }

    /// Ends all attempts but the winner's. How each stood.
    fn close_attempts(
        &mut self,
        cx: &mut Context<'_>,
        winner: Option<AnyId>,
    ) -> Vec<(SocketAddr, Tried)> {
        if let Some(timer) = self.next.take() {
            cx.cancel_timer(timer);
        }
        let attempts = std::mem::take(&mut self.attempts);
        for (_, tried) in &attempts {
            match tried {
                Tried::Running(id) if Some(*id) != winner => {
                    if let Some(mut attempt) = cx.at(*id) {
                        attempt.abort();
                    }
                }
                _ => {}
            }
        }
        attempts
    }
}

/// The connection as one that is about to be established, so that `handle_connect` is called.
fn hand_over(reactor: &mut Reactor, winner: AnyId) -> io::Result<Socket> {
    let stream = TcpStream::try_from(reactor.detach(winner)?)?;
    Ok(Socket::connecting(OwnedFd::from(stream)))
}

impl Dispatcher for Race {
    fn handle_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) -> io::Result<()> {
        if timer.tag() == NEXT_ATTEMPT {
            self.next = None;
            self.try_next(cx);
            return Ok(());
        }
        let attempts = self.close_attempts(cx, None);
        self.fail(cx, Reason::Attempts(attempts, Some(self.limit)));
        Ok(())
    }

    /// Nothing can be added any more, so no attempt can be of use.
    fn handle_shutdown(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.fail(cx, Reason::Closed);
        Ok(())
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        self.close_attempts(cx, None);
        if let Some(cancel) = self.cancel_lookup.take() {
            cancel(cx);
        }
        // Closed from outside: with everything, for one.
        if let Some(finish) = self.finish.take() {
            let error = ConnectError::new(self.target.clone(), Reason::Closed);
            cx.defer(move |reactor| finish(reactor, Err(error)));
        }
    }
}

/// One connection that is being tried.
#[derive(Debug)]
struct Attempt {
    race: Id<Race>,
    place: usize,
}

impl Attempt {
    fn lost(&self, cx: &mut Context<'_>, error: io::Error) {
        cx.with(self.race, |race, cx| race.lost(cx, self.place, error));
    }
}

impl Dispatcher for Attempt {
    fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        // The first bytes of the server are for the dispatcher that is added later.
        cx.pause_reading();
        let me = cx.any_id();
        if cx.with(self.race, |race, cx| race.won(cx, me)).is_none() {
            cx.abort();
        }
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        self.lost(cx, error);
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        // Known already, as a rule.
        self.lost(cx, io::Error::other("it was closed"));
    }
}

/// The families by turns, beginning with the first address's; within each the order stays.
fn in_turns(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let first_is_v4 = addresses.first().is_some_and(IpAddr::is_ipv4);
    let of = |v4: bool| {
        addresses
            .iter()
            .filter(move |address| address.is_ipv4() == v4)
    };
    let (mut these, mut those) = (of(first_is_v4), of(!first_is_v4));
    let mut all = Vec::with_capacity(addresses.len());
    while all.len() < addresses.len() {
        all.extend(these.next());
        all.extend(those.next());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_families_take_turns_and_the_first_addresss_begins() {
        let turns = |texts: &[&str]| {
            let addresses: Vec<IpAddr> = texts.iter().map(|text| text.parse().unwrap()).collect();
            let turns = in_turns(&addresses).into_iter();
            turns.map(|address| address.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            turns(&["::1", "::2", "::3", "192.0.2.1"]),
            ["::1", "192.0.2.1", "::2", "::3"]
        );
        assert_eq!(
            turns(&["192.0.2.1", "192.0.2.2", "::1", "::2"]),
            ["192.0.2.1", "::1", "192.0.2.2", "::2"]
        );
        assert!(turns(&[]).is_empty());
    }
}
