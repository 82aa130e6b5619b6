//! A resolver's handle stands for one service of one reactor, and a lookup for one of a resolver's: used elsewhere they
//! reach nothing, although two reactors give out the same ids. And a lookup ends with the dispatcher that wants it.

#[path = "../util/mod.rs"]
mod util;

mod name_server;

use std::cell::Cell;
use std::net::TcpListener;
use std::rc::Rc;

use name_server::{Client, NameServer, texts};
use slabloop::kit::resolver::{
    DnsResolver, DnsStats, Failure, Resolve, SystemConfig, SystemResolver, connect_host,
};
use slabloop::{Dispatcher, Reactor};
use util::{settle, turn, turn_until};

/// A reactor in which everything has the same ids as in every other that is made by this.
struct World {
    reactor: Reactor,
    client: Client,
    server: NameServer,
    dns: DnsResolver,
    system: SystemResolver,
}

fn world() -> World {
    let mut reactor = Reactor::new().unwrap();
    let client = Client::new(&mut reactor);
    let server = NameServer::new(&mut reactor, |asked| match asked.name().as_str() {
        name if name.ends_with("silent.test") => vec![],
        _ => vec![asked.address("192.0.2.1")],
    });
    let dns = DnsResolver::new(&mut reactor, server.config()).unwrap();
    let system = SystemResolver::new(&mut reactor, SystemConfig::new()).unwrap();
    World {
        reactor,
        client,
        server,
        dns,
        system,
    }
}

#[test]
fn a_resolver_of_another_reactor_is_as_if_it_were_closed() {
    let mut home = world();
    let mut abroad = world();
    assert_eq!(home.client.id, abroad.client.id);
    abroad
        .client
        .outcome(&mut abroad.reactor, &abroad.dns, "host.test")
        .unwrap();
    let asked = abroad.server.count();
    for name in ["host.test", "other.test", "127.0.0.1"] {
        let resolvers: [Rc<dyn Resolve>; 2] = [Rc::new(home.dns), Rc::new(home.system)];
        for resolver in resolvers {
            let outcome = abroad.client.outcome(&mut abroad.reactor, &resolver, name);
            assert_eq!(outcome.unwrap_err().failure(), Failure::Closed);
        }
    }
    assert_eq!((home.server.count(), abroad.server.count()), (0, asked));

    let waiting = abroad
        .client
        .ask(&mut abroad.reactor, &abroad.dns, "silent.test");
    let at_home = home.client.ask(&mut home.reactor, &home.dns, "silent.test");
    let mut cx = abroad.reactor.at(abroad.client.id).unwrap();
    assert!(home.dns.known(&mut cx, "host.test").is_none());
    assert_eq!(home.dns.stats(&mut cx), DnsStats::default());
    assert!(!home.dns.cancel(&mut cx, waiting));
    assert!(!home.dns.cancel(&mut cx, at_home));
    assert!(!abroad.dns.cancel(&mut cx, at_home));
    home.dns.clear_cache(&mut cx);
    home.dns.close(&mut cx);
    home.system.close(&mut cx);
    // All is as it was.
    assert!(abroad.dns.known(&mut cx, "host.test").is_some());
    assert_eq!(abroad.dns.stats(&mut cx).waiting, 1);
    assert!(abroad.dns.cancel(&mut cx, waiting));
    let outcome = abroad
        .client
        .outcome(&mut abroad.reactor, &abroad.system, "127.0.0.1");
    assert_eq!(texts(&outcome), ["127.0.0.1"]);
    let mut cx = home.reactor.at(home.client.id).unwrap();
    assert!(home.dns.cancel(&mut cx, at_home));
}

#[test]
fn a_lookup_is_cancelled_by_its_own_resolver_alone() {
    let mut world = world();
    let other = DnsResolver::new(&mut world.reactor, world.server.config()).unwrap();
    let lookup = world
        .client
        .ask(&mut world.reactor, &world.dns, "silent.test");
    let same = world.client.ask(&mut world.reactor, &other, "silent.test");
    assert_ne!(lookup, same);
    let mut cx = world.reactor.at(world.client.id).unwrap();
    assert!(!other.cancel(&mut cx, lookup));
    assert_eq!(other.stats(&mut cx).waiting, 1);
    assert!(other.cancel(&mut cx, same));
    assert_eq!(world.dns.stats(&mut cx).waiting, 1);
    assert!(world.dns.cancel(&mut cx, lookup));
}

#[test]
fn a_lookup_can_be_cancelled_by_whoever_shares_the_resolver() {
    let mut world = world();
    let shared: Rc<dyn Resolve> = Rc::new(world.dns);
    let lookup = world.client.ask(&mut world.reactor, &shared, "silent.test");
    let mut cx = world.reactor.at(world.client.id).unwrap();
    assert!(shared.cancel(&mut cx, lookup));
    assert_eq!(world.dns.stats(&mut cx).waiting, 0);
    assert!(!shared.cancel(&mut cx, lookup), "it is no more");
}

