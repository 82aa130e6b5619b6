//! What comes in: events as they are published, and from the stream what was missed.

use std::io;

use slabloop::Context;

use super::super::event::{EntryId, Event, snapshot};
use super::super::redis::{Client, Heard, Outcome, Reply};
use super::{Link, NICKS, Notice, STREAM, Stage};

/// Entries read from the stream at a time: with the longest lines they fit an empty outbox.
const PAGE: usize = 64;

impl Link {
    pub(in super::super) fn heard(&mut self, cx: &mut Context<'_>, heard: Heard) -> io::Result<()> {
        match heard {
            Heard::Subscribed => {
                self.is_subscribed = true;
                self.catch_up(cx);
            }
            Heard::Lost(why) => {
                self.is_subscribed = false;
                self.fail(cx, &why);
            }
            Heard::Message(message) => match Event::published(&message) {
                Some((id, event)) if matches!(self.stage, Stage::Trying | Stage::Up) => {
                    self.take(cx, id, event);
                }
                // It is in the stream, which is being read.
                Some((id, _)) => self.newest = self.newest.max(id),
                None => cx.log_fault(&not_an_event()),
            },
        }
        Ok(())
    }

    /// An event, unless it was told.
    fn take(&mut self, cx: &mut Context<'_>, id: EntryId, event: Option<Event>) {
        if self.cursor.is_some_and(|cursor| id <= cursor) {
            return;
        }
        self.cursor = Some(id);
        match event {
            Some(event) => self.tell(cx, Notice::Event(event)),
            None => cx.log_fault(&not_an_event()),
        }
    }

    /// Reads what was missed, from the last event that was told.
    pub(super) fn catch_up(&mut self, cx: &mut Context<'_>) {
        self.attempt += 1;
        self.newest = EntryId::START;
        self.stage = Stage::CatchingUp;
        match self.cursor {
            Some(_) => self.read_page(cx),
            None => self.read_snapshot(cx),
        }
    }

    fn read_page(&mut self, cx: &mut Context<'_>) {
        let from = self.cursor.unwrap_or(EntryId::START);
        // What was published before it is asked is in the answer.
        let expected = self.newest;
        let (first, page) = (from.to_string(), PAGE.to_string());
        // With the last that was told, which says whether any behind it were dropped.
        let command = ["XRANGE", STREAM, &first, "+", "COUNT", &page];
        self.ask(cx, &command, move |link, cx, reply| {
            let entries = Event::entries(reply).ok_or("no entries for XRANGE")?;
            let is_full = entries.len() == PAGE;
            let is_whole =
                from == EntryId::START || entries.first().is_some_and(|&(id, _)| id == from);
            let last = entries.last().map_or(from, |&(id, _)| id);
            if !is_whole || !is_full && last < expected {
                log::warn!("entries behind {from} are gone from the stream");
                link.read_snapshot(cx);
                return Ok(());
            }
            for (id, event) in entries {
                link.take(cx, id, event);
            }
            if is_full || last < link.newest {
                link.read_page(cx);
            } else {
                link.has_caught_up(cx);
            }
            Ok(())
        });
    }

    fn read_snapshot(&mut self, cx: &mut Context<'_>) {
        let script = include_str!("../snapshot.lua");
        self.ask(
            cx,
            &["EVAL", script, "2", STREAM, NICKS],
            |link, cx, reply| {
                let (id, roster) =
                    snapshot(reply).ok_or("no snapshot for a script that makes one")?;
                let notice = match link.cursor.replace(id) {
                    None => Notice::Roster(roster),
                    Some(_) => Notice::Missed(roster),
                };
                link.tell(cx, notice);
                // What was published since is behind it.
                link.read_page(cx);
                Ok(())
            },
        );
    }

    /// Asks the broker something for catching up.
    fn ask(
        &mut self,
        cx: &mut Context<'_>,
        command: &[&str],
        answered: impl FnOnce(&mut Link, &mut Context<'_>, Reply) -> Result<(), &'static str> + 'static,
    ) {
        let attempt = self.attempt;
        let deliver = move |link: &mut Link, cx: &mut Context<'_>, outcome| {
            if link.attempt != attempt {
                return Ok(());
            }
            let result = match outcome {
                Outcome::Done(Reply::Error(text)) => Err(format!("the server says {text}")),
                Outcome::Done(reply) => answered(link, cx, reply).map_err(str::to_owned),
                Outcome::NotSent(why) | Outcome::Unknown(why) => Err(why.to_string()),
            };
            if let Err(why) = result {
                link.fail(cx, &why);
            }
            Ok(())
        };
        Client::request(cx, self.client, cx.id::<Link>(), command, deliver);
    }
}

fn not_an_event() -> io::Error {
    let what = "a message or an entry that is none of a chat, and not looked at";
    io::Error::new(io::ErrorKind::InvalidData, what)
}
