//! An observer that keeps the last records of what happened.

mod labels;
mod record;

use std::collections::VecDeque;
use std::time::Duration;

use crate::watch::ends::Cause;
use crate::watch::observer::{
    Added, CallbackBegin, CallbackEnd, Crossing, Event, Interest, Observer, Outcome, Refusal, Step,
    TurnEnd,
};
use crate::world::ids::AnyId;

pub use self::labels::{Label, Labels};
pub use self::record::{Ended, Record, Shortage, What};

/// Keeps the last records of what is reported to an [`Observer`], in memory of a fixed size, and counts the records
/// that it had to discard.
///
/// Each record has a number, counted from 0, so that a reader can ask for the records
/// [since](Ring::since) its last reading, and detect a gap.
///
/// It also keeps the [names](Ring::labels) of dispatchers: of those that exist, and of those whose end is
/// still on record.
///
/// ```
/// use slabloop::Reactor;
/// use slabloop::observe::{Ring, What};
/// use std::time::Duration;
///
/// # fn main() -> std::io::Result<()> {
/// let mut reactor = Reactor::builder().observer(|| Ring::new(1_000)).build()?;
/// reactor.handle().post(|_| {}).expect("there is room");
/// reactor.turn(Duration::ZERO)?;
/// let ring = reactor.observer::<Ring>().expect("it was added");
/// for record in ring.iter() {
///     if let What::Callback { begin, took, .. } = record.what {
///         println!("{:?}: {} of {}, {took:?}", record.at, begin.callback, begin.id);
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Ring {
    records: VecDeque<Record>,
    capacity: usize,
    /// The number of the next record.
    next: u64,
    lost: u64,
    events: bool,
    flushes: bool,
    begun: Option<CallbackBegin>,
    labels: Labels,
}

impl Ring {
    /// Keeps the last `capacity` records, at least one. A record is about a hundred bytes; memory is taken as they
    /// come.
    #[must_use]
    pub fn new(capacity: usize) -> Ring {
        Ring {
            records: VecDeque::new(),
            capacity: capacity.max(1),
            next: 0,
            lost: 0,
            events: true,
            flushes: true,
            begun: None,
            labels: Labels::default(),
        }
    }

    /// Sets whether events, merged and dropped, are kept. There are as many of them as callbacks. Default: true.
    #[must_use]
    pub fn keep_events(mut self, keep: bool) -> Ring {
        self.events = keep;
        self
    }

    /// Sets whether flushes are kept. Default: true.
    #[must_use]
    pub fn keep_flushes(mut self, keep: bool) -> Ring {
        self.flushes = keep;
        self
    }

    /// The number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The number of records that were discarded for lack of room. Those that [`drain`](Ring::drain) returned do not
    /// count.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// The number that the next record will have.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.next
    }

    /// The number of the oldest record; [`next_number`](Ring::next_number) if there is none.
    #[must_use]
    pub fn first_number(&self) -> u64 {
        self.next - self.records.len() as u64
    }

    /// The records, from the oldest to the newest.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Record> + ExactSizeIterator {
        self.records.iter()
    }

    /// The records from that number on. If [`first_number`](Ring::first_number) is greater there is a gap.
    #[must_use]
    pub fn since(
        &self,
        number: u64,
    ) -> impl DoubleEndedIterator<Item = &Record> + ExactSizeIterator {
        let skipped = number.saturating_sub(self.first_number());
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        self.records.range(skipped.min(self.records.len())..)
    }

    /// The names of dispatchers.
    #[must_use]
    pub fn labels(&self) -> &Labels {
        &self.labels
    }

    /// The callback that is running, if any. From inside a callback it returns that callback.
    #[must_use]
    pub fn running(&self) -> Option<CallbackBegin> {
        self.begun
    }

    /// Passes all records to `each`, from the oldest to the newest, and keeps none. The name of a dispatcher is removed
    /// with the record of its end.
    pub fn drain(&mut self, mut each: impl FnMut(Record, &Labels)) {
        while let Some(record) = self.records.pop_front() {
            each(record, &self.labels);
            self.labels.forget(&record);
        }
    }

    fn keep(&mut self, at: Duration, what: What) {
        if self.records.len() == self.capacity {
            if let Some(oldest) = self.records.pop_front() {
                self.labels.forget(&oldest);
                self.lost += 1;
            }
        }
        self.next += 1;
        self.records.push_back(Record { at, what });
    }
}

impl Observer for Ring {
    fn turn_began(&mut self, at: Duration, turn: u64) {
        self.keep(at, What::TurnBegan(turn));
    }

    fn step_began(&mut self, at: Duration, step: Step) {
        self.keep(at, What::Step(step));
    }

    fn wait_ended(&mut self, at: Duration, events: usize) {
        self.keep(at, What::WaitEnded { events });
    }

    fn turn_ended(&mut self, at: Duration, end: &TurnEnd) {
        self.keep(at, What::TurnEnded(*end));
    }

