//! `bench questions`: a generated log whose probabilities and causes are known, the whole way, and how much of what is possible a model reaches.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use forecart_data::storage::Scratch;
use forecart_data::{History, Part, Progress as _, Questions};
use forecart_eval::intents::WithInterval;
use forecart_models::model_file::QuestionModelFile;
use forecart_models::support::questions::{Deletions, QuestionPredictor, registry};
use forecart_prepare::generate_questions::{
    Behavior, GenerateQuestionsConfig, INTENTS, Truth, generate_questions,
};
use forecart_prepare::{DataConfig, RawQuestionsConfig};
use forecart_train::{
    MomentScorer, QuestionContest, QuestionContestant, QuestionGiven, drawn_behaviors,
    measure_question_models, spread_moments, train_questions,
};
use rayon::prelude::*;
use serde::Serialize;

use super::Context;
use super::evaluate::{commit, write_report};
use super::questions::{self, N_RESAMPLES};
use crate::args::QuestionsBenchArgs;
use crate::output::{self, count};

/// A question is sure enough to have a cause that can be asked for where its true probability is at least this, and the cause expects
/// at least so much of it.
const LEAST_PROBABILITY: f64 = 0.1;
const DOMINANT_SHARE: f64 = 0.8;

/// The probabilities that the log was drawn by, and the log with all of its objects: the table that models read has no names for rare ones.
struct Ceiling {
    truth: Truth,
    whole: Questions,
}

impl Ceiling {
    fn behaviors(&self, user: usize, place: usize) -> Vec<Behavior<'_>> {
        behaviors(&self.whole, self.whole.history(user).first(place + 1))
    }
}

/// A history in the names of the log.
fn behaviors<'a>(questions: &'a Questions, history: History<'_>) -> Vec<Behavior<'a>> {
    let events = history.events.iter().zip(history.items).zip(history.timestamps_ms);
    events
        .map(|((event, object), timestamp_ms)| Behavior {
            event: questions.event_names().text((*event).into()),
            object: questions.objects().text(object.0),
            timestamp_ms: *timestamp_ms,
        })
        .collect()
}

/// Another for each moment; what is drawn by it is the same on every run.
fn seed_of(user: usize, place: usize) -> u64 {
    ((user as u64) << 32) | place as u64
}

impl MomentScorer for Ceiling {
    fn name(&self) -> &str {
        "the truth"
    }

    fn probabilities(&self, questions: &Questions, user: usize, place: usize) -> Vec<f64> {
        let truth = self.truth.probabilities(&self.behaviors(user, place), seed_of(user, place));
        let of = |name: &str| INTENTS.iter().position(|intent| *intent == name);
        questions
            .intents()
            .iter()
            .map(|(_, name, _)| of(name).map_or(0.0, |at| truth[at]))
            .collect()
    }
}

/// How often some behaviors are the planted cause: its trigger, and the earlier behavior without which the trigger would have done nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
struct Hits {
    /// The trigger is the first of them.
    n_trigger_first: usize,
    /// The trigger is one of them.
    n_trigger: usize,
    /// All of the cause is among them.
    n_cause: usize,
    /// They are the cause and nothing else.
    n_exact: usize,
    /// How many they are, over all cases.
    n_named: usize,
}

type Name = (String, String);

impl Hits {
    fn push(&mut self, named: &[Name], (trigger, needs): (&Name, Option<&Name>)) {
        let has_trigger = named.contains(trigger);
        let has_all = has_trigger && needs.is_none_or(|needs| named.contains(needs));
        self.n_trigger_first += usize::from(named.first() == Some(trigger));
        self.n_trigger += usize::from(has_trigger);
        self.n_cause += usize::from(has_all);
        self.n_exact +=
            usize::from(has_all && named.iter().all(|own| own == trigger || Some(own) == needs));
        self.n_named += named.len();
    }
}

/// How often what an explanation names is the planted cause, beside what says how much that is.
#[derive(Debug, Default, Serialize)]
struct ExplainCheck {
    n_cases: usize,
    /// What the explanation names as the cause.
    named: Hits,
    /// The same rule on the probabilities that the log was drawn by: what is left to the rule, not to the model.
    by_truth: Hits,
    /// The newest behavior alone.
    newest: Hits,
    /// As many behaviors as the explanation names, drawn at random.
    random: Hits,
    /// By intent: cases, and of them those where the trigger is named.
    by_intent: BTreeMap<&'static str, [usize; 2]>,
    /// Mean probability with everything, without what is named, and without as many others, drawn at random.
    mean_probability: f64,
    mean_without_named: f64,
    mean_without_random: f64,
}

