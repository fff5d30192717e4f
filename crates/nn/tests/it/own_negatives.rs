//! Losses with negatives of each row's own: finite differences, the numbers of PyTorch by
//! `tests/fixtures/make_own_negatives.py`, and threads.

use std::num::NonZeroUsize;

use forecart_nn::{
    DataParallel, Matrix, NnError, RowGradients,
    loss::{
        LogQ, OwnNegatives, OwnNegativesGradients, OwnNegativesWorkspace, bpr, own_sampled_softmax,
        sampled_bce,
    },
};
use rand::RngExt;

use crate::{
    gradients::{check, dense},
    parity::Case,
    random, rng,
};

#[derive(Debug, Clone, Copy)]
enum Loss<'a> {
    Bce { beta: f32 },
    Bpr,
    Softmax(Option<LogQ<'a>>),
}

impl Loss<'_> {
    fn run(
        self,
        hidden: &Matrix,
        table: &Matrix,
        own: OwnNegatives<'_>,
        mean_over: f64,
        ws: &mut OwnNegativesWorkspace,
        gradients: OwnNegativesGradients<'_>,
    ) -> Result<f64, NnError> {
        match self {
            Self::Bce { beta } => sampled_bce(hidden, table, own, beta, mean_over, ws, gradients),
            Self::Bpr => bpr(hidden, table, own, mean_over, ws, gradients),
            Self::Softmax(log_q) => {
                own_sampled_softmax(hidden, table, own, log_q, mean_over, ws, gradients)
            }
        }
    }

    /// The loss and the gradients of `hidden` and of `table`.
    fn of(
        self,
        hidden: &Matrix,
        table: &Matrix,
        own: OwnNegatives<'_>,
        mean_over: f64,
    ) -> (f64, Matrix, Matrix) {
        let [n_items, d] = table.shape();
        let (mut d_hidden, mut d_table) = (Matrix::default(), RowGradients::new(n_items, d));
        let gradients =
            OwnNegativesGradients { d_hidden: &mut d_hidden, d_table: Some(&mut d_table) };
        let mut workspace = OwnNegativesWorkspace::default();
        let loss = self.run(hidden, table, own, mean_over, &mut workspace, gradients).unwrap();
        (loss, d_hidden, dense(&d_table))
    }
}

const LOG_Q: [f32; 7] = [-1.0, -2.0, -0.5, -1.5, -3.0, -2.5, -0.2];

const LOSSES: [Loss<'static>; 5] = [
    Loss::Bce { beta: 1.0 },
    Loss::Bce { beta: 0.4 },
    Loss::Bpr,
    Loss::Softmax(None),
    Loss::Softmax(Some(LogQ::Items(&LOG_Q))),
];

#[test]
fn gradients_are_those_of_finite_differences() {
    let rng = &mut rng(41);
    let (hidden, table) = (random(3, 4, 1.0, rng), random(7, 4, 1.0, rng));
    let own = OwnNegatives { labels: &[6, 1, 1], negatives: &[0, 1, 5, 3, 1, 2] };
    for loss in LOSSES {
        let (_, d_hidden, d_table) = loss.of(&hidden, &table, own, 3.0);
        let what = format!("{loss:?}");
        check(&what, &hidden, &d_hidden, |hidden| loss.of(hidden, &table, own, 3.0).0);
        check(&what, &table, &d_table, |table| loss.of(&hidden, table, own, 3.0).0);
    }
}

#[test]
fn numbers_are_those_of_pytorch() {
    let case = |name| Case::new(include_str!("../fixtures/own_negatives.json"), name);
    let log_q = case("bce").floats("log_q");
    for (name, loss, mean_over) in [
        ("bce", Loss::Bce { beta: 1.0 }, 16.0),
        ("gbce", Loss::Bce { beta: 0.625 }, 16.0),
        ("bpr", Loss::Bpr, 12.0),
        ("softmax", Loss::Softmax(None), 4.0),
        ("softmax_log_q", Loss::Softmax(Some(LogQ::Items(&log_q))), 4.0),
    ] {
        let case = case(name);
        let (labels, negatives) = (case.indices("labels"), case.indices("negatives"));
        let own = OwnNegatives { labels: &labels, negatives: &negatives };
        let (hidden, table) = (case.matrix("hidden", 4, 5), case.matrix("table", 9, 5));
        let (loss, d_hidden, d_table) = loss.of(&hidden, &table, own, mean_over);
        case.assert_loss(loss);
        case.assert_close("d_hidden", d_hidden.as_slice());
        case.assert_close("d_table", d_table.as_slice());
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let rng = &mut rng(42);
    let (hidden, table) = (random(300, 8, 1.0, rng), random(7, 8, 1.0, rng));
    let mut draw = |len: usize| -> Vec<u32> { (0..len).map(|_| rng.random_range(0..7)).collect() };
    let (labels, negatives) = (draw(300), draw(300 * 5));
    for loss in LOSSES {
        let train = |n_threads: usize| {
            type Workspace = (Matrix, Matrix, OwnNegativesWorkspace);
            let new_gradients = || RowGradients::new(7, 8);
            let mut runner: DataParallel<Workspace, _> =
                DataParallel::new(NonZeroUsize::new(7).unwrap(), new_gradients());
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            let step = |rows: std::ops::Range<usize>, ws: &mut Workspace, d_table: &mut _| {
                let (tile, d_hidden, ws) = ws;
                tile.copy_rows_from(&hidden, rows.clone());
                let own = OwnNegatives {
                    labels: &labels[rows.clone()],
                    negatives: &negatives[rows.start * 5..rows.end * 5],
                };
                let gradients = OwnNegativesGradients { d_hidden, d_table: Some(d_table) };
                loss.run(tile, &table, own, 300.0, ws, gradients)
            };
            let (value, d_table) = pool.install(|| runner.run(300, new_gradients, step)).unwrap();
            let bits: Vec<u32> =
                dense(d_table).as_slice().iter().map(|value| value.to_bits()).collect();
            (value, bits)
        };
        let one = train(1);
        // Tiles add up to the batch.
        let own = OwnNegatives { labels: &labels, negatives: &negatives };
        assert!((loss.of(&hidden, &table, own, 300.0).0 - one.0).abs() < 1e-6, "{loss:?}");
        for n_threads in [2, 5] {
            assert_eq!(train(n_threads), one, "{loss:?}, {n_threads} threads");
        }
    }
}
