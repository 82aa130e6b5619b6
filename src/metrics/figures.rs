//! Every figure by its name: names, units and labels after Prometheus' conventions. `docs/monitoring.md` has the same
//! list, with what is normal; a test compares the two.

use super::families::{Families, Family, Kind, Value};
use super::process::Process;
use super::snapshot::Snapshot;
use crate::watch::counters::Counters;
use crate::watch::ends::Ends;
use crate::watch::gauges::Gauges;
use crate::watch::observer::Step;

impl Snapshot {
    /// All figures by name. A figure without a value is omitted: [`Process`] where the system does not provide it,
    /// and callbacks that have not occurred.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        let mut families = Families::default();
        self.add_times(&mut families);
        self.add_measured(&mut families);
        add_counters(&mut families, &self.counters);
        add_gauges(&mut families, &self.gauges);
        if let Some(process) = &self.process {
            add_process(&mut families, process);
        }
        families.0
    }

    fn add_times(&self, to: &mut Families) {
        to.labelled(
            "slabloop_callback_duration_seconds",
            "How long callbacks took, by the callback.",
            Kind::Histogram,
            "callback",
            self.callbacks
                .iter()
                .map(|(callback, durations)| (callback.name(), Value::from(durations))),
        );
        to.labelled(
            "slabloop_step_seconds_total",
            "Time spent in each step of the turn; waiting is the step wait.",
            Kind::Counter,
            "step",
            Step::ALL.map(|step| (step.name(), Value::from(self.step(step)))),
        );
        for (name, help, value) in [
            (
                "slabloop_queued_seconds",
                "How long dispatchers were ready before their callback.",
                Value::from(&self.queued),
            ),
            (
                "slabloop_timer_lag_seconds",
                "How late timers fired.",
                Value::from(&self.timer_lag),
            ),
            (
                "slabloop_turn_work_seconds",
                "How long turns worked, their wait left out.",
                Value::from(&self.turn_work),
            ),
            (
                "slabloop_events_per_turn",
                "Events that the wait of a turn reported.",
                Value::from(&self.events_per_turn),
            ),
            (
                "slabloop_callbacks_per_turn",
                "Callbacks of dispatchers that a turn made; closures are not among them.",
                Value::from(&self.callbacks_per_turn),
            ),
        ] {
            to.one(name, help, Kind::Histogram, value);
        }
    }

    fn add_measured(&self, to: &mut Families) {
        let opened = &self.opened;
        to.labelled(
            "slabloop_dispatchers_added_total",
            "Dispatchers that were added, by what they are.",
            Kind::Counter,
            "kind",
            [
                ("stream", opened.streams),
                ("listener", opened.listeners),
                ("datagram", opened.datagrams),
                ("foreign", opened.foreign),
                ("service", opened.services),
            ],
        );
        let pauses = &self.accept_pauses;
        to.labelled(
            "slabloop_accept_pauses_total",
            "Times that a listener stopped accepting, by reason.",
            Kind::Counter,
            "reason",
            [
                ("limit", pauses.limit),
                ("shortage", pauses.shortage),
                ("fault", pauses.fault),
                ("over_total", pauses.over_total),
            ],
        );
        to.counters([
            (
                "slabloop_outboxes_over_high_mark_total",
                "Times that an outbox rose over its high mark.",
                self.over_high_mark,
            ),
            (
                "slabloop_readers_held_total",
                "Times that a dispatcher was not read any more because of what it feeds.",
                self.held,
            ),
        ]);
    }
}

fn add_counters(to: &mut Families, counters: &Counters) {
    to.labelled(
        "slabloop_dispatchers_closed_total",
        "Dispatchers that have ended, by cause.",
        Kind::Counter,
        "cause",
        causes(&counters.ends),
    );
    to.labelled(
        "slabloop_accept_errors_total",
        "Connections that were lost before they were accepted, and other errors of accepting.",
        Kind::Counter,
        "kind",
        [
            ("lost", counters.accept_lost),
            ("fault", counters.accept_faults),
        ],
    );
    to.counters([
        ("slabloop_turns_total", "Turns of the loop.", counters.turns),
        (
            "slabloop_events_total",
            "Events that the kernel reported.",
            counters.events,
        ),
        (
            "slabloop_stale_events_total",
            "Events, timers and list entries that named a dispatcher already gone.",
            counters.stale,
        ),
        (
            "slabloop_connections_accepted_total",
            "Connections accepted.",
            counters.accepted,
        ),
        (
            "slabloop_received_bytes_total",
            "Bytes that streams have delivered.",
            counters.bytes_in,
        ),
        (
            "slabloop_sent_bytes_total",
            "Bytes that the kernel has taken.",
            counters.bytes_out,
        ),
        (
            "slabloop_writes_total",
            "Writes made by the flush.",
            counters.writes,
        ),
        (
            "slabloop_outboxes_over_bound_total",
            "Times that all outboxes together went over their bound.",
            counters.over_total,
        ),
        (
            "slabloop_deadlines_passed_total",
            "Deadlines passed: connecting, idle, stalled, closing.",
            counters.deadlines,
        ),
        (
            "slabloop_slow_callbacks_total",
            "Callbacks over the threshold for slow ones.",
            counters.slow_callbacks,
        ),
        (
            "slabloop_panics_total",
            "Panics of callbacks.",
            counters.panics,
        ),
        (
            "slabloop_errors_total",
            "Calls of handle_error.",
            counters.errors,
        ),
        (
            "slabloop_timers_fired_total",
            "Timers fired, deadlines included.",
            counters.timers,
        ),
        (
            "slabloop_posts_total",
            "Posted closures run.",
            counters.posts,
        ),
        (
            "slabloop_posts_refused_total",
            "Posts and permits refused for want of a place.",
            counters.posts_refused,
        ),
    ]);
}

