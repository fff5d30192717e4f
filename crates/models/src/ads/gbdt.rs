//! Gradient-boosted trees, grown by the crate `forust-ml`.

use std::num::NonZeroU32;
use std::ops::Range;

use forecart_data::encode::{FeatureSpec, InputColumns};
use forecart_data::samples::SampleColumn;
use forust_ml::metric::Metric;
use forust_ml::objective::ObjectiveType;
use forust_ml::{GradientBooster, Matrix};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::contract::{OutcomeModel, OutcomeSpec};
use super::features::{Encoding, Numbers};
use super::samples::EncodedSamples;
use super::trees::{Grown, Trees};
use crate::error::ModelError;
use crate::recommend::Parameter;
use crate::tensors::Tensors;
use crate::training::{FitContext, FitRecord};

pub(super) const NAME: &str = "gbdt";

/// Gradient-boosted trees on numbers as they are and on the most frequent texts of each category, one column each.
///
/// Each tree is fitted to the gradients of the log loss on a part of the rows and of the columns, and added, `learning_rate` times as
/// large. Trees end where validation gets no better. They see what a sum of weights cannot: steps, and one value by another.
///
/// Source: Friedman, *Annals of Statistics* 29(5), 2001; second-order leaves as in Chen and Guestrin, KDD 2016, equations 5 and 7.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GbdtConfig {
    /// Trees, at most where validation may stop them.
    pub n_trees: NonZeroU32,
    /// How much of each tree is added.
    pub learning_rate: f64,
    /// Leaves of a tree.
    pub max_leaves: NonZeroU32,
    /// Splits between the root and a leaf.
    pub max_depth: NonZeroU32,
    /// Added to the second derivatives of a leaf.
    pub l2: f64,
    /// Least sum of second derivatives in a leaf: `p (1 - p)` for each row.
    pub min_leaf_weight: f64,
    /// Share of the rows that a tree sees, in `0.0..=1.0`.
    pub subsample: f64,
    /// Share of the columns that a tree sees, in `0.0..=1.0`.
    pub colsample: f64,
    /// Steps between which a column may be split, `2..=65000`.
    pub n_bins: u16,
    /// Texts of a category that have a column of their own, the most frequent ones; the others have none.
    pub max_categories: NonZeroU32,
    /// Texts in fewer training rows are unknown ones.
    pub min_count: NonZeroU32,
    /// Trees without a smaller log loss on validation before no more are grown.
    pub patience: NonZeroU32,
}

impl Default for GbdtConfig {
    fn default() -> Self {
        let positive = |n: u32| NonZeroU32::new(n).expect("the defaults are not 0");
        Self {
            n_trees: positive(1000), // validation stops them long before
            learning_rate: 0.05,
            max_leaves: positive(15), // small trees that many rows speak for
            max_depth: positive(12),
            l2: 5.0,
            min_leaf_weight: 3.0,
            subsample: 0.8,
            colsample: 0.7,
            n_bins: 255,
            max_categories: positive(64),
            min_count: positive(5), // of fewer rows a column says nothing
            patience: positive(50),
        }
    }
}

/// What `tune` varies.
const SEARCH_SPACE: &[Parameter] = &[
    Parameter::log("learning_rate", 1e-2, 0.2),
    Parameter::log_int("max_leaves", 4, 128),
    Parameter::log("l2", 0.1, 100.0),
    Parameter::log("min_leaf_weight", 0.5, 50.0),
    Parameter::float("subsample", 0.4, 1.0),
    Parameter::float("colsample", 0.2, 1.0),
];

impl GbdtConfig {
    /// Refuses values outside of their ranges.
    ///
    /// # Errors
    /// [`ModelError::Hyperparameter`].
    pub fn check(&self) -> Result<(), ModelError> {
        let refuse = |name: &str, value: f64, range: &str| {
            Err(ModelError::hyperparameter(NAME, name, format!("{value} is not {range}")))
        };
        if !(self.learning_rate > 0.0 && self.learning_rate <= 1.0) {
            return refuse("learning_rate", self.learning_rate, "in 0.0..=1.0 and above 0");
        }
        for (name, value) in [("l2", self.l2), ("min_leaf_weight", self.min_leaf_weight)] {
            if !(0.0..=1e9).contains(&value) {
                return refuse(name, value, "in 0.0..=1e9");
            }
        }
        for (name, value) in [("subsample", self.subsample), ("colsample", self.colsample)] {
            if !(value > 0.0 && value <= 1.0) {
                return refuse(name, value, "in 0.0..=1.0 and above 0");
            }
        }
        let sizes = [
            ("n_trees", self.n_trees.get(), 100_000),
            ("max_leaves", self.max_leaves.get(), 1 << 16),
            ("max_depth", self.max_depth.get(), 64),
            ("max_categories", self.max_categories.get(), 1 << 16),
        ];
        for (name, value, most) in sizes {
            if value > most {
                return refuse(name, value.into(), &format!("at most {most}"));
            }
        }
        match (2..=65_000).contains(&self.n_bins) {
            true => Ok(()),
            false => refuse("n_bins", self.n_bins.into(), "in 2..=65000"),
        }
    }

