//! Other threads: no wake-up is lost, wake-ups are few, the queue is bounded, and either side may go
//! first.
//!
//! The order of flag and queue is shown twice. A model of it is run through every interleaving there
//! is, in the right order and in the two wrong ones; and real threads try to hit the real one in the
//! moment that matters.

mod util;

use std::cell::RefCell;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use slabloop::{Context, Dispatcher, Handle, PostError, Reactor};
use util::*;

/// Runs the reactor until it is stopped, on a thread of its own, which gives it back to nobody: it is
/// made there and dies there. Returns a handle that does not keep it running, and the thread.
fn reactor_on_a_thread() -> (Handle, thread::JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || {
        let mut reactor = Reactor::new().unwrap();
        // One handle that counts stays here, so that `run` waits for posts.
        let keeps_it_running = reactor.handle();
        sender.send(reactor.handle().unref()).unwrap();
        reactor.run().unwrap();
        drop(keeps_it_running);
    });
    (receiver.recv().unwrap(), thread)
}

/// Waits for a thread, and fails instead of hanging.
#[track_caller]
fn join<T>(thread: thread::JoinHandle<T>, what: &str) -> T {
    let deadline = Instant::now() + DEADLINE;
    while !thread.is_finished() {
        assert!(Instant::now() < deadline, "waited too long for: {what}");
        thread::yield_now();
    }
    thread.join().expect(what)
}

