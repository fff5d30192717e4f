//! The item side of the network, made ready for any user.

use forecart_nn::{
    Activation, Gradients, Linear, Matrix, Mlp, MlpGradients, MlpWorkspace, NnError, Pass,
    Trainable, dot,
};

use super::config::NeuMfConfig;
use super::network::Network;

/// Items that are scored at a time, so that their activations stay in the cache.
const BLOCK_ITEMS: usize = 256;

/// What scoring needs of items and network.
///
/// The first layer of the perceptron is the sum of a user's and an item's part, so the items' part is computed once.
#[derive(Debug, Clone)]
pub(super) struct Scorer {
    n_factors: usize,
    /// `h ⊙ q^G` of each item, `[n_item_rows, n_factors]`.
    products: Matrix,
    /// The items' part of the first layer with its bias, `[n_item_rows, hidden[0]]`.
    first: Matrix,
    /// The users' part, `[hidden[0], mlp_factors]`.
    user_part: Linear,
    /// The layers after the first.
    rest: Mlp,
    activation: Activation,
}

/// Buffers of [`Scorer`].
#[derive(Debug, Default)]
pub(super) struct ScorerWorkspace {
    user: Matrix,
    /// The user's part of the first layer, `[1, hidden[0]]`.
    user_part: Matrix,
    /// The first layer before its activation, `[n, hidden[0]]`, and after it.
    linear: Matrix,
    hidden: Matrix,
    d_hidden: Matrix,
    d_user_part: Matrix,
    rest: MlpWorkspace,
    ignored: Option<MlpGradients>,
    pub(super) logits: Matrix,
    pub(super) d_logits: Matrix,
}

/// Some items, whose rows are copied once where many steps look at them.
#[derive(Debug, Default)]
pub(super) struct SomeItems {
    products: Matrix,
    first: Matrix,
}

impl Scorer {
    pub(super) fn new(config: &NeuMfConfig, network: &Network) -> Result<Self, NnError> {
        let n_factors = config.n_factors.get() as usize;
        let n_mlp = config.mlp_factors.get() as usize;
        let items = network.items.table();
        let (layers, activation) = (network.tower.layers(), Activation::from(config.activation));
        let [of_first, rest @ ..] = layers else {
            return Err(NnError::Length { what: "layers", expected: 2, found: 0 });
        };
        let half = |from: usize, bias: Option<Matrix>| {
            let weight = of_first.weight();
            let rows = (0..weight.rows()).flat_map(|row| &weight.row(row)[from..from + n_mlp]);
            let rows = rows.copied().collect();
            Linear::from_parts(Matrix::from_vec(weight.rows(), n_mlp, rows)?, bias)
        };
        let item_part = half(n_mlp, of_first.bias().cloned())?;
        let mut products = Matrix::zeros(items.rows(), n_factors);
        let mut deep = Matrix::zeros(items.rows(), n_mlp);
        for row in 0..items.rows() {
            let (of_product, of_tower) = items.row(row).split_at(n_factors);
            let pairs = of_product.iter().zip(network.product.as_slice());
            let values = products.row_mut(row).iter_mut().zip(pairs);
            values.for_each(|(value, (q, h))| *value = q * h);
            deep.row_mut(row).copy_from_slice(of_tower);
        }
        let mut first = Matrix::default();
        item_part.forward(&deep, &mut first)?; // [n_item_rows, hidden[0]]
        let rest = Mlp::from_layers(rest.to_vec(), activation, 0.0)?;
        Ok(Self { n_factors, products, first, user_part: half(0, None)?, rest, activation })
    }

    pub(super) fn n_item_rows(&self) -> usize {
        self.first.rows()
    }

    /// Logits of all items for a user's row, `[n_factors + mlp_factors]`.
    pub(super) fn score_all(
        &self,
        user: &[f32],
        scores: &mut [f32],
        ws: &mut ScorerWorkspace,
    ) -> Result<(), NnError> {
        self.set_user(user, ws)?;
        for (block, scores) in scores.chunks_mut(BLOCK_ITEMS).enumerate() {
            let start = block * BLOCK_ITEMS;
            ws.linear.reshape(scores.len(), self.first.cols());
            for place in 0..scores.len() {
                ws.linear.row_mut(place).copy_from_slice(self.first.row(start + place));
            }
            self.finish(ws)?;
            let deep = ws.logits.as_slice();
            for (place, (score, deep)) in scores.iter_mut().zip(deep).enumerate() {
                *score = deep + dot(self.products.row(start + place), &user[..self.n_factors]);
            }
        }
        Ok(())
    }

