//! A hook that is called periodically with the figures.

use std::time::Duration;

use super::snapshot::Snapshot;
use crate::reactor::Reactor;
use crate::time::timer_id::TimerId;

/// Calls `hook` with the reactor and a new [`Snapshot`] every `period`, from inside the loop: to send figures to a
/// server, to write a log line, to shed load. The first call follows after one `period`.
///
/// The hook is a timer's closure, as with [`call_every`](Reactor::call_every), and must not block.
/// [`cancel_timer`](Reactor::cancel_timer) ends it. It does not keep [`run`](Reactor::run) from returning. Because of
/// this timer, [`Snapshot::timer_lag`] has values also in a program that sets no timer.
///
/// ```
/// use slabloop::Reactor;
/// use slabloop::metrics;
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// let mut reactor = Reactor::new()?;
/// let mut before = reactor.metrics();
/// metrics::every(&mut reactor, Duration::from_secs(10), move |_, now| {
///     let lag = now.timer_lag.since(&before.timer_lag);
///     if lag.quantile(0.99) > Duration::from_millis(100) {
///         eprintln!("the loop does not keep up: timers are up to {:?} late", lag.max());
///     }
///     before = now.clone();
/// });
/// # Ok(()) }
/// ```
pub fn every(
    reactor: &mut Reactor,
    period: Duration,
    mut hook: impl FnMut(&mut Reactor, &Snapshot) + 'static,
) -> TimerId {
    let timer = reactor.call_every(period, move |reactor| {
        let snapshot = reactor.metrics();
        hook(reactor, &snapshot);
    });
    reactor.unref_timer(timer);
    timer
}
