//! Rows of clicks out of a seed, in the shape of Criteo's display advertising challenge: 13 numbers and 26 categories, whose
//! probability of a click is known.
//!
//! The logit is a sum: a slope for each number, on a logarithmic scale, and an effect for each text of a category, drawn from a normal
//! distribution by the text. Categories have as many texts as those of the challenge (3 to 10,131,227), popular by Zipf's law with
//! exponent 1. One click in four or so.

use std::io::{self, Write};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::PrepareError;
use crate::generate::{digits, mixed};

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowFormat {
    /// `1 |i I1:0.6931 ... |c A68fd1e64 ...`: numbers as `ln(1 + x)`, categories with their letter.
    Vw,
    /// As Criteo's files: label, 13 counts and 26 codes with tabs between, no header.
    Criteo,
}

/// Sizes of the categories of the challenge's training file.
const N_TEXTS: [u64; 26] = [
    1460, 583, 10_131_227, 2_202_608, 305, 24, 12_517, 633, 3, 93_145, 5683, 8_351_593, 3194, 27,
    14_992, 5_461_306, 10, 5652, 2173, 4, 7_046_547, 18, 15, 286_181, 105, 142_572,
];
const N_NUMBERS: usize = 13;
const BIAS: f64 = -1.4;
/// Standard deviation of the effects of a category's texts.
const EFFECT: f64 = 0.22;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GeneratedRows {
    /// Rows.
    pub n_rows: u64,
    /// Those with a click.
    pub n_positive: u64,
    /// The mean log loss of the probabilities that the clicks were drawn by, in nats: nothing predicts better.
    pub log_loss: f64,
}

/// Writes rows; the same seed gives the same bytes.
///
/// # Errors
/// [`PrepareError::Io`] if `out` cannot be written.
pub fn generate_rows(
    n_rows: u64,
    seed: u64,
    format: RowFormat,
    out: impl Write,
) -> Result<GeneratedRows, PrepareError> {
    write(n_rows, seed, format, out).map_err(PrepareError::io("write", "the generated rows"))
}

/// One row, before it is written; `None` is missing.
#[derive(Default)]
struct Row {
    numbers: [Option<u64>; N_NUMBERS],
    codes: [Option<u32>; N_TEXTS.len()],
}

fn write(
    n_rows: u64,
    seed: u64,
    format: RowFormat,
    mut out: impl Write,
) -> io::Result<GeneratedRows> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut buffer = Vec::with_capacity(1 << 20);
    let mut made = GeneratedRows { n_rows, n_positive: 0, log_loss: 0.0 };
    let mut row = Row::default();
    for _ in 0..n_rows {
        let logit = row.draw(&mut rng);
        let p = 1.0 / (1.0 + (-logit).exp());
        let is_click = rng.random::<f64>() < p;
        made.n_positive += u64::from(is_click);
        made.log_loss -= if is_click { p.ln() } else { (1.0 - p).ln() };
        row.push(is_click, format, &mut buffer);
        if buffer.len() > (1 << 20) - 2048 {
            out.write_all(&buffer)?;
            buffer.clear();
        }
    }
    out.write_all(&buffer)?;
    out.flush()?;
    made.log_loss /= (n_rows as f64).max(1.0);
    Ok(made)
}

impl Row {
    /// Draws the values; returns the logit.
    fn draw(&mut self, rng: &mut ChaCha8Rng) -> f64 {
        let mut logit = BIAS;
        for (at, number) in self.numbers.iter_mut().enumerate() {
            let (is_missing, u): (f64, f64) = (rng.random(), rng.random());
            if is_missing < 0.15 {
                *number = None;
                continue;
            }
            // Exponential on the logarithmic scale: a power law of counts, of another length for each column.
            let scale = 0.6 + 0.2 * at as f64;
            let count = ((-(1.0 - u).ln() * scale).min(20.0).exp() - 1.0) as u64;
            *number = Some(count);
            logit += slope(at) * ((1.0 + count as f64).ln() - scale);
        }
        for (at, code) in self.codes.iter_mut().enumerate() {
            let (is_missing, u): (f64, f64) = (rng.random(), rng.random());
            if at % 4 == 2 && is_missing < 0.1 {
                *code = None;
                continue;
            }
            let n = N_TEXTS[at];
            let rank = ((u * ((n + 1) as f64).ln()).exp() as u64).clamp(1, n);
            let hash = mixed(rank ^ ((at as u64 + 1) << 40));
            *code = Some(hash as u32);
            logit += EFFECT * normal(mixed(hash));
        }
        logit
    }

