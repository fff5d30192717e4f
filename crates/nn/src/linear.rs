//! The affine layer.

use rand_chacha::ChaCha8Rng;

use crate::{
    Gradient, Gradients, Init, Matrix, Name, NnError, Parameters, Precision, Trainable,
    error::{check_length, check_shape},
    kernels::{Bf16Panels, Operand, Plus, Product, Target, sum_rows},
};

/// `y = x Wᵀ + b`.
///
/// # Shapes
/// `x: [n, n_in]`, `weight: [n_out, n_in]` (as PyTorch stores it), `bias: [1, n_out]`, `y: [n, n_out]`.
///
/// Backward, with `dy = ∂L/∂y`: `dx = dy W`, `dW = dyᵀ x`, `db = Σ_rows dy`
/// (Goodfellow, Bengio and Courville, *Deep Learning*, 2016, section 6.5.6).
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Matrix,
    /// `weight` with rows and columns exchanged: kept beside it, since the forward pass of every tile reads it so.
    transposed: Matrix,
    /// In place of `transposed` where products are in bf16.
    rounded: Option<Rounded>,
    bias: Option<Matrix>,
}

/// Rounded copies of the weights: all that the products of a step read of them.
#[derive(Debug, Clone, Default)]
struct Rounded {
    /// Of the weights transposed, `[n_in, n_out]`.
    forward: Bf16Panels,
    /// `[n_out, n_in]`.
    backward: Bf16Panels,
}

/// Gradients of a [`Linear`] layer, in the shapes of its parameters.
#[derive(Debug, Clone)]
pub struct LinearGradients {
    /// `[n_out, n_in]`.
    pub weight: Matrix,
    /// `[1, n_out]`, if the layer has a bias.
    pub bias: Option<Matrix>,
}

impl Linear {
    /// A layer with drawn weights and zero bias.
    ///
    /// # Errors
    /// Those of [`Init::matrix`].
    pub fn new(
        n_in: usize,
        n_out: usize,
        init: Init,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self, NnError> {
        Self::from_parts(init.matrix(n_out, n_in, rng)?, Some(Matrix::zeros(1, n_out)))
    }

    /// A layer from given weights `[n_out, n_in]` and bias `[1, n_out]`.
    ///
    /// # Errors
    /// [`NnError::Shape`] if the bias does not fit the weights.
    pub fn from_parts(weight: Matrix, bias: Option<Matrix>) -> Result<Self, NnError> {
        if let Some(bias) = &bias {
            check_shape("linear bias", [1, weight.rows()], bias.shape())?;
        }
        let transposed = weight.transposed();
        Ok(Self { weight, transposed, rounded: None, bias })
    }

    /// The layer with products in `precision`.
    #[must_use]
    pub fn in_precision(mut self, precision: Precision) -> Self {
        self.rounded = (precision == Precision::Bf16).then(Rounded::default);
        self.transposed = Matrix::default();
        self.refresh();
        self
    }

    fn precision(&self) -> Precision {
        if self.rounded.is_some() { Precision::Bf16 } else { Precision::F32 }
    }

    /// The weights as they lie, `[n_out, n_in]`.
    fn operand(&self) -> Operand<'_> {
        Operand::new(self.weight.as_slice(), self.n_out(), self.n_in())
    }

    /// Brings what is kept beside the weights up to date with them.
    fn refresh(&mut self) {
        match &mut self.rounded {
            Some(Rounded { forward, backward }) => {
                let weight =
                    Operand::new(self.weight.as_slice(), self.weight.rows(), self.weight.cols());
                forward.fill(weight.transposed());
                backward.fill(weight);
            }
            None => self.weight.transpose_into(&mut self.transposed),
        }
    }

    /// Number of input columns.
    pub fn n_in(&self) -> usize {
        self.weight.cols()
    }

    /// Number of output columns.
    pub fn n_out(&self) -> usize {
        self.weight.rows()
    }

    /// The weights, `[n_out, n_in]`.
    pub fn weight(&self) -> &Matrix {
        &self.weight
    }

    /// The bias, `[1, n_out]`.
    pub fn bias(&self) -> Option<&Matrix> {
        self.bias.as_ref()
    }

    /// Writes `y: [n, n_out]`; `y` takes its shape from `x: [n, n_in]`.
    ///
    /// # Errors
    /// [`NnError::Shape`] if `x` has other than `n_in` columns.
    pub fn forward(&self, x: &Matrix, y: &mut Matrix) -> Result<(), NnError> {
        self.write(x, Plus::Nothing, y)
    }

