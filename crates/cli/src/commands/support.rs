//! Customer service: from labeled texts to models of what a customer asks, and answers.

use std::io::{BufRead, BufReader, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use forecart_data::storage::write_file;
use forecart_data::{IntentTable, Part};
use forecart_eval::intents::WithInterval;
use forecart_models::model_file::IntentModelFile;
use forecart_models::support::{Abstained, Classified, IntentOptions, IntentSpec, registry};
use forecart_models::training::Checkpoint;
use forecart_prepare::texts::{find_in_texts, prepare_texts};
use forecart_train::{IntentReport, IntentTraining, measure_intent_models, train_intents};
use serde::Serialize;

use super::data::print_rows;
use super::{Context, explain, outcome, train};
use crate::args::{
    ClassifyArgs, EvaluateArgs, ExplainArgs, FitOnName, PrepareArgs, TaskName, TrainArgs,
};
use crate::failure::UsageError;
use crate::output::{self, count};

/// Longest line of a file of texts, in bytes; what is longer is read to here.
const MAX_LINE_BYTES: u64 = 4 << 20;

pub(crate) fn prepare(context: &Context, arguments: &PrepareArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    if arguments.samples.is_empty() {
        let message = "--task support learns from labeled texts: name their files by --samples";
        return Err(UsageError(message.into()).into());
    }
    let config = context.config.text(arguments.label.clone())?;
    let out = arguments.out.clone().unwrap_or_else(|| PathBuf::from("intents"));
    let test: Vec<PathBuf> = arguments.test.iter().cloned().collect();
    let data = context.config.data(None)?;
    let report = prepare_texts(&arguments.samples, &test, &data, &config, &out, &context.display)?;
    context.display.end();
    if context.json {
        return output::json(&report);
    }
    print_rows("rejected", &report.rejected)?;
    for reason in &report.manifest.description.left_out {
        output::line(&format!("  left out: {} texts: {}", count(reason.n_rows), reason.reason))?;
    }
    report.findings.lines().iter().try_for_each(|line| output::line(line))?;
    let parts = ["train", "validation", "test"].iter().zip(report.manifest.parts);
    let parts: Vec<Vec<String>> = parts
        .map(|(name, part)| {
            vec![(*name).to_owned(), count(part.n_texts), count(part.n_out_of_scope)]
        })
        .collect();
    output::line(&output::table(&["part", "texts", "out of scope"], &parts, 1))?;
    output::line(&format!(
        "wrote {}: {} intents, in {:.1} s; next: forecart train --data {0}",
        out.display(),
        count(report.manifest.n_intents),
        started.elapsed().as_secs_f64(),
    ))
}

/// `validate` of an intent table: contradictions, intents of few texts, test texts near others.
pub(crate) fn validate(context: &Context, folder: &Path) -> anyhow::Result<()> {
    let config = context.config.text(None)?;
    let table = IntentTable::open(folder)?;
    table.verify()?;
    let (near, min_texts) = (config.raw.near_duplicate, config.raw.min_texts);
    let findings = find_in_texts(&table, &config.pipeline, near, min_texts);
    if context.json {
        return output::json(&findings);
    }
    findings.lines().iter().try_for_each(|line| output::line(line))?;
    output::line(&format!(
        "{} texts of {} intents{}",
        count(table.n_texts() as u64),
        count(table.intents.len() as u64),
        if findings.is_empty() { ": nothing is wrong" } else { "" },
    ))
}

fn training(
    context: &Context,
    fit_on: FitOnName,
    checkpoint: Option<Checkpoint>,
) -> anyhow::Result<IntentTraining> {
    let precision = context.config.text(None)?.raw.precision;
    Ok(IntentTraining {
        seed: context.config.seed,
        n_threads: context.config.threads(),
        memory_limit_bytes: context.config.memory_limit_bytes,
        checkpoint,
        options: IntentOptions { precision, fit_on: fit_on.into() },
    })
}

fn spec(context: &Context, name: &str) -> anyhow::Result<Box<dyn IntentSpec>> {
    let name = registry::resolved(name);
    Ok(registry::spec(name, &context.config.intent_model(name)?)?)
}

pub(crate) fn train(context: &Context, arguments: &TrainArgs) -> anyhow::Result<()> {
    if let Some(task) = arguments.task.filter(|task| *task != TaskName::Support) {
        let message = format!("--task {}: {:?} is an intent table", task.name(), arguments.data);
        return Err(UsageError(message).into());
    }
    let spec = spec(context, &arguments.model)?;
    let table = IntentTable::open(&arguments.data)?;
    let checkpoint = Checkpoint::new(train::checkpoint_of(&arguments.out));
    if arguments.restart {
        checkpoint.remove()?;
    }
    let training = training(context, arguments.fit_on, Some(checkpoint.clone()))?;
    let (file, fit_secs) = train_intents(&table, spec.as_ref(), &training, &context.display)?;
    file.save(&arguments.out)?;
    checkpoint.remove()?;
    context.display.end();
    let n_bytes = std::fs::metadata(&arguments.out)?.len();
    let header = file.header();
    let confidence = &header.serving.confidence;
    if context.json {
        return output::json(&serde_json::json!({
            "task": header.task,
            "model": header.model,
            "file": arguments.out,
            "bytes": n_bytes,
            "seconds": fit_secs,
            "seed": header.seed,
            "texts_hash": header.texts.content_hash,
            "confidence": confidence,
            "training": header.record,
        }));
    }
    let reached = match confidence.has_precision() {
        true => "answers",
        false => "misses the precision that was asked for: answers",
    };
    output::line(&format!(
        "on {} held-out texts it {reached} {:.1} %, of which {:.1} % are right (asked: {:.1} %)",
        count(confidence.n_texts),
        100.0 * confidence.coverage,
        100.0 * confidence.precision,
        100.0 * confidence.asked_precision,
    ))?;
    output::line(&format!(
        "wrote {}: {} of {} intents, {:.1} MB, trained in {fit_secs:.1} s; next: forecart classify --model {0} \"...\"",
        arguments.out.display(),
        header.model,
        count(table.intents.len() as u64),
        n_bytes as f64 / 1e6,
    ))
}

pub(crate) fn evaluate(context: &Context, arguments: &EvaluateArgs) -> anyhow::Result<()> {
    let (fit_on, given) = (arguments.fit_on, &arguments.model);
    let mut flags = outcome::foreign_flags(arguments);
    // Intent tables have a choice of what is learned from.
    flags.retain(|(flag, _)| *flag != "--fit-on");
    flags.extend([
        ("--gate", arguments.gate.is_some()),
        ("--no-baselines", arguments.no_baselines),
        ("--allow-leaks", arguments.allow_leaks),
        ("--deterministic", arguments.deterministic),
    ]);
    outcome::refuse_flags("an intent table", &flags)?;
    let names: Vec<&str> = match arguments.models.iter().any(|name| name == "all") {
        true => registry::models().map(|(name, _)| name).collect(),
        false if arguments.models.is_empty() && given.is_empty() => vec![registry::DEFAULT],
        false => arguments.models.iter().map(String::as_str).collect(),
    };
    let specs = names.iter().map(|name| spec(context, name)).collect::<Result<Vec<_>, _>>()?;
    let given =
        given.iter().map(|path| IntentModelFile::open(path)).collect::<Result<Vec<_>, _>>()?;
    let folder = arguments.data.as_ref().context("an intent table is named by --data")?;
    let table = IntentTable::open(folder)?;
    let part = if table.rows(Part::Test).is_empty() { Part::Validation } else { Part::Test };
    let training = training(context, fit_on, None)?;
    let report = measure_intent_models(&table, &specs, &given, part, &training, &context.display)?;
    context.display.end();
    if let Some(out) = &arguments.out {
        std::fs::create_dir_all(out).with_context(|| format!("make {out:?}"))?;
        write_file(&out.join("report.json"), &serde_json::to_vec_pretty(&report)?)?;
    }
    match context.json {
        true => output::json(&report),
        false => print_report(&table, &report),
    }
}

fn print_report(table: &IntentTable, report: &IntentReport) -> anyhow::Result<()> {
    let with_interval = |value: WithInterval| {
        format!("{:.4} ({:.4}..{:.4})", value.value, value.interval.low, value.interval.high)
    };
    let or_none =
        |value: Option<f64>| value.map_or_else(|| "-".into(), |value| format!("{value:.4}"));
    let rows: Vec<Vec<String>> = report
        .rows
        .iter()
        .map(|row| {
            let measured = &row.measured;
            vec![
                row.model.clone(),
                with_interval(measured.accuracy),
                with_interval(measured.macro_f1),
                format!("{:.4}", measured.ece),
                format!("{:.4}", measured.coverage),
                or_none(measured.answered_precision),
                or_none(measured.out_of_scope_recall),
                format!("{:.4}", measured.area_under_risk),
                row.fit_secs.map_or_else(|| "-".into(), |secs| format!("{secs:.1}")),
                format!("{:.0} / {:.0}", row.classify_micros[0], row.classify_micros[1]),
            ]
        })
        .collect();
    let header = [
        "model",
        "accuracy",
        "macro-F1",
        "ECE",
        "answered",
        "of these right",
        "strangers refused",
        "risk area",
        "seconds",
        "us p50 / p99",
    ];
    output::line(&output::table(&header, &rows, 1))?;
    let Some(best) = report.rows.first() else { return Ok(()) };
    let points: Vec<String> = best
        .measured
        .risk_curve
        .iter()
        .filter(|point| point.coverage >= 0.49)
        .step_by(2)
        .map(|point| format!("{:.0} %: {:.4}", 100.0 * point.coverage, point.risk))
        .collect();
    output::line(&format!(
        "share of wrong answers of {} by coverage: {}",
        best.model,
        points.join(", ")
    ))?;
    let name = |intent: u32| report.intents[intent as usize].clone();
    let confusions: Vec<Vec<String>> = best
        .measured
        .confusions
        .iter()
        .take(10)
        .map(|confusion| {
            let example = confusion.examples.first().map(|place| report.table_rows[*place]);
            vec![
                name(confusion.asked),
                name(confusion.answered),
                example.map_or_else(String::new, |row| table.text(row).to_owned()),
                count(confusion.n_texts),
            ]
        })
        .collect();
    output::line(&output::table(&["asked", "taken for", "for example", "texts"], &confusions, 3))?;
    output::line(&format!(
        "{} texts, {} of them out of scope; intervals over texts, seed {}",
        count(best.measured.n_texts + best.measured.n_out_of_scope),
        count(best.measured.n_out_of_scope),
        report.seed,
    ))
}

#[derive(Debug, Serialize)]
struct Named<'a> {
    name: &'a str,
    confidence: f64,
}

