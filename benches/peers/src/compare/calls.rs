//! System calls per echoed message, by strace: two lengths, and the difference divided.
//!
//! As with instructions the difference takes out accepting and closing. A server under strace is
//! slow, so more of its clients are ready at each wait than in real life; reads and writes per
//! message do not change by that, the share of the wait is lower than it would be.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{env, fs, process as own, thread};

use super::echo;
use super::options::{Experiment, Options};
use super::peers::{self, Job, Peer};
use super::plot::Plot;
use super::process;
use super::report::Section;
use super::rounds::in_turn;
use super::table::{Table, cell};
use crate::cli::{Doing, Error, Result};

const CONNECTIONS: &str = "1000";
const IN_FLIGHT: &str = "500";
/// How long a server may take to close all connections, and strace to write its table afterwards.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Calls by name.
type Calls = BTreeMap<String, f64>;

/// Counts for every peer.
#[must_use]
pub fn measure(options: &Options, all: &[Peer]) -> Section {
    let short = options.scale.calls_messages;
    let long = short * 3;
    let mut peers = peers::with_job(all, Job::Echo);
    let mut notes = Vec::new();
    if !process::has("strace") {
        notes.push("strace is not installed, so nothing was counted".to_owned());
        peers.clear();
    }
    let runs = in_turn("system calls", 1, &peers, &mut notes, |peer| {
        let few = count(peer, short)?;
        let many = count(peer, long)?;
        Ok(per_message(&few, &many, (long - short) as f64))
    });

    let headers = ["server", "all calls per message", "of which"].map(str::to_owned);
    let mut table = Table::new(headers.to_vec());
    let mut rows = Vec::new();
    for one in &runs {
        let Some(calls) = one.samples.first() else {
            continue;
        };
        let sum: f64 = calls.values().sum();
        let mut by_count: Vec<_> = calls.iter().filter(|(_, count)| **count >= 0.005).collect();
        by_count.sort_by(|a, b| b.1.total_cmp(a.1));
        let parts: Vec<_> = by_count
            .iter()
            .map(|(name, count)| format!("{name} {count:.2}"))
            .collect();
        table.row(one.name, vec![cell(Some(sum), 2), parts.join(", ")]);
        rows.push((one.name.to_owned(), vec![Some(sum)]));
    }
    Section {
        experiment: Experiment::Calls,
        title: "Echo: system calls per message",
        intro: format!(
            "{CONNECTIONS} connections, {IN_FLIGHT} messages of 64 bytes in flight; the calls \
             of a run of {long} messages less those of a run of {short}, divided. The least is one \
             read, one write and a share of one wait."
        ),
        commands: vec![
            "strace -D -c -f -U name,calls -o FILE SERVER_echo --listen 127.0.0.1:0".to_owned(),
            format!(
                "load --connect ADDR --connections {CONNECTIONS} --in-flight {IN_FLIGHT} \
                 --messages {short}   # and {long}"
            ),
        ],
        table,
        plots: vec![Plot {
            name: "calls".to_owned(),
            title: "Echo: system calls per message (less is better)".to_owned(),
            series: vec!["all calls".to_owned()],
            decimals: 2,
            rows,
        }],
        notes,
    }
}

/// All calls of one server's life.
fn count(peer: &Peer, messages: u64) -> Result<Calls> {
    let file = env::temp_dir().join(format!("slabloop-peers-strace-{}", own::id()));
    let _ = fs::remove_file(&file);
    let path = file.to_string_lossy().into_owned();
    // -D: strace is the server's child, not the other way round, so the process that we started and
    // end is the server itself.
    let before = ["strace", "-D", "-c", "-f", "-U", "name,calls", "-o", &path];
    let messages = messages.to_string();
    let arguments = [
        "--connections",
        CONNECTIONS,
        "--in-flight",
        IN_FLIGHT,
        "--messages",
        &messages,
    ];
    let server = echo::start(peer, &before)?;
    process::load(&server, &arguments)?;
    // The client's connections have ended; a server that was stopped before it had closed them all
    // would have made fewer calls in one run than in the other.
    server.process().wait_until_idle(END_LIMIT)?;
    drop(server);
    let text = summary(&file);
    let _ = fs::remove_file(&file);
    Ok(parse(&text?))
}

/// strace's table, which appears when the server has ended.
fn summary(file: &Path) -> Result<String> {
    let start = Instant::now();
    loop {
        let text = fs::read_to_string(file).doing("reading strace's table")?;
        if text
            .lines()
            .last()
            .is_some_and(|line| line.contains("total"))
        {
            return Ok(text);
        }
        if start.elapsed() > END_LIMIT {
            return Err(Error::Failed("strace wrote no table".to_owned()));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Lines of a name and a number; headers, rules and the total are passed over.
fn parse(text: &str) -> Calls {
    let pairs = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let (name, count) = (words.next()?, words.next()?);
        (name != "total").then_some((name.to_owned(), count.parse().ok()?))
    });
    pairs.collect()
}

fn per_message(few: &Calls, many: &Calls, messages: f64) -> Calls {
    let each = many.iter().map(|(name, count)| {
        let before = few.get(name).copied().unwrap_or(0.0);
        // A rare call of the set-up may be one fewer the second time.
        (name.clone(), ((count - before) / messages).max(0.0))
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    //! strace's table, and the difference of two.

    use super::*;

    #[test]
    fn the_table_is_read_by_name_and_its_total_left_out() {
        let text =
            "syscall   calls\n------ ----\nread       30\nwrite      20\n------ ----\ntotal   50\n";
        let calls = parse(text);
        assert_eq!(calls.len(), 2);
        assert_eq!(calls["read"], 30.0);
    }

    #[test]
    fn set_up_drops_out() {
        let few = parse("accept 5\nread 10\n");
        let many = parse("accept 5\nread 30\n");
        let calls = per_message(&few, &many, 10.0);
        assert_eq!(calls["accept"], 0.0);
        assert_eq!(calls["read"], 2.0);
    }
}
