//! Reaching other dispatchers: `try_with`, `call`, `fail`, `watch`, and wrappers.

#[path = "util/log_lines.rs"]
mod log_lines;
mod util;

use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::rc::Rc;

use log_lines::{keep_log, take_log};
use slabloop::{AnyId, Cause, Context, Dispatcher, Id, PanicPolicy, Reactor, TimerId, Unreached};
use util::*;

/// Runs what it was given, once, when a byte comes.
struct Acts(Option<Act>);

type Act = Box<dyn FnOnce(&mut Context<'_>) -> io::Result<()>>;

impl Dispatcher for Acts {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let _ = cx.discard_for_test();
        self.0.take().map_or(Ok(()), |act| act(cx))
    }
}

trait Discard {
    fn discard_for_test(&mut self) -> io::Result<usize>;
}

impl Discard for Context<'_> {
    fn discard_for_test(&mut self) -> io::Result<usize> {
        self.recv(&mut [0; 64])
    }
}

/// Has a dispatcher of its own run `act` in a callback; its id.
fn act(
    reactor: &mut Reactor,
    act: impl FnOnce(&mut Context<'_>) -> io::Result<()> + 'static,
) -> (Id<Acts>, std::net::TcpStream) {
    let (ours, mut peer) = tcp_pair();
    let id = reactor
        .add(ours, Acts(Some(Box::new(act))))
        .expect("a stream");
    peer.write_all(b"x").expect("room");
    turn_until(reactor, "the act", |reactor| {
        reactor.with(id, |acts, _| acts.0.is_none()).unwrap_or(true)
    });
    (id, peer)
}

#[test]
fn try_with_tells_gone_from_busy() {
    struct Other;
    impl Dispatcher for Other {}
    let mut reactor = Reactor::new().expect("a poller");
    let there = reactor.add_service(Other).expect("room");
    let gone = reactor.add_service(Other).expect("room");
    reactor.at(gone).expect("there").close();
    turn(&mut reactor);
    let seen = Rc::new(RefCell::new(Vec::new()));
    let noted = Rc::clone(&seen);
    act(&mut reactor, move |cx| {
        let me = cx.id::<Acts>();
        noted.borrow_mut().push(cx.try_with(there, |_, _| ()).err());
        noted.borrow_mut().push(cx.try_with(gone, |_, _| ()).err());
        noted.borrow_mut().push(cx.try_with(me, |_, _| ()).err());
        let nested = cx.try_with(there, |_, cx| cx.try_with(there, |_, _| ()));
        noted.borrow_mut().push(nested.expect("there").err());
        Ok(())
    });
    let expected = [
        None,
        Some(Unreached::Gone),
        Some(Unreached::Busy),
        Some(Unreached::Busy),
    ];
    assert_eq!(*seen.borrow(), expected);
}

#[test]
fn one_that_was_ended_in_this_turn_is_gone_though_its_handle_close_is_still_to_come() {
    let mut reactor = Reactor::new().expect("a poller");
    let diary = Diary::default();
    let (ending, _peer) = spied_pair(&mut reactor, Spy::new("ending", &diary));
    let told = diary.clone();
    let seen = Rc::new(Cell::new(None));
    let noted = Rc::clone(&seen);
    act(&mut reactor, move |cx| {
        cx.at(ending).expect("it is there").abort();
        let visited = cx.try_with(ending, |_, _| ());
        assert!(told.all().is_empty(), "it has not been told");
        noted.set(Some(visited));
        Ok(())
    });
    assert_eq!(seen.get(), Some(Err(Unreached::Gone)));
    settle(&mut reactor);
    assert_eq!(diary.of("ending"), ["close"]);
}

#[test]
fn what_a_call_returns_follows_the_table_for_the_one_that_was_called() {
    for (kind, expected) in [
        (io::ErrorKind::WouldBlock, vec![]),
        (io::ErrorKind::ConnectionReset, vec!["close"]),
        (io::ErrorKind::Other, vec!["error Other"]),
    ] {
        let mut reactor = Reactor::new().expect("a poller");
        let diary = Diary::default();
        let spy = Spy::new("called", &diary).on_error(|_| Ok(()));
        let (called, _peer) = spied_pair(&mut reactor, spy);
        let told = diary.clone();
        let (caller, _caller_peer) = act(&mut reactor, move |cx| {
            let outcome = cx.call(called, |_, _| Err(kind.into()));
            assert_eq!(outcome, Ok(()));
            assert!(told.of("called").is_empty(), "no callback inside another");
            Ok(())
        });
        settle(&mut reactor);
        assert_eq!(diary.of("called"), expected, "{kind}");
        assert!(reactor.at(caller).is_some(), "the caller is not concerned");
    }
}

#[test]
fn a_call_that_panics_ends_the_one_that_was_called_alone() {
    let mut reactor = Reactor::new().expect("a poller");
    let diary = Diary::default();
    let (called, _peer) = spied_pair(&mut reactor, Spy::new("called", &diary));
    let (caller, _caller_peer) = act(&mut reactor, move |cx| {
        let outcome = cx.call(called, |_, _| panic!("on purpose"));
        assert_eq!(outcome, Err(Unreached::Panicked));
        assert!(cx.at(called).is_none(), "it has ended");
        cx.send(b"the caller goes on")
    });
    settle(&mut reactor);
    assert_eq!(diary.of("called"), ["close"]);
    assert_eq!(reactor.counters().panics, 1);
    assert!(reactor.at(caller).is_some());
    // And what runs next is not taken for the one that panicked.
    let (caller, _peer) = act(&mut reactor, |_| panic!("the caller itself"));
    turn_until(&mut reactor, "its end", |reactor| {
        reactor.at(caller).is_none()
    });
    assert_eq!(reactor.counters().panics, 2);
}

#[test]
fn under_propagate_the_panic_of_a_call_goes_on_and_ends_both() {
    let reactor = Reactor::builder()
        .panic_policy(PanicPolicy::Propagate)
        .build();
    let mut reactor = reactor.expect("a poller");
    struct Other;
    impl Dispatcher for Other {}
    let called = reactor.add_service(Other).expect("room");
    let (ours, mut peer) = tcp_pair();
    let acts: Act = Box::new(move |cx| {
        let _ = cx.call(called, |_, _| panic!("on purpose"));
        Ok(())
    });
    let caller = reactor.add(ours, Acts(Some(acts))).expect("a stream");
    peer.write_all(b"x").expect("room");
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        turn_until(&mut reactor, "the panic", |_| false);
    }));
    assert!(outcome.is_err());
    turn(&mut reactor);
    assert_eq!(reactor.count(), 0);
    for id in [called.any(), caller.any()] {
        assert_eq!(reactor.end_of(id), Some(Cause::Panic));
    }
}

