//! Whether a client is within its rate.
//!
//! Where the rate is that of this process it is known at once. Where it is shared the request waits for an answer, as one
//! waits for a file: no other request of the connection is looked at meanwhile, so answers keep their order.

use std::io;
use std::mem;
use std::rc::Rc;
use std::time::Duration;

use slabloop::Context;

use crate::answer::{After, Status};
use crate::connection::{Connection, Phase};
use crate::head::{self, Head, Parsed};
use crate::rate_limit::{Verdict, whole_seconds};
use crate::site::Site;

impl Connection {
    /// Begins to answer a request, if the client is within its rate. `is_all`: nothing was read behind its head.
    #[inline(never)]
    pub(crate) fn admit(
        &mut self,
        cx: &mut Context<'_>,
        site: &Rc<Site>,
        head: &Head<'_>,
        raw: &[u8],
        is_all: bool,
    ) -> io::Result<()> {
        let (Some(rate), Some(client)) = (&site.rate, cx.peer()) else {
            return self.begin(cx, site, head, raw, is_all);
        };
        let me = cx.id::<Connection>();
        match rate.take(cx, client.ip(), me, Connection::told) {
            Some(verdict) => self.follow(cx, site, head, raw, is_all, verdict),
            None => {
                self.phase = Phase::Asking(raw.into());
                cx.pause_reading();
                Ok(())
            }
        }
    }

    /// What was asked is answered.
    fn told(&mut self, cx: &mut Context<'_>, verdict: Verdict) -> io::Result<()> {
        let Phase::Asking(raw) = &mut self.phase else {
            // It took too long, and that was said.
            return Ok(());
        };
        let raw = mem::take(raw);
        self.phase = Phase::Head;
        cx.resume_reading();
        let site = Rc::clone(&self.site);
        // It was understood before.
        if let Parsed::Complete(head, _) = head::parse(&raw, &site.limits.http) {
            let is_all = self.pending.is_empty();
            self.follow(cx, &site, &head, &raw, is_all, verdict)?;
        }
        self.go_on(cx)
    }

    fn follow(
        &mut self,
        cx: &mut Context<'_>,
        site: &Rc<Site>,
        head: &Head<'_>,
        raw: &[u8],
        is_all: bool,
        verdict: Verdict,
    ) -> io::Result<()> {
        match verdict {
            Ok(()) => self.begin(cx, site, head, raw, is_all),
            Err(exhausted) => self.too_many(cx, head, exhausted.retry_after),
        }
    }

    fn too_many(
        &mut self,
        cx: &mut Context<'_>,
        head: &Head<'_>,
        wait: Duration,
    ) -> io::Result<()> {
        self.requests += 1;
        // What is not read cannot be followed by another request.
        let after = match head.has_body() {
            true => After::Closes,
            false => self.after(cx, head),
        };
        let seconds = whole_seconds(wait).as_secs().to_string();
        let field = Some(("Retry-After", seconds.as_str()));
        self.plain(cx, Some(head), Status::TOO_MANY, after, field)
    }
}