    fn event_merged(&mut self, at: Duration, id: AnyId, event: Event) {
        if self.events {
            self.keep(at, What::Merged { id, event });
        }
    }

    fn event_dropped(&mut self, at: Duration, id: AnyId) {
        if self.events {
            self.keep(at, What::Dropped { id });
        }
    }

    fn callback_began(&mut self, _: Duration, begin: &CallbackBegin) {
        self.begun = Some(*begin);
    }

    fn callback_ended(&mut self, at: Duration, end: &CallbackEnd<'_>) {
        self.begun = None;
        let what = What::Callback {
            begin: end.begin,
            took: end.took,
            bytes_in: end.bytes_in,
            bytes_out: end.bytes_out,
            ended: match end.outcome {
                Outcome::Done => Ended::Done,
                Outcome::WouldBlock => Ended::WouldBlock,
                Outcome::Failed(error) => Ended::Failed(error.kind()),
                Outcome::Panicked => Ended::Panicked,
            },
        };
        self.keep(at, what);
    }

    fn added(&mut self, at: Duration, added: &Added<'_>) {
        self.labels.note(added);
        let &Added { id, by, kind, .. } = added;
        self.keep(at, What::Added { id, by, kind });
    }

    fn replaced(&mut self, at: Duration, replaced: &Added<'_>) {
        self.labels.note(replaced);
        self.keep(at, What::Replaced { id: replaced.id });
    }

    fn interest_changed(&mut self, at: Duration, id: AnyId, interest: Interest) {
        self.keep(at, What::Interest { id, interest });
    }

    fn mark_crossed(&mut self, at: Duration, id: AnyId, crossing: Crossing, queued: usize) {
        let what = What::Mark {
            id,
            crossing,
            queued,
        };
        self.keep(at, what);
    }

    fn held(&mut self, at: Duration, id: AnyId, sink: AnyId) {
        self.keep(at, What::Held { id, sink });
    }

    fn released(&mut self, at: Duration, id: AnyId) {
        self.keep(at, What::Released { id });
    }

    fn flushed(&mut self, at: Duration, id: AnyId, written: usize, queued: usize) {
        if self.flushes {
            let what = What::Flushed {
                id,
                written,
                queued,
            };
            self.keep(at, what);
        }
    }

    fn timer_fired(&mut self, at: Duration, id: AnyId, late: Duration) {
        self.keep(at, What::Timer { id, late });
    }

    fn accepting_paused(&mut self, at: Duration, id: AnyId, reason: Refusal<'_>) {
        let reason = match reason {
            Refusal::Limit => Shortage::Limit,
            Refusal::Shortage(error) => Shortage::Shortage(error.kind()),
            Refusal::Fault(error) => Shortage::Fault(error.kind()),
            Refusal::OverTotal => Shortage::OverTotal,
        };
        self.keep(at, What::AcceptingPaused { id, reason });
    }

    fn accepting_resumed(&mut self, at: Duration, id: AnyId) {
        self.keep(at, What::AcceptingResumed { id });
    }

    fn closed(&mut self, at: Duration, id: AnyId, cause: Cause) {
        self.keep(at, What::Closed { id, cause });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::observer::Kind;
    use crate::world::signals::Signals;

    const AT: Duration = Duration::from_millis(3);

    fn named<'a>(id: AnyId, type_name: &'a str, address: &'a &str) -> Added<'a> {
        Added {
            id,
            by: AnyId::NONE,
            type_name,
            kind: Kind::Stream,
            address,
        }
    }

    #[test]
    fn events_are_kept_unless_they_are_not_wanted() {
        let id = AnyId::new(7, 3);
        let event = Event::from(Signals::INPUT);
        for (keep, records) in [(true, 2), (false, 0)] {
            let mut ring = Ring::new(8).keep_events(keep);
            ring.event_merged(AT, id, event);
            ring.event_dropped(AT, id);
            let what: Vec<What> = ring.iter().map(|record| record.what).collect();
            let all = [What::Merged { id, event }, What::Dropped { id }];
            assert_eq!(what, all[..records]);
        }
    }

    #[test]
    fn a_dispatcher_has_the_name_of_its_latest_type_until_its_end_is_forgotten() {
        let id = AnyId::new(7, 3);
        let mut ring = Ring::new(2);
        assert!(ring.labels().is_empty());
        ring.added(AT, &named(id, "Greeting", &"10.0.0.1:7"));
        ring.replaced(AT, &named(id, "Session", &"10.0.0.1:7"));
        let last = ring.iter().last().map(|record| record.what);
        assert_eq!(last, Some(What::Replaced { id }));
        let label = ring.labels().get(id).expect("it has one");
        assert_eq!(
            (&*label.type_name, &*label.address),
            ("Session", "10.0.0.1:7")
        );
        assert!(!ring.labels().is_empty());
        assert_eq!(ring.labels().len(), 1);
        ring.closed(AT, id, Cause::Finished);
        ring.drain(|_, labels| assert!(labels.get(id).is_some()));
        assert!(ring.labels().is_empty());
    }
}
