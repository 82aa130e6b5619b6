//! Posting when the queue is full, and past those that wait: permits, which hold a place until it is
//! used; threads that wait for a place; urgent posts, which go first.
//!
//! That no thread waits for a place that is free is shown by a model as well. It is run through the
//! interleavings of up to three preemptions, in the right order and in wrong ones.

mod util;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use slabloop::testing::SimClock;
use slabloop::{Builder, Dispatcher, Handle, Permit, PostError, Reactor};
use util::*;

/// For turns that are to end for no reason but their budget in number.
const NO_LIMIT: Duration = Duration::from_secs(3600);

fn capacity(places: usize) -> Reactor {
    let mut builder = Reactor::builder();
    builder.post_capacity(places).posts_time(NO_LIMIT);
    builder.build().unwrap()
}

/// Waits for a thread, and fails instead of hanging.
#[track_caller]
fn join<T>(thread: thread::JoinHandle<T>, what: &str) -> T {
    wait_until(what, || thread.is_finished());
    thread.join().expect(what)
}

#[track_caller]
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < deadline, "waited too long for: {what}");
        thread::yield_now();
    }
}

/// Waits until so many threads sleep in `post_wait`.
#[track_caller]
fn wait_for_waiters(handle: &Handle, count: usize) {
    let wanted = format!("waiters: {count},");
    wait_until(&wanted, || format!("{handle:?}").contains(&wanted));
}

/// Posts until the queue is full; how many it took.
fn fill(handle: &Handle) -> usize {
    (0..).take_while(|_| handle.post(|_| ()).is_ok()).count()
}

/// What jobs write down in the order in which they run.
#[derive(Clone, Default)]
struct Order(Arc<Mutex<Vec<usize>>>);

impl Order {
    fn note(&self, number: usize) -> impl FnOnce(&mut Reactor) + Send + 'static {
        let order = Arc::clone(&self.0);
        move |_| order.lock().unwrap().push(number)
    }

    fn take(&self) -> Vec<usize> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// A job, and whether it has been dropped, which is seen by the count.
fn counted(alive: &Arc<()>) -> impl FnOnce(&mut Reactor) + Send + 'static {
    let inside = Arc::clone(alive);
    move |_| drop(inside)
}

#[test]
fn permits_posts_and_urgent_posts_share_the_capacity() {
    let mut reactor = capacity(4);
    let handle = reactor.handle();
    let (first, second) = (handle.reserve().unwrap(), handle.reserve().unwrap());
    handle.post(|_| ()).unwrap();
    handle.post_urgent(|_| ()).unwrap();
    assert!(matches!(handle.post(|_| ()), Err(PostError::Full(_))));
    assert!(matches!(
        handle.post_urgent(|_| ()),
        Err(PostError::Full(_))
    ));
    assert_eq!(handle.reserve().unwrap_err(), PostError::Full(()));
    assert_eq!(reactor.counters().posts_refused, 3);
    struct Nothing;
    impl Dispatcher for Nothing {}
    let service = reactor.add_service(Nothing).unwrap();
    let context = reactor.at(service).unwrap();
    assert_eq!(context.counters().posts_refused, 3, "in callbacks as well");
    turn(&mut reactor);
    assert_eq!(reactor.counters().posts, 2);
    assert_eq!(fill(&handle), 2, "the permits hold their places");
    assert!(first.post(|_| ()).is_ok());
    assert!(second.post_urgent(|_| ()).is_ok());
    turn(&mut reactor);
    assert_eq!(reactor.counters().posts, 6);
    assert_eq!(fill(&handle), 4, "no place was lost, and none was made");
}

#[test]
fn permits_may_take_the_whole_capacity() {
    let reactor = capacity(3);
    let handle = reactor.handle();
    let permits: Vec<_> = (0..3).map(|_| handle.reserve().unwrap()).collect();
    assert!(handle.reserve().is_err());
    assert_eq!(fill(&handle), 0);
    drop(permits);
    assert_eq!(fill(&handle), 3);
}

