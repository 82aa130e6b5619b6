//! The random program: dispatchers that do anything that the API allows, in any callback, in any order.
//!
//! Every choice is drawn from the run's one generator. What is done is noted in the [`Book`], whose rules then have to
//! hold.

use std::cell::{Cell, RefCell};
use std::io::{self, Read};
use std::rc::Rc;
use std::time::Duration;

use slabloop::testing::SimKind;
use slabloop::{
    Accepted, AnyId, Cause, Context, Dispatcher, Handle, Id, Priority, Reactor, Timeout, TimerId,
};

use super::book::{Book, Feeds};
use super::faults::Fault;
use super::kernel::{Kernel, Net, Saw, address_of, bytes_at};

/// What a wanted panic says.
pub(crate) const WANTED: &str = "wanted: a panic in a callback";

/// What all dispatchers of a run share.
pub(crate) struct Run {
    pub(crate) net: Net,
    pub(crate) book: RefCell<Book>,
    pub(crate) handle: RefCell<Option<Handle>>,
    /// Nothing is done any more but reading.
    pub(crate) quiet: Cell<bool>,
    /// A panic is contained.
    pub(crate) in_turn: Cell<bool>,
    pub(crate) posts_per_turn: Cell<usize>,
}

thread_local! {
    /// The run in hand: a posted closure has to be `Send`, and can carry nothing of it.
    static RUNNING: RefCell<Option<Rc<Run>>> = const { RefCell::new(None) };
}

pub(crate) fn set_running(run: Option<Rc<Run>>) {
    RUNNING.with(|running| *running.borrow_mut() = run);
}

fn running() -> Option<Rc<Run>> {
    RUNNING.with(|running| running.borrow().clone())
}

impl Run {
    pub(crate) fn below(&self, bound: usize) -> usize {
        self.net.with(|kernel| kernel.rng.usize(..bound))
    }

    fn fault(&self, fault: Fault) -> bool {
        self.net.with(|kernel| kernel.fault(fault))
    }

    /// Looks something up, or notes it; a rule that does not hold is kept.
    pub(crate) fn check(&self, body: impl FnOnce(&mut Book, &Kernel) -> Result<(), String>) {
        self.net.with(|kernel| {
            if let Err(rule) = body(&mut self.book.borrow_mut(), kernel) {
                kernel.breaks(|| rule);
            }
        });
    }

    fn kind(&self, end: usize) -> SimKind {
        self.net.with(|kernel| kernel.ends[end].kind)
    }

    fn turn(&self) -> u64 {
        self.net.with(|kernel| kernel.turns)
    }

    fn time(&self) -> Duration {
        let choices = [0, 1, 999, 1_000, 7_000, 100_000, 2_500_000];
        let micros = choices[self.below(choices.len())];
        Duration::from_micros(micros)
    }

    fn size(&self) -> usize {
        let most = [2, 20, 300, 3_000, 30_000][self.below(5)];
        self.below(most)
    }

    /// One of those that are alive, or were.
    fn somebody(&self) -> Option<AnyId> {
        let book = self.book.borrow();
        if book.conns.is_empty() {
            return None;
        }
        let recent = book.conns.len().min(12);
        let place = book.conns.len() - 1 - self.below(recent);
        book.conns[place].id
    }

    /// The peers' ends.
    pub(crate) fn add_peer(&self, end: usize) {
        self.book.borrow_mut().peers.push(end);
    }

