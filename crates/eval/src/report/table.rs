//! The report for a terminal, at most 100 columns wide.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets};

use super::{ModelRow, Reference, Report, formatted, formatted_p, formatted_secs, formatted_width};
use crate::metrics::Metric;

/// Longest model name that is shown whole.
const NAME_WIDTH: usize = 16;

impl Report {
    /// The report for a terminal: models with intervals, comparisons, protocol, data and warnings.
    ///
    /// At most 100 columns wide where hashes and warnings allow, without color, ending with a line
    /// break.
    pub fn table(&self) -> String {
        let mut text = format!("{}\n", self.title);
        push_table(&mut text, &self.models_table());
        let confidence = self.bootstrap.confidence * 100.0;
        let n_resamples = self.bootstrap.n_resamples;
        let _ = writeln!(
            text,
            "* baseline; ± half of the {confidence} % bootstrap interval ({n_resamples} resamples)"
        );
        if self.models.iter().any(|model| self.sign(&model.name).is_some()) {
            text.push_str(
                "vs: better (+) or worse (-) than the strongest baseline, or no difference (=), by p (Holm)\n",
            );
        }
        if self.models.iter().any(|model| model.model_bytes.is_some()) {
            text.push_str("MB: memory of fitting; file: MB of the model\n");
        }
        if self.models.iter().any(|model| model.seeds.len() > 1) {
            text.push_str("sd: over the seeds, of the first metric; means are over all seeds\n");
        }
        for against in [Reference::Best, Reference::StrongestBaseline] {
            self.print_comparisons(&mut text, against);
        }
        self.print_slices(&mut text);
        if let Some(gate) = &self.gate {
            text.push('\n');
            gate.lines().into_iter().for_each(|line| text.push_str(&(line + "\n")));
        }
        text.push('\n');
        for (name, fact) in self.facts() {
            let _ = writeln!(text, "{name:<13} {fact}");
        }
        for warning in &self.warnings {
            let _ = writeln!(text, "{:<13} {warning}", "warning");
        }
        for leak in &self.leakage.leaks {
            let _ = writeln!(text, "{:<13} {leak}", "LEAK");
        }
        for note in &self.leakage.notes {
            let _ = writeln!(text, "{:<13} {note}", "note");
        }
        text
    }

    fn models_table(&self) -> Table {
        let metrics = self.main_metrics();
        let has_sd = self.models.iter().any(|model| model.seeds.len() > 1);
        let has_timing = self.models.iter().any(|model| model.timing.is_some());
        let mut header: Vec<String> = vec!["model".into()];
        // Seeds have a column of their own; the third metric then stands in the other reports.
        let n_metrics = if has_sd { 2 } else { 3 };
        let metrics = [&metrics[..n_metrics], &metrics[3..]].concat();
        let has_signs = self.models.iter().any(|model| self.sign(&model.name).is_some());
        let has_bytes = self.models.iter().any(|model| model.model_bytes.is_some());
        header.extend(metrics[..n_metrics].iter().map(Metric::to_string));
        header.extend(["cover".into(), "bias".into()]);
        if has_sd {
            header.insert(2, "sd".into());
        }
        if has_signs {
            header.insert(1, "vs".into());
        }
        if has_timing {
            header.extend(["fit s", "eval s", "MB"].map(String::from));
        }
        if has_bytes {
            header.push("file".into());
        }
        let rows = self.models.iter().map(|model| {
            let mut cells = vec![name(model)];
            cells.extend(metrics.iter().map(|metric| value(model, *metric)));
            if has_sd {
                let sd = model.metric(self.primary).and_then(|row| row.sd_over_seeds);
                cells.insert(2, sd.map_or_else(String::new, |sd| short(&format!("{sd:.4}"))));
            }
            if has_timing {
                let secs = |of: fn(&super::Timing) -> f64| {
                    model.timing.as_ref().map_or_else(String::new, |t| formatted_secs(of(t)))
                };
                cells.push(secs(|timing| timing.fit_secs));
                cells.push(secs(|timing| timing.evaluate_secs));
                let bytes = model.timing.map(|timing| timing.memory_bytes as f64 / 1e6);
                cells.push(bytes.map_or_else(String::new, |mb| format!("{mb:.0}")));
            }
            if has_signs {
                cells.insert(1, self.sign(&model.name).map_or_else(String::new, String::from));
            }
            if has_bytes {
                let mb = model.model_bytes.map(|bytes| bytes as f64 / 1e6);
                cells.push(mb.map_or_else(String::new, |mb| format!("{mb:.1}")));
            }
            cells
        });
        table(header, rows)
    }

