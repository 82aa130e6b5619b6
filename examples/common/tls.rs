//! Accepted clients and upstreams, as they are or with TLS. Built without the feature `tls`, all flags are known
//! and refused.

use std::io;
use std::net::SocketAddr;

use lexopt::{Parser, ValueExt};
use slabloop::{Context, Dispatcher, Id, Socket};
#[cfg(feature = "tls")]
use {
    slabloop::tls::rustls::pki_types::pem::PemObject,
    slabloop::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer},
    slabloop::tls::rustls::{ClientConfig, RootCertStore, ServerConfig},
    slabloop::tls::{Acceptor, Connector},
};

use super::Failure;

#[cfg(not(feature = "tls"))]
fn built_without(flag: &str) -> Failure {
    Failure::Usage(format!(
        "{flag}: built without TLS; use cargo run --features tls"
    ))
}

#[cfg(feature = "tls")]
fn bad_file(flag: &str, file: &str, why: impl std::fmt::Display) -> Failure {
    Failure::Work(format!("{flag} {file}: {why}"))
}

/// All certificates of a file in PEM format, of which there is at least one.
#[cfg(feature = "tls")]
fn certificates(flag: &str, file: &str) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let read = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| bad_file(flag, file, error))?;
    if read.is_empty() {
        return Err(bad_file(
            flag,
            file,
            "no certificate in PEM format is in it",
        ));
    }
    Ok(read)
}

/// `--tls-cert` and `--tls-key`, read. Without these, none.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    #[cfg(feature = "tls")]
    acceptor: Option<Acceptor>,
}

impl Tls {
    /// Whether clients speak TLS.
    #[must_use]
    pub fn is_on(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.acceptor.is_some();
        #[cfg(not(feature = "tls"))]
        return false;
    }

    /// The socket of a client that was accepted, here or by another reactor.
    ///
    /// # Errors
    ///
    /// What rustls finds wrong with its configuration.
    pub fn socket(&self, accepted: impl Into<Socket>) -> io::Result<Socket> {
        let socket = accepted.into();
        #[cfg(feature = "tls")]
        if let Some(acceptor) = &self.acceptor {
            return Ok(socket.layered(acceptor.session()?));
        }
        Ok(socket)
    }

    /// Begins TLS on a client's connection, behind what was read of it; nothing without TLS.
    ///
    /// # Errors
    ///
    /// What rustls finds wrong with its configuration; that the connection has ended.
    pub fn start(&self, cx: &mut Context<'_>) -> io::Result<()> {
        #[cfg(feature = "tls")]
        if let Some(acceptor) = &self.acceptor {
            cx.start_layer(acceptor.session()?)?;
        }
        // (Built without TLS, there is nothing to be done to it.)
        let _ = cx;
        Ok(())
    }

    /// Reads certificate and key, which are files in PEM format.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] if one of the two is missing, or the program was built without TLS;
    /// [`Failure::Work`] with the file that cannot be used, and why.
    pub fn read(certificate: Option<&str>, key: Option<&str>) -> Result<Tls, Failure> {
        match (certificate, key) {
            (None, None) => Ok(Tls::default()),
            (Some(certificate), Some(key)) => Tls::with(certificate, key),
            (Some(_), None) => Err(Failure::Usage("--tls-cert wants --tls-key".to_owned())),
            (None, Some(_)) => Err(Failure::Usage("--tls-key wants --tls-cert".to_owned())),
        }
    }

    #[cfg(not(feature = "tls"))]
    fn with(_: &str, _: &str) -> Result<Tls, Failure> {
        Err(built_without("--tls-cert"))
    }

    #[cfg(feature = "tls")]
    fn with(certificate: &str, key: &str) -> Result<Tls, Failure> {
        let chain = certificates("--tls-cert", certificate)?;
        let private =
            PrivateKeyDer::from_pem_file(key).map_err(|error| bad_file("--tls-key", key, error))?;
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(|error| bad_file("--tls-cert", certificate, error))?;
        Ok(Tls::from(Acceptor::new(config)))
    }
}

#[cfg(feature = "tls")]
impl From<Acceptor> for Tls {
    fn from(acceptor: Acceptor) -> Tls {
        let acceptor = Some(acceptor);
        Tls { acceptor }
    }
}

/// How connections to one upstream are made: by default as they are.
#[derive(Clone, Debug, Default)]
pub struct Dialer {
    /// With the name that its certificate has to be for.
    #[cfg(feature = "tls")]
    tls: Option<(Connector, std::sync::Arc<str>)>,
}

impl Dialer {
    /// Begins to connect. Bytes that are sent before it is established, handshake included, are queued.
    ///
    /// # Errors
    ///
    /// What the system or rustls says at once.
    pub fn connect<D: Dispatcher>(
        &self,
        cx: &mut Context<'_>,
        address: SocketAddr,
        dispatcher: D,
    ) -> io::Result<Id<D>> {
        #[cfg(feature = "tls")]
        if let Some((connector, name)) = &self.tls {
            let layer = connector.session(name)?;
            return cx.add(Socket::dial(address)?.layered(layer), dispatcher);
        }
        cx.connect(address, dispatcher)
    }

