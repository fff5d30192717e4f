//! Croston's method and the correction of its bias.

use super::level::Level;

/// `factor` times the smoothed size of a sale over the smoothed number of periods from sale to sale. The first sale, and
/// the periods up to it, are where both start; before it, 0.
pub(super) fn croston(history: &[f64], alpha: f64, factor: f64) -> Level {
    let mut state: Option<(f64, f64)> = None;
    let mut n_since = 0.0;
    let mut fitted = Vec::with_capacity(history.len());
    let mean = |state: Option<(f64, f64)>| state.map_or(0.0, |(size, gap)| factor * size / gap);
    for sold in history {
        fitted.push(mean(state));
        n_since += 1.0;
        if *sold > 0.0 {
            let smoothed = |old: f64, new: f64| old + alpha * (new - old);
            state = Some(match state {
                Some((size, gap)) => (smoothed(size, *sold), smoothed(gap, n_since)),
                None => (*sold, n_since),
            });
            n_since = 0.0;
        }
    }
    Level { next: mean(state), fitted, growth: 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // Sales of 3 and 5; gaps 2 and 3; alpha 1/2: sizes 3, 4 and gaps 2, 2.5.
        let found = croston(&[0.0, 3.0, 0.0, 0.0, 5.0, 0.0], 0.5, 0.75);
        assert!((found.next - 0.75 * 4.0 / 2.5).abs() < 1e-15);
        let want = [0.0, 0.0, 1.125, 1.125, 1.125, 1.2];
        for (found, want) in found.fitted.iter().zip(want) {
            assert!((found - want).abs() < 1e-15, "{found} {want}");
        }
    }
}
