//! Finding where records end, with nothing remembered but how far a match has come.
//!
//! A terminator that is only half there at the end of a piece is not kept: the count of bytes that matched is enough,
//! for they *are* the beginning of the terminator, and if the match fails they are given back as data from there
//! (Knuth, Morris and Pratt's automaton). So the work is linear in the input, however it is cut and whatever the
//! terminator. Where nothing has matched, which is nearly everywhere, the next byte that may begin a terminator is
//! found many bytes at a time.

use std::io;

use super::search::{fill_fallback, find};
use super::terminator::Terminator;
use crate::world::errors::invalid;

/// What the decoder makes of the next bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// This many bytes of input are data of the current record.
    Data(usize),
    /// This many bytes of the terminator that had matched are data after all. No input is used up.
    GiveBack(usize),
    /// This many bytes of input were used up by the framing itself.
    Framing(usize),
    /// A record is complete; this many bytes of input were its end.
    Record(usize),
    /// All input has been looked at.
    NeedMore,
}

/// The state of one stream's framing.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    terminator: Terminator,
    /// For `Bytes`: `fallback[i]` is the length of the longest proper prefix that is also a suffix of the
    /// first `i + 1` bytes.
    fallback: Vec<usize>,
    progress: Progress,
}

/// How far the current record has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Progress {
    /// Between records, or in the data of one that has no length.
    #[default]
    Open,
    /// So many bytes of the terminator have matched and have not been handed out.
    Matched(usize),
    /// All data of the record has been handed out. Its end, so many bytes, is what comes next.
    Ended(usize),
    /// Reading a length: its value so far and how many digits or bytes of it were seen.
    Length { value: usize, seen: usize },
    /// So many bytes of the record are still to come, and a netstring's comma after them.
    Body(usize),
}

impl Decoder {
    pub(super) fn new(terminator: Terminator, max_record: usize) -> io::Result<Decoder> {
        let mut decoder = Decoder::default();
        decoder.set(terminator, max_record)?;
        Ok(decoder)
    }

    /// Changes what ends records. The caller has to pass the bytes that are [held](Decoder::held) as input again:
    /// from now on they are forgotten.
    pub(super) fn set(&mut self, terminator: Terminator, max_record: usize) -> io::Result<()> {
        match &terminator {
            Terminator::Bytes(bytes) if bytes.is_empty() => {
                return Err(invalid("the terminator is empty".to_owned()));
            }
            Terminator::Length(length) if *length > max_record => {
                return Err(invalid(format!(
                    "a record of {length} bytes is over the maximum of {max_record}"
                )));
            }
            _ => {}
        }
        self.fallback.clear();
        if let Terminator::Bytes(bytes) = &terminator {
            fill_fallback(bytes, &mut self.fallback);
        }
        self.progress = match terminator {
            Terminator::Length(length) => Progress::Body(length),
            _ => Progress::Open,
        };
        self.terminator = terminator;
        Ok(())
    }

    /// The terminator in force; a `Length` shows what is still to come.
    pub(super) fn terminator(&self) -> Terminator {
        match (&self.terminator, self.progress) {
            (Terminator::Length(_), Progress::Body(left)) => Terminator::Length(left),
            (terminator, _) => terminator.clone(),
        }
    }

    /// Input that was used up and may turn out to be data: a terminator or a length that is half there.
    pub(super) fn held(&self) -> Vec<u8> {
        match (&self.terminator, self.progress) {
            (_, Progress::Matched(matched)) => self.given_back(matched).to_vec(),
            (Terminator::Prefixed(_), Progress::Length { value, seen }) => {
                let bytes = value.to_be_bytes();
                bytes[bytes.len() - seen..].to_vec()
            }
            (_, Progress::Length { value, .. }) => value.to_string().into_bytes(),
            (_, Progress::Open | Progress::Ended(_) | Progress::Body(_)) => Vec::new(),
        }
    }

    /// The input is over: what was held back as the beginning of the terminator, which it is not.
    pub(super) fn take_held(&mut self) -> Vec<u8> {
        let Progress::Matched(matched) = self.progress else {
            return Vec::new();
        };
        self.progress = Progress::Open;
        self.given_back(matched).to_vec()
    }

