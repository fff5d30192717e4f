//! `model show`, `model sign`, `model verify`, `model list`.

use anyhow::Context as _;
use forecart_models::ads::registry as outcomes;
use forecart_models::model_file;
use forecart_models::purchase::demand;
use forecart_models::recommend::registry;
use forecart_models::support::questions::registry as questions;
use forecart_models::support::registry as intents;

use super::{Context, signing};
use crate::args::{ModelArgs, ModelVerb};
use crate::output::{self, count};

pub(crate) fn run(context: &Context, arguments: &ModelArgs) -> anyhow::Result<()> {
    match &arguments.verb {
        ModelVerb::Show { file } => {
            let inspection = model_file::inspect(file).with_context(|| format!("read {file:?}"))?;
            if context.json {
                return output::json(&inspection);
            }
            let header = serde_json::to_value(&inspection.header)?;
            let signed_by = inspection.signed_by.as_ref().map_or_else(
                || "nobody".to_owned(),
                |id| format!("{id}, which `forecart model verify` checks"),
            );
            let mut rows = vec![vec!["signed by".to_owned(), signed_by]];
            flatten("", &header, &mut rows);
            output::line(&output::table(&["header", "value"], &rows, usize::MAX))?;
            let tensors: Vec<Vec<String>> = inspection
                .tensors
                .iter()
                .map(|tensor| {
                    let shape: Vec<String> =
                        tensor.shape.iter().map(|n| count(*n as u64)).collect();
                    vec![
                        tensor.name.clone(),
                        tensor.dtype.clone(),
                        shape.join(" x "),
                        count(tensor.n_bytes as u64),
                    ]
                })
                .collect();
            output::line(&output::table(&["tensor", "type", "shape", "bytes"], &tensors, 3))
        }
        ModelVerb::Sign { file, key } => signing::sign(context, file, key),
        ModelVerb::Verify { file, public } => signing::verify(context, file, public),
        ModelVerb::List => {
            if context.json {
                let models = registry::MODELS.iter().map(|entry| {
                    let space =
                        registry::spec(entry.name, &serde_json::Value::Null)?.search_space();
                    Ok(serde_json::json!({
                        "name": entry.name,
                        "about": entry.about,
                        "search_space": space,
                    }))
                });
                let outcomes = outcomes::models().map(|(name, about)| {
                    let space = outcomes::spec(name, &serde_json::Value::Null)?.search_space();
                    Ok(serde_json::json!({
                        "name": name,
                        "about": about,
                        "tasks": ["click", "conversion", "purchase"],
                        "search_space": space,
                    }))
                });
                let demand = demand::models().map(|(name, about)| {
                    Ok(serde_json::json!({ "name": name, "about": about, "tasks": ["demand"] }))
                });
                let intents = intents::models().map(|(name, about)| {
                    let space = intents::spec(name, &serde_json::Value::Null)?.search_space();
                    Ok(serde_json::json!({
                        "name": name,
                        "about": about,
                        "tasks": ["support"],
                        "search_space": space,
                    }))
                });
                let questions = questions::MODELS.iter().map(|(name, about)| {
                    let space = questions::spec(name, &serde_json::Value::Null)?.search_space();
                    Ok(serde_json::json!({
                        "name": name,
                        "about": about,
                        "tasks": ["question"],
                        "search_space": space,
                    }))
                });
                let all = models.chain(outcomes).chain(demand).chain(intents).chain(questions);
                let all = all.collect::<anyhow::Result<Vec<_>>>()?;
                return output::json(&all);
            }
            let rows = registry::MODELS.iter().map(|entry| {
                let space = registry::spec(entry.name, &serde_json::Value::Null)?.search_space();
                let names: Vec<&str> = space.iter().map(|parameter| parameter.name).collect();
                Ok(vec![entry.name.to_owned(), entry.about.to_owned(), names.join(", ")])
            });
            let rows = rows.collect::<anyhow::Result<Vec<_>>>()?;
            let header = ["model", "what it does", "what `tune` varies"];
            output::line(&output::table(&header, &rows, usize::MAX))?;
            output::line(&format!("`default` is {}", registry::DEFAULT_MODEL))?;
            output::line("")?;
            let rows = outcomes::models().map(|(name, about)| {
                let space = outcomes::spec(name, &serde_json::Value::Null)?.search_space();
                let names: Vec<&str> = space.iter().map(|parameter| parameter.name).collect();
                Ok(vec![name.to_owned(), about.to_owned(), names.join(", ")])
            });
            let rows = rows.collect::<anyhow::Result<Vec<_>>>()?;
            let header =
                ["model of a click, conversion or purchase", "what it does", "what `tune` varies"];
            output::line(&output::table(&header, &rows, usize::MAX))?;
            output::line(&format!("`default` is {}", outcomes::DEFAULT_MODEL))?;
            output::line("")?;
            let rows =
                demand::models().map(|(name, about)| vec![name.to_owned(), about.to_owned()]);
            let header = ["forecast of demand", "what it does"];
            output::line(&output::table(&header, &rows.collect::<Vec<_>>(), usize::MAX))?;
            output::line(&format!("`default` is {}", demand::DEFAULT_MODEL))?;
            output::line("")?;
            let rows =
                intents::models().map(|(name, about)| vec![name.to_owned(), about.to_owned()]);
            let header = ["model of what a text asks", "what it does"];
            output::line(&output::table(&header, &rows.collect::<Vec<_>>(), usize::MAX))?;
            output::line(&format!("`default` is {}", intents::DEFAULT_MODEL))?;
            output::line("")?;
            let rows = questions::MODELS
                .iter()
                .map(|(name, about)| vec![(*name).to_owned(), (*about).to_owned()]);
            let header = ["model of what is asked next", "what it does"];
            output::line(&output::table(&header, &rows.collect::<Vec<_>>(), usize::MAX))?;
            output::line(&format!("`default` is {}", questions::DEFAULT_MODEL))
        }
    }
}

/// Rows `a.b = value` of a JSON tree; long lists are cut to their length.
fn flatten(path: &str, value: &serde_json::Value, rows: &mut Vec<Vec<String>>) {
    match value {
        serde_json::Value::Object(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, rows);
            }
        }
        serde_json::Value::Array(entries) if entries.len() > 8 => {
            rows.push(vec![path.to_owned(), format!("{} entries", count(entries.len() as u64))]);
        }
        serde_json::Value::String(text) => rows.push(vec![path.to_owned(), text.clone()]),
        other => rows.push(vec![path.to_owned(), other.to_string()]),
    }
}