#[test]
fn fail_is_a_returned_error_at_the_end_of_the_turn() {
    let mut reactor = Reactor::new().expect("a poller");
    let diary = Diary::default();
    let (id, _peer) = spied_pair(&mut reactor, Spy::new("failed", &diary));
    let mut cx = reactor.at(id).expect("open");
    cx.fail(io::Error::other("the first"));
    cx.fail(io::ErrorKind::Interrupted.into());
    assert!(!cx.is_closing());
    assert!(diary.all().is_empty());
    turn(&mut reactor);
    assert_eq!(diary.of("failed")[0], "error Other");
    // A dispatcher that has ended by then is not told.
    let diary = Diary::default();
    let (id, _peer) = spied_pair(&mut reactor, Spy::new("ended", &diary));
    let mut cx = reactor.at(id).expect("open");
    cx.fail(io::Error::other("too late"));
    cx.abort();
    turn(&mut reactor);
    assert_eq!(diary.of("ended"), ["close"]);
}

#[test]
fn a_handle_error_that_fails_itself_again_does_not_hang_the_turn() {
    struct Stubborn(Rc<Cell<u32>>);
    impl Dispatcher for Stubborn {
        fn handle_error(&mut self, cx: &mut Context<'_>, _: io::Error) {
            self.0.set(self.0.get() + 1);
            cx.fail(io::Error::other("again"));
        }
    }
    let mut reactor = Reactor::new().expect("a poller");
    let errors = Rc::new(Cell::new(0));
    let id = reactor
        .add_service(Stubborn(Rc::clone(&errors)))
        .expect("room");
    reactor
        .at(id)
        .expect("there")
        .fail(io::Error::other("first"));
    for count in 1..4 {
        turn(&mut reactor);
        assert_eq!(errors.get(), count);
    }
}

/// Watches; notes who has gone.
#[derive(Clone, Default)]
struct Pool(Rc<RefCell<Vec<(AnyId, Cause)>>>);

impl Dispatcher for Pool {
    fn handle_gone(&mut self, cx: &mut Context<'_>, id: AnyId, cause: Cause) -> io::Result<()> {
        assert!(cx.at(id).is_none(), "its id is no longer valid");
        self.0.borrow_mut().push((id, cause));
        Ok(())
    }
}