#[test]
fn a_dropped_permit_gives_its_place_back_once_and_a_used_one_does_not() {
    let mut reactor = capacity(2);
    let handle = reactor.handle();
    let permit = handle.reserve().unwrap();
    assert_eq!(fill(&handle), 1);
    drop(permit);
    assert_eq!(fill(&handle), 1, "the permit's");
    turn(&mut reactor);
    assert!(handle.reserve().unwrap().post(|_| ()).is_ok());
    assert_eq!(fill(&handle), 1, "the used permit's place is its job's");
}

#[test]
fn a_permits_job_stands_where_it_is_posted() {
    let mut reactor = capacity(8);
    let handle = reactor.handle();
    let order = Order::default();
    let permit = handle.reserve().unwrap();
    handle.post(order.note(1)).unwrap();
    assert!(permit.post(order.note(2)).is_ok());
    handle.post(order.note(3)).unwrap();
    assert!(handle.reserve().unwrap().post_urgent(order.note(0)).is_ok());
    turn(&mut reactor);
    assert_eq!(order.take(), [0, 1, 2, 3]);
}

#[test]
fn a_permit_gives_the_job_back_when_the_reactor_is_gone() {
    let reactor = capacity(8);
    let handle = reactor.handle();
    let permits: Vec<_> = (0..3).map(|_| handle.reserve().unwrap()).collect();
    drop(reactor);
    let [first, second, unused] = <[Permit; 3]>::try_from(permits).unwrap();
    let alive = Arc::new(());
    let back = first.post(counted(&alive)).err();
    let urgent = second.post_urgent(counted(&alive)).err();
    assert!(back.is_some() && urgent.is_some());
    assert_eq!(Arc::strong_count(&alive), 3, "both are here again");
    drop((back, urgent));
    assert_eq!(Arc::strong_count(&alive), 1);
    drop(unused);
    assert_eq!(handle.reserve().unwrap_err(), PostError::Gone(()));
    assert!(handle.post_urgent(|_| ()).unwrap_err().is_gone());
    let waited = handle.post_wait(|_| (), Duration::MAX);
    assert!(waited.unwrap_err().is_gone());
}

/// What waits holds permits, handles, or both: their drop takes the queue's lock.
#[test]
fn permits_in_jobs_that_never_ran_die_with_the_reactor() {
    let mut reactor = Reactor::builder();
    let reactor = reactor.post_capacity(8).posts_per_turn(1).build();
    let mut reactor = reactor.unwrap();
    let handle = reactor.handle();
    let alive = Arc::new(());
    for _ in 0..2 {
        let (ordinary, urgent) = (handle.reserve().unwrap(), handle.reserve().unwrap());
        let (first, second) = (Arc::clone(&alive), Arc::clone(&alive));
        handle.post(move |_| drop((ordinary, first))).unwrap();
        handle.post_urgent(move |_| drop((urgent, second))).unwrap();
    }
    turn(&mut reactor);
    assert_eq!(Arc::strong_count(&alive), 4, "one has run");
    drop(reactor);
    assert_eq!(Arc::strong_count(&alive), 1);
}

/// What the loop lends to a worker. It has to come back, whatever the worker does.
struct Lease {
    number: usize,
    permit: Option<Permit>,
    returned: Order,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let note = self.returned.note(self.number);
        let back = self.permit.take().unwrap().post(note);
        assert!(back.is_ok(), "the reactor lives");
    }
}

#[test]
fn leases_dropped_while_the_queue_is_full_all_come_back() {
    const LEASES: usize = 10;
    let mut reactor = capacity(16);
    let handle = reactor.handle();
    let returned = Order::default();
    let lend = |number| Lease {
        number,
        permit: Some(handle.reserve().unwrap()),
        returned: returned.clone(),
    };
    let mut leases: Vec<_> = (0..LEASES).map(lend).collect();
    assert_eq!(fill(&handle), 16 - LEASES);
    let panics = leases.pop().unwrap();
    let workers: Vec<_> = leases
        .into_iter()
        .map(|lease| thread::spawn(move || drop(lease)))
        .collect();
    for worker in workers {
        join(worker, "a lease to be dropped, which never blocks");
    }
    let worker = thread::spawn(move || {
        let _panics = panics;
        panic!("wanted: a worker that fails");
    });
    assert!(worker.join().is_err());
    assert!(handle.post(|_| ()).is_err(), "it was full all the time");
    turn(&mut reactor);
    let mut numbers = returned.take();
    assert_eq!(numbers.pop(), Some(LEASES - 1));
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..LEASES - 1));
    assert_eq!(fill(&handle), 16);
}

