//! A chat room: what one member says, every other member hears.
//!
//! Shows the framing layer (lines), a room that is a dispatcher without a socket, and members that hold its
//! typed id (no `Rc`, no `RefCell`), broadcasting, and a member that does not read: it is closed
//! when its outbox reaches its hard cap of 1 MiB, and the others are not affected.
//!
//! ```text
//! cargo run --release --example chat
//! nc 127.0.0.1 7001        # in two terminals; the first line is your nickname
//! ```
//!
//! To see more: `RUST_LOG=info,slabloop=debug`. With `--backplane` several processes have one room: see
//! `docs/chat-over-redis.md`, and `chat/backplane.rs`.

pub(crate) mod common;

#[cfg(feature = "examples")]
#[path = "chat/backplane.rs"]
mod backplane;
#[cfg(not(feature = "examples"))]
#[path = "chat/no_backplane.rs"]
mod backplane;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::process::ExitCode;

use slabloop::framing::{Framed, Framing, Handler, Terminator};
use slabloop::{Accepted, Context, Dispatcher, Id};

/// A longer line ends its sender's connection.
const LONGEST_LINE: usize = 64 * 1024;

/// A longer nickname is refused.
const LONGEST_NICK: usize = 32;

/// `/who` lists no more names than this: a reply must not outgrow the outbox of the member that asks.
const NAMES_LISTED: usize = 100;

const COMMANDS: &str =
    "* /who lists who is here, /nick NAME renames you, /quit leaves, /help is this";

type MemberId = Id<Framed<Member>>;

/// What the members share. It has no socket; they, and the door, reach it by its id.
#[derive(Default)]
pub(crate) struct Room {
    /// Members that have given a nickname.
    members: BTreeMap<MemberId, String>,
    /// The nicknames in use, so that a look costs the same however many there are.
    nicks: BTreeSet<String>,
    /// Set if other processes have members of the same room; their nicknames are above, too.
    wire: Option<backplane::Wire>,
}

impl Dispatcher for Room {}

/// The listener.
pub(crate) struct Door {
    pub(crate) room: Id<Room>,
    pub(crate) tls: common::Tls,
    pub(crate) proxied: common::Proxied,
}

impl Dispatcher for Door {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        common::accept(self, cx, accepted)
    }
}

impl common::Welcome for Door {
    fn proxied(&self) -> &common::Proxied {
        &self.proxied
    }

    fn welcome(&mut self, cx: &mut Context<'_>, client: common::Client) -> io::Result<()> {
        let member = Framed::new(Terminator::Line, Member { room: self.room })?;
        let id = client.serve(cx, &self.tls, member.max_record(LONGEST_LINE))?;
        reply(cx, id, "* welcome; your nickname?")
    }
}

