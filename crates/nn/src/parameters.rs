//! Parameters under stable names, and the gradients that belong to them.
//!
//! A layer or model lists its parameters by visiting: a model file walks [`Parameters::visit`] to save and
//! [`Parameters::visit_mut`] to load; an optimizer walks [`Trainable::visit_with_gradients`]. The three
//! list the same parameters in the same order under the same names, which are those of PyTorch where a
//! layer has a counterpart there (`layers.0.weight`).

use std::fmt;

use rayon::prelude::*;

use crate::{Matrix, NnError, RowGradients, error::check_shape};

/// A dotted name such as `tower.layers.0.weight`, built on the stack while visiting, so that a training step
/// allocates no strings; `to_string` gives the owned name.
///
/// ```
/// use forecart_nn::Name;
/// let root = Name::root();
/// let tower = root.child("tower");
/// assert_eq!(tower.index(0).child("weight").to_string(), "tower.0.weight");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Name<'a> {
    parent: Option<&'a Self>,
    part: Part<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Part<'a> {
    Root,
    Text(&'a str),
    Index(usize),
}

impl Name<'_> {
    /// The empty name that a whole model is visited under.
    pub fn root() -> Self {
        Self { parent: None, part: Part::Root }
    }

    /// This name, a dot, and `part`.
    pub fn child<'b>(&'b self, part: &'b str) -> Name<'b> {
        Name { parent: Some(self), part: Part::Text(part) }
    }

    /// This name, a dot, and a number.
    pub fn index(&self, index: usize) -> Name<'_> {
        Name { parent: Some(self), part: Part::Index(index) }
    }
}

impl Name<'_> {
    /// Whether [`fmt::Display`] writes `text`, found out without an allocation.
    pub(crate) fn is(&self, text: &str) -> bool {
        struct Rest<'a>(&'a str);
        impl fmt::Write for Rest<'_> {
            fn write_str(&mut self, part: &str) -> fmt::Result {
                self.0 = self.0.strip_prefix(part).ok_or(fmt::Error)?;
                Ok(())
            }
        }
        let mut rest = Rest(text);
        fmt::write(&mut rest, format_args!("{self}")).is_ok() && rest.0.is_empty()
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
            if !matches!(parent.part, Part::Root) {
                f.write_str(".")?;
            }
        }
        match self.part {
            Part::Root => Ok(()),
            Part::Text(text) => f.write_str(text),
            Part::Index(index) => write!(f, "{index}"),
        }
    }
}

/// Where the values of one parameter are. Whoever saves, loads or compares parameters goes through host memory by these
/// calls; nothing else of this module knows where values are.
pub trait Values {
    /// The gradient of a table of such values of which a batch touched few rows.
    type Rows;

    /// `[rows, cols]`.
    fn shape(&self) -> [usize; 2];

    /// The values in host memory, row-major.
    fn to_host(&self) -> Vec<f32>;

    /// Overwrites the values from host memory, row-major; the shape stays.
    ///
    /// # Errors
    /// [`NnError::Length`] if `values` has other than `rows * cols` values; nothing is changed then.
    fn copy_from_host(&mut self, values: &[f32]) -> Result<(), NnError>;
}

impl Values for Matrix {
    type Rows = RowGradients;

    fn shape(&self) -> [usize; 2] {
        Self::shape(self)
    }

    fn to_host(&self) -> Vec<f32> {
        Self::to_host(self)
    }

    fn copy_from_host(&mut self, values: &[f32]) -> Result<(), NnError> {
        Self::copy_from_host(self, values)
    }
}

/// What can be saved and loaded: anything with named parameters, of values in host memory unless `V` says otherwise.
pub trait Parameters<V: Values = Matrix> {
    /// Calls `visit` for each parameter, in an order that never changes.
    fn visit(&self, name: &Name<'_>, visit: &mut dyn FnMut(&Name<'_>, &V));

    /// The same with mutable access, for loading.
    ///
    /// # Errors
    /// The first error of `visit`; parameters before it keep what they were given.
    fn visit_mut(
        &mut self,
        name: &Name<'_>,
        visit: &mut dyn FnMut(&Name<'_>, &mut V) -> Result<(), NnError>,
    ) -> Result<(), NnError>;

    /// Number of trainable values.
    fn n_parameters(&self) -> usize {
        let mut n_parameters = 0;
        self.visit(&Name::root(), &mut |_, value| {
            let [rows, cols] = value.shape();
            n_parameters += rows * cols;
        });
        n_parameters
    }
}

