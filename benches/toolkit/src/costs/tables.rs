//! A table of what was measured.

use std::fmt::Write;

use slabloop_peers::compare::rounds::{Runs, median};
use slabloop_peers::compare::table::{OURS, cell};

/// One run of one program.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// CPU time for each piece of work.
    pub each_ns: f64,
    /// The most resident memory.
    pub peak_kib: f64,
}

/// Rows of name, lines, CPU time, ratio and peak.
#[must_use]
pub fn table(what: &str, all: &[Runs<Sample>], lines: &[usize]) -> String {
    let mut text = format!(
        "| | lines | ns of CPU time for {what} | × slabloop | peak, MiB |\n|---|---:|---:|---:|---:|\n"
    );
    let ours = all.iter().find(|runs| runs.name == OURS);
    for (runs, lines) in all.iter().zip(lines) {
        let name = match runs.name {
            OURS => format!("**{OURS}**"),
            name => name.to_owned(),
        };
        let ratio = match ours {
            _ if runs.name == OURS => "1".to_owned(),
            Some(ours) => ratio(runs, ours),
            None => cell(None, 2),
        };
        let each = cell(median(runs, |sample| sample.each_ns), 0);
        let peak = cell(median(runs, |sample| sample.peak_kib / 1024.0), 1);
        let _ = writeln!(text, "| {name} | {lines} | {each} | {ratio} | {peak} |");
    }
    text
}

fn ratio(runs: &Runs<Sample>, ours: &Runs<Sample>) -> String {
    let pairs = runs.samples.iter().zip(&ours.samples);
    let mut ratios: Vec<_> = pairs
        .map(|(theirs, ours)| theirs.each_ns / ours.each_ns)
        .collect();
    ratios.sort_by(f64::total_cmp);
    let Some(last) = ratios.len().checked_sub(1) else {
        return cell(None, 2);
    };
    let [low, middle, high] = [1, 2, 3].map(|quarter| ratios[(last * quarter + 2) / 4]);
    let is_other = !runs.name.starts_with(OURS);
    let mark = if high < 1.0 && is_other {
        ", **slabloop is slower**"
    } else {
        ""
    };
    let [low, middle, high] = [low, middle, high].map(|ratio| cell(Some(ratio), 2));
    format!("{middle} ({low} to {high}){mark}")
}

#[cfg(test)]
mod tests {
    //! Ratios of small numbers.

    use super::*;

    fn runs(name: &'static str, each: &[f64]) -> Runs<Sample> {
        let sample = |&each_ns| Sample {
            each_ns,
            peak_kib: 1024.0,
        };
        Runs {
            name,
            samples: each.iter().map(sample).collect(),
        }
    }

    #[test]
    fn ratios_are_within_a_round_with_quartiles_and_a_mark() {
        let ours = runs(OURS, &[10.0, 20.0, 30.0, 40.0, 50.0]);
        let theirs = runs("other", &[10.0, 40.0, 90.0, 160.0, 250.0]);
        assert_eq!(ratio(&theirs, &ours), "3.00 (2.00 to 4.00)");
        let faster = runs("faster", &[5.0, 10.0, 15.0, 20.0, 25.0]);
        let marked = "0.50 (0.50 to 0.50), **slabloop is slower**";
        assert_eq!(ratio(&faster, &ours), marked);
        let itself = runs("slabloop otherwise", &[5.0; 5]);
        assert_eq!(ratio(&itself, &ours), "0.17 (0.12 to 0.25)");
        assert_eq!(ratio(&runs("gone", &[]), &ours), cell(None, 2));
    }
}
