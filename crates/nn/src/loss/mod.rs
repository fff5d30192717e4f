//! Losses: each returns its value and writes the gradient of its input in one call.
//!
//! All take `mean_over`, the number (or total weight) of examples of the **whole** batch. A tile of a batch
//! thereby returns its share: the values and gradients of the tiles add up to those of the batch, to
//! rounding. Values are computed and summed in f64.
//!
//! - [`bce_with_logits`]: yes or no, for clicks and purchases;
//! - [`EntireSpace`]: a click and a conversion after it, over all impressions;
//! - [`softmax_cross_entropy`]: one of a few classes, logits given; [`soft_cross_entropy`]: against probabilities of them;
//! - [`full_softmax`]: one of many items, logits never stored;
//! - [`subset_softmax`]: one of some items, those of the batch and others drawn beside them, logits never stored;
//! - [`sampled_softmax`]: one of many items against shared negatives;
//! - [`own_sampled_softmax`], [`sampled_bce`] (also gBCE), [`bpr`]: one of many items against negatives of each row's own.

mod bce;
mod bpr;
mod entire_space;
mod full_softmax;
mod own_negatives;
mod own_sampled_softmax;
mod sampled_bce;
mod sampled_softmax;
mod softmax;
mod subset_softmax;

pub use bce::bce_with_logits;
pub use bpr::bpr;
pub use entire_space::EntireSpace;
pub use full_softmax::{FullSoftmaxGradients, FullSoftmaxWorkspace, full_softmax};
pub use own_negatives::{OwnNegatives, OwnNegativesGradients, OwnNegativesWorkspace};
pub use own_sampled_softmax::own_sampled_softmax;
pub use sampled_bce::{gbce_beta, sampled_bce};
pub use sampled_softmax::{
    LogQ, SampledSoftmax, SampledSoftmaxGradients, SampledSoftmaxWorkspace, sampled_softmax,
};
pub use softmax::{soft_cross_entropy, softmax_cross_entropy};
pub use subset_softmax::{
    ItemSubset, SubsetSoftmaxGradients, SubsetSoftmaxWorkspace, subset_softmax,
};

use crate::{NnError, error::check_range};

fn check_mean_over(mean_over: f64) -> Result<(), NnError> {
    let inside = mean_over > 0.0 && mean_over.is_finite();
    check_range("mean_over", mean_over, inside, "finite and positive")
}

fn check_label_smoothing(label_smoothing: f32) -> Result<(), NnError> {
    let inside = (0.0..1.0).contains(&label_smoothing);
    check_range("label_smoothing", f64::from(label_smoothing), inside, "in 0.0..1.0")
}

fn weight_of(weights: Option<&[f32]>, position: usize) -> f64 {
    weights.map_or(1.0, |weights| f64::from(weights[position]))
}
