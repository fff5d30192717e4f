//! Confidence sequences: intervals that hold at all times at once, so that they may be looked at whenever one likes.
//!
//! An interval for a fixed number of users is wrong far more often than its level says if one looks again and again and stops when it
//! leaves 0 out. The interval here is wider for that, by a factor that grows like the root of a logarithm of the number of users.

/// Number, mean and spread of what the users of one variant did.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Moments {
    n: u64,
    mean: f64,
    /// Sum of squared deviations from the mean.
    deviations: f64,
}

impl Moments {
    /// Takes one user more (Welford's update: no digits are lost to a large mean).
    pub fn push(&mut self, value: f64) {
        self.n += 1;
        let from_earlier = value - self.mean;
        self.mean += from_earlier / self.n as f64;
        self.deviations += from_earlier * (value - self.mean);
    }

    /// Users.
    pub fn n(&self) -> u64 {
        self.n
    }

    /// Mean over users; 0 of none.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Unbiased variance over users; 0 of fewer than two.
    pub fn variance(&self) -> f64 {
        if self.n < 2 { 0.0 } else { (self.deviations / (self.n - 1) as f64).max(0.0) }
    }

    /// Squared standard error of the mean.
    fn squared_error(&self) -> f64 {
        self.variance() / self.n.max(1) as f64
    }
}

impl FromIterator<f64> for Moments {
    fn from_iter<T: IntoIterator<Item = f64>>(values: T) -> Self {
        let mut moments = Self::default();
        values.into_iter().for_each(|value| moments.push(value));
        moments
    }
}

/// A difference of two means and what it may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Mean of the variant less that of the control.
    pub difference: f64,
    /// Lower end.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
}

/// The asymptotic confidence sequence of a difference of means.
///
/// After n users in both variants the difference lies within [`critical_value`](Self::critical_value)(n) standard errors of the observed
/// one, for all n at once with probability 1 − α, asymptotically: with few users the normal approximation is as rough as it always is.
///
/// Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic confidence sequences",
/// Annals of Statistics 52(6), 2024, Theorem 2.2 (Robbins' normal mixture), on the terms of the augmented inverse-propensity estimator
/// of their section 3 with the observed means as the regression: its mean is the difference of the means, its variance over n the sum of the
/// squared standard errors. We differ: the share of the users in each variant is the observed one.
///
/// ```
/// use forecart_serve::experiments::sequence::{ConfidenceSequence, Moments};
///
/// let sequence = ConfidenceSequence::new(0.05, 1_000);
/// assert!((sequence.critical_value(1_000) - 3.035).abs() < 1e-3);
/// let control: Moments = (0..500).map(|user| f64::from(u8::from(user % 10 == 0))).collect();
/// let variant: Moments = (0..500).map(|user| f64::from(u8::from(user % 4 == 0))).collect();
/// assert!(sequence.of_difference(&variant, &control).lower > 0.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConfidenceSequence {
    /// −2 ln α.
    level: f64,
    /// ρ², the variance of the mixture.
    rho_squared: f64,
}

impl ConfidenceSequence {
    /// At level `alpha`, in 0..1, and as narrow as can be when `n_tuned` users have come; before and after it is not much wider.
    pub fn new(alpha: f64, n_tuned: u64) -> Self {
        let level = -2.0 * alpha.ln();
        // The squared critical value (x + 1) / x (ln(x + 1) + level), x = n ρ², is least where u = x + 1 solves u = 1 + level + ln u (the
        // paper has this as a Lambert function). The iteration contracts by 1 / u.
        let mut u = 2.0 + level;
        for _ in 0..64 {
            u = 1.0 + level + u.ln();
        }
        Self { level, rho_squared: (u - 1.0) / n_tuned.max(1) as f64 }
    }

    /// How many standard errors the interval reaches to each side after `n` users; what 1.96 is to one look at level 0.05.
    pub fn critical_value(&self, n: u64) -> f64 {
        let x = n.max(1) as f64 * self.rho_squared;
        ((x + 1.0) / x * (x.ln_1p() + self.level)).sqrt()
    }

    /// What the mean of a variant may be above that of the control.
    pub fn of_difference(&self, variant: &Moments, control: &Moments) -> Interval {
        let difference = variant.mean() - control.mean();
        let error = (variant.squared_error() + control.squared_error()).sqrt();
        let half = error * self.critical_value(variant.n() + control.n());
        Interval { difference, lower: difference - half, upper: difference + half }
    }

    /// How many users more it takes until the interval leaves 0 out, if means and spread stay as they are and users come to both in the
    /// same shares; `None` where the means are equal, 0 where it leaves 0 out already.
    pub fn n_more_users(&self, variant: &Moments, control: &Moments) -> Option<u64> {
        const MOST: u64 = 1 << 50;
        let n = variant.n() + control.n();
        let difference = variant.mean() - control.mean();
        let spread = (variant.squared_error() + control.squared_error()) * n as f64;
        let is_decided = |n: u64| {
            let critical = self.critical_value(n);
            spread / n as f64 * critical * critical < difference * difference
        };
        let mut enough = n.max(1);
        while !is_decided(enough) {
            enough = enough.checked_mul(2).filter(|enough| *enough <= MOST)?;
        }
        let mut too_few = enough / 2;
        while too_few + 1 < enough {
            let middle = too_few + (enough - too_few) / 2;
            if is_decided(middle) {
                enough = middle;
            } else {
                too_few = middle;
            }
        }
        Some(enough.saturating_sub(n))
    }
}
