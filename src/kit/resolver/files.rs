//! The files that a resolver uses, read again when they change.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};
use std::{fs, io};

use super::config::{self, DnsConfig};
use super::hosts::Hosts;

/// How long what was read of a file holds at least.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// The files of one resolver, and when they were last looked at.
#[derive(Debug)]
pub(super) struct Files {
    resolv_conf: Option<Watched>,
    hosts: Option<Watched>,
    looked: Option<Instant>,
}

/// What has changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) resolv_conf: Option<String>,
    pub(super) hosts: Option<Hosts>,
}

impl Files {
    pub(super) fn new(config: &DnsConfig) -> Files {
        let watched = |path: &Option<PathBuf>| path.as_deref().map(Watched::new);
        Files {
            resolv_conf: watched(&config.resolv_conf),
            hosts: watched(&config.hosts),
            looked: None,
        }
    }

    /// Reads what has changed, if it is time to look. One that cannot be read is as it was.
    pub(super) fn changes(&mut self, now: Instant) -> Changes {
        let mut changes = Changes::default();
        if self
            .looked
            .is_some_and(|looked| now.saturating_duration_since(looked) < LOOK_AGAIN)
        {
            return changes;
        }
        self.looked = Some(now);
        let news = |watched: &mut Option<Watched>| {
            let watched = watched.as_mut()?;
            watched.news().unwrap_or_else(|error| {
                log::warn!("{error}; its previous content remains in use");
                None
            })
        };
        changes.resolv_conf = news(&mut self.resolv_conf);
        changes.hosts = news(&mut self.hosts).map(|text| Hosts::parse(&text));
        changes
    }
}

/// A file, and the state of it that was read.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    read: Option<Stamp>,
}

/// When it was written, and its length: a file that is written twice within the clock's grain differs in that.
type Stamp = (SystemTime, u64);

impl Watched {
    fn new(path: &Path) -> Watched {
        Watched {
            path: path.to_owned(),
            read: None,
        }
    }

    /// Its text, if it is another than the last time. One that is gone is empty.
    fn news(&mut self) -> io::Result<Option<String>> {
        let stamp = fs::metadata(&self.path)
            .and_then(|metadata| Ok((metadata.modified()?, metadata.len())))
            .unwrap_or((SystemTime::UNIX_EPOCH, 0));
        if self.read.replace(stamp) == Some(stamp) {
            return Ok(None);
        }
        Ok(Some(config::read(&self.path)?.unwrap_or_default()))
    }
}
