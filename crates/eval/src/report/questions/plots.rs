//! The plots of a report on questions.

use plotters::style::RGBColor;

use super::{CEILING, QuestionReport};
use crate::error::EvalError;
use crate::intents::WithInterval;
use crate::questions::QuestionMeasures;
use crate::report::canvas::{BASELINE, INK, color_of};
use crate::report::plots::Plot;
use crate::report::reliability;
use crate::report::rows::dots;

impl QuestionReport {
    /// All that was measured with the names and colors it is drawn in: the ceiling first, then the models.
    fn drawn(&self) -> Vec<(&str, RGBColor, &QuestionMeasures)> {
        let ceiling = self.ceiling.iter().map(|measured| (CEILING, INK, measured));
        let models = self.rows.iter().map(|row| {
            let color = if row.is_baseline { BASELINE } else { color_of(0) };
            (row.model.as_str(), color, &row.measured)
        });
        ceiling.chain(models).collect()
    }

    /// What models are told apart by.
    pub(crate) fn values_plots(&self) -> Result<Vec<Plot>, EvalError> {
        let hits = self.values("top-3", "better to the right", |own| own.top_3)?;
        let loss = self.values("log loss", "better to the left", |own| Some(own.log_loss))?;
        Ok([hits, loss].into_iter().flatten().collect())
    }

    fn values(
        &self,
        name: &str,
        better: &str,
        of: impl Fn(&QuestionMeasures) -> Option<WithInterval>,
    ) -> Result<Option<Plot>, EvalError> {
        let rows = self.drawn().into_iter().filter_map(|(model, color, measured)| {
            let WithInterval { value, interval, .. } = of(measured)?;
            Some((model.to_owned(), color, value, interval))
        });
        let rows: Vec<_> = rows.collect();
        if rows.is_empty() {
            return Ok(None);
        }
        let svg = dots(&rows)?;
        let confidence = self.bootstrap.confidence * 100.0;
        let caption = format!("{name} with {confidence} % intervals, {better}; baselines in gray");
        Ok(Some(Plot { svg, caption, by_model: false }))
    }

    /// Predicted against observed of each model and of the ceiling, all intents together, above how the probabilities are spread.
    pub(super) fn reliability_plots(&self) -> Result<Vec<Plot>, EvalError> {
        let plot = |(model, color, measured): (&str, RGBColor, &QuestionMeasures)| {
            let (bins, spread) = (&measured.reliability, &measured.histogram);
            let svg = reliability::plot(bins, spread, color)?;
            let caption = format!(
                "{model}: {}; ECE {:.4}, {:.4} by chance alone",
                reliability::words(bins, spread, "outcomes"),
                measured.ece.value,
                measured.noise_floor.mean
            );
            Ok(Plot { svg, caption, by_model: false })
        };
        self.drawn().into_iter().map(plot).collect()
    }
}
