//! The wait: what it checks before, what it reports, and how time passes in it.

use std::io;
use std::time::Duration;

use mio::Token;
use slabloop::testing::Bits;

use super::{EINTR, ENOMEM, Kernel, nanos_of, os, poll};
use crate::sim::faults::Fault;

impl Kernel {
    pub(crate) fn wait(
        &mut self,
        timeout: Option<Duration>,
        events: &mut Vec<(Token, u32)>,
    ) -> io::Result<()> {
        let outcome = self.try_wait(timeout, events);
        self.turn_began = self.clock.now();
        outcome
    }

    pub(super) fn try_wait(
        &mut self,
        timeout: Option<Duration>,
        events: &mut Vec<(Token, u32)>,
    ) -> io::Result<()> {
        self.turns += 1;
        let nanos = timeout.map_or(u64::MAX, nanos_of);
        self.trace.step("wait", nanos, self.turns);
        self.turn_is_over();
        if let Some(check) = self.before_sleep.clone() {
            if let Err(rule) = check(self, timeout) {
                self.breaks(|| rule);
            }
        }
        self.attempts_go_on();
        self.slept = timeout != Some(Duration::ZERO);
        if self.fault(Fault::WaitInterrupted) {
            return Err(os(EINTR));
        }
        if self.fault(Fault::WaitFailed) {
            self.wait_failed = true;
            return Err(os(ENOMEM));
        }
        let mut posted = false;
        if self.in_wait.is_some() && self.fault(Fault::PostInWait) {
            if let Some(post) = &mut self.in_wait {
                post();
            }
            posted = true;
        }
        self.collect(events);
        self.rng.shuffle(events);
        self.reported = events.len();
        for (token, bits) in events.iter() {
            self.trace.step("event", token.0 as u64, u64::from(*bits));
        }
        self.time_passes(timeout, !events.is_empty() || posted);
        Ok(())
    }

    pub(super) fn time_passes(&mut self, timeout: Option<Duration>, woken: bool) {
        if self.frozen {
            return;
        }
        if self.fault(Fault::ClockJump) {
            self.clock
                .advance(Duration::from_millis(self.rng.u64(..100_000)));
        }
        let Some(timeout) = timeout else { return };
        // As the poller rounds it.
        let whole = Duration::from_millis(nanos_of(timeout).div_ceil(1_000_000));
        if !woken {
            self.clock.advance(whole);
        } else if !whole.is_zero() {
            let part = self.rng.u64(..=nanos_of(whole) / 2);
            self.clock.advance(Duration::from_nanos(part));
        } else {
            self.clock
                .advance(Duration::from_micros(self.rng.u64(..20)));
        }
    }

    pub(super) fn collect(&mut self, events: &mut Vec<(Token, u32)>) {
        let most = if self.fault(Fault::FullBatch) {
            1
        } else {
            usize::MAX
        };
        for end in 0..self.ends.len() {
            let e = &self.ends[end];
            let (Some(token), true) = (e.token, e.edge) else {
                continue;
            };
            if events.len() >= most || self.fault(Fault::LateEvent) {
                // What is late is not forgotten: the next wait reports it, or one after that.
                continue;
            }
            self.ends[end].edge = false;
            let wanted = self.ends[end].interest | poll::ERR | poll::HUP;
            let mut told = self.mask(end) & wanted;
            if told == 0 {
                continue;
            }
            if told & (poll::ERR | poll::HUP) != 0 && self.fault(Fault::BareEvent) {
                told &= poll::ERR | poll::HUP;
            }
            self.tell(end, token, told, events);
        }
        if self.fault(Fault::SpuriousEvent) {
            let registered = (0..self.ends.len()).filter(|end| self.ends[*end].token.is_some());
            let registered: Vec<usize> = registered.collect();
            if !registered.is_empty() {
                let end = registered[self.rng.usize(..registered.len())];
                let told = [poll::IN, poll::OUT, poll::IN | poll::OUT][self.rng.usize(..3)];
                let token = self.ends[end].token.expect("it is registered");
                self.tell(end, token, told, events);
                merge_same(events);
            }
        }
        if !self.ghosts.is_empty() && self.fault(Fault::StaleEvent) {
            let ghost = self.ghosts[self.rng.usize(..self.ghosts.len())];
            self.stale += 1;
            let bits = Bits::READABLE | Bits::WRITABLE;
            events.push((ghost, bits));
        }
    }

    /// In the bits of mio's events.
    pub(super) fn tell(
        &mut self,
        end: usize,
        token: Token,
        told: u32,
        events: &mut Vec<(Token, u32)>,
    ) {
        let has = |bit| told & bit != 0;
        let mut bits = 0;
        for (is, bit) in [
            (has(poll::IN), Bits::READABLE),
            (has(poll::OUT), Bits::WRITABLE),
            (has(poll::ERR), Bits::ERROR),
            (
                has(poll::HUP) || has(poll::IN) && has(poll::RDHUP),
                Bits::READ_CLOSED,
            ),
            (
                has(poll::HUP) || has(poll::ERR) && (has(poll::OUT) || told == poll::ERR),
                Bits::HUNG_UP,
            ),
        ] {
            if is {
                bits |= bit;
            }
        }
        let turn = self.turns;
        let e = &mut self.ends[end];
        let knew_room = e.knows_room;
        let unusual = bits & (Bits::ERROR | Bits::HUNG_UP) != 0;
        e.knows_input |= has(poll::IN) || unusual;
        e.knows_room |= has(poll::OUT) || unusual;
        if e.knows_room && !knew_room {
            e.room_since = turn;
        }
        e.knows_error |= has(poll::ERR);
        e.knows_end |= unusual || bits & Bits::READ_CLOSED != 0;
        events.push((token, bits));
    }
}

/// Of one registration a wait reports one event.
fn merge_same(events: &mut Vec<(Token, u32)>) {
    let Some((token, bits)) = events.pop() else {
        return;
    };
    match events.iter_mut().find(|(other, _)| *other == token) {
        Some((_, merged)) => *merged |= bits,
        None => events.push((token, bits)),
    }
}
