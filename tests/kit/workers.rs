//! The pool of threads: order, refusals, cancelling, panics, and every way in which it can end.

#[path = "../util/log_lines.rs"]
mod log_lines;
#[path = "../util/mod.rs"]
mod util;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use log_lines::{keep_log, take_log};
use slabloop::kit::workers::{FullQueue, Job, SpawnError, WorkerPanic, Workers};
use slabloop::{Cause, Context, Dispatcher, Id, Reactor};
use util::*;

/// A dispatcher that notes what it is called for.
#[derive(Default)]
struct Asker {
    answers: Vec<u32>,
}

impl Dispatcher for Asker {}

/// What `then` is in most tests.
fn note(
    asker: &mut Asker,
    _: &mut Context<'_>,
    answer: Result<u32, WorkerPanic>,
) -> io::Result<()> {
    asker.answers.push(answer.expect("it does not panic"));
    Ok(())
}

/// A reactor, a pool of so many threads and places, and an asker.
fn pool(threads: usize, queue: usize) -> (Reactor, Workers, Id<Asker>) {
    let mut reactor = Reactor::new().expect("a poller");
    let workers = Workers::builder().threads(threads).queue(queue);
    let workers = workers.build(&mut reactor).expect("threads");
    let asker = reactor.add_service(Asker::default()).expect("room");
    (reactor, workers, asker)
}

fn answers(reactor: &mut Reactor, asker: Id<Asker>) -> Vec<u32> {
    let answers = reactor.with(asker, |asker, _| asker.answers.clone());
    answers.expect("it is there")
}

/// Spawns a job whose answer is noted.
#[track_caller]
fn spawn(
    reactor: &mut Reactor,
    workers: &Workers,
    asker: Id<Asker>,
    work: impl FnOnce() -> u32 + Send + 'static,
) -> Job {
    let mut cx = reactor.at(asker).expect("it is there");
    workers.spawn(&mut cx, asker, work, note).expect("room")
}

/// A job that holds its thread until the gate is opened, or dropped.
struct Gate {
    open: Option<Sender<()>>,
    began: Receiver<()>,
}

impl Gate {
    fn new(answer: u32) -> (Gate, impl FnOnce() -> u32 + Send + 'static) {
        let (open, opened) = channel();
        let (begin, began) = channel();
        let work = move || {
            let _ = begin.send(());
            let _ = opened.recv_timeout(DEADLINE);
            answer
        };
        let gate = Gate {
            open: Some(open),
            began,
        };
        (gate, work)
    }

    /// Waits until a thread is in the job.
    #[track_caller]
    fn wait(&self) {
        self.began
            .recv_timeout(DEADLINE)
            .expect("a thread takes it");
    }

    fn open(&mut self) {
        self.open = None;
    }
}

/// A gate in a thread.
#[track_caller]
fn gated(reactor: &mut Reactor, workers: &Workers, asker: Id<Asker>, answer: u32) -> Gate {
    let (gate, work) = Gate::new(answer);
    spawn(reactor, workers, asker, work);
    gate.wait();
    gate
}

/// What was logged as a warning, or worse, since the last look.
fn warnings() -> Vec<String> {
    let lines = take_log().into_iter();
    let warnings = lines.filter(|(level, _)| *level <= log::Level::Warn);
    warnings.map(|(_, line)| line).collect()
}

/// Notes the thread on which it is dropped.
struct Dropped(Arc<Mutex<Vec<ThreadId>>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(thread::current().id());
    }
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

#[test]
fn a_job_runs_on_a_named_thread_and_its_result_comes_to_the_dispatcher_on_the_loop() {
    let mut reactor = Reactor::new().unwrap();
    let workers = Workers::builder().threads(1).name("hash");
    let workers = workers.build(&mut reactor).unwrap();
    let asker = reactor.add_service(Asker::default()).unwrap();
    let seen = Rc::new(RefCell::new(None));
    let noted = Rc::clone(&seen);
    let here = thread::current().id();
    let work = || thread::current().name().map(str::to_owned);
    let mut cx = reactor.at(asker).unwrap();
    let job = workers.spawn(&mut cx, asker, work, move |_: &mut Asker, cx, name| {
        assert_eq!(thread::current().id(), here);
        assert_eq!(cx.any_id(), asker.any());
        *noted.borrow_mut() = name.unwrap();
        Ok(())
    });
    assert_eq!(job.unwrap().number(), 0);
    assert!(seen.borrow().is_none(), "nothing runs inside the call");
    // The job keeps it from returning; the pool and the asker alone would not.
    reactor.run().unwrap();
    assert_eq!(seen.borrow().as_deref(), Some("hash-0"));
}

