//! The list, the slow and plain way: everything at once, over JSON. And random cases to try it on.

use std::collections::{HashMap, HashSet};
use std::num::{NonZeroU32, NonZeroUsize};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value as Json};

use super::blended::MAX_BLENDED;
use super::*;
use crate::catalog::{Catalog, ItemRow};
use crate::rules::reference::{self, NOW_MS, Plain, random_schema};
use crate::rules::{Boost, Facts, Filter, Values};

const DAY_MS: i64 = 86_400_000;
const EVENTS: [&str; 3] = ["view_item", "add_to_cart", "purchase"];

/// A random catalog, what is asked of it, and where candidates come from.
#[derive(Debug)]
pub(super) struct Case {
    catalog: Catalog,
    /// What is known of each row; `None` is not live.
    items: Vec<Option<Map<String, Json>>>,
    user: Map<String, Json>,
    context: Map<String, Json>,
    filters: Vec<String>,
    /// With their factors.
    boosts: Vec<(f64, String)>,
    seen: Vec<SeenRule>,
    events: Vec<SeenEvent<'static>>,
    exclude: Vec<ItemRow>,
    one_per_group: bool,
    diversity: f32,
    category_cap: Option<CategoryCap>,
    pins: Vec<Pin>,
    n: usize,
    offset: usize,
    /// Scores in any order; the last source, all live items by row, is not among them.
    sources: Vec<Vec<(ItemRow, f32)>>,
    blend: Option<Blend>,
}

/// What a case came to.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Items of the answer.
    pub(super) n_listed: usize,
    /// Whether an eligible item exists beyond the offset.
    pub(super) has_eligible: bool,
    pub(super) has_boosted: bool,
    pub(super) has_removed: bool,
    pub(super) has_held: bool,
    pub(super) has_moved: bool,
    pub(super) has_pin: bool,
}

impl Case {
    pub(super) fn random(seed: u64) -> Self {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let n_rows = *[0, 1, 3, 12, 40][..].get(rng.random_range(0..5)).unwrap_or(&0);
        let mut catalog = reference::random_catalog();
        let mut items = Vec::new();
        for row in 0..n_rows {
            let id = format!("item {row}");
            let item = match rng.random_range(0..10) {
                0 => {
                    catalog.ensure(&id).unwrap();
                    Some(Map::new())
                }
                1 => {
                    catalog.upsert(&id, &reference::random_item(rng)).unwrap();
                    catalog.remove(&id);
                    None
                }
                _ => {
                    // What stood before must leave nothing.
                    if rng.random_bool(0.2) {
                        catalog.upsert(&id, &reference::random_item(rng)).unwrap();
                    }
                    let item = reference::random_item(rng);
                    catalog.upsert(&id, &item).unwrap();
                    Some(item)
                }
            };
            items.push(item);
        }
        // Some rows that the catalog does not have.
        let row = |rng: &mut ChaCha8Rng| ItemRow(rng.random_range(0..n_rows as u32 + 2));
        let few = |rng: &mut ChaCha8Rng, most: usize| {
            if rng.random_bool(0.5) { 0 } else { rng.random_range(0..=most) }
        };
        let (user, context) = reference::random_values(rng);
        let filters = (0..few(rng, 2)).map(|_| reference::random_condition(rng, 2)).collect();
        let factors = [1.2, 2.0, 0.5, 1.0, 30.0, 0.01];
        let boosts = (0..few(rng, 3))
            .map(|_| (factors[rng.random_range(0..6)], reference::random_condition(rng, 1)))
            .collect();
        let seen = (0..few(rng, 2))
            .map(|n| SeenRule {
                name: format!("rule {n}"),
                events: (0..rng.random_range(0..3))
                    .map(|_| EVENTS[rng.random_range(0..3)].into())
                    .collect(),
                max_age_ms: rng.random_bool(0.5).then(|| rng.random_range(0..4) * DAY_MS),
            })
            .collect();
        let events = (0..few(rng, 8))
            .map(|_| SeenEvent {
                row: row(rng),
                event: EVENTS[rng.random_range(0..3)],
                time_ms: NOW_MS - rng.random_range(-1..5) * DAY_MS,
            })
            .collect();
        let exclude = (0..few(rng, 5)).map(|_| row(rng)).collect();
        let pins = (0..few(rng, 3))
            .map(|_| Pin {
                position: NonZeroUsize::new(rng.random_range(1..9)).unwrap(),
                row: row(rng),
            })
            .collect();
        let sources: Vec<Vec<(ItemRow, f32)>> = (0..rng.random_range(0..3))
            .map(|_| {
                let n = rng.random_range(0..=n_rows * 2);
                let score = |rng: &mut ChaCha8Rng| rng.random_range(-4..4) as f32 / 2.0;
                (0..n).map(|_| (row(rng), score(rng))).collect()
            })
            .collect();
        Self {
            catalog,
            items,
            user,
            context,
            filters,
            boosts,
            seen,
            events,
            exclude,
            one_per_group: rng.random_bool(0.4),
            diversity: [0.0, 0.0, 0.3, 0.9, 1.0][rng.random_range(0..5)],
            category_cap: rng.random_bool(0.4).then(|| CategoryCap {
                limit: NonZeroU32::new(rng.random_range(1..4)).unwrap(),
                depth: NonZeroUsize::new(rng.random_range(1..4)).unwrap(),
            }),
            pins,
            n: rng.random_range(0..15),
            offset: [0, 0, 1, 5, 60][rng.random_range(0..5)],
            // Also one that is not there.
            blend: rng.random_bool(0.4).then(|| Blend {
                source: rng.random_range(0..=sources.len()),
                one_in: NonZeroUsize::new(rng.random_range(1..5)).unwrap(),
            }),
            sources,
        }
    }

