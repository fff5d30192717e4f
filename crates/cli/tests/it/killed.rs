//! Killed at random moments: the last good output stands, the next run succeeds, nothing piles up.
//!
//! Each stage runs over an output that already stands and is killed (SIGKILL) at 20 moments spread
//! over its running time, each moved by a seeded random share.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use forecart_data::Dataset;
use forecart_models::model_file::{LoadedModel, OutcomeModelFile};
use forecart_prepare::LogManifest;

const N_KILLS: u32 = 20;

struct Shop {
    root: tempfile::TempDir,
}

impl Shop {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forecart"));
        command.current_dir(self.root.path()).args(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) {
        let status = self.command(arguments).status().unwrap();
        assert!(status.success(), "{arguments:?}: {status}");
    }

    fn generate(&self, seed: &str, n_events: &str, name: &str) {
        self.run(&["bench", "generate", "--events", n_events, "--seed", seed, "--out", name]);
    }

    /// Names in the folder that a killed run may have left.
    fn temporaries(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with('.')).collect()
    }

    /// Kills `arguments` at many moments; `check` looks at the output after each.
    fn kill_often(&self, arguments: &[&str], check: impl Fn(&Path)) {
        let started = Instant::now();
        self.run(arguments);
        let whole = started.elapsed();
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        for kill in 0..N_KILLS {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let share = (f64::from(kill) + (random >> 40) as f64 / (1u64 << 24) as f64)
                / f64::from(N_KILLS);
            let mut child = self.command(arguments).spawn().unwrap();
            let moment = Instant::now() + whole.mul_f64(share);
            while Instant::now() < moment && child.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
            let _ = child.kill();
            child.wait().unwrap();
            check(self.root.path());
            assert!(self.temporaries().len() <= 2, "{:?} pile up", self.temporaries());
        }
        self.run(arguments);
        check(self.root.path());
        assert!(self.temporaries().is_empty(), "{:?} are left", self.temporaries());
    }
}

#[test]
fn import_leaves_the_last_good_log() {
    let shop = Shop::new();
    shop.generate("1", "100000", "a.csv");
    shop.generate("2", "150000", "b.csv");
    shop.run(&["import", "a.csv", "--out", "log"]);
    let old = LogManifest::read(&shop.path("log")).unwrap();
    shop.kill_often(&["import", "b.csv", "--out", "log"], |root| {
        let log = LogManifest::read(&root.join("log")).unwrap();
        assert!(log.n_rows == old.n_rows || log.n_rows == 150_000, "{} rows", log.n_rows);
    });
}

#[test]
fn prepare_leaves_the_last_good_dataset() {
    let shop = Shop::new();
    shop.generate("1", "100000", "a.csv");
    shop.run(&["import", "a.csv", "--out", "log"]);
    shop.kill_often(&["prepare", "--data", "log", "--out", "dataset"], |root| {
        Dataset::open(&root.join("dataset")).unwrap().verify().unwrap();
    });
}

/// Trains `model` over a model file that stands, and kills it.
fn train_leaves_the_last_good(model: &str, config: &str) {
    let shop = Shop::new();
    fs::write(shop.path("forecart.toml"), config).unwrap();
    shop.generate("1", "30000", "a.csv");
    shop.run(&["import", "a.csv", "--out", "log"]);
    shop.run(&["prepare", "--data", "log", "--out", "dataset"]);
    let train = ["train", "--data", "dataset", "--model", model, "--out", "model.forecart"];
    shop.kill_often(&train, |root| {
        let loaded = LoadedModel::open(&root.join("model.forecart")).unwrap();
        assert_eq!(loaded.header().model, model);
    });
}

#[test]
fn train_leaves_the_last_good_model() {
    train_leaves_the_last_good("item-knn", "");
}

/// Learns from a stream over a model file that stands, and kills it.
#[test]
fn train_from_rows_leaves_the_last_good_model() {
    let shop = Shop::new();
    fs::write(shop.path("forecart.toml"), "[outcome_models.ftrl]\nbits = 18\n").unwrap();
    for (seed, n_rows, name) in [("1", "1000", "few.vw"), ("2", "100000", "many.vw")] {
        shop.run(&["bench", "rows", "--rows", n_rows, "--seed", seed, "--out", name]);
    }
    shop.run(&["train", "--samples", "few.vw"]);
    shop.kill_often(&["train", "--samples", "many.vw"], |root| {
        let file = OutcomeModelFile::open(&root.join("model.forecart")).unwrap();
        let n_rows = file.header().samples.parts[0].n_rows;
        assert!(n_rows == 1000 || n_rows == 100_000, "{n_rows} rows");
    });
}

