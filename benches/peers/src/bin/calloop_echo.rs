//! The echo server on calloop: an event source of its own per connection, built around `Generic`.
//!
//! Level-triggered, because calloop's readiness does not tell that the other side has closed: one
//! read per event, and whatever is left is told again. While the client does not take its answer,
//! the source is registered for writing instead of reading. One buffer serves all connections.

use std::cell::RefCell;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::rc::Rc;

use calloop::generic::Generic;
use calloop::{
    EventLoop, EventSource, Interest, LoopHandle, Mode, Poll, PostAction, Readiness, Token,
    TokenFactory,
};
use slabloop_peers::cli::{self, Doing, Result};
use slabloop_peers::relay::{Progress, Relay};
use slabloop_peers::serve::{self, Scratch};

type SharedScratch = Rc<RefCell<Scratch>>;

fn main() -> ExitCode {
    cli::run(serve)
}

fn serve() -> Result<()> {
    let listener = serve::listen(serve::echo_address()?)?;
    let address = listener.local_addr();

    let mut event_loop = EventLoop::<()>::try_new().doing("making the event loop")?;
    let handle = event_loop.handle();
    let scratch = Rc::new(RefCell::new(Scratch::default()));
    let source = Generic::new(listener, Interest::READ, Mode::Level);
    event_loop
        .handle()
        .insert_source(source, move |_, listener, ()| {
            accept(listener, &handle, &scratch)
        })
        .doing("adding the listener")?;
    serve::announce(address)?;
    loop {
        event_loop.dispatch(None, &mut ()).doing("dispatching")?;
    }
}

fn accept(
    listener: &TcpListener,
    handle: &LoopHandle<'static, ()>,
    scratch: &SharedScratch,
) -> io::Result<PostAction> {
    serve::accept_all(listener, |stream| {
        let connection = Connection {
            socket: Generic::new(stream, Interest::READ, Mode::Level),
            relay: Relay::default(),
            scratch: Rc::clone(scratch),
        };
        if let Err(error) = handle.insert_source(connection, |(), _, ()| ()) {
            eprintln!("adding a connection: {error}");
        }
        Ok(())
    })?;
    Ok(PostAction::Continue)
}

struct Connection {
    socket: Generic<TcpStream>,
    relay: Relay,
    scratch: SharedScratch,
}

impl Connection {
    fn echo(&mut self, readiness: Readiness) -> PostAction {
        if readiness.readable || readiness.error {
            self.relay.note_readable();
        }
        let stream = self.socket.get_ref();
        match self
            .relay
            .pump(stream, stream, &mut self.scratch.borrow_mut())
        {
            Ok(Progress::Waiting) => {}
            // A client that reset its connection is no fault of the server: both ends alike, it
            // goes.
            Ok(Progress::Done) | Err(_) => return PostAction::Remove,
        }
        let blocked = self.relay.is_blocked();
        if blocked == self.socket.interest.writable {
            return PostAction::Continue;
        }
        self.socket.interest = if blocked {
            Interest::WRITE
        } else {
            Interest::READ
        };
        PostAction::Reregister
    }
}

impl EventSource for Connection {
    // The connection does its work itself and has nothing to tell its callback.
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
        let mut seen = None;
        self.socket
            .process_events(readiness, token, |readiness, _| {
                seen = Some(readiness);
                Ok(PostAction::Continue)
            })?;
        Ok(seen.map_or(PostAction::Continue, |readiness| self.echo(readiness)))
    }

    fn register(&mut self, poll: &mut Poll, factory: &mut TokenFactory) -> calloop::Result<()> {
        self.socket.register(poll, factory)
    }

    fn reregister(&mut self, poll: &mut Poll, factory: &mut TokenFactory) -> calloop::Result<()> {
        self.socket.reregister(poll, factory)
    }

    fn unregister(&mut self, poll: &mut Poll) -> calloop::Result<()> {
        self.socket.unregister(poll)
    }
}