/// A moment at which a question is likely and has a planted cause.
struct Case {
    user: usize,
    place: usize,
    /// A place in [`INTENTS`].
    intent: usize,
    /// In the names of the table, where rare objects have none, and in those of the log.
    causes: [(Name, Option<Name>); 2],
}

fn cases(questions: &Questions, ceiling: &Ceiling, part: Part, n: usize) -> Vec<Case> {
    // About one moment in twenty is a case.
    let max = NonZeroUsize::new(n.saturating_mul(20)).unwrap_or(NonZeroUsize::MIN);
    let (moments, _) = spread_moments(questions, part, max);
    let moments: Vec<(usize, usize)> = moments
        .iter()
        .flat_map(|(user, places)| places.iter().map(|place| (*user, *place)))
        .collect();
    let case = |(user, place): &(usize, usize)| {
        let (user, place) = (*user, *place);
        let (truth, history) = (&ceiling.truth, ceiling.behaviors(user, place));
        let seed = seed_of(user, place);
        let probabilities = truth.probabilities(&history, seed);
        let intent = (0..INTENTS.len())
            .max_by(|a, b| probabilities[*a].total_cmp(&probabilities[*b]))
            .filter(|intent| probabilities[*intent] >= LEAST_PROBABILITY)?;
        let cause = truth.cause(&history, intent, seed)?;
        questions.intents().index(INTENTS[intent])?;
        let forecart_prepare::generate_questions::PlantedCause { trigger, needs, share } = cause;
        // As the table names them: rare objects have no name there.
        let named = |(event, object): Name| {
            let row = questions.objects().index_or_unknown(&object);
            (event, questions.objects().text(row).to_owned())
        };
        let in_table = (named(trigger.clone()), needs.clone().map(named));
        let causes = [in_table, (trigger, needs)];
        (share >= DOMINANT_SHARE).then_some(Case { user, place, intent, causes })
    };
    let cases: Vec<Case> = moments.par_iter().filter_map(case).collect();
    // Spread over all users.
    let n_cases = cases.len();
    let is_kept = |at: usize| n_cases <= n || (at * n) / n_cases != ((at + 1) * n) / n_cases;
    cases.into_iter().enumerate().filter(|(at, _)| is_kept(*at)).map(|(_, case)| case).collect()
}

/// What a case adds to an [`ExplainCheck`].
struct Explained {
    named: Vec<Name>,
    by_truth: Vec<Name>,
    newest: Vec<Name>,
    random: Vec<Name>,
    /// With everything, without what is named, without what is drawn.
    probabilities: [f64; 3],
}

fn name(questions: &Questions, behavior: &forecart_models::support::questions::Behavior) -> Name {
    let event = questions.event_names().text(behavior.event.into());
    (event.to_owned(), questions.objects().text(behavior.object).to_owned())
}

fn explained(
    questions: &Questions,
    ceiling: &Ceiling,
    predictor: &QuestionPredictor,
    case: &Case,
) -> anyhow::Result<Explained> {
    let history = questions.history(case.user).first(case.place + 1);
    let row = questions.intents().index_or_unknown(INTENTS[case.intent]) as usize;
    let found = predictor.explain(history, row - 1)?;
    let newest = found.behaviors.iter().max_by_key(|own| {
        let is_newest = history.events.last() == Some(&own.event)
            && history.items.last().is_some_and(|item| item.0 == own.object);
        (own.last_ms, is_newest)
    });
    let newest = newest.context("a model that sees no event explains nothing")?;
    let cause = found.cause();
    let seed = seed_of(case.user, case.place);
    let random = drawn_behaviors(&found.behaviors, cause.len(), seed);
    let others = drawn_behaviors(&found.behaviors[cause.len()..], cause.len(), seed);
    let without = |behaviors: &mut dyn Iterator<Item = (u8, u32)>| -> anyhow::Result<f64> {
        Ok(predictor.without(history, &behaviors.collect::<Vec<_>>())?[row - 1])
    };
    let probabilities = [
        found.probability,
        without(&mut cause.iter().map(|own| (own.event, own.object)))?,
        without(&mut others.iter().map(|own| (own.event, own.object)))?,
    ];
    let whole = ceiling.whole.history(case.user).first(case.place + 1);
    let truth = |rest: History<'_>| {
        Ok::<_, Infallible>(ceiling.truth.probabilities(&behaviors(&ceiling.whole, rest), seed))
    };
    let Ok(by_truth) = Deletions::by(whole, whole.items.len(), truth);
    let by_truth = by_truth.of(case.intent);
    Ok(Explained {
        named: cause.iter().map(|own| name(questions, own)).collect(),
        by_truth: by_truth.cause().iter().map(|own| name(&ceiling.whole, own)).collect(),
        newest: vec![name(questions, newest)],
        random: random.into_iter().map(|own| name(questions, own)).collect(),
        probabilities,
    })
}

