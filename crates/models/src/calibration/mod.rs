//! From a score to a probability that may be multiplied by money.
//!
//! A network's sigmoid orders rows well and is often too sure, or right for another mix of positive and negative rows
//! than the shop has. A [`Calibrator`] is fitted on rows that the model has not learned from: their logits (or any other
//! score, higher for more probable), labels and weights. It never turns the order of two rows around, is never NaN, and
//! never 0 or 1, so that its logarithmic loss is finite.
//!
//! - [`CalibrationMethod::Temperature`] and [`Temperature::fit_classes`]: one number; for several classes too;
//! - [`CalibrationMethod::Platt`]: a line through the logits;
//! - [`CalibrationMethod::Beta`]: a curve of three numbers;
//! - [`CalibrationMethod::Isotonic`]: any monotone curve, for many rows;
//! - [`choose`]: which of them, by rows that none of them was fitted on.
//!
//! [`correct_for_sampling`] undoes what leaving out negative rows did to a probability. What measures probabilities is
//! not here: that is the part of another crate.
//!
//! Start reading at [`Calibrator`].

mod calibrator;
mod rows;

mod beta;
mod isotonic;
mod platt;
mod sampling;
mod temperature;

mod choice;

pub(crate) mod exact;
pub(crate) mod logistic;

pub use beta::Beta;
pub use calibrator::{CalibrationMethod, Calibrator};
pub use choice::{CalibrationChoice, MIN_FOR_ISOTONIC, Tried, choose};
pub use isotonic::Isotonic;
pub use platt::Platt;
pub use rows::CalibrationRows;
pub use sampling::correct_for_sampling;
pub use temperature::Temperature;
