//! Makes a [`Report`] from evaluations.

use std::collections::BTreeSet;

use forecart_data::Part;

use super::{
    ComparisonRow, CurvePoint, FORMAT_VERSION, MetricRow, ModelRow, ModelRuns, Reference, Report,
    ReportOptions, Timing, TrainingCurve,
};
use crate::bootstrap::{GroupSums, Resampled, ratios};
use crate::error::EvalError;
use crate::evaluation::Evaluation;
use crate::metrics::{Metric, MetricKind};
use crate::significance::{compare_sums, holm};

/// Overlap of two users' lists above which everyone sees the same list.
const SAME_LIST: f64 = 0.5;

/// Share of the targets that lists leave out as seen, from which the report asks whether that is meant.
const MANY_HIDDEN: f64 = 0.1;

/// Cuts of the curves.
const CURVE_KS: [usize; 10] = [1, 2, 3, 5, 7, 10, 15, 20, 30, 50];

impl Report {
    /// Puts measured models into one report, best first by the deciding metric.
    ///
    /// Every row is the mean over all of its model's seeds. The best model and the strongest
    /// baseline, which the others are compared with, are picked by the validation part where all
    /// rows have one, else by the part that is reported, and the report says which.
    ///
    /// # Errors
    /// [`EvalError::NotComparable`] if rows differ in data, protocol, users or seeds, or if a seed
    /// stands twice; [`EvalError::Option`] for an empty report; [`EvalError::UnknownMetric`] for a
    /// deciding metric that has no values user by user.
    pub fn new(models: &[ModelRuns], options: &ReportOptions) -> Result<Self, EvalError> {
        options.bootstrap.check()?;
        let first = check(models)?;
        let mut order: Vec<usize> = (0..models.len()).collect();
        let primary = means(models, options.primary, |run| Some(&run.evaluation))?;
        // Best first; equal means keep the order in which they came.
        order.sort_by(|a, b| {
            let mean = |index: &usize| primary[*index].unwrap_or(f64::NEG_INFINITY);
            mean(b).total_cmp(&mean(a))
        });
        let validation = means(models, options.primary, |run| run.validation.as_ref())?;
        let chosen_on_validation = validation.iter().all(Option::is_some);
        let by = if chosen_on_validation { &validation } else { &primary };
        let references_chosen_on = if chosen_on_validation { Part::Validation } else { first.part };
        let comparisons = comparisons(models, &order, by, options)?;
        let rows = order.iter().map(|i| row(&models[*i], validation[*i], options));
        let rows = rows.collect::<Result<Vec<_>, EvalError>>()?;
        let mut report = Self {
            format: "forecart-report".into(),
            format_version: FORMAT_VERSION,
            forecart_version: env!("CARGO_PKG_VERSION").into(),
            commit: options.commit.clone(),
            title: options.title.clone(),
            protocol: first.protocol_id.clone(),
            part: first.part,
            data: first.data.clone(),
            tally: crate::evaluation::Tally { n_tied_targets: 0, ..first.tally },
            primary: options.primary,
            bootstrap: options.bootstrap,
            models: rows,
            comparisons,
            slices: super::slices::all(models, &order, options)?,
            gate: None,
            leakage: crate::leakage::Leakage::default(),
            references_chosen_on,
            test_readings: options.guard.readings(),
            warnings: Vec::new(),
            environment: options.environment.clone().filter(|_| !options.deterministic),
        };
        let n_test_runs = if first.part == Part::Test {
            models.iter().map(|model| model.runs.len()).sum()
        } else {
            0
        };
        report.warnings = warnings(&report, n_test_runs);
        Ok(report)
    }
}

/// Checks that all runs belong into one table; returns the first.
fn check(models: &[ModelRuns]) -> Result<&Evaluation, EvalError> {
    let all = || models.iter().flat_map(|model| &model.runs);
    let nothing = || EvalError::Option { option: "models", reason: "nothing was measured".into() };
    let first = &all().next().ok_or_else(nothing)?.evaluation;
    for run in all() {
        first.check_comparable(&run.evaluation)?;
    }
    let mut validations = all().filter_map(|run| run.validation.as_ref());
    if let Some(first) = validations.next() {
        validations.try_for_each(|other| first.check_comparable(other))?;
    }
    let on_other = |run: &&super::Run| {
        let validation = run.validation.as_ref();
        validation.is_some_and(|v| v.part != Part::Validation || v.data != run.evaluation.data)
    };
    if let Some(run) = all().find(on_other) {
        return Err(EvalError::NotComparable {
            left: run.evaluation.label.clone(),
            right: run.validation.as_ref().map_or_else(String::new, |v| v.label.clone()),
            reason: "its validation was measured on another part or other data".into(),
        });
    }
    let mut names = BTreeSet::new();
    let mut trained: Option<(&ModelRuns, BTreeSet<u64>)> = None;
    for model in models {
        let differ = |other: &ModelRuns, reason: &str| EvalError::NotComparable {
            left: other.name.clone(),
            right: model.name.clone(),
            reason: reason.into(),
        };
        if !names.insert(&model.name) {
            return Err(differ(model, "two rows have one name"));
        }
        if model.runs.is_empty() {
            return Err(differ(model, "it has no runs"));
        }
        let seeds: BTreeSet<u64> = model.runs.iter().filter_map(|run| run.seed).collect();
        if seeds.is_empty() && model.runs.len() == 1 {
            continue;
        }
        if seeds.len() != model.runs.len() {
            return Err(differ(model, "a run has no seed or a seed stands twice"));
        }
        match &trained {
            Some((other, expected)) if *expected != seeds => {
                return Err(differ(other, "their seeds differ"));
            }
            Some(_) => {}
            None => trained = Some((model, seeds)),
        }
    }
    Ok(first)
}

