//! Checkpoints: a run that is killed goes on from its last one to exactly the weights of an uninterrupted run.
//!
//! A checkpoint is one file: weights, the best weights so far, the optimizer's state, where the run stands, and what
//! run it is ([`RunIdentity`]). It is written when [`Checkpoint::every`] has passed since the last one, but never so
//! often that writing takes more than a twentieth of the time; so a kill costs that much work, whatever the length of
//! an epoch. The clock decides when to write and nothing else.
//!
//! The loop writes checkpoints and reads them; it deletes one only if training diverges. Whoever keeps the result
//! calls [`Checkpoint::remove`] once it is safe.
//!
//! The weights are exactly those of an uninterrupted run on processors with the same vector instructions; elsewhere
//! they differ in the last bits.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use forecart_data::storage;
use forecart_nn::{Name, Optimizer, ParameterState, Parameters};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::checkpoint_file::{self as file, Lazy, f32_bytes};
use super::record::FitRecord;
use crate::error::ModelError;
use crate::tensors::Tensors;

/// Written beside the values; a program that reads another one says so.
const FORMAT_VERSION: u32 = 2;

const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);

/// A write that took a second is followed by 20 of training.
const LEAST_TIMES_OF_WRITING: u32 = 20;

/// Where training saves itself, and how often.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    path: PathBuf,
    interval: Duration,
    resumes: bool,
    choice: Option<Choice>,
}

/// The fit that chose the number of epochs, of a run that fits once more with that number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Choice {
    run: RunIdentity,
    record: FitRecord,
}

impl Checkpoint {
    /// Checkpoints in the file `path`, at least 30 seconds apart.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), interval: DEFAULT_INTERVAL, resumes: true, choice: None }
    }

    /// Lets at least `interval` pass from one checkpoint to the next. The result does not depend on it.
    pub fn every(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Deletes the file and those of members, where they are there, and what a killed write of one may have left.
    ///
    /// # Errors
    /// [`ModelError::Data`] if one cannot be deleted.
    pub fn remove(&self) -> Result<(), ModelError> {
        for path in std::iter::once(self.path.clone()).chain(self.member_files()) {
            storage::remove_file(&path)?;
        }
        Ok(())
    }

    /// The files of members that are there; one that is counted, or was fitted within seconds, has none.
    fn member_files(&self) -> Vec<PathBuf> {
        let Some(name) = self.path.file_name().and_then(OsStr::to_str) else { return Vec::new() };
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let Ok(entries) = std::fs::read_dir(folder.unwrap_or(Path::new("."))) else {
            return Vec::new();
        };
        let is_member = |other: &str| {
            let place = other.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
            // A member may be made of several itself: `.0.1`.
            place
                .is_some_and(|places| places.split('.').all(|place| place.parse::<usize>().is_ok()))
        };
        let paths = entries.flatten().map(|entry| entry.path());
        let of_member =
            |path: &PathBuf| path.file_name().and_then(OsStr::to_str).is_some_and(is_member);
        let mut files: Vec<PathBuf> = paths.filter(of_member).collect();
        files.sort();
        files
    }

    /// The checkpoint of a member of a model that is made of several: a file beside this one.
    pub(crate) fn of_member(&self, place: usize) -> Self {
        let member = Self { path: self.path_of_member(place), ..self.clone() };
        // In the second of two fits, only the files of members that it came to are its own.
        let resumes = self.choice.is_none()
            || file_choice(&member.path).is_ok_and(|stored| stored == self.choice);
        Self { resumes, ..member }
    }

    fn path_of_member(&self, place: usize) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{place}"));
        path.into()
    }

    /// The checkpoint of the fit after `run`, which gave `record`. It keeps both, so that a kill in the second fit does
    /// not cost the first.
    pub fn of_refit(&self, run: RunIdentity, record: FitRecord) -> Self {
        let choice = Choice { run, record };
        let resumes = self.stored_choice().is_ok_and(|stored| stored.as_ref() == Some(&choice));
        Self { resumes, choice: Some(choice), ..self.clone() }
    }

    /// What `run` gave, if the file is a checkpoint of the fit after it.
    ///
    /// # Errors
    /// [`ModelError::OtherRun`] if it is a checkpoint of the fit after another one, else as reading it.
    pub fn choice(&self, run: &RunIdentity) -> Result<Option<FitRecord>, ModelError> {
        let Some(choice) = self.stored_choice()? else { return Ok(None) };
        choice.run.check(run, &self.path)?;
        Ok(Some(choice.record))
    }

    /// A model that is made of several has a file for each member and none of its own.
    fn stored_choice(&self) -> Result<Option<Choice>, ModelError> {
        for path in std::iter::once(self.path.clone()).chain(self.member_files()) {
            if let Some(choice) = file_choice(&path)? {
                return Ok(Some(choice));
            }
        }
        Ok(None)
    }

    /// The state that is stored for `run` of `n_epochs` of `n_batches`, if there is one.
    pub(super) fn read(
        &self,
        run: &RunIdentity,
        (n_epochs, n_batches): (usize, usize),
    ) -> Result<Option<Saved>, ModelError> {
        if !self.resumes {
            return Ok(None);
        }
        let Some(opened) = file::open(&self.path)? else { return Ok(None) };
        #[derive(Deserialize)]
        struct Part {
            format_version: u32,
            run: RunIdentity,
        }
        let part: Part = parse(&opened.header, &self.path)?;
        part.run.check(run, &self.path)?;
        if part.format_version != FORMAT_VERSION {
            let reason = format!("its format has the version {}", part.format_version);
            return Err(file::damaged(&self.path, reason));
        }
        let Header { position, .. } = parse(&opened.header, &self.path)?;
        if !position.is_within(n_epochs, n_batches) {
            return Err(file::damaged(&self.path, "it stands outside of its run"));
        }
        Ok(Some(Saved { position, tensors: opened.tensors(&self.path)? }))
    }

    pub(super) fn writer<'a>(&'a self, run: &'a RunIdentity) -> Writer<'a> {
        Writer { checkpoint: self, run, since: Instant::now(), pause: self.interval }
    }

    /// Whether the first state is worth a file: it holds what another fit found out.
    pub(super) fn keeps_a_choice(&self) -> bool {
        self.choice.is_some()
    }
}

