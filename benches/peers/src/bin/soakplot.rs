//! Draws what `soak --record FILE` has written: memory and descriptors over time.
//!
//! ```text
//! cargo run --release --example soak -- --minutes 60 --record soak.csv
//! cargo run -p slabloop-peers --bin soakplot -- soak.csv docs/images/soak.svg
//! ```

use std::error::Error;
use std::process::ExitCode;

use plotters::prelude::*;

const SIZE: (u32, u32) = (900, 480);
const LINE: RGBColor = RGBColor(0, 90, 160);
const GRID: RGBColor = RGBColor(215, 215, 215);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, to] = arguments.as_slice() else {
        eprintln!("soakplot wants two files: the record, and the picture to be written");
        return ExitCode::from(2);
    };
    match draw(from, to) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("soakplot: {from}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A column of the record, against minutes.
type Points = Vec<(f64, f64)>;

fn column(record: &str, name: &str, unit: f64) -> Result<Points, Box<dyn Error>> {
    let mut lines = record.lines();
    let mut names = lines.next().ok_or("it is empty")?.split(',');
    let place = names
        .position(|column| column == name)
        .ok_or_else(|| format!("there is no column {name}"))?;
    let mut points = Points::new();
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let cell = cells
            .get(place)
            .ok_or_else(|| format!("a line is too short: {line}"))?;
        points.push((cells[0].parse::<f64>()? / 60.0, cell.parse::<f64>()? / unit));
    }
    if points.len() < 2 {
        return Err("there are less than two seconds in it".into());
    }
    Ok(points)
}

fn draw(from: &str, to: &str) -> Result<(), Box<dyn Error>> {
    let record = std::fs::read_to_string(from)?;
    let area = SVGBackend::new(to, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (upper, lower) = area.split_vertically(SIZE.1 / 2);
    curve(
        &upper,
        "Memory of the process, MiB",
        &column(&record, "memory_kib", 1024.0)?,
    )?;
    curve(&lower, "Descriptors", &column(&record, "descriptors", 1.0)?)?;
    area.present()?;
    Ok(())
}

fn curve<D: DrawingBackend>(
    area: &DrawingArea<D, plotters::coord::Shift>,
    caption: &str,
    points: &Points,
) -> Result<(), Box<dyn Error>>
where
    D::ErrorType: 'static,
{
    let most = |pick: fn(&(f64, f64)) -> f64| points.iter().map(pick).fold(0.0, f64::max);
    let (minutes, height) = (most(|point| point.0), most(|point| point.1) * 1.15);
    let mut chart = ChartBuilder::on(area)
        .caption(caption, ("sans-serif", 16))
        .margin(10)
        .margin_right(30)
        .x_label_area_size(36)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..minutes, 0.0..height)?;
    chart
        .configure_mesh()
        .x_desc("minutes")
        .light_line_style(WHITE)
        .bold_line_style(GRID)
        .draw()?;
    chart.draw_series(LineSeries::new(
        points.iter().copied(),
        LINE.stroke_width(2),
    ))?;
    Ok(())
}
