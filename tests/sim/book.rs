//! The model: what the run knows of each dispatcher without asking the reactor, and the rules that follow from it.
//!
//! It counts bytes, callbacks and due times. It does not know how the reactor works: only what its contract says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use slabloop::testing::SimKind;
use slabloop::{AnyId, TimerId};

use super::kernel::{Kernel, Link, byte_at};

/// How soon a listener that was refused a connection tries again: the default.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The longest of the deadlines that every attempt and every closing connection has, as a run sets them.
pub(crate) const LONGEST_DEADLINE: Duration = Duration::from_secs(2);

/// Where a connection's input goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feeds {
    Itself,
    Nobody,
    Another(AnyId),
}

/// A timer that is set. It is due at some time between two: what a callback sets counts from the end of its turn at
/// the latest.
#[derive(Clone, Debug)]
pub(crate) struct Alarm {
    pub(crate) timer: TimerId,
    earliest: Duration,
    latest: Option<Duration>,
    after: Duration,
    period: Option<Duration>,
    set_in: u64,
}

impl Alarm {
    pub(crate) fn period(&self) -> Option<Duration> {
        self.period
    }
}

/// A dispatcher with its socket.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) end: usize,
    pub(crate) kind: SimKind,
    pub(crate) id: Option<AnyId>,
    /// Bytes that `send` has accepted, and the place of the next byte that `recv` gives.
    pub(crate) accepted: u64,
    pub(crate) delivered: u64,
    pub(crate) put_back: u64,
    pub(crate) more_input: bool,
    pub(crate) eof: bool,
    pub(crate) connecting: bool,
    pub(crate) closing: bool,
    pub(crate) closes: u32,
    /// It closes without waiting for the peer.
    pub(crate) is_hasty: bool,
    /// It has ended well although nothing cut its draining short: its peer has to see a clean end.
    pub(crate) ended_well: bool,
    pub(crate) paused: bool,
    pub(crate) feeds: Feeds,
    /// What `handle_write` will still send.
    pub(crate) produce: u32,
    /// How often it has asked to be told that all is sent, less how often it was.
    pub(crate) sent_asks: u32,
    pub(crate) watches: BTreeSet<AnyId>,
    /// Of those that it watches, the ones that have ended.
    pub(crate) owed_gone: BTreeSet<AnyId>,
    pub(crate) alarms: Vec<Alarm>,
    added_in: u64,
    called: Vec<&'static str>,
    accepts: usize,
    /// Callbacks and visits of it that run, and whether another is to take its place after them.
    busy: u32,
    replaced: bool,
    /// Something was done to it in this turn that may change what is due.
    pub(crate) touched: bool,
    /// It was due to be read when the turn began.
    due: bool,
}

/// All that the model knows.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) conns: Vec<Conn>,
    by_id: BTreeMap<AnyId, usize>,
    pub(crate) peers: Vec<usize>,
    running: Option<&'static str>,
    pub(crate) posts: u64,
    pub(crate) posts_run: u64,
    pub(crate) deferred: u64,
    pub(crate) deferred_run: u64,
    /// Most that a listener takes in a turn.
    pub(crate) accept_batch: usize,
    pub(crate) posts_in_turn: usize,
    pub(crate) callbacks: u64,
    /// All outboxes together have a bound, and nothing is accepted above it.
    pub(crate) has_total: bool,
    /// A turn may leave work to the next, by its limit.
    pub(crate) turns_are_cut: bool,
}

impl Book {
    pub(crate) fn add(&mut self, end: usize, kind: SimKind, connecting: bool, turn: u64) -> usize {
        self.conns.push(Conn {
            end,
            kind,
            id: None,
            accepted: 0,
            delivered: 0,
            put_back: 0,
            more_input: false,
            eof: false,
            connecting,
            closing: false,
            closes: 0,
            is_hasty: false,
            ended_well: false,
            paused: false,
            feeds: Feeds::Itself,
            produce: 0,
            sent_asks: 0,
            watches: BTreeSet::new(),
            owed_gone: BTreeSet::new(),
            alarms: Vec::new(),
            added_in: turn,
            called: Vec::new(),
            accepts: 0,
            busy: 0,
            replaced: false,
            touched: true,
            due: false,
        });
        self.conns.len() - 1
    }

