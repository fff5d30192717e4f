//! The first pass: which columns a table gets, of which kind and with which role.

use std::collections::BTreeSet;

use forecart_data::Progress;
use forecart_data::samples::{ColumnKind, Role, SampleColumn, SampleSplit};
use serde::Serialize;

use super::config::SamplesConfig;
use super::infer::{Inferred, Profile};
use super::input::{Input, RowFound};
use super::label::{self, LabelLook, LabelRule, named};
use super::rows::{SEPARATOR, Slot, moments};
use super::sparse::{self, SparseLook};
use super::value::Reading;
use crate::PrepareError;
use crate::config::DataConfig;
use crate::error::Place;
use crate::import::cell::Cell;

/// Rows that decide what columns hold.
const N_LOOKED: u64 = 100_000;
/// Hashes of different values that all columns together keep.
const MAX_HASHES: usize = 4 << 20;
/// Lines of a sparse format that decide which columns a stream has.
const N_LOOKED_LINES: u64 = 10_000;
/// The label's name in formats that name no columns.
const LABEL: &str = "label";

/// A column of the input and what becomes of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnReport {
    /// Its name.
    pub name: String,
    /// What it holds; `None` if it is not kept.
    pub kind: Option<ColumnKind>,
    /// What it is for; `None` if it is not kept.
    pub role: Option<Role>,
    /// Why it is of that kind, or not kept.
    pub reason: String,
    /// Different values in the rows that were looked at; `None` where they are not counted.
    pub n_distinct: Option<u64>,
    /// Whether there are more different values than were counted.
    pub has_more_distinct: bool,
    /// Rows without a value among those that were looked at.
    pub n_missing: u64,
    /// The first different values.
    pub examples: Vec<String>,
}

/// Which inputs are looked at, and for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Looked {
    /// The first so many inputs are no test inputs.
    pub(super) n_training: usize,
    /// Rows are not stored but learned from as they come: the first of them say which columns there are.
    pub(super) is_stream: bool,
}

/// What the table holds and how it is read.
pub(super) struct Plan {
    kept: Vec<(SampleColumn, Slot)>,
    pub(super) label_at: usize,
    pub(super) time_at: Option<usize>,
    /// The same of the weight.
    pub(super) weight_at: Option<usize>,
    pub(super) report: Vec<ColumnReport>,
    pub(super) decisions: Vec<String>,
}

impl Plan {
    /// Looks at the inputs.
    pub(super) fn new(
        inputs: &[Input],
        looked: Looked,
        data: &DataConfig,
        config: &SamplesConfig,
        progress: &dyn Progress,
    ) -> Result<Self, PrepareError> {
        let first = inputs[0].layout.format;
        if let Some(other) = inputs.iter().find(|input| {
            let format = input.layout.format;
            (format.is_sparse() || first.is_sparse()) && format != first
        }) {
            let reason = format!(
                "the file is {}, the first one {}",
                other.layout.format.name(),
                first.name()
            );
            let fix = "give files of one format, or set `data.format`";
            return Err(PrepareError::input(Place::file(&other.path), reason, fix));
        }
        let mut decisions: Vec<String> = Vec::new();
        for decision in inputs.iter().flat_map(|input| &input.layout.decisions) {
            if !decisions.contains(decision) {
                decisions.push(decision.clone());
            }
        }
        let mut plan = Self {
            kept: Vec::new(),
            label_at: 0,
            time_at: None,
            weight_at: None,
            report: Vec::new(),
            decisions,
        };
        if first.is_sparse() {
            plan.of_features(inputs, looked.is_stream, data, config, progress)?;
        } else {
            plan.of_columns(inputs, looked.n_training, data, config, progress)?;
        }
        if plan.kept.len() < 2 {
            let reason = "no column is left to learn from";
            let fix = "check `samples.ignore`, or state kinds in `[samples.columns]`";
            return Err(PrepareError::input(Place::file(&inputs[0].path), reason, fix));
        }
        Ok(plan)
    }

