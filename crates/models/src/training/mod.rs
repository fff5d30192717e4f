//! Training by epochs: one loop for every model that learns by gradient steps.
//!
//! A model says how it makes a step and how it is validated (`Learner`); `run` does the rest: the order of the
//! examples, the learning rate, early stopping, the curve, progress, cancellation, divergence, and checkpoints from
//! which a killed run goes on to exactly the weights of an uninterrupted one.
//!
//! What makes that exact: nothing random has a state. The order of an epoch is a function of the seed and the epoch,
//! dropout and negatives are functions of the seed and the step. So weights, optimizer state and the number of steps
//! say all; no clock reading and no number of threads reaches a weight.
//!
//! Start reading at `Learner`, then `run`, then `checkpoint`.

mod context;
mod record;

mod learner;
mod optimizer;
mod run;

mod checkpoint;
mod checkpoint_file;
mod divergence;

pub use checkpoint::{Checkpoint, RunIdentity};
pub use context::FitContext;
pub use divergence::Divergence;
pub use learner::Measure;
pub(crate) use learner::{BatchLoss, Learner, Parts};
pub use optimizer::LearningRateSchedule;
pub(crate) use optimizer::OptimizerConfig;
pub use record::{EpochRecord, FitRecord, MemberRecord};
pub(crate) use run::{Plan, run};
