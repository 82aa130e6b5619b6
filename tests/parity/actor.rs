//! The dispatchers of a scene, and what they note: the same on both kernels.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io;
use std::rc::Rc;

use slabloop::{Accepted, AnyId, Cause, Context, Dispatcher, Id, Reactor, Socket, TimerId};

use super::scene::{Act, Kind, When};

/// What the smallest of all buffers does not hold.
pub(crate) const LARGE: usize = 400_000;

/// `count` bytes of what one side of a connection sends, from a place on.
pub(crate) fn bytes_of(conn: usize, peers: bool, from: u64, count: usize) -> Vec<u8> {
    let start = from + 7 * conn as u64 + u64::from(peers) * 101;
    (start..start + count as u64)
        .map(|place| (place % 251) as u8)
        .collect()
}

/// What is noted of one dispatcher: its input and its end, its output, what it was told of others, its timers.
/// How these four lie to each other depends on what comes in which turn; each of them does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lanes(pub(crate) [Vec<String>; 4]);

pub(crate) const INPUT: usize = 0;
const OUTPUT: usize = 1;
const OTHERS: usize = 2;
const TIMERS: usize = 3;

impl Lanes {
    fn note(&mut self, lane: usize, text: impl Into<String>) {
        self.0[lane].push(text.into());
    }

    /// Bytes read in two calls count as read in one.
    fn note_read(&mut self, count: u64, total: u64) {
        if count == 0 {
            return;
        }
        let lane = &mut self.0[INPUT];
        if lane.last().is_some_and(|last| last.starts_with("read to ")) {
            lane.pop();
        }
        lane.push(format!("read to {total}"));
    }
}

/// What a dispatcher of a scene was given and has done.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) kind: Kind,
    pub(crate) id: Option<AnyId>,
    scripted: Vec<(When, Act)>,
    pub(crate) lanes: Lanes,
    read: u64,
    pub(crate) sent: u64,
    produce: u32,
    pub(crate) sends_large: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Cast {
    pub(crate) parts: RefCell<Vec<Part>>,
    /// Of clients that were not accepted yet, the numbers, in order.
    pub(crate) waiting: RefCell<std::collections::VecDeque<usize>>,
}

impl Cast {
    pub(crate) fn enter(&self, kind: Kind, scripted: &[(When, Act)]) -> usize {
        let mut parts = self.parts.borrow_mut();
        parts.push(Part {
            kind,
            id: None,
            scripted: scripted.to_vec(),
            lanes: Lanes::default(),
            read: 0,
            sent: 0,
            produce: 0,
            sends_large: false,
        });
        parts.len() - 1
    }

    fn part<R>(&self, conn: usize, body: impl FnOnce(&mut Part) -> R) -> R {
        body(&mut self.parts.borrow_mut()[conn])
    }

    pub(crate) fn lanes(&self) -> Vec<Lanes> {
        let parts = self.parts.borrow();
        parts.iter().map(|part| part.lanes.clone()).collect()
    }

    pub(crate) fn add(self: &Rc<Cast>, reactor: &mut Reactor, conn: usize, socket: Socket) {
        let added = if self.part(conn, |part| part.kind == Kind::Listener) {
            reactor
                .add(socket, Host(Rc::clone(self), conn))
                .map(Id::any)
        } else {
            reactor.add(socket, self.actor(conn)).map(Id::any)
        };
        self.added(conn, added);
    }

    pub(crate) fn actor(self: &Rc<Cast>, conn: usize) -> Actor {
        Actor {
            cast: Rc::clone(self),
            conn,
        }
    }

    pub(crate) fn added(&self, conn: usize, added: io::Result<AnyId>) {
        self.part(conn, |part| match added {
            Ok(id) => part.id = Some(id),
            Err(error) => part
                .lanes
                .note(INPUT, format!("not added: {:?}", error.kind())),
        });
    }

