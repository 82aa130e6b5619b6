//! The placeholder for the socket of a dispatcher that has none.

use std::io;

use mio::{Registry, Token};

use crate::world::endpoint::{Endpoint, Kind};

/// The endpoint of a dispatcher without a socket: nothing arrives, nothing can be sent, and the poller does
/// not know of it.
pub(crate) struct Service;

impl Endpoint for Service {
    fn kind(&self) -> Kind {
        Kind::Service
    }

    fn name(&self) -> &'static str {
        "a service, which has no socket"
    }

    fn what(&self) -> &'static str {
        "no socket"
    }

    fn register(&mut self, _: &Registry, _: Token) -> io::Result<()> {
        Ok(())
    }

    fn deregister(&mut self, _: &Registry) -> io::Result<()> {
        Ok(())
    }

    fn can_recv(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_nothing_to_read_or_write() {
        let service = Service;
        assert!(!service.can_recv() && !service.can_send());
        assert_eq!(service.what(), "no socket");
    }
}
