//! Rolling back-test: the same models, fitted and measured at several moments.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::error::EvalError;
use crate::metrics::Metric;
use crate::report::page::{self, escaped};
use crate::report::plots::{self, Plot};
use crate::report::table::{push_table, table};
use crate::report::{Report, formatted_secs};

/// The newest format of a back-test that this program writes.
pub const FORMAT_VERSION: u32 = 1;

/// One fold: when it was tested, and what was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoldReport {
    /// First moment of the test part, ISO 8601.
    pub test_start: String,
    /// Last moment of the test part.
    pub test_end: String,
    /// The whole report of the fold.
    pub report: Report,
}

/// All folds of a back-test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Backtest {
    /// Always `forecart-backtest`.
    pub format: String,
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The heading.
    pub title: String,
    /// The metric that decides.
    pub primary: Metric,
    /// Days of each test part.
    pub horizon_days: u32,
    /// Models by their mean over the folds, best first.
    pub models: Vec<BacktestRow>,
    /// Oldest first.
    pub folds: Vec<FoldReport>,
}

/// One model over all folds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BacktestRow {
    /// The model's name.
    pub name: String,
    /// Whether it is here to be beaten.
    pub is_baseline: bool,
    /// The deciding metric in each fold; `None` where the model was left out.
    pub values: Vec<Option<f64>>,
    /// Mean over the folds that have the model.
    pub mean: Option<f64>,
    /// Sample standard deviation over the folds: how much a number from one cut says about the next.
    pub sd: Option<f64>,
    /// Folds in which it was better than the strongest baseline, by the p-value after Holm's correction.
    pub n_better: usize,
    /// Folds in which it was worse.
    pub n_worse: usize,
    /// Mean seconds of fitting; left out of deterministic reports.
    pub fit_secs: Option<f64>,
}

impl Backtest {
    /// Puts the folds of one back-test side by side.
    ///
    /// # Errors
    /// [`EvalError::Option`] if there are none, [`EvalError::NotComparable`] if they decide by other metrics.
    pub fn new(
        title: String,
        horizon_days: u32,
        folds: Vec<FoldReport>,
    ) -> Result<Self, EvalError> {
        let Some(first) = folds.first() else {
            return Err(EvalError::Option { option: "folds", reason: "there are none".into() });
        };
        let primary = first.report.primary;
        if let Some(other) = folds.iter().find(|fold| fold.report.primary != primary) {
            return Err(EvalError::NotComparable {
                left: first.test_start.clone(),
                right: other.test_start.clone(),
                reason: "their deciding metrics differ".into(),
            });
        }
        let mut names: Vec<(String, bool)> = Vec::new();
        for model in folds.iter().flat_map(|fold| &fold.report.models) {
            if !names.iter().any(|(name, _)| *name == model.name) {
                names.push((model.name.clone(), model.is_baseline));
            }
        }
        let mut models: Vec<BacktestRow> =
            names.into_iter().map(|(name, is)| BacktestRow::new(name, is, &folds)).collect();
        let mean = |row: &BacktestRow| row.mean.unwrap_or(f64::NEG_INFINITY);
        models.sort_by(|a, b| mean(b).total_cmp(&mean(a)));
        Ok(Self {
            format: "forecart-backtest".into(),
            format_version: FORMAT_VERSION,
            title,
            primary,
            horizon_days,
            models,
            folds,
        })
    }

    /// The back-test as JSON, with a line break at the end.
    ///
    /// # Errors
    /// [`EvalError::Render`] if a value cannot be written.
    pub fn to_json(&self) -> Result<String, EvalError> {
        let json = serde_json::to_string_pretty(self);
        json.map(|json| json + "\n")
            .map_err(|error| EvalError::Render { what: "backtest", reason: error.to_string() })
    }

    /// The back-test for a terminal: a row for each model, a column for each fold.
    pub fn table(&self) -> String {
        let mut text = format!("{}\n", self.title);
        push_table(&mut text, &table(self.header(), self.rows().into_iter()));
        for line in self.notes() {
            text.push_str(&line);
            text.push('\n');
        }
        for (number, fold) in self.folds.iter().enumerate() {
            let n = fold.report.tally.n_cases;
            let _ = writeln!(
                text,
                "fold {:<8} {} .. {}, {} lists",
                number + 1,
                fold.test_start,
                fold.test_end,
                crate::report::grouped(n)
            );
            for warning in &fold.report.warnings {
                let _ = writeln!(text, "{:<13} fold {}: {warning}", "warning", number + 1);
            }
            for leak in &fold.report.leakage.leaks {
                let _ = writeln!(text, "{:<13} fold {}: {leak}", "LEAK", number + 1);
            }
        }
        text
    }

