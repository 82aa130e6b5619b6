//! Rate limits: token buckets, and the connections that wait at them.
//!
//! A bucket fills at its rate up to its burst. A direction of a connection that may move no more bytes waits at
//! its bucket, and the bucket's one timer shares out what has come in among all that wait, in equal parts: so
//! all connections under a common limit get the same, however often each asks, and a bucket at which none waits has
//! no timer. Between two shares nothing is counted here: the connection uses up what it was given
//! (`world/metered.rs`).

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use slab::Slab;

use crate::slot::readiness::Flag;
use crate::state::State;
use crate::time::action::Action;
use crate::time::clock::Tick;
use crate::watch::rate::Rate;
use crate::world::errors::invalid;
use crate::world::ids::AnyId;
use crate::world::io::Io;
use crate::world::metered::{Allowance, Direction, Metered};

/// Identifies a rate limit that several connections share; see [`Context::rate_group`](crate::Context::rate_group),
/// which has an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RateGroup {
    number: usize,
    serial: u64,
}

/// All buckets of a reactor.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    slab: Slab<Bucket>,
    /// Counts the buckets, so that the name of one that is gone names no other.
    made: u64,
}

#[derive(Debug)]
struct Bucket {
    serial: u64,
    rate: Rate,
    /// Bytes that may be given away, in thousand millionths: what comes in a nanosecond is a fraction.
    level: u128,
    filled: Tick,
    members: usize,
    waiting: BTreeSet<(AnyId, Direction)>,
    /// The user holds its name: it stays without members.
    named: bool,
    /// Its timer is set.
    armed: bool,
}

const UNIT: u128 = 1_000_000_000;

/// How often what has come in is shared out: rarely enough that it is worth a system call, often enough that
/// the pauses are not visible.
const PERIOD: Duration = Duration::from_millis(10);

impl Bucket {
    fn fill(&mut self, now: Tick) {
        let nanos = now.since(self.filled).as_nanos();
        self.filled = now;
        let came = nanos * u128::from(self.rate.bytes_per_second());
        let most = u128::from(self.rate.burst_bytes()) * UNIT;
        self.level = (self.level + came).min(most);
    }

    fn bytes(&self) -> usize {
        usize::try_from(self.level / UNIT).unwrap_or(usize::MAX)
    }

    fn take(&mut self, bytes: usize) {
        self.level -= bytes as u128 * UNIT;
    }

    /// How long until there is a byte for each that waits, and not before the next share is due.
    fn next_share(&self) -> Duration {
        let wanted = (self.waiting.len() as u128 * UNIT).saturating_sub(self.level);
        let nanos = wanted.div_ceil(u128::from(self.rate.bytes_per_second()));
        PERIOD.max(Duration::from_nanos(
            u64::try_from(nanos).unwrap_or(u64::MAX),
        ))
    }
}

fn add_bucket<D>(state: &mut State<D>, rate: Rate, named: bool) -> io::Result<RateGroup> {
    let rate = rate.check()?;
    let buckets = &mut state.buckets;
    buckets.made += 1;
    let serial = buckets.made;
    let number = buckets.slab.insert(Bucket {
        serial,
        rate,
        level: u128::from(rate.burst_bytes()) * UNIT,
        filled: state.now,
        members: 0,
        waiting: BTreeSet::new(),
        named,
        armed: false,
    });
    Ok(RateGroup { number, serial })
}

/// A limit that connections can share.
pub(crate) fn add_group<D>(state: &mut State<D>, rate: Rate) -> io::Result<RateGroup> {
    add_bucket(state, rate, true)
}

/// Changes the rate of a group; `NotFound` if it is gone.
pub(crate) fn set_group<D>(state: &mut State<D>, group: RateGroup, rate: Rate) -> io::Result<()> {
    let rate = rate.check()?;
    let now = state.now;
    let bucket = find(state, group)?;
    bucket.fill(now);
    bucket.rate = rate;
    Ok(())
}

/// Gives up the name of a group. It ends with its last member.
pub(crate) fn remove_group<D>(state: &mut State<D>, group: RateGroup) {
    if let Ok(bucket) = find(state, group) {
        bucket.named = false;
        drop_if_unused(state, group.number);
    }
}

fn find<D>(state: &mut State<D>, group: RateGroup) -> io::Result<&mut Bucket> {
    let bucket = state.buckets.slab.get_mut(group.number);
    bucket
        .filter(|bucket| bucket.serial == group.serial)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "this rate group was removed"))
}