#[test]
fn an_idle_pool_does_not_keep_run_from_returning_and_does_not_wake_it() {
    let (mut reactor, workers, _) = pool(2, 8);
    assert_asleep(&mut reactor, "with an idle pool");
    reactor.run().unwrap();
    drop(workers);
}

#[test]
fn jobs_start_in_the_order_of_spawning() {
    let (mut reactor, workers, asker) = pool(1, 100);
    let mut gate = gated(&mut reactor, &workers, asker, 1000);
    for number in 0..100 {
        spawn(&mut reactor, &workers, asker, move || number);
    }
    gate.open();
    reactor.run().unwrap();
    let expected: Vec<_> = [1000].into_iter().chain(0..100).collect();
    assert_eq!(answers(&mut reactor, asker), expected);
}

#[test]
fn several_threads_work_at_the_same_time() {
    let (mut reactor, workers, asker) = pool(3, 8);
    // Spawned in one go, when all threads sleep or are about to: they wake one another. Often, for it is
    // a matter of when.
    for round in 1..=100 {
        let (gates, works): (Vec<_>, Vec<_>) = (0..3).map(Gate::new).unzip();
        for work in works {
            spawn(&mut reactor, &workers, asker, work);
        }
        for gate in &gates {
            gate.wait();
        }
        let gauges = workers.gauges();
        assert_eq!((gauges.running, gauges.queued), (3, 0));
        drop(gates);
        turn_until(&mut reactor, "all three", |_| {
            workers.gauges().finished == 3 * round
        });
    }
}

#[test]
fn a_full_queue_refuses_and_gives_both_closures_back() {
    let (mut reactor, workers, asker) = pool(1, 2);
    let mut gate = gated(&mut reactor, &workers, asker, 0);
    spawn(&mut reactor, &workers, asker, || 1);
    spawn(&mut reactor, &workers, asker, || 2);
    let mut cx = reactor.at(asker).unwrap();
    let refused = workers.spawn(&mut cx, asker, || 3, note).unwrap_err();
    assert!(
        matches!(
            refused,
            SpawnError::Full {
                queue: FullQueue::Jobs,
                ..
            }
        ),
        "{refused:?}"
    );
    assert!(
        refused.is_full() && refused.to_string().contains("queue"),
        "{refused}"
    );
    let (work, then) = refused.into_parts();
    assert_eq!(workers.gauges().refused, 1);
    gate.open();
    // There is room once the thread has taken the next job, which may be after the result of the first is here.
    turn_until(&mut reactor, "the second is begun", |_| {
        workers.gauges().queued < 2
    });
    let mut cx = reactor.at(asker).unwrap();
    workers
        .spawn(&mut cx, asker, work, then)
        .expect("there is room again");
    reactor.run().unwrap();
    assert_eq!(answers(&mut reactor, asker), [0, 1, 2, 3]);
}

#[test]
fn full_posts_refuse_a_job_and_a_result_that_is_on_its_way_is_never_refused() {
    let mut reactor = Reactor::builder().post_capacity(3).build().unwrap();
    // One place is the pool's own.
    let workers = Workers::builder().threads(1).build(&mut reactor).unwrap();
    let asker = reactor.add_service(Asker::default()).unwrap();
    let mut gate = gated(&mut reactor, &workers, asker, 1);
    let handle = reactor.handle();
    handle.post(|_| ()).expect("the last place");
    let mut cx = reactor.at(asker).unwrap();
    let refused = workers.spawn(&mut cx, asker, || 2, note).unwrap_err();
    assert!(
        matches!(
            refused,
            SpawnError::Full {
                queue: FullQueue::Posts,
                ..
            }
        ),
        "{refused:?}"
    );
    let error = io::Error::from(refused);
    assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
    assert!(error.to_string().contains("posts"), "{error}");
    assert_eq!(workers.gauges().queued, 0);
    gate.open();
    turn_until(&mut reactor, "the result", |_| {
        workers.gauges().finished == 1
    });
    assert_eq!(answers(&mut reactor, asker), [1]);
    handle.post(|_| ()).expect("room");
    handle.post(|_| ()).expect("every place came back");
}

#[test]
fn a_pool_wants_a_place_in_the_posts() {
    let mut reactor = Reactor::builder().post_capacity(1).build().unwrap();
    reactor.handle().post(|_| ()).unwrap();
    let error = Workers::builder().build(&mut reactor).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
}

/// Spawns all jobs of a list, as far as there is room; each completion goes on with the rest.
struct Feeder {
    workers: Workers,
    next: u32,
    most: u32,
    refused: u64,
    sum: u64,
}

