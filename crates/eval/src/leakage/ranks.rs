//! Rank correlations, and what is left of one when another is known.

/// Ranks from 1, equal values with their mean rank.
pub(super) fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for group in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = first as f64 + (group.len() + 1) as f64 / 2.0;
        group.iter().for_each(|index| ranks[*index] = rank);
        first += group.len();
    }
    ranks
}

/// Pearson's correlation; 0 where a column is constant. Of ranks it is Spearman's.
pub(super) fn correlation(x: &[f64], y: &[f64]) -> f64 {
    let n = x.len().max(1) as f64;
    let (mean_x, mean_y) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        let (x, y) = (x - mean_x, y - mean_y);
        (xy, xx, yy) = (xy + x * y, xx + x * x, yy + y * y);
    }
    if xx > 0.0 && yy > 0.0 { xy / (xx * yy).sqrt() } else { 0.0 }
}

/// How a column goes with the future beyond what the past tells.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Knowledge {
    /// Spearman's correlation with the future.
    pub(super) with_future: f64,
    /// The same with the past.
    pub(super) with_past: f64,
    /// Partial correlation with the future, the past held fixed.
    pub(super) partial: f64,
    /// Of the partial correlation, in standard errors from 0.
    pub(super) z: f64,
}

impl Knowledge {
    /// From ranks of a column, of the future and of the past.
    ///
    /// Source: Kendall, Biometrika 32, 1942, for the partial rank correlation; Fisher's transformation for its error.
    pub(super) fn new(column: &[f64], future: &[f64], past: &[f64]) -> Self {
        let (with_future, with_past) = (correlation(column, future), correlation(column, past));
        let both = correlation(future, past);
        let scale = ((1.0 - with_past * with_past) * (1.0 - both * both)).sqrt();
        let partial = match scale > 1e-9 {
            true => ((with_future - with_past * both) / scale).clamp(-1.0, 1.0),
            false => 0.0,
        };
        let z = partial.clamp(-0.999_999, 0.999_999).atanh()
            * (column.len().max(5) as f64 - 4.0).sqrt();
        Self { with_future, with_past, partial, z }
    }

    /// Whether the column knows the future: strongly, far from chance, and more than it knows the past.
    pub(super) fn is_of_the_future(&self, threshold: f64) -> bool {
        self.partial.abs() > threshold && self.z.abs() > 6.0 && self.with_future.abs() > 0.25
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_by_hand() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
        assert!(ranks(&[]).is_empty());
    }

    #[test]
    fn a_column_of_the_past_knows_no_more_and_one_of_the_future_does() {
        let noise = |i: u32, by: u32| f64::from(i.wrapping_mul(2_654_435_761).rotate_left(by) % 97);
        let past: Vec<f64> = (0..400).map(|i| noise(i, 0)).collect();
        let future: Vec<f64> = (0..400).map(|i| past[i as usize] + noise(i, 9)).collect();
        let (past, future) = (ranks(&past), ranks(&future));
        let own: Vec<f64> = (0..400).map(|i| past[i as usize] + noise(i, 17) * 2.0).collect();
        assert!(!Knowledge::new(&ranks(&own), &future, &past).is_of_the_future(0.4));
        assert!(Knowledge::new(&future, &future, &past).is_of_the_future(0.4));
        assert!(!Knowledge::new(&past, &future, &past).is_of_the_future(0.4));
    }
}
