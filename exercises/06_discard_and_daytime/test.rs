//! Exercise 6: two services of 1983 in one reactor, and a number that they share.

#[cfg_attr(not(feature = "solution"), path = "start.rs")]
#[cfg_attr(feature = "solution", path = "solution.rs")]
mod code;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use slabloop::Reactor;

/// Nothing here takes longer, unless something is wrong.
const LONG: Duration = Duration::from_secs(10);

struct Services {
    reactor: Reactor,
    discard: SocketAddr,
    daytime: SocketAddr,
}

impl Services {
    fn new() -> Services {
        let mut reactor = Reactor::new().unwrap();
        let (discard, daytime) =
            code::serve(&mut reactor, || "Saturday".to_owned()).expect("both services listen");
        Services {
            reactor,
            discard,
            daytime,
        }
    }

    /// All that a client receives until the end of its stream, while the loop turns. An error of the
    /// connection is written behind it.
    fn receive_all(&mut self, client: &mut TcpStream) -> String {
        client.set_nonblocking(true).unwrap();
        let (begun, mut received) = (Instant::now(), Vec::new());
        let end = loop {
            let mut buffer = [0; 256];
            match client.read(&mut buffer) {
                Ok(0) => break String::new(),
                Ok(count) => received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if begun.elapsed() > LONG {
                        break " (and the connection stays open)".to_owned();
                    }
                    self.reactor.turn(Duration::from_millis(1)).unwrap();
                }
                Err(error) => break format!(" (and then: {error})"),
            }
        };
        String::from_utf8_lossy(&received).into_owned() + &end
    }

    fn ask_the_time(&mut self) -> String {
        let mut client = TcpStream::connect(self.daytime).unwrap();
        self.receive_all(&mut client)
    }

    /// Has a client send as much to the discard service, and waits for the end of the connection.
    fn throw_away(&mut self, count: usize) {
        let mut client = TcpStream::connect(self.discard).unwrap();
        client.write_all(&vec![b'x'; count]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let answer = self.receive_all(&mut client);
        assert_eq!(answer, "", "the discard service answers nothing");
    }
}

#[test]
fn daytime_sends_one_line_and_closes() {
    let mut services = Services::new();
    assert_eq!(services.ask_the_time(), "Saturday, 0 bytes discarded\r\n");
}

#[test]
fn each_client_has_its_line() {
    let mut services = Services::new();
    let mut clients: Vec<TcpStream> = (0..20)
        .map(|_| TcpStream::connect(services.daytime).unwrap())
        .collect();
    for client in &mut clients {
        let line = services.receive_all(client);
        assert_eq!(line, "Saturday, 0 bytes discarded\r\n");
    }
}

#[test]
fn a_client_that_sends_something_has_its_line_all_the_same() {
    let mut services = Services::new();
    let mut client = TcpStream::connect(services.daytime).unwrap();
    client.write_all(&[b'?'; 10_000]).unwrap();
    let line = services.receive_all(&mut client);
    assert_eq!(line, "Saturday, 0 bytes discarded\r\n");
}

#[test]
fn what_was_discarded_is_counted_over_all_clients() {
    let mut services = Services::new();
    services.throw_away(11);
    assert_eq!(services.ask_the_time(), "Saturday, 11 bytes discarded\r\n");
    services.throw_away(20_000);
    services.throw_away(0);
    assert_eq!(
        services.ask_the_time(),
        "Saturday, 20011 bytes discarded\r\n"
    );
}

#[test]
fn discard_keeps_a_client_that_is_silent() {
    let mut services = Services::new();
    let mut silent = TcpStream::connect(services.discard).unwrap();
    silent.write_all(b"and then").unwrap();
    services.throw_away(3);
    silent.set_nonblocking(true).unwrap();
    let answer = silent.read(&mut [0]);
    let kind = answer.map_err(|error| error.kind());
    assert_eq!(kind, Err(ErrorKind::WouldBlock), "it is still connected");
}
