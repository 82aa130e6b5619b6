//! What is reported to the inspector by hand, and all that it makes of it.

use super::*;
use std::io;

use super::super::batch::Chip;
use super::super::rows::tests::ended;
use super::super::slices::Slice;
use super::super::watch::{Tally, Watch};
use crate::Cause;
use crate::observe::{
    Added, Callback, CallbackEnd, Crossing, Event, Observer, Outcome, Refusal, Reports, TurnEnd,
};

const A: AnyId = AnyId::new(0, 1);
const B: AnyId = AnyId::new(1, 1);
const C: AnyId = AnyId::new(2, 1);
const D: AnyId = AnyId::new(3, 1);
/// The id of a dispatcher that was never reported.
const STRANGER: AnyId = AnyId::new(99, 1);
/// The inspector's own, if it is said to be.
const HUB: AnyId = AnyId::new(4, 1);
/// The hub adds it.
const CLIENT: AnyId = AnyId::new(5, 1);

/// A callback that takes longer is slow.
const THRESHOLD: Duration = millis(50);
const POST_CAPACITY: usize = 100;
/// The number of the first turn.
const FIRST: u64 = 7;

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A loop in which time passes in callbacks and waits.
struct Loop {
    gather: Gather,
    at: Duration,
    turn: u64,
}

impl Loop {
    /// Without dispatchers, two seconds after its start; the lints' second begins then.
    fn new() -> Loop {
        let at = Duration::from_secs(2);
        let mut gather = Gather::new(THRESHOLD, POST_CAPACITY, FIRST);
        gather.second.began = at;
        Loop {
            gather,
            at,
            turn: FIRST,
        }
    }

    /// One with `A` to `D`, one of each kind, and a beat in which nothing has happened yet.
    fn with_four() -> Loop {
        let mut this = Loop::new();
        this.add(A, "Talker", Kind::Stream, AnyId::NONE);
        this.add(B, "Greeter", Kind::Listener, AnyId::NONE);
        this.add(C, "Clock", Kind::Service, AnyId::NONE);
        this.add(D, "Beacon", Kind::Datagram, AnyId::NONE);
        this.gather.begin_beat(StepTimes::default());
        this
    }

    fn add(&mut self, id: AnyId, type_name: &str, kind: Kind, by: AnyId) {
        let address = &"127.0.0.1:80";
        let added = Added {
            id,
            by,
            type_name,
            kind,
            address,
        };
        self.gather.added(self.at, &added);
    }

    fn replace(&mut self, id: AnyId, type_name: &str) {
        let added = Added {
            id,
            by: AnyId::NONE,
            type_name,
            kind: Kind::Stream,
            address: &"",
        };
        self.gather.replaced(self.at, &added);
    }

    /// An event: `r`, `w` or both.
    fn event(&mut self, id: AnyId, letters: &str) {
        let event = Event {
            readable: letters.contains('r'),
            writable: letters.contains('w'),
            ..Event::default()
        };
        self.gather.event_merged(self.at, id, event);
    }

    fn call(&mut self, id: AnyId, callback: Callback, bytes: (u64, u64)) {
        self.call_for(Duration::ZERO, id, callback, bytes);
    }

    fn call_for(&mut self, took: Duration, id: AnyId, callback: Callback, bytes: (u64, u64)) {
        self.end_callback(&ended(id, callback, took, bytes));
    }

    fn end_callback(&mut self, end: &CallbackEnd<'_>) {
        self.at += end.took;
        self.gather.callback_ended(self.at, end);
    }

    fn fire(&mut self, id: AnyId, late: Duration) {
        self.gather.timer_fired(self.at, id, late);
    }

    fn mark(&mut self, id: AnyId, crossing: Crossing, queued: usize) {
        self.gather.mark_crossed(self.at, id, crossing, queued);
    }

    /// Ends the turn, which had so many events, with so many posts left.
    fn end_turn(&mut self, events: usize, posts: usize) {
        let end = TurnEnd {
            events,
            posts,
            ..self.turn_end()
        };
        self.end_turn_with(&end);
    }

