//! Child processes: their streams, their exit, their end.

#![cfg(target_os = "linux")]

#[path = "../util/mod.rs"]
mod util;

use std::cell::RefCell;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use slabloop::kit::child::{Child, ChildHandler, Process, SIGCONT, SIGKILL, SIGSTOP, SIGTERM};
use slabloop::testing::{SimClock, without_pidfd};
use slabloop::{AnyId, Context, Dispatcher, Id, Reactor};
use util::*;

/// What a handler has been told.
#[derive(Default)]
struct Told {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    exits: Vec<ExitStatus>,
    errors: Vec<io::ErrorKind>,
    closes: usize,
    timers: usize,
    /// Callbacks after the exit, or after the close.
    late: usize,
}

type Sheet = Rc<RefCell<Told>>;

/// Writes down everything, and sends what it is given.
#[derive(Default)]
struct Watcher {
    told: Sheet,
    /// Sent through the child's input, as it takes it.
    input: Vec<u8>,
    sent: usize,
    most_queued: usize,
    on_stdout: Option<fn(&mut Context<'_>, &mut Process) -> io::Result<()>>,
    /// In place of the default, which kills.
    survives_errors: bool,
}

const PIECE: usize = 64 * 1024;

impl Watcher {
    fn new(told: &Sheet) -> Watcher {
        Watcher {
            told: Rc::clone(told),
            ..Watcher::default()
        }
    }

    fn note(&self, note: impl FnOnce(&mut Told)) {
        let mut told = self.told.borrow_mut();
        told.late += usize::from(!told.exits.is_empty() || told.closes > 0);
        note(&mut told);
    }
}

impl ChildHandler for Watcher {
    fn handle_stdout(
        &mut self,
        cx: &mut Context<'_>,
        process: &mut Process,
        bytes: &[u8],
    ) -> io::Result<()> {
        assert!(!bytes.is_empty() && cx.id::<Child<Watcher>>() == cx.id());
        self.note(|told| told.stdout.extend_from_slice(bytes));
        self.on_stdout.map_or(Ok(()), |act| act(cx, process))
    }

    fn handle_stderr(
        &mut self,
        _: &mut Context<'_>,
        _: &mut Process,
        bytes: &[u8],
    ) -> io::Result<()> {
        self.note(|told| told.stderr.extend_from_slice(bytes));
        Ok(())
    }

    fn handle_stdin(&mut self, cx: &mut Context<'_>, process: &mut Process) -> io::Result<()> {
        let rest = &self.input[self.sent..];
        let piece = &rest[..rest.len().min(PIECE)];
        if piece.is_empty() {
            process.close_stdin(cx);
            return Ok(());
        }
        process.send(cx, piece)?;
        self.sent += piece.len();
        let queued = process.stdin().and_then(|id| cx.at(id)).unwrap().queued();
        self.most_queued = self.most_queued.max(queued);
        Ok(())
    }

    fn handle_timer(
        &mut self,
        _: &mut Context<'_>,
        _: &mut Process,
        _: slabloop::TimerId,
    ) -> io::Result<()> {
        self.note(|told| told.timers += 1);
        Ok(())
    }

    fn handle_exit(
        &mut self,
        cx: &mut Context<'_>,
        process: &mut Process,
        status: ExitStatus,
    ) -> io::Result<()> {
        assert_eq!(process.status(), Some(status));
        assert!(!cx.is_closing());
        self.note(|told| told.exits.push(status));
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, _: &mut Process, error: io::Error) {
        self.note(|told| told.errors.push(error.kind()));
        if !self.survives_errors {
            cx.close();
        }
    }

