//! How a budget is spread over a campaign.

use serde::{Deserialize, Serialize};

/// How bids follow what is left of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "pacing", rename_all = "kebab-case")]
pub enum Pacing {
    /// Not at all: the expected value is bid until the budget is spent.
    None,
    /// Bids are the expected value over `1 + μ`. After each impression `μ` rises by `step` times what was paid beyond an even
    /// share of the budget, as a multiple of that share, and falls where less was paid, never below 0.
    ///
    /// Source: Balseiro and Gur, Management Science 65(9), 2019: adaptive pacing, algorithm 1, in which the value of money is the dual
    /// of the budget; we measure spending in even shares, so that `step` has no unit.
    Adaptive {
        /// How fast; about `1 / sqrt(number of impressions)`.
        step: f64,
    },
}

/// The price of money as a campaign goes on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pacer {
    pacing: Pacing,
    /// Of the budget, for one impression.
    share: f64,
    mu: f64,
}

impl Pacer {
    pub(super) fn new(pacing: Pacing, budget: f64, n: usize) -> Self {
        Self { pacing, share: budget / n as f64, mu: 0.0 }
    }

    /// What is bid for an impression of this value.
    pub(super) fn bid(&self, expected: f64) -> f64 {
        expected / (1.0 + self.mu)
    }

    pub(super) fn paid(&mut self, paid: f64) {
        if let Pacing::Adaptive { step } = self.pacing {
            self.mu = (self.mu + step * (paid / self.share - 1.0)).max(0.0);
        }
    }

    /// The share of its value that an impression is bid for.
    pub(super) fn multiplier(&self) -> f64 {
        1.0 / (1.0 + self.mu)
    }
}
