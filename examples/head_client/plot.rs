//! The latencies as a picture: which share of the answers came within how long.
//!
//! The scale of percentiles is logarithmic towards 100, so that the slowest one in a thousand has as much room as the
//! slowest one in ten: that is where the trouble shows.

use std::error::Error;

use hdrhistogram::Histogram;
use plotters::prelude::*;

use super::report::shown;

const SIZE: (u32, u32) = (900, 420);
const LINE: RGBColor = RGBColor(0, 90, 160);
const GRID: RGBColor = RGBColor(215, 215, 215);

/// Writes an SVG file.
///
/// # Errors
///
/// A file that cannot be written, or nothing to draw.
pub(crate) fn draw(
    file: &str,
    title: &str,
    latency: &Histogram<u32>,
) -> Result<(), Box<dyn Error>> {
    if latency.is_empty() {
        return Err("no request was answered: there is nothing to draw".into());
    }
    // Nines: 0 is none of the answers, 1 is 90 %, 2 is 99 %.
    #[allow(clippy::cast_precision_loss, reason = "a place in a picture")]
    let (count, most) = (latency.len() as f64, latency.max() as f64);
    let nines = count.log10().clamp(1.0, 6.0);
    // One for each whole nine that there is room for.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 1 to 6"
    )]
    let labels = nines as usize + 1;
    #[allow(clippy::cast_precision_loss, reason = "a place in a picture")]
    let least = (latency.min().max(1) as f64).log10().floor();
    let least = 10_f64.powf(least);
    let points = (0..=600).map(|step| {
        let x = nines * f64::from(step) / 600.0;
        let quantile = 1.0 - 10_f64.powf(-x);
        #[allow(clippy::cast_precision_loss, reason = "a place in a picture")]
        let y = latency.value_at_quantile(quantile) as f64;
        (x, y.max(1.0))
    });

    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .margin_right(40)
        .x_label_area_size(44)
        .y_label_area_size(78)
        .build_cartesian_2d(0.0..nines, (least..most.max(least) * 1.3).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .x_desc("percentile of the answers")
        .y_desc("time to the answer")
        .x_labels(labels)
        .x_label_formatter(&|nines| percentile(*nines))
        .y_label_formatter(&|micros| label(*micros))
        .label_style(("sans-serif", 13))
        .axis_desc_style(("sans-serif", 14))
        .draw()?;
    chart.draw_series(LineSeries::new(points, LINE.stroke_width(2)))?;
    area.present()?;
    Ok(())
}

/// Where whole nines are, their percentile; nothing between them.
fn percentile(nines: f64) -> String {
    const NAMES: [&str; 7] = [
        "0 %",
        "90 %",
        "99 %",
        "99.9 %",
        "99.99 %",
        "99.999 %",
        "99.9999 %",
    ];
    let name = NAMES
        .iter()
        .zip(0_u8..)
        .find(|(_, whole)| (nines - f64::from(*whole)).abs() < 1e-6);
    name.map_or_else(String::new, |(name, _)| (*name).to_owned())
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a tick of the scale: from 1 to a minute of microseconds"
)]
fn label(micros: f64) -> String {
    shown(micros.round() as u64)
}
