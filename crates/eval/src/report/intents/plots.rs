//! The plots of a report on intents.

use plotters::style::RGBColor;

use super::{IntentReport, IntentRow, PRIMARY};
use crate::error::EvalError;
use crate::intents::{IntentMetric, WithInterval};
use crate::report::canvas::{BASELINE, color_of};
use crate::report::palette;
use crate::report::plots::{LinesPlot, Plot};
use crate::report::reliability;
use crate::report::rows::dots;

impl IntentReport {
    /// The models that have a curve: the majority is as sure of one text as of another.
    pub(super) fn with_curves(&self) -> Vec<&IntentRow> {
        self.rows.iter().filter(|row| row.model != super::MAJORITY).collect()
    }

    /// The place of the strongest baseline among them.
    pub(super) fn strongest(&self) -> Option<usize> {
        let strongest = self.strongest_baseline(PRIMARY)?;
        self.with_curves().iter().position(|row| row.model == strongest.model)
    }

    /// What models are told apart by, but the majority, from which the others would not be told apart.
    pub(crate) fn values_plots(&self) -> Result<Vec<Plot>, EvalError> {
        let accuracy = self.values("accuracy", IntentMetric::Accuracy)?;
        let f1 = self.values("macro-F1", IntentMetric::MacroF1)?;
        Ok([accuracy, f1].into_iter().flatten().collect())
    }

    fn values(&self, name: &str, metric: IntentMetric) -> Result<Option<Plot>, EvalError> {
        let row = |row: &&IntentRow| {
            let color = if row.is_baseline { BASELINE } else { color_of(0) };
            let WithInterval { value, interval, .. } = metric.measured(&row.measured);
            (row.model.clone(), color, value, interval)
        };
        let rows: Vec<_> = self.with_curves().iter().map(row).collect();
        if rows.is_empty() {
            return Ok(None);
        }
        let svg = dots(&rows)?;
        let confidence = self.bootstrap.confidence * 100.0;
        let caption =
            format!("{name} with {confidence} % intervals, better to the right; baselines in gray");
        Ok(Some(Plot { svg, caption, by_model: false }))
    }

    /// The share of wrong answers against the share of texts that are answered, with what each model chose.
    pub(super) fn risk(&self) -> Result<Option<Plot>, EvalError> {
        let rows = self.with_curves();
        if rows.is_empty() {
            return Ok(None);
        }
        let drawn = palette::drawn(rows.len(), self.strongest());
        let curve = |(index, color): &(usize, RGBColor)| {
            let points = rows[*index].measured.risk_curve.iter();
            (*color, points.map(|point| (point.coverage, point.risk)).collect())
        };
        let lines: Vec<_> = drawn.iter().map(curve).collect();
        let chosen = |(index, color): &(usize, RGBColor)| {
            let rates = rows[*index].measured.rates;
            Some((*color, (rates.coverage, 1.0 - rates.answered_precision?)))
        };
        let marks: Vec<_> = drawn.iter().filter_map(chosen).collect();
        let plot = LinesPlot {
            marks: &marks,
            ..LinesPlot::new("coverage and risk", "share of texts that are answered")
        };
        let svg = plot.draw(&lines)?;
        let caption = "share of wrong answers against the share of texts that are answered, the surest first; \
                       a ring is what the threshold of the model gives";
        Ok(Some(Plot { svg, caption: caption.into(), by_model: true }))
    }

    /// Predicted against observed of each model, above how its probabilities are spread.
    pub(super) fn reliability_plots(&self) -> Result<Vec<Plot>, EvalError> {
        self.with_curves().into_iter().map(reliability_plot).collect()
    }
}

fn reliability_plot(row: &IntentRow) -> Result<Plot, EvalError> {
    let measured = &row.measured;
    let color = if row.is_baseline { BASELINE } else { color_of(0) };
    let svg = reliability::plot(&measured.reliability, &measured.histogram, color)?;
    let first = if row.seeds.len() > 1 { " of the first seed" } else { "" };
    let caption = format!(
        "{}: {}{first}; ECE {:.4}",
        row.model,
        reliability::words(&measured.reliability, &measured.histogram, "texts"),
        measured.ece
    );
    Ok(Plot { svg, caption, by_model: false })
}
