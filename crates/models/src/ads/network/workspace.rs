//! What a pass through the network leaves behind: activations, and gradients of what every sample touches.

use forecart_nn::{
    CrossWorkspace, Gradients, Matrix, MlpWorkspace, NnError, TargetAttentionWorkspace, Trainable,
};

use super::{FieldNetwork, FieldNetworkGradients};

/// Gradients of what every sample touches.
#[derive(Debug, Clone)]
pub(in crate::ads) struct DenseGradients {
    pub(super) dense_linear: Option<forecart_nn::LinearGradients>,
    pub(super) mlp: Option<forecart_nn::MlpGradients>,
    pub(super) cross: Option<forecart_nn::CrossGradients>,
    pub(super) cross_head: Option<forecart_nn::LinearGradients>,
    pub(super) attentions: Vec<forecart_nn::TargetAttentionGradients>,
    pub(super) conversion: Option<forecart_nn::MlpGradients>,
}

impl DenseGradients {
    pub(in crate::ads) fn of(network: &FieldNetwork) -> Self {
        Self {
            dense_linear: network.dense_linear.new_gradients(),
            mlp: network.mlp.new_gradients(),
            cross: network.cross.new_gradients(),
            cross_head: network.cross_head.new_gradients(),
            attentions: network.attentions.new_gradients(),
            conversion: network.conversion.new_gradients(),
        }
    }

    pub(in crate::ads) fn clear(&mut self) {
        self.dense_linear.clear();
        self.mlp.clear();
        self.cross.clear();
        self.cross_head.clear();
        Gradients::clear(&mut self.attentions); // a list's own `clear` would leave none
        self.conversion.clear();
    }

    pub(in crate::ads) fn add(&mut self, other: &Self) -> Result<(), NnError> {
        self.dense_linear.add(&other.dense_linear)?;
        self.mlp.add(&other.mlp)?;
        self.cross.add(&other.cross)?;
        self.cross_head.add(&other.cross_head)?;
        self.attentions.add(&other.attentions)?;
        self.conversion.add(&other.conversion)
    }

    /// Changes places with the same parts of `total`.
    pub(in crate::ads) fn swap(&mut self, total: &mut FieldNetworkGradients) {
        std::mem::swap(&mut total.dense_linear, &mut self.dense_linear);
        std::mem::swap(&mut total.mlp, &mut self.mlp);
        std::mem::swap(&mut total.cross, &mut self.cross);
        std::mem::swap(&mut total.cross_head, &mut self.cross_head);
        std::mem::swap(&mut total.attentions, &mut self.attentions);
        std::mem::swap(&mut total.conversion, &mut self.conversion);
    }
}

/// Activations and gradients of one tile.
#[derive(Debug, Default)]
pub(in crate::ads) struct Workspace {
    /// Embeddings of the fields, what is seen of the histories, dense numbers: `[n, n_in]`.
    pub(super) x: Matrix,
    /// `[n, n_fields * n_cols]`.
    pub(in crate::ads) fields: Matrix,
    /// `[n, n_dense]`.
    pub(in crate::ads) dense: Matrix,
    /// `[n n_fields, 1]`.
    pub(in crate::ads) weights: Matrix,
    /// One for each history.
    pub(in crate::ads) histories: Vec<HistoryWorkspace>,
    pub(super) offsets: Vec<usize>,
    pub(super) sums: Matrix,
    pub(in crate::ads) logits: Matrix,
    /// `[n, 1]`, of networks that have the second perceptron.
    pub(in crate::ads) conversions: Matrix,
    pub(super) interactions: Matrix,
    pub(super) crossed: Matrix,
    pub(in crate::ads) d_logits: Matrix,
    pub(in crate::ads) d_conversions: Matrix,
    /// `[n, n_in]`, where there is anything that `x` enters.
    pub(in crate::ads) d_x: Matrix,
    pub(super) d_crossed: Matrix,
    pub(super) d_x_of_part: Matrix,
    pub(in crate::ads) d_fields: Matrix,
    pub(in crate::ads) d_weights: Matrix,
    pub(super) mlp: MlpWorkspace,
    pub(super) cross: CrossWorkspace,
    pub(super) conversion: MlpWorkspace,
}

/// One history of the samples of a tile.
#[derive(Debug, Default)]
pub(in crate::ads) struct HistoryWorkspace {
    /// Where the rows of each sample begin, `[n + 1]`.
    pub(in crate::ads) offsets: Vec<usize>,
    pub(super) rows: Vec<u32>,
    /// `[n_tokens, n_dims]`.
    pub(in crate::ads) tokens: Matrix,
    /// `[n, n_dims]`.
    pub(super) targets: Matrix,
    pub(super) attention: TargetAttentionWorkspace,
    pub(super) d_seen: Matrix,
    pub(in crate::ads) d_tokens: Matrix,
    pub(super) d_targets: Matrix,
}
