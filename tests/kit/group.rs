//! Several reactors on threads of their own: how they start, serve on one port, and end together, whatever fails.

#[path = "util/group.rs"]
mod group_util;
#[path = "../util/mod.rs"]
mod util;

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use group_util::*;
use slabloop::kit::group::{
    Ended, Fault, Group, GroupError, Member, Reason, SharedPort, processors,
};
use slabloop::{Accepted, Context, Dispatcher, PanicPolicy, Reactor};
use util::DEADLINE;

/// What an echo server's thread did: the connections that it accepted, and how it ended.
type Report = (u64, Ended);

fn echo_group(threads: usize, drain: Duration) -> (Group<Report>, SocketAddr) {
    let port = SharedPort::new("127.0.0.1:0").expect("an address");
    let listeners = port.clone();
    let builder = Group::builder().threads(threads).name("echo").drain(drain);
    let group = builder.start(move |member| {
        let mut reactor = Reactor::new()?;
        listeners.listen(&mut reactor, Listener)?;
        let ended = member.run(&mut reactor)?;
        Ok((reactor.counters().accepted, ended))
    });
    let group = group.expect("threads");
    (group, port.local_addr().expect("it listens"))
}

/// The only failure of a group.
#[track_caller]
fn only_failure(error: &GroupError) -> (&str, &Fault) {
    let [failure] = error.failures() else {
        panic!("one failure: {error}");
    };
    (&failure.name, &failure.fault)
}

#[test]
fn what_the_closures_return_comes_back_in_the_order_of_the_threads() {
    let group = Group::builder().threads(3).name("web").start(|member| {
        let mut reactor = Reactor::new()?;
        member.run(&mut reactor)?;
        let name = thread::current().name().map(str::to_owned);
        assert_eq!(name, Some(member.name()));
        Ok((member.index(), name))
    });
    let group = group.expect("threads");
    assert_eq!(group.handle().threads(), 3);
    group.handle().shut_down();
    let ended = group.join().expect("no failure");
    let names = ["web-0", "web-1", "web-2"].map(|name| Some(name.to_owned()));
    let expected: Vec<_> = names.into_iter().enumerate().collect();
    assert_eq!(ended, expected);
}

#[test]
fn a_thousand_connections_are_spread_over_two_and_every_echo_is_right() {
    const CLIENTS: usize = 1_000;
    let (group, address) = echo_group(2, DEADLINE);
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| client(address)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        expect_echo(client, number);
    }
    for client in clients {
        hang_up(client);
    }
    group.handle().shut_down();
    let reports = group.join().expect("no failure");
    let accepted: Vec<_> = reports.iter().map(|(accepted, _)| *accepted).collect();
    assert_eq!(accepted.iter().sum::<u64>(), CLIENTS as u64);
    // The hash is of the ports, so how many each gets differs from run to run. That one gets fewer than a quarter of
    // them is less likely than one in 10^50.
    assert!(accepted.iter().all(|&one| one > 250), "{accepted:?}");
    for (_, ended) in reports {
        assert!(ended.aborted.is_empty(), "{ended:?}");
        assert_eq!(ended.reason, Reason::Asked);
    }
}

/// A group of two that wait; `told` gets how each ends. `act` runs on the first when all run.
fn two_that_tell(
    told: &Sender<Reason>,
    act: impl Fn(&mut Reactor) + Send + Sync + 'static,
) -> Result<Group<()>, GroupError> {
    let (told, act) = (told.clone(), Arc::new(act));
    Group::builder()
        .threads(2)
        .name("two")
        .start(move |member| {
            let mut reactor = Reactor::builder()
                .panic_policy(PanicPolicy::Propagate)
                .build()?;
            if member.index() == 0 {
                let act = Arc::clone(&act);
                reactor.call_later(Duration::ZERO, move |reactor| act(reactor));
            }
            let ended = member.run(&mut reactor)?;
            told.send(ended.reason).expect("the test listens");
            Ok(())
        })
}

