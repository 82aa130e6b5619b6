//! A thread in the viewer for the life of each dispatcher.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use super::record::Track;
use crate::world::ids::AnyId;

/// An arrow that has begun and not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) kind: &'static str,
    pub(super) number: u64,
}

/// One dispatcher.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) track: Track,
    /// Its type and id, as its callbacks are named: `Echo 7.3`.
    pub(super) label: String,
    /// With the address as well, as the thread is named.
    pub(super) title: String,
    /// Since when it is there, as far as the trace knows.
    began: Duration,
    /// Its life has been written.
    is_over: bool,
    /// The record with the name has been written.
    pub(super) is_named: bool,
    /// From where it was added to its first callback.
    pub(super) first: Option<Flow>,
    /// From a write that was cut short to the next.
    pub(super) blocked: Option<Flow>,
    /// From held to released.
    pub(super) held: Option<Flow>,
    /// How late its timer is whose callback comes next.
    pub(super) late: Option<Duration>,
}

/// All dispatchers that there are.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: HashMap<AnyId, Lane>,
    /// How many there have been. A slot's next tenant has a lane of its own.
    count: u64,
    /// Those that have ended, and in which turn: they stay until `handle_close` is over.
    ended: Vec<(u64, AnyId)>,
}

impl Lanes {
    pub(super) fn add(
        &mut self,
        at: Duration,
        id: AnyId,
        type_name: &str,
        address: impl fmt::Display,
    ) {
        let label = format!("{type_name} {id}");
        let title = format!("{label} {address}");
        self.insert(at, id, label, title.trim_end().to_owned());
    }

    pub(super) fn get(&mut self, id: AnyId) -> Option<&mut Lane> {
        self.lanes.get_mut(&id)
    }

    /// The lane of a dispatcher that runs. One that was there before the trace is known by its id.
    pub(super) fn of(&mut self, at: Duration, id: AnyId) -> Option<&mut Lane> {
        if id == AnyId::NONE {
            return None;
        }
        if !self.lanes.contains_key(&id) {
            self.insert(at, id, id.to_string(), id.to_string());
        }
        self.lanes.get_mut(&id)
    }

    /// Its life is over: when it began, once.
    pub(super) fn take_life(&mut self, id: AnyId) -> Option<Duration> {
        let lane = self.lanes.get_mut(&id)?;
        let was_over = std::mem::replace(&mut lane.is_over, true);
        Some(lane.began).filter(|_| !was_over)
    }

    /// All of them, those that have been there longest first.
    pub(super) fn ids(&self) -> Vec<AnyId> {
        let mut ids: Vec<_> = self.lanes.keys().copied().collect();
        ids.sort_unstable_by_key(|id| self.lanes[id].track.thread);
        ids
    }

    pub(super) fn end(&mut self, id: AnyId, turn: u64) {
        self.ended.push((turn, id));
    }

    /// Forgets those that ended before this turn.
    pub(super) fn forget_ended(&mut self, turn: u64) {
        let lanes = &mut self.lanes;
        self.ended.retain(|(ended, id)| {
            let stays = *ended >= turn;
            if !stays {
                lanes.remove(id);
            }
            stays
        });
    }

    fn insert(&mut self, began: Duration, id: AnyId, label: String, title: String) {
        self.count += 1;
        let track = Track {
            process: 2,
            thread: self.count,
        };
        let lane = Lane {
            track,
            label,
            title,
            began,
            is_over: false,
            is_named: false,
            first: None,
            blocked: None,
            held: None,
            late: None,
        };
        self.lanes.insert(id, lane);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_forgotten_after_the_turn_of_their_end() {
        let mut lanes = Lanes::default();
        for turn in 1..=1_000 {
            let id = AnyId::new(3, turn);
            lanes.add(Duration::ZERO, id, "Echo", "");
            lanes.end(id, turn.into());
            lanes.forget_ended(turn.into());
            assert!(
                lanes.get(id).is_some(),
                "its handle_close may come in the next turn"
            );
            assert!(lanes.lanes.len() <= 2 && lanes.ended.len() <= 1);
        }
    }

    #[test]
    fn the_next_tenant_of_a_slot_has_a_thread_of_its_own() {
        let mut lanes = Lanes::default();
        let [first, second] = [1, 2].map(|generation| AnyId::new(0, generation));
        lanes.add(Duration::ZERO, first, "Echo", "127.0.0.1:7");
        lanes.add(Duration::ZERO, second, "Echo", "");
        let threads = [first, second].map(|id| lanes.get(id).expect("added").track.thread);
        assert_ne!(threads[0], threads[1]);
        assert_eq!(
            lanes.get(first).expect("added").title,
            "Echo 0.1 127.0.0.1:7"
        );
        assert_eq!(lanes.get(second).expect("added").title, "Echo 0.2");
        assert!(
            lanes.of(Duration::ZERO, AnyId::NONE).is_none(),
            "closures have no lane"
        );
    }
}
