//! Limits, their defaults and their flags.

use std::time::Duration;

use lexopt::Parser;

use crate::common::{self, Failure, Limit};
use crate::http;

/// A small file is queued as it is, and a connection's queue has an end.
const MOST_SMALL: u64 = 512 * 1024;

#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) http: http::Limits,
    /// Files that are kept open, or in memory if they are small.
    pub(crate) cache_files: usize,
    /// Bytes of small files.
    pub(crate) cache_bytes: usize,
    /// Up to this size one is small.
    pub(crate) small: u64,
    /// How long what is known of a file is taken for true.
    pub(crate) cache_time: Duration,
    /// Threads that open files; 0 means that the loop does it.
    pub(crate) threads: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            http: http::Limits::default(),
            cache_files: 1024,
            cache_bytes: 64 * 1024 * 1024,
            small: 64 * 1024,
            cache_time: Duration::from_secs(1),
            threads: 2,
        }
    }
}

impl Limits {
    /// Takes one flag. False if it is none of these.
    pub(crate) fn take(&mut self, flag: &str, parser: &mut Parser) -> Result<bool, Failure> {
        let name = format!("--{flag}");
        let whole = "a whole number";
        match flag {
            "cache-files" => self.cache_files = common::value(&name, parser, whole)?,
            "cache-bytes" => self.cache_bytes = common::value(&name, parser, whole)?,
            "small-file" => {
                self.small = common::value(&name, parser, whole)?;
                if self.small > MOST_SMALL {
                    let text = format!("{name} {}: at most {MOST_SMALL}", self.small);
                    return Err(Failure::Usage(text));
                }
            }
            "cache-time" => self.cache_time = common::seconds(&name, parser, Limit::Any)?,
            "file-threads" => self.threads = common::value(&name, parser, whole)?,
            _ => return self.http.take(flag, parser),
        }
        Ok(true)
    }
}
