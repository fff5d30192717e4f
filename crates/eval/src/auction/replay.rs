//! A campaign, impression by impression.

use serde::{Deserialize, Serialize};

use super::pacing::{Pacer, Pacing};
use super::{Opportunity, check};
use crate::error::EvalError;

/// Points of a campaign at which its state is kept.
const N_MOMENTS: usize = 20;

/// What is bid.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "bids", rename_all = "kebab-case")]
pub enum Bidding {
    /// The same for every impression, until the budget is spent.
    Constant {
        /// How much.
        bid: f64,
    },
    /// What the model expects an impression to be worth.
    Expected {
        /// How the bids follow the budget.
        pacing: Pacing,
    },
}

/// How far a campaign had come.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Share of the impressions that had been offered.
    pub offered: f64,
    /// Share of the budget that was spent.
    pub spent: f64,
    /// The share of its expected value that an impression was bid for; 1 without pacing.
    pub multiplier: f64,
}

/// What a campaign bought.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    /// Impressions that were bought.
    pub n_won: u64,
    /// What they cost; at most the budget.
    pub spend: f64,
    /// Clicks on them.
    pub n_clicks: u64,
    /// Conversions after them.
    pub n_conversions: u64,
    /// What the model expected them to be worth.
    pub expected: f64,
    /// What they were worth.
    pub realized: f64,
    /// Twenty moments of the campaign, the last its end.
    pub moments: Vec<Moment>,
}

