//! What can be done to a dispatcher, from its own callback, another's, or none.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use slabloop::testing::SimKind;
use slabloop::{Context, Priority, Timeout, TimerId};

use super::subject::{Leaving, Subject};
use super::{Run, WANTED};
use crate::sim::book::Feeds;
use crate::sim::faults::Fault;
use crate::sim::kernel::bytes_at;

impl Run {
    /// Does something to the dispatcher that a context is of.
    pub(super) fn act(self: &Rc<Run>, cx: &mut Context<'_>) {
        if self.quiet.get() {
            return;
        }
        let id = cx.any_id();
        let Some(conn) = self.book.borrow().conn_of(id) else {
            return;
        };
        let (kind, over) = {
            let mut book = self.book.borrow_mut();
            let conn = &mut book.conns[conn];
            conn.touched = true;
            (conn.kind, conn.closes > 0)
        };
        let choice = self.below(64);
        self.net.with(|kernel| kernel.trace.act(conn, choice));
        match choice {
            0..12 => self.send(cx, conn),
            12..16 => self.try_send(cx, conn),
            16 => cx.close(),
            17 if self.below(3) == 0 => cx.abort(),
            18 => cx.close_when_done(),
            19 if self.below(2) == 0 => {
                cx.close_when_sent();
                self.book.borrow_mut().conns[conn].is_hasty = true;
            }
            20 if self.below(2) == 0 => cx.abort_when_sent(),
            21 => cx.shutdown_write(),
            22 | 23 => {
                cx.pause_reading();
                self.book.borrow_mut().conns[conn].paused = true;
            }
            24..27 => {
                cx.resume_reading();
                self.book.borrow_mut().conns[conn].paused = false;
            }
            27..30 if kind != SimKind::Listener => {
                let pieces = u32::try_from(self.below(6)).expect("below 6");
                self.book.borrow_mut().conns[conn].produce = pieces;
                cx.start_writing();
            }
            30 => cx.stop_writing(),
            31 | 32 => self.feed(cx, conn),
            33 => {
                let cap = cx.hard_cap().max(cx.queued()).max(4);
                let high = 1 + self.below(cap);
                let _ = cx.set_marks(1 + self.below(high), high, cap);
            }
            34 => {
                let class = [Priority::High, Priority::Normal, Priority::Low][self.below(3)];
                cx.set_priority(class);
                // What a class sends is written before the next is served.
                self.net.with(|kernel| kernel.writes_a_turn = 4);
            }
            35..38 => self.set_timer(cx, conn),
            38 => self.reset_timer(cx),
            39 => self.cancel_timer(cx),
            40 | 41 => self.watch(cx, conn),
            42 => {
                if cx.notify_when_sent().is_ok() {
                    self.book.borrow_mut().conns[conn].sent_asks += 1;
                }
            }
            43 | 44 => self.unread(cx, conn),
            45 if !over => {
                let kind = [io::ErrorKind::Other, io::ErrorKind::ConnectionReset][self.below(2)];
                cx.fail(kind.into());
            }
            46 | 47 => {
                self.book.borrow_mut().deferred += 1;
                let run = Rc::clone(self);
                cx.defer(move |reactor| {
                    run.book.borrow_mut().deferred_run += 1;
                    run.outside(reactor);
                });
            }
            48 | 49 => self.post(),
            50 => self.visit(cx),
            51 | 52 => self.act_on_another(cx),
            53 => self.add_any(cx),
            54 => self.dial(cx),
            55 if self.below(3) == 0 => self.listen(cx),
            56 if !over && kind != SimKind::Listener => {
                if cx.replace(Subject::new(self, conn)).is_ok() {
                    self.book.borrow_mut().replace(conn);
                }
            }
            57 if !over && matches!(kind, SimKind::Stream | SimKind::PipeReader) => {
                // (A layer that has delivered the end holds nothing back.)
                if !self.book.borrow().conns[conn].eof {
                    cx.has_more_input(true);
                    let open = !cx.is_closing() && !cx.is_connecting();
                    self.book.borrow_mut().conns[conn].more_input = open;
                }
            }
            58 => {
                let which = [
                    Timeout::Idle,
                    Timeout::Stall,
                    Timeout::Close,
                    Timeout::Request,
                ];
                let limit = [None, Some(Duration::from_millis(300))][self.below(2)];
                cx.set_timeout(which[self.below(4)], limit);
            }
            59 => {
                let refused = cx.detach(id).is_err();
                if !refused {
                    self.check(|_, _| Err("a simulated socket was detached".to_owned()));
                }
            }
            60 if self.below(40) == 0 => {
                cx.close_all();
                self.book.borrow_mut().close_all();
            }
            61 if self.fault(Fault::SlowCallback) => {
                let time = self.time();
                self.net.with(|kernel| kernel.clock.advance(time));
            }
            63 if self.below(8) == 0 => {
                // More than wait to be dated together.
                for _ in 0..40 {
                    self.set_timer(cx, conn);
                }
            }
            62 if self.in_turn.get() && self.fault(Fault::Panic) => panic!("{WANTED}"),
            _ => {
                let _ = (cx.queued(), cx.wants_output(), cx.is_reading(), cx.count());
                let _ = format!("{cx:?} {}", cx.label());
            }
        }
        self.note_closing(cx);
    }

