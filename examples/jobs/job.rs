//! What a client may ask for, and how it is done.

use std::thread;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::address::{Allowed, Url};

/// A larger number is refused: a thread cannot be interrupted.
const LARGEST: u64 = 50_000_000;

/// The longest sleep, in milliseconds.
const LONGEST: u64 = 600_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Count the primes below a number.
    Primes {
        below: u64,
    },
    Sleep {
        ms: u64,
    },
    /// Fail after a while, so many times or always.
    Fail {
        times: u64,
        ms: u64,
    },
    /// Panic: what a mistake in a job looks like.
    Panic,
}

/// A job as it was posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) task: Task,
    pub(crate) callback: Option<Url>,
}

impl Job {
    /// Reads `{"do": "primes", "below": 1000, "callback": "http://…"}`. The error is for the client.
    pub(crate) fn parse(body: &[u8], allowed: &Allowed) -> Result<Job, String> {
        let (task, callback) = Task::parse(body)?;
        let callback = match callback {
            None => None,
            Some(Value::String(url)) => Some(allowed.check(&url)?),
            Some(_) => {
                return Err("callback: expected a text, such as \"http://host:80/path\"".into());
            }
        };
        Ok(Job { task, callback })
    }
}

impl Task {
    /// The same as far as it is about the work; the callback as it is.
    pub(crate) fn parse(body: &[u8]) -> Result<(Task, Option<Value>), String> {
        let value: Value =
            serde_json::from_slice(body).map_err(|error| format!("not JSON: {error}"))?;
        let Value::Object(mut fields) = value else {
            return Err("a job is an object, such as {\"do\": \"primes\", \"below\": 1000}".into());
        };
        let callback = fields.remove("callback");
        let task = Task::take(&mut fields)?;
        match fields.keys().next() {
            Some(name) => Err(format!("{name}: this job has no such field")),
            None => Ok((task, callback)),
        }
    }

    fn take(fields: &mut Map<String, Value>) -> Result<Task, String> {
        let what = fields.remove("do");
        let mut number = |name: &str, most: u64, default: Option<u64>| {
            let given = match fields.remove(name) {
                None => default,
                Some(value) => value.as_u64().filter(|number| *number <= most),
            };
            given.ok_or_else(|| format!("{name}: expected a whole number from 0 to {most}"))
        };
        match what.as_ref().and_then(Value::as_str) {
            Some("primes") => Ok(Task::Primes {
                below: number("below", LARGEST, None)?,
            }),
            Some("sleep") => Ok(Task::Sleep {
                ms: number("ms", LONGEST, None)?,
            }),
            Some("fail") => Ok(Task::Fail {
                times: number("times", u64::MAX, Some(u64::MAX))?,
                ms: number("ms", LONGEST, Some(0))?,
            }),
            Some("panic") => Ok(Task::Panic),
            _ => Err("do: expected \"primes\", \"sleep\", \"fail\" or \"panic\"".into()),
        }
    }

    /// Does it, on a thread. `tries` counts the attempts with this one.
    pub(crate) fn run(&self, tries: u64) -> Result<Value, String> {
        match *self {
            Task::Primes { below } => Ok(json!({ "primes": count_primes(below) })),
            Task::Sleep { ms } => {
                thread::sleep(Duration::from_millis(ms));
                Ok(json!({ "slept_ms": ms }))
            }
            Task::Fail { times, ms } => {
                thread::sleep(Duration::from_millis(ms));
                match tries <= times {
                    true => Err(format!("it was to fail, at attempt {tries}")),
                    false => Ok(json!({ "tries": tries })),
                }
            }
            Task::Panic => panic!("the job was to panic"),
        }
    }
}

fn count_primes(below: u64) -> u64 {
    let size = usize::try_from(below).unwrap_or(0);
    let mut is_composite = vec![false; size];
    let mut count = 0;
    for number in 2..size {
        if !is_composite[number] {
            count += 1;
            let multiples = (number.saturating_mul(number)..size).step_by(number);
            multiples.for_each(|multiple| is_composite[multiple] = true);
        }
    }
    count
}
