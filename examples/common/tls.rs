//! Accepted clients as sockets to be added: as they are, or with TLS.

use std::io;

use slabloop::{Accepted, Socket};

use super::Failure;

/// `--tls-cert` and `--tls-key`, read. Without these, none.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    #[cfg(feature = "tls")]
    acceptor: Option<slabloop::tls::Acceptor>,
}

impl Tls {
    /// The socket of a client that was accepted.
    ///
    /// # Errors
    ///
    /// What rustls finds wrong with its configuration.
    pub fn socket(&self, accepted: Accepted) -> io::Result<Socket> {
        #[cfg(feature = "tls")]
        if let Some(acceptor) = &self.acceptor {
            return Ok(Socket::from(accepted).layered(acceptor.session()?));
        }
        Ok(Socket::from(accepted))
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
        let text = "--tls-cert: built without TLS; use cargo run --features tls";
        Err(Failure::Usage(text.to_owned()))
    }

    #[cfg(feature = "tls")]
    fn with(certificate: &str, key: &str) -> Result<Tls, Failure> {
        use slabloop::tls::rustls::ServerConfig;
        use slabloop::tls::rustls::pki_types::pem::PemObject;
        use slabloop::tls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

        let bad =
            |flag: &str, file: &str, why: String| Failure::Work(format!("{flag} {file}: {why}"));
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| bad("--tls-cert", certificate, error.to_string()))?;
        let key_file = key;
        let key = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| bad("--tls-key", key_file, error.to_string()))?;
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| bad("--tls-cert", certificate, error.to_string()))?;
        Ok(Tls {
            acceptor: Some(slabloop::tls::Acceptor::new(config)),
        })
    }
}
