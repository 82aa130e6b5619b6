//! The target of a request.

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