    fn handle_close(&mut self, _: &mut Context<'_>) {
        self.told.borrow_mut().closes += 1;
    }
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn pid_of(reactor: &mut Reactor, id: Id<Child<Watcher>>) -> u32 {
    reactor
        .with(id, |child, _| child.process().pid())
        .expect("it is there")
}

fn start_sending(reactor: &mut Reactor, id: Id<Child<Watcher>>) {
    let stdin = reactor
        .with(id, |child, _| child.process().stdin())
        .flatten();
    reactor.at(stdin.expect("piped")).unwrap().start_writing();
}

/// Neither running nor a zombie.
fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

#[track_caller]
fn until_empty(reactor: &mut Reactor) {
    turn_until(reactor, "nothing to be left", |reactor| {
        reactor.count() == 0
    });
}

/// A process of which a test knows the number alone.
fn kill_other(pid: &str) {
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

/// Runs a test by pidfd and again by SIGCHLD.
fn by_both_ways(test: impl Fn()) {
    for without in [false, true] {
        without_pidfd(without);
        test();
    }
    without_pidfd(false);
}

#[test]
fn twenty_megabytes_go_through_a_child_and_come_back_whole() {
    let told = Sheet::default();
    let mut reactor = Reactor::new().unwrap();
    let input = pattern(1, 20_000_000);
    let handler = Watcher {
        input: input.clone(),
        ..Watcher::new(&told)
    };
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let id = reactor.spawn_child(&mut command, handler).unwrap();
    start_sending(&mut reactor, id);
    let mut most = 0;
    turn_until(&mut reactor, "the exit", |reactor| {
        if let Some(queued) = reactor.with(id, |child, _| child.handler().most_queued) {
            most = queued;
        }
        reactor.count() == 0
    });
    let told = told.borrow();
    assert!(
        told.stdout == input,
        "{} bytes came back",
        told.stdout.len()
    );
    assert!(most <= 2 * PIECE, "{most} bytes were queued at once");
    assert_eq!((told.exits.len(), told.closes, told.late), (1, 1, 0));
    assert!(told.exits[0].success() && told.errors.is_empty());
}

#[test]
fn a_child_that_is_not_read_does_not_take_more_than_it_can_hold() {
    let told = Sheet::default();
    let mut reactor = Reactor::new().unwrap();
    let handler = Watcher {
        input: pattern(2, 5_000_000),
        ..Watcher::new(&told)
    };
    let id = reactor.spawn_child(&mut shell("cat"), handler).unwrap();
    let stdout = reactor
        .with(id, |child, _| child.process().stdout().unwrap())
        .unwrap();
    reactor.at(stdout).unwrap().pause_reading();
    start_sending(&mut reactor, id);
    // Nothing says when `cat` has filled both pipes: when nothing has moved for a good while.
    let mut still = 0;
    let mut before = 0;
    turn_until(&mut reactor, "the stand-still", |reactor| {
        let sent = reactor.with(id, |child, _| child.handler().sent).unwrap();
        still = if sent == before { still + 1 } else { 0 };
        before = sent;
        still > 20
    });
    assert!(before < 1_000_000, "{before} bytes were taken");
    assert!(told.borrow().stdout.is_empty());
    reactor.at(stdout).unwrap().resume_reading();
    until_empty(&mut reactor);
    assert!(told.borrow().stdout == pattern(2, 5_000_000));
}

/// A connection feeds the child's input, and is read only as fast as the child takes it.
#[test]
fn a_connection_can_feed_the_childs_input_and_its_output_a_connection() {
    struct Client(Id<Child<ToClient>>);
    impl Dispatcher for Client {
        fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            let mut chunk = [0; 16 * 1024];
            let count = cx.recv(&mut chunk)?;
            cx.with(self.0, |child, cx| {
                child.process().send(cx, &chunk[..count])
            })
            .unwrap_or(Ok(()))
        }
        fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            cx.with(self.0, |child, cx| child.process().close_stdin(cx));
            Ok(())
        }
    }
    struct ToClient {
        client: Option<Id<Client>>,
        most: Rc<RefCell<usize>>,
    }
    impl ChildHandler for ToClient {
        fn handle_stdout(
            &mut self,
            cx: &mut Context<'_>,
            process: &mut Process,
            bytes: &[u8],
        ) -> io::Result<()> {
            let stdin = process.stdin().and_then(|id| cx.at(id));
            let queued = stdin.map_or(0, |stdin| stdin.queued());
            let mut most = self.most.borrow_mut();
            *most = queued.max(*most);
            match self.client.and_then(|id| cx.at(id)) {
                Some(mut client) => client.send(bytes),
                None => Ok(()),
            }
        }
        fn handle_exit(
            &mut self,
            cx: &mut Context<'_>,
            _: &mut Process,
            _: ExitStatus,
        ) -> io::Result<()> {
            if let Some(mut client) = self.client.and_then(|id| cx.at(id)) {
                client.close();
            }
            Ok(())
        }
    }
    let mut reactor = Reactor::new().unwrap();
    let most = Rc::new(RefCell::new(0));
    let handler = ToClient {
        client: None,
        most: Rc::clone(&most),
    };
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let child = reactor.spawn_child(&mut command, handler).unwrap();
    let (ours, peer) = tcp_pair();
    let client = reactor.add(ours, Client(child)).unwrap();
    let (stdin, stdout) = reactor
        .with(child, |child, _| {
            child.handler().client = Some(client);
            let process = child.process();
            (process.stdin().unwrap(), process.stdout().unwrap())
        })
        .unwrap();
    reactor.at(client).unwrap().feeds(stdin);
    reactor.at(stdout).unwrap().feeds(client);
    let sent = pattern(3, 8_000_000);
    let exchange = exchange_in_background(peer, sent.clone(), true);
    until_empty(&mut reactor);
    assert!(exchange.join().unwrap() == sent);
    let most = *most.borrow();
    assert!(most < 200_000, "{most} bytes were queued");
}

#[test]
fn output_and_errors_come_apart_and_the_exit_comes_last_with_its_code() {
    by_both_ways(|| {
        let told = Sheet::default();
        let mut reactor = Reactor::new().unwrap();
        let script = "echo out; echo err >&2; echo more; exit 7";
        reactor
            .spawn_child(&mut shell(script), Watcher::new(&told))
            .unwrap();
        until_empty(&mut reactor);
        let told = told.borrow();
        assert_eq!(told.stdout, b"out\nmore\n");
        assert_eq!(told.stderr, b"err\n");
        assert_eq!(told.exits.len(), 1);
        assert_eq!(told.exits[0].code(), Some(7));
        assert_eq!((told.closes, told.late), (1, 0));
    });
}

#[test]
fn a_child_without_pipes_has_an_exit_as_well() {
    by_both_ways(|| {
        let told = Sheet::default();
        let mut reactor = Reactor::new().unwrap();
        let mut command = Command::new("false");
        command.stdin(Stdio::null());
        let id = reactor
            .spawn_child(&mut command, Watcher::new(&told))
            .unwrap();
        let streams = reactor.with(id, |child, _| {
            let process = child.process();
            (process.stdin(), process.stdout(), process.stderr())
        });
        assert_eq!(streams, Some((None, None, None)));
        until_empty(&mut reactor);
        assert_eq!(told.borrow().exits[0].code(), Some(1));
    });
}

#[test]
fn a_signal_ends_a_child_and_shows_in_its_status() {
    for signal in [SIGTERM, SIGKILL] {
        let told = Sheet::default();
        let mut reactor = Reactor::new().unwrap();
        let mut command = Command::new("sleep");
        command.arg("1000").stdout(Stdio::piped());
        let id = reactor
            .spawn_child(&mut command, Watcher::new(&told))
            .unwrap();
        settle(&mut reactor);
        let sent = reactor.with(id, |child, _| child.process().kill(signal));
        sent.unwrap().unwrap();
        until_empty(&mut reactor);
        assert_eq!(told.borrow().exits[0].signal(), Some(signal));
    }
}

#[test]
fn a_bad_signal_is_refused_and_one_after_the_exit_does_nothing() {
    let told = Sheet::default();
    let mut reactor = Reactor::new().unwrap();
    let handler = Watcher {
        // Before the streams end the status may or may not be known.
        on_stdout: Some(|cx, process| {
            cx.set_timer(Duration::ZERO);
            for bad in [0, -1, 4711] {
                let refused = process.kill(bad).unwrap_err();
                assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
                assert!(refused.to_string().contains(&bad.to_string()));
            }
            Ok(())
        }),
        ..Watcher::new(&told)
    };
    // The grandchild holds the stream, so that the child is seen after its exit.
    let id = reactor
        .spawn_child(&mut shell("sleep 1000 & echo $!"), handler)
        .unwrap();
    turn_until(&mut reactor, "the exit to be known", |reactor| {
        reactor.with(id, |child, _| child.process().status().is_some()) == Some(true)
    });
    let pid = pid_of(&mut reactor, id);
    assert!(is_gone(pid), "it is waited for at once");
    let late = reactor.with(id, |child, _| child.process().kill(SIGTERM));
    assert!(late.unwrap().is_ok());
    turn_until(&mut reactor, "the output", |_| {
        !told.borrow().stdout.is_empty()
    });
    kill_other(std::str::from_utf8(&told.borrow().stdout).unwrap());
    until_empty(&mut reactor);
    assert_eq!(told.borrow().timers, 1, "timers come to the handler");
}

#[test]
fn a_program_that_cannot_be_started_is_named_and_nothing_is_added() {
    let told = Sheet::default();
    let mut reactor = Reactor::new().unwrap();
    let refused = reactor
        .spawn_child(&mut Command::new("/no/such/program"), Watcher::new(&told))
        .map(Id::any)
        .unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::NotFound);
    assert!(
        refused.to_string().contains("/no/such/program"),
        "{refused}"
    );