    fn end_turn_with(&mut self, end: &TurnEnd) {
        self.gather.turn_ended(self.at, end);
        self.turn += 1;
    }

    fn turn_end(&self) -> TurnEnd {
        TurnEnd {
            turn: self.turn,
            began: self.at,
            waited: Duration::ZERO,
            events: 0,
            callbacks: 0,
            ready: 0,
            timers: 0,
            posts: 0,
            queued_bytes: 0,
            connections: 0,
            dispatchers: 0,
        }
    }

    /// The log, without what has been in it before: kind, id, text.
    fn log(&mut self) -> Vec<String> {
        let lines = self.gather.log.iter().map(|line| {
            assert_eq!(line.at, nanos(self.at));
            format!("{} {}: {}", line.kind, line.id, line.text)
        });
        let lines = Vec::from_iter(lines);
        self.gather.log.clear();
        lines
    }

    fn watch(&self, id: AnyId) -> Watch {
        self.gather.rows.get(id).expect("it is there").watch
    }

    fn half_open_since(&self, id: AnyId) -> Option<Duration> {
        self.watch(id).half_open
    }

    fn wants(&self, reports: Reports) -> bool {
        self.gather.wants().contain(reports)
    }

    /// The batch that is shown: its turn, the chips, what had no place.
    fn batch(&self) -> (u64, Vec<String>, u64) {
        let batch = &self.gather.last_batch;
        let chips = batch.chips.iter().map(|chip| {
            let Chip { id, .. } = chip;
            let has = |has, word| if has { word } else { "" };
            let (r, w) = (has(chip.readable, "r"), has(chip.writable, "w"));
            let (stale, again) = (has(chip.stale, " stale"), has(chip.again, " again"));
            format!("{id} {r}{w}{stale}{again}")
        });
        (batch.turn, chips.collect(), batch.more)
    }
}

#[test]
fn a_beat_is_the_sum_of_what_happened_since_the_one_before() {
    let mut this = Loop::with_four();
    let first = this.at;
    this.event(A, "r");
    this.event(B, "r");
    let mut read = ended(A, Callback::Read, millis(3), (5, 7));
    read.begin.queued = millis(1);
    this.end_callback(&read);
    this.call_for(millis(50), B, Callback::Accept, (0, 0));
    this.call_for(millis(51), AnyId::NONE, Callback::Post, (11, 13));
    let error = io::Error::other("no");
    for outcome in [Outcome::Failed(&error), Outcome::WouldBlock] {
        let end = ended(A, Callback::Write, millis(2), (0, 17));
        this.end_callback(&CallbackEnd { outcome, ..end });
    }
    this.gather.event_dropped(this.at, STRANGER);
    let end = TurnEnd {
        began: first - millis(30),
        waited: millis(20),
        events: 3,
        ready: 1,
        timers: 2,
        posts: 4,
        queued_bytes: 1_000,
        ..this.turn_end()
    };
    this.end_turn_with(&end);
    this.end_turn(1, 0);
    let gather = &this.gather;
    let millis_of = |millis: u64| millis * 1_000_000;
    let span = Span {
        began: nanos(first),
        turns: 2,
        events: 4,
        stale: 1,
        callbacks: 5,
        bytes_in: 16,
        bytes_out: 54,
        busy: millis_of(108),
    };
    assert_eq!(gather.span, span);
    let slice = |id, callback, began: u64, took, queued, (bytes_in, bytes_out), outcome| Slice {
        id,
        callback,
        began: millis_of(2_000 + began),
        took: millis_of(took),
        queued: millis_of(queued),
        bytes_in,
        bytes_out,
        outcome,
    };
    let slices = [
        slice(A, Callback::Read, 0, 3, 1, (5, 7), "ok"),
        slice(B, Callback::Accept, 3, 50, 0, (0, 0), "ok"),
        slice(AnyId::NONE, Callback::Post, 53, 51, 0, (11, 13), "ok"),
        slice(A, Callback::Write, 104, 2, 0, (0, 17), "failed"),
        slice(A, Callback::Write, 106, 2, 0, (0, 17), "would_block"),
    ];
    assert_eq!(Vec::from_iter(gather.slices.iter().copied()), slices);
    let waits = [(1_970, 20), (2_108, 0)].map(|(began, took)| (millis_of(began), millis_of(took)));
    assert_eq!(gather.waits.sorted(), waits);
    let row = gather.rows.get(A).unwrap();
    let total = Tally {
        callbacks: 3,
        busy: millis_of(7),
        queued: millis_of(1),
        bytes_in: 5,
        bytes_out: 41,
    };
    assert_eq!(row.total, total);
    assert_eq!(gather.rows.of_beat(row).callbacks, 3);
    let figures = TurnFigures {
        turn: FIRST + 1,
        ready: 0,
        post_capacity: POST_CAPACITY,
        dispatchers: 4,
        connections: 1,
        listeners: 1,
        services: 1,
        ..TurnFigures::default()
    };
    assert_eq!(gather.last, figures);
    // Of the second, in which the slow one is left out.
    let second = Second {
        turns: 2,
        busy: millis_of(57),
        caller: Some(A),
        has_others: true,
        post_capacity: POST_CAPACITY,
        ..Second::default()
    };
    assert_eq!(
        gather.second,
        Second {
            began: first,
            ..second
        }
    );

    let steps = [1, 2, 3, 4, 5, 6, 7];
    this.gather.begin_beat(steps);
    let gather = &this.gather;
    assert_eq!(gather.span, Span::beginning(nanos(this.at)));
    assert_eq!(gather.slices.iter().count(), 0);
    assert_eq!(gather.waits.sorted(), []);
    assert_eq!(gather.log.iter().count(), 0);
    let row = gather.rows.get(A).unwrap();
    assert_eq!(gather.rows.of_beat(row).callbacks, 0);
    assert_eq!(row.total, total);
    assert_eq!(
        gather.steps(steps.map(|step| 11 * step)),
        steps.map(|step| 10 * step)
    );
}

