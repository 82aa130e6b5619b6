//! The report: sections with a table and plots, on the terminal and as Markdown.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::machine;
use super::options::{Experiment, Options};
use super::peers::Peer;
use super::plot::Plot;
use super::process;
use crate::cli::{Doing, Result};

/// The name that the tables set in bold: the one that the others are compared with.
pub const OURS: &str = "slabloop";

/// Rows of text under headers; the first column is the name.
#[derive(Debug)]
pub struct Table {
    headers: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(headers: Vec<String>) -> Self {
        Table {
            headers,
            rows: Vec::new(),
        }
    }

    /// Adds a row, unless there is nothing in it but the name.
    pub fn row(&mut self, name: &str, cells: Vec<String>) {
        if cells.iter().any(|cell| cell != NOTHING) {
            self.rows.push([vec![name.to_owned()], cells].concat());
        }
    }

    fn to_markdown(&self) -> String {
        let mut text = format!("| {} |\n|---|", self.headers.join(" | "));
        text.push_str(&"---:|".repeat(self.headers.len() - 1));
        text.push('\n');
        for row in &self.rows {
            let mut row = row.clone();
            if row[0] == OURS {
                row[0] = format!("**{OURS}**");
            }
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
        text
    }

    fn to_terminal(&self) -> String {
        let lines: Vec<_> = [&self.headers].into_iter().chain(&self.rows).collect();
        let widths: Vec<_> = (0..self.headers.len())
            .map(|column| {
                lines
                    .iter()
                    .map(|line| line[column].chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        for line in lines {
            for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
                let _ = match column {
                    0 => write!(text, "{cell:width$}"),
                    _ => write!(text, "  {cell:>width$}"),
                };
            }
            text.push('\n');
        }
        text
    }
}

const NOTHING: &str = "–";

/// A figure as it is printed: so many decimals, thousands apart, a dash for what was not measured.
#[must_use]
pub fn cell(value: Option<f64>, decimals: usize) -> String {
    let Some(value) = value else {
        return NOTHING.to_owned();
    };
    let plain = format!("{:.decimals$}", value.abs());
    let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
    let mut text = String::new();
    if value < 0.0
        && plain
            .chars()
            .any(|digit| digit.is_ascii_digit() && digit != '0')
    {
        text.push('-');
    }
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if !fraction.is_empty() {
        let _ = write!(text, ".{fraction}");
    }
    text
}

/// One experiment's result.
#[derive(Debug)]
pub struct Section {
    /// Which one.
    pub experiment: Experiment,
    /// Its heading.
    pub title: &'static str,
    /// What was done and how to read it.
    pub intro: String,
    /// The commands behind it, one a line.
    pub commands: Vec<String>,
    /// The figures.
    pub table: Table,
    /// The same as pictures.
    pub plots: Vec<Plot>,
    /// What was skipped or failed.
    pub notes: Vec<String>,
}

impl Section {
    /// The table under its heading, for the terminal.
    #[must_use]
    pub fn to_terminal(&self) -> String {
        let mut text = format!("\n{}\n{}", self.title, self.table.to_terminal());
        for note in &self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        text
    }
}

/// Everything, in the order in which it was measured.
#[derive(Debug)]
pub struct Report {
    head: String,
    sections: Vec<Section>,
}

impl Report {
    /// A report without sections.
    #[must_use]
    pub fn new(options: &Options, peers: &[Peer], absent: Vec<String>) -> Self {
        let mut head = String::from("# Benchmarks\n\n");
        head.push_str(
            "Written by the comparison program of this repository; do not edit, run it \
             again:\n\n```sh\n",
        );
        let flags = options.typed.join(" ");
        let _ = writeln!(head, "cargo build --profile bench-peers -p slabloop-peers");
        let _ = writeln!(head, "target/bench-peers/compare {flags}\n```\n");
        head.push_str(
            "Counts of instructions and system calls come out alike on every run. Times do not: \
             compare them with their neighbours in the same table, not with those of another \
             machine or another day.\n\n",
        );
        head.push_str("| machine | |\n|---|---|\n");
        for (key, value) in machine::facts() {
            let _ = writeln!(head, "| {key} | {value} |");
        }
        let pinned = if process::can_pin() {
            "server on processor 0, client on processor 1 (`taskset`)"
        } else {
            "nothing pinned: that takes two processors and `taskset`"
        };
        let _ = writeln!(head, "| pinning | {pinned} |");
        let _ = writeln!(
            head,
            "| rounds | {}, in turn; medians |\n",
            options.scale.rounds
        );

        head.push_str("| peer | version |\n|---|---|\n");
        for peer in peers {
            let _ = writeln!(head, "| {} | {} |", peer.name, peer.version);
        }
        for (name, version) in machine::tools() {
            let _ = writeln!(head, "| {name} | {version} |");
        }
        head.push('\n');
        for line in absent {
            let _ = writeln!(head, "Not here: {line}.\n");
        }
        Report {
            head,
            sections: Vec::new(),
        }
    }

    /// Adds a section.
    pub fn add(&mut self, section: Section) {
        self.sections.push(section);
    }

    /// Writes the Markdown file, and the plots into a folder of the same name beside it.
    ///
    /// # Errors
    ///
    /// A file or folder that can't be written, with its path.
    pub fn write(&self, out: &Path, elapsed: Duration) -> Result<()> {
        let stem = out
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let folder = out.with_extension("");
        fs::create_dir_all(&folder).doing(format!("making {}", folder.display()))?;
        let mut text = self.head.clone();
        for section in &self.sections {
            let _ = writeln!(text, "## {}\n\n{}\n", section.title, section.intro);
            let _ = writeln!(text, "```sh\n{}\n```\n", section.commands.join("\n"));
            let _ = writeln!(text, "{}", section.table.to_markdown());
            for note in &section.notes {
                let _ = writeln!(text, "Note: {note}.\n");
            }
            for plot in &section.plots {
                if plot.is_empty() {
                    continue;
                }
                let file = format!("{}.svg", plot.name);
                plot.draw(&folder.join(&file))?;
                let _ = writeln!(text, "![{}]({stem}/{file})\n", plot.title);
            }
        }
        let _ = writeln!(
            text,
            "---\n\nMeasured in {:.0} seconds.",
            elapsed.as_secs_f64()
        );
        fs::write(out, text).doing(format!("writing {}", out.display()))
    }
}

#[cfg(test)]
mod tests {
    //! How figures are printed.

    use super::*;

    #[test]
    fn thousands_stand_apart_and_nothing_is_a_dash() {
        assert_eq!(cell(Some(1_234_567.0), 0), "1,234,567");
        assert_eq!(cell(Some(999.95), 1), "1,000.0");
        assert_eq!(cell(Some(-0.001), 1), "0.0");
        assert_eq!(cell(Some(-1_500.25), 1), "-1,500.2");
        assert_eq!(cell(None, 1), NOTHING);
    }
}
