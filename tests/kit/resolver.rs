//! The resolver that asks name servers: what it finds, what it keeps, and what it asks for.

#[path = "../util/mod.rs"]
mod util;

mod name_server;

use std::cell::{Cell, RefCell};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use name_server::{Client, NameServer, Setting, resolver, setting, stats, texts};
use simple_dns::RCODE;
use slabloop::kit::resolver::{
    Addresses, DnsConfig, DnsResolver, Failure, Family, Origin, Resolve, order,
};
use slabloop::{Dispatcher, Reactor};
use util::{settle, turn, turn_until};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn both_families_are_asked_for_and_come_in_order() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let server = NameServer::new(&mut reactor, |asked| {
        vec![asked.addresses(&["127.0.0.1", "::1"], 60)]
    });
    let dns = resolver(&mut reactor, &server.config());
    let outcome = client.outcome(&mut reactor, &dns, "Host.Test.");
    let mut found = texts(&outcome);
    assert_eq!(outcome.unwrap().origin(), Origin::Asked);
    found.sort();
    assert_eq!(found, ["127.0.0.1", "::1"]);
    assert_eq!(server.count(), 2);
    let asked = server.asked.borrow();
    assert!(asked.iter().all(|asked| asked.name() == "host.test"));
    assert!(asked.iter().all(name_server::Asked::has_edns));
    assert_ne!(asked[0].kind(), asked[1].kind());
    // Each query has a port and an id of its own.
    assert_ne!(asked[0].from, asked[1].from);
    assert_ne!(asked[0].raw[..2], asked[1].raw[..2]);
}

#[test]
fn ids_ports_and_letters_are_different_each_time() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let server = NameServer::new(&mut reactor, |asked| vec![asked.address("192.0.2.1")]);
    let mut config = server.config();
    config.cache_entries(0).family(Family::V4);
    let dns = resolver(&mut reactor, &config);
    for _ in 0..40 {
        let outcome = client.outcome(&mut reactor, &dns, "a-rather-long-name.test");
        assert_eq!(texts(&outcome), ["192.0.2.1"]);
    }
    let asked = server.asked.borrow();
    let different = |of: &dyn Fn(&name_server::Asked) -> String| {
        let all: std::collections::BTreeSet<_> = asked.iter().map(of).collect();
        all.len()
    };
    assert!(different(&|asked| format!("{:?}", &asked.raw[..2])) > 35);
    assert!(different(&|asked| asked.from.unwrap().to_string()) > 20);
    assert!(different(&name_server::Asked::spelled) > 35);
}

#[test]
fn literals_and_localhost_ask_nobody() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let server = NameServer::new(&mut reactor, |_| vec![]);
    let dns = resolver(&mut reactor, &server.config());
    for (name, address) in [
        ("192.0.2.7", "192.0.2.7"),
        ("::1", "::1"),
        ("[2001:db8::1]", "2001:db8::1"),
    ] {
        let outcome = client.outcome(&mut reactor, &dns, name);
        assert_eq!(texts(&outcome), [address]);
        assert_eq!(outcome.unwrap().origin(), Origin::Literal);
    }
    for name in ["localhost", "LocalHost.", "db.localhost"] {
        let mut found = texts(&client.outcome(&mut reactor, &dns, name));
        found.sort();
        assert_eq!(found, ["127.0.0.1", "::1"]);
    }
    assert_eq!(server.count(), 0);

    let mut config = server.config();
    config.family(Family::V4);
    let dns = resolver(&mut reactor, &config);
    let outcome = client.outcome(&mut reactor, &dns, "localhost");
    assert_eq!(texts(&outcome), ["127.0.0.1"]);
    let failure = client.outcome(&mut reactor, &dns, "::1").unwrap_err();
    assert_eq!(failure.failure(), Failure::NoAddress);
}

#[test]
fn what_is_no_name_is_refused_with_a_reason() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let server = NameServer::new(&mut reactor, |_| vec![]);
    let dns = resolver(&mut reactor, &server.config());
    let long = "x.".repeat(130);
    let label = "y".repeat(64);
    for (name, why) in [
        ("", "empty"),
        (".", "empty"),
        ("a..b", "empty label"),
        (".a", "empty label"),
        ("a b", "character"),
        ("a\nb", "character"),
        ("a\\.b", "character"),
        ("b\u{fc}cher.test", "xn--"),
        ("1.2.3", "number"),
        ("127.1", "number"),
        ("fe80::1%eth0", "character"),
        ("[192.0.2.1]", "character"),
        (&long, "longer"),
        (&label, "63"),
    ] {
        let error = client.outcome(&mut reactor, &dns, name).unwrap_err();
        assert_eq!(error.failure(), Failure::InvalidName, "{name}");
        let text = error.to_string();
        assert!(text.contains(why), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }
}

#[test]
fn an_answer_holds_for_its_time_to_live_and_is_asked_for_again_after_it() {
    let Setting {
        mut reactor,
        clock,
        client,
    } = setting();
    let server = NameServer::new(&mut reactor, |asked| {
        vec![asked.addresses(&["192.0.2.1", "2001:db8::1"], 60)]
    });
    let dns = resolver(&mut reactor, &server.config());
    let end = reactor.at(client.id).unwrap().now() + 60 * SECOND;
    let outcome = client.outcome(&mut reactor, &dns, "host.test");
    assert_eq!(outcome.unwrap().valid_until(), Some(end));
    assert_eq!(server.count(), 2);
    clock.advance(59 * SECOND);
    turn(&mut reactor);
    let outcome = client.outcome(&mut reactor, &dns, "HOST.test").unwrap();
    assert_eq!(outcome.origin(), Origin::Cache);
    assert_eq!(outcome.valid_until(), Some(end));
    assert_eq!(server.count(), 2);
    clock.advance(SECOND);
    turn(&mut reactor);
    let outcome = client.outcome(&mut reactor, &dns, "host.test");
    assert_eq!(outcome.unwrap().origin(), Origin::Asked);
    assert_eq!(server.count(), 4);

    let mut cx = reactor.at(client.id).unwrap();
    let known: Option<Addresses> = dns.known(&mut cx, "host.test");
    assert_eq!(known.unwrap().len(), 2);
    assert!(dns.known(&mut cx, "other.test").is_none());
    dns.clear_cache(&mut cx);
    assert!(dns.known(&mut cx, "host.test").is_none());
}

