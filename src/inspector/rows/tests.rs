use super::*;
use std::mem::offset_of;

use crate::observe::{CallbackBegin, Outcome};

/// The end of a callback that was not ready before and returned `Ok`.
pub(in super::super) fn ended(
    id: AnyId,
    callback: Callback,
    took: Duration,
    (bytes_in, bytes_out): (u64, u64),
) -> CallbackEnd<'static> {
    CallbackEnd {
        begin: CallbackBegin {
            id,
            callback,
            queued: Duration::ZERO,
            waiting: 0,
        },
        took,
        bytes_in,
        bytes_out,
        outcome: Outcome::Done,
    }
}

/// The first dispatcher of this slot.
fn id(slot: u32) -> AnyId {
    AnyId::new(slot, 1)
}

fn add(rows: &mut Rows, id: AnyId) {
    rows.add(Duration::ZERO, id, "Thing", Kind::Stream, false);
}

/// Dispatchers in so many slots.
fn things(count: u32) -> Rows {
    let mut rows = Rows::default();
    (0..count).for_each(|slot| add(&mut rows, id(slot)));
    rows
}

/// A callback that took so many nanoseconds and received a byte.
fn read(rows: &mut Rows, id: AnyId, took: u64) -> bool {
    let end = ended(id, Callback::Read, Duration::from_nanos(took), (1, 0));
    rows.count(Duration::ZERO, &end, took, false).is_some()
}

#[test]
#[cfg(target_pointer_width = "64")]
fn what_most_callbacks_touch_is_in_one_line_of_the_cache() {
    assert!(offset_of!(Row, watch) <= 64);
    assert_eq!(align_of::<Row>(), 64);
}

#[test]
fn one_that_has_ended_has_no_row_even_if_its_slot_is_used_again() {
    let has_none = |rows: &mut Rows, id| {
        assert!(rows.get(id).is_none());
        assert!(rows.get_mut(id).is_none());
        assert!(!read(rows, id, 1));
        assert!(rows.count_timer(id).is_none());
        let there = rows.there();
        rows.remove(id);
        assert_eq!(rows.there(), there);
    };
    let mut rows = things(1);
    has_none(&mut rows, AnyId::new(0, 2));
    has_none(&mut rows, id(1));
    has_none(&mut rows, AnyId::NONE);
    rows.remove(id(0));
    assert_eq!(rows.there(), 0);
    has_none(&mut rows, id(0));
    let next = AnyId::new(0, 2);
    add(&mut rows, next);
    assert_eq!(rows.there(), 1);
    has_none(&mut rows, id(0));
    let row = rows.get(next).unwrap();
    assert_eq!(row.total, Tally::default());
    assert_eq!(row.watch, Watch::default());
    assert!(read(&mut rows, next, 1));
}

#[test]
fn a_row_tells_since_when_it_is_there_and_how_it_is_called_now() {
    let mut rows = Rows::default();
    let at = Duration::from_secs(7);
    rows.add(at, id(0), "Greeter", Kind::Stream, false);
    rows.add(at, id(1), "Greeter", Kind::Stream, false);
    rows.rename(id(0), "Talker");
    rows.rename(AnyId::new(1, 2), "Talker");
    let names = rows.iter().map(|row| (rows.name(row), row.added_at));
    assert_eq!(Vec::from_iter(names), [("Talker", at), ("Greeter", at)]);
}

#[test]
fn names_beyond_a_thousand_are_not_told_apart() {
    let mut rows = Rows::default();
    let names: Vec<_> = (0..1_100).map(|number| format!("Type{number}")).collect();
    for (slot, name) in (0..).zip(&names) {
        rows.add(Duration::ZERO, id(slot), name, Kind::Service, false);
    }
    let shown: Vec<_> = rows.iter().map(|row| rows.name(row)).collect();
    assert_eq!(shown[..1_023], names[..1_023]);
    assert_eq!(shown[1_023..], ["(others)"; 77]);
    rows.rename(id(1_050), "Type5");
    assert_eq!(rows.get(id(1_050)).map(|row| rows.name(row)), Some("Type5"));
}

#[test]
fn callbacks_are_counted_in_all_and_since_the_last_beat() {
    let mut rows = things(2);
    let call = |rows: &mut Rows, slot, took: u64| {
        let mut end = ended(id(slot), Callback::Read, Duration::from_nanos(took), (2, 3));
        end.begin.queued = Duration::new(1, 7);
        rows.count(Duration::ZERO, &end, took, false);
    };
    let recent = |rows: &Rows, slot| rows.of_beat(rows.get(id(slot)).unwrap());
    for (slot, took) in [(0, 10), (1, 20), (0, 30), (1, 40), (1, 50)] {
        call(&mut rows, slot, took);
    }
    let of = |slot, callbacks, busy| Recent {
        slot,
        callbacks,
        busy,
        queued: u64::from(callbacks) * 1_000_000_007,
    };
    assert_eq!(recent(&rows, 0), of(0, 2, 40));
    assert_eq!(recent(&rows, 1), of(1, 3, 110));
    rows.begin_beat();
    assert_eq!(recent(&rows, 0), Recent::default());
    // In the other order: each has the other's place.
    for (slot, took) in [(1, 1), (0, 2), (1, 3)] {
        call(&mut rows, slot, took);
    }
    assert_eq!(recent(&rows, 0), of(0, 1, 2));
    assert_eq!(recent(&rows, 1), of(1, 2, 4));
    let total = Tally {
        callbacks: 5,
        busy: 114,
        queued: 5_000_000_035,
        bytes_in: 10,
        bytes_out: 15,
    };
    assert_eq!(rows.get(id(1)).unwrap().total, total);
}

