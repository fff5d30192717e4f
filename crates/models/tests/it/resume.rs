//! A run that was stopped or killed, and goes on from its checkpoint, ends with exactly the model of one that was not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use forecart_data::{Dataset, Progress};
use forecart_models::ModelError;
use forecart_models::model_file::{LoadedModel, Provenance};
use forecart_models::recommend::{FitContext, FitOn, ModelSpec, TrainingView, registry};
use forecart_models::training::Checkpoint;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::shop::{Held, context, shop, write};

/// Every way in which a step is made: dense and sparse gradients, drawn negatives, a falling rate, clipping.
fn cases(n_epochs: u32) -> Vec<Box<dyn ModelSpec>> {
    let mlp = json!({
        "d_model": 8, "hidden": [6], "batch_size": 100, "learning_rate": 0.01,
        "n_epochs": n_epochs, "patience": n_epochs,
    });
    let sequence = json!({
        "d_model": 8, "n_heads": 2, "batch_size": 20, "n_negatives": 4, "input_scale": 1.0,
        "n_epochs": n_epochs, "patience": n_epochs,
    });
    let neumf = json!({
        "n_factors": 8, "mlp_factors": 4, "hidden": [6, 4], "batch_size": 100, "dropout": 0.2, "n_reference": 30,
        "n_epochs": n_epochs, "patience": n_epochs,
    });
    let towers = json!({
        "d_model": 8, "user_hidden": [6], "item_hidden": [6], "batch_size": 100, "n_negatives": 16,
        "n_epochs": n_epochs, "patience": n_epochs,
    });
    let with = |keys: &Value, more: Value| {
        let mut keys = keys.clone();
        keys.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        keys
    };
    let falling = json!({
        "schedule": "cosine", "warmup_steps": 5, "max_grad_norm": 0.05, "weight_decay": 0.01
    });
    [
        ("mlp", with(&mlp, json!({"loss": "full"}))),
        ("mlp", with(&mlp, json!({"loss": "sampled", "n_negatives": 16, "schedule": "linear"}))),
        ("neumf", neumf),
        ("two-tower", with(&towers, json!({"schedule": "linear", "weight_decay": 0.01}))),
        ("sasrec", with(&sequence, json!({"item_updates": "touched"}))),
        ("sasrec", with(&with(&sequence, json!({"loss": "full"})), falling.clone())),
        ("esasrec", with(&sequence, json!({"loss": "full", "precision": "bf16"}))),
        ("gru4rec", sequence.clone()),
        ("bert4rec", sequence.clone()),
        ("hstu", with(&sequence, json!({"loss": "mixed", "item_updates": "touched"}))),
        ("esasrec", with(&sequence, falling)),
    ]
    .map(|(name, keys)| registry::spec(name, &keys).unwrap())
    .into()
}

/// The model file that a whole run gives, its curve included.
fn train(
    spec: &dyn ModelSpec,
    dataset: &Dataset,
    context: &FitContext<'_>,
) -> Result<Vec<u8>, ModelError> {
    let view = TrainingView::new(dataset, FitOn::Train).with_early_stopping();
    let fitted = spec.fit(&view, context)?;
    let provenance = Provenance { record: fitted.record, ..Provenance::default() };
    LoadedModel::new(fitted.model, dataset, provenance)?.to_bytes()
}

/// Asks to stop after some steps; counts them.
struct Stop {
    after: u64,
    n_steps: AtomicU64,
    n_skipped: AtomicU64,
}

impl Stop {
    fn after(n_steps: u64) -> Self {
        Self { after: n_steps, n_steps: AtomicU64::new(0), n_skipped: AtomicU64::new(0) }
    }

    fn n_steps(&self) -> u64 {
        self.n_steps.load(Ordering::Relaxed)
    }
}

impl Progress for Stop {
    fn begin(&self, _: &str, _: Option<u64>) {}

    fn advance(&self, _: u64) {
        self.n_steps.fetch_add(1, Ordering::Relaxed);
    }

    fn skip(&self, n_examples: u64) {
        self.n_skipped.fetch_add(n_examples, Ordering::Relaxed);
    }

    fn note(&self, _: &str) {}

