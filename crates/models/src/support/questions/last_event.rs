//! What customers ask after an event, whatever came before it: a table of rates, which falls back where it is thin.

use std::collections::BTreeMap;

use forecart_data::{History, Part, Questions};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::contract::{QuestionModel, QuestionSpec};
use super::labels::{Asked, each_moment, logit, training_rates};
use super::popularity::finite;
use crate::error::ModelError;
use crate::recommend::Parameter;
use crate::recommend::registry::parse_keys;
use crate::tensors::{TensorData, Tensors};
use crate::training::{FitContext, FitRecord};

/// The name in the registry.
pub(super) const NAME: &str = "last-event";

/// Hyperparameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastEventConfig {
    /// Moments that the rates of the event alone count as beside those of event and object, and the rates of all moments beside those of the
    /// event.
    pub smoothing: f64,
}

impl Default for LastEventConfig {
    fn default() -> Self {
        Self { smoothing: 50.0 }
    }
}

/// The rate of each intent after moments whose event has an event name and an object, with `smoothing` moments of the rate after that event
/// name, which has as many of the rate of all moments: an empirical Bayes estimate with a Dirichlet prior of fixed weight (Jelinek and Mercer,
/// 1980, with counts in place of interpolation weights).
#[derive(Debug, Clone)]
pub struct LastEventSpec {
    config: LastEventConfig,
}

const SEARCH_SPACE: &[Parameter] = &[Parameter::log("smoothing", 1.0, 1e4)];

impl LastEventSpec {
    pub(super) fn from_keys(keys: &Value) -> Result<Self, ModelError> {
        let config: LastEventConfig = parse_keys(NAME, keys)?;
        if !(config.smoothing > 0.0 && config.smoothing.is_finite()) {
            let reason = format!("{} is not positive", config.smoothing);
            return Err(ModelError::hyperparameter(NAME, "smoothing", reason));
        }
        Ok(Self { config })
    }
}

impl QuestionSpec for LastEventSpec {
    fn name(&self) -> &'static str {
        NAME
    }

    fn hyperparameters(&self) -> Value {
        serde_json::to_value(&self.config).expect("a number in a struct is JSON")
    }

    fn search_space(&self) -> &'static [Parameter] {
        SEARCH_SPACE
    }

    fn fit(
        &self,
        questions: &Questions,
        context: &FitContext<'_>,
    ) -> Result<(Box<dyn QuestionModel>, FitRecord), ModelError> {
        let rates = training_rates(questions)?.1;
        let n_intents = rates.len();
        let n_rows = (questions.event_names().len() * questions.objects().len()) as u64;
        let n_pairs = n_rows.min(questions.manifest().parts[0].n_moments);
        // Counts and logits of each intent, and the nodes and lists that they are in.
        let needed = n_pairs * (12 * n_intents as u64 + 100);
        context.check_memory(NAME, needed, "raise `questions.min_count`")?;
        let mut of_events: BTreeMap<u32, Asked> = BTreeMap::new();
        let mut of_pairs: BTreeMap<[u32; 2], Asked> = BTreeMap::new();
        each_moment(questions, Part::Train, |user, place, asked| {
            let history = questions.history(user);
            let pair = pair(history, place);
            let none = || Asked::none(n_intents);
            of_events.entry(pair[0]).or_insert_with(none).push(asked);
            of_pairs.entry(pair).or_insert_with(none).push(asked);
        });
        let smoothing = self.config.smoothing;
        let after_event: BTreeMap<u32, Vec<f64>> = of_events
            .iter()
            .map(|(event, asked)| (*event, asked.rates(&rates, smoothing)))
            .collect();
        let logits = |rates: Vec<f64>| rates.into_iter().map(logit).collect::<Vec<f32>>();
        let pairs = of_pairs
            .iter()
            .map(|(pair, asked)| (*pair, logits(asked.rates(&after_event[&pair[0]], smoothing))));
        let pairs = pairs.collect();
        let events =
            after_event.iter().map(|(event, rates)| (*event, logits(rates.clone()))).collect();
        let model = LastEvent { config: self.config.clone(), all: logits(rates), events, pairs };
        Ok((Box::new(model), FitRecord::default()))
    }
}

/// Event and object at a place.
fn pair(history: History<'_>, place: usize) -> [u32; 2] {
    [history.events.get(place).copied().unwrap_or(0).into(), history.items[place].0]
}

/// The tables, as logits.
#[derive(Debug, Clone)]
pub(super) struct LastEvent {
    config: LastEventConfig,
    all: Vec<f32>,
    events: BTreeMap<u32, Vec<f32>>,
    pairs: BTreeMap<[u32; 2], Vec<f32>>,
}

impl LastEvent {
    pub(super) fn load(
        spec: LastEventSpec,
        tensors: &mut Tensors,
        n_intents: usize,
    ) -> Result<Self, ModelError> {
        let all = finite(tensors.take_f32("logits", Some(n_intents))?)?;
        let mut table = |keys: &str, logits: &str, width: usize| {
            let keys = tensors.take_u32(keys, None)?;
            let n_logits = (keys.len() / width).checked_mul(n_intents);
            let n_logits = n_logits.filter(|_| keys.len() % width == 0);
            let n_logits =
                n_logits.ok_or_else(|| ModelError::damaged("keys and logits do not fit"))?;
            let logits = finite(tensors.take_f32(logits, Some(n_logits))?)?;
            let rows: Vec<Vec<f32>> = logits.chunks_exact(n_intents).map(<[f32]>::to_vec).collect();
            Ok::<_, ModelError>((keys, rows))
        };
        let (events, after_event) = table("events", "events.logits", 1)?;
        let (pairs, after_pair) = table("pairs", "pairs.logits", 2)?;
        let pairs = pairs.as_chunks::<2>().0.iter().copied();
        Ok(Self {
            config: spec.config,
            all,
            events: events.into_iter().zip(after_event).collect(),
            pairs: pairs.zip(after_pair).collect(),
        })
    }
}

impl QuestionModel for LastEvent {
    fn name(&self) -> &'static str {
        NAME
    }

    fn hyperparameters(&self) -> Value {
        serde_json::to_value(&self.config).expect("a number in a struct is JSON")
    }

    fn n_intents(&self) -> usize {
        self.all.len()
    }

    fn logits(&self, history: History<'_>, places: &[usize]) -> Result<Vec<f32>, ModelError> {
        let row = |place: &usize| {
            let pair = pair(history, *place);
            let row = self.pairs.get(&pair).or_else(|| self.events.get(&pair[0]));
            row.unwrap_or(&self.all).iter().copied()
        };
        Ok(places.iter().flat_map(row).collect())
    }

    fn n_seen(&self, n_events: usize) -> usize {
        n_events.min(1)
    }

    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        tensors.insert("logits", TensorData::F32(self.all.clone()));
        tensors.insert("events", TensorData::U32(self.events.keys().copied().collect()));
        let logits = self.events.values().flatten().copied().collect();
        tensors.insert("events.logits", TensorData::F32(logits));
        let pairs = self.pairs.keys().flatten().copied().collect();
        tensors.insert("pairs", TensorData::U32(pairs));
        let logits = self.pairs.values().flatten().copied().collect();
        tensors.insert("pairs.logits", TensorData::F32(logits));
        tensors
    }
}
