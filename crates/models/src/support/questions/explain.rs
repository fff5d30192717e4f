//! Which behaviors led to a probability: what is left of it without each.

use std::collections::BTreeMap;

use forecart_data::History;
use serde::Serialize;

use super::predictor::QuestionPredictor;
use super::rest::Rest;
use crate::error::ModelError;

/// Behaviors that only together led to a probability have about the whole effect each: those with at least this share of the largest one are its cause. On the
/// validation part of a generated log, before shares from 0.3, which name more that is not of the cause, to 0.8, which name half of it.
const NAMED: f64 = 0.5;

/// Behaviors of a cause, at most.
const MOST_NAMED: usize = 4;

/// An event with its object, all of a history's that are alike.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Behavior {
    /// The event's row among the names.
    pub event: u8,
    /// The object's row.
    pub object: u32,
    /// How many of them the history has, of those that the model may see.
    pub count: usize,
    /// When the last one was, milliseconds UTC.
    pub last_ms: i64,
    /// By how much the probability is higher with them than without.
    pub effect: f64,
}

/// The behaviors behind a probability.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The probability.
    pub probability: f64,
    /// How many of the behaviors are its cause.
    pub n_named: usize,
    /// What the history is made of: first the cause, the latest first, which completed it, and then the others, the largest effect first.
    pub behaviors: Vec<Behavior>,
}

impl Explanation {
    /// The behaviors without each of which much of the probability goes: those whose effect is at least half of the largest one, four at most, the latest first.
    /// None where nothing raises the probability.
    pub fn cause(&self) -> &[Behavior] {
        &self.behaviors[..self.n_named]
    }
}

/// The probabilities of a history, and of what is left of it without each of its behaviors.
#[derive(Debug, Clone, PartialEq)]
pub struct Deletions {
    /// `[n_intents]`.
    probabilities: Vec<f64>,
    /// The behaviors, the place of the last event of each, and what is left of the probabilities, `[n_intents]`.
    behaviors: Vec<(Behavior, usize, Vec<f64>)>,
}

impl Deletions {
    /// Of what answers any history, `n_seen` of whose newest events it sees: `answer` gives `[n_intents]`. What is left out must not bring events in sight that were not.
    ///
    /// # Errors
    /// Those of `answer`.
    ///
    /// # Panics
    /// If the history has no events or times.
    pub fn by<E>(
        history: History<'_>,
        n_seen: usize,
        answer: impl Fn(History<'_>) -> Result<Vec<f64>, E>,
    ) -> Result<Self, E> {
        let probabilities = answer(history)?;
        let history = history.newest(n_seen);
        let mut alike: BTreeMap<(u8, u32), (usize, usize)> = BTreeMap::new();
        for (place, (event, item)) in history.events.iter().zip(history.items).enumerate() {
            let (count, last) = alike.entry((*event, item.0)).or_default();
            (*count, *last) = (*count + 1, place);
        }
        let behaviors = alike.into_iter().map(|((event, object), (count, last))| {
            let left = answer(rest(history, &[(event, object)]).history())?;
            let last_ms = history.timestamps_ms[last];
            Ok((Behavior { event, object, count, last_ms, effect: 0.0 }, last, left))
        });
        Ok(Self { probabilities, behaviors: behaviors.collect::<Result<_, E>>()? })
    }

    /// The probability of each intent, `[n_intents]`.
    pub fn probabilities(&self) -> &[f64] {
        &self.probabilities
    }

    /// What led to the probability of the intent at a place of the probabilities.
    ///
    /// # Panics
    /// If there are not that many intents.
    pub fn of(&self, intent: usize) -> Explanation {
        let probability = self.probabilities[intent];
        let mut behaviors: Vec<(usize, Behavior)> = self
            .behaviors
            .iter()
            .map(|(behavior, last, left)| {
                (*last, Behavior { effect: probability - left[intent], ..behavior.clone() })
            })
            .collect();
        behaviors.sort_by(|(a_last, a), (b_last, b)| {
            b.effect.total_cmp(&a.effect).then(b_last.cmp(a_last))
        });
        let largest = behaviors.first().map_or(0.0, |(_, behavior)| behavior.effect);
        let n_near = behaviors.partition_point(|(_, own)| own.effect >= NAMED * largest);
        let n_named = if largest > 0.0 { n_near.min(MOST_NAMED) } else { 0 };
        behaviors[..n_named].sort_by_key(|(last, _)| std::cmp::Reverse(*last));
        let behaviors = behaviors.into_iter().map(|(_, behavior)| behavior).collect();
        Explanation { probability, n_named, behaviors }
    }
}

/// A history without some behaviors, for the moment of its newest event.
fn rest(history: History<'_>, behaviors: &[(u8, u32)]) -> Rest {
    Rest::at_newest(history, |place| {
        !behaviors.contains(&(history.events[place], history.items[place].0))
    })
}

impl QuestionPredictor {
    /// What is left of all probabilities of a history without each of its behaviors: of the same history without any event of that name and object (a deletion,
    /// Zeiler and Fergus, ECCV 2014, of all that is alike).
    ///
    /// Behaviors that only together led to a probability have the whole effect each, so that effects need not sum to anything; of those that stand in for each other none
    /// has any.
    ///
    /// # Errors
    /// [`ModelError::Training`] if a layer refuses its input.
    ///
    /// # Panics
    /// If the history has no events or times.
    ///
    /// # Cost
    /// An answer for each different behavior.
    pub fn deletions(&self, history: History<'_>) -> Result<Deletions, ModelError> {
        let n_seen = self.model().n_seen(history.items.len());
        Deletions::by(history, n_seen, |rest| self.probabilities(rest))
    }

