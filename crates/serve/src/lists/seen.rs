//! Which items a list leaves out because the user has seen them.

use forecart_data::SeenItems;
use forecart_models::model_file::LoadedModel;

use super::ask::{About, ListAsk};
use super::shop_rules::Scenario;
use crate::assemble::SeenRule;

/// Which events keep an item out of the list, and what the model is told of them.
pub(super) fn seen_rules(
    ask: &ListAsk,
    scenario: &Scenario,
    file: Option<&LoadedModel>,
) -> (Vec<SeenRule>, SeenItems) {
    let any = || vec![SeenRule { name: "any".to_owned(), events: Vec::new(), max_age_ms: None }];
    match (ask.leave_out_seen, &scenario.seen, &ask.about) {
        (Some(true), _, _) => (any(), SeenItems::Exclude),
        (Some(false), _, _) => (Vec::new(), SeenItems::Keep),
        (None, Some(rules), _) => (rules.clone(), SeenItems::Keep),
        // What is like an item, and the order of given ones, is not about what was seen.
        (None, None, About::Like(_) | About::With(_) | About::Among(_)) => {
            (Vec::new(), SeenItems::Keep)
        }
        (None, None, About::Next) => match file.map(|file| file.header().dataset.seen) {
            Some(SeenItems::Exclude) => (any(), SeenItems::Exclude),
            Some(own @ SeenItems::ExcludeEvent(kind)) => {
                let names = file.map(|file| file.header().event_names.as_slice());
                let event = names.and_then(|names| names.get(usize::from(kind)).cloned());
                let events = event.into_iter().collect::<Vec<_>>();
                (vec![SeenRule { name: events.concat(), events, max_age_ms: None }], own)
            }
            Some(other) => (Vec::new(), other),
            None => (Vec::new(), SeenItems::Keep),
        },
    }
}