/// Limits one direction of a connection on its own, or not at all.
pub(crate) fn set_rate<D>(
    state: &mut State<D>,
    id: AnyId,
    direction: Direction,
    rate: Option<Rate>,
) -> io::Result<()> {
    let bucket = match rate {
        Some(rate) => Some(add_bucket(state, rate, false)?.number),
        None => None,
    };
    let outcome = join(state, id, direction, bucket);
    if let (Err(_), Some(bucket)) = (&outcome, bucket) {
        drop_if_unused(state, bucket);
    }
    outcome
}

/// Puts one direction of a connection under a limit that it shares.
pub(crate) fn share<D>(
    state: &mut State<D>,
    id: AnyId,
    direction: Direction,
    group: RateGroup,
) -> io::Result<()> {
    find(state, group)?;
    join(state, id, direction, Some(group.number))
}

fn join<D>(
    state: &mut State<D>,
    id: AnyId,
    direction: Direction,
    bucket: Option<usize>,
) -> io::Result<()> {
    let slot = state.slots.slot_mut(id);
    let io = slot.io.below_layers();
    if matches!(io, Io::Stream(_)) {
        if bucket.is_none() {
            return Ok(());
        }
        if let Io::Stream(socket) = std::mem::replace(io, Io::closed()) {
            *io = Io::Other(Box::new(Metered::new(socket)));
        }
    }
    let name = io.name();
    let Some(metered) = io.as_other::<Metered>() else {
        return Err(invalid(format!("a rate limit is not possible on {name}")));
    };
    // What was allowed before is used up or lost: no more than a burst.
    let before = metered.allowance(direction).take();
    *metered.allowance(direction) = bucket.map(|bucket| Allowance { bucket, left: 0 });
    if let Some(bucket) = bucket {
        state.buckets.slab[bucket].members += 1;
    }
    if let Some(before) = before {
        leave(state, id, direction, before.bucket);
    }
    unwrap_if_unlimited(state, id);
    // Whoever waited for the old limit must not wait for ever.
    wake(state, id, direction);
    Ok(())
}

/// Without a limit the bare socket is back.
fn unwrap_if_unlimited<D>(state: &mut State<D>, id: AnyId) {
    let io = state.slots.slot_mut(id).io.below_layers();
    let unlimited = io.as_other::<Metered>();
    if unlimited.is_some_and(|metered| metered.is_unlimited()) {
        if let Ok(metered) = std::mem::replace(io, Io::closed()).into_other::<Metered>() {
            *io = Io::Stream(metered.into_socket());
        }
    }
}

fn metered<D>(state: &mut State<D>, id: AnyId) -> Option<&mut Metered> {
    state.slots.slot_mut(id).io.below_layers().as_other()
}

fn leave<D>(state: &mut State<D>, id: AnyId, direction: Direction, number: usize) {
    let bucket = &mut state.buckets.slab[number];
    bucket.members -= 1;
    bucket.waiting.remove(&(id, direction));
    drop_if_unused(state, number);
}

fn drop_if_unused<D>(state: &mut State<D>, number: usize) {
    let bucket = &state.buckets.slab[number];
    // One whose timer is set goes with it.
    if bucket.members == 0 && !bucket.named && !bucket.armed {
        state.buckets.slab.remove(number);
    }
}

/// A connection ends: its limits end with it.
pub(crate) fn forget<D>(state: &mut State<D>, id: AnyId) {
    for direction in [Direction::Read, Direction::Write] {
        lift(state, id, direction);
    }
}

/// Takes the limit of one direction away, if there is one.
pub(crate) fn lift<D>(state: &mut State<D>, id: AnyId, direction: Direction) {
    let metered = metered(state, id);
    if let Some(allowance) = metered.and_then(|metered| metered.allowance(direction).take()) {
        leave(state, id, direction, allowance.bucket);
        unwrap_if_unlimited(state, id);
    }
}

/// Whether it is a limit, and not the kernel, that said `WouldBlock`. Then the connection waits for its share.
pub(crate) fn waits<D>(state: &mut State<D>, id: AnyId, direction: Direction) -> bool {
    let now = state.now;
    let Some(metered) = metered(state, id) else {
        return false;
    };
    let Some(Allowance {
        bucket: number,
        left: 0,
    }) = *metered.allowance(direction)
    else {
        return false;
    };
    let bucket = &mut state.buckets.slab[number];
    bucket.waiting.insert((id, direction));
    if !bucket.armed {
        bucket.armed = true;
        bucket.fill(now);
        // What is there already is shared out in the next turn, to all that wait by then.
        let after = if bucket.bytes() >= bucket.waiting.len() {
            Duration::ZERO
        } else {
            bucket.next_share()
        };
        arm(state, number, after);
    }
    true
}

fn arm<D>(state: &mut State<D>, number: usize, after: Duration) {
    let number = u32::try_from(number).expect("four billion rate limits do not fit in memory");
    let due = state.now.after(after);
    state
        .timers
        .arm(due, None, AnyId::NONE, None, Action::Share(number));
}

