//! The report as one HTML file: no script, no external resource, light and dark.

use std::fmt::Write as _;

use super::page::{self, escaped};
use super::palette;
use super::plots::{self, Plot};
use super::{
    ComparisonRow, MetricRow, ModelRow, Reference, Report, against, formatted, formatted_p,
    formatted_secs, formatted_width,
};
use crate::error::EvalError;

impl Report {
    /// The report as one self-contained page that can be mailed and opened without a network.
    ///
    /// # Errors
    /// [`EvalError::Render`] if a plot cannot be drawn.
    pub fn to_html(&self) -> Result<String, EvalError> {
        let plots = plots::all(self)?;
        let mut page = page::begin(&self.title);
        self.push_summary(&mut page);
        for leak in &self.leakage.leaks {
            let text = format!("Leak: {leak}. The numbers of this page cannot be trusted.");
            let _ = writeln!(page, "<p class=\"warn\">{}</p>", escaped(&text));
        }
        for warning in &self.warnings {
            let _ = writeln!(page, "<p class=\"warn\">{}</p>", escaped(warning));
        }
        page.push_str("<h2>Models</h2>\n");
        self.push_models(&mut page);
        page.push_str("<h2>Plots</h2>\n");
        self.push_plots(&mut page, &plots);
        self.push_slices(&mut page)?;
        self.push_comparisons(&mut page);
        page.push_str("<h2>Every metric</h2>\n");
        for model in &self.models {
            push_details(&mut page, model);
        }
        self.push_method(&mut page);
        page::end(&mut page);
        Ok(page)
    }

    fn push_summary(&self, page: &mut String) {
        let part = crate::options::part_name(self.part);
        let protocol = escaped(&self.protocol);
        let _ = writeln!(page, "<p class=\"soft\"><code>{protocol}</code>, {part} part</p>");
        let Some(first) = self.models.first() else { return };
        let Some(row) = first.metric(self.primary) else { return };
        let name = escaped(&first.name);
        let mut text = format!("<b>{name}</b> leads with {} {}", self.primary, cell(row));
        if let Some(found) = self.comparison(&first.name, Reference::StrongestBaseline) {
            let _ = write!(
                text,
                ", {:+.4} against the strongest baseline, {} (p = {} after Holm)",
                found.difference,
                escaped(&found.reference),
                escaped(&formatted_p(found.p_holm))
            );
        } else if first.is_baseline {
            text.push_str(". It is a baseline: nothing here beats it");
        }
        let _ = writeln!(page, "<p>{text}.</p>");
    }

    fn push_models(&self, page: &mut String) {
        let has_sd = self.models.iter().any(|model| model.seeds.len() > 1);
        // As many columns as a page has room for.
        let n_accuracy = if has_sd { 2 } else { 3 };
        let all = self.main_metrics();
        let metrics = [&all[..n_accuracy], &all[3..]].concat();
        let has_timing = self.models.iter().any(|model| model.timing.is_some());
        let has_signs = self.models.iter().any(|model| self.sign(&model.name).is_some());
        let has_bytes = self.models.iter().any(|model| model.model_bytes.is_some());
        page.push_str("<div class=\"scroll\"><table>\n<thead><tr><th>model</th>");
        if has_signs {
            page.push_str("<th>vs base</th>");
        }
        for (index, metric) in metrics.iter().enumerate() {
            let _ = write!(page, "<th>{}</th>", metric.to_string().replace("popularity_", ""));
            if index == 0 && has_sd {
                page.push_str("<th>sd</th>");
            }
        }
        if has_timing {
            page.push_str("<th>fit s</th><th>eval s</th><th>MB</th>");
        }
        if has_bytes {
            page.push_str("<th>file MB</th>");
        }
        page.push_str("</tr></thead>\n<tbody>\n");
        for (place, model) in self.models.iter().enumerate() {
            let class = if place == 0 { " class=\"first\"" } else { "" };
            let _ = write!(page, "<tr{class}><th scope=\"row\">{}</th>", tagged(model));
            if has_signs {
                let words = against::words(self.sign(&model.name));
                let _ = write!(page, "<td>{words}</td>");
            }
            for (index, metric) in metrics.iter().enumerate() {
                // Coverage and bias have their intervals below: the short table must fit a page.
                let short = if index < n_accuracy { cell } else { mean_cell };
                let value = model.metric(*metric).map_or_else(|| "–".into(), short);
                let _ = write!(page, "<td>{value}</td>");
                if index == 0 && has_sd {
                    let sd = model.metric(*metric).and_then(|row| row.sd_over_seeds);
                    let sd = sd.map_or_else(|| "–".into(), |sd| format!("{sd:.4}"));
                    let _ = write!(page, "<td>{sd}</td>");
                }
            }
            if let Some(timing) = &model.timing {
                let (fit, evaluate) =
                    (formatted_secs(timing.fit_secs), formatted_secs(timing.evaluate_secs));
                let mb = timing.memory_bytes as f64 / 1e6;
                let _ = write!(page, "<td>{fit}</td><td>{evaluate}</td><td>{mb:.0}</td>");
            } else if has_timing {
                page.push_str("<td>–</td><td>–</td><td>–</td>");
            }
            if has_bytes {
                let mb = model.model_bytes.map(|bytes| format!("{:.1}", bytes as f64 / 1e6));
                let _ = write!(page, "<td>{}</td>", mb.unwrap_or_else(|| "–".into()));
            }
            page.push_str("</tr>\n");
        }
        page.push_str("</tbody></table></div>\n");
        let confidence = self.bootstrap.confidence * 100.0;
        let _ = writeln!(
            page,
            "<p class=\"soft\">± is half of the {confidence} % bootstrap interval. Means are over \
             all seeds of a model, no seed is picked; sd is the spread over the seeds. Bias is that \
             of popularity. Better and worse: than the strongest baseline, by p after Holm's correction. MB is \
             the memory of fitting, file MB the size of the model.</p>"
        );
    }

