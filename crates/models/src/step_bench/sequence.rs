//! The rows of sequence models.

use std::num::NonZeroU32;

use forecart_data::{History, ItemIdx};
use forecart_nn::{Adam, DropoutKey, NnError, Optimizer};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Case, N_BATCHES, SequenceRow, insert_parameters, shake};
use crate::recommend::sequence::network::Network;
use crate::recommend::sequence::step::Stepper;
use crate::recommend::{Mixer, Preset, SequenceConfig, SequenceLoss};
use crate::tensors::{TensorData, Tensors};

pub(super) const BATCH_SIZE: usize = 128;

#[derive(Debug)]
pub(super) struct SequenceCase {
    sizes: SequenceRow,
    stepper: Stepper,
    batches: Vec<Batch>,
    seed: u64,
    n_steps: u64,
}

/// Sequences of one event more than the model sees.
#[derive(Debug)]
struct Batch {
    items: Vec<ItemIdx>,
    timestamps_ms: Vec<i64>,
    negatives: Vec<u32>,
}

impl SequenceCase {
    pub(super) fn new(sizes: SequenceRow, seed: u64) -> Result<Self, NnError> {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let config = sizes.config();
        let has_time = sizes.mixer == Mixer::Hstu;
        let mut network = Network::new(&config, sizes.n_items as usize, has_time, 0, None, rng)?;
        shake(&mut network, rng)?;
        let batches = (0..N_BATCHES).map(|_| Batch::new(sizes, rng)).collect();
        let stepper = Stepper::new(&config, network, Optimizer::new(Adam::default())?);
        Ok(Self { sizes, stepper, batches, seed, n_steps: 0 })
    }
}

impl SequenceRow {
    pub(super) fn config(self) -> SequenceConfig {
        let positive = |n: u32| NonZeroU32::new(n).expect("the sizes of a row are not 0");
        let preset = match self.mixer {
            Mixer::Attention => Preset::SasRec,
            Mixer::Hstu => Preset::Hstu,
            Mixer::Gru => Preset::Gru4Rec,
        };
        let config = SequenceConfig::preset(preset);
        SequenceConfig {
            d_model: positive(self.d_model),
            n_layers: positive(self.n_layers),
            n_heads: positive(self.n_heads),
            d_ff: if config.d_ff == 0 { 0 } else { self.d_model },
            input_scale: f64::from(self.d_model).sqrt(),
            max_history: self.length as u32,
            dropout: Some(self.dropout),
            loss: self.loss,
            n_negatives: positive(self.n_negatives),
            precision: self.precision,
            ..config
        }
    }
}

impl Batch {
    fn new(sizes: SequenceRow, rng: &mut ChaCha8Rng) -> Self {
        let (n_events, n_item_rows) = (sizes.length + 1, sizes.n_items);
        let items: Vec<_> =
            (0..BATCH_SIZE * n_events).map(|_| ItemIdx(rng.random_range(1..n_item_rows))).collect();
        let mut timestamps_ms = Vec::new();
        if sizes.mixer == Mixer::Hstu {
            for _ in 0..BATCH_SIZE {
                let mut now = 1_700_000_000_000;
                timestamps_ms.extend((0..n_events).map(|_| {
                    now += (22.0 * rng.random::<f64>()).exp() as i64; // up to 41 days
                    now
                }));
            }
        }
        let mut draw = || rng.random_range(1..n_item_rows);
        let negatives = match sizes.loss {
            SequenceLoss::Full | SequenceLoss::Auto => Vec::new(),
            SequenceLoss::Shared | SequenceLoss::Mixed => {
                (0..sizes.n_negatives).map(|_| draw()).collect()
            }
            SequenceLoss::Sampled | SequenceLoss::Bce => {
                let labels = items.chunks_exact(n_events).flat_map(|sequence| &sequence[1..]);
                let each = labels
                    .flat_map(|label| std::iter::repeat_n(label.0, sizes.n_negatives as usize));
                each.map(|label| {
                    // The next item in place of an accidental hit.
                    let negative = draw();
                    if negative == label { label % (n_item_rows - 1) + 1 } else { negative }
                })
                .collect()
            }
        };
        Self { items, timestamps_ms, negatives }
    }

    /// All events but the first, or all but the last, of each sequence.
    fn part<T: Copy>(values: &[T], n_events: usize, first: usize) -> impl Iterator<Item = T> {
        let parts = values.chunks_exact(n_events);
        parts.flat_map(move |sequence| sequence[first..first + n_events - 1].iter().copied())
    }
}

impl Case for SequenceCase {
    fn step(&mut self, batch: usize) -> Result<f64, NnError> {
        let Batch { items, timestamps_ms, negatives } = &self.batches[batch];
        let n_events = self.sizes.length + 1;
        let histories: Vec<History<'_>> = (0..BATCH_SIZE)
            .map(|index| {
                History { timestamps_ms, ..History::of(items) }
                    .slice(index * n_events..(index + 1) * n_events)
            })
            .collect();
        let negatives = (!negatives.is_empty()).then_some(negatives.as_slice());
        self.n_steps += 1;
        let key = DropoutKey::new(self.seed, self.n_steps);
        self.stepper.step_against(key, &histories, negatives).map(|(loss, _)| loss)
    }

    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        insert_parameters(self.stepper.network(), &mut tensors);
        let (length, n_events) = (self.sizes.length, self.sizes.length + 1);
        for (index, batch) in self.batches.iter().enumerate() {
            let mut insert =
                |name: &str, data| tensors.insert(format!("batches.{index}.{name}"), data);
            let items =
                |first| Batch::part(&batch.items, n_events, first).map(|item| item.0).collect();
            insert("items", TensorData::U32(items(0)));
            insert("targets", TensorData::U32(items(1)));
            let offsets = (0..=BATCH_SIZE).map(|at| (at * length) as u64);
            insert("offsets", TensorData::U64(offsets.collect()));
            if !batch.timestamps_ms.is_empty() {
                let times = Batch::part(&batch.timestamps_ms, n_events, 0);
                insert("timestamps", TensorData::U64(times.map(|time| time as u64).collect()));
            }
            let negatives = || TensorData::U32(batch.negatives.clone());
            match self.sizes.loss {
                SequenceLoss::Full | SequenceLoss::Auto => {}
                SequenceLoss::Shared | SequenceLoss::Mixed => insert("negatives", negatives()),
                SequenceLoss::Sampled | SequenceLoss::Bce => {
                    let name = format!("batches.{index}.negatives");
                    tensors.insert_rows(name, negatives(), self.sizes.n_negatives as usize);
                }
            }
        }
        tensors
    }
}
