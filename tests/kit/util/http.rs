//! What the tests of the example `http_server` share: a folder to serve, a server, a client that speaks bytes.

#![allow(dead_code, reason = "each test file uses a part")]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::programs::Server;

/// Sends the same bytes again and again, and reads nothing, until the other side has stopped reading and the kernel is full.
/// `meanwhile` is asked whenever there is no room.
pub(crate) fn flood(client: &mut TcpStream, bytes: &[u8], mut meanwhile: impl FnMut()) {
    client.set_nonblocking(true).unwrap();
    let mut refusals = 0;
    while refusals < 20 {
        match client.write(bytes) {
            Ok(_) => refusals = 0,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                refusals += 1;
                meanwhile();
            }
            Err(error) => panic!("{error}"),
        }
    }
    client.set_nonblocking(false).unwrap();
}

/// A folder to serve, which goes with its value.
pub(crate) struct Root(PathBuf);

impl Root {
    pub(crate) fn new() -> Root {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("slabloop-http-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let root = folder.join("root");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::create_dir_all(root.join("empty")).unwrap();
        fs::write(folder.join("secret.txt"), "secret\n").unwrap();
        let write = |name: &str, content: &[u8]| fs::write(root.join(name), content).unwrap();
        write("small.txt", b"hello world\n");
        write("nothing", b"");
        write("page.html", b"<p>page</p>\n");
        write("with space.txt", b"space\n");
        write("sub/index.html", b"index\n");
        write("large.bin", &pattern(3 << 20));
        symlink("small.txt", root.join("inside")).unwrap();
        symlink("../secret.txt", root.join("outside")).unwrap();
        symlink("/etc", root.join("etc")).unwrap();
        symlink("circle", root.join("circle")).unwrap();
        let pipe = Command::new("mkfifo").arg(root.join("pipe")).status();
        assert!(pipe.unwrap().success());
        Root(folder)
    }

    pub(crate) fn path(&self) -> String {
        self.0.join("root").display().to_string()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        Path::new(&self.path()).join(name)
    }

    /// A server of this folder.
    #[track_caller]
    pub(crate) fn serve(&self, arguments: &[&str]) -> Server {
        let root = self.path();
        Server::start(
            "http_server_tested",
            &[&["--root", &root], arguments].concat(),
        )
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Bytes in which a piece that is missing or doubled shows.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| (at * 31 + at / 251).to_le_bytes()[0])
        .collect()
}

/// Whether a program is here; if not it says so, and the test is skipped.
pub(crate) fn is_here(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let is = std::env::split_paths(&paths).any(|folder| folder.join(program).is_file());
    if !is {
        eprintln!("skipped: there is no {program}");
    }
    is
}

/// Runs a program to its end; what it printed on both outputs.
#[track_caller]
pub(crate) fn said(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new("timeout");
    let output = command
        .args(["20", program])
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    let output = output.expect("there is a timeout");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text + &String::from_utf8_lossy(&output.stderr)
}

/// An answer: its head, and its body if the head says how long that is.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        let code = self.head.split(' ').nth(1).unwrap_or_default();
        code.parse()
            .unwrap_or_else(|_| panic!("no status: {self:?}"))
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// Reads one answer with a `Content-Length`, or without a body.
#[track_caller]
pub(crate) fn answer(client: &mut TcpStream) -> Answer {
    answer_to(client, "GET")
}

/// As [`answer`]; one to a HEAD has no body.
#[track_caller]
pub(crate) fn answer_to(client: &mut TcpStream, method: &str) -> Answer {
    // What is there is taken at once; the rest of a head that is not all there, byte by byte.
    let mut seen = [0; 4096];
    let count = loop {
        match client.peek(&mut seen) {
            // A call with a deadline is not made again by itself.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            peeked => break peeked.expect("an answer"),
        }
    };
    let end = seen[..count]
        .windows(4)
        .position(|four| four == b"\r\n\r\n");
    let mut head = vec![0; end.map_or(count, |end| end + 4)];
    client.read_exact(&mut head).expect("it was seen");
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("the whole head");
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let mut answer = Answer {
        head,
        body: Vec::new(),
    };
    let length = answer
        .field("Content-Length")
        .map(|length| length.parse().unwrap());
    if method != "HEAD" {
        answer.body = vec![0; length.unwrap_or(0)];
        client.read_exact(&mut answer.body).expect("the whole body");
    }
    answer
}

/// Sends all of `request` and reads until the server closes.
#[track_caller]
pub(crate) fn until_closed(server: &Server, request: &[u8]) -> String {
    let mut client = server.client();
    // The server may have answered and closed before it has all.
    let _ = client.write_all(request);
    rest(&mut client)
}

/// What comes until the server closes; a reset is a failure.
#[track_caller]
pub(crate) fn rest(client: &mut TcpStream) -> String {
    let mut all = Vec::new();
    client.read_to_end(&mut all).expect("an end, and no reset");
    String::from_utf8_lossy(&all).into_owned()
}

/// Whether the server works: a request on a connection of its own.
#[track_caller]
pub(crate) fn is_well(server: &Server) {
    let mut client = server.client();
    client
        .write_all(b"GET /small.txt HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    assert_eq!(answer(&mut client).text(), "hello world\n");
}

/// A field of the server's `/proc/PID/status`, in KiB for memory.
pub(crate) fn status_of(server: &Server, field: &str) -> u64 {
    let path = format!("/proc/{}/status", server.process.0.id());
    let text = fs::read_to_string(path).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let value = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
    value.unwrap().parse().unwrap()
}
