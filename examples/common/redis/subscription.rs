//! A subscription to one channel, on a connection of its own, which is opened again whenever it ends.
//!
//! What is published while it is down is not heard: Redis keeps nothing. A holder that may miss nothing keeps it
//! elsewhere, in a Stream, and reads there what it has missed after each [`Heard::Subscribed`].

use std::io;
use std::rc::Rc;
use std::time::Duration;

use slabloop::kit::retry::{Backoff, Reconnect};
use slabloop::{Context, Dispatcher, Id, Reactor, TimerId};

use super::resp::{Input, Reply, encode};
use super::server::Login;
use super::settings::Settings;

/// Attempts to connect come after a random time up to this, doubled with each failure,
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// and up to this in the end.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A connection that was up for this long was a success.
const STABLE: Duration = Duration::from_secs(2);

const READ_SIZE: usize = 64 * 1024;

/// What a holder is told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Heard {
    /// From here on everything is heard that is published.
    Subscribed,
    Message(Vec<u8>),
    /// It is subscribed no more, for this reason, until the next `Subscribed`. Failed attempts are not told.
    Lost(Rc<str>),
}

type Deliver<H> = Rc<dyn Fn(&mut H, &mut Context<'_>, Heard) -> io::Result<()>>;

/// Subscribes to `channel`, and again whenever the connection has ended, until the reactor shuts down. `deliver` is
/// called with `holder`, as a callback of it. Of `settings` it takes the server, the login, the timeout (of the
/// greeting, and of the answer to a `PING` that it sends as often) and the size of the largest message.
///
/// # Errors
///
/// If nothing can be added to the reactor.
pub(crate) fn subscribe<H: Dispatcher>(
    reactor: &mut Reactor,
    settings: &Settings,
    channel: &str,
    holder: Id<H>,
    deliver: impl Fn(&mut H, &mut Context<'_>, Heard) -> io::Result<()> + 'static,
) -> io::Result<()> {
    let backoff = Backoff::builder().base(FIRST_PAUSE).cap(LONGEST_PAUSE);
    let (settings, channel) = (settings.clone(), channel.to_owned());
    let deliver: Deliver<H> = Rc::new(deliver);
    let dial = move |cx: &mut Context<'_>| {
        let subscriber = Subscriber {
            timeout: settings.timeout,
            login: settings.login.clone(),
            channel: channel.clone(),
            input: Input::new(settings.max_reply),
            is_subscribed: false,
            is_alive: true,
            fault: None,
            holder,
            deliver: Rc::clone(&deliver),
        };
        cx.connect(settings.server, subscriber)
    };
    let reconnect = Reconnect::new(dial)
        .backoff(backoff.build()?)
        .stable_after(STABLE)
        .report(|cx, event| log::debug!("{}: {event}", cx.label()));
    reconnect.start(reactor)?;
    Ok(())
}

/// One connection.
struct Subscriber<H> {
    timeout: Duration,
    /// Until it was accepted.
    login: Option<Login>,
    channel: String,
    input: Input,
    is_subscribed: bool,
    /// Something has come since the last `PING`.
    is_alive: bool,
    /// Why it ends, if that is known here.
    fault: Option<Rc<str>>,
    holder: Id<H>,
    deliver: Deliver<H>,
}

impl<H: Dispatcher> Subscriber<H> {
    fn tell(&self, cx: &mut Context<'_>, heard: Heard) {
        // A holder that has ended hears nothing.
        let deliver = Rc::clone(&self.deliver);
        let _ = cx.call(self.holder, |holder, cx| deliver(holder, cx, heard));
    }

    fn received(&mut self, cx: &mut Context<'_>, reply: Reply) -> io::Result<()> {
        if self.login.is_some() {
            Login::answered(&reply)?;
            self.login = None;
            return Ok(());
        }
        let parts = match reply {
            Reply::Array(parts) => parts,
            Reply::Error(_) => return Err(reply.as_error()),
            _ => return Err(unexpected()),
        };
        let mut parts = parts.into_iter();
        let (kind, from, last) = (parts.next(), parts.next(), parts.next());
        match (kind, from, last) {
            (Some(Reply::Bulk(kind)), Some(Reply::Bulk(from)), Some(Reply::Integer(_)))
                if kind == b"subscribe" && from == self.channel.as_bytes() =>
            {
                self.is_subscribed = true;
                self.tell(cx, Heard::Subscribed);
            }
            (Some(Reply::Bulk(kind)), Some(Reply::Bulk(from)), Some(Reply::Bulk(message)))
                if kind == b"message" && from == self.channel.as_bytes() && self.is_subscribed =>
            {
                self.tell(cx, Heard::Message(message));
            }
            (Some(Reply::Bulk(kind)), Some(Reply::Bulk(_)), None) if kind == b"pong" => {}
            _ => return Err(unexpected()),
        }
        Ok(())
    }
}

impl<H: Dispatcher> Dispatcher for Subscriber<H> {
    fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        // What a message makes others send does not keep this connection from being read.
        cx.feeds_nobody();
        cx.set_interval(self.timeout);
        let mut greeting = self.login.as_ref().map_or_else(Vec::new, Login::command);
        greeting.extend(encode(&["SUBSCRIBE", &self.channel]));
        cx.send(&greeting)
    }

    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.recv_up_to(READ_SIZE, |bytes, _| {
            self.is_alive |= !bytes.is_empty();
            self.input.extend(bytes);
            Ok(())
        })?;
        while let Some(reply) = self.input.next()? {
            self.received(cx, reply)?;
        }
        Ok(())
    }

    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.fault = Some("the server has closed the connection".into());
        cx.abort();
        Ok(())
    }

    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        if !self.is_subscribed || !std::mem::take(&mut self.is_alive) {
            let silent = io::Error::new(io::ErrorKind::TimedOut, "the server says nothing");
            return Err(silent);
        }
        cx.send(&encode(&["PING"]))
    }

    fn handle_shutdown(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        cx.abort();
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        cx.log_fault(&error);
        self.fault = Some(error.to_string().into());
        cx.abort();
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        if !self.is_subscribed {
            return;
        }
        let cause = cx.end_cause().map(|cause| cause.to_string().into());
        let why = self.fault.take().or(cause);
        self.tell(
            cx,
            Heard::Lost(why.unwrap_or_else(|| "it has ended".into())),
        );
    }
}

fn unexpected() -> io::Error {
    let what = "something else than what a subscription hears";
    io::Error::new(io::ErrorKind::InvalidData, what)
}
