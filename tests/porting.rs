//! What a program that comes from asyncore leans on besides the order of callbacks: what the default
//! callbacks log, urgent data, pipes and the standard streams of child processes in the place of file
//! dispatchers, and `close_all`.

mod util;

use std::cell::RefCell;
use std::io::{self, Write};
use std::process::{Command, Stdio};

use log::{Level, LevelFilter, Log, Metadata, Record};
use slabloop::{Context, Dispatcher, Reactor};
use util::{Diary, Spy, serve, settle, spied_pair, tcp_pair, turn, turn_until};

thread_local! {
    /// Tests run in parallel, a reactor on each thread.
    static LINES: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
}

struct Capture;

impl Log for Capture {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = (record.level(), record.args().to_string());
        LINES.with_borrow_mut(|lines| lines.push(line));
    }

    fn flush(&self) {}
}

/// The lines that this thread has logged since the last call.
fn logged() -> Vec<(Level, String)> {
    LINES.with_borrow_mut(std::mem::take)
}

fn capture() {
    let _ = log::set_logger(&Capture);
    log::set_max_level(LevelFilter::Debug);
    logged();
}

/// Leaves everything to the defaults.
struct Bare;
impl Dispatcher for Bare {}

#[track_caller]
fn assert_logged(level: Level, text: &str) {
    let lines = logged();
    let found = lines
        .iter()
        .any(|(at, line)| *at == level && line.starts_with("Bare ") && line.contains(text));
    assert!(found, "no {level} line with {text:?}: {lines:#?}");
    let louder = lines.iter().filter(|(at, _)| *at < level).count();
    assert_eq!(louder, 0, "{lines:#?}");
}

/// asyncore's defaults say "unhandled read event" and so on, under a type that it does not print unless
/// told to. Here they are debug lines, and name the dispatcher and its peer.
#[test]
fn each_default_callback_logs_that_nobody_handles_the_event() {
    capture();
    let mut reactor = Reactor::new().unwrap();
    let listener = reactor.listen("127.0.0.1:0", Bare).unwrap();
    let address = reactor.local_addr(listener).unwrap();
    let refused = std::net::TcpStream::connect(address).unwrap();
    turn_until(&mut reactor, "the accept", |r| r.counters().accepted == 1);
    assert_logged(Level::Debug, "no handle_accept");
    drop(refused);

    let (ours, mut peer) = tcp_pair();
    let id = reactor.add(ours, Bare).unwrap();
    peer.write_all(b"hello").unwrap();
    turn_until(&mut reactor, "the input", |r| r.counters().bytes_in == 5);
    assert_logged(Level::Debug, "no handle_read; 5 bytes");

    reactor.at(id).unwrap().start_writing();
    settle(&mut reactor);
    assert_logged(Level::Debug, "no handle_write");

    reactor.at(id).unwrap().set_timer(std::time::Duration::ZERO);
    settle(&mut reactor);
    assert_logged(Level::Debug, "no handle_timer");

    drop(peer);
    turn_until(&mut reactor, "its end", |r| r.count() == 1);
    assert_logged(Level::Debug, "end of stream");

    let plain = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = reactor.connect(plain.local_addr().unwrap(), Bare).unwrap();
    let before = reactor.counters().callbacks;
    turn_until(&mut reactor, "the connection", |r| {
        r.counters().callbacks > before
    });
    assert_logged(Level::Debug, "connected");

    reactor.at(connected).unwrap().abort();
    turn(&mut reactor);
    assert_logged(Level::Debug, "closed");
}

#[test]
#[cfg(any(target_os = "linux", target_os = "android"))]
fn default_of_urgent_data_logs_that_nobody_handles_it() {
    capture();
    let mut reactor = Reactor::new().unwrap();
    let (ours, peer) = tcp_pair();
    let id = reactor.add(ours, Bare).unwrap();
    reactor.at(id).unwrap().watch_priority();
    socket2::SockRef::from(&peer)
        .send_out_of_band(b"!")
        .unwrap();
    let deadline = std::time::Instant::now() + util::DEADLINE;
    while !LINES.with_borrow(|lines| {
        lines
            .iter()
            .any(|(_, line)| line.contains("handle_priority"))
    }) {
        assert!(std::time::Instant::now() < deadline, "no urgent data");
        turn(&mut reactor);
    }
    assert_logged(Level::Debug, "no handle_priority");
}

/// asyncore logs "uncaptured python exception, closing channel" as an error.
#[test]
fn default_of_an_error_logs_a_warning() {
    struct Failing;
    impl Dispatcher for Failing {
        fn handle_read(&mut self, _: &mut Context<'_>) -> io::Result<()> {
            Err(io::Error::other("out of paper"))
        }
    }
    capture();
    let mut reactor = Reactor::new().unwrap();
    let (ours, mut peer) = tcp_pair();
    reactor.add(ours, Failing).unwrap();
    peer.write_all(b"x").unwrap();
    drop(peer);
    turn_until(&mut reactor, "its end", |r| r.count() == 0);
    let errors: Vec<_> = logged()
        .into_iter()
        .filter(|(level, _)| *level == Level::Warn)
        .collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    let (_, line) = &errors[0];
    assert!(
        line.starts_with("Failing ") && line.contains("127.0.0.1:"),
        "{line}"
    );
    assert!(line.ends_with("out of paper"), "{line}");
}

