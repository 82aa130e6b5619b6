//! Properties of single parts of the crate: the search for bytes, the decoder of records, the timer
//! queue, each beside a model that is too simple to be wrong.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use proptest::prelude::*;
use slabloop::TimerId;
use slabloop::framing::Terminator;
use slabloop::testing::{TimerQueue, decode, find_byte};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Neighbours that differ in one bit, or by one, are what the sums over a whole block could
    /// mistake for the byte itself.
    #[test]
    fn a_byte_is_found_where_it_first_is(
        wanted in any::<u8>(),
        changes in prop::collection::vec(prop::sample::select(vec![0, 1, 0x80, 0xff]), 0..80),
        start in 0..80usize,
    ) {
        let mut input: Vec<u8> = changes.iter().map(|change| wanted ^ change).collect();
        for byte in input.iter_mut().take(start) {
            *byte = if *byte == wanted { wanted.wrapping_add(1) } else { *byte };
        }
        let plainly = input.iter().position(|&byte| byte == wanted);
        prop_assert_eq!(find_byte(wanted, &input), plainly.unwrap_or(input.len()));
    }
}

/// The simple way, over the whole: split at each first occurrence.
fn split_simply<'s>(terminator: &[u8], mut rest: &'s [u8]) -> (Vec<Vec<u8>>, &'s [u8]) {
    let mut records = Vec::new();
    while let Some(at) = rest.windows(terminator.len()).position(|w| w == terminator) {
        records.push(rest[..at].to_vec());
        rest = &rest[at + terminator.len()..];
    }
    (records, rest)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Two letters make terminators that overlap with themselves and streams that are full of their
    /// beginnings; the dots between are passed over in blocks.
    #[test]
    fn any_terminator_is_found_where_a_plain_search_finds_it(
        terminator in prop::collection::vec(prop::sample::select(b"ab".to_vec()), 1..8),
        parts in prop::collection::vec(("[ab]{0,20}", 0..50usize), 0..12),
        dots in any::<bool>(),
        cuts in prop::collection::vec(1..60usize, 1..8),
    ) {
        let mut stream = Vec::new();
        for (letters, count) in parts {
            stream.extend(letters.bytes());
            stream.extend(vec![b'.'; if dots { count } else { 0 }]);
        }
        let (mut pieces, mut left) = (Vec::new(), &stream[..]);
        for cut in cuts.into_iter().cycle() {
            let (piece, behind) = left.split_at(cut.min(left.len()));
            pieces.push(piece);
            left = behind;
            if left.is_empty() {
                break;
            }
        }
        let (expected, rest) = split_simply(&terminator, &stream);
        let (records, unfinished) =
            decode(Terminator::Bytes(terminator.clone()), &pieces, 1000).unwrap();
        prop_assert_eq!(records, expected);
        // The beginning of a terminator is still held back.
        let held = rest.strip_prefix(&unfinished[..]);
        prop_assert!(held.is_some_and(|held| terminator.starts_with(held)), "{rest:?}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Arm {
        after: u64,
        period: Option<u64>,
    },
    Cancel {
        first: usize,
        count: usize,
    },
    /// Time passes; then, in the turn, some are set, and one is cancelled when one has fired.
    Turn {
        passes: u64,
        newcomers: Vec<u64>,
        cancelled: Option<usize>,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Times are small, so that many timers have the same.
    let step = prop_oneof![
        60 => (0..400u64, prop::option::weighted(0.2, 0..20u64))
            .prop_map(|(after, period)| Step::Arm { after, period }),
        // Mostly one; now and then so many that the dead outnumber the living.
        20 => any::<usize>().prop_map(|first| Step::Cancel { first, count: 1 }),
        1 => (any::<usize>(), 0..400usize)
            .prop_map(|(first, count)| Step::Cancel { first, count }),
        8 => (0..20u64, prop::collection::vec(0..3u64, 0..4), any::<Option<usize>>())
            .prop_map(|(passes, newcomers, cancelled)| Step::Turn {
                passes,
                newcomers,
                cancelled
            }),
    ];
    prop::collection::vec(step, 0..1_500)
}

/// The queue and what it should be: all that are set, in the order in which they are due.
#[derive(Default)]
struct Compared {
    timers: TimerQueue,
    model: BTreeMap<(u64, u64), (TimerId, Option<u64>)>,
    now: u64,
}

impl Compared {
    fn arm(&mut self, after: u64, period: Option<u64>) {
        let due = self.now + after;
        let (timer, place) = self.timers.arm(due, period);
        self.model.insert((due, place), (timer, period));
    }

    fn cancel(&mut self, nth: usize) {
        let nth = nth % self.model.len().max(1);
        let Some((&key, &(timer, _))) = self.model.iter().nth(nth) else {
            return;
        };
        self.model.remove(&key);
        assert!(self.timers.cancel(timer), "it was still set");
        assert!(!self.timers.cancel(timer), "once is enough");
    }

    fn turn(&mut self, passes: u64, newcomers: &[u64], mut cancelled: Option<usize>) {
        self.now += passes;
        let now = self.now;
        self.timers.begin_turn();
        let due = self.model.range(..=(now, u64::MAX));
        let mut expected: VecDeque<_> = due.map(|(&key, _)| key).collect();
        for &after in newcomers {
            self.arm(after, None);
        }
        let mut timers = std::mem::take(&mut self.timers);
        timers.fire(now, |timers, fired| {
            let key = expected.pop_front().expect("no more than are due");
            let (timer, period) = self.model.remove(&key).expect("it is set");
            assert_eq!(fired, timer);
            if let Some(period) = period {
                self.model.insert(
                    (next_on_grid(key.0, period, now), key.1),
                    (timer, Some(period)),
                );
            }
            if let Some(nth) = cancelled.take() {
                std::mem::swap(timers, &mut self.timers);
                self.cancel(nth);
                std::mem::swap(timers, &mut self.timers);
                expected.retain(|key| self.model.contains_key(key));
            }
        });
        self.timers = timers;
        assert!(expected.is_empty(), "all that are due have fired");
    }

    fn check(&mut self) {
        assert_eq!(self.timers.len(), self.model.len());
        let first = self.model.keys().next();
        let first = first.map(|&(due, _)| Duration::from_nanos(due));
        assert_eq!(self.timers.next_due(), first);
        self.timers.check();
    }
}

/// The first point of the grid `due`, `due + period`, … that lies after `now`.
fn next_on_grid(due: u64, period: u64, now: u64) -> u64 {
    if period == 0 {
        return now;
    }
    due + (now - due) / period * period + period
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_set_and_cancelled_the_queue_fires_what_a_sorted_map_would(steps in steps()) {
        let mut compared = Compared::default();
        for step in steps {
            match step {
                Step::Arm { after, period } => compared.arm(after, period),
                Step::Cancel { first, count } => {
                    for _ in 0..count {
                        compared.cancel(first);
                    }
                }
                Step::Turn { passes, newcomers, cancelled } => {
                    compared.turn(passes, &newcomers, cancelled);
                }
            }
            compared.check();
        }
    }
}
