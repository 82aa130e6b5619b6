//! What the tests of the example `jobs` share: fronts, workers, and clients that post and ask.

#![allow(dead_code, reason = "each test file uses a part")]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::programs::{PATIENCE, Running, Server, example, with_deadline};

/// A front of the queue in this Redis.
#[track_caller]
pub(crate) fn front(redis: SocketAddr, arguments: &[&str]) -> Server {
    let mut command = Command::new(example("jobs_tested"));
    let redis = redis.to_string();
    command.args(["front", "--listen", "127.0.0.1:0", "--redis", &redis]);
    // A machine that is busy is none that fails.
    command.args(["--redis-timeout", "10"]).args(arguments);
    Server::spawn(command)
}

/// A worker. It does one job at once, and is soon about everything, unless the arguments say otherwise.
pub(crate) fn worker(redis: SocketAddr, arguments: &[&str]) -> Running {
    let mut command = Command::new(example("jobs_tested"));
    let redis = redis.to_string();
    command.args([
        "worker", "--redis", &redis, "--jobs", "1", "--pause", "0.05",
    ]);
    command.args(["--longest-pause", "0.2", "--redis-timeout", "10"]);
    command.args(arguments);
    command.env("RUST_LOG", "error").env("RUST_BACKTRACE", "0");
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(Stdio::null());
    Running(command.spawn().expect("it starts"))
}

/// What a worker is called among the consumers of its group; its first line.
#[track_caller]
pub(crate) fn name_of(worker: &mut Running) -> String {
    let stdout = worker.0.stdout.as_mut().expect("piped");
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let mut byte = [0];
        stdout.read_exact(&mut byte).expect("a line");
        line.push(byte[0]);
    }
    let line = String::from_utf8(line).expect("text");
    line.trim_start_matches("working as ").trim().to_owned()
}

/// Ends a worker by SIGINT; its last line, which begins with `jobs: `.
#[track_caller]
pub(crate) fn last_words(mut worker: Running) -> String {
    worker.signal("-INT");
    assert_eq!(worker.wait(), Some(0));
    let child: &mut Child = &mut worker.0;
    let mut said = String::new();
    let mut stdout = child.stdout.take().expect("piped");
    stdout.read_to_string(&mut said).expect("lines");
    said.lines().last().unwrap_or_default().to_owned()
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The job that was confirmed.
    #[track_caller]
    pub(crate) fn id(&self) -> String {
        assert_eq!(self.status, 202, "{self:?}");
        let id = self.json()["id"].as_str().expect("an id").to_owned();
        let location = format!("\r\nLocation: /jobs/{id}\r\n");
        assert!(self.head.contains(&location), "{self:?}");
        id
    }
}

/// Sends a request that says `Connection: close`, and reads the answer.
pub(crate) fn ask(address: SocketAddr, request: &[u8]) -> io::Result<Answer> {
    let mut client = with_deadline(TcpStream::connect(address)?);
    // It may be refused before it was sent.
    let _ = client.write_all(request);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let cut = || io::Error::other(format!("no answer: {answer}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(cut)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Ok(Answer {
        status: status.ok_or_else(cut)?,
        head: format!("{head}\r\n"),
        body: body.to_owned(),
    })
}

/// Posts a job; an error if no answer came.
pub(crate) fn try_post(address: SocketAddr, key: &str, job: &str) -> io::Result<Answer> {
    let key = match key {
        "" => String::new(),
        key => format!("Idempotency-Key: {key}\r\n"),
    };
    let length = job.len();
    let head = format!(
        "POST /jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{key}Content-Length: {length}"
    );
    ask(address, format!("{head}\r\n\r\n{job}").as_bytes())
}

#[track_caller]
pub(crate) fn post(address: SocketAddr, key: &str, job: &str) -> Answer {
    try_post(address, key, job).expect("an answer")
}

#[track_caller]
pub(crate) fn get(address: SocketAddr, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    ask(address, request.as_bytes()).expect("an answer")
}

/// Asks until it is so; nothing tells.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) => assert!(Instant::now() < deadline, "waited for {what}: {seen}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until a field of a job has this value; all its fields.
#[track_caller]
pub(crate) fn until_it_is(front: SocketAddr, id: &str, field: &str, value: &str) -> Value {
    until(value, || {
        let job = get(front, &format!("/jobs/{id}"));
        let fields: Value = serde_json::from_str(&job.body).unwrap_or_default();
        match fields[field] == value {
            true => Ok(fields),
            false => Err(job.body),
        }
    })
}

/// What redis-cli says.
#[track_caller]
pub(crate) fn cli(redis: SocketAddr, words: &[&str]) -> String {
    let port = redis.port().to_string();
    let output = Command::new("redis-cli")
        .args(["-p", &port])
        .args(words)
        .output();
    let output = output.expect("there is a redis-cli");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// What has been counted under a name.
#[track_caller]
pub(crate) fn count(redis: SocketAddr, name: &str) -> u64 {
    cli(redis, &["HGET", "jobs:counts", name])
        .parse()
        .unwrap_or(0)
}
