//! What every model of intents is: fitted on labeled texts, it gives a logit of each intent for any text.

use std::fmt::Debug;

use forecart_text::Analyzed;
use serde_json::Value;

use super::folds::Folds;
use crate::error::ModelError;
use crate::recommend::Parameter;
use crate::tensors::Tensors;
use crate::training::{FitContext, FitRecord};

/// Logits of texts, `[n_texts][n_intents]`.
pub type Logits = Vec<Vec<f32>>;

/// Labeled texts of one part.
#[derive(Debug, Clone, Copy)]
pub struct IntentTexts<'a> {
    /// The texts, by the pipeline that the model will be served with.
    pub texts: &'a [Analyzed],
    /// The intent of each, below `n_intents`.
    pub labels: &'a [u32],
    /// Number of intents of the model; all of them at least once in what is learned from.
    pub n_intents: usize,
}

impl<'a> IntentTexts<'a> {
    /// Texts with their labels.
    ///
    /// # Panics
    /// If there are not as many labels as texts, or one is no intent: a mistake of the caller.
    pub fn new(texts: &'a [Analyzed], labels: &'a [u32], n_intents: usize) -> Self {
        assert_eq!(texts.len(), labels.len(), "each text has a label");
        assert!(
            labels.iter().all(|label| (*label as usize) < n_intents),
            "each label is an intent"
        );
        Self { texts, labels, n_intents }
    }

    /// No texts, of as many intents.
    pub fn none(self) -> Self {
        Self { texts: &[], labels: &[], ..self }
    }

    /// Number of texts.
    pub fn len(self) -> usize {
        self.texts.len()
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.texts.is_empty()
    }
}

/// A model with its hyperparameters, before it has seen data.
pub trait IntentSpec: Debug + Send + Sync {
    /// The name in the registry.
    fn name(&self) -> &'static str;

    /// All hyperparameters, defaults included; the registry makes the same spec of them.
    fn hyperparameters(&self) -> Value;

    /// What `tune` may vary.
    fn search_space(&self) -> &'static [Parameter] {
        &[]
    }

    /// What to tune in place of a model whose search space is empty.
    fn tuned_instead(&self) -> Option<String> {
        None
    }

    /// Memory that a fit needs at most, beside the texts, in bytes.
    fn needed_bytes(&self, train: IntentTexts<'_>) -> u64;

    /// Learns from `train`; may choose (an epoch, a number of steps) by `validation`, which is empty where there is none. `identity` says which texts
    /// these are, for a checkpoint.
    ///
    /// # Errors
    /// [`ModelError::Memory`], [`ModelError::Diverged`], [`ModelError::Cancelled`], [`ModelError::Training`] or those of a checkpoint.
    fn fit(
        &self,
        train: IntentTexts<'_>,
        validation: IntentTexts<'_>,
        identity: &str,
        context: &FitContext<'_>,
    ) -> Result<(Box<dyn IntentModel>, FitRecord), ModelError>;

    /// The logits of the texts of `folds` that are held out, in the order of [`Folds::labels`], by models that have not learned from them; and the spec
    /// for learning from all texts afterwards, with what these logits have chosen.
    ///
    /// # Errors
    /// As [`Self::fit`].
    fn cross_fit(
        &self,
        folds: &Folds<'_>,
        context: &FitContext<'_>,
    ) -> Result<(Logits, Box<dyn IntentSpec>), ModelError> {
        let context = FitContext { checkpoint: None, ..*context };
        let logits =
            folds.logits(&context, |train| Ok(self.fit(train, train.none(), "", &context)?.0))?;
        Ok((logits, self.for_refit(&FitRecord::default())))
    }

    /// The spec for learning from all texts after `record` chose by validation: the same number of epochs, nothing left to choose. The same
    /// spec where nothing was chosen.
    fn for_refit(&self, record: &FitRecord) -> Box<dyn IntentSpec>;
}

/// A fitted model of intents.
pub trait IntentModel: Debug + Send + Sync {
    /// The name in the registry.
    fn name(&self) -> &'static str;

    /// The hyperparameters that it was fitted with.
    fn hyperparameters(&self) -> Value;

    /// The logit of each intent, `[n_intents]`: their softmax at the temperature that calibration finds are the probabilities. Any text has finite
    /// logits, an empty one too; the same for a text alone and after others.
    ///
    /// # Errors
    /// [`ModelError::Training`] if a layer refuses its input.
    fn logits(&self, text: &Analyzed) -> Result<Vec<f32>, ModelError>;

    /// What each token adds to the logit of an intent, `[n_tokens]`.
    ///
    /// By default what the logit loses when the token is left out.
    ///
    /// # Errors
    /// As [`Self::logits`].
    ///
    /// # Panics
    /// If there are not that many intents.
    fn attribute(&self, text: &Analyzed, intent: usize) -> Result<Vec<f64>, ModelError> {
        let whole = f64::from(self.logits(text)?[intent]);
        let lost = |left_out: usize| {
            let rest = self.logits(&text.without(|at| at == left_out))?[intent];
            Ok(whole - f64::from(rest))
        };
        (0..text.tokens().len()).map(lost).collect()
    }

    /// What it has learned, for the model file. No text of a customer: words are kept as hashes.
    fn tensors(&self) -> Tensors;
}
