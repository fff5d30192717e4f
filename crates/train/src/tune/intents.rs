//! Searches of models of intents on an intent table.

use forecart_data::{IntentTable, Part, Progress};
use forecart_eval::tuning::{Objective, SearchReport};
use forecart_models::ModelError;
use forecart_models::recommend::Parameter;
use forecart_models::support::{IntentOptions, IntentPredictor, IntentSpec, registry};
use forecart_models::training::FitContext;
use rayon::prelude::*;
use serde_json::Value;

use super::TuneOptions;
use super::subject::{Candidate, NAMES, Outcome, Resources, Subject};
use crate::error::TrainError;
use crate::intents::{IntentContestant, IntentMeasuring, IntentTraining, measure_intent_models};

/// An intent table, and how models of it decide when to answer.
pub(super) struct Intents<'a> {
    pub(super) table: &'a IntentTable,
    pub(super) options: IntentOptions,
}

impl Subject for Intents<'_> {
    fn objective(&self) -> Objective {
        Objective::Accuracy
    }

    fn content_hash(&self) -> &str {
        &self.table.manifest.content_hash
    }

    fn protocol_id(&self) -> String {
        "validation".to_owned()
    }

    fn has_curve_of_objective(&self) -> bool {
        false
    }

    fn candidate<'s>(
        &'s self,
        name: &str,
        keys: &Value,
    ) -> Result<Box<dyn Candidate + 's>, TrainError> {
        for (part, key) in [(Part::Validation, "text.validation"), (Part::Test, "text.test")] {
            let rows = self.table.rows(part);
            if !rows.iter().any(|row| self.table.label(*row).is_some()) {
                let reason = format!(
                    "no text of the {} part asks for an intent; prepare the texts again with a share of them in `{key}`",
                    key.trim_start_matches("text.")
                );
                return Err(TrainError::Search { reason });
            }
        }
        Ok(Box::new(IntentModel { spec: registry::spec(name, keys)?, on: self }))
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
            Ok(IntentContestant { name: name.to_owned(), spec, is_baseline })
        });
        let contestants = contestants.collect::<Result<Vec<_>, TrainError>>()?;
        let training = IntentTraining {
            seed: options.seed,
            n_threads: options.n_threads,
            memory_limit_bytes: options.memory_limit_bytes,
            checkpoint: None,
            options: self.options,
        };
        let measuring =
            IntentMeasuring { title, has_majority: false, ..IntentMeasuring::new(training) };
        let report =
            measure_intent_models(self.table, &contestants, &[], Part::Test, &measuring, progress)?;
        Ok(SearchReport::Intents(Box::new(report)))
    }
}

struct IntentModel<'a> {
    spec: Box<dyn IntentSpec>,
    on: &'a Intents<'a>,
}

impl Candidate for IntentModel<'_> {
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
        true
    }

    /// The share of the validation texts that ask for an intent of which the most probable one is it.
    fn trial(
        &self,
        _number: usize,
        seed: u64,
        resources: Resources,
        watch: &dyn Progress,
    ) -> Result<Outcome, TrainError> {
        let Intents { table, options } = self.on;
        let context = FitContext {
            seed,
            n_threads: resources.n_threads,
            progress: watch,
            memory_limit_bytes: resources.memory_limit_bytes,
            checkpoint: None,
        };
        let (predictor, record) =
            IntentPredictor::fit(self.spec.as_ref(), table, *options, &context)?;
        let asked: Vec<(usize, u32)> = table
            .rows(Part::Validation)
            .into_iter()
            .filter_map(|row| Some((row, table.label(row)?)))
            .collect();
        let is_right = |(row, label): &(usize, u32)| {
            let found = predictor.classify_clean(table.text(*row))?;
            Ok(found.best() == *label as usize)
        };
        let right: Vec<bool> = asked.par_iter().map(is_right).collect::<Result<_, ModelError>>()?;
        let n_right = right.iter().filter(|right| **right).count();
        let value = (!asked.is_empty()).then(|| n_right as f64 / asked.len() as f64);
        Ok(Outcome { value, chosen_epoch: record.chosen_epoch })
    }
}
