//! The echo server on bare mio and rustls: what there is without a library in between.
//!
//! One buffer for all connections, of what a record holds. A connection whose output does not leave
//! is not read: as much as rustls encrypts at once waits in it, and no more.

use std::io::{self, ErrorKind, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use rustls::{ServerConfig, ServerConnection};
use slab::Slab;
use slabloop_peers::cli::{self, Result};
use slabloop_peers::serve;
use slabloop_tls_costs::config;

const LISTENER: Token = Token(usize::MAX);

struct Connection {
    stream: TcpStream,
    tls: ServerConnection,
}

impl Connection {
    /// Everything that can be done now. False at the end of the stream.
    fn go_on(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        loop {
            while self.tls.wants_write() {
                self.tls.write_tls(&mut self.stream)?;
            }
            match self.tls.reader().read(buffer) {
                Ok(0) => {
                    self.tls.send_close_notify();
                    self.tls.write_tls(&mut self.stream)?;
                    return Ok(false);
                }
                Ok(count) => {
                    self.tls.writer().write_all(&buffer[..count])?;
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            self.tls.read_tls(&mut self.stream)?;
            self.tls.process_new_packets().map_err(io::Error::other)?;
        }
    }
}

fn main() -> ExitCode {
    cli::run(serve)
}

fn serve() -> Result<()> {
    let config::Server {
        tls: config,
        buffer,
    } = config::server_from_args()?;
    let mut listener = TcpListener::from_std(serve::listen(([127, 0, 0, 1], 0).into())?);
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    serve::announce(listener.local_addr())?;
    let mut connections = Slab::new();
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; buffer];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            outcome => outcome?,
        }
        for event in &events {
            if event.token() == LISTENER {
                accept_all(&listener, &poll, &config, &mut connections)?;
                continue;
            }
            let Some(connection) = connections.get_mut(event.token().0) else {
                continue;
            };
            match connection.go_on(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Ok(true) => {}
                Ok(false) | Err(_) => drop(connections.remove(event.token().0)),
            }
        }
    }
}

fn accept_all(
    listener: &TcpListener,
    poll: &Poll,
    config: &Arc<ServerConfig>,
    connections: &mut Slab<Connection>,
) -> Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => {
                eprintln!("accept: {error}");
                return Ok(());
            }
        };
        stream.set_nodelay(true)?;
        let entry = connections.vacant_entry();
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry()
            .register(&mut stream, Token(entry.key()), interest)?;
        let tls = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        entry.insert(Connection { stream, tls });
    }
}
