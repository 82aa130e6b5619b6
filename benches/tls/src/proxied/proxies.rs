//! Which proxies take part, and how they are started.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use slabloop_peers::cli::{Doing, Result};
use slabloop_peers::compare::nginx;
use slabloop_peers::compare::peers::{self, Program};
use slabloop_peers::compare::process::{self, Core, Server};
use slabloop_peers::compare::rounds::Participant;

/// A proxy, without a log and without a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    /// `examples/http_proxy` as it comes, but for rates.
    Slabloop,
    /// As a reverse proxy for the one server, with a pool: it has none as a forward proxy.
    Nginx,
    /// As one process.
    Squid,
}

impl Participant for Via {
    fn name(&self) -> &'static str {
        match self {
            Via::Slabloop => "slabloop",
            Via::Nginx => "nginx, reverse",
            Via::Squid => "Squid",
        }
    }
}

impl Via {
    pub(super) const ALL: [Via; 3] = [Via::Slabloop, Via::Nginx, Via::Squid];

    pub(super) fn is_here(self) -> bool {
        match self {
            Via::Slabloop => true,
            Via::Nginx => process::has("nginx"),
            Via::Squid => process::has("squid"),
        }
    }

    /// Starts it, for clients that ask for this server.
    ///
    /// # Errors
    ///
    /// A program that does not start.
    pub(super) fn start(self, folder: &Path, origin: SocketAddr) -> Result<Server> {
        match self {
            Via::Slabloop => start_slabloop(origin),
            Via::Nginx => start_nginx(folder, origin),
            Via::Squid => start_squid(folder),
        }
    }
}

fn start_slabloop(origin: SocketAddr) -> Result<Server> {
    let name = "http_slabloop_proxy";
    let program = Program {
        words: vec![peers::bin_dir()?.join(name).into_os_string()],
        shown: name.to_owned(),
    };
    let origin = origin.to_string();
    let no_limits = ["--rate", "0", "--rate-all", "0", "--max-per-peer", "10000"];
    let words = ["--listen", "127.0.0.1:0", "--allow", &origin];
    Server::start(
        Core::Server,
        &[],
        &program,
        &[&words[..], &no_limits].concat(),
    )
}

fn start_nginx(folder: &Path, origin: SocketAddr) -> Result<Server> {
    let address = process::free_address()?;
    let body = format!(
        "http {{\n  access_log off;\n  keepalive_requests 1000000000;\n\
         upstream origin {{ server {origin}; keepalive 64; keepalive_requests 1000000000; }}\n\
         server {{\n    listen {address} backlog=4096;\n\
         location / {{ proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}\n  }}\n}}\n"
    );
    nginx::start(folder, &body, address)
}

fn start_squid(folder: &Path) -> Result<Server> {
    let address = process::free_address()?;
    let config = format!(
        "http_port {address}\nhttp_access allow all\ncache deny all\naccess_log none\n\
         cache_log /dev/null\ncache_store_log none\npid_filename none\ncoredump_dir {}\n\
         visible_hostname squid\nshutdown_lifetime 0 seconds\nmax_filedescriptors 4096\n\
         pinger_enable off\n",
        folder.display()
    );
    let file = folder.join("squid.conf");
    fs::write(&file, config).doing(file.display())?;
    let words = [
        "squid".into(),
        "-N".into(),
        "-f".into(),
        file.into_os_string(),
    ];
    let mut command = process::command(Core::Server, &[], &words);
    Server::start_silent(&mut command, "squid", address)
}