    let mut elsewhere = Command::new("true");
    elsewhere.current_dir("/no/such/folder");
    let refused = reactor
        .spawn_child(&mut elsewhere, Watcher::new(&told))
        .map(Id::any)
        .unwrap_err();
    assert!(refused.to_string().contains("/no/such/folder"), "{refused}");
    settle(&mut reactor);
    assert_eq!((reactor.count(), told.borrow().closes), (0, 0));
}

/// Pipes that cannot be added any more: the child is killed, and its handler hears nothing.
#[test]
fn a_reactor_that_shuts_down_starts_no_child() {
    struct Late(Sheet, Rc<RefCell<Option<io::Error>>>);
    impl Dispatcher for Late {
        fn handle_shutdown(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
            let refused = cx.spawn_child(&mut shell("true"), Watcher::new(&self.0));
            *self.1.borrow_mut() = refused.err();
            cx.close();
            Ok(())
        }
    }
    let (told, refused) = (Sheet::default(), Rc::default());
    let mut reactor = Reactor::new().unwrap();
    let (ours, _peer) = unix_pair();
    reactor
        .add(ours, Late(Rc::clone(&told), Rc::clone(&refused)))
        .unwrap();
    reactor.shutdown(Duration::ZERO).unwrap();
    let refused = refused.borrow();
    assert!(
        refused
            .as_ref()
            .unwrap()
            .to_string()
            .contains("shutting down")
    );
    assert_eq!(told.borrow().closes, 0);
}

