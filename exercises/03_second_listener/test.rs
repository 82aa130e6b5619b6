//! Exercise 3: two listeners in one thread.

#[cfg_attr(not(feature = "solution"), path = "start.rs")]
#[cfg_attr(feature = "solution", path = "solution.rs")]
mod code;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(10);

/// The addresses of both listeners.
fn start() -> (SocketAddr, SocketAddr) {
    let [echo, status] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let addresses = (echo.local_addr().unwrap(), status.local_addr().unwrap());
    thread::spawn(move || code::serve(echo, status));
    addresses
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A client that has had its first answer, so that the server knows it.
fn known_client(echo: SocketAddr) -> TcpStream {
    let mut client = connect(echo);
    client.write_all(b"hello").unwrap();
    client.read_exact(&mut [0; 5]).expect("an echo");
    client
}

fn status(address: SocketAddr) -> String {
    let mut text = String::new();
    connect(address)
        .read_to_string(&mut text)
        .expect("a status");
    text
}

#[test]
fn both_listeners_are_served() {
    let (echo, status_at) = start();
    assert_eq!(status(status_at), "0\n");
    let _one = known_client(echo);
    let _two = known_client(echo);
    assert_eq!(status(status_at), "2\n");
}

#[test]
fn clients_that_have_left_are_not_counted() {
    let (echo, status_at) = start();
    let _stays = known_client(echo);
    for _ in 0..5 {
        drop(known_client(echo));
    }
    let deadline = Instant::now() + PATIENCE;
    while status(status_at) != "1\n" {
        assert!(Instant::now() < deadline, "they are still counted");
    }
}

#[test]
fn status_is_answered_while_a_client_is_silent_and_does_not_disturb_it() {
    let (echo, status_at) = start();
    let mut silent = known_client(echo);
    for _ in 0..10 {
        assert_eq!(status(status_at), "1\n");
    }
    silent.write_all(b"again").unwrap();
    silent.read_exact(&mut [0; 5]).expect("an echo");
}
