//! The observers of the loop, and the one clock that they share: slow callbacks are found with the readings that are
//! reported to observers.
//!
//! There are two questions, and each is one look at a field. *Is it watched?* A callback is measured if there is a
//! threshold or an observer; the dispatch asks once a turn, a call once. *Is there an observer?* Then what happens in
//! between is reported. Without the feature `observer` the answer to the second is known when the crate is built, and
//! all that follows from it is left out.

#[cfg(feature = "observer")]
mod late;
#[cfg(feature = "observer")]
mod list;
#[cfg(feature = "observer")]
mod makers;
#[cfg(all(test, feature = "observer"))]
mod tests;

use std::fmt;
use std::time::Duration;

use crate::time::clock::Tick;
#[cfg(not(feature = "observer"))]
use crate::watch::callback::Callback;
use crate::watch::observer::{CallbackBegin, Observer, Step};
#[cfg(not(feature = "observer"))]
use crate::watch::observer::{CallbackEnd, TurnEnd};
use crate::watch::reports::Reports;
use crate::world::ids::AnyId;
use crate::world::signals::Signals;

#[cfg(feature = "observer")]
use self::late::Late;
#[cfg(feature = "observer")]
use self::list::List;
#[cfg(feature = "observer")]
pub(crate) use self::makers::Makers;

/// What is known of the callback that is running, while calls are measured.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) begin: CallbackBegin,
    pub(crate) started: Tick,
    /// Bytes that streams had delivered by then, and that had been accepted for sending.
    pub(crate) bytes_in: u64,
    pub(crate) accepted: u64,
}

/// Events that are merged in less time than it takes to read the clock twice.
const FEW: usize = 4;

/// How long each step has taken, in nanoseconds.
pub(crate) type StepTimes = [u64; Step::ALL.len()];

/// See the head of this file.
#[derive(Default)]
pub(crate) struct Observers {
    /// Callbacks are measured: there is a threshold, or an observer that has begun.
    on: bool,
    /// Callbacks that take longer are logged.
    threshold: Option<Duration>,
    /// The longest callback so far.
    pub(crate) slowest: Duration,
    /// The latest reading of the clock, and as observers are told it: a division less for each thing that is told.
    at: Tick,
    told_at: Duration,
    /// Who has begun wants some of these.
    #[cfg(feature = "observer")]
    wanted: Reports,
    /// The step of the turn that is under way, since when, and how long each has taken in all turns, in nanoseconds.
    step: Option<Step>,
    step_began: Tick,
    step_times: StepTimes,
    /// When this turn began, and how long it waited.
    turn_began: Tick,
    pub(crate) waited: Duration,
    /// Callbacks made before this turn.
    pub(crate) callbacks_before: u64,
    /// Events of this turn.
    pub(crate) events: usize,
    /// When the slot of each place was put on the ready list. Beside the slots, for it is filled only while callbacks
    /// are measured.
    queued_at: Vec<Tick>,
    /// Since when the dispatcher that is being served was ready, until its first callback begins. Also since when the
    /// closure that is about to run had been posted.
    ready_since: Option<Tick>,
    begun: Option<Begun>,
    /// The dispatch is working through its list, and the last one on it did nothing but read; or there was none before,
    /// and the time of the wait's end will do as well.
    has_just_read: bool,
    /// The callback that comes next begins at the latest reading.
    shares_reading: bool,
    #[cfg(feature = "observer")]
    list: List,
    /// All who have begun accept that the ends of usual callbacks and of turns are reported late,
    #[cfg(feature = "observer")]
    may_be_late: bool,
    /// and these have not been reported.
    #[cfg(feature = "observer")]
    late: Late,
}

impl Observers {
    pub(crate) fn new(threshold: Option<Duration>) -> Observers {
        Observers {
            on: threshold.is_some(),
            threshold,
            ..Observers::default()
        }
    }

    /// Whether callbacks are measured.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// The latest reading of the clock.
    pub(crate) fn at(&self) -> Tick {
        self.at
    }

    /// The clock was read.
    pub(crate) fn set_at(&mut self, now: Tick) {
        self.at = now;
        self.told_at = now.since(Tick::default());
    }

    /// What a callback may take without being logged.
    pub(crate) fn threshold(&self) -> Option<Duration> {
        self.threshold
    }

    /// A slot goes on the ready list, now that it is `at`.
    #[inline(always)]
    pub(crate) fn note_ready(&mut self, id: AnyId, at: Tick) {
        if self.on {
            self.stamp(id, at);
        }
    }

