//! Predicted against observed, above how predictions are spread.

use plotters::prelude::*;

use super::canvas::{Area, DrawResult, HEIGHT, INK, N_X_LABELS, draw, mesh, mesh_with, trimmed};
use crate::error::EvalError;
use crate::probability::{Histogram, ReliabilityBin};

/// Height of the histogram.
const HISTOGRAM_HEIGHT: u32 = 120;

/// The plot, as SVG.
pub(super) fn plot(
    bins: &[ReliabilityBin],
    spread: &Histogram,
    color: RGBColor,
) -> Result<String, EvalError> {
    let largest = |of: fn(&ReliabilityBin) -> f64| bins.iter().map(of).fold(0.0, f64::max);
    let x_end = spread.end.max(largest(|bin| bin.mean_probability)) * 1.03;
    let y_end = largest(|bin| bin.interval.high.max(bin.mean_probability)) * 1.06;
    draw("reliability", HEIGHT + HISTOGRAM_HEIGHT, |area| {
        let (above, below) = area.split_vertically(HEIGHT - 40);
        let mut chart = ChartBuilder::on(&above)
            .margin_top(10)
            .margin_right(20)
            .x_label_area_size(8)
            .y_label_area_size(62)
            .build_cartesian_2d(0.0..x_end, 0.0..y_end)?;
        mesh(&mut chart, "", [&|_| String::new(), &trimmed])?;
        let end = x_end.min(y_end);
        chart.draw_series(LineSeries::new([(0.0, 0.0), (end, end)], INK))?;
        for bin in bins {
            let (x, ends) = (bin.mean_probability, bin.interval);
            let line = [(x, ends.low), (x, ends.high)];
            chart.draw_series(LineSeries::new(line, color.stroke_width(2)))?;
        }
        let discs = bins.iter().map(|bin| (bin.mean_probability, bin.observed_rate));
        chart.draw_series(discs.map(|place| Circle::new(place, 4, color.filled())))?;
        histogram(&below, spread, x_end, color)
    })
}

/// What the plot shows, of `what` in the plural.
pub(super) fn words(bins: &[ReliabilityBin], spread: &Histogram, what: &str) -> String {
    let n_bins = match bins.len() {
        1 => "one bin".to_owned(),
        n => format!("{n} bins of equal numbers of {what}"),
    };
    let beyond = match spread.beyond > 0.0 {
        true => format!(" ({:.1} % lie further right)", spread.beyond * 100.0),
        false => String::new(),
    };
    format!("observed against predicted in {n_bins}, and the share of {what} by prediction{beyond}")
}

fn histogram(area: &Area<'_>, spread: &Histogram, x_end: f64, color: RGBColor) -> DrawResult {
    let top = spread.shares.iter().copied().fold(0.0, f64::max) * 1.06;
    let mut chart = ChartBuilder::on(area)
        .margin_right(20)
        .x_label_area_size(48)
        .y_label_area_size(62)
        .build_cartesian_2d(0.0..x_end, 0.0..top)?;
    let percent = |share: f64| format!("{} %", trimmed(share * 100.0));
    mesh_with(&mut chart, "predicted", (N_X_LABELS, 3), [&trimmed, &percent])?;
    let width = spread.end / spread.shares.len() as f64;
    chart.draw_series(spread.shares.iter().enumerate().map(|(place, share)| {
        let left = place as f64 * width;
        let mut bar = Rectangle::new([(left, 0.0), (left + width, *share)], color.filled());
        bar.set_margin(0, 0, 0, 1);
        bar
    }))?;
    Ok(())
}
