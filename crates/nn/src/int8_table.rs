//! A table in a quarter of the memory that tells which rows can be among the best.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::Matrix;
use crate::kernels::{INT8_ROWS, INT8_RUN, Int8Bounds, dot_int8};

/// Rows that every search looks at before the next ones are read from memory.
const ROWS_AT_ONCE: usize = 256;
/// The largest value of a byte, so that a vector and its opposite are rounded alike.
const MOST: f64 = 127.0;
/// Added and taken away, it rounds an f64 to a whole number.
const ROUND: f64 = 1.5 * (1_u64 << 52) as f64;
/// What is added to values of the table, which are stored without a sign.
const ZERO: u8 = 128;
/// The widest table: sums of more products could leave an `i32`.
const MOST_COLS: usize = 1 << 16;

/// A copy of a table with a byte for each value (scalar quantization), for the first of two steps to the rows with the largest dot products:
/// [`Self::candidates`] leaves out only rows that cannot be among them, so that exact products of the candidates give exactly the rows, and
/// the products, that those of all rows would.
///
/// The step is bound by memory: it reads a quarter of what exact products read, and several searches share one reading.
///
/// # The bound
/// With `m` the mean of all rows, row `x` is `m + s c + e`: whole numbers `c` in -127..=127, a scale `s`, and an error `e`. The query `q` is
/// `t b + f` in the same way. Then
///
/// ```text
/// q·x = q·m + s t (b·c) + s (f·c) + q·e    and    |s (f·c) + q·e| <= s (|f| C + |q| E) = s B
/// ```
///
/// by Cauchy and Schwarz, where `C` is the largest `|c|` and `E` the largest `|e| / s` of the table. `b·c` is a sum of whole numbers and exact.
/// `q·m` is the same for all rows. So a row is left out if `s (t b·c + B)` is less than `s' (t b·c' - B)` of `k` others, less twice what
/// rounding may add: in the exact product, whatever the order of its sum, `(d + 32) 2⁻²³ |q| |x|` at most, and in the bounds themselves four
/// roundings. Errors of rows so small that `s` is 0 count as rounding too.
///
/// # Cost
/// Of 100,000 normal rows of 64 values about twice `k` are candidates. Rows that are nearly alike can all be.
///
/// ```
/// use forecart_nn::{Int8Table, Matrix, RowSearch};
/// let table = Matrix::from_rows(&[[1.0, 2.0], [-3.0, 0.5], [2.0, 2.0], [0.0, 0.0]]);
/// let int8 = Int8Table::new(&table).unwrap();
/// let search = RowSearch { query: &[1.0, 1.0], k: 1, skip: &[] };
/// assert_eq!(int8.candidates(&[search]), [Some(vec![2])]);
/// ```
#[derive(Debug, Clone)]
pub struct Int8Table {
    rows: usize,
    cols: usize,
    /// Columns of [`Self::blocks`], the last ones 0.
    padded_cols: usize,
    /// `[rows / INT8_ROWS, padded_cols / INT8_RUN, INT8_ROWS, INT8_RUN]`, rounded up: `c + ZERO`.
    blocks: Vec<u8>,
    /// `s` of each row; of rows that fill the last block 0.
    scales: Vec<f32>,
    limits: Limits,
}

/// The largest of each among the rows.
#[derive(Debug, Clone, Copy, Default)]
struct Limits {
    /// `|x|`.
    norm: f64,
    /// `|c|`.
    whole: f64,
    /// `|e| / s`, where `s` is not 0.
    error: f64,
    /// `|e|` where `s` is 0.
    unscaled: f64,
    /// `s`.
    scale: f64,
}

/// What is looked for: the rows with the largest dot products.
#[derive(Debug, Clone, Copy)]
pub struct RowSearch<'a> {
    /// As long as a row.
    pub query: &'a [f32],
    /// How many.
    pub k: usize,
    /// Rows that are not wanted, ascending.
    pub skip: &'a [u32],
}

