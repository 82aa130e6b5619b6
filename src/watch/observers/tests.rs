use super::*;

use crate::watch::callback::Callback;
use crate::watch::observer::{CallbackEnd, Outcome, TurnEnd};

fn at(nanos: u64) -> Tick {
    Tick::default().after(Duration::from_nanos(nanos))
}

/// Panics at the report of a step, or of the end of a turn, as its fields say.
struct Fragile {
    at_a_step: bool,
    at_the_end: bool,
}

impl Observer for Fragile {
    fn step_began(&mut self, _: Duration, _: Step) {
        assert!(!self.at_a_step, "on purpose, at a step");
    }

    fn turn_ended(&mut self, _: Duration, _: &TurnEnd) {
        assert!(!self.at_the_end, "on purpose, at the end");
    }
}

fn with(observer: impl Observer) -> Observers {
    let mut observers = Observers::new(None);
    observers.add(observer);
    assert!(observers.have_newcomers() && !observers.is_on());
    observers.let_newcomers_in();
    assert!(!observers.have_newcomers() && observers.is_on());
    observers
}

#[test]
fn the_times_of_steps_add_up_and_the_wait_is_told_apart() {
    let mut observers = Observers::new(None);
    observers.set_at(at(100));
    observers.begin_turn();
    assert!(observers.enter(Some(Step::Wait)));
    assert!(!observers.enter(Some(Step::Wait)), "it is under way");
    observers.set_at(at(140));
    observers.end_wait();
    assert_eq!(observers.waited, Duration::from_nanos(40));
    observers.set_at(at(150));
    observers.enter(Some(Step::Merge));
    observers.set_at(at(157));
    observers.enter(Some(Step::Wait));
    observers.set_at(at(160));
    observers.enter(None);
    let mut times = [0; Step::ALL.len()];
    times[Step::Wait as usize] = 43;
    times[Step::Merge as usize] = 7;
    assert_eq!(observers.step_times(), times);
}

#[test]
fn a_closure_has_waited_since_it_was_posted() {
    let mut observers = Observers::new(None);
    observers.wait_since(at(30));
    assert_eq!(observers.take_queued(at(50)), Duration::from_nanos(20));
    assert_eq!(observers.take_queued(at(50)), Duration::ZERO, "once");
}

#[test]
fn with_the_last_observer_that_panics_the_measuring_ends() {
    let told_of_a_step = |observers: &mut Observers| {
        observers.report(Reports::STEPS, |observer, at| {
            observer.step_began(at, Step::Merge);
        });
    };
    let mut observers = with(Fragile {
        at_a_step: true,
        at_the_end: false,
    });
    told_of_a_step(&mut observers);
    assert!(!observers.is_on() && !observers.want(Reports::STEPS));

    let mut observers = with(Fragile {
        at_a_step: false,
        at_the_end: true,
    });
    told_of_a_step(&mut observers);
    assert!(observers.is_on() && observers.want(Reports::STEPS));
    observers.tell_turn_ended(TURN_END);
    assert!(!observers.is_on() && !observers.want(Reports::STEPS));
}

/// Records each report, and its time.
#[derive(Default)]
struct Patient {
    told: Vec<(&'static str, u64)>,
    /// Says so after so many more turns.
    patient_after: usize,
}

impl Patient {
    fn note(&mut self, what: &'static str, at: Duration) {
        self.told.push((what, at.subsec_nanos().into()));
    }
}

impl Observer for Patient {
    fn wants(&self) -> Reports {
        Reports::CALLBACK_ENDED
    }

    fn accepts_delay(&self) -> bool {
        let turns = self.told.iter().filter(|(what, _)| *what == "turn");
        turns.count() >= self.patient_after
    }

    fn turn_ended(&mut self, at: Duration, _: &TurnEnd) {
        self.note("turn", at);
    }

    fn callback_ended(&mut self, at: Duration, end: &CallbackEnd<'_>) {
        self.note(end.begin.callback.words(), at);
    }

