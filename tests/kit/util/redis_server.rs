//! A redis-server of a test's own.

#![allow(dead_code, reason = "each test uses a part")]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::programs::{PATIENCE, Running, client, free_port};

/// A redis-server with a folder of its own, which survives it. What it has acknowledged is on disk.
pub(crate) struct Redis {
    folder: PathBuf,
    port: u16,
    arguments: Vec<String>,
    process: Option<Running>,
}

impl Redis {
    /// None, and a word about it, if there is no redis-server.
    pub(crate) fn start(name: &str) -> Option<Redis> {
        let mut redis = Redis::absent(name)?;
        redis.run();
        Some(redis)
    }

    /// One that wants this password.
    pub(crate) fn start_with_password(name: &str, password: &str) -> Option<Redis> {
        let mut redis = Redis::absent(name)?;
        redis.arguments = ["--requirepass", password].map(str::to_owned).into();
        redis.run();
        Some(redis)
    }

    /// Has someone who knows the password give orders, none of which is refused.
    #[track_caller]
    pub(crate) fn is_told(&self, password: &str, orders: &[&str]) {
        let mut stream = BufReader::new(client(self.address()));
        for order in [&[&*format!("AUTH {password}")], orders].concat() {
            let order = format!("{order}\r\n");
            let sent = stream.get_mut().write_all(order.as_bytes());
            sent.expect("it listens");
            let mut answer = String::new();
            stream.read_line(&mut answer).expect("an answer");
            assert!(answer.starts_with(['+', ':']), "{order}: {answer}");
        }
    }

    /// It has a port, and is not started.
    pub(crate) fn absent(name: &str) -> Option<Redis> {
        if Command::new("redis-server")
            .arg("--version")
            .output()
            .is_err()
        {
            eprintln!("skipped: there is no redis-server");
            return None;
        }
        let name = format!("slabloop-redis-{name}-{}", std::process::id());
        let redis = Redis {
            folder: std::env::temp_dir().join(name),
            port: free_port(),
            arguments: Vec::new(),
            process: None,
        };
        std::fs::create_dir_all(&redis.folder).expect("a folder");
        Some(redis)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Starts it and waits until it answers.
    pub(crate) fn run(&mut self) {
        let port = self.port.to_string();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port, "--bind", "127.0.0.1", "--save", ""]);
        command.args(["--appendonly", "yes", "--appendfsync", "always"]);
        command.arg("--dir").arg(&self.folder).args(&self.arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        self.process = Some(Running(command.spawn().expect("it starts")));
        let deadline = Instant::now() + PATIENCE;
        while !self.answers() {
            assert!(Instant::now() < deadline, "redis-server does not answer");
            // Nothing tells when it listens.
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn answers(&self) -> bool {
        let ask = || -> io::Result<bool> {
            let mut stream = TcpStream::connect(self.address())?;
            stream.set_read_timeout(Some(Duration::from_millis(500)))?;
            stream.write_all(b"PING\r\n")?;
            let mut answer = [0; 7];
            stream.read_exact(&mut answer)?;
            // The second wants a password.
            Ok([b"+PONG\r\n", b"-NOAUTH"].contains(&&answer))
        };
        ask().unwrap_or(false)
    }

    /// Ends it by SIGKILL.
    pub(crate) fn end(&mut self) {
        // That is how a running program is dropped.
        self.process = None;
    }

    pub(crate) fn signal(&self, signal: &str) {
        self.process.as_ref().expect("it runs").signal(signal);
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").0.id()
    }

    /// Ends it by SIGKILL, and all that it has kept is gone.
    pub(crate) fn end_and_forget(&mut self) {
        self.end();
        std::fs::remove_dir_all(&self.folder).expect("its folder");
        std::fs::create_dir_all(&self.folder).expect("a folder");
    }

    /// Ends it by SIGKILL, and starts it again.
    pub(crate) fn kill(&mut self) {
        self.end();
        self.run();
    }

    /// On a thread, evenly within `span`, and each time with requests on their way. Tells when it was killed, and when it
    /// answered again.
    pub(crate) fn killed_again_and_again(
        mut self,
        kills: u32,
        span: Duration,
        looks: Arc<AtomicU32>,
    ) -> (JoinHandle<Redis>, Receiver<(Instant, Instant)>) {
        let (tell, told) = channel();
        let killer = thread::spawn(move || {
            let began = Instant::now();
            for kill in 0..kills {
                let due = span * (2 * kill + 1) / (2 * kills);
                thread::sleep(due.saturating_sub(began.elapsed()));
                // What it has answered is read within a few turns, and what is on its way then is lost.
                self.signal("-STOP");
                let enough = looks.load(Ordering::Relaxed).saturating_add(5);
                while looks.load(Ordering::Relaxed) < enough {
                    thread::sleep(Duration::from_millis(1));
                }
                let killed = Instant::now();
                self.kill();
                let _ = tell.send((killed, Instant::now()));
            }
            self
        });
        (killer, told)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.process = None;
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Whether a page has these words, whatever is between them.
pub(crate) fn has(page: &str, words: &str) -> bool {
    let words: Vec<_> = words.split_whitespace().collect();
    let page: Vec<_> = page.split_whitespace().collect();
    page.windows(words.len()).any(|part| part == words)
}
