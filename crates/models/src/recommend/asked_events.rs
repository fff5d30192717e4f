//! The events that a model learns to predict, each from those before it.

use forecart_data::ItemIdx;

use super::view::TrainingView;
use crate::error::ModelError;

/// All sequences end to end, and which of their events are asked for.
#[derive(Debug)]
pub(super) struct AskedEvents {
    items: Vec<ItemIdx>,
    asked: Vec<Asked>,
}

/// An event to predict: where it stands, and the first event that the model sees before it.
#[derive(Debug, Clone, Copy)]
struct Asked {
    first: usize,
    place: usize,
}

impl AskedEvents {
    /// Every event of `view` of the kind that is to be predicted, if its item is known and so is one of the `max_history`
    /// before it, whatever their kind.
    ///
    /// # Errors
    /// [`ModelError::NoEvents`] of `model` if there is none.
    pub(super) fn of(
        view: &TrainingView<'_>,
        max_history: usize,
        model: &'static str,
    ) -> Result<Self, ModelError> {
        let (mut items, mut asked) = (Vec::new(), Vec::new());
        for user in view.users() {
            let (history, start) = (view.history(user), items.len());
            items.extend_from_slice(history.items);
            for at in 1..history.items.len() {
                let first = at.saturating_sub(max_history);
                let speaks = history.items[first..at].iter().any(|item| item.is_known());
                if speaks && history.items[at].is_known() && view.is_asked(history, at) {
                    asked.push(Asked { first: start + first, place: start + at });
                }
            }
        }
        match asked.is_empty() {
            true => Err(ModelError::NoEvents { model }),
            false => Ok(Self { items, asked }),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.asked.len()
    }

    /// The item of an event that is asked for.
    pub(super) fn label(&self, example: usize) -> ItemIdx {
        self.items[self.asked[example].place]
    }

    /// What is known before it, oldest first.
    pub(super) fn history(&self, example: usize) -> &[ItemIdx] {
        let Asked { first, place } = self.asked[example];
        &self.items[first..place]
    }

    /// How often each item is asked for, `[n_item_rows]`.
    pub(super) fn n_labels(&self, n_item_rows: usize) -> Vec<u64> {
        let mut n_labels = vec![0; n_item_rows];
        self.asked.iter().for_each(|asked| n_labels[self.items[asked.place].row()] += 1);
        n_labels
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::recommend::{FitOn, registry};
    use crate::testing::{Log, dataset, one_thread, scores};

    /// Items 1 to 4 are looked at, 5 to 8 are bought.
    const USERS: &[&[u32]] =
        &[&[1, 5, 2, 6, 3, 7], &[2, 6, 3, 7, 4, 8], &[3, 7, 4, 8, 1, 5], &[4, 8, 1, 5, 2, 6]];

    #[test]
    fn what_is_asked_for_is_learned_from_all_before_it() {
        let (_folder, dataset) =
            dataset(&Log::new(8, USERS).where_every_second_is_asked_for().all_for_training());
        let view = TrainingView::new(&dataset, FitOn::Train);
        let events = AskedEvents::of(&view, 2, "mlp").unwrap();
        assert_eq!(events.len(), 12);
        let example = |at| (events.history(at).to_vec(), events.label(at));
        assert_eq!(example(0), (vec![ItemIdx(1)], ItemIdx(5)));
        assert_eq!(example(1), (vec![ItemIdx(5), ItemIdx(2)], ItemIdx(6)));
        assert_eq!(example(3), (vec![ItemIdx(2)], ItemIdx(6)));
        assert_eq!(events.n_labels(9), [0, 0, 0, 0, 0, 3, 3, 3, 3]);
    }

    /// After a purchase the next event is always a look, but a purchase is asked for.
    #[test]
    fn models_learn_to_predict_the_event_that_is_asked_for() {
        let log = Log::new(8, USERS).all_for_training();
        for (log, best_is_bought) in
            [(log.clone().where_every_second_is_asked_for(), true), (log, false)]
        {
            let (_folder, dataset) = dataset(&log);
            let view = TrainingView::new(&dataset, FitOn::Train);
            for model in ["mlp", "two-tower"] {
                let keys = json!({"n_epochs": 60, "batch_size": 4, "dropout": 0.0});
                let spec = registry::spec(model, &keys).unwrap();
                let fitted = spec.fit(&view, &one_thread()).unwrap().model;
                let scores = scores(fitted.as_ref(), &[1, 5]);
                let of = |items: std::ops::Range<usize>| {
                    scores[items].iter().copied().fold(f32::MIN, f32::max)
                };
                let (looked_at, bought) = (of(1..5), of(5..9));
                assert_eq!(bought > looked_at, best_is_bought, "{model} {scores:?}");
            }
        }
    }
}
