//! The catalog as a whole, against maps of JSON.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value as Json, json};

use super::*;
use crate::rules::reference::{random_catalog, random_item};

#[expect(clippy::needless_pass_by_value, reason = "calls read better")]
fn object(json: Json) -> Map<String, Json> {
    json.as_object().unwrap().clone()
}

#[test]
fn an_item_is_given_back_as_it_was_sent() {
    let mut catalog = Catalog::new();
    catalog.declare("released", ColumnType::Time).unwrap();
    let item = object(json!({
        "title": "Mug", "description": "red", "category": ["Kitchen", "Mugs"], "brand": "Acme", "price": 12.5,
        "currency": "EUR", "in_stock": true, "stock_quantity": 3, "margin": 0.25,
        "published_at": 1_700_000_000, "expires_at": "2030-01-01T01:00:00+01:00", "group_id": "g",
        "image_url": "https://example.com/mug.png", "tags": ["sale", "new"],
        "attributes": {"color": "red", "volume": 0.3, "dishwasher": false, "sizes": ["S"], "released": "2025-01-01",
                       "nothing": null},
    }));
    let row = catalog.upsert("mug", &item).unwrap();
    let mut want = item.clone();
    want.insert("item_id".into(), "mug".into());
    want.insert("category".into(), "Kitchen > Mugs".into());
    want.insert("published_at".into(), "2023-11-14T22:13:20Z".into());
    want.insert("expires_at".into(), "2030-01-01T00:00:00Z".into());
    let attributes = want["attributes"].as_object_mut().unwrap();
    attributes.insert("released".into(), "2025-01-01T00:00:00Z".into());
    attributes.remove("nothing");
    assert_eq!(catalog.item(row).unwrap(), want);
    // What is given back can be sent again.
    catalog.upsert("mug", &want).unwrap();
    assert_eq!(catalog.item(row).unwrap(), want);
}

#[test]
fn mistakes_are_named_and_change_nothing() {
    let mut catalog = Catalog::new();
    let row = catalog.upsert("a", &object(json!({"price": 1, "attributes": {"size": 3}}))).unwrap();
    let before = catalog.item(row);
    let long = "x".repeat(MAX_TEXT_BYTES + 1);
    let list: Vec<&str> = vec!["x"; MAX_LIST_LEN + 1];
    for (sent, code, field) in [
        (json!({"prize": 2}), "unknown_field", "prize"),
        (json!({"price": "2"}), "wrong_type", "price"),
        (json!({"price": true}), "wrong_type", "price"),
        (json!({"in_stock": 1}), "wrong_type", "in_stock"),
        (json!({"title": 7}), "wrong_type", "title"),
        (json!({"tags": "sale"}), "wrong_type", "tags"),
        (json!({"tags": ["sale", 1]}), "wrong_type", "tags"),
        (json!({"title": long}), "text_too_long", "title"),
        (json!({"tags": list}), "list_too_long", "tags"),
        (json!({"category": "A > > B"}), "bad_category", "category"),
        (json!({"category": ["A > B", "C"]}), "bad_category", "category"),
        (json!({"category": ""}), "bad_category", "category"),
        (json!({"expires_at": "soon"}), "bad_timestamp", "expires_at"),
        (json!({"expires_at": "2026-01-01 10:00:00"}), "bad_timestamp", "expires_at"),
        (json!({"expires_at": true}), "wrong_type", "expires_at"),
        (json!({"item_id": "b"}), "other_id", "item_id"),
        (json!({"attributes": []}), "wrong_type", "attributes"),
        (json!({"attributes": {"size": "L"}}), "wrong_type", "attributes.size"),
        (json!({"attributes": {"x": {}}}), "wrong_type", "attributes.x"),
        (json!({"attributes": {"price": 1}}), "bad_attribute_name", "price"),
        (json!({"attributes": {"": 1}}), "bad_attribute_name", ""),
    ] {
        // A good field beside the bad one, and a new attribute.
        let mut sent = object(sent);
        sent.insert("brand".into(), "Acme".into());
        let new = || json!({"fresh": 1});
        sent.entry("attributes").or_insert_with(new);
        for error in
            [catalog.upsert("a", &sent).unwrap_err(), catalog.patch("a", &sent).unwrap_err()]
        {
            assert_eq!((error.code(), error.field()), (code, Some(field)), "{sent:?}");
            assert!(!error.hint().is_empty() && !error.message().is_empty());
        }
        assert!(catalog.upsert("new", &sent).is_err());
        assert_eq!(catalog.item(row), before);
        assert_eq!((catalog.n_live(), catalog.row("new")), (1, None));
        assert_eq!(catalog.column_type("fresh"), None);
    }
    let code = |result: Result<ItemRow, CatalogError>| result.unwrap_err().code();
    assert_eq!(code(catalog.ensure("")), "empty_id");
    assert_eq!(code(catalog.ensure(&"x".repeat(MAX_ID_BYTES + 1))), "id_too_long");
    assert_eq!(code(catalog.patch("b", &Map::new())), "unknown_item");
    let many = (0..=MAX_ATTRIBUTES).map(|n| (format!("a{n}"), json!(1))).collect::<Map<_, _>>();
    let sent = object(json!({"attributes": many}));
    assert_eq!(code(catalog.upsert("a", &sent)), "too_many_attributes");
    let error = catalog.declare("size", ColumnType::Text).unwrap_err();
    assert_eq!((error.code(), error.field()), ("wrong_type", Some("size")));
}

