//! What is kept of how a list came about.

use serde::Serialize;
use serde_json::{Value, json};

use super::ask::{About, ListAsk};
use super::list::List;
use crate::assemble::{Assembled, Listed, Moved, Pin, PinOutcome, SourceTrace, Tally};
use crate::catalog::{Catalog, ItemRow};

/// A trace as it is kept.
#[derive(Serialize)]
pub(super) struct Traced<'a> {
    pub(super) answer: &'a List,
    #[serde(flatten)]
    pub(super) way: Value,
}

/// How the list came about.
pub(super) fn trace(catalog: &Catalog, ask: &ListAsk, assembled: &Assembled) -> Value {
    let trace = &assembled.trace;
    let ids = |rows: &[ItemRow]| rows.iter().map(|row| catalog.id(*row)).collect::<Vec<_>>();
    let tally =
        |tally: &Tally| json!({"name": tally.name, "n": tally.n, "first": ids(&tally.first)});
    let tallies = |of: &[Tally]| of.iter().map(tally).collect::<Vec<_>>();
    let source = |own: &SourceTrace| {
        json!({"name": own.name, "n_candidates": own.n_candidates, "n_repeated": own.n_repeated,
            "n_eligible": own.n_eligible, "n_listed": own.n_listed})
    };
    let pin = |(pin, outcome): &(Pin, PinOutcome)| json!({"item_id": catalog.id(pin.row), "position": pin.position, "outcome": format!("{outcome:?}")});
    let moved =
        |own: &Moved| json!({"item_id": catalog.id(own.row), "from": own.from, "to": own.to});
    let boost = |listed: &Listed| {
        (listed.boost != 1.0)
            .then(|| json!({"item_id": catalog.id(listed.row), "factor": listed.boost}))
    };
    json!({
        "user_id": ask.user_id,
        "scenario": ask.scenario,
        "shown_as": ask.shown_as(),
        "about": match &ask.about {
            About::Next => json!("next"),
            About::Like(item) => json!({"like": item}),
            About::With(item) => json!({"with": item}),
            About::Among(items) => json!({"among": items.len()}),
        },
        "sources": trace.sources.iter().map(source).collect::<Vec<_>>(),
        "removed": tallies(&trace.removed),
        "boosts": tallies(&trace.boosts),
        "boosted": assembled.items.iter().filter_map(boost).collect::<Vec<_>>(),
        "held_by_group": tally(&trace.held_by_group),
        "held_by_cap": tally(&trace.held_by_cap),
        "moved_by_diversity": trace.moved_by_diversity.iter().map(moved).collect::<Vec<_>>(),
        "pins": trace.pins.iter().map(pin).collect::<Vec<_>>(),
    })
}
