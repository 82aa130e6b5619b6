//! What the room does when something has happened: here or at another process, it comes the same way.

use std::collections::BTreeSet;

use slabloop::Context;

use super::super::{MemberId, Room, log_name};
use super::event::{Event, Kind, Roster};
use super::link::{Notice, Operation, Verdict};
use super::wire::{inform, not_sent, perhaps_sent};

impl Room {
    /// The link tells what has happened.
    pub(super) fn notice(&mut self, cx: &mut Context<'_>, notice: Notice) {
        match notice {
            Notice::Event(event) => self.happened(cx, event),
            Notice::Answer(operation, verdict) => self.answered(cx, &operation, verdict),
            Notice::Away => {
                let text = "* the backplane is away: lines are refused until it is back";
                self.tell_all(cx, text);
                if let Some(wire) = &self.wire {
                    wire.resume_all(cx);
                }
            }
            Notice::Back => self.tell_all(cx, "* the backplane is back"),
            Notice::Roster(roster) => self.here_are(cx, roster),
            Notice::Missed(roster) => {
                self.tell_all(
                    cx,
                    "* lines may have been missed: the backplane has lost them",
                );
                self.here_are(cx, roster);
            }
        }
    }

    fn happened(&mut self, cx: &mut Context<'_>, event: Event) {
        let Event {
            kind,
            process,
            operation,
            nick,
            text,
        } = event;
        let is_mine = self
            .wire
            .as_ref()
            .is_some_and(|wire| wire.process == process);
        match kind {
            Kind::Line => self.tell_all(cx, &format!("{nick}: {text}")),
            Kind::Joined => {
                self.nicks.insert(nick.clone());
                if is_mine {
                    self.grant(cx, |_, id| id == operation);
                }
                self.tell_all(cx, &format!("* {nick} joined"));
            }
            Kind::Renamed => {
                self.nicks.remove(&nick);
                self.nicks.insert(text.clone());
                if is_mine {
                    self.grant(cx, |_, id| id == operation);
                }
                self.tell_all(cx, &format!("* {nick} is now {text}"));
            }
            Kind::Left => {
                self.nicks.remove(&nick);
                self.tell_all(cx, &format!("* {nick} left"));
                // Not if it has left by itself.
                let is_taken_for_gone = is_mine && operation == 0;
                let bearer = self.bearer_of(&nick).filter(|_| is_taken_for_gone);
                if let Some(who) = bearer {
                    self.claim_again(cx, who, nick);
                }
            }
        }
    }

    /// The member of this process that has a nickname.
    fn bearer_of(&self, nick: &str) -> Option<MemberId> {
        let mut members = self.members.iter();
        let found = members.find(|(_, has)| *has == nick);
        found.map(|(&who, _)| who)
    }

    /// A nickname that a member has asked for is its own. False if that member has gone; then a leave is on its way.
    fn grant(&mut self, cx: &mut Context<'_>, is_it: impl Fn(&str, u64) -> bool) -> bool {
        let Some(wire) = &mut self.wire else {
            return false;
        };
        let mut claims = wire.claims.iter();
        let claim = claims.find(|(_, (nick, id))| is_it(nick, *id));
        let Some(who) = claim.map(|(&who, _)| who) else {
            return false;
        };
        if let Some((nick, _)) = wire.claims.remove(&who) {
            log_name(cx, who, &nick);
            self.members.insert(who, nick);
        }
        wire.resume(cx, who);
        true
    }

    /// A member of this process was taken for gone: its nickname was given up while the broker was away, or is
    /// unknown to a broker that has lost its data.
    fn claim_again(&mut self, cx: &mut Context<'_>, who: MemberId, nick: String) {
        let text =
            "* your nickname was given up while the backplane was away; it is asked for again";
        inform(cx, who, text);
        self.members.remove(&who);
        if let Some(wire) = &mut self.wire {
            wire.claim_again(cx, who, nick);
        }
    }

    /// After events were missed: who is here.
    fn here_are(&mut self, cx: &mut Context<'_>, roster: Roster) {
        let Some(wire) = &self.wire else {
            return;
        };
        let is_mine = |process: &String| *process == wire.process;
        let mine = roster.iter().filter(|(_, process)| is_mine(process));
        let mine: BTreeSet<_> = mine.map(|(nick, _)| nick.clone()).collect();
        self.nicks = roster.into_iter().map(|(nick, _)| nick).collect();
        // Some claims were granted unseen.
        for nick in &mine {
            if self.bearer_of(nick).is_none() && self.grant(cx, |claimed, _| claimed == nick) {
                self.tell_all(cx, &format!("* {nick} joined"));
            }
        }
        let lost = self
            .members
            .iter()
            .filter(|(_, nick)| !mine.contains(*nick));
        let lost: Vec<_> = lost.map(|(&who, nick)| (who, nick.clone())).collect();
        for (who, nick) in lost {
            self.claim_again(cx, who, nick);
        }
    }

    fn answered(&mut self, cx: &mut Context<'_>, operation: &Operation, verdict: Verdict) {
        let (Some(wire), Some(who)) = (&mut self.wire, operation.who) else {
            return;
        };
        let Operation {
            kind,
            id,
            nick,
            text,
            ..
        } = operation;
        let refused = match (*kind, verdict) {
            ("line", _) => {
                wire.confirmed(cx, who);
                match verdict {
                    Verdict::Unknown => Some(perhaps_sent(text)),
                    Verdict::Done => None,
                    _ => Some(not_sent("your nickname was given up", text)),
                }
            }
            ("join" | "rename", Verdict::Taken | Verdict::Lost) => {
                let wanted = if *kind == "join" { nick } else { text };
                let is_open = wire.claims.get(&who).is_some_and(|(_, open)| open == id);
                if is_open {
                    wire.claims.remove(&who);
                    wire.resume(cx, who);
                }
                let text = match verdict {
                    Verdict::Taken => format!("* {wanted} is taken; another nickname?"),
                    _ => "* your nickname was given up; try again".to_owned(),
                };
                is_open.then_some(text)
            }
            _ => None,
        };
        if let Some(text) = refused {
            inform(cx, who, &text);
        }
    }
}
