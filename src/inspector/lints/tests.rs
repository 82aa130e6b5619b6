//! Each lint at its threshold and just below it, and a busy loop that has none.

use std::time::Duration;

use super::super::rows::Rows;
use super::super::watch::Watch;
use super::{Board, HOLD, MOST_OF_A_NAME, Second};
use crate::AnyId;
use crate::observe::Kind;

const AT: Duration = Duration::from_secs(100);

/// Ids come from a reactor.
fn ids(count: usize) -> Vec<AnyId> {
    struct Idle;
    impl crate::Dispatcher for Idle {}
    let mut reactor = crate::Reactor::new().unwrap();
    for _ in 0..count {
        reactor.add_service(Idle).unwrap();
    }
    let mut ids = reactor.ids();
    ids.sort_unstable();
    ids
}

/// A second of one that lasted exactly so long.
fn second() -> Second {
    Second {
        began: AT - Duration::from_secs(1),
        ..Second::default()
    }
}

/// The lints of one review, as `name: text`.
fn review(second: &Second, rows: &Rows) -> Vec<String> {
    let mut board = Board::default();
    board.review(AT, second, rows);
    texts(&board)
}

fn texts(board: &Board) -> Vec<String> {
    let lints = board.at(AT);
    lints
        .map(|lint| format!("{}: {}", lint.lint, lint.text))
        .collect()
}

/// As [`review`], with one dispatcher for each of these.
fn of(kind: Kind, watches: &[Watch], second: &Second) -> Vec<String> {
    let mut rows = Rows::default();
    for (id, watch) in ids(watches.len()).into_iter().zip(watches) {
        rows.add(Duration::ZERO, id, "Thing", kind, false);
        watched(&mut rows, id, *watch);
    }
    review(second, &rows)
}

/// Sets what the lints look at, and notes the dispatcher for them.
fn watched(rows: &mut Rows, id: AnyId, watch: Watch) {
    rows.count_timer(id);
    rows.get_mut(id).unwrap().watch = watch;
}

fn one(watch: Watch) -> Vec<String> {
    of(Kind::Stream, &[watch], &second())
}

#[test]
fn idle_writer_writes_nothing_hundreds_of_times() {
    let idle = |idle_writes, useful_writes| Watch {
        idle_writes,
        useful_writes,
        ..Watch::default()
    };
    assert_eq!(
        one(idle(41_200, 0)),
        [
            "idle-writer: Thing 0.1 asks for writable with an empty outbox: 41,200 callbacks, 0 bytes"
        ]
    );
    assert_eq!(one(idle(500, 0)).len(), 1);
    assert!(one(idle(499, 0)).is_empty());
    assert!(one(idle(41_200, 1)).is_empty(), "it is a producer");
}

#[test]
fn unread_input_is_left_again_and_again_by_a_stream() {
    let lazy = |unread, for_long| Watch {
        unread,
        unread_since: AT - for_long,
        ..Watch::default()
    };
    let long = Duration::from_millis(500);
    assert_eq!(
        one(lazy(9_000, long)),
        ["unread-input: Thing 0.1 was called 9,000 times in a row and took no byte"]
    );
    assert_eq!(one(lazy(500, long)).len(), 1);
    assert!(one(lazy(499, long)).is_empty());
    assert!(
        one(lazy(9_000, Duration::from_millis(499))).is_empty(),
        "a burst"
    );
    let foreign = of(Kind::Foreign, &[lazy(9_000, long)], &second());
    assert!(foreign.is_empty(), "what it reads is not seen");
    let mut rows = Rows::default();
    let id = ids(1)[0];
    rows.add(Duration::ZERO, id, "Thing", Kind::Stream, false);
    rows.get_mut(id).unwrap().watch = lazy(9_000, long);
    assert!(review(&second(), &rows).is_empty(), "it is paused by now");
}

#[test]
fn over_high_mark_is_over_it_for_seconds() {
    let look = |for_long| {
        let mut rows = Rows::default();
        let id = ids(1)[0];
        rows.add(Duration::ZERO, id, "Thing", Kind::Stream, false);
        rows.get_mut(id).unwrap().watch = Watch {
            over_high: Some(AT - for_long),
            queued: 410 * 1024,
            hard_cap: 1024 * 1024,
            ..Watch::default()
        };
        let mut board = Board::default();
        let over = rows.get(id).map(|row| (rows.name(row), row));
        board.look_again(AT, &second(), over.into_iter());
        texts(&board)
    };
    assert_eq!(
        look(Duration::from_secs(3)),
        ["over-high-mark: Thing 0.1 has been over its high mark for 3 s (410 of 1,024 KiB)"]
    );
    assert!(look(Duration::from_millis(2_999)).is_empty());
}