impl Dispatcher for Feeder {}

impl Feeder {
    fn feed(&mut self, cx: &mut Context<'_>) {
        while self.next < self.most {
            let number = self.next;
            let work = move || u64::from(number);
            let then = |feeder: &mut Feeder, cx: &mut Context<'_>, answer: Result<u64, _>| {
                feeder.sum += answer?;
                feeder.feed(cx);
                Ok(())
            };
            match self.workers.spawn(cx, cx.id(), work, then) {
                Ok(_) => self.next += 1,
                Err(refused) => {
                    assert!(refused.is_full(), "{refused}");
                    self.refused += 1;
                    return;
                }
            }
        }
    }
}

#[test]
fn a_hundred_thousand_jobs_go_through_a_queue_of_eight() {
    const JOBS: u32 = 100_000;
    let mut reactor = Reactor::new().unwrap();
    let workers = Workers::builder().threads(2).queue(8);
    let workers = workers.build(&mut reactor).unwrap();
    let feeder = Feeder {
        workers: workers.clone(),
        next: 0,
        most: JOBS,
        refused: 0,
        sum: 0,
    };
    let feeder = reactor.add_service(feeder).unwrap();
    reactor.with(feeder, |feeder, cx| feeder.feed(cx)).unwrap();
    reactor.run().unwrap();
    let (sum, refused) = reactor
        .with(feeder, |feeder, _| (feeder.sum, feeder.refused))
        .unwrap();
    assert_eq!(sum, u64::from(JOBS) * u64::from(JOBS - 1) / 2);
    let gauges = workers.gauges();
    assert_eq!(gauges.finished, u64::from(JOBS));
    assert_eq!(
        (gauges.refused, gauges.queued, gauges.running),
        (refused, 0, 0)
    );
}

#[test]
fn a_job_that_has_not_begun_can_be_cancelled_and_one_that_has_cannot() {
    let (mut reactor, workers, asker) = pool(1, 2);
    let (gate, work) = Gate::new(1);
    let first = spawn(&mut reactor, &workers, asker, work);
    gate.wait();
    let drops = Arc::default();
    let held = Dropped(Arc::clone(&drops));
    let second = spawn(&mut reactor, &workers, asker, move || {
        drop(held);
        2
    });
    let third = spawn(&mut reactor, &workers, asker, || 3);
    assert!(!first.cancel(), "it has begun");
    assert!(second.cancel(), "it has not");
    assert_eq!(*drops.lock().unwrap(), [thread::current().id()]);
    assert!(!second.cancel(), "once is enough");
    let fourth = spawn(&mut reactor, &workers, asker, || 4);
    assert!(third.number() < fourth.number());
    drop((gate, fourth));
    reactor.run().unwrap();
    assert!(!third.cancel(), "it is done");
    assert_eq!(answers(&mut reactor, asker), [1, 3, 4]);
    let gauges = workers.gauges();
    assert_eq!((gauges.cancelled, gauges.finished), (1, 3));
}

#[test]
fn ten_thousand_cancelled_jobs_leave_nothing_behind() {
    let (mut reactor, workers, asker) = pool(1, 4);
    let gate = gated(&mut reactor, &workers, asker, 1);
    let live = Arc::new(());
    // One stays in front, so that the cancelled ones are in the middle of the queue.
    spawn(&mut reactor, &workers, asker, || 2);
    for _ in 0..10_000 {
        let captured = Arc::clone(&live);
        let job = spawn(&mut reactor, &workers, asker, move || {
            drop(captured);
            3
        });
        assert!(job.cancel());
    }
    assert_eq!(Arc::strong_count(&live), 1);
    let gauges = workers.gauges();
    assert_eq!(
        (gauges.cancelled, gauges.queued, gauges.running),
        (10_000, 1, 1)
    );
    drop(gate);
    reactor.run().unwrap();
    assert_eq!(answers(&mut reactor, asker), [1, 2]);
}

#[test]
fn a_queue_full_of_jobs_is_cancelled_in_any_order() {
    let (mut reactor, workers, asker) = pool(1, 10_000);
    let gate = gated(&mut reactor, &workers, asker, 10_000);
    let jobs: Vec<_> = (0..10_000)
        .map(|number| spawn(&mut reactor, &workers, asker, move || number))
        .collect();
    // 7,919 has no factor in common with 10,000: every job is named once.
    for step in 0..10_000 {
        let number = step * 7_919 % 10_000;
        if number % 1_000 != 0 {
            assert!(jobs[number].cancel(), "{number}");
        }
    }
    assert_eq!(workers.gauges().queued, 10);
    drop(gate);
    reactor.run().unwrap();
    let expected: Vec<u32> = [10_000]
        .into_iter()
        .chain((0..10).map(|n| n * 1_000))
        .collect();
    assert_eq!(answers(&mut reactor, asker), expected);
}

