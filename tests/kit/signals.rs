//! Signals of the system as callbacks. They reach the whole process, so each test has its own signals.

#[path = "../util/log_lines.rs"]
mod log_lines;
#[path = "../util/mod.rs"]
mod util;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use log_lines::{keep_log, take_log};
use slabloop::kit::signals::{
    SIGALRM, SIGCONT, SIGHUP, SIGKILL, SIGQUIT, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH, SignalHandler,
};
use slabloop::{Context, Id, Reactor};
use util::*;

/// To this thread: the handler has run when this returns. (A signal to the process goes to any thread, at some
/// time.)
fn raise(signal: i32) {
    signal_hook::low_level::raise(signal).unwrap();
}

type Seen = Rc<RefCell<Vec<i32>>>;

/// A closure that writes down what it is told.
fn noting(seen: &Seen) -> impl FnMut(&mut Context<'_>, i32) -> io::Result<()> + 'static {
    let seen = Rc::clone(seen);
    move |_: &mut Context<'_>, signal: i32| {
        seen.borrow_mut().push(signal);
        Ok(())
    }
}

#[test]
fn a_signal_is_a_callback_with_its_number_and_repeated_ones_are_one() {
    let mut reactor = Reactor::new().unwrap();
    let seen = Seen::default();
    reactor.signals([SIGUSR1, SIGUSR2], noting(&seen)).unwrap();
    assert_asleep(&mut reactor, "before any signal");
    for _ in 0..3 {
        raise(SIGUSR1);
    }
    turn_until(&mut reactor, "the signal", |_| !seen.borrow().is_empty());
    assert_asleep(&mut reactor, "after it");
    assert_eq!(*seen.borrow(), [SIGUSR1]);

    raise(SIGUSR2);
    raise(SIGUSR1);
    turn_until(&mut reactor, "both", |_| seen.borrow().len() == 3);
    assert_asleep(&mut reactor, "after both");
    let mut both = seen.borrow()[1..].to_vec();
    both.sort_unstable();
    let mut expected = [SIGUSR1, SIGUSR2];
    expected.sort_unstable();
    assert_eq!(both, expected);
}

#[test]
fn a_signal_wakes_a_sleeping_loop_and_can_stop_it() {
    let mut reactor = Reactor::new().unwrap();
    reactor
        .signals([SIGHUP], |cx: &mut Context<'_>, _: i32| {
            cx.stop();
            Ok(())
        })
        .unwrap();
    let handle = reactor.handle();
    // From the loop itself, so that it is certainly running.
    handle
        .post(|_: &mut Reactor| {
            std::thread::spawn(|| raise(SIGHUP));
        })
        .unwrap();
    reactor.run().unwrap();
    assert_eq!(reactor.count(), 1);
}

#[test]
fn every_reactor_that_asks_hears_of_a_signal() {
    let (mut first, mut second) = (Reactor::new().unwrap(), Reactor::new().unwrap());
    let (seen_first, seen_second) = (Seen::default(), Seen::default());
    first.signals([SIGWINCH], noting(&seen_first)).unwrap();
    second.signals([SIGWINCH], noting(&seen_second)).unwrap();
    raise(SIGWINCH);
    turn_until(&mut first, "the first", |_| {
        *seen_first.borrow() == [SIGWINCH]
    });
    turn_until(&mut second, "the second", |_| {
        *seen_second.borrow() == [SIGWINCH]
    });
}

#[test]
fn bad_signals_are_refused_by_number() {
    let mut reactor = Reactor::new().unwrap();
    let seen = Seen::default();
    for bad in [0, -1, 128, 4711, SIGKILL, 11] {
        let refused = reactor
            .signals([SIGCONT, bad], noting(&seen))
            .map(Id::any)
            .unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{bad}");
        assert!(refused.to_string().contains(&bad.to_string()), "{refused}");
    }
    let refused = reactor.signals([], noting(&seen)).map(Id::any).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    assert_eq!(reactor.count(), 0);
}

struct Failing {
    diary: Diary,
}

impl SignalHandler for Failing {
    fn handle_signal(&mut self, cx: &mut Context<'_>, signal: i32) -> io::Result<()> {
        self.diary
            .note("it", cx.any_id(), format!("signal {signal}"));
        Err(io::Error::other("no"))
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        self.diary.note("it", cx.any_id(), format!("error {error}"));
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        self.diary.note("it", cx.any_id(), "close");
    }
}

#[test]
fn an_error_is_reported_and_after_the_close_the_signal_does_nothing() {
    let diary = Diary::default();
    let mut reactor = Reactor::new().unwrap();
    let handler = Failing {
        diary: diary.clone(),
    };
    let id = reactor.signals([SIGQUIT], handler).unwrap();
    raise(SIGQUIT);
    turn_until(&mut reactor, "the error", |_| {
        diary.count("it", "error") == 1
    });
    assert_eq!(reactor.count(), 1, "it stays");
    reactor.with(id, |signals, _| {
        signals.handler().diary.clear();
    });
    reactor.at(id).unwrap().close();
    turn_until(&mut reactor, "the close", |reactor| reactor.count() == 0);
    // By default it would end the process.
    raise(SIGQUIT);
    assert_asleep(&mut reactor, "after the close");
    assert_eq!(diary.of("it"), ["close"]);
}

#[test]
fn an_error_of_a_closure_is_logged_and_the_next_signal_comes_all_the_same() {
    let mut reactor = Reactor::new().unwrap();
    let count = Rc::new(RefCell::new(0));
    let counted = Rc::clone(&count);
    let failing = move |_: &mut Context<'_>, _: i32| {
        *counted.borrow_mut() += 1;
        Err(io::Error::other("no configuration"))
    };
    reactor.signals([SIGTSTP], failing).unwrap();
    keep_log();
    for calls in 1..=2 {
        raise(SIGTSTP);
        turn_until(&mut reactor, "the call", |_| *count.borrow() == calls);
    }
    let lines = take_log();
    let told = lines
        .iter()
        .filter(|(level, line)| *level <= log::Level::Warn && line.contains("no configuration"));
    // The second one is held back.
    assert_eq!(told.count(), 1, "{lines:?}");
}

#[test]
fn a_context_takes_signals_as_well() {
    let mut reactor = Reactor::new().unwrap();
    let seen = Seen::default();
    let kept = Rc::clone(&seen);
    let outer = move |cx: &mut Context<'_>, _: i32| {
        cx.signals([SIGALRM], noting(&kept))?;
        Ok(())
    };
    reactor.signals([SIGCONT], outer).unwrap();
    raise(SIGCONT);
    turn_until(&mut reactor, "the newcomer", |reactor| reactor.count() == 2);
    raise(SIGALRM);
    turn_until(&mut reactor, "its signal", |_| *seen.borrow() == [SIGALRM]);
}
