//! Layers made of layers: their parameters and gradients are those of their parts.

use crate::{Gradient, Gradients, Matrix, Name, NnError, Parameters, Trainable};

/// Implements [`Parameters`] and [`Trainable`] for a struct of layers or matrices, and makes the struct of their gradients.
///
/// The fields named are visited in this order under their own names; others, such as hyperparameters, are left out. A
/// method named by `then method` after the struct is called whenever the parameters may have changed.
///
/// ```
/// use forecart_nn::{Linear, LayerNorm, Parameters};
///
/// struct Normed {
///     norm: LayerNorm,
///     linear: Option<Linear>,
/// }
/// forecart_nn::trainable!(Normed, struct NormedGradients { norm: LayerNorm, linear: Option<Linear> });
///
/// let layer = Normed { norm: LayerNorm::new(4), linear: None };
/// assert_eq!(layer.n_parameters(), 8);
/// ```
#[macro_export]
macro_rules! trainable {
    ($layer:ty, $(#[$meta:meta])* $vis:vis struct $gradients:ident { $($field:ident: $part:ty),+ $(,)? } $(then $changed:ident)?) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        $vis struct $gradients {
            $(
                #[doc = concat!("Of `", stringify!($field), "`.")]
                $vis $field: <$part as $crate::Trainable>::Gradients,
            )+
        }

        impl $crate::Parameters for $layer {
            fn visit(
                &self,
                name: &$crate::Name<'_>,
                visit: &mut dyn FnMut(&$crate::Name<'_>, &$crate::Matrix),
            ) {
                $($crate::Parameters::visit(&self.$field, &name.child(stringify!($field)), visit);)+
            }

            fn visit_mut(
                &mut self,
                name: &$crate::Name<'_>,
                visit: &mut dyn FnMut(
                    &$crate::Name<'_>,
                    &mut $crate::Matrix,
                ) -> ::std::result::Result<(), $crate::NnError>,
            ) -> ::std::result::Result<(), $crate::NnError> {
                let mut all = || {
                    $($crate::Parameters::visit_mut(
                        &mut self.$field,
                        &name.child(stringify!($field)),
                        visit,
                    )?;)+
                    Ok(())
                };
                let visited = all();
                $(self.$changed();)?
                visited
            }
        }

        impl $crate::Trainable for $layer {
            type Gradients = $gradients;

            fn new_gradients(&self) -> $gradients {
                $gradients { $($field: $crate::Trainable::new_gradients(&self.$field)),+ }
            }

            fn visit_with_gradients(
                &mut self,
                gradients: &$gradients,
                name: &$crate::Name<'_>,
                visit: &mut dyn FnMut(
                    &$crate::Name<'_>,
                    &mut $crate::Matrix,
                    $crate::Gradient<'_>,
                ) -> ::std::result::Result<(), $crate::NnError>,
            ) -> ::std::result::Result<(), $crate::NnError> {
                let mut all = || {
                    $($crate::Trainable::visit_with_gradients(
                        &mut self.$field,
                        &gradients.$field,
                        &name.child(stringify!($field)),
                        visit,
                    )?;)+
                    Ok(())
                };
                let visited = all();
                $(self.$changed();)?
                visited
            }
        }

        impl $crate::Gradients for $gradients {
            fn clear(&mut self) {
                $($crate::Gradients::clear(&mut self.$field);)+
            }

            fn add(&mut self, other: &Self) -> ::std::result::Result<(), $crate::NnError> {
                $($crate::Gradients::add(&mut self.$field, &other.$field)?;)+
                Ok(())
            }

            fn finish(&mut self) {
                $($crate::Gradients::finish(&mut self.$field);)+
            }

            fn scale(&mut self, factor: f32) {
                $($crate::Gradients::scale(&mut self.$field, factor);)+
            }

            fn squared_norm(&self) -> f64 {
                0.0 $(+ $crate::Gradients::squared_norm(&self.$field))+
            }
        }
    };
}

/// A list of layers: `0`, `1`, ...
impl<L: Parameters> Parameters for Vec<L> {
    fn visit(&self, name: &Name<'_>, visit: &mut dyn FnMut(&Name<'_>, &Matrix)) {
        for (index, layer) in self.iter().enumerate() {
            layer.visit(&name.index(index), visit);
        }
    }

    fn visit_mut(
        &mut self,
        name: &Name<'_>,
        visit: &mut dyn FnMut(&Name<'_>, &mut Matrix) -> Result<(), NnError>,
    ) -> Result<(), NnError> {
        let mut layers = self.iter_mut().enumerate();
        layers.try_for_each(|(index, layer)| layer.visit_mut(&name.index(index), visit))
    }
}

impl<L: Trainable> Trainable for Vec<L> {
    type Gradients = Vec<L::Gradients>;

    fn new_gradients(&self) -> Self::Gradients {
        self.iter().map(Trainable::new_gradients).collect()
    }

    fn visit_with_gradients(
        &mut self,
        gradients: &Self::Gradients,
        name: &Name<'_>,
        visit: &mut dyn FnMut(&Name<'_>, &mut Matrix, Gradient<'_>) -> Result<(), NnError>,
    ) -> Result<(), NnError> {
        crate::error::check_length("gradients of a list of layers", self.len(), gradients.len())?;
        for (index, (layer, gradients)) in self.iter_mut().zip(gradients).enumerate() {
            layer.visit_with_gradients(gradients, &name.index(index), visit)?;
        }
        Ok(())
    }
}

impl<G: Gradients> Gradients for Vec<G> {
    fn clear(&mut self) {
        self.iter_mut().for_each(Gradients::clear);
    }

    fn add(&mut self, other: &Self) -> Result<(), NnError> {
        crate::error::check_length("gradients of a list of layers", self.len(), other.len())?;
        self.iter_mut().zip(other).try_for_each(|(sum, value)| sum.add(value))
    }

    fn finish(&mut self) {
        self.iter_mut().for_each(Gradients::finish);
    }

    fn scale(&mut self, factor: f32) {
        self.iter_mut().for_each(|gradients| gradients.scale(factor));
    }

    fn squared_norm(&self) -> f64 {
        self.iter().map(Gradients::squared_norm).sum()
    }
}

/// A layer that may be absent, under its own name.
impl<L: Parameters> Parameters for Option<L> {
    fn visit(&self, name: &Name<'_>, visit: &mut dyn FnMut(&Name<'_>, &Matrix)) {
        if let Some(layer) = self {
            layer.visit(name, visit);
        }
    }

    fn visit_mut(
        &mut self,
        name: &Name<'_>,
        visit: &mut dyn FnMut(&Name<'_>, &mut Matrix) -> Result<(), NnError>,
    ) -> Result<(), NnError> {
        self.as_mut().map_or(Ok(()), |layer| layer.visit_mut(name, visit))
    }
}

impl<L: Trainable> Trainable for Option<L> {
    type Gradients = Option<L::Gradients>;

    fn new_gradients(&self) -> Self::Gradients {
        self.as_ref().map(Trainable::new_gradients)
    }

    fn visit_with_gradients(
        &mut self,
        gradients: &Self::Gradients,
        name: &Name<'_>,
        visit: &mut dyn FnMut(&Name<'_>, &mut Matrix, Gradient<'_>) -> Result<(), NnError>,
    ) -> Result<(), NnError> {
        match (self, gradients) {
            (Some(layer), Some(gradients)) => layer.visit_with_gradients(gradients, name, visit),
            _ => Ok(()),
        }
    }
}

impl<G: Gradients> Gradients for Option<G> {
    fn clear(&mut self) {
        self.iter_mut().for_each(Gradients::clear);
    }

    fn add(&mut self, other: &Self) -> Result<(), NnError> {
        match (self, other) {
            (Some(sum), Some(value)) => sum.add(value),
            _ => Ok(()),
        }
    }

    fn finish(&mut self) {
        self.iter_mut().for_each(Gradients::finish);
    }

    fn scale(&mut self, factor: f32) {
        self.iter_mut().for_each(|gradients| gradients.scale(factor));
    }

    fn squared_norm(&self) -> f64 {
        self.as_ref().map_or(0.0, Gradients::squared_norm)
    }
}