    /// The beginning of a record as it came, of which `data` has been handed out. The record is forgotten: the next
    /// input begins one.
    pub(super) fn take_begun(&mut self, data: Vec<u8>) -> Vec<u8> {
        let mut begun = self.length_before(data.len());
        begun.extend(data);
        // (An end that was found behind the data is input still.)
        begun.extend(self.held());
        self.progress = match (&self.terminator, self.progress) {
            (Terminator::Length(_), Progress::Body(left)) => Progress::Body(left + begun.len()),
            _ => Progress::Open,
        };
        begun
    }

    /// The length that came before a record, of which so many bytes have come.
    fn length_before(&self, data: usize) -> Vec<u8> {
        let Progress::Body(left) = self.progress else {
            return Vec::new();
        };
        let length = left + data;
        match &self.terminator {
            Terminator::Netstring => format!("{length}:").into_bytes(),
            Terminator::Prefixed(prefix) => {
                let bytes = length.to_be_bytes();
                bytes[bytes.len() - prefix.width()..].to_vec()
            }
            _ => Vec::new(),
        }
    }

    /// The bytes that a [`Step::GiveBack`] speaks of: the beginning of the terminator.
    pub(super) fn given_back(&self, count: usize) -> &[u8] {
        match &self.terminator {
            Terminator::Bytes(bytes) => &bytes[..count],
            _ => &b"\r"[..count],
        }
    }

    /// Whether a record is complete without another byte: all of the length that was told has come.
    #[inline]
    pub(super) fn is_complete(&self) -> bool {
        self.progress == Progress::Body(0)
            && matches!(
                self.terminator,
                Terminator::Length(_) | Terminator::Prefixed(_)
            )
    }

    /// Looks at the next input.
    #[inline]
    pub(super) fn step(&mut self, input: &[u8], max_record: usize) -> io::Result<Step> {
        if let Progress::Ended(end) = self.progress {
            self.progress = Progress::Open;
            return Ok(Step::Record(end));
        }
        if self.is_complete() {
            if let Terminator::Length(_) = self.terminator {
                self.terminator = Terminator::None;
            }
            self.progress = Progress::Open;
            return Ok(Step::Record(0));
        }
        if input.is_empty() {
            return Ok(Step::NeedMore);
        }
        match &self.terminator {
            Terminator::None => Ok(Step::Data(input.len())),
            Terminator::Bytes(_) => Ok(self.step_bytes(input)),
            Terminator::Line => Ok(self.step_line(input)),
            Terminator::Length(_) => Ok(self.step_body(input)),
            Terminator::Netstring => self.step_netstring(input, max_record),
            Terminator::Prefixed(prefix) => {
                let width = prefix.width();
                self.step_prefixed(input, width, max_record)
            }
        }
    }

    fn step_bytes(&mut self, input: &[u8]) -> Step {
        let Terminator::Bytes(terminator) = &self.terminator else {
            return Step::NeedMore;
        };
        let held = match self.progress {
            Progress::Matched(held) => held,
            _ => 0,
        };
        let (used, matched) = self.scan(terminator, held, input);
        // What was held and what was used are one string, which ends in the match. All before is data.
        let data = held + used - matched;
        if data > 0 && held > 0 {
            let given_back = data.min(held);
            self.progress = Progress::Matched(held - given_back);
            return Step::GiveBack(given_back);
        }
        if matched == terminator.len() {
            return self.ended(data, used - data);
        }
        if data > 0 {
            return Step::Data(data);
        }
        self.progress = Progress::Matched(matched);
        Step::Framing(used)
    }

    /// Looks for the terminator, of which `matched` bytes came before `input`: how much of the input was
    /// looked at, and how much of the terminator that ends in.
    fn scan(&self, terminator: &[u8], mut matched: usize, input: &[u8]) -> (usize, usize) {
        let mut used = 0;
        while matched < terminator.len() && used < input.len() {
            if input[used] == terminator[matched] {
                used += 1;
                matched += 1;
            } else if matched > 0 {
                // The longest part of the match that may still begin the terminator is kept, and this
                // byte is looked at again.
                matched = self.fallback[matched - 1];
            } else {
                used += find(terminator[0], &input[used..]);
            }
        }
        (used, matched)
    }