#[test]
fn times_to_live_are_brought_into_bounds() {
    let Setting {
        mut reactor,
        clock,
        client,
    } = setting();
    let ttl = Rc::new(Cell::new(0));
    let told = Rc::clone(&ttl);
    let server = NameServer::new(&mut reactor, move |asked| {
        vec![asked.addresses(&["192.0.2.1"], told.get())]
    });
    let mut config = server.config();
    config.family(Family::V4);
    let dns = resolver(&mut reactor, &config);
    // Not kept at all; nor is a time whose highest bit is set.
    for none in [0, 0x8000_0001] {
        ttl.set(none);
        for _ in 0..2 {
            client.outcome(&mut reactor, &dns, "host.test").unwrap();
        }
    }
    assert_eq!(server.count(), 4);

    config.ttl(10 * SECOND, 20 * SECOND);
    for (told, held) in [(0, 10), (15, 15), (1000, 20)] {
        let dns = resolver(&mut reactor, &config);
        ttl.set(told);
        let before = server.count();
        client.outcome(&mut reactor, &dns, "host.test").unwrap();
        clock.advance((held - 1) * SECOND);
        turn(&mut reactor);
        client.outcome(&mut reactor, &dns, "host.test").unwrap();
        assert_eq!(server.count(), before + 1, "{told}");
        clock.advance(SECOND);
        turn(&mut reactor);
        client.outcome(&mut reactor, &dns, "host.test").unwrap();
        assert_eq!(server.count(), before + 2, "{told}");
    }
}

#[test]
fn a_denial_holds_as_long_as_the_zone_says() {
    let Setting {
        mut reactor,
        clock,
        client,
    } = setting();
    let server = NameServer::new(&mut reactor, |asked| {
        vec![match asked.name().as_str() {
            // The record's own time counts if it is the shorter.
            "gone.test" => asked.reply(RCODE::NameError).soa("test", 3600, 30).bytes(),
            "empty.test" => asked.good().soa("test", 30, 3600).bytes(),
            // No longer than the alias that leads to it, in one answer or two.
            "alias.test" => asked
                .reply(RCODE::NameError)
                .alias(&asked.spelled(), 7, "nowhere.test")
                .soa("test", 60, 60)
                .bytes(),
            "far.test" => asked
                .good()
                .alias(&asked.spelled(), 7, "nowhere.test")
                .bytes(),
            "bare.test" => asked.reply(RCODE::NameError).bytes(),
            _ => asked
                .reply(RCODE::NameError)
                .soa("test", 99999, 99999)
                .bytes(),
        }]
    });
    let mut config = server.config();
    config.max_negative_ttl(100 * SECOND);
    let dns = resolver(&mut reactor, &config);
    for (name, failure, held) in [
        ("gone.test", Failure::NoSuchName, 30),
        ("empty.test", Failure::NoAddress, 30),
        ("long.test", Failure::NoSuchName, 100),
    ] {
        let before = server.count();
        let error = client.outcome(&mut reactor, &dns, name).unwrap_err();
        assert_eq!(error.failure(), failure);
        assert!(!error.is_temporary());
        assert!(error.to_string().contains(name), "{error}");
        clock.advance((held - 1) * SECOND);
        turn(&mut reactor);
        let error = client.outcome(&mut reactor, &dns, name).unwrap_err();
        assert_eq!(error.failure(), failure);
        assert_eq!(server.count(), before + 2, "{name}");
        clock.advance(SECOND);
        turn(&mut reactor);
        client.outcome(&mut reactor, &dns, name).unwrap_err();
        assert_eq!(server.count(), before + 4, "{name}");
    }
    for name in ["alias.test", "far.test"] {
        client.outcome(&mut reactor, &dns, name).unwrap_err();
        let before = server.count();
        clock.advance(6 * SECOND);
        turn(&mut reactor);
        client.outcome(&mut reactor, &dns, name).unwrap_err();
        assert_eq!(server.count(), before, "{name}");
        clock.advance(SECOND);
        turn(&mut reactor);
        client.outcome(&mut reactor, &dns, name).unwrap_err();
        assert!(server.count() > before, "{name}");
    }
    // Without a SOA record nothing is kept.
    let before = server.count();
    for _ in 0..2 {
        client.outcome(&mut reactor, &dns, "bare.test").unwrap_err();
    }
    assert_eq!(server.count(), before + 4);
}

/// How long a denial without a SOA record holds nobody knows, but that of an address is known.
#[test]
fn an_address_is_kept_whatever_the_denial_of_the_other_family_lacks() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let server = NameServer::new(&mut reactor, |asked| {
        vec![if asked.is_a() {
            asked.address("192.0.2.1")
        } else {
            asked.good().bytes()
        }]
    });
    let dns = resolver(&mut reactor, &server.config());
    for origin in [Origin::Asked, Origin::Cache] {
        let outcome = client.outcome(&mut reactor, &dns, "host.test");
        assert_eq!(texts(&outcome), ["192.0.2.1"]);
        assert_eq!(outcome.unwrap().origin(), origin);
    }
}

#[test]
fn lookups_are_counted_by_where_their_answers_come_from_and_leave_no_timer() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let server = NameServer::new(&mut reactor, |asked| {
        vec![match asked.name().as_str() {
            "host.test" => asked.address("192.0.2.1"),
            _ => asked.reply(RCODE::NameError).soa("test", 60, 60).bytes(),
        }]
    });
    let hosts = std::env::temp_dir().join(format!("slabloop-counted-{}", std::process::id()));
    fs::write(&hosts, "192.0.2.5 box.test\n").unwrap();
    let mut config = server.config();
    config.family(Family::V4).hosts_file(&hosts);
    let dns = resolver(&mut reactor, &config);
    for name in ["box.test", "host.test", "gone.test"] {
        for _ in 0..3 {
            let _ = client.outcome(&mut reactor, &dns, name);
        }
    }
    let now = stats(&mut reactor, &client, &dns);
    assert_eq!(
        (now.lookups, now.from_hosts, now.from_cache, now.udp_queries),
        (9, 3, 4, 2)
    );
    assert_eq!(now.cached, 2);
    assert_eq!(reactor.timer_count(), 0);
    fs::remove_file(&hosts).unwrap();
}

