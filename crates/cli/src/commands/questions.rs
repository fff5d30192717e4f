//! What a customer is likely to ask next: training, measuring, answering and explaining on question tables.

use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::Context as _;
use forecart_data::{History, Part, Questions};
use forecart_eval::questions::QuestionMetric;
use forecart_eval::report::span_in_words;
use forecart_models::model_file::{QuestionModelFile, SigningKey};
use forecart_models::support::questions::{
    Behavior, Explanation, QuestionPredictor, QuestionSpec, registry,
};
use forecart_models::training::Checkpoint;
use forecart_train::{
    QuestionContest, QuestionContestant, QuestionGiven, QuestionTraining, drawn_behaviors,
    measure_question_models, train_questions,
};
use serde::Serialize;

use super::data::moment;
use super::evaluate::{commit, show, write_report};
use super::{Context, gate, outcome, train};
use crate::args::{EvaluateArgs, ExplainArgs, QuestionsArgs, TaskName, TrainArgs};
use crate::failure::UsageError;
use crate::output::{self, count};

/// Moments that models are measured at.
pub(super) const MAX_MOMENTS: NonZeroUsize = NonZeroUsize::new(20_000).expect("it is not 0");
/// Resamples of users for the intervals.
pub(super) const N_RESAMPLES: usize = 400;
/// A behavior is said to have led to a question if the question would be less probable by this share without it.
const LEAST_SHARE: f64 = 0.1;

pub(super) fn training(context: &Context, checkpoint: Option<Checkpoint>) -> QuestionTraining {
    QuestionTraining {
        seed: context.config.seed,
        n_threads: context.config.threads(),
        memory_limit_bytes: context.config.memory_limit_bytes,
        checkpoint,
    }
}

pub(super) fn spec(context: &Context, name: &str) -> anyhow::Result<Box<dyn QuestionSpec>> {
    let name = registry::resolved(name);
    Ok(registry::spec(name, &context.config.question_model(name)?)?)
}

pub(crate) fn train(
    context: &Context,
    arguments: &TrainArgs,
    key: Option<&SigningKey>,
) -> anyhow::Result<()> {
    if let Some(task) = arguments.task.filter(|task| *task != TaskName::Question) {
        let message = format!("--task {}: {:?} is a question table", task.name(), arguments.data);
        return Err(UsageError(message).into());
    }
    if arguments.fit_on == Some(crate::args::FitOnName::TrainValidation) {
        let message = "--fit-on train-validation says nothing of a question table: its validation part calibrates; leave it out";
        return Err(UsageError(message.into()).into());
    }
    let spec = spec(context, &arguments.model)?;
    let questions = Questions::open(&arguments.data)?;
    let checkpoint = train::checkpoint(arguments)?;
    let training = training(context, Some(checkpoint.clone()));
    let (file, fit_secs) = train_questions(&questions, spec.as_ref(), &training, &context.display)?;
    file.save_signed(&arguments.out, key)?;
    checkpoint.remove()?;
    context.display.end();
    let n_bytes = std::fs::metadata(&arguments.out)?.len();
    let header = file.header();
    if context.json {
        return output::json(&serde_json::json!({
            "task": header.task,
            "model": header.model,
            "file": arguments.out,
            "bytes": n_bytes,
            "seconds": fit_secs,
            "seed": header.seed,
            "questions_hash": header.questions.content_hash,
            "calibration": header.serving.calibration,
            "training": header.record,
        }));
    }
    train::print_epochs(&header.record)?;
    if header.serving.calibration.n_moments() == 0 {
        output::line("no validation moment: probabilities are not calibrated")?;
    }
    output::line(&format!(
        "wrote {}: {} of {} intents, {:.1} MB, trained in {fit_secs:.1} s; next: forecart questions --model {0} --data {} --user ID",
        arguments.out.display(),
        header.model,
        count(questions.intents().n_known() as u64),
        n_bytes as f64 / 1e6,
        arguments.data.display(),
    ))
}