#[test]
fn a_permit_keeps_run_waiting_as_its_handle_does() {
    for round in 0..200 {
        let mut reactor = Reactor::new().unwrap();
        let (used, dropped) = {
            let handle = reactor.handle();
            (handle.reserve().unwrap(), handle.reserve().unwrap())
        };
        let other = thread::spawn(move || {
            (0..(round * 97) % 9000).for_each(|_| std::hint::spin_loop());
            // Each in turn is the last that could post.
            if round % 2 == 0 {
                drop(dropped);
                assert!(used.post(|_| ()).is_ok());
            } else {
                assert!(used.post(|_| ()).is_ok());
                drop(dropped);
            }
        });
        reactor.run().unwrap();
        assert_eq!(reactor.counters().posts, 1, "what was posted ran first");
        join(other, "the permits to be used");
    }
}

#[test]
fn a_permit_of_a_handle_that_does_not_count_does_not_count() {
    // On a thread of its own, for a permit that counts would keep `run` waiting for ever.
    let thread = thread::spawn(|| {
        let mut reactor = Reactor::new().unwrap();
        let permit = reactor.handle().unref().reserve().unwrap();
        reactor.run().unwrap();
        assert_eq!(reactor.counters().turns, 0, "nobody could wake it");
        assert!(permit.post(|_| ()).is_ok());
        reactor.run().unwrap();
        assert_eq!(reactor.counters().posts, 1, "a waiting post is work");
    });
    join(thread, "run to return");
}

#[test]
fn a_permit_goes_on_counting_when_its_handle_is_dropped_or_does_not_count_any_more() {
    let mut reactor = Reactor::new().unwrap();
    let counting = reactor.handle();
    let permit = counting.reserve().unwrap();
    drop(counting.unref());
    let thread = thread::spawn(move || permit.post(|_| ()).is_ok());
    reactor.run().unwrap();
    assert!(join(thread, "the permit to be used"));
    assert_eq!(reactor.counters().posts, 1);
}

#[test]
fn a_permit_may_be_used_from_any_thread() {
    fn any_thread<T: Send + Sync + 'static>() {}
    any_thread::<Permit>();
}

#[test]
fn post_wait_posts_at_once_while_there_is_room() {
    let mut reactor = capacity(2);
    let handle = reactor.handle();
    let own = handle.clone();
    let worker = thread::spawn(move || {
        own.post_wait(|_| (), Duration::MAX).unwrap();
        own.post_wait(|_| (), Duration::ZERO).unwrap();
    });
    join(worker, "posting, with nobody to make room");
    assert_eq!(fill(&handle), 0);
    turn(&mut reactor);
    assert_eq!(reactor.counters().posts, 2);
}

#[test]
fn a_thread_that_waits_for_room_is_woken_when_the_loop_takes_a_job() {
    let mut reactor = capacity(1);
    let handle = reactor.handle();
    let order = Order::default();
    handle.post(order.note(0)).unwrap();
    let (own, job) = (handle.clone(), order.note(1));
    let worker = thread::spawn(move || own.post_wait(job, Duration::MAX).unwrap());
    wait_for_waiters(&handle, 1);
    turn(&mut reactor);
    assert_eq!(order.take(), [0]);
    join(worker, "the waiting thread to be woken");
    turn(&mut reactor);
    assert_eq!(order.take(), [1]);
    wait_for_waiters(&handle, 0);
    assert_eq!(reactor.counters().posts_refused, 0);
}

