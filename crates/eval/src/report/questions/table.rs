//! The report for a terminal.

use std::fmt::Write as _;

use super::{CEILING, QuestionReport, QuestionRow};
use crate::intents::WithInterval;
use crate::questions::{QuestionMeasures, QuestionMetric};
use crate::report::table::{clipped, push_table, table};
use crate::report::{formatted_secs, grouped};

/// Longest name that is shown whole.
const NAME_WIDTH: usize = 32;

impl QuestionReport {
    /// The report for a terminal, without color, ending with a line break.
    pub fn table(&self) -> String {
        let mut text = String::new();
        if let Some(gate) = &self.gate {
            gate.lines().into_iter().for_each(|line| text.push_str(&(line + "\n")));
        }
        self.print_models(&mut text);
        if let Some(leader) = self.leader() {
            self.print_against(&mut text, leader);
            let _ = writeln!(text, "\nof {}:", clipped(&leader.model, NAME_WIDTH));
            print_reliability(&mut text, &leader.measured);
            if let Some(found) = &leader.deletion {
                let [p, without, random] =
                    [found.probability, found.without_named, found.without_random]
                        .map(|own| sure(Some(own)));
                let _ = writeln!(
                    text,
                    "\nexplanations of {} moments name {:.2} behaviors: mean probability {p}, without them {without}, without as many others {random}",
                    grouped(found.n_moments),
                    found.mean_named
                );
            }
            text.push('\n');
            self.print_intents(&mut text, &leader.measured);
        }
        text.push('\n');
        for (name, fact) in self.facts() {
            let _ = writeln!(text, "{name:<13} {fact}");
        }
        text
    }

    fn print_models(&self, text: &mut String) {
        let has_seeds = self.rows.iter().any(|row| row.seeds.len() > 1);
        let mut header = ["model", "vs", "top-3", "top-1", "log loss", "ECE", "by chance"]
            .map(str::to_owned)
            .to_vec();
        header.extend(has_seeds.then(|| "sd of loss".to_owned()));
        header.extend(self.ceiling.is_some().then(|| "of ceiling".to_owned()));
        header.push("fit s".into());
        let ceiling = self.ceiling.iter().map(|own| {
            let mut cells = vec![CEILING.to_owned(), String::new()];
            cells.extend(measures(own));
            cells.resize(cells.len() + 2 + usize::from(has_seeds), "-".to_owned());
            cells
        });
        let rows = self.rows.iter().map(|row| {
            let star = if row.is_baseline { " *" } else { "" };
            let sign = self.sign(&row.model).map_or_else(String::new, String::from);
            let mut cells = vec![clipped(&row.model, NAME_WIDTH) + star, sign];
            cells.extend(measures(&row.measured));
            let sd = row.measured.log_loss.sd_over_seeds;
            let sd = sd.map_or_else(|| "-".to_owned(), |sd| format!("{sd:.5}"));
            cells.extend(has_seeds.then_some(sd));
            cells.extend(self.ceiling.is_some().then(|| sure(row.share_of_ceiling)));
            cells.push(row.fit_secs.map_or_else(|| "-".into(), formatted_secs));
            cells
        });
        push_table(text, &table(header, ceiling.chain(rows)));
        let confidence = self.bootstrap.confidence * 100.0;
        let _ = writeln!(
            text,
            "* baseline; ± half of the {confidence} % interval over users; log loss and ECE over moments and intents"
        );
        if let Some(baseline) = self.strongest_baseline() {
            let _ = writeln!(
                text,
                "vs: log loss better (+) or worse (-) than that of {}, or no difference (=), by p (Holm)",
                clipped(&baseline.model, NAME_WIDTH)
            );
        }
    }

    /// What `row` has more than the strongest baseline.
    fn print_against(&self, text: &mut String, row: &QuestionRow) {
        let Some(baseline) = self.strongest_baseline() else { return };
        let found = QuestionMetric::ALL.iter().filter_map(|metric| {
            let (name, digits) = match metric {
                QuestionMetric::Top1 => ("top-1", 4),
                QuestionMetric::Top3 => ("top-3", 4),
                QuestionMetric::LogLoss => ("log loss", 5),
            };
            let found = row.against(&baseline.model, *metric)?;
            let [difference, low, high] =
                [found.difference, found.interval.low, found.interval.high];
            Some(format!("{name} {difference:+.digits$} ({low:+.digits$} to {high:+.digits$})"))
        });
        let found: Vec<String> = found.collect();
        if !found.is_empty() {
            let names = [&row.model, &baseline.model].map(|name| clipped(name, NAME_WIDTH));
            let _ = writeln!(text, "\n{} against {}: {}", names[0], names[1], found.join(", "));
        }
    }

    fn print_intents(&self, text: &mut String, measured: &QuestionMeasures) {
        let header = ["intent", "asked", "rate", "mean probability", "AUC", "average precision"];
        let rows = self.source.intents.iter().zip(&measured.intents).map(|(name, own)| {
            let or_none = |value: Option<f64>| {
                value.map_or_else(|| "-".to_owned(), |own| format!("{own:.4}"))
            };
            vec![
                clipped(name, NAME_WIDTH),
                grouped(own.n_asked),
                format!("{:.4}", own.rate),
                format!("{:.4}", own.mean_probability),
                or_none(own.auc),
                or_none(own.average_precision),
            ]
        });
        push_table(text, &table(header.map(str::to_owned).to_vec(), rows));
    }
}

fn print_reliability(text: &mut String, measured: &QuestionMeasures) {
    let header = ["probability", "mean", "came true", "interval", "moments x intents"];
    let rows = measured.reliability.iter().map(|bin| {
        vec![
            format!("{:.4} to {:.4}", bin.lowest, bin.highest),
            format!("{:.4}", bin.mean_probability),
            format!("{:.4}", bin.observed_rate),
            format!("{:.4} to {:.4}", bin.interval.low, bin.interval.high),
            grouped(bin.n_rows as u64),
        ]
    });
    push_table(text, &table(header.map(str::to_owned).to_vec(), rows));
}

/// From the hit rates to what the calibration error is by chance.
fn measures(own: &QuestionMeasures) -> [String; 5] {
    let WithInterval { value, interval, .. } = own.log_loss;
    [
        sure(own.top_3),
        sure(own.top_1),
        format!("{value:.5}±{:.5}", interval.half_width()),
        sure(Some(own.ece)),
        format!("{:.4}", own.noise_floor.mean),
    ]
}

fn sure(value: Option<WithInterval>) -> String {
    value.map_or_else(
        || "-".into(),
        |own| format!("{:.4}±{:.4}", own.value, own.interval.half_width()),
    )
}
