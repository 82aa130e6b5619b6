//! The two sides' rustls configurations, and the certificate.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CipherSuite, ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use slabloop_peers::cli::{self, Doing, Error, Result};

/// What the client asks for, and every server here has.
const SUITES: [CipherSuite; 2] = [
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
];

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 1.2
    Tls12,
    /// 1.3
    Tls13,
}

impl Version {
    /// As rustls has it.
    #[must_use]
    pub fn supported(self) -> &'static SupportedProtocolVersion {
        match self {
            Version::Tls12 => &rustls::version::TLS12,
            Version::Tls13 => &rustls::version::TLS13,
        }
    }
}

/// Writes `cert.pem` and `key.pem` (ECDSA with P-256, self-signed, for `localhost`), and both in one file, as HAProxy
/// wants it, `both.pem`.
///
/// # Errors
///
/// A folder that cannot be written.
pub fn write_certificate(folder: &Path) -> Result<()> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).doing("making a certificate")?;
    let (cert, key) = (cert.pem(), signing_key.serialize_pem());
    for (name, text) in [("cert.pem", &cert), ("key.pem", &key)] {
        fs::write(folder.join(name), text).doing(format!("writing {name}"))?;
    }
    fs::write(folder.join("both.pem"), format!("{cert}{key}")).doing("writing both.pem")
}

/// What is on the command line of a server.
#[derive(Clone, Debug)]
pub struct Server {
    /// With `--tls-cert` and `--tls-key`, as the examples have them.
    pub tls: Arc<ServerConfig>,
    /// `--buffer`: bytes that are read at once.
    pub buffer: usize,
}

/// The command line of a server.
///
/// # Errors
///
/// A bad command line, or files that are no certificate and its key.
pub fn server_from_args() -> Result<Server> {
    let (mut certificate, mut key) = (None, None);
    let mut buffer = 16 * 1024;
    let mut parser = lexopt::Parser::from_env();
    while let Some(flag) = cli::next_flag(&mut parser)? {
        let file = |parser: &mut lexopt::Parser| cli::value::<String>(parser, &flag, "a file");
        match flag.as_str() {
            "tls-cert" => certificate = Some(file(&mut parser)?),
            "tls-key" => key = Some(file(&mut parser)?),
            "buffer" => buffer = cli::value(&mut parser, &flag, "a number of bytes")?,
            _ => {
                let known = "--tls-cert FILE, --tls-key FILE and --buffer BYTES";
                return Err(cli::unknown(&flag, known));
            }
        }
    }
    let (Some(certificate), Some(key)) = (certificate, key) else {
        let text = "--tls-cert FILE and --tls-key FILE are both wanted";
        return Err(Error::Usage(text.to_owned()));
    };
    let chain = CertificateDer::pem_file_iter(&certificate)
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>)
        .doing(&certificate)?;
    let key = PrivateKeyDer::from_pem_file(&key).doing(&key)?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .doing("asking ring for its versions")?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .doing(&certificate)?;
    Ok(Server {
        tls: Arc::new(config),
        buffer,
    })
}

/// A client that trusts this certificate, and takes one version and one cipher suite.
///
/// # Errors
///
/// A file that is no certificate.
pub fn client(ca: &str, version: Version, resumes: bool) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(ca).doing(ca)?;
    roots.add(certificate).doing(ca)?;
    let mut provider: CryptoProvider = ring::default_provider();
    provider
        .cipher_suites
        .retain(|suite| SUITES.contains(&suite.suite()));
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version.supported()])
        .doing("asking ring for the version")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    if !resumes {
        config.resumption = Resumption::disabled();
    }
    Ok(config)
}
