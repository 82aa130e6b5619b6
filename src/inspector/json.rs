//! JSON, written a field at a time into a buffer that is used again. A beat has some three thousand fields, ten times a
//! second, in the midst of the loop's work.

use std::fmt::Display;
use std::net::SocketAddr;

use serde::Serialize;

use crate::AnyId;

/// See the head of this file. Commas come by themselves.
#[derive(Debug, Default)]
pub(super) struct Json {
    bytes: Vec<u8>,
}

impl Json {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A comma, unless what comes next is the first in its list or object, or has a name.
    #[inline]
    fn separate(&mut self) {
        if !matches!(self.bytes.last(), None | Some(b'{' | b'[' | b':')) {
            self.bytes.push(b',');
        }
    }

    /// What [`key`] makes of a name: with its quotes, its colon, and a comma before it. (Inlined, so that the length is known
    /// and nothing is called to copy some bytes.)
    #[inline(always)]
    pub(super) fn begin_field(&mut self, key: &'static str) -> &mut Json {
        if self.bytes.last() == Some(&b'{') {
            self.bytes.extend_from_slice(&key.as_bytes()[1..]);
        } else {
            self.bytes.extend_from_slice(key.as_bytes());
        }
        self
    }

    /// As [`key`], for one that is not a literal.
    pub(super) fn name(&mut self, name: &'static str) -> &mut Json {
        self.plain(name);
        self.bytes.push(b':');
        self
    }

    pub(super) fn object(&mut self, fields: impl FnOnce(&mut Json)) {
        self.separate();
        self.bytes.push(b'{');
        fields(self);
        self.bytes.push(b'}');
    }

    pub(super) fn list(&mut self, items: impl FnOnce(&mut Json)) {
        self.separate();
        self.bytes.push(b'[');
        items(self);
        self.bytes.push(b']');
    }

    /// A text of the inspector's own, which needs no escapes.
    #[inline]
    pub(super) fn plain(&mut self, text: &'static str) {
        self.separate();
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(b'"');
    }

    /// A text from outside: every character that needs it is escaped.
    pub(super) fn text(&mut self, text: &str) {
        self.separate();
        self.put(text);
    }

    pub(super) fn shown(&mut self, what: &dyn Display) {
        self.separate();
        self.put(&format_args!("{what}"));
    }

    /// An address. Of many connections most have an IPv4 one, which is written faster here than by its `Display`.
    pub(super) fn address(&mut self, address: SocketAddr) {
        let SocketAddr::V4(address) = address else {
            return self.shown(&address);
        };
        self.separate();
        let mut before = b'"';
        for octet in address.ip().octets() {
            self.bytes.push(before);
            self.digits(u64::from(octet));
            before = b'.';
        }
        self.bytes.push(b':');
        self.digits(u64::from(address.port()));
        self.bytes.push(b'"');
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.separate();
        let text: &[u8] = if value { b"true" } else { b"false" };
        self.bytes.extend_from_slice(text);
    }

    #[inline]
    pub(super) fn number(&mut self, value: u64) {
        self.separate();
        self.digits(value);
    }

    pub(super) fn size(&mut self, value: usize) {
        self.number(value as u64);
    }

    /// A time in nanoseconds, as microseconds with one decimal if that is not zero.
    #[inline]
    pub(super) fn micros(&mut self, nanos: u64) {
        let tenths = nanos / 100 + u64::from(nanos % 100 >= 50);
        self.number(tenths / 10);
        if tenths % 10 != 0 {
            self.bytes.push(b'.');
            self.digits(tenths % 10);
        }
    }

    /// An id as a text: empty for none.
    pub(super) fn id(&mut self, id: AnyId) {
        if id == AnyId::NONE {
            return self.plain("");
        }
        self.separate();
        self.bytes.push(b'"');
        self.digits(id.index() as u64);
        self.bytes.push(b'.');
        self.digits(u64::from(id.generation()));
        self.bytes.push(b'"');
    }

    /// Anything else; the slow way.
    pub(super) fn value(&mut self, value: &impl Serialize) -> serde_json::Result<()> {
        self.separate();
        serde_json::to_writer(&mut self.bytes, value)
    }

    #[inline]
    fn digits(&mut self, value: u64) {
        match u8::try_from(value) {
            // Most are this short.
            Ok(digit @ 0..=9) => self.bytes.push(b'0' + digit),
            _ => self.put(&value),
        }
    }

    /// A number or a text, as `serde_json` writes it.
    fn put(&mut self, value: &(impl Serialize + ?Sized)) {
        serde_json::to_writer(&mut self.bytes, value).expect("memory takes numbers and texts");
    }
}

/// The name of the value that comes next; it needs no escapes.
macro_rules! key {
    ($json:expr, $name:literal) => {
        $json.begin_field(concat!(",\"", $name, "\":"))
    };
}
pub(super) use key;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn written(write: impl FnOnce(&mut Json)) -> Value {
        let mut json = Json::default();
        write(&mut json);
        let text = String::from_utf8(json.as_bytes().to_vec()).unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    #[test]
    fn it_is_json_whatever_is_in_it() {
        struct Service;
        impl crate::Dispatcher for Service {}
        let mut reactor = crate::Reactor::new().unwrap();
        let id = reactor.add_service(Service).unwrap().any();
        let text = "a\"b\\c\n\u{1}\u{7f}é{[:,\u{2028}";
        let value = written(|json| {
            json.list(|json| {
                json.text(text);
                json.object(|json| {
                    key!(json, "x").number(0);
                    key!(json, "y").number(u64::MAX);
                    key!(json, "of").list(|_| {});
                });
                json.object(|_| {});
                json.bool(true);
                json.address("127.0.0.1:7000".parse().unwrap());
                json.address("[::1]:80".parse().unwrap());
                json.id(AnyId::NONE);
                json.id(id);
                json.text("ends like an opening {");
                json.value(&[1.5, 2.5]).unwrap();
                json.plain("");
            });
        });
        let expected = json!([
            text, {"x": 0, "y": u64::MAX, "of": []}, {}, true, "127.0.0.1:7000", "[::1]:80", "",
            id.to_string(), "ends like an opening {", [1.5, 2.5], ""
        ]);
        assert_eq!(value, expected);
    }

    #[test]
    fn times_have_a_decimal_if_they_need_one() {
        for (nanos, expected) in [
            (0, "0"),
            (10_000, "10"),
            (99_000, "99"),
            (100_000, "100"),
            (1_005_000, "1005"),
            (49, "0"),
            (50, "0.1"),
            (1_000, "1"),
            (1_950, "2"),
            (1_949, "1.9"),
            (123_456_789, "123456.8"),
            (u64::MAX, "18446744073709551.6"),
        ] {
            let mut json = Json::default();
            json.micros(nanos);
            assert_eq!(json.as_bytes(), expected.as_bytes());
        }
    }
}
