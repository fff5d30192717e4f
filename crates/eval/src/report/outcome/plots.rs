//! The plots of a report on probabilities.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::{ColumnSegments, OutcomeReport, OutcomeRow, PRIMARY, title};
use crate::error::EvalError;
use crate::probability::{OperatingPoint, ProbabilityMetric};
use crate::report::canvas::{BASELINE, HEIGHT, INK, PAPER, color_of, draw, mesh, trimmed};
use crate::report::grouped;
use crate::report::palette;
use crate::report::plots::Plot;
use crate::report::reliability;
use crate::report::rows::{Rows, anchored, dots};

/// Where a probability is off.
const ALARM: RGBColor = RGBColor(0xd6, 0x4b, 0x2a);

/// Columns whose segments are drawn; the table has all.
const N_COLUMNS: usize = 8;

impl OutcomeReport {
    /// The models that have curves: the constant has one point, at which all rows are.
    pub(super) fn with_curves(&self) -> Vec<&OutcomeRow> {
        self.rows.iter().filter(|row| row.points.len() > 1).collect()
    }

    /// The place of the strongest baseline among them.
    pub(super) fn strongest(&self) -> Option<usize> {
        let strongest = self.strongest_baseline(PRIMARY)?;
        self.with_curves().iter().position(|row| row.model == strongest.model)
    }

    /// Models side by side: values, then curves.
    pub(super) fn models_plots(&self) -> Result<Vec<Plot>, EvalError> {
        let mut plots = self.values_plots()?;
        plots.extend(self.roc()?);
        plots.extend(self.precision_recall()?);
        Ok(plots)
    }

