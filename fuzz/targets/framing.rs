//! `slabloop::framing`: every terminator, any limit, any cut, beside a reader of the whole stream that is written to be
//! seen through.
//!
//! Holds: the records are the model's, in order, and so is what is left at the end; a stream that makes no sense, or whose
//! record is too long, is refused, and one that does is not; what is written reads as what was read; memory is bounded.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use slabloop::Context;
use slabloop::framing::{Framed, Framing, Handler, LengthPrefix, Terminator};
use slabloop::test::connection;

use crate::cuts::{pieces, reactor, settle, split};

/// What is read of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Read {
    records: Vec<Vec<u8>>,
    unfinished: Vec<u8>,
    refused: bool,
}

/// How the stream is framed.
#[derive(Clone, Debug)]
enum Way {
    Fixed(Terminator),
    /// Records of so many bytes, one after the other.
    Counted(usize),
    /// Lines; one that is a number says how long the record behind it is.
    Switching,
}

impl Way {
    /// By a byte, and perhaps by the beginning of the stream.
    fn taken(byte: u8, stream: &mut &[u8]) -> Way {
        let more = usize::from(byte >> 4);
        Way::Fixed(match byte & 15 {
            0 | 1 => Terminator::Line,
            2 | 3 => {
                let length = (1 + more % 5).min(stream.len());
                let (end, behind) = stream.split_at(length);
                *stream = behind;
                match end {
                    [] => Terminator::Line,
                    _ => Terminator::Bytes(end.to_vec()),
                }
            }
            4 | 5 => Terminator::Netstring,
            6 => Terminator::Prefixed(LengthPrefix::One),
            7 => Terminator::Prefixed(LengthPrefix::Two),
            8 => Terminator::Prefixed(LengthPrefix::Four),
            9 => Terminator::None,
            // The classic that a search without memory gets wrong.
            10 => Terminator::Bytes(b"aab".repeat(1 + more % 2)),
            11 => Terminator::Bytes(b"\r\n\r\n".to_vec()),
            12 | 13 => return Way::Counted(1 + more),
            _ => return Way::Switching,
        })
    }

    fn terminator(&self) -> Terminator {
        match self {
            Way::Fixed(terminator) => terminator.clone(),
            Way::Counted(count) => Terminator::Length(*count),
            Way::Switching => Terminator::Line,
        }
    }

    /// What ends the record after this one, if that is another than before.
    fn next(&self, ended_by: &Terminator, record: &[u8], limit: usize) -> Option<Terminator> {
        match (self, ended_by) {
            (Way::Fixed(_), _) => None,
            (Way::Counted(count), _) => Some(Terminator::Length(*count)),
            (Way::Switching, Terminator::Line) => number(record, limit).map(Terminator::Length),
            (Way::Switching, _) => Some(Terminator::Line),
        }
    }
}

fn number(record: &[u8], limit: usize) -> Option<usize> {
    let text = std::str::from_utf8(record).ok()?;
    let is_number = text.len() <= 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|number| is_number && *number <= limit)
}

// ---------------------------------------------------------------------------------------------------
// The model.

/// One step of it.
enum Next {
    /// A record, and how many bytes it took with its end.
    Record(Vec<u8>, usize),
    /// The beginning of one.
    Unfinished(Vec<u8>),
    Refused,
}

fn model(way: &Way, limit: usize, stream: &[u8]) -> Read {
    let mut read = Read::default();
    let mut terminator = way.terminator();
    let mut rest = stream;
    loop {
        match next(&terminator, limit, rest) {
            Next::Record(record, used) => {
                rest = &rest[used..];
                if let Some(other) = way.next(&terminator, &record, limit) {
                    terminator = other;
                }
                read.records.push(record);
            }
            Next::Unfinished(unfinished) => {
                read.unfinished = unfinished;
                return read;
            }
            Next::Refused => {
                read.refused = true;
                return read;
            }
        }
    }
}

fn next(terminator: &Terminator, limit: usize, rest: &[u8]) -> Next {
    match terminator {
        Terminator::Bytes(end) => {
            let place = rest.windows(end.len()).position(|window| window == end);
            up_to(rest, place.map(|place| (place, end.len())), limit)
        }
        Terminator::Line => {
            let place = rest.iter().position(|byte| *byte == b'\n');
            let place = place.map(|place| match rest[..place].strip_suffix(b"\r") {
                Some(line) => (line.len(), 2),
                None => (place, 1),
            });
            up_to(rest, place, limit)
        }
        Terminator::None => up_to(rest, None, limit),
        Terminator::Length(length) => body(rest, 0, *length, 0),
        Terminator::Netstring => netstring(rest, limit),
        Terminator::Prefixed(prefix) => {
            let width = match prefix {
                LengthPrefix::One => 1,
                LengthPrefix::Two => 2,
                LengthPrefix::Four => 4,
            };
            let value = |bytes: &[u8]| {
                bytes
                    .iter()
                    .fold(0, |value, byte| value << 8 | usize::from(*byte))
            };
            match rest.get(..width).map(value) {
                None => Next::Unfinished(Vec::new()),
                Some(length) if length > limit => Next::Refused,
                Some(length) => body(rest, width, length, 0),
            }
        }
        other => panic!("no model of {other:?}"),
    }
}

