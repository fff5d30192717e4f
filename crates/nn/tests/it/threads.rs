//! The same bytes on any number of threads.

use std::num::NonZeroUsize;

use forecart_nn::{
    Activation, Adam, BagMode, Bags, DataParallel, DropoutKey, Embedding, Gradient, Gradients,
    Init, Matrix, Mlp, MlpConfig, MlpGradients, MlpWorkspace, Name, NnError, Optimizer, Parameters,
    Pass, RowGradients, Trainable, loss,
};
use rand::RngExt;

use crate::rng;

/// Histories through a table, a perceptron over their means, and a sampled softmax over the same table: every kind
/// of gradient there is, with the table read in two places.
#[derive(Debug)]
struct Model {
    items: Embedding,
    tower: Mlp,
}

#[derive(Debug, Default)]
struct Workspace {
    bags: Matrix,
    d_bags: Matrix,
    d_hidden: Matrix,
    tower: MlpWorkspace,
    softmax: loss::SampledSoftmaxWorkspace,
}

impl Parameters for Model {
    fn visit(&self, name: &Name<'_>, visit: &mut dyn FnMut(&Name<'_>, &Matrix)) {
        self.items.visit(&name.child("items"), visit);
        self.tower.visit(&name.child("tower"), visit);
    }

    fn visit_mut(
        &mut self,
        name: &Name<'_>,
        visit: &mut dyn FnMut(&Name<'_>, &mut Matrix) -> Result<(), NnError>,
    ) -> Result<(), NnError> {
        self.items.visit_mut(&name.child("items"), visit)?;
        self.tower.visit_mut(&name.child("tower"), visit)
    }
}

impl Trainable for Model {
    type Gradients = (RowGradients, MlpGradients);

    fn new_gradients(&self) -> Self::Gradients {
        (self.items.new_gradients(), self.tower.new_gradients())
    }

    fn visit_with_gradients(
        &mut self,
        (items, tower): &Self::Gradients,
        name: &Name<'_>,
        visit: &mut dyn FnMut(&Name<'_>, &mut Matrix, Gradient<'_>) -> Result<(), NnError>,
    ) -> Result<(), NnError> {
        self.items.visit_with_gradients(items, &name.child("items"), visit)?;
        self.tower.visit_with_gradients(tower, &name.child("tower"), visit)
    }
}

const N_ITEMS: usize = 60;
const N_USERS: usize = 331;

/// Trains for a few steps and returns the losses and all parameters.
fn train(n_threads: usize) -> (Vec<u64>, Vec<u32>) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
    let rng = &mut rng(11);
    let config = MlpConfig {
        n_in: 8,
        hidden: vec![24, 16],
        n_out: 8,
        activation: Activation::Relu,
        dropout: 0.3,
    };
    let items = Embedding::new(N_ITEMS, 8, Init::TruncatedNormal { std_dev: 0.3 }, rng).unwrap();
    let mut model = Model { items, tower: Mlp::new(&config, rng).unwrap() };
    let mut optimizer = Optimizer::new(Adam { learning_rate: 0.01, ..Adam::default() })
        .unwrap()
        .with_clip_norm(0.5)
        .unwrap();

    let (mut indices, mut offsets) = (Vec::new(), vec![0]);
    for _ in 0..N_USERS {
        let n_events = rng.random_range(0..9);
        indices.extend((0..n_events).map(|_| rng.random_range(0..N_ITEMS as u32)));
        offsets.push(indices.len());
    }
    let labels: Vec<u32> = (0..N_USERS).map(|_| rng.random_range(0..N_ITEMS as u32)).collect();

    // 331 rows in tiles of 7: 48 tiles, so three waves, and a short last tile.
    let mut runner: DataParallel<Workspace, _> =
        DataParallel::new(NonZeroUsize::new(7).unwrap(), model.new_gradients());
    let bags = Bags::new(&indices, &offsets, None).unwrap();
    let mut losses = Vec::new();
    for step in 0..20 {
        let negatives: Vec<u32> = (0..20).map(|_| rng.random_range(0..N_ITEMS as u32)).collect();
        let key = DropoutKey::new(5, step);
        let tile = |rows: std::ops::Range<usize>, ws: &mut Workspace, gradients: &mut _| {
            let (d_items, d_tower): &mut (RowGradients, MlpGradients) = gradients;
            let bags = bags.slice(rows.clone());
            model.items.forward_bags(bags, BagMode::Mean, &mut ws.bags)?; // [n, 8]
            let pass = Pass::Training { key, first_row: rows.start };
            let hidden = model.tower.forward(&ws.bags, pass, &mut ws.tower)?; // [n, 8]
            let candidates =
                loss::SampledSoftmax { labels: &labels[rows], negatives: &negatives, log_q: None };
            let gradients = loss::SampledSoftmaxGradients {
                d_hidden: &mut ws.d_hidden,
                d_table: &mut *d_items,
            };
            let (table, softmax) = (model.items.table(), &mut ws.softmax);
            let n = N_USERS as f64;
            let loss = loss::sampled_softmax(hidden, table, candidates, n, softmax, gradients)?;
            let d_bags = Some(&mut ws.d_bags);
            model.tower.backward(&ws.bags, &ws.d_hidden, d_bags, &mut ws.tower, d_tower)?;
            model.items.backward_bags(bags, BagMode::Mean, &ws.d_bags, d_items)?;
            Ok(loss)
        };
        let (loss, gradients) =
            pool.install(|| runner.run(N_USERS, || model.new_gradients(), tile)).unwrap();
        losses.push(loss.to_bits());
        optimizer.step(&mut model, gradients).unwrap();
    }
    let mut parameters = Vec::new();
    model.visit(&Name::root(), &mut |_, value| {
        parameters.extend(value.to_host().iter().map(|value| value.to_bits()));
    });
    (losses, parameters)
}

