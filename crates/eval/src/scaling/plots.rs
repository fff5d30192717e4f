//! Lines over logarithmic axes, with the laws through them.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::power_law::PowerLaw;
use super::{ScalingPoint, ScalingReport, StepAxis, StepPoint, short};
use crate::error::EvalError;
use crate::report::canvas::{BASELINE, HEIGHT, color_of, draw, mesh, span, ticks};
use crate::report::plots::Plot;

/// A line of a plot.
struct Line {
    color: RGBColor,
    points: Vec<(f64, f64)>,
}

/// Loss, accuracy and seconds of the trainings against their operations: a line for each size, and through the points that
/// were kept the law.
pub(super) fn of_trainings(report: &ScalingReport) -> Result<Vec<Plot>, EvalError> {
    let against_flop = |y: &str, value: &dyn Fn(&ScalingPoint) -> Option<f64>| {
        let mut lines = Vec::new();
        for (index, size) in report.trainings.iter().enumerate() {
            let points = size.points.iter();
            let points = points.filter_map(|point| Some((point.flop, value(point)?))).collect();
            lines.push(Line { color: color_of(index), points });
        }
        let law = report.laws.iter().find(|law| law.y == y && law.x == "FLOP");
        let caption = format!("{y} against operations, after each epoch{}", in_words(law));
        let svg = log_log("scaling plot", &lines, law.map(|law| law.law), "FLOP")?;
        Ok(Plot { svg, caption, by_model: false })
    };
    let mut plots = vec![against_flop("training loss", &|point| Some(point.train_loss))?];
    // One point for each size: there is no line to it.
    let kept = report.trainings.iter().enumerate().filter_map(|(index, size)| {
        let points = vec![(size.chosen()?.flop, size.validation_loss)];
        Some(Line { color: color_of(index), points })
    });
    let law = report.laws.iter().find(|law| law.y == "validation loss");
    let svg = log_log("scaling plot", &kept.collect::<Vec<_>>(), law.map(|law| law.law), "FLOP")?;
    let caption = format!("validation loss of the kept weights{}", in_words(law));
    plots.push(Plot { svg, caption, by_model: false });
    plots.push(against_flop("validation NDCG@10", &|point| point.validation_ndcg_at_10)?);
    plots.push(against_flop("seconds", &|point| Some(point.secs))?);
    Ok(plots)
}

/// Time and memory of a step against one size.
pub(super) fn of_steps(report: &ScalingReport, axis: StepAxis) -> Result<Vec<Plot>, EvalError> {
    let x = axis.name();
    let against = |y: &str, value: &dyn Fn(&StepPoint) -> Option<f64>| {
        let mut lines = Vec::new();
        for curve in report.steps.iter().filter(|curve| curve.axis == axis) {
            let points = curve.points.iter();
            let points = points.filter_map(|point| Some((point.size as f64, value(point)?)));
            let color = color_of(row_place(report, &curve.row));
            lines.push(Line { color, points: points.collect() });
        }
        let svg = log_log("scaling plot", &lines, None, x)?;
        let exponents: Vec<String> = report
            .laws
            .iter()
            .filter(|law| law.x == x && law.y.starts_with(y))
            .map(|law| format!("{} {:.2}", law.of, law.law.exponent))
            .collect();
        let exponents = match exponents.len() {
            0 => String::new(),
            _ => format!("; exponents: {}", exponents.join(", ")),
        };
        let unit = if y == "memory" { "MB" } else { "ms" };
        Ok(Plot { svg, caption: format!("{y}, {unit}, against {x}{exponents}"), by_model: false })
    };
    let mut plots = vec![against("time of a step", &|point| Some(point.step_ms))?];
    let points = || report.steps.iter().flat_map(|curve| &curve.points);
    if points().any(|point| point.memory_bytes.is_some()) {
        plots.push(against("memory", &|point| point.memory_bytes.map(|b| b as f64 / 1e6))?);
    }
    Ok(plots)
}

/// The rows of all steps, each once, in the order of their colors.
pub(super) fn rows(report: &ScalingReport) -> Vec<(&str, &str)> {
    let mut rows: Vec<(&str, &str)> = Vec::new();
    for curve in &report.steps {
        if !rows.iter().any(|(row, _)| *row == curve.row) {
            rows.push((&curve.row, &curve.about));
        }
    }
    rows
}

