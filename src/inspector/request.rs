//! The head of a request, and whether it may be answered.

use std::net::IpAddr;

/// A head may have so many bytes,
pub(super) const MOST_BYTES: usize = 8 * 1024;
/// and so many lines.
const MOST_HEADERS: usize = 64;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// The answer is to have no body.
    pub(super) is_head: bool,
    /// Without the query.
    pub(super) path: String,
    host: String,
    /// What the browser says about the page that asks: `Sec-Fetch-Site`.
    site: Option<String>,
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Malformed,
    TooLarge,
    Method,
    Foreign,
}

impl Request {
    /// Reads a head. `None` if more of it is to come.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Request>, Refused> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut head = httparse::Request::new(&mut headers);
        match head.parse(bytes) {
            Ok(status) if status.is_complete() => {}
            Ok(_) if bytes.len() < MOST_BYTES => return Ok(None),
            Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(Refused::TooLarge),
            Err(_) => return Err(Refused::Malformed),
        }
        let is_head = match head.method {
            Some("GET") => false,
            Some("HEAD") => true,
            _ => return Err(Refused::Method),
        };
        let target = head.path.unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        Ok(Some(Request {
            is_head,
            path: path.to_owned(),
            host: only(head.headers, "Host")?.ok_or(Refused::Malformed)?,
            site: only(head.headers, "Sec-Fetch-Site")?,
        }))
    }

    /// Refuses what the page of another site may have sent: by a name of its own that it has given this machine's
    /// address, or across sites, which would not show it the answer, but would take one of the few places.
    pub(super) fn check(&self, local: Option<IpAddr>, names: &[String]) -> Result<(), Refused> {
        let same_site = self.site.as_deref().is_none_or(is_same_site);
        if same_site && is_ours(&self.host, local, names) {
            Ok(())
        } else {
            Err(Refused::Foreign)
        }
    }
}

fn is_same_site(site: &str) -> bool {
    site == "same-origin" || site == "none"
}

/// The one header of this name. Two are malformed: another reader might go by the other.
fn only(headers: &[httparse::Header<'_>], name: &str) -> Result<Option<String>, Refused> {
    let mut found = headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case(name));
    let (first, second) = (found.next(), found.next());
    if second.is_some() {
        return Err(Refused::Malformed);
    }
    let value = first.map(|header| std::str::from_utf8(header.value).map(str::to_owned));
    value.transpose().map_err(|_| Refused::Malformed)
}

/// Whether a `Host` names this machine: an address of it, or a name that an attacker cannot give an address.
fn is_ours(host: &str, local: Option<IpAddr>, names: &[String]) -> bool {
    let name = without_port(host);
    let literal = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    if let Ok(address) = literal.unwrap_or(name).parse::<IpAddr>() {
        let local = local.map(|local| local.to_canonical());
        return address.is_loopback() || Some(address.to_canonical()) == local;
    }
    name.eq_ignore_ascii_case("localhost")
        || names.iter().any(|ours| ours.eq_ignore_ascii_case(name))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Request>, Refused> {
        Request::parse(text.as_bytes())
    }

    #[test]
    fn a_head_is_read_when_it_is_whole() {
        assert_eq!(
            parse("GET /lints.json?x=1 HTTP/1.1\r\nHost: a\r\n"),
            Ok(None)
        );
        let request = parse("HEAD /lints.json?x=1 HTTP/1.1\r\nhost: a:1\r\n\r\n");
        let request = request.unwrap().unwrap();
        assert!(request.is_head);
        assert_eq!(
            (request.path.as_str(), request.host.as_str()),
            ("/lints.json", "a:1")
        );
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        let cases = [
            ("POST / HTTP/1.1\r\nHost: a\r\n\r\n", Refused::Method),
            ("GET / HTTP/1.1\r\n\r\n", Refused::Malformed),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
                Refused::Malformed,
            ),
            ("\u{1}\r\n\r\n", Refused::Malformed),
        ];
        for (text, refused) in cases {
            assert_eq!(parse(text), Err(refused), "{text:?}");
        }
        let many = "a: b\r\n".repeat(MOST_HEADERS);
        let many = parse(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"));
        assert_eq!(many, Err(Refused::TooLarge));
        let long = "x".repeat(MOST_BYTES);
        assert_eq!(parse(&format!("GET /{long}")), Err(Refused::TooLarge));
    }

    #[test]
    fn only_names_of_this_machine_are_answered() {
        let local = Some("192.0.2.7".parse().unwrap());
        let names = ["inspector.example".to_owned()];
        let allowed = |host: &str| {
            let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            let request = parse(&head).unwrap().unwrap();
            request.check(local, &names).is_ok()
        };
        for host in [
            "localhost",
            "LOCALHOST:9000",
            "127.0.0.1:9000",
            "127.1.2.3",
            "[::1]:9000",
            "192.0.2.7:9000",
            "Inspector.Example:1",
        ] {
            assert!(allowed(host), "{host}");
        }
        for host in [
            "",
            "example.org",
            "example.org:9000",
            "localhost.example.org",
            "127.0.0.1.example.org",
            "192.0.2.8",
            "[2001:db8::1]",
            "localhost:9000:x",
        ] {
            assert!(!allowed(host), "{host}");
        }
    }

    #[test]
    fn other_sites_are_refused() {
        for (site, is_ours) in [
            ("same-origin", true),
            ("none", true),
            ("cross-site", false),
            ("same-site", false),
        ] {
            let head = format!("GET / HTTP/1.1\r\nHost: [::1]\r\nSec-Fetch-Site: {site}\r\n\r\n");
            let request = parse(&head).unwrap().unwrap();
            assert_eq!(request.check(None, &[]).is_ok(), is_ours, "{site}");
        }
    }
}
