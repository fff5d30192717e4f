//! From an event log to a question table: what users did, and what they then asked.
//!
//! The engine counts the training part for the vocabularies and sorts the log by user and time under its memory limit; one user at a time is in memory,
//! beside the ids of all. Start at [`prepare_questions`].

mod config;
mod fit;

use std::collections::HashSet;
use std::path::Path;

use datafusion::arrow::array::{Array, AsArray, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::logical_expr::cast;
use datafusion::prelude::{DataFrame, Expr, col, lit};
use forecart_data::dataset::{Reason, StepReport};
use forecart_data::event::columns;
use forecart_data::questions::{
    MomentCounts, QuestionDescription, QuestionEvent, QuestionManifest, QuestionTables, Windows,
};
use forecart_data::{DataError, Progress, QuestionsWriter, Vocabulary};

pub use config::{QuestionsConfig, RawQuestionsConfig};

use self::fit::Fitted;
use crate::session::Session;
use crate::texts::pipeline_of_logs;
use crate::{LogManifest, PrepareError, Resources};

/// The event of a question.
const ASK: &str = "ask";

/// Makes a question table in the folder `out` from the event log in `log`.
///
/// Events of guests are left out, and rows that say again what another of the same user and moment says. An event's object is its item, that of
/// an `ask` what it asks; vocabularies are fitted on the training part. The parts are cut in time, for all users at once, and hold the moments
/// whose windows end within them.
///
/// The same log and settings give the same bytes, whatever the resources.
///
/// # Errors
/// [`PrepareError::NotALog`] or [`PrepareError::Data`] if the log cannot be read, [`PrepareError::Unusable`] if it has no times, no `ask`, does not say what
/// is asked, or leaves a part without moments, [`PrepareError::Cancelled`] and [`PrepareError::Engine`].
pub fn prepare_questions(
    log: &Path,
    config: &QuestionsConfig,
    out: &Path,
    resources: &Resources,
    progress: &dyn Progress,
) -> Result<QuestionManifest, PrepareError> {
    let manifest = LogManifest::read(log)?;
    let time_range_ms = check(&manifest)?;
    let session = Session::new(resources)?;
    session.register_events(log)?;
    let names: Vec<String> =
        session.table("events")?.schema().fields().iter().map(|f| f.name().clone()).collect();
    if !names.contains(&config.raw.intent) {
        return Err(unusable(format!(
            "the log has no column {:?} that says what is asked; it has {}; name it with `questions.intent`, or import it as `data.columns.intent`",
            config.raw.intent,
            names.join(", "),
        )));
    }
    progress.begin("count the training part", None);
    let (validation_start_ms, test_start_ms) = fit::starts(&session, config)?;
    let fitted = fit::fit(&session, config, validation_start_ms)?;
    if fitted.intents.n_known() == 0 {
        return Err(unusable(format!(
            "no intent stands {} times in the {} asks of the training part, so there is nothing to learn; lower `questions.min_asks`, or look at \
             the column {:?}",
            config.raw.min_asks,
            fitted.events.index(ASK).map_or(0, |ask| fitted.events.count(ask)),
            config.raw.intent,
        )));
    }
    let windows = Windows {
        horizon_ms: config.horizon_ms(),
        validation_start_ms,
        test_start_ms: test_start_ms.max(validation_start_ms),
        end_ms: time_range_ms.1.saturating_add(1).max(test_start_ms),
    };
    let mut table = Table {
        fitted,
        windows,
        user: None,
        n_training: 0,
        at_moment: (i64::MIN, HashSet::new()),
        users: Vec::new(),
        writer: QuestionsWriter::new(out, windows)?,
        dropped: Dropped::default(),
        progress,
    };
    progress.begin("questions", Some(manifest.n_rows));
    session.for_each(lines(&session, config)?, |batch| table.add(&batch))?;
    table.end_user()?;
    let Table { fitted, users, writer, dropped, .. } = table;
    let parts = writer.parts();
    check_parts(&parts, config)?;
    let n_in = manifest.n_rows;
    let reasons = [
        ("without a user", n_in - dropped.n_read),
        ("the same as another of its user and moment", dropped.n_repeated),
    ];
    let reasons: Vec<Reason> = reasons
        .into_iter()
        .filter(|(_, n_rows)| *n_rows > 0)
        .map(|(reason, n_rows)| Reason { reason: reason.to_owned(), n_rows })
        .collect();
    let step = StepReport {
        step: "events of users".into(),
        n_rows_in: n_in,
        n_rows_out: dropped.n_read - dropped.n_repeated,
        n_users: users.len() as u64,
        n_items: fitted.objects.n_known() as u64,
        reasons,
    };
    let mut decisions = fitted.decisions;
    if dropped.n_unnamed > 0 {
        decisions.push(format!(
            "{} asks are of no intent that is told apart: they are known of a user, and not foreseen",
            dropped.n_unnamed
        ));
    }
    let n_unknown = users.iter().map(|(_, n)| n).filter(|n| **n == 0).count();
    if n_unknown > 0 {
        decisions.push(format!("{n_unknown} users come after the training part"));
    }
    Ok(writer.finish(QuestionTables {
        users: Vocabulary::from_entries(users, 0)?,
        event_names: fitted.events,
        objects: fitted.objects,
        intents: fitted.intents,
        description: QuestionDescription {
            data_hash: manifest.data_hash,
            origin: manifest.inputs.into_iter().map(|input| input.name).collect(),
            config: serde_json::to_value(&config.raw)
                .map_err(|error| DataError::Inconsistent { reason: error.to_string() })?,
            decisions,
            steps: vec![step],
        },
    })?)
}

fn unusable(reason: String) -> PrepareError {
    PrepareError::Unusable { step: "prepare questions", reason }
}

/// Refuses a log without times or without asks; returns its first and last moment.
fn check(manifest: &LogManifest) -> Result<(i64, i64), PrepareError> {
    let range = manifest.time_range_ms.filter(|_| manifest.has_time);
    let range = range.ok_or_else(|| {
        unusable("the log has an order but no times, and nothing says what was asked within a window; import it with its times".into())
    })?;
    if !manifest.events.iter().any(|event| event.name == ASK) {
        let found: Vec<&str> = manifest.events.iter().map(|event| event.name.as_str()).collect();
        return Err(unusable(format!(
            "the log has no event {ASK:?}, its events are {}; name the event of a question in `[events.names]`",
            found.join(", ")
        )));
    }
    Ok(range)
}

/// Refuses parts that nothing can be learned from or measured on.
fn check_parts(parts: &[MomentCounts; 3], config: &QuestionsConfig) -> Result<(), PrepareError> {
    for (name, part) in ["training", "validation", "test"].iter().zip(parts) {
        let hours = config.raw.horizon_hours;
        if part.n_moments == 0 {
            return Err(unusable(format!(
                "no event of the {name} part has a window of {hours} hours that ends within it ({} reach over its end); lower \
                 `questions.horizon_hours`, or make the part longer",
                part.n_open
            )));
        }
        if part.n_asked == 0 {
            return Err(unusable(format!(
                "nothing is asked in the {hours} hours after any of the {} moments of the {name} part; raise `questions.horizon_hours`, or make the \
                 part longer",
                part.n_moments
            )));
        }
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Dropped {
    n_read: u64,
    n_repeated: u64,
    n_unnamed: u64,
}

/// Rows on their way into the table, user by user.
struct Table<'a> {
    fitted: Fitted,
    windows: Windows,
    /// The user at hand.
    user: Option<String>,
    /// Their events of the training part.
    n_training: u64,
    /// What the rows of the user's latest moment say: event, item and intent.
    at_moment: (i64, HashSet<[String; 3]>),
    /// Users with their events of the training part.
    users: Vec<(String, u64)>,
    writer: QuestionsWriter,
    dropped: Dropped,
    progress: &'a dyn Progress,
}

impl Table<'_> {
    /// Takes rows that are sorted by user and time.
    fn add(&mut self, batch: &RecordBatch) -> Result<(), PrepareError> {
        let [users, events, items, intents] =
            [0, 1, 2, 3].map(|at| batch.column(at).as_string::<i32>());
        let times = batch.column(4).as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            self.dropped.n_read += 1;
            let user = users.value(row);
            if self.user.as_deref() != Some(user) {
                self.end_user()?;
                self.user = Some(user.to_owned());
            }
            let [event, item, intent] = [events, items, intents].map(|column| text(column, row));
            self.push(times.value(row), event, item, intent)?;
        }
        self.progress.advance(batch.num_rows() as u64);
        match self.progress.is_cancelled() {
            true => Err(PrepareError::Cancelled),
            false => Ok(()),
        }
    }

    fn push(
        &mut self,
        time_ms: i64,
        event: &str,
        item: &str,
        intent: &str,
    ) -> Result<(), PrepareError> {
        let (moment_ms, said) = &mut self.at_moment;
        if *moment_ms != time_ms {
            *moment_ms = time_ms;
            said.clear();
        }
        if !said.insert([event, item, intent].map(str::to_owned)) {
            self.dropped.n_repeated += 1;
            return Ok(());
        }
        let Fitted { events, objects, intents, .. } = &self.fitted;
        let is_ask = event == ASK;
        let masked;
        // A name that is known is clean.
        let intent = if is_ask && intents.index(intent).is_none() {
            masked = pipeline_of_logs().clean(intent);
            &masked
        } else {
            intent
        };
        let intent_row = is_ask.then(|| intents.index_or_unknown(intent));
        self.dropped.n_unnamed += u64::from(intent_row == Some(0));
        self.n_training += u64::from(time_ms < self.windows.validation_start_ms);
        let object = objects.index_or_unknown(if is_ask { intent } else { item });
        Ok(self.writer.push(QuestionEvent {
            timestamp_ms: time_ms,
            event: u8::try_from(events.index_or_unknown(event)).unwrap_or(0),
            object,
            intent: intent_row,
        })?)
    }

    fn end_user(&mut self) -> Result<(), PrepareError> {
        self.at_moment.1.clear();
        if let Some(user) = self.user.take() {
            self.writer.end_user()?;
            self.users.push((user, std::mem::take(&mut self.n_training)));
        }
        Ok(())
    }
}

fn text(column: &StringArray, row: usize) -> &str {
    if column.is_null(row) { "" } else { column.value(row).trim() }
}

fn has_user() -> Expr {
    col(columns::USER_ID).is_not_null().and(col(columns::USER_ID).not_eq(lit("")))
}

/// The events of known users by user and time: user, event, item, intent and time.
fn lines(session: &Session, config: &QuestionsConfig) -> Result<DataFrame, PrepareError> {
    let text = |column: &str, name: &str| cast(col(column), DataType::Utf8).alias(name);
    let frame = session.table("events")?.filter(has_user())?.select(vec![
        text(columns::USER_ID, "user"),
        text(columns::EVENT, "event"),
        text(columns::ITEM_ID, "item"),
        text(&config.raw.intent, "intent"),
        cast(col(columns::TIMESTAMP), DataType::Int64).alias("time"),
        col(columns::ROW_NUMBER),
    ])?;
    let by = |column: &str| col(column).sort(true, false);
    Ok(frame.sort(vec![by("user"), by("time"), by(columns::ROW_NUMBER)])?)
}