    pub(crate) fn name(&mut self, conn: usize, id: AnyId) -> Result<(), String> {
        self.conns[conn].id = Some(id);
        match self.by_id.insert(id, conn) {
            Some(_) => Err(format!("3: the id {id} was given out before")),
            None => Ok(()),
        }
    }

    pub(crate) fn conn_of(&self, id: AnyId) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    /// Those that were added and have not had their `handle_close`.
    pub(crate) fn alive(&self) -> impl Iterator<Item = usize> {
        let conns = self.conns.iter().enumerate();
        conns
            .filter(|(_, conn)| conn.id.is_some() && conn.closes == 0)
            .map(|(index, _)| index)
    }

    fn queued(&self, kernel: &Kernel, conn: usize) -> u64 {
        let conn = &self.conns[conn];
        if conn.kind == SimKind::Datagram {
            return 0;
        }
        conn.accepted.saturating_sub(kernel.ends[conn.end].sent)
    }

    /// Whether nothing holds the reading of a connection, whatever the marks are.
    fn is_surely_read(&self, kernel: &Kernel, index: usize) -> bool {
        let conn = &self.conns[index];
        let end = &kernel.ends[conn.end];
        if conn.id.is_none()
            || conn.closing
            || conn.connecting
            || conn.paused
            || conn.eof
            || conn.closes > 0
            || matches!(conn.kind, SimKind::PipeWriter | SimKind::Listener)
        {
            return false;
        }
        if conn.put_back == 0 && !end.knows_input && !conn.more_input {
            return false;
        }
        match conn.feeds {
            Feeds::Nobody => true,
            Feeds::Itself => conn.kind == SimKind::Datagram || self.queued(kernel, index) == 0,
            Feeds::Another(sink) => match self.by_id.get(&sink) {
                Some(sink) if self.conns[*sink].closes == 0 => {
                    self.conns[*sink].kind == SimKind::Datagram
                        || !self.conns[*sink].closing && self.queued(kernel, *sink) == 0
                }
                _ => true,
            },
        }
    }

    /// Whether something was done in this turn to what a connection feeds: it may have been held for a while.
    fn sink_is_touched(&self, index: usize) -> bool {
        let Feeds::Another(sink) = self.conns[index].feeds else {
            return false;
        };
        let sink = self.by_id.get(&sink);
        sink.is_some_and(|sink| self.conns[*sink].touched)
    }