#[test]
fn what_a_turn_leaves_is_told_as_it_is() {
    let mut this = Loop::new();
    let end = TurnEnd {
        ready: 1,
        timers: 2,
        posts: 3,
        queued_bytes: 4,
        ..this.turn_end()
    };
    this.end_turn_with(&end);
    let figures = TurnFigures {
        turn: FIRST,
        ready: 1,
        timers: 2,
        posts: 3,
        queued_bytes: 4,
        post_capacity: POST_CAPACITY,
        ..TurnFigures::default()
    };
    assert_eq!(this.gather.last, figures);
}

#[test]
fn those_that_end_are_no_longer_counted_and_their_rows_go_with_their_last_callback() {
    let mut this = Loop::with_four();
    let counts = |this: &Loop| {
        let last = &this.gather.last;
        [
            last.dispatchers,
            last.connections,
            last.listeners,
            last.services,
            this.gather.rows.there(),
        ]
    };
    assert_eq!(counts(&this), [4, 1, 1, 1, 4]);
    for (id, closed, gone) in [
        (A, [3, 0, 1, 1, 4], [3, 0, 1, 1, 3]),
        (B, [2, 0, 0, 1, 3], [2, 0, 0, 1, 2]),
        (C, [1, 0, 0, 0, 2], [1, 0, 0, 0, 1]),
        (D, [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]),
    ] {
        this.gather.closed(this.at, id, Cause::Finished);
        assert_eq!(counts(&this), closed);
        this.call(id, Callback::Close, (0, 0));
        assert_eq!(counts(&this), gone);
    }
}

#[test]
fn the_wait_of_a_turn_counts_once_even_if_a_beat_is_made_in_its_middle() {
    let mut this = Loop::new();
    this.gather.take_wait(this.at, millis(5));
    assert_eq!(this.gather.waits.sorted(), [(2_000_000_000, 5_000_000)]);
    this.gather.begin_beat(StepTimes::default());
    this.end_turn(0, 0);
    assert_eq!(this.gather.waits.sorted(), []);
    this.end_turn(0, 0);
    assert_eq!(this.gather.waits.sorted(), [(2_000_000_000, 0)]);
}