/// Posts, and tries again for as long as the queue is full.
fn post_patiently(handle: &Handle, mut job: Box<dyn FnOnce(&mut Reactor) + Send>) {
    loop {
        match handle.post(job) {
            Ok(()) => return,
            Err(PostError::Full(back)) => {
                job = back;
                thread::yield_now();
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// How often the reactor's eventfd has been written. The poller never reads it, being told of edges,
/// so its counter is the number of writes; the kernel shows it in the process's own listing.
#[cfg(target_os = "linux")]
fn wakes(reactor: &Reactor) -> u64 {
    let field = |text: &str, name: &str| -> Vec<String> {
        let values = text.lines().filter_map(|line| line.strip_prefix(name));
        values
            .map(|value| value.split_whitespace().next().unwrap().to_owned())
            .collect()
    };
    let info = |fd: &str| std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
    let watched = field(&info(&reactor.as_raw_fd().to_string()), "tfd:");
    let counts: Vec<String> = watched
        .iter()
        .flat_map(|fd| field(&info(fd), "eventfd-count:"))
        .collect();
    let [count] = &counts[..] else {
        panic!("one eventfd is watched: {counts:?}")
    };
    u64::from_str_radix(count, 16).unwrap()
}

/// The protocol of the queue, on primitives whose every interleaving can be tried.
///
/// libuv, HAProxy, redis and muduo have all lost wake-ups here; HAProxy's threads then slept for up to
/// a minute with work in their queue. Each time it was two lines in the wrong order.
mod model {
    use loom::sync::atomic::{AtomicBool, Ordering};
    use loom::sync::{Condvar, Mutex};
    use loom::thread;
    use std::sync::Arc;

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Order {
        /// Push, then set the flag; clear the flag, then take the queue.
        Right,
        /// The loop takes the queue first and clears the flag behind it.
        TakesThenClears,
        /// The poster wakes first and pushes behind it.
        WakesThenPushes,
        /// In the right order, but the loop clears the flag without reading what it overwrites.
        ClearsByStore,
    }

    struct Shared {
        order: Order,
        queue: Mutex<Vec<(usize, usize)>>,
        woken: AtomicBool,
        stop: AtomicBool,
        /// What the kernel's eventfd is to the loop: an event that stays until the loop has waited.
        event: Mutex<bool>,
        happened: Condvar,
    }

    impl Shared {
        fn new(order: Order) -> Arc<Shared> {
            Arc::new(Shared {
                order,
                queue: Mutex::new(Vec::new()),
                woken: AtomicBool::new(false),
                stop: AtomicBool::new(false),
                event: Mutex::new(false),
                happened: Condvar::new(),
            })
        }

        fn post(&self, job: (usize, usize)) {
            if self.order == Order::WakesThenPushes {
                self.wake();
                self.queue.lock().unwrap().push(job);
            } else {
                self.queue.lock().unwrap().push(job);
                self.wake();
            }
        }

        fn wake(&self) {
            if !self.woken.swap(true, Ordering::AcqRel) {
                *self.event.lock().unwrap() = true;
                self.happened.notify_one();
            }
        }

        fn wait(&self) {
            let mut event = self.event.lock().unwrap();
            while !*event {
                event = self.happened.wait(event).unwrap();
            }
            *event = false;
        }

        fn take(&self) -> Vec<(usize, usize)> {
            if !self.woken.load(Ordering::Acquire) {
                return Vec::new();
            }
            if self.order == Order::TakesThenClears {
                let jobs = std::mem::take(&mut *self.queue.lock().unwrap());
                self.woken.swap(false, Ordering::AcqRel);
                return jobs;
            }
            if self.order == Order::ClearsByStore {
                self.woken.store(false, Ordering::SeqCst);
            } else {
                self.woken.swap(false, Ordering::AcqRel);
            }
            std::mem::take(&mut *self.queue.lock().unwrap())
        }
    }

    /// Posters post; the loop waits and takes until it has everything. A lost wake-up leaves it waiting
    /// with nobody left to wake it, which the model's checker reports as a deadlock.
    fn every_job_is_taken(order: Order, posters: usize, each: usize, preemptions: Option<usize>) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = preemptions;
        builder.check(move || {
            let shared = Shared::new(order);
            let threads: Vec<_> = (0..posters)
                .map(|poster| {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || (0..each).for_each(|job| shared.post((poster, job))))
                })
                .collect();
            let mut taken = Vec::new();
            while taken.len() < posters * each {
                shared.wait();
                taken.append(&mut shared.take());
            }
            for poster in 0..posters {
                let jobs = taken.iter().filter(|job| job.0 == poster).map(|job| job.1);
                assert!(
                    jobs.eq(0..each),
                    "each job once, in order per thread: {taken:?}"
                );
            }
            threads.into_iter().for_each(|t| t.join().unwrap());
        });
    }

    #[test]
    fn no_interleaving_of_two_posters_loses_a_wakeup() {
        every_job_is_taken(Order::Right, 2, 1, None);
    }

    #[test]
    fn no_interleaving_of_posters_that_post_twice_loses_a_wakeup() {
        every_job_is_taken(Order::Right, 2, 2, Some(2));
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn taking_the_queue_before_clearing_the_flag_loses_one() {
        every_job_is_taken(Order::TakesThenClears, 2, 1, None);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn waking_before_pushing_loses_one() {
        every_job_is_taken(Order::WakesThenPushes, 1, 1, None);
    }

    /// `stop` goes through the same flag, but not through the lock: that it is set must be seen before
    /// the loop sleeps again.
    fn a_stop_beside_a_post_is_seen(order: Order) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(move || {
            let shared = Shared::new(order);
            let (posting, stopping) = (Arc::clone(&shared), Arc::clone(&shared));
            let poster = thread::spawn(move || posting.post((0, 0)));
            let stopper = thread::spawn(move || {
                stopping.stop.store(true, Ordering::Release);
                stopping.wake();
            });
            while !(shared.stop.load(Ordering::Acquire)
                && shared.stop.swap(false, Ordering::AcqRel))
            {
                shared.wait();
                shared.take();
            }
            poster.join().unwrap();
            stopper.join().unwrap();
        });
    }

    #[test]
    fn no_interleaving_of_a_post_and_a_stop_leaves_the_loop_asleep() {
        a_stop_beside_a_post_is_seen(Order::Right);
    }

    /// On machines that order a store and a later load of something else no better than the language
    /// does, the loop would clear the flag, read the old `stop`, and sleep.
    #[test]
    #[should_panic(expected = "deadlock")]
    fn clearing_the_flag_by_a_plain_store_loses_a_stop() {
        a_stop_beside_a_post_is_seen(Order::ClearsByStore);
    }
}

/// Two posts a moment apart: the first wakes the loop, the second is aimed at the moment in which the
/// loop looks at its queue, and has no other behind it that would make up for a lost wake-up. Threads
/// that only look at the queue keep its lock contended, so that the loop, letting go of it, has a
/// system call to make or is sent to sleep there: a moment of nanoseconds becomes one that is met.
#[test]
fn a_post_into_the_moment_in_which_the_queue_is_taken_is_not_lost() {
    const ROUNDS: usize = 20_000;
    let (handle, thread) = reactor_on_a_thread();
    let done = Arc::new(AtomicBool::new(false));
    let onlookers: Vec<_> = (0..2)
        .map(|_| {
            let (handle, done) = (handle.clone(), Arc::clone(&done));
            thread::spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    assert!(!format!("{handle:?}").is_empty());
                }
            })
        })
        .collect();
    let ran = Arc::new(AtomicUsize::new(0));
    let post = || {
        let ran = Arc::clone(&ran);
        let job = move |_: &mut Reactor| {
            ran.fetch_add(1, Ordering::Release);
        };
        handle.post(job).unwrap();
    };
    for round in 0..ROUNDS {
        post();
        (0..(round * 7) % 400).for_each(|_| std::hint::spin_loop());
        post();
        let deadline = Instant::now() + DEADLINE;
        while ran.load(Ordering::Acquire) < 2 * round + 2 {
            assert!(
                Instant::now() < deadline,
                "a wake-up was lost in round {round}"
            );
            thread::yield_now();
        }
    }
    done.store(true, Ordering::Relaxed);
    for onlooker in onlookers {
        join(onlooker, "an onlooker to finish");
    }
    handle.stop();
    join(thread, "run to return");
}

