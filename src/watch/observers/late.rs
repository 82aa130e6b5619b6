//! What is reported late: see [`Observer::accepts_delay`].

use crate::time::clock::Tick;
use crate::watch::callback::Callback;
use crate::watch::observer::{CallbackEnd, Outcome, TurnEnd};
use crate::watch::observers::Observers;
use crate::watch::reports::Reports;

/// Records that are kept at most.
const MOST: usize = 32;

/// What has happened, and when.
enum Record {
    CallbackEnded(Tick, CallbackEnd<'static>),
    TurnEnded(Tick, TurnEnd),
}

/// In the order in which it happened.
#[derive(Default)]
pub(super) struct Late(Vec<Record>);

impl Late {
    #[inline]
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if there is no room for another one.
    #[inline]
    fn push(&mut self, record: Record) -> bool {
        if self.0.capacity() == 0 {
            self.0.reserve_exact(MOST);
        }
        self.0.push(record);
        self.0.len() == MOST
    }

    /// All of them, in order. The memory comes back with [`Late::put_back`].
    fn take(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.0)
    }

    fn put_back(&mut self, mut records: Vec<Record>) {
        records.clear();
        self.0 = records;
    }
}

impl Observers {
    /// A callback is over.
    pub(crate) fn tell_callback_ended(&mut self, end: &CallbackEnd<'_>) {
        if !self.want(Reports::CALLBACK_ENDED) {
            return;
        }
        if self.may_be_late {
            if let Some(end) = kept(end) {
                return self.tell_later(Record::CallbackEnded(self.at, end));
            }
        }
        self.report(Reports::CALLBACK_ENDED, |observer, at| {
            observer.callback_ended(at, end);
        });
    }

    /// The turn is over.
    pub(crate) fn tell_turn_ended(&mut self, end: TurnEnd) {
        if self.may_be_late {
            self.tell_later(Record::TurnEnded(self.at, end));
        } else {
            self.catch_up();
            self.tell(|observer, at| observer.turn_ended(at, &end));
            self.ask();
        }
    }

    /// A turn is over: asks what is wanted from here on.
    #[cold]
    #[inline(never)]
    fn ask(&mut self) {
        if !self.list.ask() {
            self.review();
        }
        self.wanted = self.list.wanted();
        self.may_be_late = self.list.accept_delay();
    }

    fn tell_later(&mut self, record: Record) {
        if self.late.push(record) {
            self.catch_up();
        }
    }

    /// Reports what has not been reported.
    #[inline]
    pub(crate) fn catch_up(&mut self) {
        if !self.late.is_empty() {
            self.tell_what_is_late();
        }
    }

    #[cold]
    #[inline(never)]
    fn tell_what_is_late(&mut self) {
        let at = self.at;
        let records = self.late.take();
        for record in &records {
            match record {
                Record::CallbackEnded(then, end) => {
                    self.set_at(*then);
                    self.report(Reports::CALLBACK_ENDED, |observer, at| {
                        observer.callback_ended(at, end);
                    });
                }
                Record::TurnEnded(then, end) => {
                    self.set_at(*then);
                    self.tell(|observer, at| observer.turn_ended(at, end));
                }
            }
        }
        self.ask();
        self.late.put_back(records);
        self.set_at(at);
    }

    /// Reports what has not been reported, and all that comes in this turn at once.
    pub(super) fn be_prompt(&mut self) {
        self.catch_up();
        self.may_be_late = false;
    }

    /// A callback begins. In those that may reach the observers everything has been reported.
    #[inline]
    pub(super) fn prepare_for(&mut self, callback: Callback) {
        if self.may_be_late && !is_usual(callback) {
            self.be_prompt();
        }
    }
}

/// Whether the end of such a callback may be reported late. (Others may reach the observers, or are rare.)
#[inline]
fn is_usual(callback: Callback) -> bool {
    matches!(callback, Callback::Read | Callback::Write)
}

/// The same, if it does not borrow an error.
#[inline]
fn kept(end: &CallbackEnd<'_>) -> Option<CallbackEnd<'static>> {
    let outcome = match end.outcome {
        Outcome::Done => Outcome::Done,
        Outcome::WouldBlock => Outcome::WouldBlock,
        Outcome::Failed(_) | Outcome::Panicked => return None,
    };
    is_usual(end.begin.callback).then_some(CallbackEnd {
        begin: end.begin,
        took: end.took,
        bytes_in: end.bytes_in,
        bytes_out: end.bytes_out,
        outcome,
    })
}
