//! Why a row gets its probability: what each column of the table adds to the logit.
//!
//! All methods compare a row with the neutral one ([`forecart_data::encode::FeatureProgram::neutral`]): no text, no history, numbers at their mean. What
//! columns add sums to the difference of the two logits (the completeness of Sundararajan et al.), which are those of the model,
//! before calibration. The method is the model's:
//!
//! - `lr` and `ftrl`, sums: each column alone in the place of the neutral one, exact; weight times value;
//! - `gbdt`: Shapley values of the columns, exact;
//! - networks: integrated gradients over embeddings and numbers, in as many steps as completeness needs.

use forecart_data::encode::{EncodedRow, InputColumns, Row, Value};
use forecart_nn::{Matrix, NnError, Pass};
use rayon::prelude::*;

use super::contract::OutcomeModel;
use super::network::{DenseGradients, FieldNetwork, FieldRows, Workspace};
use super::predictor::{OutcomePredictor, Positions, Prediction};
use super::samples::EncodedSamples;
use crate::error::ModelError;

/// What columns add may miss the difference of the logits by this share of it, or of 1 where that is more.
pub const TOLERANCE: f64 = 1e-3;

/// Steps of integrated gradients: twice as many until the sum is within half of [`TOLERANCE`] (the rest is for rounding), the first and
/// the largest number.
const STEPS: [usize; 2] = [32, 1 << 14];

/// Points of a path that pass through the network at a time.
const TILE_STEPS: usize = 256;

/// Rows explained side by side, and the one that they are compared with.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The columns that the model reads.
    pub columns: Vec<String>,
    /// Of the neutral row.
    pub baseline: Prediction,
    /// In the order of the rows.
    pub rows: Vec<Explained>,
}

/// One row.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// What the model says of it.
    pub prediction: Prediction,
    /// What each column adds to the logit, `[n_columns]`.
    pub contributions: Vec<f64>,
    /// Their sum less the difference between the row's logit and the baseline's.
    pub gap: f64,
}

impl Explained {
    /// Whether the sum of the contributions is the difference of the logits, to [`TOLERANCE`].
    pub fn is_complete(&self) -> bool {
        let difference = self.contributions.iter().sum::<f64>() - self.gap;
        self.gap.abs() <= TOLERANCE * difference.abs().max(1.0)
    }
}

impl OutcomePredictor {
    /// The predictions of [`Self::predict`], and what each column adds to each.
    ///
    /// # Errors
    /// As [`Self::predict`].
    pub fn explain<R: Row>(
        &self,
        rows: impl IntoIterator<Item = R>,
        positions: Positions,
    ) -> Result<Explanation, ModelError> {
        if self.encoders().hash_space().is_some() {
            return self.explain_hashed(&rows.into_iter().collect::<Vec<R>>(), positions);
        }
        let inputs = self.encoders().inputs();
        let samples = self.encode(rows, positions);
        let mut neutral = EncodedSamples::new(samples.layout());
        neutral.push(&self.encoders().neutral(), 0.0);
        let baseline = self.predictions(&neutral)?[0];
        let contributions = self.model().attribute(&samples, &neutral, &inputs)?;
        let rows = self.predictions(&samples)?.into_iter().zip(contributions);
        let rows = rows.map(|(prediction, contributions)| {
            let difference = f64::from(prediction.logit) - f64::from(baseline.logit);
            let gap = contributions.iter().sum::<f64>() - difference;
            Explained { prediction, contributions, gap }
        });
        Ok(Explanation { columns: inputs.names, baseline, rows: rows.collect() })
    }

    /// The same of a sum over hashed features, of which a column may have several: each column alone beside a row of none.
    fn explain_hashed<R: Row>(
        &self,
        rows: &[R],
        positions: Positions,
    ) -> Result<Explanation, ModelError> {
        let columns = self.encoders().inputs().names;
        let only = |row, columns| Only { row, columns };
        let baseline = self.predict([Nothing], positions)?[0];
        let explained = rows.iter().map(|row| {
            let prediction = self.predict([only(row, Columns::All)], positions)?[0];
            let alone = columns.iter().map(|column| only(row, Columns::One(column)));
            let alone = self.predict(alone, positions)?;
            let beside = |logit: f32| f64::from(logit) - f64::from(baseline.logit);
            let contributions: Vec<f64> = alone.iter().map(|one| beside(one.logit)).collect();
            let gap = contributions.iter().sum::<f64>() - beside(prediction.logit);
            Ok(Explained { prediction, contributions, gap })
        });
        let rows = explained.collect::<Result<Vec<_>, ModelError>>()?;
        Ok(Explanation { columns, baseline, rows })
    }
}

/// Which columns of a row say something.
#[derive(Debug, Clone, Copy)]
enum Columns<'a> {
    One(&'a str),
    All,
}

