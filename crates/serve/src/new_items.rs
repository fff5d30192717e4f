//! Items that no model knows yet, found by what is written of them: title, description, category, brand, tags.
//!
//! An item is new until a model that was trained with it answers. New items are kept by their terms (words of texts, steps of categories, brands,
//! tags); how alike two items are is the cosine of their terms, each weighted by how rare it is among new items. A user is proposed the new
//! items that are most like one of the items that they acted on last.

use std::collections::hash_map::Entry;
use std::hash::{Hash as _, Hasher as _};

use forecart_text::Pipeline;
use rustc_hash::{FxHashMap, FxHasher};

use crate::catalog::{Catalog, Column, ColumnType, ItemRow};

/// Most new items that are kept; they take about 200 bytes each.
const MAX_ITEMS: usize = 100_000;
/// Most terms of an item, its title's first.
const MAX_TERMS: usize = 48;
/// Of a term that more new items have, these are looked at: those that came last.
const MAX_WITH_TERM: usize = 256;
/// Items that a user acted on last which are looked at.
const N_RECENT: usize = 10;
/// Less alike is not alike.
const MIN_SIMILARITY: f32 = 0.15;
/// How much less the item before counts.
const DECAY: f32 = 0.95;
/// Most items that are proposed.
const MAX_PROPOSED: usize = 1_000;

/// A new item that is proposed to a user.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Proposal {
    pub(crate) row: ItemRow,
    /// Above 0, at most 1.
    pub(crate) score: f32,
    /// The item of the user that it is most like.
    pub(crate) like: ItemRow,
}

/// New items by their terms.
#[derive(Debug, Default)]
pub(crate) struct NewItems {
    /// The version of the model that does not know them.
    version: Option<String>,
    /// Ascending, each once.
    terms: FxHashMap<ItemRow, Box<[u32]>>,
    /// Rows with a term, ascending: rows are given in the order in which items come.
    rows: FxHashMap<u32, Vec<ItemRow>>,
}

impl NewItems {
    /// Whether they are new to this version.
    pub(crate) fn is_of(&self, version: &str) -> bool {
        self.version.as_deref() == Some(version)
    }

    /// None yet that are new to a version.
    pub(crate) fn of(version: &str) -> Self {
        Self { version: Some(version.to_owned()), ..Self::default() }
    }

