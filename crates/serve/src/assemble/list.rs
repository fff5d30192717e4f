//! From sources and a request to the list that is answered.

use std::collections::VecDeque;
use std::num::NonZeroU32;

use rustc_hash::FxHashSet;

use super::blended::{Blended, MAX_BLENDED};
use super::boosted::Boosted;
use super::diversity::Diversified;
use super::eligible::{Eligible, Gate};
use super::request::{ListRequest, Pin};
use super::rounds::Rounds;
use super::sources::Source;
use super::trace::{Moved, PinOutcome, Trace};
use crate::catalog::{Catalog, ItemRow};

/// The list that is answered, and how it came to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Assembled {
    /// In order, each item once.
    pub items: Vec<Listed>,
    /// What happened on the way.
    pub trace: Trace,
}

/// An item of the answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Listed {
    /// The item.
    pub row: ItemRow,
    /// The score that its source gave; pins have none. Boosts, diversity and the cap order by other things, so that
    /// scores need not fall along the list.
    pub score: Option<f32>,
    /// 1-based, in the whole list: the first item of an answer has rank `offset + 1`.
    pub rank: usize,
    /// Where it is from.
    pub origin: Origin,
    /// Product of the factors of its boosts; 1 if it has none.
    pub boost: f64,
}

/// Where an item of the answer is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A pin.
    Pin,
    /// A source, by its place among those that were given.
    Source(usize),
}

