//! Sizes of a network over fields, and how many weights they make.

/// Which products of two fields' vectors count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interactions {
    /// Of the one vector that a row has: a factorization machine.
    Machine,
    /// Of the vectors that either row has for the other's field: a field-aware one.
    FieldAware,
}

/// Sizes of a [`FieldNetwork`](super::FieldNetwork), and which parts it has.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FieldNetworkConfig {
    /// Rows of the tables that all fields share; each field has rows of its own.
    pub n_rows: usize,
    /// Fields; each has one row active, or several.
    pub n_fields: usize,
    /// Numbers beside the fields.
    pub n_dense: usize,
    /// Columns of an embedding; 0 for none, which only a linear model can be without. Of a field-aware machine: of each of the
    /// vectors that a row has for the other fields.
    pub n_dims: usize,
    /// Whether each row has a weight, and each number: `w x + Σ_f w[r_f] + b`.
    pub linear: bool,
    /// Whether the products of any two fields count.
    pub interactions: Option<Interactions>,
    /// Layers of the cross network; 0 for none.
    pub n_cross: usize,
    /// Columns of the cross network's low-rank weights; `None` for full ones.
    pub cross_rank: Option<usize>,
    /// Columns of the hidden layers of the perceptron; `None` for no perceptron, an empty list for one of no hidden layer.
    pub hidden: Option<Vec<usize>>,
    /// Share of hidden values that are left out at random while training, in `0.0..1.0`.
    pub dropout: f32,
    /// Histories that are seen as a field sees them: the field of each, in whose rows it is. They enter perceptron and cross network.
    pub histories: Vec<usize>,
    /// Columns of the hidden layers of the unit that weighs a history's rows.
    pub attention_hidden: Vec<usize>,
    /// Whether a second perceptron like the first says how probable a conversion is after a click.
    pub conversion: bool,
}

impl FieldNetworkConfig {
    /// Columns of the table of embeddings.
    pub(super) fn n_cols(&self) -> usize {
        match self.interactions {
            Some(Interactions::FieldAware) => {
                self.n_dims.saturating_mul(self.n_fields.saturating_sub(1))
            }
            _ => self.n_dims,
        }
    }

    /// Columns of what enters perceptrons and cross network.
    pub(super) fn n_in(&self) -> usize {
        let fields = self.n_fields.saturating_mul(self.n_cols());
        let histories = self.histories.len().saturating_mul(self.n_dims);
        fields.saturating_add(histories).saturating_add(self.n_dense)
    }

    /// Number of weights in the tables.
    pub(in crate::ads) fn n_table_values(&self) -> u64 {
        match self.n_fields {
            0 => 0,
            _ => (self.n_rows as u64).saturating_mul(self.n_cols() as u64 + u64::from(self.linear)),
        }
    }

    /// Number of weights of the network.
    pub(in crate::ads) fn n_values(&self) -> u64 {
        let n_in = self.n_in() as u64;
        let linear = if self.linear { self.n_dense as u64 + 1 } else { 0 };
        let perceptron = self.hidden.as_ref().map_or(0, |hidden| perceptron(n_in, hidden));
        let n_perceptrons = 1 + u64::from(self.conversion);
        let unit = perceptron_of_unit(self.n_dims, &self.attention_hidden);
        let units = unit.saturating_mul(self.histories.len() as u64);
        let layer = match self.cross_rank {
            None => n_in.saturating_mul(n_in) + n_in,
            Some(rank) => (2 * rank as u64).saturating_mul(n_in) + n_in,
        };
        let crossed = match self.n_cross {
            0 => 0,
            n => (n as u64).saturating_mul(layer) + n_in + 1,
        };
        self.n_table_values()
            .saturating_add(linear)
            .saturating_add(perceptron.saturating_mul(n_perceptrons))
            .saturating_add(units)
            .saturating_add(crossed)
    }

    /// Values that a sample needs in the passes of a batch, given how many rows its histories have, all together.
    pub(in crate::ads) fn n_values_of_sample(&self, n_tokens: u64) -> u64 {
        let fields = (self.n_fields as u64).saturating_mul(self.n_cols() as u64 + 1);
        let unit = self.attention_hidden.iter().map(|size| *size as u64).sum::<u64>();
        // Of a token: its embedding, the four parts of a pair with their gradients, the unit's layers twice.
        let token = (10 * self.n_dims as u64).saturating_add(unit.saturating_mul(4));
        fields.saturating_add(self.n_dense as u64).saturating_add(n_tokens.saturating_mul(token))
    }
}

fn perceptron(n_in: u64, hidden: &[usize]) -> u64 {
    let hidden = hidden.iter().map(|size| *size as u64);
    let sizes: Vec<u64> = std::iter::once(n_in).chain(hidden).chain([1]).collect();
    let layers = sizes.windows(2).map(|pair| (pair[0] + 1).saturating_mul(pair[1]));
    layers.fold(0, u64::saturating_add)
}

fn perceptron_of_unit(n_dims: usize, hidden: &[usize]) -> u64 {
    perceptron((n_dims as u64).saturating_mul(4), hidden)
}
