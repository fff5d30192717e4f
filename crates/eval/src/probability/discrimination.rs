//! How well probabilities separate rows that came true from rows that did not. Only their order counts.

use super::predictions::Predictions;
use super::ranked::Ranked;

/// Area under the ROC curve: how likely a positive row has a higher probability than a negative one, ties by half.
///
/// Exact, from the weights below and within each run of equal probabilities. `None` without a positive or without a
/// negative row.
///
/// Source: Hanley and McNeil, Radiology 143(1), 1982; equal to `roc_auc_score` of scikit-learn.
pub fn auc(predictions: &Predictions) -> Option<f64> {
    let ranked = Ranked::new(predictions);
    auc_of(&ranked, &ranked.weights)
}

/// Average precision: `Σ_n (R_n - R_{n-1}) P_n` over the distinct probabilities as thresholds, descending. Precision
/// is not interpolated. `None` without a positive row.
///
/// Source: equal to `average_precision_score` of scikit-learn.
pub fn average_precision(predictions: &Predictions) -> Option<f64> {
    let ranked = Ranked::new(predictions);
    average_precision_of(&ranked, &ranked.weights)
}

/// AUC within each group (for example, a user), averaged by the weights of the groups' rows (impressions).
///
/// Groups that are all positive or all negative have no AUC and are left out. `None` if that leaves none, or if the
/// rows have no groups.
///
/// Source: Zhu et al., *Optimized Cost per Click in Taobao Display Advertising*, KDD 2017, equation 10 (GAUC).
pub fn grouped_auc(predictions: &Predictions) -> Option<f64> {
    let groups = Ranked::by_group(predictions);
    grouped_auc_of(groups.iter().map(|group| (group, group.weights.as_slice())))
}

pub(super) fn auc_of(ranked: &Ranked, weights: &[f64]) -> Option<f64> {
    let (mut n_positive, mut n_negative, mut above) = (0.0, 0.0, 0.0);
    for tie in ranked.ties() {
        let (positive, negative) = ranked.positive_negative(tie, weights);
        above += positive * (n_negative + negative / 2.0);
        n_positive += positive;
        n_negative += negative;
    }
    (n_positive > 0.0 && n_negative > 0.0).then(|| above / (n_positive * n_negative))
}

pub(super) fn average_precision_of(ranked: &Ranked, weights: &[f64]) -> Option<f64> {
    let (mut n_positive, mut n_found, mut sum) = (0.0, 0.0, 0.0);
    for tie in ranked.ties().rev() {
        let (positive, negative) = ranked.positive_negative(tie, weights);
        n_positive += positive;
        n_found += positive + negative;
        if positive > 0.0 {
            sum += positive * (n_positive / n_found);
        }
    }
    (n_positive > 0.0).then(|| sum / n_positive)
}

