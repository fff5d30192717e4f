//! The cross network, version 2.

use rand_chacha::ChaCha8Rng;

use crate::{
    Gradient, Gradients, Init, Linear, LinearGradients, Matrix, Name, NnError, Parameters,
    Trainable,
    error::{check_length, check_range, check_shape},
};

/// Sizes of a cross network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrossConfig {
    /// Columns of the input and the output.
    pub n_in: usize,
    /// The highest degree of the interactions, less one.
    pub n_layers: usize,
    /// Of the weights; `None` for full ones. The paper sees little loss down to `n_in / 4`.
    pub rank: Option<usize>,
}

/// Explicit interactions of features: `x_{l+1} = x_0 ⊙ (W_l x_l + b_l) + x_l`, where `W_l` is full or `U_l V_lᵀ`.
///
/// # Shapes
/// `x: [n, n_in]` and `y: [n, n_in]`. `W_l` and `b_l` are `layers.l.weight: [n_in, n_in]` and `layers.l.bias`; of low rank,
/// `V_lᵀ` is `layers.l.v.weight: [rank, n_in]`, `U_l` and `b_l` are `layers.l.u.weight: [n_in, rank]` and `layers.l.u.bias`.
///
/// Backward, with `p_l = W_l x_l + b_l` and `d_l = ∂L/∂x_l`: `∂L/∂p_l = x_0 ⊙ d_{l+1}`, `d_l = d_{l+1} + W_lᵀ ∂L/∂p_l`,
/// and `x_0` gains `Σ_l p_l ⊙ d_{l+1}`.
///
/// Source: Wang et al., "DCN V2", WWW 2021, equations 1 and 2.
#[derive(Debug, Clone)]
pub struct CrossNetwork {
    /// `W_l`, or `V_lᵀ` and then `U_l`.
    linears: Vec<Linear>,
    low_rank: bool,
}

/// Buffers of one forward and backward pass, reused between steps. One for each tile that runs at a time.
#[derive(Debug, Clone, Default)]
pub struct CrossWorkspace {
    /// The output of each linear layer.
    products: Vec<Matrix>,
    /// `x_1` to the output.
    levels: Vec<Matrix>,
    d_level: Matrix,
    d_product: Matrix,
    d_low: Matrix,
    d_input: Matrix,
}

