//! A request that is being worked on.

use std::collections::VecDeque;
use std::net::SocketAddr;

use slabloop::Context;
use slabloop::kit::pool::Lease;

use crate::answering::send_piece;
use crate::http::body::{Body, Step};
use crate::http::{Length, Status};
use crate::refusal::After;
use crate::request::Request;
use crate::upstream::Upstream;

pub(crate) struct Job {
    pub(crate) request: Box<Request>,
    /// Where to connect to, the first first.
    pub(crate) addresses: VecDeque<SocketAddr>,
    pub(crate) lease: Option<Lease<SocketAddr, Upstream>>,
    /// What is still to come of the request's body.
    pub(crate) body: Option<Body>,
    /// Status of the answer, and what follows it, when a part of it has been sent.
    pub(crate) begun: Option<(u16, After)>,
    /// How often it has been sent.
    pub(crate) tries: u32,
}

impl Job {
    pub(crate) fn new(request: Box<Request>) -> Job {
        let body = match request.length {
            Length::Unsaid | Length::Bytes(0) => None,
            // There is no limit that it could be over.
            length => Body::new(length, u64::MAX).ok(),
        };
        Job {
            request,
            addresses: VecDeque::new(),
            lease: None,
            body,
            begun: None,
            tries: 0,
        }
    }

    /// Whether it may be sent again, although it may have been done.
    pub(crate) fn may_be_repeated(&self) -> bool {
        let has_body = !matches!(self.request.length, Length::Unsaid | Length::Bytes(0));
        self.request.is_idempotent && !has_body && self.begun.is_none() && self.tries < 3
    }

    /// Passes on what is a part of the body; how much that was.
    pub(crate) fn forward(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Result<usize, Status> {
        let Some(body) = &mut self.body else {
            return Ok(0);
        };
        let in_chunks = self.request.length == Length::Chunked;
        let mut server = self.lease.as_ref().and_then(|lease| lease.at(cx));
        let mut at = 0;
        loop {
            let (step, used) = body.take(&input[at..])?;
            at += used;
            match (step, &mut server) {
                (Step::Data(piece), Some(server)) => send_piece(server, piece, in_chunks),
                (Step::End, server) => {
                    if let (Some(server), true) = (server, in_chunks) {
                        // What fails there is told there.
                        let _ = server.send(b"0\r\n\r\n");
                    }
                    self.body = None;
                    return Ok(at);
                }
                _ => {}
            }
            if used == 0 {
                return Ok(at);
            }
        }
    }
}
