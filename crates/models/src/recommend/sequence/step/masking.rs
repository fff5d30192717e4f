//! Which items of a training sequence are hidden and to be found again.

use forecart_nn::DropoutKey;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::config::{Objective, SequenceConfig};
use super::super::encoder::MASK;

/// The part of a step's key that masks are drawn from, past those of the layers.
const MASKS: usize = usize::MAX - 1;

/// How the items of one step are hidden.
///
/// Each sequence is one of two kinds. A share of them hides its newest item alone, as when the model is asked for the
/// next item; the others hide each item with a probability, and one at least.
///
/// Source: Sun et al., CIKM 2019, sections 3.6 and 3.7. We differ: what is hidden, and the kind of a sequence, is drawn
/// anew in each epoch, where the published code draws some copies of each sequence beforehand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Masking {
    probability: f64,
    last_share: f64,
    key: DropoutKey,
}

impl Masking {
    /// `None` if nothing is hidden from the model.
    pub(super) fn of(config: &SequenceConfig, key: DropoutKey) -> Option<Self> {
        (config.objective == Objective::Masked).then(|| Self {
            probability: config.mask_probability,
            last_share: config.last_mask_share,
            key: key.layer(MASKS),
        })
    }

    /// Puts masks into the tokens from `first` on, which are those of sequence `sequence` of the batch, and adds their
    /// rows and what was there to `rows` and `labels`. The unknown item is never hidden.
    ///
    /// The draw depends on the step's key and `sequence` alone.
    pub(super) fn hide(
        &self,
        sequence: usize,
        first: usize,
        items: &mut [u32],
        rows: &mut Vec<usize>,
        labels: &mut Vec<u32>,
    ) {
        let mut rng = ChaCha8Rng::seed_from_u64(self.key.layer(sequence).to_seed());
        let start = rows.len();
        let is_last = rng.random::<f64>() < self.last_share;
        let known = |row: &usize| items[*row] != 0;
        if is_last && items.last().is_some_and(|item| *item != 0) {
            rows.push(items.len() - 1);
        } else {
            let tokens = (first..items.len()).filter(known);
            rows.extend(tokens.filter(|_| rng.random::<f64>() < self.probability));
        }
        if rows.len() == start {
            rows.extend((first..items.len()).filter(known));
            let n_known = rows.len() - start;
            if n_known > 0 {
                rows[start] = rows[start + rng.random_range(0..n_known)];
                rows.truncate(start + 1);
            }
        }
        for row in &rows[start..] {
            labels.push(std::mem::replace(&mut items[*row], MASK));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::config::Preset;
    use super::*;

    fn masking(keys: &serde_json::Value, step: u64) -> Masking {
        let config = SequenceConfig::from_keys(Preset::Bert4Rec, keys).unwrap();
        Masking::of(&config, DropoutKey::new(1, step)).unwrap()
    }

    /// Rows and labels of sequence `sequence`, given behind two tokens of another.
    fn hidden(masking: Masking, sequence: usize, items: &[u32]) -> (Vec<usize>, Vec<u32>) {
        let mut tokens = [&[8, 9], items].concat();
        let (mut rows, mut labels) = (vec![0], vec![8]);
        masking.hide(sequence, 2, &mut tokens, &mut rows, &mut labels);
        assert_eq!((rows.remove(0), labels.remove(0), &tokens[..2]), (0, 8, &[8, 9][..]));
        for (row, item) in tokens.iter().enumerate().skip(2) {
            assert_eq!(*item == MASK, rows.contains(&row));
        }
        assert!(rows.iter().zip(&labels).all(|(row, label)| items[row - 2] == *label));
        (rows, labels)
    }

    #[test]
    fn items_are_hidden_at_the_rate_and_the_unknown_one_never() {
        let masking = masking(&json!({"mask_probability": 0.3, "last_mask_share": 0.0}), 1);
        let items: Vec<u32> = (0..20_000).map(|i| i % 2).collect();
        let (rows, labels) = hidden(masking, 0, &items);
        // Binomial(10,000, 0.3) has standard deviation 46.
        assert!(rows.len().abs_diff(3000) < 230, "{}", rows.len());
        assert!(labels.iter().all(|label| *label == 1));
        assert!(rows.is_sorted());
        assert_ne!(hidden(masking, 1, &items), hidden(masking, 0, &items));
        assert_eq!(hidden(masking, 0, &items), (rows, labels));
    }

    #[test]
    fn a_sequence_hides_one_item_at_least_and_its_newest_at_the_share() {
        let rare = masking(&json!({"mask_probability": 1e-9, "last_mask_share": 0.0}), 1);
        let drawn: Vec<_> = (0..60).map(|sequence| hidden(rare, sequence, &[4, 0, 6])).collect();
        assert!(drawn.iter().all(|(rows, _)| rows.len() == 1 && rows[0] != 3));
        assert!([2, 4].iter().all(|row| drawn.iter().any(|(rows, _)| rows[0] == *row)));
        assert_eq!(hidden(rare, 0, &[0, 0]), (vec![], vec![]));

        let half = masking(&json!({"mask_probability": 1e-9, "last_mask_share": 0.5}), 1);
        let items: Vec<u32> = (1..=1000).collect();
        let n_last = (0..1000).filter(|i| hidden(half, *i, &items).0 == [1001]).count();
        // Binomial(1000, 0.5) has standard deviation 16.
        assert!(n_last.abs_diff(500) < 80, "{n_last}");
        let all = masking(&json!({"last_mask_share": 1.0}), 1);
        assert_eq!(hidden(all, 3, &[4, 5, 6]), (vec![4], vec![6]));
        assert_eq!(hidden(all, 3, &[4, 0]), (vec![2], vec![4]), "nothing else is known");
    }
}
