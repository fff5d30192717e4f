//! How many units of an item will be sold in each of the next periods, a week for example: mean and quantiles.
//!
//! [`DemandMethod`] is fitted on the units of past periods, oldest first, and gives a [`DemandFit`], which is asked for
//! the next ones. What an item is out of is not known here: a period without stock is a period without sales.
//!
//! - [`DemandMethod::SeasonalNaive`], [`DemandMethod::MovingAverage`] and [`DemandMethod::SimpleSmoothing`] for what sells
//!   in most periods;
//! - [`DemandMethod::Croston`], [`DemandMethod::Sba`] and [`DemandMethod::Tsb`] for intermittent demand, most of whose
//!   periods are 0.
//!
//! All items together, from single orders in place of sums, is [`OrdersConfig`]: how many orders there will be, and what is in one.
//! [`DemandSpec`] is any of these by name, [`FittedDemand`] what it gives for all items of a [`DemandView`].
//!
//! Start reading at [`DemandSpec`]. What measures forecasts is not here: that is the part of another crate.

mod method;

mod average;
mod croston;
mod naive;
mod smoothing;
mod tsb;

mod interval;
mod level;
mod spread;

mod compound;
mod orders;
mod poisson;

mod spec;
mod view;

pub use orders::OrdersConfig;
pub use spec::{DEFAULT_MODEL, DemandSpec, FittedDemand, models};
pub use view::DemandView;

pub use interval::{DemandInterval, DemandQuestion};
pub use method::{DemandFit, DemandForecast, DemandMethod};
