//! What methods with one level for all next periods give.

/// A level after the last period, and what it was before each of them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Level {
    /// The mean of each next period.
    pub(super) next: f64,
    /// The forecast of each past period, made before it; of the first, the period itself where there is nothing before.
    pub(super) fitted: Vec<f64>,
    /// How much the variance of a forecast grows with each period further ahead, as a share of that of the next.
    pub(super) growth: f64,
}
