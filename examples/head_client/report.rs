//! What the user sees: a line each second, and at the end a histogram of latencies and the totals.

use std::io::{self, IsTerminal, Write};
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;
use slabloop::Reactor;

use super::common;
use super::director::Plan;

const SECOND: Duration = Duration::from_secs(1);

/// The longest bar.
const WIDTH: u64 = 50;

/// Shows progress each second: on a terminal one line that the next one overwrites, elsewhere a line each.
pub(crate) fn show_progress(reactor: &mut Reactor, plan: &Rc<Plan>) {
    let plan = Rc::clone(plan);
    let is_terminal = io::stdout().is_terminal();
    let mut before = 0;
    reactor.call_every(SECOND, move |_| {
        let tally = plan.tally.borrow();
        let done = tally.requests - tally.in_flight();
        let line = tally.progress(done - before);
        before = done;
        if is_terminal {
            let mut stdout = io::stdout().lock();
            // A terminal that is gone is no reason to stop.
            let _ = write!(stdout, "\r\x1b[K{line}").and_then(|()| stdout.flush());
        } else {
            common::say(&line);
        }
    });
}

/// The histogram and the totals.
pub(crate) fn finish(plan: &Plan) {
    if io::stdout().is_terminal() {
        common::say("");
    }
    let tally = plan.tally.borrow();
    let latency = tally.latency();
    if !latency.is_empty() {
        histogram(latency);
        for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
            let value = shown(latency.value_at_quantile(quantile));
            common::say(&format!("{name:>6} {value}"));
        }
        common::say(&format!("   max {}", shown(latency.max())));
    }
    common::say(&tally.to_string());
}

/// One bar for each doubling of the latency.
fn histogram(latency: &Histogram<u32>) {
    let mut rows: Vec<(u64, u64)> = Vec::new();
    for step in latency.iter_log(1, 2.0) {
        let count = step.count_since_last_iteration();
        if count > 0 || !rows.is_empty() {
            rows.push((step.value_iterated_to() + 1, count));
        }
    }
    let most = rows.iter().map(|(_, count)| *count).max().unwrap_or(0);
    for (limit, count) in rows {
        let bar = "#".repeat(usize::try_from((count * WIDTH).div_ceil(most.max(1))).unwrap_or(0));
        let limit = format!("< {}", shown(limit));
        common::say(format!("{limit:>12} {count:>10} {bar}").trim_end());
    }
}

/// Microseconds in the unit that suits them.
pub(crate) fn shown(micros: u64) -> String {
    let span = Duration::from_micros(micros);
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{:.1} ms", span.as_secs_f64() * 1e3),
        _ => format!("{:.2} s", span.as_secs_f64()),
    }
}
