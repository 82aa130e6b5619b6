//! The programs of `docs/how-to`, run as the pages say: with pipes, files, signals, and peers that say nothing.

#[path = "util/programs.rs"]
mod programs;
#[cfg(feature = "tls")]
mod util;

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{ChildStdout, Command, Output, Stdio};

use programs::*;

/// All of them that need no feature.
const ALL: [&str; 10] = [
    "client",
    "embed",
    "graceful",
    "idle",
    "post",
    "stdin",
    "timers",
    "udp_ask",
    "udp_time",
    "unix_echo",
];

/// Runs a program with this on its stdin, to its end.
fn run_with_stdin(name: &str, arguments: &[&str], stdin: Stdio, text: &[u8]) -> Output {
    let mut command = Command::new(example(name));
    command.args(arguments).env_remove("RUST_LOG").stdin(stdin);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    std::thread::scope(|scope| {
        // Killed with its value, also by a panic: then the threads come to their end as well.
        let mut process = Running(command.spawn().expect("it starts"));
        let child = &mut process.0;
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        scope.spawn(move || {
            // It may end before it has read all.
            if let Some(mut stdin) = stdin {
                let _ = stdin.write_all(text);
            }
        });
        let stdout = scope.spawn(|| all_of(stdout));
        let stderr = scope.spawn(|| all_of(stderr));
        process.wait();
        Output {
            status: process.0.wait().expect("it is ours"),
            stdout: stdout.join().expect("a pipe"),
            stderr: stderr.join().expect("a pipe"),
        }
    })
}

fn all_of(pipe: Option<impl Read>) -> Vec<u8> {
    let mut all = Vec::new();
    let mut pipe = pipe.expect("piped");
    pipe.read_to_end(&mut all).expect("a pipe");
    all
}

fn stdout_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A server that is no TCP server, so that TLS is not for it; and what it has said it listens on.
struct Plain {
    process: Running,
    stdout: BufReader<ChildStdout>,
    listening_on: String,
}

impl Plain {
    fn start(name: &str, listen: &str) -> Plain {
        let mut command = Command::new(example(name));
        command.args(["--listen", listen]).env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = Running(command.spawn().expect("it starts"));
        let mut stdout = BufReader::new(process.0.stdout.take().expect("piped"));
        let mut first = String::new();
        stdout.read_line(&mut first).expect("text");
        let listening_on = first.trim_end().strip_prefix("listening on ");
        let listening_on = listening_on.expect(&first).to_owned();
        Plain {
            process,
            stdout,
            listening_on,
        }
    }

    /// Ends it with a signal; its last line.
    fn stop(mut self) -> String {
        self.process.signal("-TERM");
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("text");
        assert_eq!(self.process.wait(), Some(0));
        rest.lines().last().expect("totals").to_owned()
    }
}

/// A file that goes with its value, under a name that no other test has.
struct Temporary(PathBuf);

impl Temporary {
    fn named(name: &str) -> Temporary {
        let name = format!("slabloop-{}-{name}", std::process::id());
        Temporary(std::env::temp_dir().join(name))
    }

    fn holding(name: &str, bytes: &[u8]) -> Temporary {
        let file = Temporary::named(name);
        std::fs::write(&file.0, bytes).expect("there is room");
        file
    }

    fn open(&self) -> Stdio {
        File::open(&self.0).expect("it is there").into()
    }

