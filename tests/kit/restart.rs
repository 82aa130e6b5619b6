//! Restarting without downtime: the listener goes from process to process, under load, and no client notices. A new process
//! that fails changes nothing.

#![cfg(target_os = "linux")]

#[path = "util/http.rs"]
mod http;
#[path = "../util/programs.rs"]
mod programs;

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use http::{Root, answer, is_here};
use programs::*;

/// A server and its successors, the last of which is ended with this value.
struct Line {
    server: Server,
    pid: u32,
}

impl Line {
    fn of(server: Server) -> Line {
        let pid = server.process.0.id();
        Line { server, pid }
    }

    fn start(name: &str, arguments: &[&str]) -> Line {
        Line::of(Server::start(name, arguments))
    }

    #[track_caller]
    fn signal(&self, signal: &str) {
        let pid = self.pid.to_string();
        let kill = Command::new("kill").args([signal, &pid]).status();
        assert!(kill.unwrap().success(), "process {pid} is gone");
    }

    /// Hands over to a new process.
    #[track_caller]
    fn restart(&mut self) {
        self.signal("-USR2");
        let line = self.server.stderr_says("is ready and takes over");
        self.pid = number_behind(&line, "process ");
    }

    /// One of them has ended; how many connections it had.
    #[track_caller]
    fn ended(&mut self) -> u64 {
        let line = self.server.stdout_says("totals: ");
        number_behind(&line, "connections=").into()
    }

    /// Ends the last one, and with it all.
    #[track_caller]
    fn stop(mut self) -> u64 {
        self.signal("-INT");
        self.ended()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let pid = self.pid.to_string();
        let _ = Command::new("kill")
            .args(["-KILL", &pid])
            .stderr(Stdio::null())
            .status();
    }
}

#[track_caller]
fn number_behind(line: &str, word: &str) -> u32 {
    let (_, rest) = line.split_once(word).expect(line);
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
    digits.unwrap().parse().expect(line)
}

#[test]
fn three_restarts_under_load_refuse_and_cut_nobody() {
    let mut line = Line::start("echo_server_tested", &["--linger", "60"]);
    let address = line.server.address;
    let is_over = Arc::new(AtomicBool::new(false));
    let (tell, told) = channel();
    let clients: Vec<_> = (0..8_usize)
        .map(|number| {
            let (is_over, tell) = (Arc::clone(&is_over), tell.clone());
            thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let mut client = client(address);
                    // Some stay, some are gone at once.
                    for round in 0..=number {
                        let sent = vec![b'a' + u8::try_from(round).unwrap(); 1 + number * 1000];
                        client.write_all(&sent).unwrap();
                        let mut back = vec![0; sent.len()];
                        client.read_exact(&mut back).unwrap();
                        assert!(back == sent);
                    }
                    client.shutdown(Shutdown::Write).unwrap();
                    assert_eq!(client.read(&mut [0]).unwrap(), 0, "a clean end");
                    tell.send(()).unwrap();
                }
            })
        })
        .collect();
    drop(tell);
    let (mut accepted, mut served) = (0, 0);
    for restarts in 0..=3 {
        if restarts > 0 {
            line.restart();
            accepted += line.ended();
        }
        for _ in 0..100 {
            told.recv_timeout(PATIENCE).expect("no connection fails");
            served += 1;
        }
    }
    is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("no connection fails");
    }
    served += told.iter().count() as u64;
    accepted += line.stop();
    assert_eq!(accepted, served, "each once");
}

#[test]
fn wrk_sees_no_error_of_an_http_server_that_restarts() {
    if !is_here("wrk") {
        return;
    }
    let root = Root::new();
    let mut line = Line::of(root.serve(&["--max-requests", "0"]));
    let url = format!("http://{}/small.txt", line.server.address);
    let wrk = Command::new("timeout")
        .args(["60", "wrk", "-t1", "-c32", "-d2s", &url])
        .stdout(Stdio::piped())
        .spawn();
    let wrk = wrk.unwrap();
    // (On a busy machine wrk may end first: then there is less to see.)
    for _ in 0..3 {
        thread::sleep(Duration::from_millis(400));
        line.restart();
        line.ended();
    }
    let report = wrk.wait_with_output().unwrap();
    let report = String::from_utf8_lossy(&report.stdout).into_owned();
    assert!(report.contains("requests in"), "{report}");
    assert!(!report.contains("Socket errors"), "{report}");
    assert!(!report.contains("Non-2xx"), "{report}");
    line.stop();
}