    pub(super) fn columns(&self) -> Vec<SampleColumn> {
        self.kept.iter().map(|(column, _)| column.clone()).collect()
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = (&str, &Slot)> + Clone {
        self.kept.iter().map(|(column, slot)| (column.name.as_str(), slot))
    }

    /// Adds what should be known of the split.
    pub(super) fn note_split(&mut self, split: &SampleSplit, config: &SamplesConfig) {
        self.decisions.push(format!("split: {}", split.name()));
        let by_chance = matches!(split, SampleSplit::Random { .. } | SampleSplit::Folds { .. });
        if let Some(group) = config.raw.group.as_ref().filter(|_| by_chance) {
            self.decisions.push(format!(
                "rows of one {group:?} may stand in several parts: what is learned of it in training helps in the test"
            ));
        }
    }

    fn keep(&mut self, name: &str, kind: ColumnKind, role: Role, slot: Slot) {
        match role {
            Role::Label => self.label_at = self.kept.len(),
            Role::Time => self.time_at = Some(self.kept.len()),
            Role::Weight => self.weight_at = Some(self.kept.len()),
            _ => {}
        }
        self.kept.push((SampleColumn::new(name, kind, role), slot));
    }

    fn of_features(
        &mut self,
        inputs: &[Input],
        is_stream: bool,
        data: &DataConfig,
        config: &SamplesConfig,
        progress: &dyn Progress,
    ) -> Result<(), PrepareError> {
        let format = inputs[0].layout.format;
        let refuse = |key: &str, reason: &str| {
            Err(PrepareError::config(key, format!("{} {reason}", format.name())))
        };
        if config.raw.time.is_some() {
            return refuse("samples.time", "has no column of times");
        }
        if !config.raw.columns.is_empty() {
            return refuse("samples.columns", "says by its values what features are");
        }
        let rule = LabelRule::new(&config.raw);
        let (mut look, mut labels) = (SparseLook::default(), LabelLook::default());
        let n_looked = if is_stream { N_LOOKED_LINES } else { u64::MAX };
        for input in inputs {
            if look.n_rows == n_looked {
                break;
            }
            let mut rows = input.open(data)?;
            while rows
                .next(input, data, |found, line| {
                    let RowFound::Line(text) = found else { return };
                    if look.n_rows == n_looked {
                        return;
                    }
                    // A line that cannot be read is counted when the table is written.
                    if let Ok(read) = sparse::parse(format, text, input.names.as_ref()) {
                        look.add(&read);
                        labels.add(&read.label.map_or(Cell::Null, Cell::Text), line, data);
                    }
                })?
                .is_some()
                && look.n_rows < n_looked
            {
                if progress.is_cancelled() {
                    return Err(PrepareError::Cancelled);
                }
            }
        }
        let path = &inputs[0].path;
        let columns = look.columns(format, config.raw.feature_names.is_some(), path, is_stream)?;
        let mut names = vec![LABEL.to_owned()];
        names.extend(columns.iter().map(|column| column.name.clone()));
        if look.n_rows > 0 {
            let decision = labels.check(&rule, &Place::file(path), data)?;
            self.decisions.push(decision);
        }
        if config.raw.label.as_deref().is_some_and(|label| label != LABEL) {
            return refuse("samples.label", "has its label first in each line; leave the key out");
        }
        let place = |key: &str, column: &Option<String>| {
            column.as_ref().map(|column| named(path, &names, key, column)).transpose()
        };
        let group = place("group", &config.raw.group)?;
        let position = place("position", &config.raw.position)?;
        let propensity = place("propensity", &config.raw.propensity)?;
        let weight = place("weight", &config.raw.weight)?;
        for column in &config.raw.ignore {
            named(path, &names, "ignore", column)?;
        }
        self.keep(LABEL, ColumnKind::Number, Role::Label, Slot::Label(rule));
        self.report.push(ColumnReport {
            name: LABEL.into(),
            kind: Some(ColumnKind::Number),
            role: Some(Role::Label),
            reason: "first in each line".into(),
            n_distinct: None,
            has_more_distinct: false,
            n_missing: 0,
            examples: Vec::new(),
        });
        for (at, column) in (1..).zip(columns) {
            let is_ignored = config.raw.ignore.contains(&column.name);
            let role = match at {
                _ if group == Some(at) => Role::Group,
                _ if position == Some(at) => Role::Position,
                _ if propensity == Some(at) => Role::Propensity,
                _ if weight == Some(at) => Role::Weight,
                _ => Role::Feature,
            };
            if !is_ignored {
                let reading =
                    Reading { kind: column.kind, moments: None, separator: SEPARATOR.into() };
                self.keep(&column.name, column.kind, role, Slot::Value(reading));
            }
            self.report.push(ColumnReport {
                name: column.name,
                kind: Some(column.kind).filter(|_| !is_ignored),
                role: Some(role).filter(|_| !is_ignored),
                reason: if is_ignored { "in `samples.ignore`".into() } else { column.reason },
                n_distinct: None,
                has_more_distinct: false,
                n_missing: column.n_missing,
                examples: column.examples,
            });
        }
        self.decisions.push(match look.n_rows == n_looked {
            true => {
                format!("columns are those of the first {n_looked} lines; all features are read")
            }
            false => format!("features of all {} rows were looked at", look.n_rows),
        });
        if look.n_weighted > 0 && !is_stream {
            let n = look.n_weighted;
            self.decisions
                .push(format!("{n} rows have an importance other than 1: it is not used"));
        }
        Ok(())
    }

    fn of_columns(
        &mut self,
        inputs: &[Input],
        n_training: usize,
        data: &DataConfig,
        config: &SamplesConfig,
        progress: &dyn Progress,
    ) -> Result<(), PrepareError> {
        let path = &inputs[0].path;
        let mut names: Vec<String> = Vec::new();
        let mut known = BTreeSet::new();
        for name in inputs.iter().flat_map(|input| &input.layout.names) {
            if known.insert(name.as_str()) {
                names.push(name.clone());
            }
        }
        let raw = &config.raw;
        let (label, why_label) = label::find(path, &names, raw)?;
        let place = |key: &str, column: &Option<String>| {
            column.as_ref().map(|column| named(path, &names, key, column)).transpose()
        };
        let time = place("time", &raw.time)?;
        let group = place("group", &raw.group)?;
        let position = place("position", &raw.position)?;
        let propensity = place("propensity", &raw.propensity)?;
        let weight = place("weight", &raw.weight)?;
        for column in &raw.ignore {
            named(path, &names, "ignore", column)?;
        }
        for column in raw.columns.keys() {
            named(path, &names, "columns", column)?;
        }
        let look = Look::new(&names, label, &inputs[..n_training], data, config, progress)?;
        let rule = LabelRule::new(raw);
        if look.n_rows > 0 {
            let place = Place::file(path).field(&names[label]);
            self.decisions.push(look.labels.check(&rule, &place, data)?);
        }
        self.decisions.push(if look.is_all {
            format!("kinds are those of all {} rows", look.n_rows)
        } else {
            format!("kinds are those of the first {} rows", look.n_rows)
        });

        let stated = |name: &str| inputs.iter().find_map(|input| input.stated.get(name));
        let decided: Vec<Inferred> = names
            .iter()
            .zip(&look.profiles)
            .enumerate()
            .map(|(at, (name, profile))| {
                let kept =
                    |kind, reason: &str| Inferred { kind: Some(kind), reason: reason.into() };
                if at == label {
                    return kept(ColumnKind::Number, &format!("the label, {why_label}"));
                }
                if raw.ignore.contains(name) {
                    return Inferred { kind: None, reason: "in `samples.ignore`".into() };
                }
                if let Some(kind) = config.kinds.get(name) {
                    return kept(*kind, "stated in `[samples.columns]`");
                }
                if time == Some(at) {
                    return kept(ColumnKind::Time, "named in `samples.time`");
                }
                if group == Some(at) {
                    return kept(ColumnKind::Category, "named in `samples.group`");
                }
                if propensity == Some(at) {
                    return kept(ColumnKind::Number, "named in `samples.propensity`");
                }
                if weight == Some(at) {
                    return kept(ColumnKind::Number, "named in `samples.weight`");
                }
                if let Some((kind, reason)) = stated(name) {
                    return kept(*kind, reason);
                }
                let inferred = profile.infer();
                match inferred.kind {
                    None if position == Some(at) => {
                        kept(ColumnKind::Category, "named in `samples.position`")
                    }
                    _ => inferred,
                }
            })
            .collect();

        let is_time = |at: &usize| decided[*at].kind == Some(ColumnKind::Time);
        if let Some(at) = time.filter(|at| !is_time(at)) {
            let reason = format!("`samples.columns` says that {:?} is no time", names[at]);
            return Err(PrepareError::config("samples.time", reason));
        }
        let all_times: Vec<usize> = (0..names.len()).filter(is_time).collect();
        let time = match (time, all_times.as_slice()) {
            (Some(named), _) => Some(named),
            (None, [only]) => Some(*only),
            (None, []) => None,
            (None, several) => {
                let several: Vec<&str> = several.iter().map(|at| names[*at].as_str()).collect();
                self.decisions.push(format!(
                    "several columns hold times ({}): name the sample's with `samples.time` to split by it",
                    several.join(", ")
                ));
                None
            }
        };
        for (at, (name, profile)) in names.iter().zip(&look.profiles).enumerate() {
            let Inferred { kind, reason } = &decided[at];
            let role = match at {
                _ if at == label => Role::Label,
                _ if time == Some(at) => Role::Time,
                _ if group == Some(at) => Role::Group,
                _ if position == Some(at) => Role::Position,
                _ if propensity == Some(at) => Role::Propensity,
                _ if weight == Some(at) => Role::Weight,
                _ => Role::Feature,
            };
            if let Some(kind) = *kind {
                let slot = if at == label {
                    Slot::Label(rule.clone())
                } else {
                    self.slot(name, kind, profile, path, data, config)?
                };
                if role == Role::Feature && label::is_outcome(name) {
                    self.decisions.push(format!(
                        "column {name:?} is named like an outcome: put it into `samples.ignore` if it is not known beforehand"
                    ));
                }
                self.keep(name, kind, role, slot);
            }
            let (n_distinct, is_exact) = profile.n_distinct();
            self.report.push(ColumnReport {
                name: name.clone(),
                kind: *kind,
                role: kind.map(|_| role),
                reason: reason.clone(),
                n_distinct: Some(n_distinct),
                has_more_distinct: !is_exact,
                n_missing: profile.n_missing,
                examples: profile.examples.clone(),
            });
        }
        Ok(())
    }

    fn slot(
        &mut self,
        name: &str,
        kind: ColumnKind,
        profile: &Profile,
        path: &std::path::Path,
        data: &DataConfig,
        config: &SamplesConfig,
    ) -> Result<Slot, PrepareError> {
        let moments = match kind {
            ColumnKind::Time => {
                let place = Place::file(path).field(name);
                let (moments, decision) = moments(&profile.sample, &place, data)?;
                let zone = if data.time_zone.is_none() {
                    "; those that state no zone are taken as UTC"
                } else {
                    ""
                };
                self.decisions.push(format!("{name}: {decision}{zone}"));
                Some(moments)
            }
            _ => None,
        };
        let separator = config.raw.list_separator.as_deref().unwrap_or(SEPARATOR).to_owned();
        Ok(Slot::Value(Reading { kind, moments, separator }))
    }
}

/// The columns of the first rows.
struct Look {
    profiles: Vec<Profile>,
    labels: LabelLook,
    n_rows: u64,
    /// Whether there are no further rows.
    is_all: bool,
}

impl Look {
    fn new(
        names: &[String],
        label: usize,
        inputs: &[Input],
        data: &DataConfig,
        config: &SamplesConfig,
        progress: &dyn Progress,
    ) -> Result<Self, PrepareError> {
        let max_distinct = (MAX_HASHES / names.len().max(1)).clamp(1000, N_LOOKED as usize + 1);
        let profiles = names.iter().map(|_| Profile::new(max_distinct)).collect();
        let mut look = Self { profiles, labels: LabelLook::default(), n_rows: 0, is_all: true };
        let separator = config.raw.list_separator.as_deref();
        for input in inputs {
            let columns = input.layout.names.iter();
            let columns: Vec<usize> = columns
                .map(|name| names.iter().position(|known| known == name))
                .map(|at| at.expect("the names are those of all inputs"))
                .collect();
            let mut rows = input.open(data)?;
            loop {
                if progress.is_cancelled() {
                    return Err(PrepareError::Cancelled);
                }
                let block = rows.next(input, data, |found, line| {
                    let RowFound::Cells(cells) = found else { return };
                    if look.n_rows == N_LOOKED {
                        look.is_all = false;
                        return;
                    }
                    look.n_rows += 1;
                    for (cell, at) in cells.iter().zip(&columns) {
                        look.profiles[*at].add(cell, line, data, separator);
                        if *at == label {
                            look.labels.add(cell, line, data);
                        }
                    }
                })?;
                if block.is_none() || !look.is_all {
                    break;
                }
            }
        }
        Ok(look)
    }
}