pub(crate) fn evaluate(context: &Context, arguments: &EvaluateArgs) -> anyhow::Result<()> {
    let mut flags = outcome::foreign_flags(arguments);
    flags.retain(|(flag, _)| *flag != "--seeds");
    flags.push(("--allow-leaks", arguments.allow_leaks));
    outcome::refuse_flags("a question table", &flags)?;
    gate::check_files(arguments)?;
    let metric = arguments.gate.as_deref().map(str::parse::<QuestionMetric>).transpose();
    let metric = metric.map_err(|error| UsageError(format!("--gate: {error}")))?;
    if let Some(metric) = metric.filter(|_| arguments.no_baselines) {
        let message =
            format!("--gate {metric}: there is no baseline to beat; leave --no-baselines out");
        return Err(UsageError(message).into());
    }
    let mut names: Vec<&str> = match arguments.models.iter().any(|name| name == "all") {
        true => registry::MODELS.iter().map(|(name, _)| *name).collect(),
        false if arguments.models.is_empty() && arguments.model.is_empty() => {
            vec![registry::DEFAULT_MODEL]
        }
        false => arguments.models.iter().map(|name| registry::resolved(name)).collect(),
    };
    if !arguments.no_baselines {
        names.extend(registry::BASELINES);
    }
    let mut contestants: Vec<QuestionContestant> = Vec::new();
    for name in names {
        if contestants.iter().all(|own| own.name != name) {
            contestants.push(QuestionContestant::new(spec(context, name)?));
        }
    }
    let given = arguments.model.iter().map(|path| {
        let file = QuestionModelFile::open(path)?;
        let name = gate::name_of(&file.header().model, path, arguments);
        Ok(QuestionGiven { name, file, fit_secs: None })
    });
    let given = given.collect::<anyhow::Result<Vec<_>>>()?;
    let folder = arguments.data.as_ref().context("a question table is named by --data")?;
    let questions = Questions::open(folder)?;
    let n_test = questions.manifest().parts[2].n_moments;
    let contest = QuestionContest {
        contestants: &contestants,
        n_seeds: arguments.seeds,
        given: &given,
        part: if n_test == 0 { Part::Validation } else { Part::Test },
        max_moments: MAX_MOMENTS,
        n_resamples: N_RESAMPLES,
        ceiling: None,
        title: format!("{}: questions", folder.display()),
        commit: commit(),
        deterministic: arguments.deterministic,
    };
    let training = training(context, None);
    let mut report = measure_question_models(&questions, &contest, &training, &context.display)?;
    context.display.end();
    if let Some(metric) = metric {
        report.gate = report.judged_by(metric, arguments.gate_override.as_deref());
        gate::record(context, report.gate.as_ref(), arguments, |path, record, key| {
            Ok(QuestionModelFile::open(path)?.with_gate(record)?.save_signed(path, key)?)
        })?;
    }
    if let Some(out) = &arguments.out {
        write_report(out, &report.to_html()?, &report.to_json()?)?;
    }
    show(context, arguments, &report, &report.table())?;
    gate::enforce(report.gate.as_ref(), arguments)
}

/// A behavior with its names.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Named<'a> {
    event: &'a str,
    /// Empty where the event has none, or one that is rare.
    object: &'a str,
    count: usize,
    last_ms: i64,
    effect: f64,
}

impl<'a> Named<'a> {
    fn new(predictor: &'a QuestionPredictor, behavior: &Behavior) -> Self {
        let names = predictor.names();
        let event = names.events.text(behavior.event.into());
        Self {
            event: if event.is_empty() { "other" } else { event },
            object: names.objects.text(behavior.object),
            count: behavior.count,
            last_ms: behavior.last_ms,
            effect: (behavior.effect * 1e6).round() / 1e6,
        }
    }

    fn name(&self) -> String {
        format!("{} {}", self.event, self.object).trim_end().to_owned()
    }

    fn when(&self, now_ms: i64) -> String {
        let often = match self.count {
            1 => "once".to_owned(),
            2 => "twice".to_owned(),
            n => format!("{n} times"),
        };
        match now_ms.saturating_sub(self.last_ms) {
            ..=0 => format!("{often}, just now"),
            ms if self.count == 1 => format!("{often}, {} before", span_in_words(ms)),
            ms => format!("{often}, last {} before", span_in_words(ms)),
        }
    }
}

