//! A model with its vocabulary: answers for the shop's own ids.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use forecart_data::encode::FeatureProgram;
use forecart_data::{Dataset, History, ItemIdx, SeenItems, TextTable, Vocabulary};
use serde::Serialize;

use super::container;
use super::header::{DatasetFacts, FORMAT, FORMAT_VERSION, GateRecord, Header, Provenance};
use crate::error::ModelError;
use crate::recommend::{Fallback, Reason, Recommender, Scored, TopK, registry};
use crate::tensors::{TensorData, Tensors};

/// A fitted model with all it needs to answer for external ids: the content of a model file.
#[derive(Debug)]
pub struct LoadedModel {
    header: Header,
    model: Box<dyn Recommender>,
    items: Vocabulary,
    titles: TextTable,
    encoders: FeatureProgram,
}

container::as_file!(LoadedModel);

impl LoadedModel {
    /// `model`, which was fitted on `dataset` as `provenance` says.
    ///
    /// # Errors
    /// [`ModelError::Damaged`] if the model was fitted on another number of items.
    pub fn new(
        model: Box<dyn Recommender>,
        dataset: &Dataset,
        provenance: Provenance,
    ) -> Result<Self, ModelError> {
        if model.n_item_rows() != dataset.items.len() {
            return Err(ModelError::damaged("the model and the dataset have other items"));
        }
        let events = 0..dataset.event_names.len() as u32;
        let header = Header {
            content_hash: String::new(),
            format: FORMAT.to_owned(),
            format_version: FORMAT_VERSION,
            forecart_version: env!("CARGO_PKG_VERSION").to_owned(),
            task: "recommend".to_owned(),
            model: model.name().to_owned(),
            hyperparameters: model.hyperparameters(),
            provenance,
            dataset: DatasetFacts::from(dataset),
            event_names: events.map(|index| dataset.event_names.text(index).to_owned()).collect(),
        };
        let mut loaded = Self {
            header,
            model,
            items: dataset.items.clone(),
            titles: dataset.titles.clone(),
            encoders: dataset.encoders.clone(),
        };
        loaded.header = container::write(&loaded.header, &loaded.tensors()?)?.1;
        Ok(loaded)
    }

    fn tensors(&self) -> Result<Tensors, ModelError> {
        let encoders = serde_json::to_vec(&self.encoders)
            .map_err(|error| ModelError::damaged(format!("encoders: {error}")))?;
        let mut tensors = Tensors::default();
        tensors.insert("items", TensorData::U8(self.items.to_bytes()));
        tensors.insert("titles", TensorData::U8(self.titles.to_bytes()));
        tensors.insert("encoders", TensorData::U8(encoders));
        tensors.extend("model", self.model.tensors());
        Ok(tensors)
    }

