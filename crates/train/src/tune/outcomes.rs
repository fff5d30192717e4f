//! Searches of models of a binary outcome on a sample table.

use forecart_data::{Progress, SampleTable};
use forecart_eval::tuning::{Objective, SearchReport};
use forecart_models::ads::{OutcomePredictor, OutcomeSpec, Positions, registry};
use forecart_models::recommend::Parameter;
use forecart_models::training::FitContext;
use serde_json::Value;

use super::TuneOptions;
use super::subject::{Candidate, NAMES, Outcome, Resources, Subject};
use crate::error::TrainError;
use crate::outcome::{OutcomeContestant, OutcomeOptions, measure_outcomes, rounds};

/// A sample table.
pub(super) struct Outcomes<'a> {
    pub(super) table: &'a SampleTable,
}

impl Subject for Outcomes<'_> {
    fn objective(&self) -> Objective {
        Objective::LogLoss
    }

    fn content_hash(&self) -> &str {
        &self.table.manifest.content_hash
    }

    fn protocol_id(&self) -> String {
        self.table.manifest.description.split.name().to_owned()
    }

    fn has_curve_of_objective(&self) -> bool {
        // Of folds, it is of the first.
        rounds(self.table).len() == 1
    }

    fn candidate<'s>(
        &'s self,
        name: &str,
        keys: &Value,
    ) -> Result<Box<dyn Candidate + 's>, TrainError> {
        let spec = registry::spec(name, keys)?;
        spec.check_columns(&self.table.manifest.columns)?;
        Ok(Box::new(OutcomeModel { spec, table: self.table }))
    }

    fn side_by_side(
        &self,
        options: &TuneOptions,
        keys: [Value; 2],
        title: String,
        progress: &dyn Progress,
    ) -> Result<SearchReport, TrainError> {
        let contestants = NAMES.into_iter().zip(keys).map(|((name, is_baseline), keys)| {
            let spec = registry::spec(&options.model, &keys)?;
            Ok(OutcomeContestant { name: name.to_owned(), spec, is_baseline })
        });
        let contestants = contestants.collect::<Result<Vec<_>, TrainError>>()?;
        let measure = OutcomeOptions {
            memory_limit_bytes: options.memory_limit_bytes,
            title,
            ..OutcomeOptions::new(options.seed, options.n_threads)
        };
        let report = measure_outcomes(self.table, &contestants, &[], &measure, progress)?;
        Ok(SearchReport::Outcomes(Box::new(report)))
    }
}

struct OutcomeModel<'a> {
    spec: Box<dyn OutcomeSpec>,
    table: &'a SampleTable,
}

impl Candidate for OutcomeModel<'_> {
    fn name(&self) -> &'static str {
        self.spec.name()
    }

    fn search_space(&self) -> &'static [Parameter] {
        self.spec.search_space()
    }

    fn hyperparameters(&self) -> Value {
        self.spec.hyperparameters()
    }

    fn uses_threads(&self) -> bool {
        self.spec.uses_threads()
    }

    /// Fits each round of the table and takes the mean log loss over all its validation rows, by their weights.
    fn trial(
        &self,
        _number: usize,
        seed: u64,
        resources: Resources,
        watch: &dyn Progress,
    ) -> Result<Outcome, TrainError> {
        let table = self.table;
        let (mut loss, mut weights, mut chosen_epoch) = (0.0, 0.0, None);
        for (number, round) in rounds(table).iter().enumerate() {
            let later = Later(watch);
            let context = FitContext {
                seed,
                n_threads: resources.n_threads,
                // Curves of two folds are not one curve.
                progress: if number == 0 { watch } else { &later },
                memory_limit_bytes: resources.memory_limit_bytes,
                checkpoint: None,
            };
            let (predictor, record) =
                OutcomePredictor::fit(self.spec.as_ref(), &round.view(table), &context)?;
            let rows = round.validation.iter().map(|row| table.row(*row));
            let found = predictor.predict(rows, Positions::AsLogged)?;
            loss += found.iter().zip(&round.validation).fold(0.0, |sum, (found, row)| {
                // ln(1 + e^z) - y z, of the logit before calibration.
                let (z, y) = (f64::from(found.logit), table.label(*row));
                sum + table.weight(*row) * (z.max(0.0) - z * y + (-z.abs()).exp().ln_1p())
            });
            weights += round.validation.iter().map(|row| table.weight(*row)).sum::<f64>();
            chosen_epoch = chosen_epoch.or(record.chosen_epoch);
        }
        let value = (weights > 0.0).then(|| -loss / weights);
        Ok(Outcome { value, chosen_epoch })
    }
}

/// A watch that hears nothing of epochs.
struct Later<'a>(&'a dyn Progress);

impl Progress for Later<'_> {
    fn begin(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
    fn note(&self, _: &str) {}

    fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}