/// The gradient of one parameter, as the optimizer sees it.
#[derive(Debug)]
pub enum Gradient<'a, V: Values = Matrix> {
    /// One value for each value of the parameter.
    Dense(&'a V),
    /// Only the rows that the batch touched: embedding tables.
    Rows(&'a V::Rows),
}

// By hand: references are copied whether or not what they point at can be.
impl<V: Values> Clone for Gradient<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V: Values> Copy for Gradient<'_, V> {}

/// What an optimizer can update: parameters, and a buffer type for their gradients.
///
/// Gradients live apart from the parameters, so that each tile of a batch has its own
/// ([`crate::DataParallel`]) while all read the same weights.
pub trait Trainable<V: Values = Matrix>: Parameters<V> {
    /// The gradients of all parameters.
    type Gradients: Gradients;

    /// A buffer of zero gradients that fits the parameters.
    fn new_gradients(&self) -> Self::Gradients;

    /// Calls `visit` for each parameter together with its gradient, in the order of [`Parameters::visit`].
    ///
    /// # Errors
    /// The first error of `visit`, or [`NnError::Shape`] for gradients that belong to another model.
    #[expect(clippy::type_complexity, reason = "a parameter and its gradient, as in all the impls")]
    fn visit_with_gradients(
        &mut self,
        gradients: &Self::Gradients,
        name: &Name<'_>,
        visit: &mut dyn FnMut(&Name<'_>, &mut V, Gradient<'_, V>) -> Result<(), NnError>,
    ) -> Result<(), NnError>;
}

/// A buffer that backward passes add to.
pub trait Gradients: Send {
    /// Sets all gradients to zero and keeps the allocations.
    fn clear(&mut self);

    /// Adds another buffer of the same model: the step that the order of a reduction decides about.
    ///
    /// # Errors
    /// [`NnError::Shape`] if `other` belongs to another model.
    fn add(&mut self, other: &Self) -> Result<(), NnError>;

    /// Puts sparse gradients in the order of their rows; called once after the last `add`.
    fn finish(&mut self) {}

    /// Multiplies all gradients, for clipping.
    fn scale(&mut self, factor: f32);

    /// Sum of the squares of all gradients, summed in f64 in a fixed order. Not finite if any gradient is not.
    fn squared_norm(&self) -> f64;
}

/// A parameter by itself, under the name that it is visited with.
impl Parameters for Matrix {
    fn visit(&self, name: &Name<'_>, visit: &mut dyn FnMut(&Name<'_>, &Self)) {
        visit(name, self);
    }

    fn visit_mut(
        &mut self,
        name: &Name<'_>,
        visit: &mut dyn FnMut(&Name<'_>, &mut Self) -> Result<(), NnError>,
    ) -> Result<(), NnError> {
        visit(name, self)
    }
}

impl Trainable for Matrix {
    type Gradients = Self;

    fn new_gradients(&self) -> Self {
        Self::zeros(self.rows(), self.cols())
    }

    fn visit_with_gradients(
        &mut self,
        gradients: &Self,
        name: &Name<'_>,
        visit: &mut dyn FnMut(&Name<'_>, &mut Self, Gradient<'_>) -> Result<(), NnError>,
    ) -> Result<(), NnError> {
        visit(name, self, Gradient::Dense(gradients))
    }
}

impl Gradients for Matrix {
    fn clear(&mut self) {
        self.fill(0.0);
    }

    fn add(&mut self, other: &Self) -> Result<(), NnError> {
        check_shape("gradients to add", self.shape(), other.shape())?;
        crate::kernels::add_scaled(1.0, other.as_slice(), self.as_mut_slice());
        Ok(())
    }

    fn scale(&mut self, factor: f32) {
        self.as_mut_slice().iter_mut().for_each(|value| *value *= factor);
    }

    fn squared_norm(&self) -> f64 {
        sum_of_squares(self.as_slice())
    }
}

/// Sum of squares in f64. Of many values, parts are summed by the threads of the current rayon pool and joined in order.
pub(crate) fn sum_of_squares(values: &[f32]) -> f64 {
    const PART_VALUES: usize = 1 << 15;
    if values.len() <= PART_VALUES {
        return sum_of_squares_of_part(values);
    }
    let parts = values.par_chunks(PART_VALUES).map(sum_of_squares_of_part);
    parts.collect::<Vec<f64>>().iter().sum()
}

/// In eight interleaved sums so that the compiler may use vector registers.
fn sum_of_squares_of_part(values: &[f32]) -> f64 {
    let mut sums = [0.0_f64; 8];
    let (blocks, rest) = values.as_chunks::<8>();
    for block in blocks {
        for (sum, &value) in sums.iter_mut().zip(block) {
            *sum += f64::from(value) * f64::from(value);
        }
    }
    let rest: f64 = rest.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
    sums.iter().sum::<f64>() + rest
}

/// Gradients of a model made of parts: `(A, B)`, nested for more.
impl<A: Gradients, B: Gradients> Gradients for (A, B) {
    fn clear(&mut self) {
        self.0.clear();
        self.1.clear();
    }

    fn add(&mut self, other: &Self) -> Result<(), NnError> {
        self.0.add(&other.0)?;
        self.1.add(&other.1)
    }

    fn finish(&mut self) {
        self.0.finish();
        self.1.finish();
    }

    fn scale(&mut self, factor: f32) {
        self.0.scale(factor);
        self.1.scale(factor);
    }

    fn squared_norm(&self) -> f64 {
        self.0.squared_norm() + self.1.squared_norm()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_join_with_dots() {
        let root = Name::root();
        assert_eq!(root.to_string(), "");
        assert_eq!(root.child("weight").to_string(), "weight");
        assert_eq!(root.child("layers").index(12).child("bias").to_string(), "layers.12.bias");
    }

    #[test]
    fn names_are_compared_as_written() {
        let root = Name::root();
        let layers = root.child("layers");
        let name = layers.index(12);
        assert!(name.is("layers.12") && root.is(""));
        for other in ["layers.1", "layers.123", "layers", "layers.12.bias", "", "layers12"] {
            assert!(!name.is(other), "{other}");
        }
    }

    #[test]
    fn matrices_add_scale_and_measure() {
        let mut sum = Matrix::from_rows(&[[1.0, 2.0]]);
        sum.add(&Matrix::from_rows(&[[2.0, -6.0]])).unwrap();
        assert_eq!(sum.as_slice(), [3.0, -4.0]);
        assert_eq!(sum.squared_norm(), 25.0);
        sum.scale(0.5);
        assert_eq!(sum.as_slice(), [1.5, -2.0]);
        assert!(sum.add(&Matrix::zeros(2, 1)).is_err());
    }

    #[test]
    fn squares_of_many_values_are_all_counted() {
        let values: Vec<f32> = (1..=19).map(|value| value as f32).collect();
        assert_eq!(sum_of_squares(&values), 2470.0);
        assert!(!sum_of_squares(&[1.0, f32::NAN, 2.0]).is_finite());
    }
}
