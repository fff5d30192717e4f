//! The training loop: batches of whole sequences, early stopping.

use forecart_data::History;
use forecart_nn::{Adam, Optimizer};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::config::SequenceSpec;
use super::encoder::Tile;
use super::step::{Network, Stepper};
use super::{Sequence, encode_newest};
use crate::error::ModelError;
use crate::recommend::contract::{EpochRecord, FitContext, FitRecord};
use crate::recommend::early_stopping::Validation;
use crate::recommend::popularity::ItemCounts;
use crate::recommend::view::TrainingView;

pub(super) fn fit(
    spec: &SequenceSpec,
    view: &TrainingView<'_>,
    context: &FitContext<'_>,
) -> Result<(Sequence, FitRecord), ModelError> {
    let (name, config) = (spec.preset.name(), &spec.config);
    let counts = ItemCounts::of(view, name)?;
    let max_history = config.max_history.get() as usize;
    // One token more than the model sees: the first input has no label before it, the last label no input.
    let histories = view.users().map(|user| view.history(user).newest(max_history + 1));
    let mut histories: Vec<History<'_>> =
        histories.filter(|history| history.items.len() > 1).collect();
    if histories.is_empty() {
        return Err(ModelError::NoEvents { model: name });
    }
    let rng = &mut ChaCha8Rng::seed_from_u64(context.seed);
    let setup = ModelError::training(name, None);
    let features = config.features(view);
    let network = Network::new(config, view.n_item_rows(), view.has_time(), features, rng);
    let network = network.map_err(setup)?;
    let rule = Adam {
        learning_rate: config.learning_rate as f32,
        weight_decay: config.weight_decay as f32,
        ..Adam::default()
    };
    let optimizer = Optimizer::new(rule).map_err(ModelError::training(name, None))?;
    let mut stepper = Stepper::new(config, network, optimizer, context.seed);
    let validation = Validation::of(view, max_history);

    let mut record = FitRecord::default();
    let mut best: Option<(f64, Network)> = None;
    let n_epochs = config.n_epochs.get() as usize;
    let n_steps = histories.len() * n_epochs;
    context.progress.begin(&format!("training {name}"), Some(n_steps as u64));
    for epoch in 1..=n_epochs {
        let failed = ModelError::training(name, epoch);
        histories.shuffle(rng);
        let (mut sum, mut n_labels) = (0.0, 0);
        for batch in histories.chunks(config.batch_size.get() as usize) {
            context.check_cancelled()?;
            let (loss, n) = stepper.step(batch).map_err(ModelError::training(name, epoch))?;
            sum += loss * n as f64;
            n_labels += n;
            context.progress.advance(batch.len() as u64);
        }
        let train_loss = sum / n_labels.max(1) as f64;
        let network = stepper.network();
        let encode = |histories: &[History<'_>], tile: &mut Tile, hidden: &mut _| {
            encode_newest(network, histories, tile, hidden)
        };
        let ndcg = validation.as_ref().map(|part| part.ndcg(network.vectors(), encode));
        let ndcg = ndcg.transpose().map_err(failed)?;
        record.curve.push(EpochRecord::new(epoch, train_loss, ndcg));
        context.progress.note(&note(epoch, train_loss, ndcg));
        let Some(ndcg) = ndcg else {
            record.chosen_epoch = Some(epoch);
            continue;
        };
        if best.as_ref().is_none_or(|(best, _)| ndcg > *best) {
            best = Some((ndcg, network.clone()));
            record.chosen_epoch = Some(epoch);
        }
        if epoch - record.chosen_epoch.unwrap_or(0) >= config.patience.get() as usize {
            break;
        }
    }
    let network = best.map_or_else(|| stepper.into_network(), |(_, network)| network);
    Ok((Sequence::new(spec.clone(), network, counts), record))
}

fn note(epoch: usize, loss: f64, ndcg: Option<f64>) -> String {
    let validation = ndcg.map(|ndcg| format!(", validation NDCG@10 {ndcg:.4}")).unwrap_or_default();
    format!("epoch {epoch}: loss {loss:.4}{validation}")
}
