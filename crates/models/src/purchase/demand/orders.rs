//! How many orders there will be, times what is in an order.

use std::num::NonZeroU32;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::compound::Compound;
use super::interval::DemandQuestion;
use super::method::{DemandForecast, wrong};
use super::poisson::CountRegression;
use super::view::DemandView;
use crate::error::ModelError;

/// Name in the registry.
pub(super) const NAME: &str = "orders";

/// Shares by which levels of the number of orders follow each period, from the slowest to the fastest.
const SHARES: [f64; 4] = [0.1, 0.2, 0.35, 0.6];

/// Periods whose mean is a feature, and from which the shop's sizes of orders are.
const WINDOW: u32 = 13;

/// Periods over which the shop's last one is compared.
const SHOP_WINDOW: u32 = 8;

/// Added to levels before their logarithm is taken: an order in fifty periods.
const OFFSET: f64 = 0.02;

/// Periods that must have passed before one can be learned from.
const MIN_PAST: u32 = 10;

/// Sizes that stand for those of all orders of the shop.
const N_POOLED: usize = 32;

/// Features of an item at a moment: its levels, its mean, how busy the shop is, and how long the item has been sold.
const N_FEATURES: usize = SHARES.len() + 3;

/// Hyperparameters of the forecast by orders.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrdersConfig {
    /// Periods ahead that are learned; further ones are forecast like the last of them. At most 104.
    pub horizon: NonZeroU32,
    /// Past periods before each of which a forecast is learned from.
    pub n_origins: NonZeroU32,
    /// The newest orders of an item whose sizes count.
    pub n_sizes: NonZeroU32,
    /// Orders of the shop that are added to an item's own, for those that have few.
    pub prior_orders: f64,
}

impl Default for OrdersConfig {
    fn default() -> Self {
        let n = |n| NonZeroU32::new(n).expect("not 0");
        Self { horizon: n(4), n_origins: n(40), n_sizes: n(200), prior_orders: 2.0 }
    }
}

impl OrdersConfig {
    pub(super) fn check(&self) -> Result<(), ModelError> {
        let refuse =
            |name: &str, reason: String| Err(ModelError::hyperparameter(NAME, name, reason));
        if self.horizon.get() > 104 {
            return refuse("horizon", format!("{} is more than 104 periods", self.horizon));
        }
        if !(0.0..=1e6).contains(&self.prior_orders) {
            return refuse("prior_orders", format!("{} is not in 0.0..=1e6", self.prior_orders));
        }
        Ok(())
    }
}

/// The forecast of all items by orders: what was learned, and where each item stands.
///
/// For each number of periods ahead, the number of orders of an item is regressed on how many it had (Poisson regression, one for all
/// items: McCullagh and Nelder, *Generalized Linear Models*, 1989, chapter 6); its overdispersion makes a negative binomial
/// distribution of it. The units of the orders are those of the item's newest orders, with a few of the shop's. The sum of a random
/// number of random sizes has the quantiles. A median of it is far less moved by one bulk order than a mean of units is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct OrdersFit {
    /// Of the period 1, 2, .. ahead.
    steps: Vec<CountRegression>,
    /// Of the first 1, 2, .. periods together.
    totals: Vec<CountRegression>,
    /// Sizes of the shop's orders, all equally likely.
    pooled: Vec<f64>,
    prior_orders: f64,
    items: Vec<Option<ItemState>>,
}

/// An item that was ordered before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ItemState {
    features: Vec<f64>,
    /// Units of its newest orders.
    sizes: Vec<f64>,
}

/// Periods ahead, both ends included, from 1.
type Window = (u32, u32);

impl OrdersFit {
    /// Learns from the orders of `view`.
    ///
    /// # Errors
    /// [`ModelError::Demand`] if there are too few periods or orders.
    pub(super) fn new(config: &OrdersConfig, view: DemandView<'_>) -> Result<Self, ModelError> {
        config.check()?;
        let (end, horizon) = (view.end(), config.horizon.get());
        let needed = MIN_PAST + horizon + 1;
        if end < needed {
            return Err(wrong(format!(
                "{end} periods have passed, and {NAME} with a horizon of {horizon} learns from {needed} or more; lower `horizon`, \
                 or make the periods shorter (`demand.period_days`)"
            )));
        }
        let pasts: Vec<Past> = (0..view.n_items())
            .into_par_iter()
            .map(|item| Past::new(view.orders(item).count_by_period(end)))
            .collect();
        let shop = Shop::new(&pasts, end);
        let windows =
            (1..=horizon).map(|ahead| (ahead, ahead)).chain((1..=horizon).map(|n| (1, n)));
        let learned = windows
            .collect::<Vec<Window>>()
            .into_par_iter()
            .map(|window| learn(config, &pasts, &shop, window))
            .collect::<Result<Vec<_>, _>>()?;
        let (steps, totals) = learned.split_at(horizon as usize);
        let item = |item: usize| {
            let features = pasts[item].features(end, &shop)?;
            let orders = view.orders(item).newest(config.n_sizes.get() as usize);
            Some(ItemState { features: features.to_vec(), sizes: orders.units.to_vec() })
        };
        Ok(Self {
            steps: steps.to_vec(),
            totals: totals.to_vec(),
            pooled: pooled(view),
            prior_orders: config.prior_orders,
            items: (0..view.n_items()).into_par_iter().map(item).collect(),
        })
    }

