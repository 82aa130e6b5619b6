//! The example programs, end to end: started as a user starts them, with real clients, and ended with
//! real signals. With the feature `tls` the servers speak TLS, and are spoken to through a tunnel.

#[path = "util/ports.rs"]
mod ports;
#[cfg(feature = "tls")]
#[path = "util/tunnel.rs"]
mod tunnel;
#[cfg(feature = "tls")]
mod util;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use ports::{closed_port, free_port};

const DEADLINE: Duration = Duration::from_secs(60);

/// `cargo test` in the root builds the examples before it runs the tests, beside the directory of this
/// executable. With `-p slabloop-tests` alone they are those of the last build.
fn example(name: &str) -> PathBuf {
    let here = std::env::current_exe().expect("a test has a path");
    let profile = here
        .parent()
        .and_then(|deps| deps.parent())
        .expect("target/PROFILE/deps");
    profile.join("examples").join(name)
}

/// An example that is running, its address known from its first line. Killed if the test fails.
struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
    hint: String,
    #[cfg(feature = "tls")]
    _tunnel: tunnel::Tunnel,
}

impl Server {
    fn start(name: &str, arguments: &[&str]) -> Server {
        Server::start_with(
            Command::new(example(name)).args(["--listen", "127.0.0.1:0"]),
            arguments,
        )
    }

    fn start_with(command: &mut Command, arguments: &[&str]) -> Server {
        let command = command.args(arguments).env_remove("RUST_LOG");
        #[cfg(feature = "tls")]
        let command = command.args(tunnel::arguments());
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the example has been built");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let first = line(&mut stdout);
        let address = first
            .strip_prefix("listening on ")
            .expect("the first line says where");
        let address = address.parse().expect("an address");
        let hint = line(&mut stdout);
        #[cfg(feature = "tls")]
        let (tunnel, address) = {
            let tunnel = tunnel::Tunnel::to(address);
            let address = tunnel.address;
            (tunnel, address)
        };
        Server {
            child,
            stdout,
            address,
            hint,
            #[cfg(feature = "tls")]
            _tunnel: tunnel,
        }
    }

    fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let killed = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(killed.expect("kill is there").success());
    }

    /// The exit code, the last line on stdout, and all of stderr.
    fn wait(mut self) -> (i32, String, String) {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("text");
        let mut stderr = String::new();
        let mut pipe = self.child.stderr.take().expect("piped");
        pipe.read_to_string(&mut stderr).expect("text");
        let code = self
            .child
            .wait()
            .expect("a child")
            .code()
            .expect("it exits by itself");
        (
            code,
            rest.lines().last().unwrap_or_default().to_owned(),
            stderr,
        )
    }

    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .expect("procfs")
            .count()
    }

    /// Waits until no connection is open: an idle server has its listener, poller, wake-up and signal pipe.
    fn wait_for_accepted_to_end(&self) {
        let deadline = Instant::now() + DEADLINE;
        let mut settled = 0;
        while settled < 3 {
            assert!(
                Instant::now() < deadline,
                "{} descriptors",
                self.descriptors()
            );
            settled = if self.descriptors() <= 16 {
                // A connection of our own shows that all earlier ones were accepted.
                drop(TcpStream::connect(self.address));
                settled + 1
            } else {
                0
            };
            std::thread::yield_now();
        }
    }

    fn wait_for_descriptors(&self, count: usize) {
        let deadline = Instant::now() + DEADLINE;
        while self.descriptors() != count {
            assert!(
                Instant::now() < deadline,
                "{} descriptors, not {count}",
                self.descriptors()
            );
            std::thread::yield_now();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn line(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).expect("text");
    line.trim_end().to_owned()
}

struct Client {
    writer: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Client {
    fn connect(address: SocketAddr) -> Client {
        let writer = TcpStream::connect(address).expect("it listens");
        writer.set_read_timeout(Some(DEADLINE)).expect("positive");
        let reader = BufReader::new(writer.try_clone().expect("a descriptor"));
        Client { writer, reader }
    }

    fn say(&mut self, text: &str) {
        self.writer.write_all(text.as_bytes()).expect("it is read");
    }

    fn hear(&mut self) -> String {
        line(&mut self.reader)
    }

    /// Everything up to the end of the stream.
    fn rest(&mut self) -> std::io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).map(|_| rest)
    }

    fn finish(&self) {
        self.writer.shutdown(Shutdown::Write).expect("connected");
    }

    fn reset(self) {
        socket2::SockRef::from(&self.writer)
            .set_linger(Some(Duration::ZERO))
            .expect("tcp");
    }
}