    /// What the reactor says of a connection's life; the book believes it.
    pub(super) fn note_closing(&self, cx: &mut Context<'_>) {
        let mut book = self.book.borrow_mut();
        let Some(conn) = book.conn_of(cx.any_id()) else {
            return;
        };
        if cx.is_closing() && !book.conns[conn].closing {
            let conn = &mut book.conns[conn];
            conn.closing = true;
            conn.alarms.clear();
            conn.more_input = false;
        }
    }

    pub(super) fn next_bytes(&self, conn: usize, count: usize) -> Vec<u8> {
        let book = self.book.borrow();
        bytes_at(book.conns[conn].end, book.conns[conn].accepted, count)
    }

    pub(super) fn may_send(&self, conn: usize) -> bool {
        let kind = self.book.borrow().conns[conn].kind;
        matches!(kind, SimKind::Stream | SimKind::PipeWriter)
    }

    pub(super) fn send(&self, cx: &mut Context<'_>, conn: usize) {
        let count = self.size();
        let bytes = self.next_bytes(conn, count);
        match cx.send(&bytes) {
            Ok(()) if self.may_send(conn) => {
                let conn = &mut self.book.borrow_mut().conns[conn];
                conn.accepted += count as u64;
                conn.touched = true;
            }
            _ => {}
        }
    }

    fn try_send(&self, cx: &mut Context<'_>, conn: usize) {
        if !self.may_send(conn) {
            return;
        }
        let count = self.size();
        let bytes = self.next_bytes(conn, count);
        if let Ok(taken) = cx.try_send(&bytes) {
            self.book.borrow_mut().conns[conn].accepted += taken as u64;
        }
    }

    fn feed(&self, cx: &mut Context<'_>, conn: usize) {
        let feeds = match self.below(4) {
            0 => Feeds::Nobody,
            1 => Feeds::Itself,
            _ => self.somebody().map_or(Feeds::Nobody, Feeds::Another),
        };
        match feeds {
            Feeds::Nobody => cx.feeds_nobody(),
            Feeds::Itself => cx.feeds(cx.any_id()),
            Feeds::Another(id) => cx.feeds(id),
        }
        self.net
            .with(|kernel| kernel.trace.line(|| format!("    feeds {feeds:?}")));
        self.book.borrow_mut().conns[conn].feeds = feeds;
    }

    fn set_timer(&self, cx: &mut Context<'_>, conn: usize) {
        let after = self.time();
        let repeats = self.below(4) == 0;
        let timer = match repeats {
            true => cx.set_interval(after),
            false => cx.set_timer(after),
        };
        if !cx.is_closing() {
            let period = repeats.then_some(after);
            self.net.with(|kernel| {
                let mut book = self.book.borrow_mut();
                book.set_alarm(kernel, conn, timer, after, period);
            });
        }
    }