    fn set_user(&self, user: &[f32], ws: &mut ScorerWorkspace) -> Result<(), NnError> {
        let deep = &user[self.n_factors..];
        ws.user.reshape(1, deep.len());
        ws.user.row_mut(0).copy_from_slice(deep);
        self.user_part.forward(&ws.user, &mut ws.user_part) // [1, hidden[0]]
    }

    /// From the items' part in `ws.linear` to the perceptron's output in `ws.logits: [n, 1]`.
    fn finish(&self, ws: &mut ScorerWorkspace) -> Result<(), NnError> {
        let ScorerWorkspace { linear, user_part, hidden, rest, logits, .. } = ws;
        for row in 0..linear.rows() {
            let sums = linear.row_mut(row).iter_mut().zip(user_part.as_slice());
            sums.for_each(|(sum, value)| *sum += value);
        }
        self.activation.forward(linear, hidden);
        logits.copy_from(self.rest.forward(hidden, Pass::Inference, rest)?);
        Ok(())
    }

    /// Copies the rows of `items`.
    pub(super) fn gather(&self, items: impl ExactSizeIterator<Item = u32>, some: &mut SomeItems) {
        some.products.reshape(items.len(), self.n_factors);
        some.first.reshape(items.len(), self.first.cols());
        for (place, item) in items.enumerate() {
            some.products.row_mut(place).copy_from_slice(self.products.row(item as usize));
            some.first.row_mut(place).copy_from_slice(self.first.row(item as usize));
        }
    }

    /// Writes the logits of `items` for a user's row to `ws.logits: [n, 1]`.
    pub(super) fn forward(
        &self,
        user: &[f32],
        items: &SomeItems,
        ws: &mut ScorerWorkspace,
    ) -> Result<(), NnError> {
        self.set_user(user, ws)?;
        ws.linear.copy_from(&items.first);
        self.finish(ws)?;
        let of_product = &user[..self.n_factors];
        for (place, logit) in ws.logits.as_mut_slice().iter_mut().enumerate() {
            *logit += dot(items.products.row(place), of_product);
        }
        Ok(())
    }

    /// Overwrites `d_user` with the gradient of the user's row, given `ws` as `forward` left it with `d_logits` filled in.
    pub(super) fn backward(
        &self,
        items: &SomeItems,
        ws: &mut ScorerWorkspace,
        d_user: &mut [f32],
    ) -> Result<(), NnError> {
        let ScorerWorkspace {
            linear, hidden, d_hidden, d_user_part, rest, ignored, d_logits, ..
        } = ws;
        let ignored = ignored.get_or_insert_with(|| self.rest.new_gradients());
        ignored.clear();
        self.rest.backward(hidden, d_logits, Some(d_hidden), rest, ignored)?;
        self.activation.backward(linear, d_hidden)?;
        d_user_part.reset(1, d_hidden.cols());
        for row in 0..d_hidden.rows() {
            let sums = d_user_part.as_mut_slice().iter_mut().zip(d_hidden.row(row));
            sums.for_each(|(sum, value)| *sum += value);
        }
        d_user.fill(0.0);
        let (d_product, d_deep) = d_user.split_at_mut(self.n_factors);
        for (place, d_logit) in d_logits.as_slice().iter().enumerate() {
            let sums = d_product.iter_mut().zip(items.products.row(place));
            sums.for_each(|(sum, value)| *sum += d_logit * value);
        }
        let weight = self.user_part.weight();
        for (row, slope) in d_user_part.as_slice().iter().enumerate() {
            let sums = d_deep.iter_mut().zip(weight.row(row));
            sums.for_each(|(sum, value)| *sum += slope * value);
        }
        Ok(())
    }
}
