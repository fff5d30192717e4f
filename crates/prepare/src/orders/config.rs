//! The `[demand]` section of the configuration.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::PrepareError;

/// `[demand]` as it stands in a file. Every key is optional.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawDemandConfig {
    /// Days of a period.
    pub period_days: NonZeroU32,
    /// The last periods, before each of which a forecast is made and measured.
    pub test_periods: NonZeroU32,
    /// Periods ahead that each of these forecasts is for.
    pub horizon: NonZeroU32,
}

impl Default for RawDemandConfig {
    fn default() -> Self {
        let n = |n| NonZeroU32::new(n).expect("not 0");
        Self { period_days: n(7), test_periods: n(8), horizon: n(1) }
    }
}

/// Checked settings of [`prepare_orders`](super::prepare_orders) and of the measurement of forecasts.
#[derive(Debug, Clone, PartialEq)]
pub struct DemandConfig {
    /// As it was written, for the manifest.
    pub raw: RawDemandConfig,
}

impl TryFrom<RawDemandConfig> for DemandConfig {
    type Error = PrepareError;

    fn try_from(raw: RawDemandConfig) -> Result<Self, PrepareError> {
        if raw.period_days.get() > 366 {
            return Err(PrepareError::config("demand.period_days", "give 1 to 366"));
        }
        if raw.horizon > raw.test_periods {
            let reason = format!("{} is more than demand.test_periods", raw.horizon);
            return Err(PrepareError::config("demand.horizon", reason));
        }
        Ok(Self { raw })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_make_no_sense_are_refused_with_their_key() {
        let refused = |text: &str| {
            DemandConfig::try_from(toml::from_str::<RawDemandConfig>(text).unwrap())
                .unwrap_err()
                .to_string()
        };
        assert!(refused("period_days = 400").contains("demand.period_days"));
        assert!(refused("horizon = 9").contains("demand.horizon"));
        toml::from_str::<RawDemandConfig>("period_days = 0").unwrap_err();
        toml::from_str::<RawDemandConfig>("days = 7").unwrap_err();
    }
}
