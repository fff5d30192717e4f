//! One head's four projections, multiplied out into two.

use crate::{
    Linear, LinearGradients, Matrix, NnError,
    error::check_shape,
    kernels::{Operand, Plus, Product, Target, matmul},
};

/// The projections of softmax attention with a single head as wide as the input, two products in place of four.
///
/// With `q = x W_qᵀ + b_q` and so on, a score `q_i · k_j` is `(x_i A + a) · x_j` with `A = W_qᵀ W_k` and `a = b_q W_k`,
/// up to terms that are the same for all `j`, which a softmax does not see (`b_k` is in no other: its gradient is 0).
/// The output `(Σ_j w_j v_j) W_oᵀ + b_o` is `Σ_j w_j u_j + b_o` with `u = x B + b`, `B = W_vᵀ W_oᵀ` and `b = b_v W_oᵀ`.
/// So the queries are `x A + a`, the keys are `x` itself, and the values are `u`, which need no projection on their
/// way out. With several heads the products would be as wide as `x` for each of them: nothing would be gained.
///
/// The model is the same, and its parameters are: [`Self::fold`] makes `A`, `a`, `B` and `b` of them once a step,
/// and [`Self::unfold`] makes their gradients of those of `A`, `a`, `B` and `b` by the chain rule.
///
/// # Shapes
/// `x: [n, d]`, `qkv: [n, 3 d]` as [`crate::Attention`] reads it, `A` and `B: [d, d]`.
#[derive(Debug, Clone, Default)]
pub struct FoldedHead {
    query: Projection,
    value: Projection,
    /// `b_o`, `[1, d]`.
    out_bias: Matrix,
}

/// `x W + b`, with `W: [d, d]` and its transpose.
#[derive(Debug, Clone, Default)]
struct Projection {
    weight: Matrix,
    transposed: Matrix,
    bias: Matrix,
}