#[test]
fn cancelled_closures_that_panic_when_they_are_dropped_are_contained() {
    let (mut reactor, workers, asker) = pool(1, 4);
    let gate = gated(&mut reactor, &workers, asker, 1);
    let (first, second) = (Bomb, Bomb);
    let work = move || drop(first);
    let mut cx = reactor.at(asker).unwrap();
    let job = workers.spawn(&mut cx, asker, work, move |_: &mut Asker, _, _| {
        drop(second);
        Ok(())
    });
    assert!(job.unwrap().cancel());
    drop(gate);
    reactor.run().unwrap();
    assert_eq!(answers(&mut reactor, asker), [1]);
}

#[test]
fn a_panic_in_the_work_is_a_result_and_the_thread_goes_on() {
    let (mut reactor, workers, asker) = pool(1, 8);
    let messages = Rc::new(RefCell::new(Vec::new()));
    let text = String::from("made");
    let works: [Box<dyn FnOnce() + Send>; 4] = [
        Box::new(|| panic!("plain")),
        Box::new(move || panic!("{text}")),
        Box::new(|| std::panic::panic_any(7)),
        Box::new(|| std::panic::panic_any(Bomb)),
    ];
    for work in works {
        let messages = Rc::clone(&messages);
        let mut cx = reactor.at(asker).unwrap();
        let job = workers.spawn(&mut cx, asker, work, move |_: &mut Asker, _, outcome| {
            let panic: WorkerPanic = outcome.unwrap_err();
            messages.borrow_mut().push(panic.message().to_owned());
            Ok(())
        });
        job.unwrap();
    }
    spawn(&mut reactor, &workers, asker, || 5);
    reactor.run().unwrap();
    assert_eq!(
        *messages.borrow(),
        ["plain", "made", "(no message)", "(no message)"]
    );
    assert_eq!(answers(&mut reactor, asker), [5]);
    let gauges = workers.gauges();
    assert_eq!((gauges.panicked, gauges.finished), (4, 1));
    let stopped = workers.shutdown(&mut reactor, DEADLINE).unwrap();
    assert_eq!(stopped.joined, 1, "the one thread has lived through it");
}

#[test]
fn a_panic_in_then_ends_that_dispatcher_alone() {
    let (mut reactor, workers, asker) = pool(1, 8);
    let torn = reactor.add_service(Asker::default()).unwrap();
    let mut cx = reactor.at(torn).unwrap();
    let then = |_: &mut Asker, _: &mut Context<'_>, _: Result<(), WorkerPanic>| panic!("in then");
    workers.spawn(&mut cx, torn, || (), then).unwrap();
    spawn(&mut reactor, &workers, asker, || 2);
    reactor.run().unwrap();
    assert_eq!(reactor.end_of(torn), Some(Cause::Panic));
    assert_eq!(answers(&mut reactor, asker), [2]);
    assert_eq!(
        workers.gauges().undelivered,
        0,
        "it was delivered, if with a bang"
    );
}

#[test]
fn an_error_from_then_is_treated_as_one_from_any_callback() {
    let diary = Diary::default();
    let mut reactor = Reactor::new().unwrap();
    let workers = Workers::builder().threads(1).build(&mut reactor).unwrap();
    let (spy, _peer) = spied_pair(&mut reactor, Spy::new("spy", &diary));
    let mut cx = reactor.at(spy).unwrap();
    let then = |_: &mut Spy, _: &mut Context<'_>, _: Result<(), WorkerPanic>| {
        Err(io::Error::new(io::ErrorKind::InvalidData, "wrong"))
    };
    workers.spawn(&mut cx, spy, || (), then).unwrap();
    turn_until(&mut reactor, "the error", |_| {
        diary.count("spy", "error InvalidData") == 1
    });
}