    /// A peer reads, and what it gets is compared.
    pub(crate) fn peer_reads(&self, peer: usize, most: usize) -> usize {
        let mut book = self.book.borrow_mut();
        self.net.with(|kernel| {
            let ours = kernel.ends[peer].other;
            let before = kernel.ends[peer].received;
            let had_ended = kernel.ends[peer].saw.is_some();
            let bytes = kernel.peer_reads(peer, most);
            if bytes != bytes_at(ours, before, bytes.len()) {
                kernel.breaks(|| format!("1: peer {peer} receives wrong bytes from {before} on"));
            }
            let conn = book.conns.iter_mut().find(|conn| conn.end == ours);
            let end = &kernel.ends[peer];
            let ended_well = conn.as_ref().is_some_and(|conn| conn.ended_well);
            if matches!(end.saw, Some(Saw::Error(_))) && !had_ended && ended_well {
                kernel.breaks(|| format!("2: peer {peer} sees a reset after a graceful close"));
            }
            let end = &kernel.ends[peer];
            if end.saw == Some(Saw::End) && !had_ended && end.kind == SimKind::Stream {
                let accepted = conn.map_or(0, |conn| conn.accepted);
                let received = end.received;
                if received != accepted {
                    kernel.breaks(|| {
                        format!("2: peer {peer} sees a clean end at {received} of {accepted} bytes")
                    });
                }
            }
            bytes.len()
        })
    }
}

/// A way to add a dispatcher: from inside a callback, or from outside.
pub(crate) trait Adds {
    fn add_subject(&mut self, socket: slabloop::Socket, subject: Subject) -> io::Result<AnyId>;
    fn add_host(&mut self, socket: slabloop::Socket, host: Host) -> io::Result<AnyId>;
}

impl Adds for Reactor {
    fn add_subject(&mut self, socket: slabloop::Socket, subject: Subject) -> io::Result<AnyId> {
        self.add(socket, subject).map(Id::any)
    }

    fn add_host(&mut self, socket: slabloop::Socket, host: Host) -> io::Result<AnyId> {
        self.add(socket, host).map(Id::any)
    }
}

impl Adds for Context<'_> {
    fn add_subject(&mut self, socket: slabloop::Socket, subject: Subject) -> io::Result<AnyId> {
        self.add(socket, subject).map(Id::any)
    }

    fn add_host(&mut self, socket: slabloop::Socket, host: Host) -> io::Result<AnyId> {
        self.add(socket, host).map(Id::any)
    }
}

impl Run {
    /// Adds a dispatcher for an end.
    pub(crate) fn add(self: &Rc<Run>, to: &mut impl Adds, end: usize, peer: Option<usize>) {
        if let Some(peer) = peer {
            self.add_peer(peer);
        }
        let conn = self.note(end, false);
        let socket = self.net.socket(end);
        let added = match self.kind(end) {
            SimKind::Listener => to.add_host(socket, Host(Subject::new(self, conn))),
            _ => to.add_subject(socket, Subject::new(self, conn)),
        };
        self.added(conn, added);
    }

    fn note(&self, end: usize, connecting: bool) -> usize {
        let kind = self.kind(end);
        let turn = self.turn();
        self.book.borrow_mut().add(end, kind, connecting, turn)
    }

    fn added(&self, conn: usize, added: io::Result<AnyId>) {
        if let Ok(id) = added {
            self.check(|book, _| book.name(conn, id));
        }
    }

    /// Adds something of a drawn kind.
    pub(crate) fn add_any(self: &Rc<Run>, to: &mut impl Adds) {
        let which = self.below(8);
        let (end, peer) = self.net.with(|kernel| match which {
            0 => kernel.pipe(true),
            1 => kernel.pipe(false),
            2 => kernel.datagram_pair(),
            _ => kernel.stream_pair(),
        });
        self.add(to, end, Some(peer));
    }

    pub(crate) fn listen(self: &Rc<Run>, to: &mut impl Adds) {
        let end = self.net.with(Kernel::listener);
        self.add(to, end, None);
    }

