//! The plots of a report.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{BASELINE, HEIGHT, INK, PAPER, color_of, draw, mesh, span, trimmed};
use super::palette;
use super::rows::{ROW_HEIGHT, Rows, anchored, shortened};
use super::{Reference, Report, SliceRow, formatted, grouped};
use crate::error::EvalError;
use crate::metrics::Metric;

const MODEL: RGBColor = RGBColor(0x2f, 0x6f, 0xde);

/// A plot with the words that stand under it.
pub(crate) struct Plot {
    pub(crate) svg: String,
    pub(crate) caption: String,
    /// Whether colors stand for models, so that the legend applies.
    pub(crate) by_model: bool,
}

/// All plots that the report has numbers for, in the order of the page.
pub(super) fn all(report: &Report) -> Result<Vec<Plot>, EvalError> {
    let main = report.main_metrics();
    let mut plots = Vec::new();
    for metric in &main[..3] {
        plots.push(bars(report, *metric)?);
    }
    plots.push(curve(report, "NDCG", |point| point.ndcg)?);
    plots.push(curve(report, "recall", |point| point.recall)?);
    plots.push(curve(report, "precision", |point| point.precision)?);
    plots.push(precision_recall(report)?);
    plots.push(scatter(report, main[3], main[4])?);
    if report.models.iter().any(|model| model.validation.is_some()) {
        plots.push(validation_and_test(report)?);
    }
    if report.models.iter().any(|model| !model.training.is_empty()) {
        plots.push(training(report, "training loss", |point| Some(point.loss))?);
        let measured = |point: &super::TrainingPoint| point.validation;
        let points = report.models.iter().flat_map(|model| &model.training);
        if points.flat_map(|curve| &curve.points).any(|point| point.validation.is_some()) {
            let name = format!("{} on validation", Metric::ndcg(10));
            plots.push(training(report, &name, measured)?);
        }
    }
    Ok(plots)
}

/// The models that are told apart by color, in the order of the report, and their colors: the best, and the strongest baseline.
pub(super) fn colored(report: &Report) -> Vec<(usize, RGBColor)> {
    palette::colored(report.models.len(), strongest_baseline(report))
}

/// What a model is drawn in; see [`palette::drawn`].
fn drawn(report: &Report) -> Vec<(usize, RGBColor)> {
    palette::drawn(report.models.len(), strongest_baseline(report))
}

pub(super) fn strongest_baseline(report: &Report) -> Option<usize> {
    let mut rows = report.comparisons.iter();
    let row = rows.find(|row| row.against == Reference::StrongestBaseline)?;
    report.models.iter().position(|model| model.name == row.reference)
}

fn names(report: &Report) -> Vec<String> {
    report.models.iter().map(|model| model.name.clone()).collect()
}

fn row_color(is_baseline: bool) -> RGBColor {
    if is_baseline { BASELINE } else { MODEL }
}

fn bars(report: &Report, metric: Metric) -> Result<Plot, EvalError> {
    let rows: Vec<_> = report.models.iter().map(|model| model.metric(metric)).collect();
    let top = |row: &Option<&super::MetricRow>| {
        row.map_or(0.0, |row| row.interval.map_or(row.mean.unwrap_or(0.0), |i| i.high))
    };
    let layout = Rows::new(rows.len(), 0.0, rows.iter().map(top).fold(0.0, f64::max));
    let svg = draw("metric bars", layout.height, |area| {
        layout.axes(area, &names(report))?;
        for (index, row) in rows.iter().enumerate() {
            let Some((mean, interval)) = row.and_then(|row| Some((row.mean?, row.interval))) else {
                continue;
            };
            let y = layout.y(index);
            let color = row_color(report.models[index].is_baseline);
            let bar = [(layout.x(0.0), y - 10), (layout.x(mean), y + 10)];
            area.draw(&Rectangle::new(bar, color.filled()))?;
            let mut end = layout.x(mean);
            if let Some(interval) = interval {
                let (low, high) = (layout.x(interval.low), layout.x(interval.high));
                area.draw(&PathElement::new([(low, y), (high, y)], INK.stroke_width(2)))?;
                for x in [low, high] {
                    area.draw(&PathElement::new([(x, y - 5), (x, y + 5)], INK.stroke_width(2)))?;
                }
                end = end.max(high);
            }
            let style = anchored(HPos::Left, VPos::Center);
            area.draw(&Text::new(formatted(metric, mean), (end + 8, y), style))?;
        }
        Ok(())
    })?;
    let confidence = report.bootstrap.confidence * 100.0;
    let caption = format!("{metric} with {confidence} % intervals; baselines in gray");
    Ok(Plot { svg, caption, by_model: false })
}

