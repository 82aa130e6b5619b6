//! The example `chat` as two processes with one room, behind HAProxy, with a crowd of members that talk while the broker
//! is killed, a process is killed and HAProxy is reloaded.
//!
//! What every member has heard is held against what the broker has kept: it is a part of that without a gap, in the
//! same order, and nothing twice. Without redis-server the tests say so and are skipped; without HAProxy members
//! connect to both processes in turn.

#[path = "util/asking.rs"]
mod asking;
#[path = "util/crowd.rs"]
mod crowd;
#[path = "../util/programs.rs"]
mod programs;
#[path = "../../examples/common/redis/mod.rs"]
mod redis;
#[path = "util/redis_server.rs"]
mod redis_server;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use asking::ask;
use crowd::{Crowd, Fate, Said};
use programs::{PATIENCE, Running, Server, free_port};
use redis::Reply;
use redis_server::Redis;
use slabloop::{Id, Reactor};

/// HAProxy in front of two processes, each in its turn.
struct Haproxy {
    folder: PathBuf,
    port: u16,
    running: Vec<Running>,
}

impl Haproxy {
    /// None, and a word about it, if there is no HAProxy.
    fn start(name: &str, servers: [SocketAddr; 2]) -> Option<Haproxy> {
        let found = Command::new("haproxy")
            .arg("-v")
            .stdout(Stdio::null())
            .status();
        if found.is_err() {
            eprintln!("without HAProxy: there is none");
            return None;
        }
        let name = format!("slabloop-haproxy-{name}-{}", std::process::id());
        let mut haproxy = Haproxy {
            folder: std::env::temp_dir().join(name),
            port: free_port(),
            running: Vec::new(),
        };
        std::fs::create_dir_all(&haproxy.folder).expect("a folder");
        let [one, other] = servers;
        let config = format!(
            "global\n maxconn 4000\n\
             defaults\n mode tcp\n timeout connect 5s\n timeout client 1h\n timeout server 1h\n\
             \x20retries 3\n option redispatch\n\
             frontend members\n bind 127.0.0.1:{}\n default_backend processes\n\
             backend processes\n balance roundrobin\n\
             \x20server one {one} check inter 200ms fall 1 rise 1\n\
             \x20server other {other} check inter 200ms fall 1 rise 1\n",
            haproxy.port
        );
        std::fs::write(haproxy.folder.join("haproxy.cfg"), config).expect("its folder");
        haproxy.run();
        Some(haproxy)
    }