#[test]
fn closing_kills_and_leaves_no_zombie() {
    by_both_ways(|| {
        type Close = fn(&mut Context<'_>);
        let closes: [Close; 2] = [|cx| cx.close(), |cx| cx.abort()];
        for close in closes {
            let told = Sheet::default();
            let mut reactor = Reactor::new().unwrap();
            // It would ignore anything milder.
            let script = "trap '' TERM HUP PIPE; echo ready; while :; do sleep 1; done";
            let id = reactor
                .spawn_child(&mut shell(script), Watcher::new(&told))
                .unwrap();
            turn_until(&mut reactor, "the child", |_| {
                !told.borrow().stdout.is_empty()
            });
            let pid = pid_of(&mut reactor, id);
            close(&mut reactor.at(id).unwrap());
            until_empty(&mut reactor);
            assert!(is_gone(pid), "killed and waited for");
            let told = told.borrow();
            assert_eq!((told.exits.len(), told.closes, told.late), (0, 1, 0));
        }
    });
}

#[test]
fn dropping_and_shutting_down_the_reactor_kill_and_wait_too() {
    for shut_down in [false, true] {
        let told = Sheet::default();
        let mut reactor = Reactor::new().unwrap();
        let mut pids = Vec::new();
        for _ in 0..5 {
            let mut command = Command::new("sleep");
            command.arg("1000").stdin(Stdio::piped());
            let id = reactor
                .spawn_child(&mut command, Watcher::new(&told))
                .unwrap();
            pids.push(pid_of(&mut reactor, id));
        }
        if shut_down {
            reactor.shutdown(Duration::ZERO).unwrap();
        } else {
            drop(reactor);
        }
        assert!(pids.iter().all(|pid| is_gone(*pid)), "{shut_down}");
        assert_eq!((told.borrow().closes, told.borrow().exits.len()), (5, 0));
    }
}

#[test]
fn a_panic_in_a_callback_kills_the_child() {
    let told = Sheet::default();
    let mut reactor = Reactor::new().unwrap();
    let handler = Watcher {
        on_stdout: Some(|_, _| panic!("on purpose")),
        ..Watcher::new(&told)
    };
    let id = reactor
        .spawn_child(&mut shell("echo; exec sleep 1000"), handler)
        .unwrap();
    let pid = pid_of(&mut reactor, id);
    until_empty(&mut reactor);
    assert!(is_gone(pid));
    assert_eq!((told.borrow().closes, told.borrow().exits.len()), (1, 0));
}

#[test]
fn a_fault_goes_to_handle_error_and_what_is_no_fault_does_not() {
    type Act = fn(&mut Context<'_>, &mut Process) -> io::Result<()>;
    let acts: [(Act, &[io::ErrorKind]); 4] = [
        (
            |_, _| Err(io::ErrorKind::InvalidData.into()),
            &[io::ErrorKind::InvalidData],
        ),
        (|_, _| Err(io::ErrorKind::WouldBlock.into()), &[]),
        (|_, _| Err(io::ErrorKind::BrokenPipe.into()), &[]),
        (
            |cx, process| {
                process.close_stdin(cx);
                process.send(cx, b"late")
            },
            &[],
        ),
    ];
    for survives_errors in [false, true] {
        for (act, errors) in acts {
            let told = Sheet::default();
            let mut reactor = Reactor::new().unwrap();
            let handler = Watcher {
                on_stdout: Some(act),
                survives_errors,
                ..Watcher::new(&told)
            };
            reactor
                .spawn_child(&mut shell("echo; exit 3"), handler)
                .unwrap();
            until_empty(&mut reactor);
            let told = told.borrow();
            assert_eq!(told.errors, errors);
            let killed = !errors.is_empty() && !survives_errors;
            assert_eq!(told.exits.is_empty(), killed);
        }
    }
}

/// What a callback passes on about another dispatcher, that one has been told itself: one fault, one report.
#[test]
fn an_error_about_the_input_is_reported_once() {
    let told = Sheet::default();
    let mut reactor = Reactor::new().unwrap();
    let handler = Watcher {
        on_stdout: Some(|cx, process| process.send(cx, &[0; 2 << 20])),
        survives_errors: true,
        ..Watcher::new(&told)
    };
    reactor
        .spawn_child(&mut shell("echo; cat > /dev/null; exit 3"), handler)
        .unwrap();
    until_empty(&mut reactor);
    assert_eq!(told.borrow().errors, [io::ErrorKind::QuotaExceeded]);
    assert_eq!(told.borrow().exits[0].code(), Some(3));
}

#[test]
fn a_hundred_children_at_once_each_exit_once() {
    by_both_ways(|| {
        let mut reactor = Reactor::new().unwrap();
        let sheets: Vec<Sheet> = (0_u8..100)
            .map(|n| {
                let told = Sheet::default();
                let script = format!("read line; echo $line {n}; exit {n}");
                let id = reactor
                    .spawn_child(&mut shell(&script), Watcher::new(&told))
                    .unwrap();
                let sent = reactor.with(id, |child, cx| child.process().send(cx, b"number\n"));
                sent.unwrap().unwrap();
                told
            })
            .collect();
        until_empty(&mut reactor);
        for (n, told) in (0..).zip(&sheets) {
            let told = told.borrow();
            assert_eq!(told.stdout, format!("number {n}\n").as_bytes());
            assert_eq!(told.exits.len(), 1);
            assert_eq!(told.exits[0].code(), Some(n));
            assert_eq!((told.closes, told.late, told.errors.len()), (1, 0, 0));
        }
    });
}

/// By SIGCHLD each watch hears of every exit. What it hears is taken out of its pipe, or the pipe would fill up
/// and the one exit that it waits for would find no room.
#[test]
fn a_child_that_outlives_hundreds_of_others_is_not_missed() {
    without_pidfd(true);
    let mut reactor = Reactor::new().unwrap();
    let (old, young) = (Sheet::default(), Sheet::default());
    let id = reactor
        .spawn_child(&mut shell("exec cat"), Watcher::new(&old))
        .unwrap();
    for _ in 0..400 {
        reactor
            .spawn_child(&mut Command::new("true"), Watcher::new(&young))
            .unwrap();
        turn_until(&mut reactor, "the exit", |_| {
            !young.borrow().exits.is_empty()
        });
        *young.borrow_mut() = Told::default();
    }
    reactor.with(id, |child, cx| child.process().close_stdin(cx));
    until_empty(&mut reactor);
    assert!(old.borrow().exits[0].success());
}

#[test]
fn a_grandchild_that_holds_the_output_delays_the_exit_by_the_linger_time_only() {
    let clock = SimClock::new();
    let mut reactor = Reactor::builder().clock(clock.clone()).build().unwrap();
    let told = Sheet::default();
    let id = reactor
        .spawn_child(
            &mut shell("sleep 1000 & echo $!; exit 3"),
            Watcher::new(&told),
        )
        .unwrap();
    reactor.with(id, |child, _| {
        child.process().set_linger(Duration::from_secs(5));
    });
    turn_until(&mut reactor, "the child to exit", |reactor| {
        reactor.with(id, |child, _| child.process().status().is_some()) == Some(true)
    });
    clock.advance(Duration::from_millis(4_999));
    settle(&mut reactor);
    assert!(told.borrow().exits.is_empty(), "the streams may still end");
    clock.advance(Duration::from_millis(1));
    until_empty(&mut reactor);
    let told = told.borrow();
    assert_eq!(told.exits[0].code(), Some(3));
    assert_eq!((told.exits.len(), told.closes, told.late), (1, 1, 0));
    kill_other(std::str::from_utf8(&told.stdout).unwrap());
}

/// More than a pipe holds cannot be the child's own.
#[test]
fn a_grandchild_that_never_stops_talking_does_not_delay_the_exit_for_ever() {
    let clock = SimClock::new();
    let mut reactor = Reactor::builder().clock(clock.clone()).build().unwrap();
    let told = Sheet::default();
    let handler = Watcher {
        // Slower than the other side, so that every read finds the pipe full.
        on_stdout: Some(|_, _| {
            std::thread::sleep(Duration::from_millis(1));
            Ok(())
        }),
        ..Watcher::new(&told)
    };
    let id = reactor
        .spawn_child(&mut shell("yes & yes & exit 4"), handler)
        .unwrap();
    turn_until(&mut reactor, "the child to exit", |reactor| {
        reactor.with(id, |child, _| child.process().status().is_some()) == Some(true)
    });
    let before = told.borrow().stdout.len();
    turn_until(&mut reactor, "the exit callback", |reactor| {
        clock.advance(Duration::from_millis(100));
        reactor.count() == 0
    });
    assert_eq!(told.borrow().exits[0].code(), Some(4));
    // A megabyte is known not to be the child's, and time is looked at every ten turns.
    let after = told.borrow().stdout.len() - before;
    assert!(after <= 2 << 20, "{after} bytes were taken");
}

/// What the child had written before it exited is not lost, however late it is read.
#[test]
fn paused_output_is_waited_for_beyond_the_linger_time() {
    let clock = SimClock::new();
    let mut reactor = Reactor::builder().clock(clock.clone()).build().unwrap();
    let told = Sheet::default();
    let script = "sleep 1000 & echo $! >&2; exec head -c 50000 /dev/zero";
    let id = reactor
        .spawn_child(&mut shell(script), Watcher::new(&told))
        .unwrap();
    let stdout = reactor
        .with(id, |child, _| child.process().stdout().unwrap())
        .unwrap();
    reactor.at(stdout).unwrap().pause_reading();
    turn_until(&mut reactor, "the child to exit", |reactor| {
        reactor.with(id, |child, _| child.process().status().is_some()) == Some(true)
    });
    for _ in 0..10 {
        clock.advance(Duration::from_secs(2));
        settle(&mut reactor);
    }
    assert!(told.borrow().exits.is_empty());
    reactor.at(stdout).unwrap().resume_reading();
    turn_until(&mut reactor, "the exit callback", |reactor| {
        clock.advance(Duration::from_millis(100));
        reactor.count() == 0
    });
    let told = told.borrow();
    assert_eq!(told.stdout.len(), 50_000);
    assert_eq!((told.exits.len(), told.late), (1, 0));
    kill_other(std::str::from_utf8(&told.stderr).unwrap());
}

#[test]
fn a_child_that_wants_no_more_input_goes_on_and_its_exit_is_its_own() {
    let told = Sheet::default();
    let mut reactor = Reactor::new().unwrap();
    let handler = Watcher {
        input: pattern(5, 3_000_000),
        ..Watcher::new(&told)
    };
    let script = "exec 0<&-; echo closed; trap 'exit 7' TERM; while :; do sleep 0.01; done";
    let id = reactor.spawn_child(&mut shell(script), handler).unwrap();
    turn_until(&mut reactor, "the child's word", |_| {
        !told.borrow().stdout.is_empty()
    });
    // The write itself fails, or the event has said so before.
    let stdin = reactor
        .with(id, |child, _| child.process().stdin())
        .flatten();
    if let Some(mut stdin) = stdin.and_then(|id| reactor.at(id)) {
        stdin.start_writing();
    }
    turn_until(&mut reactor, "the end of the input", |reactor| {
        reactor.with(id, |child, _| child.process().stdin().is_none()) == Some(true)
    });
    assert_asleep(&mut reactor, "with nothing to do");
    let refused = reactor
        .with(id, |child, cx| child.process().send(cx, b"late"))
        .unwrap();
    assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(reactor.counters().panics, 0);
    assert!(told.borrow().errors.is_empty() && told.borrow().exits.is_empty());
    let sent = reactor.with(id, |child, _| child.process().kill(SIGTERM));
    sent.unwrap().unwrap();
    until_empty(&mut reactor);
    assert_eq!(told.borrow().exits[0].code(), Some(7));
}

/// The same with the write in full swing.
#[test]
fn a_child_that_reads_a_part_of_its_input_has_a_good_exit() {
    let told = Sheet::default();
    let mut reactor = Reactor::new().unwrap();
    let handler = Watcher {
        input: pattern(6, 5_000_000),
        ..Watcher::new(&told)
    };
    let id = reactor
        .spawn_child(&mut shell("head -c 100000"), handler)
        .unwrap();
    start_sending(&mut reactor, id);
    until_empty(&mut reactor);
    let told = told.borrow();
    assert!(told.stdout == pattern(6, 5_000_000)[..100_000]);
    assert!(told.exits[0].success() && told.errors.is_empty());
}

/// After `close_stdin` a slow child has the stall timeout, not the close timeout, to take what is queued.
#[test]
fn ending_the_input_loses_nothing_of_it_with_a_slow_child() {
    let clock = SimClock::new();
    let mut reactor = Reactor::builder()
        .clock(clock.clone())
        .close_timeout(Duration::from_secs(1))
        .build()
        .unwrap();
    let told = Sheet::default();
    let id = reactor
        .spawn_child(&mut shell("exec cat"), Watcher::new(&told))
        .unwrap();
    let pid = pid_of(&mut reactor, id);
    let stopped = reactor.with(id, |child, _| child.process().kill(SIGSTOP));
    stopped.unwrap().unwrap();
    turn_until(&mut reactor, "the child to stop", |_| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.contains(") T ")
    });
    let input = pattern(7, 500_000);
    let sent = reactor.with(id, |child, cx| {
        child.process().send(cx, &input)?;
        child.process().close_stdin(cx);
        let again = child.process().send(cx, b"late").unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::BrokenPipe);
        io::Result::Ok(())
    });
    sent.unwrap().unwrap();
    settle(&mut reactor);
    clock.advance(Duration::from_secs(60));
    assert_asleep(&mut reactor, "while the child takes nothing");
    assert!(told.borrow().errors.is_empty());
    let sent = reactor.with(id, |child, _| child.process().kill(SIGCONT));
    sent.unwrap().unwrap();
    until_empty(&mut reactor);
    let told = told.borrow();
    assert!(told.stdout == input, "{} bytes came", told.stdout.len());
    assert!(told.exits[0].success());
}