/// Goes through `opportunities` in their order. One is won by a bid of at least its price, above 0, if what is left of the budget pays
/// it, and pays its price (a second-price auction).
///
/// # Errors
/// [`EvalError::Input`] without an impression, for money that is no number or below 0, and for a budget of nothing;
/// [`EvalError::Option`] for a step or a bid that is no number above 0.
pub fn replay(
    opportunities: &[Opportunity],
    budget: f64,
    strategy: Bidding,
) -> Result<Replay, EvalError> {
    check(opportunities, budget)?;
    let (option, value) = match strategy {
        Bidding::Constant { bid } => ("bid", bid),
        Bidding::Expected { pacing: Pacing::Adaptive { step } } => ("step", step),
        Bidding::Expected { pacing: Pacing::None } => ("step", 1.0),
    };
    if !(value > 0.0 && value.is_finite()) {
        return Err(EvalError::Option { option, reason: format!("{value} is not above 0") });
    }
    let n = opportunities.len();
    let pacing = match strategy {
        Bidding::Constant { .. } => Pacing::None,
        Bidding::Expected { pacing } => pacing,
    };
    let mut pacer = Pacer::new(pacing, budget, n);
    let mut found = Replay {
        n_won: 0,
        spend: 0.0,
        n_clicks: 0,
        n_conversions: 0,
        expected: 0.0,
        realized: 0.0,
        moments: Vec::with_capacity(N_MOMENTS),
    };
    for (row, one) in opportunities.iter().enumerate() {
        let bid = match strategy {
            Bidding::Constant { bid } => bid,
            Bidding::Expected { .. } => pacer.bid(one.expected),
        };
        let is_won = bid > 0.0 && bid >= one.price && found.spend + one.price <= budget;
        if is_won {
            found.n_won += 1;
            found.spend += one.price;
            found.n_clicks += u64::from(one.clicked);
            found.n_conversions += u64::from(one.converted);
            found.expected += one.expected;
            found.realized += one.realized;
        }
        pacer.paid(if is_won { one.price } else { 0.0 });
        let next = (found.moments.len() + 1) * n / N_MOMENTS;
        if row + 1 >= next.max(1) && found.moments.len() < N_MOMENTS {
            found.moments.push(Moment {
                offered: (row + 1) as f64 / n as f64,
                spent: found.spend / budget,
                multiplier: pacer.multiplier(),
            });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::hindsight;
    use super::*;
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn one(expected: f64, price: f64, realized: f64) -> Opportunity {
        Opportunity { expected, price, realized, clicked: realized > 0.0, converted: false }
    }

    const PLAIN: Bidding = Bidding::Expected { pacing: Pacing::None };

    #[test]
    fn by_hand() {
        let offered =
            [one(2.0, 1.0, 5.0), one(1.0, 2.0, 9.0), one(3.0, 2.0, 0.0), one(4.0, 2.0, 7.0)];
        let found = replay(&offered, 3.5, PLAIN).unwrap();
        // The second costs more than it is worth, the fourth more than is left.
        assert_eq!((found.n_won, found.spend, found.n_clicks), (2, 3.0, 1));
        assert_eq!((found.expected, found.realized), (5.0, 5.0));
        let found = replay(&offered, 3.5, Bidding::Constant { bid: 1.5 }).unwrap();
        assert_eq!((found.n_won, found.spend, found.realized), (1, 1.0, 5.0));
        let best = hindsight(&offered, 3.5).unwrap();
        assert_eq!(best.realized, 5.0 + 9.0 + 0.5 / 2.0 * 7.0);
        assert_eq!(best.expected, 4.0 + 2.0 + 0.5 / 2.0 * 3.0);
    }

    /// Impressions whose price goes with what is expected of them, cheap in the second half.
    fn day(n: usize, seed: u64) -> Vec<Opportunity> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..n)
            .map(|at| {
                let chance: f64 = rng.random::<f64>() * 0.02;
                let cheap = if at > n / 2 { 0.4 } else { 1.0 };
                let price = cheap * (0.002 + 0.012 * rng.random::<f64>());
                let clicked = rng.random::<f64>() < chance;
                Opportunity {
                    expected: chance,
                    price,
                    realized: f64::from(u8::from(clicked)),
                    clicked,
                    converted: false,
                }
            })
            .collect()
    }

    #[test]
    fn a_paced_budget_lasts_and_buys_more() {
        for seed in 0..5 {
            let offered = day(20_000, seed);
            let budget = 20.0; // all that is worth its price costs about four times as much
            let hasty = replay(&offered, budget, PLAIN).unwrap();
            let step = 1.0 / (offered.len() as f64).sqrt();
            let paced = Bidding::Expected { pacing: Pacing::Adaptive { step } };
            let paced = replay(&offered, budget, paced).unwrap();
            let best = hindsight(&offered, budget).unwrap();
            assert!(hasty.moments[9].spent > 0.95, "{:?}", hasty.moments[9]);
            assert!(paced.moments[9].spent < 0.7, "{:?}", paced.moments[9]);
            assert!(paced.spend > 0.9 * budget && paced.spend <= budget, "{}", paced.spend);
            assert!(paced.expected > 1.3 * hasty.expected, "{} {}", paced.expected, hasty.expected);
            assert!(paced.expected > 0.8 * best.expected, "{} {}", paced.expected, best.expected);
            assert!(paced.expected <= best.expected);
            assert_eq!(paced.moments.len(), 20);
            assert_eq!(paced.moments[19].offered, 1.0);
        }
    }

    #[test]
    fn what_is_no_money_is_refused() {
        let message = |offered: &[Opportunity], budget: f64, strategy: Bidding| {
            replay(offered, budget, strategy).unwrap_err().to_string()
        };
        assert!(message(&[], 1.0, PLAIN).contains("there are none"));
        assert!(message(&[one(f64::NAN, 1.0, 1.0)], 1.0, PLAIN).contains("expected value NaN"));
        assert!(message(&[one(1.0, -1.0, 1.0)], 1.0, PLAIN).contains("price -1"));
        assert!(message(&[one(1.0, 1.0, 1.0)], 0.0, PLAIN).contains("no budget"));
        assert!(
            message(&[one(1.0, 1.0, 1.0)], 1.0, Bidding::Constant { bid: 0.0 }).contains("bid")
        );
        let paced = Bidding::Expected { pacing: Pacing::Adaptive { step: f64::NAN } };
        assert!(message(&[one(1.0, 1.0, 1.0)], 1.0, paced).contains("step"));
    }

    proptest! {
        #[test]
        fn nothing_is_spent_beyond_the_budget_or_had_beyond_hindsight(
            offered in prop::collection::vec((0.0..5.0f64, 0.0..5.0f64, 0.0..5.0f64), 1..60),
            budget in 0.1..20.0f64, step in 0.01..2.0f64, bid in 0.1..5.0f64,
        ) {
            let offered: Vec<Opportunity> = offered.into_iter().map(|(e, p, r)| one(e, p, r)).collect();
            let best = hindsight(&offered, budget).unwrap();
            for strategy in [PLAIN, Bidding::Expected { pacing: Pacing::Adaptive { step } }, Bidding::Constant { bid }] {
                let found = replay(&offered, budget, strategy).unwrap();
                prop_assert!(found.spend <= budget);
                prop_assert!(found.realized <= best.realized + 1e-9);
                prop_assert!(found.expected <= best.expected + 1e-9);
                prop_assert!(found.moments.is_sorted_by(|a, b| a.spent <= b.spent && a.offered <= b.offered));
                prop_assert_eq!(found.moments.last().unwrap().offered, 1.0);
            }
        }
    }
}