    /// [`Self::forward`] of a branch past which `rest: [n, n_out]` goes: writes `y = rest + x Wᵀ + b`.
    ///
    /// # Errors
    /// [`NnError::Shape`] if `x` or `rest` do not fit.
    pub fn forward_beside(&self, x: &Matrix, rest: &Matrix, y: &mut Matrix) -> Result<(), NnError> {
        check_shape("what goes past a linear layer", [x.rows(), self.n_out()], rest.shape())?;
        self.write(x, Plus::Matrix(rest.as_slice(), self.n_out()), y)
    }

    fn write(&self, x: &Matrix, plus: Plus<'_>, y: &mut Matrix) -> Result<(), NnError> {
        check_shape("linear input", [x.rows(), self.n_in()], x.shape())?;
        y.reshape(x.rows(), self.n_out());
        let input = Operand::new(x.as_slice(), x.rows(), self.n_in());
        let (weight, rounded) = match &self.rounded {
            Some(rounded) => (self.operand().transposed(), Some(&rounded.forward)),
            None => (Operand::new(self.transposed.as_slice(), self.n_in(), self.n_out()), None),
        };
        let bias = self.bias.as_ref().map(Matrix::as_slice);
        let product = Product { bias, plus, ..Product::new(input, weight) };
        product.write_with(rounded, Target::strided(y.as_mut_slice(), self.n_out())); // [n, n_out]
        Ok(())
    }

    /// Adds to `gradients` and, where a `dx` is wanted, overwrites it with `[n, n_in]`.
    ///
    /// `x` is the input of the forward pass, `dy: [n, n_out]` the gradient of its output. A first layer passes
    /// `None` for `dx` and saves a third of the work.
    ///
    /// # Errors
    /// [`NnError::Shape`] if `x`, `dy` or `gradients` do not fit the layer.
    pub fn backward(
        &self,
        x: &Matrix,
        dy: &Matrix,
        dx: Option<&mut Matrix>,
        gradients: &mut LinearGradients,
    ) -> Result<(), NnError> {
        let (n, n_in, n_out) = (x.rows(), self.n_in(), self.n_out());
        check_shape("linear input", [n, n_in], x.shape())?;
        check_shape("gradient of linear output", [n, n_out], dy.shape())?;
        check_shape("gradient of linear weight", [n_out, n_in], gradients.weight.shape())?;
        let d_output = Operand::new(dy.as_slice(), n, n_out);
        let input = Operand::new(x.as_slice(), n, n_in);
        let product = Product::new(d_output.transposed(), input);
        let target = Target::strided(gradients.weight.as_mut_slice(), n_in);
        Product { plus: Plus::Target, ..product }.write_in(self.precision(), target); // [n_out, n_in]
        if self.bias.is_some() {
            gradients.add_to_bias(dy)?;
        }
        if let Some(dx) = dx {
            dx.reshape(n, n_in);
            let rounded = self.rounded.as_ref().map(|rounded| &rounded.backward);
            let target = Target::strided(dx.as_mut_slice(), n_in);
            Product::new(d_output, self.operand()).write_with(rounded, target); // [n, n_in]
        }
        Ok(())
    }
}

impl LinearGradients {
    /// Adds the sum of the rows of `dy: [n, n_out]` to the gradient of the bias.
    pub(crate) fn add_to_bias(&mut self, dy: &Matrix) -> Result<(), NnError> {
        let bias = self.bias.as_mut().map_or(&mut [][..], Matrix::as_mut_slice);
        check_length("gradient of linear bias", dy.cols(), bias.len())?;
        sum_rows(bias, dy.as_slice().chunks_exact(dy.cols().max(1)).map(|row| (1.0, row)));
        Ok(())
    }
}

impl Parameters for Linear {
    fn visit(&self, name: &Name<'_>, visit: &mut dyn FnMut(&Name<'_>, &Matrix)) {
        visit(&name.child("weight"), &self.weight);
        if let Some(bias) = &self.bias {
            visit(&name.child("bias"), bias);
        }
    }

    fn visit_mut(
        &mut self,
        name: &Name<'_>,
        visit: &mut dyn FnMut(&Name<'_>, &mut Matrix) -> Result<(), NnError>,
    ) -> Result<(), NnError> {
        let visited = visit(&name.child("weight"), &mut self.weight);
        self.refresh();
        visited?;
        self.bias.as_mut().map_or(Ok(()), |bias| visit(&name.child("bias"), bias))
    }
}

impl Trainable for Linear {
    type Gradients = LinearGradients;

    fn new_gradients(&self) -> LinearGradients {
        LinearGradients {
            weight: Matrix::zeros(self.n_out(), self.n_in()),
            bias: self.bias.as_ref().map(|_| Matrix::zeros(1, self.n_out())),
        }
    }