/// A row that says nothing.
struct Nothing;

impl Row for Nothing {
    fn value(&self, _: &str) -> Value<'_> {
        Value::Missing
    }
}

/// A row of which some columns say nothing.
struct Only<'a, R> {
    row: &'a R,
    columns: Columns<'a>,
}

impl<R: Row> Row for Only<'_, R> {
    fn value(&self, column: &str) -> Value<'_> {
        match self.columns {
            Columns::One(name) if name == column => self.row.value(column),
            Columns::All => self.row.value(column),
            Columns::One(_) => Value::Missing,
        }
    }
}

/// What each column adds by itself to the neutral sample: exact where the logit is a sum over the inputs.
pub(super) fn one_at_a_time<M: OutcomeModel + ?Sized>(
    model: &M,
    samples: &EncodedSamples,
    neutral: &EncodedSamples,
    inputs: &InputColumns,
) -> Result<Vec<Vec<f64>>, ModelError> {
    let baseline = f64::from(model.logits(neutral)?[0]);
    let attribution = |sample: usize| -> Result<Vec<f64>, ModelError> {
        let mut alone = EncodedSamples::new(samples.layout());
        for column in 0..inputs.names.len() {
            let mut row = EncodedRow::default();
            for (dense, of) in inputs.dense.iter().enumerate() {
                let from =
                    if *of == column { samples.dense_row(sample) } else { neutral.dense_row(0) };
                row.dense.push(from[dense]);
            }
            for (field, of) in inputs.fields.iter().enumerate() {
                let active = if *of == column { samples.active(sample, field) } else { &[] };
                row.sparse.extend_from_slice(active);
            }
            row.histories.resize_with(inputs.histories.len(), Vec::new);
            alone.push(&row, 0.0);
        }
        let logits = model.logits(&alone)?.into_iter();
        Ok(logits.map(|logit| f64::from(logit) - baseline).collect())
    };
    (0..samples.len()).into_par_iter().map(attribution).collect()
}

/// What each column adds to the logits of `samples` along the straight way from zeros in the place of every embedding, and `neutral` in
/// that of the dense numbers: `(x - x') ∫ ∂logit/∂x (x' + α (x - x')) dα`, summed over the inputs of a column, by midpoints.
///
/// Source: Sundararajan et al., "Axiomatic Attribution for Deep Networks", ICML 2017, equation 3.
pub(super) fn integrated_gradients(
    network: &FieldNetwork,
    samples: FieldRows<'_>,
    neutral: &[f32],
    inputs: &InputColumns,
) -> Result<Vec<Vec<f64>>, NnError> {
    network.check(samples)?;
    let n = samples.labels.len();
    let paths = (0..n).into_par_iter().map_init(Workspace::default, |ws, sample| {
        let mut path = Path::new(network, samples, sample, neutral)?;
        let difference = path.difference(ws)?;
        let mut n_steps = STEPS[0];
        loop {
            path.integrate(n_steps, ws)?;
            let contributions = path.by_column(inputs);
            let gap = contributions.iter().sum::<f64>() - difference;
            let is_complete = gap.abs() <= 0.5 * TOLERANCE * difference.abs().max(1.0);
            if is_complete || n_steps >= STEPS[1] {
                return Ok(contributions);
            }
            n_steps *= 2;
        }
    });
    paths.collect()
}

/// The way from the neutral sample to one.
struct Path<'a> {
    network: &'a FieldNetwork,
    /// What the sample begins with.
    end: Workspace,
    neutral: &'a [f32],
    gradients: DenseGradients,
    /// Mean gradients of fields, dense numbers and the tokens of each history.
    fields: Vec<f64>,
    dense: Vec<f64>,
    tokens: Vec<Vec<f64>>,
}

impl<'a> Path<'a> {
    fn new(
        network: &'a FieldNetwork,
        samples: FieldRows<'_>,
        sample: usize,
        neutral: &'a [f32],
    ) -> Result<Self, NnError> {
        let mut end = Workspace::default();
        network.gather(samples, sample..sample + 1, &mut end)?;
        let gradients = DenseGradients::of(network);
        let (fields, dense, tokens) = Default::default();
        Ok(Self { network, end, neutral, gradients, fields, dense, tokens })
    }