fn up_to(rest: &[u8], end: Option<(usize, usize)>, limit: usize) -> Next {
    match end {
        Some((place, _)) if place > limit => Next::Refused,
        Some((place, length)) => Next::Record(rest[..place].to_vec(), place + length),
        None if rest.len() > limit => Next::Refused,
        None => Next::Unfinished(rest.to_vec()),
    }
}

fn body(rest: &[u8], before: usize, length: usize, behind: usize) -> Next {
    match rest.get(before..before + length) {
        Some(record) => Next::Record(record.to_vec(), before + length + behind),
        None => Next::Unfinished(rest[before..].to_vec()),
    }
}

fn netstring(rest: &[u8], limit: usize) -> Next {
    let mut length: usize = 0;
    for (place, byte) in rest.iter().enumerate() {
        match byte {
            b'0'..=b'9' if place == 0 || length > 0 => {
                length = length * 10 + usize::from(byte - b'0');
                if length > limit {
                    return Next::Refused;
                }
            }
            b':' if place > 0 => {
                let end = place + 1 + length;
                return match rest.get(end) {
                    None => match rest.get(place + 1..end) {
                        Some(whole) => Next::Unfinished(whole.to_vec()),
                        None => Next::Unfinished(rest[place + 1..].to_vec()),
                    },
                    Some(b',') => body(rest, place + 1, length, 1),
                    Some(_) => Next::Refused,
                };
            }
            _ => return Next::Refused,
        }
    }
    Next::Unfinished(Vec::new())
}

// ---------------------------------------------------------------------------------------------------
// The real one.

struct Reader {
    way: Way,
    limit: usize,
    ends_by: Terminator,
    read: Rc<RefCell<Read>>,
    /// What was sent back.
    pushed: Rc<RefCell<Vec<Vec<u8>>>>,
}

impl Handler for Reader {
    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        framing: &mut Framing,
        record: &[u8],
    ) -> io::Result<()> {
        self.read.borrow_mut().records.push(record.to_vec());
        if let Way::Fixed(_) = self.way {
            // One that would be read otherwise than it was written is refused.
            if framing.push_record(cx, record).is_ok() {
                self.pushed.borrow_mut().push(record.to_vec());
            }
        }
        if let Some(other) = self.way.next(&self.ends_by, record, self.limit) {
            framing.set_terminator(other.clone())?;
            self.ends_by = other;
        }
        Ok(())
    }

    fn handle_eof(&mut self, cx: &mut Context<'_>, framing: &mut Framing) -> io::Result<()> {
        self.read.borrow_mut().unfinished = framing.unfinished().to_vec();
        framing.close_when_done(cx);
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        let refused_before = std::mem::replace(&mut self.read.borrow_mut().refused, true);
        assert!(!refused_before, "{error}, and another error before");
        cx.close();
    }
}

pub(crate) fn target(data: &[u8]) {
    let [kind, limit, per_turn, rest @ ..] = data else {
        return;
    };
    let Some((cut, mut stream)) = split(rest) else {
        return;
    };
    let way = Way::taken(*kind, &mut stream);
    let limit = 16 + usize::from(*limit);
    let expected = model(&way, limit, stream);

    let mut reactor = reactor();
    let (peer, socket) = connection();
    let read = Rc::new(RefCell::new(Read::default()));
    let pushed = Rc::new(RefCell::new(Vec::new()));
    let reader = Reader {
        ends_by: way.terminator(),
        limit,
        read: Rc::clone(&read),
        pushed: Rc::clone(&pushed),
        way: way.clone(),
    };
    let framed = Framed::new(way.terminator(), reader).expect("a proper terminator");
    let framed = framed
        .max_record(limit)
        .records_per_turn(usize::from(*per_turn));
    let id = reactor.add(socket, framed).expect("a place");
    for piece in pieces(cut, stream) {
        peer.send(piece);
    }
    peer.half_close();
    // What is read at a time, a record, and what may be their end; a vector may have twice what it needs.
    let most = 2 * (16 * 1024 + 2 * limit + 64);
    settle(&mut reactor, &[&peer], |reactor| {
        let held = reactor.with(id, |framed, _| framed.input_memory());
        let held = held.unwrap_or(0);
        assert!(held <= most, "{held} bytes held, at most {most} are to be");
    });
    assert!(peer.is_closed(), "the end has come, and it is not closed");
    assert_eq!(
        *read.borrow(),
        expected,
        "{way:?}, limit {limit}, cut {cut}"
    );

    let sent = peer.take_received();
    let again = model(&way, limit, &sent);
    assert_eq!(
        again.records,
        *pushed.borrow(),
        "what was written reads otherwise"
    );
    assert!(!again.refused && again.unfinished.is_empty());
}
