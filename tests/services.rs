//! Dispatchers without a socket, closures that callbacks put off, and timers that are named, reset or do not
//! keep the loop running.

mod util;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use slabloop::testing::SimClock;
use slabloop::{Cause, Context, Dispatcher, Id, Reactor, TimerId};
use util::*;

const SECOND: Duration = Duration::from_secs(1);

/// Notes what it is called for.
struct Service(Diary);

impl Dispatcher for Service {
    fn handle_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) -> io::Result<()> {
        let text = format!("timer {}", timer.tag());
        self.0.note("service", cx.any_id(), text);
        Ok(())
    }

    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.0.note("service", cx.any_id(), "read");
        Ok(())
    }

    fn handle_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.0.note("service", cx.any_id(), "write");
        Ok(())
    }

    fn handle_shutdown(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.0.note("service", cx.any_id(), "shutdown");
        Ok(())
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        let text = format!("close {:?}", cx.end_cause());
        self.0.note("service", cx.any_id(), text);
    }
}

fn simulated() -> (Reactor, SimClock) {
    let clock = SimClock::new();
    let reactor = Reactor::builder().clock(clock.clone()).build();
    (reactor.expect("a poller"), clock)
}

#[test]
fn a_service_does_not_keep_run_from_returning_and_its_timers_do() {
    let mut reactor = Reactor::new().expect("a poller");
    let diary = Diary::default();
    let id = reactor.add_service(Service(diary.clone())).expect("room");
    reactor.run().expect("nothing to do");
    assert_eq!(reactor.count(), 1, "it is still there");
    reactor.at(id).expect("there").set_timer(Duration::ZERO);
    reactor.run().expect("one timer");
    assert_eq!(diary.of("service"), ["timer 0"]);
}

#[test]
fn a_timer_without_a_claim_does_not_keep_run_from_returning_and_fires_all_the_same() {
    let (mut reactor, clock) = simulated();
    let diary = Diary::default();
    let id = reactor.add_service(Service(diary.clone())).expect("room");
    let timer = reactor.at(id).expect("there").set_interval(SECOND);
    assert!(reactor.unref_timer(timer));
    reactor.run().expect("nothing to wait for");
    assert!(reactor.reset_timer(timer, 2 * SECOND), "still set");
    reactor.run().expect("setting it anew gives it no claim");
    clock.advance(2 * SECOND);
    turn(&mut reactor);
    assert_eq!(diary.of("service"), ["timer 0"]);
    assert!(reactor.cancel_timer(timer) && !reactor.unref_timer(timer));
}

#[test]
fn a_service_has_no_socket_to_read_or_write() {
    let mut reactor = Reactor::new().expect("a poller");
    let diary = Diary::default();
    let id = reactor.add_service(Service(diary.clone())).expect("room");
    let mut service = reactor.at(id).expect("there");
    service.start_writing();
    service.resume_reading();
    let sent = service.send(b"x").expect_err("there is nobody");
    let received = service.recv(&mut [0; 8]).expect_err("there is nobody");
    for error in [sent, received] {
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        assert!(error.to_string().contains("service"), "{error}");
    }
    assert!(service.local_addr().is_err() && service.peer().is_none());
    assert_asleep(&mut reactor, "with a service alone");
    assert!(diary.all().is_empty(), "{:?}", diary.all());
    assert_eq!(reactor.gauges().services, 1);
    reactor.at(id).expect("there").close();
    turn(&mut reactor);
    assert_eq!(diary.of("service"), ["close Some(Finished)"]);
    assert_eq!(reactor.gauges().services, 0);
}

#[test]
fn a_shutdown_tells_services_and_closes_them_last() {
    let mut reactor = Reactor::new().expect("a poller");
    let diary = Diary::default();
    reactor.add_service(Service(diary.clone())).expect("room");
    let (_, peer) = spied_pair(&mut reactor, Spy::new("stream", &diary));
    drop(peer);
    let aborted = reactor.shutdown(DEADLINE).expect("the loop works");
    assert_eq!(aborted, []);
    assert_eq!(
        diary.of("service"),
        ["shutdown", "close Some(Shutdown)"],
        "{:?}",
        diary.all()
    );
    assert_eq!(
        diary
            .all()
            .last()
            .map(String::as_str)
            .map(|last| last.contains("close")),
        Some(true)
    );
    assert_eq!(reactor.counters().ends.shutdown, 1);
}