#[test]
fn the_log_says_what_happened_to_whom() {
    let mut this = Loop::with_four();
    this.add(STRANGER, "Child", Kind::Stream, B);
    this.add(STRANGER, "Child", Kind::Stream, AnyId::NONE);
    this.add(STRANGER, "Child", Kind::Stream, AnyId::new(0, 3));
    this.replace(STRANGER, "Grown");
    this.mark(A, Crossing::OverHigh, 70_000);
    this.mark(A, Crossing::BelowLow, 10);
    this.gather.held(this.at, B, A);
    this.gather.released(this.at, B);
    this.gather.event_dropped(this.at, AnyId::new(0, 3));
    assert_eq!(
        this.log(),
        [
            "added 99.1: Child 127.0.0.1:80 by Greeter 1.1",
            "added 99.1: Child 127.0.0.1:80 by the reactor",
            "added 99.1: Child 127.0.0.1:80 by 0.3",
            "replaced 99.1: Child 99.1 is now Grown",
            "mark_high 0.1: Talker 0.1: 70000 bytes queued",
            "mark_low 0.1: Talker 0.1: 10 bytes queued",
            "held 1.1: Greeter 1.1 waits for Talker 0.1",
            "released 1.1: Greeter 1.1 is read again",
            "stale 0.3: an event for a dispatcher that has ended",
        ]
    );
    for late in [9, 10, 11] {
        this.fire(C, millis(late));
    }
    this.fire(AnyId::NONE, millis(12));
    let error = io::Error::other("no room");
    for reason in [
        Refusal::Limit,
        Refusal::Shortage(&error),
        Refusal::Fault(&error),
        Refusal::OverTotal,
    ] {
        this.gather.accepting_paused(this.at, B, reason);
    }
    this.gather.accepting_resumed(this.at, B);
    this.gather.closed(this.at, A, Cause::Reset);
    assert_eq!(
        this.log(),
        [
            "timer 2.1: Clock 2.1: 10 ms late",
            "timer 2.1: Clock 2.1: 11 ms late",
            "timer none: the reactor: 12 ms late",
            "accept_paused 1.1: Greeter 1.1: the reactor is at its limit of connections",
            "accept_paused 1.1: Greeter 1.1: no room",
            "accept_paused 1.1: Greeter 1.1: no room",
            "accept_paused 1.1: Greeter 1.1: all outboxes together are over their limit",
            "accept_resumed 1.1: Greeter 1.1",
            "closed 0.1: Talker 0.1: reset by peer",
        ]
    );
}

#[test]
fn the_log_says_which_callbacks_were_slow_or_panicked() {
    let mut this = Loop::with_four();
    this.call_for(THRESHOLD, A, Callback::Read, (1, 0));
    this.call_for(millis(51), A, Callback::Read, (1, 0));
    assert_eq!(this.log(), ["slow 0.1: Talker handle_read took 51 ms"]);
    assert_eq!(Vec::from_iter(this.gather.board.ids()), [A]);
    let outcome = Outcome::Panicked;
    let mut end = ended(B, Callback::Accept, millis(1), (0, 0));
    end.outcome = outcome;
    this.end_callback(&end);
    assert_eq!(this.log(), ["panic 1.1: Greeter 1.1 in handle_accept"]);
    let mut end = ended(B, Callback::Accept, millis(60), (0, 0));
    end.outcome = outcome;
    this.end_callback(&end);
    assert_eq!(this.log().len(), 2);
    assert_eq!(Vec::from_iter(this.gather.board.ids()), [A, B]);
}

