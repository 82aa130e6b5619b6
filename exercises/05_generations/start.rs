use slab::Slab;

/// A name that the kernel keeps for us and gives back with each event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub usize);

/// Connections by their names.
pub struct Names<T> {
    slab: Slab<T>,
}

impl<T> Names<T> {
    pub fn new() -> Names<T> {
        Names { slab: Slab::new() }
    }

    /// Takes in a connection. No other connection, before or after, has the same name.
    pub fn insert(&mut self, value: T) -> Token {
        Token(self.slab.insert(value))
    }

    /// The connection of this name, unless it has been removed.
    pub fn get(&mut self, token: Token) -> Option<&mut T> {
        self.slab.get_mut(token.0)
    }

    /// Removes the connection of this name, unless that has been done before.
    pub fn remove(&mut self, token: Token) -> Option<T> {
        self.slab.try_remove(token.0)
    }

    /// How many slots there are, in use or free.
    pub fn slots(&self) -> usize {
        self.slab.capacity()
    }
}
