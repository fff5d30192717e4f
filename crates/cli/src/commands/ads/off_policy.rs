//! `ads off-policy`: what a model's choice of items would have been clicked, from a log that showed others.

use std::path::Path;

use forecart_data::encode::{Row, Value};
use forecart_data::samples::{ColumnKind, Role, SampleColumn, SampleRow};
use forecart_data::{Part, SampleTable};
use forecart_eval::Bootstrap;
use forecart_eval::off_policy::OffPolicyEstimate;
use forecart_models::model_file::OutcomeModelFile;
use forecart_prepare::samples::{OwnedRow, SampleRows};
use forecart_train::{LoggedImpressions, OffPolicyOptions, OffPolicyReport, measure_off_policy};

use super::super::Context;
use super::super::data::print_rows;
use crate::args::OffPolicyArgs;
use crate::failure::{DataInvalid, UsageError};
use crate::output::{self, count};

/// The column that is looked for where nothing is said.
const PROPENSITY: &str = "propensity_score";

pub(super) fn run(context: &Context, arguments: &OffPolicyArgs) -> anyhow::Result<()> {
    let usage = |message: String| Err(anyhow::Error::from(UsageError(message)));
    let file = OutcomeModelFile::open(&arguments.model)?;
    let header = file.header();
    if header.task != "click" {
        return usage(format!("the model is for {}; give a model of clicks", header.task));
    }
    for (flag, value) in
        [("--temperature", Some(arguments.temperature)), ("--clip", arguments.clip)]
    {
        if value.is_some_and(|value| !(value > 0.0 && value.is_finite())) {
            return usage(format!("{flag}: give a number above 0"));
        }
    }
    let options = OffPolicyOptions {
        item: arguments.item.clone(),
        item_columns: arguments.item_columns.clone(),
        within: arguments.within.clone(),
        temperature: arguments.temperature,
        clip: arguments.clip,
        bootstrap: Bootstrap { seed: context.config.seed, ..Bootstrap::default() },
    };
    let columns = &header.samples.columns;
    let report = match (&arguments.data, &arguments.input) {
        (Some(folder), _) => {
            let table = SampleTable::open(folder)?;
            if table.manifest.content_hash != header.samples.content_hash {
                return usage(format!(
                    "--data: the model did not learn from the table {folder:?}, so that nobody knows which of its rows it has seen; give its own, \
                     or rows of a file by --in"
                ));
            }
            let impressions = of_table(&table, arguments)?;
            measure_off_policy(file.predictor(), columns, &impressions, &options)?
        }
        (None, Some(input)) => {
            let impressions = of_file(context, arguments, input, columns)?;
            measure_off_policy(file.predictor(), columns, &impressions, &options)?
        }
        (None, None) => {
            return usage("give impressions by --in, or a sample table by --data".into());
        }
    };
    if context.json {
        return output::json(&report);
    }
    print(&report)
}

/// What is read of an impression, and where it stands, for messages.
struct Impression<'a> {
    place: String,
    label: Value<'a>,
    propensity: Value<'a>,
    item: Value<'a>,
    group: Option<Value<'a>>,
}

/// Impressions on their way in: their groups by text.
struct Taken<R> {
    impressions: LoggedImpressions<R>,
    groups: std::collections::BTreeMap<String, u32>,
    n_unlabelled: u64,
}

impl<R> Taken<R> {
    fn new() -> Self {
        let impressions = LoggedImpressions {
            rows: Vec::new(),
            clicks: Vec::new(),
            propensities: Vec::new(),
            groups: None,
        };
        Self { impressions, groups: std::collections::BTreeMap::new(), n_unlabelled: 0 }
    }

