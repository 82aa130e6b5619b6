//! An answer on its way through: its head as the client is to have it, its body as it comes.

use std::io;
use std::mem;
use std::rc::Rc;

use slabloop::{Context, Id};

use crate::client::Client;
use crate::http::body::{Body, Step};
use crate::reply::{self, Asked, Ends, Parsed};
use crate::upstream::{Failed, Stage, Upstream};

/// Interim answers to one request, such as `100 Continue`.
const MOST_INTERIM: u32 = 16;

impl Upstream {
    /// Takes what was read.
    pub(crate) fn take(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()> {
        let Some((asker, asked)) = self.asker else {
            log::debug!("{}: sends unsolicited bytes", cx.label());
            cx.abort();
            return Ok(());
        };
        self.wait(cx);
        if self.pending.is_empty() {
            return self.consume(cx, asker, asked, bytes);
        }
        let mut input = mem::take(&mut self.pending);
        input.extend_from_slice(bytes);
        self.consume(cx, asker, asked, &input)
    }

    fn consume(
        &mut self,
        cx: &mut Context<'_>,
        asker: Id<Client>,
        asked: Asked,
        input: &[u8],
    ) -> io::Result<()> {
        let mut rest = input;
        loop {
            match &mut self.stage {
                Stage::Head(_) if rest.is_empty() => return Ok(()),
                Stage::Head(interim) => {
                    *interim += 1;
                    if *interim > MOST_INTERIM {
                        self.fail(cx, Failed::Wrong("it only begins to answer"));
                        return Ok(());
                    }
                    let used = self.take_head(cx, asker, asked, rest)?;
                    if used == 0 {
                        return Ok(());
                    }
                    rest = &rest[used..];
                }
                Stage::Body { body, reply } => {
                    let (step, used) = match body.take(rest) {
                        Ok(step) => step,
                        Err(_) => {
                            self.fail(cx, Failed::Wrong("a wrong chunk"));
                            return Ok(());
                        }
                    };
                    rest = &rest[used..];
                    match step {
                        Step::Data(piece) => {
                            self.bytes += piece.len() as u64;
                            pass_on(cx, asker, piece, reply.in_chunks);
                        }
                        Step::Framing => {}
                        Step::End => {
                            // Bytes beyond the answer are unsolicited.
                            let keeps = reply.keep_alive && rest.is_empty();
                            self.finish(cx, asker, keeps);
                            return Ok(());
                        }
                    }
                    if used == 0 {
                        return Ok(());
                    }
                }
                Stage::UntilClose(reply) => {
                    self.bytes += rest.len() as u64;
                    pass_on(cx, asker, rest, reply.in_chunks);
                    return Ok(());
                }
                Stage::Over => return Ok(()),
            }
        }
    }

    /// How long the head was; 0 if it is not all there, or refused.
    fn take_head(
        &mut self,
        cx: &mut Context<'_>,
        asker: Id<Client>,
        mut asked: Asked,
        input: &[u8],
    ) -> io::Result<usize> {
        let proxy = Rc::clone(&self.proxy);
        proxy.date.borrow_mut().refresh(cx.now());
        // What the client's connection is good for afterwards, the client knows.
        asked.keep_alive &= cx
            .with(asker, |client, cx| client.may_stay(cx))
            .unwrap_or(false);
        let mut out = Vec::with_capacity(512);
        let parsed = {
            let date = proxy.date.borrow();
            reply::parse(input, asked, &proxy.name, date.text(), &mut out)
        };
        match parsed {
            Parsed::Complete(reply, length) => {
                if reply.is_interim() {
                    if asked.is_1_1 {
                        send(cx, asker, &out);
                    }
                    return Ok(length);
                }
                send(cx, asker, &out);
                let (status, after) = (reply.status, reply.after);
                let _ = cx.call(asker, |client, _| {
                    client.begun(status, after);
                    Ok(())
                });
                self.stage = match reply.ends {
                    Ends::AtClose => Stage::UntilClose(reply),
                    // (It is refused only if it is over the limit.)
                    Ends::After(length) => match Body::new(length, u64::MAX) {
                        Ok(body) => Stage::Body { body, reply },
                        Err(_) => Stage::Over,
                    },
                };
                Ok(length)
            }
            Parsed::Partial => {
                self.pending = input.to_vec();
                if let Stage::Head(interim) = &mut self.stage {
                    *interim -= 1;
                }
                Ok(0)
            }
            Parsed::Refused(why) => {
                self.fail(cx, Failed::Wrong(why));
                Ok(0)
            }
        }
    }
}

/// The client may have gone; then this connection ends soon.
pub(crate) fn send(cx: &mut Context<'_>, to: Id<Client>, bytes: &[u8]) {
    if let Some(mut to) = cx.at(to) {
        // What fails there is told there.
        let _ = to.send(bytes);
    }
}

fn pass_on(cx: &mut Context<'_>, to: Id<Client>, piece: &[u8], in_chunks: bool) {
    if let Some(mut to) = cx.at(to) {
        send_piece(&mut to, piece, in_chunks);
    }
}

/// A piece of a body, in a chunk of its own if it goes by chunks.
pub(crate) fn send_piece(to: &mut Context<'_>, piece: &[u8], in_chunks: bool) {
    if piece.is_empty() {
        return;
    }
    // What fails here is told to that connection.
    let _ = if in_chunks {
        let size = format!("{:x}\r\n", piece.len());
        to.send(size.as_bytes())
            .and_then(|()| to.send(piece))
            .and_then(|()| to.send(b"\r\n"))
    } else {
        to.send(piece)
    };
}
