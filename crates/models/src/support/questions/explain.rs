//! Which behavior led to a probability: what is left of it without each.

use std::collections::BTreeMap;

use forecart_data::{History, ItemIdx};
use serde::Serialize;

use super::predictor::QuestionPredictor;
use crate::error::ModelError;

/// Behaviors that only together led to a probability have about the same effect each: of those with at least this share of the largest one the
/// latest is named first, the last straw.
const NEAR: f64 = 0.8;

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
    /// What the history is made of: the latest of those whose effect is at least 0.8 of the largest, and then the others, the largest effect first.
    pub behaviors: Vec<Behavior>,
}

/// The events of a history whose places `keep` keeps. A moment is the place of an event and its time: where the newest is left out, an event of no name and
/// no object stands at its time.
fn rest(history: History<'_>, keep: impl Fn(usize) -> bool) -> (Vec<ItemIdx>, Vec<i64>, Vec<u8>) {
    let (mut items, mut times_ms, mut events) = (Vec::new(), Vec::new(), Vec::new());
    let newest = history.items.len() - 1;
    for place in 0..=newest {
        let is_kept = keep(place);
        if is_kept || place == newest {
            items.push(if is_kept { history.items[place] } else { ItemIdx::UNKNOWN });
            events.push(if is_kept { history.events[place] } else { 0 });
            times_ms.push(history.timestamps_ms[place]);
        }
    }
    (items, times_ms, events)
}

impl QuestionPredictor {
    /// The probability of the intent at a place of the probabilities, and what each behavior of the history has added to it: the difference
    /// to the probability of the same history without any event of that name and object (a deletion, Zeiler and Fergus, ECCV 2014, of all
    /// that is alike).
    ///
    /// Behaviors that only together led to it have the whole effect each, so that effects need not sum to anything.
    ///
    /// # Errors
    /// [`ModelError::Training`] if a layer refuses its input.
    ///
    /// # Panics
    /// If there are not that many intents, or the history has no events or times.
    ///
    /// # Cost
    /// An answer for each different behavior.
    pub fn explain(&self, history: History<'_>, intent: usize) -> Result<Explanation, ModelError> {
        let probability = self.probabilities(history)?[intent];
        // What is left out must not bring events in sight that were not.
        let history = history.newest(self.model().n_seen(history.items.len()));
        let mut alike: BTreeMap<(u8, u32), (usize, usize)> = BTreeMap::new();
        for (place, (event, item)) in history.events.iter().zip(history.items).enumerate() {
            let (count, last) = alike.entry((*event, item.0)).or_default();
            (*count, *last) = (*count + 1, place);
        }
        let mut behaviors: Vec<(usize, Behavior)> = alike
            .into_iter()
            .map(|((event, object), (count, last))| {
                let effect = probability - self.without(history, intent, &[(event, object)])?;
                let last_ms = history.timestamps_ms[last];
                Ok((last, Behavior { event, object, count, last_ms, effect }))
            })
            .collect::<Result<_, ModelError>>()?;
        behaviors.sort_by(|(a_last, a), (b_last, b)| {
            b.effect.total_cmp(&a.effect).then(b_last.cmp(a_last))
        });
        // The largest effect stands first, if there is any.
        let largest = behaviors.first().map_or(0.0, |(_, behavior)| behavior.effect);
        let n_near = behaviors.partition_point(|(_, own)| own.effect >= NEAR * largest);
        let latest = (0..n_near).max_by_key(|at| behaviors[*at].0);
        if let Some(latest) = latest.filter(|_| largest > 0.0) {
            behaviors[..=latest].rotate_right(1);
        }
        let behaviors = behaviors.into_iter().map(|(_, behavior)| behavior).collect();
        Ok(Explanation { probability, behaviors })
    }

    /// The probability of an intent for the history without some behaviors, each an event and an object.
    ///
    /// # Errors
    /// As [`Self::explain`].
    ///
    /// # Panics
    /// As [`Self::explain`].
    pub fn without(
        &self,
        history: History<'_>,
        intent: usize,
        behaviors: &[(u8, u32)],
    ) -> Result<f64, ModelError> {
        let is_kept =
            |place: usize| !behaviors.contains(&(history.events[place], history.items[place].0));
        let (items, timestamps_ms, events) = rest(history, is_kept);
        let rest =
            History { items: &items, timestamps_ms: &timestamps_ms, events: &events, values: &[] };
        Ok(self.probabilities(rest)?[intent])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_keeps_its_time_though_its_event_is_left_out() {
        let items = [ItemIdx(1), ItemIdx(2), ItemIdx(1)];
        let history = History {
            items: &items,
            timestamps_ms: &[10, 20, 30],
            events: &[1, 2, 1],
            values: &[],
        };
        let (items, times_ms, events) = rest(history, |place| place == 1);
        assert_eq!(
            (items, times_ms, events),
            (vec![ItemIdx(2), ItemIdx(0)], vec![20, 30], vec![2, 0])
        );
        let (items, times_ms, _) = rest(history, |place| place != 1);
        assert_eq!((items, times_ms), (vec![ItemIdx(1); 2], vec![10, 30]));
    }
}
