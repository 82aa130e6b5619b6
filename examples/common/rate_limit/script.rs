//! What Redis is asked, and what its answer means.

use std::time::Duration;

use slabloop::kit::limits::{Exhausted, Prefix};

use super::Verdict;
use super::redis::{Outcome, Reply};

pub(crate) const SCRIPT: &str = include_str!("take.lua");

/// By which Redis knows the script once it has seen it. (If this is wrong, each question takes two round trips.)
pub(crate) const SHA1: &str = "0a3257cef1b59ad68d53ab70950e2d6eedb8756e";

/// How the script is named in a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// As usual.
    Sha1,
    /// To a Redis that may not know it: it has been restarted, or is another one.
    Text,
}

/// The bucket of each client in Redis, and what it holds.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    prefix: String,
    rate: String,
    burst: String,
}

impl Question {
    /// `name` is common to all processes that share the limit; `rate` is per second.
    pub(crate) fn new(name: &str, rate: u32, burst: u32) -> Question {
        Question {
            prefix: format!("rate:{name}:"),
            rate: rate.to_string(),
            burst: burst.to_string(),
        }
    }

    /// Takes one token for a client.
    pub(crate) fn words(&self, by: By, client: Prefix) -> [String; 8] {
        let (command, script) = match by {
            By::Sha1 => ("EVALSHA", SHA1),
            By::Text => ("EVAL", SCRIPT),
        };
        let key = format!("{}{client}", self.prefix);
        [
            command.to_owned(),
            script.to_owned(),
            "1".to_owned(),
            key,
            self.rate.clone(),
            "1000000".to_owned(),
            self.burst.clone(),
            "1".to_owned(),
        ]
    }
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Decided(Verdict),
    /// It has not seen the script, and has done nothing.
    NoScript,
    /// It does not decide, and why.
    Nothing(String),
}

impl Answer {
    pub(crate) fn of(outcome: &Outcome) -> Answer {
        match outcome {
            Outcome::Done(Reply::Integer(0)) => Answer::Decided(Ok(())),
            Outcome::Done(Reply::Integer(micros @ 1..)) => Answer::Decided(Err(Exhausted {
                retry_after: Duration::from_micros(micros.unsigned_abs()),
            })),
            Outcome::Done(Reply::Error(text)) if text.starts_with("NOSCRIPT") => Answer::NoScript,
            Outcome::Done(Reply::Error(text)) => Answer::Nothing(text.clone()),
            Outcome::Done(other) => {
                Answer::Nothing(format!("an answer of another kind: {other:?}"))
            }
            Outcome::NotSent(why) | Outcome::Unknown(why) => Answer::Nothing(why.to_string()),
        }
    }
}