fn posts_of_many_threads(threads: usize, each: usize) {
    let (handle, thread) = reactor_on_a_thread();
    let seen: Arc<Mutex<Vec<usize>>> = Arc::new(Mutex::new(vec![0; threads]));
    let posters: Vec<_> = (0..threads)
        .map(|poster| {
            let (handle, seen) = (handle.clone(), Arc::clone(&seen));
            thread::spawn(move || {
                let mut random = u32::try_from(poster).unwrap();
                for number in 0..each {
                    let seen = Arc::clone(&seen);
                    let job = move |_: &mut Reactor| {
                        let mut seen = seen.lock().unwrap();
                        assert_eq!(seen[poster], number, "in the order of their posting");
                        seen[poster] += 1;
                    };
                    post_patiently(&handle, Box::new(job));
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    if random >> 28 == 0 {
                        (0..random >> 20).for_each(|_| std::hint::spin_loop());
                    }
                }
            })
        })
        .collect();
    for poster in posters {
        join(poster, "a poster to finish");
    }
    let deadline = Instant::now() + DEADLINE;
    while seen.lock().unwrap().iter().any(|&count| count < each) {
        assert!(Instant::now() < deadline, "jobs are missing: {seen:?}");
        thread::yield_now();
    }
    handle.stop();
    join(thread, "run to return");
    assert_eq!(*seen.lock().unwrap(), vec![each; threads], "each once");
}

#[test]
fn posts_of_eight_threads_run_once_each_and_in_order_per_thread() {
    posts_of_many_threads(8, 20_000);
}

#[test]
#[ignore = "a million posts from each of eight threads: minutes, for a quiet machine"]
fn a_million_posts_of_each_of_eight_threads_run_in_order() {
    posts_of_many_threads(8, 1_000_000);
}

/// redis and HAProxy: a stop that came before the loop slept was an event nobody waited for yet.
#[test]
fn stop_before_run_returns_from_run_at_once() {
    let mut reactor = Reactor::new().unwrap();
    let (_, _address) = serve(&mut reactor, || Echo);
    let handle = reactor.handle();
    handle.stop();
    reactor.run().unwrap();
    assert_eq!(reactor.counters().turns, 0, "not even one turn");
    reactor.stop();
    reactor.run().unwrap();
    assert_eq!(reactor.counters().turns, 0, "from the reactor's side, too");
    // It was used up: the next run runs, until it is stopped anew.
    handle.post(|reactor| reactor.stop()).unwrap();
    reactor.run().unwrap();
    assert_eq!(reactor.counters().posts, 1);
}

