//! The one error type of this crate.

/// What a layer, a loss or an optimizer refuses.
///
/// Every variant is a mistake of the caller or a training run that diverged; nothing here is retried.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NnError {
    /// A matrix has other dimensions than its neighbors ask for.
    #[error("{what}: expected shape {expected:?}, found {found:?}")]
    Shape {
        /// Which matrix of which layer.
        what: &'static str,
        /// `[rows, cols]` that the call needs.
        expected: [usize; 2],
        /// `[rows, cols]` that were passed.
        found: [usize; 2],
    },
    /// A list has other than the expected number of values.
    #[error("{what}: expected {expected} values, found {found}")]
    Length {
        /// Which list of which call.
        what: &'static str,
        /// How many values the call needs.
        expected: usize,
        /// How many were passed.
        found: usize,
    },
    /// An index points outside its table, or a label outside the classes.
    #[error("{what}: index {index} at position {position} is not below {bound}")]
    Index {
        /// Which list of which call.
        what: &'static str,
        /// 0-based position in the list.
        position: usize,
        /// The offending value.
        index: u64,
        /// Number of rows or classes there are.
        bound: usize,
    },
    /// Offsets of a ragged list do not start at 0, decrease, or do not end at the length of the list.
    #[error("offsets of a ragged list are wrong at position {position}")]
    Offsets {
        /// 0-based position in the offsets.
        position: usize,
    },
    /// A loss, gradient or input is NaN or infinite. A training run that meets it has diverged.
    #[error("{what} is not finite: {value}")]
    NonFinite {
        /// What was computed.
        what: &'static str,
        /// The value found.
        value: f64,
    },
    /// A hyperparameter or weight is outside of its range.
    #[error("{name} is {value}, which is not {allowed}")]
    OutOfRange {
        /// Name of the value as in the configuration.
        name: &'static str,
        /// The value found.
        value: f64,
        /// The range in words.
        allowed: &'static str,
    },
    /// An optimizer met other parameters than those it holds state for.
    #[error("the optimizer holds state for other parameters: {name}")]
    ParametersChanged {
        /// Name of the first parameter that does not fit.
        name: String,
    },
}

/// Checks the shape of one matrix.
pub(crate) fn check_shape(
    what: &'static str,
    expected: [usize; 2],
    found: [usize; 2],
) -> Result<(), NnError> {
    if expected == found { Ok(()) } else { Err(NnError::Shape { what, expected, found }) }
}

/// Checks the length of one list.
pub(crate) fn check_length(
    what: &'static str,
    expected: usize,
    found: usize,
) -> Result<(), NnError> {
    if expected == found { Ok(()) } else { Err(NnError::Length { what, expected, found }) }
}

/// Checks that every index is below `bound`.
pub(crate) fn check_indices(
    what: &'static str,
    indices: &[u32],
    bound: usize,
) -> Result<(), NnError> {
    match indices.iter().position(|&index| index as usize >= bound) {
        None => Ok(()),
        Some(position) => {
            Err(NnError::Index { what, position, index: u64::from(indices[position]), bound })
        }
    }
}

/// Passes a finite value through and refuses any other.
pub(crate) fn check_finite(what: &'static str, value: f64) -> Result<f64, NnError> {
    if value.is_finite() { Ok(value) } else { Err(NnError::NonFinite { what, value }) }
}

/// Checks a hyperparameter against a range that `allowed` puts in words.
pub(crate) fn check_range(
    name: &'static str,
    value: f64,
    inside: bool,
    allowed: &'static str,
) -> Result<(), NnError> {
    if inside { Ok(()) } else { Err(NnError::OutOfRange { name, value, allowed }) }
}
