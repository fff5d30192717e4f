//! Initial weights, drawn from a passed generator.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::{Matrix, NnError, error::check_range};

/// How the values of a weight matrix `[n_out, n_in]` are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Init {
    /// All zero.
    Zeros,
    /// Uniform in `±sqrt(6 / (n_in + n_out))`: for sigmoid, tanh and linear outputs.
    ///
    /// Source: Glorot and Bengio, AISTATS 2010, equation 16.
    Xavier,
    /// Normal with standard deviation `sqrt(2 / n_in)`, cut at two of them: for ReLU and GELU.
    ///
    /// Source: He et al., ICCV 2015, equation 10. We differ: the tails are cut.
    He,
    /// Normal with the given standard deviation, redrawn outside two of them: for embedding tables.
    ///
    /// The deviation of what is left is 0.88 times the given one.
    TruncatedNormal {
        /// Standard deviation before the cut, positive.
        std_dev: f32,
    },
}

impl Init {
    /// Draws a matrix `[n_out, n_in]`. The same generator state gives the same bytes on every machine.
    ///
    /// # Errors
    /// [`NnError::OutOfRange`] if a standard deviation is not positive and finite.
    pub fn matrix(
        self,
        n_out: usize,
        n_in: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<Matrix, NnError> {
        let mut weight = Matrix::zeros(n_out, n_in);
        match self {
            Self::Zeros => {}
            Self::Xavier => {
                let bound = (6.0 / (n_in + n_out).max(1) as f32).sqrt();
                for value in weight.as_mut_slice() {
                    *value = (2.0 * rng.random::<f32>() - 1.0) * bound;
                }
            }
            Self::He => fill_normal(&mut weight, (2.0 / n_in.max(1) as f32).sqrt(), rng),
            Self::TruncatedNormal { std_dev } => {
                let inside = std_dev > 0.0 && std_dev.is_finite();
                check_range("std_dev", f64::from(std_dev), inside, "positive")?;
                fill_normal(&mut weight, std_dev, rng);
            }
        }
        Ok(weight)
    }
}

fn fill_normal(weight: &mut Matrix, std_dev: f32, rng: &mut ChaCha8Rng) {
    for value in weight.as_mut_slice() {
        *value = loop {
            let z = standard_normal(rng);
            if z.abs() <= 2.0 {
                break z * std_dev;
            }
        };
    }
}

/// One standard normal value by the polar method (Marsaglia and Bray, SIAM Review 6(3), 1964).
///
/// It needs a logarithm and a square root but no sine, whose last bit differs between platforms' libraries.
fn standard_normal(rng: &mut ChaCha8Rng) -> f32 {
    loop {
        let u = 2.0 * rng.random::<f64>() - 1.0;
        let v = 2.0 * rng.random::<f64>() - 1.0;
        let s = u * u + v * v;
        if s > 0.0 && s < 1.0 {
            return (u * (-2.0 * s.ln() / s).sqrt()) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn moments(weight: &Matrix) -> (f64, f64, f64) {
        let n = weight.as_slice().len() as f64;
        let mean = weight.as_slice().iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        let square = weight.as_slice().iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n;
        let max = weight.as_slice().iter().fold(0.0_f64, |max, &x| max.max(f64::from(x).abs()));
        (mean, (square - mean * mean).sqrt(), max)
    }

    #[test]
    fn spread_and_bounds_are_those_of_the_papers() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let (mean, std_dev, max) = moments(&Init::Xavier.matrix(300, 100, &mut rng).unwrap());
        let bound = (6.0_f64 / 400.0).sqrt();
        // 30,000 draws: the mean is within 4 / sqrt(30,000) deviations, the deviation within 2 %.
        assert!(mean.abs() < 0.002 && max <= bound && max > 0.99 * bound);
        assert!((std_dev / (bound / 3.0_f64.sqrt()) - 1.0).abs() < 0.02);

        // Cut at two deviations, a normal keeps 0.8796 of its deviation.
        let (mean, std_dev, max) = moments(&Init::He.matrix(300, 100, &mut rng).unwrap());
        let he = (2.0_f64 / 100.0).sqrt();
        assert!(mean.abs() < 0.004 && max <= 2.0 * he * 1.000_001);
        assert!((std_dev / (0.8796 * he) - 1.0).abs() < 0.02);

        let init = Init::TruncatedNormal { std_dev: 0.02 };
        let (_, std_dev, max) = moments(&init.matrix(300, 100, &mut rng).unwrap());
        assert!((std_dev / (0.8796 * 0.02) - 1.0).abs() < 0.02 && max <= 0.040_001);
    }

    #[test]
    fn the_seed_decides() {
        let draw = |seed| Init::He.matrix(4, 4, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap();
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }

    #[test]
    fn a_deviation_must_be_positive() {
        let init = Init::TruncatedNormal { std_dev: 0.0 };
        let error = init.matrix(1, 1, &mut ChaCha8Rng::seed_from_u64(0)).unwrap_err();
        assert!(matches!(error, NnError::OutOfRange { name: "std_dev", .. }));
    }
}