/// Defers when it closes.
struct Leaver(Rc<RefCell<Vec<&'static str>>>, Rc<Cell<Option<Id<Leaver>>>>);

impl Dispatcher for Leaver {
    fn handle_close(&mut self, cx: &mut Context<'_>) {
        let (order, successor) = (Rc::clone(&self.0), Rc::clone(&self.1));
        order.borrow_mut().push("close");
        cx.defer(move |reactor| {
            order.borrow_mut().push("deferred");
            let next = Leaver(order, Rc::clone(&successor));
            successor.set(Some(reactor.add_service(next).expect("room")));
        });
    }
}

#[test]
fn what_handle_close_defers_runs_in_the_next_turn_and_may_add() {
    let mut reactor = Reactor::new().expect("a poller");
    let order = Rc::new(RefCell::new(Vec::new()));
    let successor = Rc::new(Cell::new(None));
    let leaver = Leaver(Rc::clone(&order), Rc::clone(&successor));
    let id = reactor.add_service(leaver).expect("room");
    reactor.at(id).expect("there").close();
    turn(&mut reactor);
    assert_eq!(*order.borrow(), ["close"]);
    // It keeps `run` going, and the wait short.
    reactor.run().expect("the loop works");
    assert_eq!(*order.borrow(), ["close", "deferred"]);
    let successor = successor.get().expect("added");
    assert!(reactor.at(successor).is_some());
}

#[test]
fn deferred_closures_run_in_order_after_the_callbacks_and_what_they_defer_waits_a_turn() {
    let mut reactor = Reactor::new().expect("a poller");
    let order = Rc::new(RefCell::new(Vec::new()));
    let note = {
        let order = Rc::clone(&order);
        move |what: &'static str| order.borrow_mut().push(what)
    };
    let id = reactor
        .add_service(Service(Diary::default()))
        .expect("room");
    let (first, second, third) = (note.clone(), note.clone(), note.clone());
    let mut cx = reactor.at(id).expect("there");
    cx.defer(move |reactor| {
        first("first");
        reactor
            .at(id)
            .expect("there")
            .defer(move |_| third("third, next turn"));
    });
    cx.defer(move |_| second("second"));
    turn(&mut reactor);
    assert_eq!(*order.borrow(), ["first", "second"]);
    turn(&mut reactor);
    assert_eq!(*order.borrow(), ["first", "second", "third, next turn"]);
}

#[test]
fn a_deferred_closure_that_panics_loses_none_of_the_others() {
    let mut reactor = Reactor::new().expect("a poller");
    let id = reactor
        .add_service(Service(Diary::default()))
        .expect("room");
    let ran = Rc::new(Cell::new(0));
    let count = Rc::clone(&ran);
    let mut cx = reactor.at(id).expect("there");
    cx.defer(|_| panic!("on purpose"));
    cx.defer(move |_| count.set(count.get() + 1));
    turn(&mut reactor);
    assert_eq!(ran.get(), 1);
    assert_eq!(reactor.counters().panics, 1);
    assert_eq!(reactor.count(), 1, "no dispatcher ends for it");
}

#[test]
fn a_closure_set_for_later_in_handle_close_outlives_its_dispatcher() {
    struct Dying(Rc<Cell<u32>>);
    impl Dispatcher for Dying {
        fn handle_close(&mut self, cx: &mut Context<'_>) {
            let fired = Rc::clone(&self.0);
            cx.call_later(SECOND, move |_| fired.set(fired.get() + 1));
        }
    }
    let (mut reactor, clock) = simulated();
    let fired = Rc::new(Cell::new(0));
    let id = reactor.add_service(Dying(Rc::clone(&fired))).expect("room");
    reactor.at(id).expect("there").close();
    turn(&mut reactor);
    assert_eq!(reactor.count(), 0);
    turn(&mut reactor);
    assert_eq!(fired.get(), 0, "never before its time");
    clock.advance(SECOND);
    reactor.run().expect("it waits for the closure");
    assert_eq!(fired.get(), 1);
}

#[test]
fn closures_that_never_ran_are_dropped_with_the_reactor() {
    struct Counted(Rc<Cell<u32>>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    struct Dying(Rc<Cell<u32>>);
    impl Dispatcher for Dying {
        fn handle_close(&mut self, cx: &mut Context<'_>) {
            for later in [false, true] {
                let captured = Counted(Rc::clone(&self.0));
                let unreachable = move |_: &mut Reactor| {
                    let _captured = &captured;
                    unreachable!("the reactor is gone");
                };
                if later {
                    cx.call_later(Duration::ZERO, unreachable);
                } else {
                    cx.defer(unreachable);
                }
            }
        }
    }
    let mut reactor = Reactor::new().expect("a poller");
    let dropped = Rc::new(Cell::new(0));
    reactor
        .add_service(Dying(Rc::clone(&dropped)))
        .expect("room");
    drop(reactor);
    assert_eq!(dropped.get(), 2);
}

#[test]
fn a_tag_says_which_timer_it_is_and_is_part_of_its_id() {
    let (mut reactor, clock) = simulated();
    let diary = Diary::default();
    let id = reactor.add_service(Service(diary.clone())).expect("room");
    let mut cx = reactor.at(id).expect("there");
    let late = cx.set_tagged_timer(2 * SECOND, 2);
    cx.set_tagged_timer(SECOND, 1);
    let cancelled = cx.set_tagged_timer(SECOND, 3);
    assert_eq!((late.tag(), cancelled.tag()), (2, 3));
    assert!(cx.cancel_timer(cancelled));
    clock.advance(2 * SECOND);
    turn(&mut reactor);
    assert_eq!(diary.of("service"), ["timer 1", "timer 2"]);
}

#[test]
fn a_timer_that_is_reset_fires_at_its_new_time_only_and_keeps_its_id() {
    let (mut reactor, clock) = simulated();
    let diary = Diary::default();
    let id = reactor.add_service(Service(diary.clone())).expect("room");
    let timer = reactor.at(id).expect("there").set_tagged_timer(SECOND, 7);
    for _ in 0..1000 {
        clock.advance(SECOND / 2);
        turn_for(&mut reactor, Duration::ZERO);
        assert!(reactor.reset_timer(timer, SECOND), "it has not fired");
    }
    assert!(diary.all().is_empty());
    // Earlier works as well as later.
    assert!(reactor.reset_timer(timer, SECOND / 4));
    clock.advance(SECOND / 4);
    turn(&mut reactor);
    assert_eq!(diary.of("service"), ["timer 7"]);
    assert!(!reactor.reset_timer(timer, SECOND), "it has fired");
    clock.advance(10 * SECOND);
    turn(&mut reactor);
    assert_eq!(diary.of("service").len(), 1);
}

#[test]
fn a_timer_that_is_reset_by_one_due_before_it_does_not_fire_in_that_turn() {
    struct Resets(Rc<Cell<Option<TimerId>>>, Diary);
    impl Dispatcher for Resets {
        fn handle_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) -> io::Result<()> {
            self.1
                .note("resets", cx.any_id(), format!("{}", timer.tag()));
            if let Some(other) = self.0.take() {
                assert!(cx.reset_timer(other, SECOND));
            }
            Ok(())
        }
    }
    let (mut reactor, clock) = simulated();
    let (other, diary) = (Rc::new(Cell::new(None)), Diary::default());
    let resets = Resets(Rc::clone(&other), diary.clone());
    let id = reactor.add_service(resets).expect("room");
    let mut cx = reactor.at(id).expect("there");
    cx.set_tagged_timer(SECOND, 1);
    other.set(Some(cx.set_tagged_timer(SECOND, 2)));
    clock.advance(SECOND);
    turn(&mut reactor);
    assert_eq!(diary.of("resets"), ["1"]);
    clock.advance(SECOND);
    turn(&mut reactor);
    assert_eq!(diary.of("resets"), ["1", "2"]);
}

#[test]
fn an_interval_that_is_reset_begins_a_new_grid() {
    let (mut reactor, clock) = simulated();
    let diary = Diary::default();
    let id = reactor.add_service(Service(diary.clone())).expect("room");
    let timer = reactor.at(id).expect("there").set_interval(SECOND);
    clock.advance(SECOND / 2);
    assert!(reactor.reset_timer(timer, SECOND / 4));
    let mut fired = Vec::new();
    for quarter in 3..12 {
        clock.advance(SECOND / 4);
        turn(&mut reactor);
        if diary.of("service").len() > fired.len() {
            fired.push(quarter);
        }
    }
    assert_eq!(fired, [3, 7, 11], "quarters of a second");
}

#[test]
fn now_is_the_time_of_the_turn() {
    struct Clockwise(
        Rc<Cell<Option<Duration>>>,
        SimClock,
        Option<std::time::Instant>,
    );
    impl Dispatcher for Clockwise {
        fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
            let now = cx.now();
            self.1.advance(SECOND);
            assert_eq!(cx.now(), now, "within a turn it stands still");
            self.0.set(self.2.map(|last| now - last));
            self.2 = Some(now);
            Ok(())
        }
    }
    let (mut reactor, clock) = simulated();
    let between = Rc::new(Cell::new(None));
    let service = Clockwise(Rc::clone(&between), clock.clone(), None);
    let id = reactor.add_service(service).expect("room");
    reactor.at(id).expect("there").set_interval(SECOND);
    clock.advance(SECOND);
    turn(&mut reactor);
    clock.advance(SECOND);
    turn(&mut reactor);
    assert_eq!(between.get(), Some(2 * SECOND));
    assert_eq!(reactor.end_of(id), None::<Cause>);
}
