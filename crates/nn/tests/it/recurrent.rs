//! GRU and LSTM: finite differences, the numbers of PyTorch by `tests/fixtures/make_recurrent.py`, and threads.

use std::num::NonZeroUsize;

use forecart_nn::{
    DataParallel, Direction, GruCell, Init, LstmCell, Matrix, Name, NnError, Parameters, Ragged,
    Recurrent, RecurrentCell, RecurrentWeights, RecurrentWorkspace, Trainable,
};

use crate::{dot, gradients::check, parity::Case, ragged_offsets, ragged_tile, random, rng};

/// Sequences of 3, 0, 4 and 1 tokens.
const OFFSETS: [usize; 5] = [0, 3, 3, 7, 8];

fn run<C: RecurrentCell>(
    weights: &RecurrentWeights,
    direction: Direction,
    x: &Matrix,
    dy: &Matrix,
) -> (Matrix, Matrix, RecurrentWeights) {
    let layer = Recurrent::<C>::from_weights(weights.clone(), direction).unwrap();
    let batch = Ragged::new(&OFFSETS).unwrap();
    let (mut workspace, mut dx) = (RecurrentWorkspace::default(), Matrix::default());
    let mut gradients = layer.new_gradients();
    let y = layer.forward(x, batch, &mut workspace).unwrap().clone();
    layer.backward(dy, Some(&mut dx), &mut workspace, &mut gradients).unwrap();
    (y, dx, gradients)
}

fn matches_pytorch<C: RecurrentCell>(name: &str) {
    for (direction, suffix) in [(Direction::Forward, "forward"), (Direction::Reverse, "reverse")] {
        let fixture = include_str!("../fixtures/recurrent.json");
        let case = Case::new(fixture, &format!("{name}_{suffix}"));
        let n_gates = 5 * C::N_GATES;
        let weights = RecurrentWeights {
            weight_ih: case.matrix("weight_ih", n_gates, 3),
            weight_hh: case.matrix("weight_hh", n_gates, 5),
            bias_ih: case.matrix("bias_ih", 1, n_gates),
            bias_hh: case.matrix("bias_hh", 1, n_gates),
        };
        let (x, dy) = (case.matrix("x", 8, 3), case.matrix("dy", 8, 5));
        let (y, dx, gradients) = run::<C>(&weights, direction, &x, &dy);
        case.assert_close("y", y.as_slice());
        case.assert_close("d_x", dx.as_slice());
        case.assert_close("d_weight_ih", gradients.weight_ih.as_slice());
        case.assert_close("d_weight_hh", gradients.weight_hh.as_slice());
        case.assert_close("d_bias_ih", gradients.bias_ih.as_slice());
        case.assert_close("d_bias_hh", gradients.bias_hh.as_slice());
    }
}

#[test]
fn numbers_of_pytorch() {
    matches_pytorch::<GruCell>("gru");
    matches_pytorch::<LstmCell>("lstm");
}

fn has_right_gradients<C: RecurrentCell>() {
    let rng = &mut rng(31);
    let n_gates = 4 * C::N_GATES;
    let weights = RecurrentWeights {
        weight_ih: random(n_gates, 3, 1.0, rng),
        weight_hh: random(n_gates, 4, 1.0, rng),
        bias_ih: random(1, n_gates, 0.5, rng),
        bias_hh: random(1, n_gates, 0.5, rng),
    };
    let (x, dy) = (random(8, 3, 1.0, rng), random(8, 4, 1.0, rng));
    for direction in [Direction::Forward, Direction::Reverse] {
        let loss = |weights: &RecurrentWeights, x: &Matrix| {
            dot(&run::<C>(weights, direction, x, &dy).0, &dy)
        };
        let (_, dx, gradients) = run::<C>(&weights, direction, &x, &dy);
        check("x", &x, &dx, |x| loss(&weights, x));
        let with = |change: fn(&mut RecurrentWeights) -> &mut Matrix, value: &Matrix| {
            let mut weights = weights.clone();
            change(&mut weights).copy_from(value);
            loss(&weights, &x)
        };
        check("weight_ih", &weights.weight_ih, &gradients.weight_ih, |value| {
            with(|weights| &mut weights.weight_ih, value)
        });
        check("weight_hh", &weights.weight_hh, &gradients.weight_hh, |value| {
            with(|weights| &mut weights.weight_hh, value)
        });
        check("bias_ih", &weights.bias_ih, &gradients.bias_ih, |value| {
            with(|weights| &mut weights.bias_ih, value)
        });
        check("bias_hh", &weights.bias_hh, &gradients.bias_hh, |value| {
            with(|weights| &mut weights.bias_hh, value)
        });
    }
}

#[test]
fn gradients() {
    has_right_gradients::<GruCell>();
    has_right_gradients::<LstmCell>();
}

