//! How alike two items are by what the catalog knows of them.

use super::column::Column;
use super::fields::{BRAND, CATEGORY, TAGS};
use super::item_row::ItemRow;
use super::items::Catalog;
use super::{NO_CODE, TextColumn, TextsColumn};

const CATEGORY_WEIGHT: f32 = 0.5;
const BRAND_WEIGHT: f32 = 0.25;
const TAGS_WEIGHT: f32 = 0.25;

impl Catalog {
    /// How alike two items are, `0.0..=1.0`, the same both ways round.
    ///
    /// The weighted mean of three parts: category (weight 0.5; the steps that both paths begin with, over the steps of
    /// the longer one), brand (0.25; equal or not) and tags (0.25; Jaccard's share of common ones). A part that
    /// neither item has does not count; one that a single item has counts as 0. Variants of one group are wholly
    /// alike. Items of which nothing is known are not alike at all.
    pub fn similarity(&self, one: ItemRow, other: ItemRow) -> f32 {
        let group = self.group(one);
        if one == other || (group.is_some() && group == self.group(other)) {
            return 1.0;
        }
        let parts = [
            (
                CATEGORY_WEIGHT,
                self.lists(CATEGORY).and_then(|paths| common_path(paths, one, other)),
            ),
            (BRAND_WEIGHT, self.texts(BRAND).and_then(|brands| same(brands, one, other))),
            (TAGS_WEIGHT, self.lists(TAGS).and_then(|tags| jaccard(tags, one, other))),
        ];
        let (mut weights, mut sum) = (0.0, 0.0);
        for (weight, part) in parts {
            if let Some(alike) = part {
                weights += weight;
                sum += weight * alike;
            }
        }
        if weights > 0.0 { sum / weights } else { 0.0 }
    }

    fn texts(&self, place: usize) -> Option<&TextColumn> {
        match self.field(place) {
            Column::Text(column) => Some(column),
            _ => None,
        }
    }

    fn lists(&self, place: usize) -> Option<&TextsColumn> {
        match self.field(place) {
            Column::Texts(column) => Some(column),
            _ => None,
        }
    }
}

/// `None` if neither item has a path with a step.
fn common_path(paths: &TextsColumn, one: ItemRow, other: ItemRow) -> Option<f32> {
    let (one, other) = (paths.list(one).unwrap_or(&[]), paths.list(other).unwrap_or(&[]));
    let n_longer = one.len().max(other.len());
    let n_common = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    (n_longer > 0).then(|| n_common as f32 / n_longer as f32)
}

fn same(brands: &TextColumn, one: ItemRow, other: ItemRow) -> Option<f32> {
    let (one, other) = (brands.code(one), brands.code(other));
    (one != NO_CODE || other != NO_CODE).then(|| f32::from(u8::from(one == other)))
}

/// Of tags as sets. Lists of tags are short, so that two loops beat a set.
fn jaccard(tags: &TextsColumn, one: ItemRow, other: ItemRow) -> Option<f32> {
    let (one, other) = (tags.list(one).unwrap_or(&[]), tags.list(other).unwrap_or(&[]));
    let n_different =
        |list: &[u32]| (0..list.len()).filter(|at| !list[..*at].contains(&list[*at])).count();
    let is_common = |at: &usize| !one[..*at].contains(&one[*at]) && other.contains(&one[*at]);
    let n_common = (0..one.len()).filter(is_common).count();
    let n_all = n_different(one) + n_different(other) - n_common;
    (n_all > 0).then(|| n_common as f32 / n_all as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[expect(clippy::needless_pass_by_value, reason = "calls read better")]
    fn put(catalog: &mut Catalog, id: &str, fields: serde_json::Value) -> ItemRow {
        catalog.upsert(id, fields.as_object().unwrap()).unwrap()
    }

    #[test]
    fn values_worked_out_by_hand() {
        let mut catalog = Catalog::new();
        let a = put(
            &mut catalog,
            "a",
            json!({"category": "Books > Novels > Crime", "brand": "X", "tags": ["new", "sale"]}),
        );
        let b = put(
            &mut catalog,
            "b",
            json!({"category": "Books > Novels", "brand": "X", "tags": ["sale", "gift", "sale"]}),
        );
        let c = put(&mut catalog, "c", json!({"category": "Toys"}));
        let d = put(&mut catalog, "d", json!({}));
        let e = put(&mut catalog, "e", json!({"group_id": "g", "brand": "Y"}));
        let f = put(&mut catalog, "f", json!({"group_id": "g"}));
        // 2 of 3 steps, the same brand, 1 of 3 tags.
        let want = 0.5 * 2.0 / 3.0 + 0.25 + 0.25 / 3.0;
        assert!((catalog.similarity(a, b) - want).abs() < 1e-6);
        assert_eq!(catalog.similarity(a, b), catalog.similarity(b, a));
        assert_eq!(catalog.similarity(a, c), 0.0);
        assert_eq!(catalog.similarity(d, ItemRow(77)), 0.0);
        assert_eq!(catalog.similarity(c, c), 1.0);
        assert_eq!(catalog.similarity(e, f), 1.0);
    }
}