pub(crate) fn validation_and_test(report: &Report) -> Result<Plot, EvalError> {
    let part = crate::options::part_name(report.part);
    let mean = |model: &super::ModelRow| model.mean(report.primary);
    let both = |model: &super::ModelRow| mean(model).into_iter().chain(model.validation);
    let high = report.models.iter().flat_map(both).fold(0.0, f64::max);
    let layout = Rows::new(report.models.len(), 0.0, high);
    let svg = draw("validation and test", layout.height, |area| {
        layout.axes(area, &names(report))?;
        for (index, model) in report.models.iter().enumerate() {
            let (Some(test), Some(validation)) = (mean(model), model.validation) else { continue };
            let (y, color) = (layout.y(index), row_color(model.is_baseline));
            let (from, to) = ((layout.x(validation), y), (layout.x(test), y));
            area.draw(&PathElement::new([from, to], color.stroke_width(3)))?;
            area.draw(&Circle::new(from, 6, PAPER.filled()))?;
            area.draw(&Circle::new(from, 6, color.stroke_width(2)))?;
            area.draw(&Circle::new(to, 7, color.filled()))?;
        }
        Ok(())
    })?;
    let metric = report.primary;
    let caption = format!("{metric} on validation (ring) and {part} (disc); baselines in gray");
    Ok(Plot { svg, caption, by_model: false })
}

fn curve(
    report: &Report,
    name: &str,
    value: impl Fn(&super::CurvePoint) -> f64,
) -> Result<Plot, EvalError> {
    let points = |model: &super::ModelRow| -> Vec<(f64, f64)> {
        model.curve.iter().map(|point| (point.k as f64, value(point))).collect()
    };
    let lines: Vec<_> =
        drawn(report).into_iter().map(|(i, color)| (color, points(&report.models[i]))).collect();
    let svg = LinesPlot::new("curve", "k").draw(&lines)?;
    Ok(Plot { svg, caption: format!("{name} of the first k places"), by_model: true })
}

/// Precision against recall, a point for each cut.
fn precision_recall(report: &Report) -> Result<Plot, EvalError> {
    let line = |(index, color): (usize, RGBColor)| {
        let points = report.models[index].curve.iter();
        (color, points.map(|point| (point.recall, point.precision)).collect())
    };
    let lines: Vec<_> = drawn(report).into_iter().map(line).collect();
    let svg = LinesPlot::new("precision and recall", "recall").draw(&lines)?;
    let ks: Vec<String> = report.models.first().map_or_else(Vec::new, |model| {
        model.curve.iter().map(|point| point.k.to_string()).collect()
    });
    let caption = format!("precision against recall of the first {} places", ks.join(", "));
    Ok(Plot { svg, caption, by_model: true })
}

/// A plot for each way of parting the cases: a row for each slice, a point with its interval for each model.
pub(super) fn slices(report: &Report) -> Result<Vec<Plot>, EvalError> {
    let ways = report.slices.chunk_by(|a, b| a.by == b.by);
    ways.map(|rows| slice_plot(report, rows)).collect()
}

fn slice_plot(report: &Report, rows: &[SliceRow]) -> Result<Plot, EvalError> {
    let shown = colored(report);
    let place_of = |name: &str| shown.iter().position(|(i, _)| report.models[*i].name == name);
    let values = || rows.iter().flat_map(|row| &row.values);
    let own = values().filter(|value| place_of(&value.model).is_some());
    let high = own.map(|value| value.interval.high).fold(0.0, f64::max);
    let n_models = shown.len().max(1);
    // Room for a line of its own for each model within a row.
    let row_height = (n_models as u32 * 7 + 12).max(ROW_HEIGHT);
    let layout = Rows::new(rows.len(), 0.0, high).with_row_height(row_height, rows.len());
    let names: Vec<String> = rows
        .iter()
        .map(|row| format!("{} ({})", shortened(&row.name, 10), grouped(row.n_cases)))
        .collect();
    let svg = draw("slices", layout.height, |area| {
        layout.axes(area, &names)?;
        for (place, row) in rows.iter().enumerate() {
            for value in &row.values {
                let Some(index) = place_of(&value.model) else { continue };
                let middle = (n_models as i32 - 1) * 7 / 2;
                let (y, color) = (layout.y(place) + index as i32 * 7 - middle, shown[index].1);
                let (low, high) = (layout.x(value.interval.low), layout.x(value.interval.high));
                area.draw(&PathElement::new([(low, y), (high, y)], color.stroke_width(2)))?;
                area.draw(&Circle::new((layout.x(value.mean), y), 3, color.filled()))?;
            }
        }
        Ok(())
    })?;
    let first = rows.first();
    let caption = first
        .map_or_else(String::new, |row| format!("{} by {} (cases)", row.metric, row.by.words()));
    Ok(Plot { svg, caption, by_model: true })
}

