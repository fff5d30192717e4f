//! The cross network, version 2.

use rand_chacha::ChaCha8Rng;

use crate::{
    Gradients, Init, Linear, Matrix, NnError,
    error::{check_length, check_range, check_shape},
};

/// Sizes of a cross network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrossConfig {
    /// Columns of the input and the output.
    pub n_in: usize,
    /// The highest degree of the interactions, less one.
    pub n_layers: usize,
    /// Of the weights; `None` for full ones.
    pub rank: Option<usize>,
}

/// Explicit interactions of features: `x_{l+1} = x_0 ⊙ (W_l x_l + b_l) + x_l`, where `W_l` is full or `U_l V_lᵀ`.
///
/// # Shapes
/// `x: [n, n_in]` and `y: [n, n_in]`. `W_l` and `b_l` are `layers.l.u.weight: [n_in, n_in]` and `layers.l.u.bias`; of low rank,
/// `V_lᵀ` is `layers.l.v.weight: [rank, n_in]`, `U_l` and `b_l` are `layers.l.u.weight: [n_in, rank]` and `layers.l.u.bias`.
///
/// Backward, with `p_l = W_l x_l + b_l` and `d_l = ∂L/∂x_l`: `∂L/∂p_l = x_0 ⊙ d_{l+1}`, `d_l = d_{l+1} + W_lᵀ ∂L/∂p_l`,
/// and `x_0` gains `Σ_l p_l ⊙ d_{l+1}`.
///
/// Source: Wang et al., "DCN V2", WWW 2021, equations 1 and 2.
#[derive(Debug, Clone)]
pub struct CrossNetwork {
    layers: Vec<CrossLayer>,
}

crate::trainable!(
    CrossNetwork,
    /// Gradients of a [`CrossNetwork`].
    pub struct CrossGradients {
        layers: Vec<CrossLayer>,
    }
);

/// The product of one layer: `W`, or `Vᵀ` and then `U`.
#[derive(Debug, Clone)]
pub struct CrossLayer {
    /// `Vᵀ`, from `n_in` columns to the rank, without bias.
    pub v: Option<Linear>,
    /// `U`, or `W` where there is no `V`; with the bias.
    pub u: Linear,
}

crate::trainable!(
    CrossLayer,
    /// Gradients of one layer of a [`CrossNetwork`].
    pub struct CrossLayerGradients {
        v: Option<Linear>,
        u: Linear,
    }
);

/// Buffers of one forward and backward pass, reused between steps. One for each tile that runs at a time.
#[derive(Debug, Clone, Default)]
pub struct CrossWorkspace {
    /// `V_lᵀ x_l`, empty for full weights.
    low: Vec<Matrix>,
    /// `p_l`.
    products: Vec<Matrix>,
    /// `x_1` to the output.
    levels: Vec<Matrix>,
    d_level: Matrix,
    d_product: Matrix,
    d_low: Matrix,
    d_input: Matrix,
}

impl CrossNetwork {
    /// A network with weights by [`Init::Xavier`] and zero bias.
    ///
    /// # Errors
    /// [`NnError::OutOfRange`] if a size is zero.
    pub fn new(config: &CrossConfig, rng: &mut ChaCha8Rng) -> Result<Self, NnError> {
        let &CrossConfig { n_in, n_layers, rank } = config;
        check_range("n_in", n_in as f64, n_in > 0, "positive")?;
        check_range("n_layers", n_layers as f64, n_layers > 0, "positive")?;
        let mut layers = Vec::with_capacity(n_layers);
        for _ in 0..n_layers {
            let v = rank.map(|rank| {
                check_range("rank", rank as f64, rank > 0, "positive")?;
                Linear::from_parts(Init::Xavier.matrix(rank, n_in, rng)?, None)
            });
            let v = v.transpose()?;
            let u = Linear::new(rank.unwrap_or(n_in), n_in, Init::Xavier, rng)?;
            layers.push(CrossLayer { v, u });
        }
        Self::from_layers(layers)
    }

