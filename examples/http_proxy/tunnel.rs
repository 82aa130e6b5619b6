//! What follows a `CONNECT`: two connections, each of which feeds the other.

use std::io;

use slabloop::kit::limits::Place;
use slabloop::{AnyId, Cause, Context, Dispatcher, End, Id};

use crate::client::Client;
use crate::upstream::PIECE_BYTES;

/// One of the two connections of a tunnel.
pub(crate) struct Leg {
    other: AnyId,
    /// The client that waits for this connection to be made.
    waiting: Option<Id<Client>>,
    _place: Option<Place>,
}

impl Leg {
    /// The one to the server, which is being made.
    pub(crate) fn dialling(client: Id<Client>) -> Leg {
        Leg {
            other: client.any(),
            waiting: Some(client),
            _place: None,
        }
    }

    /// Puts the client's leg in the place of `Client`, in whose context this is called, and ties the two together.
    pub(crate) fn establish(
        cx: &mut Context<'_>,
        server: Id<Leg>,
        unread: &[u8],
        place: Option<Place>,
    ) -> io::Result<()> {
        let client = cx.any_id();
        cx.unread(unread)?;
        cx.replace(Leg {
            other: server.any(),
            waiting: None,
            _place: place,
        })?;
        cx.feeds(server);
        if let Some(mut server) = cx.at(server) {
            server.feeds(client);
        }
        Ok(())
    }
}

impl Dispatcher for Leg {
    fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let me = cx.id::<Leg>();
        if let Some(client) = self.waiting.take() {
            let called = cx.call(client, |client, cx| client.connected(cx, me));
            if called.is_err() {
                cx.abort();
            }
        }
        Ok(())
    }

    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_up_to(PIECE_BYTES, |bytes, cx| {
            cx.at(self.other)
                .map_or(Ok(()), |mut other| other.send(bytes))
        })
    }

    /// The end of one direction is no end of the other.
    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if let Some(mut other) = cx.at(self.other) {
            other.shutdown_write();
        }
        Ok(())
    }

    /// It goes on to its natural end, as long as the drain lasts.
    fn handle_shutdown(&mut self, _: &mut Context<'_>) -> io::Result<()> {
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        log::debug!("{}: {error}", cx.label());
        cx.abort();
    }

    /// A tunnel ends with either of its legs, and what broke on one side does not look like a clean end on the other.
    fn handle_close(&mut self, cx: &mut Context<'_>) {
        if let Some(client) = self.waiting.take() {
            let cause = cx.end_cause().unwrap_or(Cause::Aborted);
            let _ = cx.call(client, |client, cx| client.not_connected(cx, cause));
            return;
        }
        let is_well = cx.how_it_ended() == Some(End::Closed);
        if let Some(mut other) = cx.at(self.other) {
            if is_well {
                other.close();
            } else {
                other.abort_when_sent();
            }
        }
    }
}
