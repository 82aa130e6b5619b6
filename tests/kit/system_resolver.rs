//! The resolver that asks the C library: what it finds on any machine, what it keeps, and what is bounded.

#[path = "../util/mod.rs"]
mod util;

mod name_server;

use std::rc::Rc;
use std::time::Duration;

use name_server::{Client, Setting, setting, texts};
use slabloop::Reactor;
use slabloop::kit::resolver::{
    Failure, Family, Origin, Resolve, SystemConfig, SystemResolver, SystemStats,
};
use util::{settle, turn, turn_until};

fn resolver(reactor: &mut Reactor, config: &SystemConfig) -> SystemResolver {
    SystemResolver::new(reactor, config.clone()).unwrap()
}

fn stats(reactor: &mut Reactor, client: &Client, resolver: &SystemResolver) -> SystemStats {
    resolver.stats(&mut reactor.at(client.id).unwrap())
}

#[test]
fn localhost_is_found_and_kept_for_the_time_that_was_set() {
    let Setting {
        mut reactor,
        clock,
        client,
    } = setting();
    let mut config = SystemConfig::new();
    config
        .family(Family::V4)
        .ttl(Duration::from_secs(10), Duration::ZERO);
    let system = resolver(&mut reactor, &config);
    let outcome = client.outcome(&mut reactor, &system, "localhost");
    assert_eq!(texts(&outcome), ["127.0.0.1"]);
    assert_eq!(outcome.unwrap().origin(), Origin::Asked);
    clock.advance(Duration::from_secs(9));
    turn(&mut reactor);
    let outcome = client.outcome(&mut reactor, &system, "LOCALHOST");
    assert_eq!(outcome.unwrap().origin(), Origin::Cache);
    clock.advance(Duration::from_secs(1));
    turn(&mut reactor);
    let outcome = client.outcome(&mut reactor, &system, "localhost");
    assert_eq!(outcome.unwrap().origin(), Origin::Asked);
    assert_eq!(stats(&mut reactor, &client, &system).calls, 2);
    let outcome = client.outcome(&mut reactor, &system, "192.0.2.1");
    assert_eq!(outcome.unwrap().origin(), Origin::Literal);
    assert_eq!(stats(&mut reactor, &client, &system).calls, 2);
}

#[test]
fn a_callback_can_make_a_resolver_with_a_family_and_a_deadline_of_its_own() {
    let Setting {
        mut reactor,
        clock,
        client,
    } = setting();
    let mut config = SystemConfig::new();
    config.family(Family::V6).deadline(Duration::from_secs(2));
    let mut cx = reactor.at(client.id).unwrap();
    let system = SystemResolver::new_in(&mut cx, config.clone()).unwrap();
    // The other family's literal has no address here, and no thread is asked for that.
    let error = client.outcome(&mut reactor, &system, "192.0.2.1");
    assert_eq!(error.unwrap_err().failure(), Failure::NoAddress);
    let outcome = client.outcome(&mut reactor, &system, "::1");
    assert_eq!(texts(&outcome), ["::1"]);
    assert_eq!(stats(&mut reactor, &client, &system).calls, 0);
    // Before the loop has had a chance to hear of the result.
    client.ask(&mut reactor, &system, "localhost");
    clock.advance(Duration::from_secs(2));
    turn_until(&mut reactor, "the deadline", |_| client.len() == 1);
    let outcome = client.outcomes.borrow_mut().pop().unwrap();
    assert_eq!(outcome.unwrap_err().failure(), Failure::DeadlinePassed);

    config.threads(0);
    let before = reactor.count();
    let mut cx = reactor.at(client.id).unwrap();
    let error = SystemResolver::new_in(&mut cx, config).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert_eq!(reactor.count(), before);
}

