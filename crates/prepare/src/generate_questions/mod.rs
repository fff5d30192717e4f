//! A shop's log out of a seed in which users ask questions, and the probabilities that it was drawn by.
//!
//! No public log says what users of a shop did before they asked something. This one is drawn from a process that is known, so that a
//! model can be held against the best that is possible ([`Truth`]) and its explanations against what was planted ([`PlantedCause`]). It says
//! nothing of how well questions can be foreseen in a real shop.
//!
//! # The process
//! A marked point process whose rates depend on the observed history alone, never on something hidden: that is why [`Truth`] is a function of the history.
//! - **Users** look at items (popular ones more often, or again what they saw or got), put them into the cart, buy, fail to pay, search, visit pages
//!   (delivery, returns, payment, coupons, account, sizes), send back. The time to the next action is exponential with a mean of a minute with
//!   probability 0.75, else of 2.8 days; what it is depends on the last action, the cart, open orders and the last delivery. An action after
//!   half an hour's pause is a page eight times as often: people come with a purpose.
//! - **The shop** ships each order and delivers it, oldest first, after times with the Weibull distribution of shape 2 (hazard `2 t / s^2`) and scales `s` of 1
//!   and 3 days.
//! - **Questions** of intent `k` are a Poisson process with the rate
//!
//!   ```text
//!   lambda_k(t) = mu_k + sum over causes c of k:  [c is not over] w_c * a / s_c^2 * exp(-a / s_c),   a = t - t_c
//!   ```
//!
//!   so that a cause expects `w_c` questions, most of them hours later, after unrelated actions. A cause is set off at `t_c` by a behavior (its
//!   trigger), mostly one that needs an earlier one; what it waits for may end it. They change nothing: users go on as if they had not asked.
//!
//! | intent | trigger | needs | until |
//! |---|---|---|---|
//! | `where_is_my_parcel` | `view_page` delivery, the more the more visits | an order that is not there | it is there |
//! | `delivery_late` | `shipped`, slowly | the order | it is there |
//! | `change_address` | `view_page` account | an order that is not shipped | it is shipped |
//! | `cancel_order` | `purchase` | another within a day before | |
//! | `payment_failed` | `payment_failed` | | anything is bought |
//! | `coupon_not_working` | `view_page` coupons | something in the cart | |
//! | `invoice_request` | `view_page` payment | a purchase within 3 days before | |
//! | `how_to_return` | `view_page` returns | a delivery within 6 days before | |
//! | `refund_status` | `return_sent`, slowly | | |
//! | `product_broken` | `view_item` of what was delivered within 6 days before | the delivery | |
//! | `size_advice` | the fourth `view_item` of one item in 3 days | | |
//! | `item_available` | the third `search` in an hour | | |
//! | `speak_to_human` | nothing: often, by anybody | | |
//!
//! Times are drawn exactly: those of actions and the shop from what is left of their distributions, those of questions where the integral of their rate
//! has grown by exponential variables of mean 1 (the time change that Ogata, Journal of the American Statistical Association 83, 1988, checks such
//! processes by, turned around). Start at [`generate_questions`] and [`Truth`].

mod causes;
mod process;
mod truth;

use std::io::{self, Write};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

pub use self::causes::INTENTS;
pub use self::truth::{Behavior, PlantedCause, Truth};

use self::causes::base_per_day;
use self::process::{State, Step, exponential};
use crate::PrepareError;

/// What is generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GenerateQuestionsConfig {
    /// Users.
    pub n_users: u32,
    /// Days that the log covers, from 2024-01-01.
    pub n_days: u32,
    /// Same seed, same bytes.
    pub seed: u64,
}

impl GenerateQuestionsConfig {
    /// 5,000 users over 60 days.
    pub fn of(seed: u64) -> Self {
        Self { n_users: 5000, n_days: 60, seed }
    }
}

const FIRST_MS: i64 = 1_704_067_200_000;
const DAY_MS: i64 = 86_400_000;
const HEADER: &str = "user_id,item_id,event,timestamp,intent\n";

/// A row of the log.
struct Row {
    at_ms: i64,
    user: u32,
    kind: RowKind,
}

