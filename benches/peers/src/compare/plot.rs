//! One kind of picture for all experiments: a row for each participant, a dot for each figure.
//!
//! Dots on a logarithmic scale rather than bars, because the field spans three orders of magnitude,
//! and a bar on such a scale has no honest length. Every dot carries its figure. Drawn with
//! plotters' SVG backend only; it needs no fonts, and so no library of the system.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::table::{OURS, cell};
use crate::cli::{Doing, Result};

const WIDTH: u32 = 900;
const ROW_HEIGHT: u32 = 30;
const HEAD_HEIGHT: u32 = 78;
const FOOT_HEIGHT: u32 = 40;
const LABEL_WIDTH: i32 = 110;
const RIGHT_MARGIN: i32 = 60;
const GREY: RGBColor = RGBColor(200, 200, 200);
const INK: RGBColor = RGBColor(40, 40, 40);
/// Told apart by lightness as well as by hue.
const COLOURS: [RGBColor; 3] = [
    RGBColor(0, 90, 160),
    RGBColor(230, 130, 0),
    RGBColor(150, 40, 90),
];

/// Smaller from series to series, so that figures which are alike show as rings.
const RADII: [i32; 3] = [7, 5, 3];

/// A picture: what it shows, and the figures.
#[derive(Debug)]
pub struct Plot {
    /// The file's name without its ending.
    pub name: String,
    /// What it says on top.
    pub title: String,
    /// What the dots of each colour are.
    pub series: Vec<String>,
    /// Decimals of the figures at the dots.
    pub decimals: usize,
    /// A participant's name and a figure for each series.
    pub rows: Vec<(String, Vec<Option<f64>>)>,
}

impl Plot {
    /// There is nothing to draw.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values().next().is_none()
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        // A logarithm wants more than zero; memory that shrank while measured can't be placed.
        self.rows
            .iter()
            .flat_map(|(_, values)| values.iter().flatten())
            .copied()
            .filter(|value| *value > 0.0)
    }

    /// Writes the SVG file.
    ///
    /// # Errors
    ///
    /// A file that can't be written.
    pub fn draw(&self, path: &Path) -> Result<()> {
        let rows: Vec<_> = self
            .rows
            .iter()
            .filter(|(_, values)| values.iter().any(Option::is_some))
            .collect();
        let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        let height = HEAD_HEIGHT + ROW_HEIGHT * count + FOOT_HEIGHT;
        let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
        let what = format!("drawing {}", path.display());
        area.fill(&WHITE).doing(&what)?;

        let least = self.values().fold(f64::INFINITY, f64::min);
        let most = self.values().fold(0.0, f64::max);
        let scale = Scale::around(least, most);
        let bottom = (HEAD_HEIGHT + ROW_HEIGHT * count) as i32;
        let text = |size: i32, colour: &RGBColor, h, v| {
            ("sans-serif", size)
                .into_font()
                .color(colour)
                .pos(Pos::new(h, v))
        };

        area.draw_text(
            &self.title,
            &text(18, &INK, HPos::Left, VPos::Top),
            (12, 12),
        )
        .doing(&what)?;
        for (index, name) in self.series.iter().enumerate() {
            let x = LABEL_WIDTH + 200 * index as i32;
            area.draw(&Circle::new((x, 50), 5, COLOURS[index % 3].filled()))
                .doing(&what)?;
            area.draw_text(
                name,
                &text(14, &INK, HPos::Left, VPos::Center),
                (x + 10, 50),
            )
            .doing(&what)?;
        }
        for tick in scale.ticks() {
            let x = scale.place(tick);
            let line = PathElement::new([(x, HEAD_HEIGHT as i32 - 6), (x, bottom)], GREY);
            area.draw(&line).doing(&what)?;
            let style = text(12, &INK, HPos::Center, VPos::Top);
            area.draw_text(&tick_label(tick), &style, (x, bottom + 8))
                .doing(&what)?;
        }
        for (index, (name, values)) in rows.iter().enumerate() {
            let y = HEAD_HEIGHT as i32 + ROW_HEIGHT as i32 * index as i32 + 14;
            let line = PathElement::new([(LABEL_WIDTH, y), (WIDTH as i32 - RIGHT_MARGIN, y)], GREY);
            area.draw(&line).doing(&what)?;
            let colour = if name == OURS { &RED } else { &INK };
            let style = text(14, colour, HPos::Right, VPos::Center);
            area.draw_text(name, &style, (LABEL_WIDTH - 12, y))
                .doing(&what)?;
            let mut labelled: Vec<i32> = Vec::new();
            for (series, value) in values.iter().enumerate() {
                let Some(value) = value.filter(|value| *value > 0.0) else {
                    continue;
                };
                let colour = COLOURS[series % 3];
                let x = scale.place(value);
                area.draw(&Circle::new((x, y), RADII[series % 3], colour.filled()))
                    .doing(&what)?;
                // Figures that would lie on top of each other are in the table all the same.
                if labelled.iter().all(|other| (other - x).abs() > 55) {
                    let style = text(11, &colour, HPos::Center, VPos::Bottom);
                    area.draw_text(&cell(Some(value), self.decimals), &style, (x, y - 6))
                        .doing(&what)?;
                    labelled.push(x);
                }
            }
        }
        area.present().doing(&what)
    }
}

/// A logarithmic scale over the width of the picture.
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    /// From a little below the least figure to a little above the most.
    fn around(least: f64, most: f64) -> Self {
        Scale {
            low: (least * 0.8).ln(),
            high: (most * 1.25).ln(),
        }
    }

    fn place(&self, value: f64) -> i32 {
        let width = f64::from(WIDTH as i32 - RIGHT_MARGIN - LABEL_WIDTH);
        LABEL_WIDTH + (width * (value.ln() - self.low) / (self.high - self.low)).round() as i32
    }

    /// One, two and five in every decade that is shown; all nine where that would be few.
    fn ticks(&self) -> Vec<f64> {
        const FEW: usize = 4;
        let coarse = self.multiples(&[1.0, 2.0, 5.0]);
        if coarse.len() >= FEW {
            return coarse;
        }
        self.multiples(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0])
    }

    fn multiples(&self, of_decade: &[f64]) -> Vec<f64> {
        let decades =
            (self.low / 10_f64.ln()).floor() as i32..=(self.high / 10_f64.ln()).ceil() as i32;
        let all = decades.flat_map(|decade| {
            of_decade
                .iter()
                .map(move |first| first * 10_f64.powi(decade))
        });
        all.filter(|tick| (self.low..=self.high).contains(&tick.ln()))
            .collect()
    }
}

fn tick_label(tick: f64) -> String {
    let decimals = if tick >= 1.0 {
        0
    } else {
        (-tick.log10()).ceil() as usize
    };
    cell(Some(tick), decimals)
}