#[test]
fn the_inspectors_own_dispatchers_are_in_no_sum_and_no_line() {
    let mut this = Loop::with_four();
    let at = this.at;
    this.gather.disown(HUB);
    this.add(HUB, "Hub", Kind::Service, AnyId::NONE);
    assert_eq!(this.gather.own_work, OwnWork::default());
    this.add(CLIENT, "Client", Kind::Stream, HUB);
    this.event(CLIENT, "r");
    this.call_for(millis(60), CLIENT, Callback::Read, (5, 7));
    this.call(CLIENT, Callback::Write, (0, 11));
    this.fire(HUB, millis(20));
    this.call(HUB, Callback::Timer, (0, 0));
    this.mark(CLIENT, Crossing::OverHigh, 9);
    this.gather.held(this.at, CLIENT, HUB);
    this.gather.closed(this.at, CLIENT, Cause::Aborted);
    this.call(CLIENT, Callback::Close, (0, 0));
    this.end_turn(3, 0);
    assert!(this.log().is_empty());
    let own = OwnWork {
        connections: 1,
        callbacks: 4,
        bytes_in: 5,
        bytes_out: 18,
    };
    assert_eq!(this.gather.own_work, own);
    let span = Span {
        turns: 1,
        // The third is somebody else's.
        events: 1,
        ..Span::beginning(nanos(at))
    };
    assert_eq!(this.gather.span, span);
    assert_eq!(this.gather.slices.iter().count(), 0);
    assert_eq!(this.batch(), (0, vec![], 0));
    let last = &this.gather.last;
    assert_eq!((last.dispatchers, last.connections), (4, 1));
    assert_eq!(this.gather.rows.there(), 5);
    let second = Second {
        began: at,
        turns: 1,
        post_capacity: POST_CAPACITY,
        ..Second::default()
    };
    assert_eq!(this.gather.second, second);
    // One that was there before it was said to be the inspector's.
    for _ in 0..2 {
        this.gather.disown(A);
        let last = &this.gather.last;
        assert_eq!((last.dispatchers, last.connections), (3, 0));
    }
}

#[test]
fn a_batch_is_of_the_last_turn_that_had_one_and_tells_who_was_served_again() {
    let mut this = Loop::with_four();
    let read = |this: &mut Loop, id| this.call(id, Callback::Read, (1, 0));
    this.event(A, "r");
    this.event(B, "w");
    this.event(C, "rw");
    this.event(STRANGER, "r");
    for id in [A, B, C] {
        read(&mut this, id);
    }
    this.end_turn(4, 0);
    let chips = |chips: [&str; 3]| Vec::from(chips.map(str::to_owned));
    let first = (FIRST, chips(["0.1 r", "1.1 w", "2.1 rw"]), 0);
    assert_eq!(this.batch(), first);

    // Nothing came: one has something left to do, and another is called for its time alone.
    read(&mut this, B);
    this.call(C, Callback::Timer, (0, 0));
    this.end_turn(0, 0);
    let again = (FIRST, chips(["0.1 r", "1.1 w again", "2.1 rw"]), 0);
    assert_eq!(this.batch(), again);

    // It is ready again, which is another matter. And one that was there has the same place again.
    this.event(A, "rw");
    this.event(C, "r");
    this.gather.event_dropped(this.at, STRANGER);
    for id in [A, C] {
        read(&mut this, id);
    }
    assert_eq!(this.batch(), again);
    this.end_turn(3, 0);
    let third = (FIRST + 2, chips(["0.1 rw", "2.1 r", "99.1  stale"]), 0);
    assert_eq!(this.batch(), third);
}

#[test]
fn a_batch_has_sixty_four_places_and_counts_the_rest() {
    let mut this = Loop::with_four();
    this.event(B, "r");
    (0..68).for_each(|_| this.event(A, "r"));
    this.end_turn(69, 0);
    this.call(A, Callback::Read, (1, 0));
    let (turn, chips, more) = this.batch();
    assert_eq!((turn, chips.len(), more), (FIRST, 64, 5));
    assert!(!chips.contains(&"0.1 r again".to_owned()), "it has none");
    this.event(B, "r");
    this.end_turn(1, 0);
    assert_eq!(this.batch(), (FIRST + 1, vec!["1.1 r".to_owned()], 0));
}

