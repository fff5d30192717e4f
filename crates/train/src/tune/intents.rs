//! Searches of models of intents on an intent table.

use forecart_data::{IntentTable, Part, Progress};
use forecart_eval::tuning::{Objective, SearchReport};
use forecart_models::recommend::Parameter;
use forecart_models::support::{IntentOptions, IntentSpec, held_out_accuracy, registry};
use forecart_models::training::FitContext;
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

impl Intents<'_> {
    /// Whether some text of the part asks for an intent.
    fn has_texts(&self, part: Part) -> bool {
        self.table.rows(part).iter().any(|row| self.table.label(*row).is_some())
    }
}

impl Subject for Intents<'_> {
    fn objective(&self) -> Objective {
        Objective::Accuracy
    }

    fn content_hash(&self) -> &str {
        &self.table.manifest.content_hash
    }

    fn protocol_id(&self) -> String {
        let has_validation = self.has_texts(Part::Validation);
        if has_validation { "validation" } else { "folds" }.to_owned()
    }

    fn has_curve_of_objective(&self) -> bool {
        false
    }

    fn candidate<'s>(
        &'s self,
        name: &str,
        keys: &Value,
    ) -> Result<Box<dyn Candidate + 's>, TrainError> {
        if !self.has_texts(Part::Test) {
            let reason = "no text of the test part asks for an intent; prepare the texts again with a share of them in `text.test`";
            return Err(TrainError::Search { reason: reason.to_owned() });
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

    fn tuned_instead(&self) -> Option<String> {
        self.spec.tuned_instead()
    }

    fn uses_threads(&self) -> bool {
        true
    }

    /// The share of texts that ask for an intent of which the most probable one is it: of the validation part or, where there is none, of the training
    /// texts as they take turns in being held out.
    fn trial(
        &self,
        _number: usize,
        seed: u64,
        resources: Resources,
        watch: &dyn Progress,
    ) -> Result<Outcome, TrainError> {
        let context = FitContext {
            seed,
            n_threads: resources.n_threads,
            progress: watch,
            memory_limit_bytes: resources.memory_limit_bytes,
            checkpoint: None,
        };
        let (value, chosen_epoch) = held_out_accuracy(self.spec.as_ref(), self.on.table, &context)?;
        Ok(Outcome { value, chosen_epoch })
    }
}
