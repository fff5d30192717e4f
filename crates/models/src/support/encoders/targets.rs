//! What a network is to say of texts.

use forecart_nn::Matrix;

/// Of each text.
#[derive(Debug, Clone)]
pub(super) enum Targets {
    /// Its intent, and the share of the target that all intents have alike.
    Labels { labels: Vec<u32>, smoothing: f32 },
    /// The probability of each intent, `[n_texts, n_intents]`, at a temperature that both sides are put to.
    Soft { probabilities: Matrix, temperature: f32 },
}

impl Targets {
    /// The softmax of logits, `[n_texts][n_intents]`, at `temperature`.
    pub(super) fn soft(logits: &[Vec<f32>], temperature: f32) -> Self {
        let n_intents = logits.first().map_or(0, Vec::len);
        let mut probabilities = Matrix::zeros(logits.len(), n_intents);
        for (row, logits) in logits.iter().enumerate() {
            let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let row = probabilities.row_mut(row);
            for (p, logit) in row.iter_mut().zip(logits) {
                *p = ((logit - max) / temperature).exp();
            }
            let total: f32 = row.iter().sum();
            row.iter_mut().for_each(|p| *p /= total);
        }
        Self::Soft { probabilities, temperature }
    }

    /// None, of the same kind.
    pub(super) fn empty(&self) -> Self {
        match self {
            Self::Labels { smoothing, .. } => {
                Self::Labels { labels: Vec::new(), smoothing: *smoothing }
            }
            Self::Soft { temperature, .. } => {
                Self::Soft { probabilities: Matrix::default(), temperature: *temperature }
            }
        }
    }

    /// Writes those of the texts at `places` to `out`, which is of the same kind.
    pub(super) fn gather(&self, places: &[u32], out: &mut Self) {
        match (self, out) {
            (Self::Labels { labels: all, .. }, Self::Labels { labels, .. }) => {
                labels.clear();
                labels.extend(places.iter().map(|place| all[*place as usize]));
            }
            (Self::Soft { probabilities: all, .. }, Self::Soft { probabilities, .. }) => {
                probabilities.reshape(places.len(), all.cols());
                for (row, place) in places.iter().enumerate() {
                    probabilities.row_mut(row).copy_from_slice(all.row(*place as usize));
                }
            }
            _ => unreachable!("a batch is made by `empty` of the same targets"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_a_batch_are_gathered() {
        let soft = Targets::soft(&[vec![0.0, 2.0 * 3_f32.ln()], vec![1000.0, 0.0]], 2.0);
        let mut batch = soft.empty();
        soft.gather(&[1, 0, 0], &mut batch);
        let Targets::Soft { probabilities, temperature: 2.0 } = batch else { panic!("{batch:?}") };
        let want = [1.0, 0.0, 0.25, 0.75, 0.25, 0.75];
        for (got, want) in probabilities.as_slice().iter().zip(want) {
            assert!((got - want).abs() < 1e-6, "{probabilities:?}");
        }
        let hard = Targets::Labels { labels: vec![3, 4], smoothing: 0.1 };
        let mut batch = hard.empty();
        hard.gather(&[1, 1], &mut batch);
        assert!(matches!(batch, Targets::Labels { labels, smoothing: 0.1 } if labels == [4, 4]));
    }
}
