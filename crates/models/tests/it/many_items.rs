//! Lists of a shop with thousands of items, where models of vectors look for the best ones without scoring all.

use std::num::NonZeroUsize;

use forecart_data::{History, ItemIdx, SeenItems};
use forecart_models::recommend::{TopK, registry, top_k};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use crate::shop::{context, fit, ratings};

const N_ITEMS: u32 = 5000;

#[test]
fn lists_of_any_request_are_those_of_all_scores() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    // Many items have no event: their vectors are as they were drawn, or all the same.
    let item = |rng: &mut ChaCha8Rng| rng.random_range(1..=N_ITEMS / 2) * 2;
    let users: Vec<Vec<(u32, f32)>> = (0..300)
        .map(|_| (0..rng.random_range(1..20)).map(|_| (item(&mut rng), 1.0)).collect())
        .collect();
    let (_folder, dataset) = ratings(N_ITEMS, &users);
    let networks = json!({"n_epochs": 1, "d_model": 24, "n_heads": 2, "batch_size": 50});
    for (name, keys) in [
        ("hstu", networks.clone()),
        ("sasrec", networks.clone()),
        ("gru4rec", networks),
        ("mlp", json!({"n_epochs": 1, "d_model": 16, "hidden": [16]})),
        ("two-tower", json!({"n_epochs": 1, "d_model": 16, "n_negatives": 16})),
        ("bpr", json!({"n_epochs": 2, "n_factors": 19})),
        ("ials", json!({"n_factors": 12, "n_epochs": 2})),
    ] {
        let spec = registry::spec(name, &keys).unwrap();
        let model = fit(spec.as_ref(), &dataset, &context(1, 2));
        let model = model.model();
        model.warm();
        let mut histories = Vec::new();
        let mut asked = Vec::new();
        for _ in 0..120 {
            let n = rng.random_range(0..40_u32);
            // Some unknown, some past the table.
            let items = (0..n).map(|_| ItemIdx(rng.random_range(0..N_ITEMS + 20)));
            histories.push(items.collect::<Vec<_>>());
            let exclude = (0..rng.random_range(0..30_u32))
                .map(|_| ItemIdx(rng.random_range(0..N_ITEMS + 20)))
                .collect::<Vec<_>>();
            let seen = if rng.random() { SeenItems::Exclude } else { SeenItems::Keep };
            asked.push((rng.random_range(1..600_usize), seen, exclude));
        }
        let requests: Vec<(History<'_>, TopK<'_>)> = histories
            .iter()
            .zip(&asked)
            .map(|(items, (k, seen, exclude))| {
                let k = NonZeroUsize::new(*k).unwrap();
                (History::of(items), TopK { k, seen: *seen, exclude })
            })
            .collect();
        let bits = |list: Vec<forecart_models::recommend::Scored>| -> Vec<(u32, u32)> {
            list.iter().map(|scored| (scored.item.0, scored.score.to_bits())).collect()
        };
        let mut scores = vec![0.0; model.n_item_rows()];
        let mut n_seen = 0;
        for (requests, n) in [(&requests[..], 8), (&requests[..40], 1), (&requests[7..100], 3)] {
            for requests in requests.chunks(n) {
                let lists = model.recommend_together(requests);
                for ((history, request), list) in requests.iter().zip(lists) {
                    model.score_all(*history, &mut scores);
                    let want = top_k(&scores, *history, request);
                    assert_eq!(bits(list), bits(want), "{name} {history:?} {request:?}");
                    n_seen += 1;
                }
            }
        }
        assert_eq!(n_seen, 120 + 40 + 93);
    }
}
