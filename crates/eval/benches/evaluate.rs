//! Full-ranking evaluation without a model: 20,000 users of a leave-one-out dataset, 12,000 items,
//! a scorer that copies fixed scores. What is measured is the copy of 48 kB a user and everything
//! after it: ranks, masks and lists; no sort, so a few passes over scores that stay in the cache.
//!
//! Data: items by a multiplicative hash of user and step; no randomness.
//! Run: `cargo bench -p forecart-eval` (threads: all; `RAYON_NUM_THREADS=1` for one).
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use forecart_data::{History, Protocol, SeenItems, Silent};
use forecart_eval::{EvaluateOptions, ModelRuns, Report, ReportOptions, Run, evaluate};

#[path = "../tests/it/fixture.rs"]
#[allow(dead_code, reason = "shared with the tests, which use more of it")]
mod fixture;

const N_USERS: u32 = 20_000;
const N_ITEMS: u32 = 12_000;

fn benches(criterion: &mut Criterion) {
    let user = |user: u32| {
        let item = |step: u32| 1 + (user * 31 + step).wrapping_mul(2_654_435_761) % N_ITEMS;
        fixture::leave_one_out(&(0..8).map(item).collect::<Vec<_>>())
    };
    let users: Vec<_> = (0..N_USERS).map(user).collect();
    let data = fixture::dataset(Protocol::LooFull, SeenItems::Exclude, N_ITEMS as usize, &users);
    let fixed: Vec<f32> =
        (0..=N_ITEMS).map(|item| (item.wrapping_mul(2_654_435_761) >> 8) as f32).collect();
    let copy = |_: History<'_>, scores: &mut [f32]| scores.copy_from_slice(&fixed);
    let mut group = criterion.benchmark_group("evaluate");
    group.sample_size(10).throughput(Throughput::Elements(u64::from(N_USERS)));
    group.bench_function("users=2e4/items=1.2e4", |bencher| {
        let options = EvaluateOptions::validation("copy");
        bencher.iter(|| evaluate(black_box(&data.dataset), &copy, &options, &Silent).unwrap());
    });
    // What any evaluation has to pay: the scores of all users written once.
    group.bench_function("floor=copy/users=2e4/items=1.2e4", |bencher| {
        let mut scores = fixed.clone();
        bencher.iter(|| {
            for _ in 0..N_USERS {
                black_box(&mut scores).copy_from_slice(black_box(&fixed));
            }
        });
    });
    // 23 metrics with 1000 resamples of 20,000 users, for one model.
    let run = Run::new(
        evaluate(&data.dataset, &copy, &EvaluateOptions::validation("copy"), &Silent).unwrap(),
    );
    let row = ModelRuns {
        name: "copy".into(),
        is_baseline: true,
        hyperparameters: serde_json::Value::Null,
        runs: vec![run],
    };
    group.bench_function("report/models=1/users=2e4/resamples=1e3", |bencher| {
        let options = ReportOptions::default();
        bencher.iter(|| Report::new(black_box(std::slice::from_ref(&row)), &options).unwrap());
    });
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
