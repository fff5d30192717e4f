//! From an error to one message and an exit code.

use std::io::Write;
use std::process::ExitCode;

use forecart_data::DataError;
use forecart_models::ModelError;
use forecart_prepare::PrepareError;
use forecart_serve::DumpError;
use forecart_train::TrainError;

use crate::config::ConfigError;

/// A model does not beat the strongest baseline: exit code 4.
#[derive(Debug, thiserror::Error)]
#[error("quality gate not met: {reason}")]
pub(crate) struct GateNotMet {
    pub(crate) reason: String,
}

/// A flag or a combination of flags that cannot be used: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// Data that was read whole and does not hold what it must: exit code 3.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct DataInvalid(pub(crate) String);

/// Prints `error` once on standard error and gives the program's exit code.
pub(crate) fn report(error: &anyhow::Error, json: bool) -> ExitCode {
    let code = exit_code(error);
    let message = format!("{error:#}");
    let line = if json {
        serde_json::json!({"error": {"code": code, "message": message}}).to_string()
    } else {
        format!("error: {message}")
    };
    let _ = writeln!(std::io::stderr(), "{line}");
    ExitCode::from(code)
}

/// 1 failure, 2 usage or configuration, 3 data invalid, 4 quality gate not met.
fn exit_code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if cause.is::<GateNotMet>() {
            return 4;
        }
        if cause.is::<DataInvalid>() {
            return 3;
        }
        if cause.is::<UsageError>() || cause.is::<ConfigError>() {
            return 2;
        }
        if let Some(TrainError::Model(error)) = cause.downcast_ref::<TrainError>() {
            return of_model(error);
        }
        if matches!(
            cause.downcast_ref(),
            Some(
                TrainError::NotCounted { .. }
                    | TrainError::NothingToTune { .. }
                    | TrainError::OtherSearch { .. }
            )
        ) {
            return 2;
        }
        if let Some(TrainError::Data(error)) = cause.downcast_ref::<TrainError>() {
            return of_data(error);
        }
        if cause.downcast_ref::<TrainError>().is_some_and(is_about_data) {
            return 3;
        }
        if let Some(error) = cause.downcast_ref::<DumpError>() {
            return match error {
                DumpError::NotEmpty { .. } => 2,
                error if error.is_about_data() => 3,
                _ => 1,
            };
        }
        if let Some(error) = cause.downcast_ref::<ModelError>() {
            return of_model(error);
        }
        if let Some(error) = cause.downcast_ref::<DataError>() {
            return of_data(error);
        }
        if let Some(error) = cause.downcast_ref::<PrepareError>() {
            return match error {
                error if error.is_usage() => 2,
                error if error.is_data_invalid() => 3,
                _ => 1,
            };
        }
    }
    1
}

fn is_about_data(error: &TrainError) -> bool {
    use forecart_eval::EvalError;
    matches!(
        error,
        TrainError::OtherDataset { .. }
            | TrainError::Impressions { .. }
            | TrainError::Eval(EvalError::NoTargets { .. } | EvalError::Input { .. })
    )
}

fn of_model(error: &ModelError) -> u8 {
    match error {
        ModelError::Data(error) => of_data(error),
        ModelError::UnknownModel { .. }
        | ModelError::UnknownKey { .. }
        | ModelError::Hyperparameter { .. }
        | ModelError::NeedsTable { .. }
        | ModelError::OtherRun { .. }
        | ModelError::OtherTask { .. }
        | ModelError::Key { .. }
        | ModelError::UnknownItem { .. } => 2,
        ModelError::NeedsTime { .. }
        | ModelError::NeedsCatalog { .. }
        | ModelError::NoEvents { .. }
        | ModelError::NoLabels { .. }
        | ModelError::NoFeatures { .. }
        | ModelError::Demand { .. }
        | ModelError::Intents { .. }
        | ModelError::NotForTable { .. }
        | ModelError::Damaged { .. }
        | ModelError::Refused { .. }
        | ModelError::DamagedCheckpoint { .. }
        | ModelError::FormatVersion { .. } => 3,
        _ => 1,
    }
}

fn of_data(error: &DataError) -> u8 {
    if matches!(error, DataError::Io { .. }) { 1 } else { 3 }
}