#[test]
fn a_panic_that_leaves_one_reactor_ends_the_others_gracefully_and_is_told_with_its_name() {
    let (told, reasons) = channel();
    let group = two_that_tell(&told, |_| panic!("no more")).expect("threads");
    let error = group.join().expect_err("one panicked");
    let (name, fault) = only_failure(&error);
    assert_eq!(name, "two-0");
    assert!(matches!(fault, Fault::Panic(text) if text == "no more"));
    assert_eq!(error.to_string(), "two-0: panicked: no more");
    let told = Reason::Failed("two-0: panicked: no more".to_owned());
    assert_eq!(reasons.try_iter().collect::<Vec<_>>(), [told]);
}

#[test]
fn a_reactor_that_stops_by_itself_ends_the_group() {
    let (told, reasons) = channel();
    let group = two_that_tell(&told, Reactor::stop).expect("threads");
    let handle = group.handle();
    group.join().expect("no failure");
    let reason = Reason::Stopped("two-0".to_owned());
    assert_eq!(handle.reason(), Some(reason.clone()));
    let reasons: Vec<_> = reasons.try_iter().collect();
    assert_eq!(reasons, [reason.clone(), reason], "both are told");
}

#[test]
fn an_error_after_the_run_names_its_thread_and_ends_the_others() {
    let group = Group::builder().threads(3).name("late").start(|member| {
        let mut reactor = Reactor::new()?;
        if member.index() == 1 {
            reactor.call_later(Duration::ZERO, Reactor::stop);
            member.run(&mut reactor)?;
            return Err(io::Error::other("the disk is full"));
        }
        member.run(&mut reactor)?;
        Ok(())
    });
    let error = group.expect("threads").join().expect_err("one failed");
    assert_eq!(error.to_string(), "late-1: the disk is full");
    let error = io::Error::from(error);
    assert_eq!(error.to_string(), "late-1: the disk is full");
}

#[test]
fn an_address_in_use_is_an_error_of_the_start_and_no_thread_is_left() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("it listens");
    let port = SharedPort::new(address).expect("an address");
    let alive = Arc::new(());
    let held = Arc::clone(&alive);
    let started = Group::builder()
        .threads(3)
        .name("web")
        .start(move |member| {
            let _held = Arc::clone(&held);
            let mut reactor = Reactor::new()?;
            if member.index() == 2 {
                port.listen(&mut reactor, Listener)?;
            }
            member.run(&mut reactor)?;
            Ok(())
        });
    let error = started.expect_err("the address is in use");
    let (name, fault) = only_failure(&error);
    assert_eq!(name, "web-2");
    assert!(matches!(fault, Fault::Error(error) if error.kind() == io::ErrorKind::AddrInUse));
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::AddrInUse);
    assert_eq!(Arc::strong_count(&alive), 1, "all threads have ended");
}

#[test]
fn a_panic_before_all_are_ready_is_an_error_of_the_start() {
    let started = Group::builder().threads(2).name("web").start(|member| {
        assert_eq!(member.index(), 0, "this one cannot be made");
        let mut reactor = Reactor::new()?;
        reactor.listen("127.0.0.1:0", Listener)?;
        member.run(&mut reactor)?;
        Ok(())
    });
    let error = started.expect_err("one panicked");
    let (name, fault) = only_failure(&error);
    assert_eq!(name, "web-1");
    assert!(matches!(fault, Fault::Panic(text) if text.contains("this one cannot be made")));
}

#[test]
fn a_reactor_without_a_descriptor_is_an_error_of_the_start() {
    let started = Group::builder().threads(2).name("web").start(|member| {
        if member.index() == 1 {
            // What `Reactor::new` says when the process has no descriptor left.
            return Err(io::Error::from_raw_os_error(24));
        }
        member.run(&mut Reactor::new()?)?;
        Ok(())
    });
    let error = started.expect_err("one failed");
    assert!(
        error.to_string().starts_with("web-1: Too many open files"),
        "{error}"
    );
}

#[test]
fn a_closure_that_never_runs_a_reactor_ends_the_group() {
    let group = Group::builder().threads(2).name("idle").start(|member| {
        if member.index() == 0 {
            member.run(&mut Reactor::new()?)?;
        }
        Ok(member.index())
    });
    let group = group.expect("no failure");
    assert_eq!(group.join().expect("no failure"), [0, 1]);
}