#[test]
fn input_over_the_cap_is_a_fault_of_the_child() {
    let told = Sheet::default();
    let mut reactor = Reactor::builder().hard_cap(100_000).build().unwrap();
    let id = reactor
        .spawn_child(&mut shell("exec sleep 1000"), Watcher::new(&told))
        .unwrap();
    let pid = pid_of(&mut reactor, id);
    let refused = reactor
        .with(id, |child, cx| child.process().send(cx, &[0; 200_000]))
        .unwrap();
    assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
    until_empty(&mut reactor);
    assert_eq!(told.borrow().errors, [io::ErrorKind::QuotaExceeded]);
    assert!(is_gone(pid));
}

#[test]
fn a_detached_child_runs_on() {
    let told = Sheet::default();
    let mut reactor = Reactor::new().unwrap();
    let mut command = Command::new("sleep");
    command.arg("1000").stdin(Stdio::null());
    let id = reactor
        .spawn_child(&mut command, Watcher::new(&told))
        .unwrap();
    let child = reactor.with(id, |child, cx| child.process().detach(cx));
    let mut child = child.unwrap().expect("it runs");
    until_empty(&mut reactor);
    assert_eq!((told.borrow().closes, told.borrow().exits.len()), (1, 0));
    assert!(child.try_wait().unwrap().is_none(), "it is still there");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_detached_child_still_gets_the_input_that_was_queued_for_it() {
    let told = Sheet::default();
    let mut reactor = Reactor::new().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "read line && test \"$line\" = hello"]);
    command.stdin(Stdio::piped());
    let id = reactor
        .spawn_child(&mut command, Watcher::new(&told))
        .unwrap();
    let child = reactor.with(id, |child, cx| {
        let process = child.process();
        process.send(cx, b"hello\n").expect("room");
        process.detach(cx)
    });
    let mut child = child.unwrap().expect("it runs");
    until_empty(&mut reactor);
    assert!(child.wait().unwrap().success(), "it has read the line");
}

