//! Experiments: which users see which variant, and what came of it.
//!
//! - Users are assigned by a hash of the experiment's name and their id, so that nothing is kept: every process says the same, after a restart
//!   too, and a read-out finds the variant of a user again.
//! - `Arm` is what a request is answered as.
//! - [`read_out()`] goes from the events in the store to what each user did (`outcomes`), and to intervals that may be looked at at any time
//!   ([`sequence`]), beside a test of whether users came in the shares that they were assigned in ([`SampleRatio`]).

mod arm;
mod assigned;
mod config;
mod outcomes;
mod read_out;
mod read_outs;
mod sample_ratio;
pub mod sequence;
mod status;

pub use config::{Experiment, ExperimentError, RawExperiment, RawVariant};
pub use read_out::{
    Difference, MIN_USERS, MetricReadOut, ReadOut, VariantOutcome, Verdict, read_out,
};
pub use sample_ratio::{SAMPLE_RATIO_LEVEL, SampleRatio};
pub use status::{ExperimentStatus, State, VariantStatus};

pub(crate) use arm::Arm;
pub(crate) use outcomes::takes_part;
pub(crate) use read_outs::ReadOuts;

use assigned::Assigned;

/// All experiments of a configuration.
#[derive(Debug, Clone, Default)]
pub struct Experiments(Vec<Experiment>);

impl Experiments {
    /// Checks experiments beside the names of the scenarios that there are.
    ///
    /// # Errors
    /// [`ExperimentError`] names the experiment and the field.
    pub fn new(raw: &[RawExperiment], scenarios: &[&str]) -> Result<Self, ExperimentError> {
        config::checked(raw, scenarios).map(Self)
    }

    /// In the order of the configuration.
    pub fn all(&self) -> &[Experiment] {
        &self.0
    }

    /// The experiment of a name.
    pub fn named(&self, name: &str) -> Option<&Experiment> {
        self.0.iter().find(|own| own.name == name)
    }

    /// The models that variants ask for, each once.
    pub(crate) fn models(&self) -> Vec<String> {
        let variants = self.0.iter().flat_map(|own| &own.variants);
        let mut models: Vec<String> = variants.filter_map(|own| own.model.clone()).collect();
        models.sort();
        models.dedup();
        models
    }
}
