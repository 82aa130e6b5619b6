//! One record: an object of JSON, in which every text is escaped and none is long.

use std::fmt::{self, Write};
use std::time::Duration;

/// Longer texts end in an ellipsis. Peers may choose texts in errors and the names of Unix sockets.
const LONGEST_TEXT: usize = 200;

/// A thread in the viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Track {
    pub(super) process: u32,
    pub(super) thread: u64,
}

/// Where turns, steps and callbacks are.
pub(super) const LOOP: Track = Track {
    process: 1,
    thread: 1,
};

/// A record that is being written. Everything that follows [`Record::begin_args`] is an argument.
pub(super) struct Record<'a> {
    out: &'a mut String,
    in_args: bool,
    needs_comma: bool,
}

impl<'a> Record<'a> {
    pub(super) fn new(
        out: &'a mut String,
        phase: char,
        track: Track,
        at: Duration,
        name: impl fmt::Display,
    ) -> Record<'a> {
        out.push_str("{\"name\":");
        text(out, name);
        let Track { process, thread } = track;
        let head = format_args!(",\"ph\":\"{phase}\",\"pid\":{process},\"tid\":{thread},\"ts\":");
        to(out, head);
        micros(out, at);
        Record {
            out,
            in_args: false,
            needs_comma: true,
        }
    }

    pub(super) fn field(&mut self, key: &str, value: impl fmt::Display) {
        self.key(key);
        text(self.out, value);
    }

    pub(super) fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        to(self.out, format_args!("{value}"));
    }

    /// A time in microseconds, with fractions.
    pub(super) fn time(&mut self, key: &str, value: Duration) {
        self.key(key);
        micros(self.out, value);
    }

    pub(super) fn begin_args(&mut self) {
        self.out.push_str(",\"args\":{");
        self.in_args = true;
        self.needs_comma = false;
    }

    pub(super) fn end(self) {
        self.out.push_str(if self.in_args { "}}" } else { "}" });
    }

    /// Keys are the crate's own, and need no escaping.
    fn key(&mut self, key: &str) {
        if self.needs_comma {
            self.out.push(',');
        }
        self.needs_comma = true;
        to(self.out, format_args!("\"{key}\":"));
    }
}

fn to(out: &mut String, what: fmt::Arguments<'_>) {
    out.write_fmt(what).expect("a string takes everything");
}

fn micros(out: &mut String, time: Duration) {
    let nanos = time.as_nanos();
    to(out, format_args!("{}.{:03}", nanos / 1_000, nanos % 1_000));
}

fn text(out: &mut String, value: impl fmt::Display) {
    out.push('"');
    let mut escaping = Escaping {
        out,
        left: LONGEST_TEXT,
    };
    // An error says that it has become long enough, or that `value` gave up; what is there stays.
    let _ = write!(escaping, "{value}");
    out.push('"');
}

/// Writes characters as JSON has them between quotes, up to a length.
struct Escaping<'a> {
    out: &'a mut String,
    left: usize,
}

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if self.left == 0 {
                self.out.push('…');
                return Err(fmt::Error);
            }
            self.left -= 1;
            match character {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                // Markup stays text, even if a trace is pasted into a page.
                '<' | '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{2028}' | '\u{2029}' => {
                    write!(self.out, "\\u{:04x}", u32::from(character))?;
                }
                plain => self.out.push(plain),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &str) -> String {
        let mut out = String::new();
        text(&mut out, value);
        out
    }

    #[test]
    fn text_cannot_leave_its_quotes() {
        assert_eq!(shown("a\"},{\\"), r#""a\"},{\\""#);
        assert_eq!(shown("\n\0\u{7f}<b>"), r#""\u000a\u0000\u007f\u003cb>""#);
        assert_eq!(shown("\u{2028}é漢"), "\"\\u2028é漢\"");
    }

    #[test]
    fn text_ends_where_it_is_long_enough() {
        let long = shown(&"é".repeat(10_000));
        assert_eq!(long.chars().count(), LONGEST_TEXT + 3);
        assert!(long.ends_with("é…\""));
        assert_eq!(shown(&"a".repeat(LONGEST_TEXT)).len(), LONGEST_TEXT + 2);
    }

    #[test]
    fn times_are_exact_to_the_nanosecond() {
        let mut out = String::new();
        let mut record = Record::new(&mut out, 'X', LOOP, Duration::from_nanos(1_000_001), "a");
        record.time("dur", Duration::from_secs(3));
        record.begin_args();
        record.number("n", 7);
        record.end();
        let expected = r#"{"name":"a","ph":"X","pid":1,"tid":1,"ts":1000.001,"dur":3000000.000,"args":{"n":7}}"#;
        assert_eq!(out, expected);
    }
}
