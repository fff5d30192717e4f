//! The report for a terminal.

use std::fmt::Write as _;

use super::laws::Day;
use super::{Law, ScalingReport, StepCurve, StepPoint, Training, duration, short};
use crate::report::table::{push_table, table};

impl ScalingReport {
    /// The report for a terminal: trainings, steps, laws, and what a day is enough for; without color, ending with a line
    /// break.
    pub fn table(&self) -> String {
        let mut text = format!("{}\n", self.title);
        if !self.trainings.is_empty() {
            text.push_str("\nTrainings\n");
            push_table(&mut text, &table(training_header(), self.trainings.iter().map(training)));
        }
        if !self.steps.is_empty() {
            text.push_str("\nOne training step, median\n");
            push_table(&mut text, &table(step_header(), self.steps.iter().flat_map(step_rows)));
        }
        if !self.laws.is_empty() {
            text.push_str("\ny = factor · x^exponent\n");
            push_table(&mut text, &table(law_header(), self.laws.iter().map(law)));
        }
        if let Some(day) = &self.day {
            text.push('\n');
            for line in day.lines() {
                let _ = writeln!(text, "{line}");
            }
        }
        text.push('\n');
        for (name, fact) in self.facts() {
            let _ = writeln!(text, "{name:<8} {fact}");
        }
        text
    }
}

impl Day {
    /// In words, with how far beyond what was measured each figure lies.
    pub(super) fn lines(&self) -> Vec<String> {
        let times = |value: f64, measured: f64| format!("{} times", short(value / measured));
        let mut lines = vec![format!(
            "A day of this machine is {}, at the {} of its fastest training.",
            with_unit(self.flop, "FLOP"),
            with_unit(self.flop_per_sec, "FLOP/s")
        )];
        if let Some(d_model) = self.d_model {
            lines.push(format!(
                "Extrapolated: on this data one training passes a day at d_model {}, {} the largest measured.",
                short(d_model),
                times(d_model, self.d_model_measured.into())
            ));
        }
        lines.push(format!(
            "Extrapolated: at the largest size it passes a day at {} events to learn from, {} what was measured.",
            short(self.n_events),
            times(self.n_events, self.n_events_measured as f64)
        ));
        lines.push("Beyond that, a GPU is needed to train within a day.".into());
        lines
    }
}

/// `4.97 PFLOP`.
fn with_unit(value: f64, unit: &str) -> String {
    let number = short(value);
    let digits = number.trim_end_matches(char::is_alphabetic);
    format!("{digits} {}{unit}", &number[digits.len()..])
}

fn strings<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(String::from).to_vec()
}

pub(super) fn training_header() -> Vec<String> {
    strings(["size", "weights", "epochs", "FLOP", "s", "FLOP/s", "loss", "val. loss", "NDCG@10"])
}

/// One row of the table of trainings: of the epoch that was kept, but for the seconds and the speed, which are those of the
/// whole training.
pub(super) fn training(size: &Training) -> Vec<String> {
    let chosen = size.chosen();
    let n_epochs = size.points.len();
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".into());
    let ndcg = chosen.and_then(|point| point.validation_ndcg_at_10);
    vec![
        size.name.clone(),
        short(size.n_parameters as f64),
        format!("{} of {n_epochs}", size.chosen_epoch),
        or_dash(chosen.map(|point| short(point.flop))),
        crate::report::formatted_secs(size.secs),
        or_dash(size.flop_per_sec().map(short)),
        or_dash(chosen.map(|point| format!("{:.3}", point.train_loss))),
        format!("{:.3}", size.validation_loss),
        or_dash(ndcg.map(|ndcg| format!("{ndcg:.4}"))),
    ]
}

pub(super) fn step_header() -> Vec<String> {
    strings(["step", "by", "size", "ms", "MB", "FLOP", "FLOP/s"])
}

pub(super) fn step_rows(curve: &StepCurve) -> impl Iterator<Item = Vec<String>> {
    curve.points.iter().enumerate().map(|(place, point)| {
        let StepPoint { size, step_ms, memory_bytes, flop } = *point;
        let once = |text: &str| if place == 0 { text.to_owned() } else { String::new() };
        let memory = memory_bytes.map(|bytes| format!("{:.1}", bytes as f64 / 1e6));
        vec![
            once(&curve.row),
            once(curve.axis.name()),
            crate::report::grouped(size),
            format!("{step_ms:.2}"),
            memory.unwrap_or_else(|| "-".into()),
            short(flop),
            short(flop / (step_ms / 1e3)),
        ]
    })
}

pub(super) fn law_header() -> Vec<String> {
    strings(["y", "x", "of", "exponent", "last two", "R²", "fitted on"])
}

pub(super) fn law(law: &Law) -> Vec<String> {
    let found = &law.law;
    vec![
        law.y.clone(),
        law.x.clone(),
        law.of.clone(),
        format!("{:+.3}", found.exponent),
        format!("{:+.3}", found.last_exponent),
        format!("{:.3}", found.r_squared),
        format!("{} to {}, {} points", short(found.from), short(found.to), found.n_points),
    ]
}

/// Seconds of the longest training, in words.
pub(super) fn longest(trainings: &[Training]) -> Option<String> {
    trainings.iter().map(|size| size.secs).max_by(f64::total_cmp).map(duration)
}
