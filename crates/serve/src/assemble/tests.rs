//! Lists as a whole: worked out by hand, and random ones against the plain way.

use std::num::{NonZeroU32, NonZeroUsize};

use serde_json::json;

use super::reference::{Case, Seen};
use super::*;
use crate::catalog::{Catalog, ItemRow};
use crate::rules::{Boost, Facts, Filter, Schema, Values};

/// Items `0..items.len()`, in this order of the source.
struct Shop {
    catalog: Catalog,
}

impl Shop {
    fn new(items: &[serde_json::Value]) -> Self {
        let mut catalog = Catalog::new();
        for (row, item) in items.iter().enumerate() {
            catalog.upsert(&row.to_string(), item.as_object().unwrap()).unwrap();
        }
        Self { catalog }
    }

    /// The list with the items in the order of their rows.
    fn list(&self, request: &ListRequest<'_>) -> Assembled {
        let rows = self.catalog.live_rows().map(|row| Candidate { row, score: None });
        assemble(&self.catalog, &mut [&mut InOrder::new("all", rows)], request)
    }
}

fn rows(list: &Assembled) -> Vec<u32> {
    list.items.iter().map(|listed| listed.row.0).collect()
}

fn pin(position: usize, row: u32) -> Pin {
    Pin { position: NonZeroUsize::new(position).unwrap(), row: ItemRow(row) }
}

fn request<'a>(n: usize) -> ListRequest<'a> {
    ListRequest { n, ..ListRequest::default() }
}

#[test]
fn a_boost_divides_the_rank() {
    let items: Vec<_> = (0..10).map(|row| json!({"price": row})).collect();
    let shop = Shop::new(&items);
    let values = Values::default();
    let facts = Facts { catalog: &shop.catalog, user: &values, context: &values, now_ms: 0 };
    let schema = Schema::new();
    let list = |rules: &[&str], n| {
        let boosts: Vec<Boost> =
            rules.iter().map(|rule| Boost::parse(rule, &schema).unwrap()).collect();
        let bound = boosts.iter().map(|boost| NamedBoost { name: "b", boost: boost.bind(&facts) });
        let list = shop.list(&ListRequest { boosts: bound.collect(), ..request(n) });
        (rows(&list), list.trace.sources[0].n_candidates)
    };
    // Rank 8 becomes 4, behind rank 4 itself.
    assert_eq!(list(&["boost 2 if item.price == 7"], 10).0, [0, 1, 2, 3, 7, 4, 5, 6, 8, 9]);
    // Rank 8 becomes 8 / 9, before rank 1; two ranks of 20 are the last two.
    assert_eq!(list(&["boost 9 if item.price == 7"], 10).0, [7, 0, 1, 2, 3, 4, 5, 6, 8, 9]);
    assert_eq!(list(&["boost 0.1 if item.price == 1"], 10).0, [0, 2, 3, 4, 5, 6, 7, 8, 9, 1]);
    // Factors are multiplied: 2 * 4.5 is 9.
    let both = ["boost 2 if item.price >= 7", "boost 4.5 if item.price == 7"];
    assert_eq!(list(&both, 2), (vec![7, 0], 9));
    // Read are as many as decide: the sixth could become 3, where the third stands already, and no later one can.
    assert_eq!(list(&["boost 2 if item.price == 100"], 3), (vec![0, 1, 2], 6));
    // A factor below 1 lets nothing later come up.
    assert_eq!(list(&["boost 0.5 if item.price == 0"], 1), (vec![0], 2));
}

#[test]
fn what_is_removed_is_counted_by_the_first_that_removed_it() {
    let mut items = vec![json!({"price": 1}); 7];
    items[1] = json!({"price": 100});
    items[2] = json!({"price": 1, "expires_at": "1970-01-01"});
    items[3] = json!({"price": 1, "published_at": "2100-01-01"});
    let mut shop = Shop::new(&items);
    shop.catalog.remove("4");
    let values = Values::default();
    let filter = Filter::parse("item.price < 10", &Schema::new()).unwrap();
    let facts = Facts { catalog: &shop.catalog, user: &values, context: &values, now_ms: 0 };
    let seen = [SeenRule {
        name: "bought".into(),
        events: vec!["purchase".into()],
        max_age_ms: Some(1000),
    }];
    let event = |row, event, time_ms| SeenEvent { row: ItemRow(row), event, time_ms };
    let request = ListRequest {
        now_ms: 1000,
        filters: vec![NamedFilter { name: "cheap", filter: filter.bind(&facts) }],
        exclude: vec![ItemRow(5)],
        seen: &seen,
        events: vec![
            event(6, "purchase", 0),
            event(0, "view_item", 900),
            event(0, "purchase", -1),
            event(5, "purchase", 900),
        ],
        ..request(10)
    };
    let all = (0..8).map(|row| Candidate { row: ItemRow(row), score: Some(1.0) });
    let list = assemble(&shop.catalog, &mut [&mut InOrder::new("all", all)], &request);
    assert_eq!(rows(&list), [0]);
    let removed: Vec<(&str, usize, ItemRow)> =
        list.trace.removed.iter().map(|t| (t.name.as_str(), t.n, t.first[0])).collect();
    assert_eq!(
        removed,
        [
            ("removed", 2, ItemRow(4)),
            ("unavailable", 2, ItemRow(2)),
            ("excluded", 1, ItemRow(5)),
            ("seen.bought", 1, ItemRow(6)),
            ("cheap", 1, ItemRow(1)),
        ]
    );
    assert_eq!((list.items[0].score, list.items[0].origin), (Some(1.0), Origin::Source(0)));
}