    pub(super) fn n_items(&self) -> usize {
        self.items.len()
    }

    /// Refuses what no fit gives.
    pub(super) fn check(&self) -> Result<(), ModelError> {
        let regressions = || self.steps.iter().chain(&self.totals);
        let are_regressions = !self.steps.is_empty()
            && self.steps.len() == self.totals.len()
            && regressions().all(|regression| {
                let values = regression.coefficients.iter().chain([&regression.dispersion]);
                regression.coefficients.len() == N_FEATURES
                    && regression.dispersion >= 0.0
                    && !regression.intercept.is_nan()
                    && regression.intercept < f64::INFINITY
                    && values.copied().all(f64::is_finite)
            });
        let are_sizes = |sizes: &[f64]| sizes.iter().all(|size| *size > 0.0 && size.is_finite());
        let are_items = self.items.iter().flatten().all(|item| {
            item.features.len() == N_FEATURES
                && item.features.iter().all(|x| x.is_finite())
                && are_sizes(&item.sizes)
        });
        let is_prior = (0.0..=1e6).contains(&self.prior_orders);
        match are_regressions && are_items && are_sizes(&self.pooled) && is_prior {
            true => Ok(()),
            false => Err(ModelError::damaged("its forecast is not one that could be fitted")),
        }
    }

    /// The next periods, each of its own; `None` for an item without an order.
    pub(super) fn forecast(
        &self,
        item: usize,
        n_periods: usize,
        asked: DemandQuestion<'_>,
    ) -> Result<Option<DemandForecast>, ModelError> {
        asked.check()?;
        let Some(state) = self.items.get(item).and_then(Option::as_ref) else { return Ok(None) };
        let sizes = self.sizes(state);
        let mut forecast = DemandForecast::default();
        for ahead in 0..n_periods {
            let regression = &self.steps[ahead.min(self.steps.len() - 1)];
            match ahead < self.steps.len() || forecast.mean.is_empty() {
                true => {
                    let compound = compound(regression, state, 1.0, &sizes);
                    forecast.mean.push(compound.mean_units());
                    let (quantiles, intervals) = asked.answer(|levels| compound.quantiles(levels));
                    forecast.quantiles.push(quantiles);
                    forecast.intervals.push(intervals);
                }
                false => {
                    // Further than what was learned: the same again.
                    forecast.mean.push(forecast.mean[ahead - 1]);
                    forecast.quantiles.push(forecast.quantiles[ahead - 1].clone());
                    forecast.intervals.push(forecast.intervals[ahead - 1].clone());
                }
            }
        }
        Ok(Some(forecast))
    }

    /// Units of the next `n_periods` together: mean, and quantiles at `levels`.
    pub(super) fn total(
        &self,
        item: usize,
        n_periods: u32,
        levels: &[f64],
    ) -> Result<Option<(f64, Vec<f64>)>, ModelError> {
        DemandQuestion::of_levels(levels).check()?;
        let Some(state) = self.items.get(item).and_then(Option::as_ref) else { return Ok(None) };
        let Some(at) = n_periods.checked_sub(1) else {
            return Ok(Some((0.0, vec![0.0; levels.len()])));
        };
        let learned = self.totals.len();
        let at = (at as usize).min(learned - 1);
        // More periods than were learned together go on at the rate of those.
        let times = f64::from(n_periods) / (at + 1) as f64;
        let sizes = self.sizes(state);
        let compound = compound(&self.totals[at], state, times, &sizes);
        Ok(Some((compound.mean_units(), compound.quantiles(levels))))
    }

    /// Sizes of an order of an item, with weights.
    fn sizes(&self, state: &ItemState) -> Vec<(f64, f64)> {
        let share = self.prior_orders / self.pooled.len().max(1) as f64;
        let own = state.sizes.iter().map(|size| (*size, 1.0));
        let shops =
            self.pooled.iter().map(|size| (*size, share)).filter(|(_, weight)| *weight > 0.0);
        let mut sizes: Vec<(f64, f64)> = own.chain(shops).collect();
        sizes.sort_by(|a, b| a.0.total_cmp(&b.0));
        sizes.dedup_by(|next, before| {
            let is_same = next.0 == before.0;
            if is_same {
                before.1 += next.1;
            }
            is_same
        });
        sizes
    }
}

