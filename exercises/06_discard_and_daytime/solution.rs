use std::io;
use std::net::SocketAddr;

use slabloop::{Accepted, Context, Dispatcher, Id, Reactor};

/// Listens for clients of the discard service: all that they send is thrown away, and counted.
#[derive(Default)]
pub struct Discard {
    discarded: u64,
}

impl Dispatcher for Discard {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let counter = cx.id();
        cx.add(accepted, Discarded { counter })?;
        Ok(())
    }
}

/// One client of it.
struct Discarded {
    /// Who counts for all of them.
    counter: Id<Discard>,
}

impl Dispatcher for Discarded {
    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let count = cx.recv(&mut [0; 4096])?;
        // `None` if the listener is gone: nobody counts any more, and nobody asks.
        cx.with(self.counter, |counter, _| {
            counter.discarded += count as u64;
        });
        Ok(())
    }
}

/// Listens for clients of the daytime service. Each is sent one line, and the connection is closed.
pub struct Daytime {
    now: fn() -> String,
    counter: Id<Discard>,
}

impl Dispatcher for Daytime {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let discarded = cx.with(self.counter, |counter, _| counter.discarded);
        let line = format!(
            "{}, {} bytes discarded\r\n",
            (self.now)(),
            discarded.unwrap_or(0)
        );
        let client = cx.add(accepted, Told)?;
        if let Some(mut client) = cx.at(client) {
            client.send(line.as_bytes())?;
            client.close();
        }
        Ok(())
    }
}

/// One client of it. There is nothing left to do but to close, which the reactor does.
struct Told;

impl Dispatcher for Told {}

/// Adds both services to the reactor, on free ports; returns the addresses of discard and of daytime.
///
/// The line of the daytime service is what `now` returns, and how much all clients of the discard service
/// have sent until then: `Saturday, 11 bytes discarded`, with `\r\n` behind it.
pub fn serve(reactor: &mut Reactor, now: fn() -> String) -> io::Result<(SocketAddr, SocketAddr)> {
    let discard = reactor.listen("127.0.0.1:0", Discard::default())?;
    let counter = discard;
    let daytime = reactor.listen("127.0.0.1:0", Daytime { now, counter })?;
    Ok((reactor.local_addr(discard)?, reactor.local_addr(daytime)?))
}