#[test]
fn a_result_whose_dispatcher_is_gone_is_dropped_on_the_loops_thread() {
    let (mut reactor, workers, asker) = pool(1, 8);
    let drops = Arc::default();
    let (result, captured) = (Dropped(Arc::clone(&drops)), Dropped(Arc::clone(&drops)));
    let mut gate = gated(&mut reactor, &workers, asker, 1);
    let gone = reactor.add_service(Asker::default()).unwrap();
    let mut cx = reactor.at(gone).unwrap();
    let work = move || result;
    let then = move |_: &mut Asker, _: &mut Context<'_>, _| -> io::Result<()> {
        drop(captured);
        panic!("it is gone");
    };
    workers.spawn(&mut cx, gone, work, then).unwrap();
    reactor.at(gone).unwrap().close();
    turn(&mut reactor);
    gate.open();
    reactor.run().unwrap();
    assert_eq!(*drops.lock().unwrap(), [thread::current().id(); 2]);
    let gauges = workers.gauges();
    assert_eq!((gauges.finished, gauges.undelivered), (2, 1));
}

#[test]
fn a_dispatcher_that_has_moved_into_the_slot_gets_nothing() {
    let (mut reactor, workers, asker) = pool(1, 8);
    let mut gate = gated(&mut reactor, &workers, asker, 1);
    reactor.at(asker).unwrap().close();
    turn(&mut reactor);
    let successor = reactor.add_service(Asker::default()).unwrap();
    let slot = |id: Id<Asker>| id.to_string().split('.').next().map(str::to_owned);
    assert_eq!(slot(asker), slot(successor), "the slot is used again");
    gate.open();
    reactor.run().unwrap();
    assert!(answers(&mut reactor, successor).is_empty());
    assert_eq!(workers.gauges().undelivered, 1);
}

#[test]
fn a_dispatcher_that_was_replaced_by_one_of_another_type_gets_nothing() {
    struct Other;
    impl Dispatcher for Other {}

    let (mut reactor, workers, asker) = pool(1, 8);
    let (_, peer) = {
        let (ours, peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let id = reactor.add(ours, Asker::default()).unwrap();
        let mut gate = gated(&mut reactor, &workers, id, 1);
        reactor.at(id).unwrap().replace(Other).unwrap();
        turn(&mut reactor);
        gate.open();
        (id, peer)
    };
    turn_until(&mut reactor, "the result", |_| {
        workers.gauges().finished == 1
    });
    assert_eq!(workers.gauges().undelivered, 1);
    assert!(answers(&mut reactor, asker).is_empty());
    drop(peer);
}

#[test]
fn then_may_spawn_again_and_shut_its_own_dispatcher() {
    let (mut reactor, workers, asker) = pool(1, 1);
    let again = workers.clone();
    let mut cx = reactor.at(asker).unwrap();
    let then = move |asker: &mut Asker, cx: &mut Context<'_>, answer: Result<u32, WorkerPanic>| {
        asker.answers.push(answer?);
        again.spawn(
            cx,
            cx.id(),
            || 2,
            |asker: &mut Asker, cx, answer| {
                cx.close();
                note(asker, cx, answer)
            },
        )?;
        Ok(())
    };
    workers.spawn(&mut cx, asker, || 1, then).unwrap();
    reactor.run().unwrap();
    assert_eq!(workers.gauges().finished, 2);
    assert_eq!(reactor.end_of(asker), Some(Cause::Finished));
}

#[test]
fn a_shutdown_does_what_is_queued_delivers_it_and_joins_the_threads() {
    let (mut reactor, workers, asker) = pool(2, 100);
    for number in 0..100 {
        spawn(&mut reactor, &workers, asker, move || number);
    }
    let stopped = workers.shutdown(&mut reactor, DEADLINE).unwrap();
    assert!(stopped.is_clean(), "{stopped:?}");
    assert_eq!(stopped.joined, 2);
    assert_eq!(answers(&mut reactor, asker).len(), 100);
    let mut cx = reactor.at(asker).unwrap();
    let refused = workers.spawn(&mut cx, asker, || 1, note).unwrap_err();
    assert!(matches!(refused, SpawnError::Closed { .. }), "{refused:?}");
    let again = workers.shutdown(&mut reactor, DEADLINE).unwrap();
    assert_eq!(again.joined, 0, "there are none left");
}