#[test]
fn turn_hog_has_most_of_a_busy_loop_in_long_callbacks_beside_others() {
    let millis = 1_000_000;
    let hog = Watch {
        long: 830 * millis,
        longs: 200,
        ..Watch::default()
    };
    let busy = |busy, has_others| Second {
        busy,
        has_others,
        ..second()
    };
    let of = |hog, second| of(Kind::Stream, &[hog], &second);
    assert_eq!(
        of(hog, busy(1_000 * millis, true)),
        ["turn-hog: Thing 0.1 took 83 % of the busy time of the last second, 4.2 ms a callback"]
    );
    assert!(
        of(hog, busy(1_000 * millis, false)).is_empty(),
        "it is alone"
    );
    assert_eq!(of(hog, busy(1_660 * millis, true)).len(), 1, "half");
    assert!(
        of(hog, busy(1_661 * millis, true)).is_empty(),
        "less than half"
    );
    let idle = Watch {
        long: 150 * millis,
        longs: 50,
        ..Watch::default()
    };
    assert!(
        of(idle, busy(180 * millis, true)).is_empty(),
        "the loop has time"
    );
}

#[test]
fn half_open_are_ten_that_have_had_no_traffic_for_ten_seconds() {
    let open = |for_long| Watch {
        half_open: Some(AT - for_long),
        ..Watch::default()
    };
    let long = Duration::from_secs(10);
    let of = |kind, watches: &[Watch], second: Second| {
        let half_open = watches.len();
        of(
            kind,
            watches,
            &Second {
                half_open,
                ..second
            },
        )
    };
    let found = of(Kind::Stream, &[open(long); 10], second());
    assert_eq!(
        found,
        [
            "half-open: 10 dispatchers outlived their peer's end of stream by over 10 s; the oldest is Thing 0.1"
        ]
    );
    assert!(of(Kind::Stream, &[open(long); 9], second()).is_empty());
    let fresh = open(Duration::from_millis(9_999));
    assert!(of(Kind::Stream, &[fresh; 100], second()).is_empty());
}

#[test]
fn half_open_names_the_oldest_and_stays_one_lint_when_that_changes() {
    let mut rows = Rows::default();
    let all = ids(20);
    for (id, seconds) in all.iter().zip(10..) {
        rows.add(Duration::ZERO, *id, "Thing", Kind::Stream, false);
        let since = AT - Duration::from_secs(seconds);
        rows.get_mut(*id).unwrap().watch.half_open = Some(since);
    }
    let mut board = Board::default();
    let half_open = all.len();
    let second = Second {
        half_open,
        ..second()
    };
    board.review(AT, &second, &rows);
    assert_eq!(board.ids().collect::<Vec<_>>(), [all[19]]);
    rows.remove(all[19]);
    board.review(AT, &second, &rows);
    assert_eq!(board.ids().collect::<Vec<_>>(), [all[18]]);
}

#[test]
fn timer_storm_is_a_thousand_turns_for_timers_alone() {
    let ticker = Watch {
        timers: 2_000,
        ..Watch::default()
    };
    let turns = |turns, timer_turns, closures_timers| Second {
        turns,
        timer_turns,
        closures_timers,
        ..second()
    };
    let of = |second| of(Kind::Service, &[ticker], &second);
    assert_eq!(
        of(turns(2_000, 1_960, 0)),
        [
            "timer-storm: 98 % of turns were woken by timers alone: 1,960 of them, with 2,000 timers of Thing 0.1"
        ]
    );
    assert!(of(turns(2_000, 1_960, 9_000))[0].ends_with("9,000 timers of closures"));
    assert_eq!(of(turns(1_000, 1_000, 0)).len(), 1);
    assert!(of(turns(999, 999, 0)).is_empty());
    assert_eq!(of(turns(3_000, 2_700, 0)).len(), 1);
    assert!(of(turns(3_000, 2_699, 0)).is_empty(), "there is other work");
    let in_two_seconds = |turns| Second {
        began: AT - Duration::from_secs(2),
        turns,
        timer_turns: turns,
        ..Second::default()
    };
    assert_eq!(of(in_two_seconds(2_000)).len(), 1);
    assert!(of(in_two_seconds(1_999)).is_empty(), "not a thousand each");
}

#[test]
fn timer_storm_names_the_first_of_those_with_the_most_timers() {
    let ticker = |timers| Watch {
        timers,
        ..Watch::default()
    };
    let second = Second {
        turns: 2_000,
        timer_turns: 2_000,
        ..second()
    };
    let found = of(Kind::Service, &[1_000, 2_000, 2_000].map(ticker), &second);
    let [only] = &found[..] else {
        panic!("{found:?}");
    };
    assert!(only.ends_with("2,000 timers of Thing 1.1"), "{only}");
}

