//! Behind HAProxy as it is: clients keep their addresses, a server that is killed and a HAProxy that is reloaded cost no request.
//!
//! Without haproxy the tests say so and are skipped.

#![cfg(target_os = "linux")]

#[path = "util/haproxy.rs"]
mod haproxy;
#[path = "util/http.rs"]
mod http;
#[path = "../util/programs.rs"]
mod programs;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};

use haproxy::Haproxy;
use http::{Root, is_here, rest};
use programs::*;
use socket2::{Domain, Socket, Type};

/// A client on another address of this machine.
fn client_at(last: u8, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let own = SocketAddr::from(([127, 0, 0, last], 0));
    socket.bind(&own.into()).unwrap();
    socket.connect(&to.into()).unwrap();
    with_deadline(socket.into())
}

fn echo_server() -> Server {
    let mut command = Command::new(example("echo_server_tested"));
    command.args([
        "--listen",
        "127.0.0.1:0",
        "--proxy-protocol",
        "--linger",
        "60",
    ]);
    Server::spawn_with_log(command, "info,slabloop::connection=debug")
}

#[test]
fn clients_of_two_echo_servers_keep_their_addresses() {
    let mut servers = [echo_server(), echo_server()];
    let addresses = [servers[0].address, servers[1].address];
    let Some(haproxy) = Haproxy::start("tcp", &addresses, "") else {
        return;
    };
    let mut own = Vec::new();
    for last in 2..=9 {
        let mut client = client_at(last, haproxy.address);
        own.push(client.local_addr().unwrap());
        client.write_all(b"hello").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut back = String::new();
        client.read_to_string(&mut back).unwrap();
        assert_eq!(back, "hello");
    }
    drop(haproxy);
    let mut told = Vec::new();
    for server in &mut servers {
        server.process.signal("-INT");
        assert_eq!(server.process.wait(), Some(0));
        let lines = server.rest_of_stderr();
        let replaced = |client: &&SocketAddr| {
            let line = format!("({client}): has replaced another dispatcher");
            lines.iter().any(|text| text.contains(&line))
        };
        told.push(own.iter().filter(replaced).count());
    }
    assert_eq!(told[0] + told[1], 8);
    // By turns; but the test has looked whether HAProxy listens, and its threads may have taken that for the first client.
    assert!(told.iter().all(|count| *count >= 3), "{told:?}");
}

#[test]
fn the_access_logs_of_two_http_servers_have_the_clients() {
    let root = Root::new();
    let servers = [(); 2].map(|()| root.serve(&["--proxy-protocol", "--access-log"]));
    let addresses = [servers[0].address, servers[1].address];
    // A check that is a request, and shows in the log as HAProxy's own.
    let check = "    option httpchk GET /small.txt\n";
    let Some(haproxy) = Haproxy::start("http", &addresses, check) else {
        return;
    };
    for last in 2..=9 {
        let mut client = client_at(last, haproxy.address);
        let get = format!("GET /small.txt?{last} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        client.write_all(get.as_bytes()).unwrap();
        is_well_answered(&mut client);
    }
    drop(haproxy);
    let mut logged = Vec::new();
    for server in servers {
        server.process.signal("-INT");
        let lines = server.end().stdout.into_iter();
        let lines = lines.filter(|line| line.contains("\"GET /small.txt?"));
        let lines: Vec<_> = lines.collect();
        assert!(lines.len() >= 3, "by turns: {lines:?}");
        logged.extend(lines);
    }
    assert_eq!(logged.len(), 8);
    for last in 2..=9 {
        let of = |line: &&String| line.starts_with(&format!("127.0.0.{last} - - ["));
        let line = logged.iter().find(of).expect("one of each client");
        assert!(line.contains(&format!("?{last} HTTP")), "{line}");
    }
}

/// Clients that connect, make a request and check its answer, again and again.
struct Load {
    is_over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
    told: Receiver<()>,
}

impl Load {
    fn of(to: SocketAddr, talk: fn(TcpStream)) -> Load {
        let is_over = Arc::new(AtomicBool::new(false));
        let (tell, told) = channel();
        let clients = (2..=5).map(|last| {
            let (is_over, tell) = (Arc::clone(&is_over), tell.clone());
            thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    talk(client_at(last, to));
                    tell.send(()).unwrap();
                }
            })
        });
        Load {
            clients: clients.collect(),
            is_over,
            told,
        }
    }

    /// Waits for so many more.
    #[track_caller]
    fn go_on(&self, requests: usize) {
        for _ in 0..requests {
            self.told.recv_timeout(PATIENCE).expect("no request fails");
        }
    }

    #[track_caller]
    fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().expect("no request fails");
        }
    }
}