    /// Connects: to a peer, or to a listener of the reactor's own.
    pub(crate) fn dial(self: &Rc<Run>, cx: &mut Context<'_>) {
        let listener = {
            let book = self.book.borrow();
            let listeners = book
                .conns
                .iter()
                .filter(|conn| conn.kind == SimKind::Listener);
            let listeners: Vec<usize> = listeners.map(|conn| conn.end).collect();
            match self.below(listeners.len() + 1) {
                0 => None,
                place => Some(listeners[place - 1]),
            }
        };
        // The end that the kernel makes next is the attempt's.
        let end = self.net.with(|kernel| kernel.ends.len());
        let address = address_of(listener.unwrap_or(60_000));
        let turn = self.turn();
        let conn = self.book.borrow_mut().add(end, SimKind::Stream, true, turn);
        let dialled = cx.connect(address, Subject::new(self, conn));
        if self.net.with(|kernel| kernel.ends.len()) == end {
            // It failed before there was a socket.
            self.book.borrow_mut().conns.pop();
            return;
        }
        let heard = listener.is_some_and(|listener| {
            self.net
                .with(|kernel| kernel.is_in_backlog(listener, end + 1))
        });
        if !heard {
            self.add_peer(end + 1);
        }
        self.added(conn, dialled.map(Id::any));
    }

    /// Another thread posts.
    pub(crate) fn post(&self) {
        let handle = self.handle.borrow();
        let Some(handle) = &*handle else { return };
        let job = |reactor: &mut Reactor| {
            let Some(run) = running() else { return };
            {
                let mut book = run.book.borrow_mut();
                book.posts_run += 1;
                book.posts_in_turn += 1;
            }
            run.outside(reactor);
        };
        if handle.post(job).is_ok() {
            self.book.borrow_mut().posts += 1;
        }
    }

    /// Something is done from outside of all dispatchers.
    pub(crate) fn outside(self: &Rc<Run>, reactor: &mut Reactor) {
        if self.quiet.get() {
            return;
        }
        let Some(id) = self.somebody() else { return };
        match self.below(12) {
            0 => self.add_any(reactor),
            1 => {
                let subject: Id<Subject> = match self.typed(reactor, id) {
                    Some(subject) => subject,
                    None => return,
                };
                let conn = self.book.borrow().conn_of(id);
                let run = Rc::clone(self);
                reactor.with(subject, |subject, cx| {
                    if Some(subject.conn) != conn {
                        run.check(|_, _| Err(format!("4: with({id}) runs on another")));
                    }
                    run.book.borrow_mut().visit(subject.conn);
                    let _leaving = Leaving(Rc::clone(&run), subject.conn, true);
                    run.act(cx);
                });
            }
            _ => {
                if let Some(mut cx) = reactor.at(id) {
                    self.act(&mut cx);
                }
            }
        }
    }

    fn typed(&self, reactor: &mut Reactor, id: AnyId) -> Option<Id<Subject>> {
        reactor.at(id)?.typed()
    }

    /// Does something to the dispatcher that a context is of.
    fn act(self: &Rc<Run>, cx: &mut Context<'_>) {
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
    fn note_closing(&self, cx: &mut Context<'_>) {
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

    fn next_bytes(&self, conn: usize, count: usize) -> Vec<u8> {
        let book = self.book.borrow();
        bytes_at(book.conns[conn].end, book.conns[conn].accepted, count)
    }

    fn may_send(&self, conn: usize) -> bool {
        let kind = self.book.borrow().conns[conn].kind;
        matches!(kind, SimKind::Stream | SimKind::PipeWriter)
    }

    fn send(&self, cx: &mut Context<'_>, conn: usize) {
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
            cx.unwatch(id);
            let mut book = self.book.borrow_mut();
            book.conns[conn].watches.remove(&id);
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

/// Notes that a callback, or a visit, is over; also if it panics.
struct Leaving(Rc<Run>, usize, bool);

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
    conn: usize,
}

impl Subject {
    fn new(run: &Rc<Run>, conn: usize) -> Subject {
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

impl Drop for Subject {
    fn drop(&mut self) {
        // A user's destructor runs in the middle of things; it may look at what is not borrowed.
        if let Ok(book) = self.run.book.try_borrow() {
            let _ = book.conns.len();
        }
    }
}

/// A listener.
pub(crate) struct Host(Subject);

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