impl Int8Table {
    /// Rounds a table; `None` if it has a value that is not finite, or more than 2^16 columns.
    pub fn new(table: &Matrix) -> Option<Self> {
        let [rows, cols] = table.shape();
        if cols > MOST_COLS || table.as_slice().iter().any(|value| !value.is_finite()) {
            return None;
        }
        let mean = mean_row(table);
        let padded_cols = cols.next_multiple_of(INT8_RUN);
        let padded_rows = rows.next_multiple_of(INT8_ROWS);
        let mut int8 = Self {
            rows,
            cols,
            padded_cols,
            blocks: vec![ZERO; padded_rows * padded_cols],
            scales: vec![0.0; padded_rows],
            limits: Limits::default(),
        };
        let mut centered = vec![0.0_f64; cols];
        let mut whole = vec![0_i8; cols];
        for row in 0..rows {
            let values = table.row(row);
            for (to, (value, mean)) in centered.iter_mut().zip(values.iter().zip(&mean)) {
                *to = f64::from(*value) - mean;
            }
            let scale = quantize(&centered, &mut whole);
            let limits = &mut int8.limits;
            let error = norm(error_of(&centered, scale, &whole));
            if scale > 0.0 {
                limits.error = limits.error.max(error / f64::from(scale));
            } else {
                limits.unscaled = limits.unscaled.max(error);
            }
            limits.norm = limits.norm.max(norm(values.iter().map(|value| f64::from(*value))));
            limits.whole = limits.whole.max(norm(whole.iter().map(|value| f64::from(*value))));
            limits.scale = limits.scale.max(f64::from(scale));
            int8.scales[row] = scale;
            let block = row / INT8_ROWS * padded_cols * INT8_ROWS;
            for (run, values) in whole.chunks(INT8_RUN).enumerate() {
                let at = block + (run * INT8_ROWS + row % INT8_ROWS) * INT8_RUN;
                for (to, value) in int8.blocks[at..].iter_mut().zip(values) {
                    *to = ZERO.wrapping_add_signed(*value);
                }
            }
        }
        Some(int8)
    }

    /// For each search, the rows that may be among the `k` with the largest products, ascending; rows past them in equal products are in, too.
    /// `None` where products could overflow, so that nothing is known.
    ///
    /// # Panics
    /// If a query is not as long as a row.
    pub fn candidates(&self, searches: &[RowSearch<'_>]) -> Vec<Option<Vec<u32>>> {
        let mut running: Vec<_> =
            searches.iter().map(|search| Running::new(search, self.cols, &self.limits)).collect();
        let mut products = [0; ROWS_AT_ONCE];
        for (at, scales) in self.scales.chunks(ROWS_AT_ONCE).enumerate() {
            let first_row = at * ROWS_AT_ONCE;
            let n_bytes = scales.len() * self.padded_cols;
            let blocks = &self.blocks[first_row * self.padded_cols..][..n_bytes];
            let products = &mut products[..scales.len()];
            for search in running.iter_mut().flatten() {
                dot_int8(blocks, &search.whole, products);
                search.look(products, scales, first_row..self.rows);
            }
        }
        running.into_iter().map(|search| search.map(Running::into_rows)).collect()
    }
}

/// The mean of all rows.
fn mean_row(table: &Matrix) -> Vec<f64> {
    let mut sums = vec![0.0; table.cols()];
    for row in 0..table.rows() {
        for (sum, value) in sums.iter_mut().zip(table.row(row)) {
            *sum += f64::from(*value);
        }
    }
    // Any vector would do; the mean makes the rest small.
    sums.iter_mut().for_each(|sum| *sum /= table.rows() as f64);
    sums
}

/// Writes the nearest multiples of a scale, which is returned, to values.
fn quantize(values: &[f64], whole: &mut [i8]) -> f32 {
    let largest = values.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
    let scale = (largest / MOST) as f32;
    let inverse = if scale > 0.0 { f64::from(scale).recip() } else { 0.0 };
    for (whole, value) in whole.iter_mut().zip(values) {
        // Near 1.5 * 2^52 the neighbors of a number are whole: this rounds without a call.
        let ratio = (value * inverse + ROUND) - ROUND;
        *whole = ratio.clamp(-MOST, MOST) as i8;
    }
    scale
}

fn error_of(values: &[f64], scale: f32, whole: &[i8]) -> impl Iterator<Item = f64> {
    values.iter().zip(whole).map(move |(value, whole)| value - f64::from(scale) * f64::from(*whole))
}

/// The Euclidean norm, no less than it is.
fn norm(values: impl Iterator<Item = f64>) -> f64 {
    // Sums of up to 2^16 squares in f64 are off by less.
    values.map(|value| value * value).sum::<f64>().sqrt() * (1.0 + 1e-9)
}

/// A search on its way through the rows.
struct Running<'a> {
    k: usize,
    skip: &'a [u32],
    /// `b`, padded.
    whole: Vec<i8>,
    bounds: Int8Bounds,
    /// Twice what rounding may add.
    slack: f64,
    /// The `k` best of the least that products may be.
    lows: BinaryHeap<Reverse<Low>>,
    /// Rows whose product may be no more than less than this are out.
    cut: f32,
    /// Rows that were not out, and the most that their products may be.
    found: Vec<(u32, f32)>,
}

