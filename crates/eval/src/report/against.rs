//! A model beside the baselines that it should beat.

use serde::{Deserialize, Serialize};

use crate::significance::{Comparison, holm};

/// A model beside a baseline, by metrics of the kind `M`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Against<M> {
    /// The baseline.
    pub baseline: String,
    /// What the model has more than the baseline of each metric.
    pub comparisons: Vec<(M, Comparison)>,
}

/// The comparison with `baseline` by `metric`.
pub(super) fn find<'a, M: PartialEq>(
    all: &'a [Against<M>],
    baseline: &str,
    metric: &M,
) -> Option<&'a Comparison> {
    let found = all.iter().find(|against| against.baseline == baseline)?;
    found.comparisons.iter().find(|(own, _)| own == metric).map(|(_, comparison)| comparison)
}

/// Comparisons with one baseline, with p-values after Holm's correction over all of them.
pub(super) fn corrected<'a, R>(
    found: Vec<(&'a R, &'a Comparison)>,
) -> Vec<(&'a R, &'a Comparison, f64)> {
    let p_values: Vec<f64> = found.iter().map(|(_, found)| found.p_value).collect();
    let corrected = holm(&p_values);
    found.into_iter().zip(corrected).map(|((row, found), p)| (row, found, p)).collect()
}

/// `+` better, `-` worse, `=` no difference that chance could not make.
pub(super) fn sign(is_better: bool, corrected_p: f64, confidence: f64) -> char {
    match (corrected_p < 1.0 - confidence, is_better) {
        (false, _) => '=',
        (true, true) => '+',
        (true, false) => '-',
    }
}

/// A [`sign`] in words; nothing is said of the baseline itself.
pub(super) fn words(sign: Option<char>) -> &'static str {
    match sign {
        Some('+') => "better",
        Some('-') => "worse",
        Some(_) => "no difference",
        None => "–",
    }
}
