//! A layer of the tests' own, which cuts what is sent into records, greets first and says when it ends, as TLS does.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};

use slabloop::{Below, Layer};

/// `hi!` in both directions, then records: a length of one byte, and the bytes, each changed. A length of zero
/// ends the stream.
#[derive(Debug, Default)]
pub(crate) struct Records {
    begun: bool,
    greeted: bool,
    finished: bool,
    /// Encoded, and not with the kernel yet.
    out: VecDeque<u8>,
    /// How many bytes of the program's are in `out` and have not been reported.
    unreported: usize,
    raw: Vec<u8>,
    ready: VecDeque<u8>,
    ended: bool,
}

pub(crate) const HELLO: &[u8] = b"hi!";

fn change(bytes: &[u8]) -> impl Iterator<Item = u8> + '_ {
    bytes.iter().map(|byte| byte ^ 0x55)
}

/// As the layer encodes it.
pub(crate) fn record(bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).expect("a short record");
    std::iter::once(length).chain(change(bytes)).collect()
}

/// What whole records say.
pub(crate) fn decoded(mut records: &[u8]) -> Vec<u8> {
    let mut said = Vec::new();
    while let Some((&length, behind)) = records.split_first() {
        let (bytes, next) = behind.split_at(length as usize);
        said.extend(change(bytes));
        records = next;
    }
    said
}

impl Records {
    fn flush(&mut self, below: &mut Below<'_>) -> io::Result<()> {
        while !self.out.is_empty() {
            let count = below.write(self.out.make_contiguous())?;
            self.out.drain(..count);
        }
        Ok(())
    }
}

impl Layer for Records {
    fn handshake(&mut self, below: &mut Below<'_>) -> io::Result<()> {
        if !self.begun {
            self.begun = true;
            self.out.extend(HELLO);
        }
        self.flush(below)?;
        while self.raw.len() < HELLO.len() {
            let mut byte = [0];
            if below.read(&mut byte)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.raw.push(byte[0]);
        }
        if self.raw != HELLO {
            return Err(io::Error::new(ErrorKind::InvalidData, "no greeting"));
        }
        self.raw.clear();
        self.greeted = true;
        Ok(())
    }

    fn recv(&mut self, below: &mut Below<'_>, buffer: &mut [u8]) -> io::Result<usize> {
        assert!(self.greeted, "not before the handshake");
        loop {
            if !self.ready.is_empty() {
                return self.ready.read(buffer);
            }
            if self.ended {
                return Ok(0);
            }
            let mut some = [0; 64];
            let count = below.read(&mut some)?;
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.raw.extend_from_slice(&some[..count]);
            while let Some(&length) = self.raw.first() {
                let end = 1 + length as usize;
                if self.raw.len() < end {
                    break;
                }
                self.ended |= length == 0;
                self.ready.extend(change(&self.raw[1..end]));
                self.raw.drain(..end);
            }
        }
    }

    fn send(&mut self, below: &mut Below<'_>, bytes: &[u8]) -> io::Result<usize> {
        assert!(!bytes.is_empty() && !self.finished);
        if self.unreported == 0 {
            let piece = &bytes[..bytes.len().min(100)];
            self.unreported = piece.len();
            self.out.extend(record(piece));
        }
        self.flush(below)?;
        let reported = self.unreported.min(bytes.len());
        self.unreported -= reported;
        Ok(reported)
    }

    fn finish(&mut self, below: &mut Below<'_>) -> io::Result<()> {
        if !self.finished {
            self.finished = true;
            self.out.push_back(0);
        }
        self.flush(below)
    }
}
