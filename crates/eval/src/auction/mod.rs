//! What a campaign would have bought of a log of impressions: bids, a budget, and how far from the best it ended.
//!
//! Each [`Opportunity`] is an impression that could be bought, with what a model expects of it, what it would have cost, and what came of
//! it. [`replay`] goes through them in order under a [`Bidding`]; [`hindsight`] is what could have been had by who
//! knows them all. A replay takes prices and outcomes as they were: it does not know what others would have done had we bid.
//!
//! Start at [`replay`].

mod hindsight;
mod pacing;
mod replay;

pub use hindsight::{Hindsight, hindsight};
pub use pacing::Pacing;
pub use replay::{Bidding, Moment, Replay, replay};

use crate::error::EvalError;

/// An impression that could be bought.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Opportunity {
    /// What a model expects it to be worth, in money; not below 0.
    pub expected: f64,
    /// What it cost: the highest bid of the others, not below 0. A bid of at least that wins it and pays it.
    pub price: f64,
    /// What came of it, in money; not below 0.
    pub realized: f64,
    /// Whether it was clicked.
    pub clicked: bool,
    /// Whether it was clicked and bought after; `false` where nobody knows.
    pub converted: bool,
}

/// Refuses opportunities and budgets that no auction has.
fn check(opportunities: &[Opportunity], budget: f64) -> Result<(), EvalError> {
    let refuse = |what, reason: String| Err(EvalError::Input { what, reason });
    if opportunities.is_empty() {
        return refuse("impressions", "there are none".into());
    }
    let is_money = |money: f64| money >= 0.0 && money.is_finite();
    for (row, one) in opportunities.iter().enumerate() {
        for (name, money) in
            [("expected value", one.expected), ("price", one.price), ("value", one.realized)]
        {
            if !is_money(money) {
                return refuse("impressions", format!("impression {row} has the {name} {money}"));
            }
        }
    }
    match budget > 0.0 && budget.is_finite() {
        true => Ok(()),
        false => refuse("budget", format!("{budget} is no budget; give money above 0")),
    }
}
