//! Training steps of fixed sizes on generated batches: what `forecart bench step` measures.
//!
//! Start at [`StepRow`] and [`StepBench`]. The sizes and the form of the file that another implementation can start from are those of
//! `benches/peers/step_rows.py`; nothing of a shop is read.

mod deepfm;
mod sequence;

use std::path::{Path, PathBuf};
use std::time::Instant;

pub use forecart_nn::InstructionSet;
use forecart_nn::{Matrix, Name, NnError, Parameters};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::error::ModelError;
use crate::model_file::to_safetensors;
use crate::recommend::{Mixer, Precision, SequenceLoss};
use crate::tensors::Tensors;

/// Batches that timed steps take in turn.
const N_BATCHES: usize = 4;

/// Steps on the first batch before the timed ones, whose losses are compared with those of other implementations.
const N_CHECKED: usize = 6;

/// One step to measure: a model, its sizes and its loss.
#[derive(Debug, Clone, Copy)]
pub struct StepRow {
    /// What the row is called.
    pub name: &'static str,
    /// What it measures, in one line.
    pub about: &'static str,
    model: RowModel,
}

#[derive(Debug, Clone, Copy)]
enum RowModel {
    Sequence(SequenceRow),
    DeepFm,
}

/// Sizes of a step of a sequence model.
#[derive(Debug, Clone, Copy)]
struct SequenceRow {
    mixer: Mixer,
    loss: SequenceLoss,
    length: usize,
    d_model: u32,
    n_layers: u32,
    n_heads: u32,
    dropout: f64,
    n_negatives: u32,
    precision: Precision,
    /// The unknown item included.
    n_items: u32,
}

/// Sizes that take the place of those of a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepSizes {
    /// Tokens of each sequence.
    pub length: Option<u32>,
    /// Columns of all that passes between layers.
    pub d_model: Option<u32>,
    /// Layers.
    pub n_layers: Option<u32>,
    /// Rows of the table of items.
    pub n_items: Option<u32>,
}

const SASREC: SequenceRow = SequenceRow {
    mixer: Mixer::Attention,
    loss: SequenceLoss::Bce,
    length: 50,
    d_model: 64,
    n_layers: 2,
    n_heads: 1,
    dropout: 0.0,
    n_negatives: 1,
    precision: Precision::F32,
    n_items: 12_101,
};

const HSTU: SequenceRow =
    SequenceRow { mixer: Mixer::Hstu, loss: SequenceLoss::Sampled, n_negatives: 128, ..SASREC };

const WIDE: SequenceRow =
    SequenceRow { length: 200, d_model: 256, n_layers: 4, n_heads: 4, ..SASREC };

const fn sequence(name: &'static str, about: &'static str, row: SequenceRow) -> StepRow {
    StepRow { name, about, model: RowModel::Sequence(row) }
}

impl StepRow {
    /// The row with other sizes; `None` for a row whose sizes are fixed, for sizes of 0, for columns that the heads do not
    /// divide, and for fewer than three items, which have no negative.
    pub fn with_sizes(mut self, sizes: StepSizes) -> Option<Self> {
        if sizes == StepSizes::default() {
            return Some(self);
        }
        let RowModel::Sequence(row) = &mut self.model else { return None };
        row.length = sizes.length.map_or(row.length, |length| length as usize);
        row.d_model = sizes.d_model.unwrap_or(row.d_model);
        row.n_layers = sizes.n_layers.unwrap_or(row.n_layers);
        row.n_items = sizes.n_items.unwrap_or(row.n_items);
        let is_divided = row.d_model > 0 && row.d_model.is_multiple_of(row.n_heads);
        (row.length > 0 && row.n_layers > 0 && row.n_items > 2 && is_divided).then_some(self)
    }

    /// Floating-point operations of a step, by the definition of the model; `None` where nobody counts them.
    pub fn flop(&self) -> Option<f64> {
        let RowModel::Sequence(row) = self.model else { return None };
        let lengths = std::iter::repeat_n(row.length, sequence::BATCH_SIZE);
        Some(row.config().training_flop(lengths, row.n_items as usize))
    }
}

