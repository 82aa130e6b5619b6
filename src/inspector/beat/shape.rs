//! A beat's fields, and how they are written.

use std::fmt::Display;

use serde::{Serialize, Serializer};

use crate::AnyId;
use crate::observe::Kind;

use super::super::gather::Gather;
use super::super::lints::{Lint, or_empty};

#[derive(Serialize)]
pub(super) struct Beat<'a> {
    pub(super) v: u32,
    pub(super) turn: u64,
    pub(super) at: Micros,
    pub(super) span: Micros,
    pub(super) turns: u64,
    pub(super) events: u64,
    pub(super) callbacks: u64,
    pub(super) stale: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    #[serde(serialize_with = "steps")]
    pub(super) steps: &'a Gather,
    pub(super) busy: Micros,
    pub(super) gauges: Gauges,
    pub(super) last_turn: LastTurn<'a>,
    #[serde(serialize_with = "slices")]
    pub(super) slices: &'a Gather,
    pub(super) slices_dropped: u64,
    pub(super) waits: Vec<(Micros, Micros)>,
    pub(super) rows: Vec<ShownRow<'a>>,
    pub(super) rows_more: usize,
    #[serde(serialize_with = "log")]
    pub(super) log: &'a Gather,
    pub(super) log_dropped: u64,
    pub(super) lints: Vec<&'a Lint>,
    /// Nothing is kept that is not counted above.
    pub(super) lost: u64,
    pub(super) threshold: Micros,
}

#[derive(Serialize)]
pub(super) struct Gauges {
    pub(super) dispatchers: usize,
    pub(super) connections: usize,
    pub(super) listeners: usize,
    pub(super) services: usize,
    pub(super) ready: usize,
    pub(super) timers: usize,
    pub(super) queued_bytes: usize,
    pub(super) posts: usize,
    pub(super) post_capacity: usize,
}

#[derive(Serialize)]
pub(super) struct LastTurn<'a> {
    pub(super) turn: u64,
    #[serde(serialize_with = "chips")]
    pub(super) batch: &'a Gather,
    pub(super) more: u64,
}

#[derive(Serialize)]
struct ShownChip {
    #[serde(serialize_with = "or_empty")]
    pub(super) id: AnyId,
    pub(super) ready: &'static str,
    pub(super) stale: bool,
    pub(super) again: bool,
}

#[derive(Serialize)]
pub(super) struct ShownRow<'a> {
    #[serde(serialize_with = "or_empty")]
    pub(super) id: AnyId,
    #[serde(rename = "type")]
    pub(super) type_name: &'a str,
    #[serde(serialize_with = "shown")]
    pub(super) address: &'a dyn Display,
    pub(super) kind: &'static str,
    pub(super) state: &'static str,
    pub(super) interest: &'static str,
    pub(super) callbacks: u64,
    pub(super) busy: Micros,
    pub(super) queued: Micros,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) d_callbacks: u32,
    pub(super) d_busy: Micros,
    pub(super) d_queued: Micros,
    pub(super) outbox: usize,
    pub(super) low: usize,
    pub(super) high: usize,
    pub(super) cap: usize,
    pub(super) age: Micros,
    #[serde(serialize_with = "or_empty")]
    pub(super) held_by: AnyId,
    pub(super) internal: bool,
}

/// Nanoseconds, written as microseconds.
#[derive(Clone, Copy)]
pub(super) struct Micros(pub(super) u64);

impl Serialize for Micros {
    #[expect(clippy::cast_precision_loss, reason = "good for 28 years")]
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let tenths = (self.0 + 50) / 100;
        if tenths % 10 == 0 {
            return to.serialize_u64(tenths / 10);
        }
        to.serialize_f64(tenths as f64 / 10.0)
    }
}

fn shown<S: Serializer>(what: &&dyn Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(what)
}

fn steps<S: Serializer>(gather: &&Gather, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(gather.span.steps().map(|(step, took)| (step, Micros(took))))
}

fn chips<S: Serializer>(gather: &&Gather, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(gather.last_batch.chips.iter().map(|chip| ShownChip {
        id: chip.id,
        ready: letters(chip.readable, chip.writable),
        stale: chip.stale,
        again: chip.again,
    }))
}

fn slices<S: Serializer>(gather: &&Gather, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(gather.slices.iter().map(|slice| {
        let times = (
            Micros(slice.began),
            Micros(slice.took),
            Micros(slice.queued),
        );
        let bytes = (slice.bytes_in, slice.bytes_out);
        let (id, callback) = (Shown(slice.id), Text(slice.callback));
        (
            id,
            callback,
            times.0,
            times.1,
            times.2,
            bytes.0,
            bytes.1,
            slice.outcome,
        )
    }))
}

fn log<S: Serializer>(gather: &&Gather, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(gather.log.iter().map(|entry| {
        let id = Shown(entry.id);
        (Micros(entry.at), entry.kind, id, entry.text.as_str())
    }))
}

struct Shown(AnyId);

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        or_empty(&self.0, to)
    }
}

struct Text<T>(T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

pub(super) fn letters(readable: bool, writable: bool) -> &'static str {
    match (readable, writable) {
        (true, true) => "rw",
        (true, false) => "r",
        (false, true) => "w",
        (false, false) => "",
    }
}

pub(super) fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Stream => "stream",
        Kind::Listener => "listener",
        Kind::Datagram => "datagram",
        Kind::Foreign => "foreign",
        _ => "service",
    }
}
