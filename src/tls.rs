//! TLS for any dispatcher (feature `tls`), with [rustls].
//!
//! The dispatcher needs no changes. Only the socket that is added gets a layer, by
//! [`Socket::layered`](crate::Socket::layered).
//!
//! ```
//! use std::io;
//! use std::sync::Arc;
//!
//! use slabloop::tls::Acceptor;
//! use slabloop::{Accepted, Context, Dispatcher, Socket};
//!
//! struct Listener {
//!     acceptor: Acceptor,
//! }
//!
//! impl Dispatcher for Listener {
//!     fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
//!         let layer = self.acceptor.session()?;
//!         cx.add(Socket::from(accepted).layered(layer), Echo)?;
//!         Ok(())
//!     }
//! }
//!
//! /// The same as without TLS.
//! struct Echo;
//!
//! impl Dispatcher for Echo {
//!     fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
//!         cx.recv_with(|bytes, cx| cx.send(bytes))
//!     }
//! }
//! # let _ = |config: rustls::ServerConfig| Listener { acceptor: Acceptor::new(Arc::new(config)) };
//! ```
//!
//! The options are those of rustls: an [`Acceptor`] is made from a `ServerConfig`, a [`Connector`] from a
//! `ClientConfig`, with client certificates, ALPN, resumption and all other settings of these. [`Context::tls`]
//! returns the negotiated parameters, in [`handle_handshake`](crate::Dispatcher::handle_handshake) or later.
//! [`Context::start_layer`] starts TLS on a stream that began in plaintext (STARTTLS).
//!
//! # How a stream ends
//!
//! `close` and `shutdown_write` send a `close_notify` before the end of the stream. When the peer's `close_notify`
//! arrives, `handle_eof` is called. A stream that ends without one was truncated: then `handle_error` is called with
//! `UnexpectedEof`, and `handle_eof` is not called. With TLS 1.3 each direction ends separately (half-close). A peer
//! with TLS 1.2 may treat the first `close_notify` as the end of both directions.

use std::any::Any;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection,
    SupportedCipherSuite,
};

use crate::{Below, Context, Layer};

/// The version of rustls that this crate uses.
pub use rustls;

/// Most bytes that are encrypted at once: what one record takes.
const RECORD_BYTES: usize = 16 * 1024;

/// A record's header, which counts in rustls' `max_fragment_size`.
const HEADER_BYTES: usize = 5;

/// More than the records of one TLS 1.2 connection that are not the program's: the end of its handshake, and alerts.
const SPARE_RECORDS: u64 = 64;

/// Most reads in one step of a handshake, or in one `recv` that finds nothing for the program, so that a peer that
/// sends much does not delay the others.
const READS_PER_STEP: usize = 8;

/// Makes the layers for the connections of a server.
#[derive(Clone, Debug)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
}

impl Acceptor {
    /// An acceptor with a configuration of rustls.
    ///
    /// ```no_run
    /// use slabloop::tls::Acceptor;
    /// use slabloop::tls::rustls::ServerConfig;
    /// use slabloop::tls::rustls::pki_types::pem::PemObject;
    /// use slabloop::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
    ///
    /// let chain = CertificateDer::pem_file_iter("chain.pem")?.collect::<Result<Vec<_>, _>>()?;
    /// let key = PrivateKeyDer::from_pem_file("key.pem")?;
    /// let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    /// let acceptor = Acceptor::new(config);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn new(config: impl Into<Arc<ServerConfig>>) -> Acceptor {
        Acceptor {
            config: config.into(),
        }
    }

    /// The layer for one connection, for [`Socket::layered`](crate::Socket::layered).
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the configuration accepts early data (0-RTT), which the layer does not deliver. An error of
    /// rustls if it refuses the configuration.
    pub fn session(&self) -> io::Result<Session> {
        if self.config.max_early_data_size > 0 {
            let text = "early data is not supported: max_early_data_size has to be 0";
            return Err(io::Error::new(ErrorKind::InvalidInput, text));
        }
        let server = ServerConnection::new(Arc::clone(&self.config)).map_err(io::Error::other)?;
        Ok(Session::new(server.into(), self.config.max_fragment_size))
    }
}

/// Makes the layers for the connections of a client.
#[derive(Clone, Debug)]
pub struct Connector {
    config: Arc<ClientConfig>,
}

