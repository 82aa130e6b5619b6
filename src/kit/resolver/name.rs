//! A domain name, as it goes over the wire, in lower case.

use std::fmt;

use domain::base::ToName;
use domain::base::name::{Name as DomainName, NameBuilder, PushError};
use domain::dep::octseq::Array;

use super::random::Random;

/// Most bytes of a name on the wire, the root's zero included (RFC 1035).
const MOST_BYTES: usize = 255;

/// As the crate `domain` has it, in place.
pub(super) type Wire = DomainName<Array<MOST_BYTES>>;

/// Equal names are equal bytes, for all letters are small.
#[derive(Clone)]
pub(super) struct Name(Wire);

impl Name {
    /// What a message has, in small letters. Every name that could be read fits.
    pub(super) fn of(name: &impl ToName) -> Option<Name> {
        name.try_to_canonical_name().ok().map(Name)
    }

    /// A host's name as people write it, with or without the dot at the end.
    ///
    /// The error says what is wrong with it.
    pub(super) fn of_host(text: &str) -> Result<Name, &'static str> {
        let name = Name::of_domain(text)?;
        let last = text.trim_end_matches('.').rsplit('.').next();
        if last.is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit())) {
            return Err("its last label is a number, as in an address, and it is no address");
        }
        Ok(name)
    }

    /// As [`of_host`](Name::of_host), where the last label may be a number.
    pub(super) fn of_domain(text: &str) -> Result<Name, &'static str> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err("it is empty");
        }
        if !text.is_ascii() {
            return Err("it has letters beyond ASCII: write its xn-- form");
        }
        let too_long = "it is longer than 253 bytes";
        let mut builder = NameBuilder::<Array<MOST_BYTES>>::new();
        for label in text.as_bytes().split(|byte| *byte == b'.') {
            if label.is_empty() {
                return Err("it has an empty label");
            }
            let is_usual = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
            if !label.iter().all(is_usual) {
                return Err("it has a character that is not allowed in host names");
            }
            builder.append_label(label).map_err(|error| match error {
                PushError::LongLabel => "it has a label of more than 63 bytes",
                _ => too_long,
            })?;
        }
        let mut name = builder.into_name().map_err(|_| too_long)?;
        name.make_canonical();
        Ok(Name(name))
    }

    /// This name below `domain`; `None` if that is too long.
    pub(super) fn below(&self, domain: &Name) -> Option<Name> {
        let relative = self.0.clone().into_relative();
        relative.chain(&domain.0).ok()?.try_to_name().ok().map(Name)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// With the case of each letter random (0x20).
    pub(super) fn mixed(&self, random: &mut Random) -> Wire {
        let mut bytes = self.0.clone().into_octets();
        let mut bits = 0;
        for (index, byte) in bytes.as_slice_mut().iter_mut().enumerate() {
            if index % 64 == 0 {
                bits = random.next();
            }
            // A length is at most 63, and no letter.
            if byte.is_ascii_lowercase() && bits >> (index % 64) & 1 == 1 {
                byte.make_ascii_uppercase();
            }
        }
        DomainName::from_octets(bytes).unwrap_or_else(|_| self.0.clone())
    }

    pub(super) fn to_wire(&self) -> Wire {
        self.0.clone()
    }

    /// Whether it is this name, in whatever letters.
    pub(super) fn is(&self, other: &impl ToName) -> bool {
        self.0 == *other
    }

    /// How many dots are between its labels.
    pub(super) fn dots(&self) -> usize {
        // The root is a label as well.
        self.0.label_count().saturating_sub(2)
    }

    /// Whether it is `localhost` or below (RFC 6761).
    pub(super) fn is_localhost(&self) -> bool {
        let last = self.0.iter().nth_back(1);
        last.is_some_and(|label| label.as_slice() == b"localhost")
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl fmt::Display for Name {
    /// As people write it, without the dot at the end. What could confuse a reader or a terminal is escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
