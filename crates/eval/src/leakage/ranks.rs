//! Rank correlations, and what is left of one when another is known.

/// Ranks from 1, equal values with their mean rank.
pub(super) fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for group in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = first as f64 + (group.len() + 1) as f64 / 2.0;
        group.iter().for_each(|index| ranks[*index] = rank);
        first += group.len();
    }
    ranks
}

/// Pearson's correlation; 0 where a column is constant. Of ranks it is Spearman's.
pub(super) fn correlation(x: &[f64], y: &[f64]) -> f64 {
    let n = x.len().max(1) as f64;
    let (mean_x, mean_y) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        let (x, y) = (x - mean_x, y - mean_y);
        (xy, xx, yy) = (xy + x * y, xx + x * x, yy + y * y);
    }
    if xx > 0.0 && yy > 0.0 { xy / (xx * yy).sqrt() } else { 0.0 }
}

/// What is left of columns once others are known: they are put at right angles to the controls.
#[derive(Debug)]
pub(super) struct Residuals {
    /// Controls, each of mean 0, length 1 and at right angles to those before it.
    basis: Vec<Vec<f64>>,
    of_future: Vec<f64>,
    norm_of_future: f64,
}

/// A column whose part beside the controls is shorter than this share of it is told by them.
const NOTHING_LEFT: f64 = 1e-6;

impl Residuals {
    pub(super) fn new(future: &[f64], controls: &[Vec<f64>]) -> Self {
        let mut residuals = Self { basis: Vec::new(), of_future: Vec::new(), norm_of_future: 0.0 };
        for control in controls {
            let mut rest = residuals.of(control);
            let length = norm(&rest);
            if length > 0.0 {
                rest.iter_mut().for_each(|x| *x /= length);
                residuals.basis.push(rest);
            }
        }
        residuals.of_future = residuals.of(future);
        residuals.norm_of_future = norm(&residuals.of_future);
        residuals
    }

    /// What is left of the future, a value for each item.
    pub(super) fn of_future(&self) -> &[f64] {
        &self.of_future
    }

    /// What is left of `column`: all 0 if the controls tell it.
    fn of(&self, column: &[f64]) -> Vec<f64> {
        let mean = column.iter().sum::<f64>() / column.len().max(1) as f64;
        let mut rest: Vec<f64> = column.iter().map(|x| x - mean).collect();
        let whole = norm(&rest);
        for direction in &self.basis {
            let along: f64 = rest.iter().zip(direction).map(|(x, d)| x * d).sum();
            rest.iter_mut().zip(direction).for_each(|(x, d)| *x -= along * d);
        }
        if norm(&rest) <= NOTHING_LEFT * whole {
            rest.fill(0.0);
        }
        rest
    }
}

/// The length of ranks from their mean.
fn centered_norm(ranks: &[f64]) -> f64 {
    let mean = (ranks.len() + 1) as f64 / 2.0;
    ranks.iter().map(|x| (x - mean).powi(2)).sum::<f64>().sqrt()
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// How a column goes with the future beyond what the past tells.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Knowledge {
    /// Spearman's correlation with the future.
    pub(super) with_future: f64,
    /// The same with the past.
    pub(super) with_past: f64,
    /// Partial correlation with the future, the past held fixed.
    pub(super) partial: f64,
    /// Of the partial correlation, in standard errors from 0.
    pub(super) z: f64,
}

/// Standard errors from nothing that an alarm needs: many columns are looked at.
const MIN_Z: f64 = 6.0;
/// Correlation with the future that an alarm needs, whatever is left beside the past.
const MIN_WITH_FUTURE: f64 = 0.25;

impl Knowledge {
    /// From ranks of a column, of the future and of the past, and from all that is known of the past.
    ///
    /// Source: Kendall, Biometrika 32, 1942, for partial rank correlation, here with several columns held fixed; Fisher's
    /// transformation for its error.
    pub(super) fn new(column: &[f64], future: &[f64], past: &[f64], known: &Residuals) -> Self {
        let partial = correlation(&known.of(column), known.of_future());
        Self {
            with_future: correlation(column, future),
            with_past: correlation(column, past),
            partial,
            z: z(partial, column.len(), known.basis.len()),
        }
    }