#[test]
fn lookups_of_one_name_share_an_answer() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let server = NameServer::new(&mut reactor, |asked| vec![asked.address("192.0.2.1")]);
    let dns = resolver(&mut reactor, &server.config());
    for name in ["host.test", "HOST.test", "host.test."] {
        client.ask(&mut reactor, &dns, name);
    }
    assert_eq!(client.len(), 0, "nothing is called from inside");
    turn_until(&mut reactor, "all", |_| client.len() == 3);
    assert_eq!(server.count(), 2);
    assert_eq!(stats(&mut reactor, &client, &dns).joined, 2);
    for outcome in client.outcomes.borrow().iter() {
        assert_eq!(texts(outcome), ["192.0.2.1"]);
    }
}

#[test]
fn aliases_are_followed_within_an_answer_in_any_order_and_across_answers() {
    let Setting {
        mut reactor,
        clock,
        client,
    } = setting();
    let server = NameServer::new(&mut reactor, |asked| {
        let spelled = asked.spelled();
        let address: IpAddr = "192.0.2.9".parse().unwrap();
        let reply = match asked.name().as_str() {
            "one.test" if asked.is_a() => asked
                .good()
                .record("Three.test", 300, address)
                .alias("two.test", 20, "three.test")
                .alias(&spelled, 300, "TWO.test"),
            "one.test" => asked
                .good()
                .alias(&spelled, 300, "two.test")
                .soa("test", 60, 60),
            // The answer ends with the alias.
            "far.test" => asked.good().alias(&spelled, 10, "further.example"),
            "further.example" if asked.is_a() => asked.good().record(&spelled, 300, address),
            _ => asked.good().soa("test", 60, 60),
        };
        vec![reply.bytes()]
    });
    let dns = resolver(&mut reactor, &server.config());
    let outcome = client.outcome(&mut reactor, &dns, "one.test");
    assert_eq!(texts(&outcome), ["192.0.2.9"]);
    assert_eq!(server.count(), 2);
    // The shortest time on the way counts.
    clock.advance(20 * SECOND);
    turn(&mut reactor);
    client.outcome(&mut reactor, &dns, "one.test").unwrap();
    assert_eq!(server.count(), 4);

    let outcome = client.outcome(&mut reactor, &dns, "far.test");
    assert_eq!(texts(&outcome), ["192.0.2.9"]);
    let names = server.names();
    assert_eq!(names[names.len() - 2..], ["far.test", "further.example"]);
    let before = server.count();
    clock.advance(10 * SECOND);
    turn(&mut reactor);
    client.outcome(&mut reactor, &dns, "far.test").unwrap();
    assert_eq!(server.count(), before + 4);
}

#[test]
fn short_names_are_looked_up_below_the_search_domains() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let server = NameServer::new(&mut reactor, |asked| {
        vec![match asked.name().as_str() {
            "web.b.test" | "db.prod" => asked.address("192.0.2.1"),
            "broken.a.test" => asked.reply(RCODE::ServerFailure).bytes(),
            "empty.a.test" => asked.good().soa("test", 60, 60).bytes(),
            _ => asked.reply(RCODE::NameError).soa("test", 60, 60).bytes(),
        }]
    });
    let mut config = server.config();
    config.search(["a.test", "b.test."]).unwrap().attempts(1);
    let dns = resolver(&mut reactor, &config);
    let look = |reactor: &mut Reactor, dns: &DnsResolver, name: &str| {
        server.asked.borrow_mut().clear();
        let outcome = client.outcome(reactor, dns, name);
        (outcome, server.names())
    };
    let (outcome, names) = look(&mut reactor, &dns, "web");
    assert_eq!(texts(&outcome), ["192.0.2.1"]);
    assert_eq!(names, ["web.a.test", "web.b.test"]);
    // What is known needs no question, denials included.
    let (outcome, names) = look(&mut reactor, &dns, "web");
    assert_eq!(outcome.unwrap().origin(), Origin::Cache);
    assert!(names.is_empty());
    // With a dot it is tried as it is first.
    let (_, names) = look(&mut reactor, &dns, "db.prod");
    assert_eq!(names, ["db.prod"]);
    let (outcome, names) = look(&mut reactor, &dns, "nowhere.prod");
    assert_eq!(outcome.unwrap_err().failure(), Failure::NoSuchName);
    assert_eq!(
        names,
        ["nowhere.prod", "nowhere.prod.a.test", "nowhere.prod.b.test"]
    );
    // With a dot at the end it is whole.
    let (_, names) = look(&mut reactor, &dns, "web.");
    assert_eq!(names, ["web"]);
    // One that cannot be looked up: the others are tried, and that there is no such name is not claimed.
    let (outcome, names) = look(&mut reactor, &dns, "broken");
    let error = outcome.unwrap_err();
    assert_eq!(error.failure(), Failure::ServerFailed);
    assert_eq!(error.name(), "broken");
    assert_eq!(names, ["broken.a.test", "broken.b.test", "broken"]);
    let (outcome, _) = look(&mut reactor, &dns, "empty");
    assert_eq!(outcome.unwrap_err().failure(), Failure::NoAddress);

    config.ndots(2);
    let dns = resolver(&mut reactor, &config);
    let (_, names) = look(&mut reactor, &dns, "db.prod");
    assert_eq!(names, ["db.prod.a.test", "db.prod.b.test", "db.prod"]);
}

#[test]
fn a_cancelled_lookup_has_no_outcome_and_its_sockets_are_closed() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let server = NameServer::new(&mut reactor, |asked| match asked.name().as_str() {
        "quick.test" => vec![asked.address("192.0.2.1")],
        _ => vec![],
    });
    let dns = resolver(&mut reactor, &server.config());
    client.outcome(&mut reactor, &dns, "quick.test").unwrap();
    settle(&mut reactor);
    let before = reactor.count();
    let first = client.ask(&mut reactor, &dns, "silent.test");
    let second = client.ask(&mut reactor, &dns, "silent.test");
    let known = client.ask(&mut reactor, &dns, "quick.test");
    assert_eq!(reactor.count(), before + 2);
    let mut cx = reactor.at(client.id).unwrap();
    assert!(dns.cancel(&mut cx, first));
    assert!(!dns.cancel(&mut cx, first), "once");
    // Also one whose answer is on its way already.
    assert!(dns.cancel(&mut cx, known));
    settle(&mut reactor);
    assert_eq!(reactor.count(), before + 2, "the other waits");
    let mut cx = reactor.at(client.id).unwrap();
    assert!(dns.cancel(&mut cx, second));
    settle(&mut reactor);
    assert_eq!(reactor.count(), before);
    assert_eq!(client.len(), 0);
    assert_eq!(reactor.timer_count(), 0);
    let stats = stats(&mut reactor, &client, &dns);
    assert_eq!((stats.waiting, stats.in_flight, stats.queued), (0, 0, 0));
}

