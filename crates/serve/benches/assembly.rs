//! The last step of an answer: from candidates in order to a list of 10, over 100,000 items with ten fields.
//!
//! Candidates are in order already, so that what is measured is the assembly alone: filters, boosts, variants, the cap,
//! diversity. `keep=1%` filters by two columns of which one item in a hundred passes. Data are generated, without chance.
//! `by_score` adds the choice of the best out of 100,000 scores.
//!
//! ```sh
//! cargo bench --release -p forecart-serve --bench assembly
//! ```
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;
use std::num::{NonZeroU32, NonZeroUsize};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use forecart_serve::assemble::{
    ByScore, Candidate, CategoryCap, InOrder, ListRequest, NamedBoost, NamedFilter, assemble,
};
use forecart_serve::catalog::{Catalog, ItemRow};
use forecart_serve::rules::{Boost, Facts, Filter, Schema, Values};
use serde_json::json;

const N_ITEMS: u32 = 100_000;
const COLORS: [&str; 3] = ["red", "blue", "green"];

fn catalog() -> Catalog {
    let mut catalog = Catalog::new();
    for n in 0..N_ITEMS {
        let item = json!({
            "title": format!("Product {n}"),
            "category": format!("Part {} > Shelf {}", n % 7, n % 100),
            "brand": format!("Brand {}", n % 500),
            "price": n % 1000,
            "in_stock": n % 10 > 0,
            "margin": f64::from(n % 13) / 13.0,
            "published_at": 1_700_000_000 + n,
            "group_id": (n / 4).to_string(),
            "tags": [format!("tag {}", n % 10), format!("tag {}", n % 11)],
            "attributes": {"color": COLORS[n as usize % 3]},
        });
        catalog.upsert(&format!("item-{n}"), item.as_object().expect("an object")).expect("fits");
    }
    catalog
}

/// Every row once, far from the order of the catalog: 48,271 has no factor in common with 100,000.
fn order() -> Vec<ItemRow> {
    (0..u64::from(N_ITEMS)).map(|n| ItemRow((n * 48_271 % u64::from(N_ITEMS)) as u32)).collect()
}

fn lists(criterion: &mut Criterion) {
    let catalog = catalog();
    let order = order();
    let schema = Schema::of(&catalog);
    let values = Values::default();
    let facts =
        Facts { catalog: &catalog, user: &values, context: &values, now_ms: 1_800_000_000_000 };
    let rare = Filter::parse("item.price < 11 and item.in_stock", &schema).expect("a rule");
    let boost = Boost::parse("boost 2 if item.margin > 0.9", &schema).expect("a rule");
    let high = Boost::parse("boost 1000 if item.brand == \"Brand 77\"", &schema).expect("a rule");
    let filters = || vec![NamedFilter { name: "rare", filter: rare.bind(&facts) }];
    let doubled = vec![NamedBoost { name: "boost", boost: boost.bind(&facts) }];
    let raised = vec![NamedBoost { name: "boost", boost: high.bind(&facts) }];
    let plain = ListRequest { n: 10, now_ms: facts.now_ms, ..ListRequest::default() };
    let cap =
        |limit| NonZeroU32::new(limit).map(|limit| CategoryCap { limit, depth: NonZeroUsize::MIN });
    let requests = [
        ("no_filter", plain.clone()),
        ("keep=1%", ListRequest { filters: filters(), ..plain.clone() }),
        ("boost=2", ListRequest { boosts: doubled.clone(), ..plain.clone() }),
        ("boost=1000", ListRequest { boosts: raised, ..plain.clone() }),
        (
            "keep=1%/boost=2",
            ListRequest { filters: filters(), boosts: doubled.clone(), ..plain.clone() },
        ),
        ("one_per_group", ListRequest { one_per_group: true, ..plain.clone() }),
        ("cap=2", ListRequest { category_cap: cap(2), ..plain.clone() }),
        // Seven categories fill seven of ten places: everything is looked at before the cap gives way.
        ("cap=1", ListRequest { category_cap: cap(1), ..plain.clone() }),
        ("diversity=0.3", ListRequest { diversity: 0.3, ..plain.clone() }),
        (
            "keep=1%/diversity=0.3",
            ListRequest { filters: filters(), diversity: 0.3, ..plain.clone() },
        ),
        ("offset=1000", ListRequest { offset: 1000, ..plain.clone() }),
    ];
    let mut group = criterion.benchmark_group("list/items=1e5/n=10");
    for (name, request) in &requests {
        group.bench_function(*name, |bencher| {
            bencher.iter(|| {
                let rows = order.iter().map(|row| Candidate { row: *row, score: Some(0.0) });
                let mut source = InOrder::new("order", rows);
                black_box(assemble(&catalog, &mut [&mut source], request))
            });
        });
    }
    group.bench_function("no_filter/by_score", |bencher| {
        bencher.iter_batched(
            || order.iter().map(|row| (*row, row.0 as f32)),
            |scores| {
                let mut source = ByScore::new("scores", scores);
                black_box(assemble(&catalog, &mut [&mut source], &plain))
            },
            BatchSize::LargeInput,
        );
    });
    group.bench_function("bind/keep=1%", |bencher| bencher.iter(|| black_box(rare.bind(&facts))));
    group.bench_function("parse/keep=1%", |bencher| {
        bencher.iter(|| black_box(Filter::parse("item.price < 11 and item.in_stock", &schema)));
    });
    group.finish();
}

criterion_group!(benches, lists);
criterion_main!(benches);
