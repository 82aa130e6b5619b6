//! Where callbacks may go.
//!
//! A client that can name any address makes the workers ask what it cannot reach itself. So addresses are allowed one by
//! one, and looked up once, when the program starts: a name cannot come to mean another address between check and use.

use std::net::SocketAddr;

use crate::common::{self, Failure};

const LONGEST_URL: usize = 2048;

/// `http://HOST:PORT/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) text: String,
    /// `HOST:PORT`, as it was allowed.
    pub(crate) host: String,
    /// With the query.
    pub(crate) path: String,
    pub(crate) address: SocketAddr,
}

/// The values of `--callback-to`, and what they mean.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allowed(Vec<(String, SocketAddr)>);

impl Allowed {
    pub(crate) fn look_up(names: &[String]) -> Result<Allowed, Failure> {
        let mut allowed = Allowed::default();
        for name in names {
            let address = common::look_up("--callback-to", name)?[0];
            allowed.0.push((name.to_ascii_lowercase(), address));
        }
        Ok(allowed)
    }

    /// The error is for the client.
    pub(crate) fn check(&self, url: &str) -> Result<Url, String> {
        let is_visible =
            url.len() <= LONGEST_URL && url.bytes().all(|byte| byte.is_ascii_graphic());
        let rest = url.strip_prefix("http://").filter(|_| is_visible);
        let rest = rest.filter(|rest| !rest.contains('#'));
        let Some(rest) = rest else {
            return Err("callback: expected http://HOST:PORT/path, of visible ASCII".into());
        };
        let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let host = host.to_ascii_lowercase();
        match self.0.iter().find(|(name, _)| *name == host) {
            Some((_, address)) => Ok(Url {
                text: url.to_owned(),
                path: match path.starts_with('/') {
                    true => path.to_owned(),
                    false => format!("/{path}"),
                },
                host,
                address: *address,
            }),
            None => Err(format!(
                "callback: {host} is not among the allowed addresses"
            )),
        }
    }
}
