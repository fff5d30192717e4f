//! Measures probabilities that may be multiplied by money: of a click, a conversion, a purchase.
//!
//! [`measure()`] says all of a model at once, with intervals: how well it separates ([`auc`],
//! [`average_precision`], [`grouped_auc`]), how much its probabilities cost where they are wrong
//! ([`logloss`], [`normalized_entropy`], [`brier`]), and whether they are as large as what happens
//! ([`ece`], [`reliability`], [`noise_floor`]). [`compare()`] tells two models apart on the same rows,
//! [`segments()`] and [`offsets()`] look for groups of rows in which probabilities are off, [`operating_points()`] and [`histogram()`]
//! are for plots.
//!
//! Nothing here changes a probability: what calibrates stands with the models.
//!
//! Start reading at [`Predictions`], then `measure.rs`.

mod predictions;
mod ranked;

mod discrimination;
mod losses;
mod rate;
mod reliability;

mod measure;
mod metric;
mod segment_columns;
mod segments;

mod histogram;
mod operating;

pub use discrimination::{auc, average_precision, grouped_auc};
pub use histogram::{Histogram, histogram};
pub use losses::{LOGLOSS_CLIP, brier, logloss, normalized_entropy};
pub use measure::{
    Bootstrapped, MeasureOptions, Measured, Measurement, ResampledUnit, compare, measure,
};
pub use metric::ProbabilityMetric;
pub use operating::{OperatingPoint, operating_points};
pub use predictions::Predictions;
pub use rate::wilson;
pub use reliability::{BinKind, Bins, NoiseFloor, ReliabilityBin, ece, noise_floor, reliability};
pub use segment_columns::SegmentColumn;
pub use segments::{Offset, Segment, SegmentOffset, offsets, segments};