/// Killed at 10 random moments, each followed by the same command again: the model file has the bytes of a run that was
/// never killed. Checkpoints are 30 seconds apart, so this run has few or none; that many are read back is tested where
/// the interval can be set, in `forecart-models`.
#[test]
fn train_that_is_killed_and_started_again_gives_the_same_bytes() {
    let shop = Shop::new();
    let config = "[models.sasrec]\nd_model = 16\nn_epochs = 4\nschedule = \"cosine\"\n";
    fs::write(shop.path("forecart.toml"), config).unwrap();
    shop.generate("1", "30000", "a.csv");
    shop.run(&["import", "a.csv", "--out", "log"]);
    shop.run(&["prepare", "--data", "log", "--out", "dataset"]);
    let train = ["train", "--model", "sasrec", "--fit-on", "train-validation"];
    let started = Instant::now();
    shop.run(&train);
    let whole = started.elapsed();
    let want = fs::read(shop.path("model.forecart")).unwrap();
    let mut n_resumed = 0;
    for kill in 0..10 {
        fs::remove_file(shop.path("model.forecart")).unwrap();
        let mut child = shop.command(&train).spawn().unwrap();
        std::thread::sleep(whole.mul_f64((f64::from(kill) + 0.5) / 10.0));
        let _ = child.kill();
        child.wait().unwrap();
        n_resumed += u32::from(shop.path("model.forecart.checkpoint").exists());
        shop.run(&train);
        assert!(fs::read(shop.path("model.forecart")).unwrap() == want, "kill {kill}");
        assert!(!shop.path("model.forecart.checkpoint").exists(), "removed when the model is safe");
        assert!(shop.temporaries().is_empty(), "{:?} are left", shop.temporaries());
    }
    // A refit saves itself when it begins.
    assert!(n_resumed > 0, "no kill fell into the refit");
}

/// An interrupt (SIGINT) saves the run; the same command goes on, another one says what differs.
#[cfg(unix)]
#[test]
fn an_interrupted_training_goes_on_and_another_one_is_refused() {
    let shop = Shop::new();
    let config = |rate: &str| {
        let text = format!("[models.mlp]\nn_epochs = 30\npatience = 30\nlearning_rate = {rate}\n");
        fs::write(shop.path("forecart.toml"), text).unwrap();
    };
    config("0.003");
    shop.generate("1", "30000", "a.csv");
    shop.run(&["import", "a.csv", "--out", "log"]);
    shop.run(&["prepare", "--data", "log", "--out", "dataset"]);
    let train = ["train", "--model", "mlp"];
    let started = Instant::now();
    shop.run(&train);
    let whole = started.elapsed();
    let want = fs::read(shop.path("model.forecart")).unwrap();
    let mut child = shop.command(&train).spawn().unwrap();
    std::thread::sleep(whole.mul_f64(0.5));
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(shop.path("model.forecart.checkpoint").exists());

    config("0.004");
    let refused = shop.command(&train).stderr(Stdio::piped()).output().unwrap();
    let words = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{words}");
    assert!(words.contains("learning_rate was 0.003 and is 0.004"), "{words}");
    config("0.003");
    shop.run(&train);
    assert!(fs::read(shop.path("model.forecart")).unwrap() == want);
    config("0.004");
    shop.run(&["train", "--model", "mlp", "--restart"]);
    assert!(!shop.path("model.forecart.checkpoint").exists());
}

#[test]
fn train_of_a_network_leaves_the_last_good_model() {
    let small = "[models.mlp]\nd_model = 8\nhidden = [8]\nn_epochs = 2\nloss = \"sampled\"\n\
                 n_negatives = 64\n";
    train_leaves_the_last_good("mlp", small);
}

/// Killed again and again, a search comes to the trials of one that was never killed.
#[test]
fn tune_goes_on_to_the_same_trials() {
    let shop = Shop::new();
    shop.generate("1", "30000", "a.csv");
    shop.run(&["import", "a.csv", "--out", "log"]);
    shop.run(&["prepare", "--data", "log", "--out", "dataset", "--protocol", "loo-full"]);
    let tune = ["tune", "--data", "dataset", "--model", "item-knn", "--trials", "16", "--out"];
    let with = |out: &'static str| [&tune[..], &[out]].concat();
    let started = Instant::now();
    shop.run(&with("whole"));
    let whole = started.elapsed();
    let mut n_kills = 0;
    for round in 1..40 {
        let mut child = shop.command(&with("killed")).spawn().unwrap();
        // Longer each time, so that it comes to its end even where starting takes most of it.
        std::thread::sleep(whole.mul_f64(0.1 + 0.03 * f64::from(round)));
        if child.try_wait().unwrap().is_some() {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        n_kills += 1;
    }
    assert!(n_kills > 2, "{n_kills} kills in {whole:?}");
    shop.run(&with("killed"));
    let trials = |out: &str| {
        let text = fs::read_to_string(shop.path(out).join("report.json")).unwrap();
        let mut report: serde_json::Value = serde_json::from_str(&text).unwrap();
        for trial in report["trials"].as_array_mut().unwrap() {
            let trial = trial.as_object_mut().unwrap();
            trial.remove("secs");
            trial.remove("at_secs");
        }
        (report["trials"].clone(), report["gain"].clone())
    };
    assert_eq!(trials("killed"), trials("whole"));
    let best = |out: &str| fs::read_to_string(shop.path(out).join("best.toml")).unwrap();
    assert_eq!(best("killed"), best("whole"));
}
