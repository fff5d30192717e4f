//! `recommend` and `similar`: answers from a model file, for users and visitors, with reasons.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Instant;

use anyhow::Context as _;
use forecart_data::{Dataset, History, ItemIdx, SeenItems, UserIdx};
use forecart_models::model_file::{Answer, LoadedModel, NamedReason, Recommended};
use rayon::prelude::*;
use serde::Serialize;

use super::Context;
use crate::args::{RecommendArgs, SimilarArgs};
use crate::output;

/// Reasons shown for each item.
const N_REASONS: usize = 2;
/// Users answered between two writes of a batch.
const BATCH: usize = 1024;

/// One answer, in the shape of the server's.
#[derive(Debug, Serialize)]
struct Reply<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    model: &'a str,
    model_version: &'a str,
    /// Why the list is not the model's own; null if it is.
    fallback: Option<&'static str>,
    n_unknown_history_items: usize,
    items: Vec<ReplyItem<'a>>,
    took_ms: f64,
}

#[derive(Debug, Serialize)]
struct ReplyItem<'a> {
    #[serde(flatten)]
    item: Recommended<'a>,
    reasons: Vec<NamedReason<'a>>,
}

/// Whose list is asked for.
struct Asked<'a> {
    user_id: Option<&'a str>,
    history: Vec<&'a str>,
    /// Times, values and kinds of the events; empty for a visitor, of whom nobody knows them.
    timestamps_ms: &'a [i64],
    values: &'a [f32],
    events: Vec<&'a str>,
    is_known: bool,
}

impl<'a> Asked<'a> {
    fn visitor(history: Vec<&'a str>) -> Self {
        let (timestamps_ms, values, events) = (&[][..], &[][..], Vec::new());
        Self { user_id: None, history, timestamps_ms, values, events, is_known: true }
    }
}

pub(crate) fn recommend(context: &Context, arguments: &RecommendArgs) -> anyhow::Result<()> {
    let model = open(&arguments.model)?;
    let seen = arguments.seen.map_or(model.header().dataset.seen, SeenItems::from);
    let answers = Answers { model: &model, k: arguments.k, seen };
    if let Some(history) = &arguments.history {
        let history = history.iter().map(String::as_str).collect();
        let asked = Asked::visitor(history);
        let reply = answers.reply(&asked)?;
        return if context.json { output::json(&reply) } else { print(&asked, &reply) };
    }
    let dataset = Dataset::open(&arguments.data)?;
    if let Some(users) = &arguments.users {
        let ids = user_ids(&dataset, users)?;
        return batch(context, &dataset, &ids, &answers);
    }
    for id in &arguments.user {
        let asked = asked(&dataset, id);
        let reply = answers.reply(&asked)?;
        if context.json { output::json(&reply)? } else { print(&asked, &reply)? }
    }
    Ok(())
}

pub(crate) fn similar(context: &Context, arguments: &SimilarArgs) -> anyhow::Result<()> {
    let model = open(&arguments.model)?;
    let items = model.similar_ids(&arguments.item, arguments.k)?;
    if context.json {
        return output::json(&serde_json::json!({
            "item_id": arguments.item,
            "model": model.header().model,
            "model_version": model.header().content_hash,
            "items": items,
        }));
    }
    let rows: Vec<Vec<String>> = items.iter().map(cells).collect();
    output::line(&output::table(&["", "item", "title", "score"], &rows, 3))
}

/// Prints what `model` recommends to a user of `dataset`, by the dataset's rule on seen items.
pub(crate) fn show_user(
    dataset: &Dataset,
    model: &LoadedModel,
    id: &str,
    k: NonZeroUsize,
) -> anyhow::Result<()> {
    let asked = asked(dataset, id);
    let answers = Answers { model, k, seen: model.header().dataset.seen };
    print(&asked, &answers.reply(&asked)?)
}

/// Prints what `model` recommends to a visitor with a history of item ids, those left out.
pub(crate) fn show_visitor(
    model: &LoadedModel,
    history: &[&str],
    k: NonZeroUsize,
) -> anyhow::Result<()> {
    let asked = Asked::visitor(history.to_vec());
    let answers = Answers { model, k, seen: SeenItems::Exclude };
    print(&asked, &answers.reply(&asked)?)
}

fn open(path: &Path) -> anyhow::Result<LoadedModel> {
    LoadedModel::open(path).with_context(|| format!("read model {path:?}"))
}

/// All that the dataset knows of a user, items and kinds of events by name; nothing for an unknown one.
fn asked<'a>(dataset: &'a Dataset, id: &'a str) -> Asked<'a> {
    let index = dataset.users.index(id);
    let history =
        index.map_or_else(History::default, |user| dataset.sequences.history(UserIdx(user)));
    let kinds = history.events.iter();
    Asked {
        user_id: Some(id),
        history: history.items.iter().map(|item| dataset.items.text(item.0)).collect(),
        timestamps_ms: history.timestamps_ms,
        values: history.values,
        events: kinds.map(|kind| dataset.event_names.text(u32::from(*kind))).collect(),
        is_known: index.is_some(),
    }
}

/// What every answer of one run has in common.
struct Answers<'a> {
    model: &'a LoadedModel,
    k: NonZeroUsize,
    seen: SeenItems,
}