/// All rows.
pub static STEP_ROWS: &[StepRow] = &[
    sequence("sasrec-50", "SASRec, length 50, one negative", SASREC),
    sequence(
        "sasrec-200",
        "SASRec, length 200, one negative",
        SequenceRow { length: 200, ..SASREC },
    ),
    sequence(
        "sasrec-50-dropout",
        "SASRec, length 50, 2 heads, dropout .2",
        SequenceRow { n_heads: 2, dropout: 0.2, ..SASREC },
    ),
    sequence("hstu-50-own", "HSTU, length 50, 128 own negatives a token", HSTU),
    sequence(
        "hstu-50-shared",
        "HSTU, length 50, 128 shared negatives",
        SequenceRow { loss: SequenceLoss::Shared, ..HSTU },
    ),
    sequence(
        "full-softmax",
        "SASRec, length 50, full softmax over 12,101 items",
        SequenceRow { loss: SequenceLoss::Full, ..SASREC },
    ),
    sequence(
        "full-softmax-bf16",
        "SASRec, length 50, full softmax over 12,101 items, bf16",
        SequenceRow { loss: SequenceLoss::Full, precision: Precision::Bf16, ..SASREC },
    ),
    StepRow {
        name: "deepfm",
        about: "DeepFM, 26 sparse fields in 1 M x 16, 13 dense, batch 4096",
        model: RowModel::DeepFm,
    },
    sequence("sasrec-d256", "SASRec, d 256, 4 layers, 4 heads, length 200, f32", WIDE),
    sequence(
        "sasrec-d256-bf16",
        "SASRec, d 256, 4 layers, 4 heads, length 200, bf16",
        SequenceRow { precision: Precision::Bf16, ..WIDE },
    ),
];

/// A model in training with the batches of its row.
#[derive(Debug)]
pub struct StepBench {
    case: Box<dyn Case>,
}

/// What a run found.
#[derive(Debug, Clone, PartialEq)]
pub struct StepFigures {
    /// Of the first steps, all on the first batch.
    pub losses: Vec<f64>,
    /// Of each timed step, in milliseconds.
    pub step_ms: Vec<f64>,
}

/// A model in training and its batches.
trait Case: std::fmt::Debug + Send {
    /// Trains on one batch; the mean loss before the update.
    fn step(&mut self, batch: usize) -> Result<f64, NnError>;

    /// Weights and batches.
    fn tensors(&self) -> Tensors;
}

impl StepBench {
    /// Makes weights and batches in memory from `seed`.
    ///
    /// # Errors
    /// [`ModelError::Training`] if a layer refuses its sizes.
    pub fn new(row: &StepRow, seed: u64) -> Result<Self, ModelError> {
        let case: Result<Box<dyn Case>, NnError> = match row.model {
            RowModel::Sequence(sizes) => {
                sequence::SequenceCase::new(sizes, seed).map(|case| Box::new(case) as _)
            }
            RowModel::DeepFm => deepfm::DeepFmCase::new(seed).map(|case| Box::new(case) as _),
        };
        Ok(Self { case: case.map_err(ModelError::training(row.name, None))? })
    }

    /// Writes weights and batches to `step.safetensors` in `folder`, which is made if need be; returns its path.
    ///
    /// # Errors
    /// [`ModelError::Data`] if the file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, ModelError> {
        let path = folder.join("step.safetensors");
        let bytes = to_safetensors(&self.case.tensors())?;
        forecart_data::storage::write_file(&path, &bytes)?;
        Ok(path)
    }

    /// Some steps on the first batch, then `n_steps` timed ones that take the batches in turn. Runs on the current
    /// rayon pool.
    ///
    /// # Errors
    /// [`ModelError::Training`] if a loss is not finite.
    pub fn run(&mut self, n_steps: usize) -> Result<StepFigures, ModelError> {
        let mut step = |batch| self.case.step(batch).map_err(ModelError::training("step", None));
        let losses = (0..N_CHECKED).map(|_| step(0)).collect::<Result<_, _>>()?;
        let timed = (0..n_steps).map(|index| {
            let started = Instant::now();
            step(index % N_BATCHES)?;
            Ok(started.elapsed().as_secs_f64() * 1e3)
        });
        let step_ms = timed.collect::<Result<_, ModelError>>()?;
        Ok(StepFigures { losses, step_ms })
    }
}

