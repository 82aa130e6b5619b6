//! A connection to a server, as the pool keeps it: one request out, one answer back, which is passed on as it comes.

use std::io;
use std::mem;
use std::rc::Rc;

use slabloop::kit::pool::Reusable;
use slabloop::{Context, Dispatcher, Id, TimerId};

use crate::answering::send;
use crate::client::Client;
use crate::http::body::Body;
use crate::proxy::Proxy;
use crate::reply::{Asked, Reply};
use crate::watchdog::Watchdog;

/// What is moved at a time.
pub(crate) const PIECE_BYTES: usize = 64 * 1024;

/// Why there is no answer, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The connection had been used before, and ended before a byte of the answer: most likely before it had the request.
    Stale,
    Cut,
    Timeout,
    Wrong(&'static str),
}

/// How an answer ended that came whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whole {
    /// The connection can be used again.
    pub(crate) is_reusable: bool,
    /// Of the body.
    pub(crate) bytes: u64,
}

pub(crate) struct Upstream {
    pub(crate) proxy: Rc<Proxy>,
    /// The client that waits for the answer.
    pub(crate) asker: Option<(Id<Client>, Asked)>,
    pub(crate) stage: Stage,
    /// A head that is not all there.
    pub(crate) pending: Vec<u8>,
    /// Answers that have come whole.
    answers: u64,
    /// Of the answer's body.
    pub(crate) bytes: u64,
    watchdog: Watchdog,
}

/// How far the answer is.
#[derive(Debug)]
pub(crate) enum Stage {
    /// So many interim answers have come.
    Head(u32),
    Body {
        body: Body,
        reply: Reply,
    },
    UntilClose(Reply),
    Over,
}

impl Upstream {
    pub(crate) fn new(proxy: Rc<Proxy>) -> Upstream {
        Upstream {
            proxy,
            asker: None,
            stage: Stage::Over,
            pending: Vec::new(),
            answers: 0,
            bytes: 0,
            watchdog: Watchdog::default(),
        }
    }

    /// Sends the head of a request. The answer goes to the client `asker`; a slow one holds up this connection.
    pub(crate) fn ask(
        &mut self,
        cx: &mut Context<'_>,
        asker: Id<Client>,
        asked: Asked,
        head: &[u8],
    ) -> io::Result<()> {
        self.asker = Some((asker, asked));
        self.stage = Stage::Head(0);
        self.bytes = 0;
        cx.feeds(asker);
        self.wait(cx);
        cx.send(head)
    }

    /// From here on the server has its whole time again.
    pub(crate) fn wait(&mut self, cx: &mut Context<'_>) {
        self.watchdog.set(cx, Some(self.proxy.limits.answer_time));
    }

    /// The answer is whole.
    pub(crate) fn finish(&mut self, cx: &mut Context<'_>, asker: Id<Client>, is_reusable: bool) {
        let in_chunks = match mem::replace(&mut self.stage, Stage::Over) {
            Stage::Body { reply, .. } | Stage::UntilClose(reply) => reply.in_chunks,
            Stage::Head(_) | Stage::Over => false,
        };
        if in_chunks {
            send(cx, asker, b"0\r\n\r\n");
        }
        self.asker = None;
        self.answers += 1;
        self.watchdog.set(cx, None);
        cx.feeds(cx.any_id());
        let bytes = self.bytes;
        let whole = Whole { is_reusable, bytes };
        let _ = cx.call(asker, |client, cx| client.answered(cx, whole));
    }

    /// There will be no answer, or no more of it.
    pub(crate) fn fail(&mut self, cx: &mut Context<'_>, why: Failed) {
        self.stage = Stage::Over;
        cx.abort();
        if let Some((asker, _)) = self.asker.take() {
            log::debug!("{}: {why:?}", cx.label());
            let _ = cx.call(asker, |client, cx| client.failed(cx, why));
        }
    }

    /// What the end of the connection means.
    fn at_the_end(&self) -> Failed {
        let is_before = matches!(self.stage, Stage::Head(0)) && self.pending.is_empty();
        if is_before && self.answers > 0 {
            Failed::Stale
        } else {
            Failed::Cut
        }
    }
}

impl Reusable for Upstream {
    fn is_reusable(&mut self, _: &mut Context<'_>) -> bool {
        self.asker.is_none() && self.pending.is_empty()
    }
}

impl Dispatcher for Upstream {
    fn handle_connect(&mut self, _: &mut Context<'_>) -> io::Result<()> {
        Ok(())
    }

    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_up_to(PIECE_BYTES, |bytes, cx| self.take(cx, bytes))
    }

    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match (&self.stage, self.asker) {
            (Stage::UntilClose(_), Some((asker, _))) => self.finish(cx, asker, false),
            _ => self.fail(cx, self.at_the_end()),
        }
        Ok(())
    }

    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        if !self.watchdog.is_due(cx) {
            return Ok(());
        }
        let Some((asker, _)) = self.asker else {
            return Ok(());
        };
        // As long as the client is slow, to send or to read, it is not the server's fault; and it has limits of its own.
        let waits = cx.with(asker, |client, cx| client.is_to_move(cx));
        if waits == Some(true) {
            self.wait(cx);
        } else {
            self.fail(cx, Failed::Timeout);
        }
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        log::debug!("{}: {error}", cx.label());
        cx.abort();
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        self.fail(cx, self.at_the_end());
    }
}
