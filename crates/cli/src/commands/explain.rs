//! `explain`: what each column of a row adds to its probability; of texts and questions the word, the behavior.

use std::io::{BufWriter, Write};
use std::num::NonZeroUsize;

use forecart_data::Progress as _;
use forecart_data::encode::{Row, Value};
use forecart_models::ads::Explanation;
use forecart_models::ads::predictor::Position;
use forecart_models::model_file::OutcomeModelFile;

use super::predict::{Input, positions};
use super::{Context, questions, support};
use crate::args::ExplainArgs;
use crate::output;

/// Columns that are shown of a row where none says how many.
pub(super) const SHOWN: usize = 5;

pub(crate) fn run(context: &Context, arguments: &ExplainArgs) -> anyhow::Result<()> {
    if let Some(user) = &arguments.user {
        return questions::explain(context, arguments, &arguments.data, user);
    }
    let Some(path) = &arguments.input else {
        let text = arguments.text.as_deref().unwrap_or_default();
        return support::explain(context, arguments, text);
    };
    let file = OutcomeModelFile::open(&arguments.model)?;
    let input = Input::open(path)?;
    let mut rows = input.rows(context, &file)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    // Where the row says where the ad stands, and all stand in the same place: that place is what counts.
    let same_for_all = match arguments.as_logged {
        true => None,
        false => Some(&file.predictor().serving().positions),
    };
    let neutral = |column: &str| match same_for_all?.get(column)? {
        Position::Number(number) => Some(format!("{number} (for all)")),
        Position::Text(text) => Some(format!("{text} (for all)")),
    };
    while let Some(block) = rows.next_block()? {
        // A path through the network for each: a few rows at a time come out while others wait.
        for rows in block.chunks(256) {
            let found = file.predictor().explain(rows, positions(arguments.as_logged))?;
            for (at, row) in rows.iter().enumerate() {
                let top = arguments.top.map(NonZeroUsize::get);
                let shown = shown(&found, at, row, &neutral, top);
                output::written(match context.json {
                    true => writeln!(out, "{}", shown.json(row.line)),
                    false => write!(out, "{}", shown.text(row.line)),
                })?;
            }
        }
    }
    output::written(out.flush())?;
    for entry in rows.rejected() {
        context.display.announce(&format!("left out {} rows: {}", entry.n_rows, entry.reason));
    }
    Ok(())
}

/// What is said of one row.
struct Shown {
    probability: f64,
    baseline: f64,
    logits: [f64; 2],
    gap: f64,
    /// Column, value and what it adds, the largest first.
    columns: Vec<(String, String, f64)>,
    /// How many are left out, and what they add.
    others: (usize, f64),
    top: Option<usize>,
}

fn shown(
    found: &Explanation,
    at: usize,
    row: &impl Row,
    neutral: &dyn Fn(&str) -> Option<String>,
    top: Option<usize>,
) -> Shown {
    let explained = &found.rows[at];
    let mut columns: Vec<(String, String, f64)> = found
        .columns
        .iter()
        .zip(&explained.contributions)
        .map(|(column, adds)| {
            let value = neutral(column).unwrap_or_else(|| written(&row.value(column)));
            (column.clone(), value, *adds)
        })
        .collect();
    // Stable: of equal ones, in the order of the table.
    columns.sort_by(|a, b| b.2.abs().total_cmp(&a.2.abs()));
    Shown {
        probability: explained.prediction.probability,
        baseline: found.baseline.probability,
        logits: [explained.prediction.logit, found.baseline.logit].map(f64::from),
        gap: explained.gap,
        columns,
        others: (0, 0.0),
        top,
    }
}

impl Shown {
    fn keep(&mut self, n: usize) {
        let rest = self.columns.split_off(n.min(self.columns.len()));
        self.others = (rest.len(), rest.iter().map(|(_, _, adds)| adds).sum());
    }

    fn json(mut self, line: u64) -> serde_json::Value {
        if let Some(top) = self.top {
            self.keep(top);
        }
        let columns = self.columns.into_iter().map(|(column, value, adds)| {
            serde_json::json!({"column": column, "value": value, "contribution": adds})
        });
        serde_json::json!({
            "line": line,
            "probability": self.probability,
            "baseline_probability": self.baseline,
            "logit": self.logits[0],
            "baseline_logit": self.logits[1],
            "gap": self.gap,
            "columns": columns.collect::<Vec<_>>(),
            "other_columns": {"n": self.others.0, "contribution": self.others.1},
        })
    }

    fn text(mut self, line: u64) -> String {
        self.keep(self.top.unwrap_or(SHOWN));
        let mut rows: Vec<Vec<String>> = self
            .columns
            .into_iter()
            .map(|(column, value, adds)| vec![column, value, format!("{adds:+.4}")])
            .collect();
        if let (n @ 1.., adds) = self.others {
            rows.push(vec![format!("{n} others"), String::new(), format!("{adds:+.4}")]);
        }
        format!(
            "line {line}: probability {:.4}, baseline {:.4}; logit {:.4}, baseline {:.4}, gap {:.0e}\n{}\n\n",
            self.probability,
            self.baseline,
            self.logits[0],
            self.logits[1],
            self.gap.abs(),
            output::table(&["column", "value", "adds to the logit"], &rows, 2),
        )
    }
}

/// A value as it stands in a table of them.
fn written(value: &Value<'_>) -> String {
    match value {
        Value::Missing => "-".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => (*text).to_owned(),
        Value::List(texts) => texts.join(" "),
    }
}
