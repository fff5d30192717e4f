//! The report as one HTML file.

use std::fmt::Write as _;

use super::plots;
use super::{ScalingReport, StepAxis, table};
use crate::error::EvalError;
use crate::report::page::{self, escaped};

impl ScalingReport {
    /// The report as one self-contained page that can be mailed and opened without a network.
    ///
    /// # Errors
    /// [`EvalError::Render`] if a plot cannot be drawn.
    pub fn to_html(&self) -> Result<String, EvalError> {
        let mut page = page::begin(&self.title);
        if let Some(day) = &self.day {
            for line in day.lines() {
                let _ = writeln!(page, "<p>{}</p>", escaped(&line));
            }
        }
        if !self.trainings.is_empty() {
            self.push_trainings(&mut page)?;
        }
        if !self.steps.is_empty() {
            self.push_steps(&mut page)?;
        }
        if !self.laws.is_empty() {
            page.push_str("<h2>Laws</h2>\n");
            push_rows(&mut page, &table::law_header(), self.laws.iter().map(table::law));
            page.push_str(
                "<p class=\"soft\">y = factor · x^exponent, by least squares in logarithms over the \
                 range given; outside of it the law is a guess. \"Last two\" is the slope between the two \
                 largest sizes: where it differs, the curve bends and the exponent is an average.</p>\n",
            );
        }
        page.push_str("<h2>How it was measured</h2>\n");
        page::push_facts(&mut page, self.facts());
        page.push_str(
            "<p class=\"soft\">Operations are counted by the definition of the model: products of \
             layers, attention and the loss, forward and twice backward. Norms, exponentials, \
             lookups and the optimizer are not counted. Steps run on generated batches of 128 \
             sequences, each size in a process of its own; memory is what training adds to it.</p>\n",
        );
        page::end(&mut page);
        Ok(page)
    }

    fn push_trainings(&self, page: &mut String) -> Result<(), EvalError> {
        page.push_str("<h2>Loss and accuracy against compute</h2>\n");
        let rows = self.trainings.iter().map(table::training);
        push_rows(page, &table::training_header(), rows);
        let longest = table::longest(&self.trainings).unwrap_or_default();
        let _ = writeln!(
            page,
            "<p class=\"soft\">FLOP and losses are those of the epoch that validation chose, seconds \
             and speed those of the whole training; the longest took {longest}. Loss is the \
             cross-entropy in nats: of training with dropout, of validation without. The test part \
             was not read.</p>"
        );
        page::push_legend(page, self.trainings.iter().map(|size| escaped(&size.name)));
        page::push_plots(page, &plots::of_trainings(self)?);
        Ok(())
    }

    fn push_steps(&self, page: &mut String) -> Result<(), EvalError> {
        page.push_str("<h2>Time and memory of a training step</h2>\n");
        let name = |(row, about): &(&str, &str)| {
            format!("{} <span class=\"pm\">{}</span>", escaped(row), escaped(about))
        };
        page::push_legend(page, plots::rows(self).iter().map(name));
        let mut all = Vec::new();
        for axis in StepAxis::ALL {
            if self.steps.iter().any(|curve| curve.axis == axis) {
                all.extend(plots::of_steps(self, axis)?);
            }
        }
        page::push_plots(page, &all);
        page.push_str("<details><summary>Every step</summary>\n");
        push_rows(page, &table::step_header(), self.steps.iter().flat_map(table::step_rows));
        page.push_str("</details>\n");
        Ok(())
    }
}

fn push_rows(page: &mut String, header: &[String], rows: impl Iterator<Item = Vec<String>>) {
    page.push_str("<div class=\"scroll\"><table>\n<thead><tr>");
    for name in header {
        let _ = write!(page, "<th>{}</th>", escaped(name));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        page.push_str("<tr>");
        for (column, cell) in row.iter().enumerate() {
            let cell = escaped(cell);
            let _ = match column {
                0 => write!(page, "<th scope=\"row\">{cell}</th>"),
                _ => write!(page, "<td>{cell}</td>"),
            };
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table></div>\n");
}
