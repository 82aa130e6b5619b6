//! The proxy on calloop: one event source per proxied connection, with two `Generic`s inside.
//!
//! Level-triggered like `calloop_echo`, so the interest of both sockets follows the state of the
//! link: a side is read while the other one takes what comes, and watched for writing while
//! something waits for it.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;
use std::rc::Rc;

use calloop::generic::Generic;
use calloop::{
    EventLoop, EventSource, Interest, LoopHandle, Mode, Poll, PostAction, Readiness, Token,
    TokenFactory,
};
use slabloop_peers::cli::{self, Doing, Result};
use slabloop_peers::link::{Input, Link, ShutdownWrite, Side};
use slabloop_peers::relay::Progress;
use slabloop_peers::serve::{self, ProxyOptions, Scratch};
use slabloop_peers::sys;

type SharedScratch = Rc<RefCell<Scratch>>;

fn main() -> ExitCode {
    cli::run(serve)
}

fn serve() -> Result<()> {
    let ProxyOptions { listen, upstream } = ProxyOptions::from_args()?;
    let listener = serve::listen(listen)?;
    let address = listener.local_addr();

    let mut event_loop = EventLoop::<()>::try_new().doing("making the event loop")?;
    let handle = event_loop.handle();
    let scratch = Rc::new(RefCell::new(Scratch::default()));
    let source = Generic::new(listener, Interest::READ, Mode::Level);
    event_loop
        .handle()
        .insert_source(source, move |_, listener, ()| {
            accept(listener, upstream, &handle, &scratch)
        })
        .doing("adding the listener")?;
    serve::announce(address)?;
    loop {
        event_loop.dispatch(None, &mut ()).doing("dispatching")?;
    }
}

fn accept(
    listener: &TcpListener,
    upstream: SocketAddr,
    handle: &LoopHandle<'static, ()>,
    scratch: &SharedScratch,
) -> io::Result<PostAction> {
    serve::accept_all(listener, |client| {
        let proxied = match join(client, upstream, scratch) {
            Ok(proxied) => proxied,
            Err(error) => {
                eprintln!("connect to {upstream}: {error}");
                return Ok(());
            }
        };
        if let Err(error) = handle.insert_source(proxied, |(), _, ()| ()) {
            eprintln!("adding a connection: {error}");
        }
        Ok(())
    })?;
    Ok(PostAction::Continue)
}

fn join(client: TcpStream, upstream: SocketAddr, scratch: &SharedScratch) -> io::Result<Proxied> {
    let upstream = sys::start_connect(upstream)?;
    upstream.set_nodelay(true)?;
    let (client, upstream) = (Shared(Rc::new(client)), Shared(Rc::new(upstream)));
    Ok(Proxied {
        client: Generic::new(client.clone(), Interest::READ, Mode::Level),
        upstream: Generic::new(upstream.clone(), Interest::READ, Mode::Level),
        link: Link::new(client, upstream),
        scratch: Rc::clone(scratch),
    })
}

/// A stream that both calloop's source and the link hold.
#[derive(Clone)]
struct Shared(Rc<TcpStream>);

impl AsFd for Shared {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Read for &Shared {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(buffer)
    }
}

impl Write for &Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ShutdownWrite for Shared {
    fn shutdown_write(&self) -> io::Result<()> {
        self.0.shutdown_write()
    }
}

struct Proxied {
    client: Generic<Shared>,
    upstream: Generic<Shared>,
    link: Link<Shared>,
    scratch: SharedScratch,
}

impl Proxied {
    /// Brings the interest of one socket in line with the link; says whether it had to change.
    fn follow(socket: &mut Generic<Shared>, (readable, writable): (bool, bool)) -> bool {
        let before = socket.interest;
        socket.interest = Interest { readable, writable };
        before.readable != readable || before.writable != writable
    }
}

impl EventSource for Proxied {
    // The source does its work itself and has nothing to tell its callback.
    type Event = ();
    type Metadata = ();
    type Ret = ();
    type Error = io::Error;

    fn process_events<F>(
        &mut self,
        readiness: Readiness,
        token: Token,
        _: F,
    ) -> io::Result<PostAction>
    where
        F: FnMut((), &mut ()),
    {
        let Proxied {
            client,
            upstream,
            link,
            scratch,
        } = self;
        for (socket, side) in [
            (&mut *client, Side::Client),
            (&mut *upstream, Side::Upstream),
        ] {
            // Each `Generic` knows its own token and passes over the other's events.
            socket.process_events(readiness, token, |readiness, _| {
                if readiness.readable || readiness.error {
                    link.note(side, Input::Readable);
                }
                Ok(PostAction::Continue)
            })?;
        }
        match link.pump(&mut scratch.borrow_mut()) {
            Ok(Progress::Waiting) => {}
            // A fault ends the link like an end of stream on both sides does.
            Ok(Progress::Done) | Err(_) => return Ok(PostAction::Remove),
        }
        let client_changed = Self::follow(client, link.interest(Side::Client));
        let upstream_changed = Self::follow(upstream, link.interest(Side::Upstream));
        Ok(if client_changed || upstream_changed {
            PostAction::Reregister
        } else {
            PostAction::Continue
        })
    }

    fn register(&mut self, poll: &mut Poll, factory: &mut TokenFactory) -> calloop::Result<()> {
        self.client.register(poll, factory)?;
        self.upstream.register(poll, factory)
    }

    fn reregister(&mut self, poll: &mut Poll, factory: &mut TokenFactory) -> calloop::Result<()> {
        self.client.reregister(poll, factory)?;
        self.upstream.reregister(poll, factory)
    }

    fn unregister(&mut self, poll: &mut Poll) -> calloop::Result<()> {
        self.client.unregister(poll)?;
        self.upstream.unregister(poll)
    }
}
