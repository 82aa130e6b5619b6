//! From the target of a request to a path below the root.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use crate::answer::Status;
pub(crate) use crate::http::target::path;

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
