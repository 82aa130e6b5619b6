//! `--backplane redis://HOST:PORT`: several processes with one room. `docs/chat-over-redis.md` describes what is kept
//! when something fails.
//!
//! With a backplane, nothing that members do has an effect here at once: it is sent to the broker, which decides, and
//! comes back as an event, which all processes see in the same order. So a member hears its own lines too, and a line
//! that it hears is kept.
//!
//! | file | content |
//! |---|---|
//! | `backplane.rs` | the flags; what the room does otherwise |
//! | `link.rs` | operations out, events in; the broker's absences |
//! | `event.rs` | events, as they are stored |
//! | `apply.lua`, `snapshot.lua` | what the broker does, each as a whole |

mod event;
mod link;
#[path = "../common/redis/mod.rs"]
mod redis;

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::time::Duration;

use lexopt::{Parser, ValueExt};
use slabloop::{Context, Id, Reactor};

use super::common::{self, Failure};
use super::{MemberId, Room, reply};
use event::{Event, Kind, Roster};
use link::{Link, Notice, Operation, Verdict};
use redis::{Client, Connection, Settings};

/// Bytes of a line, at most.
const LONGEST_TEXT: usize = 4 * 1024;

/// Lines of one member that are on their way. Then it is not read.
const WINDOW: usize = 8;

/// How much of a line stands in the reply that it was not sent.
const QUOTED: usize = 60;

/// From a question to the broker to its answer, or for the lease if that is shorter. A longer silence is taken for its
/// absence.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A shorter lease would end between two renewals.
const SHORTEST_LEASE: Duration = Duration::from_millis(100);

/// The flags, parsed.
#[derive(Debug)]
pub(super) struct Backplane {
    server: Option<String>,
    lease: Duration,
    keep: usize,
    link: Option<Id<Link>>,
}

impl Default for Backplane {
    fn default() -> Backplane {
        Backplane {
            server: None,
            lease: Duration::from_secs(10),
            keep: 100_000,
            link: None,
        }
    }
}

