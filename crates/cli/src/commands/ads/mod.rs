//! `ads`: a budget replayed over a log of impressions, and what other choices of what to show would have earned.

mod off_policy;
mod simulate;

use super::Context;
use crate::args::{AdsArgs, AdsVerb};

pub(super) use off_policy::{of_table, print as print_off_policy};
pub(super) use simulate::{print as print_simulation, simulated};

pub(crate) fn run(context: &Context, arguments: &AdsArgs) -> anyhow::Result<()> {
    match &arguments.verb {
        AdsVerb::Simulate(arguments) => simulate::run(context, arguments),
        AdsVerb::OffPolicy(arguments) => off_policy::run(context, arguments),
    }
}