/// The answer to a text, as services of this kind give it.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    /// As it was read: masked.
    text: &'a str,
    intent: Option<Named<'a>>,
    intent_ranking: Vec<Named<'a>>,
    abstain: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Abstained>,
    language: Option<&'static str>,
}

impl<'a> Answer<'a> {
    fn new(file: &'a IntentModelFile, clean: &'a str, found: &Classified, n: usize) -> Self {
        let predictor = file.predictor();
        let named = |intent: usize| Named {
            name: predictor.intents().get(intent),
            confidence: (found.probabilities[intent] * 1e6).round() / 1e6,
        };
        Self {
            text: clean,
            intent: found.abstained.is_none().then(|| named(found.best())),
            intent_ranking: found.ranking().into_iter().take(n).map(named).collect(),
            abstain: found.abstained.is_some(),
            reason: found.abstained,
            language: predictor.pipeline().language(clean).map(|language| language.code),
        }
    }

    fn shown(&self) -> String {
        let ranking: Vec<String> = self
            .intent_ranking
            .iter()
            .map(|named| format!("{} {:.3}", named.name, named.confidence))
            .collect();
        let said = match (&self.intent, self.reason) {
            (Some(named), _) => named.name.to_owned(),
            (None, Some(Abstained::NoWords)) => "abstains: no words".to_owned(),
            (None, Some(Abstained::OtherScript)) => {
                "abstains: a script that it has not learned from".to_owned()
            }
            (None, _) => "abstains: in doubt".to_owned(),
        };
        format!("{said}\t{}\t{}", ranking.join(", "), self.text)
    }
}