#[test]
fn a_deadline_ends_a_lookup_and_not_those_beside_it() {
    let Setting {
        mut reactor,
        clock,
        client,
    } = setting();
    let server = NameServer::new(&mut reactor, |_| vec![]);
    let mut config = server.config();
    config.timeout(100 * SECOND).deadline(8 * SECOND);
    let dns = resolver(&mut reactor, &config);
    let within = |reactor: &mut Reactor, limit: Duration| {
        let outcomes = Rc::clone(&client.outcomes);
        let mut cx = reactor.at(client.id).unwrap();
        dns.lookup_within(
            &mut cx,
            client.id,
            "silent.test",
            limit,
            move |_, _, outcome| {
                outcomes.borrow_mut().push(outcome);
                Ok(())
            },
        );
    };
    within(&mut reactor, 2 * SECOND);
    client.ask(&mut reactor, &dns, "silent.test");
    within(&mut reactor, Duration::MAX);
    settle(&mut reactor);
    assert_eq!(server.count(), 2);
    for passed in 1..=2 {
        clock.advance(if passed == 1 { 2 * SECOND } else { 6 * SECOND });
        settle(&mut reactor);
        assert_eq!(client.len(), passed);
        let outcomes = client.outcomes.borrow();
        let error = outcomes[passed - 1].as_ref().unwrap_err();
        assert_eq!(error.failure(), Failure::DeadlinePassed);
        assert!(error.is_temporary());
        let limit = if passed == 1 { "2s" } else { "8s" };
        assert!(error.to_string().contains(limit), "{error}");
    }
    assert_eq!(stats(&mut reactor, &client, &dns).waiting, 1);
    clock.advance(200 * SECOND);
    turn_until(&mut reactor, "the last server's time", |_| {
        clock.advance(100 * SECOND);
        client.len() == 3
    });
    let error = client.outcomes.borrow_mut().pop().unwrap().unwrap_err();
    assert_eq!(error.failure(), Failure::Unanswered);
}

#[test]
fn a_lookup_without_a_deadline_has_the_timers_of_its_queries_alone() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let server = NameServer::new(&mut reactor, |_| vec![]);
    let dns = resolver(&mut reactor, &server.config());
    let mut cx = reactor.at(client.id).unwrap();
    let none = Duration::MAX;
    let lookup = dns.lookup_within(&mut cx, client.id, "host.test", none, |_, _, _| Ok(()));
    settle(&mut reactor);
    assert_eq!(reactor.timer_count(), 2);
    assert!(dns.cancel(&mut reactor.at(client.id).unwrap(), lookup));
    assert_eq!(reactor.timer_count(), 0);
}

#[test]
fn a_second_family_that_is_late_is_not_waited_for() {
    let Setting {
        mut reactor,
        clock,
        client,
    } = setting();
    let late: Rc<RefCell<Vec<name_server::Asked>>> = Rc::default();
    let kept = Rc::clone(&late);
    let server = NameServer::new(&mut reactor, move |asked| {
        if asked.is_a() {
            vec![asked.address("192.0.2.1")]
        } else {
            kept.borrow_mut().push(asked.clone());
            vec![]
        }
    });
    let dns = resolver(&mut reactor, &server.config());
    client.ask(&mut reactor, &dns, "half.test");
    settle(&mut reactor);
    assert_eq!(client.len(), 0, "both are waited for");
    clock.advance(Duration::from_millis(50));
    settle(&mut reactor);
    let outcome = client.outcomes.borrow_mut().pop().unwrap();
    assert_eq!(texts(&outcome), ["192.0.2.1"]);
    // Who comes now is not made to wait either.
    let outcome = client.outcome(&mut reactor, &dns, "half.test");
    assert_eq!(texts(&outcome), ["192.0.2.1"]);
    assert_eq!(server.count(), 2);
    // What comes late is for the next.
    let asked = late.borrow_mut().pop().unwrap();
    let reply = asked.address("2001:db8::1");
    let udp = server.ids[0];
    let mut cx = reactor.at(udp).unwrap();
    cx.send_to(&reply, asked.from.unwrap()).unwrap();
    settle(&mut reactor);
    let outcome = client.outcome(&mut reactor, &dns, "half.test");
    assert_eq!(outcome.as_ref().unwrap().origin(), Origin::Cache);
    assert_eq!(texts(&outcome).len(), 2);
    assert_eq!(server.count(), 2);
}

#[test]
fn a_resolver_that_a_callback_makes_waits_for_a_late_family_as_long_as_it_was_told() {
    let Setting {
        mut reactor,
        clock,
        client,
    } = setting();
    let server = NameServer::new(&mut reactor, |asked| {
        let address = asked.is_a().then(|| asked.address("192.0.2.1"));
        address.into_iter().collect()
    });
    let mut config = server.config();
    config.resolution_delay(SECOND);
    let mut cx = reactor.at(client.id).unwrap();
    let dns = DnsResolver::new_in(&mut cx, config.clone()).unwrap();
    client.ask(&mut reactor, &dns, "half.test");
    settle(&mut reactor);
    clock.advance(SECOND - Duration::from_millis(1));
    settle(&mut reactor);
    assert_eq!(client.len(), 0, "both are waited for");
    clock.advance(Duration::from_millis(1));
    settle(&mut reactor);
    let outcome = client.outcomes.borrow_mut().pop().unwrap();
    assert_eq!(texts(&outcome), ["192.0.2.1"]);

    // A hosts file that cannot be read, here because it is a folder: nothing is added.
    config.hosts_file(env!("CARGO_MANIFEST_DIR"));
    let before = reactor.count();
    let mut cx = reactor.at(client.id).unwrap();
    let error = DnsResolver::new_in(&mut cx, config).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(env!("CARGO_MANIFEST_DIR")), "{text}");
    assert_eq!(reactor.count(), before);
}