    /// A network from given layers.
    ///
    /// # Errors
    /// [`NnError::Length`] if there is none or only some are of low rank, [`NnError::Shape`] if they do not fit each other.
    pub fn from_layers(layers: Vec<CrossLayer>) -> Result<Self, NnError> {
        let n_low_rank = layers.iter().filter(|layer| layer.v.is_some()).count();
        let Some(first) = layers.first() else {
            return Err(NnError::Length { what: "cross layers", expected: 1, found: 0 });
        };
        let n_in = first.u.n_out();
        if n_low_rank > 0 {
            check_length("cross layers of low rank", layers.len(), n_low_rank)?;
        }
        for CrossLayer { v, u } in &layers {
            let rank = v.as_ref().map_or(n_in, Linear::n_out);
            check_shape("cross layer", [n_in, rank], u.weight().shape())?;
            if let Some(v) = v {
                check_shape("cross layer", [rank, n_in], v.weight().shape())?;
            }
        }
        Ok(Self { layers })
    }

    /// Columns of the input and the output.
    pub fn n_in(&self) -> usize {
        self.layers[0].u.n_out()
    }

    /// Returns `y: [n, n_in]`, which stays in `workspace`.
    ///
    /// # Errors
    /// [`NnError::Shape`] if `x` has other than `n_in` columns.
    pub fn forward<'w>(
        &self,
        x: &Matrix,
        workspace: &'w mut CrossWorkspace,
    ) -> Result<&'w Matrix, NnError> {
        check_shape("cross network input", [x.rows(), self.n_in()], x.shape())?;
        let CrossWorkspace { low, products, levels, .. } = workspace;
        let n_layers = self.layers.len();
        for matrices in [&mut *low, products, levels] {
            matrices.resize_with(n_layers, Matrix::default);
        }
        for (index, layer) in self.layers.iter().enumerate() {
            let (before, rest) = levels.split_at_mut(index);
            let (level, next) = (before.last().unwrap_or(x), &mut rest[0]);
            let input = match &layer.v {
                None => level,
                Some(v) => {
                    v.forward(level, &mut low[index])?; // [n, rank]
                    &low[index]
                }
            };
            layer.u.forward(input, &mut products[index])?; // [n, n_in]
            next.copy_from(level);
            let products = products[index].as_slice();
            for ((next, x), product) in
                next.as_mut_slice().iter_mut().zip(x.as_slice()).zip(products)
            {
                *next += x * product;
            }
        }
        Ok(&workspace.levels[n_layers - 1])
    }

    /// Adds to `gradients` and overwrites `dx: [n, n_in]`.
    ///
    /// `x` and `workspace` are those of the forward pass that came before, `dy: [n, n_in]` the gradient of its output.
    ///
    /// # Errors
    /// [`NnError::Shape`] or [`NnError::Length`] if `x`, `dy`, `workspace` or `gradients` do not fit.
    pub fn backward(
        &self,
        x: &Matrix,
        dy: &Matrix,
        dx: &mut Matrix,
        workspace: &mut CrossWorkspace,
        gradients: &mut CrossGradients,
    ) -> Result<(), NnError> {
        let CrossWorkspace { low, products, levels, d_level, d_product, d_low, d_input } =
            workspace;
        let n_layers = self.layers.len();
        check_shape("cross network input", [x.rows(), self.n_in()], x.shape())?;
        check_shape("gradient of cross network", x.shape(), dy.shape())?;
        check_length("levels in a workspace", n_layers, levels.len())?;
        check_shape("output in a workspace", x.shape(), levels[n_layers - 1].shape())?;
        check_length("gradients of a cross network", n_layers, gradients.layers.len())?;
        dx.reset(x.rows(), x.cols());
        d_level.copy_from(dy);
        d_product.reshape(x.rows(), x.cols());
        let layers = self.layers.iter().zip(&mut gradients.layers).enumerate();
        for (index, (layer, gradients)) in layers.rev() {
            let level = if index == 0 { x } else { &levels[index - 1] };
            let product = products[index].as_slice();
            for (position, d) in d_level.as_slice().iter().enumerate() {
                d_product.as_mut_slice()[position] = d * x.as_slice()[position];
                dx.as_mut_slice()[position] += d * product[position];
            }
            match (&layer.v, &mut gradients.v) {
                (Some(v), Some(d_v)) => {
                    let d_u = &mut gradients.u;
                    layer.u.backward(&low[index], d_product, Some(&mut *d_low), d_u)?; // [n, rank]
                    v.backward(level, d_low, Some(&mut *d_input), d_v)?;
                }
                _ => layer.u.backward(level, d_product, Some(&mut *d_input), &mut gradients.u)?,
            } // [n, n_in]
            d_level.add(d_input)?;
        }
        dx.add(d_level)
    }
}
