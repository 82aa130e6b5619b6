//! Tables of figures, as the terminal and Markdown show them.

use std::fmt::Write;

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

    pub(super) fn to_markdown(&self) -> String {
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

    pub(super) fn to_terminal(&self) -> String {
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