#[test]
fn a_lookup_that_has_its_outcome_does_not_stand_for_a_later_one() {
    let mut world = world();
    let old = world
        .client
        .ask(&mut world.reactor, &world.dns, "host.test");
    turn_until(&mut world.reactor, "the outcome", |_| {
        world.client.len() == 1
    });
    let new = world
        .client
        .ask(&mut world.reactor, &world.dns, "silent.test");
    assert_ne!(old, new);
    let mut cx = world.reactor.at(world.client.id).unwrap();
    assert!(!world.dns.cancel(&mut cx, old));
    assert_eq!(world.dns.stats(&mut cx).waiting, 1);
    assert!(world.dns.cancel(&mut cx, new));
}

#[test]
fn a_dialling_is_cancelled_in_its_own_reactor_alone() {
    struct Dialled;
    impl Dispatcher for Dialled {}
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let established = Rc::new(Cell::new(0));
    let mut worlds = [world(), world()];
    let diallings: Vec<_> = worlds
        .iter_mut()
        .map(|world| {
            let id = world.client.id;
            let mut cx = world.reactor.at(id).unwrap();
            let told = Rc::clone(&established);
            connect_host(
                &mut cx,
                &world.dns,
                id,
                "127.0.0.1",
                port,
                Dialled,
                move |_, _, outcome| {
                    outcome?;
                    told.set(told.get() + 1);
                    Ok(())
                },
            )
        })
        .collect();
    let [home, abroad] = &mut worlds;
    let mut cx = abroad.reactor.at(abroad.client.id).unwrap();
    assert!(!diallings[0].cancel(&mut cx));
    turn_until(&mut abroad.reactor, "its own", |_| established.get() == 1);
    let mut cx = home.reactor.at(home.client.id).unwrap();
    assert!(diallings[0].cancel(&mut cx));
    settle(&mut home.reactor);
    assert_eq!(established.get(), 1);
}

#[test]
fn a_lookup_ends_with_the_dispatcher_that_wants_it() {
    let mut world = world();
    let (dns, ends) = (world.dns, world.client);
    let stays = Client::new(&mut world.reactor);
    let before = world.reactor.count();
    for _ in 0..3 {
        ends.ask(&mut world.reactor, &dns, "silent.test");
    }
    stays.ask(&mut world.reactor, &dns, "silent.test");
    // Nobody else wants the others.
    for name in ["also.silent.test", "still.silent.test"] {
        ends.ask(&mut world.reactor, &dns, name);
    }
    let mut cx = world.reactor.at(stays.id).unwrap();
    let now = dns.stats(&mut cx);
    assert_eq!((now.waiting, now.in_flight), (6, 3));
    cx.at(ends.id).unwrap().close();
    settle(&mut world.reactor);
    let mut cx = world.reactor.at(stays.id).unwrap();
    let now = dns.stats(&mut cx);
    assert_eq!((now.waiting, now.in_flight), (1, 1));
    // One of the two has gone; the sockets for both families are there.
    assert_eq!(world.reactor.count(), before - 1 + 2);
    assert_eq!(world.reactor.timer_count(), 2 + 1, "queries and a deadline");

    world.reactor.at(stays.id).unwrap().close();
    settle(&mut world.reactor);
    assert_eq!(world.reactor.count(), before - 2);
    assert_eq!(world.reactor.timer_count(), 0);
    assert_eq!(ends.len() + stays.len(), 0);
}

#[test]
fn a_lookup_for_a_dispatcher_that_has_ended_ends_at_once() {
    let mut world = world();
    let (dns, gone) = (world.dns, world.client);
    let stays = Client::new(&mut world.reactor);
    world.reactor.at(gone.id).unwrap().close();
    settle(&mut world.reactor);
    let mut cx = world.reactor.at(stays.id).unwrap();
    let told = Rc::clone(&stays.outcomes);
    dns.lookup(&mut cx, gone.id, "silent.test", move |_, _, outcome| {
        told.borrow_mut().push(outcome);
        Ok(())
    });
    assert_eq!(dns.stats(&mut cx).waiting, 1);
    settle(&mut world.reactor);
    let mut cx = world.reactor.at(stays.id).unwrap();
    assert_eq!(dns.stats(&mut cx).waiting, 0);
    assert_eq!(world.reactor.timer_count(), 0);
    assert_eq!(stays.len(), 0);
}

/// A job that no thread has yet is taken back; what a thread is in nothing can stop.
#[test]
fn a_lookup_on_a_thread_ends_with_the_dispatcher_that_wants_it() {
    let mut reactor = Reactor::new().unwrap();
    let ends = Client::new(&mut reactor);
    let stays = Client::new(&mut reactor);
    let mut config = SystemConfig::new();
    config.threads(1);
    let system = SystemResolver::new(&mut reactor, config).unwrap();
    for number in 0..1000 {
        ends.ask(&mut reactor, &system, &format!("host{number}.invalid"));
    }
    reactor.at(ends.id).unwrap().close();
    // It ends, and in the next turn the resolver is told.
    turn(&mut reactor);
    turn(&mut reactor);
    let mut cx = reactor.at(stays.id).unwrap();
    let now = system.stats(&mut cx);
    assert_eq!(now.waiting, 0);
    assert!(now.in_flight < 100, "{now:?}");
    assert_eq!(ends.len(), 0);
}
