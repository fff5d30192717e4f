//! Trains several sizes of one model, for a scaling report.

use forecart_data::{Dataset, Progress};
use forecart_eval::held_out_loss;
use forecart_eval::scaling::{ScalingPoint, Training};
use forecart_models::recommend::{FitOn, ModelSpec, TrainingView};

use crate::error::TrainError;
use crate::fit::{TrainOptions, train};
use crate::measure::AsScorer;

/// One size to train.
#[derive(Debug)]
pub struct Size {
    /// The size in words.
    pub name: String,
    /// Columns of all that passes between layers.
    pub d_model: u32,
    /// Layers.
    pub n_layers: u32,
    /// The model with its hyperparameters.
    pub spec: Box<dyn ModelSpec>,
}

/// Trains a size on the training part, where validation stops it, and measures what was kept on the validation part, with
/// histories cut to their usual length, that of [`TrainingView::usual_length`]. The test part is not read.
///
/// # Errors
/// [`TrainError::NotCounted`] for a model without epochs or whose operations nobody counts; see [`train`].
pub fn train_size(
    dataset: &Dataset,
    size: &Size,
    options: &TrainOptions,
    progress: &dyn Progress,
) -> Result<Training, TrainError> {
    let options = TrainOptions { fit_on: FitOn::Train, checkpoint: None, ..options.clone() };
    let spec = size.spec.as_ref();
    let view = TrainingView::new(dataset, options.fit_on).with_early_stopping();
    let not_counted = || TrainError::NotCounted { model: spec.name().to_owned() };
    let epoch_flop = spec.epoch_flop(&view).ok_or_else(not_counted)?;
    let trained = train(dataset, spec, &options, progress)?;
    let model = trained.model.as_ref();
    let validation_loss = held_out_loss(dataset, &AsScorer(model), view.usual_length(), progress)?;
    let curve = &trained.record.curve;
    let last_epoch = curve.last().ok_or_else(not_counted)?.epoch;
    let points = curve.iter().map(|at| ScalingPoint {
        epoch: at.epoch,
        flop: epoch_flop * at.epoch as f64,
        secs: trained.fit_secs * at.epoch as f64 / last_epoch as f64,
        train_loss: at.train_loss,
        validation_ndcg_at_10: at.validation_ndcg_at_10,
    });
    // Counts of the items are stored beside what was learned.
    let learned = model.tensors();
    let learned = learned.iter().filter(|(name, _)| *name != "item_counts");
    Ok(Training {
        name: size.name.clone(),
        d_model: size.d_model,
        n_layers: size.n_layers,
        n_parameters: learned
            .map(|(_, tensor)| tensor.shape.iter().product::<usize>() as u64)
            .sum(),
        epoch_flop,
        points: points.collect(),
        chosen_epoch: trained.record.chosen_epoch.unwrap_or(last_epoch),
        validation_loss,
        secs: trained.fit_secs,
    })
}
