//! What TLS and HTTP cost on slabloop, beside other servers.
//!
//! TLS: every server has the same certificate, and the same client asks all of them for the same cipher suite, so that
//! two servers differ in what is between rustls (or OpenSSL) and the socket, and in nothing else.
//!
//! Reading order: [`config`]; the servers in `src/bin` (slabloop's are the crate's own examples); the client,
//! [`load`]; the runner, [`costs`].
//!
//! HTTP: [`http`] is the runner, for which the crate's example is the server, and [`proxied`] that for proxies.

pub mod config;
pub mod costs;
pub mod http;
pub mod load;
pub mod proxied;