    /// Asks for the list.
    pub(super) fn assemble(&self) -> Assembled {
        let schema = random_schema();
        let (user, context) = (Values::from_json(&self.user), Values::from_json(&self.context));
        let facts =
            Facts { catalog: &self.catalog, user: &user, context: &context, now_ms: NOW_MS };
        let filters: Vec<Filter> =
            self.filters.iter().map(|rule| Filter::parse(rule, &schema).unwrap()).collect();
        let boost = |(factor, rule): &(f64, String)| {
            Boost::parse(&format!("boost {factor} if {rule}"), &schema).unwrap()
        };
        let boosts: Vec<Boost> = self.boosts.iter().map(boost).collect();
        let request = ListRequest {
            n: self.n,
            offset: self.offset,
            now_ms: NOW_MS,
            filters: filters
                .iter()
                .map(|filter| NamedFilter { name: "filter", filter: filter.bind(&facts) })
                .collect(),
            boosts: boosts
                .iter()
                .map(|boost| NamedBoost { name: "boost", boost: boost.bind(&facts) })
                .collect(),
            exclude: self.exclude.clone(),
            seen: &self.seen,
            events: self.events.clone(),
            one_per_group: self.one_per_group,
            diversity: self.diversity,
            category_cap: self.category_cap,
            pins: self.pins.clone(),
            blend: self.blend,
        };
        let mut scored: Vec<ByScore<'_>> =
            self.sources.iter().map(|scores| ByScore::new("model", scores.clone())).collect();
        let live = self.catalog.live_rows().map(|row| Candidate { row, score: None });
        let mut live = InOrder::new("catalog", live);
        let mut sources: Vec<&mut dyn Source> =
            scored.iter_mut().map(|source| source as &mut dyn Source).collect();
        sources.push(&mut live);
        assemble(&self.catalog, &mut sources, &request)
    }