impl Connector {
    /// A connector with a configuration of rustls.
    ///
    /// ```
    /// use slabloop::tls::Connector;
    /// use slabloop::tls::rustls::{ClientConfig, RootCertStore};
    ///
    /// // In a real program: the certificates of the authorities that it trusts.
    /// let roots = RootCertStore::empty();
    /// let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    /// let connector = Connector::new(config);
    /// ```
    #[must_use]
    pub fn new(config: impl Into<Arc<ClientConfig>>) -> Connector {
        Connector {
            config: config.into(),
        }
    }

    /// The layer for a connection to the server of this name, for [`Socket::layered`](crate::Socket::layered). The
    /// name is sent to the server (SNI), and the server's certificate has to be valid for it.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if `name` is not a valid server name. An error of rustls if it refuses the configuration.
    ///
    /// # Example
    ///
    /// ```
    /// use slabloop::tls::Connector;
    /// use slabloop::{Context, Dispatcher, Id, Socket};
    /// use std::io;
    /// use std::net::SocketAddr;
    ///
    /// struct Client;
    ///
    /// impl Dispatcher for Client {
    ///     fn handle_handshake(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
    ///         cx.send(b"hello\n")
    ///     }
    /// }
    ///
    /// fn connect(cx: &mut Context<'_>, tls: &Connector, server: SocketAddr) -> io::Result<Id<Client>> {
    ///     let layer = tls.session("example.org")?;
    ///     cx.add(Socket::dial(server)?.layered(layer), Client)
    /// }
    /// ```
    pub fn session(&self, name: &str) -> io::Result<Session> {
        let name = ServerName::try_from(name.to_owned()).map_err(|_| {
            let text = format!("{name:?} is not a valid server name");
            io::Error::new(ErrorKind::InvalidInput, text)
        })?;
        let config = Arc::clone(&self.config);
        let client = ClientConnection::new(config, name).map_err(io::Error::other)?;
        Ok(Session::new(client.into(), self.config.max_fragment_size))
    }
}

/// The TLS state of one connection: a [`Layer`].
#[derive(Debug)]
pub struct Session {
    connection: Connection,
    /// Bytes that are encrypted and not reported as sent: the kernel had no room for all of what they became. They
    /// are the first of those that the next `send` brings.
    unreported: usize,
    is_finished: bool,
    /// Most bytes of the program's in one record.
    fragment: usize,
    /// How many of its records there were.
    records: u64,
    /// The end has come, the peer's `close_notify` or a cut. What came before it may still have to be read.
    has_ended: bool,
    /// The error of reading. Bytes that came before it are still to be read.
    failure: Option<io::Error>,
    /// The alert about it has left.
    is_told: bool,
}

impl Session {
    fn new(connection: Connection, max_fragment_size: Option<usize>) -> Session {
        let fragment = max_fragment_size.map_or(RECORD_BYTES, |bytes| bytes - HEADER_BYTES);
        Session {
            connection,
            unreported: 0,
            is_finished: false,
            fragment,
            records: 0,
            has_ended: false,
            failure: None,
            is_told: false,
        }
    }

    /// Whether as many records more are over what the keys are good for, and they cannot be changed.
    ///
    /// Checked in advance: rustls would send `close_notify` in place of the record, and report the bytes as accepted.
    /// The peer would take the part for the whole.
    fn wears_out_with(&self, records: u64) -> bool {
        match self.connection.negotiated_cipher_suite() {
            Some(SupportedCipherSuite::Tls12(suite)) => {
                self.records + records + SPARE_RECORDS >= suite.common.confidentiality_limit
            }
            _ => false,
        }
    }

    /// The connection of rustls, with the negotiated parameters: version, cipher suite, ALPN protocol, the peer's
    /// certificates.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Writes what is encrypted. `WouldBlock` if some is left.
    fn flush(&mut self, below: &mut Below<'_>) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(below)?;
        }
        Ok(())
    }

    /// Reads more from below, and takes it in. False at the end of the stream.
    fn read_more(&mut self, below: &mut Below<'_>) -> io::Result<bool> {
        self.tell_failure()?;
        let count = self.connection.read_tls(below)?;
        match self.connection.process_new_packets() {
            Ok(news) => self.has_ended |= news.peer_has_closed() || count == 0,
            Err(error) => {
                self.failure = Some(io::Error::new(ErrorKind::InvalidData, error));
                // The alert for the peer. If there is no room for it, it is not sent.
                self.is_told = self.connection.wants_write() && self.flush(below).is_ok();
            }
        }
        Ok(count > 0)
    }

    fn tell_failure(&mut self) -> io::Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }
}

