//! The example `primes`, spoken to as its users do: order, echo meanwhile, refusals, and its end.

#[path = "util/programs.rs"]
mod programs;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use programs::*;

/// Takes seconds.
const SLOW: &str = "5000000\n";

fn ask(client: &mut TcpStream, lines: &str) {
    client.write_all(lines.as_bytes()).expect("it is read");
}

fn hear(client: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    client.read_line(&mut line).expect("an answer");
    line.trim_end().to_owned()
}

/// Waits until the server has seen all that has been sent to it so far, by whomever.
fn wait_for_its_turn(server: &Server) {
    let mut client = server.client();
    ask(&mut client, "ready?\n");
    assert_eq!(hear(&mut BufReader::new(client)), "ready?");
}

/// A number in the last line on stdout.
fn jobs(ended: &Ended, key: &str) -> u64 {
    let last = ended.stdout.last().expect("something was said");
    let fields = last.strip_prefix("jobs: ").expect(last);
    let field = fields
        .split(' ')
        .find_map(|field| field.strip_prefix(&format!("{key}=")));
    field.expect(last).parse().expect(last)
}

/// Ends it with a signal; the jobs that were done, and those that were refused.
fn stop(server: Server) -> (u64, u64) {
    server.process.signal("-INT");
    let ended = server.end();
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    (jobs(&ended, "done"), jobs(&ended, "refused"))
}

#[test]
fn answers_come_in_the_order_of_the_lines_whatever_ends_first() {
    let server = Server::start("primes", &["--threads", "3"]);
    let mut client = server.client();
    // The second is done long before the first.
    ask(&mut client, "100000\n10\nhello\n5000001\n-1\n2\n");
    client.shutdown(Shutdown::Write).expect("connected");
    let mut all = String::new();
    client.read_to_string(&mut all).expect("to the end");
    let expected = "100000: 9592 primes\n10: 4 primes\nhello\nerror: 5000001 is more than 5000000\n\
                    -1\n2: 1 primes\n";
    assert_eq!(all, expected);
    assert_eq!(stop(server), (3, 0));
}

#[test]
fn others_are_echoed_while_it_counts() {
    let server = Server::start("primes", &["--threads", "1"]);
    let mut slow = server.client();
    ask(&mut slow, SLOW);
    wait_for_its_turn(&server);
    wait_for_its_turn(&server);
    slow.set_nonblocking(true).expect("a socket");
    let answer = slow.read(&mut [0]).expect_err("it takes seconds");
    assert_eq!(answer.kind(), ErrorKind::WouldBlock);
}

#[test]
fn what_there_is_no_room_for_is_answered_at_once_and_clearly() {
    let server = Server::start("primes", &["--threads", "1", "--queue", "1"]);
    let mut client = server.client();
    ask(&mut client, &"300000\n".repeat(16));
    client.shutdown(Shutdown::Write).expect("connected");
    let mut all = String::new();
    client.read_to_string(&mut all).expect("to the end");
    let lines: Vec<_> = all.lines().collect();
    assert_eq!(lines.len(), 16);
    assert_eq!(lines[0], "300000: 25997 primes");
    let busy = lines
        .iter()
        .filter(|line| line.starts_with("busy: 300000: "))
        .count();
    let done = lines.iter().filter(|line| **line == lines[0]).count();
    assert!(busy > 0 && busy + done == 16, "{all}");
    assert!(
        all.contains("queue of the worker threads is full; try again later"),
        "{all}"
    );
    assert_eq!(stop(server), (done as u64, busy as u64));
}

#[test]
fn a_client_that_waits_has_its_answer_before_the_server_ends() {
    let server = Server::start("primes", &["--threads", "1", "--drain", "20"]);
    let mut client = server.client();
    ask(&mut client, "300000\n");
    wait_for_its_turn(&server);
    server.process.signal("-INT");
    let mut all = String::new();
    client.read_to_string(&mut all).expect("a clean end");
    assert_eq!(all, "300000: 25997 primes\n");
    let ended = server.end();
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    assert_eq!((jobs(&ended, "done"), jobs(&ended, "left")), (1, 0));
}

#[test]
fn a_client_has_so_much_in_hand_and_no_more_and_a_thread_that_is_late_is_left() {
    let arguments = ["--threads", "1", "--drain", "0"];
    let server = Server::start("primes", &arguments);
    let mut client = server.client();
    ask(&mut client, &SLOW.repeat(40));
    wait_for_its_turn(&server);
    server.process.signal("-INT");
    let ended = server.end();
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    let (cancelled, left) = (jobs(&ended, "cancelled"), jobs(&ended, "left"));
    assert_eq!(
        (cancelled + left, jobs(&ended, "done")),
        (16, 0),
        "{:?}",
        ended.stdout
    );
}

#[test]
fn the_jobs_of_a_client_that_has_gone_are_cancelled() {
    let server = Server::start("primes", &["--threads", "1", "--drain", "0"]);
    let mut client = server.client();
    ask(&mut client, &SLOW.repeat(4));
    wait_for_its_turn(&server);
    let reset = Some(Duration::ZERO);
    socket2::SockRef::from(&client)
        .set_linger(reset)
        .expect("tcp");
    drop(client);
    // All that is left of it is the job that the thread is in: there is room for 64 others.
    wait_for_its_turn(&server);
    let mut other = server.client();
    ask(&mut other, "still here\n");
    assert_eq!(hear(&mut BufReader::new(other)), "still here");
    server.process.signal("-INT");
    let ended = server.end();
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    assert!(jobs(&ended, "cancelled") >= 3, "{:?}", ended.stdout);
    assert_eq!(jobs(&ended, "dropped"), 0);
}

#[test]
fn wrong_usage_is_answered_with_the_flag_and_what_would_be_right() {
    for (arguments, what) in [
        (["--threads", "0"], "--threads 0: expected at least 1"),
        (
            ["--queue", "x"],
            "--queue x: expected a whole number of at least 1",
        ),
        (["--what", "1"], "unknown option --what"),
    ] {
        let output = run("primes", &arguments);
        assert_eq!(output.status.code(), Some(2));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains(what), "{text}");
    }
    let output = run("primes", &["--threads", "9999"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("threads(9999): expected 1 to 4096"), "{text}");
}