impl<'a> Running<'a> {
    fn new(search: &RowSearch<'a>, cols: usize, limits: &Limits) -> Option<Self> {
        assert_eq!(search.query.len(), cols, "one value for each column");
        if search.query.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let query: Vec<f64> = search.query.iter().map(|value| f64::from(*value)).collect();
        let mut whole = vec![0; cols.next_multiple_of(INT8_RUN)];
        let factor = quantize(&query, &mut whole[..cols]);
        let error = norm(error_of(&query, factor, &whole[..cols]));
        let query = norm(query.into_iter());
        let width = error * limits.whole + query * limits.error;
        // Rounded to f32, then no less than it was.
        let width = (width as f32).next_up();
        let of_whole = f64::from(factor) * norm(whole.iter().map(|value| f64::from(*value)));
        let largest = limits.scale * (of_whole * limits.whole + f64::from(width));
        let d = cols as f64;
        // 2⁻²² in place of 2⁻²³ leaves room for what f64 rounds; 2⁻¹⁴⁸ is what is lost below the smallest f32.
        let slack = (d + 32.0) * 2_f64.powi(-22) * query * limits.norm
            + query * limits.unscaled
            + 5.0 * 2_f64.powi(-24) * largest
            + (d + 2.0 + limits.scale) * 2_f64.powi(-148);
        let is_far_from_overflow = largest.max(query * limits.norm) < f64::from(f32::MAX) / 8.0;
        is_far_from_overflow.then(|| Self {
            k: search.k,
            skip: search.skip,
            bounds: Int8Bounds {
                offset: i32::from(ZERO) * whole.iter().map(|value| i32::from(*value)).sum::<i32>(),
                factor,
                width,
            },
            whole,
            slack: 2.0 * slack,
            lows: BinaryHeap::with_capacity(search.k.min(1024)),
            cut: f32::NEG_INFINITY,
            found: Vec::new(),
        })
    }

    /// Looks at the rows from the first of `rows` on.
    fn look(&mut self, products: &[i32], scales: &[f32], rows: std::ops::Range<usize>) {
        let (mut highs, mut highest) = ([0.0; ROWS_AT_ONCE], [0.0; ROWS_AT_ONCE / INT8_ROWS]);
        let highs = &mut highs[..products.len()];
        let highest = &mut highest[..products.len() / INT8_ROWS];
        self.bounds.most(products, scales, highs, highest);
        for (highest, first) in highest.iter().zip((0..).step_by(INT8_ROWS)) {
            if *highest < self.cut {
                continue;
            }
            for (high, at) in highs[first..].iter().zip(first..first + INT8_ROWS) {
                let row = rows.start + at;
                let is_in = *high >= self.cut && row < rows.end;
                if is_in && self.skip.binary_search(&(row as u32)).is_err() {
                    self.found.push((row as u32, *high));
                    self.raise(self.bounds.least(products[at], scales[at]));
                }
            }
        }
    }

    /// Takes the least that a product may be.
    fn raise(&mut self, low: f32) {
        if self.lows.len() < self.k {
            self.lows.push(Reverse(Low(low)));
        } else {
            match self.lows.peek_mut() {
                Some(mut lowest) if lowest.0.0 < low => *lowest = Reverse(Low(low)),
                _ => return,
            }
        }
        if self.lows.len() == self.k
            && let Some(Reverse(Low(lowest))) = self.lows.peek()
        {
            self.cut = ((f64::from(*lowest) - self.slack) as f32).next_down();
        }
    }

    fn into_rows(self) -> Vec<u32> {
        let found = self.found.into_iter().filter(|(_, high)| *high >= self.cut);
        found.map(|(row, _)| row).collect()
    }
}

/// A finite number, ordered.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Low(f32);

impl Eq for Low {}

impl Ord for Low {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Low {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// The definition: all products, the largest first, ties by row.
    fn best(table: &Matrix, search: &RowSearch<'_>) -> Vec<(u32, u32)> {
        let mut products = vec![0.0; table.rows()];
        table.dot_rows(search.query, &mut products);
        of_rows(&products, search, 0..table.rows() as u32)
    }

    /// The best of some rows with the bits of their products.
    fn of_rows(
        products: &[f32],
        search: &RowSearch<'_>,
        rows: impl Iterator<Item = u32>,
    ) -> Vec<(u32, u32)> {
        let mut rows: Vec<u32> = rows.filter(|row| !search.skip.contains(row)).collect();
        rows.sort_by(|a, b| products[*b as usize].total_cmp(&products[*a as usize]).then(a.cmp(b)));
        rows.truncate(search.k);
        rows.into_iter().map(|row| (row, products[row as usize].to_bits())).collect()
    }

