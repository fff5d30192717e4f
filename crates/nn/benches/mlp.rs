//! Time of a linear layer and of a training step of a multi-layer perceptron, single-threaded and by tiles.
//!
//! Data: uniform values in -1..1 from ChaCha8 with seed 1; binary targets. Throughput is in floating-point operations
//! of the matrix products alone (2 a multiply-add; backward counts both of its products), so
//! criterion's `elem/s` reads as FLOP/s. `mlp_step` is forward, binary cross-entropy, backward, reduction and Adam on a
//! batch of 4096 rows in tiles of 256, on rayon's pool.
//!
//! ```text
//! cargo bench -p forecart-nn --bench mlp
//! RAYON_NUM_THREADS=1 cargo bench -p forecart-nn --bench mlp -- mlp_step
//! ```

use std::{hint::black_box, num::NonZeroUsize};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use forecart_nn::{
    Activation, Adam, DataParallel, DropoutKey, Init, Linear, Matrix, Mlp, MlpConfig, MlpGradients,
    MlpWorkspace, NnError, Optimizer, Pass, Precision, Trainable, loss::bce_with_logits,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn random(rows: usize, cols: usize, rng: &mut ChaCha8Rng) -> Matrix {
    let values = (0..rows * cols).map(|_| 2.0 * rng.random::<f32>() - 1.0).collect();
    Matrix::from_vec(rows, cols, values).expect("rows * cols values were drawn")
}

fn linear(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("linear");
    let shapes =
        [(64, 64, 64), (64, 256, 256), (200, 256, 768), (512, 256, 256), (512, 1024, 1024)];
    let precisions = [Precision::F32, Precision::Bf16];
    for ((n, n_in, n_out), precision) in
        shapes.into_iter().flat_map(|shape| precisions.map(|precision| (shape, precision)))
    {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let layer = Linear::new(n_in, n_out, Init::He, rng).expect("sizes are positive");
        let layer = layer.in_precision(precision);
        let (x, dy) = (random(n, n_in, rng), random(n, n_out, rng));
        let (mut y, mut dx) = (Matrix::default(), Matrix::default());
        let mut gradients = layer.new_gradients();
        let shape = format!("n={n}/in={n_in}/out={n_out}/{precision:?}");
        let product = 2 * (n * n_in * n_out) as u64;

        group.throughput(Throughput::Elements(product));
        group.bench_function(BenchmarkId::new("forward", &shape), |bencher| {
            bencher.iter(|| layer.forward(black_box(&x), &mut y).expect("shapes fit"));
        });
        group.throughput(Throughput::Elements(2 * product));
        group.bench_function(BenchmarkId::new("backward", &shape), |bencher| {
            bencher.iter(|| {
                layer
                    .backward(&x, black_box(&dy), Some(&mut dx), &mut gradients)
                    .expect("shapes fit");
            });
        });
    }
    group.finish();
}

struct Training {
    mlp: Mlp,
    x: Vec<Matrix>,
    targets: Vec<f32>,
    optimizer: Optimizer,
    runner: DataParallel<(MlpWorkspace, Matrix), MlpGradients>,
}

const BATCH: usize = 4096;
const TILE: usize = 256;

impl Training {
    fn new(config: &MlpConfig) -> Result<Self, NnError> {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let mlp = Mlp::new(config, rng)?;
        let x = (0..BATCH / TILE).map(|_| random(TILE, config.n_in, rng)).collect();
        let targets = (0..BATCH).map(|_| f32::from(rng.random::<bool>())).collect();
        let optimizer = Optimizer::new(Adam::default())?;
        let tile_rows = NonZeroUsize::new(TILE).expect("not zero");
        let runner = DataParallel::new(tile_rows, mlp.new_gradients());
        Ok(Self { mlp, x, targets, optimizer, runner })
    }

    fn step(&mut self, step: u64) -> Result<f64, NnError> {
        let Self { mlp, x, targets, optimizer, runner } = self;
        let key = DropoutKey::new(1, step);
        let (loss, gradients) = runner.run(
            BATCH,
            || mlp.new_gradients(),
            |rows, (workspace, d_logits), gradients| {
                let pass = Pass::Training { key, first_row: rows.start };
                let x = &x[rows.start / TILE];
                let logits = mlp.forward(x, pass, workspace)?;
                let loss = bce_with_logits(logits, &targets[rows], None, BATCH as f64, d_logits)?;
                mlp.backward(x, d_logits, None, workspace, gradients)?;
                Ok(loss)
            },
        )?;
        optimizer.step(mlp, gradients)?;
        Ok(loss)
    }
}

fn mlp_step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mlp_step");
    for (hidden, dropout) in [(vec![128, 64], 0.0), (vec![512, 256], 0.0), (vec![512, 256], 0.2)] {
        let activation = Activation::Relu;
        let config = MlpConfig { n_in: 256, hidden, n_out: 1, activation, dropout };
        let mut training = Training::new(&config).expect("sizes are positive");
        let sizes = [&[config.n_in], &config.hidden[..], &[config.n_out]].concat();
        let products: usize = sizes.windows(2).map(|pair| pair[0] * pair[1]).sum();
        // Forward and both products of backward, but no gradient of the input.
        let flop = 2 * BATCH * (3 * products - sizes[0] * sizes[1]);
        group.throughput(Throughput::Elements(flop as u64));
        let id = format!("batch={BATCH}/sizes={sizes:?}/dropout={dropout}").replace(", ", "-");
        let mut step = 0;
        group.bench_function(id, |bencher| {
            bencher.iter(|| {
                step += 1;
                training.step(step).expect("training is stable")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, linear, mlp_step);
criterion_main!(benches);
