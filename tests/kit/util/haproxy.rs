//! HAProxy as it is installed, for tests of what is behind it.

#![allow(dead_code, reason = "each test file uses a part")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::programs::{PATIENCE, Running, free_port};

/// A HAProxy with one frontend, that is ended with its value.
pub(crate) struct Haproxy {
    folder: PathBuf,
    pub(crate) address: SocketAddr,
    process: Running,
    /// Predecessors, which go on until their clients are gone.
    old: Vec<Running>,
}

impl Haproxy {
    /// In front of `servers`, by turns, each of which gets a PROXY header and is checked. `mode` is `tcp` or `http`, `extra` are
    /// further lines of the backend. None, and a word about it, if there is no HAProxy.
    #[track_caller]
    pub(crate) fn start(mode: &str, servers: &[SocketAddr], extra: &str) -> Option<Haproxy> {
        if Command::new("haproxy").arg("-v").output().is_err() {
            eprintln!("skipped: there is no haproxy");
            return None;
        }
        let port = free_port();
        // Where paths are short enough for a socket.
        let name = format!("slabloop-haproxy-{}-{port}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let config = config(&folder, mode, address, servers, extra);
        fs::write(folder.join("haproxy.cfg"), config).unwrap();
        let process = run(&folder, &[]);
        let mut haproxy = Haproxy {
            folder,
            address,
            process,
            old: Vec::new(),
        };
        haproxy.wait_until_it_listens();
        Some(haproxy)
    }

    fn wait_until_it_listens(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).is_err() {
            let ended = self.process.0.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "haproxy does not listen"
            );
            // Nothing tells when it does.
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// A new process takes over, which gets the listener from the old one.
    #[track_caller]
    pub(crate) fn reload(&mut self) {
        let pid = self.process.0.id().to_string();
        let socket = self.folder.join("admin").display().to_string();
        let new = run(&self.folder, &["-x", &socket, "-sf", &pid]);
        let old = std::mem::replace(&mut self.process, new);
        self.old.push(old);
    }

    /// The process that was reloaded last has ended, which it does when the new one listens and its clients are gone.
    #[track_caller]
    pub(crate) fn old_has_ended(&mut self) {
        let mut old = self.old.pop().expect("it was reloaded");
        old.wait();
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[track_caller]
fn run(folder: &Path, arguments: &[&str]) -> Running {
    let child = Command::new("haproxy")
        .arg("-db")
        .arg("-f")
        .arg(folder.join("haproxy.cfg"))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.expect("it is there");
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    // Its log shows with a test that fails.
    thread::spawn(move || {
        let mut line = String::new();
        while stderr.read_line(&mut line).is_ok_and(|count| count > 0) {
            eprint!("haproxy: {line}");
            line.clear();
        }
    });
    Running(child)
}

/// As `docs/behind-a-load-balancer.md` has it, on ports of the test's.
fn config(
    folder: &Path,
    mode: &str,
    address: SocketAddr,
    servers: &[SocketAddr],
    extra: &str,
) -> String {
    let servers: String = servers
        .iter()
        .enumerate()
        .map(|(number, server)| format!("    server s{number} {server}\n"))
        .collect();
    let folder = folder.display();
    format!(
        "global
    maxconn 4000
    stats socket {folder}/admin level admin expose-fd listeners
defaults
    mode {mode}
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend clients
    bind {address}
    default_backend servers
backend servers
    balance roundrobin
    option redispatch 1
    retries 3
    default-server send-proxy-v2 check inter 200ms fall 2 rise 1
{extra}{servers}"
    )
}
