//! The resolver against a real name server, dnsmasq. Where it is not installed, these tests say so and pass.

#[path = "../util/mod.rs"]
mod util;

mod name_server;

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use name_server::{Client, stats, texts};
use slabloop::Reactor;
use slabloop::kit::resolver::{DnsConfig, DnsResolver, Failure, Origin};
use slabloop::testing::SimClock;
use util::{DEADLINE, turn};

/// A running server, and its file. Ended with the value.
struct Dnsmasq {
    child: Child,
    address: SocketAddr,
    file: PathBuf,
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.file);
    }
}

impl Dnsmasq {
    /// `None` where it is not installed.
    fn start(name: &str, zone: &str) -> Option<Dnsmasq> {
        // A port that was free may be another test's by the time that it is wanted.
        for _ in 0..20 {
            let mut server = Dnsmasq::start_on_some_port(name, zone)?;
            if server.answers() {
                return Some(server);
            }
        }
        panic!("dnsmasq does not start");
    }

    fn start_on_some_port(name: &str, zone: &str) -> Option<Dnsmasq> {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let file =
            std::env::temp_dir().join(format!("slabloop-dnsmasq-{}-{name}", std::process::id()));
        let port = address.port();
        let all = format!(
            "port={port}\nlisten-address=127.0.0.1\nbind-interfaces\nno-resolv\nno-hosts\n\
             no-daemon\nuser=\ngroup=\npid-file=\nlocal=/test/\n{zone}\n"
        );
        fs::write(&file, all).unwrap();
        let child = Command::new("dnsmasq")
            .arg("-C")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = child else {
            println!("skipped: there is no dnsmasq here (Debian: dnsmasq-base)");
            let _ = fs::remove_file(&file);
            return None;
        };
        Some(Dnsmasq {
            child,
            address,
            file,
        })
    }

    /// Waits until it does. False if it has ended.
    fn answers(&mut self) -> bool {
        let probe = UdpSocket::bind("127.0.0.1:0").unwrap();
        probe.connect(self.address).unwrap();
        probe
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05probe\x04test\x00\x00\x01\x00\x01";
        let deadline = Instant::now() + DEADLINE;
        loop {
            assert!(Instant::now() < deadline, "dnsmasq does not answer");
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            let _ = probe.send(query);
            if probe.recv(&mut [0; 512]).is_ok() {
                return true;
            }
        }
    }
}

struct Setting {
    server: Dnsmasq,
    reactor: Reactor,
    clock: SimClock,
    client: Client,
    dns: DnsResolver,
}

fn setting(name: &str, zone: &str, change: impl FnOnce(&mut DnsConfig)) -> Option<Setting> {
    let server = Dnsmasq::start(name, zone)?;
    let clock = SimClock::new();
    let mut reactor = Reactor::builder().clock(clock.clone()).build().unwrap();
    let client = Client::new(&mut reactor);
    let mut config = DnsConfig::new([server.address]);
    change(&mut config);
    let dns = DnsResolver::new(&mut reactor, config).unwrap();
    Some(Setting {
        server,
        reactor,
        clock,
        client,
        dns,
    })
}

#[test]
fn addresses_aliases_and_denials_of_a_real_server() {
    let zone = "host-record=host.test,192.0.2.10,2001:db8::10,120\n\
                cname=alias.test,host.test,30\n\
                host-record=four.test,192.0.2.4\n\
                address=/wild.test/192.0.2.77";
    let Some(mut setting) = setting("answers", zone, |_| {}) else {
        return;
    };
    let reactor = &mut setting.reactor;
    let (client, dns) = (&setting.client, &setting.dns);
    let mut found = texts(&client.outcome(reactor, dns, "host.test"));
    found.sort();
    assert_eq!(found, ["192.0.2.10", "2001:db8::10"]);
    let mut found = texts(&client.outcome(reactor, dns, "ALIAS.test"));
    found.sort();
    assert_eq!(found, ["192.0.2.10", "2001:db8::10"]);
    let found = texts(&client.outcome(reactor, dns, "four.test"));
    assert_eq!(found, ["192.0.2.4"]);
    let found = texts(&client.outcome(reactor, dns, "any-thing.wild.test"));
    assert_eq!(found, ["192.0.2.77"]);
    let error = client.outcome(reactor, dns, "nowhere.test").unwrap_err();
    assert_eq!(error.failure(), Failure::NoSuchName);
    // Case is kept, and all was over UDP.
    let now = stats(reactor, client, dns);
    assert_eq!((now.other_case, now.tcp_queries), (0, 0));
    assert_eq!(now.garbage + now.other_id + now.other_question, 0);
    assert!(setting.server.child.try_wait().unwrap().is_none());
}

#[test]
fn times_to_live_of_a_real_server() {
    let zone = "host-record=host.test,192.0.2.10,2001:db8::10,120";
    let Some(mut setting) = setting("ttl", zone, |_| {}) else {
        return;
    };
    let reactor = &mut setting.reactor;
    let (client, dns) = (&setting.client, &setting.dns);
    for (passed, origin) in [(0, Origin::Asked), (119, Origin::Cache), (1, Origin::Asked)] {
        setting.clock.advance(Duration::from_secs(passed));
        turn(reactor);
        let outcome = client.outcome(reactor, dns, "host.test");
        assert_eq!(outcome.unwrap().origin(), origin, "{passed} s later");
    }
}

#[test]
fn a_long_answer_of_a_real_server_comes_over_tcp() {
    let mut zone: String = (0..62)
        .map(|number| format!("host-record=many.test,2001:db8::{number:x}\n"))
        .collect();
    // Its own bound on UDP, below ours.
    zone.push_str("edns-packet-max=512");
    let Some(mut setting) = setting("long", &zone, |_| {}) else {
        return;
    };
    let reactor = &mut setting.reactor;
    let (client, dns) = (&setting.client, &setting.dns);
    let found = texts(&client.outcome(reactor, dns, "many.test"));
    assert_eq!(found.len(), 62);
    let now = stats(reactor, client, dns);
    assert_eq!((now.udp_queries, now.tcp_queries), (2, 1));
}

#[test]
fn tcp_alone_and_a_search_list_with_a_real_server() {
    let zone = "host-record=web.prod.test,192.0.2.10\nhost-record=web,192.0.2.99";
    let Some(mut setting) = setting("tcp", zone, |config| {
        config
            .use_tcp(true)
            .search(["lab.test", "prod.test"])
            .unwrap();
    }) else {
        return;
    };
    let reactor = &mut setting.reactor;
    let (client, dns) = (&setting.client, &setting.dns);
    let found = texts(&client.outcome(reactor, dns, "web"));
    assert_eq!(found, ["192.0.2.10"]);
    let now = stats(reactor, client, dns);
    assert_eq!((now.udp_queries, now.tcp_queries), (0, 4));
}