/// Has no callback but the one that has no default; says how the child ended.
struct Plain(Rc<RefCell<Vec<ExitStatus>>>);

impl ChildHandler for Plain {
    fn handle_exit(
        &mut self,
        _: &mut Context<'_>,
        _: &mut Process,
        status: ExitStatus,
    ) -> io::Result<()> {
        self.0.borrow_mut().push(status);
        Ok(())
    }
}

#[test]
fn a_handler_that_wants_the_exit_alone_discards_the_output_and_hears_of_the_exit() {
    let exits = Rc::<RefCell<Vec<ExitStatus>>>::default();
    let mut reactor = Reactor::new().unwrap();
    let mut command = shell("cat; head -c 300000 /dev/zero; echo no >&2; exit 3");
    let id = reactor
        .spawn_child(&mut command, Plain(Rc::clone(&exits)))
        .unwrap();
    reactor.with(id, |child, cx| {
        cx.set_timer(Duration::ZERO);
        let stdin = child.parts().1.stdin().expect("piped");
        // It has nothing to write: by default it is not asked again.
        cx.at(stdin).expect("open").start_writing();
    });
    settle(&mut reactor);
    reactor.with(id, |child, cx| child.process().close_stdin(cx));
    until_empty(&mut reactor);
    let codes: Vec<_> = exits.borrow().iter().map(ExitStatus::code).collect();
    assert_eq!(codes, [Some(3)]);
}

#[test]
fn a_fault_that_a_handler_does_not_deal_with_kills_the_child() {
    let exits = Rc::<RefCell<Vec<ExitStatus>>>::default();
    let mut reactor = Reactor::builder()
        .low_mark(1)
        .high_mark(2)
        .hard_cap(3)
        .build()
        .unwrap();
    let id = reactor
        .spawn_child(&mut shell("exec sleep 1000"), Plain(Rc::clone(&exits)))
        .unwrap();
    let pid = reactor.with(id, |child, cx| {
        let process = child.process();
        let error = process.send(cx, b"more than the cap").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
        process.pid()
    });
    until_empty(&mut reactor);
    assert!(is_gone(pid.unwrap()));
    assert!(exits.borrow().is_empty(), "it was killed here");
}

#[test]
fn a_child_that_somebody_else_has_waited_for_is_an_error() {
    let told = Sheet::default();
    let mut reactor = Reactor::new().unwrap();
    let handler = Watcher {
        survives_errors: true,
        ..Watcher::new(&told)
    };
    let mut command = Command::new("true");
    let id = reactor.spawn_child(&mut command, handler).unwrap();
    let pid = Pid::from_raw(pid_of(&mut reactor, id) as i32).unwrap();
    waitpid(Some(pid), WaitOptions::empty()).unwrap();
    until_empty(&mut reactor);
    let told = told.borrow();
    assert_eq!(told.errors, [io::ErrorKind::Other]);
    assert_eq!((told.exits.len(), told.closes), (0, 1));
}

#[test]
fn a_shutdown_ends_the_input_and_takes_the_rest_of_the_output() {
    let told = Sheet::default();
    let mut reactor = Reactor::new().unwrap();
    let id = reactor
        .spawn_child(&mut shell("cat; echo end"), Watcher::new(&told))
        .unwrap();
    let input = pattern(8, 300_000);
    let sent = reactor.with(id, |child, cx| child.process().send(cx, &input));
    sent.unwrap().unwrap();
    let pid = pid_of(&mut reactor, id);
    let aborted = reactor.shutdown(DEADLINE).unwrap();
    assert!(aborted.is_empty(), "{aborted:?}");
    let told = told.borrow();
    assert!(told.stdout[..300_000] == input && told.stdout[300_000..] == *b"end\n");
    assert_eq!(told.closes, 1);
    assert!(is_gone(pid));
}

