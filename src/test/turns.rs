//! Running a reactor a turn at a time: until a turn finds nothing to do, until a condition holds, or for a span of
//! simulated time. What bounds them is a number of turns, which is the same on every machine.

use std::time::Duration;

use crate::reactor::Reactor;
use crate::time::clock::Clock;

/// Runs turns that do not wait until nothing is left to do: no event, no work carried over, no closure that was
/// posted, no timer that is due. At least one. Returns how many it took.
///
/// Timers that are due later, and dispatchers that do not read, are quiet. So are other threads and real sockets
/// that have nothing *yet*: for them wait with [`Reactor::turn`] and a deadline.
///
/// # Panics
///
/// If the reactor is not quiet after `limit` turns, if the wait fails, and from inside a turn.
#[track_caller]
pub fn run_until_quiet(reactor: &mut Reactor, limit: usize) -> usize {
    for turns in 1..=limit {
        if turn(reactor) {
            return turns;
        }
    }
    panic!("still not quiet after {limit} turns: {reactor:?}");
}

/// Runs turns that do not wait until `done` says so, which is asked before each. Returns how many it took.
///
/// # Panics
///
/// If it has not come after `limit` turns, or cannot come any more, because nothing is left to do (as for
/// [`run_until_quiet`]); if the wait fails, and from inside a turn.
///
/// ```
/// use slabloop::test::{connection, run_until};
/// # use slabloop::{Context, Dispatcher, Reactor};
/// # struct Reader;
/// # impl Dispatcher for Reader {
/// #     fn handle_read(&mut self, cx: &mut Context<'_>) -> std::io::Result<()> {
/// #         cx.recv_with(|_, _| Ok(()))
/// #     }
/// # }
/// # fn main() -> std::io::Result<()> {
/// # let mut reactor = Reactor::new()?;
/// let (peer, socket) = connection();
/// reactor.add(socket, Reader)?;
/// peer.send_in_pieces("one byte a turn", 1);
///
/// let turns = run_until(&mut reactor, 100, |_| peer.unread() == 0);
/// assert_eq!(turns, 15);
/// # Ok(()) }
/// ```
#[track_caller]
pub fn run_until(
    reactor: &mut Reactor,
    limit: usize,
    mut done: impl FnMut(&mut Reactor) -> bool,
) -> usize {
    let mut quiet = false;
    for turns in 0..limit {
        if done(reactor) {
            return turns;
        }
        assert!(
            !quiet,
            "nothing is left to do after {turns} turns, and what is waited for has not come: {reactor:?}"
        );
        quiet = turn(reactor);
    }
    assert!(
        done(reactor),
        "what is waited for has not come in {limit} turns: {reactor:?}"
    );
    limit
}

/// Lets so much simulated time pass, as it would pass in a program: from one timer to the next, each firing at its
/// time, and [until it is quiet](run_until_quiet) before each step. Returns how many turns it took.
///
/// ([`Clock::advance`](crate::test::Clock::advance) alone moves the clock in one leap, as if the machine had been
/// asleep: a repeated timer fires once.)
///
/// ```
/// use std::cell::Cell;
/// use std::rc::Rc;
/// use std::time::Duration;
///
/// use slabloop::Reactor;
/// use slabloop::test::{Clock, run_for};
///
/// # fn main() -> std::io::Result<()> {
/// let mut reactor = Reactor::builder().clock(Clock::new()).build()?;
/// let ticks = Rc::new(Cell::new(0));
/// let counted = ticks.clone();
/// reactor.call_every(Duration::from_secs(1), move |_| counted.set(counted.get() + 1));
///
/// run_for(&mut reactor, Duration::from_secs(3600), 10_000);
/// assert_eq!(ticks.get(), 3600);
/// # Ok(()) }
/// ```
///
/// # Panics
///
/// If the reactor was not built on a [`Clock`](crate::test::Clock) of the test's, if it takes more than `limit`
/// turns, and as [`run_until_quiet`].
#[track_caller]
pub fn run_for(reactor: &mut Reactor, span: Duration, limit: usize) -> usize {
    let Clock::Simulated(clock) = &reactor.state().clock else {
        panic!("run_for moves the clock, and this reactor was built on the system's");
    };
    let clock = clock.clone();
    let end = clock.now().saturating_add(span);
    let mut turns = 0;
    loop {
        assert!(
            turns < limit,
            "{:?} are left after {limit} turns: {reactor:?}",
            end.saturating_sub(clock.now())
        );
        turns += run_until_quiet(reactor, limit - turns);
        let left = end.saturating_sub(clock.now());
        if left.is_zero() {
            return turns;
        }
        let next = reactor.until_next_timer().unwrap_or(left);
        clock.advance(next.min(left));
    }
}

/// One turn that does not wait; whether there was nothing to do, and nothing is left.
#[track_caller]
fn turn(reactor: &mut Reactor) -> bool {
    let before = reactor.counters().events;
    let outcome = reactor.turn(Duration::ZERO);
    outcome.expect("the wait does not fail");
    reactor.counters().events == before && reactor.is_quiet()
}
