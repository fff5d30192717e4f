//! What a policy would have earned, from what another one showed: estimates from a log with known propensities.
//!
//! A policy is a probability of each action (an item, an ad) in each slot of a page. A log has, for each impression, the
//! action that was drawn, its slot, what it earned, and with which probability it had been drawn: its propensity. No
//! estimate is better than these propensities.
//!
//! Start reading at [`LoggedFeedback`], then [`Estimator`].

mod estimate;
mod feedback;

pub use estimate::{Estimator, OffPolicyEstimate};
pub use feedback::{LoggedFeedback, OffPolicy, SlotPolicy};
