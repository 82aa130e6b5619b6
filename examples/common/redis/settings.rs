//! The limits of a client.

use std::net::SocketAddr;
use std::time::Duration;

use super::resp::Version;
use super::server::Login;

/// How a client is to work.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) server: SocketAddr,
    /// If it wants one.
    pub(crate) login: Option<Login>,
    /// Connections at most.
    pub(crate) connections: usize,
    /// Requests in flight on each connection at most.
    pub(crate) pipeline: usize,
    /// Requests that wait for a connection with room, at most.
    pub(crate) max_waiting: usize,
    /// From when a request is made to its answer.
    pub(crate) timeout: Duration,
    /// Bytes of one reply at most, as it is sent. A longer one ends its connection.
    pub(crate) max_reply: usize,
    /// Bytes of one request at most, as it is sent.
    pub(crate) max_request: usize,
    pub(crate) version: Version,
}

impl Settings {
    pub(crate) fn new(server: SocketAddr) -> Settings {
        Settings {
            server,
            login: None,
            connections: 4,
            pipeline: 64,
            max_waiting: 10_000,
            timeout: Duration::from_secs(1),
            max_reply: 64 << 20,
            max_request: 64 << 20,
            version: Version::Resp2,
        }
    }
}
