//! A refit that is stopped goes on from where it was, and does not repeat the fit that chose its epochs.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};

use forecart_data::Progress;
use forecart_models::ModelError;
use forecart_models::recommend::{FitOn, ModelSpec, registry};
use forecart_models::training::Checkpoint;
use forecart_train::{TrainError, TrainOptions, Trained, train};
use serde_json::json;

use crate::measure::{shop, shop_with_validation};

/// Asks to stop after some steps; counts them, and how often memory, or the want of a validation part, was stated.
#[derive(Default)]
struct Stop {
    after: u64,
    n_steps: AtomicU64,
    n_statements: AtomicU64,
    n_warnings: AtomicU64,
}

impl Progress for Stop {
    fn begin(&self, _: &str, _: Option<u64>) {}

    fn advance(&self, _: u64) {
        self.n_steps.fetch_add(1, Ordering::Relaxed);
    }

    fn skip(&self, _: u64) {}

    fn note(&self, _: &str) {}

    fn announce(&self, message: &str) {
        if message.contains(" MB beside the dataset") {
            assert_eq!(self.n_steps.load(Ordering::Relaxed), 0, "stated before it starts");
            self.n_statements.fetch_add(1, Ordering::Relaxed);
        }
        if message.contains("no validation part") {
            self.n_warnings.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn is_cancelled(&self) -> bool {
        self.n_steps.load(Ordering::Relaxed) >= self.after
    }
}

fn spec(learning_rate: f64) -> Box<dyn ModelSpec> {
    let keys = json!({
        "d_model": 8, "n_heads": 2, "n_epochs": 6, "batch_size": 16, "schedule": "linear",
        "learning_rate": learning_rate
    });
    registry::spec("sasrec", &keys).unwrap()
}

fn bits(trained: &Trained) -> Vec<Vec<u8>> {
    trained.model.tensors().iter().map(|(_, tensor)| tensor.data.to_bytes()).collect()
}

#[test]
fn a_refit_stopped_at_any_step_gives_the_same_model_and_repeats_nothing() {
    let (folder, dataset) = shop();
    let on = |rate: f64, after: u64, checkpoint: Option<&Checkpoint>| {
        let stop = Stop { after, ..Stop::default() };
        let options = TrainOptions {
            fit_on: FitOn::TrainValidation,
            seed: 3,
            n_threads: NonZeroUsize::MIN,
            memory_limit_bytes: None,
            seen: None,
            checkpoint: checkpoint.cloned(),
        };
        let trained = train(&dataset, spec(rate).as_ref(), &options, &stop);
        assert_eq!(stop.n_statements.into_inner(), 1);
        (trained, stop.n_steps.into_inner())
    };
    let (want, n_steps) = on(0.01, u64::MAX, None);
    let want = want.unwrap();
    assert!(want.needed_bytes > 0);
    for at in 0..n_steps {
        let checkpoint = Checkpoint::new(folder.path().join(format!("checkpoint-{at}")));
        let (stopped, n_before) = on(0.01, at, Some(&checkpoint));
        assert!(
            matches!(stopped, Err(TrainError::Model(ModelError::Cancelled { .. }))),
            "step {at}"
        );
        let (resumed, n_after) = on(0.01, u64::MAX, Some(&checkpoint));
        let resumed = resumed.unwrap();
        assert_eq!((bits(&resumed), &resumed.record), (bits(&want), &want.record), "step {at}");
        assert_eq!(n_before + n_after, n_steps, "stopped at step {at}");
    }
    // A checkpoint of a refit whose epochs another fit chose.
    let checkpoint = Checkpoint::new(folder.path().join("other"));
    on(0.01, n_steps - 1, Some(&checkpoint)).0.unwrap_err();
    let error = on(0.02, u64::MAX, Some(&checkpoint)).0.unwrap_err().to_string();
    assert!(error.contains("learning_rate was 0.01 and is 0.02"), "{error}");
}

#[test]
fn without_a_validation_part_all_epochs_are_trained_once_and_that_is_said() {
    for (n_validation, n_steps, n_warnings) in [(1, 3..=4, 0), (0, 2..=2, 1)] {
        let (_folder, dataset) = shop_with_validation(n_validation);
        let options = TrainOptions {
            fit_on: FitOn::TrainValidation,
            seed: 3,
            n_threads: NonZeroUsize::MIN,
            memory_limit_bytes: None,
            seen: None,
            checkpoint: None,
        };
        let counts = Stop { after: u64::MAX, ..Stop::default() };
        // One step an epoch; the refit has the epochs that were chosen, one or two.
        let keys = json!({
            "d_model": 8, "hidden": [8], "n_epochs": 2, "patience": 2, "batch_size": 10_000
        });
        let spec = registry::spec("mlp", &keys).unwrap();
        train(&dataset, spec.as_ref(), &options, &counts).unwrap();
        let got = counts.n_steps.into_inner();
        assert!(n_steps.contains(&got), "{n_validation}: {got}");
        assert_eq!(counts.n_warnings.into_inner(), n_warnings);
    }
}
