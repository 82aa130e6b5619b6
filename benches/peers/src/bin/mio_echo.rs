//! The echo server on bare mio: the floor of slabloop, which is built on it.
//!
//! As `epoll_echo`, with mio's streams and events; the work on a connection is in
//! `slabloop_peers::relay`.

use std::io::ErrorKind;
use std::process::ExitCode;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use slabloop_peers::cli::{self, Result};
use slabloop_peers::relay::{Progress, Relay};
use slabloop_peers::serve::{self, Scratch};
use slabloop_peers::table::Table;

const LISTENER: Token = Token(usize::MAX);

struct Connection {
    stream: TcpStream,
    relay: Relay,
}

fn main() -> ExitCode {
    cli::run(serve)
}

fn serve() -> Result<()> {
    let mut listener = TcpListener::from_std(serve::listen(serve::echo_address()?)?);
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    serve::announce(listener.local_addr())?;

    let mut connections = Table::default();
    let mut scratch = Scratch::default();
    let mut events = Events::with_capacity(1_024);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            outcome => outcome?,
        }
        for event in &events {
            match event.token() {
                LISTENER => accept(&listener, poll.registry(), &mut connections)?,
                Token(key) => echo(event, key, &mut connections, &mut scratch),
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    registry: &Registry,
    connections: &mut Table<Connection>,
) -> Result<()> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nodelay(true)?;
                let key = connections.insert(Connection {
                    stream,
                    relay: Relay::default(),
                });
                if let Some(connection) = connections.get_mut(key) {
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    registry.register(&mut connection.stream, Token(key), interest)?;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => {
                eprintln!("accept: {error}");
                return Ok(());
            }
        }
    }
}

fn echo(event: &Event, key: usize, connections: &mut Table<Connection>, scratch: &mut [u8]) {
    let Some(Connection { stream, relay }) = connections.get_mut(key) else {
        return;
    };
    if event.is_readable() {
        relay.note_readable();
    }
    if event.is_read_closed() || event.is_error() {
        relay.note_closed();
    }
    match relay.pump(&*stream, &*stream, scratch) {
        Ok(Progress::Waiting) => {}
        // A client that reset its connection is no fault of the server: both ends alike, the socket
        // goes.
        Ok(Progress::Done) | Err(_) => drop(connections.remove(key)),
    }
}