    fn push_plots(&self, page: &mut String, plots: &[Plot]) {
        if plots.iter().any(|plot| plot.by_model) {
            self.push_legend(page);
        }
        page::push_plots(page, plots);
    }

    fn push_legend(&self, page: &mut String) {
        let name = |index: usize| tagged(&self.models[index]);
        palette::push_legend(page, self.models.len(), plots::strongest_baseline(self), name);
    }

    fn push_slices(&self, page: &mut String) -> Result<(), EvalError> {
        let Some(first) = self.slices.first() else { return Ok(()) };
        let _ = writeln!(
            page,
            "<h2>Where users and targets differ</h2>\n<p class=\"soft\">{} within each slice, with its \
             interval. A slice by target takes the targets that belong to it as all there is to find, at the \
             ranks that they have in the one list of the case.</p>",
            first.metric
        );
        self.push_legend(page);
        page::push_plots(page, &plots::slices(self)?);
        page.push_str("<details><summary>As a table</summary><div class=\"scroll\"><table>\n<thead><tr><th>slice</th><th>cases</th>");
        for model in &self.models {
            let _ = write!(page, "<th>{}</th>", escaped(&model.name));
        }
        page.push_str("</tr></thead>\n<tbody>\n");
        for slice in &self.slices {
            let (title, n) = (escaped(&slice.title()), super::grouped(slice.n_cases));
            let _ = write!(page, "<tr><th scope=\"row\">{title}</th><td>{n}</td>");
            for model in &self.models {
                let value = slice.values.iter().find(|value| value.model == model.name);
                let value = value.map_or_else(
                    || "–".into(),
                    |value| {
                        let width = formatted_width(slice.metric, value.interval);
                        let mean = formatted(slice.metric, value.mean);
                        format!("{mean} <span class=\"pm\">±{width}</span>")
                    },
                );
                let _ = write!(page, "<td>{value}</td>");
            }
            page.push_str("</tr>\n");
        }
        page.push_str("</tbody></table></div></details>\n");
        Ok(())
    }

