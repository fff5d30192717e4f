//! Which column of an input becomes which column of a table.

use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use forecart_data::event::{self, columns};

use super::time::{Guess, TimeParser, guess};
use crate::PrepareError;
use crate::config::{DataConfig, Format, MAPPABLE, MissingUser, closest};
use crate::error::Place;
use crate::read::dialect::Layout;

/// How values of a column are checked and stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    User,
    Item,
    Event,
    Time,
    RowNumber,
    Float,
    Int,
    Text,
}

impl Kind {
    fn of_event_column(name: &str) -> Self {
        match name {
            columns::USER_ID => Self::User,
            columns::ITEM_ID => Self::Item,
            columns::EVENT => Self::Event,
            columns::TIMESTAMP => Self::Time,
            columns::VALUE | columns::QUANTITY | columns::PRICE => Self::Float,
            columns::POSITION => Self::Int,
            _ => Self::Text,
        }
    }

    const fn data_type(self) -> DataType {
        match self {
            Self::User | Self::Item | Self::Event | Self::Text => DataType::Utf8,
            Self::Time | Self::RowNumber | Self::Int => DataType::Int64,
            Self::Float => DataType::Float64,
        }
    }
}

/// A column of the table that is written.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    pub(crate) name: String,
    pub(crate) kind: Kind,
}

/// The table that is written: the union of what the inputs have.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) outputs: Vec<Output>,
    pub(crate) schema: SchemaRef,
    /// Whether rows are events; else items or users.
    pub(crate) has_events: bool,
    /// Whether rows have times; else their number stands for it.
    pub(crate) has_time: bool,
}

/// A column of an input under the name that it gets.
#[derive(Debug, Clone)]
pub(crate) struct Mapped {
    pub(crate) source: usize,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) is_extra: bool,
}

/// How the rows of one input are read.
#[derive(Debug, Clone)]
pub(crate) struct InputPlan {
    pub(crate) file_name: String,
    pub(crate) layout: Layout,
    pub(crate) mapped: Vec<Mapped>,
    /// For each column of the table, the input's column that it is made from.
    pub(crate) sources: Vec<Option<usize>>,
    pub(crate) time: Option<TimeParser>,
    pub(crate) keeps_missing_user: bool,
    /// Whether negative quantities and orders `C...` are refunds.
    pub(crate) order_lines: bool,
    /// Event of every row, where there is no event column.
    pub(crate) event: Option<String>,
    pub(crate) decisions: Vec<String>,
}

/// Fixed columns of every event log; the others are there if an input has them.
const FIXED: [&str; 5] =
    [columns::USER_ID, columns::ITEM_ID, columns::EVENT, columns::TIMESTAMP, columns::ROW_NUMBER];

impl InputPlan {
    /// Finds the columns of an event input.
    pub(crate) fn of_events(
        path: &Path,
        layout: Layout,
        config: &DataConfig,
    ) -> Result<Self, PrepareError> {
        let mut problems = Vec::new();
        let plan = Self::sketch(path, layout, config, &mut problems)?;
        problems.into_iter().next().map_or(Ok(plan), Err)
    }

    /// The same where required columns or the form of times may be unknown: a plan to look at, not to
    /// import by. `problems` gets what has to be settled first.
    pub(crate) fn sketch(
        path: &Path,
        layout: Layout,
        config: &DataConfig,
        problems: &mut Vec<PrepareError>,
    ) -> Result<Self, PrepareError> {
        let mapped = map_columns(path, &layout.names, config)?;
        let mut plan = Self {
            file_name: file_name(path),
            decisions: layout.decisions.clone(),
            layout,
            mapped,
            sources: Vec::new(),
            time: None,
            keeps_missing_user: false,
            order_lines: false,
            event: None,
        };
        plan.take_type_for_event(config);
        let has = |name: &str| plan.source(name).is_some();
        plan.order_lines = config.order_lines.unwrap_or_else(|| {
            has(columns::ORDER_ID) && has(columns::QUANTITY) && !has(columns::EVENT)
        });
        plan.keeps_missing_user = match config.missing_user {
            Some(choice) => choice == MissingUser::Keep,
            None => plan.order_lines,
        };
        problems.extend(plan.check_required(path, config).err());
        plan.choose_event(config);
        problems.extend(plan.choose_time(path, config).err());
        Ok(plan)
    }