impl Room {
    /// A member has sent a line.
    fn hear(&mut self, cx: &mut Context<'_>, who: MemberId, line: &str) -> io::Result<()> {
        if self.wire.as_ref().is_some_and(|wire| wire.is_waiting(who)) {
            return reply(cx, who, "* your nickname is still asked for; wait");
        }
        let Some(nick) = self.members.get(&who).cloned() else {
            // The first line is the nickname.
            return self.name(cx, who, line.trim());
        };
        match line.split_once(' ').unwrap_or((line, "")) {
            ("/who", _) => {
                let nicks: Vec<_> = self.nicks.iter().take(NAMES_LISTED).cloned().collect();
                let more = match self.nicks.len().saturating_sub(NAMES_LISTED) {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                reply(cx, who, &format!("* here: {}{more}", nicks.join(", ")))
            }
            ("/nick", new) => self.name(cx, who, new.trim()),
            ("/quit", _) => {
                reply(cx, who, "* goodbye")?;
                if let Some(mut member) = cx.at(who) {
                    member.close();
                }
                // No line of theirs comes after this; and the nickname is free at once.
                self.forget(cx, who);
                Ok(())
            }
            ("/help", _) => reply(cx, who, COMMANDS),
            (unknown, _) if unknown.starts_with('/') => reply(
                cx,
                who,
                &format!("* {unknown} is no command; /help lists them"),
            ),
            _ => {
                if let Some(wire) = &mut self.wire {
                    return wire.say(cx, who, &nick, line);
                }
                let others = self.members.keys().filter(|&&member| member != who);
                cx.broadcast(others.copied(), format!("{nick}: {line}\n").as_bytes());
                Ok(())
            }
        }
    }

    /// Gives a member a nickname, its first or another one.
    fn name(&mut self, cx: &mut Context<'_>, who: MemberId, nick: &str) -> io::Result<()> {
        if let Some(refusal) = self.refusal(nick) {
            return reply(cx, who, &refusal);
        }
        if let Some(wire) = &mut self.wire {
            let old = self.members.get(&who).map(String::as_str);
            return wire.claim(cx, who, old, nick);
        }
        self.nicks.insert(nick.to_owned());
        log_name(cx, who, nick);
        match self.members.insert(who, nick.to_owned()) {
            Some(old) => {
                self.nicks.remove(&old);
                self.tell_all(cx, &format!("* {old} is now {nick}"));
            }
            None => self.tell_all(cx, &format!("* {nick} joined")),
        }
        Ok(())
    }

    /// Why this cannot be a nickname, if so.
    fn refusal(&self, nick: &str) -> Option<String> {
        let is_claimed = |wire: &backplane::Wire| wire.is_claimed(nick);
        if self.nicks.contains(nick) || self.wire.as_ref().is_some_and(is_claimed) {
            return Some(format!("* {nick} is taken; another nickname?"));
        }
        let usable = nick.chars().all(|c| !c.is_whitespace() && c != ':')
            && !nick.starts_with(['/', '*'])
            && (1..=LONGEST_NICK).contains(&nick.chars().count());
        let rule = "* a nickname has 1 to 32 characters, no space or colon, and no / or * in front";
        (!usable).then(|| rule.to_owned())
    }

    fn forget(&mut self, cx: &mut Context<'_>, who: MemberId) {
        let nick = self.members.remove(&who);
        if let Some(wire) = &mut self.wire {
            wire.forget(cx, who, nick);
        } else if let Some(nick) = nick {
            self.nicks.remove(&nick);
            self.tell_all(cx, &format!("* {nick} left"));
        }
    }

    fn tell_all(&self, cx: &mut Context<'_>, text: &str) {
        cx.broadcast(self.members.keys().copied(), format!("{text}\n").as_bytes());
    }
}

/// So that what a member does is found by its address, and the other way round.
fn log_name(cx: &mut Context<'_>, who: MemberId, nick: &str) {
    if let Some(member) = cx.at(who) {
        log::info!("{}: is {nick}", member.label());
    }
}

fn reply(cx: &mut Context<'_>, to: MemberId, text: &str) -> io::Result<()> {
    cx.at(to).map_or(Ok(()), |mut member| {
        member.send(format!("{text}\n").as_bytes())
    })
}

/// Whether a character is what it looks like: no control character, none that changes the direction of the
/// text around it, none without width. Names that differ only in such characters would look alike.
fn is_visible(c: char) -> bool {
    let is_format = matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    !c.is_control() && !is_format
}

/// One connection.
struct Member {
    room: Id<Room>,
}

impl Member {
    /// Tells the room, and so all members, as soon as we decide to close: `handle_close` comes only when
    /// the peer has closed too, which may take a while.
    fn tell_room_i_left(&self, cx: &mut Context<'_>) {
        let me = cx.id();
        cx.with(self.room, |room, room_cx| room.forget(room_cx, me));
    }
}

impl Handler for Member {
    fn found_terminator(
        &mut self,
        cx: &mut Context<'_>,
        _: &mut Framing,
        line: &[u8],
    ) -> io::Result<()> {
        // What a peer sent goes to other people's terminals.
        let line = String::from_utf8_lossy(line);
        let line: String = line.chars().filter(|&c| is_visible(c)).collect();
        let me = cx.id();
        // In the closure the context is the room's. No room: we are shutting down.
        cx.with(self.room, |room, room_cx| room.hear(room_cx, me, &line))
            .unwrap_or(Ok(()))
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        cx.log_fault(&error);
        let reason: &[u8] = match error.kind() {
            io::ErrorKind::InvalidData => b"* lines have 64 KiB at most; goodbye\n",
            // A member whose outbox is at its hard cap has no room, and after a timeout nothing can be sent any more.
            _ => b"",
        };
        let _ = cx.send(reason);
        cx.close();
        self.tell_room_i_left(cx);
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        self.tell_room_i_left(cx);
    }
}

const HELP: &str = "\
A chat room. The first line that a client sends is its nickname; every line after that reaches
all other members. /who, /nick NAME, /quit and /help are commands.

Usage: chat [OPTIONS]