#[test]
fn posts_before_run_are_run_in_its_first_turn() {
    let mut reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let order = Arc::new(Mutex::new(Vec::new()));
    for number in 0..3 {
        let order = Arc::clone(&order);
        handle
            .post(move |_| order.lock().unwrap().push(number))
            .unwrap();
    }
    turn(&mut reactor);
    assert_eq!(*order.lock().unwrap(), [0, 1, 2]);
}

#[test]
fn stop_from_another_thread_ends_a_run_that_sleeps_and_one_that_is_about_to() {
    for round in 0..500 {
        let (handle, thread) = reactor_on_a_thread();
        (0..(round * 37) % 5000).for_each(|_| std::hint::spin_loop());
        handle.stop();
        join(thread, "run to return");
    }
}

/// libuv and mio state that wakes coalesce; without it a post costs a system call each.
#[test]
#[cfg(target_os = "linux")]
fn a_million_posts_to_a_busy_loop_cost_no_more_wakeups_than_turns() {
    const EACH: usize = 500_000;
    let mut reactor = Reactor::new().unwrap();
    let ran = Rc::new(RefCell::new(0));
    let posters: Vec<_> = (0..2)
        .map(|_| {
            let handle = reactor.handle();
            thread::spawn(move || {
                (0..EACH).for_each(|_| post_patiently(&handle, Box::new(|_| ())));
            })
        })
        .collect();
    let counted = Rc::clone(&ran);
    reactor.call_every(Duration::ZERO, move |_| *counted.borrow_mut() += 1);
    turn_until(&mut reactor, "all posts to run", |reactor| {
        reactor.counters().posts == 2 * EACH as u64
    });
    for poster in posters {
        join(poster, "a poster to finish");
    }
    let (wakes, turns) = (wakes(&reactor), reactor.counters().turns);
    assert!(wakes >= 1, "somebody was woken");
    assert!(wakes <= turns + 1, "{wakes} wake-ups in {turns} turns");
    assert!(
        *ran.borrow() + 1 >= turns,
        "timers ran in every turn beside the posts"
    );
}

/// muduo and gnet queue without a bound. Here the loop does not turn at all while ten times as much is
/// posted as it takes.
#[test]
#[cfg(target_os = "linux")]
fn a_full_queue_takes_exactly_its_capacity_and_gives_the_rest_back() {
    const CAPACITY: usize = 10_000;
    const EACH: usize = 25_000;
    let mut reactor = Reactor::builder()
        .post_capacity(CAPACITY)
        .posts_per_turn(700)
        .posts_time(Duration::from_secs(3600))
        .build()
        .unwrap();
    let alive = Arc::new(());
    let posters: Vec<_> = (0..4)
        .map(|_| {
            let (handle, alive) = (reactor.handle(), Arc::clone(&alive));
            thread::spawn(move || {
                let (mut taken, mut refused) = (0, 0);
                for _ in 0..EACH {
                    let alive = Arc::clone(&alive);
                    match handle.post(move |_| drop(alive)) {
                        Ok(()) => taken += 1,
                        Err(PostError::Full(_job)) => refused += 1,
                        Err(error) => panic!("{error}"),
                    }
                }
                (taken, refused)
            })
        })
        .collect();
    let counts: Vec<(usize, usize)> = posters
        .into_iter()
        .map(|poster| join(poster, "posting, which never blocks"))
        .collect();
    let taken: usize = counts.iter().map(|count| count.0).sum();
    let refused: usize = counts.iter().map(|count| count.1).sum();
    assert_eq!(
        (taken, refused),
        (CAPACITY, 4 * EACH - CAPACITY),
        "exactly the capacity"
    );
    assert_eq!(
        Arc::strong_count(&alive),
        CAPACITY + 1,
        "what was refused is kept nowhere"
    );
    assert_eq!(wakes(&reactor), 1, "one wake-up promises all of them");
    reactor.take_waits();
    let turns = CAPACITY.div_ceil(700);
    for left in (0..turns).rev() {
        let before = reactor.counters().posts;
        turn(&mut reactor);
        let ran = reactor.counters().posts - before;
        assert!(ran <= 700, "{ran} in one turn");
        assert_eq!(ran == 700, left > 0, "as many as may be");
    }
    assert_eq!(reactor.counters().posts, CAPACITY as u64);
    assert_eq!(Arc::strong_count(&alive), 1);
    let waits = reactor.take_waits();
    assert_eq!(
        waits[1..],
        vec![Some(Duration::ZERO); turns - 1],
        "no sleep while posts are left over"
    );
}

