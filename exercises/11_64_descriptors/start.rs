use std::io::{self, ErrorKind, Read, Write};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);

/// How long a listener that found no descriptor may be left alone.
pub const RETRY: Duration = Duration::from_millis(50);

/// A server that answers each byte with the same byte.
pub struct Server {
    poll: Poll,
    listener: TcpListener,
    connections: Slab<TcpStream>,
}

impl Server {
    pub fn new(mut listener: TcpListener) -> io::Result<Server> {
        let poll = Poll::new()?;
        poll.registry()
            .register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Server {
            poll,
            listener,
            connections: Slab::new(),
        })
    }

    /// One wait, and all that it reports.
    pub fn turn(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(64);
        self.poll.poll(&mut events, None)?;
        for event in &events {
            match event.token() {
                LISTENER => self.accept_all(),
                Token(index) => self.echo(index),
            }
        }
        Ok(())
    }

    fn accept_all(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(stream),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    eprintln!("accept: {error}");
                    return;
                }
            }
        }
    }

    fn admit(&mut self, mut stream: TcpStream) {
        let entry = self.connections.vacant_entry();
        let token = Token(entry.key());
        let registry = self.poll.registry();
        if registry
            .register(&mut stream, token, Interest::READABLE)
            .is_ok()
        {
            entry.insert(stream);
        }
    }

    /// Answers what there is, and closes the connection when the client has.
    fn echo(&mut self, index: usize) {
        let Some(stream) = self.connections.get_mut(index) else {
            return;
        };
        let mut buffer = [0; 64];
        loop {
            match stream.read(&mut buffer) {
                Ok(count) if count > 0 && stream.write_all(&buffer[..count]).is_ok() => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                _ => break,
            }
        }
        self.connections.remove(index);
    }
}