fn file_choice(path: &Path) -> Result<Option<Choice>, ModelError> {
    let Some(opened) = file::open(path)? else { return Ok(None) };
    #[derive(Deserialize)]
    struct Part {
        choice: Option<Choice>,
    }
    let part: Part = parse(&opened.header, path)?;
    Ok(part.choice)
}

fn parse<'a, T: Deserialize<'a>>(header: &'a str, path: &Path) -> Result<T, ModelError> {
    serde_json::from_str(header).map_err(|error| file::damaged(path, format!("header: {error}")))
}

/// The fact of a [`RunIdentity`] that others are read by.
const MODEL: &str = "model";

/// What decides about the result of a run: the model and its hyperparameters, the data and the seed, by name. Two runs
/// of one identity have one result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunIdentity(BTreeMap<String, String>);

impl RunIdentity {
    /// The identity of this program's run of `model`; `hyperparameters` is a JSON object.
    pub fn new(model: &str, hyperparameters: &Value, seed: u64) -> Self {
        let own = hyperparameters.as_object().into_iter().flatten();
        // As text: a number may not come back from JSON to the bit.
        let own = own.map(|(name, value)| (name.clone(), value.to_string()));
        let run = Self(own.collect()).with(MODEL, model).with("seed", &seed.to_string());
        run.with("forecart", env!("CARGO_PKG_VERSION"))
    }

    /// One more fact that decides about the result.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.0.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Refuses `now` as a continuation of this run.
    fn check(&self, now: &Self, path: &Path) -> Result<(), ModelError> {
        let names: BTreeSet<&String> = self.0.keys().chain(now.0.keys()).collect();
        let shown = |run: &Self, name: &String| {
            run.0.get(name).map_or_else(|| "nothing".to_owned(), String::clone)
        };
        let mut differences: Vec<String> = names
            .into_iter()
            .filter(|name| self.0.get(*name) != now.0.get(*name))
            .map(|name| format!("{name} was {} and is {}", shown(self, name), shown(now, name)))
            .collect();
        if self.0.get(MODEL) != now.0.get(MODEL) {
            // Most keys of another model differ, and say nothing.
            differences.retain(|difference| difference.starts_with("model was "));
        }
        match differences.is_empty() {
            true => Ok(()),
            false => Err(ModelError::OtherRun { path: path.to_owned(), differences }),
        }
    }
}

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Position {
    /// The epoch at hand, from 1.
    pub(super) epoch: usize,
    /// Batches of it that are done.
    pub(super) n_batches: usize,
    /// Steps of the whole run that are done.
    pub(super) n_steps: u64,
    /// Of the epoch so far.
    pub(super) loss_sum: Exact,
    pub(super) n_labels: usize,
    /// Mean loss of the first batch that had a label.
    pub(super) first_loss: Option<Exact>,
    /// What validation said of the chosen epoch, larger is better.
    pub(super) best_validation: Option<Exact>,
    pub(super) record: FitRecord,
}