fn add_gauges(to: &mut Families, gauges: &Gauges) {
    for (name, help, value) in [
        ("slabloop_dispatchers", "Dispatchers.", gauges.dispatchers),
        (
            "slabloop_connections",
            "Streams, established or not.",
            gauges.connections,
        ),
        ("slabloop_listeners", "Listeners.", gauges.listeners),
        (
            "slabloop_services",
            "Dispatchers without a socket.",
            gauges.services,
        ),
        (
            "slabloop_connections_connecting",
            "Connections not established yet.",
            gauges.connecting,
        ),
        (
            "slabloop_connections_closing",
            "Connections that are closing.",
            gauges.closing,
        ),
        (
            "slabloop_connections_paused",
            "Connections whose reading is paused.",
            gauges.paused,
        ),
        (
            "slabloop_connections_held",
            "Connections that are not read because of what they feed.",
            gauges.held,
        ),
        (
            "slabloop_listeners_paused",
            "Listeners that do not accept for now.",
            gauges.accept_paused,
        ),
        (
            "slabloop_ready",
            "Dispatchers with work carried over to the next turn.",
            gauges.ready,
        ),
        (
            "slabloop_timers",
            "Timers that are set, deadlines included.",
            gauges.timers,
        ),
        (
            "slabloop_posts_waiting",
            "Posted closures that wait.",
            gauges.posts_waiting,
        ),
        (
            "slabloop_outbox_bytes",
            "Bytes accepted for sending that the kernel has not taken.",
            gauges.queued_bytes,
        ),
        (
            "slabloop_outbox_largest_bytes",
            "Bytes in the largest outbox.",
            gauges.largest_outbox,
        ),
        (
            "slabloop_outbox_memory_bytes",
            "Bytes of memory that all outboxes hold.",
            gauges.held_bytes,
        ),
    ] {
        to.one(name, help, Kind::Gauge, Value::Count(value as u64));
    }
}

/// Under the names that Prometheus' own clients use, so that dashboards for processes work.
fn add_process(to: &mut Families, process: &Process) {
    let cpu = Value::from(process.cpu);
    to.one(
        "process_cpu_seconds_total",
        "Processor time used, the kernel's on its behalf included.",
        Kind::Counter,
        cpu,
    );
    let mut gauge = |name, help, value| to.one(name, help, Kind::Gauge, value);
    let resident = Value::Count(process.resident_bytes);
    gauge("process_resident_memory_bytes", "Memory in use.", resident);
    let all = Value::Count(process.virtual_bytes);
    gauge("process_virtual_memory_bytes", "Address space in use.", all);
    let open = Value::Count(process.open_descriptors);
    gauge("process_open_fds", "Open descriptors.", open);
    if let Some(limit) = process.max_descriptors {
        let limit = Value::Count(limit);
        gauge("process_max_fds", "Descriptors that may be open.", limit);
    }
    let started = Value::from(process.started);
    let help = "When the process began, since the beginning of 1970.";
    gauge("process_start_time_seconds", help, started);
}

fn causes(ends: &Ends) -> [(&'static str, u64); 16] {
    [
        ("finished", ends.finished),
        ("reset", ends.reset),
        ("connect_failed", ends.connect_failed),
        ("connect_timeout", ends.connect_timeout),
        ("handshake_failed", ends.handshake_failed),
        ("handshake_timeout", ends.handshake_timeout),
        ("idle", ends.idle),
        ("request_timeout", ends.request_timeout),
        ("stalled", ends.stalled),
        ("close_timeout", ends.close_timeout),
        ("over_cap", ends.over_cap),
        ("panic", ends.panic),
        ("error", ends.error),
        ("aborted", ends.aborted),
        ("shutdown", ends.shutdown),
        ("detached", ends.detached),
    ]
}
