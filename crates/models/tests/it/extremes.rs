//! Values at the ends of what a configuration can hold: refused by name, or scores that are numbers.

use forecart_data::{History, ItemIdx};
use forecart_models::ModelError;
use forecart_models::recommend::{FitOn, TrainingView, registry};
use serde_json::{Value, json};

use crate::shop::{context, shop};

const MODELS: &[&str] = &[
    "popularity-decay",
    "trending",
    "latest",
    "buy-again",
    "together",
    "seq-rules",
    "ials",
    "bpr",
    "ease",
    "slim",
    "item-knn",
    "user-knn",
    "content",
    "v-sknn",
    "stan",
    "vstan",
];

/// Keys that say how long a fit takes.
const TIMES: &[&str] = &["n_epochs", "patience", "max_passes", "cg_steps"];

fn extremes(default: &Value) -> Vec<Value> {
    match default {
        Value::Number(number) if number.is_f64() => {
            [0.0, 1e-300, 1e-30, 1e-9, 1.0, 1e9, 1e30, 1e300, -1.0].map(Value::from).to_vec()
        }
        Value::Number(_) => vec![json!(0), json!(1), json!(u32::MAX), json!(-1)],
        _ => Vec::new(),
    }
}

#[test]
fn a_value_at_an_end_is_refused_or_gives_finite_scores() {
    let (_folder, dataset) = shop();
    let view = TrainingView::new(&dataset, FitOn::Train);
    let user = dataset.user_indices().find(|user| view.history(*user).items.len() > 5).unwrap();
    let strange = [ItemIdx(7), ItemIdx(0), ItemIdx(7), ItemIdx(9999), ItemIdx(30)];
    let (mut n_fitted, mut n_refused) = (0, 0);
    for name in MODELS {
        let mut small = match *name {
            "bpr" => json!({"n_epochs": 2, "n_factors": 4, "batch_size": 100}),
            "ials" => json!({"n_epochs": 2, "n_factors": 4}),
            _ => json!({}),
        };
        let defaults = registry::spec(name, &small).unwrap().hyperparameters();
        for (key, default) in defaults.as_object().unwrap() {
            if TIMES.contains(&key.as_str()) {
                continue;
            }
            for value in extremes(default) {
                let before = small[key].clone();
                small[key] = value.clone();
                let spec = registry::spec(name, &small);
                match before {
                    Value::Null => drop(small.as_object_mut().unwrap().remove(key)),
                    before => small[key] = before,
                }
                let fitted = spec.and_then(|spec| {
                    // What is too large for this machine is not for this test.
                    let context = forecart_models::recommend::FitContext {
                        memory_limit_bytes: Some(1 << 30),
                        ..context(1, 1)
                    };
                    spec.fit(&view, &context)
                });
                let model = match fitted {
                    Ok(fitted) => fitted.model,
                    Err(ModelError::Hyperparameter { name: found, .. }) => {
                        // The key, or one that it does not go together with.
                        let is_named = defaults.get(&found).is_some();
                        assert!(is_named, "{name} {key} = {value}: {found}");
                        n_refused += 1;
                        continue;
                    }
                    Err(
                        ModelError::Memory { .. }
                        | ModelError::Training { .. }
                        | ModelError::Diverged { .. }
                        | ModelError::NoEvents { .. },
                    ) => continue,
                    Err(other) => panic!("{name} {key} = {value}: {other}"),
                };
                n_fitted += 1;
                for history in [view.history(user), History::of(&strange), History::default()] {
                    let mut scores = vec![f32::NAN; model.n_item_rows()];
                    model.score_all(history, &mut scores);
                    let all = scores.iter().all(|score| score.is_finite());
                    assert!(all, "{name} {key} = {value}: {scores:?}");
                }
            }
        }
    }
    assert!(n_fitted > 150 && n_refused > 100, "{n_fitted} fitted, {n_refused} refused");
}
