//! A program with the inspector: a server that sends the time to all of its clients.
//!
//! It needs one call, `inspector::listen`. Then a browser shows what the loop does: which dispatchers there are, how
//! much time each of them takes, and which ones wait for which others.
//!
//! ```text
//! cargo run --release --features inspector --example inspector
//! nc 127.0.0.1 7010
//! ```
//!
//! and open <http://127.0.0.1:7004/>. Connect a few more times, stop one with Ctrl-Z, and see its outbox grow.

mod common;

use std::collections::BTreeSet;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use common::Failure;
use slabloop::inspector::{self, Options};
use slabloop::{Accepted, AnyId, Context, Dispatcher, Id, TimerId};

const HELP: &str = "\
Sends the time to all clients, ten times a second, and shows its loop in a browser.

Usage: inspector [OPTIONS]

  --listen HOST:PORT       where to listen; port 0 selects a free one [127.0.0.1:7010]
  --page HOST:PORT         where the inspector's page is [127.0.0.1:7004]
  --max-connections N      clients served at once; further ones wait in the kernel [no limit]
  --drain SECONDS          time limit for sending queued output at shutdown [5]
  --duration SECONDS       stops after this time [never]
  -h, --help               this text
      --version            the version of slabloop

Examples:
  inspector
  inspector --listen 127.0.0.1:0 --page 127.0.0.1:0
";

/// The list of all clients. A dispatcher without a socket, with a timer.
struct Room {
    members: BTreeSet<AnyId>,
    ticks: u64,
}

impl Dispatcher for Room {
    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        self.ticks += 1;
        let line = format!("tick {}\n", self.ticks);
        cx.broadcast(self.members.iter().copied(), line.as_bytes());
        Ok(())
    }
}

struct Door {
    room: Id<Room>,
}

impl Dispatcher for Door {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let room = self.room;
        let member = cx.add(accepted, Member { room })?;
        cx.with(room, |room, _| room.members.insert(member.any()));
        Ok(())
    }
}

/// Its input is not used: the default `handle_read` discards it.
struct Member {
    room: Id<Room>,
}

impl Dispatcher for Member {
    fn handle_close(&mut self, cx: &mut Context<'_>) {
        let member = cx.any_id();
        cx.with(self.room, |room, _| room.members.remove(&member));
    }
}

fn main() -> ExitCode {
    common::run(HELP, |arguments| {
        let mut page = "127.0.0.1:7004".to_owned();
        let options = common::Options::parse(arguments, "127.0.0.1:7010", |flag, parser| {
            if flag == "page" {
                page = common::host_and_port("--page", parser)?;
            }
            Ok(flag == "page")
        })?;
        let reactor = common::builder(&options, 1).build();
        let mut reactor = reactor.map_err(Failure::io("cannot make a reactor"))?;
        let room = Room {
            members: BTreeSet::new(),
            ticks: 0,
        };
        let room = reactor
            .add_service(room)
            .map_err(Failure::io("cannot open the room"))?;
        common::listen(&mut reactor, &options, Door { room })?;

        // This is all.
        let inspection = inspector::listen(&mut reactor, page.as_str(), &Options::new());
        let inspection = inspection.map_err(Failure::io(&format!("--page {page}")))?;
        common::say(&format!("inspector on {inspection}"));

        if let Some(mut room) = reactor.at(room) {
            room.set_interval(Duration::from_millis(100));
        }
        common::serve(reactor, &options)
    })
}
