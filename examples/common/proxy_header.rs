//! The header of the PROXY protocol, versions 1 and 2, in which a load balancer names the client.
//!
//! Own code, not a crate: version 2 is a fixed layout of a few fields, and every example brings this module, which may
//! not make the first of them build more. The tests hold it against the crate `ppp`, which refuses nothing of what is
//! refused here for its length.
//!
//! The specification: <https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt>.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// A longer header is refused. The two bytes that say its length could ask for 64 KiB; what load balancers add, names and
/// certificates' subjects, stays far below this.
pub const LONGEST: usize = 4096;

/// How version 2 begins, which no text does.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and protocol, length of the rest.
const FIXED: usize = 16;

/// How version 1 begins.
const WORD: &[u8] = b"PROXY ";

/// The longest line of version 1, with its end.
const LONGEST_LINE: usize = 107;

/// Two paths of Unix sockets are so long, with zeros behind them.
const PATH: usize = 108;

/// Where a connection comes from, by its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// From the load balancer itself, which looks whether the server is well.
    Local,
    /// From a client at this address.
    Inet(SocketAddr),
    /// From a client on the load balancer's machine, at this path, which is often empty.
    Unix(PathBuf),
    /// From a client of which the load balancer tells nothing.
    Unknown,
}

/// What the first bytes of a connection are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A part of a header.
    Partial,
    /// A header of so many bytes; what follows is the client's.
    Complete(Source, usize),
    /// No header, or a wrong one.
    Refused(&'static str),
}

/// Reads the header at the beginning of `input`.
#[must_use]
pub fn parse(input: &[u8]) -> Parsed {
    let parsed = if input.starts_with(SIGNATURE) {
        binary(input)
    } else if input.starts_with(WORD) {
        line(input)
    } else if SIGNATURE.starts_with(input) || WORD.starts_with(input) {
        Ok(None)
    } else {
        Err("it does not begin with a PROXY header")
    };
    match parsed {
        Ok(None) => Parsed::Partial,
        Ok(Some((source, length))) => Parsed::Complete(source, length),
        Err(why) => Parsed::Refused(why),
    }
}

type Found = Result<Option<(Source, usize)>, &'static str>;

/// Version 2.
fn binary(input: &[u8]) -> Found {
    let Some((fixed, rest)) = input.split_first_chunk::<FIXED>() else {
        return Ok(None);
    };
    let is_local = match fixed[12] {
        0x20 => true,
        0x21 => false,
        _ => return Err("a PROXY header of an unknown version or command"),
    };
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if FIXED + length > LONGEST {
        return Err("a PROXY header that is too long");
    }
    let Some(rest) = rest.get(..length) else {
        return Ok(None);
    };
    let source = match is_local {
        // Whatever else it says is to be passed over.
        true => Source::Local,
        false => source(fixed[13], rest)?,
    };
    Ok(Some((source, FIXED + length)))
}

/// The addresses of version 2, and what is behind them.
fn source(family: u8, rest: &[u8]) -> Result<Source, &'static str> {
    const SHORT: &str = "a PROXY header that is too short for its addresses";
    let (source, more) = match family {
        // The address family is not said, so that nothing behind it can be understood.
        0x00 => return Ok(Source::Unknown),
        0x11 => {
            let (addresses, more) = rest.split_first_chunk::<12>().ok_or(SHORT)?;
            let [a, b, c, d, _, _, _, _, port @ .., _, _] = *addresses;
            (inet(Ipv4Addr::new(a, b, c, d), port), more)
        }
        0x21 => {
            let (addresses, more) = rest.split_first_chunk::<36>().ok_or(SHORT)?;
            let (ip, ports) = addresses.split_first_chunk::<16>().ok_or(SHORT)?;
            (inet(Ipv6Addr::from(*ip), [ports[16], ports[17]]), more)
        }
        0x31 => {
            let (addresses, more) = rest.split_first_chunk::<{ 2 * PATH }>().ok_or(SHORT)?;
            let path = addresses[..PATH].split(|byte| *byte == 0).next();
            let path = OsStr::from_bytes(path.unwrap_or_default());
            (Source::Unix(path.into()), more)
        }
        0x12 | 0x22 | 0x32 => return Err("a PROXY header of datagrams"),
        _ => return Err("a PROXY header of an unknown family or protocol"),
    };
    check_fields(more)?;
    Ok(source)
}

fn inet(ip: impl Into<IpAddr>, port: [u8; 2]) -> Source {
    Source::Inet(SocketAddr::new(ip.into(), u16::from_be_bytes(port)))
}

/// Goes over the fields behind the addresses, of a type, a length of two bytes, and a value. None is used; but they have to
/// fill the header, or its writer and this reader do not mean the same.
fn check_fields(mut fields: &[u8]) -> Result<(), &'static str> {
    const WRONG: &str = "a PROXY header with a field that is cut off";
    while let Some((head, rest)) = fields.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([head[1], head[2]]));
        fields = rest.get(length..).ok_or(WRONG)?;
    }
    if fields.is_empty() {
        Ok(())
    } else {
        Err(WRONG)
    }
}

/// Version 1: a line of text.
fn line(input: &[u8]) -> Found {
    let seen = &input[..input.len().min(LONGEST_LINE)];
    let Some(end) = seen.windows(2).position(|two| two == b"\r\n") else {
        if input.len() >= LONGEST_LINE {
            return Err("a PROXY line that is too long");
        }
        return Ok(None);
    };
    const WRONG: &str = "a PROXY line that is wrong";
    let text = std::str::from_utf8(&seen[WORD.len()..end]).map_err(|_| WRONG)?;
    let mut words = text.split(' ');
    let source = match words.next() {
        // Whatever else it says is to be passed over.
        Some("UNKNOWN") => Source::Unknown,
        Some("TCP4") => text_source::<Ipv4Addr>(words).ok_or(WRONG)?,
        Some("TCP6") => text_source::<Ipv6Addr>(words).ok_or(WRONG)?,
        _ => return Err(WRONG),
    };
    Ok(Some((source, end + 2)))
}

/// Two addresses and two ports, of which the first are the client's.
fn text_source<'a, I>(mut words: impl Iterator<Item = &'a str>) -> Option<Source>
where
    I: std::str::FromStr + Into<IpAddr>,
{
    let ip: I = words.next()?.parse().ok()?;
    words.next()?.parse::<I>().ok()?;
    let port = port(words.next()?)?;
    let _own = self::port(words.next()?)?;
    match words.next() {
        None => Some(Source::Inet(SocketAddr::new(ip.into(), port))),
        Some(_) => None,
    }
}

/// Digits alone, without a zero in front.
fn port(word: &str) -> Option<u16> {
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit());
    let is_shortest = word == "0" || !word.starts_with('0');
    word.parse().ok().filter(|_| is_plain && is_shortest)
}