    /// Reads the bytes of a model file. Any bytes give a model or an error: every length is checked
    /// against the bytes that are there before anything is allocated by it, and the content against
    /// its hash.
    ///
    /// # Errors
    /// [`ModelError::Damaged`], [`ModelError::FormatVersion`]; [`ModelError::UnknownModel`],
    /// [`ModelError::UnknownKey`] or [`ModelError::Hyperparameter`] for a model of another program.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        let (header, mut tensors): (Header, _) = container::read(bytes)?;
        let part = |name: &str| PathBuf::from(format!("model file, tensor {name}"));
        let items = Vocabulary::from_bytes(&tensors.take_u8("items")?, &part("items"))?;
        let titles = TextTable::from_bytes(&tensors.take_u8("titles")?, &part("titles"))?;
        if titles.len() != items.len() {
            return Err(ModelError::damaged("titles do not fit the item vocabulary"));
        }
        let encoders = serde_json::from_slice(&tensors.take_u8("encoders")?)
            .map_err(|error| ModelError::damaged(format!("encoders: {error}")))?;
        let learned = tensors.split("model");
        tensors.expect_empty()?;
        let model = registry::load(&header.model, &header.hyperparameters, learned, items.len())?;
        Ok(Self { header, model, items, titles, encoders })
    }

    /// The same model with the gate's verdict in its header, in place of an older one.
    ///
    /// # Errors
    /// As [`Self::to_bytes`].
    pub fn with_gate(mut self, gate: GateRecord) -> Result<Self, ModelError> {
        self.header.provenance.gate = Some(gate);
        self.header = container::write(&self.header, &self.tensors()?)?.1;
        Ok(self)
    }

    /// What the model is and where it came from.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The model itself, for dense indices.
    pub fn model(&self) -> &dyn Recommender {
        self.model.as_ref()
    }

    /// Gives up the vocabulary and keeps the model.
    pub fn into_model(self) -> Box<dyn Recommender> {
        self.model
    }

    /// The item vocabulary.
    pub fn items(&self) -> &Vocabulary {
        &self.items
    }

    /// A title for each item row; empty where there is none.
    pub fn titles(&self) -> &TextTable {
        &self.titles
    }

    /// The fitted encoders of item attributes.
    pub fn encoders(&self) -> &FeatureProgram {
        &self.encoders
    }

    /// The index of an external id, the unknown item if the vocabulary does not hold it.
    pub fn item(&self, id: &str) -> ItemIdx {
        ItemIdx(self.items.index_or_unknown(id))
    }

    /// The best `k` items for a history of external ids, oldest first. Ids that are not in the
    /// vocabulary are counted and otherwise ignored.
    pub fn recommend_ids(&self, history: &[&str], k: NonZeroUsize, seen: SeenItems) -> Answer<'_> {
        let items: Vec<ItemIdx> = history.iter().map(|id| self.item(id)).collect();
        self.recommend(History::of(&items), k, seen)
    }

    /// The same for a history of this model's [items](Self::item), with times and values where they are known: what
    /// models go by that count days.
    pub fn recommend(&self, history: History<'_>, k: NonZeroUsize, seen: SeenItems) -> Answer<'_> {
        let list = self.model.recommend(history, &TopK::new(k, seen));
        Answer {
            items: self.named(&list),
            fallback: self.model.fallback(history),
            n_unknown: history.items.iter().filter(|item| !item.is_known()).count(),
        }
    }

    /// The items most like `item_id`.
    ///
    /// # Errors
    /// [`ModelError::UnknownItem`].
    pub fn similar_ids(
        &self,
        item_id: &str,
        k: NonZeroUsize,
    ) -> Result<Vec<Recommended<'_>>, ModelError> {
        let item = self.known_item(item_id)?;
        Ok(self.named(&self.model.similar(item, k)))
    }

    /// At most `n` reasons why `item_id` is scored as it is for a history of external ids.
    ///
    /// # Errors
    /// [`ModelError::UnknownItem`].
    pub fn reasons_ids(
        &self,
        history: &[&str],
        item_id: &str,
        n: usize,
    ) -> Result<Vec<NamedReason<'_>>, ModelError> {
        let items: Vec<ItemIdx> = history.iter().map(|id| self.item(id)).collect();
        self.reasons(History::of(&items), item_id, n)
    }

    /// The same for a history of this model's [items](Self::item), with times and values where they are known.
    ///
    /// # Errors
    /// [`ModelError::UnknownItem`].
    pub fn reasons(
        &self,
        history: History<'_>,
        item_id: &str,
        n: usize,
    ) -> Result<Vec<NamedReason<'_>>, ModelError> {
        let item = self.known_item(item_id)?;
        let reasons = self.model.reasons(history, item, n);
        let named = |reason: Reason| match reason {
            Reason::Event { position, item, contribution } => NamedReason::Event {
                position,
                item_id: self.items.text(item.0),
                title: self.titles.get(item.row()),
                contribution,
            },
            Reason::Popular { n_events, rank, days } => {
                NamedReason::Popular { n_events, rank, days }
            }
            Reason::Trending { times, rank } => NamedReason::Trending { times, rank },
            Reason::New { days, rank } => NamedReason::New { days, rank },
        };
        Ok(reasons.into_iter().map(named).collect())
    }

    fn known_item(&self, id: &str) -> Result<ItemIdx, ModelError> {
        let item = self.items.index(id).map(ItemIdx);
        item.ok_or_else(|| ModelError::UnknownItem { id: id.to_owned() })
    }

    fn named(&self, list: &[Scored]) -> Vec<Recommended<'_>> {
        let named = |(position, scored): (usize, &Scored)| Recommended {
            rank: position + 1,
            item_id: self.items.text(scored.item.0),
            title: self.titles.get(scored.item.row()),
            score: scored.score,
        };
        list.iter().enumerate().map(named).collect()
    }
}

/// The answer to a history of external ids.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer<'a> {
    /// Best first.
    pub items: Vec<Recommended<'a>>,
    /// Why the list is popularity alone, `None` if it is the model's own.
    pub fallback: Option<Fallback>,
    /// Ids of the history that the vocabulary does not hold.
    pub n_unknown: usize,
}

/// An item of an [`Answer`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Recommended<'a> {
    /// From 1.
    pub rank: usize,
    /// The shop's id.
    pub item_id: &'a str,
    /// Empty if the catalog has none.
    pub title: &'a str,
    /// Larger is better; comparable within one answer.
    pub score: f32,
}

/// A [`Reason`] with external ids.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum NamedReason<'a> {
    /// See [`Reason::Event`].
    Event {
        /// Position in the history, from 0.
        position: usize,
        /// The shop's id of the item there.
        item_id: &'a str,
        /// Empty if the catalog has none.
        title: &'a str,
        /// How much of the score it brought.
        contribution: f32,
    },
    /// See [`Reason::Popular`].
    Popular {
        /// Events counted.
        n_events: f32,
        /// Place among all items, from 1.
        rank: usize,
        /// Over how many days.
        days: Option<u32>,
    },
    /// See [`Reason::Trending`].
    Trending {
        /// How many times as often as usual.
        times: f32,
        /// Place among all items, from 1.
        rank: usize,
    },
    /// See [`Reason::New`].
    New {
        /// Days since its first event.
        days: f32,
        /// Place among all items, from 1.
        rank: usize,
    },
}