  --listen HOST:PORT       where to listen; port 0 selects a free one [127.0.0.1:7001]
  --max-connections N      members at once; further ones wait in the kernel [no limit]
  --idle-timeout SECONDS   closes a member after SECONDS without traffic [never]
  --drain SECONDS          time limit for sending queued output at shutdown [5]
  --backplane URL          redis://HOST:PORT: one room with all processes that name this Redis; build with
                           --features examples
  --lease SECONDS          how long nicknames outlive a process that was killed, with --backplane [10]
  --keep N                 events that Redis keeps, for processes that were away from it [100000]
  --tls-cert FILE          serve TLS with this certificate (PEM); build with --features tls
  --tls-key FILE           its private key (PEM)
  --proxy-protocol         clients come through a load balancer that names them in a PROXY header (v1 or v2)
  --proxy-from ADDRESSES   whose headers are believed, such as 10.0.0.0/8,10.1.0.5; all others are turned away.
                           Name your load balancers and no one else: a header can name any client
                           [127.0.0.0/8,::1]
  --proxy-timeout SECONDS  time limit for the header [5]
  --inspect HOST:PORT      shows the loop in a browser; build with --features inspector
  --replay FILE            shows a recording of the inspector instead of the loop
  --trace FILE             writes a trace of the loop, for ui.perfetto.dev; build with --features trace
  --duration SECONDS       stops after this time [never]
  -h, --help               this text
      --version            the version of slabloop

REDISCLI_AUTH has the password of Redis, if it wants one. So may the URL, redis://USER:PASSWORD@HOST:PORT, but a
command line can be read by other users of the machine.
RUST_LOG sets the log level, for example RUST_LOG=info,slabloop=debug.

Examples:
  chat --listen 127.0.0.1:0
  chat --max-connections 1000 --idle-timeout 3600
";

fn main() -> ExitCode {
    common::run(HELP, |arguments| {
        let mut proxied = common::Proxied::default();
        let mut backplane = backplane::Backplane::default();
        let options = common::Options::parse(arguments, "127.0.0.1:7001", |flag, parser| {
            Ok(proxied.take(flag, parser)? || backplane.take(flag, parser)?)
        })?;
        let reactor = common::builder(&options, 1).build();
        let mut reactor = reactor.map_err(common::Failure::io("cannot make a reactor"))?;
        let room = reactor.add_service(Room::default());
        let room = room.map_err(common::Failure::io("cannot make the room"))?;
        backplane.begin(&mut reactor, room)?;
        let door = Door {
            room,
            tls: options.tls.clone(),
            proxied: proxied.checked()?,
        };
        common::listen(&mut reactor, &options, door)?;
        common::serve_then(reactor, &options, |reactor| {
            backplane.farewell(reactor, options.drain)
        })
    })
}
