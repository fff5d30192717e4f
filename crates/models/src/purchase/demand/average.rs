//! The mean of the last periods.

use super::level::Level;

pub(super) fn moving(history: &[f64], window: usize) -> Level {
    let mean = |end: usize| {
        let last = &history[end.saturating_sub(window)..end];
        last.iter().sum::<f64>() / last.len() as f64
    };
    let fitted = (0..history.len()).map(|period| mean(period.max(1))).collect();
    Level { next: mean(history.len()), fitted, growth: 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let found = moving(&[2.0, 4.0, 9.0, 1.0], 2);
        assert_eq!(found, Level { next: 5.0, fitted: vec![2.0, 2.0, 3.0, 6.5], growth: 0.0 });
        assert_eq!(moving(&[2.0, 4.0], 5).next, 3.0);
    }
}