/// A customer, as a model knows it.
struct Customer {
    items: Vec<forecart_data::ItemIdx>,
    events: Vec<u8>,
    times_ms: Vec<i64>,
    is_known: bool,
}

impl Customer {
    fn find(predictor: &QuestionPredictor, questions: &Questions, id: &str) -> Self {
        let row = questions.users().index_or_unknown(id) as usize;
        let (items, events) = predictor.translated(questions, row);
        let times_ms = questions.history(row).timestamps_ms.to_vec();
        Self { is_known: row != 0, items, events, times_ms }
    }

    fn history(&self) -> History<'_> {
        History {
            items: &self.items,
            timestamps_ms: &self.times_ms,
            events: &self.events,
            values: &[],
        }
    }

    /// The place of each intent, the most probable first.
    fn ranking(&self, predictor: &QuestionPredictor) -> anyhow::Result<(Vec<f64>, Vec<usize>)> {
        let probabilities = predictor.probabilities(self.history())?;
        let mut ranking: Vec<usize> = (0..probabilities.len()).collect();
        // Stable: equal ones by their place.
        ranking.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]));
        Ok((probabilities, ranking))
    }
}

pub(crate) fn questions(context: &Context, arguments: &QuestionsArgs) -> anyhow::Result<()> {
    let file = QuestionModelFile::open(&arguments.model)?;
    let questions = Questions::open(&arguments.data)?;
    for id in &arguments.user {
        answer(context, &file, &questions, id, arguments.n.get())?;
    }
    Ok(())
}

fn answer(
    context: &Context,
    file: &QuestionModelFile,
    questions: &Questions,
    id: &str,
    n: usize,
) -> anyhow::Result<()> {
    let predictor = file.predictor();
    let customer = Customer::find(predictor, questions, id);
    let (probabilities, ranking) = customer.ranking(predictor)?;
    let moment_ms = customer.times_ms.last().copied();
    // One for all intents: what is left out says what is left of each.
    let deletions = match moment_ms {
        Some(_) => Some(predictor.deletions(customer.history())?),
        None => None,
    };
    let mut answers = Vec::new();
    for intent in ranking.into_iter().take(n) {
        let p = probabilities[intent];
        let found = deletions.as_ref().map(|deletions| deletions.of(intent));
        let cause = found.as_ref().map_or(&[][..], Explanation::cause);
        let led = if is_much(cause, p) { cause } else { &[] };
        let without = match led {
            [] => p,
            _ => without(predictor, customer.history(), led)?[intent],
        };
        let led: Vec<Named<'_>> = led.iter().map(|own| Named::new(predictor, own)).collect();
        answers.push((intent, p, led, without));
    }
    if context.json {
        let rows: Vec<serde_json::Value> = answers
            .iter()
            .map(|(intent, p, led, without)| {
                serde_json::json!({
                    "intent": predictor.intent(*intent),
                    "probability": (p * 1e6).round() / 1e6,
                    "usual_probability": (predictor.serving().rates[*intent] * 1e6).round() / 1e6,
                    "led_by": led,
                    "probability_without": (without * 1e6).round() / 1e6,
                })
            })
            .collect();
        return output::json(&serde_json::json!({
            "user_id": id,
            "model": file.header().model,
            "model_version": file.header().content_hash,
            "is_known": customer.is_known,
            "moment_ms": moment_ms,
            "horizon_ms": predictor.serving().horizon_ms,
            "n_events": customer.items.len(),
            "questions": rows,
        }));
    }
    let horizon = span_in_words(predictor.serving().horizon_ms);
    output::line(&match moment_ms {
        Some(ms) => format!(
            "{id}, {} events, the last {}: what is asked within {horizon} of it",
            count(customer.items.len() as u64),
            moment(ms)
        ),
        None => {
            format!("{id} is not in this table: what anybody asks within {horizon} of anything")
        }
    })?;
    let rows: Vec<Vec<String>> = answers
        .iter()
        .map(|(intent, p, led, without)| {
            let named = led
                .iter()
                .map(|own| format!("{} ({})", own.name(), own.when(moment_ms.unwrap_or_default())));
            let (led, without) = match led[..] {
                [] => ("-".to_owned(), "-".to_owned()),
                _ => (named.collect::<Vec<_>>().join(", "), format!("{without:.3}")),
            };
            vec![
                predictor.intent(*intent).to_owned(),
                format!("{p:.3}"),
                format!("{:.3}", predictor.serving().rates[*intent]),
                led,
                without,
            ]
        })
        .collect();
    let header = ["question", "probability", "of anybody", "what led to it", "without that"];
    output::line(&output::table(&header, &rows, 1))
}

