//! From the events in the store to what each user of an experiment did.
//!
//! A user's outcome is what they did within the attribution time from the first impression on, and counts when that time is over: it never changes
//! after it counts, and users count in the order in which their time ends. That is what the intervals stand on; an outcome that grew while it is
//! looked at would be another experiment at each look.

use std::hash::Hasher as _;

use forecart_data::event::columns;
use rustc_hash::{FxHashMap, FxHasher};
use serde_json::{Map, Value};

use super::Experiment;
use super::arm::ONLY_VARIANT;
use crate::consent::{Consents, Purpose};
use crate::event::Event;
use crate::store::{Store, StoreError};

const IMPRESSION: &str = "view_item_list";
const CLICK: &str = "select_item";
const PURCHASE: &str = "purchase";
/// Events of one page: between pages others have their turn.
const PAGE: usize = 2_000;
/// Answers of a user that are remembered, to tell which click is of one of them.
const MAX_REQUESTS: usize = 256;

/// What a user did.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Outcome {
    first_ms: i64,
    pub(super) variant: usize,
    pub(super) n_clicks: u32,
    pub(super) n_purchases: u32,
    pub(super) revenue: f64,
    /// Hashes of the request ids of impressions.
    requests: Vec<u64>,
}

/// What all users did.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    /// Of users whose time is over, in the order of their first impressions.
    pub(super) closed: Vec<Outcome>,
    /// Users whose time is not over.
    pub(super) n_waiting: u64,
    /// Purchases of which no amount is known.
    pub(super) n_without_amount: u64,
    /// Whether purchases name several currencies.
    pub(super) has_currencies: bool,
}

/// Reads all events of an experiment.
///
/// # Cost
/// About 120 bytes for each user that is in it, and 8 for each of their answers, up to 256 of a user.
pub(super) async fn collect(
    store: &dyn Store,
    experiment: &Experiment,
    consents: &Consents,
    now_ms: i64,
) -> Result<Outcomes, StoreError> {
    let mut users = Users { experiment, consents, now_ms, by_key: FxHashMap::default() };
    // Impressions first: events come in the order of their arrival, in which a click may stand before what was clicked.
    let since_ms = experiment.begins_ms.unwrap_or(0);
    let mut after = Some(0);
    while let Some(place) = after {
        let (events, next) = store.events_of_kinds(&[IMPRESSION], since_ms, place, PAGE).await?;
        events.iter().for_each(|event| users.see(event));
        after = next;
        tokio::task::yield_now().await;
    }
    let mut outcomes = Outcomes::default();
    let mut currency: Option<String> = None;
    let mut after = if users.by_key.is_empty() { None } else { Some(0) };
    while let Some(place) = after {
        let kinds = [CLICK, PURCHASE];
        let (events, next) = store.events_of_kinds(&kinds, since_ms, place, PAGE).await?;
        for event in &events {
            let Some(outcome) = users.act(event) else { continue };
            if event.event == PURCHASE {
                match amount(event) {
                    Some(amount) => {
                        outcome.revenue += amount;
                        let own = event.further.get(columns::CURRENCY).and_then(Value::as_str);
                        let first = currency.get_or_insert_with(|| own.unwrap_or("").to_owned());
                        outcomes.has_currencies |= own.unwrap_or("") != *first;
                    }
                    None => outcomes.n_without_amount += 1,
                }
            }
        }
        after = next;
        tokio::task::yield_now().await;
    }
    let mut closed: Vec<(u128, Outcome)> = Vec::with_capacity(users.by_key.len());
    for (key, outcome) in users.by_key {
        if outcome.first_ms.saturating_add(experiment.attribution_ms) <= now_ms {
            closed.push((key, outcome));
        } else {
            outcomes.n_waiting += 1;
        }
    }
    // Sums of revenue do not depend on the order of a hash map.
    closed.sort_unstable_by_key(|(key, outcome)| (outcome.first_ms, *key));
    outcomes.closed = closed.into_iter().map(|(_, outcome)| outcome).collect();
    Ok(outcomes)
}

