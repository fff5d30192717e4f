//! How to evaluate, and the guard over the test part.

use std::sync::{Arc, Mutex, PoisonError};

use forecart_data::{Dataset, Part, Protocol, SeenItems};

use crate::error::EvalError;

/// Keeps the log of every reading of the test part in one run.
///
/// The test part can be evaluated only through a guard ([`EvaluateOptions::test`]), and a label
/// (model and seed) only once: a model that was measured on test cannot be measured again with
/// other hyperparameters under its name. Clones share one log. The report prints it.
#[derive(Debug, Clone, Default)]
pub struct TestGuard {
    readings: Arc<Mutex<Vec<String>>>,
}

impl TestGuard {
    /// A guard with an empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was measured on the test part, in order.
    pub fn readings(&self) -> Vec<String> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn read(&self, label: &str) -> Result<(), EvalError> {
        let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        if readings.iter().any(|earlier| earlier == label) {
            return Err(EvalError::TestReadTwice { label: label.into() });
        }
        readings.push(label.into());
        Ok(())
    }
}

/// How to evaluate one model. Made by [`Self::validation`] or [`Self::test`].
#[derive(Debug, Clone)]
pub struct EvaluateOptions {
    /// What is measured, for the log and for errors: model and seed.
    label: String,
    /// `None` for the validation part.
    guard: Option<TestGuard>,
    /// The scorer sees the newest so many events. 50; LOO-FULL on MovieLens uses 200.
    pub max_history: usize,
    /// Places of the lists behind coverage, Gini, novelty and popularity. 10.
    pub list_length: usize,
    /// Whether seen items are masked; `None` takes what the dataset says. The session protocol
    /// masks nothing unless it is asked for here.
    pub seen: Option<SeenItems>,
}

impl EvaluateOptions {
    /// Evaluation on the validation part, as often as needed.
    pub fn validation(label: impl Into<String>) -> Self {
        Self { label: label.into(), guard: None, max_history: 50, list_length: 10, seen: None }
    }

    /// Evaluation on the test part, once for each label of the guard.
    pub fn test(label: impl Into<String>, guard: &TestGuard) -> Self {
        Self { guard: Some(guard.clone()), ..Self::validation(label) }
    }

    /// What is measured.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The part that is measured.
    pub fn part(&self) -> Part {
        if self.guard.is_some() { Part::Test } else { Part::Validation }
    }

    /// Checks the options and writes a reading of the test part into the guard's log.
    pub(crate) fn begin(&self) -> Result<(), EvalError> {
        for (option, value) in
            [("max_history", self.max_history), ("list_length", self.list_length)]
        {
            if value == 0 {
                return Err(EvalError::Option { option, reason: "must be at least 1".into() });
            }
        }
        self.guard.as_ref().map_or(Ok(()), |guard| guard.read(&self.label))
    }

    /// Which seen items are masked on `dataset`.
    pub(crate) fn seen_on(&self, dataset: &Dataset) -> SeenItems {
        self.seen.unwrap_or_else(|| dataset.manifest.description.seen_when_measured())
    }

    /// The protocol id: everything that makes two numbers comparable, beside the data itself.
    ///
    /// `loo-full/full/mask-seen/len50/order=file`: protocol, full ranking (never sampled
    /// negatives, whose metrics would carry `@neg99`), mask, longest history, and the order of a
    /// user's events. A time split adds its two borders, the session protocol what it does with
    /// repeated items and the pause that ends a session, where no ids say it; where one event is asked for, its name stands in
    /// it, and where items that the user came to by one event are masked, that of this one. Validation and test
    /// have the same id.
    pub fn protocol_id(&self, dataset: &Dataset) -> String {
        let description = &dataset.manifest.description;
        let name_of = |event: u8| dataset.event_names.text(event.into());
        let mask = match self.seen_on(dataset) {
            SeenItems::Exclude => "mask-seen".to_owned(),
            SeenItems::Keep => "mask-none".to_owned(),
            SeenItems::ExcludeEvent(event) => format!("mask-{}", name_of(event)),
        };
        let target = description.target_event;
        let target = target.map_or_else(String::new, |event| format!("/target={}", name_of(event)));
        let extra = match description.protocol {
            Protocol::GlobalTime { validation_start_ms, test_start_ms } => {
                format!("/split={validation_start_ms},{test_start_ms}")
            }
            Protocol::Session { gap_minutes } => {
                let gap = gap_minutes.map_or_else(String::new, |gap| format!("/gap={gap}min"));
                format!("/every-prefix/repeats-kept{gap}")
            }
            Protocol::LooFull => String::new(),
        };
        let (name, length) = (description.protocol.name(), self.max_history);
        let order = description.order.name();
        format!("{name}/full/{mask}/len{length}/order={order}{target}{extra}")
    }
}

/// The name of a part in texts.
pub(crate) fn part_name(part: Part) -> &'static str {
    match part {
        Part::Train => "train",
        Part::Validation => "validation",
        Part::Test => "test",
    }
}
