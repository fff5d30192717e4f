//! The row of DeepFM.

use forecart_nn::{Adam, DropoutKey, NnError, Optimizer};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Case, N_BATCHES, insert_parameters, shake};
use crate::ads::{FieldNetwork, FieldNetworkConfig, FieldRows, FieldTrainer, Interactions};
use crate::tensors::{TensorData, Tensors};

const N_FIELDS: usize = 26;
const N_DENSE: usize = 13;
const TABLE_ROWS: usize = 1_000_000;
const BATCH_SIZE: usize = 4096;

#[derive(Debug)]
pub(super) struct DeepFmCase {
    trainer: FieldTrainer,
    batches: Vec<Batch>,
}

#[derive(Debug)]
struct Batch {
    sparse: Vec<u32>,
    dense: Vec<f32>,
    clicks: Vec<f32>,
}

impl DeepFmCase {
    pub(super) fn new(seed: u64) -> Result<Self, NnError> {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let config = FieldNetworkConfig {
            n_rows: TABLE_ROWS,
            n_fields: N_FIELDS,
            n_dims: 16,
            n_dense: N_DENSE,
            linear: true,
            interactions: Some(Interactions::Machine),
            hidden: Some(vec![400; 3]),
            ..FieldNetworkConfig::default()
        };
        let mut network = FieldNetwork::new(&config, rng)?;
        shake(&mut network, rng)?;
        let batches = (0..N_BATCHES).map(|_| Batch::new(rng)).collect();
        let trainer = FieldTrainer::new(network, Optimizer::new(Adam::default())?);
        Ok(Self { trainer, batches })
    }
}

impl Batch {
    fn new(rng: &mut ChaCha8Rng) -> Self {
        let rows_a_field = (TABLE_ROWS / N_FIELDS) as u32;
        let row = |at: usize, rng: &mut ChaCha8Rng| {
            (at % N_FIELDS) as u32 * rows_a_field + rng.random_range(0..rows_a_field)
        };
        Self {
            sparse: (0..BATCH_SIZE * N_FIELDS).map(|at| row(at, rng)).collect(),
            dense: (0..BATCH_SIZE * N_DENSE).map(|_| 2.0 * rng.random::<f32>() - 1.0).collect(),
            clicks: (0..BATCH_SIZE).map(|_| f32::from(rng.random::<f32>() < 0.25)).collect(),
        }
    }
}

impl Case for DeepFmCase {
    fn step(&mut self, batch: usize) -> Result<f64, NnError> {
        let Batch { sparse, dense, clicks } = &self.batches[batch];
        let rows = FieldRows { rows: sparse, dense, labels: clicks, ..FieldRows::default() };
        self.trainer.step(rows, DropoutKey::new(0, batch as u64)) // no dropout
    }

    fn tensors(&self) -> Tensors {
        let mut tensors = Tensors::default();
        insert_parameters(self.trainer.network(), &mut tensors);
        for (index, batch) in self.batches.iter().enumerate() {
            let prefix = format!("batches.{index}");
            let values = TensorData::U32(batch.sparse.clone());
            tensors.insert_rows(format!("{prefix}.sparse"), values, N_FIELDS);
            tensors.insert_matrix(format!("{prefix}.dense"), batch.dense.clone(), N_DENSE);
            tensors.insert(format!("{prefix}.clicks"), TensorData::F32(batch.clicks.clone()));
        }
        tensors
    }
}