/// Makes the list that is answered: see the [module](super) for the order of its steps.
///
/// What is listed is eligible and stands once. The list has `request.n` items, or all that the whole list has from
/// `request.offset` on; which is to say that it is short only if the sources have no more eligible items.
///
/// # Cost
/// A bit for each row of the catalog, and what is looked at: about `offset + n` eligible candidates, times the product of
/// all boosts above 1; a full block of [`DIVERSITY_BLOCK`](super::DIVERSITY_BLOCK) with diversity; and everything, where a
/// cap or variants hold back more than the rest can fill.
///
/// ```
/// use forecart_serve::assemble::{ByScore, ListRequest, NamedFilter, assemble};
/// use forecart_serve::catalog::Catalog;
/// use forecart_serve::rules::{Facts, Filter, Schema, Values};
/// use serde_json::json;
///
/// let mut catalog = Catalog::new();
/// let mut put = |id, item: serde_json::Value| catalog.upsert(id, item.as_object().unwrap()).unwrap();
/// let mug = put("mug", json!({"in_stock": true}));
/// let vase = put("vase", json!({"in_stock": false}));
/// let lamp = put("lamp", json!({"in_stock": true}));
///
/// let filter = Filter::parse("item.in_stock", &Schema::new()).unwrap();
/// let (user, context) = (Values::default(), Values::default());
/// let facts = Facts { catalog: &catalog, user: &user, context: &context, now_ms: 0 };
/// let request = ListRequest {
///     n: 10,
///     filters: vec![NamedFilter { name: "stock", filter: filter.bind(&facts) }],
///     ..ListRequest::default()
/// };
/// let mut model = ByScore::new("model", [(mug, -3.0), (vase, 2.0), (lamp, 1.5)]);
/// let list = assemble(&catalog, &mut [&mut model], &request);
/// assert_eq!(list.items.iter().map(|item| item.row).collect::<Vec<_>>(), [lamp, mug]);
/// assert_eq!((list.trace.removed[0].name.as_str(), list.trace.removed[0].n), ("stock", 1));
/// ```
pub fn assemble(
    catalog: &Catalog,
    sources: &mut [&mut dyn Source],
    request: &ListRequest<'_>,
) -> Assembled {
    let mut gate = Gate::new(catalog, request);
    let mut trace = Trace { pins: check_pins(&mut gate, &request.pins), ..Trace::default() };
    let placed = trace.pins.iter().filter(|(_, outcome)| *outcome == PinOutcome::Placed);
    let mut pins: Vec<Pin> = placed.map(|(pin, _)| *pin).collect();
    pins.sort_by_key(|pin| pin.position);
    let pinned: Vec<ItemRow> = pins.iter().map(|pin| pin.row).collect();

    let mut eligible = Eligible::new(gate, sources);
    let (mixed, one_in) = match request.blend {
        Some(blend) => (eligible.best_of(blend.source, MAX_BLENDED), blend.one_in.get()),
        None => (Vec::new(), 1),
    };
    let boosted = Boosted::new(eligible, &request.boosts);
    let blended = Blended::new(boosted, mixed, one_in);
    // A limit that is never reached holds nothing back: one kind of stream, whatever is asked for.
    let group = |row| request.one_per_group.then(|| catalog.group(row)).flatten();
    let variants = Rounds::new(blended, 1, group, &pinned);
    let (limit, depth) = match request.category_cap {
        Some(cap) => (cap.limit, cap.depth.get()),
        None => (NonZeroU32::MAX, 0),
    };
    let category = |row| catalog.category(row, depth).filter(|path| !path.is_empty());
    let capped = Rounds::new(variants, limit.get(), category, &pinned);
    let mut others = Diversified::new(capped, catalog, request.diversity);

    let mut items = Vec::with_capacity(request.n.min(catalog.n_live()));
    let mut pins = VecDeque::from(pins);
    let end = request.offset.saturating_add(request.n);
    let (mut rank, mut n_others) = (0, 0);
    while rank < end {
        let is_pin = pins.front().is_some_and(|pin| pin.position.get() == rank + 1);
        let other = if is_pin { None } else { others.next() };
        // When the others are at an end, the pins that are left follow.
        let listed = match other {
            Some((entry, place)) => {
                n_others += 1;
                if place + 1 != n_others && rank >= request.offset {
                    let (from, to) = (place + 1, n_others);
                    trace.moved_by_diversity.push(Moved { row: entry.row, from, to });
                }
                Listed {
                    row: entry.row,
                    score: entry.score,
                    rank: rank + 1,
                    origin: Origin::Source(entry.source as usize),
                    boost: entry.boost,
                }
            }
            None => {
                let Some(pin) = pins.pop_front() else { break };
                Listed {
                    row: pin.row,
                    score: None,
                    rank: rank + 1,
                    origin: Origin::Pin,
                    boost: 1.0,
                }
            }
        };
        rank += 1;
        if rank > request.offset {
            items.push(listed);
        }
    }

    let capped = others.entries.inner;
    trace.held_by_cap = capped.tally;
    let variants = capped.entries.inner;
    trace.held_by_group = variants.tally;
    let boosted = variants.entries.inner.inner;
    trace.boosts = boosted.tallies;
    let eligible = boosted.eligible.inner;
    trace.sources = eligible.traces;
    trace.removed = eligible.gate.into_removed();
    for listed in &items {
        if let Origin::Source(source) = listed.origin {
            trace.sources[source].n_listed += 1;
        }
    }
    Assembled { items, trace }
}

/// What becomes of each pin. Those that are placed stood then, so that no source lists them again; one whose position is
/// taken comes where its source has it.
fn check_pins(gate: &mut Gate<'_>, pins: &[Pin]) -> Vec<(Pin, PinOutcome)> {
    let mut positions = FxHashSet::default();
    let mut rows = FxHashSet::default();
    let mut outcome = |pin: &Pin| {
        if rows.contains(&pin.row) {
            return PinOutcome::ItemTaken;
        }
        if let Err(place) = gate.pass(pin.row) {
            // Counted once: no source lists it either.
            gate.is_first(pin.row);
            return PinOutcome::Removed(gate.name(place).into());
        }
        if !positions.insert(pin.position) {
            return PinOutcome::PositionTaken;
        }
        rows.insert(pin.row);
        gate.is_first(pin.row);
        PinOutcome::Placed
    };
    pins.iter().map(|pin| (*pin, outcome(pin))).collect()
}
