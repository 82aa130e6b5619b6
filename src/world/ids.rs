//! The ids of dispatchers, which stay valid as values after the dispatcher has ended.
//!
//! A slab hands a freed place to the next newcomer at once, which is what makes it small and fast, and
//! what makes a bare index dangerous: code that kept it would now reach another dispatcher. So an id is an
//! index *and* a generation, and the generation of a place rises each time the place is freed:
//!
//! ```text
//!   63            32 31             0
//!  +----------------+----------------+
//!  |   generation   |     index      |   AnyId, and the token given to the kernel
//!  +----------------+----------------+
//! ```
//!
//! A place whose generation has reached its last value is retired, never reissued: it costs one empty
//! slot once in four billion reuses. (On targets with 32-bit tokens there are 20 bits of index
//! and 12 of generation, and it is one in four thousand.)

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

use mio::Token;

/// Identifies a dispatcher whose type is not known, by slot index and generation.
///
/// An id is never reissued: once its dispatcher has closed, every look-up with it returns `None`,
/// even if the slot is used again. Ids are small, `Copy`, and can be stored anywhere. They are displayed as
/// `7.3`: slot 7, generation 3.
///
/// An id belongs to the reactor that issued it. In another reactor it may identify an unrelated dispatcher with the
/// same slot and generation; a typed [`Id`] never reaches a dispatcher of another type.
///
/// ```
/// # use slabloop::{Dispatcher, Reactor};
/// # use std::time::Duration;
/// use slabloop::AnyId;
///
/// # struct Room; impl Dispatcher for Room {}
/// # fn main() -> std::io::Result<()> {
/// let mut reactor = Reactor::new()?;
/// let id: AnyId = reactor.add_service(Room)?.any();
/// reactor.at(id).expect("it was just added").abort();
/// reactor.turn(Duration::ZERO)?;
///
/// let next = reactor.add_service(Room)?.any();
/// assert_eq!(next.index(), id.index()); // The same slot,
/// assert_ne!(next, id); //                  but another id:
/// assert!(reactor.at(id).is_none()); //     the old one is not valid any more.
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AnyId(u64);

const TOKEN_INDEX_BITS: u32 = if usize::BITS >= 64 { 32 } else { 20 };
pub(crate) const TOKEN_INDEX_MASK: usize = (1 << TOKEN_INDEX_BITS) - 1;
/// The last that a token can carry, and so the last that is issued: the place is retired after it.
pub(crate) const LAST_GENERATION: u32 = if usize::BITS >= 64 {
    u32::MAX
} else {
    (1 << 12) - 2
};

impl AnyId {
    /// Identifies no dispatcher, for example where an observer gets a report about a closure.
    pub const NONE: AnyId = AnyId::new(u32::MAX, u32::MAX);

    pub(crate) const fn new(index: u32, generation: u32) -> AnyId {
        AnyId(index as u64 | (generation as u64) << 32)
    }

    /// The index of the slot: a small number, which is used again. It can index a table, if
    /// [`generation`](AnyId::generation) is compared as well.
    #[must_use]
    #[inline]
    pub fn index(self) -> usize {
        (self.0 & 0xffff_ffff) as usize
    }

    /// The generation: which dispatcher of this slot it is, counted from 1.
    #[must_use]
    #[inline]
    pub fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(crate) fn token(self) -> Token {
        Token(self.index() | (self.generation() as usize) << TOKEN_INDEX_BITS)
    }

    #[inline]
    pub(crate) fn from_token(token: Token) -> AnyId {
        if usize::BITS < 64 && token.0 == usize::MAX {
            return AnyId::NONE;
        }
        let index = (token.0 & TOKEN_INDEX_MASK) as u64;
        let generation = (token.0 >> TOKEN_INDEX_BITS) as u64;
        AnyId(index | generation << 32)
    }
}

impl fmt::Display for AnyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == AnyId::NONE {
            return f.write_str("none");
        }
        write!(f, "{}.{}", self.index(), self.generation())
    }
}

impl fmt::Debug for AnyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnyId({self})")
    }
}

