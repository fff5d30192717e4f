//! The report for a terminal.

use std::fmt::Write as _;

use super::{IntentReport, IntentRow, MAJORITY, PRIMARY};
use crate::intents::{RatesFrom, WithInterval};
use crate::report::formatted_secs;
use crate::report::table::{clipped, push_table, table};

/// Longest model name that is shown whole.
const NAME_WIDTH: usize = 24;

/// Pairs of confused intents that are shown; the JSON and the page have more.
const N_PAIRS: usize = 8;

impl IntentReport {
    /// The report for a terminal, without color, ending with a line break.
    pub fn table(&self) -> String {
        let mut text = String::new();
        self.print_models(&mut text);
        self.print_rates_from(&mut text);
        if let Some(best) = self.rows.iter().find(|row| row.model != MAJORITY) {
            print_risks(&mut text, best);
            print_confusions(&mut text, best);
        }
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
        let has_seeds = self.rows.iter().any(|row| row.seeds.len() > 1);
        let mut header = ["model", "vs", "accuracy"].map(str::to_owned).to_vec();
        if has_seeds {
            header.push("sd".into());
        }
        header.extend(["macro-F1", "ECE", "answered", "right", "risk"].map(str::to_owned));
        if self.has_strangers() {
            header.extend(["refused", "false alarms"].map(str::to_owned));
        }
        header.extend(["fit s", "us p50 / p99"].map(str::to_owned));
        let rows = self.rows.iter().map(|row| {
            let measured = &row.measured;
            let sign = self.sign(&row.model).map_or_else(String::new, String::from);
            let mut cells = vec![name(row), sign, value(measured.accuracy)];
            if has_seeds {
                cells.push(measured.accuracy.sd_over_seeds.map_or_else(|| "-".into(), short));
            }
            cells.extend([
                value(measured.macro_f1),
                short(measured.ece),
                short(measured.rates.coverage),
                measured.rates.answered_precision.map_or_else(|| "-".into(), short),
                short(measured.area_under_risk),
            ]);
            if self.has_strangers() {
                let refused = measured.rates.out_of_scope_recall;
                cells.push(refused.map_or_else(|| "-".into(), short));
                cells.push(short(measured.rates.false_alarm_rate));
            }
            cells.push(row.fit_secs.map_or_else(|| "-".into(), formatted_secs));
            let micros = row.classify_micros;
            cells.push(micros.map_or_else(|| "-".into(), |[a, b]| format!("{a:.0} / {b:.0}")));
            cells
        });
        push_table(text, &table(header, rows));
        let confidence = self.bootstrap.confidence * 100.0;
        let strangers = match self.has_strangers() {
            true => {
                "; refused: of texts out of scope; false alarms: texts in scope without an answer"
            }
            false => "",
        };
        let _ = writeln!(
            text,
            "* baseline; ± half of the {confidence} % interval; right: of the answers; risk: mean share of wrong answers over all \
             coverages{strangers}"
        );
        if let Some(baseline) = self.strongest_baseline(PRIMARY) {
            let _ = writeln!(
                text,
                "vs: accuracy better (+) or worse (-) than that of {}, or no difference (=), by p (Holm)",
                clipped(&baseline.model, NAME_WIDTH)
            );
        }
    }

    /// What comes of answering by a probability, where that was asked.
    fn print_rates_from(&self, text: &mut String) {
        let from = |row: &IntentRow| row.measured.rates_from;
        let Some(RatesFrom { min_confidence, .. }) = self.rows.first().and_then(from) else {
            return;
        };
        let _ = writeln!(text, "\nif texts are answered from a probability of {min_confidence} on");
        let mut header = vec!["model", "in-scope accuracy", "false alarms", "answered", "right"];
        header.extend(self.has_strangers().then_some("refused"));
        let header = header.into_iter().map(str::to_owned).collect();
        let rows = self.rows.iter().filter_map(|row| {
            let rates = from(row)?.rates;
            let or_none = |share: Option<f64>| share.map_or_else(|| "-".into(), short);
            let mut cells = vec![
                name(row),
                short(rates.in_scope_accuracy),
                short(rates.false_alarm_rate),
                short(rates.coverage),
                or_none(rates.answered_precision),
            ];
            cells.extend(self.has_strangers().then(|| or_none(rates.out_of_scope_recall)));
            Some(cells)
        });
        push_table(text, &table(header, rows));
    }
}

fn print_risks(text: &mut String, best: &IntentRow) {
    let points = best.measured.risk_curve.iter().filter(|point| point.coverage >= 0.49).step_by(2);
    let points: Vec<String> = points
        .map(|point| format!("{:.0} %: {}", 100.0 * point.coverage, short(point.risk)))
        .collect();
    let _ = writeln!(
        text,
        "\nshare of wrong answers of {} by coverage: {}",
        clipped(&best.model, NAME_WIDTH),
        points.join(", ")
    );
}

fn print_confusions(text: &mut String, best: &IntentRow) {
    if best.confusions.is_empty() {
        return;
    }
    let header = ["asked", "taken for", "texts", "for example"].map(str::to_owned);
    let rows = best.confusions.iter().take(N_PAIRS).map(|pair| {
        let example = pair.examples.first().map_or("", |example| &example.text);
        vec![
            clipped(&pair.asked, 32),
            clipped(&pair.found, 32),
            pair.n_texts.to_string(),
            clipped(example, 56),
        ]
    });
    push_table(text, &table(header.to_vec(), rows));
}

fn name(row: &IntentRow) -> String {
    clipped(&row.model, NAME_WIDTH) + if row.is_baseline { " *" } else { "" }
}

fn value(value: WithInterval) -> String {
    format!("{}±{}", short(value.value), short(value.interval.half_width()))
}

/// Four decimals without the zero before the point.
fn short(value: f64) -> String {
    let text = format!("{value:.4}");
    text.strip_prefix('0').map_or_else(|| text.clone(), str::to_owned)
}