fn run(name: &str, arguments: &[&str]) -> Output {
    Command::new(example(name))
        .args(arguments)
        .output()
        .expect("the example has been built")
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length)
        .map(|i| (i * 31 + i / 251).to_le_bytes()[0])
        .collect()
}

const ALL: [&str; 3] = ["echo_server", "chat", "proxy"];

#[test]
fn help_goes_to_stdout_and_exits_with_0() {
    for name in ALL {
        for flag in ["--help", "-h"] {
            let output = run(name, &[flag]);
            let text = String::from_utf8(output.stdout).expect("text");
            assert_eq!(output.status.code(), Some(0), "{name} {flag}");
            for part in [
                "Usage:",
                "--listen",
                "--max-connections",
                "--idle-timeout",
                "Examples:",
            ] {
                assert!(text.contains(part), "{name} {flag} says {part}: {text}");
            }
            assert!(output.stderr.is_empty());
        }
    }
}

#[test]
fn wrong_usage_is_one_line_that_names_flag_and_value_and_exits_with_2() {
    for name in ALL {
        for (arguments, parts) in [
            (&["--nonsense"][..], &["--nonsense"][..]),
            (
                &["--listen", "nowhere"],
                &["--listen", "nowhere", "HOST:PORT"],
            ),
            (
                &["--max-connections", "none"],
                &["--max-connections", "none", "whole number"],
            ),
            (
                &["--max-connections", "0"],
                &["--max-connections", "0", "at least 1"],
            ),
            (
                &["--idle-timeout", "-3"],
                &["--idle-timeout", "-3", "seconds"],
            ),
            (&["--drain", "soon"], &["--drain", "soon", "seconds"]),
            (&["--listen"], &["--listen"]),
            (&["stray"], &["stray"]),
            // Known, and not built in.
            (
                &["--trace", "a.json"],
                &["--trace: ", "cargo run --features trace"],
            ),
        ] {
            let output = run(name, arguments);
            let text = String::from_utf8(output.stderr).expect("text");
            assert_eq!(
                output.status.code(),
                Some(2),
                "{name} {arguments:?}: {text}"
            );
            assert_eq!(text.lines().count(), 1, "{name} {arguments:?}: {text}");
            for part in parts {
                assert!(
                    text.contains(part),
                    "{name} {arguments:?} says {part}: {text}"
                );
            }
        }
    }
}

#[test]
fn address_in_use_exits_with_1_and_shows_a_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    for name in ALL {
        let output = run(name, &["--listen", &address]);
        let text = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(1), "{name}: {text}");
        for part in [address.as_str(), "in use", "--listen 127.0.0.1:0"] {
            assert!(text.contains(part), "{name} says {part}: {text}");
        }
    }
}

#[test]
fn first_signal_drains_and_exits_with_0_and_the_totals() {
    for name in ALL {
        for signal in ["INT", "TERM"] {
            let server = Server::start(name, &[]);
            assert!(
                server.hint.contains("try: ") && server.hint.contains("127.0.0.1"),
                "{}",
                server.hint
            );
            server.signal(signal);
            let (code, totals, _) = server.wait();
            assert_eq!(code, 0, "{name} {signal}");
            assert!(
                totals.starts_with("totals: connections=0 in=0 out=0 "),
                "{name}: {totals}"
            );
            assert!(totals.ends_with(" aborted=0"), "{name}: {totals}");
        }
    }
}

#[test]
fn second_signal_ends_a_drain_at_once() {
    for (signal, expected) in [("INT", 130), ("TERM", 143)] {
        let mut server = Server::start("echo_server", &["--drain", "60"]);
        let mut client = server.connect();
        client.say("x");
        client.reader.read_exact(&mut [0]).expect("an echo");
        server.signal(signal);
        // It says that it drains, for this client does not close.
        let mut stderr = BufReader::new(server.child.stderr.take().expect("piped"));
        assert!(line(&mut stderr).contains("draining 1 "));
        server.child.stderr = Some(stderr.into_inner());
        server.signal(signal);
        let (code, _, _) = server.wait();
        assert_eq!(code, expected);
    }
}

