//! The report for a terminal.

use std::fmt::Write as _;

use super::{DemandReport, DemandRow};
use crate::bootstrap::Interval;
use crate::demand::{DemandMeasures, OFTEN, RECENT};
use crate::report::formatted_secs;
use crate::report::table::{clipped, push_table, table};

/// Longest name that is shown whole.
const NAME_WIDTH: usize = 24;

impl DemandReport {
    /// The report for a terminal, without color, ending with a line break.
    pub fn table(&self) -> String {
        let mut text = String::new();
        self.print_rows(&mut text, |row| Some(&row.measured.all));
        text.push_str(
            "* baseline; WAPE is of the medians; ± half of the interval; in ..: share of periods within the interval\n",
        );
        if self.rows.iter().any(|row| row.measured.often.is_some()) {
            let _ = writeln!(
                text,
                "\nof these, items that sold in {OFTEN} or more of the {RECENT} periods before:"
            );
            self.print_rows(&mut text, |row| row.measured.often.as_ref());
        }
        if let Some(gate) = &self.gate {
            text.push('\n');
            gate.lines().into_iter().for_each(|line| text.push_str(&(line + "\n")));
        }
        text.push('\n');
        for (name, fact) in self.facts() {
            let _ = writeln!(text, "{name:<13} {fact}");
        }
        text
    }

    fn print_rows<'a>(
        &'a self,
        text: &mut String,
        measures: impl Fn(&'a DemandRow) -> Option<&'a DemandMeasures>,
    ) {
        let Some(first) = self.rows.first() else { return };
        let mut header =
            ["forecast", "WAPE", "of means", "bias", "pinball"].map(str::to_owned).to_vec();
        let shares = first.measured.all.coverages.iter();
        header.extend(shares.map(|coverage| format!("in {} %", coverage.nominal * 100.0)));
        header.push("s".into());
        let rows = self.rows.iter().filter_map(|row| {
            let found = measures(row)?;
            let number =
                |value: Option<f64>| value.map_or_else(|| "-".into(), |x| format!("{x:.4}"));
            let mut cells = vec![
                clipped(&row.model, NAME_WIDTH) + if row.is_baseline { " *" } else { "" },
                with_interval(found.median_wape, found.median_wape_interval),
                number(found.wape),
                found.bias.map_or_else(|| "-".to_owned(), |bias| format!("{bias:+.3}")),
                with_interval(Some(found.pinball_loss), found.pinball_interval),
            ];
            cells.extend(found.coverages.iter().map(|own| format!("{:.3}", own.observed)));
            cells.push(row.secs.map_or_else(|| "-".into(), formatted_secs));
            Some(cells)
        });
        push_table(text, &table(header, rows));
    }
}

fn with_interval(value: Option<f64>, interval: Option<Interval>) -> String {
    match (value, interval) {
        (Some(value), Some(interval)) => format!("{value:.4}±{:.4}", interval.half_width()),
        (Some(value), None) => format!("{value:.4}"),
        (None, _) => "-".to_owned(),
    }
}
