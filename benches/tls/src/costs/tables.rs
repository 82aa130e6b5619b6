//! Medians, ratios and their spread, as a table.

use std::fmt::Write;

use slabloop_peers::compare::rounds::{Runs, median, ratio};
use slabloop_peers::compare::table::cell;

use super::experiments::VERSIONS;

/// One table: a row for each server, and columns for each version. The first server is the one that the others are
/// compared with.
#[must_use]
pub fn rows(versions: &[Vec<Runs<f64>>], unit: &str, per_second: bool) -> String {
    let mut head = "| |".to_owned();
    let mut rule = "|---|".to_owned();
    for version in VERSIONS {
        let _ = write!(head, " {version}: {unit} | ratio | least to most |");
        rule.push_str("---:|---:|---|");
        if per_second {
            let _ = write!(head, " a second |");
            rule.push_str("---:|");
        }
    }
    let mut text = format!("{head}\n{rule}\n");
    let count = versions.first().map_or(0, Vec::len);
    for index in 0..count {
        let _ = write!(text, "| {} |", versions[0][index].name);
        for all in versions {
            let (runs, base) = (&all[index], all[0].name);
            let middle = median(runs, |value| *value);
            let decimals = if middle.is_some_and(|value| value >= 100.0) {
                0
            } else {
                2
            };
            let ratio = ratio(all, base, runs, |value| *value);
            let _ = write!(
                text,
                " {} | {} | {} |",
                cell(middle, decimals),
                marked(ratio),
                spread(runs, decimals)
            );
            if per_second {
                let _ = write!(text, " {} |", cell(middle.map(|us| 1e6 / us), 0));
            }
        }
        text.push('\n');
    }
    text
}

/// Who takes less than the first is marked.
pub(crate) fn marked(ratio: Option<f64>) -> String {
    let text = cell(ratio, 2);
    match ratio {
        Some(ratio) if ratio < 0.995 => format!("**{text}** ▼"),
        _ => text,
    }
}

pub(crate) fn spread(runs: &Runs<f64>, decimals: usize) -> String {
    let least = runs.samples.iter().copied().reduce(f64::min);
    let most = runs.samples.iter().copied().reduce(f64::max);
    format!("{} to {}", cell(least, decimals), cell(most, decimals))
}

#[cfg(test)]
mod tests {
    //! What a table says of figures small enough to check by eye.

    use super::*;

    fn runs(name: &'static str, samples: &[f64]) -> Runs<f64> {
        Runs {
            name,
            samples: samples.to_vec(),
        }
    }

    #[test]
    fn who_takes_less_than_the_first_is_marked() {
        let version = || vec![runs("a", &[2.0, 4.0]), runs("b", &[1.0, 2.0])];
        let text = rows(&[version(), version()], "µs", false);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        let cells = "3.00 | 1.00 | 2.00 to 4.00";
        assert_eq!(lines[2], format!("| a | {cells} | {cells} |"));
        let cells = "1.50 | **0.50** ▼ | 1.00 to 2.00";
        assert_eq!(lines[3], format!("| b | {cells} | {cells} |"));
    }
}