fn is_the_same_on_any_number_of_threads<C: RecurrentCell + Send + Sync>() {
    let rng = &mut rng(32);
    let layer = Recurrent::<C>::new(5, 6, Direction::Forward, Init::Xavier, rng).unwrap();
    let offsets = ragged_offsets(100);
    let x = random(offsets[100], 5, 1.0, rng);
    let train = |n_threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
        let mut runner: DataParallel<(RecurrentWorkspace, Matrix, Vec<usize>), _> =
            DataParallel::new(NonZeroUsize::new(7).unwrap(), layer.new_gradients());
        let tile = |sequences, (workspace, tile, ends): &mut _, gradients: &mut _| {
            let batch = ragged_tile(&offsets, sequences, &x, tile, ends)?;
            let y = layer.forward(tile, batch, workspace)?.clone();
            layer.backward(&y, None, workspace, gradients)?;
            Ok(dot(&y, &y) / 2.0)
        };
        let run = || {
            runner.run(100, || layer.new_gradients(), tile).map(|(loss, sum)| (loss, sum.clone()))
        };
        let (loss, gradients) = pool.install(run).unwrap();
        let bits =
            |value: &Matrix| value.as_slice().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        (
            loss.to_bits(),
            bits(&gradients.weight_ih),
            bits(&gradients.weight_hh),
            bits(&gradients.bias_hh),
        )
    };
    let one = train(1);
    for n_threads in [2, 3, 8] {
        assert_eq!(train(n_threads), one, "{n_threads} threads");
    }
}

#[test]
fn threads() {
    is_the_same_on_any_number_of_threads::<GruCell>();
    is_the_same_on_any_number_of_threads::<LstmCell>();
}

#[test]
fn neighbors_in_a_batch_change_nothing() {
    let rng = &mut rng(33);
    let layer = Recurrent::<GruCell>::new(3, 4, Direction::Reverse, Init::Xavier, rng).unwrap();
    let (x, mut workspace) = (random(8, 3, 1.0, rng), RecurrentWorkspace::default());
    let batch = Ragged::new(&OFFSETS).unwrap();
    let together = layer.forward(&x, batch, &mut workspace).unwrap().clone();
    for rows in batch.sequences() {
        let mut alone = Matrix::default();
        alone.copy_rows_from(&x, rows.clone());
        let offsets = [0, rows.len()];
        let y = layer.forward(&alone, Ragged::new(&offsets).unwrap(), &mut workspace).unwrap();
        for (row, together_row) in rows.enumerate() {
            for (got, want) in y.row(row).iter().zip(together.row(together_row)) {
                // Products of other heights may sum in another order: a few ulp of 1.
                assert!((got - want).abs() < 1e-6);
            }
        }
    }
}

#[test]
fn both_directions_fit_under_one_name_and_forget_gates_start_open() {
    let mut names = Vec::new();
    for direction in [Direction::Forward, Direction::Reverse] {
        let layer =
            Recurrent::<LstmCell>::new(2, 3, direction, Init::Xavier, &mut rng(34)).unwrap();
        layer
            .visit(&Name::root(), &mut |name, value| names.push((name.to_string(), value.shape())));
        let bias = layer.weights().bias_ih.as_slice();
        assert_eq!(bias, [0., 0., 0., 1., 1., 1., 0., 0., 0., 0., 0., 0.]);
        assert_eq!(layer.n_parameters(), 12 * (2 + 3 + 1 + 1));
    }
    assert_eq!(names[1], ("weight_hh_l0".into(), [12, 3]));
    assert_eq!(names[4], ("weight_ih_l0_reverse".into(), [12, 2]));
}

#[test]
fn shapes_are_checked() {
    let layer =
        Recurrent::<GruCell>::new(3, 4, Direction::Forward, Init::Xavier, &mut rng(35)).unwrap();
    let (batch, mut workspace) = (Ragged::new(&OFFSETS).unwrap(), RecurrentWorkspace::default());
    let is_shape = |error: NnError| matches!(error, NnError::Shape { .. });
    for x in [Matrix::zeros(8, 2), Matrix::zeros(7, 3)] {
        assert!(is_shape(layer.forward(&x, batch, &mut workspace).unwrap_err()));
    }
    let (dy, mut gradients) = (Matrix::zeros(8, 4), layer.new_gradients());
    // No forward pass came before.
    let result = layer.backward(&dy, None, &mut workspace, &mut gradients);
    assert!(is_shape(result.unwrap_err()));
    layer.forward(&Matrix::zeros(8, 3), batch, &mut workspace).unwrap();
    assert!(layer.backward(&dy, None, &mut workspace, &mut gradients).is_ok());
    let result = layer.backward(&Matrix::zeros(7, 4), None, &mut workspace, &mut gradients);
    assert!(is_shape(result.unwrap_err()));
    // A batch without tokens is a valid one.
    let empty = layer.forward(&Matrix::zeros(0, 3), Ragged::new(&[0, 0]).unwrap(), &mut workspace);
    assert_eq!(empty.unwrap().shape(), [0, 4]);
    layer.backward(&Matrix::zeros(0, 4), None, &mut workspace, &mut gradients).unwrap();
    // Weights of an LSTM are not those of a GRU.
    let lstm = Recurrent::<LstmCell>::from_weights(layer.weights().clone(), Direction::Forward);
    assert!(is_shape(lstm.unwrap_err()));
}
