//! What is right: an echo server, and a few clients that talk to it.

use std::io;
use std::time::Duration;

use slabloop::{Accepted, AnyId, Context, Dispatcher, Reactor, TimerId};

pub(crate) struct Listener;

impl Dispatcher for Listener {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        cx.add(accepted, Echo)?;
        Ok(())
    }
}

struct Echo;

impl Dispatcher for Echo {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|bytes, cx| cx.send(bytes))
    }
}

/// Says something so often.
struct Client(Duration);

impl Dispatcher for Client {
    fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.set_interval(self.0);
        Ok(())
    }

    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        cx.send(b"how do you do?\n")
    }

    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_with(|_, _| Ok(()))
    }
}

/// Connects so many clients to the listener.
pub(crate) fn clients(
    reactor: &mut Reactor,
    server: AnyId,
    count: usize,
    period: Duration,
) -> io::Result<()> {
    let mut address = reactor.local_addr(server)?;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    for _ in 0..count {
        reactor.connect(address, Client(period))?;
    }
    Ok(())
}