/// An urgent job's place is like any other.
#[test]
fn a_thread_that_waits_for_room_is_woken_when_the_loop_takes_an_urgent_job() {
    let mut reactor = capacity(1);
    let handle = reactor.handle();
    handle.post_urgent(|_| ()).unwrap();
    let own = handle.clone();
    let worker = thread::spawn(move || own.post_wait(|_| (), Duration::MAX).unwrap());
    wait_for_waiters(&handle, 1);
    turn(&mut reactor);
    join(worker, "the waiting thread to be woken");
}

#[test]
fn as_many_waiting_threads_are_woken_as_there_are_places() {
    const THREADS: usize = 6;
    let mut reactor = capacity(4);
    let handle = reactor.handle();
    assert_eq!(fill(&handle), 4);
    let order = Order::default();
    let workers: Vec<_> = (0..THREADS)
        .map(|number| {
            let (own, job) = (handle.clone(), order.note(number));
            thread::spawn(move || own.post_wait(job, Duration::MAX).unwrap())
        })
        .collect();
    wait_for_waiters(&handle, THREADS);
    turn(&mut reactor);
    wait_for_waiters(&handle, THREADS - 4);
    assert_eq!(fill(&handle), 0, "they have the places");
    turn(&mut reactor);
    wait_for_waiters(&handle, 0);
    turn(&mut reactor);
    for worker in workers {
        join(worker, "a waiting thread to be woken");
    }
    let mut ran = order.take();
    ran.sort_unstable();
    assert!(ran.into_iter().eq(0..THREADS), "each once");
}

#[test]
fn a_permit_dropped_wakes_one_waiting_thread_for_its_place() {
    let mut reactor = capacity(3);
    let handle = reactor.handle();
    let mut permits: Vec<_> = (0..3).map(|_| handle.reserve().unwrap()).collect();
    let workers: Vec<_> = (0..3)
        .map(|_| {
            let own = handle.clone();
            thread::spawn(move || own.post_wait(|_| (), Duration::MAX).unwrap())
        })
        .collect();
    wait_for_waiters(&handle, 3);
    for left in (0..3).rev() {
        permits.pop();
        // Without the loop's doing.
        wait_for_waiters(&handle, left);
        assert!(format!("{handle:?}").contains(&format!("waiting: {}", 3 - left)));
    }
    for worker in workers {
        join(worker, "a waiting thread to be woken");
    }
    turn(&mut reactor);
    assert_eq!(reactor.counters().posts, 3);
}

#[test]
fn a_permit_that_is_used_frees_no_place_before_its_job_is_taken() {
    let mut reactor = capacity(1);
    let handle = reactor.handle();
    let permit = handle.reserve().unwrap();
    let order = Order::default();
    let (own, job) = (handle.clone(), order.note(1));
    let worker = thread::spawn(move || own.post_wait(job, Duration::MAX).unwrap());
    wait_for_waiters(&handle, 1);
    assert!(permit.post(order.note(0)).is_ok());
    wait_for_waiters(&handle, 1);
    turn(&mut reactor);
    join(worker, "the waiting thread to be woken");
    turn(&mut reactor);
    assert_eq!(order.take(), [0, 1]);
}

#[test]
fn post_wait_gives_up_when_the_time_is_up_and_gives_the_job_back() {
    const TIMEOUT: Duration = Duration::from_millis(20);
    let reactor = capacity(1);
    let handle = reactor.handle();
    let _permit = handle.reserve().unwrap();
    let (own, alive) = (handle.clone(), Arc::new(()));
    let job = counted(&alive);
    let worker = thread::spawn(move || {
        let started = Instant::now();
        let refused = own.post_wait(job, TIMEOUT).unwrap_err();
        assert!(started.elapsed() >= TIMEOUT, "it is never early");
        let at_once = own.post_wait(|_| (), Duration::ZERO).unwrap_err();
        assert!(!at_once.is_gone());
        refused
    });
    let refused = join(worker, "post_wait to give up");
    assert!(matches!(refused, PostError::Full(_)), "{refused}");
    assert_eq!(Arc::strong_count(&alive), 2, "the job is here again");
    drop(refused);
    assert_eq!(Arc::strong_count(&alive), 1);
    assert_eq!(reactor.counters().posts_refused, 2);
    wait_for_waiters(&handle, 0);
}