    /// One of the timers that are set, whoever's, as long as that one lives.
    fn some_timer(&self, cx: &mut Context<'_>) -> Option<(usize, TimerId, Option<Duration>)> {
        let (owner, timer, period) = self.some_alarm()?;
        let id = self.book.borrow().conns[owner].id?;
        let lives = cx.at(id).is_some_and(|cx| !cx.is_closing());
        lives.then_some((owner, timer, period))
    }

    fn some_alarm(&self) -> Option<(usize, TimerId, Option<Duration>)> {
        let book = self.book.borrow();
        let conns = book.conns.iter().enumerate();
        let alarms = conns.flat_map(|(index, conn)| {
            let alarms = conn.alarms.iter();
            alarms.map(move |alarm| (index, alarm.timer, alarm.period()))
        });
        let alarms: Vec<_> = alarms.collect();
        (!alarms.is_empty()).then(|| alarms[self.below(alarms.len())])
    }

    fn reset_timer(&self, cx: &mut Context<'_>) {
        let Some((owner, timer, period)) = self.some_timer(cx) else {
            return;
        };
        let after = self.time();
        let was_set = cx.reset_timer(timer, after);
        self.net.with(|kernel| {
            let mut book = self.book.borrow_mut();
            if !was_set {
                kernel.breaks(|| "10: a timer that is set cannot be reset".to_owned());
            }
            book.set_alarm(kernel, owner, timer, after, period);
        });
    }

    fn cancel_timer(&self, cx: &mut Context<'_>) {
        let Some((_, timer, _)) = self.some_timer(cx) else {
            return;
        };
        let was_set = cx.cancel_timer(timer);
        self.check(|book, _| {
            book.cancel_alarm(timer);
            if was_set && !cx.cancel_timer(timer) {
                return Ok(());
            }
            Err("10: a timer that is set cannot be cancelled, or can be twice".to_owned())
        });
    }

    fn watch(&self, cx: &mut Context<'_>, conn: usize) {
        let Some(id) = self.somebody() else { return };
        if self.below(5) == 0 {
            // One that has ended is not watched any more, and the news is on its way.
            if cx.unwatch(id) {
                self.book.borrow_mut().conns[conn].watches.remove(&id);
            }
        } else if cx.watch(id) {
            self.book.borrow_mut().conns[conn].watches.insert(id);
        }
    }

    fn unread(&self, cx: &mut Context<'_>, conn: usize) {
        let (end, delivered, kind, eof) = {
            let book = self.book.borrow();
            let conn = &book.conns[conn];
            (conn.end, conn.delivered, conn.kind, conn.eof)
        };
        if !matches!(kind, SimKind::Stream | SimKind::PipeReader) || eof {
            return;
        }
        let count = self.below(20).min(usize::try_from(delivered).unwrap_or(0));
        if count == 0 {
            return;
        }
        let peer = self.net.with(|kernel| kernel.ends[end].other);
        let from = delivered - count as u64;
        if cx.unread(&bytes_at(peer, from, count)).is_ok() {
            let mut book = self.book.borrow_mut();
            book.conns[conn].delivered = from;
            book.conns[conn].put_back += count as u64;
        }
    }

    /// Visits another dispatcher, or itself, by its typed id.
    fn visit(self: &Rc<Run>, cx: &mut Context<'_>) {
        let Some(id) = self.somebody() else { return };
        let Some(typed) = cx.at(id).and_then(|mut cx| cx.typed::<Subject>()) else {
            return;
        };
        let expected = self.book.borrow().conn_of(id);
        let run = Rc::clone(self);
        let visited = |subject: &mut Subject, cx: &mut Context<'_>| {
            if Some(subject.conn) != expected {
                run.check(|_, _| Err(format!("4: with({id}) runs on another")));
            }
            run.book.borrow_mut().visit(subject.conn);
            let _leaving = Leaving(Rc::clone(&run), subject.conn, true);
            run.act(cx);
        };
        if self.below(2) == 0 {
            cx.with(typed, visited);
        } else {
            let _ = cx.call(typed, |subject, cx| {
                visited(subject, cx);
                Ok(())
            });
        }
    }

    fn act_on_another(self: &Rc<Run>, cx: &mut Context<'_>) {
        let Some(id) = self.somebody() else { return };
        if let Some(mut cx) = cx.at(id) {
            self.act(&mut cx);
        }
    }
}
