//! Example servers with `--threads`: one port, one ready line, one shutdown with one deadline, one line of totals.

#[path = "util/programs.rs"]
mod programs;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};

use programs::*;

/// The names of a server's threads.
fn threads(server: &Server) -> Vec<String> {
    let tasks = format!("/proc/{}/task", server.process.0.id());
    let tasks = std::fs::read_dir(tasks).expect("it runs");
    let names = tasks.filter_map(|task| {
        let name = std::fs::read_to_string(task.ok()?.path().join("comm"));
        Some(name.ok()?.trim().to_owned())
    });
    let mut names: Vec<_> = names.filter(|name| name.starts_with("reactor-")).collect();
    names.sort();
    names
}

#[track_caller]
fn expect_echo(client: &mut TcpStream, text: &str) {
    client.write_all(text.as_bytes()).expect("it is open");
    let mut echo = vec![0; text.len()];
    client.read_exact(&mut echo).expect("an echo");
    assert_eq!(echo, text.as_bytes());
}

#[track_caller]
fn hang_up(mut client: TcpStream) {
    client.shutdown(Shutdown::Write).expect("it is open");
    assert_eq!(client.read(&mut [0; 8]).expect("no reset"), 0);
}

#[test]
fn an_echo_server_with_three_threads_is_one_server_to_its_clients() {
    let server = Server::start("echo_server", &["--threads", "3"]);
    #[cfg(target_os = "linux")]
    assert_eq!(threads(&server), ["reactor-0", "reactor-1", "reactor-2"]);
    let mut clients: Vec<_> = (0..64).map(|_| server.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        expect_echo(client, &format!("client {number:02}"));
    }
    clients.into_iter().for_each(hang_up);
    server.process.signal("-TERM");
    let ended = server.end();
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    let totals = ended.totals();
    assert_eq!(totals.of("connections"), 64);
    assert_eq!(totals.of("in"), 64 * 9);
    assert_eq!(totals.of("aborted"), 0);
    let ready = ended
        .stdout
        .iter()
        .filter(|line| line.starts_with("listening on "));
    assert_eq!(ready.count(), 1);
}

#[test]
fn one_signal_ends_the_sessions_of_all_threads_of_a_proxy_within_one_deadline() {
    let upstream = Server::start("echo_server", &[]);
    let address = upstream.address.to_string();
    let arguments = ["--threads", "2", "--drain", "0.2", "--upstream", &address];
    let mut server = Server::start("proxy", &arguments);
    // With so many, each thread has some: that one has none is less likely than one in 10^9.
    let mut clients: Vec<_> = (0..32).map(|_| server.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        expect_echo(client, &format!("client {number:02}"));
    }
    server.process.signal("-TERM");
    server.stderr_says("draining for up to 200ms; Ctrl-C again ends it now");
    let ended = server.end();
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    assert_eq!(
        ended.totals().of("aborted"),
        64,
        "both legs of each session"
    );
    for mut client in clients {
        assert!(client.read(&mut [0; 8]).is_err(), "a reset");
    }
    upstream.stop();
}

#[test]
fn one_thread_accepts_and_hands_over_to_all_in_turn() {
    let server = Server::start("group", &["--threads", "3", "--choose", "turn"]);
    let served = (0..6).map(|_| {
        let mut client = server.client();
        client.write_all(b"hi").expect("it is open");
        client.shutdown(Shutdown::Write).expect("it is open");
        let mut echo = String::new();
        client.read_to_string(&mut echo).expect("no reset");
        echo
    });
    let served: Vec<_> = served.collect();
    let (first, second) = served.split_at(3);
    assert_eq!(first, second, "the same turn again");
    // The threads enroll in any order.
    let mut turn = first.to_vec();
    turn.sort();
    assert_eq!(turn, ["0: hi", "1: hi", "2: hi"]);
    assert_eq!(server.stop().of("connections"), 6);
}

#[test]
fn a_time_limit_ends_all_threads() {
    let output = run(
        "echo_server",
        &[
            "--listen",
            "127.0.0.1:0",
            "--threads",
            "2",
            "--duration",
            "0.05",
        ],
    );
    assert!(output.status.success(), "{output:?}");
    let stdout = String::from_utf8(output.stdout).expect("text");
    assert!(stdout.contains("totals: connections=0 "), "{stdout}");
}

#[test]
fn a_port_in_use_is_told_once_also_if_the_other_server_has_several_threads() {
    let server = Server::start("echo_server", &["--threads", "2"]);
    let address = server.bare_address().to_string();
    for threads in ["1", "2"] {
        let output = run("echo_server", &["--listen", &address, "--threads", threads]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let stderr = String::from_utf8(output.stderr).expect("text");
        let told = format!("cannot listen on {address}: Address already in use");
        assert_eq!(stderr.matches(&told).count(), 1, "{stderr}");
    }
    server.stop();
}

#[test]
fn a_thread_that_gets_no_descriptor_is_named() {
    let program = example("echo_server");
    let script = format!(
        "ulimit -n 12; exec '{}' --listen 127.0.0.1:0 --threads 8",
        program.display()
    );
    let output = Command::new("sh")
        .args(["-c", &script])
        .stdin(Stdio::null())
        .output();
    let output = output.expect("a shell");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert!(stderr.contains("echo_server: reactor-"), "{stderr}");
    assert!(stderr.contains("Too many open files"), "{stderr}");
}

#[test]
fn numbers_of_threads_out_of_range_are_named() {
    for (program, threads, text) in [
        (
            "echo_server",
            "0",
            "--threads 0: expected at least 1; see --help",
        ),
        (
            "proxy",
            "1025",
            "--threads 1025: expected at most 1024; see --help",
        ),
        (
            "proxy",
            "two",
            "--threads two: expected a whole number of at least 1; see --help",
        ),
    ] {
        let output = run(program, &["--threads", threads]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let stderr = String::from_utf8(output.stderr).expect("text");
        assert!(stderr.contains(text), "{stderr}");
    }
}