    fn visit_with_gradients(
        &mut self,
        gradients: &LinearGradients,
        name: &Name<'_>,
        visit: &mut dyn FnMut(&Name<'_>, &mut Matrix, Gradient<'_>) -> Result<(), NnError>,
    ) -> Result<(), NnError> {
        let gradient = Gradient::Dense(&gradients.weight);
        let visited = visit(&name.child("weight"), &mut self.weight, gradient);
        self.refresh();
        visited?;
        match (&mut self.bias, &gradients.bias) {
            (Some(bias), Some(gradient)) => {
                visit(&name.child("bias"), bias, Gradient::Dense(gradient))
            }
            (None, None) => Ok(()),
            (bias, gradient) => {
                let shape = |bias: Option<&Matrix>| bias.map_or([0, 0], Matrix::shape);
                check_shape("linear bias", shape(bias.as_ref()), shape(gradient.as_ref()))
            }
        }
    }
}

impl Gradients for LinearGradients {
    fn clear(&mut self) {
        self.weight.clear();
        self.bias.iter_mut().for_each(Gradients::clear);
    }

    fn add(&mut self, other: &Self) -> Result<(), NnError> {
        self.weight.add(&other.weight)?;
        match (&mut self.bias, &other.bias) {
            (Some(sum), Some(other)) => sum.add(other),
            _ => Ok(()),
        }
    }

    fn scale(&mut self, factor: f32) {
        self.weight.scale(factor);
        self.bias.iter_mut().for_each(|bias| bias.scale(factor));
    }

    fn squared_norm(&self) -> f64 {
        self.weight.squared_norm() + self.bias.as_ref().map_or(0.0, Gradients::squared_norm)
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::gradient_check;

    fn layer() -> Linear {
        let weight = Matrix::from_rows(&[[1.0, 2.0, 3.0], [0.0, -1.0, 1.0]]);
        Linear::from_parts(weight, Some(Matrix::from_rows(&[[10.0, 20.0]]))).unwrap()
    }

    #[test]
    fn forward_by_hand() {
        let x = Matrix::from_rows(&[[1.0, 1.0, 1.0], [2.0, 0.0, -1.0]]);
        let mut y = Matrix::default();
        layer().forward(&x, &mut y).unwrap();
        assert_eq!(y, Matrix::from_rows(&[[16.0, 20.0], [9.0, 19.0]]));
    }

    #[test]
    fn backward_by_hand_adds_to_gradients_and_overwrites_dx() {
        let layer = layer();
        let x = Matrix::from_rows(&[[1.0, 1.0, 1.0], [2.0, 0.0, -1.0]]);
        let dy = Matrix::from_rows(&[[1.0, 0.0], [1.0, 2.0]]);
        let mut gradients = layer.new_gradients();
        gradients.bias.as_mut().unwrap().fill(100.0);
        let mut dx = Matrix::from_rows(&[[7.0]]);
        layer.backward(&x, &dy, Some(&mut dx), &mut gradients).unwrap();
        assert_eq!(gradients.weight, Matrix::from_rows(&[[3.0, 1.0, 0.0], [4.0, 0.0, -2.0]]));
        assert_eq!(gradients.bias.unwrap(), Matrix::from_rows(&[[102.0, 102.0]]));
        assert_eq!(dx, Matrix::from_rows(&[[1.0, 2.0, 3.0], [1.0, 0.0, 5.0]]));
    }

    #[test]
    fn no_rows_is_a_valid_batch() {
        let mut y = Matrix::default();
        layer().forward(&Matrix::zeros(0, 3), &mut y).unwrap();
        assert_eq!(y.shape(), [0, 2]);
    }

    fn random(rows: usize, cols: usize, rng: &mut ChaCha8Rng) -> Matrix {
        let values = (0..rows * cols).map(|_| rng.random::<f32>() - 0.5).collect();
        Matrix::from_vec(rows, cols, values).unwrap()
    }

    /// Forward and backward, with a gradient of `y - target`; all that they write.
    fn pass(layer: &Linear, x: &Matrix, target: &Matrix) -> (Matrix, Matrix, LinearGradients) {
        let (mut y, mut dx, mut gradients) =
            (Matrix::default(), Matrix::default(), layer.new_gradients());
        layer.forward(x, &mut y).unwrap();
        let mut dy = y.clone();
        dy.as_mut_slice().iter_mut().zip(target.as_slice()).for_each(|(y, t)| *y -= t);
        layer.backward(x, &dy, Some(&mut dx), &mut gradients).unwrap();
        (y, dx, gradients)
    }

    /// Small integers and their sums are exact in bf16.
    #[test]
    fn in_bf16_the_layer_is_the_same_where_numbers_are_exact() {
        let x = Matrix::from_rows(&[[1.0, 1.0, 1.0], [2.0, 0.0, -1.0]]);
        let target = Matrix::from_rows(&[[15.0, 20.0], [8.0, 17.0]]);
        let in_f32 = pass(&layer(), &x, &target);
        let in_bf16 = pass(&layer().in_precision(Precision::Bf16), &x, &target);
        assert_eq!((&in_bf16.0, &in_bf16.1), (&in_f32.0, &in_f32.1));
        assert_eq!(in_bf16.2.weight, in_f32.2.weight);
        assert_eq!(in_bf16.2.bias, in_f32.2.bias);
    }

    #[test]
    fn in_bf16_products_are_near_those_of_f32_and_follow_the_weights() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (weight, x) = (random(70, 33, &mut rng), random(19, 33, &mut rng));
        let bias = random(1, 70, &mut rng);
        let mut old =
            Linear::from_parts(Matrix::zeros(70, 33), None).unwrap().in_precision(Precision::Bf16);
        old.visit_mut(&Name::root(), &mut |_, value| value.copy_from_host(weight.as_slice()))
            .unwrap();
        let layer = Linear::from_parts(weight, Some(bias.clone())).unwrap();
        let target = random(19, 70, &mut rng);
        let in_f32 = pass(&layer, &x, &target);
        let in_bf16 = pass(&layer.clone().in_precision(Precision::Bf16), &x, &target);
        // A term errs by about 2^-7 of itself; terms of y and dx are below 1/4 and 1.5 / 2, those of a weight's gradient below 3 / 2;
        // the errors have either sign, so that their sum grows with the root of their number: 6 is out of reach.
        let near = |got: &Matrix, want: &Matrix, term: f32, n: usize| {
            let bound = term / 128.0 * 6.0 * (n as f32).sqrt();
            let mut differs = false;
            for (got, want) in got.as_slice().iter().zip(want.as_slice()) {
                assert!((got - want).abs() < bound, "{got} {want} {bound}");
                differs |= got != want;
            }
            assert!(differs, "values are rounded");
        };
        near(&in_bf16.0, &in_f32.0, 0.25, 33);
        near(&in_bf16.1, &in_f32.1, 0.75, 70);
        near(&in_bf16.2.weight, &in_f32.2.weight, 1.5, 19);

        let mut y = Matrix::default();
        old.forward(&x, &mut y).unwrap();
        for (row, of_row) in
            y.as_mut_slice().chunks_exact_mut(70).zip(in_bf16.0.as_slice().chunks_exact(70))
        {
            for ((y, bias), want) in row.iter_mut().zip(bias.as_slice()).zip(of_row) {
                assert!((*y + bias - want).abs() < 1e-6, "changed weights are rounded anew");
            }
        }
    }