#[test]
fn a_refused_closure_comes_back_and_can_be_run() {
    let mut reactor = Reactor::builder().post_capacity(1).build().unwrap();
    let handle = reactor.handle();
    handle.post(|_| ()).unwrap();
    let mut text = Some(String::from("mine"));
    let job = move |_: &mut Reactor| drop(text.take());
    let refused = handle.post(job).unwrap_err();
    assert!(!refused.is_gone(), "{refused}");
    let mut job = refused.into_inner();
    job(&mut reactor);
    turn(&mut reactor);
    handle.post(|_| ()).expect("there is room again");
}

/// ws-rs #219 and #346: a bounded queue that blocks its poster stops for ever when the poster is the
/// loop itself. Here the loop is told that the queue is full and goes on.
#[test]
fn the_loop_that_fills_its_own_queue_is_refused_and_goes_on() {
    const CAPACITY: usize = 100;
    let mut reactor = Reactor::builder().post_capacity(CAPACITY).build().unwrap();
    let handle = reactor.handle();
    let taken = Arc::new(AtomicUsize::new(0));
    let (own, counted) = (handle.clone(), Arc::clone(&taken));
    let fill = move |_: &mut Reactor| {
        while own.post(|_| ()).is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    };
    handle.post(fill).unwrap();
    turn(&mut reactor);
    assert_eq!(taken.load(Ordering::Relaxed), CAPACITY);
    assert_eq!(
        reactor.counters().posts,
        1,
        "what a post posts waits for the next turn"
    );
    turn(&mut reactor);
    assert_eq!(reactor.counters().posts, 1 + CAPACITY as u64);
    // From a dispatcher's callback, too.
    let diary = Diary::default();
    let spy = Spy::new("poster", &diary).on_read(|cx| {
        cx.recv(&mut [0; 16])?;
        let handle = cx.handle();
        while handle.post(|_| ()).is_ok() {}
        Ok(())
    });
    let (_, mut peer) = spied_pair(&mut reactor, spy);
    std::io::Write::write_all(&mut peer, b"go").unwrap();
    turn_until(&mut reactor, "the second filling to run", |reactor| {
        reactor.counters().posts == 1 + 2 * CAPACITY as u64
    });
    assert_eq!(diary.of("poster"), ["read"]);
}

/// Notes where it is dropped, and does something while it is.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn posting_to_a_dropped_reactor_is_an_error_that_gives_the_closure_back() {
    let reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let quiet = reactor.handle().unref();
    drop(reactor);
    for handle in [handle.clone(), handle, quiet.clone(), quiet] {
        let mine = Arc::new(());
        let inside = Arc::clone(&mine);
        let refused = handle.post(move |_| drop(inside)).unwrap_err();
        assert!(refused.is_gone(), "{refused}");
        assert_eq!(Arc::strong_count(&mine), 2, "the closure is here again");
        drop(refused);
        assert_eq!(Arc::strong_count(&mine), 1);
        handle.stop();
        assert!(format!("{handle:?}").contains("gone: true"), "{handle:?}");
    }
}