    /// Whether there is room for an item, or it is there.
    pub(crate) fn may_hold(&self, row: ItemRow) -> bool {
        self.terms.len() < MAX_ITEMS || self.terms.contains_key(&row)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Puts a new item in by its [`terms`]; one that has none, such as one that was removed, is taken out.
    pub(crate) fn put(&mut self, row: ItemRow, new: Vec<u32>) {
        if self.terms.get(&row).is_some_and(|own| **own == *new) {
            return;
        }
        self.remove(row);
        if new.is_empty() || self.terms.len() >= MAX_ITEMS {
            return;
        }
        for term in &new {
            let rows = self.rows.entry(*term).or_default();
            if let Err(place) = rows.binary_search(&row) {
                rows.insert(place, row);
            }
        }
        self.terms.insert(row, new.into());
    }

    /// Takes an item out.
    pub(crate) fn remove(&mut self, row: ItemRow) {
        for term in self.terms.remove(&row).unwrap_or_default() {
            if let Entry::Occupied(mut rows) = self.rows.entry(term) {
                if let Ok(place) = rows.get().binary_search(&row) {
                    rows.get_mut().remove(place);
                }
                if rows.get().is_empty() {
                    rows.remove();
                }
            }
        }
    }

    /// The new items most like one of `recent`, the user's items with the newest first; best first, ties by row.
    ///
    /// # Cost
    /// Terms of ten items are read from their texts, and for each 256 new items are looked at.
    pub(crate) fn like(
        &self,
        catalog: &Catalog,
        recent: impl Iterator<Item = ItemRow>,
        texts: &Pipeline,
    ) -> Vec<Proposal> {
        let mut looked_at: Vec<ItemRow> = Vec::with_capacity(N_RECENT);
        let mut best: FxHashMap<ItemRow, (f32, ItemRow)> = FxHashMap::default();
        let mut weight = 1.0;
        for like in recent {
            if looked_at.contains(&like) {
                continue;
            }
            looked_at.push(like);
            for (row, score) in self.similar(like, &terms(catalog, like, texts)) {
                let score = score * weight;
                let of_row = best.entry(row).or_insert((0.0, like));
                // The newer item is named where both say as much.
                if score > of_row.0 {
                    *of_row = (score, like);
                }
            }
            weight *= DECAY;
            if looked_at.len() == N_RECENT {
                break;
            }
        }
        let proposals = best.into_iter().map(|(row, (score, like))| Proposal { row, score, like });
        let mut proposals: Vec<Proposal> = proposals.filter(|own| own.score > 0.0).collect();
        proposals.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.row.cmp(&b.row)));
        proposals.truncate(MAX_PROPOSED);
        proposals
    }

    /// New items that are alike enough, with how much they are.
    fn similar(&self, like: ItemRow, terms: &[u32]) -> Vec<(ItemRow, f32)> {
        let mut products: FxHashMap<ItemRow, f32> = FxHashMap::default();
        let mut square = 0.0;
        for term in terms {
            let squared = self.weight(*term).powi(2);
            square += squared;
            let rows = self.rows.get(term).map_or(&[][..], Vec::as_slice);
            for row in rows.iter().rev().take(MAX_WITH_TERM) {
                *products.entry(*row).or_default() += squared;
            }
        }
        products.remove(&like);
        let cosine = |(row, product): (ItemRow, f32)| {
            let own: f32 = self.terms[&row].iter().map(|term| self.weight(*term).powi(2)).sum();
            (row, (product / (square * own).sqrt()).min(1.0))
        };
        products.into_iter().map(cosine).filter(|(_, own)| *own >= MIN_SIMILARITY).collect()
    }

    /// ln(1 + n / df): above 0, however many items have the term.
    fn weight(&self, term: u32) -> f32 {
        let n_with = self.rows.get(&term).map_or(1, Vec::len).max(1);
        (self.terms.len() as f32 / n_with as f32).ln_1p()
    }
}

/// What is written of an item, as numbers: ascending, each once.
pub(crate) fn terms(catalog: &Catalog, row: ItemRow, texts: &Pipeline) -> Vec<u32> {
    let mut terms = Vec::new();
    let text = |name: &str| match catalog.column(name, ColumnType::Text) {
        Some(Column::Text(column)) => column.text(row),
        _ => None,
    };
    let list = |name: &str, column_type| match catalog.column(name, column_type) {
        Some(Column::Texts(column)) => {
            let codes = column.list(row).unwrap_or_default();
            codes.iter().map(|code| column.text(*code)).collect::<Vec<_>>()
        }
        _ => Vec::new(),
    };
    if let Some(brand) = text("brand") {
        terms.push(term(b'b', brand));
    }
    // "Tea > Green" is Tea, and Tea > Green.
    let mut path = String::new();
    for step in list("category", ColumnType::Path) {
        path.push('>');
        path.push_str(step);
        terms.push(term(b'c', &path));
    }
    terms.extend(list("tags", ColumnType::Texts).iter().map(|tag| term(b't', tag)));
    for words in ["title", "description"].iter().filter_map(|name| text(name)) {
        if terms.len() < MAX_TERMS {
            terms.extend(texts.analyze(words).words().map(|word| term(b'w', word)));
        }
    }
    terms.truncate(MAX_TERMS);
    terms.sort_unstable();
    terms.dedup();
    terms
}

