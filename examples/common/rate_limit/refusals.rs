//! What Redis has refused lately. Until the time that it named it would refuse again, whoever asks, and need not be asked.

use std::collections::HashMap;
use std::time::Instant;

use slabloop::kit::limits::{Exhausted, Prefix};

/// Clients that are remembered. Of more Redis is asked.
const MOST: usize = 10_000;

#[derive(Debug, Default)]
pub(crate) struct Refusals {
    until: HashMap<Prefix, Instant>,
    /// When to look for those that are over, if there is no room.
    next_look: Option<Instant>,
}

impl Refusals {
    /// The refusal of a client, as far as it still holds.
    pub(crate) fn of(&mut self, client: Prefix, now: Instant) -> Option<Exhausted> {
        let retry_after = self.until.get(&client)?.saturating_duration_since(now);
        if retry_after.is_zero() {
            self.until.remove(&client);
            return None;
        }
        Some(Exhausted { retry_after })
    }

    pub(crate) fn remember(&mut self, client: Prefix, refusal: Exhausted, now: Instant) {
        if self.until.len() >= MOST && self.next_look.is_none_or(|next| next <= now) {
            self.until.retain(|_, until| *until > now);
            // All are looked at, so not each time.
            self.next_look = Some(now + std::time::Duration::from_millis(100));
        }
        if self.until.len() < MOST {
            self.until.insert(client, now + refusal.retry_after);
        }
    }
}