/// Gradients of a [`CrossNetwork`].
#[derive(Debug, Clone)]
pub struct CrossGradients {
    /// Of each layer those of `W_l`, or those of `V_lᵀ` and then of `U_l`.
    pub linears: Vec<LinearGradients>,
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
            layers.push((v, u));
        }
        Self::from_layers(layers)
    }

    /// A network from given layers `(Vᵀ, U)`, or `(None, W)` for full weights.
    ///
    /// # Errors
    /// [`NnError::Length`] if there is none or only some are of low rank, [`NnError::Shape`] if they do not fit each other.
    pub fn from_layers(layers: Vec<(Option<Linear>, Linear)>) -> Result<Self, NnError> {
        let n_low_rank = layers.iter().filter(|(v, _)| v.is_some()).count();
        let Some((_, first)) = layers.first() else {
            return Err(NnError::Length { what: "cross layers", expected: 1, found: 0 });
        };
        let (n_in, low_rank) = (first.n_out(), n_low_rank > 0);
        if low_rank {
            check_length("cross layers of low rank", layers.len(), n_low_rank)?;
        }
        for (v, u) in &layers {
            let rank = v.as_ref().map_or(n_in, Linear::n_out);
            check_shape("cross layer", [n_in, rank], u.weight().shape())?;
            if let Some(v) = v {
                check_shape("cross layer", [rank, n_in], v.weight().shape())?;
            }
        }
        let linears = layers.into_iter().flat_map(|(v, u)| v.into_iter().chain([u])).collect();
        Ok(Self { linears, low_rank })
    }

    /// Columns of the input and the output.
    pub fn n_in(&self) -> usize {
        self.linears[0].n_in()
    }

    /// Linear layers in a cross layer.
    fn depth(&self) -> usize {
        if self.low_rank { 2 } else { 1 }
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
        let CrossWorkspace { products, levels, .. } = workspace;
        let n_layers = self.linears.len() / self.depth();
        products.resize_with(self.linears.len(), Matrix::default);
        levels.resize_with(n_layers, Matrix::default);
        let layers = self.linears.chunks_exact(self.depth());
        for (layer_idx, (layer, products)) in
            layers.zip(products.chunks_exact_mut(self.depth())).enumerate()
        {
            let (before, rest) = levels.split_at_mut(layer_idx);
            let (level, next) = (before.last().unwrap_or(x), &mut rest[0]);
            let product = match (layer, products) {
                ([v, u], [low, product]) => {
                    v.forward(level, low)?; // [n, rank]
                    u.forward(low, product)?;
                    product
                }
                (layer, products) => {
                    layer[0].forward(level, &mut products[0])?;
                    &mut products[0]
                }
            }; // [n, n_in]
            next.copy_from(level);
            for ((next, x), product) in
                next.as_mut_slice().iter_mut().zip(x.as_slice()).zip(product.as_slice())
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
        let CrossWorkspace { products, levels, d_level, d_product, d_low, d_input } = workspace;
        let depth = self.depth();
        check_shape("cross network input", [x.rows(), self.n_in()], x.shape())?;
        check_shape("gradient of cross network", x.shape(), dy.shape())?;
        check_length("products in a workspace", self.linears.len(), products.len())?;
        check_length("levels in a workspace", self.linears.len() / depth, levels.len())?;
        check_shape("output in a workspace", x.shape(), levels[levels.len() - 1].shape())?;
        check_length("gradients of a cross network", self.linears.len(), gradients.linears.len())?;
        dx.reset(x.rows(), x.cols());
        d_level.copy_from(dy);
        d_product.reshape(x.rows(), x.cols());
        for layer_idx in (0..levels.len()).rev() {
            let range = layer_idx * depth..(layer_idx + 1) * depth;
            let (layer, products) = (&self.linears[range.clone()], &products[range.clone()]);
            let gradients = &mut gradients.linears[range];
            let level = if layer_idx == 0 { x } else { &levels[layer_idx - 1] };
            let product = products[depth - 1].as_slice();
            for (position, d) in d_level.as_slice().iter().enumerate() {
                d_product.as_mut_slice()[position] = d * x.as_slice()[position];
                dx.as_mut_slice()[position] += d * product[position];
            }
            match (layer, gradients) {
                ([v, u], [d_v, d_u]) => {
                    u.backward(&products[0], d_product, Some(&mut *d_low), d_u)?; // [n, rank]
                    v.backward(level, d_low, Some(&mut *d_input), d_v)?;
                }
                (layer, gradients) => {
                    layer[0].backward(level, d_product, Some(&mut *d_input), &mut gradients[0])?;
                }
            } // [n, n_in]
            d_level.add(d_input)?;
        }
        dx.add(d_level)
    }

    /// Calls `visit` with the name of a linear layer.
    fn with_name<R>(
        low_rank: bool,
        name: &Name<'_>,
        position: usize,
        visit: impl FnOnce(&Name<'_>) -> R,
    ) -> R {
        if low_rank {
            visit(&name.index(position / 2).child(["v", "u"][position % 2]))
        } else {
            visit(&name.index(position))
        }
    }
}

impl Parameters for CrossNetwork {
    fn visit(&self, name: &Name<'_>, visit: &mut dyn FnMut(&Name<'_>, &Matrix)) {
        let name = name.child("layers");
        for (position, linear) in self.linears.iter().enumerate() {
            Self::with_name(self.low_rank, &name, position, |name| linear.visit(name, visit));
        }
    }

    fn visit_mut(
        &mut self,
        name: &Name<'_>,
        visit: &mut dyn FnMut(&Name<'_>, &mut Matrix) -> Result<(), NnError>,
    ) -> Result<(), NnError> {
        let name = name.child("layers");
        for (position, linear) in self.linears.iter_mut().enumerate() {
            Self::with_name(self.low_rank, &name, position, |name| linear.visit_mut(name, visit))?;
        }
        Ok(())
    }
}

impl Trainable for CrossNetwork {
    type Gradients = CrossGradients;

    fn new_gradients(&self) -> CrossGradients {
        CrossGradients { linears: self.linears.iter().map(Trainable::new_gradients).collect() }
    }

    fn visit_with_gradients(
        &mut self,
        gradients: &CrossGradients,
        name: &Name<'_>,
        visit: &mut dyn FnMut(&Name<'_>, &mut Matrix, Gradient<'_>) -> Result<(), NnError>,
    ) -> Result<(), NnError> {
        check_length("gradients of a cross network", self.linears.len(), gradients.linears.len())?;
        let name = name.child("layers");
        for (position, (linear, gradients)) in
            self.linears.iter_mut().zip(&gradients.linears).enumerate()
        {
            Self::with_name(self.low_rank, &name, position, |name| {
                linear.visit_with_gradients(gradients, name, visit)
            })?;
        }
        Ok(())
    }
}

impl Gradients for CrossGradients {
    fn clear(&mut self) {
        self.linears.iter_mut().for_each(Gradients::clear);
    }

    fn add(&mut self, other: &Self) -> Result<(), NnError> {
        check_length("gradients of a cross network", self.linears.len(), other.linears.len())?;
        self.linears.iter_mut().zip(&other.linears).try_for_each(|(sum, other)| sum.add(other))
    }

    fn scale(&mut self, factor: f32) {
        self.linears.iter_mut().for_each(|linear| linear.scale(factor));
    }

    fn squared_norm(&self) -> f64 {
        self.linears.iter().map(Gradients::squared_norm).sum()
    }
}
