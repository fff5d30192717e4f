//! The parameters of the network by name, and their gradients.

use forecart_nn::{
    Gradient, Gradients, Matrix, MlpGradients, Name, NnError, Parameters, Trainable,
};

use super::network::Network;
use crate::recommend::attributes::AttributesGradients;
use crate::recommend::item_table::ItemGradients;

/// Gradients of a [`Network`].
#[derive(Debug, Clone)]
pub(super) struct NetworkGradients {
    pub(super) items: ItemGradients,
    pub(super) features: Option<AttributesGradients>,
    pub(super) layers: MlpGradients,
}

impl Gradients for NetworkGradients {
    fn clear(&mut self) {
        self.items.clear();
        self.features.clear();
        self.layers.clear();
    }

    fn add(&mut self, other: &Self) -> Result<(), NnError> {
        self.items.add(&other.items)?;
        self.features.add(&other.features)?;
        self.layers.add(&other.layers)
    }

    fn finish(&mut self) {
        self.items.finish();
        self.features.finish();
    }

    fn scale(&mut self, factor: f32) {
        self.items.scale(factor);
        self.features.scale(factor);
        self.layers.scale(factor);
    }

    fn squared_norm(&self) -> f64 {
        let items = self.items.squared_norm();
        items + self.features.squared_norm() + self.layers.squared_norm()
    }
}

impl Parameters for Network {
    fn visit(&self, name: &Name<'_>, visit: &mut dyn FnMut(&Name<'_>, &Matrix)) {
        self.items.visit(&name.child("items"), visit);
        self.features.visit(name, visit);
        self.layers.visit(name, visit);
    }

    fn visit_mut(
        &mut self,
        name: &Name<'_>,
        visit: &mut dyn FnMut(&Name<'_>, &mut Matrix) -> Result<(), NnError>,
    ) -> Result<(), NnError> {
        self.items.visit_mut(&name.child("items"), visit)?;
        self.features.visit_mut(name, visit)?;
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
        self.features.visit_with_gradients(&gradients.features, name, visit)?;
        self.layers.visit_with_gradients(&gradients.layers, name, visit)
    }
}
