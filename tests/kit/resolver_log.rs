//! Strangers cannot fill the log. Alone in its file: the logger is the process's.

#[path = "../util/mod.rs"]
mod util;

mod name_server;

use std::sync::atomic::{AtomicUsize, Ordering};

use name_server::{Client, NameServer};
use slabloop::Reactor;
use slabloop::kit::resolver::DnsResolver;
use slabloop::testing::SimClock;

struct Counting;

static LINES: AtomicUsize = AtomicUsize::new(0);

impl log::Log for Counting {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.level() <= log::Level::Info {
            LINES.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

#[test]
fn false_answers_are_one_line_a_second() {
    log::set_logger(&Counting).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    let clock = SimClock::new();
    let mut reactor = Reactor::builder().clock(clock).build().unwrap();
    let client = Client::new(&mut reactor);
    let server = NameServer::new(&mut reactor, |asked| {
        let mut wrong = asked.address("192.0.2.66");
        wrong[0] ^= 1;
        let mut all = vec![wrong; 20];
        all.push(asked.address("192.0.2.1"));
        all
    });
    let dns = DnsResolver::new(&mut reactor, server.config()).unwrap();
    for number in 0..10 {
        let name = format!("host{number}.test");
        client.outcome(&mut reactor, &dns, &name).unwrap();
    }
    let strays = name_server::stats(&mut reactor, &client, &dns).other_id;
    assert!(strays >= 200, "{strays}");
    assert_eq!(LINES.load(Ordering::Relaxed), 1);
}
