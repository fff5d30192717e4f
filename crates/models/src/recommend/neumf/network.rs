//! Forward and backward of the network.

use forecart_nn::loss::bce_with_logits;
use forecart_nn::{
    Activation, Embedding, Init, Matrix, Mlp, MlpConfig, MlpWorkspace, NnError, Pass,
};
use rand_chacha::ChaCha8Rng;

use super::config::NeuMfConfig;

/// Standard deviation of new vectors, as in the paper's code.
const INIT_STD_DEV: f32 = 0.01;

/// What is learned.
#[derive(Debug, Clone)]
pub(super) struct Network {
    /// Of each user `n_factors` columns that are multiplied, then `mlp_factors` that the perceptron sees.
    pub(super) users: Embedding,
    /// The same of each item.
    pub(super) items: Embedding,
    /// Weights of the products, `[1, n_factors]`: the first part of `h` in equation 12.
    pub(super) product: Matrix,
    /// From both vectors to one column; its last layer is the other part of `h`, and a bias.
    pub(super) tower: Mlp,
}

forecart_nn::trainable!(
    Network,
    /// Gradients of a [`Network`].
    pub(super) struct NetworkGradients {
        users: Embedding,
        items: Embedding,
        product: Matrix,
        tower: Mlp,
    }
);

/// A user, an item, and 1 if the user chose it, else 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Example {
    pub(super) user: u32,
    pub(super) item: u32,
    pub(super) target: f32,
}

/// Buffers of one tile.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    /// `[n, 2 mlp_factors]`.
    x: Matrix,
    dx: Matrix,
    logits: Matrix,
    d_logits: Matrix,
    targets: Vec<f32>,
    tower: MlpWorkspace,
    d_user: Vec<f32>,
    d_item: Vec<f32>,
}

impl Network {
    pub(super) fn new(
        config: &NeuMfConfig,
        n_users: usize,
        n_item_rows: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self, NnError> {
        let (n_cols, n_factors) = (config.n_cols(), config.n_factors.get() as usize);
        let init = Init::TruncatedNormal { std_dev: INIT_STD_DEV };
        let users = Embedding::new(n_users, n_cols, init, rng)?;
        let items = Embedding::new(n_item_rows, n_cols, init, rng)?;
        let product = Init::Xavier.matrix(1, n_factors, rng)?;
        Ok(Self { users, items, product, tower: Mlp::new(&layers(config), rng)? })
    }

    /// Binary cross-entropy of `examples`, a part of a batch of `n_batch`; adds to `gradients`.
    pub(super) fn learn(
        &self,
        examples: &[Example],
        n_batch: usize,
        pass: Pass,
        ws: &mut Workspace,
        gradients: &mut NetworkGradients,
    ) -> Result<f64, NnError> {
        let (users, items) = (self.users.table(), self.items.table());
        let n_factors = self.product.cols();
        let n_mlp = users.cols() - n_factors;
        ws.x.reshape(examples.len(), 2 * n_mlp);
        for (row, Example { user, item, .. }) in examples.iter().enumerate() {
            let (of_user, of_item) = ws.x.row_mut(row).split_at_mut(n_mlp);
            of_user.copy_from_slice(&users.row(*user as usize)[n_factors..]);
            of_item.copy_from_slice(&items.row(*item as usize)[n_factors..]);
        }
        let deep = self.tower.forward(&ws.x, pass, &mut ws.tower)?; // [n, 1]
        ws.logits.copy_from(deep);
        ws.targets.clear();
        for (logit, example) in ws.logits.as_mut_slice().iter_mut().zip(examples) {
            let Example { user, item, target } = *example;
            let pairs = users.row(user as usize).iter().zip(items.row(item as usize));
            *logit += pairs.zip(self.product.as_slice()).map(|((p, q), h)| p * q * h).sum::<f32>();
            ws.targets.push(target);
        }
        let (logits, d_logits) = (&ws.logits, &mut ws.d_logits);
        let loss = bce_with_logits(logits, &ws.targets, None, n_batch as f64, d_logits)?;
        let d_tower = &mut gradients.tower;
        self.tower.backward(&ws.x, d_logits, Some(&mut ws.dx), &mut ws.tower, d_tower)?;
        ws.d_item.resize(users.cols(), 0.0);
        let (mut d_user, d_item) = (std::mem::take(&mut ws.d_user), &mut ws.d_item);
        d_user.clear();
        d_user.resize(users.cols(), 0.0);
        for (row, Example { user, item, .. }) in examples.iter().enumerate() {
            let d_logit = ws.d_logits.as_slice()[row];
            let (p, q) = (users.row(*user as usize), items.row(*item as usize));
            let (h, d_h) = (self.product.as_slice(), gradients.product.as_mut_slice());
            for at in 0..n_factors {
                d_h[at] += d_logit * p[at] * q[at];
                d_user[at] += d_logit * h[at] * q[at];
                d_item[at] = d_logit * h[at] * p[at];
            }
            let (dx_user, dx_item) = ws.dx.row(row).split_at(n_mlp);
            d_user[n_factors..].iter_mut().zip(dx_user).for_each(|(sum, value)| *sum += value);
            d_item[n_factors..].copy_from_slice(dx_item);
            gradients.items.add_to_row(*item, d_item, 1.0);
            // The examples of one pair stand together: one row of the table for all of them.
            if examples.get(row + 1).is_none_or(|next| next.user != *user) {
                gradients.users.add_to_row(*user, &d_user, 1.0);
                d_user.fill(0.0);
            }
        }
        ws.d_user = d_user;
        Ok(loss)
    }
}

/// The perceptron's sizes.
pub(super) fn layers(config: &NeuMfConfig) -> MlpConfig {
    MlpConfig {
        n_in: 2 * config.mlp_factors.get() as usize,
        hidden: config.hidden.iter().map(|size| size.get() as usize).collect(),
        n_out: 1,
        activation: Activation::from(config.activation),
        dropout: config.dropout as f32,
    }
}