#[test]
fn a_watcher_is_told_once_of_every_kind_of_end_after_handle_close() {
    let mut reactor = Reactor::new().expect("a poller");
    let pool = Pool::default();
    let watcher = reactor.add_service(pool.clone()).expect("room");
    let diary = Diary::default();
    type Ending = fn(&mut Context<'_>);
    let endings: [(Ending, Cause); 3] = [
        (|cx| cx.abort(), Cause::Aborted),
        (|cx| cx.close(), Cause::Finished),
        (
            |cx| cx.fail(io::ErrorKind::ConnectionReset.into()),
            Cause::Reset,
        ),
    ];
    for (end, cause) in endings {
        // (A panic in handle_close would be contained, so it is noted.)
        let (seen, told_before) = (Rc::clone(&pool.0), Rc::new(Cell::new(None)));
        let noted = Rc::clone(&told_before);
        let spy = Spy::new("watched", &diary).on_close(move |_| {
            noted.set(Some(!seen.borrow().is_empty()));
            Ok(())
        });
        let (id, peer) = spied_pair(&mut reactor, spy);
        let mut cx = reactor.at(watcher).expect("there");
        assert!(cx.watch(id) && cx.watch(id), "twice is once");
        end(&mut reactor.at(id).expect("open"));
        if cause == Cause::Finished {
            // A graceful close waits for the peer's.
            peer.shutdown(std::net::Shutdown::Both).expect("connected");
        }
        turn_until(&mut reactor, "the end", |_| !pool.0.borrow().is_empty());
        assert_eq!(pool.0.take(), [(id.any(), cause)]);
        assert_eq!(told_before.get(), Some(false), "handle_close comes first");
        assert!(
            !reactor.at(watcher).expect("there").watch(id),
            "it has ended"
        );
    }
}

#[test]
fn one_that_ends_in_a_callback_has_its_handle_close_before_its_watcher_is_told() {
    struct Watching(Diary);
    impl Dispatcher for Watching {
        fn handle_gone(&mut self, cx: &mut Context<'_>, _: AnyId, _: Cause) -> io::Result<()> {
            self.0.note("watcher", cx.any_id(), "gone");
            Ok(())
        }
    }
    let mut reactor = Reactor::new().expect("a poller");
    let diary = Diary::default();
    let watcher = reactor.add_service(Watching(diary.clone())).expect("room");
    let spy = Spy::new("watched", &diary).on_read(|cx| {
        cx.abort();
        Ok(())
    });
    let (id, mut peer) = spied_pair(&mut reactor, spy);
    assert!(reactor.at(watcher).expect("there").watch(id));
    peer.write_all(b"x").expect("room");
    turn_until(&mut reactor, "the news", |_| {
        diary.count("watcher", "gone") == 1
    });
    let all = ["watched read", "watched close", "watcher gone"];
    assert_eq!(diary.all(), all);
}

#[test]
fn those_that_do_not_watch_any_more_or_have_ended_are_not_told() {
    let mut reactor = Reactor::new().expect("a poller");
    let pools = [Pool::default(), Pool::default(), Pool::default()];
    let [watching, not_any_more, ended] = pools
        .clone()
        .map(|pool| reactor.add_service(pool).expect("room"));
    let (id, _peer) = spied_pair(&mut reactor, Spy::new("watched", &Diary::default()));
    for watcher in [watching, not_any_more, ended] {
        assert!(reactor.at(watcher).expect("there").watch(id));
    }
    let mut cx = reactor.at(not_any_more).expect("there");
    assert!(cx.unwatch(id) && !cx.unwatch(id));
    let own = cx.any_id();
    assert!(!cx.watch(own), "nobody watches itself");
    reactor.at(ended).expect("there").close();
    turn(&mut reactor);
    reactor.at(id).expect("open").abort();
    settle(&mut reactor);
    let told: Vec<_> = pools.iter().map(|pool| pool.0.borrow().len()).collect();
    assert_eq!(told, [1, 0, 0]);
    drop(reactor);
    assert_eq!(pools[0].0.borrow().len(), 1);
}

#[test]
fn what_handle_gone_closes_is_closed_and_its_watchers_are_told() {
    /// Each ends with the one before it.
    struct Link(Option<AnyId>, Rc<Cell<u32>>);
    impl Dispatcher for Link {
        fn handle_gone(&mut self, cx: &mut Context<'_>, id: AnyId, _: Cause) -> io::Result<()> {
            assert_eq!(self.0, Some(id));
            cx.close();
            Ok(())
        }

        fn handle_close(&mut self, _: &mut Context<'_>) {
            self.1.set(self.1.get() + 1);
        }
    }
    let mut reactor = Reactor::new().expect("a poller");
    let closed = Rc::new(Cell::new(0));
    let mut chain = Vec::new();
    for _ in 0..50 {
        let before = chain.last().copied();
        let id = reactor
            .add_service(Link(before, Rc::clone(&closed)))
            .expect("room");
        if let Some(before) = before {
            assert!(reactor.at(id).expect("there").watch(before));
        }
        chain.push(id.any());
    }
    reactor.at(chain[0]).expect("there").close();
    turn_until(&mut reactor, "the last", |reactor| reactor.count() == 0);
    assert_eq!(closed.get(), 50);
}

#[test]
fn an_id_of_the_inner_type_reaches_what_a_wrapper_wraps() {
    struct Counted<D> {
        inner: D,
        reads: u32,
    }
    impl<D: Dispatcher> Dispatcher for Counted<D> {
        fn handle_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) -> io::Result<()> {
            self.reads += 1;
            self.inner.handle_timer(cx, timer)
        }

        fn inner(&mut self) -> Option<&mut dyn Dispatcher> {
            Some(&mut self.inner)
        }
    }
    struct Inner(Rc<Cell<Option<Id<Inner>>>>);
    impl Dispatcher for Inner {
        fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
            self.0.set(Some(cx.id()));
            Ok(())
        }
    }
    struct Stranger;
    impl Dispatcher for Stranger {}
    let mut reactor = Reactor::new().expect("a poller");
    let own = Rc::new(Cell::new(None));
    let wrapped = Counted {
        inner: Counted {
            inner: Inner(Rc::clone(&own)),
            reads: 0,
        },
        reads: 0,
    };
    let id = reactor.add_service(wrapped).expect("room");
    reactor
        .at(id)
        .expect("there")
        .set_timer(std::time::Duration::ZERO);
    turn_until(&mut reactor, "the timer", |_| own.get().is_some());
    let inner = own.get().expect("noted");
    assert_eq!(reactor.with(inner, |_, cx| cx.any_id()), Some(id.any()));
    assert_eq!(reactor.with(id, |outer, _| outer.reads), Some(1));
    let wrong = reactor.at(id).expect("there").typed::<Stranger>();
    assert!(wrong.is_none(), "it wraps no such thing");
    let right = reactor.at(id).expect("there").typed::<Inner>();
    assert_eq!(right, Some(inner));
}