    /// What models are told apart by.
    pub(crate) fn values_plots(&self) -> Result<Vec<Plot>, EvalError> {
        let [auc, precision] = [ProbabilityMetric::Auc, ProbabilityMetric::AveragePrecision];
        let metrics = [PRIMARY, auc, precision, ProbabilityMetric::Ece];
        let plots = metrics.into_iter().map(|metric| self.values(metric));
        Ok(plots.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }

    /// A disc with its interval for each model but the constant, from which the others would not be told apart.
    fn values(&self, metric: ProbabilityMetric) -> Result<Option<Plot>, EvalError> {
        let shown = self.rows.iter().filter(|row| row.model != super::CONSTANT);
        let shown: Vec<_> = shown
            .filter_map(|row| {
                let (value, interval) =
                    (row.measured.value(metric)?, row.measured.interval(metric)?);
                let color = if row.is_baseline { BASELINE } else { color_of(0) };
                Some((row.model.clone(), color, value, interval))
            })
            .collect();
        if shown.is_empty() {
            return Ok(None);
        }
        let svg = dots(&shown)?;
        let confidence = self.bootstrap.confidence * 100.0;
        let better = if metric.higher_is_better() { "right" } else { "left" };
        let caption = format!(
            "{} with {confidence} % intervals, better to the {better}; baselines in gray",
            title(metric)
        );
        Ok(Some(Plot { svg, caption, by_model: false }))
    }

    fn roc(&self) -> Result<Option<Plot>, EvalError> {
        let curve = |row: &OutcomeRow| {
            let points = row.points.iter().map(|point| (point.false_positive_rate, point.recall));
            std::iter::once((0.0, 0.0)).chain(points).collect()
        };
        let chance = vec![(0.0, 0.0), (1.0, 1.0)];
        let svg = self.curves("ROC curve", "false positive rate", 1.0, chance, curve)?;
        let caption = "ROC: recall against the share of negative rows that are taken for positive ones; \
                       the straight line is chance";
        Ok(svg.map(|svg| Plot { svg, caption: caption.into(), by_model: true }))
    }

    fn precision_recall(&self) -> Result<Option<Plot>, EvalError> {
        let curve = |row: &OutcomeRow| {
            let points = &row.points;
            // From the first point to the left: of no row, precision is not known.
            let start = points.first().map(|first| (0.0, first.precision));
            let of = |point: &OperatingPoint| (point.recall, point.precision);
            start.into_iter().chain(points.iter().map(of)).collect()
        };
        let rate = self.rows.first().map_or(0.0, |row| row.measured.base_rate);
        let chance = vec![(0.0, rate), (1.0, rate)];
        // Of the first rows alone, precision jumps: what a tenth of the positive rows have sets the height.
        let settled = self.rows.iter().flat_map(|row| &row.points);
        let settled = settled.filter(|point| point.recall >= 0.1).map(|point| point.precision);
        let top = (settled.fold(rate, f64::max) * 1.1).min(1.0);
        let svg = self.curves("precision and recall", "recall", top, chance, curve)?;
        let caption =
            "precision against recall; the level line is chance, the share of positive rows";
        Ok(svg.map(|svg| Plot { svg, caption: caption.into(), by_model: true }))
    }

    /// A line for each model that has points, the line of chance behind them.
    fn curves(
        &self,
        what: &'static str,
        x_name: &str,
        top: f64,
        chance: Vec<(f64, f64)>,
        curve: impl Fn(&OutcomeRow) -> Vec<(f64, f64)>,
    ) -> Result<Option<String>, EvalError> {
        let rows = self.with_curves();
        let drawn = palette::drawn(rows.len(), self.strongest());
        let lines: Vec<_> =
            drawn.into_iter().map(|(index, color)| (color, curve(rows[index]))).collect();
        if lines.is_empty() {
            return Ok(None);
        }
        let svg = draw(what, HEIGHT, |area| {
            let mut chart = ChartBuilder::on(area)
                .margin_top(10)
                .margin_right(20)
                .x_label_area_size(48)
                .y_label_area_size(62)
                .build_cartesian_2d(0.0..1.0, 0.0..top)?;
            mesh(&mut chart, x_name, [&trimmed, &trimmed])?;
            chart.draw_series(LineSeries::new(chance, INK))?;
            for (color, points) in &lines {
                let points = points.iter().map(|(x, y)| (*x, y.min(top)));
                chart.draw_series(LineSeries::new(points, color.stroke_width(2)))?;
            }
            Ok(())
        })?;
        Ok(Some(svg))
    }

    /// Predicted against observed of each model, above how its predictions are spread.
    pub(super) fn reliability_plots(&self) -> Result<Vec<Plot>, EvalError> {
        let shown = self.rows.iter().filter(|row| row.model != super::CONSTANT);
        shown.map(|row| self.reliability(row)).collect()
    }

    fn reliability(&self, row: &OutcomeRow) -> Result<Plot, EvalError> {
        let measured = &row.measured;
        let color = if row.is_baseline { BASELINE } else { color_of(0) };
        let svg = reliability::plot(&measured.reliability, &row.histogram, color)?;
        let ece = measured.value(ProbabilityMetric::Ece);
        let ece = ece.map_or_else(|| "-".into(), |ece| format!("{ece:.4}"));
        let caption = format!(
            "{}: {}; ECE {ece}, {:.4} by chance alone",
            row.model,
            reliability::words(&measured.reliability, &row.histogram, "rows"),
            measured.noise_floor.mean
        );
        Ok(Plot { svg, caption, by_model: false })
    }

    /// The columns with segments that are off first, then those in the order of the table.
    pub(super) fn segment_plots(&self, row: &OutcomeRow) -> Result<Vec<Plot>, EvalError> {
        let is_off = |column: &ColumnSegments| column.segments.iter().any(|s| s.offset.alarm);
        // One segment says no more than all rows do.
        let mut columns: Vec<&ColumnSegments> =
            row.segments.iter().filter(|column| column.segments.len() > 1).collect();
        columns.sort_by_key(|column| !is_off(column));
        columns.truncate(N_COLUMNS);
        columns.into_iter().map(segment_plot).collect()
    }
}

fn segment_plot(column: &ColumnSegments) -> Result<Plot, EvalError> {
    let rows = &column.segments;
    let ends = rows.iter().flat_map(|segment| {
        [segment.offset.observed_rate.high, segment.mean_probability, segment.base_rate]
    });
    let layout = Rows::new(rows.len(), 0.0, ends.fold(0.0, f64::max));
    // A long name is worth more than the number of rows, which the table has.
    let names = rows.iter().map(|segment| match segment.name.chars().count() {
        0..=11 => format!("{} ({})", segment.name, grouped(segment.n_rows as u64)),
        _ => segment.name.clone(),
    });
    let names: Vec<String> = names.collect();
    let svg = draw("segments", layout.height, |area| {
        layout.axes(area, &names)?;
        for (place, segment) in rows.iter().enumerate() {
            let (y, offset) = (layout.y(place), &segment.offset);
            let color = if offset.alarm { ALARM } else { color_of(0) };
            let (low, high) =
                (layout.x(offset.observed_rate.low), layout.x(offset.observed_rate.high));
            let (predicted, observed) =
                (layout.x(segment.mean_probability), layout.x(segment.base_rate));
            area.draw(&PathElement::new([(low, y), (high, y)], color.stroke_width(2)))?;
            area.draw(&Circle::new((observed, y), 5, color.filled()))?;
            area.draw(&Circle::new((predicted, y), 6, PAPER.filled()))?;
            area.draw(&Circle::new((predicted, y), 6, INK.stroke_width(2)))?;
            // What is hidden by the ring.
            area.draw(&Circle::new((observed, y), 3, color.filled()))?;
            if offset.alarm {
                let style = anchored(HPos::Left, VPos::Center);
                area.draw(&Text::new("off", (high.max(predicted) + 12, y), style))?;
            }
        }
        Ok(())
    })?;
    let caption =
        format!("by {} (rows): predicted (ring), observed with its interval (disc)", column.column);
    Ok(Plot { svg, caption, by_model: false })
}
