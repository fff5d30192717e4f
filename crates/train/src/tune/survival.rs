//! How much of what a search gained on validation is there on test.

use forecart_data::Progress;
use forecart_eval::tuning::{Search, Trial};

use super::{TuneData, TuneOptions, merged};
use crate::error::TrainError;

/// Fits the defaults and the best trial once more, reads the test part once for each, and makes the report of the
/// search.
///
/// # Errors
/// [`TrainError`] if either cannot be fitted or measured.
pub fn survival(
    data: TuneData<'_>,
    options: &TuneOptions,
    trials: Vec<Trial>,
    title: &str,
    progress: &dyn Progress,
) -> Result<Search, TrainError> {
    let subject = data.subject();
    let best = Search::best(&trials)
        .ok_or_else(|| TrainError::Search { reason: "no trial was finished".into() })?;
    let keys = [0, best].map(|number| merged(&options.keys, &trials[number].parameters));
    let title = format!("{title}: {} tuned", options.model);
    let report = subject.side_by_side(options, keys, title, progress)?;
    let space = subject.candidate(&options.model, &options.keys)?.search_space();
    let space = serde_json::to_value(space).unwrap_or_default();
    Ok(Search::new(&options.model, options.seed, space, trials, report)?)
}