    /// The back-test as one self-contained page.
    ///
    /// # Errors
    /// [`EvalError::Render`] if a plot cannot be drawn.
    pub fn to_html(&self) -> Result<String, EvalError> {
        let mut page = page::begin(&self.title);
        for (number, fold) in self.folds.iter().enumerate() {
            for leak in &fold.report.leakage.leaks {
                let text = escaped(&format!("Leak in fold {}: {leak}", number + 1));
                let _ = writeln!(page, "<p class=\"warn\">{text}</p>");
            }
        }
        page.push_str("<h2>Models over all folds</h2>\n");
        push_html_table(&mut page, &self.header(), &self.rows());
        for line in self.notes() {
            let _ = writeln!(page, "<p class=\"soft\">{}</p>", escaped(&line));
        }
        let names = self.models.iter().map(|model| escaped(&model.name));
        page::push_legend(&mut page, names);
        let lines = self.models.iter().map(|model| {
            let points = model.values.iter().enumerate();
            points.filter_map(|(fold, value)| Some(((fold + 1) as f64, (*value)?))).collect()
        });
        let svg = plots::lines("folds", lines, "fold")?;
        let caption = format!("{} of each fold, oldest first", self.primary);
        page::push_plots(&mut page, &[Plot { svg, caption, by_model: true }]);
        page.push_str("<h2>Folds</h2>\n");
        let header =
            ["fold", "test from", "to", "users", "training events", "lists"].map(String::from);
        let rows: Vec<Vec<String>> = self
            .folds
            .iter()
            .enumerate()
            .map(|(number, fold)| {
                let counts = fold.report.data.counts;
                let count = crate::report::grouped;
                vec![
                    (number + 1).to_string(),
                    fold.test_start.clone(),
                    fold.test_end.clone(),
                    count(counts.n_users),
                    count(counts.n_train),
                    count(fold.report.tally.n_cases),
                ]
            })
            .collect();
        push_html_table(&mut page, &header, &rows);
        page::end(&mut page);
        Ok(page)
    }

    fn header(&self) -> Vec<String> {
        let mut header = vec!["model".to_owned(), "mean".into(), "sd".into(), "+/-".into()];
        header.extend((1..=self.folds.len()).map(|fold| format!("fold {fold}")));
        if self.models.iter().any(|model| model.fit_secs.is_some()) {
            header.push("fit s".into());
        }
        header
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let number = |value: Option<f64>| value.map_or_else(|| "-".into(), |v| format!("{v:.4}"));
        let has_secs = self.models.iter().any(|model| model.fit_secs.is_some());
        let row = |model: &BacktestRow| {
            let mark = if model.is_baseline { " *" } else { "" };
            let name: String =
                model.name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            let signs = format!("{}/{}", model.n_better, model.n_worse);
            let mut cells = vec![name + mark, number(model.mean), number(model.sd), signs];
            cells.extend(model.values.iter().map(|value| number(*value)));
            if has_secs {
                cells.push(model.fit_secs.map_or_else(|| "-".into(), formatted_secs));
            }
            cells
        };
        self.models.iter().map(row).collect()
    }

    fn notes(&self) -> Vec<String> {
        vec![format!(
            "* baseline; {} over {} folds of {} days, refitted for each; sd over the folds; +/-: folds in which a \
             model was better or worse than that fold's strongest baseline, by p (Holm)",
            self.primary,
            self.folds.len(),
            self.horizon_days
        )]
    }
}

impl BacktestRow {
    fn new(name: String, is_baseline: bool, folds: &[FoldReport]) -> Self {
        let rows: Vec<_> = folds.iter().map(|fold| fold.report.model(&name)).collect();
        let metric_of = |fold: &FoldReport| fold.report.model(&name)?.mean(fold.report.primary);
        let values: Vec<Option<f64>> = folds.iter().map(metric_of).collect();
        let known: Vec<f64> = values.iter().flatten().copied().collect();
        let signs =
            |sign| folds.iter().filter(|fold| fold.report.sign(&name) == Some(sign)).count();
        let secs: Vec<f64> =
            rows.iter().flatten().filter_map(|row| Some(row.timing?.fit_secs)).collect();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        Self {
            n_better: signs('+'),
            n_worse: signs('-'),
            mean: (!known.is_empty()).then(|| mean(&known)),
            sd: crate::report::sample_sd(&known),
            fit_secs: (!secs.is_empty()).then(|| mean(&secs)),
            name,
            is_baseline,
            values,
        }
    }
}

/// A table of plain texts.
pub(crate) fn push_html_table(page: &mut String, header: &[String], rows: &[Vec<String>]) {
    page.push_str("<div class=\"scroll\"><table>\n<thead><tr>");
    header.iter().for_each(|name| page.push_str(&format!("<th>{}</th>", escaped(name))));
    page.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        page.push_str("<tr>");
        for (place, cell) in row.iter().enumerate() {
            let cell = escaped(cell);
            match place {
                0 => page.push_str(&format!("<th scope=\"row\">{cell}</th>")),
                _ => page.push_str(&format!("<td>{cell}</td>")),
            }
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table></div>\n");
}
