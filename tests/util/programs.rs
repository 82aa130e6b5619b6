//! Running the example programs as their users do: started, spoken to over sockets, signalled, waited
//! for. Whatever a test started is ended with the value that stands for it.

#![allow(dead_code, unused_imports, reason = "each test file uses a part")]

#[path = "ports.rs"]
mod ports;
#[cfg(feature = "tunnel")]
#[path = "tunnel.rs"]
pub(crate) mod tunnel;

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

pub(crate) use ports::{closed_port, free_port};

/// Guards against a hang; nothing is measured with it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Where cargo has put an example: beside the directory of the test itself.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test is a program");
    let profile = test.parent().and_then(|deps| deps.parent());
    let path = profile.expect("target/PROFILE/deps").join("examples");
    let path = path.join(name);
    assert!(
        path.exists(),
        "{} is missing: `cargo build --examples` makes it, plain `cargo test` does too",
        path.display()
    );
    path
}

/// Runs an example that is expected to end by itself.
pub(crate) fn run(name: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(example(name));
    command.args(arguments).env_remove("RUST_LOG");
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut process = Running(child);
    process.wait();
    // What it had to say has fitted the pipes.
    let status = process.0.wait().expect("it is ours");
    Output {
        status,
        stdout: rest_of(stdout),
        stderr: rest_of(stderr),
    }
}

fn rest_of(pipe: Option<impl Read>) -> Vec<u8> {
    let mut rest = Vec::new();
    let mut pipe = pipe.expect("piped");
    pipe.read_to_end(&mut rest).expect("a pipe");
    rest
}

/// What a pipe says, line by line, whoever is listening when.
pub(crate) struct Lines {
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Lines {
    pub(crate) fn of(pipe: impl Read + Send + 'static) -> Lines {
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Lines {
            lines,
            seen: Vec::new(),
        }
    }

    #[track_caller]
    pub(crate) fn wait_for(&mut self, part: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(part) {
                        return line;
                    }
                }
                Err(_) => panic!("waited for {part:?}, got {:?}", self.seen),
            }
        }
    }

    pub(crate) fn skip_those_that_are_there(&mut self) {
        self.seen.extend(self.lines.try_iter());
    }

    /// All lines until the pipe is closed.
    pub(crate) fn all(&mut self) -> Vec<String> {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => return self.seen.clone(),
                Err(RecvTimeoutError::Timeout) => panic!("the pipe stays open: {:?}", self.seen),
            }
        }
    }
}

/// A child that is killed with its value.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.0.id().to_string();
        let kill = Command::new("kill").args([signal, &pid]).status();
        assert!(kill.expect("there is a kill").success());
    }

    /// Its exit code; `None` if a signal ended it.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().expect("it is ours") {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An example server that listens.
pub(crate) struct Server {
    pub(crate) process: Running,
    pub(crate) address: SocketAddr,
    stdout: Lines,
    stderr: Lines,
    /// The server speaks TLS, and its address is this one's.
    #[cfg(feature = "tunnel")]
    tunnel: Option<tunnel::Tunnel>,
}

/// What is left of a server that has ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: Vec<String>,
}

impl Server {
    /// Starts it on a free port.
    #[track_caller]
    pub(crate) fn start(name: &str, arguments: &[&str]) -> Server {
        let mut command = Command::new(example(name));
        command.args(["--listen", "127.0.0.1:0"]).args(arguments);
        Server::spawn(command)
    }

    #[track_caller]
    pub(crate) fn spawn(mut command: Command) -> Server {
        command.env_remove("RUST_LOG");
        Server::spawn_as_it_is(command)
    }

    /// With a filter for its log.
    #[track_caller]
    pub(crate) fn spawn_with_log(mut command: Command, filter: &str) -> Server {
        command.env("RUST_LOG", filter);
        Server::spawn_as_it_is(command)
    }

    #[track_caller]
    fn spawn_as_it_is(mut command: Command) -> Server {
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        #[cfg(feature = "tunnel")]
        command.args(tunnel::arguments());
        let mut child = command.spawn().expect("it starts");
        let stdout = child.stdout.take().expect("piped");
        let stderr = child.stderr.take().expect("piped");
        let mut server = Server {
            process: Running(child),
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            stdout: Lines::of(stdout),
            stderr: Lines::of(stderr),
            #[cfg(feature = "tunnel")]
            tunnel: None,
        };
        server.stdout.wait_for("");
        let first = &server.stdout.seen[0];
        let address = first.strip_prefix("listening on ").expect(first);
        server.address = address.parse().expect(first);
        #[cfg(feature = "tunnel")]
        {
            let tunnel = server.tunnel.insert(tunnel::Tunnel::to(server.address));
            server.address = tunnel.address;
        }
        server
    }

    /// Where it listens itself: behind the tunnel, if there is one.
    pub(crate) fn bare_address(&self) -> SocketAddr {
        #[cfg(feature = "tunnel")]
        if let Some(tunnel) = &self.tunnel {
            return tunnel.server;
        }
        self.address
    }

    pub(crate) fn port(&self) -> String {
        self.address.port().to_string()
    }

    /// A client whose reads and writes have a deadline.
    #[track_caller]
    pub(crate) fn client(&self) -> TcpStream {
        client(self.address)
    }

    #[track_caller]
    pub(crate) fn stdout_says(&mut self, part: &str) -> String {
        self.stdout.wait_for(part)
    }

    #[track_caller]
    pub(crate) fn stderr_says(&mut self, part: &str) -> String {
        self.stderr.wait_for(part)
    }

    /// What it has said until its end, and is not said again.
    #[track_caller]
    pub(crate) fn rest_of_stderr(&mut self) -> Vec<String> {
        self.stderr.all()
    }

    /// Waits until it has ended, and has its last words.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ended {
        Ended {
            code: self.process.wait(),
            stdout: self.stdout.all(),
            stderr: self.stderr.all(),
        }
    }

    /// Ends it with one signal, which is a success; its totals.
    #[track_caller]
    pub(crate) fn stop(self) -> Totals {
        self.process.signal("-INT");
        let ended = self.end();
        assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
        ended.totals()
    }
}

impl Ended {
    #[track_caller]
    pub(crate) fn totals(&self) -> Totals {
        let last = self.stdout.last().expect("something was said");
        let fields = last.strip_prefix("totals: ").expect(last);
        let fields = fields.split(' ').map(|field| {
            let (key, value) = field.split_once('=').expect(last);
            (key.to_owned(), value.parse().expect(last))
        });
        Totals(fields.collect())
    }
}

/// The last line on stdout.
#[derive(Debug)]
pub(crate) struct Totals(Vec<(String, u64)>);

impl Totals {
    #[track_caller]
    pub(crate) fn of(&self, key: &str) -> u64 {
        let found = self.0.iter().find(|(name, _)| name == key);
        found.unwrap_or_else(|| panic!("no {key} in {self:?}")).1
    }
}

/// A connection whose reads and writes have a deadline.
#[track_caller]
pub(crate) fn client(address: SocketAddr) -> TcpStream {
    with_deadline(TcpStream::connect(address).expect("it listens"))
}

pub(crate) fn with_deadline(stream: TcpStream) -> TcpStream {
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a positive time");
    stream
        .set_write_timeout(Some(PATIENCE))
        .expect("a positive time");
    stream
}

/// Waits for a program that does not say when it listens.
#[track_caller]
pub(crate) fn until_it_listens(address: SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "nobody listens on {address}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