fn compound<'a>(
    regression: &CountRegression,
    state: &ItemState,
    times: f64,
    sizes: &'a [(f64, f64)],
) -> Compound<'a> {
    let mean = regression.mean(&state.features) * times;
    Compound { mean, dispersion: regression.dispersion, sizes }
}

/// Numbers of orders of an item.
struct Past {
    counts: Vec<f64>,
    first: Option<usize>,
    /// The levels before each period, and after the last; they begin with the period of the first order.
    levels: Vec<[f64; SHARES.len()]>,
    /// Sums of the counts before each period.
    sums: Vec<f64>,
}

impl Past {
    fn new(counts: Vec<f64>) -> Self {
        let first = counts.iter().position(|count| *count > 0.0);
        let mut level = [0.0; SHARES.len()];
        let (mut levels, mut sums, mut sum) = (vec![level], vec![0.0], 0.0);
        for (at, count) in counts.iter().enumerate() {
            if first == Some(at) {
                level = [*count; SHARES.len()];
            }
            for (level, share) in level.iter_mut().zip(SHARES) {
                *level += share * (count - *level);
            }
            sum += count;
            levels.push(level);
            sums.push(sum);
        }
        Self { counts, first, levels, sums }
    }

    /// What is known before period `at`; `None` before the first order.
    fn features(&self, at: u32, shop: &Shop) -> Option<[f64; N_FEATURES]> {
        let now = at as usize;
        let first = self.first.filter(|first| *first < now)?;
        let mut features = [0.0; N_FEATURES];
        for (feature, level) in features.iter_mut().zip(&self.levels[now]) {
            *feature = (level + OFFSET).ln();
        }
        let from = now.saturating_sub(WINDOW as usize).max(first);
        let mean = (self.sums[now] - self.sums[from]) / (now - from) as f64;
        features[SHARES.len()] = (mean + OFFSET).ln();
        features[SHARES.len() + 1] = shop.busy[now];
        features[SHARES.len() + 2] = ((now - first) as f64).ln_1p();
        Some(features)
    }

    /// Orders in the periods `window` after `at`.
    fn target(&self, at: u32, (from, to): Window) -> f64 {
        self.counts[(at + from - 1) as usize..(at + to) as usize].iter().sum()
    }
}

/// What all items have in common.
struct Shop {
    /// Orders in each period.
    totals: Vec<f64>,
    /// Before each period, the logarithm of its last one over the mean of several.
    busy: Vec<f64>,
}

impl Shop {
    fn new(pasts: &[Past], end: u32) -> Self {
        let n = end as usize;
        let mut totals = vec![0.0; n];
        for past in pasts {
            totals.iter_mut().zip(&past.counts).for_each(|(total, count)| *total += count);
        }
        let busy = (0..=n).map(|at| {
            let window = &totals[at.saturating_sub(SHOP_WINDOW as usize)..at];
            let mean = window.iter().sum::<f64>() / window.len().max(1) as f64;
            let last = window.last().copied().unwrap_or(0.0);
            ((last + 1.0) / (mean + 1.0)).ln()
        });
        Self { busy: busy.collect(), totals }
    }

    /// Whether nothing at all was ordered in a period before `at` that its features rest on most, or in one of the window:
    /// the shop was closed, and nothing can be learned from it.
    fn was_closed(&self, at: u32, (_, to): Window) -> bool {
        let periods = at.saturating_sub(1) as usize..(at + to) as usize;
        self.totals[periods].contains(&0.0)
    }
}

fn learn(
    config: &OrdersConfig,
    pasts: &[Past],
    shop: &Shop,
    window: Window,
) -> Result<CountRegression, ModelError> {
    let end = shop.totals.len() as u32;
    let last = end - window.1;
    let first = last.saturating_sub(config.n_origins.get() - 1).max(MIN_PAST);
    let (mut x, mut counts) = (Vec::new(), Vec::new());
    for at in (first..=last).filter(|at| !shop.was_closed(*at, window)) {
        for past in pasts {
            if let Some(features) = past.features(at, shop) {
                x.extend(features);
                counts.push(past.target(at, window));
            }
        }
    }
    match counts.iter().any(|count| *count > 0.0) {
        true => Ok(CountRegression::fit(&x, N_FEATURES, &counts)),
        false => {
            Err(wrong("no item was ordered again within the periods that can be learned from"))
        }
    }
}

/// Sizes that stand for those of the shop's orders in the last periods: each for as many of them.
fn pooled(view: DemandView<'_>) -> Vec<f64> {
    let from = view.end().saturating_sub(WINDOW);
    let mut sizes: Vec<f64> = (0..view.n_items())
        .flat_map(|item| {
            let orders = view.orders(item);
            orders.units[orders.before(from).units.len()..].iter().copied()
        })
        .collect();
    sizes.sort_by(f64::total_cmp);
    let n = sizes.len();
    let chosen = (0..N_POOLED.min(n)).map(|at| sizes[(2 * at + 1) * n / (2 * N_POOLED.min(n))]);
    chosen.collect()
}