    /// The input's column that becomes ours.
    pub(crate) fn source(&self, name: &str) -> Option<usize> {
        let of_name = self.mapped.iter().find(|mapped| mapped.name == name);
        of_name.map(|mapped| mapped.source)
    }

    /// Metarank's records are all `event = "interaction"`; what was done stands in `type`.
    fn take_type_for_event(&mut self, config: &DataConfig) {
        let Some(event) = self.source(columns::EVENT) else { return };
        let names = &self.layout.names;
        let is_type = |m: &Mapped| m.is_extra && event::folded(&names[m.source]) == "type";
        let Some(of_type) = self.mapped.iter().position(is_type) else { return };
        let mut values = self.layout.sample.iter().filter_map(|row| row.get(event));
        let is_stated = config.columns.contains_key(columns::EVENT);
        if is_stated || self.layout.sample.is_empty() || !values.all(|v| v == "interaction") {
            return;
        }
        let theirs = names[self.mapped[of_type].source].clone();
        self.decisions.push(format!("every event is interaction: column {theirs:?} is the event"));
        self.mapped.retain(|mapped| mapped.name != columns::EVENT);
        for mapped in self.mapped.iter_mut().filter(|mapped| mapped.name == theirs) {
            mapped.name = columns::EVENT.to_owned();
            mapped.kind = Kind::Event;
            mapped.is_extra = false;
        }
    }

    /// Whether the format has no times by itself.
    pub(crate) fn is_sequences(&self) -> bool {
        matches!(self.layout.format, Format::Pairs | Format::Sequences | Format::ItemSequences)
    }

    fn check_required(&mut self, path: &Path, config: &DataConfig) -> Result<(), PrepareError> {
        if self.source(columns::USER_ID).is_none()
            && let Some(session) = self.source(columns::SESSION_ID)
        {
            let theirs = self.layout.names[session].clone();
            self.decisions.push(format!("no user column: the session ({theirs}) is the user"));
            let name = columns::USER_ID.to_owned();
            self.mapped.push(Mapped { source: session, name, kind: Kind::User, is_extra: false });
        }
        let is_sequences = self.is_sequences();
        let mut missing = Vec::new();
        if self.source(columns::USER_ID).is_none() {
            missing.push((columns::USER_ID, String::new()));
        }
        if self.source(columns::ITEM_ID).is_none() && config.default_item.is_none() {
            missing.push((columns::ITEM_ID, ", or `data.default_item`".to_owned()));
        }
        if self.source(columns::TIMESTAMP).is_none() && !config.order_only && !is_sequences {
            let or = ", or `data.order_only = true` if the file's order is all there is";
            missing.push((columns::TIMESTAMP, or.to_owned()));
        }
        let Some((first, or)) = missing.first() else { return Ok(()) };
        let names: Vec<&str> = self.layout.names.iter().map(String::as_str).collect();
        let wanted: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
        let meant = closest(first, &names)
            .filter(|name| self.mapped.iter().any(|m| m.is_extra && m.name == *name))
            .map(|name| format!("did you mean {name:?}? "));
        let meant = meant.unwrap_or_default();
        let reason = format!(
            "no column for {}; found {}",
            wanted.join(", "),
            names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
        );
        let mut fix = format!("{meant}set `data.columns.{first} = \"...\"`{or}");
        if names.len() == 1 {
            fix = format!("only one column was found: check `data.delimiter`; {fix}");
        }
        Err(PrepareError::input(Place::file(path).line(1), reason, fix))
    }

