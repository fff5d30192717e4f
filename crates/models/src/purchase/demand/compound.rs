//! How many units a random number of orders of random sizes add up to.

/// Points of the grid that sums are counted on, at most.
const MAX_POINTS: f64 = 8192.0;

/// Where the recursion is scaled down, and by what.
const LARGE: f64 = 1e250;

/// Dispersions below this are none: the distributions are equal to many digits.
const SMALLEST_DISPERSION: f64 = 1e-6;

/// Orders, of which there are `mean` on average with a variance of `mean + dispersion mean²`, and the sizes that each has.
///
/// The number of orders is negative binomial, Poisson without dispersion; the distribution of the sum is computed by Panjer's recursion
/// (ASTIN Bulletin 12(1), 1981) on whole units, where more than 8,192 of them matter on multiples of several, with
/// sizes between two multiples shared between these so that the mean stays (Gerber, ASTIN Bulletin 13(1), 1982).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Compound<'a> {
    /// Expected number of orders, not below 0.
    pub(super) mean: f64,
    /// Not below 0.
    pub(super) dispersion: f64,
    /// Units of an order, above 0, with weights above 0 of any sum.
    pub(super) sizes: &'a [(f64, f64)],
}

impl Compound<'_> {
    /// Expected units.
    pub(super) fn mean_units(&self) -> f64 {
        self.mean * self.moments().0
    }

    /// First and second moment of a size.
    fn moments(&self) -> (f64, f64) {
        let (mut total, mut first, mut second) = (0.0, 0.0, 0.0);
        for (size, weight) in self.sizes {
            total += weight;
            first += weight * size;
            second += weight * size * size;
        }
        if total > 0.0 { (first / total, second / total) } else { (0.0, 0.0) }
    }

    /// The lowest number of units, on the grid, that is not exceeded with each probability of `levels`.
    pub(super) fn quantiles(&self, levels: &[f64]) -> Vec<f64> {
        let (first, second) = self.moments();
        if !(self.mean > 0.0 && first > 0.0) {
            return vec![0.0; levels.len()];
        }
        let variance = self.mean * second + self.dispersion * (self.mean * first).powi(2);
        let enough = self.mean * first + 4.0 * variance.sqrt();
        let are_whole = self.sizes.iter().all(|(size, _)| size.fract() == 0.0);
        let least = if are_whole { 1.0 } else { 1.0 / 16.0 };
        let unit = (enough / MAX_POINTS).max(least);
        let grid = self.on_grid(unit);
        let mut highest = 0.0f64;
        levels.iter().for_each(|level| highest = highest.max(*level));
        // Chance grows from 0, so one pass finds the levels in ascending order.
        let mut order: Vec<usize> = (0..levels.len()).collect();
        order.sort_by(|a, b| levels[*a].total_cmp(&levels[*b]));
        let mut found = vec![0.0; levels.len()];
        let mut next = 0;
        self.walk(&grid, (4.0 * MAX_POINTS) as usize, |point, below| {
            while next < order.len() && below >= levels[order[next]] {
                found[order[next]] = point as f64 * unit;
                next += 1;
            }
            next < order.len()
        });
        // What the walk did not reach lies past any count that matters.
        order[next..].iter().for_each(|at| found[*at] = 4.0 * MAX_POINTS * unit);
        found
    }

    /// The chance of each size of 0, 1, .. units of the grid that has one, ascending.
    fn on_grid(&self, unit: f64) -> Vec<(usize, f64)> {
        let total: f64 = self.sizes.iter().map(|(_, weight)| weight).sum();
        let mut points: Vec<(usize, f64)> = Vec::with_capacity(2 * self.sizes.len());
        for (size, weight) in self.sizes {
            let (at, chance) = (size / unit, weight / total);
            let low = at.floor();
            let share = at - low;
            points.push((low as usize, chance * (1.0 - share)));
            if share > 0.0 {
                points.push((low as usize + 1, chance * share));
            }
        }
        points.sort_by_key(|(point, _)| *point);
        points.dedup_by(|next, before| {
            let is_same = next.0 == before.0;
            if is_same {
                before.1 += next.1;
            }
            is_same
        });
        points
    }

    /// Tells `each` the chance of at most 0, 1, .. units of the grid, until it says to stop.
    fn walk(
        &self,
        sizes: &[(usize, f64)],
        n_points: usize,
        mut each: impl FnMut(usize, f64) -> bool,
    ) {
        // Orders of size 0 are no orders: thinned, a negative binomial number keeps its dispersion.
        let nothing = sizes.first().filter(|(point, _)| *point == 0).map_or(0.0, |(_, p)| *p);
        let mean = self.mean * (1.0 - nothing);
        let sizes: Vec<(usize, f64)> = sizes
            .iter()
            .filter(|(point, _)| *point > 0)
            .map(|(point, p)| (*point, p / (1.0 - nothing)))
            .collect();
        let (a, b, log_none) = if self.dispersion > SMALLEST_DISPERSION {
            let (shape, odds) = (1.0 / self.dispersion, self.dispersion * mean);
            let a = odds / (1.0 + odds);
            (a, (shape - 1.0) * a, -shape * odds.ln_1p())
        } else {
            (0.0, mean, -mean)
        };
        // Chances up to a factor, of which `log_scale` is the logarithm.
        let mut chances = Vec::with_capacity(256);
        chances.push(1.0);
        let (mut log_scale, mut below) = (log_none, 1.0f64);
        for point in 0..n_points {
            if point > 0 {
                let terms = sizes.iter().take_while(|(size, _)| *size <= point);
                let sum: f64 = terms
                    .map(|(size, p)| {
                        (a + b * *size as f64 / point as f64) * p * chances[point - size]
                    })
                    .sum();
                chances.push(sum);
                below += sum;
                if below > LARGE {
                    chances.iter_mut().for_each(|chance| *chance /= LARGE);
                    below /= LARGE;
                    log_scale += LARGE.ln();
                }
            }
            // Rounding may leave the whole a little short of 1.
            let chance = (below.ln() + log_scale).exp() * (1.0 + 1e-9);
            if !each(point, chance) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use statrs::distribution::{DiscreteCDF, NegativeBinomial, Poisson};

    const LEVELS: [f64; 5] = [0.5, 0.1, 0.9, 0.025, 0.975];

    #[test]
    fn orders_of_one_unit_are_the_number_of_orders() {
        for mean in [0.01, 0.4, 3.0, 40.0, 2000.0] {
            // Up to 8,192 points, counts are exact.
            let sizes = [(1.0, 2.0)];
            let poisson = Compound { mean, dispersion: 0.0, sizes: &sizes }.quantiles(&LEVELS);
            let known = Poisson::new(mean).unwrap();
            let wider = Compound { mean, dispersion: 0.25, sizes: &sizes }.quantiles(&LEVELS);
            let known_wider = NegativeBinomial::new(4.0, 4.0 / (4.0 + mean)).unwrap();
            for (at, level) in LEVELS.iter().enumerate() {
                let (found, wider) = (poisson[at] as u64, wider[at] as u64);
                assert!(known.cdf(found) >= level - 1e-9, "{mean} {level}");
                assert!(found == 0 || known.cdf(found - 1) < *level, "{mean} {level}");
                assert!(known_wider.cdf(wider) >= level - 1e-6, "{mean} {level} {wider}");
                assert!(wider == 0 || known_wider.cdf(wider - 1) < *level, "{mean} {level}");
            }
        }
    }

    #[test]
    fn sums_are_those_that_are_drawn() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for (mean, sizes) in [
            (0.7, vec![(1.0, 3.0), (6.0, 1.0), (144.0, 0.2)]),
            (12.0, vec![(2.0, 1.0), (12.0, 1.0), (24.0, 0.5)]),
            (30.0, vec![(0.25, 1.0), (1.5, 1.0)]),
            (60.0, vec![(1.0, 1.0), (500.0, 0.05)]),
        ] {
            let compound = Compound { mean, dispersion: 0.0, sizes: &sizes };
            let total: f64 = sizes.iter().map(|(_, weight)| weight).sum();
            let mut drawn: Vec<f64> = (0..20_000)
                .map(|_| {
                    let (mut product, mut sum) = (rng.random::<f64>(), 0.0);
                    while product > (-mean).exp() {
                        let mut at = rng.random::<f64>() * total;
                        let size = sizes.iter().find(|(_, weight)| {
                            at -= weight;
                            at <= 0.0
                        });
                        sum += size.unwrap_or(&sizes[0]).0;
                        product *= rng.random::<f64>();
                    }
                    sum
                })
                .collect();
            drawn.sort_by(f64::total_cmp);
            for (level, found) in LEVELS.iter().zip(compound.quantiles(&LEVELS)) {
                // As many as the level says are below, to four standard errors; the grid is of 1 or of 1/8192 of what matters.
                let around = |shift: f64| {
                    let n =
                        drawn.partition_point(|sum| *sum <= found * (1.0 + shift) + 20.0 * shift);
                    n as f64 / 20_000.0
                };
                let error = 4.0 * (level * (1.0 - level) / 20_000.0).sqrt();
                assert!(around(0.01) >= level - error, "{mean} {level} {found}: {}", around(0.01));
                assert!(
                    around(-0.03) <= level + error,
                    "{mean} {level} {found}: {}",
                    around(-0.03)
                );
            }
            let mean = drawn.iter().sum::<f64>() / 20_000.0;
            assert!((mean / compound.mean_units() - 1.0).abs() < 0.06, "{mean}");
        }
    }

    #[test]
    fn nothing_ordered_is_nothing_sold() {
        let none = Compound { mean: 0.0, dispersion: 1.0, sizes: &[(1.0, 1.0)] };
        assert_eq!(none.quantiles(&LEVELS), [0.0; 5]);
        let of_nothing = Compound { mean: 3.0, dispersion: 1.0, sizes: &[] };
        assert_eq!((of_nothing.quantiles(&LEVELS), of_nothing.mean_units()), (vec![0.0; 5], 0.0));
    }

    proptest! {
        #[test]
        fn quantiles_are_finite_and_in_order(
            mean in 0.0..1e5f64, dispersion in prop_oneof![Just(0.0), 1e-9..20.0f64],
            sizes in prop::collection::vec((prop_oneof![(1u32..200).prop_map(f64::from), 1e-3..1e6f64], 0.01..5.0f64), 1..20),
        ) {
            let found = Compound { mean, dispersion, sizes: &sizes }.quantiles(&[0.05, 0.5, 0.9, 0.99]);
            prop_assert!(found.iter().all(|units| units.is_finite() && *units >= 0.0), "{found:?}");
            prop_assert!(found.is_sorted(), "{found:?}");
        }
    }
}