#[test]
fn a_kept_connection_gets_one_more_answer_that_says_it_is_the_last() {
    let root = Root::new();
    let mut line = Line::of(root.serve(&["--linger", "60"]));
    let get = b"GET /small.txt HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut kept = line.server.client();
    kept.write_all(get).unwrap();
    assert_eq!(answer(&mut kept).field("Connection"), None);
    line.restart();
    kept.write_all(get).unwrap();
    let last = answer(&mut kept);
    assert_eq!(last.text(), "hello world\n");
    assert_eq!(last.field("Connection"), Some("close"));
    assert_eq!(kept.read(&mut [0]).unwrap(), 0);
    assert_eq!(line.ended(), 1);
    let mut new = line.server.client();
    new.write_all(get).unwrap();
    assert_eq!(answer(&mut new).field("Connection"), None);
    drop(new);
    assert_eq!(line.stop(), 1);
}

#[test]
fn a_client_whose_proxy_header_comes_late_stays_with_the_old_process() {
    let arguments = ["--proxy-protocol", "--linger", "60"];
    let mut line = Line::start("echo_server_tested", &arguments);
    let mut late = line.server.client();
    late.write_all(b"PROXY ").unwrap();
    // A later one is served, so that the first has been accepted.
    let mut second = line.server.client();
    second.write_all(b"PROXY UNKNOWN\r\nx").unwrap();
    second.read_exact(&mut [0]).unwrap();
    drop(second);
    line.restart();
    // Whoever comes now is the new one's, though the old one is there still.
    for _ in 0..10 {
        let mut new = line.server.client();
        new.write_all(b"PROXY UNKNOWN\r\nx").unwrap();
        new.read_exact(&mut [0]).unwrap();
    }
    late.write_all(b"TCP4 192.0.2.7 10.0.0.1 1 2\r\nx").unwrap();
    late.read_exact(&mut [0]).unwrap();
    drop(late);
    assert_eq!(line.ended(), 2);
    assert_eq!(line.stop(), 10);
}

#[test]
fn what_is_still_open_when_the_lingering_is_over_is_drained() {
    let mut line = Line::start("echo_server_tested", &["--linger", "0.2"]);
    let mut idle = line.server.client();
    idle.write_all(b"x").unwrap();
    idle.read_exact(&mut [0]).unwrap();
    line.restart();
    // It works for as long as that, and ends without a reset.
    idle.write_all(b"y").unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"y");
    drop(idle);
    assert_eq!(line.ended(), 1);
    assert_eq!(line.server.process.wait(), Some(0));
    line.stop();
}

#[test]
fn the_proxy_hands_over_and_its_sessions_go_on() {
    let upstream = Server::start("echo_server_tested", &[]);
    let to = upstream.address.to_string();
    let mut line = Line::start("proxy_tested", &["--upstream", &to, "--linger", "60"]);
    let mut session = line.server.client();
    session.write_all(b"x").unwrap();
    session.read_exact(&mut [0]).unwrap();
    line.restart();
    for client in [&mut session, &mut line.server.client()] {
        client.write_all(b"y").unwrap();
        client.read_exact(&mut [0]).unwrap();
    }
    drop(session);
    assert_eq!(line.ended(), 1);
    assert_eq!(line.stop(), 1);
}

#[test]
fn a_server_that_drains_refuses_clients_though_it_could_have_handed_over() {
    let line = Line::start("echo_server_tested", &["--drain", "60"]);
    let address = line.server.address;
    // It stays open as long as this end of it.
    let mut open = line.server.client();
    open.write_all(b"x").unwrap();
    open.read_exact(&mut [0]).unwrap();
    line.signal("-INT");
    assert_eq!(open.read(&mut [0]).unwrap(), 0, "the drain has begun");
    // The listener is closed in the same turn, perhaps a moment later.
    let deadline = Instant::now() + Duration::from_secs(20);
    let refused = loop {
        if let Err(error) = TcpStream::connect(address) {
            break error;
        }
        assert!(Instant::now() < deadline, "it still listens");
    };
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    drop(open);
}

/// A program whose file can be replaced by another version.
struct Deployed {
    folder: PathBuf,
    file: PathBuf,
}

