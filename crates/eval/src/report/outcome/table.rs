//! The report for a terminal.

use std::fmt::Write as _;

use super::{MAIN, OutcomeReport, OutcomeRow, title};
use crate::bootstrap::Interval;
use crate::probability::ProbabilityMetric;
use crate::report::formatted_secs;
use crate::report::table::{clipped, push_table, table};

/// Longest model name that is shown whole.
const NAME_WIDTH: usize = 24;

/// Alarms that are shown; the JSON and the page have them all.
const N_ALARMS: usize = 8;

impl OutcomeReport {
    /// The report for a terminal, without color, ending with a line break.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for leak in &self.leakage.leaks {
            let _ = writeln!(text, "LEAK  {leak}");
        }
        for note in &self.leakage.notes {
            let _ = writeln!(text, "note: {note}");
        }
        self.print_models(&mut text);
        self.print_fold_means(&mut text);
        for further in &self.further {
            let _ = writeln!(text, "\n{}, {}", further.source.task, further.counts());
            further.print_models(&mut text);
        }
        for left_out in &self.left_out {
            let _ = writeln!(text, "left out: {}", left_out.reason);
        }
        self.print_alarms(&mut text);
        if let Some(gate) = &self.gate {
            gate.lines().into_iter().for_each(|line| text.push_str(&(line + "\n")));
        }
        text.push('\n');
        for (name, fact) in self.facts() {
            let _ = writeln!(text, "{name:<13} {fact}");
        }
        text
    }

    fn print_models(&self, text: &mut String) {
        let mut header = vec!["model".to_owned(), "vs".to_owned()];
        header.extend(MAIN.map(|metric| title(metric).to_owned()));
        header.extend(["calibrated", "fit s", "KB"].map(str::to_owned));
        let rows = self.rows.iter().map(|row| {
            let mut cells = vec![name(row)];
            cells.push(self.sign(&row.model).map_or_else(String::new, String::from));
            cells.extend(MAIN.map(|metric| value(row, metric)));
            cells.push(match row.measured.reaches_noise_floor() {
                true => "yes".to_owned(),
                false => format!("no, floor {}", short(row.measured.noise_floor.mean)),
            });
            cells.push(row.fit_secs.map_or_else(|| "-".into(), formatted_secs));
            cells.push(format!("{:.1}", row.learned_bytes as f64 / 1e3));
            cells
        });
        push_table(text, &table(header, rows));
        let confidence = self.bootstrap.confidence * 100.0;
        let _ = writeln!(
            text,
            "* baseline; constant: the share of positive training rows, for every row; ± half of the {confidence} % interval"
        );
        if let Some(baseline) = self.strongest_baseline(super::PRIMARY) {
            let _ = writeln!(
                text,
                "vs: log loss better (+) or worse (-) than that of {}, or no difference (=), by p (Holm)",
                clipped(&baseline.model, NAME_WIDTH)
            );
        }
    }

    fn print_fold_means(&self, text: &mut String) {
        let rows = || self.rows.iter().filter(|row| !row.fold_means.is_empty());
        let Some(first) = rows().next() else { return };
        let mut header = vec!["mean over folds".to_owned()];
        header.extend(first.fold_means.iter().map(|(metric, _)| title(*metric).to_owned()));
        let cells = rows().map(|row| {
            let means = row.fold_means.iter().map(|(_, value)| short(*value));
            std::iter::once(name(row)).chain(means).collect()
        });
        text.push('\n');
        push_table(text, &table(header, cells));
    }

    /// Where the leading model's probabilities are off on average.
    fn print_alarms(&self, text: &mut String) {
        let Some(leader) = self.rows.iter().find(|row| !row.segments.is_empty()) else { return };
        let n_segments: usize = leader.segments.iter().map(|column| column.segments.len()).sum();
        let alarms: Vec<_> = leader.alarms().collect();
        let model = clipped(&leader.model, NAME_WIDTH);
        let _ = writeln!(
            text,
            "\nof {n_segments} segments, {} of {model} are off by more than chance",
            alarms.len()
        );
        if alarms.is_empty() {
            return;
        }
        let header = ["segment", "rows", "predicted", "observed", "p (Holm)"].map(str::to_owned);
        let rows = alarms.iter().take(N_ALARMS).map(|(column, segment)| {
            vec![
                clipped(&format!("{column} = {}", segment.name), 40),
                super::grouped(segment.n_rows as u64),
                short(segment.mean_probability),
                short(segment.base_rate),
                crate::report::formatted_p(segment.offset.corrected_p_value),
            ]
        });
        push_table(text, &table(header.to_vec(), rows));
        if alarms.len() > N_ALARMS {
            let _ = writeln!(text, "and {} others; see the report", alarms.len() - N_ALARMS);
        }
    }
}

fn name(row: &OutcomeRow) -> String {
    clipped(&row.model, NAME_WIDTH) + if row.is_baseline { " *" } else { "" }
}

fn value(row: &OutcomeRow, metric: ProbabilityMetric) -> String {
    let Some(value) = row.measured.value(metric) else { return "-".into() };
    let interval = row.measured.interval(metric);
    short(value)
        + &interval.map_or_else(String::new, |interval: Interval| {
            format!("±{}", short(interval.half_width()))
        })
}

/// Four decimals without the zero before the point.
fn short(value: f64) -> String {
    let text = format!("{value:.4}");
    text.strip_prefix('0').map_or_else(|| text.clone(), str::to_owned)
}