    pub(crate) fn act(self: &Rc<Cast>, cx: &mut Context<'_>, conn: usize, act: Act) {
        let outcome = match act {
            Act::Send(count) => self.send(cx, conn, count),
            Act::SendLarge => {
                self.part(conn, |part| part.sends_large = true);
                self.send(cx, conn, LARGE)
            }
            Act::NotifySent => cx.notify_when_sent(),
            Act::Unread(count) => self.unread(cx, conn, count),
            Act::Replace => cx.replace(self.actor(conn)).map(|_| ()),
            Act::Panic => panic!("{WANTED}"),
            _ => {
                self.act_surely(cx, conn, act);
                Ok(())
            }
        };
        if let Err(error) = outcome {
            let text = format!("{act:?} says {:?}", error.kind());
            self.part(conn, |part| part.lanes.note(OUTPUT, text));
        }
    }

    /// What cannot fail.
    fn act_surely(&self, cx: &mut Context<'_>, conn: usize, act: Act) {
        match act {
            Act::Close => cx.close(),
            Act::Abort => cx.abort(),
            Act::CloseWhenDone => cx.close_when_done(),
            Act::CloseWhenSent => cx.close_when_sent(),
            Act::AbortWhenSent => cx.abort_when_sent(),
            Act::ShutdownWrite => cx.shutdown_write(),
            Act::Pause => cx.pause_reading(),
            Act::Resume => cx.resume_reading(),
            Act::Produce(pieces) => {
                self.part(conn, |part| part.produce = pieces);
                cx.start_writing();
            }
            Act::StopWriting => cx.stop_writing(),
            Act::FeedsNobody => cx.feeds_nobody(),
            Act::Feeds(other) => {
                if let Some(id) = self.id_of(other) {
                    cx.feeds(id);
                }
            }
            Act::Timer(after) => {
                cx.set_timer(after);
            }
            Act::Watch(other) => {
                if let Some(id) = self.id_of(other) {
                    cx.watch(id);
                }
            }
            Act::MoreInput => cx.has_more_input(true),
            Act::Fail => cx.fail(io::ErrorKind::InvalidData.into()),
            Act::Send(_)
            | Act::SendLarge
            | Act::NotifySent
            | Act::Unread(_)
            | Act::Replace
            | Act::Panic => unreachable!("it may fail"),
        }
    }

    fn id_of(&self, conn: usize) -> Option<AnyId> {
        self.parts.borrow().get(conn)?.id
    }

    fn send(&self, cx: &mut Context<'_>, conn: usize, count: usize) -> io::Result<()> {
        let bytes = self.part(conn, |part| bytes_of(conn, false, part.sent, count));
        cx.send(&bytes)?;
        self.part(conn, |part| part.sent += count as u64);
        Ok(())
    }

    fn unread(&self, cx: &mut Context<'_>, conn: usize, count: usize) -> io::Result<()> {
        let read = self.part(conn, |part| part.read);
        let count = usize::try_from(read).map_or(count, |read| read.min(count));
        let from = read - count as u64;
        cx.unread(&bytes_of(conn, true, from, count))?;
        self.part(conn, |part| {
            part.read = from;
            part.lanes.note(INPUT, format!("put back {count}"));
        });
        Ok(())
    }

    /// Does what is scripted for a moment.
    fn comes(self: &Rc<Cast>, cx: &mut Context<'_>, conn: usize, now: impl Fn(When) -> bool) {
        let acts = self.part(conn, |part| {
            let due = part.scripted.iter().filter(|(when, _)| now(*when));
            let acts: Vec<Act> = due.map(|(_, act)| *act).collect();
            part.scripted.retain(|(when, _)| !now(*when));
            acts
        });
        for act in acts {
            self.act(cx, conn, act);
        }
    }
}

pub(crate) const WANTED: &str = "wanted: a panic in a callback";

/// How much is lost depends on what the kernel has taken; whether anything is does not.
fn cause_of(cause: Option<Cause>) -> String {
    let text = format!("{cause:?}");
    match text.split_once(" { unsent") {
        Some((name, _)) => format!("{name})"),
        None => text,
    }
}

#[derive(Debug)]
pub(crate) struct Actor {
    cast: Rc<Cast>,
    conn: usize,
}

impl Actor {
    fn note(&self, lane: usize, text: impl Into<String>) {
        self.cast
            .part(self.conn, |part| part.lanes.note(lane, text));
    }

    fn read_datagram(&self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut buffer = [0; 1_000];
        let count = cx.recv(&mut buffer)?;
        self.note(INPUT, format!("datagram of {count}"));
        Ok(())
    }
}

