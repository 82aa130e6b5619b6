//! Exercise 16: percentiles that leave nothing out.

#[cfg_attr(not(feature = "solution"), path = "start.rs")]
#[cfg_attr(feature = "solution", path = "solution.rs")]
mod code;

use code::{Plan, Request, percentile};

/// A thousand requests in a second.
const PLAN: Plan = Plan {
    every: 1_000,
    end: 1_000_000,
};

/// What a client records that sends each request when it is due and the last has been answered. The server takes
/// 100 µs for each, and does nothing from `freeze` on for so long.
fn record(plan: &Plan, freeze: u64, length: u64) -> Vec<Request> {
    let mut recording = Vec::new();
    let mut free = 0;
    for due in (0..plan.end).step_by(plan.every as usize) {
        let sent = free.max(due);
        if sent >= plan.end {
            break;
        }
        let asleep = (freeze..freeze + length).contains(&sent);
        let begun = if asleep { freeze + length } else { sent };
        free = begun + 100;
        let answered = (free <= plan.end).then_some(free);
        recording.push(Request { sent, answered });
    }
    recording
}

#[test]
fn without_a_freeze_each_takes_what_the_server_takes() {
    let recording = record(&PLAN, 0, 0);
    for per_mille in [1, 500, 990, 1000] {
        assert_eq!(percentile(&PLAN, &recording, per_mille), Some(100));
    }
}

#[test]
fn a_percentile_is_a_time_that_was_measured() {
    let plan = Plan {
        every: 1_000,
        end: 4_000,
    };
    let answers = [7, 1_005, 2_009, 3_003];
    let sent = (0..).step_by(1_000);
    let recording: Vec<_> = answers
        .into_iter()
        .zip(sent)
        .map(|(answered, sent)| Request {
            sent,
            answered: Some(answered),
        })
        .collect();
    // 3, 5, 7 and 9, of which half are 5 or less.
    let at = |per_mille| percentile(&plan, &recording, per_mille);
    assert_eq!(
        [at(250), at(500), at(501), at(1000)].map(Option::unwrap),
        [3, 5, 7, 9]
    );
    assert_eq!(at(1), Some(3), "the fastest is the lowest there is");
}

#[test]
fn a_request_that_was_sent_late_has_waited_since_it_was_due() {
    // A quarter of the second. Those that were due meanwhile took from 250 ms down to nothing.
    let recording = record(&PLAN, 500_000, 250_000);
    assert_eq!(percentile(&PLAN, &recording, 500), Some(100));
    let p99 = percentile(&PLAN, &recording, 990).unwrap();
    assert!(
        (230_000..250_000).contains(&p99),
        "the server stood still for a quarter of the time, and p99 is {p99} µs"
    );
}

#[test]
fn one_without_an_answer_is_not_left_out() {
    let mut recording = record(&PLAN, 0, 0);
    for request in &mut recording[..200] {
        request.answered = None;
    }
    let p90 = percentile(&PLAN, &recording, 900).unwrap();
    assert!(
        p90 >= 800_000,
        "a fifth was never answered, and p90 is {p90} µs"
    );
}

#[test]
fn one_that_was_not_sent_before_the_end_is_not_left_out() {
    let recording = record(&PLAN, 600_000, 10_000_000);
    assert!(recording.len() < 700, "the client is stuck, and stops");
    let p90 = percentile(&PLAN, &recording, 900).unwrap();
    assert!(
        (290_000..=310_000).contains(&p90),
        "for the last 400 ms nothing was answered, and p90 is {p90} µs"
    );
}

#[test]
fn a_server_that_never_answers_is_not_a_fast_one() {
    assert_eq!(percentile(&PLAN, &[], 1000), Some(PLAN.end));
    assert_eq!(percentile(&PLAN, &[], 500), Some(PLAN.end / 2));
}

#[test]
fn no_requests_have_no_percentile() {
    let plan = Plan {
        every: 1_000,
        end: 0,
    };
    assert_eq!(percentile(&plan, &[], 500), None);
}
