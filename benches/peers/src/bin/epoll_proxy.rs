//! The proxy on raw epoll: the floor that copies through user space (no `splice`).
//!
//! The work on a connection is in `slabloop_peers::link`. A link's key is its place in the table
//! times two, plus one for the upstream's socket.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;

use slabloop_peers::cli::{self, Result};
use slabloop_peers::link::{Input, Link, Side};
use slabloop_peers::relay::Progress;
use slabloop_peers::serve::{self, ProxyOptions, Scratch};
use slabloop_peers::sys::{self, Epoll, Event, Interest};
use slabloop_peers::table::Table;

const LISTENER: usize = usize::MAX;

fn main() -> ExitCode {
    cli::run(serve)
}

fn serve() -> Result<()> {
    let options = ProxyOptions::from_args()?;
    let listener = serve::listen(options.listen)?;
    let mut epoll = Epoll::new(1_024)?;
    epoll.add(&listener, Interest::Read, LISTENER)?;
    serve::announce(listener.local_addr())?;

    let mut links = Table::default();
    let mut scratch = Scratch::default();
    let mut batch = Vec::new();
    loop {
        batch.clear();
        batch.extend_from_slice(epoll.wait(None)?);
        for event in &batch {
            if event.key() == LISTENER {
                accept(&listener, &epoll, options.upstream, &mut links)?;
            } else {
                relay(*event, &mut links, &mut scratch);
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    epoll: &Epoll,
    upstream: SocketAddr,
    links: &mut Table<Link<TcpStream>>,
) -> io::Result<()> {
    serve::accept_all(listener, |client| {
        let upstream = match sys::start_connect(upstream) {
            Ok(upstream) => upstream,
            Err(error) => {
                eprintln!("connect to {upstream}: {error}");
                return Ok(());
            }
        };
        upstream.set_nodelay(true)?;
        let key = links.insert(Link::new(client, upstream));
        if let Some(link) = links.get_mut(key) {
            let (client, upstream) = link.sockets();
            epoll.add(client, Interest::Stream, key * 2)?;
            epoll.add(upstream, Interest::Stream, key * 2 + 1)?;
        }
        Ok(())
    })
}

fn relay(event: Event, links: &mut Table<Link<TcpStream>>, scratch: &mut [u8]) {
    let key = event.key() / 2;
    let Some(link) = links.get_mut(key) else {
        return;
    };
    let side = if event.key().is_multiple_of(2) {
        Side::Client
    } else {
        Side::Upstream
    };
    let input = match (event.is_closed(), event.is_readable()) {
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
