//! A shop's log out of a seed, for benchmarks: any number of rows, written as they are made.
//!
//! Items are popular by Zipf's law with exponent 1, users active by a power law with exponent 1/2.
//! Sessions of several users run at the same time, so rows are in order of time as a tracker
//! writes them. Within a session, two of five views follow a fixed successor of the item before
//! (there is something to learn), one view in ten leads to the basket, and two in five of those to
//! a purchase.

use std::io::{self, Write};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::PrepareError;

/// What is generated.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateConfig {
    /// Rows.
    pub n_events: u64,
    /// Users to draw from; rare ones may not occur.
    pub n_users: u64,
    /// Items to draw from.
    pub n_items: u64,
    /// Days that the log covers, from 2024-01-01.
    pub n_days: u32,
    /// Same seed, same bytes.
    pub seed: u64,
}

impl GenerateConfig {
    /// A log of `n_events` with a tenth as many users and a hundredth as many items, over 90 days.
    pub fn of(n_events: u64, seed: u64) -> Self {
        let n_users = (n_events / 10).max(10);
        let n_items = (n_events / 100).clamp(10, 1_000_000);
        Self { n_events, n_users, n_items, n_days: 90, seed }
    }
}

const FIRST_MS: u64 = 1_704_067_200_000;
const HEADER: &str = "user_id,item_id,event,timestamp,session_id,price,quantity\n";
/// Mean pause between two events of one session.
const PAUSE_MS: f64 = 30_000.0;
const MEAN_SESSION: f64 = 8.0;

#[derive(Clone, Copy)]
enum Step {
    View,
    Cart,
    Purchase,
}

struct Shopper {
    user: u64,
    session: u64,
    item: u64,
    next: Step,
    n_left: u32,
}

/// Writes a CSV with a header line.
///
/// # Errors
/// [`PrepareError::Config`] if a size is 0, [`PrepareError::Io`] if `out` cannot be written.
pub fn generate(config: &GenerateConfig, out: impl Write) -> Result<(), PrepareError> {
    if config.n_users == 0 || config.n_items == 0 || config.n_days == 0 {
        return Err(PrepareError::config("generate", "users, items and days are at least 1"));
    }
    write(config, out).map_err(PrepareError::io("write", "the generated log"))
}

fn write(config: &GenerateConfig, mut out: impl Write) -> io::Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
    let span_ms = f64::from(config.n_days) * 86_400_000.0;
    let step_ms = span_ms / config.n_events.max(1) as f64;
    let n_shoppers = (PAUSE_MS / step_ms).clamp(1.0, 100_000.0) as usize;
    let mut n_sessions = 0;
    let mut start = |rng: &mut ChaCha8Rng| {
        n_sessions += 1;
        Shopper::start(rng, config, n_sessions)
    };
    let mut shoppers: Vec<_> = (0..n_shoppers).map(|_| start(&mut rng)).collect();
    let mut buffer = Vec::with_capacity(1 << 20);
    buffer.extend_from_slice(HEADER.as_bytes());
    for row in 0..config.n_events {
        let at = rng.random_range(0..shoppers.len());
        let millis = FIRST_MS + (row as f64 * step_ms) as u64;
        shoppers[at].row(&mut buffer, millis, &mut rng);
        if !shoppers[at].advance(&mut rng, config) {
            shoppers[at] = start(&mut rng);
        }
        if buffer.len() > (1 << 20) - 256 {
            out.write_all(&buffer)?;
            buffer.clear();
        }
    }
    out.write_all(&buffer)?;
    out.flush()
}

impl Shopper {
    fn start(rng: &mut ChaCha8Rng, config: &GenerateConfig, session: u64) -> Self {
        let u: f64 = rng.random();
        let user = ((config.n_users as f64 * u * u) as u64).min(config.n_users - 1);
        // Geometric with the mean above.
        let u: f64 = rng.random();
        let n_left = ((1.0 - u).ln() / (1.0 - 1.0 / MEAN_SESSION).ln()) as u32 + 1;
        let item = popular_item(rng, config);
        Self { user, session, item, next: Step::View, n_left }
    }

