//! The servers that the programs ask.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use slabloop_peers::cli::{Doing, Result};
use slabloop_peers::compare::peers::{Program, bin_dir};
use slabloop_peers::compare::process::{self, Core, Server};
use slabloop_peers::compare::temp::TempDir;

/// What kind of server an experiment needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// None.
    None,
    /// One that echoes lines.
    Echo,
    /// A name server that knows all names below `test`.
    Names,
}

/// Where the name server is: on the one port that the C library asks, and away from others of this machine.
const NAME_SERVER: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 99)),
    53,
);

/// Before a program that asks by the C library: it gets a `resolv.conf` of its own. This wants to be root.
pub const OWN_RESOLV_CONF: &[&str] = &[
    "unshare",
    "-m",
    "sh",
    "-c",
    "mount -t tmpfs none /mnt && echo nameserver 127.0.0.99 >/mnt/resolv.conf && \
     mount --bind /mnt/resolv.conf /etc/resolv.conf && exec \"$@\"",
    "sh",
];

/// A server that runs, and what it reads.
#[derive(Debug)]
pub struct Running {
    server: Server,
    _folder: Option<TempDir>,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }
}

impl Backend {
    /// Starts it, on the client's processor.
    ///
    /// # Errors
    ///
    /// One that does not start.
    pub fn start(self) -> Result<Option<Running>> {
        match self {
            Backend::None => Ok(None),
            Backend::Echo => start_echo().map(Some),
            Backend::Names => start_names().map(Some),
        }
    }
}

fn start_echo() -> Result<Running> {
    let program = Program {
        words: vec![bin_dir()?.join("epoll_echo").into()],
        shown: "epoll_echo".to_owned(),
    };
    let arguments = ["--listen", "127.0.0.1:0"];
    Ok(Running {
        server: Server::start(Core::Client, &[], &program, &arguments)?,
        _folder: None,
    })
}

fn start_names() -> Result<Running> {
    let folder = TempDir::new()?;
    let file = folder.path().join("dnsmasq.conf");
    let text = format!(
        "port={}\nlisten-address={}\nbind-interfaces\nno-resolv\nno-hosts\nuser=\ngroup=\npid-file=\n\
         local=/test/\naddress=/test/192.0.2.1\nlocal-ttl=3600\n",
        NAME_SERVER.port(),
        NAME_SERVER.ip()
    );
    fs::write(&file, text).doing(file.display())?;
    let words = ["dnsmasq", "--keep-in-foreground", "-C"].map(Into::into);
    let mut command: Command = process::command(Core::Client, &[], &words);
    command.arg(&file);
    Ok(Running {
        server: Server::start_silent(&mut command, "dnsmasq", NAME_SERVER)?,
        _folder: Some(folder),
    })
}
