//! Commands that a connection is not to be shared with.

/// Commands that change what the connection is, or what the next reply belongs to: connections are shared.
const OWN_CONNECTION: [&str; 20] = [
    "AUTH",
    "DISCARD",
    "EXEC",
    "HELLO",
    "MONITOR",
    "MULTI",
    "PSUBSCRIBE",
    "PSYNC",
    "PUNSUBSCRIBE",
    "QUIT",
    "RESET",
    "SELECT",
    "SSUBSCRIBE",
    "SUBSCRIBE",
    "SUNSUBSCRIBE",
    "SYNC",
    "UNSUBSCRIBE",
    "UNWATCH",
    "WATCH",
    "REPLCONF",
];

/// Why these are no request for a connection that others use, too.
pub(crate) fn refusal<A: AsRef<[u8]>>(arguments: &[A]) -> Option<&'static str> {
    let Some(command) = arguments.first().map(AsRef::as_ref) else {
        return Some("a request without a command");
    };
    let is = |name: &str| command.eq_ignore_ascii_case(name.as_bytes());
    let replies_change = is("CLIENT")
        && arguments
            .get(1)
            .is_some_and(|word| word.as_ref().eq_ignore_ascii_case(b"REPLY"));
    if replies_change || OWN_CONNECTION.iter().any(|name| is(name)) {
        return Some("the command is for a connection of its own, and connections are shared");
    }
    None
}
