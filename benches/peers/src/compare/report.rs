//! The report: sections with a table and plots, on the terminal and as Markdown.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::machine;
use super::options::{Experiment, Options};
use super::part::Part;
use super::peers::Peer;
use super::plot::Plot;
use super::process;
use super::table::Table;
use crate::cli::{Doing, Result};

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

    /// The section under its heading, for a page. Its plots are drawn into a folder called as the page.
    fn to_markdown(&self, page: &Path) -> Result<String> {
        let stem = page.file_stem().unwrap_or_default().to_string_lossy();
        let folder = page.with_extension("");
        fs::create_dir_all(&folder).doing(format!("making {}", folder.display()))?;
        let mut text = format!("## {}\n\n{}\n\n", self.title, self.intro);
        let _ = writeln!(text, "```sh\n{}\n```\n", self.commands.join("\n"));
        let _ = writeln!(text, "{}", self.table.to_markdown());
        for note in &self.notes {
            let _ = writeln!(text, "Note: {note}.\n");
        }
        for plot in self.plots.iter().filter(|plot| !plot.is_empty()) {
            let file = format!("{}.svg", plot.name);
            plot.draw(&folder.join(&file))?;
            let _ = writeln!(text, "![{}]({stem}/{file})\n", plot.title);
        }
        Ok(text)
    }
}

/// What the program `toolkit_costs` writes into the same page.
pub const TOOLKIT: Part = Part("toolkit_costs");

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
        let mut text = self.head.clone();
        // What another program has measured stays.
        let before = fs::read_to_string(out).unwrap_or_default();
        let kept = TOOLKIT.split(&before).map(|(_, part, _)| part);
        for section in &self.sections {
            let part = section.experiment.part();
            let _ = writeln!(text, "{}", part.framed(&section.to_markdown(out)?));
        }
        text.push_str(&TOOLKIT.framed(kept.unwrap_or_default()));
        let _ = writeln!(
            text,
            "\n---\n\nMeasured in {:.0} seconds.",
            elapsed.as_secs_f64()
        );
        fs::write(out, text).doing(format!("writing {}", out.display()))
    }

    /// Puts the sections into an earlier report, each in its own place.
    ///
    /// # Errors
    ///
    /// As [`write`](Report::write); a page without that place.
    pub fn write_into(&self, page: &Path, flags: &str) -> Result<()> {
        for section in &self.sections {
            let mut text = section.to_markdown(page)?;
            let _ = writeln!(
                text,
                "Measured apart from the rest of this page, by `compare {flags}`:\n\n| machine | |\n|---|---|"
            );
            for (key, value) in machine::facts() {
                let _ = writeln!(text, "| {key} | {value} |");
            }
            section.experiment.part().write(page, &text)?;
        }
        Ok(())
    }
}
