//! Training that goes wrong says where and why; the keys that keep it from going wrong reach the optimizer.

use forecart_models::ModelError;
use forecart_models::recommend::{FitContext, FitOn, FitRecord, TrainingView, registry};
use forecart_models::training::{Checkpoint, Divergence};
use serde_json::{Value, json};

use crate::shop::{context, shop};

const NAMES: [&str; 4] = ["mlp", "two-tower", "sasrec", "hstu"];

fn keys(name: &str, more: &Value) -> Value {
    let mut keys = match name {
        "mlp" => json!({"d_model": 8, "hidden": [6], "batch_size": 100, "n_epochs": 9}),
        // Scores of vectors of length 1 are bounded, and so is their loss.
        "two-tower" => {
            json!({"d_model": 8, "normalize": false, "batch_size": 100, "n_epochs": 9})
        }
        "neumf" => json!({"n_factors": 8, "hidden": [6], "batch_size": 100, "n_epochs": 9}),
        _ => json!({"d_model": 8, "batch_size": 20, "n_epochs": 9}),
    };
    keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    keys
}

fn fit(name: &str, more: &Value, checkpoint: Option<&Checkpoint>) -> Result<FitRecord, ModelError> {
    let (_folder, dataset) = shop();
    let spec = registry::spec(name, &keys(name, more)).unwrap();
    let view = TrainingView::new(&dataset, FitOn::Train).with_early_stopping();
    Ok(spec.fit(&view, &FitContext { checkpoint, ..context(1, 2) })?.record)
}

fn divergence(name: &str, more: &Value) -> (Divergence, String) {
    let error = fit(name, more, None).unwrap_err();
    let words = error.to_string();
    match error {
        ModelError::Diverged { divergence, .. } => (*divergence, words),
        _ => panic!("{name}: {error:?}"),
    }
}

#[test]
fn a_learning_rate_that_is_far_too_large_is_explained() {
    for name in NAMES.into_iter().chain(["neumf"]) {
        for rate in [1e6, 1e30] {
            let (found, words) = divergence(name, &json!({"learning_rate": rate}));
            assert_eq!(f64::from(found.learning_rate), f64::from(rate as f32), "{words}");
            assert!(found.epoch == 1 && (2..10).contains(&found.step), "{words}");
            let (weight, value) = found.largest_weight.clone().unwrap();
            assert!(!weight.is_empty() && (value.is_nan() || value.abs() >= 1e5), "{words}");
            assert_eq!(found.best_epoch, None, "{words}");
            let start = format!("training of {name} diverged in epoch 1, step {}", found.step);
            assert!(words.starts_with(&start), "{words}");
            for part in [weight.as_str(), "lower `learning_rate`", "max_grad_norm"] {
                assert!(words.contains(part), "{part}: {words}");
            }
        }
    }
}

/// The learning rate rises by 0.002 a step without end.
#[test]
fn what_went_well_before_is_said_and_can_be_had() {
    for name in ["mlp", "sasrec"] {
        let rising = json!({
            "learning_rate": 2e6, "warmup_steps": 1_000_000_000, "n_epochs": 2000, "patience": 2000
        });
        let (found, words) = divergence(name, &rising);
        assert!(found.epoch > 1, "{words}");
        let (best, ndcg) = found.best_epoch.unwrap();
        assert!(best < found.epoch && ndcg > 0.0, "{words}");
        assert!(words.contains(&format!("`n_epochs = {best}` ends there")), "{words}");
        let mut shorter = rising;
        shorter["n_epochs"] = json!(best);
        let record = fit(name, &shorter, None).unwrap();
        assert_eq!(record.chosen_epoch, Some(best));
        assert_eq!(record.curve[best - 1].validation_ndcg_at_10, Some(ndcg));
    }
}

#[test]
fn a_run_that_diverges_leaves_no_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::new(folder.path().join("c")).every(std::time::Duration::ZERO);
    let rate = json!({"learning_rate": 1e6});
    let error = fit("sasrec", &rate, Some(&checkpoint)).unwrap_err();
    assert!(matches!(error, ModelError::Diverged { .. }), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_schedule_reaches_the_optimizer() {
    for name in NAMES {
        let falls = |more: &Value| {
            let curve = fit(name, more, None).unwrap().curve;
            curve[0].train_loss - curve[curve.len() - 1].train_loss
        };
        let learned = falls(&json!({"learning_rate": 0.02, "dropout": 0.0}));
        assert!(learned > 0.1, "{name} {learned}");
        // A warm-up of more steps than the run has: the learning rate stays near 0.
        let slow = json!({"learning_rate": 0.02, "dropout": 0.0, "warmup_steps": u32::MAX});
        assert!(falls(&slow).abs() < learned / 5.0, "{name}");
        // Decayed to 0 after the first of nine epochs.
        let short = json!({
            "learning_rate": 0.02, "dropout": 0.0, "schedule": "cosine", "decay_epochs": 1
        });
        assert!(falls(&short) < learned / 1.5, "{name} {} {learned}", falls(&short));
        // Adam makes up for gradients that are scaled, until they are small against its epsilon.
        let clipped = json!({"learning_rate": 0.02, "dropout": 0.0, "max_grad_norm": 1e-15});
        assert!(falls(&clipped).abs() < learned / 5.0, "{name}");
    }
}

#[test]
fn keys_of_the_optimizer_are_checked() {
    for name in NAMES {
        for (key, value) in [
            ("schedule", json!("exponential")),
            ("warmup_steps", json!(-1)),
            ("max_grad_norm", json!(-1.0)),
            ("decay_epochs", json!(1.5)),
            ("learning_rate", json!(0.0)),
        ] {
            let error = registry::spec(name, &json!({ key: value })).unwrap_err();
            assert!(
                matches!(&error, ModelError::Hyperparameter { name, .. } if name == key),
                "{name}: {error}"
            );
        }
    }
}

#[test]
fn a_refit_keeps_the_fall_of_the_learning_rate() {
    for name in NAMES {
        let record = FitRecord { chosen_epoch: Some(4), ..FitRecord::default() };
        let refit = |more: &Value| {
            let spec = registry::spec(name, &keys(name, more)).unwrap();
            let keys = spec.for_refit(&record).hyperparameters();
            (keys["n_epochs"].clone(), keys["decay_epochs"].clone())
        };
        assert_eq!(refit(&json!({})), (json!(4), json!(0)));
        assert_eq!(refit(&json!({"schedule": "linear"})), (json!(4), json!(9)));
    }
}