impl<'a> Answers<'a> {
    fn reply(&self, asked: &Asked<'a>) -> anyhow::Result<Reply<'a>> {
        let Self { model, k, seen } = *self;
        let started = Instant::now();
        let items: Vec<ItemIdx> = asked.history.iter().map(|id| model.item(id)).collect();
        let (timestamps_ms, values) = (asked.timestamps_ms, asked.values);
        // The model's numbers for the kinds of events; the dataset may be another one than it learned from.
        let names = &model.header().event_names;
        let number = |kind: &&str| names.iter().position(|name| name == kind).unwrap_or(0) as u8;
        let events: Vec<u8> = asked.events.iter().map(number).collect();
        let history = History { items: &items, timestamps_ms, values, events: &events };
        let Answer { items, fallback, n_unknown } = model.recommend(history, k, seen);
        let took_ms = started.elapsed().as_secs_f64() * 1e3;
        let with_reasons = |item: Recommended<'a>| -> anyhow::Result<ReplyItem<'a>> {
            let reasons = model.reasons(history, item.item_id, N_REASONS)?;
            Ok(ReplyItem { item, reasons })
        };
        let fallback = match fallback {
            Some(_) if !asked.is_known => Some("unknown_user"),
            Some(forecart_models::recommend::Fallback::NoHistory) => Some("no_history"),
            Some(_) => Some("nothing_known"),
            None => None,
        };
        Ok(Reply {
            user_id: asked.user_id,
            model: &model.header().model,
            model_version: &model.header().content_hash,
            fallback,
            n_unknown_history_items: n_unknown,
            items: items.into_iter().map(with_reasons).collect::<Result<_, _>>()?,
            took_ms,
        })
    }
}

fn print(asked: &Asked<'_>, reply: &Reply<'_>) -> anyhow::Result<()> {
    let whose = match asked.user_id {
        Some(id) if asked.is_known => format!("user {id}, {} events", asked.history.len()),
        Some(id) => format!("user {id} is unknown: popular items"),
        None => format!("a visitor who looked at {} items", asked.history.len()),
    };
    output::line(&format!("{whose}; {} in {:.2} ms", reply.model, reply.took_ms))?;
    if reply.n_unknown_history_items > 0 {
        let n = reply.n_unknown_history_items;
        output::line(&format!("  {n} items of the history are not in the model's vocabulary"))?;
    }
    let rows: Vec<Vec<String>> = reply
        .items
        .iter()
        .map(|item| [cells(&item.item), vec![reasons(&item.reasons)]].concat())
        .collect();
    output::line(&output::table(&["", "item", "title", "score", "because"], &rows, usize::MAX))
}

fn cells(item: &Recommended<'_>) -> Vec<String> {
    vec![
        item.rank.to_string(),
        item.item_id.to_owned(),
        item.title.to_owned(),
        format!("{:.4}", item.score),
    ]
}

fn reasons(reasons: &[NamedReason<'_>]) -> String {
    let text = |reason: &NamedReason<'_>| match reason {
        NamedReason::Event { item_id, title: "", .. } => (*item_id).to_owned(),
        NamedReason::Event { title, .. } => (*title).to_owned(),
        NamedReason::Popular { rank, days: Some(days), .. } => {
            format!("number {rank} of the last {days} days")
        }
        NamedReason::Popular { rank, .. } => format!("number {rank} of all"),
        NamedReason::Trending { times, .. } => format!("{times:.1} times as often as usual"),
        NamedReason::New { days, .. } => format!("new for {days:.0} days"),
    };
    reasons.iter().map(text).collect::<Vec<_>>().join("; ")
}

fn user_ids(dataset: &Dataset, users: &str) -> anyhow::Result<Vec<String>> {
    if users == "all" {
        return Ok(dataset.users.iter().map(|(_, id, _)| id.to_owned()).collect());
    }
    let text = std::fs::read_to_string(users).with_context(|| format!("read {users:?}"))?;
    Ok(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// Answers for many users, in their order: JSON lines, or CSV.
fn batch<'a>(
    context: &Context,
    dataset: &'a Dataset,
    ids: &'a [String],
    answers: &Answers<'a>,
) -> anyhow::Result<()> {
    if !context.json {
        output::line("user_id,rank,item_id,score,fallback")?;
    }
    for ids in ids.chunks(BATCH) {
        let replies: Vec<anyhow::Result<Reply<'a>>> =
            ids.par_iter().map(|id| answers.reply(&asked(dataset, id))).collect();
        for reply in replies {
            let reply = reply?;
            if context.json {
                output::json(&reply)?;
                continue;
            }
            for ReplyItem { item, .. } in &reply.items {
                output::line(&format!(
                    "{},{},{},{},{}",
                    csv_field(reply.user_id.unwrap_or_default()),
                    item.rank,
                    csv_field(item.item_id),
                    item.score,
                    reply.fallback.unwrap_or_default()
                ))?;
            }
        }
    }
    Ok(())
}

/// A field as RFC 4180 wants it.
fn csv_field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn fields_are_quoted_when_they_must_be() {
        assert_eq!(super::csv_field("a/b 茶"), "a/b 茶");
        assert_eq!(super::csv_field("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