#[test]
fn those_are_shown_who_are_asked_for_then_the_busiest_then_any() {
    let mut rows = things(6);
    let gone = id(5);
    for (slot, took) in [(1, 10), (2, 30), (3, 20), (5, 40)] {
        assert!(read(&mut rows, id(slot), took));
    }
    rows.remove(gone);
    let mut choose = |first: &[u32], most| {
        let chosen = rows.choose(first.iter().map(|slot| id(*slot)), most);
        Vec::from_iter(chosen.iter().map(|id| id.index()))
    };
    assert_eq!(choose(&[], 9), [2, 3, 1, 0, 4]);
    assert_eq!(choose(&[4, 4, 5, 3], 9), [4, 3, 2, 1, 0]);
    // There are five, and four had callbacks.
    for (most, expected) in [
        (5, &[4, 2, 3, 1, 0][..]),
        (4, &[4, 2, 3, 1]),
        (3, &[4, 2, 3]),
        (2, &[4, 2]),
        (1, &[4]),
        (0, &[]),
    ] {
        assert_eq!(choose(&[4], most), expected, "{most}");
    }
    assert_eq!(choose(&[4, 0, 1], 2), [4, 0]);
}

/// Whether the lints look at the one dispatcher that there is, after these callbacks in a second, and at what.
fn judged(rows: &mut Rows, ends: &[(u64, CallbackEnd<'_>)]) -> (bool, Watch) {
    rows.begin_second();
    for (second, end) in ends {
        let took = nanos(end.took);
        let slow = took >= 10 * LONG;
        rows.count(Duration::from_secs(*second), end, took, slow);
    }
    judged_now(rows)
}

fn judged_now(rows: &Rows) -> (bool, Watch) {
    let noted = rows.noted().map(|row| row.id);
    let noted = Vec::from_iter(noted);
    assert!(noted.is_empty() || noted == [id(0)], "{noted:?}");
    (!noted.is_empty(), rows.get(id(0)).unwrap().watch)
}

#[test]
fn the_lints_look_at_what_is_more_than_a_short_read_of_some_bytes() {
    let mut rows = things(1);
    let end = |callback, took, bytes| ended(id(0), callback, Duration::from_nanos(took), bytes);
    let read = |took, bytes| end(Callback::Read, took, (bytes, 0));
    let write = |took, bytes| end(Callback::Write, took, (0, bytes));
    let idle = Watch::default();
    let would_block = CallbackEnd {
        outcome: Outcome::WouldBlock,
        ..read(1, 0)
    };
    let unread = |unread, second| Watch {
        unread,
        unread_since: Duration::from_secs(second),
        ..idle
    };
    let short = [(1, read(LONG - 1, 1)), (1, would_block)];
    assert_eq!(judged(&mut rows, &short), (false, idle));
    let long = [LONG, LONG - 1, LONG + 5, 10 * LONG].map(|took| (2, read(took, 1)));
    let two_long = Watch {
        long: 2 * LONG + 5,
        longs: 2,
        ..idle
    };
    assert_eq!(judged(&mut rows, &long), (true, two_long));
    // Input that is left is left until some is taken, whatever second that is in.
    let left = [(3, read(1, 0)), (4, read(1, 0))];
    assert_eq!(judged(&mut rows, &left), (true, unread(2, 3)));
    assert_eq!(judged(&mut rows, &[]), (false, unread(2, 3)));
    let left = [(5, read(1, 0)), (6, write(1, 1))];
    let one_write = Watch {
        useful_writes: 1,
        ..unread(3, 3)
    };
    assert_eq!(judged(&mut rows, &left), (true, one_write));
    let taken = [(7, read(1, 1)), (7, read(1, 1))];
    assert_eq!(judged(&mut rows, &taken), (true, unread(0, 3)));
    assert_eq!(judged(&mut rows, &taken), (false, unread(0, 3)));
    let left = [(8, read(1, 0)), (9, would_block), (10, read(1, 0))];
    assert_eq!(judged(&mut rows, &left), (true, unread(1, 10)));

    let writes = [(11, write(1, 0)), (11, write(1, 0)), (11, write(1, 1))];
    let writes = judged(&mut rows, &writes);
    let counted = Watch {
        idle_writes: 2,
        useful_writes: 1,
        ..unread(1, 10)
    };
    assert_eq!(writes, (true, counted));
    let others = [(12, end(Callback::Eof, 1, (0, 0)))];
    assert_eq!(judged(&mut rows, &others), (true, unread(1, 10)));
    rows.begin_second();
    rows.count_timer(id(0));
    rows.count_timer(id(0));
    let timers = judged_now(&rows);
    assert_eq!((timers.0, timers.1.timers), (true, 2));
    assert_eq!(judged(&mut rows, &[]), (false, unread(1, 10)));
}

#[test]
fn one_of_the_inspectors_own_is_counted_and_the_lints_do_not_look_at_it() {
    let mut rows = Rows::default();
    rows.add(Duration::ZERO, id(0), "Client", Kind::Stream, true);
    let end = ended(id(0), Callback::Write, Duration::ZERO, (0, 0));
    assert_eq!(judged(&mut rows, &[(1, end)]), (false, Watch::default()));
    assert_eq!(rows.get(id(0)).map(|row| row.total.callbacks), Some(1));
}
