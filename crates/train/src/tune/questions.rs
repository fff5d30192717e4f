//! Searches of models of questions on a question table.

use std::num::NonZeroUsize;

use forecart_data::{Part, Progress, Questions};
use forecart_eval::tuning::{Objective, SearchReport};
use forecart_models::recommend::Parameter;
use forecart_models::support::questions::{QuestionPredictor, QuestionSpec, registry};
use forecart_models::training::FitContext;
use serde_json::Value;

use super::TuneOptions;
use super::subject::{Candidate, NAMES, Outcome, Resources, Subject};
use crate::error::TrainError;
use crate::questions::{
    QuestionContest, QuestionContestant, QuestionTraining, measure_question_models,
};

/// Moments of the test part that are read.
const MAX_MOMENTS: NonZeroUsize = NonZeroUsize::new(20_000).expect("it is not 0");
/// Resamples of users for the intervals.
const N_RESAMPLES: usize = 400;

/// A question table.
pub(super) struct AskedNext<'a> {
    pub(super) table: &'a Questions,
}

impl Subject for AskedNext<'_> {
    fn objective(&self) -> Objective {
        Objective::QuestionLogLoss
    }

    fn content_hash(&self) -> &str {
        &self.table.manifest().content_hash
    }

    fn protocol_id(&self) -> String {
        "validation".to_owned()
    }

    fn has_curve_of_objective(&self) -> bool {
        true
    }

    fn candidate<'s>(
        &'s self,
        name: &str,
        keys: &Value,
    ) -> Result<Box<dyn Candidate + 's>, TrainError> {
        let parts = &self.table.manifest().parts;
        for (counts, part) in parts[1..].iter().zip(["validation", "test"]) {
            if counts.n_moments == 0 {
                let reason = format!(
                    "no moment of the {part} part has a closed window; prepare the table again with later cuts or a shorter horizon"
                );
                return Err(TrainError::Search { reason });
            }
        }
        Ok(Box::new(QuestionCandidate { spec: registry::spec(name, keys)?, table: self.table }))
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
            Ok(QuestionContestant { name: name.to_owned(), spec, is_baseline })
        });
        let contestants = contestants.collect::<Result<Vec<_>, TrainError>>()?;
        let training = QuestionTraining {
            seed: options.seed,
            n_threads: options.n_threads,
            memory_limit_bytes: options.memory_limit_bytes,
            checkpoint: None,
        };
        let contest = QuestionContest {
            contestants: &contestants,
            n_seeds: NonZeroUsize::MIN,
            given: &[],
            part: Part::Test,
            max_moments: MAX_MOMENTS,
            n_resamples: N_RESAMPLES,
            ceiling: None,
            title,
            commit: None,
            deterministic: false,
        };
        let report = measure_question_models(self.table, &contest, &training, progress)?;
        Ok(SearchReport::Questions(Box::new(report)))
    }
}

struct QuestionCandidate<'a> {
    spec: Box<dyn QuestionSpec>,
    table: &'a Questions,
}

impl Candidate for QuestionCandidate<'_> {
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
        self.spec.uses_seed()
    }

    /// The log loss over all validation moments and intents, before calibration.
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
        let (predictor, record) = QuestionPredictor::fit(self.spec.as_ref(), self.table, &context)?;
        let loss = predictor.log_loss_before_calibration(self.table, Part::Validation)?;
        Ok(Outcome { value: loss.map(|loss| -loss), chosen_epoch: record.chosen_epoch })
    }
}
