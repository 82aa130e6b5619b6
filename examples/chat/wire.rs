//! What the room knows of its members' operations that are on their way, and how members are held back meanwhile.

use std::collections::BTreeMap;
use std::io;

use slabloop::{Context, Id};

use super::super::{MemberId, reply};
use super::link::{Link, Operation};

/// Bytes of a line, at most.
const LONGEST_TEXT: usize = 4 * 1024;

/// Lines of one member that are on their way. Then it is not read.
const WINDOW: usize = 8;

/// How much of a line stands in the reply that it was not sent.
const QUOTED: usize = 60;

/// What the room knows of its members' operations that are on their way.
#[derive(Debug)]
pub(crate) struct Wire {
    link: Id<Link>,
    pub(super) process: String,
    /// Nicknames that members have asked for, and by which operation. They are not read until that is decided.
    pub(super) claims: BTreeMap<MemberId, (String, u64)>,
    /// Operations so far.
    operations: u64,
    /// Lines of members that are not confirmed.
    unconfirmed: BTreeMap<MemberId, usize>,
}

impl Wire {
    pub(super) fn new(link: Id<Link>, process: String) -> Wire {
        Wire {
            link,
            process,
            claims: BTreeMap::new(),
            operations: 0,
            unconfirmed: BTreeMap::new(),
        }
    }

    /// Whether a member waits for this nickname.
    pub(crate) fn is_claimed(&self, nick: &str) -> bool {
        self.claims.values().any(|(claimed, _)| claimed == nick)
    }

    /// Whether a member waits for a nickname.
    pub(crate) fn is_waiting(&self, who: MemberId) -> bool {
        self.claims.contains_key(&who)
    }

    fn operation(
        &mut self,
        kind: &'static str,
        who: MemberId,
        nick: &str,
        text: &str,
    ) -> Operation {
        self.operations += 1;
        Operation {
            kind,
            id: self.operations,
            who: Some(who),
            nick: nick.to_owned(),
            text: text.to_owned(),
        }
    }

    fn submit(&self, cx: &mut Context<'_>, operation: Operation) -> Result<(), &'static str> {
        let submitted = cx.with(self.link, |link, cx| link.submit(cx, operation));
        submitted.unwrap_or(Err("the server is shutting down"))
    }

    fn enqueue(&self, cx: &mut Context<'_>, operation: Operation) {
        cx.with(self.link, |link, cx| link.enqueue(cx, operation));
    }

    /// A member asks for a nickname; `old` is the one that it has.
    pub(crate) fn claim(
        &mut self,
        cx: &mut Context<'_>,
        who: MemberId,
        old: Option<&str>,
        nick: &str,
    ) -> io::Result<()> {
        let operation = match old {
            None => self.operation("join", who, nick, ""),
            Some(old) => self.operation("rename", who, old, nick),
        };
        let id = operation.id;
        match self.submit(cx, operation) {
            Ok(()) => {
                self.awaits(cx, who, nick.to_owned(), id);
                Ok(())
            }
            Err(why) => reply(cx, who, &format!("* not now: {why}; try again")),
        }
    }

    /// A member asks for the nickname that it had.
    pub(super) fn claim_again(&mut self, cx: &mut Context<'_>, who: MemberId, nick: String) {
        let operation = self.operation("join", who, &nick, "");
        let id = operation.id;
        self.enqueue(cx, operation);
        self.awaits(cx, who, nick, id);
    }

    fn awaits(&mut self, cx: &mut Context<'_>, who: MemberId, nick: String, id: u64) {
        self.claims.insert(who, (nick, id));
        pause(cx, who, true);
    }

    pub(crate) fn say(
        &mut self,
        cx: &mut Context<'_>,
        who: MemberId,
        nick: &str,
        text: &str,
    ) -> io::Result<()> {
        let submitted = match text.len() {
            0..=LONGEST_TEXT => {
                let operation = self.operation("line", who, nick, text);
                self.submit(cx, operation)
            }
            _ => Err("lines have 4 KiB at most"),
        };
        if let Err(why) = submitted {
            return reply(cx, who, &not_sent(why, text));
        }
        let count = self.unconfirmed.entry(who).or_default();
        *count += 1;
        if *count >= WINDOW {
            pause(cx, who, true);
        }
        Ok(())
    }

    /// A member has gone, and had this nickname.
    pub(crate) fn forget(&mut self, cx: &mut Context<'_>, who: MemberId, nick: Option<String>) {
        self.unconfirmed.remove(&who);
        let claimed = self.claims.remove(&who).map(|(nick, _)| nick);
        // Of two, one is its own when this is applied.
        for nick in claimed.into_iter().chain(nick) {
            let operation = self.operation("leave", who, &nick, "");
            self.enqueue(cx, operation);
        }
    }

    pub(super) fn confirmed(&mut self, cx: &mut Context<'_>, who: MemberId) {
        let Some(count) = self.unconfirmed.get_mut(&who) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            self.unconfirmed.remove(&who);
        }
        self.resume(cx, who);
    }

    /// Reads a member again, if nothing is in the way.
    pub(super) fn resume(&self, cx: &mut Context<'_>, who: MemberId) {
        let lines = self.unconfirmed.get(&who).copied().unwrap_or(0);
        if lines < WINDOW && !self.is_waiting(who) {
            pause(cx, who, false);
        }
    }

    /// While the broker is away, what members send is refused and not left waiting.
    pub(super) fn resume_all(&self, cx: &mut Context<'_>) {
        for &who in self.claims.keys().chain(self.unconfirmed.keys()) {
            pause(cx, who, false);
        }
    }
}

fn pause(cx: &mut Context<'_>, who: MemberId, yes: bool) {
    match cx.at(who) {
        Some(mut member) if yes => member.pause_reading(),
        Some(mut member) => member.resume_reading(),
        None => {}
    }
}

pub(super) fn not_sent(why: &str, text: &str) -> String {
    format!("* not sent ({why}): {}", beginning(text))
}

pub(super) fn perhaps_sent(text: &str) -> String {
    format!(
        "* perhaps not sent (the server is shutting down): {}",
        beginning(text)
    )
}

fn beginning(text: &str) -> String {
    text.chars().take(QUOTED).collect()
}

/// Answers a member that may be closing.
pub(super) fn inform(cx: &mut Context<'_>, who: MemberId, text: &str) {
    if let Some(mut member) = cx.at(who).filter(|member| !member.is_closing()) {
        // One that cannot take it is closed, and this has nothing to add.
        let _ = member.send(format!("{text}\n").as_bytes());
    }
}
