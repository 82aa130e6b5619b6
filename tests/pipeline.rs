//! The example that shares one pipelined connection among its clients: each gets its own answers, in order, and
//! whatever becomes of others, of the connection or of the server behind it.

#[path = "util/programs.rs"]
mod programs;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use programs::*;

/// A server that answers as Redis does, at the test's word.
struct Behind {
    listener: TcpListener,
}

impl Behind {
    fn new() -> Behind {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        Behind { listener }
    }

    fn start(&self) -> Server {
        let address = self.listener.local_addr().expect("bound").to_string();
        Server::start("pipeline", &["--upstream", &address])
    }

    fn accept(&self) -> BufReader<TcpStream> {
        let (stream, _) = self.listener.accept().expect("it connects");
        BufReader::new(with_deadline(stream))
    }
}

#[track_caller]
fn reads(stream: &mut BufReader<TcpStream>, line: &str) {
    let mut read = String::new();
    stream.read_line(&mut read).expect("a line comes");
    assert_eq!(read.trim_end(), line);
}

fn says(stream: &mut BufReader<TcpStream>, text: &str) {
    stream
        .get_mut()
        .write_all(text.as_bytes())
        .expect("connected");
}

#[test]
fn answers_of_every_shape_come_back_in_order_to_the_one_who_asked() {
    let behind = Behind::new();
    let server = behind.start();
    let mut redis = behind.accept();
    let [mut one, mut two] = [(); 2].map(|()| BufReader::new(server.client()));
    says(&mut one, "a\n");
    reads(&mut redis, "a");
    says(&mut two, "b\r\nc\n\n");
    reads(&mut redis, "b");
    reads(&mut redis, "c");
    says(&mut one, "d\n");
    reads(&mut redis, "d");
    let nested = "*3\r\n$5\r\na\r\nbc\r\n*2\r\n:1\r\n$-1\r\n$0\r\n\r\n";
    says(&mut redis, &format!("+OK\r\n{nested}*0\r\n-ERR no\r\n"));
    reads(&mut one, "+OK");
    reads(&mut one, "-ERR no");
    let mut answer = vec![0; nested.len()];
    two.read_exact(&mut answer).expect("it comes");
    assert_eq!(answer, nested.as_bytes());
    reads(&mut two, "*0");
    drop((one, two, redis));
    assert_eq!(server.stop().of("connections"), 2);
}

#[test]
fn one_who_leaves_before_the_answer_costs_the_others_nothing_and_a_half_close_waits() {
    let behind = Behind::new();
    let server = behind.start();
    let mut redis = behind.accept();
    let [mut leaves, mut stays] = [(); 2].map(|()| BufReader::new(server.client()));
    says(&mut leaves, "a\n");
    reads(&mut redis, "a");
    says(&mut stays, "b\nc\n");
    stays
        .get_ref()
        .shutdown(Shutdown::Write)
        .expect("connected");
    reads(&mut redis, "b");
    reads(&mut redis, "c");
    let socket = socket2::SockRef::from(leaves.get_ref());
    socket
        .set_linger(Some(std::time::Duration::ZERO))
        .expect("tcp");
    drop(leaves);
    says(&mut redis, ":1\r\n:2\r\n:3\r\n");
    let mut rest = String::new();
    stays.read_to_string(&mut rest).expect("a clean end");
    assert_eq!(rest, ":2\r\n:3\r\n");
    drop(redis);
    server.stop();
}

#[test]
fn a_lost_connection_is_told_to_those_who_wait_and_made_anew() {
    let behind = Behind::new();
    let server = behind.start();
    let mut redis = behind.accept();
    let mut client = BufReader::new(server.client());
    says(&mut client, "a\nb\n");
    reads(&mut redis, "a");
    reads(&mut redis, "b");
    says(&mut redis, "+first\r\n$100\r\nonly a part");
    drop(redis);
    reads(&mut client, "+first");
    let mut line = String::new();
    client.read_line(&mut line).expect("a line");
    assert!(line.starts_with("-ERR") && line.contains("lost"), "{line}");
    let mut redis = behind.accept();
    says(&mut client, "c\n");
    reads(&mut redis, "c");
    says(&mut redis, "+again\r\n");
    reads(&mut client, "+again");
    drop((redis, client));
    server.stop();
}

#[test]
fn without_a_server_behind_it_a_client_is_told_so() {
    let nobody = format!("127.0.0.1:{}", free_port());
    let mut server = Server::start("pipeline", &["--upstream", &nobody]);
    let line = server.stderr_says("refused");
    assert!(line.contains(&nobody), "{line}");
    let mut client = BufReader::new(server.client());
    says(&mut client, "a\n");
    let mut line = String::new();
    client.read_line(&mut line).expect("a line");
    assert!(line.starts_with("-ERR Redis cannot be reached"), "{line}");
    drop(client);
    server.stop();
}

#[test]
fn an_answer_in_hand_when_the_server_shuts_down_is_delivered() {
    let behind = Behind::new();
    let server = behind.start();
    let mut redis = behind.accept();
    let mut client = BufReader::new(server.client());
    says(&mut client, "a\n");
    reads(&mut redis, "a");
    server.process.signal("-TERM");
    let mut server = server;
    server.stderr_says("draining");
    says(&mut redis, "+late\r\n");
    let mut rest = String::new();
    client.read_to_string(&mut rest).expect("a clean end");
    assert_eq!(rest, "+late\r\n");
    drop((client, redis));
    assert_eq!(server.end().totals().of("aborted"), 0);
}

#[test]
fn a_real_redis_answers_many_clients_at_once() {
    let port = free_port();
    let redis = Command::new("redis-server")
        .args([
            "--port",
            &port.to_string(),
            "--save",
            "",
            "--bind",
            "127.0.0.1",
        ])
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut redis) = redis else {
        eprintln!("skipped: redis-server is not installed");
        return;
    };
    let said = redis.stdout.take().expect("it is piped");
    let _redis = Running(redis);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    // It says when it listens. To try until a connection stands would be wrong: with a port of the range from
    // which clients get theirs, an attempt now and then connects to itself.
    let mut said = BufReader::new(said).lines();
    let is_ready =
        |line: io::Result<String>| line.is_ok_and(|line| line.contains("Ready to accept"));
    assert!(said.any(is_ready), "redis has ended");
    let server = Server::start("pipeline", &["--upstream", &address.to_string()]);
    let clients: Vec<_> = (0..20)
        .map(|client| {
            let stream = server.client();
            std::thread::spawn(move || {
                let mut stream = BufReader::new(stream);
                for round in 0..200 {
                    let value = "v".repeat(client * 37 + round);
                    let text = format!("set k{client} {value}x\nget k{client}\n");
                    says(&mut stream, &text);
                    reads(&mut stream, "+OK");
                    reads(&mut stream, &format!("${}", value.len() + 1));
                    reads(&mut stream, &format!("{value}x"));
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("its own answers");
    }
    server.stop();
}
