//! The echo server on raw epoll: the floor, with nothing between the program and the kernel.
//!
//! Edge-triggered, each socket registered once; one buffer serves all connections. The work on a
//! connection is in `slabloop_peers::relay`.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;

use slabloop_peers::cli::{self, Result};
use slabloop_peers::relay::{Progress, Relay};
use slabloop_peers::serve::{self, Scratch};
use slabloop_peers::sys::{Epoll, Event, Interest};
use slabloop_peers::table::Table;

const LISTENER: usize = usize::MAX;

struct Connection {
    stream: TcpStream,
    relay: Relay,
}

fn main() -> ExitCode {
    cli::run(serve)
}

fn serve() -> Result<()> {
    let listener = serve::listen(serve::echo_address()?)?;
    let mut epoll = Epoll::new(1_024)?;
    epoll.add(&listener, Interest::Read, LISTENER)?;
    serve::announce(listener.local_addr())?;

    let mut connections = Table::default();
    let mut scratch = Scratch::default();
    let mut batch = Vec::new();
    loop {
        batch.clear();
        batch.extend_from_slice(epoll.wait(None)?);
        for event in &batch {
            if event.key() == LISTENER {
                accept(&listener, &epoll, &mut connections)?;
            } else {
                echo(*event, &mut connections, &mut scratch);
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    epoll: &Epoll,
    connections: &mut Table<Connection>,
) -> io::Result<()> {
    serve::accept_all(listener, |stream| {
        let key = connections.insert(Connection {
            stream,
            relay: Relay::default(),
        });
        if let Some(connection) = connections.get_mut(key) {
            epoll.add(&connection.stream, Interest::Stream, key)?;
        }
        Ok(())
    })
}

fn echo(event: Event, connections: &mut Table<Connection>, scratch: &mut [u8]) {
    let Some(Connection { stream, relay }) = connections.get_mut(event.key()) else {
        return;
    };
    if event.is_readable() {
        relay.note_readable();
    }
    if event.is_closed() {
        relay.note_closed();
    }
    match relay.pump(&*stream, &*stream, scratch) {
        Ok(Progress::Waiting) => {}
        // A client that reset its connection is no fault of the server: both ends alike, the socket
        // goes.
        Ok(Progress::Done) | Err(_) => drop(connections.remove(event.key())),
    }
}
