//! Texts that take turns in being held out.

use forecart_text::Analyzed;
use rayon::prelude::*;

use super::contract::{IntentModel, IntentTexts, Logits};
use crate::error::ModelError;
use crate::training::FitContext;

/// Parts that texts are dealt out to.
const N_FOLDS: usize = 5;

/// Held out texts after which no further part is held out: a share of 95 % of so many is known to half a percent.
const ENOUGH: usize = 2000;

/// Labeled texts, and which are held out together.
///
/// The texts of an intent are dealt out to five folds in turn, and folds are held out one after the other until 2,000 texts were: all five of a small table,
/// one of a large one. An intent of one text is always learned from, for a model has to know it, and that text's logits come from a model
/// that has seen it. Texts that ask for none of the intents are dealt out too, and never learned from.
#[derive(Debug)]
pub struct Folds<'a> {
    texts: &'a [Analyzed],
    labels: &'a [Option<u32>],
    n_intents: usize,
    /// Rows of each fold that is held out.
    held_out: Vec<Vec<usize>>,
    is_alone: Vec<bool>,
}

impl<'a> Folds<'a> {
    /// Of texts with what each asks, `None` for none of the intents.
    pub fn new(texts: &'a [Analyzed], labels: &'a [Option<u32>], n_intents: usize) -> Self {
        let mut n_of_intent = vec![0_usize; n_intents + 1];
        let mut held_out = vec![Vec::new(); N_FOLDS];
        for (row, label) in labels.iter().enumerate() {
            let n = &mut n_of_intent[label.map_or(n_intents, |label| label as usize)];
            held_out[*n % N_FOLDS].push(row);
            *n += 1;
        }
        let mut n_held_out = 0;
        let n_folds = held_out.iter().take_while(|fold| {
            let is_needed = n_held_out < ENOUGH;
            n_held_out += fold.len();
            is_needed
        });
        let n_folds = n_folds.count();
        held_out.truncate(n_folds);
        let is_alone = n_of_intent[..n_intents].iter().map(|n| *n == 1).collect();
        Self { texts, labels, n_intents, held_out, is_alone }
    }

    /// What each text asks that is held out, fold by fold.
    pub fn labels(&self) -> Vec<Option<u32>> {
        self.held_out.iter().flatten().map(|row| self.labels[*row]).collect()
    }

    /// The logits of these texts, `[n][n_intents]`, by what `fit` learns from the others of each fold.
    ///
    /// # Errors
    /// Those of `fit` and of [`IntentModel::logits`].
    pub fn logits(
        &self,
        context: &FitContext<'_>,
        fit: impl Fn(IntentTexts<'_>) -> Result<Box<dyn IntentModel>, ModelError>,
    ) -> Result<Logits, ModelError> {
        let mut logits = Vec::new();
        for fold in &self.held_out {
            let mut is_learned = vec![true; self.texts.len()];
            fold.iter().for_each(|row| is_learned[*row] = false);
            let learned = |row: usize| {
                let label = self.labels[row]?;
                let is_learned = is_learned[row] || self.is_alone[label as usize];
                is_learned.then(|| (self.texts[row].clone(), label))
            };
            let (texts, labels): (Vec<Analyzed>, Vec<u32>) =
                (0..self.texts.len()).filter_map(learned).unzip();
            let model = fit(IntentTexts::new(&texts, &labels, self.n_intents))?;
            let asked: Vec<&Analyzed> = fold.iter().map(|row| &self.texts[*row]).collect();
            logits.extend(logits_of(model.as_ref(), &asked, context)?);
        }
        Ok(logits)
    }
}

/// The logits of texts, `[n][n_intents]`.
pub(super) fn logits_of(
    model: &dyn IntentModel,
    texts: &[&Analyzed],
    context: &FitContext<'_>,
) -> Result<Logits, ModelError> {
    context.on_threads(|| texts.par_iter().map(|text| model.logits(text)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::testing::{Constant, analyzed};
    use crate::testing::one_thread;
    use std::cell::RefCell;

    #[test]
    fn each_text_is_held_out_once_and_strangers_are_never_learned_from() {
        let texts = analyzed(&["a"; 13]);
        let labels: Vec<Option<u32>> =
            (0..13).map(|row| [Some(0), Some(1), None][row % 3]).chain([]).collect();
        let mut labels = labels;
        labels[12] = Some(2);
        let folds = Folds::new(&texts, &labels, 3);
        let mut held_out = folds.labels();
        assert_eq!(held_out.len(), 13);
        let learned = RefCell::new(Vec::new());
        let fit = |texts: IntentTexts<'_>| {
            learned.borrow_mut().push(texts.labels.to_vec());
            Ok(Box::new(Constant(vec![0.0; 3])) as Box<dyn IntentModel>)
        };
        assert_eq!(folds.logits(&one_thread(), fit).unwrap().len(), 13);
        for labels in learned.into_inner() {
            let n = |intent| labels.iter().filter(|label| **label == intent).count();
            // Of four texts an intent one at most is held out, and an intent of one text never is.
            assert!((3..=4).contains(&n(0)) && (3..=4).contains(&n(1)) && n(2) == 1, "{labels:?}");
        }
        held_out.sort_unstable();
        let mut all = labels.clone();
        all.sort_unstable();
        assert_eq!(held_out, all);
    }

    #[test]
    fn of_many_texts_one_fold_is_held_out() {
        let texts = analyzed(&["a"]);
        let many: Vec<Analyzed> = std::iter::repeat_n(&texts[0], 11_000).cloned().collect();
        let labels: Vec<Option<u32>> = (0..11_000).map(|row| Some(row % 2)).collect();
        assert_eq!(Folds::new(&many, &labels, 2).labels().len(), 2200);
        assert_eq!(Folds::new(&many[..5000], &labels[..5000], 2).labels().len(), 2000);
        assert_eq!(Folds::new(&many[..100], &labels[..100], 2).labels().len(), 100);
    }
}