#[test]
fn at_the_deadline_a_shutdown_drops_what_is_queued_and_leaves_the_thread_that_does_not_come_back() {
    let (mut reactor, workers, asker) = pool(2, 8);
    let mut gate = gated(&mut reactor, &workers, asker, 1);
    let mut second = gated(&mut reactor, &workers, asker, 2);
    let waiting = spawn(&mut reactor, &workers, asker, || 3);
    keep_log();
    let stopped = workers.shutdown(&mut reactor, Duration::ZERO).unwrap();
    assert!(!stopped.is_clean(), "{stopped:?}");
    assert_eq!(stopped.joined, 0);
    let warning = "worker: shut down with 1 jobs dropped and 2 threads still in a job";
    assert_eq!(warnings(), [warning]);
    let names = |list: &[slabloop::kit::workers::Unfinished]| -> Vec<_> {
        list.iter()
            .map(|job| (job.number, job.dispatcher))
            .collect()
    };
    assert_eq!(names(&stopped.left), [(0, asker.any()), (1, asker.any())]);
    assert_eq!(names(&stopped.dropped), [(waiting.number(), asker.any())]);
    assert!(!waiting.cancel(), "it is gone");
    // What is late is delivered all the same, and its threads can be joined then.
    gate.open();
    second.open();
    let stopped = workers.shutdown(&mut reactor, DEADLINE).unwrap();
    assert!(stopped.is_clean() && stopped.joined == 2, "{stopped:?}");
    assert!(warnings().is_empty(), "a clean end is nothing to warn of");
    let mut answers = answers(&mut reactor, asker);
    answers.sort_unstable();
    assert_eq!(answers, [1, 2]);
}

#[test]
fn a_shutdown_of_idle_threads_needs_no_time() {
    let (mut reactor, workers, _) = pool(4, 8);
    let stopped = workers.shutdown(&mut reactor, Duration::ZERO).unwrap();
    assert!(stopped.is_clean() && stopped.joined == 4, "{stopped:?}");
}

#[test]
fn a_shutdown_from_inside_a_turn_is_refused_and_changes_nothing() {
    let (mut reactor, workers, asker) = pool(1, 8);
    let (again, outcome) = (workers.clone(), Rc::new(Cell::new(false)));
    let noted = Rc::clone(&outcome);
    reactor.at(asker).unwrap().defer(move |reactor| {
        noted.set(again.shutdown(reactor, DEADLINE).is_err());
    });
    turn(&mut reactor);
    assert!(outcome.get());
    spawn(&mut reactor, &workers, asker, || 1);
    reactor.run().unwrap();
    assert_eq!(answers(&mut reactor, asker), [1]);
}

/// Answers at its end; closes when it has.
struct Patient {
    workers: Workers,
    waiting: bool,
    refused: Rc<Cell<bool>>,
}

impl Dispatcher for Patient {
    fn handle_shutdown(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let then = |_: &mut Patient, _: &mut Context<'_>, _| Ok(());
        let refused = self.workers.spawn(cx, cx.id(), || (), then);
        self.refused
            .set(matches!(refused, Err(SpawnError::Closed { .. })));
        if !self.waiting {
            cx.close();
        }
        Ok(())
    }
}

#[test]
fn while_the_reactor_shuts_down_results_are_delivered_and_jobs_refused() {
    let (mut reactor, workers, asker) = pool(1, 8);
    let (ours, mut peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let refused = Rc::new(Cell::new(false));
    let patient = Patient {
        workers: workers.clone(),
        waiting: true,
        refused: Rc::clone(&refused),
    };
    let patient = reactor.add(ours, patient).unwrap();
    let mut cx = reactor.at(patient).unwrap();
    let (mut gate, work) = Gate::new(1);
    let then = |patient: &mut Patient, cx: &mut Context<'_>, _: Result<u32, WorkerPanic>| {
        patient.waiting = false;
        cx.send(b"answer")?;
        cx.close();
        Ok(())
    };
    workers.spawn(&mut cx, patient, work, then).unwrap();
    gate.wait();
    // Opened in a turn of the shutdown itself.
    reactor.call_later(Duration::ZERO, move |_| gate.open());
    let client = thread::spawn(move || {
        let mut text = String::new();
        io::Read::read_to_string(&mut peer, &mut text).map(|_| text)
    });
    let aborted = reactor.shutdown(DEADLINE).unwrap();
    assert_eq!(aborted, []);
    assert!(refused.get(), "no job is taken any more");
    assert_eq!(client.join().unwrap().unwrap(), "answer");
    assert!(reactor.at(asker).is_none(), "everything is closed");
    let stopped = workers.shutdown(&mut reactor, DEADLINE).unwrap();
    assert!(stopped.is_clean() && stopped.joined == 1, "{stopped:?}");
}

