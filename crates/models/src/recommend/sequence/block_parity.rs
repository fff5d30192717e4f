//! One layer of each model against PyTorch, by `tests/fixtures/make_blocks.py`: outputs, and gradients of the input and of
//! every parameter.

use std::num::NonZeroU32;

use forecart_nn::{Gradient, Matrix, Name, Parameters, Pass, Ragged, Trainable};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::block::{Block, BlockWorkspace, Context, Scratch};
use super::config::{Preset, SequenceConfig};

const D: usize = 4;

struct Case(Value);

impl Case {
    fn of(preset: Preset) -> Self {
        let fixture = include_str!("../../../tests/fixtures/blocks.json");
        let fixture: Value = serde_json::from_str(fixture).unwrap();
        Self(fixture[preset.name()].clone())
    }

    fn integers(&self, key: &str) -> Vec<i64> {
        self.0[key].as_array().unwrap().iter().map(|value| value.as_i64().unwrap()).collect()
    }

    fn floats(&self, key: &str) -> Vec<f32> {
        let list = self.0[key].as_array().unwrap_or_else(|| panic!("the fixture has no {key}"));
        list.iter().map(|value| value.as_f64().unwrap() as f32).collect()
    }

    /// Rounding of f32 through a whole layer and back, relative to the largest value: some fifteen products one after the
    /// other, each of some ulp of 6e-8.
    fn assert_close(&self, key: &str, got: &[f32]) {
        let want = self.floats(key);
        assert_eq!(got.len(), want.len(), "{key}");
        let largest = want.iter().fold(1.0_f32, |max, value| max.max(value.abs()));
        for (position, (got, want)) in got.iter().zip(&want).enumerate() {
            let error = (got - want).abs() / largest;
            assert!(error < 1e-5, "{key}[{position}]: got {got}, want {want}");
        }
    }
}

fn assert_is_pytorch(preset: Preset, d_ff: u32) {
    let case = Case::of(preset);
    let positive = |n: u32| NonZeroU32::new(n).unwrap();
    let config = SequenceConfig {
        d_model: positive(D as u32),
        n_heads: positive(2),
        d_ff,
        max_history: 8,
        ..SequenceConfig::preset(preset)
    };
    let mut block = Block::new(&config, true, &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
    let load = &mut |name: &Name<'_>, value: &mut Matrix| {
        value.copy_from_host(&case.floats(&name.to_string()))
    };
    block.visit_mut(&Name::root(), load).unwrap();

    let offsets: Vec<usize> = case.integers("offsets").iter().map(|&at| at as usize).collect();
    let times_ms = case.integers("times_ms");
    let batch = Ragged::new(&offsets).unwrap();
    let context = Context { batch, times_ms: &times_ms, pass: Pass::Inference };
    let n = batch.n_tokens();
    let x = Matrix::from_vec(n, D, case.floats("x")).unwrap();
    let (mut y, mut workspace) = (Matrix::default(), BlockWorkspace::default());
    block.forward(&x, &mut y, context, &mut workspace).unwrap();
    case.assert_close("y", y.as_slice());

    let mut d = Matrix::from_vec(n, D, case.floats("dy")).unwrap();
    let mut gradients = block.new_gradients();
    let scratch = &mut Scratch::default();
    block.backward(&x, &mut d, context, &mut workspace, scratch, &mut gradients).unwrap();
    block.finish(&mut gradients).unwrap();
    case.assert_close("d_x", d.as_slice());
    let mut n_parameters = 0;
    let compare = &mut |name: &Name<'_>, _: &mut Matrix, gradient: Gradient<'_>| {
        let Gradient::Dense(gradient) = gradient else { panic!("{name} has a dense gradient") };
        case.assert_close(&format!("d_{name}"), gradient.as_slice());
        n_parameters += 1;
        Ok(())
    };
    block.visit_with_gradients(&gradients, &Name::root(), compare).unwrap();
    let n_in_fixture = case.0.as_object().unwrap().keys().filter(|key| key.contains('.')).count();
    assert_eq!(2 * n_parameters, n_in_fixture, "every parameter of the fixture was compared");
}

#[test]
fn the_block_of_sasrec() {
    assert_is_pytorch(Preset::SasRec, D as u32);
}

#[test]
fn the_block_of_bert4rec() {
    assert_is_pytorch(Preset::Bert4Rec, 6);
}

#[test]
fn the_block_of_hstu() {
    assert_is_pytorch(Preset::Hstu, 0);
}

#[test]
fn the_block_of_esasrec() {
    assert_is_pytorch(Preset::ESasRec, 6);
}
