//! All ways to forecast, by name.

use std::num::NonZeroUsize;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::interval::DemandQuestion;
use super::method::{DemandFit, DemandForecast, DemandMethod, wrong};
use super::orders::{self, OrdersConfig, OrdersFit};
use super::view::DemandView;
use crate::error::{ModelError, nearest};
use crate::recommend::registry::parse_keys_of;

/// The way that is taken when none is named: the lowest error on the orders of docs/measurements.md.
pub const DEFAULT_MODEL: &str = orders::NAME;

/// Stands for [`DEFAULT_MODEL`] wherever a name is asked for.
const DEFAULT: &str = "default";

/// A way to forecast, with its constants.
#[derive(Debug, Clone, PartialEq)]
pub enum DemandSpec {
    /// Each item by itself, from the units of its periods.
    Method(DemandMethod),
    /// All items together, from their orders.
    Orders(OrdersConfig),
}

/// A method with its name, one line about it, and its constants.
fn methods() -> [(&'static str, &'static str, DemandMethod); 7] {
    let n = |n| NonZeroUsize::new(n).expect("not 0");
    [
        ("naive", "what was sold in the last period", DemandMethod::SeasonalNaive { season: n(1) }),
        (
            "seasonal-naive",
            "what was sold a season ago; a season of 4 periods where nothing else is said",
            DemandMethod::SeasonalNaive { season: n(4) },
        ),
        (
            "moving-average",
            "the mean of the last periods",
            DemandMethod::MovingAverage { window: n(8) },
        ),
        (
            "ses",
            "simple exponential smoothing: a level that follows what is sold",
            DemandMethod::SimpleSmoothing { alpha: 0.2 },
        ),
        (
            "croston",
            "size of a sale over time between sales, for intermittent demand",
            DemandMethod::Croston { alpha: 0.1 },
        ),
        ("sba", "Croston's method without most of its bias", DemandMethod::Sba { alpha: 0.1 }),
        (
            "tsb",
            "size of a sale times its probability; forgets what sells no more",
            DemandMethod::Tsb { alpha_size: 0.2, alpha_probability: 0.2 },
        ),
    ]
}

/// Names and one line about each, simplest first.
pub fn models() -> impl Iterator<Item = (&'static str, &'static str)> {
    let orders = (orders::NAME, "expected orders of each item times the sizes of its orders");
    methods().into_iter().map(|(name, about, _)| (name, about)).chain([orders])
}

impl DemandSpec {
    /// Whether it is one of the classical methods, which others have to beat.
    pub fn is_classical(&self) -> bool {
        matches!(self, Self::Method(_))
    }