/// Identifies a dispatcher of type `D`.
///
/// `listen`, `connect` and `add` return it. With it, [`Context::with`](crate::Context::with) reaches
/// the dispatcher itself as `&mut D`, and [`Context::at`](crate::Context::at) its socket. It converts
/// into an [`AnyId`] where the type does not matter. Like an [`AnyId`], it is never reissued.
///
/// ```
/// # use slabloop::{AnyId, Dispatcher, Id, Reactor};
/// struct Counter { value: u32 }
/// impl Dispatcher for Counter {}
///
/// # fn main() -> std::io::Result<()> {
/// let mut reactor = Reactor::new()?;
/// let id: Id<Counter> = reactor.add_service(Counter { value: 1 })?;
/// reactor.with(id, |counter, _| counter.value += 1);
/// assert_eq!(reactor.with(id, |counter, _| counter.value), Some(2));
/// let erased: AnyId = id.into();
/// assert!(reactor.at(erased).is_some());
/// # Ok(()) }
/// ```
pub struct Id<D> {
    any: AnyId,
    // `fn() -> D`: an id owns no `D`, and is `Send`, `Sync` and `Copy` whatever `D` is.
    dispatcher: PhantomData<fn() -> D>,
}

impl<D> Id<D> {
    pub(crate) fn new(any: AnyId) -> Id<D> {
        Id {
            any,
            dispatcher: PhantomData,
        }
    }

    /// The same id without the type.
    #[must_use]
    pub fn any(self) -> AnyId {
        self.any
    }
}

impl<D> Clone for Id<D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D> Copy for Id<D> {}

impl<D> PartialEq for Id<D> {
    fn eq(&self, other: &Self) -> bool {
        self.any == other.any
    }
}

impl<D> Eq for Id<D> {}

impl<D> PartialOrd for Id<D> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<D> Ord for Id<D> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.any.cmp(&other.any)
    }
}

impl<D> Hash for Id<D> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.any.hash(state);
    }
}

impl<D> fmt::Display for Id<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.any.fmt(f)
    }
}

impl<D> fmt::Debug for Id<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Id<{}>({})",
            short_type_name(std::any::type_name::<D>()),
            self.any
        )
    }
}

impl<D> From<Id<D>> for AnyId {
    fn from(id: Id<D>) -> AnyId {
        id.any
    }
}

/// Gives the name of a type. A function is half as long as the name's reference.
pub(crate) type TypeName = fn() -> &'static str;

/// A type's name without the paths in it: `chat::Framed<chat::Member>` reads `Framed<Member>`.
pub(crate) fn short_type_name(full: &str) -> String {
    let mut short = String::with_capacity(full.len());
    let mut word_start = 0;
    let mut rest = full;
    while let Some(character) = rest.chars().next() {
        if rest.starts_with("::") {
            short.truncate(word_start);
            rest = &rest[2..];
            continue;
        }
        short.push(character);
        if !character.is_alphanumeric() && character != '_' {
            word_start = short.len();
        }
        rest = &rest[character.len_utf8()..];
    }
    short
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

    use super::*;

    #[test]
    fn token_and_id_are_the_same_name() {
        for id in [
            AnyId::new(0, 1),
            AnyId::new(7, 3),
            AnyId::new(99_999, 4_000),
        ] {
            assert_eq!(AnyId::from_token(id.token()), id);
        }
    }

    #[test]
    fn typed_ids_are_ordered_and_hashed_as_untyped_ones() {
        struct Service;
        let (one, other) = (AnyId::new(7, 3), AnyId::new(7, 4));
        let typed = Id::<Service>::new;
        assert_eq!(typed(one).partial_cmp(&typed(other)), Some(Ordering::Less));
        assert!(typed(other) > typed(one) && typed(one) == typed(one));
        let hash = BuildHasherDefault::<DefaultHasher>::default();
        assert_eq!(hash.hash_one(typed(one)), hash.hash_one(one));
        assert_ne!(hash.hash_one(typed(one)), hash.hash_one(typed(other)));
    }

    #[test]
    fn ids_read_well_in_a_log() {
        struct Nobody;
        let any = AnyId::new(7, 3);
        assert_eq!(any.to_string(), "7.3");
        assert_eq!(format!("{any:?}"), "AnyId(7.3)");
        assert_eq!(format!("{:?}", Id::<Nobody>::new(any)), "Id<Nobody>(7.3)");
        assert_eq!(short_type_name("a::b<c::d, &e::f>"), "b<d, &f>");
    }
}
