//! Who takes part, and how they are started.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use slabloop_peers::cli::{Doing, Error, Result};
use slabloop_peers::compare::nginx;
use slabloop_peers::compare::peers::{self, Program};
use slabloop_peers::compare::process::{self, Core, Server};
use slabloop_peers::compare::rounds::Participant;

/// What takes part in one table; the first of each kind is what the others are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// `examples/echo_server.rs`
    Slabloop,
    /// The same without TLS.
    Plain,
    /// mio and rustls, with nothing in between.
    Mio,
    /// tokio-rustls, with the buffer of the first examples.
    Tokio,
    /// tokio-rustls, with a buffer for a whole record.
    TokioLarge,
    /// `examples/proxy.rs`, TLS on the side of the clients.
    Proxy,
    /// nginx, the same.
    Nginx,
    /// HAProxy, the same.
    HaProxy,
}

/// Servers that echo themselves.
pub const ECHOES: &[Who] = &[
    Who::Slabloop,
    Who::Plain,
    Who::Mio,
    Who::Tokio,
    Who::TokioLarge,
];

/// Those that pass on what they decrypt, to an echo server without TLS.
pub const PROXIES: &[Who] = &[Who::Proxy, Who::Nginx, Who::HaProxy];

impl Participant for Who {
    fn name(&self) -> &'static str {
        match self {
            Who::Slabloop => "slabloop",
            Who::Plain => "slabloop without TLS",
            Who::Mio => "mio and rustls, bare",
            Who::Tokio => "tokio-rustls, 4 KiB",
            Who::TokioLarge => "tokio-rustls, 16 KiB",
            Who::Proxy => "slabloop's proxy",
            Who::Nginx => "nginx, proxy",
            Who::HaProxy => "HAProxy, proxy",
        }
    }
}

/// A server, and what it needs behind it.
#[derive(Debug)]
pub struct Running {
    /// What is measured.
    pub server: Server,
    /// Ended after it.
    _upstream: Option<Server>,
}

impl Who {
    /// Starts it, with the certificate that is in the folder.
    ///
    /// # Errors
    ///
    /// A program that is missing or does not start.
    pub fn start(self, folder: &Path) -> Result<Running> {
        let upstream = match self {
            Who::Proxy | Who::Nginx | Who::HaProxy => {
                let listen = ["--listen", "127.0.0.1:0"];
                Some(start_own(Core::Client, "tls_slabloop_echo", &listen)?)
            }
            _ => None,
        };
        let to = upstream.as_ref().map(|upstream| upstream.address);
        let server = self.start_before(folder, to)?;
        Ok(Running {
            server,
            _upstream: upstream,
        })
    }

    fn start_before(self, folder: &Path, upstream: Option<SocketAddr>) -> Result<Server> {
        let (cert, key) = (file(folder, "cert.pem")?, file(folder, "key.pem")?);
        let tls = ["--tls-cert", &cert, "--tls-key", &key];
        let listen = ["--listen", "127.0.0.1:0"];
        let to = upstream.map(|address| address.to_string());
        let to = to.unwrap_or_default();
        let start = |name, words: &[&[&str]]| start_own(Core::Server, name, &words.concat());
        match self {
            Who::Slabloop => start("tls_slabloop_echo", &[&listen, &tls]),
            Who::Plain => start("tls_slabloop_echo", &[&listen]),
            Who::Mio => start("tls_mio_echo", &[&tls]),
            Who::Tokio => start("tls_tokio_echo", &[&tls, &["--buffer", "4096"]]),
            Who::TokioLarge => start("tls_tokio_echo", &[&tls, &["--buffer", "16384"]]),
            Who::Proxy => start("tls_slabloop_proxy", &[&listen, &["--upstream", &to], &tls]),
            Who::Nginx => start_nginx(folder, &to),
            Who::HaProxy => start_haproxy(folder, &to),
        }
    }
}

fn file(folder: &Path, name: &str) -> Result<String> {
    let path = folder.join(name).into_os_string().into_string();
    path.map_err(|_| Error::Failed("the temporary folder's name is no text".to_owned()))
}

/// A program that was built beside this one.
fn start_own(core: Core, name: &str, arguments: &[&str]) -> Result<Server> {
    let program = Program {
        words: vec![peers::bin_dir()?.join(name).into()],
        shown: name.to_owned(),
    };
    Server::start(core, &[], &program, arguments)
}

fn start_nginx(folder: &Path, upstream: &str) -> Result<Server> {
    let address = process::free_address()?;
    // Sessions are in tickets, which is the default.
    let body = format!(
        "stream {{\n  server {{\n    listen {address} ssl backlog=4096;\n    \
         ssl_certificate cert.pem;\n    ssl_certificate_key key.pem;\n    \
         ssl_protocols TLSv1.2 TLSv1.3;\n    proxy_pass {upstream};\n  }}\n}}\n"
    );
    nginx::start(folder, &body, address)
}

fn start_haproxy(folder: &Path, upstream: &str) -> Result<Server> {
    let address = process::free_address()?;
    let (config, both) = (folder.join("haproxy.cfg"), file(folder, "both.pem")?);
    let text = format!(
        "global\n  nbthread 1\n  maxconn 9000\n\
         defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 120s\n  timeout server 120s\n  \
         maxconn 9000\n  backlog 4096\n\
         listen relay\n  bind {address} ssl crt {both}\n  server echo {upstream}\n"
    );
    fs::write(&config, text).doing("writing HAProxy's configuration")?;
    let words = [
        "haproxy".into(),
        "-db".into(),
        "-f".into(),
        config.into_os_string(),
    ];
    let mut command = process::command(Core::Server, &[], &words);
    Server::start_silent(&mut command, "haproxy", address)
}