    /// Notes since when a slot is ready.
    #[cold]
    pub(crate) fn stamp(&mut self, id: AnyId, at: Tick) {
        if id.index() >= self.queued_at.len() {
            self.queued_at.resize(id.index() + 1, Tick::NEVER);
        }
        self.queued_at[id.index()] = at;
    }

    /// So many events are about to be put on the ready list, after a wait that ended at `now`. If they are few, what that
    /// takes is counted to the first callback: it is little, and a reading of the clock would take as long.
    pub(crate) fn begin_list(&mut self, events: usize, now: Tick) {
        // An observer has been told of it; a threshold alone has not.
        self.at = now;
        self.ready_since = None;
        self.has_just_read = events <= FEW;
    }

    /// A slot was taken off the ready list, and is about to be served. If all that it has to do is reading, and the one
    /// before it had only read as well, the time when that one's callback ended is the time when this one's begins.
    pub(crate) fn take_up(&mut self, id: AnyId, just_reads: bool) {
        self.ready_since = self.queued_at.get(id.index()).copied();
        self.shares_reading = just_reads && self.has_just_read;
    }

    /// The only event of a turn is about to be served, after a wait that ended at `now`.
    pub(crate) fn take_up_event(&mut self, now: Tick) {
        // An observer has been told of it; a threshold alone has not.
        self.at = now;
        self.ready_since = Some(now);
    }

    /// The callback that comes next begins at the latest reading.
    pub(crate) fn share_reading(&mut self) {
        self.shares_reading = true;
    }

    /// What runs next has waited since then.
    #[cfg(feature = "observer")]
    pub(crate) fn wait_since(&mut self, at: Tick) {
        self.ready_since = Some(at);
    }

    /// It has been served.
    pub(crate) fn put_down(&mut self, just_reads: bool) {
        self.ready_since = None;
        self.has_just_read = just_reads;
    }

    /// The time when the callback that is about to run begins, if it need not be asked for.
    pub(crate) fn take_shared_reading(&mut self) -> Option<Tick> {
        std::mem::take(&mut self.shares_reading).then_some(self.at)
    }

    /// How long the one whose callback begins now was ready. Of several callbacks that one event brings about only the
    /// first has waited for others.
    pub(crate) fn take_queued(&mut self, now: Tick) -> Duration {
        let since = self.ready_since.take();
        since.map_or(Duration::ZERO, |since| now.since(since))
    }

    /// A callback begins.
    pub(crate) fn begin(&mut self, begun: Begun) {
        self.set_at(begun.started);
        let begin = begun.begin;
        self.prepare_for(begin.callback);
        self.begun = Some(begun);
        self.report(Reports::CALLBACK_BEGAN, |observer, at| {
            observer.callback_began(at, &begin);
        });
    }

    /// The callback that is running ends. `None` if it was not measured.
    pub(crate) fn take_begun(&mut self) -> Option<Begun> {
        self.begun.take()
    }

    /// A turn begins.
    pub(crate) fn begin_turn(&mut self) {
        self.turn_began = self.at;
        self.waited = Duration::ZERO;
    }

    /// When it began.
    pub(crate) fn turn_began(&self) -> Duration {
        self.turn_began.since(Tick::default())
    }

    /// The wait is over, and with it the step.
    pub(crate) fn end_wait(&mut self) {
        self.waited = self.at.since(self.turn_began);
        self.enter(None);
    }

    /// A step of the turn begins, or none; false if it is under way already.
    pub(crate) fn enter(&mut self, step: Option<Step>) -> bool {
        if self.step == step {
            return false;
        }
        if let Some(before) = std::mem::replace(&mut self.step, step) {
            self.step_times[before as usize] += self.at.nanos_since(self.step_began);
        }
        self.step_began = self.at;
        true
    }

    /// How long each step has taken, in nanoseconds, while there was an observer.
    #[cfg(feature = "observer")]
    pub(crate) fn step_times(&self) -> StepTimes {
        self.step_times
    }

    /// Whether there is an observer, or one that is yet to begin.
    #[inline(always)]
    pub(crate) fn are_there(&self) -> bool {
        #[cfg(feature = "observer")]
        return !self.list.is_empty();
        #[cfg(not(feature = "observer"))]
        false
    }

    /// Whether one who has begun wants one of the frequent reports.
    #[inline(always)]
    pub(crate) fn want(&self, report: Reports) -> bool {
        #[cfg(feature = "observer")]
        return self.wanted.contain(report);
        #[cfg(not(feature = "observer"))]
        {
            let _ = report;
            false
        }
    }