    /// Checks what an impression says; whether its outcome is known.
    fn check(
        &mut self,
        found: &Impression<'_>,
        (item, propensity): (&str, &str),
    ) -> anyhow::Result<bool> {
        let invalid = |what: String| Err(DataInvalid(format!("{}: {what}", found.place)).into());
        let Some(click) = found.label.number() else {
            self.n_unlabelled += 1;
            return Ok(false);
        };
        if found.item == Value::Missing {
            return invalid(format!(
                "no item in column {item:?}; name the column of the item shown with --item"
            ));
        }
        let Some(p) = found.propensity.number() else {
            return invalid(format!(
                "no propensity in column {propensity:?}; name the column of the probability with which the item had been drawn with --propensity"
            ));
        };
        if !(p > 0.0 && p <= 1.0) {
            return invalid(format!(
                "the propensity {p} in column {propensity:?} is no probability of what was drawn; it must be above 0 and at most 1"
            ));
        }
        let group = match &found.group {
            None => None,
            Some(Value::Text(text)) => Some((*text).to_owned()),
            Some(Value::Number(number)) => Some(number.to_string()),
            Some(_) => Some(String::new()),
        };
        if let Some(group) = group {
            let next = self.groups.len() as u32;
            let group = *self.groups.entry(group).or_insert(next);
            self.impressions.groups.get_or_insert_with(Vec::new).push(group);
        }
        self.impressions.clicks.push(f64::from(u8::from(click == 1.0)));
        self.impressions.propensities.push(p);
        Ok(true)
    }

    fn finish(self, place: &Path) -> anyhow::Result<LoggedImpressions<R>> {
        if self.impressions.rows.is_empty() {
            let message = format!("{}: no impression with a known outcome", place.display());
            return Err(DataInvalid(message).into());
        }
        Ok(self.impressions)
    }
}

fn name_of(columns: &[SampleColumn], role: Role) -> Option<&str> {
    columns.iter().find(|column| column.role == role).map(|column| column.name.as_str())
}

/// The column of propensities: as the flag says, as the table says, or by its name.
fn propensity_of<'a>(arguments: &'a OffPolicyArgs, columns: &'a [SampleColumn]) -> &'a str {
    let named = arguments.propensity.as_deref().or_else(|| name_of(columns, Role::Propensity));
    named.unwrap_or(PROPENSITY)
}

/// Refuses a column that is not there, before it is found missing in every row.
fn check_columns(
    arguments: &OffPolicyArgs,
    propensity: &str,
    is_known: impl Fn(&str) -> bool,
    place: &Path,
) -> anyhow::Result<()> {
    let of_flags = [("--item", arguments.item.as_str()), ("--propensity", propensity)];
    let within = arguments.within.iter().map(|column| ("--within", column.as_str()));
    let further = arguments.item_columns.iter().map(|column| ("--item-columns", column.as_str()));
    for (flag, column) in of_flags.into_iter().chain(within).chain(further) {
        if is_known(column) {
            continue;
        }
        let place = place.display();
        let message = match flag {
            "--propensity" => format!(
                "{place}: no column {column:?}; without the probability with which each item had been drawn nothing can be said of another \
                 policy: name its column with --propensity, for a sample table with `samples.propensity` when it is prepared"
            ),
            _ => format!("{place}: no column {column:?}; name one that is there with {flag}"),
        };
        return Err(DataInvalid(message).into());
    }
    Ok(())
}

/// The impressions of the test part.
pub(in crate::commands) fn of_table<'t>(
    table: &'t SampleTable,
    arguments: &OffPolicyArgs,
) -> anyhow::Result<LoggedImpressions<SampleRow<'t>>> {
    let columns = &table.manifest.columns;
    let propensity = propensity_of(arguments, columns);
    let is_known = |name: &str| columns.iter().any(|column| column.name == name);
    check_columns(arguments, propensity, is_known, table.folder())?;
    let group = name_of(columns, Role::Group);
    let mut taken = Taken::new();
    for number in table.rows(Part::Test) {
        let row = table.row(number);
        let found = Impression {
            place: format!("{}, row {number}", table.folder().display()),
            label: Value::Number(table.label(number)),
            propensity: row.value(propensity),
            item: row.value(&arguments.item),
            group: group.map(|group| row.value(group)),
        };
        if taken.check(&found, (&arguments.item, propensity))? {
            taken.impressions.rows.push(row);
        }
    }
    taken.finish(table.folder())
}

