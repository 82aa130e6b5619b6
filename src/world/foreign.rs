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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    struct Bell {
        prepared: Cell<bool>,
    }

    impl Source for Bell {
        fn register(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
            Ok(())
        }

        fn reregister(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
            Ok(())
        }

        fn deregister(&mut self, _: &Registry) -> io::Result<()> {
            Ok(())
        }
    }

    fn bell(interest: Interest) -> Foreign<Bell> {
        Foreign {
            source: Bell {
                prepared: Cell::new(false),
            },
            interest,
            prepare: |bell| {
                bell.prepared.set(true);
                Ok(())
            },
        }
    }

    #[test]
    fn one_that_is_only_written_has_no_reading_side() {
        assert!(bell(Interest::READABLE).can_recv());
        assert!(bell(Interest::READABLE | Interest::WRITABLE).can_recv());
        assert!(!bell(Interest::WRITABLE).can_recv());
    }

    #[test]
    fn it_is_prepared_in_its_own_way_and_named_by_its_type() {
        let bell = bell(Interest::READABLE);
        bell.set_nonblocking().expect("it can");
        assert!(bell.source.prepared.get());
        assert!(
            bell.name().starts_with("a foreign source"),
            "{}",
            bell.name()
        );
        assert!(bell.what().ends_with("::Bell"), "{}", bell.what());
    }
}
