//! Sending an answer, and what becomes of the connection after it.

use std::io;
use std::mem;
use std::rc::Rc;

use slabloop::Context;

use crate::answer::{After, Status, write_plain};
use crate::connection::{Connection, Phase};
use crate::files;
use crate::head::{Head, Method};
use crate::receiving::Ended;
use crate::site::Outcome;
use crate::target;

/// Up to so much is left to the reactor's close timeout, which begins anew whenever the client takes something. More waits
/// while the deadline of the request holds.
const SOON_SENT: usize = 16 * 1024;

impl Connection {
    pub(crate) fn answer(
        &mut self,
        cx: &mut Context<'_>,
        head: &Head<'_>,
        outcome: &Outcome,
        after: After,
        is_all: bool,
    ) -> io::Result<()> {
        match outcome {
            Outcome::File(entry) => {
                files::send(cx, &self.site, head, entry, after)?;
                self.answered(cx, after, is_all)
            }
            Outcome::Folder => {
                let to = target::with_slash(head.target);
                let location = Some(("Location", to.as_str()));
                self.plain(cx, Some(head), Status::MOVED, after, location)
            }
            Outcome::Nothing(status) => self.plain(cx, Some(head), *status, after, None),
            Outcome::Later => Ok(()),
        }
    }

    /// All of an answer is queued. `is_all`: and nothing more was read.
    #[inline]
    pub(crate) fn answered(
        &mut self,
        cx: &mut Context<'_>,
        after: After,
        is_all: bool,
    ) -> io::Result<()> {
        match after {
            After::Closes => self.close(cx, is_all),
            After::Stays | After::StaysAndSays => Ok(()),
        }
    }

    /// Closes when all that is queued has been sent. A client that has sent all that it had (`is_all`) sends nothing more, and
    /// need not be waited for. Others would lose the answer by a reset.
    #[inline]
    pub(crate) fn close(&mut self, cx: &mut Context<'_>, is_all: bool) -> io::Result<()> {
        self.phase = Phase::Over { is_all };
        if cx.queued() > SOON_SENT || cx.queued_in_files() > 0 {
            return cx.notify_when_sent();
        }
        if is_all {
            cx.close_when_sent();
        } else {
            cx.close();
        }
        Ok(())
    }

    pub(crate) fn body_ended(
        &mut self,
        cx: &mut Context<'_>,
        ended: Ended,
        is_all: bool,
    ) -> io::Result<()> {
        match (mem::replace(&mut self.phase, Phase::Head), ended) {
            (Phase::Body(receiving), Ended::Well) => {
                let after = receiving.finish(cx, &self.site)?;
                self.answered(cx, after, is_all)
            }
            (Phase::Body(receiving), Ended::Badly(_)) if receiving.has_begun() => {
                self.phase = Phase::Over { is_all };
                receiving.cut_off(cx, &self.site);
                Ok(())
            }
            (_, Ended::Badly(status)) => self.refuse(cx, None, status),
            _ => Ok(()),
        }
    }

    /// Says what is wrong, and closes.
    pub(crate) fn refuse(
        &mut self,
        cx: &mut Context<'_>,
        head: Option<&Head<'_>>,
        status: Status,
    ) -> io::Result<()> {
        self.plain(cx, head, status, After::Closes, None)
    }

    /// An answer without a file, with a field of its own. More may be read that belongs to the request, so that closing waits
    /// for it.
    #[inline(never)]
    pub(crate) fn plain(
        &mut self,
        cx: &mut Context<'_>,
        head: Option<&Head<'_>>,
        status: Status,
        after: After,
        field: Option<(&str, &str)>,
    ) -> io::Result<()> {
        let site = Rc::clone(&self.site);
        site.date.borrow_mut().refresh(cx.now());
        let date = site.date.borrow();
        let with_body = head.is_none_or(|head| head.method != Method::Head);
        let mut buffer = site.scratch.borrow_mut();
        buffer.clear();
        let body = write_plain(&mut buffer, status, date.text(), after, with_body, |head| {
            if let Some((name, value)) = field {
                head.field(name, value);
            }
        });
        cx.send(&buffer)?;
        if let Some(log) = &site.log {
            let mut log = log.borrow_mut();
            log.line(cx.peer(), head, status.0, body, &date);
        }
        self.answered(cx, after, false)
    }
}
