//! Files that were asked for lately: bounded in number and in memory.
//!
//! Who goes is chosen by second chance: the oldest, unless it was asked for since it was last its turn. So a flood of names
//! that are asked for once does not drive out those that are asked for all the time.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use crate::entry::Entry;

#[derive(Debug)]
pub(crate) struct Cache {
    entries: HashMap<Box<str>, Rc<Entry>>,
    /// All names, the oldest first.
    order: VecDeque<Box<str>>,
    bytes: usize,
    most_files: usize,
    most_bytes: usize,
}

impl Cache {
    pub(crate) fn new(most_files: usize, most_bytes: usize) -> Cache {
        Cache {
            entries: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            most_files,
            most_bytes,
        }
    }

    #[inline]
    pub(crate) fn get(&self, path: &str) -> Option<&Rc<Entry>> {
        let entry = self.entries.get(path)?;
        entry.used.set(true);
        Some(entry)
    }

    pub(crate) fn remove(&mut self, path: &str) {
        if let Some(entry) = self.entries.remove(path) {
            self.bytes -= entry.weight();
            // (Seldom: a file that has changed or is gone.)
            self.order.retain(|name| &**name != path);
        }
    }

    /// Takes an entry in, if there can be room for it.
    pub(crate) fn insert(&mut self, path: &str, entry: Rc<Entry>) {
        self.remove(path);
        let weight = entry.weight() + 2 * path.len();
        if self.most_files == 0 || weight > self.most_bytes {
            return;
        }
        while self.entries.len() >= self.most_files || self.bytes + weight > self.most_bytes {
            self.drop_one();
        }
        self.bytes += entry.weight();
        self.order.push_back(path.into());
        self.entries.insert(path.into(), entry);
    }

    fn drop_one(&mut self) {
        while let Some(name) = self.order.pop_front() {
            let is_used = self
                .entries
                .get(&name)
                .is_some_and(|entry| entry.used.take());
            if is_used {
                self.order.push_back(name);
                continue;
            }
            if let Some(entry) = self.entries.remove(&name) {
                self.bytes -= entry.weight();
            }
            return;
        }
    }
}
