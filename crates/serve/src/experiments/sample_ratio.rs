//! Whether users came to the variants in the shares that they were assigned in. Where they did not, something keeps users of one variant out
//! of sight (a list that is empty or slow, impressions that are not sent), and no comparison means anything.

use serde::Serialize;
use statrs::function::gamma::ln_gamma;
use utoipa::ToSchema;

/// Level of the test: at this a healthy experiment is called broken once in a thousand, however often it is looked at.
pub const SAMPLE_RATIO_LEVEL: f64 = 0.001;

/// Users of each variant against its weight.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SampleRatio {
    /// Share of the users that each variant should have, in order.
    pub expected: Vec<f64>,
    /// Users that each has.
    pub n_users: Vec<u64>,
    /// Holds at all times at once.
    pub p_value: f64,
    /// Whether the shares are those of the weights, as far as can be told.
    pub is_as_expected: bool,
}

impl SampleRatio {
    /// Compares users that came with shares that sum to 1.
    ///
    /// The p-value is one over the Bayes factor of any shares at all (uniform over them) against the expected ones. That factor is a
    /// martingale if the expected shares are the true ones, so it exceeds 1 / p at any time with a probability of at most p: exact for every
    /// number of users, unlike a chi-square test, and not spoiled by looking often.
    ///
    /// Source: Lindon and Malek, "Anytime-valid inference for multinomial count data", NeurIPS 2022.
    pub fn new(expected: Vec<f64>, n_users: Vec<u64>) -> Self {
        let n_variants = expected.len() as f64;
        let n: u64 = n_users.iter().sum();
        let mut log_factor = ln_gamma(n_variants) - ln_gamma(n as f64 + n_variants);
        for (share, n) in expected.iter().zip(&n_users) {
            log_factor += ln_gamma(*n as f64 + 1.0);
            if *n > 0 {
                log_factor -= *n as f64 * share.ln();
            }
        }
        let p_value = (-log_factor).exp().min(1.0);
        Self { expected, n_users, p_value, is_as_expected: p_value >= SAMPLE_RATIO_LEVEL }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_is_that_of_the_formula() {
        // Two variants, 3 and 1 users: the factor is 3! 1! / 5! / 0.5^4 = 0.8.
        let own = SampleRatio::new(vec![0.5, 0.5], vec![3, 1]);
        assert_eq!(own.p_value, 1.0);
        // 10 and 0: 10! / 11! / 0.5^10 = 1024 / 11.
        let own = SampleRatio::new(vec![0.5, 0.5], vec![10, 0]);
        assert!((own.p_value - 11.0 / 1024.0).abs() < 1e-12, "{}", own.p_value);
        assert!(own.is_as_expected);
    }

    #[test]
    fn a_share_that_is_off_is_told_and_one_that_is_right_is_not() {
        assert!(SampleRatio::new(vec![0.5, 0.5], vec![50_200, 49_800]).is_as_expected);
        assert!(!SampleRatio::new(vec![0.5, 0.5], vec![51_000, 49_000]).is_as_expected);
        assert!(SampleRatio::new(vec![0.9, 0.05, 0.05], vec![9_030, 480, 490]).is_as_expected);
        assert!(!SampleRatio::new(vec![0.9, 0.05, 0.05], vec![9_000, 350, 650]).is_as_expected);
        assert!(SampleRatio::new(vec![0.5, 0.5], vec![0, 0]).is_as_expected);
    }
}
