//! The proxy, beside the two programs that the world uses for it.
//!
//! The upstream is the raw-epoll echo server, on the client's processor, so that the proxy has one
//! to itself. HAProxy and nginx run as one thread in one process, configured for nothing but this,
//! from files in a folder of their own.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::nginx;
use super::options::{Experiment, Options};
use super::peers::{self, Job, Peer, Program};
use super::plot::Plot;
use super::process::{self, Core, Server};
use super::report::Section;
use super::rounds::{Participant, in_turn, median};
use super::table::{Table, cell};
use super::temp::TempDir;
use crate::cli::{Doing, Error, Result};

/// Who relays.
#[derive(Debug)]
enum Relaying<'a> {
    Peer(&'a Peer),
    HaProxy,
    Nginx,
}

impl Participant for Relaying<'_> {
    fn name(&self) -> &'static str {
        match self {
            Relaying::Peer(peer) => peer.name,
            Relaying::HaProxy => "HAProxy",
            Relaying::Nginx => "nginx stream",
        }
    }
}

/// Runs every proxy at every size.
#[must_use]
pub fn measure(options: &Options, all: &[Peer]) -> Section {
    let scale = options.scale;
    let mut notes = Vec::new();
    let mut proxies: Vec<_> = peers::with_job(all, Job::Proxy)
        .into_iter()
        .map(Relaying::Peer)
        .collect();
    for (program, proxy) in [("haproxy", Relaying::HaProxy), ("nginx", Relaying::Nginx)] {
        if process::has(program) {
            proxies.push(proxy);
        } else {
            notes.push(format!("{program} is not installed"));
        }
    }

    let by_size: Vec<_> = scale
        .proxy_messages
        .iter()
        .map(|&(size, messages)| {
            let what = format!("proxy, {}", bytes(size));
            in_turn(&what, scale.rounds, &proxies, &mut notes, |proxy| {
                run(proxy, options, size, messages)
            })
        })
        .collect();

    let mut table = Table::new(
        ["proxy".to_owned()]
            .into_iter()
            .chain(
                scale
                    .proxy_messages
                    .iter()
                    .map(|(size, _)| format!("µs per round trip, {}", bytes(*size))),
            )
            .collect(),
    );
    let mut rows = Vec::new();
    for (index, proxy) in proxies.iter().enumerate() {
        let medians: Vec<_> = by_size
            .iter()
            .map(|runs| median(&runs[index], |us| *us))
            .collect();
        table.row(
            proxy.name(),
            medians.iter().map(|us| cell(*us, 1)).collect(),
        );
        rows.push((proxy.name().to_owned(), medians));
    }
    Section {
        experiment: Experiment::Proxy,
        title: "Proxy: CPU time per round trip",
        intro: format!(
            "{} connections, {} messages in flight, through the proxy to an echo server and \
             back: CPU time of the proxy process for each round trip. HAProxy may use \
             `splice`, which moves bytes without copying them out of the kernel; no other proxy does. \
             Buffers are each program's own choice, and with large messages that choice is most \
             of the difference: 128 KiB for raw epoll, raw mio, calloop and slabloop, 8 KiB for \
             tokio, 16 KiB for HAProxy and nginx.",
            scale.proxy_connections, scale.proxy_in_flight
        ),
        commands: vec![
            "taskset -c 1 epoll_echo --listen 127.0.0.1:0".to_owned(),
            "taskset -c 0 PEER_proxy --listen 127.0.0.1:0 --upstream ADDR".to_owned(),
            "taskset -c 0 haproxy -db -f FILE".to_owned(),
            "taskset -c 0 nginx -p FOLDER -c FILE".to_owned(),
            format!(
                "taskset -c 1 load --connect ADDR --pid PID --connections {} --in-flight {} \
                 --size B --messages M",
                scale.proxy_connections, scale.proxy_in_flight
            ),
        ],
        table,
        plots: vec![Plot {
            name: "proxy".to_owned(),
            title: "Proxy: µs of CPU time per round trip (less is better)".to_owned(),
            series: scale
                .proxy_messages
                .iter()
                .map(|(size, _)| bytes(*size))
                .collect(),
            decimals: 0,
            rows,
        }],
        notes,
    }
}

fn run(proxy: &Relaying<'_>, options: &Options, size: usize, messages: u64) -> Result<f64> {
    let upstream = upstream()?;
    let to = upstream.address.to_string();
    let folder = TempDir::new()?;
    let server = match proxy {
        Relaying::Peer(peer) => {
            let Some(program) = peer.program(Job::Proxy) else {
                return Err(Error::Failed("no program for the proxy".to_owned()));
            };
            let arguments = ["--listen", "127.0.0.1:0", "--upstream", &to];
            Server::start(Core::Server, &[], program, &arguments)
        }
        Relaying::HaProxy => start_haproxy(folder.path(), upstream.address),
        Relaying::Nginx => {
            let address = process::free_address()?;
            let body = format!(
                "stream {{\n  server {{\n    listen {address} backlog=4096;\n    \
                 proxy_pass {to};\n  }}\n}}\n"
            );
            nginx::start(folder.path(), &body, address)
        }
    }?;
    let scale = options.scale;
    let figures = process::load(
        &server,
        &[
            "--connections",
            &scale.proxy_connections.to_string(),
            "--in-flight",
            &scale.proxy_in_flight.to_string(),
            "--size",
            &size.to_string(),
            "--messages",
            &messages.to_string(),
        ],
    )?;
    figures.value("server_us_per_message")
}

fn upstream() -> Result<Server> {
    let path = peers::bin_dir()?.join("epoll_echo");
    let program = Program {
        words: vec![path.into()],
        shown: "epoll_echo".to_owned(),
    };
    Server::start(Core::Client, &[], &program, &["--listen", "127.0.0.1:0"])
}

fn start_haproxy(folder: &Path, upstream: SocketAddr) -> Result<Server> {
    let address = process::free_address()?;
    let file = folder.join("haproxy.cfg");
    let text = format!(
        "global\n  nbthread 1\n  maxconn 4000\n\
         defaults\n  mode tcp\n  option splice-auto\n  timeout connect 5s\n  timeout client 60s\n  \
         timeout server 60s\n  maxconn 4000\n  backlog 4096\n\
         listen relay\n  bind {address}\n  server echo {upstream}\n"
    );
    fs::write(&file, text).doing("writing HAProxy's configuration")?;
    let words = [
        "haproxy".into(),
        "-db".into(),
        "-f".into(),
        file.into_os_string(),
    ];
    Server::start_silent(
        &mut process::command(Core::Server, &[], &words),
        "haproxy",
        address,
    )
}

fn bytes(size: usize) -> String {
    match size {
        0..1024 => format!("{size} B"),
        1024..1_048_576 => format!("{} KiB", size >> 10),
        _ => format!("{} MiB", size >> 20),
    }
}
