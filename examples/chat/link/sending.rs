//! What goes out: batches of operations, one at a time, and renewals of the lease.

use std::io;
use std::time::Instant;

use slabloop::Context;

use super::super::redis::{Client, Outcome, Reply};
use super::{Batch, Link, NICKS, Notice, STREAM, Stage, Verdict};

const PROCESSES: &str = "{chat}:processes";
const BATCHES: &str = "{chat}:batch:";
const LEASES: &str = "{chat}:lease:";

/// Operations of one batch, at most; the broker serves nobody else while it applies them.
const LARGEST_BATCH: usize = 256;

impl Link {
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) {
        if !matches!(self.stage, Stage::Trying | Stage::Up) || self.is_sending {
            return;
        }
        if self.batch.is_none() {
            if self.queue.is_empty() && !self.renewal_is_due {
                return;
            }
            let count = self.queue.len().min(LARGEST_BATCH);
            let operations: Vec<_> = self.queue.drain(..count).collect();
            let number = match count {
                0 => 0,
                _ => self.next_number,
            };
            self.next_number += u64::from(count > 0);
            self.batch = Some(Batch { number, operations });
        }
        self.send(cx);
    }

    fn send(&mut self, cx: &mut Context<'_>) {
        let Some(batch) = &self.batch else {
            return;
        };
        let now = cx.now();
        // Others whose lease is over may only not have had the time to renew it, if the broker was away.
        let is_settled = |since: Instant| now.saturating_duration_since(since) >= self.lease;
        let sweeps = u8::from(self.up_since.is_some_and(is_settled)).to_string();
        let script = include_str!("../apply.lua");
        let (last, lease) = (
            format!("{BATCHES}{}", self.process),
            format!("{LEASES}{}", self.process),
        );
        let (number, milliseconds) = (batch.number.to_string(), self.lease.as_millis().to_string());
        let keep = self.keep.to_string();
        let mut command = vec![
            "EVAL",
            script,
            "5",
            STREAM,
            NICKS,
            PROCESSES,
            &last,
            &lease,
            &self.process,
            &number,
            &milliseconds,
            &keep,
            &sweeps,
            LEASES,
        ];
        let ids = batch
            .operations
            .iter()
            .map(|operation| operation.id.to_string());
        let ids: Vec<_> = ids.collect();
        for (operation, id) in batch.operations.iter().zip(&ids) {
            command.extend([operation.kind, id, &operation.nick, &operation.text]);
        }
        self.is_sending = true;
        self.renewal_is_due = false;
        Client::request(cx, self.client, cx.id::<Link>(), &command, Link::answered);
    }

    fn answered(&mut self, cx: &mut Context<'_>, outcome: Outcome) -> io::Result<()> {
        self.is_sending = false;
        let Some(batch) = &self.batch else {
            return Ok(());
        };
        match outcome {
            Outcome::Done(Reply::Bulk(verdicts)) if verdicts.len() == batch.operations.len() => {
                if self.stage == Stage::Trying {
                    self.is_up(cx);
                }
                self.decided(cx, &verdicts);
                self.flush(cx);
            }
            Outcome::Done(Reply::Error(text)) => {
                self.fail(cx, &format!("the server says {text}"));
            }
            Outcome::Done(_) => self.fail(cx, "no verdicts for a script that gives some"),
            Outcome::NotSent(why) | Outcome::Unknown(why) => self.fail(cx, &why),
        }
        Ok(())
    }

    fn decided(&mut self, cx: &mut Context<'_>, verdicts: &[u8]) {
        let Some(batch) = self.batch.take() else {
            return;
        };
        for (operation, verdict) in batch.operations.into_iter().zip(verdicts) {
            self.queued -= operation.size();
            if operation.kind == "bye" {
                // Then what the members were not told yet is read.
                self.has_left = true;
                self.catch_up(cx);
                continue;
            }
            let verdict = match verdict {
                b'o' => Verdict::Done,
                b't' => Verdict::Taken,
                _ => Verdict::Lost,
            };
            self.tell(cx, Notice::Answer(operation, verdict));
        }
    }
}
