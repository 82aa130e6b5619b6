//! What an answer that is known costs in CPU time. Prints, and asserts nothing about time:
//! `cargo test --release -p slabloop-kit-tests --test resolver_cost -- --ignored --nocapture`

#[path = "../util/mod.rs"]
mod util;

mod name_server;

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;

use name_server::{Client, NameServer};
use rustix::time::{ClockId, clock_gettime};
use slabloop::Reactor;
use slabloop::kit::resolver::{DnsResolver, Family, Resolve};
use util::turn_until;

fn cpu_nanos() -> i64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

#[test]
#[ignore = "prints a measurement"]
fn what_a_known_answer_costs() {
    const LOOKUPS: usize = 1_000_000;
    const IN_A_TURN: usize = 1000;
    let mut reactor = Reactor::new().unwrap();
    let server = NameServer::new(&mut reactor, |asked| {
        vec![asked.addresses(&["192.0.2.1", "2001:db8::1"], 3600)]
    });
    let dns = DnsResolver::new(&mut reactor, server.config()).unwrap();
    let client = Client::new(&mut reactor);
    let name = "www.some-host.example.org";
    client.outcome(&mut reactor, &dns, name).unwrap();
    let came = Rc::new(Cell::new(0));
    for round in 0..5 {
        came.set(0);
        let before = cpu_nanos();
        for _ in 0..LOOKUPS / IN_A_TURN {
            let goal = came.get() + IN_A_TURN;
            for _ in 0..IN_A_TURN {
                let came = Rc::clone(&came);
                let mut cx = reactor.at(client.id).unwrap();
                dns.lookup(&mut cx, client.id, name, move |_, _, outcome| {
                    came.set(came.get() + outcome.map_or(0, |found| found.len() / 2));
                    Ok(())
                });
            }
            while came.get() < goal {
                reactor.turn(std::time::Duration::ZERO).unwrap();
            }
        }
        let lookup = (cpu_nanos() - before) as f64 / LOOKUPS as f64;
        let before = cpu_nanos();
        let mut found: Vec<IpAddr> = Vec::new();
        for _ in 0..LOOKUPS {
            let mut cx = reactor.at(client.id).unwrap();
            let known = dns.known(&mut cx, name).unwrap();
            found.clear();
            found.extend_from_slice(&known);
        }
        let known = (cpu_nanos() - before) as f64 / LOOKUPS as f64;
        println!("round {round}: lookup to outcome {lookup:.0} ns, known {known:.0} ns");
        assert_eq!(found.len(), 2);
    }
    turn_until(&mut reactor, "nothing", |_| true);
    assert_eq!(server.count(), 2, "all were known");
}

/// Each record's owner goes back over as many pointers as fit before it.
#[test]
#[ignore = "prints a measurement"]
fn what_the_slowest_answer_costs() {
    let mut reactor = Reactor::new().unwrap();
    let server = NameServer::new(&mut reactor, |asked| {
        if !asked.over_tcp {
            return vec![asked.good().cut()];
        }
        let mut message = asked.good().bytes();
        // One record of an unknown type whose data are the pointers: a root, and each points to the one before.
        let root = message.len() + 11;
        message.extend_from_slice(&[0, 0xff, 0, 0, 1, 0, 0, 0, 60]);
        let pointers = (0x3fff - root) / 2;
        message.extend_from_slice(&u16::try_from(1 + 2 * pointers).unwrap().to_be_bytes());
        message.push(0);
        let mut last = root;
        for _ in 0..pointers {
            let place = message.len();
            message.extend_from_slice(&(0xc000 | u16::try_from(last).unwrap()).to_be_bytes());
            last = place;
        }
        let mut records: u16 = 1;
        while message.len() < 65_500 {
            message.extend_from_slice(&(0xc000 | u16::try_from(last).unwrap()).to_be_bytes());
            let kind = u8::try_from(asked.kind()).unwrap();
            message.extend_from_slice(&[0, kind, 0, 1, 0, 0, 0, 60, 0, 4, 1, 2, 3, 4]);
            records += 1;
        }
        message[6..8].copy_from_slice(&records.to_be_bytes());
        vec![message]
    });
    let mut config = server.config();
    config.family(Family::V4);
    let dns = DnsResolver::new(&mut reactor, config).unwrap();
    let client = Client::new(&mut reactor);
    for round in 0..5 {
        let before = cpu_nanos();
        let outcome = client.outcome(&mut reactor, &dns, &format!("host{round}.test"));
        let took = (cpu_nanos() - before) as f64 / 1e6;
        println!("round {round}: {took:.1} ms, {outcome:?}");
    }
}
