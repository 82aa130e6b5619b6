//! Takes connections to the inspector, a handful at a time.

use std::io;
use std::rc::Rc;

use crate::{Accepted, Context, Dispatcher};

use super::client::{Client, Server};
use super::gather::Gather;

/// Connections that are served at once.
const MOST_CLIENTS: usize = 8;
/// As many more get an answer that says so; connections beyond that are closed at once.
const MOST_TOLD: usize = 8;

#[derive(Debug)]
pub(super) struct Listener {
    pub(super) server: Server,
}

impl Dispatcher for Listener {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        // One is this listener's.
        let clients = Rc::strong_count(&self.server.places) - 1;
        if clients >= MOST_CLIENTS + MOST_TOLD {
            if let Some(gather) = cx.observer_mut::<Gather>() {
                gather.own_work.connections += 1;
            }
            return Ok(());
        }
        let id = cx.add(accepted, Client::new(self.server.clone()))?;
        let busy = clients >= MOST_CLIENTS;
        cx.with(id, |client, cx| client.begin(cx, busy))
            .unwrap_or(Ok(()))
    }
}
