//! What a list is asked for with.

use std::num::{NonZeroU32, NonZeroUsize};

use crate::catalog::ItemRow;
use crate::rules::{BoundBoost, BoundFilter};

/// What is asked for: how many, what may not be in it, and in what order.
#[derive(Debug, Clone, Default)]
pub struct ListRequest<'a> {
    /// How many items.
    pub n: usize,
    /// How many items of the list stand before these.
    pub offset: usize,
    /// The time of the request: milliseconds since 1970-01-01 UTC.
    pub now_ms: i64,
    /// Each must hold of every item.
    pub filters: Vec<NamedFilter<'a>>,
    /// Factors of those that hold of an item are multiplied.
    pub boosts: Vec<NamedBoost<'a>>,
    /// Items that may not be listed.
    pub exclude: Vec<ItemRow>,
    /// Items of the user's events that may not be listed: those of an event that any of these rules names.
    pub seen: &'a [SeenRule],
    /// What the user did with items.
    pub events: Vec<SeenEvent<'a>>,
    /// Whether one variant of each group is listed before a second one of any.
    pub one_per_group: bool,
    /// How much unlike one another the items should be: 0 changes nothing, at 1 their order counts only between equals.
    /// This is 1 − λ of the paper.
    pub diversity: f32,
    /// How many items of one category are listed before more of it.
    pub category_cap: Option<CategoryCap>,
    /// Items that stand at a position. Of two at one position or of one item twice, the first counts.
    pub pins: Vec<Pin>,
    /// A source that is mixed into the others.
    pub blend: Option<Blend>,
}

/// A source whose items do not wait for their turn: every so many-th place of the list is one of its best.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blend {
    /// Its place among the sources.
    pub source: usize,
    /// At 10, the 10th, the 20th and so on are of it.
    pub one_in: NonZeroUsize,
}

/// A filter with a name for the trace and the metrics.
#[derive(Debug, Clone)]
pub struct NamedFilter<'a> {
    /// As in the configuration; `request` for one that came with the request, say.
    pub name: &'a str,
    /// What must hold.
    pub filter: BoundFilter<'a>,
}

/// A boost with a name for the trace.
#[derive(Debug, Clone)]
pub struct NamedBoost<'a> {
    /// As in the configuration.
    pub name: &'a str,
    /// Factor and condition.
    pub boost: BoundBoost<'a>,
}

/// Which of the user's events keep their item out of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRule {
    /// For the trace and the metrics.
    pub name: String,
    /// Kinds of events, such as `purchase`; empty is every kind.
    pub events: Vec<String>,
    /// Older events do not count; `None` is any age.
    pub max_age_ms: Option<i64>,
}

/// Something that the user did with an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenEvent<'a> {
    /// The item.
    pub row: ItemRow,
    /// The kind of event.
    pub event: &'a str,
    /// When: milliseconds since 1970-01-01 UTC.
    pub time_ms: i64,
}

/// At most so many items of one category.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CategoryCap {
    /// So many.
    pub limit: NonZeroU32,
    /// How many steps of the path make a category: at 1, "Books > Novels" and "Books > Poems" are one. An item with a
    /// shorter path has its whole path; one without a category is never held back.
    pub depth: NonZeroUsize,
}

/// An item at a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    /// 1-based, in the whole list.
    pub position: NonZeroUsize,
    /// The item.
    pub row: ItemRow,
}

impl SeenRule {
    /// Whether an event keeps its item out at `now_ms`.
    pub(super) fn counts(&self, event: &SeenEvent<'_>, now_ms: i64) -> bool {
        let is_kind = self.events.is_empty() || self.events.iter().any(|kind| kind == event.event);
        let age_ms = now_ms.saturating_sub(event.time_ms);
        is_kind && self.max_age_ms.is_none_or(|max_age_ms| age_ms <= max_age_ms)
    }
}