/// The parts of a layer that makes queries, keys and values: rows of its weights and places of its bias.
struct Parts<'a> {
    weights: [&'a [f32]; 3],
    biases: [&'a [f32]; 3],
}

impl FoldedHead {
    /// Takes the products of the weights of `project: d -> 3 d` and `out: d -> d`.
    ///
    /// # Errors
    /// [`NnError::Shape`] if the layers have other shapes or no bias.
    pub fn fold(&mut self, project: &Linear, out: &Linear) -> Result<(), NnError> {
        let d = out.n_in();
        let Parts { weights: [query, key, value], biases: [query_bias, _, value_bias] } =
            parts(project, out)?;
        let square = |values| Operand::new(values, d, d);
        match out.bias() {
            Some(bias) => self.out_bias.copy_from(bias),
            None => self.out_bias.reset(1, d),
        }
        let out = square(out.weight().as_slice());
        self.query.set(d, square(query).transposed(), square(key), query_bias, square(key));
        self.value.set(
            d,
            square(value).transposed(),
            out.transposed(),
            value_bias,
            out.transposed(),
        );
        Ok(())
    }

    /// Writes queries, keys and values into `qkv`.
    ///
    /// # Errors
    /// [`NnError::Shape`] if `x` has other than `d` columns.
    pub fn forward(&self, x: &Matrix, qkv: &mut Matrix) -> Result<(), NnError> {
        let (n, d) = (x.rows(), self.d());
        check_shape("attention input", [n, d], x.shape())?;
        qkv.reshape(n, 3 * d);
        for (row, x) in qkv.as_mut_slice().chunks_exact_mut(3 * d).zip(x.as_slice().chunks_exact(d))
        {
            row[d..2 * d].copy_from_slice(x);
        }
        let input = Operand::new(x.as_slice(), n, d);
        for (projection, first) in [(&self.query, 0), (&self.value, 2 * d)] {
            let weight = Operand::new(projection.weight.as_slice(), d, d);
            let bias = Some(projection.bias.as_slice());
            let product = Product { bias, ..Product::new(input, weight) };
            product.write(Target::strided(
                qkv.as_mut_slice().get_mut(first..).unwrap_or_default(),
                3 * d,
            )); // [n, d]
        }
        Ok(())
    }

    /// Overwrites `dx: [n, d]` and adds the gradients of `A`, `B`, `a` and `b` to the first and last thirds of
    /// `gradients`, which have the shape of `project`: [`Self::unfold`] turns their sums into gradients of the layers.
    ///
    /// # Errors
    /// [`NnError::Shape`] if `x`, `d_qkv` or `gradients` do not fit.
    pub fn backward(
        &self,
        x: &Matrix,
        d_qkv: &Matrix,
        dx: &mut Matrix,
        gradients: &mut LinearGradients,
    ) -> Result<(), NnError> {
        let (n, d) = (x.rows(), self.d());
        check_shape("attention input", [n, d], x.shape())?;
        check_shape("gradient of queries, keys and values", [n, 3 * d], d_qkv.shape())?;
        check_shape("gradient of projections", [3 * d, d], gradients.weight.shape())?;
        gradients.add_to_bias(d_qkv)?;
        dx.reshape(n, d);
        let third = |part: usize| d_qkv.as_slice().get(part * d..).unwrap_or_default();
        let keys = Plus::Matrix(third(1), 3 * d);
        let input = Operand::new(x.as_slice(), n, d);
        for (projection, part, plus) in [(&self.query, 0, keys), (&self.value, 2, Plus::Target)] {
            let gradient = Operand::strided(third(part), n, d, 3 * d);
            let d_weight = &mut gradients.weight.as_mut_slice()[part * d * d..(part + 1) * d * d];
            matmul(input.transposed(), gradient, d_weight, true); // [d, d]
            let weight = Operand::new(projection.transposed.as_slice(), d, d);
            let product = Product { plus, ..Product::new(gradient, weight) };
            product.write(Target::strided(dx.as_mut_slice(), d)); // [n, d]
        }
        Ok(())
    }

    /// Writes the bias of the output, plus `rest: [n, d]` if there is one, to the `n_rows` of `y`: what attention adds to.
    ///
    /// # Errors
    /// [`NnError::Shape`] if `rest` does not fit.
    pub fn start_out(
        &self,
        rest: Option<&Matrix>,
        n_rows: usize,
        y: &mut Matrix,
    ) -> Result<(), NnError> {
        let d = self.d();
        y.reshape(n_rows, d);
        let bias = self.out_bias.as_slice();
        let rows = y.as_mut_slice().chunks_exact_mut(d.max(1));
        match rest {
            None => rows.for_each(|row| row.copy_from_slice(bias)),
            Some(rest) => {
                check_shape("what goes past attention", [n_rows, d], rest.shape())?;
                for (row, rest) in rows.zip(rest.as_slice().chunks_exact(d.max(1))) {
                    row.iter_mut().zip(rest.iter().zip(bias)).for_each(|(y, (x, b))| *y = x + b);
                }
            }
        }
        Ok(())
    }

    /// Adds the gradient of that bias to `gradients`, which have the shape of `out`.
    ///
    /// # Errors
    /// [`NnError::Shape`] or [`NnError::Length`] if `dy: [n, d]` or `gradients` do not fit.
    pub fn backward_out(
        &self,
        dy: &Matrix,
        gradients: &mut LinearGradients,
    ) -> Result<(), NnError> {
        check_shape("gradient of attention", [dy.rows(), self.d()], dy.shape())?;
        gradients.add_to_bias(dy)
    }

    /// Turns the summed gradients of [`Self::backward`] into those of the layers: `project`, in place, and the weights of
    /// `out`, whose bias is no part of this.
    ///
    /// # Errors
    /// As [`Self::fold`]; [`NnError::Shape`] if gradients do not fit the layers.
    pub fn unfold(
        &self,
        project: &Linear,
        out: &Linear,
        d_project: &mut LinearGradients,
        d_out: &mut LinearGradients,
    ) -> Result<(), NnError> {
        let d = out.n_in();
        let Parts { weights: [query, key, value], biases: [query_bias, _, value_bias] } =
            parts(project, out)?;
        check_shape("gradient of projections", [3 * d, d], d_project.weight.shape())?;
        check_shape("gradient of projection", [d, d], d_out.weight.shape())?;
        let square = |values| Operand::new(values, d, d);
        let out = square(out.weight().as_slice());
        let column = |values| Operand::new(values, d, 1);

        let (d_a, d_b) = {
            let values = d_project.weight.as_slice();
            (values[..d * d].to_vec(), values[2 * d * d..].to_vec())
        };
        let bias = bias_of(d_project, d)?;
        let (d_query_bias, d_value_bias) = (bias[..d].to_vec(), bias[2 * d..].to_vec());
        matmul(square(key), column(&d_query_bias), &mut bias[..d], false);
        bias[d..2 * d].fill(0.0);
        matmul(out.transposed(), column(&d_value_bias), &mut bias[2 * d..], false);

        let weight = d_project.weight.as_mut_slice();
        matmul(square(key), square(&d_a).transposed(), &mut weight[..d * d], false);
        let d_key = &mut weight[d * d..2 * d * d];
        matmul(square(query), square(&d_a), d_key, false);
        matmul(column(query_bias), Operand::new(&d_query_bias, 1, d), d_key, true);
        matmul(out.transposed(), square(&d_b).transposed(), &mut weight[2 * d * d..], false);

        let d_out = d_out.weight.as_mut_slice();
        matmul(square(&d_b).transposed(), square(value).transposed(), d_out, false);
        matmul(column(&d_value_bias), Operand::new(value_bias, 1, d), d_out, true);
        Ok(())
    }

    fn d(&self) -> usize {
        self.query.weight.rows()
    }
}

impl Projection {
    /// `W = left right` and `b = bias of_bias`.
    fn set(
        &mut self,
        d: usize,
        left: Operand<'_>,
        right: Operand<'_>,
        bias: &[f32],
        of_bias: Operand<'_>,
    ) {
        self.weight.reshape(d, d);
        matmul(left, right, self.weight.as_mut_slice(), false);
        self.weight.transpose_into(&mut self.transposed);
        self.bias.reshape(1, d);
        matmul(Operand::new(bias, 1, d), of_bias, self.bias.as_mut_slice(), false);
    }
}

fn parts<'a>(project: &'a Linear, out: &Linear) -> Result<Parts<'a>, NnError> {
    let d = out.n_in();
    check_shape("projection", [d, d], out.weight().shape())?;
    check_shape("projections", [3 * d, d], project.weight().shape())?;
    let bias = project.bias().map_or(&[][..], Matrix::as_slice);
    crate::error::check_length("bias of projections", 3 * d, bias.len())?;
    let weight = project.weight().as_slice();
    let third = |part: usize| &weight[part * d * d..(part + 1) * d * d];
    Ok(Parts {
        weights: [third(0), third(1), third(2)],
        biases: [&bias[..d], &bias[d..2 * d], &bias[2 * d..]],
    })
}

