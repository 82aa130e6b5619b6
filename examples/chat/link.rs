//! What ties this process' room to those of the others: operations out, in batches; events in, in one order.
//!
//! One batch is under way at a time. It has a number, and is sent again as it is until its answer has come, so that an
//! operation is neither lost nor done twice. Events come by a subscription. What it has missed is read from the stream:
//! after each connection, and before anything else is sent.

mod catching_up;
mod sending;

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use slabloop::kit::retry::Backoff;
use slabloop::{Context, Dispatcher, Id, Reactor, TimerId};

use super::super::{MemberId, Room};
use super::event::{EntryId, Event, Roster};
use super::redis::Client;

const STREAM: &str = "{chat}:stream";
const NICKS: &str = "{chat}:nicks";

/// Where the events are published.
pub(super) const CHANNEL: &str = STREAM;

/// Bytes of all operations that wait. Then lines are refused.
const MOST_QUEUED: usize = 8 << 20;

/// What an operation takes of memory, beside its texts.
const OPERATION_SIZE: usize = 128;

/// What a member wants, as `apply.lua` knows it.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) kind: &'static str,
    /// Its number among those of this process, from 1.
    pub(super) id: u64,
    pub(super) who: Option<MemberId>,
    pub(super) nick: String,
    pub(super) text: String,
}

impl Operation {
    fn size(&self) -> usize {
        OPERATION_SIZE + self.nick.len() + self.text.len()
    }
}

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Done,
    /// Another has that nickname.
    Taken,
    /// The nickname was given up while the broker was away.
    Lost,
    /// It is not known, and will not be: the process ends.
    Unknown,
}

/// What the room is told. (By a closure that runs later: the room may be the one who has asked, and what many members
/// are sent must not keep a connection to the broker from being read.)
#[derive(Debug)]
pub(super) enum Notice {
    Answer(Operation, Verdict),
    Event(Event),
    /// Whose nicknames are whose, after events were missed for good.
    Missed(Roster),
    /// The same, at the beginning.
    Roster(Roster),
    Away,
    Back,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The broker is away, or was a moment ago.
    Away,
    /// What was missed is read.
    CatchingUp,
    /// Whether a batch is applied is tried: a broker without memory answers questions, and applies nothing.
    Trying,
    Up,
}

/// A batch under way.
struct Batch {
    /// 0 if nothing is in it: it renews the lease.
    number: u64,
    operations: Vec<Operation>,
}

pub(super) struct Link {
    client: Id<Client>,
    room: Id<Room>,
    /// The name of this process, which no other has had.
    process: String,
    lease: Duration,
    keep: usize,
    stage: Stage,
    is_subscribed: bool,
    /// Members were told that the broker is away.
    told_away: bool,
    /// Answers to questions of an earlier attempt to catch up are not looked at.
    attempt: u64,
    /// The last event that the room was told. None: it was told nothing yet.
    cursor: Option<EntryId>,
    /// The last event that was published while the stream was read.
    newest: EntryId,
    up_since: Option<Instant>,
    queue: VecDeque<Operation>,
    queued: usize,
    batch: Option<Batch>,
    next_number: u64,
    /// The batch was sent, and is not answered.
    is_sending: bool,
    renewal_is_due: bool,
    notices: Vec<Notice>,
    backoff: Backoff,
    retry: Option<TimerId>,
    /// The process ends: nothing more is taken, and when all is answered the loop stops.
    is_leaving: bool,
    has_left: bool,
}

impl Link {
    pub(super) fn new(
        client: Id<Client>,
        room: Id<Room>,
        process: String,
        lease: Duration,
        keep: usize,
    ) -> io::Result<Link> {
        let backoff = Backoff::builder().base(Duration::from_millis(50));
        Ok(Link {
            client,
            room,
            process,
            lease,
            keep,
            stage: Stage::Away,
            is_subscribed: false,
            told_away: false,
            attempt: 0,
            cursor: None,
            newest: EntryId::START,
            up_since: None,
            queue: VecDeque::new(),
            queued: 0,
            batch: None,
            next_number: 1,
            is_sending: false,
            renewal_is_due: true,
            notices: Vec::new(),
            backoff: backoff.cap(Duration::from_secs(1)).build()?,
            retry: None,
            is_leaving: false,
            has_left: false,
        })
    }