    fn layout(&self, fields: &[Range<u32>], n_dense: usize) -> Layout {
        // Blocks of categories begin with the missing and the unknown text.
        let most = self.max_categories.get() + 2;
        let mut n_columns = n_dense;
        let fields = fields.iter().map(|field| {
            let kept = (field.end - field.start).min(most);
            let first = n_columns;
            n_columns += kept as usize;
            (field.start..field.start + kept, first)
        });
        let fields = fields.collect();
        Layout { fields, n_columns }
    }
}

/// Which column of the trees a row of a field is.
#[derive(Debug, Clone)]
struct Layout {
    /// The rows of each field that have a column, and the column of the first.
    fields: Vec<(Range<u32>, usize)>,
    n_columns: usize,
}

impl Layout {
    /// Fills `row: [n_columns]` with a sample.
    fn fill(&self, samples: &EncodedSamples, sample: usize, row: &mut [f64]) {
        row.fill(0.0);
        for (value, dense) in row.iter_mut().zip(samples.dense_row(sample)) {
            *value = f64::from(*dense);
        }
        for (field, (kept, first)) in self.fields.iter().enumerate() {
            for active in samples.active(sample, field) {
                if kept.contains(active) {
                    row[first + (active - kept.start) as usize] = 1.0;
                }
            }
        }
    }

    /// All samples, column by column.
    fn matrix(&self, samples: &EncodedSamples) -> Vec<f64> {
        let n = samples.len();
        let mut matrix = vec![0.0; n * self.n_columns];
        let mut row = vec![0.0; self.n_columns];
        for sample in 0..n {
            self.fill(samples, sample, &mut row);
            for (column, value) in row.iter().enumerate() {
                matrix[column * n + sample] = *value;
            }
        }
        matrix
    }
}

