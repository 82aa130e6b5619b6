//! Event sources from outside, kept by type so that their dispatcher can have them back by reference.
//!
//! Registering one runs users' code: this is the one door in the wall.

use std::any::Any;
use std::io;

use mio::event::Source;
use mio::{Interest, Registry, Token};

use crate::world::endpoint::{Endpoint, Kind};

/// A source of a type that only its dispatcher knows.
pub(crate) struct Foreign<S> {
    pub(crate) source: S,
    /// What the poller is asked to report.
    pub(crate) interest: Interest,
    /// Makes it non-blocking when it is added. Nothing, for a source that the user brings.
    pub(crate) prepare: fn(&S) -> io::Result<()>,
}

impl<S: Source + Any> Endpoint for Foreign<S> {
    fn kind(&self) -> Kind {
        Kind::Foreign
    }

    fn name(&self) -> &'static str {
        "a foreign source; use read_with and write_with"
    }

    fn what(&self) -> &'static str {
        std::any::type_name::<S>()
    }

    fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.source.register(registry, token, self.interest)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.source.deregister(registry)
    }

    fn can_recv(&self) -> bool {
        // An error is reported whatever was asked for, and must not bring a `handle_read`.
        self.interest != Interest::WRITABLE
    }

    fn set_nonblocking(&self) -> io::Result<()> {
        (self.prepare)(&self.source)
    }
}
