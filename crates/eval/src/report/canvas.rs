//! What all plots are drawn with: sizes, colors and number axes. Plots are SVG, made by plotters and themed by the page.
//!
//! Plots are drawn in the light theme's ink; the page's style sheet replaces the colors
//! `INK`, `GRID` and `PAPER` in dark mode. All text is real text in the viewer's own sans-serif font, so
//! nothing relies on the width that plotters estimates: labels have room to spare, and the legend
//! belongs to the page.

use plotters::coord::ranged1d::{Ranged, ValueFormatter};
use plotters::prelude::*;

use crate::error::EvalError;

/// Size of a plot; small enough that its text can be read on a phone.
pub(crate) const WIDTH: u32 = 440;
pub(crate) const HEIGHT: u32 = 300;
/// Text and axes.
pub(crate) const INK: RGBColor = RGBColor(0x33, 0x3a, 0x44);
/// Lines behind the data.
pub(crate) const GRID: RGBColor = RGBColor(0xdd, 0xe1, 0xe7);
/// The inside of a ring.
pub(crate) const PAPER: RGBColor = RGBColor(0xfe, 0xfe, 0xfe);
/// What is there to be compared with.
pub(crate) const BASELINE: RGBColor = RGBColor(0x8b, 0x95, 0xa5);
/// plotters divides sizes by 1.24: this is 14 px.
pub(crate) const FONT_SIZE: f64 = 17.4;
/// One color for each line, apart for most color-blind viewers, legible on light and dark.
const PALETTE: [RGBColor; 8] = [
    RGBColor(0x2f, 0x6f, 0xde),
    RGBColor(0xe0, 0x8a, 0x00),
    RGBColor(0x0f, 0x9d, 0x74),
    RGBColor(0xc8, 0x5a, 0x9e),
    RGBColor(0xd6, 0x4b, 0x2a),
    RGBColor(0x38, 0xa9, 0xd8),
    RGBColor(0x8a, 0x6c, 0xc9),
    RGBColor(0x8b, 0x95, 0xa5),
];

pub(crate) fn color_of(line: usize) -> RGBColor {
    PALETTE[line % PALETTE.len()]
}

pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
pub(crate) type DrawResult = Result<(), Box<dyn std::error::Error>>;

pub(crate) fn draw(
    what: &'static str,
    height: u32,
    content: impl FnOnce(&Area<'_>) -> DrawResult,
) -> Result<String, EvalError> {
    let mut svg = String::new();
    let failed =
        |error: Box<dyn std::error::Error>| EvalError::Render { what, reason: error.to_string() };
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        content(&area).map_err(failed)?;
        area.present().map_err(|error| failed(error.into()))?;
    }
    Ok(svg)
}

pub(crate) fn text(size: f64) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

/// The range of `values` with some room, from 0 if asked; never empty.
pub(crate) fn span(values: impl Iterator<Item = f64>, from_zero: bool) -> (f64, f64) {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return (0.0, 1.0);
    }
    let (low, high) = if from_zero { (low.min(0.0), high.max(0.0)) } else { (low, high) };
    let room = ((high - low) * 0.06).max(f64::MIN_POSITIVE);
    if high - low < 1e-12 {
        return (low - 0.5, high + 0.5);
    }
    let low = if from_zero && low == 0.0 { 0.0 } else { low - room };
    (low, high + room)
}

/// Three to six round numbers within the range.
pub(crate) fn ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 4.0;
    let magnitude = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * magnitude);
    let step = step.into_iter().find(|step| *step >= rough).unwrap_or(magnitude * 10.0);
    let first = (low / step).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

/// A number without trailing zeros.
pub(crate) fn trimmed(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

/// Lines across the x axis, at most.
pub(crate) const N_X_LABELS: usize = 7;
/// The same of the y axis.
pub(crate) const N_Y_LABELS: usize = 6;

/// Number axes with a grid; `labels` write the numbers of x and y.
pub(crate) fn mesh<X, Y>(
    chart: &mut ChartContext<'_, SVGBackend<'_>, Cartesian2d<X, Y>>,
    x_name: &str,
    labels: [&dyn Fn(f64) -> String; 2],
) -> DrawResult
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    mesh_with(chart, x_name, (N_X_LABELS, N_Y_LABELS), labels)
}

/// The same with at most so many lines across x and y axis.
pub(crate) fn mesh_with<X, Y>(
    chart: &mut ChartContext<'_, SVGBackend<'_>, Cartesian2d<X, Y>>,
    x_name: &str,
    (n_x_labels, n_y_labels): (usize, usize),
    labels: [&dyn Fn(f64) -> String; 2],
) -> DrawResult
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let [x_label, y_label] = labels;
    chart
        .configure_mesh()
        .x_labels(n_x_labels)
        .y_labels(n_y_labels)
        .x_label_formatter(&|x| x_label(*x))
        .y_label_formatter(&|y| y_label(*y))
        .label_style(text(FONT_SIZE))
        .axis_desc_style(text(FONT_SIZE))
        .axis_style(GRID)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .x_desc(x_name)
        .draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(ticks(0.0, 1.0), [0.0, 0.25, 0.5, 0.75, 1.0]);
        for high in [0.0031, 0.062, 0.5, 7.0, 1234.0] {
            let n = ticks(0.0, high).len();
            assert!((3..=6).contains(&n), "{n} ticks up to {high}");
        }
    }

    #[test]
    fn spans_are_never_empty() {
        for values in [vec![], vec![0.3], vec![0.0, 0.0], vec![-1.0, 2.0]] {
            let (low, high) = span(values.into_iter(), true);
            assert!(low < high);
        }
    }

    #[test]
    fn numbers_have_no_tail() {
        assert_eq!(trimmed(0.5), "0.5");
        assert_eq!(trimmed(20.0), "20");
        assert_eq!(trimmed(-0.000001), "0");
    }
}