    fn push(&self, is_click: bool, format: RowFormat, buffer: &mut Vec<u8>) {
        let is_vw = format == RowFormat::Vw;
        buffer.push(if is_click { b'1' } else { b'0' });
        if is_vw {
            // Of the logistic loss, Vowpal Wabbit's labels are -1 and 1.
            if !is_click {
                buffer.pop();
                buffer.extend_from_slice(b"-1");
            }
            buffer.extend_from_slice(b" |i");
        }
        for (at, number) in (1..).zip(&self.numbers) {
            match number {
                Some(number) if is_vw => {
                    buffer.extend_from_slice(b" I");
                    digits(buffer, at);
                    buffer.push(b':');
                    let scaled = ((1.0 + *number as f64).ln() * 1e4).round() as u64;
                    digits(buffer, scaled / 10_000);
                    buffer.push(b'.');
                    let decimals = [1000, 100, 10, 1].map(|unit| b'0' + (scaled / unit % 10) as u8);
                    buffer.extend_from_slice(&decimals);
                }
                None if is_vw => {}
                _ => {
                    buffer.push(b'\t');
                    number.iter().for_each(|number| digits(buffer, *number));
                }
            }
        }
        if is_vw {
            buffer.extend_from_slice(b" |c");
        }
        for (letter, code) in (b'A'..).zip(&self.codes) {
            match code {
                Some(_) if is_vw => buffer.extend_from_slice(&[b' ', letter]),
                None if is_vw => {}
                _ => buffer.push(b'\t'),
            }
            if let Some(code) = code {
                let digit = |at: u32| b"0123456789abcdef"[(code >> (4 * at) & 15) as usize];
                buffer.extend((0..8).rev().map(digit));
            }
        }
        buffer.push(b'\n');
    }
}

/// The slope of a number.
fn slope(at: usize) -> f64 {
    0.12 * normal(mixed(0x51_0e + at as u64))
}

/// A number of the standard normal distribution by the bits of a hash: the sum of twelve uniform ones less 6.
fn normal(hash: u64) -> f64 {
    let sum: u64 = (0..12).map(|at| mixed(hash.wrapping_add(at)) >> 48).sum();
    sum as f64 / 65_536.0 - 6.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(n_rows: u64, seed: u64, format: RowFormat) -> (GeneratedRows, String) {
        let mut out = Vec::new();
        let made = generate_rows(n_rows, seed, format, &mut out).unwrap();
        (made, String::from_utf8(out).unwrap())
    }

    #[test]
    fn both_formats_hold_the_same_rows_and_the_seed_decides() {
        let (made, vw) = text(2000, 1, RowFormat::Vw);
        let (again, criteo) = text(2000, 1, RowFormat::Criteo);
        assert_eq!(made, again);
        assert_eq!(vw, text(2000, 1, RowFormat::Vw).1);
        assert_ne!(vw, text(2000, 2, RowFormat::Vw).1);
        assert!((0.15..0.4).contains(&(made.n_positive as f64 / 2000.0)), "{made:?}");
        assert!(made.log_loss > 0.3 && made.log_loss < 0.6, "{made:?}");
        for (vw, criteo) in vw.lines().zip(criteo.lines()) {
            let fields: Vec<&str> = criteo.split('\t').collect();
            assert_eq!(fields.len(), 40);
            assert_eq!(vw.starts_with("1 |i"), fields[0] == "1");
            let n_there = fields[1..].iter().filter(|field| !field.is_empty()).count();
            assert_eq!(vw.split(' ').count(), n_there + 3);
            let code = vw.rsplit(' ').next().unwrap();
            assert!(criteo.ends_with(&code[1..]), "{vw} {criteo}");
        }
    }
}