#[test]
fn of_a_busy_loop_the_first_turns_of_a_beat_are_looked_at_and_who_is_served_again_after_them() {
    let mut this = Loop::with_four();
    for _ in 0..16 {
        assert!(this.wants(Reports::EVENTS));
        this.event(A, "r");
        this.event(B, "r");
        this.end_turn(2, 0);
    }
    let last = FIRST + 15;
    assert!(this.wants(Reports::EVENTS));
    this.event(C, "r");
    this.call(A, Callback::Read, (1, 0));
    this.end_turn(1, 0);
    let expected = (last, vec!["0.1 r again".to_owned(), "1.1 r".to_owned()], 0);
    assert_eq!(this.batch(), expected);
    assert!(!this.wants(Reports::EVENTS));
    this.gather.event_dropped(this.at, STRANGER);
    this.call(B, Callback::Read, (1, 0));
    assert!(this.gather.batch.chips.is_empty());
    this.end_turn(1, 0);
    assert_eq!(this.batch(), expected);
    assert_eq!(this.gather.span.stale, 1);

    this.gather.begin_beat(StepTimes::default());
    this.end_turn(0, 0);
    assert!(this.wants(Reports::EVENTS));
}

#[test]
fn a_turn_for_timers_alone_has_timers_and_nothing_else() {
    let mut this = Loop::with_four();
    this.gather.disown(HUB);
    this.add(HUB, "Hub", Kind::Service, AnyId::NONE);
    let mut so_far = 0;
    let mut is_one = |this: &mut Loop, events| {
        this.end_turn(events, 0);
        let before = so_far;
        so_far = this.gather.second.timer_turns;
        so_far - before == 1
    };
    assert!(!is_one(&mut this, 0), "nothing happened");
    this.fire(C, millis(0));
    this.call(C, Callback::Timer, (0, 0));
    assert!(is_one(&mut this, 0));
    for _ in 0..2 {
        this.fire(AnyId::NONE, millis(0));
        this.call(AnyId::NONE, Callback::Closure, (0, 0));
    }
    assert!(is_one(&mut this, 0));
    this.fire(C, millis(0));
    this.call(AnyId::NONE, Callback::Post, (0, 0));
    assert!(!is_one(&mut this, 0), "somebody has posted");
    this.call(AnyId::NONE, Callback::Post, (0, 0));
    assert!(!is_one(&mut this, 0));
    this.fire(C, millis(0));
    assert!(!is_one(&mut this, 1), "there was an event");
    this.fire(HUB, millis(0));
    this.call(HUB, Callback::Timer, (0, 0));
    assert!(!is_one(&mut this, 0), "it was the inspector's own");
    this.fire(C, millis(0));
    this.call(HUB, Callback::Read, (1, 0));
    assert!(is_one(&mut this, 1), "but for the inspector's own event");
    assert_eq!(this.gather.second.closures_timers, 2);
    assert_eq!(this.watch(C).timers, 4);
}

#[test]
fn one_is_half_open_from_its_peers_end_until_it_ends_and_bytes_that_leave_begin_it_anew() {
    let mut this = Loop::with_four();
    let moment = millis(1);
    assert!(!this.wants(Reports::FLUSHES));
    this.call_for(moment, A, Callback::Eof, (0, 0));
    this.call_for(moment, A, Callback::Eof, (0, 0));
    let end = this.at;
    assert_eq!(this.half_open_since(A), Some(end));
    assert_eq!(this.gather.half_open, 1);
    assert!(this.wants(Reports::FLUSHES | Reports::EVENTS | Reports::CALLBACK_ENDED));

    this.call_for(moment, A, Callback::Timer, (1, 0));
    this.call_for(moment, D, Callback::Read, (1, 1));
    this.gather.flushed(this.at, A, 0, 5);
    this.gather.flushed(this.at, D, 5, 0);
    assert_eq!(this.half_open_since(A), Some(end), "no byte has left");
    assert_eq!(this.half_open_since(D), None);
    this.call_for(moment, A, Callback::Timer, (0, 1));
    assert_eq!(this.half_open_since(A), Some(this.at));
    this.at += moment;
    this.gather.flushed(this.at, A, 1, 0);
    let last = this.at;
    assert_eq!(this.half_open_since(A), Some(last));

    this.call_for(moment, D, Callback::Eof, (0, 0));
    assert_eq!(this.gather.half_open, 2);
    this.replace(D, "Other");
    assert_eq!(this.gather.half_open, 1);
    assert_eq!(this.watch(D), Watch::default());
    this.replace(D, "Third");
    this.gather.closed(this.at, D, Cause::Finished);
    this.call(D, Callback::Close, (0, 0));
    assert_eq!(this.gather.half_open, 1);
    this.gather.closed(this.at, A, Cause::Finished);
    let watch = Watch {
        half_open: Some(last),
        ..Watch::default()
    };
    assert_eq!(this.watch(A), watch);
    this.call(A, Callback::Close, (0, 0));
    assert_eq!(this.gather.half_open, 0);
    assert!(!this.wants(Reports::FLUSHES));
}

