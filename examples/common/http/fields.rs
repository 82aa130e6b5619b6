//! The header fields that matter, and what of them is refused.

use super::Status;
use super::framing::Lengths;
use super::head::Conditions;

/// What the fields that matter say.
#[derive(Default)]
pub(crate) struct Fields<'a> {
    pub(crate) has_host: bool,
    pub(crate) lengths: Lengths,
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) expects_continue: bool,
    pub(crate) conditions: Conditions<'a>,
    pub(crate) referer: Option<&'a [u8]>,
    pub(crate) agent: Option<&'a [u8]>,
    pub(crate) idempotency_key: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    /// By length first: most fields are none of these, and are passed by one comparison.
    pub(crate) fn take(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), Status> {
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        match name.len() {
            4 if is(b"host") => self.take_host(value)?,
            5 if is(b"range") => self.conditions.range = Some(value),
            6 if is(b"expect") => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Status::EXPECTATION);
                }
                self.expects_continue = true;
            }
            7 if is(b"referer") => self.referer = Some(value),
            8 if is(b"if-match") => self.conditions.if_match = Some(value),
            8 if is(b"if-range") => self.conditions.if_range = Some(value),
            10 if is(b"connection") => self.take_connection(value),
            10 if is(b"user-agent") => self.agent = Some(value),
            13 if is(b"if-none-match") => self.conditions.if_none_match = Some(value),
            14 if is(b"content-length") => self.lengths.take_length(value)?,
            15 if is(b"idempotency-key") => self.take_idempotency_key(value)?,
            17 if is(b"if-modified-since") => self.conditions.if_modified_since = Some(value),
            17 if is(b"transfer-encoding") => self.lengths.take_encoding(value)?,
            19 if is(b"if-unmodified-since") => {
                self.conditions.if_unmodified_since = Some(value);
            }
            _ => {}
        }
        Ok(())
    }

    /// One host, of characters that a host and a port can have. (It chooses nothing here: there is one site.)
    fn take_host(&mut self, value: &[u8]) -> Result<(), Status> {
        let is_of_host =
            |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(byte);
        if self.has_host || !value.iter().all(is_of_host) {
            return Err(Status::BAD_REQUEST);
        }
        self.has_host = true;
        Ok(())
    }

    /// One: which of two would be meant?
    fn take_idempotency_key(&mut self, value: &'a [u8]) -> Result<(), Status> {
        match self.idempotency_key.replace(value) {
            None => Ok(()),
            Some(_) => Err(Status::BAD_REQUEST),
        }
    }

    fn take_connection(&mut self, value: &[u8]) {
        for word in value.split(|byte| *byte == b',') {
            let word = word.trim_ascii();
            self.close |= word.eq_ignore_ascii_case(b"close");
            self.keep_alive |= word.eq_ignore_ascii_case(b"keep-alive");
        }
    }
}
