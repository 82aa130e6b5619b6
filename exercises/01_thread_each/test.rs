//! Exercise 1: a thread for each client, but not for any number of clients.

#[cfg_attr(not(feature = "solution"), path = "start.rs")]
#[cfg_attr(feature = "solution", path = "solution.rs")]
mod code;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// For an answer that has to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// For an answer that must not come.
const QUIET: Duration = Duration::from_millis(200);

fn start(limit: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || code::serve(listener, limit));
    address
}

fn client(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"?").unwrap();
    stream
}

/// Whether the client's byte comes back in this time.
fn is_answered(mut client: &TcpStream, patience: Duration) -> bool {
    client.set_read_timeout(Some(patience)).unwrap();
    match client.read(&mut [0; 16]) {
        Ok(1) => true,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
        other => panic!("neither an answer nor silence: {other:?}"),
    }
}

#[test]
fn a_silent_client_does_not_stop_the_next() {
    let address = start(3);
    let clients: Vec<_> = (0..3).map(|_| client(address)).collect();
    for client in &clients {
        assert!(
            is_answered(client, PATIENCE),
            "all three are within the limit"
        );
    }
}

#[test]
fn over_the_limit_a_client_waits_until_another_leaves() {
    let address = start(2);
    let first = client(address);
    let second = client(address);
    assert!(is_answered(&first, PATIENCE));
    assert!(is_answered(&second, PATIENCE));
    let third = client(address);
    assert!(!is_answered(&third, QUIET), "two are served already");
    drop(first);
    assert!(is_answered(&third, PATIENCE), "there is room now");
}

#[test]
fn places_are_given_back_however_often() {
    let address = start(2);
    for _ in 0..50 {
        assert!(is_answered(&client(address), PATIENCE));
    }
}
