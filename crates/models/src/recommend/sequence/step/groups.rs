//! A batch in parts: shared out to groups and tiles, and the sum over groups.

use std::sync::{Mutex, MutexGuard, PoisonError};

use forecart_data::History;
use forecart_nn::{DropoutKey, Gradients, NnError, RowGradients, Trainable};

use super::super::encoder::EncoderGradients;
use super::super::network::Network;
use super::Stepper;
use super::labeled_tile::{LabeledTile, Span, is_label};
use super::masking::Masking;
use super::terms::{GroupTerms, Terms};

/// Tokens of a tile: its activations stay in an L2 cache. A longer sequence is a tile of its own.
const TILE_TOKENS: usize = 128;

/// Parts of a batch whose gradients are summed apart and joined in order: enough for the threads of one machine to
/// share, and the same for any number of them, as sums must be.
pub(in super::super) const N_GROUPS: usize = 16;

/// A part of the batch: its tiles, one after the other on one thread.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) spans: Vec<Span>,
    pub(super) n_tokens: usize,
    pub(super) n_labels: usize,
    /// One for each span, where all have to be kept for the loss of the whole batch.
    pub(super) tiles: Vec<LabeledTile>,
    /// Of labels and negatives that the batch shares.
    pub(super) shared: RowGradients,
    pub(super) loss: Result<f64, NnError>,
}

impl Group {
    pub(super) fn new(n_item_rows: usize, d: usize) -> Self {
        Self {
            spans: Vec::new(),
            n_tokens: 0,
            n_labels: 0,
            tiles: Vec::new(),
            shared: RowGradients::new(n_item_rows, d),
            loss: Ok(0.0),
        }
    }
}

impl Stepper {
    /// Shares the sequences out to groups and tiles; the numbers of tokens and labels.
    pub(super) fn lay_out(&mut self, batch: &[History<'_>], key: DropoutKey) -> [usize; 2] {
        let n_item_rows = self.network.items.n_rows();
        let masking = Masking::of(&self.config, key);
        let mut probe = LabeledTile::default();
        let (mut first_row, mut first_label) = (0, 0);
        let a_group = batch.len().div_ceil(N_GROUPS).max(1);
        for (index, group) in self.groups.iter_mut().enumerate() {
            group.spans.clear();
            (group.n_tokens, group.n_labels) = (0, 0);
            let mut n_in_tile = 0;
            let sequences = (index * a_group).min(batch.len())..batch.len();
            for at in sequences.take(a_group) {
                let (n, n_labels) = match &masking {
                    None => {
                        let labels = &batch[at].items[1..];
                        let known = labels.iter().filter(|item| is_label(item, n_item_rows));
                        (labels.len(), known.count())
                    }
                    Some(_) => {
                        probe.fill(batch, at..at + 1, n_item_rows, masking.as_ref());
                        (batch[at].items.len(), probe.labels.len())
                    }
                };
                if group.spans.is_empty() || n_in_tile + n > TILE_TOKENS {
                    group.spans.push(Span {
                        sequences: at..at,
                        first_row: first_row + group.n_tokens,
                        first_label: first_label + group.n_labels,
                        in_group: [group.n_tokens, group.n_labels],
                    });
                    n_in_tile = 0;
                }
                if let Some(span) = group.spans.last_mut() {
                    span.sequences.end = at + 1;
                }
                n_in_tile += n;
                group.n_tokens += n;
                group.n_labels += n_labels;
            }
            first_row += group.n_tokens;
            first_label += group.n_labels;
        }
        [first_row, first_label]
    }
}

/// Runs `run` for each group on the threads of the current rayon pool, with gradients to add to, and becomes the sum of
/// their gradients; the sum of the losses.
pub(super) fn sum_of_groups(
    network: &Network,
    groups: &mut [Group],
    terms: &mut Terms,
    idle: &Mutex<Vec<EncoderGradients>>,
    total: &mut EncoderGradients,
    run: impl Fn(usize, &mut Group, GroupTerms<'_>, &mut EncoderGradients) -> Result<f64, NnError>
    + Sync,
) -> Result<f64, NnError> {
    type Task<'a> = (usize, &'a mut Group, Option<GroupTerms<'a>>);
    type Sum = Result<(f64, EncoderGradients), NnError>;
    /// Halves are added to each other: a tree whose form is that of the list, whoever computes which part of it. Few
    /// gradients are in use at a time.
    fn halve(
        tasks: &mut [Task<'_>],
        idle: &Mutex<Vec<EncoderGradients>>,
        one: &(impl Fn(&mut Task<'_>) -> Sum + Sync),
    ) -> Sum {
        if let [task] = tasks {
            return one(task);
        }
        let (low, high) = tasks.split_at_mut(tasks.len() / 2);
        let (low, high) = rayon::join(|| halve(low, idle, one), || halve(high, idle, one));
        let ((low_loss, mut sum), (high_loss, other)) = (low?, high?);
        sum.add(&other)?;
        lock(idle).push(other);
        Ok((low_loss + high_loss, sum))
    }
    let of_groups = terms.of_groups(groups.iter().map(|group| [group.n_labels, group.n_tokens]));
    let tasks = groups.iter_mut().zip(of_groups).enumerate();
    let mut tasks: Vec<Task<'_>> =
        tasks.map(|(index, (group, terms))| (index, group, Some(terms))).collect();
    let one = |(index, group, terms): &mut Task<'_>| {
        let taken = lock(idle).pop();
        let mut gradients = taken.unwrap_or_else(|| network.encoder.new_gradients());
        gradients.clear();
        let terms = terms.take().expect("each task runs once");
        let loss = run(*index, group, terms, &mut gradients)?;
        Ok((loss, gradients))
    };
    let (loss, sum) = halve(&mut tasks, idle, &one)?;
    lock(idle).push(std::mem::replace(total, sum));
    Ok(loss)
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked held a list that is whole at any time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