    /// Oracle 5, and half of 9, when the reactor is about to wait.
    pub(crate) fn before_wait(
        &mut self,
        kernel: &Kernel,
        timeout: Option<Duration>,
    ) -> Result<(), String> {
        let sleeps = timeout != Some(Duration::ZERO);
        let now = kernel.clock.now();
        let may_refuse = self.has_total
            && (0..self.conns.len())
                .any(|conn| self.conns[conn].closes == 0 && self.queued(kernel, conn) > 0);
        for index in 0..self.conns.len() {
            let due = self.is_surely_read(kernel, index);
            let queued = self.queued(kernel, index);
            let conn = &mut self.conns[index];
            conn.due = due;
            conn.touched = false;
            conn.called.clear();
            conn.accepts = 0;
            if conn.closes > 0 || conn.id.is_none() || !sleeps {
                continue;
            }
            let end = &kernel.ends[conn.end];
            let id = conn.id.expect("it was looked at");
            if due {
                return Err(format!("5: it sleeps, and {id} has input that is wanted"));
            }
            let up = !matches!(end.link, Link::Connecting { .. });
            if conn.connecting && !conn.closing && end.knows_room {
                return Err(format!("5: it sleeps, and {id} was told about its attempt"));
            }
            let may_write = up && !conn.connecting && !end.write_failed;
            if may_write && queued > 0 && end.knows_room {
                return Err(format!(
                    "5: it sleeps, and {id} has {queued} bytes and room"
                ));
            }
            if conn.kind == SimKind::Listener
                && !conn.paused
                && end.knows_input
                && !end.accept_failed
                && !may_refuse
            {
                return Err(format!("5: it sleeps, and {id} has a queue"));
            }
            let has_deadline = conn.closing || conn.connecting;
            if has_deadline && timeout.is_none_or(|timeout| timeout > LONGEST_DEADLINE) {
                return Err(format!(
                    "5: it sleeps {timeout:?}, and {id} has a deadline before that"
                ));
            }
            let starves = conn.kind == SimKind::Listener
                && !conn.paused
                && end.knows_input
                && end.accept_failed;
            if starves && !may_refuse && timeout.is_none_or(|timeout| timeout > ACCEPT_RETRY) {
                return Err(format!(
                    "5: it sleeps {timeout:?}, and {id} is to try again before that"
                ));
            }
            if conn.closing {
                continue;
            }
            for alarm in &conn.alarms {
                let left = alarm.latest.map(|latest| latest.saturating_sub(now));
                if let Some(left) = left {
                    if timeout.is_none_or(|timeout| timeout > left) {
                        return Err(format!(
                            "5: it sleeps {timeout:?}, and a timer of {id} is due in {left:?}"
                        ));
                    }
                }
            }
        }
        if sleeps && (self.posts_run < self.posts || self.deferred_run < self.deferred) {
            return Err("5: it sleeps, and closures wait".to_owned());
        }
        self.posts_in_turn = 0;
        Ok(())
    }

    /// The turn is over.
    pub(crate) fn after_turn(&mut self, kernel: &Kernel) -> Result<(), String> {
        let now = kernel.clock.now();
        for index in 0..self.conns.len() {
            if self.conns[index].due
                && !self.turns_are_cut
                && !self.conns[index].touched
                && !self.sink_is_touched(index)
                && self.is_surely_read(kernel, index)
                && !self.conns[index].called.contains(&"read")
            {
                let id = self.conns[index].id;
                return Err(format!(
                    "9: {id:?} was ready all through a turn and was not served"
                ));
            }
            let cut = self.turns_are_cut;
            let conn = &mut self.conns[index];
            for alarm in &mut conn.alarms {
                let set_now = alarm.latest.is_none();
                if set_now {
                    alarm.latest = Some(now.saturating_add(alarm.after));
                } else if alarm.set_in < kernel.turns
                    && alarm
                        .latest
                        .is_some_and(|latest| latest <= kernel.turn_began)
                    && !cut
                    && !conn.closing
                    && conn.closes == 0
                {
                    let id = conn.id;
                    return Err(format!(
                        "10: a timer of {id:?} was due in this turn and did not fire"
                    ));
                }
            }
        }
        Ok(())
    }

