//! What is known of names, for as long as it is valid, with a bound on their number.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Instant;

use super::error::LookupError;

/// What was found out about a name.
pub(super) type Finding = Result<Rc<[IpAddr]>, LookupError>;

#[derive(Debug)]
struct Entry {
    finding: Finding,
    until: Instant,
    /// Since it was last considered for removal.
    used: bool,
}

/// When it is full, the oldest name that was not used since its last turn makes room (the clock algorithm).
#[derive(Debug)]
pub(super) struct Cache {
    by_name: HashMap<Rc<[u8]>, Entry>,
    /// All names, each once.
    queue: VecDeque<Rc<[u8]>>,
    capacity: usize,
    pub(super) evicted: u64,
}

impl Cache {
    pub(super) fn new(capacity: usize) -> Cache {
        Cache {
            by_name: HashMap::new(),
            queue: VecDeque::new(),
            capacity,
            evicted: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn clear(&mut self) {
        self.by_name.clear();
        self.queue.clear();
    }

    /// What is known, and until when.
    pub(super) fn get(&mut self, name: &[u8], now: Instant) -> Option<(&Finding, Instant)> {
        let entry = self.by_name.get_mut(name)?;
        if entry.until <= now {
            return None;
        }
        entry.used = true;
        Some((&entry.finding, entry.until))
    }

    pub(super) fn insert(&mut self, name: Rc<[u8]>, finding: Finding, until: Instant) {
        if self.capacity == 0 {
            return;
        }
        let entry = Entry {
            finding,
            until,
            used: false,
        };
        if let Some(known) = self.by_name.get_mut(&name) {
            *known = entry;
            return;
        }
        while self.by_name.len() >= self.capacity {
            self.evict();
        }
        self.queue.push_back(Rc::clone(&name));
        self.by_name.insert(name, entry);
    }

    /// Goes round at most once: each name that it passes is unused from then on.
    fn evict(&mut self) {
        while let Some(name) = self.queue.pop_front() {
            let Some(entry) = self.by_name.get_mut(&name) else {
                continue;
            };
            if std::mem::take(&mut entry.used) {
                self.queue.push_back(name);
                continue;
            }
            self.by_name.remove(&name);
            self.evicted += 1;
            return;
        }
    }
}