#[test]
fn drain_delivers_what_was_queued_and_tells_whom_it_cut_off() {
    let server = Server::start("echo_server", &["--drain", "0.3"]);
    let mut client = server.connect();
    client.say("hello");
    client.reader.read_exact(&mut [0; 5]).expect("an echo");
    server.signal("INT");
    assert_eq!(client.rest().expect("the end, not a reset"), b"");
    let (code, totals, stderr) = server.wait();
    assert_eq!(code, 0);
    assert!(stderr.contains("draining 1 "), "{stderr}");
    assert!(
        totals.starts_with("totals: connections=1 in=5 out=5 "),
        "{totals}"
    );
    // The client never closed its side.
    assert!(totals.ends_with(" aborted=1"), "{totals}");
}

#[test]
fn duration_ends_a_run_and_a_closed_stdout_does_not() {
    for name in ALL {
        let mut server = Server::start(name, &["--duration", "0.2"]);
        server.stdout = BufReader::new(
            Command::new("true")
                .stdout(Stdio::piped())
                .spawn()
                .expect("true")
                .stdout
                .expect("piped"),
        );
        assert_eq!(
            server.child.wait().expect("a child").code(),
            Some(0),
            "{name}"
        );
    }
}

#[test]
fn ipv6_and_names_can_be_listened_on() {
    for listen in ["[::1]:0", "localhost:0"] {
        if listen.starts_with('[') && TcpListener::bind(listen).is_err() {
            eprintln!("skipped: this host has no IPv6");
            continue;
        }
        let mut command = Command::new(example("echo_server"));
        let server = Server::start_with(command.args(["--listen", listen]), &[]);
        let mut client = server.connect();
        client.say("hi");
        client.finish();
        assert_eq!(client.rest().expect("the end"), b"hi");
    }
}

#[test]
fn ten_megabytes_half_closed_before_reading_come_back_whole() {
    let server = Server::start("echo_server", &[]);
    let mut client = server.connect();
    let sent = bytes(10_000_000);
    let mut writer = client.writer.try_clone().expect("a descriptor");
    let all = sent.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&all).expect("it is read");
        writer.shutdown(Shutdown::Write).expect("connected");
    });
    assert!(
        client.rest().expect("the end") == sent,
        "bytes come back as they were sent"
    );
    writing.join().expect("the writer does not panic");
}

#[test]
fn with_64_descriptors_200_clients_are_served_as_others_leave() {
    let mut shell = Command::new("sh");
    let limited = "ulimit -n 64; exec \"$0\" --listen 127.0.0.1:0 \"$@\"";
    let server = Server::start_with(shell.args(["-c", limited]).arg(example("echo_server")), &[]);
    let mut clients: Vec<_> = (0..200).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.say("hi");
        client.finish();
    }
    for mut client in clients {
        assert_eq!(client.rest().expect("the end"), b"hi");
    }
    server.signal("INT");
    let (code, totals, stderr) = server.wait();
    assert_eq!(code, 0);
    assert!(
        totals.starts_with("totals: connections=200 in=400 out=400 "),
        "{totals}"
    );
    assert!(stderr.contains("Too many open files"), "{stderr}");
    assert!(
        stderr.lines().count() < 20,
        "the log keeps its rate: {stderr}"
    );
}

#[test]
fn limit_on_connections_lets_the_next_in_as_one_leaves() {
    let server = Server::start("echo_server", &["--max-connections", "1"]);
    let (mut first, mut second) = (server.connect(), server.connect());
    first.say("1");
    first.reader.read_exact(&mut [0]).expect("an echo");
    second.say("2");
    second.finish();
    first.finish();
    assert_eq!(first.rest().expect("the end"), b"");
    assert_eq!(second.rest().expect("the end"), b"2");
}

#[test]
fn idle_client_is_closed_and_a_busy_one_is_not() {
    // The busy one is as busy as this thread. Where that was kept waiting for as long, it is tried with more time.
    for timeout in [0.3, 1.2, 4.8] {
        let server = Server::start("echo_server", &["--idle-timeout", &timeout.to_string()]);
        let (mut idle, mut busy) = (server.connect(), server.connect());
        let ended = std::thread::spawn(move || idle.rest());
        let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
        let mut is_echoed = || {
            let sent = busy.writer.write_all(b"x");
            let echoed = sent.and_then(|()| busy.reader.read_exact(&mut [0]));
            longest = longest.max(last.elapsed());
            last = Instant::now();
            echoed.is_ok()
        };
        while is_echoed() && !ended.is_finished() {}
        // A time-out is a fault: the end may come as a reset.
        let _ = ended.join().expect("no panic");
        if is_echoed() {
            return;
        }
        assert!(
            longest.as_secs_f64() > timeout / 2.0,
            "closed after {longest:?}, not {timeout} s"
        );
    }
    panic!("the machine is too busy");
}