impl Backplane {
    /// Takes one flag. False if it is none of these.
    pub(super) fn take(&mut self, flag: &str, parser: &mut Parser) -> Result<bool, Failure> {
        match flag {
            "backplane" => {
                let text = parser.value()?.string()?;
                let server = text.strip_prefix("redis://");
                let server = server.map(|server| server.trim_end_matches('/'));
                let is_whole = |server: &&str| {
                    let parts = server.rsplit_once(':');
                    parts
                        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
                };
                let Some(server) = server.filter(is_whole) else {
                    let right = "redis://HOST:PORT, such as redis://127.0.0.1:6379";
                    return Err(Failure::Usage(format!(
                        "--backplane {text}: expected {right}"
                    )));
                };
                self.server = Some(server.to_owned());
            }
            "lease" => {
                self.lease = common::seconds("--lease", parser, common::Limit::AboveZero)?;
                if self.lease < SHORTEST_LEASE {
                    let text = format!("--lease: expected at least {SHORTEST_LEASE:?}");
                    return Err(Failure::Usage(text));
                }
            }
            "keep" => self.keep = common::number("--keep", parser, 1)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Ties the room to those of other processes, if that is asked for. The broker need not be there.
    pub(super) fn begin(&mut self, reactor: &mut Reactor, room: Id<Room>) -> Result<(), Failure> {
        let Some(server) = &self.server else {
            return Ok(());
        };
        let address = common::look_up("--backplane", server)?[0];
        let mut settings = Settings::new(address);
        settings.connections = 2;
        settings.timeout = self.lease.min(TIMEOUT);
        let link = self.start(reactor, room, &settings);
        self.link = Some(link.map_err(Failure::io("cannot make the backplane"))?);
        Ok(())
    }

    fn start(
        &self,
        reactor: &mut Reactor,
        room: Id<Room>,
        settings: &Settings,
    ) -> io::Result<Id<Link>> {
        let of_connections = settings.clone();
        let client = Client::start(reactor, settings, move |cx, server, seat| {
            cx.connect(*server, seat.hold(Connection::new(&of_connections)))
        })?;
        // Random keys, from the system.
        let process = format!("{:016x}", RandomState::new().build_hasher().finish());
        let link = Link::new(client, room, process.clone(), self.lease, self.keep)?;
        let link = reactor.add_service(link)?;
        reactor.with(link, |link, cx| link.begin(cx));
        redis::subscribe(reactor, settings, link::CHANNEL, link, Link::heard)?;
        reactor.with(room, |room, _| room.wire = Some(Wire::new(link, process)));
        Ok(link)
    }

    /// Between the end of the loop and the drain: what members said is sent, and that they leave is told.
    pub(super) fn farewell(&self, reactor: &mut Reactor, limit: Duration) -> Result<(), Failure> {
        let Some(link) = self.link else {
            return Ok(());
        };
        let give_up = move |reactor: &mut Reactor| {
            reactor.with(link, |link, cx| link.give_up(cx));
        };
        reactor.call_later(limit, give_up);
        reactor.with(link, |link, cx| link.leave(cx));
        reactor.run().map_err(Failure::io("the loop failed"))
    }
}

/// What the room knows of its members' operations that are on their way.
#[derive(Debug)]
pub(super) struct Wire {
    link: Id<Link>,
    process: String,
    /// Nicknames that members have asked for. They are not read until that is decided.
    claims: BTreeMap<MemberId, String>,
    /// Lines of members that are not confirmed.
    unconfirmed: BTreeMap<MemberId, usize>,
}

impl Wire {
    fn new(link: Id<Link>, process: String) -> Wire {
        Wire {
            link,
            process,
            claims: BTreeMap::new(),
            unconfirmed: BTreeMap::new(),
        }
    }

    /// Whether a member waits for this nickname.
    pub(super) fn is_claimed(&self, nick: &str) -> bool {
        self.claims.values().any(|claimed| claimed == nick)
    }

    /// Whether a member waits for a nickname.
    pub(super) fn is_waiting(&self, who: MemberId) -> bool {
        self.claims.contains_key(&who)
    }

    fn submit(
        &self,
        cx: &mut Context<'_>,
        kind: &'static str,
        who: MemberId,
        nick: &str,
        text: &str,
    ) -> Result<(), &'static str> {
        let operation = operation(kind, who, nick, text);
        let submitted = cx.with(self.link, |link, cx| link.submit(cx, operation));
        submitted.unwrap_or(Err("the server is shutting down"))
    }

    fn enqueue(&self, cx: &mut Context<'_>, kind: &'static str, who: MemberId, nick: &str) {
        let operation = operation(kind, who, nick, "");
        cx.with(self.link, |link, cx| link.enqueue(cx, operation));
    }

    /// A member asks for a nickname; `old` is the one that it has.
    pub(super) fn claim(
        &mut self,
        cx: &mut Context<'_>,
        who: MemberId,
        old: Option<&str>,
        nick: &str,
    ) -> io::Result<()> {
        let submitted = match old {
            None => self.submit(cx, "join", who, nick, ""),
            Some(old) => self.submit(cx, "rename", who, old, nick),
        };
        match submitted {
            Ok(()) => {
                self.claims.insert(who, nick.to_owned());
                pause(cx, who, true);
                Ok(())
            }
            Err(why) => reply(cx, who, &format!("* not now: {why}; try again")),
        }
    }

    pub(super) fn say(
        &mut self,
        cx: &mut Context<'_>,
        who: MemberId,
        nick: &str,
        text: &str,
    ) -> io::Result<()> {
        let submitted = match text.len() {
            0..=LONGEST_TEXT => self.submit(cx, "line", who, nick, text),
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
    pub(super) fn forget(&mut self, cx: &mut Context<'_>, who: MemberId, nick: Option<String>) {
        self.unconfirmed.remove(&who);
        let claimed = self.claims.remove(&who);
        // Of two, one is its own when this is applied.
        for nick in claimed.into_iter().chain(nick) {
            self.enqueue(cx, "leave", who, &nick);
        }
    }

    fn confirmed(&mut self, cx: &mut Context<'_>, who: MemberId) {
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
    fn resume(&self, cx: &mut Context<'_>, who: MemberId) {
        let lines = self.unconfirmed.get(&who).copied().unwrap_or(0);
        if lines < WINDOW && !self.is_waiting(who) {
            pause(cx, who, false);
        }
    }

    /// While the broker is away, what members send is refused and not left waiting.
    fn resume_all(&self, cx: &mut Context<'_>) {
        for &who in self.claims.keys().chain(self.unconfirmed.keys()) {
            pause(cx, who, false);
        }
    }
}

fn operation(kind: &'static str, who: MemberId, nick: &str, text: &str) -> Operation {
    Operation {
        kind,
        who: Some(who),
        nick: nick.to_owned(),
        text: text.to_owned(),
    }
}

fn pause(cx: &mut Context<'_>, who: MemberId, yes: bool) {
    match cx.at(who) {
        Some(mut member) if yes => member.pause_reading(),
        Some(mut member) => member.resume_reading(),
        None => {}
    }
}

fn not_sent(why: &str, text: &str) -> String {
    format!("* not sent ({why}): {}", beginning(text))
}

fn perhaps_sent(text: &str) -> String {
    format!(
        "* perhaps not sent (the server is shutting down): {}",
        beginning(text)
    )
}

fn beginning(text: &str) -> String {
    text.chars().take(QUOTED).collect()
}

/// Answers a member that may be closing.
fn inform(cx: &mut Context<'_>, who: MemberId, text: &str) {
    if let Some(mut member) = cx.at(who).filter(|member| !member.is_closing()) {
        // One that cannot take it is closed, and this has nothing to add.
        let _ = member.send(format!("{text}\n").as_bytes());
    }
}

impl Room {
    /// The link tells what has happened.
    fn notice(&mut self, cx: &mut Context<'_>, notice: Notice) {
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
                    self.has_claimed(cx, &nick);
                }
                self.tell_all(cx, &format!("* {nick} joined"));
            }
            Kind::Renamed => {
                self.nicks.remove(&nick);
                self.nicks.insert(text.clone());
                if is_mine {
                    self.has_claimed(cx, &text);
                }
                self.tell_all(cx, &format!("* {nick} is now {text}"));
            }
            Kind::Left => {
                self.nicks.remove(&nick);
                self.tell_all(cx, &format!("* {nick} left"));
                let bearer = self.bearer_of(&nick).filter(|_| is_mine);
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
    fn has_claimed(&mut self, cx: &mut Context<'_>, nick: &str) -> bool {
        let Some(wire) = &mut self.wire else {
            return false;
        };
        let mut claims = wire.claims.iter();
        let claim = claims.find(|(_, claimed)| *claimed == nick);
        let Some(who) = claim.map(|(&who, _)| who) else {
            return false;
        };
        wire.claims.remove(&who);
        wire.resume(cx, who);
        self.members.insert(who, nick.to_owned());
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
            wire.enqueue(cx, "join", who, &nick);
            wire.claims.insert(who, nick);
            pause(cx, who, true);
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
            if self.bearer_of(nick).is_none() && self.has_claimed(cx, nick) {
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
            kind, nick, text, ..
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
                let is_open = wire.claims.get(&who) == Some(wanted);
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
