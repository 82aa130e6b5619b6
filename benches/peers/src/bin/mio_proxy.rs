//! The proxy on bare mio: the floor of slabloop, which is built on it.
//!
//! As `epoll_proxy`, with mio's streams and events; the work on a connection is in
//! `slabloop_peers::link`.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::ExitCode;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use slabloop_peers::cli::{self, Result};
use slabloop_peers::link::{Input, Link, Side};
use slabloop_peers::relay::Progress;
use slabloop_peers::serve::{self, ProxyOptions, Scratch};
use slabloop_peers::table::Table;

const LISTENER: Token = Token(usize::MAX);

fn main() -> ExitCode {
    cli::run(serve)
}

fn serve() -> Result<()> {
    let options = ProxyOptions::from_args()?;
    let mut listener = TcpListener::from_std(serve::listen(options.listen)?);
    let mut poll = Poll::new()?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    serve::announce(listener.local_addr())?;

    let mut links = Table::default();
    let mut scratch = Scratch::default();
    let mut events = Events::with_capacity(1_024);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            outcome => outcome?,
        }
        for event in &events {
            match event.token() {
                LISTENER => accept(&listener, poll.registry(), options.upstream, &mut links)?,
                Token(key) => relay(event, key, &mut links, &mut scratch),
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    registry: &Registry,
    upstream: SocketAddr,
    links: &mut Table<Link<TcpStream>>,
) -> Result<()> {
    loop {
        match listener.accept() {
            Ok((client, _)) => {
                let upstream = match TcpStream::connect(upstream) {
                    Ok(upstream) => upstream,
                    Err(error) => {
                        eprintln!("connect to {upstream}: {error}");
                        continue;
                    }
                };
                client.set_nodelay(true)?;
                upstream.set_nodelay(true)?;
                let key = links.insert(Link::new(client, upstream));
                if let Some(link) = links.get_mut(key) {
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    let (client, upstream) = link.sockets();
                    registry.register(client, Token(key * 2), interest)?;
                    registry.register(upstream, Token(key * 2 + 1), interest)?;
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

fn relay(event: &Event, token: usize, links: &mut Table<Link<TcpStream>>, scratch: &mut [u8]) {
    let key = token / 2;
    let Some(link) = links.get_mut(key) else {
        return;
    };
    let side = if token.is_multiple_of(2) {
        Side::Client
    } else {
        Side::Upstream
    };
    let input = match (
        event.is_read_closed() || event.is_error(),
        event.is_readable(),
    ) {
        (true, _) => Input::Closed,
        (false, true) => Input::Readable,
        (false, false) => Input::None,
    };
    link.note(side, input);
    match link.pump(scratch) {
        Ok(Progress::Waiting) => {}
        // A fault ends the link like an end of stream on both sides does.
        Ok(Progress::Done) | Err(_) => drop(links.remove(key)),
    }
}
