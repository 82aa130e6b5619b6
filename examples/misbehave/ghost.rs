//! An event source that leaves without signing off: the kernel goes on reporting it, under the name that it had. The loop
//! drops these events; no other dispatcher gets them, not even the one in its slot. There is no lint for it.

use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use slabloop::mio::event::Source;
use slabloop::mio::unix::SourceFd;
use slabloop::mio::{Interest, Registry, Token};
use slabloop::{Context, Dispatcher, Reactor, Socket};

const PERIOD: Duration = Duration::from_millis(500);

/// A source of the program's own, with a mistake. Closing a descriptor signs it off, unless there is a duplicate of it.
struct Careless(UnixStream);

impl Source for Careless {
    fn register(&mut self, registry: &Registry, name: Token, what: Interest) -> io::Result<()> {
        SourceFd(&self.0.as_raw_fd()).register(registry, name, what)
    }

    fn reregister(&mut self, registry: &Registry, name: Token, what: Interest) -> io::Result<()> {
        SourceFd(&self.0.as_raw_fd()).reregister(registry, name, what)
    }

    fn deregister(&mut self, _: &Registry) -> io::Result<()> {
        Ok(())
    }
}

struct Ghost;

impl Dispatcher for Ghost {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.abort();
        Ok(())
    }
}

/// Has the ghost's slot, and an address of its own.
struct Heir {
    _peer: UnixStream,
}

impl Dispatcher for Heir {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|_, _| Ok(()))
    }
}

fn heir() -> io::Result<(UnixStream, Heir)> {
    let (ours, peer) = UnixStream::pair()?;
    Ok((ours, Heir { _peer: peer }))
}

pub(crate) fn haunt(reactor: &mut Reactor) -> io::Result<()> {
    let (ours, mut peer) = UnixStream::pair()?;
    let duplicate = ours.try_clone()?;
    let source = Socket::foreign_with(Careless(ours), Interest::READABLE);
    reactor.add(source, Ghost)?;
    let mut waiting = Some(heir()?);
    let mut knocks = 0;
    reactor.call_every(PERIOD, move |reactor| {
        let _keeps_it_open = &duplicate;
        // The first one is for the ghost, which leaves.
        let _ = peer.write(b"x");
        knocks += 1;
        if let Some((socket, heir)) = waiting.take_if(|_| knocks > 1) {
            // Without memory for one more there is no heir.
            let _ = reactor.add(socket, heir);
        }
    });
    Ok(())
}
