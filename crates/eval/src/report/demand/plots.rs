//! The plots of a report on demand.

use plotters::prelude::*;

use super::{DemandReport, DemandRow};
use crate::bootstrap::Interval;
use crate::demand::DemandMeasures;
use crate::error::EvalError;
use crate::report::canvas::{BASELINE, INK, color_of};
use crate::report::palette;
use crate::report::plots::{LinesPlot, Plot};
use crate::report::rows::dots;

impl DemandReport {
    /// The place of the strongest baseline.
    pub(super) fn strongest(&self) -> Option<usize> {
        self.rows.iter().position(|row| row.is_baseline)
    }

    /// Errors side by side, and the course over weeks and periods ahead.
    pub(super) fn plots(&self) -> Result<Vec<Plot>, EvalError> {
        let mut plots = Vec::new();
        plots.extend(self.values("WAPE of the medians", |all| {
            Some((all.median_wape?, all.median_wape_interval?))
        })?);
        plots.extend(self.values("pinball loss, units a period", |all| {
            Some((all.pinball_loss, all.pinball_interval?))
        })?);
        plots.extend(self.sold()?);
        plots.extend(self.coverage()?);
        plots.extend(self.ahead()?);
        Ok(plots)
    }

    fn values(
        &self,
        name: &str,
        of: impl Fn(&DemandMeasures) -> Option<(f64, Interval)>,
    ) -> Result<Option<Plot>, EvalError> {
        let rows = self.rows.iter().filter_map(|row| {
            let (value, interval) = of(&row.measured.all)?;
            let color = if row.is_baseline { BASELINE } else { color_of(0) };
            Some((row.model.clone(), color, value, interval))
        });
        let rows: Vec<_> = rows.collect();
        if rows.is_empty() {
            return Ok(None);
        }
        let svg = dots(&rows)?;
        let confidence = self.bootstrap.confidence * 100.0;
        let caption =
            format!("{name} with {confidence} % intervals, better to the left; baselines in gray");
        Ok(Some(Plot { svg, caption, by_model: false }))
    }

    /// Units sold in each forecast period, and the sums of what was expected one period ahead.
    fn sold(&self) -> Result<Option<Plot>, EvalError> {
        let Some(first) = self.rows.first().filter(|row| row.measured.by_period.len() > 1) else {
            return Ok(None);
        };
        let sold = first.measured.by_period.iter().map(|period| period.n_units);
        let sold = numbered(sold);
        let expected =
            |row: &DemandRow| numbered(row.measured.by_period.iter().map(|period| period.expected));
        let svg = self.course("sold and expected", true, Some(&sold), expected)?;
        let caption = "units of all items, one period ahead: sold (in the color of the text) and expected, the sum of the means";
        Ok(Some(Plot { svg, caption: caption.into(), by_model: true }))
    }

    /// How many periods were within the first interval, week by week.
    fn coverage(&self) -> Result<Option<Plot>, EvalError> {
        let first = self.rows.first().filter(|row| row.measured.by_period.len() > 1);
        let Some(nominal) = first.and_then(|row| row.measured.all.coverages.first()) else {
            return Ok(None);
        };
        let nominal = nominal.nominal;
        let n = first.map_or(0, |row| row.measured.by_period.len());
        let wanted = numbered(std::iter::repeat_n(nominal, n));
        let within = |row: &DemandRow| {
            let periods = row.measured.by_period.iter();
            numbered(periods.filter_map(|period| period.within.first().copied()))
        };
        let svg = self.course("coverage", false, Some(&wanted), within)?;
        let caption = format!(
            "share of items within the interval of {} %, one period ahead; the level line is what it says",
            nominal * 100.0
        );
        Ok(Some(Plot { svg, caption, by_model: true }))
    }

    /// Error against periods ahead, where there are several.
    fn ahead(&self) -> Result<Option<Plot>, EvalError> {
        if self.rows.first().is_none_or(|row| row.measured.by_periods_ahead.len() < 2) {
            return Ok(None);
        }
        let error = |row: &DemandRow| {
            let ahead = row.measured.by_periods_ahead.iter().zip(1..);
            ahead.filter_map(|(found, n)| Some((f64::from(n), found.median_wape?))).collect()
        };
        let lines = self.lines(error);
        let plot =
            LinesPlot { from_zero: [false; 2], ..LinesPlot::new("periods ahead", "periods ahead") };
        let svg = plot.draw(&lines)?;
        let caption = "WAPE of the medians against how many periods ahead the forecast is";
        Ok(Some(Plot { svg, caption: caption.into(), by_model: true }))
    }

    fn lines(
        &self,
        of: impl Fn(&DemandRow) -> Vec<(f64, f64)>,
    ) -> Vec<(RGBColor, Vec<(f64, f64)>)> {
        let drawn = palette::drawn(self.rows.len(), self.strongest());
        drawn.into_iter().map(|(index, color)| (color, of(&self.rows[index]))).collect()
    }

    /// A line for each way to forecast over the forecast periods, `reference` in ink.
    fn course(
        &self,
        what: &'static str,
        from_zero: bool,
        reference: Option<&[(f64, f64)]>,
        of: impl Fn(&DemandRow) -> Vec<(f64, f64)>,
    ) -> Result<String, EvalError> {
        let mut lines = self.lines(of);
        lines.extend(reference.map(|points| (INK, points.to_vec())));
        let first = (self.source.n_periods - self.source.test_periods) as usize;
        let label = |x: f64| match x.fract().abs() < 1e-6 && x >= 0.0 {
            // Without the year: two fit beside each other.
            true => self.day(first + x as usize).split_off(5),
            false => String::new(),
        };
        let plot = LinesPlot {
            from_zero: [false, from_zero],
            x_label: &label,
            ..LinesPlot::new(what, "period from")
        };
        plot.draw(&lines)
    }
}

fn numbered(values: impl Iterator<Item = f64>) -> Vec<(f64, f64)> {
    values.enumerate().map(|(place, value)| (place as f64, value)).collect()
}