#[test]
fn removed_items_stay_removed_until_they_are_sent_again() {
    let mut catalog = Catalog::new();
    let row = catalog.ensure("a").unwrap();
    assert!(catalog.is_live(row));
    assert_eq!(catalog.remove("a"), Some(row));
    assert_eq!(catalog.remove("a"), None);
    assert_eq!(catalog.ensure("a").unwrap(), row);
    assert!(!catalog.is_live(row) && catalog.item(row).is_none());
    assert_eq!(catalog.patch("a", &Map::new()).unwrap_err().code(), "unknown_item");
    assert_eq!(catalog.upsert("a", &Map::new()).unwrap(), row);
    assert!(catalog.is_live(row));
    assert_eq!((catalog.n_rows(), catalog.n_live()), (1, 1));
}

#[test]
fn times_of_publication_and_expiry_open_and_close() {
    let mut catalog = Catalog::new();
    let item = json!({"published_at": 1000, "expires_at": 2000});
    let row = catalog.upsert("a", &object(item)).unwrap();
    let open = [999_999, 1_000_000, 1_999_999, 2_000_000].map(|now| catalog.is_eligible(row, now));
    assert_eq!(open, [false, true, true, false]);
    let row = catalog.ensure("b").unwrap();
    assert!(catalog.is_eligible(row, i64::MIN) && catalog.is_eligible(row, i64::MAX));
    assert!(!catalog.is_eligible(ItemRow(99), 0));
}

#[test]
fn a_hundred_thousand_items_take_some_ten_megabytes() {
    let mut catalog = Catalog::new();
    for n in 0..100_000 {
        let item = object(json!({
            "title": format!("A product with the number {n}"), "category": format!("Part {} > Shelf {}", n % 7, n % 100),
            "brand": format!("Brand {}", n % 500), "price": n, "in_stock": n % 3 > 0, "margin": 0.2,
            "published_at": 1_700_000_000 + n, "group_id": (n / 4).to_string(),
            "tags": [format!("tag {}", n % 10), format!("tag {}", n % 11)], "attributes": {"color": "red"},
        }));
        catalog.upsert(&format!("item-{n:06}"), &item).unwrap();
    }
    let n_bytes = catalog.n_bytes();
    assert!((10_000_000..40_000_000).contains(&n_bytes), "{n_bytes}");
    for n in 0..100_000 {
        catalog.remove(&format!("item-{n:06}"));
    }
    // Columns stay as long, what they held is given back.
    assert!(catalog.n_bytes() < n_bytes - 4_000_000, "{}", catalog.n_bytes());
}

proptest! {
    #[test]
    fn whatever_happens_the_catalog_is_what_maps_say(seed: u64) {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let mut catalog = random_catalog();
        let mut maps: BTreeMap<String, Option<Map<String, Json>>> = BTreeMap::new();
        for _ in 0..60 {
            let id = rng.random_range(0..8).to_string();
            let item = random_item(rng);
            match rng.random_range(0..5) {
                0 => {
                    catalog.ensure(&id).unwrap();
                    maps.entry(id).or_insert_with(|| Some(Map::new()));
                }
                1 => {
                    let was_live = matches!(maps.get(&id), Some(Some(_)));
                    prop_assert_eq!(catalog.remove(&id).is_some(), was_live);
                    if was_live {
                        maps.insert(id, None);
                    }
                }
                2 | 3 => {
                    let mut sent = item;
                    for (_, value) in &mut sent {
                        if rng.random_bool(0.2) {
                            *value = Json::Null;
                        }
                    }
                    let patched = catalog.patch(&id, &sent);
                    match maps.get_mut(&id) {
                        Some(Some(map)) => patch(map, &sent),
                        _ => prop_assert_eq!(patched.unwrap_err().code(), "unknown_item"),
                    }
                }
                _ => {
                    catalog.upsert(&id, &item).unwrap();
                    maps.insert(id, Some(item));
                }
            }
        }
        prop_assert_eq!(catalog.n_rows(), maps.len());
        prop_assert_eq!(catalog.n_live(), maps.values().flatten().count());
        prop_assert_eq!(catalog.live_rows().count(), catalog.n_live());
        for (id, map) in maps {
            let row = catalog.row(&id).unwrap();
            prop_assert_eq!(catalog.id(row), id.as_str());
            let want = map.map(|mut map| {
                map.insert("item_id".into(), id.into());
                plain(map)
            });
            prop_assert_eq!(catalog.item(row).map(plain), want);
        }
    }
}

/// What a patch does to an object.
fn patch(map: &mut Map<String, Json>, sent: &Map<String, Json>) {
    for (name, value) in sent {
        match (name.as_str(), value) {
            (name, Json::Null) => drop(map.remove(name)),
            ("attributes", value) => {
                let attributes = map.entry("attributes").or_insert_with(|| json!({}));
                attributes.as_object_mut().unwrap().extend(object(value.clone()));
            }
            (name, value) => drop(map.insert(name.into(), value.clone())),
        }
    }
}

/// Numbers as floats, so that 1 is 1.0.
fn plain(map: Map<String, Json>) -> Map<String, Json> {
    let number = |(name, value): (String, Json)| match value {
        Json::Number(number) => (name, json!(number.as_f64())),
        Json::Object(inner) => (name, plain(inner).into()),
        other => (name, other),
    };
    map.into_iter().map(number).collect()
}
