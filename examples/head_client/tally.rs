//! What has happened so far: requests, of which each is answered or lost once, and connections.

use std::fmt;
use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;
use slabloop::{Cause, Timeout};

/// Latencies are counted up to here, in microseconds; what takes longer counts as this.
const LONGEST: u64 = 60_000_000;

/// How a request ended without an answer that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// No answer in time.
    Timeout,
    /// The server closed the connection before a byte of the answer.
    Closed,
    /// It did within the answer's head.
    Cut,
    /// The connection was reset.
    Reset,
    /// What came is not HTTP/1.
    NotHttp,
    /// The head has too many bytes or fields.
    TooLong,
    /// The answer has a status of 400 or above.
    Status,
    /// Anything else.
    Other,
}

impl Loss {
    pub(crate) const NAMES: [&'static str; 8] = [
        "timeout", "closed", "cut", "reset", "not_http", "too_long", "status", "other",
    ];
}

/// What else went wrong with a connection, while no request was on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No process listens there.
    Refused,
    /// It was not made in time, or its handshake.
    ConnectTimeout,
    /// TLS was not agreed on.
    Handshake,
    /// The system has no port left for this target.
    Ports,
    /// The process has no descriptor left.
    Descriptors,
    /// The server sent unsolicited bytes, for example a body to a HEAD.
    Surplus,
    /// Anything else that kept a connection from being made.
    Connect,
}

impl Fault {
    pub(crate) const NAMES: [&'static str; 7] = [
        "refused",
        "connect_timeout",
        "handshake",
        "ports",
        "descriptors",
        "surplus",
        "connect",
    ];

    /// Why a connection was not made.
    pub(crate) fn of(error: &io::Error) -> Fault {
        // EMFILE and ENFILE have no kind of their own.
        const NO_DESCRIPTORS: [Option<i32>; 2] = [Some(24), Some(23)];
        match error.kind() {
            _ if NO_DESCRIPTORS.contains(&error.raw_os_error()) => Fault::Descriptors,
            _ if Timeout::of(error).is_some() => Fault::ConnectTimeout,
            io::ErrorKind::AddrNotAvailable => Fault::Ports,
            kind => Fault::of_cause(Cause::ConnectFailed(kind)),
        }
    }

    /// What a user can do about it, to be put after the error.
    pub(crate) fn way_out(self) -> &'static str {
        match self {
            Fault::Ports => {
                "; all local ports are in use towards this address: widen net.ipv4.ip_local_port_range, or ask for \
                 fewer --connections"
            }
            Fault::Descriptors => {
                "; no descriptor is left: raise fs.file-max if it is the system that has none (ENFILE), or ulimit -n"
            }
            _ => "",
        }
    }

    /// Why it ended before it was there.
    pub(crate) fn of_cause(cause: Cause) -> Fault {
        match cause {
            Cause::ConnectFailed(io::ErrorKind::ConnectionRefused) => Fault::Refused,
            Cause::ConnectFailed(io::ErrorKind::AddrNotAvailable) => Fault::Ports,
            Cause::ConnectTimeout | Cause::HandshakeTimeout => Fault::ConnectTimeout,
            Cause::HandshakeFailed(_) => Fault::Handshake,
            _ => Fault::Connect,
        }
    }
}

/// The counts. A request is in flight from when it is sent until it is answered or lost.
pub(crate) struct Tally {
    /// Connections that were begun.
    pub(crate) begun: u64,
    /// Connections that were established.
    pub(crate) opened: u64,
    /// Connections that are established now.
    pub(crate) open: u64,
    /// Connections that the server ended between two requests, which it may.
    pub(crate) ended: u64,
    /// Requests that were sent.
    pub(crate) requests: u64,
    /// Answers with a status below 400.
    pub(crate) answered: u64,
    losses: [u64; Loss::NAMES.len()],
    faults: [u64; Fault::NAMES.len()],
    /// In microseconds, of those that were answered.
    latency: Histogram<u32>,
}

impl Tally {
    pub(crate) fn new() -> Tally {
        Tally {
            begun: 0,
            opened: 0,
            open: 0,
            ended: 0,
            requests: 0,
            answered: 0,
            losses: [0; Loss::NAMES.len()],
            faults: [0; Fault::NAMES.len()],
            latency: Histogram::new_with_bounds(1, LONGEST, 3).expect("bounds that are in order"),
        }
    }

    pub(crate) fn answer(&mut self, after: Duration) {
        self.answered += 1;
        let micros = u64::try_from(after.as_micros()).unwrap_or(LONGEST);
        self.latency.saturating_record(micros);
    }

    /// How many of this kind there are now.
    pub(crate) fn lose(&mut self, loss: Loss) -> u64 {
        let count = &mut self.losses[loss as usize];
        *count += 1;
        *count
    }

    /// How many of this kind there are now.
    pub(crate) fn fault(&mut self, fault: Fault) -> u64 {
        let count = &mut self.faults[fault as usize];
        *count += 1;
        *count
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.requests - self.answered - self.losses.iter().sum::<u64>()
    }

    pub(crate) fn errors(&self) -> u64 {
        self.losses.iter().chain(&self.faults).sum()
    }

    pub(crate) fn latency(&self) -> &Histogram<u32> {
        &self.latency
    }

    fn kinds(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let names = Loss::NAMES.into_iter().chain(Fault::NAMES);
        names.zip(self.losses.iter().chain(&self.faults).copied())
    }

    /// The line of each second.
    pub(crate) fn progress(&self, per_second: u64) -> String {
        let mut line = format!(
            "open={} in_flight={} answered={} errors={}",
            self.open,
            self.in_flight(),
            self.answered,
            self.errors(),
        );
        for (name, count) in self.kinds().filter(|(_, count)| *count > 0) {
            line.push_str(&format!(" {name}={count}"));
        }
        line.push_str(&format!(" per_second={per_second}"));
        line
    }
}

/// The last line: all counts, also those that are 0, and latencies in microseconds.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "totals: begun={} opened={} ended={} requests={} answered={} unfinished={} errors={}",
            self.begun,
            self.opened,
            self.ended,
            self.requests,
            self.answered,
            self.in_flight(),
            self.errors(),
        )?;
        for (name, count) in self.kinds() {
            write!(f, " {name}={count}")?;
        }
        let at = |quantile| self.latency.value_at_quantile(quantile);
        let (p50, p99, p999) = (at(0.5), at(0.99), at(0.999));
        let most = self.latency.max();
        write!(f, " p50_us={p50} p99_us={p99} p999_us={p999} max_us={most}")
    }
}
