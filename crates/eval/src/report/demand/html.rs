//! The report as one HTML file: no script, no external resource, light and dark.

use std::fmt::Write as _;

use super::{DemandReport, DemandRow};
use crate::demand::{DemandMeasures, OFTEN, RECENT};
use crate::error::EvalError;
use crate::report::page::{self, cell, escaped};
use crate::report::{formatted_secs, palette};

impl DemandReport {
    /// The report as one self-contained page that can be mailed and opened without a network.
    ///
    /// # Errors
    /// [`EvalError::Render`] if a plot cannot be drawn.
    pub fn to_html(&self) -> Result<String, EvalError> {
        let mut page = page::begin(&self.title);
        if let Some(first) = self.rows.first() {
            let wape = first.measured.all.median_wape;
            let wape = wape.map_or_else(|| "–".into(), |wape| format!("{wape:.4}"));
            let _ = writeln!(
                page,
                "<p><b>{}</b> is nearest to what was sold: its medians are off by {wape} of the units.</p>",
                escaped(&first.model)
            );
        }
        page.push_str("<h2>Forecasts</h2>\n");
        self.push_rows(&mut page, |row| Some(&row.measured.all));
        let confidence = self.bootstrap.confidence * 100.0;
        let _ = writeln!(
            page,
            "<p class=\"soft\">WAPE is the sum of absolute errors over the sum of units sold, of the medians and of the means; bias is above \
             0 where the means are too high; pinball loss is the mean over the levels, in units a period; \"in\" is the share of periods \
             within the interval. ± is half of the {confidence} % bootstrap interval over items.</p>"
        );
        if self.rows.iter().any(|row| row.measured.often.is_some()) {
            let _ = writeln!(
                page,
                "<h3>Items that sold in {OFTEN} or more of the {RECENT} periods before</h3>"
            );
            self.push_rows(&mut page, |row| row.measured.often.as_ref());
        }
        page::push_gate(&mut page, self.gate.as_ref());
        page.push_str("<h2>Plots</h2>\n");
        let name = |index: usize| tagged(&self.rows[index]);
        palette::push_legend(&mut page, self.rows.len(), self.strongest(), name);
        page::push_plots(&mut page, &self.plots()?);
        page.push_str("<h2>Constants</h2>\n<dl>\n");
        for row in &self.rows {
            let (name, keys) = (tagged(row), escaped(&row.hyperparameters.to_string()));
            let _ = writeln!(page, "<dt>{name}</dt><dd><code>{keys}</code></dd>");
        }
        page.push_str("</dl>\n<h2>How it was measured</h2>\n");
        page::push_facts(&mut page, self.facts());
        page.push_str(
            "<p class=\"soft\">Before each period every forecast is made anew from the periods before it alone.</p>\n",
        );
        page::end(&mut page);
        Ok(page)
    }

    fn push_rows<'a>(
        &'a self,
        page: &mut String,
        measures: impl Fn(&'a DemandRow) -> Option<&'a DemandMeasures>,
    ) {
        let Some(first) = self.rows.first() else { return };
        page.push_str(
            "<div class=\"scroll\"><table>\n<thead><tr><th>forecast</th><th>WAPE</th><th>of means</th><th>bias</th><th>pinball</th>",
        );
        for coverage in &first.measured.all.coverages {
            let _ = write!(page, "<th>in {} %</th>", coverage.nominal * 100.0);
        }
        page.push_str("<th>s</th></tr></thead>\n<tbody>\n");
        for (place, row) in self.rows.iter().enumerate() {
            let Some(found) = measures(row) else { continue };
            let class = if place == 0 { " class=\"first\"" } else { "" };
            let _ = write!(
                page,
                "<tr{class}><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td>",
                tagged(row),
                cell(found.median_wape, found.median_wape_interval),
                cell(found.wape, found.wape_interval),
                found.bias.map_or_else(|| "–".into(), |bias| format!("{bias:+.3}")),
                cell(Some(found.pinball_loss), found.pinball_interval)
            );
            for coverage in &found.coverages {
                let _ = write!(page, "<td>{:.3}</td>", coverage.observed);
            }
            let secs = row.secs.map_or_else(|| "–".into(), formatted_secs);
            let _ = writeln!(page, "<td>{secs}</td></tr>");
        }
        page.push_str("</tbody></table></div>\n");
    }
}

fn tagged(row: &DemandRow) -> String {
    page::tagged(&row.model, row.is_baseline)
}
