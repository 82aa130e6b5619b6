//! Has the entries of one lane in hand, as many as there are places for them: from when they are taken (`asking.rs`)
//! until Redis has their outcome (`recording.rs`).

use std::collections::HashMap;
use std::io;
use std::ops::AddAssign;
use std::rc::Rc;
use std::time::{Duration, Instant};

use slabloop::{Context, Dispatcher, Id, TimerId};

use super::Rules;
use super::asking::Asking;
use super::doing::{Doing, Ended};
use super::entries::Entry;
use crate::names::{GROUP, Lane};
use crate::queue::texts;
use crate::redis::{Client, Outcome};
use crate::scripts;

/// Most jobs that go back into their stream at once.
const MOST_DUE: &str = "100";

/// Consumers of which nothing was heard for so long are forgotten, if they have nothing in hand; in milliseconds.
const FORGOTTEN_AFTER: &str = "3600000";
const TIDY_EVERY: Duration = Duration::from_secs(600);

/// What a worker has counted of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) done: u64,
    pub(crate) failed: u64,
    pub(crate) dead: u64,
    /// Entries that other workers had.
    pub(crate) claimed: u64,
    /// Entries that others have claimed from this one.
    pub(crate) lost: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.done += other.done;
        self.failed += other.failed;
        self.dead += other.dead;
        self.claimed += other.claimed;
        self.lost += other.lost;
    }
}

/// How far an entry is.
#[derive(Debug)]
pub(crate) enum Stage {
    /// Redis is to count the attempt, and to say what the job is.
    Beginning,
    Running {
        tries: u64,
    },
    /// Redis is to record the outcome.
    Ending {
        tries: u64,
        ended: Ended,
    },
    /// Redis is to give it to others.
    Leaving,
}

#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) id: String,
    /// The mark of this attempt.
    pub(crate) attempt: String,
    pub(crate) stage: Stage,
    /// Redis was told, and has not answered.
    pub(crate) is_sent: bool,
}

pub(crate) struct Puller {
    pub(crate) rules: Rc<Rules>,
    pub(crate) lane: Lane,
    pub(crate) doing: Doing,
    /// By entry.
    pub(crate) held: HashMap<String, Held>,
    pub(crate) counts: Counts,
    pub(crate) asking: Asking,
    places: usize,
    attempts: u64,
    extend_at: Option<Instant>,
    tidy_at: Option<Instant>,
    is_stopping: bool,
    /// It has said goodbye, and Redis has not answered.
    is_parting: bool,
}

impl Puller {
    pub(crate) fn new(
        rules: Rc<Rules>,
        lane: Lane,
        places: usize,
        doing: Doing,
        blocking: Id<Client>,
    ) -> Puller {
        Puller {
            rules,
            lane,
            doing,
            held: HashMap::new(),
            counts: Counts::default(),
            asking: Asking::new(blocking),
            places,
            attempts: 0,
            extend_at: None,
            tidy_at: None,
            is_stopping: false,
            is_parting: false,
        }
    }

    pub(crate) fn begin(&mut self, cx: &mut Context<'_>) {
        cx.set_interval(self.rules.tick());
        self.ask(cx);
    }

    /// Takes no more entries.
    pub(crate) fn stop(&mut self) {
        self.is_stopping = true;
    }