fn training(
    report: &Report,
    name: &str,
    value: impl Fn(&super::TrainingPoint) -> Option<f64>,
) -> Result<Plot, EvalError> {
    let mut lines = Vec::new();
    for (index, color) in drawn(report) {
        for curve in &report.models[index].training {
            let points = curve.points.iter();
            let points: Vec<_> =
                points.filter_map(|point| Some((point.epoch, value(point)?))).collect();
            lines.push((color, points));
        }
    }
    let plot = LinesPlot { from_zero: [true, false], ..LinesPlot::new("training curve", "epoch") };
    let svg = plot.draw(&lines)?;
    let caption = format!("{name} after each epoch, a line for each seed");
    Ok(Plot { svg, caption, by_model: true })
}

/// A line for each of `lines`, in the colors of the legend.
pub(crate) fn lines(
    what: &'static str,
    lines: impl Iterator<Item = Vec<(f64, f64)>>,
    x_name: &str,
) -> Result<String, EvalError> {
    let lines: Vec<_> =
        lines.enumerate().map(|(index, points)| (color_of(index), points)).collect();
    LinesPlot::new(what, x_name).draw(&lines)
}

/// Lines with points over two number axes.
pub(crate) struct LinesPlot<'a> {
    pub(crate) what: &'static str,
    pub(crate) x_name: &'a str,
    /// Whether the x and the y axis begin with 0.
    pub(crate) from_zero: [bool; 2],
    /// Writes the numbers of the x axis.
    pub(crate) x_label: &'a dyn Fn(f64) -> String,
    /// Rings around places of lines.
    pub(crate) marks: &'a [(RGBColor, (f64, f64))],
}

impl<'a> LinesPlot<'a> {
    /// With both axes from 0.
    pub(crate) fn new(what: &'static str, x_name: &'a str) -> Self {
        Self { what, x_name, from_zero: [true; 2], x_label: &trimmed, marks: &[] }
    }

    pub(crate) fn draw(&self, lines: &[(RGBColor, Vec<(f64, f64)>)]) -> Result<String, EvalError> {
        let finite = |(x, y): &&(f64, f64)| x.is_finite() && y.is_finite();
        let marked = || self.marks.iter().map(|(_, place)| place);
        let all = || lines.iter().flat_map(|(_, points)| points).chain(marked()).filter(finite);
        let x = span(all().map(|(x, _)| *x), self.from_zero[0]);
        let y = span(all().map(|(_, y)| *y), self.from_zero[1]);
        draw(self.what, HEIGHT, |area| {
            let mut chart = ChartBuilder::on(area)
                .margin_top(10)
                .margin_right(20)
                .x_label_area_size(48)
                .y_label_area_size(70)
                .build_cartesian_2d(x.0..x.1, y.0..y.1)?;
            mesh(&mut chart, self.x_name, [self.x_label, &trimmed])?;
            for (color, points) in lines {
                let points: Vec<_> = points.iter().filter(finite).copied().collect();
                chart.draw_series(LineSeries::new(points.clone(), color.stroke_width(2)))?;
                chart.draw_series(points.iter().map(|p| Circle::new(*p, 3, color.filled())))?;
            }
            for (color, place) in self.marks {
                chart.draw_series([Circle::new(*place, 7, PAPER.filled())])?;
                chart.draw_series([Circle::new(*place, 7, color.stroke_width(3))])?;
            }
            Ok(())
        })
    }
}

fn scatter(report: &Report, x_metric: Metric, y_metric: Metric) -> Result<Plot, EvalError> {
    let points: Vec<_> = drawn(report)
        .into_iter()
        .filter_map(|(i, color)| {
            let model = &report.models[i];
            Some((color, model.mean(x_metric)?, model.mean(y_metric)?))
        })
        .collect();
    let x = span(points.iter().map(|(_, x, _)| *x), true);
    let y = span(points.iter().map(|(_, _, y)| *y), true);
    let svg = draw("scatter", HEIGHT, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin_top(10)
            .margin_right(20)
            .x_label_area_size(48)
            .y_label_area_size(62)
            .build_cartesian_2d(x.0..x.1, y.0..y.1)?;
        mesh(&mut chart, &x_metric.to_string(), [&trimmed, &trimmed])?;
        let zero = [(x.0, 0.0), (x.1, 0.0)];
        chart.draw_series(LineSeries::new(zero, INK))?;
        chart.draw_series(
            points.iter().map(|(color, x, y)| Circle::new((*x, *y), 7, color.filled())),
        )?;
        Ok(())
    })?;
    let caption =
        format!("{y_metric} (upwards: more popular items than the users' own) against {x_metric}");
    Ok(Plot { svg, caption, by_model: true })
}
