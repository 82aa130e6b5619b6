//! The queue as both roles reach it: a client of Redis, the names, the limits.

use std::io;
use std::time::Duration;

use lexopt::{Parser, ValueExt};
use slabloop::{Context, Dispatcher, Id, Reactor};

use crate::common::{self, Failure, Limit};
use crate::names::{GROUP, Lane, Names};
use crate::redis::{Client, Connection, Outcome, Reply, Server, Settings};

/// The flags that both roles have.
#[derive(Clone, Debug)]
pub(crate) struct QueueFlags {
    redis: Server,
    timeout: Duration,
    name: String,
    keep: Duration,
    most_dead: usize,
}

impl Default for QueueFlags {
    fn default() -> QueueFlags {
        QueueFlags {
            redis: Server::local(),
            timeout: Duration::from_secs(2),
            name: "jobs".to_owned(),
            keep: Duration::from_secs(24 * 60 * 60),
            most_dead: 100_000,
        }
    }
}

impl QueueFlags {
    /// Takes one flag. False if it is none of these.
    pub(crate) fn take(&mut self, flag: &str, parser: &mut Parser) -> Result<bool, Failure> {
        match flag {
            "redis" => {
                let server = Server::of_short(parser.value()?);
                let wrong = |why| Failure::Usage(format!("--redis: {why}"));
                self.redis = server.map_err(wrong)?;
            }
            "redis-timeout" => {
                self.timeout = common::seconds("--redis-timeout", parser, Limit::AboveZero)?;
            }
            "queue" => self.name = name(parser)?,
            "keep" => {
                self.keep = common::seconds("--keep", parser, Limit::AboveZero)?;
                // Redis counts in whole seconds.
                self.keep = self.keep.max(Duration::from_secs(1));
            }
            "max-dead" => self.most_dead = common::number("--max-dead", parser, 1)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Connects to the server of the queue.
    pub(crate) fn open(&self, reactor: &mut Reactor) -> Result<Queue, Failure> {
        let server = common::look_up("--redis", &self.redis.name)?[0];
        let mut settings = Settings::new(server);
        settings.login = self.redis.login.clone();
        settings.connections = 2;
        settings.timeout = self.timeout;
        Ok(Queue {
            client: client(reactor, &settings)?,
            settings,
            names: Names(self.name.clone()),
            keep: self.keep.as_secs().to_string(),
            most_dead: self.most_dead.to_string(),
        })
    }
}

fn name(parser: &mut Parser) -> Result<String, Failure> {
    let name = parser.value()?.string()?;
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        let text = format!("--queue {name}: expected a name of visible ASCII");
        return Err(Failure::Usage(text));
    }
    Ok(name)
}

fn client(reactor: &mut Reactor, settings: &Settings) -> Result<Id<Client>, Failure> {
    let of_connections = settings.clone();
    let client = Client::start(reactor, settings, move |cx, server, seat| {
        cx.connect(*server, seat.hold(Connection::new(&of_connections)))
    });
    client.map_err(Failure::io("cannot make a client of Redis"))
}

#[derive(Clone, Debug)]
pub(crate) struct Queue {
    pub(crate) client: Id<Client>,
    pub(crate) names: Names,
    settings: Settings,
    /// How many seconds a job is kept when all is done.
    keep: String,
    /// Most dead letters.
    most_dead: String,
}

impl Queue {
    /// A client for commands that block for up to `block`: a connection of its own, and one command at a time.
    pub(crate) fn blocking(
        &self,
        reactor: &mut Reactor,
        block: Duration,
    ) -> Result<Id<Client>, Failure> {
        let mut settings = self.settings.clone();
        settings.connections = 1;
        settings.pipeline = 1;
        settings.timeout = block + self.settings.timeout;
        client(reactor, &settings)
    }

    /// Has Redis do a script.
    pub(crate) fn eval<H: Dispatcher>(
        &self,
        cx: &mut Context<'_>,
        holder: Id<H>,
        script: &str,
        keys: &[String],
        arguments: &[&[u8]],
        deliver: impl FnOnce(&mut H, &mut Context<'_>, Outcome) -> io::Result<()> + 'static,
    ) {
        let count = keys.len().to_string();
        let mut words: Vec<&[u8]> = vec![b"EVAL", script.as_bytes(), count.as_bytes()];
        words.extend(keys.iter().map(String::as_bytes));
        words.extend(arguments);
        Client::request(cx, self.client, holder, &words, deliver);
    }

    /// The same for a script about one entry of a lane, which has further `arguments`.
    pub(crate) fn eval_for<H: Dispatcher>(
        &self,
        cx: &mut Context<'_>,
        holder: Id<H>,
        script: &str,
        (lane, entry, id): (Lane, &str, &str),
        arguments: &[&[u8]],
        deliver: impl FnOnce(&mut H, &mut Context<'_>, Outcome) -> io::Result<()> + 'static,
    ) {
        let names = &self.names;
        let keys = [
            names.job(id),
            names.stream(lane),
            names.later(lane),
            names.dead(),
            names.counts(),
            names.stream(Lane::Callback),
        ];
        let common: [&str; 6] = [lane.name(), GROUP, entry, id, &self.keep, &self.most_dead];
        let mut words: Vec<&[u8]> = common.iter().map(|word| word.as_bytes()).collect();
        words.extend(arguments);
        self.eval(cx, holder, script, &keys, &words, deliver);
    }
}

/// The elements of an answer that is an array. Numbers are texts as well; `None` is nil.
pub(crate) fn texts(reply: &Reply) -> Vec<Option<String>> {
    match reply {
        Reply::Array(items) => items.iter().map(text).collect(),
        _ => Vec::new(),
    }
}

pub(crate) fn text(reply: &Reply) -> Option<String> {
    match reply {
        Reply::Bulk(bytes) | Reply::Simple(bytes) => {
            Some(String::from_utf8_lossy(bytes).into_owned())
        }
        Reply::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}
