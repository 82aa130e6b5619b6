//! The connection that is pooled: it asks by a number of eight bytes, and the same number is the answer.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use slabloop::kit::pool::Reusable;
use slabloop::{Context, Dispatcher, Id, TimerId};

use super::holder::Holder;
use super::world::{Conn, UNSOLICITED, World};

pub(crate) struct Connection {
    world: Rc<World>,
    pub(crate) number: usize,
    /// A part of an answer.
    part: Vec<u8>,
    asker: Option<Id<Holder>>,
    greeting: Option<TimerId>,
}

impl Connection {
    pub(crate) fn new(world: &Rc<World>, place: usize) -> Connection {
        Connection {
            number: world.conn_begins(place),
            world: Rc::clone(world),
            part: Vec::new(),
            asker: None,
            greeting: None,
        }
    }

    fn conn<R>(&self, body: impl FnOnce(&mut Conn) -> R) -> R {
        body(&mut self.world.conns.borrow_mut()[self.number])
    }

    pub(crate) fn ask(
        &mut self,
        cx: &mut Context<'_>,
        ask: usize,
        asker: Id<Holder>,
    ) -> io::Result<()> {
        let token = self.world.tokens.get() + 1;
        self.world.tokens.set(token);
        cx.send(&token.to_be_bytes())?;
        self.asker = Some(asker);
        self.conn(|conn| conn.outstanding.push_back((token, ask)));
        Ok(())
    }

    fn answered(&mut self, cx: &mut Context<'_>, token: u64) -> io::Result<()> {
        if token == UNSOLICITED {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not asked for"));
        }
        let (asked, lent_to) = self.conn(|conn| (conn.outstanding.pop_front(), conn.lent_to));
        let Some((_, ask)) = asked.filter(|(expected, _)| *expected == token) else {
            self.world.breaks(format!(
                "another's: {} gets the answer {token} to {asked:?}",
                self.number
            ));
            return Ok(());
        };
        self.world.count("answers");
        if lent_to.is_some_and(|lent_to| lent_to != ask) {
            self.world.breaks(format!(
                "another's: {lent_to:?} has {} while {ask} is answered",
                self.number
            ));
        }
        if let (Some(asker), true) = (self.asker, lent_to == Some(ask)) {
            let _ = cx.call(asker, move |asker, cx| asker.answered(cx, ask));
        }
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.conn(|conn| (conn.is_there, conn.is_over) = (false, true));
    }
}

impl Dispatcher for Connection {
    fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.world.greets {
            self.greeting = Some(cx.set_timer(Duration::from_secs(3)));
        } else {
            self.conn(|conn| conn.is_ready = true);
        }
        Ok(())
    }

    fn handle_timer(&mut self, _: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::TimedOut, "no greeting came"))
    }

    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut bytes = [0; 64];
        let length = cx.recv(&mut bytes)?;
        let mut bytes = &bytes[..length];
        if !self.conn(|conn| conn.is_ready) {
            if let Some((greeting, rest)) = bytes.split_first() {
                if *greeting != b'G' {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "no greeting"));
                }
                bytes = rest;
                self.conn(|conn| conn.is_ready = true);
                if let Some(timer) = self.greeting.take() {
                    cx.cancel_timer(timer);
                }
            }
        }
        self.part.extend(bytes);
        while let Some((token, rest)) = self.part.split_first_chunk::<8>() {
            let (token, rest) = (u64::from_be_bytes(*token), rest.to_vec());
            self.part = rest;
            self.answered(cx, token)?;
        }
        let has_unread = !self.part.is_empty();
        self.conn(|conn| conn.has_unread = has_unread);
        Ok(())
    }

    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.conn(|conn| conn.is_over = true);
        cx.close();
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, _: io::Error) {
        self.conn(|conn| conn.is_over = true);
        cx.close();
    }

    fn handle_close(&mut self, _: &mut Context<'_>) {
        self.conn(|conn| conn.is_over = true);
    }
}

impl Reusable for Connection {
    fn is_reusable(&mut self, _: &mut Context<'_>) -> bool {
        self.part.is_empty() && self.conn(|conn| conn.outstanding.is_empty())
    }

    fn is_ready(&mut self) -> bool {
        // (What has come behind a greeting was not asked for.)
        self.part.is_empty() && self.conn(|conn| conn.is_ready)
    }
}