impl Deployed {
    fn new(name: &str) -> Deployed {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("deployed-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("echo_server");
        let deployed = Deployed { folder, file };
        deployed.mend();
        deployed
    }

    /// The program as it was built.
    fn mend(&self) {
        let new = self.folder.join("new");
        let built = example("echo_server_tested");
        fs::hard_link(&built, &new)
            .or_else(|_| fs::copy(&built, &new).map(drop))
            .unwrap();
        fs::rename(new, &self.file).unwrap();
    }

    /// A version that does this instead.
    fn replace(&self, script: &str) {
        let new = self.folder.join("new");
        fs::write(&new, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(new, &self.file).unwrap();
    }

    fn start(&self, arguments: &[&str]) -> Line {
        let mut command = Command::new(&self.file);
        command.args(["--listen", "127.0.0.1:0"]).args(arguments);
        Line::of(Server::spawn(command))
    }
}

impl Drop for Deployed {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[track_caller]
fn echoes(server: &Server) {
    let mut client = server.client();
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
}

#[test]
fn a_new_process_that_ends_at_once_leaves_the_old_one_at_work() {
    let deployed = Deployed::new("ends");
    let mut line = deployed.start(&[]);
    deployed.replace("exit 3");
    line.signal("-USR2");
    line.server
        .stderr_says("cannot hand over: the new process has ended: exit status: 3; going on");
    echoes(&line.server);
    // Not even a shell can run this.
    fs::remove_file(&deployed.file).unwrap();
    line.signal("-USR2");
    line.server
        .stderr_says("the new process has ended: exit status: 127");
    echoes(&line.server);
    deployed.mend();
    line.restart();
    assert_eq!(line.ended(), 2);
    echoes(&line.server);
    assert_eq!(line.stop(), 1);
}

#[test]
fn a_new_process_that_does_not_get_ready_is_ended_after_its_time() {
    let deployed = Deployed::new("hangs");
    let mut line = deployed.start(&["--ready-timeout", "1"]);
    deployed.replace("exec sleep 100");
    line.signal("-USR2");
    let started = line.server.stderr_says("has been started, to take over");
    let pid = number_behind(&started, "process ");
    line.signal("-USR2");
    line.server
        .stderr_says("a new process is being started already");
    echoes(&line.server);
    line.server
        .stderr_says("cannot hand over: the new process was not ready within 1s; going on");
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "it is ended");
    echoes(&line.server);
    let address = line.server.address;
    assert_eq!(line.stop(), 2);
    let refused = TcpStream::connect(address).expect_err("nobody listens");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_new_process_has_the_listener_and_nothing_else_of_the_old_one() {
    let deployed = Deployed::new("lists");
    let mut line = deployed.start(&[]);
    let open = line.server.client();
    echoes(&line.server);
    deployed.replace(
        "echo $LISTEN_FDS $LISTEN_FDNAMES $((LISTEN_PID - $$)) >&2; ls -l /proc/$$/fd >&2; echo end >&2",
    );
    line.signal("-USR2");
    line.server.stderr_says("1 listen 0");
    let mut sockets = Vec::new();
    loop {
        let entry = line.server.stderr_says("");
        if entry == "end" {
            break;
        }
        if let Some((_, rest)) = entry.split_once(" -> socket:") {
            let number = entry.split(" -> ").next().unwrap().rsplit(' ').next();
            sockets.push((number.unwrap().to_owned(), rest.to_owned()));
        }
    }
    line.server
        .stderr_says("has ended: exit status: 0; going on");
    assert_eq!(sockets.len(), 1, "{sockets:?}");
    assert_eq!(sockets[0].0, "3");
    drop(open);

    // From one to the next nothing is piled up.
    let count = |pid: u32| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    deployed.mend();
    line.restart();
    line.ended();
    let first = count(line.pid);
    line.restart();
    line.ended();
    assert_eq!(count(line.pid), first);
    line.stop();
}

#[test]
fn a_service_manager_is_told_who_is_ready_and_who_is_the_main_process() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = path.join(format!("notify-{}", std::process::id()));
    let _ = fs::remove_file(&path);
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut text = [0; 100];
        let count = manager.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..count]).into_owned()
    };
    let mut command = Command::new(example("echo_server_tested"));
    command.args(["--listen", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", &path);
    let mut line = Line::of(Server::spawn(command));
    assert_eq!(told(), "READY=1\n");
    line.restart();
    let mut both = [told(), told()];
    both.sort();
    assert_eq!(
        both,
        [format!("MAINPID={}\n", line.pid), "READY=1\n".to_owned()]
    );
    line.ended();
    line.stop();
    fs::remove_file(path).unwrap();
}

/// A program that is started as systemd starts it, with this as its descriptor 3.
fn activated(socket: impl Into<OwnedFd>, environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new("/bin/sh");
    let script = "export LISTEN_PID=${LISTEN_PID:-$$}; exec \"$0\" \"$@\" 3<&0 0</dev/null";
    command.args(["-c", script]);
    command.arg(example("echo_server_tested"));
    command.args(["--listen", "127.0.0.1:0"]);
    command
        .env("LISTEN_FDS", "1")
        .envs(environment.iter().copied());
    command.stdin(socket.into());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

#[test]
fn an_inherited_listener_takes_the_place_of_the_option() {
    let listener = listener();
    let address = listener.local_addr().unwrap();
    // Before the program is there the connection is.
    let mut early = client(address);
    early.write_all(b"x").unwrap();
    let mut child = Running(activated(listener, &[]).spawn().unwrap());
    early.read_exact(&mut [0]).unwrap();
    drop(early);
    let mut stdout = child.0.stdout.take().unwrap();
    child.signal("-INT");
    assert_eq!(child.wait(), Some(0));
    let mut said = String::new();
    stdout.read_to_string(&mut said).unwrap();
    assert!(
        said.starts_with(&format!("listening on {address}\n")),
        "{said}"
    );
    // Nothing has it any more.
    TcpStream::connect(address).expect_err("nobody listens");
}

#[track_caller]
fn is_refused(mut command: Command, part: &str) {
    let child = command.spawn().unwrap();
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    let text = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains(part), "{text}");
}

#[test]
fn what_cannot_be_inherited_is_named() {
    for (name, value, part) in [
        (
            "LISTEN_FDS",
            "x",
            "LISTEN_FDS=x: expected a number of sockets",
        ),
        (
            "LISTEN_FDS",
            "0",
            "LISTEN_FDS=0: expected a number of sockets",
        ),
        (
            "LISTEN_FDS",
            "-1",
            "LISTEN_FDS=-1: expected a number of sockets",
        ),
        (
            "LISTEN_FDS",
            "4294967296",
            "LISTEN_FDS=4294967296: expected",
        ),
        (
            "LISTEN_PID",
            "me",
            "LISTEN_PID=me: expected the number of a process",
        ),
    ] {
        is_refused(activated(listener(), &[(name, value)]), part);
    }
    let two = [("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "a:b")];
    is_refused(
        activated(listener(), &two),
        "LISTEN_FDS=2 (a:b): this program has one listener",
    );
    let file = fs::File::open("/dev/null").unwrap();
    is_refused(activated(file, &[]), "fd 3 is not a socket");
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    is_refused(activated(udp, &[]), "fd 3 is not a valid tcp socket");
    let peer = listener();
    let stream = TcpStream::connect(peer.local_addr().unwrap()).unwrap();
    is_refused(activated(stream, &[]), "the socket does not listen");
}

#[test]
fn sockets_that_are_for_another_process_are_let_be() {
    let own = std::process::id().to_string();
    let foreign = listener();
    let address = foreign.local_addr().unwrap().to_string();
    let mut command = activated(foreign, &[("LISTEN_PID", &own)]);
    command.arg("--duration").arg("0.05");
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("listening on 127.0.0.1:"), "{said}");
    assert!(!said.contains(&address), "{said}");
}

#[test]
fn systemd_starts_it_with_the_first_client() {
    if !is_here("systemd-socket-activate") {
        return;
    }
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let child = Command::new("systemd-socket-activate")
        .args(["-l", &address])
        .arg(example("echo_server_tested"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut child = Running(child.unwrap());
    let deadline = Instant::now() + PATIENCE;
    let mut client = loop {
        match TcpStream::connect(&address) {
            Ok(client) => break with_deadline(client),
            Err(_) => assert!(Instant::now() < deadline),
        }
        thread::yield_now();
    };
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    drop(client);
    // By `exec`: it is the same process.
    child.signal("-INT");
    assert_eq!(child.wait(), Some(0));
}
