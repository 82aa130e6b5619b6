//! A beat as JSON: the figures since the beat before, and what there is now. `docs/inspector-json.md` in the
//! repository describes the format.
//!
//! Times are in microseconds since the reactor was built, with one decimal.

use std::io;
use std::net::SocketAddr;

use crate::observe::{Description, Kind, Step, TurnTimes};
use crate::{AnyId, Context};

use super::gather::Gather;
use super::json::{Json, key};
use super::rows::Row;
use super::span::StepTimes;
use super::watch::nanos;

/// Dispatchers that are shown at most: those with a lint, then the busiest.
const MOST_ROWS: usize = 50;

/// Writes a beat into an empty `json`, and begins the next. Also its turn. `None` if the observer is gone.
pub(super) fn make(cx: &mut Context<'_>, json: &mut Json) -> io::Result<Option<u64>> {
    refresh(cx);
    let TurnTimes {
        began,
        waited,
        steps,
        ..
    } = cx.turn_times();
    let Some(gather) = cx.observer_mut::<Gather>() else {
        return Ok(None);
    };
    gather.take_wait(began, waited);
    let lints: Vec<_> = gather.board.ids().collect();
    let ids = gather.rows.choose(lints.into_iter(), MOST_ROWS);
    let peers = ids
        .iter()
        .map(|&id| (id, cx.at(id).and_then(|at| at.peer())));
    let shown: Vec<_> = peers.collect();
    let mut turn = 0;
    if let Some(gather) = cx.observer::<Gather>() {
        turn = gather.last.turn;
        let mut written = Ok(());
        json.object(|json| written = write(json, cx, gather, &shown, gather.steps(steps)));
        written?;
    }
    if let Some(gather) = cx.observer_mut::<Gather>() {
        gather.begin_beat(steps);
    }
    Ok(Some(turn))
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

fn write(
    json: &mut Json,
    cx: &Context<'_>,
    gather: &Gather,
    shown: &[(AnyId, Option<SocketAddr>)],
    steps: StepTimes,
) -> io::Result<()> {
    write_figures(json, gather, steps);
    key!(json, "last_turn").object(|json| write_batch(json, gather));
    key!(json, "slices").list(|json| write_slices(json, gather));
    key!(json, "slices_dropped").number(gather.slices.dropped());
    key!(json, "waits").list(|json| {
        for (began, took) in gather.waits.sorted() {
            json.list(|json| {
                json.micros(began);
                json.micros(took);
            });
        }
    });
    let mut rows = 0;
    key!(json, "rows").list(|json| {
        for &(id, peer) in shown {
            let (Some(row), Some(now)) = (gather.rows.get(id), cx.describe(id)) else {
                continue;
            };
            json.object(|json| write_row(json, gather, row, now, peer));
            rows += 1;
        }
    });
    let more = gather.rows.there().saturating_sub(rows);
    key!(json, "rows_more").size(more);
    key!(json, "log").list(|json| write_log(json, gather));
    key!(json, "log_dropped").number(gather.log.dropped());
    let lints: Vec<_> = gather.board.at(gather.at).collect();
    key!(json, "lints").value(&lints)?;
    key!(json, "threshold").micros(gather.threshold);
    Ok(())
}

fn write_figures(json: &mut Json, gather: &Gather, steps: StepTimes) {
    let at = nanos(gather.at);
    let (span, last) = (&gather.span, &gather.last);
    key!(json, "v").number(1);
    key!(json, "turn").number(last.turn);
    key!(json, "at").micros(at);
    key!(json, "span").micros(at.saturating_sub(span.began));
    key!(json, "turns").number(span.turns);
    key!(json, "events").number(span.events);
    key!(json, "callbacks").number(span.callbacks);
    key!(json, "stale").number(span.stale);
    key!(json, "bytes_in").number(span.bytes_in);
    key!(json, "bytes_out").number(span.bytes_out);
    key!(json, "steps").object(|json| {
        for (step, took) in Step::ALL.iter().zip(steps) {
            json.name(step.name()).micros(took);
        }
    });
    key!(json, "busy").micros(span.busy);
    key!(json, "gauges").object(|json| {
        key!(json, "dispatchers").size(last.dispatchers);
        key!(json, "connections").size(last.connections);
        key!(json, "listeners").size(last.listeners);
        key!(json, "services").size(last.services);
        key!(json, "ready").size(last.ready);
        key!(json, "timers").size(last.timers);
        key!(json, "queued_bytes").size(last.queued_bytes);
        key!(json, "posts").size(last.posts);
        key!(json, "post_capacity").size(last.post_capacity);
    });
}

fn write_batch(json: &mut Json, gather: &Gather) {
    let batch = &gather.last_batch;
    key!(json, "turn").number(batch.turn);
    key!(json, "batch").list(|json| {
        for chip in &batch.chips {
            json.object(|json| {
                key!(json, "id").id(chip.id);
                key!(json, "ready").plain(letters(chip.readable, chip.writable));
                key!(json, "stale").bool(chip.stale);
                key!(json, "again").bool(chip.again);
            });
        }
    });
    key!(json, "more").number(batch.more);
}

fn write_slices(json: &mut Json, gather: &Gather) {
    for slice in gather.slices.iter() {
        json.list(|json| {
            json.id(slice.id);
            json.plain(slice.callback.words());
            json.micros(slice.began);
            json.micros(slice.took);
            json.micros(slice.queued);
            json.number(slice.bytes_in);
            json.number(slice.bytes_out);
            json.plain(slice.outcome);
        });
    }
}

fn write_log(json: &mut Json, gather: &Gather) {
    for entry in gather.log.iter() {
        json.list(|json| {
            json.micros(entry.at);
            json.plain(entry.kind);
            json.id(entry.id);
            json.text(&entry.text);
        });
    }
}

fn write_row(
    json: &mut Json,
    gather: &Gather,
    row: &Row,
    now: Description<'_>,
    peer: Option<SocketAddr>,
) {
    let (total, recent) = (&row.total, gather.rows.of_beat(row));
    key!(json, "id").id(row.id);
    key!(json, "type").text(gather.rows.name(row));
    match peer {
        Some(peer) => key!(json, "address").address(peer),
        None => key!(json, "address").shown(now.address),
    }
    key!(json, "kind").plain(kind_name(row.kind));
    key!(json, "state").plain(now.stage.name());
    let interest = letters(now.interest.reading, now.interest.writing);
    key!(json, "interest").plain(interest);
    key!(json, "callbacks").number(total.callbacks);
    key!(json, "busy").micros(total.busy);
    key!(json, "queued").micros(total.queued);
    key!(json, "bytes_in").number(total.bytes_in);
    key!(json, "bytes_out").number(total.bytes_out);
    key!(json, "d_callbacks").number(u64::from(recent.callbacks));
    key!(json, "d_busy").micros(recent.busy);
    key!(json, "d_queued").micros(recent.queued);
    key!(json, "outbox").size(now.queued);
    key!(json, "low").size(now.low_mark);
    key!(json, "high").size(now.high_mark);
    key!(json, "cap").size(now.hard_cap);
    key!(json, "age").micros(nanos(gather.at.saturating_sub(row.added_at)));
    key!(json, "held_by").id(now.held_by);
    key!(json, "internal").bool(row.internal);
}

fn letters(readable: bool, writable: bool) -> &'static str {
    match (readable, writable) {
        (true, true) => "rw",
        (true, false) => "r",
        (false, true) => "w",
        (false, false) => "",
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Stream => "stream",
        Kind::Listener => "listener",
        Kind::Datagram => "datagram",
        Kind::Foreign => "foreign",
        _ => "service",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_name_of_its_own() {
        for (kind, name) in [
            (Kind::Stream, "stream"),
            (Kind::Listener, "listener"),
            (Kind::Datagram, "datagram"),
            (Kind::Foreign, "foreign"),
            (Kind::Service, "service"),
        ] {
            assert_eq!(kind_name(kind), name);
        }
    }
}