fn bias_of(gradients: &mut LinearGradients, d: usize) -> Result<&mut [f32], NnError> {
    let bias = gradients.bias.as_mut().map_or(&mut [][..], Matrix::as_mut_slice);
    crate::error::check_length("gradient of the bias of projections", 3 * d, bias.len())?;
    Ok(bias)
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::{
        Attention, AttentionOutput, AttentionWorkspace, Dropout, DropoutKey, Pass, Ragged,
        Trainable, Weighting,
    };

    fn assert_close(what: &str, got: &Matrix, want: &Matrix) {
        assert_eq!(got.shape(), want.shape(), "{what}");
        for (got, want) in got.as_slice().iter().zip(want.as_slice()) {
            // Sums of at most 20 products of values below 2, in another order.
            assert!((got - want).abs() < 2e-5, "{what}: {got} {want}");
        }
    }

    /// With dropout, whose weights do not add up to 1.
    #[test]
    fn two_products_give_the_output_and_all_gradients_of_four() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut draw = |rows: usize, cols: usize| {
            let values = (0..rows * cols).map(|_| rng.random::<f32>() - 0.5).collect();
            Matrix::from_vec(rows, cols, values).unwrap()
        };
        let d = 5;
        let project = Linear::from_parts(draw(3 * d, d), Some(draw(1, 3 * d))).unwrap();
        let out = Linear::from_parts(draw(d, d), Some(draw(1, d))).unwrap();
        let batch = Ragged::new(&[0, 4, 4, 11]).unwrap();
        let (x, dy, rest) = (draw(11, d), draw(11, d), draw(11, d));
        let dropout = Dropout::new(0.3).unwrap();
        let attention = Attention::new(1, true, Weighting::Softmax, dropout).unwrap();
        let pass = Pass::Training { key: DropoutKey::new(1, 1), first_row: 3 };
        let gradients = || (project.new_gradients(), out.new_gradients());

        let mut ws = AttentionWorkspace::default();
        let [mut qkv, mut mixed, mut want] = std::array::from_fn(|_| Matrix::default());
        project.forward(&x, &mut qkv).unwrap();
        attention
            .forward(&qkv, d, batch, None, pass, AttentionOutput::Write(&mut mixed), &mut ws)
            .unwrap();
        out.forward(&mixed, &mut want).unwrap();
        let out_alone = want.clone();
        want.set_sum(&out_alone, &rest).unwrap();
        let (mut want_project, mut want_out) = gradients();
        let (mut d_mixed, mut want_dx) = (Matrix::default(), Matrix::default());
        let mut d_qkv = Matrix::zeros(11, 3 * d);
        out.backward(&mixed, &dy, Some(&mut d_mixed), &mut want_out).unwrap();
        attention.backward(&qkv, d, batch, None, pass, &d_mixed, &mut d_qkv, &mut ws).unwrap();
        project.backward(&x, &d_qkv, Some(&mut want_dx), &mut want_project).unwrap();

        let mut folded = FoldedHead::default();
        folded.fold(&project, &out).unwrap();
        let mut y = Matrix::default();
        folded.forward(&x, &mut qkv).unwrap();
        folded.start_out(Some(&rest), 11, &mut y).unwrap();
        attention
            .forward(&qkv, d, batch, None, pass, AttentionOutput::AddTo(&mut y), &mut ws)
            .unwrap();
        assert_close("output", &y, &want);
        let (mut d_project, mut d_out) = gradients();
        let mut dx = Matrix::default();
        folded.backward_out(&dy, &mut d_out).unwrap();
        attention.backward(&qkv, d, batch, None, pass, &dy, &mut d_qkv, &mut ws).unwrap();
        folded.backward(&x, &d_qkv, &mut dx, &mut d_project).unwrap();
        folded.unfold(&project, &out, &mut d_project, &mut d_out).unwrap();
        assert_close("input", &dx, &want_dx);
        assert_close("projections", &d_project.weight, &want_project.weight);
        assert_close("bias", d_project.bias.as_ref().unwrap(), want_project.bias.as_ref().unwrap());
        assert_close("projection", &d_out.weight, &want_out.weight);
        assert_close("bias of it", d_out.bias.as_ref().unwrap(), want_out.bias.as_ref().unwrap());
    }

    #[test]
    fn layers_that_do_not_fit_are_refused() {
        let layer = |n_out, bias: bool| {
            let bias = bias.then(|| Matrix::zeros(1, n_out));
            Linear::from_parts(Matrix::zeros(n_out, 2), bias).unwrap()
        };
        let mut folded = FoldedHead::default();
        assert!(folded.fold(&layer(8, true), &layer(2, true)).is_err());
        assert!(folded.fold(&layer(6, false), &layer(2, true)).is_err());
        assert!(folded.fold(&layer(6, true), &layer(3, true)).is_err());
        folded.fold(&layer(6, true), &layer(2, true)).unwrap();
        assert!(folded.forward(&Matrix::zeros(1, 3), &mut Matrix::default()).is_err());
    }
}