#[test]
fn what_is_no_name_never_gets_to_a_thread() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let system = resolver(&mut reactor, &SystemConfig::new());
    for name in ["", "a b", "a\0b", "a\nb", &"x".repeat(254)] {
        let error = client.outcome(&mut reactor, &system, name).unwrap_err();
        assert_eq!(error.failure(), Failure::InvalidName, "{name:?}");
    }
    assert_eq!(stats(&mut reactor, &client, &system).calls, 0);
}

/// As many bytes as a name may have. Of it the C library says what there is to say.
#[test]
fn the_longest_name_gets_to_a_thread() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let system = resolver(&mut reactor, &SystemConfig::new());
    let error = client.outcome(&mut reactor, &system, &"x".repeat(253));
    assert_ne!(error.unwrap_err().failure(), Failure::InvalidName);
    assert_eq!(stats(&mut reactor, &client, &system).calls, 1);
}

/// The C library reads this as 127.0.0.1, and needs nobody for that.
#[test]
fn a_name_without_an_address_of_the_family_has_none() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let mut config = SystemConfig::new();
    config.family(Family::V6);
    let system = resolver(&mut reactor, &config);
    let error = client.outcome(&mut reactor, &system, "127.1").unwrap_err();
    assert_eq!(error.failure(), Failure::NoAddress);
}

#[test]
fn what_is_done_and_what_is_kept_is_counted() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let mut config = SystemConfig::new();
    config.cache_entries(2);
    let system = resolver(&mut reactor, &config);
    for name in ["127.1", "127.1", "127.2", "127.3"] {
        client.outcome(&mut reactor, &system, name).unwrap();
    }
    for name in ["127.4", "127.4", "127.5"] {
        client.ask(&mut reactor, &system, name);
    }
    let now = stats(&mut reactor, &client, &system);
    assert_eq!((now.lookups, now.calls, now.joined), (7, 5, 1));
    assert_eq!((now.from_cache, now.cached, now.evicted), (1, 2, 1));
    assert_eq!((now.waiting, now.in_flight), (3, 2));
    system.clear_cache(&mut reactor.at(client.id).unwrap());
    let now = stats(&mut reactor, &client, &system);
    assert_eq!((now.cached, now.waiting, now.in_flight), (0, 3, 2));
    turn_until(&mut reactor, "the rest", |_| client.len() == 3);
    let now = stats(&mut reactor, &client, &system);
    assert_eq!((now.cached, now.waiting, now.in_flight), (2, 0, 0));
}

#[test]
fn the_deadline_of_the_configuration_is_that_of_a_lookup_without_one() {
    let Setting {
        mut reactor,
        clock,
        client,
    } = setting();
    let mut config = SystemConfig::new();
    config.deadline(Duration::from_secs(1));
    let system = resolver(&mut reactor, &config);
    client.ask(&mut reactor, &system, "localhost");
    // Timers come before posts within a turn.
    clock.advance(Duration::from_secs(1));
    turn_until(&mut reactor, "the deadline", |_| client.len() == 1);
    let outcome = client.outcomes.borrow_mut().pop().unwrap();
    assert_eq!(outcome.unwrap_err().failure(), Failure::DeadlinePassed);
}

/// The only thread has others to look up before it comes to their call.
#[test]
fn a_lookup_that_shares_a_call_has_its_outcome_when_the_other_is_cancelled() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let mut config = SystemConfig::new();
    config.threads(1);
    let system = resolver(&mut reactor, &config);
    let before: Vec<_> = (0..200)
        .map(|number| client.ask(&mut reactor, &system, &format!("host{number}.invalid")))
        .collect();
    let cancelled = client.ask(&mut reactor, &system, "127.1");
    client.ask(&mut reactor, &system, "127.1");
    let mut cx = reactor.at(client.id).unwrap();
    for lookup in [cancelled].into_iter().chain(before) {
        assert!(system.cancel(&mut cx, lookup));
    }
    turn_until(&mut reactor, "the other", |_| client.len() == 1);
    assert_eq!(texts(&client.outcomes.borrow()[0]), ["127.0.0.1"]);
}