/// The timer of a bucket: what has come in is shared out.
pub(crate) fn share_out<D>(state: &mut State<D>, number: u32) {
    let number = number as usize;
    let now = state.now;
    let bucket = &mut state.buckets.slab[number];
    bucket.armed = false;
    bucket.fill(now);
    let waiting = bucket.waiting.len();
    if waiting == 0 {
        return drop_if_unused(state, number);
    }
    let share = bucket.bytes() / waiting;
    if share == 0 {
        bucket.armed = true;
        let after = bucket.next_share();
        return arm(state, number, after);
    }
    bucket.take(share * waiting);
    for (id, direction) in std::mem::take(&mut bucket.waiting) {
        let metered = metered(state, id);
        if let Some(allowance) = metered.and_then(|metered| metered.allowance(direction).as_mut()) {
            allowance.left += share;
        }
        wake(state, id, direction);
    }
    // Until the next share is due there is none, however soon somebody waits again.
    state.buckets.slab[number].armed = true;
    arm(state, number, PERIOD);
}

/// The direction may go on: as if the kernel had said so.
fn wake<D>(state: &mut State<D>, id: AnyId, direction: Direction) {
    let slot = state.slots.slot_mut(id);
    match direction {
        Direction::Read => slot.readiness.set(Flag::Readable),
        Direction::Write => {
            slot.readiness.set(Flag::Writable);
            if slot.can_flush() {
                state.mark_dirty(id);
            }
        }
    }
    state.requeue(id);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::{add, state};

    /// A bucket of ten bytes a second, with `level` thousandths of a byte in it, and `waiting` that wait.
    fn bucket(level: u128, waiting: u32) -> Bucket {
        Bucket {
            serial: 1,
            rate: Rate::per_second(10),
            level: level * UNIT / 1000,
            filled: Tick::default(),
            members: 0,
            waiting: (0..waiting)
                .map(|index| (AnyId::new(index, 1), Direction::Read))
                .collect(),
            named: false,
            armed: false,
        }
    }

    #[test]
    fn a_share_comes_when_there_is_a_byte_for_each_that_waits_and_not_too_often() {
        let next = |level, waiting| bucket(level, waiting).next_share();
        assert_eq!(next(0, 3), Duration::from_millis(300));
        assert_eq!(next(1500, 3), Duration::from_millis(150));
        assert_eq!(next(2950, 3), PERIOD);
        assert_eq!(next(9000, 3), PERIOD);
    }

    #[test]
    fn what_is_taken_is_gone_and_what_is_left_stays() {
        let mut bucket = bucket(7500, 0);
        bucket.take(5);
        assert_eq!(bucket.bytes(), 2);
        assert_eq!(bucket.level, 5 * UNIT / 2);
    }

    #[test]
    fn what_is_there_is_shared_out_at_once_and_what_is_not_when_it_has_come() {
        let (mut state, rate) = (state(), Rate::per_second(10).burst(1000));
        let (id, _peer) = add(&mut state);
        set_rate(&mut state, id, Direction::Read, Some(rate)).expect("a stream");
        assert!(waits(&mut state, id, Direction::Read));
        assert_eq!(state.timers.next_due(), Some(state.now));

        let mut state = crate::state::tests::state();
        let (id, _peer) = add(&mut state);
        let group = add_group(&mut state, rate).expect("a good rate");
        find(&mut state, group).expect("it is there").level = 0;
        share(&mut state, id, Direction::Read, group).expect("a stream");
        assert!(waits(&mut state, id, Direction::Read));
        let due = state.now.after(Duration::from_millis(100));
        assert_eq!(state.timers.next_due(), Some(due));
    }

    #[test]
    fn a_limit_ends_with_its_last_member_and_its_name() {
        let mut state = state();
        let (one, _peer) = add(&mut state);
        let (other, _peer) = add(&mut state);
        let group = add_group(&mut state, Rate::per_second(10)).expect("a good rate");
        for (id, direction) in [
            (one, Direction::Read),
            (one, Direction::Write),
            (other, Direction::Read),
        ] {
            share(&mut state, id, direction, group).expect("a stream");
        }
        assert!(waits(&mut state, one, Direction::Read));
        lift(&mut state, one, Direction::Read);
        let bucket = find(&mut state, group).expect("it has members");
        assert_eq!((bucket.members, bucket.waiting.len()), (2, 0));
        let number = u32::try_from(group.number).expect("the first");
        share_out(&mut state, number);
        remove_group(&mut state, group);
        forget(&mut state, one);
        assert_eq!(state.buckets.slab.len(), 1, "one is left");
        forget(&mut state, other);
        assert!(state.buckets.slab.is_empty());
    }
}