/// ws-rs #219 and #346: a bounded queue that blocks its poster stops for ever when the poster is the
/// loop itself.
#[test]
fn the_reactors_own_thread_does_not_wait_for_itself() {
    let (done, wait) = mpsc::channel();
    let thread = thread::spawn(move || {
        let mut reactor = capacity(2);
        let handle = reactor.handle();
        assert_eq!(fill(&handle), 2);
        let refused = handle.post_wait(|_| (), Duration::MAX).unwrap_err();
        assert!(!refused.is_gone(), "outside of a turn");
        turn(&mut reactor);
        let own = handle.clone();
        let job = move |_: &mut Reactor| {
            own.post_wait(|_| (), Duration::MAX).expect("there is room");
            assert_eq!(fill(&own), 1);
            let refused = own.post_wait(|_| (), Duration::MAX);
            done.send(refused.is_err()).unwrap();
        };
        handle.post(job).unwrap();
        turn(&mut reactor);
        assert_eq!(reactor.counters().posts, 3);
        assert_eq!(reactor.counters().panics, 0);
    });
    join(thread, "post_wait on the loop's own thread");
    assert_eq!(wait.try_recv(), Ok(true), "inside of a turn");
}

#[test]
fn threads_that_wait_when_the_reactor_is_dropped_are_told_and_get_their_jobs_back() {
    let reactor = capacity(1);
    let handle = reactor.handle();
    let alive = Arc::new(());
    handle.post(counted(&alive)).unwrap();
    let workers: Vec<_> = (0..3)
        .map(|_| {
            let (own, job) = (handle.clone(), counted(&alive));
            thread::spawn(move || own.post_wait(job, Duration::MAX).unwrap_err())
        })
        .collect();
    wait_for_waiters(&handle, 3);
    drop(reactor);
    assert_eq!(Arc::strong_count(&alive), 4, "the one that waited died");
    for worker in workers {
        let refused = join(worker, "a waiting thread to be told");
        assert!(refused.is_gone(), "{refused}");
    }
    assert_eq!(Arc::strong_count(&alive), 1);
}

#[test]
fn two_threads_post_a_hundred_thousand_jobs_through_sixty_four_places_in_order() {
    const THREADS: usize = 2;
    const EACH: usize = 50_000;
    let mut reactor = capacity(64);
    let seen = Arc::new([const { AtomicUsize::new(0) }; THREADS]);
    let workers: Vec<_> = (0..THREADS)
        .map(|own| {
            let (handle, seen) = (reactor.handle(), Arc::clone(&seen));
            thread::spawn(move || {
                for number in 0..EACH {
                    let seen = Arc::clone(&seen);
                    let job = move |_: &mut Reactor| {
                        let before = seen[own].fetch_add(1, Ordering::Relaxed);
                        assert_eq!(before, number, "in the order of their posting");
                    };
                    handle.post_wait(job, DEADLINE).expect("the loop runs");
                }
            })
        })
        .collect();
    // The threads' handles keep it going.
    reactor.run().unwrap();
    for worker in workers {
        join(worker, "a thread to finish");
    }
    let counters = reactor.counters();
    assert_eq!(counters.posts, (THREADS * EACH) as u64);
    assert_eq!((counters.posts_refused, counters.panics), (0, 0));
}

#[test]
fn urgent_jobs_run_before_all_that_wait_and_in_the_order_of_their_posting() {
    let mut reactor = capacity(100);
    let handle = reactor.handle();
    let order = Order::default();
    for number in 10..15 {
        handle.post(order.note(number)).unwrap();
    }
    for number in 0..5 {
        handle.post_urgent(order.note(number)).unwrap();
        handle.post(order.note(15 + number)).unwrap();
    }
    for number in 5..10 {
        handle.post_urgent(order.note(number)).unwrap();
    }
    turn(&mut reactor);
    assert!(order.take().into_iter().eq(0..20));
}

