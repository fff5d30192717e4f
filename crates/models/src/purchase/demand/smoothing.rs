//! Simple exponential smoothing.

use super::level::Level;

pub(super) fn simple(history: &[f64], alpha: f64) -> Level {
    let mut level = history[0];
    let mut fitted = Vec::with_capacity(history.len());
    for sold in history {
        fitted.push(level);
        level += alpha * (sold - level);
    }
    // The level itself moves by alpha of each error: Hyndman et al., Forecasting with Exponential Smoothing, 2008, 6.3.
    Level { next: level, fitted, growth: alpha * alpha }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let found = simple(&[4.0, 8.0, 2.0], 0.5);
        assert_eq!(found, Level { next: 4.0, fitted: vec![4.0, 4.0, 6.0], growth: 0.25 });
    }
}
