//! What was read becomes requests.

use std::io;
use std::mem;
use std::rc::Rc;

use slabloop::Context;

use crate::connection::{Connection, Phase};
use crate::head::{self, Parsed};
use crate::http::framing::is_still_partial;

impl Connection {
    /// Takes what was read, behind what is left of before.
    #[inline]
    pub(crate) fn take(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        let is_new = self.pending.is_empty() || self.is_answered;
        if is_new && matches!(self.phase, Phase::Head) {
            self.is_answered = false;
            self.deadlines.begin(cx, &self.site.limits.http);
        }
        if self.pending.is_empty() {
            let used = self.consume(cx, bytes)?;
            if used < bytes.len() {
                self.pending.extend_from_slice(&bytes[used..]);
            }
        } else {
            self.take_more(cx, bytes)?;
        }
        self.review_deadlines(cx);
        Ok(())
    }

    #[inline(never)]
    fn take_more(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        let mut input = mem::take(&mut self.pending);
        input.extend_from_slice(bytes);
        let used = self.consume(cx, &input)?;
        if used < input.len() {
            input.drain(..used);
            self.pending = input;
        }
        Ok(())
    }

    /// How much of the input was used: whole heads, and of a body what there is.
    fn consume(&mut self, cx: &mut Context<'_>, input: &[u8]) -> io::Result<usize> {
        let mut at = 0;
        loop {
            let rest = &input[at..];
            match &mut self.phase {
                Phase::Head => {
                    if rest.is_empty() {
                        return Ok(at);
                    }
                    if !cx.is_reading() {
                        // Enough is queued, or a file.
                        self.wait(cx)?;
                        return Ok(at);
                    }
                    let used = self.take_head(cx, rest)?;
                    if used == 0 {
                        return Ok(at);
                    }
                    at += used;
                }
                Phase::Body(receiving) => {
                    let (used, ended) = receiving.take(cx, rest)?;
                    at += used;
                    match ended {
                        Some(ended) => self.body_ended(cx, ended, at == input.len())?,
                        None => return Ok(at),
                    }
                }
                Phase::Asking(_) | Phase::Opening(_) => return Ok(at),
                Phase::Over { is_all } => {
                    *is_all &= rest.is_empty();
                    return Ok(input.len());
                }
            }
        }
    }

    /// Reads a head, and begins to answer it. How long it was; 0 if it is not all there.
    #[inline]
    fn take_head(&mut self, cx: &mut Context<'_>, input: &[u8]) -> io::Result<usize> {
        let limits = &self.site.limits.http;
        if self.partial > 0 && is_still_partial(input, self.partial, limits.target, limits.head) {
            self.partial = input.len();
            return Ok(0);
        }
        // A line break too many, which some clients send behind a body. It counts as a request, so that it has an end.
        if input == b"\r\n" {
            self.requests += 1;
            return Ok(input.len());
        }
        let site = Rc::clone(&self.site);
        match head::parse(input, &site.limits.http) {
            Parsed::Complete(head, length) => {
                self.partial = 0;
                self.is_answered = true;
                let (raw, is_all) = (&input[..length], length == input.len());
                match &site.rate {
                    None => self.begin(cx, &site, &head, raw, is_all)?,
                    Some(_) => self.admit(cx, &site, &head, raw, is_all)?,
                }
                Ok(length)
            }
            Parsed::Partial => {
                self.partial = input.len();
                Ok(0)
            }
            Parsed::Refused(status) => {
                self.refuse(cx, None, status)?;
                Ok(input.len())
            }
        }
    }
}