impl Layer for Session {
    fn handshake(&mut self, below: &mut Below<'_>) -> io::Result<()> {
        for _ in 0..READS_PER_STEP {
            self.flush(below)?;
            if !self.connection.is_handshaking() {
                return Ok(());
            }
            if !self.read_more(below)? {
                let text = "the peer ended the stream during the handshake";
                return Err(io::Error::new(ErrorKind::UnexpectedEof, text));
            }
            // At once: whether there is room for the alert or not.
            self.tell_failure()?;
        }
        // It goes on in the next turn.
        Err(ErrorKind::Interrupted.into())
    }

    fn recv(&mut self, below: &mut Below<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        let mut received = 0;
        for _ in 0..READS_PER_STEP {
            match self.connection.reader().read(&mut buffer[received..]) {
                Ok(count) if count > 0 => received += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // The end, which it reports again.
                _ if received > 0 => return Ok(received),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    let text = "the stream ended without close_notify: it was truncated";
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, text));
                }
                outcome => return outcome,
            }
            // As many records as the buffer takes, if they are there: a caller with a large buffer has much to move.
            if received > 0 && (received == buffer.len() || below.is_drained()) {
                return Ok(received);
            }
            let was_idle = !self.connection.wants_write();
            if let Err(error) = self.read_more(below) {
                if received == 0 {
                    return Err(error);
                }
                if error.kind() != ErrorKind::WouldBlock {
                    self.failure = Some(error);
                }
                return Ok(received);
            }
            if was_idle {
                // An answer to what came, the refusal to renegotiate for one. What there is no room for goes with
                // what is sent next. And a peer that takes no more may have sent what is still to be read.
                let _ = self.flush(below);
            }
        }
        let rest = self.connection.reader().read(&mut buffer[received..]);
        match received + rest.unwrap_or(0) {
            // It goes on in the next turn.
            0 => Err(ErrorKind::Interrupted.into()),
            received => Ok(received),
        }
    }

    fn holds_input(&self) -> bool {
        self.has_ended || self.failure.is_some()
    }

    fn send(&mut self, below: &mut Below<'_>, bytes: &[u8]) -> io::Result<usize> {
        let mut sent = 0;
        loop {
            match self.flush(below) {
                Ok(()) => {}
                // What has left is reported now, the error when it comes again.
                Err(_) if sent > 0 => return Ok(sent),
                Err(error) => return Err(error),
            }
            let reported = self.unreported.min(bytes.len() - sent);
            self.unreported -= reported;
            sent += reported;
            let rest = &bytes[sent..];
            if rest.is_empty() {
                return Ok(sent);
            }
            let record = &rest[..rest.len().min(RECORD_BYTES)];
            let records = record.len().div_ceil(self.fragment) as u64;
            if self.wears_out_with(records) {
                if sent > 0 {
                    return Ok(sent);
                }
                let text =
                    "the keys have encrypted as much as is safe, and TLS 1.2 cannot change them";
                return Err(io::Error::other(text));
            }
            self.records += records;
            self.unreported = self.connection.writer().write(record)?;
            if self.unreported == 0 {
                return Err(io::Error::other("rustls accepts no more data"));
            }
        }
    }

    fn finish(&mut self, below: &mut Below<'_>) -> io::Result<()> {
        if !self.is_finished {
            self.is_finished = true;
            self.connection.send_close_notify();
        }
        self.flush(below)
    }

    fn has_told_failure(&self) -> bool {
        self.is_told
    }
}

/// # TLS
impl Context<'_> {
    /// The TLS state of this connection; `None` if it has no TLS. Its [`connection`](Session::connection) has the
    /// version, the cipher suite, the ALPN protocol and the peer's certificates, from
    /// [`handle_handshake`](crate::Dispatcher::handle_handshake) on.
    ///
    /// ```
    /// use slabloop::{Context, Dispatcher};
    ///
    /// struct Client;
    ///
    /// impl Dispatcher for Client {
    ///     fn handle_handshake(&mut self, cx: &mut Context<'_>) -> std::io::Result<()> {
    ///         if let Some(tls) = cx.tls() {
    ///             let (version, alpn) = (tls.connection().protocol_version(), tls.connection().alpn_protocol());
    ///             println!("{version:?}, {alpn:?}");
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn tls(&mut self) -> Option<&Session> {
        let layer: &dyn Any = self.layer()?;
        layer.downcast_ref()
    }
}