struct Users<'a> {
    experiment: &'a Experiment,
    consents: &'a Consents,
    now_ms: i64,
    by_key: FxHashMap<u128, Outcome>,
}

impl Users<'_> {
    /// Takes an impression, if it is one of the experiment.
    fn see(&mut self, event: &Event) {
        let is_in_time = self.experiment.is_at(event.timestamp_ms);
        if !is_in_time || event.timestamp_ms > self.now_ms || !self.is_here(event) {
            return;
        }
        let Some((variant, assigned)) = self.experiment.assigned(&event.user_id) else { return };
        if !self.shows(variant, &event.further) || !takes_part(self.consents, &event.user_id) {
            return;
        }
        let new = || Outcome { first_ms: event.timestamp_ms, variant, ..Outcome::default() };
        let outcome = self.by_key.entry(assigned.key).or_insert_with(new);
        outcome.first_ms = outcome.first_ms.min(event.timestamp_ms);
        if let Some(request) = request(event)
            && outcome.requests.len() < MAX_REQUESTS
            && !outcome.requests.contains(&request)
        {
            outcome.requests.push(request);
        }
    }

    /// Whether it is of a scenario of the experiment; one that names none is taken for it.
    fn is_here(&self, event: &Event) -> bool {
        let scenario = event.further.get("scenario").and_then(Value::as_str);
        scenario.is_none_or(|scenario| self.experiment.is_for(scenario))
    }

    /// Whether an impression was one of the user's variant. Without a beginning, only what the impression says tells those of the experiment from
    /// those before it.
    fn shows(&self, variant: usize, further: &Map<String, Value>) -> bool {
        let own = &self.experiment.variants;
        match further.get("variant").and_then(Value::as_str) {
            Some(said) if said == own[variant].name => true,
            Some(said) if said == ONLY_VARIANT || own.iter().any(|other| other.name == said) => {
                false
            }
            // Nothing, or the word of another experiment than ours.
            _ => self.experiment.begins_ms.is_some(),
        }
    }

    /// The outcome that a click or a purchase belongs to, counted there.
    fn act(&mut self, event: &Event) -> Option<&mut Outcome> {
        let (_, assigned) = self.experiment.assigned(&event.user_id)?;
        let is_here = self.is_here(event);
        let outcome = self.by_key.get_mut(&assigned.key)?;
        let since_first_ms = event.timestamp_ms.checked_sub(outcome.first_ms)?;
        if !(0..=self.experiment.attribution_ms).contains(&since_first_ms) {
            return None;
        }
        if event.event == PURCHASE {
            outcome.n_purchases += 1;
            return Some(outcome);
        }
        let is_of_another_answer = match request(event) {
            Some(request) => !outcome.requests.is_empty() && !outcome.requests.contains(&request),
            None => false,
        };
        if !is_here || is_of_another_answer {
            return None;
        }
        outcome.n_clicks += 1;
        Some(outcome)
    }
}

/// Whether a user may be in an experiment: one whose lists are not personal gets the same list in every variant.
pub(crate) fn takes_part(consents: &Consents, user_id: &str) -> bool {
    consents.allows(user_id, Purpose::Experiments)
        && consents.allows(user_id, Purpose::Personalization)
}

fn request(event: &Event) -> Option<u64> {
    let id = event.further.get(columns::REQUEST_ID)?.as_str()?;
    let mut hasher = FxHasher::default();
    hasher.write(id.as_bytes());
    Some(hasher.finish())
}

/// What a purchase brought: price times quantity, else its value.
fn amount(event: &Event) -> Option<f64> {
    let number = |name: &str| match event.further.get(name)? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let by_price =
        number(columns::PRICE).map(|price| price * number(columns::QUANTITY).unwrap_or(1.0));
    by_price.or(event.value).filter(|amount| amount.is_finite())
}
