use std::io;
use std::net::SocketAddr;

use slabloop::{Dispatcher, Reactor};

/// Listens for clients of the discard service: all that they send is thrown away, and counted.
pub struct Discard;

impl Dispatcher for Discard {}

/// Listens for clients of the daytime service. Each is sent one line, and the connection is closed.
pub struct Daytime;

impl Dispatcher for Daytime {}

/// Adds both services to the reactor, on free ports; returns the addresses of discard and of daytime.
///
/// The line of the daytime service is what `now` returns, and how much all clients of the discard service
/// have sent until then: `Saturday, 11 bytes discarded`, with `\r\n` behind it.
pub fn serve(reactor: &mut Reactor, now: fn() -> String) -> io::Result<(SocketAddr, SocketAddr)> {
    let _ = now;
    let discard = reactor.listen("127.0.0.1:0", Discard)?;
    let daytime = reactor.listen("127.0.0.1:0", Daytime)?;
    Ok((reactor.local_addr(discard)?, reactor.local_addr(daytime)?))
}