/// The C library refuses a label that is too long without asking anybody.
#[test]
fn a_name_that_is_not_there_is_kept_as_well() {
    let Setting {
        mut reactor,
        clock,
        client,
    } = setting();
    let mut config = SystemConfig::new();
    config.ttl(Duration::ZERO, Duration::from_secs(5));
    let system = resolver(&mut reactor, &config);
    let name = format!("{}.invalid", "y".repeat(64));
    for _ in 0..2 {
        let error = client.outcome(&mut reactor, &system, &name).unwrap_err();
        assert_ne!(error.failure(), Failure::InvalidName);
        assert_eq!(error.name(), name);
    }
    assert_eq!(stats(&mut reactor, &client, &system).calls, 1);
    clock.advance(Duration::from_secs(5));
    turn(&mut reactor);
    client.outcome(&mut reactor, &system, &name).unwrap_err();
    assert_eq!(stats(&mut reactor, &client, &system).calls, 2);
}

#[test]
fn lookups_of_one_name_share_a_call_and_too_many_are_refused() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let mut config = SystemConfig::new();
    config.max_lookups(3).threads(1);
    let system = Rc::new(resolver(&mut reactor, &config));
    for _ in 0..4 {
        client.ask(&mut reactor, &system, "localhost");
    }
    turn_until(&mut reactor, "all", |_| client.len() == 4);
    let outcomes = client.outcomes.borrow();
    let refused = outcomes.iter().filter_map(|outcome| outcome.as_ref().err());
    let refused: Vec<_> = refused.map(|error| error.failure()).collect();
    assert_eq!(refused, [Failure::Overloaded]);
    drop(outcomes);
    let now = stats(&mut reactor, &client, &system);
    assert_eq!((now.calls, now.joined, now.overloaded), (1, 2, 1));
    assert_eq!((now.waiting, now.in_flight), (0, 0));
}

#[test]
fn cancelled_late_and_closed_lookups_have_the_outcome_that_they_should() {
    let Setting {
        mut reactor,
        clock,
        client,
    } = setting();
    let system = resolver(&mut reactor, &SystemConfig::new());
    let cancelled = client.ask(&mut reactor, &system, "localhost");
    let mut cx = reactor.at(client.id).unwrap();
    assert!(system.cancel(&mut cx, cancelled));
    assert!(!system.cancel(&mut cx, cancelled));
    let outcomes = Rc::clone(&client.outcomes);
    let limit = Duration::from_secs(1);
    system.lookup_within(
        &mut cx,
        client.id,
        "localhost",
        limit,
        move |_, _, outcome| {
            outcomes.borrow_mut().push(outcome);
            Ok(())
        },
    );
    // Before the loop has had a chance to hear of the result.
    clock.advance(limit);
    turn_until(&mut reactor, "the deadline", |_| client.len() == 1);
    let outcome = client.outcomes.borrow_mut().pop().unwrap();
    // Timers come before posts within a turn.
    assert_eq!(outcome.unwrap_err().failure(), Failure::DeadlinePassed);

    client.ask(&mut reactor, &system, "another.localhost");
    system.close(&mut reactor.at(client.id).unwrap());
    turn_until(&mut reactor, "the end", |_| client.len() == 1);
    let outcome = client.outcomes.borrow_mut().pop().unwrap();
    assert_eq!(outcome.unwrap_err().failure(), Failure::Closed);
    let outcome = client.outcome(&mut reactor, &system, "localhost");
    assert_eq!(outcome.unwrap_err().failure(), Failure::Closed);
    settle(&mut reactor);
    assert_eq!(reactor.timer_count(), 0);
}

#[test]
fn a_wrong_number_of_threads_is_an_error() {
    let mut reactor = Reactor::new().unwrap();
    let mut config = SystemConfig::new();
    config.threads(0);
    let error = SystemResolver::new(&mut reactor, config).unwrap_err();
    assert!(error.to_string().contains("threads(0)"), "{error}");
}
