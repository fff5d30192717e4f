//! The method of Teunter, Syntetos and Babai.

use super::level::Level;

/// The smoothed size of a sale times the smoothed share of periods with one. The size starts at the first sale, the share
/// at the first period: 0 or 1.
pub(super) fn tsb(history: &[f64], alpha_size: f64, alpha_probability: f64) -> Level {
    let mut probability = f64::from(history[0] > 0.0);
    let mut size: Option<f64> = None;
    let mut fitted = Vec::with_capacity(history.len());
    for (period, sold) in history.iter().enumerate() {
        fitted.push(if period == 0 { *sold } else { probability * size.unwrap_or(0.0) });
        probability += alpha_probability * (f64::from(*sold > 0.0) - probability);
        if *sold > 0.0 {
            let smoothed = |old: f64| old + alpha_size * (sold - old);
            size = Some(size.map_or(*sold, smoothed));
        }
    }
    Level { next: probability * size.unwrap_or(0.0), fitted, growth: 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // Sizes 4, then 4 + 1/2 (8 - 4) = 6; probabilities 0, 1/4, 3/16, 25/64.
        let found = tsb(&[0.0, 4.0, 0.0, 8.0], 0.5, 0.25);
        assert_eq!(found.fitted, [0.0, 0.0, 1.0, 0.75]);
        assert_eq!(found.next, 6.0 * 25.0 / 64.0);
    }
}