    /// Starts one. Those that run take no more connections, and end when theirs have ended.
    fn run(&mut self) {
        let mut command = Command::new("haproxy");
        command
            .arg("-db")
            .arg("-f")
            .arg(self.folder.join("haproxy.cfg"));
        if let Some(old) = self.running.last() {
            command.arg("-sf").arg(old.0.id().to_string());
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.running
            .push(Running(command.spawn().expect("it starts")));
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address()).is_err() {
            assert!(Instant::now() < deadline, "HAProxy does not listen");
            // Nothing tells when it does.
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        self.running.clear();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A figure of a process' memory, in KiB: of a line such as `VmRSS:   7544 kB`.
fn memory(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mut lines = status.lines();
    let words = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = words.and_then(|words| words.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// What the broker has kept of what was said, in order.
fn kept(redis: &Redis) -> Vec<Said> {
    let reply = ask(redis.address(), &["XRANGE", "{chat}:stream", "-", "+"]);
    let Reply::Array(entries) = reply else {
        panic!("{reply:?}");
    };
    let said = entries.iter().filter_map(|entry| {
        let Reply::Array(entry) = entry else {
            panic!("{entry:?}");
        };
        let Reply::Array(fields) = &entry[1] else {
            panic!("{entry:?}");
        };
        let Reply::Bulk(event) = &fields[1] else {
            panic!("{entry:?}");
        };
        let event = std::str::from_utf8(event).expect("text");
        // `line PROCESS NICK TEXT`
        let text = event.strip_prefix("line ")?.splitn(3, ' ').nth(2);
        Some(Said::parse(text.expect("a text")).expect("of the crowd"))
    });
    said.collect()
}

fn turn_until(
    reactor: &mut Reactor,
    crowd: Id<Crowd>,
    what: &str,
    mut done: impl FnMut(&mut Crowd) -> bool,
) {
    let deadline = Instant::now() + 2 * PATIENCE;
    loop {
        let (is_done, present) = reactor
            .with(crowd, |crowd, _| (done(crowd), crowd.present()))
            .expect("the crowd");
        if is_done {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "waited too long for: {what}; {present} are in"
        );
        reactor.turn(Duration::from_millis(20)).expect("no fault");
    }
}

fn turn_for(reactor: &mut Reactor, span: Duration) {
    let until = Instant::now() + span;
    while Instant::now() < until {
        reactor.turn(Duration::from_millis(20)).expect("no fault");
    }
}

struct Plan {
    name: &'static str,
    members: usize,
    /// Lines a second, of all members.
    rate: f64,
    /// Between two faults.
    pause: Duration,
    /// How long the broker is away.
    outage: Duration,
    lease: &'static str,
}

struct Play {
    redis: Redis,
    processes: Vec<Server>,
    reactor: Reactor,
    crowd: Id<Crowd>,
    size: usize,
}

impl Play {
    fn with<R>(&mut self, look: impl FnOnce(&mut Crowd) -> R) -> R {
        self.reactor
            .with(self.crowd, |crowd, _| look(crowd))
            .expect("the crowd")
    }

    fn until(&mut self, what: &str, done: impl FnMut(&mut Crowd) -> bool) {
        turn_until(&mut self.reactor, self.crowd, what, done);
    }

    /// The time from `since` to the first line that was confirmed after it.
    fn until_confirmed(&mut self, since: Instant) -> Duration {
        self.until("a line to be confirmed", |crowd| {
            crowd.confirmed_at.last().is_some_and(|&at| at > since)
        });
        let first = self.with(|crowd| crowd.confirmed_at.iter().copied().find(|&at| at > since));
        first.expect("it was waited for") - since
    }

    fn memory(&self) -> String {
        let mut pids: Vec<_> = self
            .processes
            .iter()
            .map(|server| ("chat", server.process.0.id()))
            .collect();
        pids.push(("redis", self.redis.pid()));
        pids.push(("crowd", std::process::id()));
        let figures = pids.iter().map(|&(name, pid)| {
            let (now, most) = (memory(pid, "VmRSS"), memory(pid, "VmHWM"));
            format!(
                "{name} {:.1} MiB (peak {:.1})",
                now as f64 / 1024.0,
                most as f64 / 1024.0
            )
        });
        figures.collect::<Vec<_>>().join(", ")
    }

    fn report(&mut self, what: &str) {
        let size = self.size;
        let memory = self.memory();
        self.with(|crowd| {
            let [open, confirmed, refused, unknown] =
                [Fate::Open, Fate::Confirmed, Fate::Refused, Fate::Unknown].map(|fate| crowd.how_many(fate));
            println!(
                "{what}: {} of {size} are in; lines: {} sent, {confirmed} confirmed, {refused} refused, {unknown} \
                 unknown, {open} open; {} received; slowest confirmation {:?}; connections: {} ended, {} refused\n  {memory}",
                crowd.present(), crowd.fates.len(), crowd.received, crowd.slowest, crowd.ended, crowd.refused,
            );
        });
    }
}

fn play(plan: &Plan) {
    let Some(redis) = Redis::start(plan.name) else {
        return;
    };
    let broker = format!("redis://{}", redis.address());
    let start = |listen: &str| {
        let arguments = [
            "--listen",
            listen,
            "--backplane",
            &broker,
            "--lease",
            plan.lease,
        ];
        Server::start("chat_tested", &arguments)
    };
    let processes = vec![start("127.0.0.1:0"), start("127.0.0.1:0")];
    let addresses = [processes[0].address, processes[1].address];
    let mut haproxy = Haproxy::start(plan.name, addresses);
    let fronts = match &haproxy {
        Some(haproxy) => vec![haproxy.address()],
        None => addresses.to_vec(),
    };
    let mut reactor = Reactor::new().expect("a poller");
    let crowd = Crowd::start(&mut reactor, fronts, plan.members);
    let size = plan.members;
    let mut play = Play {
        redis,
        processes,
        reactor,
        crowd,
        size,
    };

    let began = Instant::now();
    play.until("all to enter", |crowd| crowd.present() == size);
    println!("{size} members have entered in {:?}", began.elapsed());
    play.with(|crowd| crowd.talk(plan.rate));
    turn_for(&mut play.reactor, plan.pause);
    play.report("before any fault");

    // The broker.
    let killed = Instant::now();
    play.redis.end();
    turn_for(&mut play.reactor, plan.outage);
    play.until("a line to be refused", |crowd| {
        crowd.how_many(Fate::Refused) > 0
    });
    play.redis.run();
    let up = Instant::now();
    let back = play.until_confirmed(up);
    println!(
        "the broker was away for {:?}; the first line was confirmed {back:?} later",
        up - killed
    );
    turn_for(&mut play.reactor, plan.pause);
    play.report("the broker was killed");
    let all = size as u64;
    play.until("all to be told", |crowd| {
        crowd.told().0.min(crowd.told().1) >= all
    });
    let (away, back) = play.with(|crowd| crowd.told());
    println!(
        "members were told {away} times that the backplane is away, and {back} times that it is back"
    );

    // HAProxy.
    if let Some(haproxy) = &mut haproxy {
        let before = play.with(|crowd| crowd.ended);
        haproxy.run();
        turn_for(&mut play.reactor, plan.pause);
        play.report("HAProxy was reloaded");
        assert_eq!(
            play.with(|crowd| crowd.ended),
            before,
            "a reload ends no connection"
        );
    }

    // A process. Its members come back at the other one, under their own nicknames.
    let killed = Instant::now();
    let victim = play.processes.pop().expect("there are two");
    let listened = victim.address.to_string();
    victim.process.signal("-KILL");
    drop(victim);
    play.until("its members to be gone", |crowd| crowd.present() < size);
    let (gone, first) = (play.with(|crowd| size - crowd.present()), killed.elapsed());
    play.until("all to be back", |crowd| crowd.present() == size);
    println!(
        "a process was killed: {gone} members at first; all were back after {:?} ({first:?})",
        killed.elapsed()
    );
    turn_for(&mut play.reactor, plan.pause);
    play.report("a process was killed");
    // Another takes its place.
    play.processes.push(start(&listened));
    turn_for(&mut play.reactor, plan.pause);

    // The end: all that was sent has its fate, and all have heard the last line.
    play.with(|crowd| crowd.talk(0.0));
    play.until("all lines to have a fate", |crowd| crowd.open_lines() == 0);
    let kept_lines = kept(&play.redis);
    let last = *kept_lines.last().expect("something was said");
    play.until("all to have heard the last line", |crowd| {
        crowd.have_all_heard(last)
    });
    play.report("at the end");
    play.with(|crowd| check(crowd, &kept_lines));
    assert_eq!(play.with(|crowd| crowd.missed), 0);
    play.reactor.with(crowd, |crowd, cx| crowd.end(cx));
    turn_for(&mut play.reactor, Duration::from_millis(50));
    for process in play.processes {
        process.process.signal("-INT");
        let ended = process.end();
        assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    }
}

/// Holds what was heard against what was kept.
fn check(crowd: &Crowd, kept: &[Said]) {
    let mut places = HashMap::new();
    let mut last_of = HashMap::new();
    for (place, &said) in kept.iter().enumerate() {
        assert!(
            places.insert(said, place).is_none(),
            "{said:?} was kept twice"
        );
        let last = last_of.insert(said.who, said.number);
        assert!(
            last.is_none_or(|last| last < said.number),
            "{said:?} behind {last:?}"
        );
    }
    let mut heard = 0;
    let mut segments = 0;
    for (member, segment, is_open) in crowd.heard() {
        segments += 1;
        heard += segment.len();
        let mut next = None;
        for said in segment {
            let place = *places
                .get(said)
                .unwrap_or_else(|| panic!("{said:?} was heard, and not kept"));
            assert!(
                next.is_none_or(|next| next == place),
                "member {member} hears line {place} and not {next:?}"
            );
            next = Some(place + 1);
        }
        assert!(
            !is_open || next == Some(kept.len()),
            "member {member} has heard up to {next:?}"
        );
    }
    let mut unknown_and_kept = 0;
    for (said, fate) in &crowd.fates {
        let is_kept = places.contains_key(said);
        match fate {
            Fate::Confirmed => assert!(is_kept, "{said:?} was confirmed, and is lost"),
            Fate::Refused => assert!(!is_kept, "{said:?} was refused, and is there"),
            Fate::Unknown => unknown_and_kept += usize::from(is_kept),
            Fate::Open => panic!("{said:?} has no fate"),
        }
    }
    println!(
        "kept: {} lines; of the unknown {unknown_and_kept}. Heard: {heard} lines, in {segments} stays; each a part of the \
         kept ones, in order, without a gap. Confirmed and lost: 0; refused and kept: 0; twice: 0.",
        kept.len()
    );
    assert!(crowd.how_many(Fate::Confirmed) > 0 && crowd.how_many(Fate::Refused) > 0);
}

#[test]
fn a_hundred_members_hear_all_that_is_kept_whatever_is_killed() {
    play(&Plan {
        name: "hundred",
        members: 100,
        rate: 200.0,
        pause: Duration::from_millis(500),
        outage: Duration::from_millis(300),
        lease: "2",
    });
}

#[test]
#[ignore = "takes a minute, and both processors"]
fn a_thousand_members_hear_all_that_is_kept_whatever_is_killed() {
    play(&Plan {
        name: "thousand",
        members: 1000,
        rate: 40.0,
        pause: Duration::from_secs(5),
        outage: Duration::from_secs(2),
        lease: "5",
    });
}