    /// Renews the lease often enough that one renewal may be late.
    pub(super) fn begin(&mut self, cx: &mut Context<'_>) {
        let timer = cx.set_interval(self.lease / 4);
        cx.unref_timer(timer);
    }

    /// Takes an operation, or says why not.
    pub(super) fn submit(
        &mut self,
        cx: &mut Context<'_>,
        operation: Operation,
    ) -> Result<(), &'static str> {
        if self.is_leaving {
            return Err("the server is shutting down");
        }
        if self.stage != Stage::Up {
            return Err("the backplane is away");
        }
        if self.queued + operation.size() > MOST_QUEUED {
            return Err("too many lines wait");
        }
        self.enqueue(cx, operation);
        Ok(())
    }

    /// Takes an operation that cannot be refused, such as a leave. There are as many as members.
    pub(super) fn enqueue(&mut self, cx: &mut Context<'_>, operation: Operation) {
        if self.has_left {
            return;
        }
        self.queued += operation.size();
        self.queue.push_back(operation);
        self.flush(cx);
    }

    /// All members leave. Stops the loop when that is done, or cannot be.
    pub(super) fn leave(&mut self, cx: &mut Context<'_>) {
        if self.cursor.is_none() || self.stage == Stage::Away {
            self.is_leaving = true;
            return self.give_up(cx);
        }
        self.enqueue(
            cx,
            Operation {
                kind: "bye",
                id: 0,
                who: None,
                nick: String::new(),
                text: String::new(),
            },
        );
        self.is_leaving = true;
    }

    /// Senders of lines of which it is not known whether they were sent are told so, and the loop stops.
    pub(super) fn give_up(&mut self, cx: &mut Context<'_>) {
        self.has_left = true;
        let batch = self.batch.take().map(|batch| batch.operations);
        let open = batch.into_iter().flatten().chain(self.queue.drain(..));
        let open: Vec<_> = open.collect();
        for operation in open {
            self.tell(cx, Notice::Answer(operation, Verdict::Unknown));
        }
        cx.defer(Reactor::stop);
    }

    fn tell(&mut self, cx: &mut Context<'_>, notice: Notice) {
        if self.notices.is_empty() {
            let (me, room) = (cx.id::<Link>(), self.room);
            cx.defer(move |reactor| {
                let notices = reactor.with(me, |link, _| std::mem::take(&mut link.notices));
                let _ = reactor.call(room, |room, cx| {
                    for notice in notices.unwrap_or_default() {
                        room.notice(cx, notice);
                    }
                    Ok(())
                });
            });
        }
        self.notices.push(notice);
    }

    fn has_caught_up(&mut self, cx: &mut Context<'_>) {
        if self.has_left {
            return cx.defer(Reactor::stop);
        }
        self.stage = Stage::Trying;
        self.renewal_is_due = true;
        self.flush(cx);
    }

    fn is_up(&mut self, cx: &mut Context<'_>) {
        self.stage = Stage::Up;
        self.backoff.reset();
        self.up_since = Some(cx.now());
        if std::mem::take(&mut self.told_away) {
            log::info!("the backplane is back");
            self.tell(cx, Notice::Back);
        }
    }

    /// Something is wrong with the broker, or on the way: everything begins anew.
    fn fail(&mut self, cx: &mut Context<'_>, why: &str) {
        if self.stage == Stage::Up {
            log::warn!("the backplane is away: {why}");
            self.told_away = true;
            self.tell(cx, Notice::Away);
        } else {
            log::debug!("the backplane is still away: {why}");
        }
        self.stage = Stage::Away;
        self.attempt += 1;
        self.up_since = None;
        if self.is_leaving {
            return self.give_up(cx);
        }
        if self.is_subscribed && self.retry.is_none() {
            let pause = self.backoff.next().unwrap_or_default();
            self.retry = Some(cx.set_timer(pause));
        }
    }
}

impl Dispatcher for Link {
    fn handle_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) -> io::Result<()> {
        if self.retry != Some(timer) {
            self.renewal_is_due = true;
            self.flush(cx);
            return Ok(());
        }
        self.retry = None;
        if self.is_subscribed && self.stage == Stage::Away {
            self.catch_up(cx);
        }
        Ok(())
    }
}