    /// The same of a column that is one thing for `items` and another for all others: without a pass over all of them.
    pub(super) fn of_items(
        items: &[usize],
        future: &[f64],
        past: &[f64],
        known: &Residuals,
    ) -> Self {
        let (n, n_with) = (future.len() as f64, items.len() as f64);
        let sum = |values: &[f64]| items.iter().map(|item| values[*item]).sum::<f64>();
        let squares = n_with * (n - n_with) / n.max(1.0);
        // Ranks have the mean (n + 1) / 2.
        let with = |ranks: &[f64], norm: f64| {
            let along = sum(ranks) - n_with * (n + 1.0) / 2.0;
            if squares > 0.0 && norm > 0.0 { along / (squares.sqrt() * norm) } else { 0.0 }
        };
        let told: f64 = known.basis.iter().map(|direction| sum(direction).powi(2)).sum();
        let (rest, norm) = ((squares - told).max(0.0).sqrt(), known.norm_of_future);
        let partial = match rest > NOTHING_LEFT * squares.sqrt() && norm > 0.0 {
            true => (sum(known.of_future()) / (rest * norm)).clamp(-1.0, 1.0),
            false => 0.0,
        };
        Self {
            with_future: with(future, centered_norm(future)),
            with_past: with(past, centered_norm(past)),
            partial,
            z: z(partial, future.len(), known.basis.len()),
        }
    }

    /// Whether the column knows the future: strongly, far from chance, and more than it knows the past.
    pub(super) fn is_of_the_future(&self, threshold: f64) -> bool {
        self.partial.abs() > threshold
            && self.z.abs() > MIN_Z
            && self.with_future.abs() > MIN_WITH_FUTURE
    }
}

/// How a text parts the items that have it from those that do not, among items of which the past says the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Parting {
    /// Of pairs of an item with it and one without, the share in which the first has more future, minus the share in which it
    /// has less.
    pub(super) difference: f64,
    /// In standard errors from 0.
    pub(super) z: f64,
}

/// Items that are compared with each other: those that the past says the most alike of.
const STRATUM: usize = 40;
/// Difference from which a text is said to know the future; what untouched data has stands in docs/measurements.md.
const PARTS: f64 = 0.75;

impl Parting {
    /// Whether the text knows the future.
    pub(super) fn is_of_the_future(&self) -> bool {
        self.difference.abs() > PARTS && self.z.abs() > MIN_Z
    }
}

/// The items in strata of the future that the past foretells, each with its rank by what the past does not foretell.
///
/// Source: van Elteren, Bulletin of the Institute of International Statistics 37, 1960: rank sums within strata.
#[derive(Debug)]
pub(super) struct Strata {
    /// Stratum and rank of each item.
    of: Vec<(usize, f64)>,
    sizes: Vec<f64>,
}

impl Strata {
    pub(super) fn new(future: &[f64], known: &Residuals) -> Self {
        let rest = known.of_future();
        let foretold = |item: usize| future[item] - rest[item];
        let mut order: Vec<usize> = (0..future.len()).collect();
        order.sort_by(|a, b| foretold(*a).total_cmp(&foretold(*b)));
        let mut strata = Self { of: vec![(0, 0.0); future.len()], sizes: Vec::new() };
        for (number, stratum) in order.chunks(STRATUM).enumerate() {
            let own = ranks(&stratum.iter().map(|item| rest[*item]).collect::<Vec<_>>());
            stratum.iter().zip(own).for_each(|(item, rank)| strata.of[*item] = (number, rank));
            strata.sizes.push(stratum.len() as f64);
        }
        strata
    }

    /// How `items`, those that have a text, are parted from the others.
    pub(super) fn parted_by(&self, items: &[usize]) -> Parting {
        let mut with = vec![(0.0, 0.0); self.sizes.len()]; // how many, and the sum of their ranks
        for item in items {
            let (stratum, rank) = self.of[*item];
            with[stratum].0 += 1.0;
            with[stratum].1 += rank;
        }
        let (mut sum, mut n_pairs, mut variance) = (0.0, 0.0, 0.0);
        for ((n_with, rank_sum), size) in with.into_iter().zip(&self.sizes) {
            let pairs = n_with * (size - n_with);
            // Mann and Whitney's statistic, from its mean.
            sum += rank_sum - n_with * (n_with + 1.0) / 2.0 - pairs / 2.0;
            n_pairs += pairs;
            variance += pairs * (size + 1.0) / 12.0;
        }
        let of = |whole: f64, by: f64| if by > 0.0 { whole / by } else { 0.0 };
        Parting { difference: of(2.0 * sum, n_pairs), z: of(sum, variance.sqrt()) }
    }
}

