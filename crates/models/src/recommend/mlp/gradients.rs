//! The parameters of the network by name, and their gradients.

use forecart_nn::{
    Gradient, Gradients, LinearGradients, Matrix, MlpGradients, Name, NnError, Parameters,
    RowGradients, Trainable,
};

use super::network::Network;
use crate::recommend::item_table::ItemGradients;

/// Gradients of a [`Network`].
#[derive(Debug, Clone)]
pub(super) struct NetworkGradients {
    pub(super) items: ItemGradients,
    pub(super) features: Option<(LinearGradients, RowGradients)>,
    pub(super) layers: MlpGradients,
}

impl Gradients for NetworkGradients {
    fn clear(&mut self) {
        self.items.clear();
        self.features.iter_mut().for_each(Gradients::clear);
        self.layers.clear();
    }

    fn add(&mut self, other: &Self) -> Result<(), NnError> {
        self.items.add(&other.items)?;
        if let (Some(sum), Some(value)) = (&mut self.features, &other.features) {
            sum.add(value)?;
        }
        self.layers.add(&other.layers)
    }

    fn finish(&mut self) {
        self.items.finish();
        if let Some((_, sparse)) = &mut self.features {
            sparse.finish();
        }
    }

    fn scale(&mut self, factor: f32) {
        self.items.scale(factor);
        self.features.iter_mut().for_each(|features| features.scale(factor));
        self.layers.scale(factor);
    }

    fn squared_norm(&self) -> f64 {
        let items = self.items.squared_norm();
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
        self.items.visit_mut(&name.child("items"), &mut |name, table| {
            visit(name, table, gradients.items.as_gradient())
        })?;
        if let (Some(features), Some((dense, sparse))) = (&mut self.features, &gradients.features) {
            features.dense.visit_with_gradients(dense, &name.child("dense"), visit)?;
            features.sparse.visit_with_gradients(sparse, &name.child("sparse"), visit)?;
        }
        self.layers.visit_with_gradients(&gradients.layers, name, visit)
    }
}