/// Whether a cause has made a probability so much larger that it is said to have led to it.
fn is_much(cause: &[Behavior], probability: f64) -> bool {
    cause.iter().any(|own| own.effect >= LEAST_SHARE * probability)
}

/// What is left of all probabilities without some behaviors.
fn without(
    predictor: &QuestionPredictor,
    history: History<'_>,
    behaviors: &[Behavior],
) -> anyhow::Result<Vec<f64>> {
    let pairs: Vec<(u8, u32)> = behaviors.iter().map(|own| (own.event, own.object)).collect();
    Ok(predictor.without(history, &pairs)?)
}

pub(crate) fn explain(
    context: &Context,
    arguments: &ExplainArgs,
    data: &Path,
    id: &str,
) -> anyhow::Result<()> {
    let file = QuestionModelFile::open(&arguments.model)?;
    let questions = Questions::open(data)?;
    let predictor = file.predictor();
    let customer = Customer::find(predictor, &questions, id);
    let Some(now_ms) = customer.times_ms.last().copied() else {
        let message = format!("{id:?} has done nothing in {data:?} that could explain a question");
        return Err(UsageError(message).into());
    };
    let (_, ranking) = customer.ranking(predictor)?;
    let intent = match &arguments.intent {
        None => ranking[0],
        Some(name) => {
            let found = (0..predictor.n_intents()).find(|at| predictor.intent(*at) == name);
            found.ok_or_else(|| {
                let known: Vec<&str> =
                    (0..predictor.n_intents()).map(|at| predictor.intent(at)).collect();
                UsageError(format!("--intent {name}: this model knows {}", known.join(", ")))
            })?
        }
    };
    let history = customer.history();
    let found = predictor.explain(history, intent)?;
    let cause = found.cause();
    let others = drawn_behaviors(&found.behaviors[cause.len()..], cause.len(), context.config.seed);
    let others: Vec<Behavior> = others.into_iter().cloned().collect();
    let [left, left_at_random] = [
        without(predictor, history, cause)?[intent],
        without(predictor, history, &others)?[intent],
    ];
    let usual = if context.json { found.behaviors.len() } else { super::explain::SHOWN };
    let top = arguments.top.map_or(usual, NonZeroUsize::get);
    let behaviors: Vec<Named<'_>> =
        found.behaviors.iter().take(top).map(|behavior| Named::new(predictor, behavior)).collect();
    if context.json {
        return output::json(&serde_json::json!({
            "user_id": id,
            "intent": predictor.intent(intent),
            "probability": found.probability,
            "moment_ms": now_ms,
            "behaviors": behaviors,
            "n_named": found.n_named,
            "deletion": {
                "probability_without_those_named": left,
                "probability_without_as_many_others": left_at_random,
            },
        }));
    }
    output::line(&format!("{}: {:.3}", predictor.intent(intent), found.probability))?;
    let rows: Vec<Vec<String>> = behaviors
        .iter()
        .map(|behavior| {
            vec![
                behavior.name(),
                behavior.when(now_ms),
                format!("{:+.3}", behavior.effect),
                format!("{:.3}", found.probability - behavior.effect),
            ]
        })
        .collect();
    let header = ["behavior", "when", "effect", "probability without it"];
    output::line(&output::table(&header, &rows, 2))?;
    output::line(&match cause.len() {
        0 => "nothing here makes it more probable".to_owned(),
        n => format!(
            "named are the first {n}: without all of them {left:.3}; without {} others, drawn at random, {left_at_random:.3}",
            others.len()
        ),
    })
}
