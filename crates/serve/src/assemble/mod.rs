//! The last step of every answer: from candidates to the list that is shown.
//!
//! Whatever an answer comes from (a model's own list, a cache, a fallback, a batch), [`assemble`] is what makes the list,
//! so that no path can forget a filter. In this order:
//!
//! 1. **Sources** are asked one after the other, each best first ([`Source`]); an item that stood before is passed over.
//! 2. **Eligible** is what is live, published, not expired, not excluded, not seen as a [`SeenRule`] says, and passes
//!    every filter. This is hard: nothing else is ever listed, pins included.
//! 3. **Boosts** divide an item's rank among the eligible ones of its source: see below.
//! 4. **Blend**: a source may be mixed into the others, one in so many ([`Blend`]), in place of waiting for its turn.
//! 5. **Variants**: of each group (`group_id`) one item, the best. Soft: its others follow when everything else is listed.
//! 6. **Cap**: at most so many items of a category. Soft: when nothing else is left, as many again, and so on. It gives
//!    way before the variants do: no second variant is listed to keep a cap.
//! 7. **Diversity** reorders by maximal marginal relevance, [`DIVERSITY_BLOCK`] items at a time and never across a place
//!    where variants or the cap gave way.
//! 8. **Pins** stand at their positions; the others flow around them. A pin past the end of the list stands at its end.
//!    Pins count for variants and the cap.
//!
//! All of this is one order of all eligible items, which depends on the state and the request but not on `n` and
//! `offset`: pages of one list neither overlap nor leave gaps, and a list is short only where nothing eligible is left in
//! any source. It is made lazily, from as few candidates as decide it.
//!
//! # What a boost of factor b does
//! The item that is r-th of the eligible ones of its source is placed as if it were (r / b)-th: a factor of 2 halves the
//! rank, 0.5 doubles it, factors of several boosts are multiplied, and equal ones keep the order of the source. Ranks
//! rather than scores, since scores are weights in one model, logits in the next and negative in a third: a factor that
//! multiplied them would do something else in each, and lower an item whose score is below 0. A boost acts within its
//! source: a fallback's items stay behind the model's. It is exact: an item however deep comes up if r / b says so, and
//! reading stops when no later item can.
//!
//! Read [`ListRequest`] first, then `list`.

mod blended;
mod boosted;
mod diversity;
mod eligible;
mod list;
mod lookahead;
#[cfg(test)]
mod reference;
mod request;
mod rounds;
mod sources;
#[cfg(test)]
mod tests;
mod trace;

pub use diversity::DIVERSITY_BLOCK;
pub use list::{Assembled, Listed, Origin, assemble};
pub use request::{
    Blend, CategoryCap, ListRequest, NamedBoost, NamedFilter, Pin, SeenEvent, SeenRule,
};
pub use sources::{ByScore, Candidate, InOrder, Source};
pub use trace::{Moved, PinOutcome, SourceTrace, Tally, Trace};
