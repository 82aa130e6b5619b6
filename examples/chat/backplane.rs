//! `--backplane redis://HOST:PORT`: several processes with one room. `docs/chat-over-redis.md` describes what is kept
//! when something fails.
//!
//! With a backplane, nothing that members do has an effect here at once: it is sent to the broker, which decides, and
//! comes back as an event, which all processes see in the same order. So a member hears its own lines too, and a line
//! that it hears is kept.
//!
//! | file | content |
//! |---|---|
//! | `backplane.rs` | the flags; the beginning and the end |
//! | `wire.rs` | what members are waiting for, and how they are held back |
//! | `link.rs` | operations out, events in; the broker's absences |
//! | `happening.rs` | what the room does when an event comes |
//! | `event.rs` | events, as they are stored |
//! | `apply.lua`, `snapshot.lua` | what the broker does, each as a whole |

mod event;
mod happening;
mod link;
#[path = "../common/redis/mod.rs"]
mod redis;
mod wire;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::time::Duration;

use lexopt::Parser;
use slabloop::{Id, Reactor};

use super::Room;
use super::common::{self, Failure};
use link::Link;
use redis::{Client, Connection, Server, Settings};
pub(super) use wire::Wire;

/// From a question to the broker to its answer, or for the lease if that is shorter. A longer silence is taken for its
/// absence.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A shorter lease would end between two renewals.
const SHORTEST_LEASE: Duration = Duration::from_millis(100);

/// The flags, parsed.
#[derive(Debug)]
pub(super) struct Backplane {
    server: Option<Server>,
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
                let server = Server::of(parser.value()?);
                let wrong = |why| Failure::Usage(format!("--backplane: {why}"));
                self.server = Some(server.map_err(wrong)?);
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
        let address = common::look_up("--backplane", &server.name)?[0];
        let mut settings = Settings::new(address);
        settings.login = server.login.clone();
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