fn talk_http(mut client: TcpStream) {
    let get = b"GET /small.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    client.write_all(get).unwrap();
    is_well_answered(&mut client);
}

#[track_caller]
fn is_well_answered(client: &mut TcpStream) {
    let all = rest(client);
    assert!(all.starts_with("HTTP/1.1 200 OK\r\n"), "{all}");
    assert!(all.ends_with("\r\n\r\nhello world\n"), "{all}");
}

fn talk_echo(mut client: TcpStream) {
    let sent = [b'x'; 3000];
    client.write_all(&sent).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    client.read_to_end(&mut back).unwrap();
    assert!(back == sent, "{} bytes", back.len());
}

#[test]
fn a_server_that_is_killed_costs_no_request() {
    let root = Root::new();
    let servers = [(); 2].map(|()| root.serve(&["--proxy-protocol"]));
    let addresses = [servers[0].address, servers[1].address];
    // What had been sent to it and was not answered is sent again, which is right for GET.
    let again = "    retry-on conn-failure empty-response response-timeout\n";
    let Some(haproxy) = Haproxy::start("http", &addresses, again) else {
        return;
    };
    let load = Load::of(haproxy.address, talk_http);
    load.go_on(100);
    let [first, second] = servers;
    first.process.signal("-KILL");
    load.go_on(200);
    load.end();
    assert!(second.stop().of("connections") > 150);
}

#[test]
fn a_haproxy_that_is_reloaded_and_servers_that_restart_cost_no_request() {
    let mut servers = [echo_server(), echo_server()];
    let addresses = [servers[0].address, servers[1].address];
    let Some(mut haproxy) = Haproxy::start("tcp", &addresses, "") else {
        return;
    };
    let load = Load::of(haproxy.address, talk_echo);
    load.go_on(50);
    haproxy.reload();
    haproxy.old_has_ended();
    load.go_on(50);
    let mut new = Vec::new();
    for server in &mut servers {
        server.process.signal("-USR2");
        let line = server.stderr_says("is ready and takes over");
        let pid = line.rsplit("process ").next().unwrap();
        let pid = pid.split(' ').next().unwrap().to_owned();
        assert_eq!(server.process.wait(), Some(0));
        new.push(pid);
        load.go_on(50);
    }
    haproxy.reload();
    haproxy.old_has_ended();
    load.go_on(50);
    load.end();
    for (pid, server) in new.iter().zip(&mut servers) {
        let kill = Command::new("kill").args(["-INT", pid]).status();
        assert!(kill.unwrap().success());
        // The first has said it, and now the second.
        for _ in 0..2 {
            server.stdout_says("totals: ");
        }
    }
}

#[test]
fn the_page_has_a_configuration_that_haproxy_takes() {
    if !is_here("haproxy") {
        return;
    }
    let page = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/behind-a-load-balancer.md"
    );
    let page = std::fs::read_to_string(page).unwrap();
    let (_, config) = page.split_once("```haproxy\n").expect("a configuration");
    let (config, _) = config.split_once("```").expect("its end");
    let name = format!("haproxy-page-{}", std::process::id());
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&file, config).unwrap();
    let file = file.display().to_string();
    let output = Command::new("haproxy").args(["-c", "-f", &file]).output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    std::fs::remove_file(file).unwrap();
}