/// Where one of a child's output streams is.
fn stream_of(
    reactor: &mut Reactor,
    id: Id<Child<Watcher>>,
    stream: fn(&Process) -> Option<AnyId>,
) -> Option<AnyId> {
    let stream = reactor.with(id, |child, _| stream(child.process()));
    stream.expect("it is there")
}

#[track_caller]
fn until_exited(reactor: &mut Reactor, id: Id<Child<Watcher>>) {
    turn_until(reactor, "the child to exit", |reactor| {
        reactor.with(id, |child, _| child.process().status().is_some()) == Some(true)
    });
}

#[test]
fn a_stream_that_ends_while_the_child_runs_begins_no_linger_time() {
    let told = Sheet::default();
    let mut reactor = Reactor::new().unwrap();
    let id = reactor
        .spawn_child(
            &mut shell("exec 1>&-; read line; exit 3"),
            Watcher::new(&told),
        )
        .unwrap();
    turn_until(&mut reactor, "the end of the stream", |reactor| {
        stream_of(reactor, id, Process::stdout).is_none()
    });
    assert_eq!(reactor.timer_count(), 0);
    reactor.with(id, |child, cx| child.process().close_stdin(cx));
    until_empty(&mut reactor);
    assert_eq!(told.borrow().exits[0].code(), Some(3));
}

#[test]
fn the_exit_comes_after_the_end_of_either_stream() {
    let (stdout, stderr) = (Process::stdout, Process::stderr);
    for (paused, other) in [
        (stdout as fn(&Process) -> _, stderr as fn(&Process) -> _),
        (stderr, stdout),
    ] {
        let told = Sheet::default();
        let mut reactor = Reactor::new().unwrap();
        let id = reactor
            .spawn_child(&mut shell("echo out; echo err >&2"), Watcher::new(&told))
            .unwrap();
        let paused = stream_of(&mut reactor, id, paused).unwrap();
        reactor.at(paused).unwrap().pause_reading();
        until_exited(&mut reactor, id);
        turn_until(&mut reactor, "the end of the other", |reactor| {
            stream_of(reactor, id, other).is_none()
        });
        settle(&mut reactor);
        assert!(told.borrow().exits.is_empty());
        reactor.at(paused).unwrap().resume_reading();
        until_empty(&mut reactor);
        let told = told.borrow();
        assert_eq!(
            (&told.stdout[..], &told.stderr[..]),
            (&b"out\n"[..], &b"err\n"[..])
        );
        assert_eq!((told.exits.len(), told.late), (1, 0));
    }
}

/// Also if the linger time is over many times while it is read, because somebody else has the stream open.
#[test]
fn all_that_a_child_has_written_comes_before_its_exit() {
    // The last of several full reads is followed by one that finds nothing.
    const WRITTEN: usize = 8 * PIECE;
    let clock = SimClock::new();
    let mut reactor = Reactor::builder().clock(clock.clone()).build().unwrap();
    let told = Sheet::default();
    let script = format!("sleep 1000 & echo $! >&2; read go; exec head -c {WRITTEN} /dev/zero");
    let id = reactor
        .spawn_child(&mut shell(&script), Watcher::new(&told))
        .unwrap();
    let stdout = stream_of(&mut reactor, id, Process::stdout).unwrap();
    reactor.at(stdout).unwrap().pause_reading();
    // A pipe in which there is room for all of it.
    let place = format!("/proc/{}/fd/1", pid_of(&mut reactor, id));
    let pipe = std::fs::File::options().write(true).open(place).unwrap();
    rustix::pipe::fcntl_setpipe_size(&pipe, 2 * WRITTEN).unwrap();
    drop(pipe);
    let sent = reactor.with(id, |child, cx| child.process().send(cx, b"go\n"));
    sent.unwrap().unwrap();
    until_exited(&mut reactor, id);
    assert!(told.borrow().stdout.is_empty());
    reactor.at(stdout).unwrap().resume_reading();
    turn_until(&mut reactor, "the exit callback", |reactor| {
        clock.advance(Duration::from_secs(1));
        reactor.count() == 0
    });
    let told = told.borrow();
    assert_eq!(told.stdout.len(), WRITTEN);
    assert_eq!((told.exits.len(), told.late), (1, 0));
    kill_other(std::str::from_utf8(&told.stderr).unwrap());
}

#[test]
fn what_is_queued_for_a_detached_child_is_still_sent() {
    let told = Sheet::default();
    let clock = SimClock::new();
    let mut reactor = Reactor::builder().clock(clock).build().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "test $(wc -c) -eq 500000"]);
    let id = reactor
        .spawn_child(command.stdin(Stdio::piped()), Watcher::new(&told))
        .unwrap();
    let child = reactor.with(id, |child, cx| {
        child.process().send(cx, &[7; 500_000]).unwrap();
        child.process().detach(cx)
    });
    until_empty(&mut reactor);
    let mut child = child.unwrap().expect("it runs");
    assert!(child.wait().unwrap().success(), "all of it has come");
}

/// Nobody waits until another process that has the pipe open takes it.
#[test]
fn what_is_queued_for_a_child_that_is_killed_is_dropped() {
    let told = Sheet::default();
    let clock = SimClock::new();
    let mut reactor = Reactor::builder().clock(clock).build().unwrap();
    let script = "exec 3<&0; sleep 1000 & echo $!; exec sleep 1000";
    let id = reactor
        .spawn_child(&mut shell(script), Watcher::new(&told))
        .unwrap();
    turn_until(&mut reactor, "the child's word", |_| {
        !told.borrow().stdout.is_empty()
    });
    let sent = reactor.with(id, |child, cx| child.process().send(cx, &[7; 500_000]));
    sent.unwrap().unwrap();
    settle(&mut reactor);
    reactor.at(id).unwrap().close();
    until_empty(&mut reactor);
    assert!(told.borrow().errors.is_empty());
    kill_other(std::str::from_utf8(&told.borrow().stdout).unwrap());
}