impl Dispatcher for Actor {
    fn handle_connect(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.note(INPUT, "connect");
        self.cast.comes(cx, self.conn, |when| when == When::Connect);
        Ok(())
    }

    fn handle_read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let conn = self.conn;
        cx.has_more_input(false);
        if self.cast.part(conn, |part| part.kind == Kind::Datagram) {
            return self.read_datagram(cx);
        }
        // Up to the next byte at which something is to be done.
        let most = self.cast.part(conn, |part| {
            let marks = part.scripted.iter().filter_map(|(when, _)| match when {
                When::Read(mark) if *mark > part.read => Some(*mark - part.read),
                _ => None,
            });
            marks.min().unwrap_or(4_096).min(4_096)
        });
        let mut buffer = vec![0; usize::try_from(most).expect("it is small")];
        let count = cx.recv(&mut buffer)?;
        let read = self.cast.part(conn, |part| {
            let right = bytes_of(conn, true, part.read, count);
            if buffer[..count] != right {
                part.lanes
                    .note(INPUT, format!("wrong from {} on", part.read));
            }
            part.read += count as u64;
            part.lanes.note_read(count as u64, part.read);
            part.read
        });
        self.cast.comes(
            cx,
            conn,
            |when| matches!(when, When::Read(mark) if mark <= read),
        );
        Ok(())
    }

    fn handle_eof(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.note(INPUT, "eof");
        // One of three stays open after it.
        if self.conn % 3 > 0 {
            cx.close();
        }
        self.cast.comes(cx, self.conn, |when| when == When::Eof);
        Ok(())
    }

    fn handle_write(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.note(OUTPUT, "write");
        let left = self.cast.part(self.conn, |part| {
            part.produce = part.produce.saturating_sub(1);
            part.produce
        });
        let outcome = self.cast.send(cx, self.conn, 50);
        if left == 0 {
            cx.stop_writing();
        }
        outcome
    }

    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        self.note(TIMERS, "timer");
        self.cast.comes(cx, self.conn, |when| when == When::Timer);
        Ok(())
    }

    fn handle_sent(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.note(OUTPUT, "sent");
        self.cast.comes(cx, self.conn, |when| when == When::Sent);
        Ok(())
    }

    fn handle_gone(&mut self, cx: &mut Context<'_>, id: AnyId, cause: Cause) -> io::Result<()> {
        let parts = self.cast.parts.borrow();
        let who = parts.iter().position(|part| part.id == Some(id));
        drop(parts);
        self.note(
            OTHERS,
            format!("{who:?} is gone: {}", cause_of(Some(cause))),
        );
        self.cast.comes(cx, self.conn, |when| when == When::Gone);
        Ok(())
    }

    fn handle_error(&mut self, cx: &mut Context<'_>, error: io::Error) {
        self.note(INPUT, format!("error {:?}", error.kind()));
        self.cast.comes(cx, self.conn, |when| when == When::Error);
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        let mut text = format!("close: {}", cause_of(cx.end_cause()));
        if cx.unsent() > 0 {
            let _ = write!(text, ", not all is sent");
        }
        self.note(INPUT, text);
    }
}

/// The listener.
#[derive(Debug)]
pub(crate) struct Host(Rc<Cast>, usize);

impl Dispatcher for Host {
    fn handle_accept(&mut self, cx: &mut Context<'_>, accepted: Accepted) -> io::Result<()> {
        let Some(conn) = self.0.waiting.borrow_mut().pop_front() else {
            return Ok(());
        };
        self.0.part(self.1, |part| part.lanes.note(INPUT, "accept"));
        let added = cx.add(accepted, self.0.actor(conn)).map(Id::any);
        self.0.added(conn, added);
        Ok(())
    }

    fn handle_timer(&mut self, _: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        self.0.part(self.1, |part| part.lanes.note(TIMERS, "timer"));
        Ok(())
    }

    fn handle_close(&mut self, cx: &mut Context<'_>) {
        let text = format!("close: {}", cause_of(cx.end_cause()));
        self.0.part(self.1, |part| part.lanes.note(INPUT, text));
    }
}