#[test]
fn five_thousand_clients_that_reset_at_once_leave_no_trace() {
    // (A handshake without optimization takes a while, and each has one.)
    const CLIENTS: usize = if cfg!(feature = "tls") { 500 } else { 5000 };
    let server = Server::start("echo_server", &[]);
    let before = server.descriptors();
    for _ in 0..CLIENTS {
        server.connect().reset();
    }
    server.wait_for_descriptors(before);
    server.signal("INT");
    let (code, _, stderr) = server.wait();
    // On a busy machine a callback may be slow, and the last client may still be in the kernel's queue.
    let expected = ["kept the loop", "slow callback: ", "draining"];
    let lines = stderr
        .lines()
        .filter(|line| !expected.iter().any(|part| line.contains(part)));
    let lines: Vec<_> = lines.collect();
    assert_eq!(code, 0);
    assert!(lines.is_empty(), "nothing above debug is logged: {lines:?}");
}

/// A member that has joined, and has heard so.
fn join(server: &Server, nick: &str) -> Client {
    let mut member = server.connect();
    assert_eq!(member.hear(), "* welcome; your nickname?");
    member.say(&format!("{nick}\n"));
    assert_eq!(member.hear(), format!("* {nick} joined"));
    member
}

#[test]
fn chat_carries_lines_joins_leaves_and_commands() {
    let server = Server::start("chat", &[]);
    let mut alice = join(&server, "alice");
    let mut bob = server.connect();
    assert_eq!(bob.hear(), "* welcome; your nickname?");
    bob.say("alice\r\n");
    assert_eq!(bob.hear(), "* alice is taken; another nickname?");
    for unusable in ["", "/who", "two words", "a:b", &"x".repeat(33)] {
        bob.say(&format!("{unusable}\n"));
        assert!(
            bob.hear()
                .starts_with("* a nickname has 1 to 32 characters"),
            "{unusable:?}"
        );
    }
    bob.say("bob\r\n");
    assert_eq!(bob.hear(), "* bob joined");
    assert_eq!(alice.hear(), "* bob joined");

    // CRLF and LF, several lines in one piece, one line in several pieces.
    alice.say("one\r\ntwo\nth");
    alice.say("ree\n");
    for expected in ["alice: one", "alice: two", "alice: three"] {
        assert_eq!(bob.hear(), expected);
    }
    bob.say("\x1b[31mred\x07\n");
    assert_eq!(
        alice.hear(),
        "bob: [31mred",
        "control characters are not passed on"
    );

    bob.say("/who\n/nick robert\n/nope\n/help\n");
    assert_eq!(bob.hear(), "* here: alice, bob");
    assert_eq!(bob.hear(), "* bob is now robert");
    assert_eq!(alice.hear(), "* bob is now robert");
    assert_eq!(bob.hear(), "* /nope is no command; /help lists them");
    assert!(bob.hear().contains("/quit leaves"));
    bob.say("/quit\nafter the end\n");
    assert_eq!(bob.hear(), "* goodbye");
    assert_eq!(bob.rest().expect("the end"), b"");
    assert_eq!(alice.hear(), "* robert left");
}

#[test]
fn chat_closes_the_sender_of_an_endless_line_and_nobody_else() {
    let server = Server::start("chat", &[]);
    let mut alice = join(&server, "alice");
    let mut bob = join(&server, "bob");
    assert_eq!(alice.hear(), "* bob joined");
    bob.say(&"x".repeat(10_000_000));
    assert_eq!(bob.hear(), "* lines have 64 KiB at most; goodbye");
    assert_eq!(alice.hear(), "* bob left");
    let mut carol = join(&server, "carol");
    assert_eq!(alice.hear(), "* carol joined");
    carol.say("all well\n");
    assert_eq!(alice.hear(), "carol: all well");
}

/// A server for the proxy to connect to; each accepted connection as a client's end.
fn upstream() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    (listener, address)
}

fn accept(listener: &TcpListener) -> Client {
    let (writer, _) = listener.accept().expect("the proxy connects");
    writer.set_read_timeout(Some(DEADLINE)).expect("positive");
    let reader = BufReader::new(writer.try_clone().expect("a descriptor"));
    Client { writer, reader }
}