#[test]
fn the_cache_has_no_more_entries_than_it_may_and_keeps_what_is_used() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let server = NameServer::new(&mut reactor, |asked| vec![asked.address("192.0.2.1")]);
    let mut config = server.config();
    config.cache_entries(10).family(Family::V4);
    let dns = resolver(&mut reactor, &config);
    client.outcome(&mut reactor, &dns, "used.test").unwrap();
    for number in 0..100 {
        client
            .outcome(&mut reactor, &dns, &format!("host{number}.test"))
            .unwrap();
        client.outcome(&mut reactor, &dns, "used.test").unwrap();
    }
    assert_eq!(server.count(), 101);
    let stats = stats(&mut reactor, &client, &dns);
    assert_eq!(stats.cached, 10);
    assert_eq!(stats.evicted, 91);
    assert_eq!(stats.from_cache, 100);
}

#[test]
fn lookups_beyond_the_most_are_refused_and_queries_wait_for_their_turn() {
    let Setting {
        mut reactor,
        clock,
        client,
    } = setting();
    let quiet = Rc::new(Cell::new(true));
    let told = Rc::clone(&quiet);
    let server = NameServer::new(&mut reactor, move |asked| {
        if told.get() && !asked.over_tcp {
            vec![]
        } else {
            vec![asked.address("192.0.2.1")]
        }
    });
    let mut config = server.config();
    config.max_lookups(8).max_in_flight(3).timeout(SECOND);
    let dns = resolver(&mut reactor, &config);
    let before = reactor.count();
    for number in 0..10 {
        client.ask(&mut reactor, &dns, &format!("host{number}.test"));
    }
    settle(&mut reactor);
    assert_eq!(reactor.count(), before + 6, "two sockets for each of three");
    assert_eq!(client.len(), 2);
    for outcome in client.outcomes.borrow_mut().drain(..) {
        let error = outcome.unwrap_err();
        assert_eq!(error.failure(), Failure::Overloaded);
        assert!(error.to_string().contains("8 is the most"), "{error}");
    }
    let now = stats(&mut reactor, &client, &dns);
    assert_eq!((now.waiting, now.in_flight, now.queued), (8, 3, 5));
    assert_eq!(now.overloaded, 2);
    quiet.set(false);
    clock.advance(SECOND);
    turn_until(&mut reactor, "all", |_| client.len() == 8);
    assert!(client.outcomes.borrow().iter().all(Result::is_ok));
    let now = stats(&mut reactor, &client, &dns);
    assert_eq!((now.waiting, now.in_flight, now.queued), (0, 0, 0));
}