/// The mean of `metric` over each model's runs; `None` where a run lacks it.
fn means(
    models: &[ModelRuns],
    metric: Metric,
    evaluation: impl Fn(&super::Run) -> Option<&Evaluation>,
) -> Result<Vec<Option<f64>>, EvalError> {
    let mean_of = |model: &ModelRuns| {
        let mut sum = 0.0;
        for run in &model.runs {
            match evaluation(run).map(|found| found.metric(metric)).transpose()?.flatten() {
                Some(value) => sum += value,
                None => return Ok(None),
            }
        }
        Ok(Some(sum / model.runs.len() as f64))
    };
    models.iter().map(mean_of).collect()
}

/// Group sums of all of a model's seeds together: their ratio is the mean over the seeds.
fn pooled(model: &ModelRuns, metric: Metric) -> Result<GroupSums, EvalError> {
    let mut runs = model.runs.iter().map(|run| run.evaluation.group_sums(metric));
    let mut total = runs.next().unwrap_or_else(|| Ok(Vec::new()))?;
    for sums in runs {
        for (all, one) in total.iter_mut().zip(sums?) {
            *all = (all.0 + one.0, all.1 + one.1);
        }
    }
    let n_runs = model.runs.len() as f64;
    // Back to the scale of one run, so that models with different numbers of seeds can be paired.
    total.iter_mut().for_each(|(sum, n)| (*sum, *n) = (*sum / n_runs, *n / n_runs));
    Ok(total)
}

fn row(
    model: &ModelRuns,
    validation: Option<f64>,
    options: &ReportOptions,
) -> Result<ModelRow, EvalError> {
    let evaluations = || model.runs.iter().map(|run| &run.evaluation);
    let list_length = evaluations().next().map_or(0, |evaluation| evaluation.list_length);
    let mut metrics = Vec::new();
    let mut columns = Vec::new();
    for metric in metrics_of(options, list_length) {
        let values: Option<Vec<f64>> =
            evaluations().map(|found| found.metric(metric)).collect::<Result<_, _>>()?;
        let has_cases = !metric.kind.is_of_all_lists();
        if has_cases {
            columns.push(pooled(model, metric)?);
        }
        metrics.push((metric, values, has_cases));
    }
    let mut resampled = ratios(&columns, &options.bootstrap).into_iter();
    let metrics = metrics.into_iter().map(|(metric, values, has_cases)| MetricRow {
        metric,
        mean: values.as_deref().map(mean),
        interval: if has_cases {
            resampled.next().and_then(|column: Resampled| column.interval(&options.bootstrap))
        } else {
            None
        },
        sd_over_seeds: values.as_deref().and_then(sample_sd),
    });
    let timings: Option<Vec<Timing>> = model.runs.iter().map(|run| run.timing).collect();
    let curve = CURVE_KS.into_iter().map(|k| {
        let at = |kind| {
            let values = evaluations().map(|found| found.metric(Metric::new(kind, k)));
            let values: Result<Vec<_>, EvalError> = values.collect();
            values.map(|v| mean(&v.into_iter().flatten().collect::<Vec<_>>()))
        };
        Ok(CurvePoint {
            k,
            ndcg: at(MetricKind::Ndcg)?,
            recall: at(MetricKind::Recall)?,
            precision: at(MetricKind::Precision)?,
        })
    });
    let with_training = model.runs.iter().filter(|run| !run.training.is_empty());
    Ok(ModelRow {
        name: model.name.clone(),
        is_baseline: model.is_baseline,
        seeds: model.runs.iter().filter_map(|run| run.seed).collect(),
        hyperparameters: model.hyperparameters.clone(),
        metrics: metrics.collect(),
        validation,
        tie_share: mean(&evaluations().map(|found| found.tally.tie_share()).collect::<Vec<_>>()),
        curve: curve.collect::<Result<_, EvalError>>()?,
        training: with_training
            .map(|run| TrainingCurve { seed: run.seed, points: run.training.clone() })
            .collect(),
        timing: timings.filter(|_| !options.deterministic).map(|timings| mean_timing(&timings)),
        model_bytes: model.runs.iter().filter_map(|run| run.model_bytes).max(),
    })
}