impl Position {
    /// Whether a run of `n_epochs` of `n_batches` can stand here.
    fn is_within(&self, n_epochs: usize, n_batches: usize) -> bool {
        let Self { epoch, record, best_validation, .. } = self;
        (1..=n_epochs).contains(epoch)
            && self.n_batches <= n_batches
            && record.curve.len() == epoch - 1
            && record.chosen_epoch.is_none_or(|chosen| (1..*epoch).contains(&chosen))
            && (best_validation.is_none() || record.chosen_epoch.is_some())
    }
}

/// An `f64` that comes back from JSON to the bit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
pub(super) struct Exact(pub(super) f64);

impl From<u64> for Exact {
    fn from(bits: u64) -> Self {
        Self(f64::from_bits(bits))
    }
}

impl From<Exact> for u64 {
    fn from(Exact(value): Exact) -> Self {
        value.to_bits()
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    format_version: u32,
    run: RunIdentity,
    choice: Option<Choice>,
    position: Position,
}

/// A state that was read.
pub(super) struct Saved {
    pub(super) position: Position,
    tensors: Tensors,
}

impl Saved {
    /// Sets weights and optimizer; the best weights so far.
    pub(super) fn restore<N: Parameters>(
        mut self,
        path: &Path,
        (network, optimizer): (&mut N, &mut Optimizer),
        model: &'static str,
    ) -> Result<(Position, Option<Tensors>), ModelError> {
        let within = |error| file::within(path, error);
        let mut weights = self.tensors.split("weights");
        weights.take_parameters(network, model).map_err(within)?;
        let mut states = Vec::new();
        let mut shapes = Vec::new();
        network.visit(&Name::root(), &mut |name, value| {
            shapes.push((name.to_string(), value.shape()));
        });
        for (name, shape) in shapes {
            if !self.tensors.contains(&format!("updates.{name}")) {
                continue; // before the first step there is no state
            }
            let tensors = &mut self.tensors;
            // Lists that are empty are not stored.
            let mut f32s = |part: &str| {
                let name = format!("{part}.{name}");
                if tensors.contains(&name) { tensors.take_f32(&name, None) } else { Ok(Vec::new()) }
            };
            let first = f32s("first").map_err(within)?;
            let second = f32s("second").map_err(within)?;
            let mut u32s = |part: &str| {
                let name = format!("{part}.{name}");
                if tensors.contains(&name) { tensors.take_u32(&name, None) } else { Ok(Vec::new()) }
            };
            let updates = u32s("updates").map_err(within)?;
            let n_row_updates = u32s("row_updates").map_err(within)?;
            let n_updates = updates.first().copied().unwrap_or(0);
            states.push(ParameterState { name, shape, first, second, n_updates, n_row_updates });
        }
        let restored = optimizer.clone().with_state(states);
        *optimizer = restored.map_err(|error| file::damaged(path, error.to_string()))?;
        let best = self.tensors.split("best");
        self.tensors.expect_empty().map_err(within)?;
        let has_best = self.position.best_validation.is_some();
        Ok((self.position, has_best.then_some(best)))
    }
}

/// Writes checkpoints, as often as is due.
pub(super) struct Writer<'a> {
    checkpoint: &'a Checkpoint,
    run: &'a RunIdentity,
    since: Instant,
    pause: Duration,
}