    /// What led to the probability of the intent at a place of the probabilities. Of several intents, [`Self::deletions`] once.
    ///
    /// # Errors
    /// As [`Self::deletions`].
    ///
    /// # Panics
    /// As [`Self::deletions`] and [`Deletions::of`].
    pub fn explain(&self, history: History<'_>, intent: usize) -> Result<Explanation, ModelError> {
        Ok(self.deletions(history)?.of(intent))
    }

    /// The probability of each intent for the history without some behaviors, each an event and an object, `[n_intents]`. Of those that the model sees, nothing
    /// comes in sight that was not.
    ///
    /// # Errors
    /// As [`Self::deletions`].
    ///
    /// # Panics
    /// As [`Self::deletions`].
    pub fn without(
        &self,
        history: History<'_>,
        behaviors: &[(u8, u32)],
    ) -> Result<Vec<f64>, ModelError> {
        let history = history.newest(self.model().n_seen(history.items.len()));
        self.probabilities(rest(history, behaviors).history())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deletions(left: &[f64]) -> Deletions {
        let behavior = |(at, left): (usize, &f64)| {
            let behavior =
                Behavior { event: 1, object: at as u32, count: 1, last_ms: at as i64, effect: 0.0 };
            (behavior, at, vec![*left])
        };
        let behaviors = left.iter().enumerate().map(behavior).collect();
        Deletions { probabilities: vec![0.4], behaviors }
    }

    fn named(found: &Explanation) -> Vec<u32> {
        found.cause().iter().map(|own| own.object).collect()
    }

    #[test]
    fn a_cause_is_all_that_much_of_the_probability_goes_without_the_latest_first() {
        let found = deletions(&[0.1, 0.39, 0.2, 0.5]).of(0);
        assert_eq!(named(&found), [2, 0]);
        let others: Vec<u32> = found.behaviors[2..].iter().map(|own| own.object).collect();
        assert_eq!(others, [1, 3]);
        assert!((found.behaviors[1].effect - 0.3).abs() < 1e-12);
    }

    #[test]
    fn a_cause_has_four_behaviors_at_most_and_none_where_nothing_raises_the_probability() {
        assert_eq!(named(&deletions(&[0.11, 0.1, 0.12, 0.1, 0.13]).of(0)), [3, 2, 1, 0]);
        assert_eq!(named(&deletions(&[0.4, 0.5]).of(0)), [0; 0]);
    }
}