    fn event_dropped(&mut self, at: Duration, _: AnyId) {
        self.note("dropped", at);
    }
}

const TURN_END: TurnEnd = TurnEnd {
    turn: 1,
    began: Duration::ZERO,
    waited: Duration::ZERO,
    events: 0,
    callbacks: 0,
    ready: 0,
    timers: 0,
    posts: 0,
    queued_bytes: 0,
    connections: 0,
    dispatchers: 0,
};

fn end_turn(observers: &mut Observers, nanos: u64) {
    observers.set_at(at(nanos));
    observers.tell_turn_ended(TURN_END);
}

fn end_callback(observers: &mut Observers, nanos: u64, callback: Callback, outcome: Outcome<'_>) {
    observers.set_at(at(nanos));
    observers.tell_callback_ended(&CallbackEnd {
        begin: CallbackBegin {
            id: AnyId::NONE,
            callback,
            queued: Duration::ZERO,
            waiting: 0,
        },
        took: Duration::ZERO,
        bytes_in: 0,
        bytes_out: 0,
        outcome,
    });
}

/// What a patient observer has been told, as far as it has been.
fn told(observers: &Observers) -> Vec<(&'static str, u64)> {
    let patient = observers.find::<Patient>();
    patient.map_or_else(Vec::new, |patient| patient.told.clone())
}

/// One turn is over, of which it has been told at once.
fn with_a_patient_one() -> Observers {
    let mut observers = with(Patient::default());
    end_turn(&mut observers, 1);
    assert_eq!(told(&observers), [("turn", 1)]);
    observers
}

#[test]
fn an_observer_that_accepts_delay_is_told_later_in_order_and_with_the_right_times() {
    let mut observers = with_a_patient_one();
    end_callback(&mut observers, 2, Callback::Read, Outcome::Done);
    end_callback(&mut observers, 3, Callback::Write, Outcome::WouldBlock);
    end_turn(&mut observers, 4);
    assert_eq!(told(&observers), [("turn", 1)]);
    observers.set_at(at(5));
    observers.tell(|observer, at| observer.event_dropped(at, AnyId::NONE));
    let all = [
        ("turn", 1),
        ("handle_read", 2),
        ("handle_write", 3),
        ("turn", 4),
        ("dropped", 5),
    ];
    assert_eq!(told(&observers), all);
    assert_eq!(observers.at(), at(5));
}

#[test]
fn no_more_than_thirty_two_reports_are_late() {
    let mut observers = with_a_patient_one();
    for nanos in 2..=32 {
        end_callback(&mut observers, nanos, Callback::Read, Outcome::Done);
    }
    assert_eq!(told(&observers).len(), 1);
    end_callback(&mut observers, 33, Callback::Read, Outcome::Done);
    assert_eq!(told(&observers).len(), 33);
    assert_eq!(told(&observers)[32], ("handle_read", 33));
}

#[test]
fn what_fails_panics_or_is_another_callback_is_told_at_once() {
    let error = std::io::Error::other("no");
    for (callback, outcome) in [
        (Callback::Read, Outcome::Failed(&error)),
        (Callback::Read, Outcome::Panicked),
        (Callback::Timer, Outcome::Done),
        (Callback::Close, Outcome::Done),
    ] {
        let mut observers = with_a_patient_one();
        end_callback(&mut observers, 2, Callback::Read, Outcome::Done);
        end_callback(&mut observers, 3, callback, outcome);
        let all = [("turn", 1), ("handle_read", 2), (callback.words(), 3)];
        assert_eq!(told(&observers), all);
    }
}

#[test]
fn who_gets_at_an_observer_finds_all_and_nothing_more_is_late_in_this_turn() {
    let begun = |callback| Begun {
        begin: CallbackBegin {
            id: AnyId::NONE,
            callback,
            queued: Duration::ZERO,
            waiting: 0,
        },
        started: at(3),
        bytes_in: 0,
        accepted: 0,
    };
    let ways: [&dyn Fn(&mut Observers); 4] = [
        &|observers| assert_eq!(observers.find_mut::<Patient>().unwrap().told.len(), 2),
        // A closure gets the reactor, and all that is in it.
        &|observers| observers.begin(begun(Callback::Post)),
        &|observers| assert!(observers.remove::<Fragile>().is_none()),
        &|observers| {
            observers.add(Patient::default());
            observers.let_newcomers_in();
        },
    ];
    for way in ways {
        let mut observers = with_a_patient_one();
        observers.begin(begun(Callback::Read));
        end_callback(&mut observers, 4, Callback::Read, Outcome::Done);
        assert_eq!(told(&observers).len(), 1, "it is late");
        way(&mut observers);
        assert_eq!(told(&observers).len(), 2);
        end_callback(&mut observers, 5, Callback::Read, Outcome::Done);
        end_turn(&mut observers, 6);
        assert_eq!(told(&observers).len(), 4, "at once");
        end_turn(&mut observers, 7);
        assert_eq!(told(&observers).len(), 4, "late again");
        observers.catch_up();
        assert_eq!(told(&observers).len(), 5);
    }
}

#[test]
fn nothing_is_late_unless_all_accept_it() {
    let impatient = Patient {
        patient_after: 2,
        ..Patient::default()
    };
    let mut observers = with(impatient);
    observers.add(Patient::default());
    observers.let_newcomers_in();
    end_turn(&mut observers, 1);
    end_callback(&mut observers, 2, Callback::Read, Outcome::Done);
    assert_eq!(told(&observers).len(), 2);
    end_turn(&mut observers, 3);
    end_callback(&mut observers, 4, Callback::Read, Outcome::Done);
    assert_eq!(told(&observers).len(), 3);
}

#[test]
fn an_observer_that_panics_at_a_late_report_is_removed() {
    struct Bomb;
    impl Observer for Bomb {
        fn accepts_delay(&self) -> bool {
            true
        }

        fn callback_ended(&mut self, _: Duration, _: &CallbackEnd<'_>) {
            panic!("on purpose");
        }
    }
    let mut observers = with_a_patient_one();
    observers.add(Bomb);
    observers.let_newcomers_in();
    end_turn(&mut observers, 2);
    end_callback(&mut observers, 3, Callback::Read, Outcome::Done);
    end_callback(&mut observers, 4, Callback::Read, Outcome::Done);
    observers.catch_up();
    assert!(observers.find::<Bomb>().is_none());
    assert_eq!(told(&observers).len(), 4);
}

#[test]
fn an_observer_that_panics_when_it_is_asked_is_removed_and_the_measuring_ends() {
    struct Unsure;
    impl Observer for Unsure {
        fn accepts_delay(&self) -> bool {
            panic!("on purpose");
        }
    }
    let mut observers = with(Unsure);
    end_turn(&mut observers, 1);
    assert!(observers.find::<Unsure>().is_none());
    assert!(!observers.is_on() && !observers.want(Reports::STEPS));
}