#[test]
fn from_outside_of_callbacks_who_is_gone_is_told_from_who_answers() {
    struct Service;
    impl Dispatcher for Service {}
    let mut reactor = Reactor::new().expect("a poller");
    let there = reactor.add_service(Service).expect("room");
    assert_eq!(reactor.try_with(there, |_, _| 7), Ok(7));
    reactor.at(there).expect("there").close();
    turn(&mut reactor);
    let refused = reactor.try_with(there, |_, _| 7);
    assert_eq!(refused, Err(Unreached::Gone));
    let texts = [Unreached::Gone, Unreached::Busy, Unreached::Panicked].map(|why| why.to_string());
    assert_eq!(
        texts,
        [
            "the dispatcher has ended",
            "the dispatcher is itself running",
            "the closure panicked",
        ]
    );
}

#[test]
fn a_visit_that_did_not_run_is_logged_if_the_one_to_be_visited_is_running_and_not_if_it_is_gone() {
    struct Service;
    impl Dispatcher for Service {}
    keep_log();
    let mut reactor = Reactor::new().expect("a poller");
    let gone = reactor.add_service(Service).expect("room");
    reactor.at(gone).expect("there").close();
    turn(&mut reactor);
    let not_run = || {
        let lines = take_log().into_iter();
        let ours = lines.filter(|(_, line)| line.contains("`with` did not run"));
        ours.collect::<Vec<_>>()
    };
    not_run();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let noted = Rc::clone(&seen);
    act(&mut reactor, move |cx| {
        assert_eq!(cx.with(gone, |_, _| ()), None);
        noted.borrow_mut().push(not_run().len());
        let me = cx.id::<Acts>();
        assert_eq!(cx.with(me, |_, _| ()), None);
        let lines = not_run();
        assert!(lines.iter().all(|(level, _)| *level == log::Level::Debug));
        noted.borrow_mut().push(lines.len());
        Ok(())
    });
    settle(&mut reactor);
    assert_eq!(*seen.borrow(), [0, 1]);
}

/// What a program does from outside, between two turns.
#[test]
fn a_reactor_calls_a_dispatcher_as_a_context_does() {
    struct Counts(usize);
    impl Dispatcher for Counts {}
    let mut reactor = Reactor::new().expect("a poller");
    let id = reactor.add_service(Counts(0)).expect("room");
    let outcome = reactor.call(id, |counts, _| {
        counts.0 += 1;
        Ok(())
    });
    assert_eq!(outcome, Ok(()));
    assert_eq!(reactor.with(id, |counts, _| counts.0), Some(1));
    reactor.at(id).expect("there").close();
    turn(&mut reactor);
    let outcome = reactor.call(id, |_, _| Ok(()));
    assert_eq!(outcome, Err(Unreached::Gone));
}