fn check_explanations(
    questions: &Questions,
    ceiling: &Ceiling,
    predictor: &QuestionPredictor,
    cases: &[Case],
) -> anyhow::Result<ExplainCheck> {
    let all: Vec<Explained> = cases
        .par_iter()
        .map(|case| explained(questions, ceiling, predictor, case))
        .collect::<Result<_, _>>()?;
    let mut check = ExplainCheck { n_cases: all.len(), ..ExplainCheck::default() };
    let mut sums = [0.0; 3];
    for (case, own) in cases.iter().zip(&all) {
        let [table, log] = case.causes.each_ref().map(|(trigger, needs)| (trigger, needs.as_ref()));
        check.named.push(&own.named, table);
        check.by_truth.push(&own.by_truth, log);
        check.newest.push(&own.newest, table);
        check.random.push(&own.random, table);
        let [n, n_trigger] = check.by_intent.entry(INTENTS[case.intent]).or_default();
        (*n, *n_trigger) = (*n + 1, *n_trigger + usize::from(own.named.contains(table.0)));
        sums.iter_mut().zip(own.probabilities).for_each(|(sum, p)| *sum += p);
    }
    let [all, named, random] = sums.map(|sum| sum / check.n_cases.max(1) as f64);
    (check.mean_probability, check.mean_without_named, check.mean_without_random) =
        (all, named, random);
    Ok(check)
}

/// The generated log as a question table in `folder`, and the same with every object, in another.
fn tables(
    context: &Context,
    arguments: &QuestionsBenchArgs,
    folder: &Path,
    scratch: &Path,
) -> anyhow::Result<[Questions; 2]> {
    let csv = folder.join("events.csv");
    let config = GenerateQuestionsConfig {
        n_users: arguments.users,
        n_days: arguments.days,
        seed: context.config.seed,
    };
    let mut writer = BufWriter::with_capacity(1 << 20, File::create(&csv)?);
    generate_questions(&config, &mut writer)?;
    writer.flush().with_context(|| format!("write {csv:?}"))?;
    drop(writer);
    let log = folder.join("log");
    let resources = context.config.resources(scratch.to_owned());
    // The columns of this log are known, whatever those of the shop's are.
    let data = DataConfig::default();
    forecart_prepare::import(&[csv], &data, &log, &resources, &context.display)?;
    let prepare = |raw: RawQuestionsConfig, table: PathBuf| -> anyhow::Result<Questions> {
        let config = raw.try_into()?;
        forecart_prepare::prepare_questions(&log, &config, &table, &resources, &context.display)?;
        Ok(Questions::open(&table)?)
    };
    let all = RawQuestionsConfig { min_count: 1, ..RawQuestionsConfig::default() };
    let table = prepare(RawQuestionsConfig::default(), folder.join("questions"))?;
    Ok([table, prepare(all, scratch.join("whole"))?])
}