#[test]
fn jobs_that_the_reactors_shutdown_leaves_are_dropped_there_and_reported() {
    let (mut reactor, workers, asker) = pool(1, 8);
    let mut gate = gated(&mut reactor, &workers, asker, 1);
    let drops = Arc::default();
    let captured = Dropped(Arc::clone(&drops));
    let queued = spawn(&mut reactor, &workers, asker, move || {
        drop(captured);
        2
    });
    // No connection is waited for, and services are closed.
    reactor.shutdown(DEADLINE).unwrap();
    assert_eq!(*drops.lock().unwrap(), [thread::current().id()]);
    gate.open();
    let stopped = workers.shutdown(&mut reactor, DEADLINE).unwrap();
    assert_eq!(stopped.joined, 1);
    assert_eq!(stopped.dropped.len(), 1);
    assert_eq!(stopped.dropped[0].number, queued.number());
    assert!(!stopped.is_clean(), "{stopped:?}");
    // The reactor can be used again; the pool is over.
    let asker = reactor.add_service(Asker::default()).unwrap();
    let mut cx = reactor.at(asker).unwrap();
    let refused = workers.spawn(&mut cx, asker, || 1, note).unwrap_err();
    assert!(!refused.is_full(), "{refused:?}");
}

#[test]
fn a_job_that_outlasts_the_reactors_shutdown_is_waited_for_until_the_deadline() {
    let (mut reactor, workers, asker) = pool(2, 8);
    let mut gate = gated(&mut reactor, &workers, asker, 1);
    // Nobody is left for its result, so no turn of the loop ends the wait.
    reactor.shutdown(DEADLINE).unwrap();
    let deadline = Duration::from_millis(50);
    let stopped = workers.shutdown(&mut reactor, deadline).unwrap();
    assert_eq!((stopped.joined, stopped.left.len()), (1, 1), "{stopped:?}");
    assert!(!stopped.is_clean());
    gate.open();
    let stopped = workers.shutdown(&mut reactor, DEADLINE).unwrap();
    assert!(stopped.is_clean() && stopped.joined == 1, "{stopped:?}");
}

#[test]
fn a_pool_shows_whether_it_takes_jobs() {
    let (mut reactor, workers, _) = pool(1, 8);
    assert!(format!("{workers:?}").contains("closed: false"));
    workers.shutdown(&mut reactor, DEADLINE).unwrap();
    assert!(format!("{workers:?}").contains("closed: true"));
}

#[test]
fn a_reactor_that_is_dropped_while_jobs_run_waits_for_none_of_them() {
    let (mut reactor, workers, asker) = pool(1, 8);
    let drops: Arc<Mutex<Vec<ThreadId>>> = Arc::default();
    let (result, queued, then) = (
        Dropped(Arc::clone(&drops)),
        Dropped(Arc::clone(&drops)),
        Dropped(Arc::clone(&drops)),
    );
    let (mut gate, work) = Gate::new(1);
    let (ended, end) = channel::<()>();
    let work = move || {
        work();
        (result, ended)
    };
    let mut cx = reactor.at(asker).unwrap();
    workers
        .spawn(&mut cx, asker, work, move |_: &mut Asker, _, _| {
            drop(then);
            Ok(())
        })
        .unwrap();
    gate.wait();
    spawn(&mut reactor, &workers, asker, move || {
        drop(queued);
        2
    });
    drop(reactor);
    let here = thread::current().id();
    assert_eq!(
        *drops.lock().unwrap(),
        [here; 2],
        "what is on the loop's side goes with it"
    );
    gate.open();
    // The result holds the sender: the channel ends when it is dropped.
    assert!(end.recv_timeout(DEADLINE).is_err());
    let drops = drops.lock().unwrap();
    assert!(
        drops.len() == 3 && drops[2] != here,
        "on the thread that made it"
    );
}

#[test]
fn without_a_handle_jobs_are_done_and_the_pool_goes() {
    let (mut reactor, workers, asker) = pool(1, 8);
    let mut gate = gated(&mut reactor, &workers, asker, 1);
    spawn(&mut reactor, &workers, asker, || 2);
    assert_eq!(reactor.count(), 2, "the asker, and the pool");
    drop(workers);
    gate.open();
    reactor.run().unwrap();
    assert_eq!(answers(&mut reactor, asker), [1, 2]);
    turn(&mut reactor);
    assert_eq!(reactor.count(), 1, "the pool is gone");
}

#[test]
fn without_a_handle_an_idle_pool_and_one_whose_last_job_is_cancelled_go_at_once() {
    let (mut reactor, workers, asker) = pool(1, 8);
    drop(workers);
    turn_until(&mut reactor, "the first pool's end", |reactor| {
        reactor.count() == 1
    });

    let workers = Workers::builder().threads(1).build(&mut reactor).unwrap();
    let mut gate = gated(&mut reactor, &workers, asker, 1);
    let job = spawn(&mut reactor, &workers, asker, || 2);
    drop(workers);
    assert!(job.cancel());
    gate.open();
    turn_until(&mut reactor, "the second pool's end", |reactor| {
        reactor.count() == 1
    });
    assert_eq!(answers(&mut reactor, asker), [1]);
}