/// More than are taken off the queue at a time, in one turn.
#[test]
fn ten_thousand_urgent_jobs_run_before_ten_thousand_others() {
    const EACH: usize = 10_000;
    let mut builder = Reactor::builder();
    builder.posts_per_turn(100_000).posts_time(NO_LIMIT);
    let mut reactor = builder.build().unwrap();
    let handle = reactor.handle();
    let order = Order::default();
    for number in 0..EACH {
        handle.post(order.note(EACH + number)).unwrap();
        handle.post_urgent(order.note(number)).unwrap();
    }
    turn(&mut reactor);
    assert!(order.take().into_iter().eq(0..2 * EACH));
}

/// A builder whose clock is moved by jobs, so that the turn's time for posts is up when they say so.
fn clocked() -> (SimClock, Builder) {
    let clock = SimClock::new();
    let mut builder = Reactor::builder();
    builder
        .clock(clock.clone())
        .posts_time(Duration::from_millis(1));
    (clock, builder)
}

#[test]
fn an_urgent_job_runs_before_those_that_an_earlier_turn_had_no_time_for() {
    let (clock, mut builder) = clocked();
    let mut reactor = builder.posts_per_turn(100).build().unwrap();
    let handle = reactor.handle();
    let order = Order::default();
    let slow = move |_: &mut Reactor| clock.advance(Duration::from_millis(1));
    // Urgent jobs are left over, too, and those that come later do not overtake them.
    handle.post_urgent(slow.clone()).unwrap();
    for number in 0..50 {
        handle.post_urgent(order.note(number)).unwrap();
        handle.post(order.note(100 + number)).unwrap();
    }
    turn(&mut reactor);
    assert!(order.take().into_iter().eq(0..31), "the time was up");
    handle.post_urgent(order.note(50)).unwrap();
    handle.post_urgent(slow).unwrap();
    turn(&mut reactor);
    let ran = order.take();
    let second: Vec<_> = (31..51).chain(100..111).collect();
    assert_eq!(ran, second, "32 with the slow one");
    for number in 51..100 {
        handle.post_urgent(order.note(number)).unwrap();
    }
    turn(&mut reactor);
    assert!(order.take().into_iter().eq((51..100).chain(111..150)));
}

#[test]
fn a_turn_runs_no_more_posts_for_being_urgent_and_takes_no_fewer_urgent_ones_for_those_in_hand() {
    let (clock, mut builder) = clocked();
    let mut reactor = builder.posts_per_turn(50).build().unwrap();
    let handle = reactor.handle();
    let order = Order::default();
    handle
        .post(move |_| clock.advance(Duration::from_millis(1)))
        .unwrap();
    (101..200).for_each(|number| handle.post(order.note(number)).unwrap());
    turn(&mut reactor);
    assert!(order.take().into_iter().eq(101..132), "18 are in hand");
    (0..70).for_each(|number| handle.post_urgent(order.note(number)).unwrap());
    turn(&mut reactor);
    assert!(order.take().into_iter().eq(0..50));
    turn(&mut reactor);
    assert!(order.take().into_iter().eq((50..70).chain(132..162)));
    turn(&mut reactor);
    assert!(order.take().into_iter().eq(162..200));
}

/// The contract of `posts_time`.
#[test]
fn at_least_thirty_two_posts_run_in_a_turn_although_an_urgent_one_took_long() {
    let (clock, builder) = clocked();
    let mut reactor = builder.build().unwrap();
    let handle = reactor.handle();
    (0..100).for_each(|_| handle.post(|_| ()).unwrap());
    let slow = move |_: &mut Reactor| clock.advance(Duration::from_millis(1));
    handle.post_urgent(slow).unwrap();
    turn(&mut reactor);
    assert_eq!(reactor.counters().posts, 32);
}

fn post_urgently_again(reactor: &mut Reactor, runs: Arc<AtomicUsize>) {
    runs.fetch_add(1, Ordering::Relaxed);
    let again = move |reactor: &mut Reactor| post_urgently_again(reactor, runs);
    reactor.handle().post_urgent(again).unwrap();
}

