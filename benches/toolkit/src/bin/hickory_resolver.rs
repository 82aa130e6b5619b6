//! Names looked up by hickory-resolver, on tokio.

use std::cell::Cell;
use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{Resolver, TokioResolver};
use tokio::runtime;
use tokio::task::{JoinSet, LocalSet};

async fn hold(
    resolver: TokioResolver,
    names: u64,
    left: Rc<Cell<u64>>,
) -> Result<u64, Box<dyn Error>> {
    let mut found = 0;
    while left.get() > 0 {
        let number = left.get();
        left.set(number - 1);
        let addresses = resolver
            .lookup_ip(format!("n{}.test", number % names))
            .await?;
        if addresses.iter().next() != Some(Ipv4Addr::new(192, 0, 2, 1).into()) {
            return Err("another address".into());
        }
        found += 1;
    }
    Ok(found)
}

async fn work(
    count: u64,
    holders: usize,
    names: u64,
    server: SocketAddr,
) -> Result<u64, Box<dyn Error>> {
    let mut name_server = NameServerConfig::udp_and_tcp(server.ip());
    for connection in &mut name_server.connections {
        connection.port = server.port();
    }
    let config = ResolverConfig::from_name_servers(vec![name_server]);
    let mut options = ResolverOpts::default();
    options.ip_strategy = LookupIpStrategy::Ipv4Only;
    options.cache_size = 4096;
    options.case_randomization = true;
    let resolver = Resolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()?;
    let left = Rc::new(Cell::new(count));
    let mut tasks = JoinSet::new();
    for _ in 0..holders {
        tasks.spawn_local(hold(resolver.clone(), names, Rc::clone(&left)));
    }
    let mut found = 0;
    while let Some(outcome) = tasks.join_next().await {
        found += outcome??;
    }
    Ok(found)
}

fn run(count: u64, holders: usize, names: u64, server: SocketAddr) -> Result<u64, Box<dyn Error>> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, work(count, holders, names, server))
}

// The measuring frame.

use std::process::ExitCode;

use slabloop_toolkit_costs::frame;

fn main() -> ExitCode {
    frame::measure(|work| run(work.count, work.holders, work.shared as u64, work.server))
}