/// Has the one method that it must have, and a fault.
struct Terse;

impl ChildHandler for Terse {
    fn handle_stdout(&mut self, _: &mut Context<'_>, _: &mut Process, _: &[u8]) -> io::Result<()> {
        Err(io::Error::other("not understood"))
    }

    fn handle_exit(
        &mut self,
        _: &mut Context<'_>,
        _: &mut Process,
        _: ExitStatus,
    ) -> io::Result<()> {
        panic!("it is killed");
    }
}

#[test]
fn if_a_handler_says_nothing_writing_stops_and_a_fault_kills() {
    let mut reactor = Reactor::new().unwrap();
    let id = reactor
        .spawn_child(&mut shell("read line; echo; exec sleep 1000"), Terse)
        .unwrap();
    let process = reactor.with(id, |child, _| {
        let process = child.process();
        (process.stdin().unwrap(), process.pid())
    });
    let (stdin, pid) = process.unwrap();
    reactor.at(stdin).unwrap().start_writing();
    assert_asleep(&mut reactor, "with nothing to write");
    let sent = reactor.with(id, |child, cx| child.process().send(cx, b"go\n"));
    sent.unwrap().unwrap();
    until_empty(&mut reactor);
    assert!(is_gone(pid));
    assert_eq!(reactor.counters().panics, 0);
}

#[test]
fn a_failure_of_an_output_stream_is_told_and_ends_it() {
    let told = Sheet::default();
    let mut reactor = Reactor::new().unwrap();
    let handler = Watcher {
        survives_errors: true,
        ..Watcher::new(&told)
    };
    let id = reactor
        .spawn_child(&mut shell("read line; exit 3"), handler)
        .unwrap();
    let stdout = stream_of(&mut reactor, id, Process::stdout).unwrap();
    let failure = io::ErrorKind::InvalidData.into();
    reactor.at(stdout).unwrap().fail(failure);
    turn_until(&mut reactor, "the end of the stream", |reactor| {
        stream_of(reactor, id, Process::stdout).is_none()
    });
    assert_eq!(told.borrow().errors, [io::ErrorKind::InvalidData]);
    reactor.with(id, |child, cx| child.process().close_stdin(cx));
    until_empty(&mut reactor);
    assert_eq!(told.borrow().exits[0].code(), Some(3));
}

/// Shown in logs and in `Debug` as what it is.
#[test]
fn a_childs_dispatchers_are_named() {
    let told = Sheet::default();
    let mut reactor = Reactor::new().unwrap();
    let id = reactor
        .spawn_child(&mut shell("cat"), Watcher::new(&told))
        .unwrap();
    let label = reactor.at(id).unwrap().label().to_string();
    assert_eq!(label, format!("Child<Watcher> {id} (ExitWatch)"));
    let stdout = reactor
        .with(id, |child, _| child.process().stdout().unwrap())
        .unwrap();
    let label = reactor.at(stdout).unwrap().label().to_string();
    assert!(label.starts_with("Output<Watcher>"), "{label}");
    assert!(label.ends_with("(the reading end of a pipe)"), "{label}");
}

const FEW_DESCRIPTORS: &str = "SLABLOOP_FEW_DESCRIPTORS";

/// Runs another test in a process of its own, whose descriptors can run out.
#[track_caller]
fn with_few_descriptors(test: &str) {
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored"])
        .env(FEW_DESCRIPTORS, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

#[test]
fn children_leave_no_descriptor_behind() {
    with_few_descriptors("child_after_child");
}

#[test]
#[ignore = "run by the test above"]
fn child_after_child() {
    if std::env::var_os(FEW_DESCRIPTORS).is_none() {
        return;
    }
    by_both_ways(|| {
        let told = Sheet::default();
        let mut reactor = Reactor::new().unwrap();
        for _ in 0..100 {
            reactor
                .spawn_child(&mut Command::new("true"), Watcher::new(&told))
                .unwrap();
            until_empty(&mut reactor);
        }
        assert_eq!(told.borrow().exits.len(), 100);
    });
}

/// A child that runs and cannot be watched is killed and waited for before the error is returned.
#[test]
fn a_child_that_cannot_be_watched_is_taken_down_at_once() {
    with_few_descriptors("child_out_of_descriptors");
}

#[test]
#[ignore = "run by the test above"]
fn child_out_of_descriptors() {
    if std::env::var_os(FEW_DESCRIPTORS).is_none() {
        return;
    }
    let told = Sheet::default();
    let mut reactor = Reactor::new().unwrap();
    let mut held = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        held.push(file);
    }
    // Inherits everything, so that starting it needs no descriptor.
    let mut command = Command::new("sleep");
    command.arg("1000");
    let refused = reactor
        .spawn_child(&mut command, Watcher::new(&told))
        .map(Id::any)
        .unwrap_err();
    assert!(refused.to_string().contains("sleep"), "{refused}");
    let children = waitpid(None, WaitOptions::NOHANG);
    assert_eq!(children.unwrap_err(), rustix::io::Errno::CHILD);
    assert_eq!((reactor.count(), told.borrow().closes), (0, 0));
    held.clear();
    let id = reactor
        .spawn_child(
            Command::new("true").stdin(Stdio::null()),
            Watcher::new(&told),
        )
        .unwrap();
    until_empty(&mut reactor);
    assert!(reactor.end_of(id).is_some());
    assert!(told.borrow().exits[0].success());
}
