//! Who takes part, and how they are started.

use std::path::{Path, PathBuf};

use slabloop_peers::cli::Result;
use slabloop_peers::compare::nginx;
use slabloop_peers::compare::peers::{self, Program};
use slabloop_peers::compare::process::{self, Core, Server};
use slabloop_peers::compare::rounds::Participant;

/// A server in one configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// `examples/http_server` as it comes, but for the number of requests.
    Slabloop,
    /// Without a root.
    SlabloopPage,
    /// With files of up to 128 KiB in memory.
    SlabloopMemory,
    /// Without a cache, opening by threads.
    SlabloopThreads,
    /// Without a cache, opening on the loop.
    SlabloopLoop,
    /// With TLS.
    SlabloopTls,
    /// With an access log, to `/dev/null`.
    SlabloopLog,
    /// As Debian configures it (`sendfile on; tcp_nopush on;`), but for the log. It opens each file for each request.
    Nginx,
    /// With `open_file_cache`.
    NginxCache,
    /// And without `tcp_nopush`.
    NginxNoPush,
    /// With `open_file_cache`, and an access log to `/dev/null`.
    NginxLog,
    /// With the answer in its configuration.
    NginxPage,
    /// With TLS, and `open_file_cache`.
    NginxTls,
}

impl Participant for Who {
    fn name(&self) -> &'static str {
        match self {
            Who::Slabloop | Who::SlabloopPage | Who::SlabloopTls => "slabloop",
            Who::SlabloopMemory => "slabloop, in memory",
            Who::SlabloopThreads => "slabloop, no cache, threads",
            Who::SlabloopLoop => "slabloop, no cache, loop",
            Who::SlabloopLog => "slabloop, access log",
            Who::Nginx | Who::NginxPage => "nginx",
            Who::NginxNoPush => "nginx, cache, no tcp_nopush",
            Who::NginxLog => "nginx, cache, access log",
            Who::NginxCache | Who::NginxTls => "nginx, cache",
        }
    }
}

/// The folder that is served.
#[must_use]
pub fn root(folder: &Path) -> PathBuf {
    folder.join("root")
}

impl Who {
    /// Whether it is nginx.
    #[must_use]
    pub fn is_nginx(self) -> bool {
        matches!(
            self,
            Who::Nginx
                | Who::NginxCache
                | Who::NginxNoPush
                | Who::NginxLog
                | Who::NginxPage
                | Who::NginxTls
        )
    }

    /// Starts it, with the files that are in the folder.
    ///
    /// # Errors
    ///
    /// A program that is missing or does not start.
    pub fn start(self, folder: &Path) -> Result<Server> {
        if self.is_nginx() {
            return self.start_nginx(folder);
        }
        let path = |name: &str| folder.join(name).display().to_string();
        let (root, cert, key) = (path("root"), path("cert.pem"), path("key.pem"));
        let mut words = vec!["--max-requests", "0"];
        if self != Who::SlabloopPage {
            words.extend(["--root", &root]);
        }
        match self {
            Who::SlabloopMemory => words.extend(["--small-file", "131072"]),
            Who::SlabloopThreads => words.extend(["--cache-files", "0"]),
            Who::SlabloopLoop => words.extend(["--cache-files", "0", "--file-threads", "0"]),
            Who::SlabloopTls => words.extend(["--tls-cert", &cert, "--tls-key", &key]),
            _ => {}
        }
        if self == Who::SlabloopLog {
            // Stdout is the log's, and cannot say which port it was.
            let program = slabloop()?;
            let address = process::free_address()?;
            let mut command = process::command(Core::Server, &[], &program.words);
            let listen = ["--access-log".to_owned(), format!("--listen={address}")];
            let command = command.args(words).args(listen);
            return Server::start_silent(command, &program.shown, address);
        }
        start_slabloop(Core::Server, &words)
    }

    fn start_nginx(self, folder: &Path) -> Result<Server> {
        let address = process::free_address()?;
        let tls = if self == Who::NginxTls { " ssl" } else { "" };
        let certificate = match self {
            Who::NginxTls => format!(
                "    ssl_certificate {0}/cert.pem;\n    ssl_certificate_key {0}/key.pem;\n    ssl_protocols TLSv1.3;\n",
                folder.display()
            ),
            _ => String::new(),
        };
        let cache = match self {
            Who::NginxCache | Who::NginxNoPush | Who::NginxLog | Who::NginxTls => {
                "  open_file_cache max=1024;\n  open_file_cache_valid 1s;\n"
            }
            _ => "",
        };
        let push = match self {
            Who::NginxNoPush => "",
            _ => "  tcp_nopush on;\n",
        };
        let log = match self {
            Who::NginxLog => "/dev/null combined buffer=32k flush=1s",
            _ => "off",
        };
        let location = match self {
            Who::NginxPage => "return 200 \"hello world\\n\";".to_owned(),
            _ => format!("root {};", root(folder).display()),
        };
        let body = format!(
            "http {{\n  access_log {log};\n  sendfile on;\n{push}  keepalive_requests 1000000000;\n{cache}  \
             server {{\n    listen {address}{tls} backlog=4096;\n{certificate}    location / {{ {location} }}\n  }}\n}}\n"
        );
        nginx::start(folder, &body, address)
    }
}

fn slabloop() -> Result<Program> {
    let name = "http_slabloop";
    Ok(Program {
        words: vec![peers::bin_dir()?.join(name).into_os_string()],
        shown: name.to_owned(),
    })
}

fn start_slabloop(core: Core, words: &[&str]) -> Result<Server> {
    let words: Vec<_> = [words, &["--listen", "127.0.0.1:0"]].concat();
    Server::start(core, &[], &slabloop()?, &words)
}

/// The server for proxies to connect to: on the client's processor, for the measured one is the proxy's.
///
/// # Errors
///
/// If it is missing or does not start.
pub fn behind(folder: &Path) -> Result<Server> {
    let root = root(folder).display().to_string();
    start_slabloop(Core::Client, &["--max-requests", "0", "--root", &root])
}