#[test]
fn sixty_four_outboxes_over_their_high_mark_are_looked_at() {
    let mut this = Loop::new();
    let ids = Vec::from_iter((0..70).map(|slot| AnyId::new(slot, 1)));
    for id in &ids {
        this.add(*id, "Slow", Kind::Stream, AnyId::NONE);
        this.mark(*id, Crossing::OverHigh, 1_000);
    }
    assert_eq!(this.gather.over_high(), &ids[..64]);
    assert_eq!(this.watch(ids[69]).over_high, Some(this.at));
    assert_eq!(this.watch(ids[0]).queued, 1_000);
    let at = this.at;
    this.at += Duration::from_secs(3);
    this.mark(ids[0], Crossing::BelowLow, 10);
    let watch = this.watch(ids[0]);
    assert_eq!((watch.over_high, watch.queued), (None, 10));
    this.gather.closed(this.at, ids[1], Cause::Reset);
    assert_eq!(this.watch(ids[1]), Watch::default());
    assert_eq!(this.gather.over_high(), &ids[2..64]);
    this.mark(ids[69], Crossing::OverHigh, 2_000);
    assert_eq!(this.gather.over_high().last(), Some(&ids[69]));
    assert_eq!(this.gather.over_high().len(), 63);

    this.gather
        .bring_up_to_date(&[(ids[2], 3_000, 4_000), (STRANGER, 1, 1)], 0);
    let watch = Watch {
        over_high: Some(at),
        queued: 3_000,
        hard_cap: 4_000,
        ..Watch::default()
    };
    assert_eq!(this.watch(ids[2]), watch);
    assert_eq!(Vec::from_iter(this.gather.board.ids()), [ids[2]]);
}

#[test]
fn a_second_is_over_with_the_first_turn_that_ends_so_late_and_a_full_queue_lasts_beyond_it() {
    let mut this = Loop::with_four();
    this.at = millis(10_000);
    this.end_turn(0, 89);
    let began = millis(10_000);
    let empty = Second {
        began,
        posts: 89,
        post_capacity: POST_CAPACITY,
        ..Second::default()
    };
    assert_eq!(this.gather.second, empty);
    this.at = millis(10_500);
    this.call(A, Callback::Eof, (0, 0));
    this.fire(C, millis(0));
    this.end_turn(0, 90);
    this.at = millis(10_999);
    this.end_turn(0, 95);
    this.gather.bring_up_to_date(&[], 6);
    let second = Second {
        turns: 2,
        timer_turns: 0,
        caller: Some(A),
        pressed: Some(millis(10_500)),
        posts: 95,
        posts_refused: 6,
        ..empty
    };
    assert_eq!(this.gather.second, second);
    assert_eq!(this.watch(C).timers, 1);
    this.at = millis(11_000);
    this.end_turn(0, 96);
    let next = Second {
        began: this.at,
        pressed: Some(millis(10_500)),
        posts: 96,
        posts_refused: 6,
        ..empty
    };
    assert_eq!(this.gather.second, next);
    assert_eq!(this.watch(C).timers, 0);
    assert_eq!(this.gather.board.ids().count(), 0);
    this.at = millis(13_000);
    this.end_turn(0, 97);
    assert_eq!(Vec::from_iter(this.gather.board.ids()), [AnyId::NONE]);
    this.end_turn(0, 10);
    assert_eq!(this.gather.second.pressed, None);
}
