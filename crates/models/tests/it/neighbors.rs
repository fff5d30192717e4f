//! Neighborhoods against dense matrices of NumPy (`fixtures/make_neighbors.py`).

use forecart_data::{History, ItemIdx};
use forecart_models::model_file::LoadedModel;
use forecart_models::recommend::{FitOn, Recommender, TrainingView, registry};
use serde::Deserialize;
use serde_json::json;

use crate::shop::{context, fit, ratings};

#[derive(Deserialize)]
struct Fixture {
    /// Of each user item and value.
    events: Vec<Vec<(u32, f32)>>,
    histories: Vec<Vec<(u32, f32)>>,
    n_items: u32,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    similarity: String,
    weighting: String,
    shrinkage: f64,
    /// Similarities above 0, `[n_items, n_items]`.
    items: Vec<Vec<f64>>,
    /// Scores of user-kNN for each history, `[n_histories, n_items]`.
    users: Vec<Vec<f64>>,
}

fn scores(model: &dyn Recommender, history: &[(u32, f32)]) -> Vec<f32> {
    let items: Vec<ItemIdx> = history.iter().map(|(item, _)| ItemIdx(*item)).collect();
    let values: Vec<f32> = history.iter().map(|(_, value)| *value).collect();
    let mut scores = vec![f32::NAN; model.n_item_rows()];
    model.score_all(History { values: &values, ..History::of(&items) }, &mut scores);
    scores
}

#[test]
fn similarities_and_scores_are_those_of_dense_matrices() {
    let fixture: Fixture =
        serde_json::from_str(include_str!("../fixtures/neighbors.json")).unwrap();
    let (_folder, dataset) = ratings(fixture.n_items, &fixture.events);
    let view = TrainingView::new(&dataset, FitOn::Train);
    let mut n_checked = 0;
    for case in &fixture.cases {
        let name = format!("{} {} {}", case.similarity, case.weighting, case.shrinkage);
        let keys = json!({
            "similarity": case.similarity, "weighting": case.weighting, "shrinkage": case.shrinkage,
            "n_neighbors": 1000,
        });
        let fit = |model: &str| {
            registry::spec(model, &keys).unwrap().fit(&view, &context(1, 2)).unwrap().model
        };
        // 1e-4 of the value: weights are f32, and so are the sums of the scores.
        let check = |got: f32, want: f64, what: &str| {
            let off = (f64::from(got) - want).abs();
            assert!(off <= 1e-6 + 1e-4 * want.abs(), "{name}, {what}: {got} is not {want}");
        };
        let model = fit("item-knn");
        for (item, want) in (1..).zip(&case.items) {
            let similar = model.similar(ItemIdx(item), 1000.try_into().unwrap());
            assert_eq!(similar.len(), want.iter().filter(|value| **value > 0.0).count(), "{name}");
            for scored in similar {
                check(scored.score, want[scored.item.row() - 1], &format!("item {item}"));
                n_checked += 1;
            }
        }
        let model = fit("user-knn");
        for (history, want) in fixture.histories.iter().zip(&case.users) {
            if want.iter().all(|score| *score == 0.0) {
                continue; // nobody is like it: popularity answers
            }
            for (got, want) in scores(model.as_ref(), history)[1..].iter().zip(want) {
                check(*got, *want, "user-knn");
                n_checked += 1;
            }
        }
    }
    assert!(n_checked > 5000, "{n_checked}");
}

#[test]
fn centered_neighborhoods_survive_their_file() {
    let fixture: Fixture =
        serde_json::from_str(include_str!("../fixtures/neighbors.json")).unwrap();
    let (_folder, dataset) = ratings(fixture.n_items, &fixture.events);
    for model in ["item-knn", "user-knn"] {
        for (similarity, weighting) in [("pearson", "value"), ("adjusted-cosine", "count")] {
            let keys = json!({"similarity": similarity, "weighting": weighting, "shrinkage": 1.0});
            let spec = registry::spec(model, &keys).unwrap();
            let model = fit(spec.as_ref(), &dataset, &context(1, 2));
            let back = LoadedModel::from_bytes(&model.to_bytes().unwrap()).unwrap();
            for history in &fixture.histories {
                let (scores, again) =
                    (scores(model.model(), history), scores(back.model(), history));
                assert!(scores == again && scores.iter().any(|score| *score != 0.0));
            }
        }
    }
}

#[test]
fn similarities_that_need_ratings_say_so() {
    for similarity in ["pearson", "adjusted-cosine"] {
        for model in ["item-knn", "user-knn"] {
            let error = registry::spec(model, &json!({"similarity": similarity})).unwrap_err();
            assert!(error.to_string().contains("set weighting to count or value"), "{error}");
        }
    }
}