    /// How many candidates there were.
    fn check(table: &Matrix, searches: &[RowSearch<'_>]) -> Vec<usize> {
        let int8 = Int8Table::new(table).unwrap();
        let together = int8.candidates(searches);
        let mut n_candidates = Vec::new();
        for (search, candidates) in searches.iter().zip(&together) {
            assert_eq!(int8.candidates(&[*search]), std::slice::from_ref(candidates));
            let Some(candidates) = candidates else { continue };
            assert!(candidates.is_sorted());
            let mut products = vec![f32::NAN; table.rows()];
            for row in candidates {
                products[*row as usize] = crate::dot(search.query, table.row(*row as usize));
            }
            let got = of_rows(&products, search, candidates.iter().copied());
            assert_eq!(got, best(table, search));
            n_candidates.push(candidates.len());
        }
        n_candidates
    }

    fn normal(rng: &mut ChaCha8Rng) -> f32 {
        // Irwin and Hall: near enough.
        (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0
    }

    #[test]
    fn few_rows_of_a_usual_table_are_candidates() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let values = (0..20_000 * 64).map(|_| normal(&mut rng) + 0.3).collect();
        let table = Matrix::from_vec(20_000, 64, values).unwrap();
        let queries: Vec<Vec<f32>> =
            (0..5).map(|_| (0..64).map(|_| normal(&mut rng)).collect()).collect();
        let searches: Vec<_> = queries
            .iter()
            .map(|query| RowSearch { query, k: 74, skip: &[3, 700, 19_999] })
            .collect();
        let n_candidates = check(&table, &searches);
        assert_eq!(n_candidates.len(), 5);
        assert!(n_candidates.iter().all(|n| *n < 3 * 74), "{n_candidates:?}");
    }

    #[test]
    fn what_cannot_be_bounded_is_said() {
        let table = Matrix::from_rows(&[[1.0, f32::INFINITY], [0.0, 1.0]]);
        assert!(Int8Table::new(&table).is_none());
        let huge = Int8Table::new(&Matrix::from_rows(&[[1e30, 1.0], [0.0, 1.0]])).unwrap();
        let search = |query| RowSearch { query, k: 1, skip: &[] };
        let found =
            huge.candidates(&[search(&[1e30, 1.0]), search(&[f32::NAN, 1.0]), search(&[1.0, 0.0])]);
        assert_eq!(found[..2], [None, None]);
        assert!(found[2].as_ref().is_some_and(|rows| rows.contains(&0)));
        let empty = Int8Table::new(&Matrix::zeros(0, 3)).unwrap();
        assert_eq!(
            empty.candidates(&[RowSearch { query: &[1.0; 3], k: 2, skip: &[] }]),
            [Some(vec![])]
        );
        let narrow = Int8Table::new(&Matrix::zeros(3, 0)).unwrap();
        assert_eq!(narrow.candidates(&[search(&[])]), [Some(vec![0, 1, 2])]);
    }

    /// A value of a kind that bounds could get wrong.
    fn odd(rng: &mut ChaCha8Rng) -> f32 {
        const ODD: [f32; 12] = [
            0.0,
            -0.0,
            1.0,
            -1.0,
            0.5,
            1e18,
            -1e18,
            1e-20,
            -1e-20,
            1e-40,
            f32::MIN_POSITIVE,
            1e-45,
        ];
        match rng.random_range(0..3) {
            0 => ODD[rng.random_range(0..ODD.len())],
            1 => ODD[rng.random_range(0..5)],
            _ => rng.random::<f32>() - 0.5,
        }
    }

    /// Rows are one of a few times one of a few factors, so that many products are equal or nearly so.
    #[test]
    fn no_row_of_the_best_is_left_out() {
        const FACTORS: [f32; 6] = [1.0, 1.0, -1.0, 1e-3, 1e10, 1.000_000_1];
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        let mut n_left_out = 0;
        for _ in 0..3000 {
            let (d, n_rows) = (rng.random_range(1..20), rng.random_range(1..1200));
            let is_odd = rng.random();
            let draw = |rng: &mut ChaCha8Rng| if is_odd { odd(rng) } else { normal(rng) };
            let few: Vec<Vec<f32>> = (0..rng.random_range(1..40))
                .map(|_| (0..d).map(|_| draw(&mut rng)).collect())
                .collect();
            let values = (0..n_rows).flat_map(|_| {
                let factor = FACTORS[rng.random_range(0..FACTORS.len())];
                few[rng.random_range(0..few.len())].iter().map(move |value| factor * value)
            });
            let table = Matrix::from_vec(n_rows, d, values.collect()).unwrap();
            let mut skip: Vec<u32> =
                (0..rng.random_range(0..20)).map(|_| rng.random_range(0..1200)).collect();
            skip.sort_unstable();
            let queries: Vec<Vec<f32>> =
                (0..3).map(|_| (0..d).map(|_| draw(&mut rng)).collect()).collect();
            let searches: Vec<_> = queries
                .iter()
                .map(|query| RowSearch { query, k: rng.random_range(1..40), skip: &skip })
                .collect();
            n_left_out += check(&table, &searches).iter().map(|n| n_rows - n).sum::<usize>();
        }
        assert!(n_left_out > 1_000_000, "{n_left_out}");
    }
}
