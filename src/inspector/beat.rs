//! A beat as JSON: the figures since the beat before, and what there is now. `docs/inspector-json.md` in the
//! repository describes the format.
//!
//! Times are in microseconds since the reactor was built, with one decimal.

mod shape;

use std::io;

use crate::observe::Description;
use crate::{AnyId, Context};

use super::gather::Gather;
use super::rows::Row;
use super::watch::nanos;

use self::shape::{Beat, Gauges, LastTurn, Micros, ShownRow, kind_name, letters};

/// Dispatchers that are shown at most: those with a lint, then the busiest.
const MOST_ROWS: usize = 50;

/// Makes a beat, and begins the next. Also its turn. `None` if the observer is gone.
pub(super) fn make(cx: &mut Context<'_>) -> io::Result<Option<(u64, Vec<u8>)>> {
    refresh(cx);
    let Some(gather) = cx.observer_mut::<Gather>() else {
        return Ok(None);
    };
    let lints: Vec<_> = gather.board.ids().collect();
    let ids = gather.rows.choose(lints.into_iter(), MOST_ROWS);
    let mut json = Vec::with_capacity(64 * 1024);
    let mut turn = 0;
    if let Some(gather) = cx.observer::<Gather>() {
        let beat = beat(cx, gather, &ids);
        turn = beat.turn;
        serde_json::to_writer(&mut json, &beat)?;
    }
    if let Some(gather) = cx.observer_mut::<Gather>() {
        gather.begin_beat();
    }
    Ok(Some((turn, json)))
}

/// Brings up to date what the observer cannot see by itself, and has the lints look.
pub(super) fn refresh(cx: &mut Context<'_>) {
    let refused = cx.counters().posts_refused;
    let Some(gather) = cx.observer::<Gather>() else {
        return;
    };
    let over: Vec<_> = gather
        .over_high()
        .iter()
        .filter_map(|&id| cx.describe(id))
        .map(|known| (known.id, known.queued, known.hard_cap))
        .collect();
    if let Some(gather) = cx.observer_mut::<Gather>() {
        gather.bring_up_to_date(&over, refused);
    }
}

fn beat<'a>(cx: &'a Context<'_>, gather: &'a Gather, ids: &[AnyId]) -> Beat<'a> {
    let at = nanos(gather.at);
    let (span, last) = (&gather.span, &gather.last);
    let rows: Vec<_> = ids
        .iter()
        .filter_map(|&id| Some(row(gather, gather.rows.get(id)?, cx.describe(id)?)))
        .collect();
    Beat {
        v: 1,
        turn: last.turn,
        at: Micros(at),
        span: Micros(at.saturating_sub(span.began)),
        turns: span.turns,
        events: span.events,
        callbacks: span.callbacks,
        stale: span.stale,
        bytes_in: span.bytes_in,
        bytes_out: span.bytes_out,
        steps: gather,
        busy: Micros(span.busy),
        gauges: Gauges {
            dispatchers: last.dispatchers,
            connections: last.connections,
            listeners: last.listeners,
            services: last.services,
            ready: last.ready,
            timers: last.timers,
            queued_bytes: last.queued_bytes,
            posts: last.posts,
            post_capacity: last.post_capacity,
        },
        last_turn: LastTurn {
            turn: gather.last_batch.turn,
            batch: gather,
            more: gather.last_batch.more,
        },
        slices: gather,
        slices_dropped: gather.slices.dropped(),
        waits: gather
            .waits
            .sorted()
            .into_iter()
            .map(|(began, took)| (Micros(began), Micros(took)))
            .collect(),
        rows_more: gather.rows.there().saturating_sub(rows.len()),
        rows,
        log: gather,
        log_dropped: gather.log.dropped(),
        lints: gather.board.at(gather.at).collect(),
        lost: 0,
        threshold: Micros(gather.threshold),
    }
}

fn row<'a>(gather: &'a Gather, row: &'a Row, now: Description<'a>) -> ShownRow<'a> {
    let (total, recent) = (&row.total, row.of_beat(gather.rows.beat()));
    ShownRow {
        id: row.id,
        type_name: gather.rows.name(row),
        address: now.address,
        kind: kind_name(row.kind),
        state: now.stage.name(),
        interest: letters(now.interest.reading, now.interest.writing),
        callbacks: total.callbacks,
        busy: Micros(total.busy),
        queued: Micros(total.queued),
        bytes_in: total.bytes_in,
        bytes_out: total.bytes_out,
        d_callbacks: recent.callbacks,
        d_busy: Micros(recent.busy),
        d_queued: Micros(recent.queued),
        outbox: now.queued,
        low: now.low_mark,
        high: now.high_mark,
        cap: now.hard_cap,
        age: Micros(nanos(gather.at.saturating_sub(row.added_at))),
        held_by: now.held_by,
        internal: row.internal,
    }
}
