//! The first example of many textbooks: how much does a user like each of three products that she viewed?
//!
//! The input is written as one list, `X = [1, 0, 1, 0, 0, 1]`, with the labels `Y = [1, 0, 1]` (bought or not).
//! It holds two tags of three products, tag by tag: tag 1 is `[1, 0, 1]` and tag 2 is `[0, 0, 1]`. Product A
//! is therefore `[1, 0]`, B `[0, 0]` and C `[1, 1]`. (Cut in pairs instead, A and B would be the same
//! vector with opposite labels, and nothing could tell them apart.) What she bought carries tag 1, and the
//! product with both tags was bought: B should interest her least and C most.
//!
//! ```text
//! cargo run --release -p forecart-nn --example three_products
//! ```
#![expect(clippy::print_stdout, reason = "an example shows its result")]

use forecart_nn::{
    Activation, Adam, Gradients, Matrix, Mlp, MlpConfig, MlpWorkspace, NnError, Optimizer, Pass,
    Trainable, loss::bce_with_logits, sigmoid,
};
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};

/// Two tags of three products, tag by tag.
const X: [f32; 6] = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0];
/// Bought or not, product by product.
const Y: [f32; 3] = [1.0, 0.0, 1.0];
const N_STEPS: usize = 100;

fn main() -> Result<(), NnError> {
    let interest = three_products(42)?;
    for (product, interest) in ["A", "B", "C"].iter().zip(interest) {
        println!("interest in {product}: {interest:.3}");
    }
    Ok(())
}

/// Trains a small network on the three products and returns the probability of interest in A, B and C.
pub(crate) fn three_products(seed: u64) -> Result<[f32; 3], NnError> {
    let products = Matrix::from_rows(&[[X[0], X[3]], [X[1], X[4]], [X[2], X[5]]]); // [3, 2]

    let config = MlpConfig {
        n_in: 2,
        hidden: vec![4],
        n_out: 1,
        activation: Activation::Tanh,
        dropout: 0.0,
    };
    let mut mlp = Mlp::new(&config, &mut ChaCha8Rng::seed_from_u64(seed))?;
    let mut optimizer = Optimizer::new(Adam { learning_rate: 0.03, ..Adam::default() })?;

    let mut gradients = mlp.new_gradients();
    let (mut workspace, mut d_logits) = (MlpWorkspace::default(), Matrix::default());
    for _ in 0..N_STEPS {
        let logits = mlp.forward(&products, Pass::Inference, &mut workspace)?; // [3, 1]
        bce_with_logits(logits, &Y, None, Y.len() as f64, &mut d_logits)?; // [3, 1]
        gradients.clear();
        mlp.backward(&products, &d_logits, None, &mut workspace, &mut gradients)?;
        optimizer.step(&mut mlp, &mut gradients)?;
    }

    let logits = mlp.forward(&products, Pass::Inference, &mut workspace)?;
    Ok([0, 1, 2].map(|product| sigmoid(logits.row(product)[0])))
}
