//! A table with small keys that are used again: where the raw peers keep their connections.
//!
//! The key is what goes to the kernel with a registration, so an event leads to its connection by
//! one index. There is no generation: an event of the same batch can reach the successor in a freed
//! place. Here that costs one read that says "not now", and a floor that checked would not be the
//! floor. (A library must check, because its callers' objects may not take it so lightly.)

/// Values under keys.
#[derive(Debug)]
pub struct Table<T> {
    entries: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table {
            entries: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Table<T> {
    /// Stores a value and returns its key.
    pub fn insert(&mut self, value: T) -> usize {
        if let Some(key) = self.free.pop() {
            self.entries[key] = Some(value);
            return key;
        }
        self.entries.push(Some(value));
        self.entries.len() - 1
    }

    /// The value under a key, if there is one.
    pub fn get_mut(&mut self, key: usize) -> Option<&mut T> {
        self.entries.get_mut(key)?.as_mut()
    }

    /// Takes a value out and frees its key.
    pub fn remove(&mut self, key: usize) -> Option<T> {
        let value = self.entries.get_mut(key)?.take()?;
        self.free.push(key);
        Some(value)
    }
}
