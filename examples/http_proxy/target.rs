//! What a client asks for: a URI with host and port, or after `CONNECT` these alone.

use crate::http::Status;
use crate::refusal::Refusal;

/// A URI, in parts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// An IPv6 address with its brackets.
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    /// Path and query, as they were sent; the slash at the beginning may be missing.
    pub(crate) path: &'a str,
}

const BAD: Refusal = Refusal::new(Status::BAD_REQUEST, "no proper target");
const NO_PROXY_REQUEST: Refusal = Refusal::new(
    Status::BAD_REQUEST,
    "this is a proxy: it wants http://HOST/PATH",
);
const SCHEME: Refusal = Refusal::new(Status::NOT_IMPLEMENTED, "https wants CONNECT");

/// `http://HOST[:PORT][/PATH][?QUERY]`
pub(crate) fn absolute(target: &str) -> Result<Target<'_>, Refusal> {
    let Some((scheme, rest)) = target.split_once("://") else {
        return Err(NO_PROXY_REQUEST);
    };
    if target.starts_with('/') {
        return Err(NO_PROXY_REQUEST);
    }
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(SCHEME);
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if path.contains('#') {
        return Err(BAD);
    }
    let (host, port) = host_and_port(authority)?;
    let port = match port {
        None | Some("") => 80,
        Some(port) => number(port)?,
    };
    Ok(Target { host, port, path })
}

/// `HOST:PORT`
pub(crate) fn authority(target: &str) -> Result<Target<'_>, Refusal> {
    let (host, port) = host_and_port(target)?;
    let port = number(port.ok_or(BAD)?)?;
    let path = "";
    Ok(Target { host, port, path })
}

/// A user's name before the host is refused: it is a way to make a host look like another (RFC 9110, 4.2.4).
fn host_and_port(authority: &str) -> Result<(&str, Option<&str>), Refusal> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let end = rest.find(']').ok_or(BAD)?;
            let (inside, behind) = (&rest[..end], &rest[end + 1..]);
            inside.parse::<std::net::Ipv6Addr>().map_err(|_| BAD)?;
            let port = match behind {
                "" => None,
                _ => Some(behind.strip_prefix(':').ok_or(BAD)?),
            };
            return Ok((&authority[..end + 2], port));
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if host.is_empty() || host.len() > 255 || !host.bytes().all(is_name) {
        return Err(BAD);
    }
    Ok((host, port))
}

fn number(port: &str) -> Result<u16, Refusal> {
    let is_number = port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    let number = port.parse().ok().filter(|port| is_number && *port > 0);
    number.ok_or(BAD)
}