impl Writer<'_> {
    pub(super) fn is_due(&self) -> bool {
        self.since.elapsed() >= self.pause
    }

    pub(super) fn write<N: Parameters>(
        &mut self,
        position: &Position,
        network: &N,
        optimizer: &Optimizer,
        best: Option<&Tensors>,
    ) -> Result<(), ModelError> {
        let started = Instant::now();
        let mut tensors = BTreeMap::new();
        network.visit(&Name::root(), &mut |name, value| {
            let name = name.to_string();
            let shape = value.shape().to_vec();
            let key = format!("weights.{name}");
            tensors.insert(key, Lazy::f32(shape, move || values_of(network, &name)));
        });
        for (name, tensor) in best.into_iter().flat_map(Tensors::iter) {
            let bytes = || tensor.data.to_bytes();
            tensors.insert(format!("best.{name}"), Lazy::f32(tensor.shape.clone(), bytes));
        }
        for state in optimizer.state() {
            let name = &state.name;
            for (part, values) in [("first", &state.first), ("second", &state.second)] {
                if !values.is_empty() {
                    let lazy = Lazy::f32(vec![values.len()], || f32_bytes(values));
                    tensors.insert(format!("{part}.{name}"), lazy);
                }
            }
            if !state.n_row_updates.is_empty() {
                let lazy = Lazy::u32(&state.n_row_updates);
                tensors.insert(format!("row_updates.{name}"), lazy);
            }
            let lazy = Lazy::u32(std::slice::from_ref(&state.n_updates));
            tensors.insert(format!("updates.{name}"), lazy);
        }
        let header = Header {
            format_version: FORMAT_VERSION,
            run: self.run.clone(),
            choice: self.checkpoint.choice.clone(),
            position: position.clone(),
        };
        file::write(&self.checkpoint.path, &header, &tensors)?;
        self.pause = self.checkpoint.interval.max(started.elapsed() * LEAST_TIMES_OF_WRITING);
        self.since = Instant::now();
        Ok(())
    }
}

/// The bytes of one parameter: looked up by name, since a visit lends values no longer than it lasts.
fn values_of(network: &impl Parameters, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    network.visit(&Name::root(), &mut |other, value| {
        if other.to_string() == name {
            bytes = f32_bytes(value.as_slice());
        }
    });
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::{EpochRecord, Measure};

    #[test]
    fn values_come_back_to_the_bit() {
        for value in [0.1 + 0.2, f64::MIN_POSITIVE, -0.0, 1e300, f64::INFINITY] {
            let text = serde_json::to_string(&Exact(value)).unwrap();
            let back: Exact = serde_json::from_str(&text).unwrap();
            assert_eq!(back.0.to_bits(), value.to_bits());
        }
    }

    #[test]
    fn files_of_members_go_with_the_file_and_no_others() {
        let root = tempfile::tempdir().unwrap();
        let names = ["run", "run.0", "run.11", "run.0.3", "run.0.a", "run.toml", "run2.0"];
        for name in names {
            std::fs::write(root.path().join(name), "").unwrap();
        }
        Checkpoint::new(root.path().join("run")).remove().unwrap();
        let is_there = |name: &&str| root.path().join(name).exists();
        assert_eq!(
            names.iter().copied().filter(is_there).collect::<Vec<_>>(),
            ["run.0.a", "run.toml", "run2.0"]
        );
    }

    #[test]
    fn a_place_outside_of_the_run_is_noticed() {
        let curve = vec![EpochRecord::new(1, 2.0, Measure::Ndcg, Some(0.1))];
        let good = Position {
            epoch: 2,
            n_batches: 3,
            n_steps: 8,
            loss_sum: Exact(1.0),
            n_labels: 4,
            first_loss: Some(Exact(3.0)),
            best_validation: Some(Exact(0.1)),
            record: FitRecord { curve, chosen_epoch: Some(1), ..FitRecord::default() },
        };
        assert!(good.is_within(2, 5));
        for bad in [
            Position { epoch: 0, ..good.clone() },
            Position { epoch: 3, ..good.clone() },
            Position { n_batches: 6, ..good.clone() },
            Position { record: FitRecord::default(), ..good.clone() },
            Position {
                record: FitRecord { chosen_epoch: Some(2), ..good.record.clone() },
                ..good.clone()
            },
            Position {
                record: FitRecord { chosen_epoch: Some(0), ..good.record.clone() },
                ..good.clone()
            },
        ] {
            assert!(!bad.is_within(2, 5), "{bad:?}");
        }
    }
}