#[test]
fn one_two_three_and_eight_threads_train_the_same_model() {
    let one = train(1);
    assert!(f64::from_bits(one.0[19]) < f64::from_bits(one.0[0]), "the loss falls");
    for n_threads in [1, 2, 3, 8] {
        assert_eq!(train(n_threads), one, "{n_threads} threads");
    }
}

/// A batch in tiles against the same batch in one: equal but for the rounding of other sums.
#[test]
fn tiles_add_up_to_the_batch() {
    let rng = &mut rng(12);
    let config = MlpConfig {
        n_in: 5,
        hidden: vec![9],
        n_out: 3,
        activation: Activation::Tanh,
        dropout: 0.2,
    };
    let mlp = Mlp::new(&config, rng).unwrap();
    let x = crate::random(50, 5, 1.0, rng);
    let labels: Vec<u32> = (0..50).map(|_| rng.random_range(0..3)).collect();
    let run = |tile_rows: usize| {
        let tile_rows = NonZeroUsize::new(tile_rows).unwrap();
        let mut runner: DataParallel<(MlpWorkspace, Matrix, Matrix), MlpGradients> =
            DataParallel::new(tile_rows, mlp.new_gradients());
        let (loss, gradients) = runner
            .run(
                50,
                || mlp.new_gradients(),
                |rows, (workspace, tile, d_logits), gradients| {
                    tile.copy_rows_from(&x, rows.clone());
                    let key = DropoutKey::new(1, 1);
                    let pass = Pass::Training { key, first_row: rows.start };
                    let logits = mlp.forward(tile, pass, workspace)?;
                    let labels = &labels[rows];
                    let loss =
                        loss::softmax_cross_entropy(logits, labels, None, 0.0, 50.0, d_logits)?;
                    mlp.backward(tile, d_logits, None, workspace, gradients)?;
                    Ok(loss)
                },
            )
            .unwrap();
        let gradients: Vec<Vec<f32>> =
            gradients.layers.iter().map(|layer| layer.weight.to_host()).collect();
        (loss, gradients.concat())
    };
    let (whole, d_whole) = run(50);
    for tile_rows in [1, 7, 16] {
        let (loss, gradients) = run(tile_rows);
        assert!((loss - whole).abs() < 1e-7);
        for (got, want) in gradients.iter().zip(&d_whole) {
            // Sums of 50 terms of at most 1/50: a few ulp of 1.
            assert!((got - want).abs() < 1e-6, "{got} {want}");
        }
    }
}

#[test]
fn squared_norms_and_scaling_reach_every_part() {
    let mut gradients = (RowGradients::new(4, 1), Matrix::from_rows(&[[3.0]]));
    gradients.0.add_to_row(2, &[4.0], 1.0);
    assert_eq!(gradients.squared_norm(), 25.0);
    gradients.scale(2.0);
    assert_eq!(gradients.squared_norm(), 100.0);
    gradients.clear();
    assert_eq!(gradients.squared_norm(), 0.0);
}