    /// Fills what the network begins with at some points of the way.
    fn place(&self, points: impl ExactSizeIterator<Item = f32>, ws: &mut Workspace) {
        let (end, n) = (&self.end, points.len());
        ws.fields.reshape(n, end.fields.cols());
        ws.dense.reshape(n, end.dense.cols());
        ws.weights.reshape(n * end.weights.rows(), end.weights.cols());
        ws.histories.resize_with(end.histories.len(), Default::default);
        for (history, end) in ws.histories.iter_mut().zip(&end.histories) {
            let n_tokens = end.tokens.rows();
            history.offsets.clear();
            history.offsets.extend((0..=n).map(|point| point * n_tokens));
            history.tokens.reshape(n * n_tokens, end.tokens.cols());
        }
        let scale = |from: &Matrix, by: f32, point: usize, to: &mut Matrix| {
            let from = from.as_slice();
            let to = &mut to.as_mut_slice()[point * from.len()..(point + 1) * from.len()];
            to.iter_mut().zip(from).for_each(|(to, from)| *to = by * from);
        };
        for (point, share) in points.enumerate() {
            scale(&end.fields, share, point, &mut ws.fields);
            scale(&end.weights, share, point, &mut ws.weights);
            for (history, end) in ws.histories.iter_mut().zip(&end.histories) {
                scale(&end.tokens, share, point, &mut history.tokens);
            }
            let numbers = end.dense.as_slice().iter().zip(self.neutral);
            for (to, (from, neutral)) in ws.dense.row_mut(point).iter_mut().zip(numbers) {
                *to = neutral + share * (from - neutral);
            }
        }
    }

    /// The logit at the end less that at the beginning.
    fn difference(&self, ws: &mut Workspace) -> Result<f64, NnError> {
        self.place([0.0, 1.0].into_iter(), ws);
        self.network.compute(Pass::Inference, ws)?;
        let logits = ws.logits.as_slice();
        Ok(f64::from(logits[1]) - f64::from(logits[0]))
    }

    /// Means of the gradients over the middles of `n_steps` parts.
    fn integrate(&mut self, n_steps: usize, ws: &mut Workspace) -> Result<(), NnError> {
        self.fields = vec![0.0; self.end.fields.cols()];
        self.dense = vec![0.0; self.end.dense.cols()];
        let histories = self.end.histories.iter();
        self.tokens = histories.map(|end| vec![0.0; end.tokens.as_slice().len()]).collect();
        for start in (0..n_steps).step_by(TILE_STEPS) {
            let steps = start..(start + TILE_STEPS).min(n_steps);
            let n = steps.len();
            let middle = |step: usize| ((step as f64 + 0.5) / n_steps as f64) as f32;
            self.place(steps.map(middle), ws);
            self.network.compute(Pass::Inference, ws)?;
            ws.d_logits.reshape(n, 1);
            ws.d_logits.fill(1.0);
            ws.d_conversions.reset(n, 1);
            self.network.backward(ws, &mut self.gradients)?;
            add_rows(&mut self.fields, ws.d_fields.as_slice());
            if let Some(d_dense) = self.network.d_dense(ws) {
                d_dense.for_each(|row| add_rows(&mut self.dense, row));
            }
            for (sums, history) in self.tokens.iter_mut().zip(&ws.histories) {
                add_rows(sums, history.d_tokens.as_slice());
            }
        }
        let all = self.tokens.iter_mut().chain([&mut self.fields, &mut self.dense]);
        all.flatten().for_each(|sum| *sum /= n_steps as f64);
        let linear = self.network.dense_weights().iter().map(|weight| f64::from(*weight));
        self.dense.iter_mut().zip(linear).for_each(|(sum, weight)| *sum += weight);
        Ok(())
    }

    fn by_column(&self, inputs: &InputColumns) -> Vec<f64> {
        let mut sums = vec![0.0; inputs.names.len()];
        let product = |values: &[f32], gradients: &[f64]| -> f64 {
            values.iter().zip(gradients).map(|(x, gradient)| f64::from(*x) * gradient).sum()
        };
        let n_cols = self.end.fields.cols() / inputs.fields.len().max(1);
        for (field, column) in inputs.fields.iter().enumerate() {
            let cols = field * n_cols..(field + 1) * n_cols;
            sums[*column] += product(&self.end.fields.as_slice()[cols.clone()], &self.fields[cols]);
        }
        // Of their weights the logit is the sum.
        for (column, weight) in inputs.fields.iter().zip(self.end.weights.as_slice()) {
            sums[*column] += f64::from(*weight);
        }
        for (at, column) in inputs.dense.iter().enumerate() {
            let change = f64::from(self.end.dense.as_slice()[at]) - f64::from(self.neutral[at]);
            sums[*column] += change * self.dense[at];
        }
        let histories = self.end.histories.iter().zip(&self.tokens);
        for (column, (end, gradients)) in inputs.histories.iter().zip(histories) {
            sums[*column] += product(end.tokens.as_slice(), gradients);
        }
        sums
    }
}

/// Adds rows of as many values as there are sums.
fn add_rows(sums: &mut [f64], rows: &[f32]) {
    if sums.is_empty() {
        return;
    }
    for row in rows.chunks_exact(sums.len()) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
    }
}
