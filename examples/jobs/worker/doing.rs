//! Doing what an entry stands for: a job on a thread, or a callback over HTTP.

use std::time::Duration;

use slabloop::Context;
use slabloop::kit::workers::Workers;

use super::post::Post;
use super::puller::Puller;
use super::recording::outcome;
use crate::address::Allowed;
use crate::job::Task;

pub(crate) enum Doing {
    Work(Workers),
    /// And the longest time for one.
    Callbacks(Allowed, Duration),
}

/// What Redis knows of a job.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) id: String,
    /// Attempts of this lane, with the present one.
    pub(crate) tries: u64,
    pub(crate) body: String,
    pub(crate) callback: Option<String>,
    /// Of the work.
    pub(crate) state: String,
    pub(crate) result: Option<String>,
    pub(crate) error: Option<String>,
}

/// How an attempt has ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// With a result, as JSON.
    Done(String),
    Failed {
        why: String,
        /// Another attempt would end the same.
        is_final: bool,
    },
    /// What is in Redis is no job at all.
    Odd(String),
}

impl Ended {
    pub(crate) fn failed(why: impl Into<String>) -> Ended {
        Ended::Failed {
            why: why.into(),
            is_final: false,
        }
    }

    /// Not to be tried again.
    pub(crate) fn refused(why: impl Into<String>) -> Ended {
        Ended::Failed {
            why: why.into(),
            is_final: true,
        }
    }
}

impl Puller {
    /// Starts an attempt. [`ended`](Puller::ended) is called with its outcome.
    pub(crate) fn start(&mut self, cx: &mut Context<'_>, entry: &str, known: Known) {
        let Some(attempt) = self.held.get(entry).map(|held| held.attempt.clone()) else {
            return;
        };
        let at_once = match &self.doing {
            Doing::Work(threads) => match Task::parse(known.body.as_bytes()) {
                Ok((task, _)) => work(cx, threads.clone(), task, known.tries, entry, &attempt),
                Err(why) => Some(Ended::refused(why)),
            },
            Doing::Callbacks(allowed, limit) => {
                let url = known
                    .callback
                    .as_deref()
                    .ok_or("it has no callback".to_owned());
                match url.and_then(|url| allowed.check(url)) {
                    Ok(url) => {
                        let post = Post::new(
                            cx.id(),
                            entry,
                            &attempt,
                            &url,
                            &known.id,
                            &outcome(&known),
                            *limit,
                        );
                        let dialled = cx.connect(url.address, post);
                        dialled.err().map(|error| Ended::failed(error.to_string()))
                    }
                    Err(why) => Some(Ended::refused(why)),
                }
            }
        };
        if let Some(ended) = at_once {
            self.ended(cx, entry, &attempt, ended);
        }
    }
}

/// Does a job on a thread; its outcome, if there is one at once.
fn work(
    cx: &mut Context<'_>,
    threads: Workers,
    task: Task,
    tries: u64,
    entry: &str,
    attempt: &str,
) -> Option<Ended> {
    let (me, entry, attempt) = (cx.id::<Puller>(), entry.to_owned(), attempt.to_owned());
    let body = move || task.run(tries);
    let spawned = threads.spawn(cx, me, body, move |puller: &mut Puller, cx, result| {
        let ended = match result {
            Ok(Ok(value)) => Ended::Done(value.to_string()),
            Ok(Err(why)) => Ended::failed(why),
            Err(panic) => Ended::failed(panic.to_string()),
        };
        puller.ended(cx, &entry, &attempt, ended);
        Ok(())
    });
    spawned
        .err()
        .map(|refused| Ended::failed(refused.to_string()))
}
