//! What will a customer ask next? The probability of each intent within a horizon, from what the customer did.
//!
//! A *moment* is any event of a customer; intent `k` comes true there if it is asked later, within the horizon of the folder
//! ([`Questions`](forecart_data::Questions)). Several may, so that the probabilities do not sum to 1.
//!
//! Start at [`contract`]; [`registry`] has the models by name: [`popularity`] and [`last_event`] are what any other has to beat,
//! [`sequence`] reads the whole history with the encoder of the recommenders over sequences. [`QuestionPredictor`] is a fitted model with its
//! [calibration](QuestionCalibration), and says which behavior led to a probability ([`explain`]).

pub mod contract;

pub mod last_event;
pub mod popularity;
pub mod sequence;

mod examples;
mod labels;
mod network;
mod rest;
mod tokens;
mod windows;

pub mod registry;

mod calibration;
pub mod explain;
pub mod predictor;

pub use calibration::QuestionCalibration;
pub use contract::{QuestionModel, QuestionSpec};
pub use explain::{Behavior, Deletions, Explanation};
pub use last_event::{LastEventConfig, LastEventSpec};
pub use popularity::PopularitySpec;
pub use predictor::{QuestionNames, QuestionPredictor, QuestionServing};
pub use sequence::{SequenceConfig, SequenceSpec};
