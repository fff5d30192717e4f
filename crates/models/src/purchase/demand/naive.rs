//! A season ago.

use super::spread::Spread;

/// The next season, and the errors of having said the same before.
pub(super) fn seasonal(history: &[f64], season: usize) -> (Vec<f64>, Spread) {
    // Until a season has passed, the period before stands for it.
    let lag = if season <= history.len() { season } else { 1 };
    let next = history[history.len() - lag..].to_vec();
    let errors: Vec<f64> =
        (lag..history.len()).map(|period| history[period] - history[period - lag]).collect();
    (next, Spread::errors(errors))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let (next, _) = seasonal(&[1.0, 2.0, 3.0, 4.0, 5.0], 2);
        assert_eq!(next, [4.0, 5.0]);
        let (next, _) = seasonal(&[1.0, 2.0, 3.0], 4);
        assert_eq!(next, [3.0]);
        let (next, _) = seasonal(&[1.0, 2.0], 2);
        assert_eq!(next, [1.0, 2.0]);
    }
}
