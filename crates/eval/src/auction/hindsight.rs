//! What could have been had.

use serde::{Deserialize, Serialize};

use super::{Opportunity, check};
use crate::error::EvalError;

/// The most that any campaign could have had of the same impressions for the same budget.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Hindsight {
    /// Of what a model expected.
    pub expected: f64,
    /// Of what came: for who knew each outcome beforehand.
    pub realized: f64,
}

/// Buys the impressions of the most value a price first, the last one in part: no choice of whole impressions has more (Dantzig,
/// Operations Research 5(2), 1957), so that both are bounds from above.
///
/// # Errors
/// [`EvalError::Input`] as of [`super::replay`].
pub fn hindsight(opportunities: &[Opportunity], budget: f64) -> Result<Hindsight, EvalError> {
    check(opportunities, budget)?;
    Ok(Hindsight {
        expected: most(opportunities, budget, |one| one.expected),
        realized: most(opportunities, budget, |one| one.realized),
    })
}

fn most(offered: &[Opportunity], budget: f64, value: impl Fn(&Opportunity) -> f64) -> f64 {
    let mut order: Vec<&Opportunity> = offered.iter().filter(|one| value(one) > 0.0).collect();
    // value a / price a > value b / price b, without dividing by a price of 0.
    order.sort_by(|a, b| (value(b) * a.price).total_cmp(&(value(a) * b.price)));
    let (mut left, mut sum) = (budget, 0.0);
    for one in order {
        if one.price <= left {
            left -= one.price;
            sum += value(one);
        } else {
            return sum + value(one) * left / one.price;
        }
    }
    sum
}