impl OutcomeSpec for GbdtConfig {
    fn name(&self) -> &'static str {
        NAME
    }

    fn hyperparameters(&self) -> Value {
        serde_json::to_value(self).expect("numbers in a struct are JSON")
    }

    fn search_space(&self) -> &'static [Parameter] {
        SEARCH_SPACE
    }

    fn features(&self, columns: &[SampleColumn], span_ms: i64) -> FeatureSpec {
        let min_count = self.min_count.get().into();
        let numbers = Numbers::AsTheyAre;
        Encoding { numbers, n_buckets: 2, min_count, max_history: None }.spec(columns, span_ms)
    }

    /// The samples as numbers of 8 bytes, once as they are and once in bins.
    fn needed_bytes(&self, samples: &EncodedSamples) -> u64 {
        let layout = self.layout(samples.fields(), samples.n_dense());
        (samples.len() as u64).saturating_mul(layout.n_columns as u64).saturating_mul(12)
    }

    fn fit(
        &self,
        train: &EncodedSamples,
        validation: &EncodedSamples,
        _identity: &str,
        context: &FitContext<'_>,
    ) -> Result<(Box<dyn OutcomeModel>, FitRecord), ModelError> {
        context.check_cancelled()?;
        let layout = self.layout(train.fields(), train.n_dense());
        let grown =
            |error: &dyn std::fmt::Display| ModelError::hyperparameter(NAME, "", error.to_string());
        let numbers = |samples: &EncodedSamples| -> (Vec<f64>, Vec<f64>, Vec<f64>) {
            let labels: Vec<f64> = samples.labels().iter().map(|y| f64::from(*y)).collect();
            let weights = match samples.weights() {
                [] => vec![1.0; labels.len()],
                weights => weights.iter().map(|weight| f64::from(*weight)).collect(),
            };
            (layout.matrix(samples), labels, weights)
        };
        let (matrix, labels, weights) = numbers(train);
        let (held_out, held_out_labels, held_out_weights) = numbers(validation);
        let evaluation = (!validation.is_empty()).then(|| {
            let matrix = Matrix::new(&held_out, validation.len(), layout.n_columns);
            vec![(matrix, held_out_labels.as_slice(), held_out_weights.as_slice())]
        });
        let mut booster = GradientBooster::default()
            .set_objective_type(ObjectiveType::LogLoss)
            .set_iterations(self.n_trees.get() as usize)
            .set_learning_rate(self.learning_rate as f32)
            .set_max_leaves(self.max_leaves.get() as usize)
            .set_max_depth(self.max_depth.get() as usize)
            .set_l2(self.l2 as f32)
            .set_min_leaf_weight(self.min_leaf_weight as f32)
            .set_subsample(self.subsample as f32)
            .set_colsample_bytree(self.colsample)
            .set_nbins(self.n_bins)
            .set_initialize_base_score(true)
            .set_evaluation_metric(Some(Metric::LogLoss))
            .set_seed(context.seed)
            .set_parallel(context.n_threads.get() > 1);
        if evaluation.is_some() {
            booster = booster.set_early_stopping_rounds(Some(self.patience.get() as usize));
        }
        let training = Matrix::new(&matrix, train.len(), layout.n_columns);
        booster.fit(&training, &labels, &weights, evaluation).map_err(|error| grown(&error))?;
        context.check_cancelled()?;
        let n_trees = booster.prediction_iteration.unwrap_or(booster.trees.len());
        let mut trees = Trees::new(booster.base_score);
        for tree in booster.trees.iter().take(n_trees) {
            trees.push(|place| {
                let node = &tree.nodes[place];
                match node.is_leaf {
                    true => Grown::Leaf(node.weight_value),
                    false => Grown::Split {
                        feature: node.split_feature,
                        threshold: node.split_value,
                        left: node.left_child,
                        right: node.right_child,
                    },
                }
            });
        }
        let record = FitRecord { chosen_epoch: Some(trees.len()), ..FitRecord::default() };
        let fields = train.fields().to_vec();
        Ok((Box::new(Gbdt { config: self.clone(), fields, layout, trees }), record))
    }
}

/// Fitted trees.
#[derive(Debug, Clone)]
pub struct Gbdt {
    config: GbdtConfig,
    fields: Vec<Range<u32>>,
    layout: Layout,
    trees: Trees,
}

impl Gbdt {
    /// From what [`OutcomeModel::tensors`] gave, for samples of these fields.
    pub(super) fn load(
        config: GbdtConfig,
        tensors: &mut Tensors,
        fields: Vec<Range<u32>>,
        n_dense: usize,
    ) -> Result<Self, ModelError> {
        let layout = config.layout(&fields, n_dense);
        let trees = Trees::load(tensors, layout.n_columns)?;
        tensors.expect_empty()?;
        Ok(Self { config, fields, layout, trees })
    }
}

impl OutcomeModel for Gbdt {
    fn name(&self) -> &'static str {
        NAME
    }

    fn hyperparameters(&self) -> Value {
        self.config.hyperparameters()
    }

    fn logits(&self, samples: &EncodedSamples) -> Result<Vec<f32>, ModelError> {
        if samples.fields() != self.fields {
            return Err(ModelError::damaged("samples of other fields than the model's"));
        }
        let mut row = vec![0.0; self.layout.n_columns];
        let logit = |sample| {
            self.layout.fill(samples, sample, &mut row);
            self.trees.logit(&row)
        };
        Ok((0..samples.len()).map(logit).collect())
    }

    fn attribute(
        &self,
        samples: &EncodedSamples,
        neutral: &EncodedSamples,
        inputs: &InputColumns,
    ) -> Result<Vec<Vec<f64>>, ModelError> {
        let Layout { fields, n_columns } = &self.layout;
        let mut player_of = inputs.dense.clone();
        player_of.resize(*n_columns, 0);
        for ((kept, first), player) in fields.iter().zip(&inputs.fields) {
            player_of[*first..first + kept.len()].fill(*player);
        }
        let [mut row, mut reference] = [(); 2].map(|()| vec![0.0; *n_columns]);
        self.layout.fill(neutral, 0, &mut reference);
        let attribution = |sample| {
            self.layout.fill(samples, sample, &mut row);
            let mut sums = vec![0.0; inputs.names.len()];
            self.trees.shapley(&row, &reference, &player_of, &mut sums);
            sums
        };
        Ok((0..samples.len()).map(attribution).collect())
    }

    fn tensors(&self) -> Tensors {
        self.trees.tensors()
    }
}