    fn name(&self) -> &str {
        self.0.to_str().expect("a name of ours")
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn programs_explain_themselves_and_name_what_they_do_not_know() {
    for name in ALL {
        let help = run(name, &["--help"]);
        assert_eq!(help.status.code(), Some(0), "{name}");
        assert!(stdout_of(&help).contains(&format!("Usage: {name}")));
        let wrong = run(name, &["--no-such-flag"]);
        assert_eq!(wrong.status.code(), Some(2), "{name}");
        let text = stderr_of(&wrong);
        assert_eq!(text.lines().count(), 1, "{name}: {text}");
        assert!(text.contains("--no-such-flag"), "{name}: {text}");
    }
}

#[test]
fn wrong_values_are_named_with_their_flags() {
    for (name, arguments) in [
        ("client", ["--connect", "nowhere"]),
        ("timers", ["--unit", "0"]),
        ("post", ["--threads", "0"]),
        ("post", ["--threads", "101"]),
        ("udp_ask", ["--tries", "0"]),
        ("udp_ask", ["--wait", "soon"]),
        ("udp_time", ["--listen", "127.0.0.1"]),
        ("unix_echo", ["--drain", "-1"]),
        ("idle", ["--first", "0"]),
        ("graceful", ["--work", "x"]),
    ] {
        let output = run(name, &arguments);
        let text = stderr_of(&output);
        assert_eq!(output.status.code(), Some(2), "{name}: {text}");
        assert!(text.contains(&arguments.join(" ")), "{name}: {text}");
    }
}

// ---------------------------------------------------------------------------------------------------
// client

#[test]
fn client_sends_all_of_a_pipe_a_file_and_nothing_and_prints_what_comes_back() {
    let server = Server::start("echo_server", &[]);
    let address = server.address.to_string();
    let arguments = ["--connect", address.as_str()];
    // More than all buffers and outboxes between here and there hold.
    let large: Vec<u8> = (0..8_000_000_u32).map(|at| (at % 251) as u8).collect();
    let file = Temporary::holding("large", &large);
    for (stdin, expected) in [
        (Stdio::piped(), &large[..]),
        (file.open(), &large),
        (Stdio::null(), b""),
    ] {
        let output = run_with_stdin("client", &arguments, stdin, &large);
        assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
        assert!(output.stdout == expected, "{} bytes", output.stdout.len());
    }
    server.stop();
}

/// A server may send all of its answer before it reads. Were the client not to read because its own output waits, both
/// would wait for ever.
#[test]
fn client_reads_whatever_waits_to_be_sent() {
    let large = vec![7; 40_000_000];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answer = large.clone();
    let server = std::thread::spawn(move || {
        let mut peer = with_deadline(listener.accept().unwrap().0);
        peer.write_all(&answer).unwrap();
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        received.len()
    });
    let output = run_with_stdin("client", &["--connect", &address], Stdio::piped(), &large);
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    assert_eq!(output.stdout.len(), large.len());
    assert_eq!(server.join().unwrap(), large.len());
}

#[test]
fn client_says_whom_it_cannot_reach() {
    let address = format!("127.0.0.1:{}", free_port());
    for arguments in [
        ["--connect", address.as_str()],
        ["--connect-unix", "/no/such/socket"],
    ] {
        let output = run("client", &arguments);
        let text = stderr_of(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        let beginning = format!("client: cannot connect to {}: ", arguments[1]);
        assert!(text.starts_with(&beginning), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

#[test]
fn client_fails_when_the_server_resets_its_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        peer.write_all(b"half an ans").unwrap();
        // What is closed with unread input ends in a reset.
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        peer.peek(&mut [0]).unwrap();
    });
    let output = run_with_stdin(
        "client",
        &["--connect", &address],
        Stdio::piped(),
        b"question",
    );
    server.join().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr_of(&output).contains("reset"),
        "{}",
        stderr_of(&output)
    );
}

/// As in `client | head`.
#[test]
fn client_ends_well_when_nobody_reads_its_output() {
    let server = Server::start("echo_server", &[]);
    let mut command = Command::new(example("client"));
    command.args(["--connect", &server.address.to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = Running(command.spawn().unwrap());
    let mut stdin = process.0.stdin.take().unwrap();
    let mut stdout = process.0.stdout.take().unwrap();
    stdin.write_all(b"one\n").unwrap();
    stdout.read_exact(&mut [0; 4]).unwrap();
    drop(stdout);
    stdin.write_all(b"two\n").unwrap();
    assert_eq!(process.wait(), Some(0));
    server.stop();
}

#[test]
fn client_that_waits_ends_by_a_signal() {
    let server = Server::start("echo_server", &[]);
    let mut command = Command::new(example("client"));
    command.args(["--connect", &server.address.to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = Running(command.spawn().unwrap());
    let mut stdin = process.0.stdin.take().unwrap();
    stdin.write_all(b"one\n").unwrap();
    let mut stdout = process.0.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 4]).unwrap();
    process.signal("-INT");
    assert_eq!(process.wait(), Some(0));
    server.stop();
}

// ---------------------------------------------------------------------------------------------------
// stdin

#[test]
fn stdin_is_counted_whatever_it_is() {
    let text: String = (0..10_000).map(|line| format!("line {line}\n")).collect();
    let counts = format!("lines=10000 bytes={}\n", text.len());
    let file = Temporary::holding("lines", text.as_bytes());
    let count = |arguments: &[&str], stdin| {
        let output = run_with_stdin("stdin", arguments, stdin, text.as_bytes());
        assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
        stdout_of(&output)
    };
    assert_eq!(count(&[], Stdio::piped()), counts);
    assert_eq!(count(&[], file.open()), counts);
    assert_eq!(count(&[], Stdio::null()), "lines=0 bytes=0\n");
    assert_eq!(count(&["--direct"], Stdio::piped()), counts);
}

#[test]
#[cfg(target_os = "linux")]
fn stdin_that_cannot_be_waited_for_is_refused_with_a_way_out() {
    let file = Temporary::holding("one", b"line\n");
    for stdin in [file.open(), Stdio::null()] {
        let output = run_with_stdin("stdin", &["--direct"], stdin, b"");
        let text = stderr_of(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("--direct: stdin is a file"), "{text}");
        assert!(text.contains("without --direct"), "{text}");
    }
}

// ---------------------------------------------------------------------------------------------------
// Programs that end by themselves; the pages show what they print.

#[test]
fn post_adds_up_whatever_the_number_of_threads() {
    for threads in [1, 7, 100_u64] {
        let output = run("post", &["--threads", &threads.to_string()]);
        let total = threads * 1000 * (threads * 1000 - 1) / 2;
        let expected = format!("reports={} total={total}\n", threads * 10);
        assert_eq!(stdout_of(&output), expected);
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn timers_come_in_the_order_of_their_times() {
    let output = run("timers", &["--unit", "0.001"]);
    let text = stdout_of(&output);
    let words: Vec<&str> = text.split([' ', ',', '\n']).collect();
    assert_eq!(output.status.code(), Some(0));
    for word in ["reminder", "deadline", "closed"] {
        assert!(words.contains(&word), "{text}");
    }
    assert_eq!(text.matches("tick ").count(), 3, "{text}");
}

// ---------------------------------------------------------------------------------------------------
// Datagrams

#[test]
fn time_is_answered_and_nothing_else_is() {
    /// Ten digits and the end of the line.
    const ANSWER: usize = 11;
    let server = Plain::start("udp_time", "127.0.0.1:0");
    let answer = run("udp_ask", &["--connect", &server.listening_on]);
    assert_eq!(answer.status.code(), Some(0), "{}", stderr_of(&answer));
    let seconds: u64 = stdout_of(&answer).trim().parse().expect("seconds");
    assert!(seconds > 1_700_000_000);

    // An answer, something else, something long: the one answer that comes is that to the question behind them.
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(&server.listening_on).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    for text in [
        stdout_of(&answer).as_str(),
        "what",
        &"time".repeat(30),
        "time",
    ] {
        socket.send(text.as_bytes()).unwrap();
    }
    let mut answer = [0; 100];
    assert_eq!(socket.recv(&mut answer).unwrap(), ANSWER);
    // One question by each program.
    let totals = server.stop();
    let sent = format!(" out={} ", 2 * ANSWER);
    assert!(
        totals.starts_with("totals: connections=0 ") && totals.contains(&sent),
        "{totals}"
    );
}

#[test]
fn ask_asks_again_and_gives_up_in_the_end() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let flags = ["--wait", "0.01", "--tries", "3", "--text", "hello?"];
    let output = run("udp_ask", &[&["--connect", &address], &flags[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    let expected = format!("udp_ask: {address}: no answer\n");
    assert!(
        stderr_of(&output).ends_with(&expected),
        "{}",
        stderr_of(&output)
    );
    silent.set_nonblocking(true).unwrap();
    let mut buffer = [0; 100];
    for _ in 0..3 {
        assert_eq!(silent.recv(&mut buffer).unwrap(), 6);
    }
    assert!(silent.recv(&mut buffer).is_err(), "three times");
}

// ---------------------------------------------------------------------------------------------------
// Unix sockets

#[test]
fn unix_echo_serves_removes_its_file_and_one_that_was_left_behind() {
    let path = Temporary::named("echo.sock");
    for end in ["-KILL", "-TERM", "-TERM"] {
        let mut server = Plain::start("unix_echo", path.name());
        let mut client = UnixStream::connect(&path.0).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(b"hello").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "hello");
        // The client that speaks TCP otherwise.
        let arguments = ["--connect-unix", path.name()];
        let output = run_with_stdin("client", &arguments, Stdio::piped(), b"hi");
        assert_eq!(stdout_of(&output), "hi");

        server.process.signal(end);
        server.process.wait();
        assert_eq!(path.0.exists(), end == "-KILL", "{end}");
    }
}

#[test]
fn unix_echo_takes_no_file_away_from_others() {
    let path = Temporary::named("taken.sock");
    let server = Plain::start("unix_echo", path.name());
    let file = Temporary::holding("file", b"not a socket");
    for taken in [&path, &file] {
        let output = run("unix_echo", &["--listen", taken.name()]);
        let text = stderr_of(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(
            text.contains(taken.name()) && text.contains("in use"),
            "{text}"
        );
        assert!(taken.0.exists());
    }
    assert_eq!(std::fs::read(&file.0).unwrap(), b"not a socket");
    UnixStream::connect(&path.0).expect("it goes on");
    server.stop();
}

// ---------------------------------------------------------------------------------------------------
// Time limits and shutdown

fn hears(client: &mut impl BufRead, expected: &str) {
    let mut line = String::new();
    client.read_line(&mut line).expect("a line comes");
    assert_eq!(line, expected);
}

#[test]
fn idle_client_is_asked_and_then_sent_away() {
    let server = Server::start("idle", &["--idle-timeout", "0.1"]);
    let mut client = BufReader::new(server.client());
    hears(&mut client, "* your name?\n");
    client.get_mut().write_all(b"ada\n").unwrap();
    hears(&mut client, "* hello, ada\n");
    hears(&mut client, "* still there?\n");
    hears(&mut client, "* goodbye\n");
    hears(&mut client, "");
    drop(client);
    server.stop();
}

#[test]
fn client_that_says_nothing_in_its_first_time_is_ended() {
    let mut server = Server::start("idle", &["--first", "0.1"]);
    let mut client = BufReader::new(server.client());
    hears(&mut client, "* your name?\n");
    // Part of a line does not count.
    client.get_mut().write_all(b"ad").unwrap();
    server.stderr_says("the request was not finished in 100ms");
    let ended = client.read_to_end(&mut Vec::new());
    assert!(!ended.is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
    server.stop();
}

#[test]
fn requests_that_were_taken_are_answered_before_the_end() {
    let mut server = Server::start("graceful", &["--work", "1", "--drain", "60"]);
    let mut client = BufReader::new(server.client());
    client.get_mut().write_all(b"one\ntwo\n").unwrap();
    loop {
        server.process.signal("-HUP");
        if server
            .stderr_says(" bytes in")
            .contains("1 connections, 8 bytes")
        {
            break;
        }
    }
    server.process.signal("-TERM");
    server.stderr_says("draining 1 socket");
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    // On a busy machine one of them may have been answered before the signal.
    assert!(rest.contains("* shutting down; "), "{rest}");
    assert!(rest.ends_with("done: two\n"), "{rest}");
    assert_eq!(rest.matches("done: ").count(), 2, "{rest}");
    drop(client);
    let ended = server.end();
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.totals().of("aborted"), 0);
}

#[test]
fn second_signal_does_not_wait_for_answers() {
    let mut server = Server::start("graceful", &["--work", "3600", "--drain", "3600"]);
    let mut client = server.client();
    client.write_all(b"one\n").unwrap();
    server.process.signal("-HUP");
    server.stderr_says("connections");
    server.process.signal("-TERM");
    server.stderr_says("draining");
    server.process.signal("-TERM");
    assert_eq!(server.end().code, Some(128 + 15));
}