    /// With TLS, to a server of this name.
    ///
    /// # Errors
    ///
    /// If it can be no server's name.
    #[cfg(feature = "tls")]
    pub fn tls(connector: Connector, name: &str) -> io::Result<Dialer> {
        // Said now, and not by the first client.
        connector.session(name)?;
        let tls = Some((connector, name.into()));
        Ok(Dialer { tls })
    }
}

/// What the flags are called that say how to connect.
#[derive(Debug)]
struct Names {
    tls: &'static str,
    name: &'static str,
    ca: &'static str,
    /// Whom to connect to.
    server: &'static str,
}

const UPSTREAM: Names = Names {
    tls: "--upstream-tls",
    name: "--upstream-name",
    ca: "--upstream-ca",
    server: "--upstream",
};

const TARGET: Names = Names {
    tls: "--tls",
    name: "--tls-name",
    ca: "--tls-ca",
    server: "--target",
};

/// `--upstream-tls`, `--upstream-name NAME` and `--upstream-ca FILE`, as they were given.
#[derive(Debug)]
pub struct UpstreamFlags {
    names: &'static Names,
    is_tls: bool,
    name: Option<String>,
    ca: Option<String>,
}

impl Default for UpstreamFlags {
    fn default() -> UpstreamFlags {
        UpstreamFlags::called(&UPSTREAM)
    }
}

impl UpstreamFlags {
    fn called(names: &'static Names) -> UpstreamFlags {
        UpstreamFlags {
            names,
            is_tls: false,
            name: None,
            ca: None,
        }
    }

    /// The same for clients of one server: `--tls`, `--tls-name NAME` and `--tls-ca FILE`.
    pub fn of_target() -> UpstreamFlags {
        UpstreamFlags::called(&TARGET)
    }

    /// As if the flag for TLS had been given.
    pub fn with_tls(&mut self) {
        self.is_tls = true;
    }

    /// Takes one flag. False if it is none of these.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] if its value is missing.
    pub fn take(&mut self, flag: &str, parser: &mut Parser) -> Result<bool, Failure> {
        let is = |name: &str| name.strip_prefix("--") == Some(flag);
        match self.names {
            names if is(names.tls) => self.is_tls = true,
            names if is(names.name) => self.name = Some(parser.value()?.string()?),
            names if is(names.ca) => self.ca = Some(parser.value()?.string()?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// For each of these upstreams, which are `HOST:PORT`, how to connect.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] if the flags do not go together, or with how this was built; [`Failure::Work`] with the
    /// file that cannot be used, and why.
    pub fn dialers(&self, upstreams: &[String]) -> Result<Vec<Dialer>, Failure> {
        let Names { tls, name, ca, .. } = self.names;
        let wants_tls = |flag: &str| Err(Failure::Usage(format!("{flag} wants {tls}")));
        match self {
            UpstreamFlags { is_tls: true, .. } => self.tls_dialers(upstreams),
            UpstreamFlags { name: Some(_), .. } => wants_tls(name),
            UpstreamFlags { ca: Some(_), .. } => wants_tls(ca),
            _ => Ok(vec![Dialer::default(); upstreams.len()]),
        }
    }

    #[cfg(not(feature = "tls"))]
    fn tls_dialers(&self, _: &[String]) -> Result<Vec<Dialer>, Failure> {
        Err(built_without(self.names.tls))
    }

    #[cfg(feature = "tls")]
    fn tls_dialers(&self, upstreams: &[String]) -> Result<Vec<Dialer>, Failure> {
        let roots = match &self.ca {
            Some(file) => roots_of(self.names, file)?,
            None => system_roots(self.names)?,
        };
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = Connector::new(config);
        let flag = match &self.name {
            Some(_) => self.names.name,
            None => self.names.server,
        };
        let dialers = upstreams.iter().map(|upstream| {
            let name = self.name.as_deref().unwrap_or_else(|| host_of(upstream));
            Dialer::tls(connector.clone(), name)
                .map_err(|error| Failure::Usage(format!("{flag}: {error}")))
        });
        dialers.collect()
    }
}

/// What stands before the port, without an IPv6 address' brackets.
#[cfg(feature = "tls")]
fn host_of(upstream: &str) -> &str {
    let host = upstream.rsplit_once(':').map_or(upstream, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(feature = "tls")]
fn roots_of(names: &Names, file: &str) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(names.ca, file)? {
        roots
            .add(certificate)
            .map_err(|error| bad_file(names.ca, file, error))?;
    }
    Ok(roots)
}

/// Those that the system trusts. A few that rustls cannot read are no reason not to start.
#[cfg(all(feature = "tls", feature = "system-roots"))]
fn system_roots(names: &Names) -> Result<RootCertStore, Failure> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let errors = found.errors.iter().map(|error| format!(": {error}"));
        let why = errors.collect::<String>();
        let Names { tls, ca, .. } = names;
        let text = format!("{tls}: the system has no roots{why}; name a file with {ca}");
        return Err(Failure::Work(text));
    }
    Ok(roots)
}

#[cfg(all(feature = "tls", not(feature = "system-roots")))]
fn system_roots(names: &Names) -> Result<RootCertStore, Failure> {
    let Names { tls, ca, .. } = names;
    let text = format!(
        "{tls}: built without the system's roots; name a file with {ca}, or use cargo run --features system-roots"
    );
    Err(Failure::Usage(text))
}
