//! The parameters of the network by name, and their gradients.

use forecart_data::ItemIdx;
use forecart_nn::{
    Gradient, Gradients, LinearGradients, Matrix, MlpGradients, Name, NnError, Parameters,
    RowGradients, Trainable,
};

use super::network::Network;

/// Gradients of the items' vectors.
#[derive(Debug, Clone)]
pub(super) enum ItemGradients {
    /// Of all items: a full softmax touches every one.
    Dense(Matrix),
    /// Of the items in histories, labels and negatives.
    Rows(RowGradients),
}

impl ItemGradients {
    pub(super) fn add_to_row(&mut self, item: ItemIdx, values: &[f32], scale: f32) {
        match self {
            Self::Dense(matrix) => {
                for (sum, value) in matrix.row_mut(item.row()).iter_mut().zip(values) {
                    *sum += scale * value;
                }
            }
            Self::Rows(rows) => rows.add_to_row(item.0, values, scale),
        }
    }
}

/// Gradients of a [`Network`].
#[derive(Debug, Clone)]
pub(super) struct NetworkGradients {
    pub(super) items: ItemGradients,
    pub(super) features: Option<(LinearGradients, RowGradients)>,
    pub(super) layers: MlpGradients,
}

impl Gradients for NetworkGradients {
    fn clear(&mut self) {
        match &mut self.items {
            ItemGradients::Dense(matrix) => matrix.clear(),
            ItemGradients::Rows(rows) => rows.clear(),
        }
        self.features.iter_mut().for_each(Gradients::clear);
        self.layers.clear();
    }

    fn add(&mut self, other: &Self) -> Result<(), NnError> {
        match (&mut self.items, &other.items) {
            (ItemGradients::Dense(sum), ItemGradients::Dense(value)) => sum.add(value)?,
            (ItemGradients::Rows(sum), ItemGradients::Rows(value)) => sum.add(value)?,
            _ => unreachable!("tiles of one fit have one kind of gradients"),
        }
        if let (Some(sum), Some(value)) = (&mut self.features, &other.features) {
            sum.add(value)?;
        }
        self.layers.add(&other.layers)
    }

    fn finish(&mut self) {
        if let ItemGradients::Rows(rows) = &mut self.items {
            rows.finish();
        }
        if let Some((_, sparse)) = &mut self.features {
            sparse.finish();
        }
    }

    fn scale(&mut self, factor: f32) {
        match &mut self.items {
            ItemGradients::Dense(matrix) => matrix.scale(factor),
            ItemGradients::Rows(rows) => rows.scale(factor),
        }
        self.features.iter_mut().for_each(|features| features.scale(factor));
        self.layers.scale(factor);
    }

    fn squared_norm(&self) -> f64 {
        let items = match &self.items {
            ItemGradients::Dense(matrix) => matrix.squared_norm(),
            ItemGradients::Rows(rows) => rows.squared_norm(),
        };
        let features = self.features.as_ref().map_or(0.0, Gradients::squared_norm);
        items + features + self.layers.squared_norm()
    }
}

impl Parameters for Network {
    fn visit(&self, name: &Name<'_>, visit: &mut dyn FnMut(&Name<'_>, &Matrix)) {
        self.items.visit(&name.child("items"), visit);
        if let Some(features) = &self.features {
            features.dense.visit(&name.child("dense"), visit);
            features.sparse.visit(&name.child("sparse"), visit);
        }
        self.layers.visit(name, visit);
    }

    fn visit_mut(
        &mut self,
        name: &Name<'_>,
        visit: &mut dyn FnMut(&Name<'_>, &mut Matrix) -> Result<(), NnError>,
    ) -> Result<(), NnError> {
        self.items.visit_mut(&name.child("items"), visit)?;
        if let Some(features) = &mut self.features {
            features.dense.visit_mut(&name.child("dense"), visit)?;
            features.sparse.visit_mut(&name.child("sparse"), visit)?;
        }
        self.layers.visit_mut(name, visit)
    }
}

impl Trainable for Network {
    type Gradients = NetworkGradients;

    fn new_gradients(&self) -> NetworkGradients {
        self.gradients(true)
    }

    fn visit_with_gradients(
        &mut self,
        gradients: &NetworkGradients,
        name: &Name<'_>,
        visit: &mut dyn FnMut(&Name<'_>, &mut Matrix, Gradient<'_>) -> Result<(), NnError>,
    ) -> Result<(), NnError> {
        self.items.visit_mut(&name.child("items"), &mut |name, table| match &gradients.items {
            ItemGradients::Dense(gradient) => visit(name, table, Gradient::Dense(gradient)),
            ItemGradients::Rows(gradient) => visit(name, table, Gradient::Rows(gradient)),
        })?;
        if let (Some(features), Some((dense, sparse))) = (&mut self.features, &gradients.features) {
            features.dense.visit_with_gradients(dense, &name.child("dense"), visit)?;
            features.sparse.visit_with_gradients(sparse, &name.child("sparse"), visit)?;
        }
        self.layers.visit_with_gradients(&gradients.layers, name, visit)
    }
}
