//! Strangers cannot fill the log, nor can a file. Alone in its file: the logger is the process's.

#[path = "../util/mod.rs"]
mod util;

mod name_server;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use name_server::{Client, NameServer};
use slabloop::Reactor;
use slabloop::kit::resolver::{DnsConfig, DnsResolver};
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
fn what_comes_again_and_again_is_one_line() {
    log::set_logger(&Counting).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    false_answers_are_one_line_a_second();
    file_that_cannot_be_read_is_one_line();
}

fn false_answers_are_one_line_a_second() {
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

/// Once for each change of the file, however often it is looked at.
fn file_that_cannot_be_read_is_one_line() {
    LINES.store(0, Ordering::Relaxed);
    let clock = SimClock::new();
    let mut reactor = Reactor::builder().clock(clock.clone()).build().unwrap();
    let client = Client::new(&mut reactor);
    let path = std::env::temp_dir().join(format!("slabloop-no-file-{}", std::process::id()));
    std::fs::write(&path, "nameserver 127.0.0.2\n").unwrap();
    let config = DnsConfig::from_file(&path).unwrap();
    let dns = DnsResolver::new(&mut reactor, config).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    for number in 0..3 {
        clock.advance(Duration::from_secs(6));
        let name = format!("host{number}.test");
        client.outcome(&mut reactor, &dns, &name).unwrap_err();
    }
    assert_eq!(LINES.load(Ordering::Relaxed), 1);
    std::fs::remove_dir(&path).unwrap();
}