    /// Checks an answer against the plain way, and says what it met.
    pub(super) fn check(&self, list: &Assembled) -> Seen {
        let eligible: Vec<ItemRow> = (0..self.items.len() as u32)
            .map(ItemRow)
            .filter(|row| self.is_eligible(*row))
            .collect();
        let mut rows = HashSet::new();
        for (at, listed) in list.items.iter().enumerate() {
            assert!(self.is_eligible(listed.row), "{listed:?} breaks a filter");
            assert!(rows.insert(listed.row), "{listed:?} stands twice");
            assert_eq!(listed.rank, self.offset + at + 1);
        }
        let n_beyond = eligible.len().saturating_sub(self.offset);
        assert_eq!(list.items.len(), self.n.min(n_beyond), "short");

        let whole = self.whole_list();
        assert_eq!(whole.len(), eligible.len());
        let want: Vec<ItemRow> = whole.into_iter().skip(self.offset).take(self.n).collect();
        let got: Vec<ItemRow> = list.items.iter().map(|listed| listed.row).collect();
        assert_eq!(got, want, "another order");
        let trace = &list.trace;
        let n_listed: usize = trace.sources.iter().map(|source| source.n_listed).sum();
        let n_pins = list.items.iter().filter(|listed| listed.origin == Origin::Pin).count();
        assert_eq!(n_listed + n_pins, list.items.len());
        Seen {
            n_listed: list.items.len(),
            has_eligible: n_beyond > 0,
            has_boosted: list.items.iter().any(|listed| listed.boost != 1.0),
            has_removed: !trace.removed.is_empty(),
            has_held: trace.held_by_group.n + trace.held_by_cap.n > 0,
            has_moved: !trace.moved_by_diversity.is_empty(),
            has_pin: n_pins > 0,
        }
    }

    fn holds(&self, rule: &str, row: ItemRow) -> bool {
        let Some(Some(item)) = self.items.get(row.index()) else { return false };
        reference::holds(rule, &Plain { item, user: &self.user, context: &self.context })
    }

    fn is_eligible(&self, row: ItemRow) -> bool {
        let Some(Some(item)) = self.items.get(row.index()) else { return false };
        let time = |field: &str| {
            let text = item.get(field)?.as_str()?;
            Some(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
        };
        let is_seen = self.events.iter().any(|event| {
            let counts = |rule: &SeenRule| {
                (rule.events.is_empty() || rule.events.iter().any(|kind| kind == event.event))
                    && rule.max_age_ms.is_none_or(|most| event.time_ms >= NOW_MS - most)
            };
            event.row == row && self.seen.iter().any(counts)
        });
        time("published_at").is_none_or(|time| time <= NOW_MS)
            && time("expires_at").is_none_or(|time| time > NOW_MS)
            && !self.exclude.contains(&row)
            && !is_seen
            && self.filters.iter().all(|rule| self.holds(rule, row))
    }

    /// All eligible items in the order of the list.
    fn whole_list(&self) -> Vec<ItemRow> {
        let mut pins: Vec<Pin> = Vec::new();
        for pin in &self.pins {
            let is_free =
                pins.iter().all(|other| other.row != pin.row && other.position != pin.position);
            if is_free && self.is_eligible(pin.row) {
                pins.push(*pin);
            }
        }
        pins.sort_by_key(|pin| pin.position);
        let pinned: Vec<ItemRow> = pins.iter().map(|pin| pin.row).collect();

        let mut sources = self.sources.clone();
        // Best first: by score, then by row. All live items come last.
        sources.push((0..self.items.len() as u32).map(|row| (ItemRow(row), 0.0)).collect());
        for source in &mut sources {
            source.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap().then(a.0.cmp(&b.0)));
        }
        let mut stood = pinned.clone();
        let mixed = match self.blend {
            Some(blend) => {
                let best = self.eligible_of(&sources[blend.source], &mut stood);
                // More are not mixed in, and no case has as many.
                assert!(best.len() <= MAX_BLENDED);
                self.boosted(&best)
            }
            None => Vec::new(),
        };
        let mut boosted: Vec<ItemRow> = Vec::new();
        for source in &sources {
            boosted.extend(self.boosted(&self.eligible_of(source, &mut stood)));
        }
        if let Some(Blend { one_in, .. }) = self.blend {
            for (at, row) in (1..).zip(mixed) {
                let place = (at * one_in.get() - 1).min(boosted.len());
                boosted.insert(place, row);
            }
        }

        let mut stretches = vec![boosted];
        if self.one_per_group {
            stretches = rounds(stretches, 1, &pinned, |row| self.text(row, "group_id"));
        }
        if let Some(cap) = self.category_cap {
            let category = |row| {
                let path = self.text(row, "category")?;
                let steps: Vec<&str> = path.split(" > ").take(cap.depth.get()).collect();
                Some(steps.join(" > "))
            };
            stretches = rounds(stretches, cap.limit.get() as usize, &pinned, category);
        }
        let mut others: Vec<ItemRow> = Vec::new();
        for stretch in stretches {
            for block in stretch.chunks(DIVERSITY_BLOCK) {
                others.extend(self.diversified(block));
            }
        }
        // Pins stand at their positions, the others around them.
        let mut list = Vec::new();
        let mut others = others.into_iter().peekable();
        while others.peek().is_some() || !pins.is_empty() {
            let is_pin = pins.first().is_some_and(|pin| pin.position.get() == list.len() + 1);
            if is_pin || others.peek().is_none() {
                list.push(pins.remove(0).row);
            } else {
                list.extend(others.next());
            }
        }
        list
    }