#[test]
fn a_second_run_is_refused() {
    let group = Group::builder().threads(1).name("twice").start(|member| {
        let mut reactor = Reactor::new()?;
        reactor.call_later(Duration::ZERO, Reactor::stop);
        member.run(&mut reactor)?;
        member.run(&mut reactor)?;
        Ok(())
    });
    let error = group.expect("a thread").join().expect_err("refused");
    assert_eq!(
        error.to_string(),
        "twice-0: twice-0: `run` was called before"
    );
}

/// Echoes on while the group shuts down, until the client has finished.
struct Patient;

impl Dispatcher for Patient {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|bytes, cx| cx.send(bytes))
    }

    fn handle_shutdown(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.send(b"!")
    }
}

struct PatientListener;

impl Dispatcher for PatientListener {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        cx.add(accepted, Patient)?;
        Ok(())
    }
}

/// Two reactors with a port each, so that a test knows which reactor a client has.
fn patient_pair(drain: Duration) -> (Group<Ended>, [SocketAddr; 2]) {
    let addresses = Arc::new(Mutex::new([None; 2]));
    let noted = Arc::clone(&addresses);
    let group = Group::builder()
        .threads(2)
        .drain(drain)
        .start(move |member| {
            let mut reactor = Reactor::new()?;
            let id = reactor.listen("127.0.0.1:0", PatientListener)?;
            noted.lock().unwrap()[member.index()] = Some(reactor.local_addr(id)?);
            member.run(&mut reactor)
        });
    let group = group.expect("threads");
    let addresses = addresses
        .lock()
        .unwrap()
        .map(|address| address.expect("it listens"));
    (group, addresses)
}

#[test]
fn connections_that_are_open_are_served_to_their_end() {
    let (group, addresses) = patient_pair(DEADLINE);
    let mut clients = addresses.map(client);
    for (number, client) in clients.iter_mut().enumerate() {
        expect_echo(client, number);
    }
    group.handle().shut_down();
    for (number, client) in clients.iter_mut().enumerate() {
        let mut mark = [0];
        io::Read::read_exact(client, &mut mark).expect("the shutdown has begun");
        assert_eq!(&mark, b"!");
        expect_echo(client, number);
        // The echo is of a later turn than the one that closed the listener.
        assert!(
            TcpStream::connect(addresses[number]).is_err(),
            "no new ones"
        );
    }
    for client in clients {
        hang_up(client);
    }
    for ended in group.join().expect("no failure") {
        assert!(ended.aborted.is_empty(), "{ended:?}");
    }
}

#[test]
fn what_is_open_at_the_deadline_is_aborted_on_each_reactor() {
    let (group, addresses) = patient_pair(Duration::from_millis(50));
    let mut clients = addresses.map(client);
    for (number, client) in clients.iter_mut().enumerate() {
        expect_echo(client, number);
    }
    group.handle().shut_down();
    let ended = group.join().expect("no failure");
    let aborted: Vec<_> = ended.iter().map(|ended| ended.aborted.len()).collect();
    assert_eq!(aborted, [1, 1]);
    for mut client in clients {
        let mut rest = Vec::new();
        let outcome = io::Read::read_to_end(&mut client, &mut rest);
        assert_eq!(
            outcome.expect_err("a reset").kind(),
            io::ErrorKind::ConnectionReset
        );
    }
}

#[test]
fn clients_that_nobody_has_accepted_yet_are_served_before_the_listeners_close() {
    const CLIENTS: usize = 200;
    let (group, address) = echo_group(2, DEADLINE);
    let handle = group.handle();
    let blocked = [0, 1].map(|index| block(&handle.reactor(index).expect("it runs")));
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| client(address)).collect();
    for client in &mut clients {
        client.write_all(b"waited").expect("room");
    }
    handle.shut_down();
    drop(blocked);
    for mut client in clients {
        assert_eq!(read_to_the_end(&mut client), b"waited");
    }
    let reports = group.join().expect("no failure");
    let accepted: u64 = reports.iter().map(|(accepted, _)| accepted).sum();
    assert_eq!(accepted, CLIENTS as u64);
}