    #[inline]
    fn step_line(&mut self, input: &[u8]) -> Step {
        if self.progress == Progress::Matched(1) {
            // A carriage return came last: part of the end of the line only if the line ends here.
            self.progress = Progress::Open;
            return if input[0] == b'\n' {
                Step::Record(1)
            } else {
                Step::GiveBack(1)
            };
        }
        let place = find(b'\n', input);
        let line = &input[..place];
        let data = line.strip_suffix(b"\r").unwrap_or(line).len();
        if place < input.len() {
            return self.ended(data, place + 1 - data);
        }
        if data > 0 {
            return Step::Data(data);
        }
        self.progress = Progress::Matched(1);
        Step::Framing(1)
    }

    /// The end of the record has been found, behind what is left of its data.
    fn ended(&mut self, data: usize, end: usize) -> Step {
        if data == 0 {
            self.progress = Progress::Open;
            return Step::Record(end);
        }
        self.progress = Progress::Ended(end);
        Step::Data(data)
    }

    fn step_body(&mut self, input: &[u8]) -> Step {
        let Progress::Body(left) = self.progress else {
            return Step::NeedMore;
        };
        let data = left.min(input.len());
        self.progress = Progress::Body(left - data);
        Step::Data(data)
    }

    fn step_netstring(&mut self, input: &[u8], max_record: usize) -> io::Result<Step> {
        let (mut value, mut seen) = match self.progress {
            Progress::Body(0) if input[0] == b',' => {
                self.progress = Progress::Open;
                return Ok(Step::Record(1));
            }
            Progress::Body(0) => {
                return Err(malformed(format!(
                    "a netstring ends in {:?} instead of ','",
                    input[0] as char
                )));
            }
            Progress::Body(_) => return Ok(self.step_body(input)),
            Progress::Length { value, seen } => (value, seen),
            Progress::Open | Progress::Matched(_) | Progress::Ended(_) => (0, 0),
        };
        for (used, &byte) in input.iter().enumerate() {
            match byte {
                b':' if seen > 0 => {
                    self.progress = Progress::Body(value);
                    return Ok(Step::Framing(used + 1));
                }
                b'0'..=b'9' if seen == 0 || value > 0 => {
                    value = value
                        .saturating_mul(10)
                        .saturating_add(usize::from(byte - b'0'));
                    seen += 1;
                    check_length(value, max_record)?;
                }
                other => {
                    return Err(malformed(format!(
                        "{:?} in the length of a netstring",
                        other as char
                    )));
                }
            }
        }
        self.progress = Progress::Length { value, seen };
        Ok(Step::Framing(input.len()))
    }

    fn step_prefixed(&mut self, input: &[u8], width: usize, max_record: usize) -> io::Result<Step> {
        let (value, seen) = match self.progress {
            Progress::Body(_) => return Ok(self.step_body(input)),
            Progress::Length { value, seen } => (value, seen),
            Progress::Open | Progress::Matched(_) | Progress::Ended(_) => (0, 0),
        };
        let used = (width - seen).min(input.len());
        let append = |value, &byte: &u8| value << 8 | usize::from(byte);
        let value = input[..used].iter().fold(value, append);
        let seen = seen + used;
        if seen < width {
            self.progress = Progress::Length { value, seen };
            return Ok(Step::Framing(used));
        }
        check_length(value, max_record)?;
        self.progress = Progress::Body(value);
        Ok(Step::Framing(used))
    }
}

fn check_length(length: usize, max_record: usize) -> io::Result<()> {
    if length > max_record {
        return Err(too_long(max_record));
    }
    Ok(())
}

/// The records in a stream that comes in pieces, and what was collected after the last of them.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn decode(
    terminator: Terminator,
    pieces: &[&[u8]],
    max: usize,
) -> io::Result<(Vec<Vec<u8>>, Vec<u8>)> {
    let mut decoder = Decoder::new(terminator, max)?;
    let (mut records, mut record) = (Vec::new(), Vec::new());
    for piece in pieces {
        decode_piece(&mut decoder, piece, max, &mut records, &mut record)?;
    }
    Ok((records, record))
}