#[test]
fn who_is_called_again_is_not_another() {
    let [one, other] = ids(2)[..] else {
        unreachable!("there are two");
    };
    let mut second = second();
    second.note_caller(one);
    second.note_caller(one);
    assert!(!second.has_others);
    second.note_caller(other);
    assert!(second.has_others);
}

#[test]
fn a_lint_as_json_has_an_id_if_it_is_about_a_dispatcher() {
    let pressed = Second {
        pressed: Some(Duration::ZERO),
        posts: 1_024,
        post_capacity: 1_024,
        ..second()
    };
    let mut rows = Rows::default();
    let id = ids(1)[0];
    rows.add(Duration::ZERO, id, "Thing", Kind::Stream, false);
    let idle_writes = 1_000;
    let watch = Watch {
        idle_writes,
        ..Watch::default()
    };
    watched(&mut rows, id, watch);
    let mut board = Board::default();
    board.review(AT, &pressed, &rows);
    let lints: Vec<_> = board.at(AT).collect();
    let ids: Vec<_> = serde_json::to_value(lints).unwrap().as_array().unwrap()[..]
        .iter()
        .map(|lint| (lint["lint"].clone(), lint["id"].clone()))
        .collect();
    let expected = [("idle-writer", "0.1"), ("post-pressure", "")];
    assert_eq!(ids, expected.map(|(lint, id)| (lint.into(), id.into())));
}

#[test]
fn post_pressure_is_a_full_queue_for_two_seconds() {
    let pressed = |for_long, posts_refused| Second {
        pressed: Some(AT - for_long),
        posts: 1_000,
        post_capacity: 1_024,
        posts_refused,
        ..second()
    };
    let long = Duration::from_secs(2);
    let text = "post-pressure: The post queue stood above 90 % for 2 s (1,000 of 1,024 places)";
    assert_eq!(review(&pressed(long, 0), &Rows::default()), [text]);
    let refused = format!("{text}; 7 posts were refused");
    assert_eq!(review(&pressed(long, 7), &Rows::default()), [refused]);
    let short = pressed(Duration::from_millis(1_999), 0);
    assert!(review(&short, &Rows::default()).is_empty());
    assert!(super::is_pressed(922, 1_024) && !super::is_pressed(921, 1_024));
    assert!(!super::is_pressed(0, 0));
}

#[test]
fn the_inspectors_own_dispatchers_are_not_judged() {
    let mut rows = Rows::default();
    let id = ids(1)[0];
    rows.add(Duration::ZERO, id, "Client", Kind::Stream, true);
    let idle_writes = 1_000_000;
    let watch = Watch {
        idle_writes,
        ..Watch::default()
    };
    watched(&mut rows, id, watch);
    assert!(review(&second(), &rows).is_empty());
}

#[test]
fn a_lint_holds_for_a_while_and_keeps_when_it_began() {
    let mut rows = Rows::default();
    let id = ids(1)[0];
    rows.add(Duration::ZERO, id, "Spinner", Kind::Stream, false);
    let watch = Watch {
        idle_writes: 1_000,
        ..Watch::default()
    };
    watched(&mut rows, id, watch);
    let mut board = Board::default();
    board.review(AT, &second(), &rows);
    let later = AT + Duration::from_secs(1);
    let next = Second {
        began: AT,
        ..Second::default()
    };
    board.review(later, &next, &rows);
    let lint = board.at(later).next().unwrap();
    assert_eq!(lint.since, 100e6);
    assert_eq!(board.at(later).count(), 1, "it is the same");
    rows.begin_second();
    board.review(later, &next, &rows);
    let last = later + HOLD - Duration::from_millis(1);
    assert_eq!(board.at(last).count(), 1);
    assert_eq!(board.at(later + HOLD).count(), 0);
    let quiet = Second {
        began: later + HOLD - Duration::from_secs(1),
        ..Second::default()
    };
    board.review(later + HOLD, &quiet, &rows);
    assert_eq!(board.ids().count(), 0, "it is forgotten");
}

#[test]
fn many_of_one_kind_do_not_fill_the_board() {
    let watch = Watch {
        idle_writes: 1_000,
        ..Watch::default()
    };
    let found = of(Kind::Stream, &vec![watch; 100], &second());
    assert_eq!(found.len(), MOST_OF_A_NAME);
}

#[test]
fn a_busy_loop_of_many_equal_connections_has_no_lint() {
    let watch = Watch {
        long: 2_000_000,
        longs: 1,
        idle_writes: 3,
        useful_writes: 50,
        timers: 1,
        unread: 1,
        ..Watch::default()
    };
    let second = Second {
        busy: 900_000_000,
        turns: 5_000,
        timer_turns: 500,
        has_others: true,
        half_open: 9,
        posts: 10,
        post_capacity: 65_536,
        ..second()
    };
    let found = of(Kind::Stream, &vec![watch; 1_000], &second);
    assert!(found.is_empty(), "{found:?}");
}