#[test]
fn a_pool_that_has_lost_its_handle_and_its_only_job_goes() {
    let mut reactor = Reactor::new().unwrap();
    let asker = reactor.add_service(Asker::default()).unwrap();
    let mut cancelled = 0;
    // Whether the thread is quicker than we are is not for us to say.
    for _ in 0..50 {
        let workers = Workers::builder().threads(1).build(&mut reactor).unwrap();
        let job = spawn(&mut reactor, &workers, asker, || 1);
        drop(workers);
        cancelled += usize::from(job.cancel());
        turn_until(&mut reactor, "its end", |reactor| reactor.count() == 1);
    }
    assert_eq!(answers(&mut reactor, asker).len() + cancelled, 50);
}

#[test]
fn a_thread_whose_result_has_come_is_in_no_job_however_long_it_takes_to_look_for_the_next() {
    let (mut reactor, workers, asker) = pool(1, 1);
    for number in 0..1_000 {
        spawn(&mut reactor, &workers, asker, move || number);
        reactor.run().unwrap();
        assert_eq!(workers.gauges().longest_running, None);
    }
    let stopped = workers.shutdown(&mut reactor, Duration::ZERO).unwrap();
    assert!(stopped.is_clean(), "{stopped:?}");
}

#[test]
fn a_context_of_another_reactor_is_refused() {
    let (_reactor, workers, _) = pool(1, 8);
    let (mut other, _others, asker) = pool(1, 8);
    let mut cx = other.at(asker).unwrap();
    let refused = workers.spawn(&mut cx, asker, || 1, note).unwrap_err();
    assert!(!refused.is_full(), "{refused:?}");
}

#[test]
fn a_pool_is_built_in_a_callback_as_well() {
    let mut reactor = Reactor::new().unwrap();
    let asker = reactor.add_service(Asker::default()).unwrap();
    let mut cx = reactor.at(asker).unwrap();
    let workers = Workers::builder().build_in(&mut cx).unwrap();
    spawn(&mut reactor, &workers, asker, || 1);
    reactor.run().unwrap();
    assert_eq!(answers(&mut reactor, asker), [1]);
}

#[test]
fn limits_out_of_range_are_refused_by_name() {
    let mut reactor = Reactor::new().unwrap();
    for (builder, what) in [
        (Workers::builder().threads(0), "threads(0)"),
        (Workers::builder().threads(5000), "threads(5000)"),
        (Workers::builder().queue(0), "queue(0)"),
        (Workers::builder().name("a\0b"), "name("),
    ] {
        let error = builder.build(&mut reactor).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(what), "{error}");
    }
    assert_eq!(reactor.count(), 0);
}

#[test]
fn gauges_tell_what_waits_and_since_when() {
    let (mut reactor, workers, asker) = pool(1, 8);
    let gauges = workers.gauges();
    assert_eq!((gauges.oldest_queued, gauges.longest_running), (None, None));
    let gate = gated(&mut reactor, &workers, asker, 1);
    spawn(&mut reactor, &workers, asker, || 2);
    let before = workers.gauges();
    let after = workers.gauges();
    assert!(before.oldest_queued.is_some() && after.oldest_queued >= before.oldest_queued);
    assert!(
        after.longest_running >= before.oldest_queued,
        "it was there before"
    );
    assert_eq!(after.busy, Duration::ZERO);
    drop(gate);
    reactor.run().unwrap();
    let last = workers.gauges();
    assert!(last.busy >= after.longest_running.unwrap(), "{last:?}");
    assert_eq!((last.oldest_queued, last.longest_running), (None, None));
}

#[test]
fn a_thread_takes_one_job_at_a_time_so_that_none_waits_behind_a_slow_one() {
    let (mut reactor, workers, asker) = pool(2, 100);
    let mut first = gated(&mut reactor, &workers, asker, 0);
    let mut second = gated(&mut reactor, &workers, asker, 1);
    let (slow, work) = Gate::new(2);
    spawn(&mut reactor, &workers, asker, work);
    for number in 3..13 {
        spawn(&mut reactor, &workers, asker, move || number);
    }
    first.open();
    slow.wait();
    // That thread is held again, and has nothing else in hand.
    second.open();
    turn_until(&mut reactor, "all but the slow one", |_| {
        workers.gauges().finished == 12
    });
    drop(slow);
    reactor.run().unwrap();
    let expected: Vec<_> = (0..2).chain(3..13).chain([2]).collect();
    assert_eq!(answers(&mut reactor, asker), expected);
}