fn row_place(report: &ScalingReport, row: &str) -> usize {
    rows(report).iter().position(|(name, _)| *name == row).unwrap_or(0)
}

fn in_words(law: Option<&super::Law>) -> String {
    let Some(law) = law else { return String::new() };
    let PowerLaw { exponent, from, to, .. } = law.law;
    format!("; gray: exponent {exponent:.3} over {} to {}", short(from), short(to))
}

/// Lines with points, both axes logarithmic, and a law over the range that it was fitted on.
fn log_log(
    what: &'static str,
    lines: &[Line],
    law: Option<PowerLaw>,
    x_name: &str,
) -> Result<String, EvalError> {
    let is_positive = |v: f64| v > 0.0 && v.is_finite();
    let log =
        |&(x, y): &(f64, f64)| (is_positive(x) && is_positive(y)).then(|| (x.log10(), y.log10()));
    let all = || lines.iter().flat_map(|line| &line.points).filter_map(log);
    let x = span(all().map(|(x, _)| x), false);
    let y = span(all().map(|(_, y)| y), false);
    let number = |v: f64| short(10f64.powf(v));
    draw(what, HEIGHT, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin_top(10)
            .margin_right(24)
            .x_label_area_size(48)
            .y_label_area_size(62)
            .build_cartesian_2d(LogAxis::new(x), LogAxis::new(y))?;
        mesh(&mut chart, x_name, [&number, &number])?;
        if let Some(law) = law {
            let ends = [law.from, law.to].map(|at| (at.log10(), law.at(at).log10()));
            chart.draw_series(LineSeries::new(ends, BASELINE.stroke_width(3)))?;
        }
        for line in lines {
            let points: Vec<_> = line.points.iter().filter_map(log).collect();
            chart.draw_series(LineSeries::new(points.clone(), line.color.stroke_width(2)))?;
            chart.draw_series(points.iter().map(|p| Circle::new(*p, 3, line.color.filled())))?;
        }
        Ok(())
    })
}

/// A range of logarithms with marks at round numbers.
struct LogAxis {
    range: RangedCoordf64,
    marks: Vec<f64>,
}

impl LogAxis {
    fn new((low, high): (f64, f64)) -> Self {
        Self { range: (low..high).into(), marks: log_ticks(low, high) }
    }
}

impl Ranged for LogAxis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.range.map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // Fine lines between the marks would be of no use.
        if hint.weight().allow_light_points() { Vec::new() } else { self.marks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.range.range()
    }
}

/// Logarithms of round numbers between two logarithms: decades, or 1, 2 and 5 of each where there are few, or evenly
/// spaced numbers where the range is narrow.
fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let within = |log: &f64| (low..=high).contains(log);
    let decades = low.floor() as i32..=high.ceil() as i32;
    let of_decades = |factors: &'static [f64]| -> Vec<f64> {
        let of_decade = |decade| factors.iter().map(move |f| f.log10() + f64::from(decade));
        decades.clone().flat_map(of_decade).filter(within).collect()
    };
    let all = of_decades(&[1.0, 2.0, 5.0]);
    match all.len() {
        3..=7 => all,
        0..=2 => {
            let even = ticks(10f64.powf(low), 10f64.powf(high)).into_iter();
            even.filter(|value| *value > 0.0).map(f64::log10).filter(within).collect()
        }
        _ => {
            let decades = of_decades(&[1.0]);
            let step = decades.len().div_ceil(7);
            decades.into_iter().step_by(step.max(1)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few_on_any_range() {
        for (low, high) in [(25.0, 800.0), (4.8, 5.9), (1e9, 1e15), (0.02, 0.06), (1.0, 2.0)] {
            let logs = log_ticks(f64::log10(low), f64::log10(high));
            assert!((2..=8).contains(&logs.len()), "{low} to {high}: {logs:?}");
            for log in logs {
                let value = 10f64.powf(log);
                assert!(value > low * 0.999 && value < high * 1.001, "{value}");
            }
        }
        let want = [50.0, 100.0, 200.0, 500.0].map(f64::log10);
        let got = log_ticks(25f64.log10(), 800f64.log10());
        assert_eq!(got.len(), 4);
        assert!(got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-9), "{got:?}");
    }
}
