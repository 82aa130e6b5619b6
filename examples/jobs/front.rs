//! The front: jobs in over HTTP, their states out.

mod answers;
mod connection;
mod figures;
mod routes;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use lexopt::Parser;
use slabloop::metrics::Metrics;
use slabloop::{Accepted, Context, Dispatcher};

use crate::address::Allowed;
use crate::common::{self, Failure, Limit, Options};
use crate::http::{self, date::Date};
use crate::queue::{Queue, QueueFlags};

use connection::Connection;

/// How long a client may keep a connection that it does not use.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// What all connections share.
pub(crate) struct Front {
    pub(crate) queue: Queue,
    pub(crate) limits: http::Limits,
    pub(crate) allowed: Allowed,
    pub(crate) max_backlog: String,
    /// Seconds.
    pub(crate) retry_after: String,
    pub(crate) date: RefCell<Date>,
}

struct Listener {
    front: Rc<Front>,
    tls: common::Tls,
}

impl Dispatcher for Listener {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let connection = Connection::new(cx, Rc::clone(&self.front));
        cx.add(self.tls.socket(accepted)?, connection)?;
        Ok(())
    }
}

pub(crate) fn run(arguments: Parser) -> Result<(), Failure> {
    let mut flags = QueueFlags::default();
    let mut limits = http::Limits {
        body: 64 * 1024,
        ..http::Limits::default()
    };
    let mut callback_to = Vec::new();
    let (mut max_backlog, mut retry_after) = (10_000, 5);
    let mut options = Options::parse(arguments, "127.0.0.1:7020", |flag, parser| {
        match flag {
            "callback-to" => callback_to.push(common::host_and_port("--callback-to", parser)?),
            "max-backlog" => max_backlog = common::number("--max-backlog", parser, 1)?,
            "retry-after" => {
                let least = Duration::from_secs(1);
                let asked = common::seconds("--retry-after", parser, Limit::AboveZero)?;
                retry_after = asked.max(least).as_secs();
            }
            _ => return Ok(limits.take(flag, parser)? || flags.take(flag, parser)?),
        }
        Ok(true)
    })?;
    options.idle_timeout = options.idle_timeout.or(Some(KEEP_ALIVE));
    let mut builder = common::builder(&options, 1);
    builder.stall_timeout(limits.send_time);
    let reactor = builder.observer(Metrics::new).build();
    let mut reactor = reactor.map_err(Failure::io("cannot make a reactor"))?;
    let front = Front {
        queue: flags.open(&mut reactor)?,
        limits,
        allowed: Allowed::look_up(&callback_to)?,
        max_backlog: max_backlog.to_string(),
        retry_after: retry_after.to_string(),
        date: RefCell::new(Date::new(Instant::now())),
    };
    let listener = Listener {
        front: Rc::new(front),
        tls: options.tls.clone(),
    };
    let scheme = if options.tls.is_on() { "https" } else { "http" };
    common::listen_and_try(&mut reactor, &options, listener, |host, port| {
        format!(
            "curl -i -d '{{\"do\": \"primes\", \"below\": 1000}}' {scheme}://{host}:{port}/jobs"
        )
    })?;
    common::serve(&mut reactor, &options)
}