/// Calls `each` for every line of a file or of standard input. Bytes that are not UTF-8 are replaced, and what is past 4 MiB of a line is passed over.
fn each_line(path: &Path, mut each: impl FnMut(&str) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut reader: Box<dyn BufRead> = match path.as_os_str() == "-" {
        true => Box::new(std::io::stdin().lock()),
        false => {
            let file = std::fs::File::open(path).with_context(|| format!("read {path:?}"))?;
            Box::new(BufReader::new(file))
        }
    };
    let mut line = Vec::new();
    loop {
        line.clear();
        let n_read = (&mut reader).take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
        if n_read == 0 {
            return Ok(());
        }
        if n_read as u64 == MAX_LINE_BYTES && line.last() != Some(&b'\n') {
            reader.skip_until(b'\n')?;
        }
        each(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']))?;
    }
}

pub(crate) fn classify(context: &Context, arguments: &ClassifyArgs) -> anyhow::Result<()> {
    let file = IntentModelFile::open(&arguments.model)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let n = arguments.top.get();
    let mut kept: Vec<(f64, String, Classified)> = Vec::new();
    let mut answer = |typed: &str| -> anyhow::Result<()> {
        let clean = file.predictor().pipeline().clean(typed);
        let found = file.predictor().classify_clean(&clean)?;
        if arguments.review.is_some() {
            kept.push((found.score, clean, found));
            return Ok(());
        }
        write_answer(&mut out, context.json, &Answer::new(&file, &clean, &found, n))
    };
    arguments.texts.iter().try_for_each(|text| answer(text))?;
    if let Some(path) = &arguments.input {
        each_line(path, &mut answer)?;
    }
    if let Some(n_reviewed) = arguments.review {
        // Those that say nothing teach nothing.
        kept.retain(|(_, _, found)| found.abstained != Some(Abstained::NoWords));
        kept.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
        kept.dedup_by(|a, b| a.1 == b.1);
        for (_, clean, found) in kept.iter().take(n_reviewed.get()) {
            write_answer(&mut out, context.json, &Answer::new(&file, clean, found, n))?;
        }
    }
    output::written(out.flush())
}

fn write_answer(out: &mut impl Write, is_json: bool, answer: &Answer<'_>) -> anyhow::Result<()> {
    output::written(match is_json {
        true => writeln!(out, "{}", serde_json::to_string(answer)?),
        false => writeln!(out, "{}", answer.shown()),
    })
}

/// A word and what it adds.
#[derive(Debug, Serialize)]
struct Word<'a> {
    word: &'a str,
    part_of_speech: String,
    adds: f64,
}

