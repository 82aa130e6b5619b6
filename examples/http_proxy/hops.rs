//! Fields that concern one connection and not the message, and are not passed on (RFC 9110, 7.6.1).

/// These always, and those that `Connection` names.
const ALWAYS: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// More names than these in `Connection` are not meant well.
const MOST_NAMES: usize = 32;

/// What the `Connection` fields of a head say.
#[derive(Debug, Default)]
pub(crate) struct Hops<'a> {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    named: Vec<&'a [u8]>,
}

impl<'a> Hops<'a> {
    /// `None` if there is too much of it.
    pub(crate) fn of(fields: &[httparse::Header<'a>]) -> Option<Hops<'a>> {
        let mut hops = Hops::default();
        for field in fields {
            // (Old clients say it of their connection to a proxy in a field of its own.)
            let is_of = |name: &str| field.name.eq_ignore_ascii_case(name);
            if is_of("connection") || is_of("proxy-connection") {
                hops.take(field.value)?;
            }
        }
        Some(hops)
    }

    fn take(&mut self, value: &'a [u8]) -> Option<()> {
        for word in value.split(|byte| *byte == b',') {
            match word.trim_ascii() {
                b"" => {}
                word if word.eq_ignore_ascii_case(b"close") => self.close = true,
                word if word.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
                word => self.named.push(word),
            }
        }
        (self.named.len() <= MOST_NAMES).then_some(())
    }

    /// Whether the connection stays open after this message.
    pub(crate) fn stays_open(&self, is_1_1: bool) -> bool {
        !self.close && (is_1_1 || self.keep_alive)
    }

    /// Whether this field is not passed on.
    pub(crate) fn has(&self, name: &str) -> bool {
        // By length first: most fields are none of these.
        let is = |hop: &&str| hop.len() == name.len() && hop.eq_ignore_ascii_case(name);
        let is_named = |named: &&[u8]| named.eq_ignore_ascii_case(name.as_bytes());
        ALWAYS.iter().any(is) || self.named.iter().any(is_named)
    }
}

/// Whether a `Via` field names this proxy: then it has had the message before.
pub(crate) fn has_been_at(via: &[u8], own: &str) -> bool {
    let mut hops = via.split(|byte| *byte == b',');
    hops.any(|hop| {
        let mut words = hop
            .split(|byte| matches!(byte, b' ' | b'\t'))
            .filter(|word| !word.is_empty());
        words
            .nth(1)
            .is_some_and(|name| name.eq_ignore_ascii_case(own.as_bytes()))
    })
}
