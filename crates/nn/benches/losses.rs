//! Time of the losses with negatives, of normalization, and of scoring by a bfloat16 table; one thread.
//!
//! Data: uniform values in -1..1 from ChaCha8 with seed 1; 800 tokens (16 sequences of 50), 64 columns, 12,101 items,
//! labels and negatives drawn uniformly. `elem/s` is tokens for losses and norms, items for scores.
//!
//! ```text
//! cargo bench -p forecart-nn --bench losses
//! ```

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use forecart_nn::{
    Bf16Table, Gradients, LayerNorm, LayerNormCache, Matrix, RowGradients, Trainable,
    loss::{
        OwnNegatives, OwnNegativesGradients, OwnNegativesWorkspace, SampledSoftmax,
        SampledSoftmaxGradients, SampledSoftmaxWorkspace, own_sampled_softmax, sampled_bce,
        sampled_softmax,
    },
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const N: usize = 800;
const D: usize = 64;
const N_ITEMS: usize = 12_101;

fn random(rows: usize, cols: usize, rng: &mut ChaCha8Rng) -> Matrix {
    let values = (0..rows * cols).map(|_| 2.0 * rng.random::<f32>() - 1.0).collect();
    Matrix::from_vec(rows, cols, values).expect("rows * cols values were drawn")
}

fn losses(criterion: &mut Criterion) {
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    let (hidden, table) = (random(N, D, rng), random(N_ITEMS, D, rng));
    let mut draw = |len: usize| -> Vec<u32> {
        (0..len).map(|_| rng.random_range(0..N_ITEMS as u32)).collect()
    };
    let (labels, negatives) = (draw(N), draw(N * 128));
    let (mut d_hidden, mut d_table) = (Matrix::default(), RowGradients::new(N_ITEMS, D));
    let (mut own_ws, mut shared_ws) =
        (OwnNegativesWorkspace::default(), SampledSoftmaxWorkspace::default());
    let mut group = criterion.benchmark_group("loss");
    group.throughput(Throughput::Elements(N as u64));
    group.bench_function("sampled_bce/k=1", |bencher| {
        let own = OwnNegatives { labels: &labels, negatives: &negatives[..N] };
        bencher.iter(|| {
            d_table.clear();
            let gradients =
                OwnNegativesGradients { d_hidden: &mut d_hidden, d_table: Some(&mut d_table) };
            sampled_bce(black_box(&hidden), &table, own, 1.0, N as f64, &mut own_ws, gradients)
        });
    });
    group.bench_function("own_sampled_softmax/k=128", |bencher| {
        let own = OwnNegatives { labels: &labels, negatives: &negatives };
        bencher.iter(|| {
            d_table.clear();
            let gradients =
                OwnNegativesGradients { d_hidden: &mut d_hidden, d_table: Some(&mut d_table) };
            let hidden = black_box(&hidden);
            own_sampled_softmax(hidden, &table, own, None, N as f64, &mut own_ws, gradients)
        });
    });
    group.bench_function("sampled_softmax/m=128", |bencher| {
        let negatives = &negatives[..128];
        bencher.iter(|| {
            d_table.clear();
            let candidates = SampledSoftmax { labels: &labels, negatives, log_q: None };
            let gradients =
                SampledSoftmaxGradients { d_hidden: &mut d_hidden, d_table: &mut d_table };
            let hidden = black_box(&hidden);
            sampled_softmax(hidden, &table, candidates, N as f64, &mut shared_ws, gradients)
        });
    });
    group.finish();
}

fn layer_norm(criterion: &mut Criterion) {
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    let (x, dy, layer) = (random(N, D, rng), random(N, D, rng), LayerNorm::new(D));
    let (mut y, mut dx) = (Matrix::default(), Matrix::default());
    let (mut cache, mut gradients) = (LayerNormCache::default(), layer.new_gradients());
    let mut group = criterion.benchmark_group("layer_norm");
    group.throughput(Throughput::Elements(N as u64));
    group.bench_function("forward", |bencher| {
        bencher.iter(|| layer.forward(black_box(&x), &mut y, &mut cache));
    });
    group.bench_function("backward", |bencher| {
        bencher.iter(|| layer.backward(&x, black_box(&dy), &mut dx, &cache, &mut gradients));
    });
    group.finish();
}

fn bf16(criterion: &mut Criterion) {
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    let (table, query) = (random(N_ITEMS, D, rng), random(1, D, rng));
    let rounded = Bf16Table::new(&table);
    let mut scores = vec![0.0; N_ITEMS];
    let mut group = criterion.benchmark_group("bf16_table");
    group.throughput(Throughput::Elements(N_ITEMS as u64));
    group.bench_function("new", |bencher| bencher.iter(|| Bf16Table::new(black_box(&table))));
    group.bench_function("scores", |bencher| {
        bencher.iter(|| rounded.scores(black_box(query.as_slice()), &mut scores));
    });
    group.finish();
}

criterion_group!(benches, losses, layer_norm, bf16);
criterion_main!(benches);