#[test]
fn variants_stand_back_until_nothing_else_is_left() {
    let groups = ["a", "a", "b", "a", "b", "c"];
    let shop = Shop::new(&groups.map(|group| json!({"group_id": group})));
    let list = shop.list(&ListRequest { one_per_group: true, ..request(10) });
    assert_eq!(rows(&list), [0, 2, 5, 1, 4, 3]);
    assert_eq!((list.trace.held_by_group.n, list.trace.held_by_group.first[0]), (3, ItemRow(1)));
    // A pinned item counts for its group.
    let list =
        shop.list(&ListRequest { one_per_group: true, pins: vec![pin(1, 3)], ..request(10) });
    assert_eq!(rows(&list), [3, 2, 5, 0, 4, 1]);
}

#[test]
fn a_cap_gives_way_before_variants_do() {
    let item = |category: &str, group: &str| json!({"category": category, "group_id": group});
    let shop = Shop::new(&[
        item("A > x", "1"),
        item("A > y", "2"),
        item("A > x", "3"),
        item("B", "4"),
        item("B", "4"),
        json!({}),
    ]);
    let cap = |limit, depth| {
        Some(CategoryCap {
            limit: NonZeroU32::new(limit).unwrap(),
            depth: NonZeroUsize::new(depth).unwrap(),
        })
    };
    let list = shop.list(&ListRequest { category_cap: cap(1, 1), ..request(10) });
    assert_eq!(rows(&list), [0, 3, 5, 1, 4, 2]);
    let list = shop.list(&ListRequest { category_cap: cap(1, 2), ..request(10) });
    assert_eq!(rows(&list), [0, 1, 3, 5, 2, 4]);
    let request = ListRequest { category_cap: cap(1, 1), one_per_group: true, ..request(10) };
    let list = shop.list(&request);
    assert_eq!(rows(&list), [0, 3, 5, 1, 2, 4]);
    assert_eq!((list.trace.held_by_group.n, list.trace.held_by_cap.n), (1, 2));
}

#[test]
fn diversity_lowers_what_is_like_what_stands_above() {
    let item = |category: &str| json!({"category": category});
    let shop = Shop::new(&[item("A"), item("A"), item("B"), item("A"), item("B"), item("C")]);
    let list = |diversity| shop.list(&ListRequest { diversity, ..request(10) });
    assert_eq!(rows(&list(0.0)), [0, 1, 2, 3, 4, 5]);
    assert!(list(0.0).trace.moved_by_diversity.is_empty());
    // At 0.01 one that is wholly alike falls 200 * 0.01 / 0.99 = 2.02 places: behind the third after it. From row 0 on:
    // 1 stands as if at 3.02, 3 at 5.02; next 2, whereupon 4 stands at 6.02; next 1, 3 (5.02 is behind 5), 5 first.
    assert_eq!(rows(&list(0.01)), [0, 2, 1, 5, 3, 4]);
    // At 1 places count between equals alone.
    assert_eq!(rows(&list(1.0)), [0, 2, 5, 1, 3, 4]);
    let moved = list(1.0).trace.moved_by_diversity;
    assert_eq!(moved[0], Moved { row: ItemRow(2), from: 3, to: 2 });
    assert_eq!(moved.len(), 5);
}

#[test]
fn pins_stand_at_their_positions_and_obey_filters() {
    let shop = Shop::new(&vec![json!({}); 6]);
    let pins = vec![pin(2, 5), pin(2, 4), pin(1, 9), pin(4, 5), pin(30, 0), pin(3, 3)];
    let request = ListRequest { pins, exclude: vec![ItemRow(3)], ..request(10) };
    let list = shop.list(&request);
    assert_eq!(rows(&list), [1, 5, 2, 4, 0]);
    assert_eq!(list.items[4].origin, Origin::Pin);
    let outcomes: Vec<PinOutcome> =
        list.trace.pins.into_iter().map(|(_, outcome)| outcome).collect();
    assert_eq!(
        outcomes,
        [
            PinOutcome::Placed,
            PinOutcome::PositionTaken,
            PinOutcome::Removed("removed".into()),
            PinOutcome::ItemTaken,
            PinOutcome::Placed,
            PinOutcome::Removed("excluded".into()),
        ]
    );
    let page = shop.list(&ListRequest { n: 2, offset: 1, ..request });
    assert_eq!(rows(&page), [5, 2]);
    assert_eq!(page.items[0].rank, 2);
}