#[test]
fn closures_still_queued_die_on_the_reactors_thread_each_once() {
    let dropped: Arc<Mutex<Vec<ThreadId>>> = Arc::default();
    let (sender, receiver) = mpsc::channel();
    let reactors = thread::spawn(move || {
        let reactor = Reactor::new().unwrap();
        let (posted, wait_for_posts) = mpsc::channel::<()>();
        sender.send((reactor.handle(), posted)).unwrap();
        wait_for_posts.recv().unwrap();
        drop(reactor);
        thread::current().id()
    });
    let (handle, posted) = receiver.recv().unwrap();
    for _ in 0..10 {
        let dropped = Arc::clone(&dropped);
        let note = OnDrop(move || dropped.lock().unwrap().push(thread::current().id()));
        handle.post(move |_| drop(note)).unwrap();
    }
    posted.send(()).unwrap();
    let its_thread = join(reactors, "the reactor to be dropped");
    assert_eq!(*dropped.lock().unwrap(), vec![its_thread; 10]);
}

#[test]
fn queued_closures_whose_drop_posts_or_panics_do_not_disturb_the_drop_of_the_reactor() {
    let reactor = Reactor::new().unwrap();
    let handle = reactor.handle();
    let (drops, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for number in 0..9 {
        let (own, drops, refused) = (handle.clone(), Arc::clone(&drops), Arc::clone(&refused));
        let on_drop = OnDrop(move || {
            drops.fetch_add(1, Ordering::Relaxed);
            match number % 3 {
                0 => panic!("a closure's drop panics"),
                1 => {
                    let error = own.post(|_| ()).expect_err("the reactor is going");
                    assert!(error.is_gone());
                    refused.fetch_add(1, Ordering::Relaxed);
                }
                _ => own.stop(),
            }
        });
        handle.post(move |_| drop(on_drop)).unwrap();
    }
    drop(reactor);
    assert_eq!(drops.load(Ordering::Relaxed), 9, "each was dropped");
    assert_eq!(
        refused.load(Ordering::Relaxed),
        3,
        "none was taken any more"
    );
}

#[test]
fn a_reactor_dropped_under_fire_takes_or_refuses_every_post() {
    for _ in 0..50 {
        let mut reactor = Reactor::new().unwrap();
        let start = Arc::new(Barrier::new(3));
        let alive = Arc::new(());
        let posters: Vec<_> = (0..2)
            .map(|_| {
                let (handle, start) = (reactor.handle(), Arc::clone(&start));
                let alive = Arc::clone(&alive);
                thread::spawn(move || {
                    start.wait();
                    let mut posted = 0;
                    loop {
                        let inside = Arc::clone(&alive);
                        match handle.post(move |_| drop(inside)) {
                            Ok(()) => posted += 1,
                            Err(error) if error.is_gone() => return posted,
                            Err(_) => thread::yield_now(),
                        }
                    }
                })
            })
            .collect();
        start.wait();
        turn(&mut reactor);
        turn(&mut reactor);
        drop(reactor);
        for poster in posters {
            join(poster, "a poster to be refused");
        }
        assert_eq!(
            Arc::strong_count(&alive),
            1,
            "none of the closures is left anywhere"
        );
    }
}

/// mio #1764: what nobody can wake any more must not sleep.
#[test]
fn dropping_the_last_handle_ends_a_run_that_has_nothing_else() {
    for round in 0..200 {
        let mut reactor = Reactor::new().unwrap();
        let (first, second) = (reactor.handle(), reactor.handle());
        let other = thread::spawn(move || {
            (0..(round * 97) % 9000).for_each(|_| std::hint::spin_loop());
            first.post(|_| ()).unwrap();
            drop(first);
            drop(second);
        });
        reactor.run().unwrap();
        assert_eq!(reactor.counters().posts, 1, "what was posted ran first");
        join(other, "the handles to be dropped");
    }
}

#[test]
fn a_handle_keeps_run_waiting_and_one_that_does_not_count_does_not() {
    let mut reactor = Reactor::new().unwrap();
    let quiet = reactor.handle().unref();
    reactor.run().unwrap();
    assert_eq!(reactor.counters().turns, 0, "nobody could wake it");
    // It can still post; a waiting post is work.
    quiet.post(|_| ()).unwrap();
    reactor.run().unwrap();
    assert_eq!(reactor.counters().posts, 1);
    // A clone of it does not count either; a handle made anew does.
    let copy = quiet.clone();
    reactor.run().unwrap();
    let counting = reactor.handle();
    let thread = thread::spawn(move || {
        counting.post(|_| ()).unwrap();
        drop(counting);
    });
    reactor.run().unwrap();
    join(thread, "the handle to be dropped");
    assert_eq!(reactor.counters().posts, 2);
    drop((quiet, copy));
    reactor.run().unwrap();
}

#[test]
fn a_handle_may_be_used_from_any_thread() {
    fn any_thread<T: Send + Sync + Clone + 'static>() {}
    any_thread::<Handle>();
}

/// Counts its ends.
struct Counting {
    closed: Rc<RefCell<Vec<u8>>>,
    number: usize,
}

impl Dispatcher for Counting {
    fn handle_error(&mut self, _: &mut Context<'_>, error: std::io::Error) {
        panic!("no socket is closed behind the reactor's back: {error}");
    }

    fn handle_close(&mut self, _: &mut Context<'_>) {
        self.closed.borrow_mut()[self.number] += 1;
    }
}

/// waitress #374, #377 and #506: a worker thread closed the socket while the loop was waiting on it,
/// and the loop died of EBADF, or served whoever had got the number. Here threads can only ask.
#[test]
fn threads_that_close_connections_through_posts_close_each_once_while_traffic_runs() {
    const CONNECTIONS: usize = 2_000;
    const ROUNDS: usize = 5;
    const THREADS: usize = 8;
    let mut reactor = Reactor::new().unwrap();
    let stale = Arc::new(AtomicUsize::new(0));
    for round in 0..ROUNDS {
        let closed = Rc::new(RefCell::new(vec![0; CONNECTIONS]));
        let mut peers = Vec::new();
        let mut ids = Vec::new();
        for number in 0..CONNECTIONS {
            let (ours, peer) = UnixStream::pair().unwrap();
            peer.set_nonblocking(true).unwrap();
            let closed = Rc::clone(&closed);
            let id = reactor.add(ours, Counting { closed, number }).unwrap();
            ids.push(id);
            peers.push(peer);
        }
        let threads: Vec<_> = (0..THREADS)
            .map(|own| {
                let (handle, ids, stale) = (reactor.handle(), ids.clone(), Arc::clone(&stale));
                thread::spawn(move || {
                    // Each connection is asked to close by two threads, from different ends.
                    let (share, reverse) = (own / 2, own % 2 == 1);
                    let mut mine: Vec<_> =
                        ids.into_iter().skip(share).step_by(THREADS / 2).collect();
                    if reverse {
                        mine.reverse();
                    }
                    for id in mine {
                        let stale = Arc::clone(&stale);
                        let close = move |reactor: &mut Reactor| match reactor.at(id) {
                            Some(mut connection) => connection.abort(),
                            None => {
                                stale.fetch_add(1, Ordering::Relaxed);
                            }
                        };
                        post_patiently(&handle, Box::new(close));
                    }
                })
            })
            .collect();
        let mut next = 0;
        turn_until(&mut reactor, "all to be closed", |reactor| {
            for _ in 0..50 {
                // Whether it is still open is not for this side to know.
                let _ = std::io::Write::write(&mut peers[next % CONNECTIONS], b"traffic");
                next += 7;
            }
            let posts = (round + 1) * 2 * CONNECTIONS;
            reactor.count() == 0 && reactor.counters().posts == posts as u64
        });
        for thread in threads {
            join(thread, "a thread to have asked for all");
        }
        assert_eq!(*closed.borrow(), vec![1; CONNECTIONS], "each closed once");
    }
    let asked = ROUNDS * CONNECTIONS * 2;
    assert_eq!(
        stale.load(Ordering::Relaxed),
        asked - ROUNDS * CONNECTIONS,
        "every second request came too late, and was told so"
    );
    assert_eq!(reactor.counters().panics, 0);
}
