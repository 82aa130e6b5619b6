//! What Redis is told of an entry: that an attempt begins, how it has ended, that it is left to others. It is told until
//! it has answered; the scripts do each of it once.

use std::io;
use std::rc::Rc;

use serde_json::json;
use slabloop::Context;

use super::doing::{Ended, Known};
use super::puller::{Puller, Stage};
use crate::common;
use crate::queue::texts;
use crate::redis::{Outcome, Reply};
use crate::scripts;

/// A longer error is cut.
const LONGEST_ERROR: usize = 500;

impl Puller {
    /// Tells Redis what is next for an entry.
    pub(crate) fn tell(&mut self, cx: &mut Context<'_>, entry: &str) {
        let me = cx.id::<Puller>();
        let rules = Rc::clone(&self.rules);
        let Some(held) = self.held.get_mut(entry) else {
            return;
        };
        let tries = rules.tries(self.lane).to_string();
        let (script, words): (&str, Vec<String>) = match &held.stage {
            Stage::Running { .. } => return,
            Stage::Beginning => (scripts::BEGIN, vec![held.attempt.clone(), tries]),
            Stage::Ending {
                ended: Ended::Done(result),
                ..
            } => (scripts::FINISH, vec![result.clone()]),
            Stage::Ending {
                tries: tried,
                ended: Ended::Failed { why, is_final },
            } => {
                let most = if *is_final { "0".to_owned() } else { tries };
                let pause = rules.pause(*tried).as_millis().to_string();
                (
                    scripts::FAIL,
                    vec![held.attempt.clone(), cut(why), most, pause],
                )
            }
            Stage::Ending {
                ended: Ended::Odd(why),
                ..
            } => (scripts::BURY, vec![cut(why)]),
            Stage::Leaving => (
                scripts::LEAVE,
                vec![held.attempt.clone(), rules.consumer.clone()],
            ),
        };
        held.is_sent = true;
        let id = held.id.clone();
        let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
        let about = (self.lane, entry, id.as_str());
        let entry = entry.to_owned();
        rules.queue.eval_for(
            cx,
            me,
            script,
            about,
            &words,
            move |puller: &mut Puller, cx, outcome| puller.heard(cx, &entry, outcome),
        );
    }

    fn heard(&mut self, cx: &mut Context<'_>, entry: &str, outcome: Outcome) -> io::Result<()> {
        let Some(held) = self.held.get_mut(entry) else {
            return Ok(());
        };
        held.is_sent = false;
        let reply = match outcome {
            Outcome::Done(Reply::Error(error)) if error.contains("WRONGTYPE") => {
                let tries = 0;
                let ended = Ended::Odd(error);
                held.stage = Stage::Ending { tries, ended };
                self.tell(cx, entry);
                return Ok(());
            }
            Outcome::Done(Reply::Error(error)) => {
                // The next tick tells it again, and whenever Redis can do it, it does.
                log::warn!("job {}: Redis says {error}", held.id);
                return Ok(());
            }
            Outcome::Done(reply) => reply,
            Outcome::NotSent(why) | Outcome::Unknown(why) => {
                log::debug!("job {}: {why}", held.id);
                return Ok(());
            }
        };
        let mut words = texts(&reply).into_iter();
        let what = words.next().flatten().unwrap_or_default();
        match what.as_str() {
            "do" if matches!(held.stage, Stage::Beginning) => {
                let tries = words
                    .next()
                    .flatten()
                    .and_then(|text| text.parse().ok())
                    .unwrap_or(1);
                let mut text = || words.next().flatten();
                let known = Known {
                    id: held.id.clone(),
                    tries,
                    body: text().unwrap_or_default(),
                    callback: text(),
                    state: text().unwrap_or_default(),
                    result: text(),
                    error: text(),
                };
                held.stage = Stage::Running { tries };
                self.start(cx, entry, known);
                return Ok(());
            }
            // (Told to begin, it was to be left meanwhile.)
            "do" => {
                self.tell(cx, entry);
                return Ok(());
            }
            "done" => self.counts.done += 1,
            "later" | "stale" => self.counts.failed += 1,
            "dead" | "gone" => {
                common::complain(&format!("job {}: {}, put aside", held.id, self.lane.name()));
                self.counts.dead += 1;
            }
            _ => {}
        }
        self.let_go(cx, entry);
        Ok(())
    }

    /// An attempt has ended; `None` if it is one that is not in hand any more.
    pub(crate) fn ended(&mut self, cx: &mut Context<'_>, entry: &str, attempt: &str, ended: Ended) {
        let Some(held) = self
            .held
            .get_mut(entry)
            .filter(|held| held.attempt == attempt)
        else {
            return;
        };
        if let Stage::Running { tries } = held.stage {
            log::debug!("job {}: {}: {ended:?}", held.id, self.lane.name());
            held.stage = Stage::Ending { tries, ended };
            self.tell(cx, entry);
        }
    }

    /// Leaves everything that is in hand to other workers.
    pub(crate) fn leave(&mut self, cx: &mut Context<'_>) {
        let entries: Vec<String> = self.held.keys().cloned().collect();
        for entry in entries {
            self.leave_one(cx, &entry);
        }
        self.part(cx);
    }

    /// Leaves one, unless its outcome is known: that is told to the end.
    pub(crate) fn leave_one(&mut self, cx: &mut Context<'_>, entry: &str) {
        if let Some(held) = self.held.get_mut(entry) {
            if matches!(held.stage, Stage::Beginning | Stage::Running { .. }) {
                held.stage = Stage::Leaving;
                if !held.is_sent {
                    self.tell(cx, entry);
                }
            }
        }
    }
}

/// What a client that waits for the outcome is told.
pub(crate) fn outcome(known: &Known) -> String {
    let result: serde_json::Value = known
        .result
        .as_deref()
        .and_then(|result| serde_json::from_str(result).ok())
        .unwrap_or_default();
    let mut told = json!({ "id": known.id, "state": known.state });
    match known.state.as_str() {
        "done" => told["result"] = result,
        _ => told["error"] = known.error.clone().into(),
    }
    told.to_string()
}

fn cut(text: &str) -> String {
    text.chars().take(LONGEST_ERROR).collect()
}
