//! What a hit on a pool costs: an idle connection is leased and released, a million times, with and without the probe
//! (a system call that asks the kernel whether the connection is still there).
//!
//! ```text
//! cargo run --profile bench-peers -p slabloop-workloads --features pool --bin pool
//! valgrind target/bench-peers/pool 1000    # and 2000: allocations a lease, from the difference
//! ```
//!
//! The times are CPU time of this thread, which the kernel keeps (`/proc/thread-self/schedstat`); Linux only.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use slabloop::kit::pool::{Acquired, Lease, Pool, PoolOptions, Refused, Reusable, Seat};
use slabloop::{Context, Dispatcher, Id, Reactor};

struct Connection;

impl Dispatcher for Connection {}

impl Reusable for Connection {
    fn is_reusable(&mut self, _: &mut Context<'_>) -> bool {
        true
    }
}

type Connections = Pool<SocketAddr, Connection>;

struct Holder(Option<Lease<SocketAddr, Connection>>);

impl Holder {
    fn acquired(
        &mut self,
        _: &mut Context<'_>,
        outcome: Result<Lease<SocketAddr, Connection>, Refused>,
    ) -> io::Result<()> {
        self.0 = Some(outcome?);
        Ok(())
    }
}

impl Dispatcher for Holder {}

fn main() -> io::Result<()> {
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok());
    let count: u32 = count.unwrap_or(1_000_000);
    for round in 0..5 {
        for probe in [true, false] {
            let (cost, hits) = measure(count, probe)?;
            let nanos = cost.as_nanos() / u128::from(count);
            println!("round {round} probe={probe} hits={hits} cpu_ns_per_lease={nanos}");
        }
    }
    Ok(())
}

/// So many leases of one connection; the CPU time that they took, and how many were hits.
fn measure(count: u32, probe: bool) -> io::Result<(Duration, u32)> {
    let mut reactor = Reactor::new()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let mut options = PoolOptions::new();
    options.probe(probe);
    let pool = Connections::new(&options, |cx, address, seat: Seat<_, _>| {
        cx.connect(*address, seat.hold(Connection))
    })?;
    let pool = reactor.add_service(pool)?;
    let holder = reactor.add_service(Holder(None))?;
    // The first one has to be made.
    lease(&mut reactor, pool, holder, address, 1);
    while reactor
        .with(holder, |holder, _| holder.0.take())
        .flatten()
        .is_none()
    {
        reactor.turn(Duration::from_millis(1))?;
    }
    reactor.turn(Duration::ZERO)?;
    let before = cpu_time()?;
    let hits = lease(&mut reactor, pool, holder, address, count);
    Ok((cpu_time()?.saturating_sub(before), hits))
}

/// Asks for a connection so many times, and releases what it gets; how many that are.
fn lease(
    reactor: &mut Reactor,
    pool: Id<Connections>,
    holder: Id<Holder>,
    address: SocketAddr,
    count: u32,
) -> u32 {
    let hits = reactor.with(holder, |_, cx| {
        let mut hits = 0;
        for _ in 0..count {
            match Pool::acquire(cx, pool, &address, holder, Holder::acquired) {
                Acquired::Now(Ok(lease)) => {
                    lease.release(cx);
                    hits += 1;
                }
                _ => break,
            }
        }
        hits
    });
    hits.unwrap_or(0)
}

/// The CPU time of this thread.
fn cpu_time() -> io::Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Ok(Duration::from_nanos(nanos.unwrap_or(0)))
}
