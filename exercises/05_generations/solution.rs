use slab::Slab;

/// A name that the kernel keeps for us and gives back with each event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub usize);

/// Connections by their names. A name is the index of a slot, and above it how often that slot had been
/// freed when the name was made.
pub struct Names<T> {
    slab: Slab<T>,
    /// How often each slot has been freed.
    generations: Vec<u32>,
}

impl<T> Names<T> {
    pub fn new() -> Names<T> {
        Names {
            slab: Slab::new(),
            generations: Vec::new(),
        }
    }

    /// Takes in a connection. No other connection, before or after, has the same name.
    pub fn insert(&mut self, value: T) -> Token {
        let index = self.slab.insert(value);
        if index == self.generations.len() {
            self.generations.push(0);
        }
        Token((self.generations[index] as usize) << 32 | index)
    }

    /// The connection of this name, unless it has been removed.
    pub fn get(&mut self, token: Token) -> Option<&mut T> {
        let index = self.index_of(token)?;
        self.slab.get_mut(index)
    }

    /// Removes the connection of this name, unless that has been done before.
    pub fn remove(&mut self, token: Token) -> Option<T> {
        let index = self.index_of(token)?;
        let value = self.slab.try_remove(index)?;
        // After four billion reuses of one slot an old name fits again.
        self.generations[index] = self.generations[index].wrapping_add(1);
        Some(value)
    }

    /// How many slots there are, in use or free.
    pub fn slots(&self) -> usize {
        self.slab.capacity()
    }

    /// The slot that a name is for, if the name is of the present generation.
    fn index_of(&self, token: Token) -> Option<usize> {
        let (index, generation) = (token.0 & 0xffff_ffff, token.0 >> 32);
        let now = *self.generations.get(index)?;
        (now as usize == generation).then_some(index)
    }
}
