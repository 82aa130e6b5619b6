//! The files that a resolver uses, read again when they change.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

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
        let news = |watched: &mut Option<Watched>| watched.as_mut()?.news();
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
    /// The last state that could not be read.
    failed: Option<Stamp>,
}

/// When it was written, and its length: a file that is written twice within the clock's grain differs in that.
type Stamp = (SystemTime, u64);

impl Watched {
    fn new(path: &Path) -> Watched {
        Watched {
            path: path.to_owned(),
            read: None,
            failed: None,
        }
    }

    /// Its text, if it is another than the last time. One that is gone is empty.
    fn news(&mut self) -> Option<String> {
        let stamp = fs::metadata(&self.path)
            .and_then(|metadata| Ok((metadata.modified()?, metadata.len())))
            .unwrap_or((SystemTime::UNIX_EPOCH, 0));
        if self.read == Some(stamp) {
            return None;
        }
        match config::read(&self.path) {
            Ok(text) => {
                self.read = Some(stamp);
                Some(text.unwrap_or_default())
            }
            // Tried again the next time: there may only have been no free descriptor. Logged once for each change.
            Err(error) => {
                if self.failed.replace(stamp) != Some(stamp) {
                    log::warn!("{error}; its previous content remains in use");
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::symlink;

    /// The time and the length are those of before: that they are known does not say that it was read.
    #[test]
    fn a_change_that_cannot_be_read_at_first_is_read_later() {
        let name = format!("slabloop-files-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_file(&path);
        symlink(&path, &path).expect("a place for it");
        let mut config = DnsConfig::new([]);
        config.hosts_file(&path);
        let mut files = Files::new(&config);
        let start = Instant::now();
        assert!(files.changes(start).hosts.is_none(), "it leads to itself");
        fs::remove_file(&path).expect("it is there");
        let file = File::create(&path).expect("a place for it");
        file.set_modified(SystemTime::UNIX_EPOCH).expect("ours");
        let early = files.changes(start + LOOK_AGAIN - Duration::from_nanos(1));
        assert!(early.hosts.is_none(), "not yet");
        assert!(files.changes(start + LOOK_AGAIN).hosts.is_some());
        let unchanged = files.changes(start + 2 * LOOK_AGAIN);
        fs::remove_file(&path).expect("it is there");
        assert!(unchanged.hosts.is_none());
    }
}
