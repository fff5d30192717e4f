//! What is fitted on the training part: its end, and the vocabularies.

use std::collections::BTreeMap;

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::functions_aggregate::count::count_all;
use datafusion::logical_expr::cast;
use datafusion::prelude::{Expr, col, lit};
use forecart_data::Vocabulary;
use forecart_data::event::columns;

use super::{ASK, QuestionsConfig, has_user};
use crate::PrepareError;
use crate::session::Session;
use crate::texts::pipeline_of_logs;

const HOUR_MS: i64 = 3_600_000;
/// Names of events that a table can tell apart.
const MAX_EVENTS: usize = 255;

/// First moments of validation and test: as they were given, else the beginnings of the hours in which the shares of events are reached.
pub(super) fn starts(
    session: &Session,
    config: &QuestionsConfig,
) -> Result<(i64, i64), PrepareError> {
    if let Some(starts_ms) = config.starts_ms {
        return Ok(starts_ms);
    }
    let hour = (col(columns::TIMESTAMP) / lit(HOUR_MS)).alias("hour");
    let frame = session
        .table("events")?
        .filter(has_user())?
        .aggregate(vec![hour], vec![count_all().alias("n")])?
        .sort(vec![col("hour").sort(true, false)])?;
    let mut hours: Vec<(i64, i64)> = Vec::new();
    session.for_each(frame, |batch| {
        let [hours_of, counts] = [0, 1].map(|at| batch.column(at).as_primitive::<Int64Type>());
        hours.extend(hours_of.values().iter().copied().zip(counts.values().iter().copied()));
        Ok(())
    })?;
    let total: i64 = hours.iter().map(|(_, n)| n).sum();
    let start = |share: f64| {
        let mut before = 0;
        let after = hours.iter().find(|(_, n)| {
            before += n;
            before as f64 > total as f64 * share
        });
        after.map_or(0, |(hour, _)| hour * HOUR_MS)
    };
    let test = 1.0 - config.raw.test;
    Ok((start(test - config.raw.validation), start(test)))
}

/// Names by how often the training part has them.
#[derive(Debug)]
pub(super) struct Fitted {
    pub(super) events: Vocabulary,
    pub(super) objects: Vocabulary,
    pub(super) intents: Vocabulary,
    pub(super) decisions: Vec<String>,
}

/// Counts what the training part has.
pub(super) fn fit(
    session: &Session,
    config: &QuestionsConfig,
    validation_start_ms: i64,
) -> Result<Fitted, PrepareError> {
    let text = |column: &str| cast(col(column), DataType::Utf8);
    let in_training = col(columns::TIMESTAMP).lt(lit(validation_start_ms)).and(has_user());
    let counted = |by: Expr, of: Expr| -> Result<BTreeMap<String, u64>, PrepareError> {
        let frame = session
            .table("events")?
            .filter(in_training.clone().and(of))?
            .aggregate(vec![by.alias("name")], vec![count_all().alias("n")])?;
        let mut counts = BTreeMap::new();
        session.for_each(frame, |batch| {
            let names = batch.column(0).as_string::<i32>();
            let n = batch.column(1).as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                let name = if names.is_null(row) { "" } else { names.value(row).trim() };
                *counts.entry(name.to_owned()).or_default() += n.value(row).unsigned_abs();
            }
            Ok(())
        })?;
        Ok(counts)
    };
    let is_ask = col(columns::EVENT).eq(lit(ASK));
    let events = counted(text(columns::EVENT), lit(true))?;
    // The column may hold what customers wrote: no name of an intent is kept that is not masked.
    let mut asked: BTreeMap<String, u64> = BTreeMap::new();
    for (intent, n) in counted(text(&config.raw.intent), is_ask)? {
        *asked.entry(pipeline_of_logs().clean(&intent)).or_default() += n;
    }
    let is_other = col(columns::EVENT).not_eq(lit(ASK));
    let mut objects = counted(text(columns::ITEM_ID), is_other)?;
    for (intent, n) in &asked {
        *objects.entry(intent.clone()).or_default() += n;
    }
    let mut decisions = Vec::new();
    let n_events = events.len();
    let events = vocabulary(events, 1, MAX_EVENTS)?;
    if n_events > MAX_EVENTS {
        decisions.push(format!(
            "the {MAX_EVENTS} most frequent of {n_events} event names are told apart"
        ));
    }
    let n_named = |counts: &BTreeMap<String, u64>| counts.keys().filter(|k| !k.is_empty()).count();
    let mut rare = |what: &str, key: &str, n: usize, vocabulary: &Vocabulary| {
        let n_rare = n - vocabulary.n_known();
        if n_rare > 0 {
            decisions.push(format!(
                "{n_rare} of {n} {what} stand in the training part less often than `questions.{key}` says, and count as unknown"
            ));
        }
    };
    let n_objects = n_named(&objects);
    let objects = vocabulary(objects, config.raw.min_count, usize::MAX)?;
    rare("items and intents", "min_count", n_objects, &objects);
    let n_intents = n_named(&asked);
    let intents = vocabulary(asked, config.raw.min_asks, usize::MAX)?;
    rare("intents", "min_asks", n_intents, &intents);
    Ok(Fitted { events, objects, intents, decisions })
}

/// The most frequent names first, of equals the first in order; those that are too rare, and what has no name, are unknown.
fn vocabulary(
    counts: BTreeMap<String, u64>,
    min_count: u64,
    n_most: usize,
) -> Result<Vocabulary, PrepareError> {
    let total: u64 = counts.values().sum();
    let mut named: Vec<(String, u64)> =
        counts.into_iter().filter(|(name, n)| !name.is_empty() && *n >= min_count).collect();
    named.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    named.truncate(n_most);
    let n_known: u64 = named.iter().map(|(_, n)| n).sum();
    Ok(Vocabulary::from_entries(named, total - n_known)?)
}