pub(crate) fn explain(
    context: &Context,
    arguments: &ExplainArgs,
    text: &str,
) -> anyhow::Result<()> {
    let file = IntentModelFile::open(&arguments.model)?;
    let predictor = file.predictor();
    let pipeline = predictor.pipeline();
    let clean = pipeline.clean(text);
    let found = predictor.classify_clean(&clean)?;
    let intent = found.best();
    let analyzed = pipeline.analyze(&clean);
    let added = predictor.model().attribute(&analyzed, intent)?;
    let tags = pipeline.tags(&analyzed);
    let mut order: Vec<usize> = (0..added.len()).collect();
    order.sort_by(|a, b| added[*b].total_cmp(&added[*a]).then(a.cmp(b)));
    // Of every five words one: those that add most, and as many of those that add least.
    let n_deleted = order.len().div_ceil(5);
    let without = |deleted: &[usize]| -> anyhow::Result<f64> {
        let rest = analyzed.without(|at| deleted.contains(&at));
        let logits = predictor.model().logits(&rest)?;
        let logits: Vec<f64> = logits.into_iter().map(f64::from).collect();
        Ok(predictor.serving().confidence.judge(&logits).0[intent])
    };
    let most = without(&order[..n_deleted])?;
    let least = without(&order[order.len() - n_deleted..])?;
    let usual = if context.json { order.len() } else { explain::SHOWN };
    let top = arguments.top.map_or(usual, std::num::NonZeroUsize::get);
    let words = order.iter().take(top).map(|at| Word {
        word: analyzed.token(*at),
        part_of_speech: tags[*at].clone(),
        adds: (added[*at] * 1e6).round() / 1e6,
    });
    let name = predictor.intents().get(intent);
    let p = found.probabilities[intent];
    if context.json {
        return output::json(&serde_json::json!({
            "text": clean,
            "intent": name,
            "confidence": p,
            "abstain": found.abstained.is_some(),
            "words": words.collect::<Vec<_>>(),
            "deletion": {
                "n_words": n_deleted,
                "confidence_without_those_that_add_most": most,
                "confidence_without_those_that_add_least": least,
            },
        }));
    }
    let said = if found.abstained.is_some() { " (abstains)" } else { "" };
    output::line(&format!("{name}: {p:.3}{said}"))?;
    let rows: Vec<Vec<String>> = words
        .map(|word| vec![word.word.to_owned(), word.part_of_speech, format!("{:+.3}", word.adds)])
        .collect();
    output::line(&output::table(&["word", "is a", "adds to the logit"], &rows, 2))?;
    output::line(&format!(
        "without the {n_deleted} that add most: {most:.3}; without the {n_deleted} that add least: {least:.3}"
    ))
}