    /// Whether one who has begun wants to be told of each step or event.
    pub(crate) fn want_steps_or_events(&self) -> bool {
        self.want(Reports::STEPS) || self.want(Reports::EVENTS)
    }

    /// Tells every observer something; the time is the latest reading of the clock.
    #[inline(always)]
    pub(crate) fn tell(&mut self, what: impl FnMut(&mut dyn Observer, Duration)) {
        if self.are_there() {
            self.tell_all(false, Reports::NONE, what);
        }
    }

    /// Tells those who want it one of the frequent reports.
    #[inline(always)]
    pub(crate) fn report(
        &mut self,
        report: Reports,
        what: impl FnMut(&mut dyn Observer, Duration),
    ) {
        if self.want(report) {
            self.tell_all(false, report, what);
        }
    }

    /// An event was added to what is known of a slot.
    #[inline(always)]
    pub(crate) fn tell_merged(&mut self, id: AnyId, signals: Signals) {
        self.report(Reports::EVENTS, move |observer, at| {
            observer.event_merged(at, id, signals.into());
        });
    }

    /// A timer that was due at `due` fires.
    #[inline(always)]
    pub(crate) fn tell_fired(&mut self, id: AnyId, due: Tick) {
        if self.are_there() {
            self.tell_late(id, due);
        }
    }

    #[cold]
    #[inline(never)]
    fn tell_late(&mut self, id: AnyId, due: Tick) {
        let late = self.at.since(due);
        self.tell(|observer, at| observer.timer_fired(at, id, late));
    }

    /// As [`Observers::tell`], but only for observers that have not begun.
    pub(crate) fn tell_newcomers(&mut self, what: impl FnMut(&mut dyn Observer, Duration)) {
        self.tell_all(true, Reports::NONE, what);
    }
}

#[cfg(not(feature = "observer"))]
impl Observers {
    fn tell_all(&mut self, _: bool, _: Reports, _: impl FnMut(&mut dyn Observer, Duration)) {}

    pub(crate) fn tell_callback_ended(&mut self, _: &CallbackEnd<'_>) {}

    pub(crate) fn tell_turn_ended(&mut self, _: TurnEnd) {}

    fn prepare_for(&mut self, _: Callback) {}

    pub(crate) fn catch_up(&mut self) {}

    pub(crate) fn have_newcomers(&self) -> bool {
        false
    }

    pub(crate) fn let_newcomers_in(&mut self) {}
}

#[cfg(feature = "observer")]
impl Observers {
    /// One function for each thing that is told: an indirect call less than one for all.
    #[cold]
    #[inline(never)]
    fn tell_all(
        &mut self,
        newcomers: bool,
        report: Reports,
        mut what: impl FnMut(&mut dyn Observer, Duration),
    ) {
        self.catch_up();
        let at = self.told_at;
        let tell = |observer: &mut dyn Observer| what(observer, at);
        let all_are_left = self.list.tell_all(newcomers, report, tell);
        if !all_are_left {
            self.review();
        }
    }

    /// Whether there is an observer that has not begun.
    pub(crate) fn have_newcomers(&self) -> bool {
        self.list.have_newcomers()
    }

    /// From here on newcomers are told everything.
    pub(crate) fn let_newcomers_in(&mut self) {
        self.be_prompt();
        self.list.let_newcomers_in();
        self.review();
    }

    /// Adds an observer, to which nothing is reported until [`Observers::let_newcomers_in`].
    pub(crate) fn add<O: Observer>(&mut self, observer: O) {
        self.list
            .add(Box::new(observer), std::any::type_name::<O>());
    }

    /// The first of this type.
    pub(crate) fn find<O: Observer>(&self) -> Option<&O> {
        self.list.find()
    }

    pub(crate) fn find_mut<O: Observer>(&mut self) -> Option<&mut O> {
        self.be_prompt();
        self.list.find_mut()
    }

    /// Takes out the first of this type.
    pub(crate) fn remove<O: Observer>(&mut self) -> Option<O> {
        self.be_prompt();
        let removed = self.list.remove();
        self.review();
        removed
    }

    /// An observer was added or removed.
    fn review(&mut self) {
        self.on = self.threshold.is_some() || self.list.is_watching();
        self.wanted = self.list.wanted();
        if !self.on {
            self.begun = None;
        }
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Observers");
        shown.field("threshold", &self.threshold);
        #[cfg(feature = "observer")]
        shown.field("list", &self.list);
        shown.finish_non_exhaustive()
    }
}