#[test]
fn sources_come_one_after_the_other() {
    let shop = Shop::new(&vec![json!({}); 4]);
    let mut model = ByScore::new("model", [(ItemRow(2), -5.0), (ItemRow(3), -1.0)]);
    let mut popular = ByScore::new("popular", [(ItemRow(3), 900.0), (ItemRow(0), 800.0)]);
    let rest = shop.catalog.live_rows().map(|row| Candidate { row, score: None });
    let mut rest = InOrder::new("catalog", rest);
    let list = assemble(&shop.catalog, &mut [&mut model, &mut popular, &mut rest], &request(4));
    assert_eq!(rows(&list), [3, 2, 0, 1]);
    assert_eq!(list.items[1].score, Some(-5.0));
    let counts = |source: &SourceTrace| {
        (source.n_candidates, source.n_repeated, source.n_eligible, source.n_listed)
    };
    let sources: Vec<_> = list.trace.sources.iter().map(counts).collect();
    assert_eq!(sources, [(2, 0, 2, 2), (2, 1, 1, 1), (2, 1, 1, 1)]);
}

#[test]
fn a_blended_source_has_one_place_in_so_many() {
    let shop = Shop::new(&vec![json!({}); 9]);
    let list = |one_in, n, offset, exclude: &[u32]| {
        let mut model = ByScore::new("model", (0..5).map(|row| (ItemRow(row), -(row as f32))));
        let mut content = ByScore::new("content", [(ItemRow(7), 0.9), (ItemRow(6), 0.5)]);
        let rest = shop.catalog.live_rows().map(|row| Candidate { row, score: None });
        let mut rest = InOrder::new("catalog", rest);
        let blend = NonZeroUsize::new(one_in).map(|one_in| Blend { source: 1, one_in });
        let exclude = exclude.iter().map(|row| ItemRow(*row)).collect();
        let request = ListRequest { offset, exclude, blend, ..request(n) };
        assemble(&shop.catalog, &mut [&mut model, &mut content, &mut rest], &request)
    };
    let whole = |one_in| rows(&list(one_in, 20, 0, &[]));
    assert_eq!(whole(3), [0, 1, 7, 2, 3, 6, 4, 5, 8]);
    assert_eq!(whole(1), [7, 6, 0, 1, 2, 3, 4, 5, 8]);
    // What has no place among the others follows them.
    assert_eq!(whole(100), [0, 1, 2, 3, 4, 5, 8, 7, 6]);
    assert_eq!(whole(0), [0, 1, 2, 3, 4, 7, 6, 5, 8]);
    let page = list(3, 3, 2, &[0]);
    assert_eq!(rows(&page), [7, 3, 4]);
    assert_eq!((page.items[0].origin, page.items[0].score), (Origin::Source(1), Some(0.9)));
    assert_eq!((page.trace.sources[1].n_candidates, page.trace.sources[1].n_listed), (2, 1));
    assert_eq!(rows(&list(3, 6, 0, &[7])), [0, 1, 6, 2, 3, 4]);
}

/// As many cases as `FORECART_RANDOM_REQUESTS` says, or as run in some seconds.
fn n_random_requests() -> u64 {
    let n = std::env::var("FORECART_RANDOM_REQUESTS").ok();
    n.map_or(40_000, |n| n.parse().expect("FORECART_RANDOM_REQUESTS is a number"))
}

/// The promise of the whole module: no answer breaks a filter, has an item twice, or is short while something eligible
/// is left; and each is the list that the plain way makes.
#[test]
fn random_requests_are_answered_as_the_plain_way_answers_them() {
    let n = n_random_requests();
    let mut counts = [0_u64; 8];
    let is_shown = n > 100_000;
    for seed in 0..n {
        let case = Case::random(seed);
        let run = std::panic::AssertUnwindSafe(|| case.check(&case.assemble()));
        let seen: Seen = std::panic::catch_unwind(run)
            .unwrap_or_else(|_| panic!("seed {seed} fails, see above: {case:#?}"));
        let is_empty = seen.n_listed == 0;
        let facts = [
            seen.has_eligible,
            is_empty,
            seen.has_boosted,
            seen.has_removed,
            seen.has_held,
            seen.has_moved,
            seen.has_pin,
            seen.n_listed > 5,
        ];
        for (count, is) in counts.iter_mut().zip(facts) {
            *count += u64::from(is);
        }
    }
    // What is promised was met often enough to mean something.
    assert!(counts.iter().all(|count| *count > n / 50), "{counts:?} of {n}");
    if is_shown {
        // Into the test's own output: `--nocapture` shows it.
        use std::io::Write;
        let names = "with eligible items, empty, boosted, filtered, held back, moved, pinned, longer than 5";
        writeln!(std::io::stderr(), "{n} requests; {names}: {counts:?}").unwrap();
    }
}