/// Fisher's transformation of a correlation of `n` pairs with `n_fixed` columns held fixed, in standard errors.
fn z(correlation: f64, n: usize, n_fixed: usize) -> f64 {
    let freedom = n.saturating_sub(n_fixed + 3).max(1);
    correlation.clamp(-0.999_999, 0.999_999).atanh() * (freedom as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_by_hand() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
        assert!(ranks(&[]).is_empty());
    }

    #[test]
    fn a_column_of_the_past_knows_no_more_and_one_of_the_future_does() {
        let noise = |i: u32, by: u32| f64::from(i.wrapping_mul(2_654_435_761).rotate_left(by) % 97);
        let past: Vec<f64> = (0..400).map(|i| noise(i, 0)).collect();
        let future: Vec<f64> = (0..400).map(|i| past[i as usize] + noise(i, 9)).collect();
        let (past, future) = (ranks(&past), ranks(&future));
        let own: Vec<f64> = (0..400).map(|i| past[i as usize] + noise(i, 17) * 2.0).collect();
        let known = Residuals::new(&future, std::slice::from_ref(&past));
        let knows = |column: &[f64]| {
            Knowledge::new(&ranks(column), &future, &past, &known).is_of_the_future(0.4)
        };
        assert!(!knows(&own));
        assert!(knows(&future));
        assert!(!knows(&past), "nothing is left of it");
        let flat = vec![1.0; 400];
        assert!(!knows(&flat));
    }

    /// What the past foretells is no knowledge of a text, what it does not is.
    #[test]
    fn a_text_parts_items_of_one_past() {
        let past: Vec<f64> = (0..400).map(f64::from).collect();
        let chance = |i: u32| f64::from(i.wrapping_mul(2_654_435_761).rotate_left(7) % 101) - 50.0;
        let future: Vec<f64> = (0..400).map(|i| f64::from(i) + chance(i)).collect();
        let (past, future) = (ranks(&past), ranks(&future));
        let known = Residuals::new(&future, std::slice::from_ref(&past));
        let strata = Strata::new(&future, &known);
        let popular: Vec<usize> = (0..400).filter(|item| past[*item] > 200.0).collect();
        assert!(!strata.parted_by(&popular).is_of_the_future());
        let (lucky, unlucky): (Vec<usize>, Vec<usize>) =
            (0..400).partition(|item| chance(*item as u32) > 0.0);
        let found = strata.parted_by(&lucky);
        assert!(found.is_of_the_future() && found.difference > 0.9, "{found:?}");
        assert!((strata.parted_by(&unlucky).difference + found.difference).abs() < 1e-12);
        assert_eq!(strata.parted_by(&[]), Parting { difference: 0.0, z: 0.0 });
    }

    #[test]
    fn a_column_of_two_values_is_known_by_its_items() {
        let chance =
            |i: u32, by: u32| f64::from(i.wrapping_mul(2_654_435_761).rotate_left(by) % 89);
        let past = ranks(&(0..300).map(|i| chance(i, 3)).collect::<Vec<_>>());
        let future = ranks(&(0..300).map(|i| chance(i, 3) + chance(i, 11)).collect::<Vec<_>>());
        let controls = [past.clone(), ranks(&(0..300).map(|i| chance(i, 20)).collect::<Vec<_>>())];
        let known = Residuals::new(&future, &controls);
        let items: Vec<usize> = (0..300).filter(|i| chance(*i as u32, 11) > 60.0).collect();
        let mut column = vec![0.0; 300];
        items.iter().for_each(|item| column[*item] = 1.0);
        let whole = Knowledge::new(&ranks(&column), &future, &past, &known);
        let short = Knowledge::of_items(&items, &future, &past, &known);
        // The same sums in another order.
        for (a, b) in [
            (whole.with_future, short.with_future),
            (whole.with_past, short.with_past),
            (whole.partial, short.partial),
            (whole.z, short.z),
        ] {
            assert!((a - b).abs() < 1e-9, "{whole:?} {short:?}");
        }
        assert!(short.partial > 0.5, "{short:?}");
        let all: Vec<usize> = (0..300).collect();
        assert_eq!(Knowledge::of_items(&all, &future, &past, &known).partial, 0.0);
        assert_eq!(Knowledge::of_items(&[], &[], &[], &Residuals::new(&[], &[])).partial, 0.0);
    }

    #[test]
    fn controls_that_say_the_same_are_held_fixed_once() {
        let control: Vec<f64> = (0..50).map(f64::from).collect();
        let twice: Vec<f64> = control.iter().map(|x| 3.0 - 2.0 * x).collect();
        let known = Residuals::new(&control, &[control.clone(), twice, vec![7.0; 50]]);
        assert_eq!(known.basis.len(), 1);
        assert!(known.of_future().iter().all(|x| *x == 0.0));
    }
}