fn term(kind: u8, text: &str) -> u32 {
    let mut hasher = FxHasher::default();
    (kind, text).hash(&mut hasher);
    let hash = hasher.finish();
    (hash ^ (hash >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use forecart_text::PipelineConfig;
    use serde_json::{Value, json};

    use super::*;

    struct Shop {
        catalog: Catalog,
        new: NewItems,
        texts: Pipeline,
    }

    impl Shop {
        fn new() -> Self {
            let texts = Pipeline::new(PipelineConfig::default()).unwrap();
            Self { catalog: Catalog::new(), new: NewItems::default(), texts }
        }

        #[expect(clippy::needless_pass_by_value, reason = "calls read better")]
        fn known(&mut self, id: &str, fields: Value) -> ItemRow {
            self.catalog.upsert(id, fields.as_object().unwrap()).unwrap()
        }

        fn put(&mut self, id: &str, fields: Value) -> ItemRow {
            let row = self.known(id, fields);
            self.new.put(row, terms(&self.catalog, row, &self.texts));
            row
        }

        fn like(&self, recent: &[ItemRow]) -> Vec<(u32, u32)> {
            let found = self.new.like(&self.catalog, recent.iter().copied(), &self.texts);
            assert!(found.iter().all(|own| own.score > 0.0 && own.score <= 1.0), "{found:?}");
            found.iter().map(|own| (own.row.0, own.like.0)).collect()
        }
    }

    #[test]
    fn an_item_is_like_those_that_share_its_words_the_rarer_the_more() {
        let mut shop = Shop::new();
        let tea = shop.known("tea", json!({"title": "Sencha green tea 100 g", "brand": "Ume"}));
        let pan =
            shop.known("pan", json!({"title": "Cast iron pan", "category": "Kitchen > Pans"}));
        let bare = shop.known("bare", json!({}));
        let matcha = shop.put("matcha", json!({"title": "Matcha GREEN tea 30 g"}));
        let lid = shop.put("lid", json!({"title": "A lid", "category": "Kitchen > Pans > Lids"}));
        let sencha = shop.put("sencha", json!({"title": "Sencha", "brand": "Ume"}));
        let rope = shop.put("rope", json!({"title": "Rope"}));
        assert_eq!(shop.like(&[tea]), [(sencha.0, tea.0), (matcha.0, tea.0)]);
        assert_eq!(shop.like(&[pan]), [(lid.0, pan.0)]);
        assert_eq!(shop.like(&[bare]), []);
        let both = shop.like(&[pan, tea, pan]);
        assert_eq!(both.len(), 3);
        assert!(both.contains(&(lid.0, pan.0)) && both.contains(&(sencha.0, tea.0)));
        // One that the user acted on is not proposed for itself.
        assert_eq!(shop.like(&[rope]), []);
        // Worked out by hand: all terms weigh the same, since each is one new item's at most; 2 of 2 and 6 are common.
        let found = shop.new.like(&shop.catalog, std::iter::once(tea), &shop.texts);
        assert!((found[0].score - 2.0 / 12_f32.sqrt()).abs() < 1e-6, "{found:?}");
        // Another one with "ume" makes it weigh less: ln(1 + 5 / 2) against ln(1 + 5).
        shop.put("cup", json!({"brand": "Ume"}));
        let (common, rare) = (3.5_f32.ln().powi(2), 6_f32.ln().powi(2));
        let found = shop.new.like(&shop.catalog, std::iter::once(tea), &shop.texts);
        let of_sencha = found.iter().find(|own| own.row == sencha).unwrap().score;
        let want = (common + rare) / ((common + rare) * (common + 5.0 * rare)).sqrt();
        assert!((of_sencha - want).abs() < 1e-6, "{of_sencha} {want}");
    }

    #[test]
    fn what_changes_or_goes_leaves_nothing_behind() {
        let mut shop = Shop::new();
        let tea = shop.known("tea", json!({"title": "tea"}));
        for n in 0..300 {
            shop.put(&format!("new {n}"), json!({"title": "tea"}));
        }
        assert_eq!(shop.like(&[tea]).len(), 256);
        for n in 0..300 {
            let row = shop.put(&format!("new {n}"), json!({"title": "pan"}));
            if n % 2 == 0 {
                shop.catalog.remove(&format!("new {n}"));
                shop.new.put(row, terms(&shop.catalog, row, &shop.texts));
            }
        }
        assert_eq!(shop.like(&[tea]), []);
        assert_eq!((shop.new.terms.len(), shop.new.rows.len()), (150, 1));
        (0..301).for_each(|row| shop.new.remove(ItemRow(row)));
        assert!(shop.new.is_empty() && shop.new.rows.is_empty());
    }

    #[test]
    fn chinese_titles_are_cut_into_words() {
        let mut shop = Shop::new();
        let tea = shop.known("tea", json!({"title": "龙井绿茶"}));
        let other = shop.put("other", json!({"title": "碧螺春 绿茶"}));
        shop.put("pan", json!({"title": "铸铁锅"}));
        assert_eq!(shop.like(&[tea]), [(other.0, tea.0)]);
    }
}
