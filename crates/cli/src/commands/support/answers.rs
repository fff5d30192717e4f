//! Answers to texts, and why.

use std::io::{BufRead, BufReader, BufWriter, Read as _, Write};
use std::path::Path;

use anyhow::Context as _;
use forecart_models::model_file::IntentModelFile;
use forecart_models::support::{Abstained, Classified};
use serde::Serialize;

use super::super::{Context, explain};
use crate::args::{ClassifyArgs, ExplainArgs};
use crate::output;

/// Longest line of a file of texts, in bytes; what is longer is read to here.
const MAX_LINE_BYTES: u64 = 4 << 20;

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

/// Prints what is said of each of `texts`, as for people.
pub(crate) fn print_answers(
    file: &IntentModelFile,
    texts: &[&str],
    n: usize,
) -> anyhow::Result<()> {
    for typed in texts {
        let clean = file.predictor().pipeline().clean(typed);
        let found = file.predictor().classify_clean(&clean)?;
        output::line(&Answer::new(file, &clean, &found, n).shown())?;
    }
    Ok(())
}

fn write_answer(out: &mut impl Write, is_json: bool, answer: &Answer<'_>) -> anyhow::Result<()> {
    output::written(match is_json {
        true => writeln!(out, "{}", serde_json::to_string(answer)?),
        false => writeln!(out, "{}", answer.shown()),
    })
}

/// A word and what it adds.
#[derive(Debug, Serialize)]
struct Word {
    word: String,
    part_of_speech: String,
    adds: f64,
}

/// Why a text is taken for what it is taken for.
pub(crate) struct Explained {
    /// As it was read: masked.
    text: String,
    intent: String,
    confidence: f64,
    abstains: bool,
    /// Those that add most first.
    words: Vec<Word>,
    n_deleted: usize,
    without_most: f64,
    without_least: f64,
}

impl Explained {
    pub(crate) fn new(file: &IntentModelFile, typed: &str) -> anyhow::Result<Self> {
        let predictor = file.predictor();
        let pipeline = predictor.pipeline();
        let text = pipeline.clean(typed);
        let found = predictor.classify_clean(&text)?;
        let intent = found.best();
        let analyzed = pipeline.analyze(&text);
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
        let without_most = without(&order[..n_deleted])?;
        let without_least = without(&order[order.len() - n_deleted..])?;
        let words = order.iter().map(|at| Word {
            word: analyzed.token(*at).to_owned(),
            part_of_speech: tags[*at].clone(),
            adds: (added[*at] * 1e6).round() / 1e6,
        });
        Ok(Self {
            intent: predictor.intents().get(intent).to_owned(),
            confidence: found.probabilities[intent],
            abstains: found.abstained.is_some(),
            words: words.collect(),
            n_deleted,
            without_most,
            without_least,
            text,
        })
    }

    pub(crate) fn print(&self, top: usize) -> anyhow::Result<()> {
        let said = if self.abstains { " (abstains)" } else { "" };
        output::line(&format!("{}: {:.3}{said}", self.intent, self.confidence))?;
        let rows: Vec<Vec<String>> = self
            .words
            .iter()
            .take(top)
            .map(|own| {
                vec![own.word.clone(), own.part_of_speech.clone(), format!("{:+.3}", own.adds)]
            })
            .collect();
        output::line(&output::table(&["word", "is a", "adds to the logit"], &rows, 2))?;
        let Self { n_deleted, without_most: most, without_least: least, .. } = self;
        output::line(&format!(
            "without the {n_deleted} that add most: {most:.3}; without the {n_deleted} that add least: {least:.3}"
        ))
    }

    fn json(&self, top: Option<usize>) -> serde_json::Value {
        let n_words = top.unwrap_or(self.words.len()).min(self.words.len());
        serde_json::json!({
            "text": self.text,
            "intent": self.intent,
            "confidence": self.confidence,
            "abstain": self.abstains,
            "words": self.words[..n_words],
            "deletion": {
                "n_words": self.n_deleted,
                "confidence_without_those_that_add_most": self.without_most,
                "confidence_without_those_that_add_least": self.without_least,
            },
        })
    }
}

pub(crate) fn explain(
    context: &Context,
    arguments: &ExplainArgs,
    text: &str,
) -> anyhow::Result<()> {
    let file = IntentModelFile::open(&arguments.model)?;
    let explained = Explained::new(&file, text)?;
    let top = arguments.top.map(std::num::NonZeroUsize::get);
    match context.json {
        true => output::json(&explained.json(top)),
        false => explained.print(top.unwrap_or(explain::SHOWN)),
    }
}
