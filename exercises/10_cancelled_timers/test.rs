//! Exercise 10: timers that are cancelled leave nothing behind, and wake nobody.

#[cfg_attr(not(feature = "solution"), path = "start.rs")]
#[cfg_attr(feature = "solution", path = "solution.rs")]
mod code;

use std::time::Duration;

use code::Timers;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn timers_fire_in_order_and_never_early() {
    let mut timers = Timers::new();
    let late = timers.set(ms(0), ms(30));
    let early = timers.set(ms(0), ms(10));
    let as_early = timers.set(ms(5), ms(5));
    assert_eq!(timers.timeout(ms(5)), Some(ms(5)));
    assert_eq!(timers.fire(ms(10) - Duration::from_nanos(1)), []);
    assert_eq!(timers.fire(ms(10)), [early, as_early]);
    assert_eq!(timers.timeout(ms(40)), Some(ms(0)));
    assert_eq!(timers.fire(ms(40)), [late]);
    assert_eq!(timers.timeout(ms(40)), None);
}

#[test]
fn a_cancelled_timer_does_not_fire() {
    let mut timers = Timers::new();
    let ids: Vec<_> = (0..100).map(|at| timers.set(ms(0), ms(at))).collect();
    for id in ids.iter().step_by(2) {
        assert!(timers.cancel(*id));
        assert!(!timers.cancel(*id), "it is cancelled already");
    }
    let odd: Vec<_> = ids.iter().copied().skip(1).step_by(2).collect();
    assert_eq!(timers.fire(ms(100)), odd);
    assert!(!timers.cancel(odd[0]), "it has fired already");
}

/// A server with 100 connections. Each request sets a timeout of 30 s and cancels it when it is answered.
#[test]
fn many_cancelled_timers_leave_nothing_behind() {
    let mut timers = Timers::new();
    let mut most = 0;
    let mut open: Vec<_> = (0..100).map(|_| timers.set(ms(0), ms(30_000))).collect();
    for request in 0..200_000u64 {
        let now = Duration::from_micros(10 * request);
        let connection = (request * 7 % 100) as usize;
        assert!(timers.cancel(open[connection]));
        open[connection] = timers.set(now, ms(30_000));
        most = most.max(timers.in_memory());
    }
    assert!(most <= 300, "{most} due times in memory for 100 timers");
    assert_eq!(timers.fire(ms(60_000)).len(), 100);
    assert_eq!(timers.in_memory(), 0);
}

#[test]
fn those_that_stay_do_not_make_those_that_go_expensive() {
    let mut timers = Timers::new();
    for at in 0..5_000 {
        timers.set(ms(0), ms(100_000 + at));
    }
    // If each of these looked at all the others, you would wait for it: a hundred million looks.
    for _ in 0..20_000 {
        let id = timers.set(ms(0), ms(10));
        timers.cancel(id);
    }
    let most = 2 * 5_000 + 100;
    assert!(timers.in_memory() <= most, "{}", timers.in_memory());
    assert_eq!(timers.fire(ms(1_000_000)).len(), 5_000);
}

#[test]
fn the_loop_does_not_wake_for_a_cancelled_timer() {
    let mut timers = Timers::new();
    let early: Vec<_> = (0..10).map(|at| timers.set(ms(0), ms(at))).collect();
    let late = timers.set(ms(0), ms(500));
    for id in early {
        timers.cancel(id);
    }
    assert_eq!(timers.timeout(ms(0)), Some(ms(500)));
    timers.cancel(late);
    assert_eq!(timers.timeout(ms(0)), None, "it may sleep for ever");
}
