//! From the target of a request to a path below the root.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::answer::Status;

/// The target without scheme and host, which clients send to proxies and a server has to understand. `None` for one that is
/// not for this method (RFC 9112, section 3.2).
pub(crate) fn without_host<'a>(target: &'a str, method: &str) -> Option<&'a str> {
    if target.starts_with('/') {
        return Some(target);
    }
    match method {
        // No path, and so none of the files.
        "OPTIONS" if target == "*" => return Some("*"),
        "CONNECT" if target.contains(':') => return Some("*"),
        "CONNECT" => return None,
        _ => {}
    }
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    match rest.find(['/', '?']) {
        Some(0) => None,
        Some(end) if rest[end..].starts_with('/') => Some(&rest[end..]),
        _ if rest.is_empty() => None,
        _ => Some("/"),
    }
}

/// The path, without the query.
pub(crate) fn path(target: &str) -> &str {
    target.split_once('?').map_or(target, |(path, _)| path)
}

/// Decodes a path. It is relative, has no `..` and no empty name; one that ends in a slash, or in `/.`, is that folder's index.
pub(crate) fn below_root(path: &str, index: &str) -> Result<PathBuf, Status> {
    let mut decoded = PathBuf::new();
    let mut is_folder = false;
    for name in path.split('/') {
        let name = decode(name.as_bytes())?;
        is_folder = matches!(name.as_slice(), b"" | b".");
        match name.as_slice() {
            b"" | b"." => {}
            b".." => return Err(Status::BAD_REQUEST),
            // An encoded slash is no separator here, but may have been one to a proxy in front.
            _ if name.contains(&b'/') => return Err(Status::NOT_FOUND),
            _ => decoded.push(OsString::from_vec(name)),
        }
    }
    if is_folder {
        decoded.push(index);
    }
    Ok(decoded)
}

fn decode(name: &[u8]) -> Result<Vec<u8>, Status> {
    let mut decoded = Vec::with_capacity(name.len());
    let mut rest = name.iter();
    while let Some(&byte) = rest.next() {
        let byte = match byte {
            b'%' => {
                let mut digit = || {
                    let digit = char::from(*rest.next()?).to_digit(16)?;
                    u8::try_from(digit).ok()
                };
                let both = digit().zip(digit());
                let (high, low) = both.ok_or(Status::BAD_REQUEST)?;
                high << 4 | low
            }
            byte => byte,
        };
        if byte == 0 {
            return Err(Status::BAD_REQUEST);
        }
        decoded.push(byte);
    }
    Ok(decoded)
}

/// Where a folder is that was asked for without its slash. One slash at the beginning: two would name a host.
pub(crate) fn with_slash(target: &str) -> String {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, format!("?{query}")),
        None => (target, String::new()),
    };
    format!("/{}/{query}", path.trim_start_matches('/'))
}