#[test]
fn proxy_passes_ends_and_data_in_both_directions_whoever_begins() {
    let (listener, address) = upstream();
    let server = Server::start("proxy", &["--upstream", &address]);
    let before = server.descriptors();
    for client_first in [true, false] {
        for size in [0, 4_000_000] {
            let client = server.connect();
            let upstream = accept(&listener);
            let (mut first, mut second) = if client_first {
                (client, upstream)
            } else {
                (upstream, client)
            };
            for _ in 0..2 {
                let sent = bytes(size);
                let mut writer = first.writer.try_clone().expect("a descriptor");
                let all = sent.clone();
                let writing = std::thread::spawn(move || {
                    writer.write_all(&all).expect("it is read");
                    writer.shutdown(Shutdown::Write).expect("connected");
                });
                assert!(
                    second.rest().expect("a clean end") == sent,
                    "{size} bytes pass whole"
                );
                writing.join().expect("no panic");
                std::mem::swap(&mut first, &mut second);
            }
        }
    }
    server.wait_for_descriptors(before);
}

#[test]
fn proxy_passes_resets_as_resets_and_a_dead_upstream_ends_the_client() {
    // A port that nobody else gets when this one gives it back.
    let listener = TcpListener::bind(("127.0.0.1", free_port())).expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let server = Server::start("proxy", &["--upstream", &address]);
    let before = server.descriptors();
    for _ in 0..200 {
        let mut client = server.connect();
        let mut upstream = accept(&listener);
        client.say("x");
        upstream.reader.read_exact(&mut [0]).expect("it passes");
        upstream.reset();
        let error = client.rest().expect_err("a reset, not a clean end");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);

        let mut client = server.connect();
        let mut upstream = accept(&listener);
        client.say("y");
        upstream.reader.read_exact(&mut [0]).expect("it passes");
        client.reset();
        let error = upstream.rest().expect_err("a reset, not a clean end");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    drop(listener);
    for _ in 0..200 {
        let mut client = server.connect();
        // The kernel reports a reset once: to the write, if it has come by then.
        let written = client.writer.write_all(b"anybody there?");
        let error = written.and_then(|()| client.rest().map(|_| ()));
        let error = error.expect_err("a reset, not an empty answer");
        assert!(
            matches!(
                error.kind(),
                std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe
            ),
            "{error}"
        );
    }
    server.wait_for_descriptors(before);
    server.signal("INT");
    let (code, _, stderr) = server.wait();
    assert_eq!(code, 0);
    assert!(
        stderr.contains("cannot reach upstream") && stderr.contains(&address),
        "{stderr}"
    );
}

#[test]
fn proxy_takes_its_upstreams_in_turn_and_refuses_itself() {
    let ((one, first), (two, second)) = (upstream(), upstream());
    let server = Server::start("proxy", &["--upstream", &first, "--upstream", &second]);
    for listener in [&one, &two, &one, &two] {
        let mut client = server.connect();
        accept(listener).say("hello\n");
        assert_eq!(client.hear(), "hello");
    }
    let output = run(
        "proxy",
        &["--listen", "127.0.0.1:7002", "--upstream", "127.0.0.1:7002"],
    );
    let text = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(
        text.contains("--upstream 127.0.0.1:7002") && text.contains("itself"),
        "{text}"
    );
}

/// A download through the proxy that is under way when the proxy is told to stop arrives whole.
#[test]
fn a_proxy_that_is_stopped_lets_its_sessions_finish() {
    const LENGTH: usize = 30_000_000;
    let upstream = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = upstream.local_addr().expect("bound").to_string();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = upstream.accept().expect("the proxy");
        let piece = vec![7; 100_000];
        for _ in 0..LENGTH / piece.len() {
            stream.write_all(&piece).expect("it is read");
        }
    });
    let proxy = Server::start("proxy", &["--upstream", &address, "--drain", "20"]);
    let mut client = proxy.connect();
    let mut first = [0; 1000];
    client.reader.read_exact(&mut first).expect("it has begun");
    proxy.signal("TERM");
    let rest = client.rest().expect("a clean end");
    assert_eq!(first.len() + rest.len(), LENGTH);
    // Its own end of stream is what the session still waits for.
    client.writer.shutdown(Shutdown::Write).expect("connected");
    server.join().expect("all was sent");
    let (code, totals, _) = proxy.wait();
    assert_eq!(code, 0);
    assert!(totals.ends_with("aborted=0"), "{totals}");
}