#[test]
fn the_hosts_file_comes_first_and_is_read_again_when_it_changes() {
    let Setting {
        mut reactor,
        clock,
        client,
    } = setting();
    let folder = std::env::temp_dir().join(format!("slabloop-hosts-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let hosts = folder.join("hosts");
    fs::write(
        &hosts,
        "# a comment\n192.0.2.5 box.test Box # more\n2001:db8::5\tbox.test\nrubbish here\n\n",
    )
    .unwrap();
    let server = NameServer::new(&mut reactor, |asked| vec![asked.address("192.0.2.1")]);
    let mut config = server.config();
    config.hosts_file(&hosts);
    let dns = resolver(&mut reactor, &config);
    let outcome = client.outcome(&mut reactor, &dns, "BOX.test");
    assert_eq!(texts(&outcome).len(), 2);
    assert_eq!(outcome.unwrap().origin(), Origin::Hosts);
    let outcome = client.outcome(&mut reactor, &dns, "box");
    assert_eq!(texts(&outcome), ["192.0.2.5"]);
    assert_eq!(server.count(), 0);
    client.outcome(&mut reactor, &dns, "here").unwrap();
    assert_eq!(server.count(), 2);

    fs::write(&hosts, "192.0.2.66 box.test\n").unwrap();
    // It is not looked at for each lookup.
    clock.advance(4 * SECOND);
    turn(&mut reactor);
    let outcome = client.outcome(&mut reactor, &dns, "box.test");
    assert_eq!(texts(&outcome).len(), 2);
    clock.advance(2 * SECOND);
    turn(&mut reactor);
    let outcome = client.outcome(&mut reactor, &dns, "box.test");
    assert_eq!(texts(&outcome), ["192.0.2.66"]);
    fs::remove_file(&hosts).unwrap();
    clock.advance(5 * SECOND);
    turn(&mut reactor);
    let outcome = client.outcome(&mut reactor, &dns, "box.test");
    assert_eq!(texts(&outcome), ["192.0.2.1"]);
    // A folder is no file.
    config.hosts_file(&folder);
    let error = DnsResolver::new(&mut reactor, config).unwrap_err();
    assert!(error.to_string().contains("slabloop-hosts"), "{error}");
    fs::remove_dir(&folder).unwrap();
}

#[test]
fn a_changed_resolv_conf_is_followed() {
    let Setting {
        mut reactor,
        clock,
        client,
    } = setting();
    let path = std::env::temp_dir().join(format!("slabloop-resolv-{}", std::process::id()));
    fs::write(&path, "nameserver 127.0.0.1\nsearch one.test\n").unwrap();
    let config = DnsConfig::from_file(&path).unwrap();
    assert_eq!(config.search_list(), ["one.test"]);
    let dns = resolver(&mut reactor, &config);
    // Nobody listens there; the port is not ours to take.
    fs::write(
        &path,
        "nameserver 127.0.0.2\nsearch two.example\noptions ndots:3\n",
    )
    .unwrap();
    clock.advance(5 * SECOND);
    turn(&mut reactor);
    let error = client.outcome(&mut reactor, &dns, "host").unwrap_err();
    assert!(error.to_string().contains("127.0.0.2:53"), "{error}");
    fs::remove_file(&path).unwrap();
}

/// That nobody listens at these addresses is what is kept here.
#[test]
fn what_is_known_outlives_a_new_search_list_and_not_new_servers() {
    let Setting {
        mut reactor,
        clock,
        client,
    } = setting();
    let path = std::env::temp_dir().join(format!("slabloop-known-{}", std::process::id()));
    fs::write(&path, "nameserver 127.0.0.2\nsearch one.test\n").unwrap();
    let mut config = DnsConfig::from_file(&path).unwrap();
    config.family(Family::V4).failure_ttl(60 * SECOND);
    let dns = resolver(&mut reactor, &config);
    client
        .outcome(&mut reactor, &dns, "host.test.")
        .unwrap_err();
    let queries = stats(&mut reactor, &client, &dns).udp_queries;
    assert!(queries > 0);

    fs::write(&path, "nameserver 127.0.0.2\nsearch another.test\n").unwrap();
    clock.advance(6 * SECOND);
    turn(&mut reactor);
    client
        .outcome(&mut reactor, &dns, "host.test.")
        .unwrap_err();
    assert_eq!(stats(&mut reactor, &client, &dns).udp_queries, queries);

    fs::write(&path, "nameserver 127.0.0.2\nnameserver 127.0.0.3\n").unwrap();
    clock.advance(6 * SECOND);
    turn(&mut reactor);
    let error = client
        .outcome(&mut reactor, &dns, "host.test.")
        .unwrap_err();
    assert!(error.to_string().contains("127.0.0.3:53"), "{error}");
    assert!(stats(&mut reactor, &client, &dns).udp_queries > queries);
    fs::remove_file(&path).unwrap();
}

#[test]
fn all_options_of_resolv_conf_that_mean_something_here_are_understood() {
    let config = DnsConfig::from_text(
        "options rotate use-vc no-aaaa\n\
         options edns0 single-request single-request-reopen trust-ad no-reload\n",
    );
    assert!(config.ignored().is_empty(), "{:?}", config.ignored());
    let text = format!("{config:?}");
    for part in ["rotate: true", "use_tcp: true", "family: V4"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn of_a_resolv_conf_without_end_a_bounded_part_is_kept() {
    let domains: Vec<_> = (0..20).map(|number| format!("d{number}.test")).collect();
    let search = format!("search {}\n", domains.join(" "));
    let config = DnsConfig::from_text(&search);
    assert_eq!(config.search_list(), domains[..16]);
    assert_eq!(config.ignored(), [search.trim()], "not all of it");
    let config = DnsConfig::from_text(&"nonsense\n".repeat(100));
    assert_eq!(config.ignored(), ["nonsense"; 16]);
}

#[test]
fn resolv_conf_is_read_as_the_manual_says() {
    let config = DnsConfig::from_text(
        "# comment\n; another\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n\
         nameserver fe80::1%2\nnameserver nonsense\ndomain first.test\nsearch a.test b.test\n\
         sortlist 1.2.3.4\noptions ndots:2 timeout:3 attempts:4 rotate edns0 unknown:7\n",
    );
    let servers: Vec<_> = config.servers().iter().map(ToString::to_string).collect();
    assert_eq!(
        servers,
        ["192.0.2.53:53", "[2001:db8::53]:53", "[fe80::1%2]:53"]
    );
    assert_eq!(config.search_list(), ["a.test", "b.test"]);
    assert_eq!(
        config.ignored(),
        [
            "nameserver nonsense",
            "sortlist 1.2.3.4",
            "options ndots:2 timeout:3 attempts:4 rotate edns0 unknown:7"
        ]
    );
    let text = format!("{config:?}");
    for part in ["ndots: 2", "timeout: 3s", "attempts: 4", "rotate: true"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let bounded = DnsConfig::from_text("options ndots:99 timeout:999 attempts:99\nsearch .\n");
    let text = format!("{bounded:?}");
    for part in ["ndots: 15", "timeout: 30s", "attempts: 5"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(
        bounded.servers(),
        ["127.0.0.1:53".parse::<SocketAddr>().unwrap()]
    );
    assert!(bounded.search_list().is_empty());
    let many = "nameserver 192.0.2.1\n".to_owned()
        + &(0..100)
            .map(|n| format!("nameserver 10.0.0.{n}\n"))
            .collect::<String>();
    assert_eq!(DnsConfig::from_text(&many).servers().len(), 8);
    assert!(DnsConfig::new([]).search(["a..b"]).is_err());
}

/// An address that holds on one link alone is of no use without the link.
#[test]
fn a_name_server_on_a_link_is_reached_through_the_interface_that_is_named() {
    let config = DnsConfig::from_text(
        "nameserver fe80::1%7\nnameserver fe80::2%no/such\nnameserver fe80::3%none-such\n",
    );
    let servers: Vec<_> = config.servers().iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["[fe80::1%7]:53"]);
    assert_eq!(config.ignored().len(), 2);
    if let Ok(index) = fs::read_to_string("/sys/class/net/lo/ifindex") {
        let config = DnsConfig::from_text("nameserver fe80::1%lo");
        let expected = format!("[fe80::1%{}]:53", index.trim());
        assert_eq!(config.servers()[0].to_string(), expected);
    }
}

#[test]
fn a_shared_resolver_cancels_and_addresses_get_their_port() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let server = NameServer::new(&mut reactor, |_| vec![]);
    let dns = Rc::new(resolver(&mut reactor, &server.config()));
    let lookup = client.ask(&mut reactor, &dns, "silent.test");
    let mut cx = reactor.at(client.id).unwrap();
    assert!(dns.cancel(&mut cx, lookup) && !Resolve::cancel(&dns, &mut cx, lookup));
    let outcome = client.outcome(&mut reactor, &dns, "[::1]").unwrap();
    let with_port: Vec<_> = outcome.with_port(80).collect();
    assert_eq!(with_port, ["[::1]:80".parse().unwrap()]);
}

#[test]
fn closing_answers_all_who_wait_and_all_who_come() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let server = NameServer::new(&mut reactor, |_| vec![]);
    let dns = resolver(&mut reactor, &server.config());
    client.ask(&mut reactor, &dns, "silent.test");
    client.ask(&mut reactor, &dns, "192.0.2.1");
    let mut cx = reactor.at(client.id).unwrap();
    dns.close(&mut cx);
    settle(&mut reactor);
    client.ask(&mut reactor, &dns, "after.test");
    settle(&mut reactor);
    let outcomes = client.outcomes.borrow();
    assert_eq!(outcomes.len(), 3);
    let failures: Vec<_> = outcomes
        .iter()
        .map(|outcome| outcome.as_ref().map_err(|error| error.failure()).err())
        .collect();
    assert_eq!(
        failures
            .iter()
            .filter(|failure| **failure == Some(Failure::Closed))
            .count(),
        2
    );
    assert!(failures.contains(&None));
    // The server's two sockets, and the client.
    assert_eq!(reactor.count(), 3);
}

#[test]
fn who_has_ended_is_not_called_and_a_lookup_keeps_the_loop_running() {
    let mut reactor = Reactor::new().unwrap();
    struct Short(Rc<Cell<bool>>);
    impl Dispatcher for Short {}
    let told = Rc::new(Cell::new(false));
    let short = reactor.add_service(Short(Rc::clone(&told))).unwrap();
    let server = NameServer::new(&mut reactor, |asked| vec![asked.address("192.0.2.1")]);
    let dns = resolver(&mut reactor, &server.config());
    let mut cx = reactor.at(short).unwrap();
    dns.lookup(&mut cx, short, "host.test", |short: &mut Short, _, _| {
        short.0.set(true);
        Ok(())
    });
    cx.close();
    let client = Client::new(&mut reactor);
    let outcomes = Rc::clone(&client.outcomes);
    let mut cx = reactor.at(client.id).unwrap();
    let ids = server.ids;
    dns.lookup(&mut cx, client.id, "host.test", move |_, cx, outcome| {
        outcomes.borrow_mut().push(outcome);
        // From here on nothing keeps the loop.
        for id in ids {
            cx.at(id).unwrap().close();
        }
        Ok(())
    });
    reactor.run().unwrap();
    assert_eq!(client.len(), 1);
    assert!(!told.get());
}

#[test]
fn the_outcome_may_begin_further_lookups() {
    let Setting {
        mut reactor,
        client,
        ..
    } = setting();
    let server = NameServer::new(&mut reactor, |asked| vec![asked.address("192.0.2.1")]);
    let dns = Rc::new(resolver(&mut reactor, &server.config()));
    // As a trait object as well.
    let any: Rc<dyn Resolve> = dns;
    let (outcomes, id) = (Rc::clone(&client.outcomes), client.id);
    let again = Rc::clone(&any);
    let mut cx = reactor.at(id).unwrap();
    any.lookup(&mut cx, id, "one.test", move |_, cx, outcome| {
        outcomes.borrow_mut().push(outcome);
        let outcomes = Rc::clone(&outcomes);
        again.lookup(cx, id, "one.test", move |_, _, outcome| {
            outcomes.borrow_mut().push(outcome);
            Ok(())
        });
        Ok(())
    });
    turn_until(&mut reactor, "both", |_| client.len() == 2);
    assert_eq!(server.count(), 2);
}

fn sorted(addresses: &[&str], sources: &[(&str, &str)]) -> Vec<String> {
    let mut list: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
    order::sort_with(&mut list, |address| {
        let pair = sources
            .iter()
            .find(|(to, _)| address == to.parse::<IpAddr>().unwrap());
        pair.map(|(_, from)| from.parse().unwrap())
    });
    list.iter().map(ToString::to_string).collect()
}

/// The examples of RFC 6724, 10.2, as far as they are about the rules that are kept.
#[test]
fn addresses_are_sorted_as_the_rfc_has_it() {
    // Matching scope.
    let sources = [
        ("2001:db8:1::1", "2001:db8:1::2"),
        ("198.51.100.121", "169.254.13.78"),
    ];
    assert_eq!(
        sorted(&["198.51.100.121", "2001:db8:1::1"], &sources),
        ["2001:db8:1::1", "198.51.100.121"]
    );
    let sources = [
        ("2001:db8:1::1", "fe80::1"),
        ("198.51.100.121", "198.51.100.117"),
    ];
    assert_eq!(
        sorted(&["2001:db8:1::1", "198.51.100.121"], &sources),
        ["198.51.100.121", "2001:db8:1::1"]
    );
    // Higher precedence.
    let sources = [("2001:db8:1::1", "2001:db8:1::2"), ("10.1.2.3", "10.1.2.4")];
    assert_eq!(
        sorted(&["10.1.2.3", "2001:db8:1::1"], &sources),
        ["2001:db8:1::1", "10.1.2.3"]
    );
    // Smaller scope.
    let sources = [("2001:db8:1::1", "2001:db8:1::2"), ("fe80::1", "fe80::2")];
    assert_eq!(
        sorted(&["2001:db8:1::1", "fe80::1"], &sources),
        ["fe80::1", "2001:db8:1::1"]
    );
    // Longest matching prefix.
    let sources = [
        ("2001:db8:1::1", "2001:db8:1::2"),
        ("2001:db8:3ffe::1", "2001:db8:3f44::2"),
    ];
    assert_eq!(
        sorted(&["2001:db8:3ffe::1", "2001:db8:1::1"], &sources),
        ["2001:db8:1::1", "2001:db8:3ffe::1"]
    );
    // Matching label: 6to4 with a 6to4 source goes before a native one with it.
    let sources = [
        ("2002:c633:6401::1", "2002:c633:6401::2"),
        ("2001:db8:1::1", "2002:c633:6401::2"),
    ];
    assert_eq!(
        sorted(&["2001:db8:1::1", "2002:c633:6401::1"], &sources),
        ["2002:c633:6401::1", "2001:db8:1::1"]
    );
    // What cannot be reached comes last; else the order stays.
    let sources = [("192.0.2.1", "192.0.2.9"), ("192.0.2.2", "192.0.2.9")];
    assert_eq!(
        sorted(&["2001:db8::1", "192.0.2.2", "192.0.2.1"], &sources),
        ["192.0.2.2", "192.0.2.1", "2001:db8::1"]
    );
    // Whatever else speaks for it.
    let sources = [("2001:db8:1::1", "fec0::1")];
    assert_eq!(
        sorted(&["::1", "2001:db8:1::1"], &sources),
        ["2001:db8:1::1", "::1"]
    );
    // Precedence goes before the prefix: IPv4 before unique local addresses.
    let sources = [("fd00::1", "fd00::2"), ("10.1.2.3", "10.1.2.4")];
    assert_eq!(
        sorted(&["fd00::1", "10.1.2.3"], &sources),
        ["10.1.2.3", "fd00::1"]
    );
}

/// Loopback can always be reached; for a broadcast a socket would need to be allowed to.
#[test]
fn addresses_are_sorted_by_the_kernels_own_routes() {
    for before in [
        &["255.255.255.255", "127.0.0.1"][..],
        &["255.255.255.255", "127.0.0.2", "127.0.0.1"],
    ] {
        let mut list: Vec<IpAddr> = before.iter().map(|text| text.parse().unwrap()).collect();
        order::sort(&mut list);
        let after: Vec<_> = list.iter().map(ToString::to_string).collect();
        let mut expected = before.to_vec();
        expected.rotate_left(1);
        assert_eq!(after, expected);
    }
}

/// RFC 6724, 3.1 and 3.2: each pair in the order in which it is tried, and what it is reached from.
#[test]
fn an_address_of_the_same_scope_as_its_source_comes_first_and_then_the_smaller_scope() {
    for pair in [
        // A link's own address is not for the world beyond.
        [
            ("198.51.100.2", "198.51.100.9"),
            ("198.51.100.1", "169.254.1.1"),
        ],
        // What is nearer is better.
        [
            ("169.254.1.1", "169.254.1.2"),
            ("198.51.100.1", "198.51.100.9"),
        ],
        [("127.0.0.1", "127.0.0.1"), ("198.51.100.1", "198.51.100.9")],
        // The scope of a group is in its address.
        [("ff02::1", "fe80::1"), ("ff0e::1", "2001:db8::1")],
        [("ff0e::1", "2001:db8::1"), ("ff05::1", "2001:db8::1")],
        // A site's addresses are all that begin with these ten bits, and unique local ones are not among them.
        [("3ffe::1", "fc00::9"), ("fedf::1", "fc00::9")],
    ] {
        let [better, worse] = pair.map(|(address, _)| address);
        for list in [[better, worse], [worse, better]] {
            assert_eq!(sorted(&list, &pair), [better, worse]);
        }
    }
}

/// A server that answers for IPv4 at once, for so many seconds, and for IPv6 when the test has it do so.
struct HalfLate {
    server: NameServer,
    late: Rc<RefCell<Vec<name_server::Asked>>>,
}

impl HalfLate {
    fn new(reactor: &mut Reactor, ttl: u32) -> HalfLate {
        let late: Rc<RefCell<Vec<name_server::Asked>>> = Rc::default();
        let kept = Rc::clone(&late);
        let server = NameServer::new(reactor, move |asked| {
            if asked.is_a() {
                return vec![asked.addresses(&["192.0.2.1"], ttl)];
            }
            kept.borrow_mut().push(asked.clone());
            vec![]
        });
        HalfLate { server, late }
    }

    fn answers_the_rest(&self, reactor: &mut Reactor) {
        let asked = self.late.borrow_mut().pop().unwrap();
        let reply = asked.addresses(&["2001:db8::1"], 300);
        let mut cx = reactor.at(self.server.ids[0]).unwrap();
        cx.send_to(&reply, asked.from.unwrap()).unwrap();
        settle(reactor);
    }
}

#[test]
fn a_time_to_live_counts_from_its_own_answer_and_not_from_the_other_families() {
    let Setting {
        mut reactor,
        clock,
        client,
    } = setting();
    let half = HalfLate::new(&mut reactor, 10);
    let mut config = half.server.config();
    config.timeout(Duration::from_secs(30));
    let dns = resolver(&mut reactor, &config);
    client.ask(&mut reactor, &dns, "half.test");
    settle(&mut reactor);
    clock.advance(Duration::from_secs(8));
    half.answers_the_rest(&mut reactor);
    let outcome = client.outcome(&mut reactor, &dns, "half.test");
    assert_eq!(outcome.unwrap().origin(), Origin::Cache, "for two seconds");
    clock.advance(Duration::from_secs(3));
    settle(&mut reactor);
    client.ask(&mut reactor, &dns, "half.test");
    settle(&mut reactor);
    assert_eq!(half.server.count(), 4, "it is asked for again");
}

#[test]
fn an_answer_that_has_expired_is_not_given_out_while_the_other_family_is_waited_for() {
    let Setting {
        mut reactor,
        clock,
        client,
    } = setting();
    let half = HalfLate::new(&mut reactor, 2);
    let mut config = half.server.config();
    config.timeout(Duration::from_secs(30));
    let dns = resolver(&mut reactor, &config);
    client.ask(&mut reactor, &dns, "half.test");
    settle(&mut reactor);
    clock.advance(Duration::from_secs(1));
    settle(&mut reactor);
    let outcome = client.outcome(&mut reactor, &dns, "half.test");
    assert_eq!(texts(&outcome), ["192.0.2.1"]);
    assert_eq!(half.server.count(), 2, "it is valid still");
    clock.advance(Duration::from_secs(1));
    settle(&mut reactor);
    client.ask(&mut reactor, &dns, "half.test");
    settle(&mut reactor);
    assert_eq!(half.server.count(), 4, "it is asked for again");
    half.answers_the_rest(&mut reactor);
    assert_eq!(stats(&mut reactor, &client, &dns).in_flight, 0);
}

#[test]
fn an_alias_of_an_earlier_answer_holds_no_longer_than_it_said() {
    let Setting {
        mut reactor,
        clock,
        client,
    } = setting();
    let late: Rc<RefCell<Vec<name_server::Asked>>> = Rc::default();
    let kept = Rc::clone(&late);
    let server = NameServer::new(&mut reactor, move |asked| {
        if asked.name() == "alias.test" {
            return vec![
                asked
                    .good()
                    .alias(&asked.spelled(), 10, "target.test")
                    .bytes(),
            ];
        }
        kept.borrow_mut().push(asked.clone());
        vec![]
    });
    let mut config = server.config();
    config.timeout(Duration::from_secs(30)).family(Family::V4);
    let dns = resolver(&mut reactor, &config);
    client.ask(&mut reactor, &dns, "alias.test");
    settle(&mut reactor);
    clock.advance(Duration::from_secs(8));
    let asked = late.borrow_mut().pop().unwrap();
    let reply = asked.addresses(&["192.0.2.1"], 300);
    let mut cx = reactor.at(server.ids[0]).unwrap();
    cx.send_to(&reply, asked.from.unwrap()).unwrap();
    settle(&mut reactor);
    assert_eq!(client.len(), 1);
    clock.advance(Duration::from_secs(3));
    settle(&mut reactor);
    client.ask(&mut reactor, &dns, "alias.test");
    settle(&mut reactor);
    assert_eq!(
        server.count(),
        4,
        "the alias, and the target, are asked for again"
    );
}
