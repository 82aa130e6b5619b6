//! What Prometheus is told: the queue's figures, and the loop's own.

use std::fmt::Write as _;

use slabloop::Context;
use slabloop::metrics::CONTENT_TYPE;

use super::answers::Answer;
use crate::http::Status;
use crate::names::{Lane, Names};
use crate::queue::texts;
use crate::redis::Outcome;

const LANES: [Lane; 2] = [Lane::Work, Lane::Callback];

/// For each lane, in the order of the script's answer.
const GAUGES: [(&str, &str); 5] = [
    (
        "jobs_entries",
        "Jobs in the stream: they wait for a worker, or one has them",
    ),
    ("jobs_running", "Jobs that a worker has"),
    (
        "jobs_waiting_to_retry",
        "Jobs that have failed and wait for their next attempt",
    ),
    ("jobs_oldest_seconds", "Age of the oldest job in the stream"),
    (
        "jobs_delay_seconds",
        "Age of the oldest job that no worker has taken",
    ),
];

/// The fields of the hash of counts, without the lane.
const COUNTS: [(&str, &str, &str); 3] = [
    ("done", "jobs_done_total", "Jobs that were done"),
    ("failed", "jobs_failed_total", "Attempts that have failed"),
    (
        "dead",
        "jobs_dead_total",
        "Jobs that were put aside after their last attempt",
    ),
];

/// The keys of the script.
pub(crate) fn keys(names: &Names) -> Vec<String> {
    let mut keys: Vec<_> = LANES
        .iter()
        .flat_map(|lane| [names.stream(*lane), names.later(*lane)])
        .collect();
    keys.extend([names.dead(), names.counts()]);
    keys
}

/// All figures; those of the loop alone if Redis does not answer.
pub(crate) fn answer(cx: &mut Context<'_>, outcome: &Outcome) -> Answer {
    let mut text = cx.metrics().to_prometheus();
    let is_up = match outcome {
        Outcome::Done(reply) => {
            let numbers: Vec<_> = texts(reply).into_iter().flatten().collect();
            of_the_queue(&mut text, &numbers).is_some()
        }
        Outcome::NotSent(_) | Outcome::Unknown(_) => false,
    };
    // Figures that stand still look well. This one does not.
    declare(
        &mut text,
        "jobs_queue_up",
        "gauge",
        "Whether Redis has answered for the figures of the queue",
    );
    let _ = writeln!(text, "jobs_queue_up {}", u8::from(is_up));
    Answer::new(Status::OK, CONTENT_TYPE, text)
}

/// `None` if the answer is not that of the script.
fn of_the_queue(text: &mut String, answer: &[String]) -> Option<()> {
    let (gauges, rest) = answer.split_at_checked(LANES.len() * GAUGES.len())?;
    let (dead, counts) = rest.split_first()?;
    for (index, (name, help)) in GAUGES.iter().enumerate() {
        declare(text, name, "gauge", help);
        for (lane, values) in LANES.iter().zip(gauges.chunks(GAUGES.len())) {
            let mut value: f64 = values[index].parse().ok()?;
            if name.ends_with("_seconds") {
                value /= 1000.0;
            }
            let _ = writeln!(text, "{name}{{lane=\"{}\"}} {value}", lane.name());
        }
    }
    declare(
        text,
        "jobs_dead_letters",
        "gauge",
        "Jobs that were put aside and are kept",
    );
    let _ = writeln!(text, "jobs_dead_letters {dead}");
    let of = |field: &str| {
        let found = counts.chunks_exact(2).find(|pair| pair[0] == field);
        found.map_or("0", |pair| pair[1].as_str())
    };
    for (field, name, help) in COUNTS {
        declare(text, name, "counter", help);
        for lane in LANES {
            let value = of(&format!("{}_{field}", lane.name()));
            let _ = writeln!(text, "{name}{{lane=\"{}\"}} {value}", lane.name());
        }
    }
    declare(text, "jobs_added_total", "counter", "Jobs that were added");
    let _ = writeln!(text, "jobs_added_total {}", of("added"));
    declare(
        text,
        "jobs_refused_total",
        "counter",
        "Jobs that were refused because too many were queued",
    );
    let _ = writeln!(text, "jobs_refused_total {}", of("refused"));
    Some(())
}

fn declare(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}.\n# TYPE {name} {kind}");
}