pub(super) fn grouped_auc_of<'a>(
    groups: impl Iterator<Item = (&'a Ranked, &'a [f64])>,
) -> Option<f64> {
    let (mut sum, mut n) = (0.0, 0.0);
    for (group, weights) in groups {
        if let Some(auc) = auc_of(group, weights) {
            let weight: f64 = weights.iter().sum();
            sum += weight * auc;
            n += weight;
        }
    }
    (n > 0.0).then(|| sum / n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn predictions(rows: &[(f64, bool)]) -> Predictions {
        let (probabilities, labels) = rows.iter().copied().unzip();
        Predictions::new(probabilities, labels).unwrap()
    }

    #[test]
    fn by_hand() {
        // Pairs of a positive and a negative: .8 > .1, .8 > .4, .4 > .1, .4 = .4: 3.5 of 4.
        let four = predictions(&[(0.1, false), (0.4, true), (0.4, false), (0.8, true)]);
        assert_eq!(auc(&four), Some(0.875));
        // At .8: recall 1/2, precision 1; at .4: recall 1, precision 2/3.
        let found = average_precision(&four).unwrap();
        assert!((found - (0.5 + 0.5 * 2.0 / 3.0)).abs() < 1e-15, "{found}");
    }

    #[test]
    fn constant_probabilities_earn_nothing() {
        let constant = predictions(&[(0.3, true), (0.3, false), (0.3, false), (0.3, false)]);
        assert_eq!(auc(&constant), Some(0.5));
        assert_eq!(average_precision(&constant), Some(0.25));
        let zeros = predictions(&[(-0.0, false), (0.0, true)]);
        assert_eq!(auc(&zeros), Some(0.5));
    }

    #[test]
    fn one_class_has_no_value() {
        let negative = predictions(&[(0.3, false), (0.4, false)]);
        assert_eq!((auc(&negative), average_precision(&negative)), (None, None));
        let positive = predictions(&[(0.3, true), (0.4, true)]);
        assert_eq!((auc(&positive), average_precision(&positive)), (None, Some(1.0)));
    }

    #[test]
    fn groups_are_weighted_by_their_rows() {
        // Group 5: right, 2 rows. Group 9: wrong for one of two pairs, 3 rows. Group 1: all negative.
        let rows =
            [(0.2, false), (0.9, true), (0.5, true), (0.6, false), (0.1, false), (0.99, false)];
        let grouped = predictions(&rows).with_groups(&[5, 5, 9, 9, 9, 1]).unwrap();
        let found = grouped_auc(&grouped).unwrap();
        assert!((found - (2.0 + 3.0 * 0.5) / 5.0).abs() < 1e-15, "{found}");
        assert_eq!(grouped_auc(&predictions(&rows)), None);
    }

    fn rows() -> impl Strategy<Value = Vec<(f64, bool)>> {
        // Few distinct values, so that ties are common.
        prop::collection::vec(((0u32..=20).prop_map(|p| f64::from(p) / 20.0), any::<bool>()), 2..60)
    }

    proptest! {
        #[test]
        fn only_the_order_counts(rows in rows()) {
            let squared: Vec<_> = rows.iter().map(|(p, y)| (p * p, *y)).collect();
            prop_assert_eq!(auc(&predictions(&rows)), auc(&predictions(&squared)));
            let found = (average_precision(&predictions(&rows)), average_precision(&predictions(&squared)));
            prop_assert_eq!(found.0, found.1);
        }

        #[test]
        fn auc_is_the_share_of_pairs(rows in rows()) {
            let (mut above, mut pairs) = (0.0, 0.0);
            for (p, _) in rows.iter().filter(|(_, y)| *y) {
                for (q, _) in rows.iter().filter(|(_, y)| !*y) {
                    above += if p > q { 1.0 } else if p == q { 0.5 } else { 0.0 };
                    pairs += 1.0;
                }
            }
            let want = (pairs > 0.0).then(|| above / pairs);
            prop_assert_eq!(auc(&predictions(&rows)), want);
        }

        #[test]
        fn turning_labels_around_turns_auc_around(rows in rows()) {
            let turned: Vec<_> = rows.iter().map(|(p, y)| (*p, !*y)).collect();
            if let Some(found) = auc(&predictions(&rows)) {
                prop_assert!((found + auc(&predictions(&turned)).unwrap() - 1.0).abs() < 1e-12);
            }
        }

        #[test]
        fn a_weight_of_two_is_two_rows(rows in rows()) {
            let weights = (0..rows.len()).map(|row| (row % 3) as f64 + 1.0).collect();
            let repeated: Vec<_> = rows.iter().enumerate()
                .flat_map(|(row, pair)| vec![*pair; row % 3 + 1]).collect();
            let weighted = predictions(&rows).with_weights(weights).unwrap();
            let repeated = predictions(&repeated);
            prop_assert_eq!(auc(&weighted), auc(&repeated));
            // Sums of quotients in another grouping: the last digits may differ.
            let found = average_precision(&weighted).unwrap_or(-1.0);
            let want = average_precision(&repeated).unwrap_or(-1.0);
            prop_assert!((found - want).abs() < 1e-12, "{found} {want}");
        }
    }
}
