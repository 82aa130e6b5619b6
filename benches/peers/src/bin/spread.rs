//! How evenly the kernel spreads connections over listeners that share a port, before and after one of them closes;
//! and what becomes of connections that wait in the queue of a listener that closes.
//!
//! ```text
//! target/bench-peers/spread
//! ```
//!
//! All in one thread: reactors that are turned by hand, and clients that end as soon as they are counted, so that
//! 10,000 need no 20,000 descriptors. The kernel chooses by a hash with a secret of its own, so the counts
//! differ from run to run.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use slabloop::kit::group::SharedPort;
use slabloop::{Accepted, Context, Dispatcher, Reactor};
use slabloop_peers::cli;

/// Clients that are open at once.
const BATCH: usize = 500;

/// Counts, and closes.
struct Counting;

impl Dispatcher for Counting {
    fn handle_accept(&mut self, _: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        drop(accepted);
        Ok(())
    }
}

fn main() -> ExitCode {
    cli::run(|| {
        for listeners in [2, 4] {
            for connections in [1_000, 10_000] {
                spread(listeners, connections)?;
            }
        }
        for listeners in [2, 4] {
            close_with_a_queue(listeners)?;
        }
        Ok(())
    })
}

fn reactors(count: usize) -> io::Result<(Vec<Reactor>, SocketAddr)> {
    let port = SharedPort::new("127.0.0.1:0")?;
    let reactors = (0..count).map(|_| {
        let mut reactor = Reactor::new()?;
        port.listen(&mut reactor, Counting)?;
        Ok(reactor)
    });
    let reactors = reactors.collect::<io::Result<_>>()?;
    let address = port.local_addr();
    Ok((reactors, address.ok_or(io::ErrorKind::AddrNotAvailable)?))
}

/// How many each accepts of so many connections.
fn count(
    reactors: &mut [Reactor],
    address: SocketAddr,
    connections: usize,
) -> io::Result<Vec<u64>> {
    let before: Vec<_> = reactors.iter().map(|one| one.counters().accepted).collect();
    let accepted = |reactors: &[Reactor]| -> Vec<u64> {
        let now = reactors.iter().map(|one| one.counters().accepted);
        now.zip(&before).map(|(now, before)| now - before).collect()
    };
    let mut done = 0;
    while done < connections {
        let batch = BATCH.min(connections - done);
        let clients: io::Result<Vec<_>> = (0..batch).map(|_| TcpStream::connect(address)).collect();
        let clients = clients?;
        done += batch;
        while accepted(reactors).iter().sum::<u64>() < done as u64 {
            for reactor in reactors.iter_mut() {
                reactor.turn(Duration::ZERO)?;
            }
        }
        drop(clients);
    }
    Ok(accepted(reactors))
}

fn spread(listeners: usize, connections: usize) -> io::Result<()> {
    let (mut reactors, address) = reactors(listeners)?;
    let all = count(&mut reactors, address, connections)?;
    println!(
        "{connections:6} connections, {listeners} listeners: {}",
        shares(&all)
    );
    reactors.pop();
    let rest = count(&mut reactors, address, connections)?;
    println!("{:>26}, one closed: {}", "", shares(&rest));
    Ok(())
}

fn shares(counts: &[u64]) -> String {
    let mean = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
    let most = counts.iter().max().copied().unwrap_or_default() as f64;
    format!(
        "{counts:?}, the largest {:+.1} % above the mean",
        (most / mean - 1.0) * 100.0
    )
}

/// Connections that nobody has accepted when their listener closes.
fn close_with_a_queue(listeners: usize) -> io::Result<()> {
    let (mut reactors, address) = reactors(listeners)?;
    let clients: io::Result<Vec<_>> = (0..BATCH).map(|_| TcpStream::connect(address)).collect();
    let mut clients = clients?;
    reactors.pop();
    let mut reset = 0;
    for client in &mut clients {
        client.set_nonblocking(true)?;
        let outcome = client.read(&mut [0; 1]);
        let is_reset = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionReset;
        reset += usize::from(outcome.as_ref().is_err_and(is_reset));
    }
    let sysctl = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_migrate_req");
    let sysctl = sysctl.unwrap_or_else(|_| "unknown".to_owned());
    println!(
        "{BATCH} connections wait, one of {listeners} listeners closes: {reset} are reset (tcp_migrate_req: {})",
        sysctl.trim()
    );
    Ok(())
}