pub(super) fn run(context: &Context, arguments: &QuestionsBenchArgs) -> anyhow::Result<()> {
    let model = questions::spec(context, &arguments.model)?;
    let scratch = Scratch::new(&std::env::temp_dir())?;
    let started = Instant::now();
    let folder = arguments.out.as_deref().unwrap_or(scratch.path());
    std::fs::create_dir_all(folder).with_context(|| format!("make {folder:?}"))?;
    let [table, whole] = tables(context, arguments, folder, scratch.path())?;
    let prepare_secs = started.elapsed().as_secs_f64();
    let ceiling = Ceiling { truth: Truth::new(table.manifest().windows.horizon_ms), whole };
    let training = questions::training(context, None);
    let (file, fit_secs) = train_questions(&table, model.as_ref(), &training, &context.display)?;
    let baselines = registry::BASELINES.iter().filter(|name| **name != model.name());
    let contestants = baselines
        .map(|name| Ok(QuestionContestant::new(questions::spec(context, name)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let given = QuestionGiven { name: model.name().to_owned(), file, fit_secs: Some(fit_secs) };
    let part = if arguments.validation { Part::Validation } else { Part::Test };
    let contest = QuestionContest {
        contestants: &contestants,
        n_seeds: NonZeroUsize::MIN,
        given: std::slice::from_ref(&given),
        part,
        max_moments: arguments.moments,
        n_resamples: N_RESAMPLES,
        ceiling: Some(&ceiling),
        title: format!("A generated log of {} users: questions", count(arguments.users.into())),
        commit: commit(),
        deterministic: false,
    };
    let report = measure_question_models(&table, &contest, &training, &context.display)?;
    context.display.begin("explain", None);
    let check = explain(&table, &ceiling, part, arguments, &given.file)?;
    context.display.end();
    if let Some(out) = &arguments.out {
        write_report(out, &report.to_html()?, &report.to_json()?)?;
    }
    let own = report.row(model.name()).context("the model was measured")?;
    if context.json {
        return output::json(&serde_json::json!({
            "users": arguments.users,
            "days": arguments.days,
            "seed": context.config.seed,
            "events": table.manifest().n_events,
            "prepare_seconds": prepare_secs,
            "fit_seconds": fit_secs,
            "share_of_ceiling_top_3": own.share_of_ceiling,
            "report": report,
            "explain": check,
        }));
    }
    output::line(&format!(
        "{} events of {} users in {} days, seed {}; generated and prepared in {prepare_secs:.1} s, {} trained in {fit_secs:.1} s",
        count(table.manifest().n_events),
        count(table.manifest().n_users),
        arguments.days,
        context.config.seed,
        own.model,
    ))?;
    output::line(report.table().trim_end())?;
    let percent =
        |share: Option<f64>| share.map_or_else(|| "-".into(), |s| format!("{:.1} %", 100.0 * s));
    let share = own.share_of_ceiling.map_or_else(
        || "-".into(),
        |WithInterval { value, interval, .. }| {
            let [value, low, high] = [value, interval.low, interval.high].map(|own| own * 100.0);
            format!("{value:.1} % ({low:.1} to {high:.1})")
        },
    );
    let [of_hits, of_loss] = own.share_of_gain.unwrap_or_default();
    output::line(&format!(
        "{} reaches {} of the ceiling's top-3; of what the ceiling has more than popularity {} in top-3 and {} in log loss",
        own.model,
        share,
        percent(of_hits),
        percent(of_loss),
    ))?;
    match check {
        None => output::line(&format!("{} sees no event that could explain", own.model))?,
        Some(check) => print_check(&check)?,
    }
    match &arguments.out {
        Some(out) => output::line(&format!("report: {}", out.join("report.html").display())),
        None => Ok(()),
    }
}

fn explain(
    table: &Questions,
    ceiling: &Ceiling,
    part: Part,
    arguments: &QuestionsBenchArgs,
    file: &QuestionModelFile,
) -> anyhow::Result<Option<ExplainCheck>> {
    if file.predictor().model().n_seen(1) == 0 {
        return Ok(None);
    }
    let cases = cases(table, ceiling, part, arguments.cases.get());
    Ok(Some(check_explanations(table, ceiling, file.predictor(), &cases)?))
}

fn print_check(check: &ExplainCheck) -> anyhow::Result<()> {
    let rows: Vec<Vec<String>> = check
        .by_intent
        .iter()
        .map(|(intent, [n, n_trigger])| {
            vec![(*intent).to_owned(), count(*n as u64), count(*n_trigger as u64)]
        })
        .collect();
    output::line(&output::table(
        &["question with a planted cause", "cases", "trigger named"],
        &rows,
        1,
    ))?;
    let percent = |n: usize| format!("{:.1} %", 100.0 * n as f64 / check.n_cases.max(1) as f64);
    let rows = [
        ("the explanation", check.named),
        ("the same rule on the truth", check.by_truth),
        ("the newest behavior", check.newest),
        ("as many at random", check.random),
    ];
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(name, own)| {
            let mut cells = vec![name.to_owned()];
            let shares = [own.n_trigger_first, own.n_trigger, own.n_cause, own.n_exact];
            cells.extend(shares.map(percent));
            cells.push(format!("{:.2}", own.n_named as f64 / check.n_cases.max(1) as f64));
            cells
        })
        .collect();
    let header =
        ["named by", "trigger first", "trigger", "whole cause", "nothing else", "behaviors"];
    output::line(&output::table(&header, &rows, 1))?;
    output::line(&format!(
        "of {} cases; mean probability {:.3}, without what is named {:.3}, without as many others at random {:.3}",
        count(check.n_cases as u64),
        check.mean_probability,
        check.mean_without_named,
        check.mean_without_random,
    ))
}