    /// The leading model and the strongest baseline, slice by slice.
    fn print_slices(&self, text: &mut String) {
        let baseline = self.models.iter().find(|model| {
            self.comparisons.iter().any(|row| {
                row.against == Reference::StrongestBaseline && row.reference == model.name
            })
        });
        let shown: Vec<&ModelRow> = self.models.first().into_iter().chain(baseline).collect();
        let Some(first) = self.slices.first() else { return };
        let _ = writeln!(text, "\n{} where users and targets differ", first.metric);
        let mut header = vec!["slice".to_owned(), "n".to_owned()];
        let n_shown =
            if shown.len() > 1 && shown[0].name == shown[1].name { 1 } else { shown.len() };
        header.extend(shown[..n_shown].iter().map(|model| name(model)));
        let rows = self.slices.iter().map(|slice| {
            let mut cells = vec![clipped(&slice.title(), 36), super::grouped(slice.n_cases)];
            cells.extend(shown[..n_shown].iter().map(|model| {
                let value = slice.values.iter().find(|value| value.model == model.name);
                value.map_or_else(
                    || "-".into(),
                    |value| {
                        let mean = short(&formatted(slice.metric, value.mean));
                        format!("{mean}±{}", formatted_width(slice.metric, value.interval))
                    },
                )
            }));
            cells
        });
        push_table(text, &table(header, rows));
    }

    fn print_comparisons(&self, text: &mut String, against: Reference) {
        let rows: Vec<_> = self.comparisons.iter().filter(|row| row.against == against).collect();
        let Some(first) = rows.first() else { return };
        let what = match against {
            Reference::Best if self.has_one_reference() => "the best and the strongest baseline",
            Reference::StrongestBaseline if self.has_one_reference() => return,
            Reference::Best => "the best",
            Reference::StrongestBaseline => "the strongest baseline",
        };
        let part = crate::options::part_name(self.references_chosen_on);
        let (metric, reference) = (self.primary, &first.reference);
        let _ = writeln!(text, "\n{metric} against {reference}, {what} by {part}");
        let header = ["model", "difference", "interval", "p", "p (Holm)"].map(String::from);
        let cells = rows.iter().map(|row| {
            let model = self.model(&row.model);
            vec![
                model.map_or_else(|| row.model.clone(), name),
                format!("{:+.4}", row.difference),
                format!("{:+.4} .. {:+.4}", row.interval.low, row.interval.high),
                formatted_p(row.p_value),
                formatted_p(row.p_holm),
            ]
        });
        push_table(text, &table(header.to_vec(), cells));
    }
}

/// Rows under a header line; all columns but the first are aligned to the right.
pub(crate) fn table(header: Vec<String>, rows: impl Iterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    let n_columns = header.len();
    let line = presets::UTF8_HORIZONTAL_ONLY;
    table.load_style(line.row_separator(comfy_table::LineStyle::none()));
    table.force_no_tty().set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for index in 0..n_columns {
        if let Some(column) = table.column_mut(index) {
            column.set_padding((if index == 0 { 0 } else { 1 }, 0));
            column.set_cell_alignment(if index == 0 {
                CellAlignment::Left
            } else {
                CellAlignment::Right
            });
        }
    }
    table
}

pub(crate) fn push_table(text: &mut String, table: &Table) {
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

fn name(model: &ModelRow) -> String {
    clipped(&model.name, NAME_WIDTH) + if model.is_baseline { " *" } else { "" }
}

/// A name that fits; control characters, which would disturb the terminal, become blanks.
pub(super) fn clipped(name: &str, width: usize) -> String {
    let clean: String = name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if clean.chars().count() <= width {
        return clean;
    }
    clean.chars().take(width - 1).chain(['…']).collect()
}

fn value(model: &ModelRow, metric: Metric) -> String {
    let Some(row) = model.metric(metric) else { return "-".into() };
    let Some(mean) = row.mean else { return "-".into() };
    let mean = formatted(metric, mean);
    // Coverage and bias are beside the point of the table: their ± stands in the JSON.
    match row.interval {
        Some(interval) if crate::MetricKind::ACCURACY.contains(&metric.kind) => {
            format!("{}±{}", short(&mean), formatted_width(metric, interval))
        }
        _ => short(&mean),
    }
}

/// Without the zero before the point.
fn short(number: &str) -> String {
    if number.starts_with("0.") { number[1..].to_owned() } else { number.to_owned() }
}