#[test]
fn an_urgent_job_that_posts_itself_runs_once_a_turn() {
    let mut reactor = capacity(10);
    let runs = Arc::new(AtomicUsize::new(0));
    post_urgently_again(&mut reactor, Arc::clone(&runs));
    for turns in 1..=10 {
        assert_eq!(runs.load(Ordering::Relaxed), turns);
        turn(&mut reactor);
    }
}

#[test]
fn an_urgent_job_that_panics_changes_neither_the_order_nor_the_budget() {
    let mut builder = Reactor::builder();
    builder.posts_per_turn(4).posts_time(NO_LIMIT);
    let mut reactor = builder.build().unwrap();
    let handle = reactor.handle();
    let order = Order::default();
    (2..7).for_each(|number| handle.post(order.note(number)).unwrap());
    let panics = |_: &mut Reactor| panic!("wanted: an urgent post");
    handle.post_urgent(order.note(0)).unwrap();
    handle.post_urgent(panics).unwrap();
    handle.post_urgent(order.note(1)).unwrap();
    turn(&mut reactor);
    assert_eq!(order.take(), [0, 1, 2]);
    turn(&mut reactor);
    assert_eq!(order.take(), [3, 4, 5, 6]);
    assert_eq!(reactor.counters().panics, 1);
}

#[test]
fn an_urgent_post_wakes_a_loop_that_sleeps() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let worker = thread::spawn(move || {
        for _ in 0..100 {
            let (ran, wait) = mpsc::channel();
            handle.post_urgent(move |_| ran.send(()).unwrap()).unwrap();
            wait.recv_timeout(DEADLINE).expect("the loop is woken");
        }
        handle.post_urgent(|reactor| reactor.stop()).unwrap();
    });
    reactor.run().unwrap();
    join(worker, "the urgent posts to be run");
}

/// An urgent post is work, as an ordinary one is, without any handle.
#[test]
fn run_does_not_return_before_a_waiting_urgent_post_has_run() {
    let mut reactor = Reactor::builder().posts_per_turn(1).build().unwrap();
    let quiet = reactor.handle().unref();
    (0..3).for_each(|_| quiet.post_urgent(|_| ()).unwrap());
    reactor.run().unwrap();
    assert_eq!(reactor.counters().posts, 3);
}

/// Places and those who wait for them, on primitives whose every interleaving can be tried.
mod model {
    use loom::sync::{Condvar, Mutex};
    use loom::thread;
    use std::sync::Arc;

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Order {
        /// Look and be counted under one lock; free and look at the count under one lock, then wake.
        Right,
        /// The one who frees looks at the count before.
        CountsThenFrees,
        /// The one who waits looks under the lock, lets go of it, and then goes to sleep.
        LooksThenSleeps,
        /// The reactor is dropped, and nobody is woken.
        ClosesSilently,
    }

    struct State {
        free: usize,
        waiters: usize,
        jobs: Vec<usize>,
        closed: bool,
    }

    struct Shared {
        order: Order,
        state: Mutex<State>,
        room: Condvar,
        /// For the loop: there is something in the queue.
        posted: Condvar,
    }

    impl Shared {
        fn new(order: Order, free: usize) -> Arc<Shared> {
            Arc::new(Shared {
                order,
                state: Mutex::new(State {
                    free,
                    waiters: 0,
                    jobs: Vec::new(),
                    closed: false,
                }),
                room: Condvar::new(),
                posted: Condvar::new(),
            })
        }

        /// Whether the reactor was there to take the job.
        fn post_wait(&self, job: usize) -> bool {
            let mut state = self.state.lock().unwrap();
            if state.free == 0 && !state.closed {
                state.waiters += 1;
                if self.order == Order::LooksThenSleeps {
                    drop(state);
                    state = self.room.wait(self.state.lock().unwrap()).unwrap();
                }
                while state.free == 0 && !state.closed {
                    state = self.room.wait(state).unwrap();
                }
                state.waiters -= 1;
            }
            if state.closed {
                return false;
            }
            state.free -= 1;
            state.jobs.push(job);
            drop(state);
            self.posted.notify_one();
            true
        }