fn of_file(
    context: &Context,
    arguments: &OffPolicyArgs,
    input: &Path,
    known: &[SampleColumn],
) -> anyhow::Result<LoggedImpressions<OwnedRow>> {
    let data = context.config.data(None)?;
    let config = context.config.samples(None, None)?;
    let propensity = propensity_of(arguments, known);
    let label = name_of(known, Role::Label).unwrap_or_default();
    let mut columns = known.to_vec();
    // What came of a row and its propensity are read as any other number.
    for column in &mut columns {
        if matches!(column.role, Role::Label | Role::Propensity) {
            column.role = Role::Feature;
        }
    }
    let further =
        [(arguments.item.as_str(), ColumnKind::Category), (propensity, ColumnKind::Number)];
    let within = arguments.within.iter().map(|column| (column.as_str(), ColumnKind::Category));
    for (name, kind) in further.into_iter().chain(within) {
        if !columns.iter().any(|column| column.name == name) {
            columns.push(SampleColumn::new(name, kind, Role::Feature));
        }
    }
    let mut rows = SampleRows::open_with(input, &columns, &data, &config)?;
    check_columns(arguments, propensity, |name| rows.has_column(name), input)?;
    let group = name_of(known, Role::Group).filter(|group| rows.has_column(group));
    let mut taken = Taken::new();
    while let Some(block) = rows.next_block()? {
        for row in block {
            let found = Impression {
                place: format!("{}, line {}", input.display(), row.line),
                label: row.value(label),
                propensity: row.value(propensity),
                item: row.value(&arguments.item),
                group: group.map(|group| row.value(group)),
            };
            if taken.check(&found, (&arguments.item, propensity))? {
                taken.impressions.rows.push(row);
            }
        }
    }
    if !context.json {
        print_rows("left out", &rows.rejected())?;
        if taken.n_unlabelled > 0 {
            let n = count(taken.n_unlabelled);
            output::line(&format!("  left out: {n} rows whose outcome is not known"))?;
        }
    }
    taken.finish(input)
}

/// A rate with its interval, in per cent.
fn rate(found: &OffPolicyEstimate) -> String {
    match (found.value, found.interval) {
        (Some(value), Some(interval)) => format!(
            "{:.3} ({:.3}..{:.3})",
            100.0 * value,
            100.0 * interval.low,
            100.0 * interval.high
        ),
        (Some(value), None) => format!("{:.3}", 100.0 * value),
        (None, _) => "-".to_owned(),
    }
}

pub(in crate::commands) fn print(report: &OffPolicyReport) -> anyhow::Result<()> {
    let logged = &report.logged;
    let mut rows = vec![vec![
        "the log's own".to_owned(),
        rate(logged),
        String::new(),
        String::new(),
        count(report.n_rows),
        count(report.n_clicks),
        "1".to_owned(),
        "1".to_owned(),
    ]];
    rows.extend(report.policies.iter().map(|row| {
        let first = &row.estimates[0];
        let rates = row.estimates.iter().map(rate);
        let own = [
            count(first.effective_rows.round() as u64),
            format!("{:.1}", first.effective_rewards),
            format!("{:.2}", first.mean_weight),
            format!("{:.1}", first.largest_weight),
        ];
        std::iter::once(row.policy.name().to_owned()).chain(rates).chain(own).collect()
    }));
    let header = [
        "shown by",
        "clicks in 100, IPS",
        "SNIPS",
        "DR",
        "worth rows",
        "worth clicks",
        "mean weight",
        "largest",
    ];
    output::line(&output::table(&header, &rows, 1))?;
    for row in &report.policies {
        for warning in &row.warnings {
            output::line(&format!("WARNING  {}: {warning}", row.policy.name()))?;
        }
    }
    let (fewest, most) = report.n_candidates;
    output::line(&format!(
        "{} impressions, {} items, {} an impression; the model expects {:.3} in 100 of what was shown; columns that go with the item: {}",
        count(report.n_rows),
        count(report.n_items),
        if fewest == most { fewest.to_string() } else { format!("{fewest} to {most}") },
        100.0 * report.expected_of_logged,
        report.item_columns.join(", "),
    ))
}
