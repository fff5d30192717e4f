//! Events on their way to the disk: one transaction of `n` events of 4,000 users in no order, into a file of SQLite that holds 200,000.
//!
//! What is measured is [`forecart_serve::store::Store::append`] with its `fsync`; what an event costs falls with the number of them that share a
//! transaction. Data are generated from a seed.
//!
//! ```sh
//! cargo bench -p forecart-serve --bench store
//! ```
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use forecart_serve::Event;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

const N_USERS: u32 = 4_000;
const N_ITEMS: u32 = 100_000;
const N_BEFORE: usize = 200_000;
const SIZES: [usize; 3] = [100, 1_000, 6_400];

/// Events with ids that were never used.
struct Source {
    rng: ChaCha8Rng,
    n_made: u64,
}

impl Source {
    fn events(&mut self, n: usize) -> Vec<Event> {
        let event = |_| {
            self.n_made += 1;
            Event {
                event_id: format!("bench-{:09}", self.n_made),
                user_id: format!("user-{}", self.rng.random_range(0..N_USERS)),
                item_id: Some(format!("item-{}", self.rng.random_range(0..N_ITEMS))),
                event: "view_item".to_owned(),
                timestamp_ms: 1_764_150_000_000 + self.n_made as i64,
                value: None,
                further: serde_json::Map::new(),
            }
        };
        (0..n).map(event).collect()
    }
}

fn appends(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let mut group = criterion.benchmark_group("append to SQLite");
    group.sample_size(30);
    for n in SIZES {
        let folder = tempfile::tempdir().expect("a folder is made");
        let path = folder.path().join("store.sqlite");
        let address = path.to_str().expect("paths are text");
        let store = runtime.block_on(forecart_serve::store::open(address)).expect("a store opens");
        let mut source = Source { rng: ChaCha8Rng::seed_from_u64(42), n_made: 0 };
        for _ in 0..N_BEFORE / 10_000 {
            let before = source.events(10_000);
            runtime.block_on(store.append(&before, 0)).expect("events are written");
        }
        group.throughput(Throughput::Elements(n as u64));
        group.bench_function(format!("{n} events"), |bencher| {
            bencher.iter_batched(
                || source.events(n),
                |events| {
                    let new = runtime.block_on(store.append(&events, 0));
                    assert_eq!(new.expect("events are written").len(), n, "all of them are new");
                },
                BatchSize::PerIteration,
            );
        });
        runtime.block_on(store.close());
    }
    group.finish();
}

criterion_group!(benches, appends);
criterion_main!(benches);