    /// `L = Σ (y - t)² / 2` is a polynomial of second degree in each value, so that differences over a step as wide as the values
    /// are exact but for rounding: a value moved by 1/2 or 1 changes L by its slope times that, and L errs by about
    /// 2^-8 of each product. Wrong signs or operands are off by the size of the gradient itself.
    #[test]
    fn in_bf16_backward_agrees_with_finite_differences() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let (weight, x) = (random(4, 6, &mut rng), random(5, 6, &mut rng));
        let target = random(5, 4, &mut rng);
        let layer = |weight: &[f32]| {
            let weight = Matrix::from_vec(4, 6, weight.to_vec()).unwrap();
            Linear::from_parts(weight, None).unwrap().in_precision(Precision::Bf16)
        };
        let loss = |layer: &Linear, x: &Matrix| -> f64 {
            let mut y = Matrix::default();
            layer.forward(x, &mut y).unwrap();
            let errors = y.as_slice().iter().zip(target.as_slice());
            errors.map(|(y, t)| f64::from(y - t).powi(2) / 2.0).sum()
        };
        let (_, dx, gradients) = pass(&layer(weight.as_slice()), &x, &target);
        let mut point = weight.to_host();
        let report = gradient_check(&mut point, gradients.weight.as_slice(), 0.5, 0.5, |weight| {
            loss(&layer(weight), &x)
        });
        assert!(report.error < 0.03, "{report:?}");
        let fixed = layer(weight.as_slice());
        let mut point = x.to_host();
        let report = gradient_check(&mut point, dx.as_slice(), 0.5, 0.5, |x| {
            loss(&fixed, &Matrix::from_vec(5, 6, x.to_vec()).unwrap())
        });
        assert!(report.error < 0.03, "{report:?}");
    }

    #[test]
    fn shapes_are_checked() {
        let error = layer().forward(&Matrix::zeros(2, 4), &mut Matrix::default()).unwrap_err();
        let want = NnError::Shape { what: "linear input", expected: [2, 3], found: [2, 4] };
        assert_eq!(error, want);
        let (x, dy) = (Matrix::zeros(2, 3), Matrix::zeros(1, 2));
        let mut gradients = layer().new_gradients();
        assert!(layer().backward(&x, &dy, None, &mut gradients).is_err());
        assert!(Linear::from_parts(Matrix::zeros(2, 3), Some(Matrix::zeros(1, 3))).is_err());
    }
}