    pub(crate) fn in_hand(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.held.is_empty() && !self.asking.is_on && !self.is_parting
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// How many more entries it may take.
    pub(crate) fn room(&self) -> usize {
        match self.is_stopping {
            true => 0,
            false => self.places.saturating_sub(self.held.len()),
        }
    }

    /// An entry is dealt with.
    pub(crate) fn let_go(&mut self, cx: &mut Context<'_>, entry: &str) {
        self.held.remove(entry);
        self.go_on(cx);
    }

    pub(crate) fn go_on(&mut self, cx: &mut Context<'_>) {
        self.stop_if_quiet(cx);
        self.ask(cx);
    }

    pub(crate) fn stop_if_quiet(&mut self, cx: &mut Context<'_>) {
        if self.is_stopping && self.is_quiet() {
            cx.stop();
        }
    }

    /// Begins with those that it does not have; how many.
    pub(crate) fn take(&mut self, cx: &mut Context<'_>, entries: Vec<Entry>) -> u64 {
        let before = self.held.len();
        for (entry, id) in entries {
            if self.held.contains_key(&entry) {
                continue;
            }
            self.attempts += 1;
            let held = Held {
                id,
                attempt: format!(
                    "{}/{}/{}",
                    self.rules.consumer,
                    self.lane.name(),
                    self.attempts
                ),
                stage: Stage::Beginning,
                is_sent: false,
            };
            self.held.insert(entry.clone(), held);
            if self.is_stopping {
                self.leave_one(cx, &entry);
            } else {
                self.tell(cx, &entry);
            }
        }
        (self.held.len() - before) as u64
    }

    /// Moves on what is due.
    fn see_to_the_rest(&mut self, cx: &mut Context<'_>) {
        let (me, now) = (cx.id::<Puller>(), cx.now());
        let (names, queue) = (&self.rules.queue.names, &self.rules.queue);
        let due = [names.later(self.lane), names.stream(self.lane)];
        queue.eval(
            cx,
            me,
            scripts::DUE,
            &due,
            &[MOST_DUE.as_bytes()],
            |_: &mut Puller, _, _| Ok(()),
        );
        if self.extend_at.is_none_or(|at| at <= now) && !self.held.is_empty() {
            self.extend_at = Some(now + self.rules.visibility / 4);
            let consumer = self.rules.consumer.as_bytes();
            let mut words = vec![GROUP.as_bytes(), consumer];
            words.extend(self.held.keys().map(String::as_bytes));
            queue.eval(cx, me, scripts::EXTEND, &due[1..], &words, Puller::extended);
        }
        if self.tidy_at.is_none_or(|at| at <= now) && self.asking.has_group {
            self.tidy_at = Some(now + TIDY_EVERY);
            self.tidy(cx, "");
        }
    }

    /// Says goodbye: it is forgotten if it has nothing in hand.
    pub(crate) fn part(&mut self, cx: &mut Context<'_>) {
        self.is_parting = true;
        let consumer = self.rules.consumer.clone();
        self.tidy(cx, &consumer);
    }

    /// Forgets consumers that have long ended, and this one if it says so.
    fn tidy(&self, cx: &mut Context<'_>, ending: &str) {
        let me = cx.id::<Puller>();
        let words = [GROUP, FORGOTTEN_AFTER, ending].map(str::as_bytes);
        let stream = [self.rules.queue.names.stream(self.lane)];
        let queue = &self.rules.queue;
        queue.eval(
            cx,
            me,
            scripts::TIDY,
            &stream,
            &words,
            |puller: &mut Puller, cx, _| {
                puller.is_parting = false;
                puller.stop_if_quiet(cx);
                Ok(())
            },
        );
    }

    #[expect(clippy::unnecessary_wraps, reason = "it is called as a callback")]
    fn extended(&mut self, _: &mut Context<'_>, outcome: Outcome) -> io::Result<()> {
        if let Outcome::Done(reply) = outcome {
            for entry in texts(&reply).into_iter().flatten() {
                // What was recorded in the meantime is none of it. Its result counts if it is the first.
                if let Some(held) = self.held.get(&entry).filter(|held| !held.is_sent) {
                    log::warn!("job {}: another worker has claimed it", held.id);
                    self.counts.lost += 1;
                }
            }
        }
        Ok(())
    }
}

impl Dispatcher for Puller {
    fn handle_timer(&mut self, cx: &mut Context<'_>, _: TimerId) -> io::Result<()> {
        let unsent: Vec<String> = self
            .held
            .iter()
            .filter(|(_, held)| !held.is_sent && !matches!(held.stage, Stage::Running { .. }))
            .map(|(entry, _)| entry.clone())
            .collect();
        for entry in unsent {
            self.tell(cx, &entry);
        }
        self.see_to_the_rest(cx);
        self.ask(cx);
        Ok(())
    }
}