#[cfg(any(test, feature = "testing"))]
fn decode_piece(
    decoder: &mut Decoder,
    piece: &[u8],
    max: usize,
    records: &mut Vec<Vec<u8>>,
    record: &mut Vec<u8>,
) -> io::Result<()> {
    let mut rest = piece;
    loop {
        match decoder.step(rest, max)? {
            Step::Data(count) => {
                record.extend_from_slice(&rest[..count]);
                rest = &rest[count..];
            }
            Step::GiveBack(count) => record.extend_from_slice(decoder.given_back(count)),
            Step::Framing(count) => rest = &rest[count..],
            Step::Record(count) => {
                rest = &rest[count..];
                records.push(std::mem::take(record));
            }
            Step::NeedMore => return Ok(()),
        }
    }
}

pub(super) fn too_long(max_record: usize) -> io::Error {
    malformed(format!("a record is longer than {max_record} bytes"))
}

fn malformed(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::LengthPrefix;

    const MAX: usize = 1000;

    fn decode(terminator: Terminator, pieces: &[&[u8]]) -> io::Result<(Vec<Vec<u8>>, Vec<u8>)> {
        super::decode(terminator, pieces, MAX)
    }

    /// The plain way, over the whole: split at each first occurrence.
    fn split_plainly<'s>(terminator: &[u8], mut rest: &'s [u8]) -> (Vec<Vec<u8>>, &'s [u8]) {
        let mut records = Vec::new();
        while let Some(at) = rest.windows(terminator.len()).position(|w| w == terminator) {
            records.push(rest[..at].to_vec());
            rest = &rest[at + terminator.len()..];
        }
        (records, rest)
    }

    fn in_pieces(bytes: &[u8], size: usize) -> Vec<&[u8]> {
        bytes.chunks(size).collect()
    }

    #[test]
    fn longest_terminator_prefix_is_found() {
        let mut fallback = Vec::new();
        fill_fallback(b"\r\n\r\n", &mut fallback);
        assert_eq!(fallback, [0, 0, 1, 2]);
        fallback.clear();
        fill_fallback(b"aabaaab", &mut fallback);
        assert_eq!(fallback, [0, 1, 0, 1, 2, 2, 3]);
    }

    #[test]
    fn terminators_of_any_length_are_found_wherever_the_input_is_cut() {
        for terminator in [&b"\n"[..], b"\r\n", b"qqq", b"aab", b"abcabd", b"\r\n\r\n"] {
            let mut stream = Vec::new();
            for record in [&b"hello"[..], b"", b"a", b"aa", b"q", b"abcab", b"\r"] {
                stream.extend_from_slice(record);
                stream.extend_from_slice(terminator);
            }
            stream.extend_from_slice(b"rest");
            let (expected, rest) = split_plainly(terminator, &stream);
            for size in 1..=stream.len() {
                let (records, left) = decode(
                    Terminator::Bytes(terminator.to_vec()),
                    &in_pieces(&stream, size),
                )
                .unwrap();
                assert_eq!(records, expected, "{terminator:?} in pieces of {size}");
                assert_eq!(left, rest, "{terminator:?} in pieces of {size}");
            }
        }
    }

    /// Each byte goes with the beginning of the terminator and nearly completes it. Looked at again from
    /// the next byte on, this would be 30,000 million comparisons, and hours.
    #[test]
    fn a_terminator_that_is_nearly_there_all_the_time_takes_no_longer_for_its_length() {
        let mut terminator = vec![b'a'; 30_000];
        terminator.push(b'b');
        let stream = vec![b'a'; 1_000_000];
        let mut decoder = Decoder::new(Terminator::Bytes(terminator), MAX).unwrap();
        let data = stream.len() - 30_000;
        assert_eq!(decoder.step(&stream, MAX).unwrap(), Step::Data(data));
        let rest = &stream[data..];
        assert_eq!(decoder.step(rest, MAX).unwrap(), Step::Framing(rest.len()));
        assert_eq!(decoder.step(b"b", MAX).unwrap(), Step::Record(1));
    }

    #[test]
    fn lines_end_in_lf_or_crlf_and_a_lone_cr_is_data() {
        for size in 1..20 {
            let stream = b"one\r\ntwo\n\r\n\na\rb\r\r\nrest\r";
            let (records, left) = decode(Terminator::Line, &in_pieces(stream, size)).unwrap();
            let expected: [&[u8]; 5] = [b"one", b"two", b"", b"", b"a\rb\r"];
            assert_eq!(records, expected, "in pieces of {size}");
            assert_eq!(
                left, b"rest",
                "the carriage return may still be part of an end"
            );
        }
    }

    #[test]
    fn netstrings_and_length_prefixes_survive_any_cut() {
        for size in 1..12 {
            let stream = b"5:hello,0:,3:a,b,12:hello world!,";
            let (records, left) = decode(Terminator::Netstring, &in_pieces(stream, size)).unwrap();
            let expected: [&[u8]; 4] = [b"hello", b"", b"a,b", b"hello world!"];
            assert_eq!(records, expected, "in pieces of {size}");
            assert_eq!(left, b"");
            for (prefix, stream) in [
                (LengthPrefix::One, &b"\x03abc\x00\x01x"[..]),
                (LengthPrefix::Two, b"\0\x03abc\0\0\0\x01x"),
                (LengthPrefix::Four, b"\0\0\0\x03abc\0\0\0\0\0\0\0\x01x"),
            ] {
                let (records, _) =
                    decode(Terminator::Prefixed(prefix), &in_pieces(stream, size)).unwrap();
                assert_eq!(
                    records,
                    [&b"abc"[..], b"", b"x"],
                    "{prefix:?} in pieces of {size}"
                );
            }
        }
    }

    #[test]
    fn malformed_and_overlong_lengths_are_errors_that_say_so() {
        for bad in [
            &b"x:"[..],
            b":",
            b"01:a,",
            b"3:abcd",
            b"1001:",
            b"99999999999999999999999:",
            b"5 :",
        ] {
            let error = decode(Terminator::Netstring, &[bad]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{bad:?}");
        }
        let prefixed = Terminator::Prefixed(LengthPrefix::Four);
        let error = decode(prefixed, &[b"\xff\xff\xff\xff"]).unwrap_err();
        assert_eq!(error.to_string(), "a record is longer than 1000 bytes");
        assert!(Decoder::new(Terminator::Length(1001), MAX).is_err());
        assert!(Decoder::new(Terminator::Length(1000), MAX).is_ok());
        assert!(Decoder::new(Terminator::Bytes(Vec::new()), MAX).is_err());
    }

    #[test]
    fn length_frames_once_then_collects() {
        let (records, left) = decode(Terminator::Length(6), &[b"hello ", b"world"]).unwrap();
        assert_eq!(records, [b"hello "]);
        assert_eq!(left, b"world");
        let (records, left) = decode(Terminator::Length(0), &[b"x"]).unwrap();
        assert_eq!((records, left), (vec![Vec::new()], b"x".to_vec()));
    }

    #[test]
    fn what_has_begun_of_a_record_is_given_back_whole_and_begins_anew() {
        let cases: [(Terminator, &[u8], &[u8]); 6] = [
            (Terminator::Length(5), b"hello", b"hello"),
            (Terminator::Line, b"hello\r\n", b"hello"),
            (Terminator::Bytes(b"lol".to_vec()), b"hello lol", b"hello "),
            (Terminator::Netstring, b"5:hello,", b"hello"),
            (
                Terminator::Prefixed(LengthPrefix::One),
                b"\x05hello",
                b"hello",
            ),
            (
                Terminator::Prefixed(LengthPrefix::Two),
                b"\0\x05hello",
                b"hello",
            ),
        ];
        for (terminator, stream, expected) in cases {
            for cut in 0..stream.len() {
                let what = format!("{terminator:?}, cut at {cut}");
                let mut decoder = Decoder::new(terminator.clone(), MAX).unwrap();
                let (mut records, mut data) = (Vec::new(), Vec::new());
                let begun = &stream[..cut];
                decode_piece(&mut decoder, begun, MAX, &mut records, &mut data).unwrap();
                assert_eq!(decoder.take_begun(data), begun, "{what}");
                assert_eq!(decoder.terminator(), terminator, "{what}");
                let mut data = Vec::new();
                decode_piece(&mut decoder, stream, MAX, &mut records, &mut data).unwrap();
                assert_eq!(records, [expected], "{what}");
                assert!(data.is_empty(), "{what}");
            }
        }
    }
}
