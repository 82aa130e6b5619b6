//! One connection of the client's, with TLS or without.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};
use slabloop_peers::cli::{Doing, Error, Result};
use slabloop_peers::sys;

use crate::config::{self, Version};

/// A server that says nothing for so long hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes connections.
#[derive(Clone, Debug)]
pub struct Opener {
    target: SocketAddr,
    config: Option<Arc<ClientConfig>>,
}

/// A connection, blocking.
#[derive(Debug)]
pub struct Link {
    /// The socket.
    pub stream: TcpStream,
    /// None if it is plain.
    pub tls: Option<ClientConnection>,
}

impl Opener {
    /// To this server.
    ///
    /// # Errors
    ///
    /// A file that is no certificate.
    pub fn new(
        target: SocketAddr,
        ca: &str,
        version: Option<Version>,
        resumes: bool,
    ) -> Result<Opener> {
        let config = version.map(|version| config::client(ca, version, resumes));
        Ok(Opener {
            target,
            config: config.transpose()?.map(Arc::new),
        })
    }

    /// A connection that is through with its handshake.
    ///
    /// # Errors
    ///
    /// The kernel's and rustls'.
    pub fn open(&self, number: usize) -> Result<Link> {
        let mut link = self.connect(number)?;
        link.shake_hands()?;
        Ok(link)
    }

    /// A connection with its handshake to be made. If there is a ticket it has taken it.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn connect(&self, number: usize) -> Result<Link> {
        let stream = match sys::loopback_source(number, self.target) {
            Some((source, target)) => sys::connect_from(source, target),
            None => TcpStream::connect(self.target),
        };
        let stream = stream.doing(format!("connection {number}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut tls = None;
        if let Some(config) = &self.config {
            let name = ServerName::try_from("localhost").doing("a name")?;
            let client = ClientConnection::new(Arc::clone(config), name);
            tls = Some(client.doing("a connection of TLS")?);
        }
        Ok(Link { stream, tls })
    }
}

impl Link {
    /// Makes the handshake, and has one byte echoed: then the server is through with it, too, and its tickets have
    /// been read.
    ///
    /// # Errors
    ///
    /// The kernel's and rustls'.
    pub fn shake_hands(&mut self) -> Result<()> {
        self.echo_one_byte().doing("a connection's first byte")
    }

    fn echo_one_byte(&mut self) -> io::Result<()> {
        let mut byte = [b'x'];
        match &mut self.tls {
            Some(tls) => {
                let mut stream = rustls::Stream::new(tls, &mut self.stream);
                stream.write_all(&byte)?;
                stream.flush()?;
                stream.read_exact(&mut byte)
            }
            None => {
                self.stream.write_all(&byte)?;
                self.stream.read_exact(&mut byte)
            }
        }
    }

    /// Complains if the handshake was not of this kind.
    ///
    /// # Errors
    ///
    /// That it was not.
    pub fn expect_resumed(&self, resumed: bool) -> Result<()> {
        let Some(tls) = &self.tls else { return Ok(()) };
        let kind = tls.handshake_kind();
        if (kind == Some(HandshakeKind::Resumed)) == resumed {
            return Ok(());
        }
        Err(Error::Failed(format!("a handshake was {kind:?}")))
    }

    /// Says that it is over, and waits for the server's end. Servers end in more than one way, and this is not what
    /// is measured.
    pub fn close(mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            while tls.wants_write() && tls.write_tls(&mut self.stream).is_ok() {}
        }
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
        let _ = io::copy(&mut self.stream, &mut io::sink());
    }
}