/// Accuracy at every cut, then what lists show beside being right.
fn metrics_of(options: &ReportOptions, list_length: usize) -> Vec<Metric> {
    let mut ks: BTreeSet<usize> = options.ks.iter().copied().filter(|k| *k > 0).collect();
    ks.insert(options.primary.k);
    let accuracy = MetricKind::ACCURACY.iter().flat_map(|kind| {
        let kind = *kind;
        ks.iter().map(move |k| Metric::new(kind, *k))
    });
    let lists = MetricKind::ALL.into_iter().filter(|kind| !MetricKind::ACCURACY.contains(kind));
    accuracy.chain(lists.map(|kind| Metric::new(kind, list_length))).collect()
}

fn comparisons(
    models: &[ModelRuns],
    order: &[usize],
    by: &[Option<f64>],
    options: &ReportOptions,
) -> Result<Vec<ComparisonRow>, EvalError> {
    let columns = models.iter().map(|model| pooled(model, options.primary));
    let columns = columns.collect::<Result<Vec<_>, EvalError>>()?;
    let highest = |candidates: &mut dyn Iterator<Item = usize>| {
        candidates.fold(None, |best: Option<usize>, candidate| match best {
            Some(best) if by[candidate] <= by[best] => Some(best),
            _ => Some(candidate),
        })
    };
    let best = highest(&mut order.iter().copied());
    let baseline = highest(&mut order.iter().copied().filter(|i| models[*i].is_baseline));
    let mut rows = Vec::new();
    for (against, reference) in [(Reference::Best, best), (Reference::StrongestBaseline, baseline)]
    {
        let Some(reference) = reference else { continue };
        let others: Vec<usize> = order.iter().copied().filter(|i| *i != reference).collect();
        let pairs: Vec<_> =
            others.iter().map(|i| (columns[*i].clone(), columns[reference].clone())).collect();
        let found = compare_sums(&pairs, &options.bootstrap);
        let p_values: Vec<f64> = found.iter().map(|comparison| comparison.p_value).collect();
        for ((other, found), p_holm) in others.iter().zip(found).zip(holm(&p_values)) {
            rows.push(ComparisonRow {
                model: models[*other].name.clone(),
                against,
                reference: models[reference].name.clone(),
                difference: found.difference,
                interval: found.interval,
                p_value: found.p_value,
                p_holm,
            });
        }
    }
    Ok(rows)
}

fn warnings(report: &Report, n_test_runs: usize) -> Vec<String> {
    let mut warnings = Vec::new();
    if !report.models.iter().any(|model| model.is_baseline) {
        warnings.push("no baseline stands in this table".into());
    }
    if report.part == Part::Test && report.references_chosen_on == Part::Test {
        let text = "the best model and the strongest baseline were picked by the test part: \
                    differences from them are flattering";
        warnings.push(text.into());
    }
    let n_readings = report.test_readings.len();
    if n_readings != n_test_runs {
        warnings.push(format!(
            "the test part was read {n_readings} times, but {n_test_runs} runs stand in the table"
        ));
    }
    let tied = report.models.iter().filter(|model| model.tie_share > 0.1);
    let tied: Vec<String> =
        tied.map(|model| format!("{} {:.0} %", model.name, model.tie_share * 100.0)).collect();
    if !tied.is_empty() {
        warnings.push(format!("targets that are tied with another item: {}", tied.join(", ")));
    }
    let same = report.models.iter().filter(|model| !model.is_baseline).filter_map(|model| {
        let row = model.metrics.iter().find(|row| row.metric.kind == MetricKind::Overlap)?;
        let overlap = row.mean.filter(|overlap| *overlap > SAME_LIST)?;
        Some(format!("{} {:.0} %", model.name, overlap * 100.0))
    });
    let same: Vec<String> = same.collect();
    if !same.is_empty() {
        warnings.push(format!(
            "everyone sees the same list; share of its places that another user sees, too: {}",
            same.join(", ")
        ));
    }
    let hidden = report.tally.n_hidden_targets as f64 / report.tally.n_targets.max(1) as f64;
    if hidden > MANY_HIDDEN {
        warnings.push(format!(
            "{:.0} % of the targets were seen before, lists leave them out, and every model misses them; where people come \
             back to the same items, keep them: `prepare.seen = \"keep\"`, or --seen keep",
            hidden * 100.0
        ));
    }
    let share = report.tally.n_unknown_targets as f64 / report.tally.n_targets.max(1) as f64;
    if share > 0.05 {
        let share = share * 100.0;
        warnings.push(format!("{share:.0} % of the targets are unknown items and count as misses"));
    }
    warnings
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

pub(crate) fn sample_sd(values: &[f64]) -> Option<f64> {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}

fn mean_timing(timings: &[Timing]) -> Timing {
    let of = |field: fn(&Timing) -> f64| mean(&timings.iter().map(field).collect::<Vec<_>>());
    Timing {
        fit_secs: of(|timing| timing.fit_secs),
        evaluate_secs: of(|timing| timing.evaluate_secs),
        memory_bytes: timings.iter().map(|timing| timing.memory_bytes).max().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_over_seeds_is_the_sample_standard_deviation() {
        assert_eq!(sample_sd(&[1.0, 3.0, 5.0]), Some(2.0));
        assert_eq!(sample_sd(&[1.0]), None);
    }
}