    fn push_comparisons(&self, page: &mut String) {
        if self.comparisons.is_empty() {
            return;
        }
        let part = crate::options::part_name(self.references_chosen_on);
        let _ = writeln!(
            page,
            "<h2>Is the difference real?</h2>\n<p>Paired bootstrap of {} on the same cases; \
             references picked by the {part} part. p is two-sided; Holm corrects for all \
             comparisons with one reference.</p>",
            self.primary
        );
        page.push_str(
            "<div class=\"scroll\"><table>\n<thead><tr><th>model</th><th>against</th>\
             <th>difference</th><th>interval</th><th>p</th><th>p (Holm)</th></tr></thead>\n<tbody>\n",
        );
        let is_one = self.has_one_reference();
        for row in &self.comparisons {
            let against = match row.against {
                Reference::Best if is_one => "best, a baseline",
                Reference::StrongestBaseline if is_one => continue,
                Reference::Best => "best",
                Reference::StrongestBaseline => "strongest baseline",
            };
            push_comparison(page, row, against);
        }
        page.push_str("</tbody></table></div>\n");
        if let Some(gate) = &self.gate {
            for line in gate.lines() {
                let _ = writeln!(page, "<p>{}</p>", escaped(line.trim_start()));
            }
        }
    }

    fn push_method(&self, page: &mut String) {
        page.push_str("<h2>How it was measured</h2>\n");
        let readings = self.test_readings.join(", ");
        let readings = (!readings.is_empty()).then_some(("test readings", readings));
        let notes = self.leakage.notes.iter().map(|note| ("noted", note.clone()));
        page::push_facts(page, self.facts().into_iter().chain(readings).chain(notes));
        page.push_str(
            "<p class=\"soft\">Every item of the catalog competes; no negatives are sampled. The \
             rank of a target is 1 + the number of items with a higher score + half of those with \
             an equal one, so a model that scores everything alike earns nothing. A target \
             that lists leave out as seen is a miss. Coverage, Gini, overlap, diversity, novelty and popularity look at the lists alone: \
             bias above 0 means that lists are more popular than what the same users chose before, overlap is \
             the share of a list that another user sees too, diversity the mean distance of two items of a list \
             by who chose them in training.</p>\n",
        );
    }
}

fn push_comparison(page: &mut String, row: &ComparisonRow, against: &str) {
    let _ = writeln!(
        page,
        "<tr><th scope=\"row\">{}</th><td>{} <span class=\"pm\">({against})</span></td>\
         <td>{:+.4}</td><td>{:+.4} … {:+.4}</td><td>{}</td><td>{}</td></tr>",
        escaped(&row.model),
        escaped(&row.reference),
        row.difference,
        row.interval.low,
        row.interval.high,
        escaped(&formatted_p(row.p_value)),
        escaped(&formatted_p(row.p_holm))
    );
}

fn push_details(page: &mut String, model: &ModelRow) {
    let _ = writeln!(page, "<details><summary>{}</summary>", tagged(model));
    let seeds: Vec<String> = model.seeds.iter().map(u64::to_string).collect();
    let seeds = if seeds.is_empty() { "none needed".into() } else { seeds.join(", ") };
    let ties = model.tie_share * 100.0;
    let _ = writeln!(
        page,
        "<p class=\"soft\">seeds: {seeds}; tied targets: {ties:.2} %; hyperparameters: \
         <code>{}</code></p>",
        escaped(&model.hyperparameters.to_string())
    );
    page.push_str(
        "<div class=\"scroll\"><table>\n<thead><tr><th>metric</th><th>mean</th><th>low</th>\
         <th>high</th><th>sd over seeds</th></tr></thead>\n<tbody>\n",
    );
    for row in &model.metrics {
        let value = |value: Option<f64>| {
            value.map_or_else(|| "–".into(), |value| formatted(row.metric, value))
        };
        let _ = writeln!(
            page,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            row.metric,
            value(row.mean),
            value(row.interval.map(|interval| interval.low)),
            value(row.interval.map(|interval| interval.high)),
            value(row.sd_over_seeds)
        );
    }
    page.push_str("</tbody></table></div></details>\n");
}

/// The model's name, marked if it is a baseline.
fn tagged(model: &ModelRow) -> String {
    page::tagged(&model.name, model.is_baseline)
}

fn cell(row: &MetricRow) -> String {
    let Some(mean) = row.mean else { return "–".into() };
    let mean = formatted(row.metric, mean);
    row.interval.map_or(mean.clone(), |interval| {
        format!("{mean} <span class=\"pm\">±{}</span>", formatted_width(row.metric, interval))
    })
}

fn mean_cell(row: &MetricRow) -> String {
    row.mean.map_or_else(|| "–".into(), |mean| formatted(row.metric, mean))
}
