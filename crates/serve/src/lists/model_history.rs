//! A user's history as a model takes it.

use forecart_data::{History, ItemIdx};
use forecart_models::model_file::LoadedModel;

use crate::history::PastEvent;

/// The history as a model takes it.
pub(super) struct Known {
    items: Vec<ItemIdx>,
    timestamps_ms: Vec<i64>,
    events: Vec<u8>,
    values: Vec<f32>,
}

impl Known {
    /// Events on items of kinds that the model has learned from; then those of a visit, which are as new as can be.
    pub(super) fn new(
        file: &LoadedModel,
        past: &[PastEvent],
        session: &[String],
        now_ms: i64,
    ) -> Self {
        let header = file.header();
        // The first name is that of unknown kinds.
        let kind = |event: &str| header.event_names.iter().skip(1).position(|own| own == event);
        let has_kinds = header.event_names.len() > 1;
        let mut known =
            Self { items: vec![], timestamps_ms: vec![], events: vec![], values: vec![] };
        let has_values = past.iter().any(|event| event.value.is_some());
        for event in past {
            let Some(item) = &event.item else { continue };
            let number = kind(&event.event).map_or(0, |place| place + 1);
            if has_kinds && number == 0 {
                continue;
            }
            known.items.push(file.item(item));
            known.timestamps_ms.push(event.timestamp_ms);
            known.events.push(u8::try_from(number).unwrap_or(0));
            if has_values {
                known.values.push(event.value.unwrap_or(1.0));
            }
        }
        for item in session {
            known.items.push(file.item(item));
            known.timestamps_ms.push(now_ms);
            let number = kind("view_item").map_or(usize::from(has_kinds), |place| place + 1);
            known.events.push(u8::try_from(number).unwrap_or(0));
            if has_values {
                known.values.push(1.0);
            }
        }
        if !header.dataset.has_time {
            known.timestamps_ms.clear();
        }
        known
    }

    pub(super) fn history(&self) -> History<'_> {
        History {
            items: &self.items,
            timestamps_ms: &self.timestamps_ms,
            events: &self.events,
            values: &self.values,
        }
    }
}
