//! `experiments`: what came of the experiments of a server, by its configuration and its store. The server may run or not.

use forecart_serve::experiments::{
    ExperimentStatus, Experiments, MetricReadOut, ReadOut, State, VariantOutcome, read_out,
};
use forecart_serve::{Consents, RawServeConfig, ServeConfig};

use super::Context;
use super::store::with_store;
use crate::args::ExperimentsArgs;
use crate::failure::UsageError;
use crate::output;

pub(crate) fn run(context: &Context, arguments: &ExperimentsArgs) -> anyhow::Result<()> {
    // Where events come from says nothing here, and its address may stand where a server alone sees it.
    let raw = RawServeConfig { nats: None, ..context.config.serve() };
    let config = ServeConfig::new(raw, context.config.threads());
    let config = config.map_err(|error| UsageError(error.to_string()))?;
    let experiments = config.experiments().map_err(|error| UsageError(error.to_string()))?;
    let now_ms = jiff::Timestamp::now().as_millisecond();
    let Some(name) = &arguments.name else {
        let all = experiments.all().iter().map(|own| own.status(None, now_ms));
        return list(context, &all.collect::<Vec<_>>());
    };
    let Some(experiment) = experiments.named(name) else {
        return Err(UsageError(unknown(name, &experiments)).into());
    };
    let read_out = with_store(context, &arguments.store, async |store| {
        let consents = Consents::read(store, config.consent_default).await?;
        Ok(read_out(store, experiment, &consents, now_ms).await?)
    })?;
    if context.json { output::json(&read_out) } else { show(&read_out) }
}

fn unknown(name: &str, experiments: &Experiments) -> String {
    let names: Vec<&str> = experiments.all().iter().map(|own| own.name()).collect();
    match names.is_empty() {
        true => format!("{name}: the configuration has no [[serve.experiment]]"),
        false => format!("{name}: there is no such experiment; there are {}", names.join(", ")),
    }
}

fn list(context: &Context, all: &[ExperimentStatus]) -> anyhow::Result<()> {
    if context.json {
        return output::json(&all);
    }
    let row = |own: &ExperimentStatus| {
        let scenarios =
            if own.scenarios.is_empty() { "all".to_owned() } else { own.scenarios.join(", ") };
        let variants: Vec<&str> = own.variants.iter().map(|one| one.name.as_str()).collect();
        let time = |time: &Option<String>| time.clone().unwrap_or_default();
        vec![
            own.name.clone(),
            state(own.state).to_owned(),
            scenarios,
            variants.join(", "),
            time(&own.begins),
            time(&own.ends),
            percent(own.share),
        ]
    };
    let header = ["experiment", "state", "scenarios", "variants", "begins", "ends", "users in it"];
    output::line(&output::table(&header, &all.iter().map(row).collect::<Vec<_>>(), 6))
}

fn show(read_out: &ReadOut) -> anyhow::Result<()> {
    let own = &read_out.experiment;
    output::line(&format!(
        "{}: {}; {} users count, {} whose {} hours are not over",
        own.name,
        state(own.state),
        output::count(read_out.n_users),
        output::count(read_out.n_waiting),
        own.attribution_hours,
    ))?;
    for problem in &read_out.problems {
        output::line(&format!(
            "{}: {problem}",
            if read_out.is_valid { "note" } else { "INVALID" }
        ))?;
    }
    let rows = read_out
        .metrics
        .iter()
        .flat_map(|metric| metric.variants.iter().map(move |variant| row(metric, variant)));
    let header =
        ["metric", "variant", "users", "mean", "difference", "interval", "lift", "verdict"];
    output::line(&output::table(&header, &rows.collect::<Vec<_>>(), 2))?;
    output::line(&format!(
        "intervals of {} hold however often one looks; each metric by itself",
        percent(1.0 - own.alpha)
    ))
}

fn row(metric: &MetricReadOut, variant: &VariantOutcome) -> Vec<String> {
    let mut row = vec![
        metric.metric.clone(),
        variant.variant.clone(),
        output::count(variant.n_users),
        format!("{:.4}", variant.mean),
    ];
    let Some(difference) = &variant.difference else {
        row.extend([String::new(), String::new(), String::new(), "control".to_owned()]);
        return row;
    };
    let interval = difference.lower.zip(difference.upper);
    row.extend([
        format!("{:+.4}", difference.value),
        interval.map_or_else(String::new, |(lower, upper)| format!("{lower:+.4} .. {upper:+.4}")),
        difference.relative_lift.map_or_else(String::new, |lift| format!("{:+.1} %", lift * 100.0)),
        difference.in_words.clone(),
    ]);
    row
}

fn state(state: State) -> &'static str {
    match state {
        State::Waiting => "waiting",
        State::Running => "running",
        State::Suspended => "suspended",
        State::Ended => "ended",
    }
}

fn percent(share: f64) -> String {
    format!("{} %", (share * 1e6).round() / 1e4)
}