    /// What may be shown of a source and stood in none before.
    fn eligible_of(&self, source: &[(ItemRow, f32)], stood: &mut Vec<ItemRow>) -> Vec<ItemRow> {
        let mut rows = Vec::new();
        for (row, _) in source {
            if !stood.contains(row) && self.is_eligible(*row) {
                stood.push(*row);
                rows.push(*row);
            }
        }
        rows
    }

    /// Items of one source in the order of rank over boost.
    fn boosted(&self, ranked: &[ItemRow]) -> Vec<ItemRow> {
        let place = |(at, row): (usize, &ItemRow)| {
            let holds = |(_, rule): &&(f64, String)| self.holds(rule, *row);
            let factor: f64 = self.boosts.iter().filter(holds).map(|(factor, _)| factor).product();
            ((at + 1) as f64 / factor, *row)
        };
        let mut places: Vec<(f64, ItemRow)> = ranked.iter().enumerate().map(place).collect();
        places.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap());
        places.into_iter().map(|(_, row)| row).collect()
    }

    fn text(&self, row: ItemRow, field: &str) -> Option<String> {
        Some(self.items[row.index()].as_ref()?.get(field)?.as_str()?.to_owned())
    }

    fn diversified(&self, block: &[ItemRow]) -> Vec<ItemRow> {
        let mut chosen: Vec<ItemRow> = Vec::new();
        while chosen.len() < block.len() {
            let mut best: Option<(f32, ItemRow)> = None;
            for (place, row) in block.iter().enumerate() {
                if chosen.contains(row) {
                    continue;
                }
                let alike = chosen.iter().map(|other| self.catalog.similarity(*other, *row));
                let relevance = 1.0 - place as f32 / DIVERSITY_BLOCK as f32;
                let worth =
                    (1.0 - self.diversity) * relevance - self.diversity * alike.fold(0.0, f32::max);
                if best.is_none_or(|(most, _)| worth > most) {
                    best = Some((worth, *row));
                }
            }
            chosen.extend(best.map(|(_, row)| row));
        }
        chosen
    }
}

/// Takes so many of each kind, then goes through what is left again, until nothing is.
fn rounds(
    stretches: Vec<Vec<ItemRow>>,
    limit: usize,
    pinned: &[ItemRow],
    kind: impl Fn(ItemRow) -> Option<String>,
) -> Vec<Vec<ItemRow>> {
    let mut pinned: HashMap<String, usize> =
        pinned.iter().filter_map(|row| kind(*row)).fold(HashMap::new(), |mut counts, kind| {
            *counts.entry(kind).or_insert(0) += 1;
            counts
        });
    let mut out = Vec::new();
    for mut left in stretches {
        // What is pinned fills the rounds of the first stretch, as if it had come before.
        let mut before = std::mem::take(&mut pinned);
        while !left.is_empty() {
            let mut counts: HashMap<String, usize> = HashMap::new();
            for (kind, n) in &mut before {
                let n_here = (*n).min(limit);
                *n -= n_here;
                counts.insert(kind.clone(), n_here);
            }
            let (mut now, mut later) = (Vec::new(), Vec::new());
            for row in left {
                let is_full = kind(row).is_some_and(|kind| {
                    let count = counts.entry(kind).or_insert(0);
                    *count += 1;
                    *count > limit
                });
                if is_full { &mut later } else { &mut now }.push(row);
            }
            if !now.is_empty() {
                out.push(now);
            }
            left = later;
        }
    }
    out
}