    fn choose_event(&mut self, config: &DataConfig) {
        if self.source(columns::EVENT).is_some() {
            self.event.clone_from(&config.default_event);
            return;
        }
        let by_kind = if self.order_lines { "purchase" } else { "view_item" };
        let event = config.default_event.clone().unwrap_or_else(|| by_kind.to_owned());
        self.decisions.push(if self.order_lines {
            format!("order lines: every line is {event}, cancelled ones are refund")
        } else {
            format!("no event column: every row is {event}")
        });
        self.event = Some(event);
    }

    fn choose_time(&mut self, path: &Path, config: &DataConfig) -> Result<(), PrepareError> {
        let source = self.source(columns::TIMESTAMP).filter(|_| !config.order_only);
        let Some(source) = source else {
            self.mapped.retain(|mapped| mapped.kind != Kind::Time);
            if config.order_only || self.is_sequences() {
                self.decisions.push("no times: the file's order stands for them".into());
            }
            return Ok(());
        };
        let values = self.layout.sample.iter().filter_map(|row| row.get(source));
        let place = || Place::file(path).field(&self.layout.names[source]);
        match guess(values.map(String::as_str), config) {
            Guess::Known(parser, decision) => {
                self.time = Some(parser);
                self.decisions.push(decision);
                Ok(())
            }
            Guess::NeedsZone(found) => {
                let reason = format!("times such as {found:?} state no zone");
                let fix =
                    "set `data.time_zone` to the shop's, such as \"Europe/London\" or \"UTC\"";
                Err(PrepareError::input(place(), reason, fix))
            }
            Guess::Unknown(found) => {
                let reason = match &config.time_format {
                    Some(pattern) => format!("times such as {found:?} are not written {pattern:?}"),
                    None => format!("times such as {found:?} are neither numbers nor ISO 8601"),
                };
                let fix = "set `data.time_format`, such as \"%m/%d/%Y %H:%M\"";
                Err(PrepareError::input(place(), reason, fix))
            }
        }
    }

    /// Fits the plan to the table that all inputs fill together.
    pub(crate) fn bind(&mut self, table: &Table) {
        let sources = table.outputs.iter().map(|output| self.source(&output.name));
        self.sources = sources.collect();
    }
}

impl Table {
    /// The event log's table for all inputs.
    pub(crate) fn of_events(plans: &[InputPlan]) -> Result<Self, PrepareError> {
        let has_time = plans.iter().any(|plan| plan.time.is_some());
        if let Some(plan) = plans.iter().find(|plan| plan.time.is_some() != has_time) {
            let place = Place::file(&plan.file_name);
            let reason = "other inputs have times, this one has none";
            return Err(PrepareError::input(place, reason, "import them into logs of their own"));
        }
        let mut outputs: Vec<Output> = FIXED
            .iter()
            .map(|name| Output { name: (*name).to_owned(), kind: Kind::of_event_column(name) })
            .collect();
        outputs[4].kind = Kind::RowNumber;
        let all = || plans.iter().flat_map(|plan| &plan.mapped);
        let optional = MAPPABLE.iter().filter(|name| !FIXED.contains(name));
        for name in optional.filter(|name| all().any(|mapped| mapped.name == **name)) {
            let kind = Kind::of_event_column(name);
            outputs.push(Output { name: (*name).to_owned(), kind });
        }
        for mapped in all().filter(|mapped| mapped.is_extra) {
            if outputs.iter().all(|output| output.name != mapped.name) {
                outputs.push(Output { name: mapped.name.clone(), kind: Kind::Text });
            }
        }
        Ok(Self::new(outputs, has_time))
    }