        fn free(&self, places: impl FnOnce(&mut State) -> usize) {
            let counted_before = self.state.lock().unwrap().waiters;
            let mut state = self.state.lock().unwrap();
            let places = places(&mut state);
            state.free += places;
            let waiters = match self.order {
                Order::CountsThenFrees => counted_before,
                _ => state.waiters,
            };
            drop(state);
            if places >= waiters {
                if waiters > 0 {
                    self.room.notify_all();
                }
            } else {
                (0..places).for_each(|_| self.room.notify_one());
            }
        }

        fn give_back(&self) {
            self.free(|_| 1);
        }

        fn take(&self) -> Vec<usize> {
            let mut state = self.state.lock().unwrap();
            while state.jobs.is_empty() {
                state = self.posted.wait(state).unwrap();
            }
            drop(state);
            let mut jobs = Vec::new();
            self.free(|state| {
                jobs = std::mem::take(&mut state.jobs);
                jobs.len()
            });
            jobs
        }

        fn close(&self) {
            let mut state = self.state.lock().unwrap();
            state.closed = true;
            drop(state);
            if self.order != Order::ClosesSilently {
                self.room.notify_all();
            }
        }
    }

    fn check(preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(preemptions);
        builder.check(body);
    }

    /// Threads wait for the one place there is, which the loop frees each time.
    fn every_waiter_gets_its_place(order: Order, posters: usize, preemptions: usize) {
        check(preemptions, move || {
            let shared = Shared::new(order, 1);
            let threads: Vec<_> = (0..posters)
                .map(|poster| {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || assert!(shared.post_wait(poster)))
                })
                .collect();
            let mut taken = Vec::new();
            while taken.len() < posters {
                taken.append(&mut shared.take());
            }
            threads.into_iter().for_each(|t| t.join().unwrap());
            taken.sort_unstable();
            assert!(taken.into_iter().eq(0..posters), "each job once");
            assert_eq!(shared.state.lock().unwrap().free, 1);
        });
    }

    /// Every place is held by a permit, and the permits are dropped.
    fn permits_dropped_wake_the_waiters(order: Order) {
        check(3, move || {
            let shared = Shared::new(order, 0);
            let threads: Vec<_> = (0..2)
                .map(|poster| {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || assert!(shared.post_wait(poster)))
                })
                .collect();
            shared.give_back();
            shared.give_back();
            threads.into_iter().for_each(|t| t.join().unwrap());
            assert_eq!(shared.state.lock().unwrap().jobs.len(), 2);
        });
    }

    fn closing_wakes_the_waiters(order: Order) {
        check(3, move || {
            let shared = Shared::new(order, 0);
            let threads: Vec<_> = (0..2)
                .map(|poster| {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || assert!(!shared.post_wait(poster)))
                })
                .collect();
            shared.close();
            threads.into_iter().for_each(|t| t.join().unwrap());
        });
    }

    #[test]
    fn no_interleaving_leaves_a_thread_waiting_while_the_loop_makes_room() {
        every_waiter_gets_its_place(Order::Right, 2, 3);
        every_waiter_gets_its_place(Order::Right, 3, 1);
    }

    #[test]
    fn no_interleaving_leaves_a_thread_waiting_when_permits_are_dropped() {
        permits_dropped_wake_the_waiters(Order::Right);
    }

    #[test]
    fn no_interleaving_leaves_a_thread_waiting_for_a_reactor_that_is_gone() {
        closing_wakes_the_waiters(Order::Right);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn looking_at_the_count_before_freeing_leaves_one_waiting() {
        permits_dropped_wake_the_waiters(Order::CountsThenFrees);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn going_to_sleep_after_the_lock_was_let_go_leaves_one_waiting() {
        every_waiter_gets_its_place(Order::LooksThenSleeps, 2, 3);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn closing_without_waking_leaves_one_waiting() {
        closing_wakes_the_waiters(Order::ClosesSilently);
    }
}