#[test]
fn a_group_that_is_dropped_ends_gracefully_without_anybody_waiting() {
    let (told, ended) = channel();
    let port = SharedPort::new("127.0.0.1:0").expect("an address");
    let listeners = port.clone();
    let group = Group::builder().threads(2).start(move |member| {
        let mut reactor = Reactor::new()?;
        listeners.listen(&mut reactor, Listener)?;
        let ended = member.run(&mut reactor)?;
        told.send(ended.reason).expect("the test listens");
        Ok(())
    });
    let group = group.expect("threads");
    let mut clients = [(); 8].map(|()| client(port.local_addr().expect("it listens")));
    for (number, client) in clients.iter_mut().enumerate() {
        expect_echo(client, number);
    }
    drop(group);
    for mut client in clients {
        assert_eq!(read_to_the_end(&mut client), b"");
    }
    for _ in 0..2 {
        assert_eq!(next(&ended), Reason::Asked);
    }
}

#[test]
fn a_thread_that_hangs_is_reported_and_does_not_hold_up_the_others() {
    let (told, ended) = channel();
    let builder = Group::builder().threads(2).name("hang");
    let builder = builder
        .drain(Duration::ZERO)
        .grace(Duration::from_millis(100));
    let group = builder.start(move |member: &Member| {
        let mut reactor = Reactor::new()?;
        member.run(&mut reactor)?;
        told.send(member.index()).expect("the test listens");
        Ok(())
    });
    let group = group.expect("threads");
    let blocked = block(&group.handle().reactor(1).expect("it runs"));
    group.handle().shut_down();
    assert_eq!(next(&ended), 0, "the other ends");
    let error = group.join().expect_err("one hangs");
    let (name, fault) = only_failure(&error);
    assert_eq!(name, "hang-1");
    assert!(matches!(fault, Fault::Stuck), "{error}");
    drop(blocked);
    assert_eq!(next(&ended), 1);
}

/// Lets another reactor go on when its own shuts down.
struct Releases(Option<Blocked>);

impl Dispatcher for Releases {
    fn handle_shutdown(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.0 = None;
        cx.close();
        Ok(())
    }
}

/// Or there would be no time left for its own connections.
#[test]
fn a_reactor_does_not_wait_for_a_busy_one_until_the_deadline_to_shut_down() {
    let builder = Group::builder().threads(2).name("waits");
    let builder = builder
        .drain(Duration::from_secs(4))
        .grace(Duration::from_secs(10));
    let group = builder.start(|member| member.run(&mut Reactor::new()?).map(|_| ()));
    let group = group.expect("threads");
    let [first, second] = [0, 1].map(|index| group.handle().reactor(index).expect("it runs"));
    let blocked = block(&second);
    let posted = first.post(|reactor| {
        reactor
            .add_service(Releases(Some(blocked)))
            .expect("a service");
    });
    posted.expect("room");
    // They keep their queues of posts alive, not the threads.
    drop((first, second));
    group.handle().shut_down();
    group.join().expect("the busy one could go on in time");
}

static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keeps what all threads log.
struct Kept;

