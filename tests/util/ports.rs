//! Ports that nobody else gets. One that was bound to port 0 and given back may be another test's a moment later: all
//! that listen on "any port" draw from the same few thousand.

#![allow(dead_code, reason = "each test file uses a part")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use socket2::{Domain, Socket, Type};

/// A port for a program that cannot say which one it took, or one that is wanted on several addresses. It is free, and
/// below those that the system gives to whoever asks for any, be it a listener or the near end of a connection.
pub(crate) fn free_port() -> u16 {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    // Test programs that run side by side begin at different places.
    let first = std::process::id().wrapping_mul(64);
    loop {
        let number = first.wrapping_add(ASKED.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(10_000 + number % 20_000).expect("below 30,000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A bound socket that nobody listens on: it keeps its port from everybody else, and whoever connects is refused.
pub(crate) fn closed_port() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor");
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    socket.bind(&any.into()).expect("a free port");
    let address = socket.local_addr().expect("bound").as_socket();
    (socket, address.expect("an address of IPv4"))
}