enum RowKind {
    Step(Step),
    Ask(usize),
}

/// Writes a CSV with a header line, in the order of time.
///
/// # Cost
/// All rows are in memory, some 50 bytes each.
///
/// # Errors
/// [`PrepareError::Config`] if a size is 0, [`PrepareError::Io`] if `out` cannot be written.
pub fn generate_questions(
    config: &GenerateQuestionsConfig,
    out: impl Write,
) -> Result<(), PrepareError> {
    if config.n_users == 0 || config.n_days == 0 {
        return Err(PrepareError::config("generate", "users and days are at least 1"));
    }
    write(&rows(config), out).map_err(PrepareError::io("write", "the generated log"))
}

fn rows(config: &GenerateQuestionsConfig) -> Vec<Row> {
    let mut rows = Vec::new();
    for user in 0..config.n_users {
        let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
        rng.set_stream(u64::from(user));
        live(user, FIRST_MS + i64::from(config.n_days) * DAY_MS, &mut rng, &mut rows);
    }
    // Stable, and of one user in the order of time: ties between users are by user.
    rows.sort_by_key(|row| row.at_ms);
    rows
}

/// The rows of a user until `end_ms`: the next step, and what is asked before it, given that nothing else happens until then.
fn live(user: u32, end_ms: i64, rng: &mut ChaCha8Rng, rows: &mut Vec<Row>) {
    let mut state = State::default();
    let mut now_ms = FIRST_MS;
    let first = rows.len();
    while now_ms < end_ms {
        let step = state.next(now_ms, rng);
        let until_ms = step.at_ms.min(end_ms);
        for (intent, _) in INTENTS.iter().enumerate() {
            // Nothing is asked before the first step: who has done nothing is not known.
            if rows.len() > first {
                let base = |from_ms: i64, to_ms: i64| {
                    base_per_day(intent) * (to_ms - from_ms) as f64 / DAY_MS as f64
                };
                asks(now_ms, until_ms, &base, rng, |at_ms| {
                    rows.push(Row { at_ms, user, kind: RowKind::Ask(intent) })
                });
            }
        }
        for cause in &state.causes {
            let expected = |from_ms: i64, to_ms: i64| cause.expected(from_ms, to_ms);
            asks(now_ms, until_ms, &expected, rng, |at_ms| {
                rows.push(Row { at_ms, user, kind: RowKind::Ask(cause.intent) });
            });
        }
        if step.at_ms < end_ms {
            rows.push(Row { at_ms: step.at_ms, user, kind: RowKind::Step(step) });
            state.apply(step);
            state.forget(step.at_ms);
        }
        now_ms = step.at_ms;
    }
    rows[first..].sort_by_key(|row| row.at_ms);
}

/// Draws the times of questions in `(from_ms, to_ms]` whose expected number is `expected`: where it has grown by exponential variables of mean 1.
fn asks(
    from_ms: i64,
    to_ms: i64,
    expected: &dyn Fn(i64, i64) -> f64,
    rng: &mut ChaCha8Rng,
    mut ask: impl FnMut(i64),
) {
    let total = expected(from_ms, to_ms);
    let mut reached = exponential(rng);
    while reached < total {
        let (mut low, mut high) = (from_ms, to_ms);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if expected(from_ms, middle) < reached { low = middle } else { high = middle }
        }
        ask(high);
        reached += exponential(rng);
    }
}

fn write(rows: &[Row], mut out: impl Write) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(1 << 20);
    buffer.extend_from_slice(HEADER.as_bytes());
    for Row { at_ms, user, kind } in rows {
        match kind {
            RowKind::Step(step) => {
                let (event, object) = step.action.names();
                writeln!(buffer, "u{user},{object},{event},{at_ms},")?;
            }
            RowKind::Ask(intent) => writeln!(buffer, "u{user},,ask,{at_ms},{}", INTENTS[*intent])?,
        }
        if buffer.len() > (1 << 20) - 256 {
            out.write_all(&buffer)?;
            buffer.clear();
        }
    }
    out.write_all(&buffer)?;
    out.flush()
}

#[cfg(test)]
mod tests;