impl StepFigures {
    /// Median of the timed steps, in milliseconds; `None` if there were none.
    pub fn median_ms(&self) -> Option<f64> {
        let mut sorted = self.step_ms.clone();
        sorted.sort_by(f64::total_cmp);
        let (low, high) =
            (sorted.get(sorted.len().wrapping_sub(1) / 2)?, sorted.get(sorted.len() / 2)?);
        Some((low + high) / 2.0)
    }
}

/// Moves every parameter by a random number below 0.02, so that biases and norms are not what they start as.
fn shake(model: &mut impl Parameters, rng: &mut ChaCha8Rng) -> Result<(), NnError> {
    model.visit_mut(&Name::root(), &mut |_, value: &mut Matrix| {
        value.as_mut_slice().iter_mut().for_each(|x| *x += 0.04 * rng.random::<f32>() - 0.02);
        Ok(())
    })
}

fn insert_parameters(model: &impl Parameters, tensors: &mut Tensors) {
    model.visit(&Name::root(), &mut |name, value| {
        tensors.insert_matrix(name.to_string(), value.to_host(), value.cols());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of the other side of the comparison are told apart by these names.
    #[test]
    fn every_row_is_one_of_the_protocol() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches/peers/step_rows.py");
        let protocol = std::fs::read_to_string(path).unwrap();
        for row in STEP_ROWS {
            assert!(protocol.contains(&format!("\"{}\": StepRow(", row.name)), "{}", row.name);
        }
    }

    #[test]
    fn sizes_change_the_count_of_operations_and_wrong_ones_are_refused() {
        let row = |name: &str| *STEP_ROWS.iter().find(|row| row.name == name).unwrap();
        let flop = |name: &str, sizes: StepSizes| {
            row(name).with_sizes(sizes).and_then(|row| row.flop()).unwrap()
        };
        let own = StepSizes::default();
        // 6,400 tokens of 24,576 weights each; 25.5 pairs of two products of 64 a token, in two layers; 2 candidates.
        let want = 6.0 * 6400.0 * (2.0 * 6.0 * 4096.0 + 2.0 * 2.0 * 64.0 * 25.5 + 2.0 * 64.0);
        assert_eq!(flop("sasrec-50", own), want);
        let items = |n_items| StepSizes { n_items: Some(n_items), ..own };
        let of_items = flop("full-softmax", items(200)) - flop("full-softmax", items(100));
        assert_eq!(of_items, 6.0 * 6400.0 * 100.0 * 64.0);
        assert_eq!(flop("sasrec-50", items(100)), want);
        assert!(row("deepfm").with_sizes(own).is_some() && row("deepfm").flop().is_none());
        assert!(row("deepfm").with_sizes(items(100)).is_none());
        let zeros = StepSizes { length: Some(0), ..own };
        let undivided = StepSizes { d_model: Some(65), ..own };
        for (name, sizes) in
            [("sasrec-50", zeros), ("sasrec-50", items(2)), ("sasrec-50-dropout", undivided)]
        {
            assert!(row(name).with_sizes(sizes).is_none(), "{name} {sizes:?}");
        }
    }

    #[test]
    fn a_row_of_other_sizes_trains() {
        let sizes =
            StepSizes { length: Some(3), d_model: Some(8), n_layers: Some(1), n_items: Some(40) };
        for name in ["sasrec-50", "full-softmax", "hstu-50-shared"] {
            let row = STEP_ROWS.iter().find(|row| row.name == name).unwrap();
            let mut bench = StepBench::new(&row.with_sizes(sizes).unwrap(), 1).unwrap();
            let figures = bench.run(1).unwrap();
            assert!(figures.losses[5] < figures.losses[0], "{name}: {figures:?}");
        }
    }

    #[test]
    fn the_median_is_in_the_middle() {
        let median = |step_ms: &[f64]| {
            StepFigures { losses: Vec::new(), step_ms: step_ms.to_vec() }.median_ms()
        };
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 9.0]), Some(3.0));
    }
}