impl log::Log for Kept {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() == log::Level::Error
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            LOG.lock().unwrap().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// `join` may return it much later, and `start` returns it at once.
#[test]
fn a_thread_that_fails_while_all_run_is_in_the_log_and_one_that_fails_at_the_start_is_not() {
    log::set_logger(&Kept).expect("nobody else sets one");
    log::set_max_level(log::LevelFilter::Error);
    for name in ["logged", "unlogged"] {
        let group = Group::builder().threads(2).name(name).start(move |member| {
            if name == "logged" {
                let mut reactor = Reactor::new()?;
                reactor.call_later(Duration::ZERO, Reactor::stop);
                member.run(&mut reactor)?;
            }
            match member.index() {
                0 => Ok(()),
                _ => Err(io::Error::other("the disk is full")),
            }
        });
        match group {
            Ok(group) => group.join().map(|_| ()).expect_err("one failed"),
            Err(error) => error,
        };
    }
    let log = LOG.lock().unwrap().clone();
    let lines: Vec<_> = log.iter().filter(|line| line.contains("logged-")).collect();
    let expected = "logged-1 has failed: the disk is full; the other reactors shut down";
    assert_eq!(lines, [expected]);
}

#[test]
fn handles_reach_each_reactor_while_it_runs() {
    let (told, posted) = channel();
    let (group, _) = echo_group(3, DEADLINE);
    let handle = group.handle();
    for index in 0..3 {
        let told = told.clone();
        let reactor = handle.reactor(index).expect("it runs");
        let post = reactor.post(move |_| {
            told.send(thread::current().name().map(str::to_owned))
                .expect("the test listens");
        });
        post.expect("room");
        assert_eq!(next(&posted), Some(format!("echo-{index}")));
    }
    assert!(handle.reactor(3).is_none(), "there is none");
    assert_eq!(handle.reason(), None);
    handle.shut_down();
    group.join().expect("no failure");
    assert!(handle.reactor(0).is_none(), "it has ended");
    handle.shut_down();
    assert_eq!(handle.reason(), Some(Reason::Asked));
}

#[test]
fn settings_out_of_range_are_named() {
    let start = |builder: slabloop::kit::group::Builder| {
        let started = builder.start(|member| member.run(&mut Reactor::new()?).map(|_| ()));
        started.expect_err("a wrong setting").to_string()
    };
    let builder = || Group::builder().name("it").threads(1);
    assert_eq!(
        start(builder().threads(0)),
        "it: threads(0): expected 1 to 1024"
    );
    assert_eq!(
        start(builder().threads(1025)),
        "it: threads(1025): expected 1 to 1024"
    );
    assert!(start(builder().name("i\0t")).contains("it has a zero byte"));
    let error = start(builder().pin([1 << 20]));
    assert!(
        error.starts_with("it-0: cannot pin it to processor 1048576: the highest is"),
        "{error}"
    );
    let error = start(builder().pin([1023]));
    assert!(
        error.contains("processor 1023: Invalid argument"),
        "{error}"
    );
}

/// As the kernel writes it: `0-3,8`.
#[test]
fn the_processors_are_those_that_the_kernel_allows_this_thread() {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("Linux");
    let mut lines = status.lines();
    let list = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let mut allowed: Vec<usize> = Vec::new();
    for range in list.expect("it is there").trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.parse::<usize>().expect("a number");
        allowed.extend(number(first)..=number(last));
    }
    assert_eq!(processors().expect("Linux"), allowed);
}

#[test]
fn threads_are_pinned_in_turn() {
    let allowed = processors().expect("Linux");
    let threads = allowed.len() + 1;
    let builder = Group::builder()
        .threads(threads)
        .pin(allowed.iter().copied());
    let group = builder.start(|member| {
        let mut reactor = Reactor::new()?;
        member.run(&mut reactor)?;
        processors()
    });
    let group = group.expect("threads");
    group.handle().shut_down();
    let pinned = group.join().expect("no failure");
    let expected: Vec<_> = allowed
        .iter()
        .cycle()
        .take(threads)
        .map(|&one| vec![one])
        .collect();
    assert_eq!(pinned, expected);
}

#[test]
fn a_port_that_another_process_shares_is_in_use_unless_it_is_asked_for() {
    let other = SharedPort::new("127.0.0.1:0").expect("an address");
    let mut first = Reactor::new().expect("a poller");
    other.listen(&mut first, Listener).expect("a port");
    let address = other.local_addr().expect("it listens");

    let mut reactor = Reactor::new().expect("a poller");
    let alone = SharedPort::new(address).expect("an address");
    let error = alone.listen(&mut reactor, Listener).expect_err("in use");
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert_eq!(alone.local_addr(), None);

    let open = SharedPort::new(address)
        .expect("an address")
        .and_other_processes();
    open.listen(&mut reactor, Listener).expect("it is shared");
    assert_eq!(open.local_addr(), Some(address));
}

#[test]
fn a_port_whose_first_address_is_in_use_takes_the_next() {
    let taken = SharedPort::new("127.0.0.1:0").expect("an address");
    let mut reactor = Reactor::new().expect("a poller");
    taken.listen(&mut reactor, Listener).expect("a port");
    let taken = taken.local_addr().expect("it listens");
    let free: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let port = SharedPort::new(&[taken, free][..]).expect("addresses");
    port.listen(&mut reactor, Listener).expect("the second");
    assert_ne!(port.local_addr(), Some(taken));
    assert!(SharedPort::new(&[][..]).is_err(), "no address at all");
}
