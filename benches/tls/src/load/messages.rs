//! Messages on a number of connections, one on its way on each at a time.

use std::io::{self, ErrorKind, Read, Write};

use mio::{Events, Interest, Poll, Token};
use rustls::ClientConnection;
use slabloop_peers::cli::{Doing, Result};

use super::Options;
use super::link::{Link, Opener};

/// One connection, not blocking.
struct Talk {
    stream: mio::net::TcpStream,
    tls: Option<ClientConnection>,
    to_send: usize,
    to_receive: usize,
}

/// What all of them share.
struct Shared {
    payload: Vec<u8>,
    scratch: Vec<u8>,
    /// Messages that are still to be begun.
    left: usize,
    /// Messages that have not come back.
    open: usize,
}

/// Has `count` messages echoed, after some to warm up.
///
/// # Errors
///
/// A connection that fails.
pub fn run(options: &Options, opener: &Opener) -> Result<()> {
    let mut poll = Poll::new()?;
    let mut talks = Vec::new();
    for number in 0..options.connections {
        let Link { stream, tls } = opener.open(number)?;
        stream.set_nonblocking(true)?;
        let mut stream = mio::net::TcpStream::from_std(stream);
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry()
            .register(&mut stream, Token(number), interest)?;
        talks.push(Talk {
            stream,
            tls,
            to_send: 0,
            to_receive: 0,
        });
    }
    let mut shared = Shared {
        payload: (0..=u8::MAX).cycle().take(options.size).collect(),
        scratch: vec![0; 256 * 1024],
        left: 0,
        open: 0,
    };
    exchange(
        &mut poll,
        &mut talks,
        &mut shared,
        options.count.div_ceil(10),
    )?;
    super::measured(options, options.count, || {
        exchange(&mut poll, &mut talks, &mut shared, options.count)
    })
}

fn exchange(poll: &mut Poll, talks: &mut [Talk], shared: &mut Shared, count: usize) -> Result<()> {
    (shared.left, shared.open) = (count, count);
    for talk in talks.iter_mut() {
        talk.go_on(shared).doing("a message")?;
    }
    let mut events = Events::with_capacity(1024);
    while shared.open > 0 {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            outcome => outcome?,
        }
        for event in &events {
            talks[event.token().0].go_on(shared).doing("a message")?;
        }
    }
    Ok(())
}

impl Talk {
    /// Sends and receives until the kernel has neither room nor bytes.
    fn go_on(&mut self, shared: &mut Shared) -> io::Result<()> {
        loop {
            if self.to_receive == 0 && shared.left > 0 {
                shared.left -= 1;
                self.to_send = shared.payload.len();
                self.to_receive = shared.payload.len();
            }
            let (sent, received) = (self.send(shared)?, self.receive(shared)?);
            if !sent && !received {
                return Ok(());
            }
        }
    }

    fn send(&mut self, shared: &Shared) -> io::Result<bool> {
        let mut moved = false;
        loop {
            let rest = &shared.payload[shared.payload.len() - self.to_send..];
            let outcome = match &mut self.tls {
                Some(tls) => {
                    self.to_send -= tls.writer().write(rest)?;
                    if !tls.wants_write() {
                        return Ok(moved);
                    }
                    tls.write_tls(&mut self.stream)
                }
                None if rest.is_empty() => return Ok(moved),
                None => self
                    .stream
                    .write(rest)
                    .inspect(|count| self.to_send -= count),
            };
            match outcome {
                Ok(_) => moved = true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(moved),
                Err(error) => return Err(error),
            }
        }
    }

    fn receive(&mut self, shared: &mut Shared) -> io::Result<bool> {
        let mut moved = false;
        loop {
            match self.read(&mut shared.scratch) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.to_receive = self
                        .to_receive
                        .checked_sub(count)
                        .ok_or(ErrorKind::InvalidData)?;
                    moved = true;
                    if self.to_receive == 0 {
                        shared.open -= 1;
                        return Ok(true);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(moved),
                Err(error) => return Err(error),
            }
        }
    }

    fn read(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.stream.read(scratch);
        };
        loop {
            match tls.reader().read(scratch) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
            if tls.read_tls(&mut self.stream)? == 0 {
                return Ok(0);
            }
            tls.process_new_packets().map_err(io::Error::other)?;
        }
    }
}
