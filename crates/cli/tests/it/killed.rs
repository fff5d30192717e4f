//! Killed at random moments: the last good output stands, the next run succeeds, nothing piles up.
//!
//! Each stage runs over an output that already stands and is killed (SIGKILL) at 20 moments spread
//! over its running time, each moved by a seeded random share.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use forecart_data::Dataset;
use forecart_models::model_file::LoadedModel;
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

#[test]
fn train_of_a_network_leaves_the_last_good_model() {
    let small = "[models.mlp]\nd_model = 8\nhidden = [8]\nn_epochs = 2\nloss = \"sampled\"\n\
                 n_negatives = 64\n";
    train_leaves_the_last_good("mlp", small);
}