    /// A callback begins.
    pub(crate) fn enter(
        &mut self,
        kernel: &Kernel,
        index: usize,
        id: AnyId,
        callback: &'static str,
    ) -> Result<(), String> {
        self.callbacks += 1;
        let inside = self.running.replace(callback);
        let conn = &mut self.conns[index];
        conn.busy += 1;
        let end = &kernel.ends[conn.end];
        if let Some(outer) = inside {
            return Err(format!("3: {callback} of {id} runs inside {outer}"));
        }
        if conn.id != Some(id) {
            return Err(format!(
                "3: {callback} comes under {id}; it is {:?}",
                conn.id
            ));
        }
        if conn.closes > 0 {
            return Err(format!("3: {callback} of {id} comes after its end"));
        }
        if callback == "close" {
            conn.closes += 1;
            conn.alarms.clear();
            return Ok(());
        }
        // (With classes there is more than one flush in a turn, and so an answer to each who asks.)
        let may_repeat = matches!(callback, "timer" | "accept" | "gone" | "error" | "sent");
        if !may_repeat && conn.called.contains(&callback) {
            return Err(format!("9: {id} has {callback} twice in a turn"));
        }
        if !may_repeat {
            conn.called.push(callback);
        }
        // (What another dispatcher asked for in its name may come at once.)
        let asked_for = matches!(callback, "error" | "sent");
        if conn.added_in >= kernel.turns && !asked_for {
            return Err(format!(
                "4: {callback} of {id} comes in the turn that added it"
            ));
        }
        let first = matches!(callback, "connect" | "error" | "timer" | "gone");
        // (A producer that closes when it is done is not told that it is connected.)
        if conn.connecting && !first && !(conn.closing && callback == "write") {
            return Err(format!("{callback} of {id} comes before it is connected"));
        }
        if conn.closing && !matches!(callback, "error" | "write") {
            return Err(format!("3: {callback} of {id} comes while it is closing"));
        }
        let caused = end.knows_input || conn.put_back > 0 || conn.more_input;
        match callback {
            "read" if !caused => {
                return Err(format!("4: {id} is read, and no event said that it can be"));
            }
            "read" if conn.paused => return Err(format!("{id} is read while it is paused")),
            "read" if conn.eof => return Err(format!("{id} is read after its end of stream")),
            "write" if !end.knows_room => {
                return Err(format!(
                    "4: {id} is to write, and no event said that it can"
                ));
            }
            "accept" if conn.paused => return Err(format!("{id} accepts while it is paused")),
            "accept" => {
                conn.accepts += 1;
                if conn.accepts > self.accept_batch {
                    return Err(format!("6: {id} accepts more than a batch in a turn"));
                }
            }
            "connect" if !conn.connecting => return Err(format!("{id} is connected twice")),
            "connect" => conn.connecting = false,
            "eof" => {
                if conn.eof {
                    return Err(format!("2: {id} has its end of stream twice"));
                }
                conn.eof = true;
                let sent = kernel.ends[end.other].sent;
                if end.zero_after_reset || conn.delivered != sent || conn.put_back > 0 {
                    return Err(format!(
                        "2: {id} has its end of stream at {} of {sent} bytes, reset: {}",
                        conn.delivered, end.zero_after_reset
                    ));
                }
            }
            "sent" => {
                if conn.sent_asks == 0 || conn.accepted != end.sent {
                    return Err(format!(
                        "{id} is told that all is sent: {} of {}",
                        end.sent, conn.accepted
                    ));
                }
                conn.sent_asks -= 1;
            }
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn leave(&mut self, index: usize) {
        self.running = None;
        self.leave_visit(index);
    }

    /// A visit of a dispatcher, by `with` or `call`, begins.
    pub(crate) fn visit(&mut self, index: usize) {
        self.conns[index].busy += 1;
    }

    pub(crate) fn leave_visit(&mut self, index: usize) {
        self.conns[index].busy -= 1;
        if self.conns[index].busy == 0 && std::mem::take(&mut self.conns[index].replaced) {
            self.is_replaced(index);
        }
    }

    /// Another takes a dispatcher's place: at once, or when its callback has returned.
    pub(crate) fn replace(&mut self, index: usize) {
        if self.conns[index].busy > 0 {
            self.conns[index].replaced = true;
        } else {
            self.is_replaced(index);
        }
    }

    /// The old one's timers are gone with it, and so is what it held back.
    fn is_replaced(&mut self, index: usize) {
        self.conns[index].alarms.clear();
        self.conns[index].more_input = false;
    }

    /// `recv` gave bytes.
    pub(crate) fn deliver(
        &mut self,
        kernel: &Kernel,
        index: usize,
        bytes: &[u8],
    ) -> Result<(), String> {
        let conn = &mut self.conns[index];
        let peer = kernel.ends[conn.end].other;
        let id = conn.id;
        for byte in bytes {
            if *byte != byte_at(peer, conn.delivered) {
                let place = conn.delivered;
                return Err(format!("1: {id:?} receives a wrong byte at {place}"));
            }
            conn.delivered += 1;
        }
        conn.put_back = conn.put_back.saturating_sub(bytes.len() as u64);
        if conn.delivered > kernel.ends[peer].sent {
            return Err(format!("1: {id:?} receives more than was sent"));
        }
        Ok(())
    }

    /// A timer was set.
    pub(crate) fn set_alarm(
        &mut self,
        kernel: &Kernel,
        index: usize,
        timer: TimerId,
        after: Duration,
        period: Option<Duration>,
    ) {
        let conn = &mut self.conns[index];
        conn.alarms.retain(|alarm| alarm.timer != timer);
        conn.alarms.push(Alarm {
            timer,
            earliest: kernel.clock.now().saturating_add(after),
            latest: None,
            after,
            period,
            set_in: kernel.turns,
        });
    }

    /// A timer fires.
    pub(crate) fn fires(
        &mut self,
        kernel: &Kernel,
        index: usize,
        timer: TimerId,
    ) -> Result<(), String> {
        let conn = &mut self.conns[index];
        let now = kernel.turn_began;
        let Some(place) = conn.alarms.iter().position(|alarm| alarm.timer == timer) else {
            return Err(format!(
                "10: a timer of {:?} fires that is not set",
                conn.id
            ));
        };
        let alarm = &mut conn.alarms[place];
        if alarm.earliest > now {
            return Err(format!("10: a timer of {:?} fires early", conn.id));
        }
        if alarm.set_in == kernel.turns {
            return Err(format!(
                "10: a timer of {:?} fires in the turn that set it",
                conn.id
            ));
        }
        match alarm.period {
            None => {
                conn.alarms.remove(place);
            }
            Some(period) if period.is_zero() => {
                (alarm.earliest, alarm.latest) = (now, Some(kernel.clock.now()));
                alarm.set_in = kernel.turns;
            }
            Some(period) => {
                alarm.set_in = kernel.turns;
                let next = |due: Duration| {
                    let missed = now.saturating_sub(due).as_nanos() / period.as_nanos();
                    let periods = u32::try_from(missed + 1).unwrap_or(u32::MAX);
                    due + period.saturating_mul(periods)
                };
                // On the grid, if it is known which; a time that may be on either side of a step is none.
                if Some(alarm.earliest) == alarm.latest {
                    alarm.earliest = next(alarm.earliest);
                    alarm.latest = Some(alarm.earliest);
                } else {
                    alarm.earliest = (alarm.earliest + period).max(now);
                    alarm.latest = Some(now + period);
                }
            }
        }
        Ok(())
    }

    /// Takes a timer away; whether it was set.
    pub(crate) fn cancel_alarm(&mut self, timer: TimerId) -> bool {
        for conn in &mut self.conns {
            if let Some(place) = conn.alarms.iter().position(|alarm| alarm.timer == timer) {
                conn.alarms.remove(place);
                return true;
            }
        }
        false
    }

    /// Everybody ends.
    pub(crate) fn close_all(&mut self) {
        for conn in &mut self.conns {
            if conn.id.is_some() && conn.closes == 0 {
                conn.closing = true;
                conn.touched = true;
                conn.alarms.clear();
                conn.more_input = false;
            }
        }
    }

    /// A dispatcher has ended: those that watch it are owed a callback.
    pub(crate) fn ended(&mut self, index: usize) {
        let Some(id) = self.conns[index].id else {
            return;
        };
        for conn in &mut self.conns {
            if conn.watches.remove(&id) {
                conn.owed_gone.insert(id);
            }
        }
    }
}