    /// The way `name` with `keys` (a JSON object or null) in place of its defaults.
    ///
    /// # Errors
    /// [`ModelError::UnknownModel`], [`ModelError::UnknownKey`], [`ModelError::Hyperparameter`] or [`ModelError::Demand`].
    pub fn from_name(name: &str, keys: &Value) -> Result<Self, ModelError> {
        let name = if name == DEFAULT { DEFAULT_MODEL } else { name };
        if name == orders::NAME {
            let config: OrdersConfig = parse_keys_of(orders::NAME, &OrdersConfig::default(), keys)?;
            config.check()?;
            return Ok(Self::Orders(config));
        }
        let Some((name, _, method)) = methods().into_iter().find(|(known, _, _)| *known == name)
        else {
            let known: Vec<_> = models().map(|(name, _)| name).collect();
            let suggestion = nearest(name, known.iter().copied());
            return Err(ModelError::UnknownModel { name: name.to_owned(), suggestion, known });
        };
        let changed: DemandMethod = parse_keys_of(name, &method, keys)?;
        if std::mem::discriminant(&changed) != std::mem::discriminant(&method) {
            let reason = "is the name of the model".to_owned();
            return Err(ModelError::hyperparameter(name, "method", reason));
        }
        changed.check()?;
        Ok(Self::Method(changed))
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Orders(_) => orders::NAME,
            Self::Method(DemandMethod::SeasonalNaive { season }) if season.get() == 1 => "naive",
            Self::Method(DemandMethod::SeasonalNaive { .. }) => "seasonal-naive",
            Self::Method(DemandMethod::MovingAverage { .. }) => "moving-average",
            Self::Method(DemandMethod::SimpleSmoothing { .. }) => "ses",
            Self::Method(DemandMethod::Croston { .. }) => "croston",
            Self::Method(DemandMethod::Sba { .. }) => "sba",
            Self::Method(DemandMethod::Tsb { .. }) => "tsb",
        }
    }

    /// Its constants.
    pub fn hyperparameters(&self) -> Value {
        let keys = match self {
            Self::Method(method) => serde_json::to_value(method),
            Self::Orders(config) => serde_json::to_value(config),
        };
        let mut keys = keys.expect("numbers in a struct are JSON");
        keys.as_object_mut().expect("a struct is an object").remove("method");
        keys
    }

    /// Learns from the orders of `view`, on the threads of the current pool; the same for any number of them.
    ///
    /// # Errors
    /// [`ModelError::Demand`] if there is too little to learn from.
    pub fn fit(&self, view: DemandView<'_>) -> Result<FittedDemand, ModelError> {
        Ok(match self {
            Self::Orders(config) => FittedDemand(Fit::Orders(OrdersFit::new(config, view)?)),
            Self::Method(method) => {
                let fit = |item: usize| match view.units(item) {
                    units if units.is_empty() => Ok(None),
                    units => method.fit(&units).map(Some),
                };
                let items = (0..view.n_items()).into_par_iter().map(fit);
                FittedDemand(Fit::EachItem { items: items.collect::<Result<_, _>>()? })
            }
        })
    }
}

/// A forecast of all items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FittedDemand(Fit);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
enum Fit {
    EachItem { items: Vec<Option<DemandFit>> },
    Orders(OrdersFit),
}

impl FittedDemand {
    /// Number of items.
    pub fn n_items(&self) -> usize {
        match &self.0 {
            Fit::EachItem { items } => items.len(),
            Fit::Orders(fit) => fit.n_items(),
        }
    }

    /// Refuses what was read and no fit gives.
    ///
    /// # Errors
    /// [`ModelError::Damaged`].
    pub(crate) fn check(&self) -> Result<(), ModelError> {
        match &self.0 {
            Fit::EachItem { items } => items.iter().flatten().try_for_each(DemandFit::check),
            Fit::Orders(fit) => fit.check(),
        }
    }

    /// The next `n_periods` of an item: the mean of each, and what `asked` asks of it. `None` if the item was not ordered before.
    ///
    /// # Errors
    /// [`ModelError::Demand`] for levels and shares that are not between 0 and 1.
    pub fn forecast(
        &self,
        item: usize,
        n_periods: usize,
        asked: DemandQuestion<'_>,
    ) -> Result<Option<DemandForecast>, ModelError> {
        match &self.0 {
            Fit::EachItem { items } => match items.get(item).and_then(Option::as_ref) {
                Some(fit) => fit.forecast(n_periods, asked).map(Some),
                None => Ok(None),
            },
            Fit::Orders(fit) => fit.forecast(item, n_periods, asked),
        }
    }

    /// Units of the next `n_periods` of an item together: mean, and quantiles at `levels`. `None` if the item was not ordered before.
    ///
    /// # Errors
    /// [`ModelError::Demand`] for levels that are not between 0 and 1, and of a method that knows single periods alone.
    pub fn total(
        &self,
        item: usize,
        n_periods: u32,
        levels: &[f64],
    ) -> Result<Option<(f64, Vec<f64>)>, ModelError> {
        match &self.0 {
            Fit::Orders(fit) => fit.total(item, n_periods, levels),
            Fit::EachItem { .. } => Err(wrong(format!(
                "this method knows single periods, and a reorder is for several together; train {DEFAULT_MODEL}"
            ))),
        }
    }
}
