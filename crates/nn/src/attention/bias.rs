//! What is learned of the distance and the time between two tokens.

use rand_chacha::ChaCha8Rng;

use crate::{
    Init, Matrix, NnError, Ragged,
    error::{check_length, check_range},
    kernels::add_scaled,
};

/// Buckets of the gap between two times: bucket `b` holds gaps of `2^b - 1` to `2^(b+1) - 2` milliseconds.
const N_BUCKETS: usize = 48;

/// One learned number for each distance in tokens and, where there are times, one for each bucket of the time gap,
/// added to the scores of causal attention and shared by its heads.
///
/// Source: Zhai et al., ICML 2024, `rab` of equation 2, and its reference code. We differ: buckets are powers of two of
/// milliseconds.
#[derive(Debug, Clone)]
pub struct RelativeBias {
    /// `[1, max_len]`; distance `δ` stands in column `max_len - 1 - δ`, so that a row of scores reads it forward.
    position: Matrix,
    /// `[1, N_BUCKETS]`.
    time: Option<Matrix>,
}

crate::trainable!(
    RelativeBias,
    /// Gradients of a [`RelativeBias`], in the shapes of its parameters.
    pub struct RelativeBiasGradients {
        position: Matrix,
        time: Option<Matrix>,
    }
);

impl RelativeBias {
    /// Small random numbers for sequences of at most `max_len` tokens.
    ///
    /// # Errors
    /// [`NnError::OutOfRange`] for no token.
    pub fn new(max_len: usize, has_time: bool, rng: &mut ChaCha8Rng) -> Result<Self, NnError> {
        check_range("max_len", max_len as f64, max_len > 0, "positive")?;
        let init = Init::TruncatedNormal { std_dev: 0.02 };
        let position = init.matrix(1, max_len, rng)?;
        let time = has_time.then(|| init.matrix(1, N_BUCKETS, rng)).transpose()?;
        Ok(Self { position, time })
    }

    /// Whether it looks at times.
    pub fn has_time(&self) -> bool {
        self.time.is_some()
    }

    pub(super) fn check(
        &self,
        batch: Ragged<'_>,
        times_ms: &[i64],
        is_causal: bool,
    ) -> Result<(), NnError> {
        let max_len = self.position.cols();
        let longest = batch.max_len();
        check_range("length of a sequence", longest as f64, longest <= max_len, "at most max_len")?;
        check_range("relative bias", 0.0, is_causal, "in causal attention alone")?;
        if self.has_time() {
            check_length("times", batch.n_tokens(), times_ms.len())?;
        }
        Ok(())
    }

    /// Adds to the scores of token `i`, one for each token up to itself.
    pub(super) fn add_to(&self, i: usize, times_ms: &[i64], scores: &mut [f32]) {
        let first = self.position.cols() - 1 - i;
        add_scaled(1.0, &self.position.as_slice()[first..], scores);
        if let Some(time) = &self.time {
            for (score, &time_ms) in scores.iter_mut().zip(times_ms) {
                *score += time.as_slice()[bucket(times_ms[i], time_ms)];
            }
        }
    }

    /// The reverse of [`Self::add_to`].
    pub(super) fn add_gradients(
        &self,
        i: usize,
        times_ms: &[i64],
        d_scores: &[f32],
        gradients: &mut RelativeBiasGradients,
    ) {
        let first = self.position.cols() - 1 - i;
        add_scaled(1.0, d_scores, &mut gradients.position.as_mut_slice()[first..]);
        if let Some(time) = &mut gradients.time {
            for (d_score, &time_ms) in d_scores.iter().zip(times_ms) {
                time.as_mut_slice()[bucket(times_ms[i], time_ms)] += d_score;
            }
        }
    }
}

fn bucket(later_ms: i64, earlier_ms: i64) -> usize {
    let gap_ms = later_ms.abs_diff(earlier_ms).saturating_add(1);
    (gap_ms.ilog2() as usize).min(N_BUCKETS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_fall_in_buckets_of_powers_of_two() {
        assert_eq!(bucket(5, 5), 0);
        assert_eq!([bucket(6, 5), bucket(7, 5), bucket(8, 5)], [1, 1, 2]);
        assert_eq!(bucket(i64::MAX, i64::MIN), N_BUCKETS - 1);
    }
}
