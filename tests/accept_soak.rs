//! Several processes listening on one port. For a quiet machine: `cargo test --test accept_soak --
//! --ignored`.
//!
//! Each process has a listener and a queue of its own, and the kernel spreads new connections over
//! them by a hash; what waits in the queue of one that ends is reset. A poller shared by several
//! processes is what this replaces: there one of them took nearly everything (nginx 96c342e56), and
//! all together accepted half as much (HAProxy d9e7e36c6).

mod util;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use slabloop::{Accepted, Context, Dispatcher, Reactor, SocketOptions};
use util::DEADLINE;

const PROCESSES: usize = 4;

/// Tells each connection which process it has reached.
struct Shard;

impl Dispatcher for Shard {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> std::io::Result<()> {
        let id = cx.add(accepted, util::Echo)?;
        if let Some(mut connection) = cx.at(id) {
            connection.send(&std::process::id().to_be_bytes())?;
        }
        Ok(())
    }
}

/// Not a test but the child's part in the one below.
#[test]
#[ignore = "a role for a child process"]
fn child_listens_on_a_shared_port() {
    let Ok(address) = std::env::var("SLABLOOP_SHARED_PORT") else {
        return;
    };
    let mut reactor = Reactor::new().unwrap();
    let mut options = SocketOptions::new();
    options.reuse_port(true);
    reactor.listen_with(address, &options, Shard).unwrap();
    println!("@@ listening");
    reactor.run().unwrap();
}

/// Killed when it goes out of scope.
struct Process(Child);

impl Process {
    fn start(address: SocketAddr) -> Process {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_listens_on_a_shared_port"])
            .args(["--ignored", "--nocapture"])
            .env("SLABLOOP_SHARED_PORT", address.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let process = Process(child);
        let ready = output.lines().map_while(Result::ok);
        assert!(
            ready.into_iter().any(|line| line.contains("@@ listening")),
            "the child listens"
        );
        process
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Connects and asks who answers; `None` if the connection was reset.
fn who_answers(address: SocketAddr) -> Option<(u32, TcpStream)> {
    let mut client = TcpStream::connect_timeout(&address, DEADLINE).ok()?;
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut id = [0; 4];
    client.read_exact(&mut id).ok()?;
    Some((u32::from_be_bytes(id), client))
}

#[test]
#[ignore = "a soak test: four processes, thousands of connections"]
fn listeners_that_share_a_port_share_its_connections_and_survive_each_other() {
    // Bound and not listened on: it keeps the port for the processes that share it.
    let keeper = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    keeper.set_reuse_address(true).unwrap();
    keeper.set_reuse_port(true).unwrap();
    keeper
        .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    let address = keeper.local_addr().unwrap().as_socket().unwrap();
    let mut processes: Vec<Process> = (0..PROCESSES).map(|_| Process::start(address)).collect();

    const CONNECTIONS: usize = 10_000;
    let mut shares: HashMap<u32, usize> = HashMap::new();
    for _ in 0..CONNECTIONS {
        let (who, client) = who_answers(address).expect("all are alive");
        *shares.entry(who).or_default() += 1;
        util::reset(client);
    }
    assert_eq!(shares.len(), PROCESSES, "{shares:?}");
    for (process, share) in &shares {
        let percent = share * 100 / CONNECTIONS;
        assert!(
            (15..=35).contains(&percent),
            "process {process} got {percent} %"
        );
    }

    // One is killed while connections keep coming: at the worst those in its own queue are reset, and
    // nobody hangs.
    let killed = processes.remove(0);
    let gone = killed.0.id();
    let connecting = std::thread::spawn(move || {
        let (mut resets, mut slowest) = (0, Duration::ZERO);
        let mut answered = Vec::new();
        for _ in 0..4000 {
            let started = Instant::now();
            match who_answers(address) {
                Some((who, client)) => {
                    answered.push(who);
                    util::reset(client);
                }
                None => resets += 1,
            }
            slowest = slowest.max(started.elapsed());
        }
        (answered, resets, slowest)
    });
    std::thread::sleep(Duration::from_millis(50));
    drop(killed);
    let (answered, resets, slowest) = connecting.join().unwrap();
    println!("{resets} connections were reset; the slowest took {slowest:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    assert_eq!(answered.len() + resets, 4000);
    assert_ne!(*answered.last().unwrap(), gone);
    // The others take its share from here on, without a loss.
    for _ in 0..1000 {
        let (who, mut client) = who_answers(address).expect("three are alive");
        assert_ne!(who, gone);
        client.write_all(b"echo").unwrap();
        let mut back = [0; 4];
        client.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"echo");
        util::reset(client);
    }
}
