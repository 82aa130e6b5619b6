//! What Redis is asked, one question at a time, on a connection of its own, because it may block: for entries that other
//! workers have lost, when that is due; for those that were delivered to this worker in an answer that never came; and
//! else for new ones.

use std::time::Instant;

use slabloop::{Context, Id};

use super::entries;
use super::puller::Puller;
use crate::names::GROUP;
use crate::redis::{Client, Outcome, Reply};

/// How far the questions are.
pub(crate) struct Asking {
    client: Id<Client>,
    /// A question is on its way.
    pub(crate) is_on: bool,
    pub(crate) has_group: bool,
    /// An answer never came, and entries may have been in it.
    wants_own: bool,
    /// Where the next claim goes on.
    cursor: String,
    claim_at: Option<Instant>,
}

impl Asking {
    /// Asks over `client`, which has one connection and no pipeline.
    pub(crate) fn new(client: Id<Client>) -> Asking {
        Asking {
            client,
            is_on: false,
            has_group: false,
            wants_own: false,
            cursor: BEGINNING.to_owned(),
            claim_at: None,
        }
    }

    fn next(&self, now: Instant) -> Question {
        if !self.has_group {
            Question::Group
        } else if self.wants_own {
            Question::Own
        } else if self.claim_at.is_none_or(|at| at <= now) {
            Question::Claim
        } else {
            Question::New
        }
    }
}

/// Where a claim begins, and what it says at its end.
const BEGINNING: &str = "0-0";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// For the group to be there.
    Group,
    /// For what it has by what Redis knows.
    Own,
    /// For what others have lost.
    Claim,
    New,
}

impl Puller {
    /// Asks for what is next, if it may.
    pub(crate) fn ask(&mut self, cx: &mut Context<'_>) {
        let room = self.room();
        if self.asking.is_on || room == 0 {
            return;
        }
        let question = self.asking.next(cx.now());
        let (rules, asking) = (&self.rules, &mut self.asking);
        let (stream, consumer) = (rules.queue.names.stream(self.lane), &rules.consumer);
        let command = match question {
            Question::Group => format!("XGROUP CREATE {stream} {GROUP} 0 MKSTREAM"),
            Question::Own => {
                // Those that are in hand come first, and are passed over.
                let count = room + 2 * self.held.len();
                format!("XREADGROUP GROUP {GROUP} {consumer} COUNT {count} STREAMS {stream} 0")
            }
            Question::Claim => {
                let (idle, cursor) = (rules.visibility.as_millis(), &asking.cursor);
                format!("XAUTOCLAIM {stream} {GROUP} {consumer} {idle} {cursor} COUNT {room}")
            }
            Question::New => {
                let block = rules.block.as_millis();
                format!(
                    "XREADGROUP GROUP {GROUP} {consumer} COUNT {room} BLOCK {block} STREAMS {stream} >"
                )
            }
        };
        asking.is_on = true;
        // No name has a blank.
        let words: Vec<&str> = command.split(' ').collect();
        let (me, client) = (cx.id::<Puller>(), asking.client);
        Client::request(
            cx,
            client,
            me,
            &words,
            move |puller: &mut Puller, cx, outcome| {
                puller.asking.is_on = false;
                puller.told(cx, question, &outcome);
                Ok(())
            },
        );
    }

    fn told(&mut self, cx: &mut Context<'_>, question: Question, outcome: &Outcome) {
        match outcome {
            Outcome::Done(Reply::Error(error)) if error.starts_with("BUSYGROUP") => {
                self.asking.has_group = true;
            }
            Outcome::Done(Reply::Error(error)) => {
                log::warn!("{}: Redis says {error}", self.lane.name());
                self.asking.has_group &= !error.starts_with("NOGROUP");
                // The next tick asks again.
                return self.stop_if_quiet(cx);
            }
            Outcome::Done(reply) => self.answered(cx, question, reply),
            Outcome::NotSent(why) | Outcome::Unknown(why) => {
                log::debug!("{}: {why}", self.lane.name());
                self.asking.wants_own = true;
                return self.stop_if_quiet(cx);
            }
        }
        self.go_on(cx);
    }

    fn answered(&mut self, cx: &mut Context<'_>, question: Question, reply: &Reply) {
        match question {
            Question::Group => self.asking.has_group = true,
            Question::Own => {
                self.asking.wants_own = false;
                self.take(cx, entries::read(reply));
            }
            Question::Claim => {
                let claimed = entries::claimed(reply);
                let (cursor, entries) = claimed.unwrap_or((BEGINNING.to_owned(), Vec::new()));
                // At the end there is time until the next look; else there may be more at once.
                if cursor == BEGINNING {
                    self.asking.claim_at = Some(cx.now() + self.rules.visibility / 3);
                }
                self.asking.cursor = cursor;
                self.counts.claimed += self.take(cx, entries);
            }
            Question::New => {
                self.take(cx, entries::read(reply));
            }
        }
    }
}
