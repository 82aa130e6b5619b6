//! Event sources from outside, kept by type so that their dispatcher can have them back by reference.
//!
//! Registering one runs users' code: this is the one door in the wall.

use std::any::Any;
use std::io;

use mio::event::Source;
use mio::{Interest, Registry, Token};

use crate::world::endpoint::{Endpoint, Kind};

/// A source of a type that only its dispatcher knows.
pub(crate) struct Foreign<S>(pub(crate) S);

impl<S: Source + Any> Endpoint for Foreign<S> {
    fn kind(&self) -> Kind {
        Kind::Foreign
    }

    fn name(&self) -> &'static str {
        "a foreign source; use read_with and write_with"
    }

    fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        self.0.register(registry, token, both)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.0.deregister(registry)
    }
}
