//! Exercise 11: with 64 descriptors, 150 clients who come together are all served, one after the other.

#[cfg_attr(not(feature = "solution"), path = "start.rs")]
#[cfg_attr(feature = "solution", path = "solution.rs")]
mod code;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use code::{RETRY, Server};
use rustix::process::{Resource, Rlimit, setrlimit};

/// The server can hold some sixty; the others fit into the queue of its listener, which is 128 long.
const CLIENTS: usize = 150;
/// Whoever has no answer by then gets none.
const PATIENCE: Duration = Duration::from_secs(10);

/// Is set in the process that is the server.
const IS_SERVER: &str = "EXERCISE_11_SERVER";

/// The process that this test starts, a second time, as the server. It has a limit of its own: a limit can be
/// lowered by everybody.
#[test]
fn as_the_server() {
    if std::env::var_os(IS_SERVER).is_none() {
        return;
    }
    let limit = Some(64);
    let limit = Rlimit {
        current: limit,
        maximum: limit,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    let listener = listener();
    eprintln!("listening on {}", listener.local_addr().unwrap());
    let mut server = Server::new(mio::net::TcpListener::from_std(listener)).unwrap();
    let turns: &'static AtomicU64 = Box::leak(Box::default());
    std::thread::spawn(move || {
        // Each line that comes in asks how many turns there were; the end of the input ends the server.
        for _ in std::io::stdin().lines() {
            eprintln!("turns {}", turns.load(Ordering::Relaxed));
        }
        std::process::exit(0);
    });
    loop {
        server.turn().unwrap();
        turns.fetch_add(1, Ordering::Relaxed);
    }
}

fn listener() -> TcpListener {
    let listener = mio::net::TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    listener.into()
}

/// The server; it ends with this.
struct Process {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStderr>>,
}

impl Process {
    fn start() -> Process {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "as_the_server", "--nocapture"])
            .env(IS_SERVER, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Process { child, lines }
    }

    /// What follows `what` in the next line that begins so.
    fn line(&mut self, what: &str) -> String {
        loop {
            let line = self.lines.next().expect("the server has ended").unwrap();
            if let Some(rest) = line.strip_prefix(what) {
                return rest.trim().to_owned();
            }
        }
    }

    fn address(&mut self) -> SocketAddr {
        self.line("listening on ").parse().unwrap()
    }

    fn turns(&mut self) -> u64 {
        let stdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "turns?").unwrap();
        self.line("turns ").parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

/// Whether the server answers.
fn is_answered(client: &mut TcpStream) -> bool {
    client.write_all(b"?").unwrap();
    let mut answer = [0];
    client.read_exact(&mut answer).is_ok() && answer == *b"?"
}

#[test]
fn all_are_served_in_the_end() {
    let mut server = Process::start();
    let address = server.address();
    let clients: Vec<TcpStream> = (0..CLIENTS).map(|_| connect(address)).collect();
    for (number, mut client) in clients.into_iter().enumerate() {
        assert!(
            is_answered(&mut client),
            "client {} of {CLIENTS} was not answered, though {number} have left",
            number + 1
        );
    }
    assert!(
        is_answered(&mut connect(address)),
        "and one who comes later"
    );
}

#[test]
fn a_server_without_descriptors_does_not_spin() {
    let mut server = Process::start();
    let address = server.address();
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| connect(address)).collect();
    assert!(is_answered(&mut clients[0]));
    let before = server.turns();
    // Nobody leaves and nobody comes, for the time of ten retries.
    std::thread::sleep(10 * RETRY);
    let turns = server.turns() - before;
    assert!(turns <= 500, "{turns} turns in which nothing happened");
}

#[test]
fn descriptors_that_something_else_gives_back_are_used() {
    let mut server = Process::start();
    let address = server.address();
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| connect(address)).collect();
    assert!(is_answered(&mut clients[0]));
    // All at once, so that many are closed in one turn.
    let mut rest = clients.split_off(40);
    drop(clients);
    assert!(is_answered(&mut rest[50]), "40 have left");
}
