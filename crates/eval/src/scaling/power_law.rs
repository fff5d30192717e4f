//! Power laws through measured points.

use serde::{Deserialize, Serialize};

/// `y = factor · x^exponent`, the line through the points whose squared distances in `ln y` are least, with the range of
/// `x` that it was fitted on: outside of it the law is a guess.
///
/// ```
/// use forecart_eval::scaling::PowerLaw;
/// let law = PowerLaw::fit(&[(1.0, 3.0), (2.0, 12.0), (4.0, 48.0)]).unwrap();
/// assert!((law.exponent - 2.0).abs() < 1e-12 && (law.at(10.0) - 300.0).abs() < 1e-9);
/// assert_eq!((law.from, law.to), (1.0, 4.0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PowerLaw {
    /// The slope of the line in logarithms.
    pub exponent: f64,
    /// The value at `x = 1`.
    pub factor: f64,
    /// Smallest `x` of the points.
    pub from: f64,
    /// Largest `x` of the points.
    pub to: f64,
    /// Points.
    pub n_points: usize,
    /// Share of the variance of `ln y` that the line explains; 1 where all `y` are equal.
    pub r_squared: f64,
    /// The slope between the two points of largest `x` alone: where a curve bends, what it comes to.
    pub last_exponent: f64,
}

impl PowerLaw {
    /// The law of `(x, y)` points; `None` without two different `x`. Points that are not positive and finite have no
    /// logarithm and are left out.
    pub fn fit(points: &[(f64, f64)]) -> Option<Self> {
        let is_usable = |v: f64| v > 0.0 && v.is_finite();
        let usable = points.iter().filter(|(x, y)| is_usable(*x) && is_usable(*y));
        let mut logs: Vec<(f64, f64)> = usable.map(|(x, y)| (x.ln(), y.ln())).collect();
        logs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (first, last) = (*logs.first()?, *logs.last()?);
        let before = logs.iter().rev().find(|(x, _)| *x < last.0)?;
        let n = logs.len() as f64;
        let mean_x = logs.iter().map(|(x, _)| x).sum::<f64>() / n;
        let mean_y = logs.iter().map(|(_, y)| y).sum::<f64>() / n;
        let sum = |term: fn(f64, f64) -> f64| -> f64 {
            logs.iter().map(|(x, y)| term(x - mean_x, y - mean_y)).sum()
        };
        let (xx, xy, yy) = (sum(|x, _| x * x), sum(|x, y| x * y), sum(|_, y| y * y));
        let exponent = xy / xx;
        Some(Self {
            exponent,
            factor: (mean_y - exponent * mean_x).exp(),
            from: first.0.exp(),
            to: last.0.exp(),
            n_points: logs.len(),
            r_squared: if yy > 0.0 { xy * xy / (xx * yy) } else { 1.0 },
            last_exponent: (last.1 - before.1) / (last.0 - before.0),
        })
        .map(|law| law.with_exact_range(points))
    }

    /// The range as it was given: a logarithm and its exponential may lose the last digit.
    fn with_exact_range(self, points: &[(f64, f64)]) -> Self {
        let nearest = |wanted: f64| {
            let distance = |x: f64| (x - wanted).abs();
            let xs = points.iter().map(|(x, _)| *x);
            xs.min_by(|a, b| distance(*a).total_cmp(&distance(*b))).unwrap_or(wanted)
        };
        Self { from: nearest(self.from), to: nearest(self.to), ..self }
    }

    /// The value at `x`.
    pub fn at(&self, x: f64) -> f64 {
        self.factor * x.powf(self.exponent)
    }

    /// The `x` of the value `y`; `None` if no `x` has it.
    pub fn x_of(&self, y: f64) -> Option<f64> {
        let x = (y / self.factor).powf(1.0 / self.exponent);
        (x > 0.0 && x.is_finite()).then_some(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_points_are_met_and_more_are_averaged() {
        let law = PowerLaw::fit(&[(2.0, 10.0), (8.0, 5.0)]).unwrap();
        assert!((law.exponent + 0.5).abs() < 1e-12 && (law.r_squared - 1.0).abs() < 1e-12);
        assert!((law.at(2.0) - 10.0).abs() < 1e-9 && (law.at(8.0) - 5.0).abs() < 1e-9);
        assert!((law.x_of(5.0).unwrap() - 8.0).abs() < 1e-9);

        // In logarithms to the base 2: (0, 0), (1, 1), (2, 1); by hand, slope 1/2 through (1, 2/3).
        let law = PowerLaw::fit(&[(4.0, 2.0), (1.0, 1.0), (2.0, 2.0)]).unwrap();
        assert!((law.exponent - 0.5).abs() < 1e-12, "{law:?}");
        assert!((law.factor - 2f64.powf(1.0 / 6.0)).abs() < 1e-12, "{law:?}");
        assert!((law.r_squared - 0.75).abs() < 1e-12, "{law:?}");
        assert!(law.last_exponent.abs() < 1e-12 && law.n_points == 3, "{law:?}");
    }

    #[test]
    fn what_has_no_slope_has_no_law() {
        assert_eq!(PowerLaw::fit(&[]), None);
        assert_eq!(PowerLaw::fit(&[(3.0, 1.0), (3.0, 2.0)]), None);
        assert_eq!(PowerLaw::fit(&[(3.0, 1.0), (4.0, 0.0), (0.0, 5.0), (5.0, f64::NAN)]), None);
        let flat = PowerLaw::fit(&[(1.0, 7.0), (2.0, 7.0)]).unwrap();
        assert_eq!((flat.exponent, flat.r_squared), (0.0, 1.0));
        assert_eq!(flat.x_of(8.0), None);
    }
}