    /// Moves on; `false` at the end of the session.
    fn advance(&mut self, rng: &mut ChaCha8Rng, config: &GenerateConfig) -> bool {
        self.n_left = self.n_left.saturating_sub(1);
        let chance: f64 = rng.random();
        self.next = match self.next {
            Step::View if chance < 0.1 => Step::Cart,
            Step::Cart if chance < 0.4 => Step::Purchase,
            _ => {
                let follows = rng.random_bool(0.4);
                self.item = if follows {
                    mixed(self.item ^ 0x5851_f42d_4c95_7f2d) % config.n_items
                } else {
                    popular_item(rng, config)
                };
                Step::View
            }
        };
        self.n_left > 0
    }

    fn row(&self, buffer: &mut Vec<u8>, millis: u64, rng: &mut ChaCha8Rng) {
        // Log-normal around 20, fixed for an item.
        let spread = (mixed(self.item) >> 40) as f64 / f64::from(1 << 24) * 4.0 - 2.0;
        let cents = (2000.0 * spread.exp()) as u64;
        let (name, quantity) = match self.next {
            Step::View => ("view_item", 0),
            Step::Cart => ("add_to_cart", 1),
            Step::Purchase => ("purchase", 1 + u64::from(rng.random_ratio(1, 5))),
        };
        buffer.push(b'u');
        digits(buffer, self.user);
        buffer.extend_from_slice(b",i");
        digits(buffer, self.item);
        buffer.push(b',');
        buffer.extend_from_slice(name.as_bytes());
        buffer.push(b',');
        digits(buffer, millis);
        buffer.extend_from_slice(b",s");
        digits(buffer, self.session);
        buffer.push(b',');
        digits(buffer, cents / 100);
        buffer.extend([b'.', b'0' + (cents / 10 % 10) as u8, b'0' + (cents % 10) as u8, b',']);
        if quantity > 0 {
            digits(buffer, quantity);
        }
        buffer.push(b'\n');
    }
}

/// An item by Zipf's law: the logarithm of its rank is uniform. Ranks are scattered over the ids.
fn popular_item(rng: &mut ChaCha8Rng, config: &GenerateConfig) -> u64 {
    let u: f64 = rng.random();
    let rank = ((u * ((config.n_items + 1) as f64).ln()).exp() as u64).clamp(1, config.n_items);
    // An odd factor that shares no divisor with `n_items` would be a permutation; a few ranks that
    // fall on one id do no harm here.
    (rank - 1).wrapping_mul(2_654_435_761) % config.n_items
}

/// `splitmix64`'s mixing function (Steele, Lea and Flood, OOPSLA 2014).
pub(crate) fn mixed(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

pub(crate) fn digits(buffer: &mut Vec<u8>, mut number: u64) {
    let start = buffer.len();
    loop {
        buffer.push(b'0' + (number % 10) as u8);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    buffer[start..].reverse();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn text(config: &GenerateConfig) -> String {
        let mut out = Vec::new();
        generate(config, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn same_seed_same_bytes_and_another_seed_others() {
        let one = text(&GenerateConfig::of(1000, 1));
        assert_eq!(one, text(&GenerateConfig::of(1000, 1)));
        assert_ne!(one, text(&GenerateConfig::of(1000, 2)));
    }

    #[test]
    fn rows_are_in_order_of_time_and_popularity_is_skewed() {
        let config = GenerateConfig::of(50_000, 7);
        let text = text(&config);
        let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|l| l.split(',').collect()).collect();
        assert_eq!(rows.len(), 50_000);
        assert!(rows.iter().all(|row| row.len() == 7));
        assert!(rows.windows(2).all(|pair| pair[0][3] <= pair[1][3]));
        let mut counts: HashMap<&str, u32> = HashMap::new();
        for row in &rows {
            *counts.entry(row[1]).or_default() += 1;
        }
        let mut counts: Vec<u32> = counts.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let top: u32 = counts[..counts.len() / 10].iter().sum();
        assert!(top > 20_000, "a tenth of the items has {top} of 50,000 events");
        let n_purchases = rows.iter().filter(|row| row[2] == "purchase").count();
        assert!((500..5000).contains(&n_purchases), "{n_purchases}");
    }
}