#[test]
#[cfg(any(target_os = "linux", target_os = "android"))]
fn urgent_byte_reaches_handle_priority_on_both_sides_of_a_connection() {
    let diary = Diary::default();
    let mut reactor = Reactor::new().unwrap();
    let (_, peer) = spied_pair(&mut reactor, Spy::new("added", &diary));
    let inner = diary.clone();
    let (_, address) = serve(&mut reactor, move || Spy::new("accepted", &inner));
    let client = std::net::TcpStream::connect(address).unwrap();
    let plain = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let spy = Spy::new("connected", &diary);
    let connected = reactor.connect(plain.local_addr().unwrap(), spy).unwrap();
    let (server, _) = plain.accept().unwrap();
    turn_until(&mut reactor, "everybody", |r| r.count() == 4);
    turn_until(&mut reactor, "the connection", |_| {
        diary.count("connected", "connect") == 1
    });
    for socket in [&peer, &client, &server] {
        socket2::SockRef::from(socket)
            .send_out_of_band(b"!")
            .unwrap();
    }
    // Watched for only now: an urgent byte that came before is told as well.
    settle(&mut reactor);
    assert_eq!(diary.count("connected", "priority"), 0);
    let everybody = reactor.count();
    reactor.at(connected).unwrap().watch_priority();
    turn_until(&mut reactor, "the urgent byte", |_| {
        diary.count("connected", "priority") == 1
    });
    settle(&mut reactor);
    assert_eq!(diary.count("added", "priority"), 0, "it did not ask");
    assert_eq!(diary.count("connected", "priority"), 1, "once an event");
    assert_eq!(reactor.count(), everybody);
}

#[test]
fn both_ends_of_a_pipe_are_dispatchers() {
    let diary = Diary::default();
    let mut reactor = Reactor::new().unwrap();
    let (sender, receiver) = mio::unix::pipe::new().unwrap();
    let reader = Spy::new("reader", &diary);
    let received = reader.received();
    reactor.add(receiver, reader).unwrap();
    let writer = reactor.add(sender, Spy::new("writer", &diary)).unwrap();
    let mut at = reactor.at(writer).unwrap();
    at.send(&util::pattern(1, 300_000)).unwrap();
    at.close();
    turn_until(&mut reactor, "both ends to close", |r| r.count() == 0);
    assert_eq!(*received.borrow(), util::pattern(1, 300_000));
    assert_eq!(diary.of("writer"), ["close"]);
    let told = diary.of("reader");
    assert_eq!(told[told.len() - 2..], ["eof", "close"]);
}

#[test]
fn standard_streams_of_a_child_are_dispatchers() {
    let diary = Diary::default();
    let mut reactor = Reactor::new().unwrap();
    let mut child = Command::new("sh")
        .args(["-c", "cat; echo done >&2"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (out, errors) = (Spy::new("out", &diary), Spy::new("errors", &diary));
    let (received, complaints) = (out.received(), errors.received());
    reactor.add(child.stdout.take().unwrap(), out).unwrap();
    reactor.add(child.stderr.take().unwrap(), errors).unwrap();
    let stdin = child.stdin.take().unwrap();
    let stdin = reactor.add(stdin, Spy::new("in", &diary)).unwrap();
    let mut at = reactor.at(stdin).unwrap();
    at.send(&util::pattern(2, 200_000)).unwrap();
    at.close();
    turn_until(&mut reactor, "the child to end", |r| r.count() == 0);
    assert!(child.wait().unwrap().success());
    assert_eq!(*received.borrow(), util::pattern(2, 200_000));
    assert_eq!(*complaints.borrow(), b"done\n");
    assert_eq!(diary.of("in"), ["close"]);
}

/// asyncore's file dispatcher takes a regular file, and then finds it always ready. Epoll refuses one.
#[test]
#[cfg(any(target_os = "linux", target_os = "android"))]
fn regular_file_is_refused_and_nothing_is_kept() {
    let diary = Diary::default();
    let mut reactor = Reactor::new().unwrap();
    let file = std::fs::File::open("Cargo.toml").unwrap();
    let as_pipe = mio::unix::pipe::Receiver::from(std::os::fd::OwnedFd::from(file));
    let refused = reactor.add(as_pipe, Spy::new("file", &diary)).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    assert_eq!(reactor.count(), 0);
    assert_eq!(diary.all(), Vec::<String>::new());
}

#[test]
fn close_all_tells_everybody_from_outside_and_from_inside() {
    let diary = Diary::default();
    let mut reactor = Reactor::new().unwrap();
    let _peers = [
        spied_pair(&mut reactor, Spy::new("a", &diary)).1,
        spied_pair(&mut reactor, Spy::new("b", &diary)).1,
    ];
    reactor.close_all();
    assert_eq!(reactor.count(), 0);
    assert_eq!(diary.all(), ["a close", "b close"]);
    diary.clear();

    let spy = Spy::new("a", &diary).on_read(|cx| {
        cx.close_all();
        Ok(())
    });
    let (_, mut first) = spied_pair(&mut reactor, spy);
    let (_, _second) = spied_pair(&mut reactor, Spy::new("b", &diary));
    first.write_all(b"x").unwrap();
    turn_until(&mut reactor, "the end of all", |r| r.count() == 0);
    let mut told = diary.all();
    assert_eq!(told.remove(0), "a read");
    told.sort();
    assert_eq!(told, ["a close", "b close"]);
    // It can be used again.
    let (_, _third) = spied_pair(&mut reactor, Spy::new("c", &diary));
    assert_eq!(reactor.count(), 1);
}