/// What a peer can cause must not fill the disk: 37,000 refused upstreams once wrote as many lines in three
/// seconds.
#[test]
fn a_flood_of_failing_clients_is_a_few_log_lines() {
    // (A handshake without optimization takes a while.)
    const CLIENTS: usize = if cfg!(feature = "tls") { 100 } else { 600 };
    let (_bound, refused) = closed_port();
    let refused = refused.to_string();
    let too_long = vec![b'x'; 70 * 1024];
    let floods: [(&str, &[&str], &[u8]); 3] = [
        ("echo_server", &[], b"x"),
        ("chat", &[], &too_long),
        ("proxy", &["--upstream", &refused], b"x"),
    ];
    for (name, arguments, sends) in floods {
        let server = Server::start(name, arguments);
        let begun = Instant::now();
        for round in 0..CLIENTS {
            let mut client = TcpStream::connect(server.address).expect("it listens");
            let _ = client.write_all(sends);
            if round % 2 == 0 {
                // Closed with an answer unread, or at once by a reset.
                let linger = Some(Duration::ZERO);
                let _ = socket2::SockRef::from(&client).set_linger(linger);
            }
        }
        server.wait_for_accepted_to_end();
        let seconds = begun.elapsed().as_secs() + 2;
        server.signal("TERM");
        let (code, _, stderr) = server.wait();
        assert_eq!(code, 0, "{name}: {stderr}");
        let lines = stderr.lines().count() as u64;
        assert!(
            lines <= 8 * seconds,
            "{name}: {lines} lines in {seconds} s for {CLIENTS} clients: {stderr}"
        );
        assert!(!stderr.contains("ERROR"), "{name}: {stderr}");
    }
}

#[test]
fn bad_numbers_and_addresses_are_refused_in_the_words_of_the_user() {
    for (arguments, said) in [
        (
            &["--duration", "nan"][..],
            "--duration nan: expected a number of seconds above 0",
        ),
        (
            &["--duration", "1e30"],
            "--duration 1e30: expected a number of seconds above 0",
        ),
        (
            &["--listen", "::1:35001"],
            "--listen ::1:35001: expected HOST:PORT",
        ),
        (&["--listen"], "--listen: a value is missing"),
        (&["-x"], "unknown option -x"),
        (&["--prot"], "unknown option --prot"),
    ] {
        let output = Command::new(example("echo_server"))
            .args(arguments)
            .output()
            .expect("the example has been built");
        let stderr = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.starts_with("echo_server: "), "{stderr}");
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
    }
    let version = Command::new(example("chat")).arg("--version").output();
    let stdout = version.expect("the example has been built").stdout;
    assert!(stdout.starts_with(b"slabloop "));
}

#[test]
fn chat_knows_the_backplane_and_says_how_it_is_built_with_it() {
    let broker = "redis://127.0.0.1:6379";
    for (flag, value) in [("--backplane", broker), ("--lease", "10"), ("--keep", "5")] {
        let output = run("chat", &[flag, value]);
        let stderr = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        let said = format!(
            "{flag}: built without the backplane; use cargo run --features examples; see --help"
        );
        assert!(stderr.contains(&said), "{stderr}");
    }
}

#[test]
fn chat_passes_on_no_character_that_hides_or_turns_text() {
    let server = Server::start("chat", &[]);
    let mut ann = server.connect();
    ann.say("ann\n");
    assert_eq!(ann.hear(), "* welcome; your nickname?");
    assert_eq!(ann.hear(), "* ann joined");
    let mut other = server.connect();
    other.say("\u{200b}an\u{202e}n\n");
    assert_eq!(other.hear(), "* welcome; your nickname?");
    assert_eq!(other.hear(), "* ann is taken; another nickname?");
    other.say("bob\n");
    assert_eq!(other.hear(), "* bob joined");
    assert_eq!(ann.hear(), "* bob joined");
    other.say("a\u{202e}b\u{2066}c\u{feff}d\u{e0041}e \u{5d0}\n");
    assert_eq!(ann.hear(), "bob: abcde \u{5d0}");
}

#[test]
fn chat_lists_a_hundred_names_at_most() {
    let server = Server::start("chat", &[]);
    let mut members: Vec<Client> = Vec::new();
    for number in 0..130 {
        let mut member = server.connect();
        member.say(&format!("member{number:03}\n"));
        assert_eq!(member.hear(), "* welcome; your nickname?");
        assert_eq!(member.hear(), format!("* member{number:03} joined"));
        members.push(member);
    }
    let last = members.last_mut().expect("there are some");
    last.say("/who\n");
    let names = last.hear();
    assert!(names.starts_with("* here: member000, "), "{names}");
    assert!(names.ends_with("member099 and 30 more"), "{names}");
}