    fn is_cancelled(&self) -> bool {
        self.n_steps() >= self.after
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn stopped_at_ten_random_steps_and_resumed_gives_the_same_bytes() {
    let (_folder, dataset) = shop();
    for (index, spec) in cases(6).into_iter().enumerate() {
        let whole = Stop::after(u64::MAX);
        let want =
            train(spec.as_ref(), &dataset, &FitContext { progress: &whole, ..context(1, 1) });
        let want = want.unwrap();
        let n_steps = whole.n_steps();
        let mut rng = ChaCha8Rng::seed_from_u64(index as u64);
        for stop in 0..10 {
            let folder = tempfile::tempdir().unwrap();
            let checkpoint = Checkpoint::new(folder.path().join("checkpoint"));
            let at = rng.random_range(0..n_steps);
            let on = |progress: &Stop, n_threads: usize| {
                let checkpoint = Some(&checkpoint);
                train(
                    spec.as_ref(),
                    &dataset,
                    &FitContext { progress, checkpoint, ..context(1, n_threads) },
                )
            };
            let stopped = on(&Stop::after(at), 1 + stop % 2).unwrap_err();
            assert!(
                matches!(&stopped, ModelError::Cancelled { checkpoint: Some(path) } if path == checkpoint.path()),
                "{stopped}"
            );
            let rest = Stop::after(u64::MAX);
            let resumed = on(&rest, 2 - stop % 2).unwrap();
            assert!(resumed == want, "{} stopped at step {at} of {n_steps}", spec.name());
            assert_eq!(rest.n_steps(), n_steps - at, "no step is made twice");
            assert_eq!(names(folder.path()), ["checkpoint"], "the caller removes it");
            checkpoint.remove().unwrap();
            assert!(names(folder.path()).is_empty());
        }
    }
}

#[test]
fn stopped_after_every_few_steps_of_one_run_gives_the_same_bytes() {
    let (_folder, dataset) = shop();
    for spec in cases(4) {
        let want = train(spec.as_ref(), &dataset, &context(1, 2)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint::new(folder.path().join("checkpoint"));
        let mut n_stops = 0;
        let resumed = loop {
            let progress = &Stop::after(3);
            let context = FitContext { progress, checkpoint: Some(&checkpoint), ..context(1, 2) };
            match train(spec.as_ref(), &dataset, &context) {
                Err(ModelError::Cancelled { .. }) => n_stops += 1,
                finished => break finished.unwrap(),
            }
        };
        assert!(resumed == want && n_stops > 5, "{} {n_stops} stops", spec.name());
    }
}

#[test]
fn how_often_a_run_saves_itself_does_not_change_it() {
    let (_folder, dataset) = shop();
    for spec in cases(2) {
        let want = train(spec.as_ref(), &dataset, &context(1, 2)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = Checkpoint::new(folder.path().join("c")).every(Duration::ZERO);
        let often = FitContext { checkpoint: Some(&checkpoint), ..context(1, 2) };
        assert!(train(spec.as_ref(), &dataset, &often).unwrap() == want, "{}", spec.name());
        assert_eq!(names(folder.path()), ["c"]);
        // What it left is before the end; going on from there changes nothing either.
        assert!(train(spec.as_ref(), &dataset, &often).unwrap() == want, "{}", spec.name());
    }
}

#[test]
fn a_checkpoint_of_another_run_is_refused_by_what_differs() {
    let (_folder, dataset) = shop();
    let root = tempfile::tempdir().unwrap();
    let other = write(&root.path().join("other"), Held { validation: 20, test: 30 });
    let checkpoint = Checkpoint::new(root.path().join("checkpoint"));
    let spec = |rate: f64| {
        let keys = json!({"d_model": 8, "n_heads": 2, "n_epochs": 3, "learning_rate": rate});
        registry::spec("sasrec", &keys).unwrap()
    };
    let on = |spec: &dyn ModelSpec, dataset: &Dataset, seed: u64, after: u64| {
        let progress = &Stop::after(after);
        let context = FitContext { progress, checkpoint: Some(&checkpoint), ..context(seed, 1) };
        train(spec, dataset, &context)
    };
    let stopped = on(spec(0.001).as_ref(), &dataset, 1, 1).unwrap_err();
    assert!(stopped.to_string().contains("goes on from the checkpoint"), "{stopped}");
    let before = fs::read(checkpoint.path()).unwrap();
    let hstu = registry::spec("hstu", &json!({"d_model": 8})).unwrap();
    for (refused, words) in [
        (on(spec(0.01).as_ref(), &dataset, 1, 9), "learning_rate was 0.001 and is 0.01"),
        (on(spec(0.001).as_ref(), &dataset, 2, 9), "seed was 1 and is 2"),
        (on(spec(0.001).as_ref(), &other, 1, 9), "dataset was "),
        (on(hstu.as_ref(), &dataset, 1, 9), "another run: model was sasrec and is hstu; "),
    ] {
        let error = refused.unwrap_err();
        assert!(matches!(error, ModelError::OtherRun { .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains(words) && error.contains("--restart"), "{error}");
    }
    assert!(fs::read(checkpoint.path()).unwrap() == before, "a refused checkpoint stays");
    on(spec(0.001).as_ref(), &dataset, 1, u64::MAX).unwrap();
}

#[test]
fn damaged_checkpoints_never_panic_and_never_change_a_model() {
    let (_folder, dataset) = shop();
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::new(folder.path().join("checkpoint"));
    let keys = json!({"d_model": 4, "n_heads": 1, "n_layers": 1, "d_ff": 4, "n_epochs": 2});
    let spec = registry::spec("sasrec", &keys).unwrap();
    let on = |after: u64| {
        let progress = &Stop::after(after);
        let context = FitContext { progress, checkpoint: Some(&checkpoint), ..context(1, 1) };
        train(spec.as_ref(), &dataset, &context)
    };
    on(1).unwrap_err();
    let good = fs::read(checkpoint.path()).unwrap();
    let want = on(u64::MAX).unwrap();
    for n in (0..good.len()).step_by(good.len() / 50) {
        fs::write(checkpoint.path(), &good[..n]).unwrap();
        let error = on(u64::MAX).unwrap_err();
        assert!(matches!(error, ModelError::DamagedCheckpoint { .. }), "{n} bytes: {error}");
    }
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for _ in 0..300 {
        let mut bytes = good.clone();
        let at = rng.random_range(0..bytes.len());
        bytes[at] ^= 1 << rng.random_range(0..8);
        fs::write(checkpoint.path(), &bytes).unwrap();
        match on(u64::MAX) {
            Ok(model) => assert!(model == want, "byte {at}"),
            Err(ModelError::DamagedCheckpoint { .. } | ModelError::OtherRun { .. }) => {}
            Err(error) => panic!("byte {at}: {error}"),
        }
    }
}

/// Names the folder that a child process trains in.
const FOLDER: &str = "FORECART_TEST_RESUME";

/// A training that takes a second or two, so that it can be killed in the middle.
fn long_case(name: &str) -> Box<dyn ModelSpec> {
    let keys = match name {
        "mlp" => json!({"n_epochs": 150, "patience": 150, "batch_size": 64, "loss": "full"}),
        _ => json!({"n_epochs": 150, "patience": 150, "batch_size": 16, "d_model": 32}),
    };
    registry::spec(name, &keys).unwrap()
}

fn child(folder: &Path, name: &str, n_threads: usize) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["resume::trains_in_a_process_of_its_own", "--exact", "--ignored"]);
    command.env(FOLDER, folder).env("FORECART_TEST_MODEL", name);
    command.env("FORECART_TEST_THREADS", n_threads.to_string());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
#[ignore = "the process that the test below starts and kills"]
fn trains_in_a_process_of_its_own() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let folder = PathBuf::from(variable(FOLDER));
    let spec = long_case(&variable("FORECART_TEST_MODEL"));
    let n_threads: usize = variable("FORECART_TEST_THREADS").parse().unwrap();
    let dataset = Dataset::open(&folder.join("dataset")).unwrap();
    let checkpoint = Checkpoint::new(folder.join("checkpoint")).every(Duration::ZERO);
    let context = FitContext { checkpoint: Some(&checkpoint), ..context(1, n_threads) };
    let model = train(spec.as_ref(), &dataset, &context).unwrap();
    forecart_data::storage::write_file(&folder.join("model"), &model).unwrap();
    checkpoint.remove().unwrap();
}

/// Killed by the system (SIGKILL), with no chance to save anything.
#[test]
fn killed_at_ten_random_moments_and_resumed_gives_the_same_bytes() {
    for name in ["mlp", "sasrec"] {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join("dataset"), Held { validation: 2, test: 3 });
        let [model, checkpoint] = ["model", "checkpoint"].map(|name| folder.path().join(name));
        let run = |n_threads| {
            let status = child(folder.path(), name, n_threads).status().unwrap();
            assert!(status.success(), "{name}: {status}");
            fs::read(&model).unwrap()
        };
        let started = Instant::now();
        let want = run(2);
        let mut whole = started.elapsed();
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut n_resumed = 0;
        for kill in 0..10 {
            let n_threads = 1 + kill % 2;
            loop {
                if model.exists() {
                    fs::remove_file(&model).unwrap();
                }
                let mut running = child(folder.path(), name, n_threads).spawn().unwrap();
                std::thread::sleep(whole.mul_f64((kill as f64 + rng.random::<f64>()) / 11.0));
                let is_running = running.try_wait().unwrap().is_none();
                running.kill().unwrap();
                running.wait().unwrap();
                if is_running && !model.exists() {
                    break;
                }
                whole = whole.mul_f64(0.8); // the machine had been busier before
            }
            n_resumed += u32::from(checkpoint.exists());
            assert!(run(3 - n_threads) == want, "{name}: kill {kill}");
            let mut left = names(folder.path());
            left.sort();
            assert_eq!(left, ["dataset", "model"]);
        }
        // A kill before the first step has nothing to go on from.
        assert!(n_resumed >= 5, "{name}: {n_resumed} resumed");
    }
}
