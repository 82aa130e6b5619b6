//! The dispatchers: each callback is entered in the book, and then anything is done.

use std::io::{self, Read};
use std::rc::Rc;

use slabloop::testing::SimKind;
use slabloop::{Accepted, AnyId, Cause, Context, Dispatcher, Id, TimerId};

use super::Run;

/// Notes that a callback, or a visit, is over; also if it panics.
pub(super) struct Leaving(pub(super) Rc<Run>, pub(super) usize, pub(super) bool);

impl Drop for Leaving {
    fn drop(&mut self) {
        let mut book = self.0.book.borrow_mut();
        match self.2 {
            true => book.leave_visit(self.1),
            false => book.leave(self.1),
        }
    }
}

/// A dispatcher that does anything.
pub(crate) struct Subject {
    run: Rc<Run>,
    pub(super) conn: usize,
}

impl Subject {
    pub(super) fn new(run: &Rc<Run>, conn: usize) -> Subject {
        Subject {
            run: Rc::clone(run),
            conn,
        }
    }

    fn callback(
        &mut self,
        cx: &mut Context<'_>,
        name: &'static str,
        body: impl FnOnce(&mut Subject, &mut Context<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let (conn, id) = (self.conn, cx.any_id());
        self.run
            .net
            .with(|kernel| kernel.trace.callback(name, conn));
        self.run
            .check(|book, kernel| book.enter(kernel, conn, id, name));
        let _leaving = Leaving(Rc::clone(&self.run), conn, false);
        let outcome = body(self, cx);
        self.run.note_closing(cx);
        let quiet = self.run.quiet.get();
        if !quiet {
            for _ in 0..self.run.below(3) {
                self.run.act(cx);
            }
        }
        self.run.note_closing(cx);
        if quiet || outcome.is_err() || self.run.below(60) != 0 {
            return outcome;
        }
        Err(match self.run.below(4) {
            0 => io::ErrorKind::WouldBlock.into(),
            1 => io::ErrorKind::ConnectionReset.into(),
            2 => io::ErrorKind::NotConnected.into(),
            _ => io::ErrorKind::InvalidData.into(),
        })
    }

    fn deliver(&self, bytes: &[u8]) {
        self.run
            .check(|book, kernel| book.deliver(kernel, self.conn, bytes));
    }

    fn receive(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let way = if self.run.quiet.get() {
            1
        } else {
            self.run.below(8)
        };
        let size = 1 + self.run.size();
        match way {
            0 => Ok(()),
            1 | 2 => cx.recv_with(|bytes, _| {
                self.deliver(bytes);
                Ok(())
            }),
            3 => cx.recv_up_to(size, |bytes, cx| {
                self.deliver(bytes);
                self.run.act(cx);
                Ok(())
            }),
            4 => {
                let mut buffer = vec![0; size];
                let count = cx.stream().read(&mut buffer)?;
                self.deliver(&buffer[..count]);
                Ok(())
            }
            5 => {
                let mut buffer = vec![0; size];
                for _ in 0..20 {
                    match cx.recv(&mut buffer)? {
                        0 => break,
                        count => self.deliver(&buffer[..count]),
                    }
                }
                Ok(())
            }
            6 => {
                let end = self.run.book.borrow().conns[self.conn].end;
                if !cx.is_closing() {
                    self.run.net.with(|kernel| kernel.may_ask(end));
                }
                let mut buffer = vec![0; size];
                // What the read said is lost; a socket that broke ends all the same.
                if let Ok(count) = cx.recv_now(&mut buffer) {
                    self.deliver(&buffer[..count]);
                }
                Ok(())
            }
            _ => {
                let mut buffer = vec![0; size];
                let count = cx.recv(&mut buffer)?;
                self.deliver(&buffer[..count]);
                Ok(())
            }
        }
    }

    fn receive_datagram(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut buffer = [0; 8];
        cx.recv(&mut buffer)?;
        Ok(())
    }
}

impl Dispatcher for Subject {
    fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.callback(cx, "connect", |_, _| Ok(()))
    }

    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.callback(cx, "read", |subject, cx| {
            if std::mem::take(&mut subject.run.book.borrow_mut().conns[subject.conn].more_input) {
                cx.has_more_input(false);
            }
            if subject.run.book.borrow().conns[subject.conn].kind == SimKind::Datagram {
                return subject.receive_datagram(cx);
            }
            subject.receive(cx)
        })
    }

    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.callback(cx, "eof", |subject, cx| {
            if subject.run.quiet.get() || subject.run.below(2) == 0 {
                cx.close();
            }
            Ok(())
        })
    }

    fn handle_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.callback(cx, "write", |subject, cx| {
            let left = {
                let mut book = subject.run.book.borrow_mut();
                let conn = &mut book.conns[subject.conn];
                conn.produce = conn.produce.saturating_sub(1);
                conn.produce
            };
            subject.run.send(cx, subject.conn);
            if left == 0 {
                cx.stop_writing();
            }
            Ok(())
        })
    }

    fn handle_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) -> io::Result<()> {
        self.run
            .check(|book, kernel| book.fires(kernel, self.conn, timer));
        self.callback(cx, "timer", |subject, cx| {
            if subject.run.quiet.get() {
                cx.cancel_timer(timer);
                subject.run.book.borrow_mut().cancel_alarm(timer);
            }
            Ok(())
        })
    }

    fn handle_sent(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.callback(cx, "sent", |_, _| Ok(()))
    }

    fn handle_gone(&mut self, cx: &mut Context<'_>, id: AnyId, _: Cause) -> io::Result<()> {
        self.run.check(|book, _| {
            if book.conns[self.conn].owed_gone.remove(&id) {
                return Ok(());
            }
            Err(format!(
                "{id} is told to be gone, and is not, or is not watched"
            ))
        });
        self.callback(cx, "gone", |_, _| Ok(()))
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, _: io::Error) {
        let outcome = self.callback(cx, "error", |subject, cx| {
            match subject.run.below(4) {
                0 => cx.abort_when_sent(),
                1 => cx.close(),
                2 => cx.abort(),
                _ => {}
            }
            Ok(())
        });
        let _ = outcome;
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        let (unsent, cause) = (cx.unsent() as u64, cx.end_cause());
        self.run.check(|book, kernel| {
            let conn = &mut book.conns[self.conn];
            // (An attempt that is given up with nothing queued owes nobody anything.)
            let is_graceful = kernel.frozen && !conn.is_hasty && !conn.connecting;
            conn.ended_well = cause == Some(Cause::Finished) && is_graceful;
            let sent = kernel.ends[conn.end].sent;
            let id = conn.id;
            if conn.kind == SimKind::Datagram {
                return Ok(());
            }
            if conn.accepted != sent + unsent {
                let accepted = conn.accepted;
                return Err(format!(
                    "1: {id:?} ends by {cause:?} with {unsent} bytes unsent: {sent} of {accepted} were"
                ));
            }
            if cause == Some(Cause::Finished) && unsent > 0 {
                return Err(format!("1: {id:?} has finished, and {unsent} bytes are lost"));
            }
            // (A producer that has nothing to send is given up for its own sake.)
            let gave_up = matches!(
                cause,
                Some(Cause::Stalled { unsent: 1.. } | Cause::CloseTimeout { unsent: 1.. })
            );
            if gave_up && kernel.has_long_had_room(conn.end) {
                return Err(format!(
                    "8: {id:?} ends by {cause:?}, and has known of room for a while"
                ));
            }
            if cause.is_none() {
                return Err(format!("{id:?} ends without a cause"));
            }
            Ok(())
        });
        let code = cause.map_or(0, |cause| cause.end() as u64);
        self.run
            .net
            .with(|kernel| kernel.trace.step("cause", code, unsent));
        self.run.book.borrow_mut().ended(self.conn);
        let outcome = self.callback(cx, "close", |_, _| Ok(()));
        let _ = outcome;
    }
}

/// A listener.
pub(crate) struct Host(pub(super) Subject);

impl Dispatcher for Host {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        self.0.callback(cx, "accept", |subject, cx| {
            let run = &subject.run;
            if !run.quiet.get() && run.below(12) == 0 {
                return Ok(());
            }
            // Its peer's address tells which end it is.
            let Some(address) = accepted.peer() else {
                return Ok(());
            };
            let Some(end) = run.net.with(|kernel| kernel.end_at(address)) else {
                return Ok(());
            };
            let conn = run.note(end, false);
            let added = cx.add(accepted, Subject::new(run, conn)).map(Id::any);
            run.added(conn, added);
            Ok(())
        })
    }

    fn handle_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) -> io::Result<()> {
        self.0.handle_timer(cx, timer)
    }

    fn handle_gone(&mut self, cx: &mut Context<'_>, id: AnyId, cause: Cause) -> io::Result<()> {
        self.0.handle_gone(cx, id, cause)
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        let _ = error;
        let outcome = self.0.callback(cx, "error", |_, _| Ok(()));
        let _ = outcome;
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        self.0.handle_close(cx);
    }
}