    pub(crate) fn new(outputs: Vec<Output>, has_time: bool) -> Self {
        let has_events = outputs.iter().any(|output| output.kind == Kind::Event);
        let fields = outputs.iter().map(|output| {
            let is_nullable = match output.kind {
                // Of a row of the catalog it is what the row is about.
                Kind::Item => has_events,
                Kind::Event | Kind::Time | Kind::RowNumber => false,
                Kind::User | Kind::Float | Kind::Int | Kind::Text => true,
            };
            Field::new(&output.name, output.kind.data_type(), is_nullable)
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Self { outputs, schema, has_events, has_time }
    }
}

/// Names the columns: stated ones first, then our own names, then aliases; the rest is extra.
fn map_columns(
    path: &Path,
    names: &[String],
    config: &DataConfig,
) -> Result<Vec<Mapped>, PrepareError> {
    let mut ours: Vec<Option<&str>> = vec![None; names.len()];
    for (our, their) in &config.columns {
        let Some(source) = names.iter().position(|name| name == their) else {
            let known: Vec<&str> = names.iter().map(String::as_str).collect();
            let meant = closest(their, &known).map(|name| format!("did you mean {name:?}?"));
            let reason = format!("no column {their:?} (`data.columns.{our}`); found {names:?}");
            let fix = meant.unwrap_or_else(|| "name one of these".into());
            return Err(PrepareError::input(Place::file(path).line(1), reason, fix));
        };
        ours[source] = Some(our);
    }
    let is_free = |ours: &[Option<&str>], our: &str| !ours.contains(&Some(our));
    // A column with our own name goes before one with an alias of it.
    for is_alias in [false, true] {
        for (source, name) in names.iter().enumerate() {
            let own = MAPPABLE.iter().find(|our| event::folded(our) == event::folded(name));
            let our = if is_alias { by_alias(names, source) } else { own.copied() };
            let Some(our) = our.filter(|_| ours[source].is_none()) else { continue };
            if config.ignore.contains(name) || config.columns.contains_key(our) {
                continue;
            }
            if is_free(&ours, our) {
                ours[source] = Some(our);
            } else if is_alias {
                check_ambiguous(path, names, &ours, source, our)?;
            }
        }
    }
    let mapped = names.iter().enumerate().filter(|(_, name)| !config.ignore.contains(name));
    let mapped = mapped.map(|(source, name)| match ours[source] {
        Some(our) => Mapped {
            source,
            name: our.to_owned(),
            kind: Kind::of_event_column(our),
            is_extra: false,
        },
        None => {
            let is_taken = FIXED.contains(&name.as_str()) || MAPPABLE.contains(&name.as_str());
            let name = if is_taken { format!("input_{name}") } else { name.clone() };
            Mapped { source, name, kind: Kind::Text, is_extra: true }
        }
    });
    Ok(mapped.collect())
}

/// What a column is by its name among `names`.
fn by_alias(names: &[String], source: usize) -> Option<&'static str> {
    let our = event::canonical_column(&names[source])?;
    // RePlay calls the user so, Algolia the request, beside a user.
    let is_query_id = event::folded(&names[source]) == "queryid";
    let is_user = |name: &String| event::canonical_column(name) == Some(columns::USER_ID);
    if is_query_id && names.iter().filter(|name| is_user(name)).count() > 1 {
        return Some(columns::REQUEST_ID);
    }
    Some(our)
}

/// Two aliases of one required column: neither is taken unasked.
fn check_ambiguous(
    path: &Path,
    names: &[String],
    ours: &[Option<&str>],
    source: usize,
    our: &str,
) -> Result<(), PrepareError> {
    let taken = ours.iter().position(|other| *other == Some(our));
    let Some(other) = taken.filter(|_| FIXED.contains(&our)) else { return Ok(()) };
    if event::folded(&names[other]) == event::folded(our) {
        return Ok(());
    }
    let (first, second) = (&names[other], &names[source]);
    let place = Place::file(path).line(1).field(second);
    let reason = format!("both {first:?} and {second:?} may be {our}");
    Err(PrepareError::input(place, reason, format!("set `data.columns.{our} = {first:?}`")))
}

pub(crate) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
