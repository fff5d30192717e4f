//! The report as one HTML file: no script, no external resource, light and dark.

use std::fmt::Write as _;

use super::{IntentReport, IntentRow, MAJORITY, PRIMARY};
use crate::error::EvalError;
use crate::intents::{AnswerRates, IntentMetric, RatesFrom, WithInterval};
use crate::report::page::{self, cell, escaped};
use crate::report::{against, formatted_p, formatted_secs, palette};

impl IntentReport {
    /// The report as one self-contained page that can be mailed and opened without a network.
    ///
    /// # Errors
    /// [`EvalError::Render`] if a plot cannot be drawn.
    pub fn to_html(&self) -> Result<String, EvalError> {
        let mut page = page::begin(&self.title);
        self.push_summary(&mut page);
        page.push_str("<h2>Models</h2>\n");
        self.push_models(&mut page);
        page::push_plots(&mut page, &self.values_plots()?);
        page.push_str("<h2>When do the models answer?</h2>\n");
        self.push_answers(&mut page)?;
        page.push_str("<h2>Are probabilities as large as what is right?</h2>\n");
        page.push_str(
            "<p class=\"soft\">Of texts that ask for an intent, the probability of the most probable one. Points on the line are right; each has \
             the interval of the observed share.</p>\n",
        );
        page::push_plots(&mut page, &self.reliability_plots()?);
        self.push_comparisons(&mut page);
        self.push_confusions(&mut page);
        page.push_str("<h2>Every intent</h2>\n");
        self.rows.iter().for_each(|row| self.push_details(&mut page, row));
        page.push_str("<h2>How it was measured</h2>\n");
        page::push_facts(&mut page, self.facts());
        page.push_str(
            "<p class=\"soft\">Models learn from the training texts; validation texts, or each fifth of the training texts by models of the other \
             four, set temperature and threshold. Texts are shown as the table has them: masked.</p>\n",
        );
        page::end(&mut page);
        Ok(page)
    }

    fn push_summary(&self, page: &mut String) {
        let part = crate::options::part_name(self.source.measured_on);
        let counts = escaped(&self.counts());
        let _ = writeln!(
            page,
            "<p class=\"soft\">what a text asks, {} intents; {part} part: {counts}</p>",
            self.source.intents.len()
        );
        let Some(first) = self.rows.first() else { return };
        let measured = &first.measured;
        let mut text = format!(
            "<b>{}</b> leads with an accuracy of {}",
            escaped(&first.model),
            sure(measured.accuracy)
        );
        let all = self.comparisons(PRIMARY);
        match all.iter().find(|(row, ..)| row.model == first.model) {
            Some((_, found, p)) => {
                let baseline = self.strongest_baseline(PRIMARY).map_or("", |row| &row.model);
                let _ = write!(
                    text,
                    ", {:+.4} against the strongest baseline, {} (p = {} after Holm)",
                    found.difference,
                    escaped(baseline),
                    escaped(&formatted_p(*p))
                );
            }
            None if first.is_baseline => {
                text.push_str(". It is a baseline: nothing here beats it");
            }
            None => {}
        }
        let AnswerRates { coverage, answered_precision, .. } = measured.rates;
        if let Some(precision) = answered_precision {
            let _ = write!(
                text,
                ". It answers {:.1} % of the texts, and {:.1} % of these answers are right",
                coverage * 100.0,
                precision * 100.0
            );
        }
        let _ = writeln!(page, "<p>{text}.</p>");
    }

    fn push_models(&self, page: &mut String) {
        let has_seeds = self.rows.iter().any(|row| row.seeds.len() > 1);
        let has_secs = self.rows.iter().any(|row| row.fit_secs.is_some());
        let has_micros = self.rows.iter().any(|row| row.classify_micros.is_some());
        let mut header = vec!["model", "vs base", "accuracy"];
        if has_seeds {
            header.push("sd");
        }
        header.extend(["macro-F1", "ECE", "risk area"]);
        header.extend(has_secs.then_some("fit s"));
        header.extend(has_micros.then_some("µs p50 / p99"));
        push_header(page, &header);
        for (place, row) in self.rows.iter().enumerate() {
            let measured = &row.measured;
            push_name(page, place, row);
            let words = against::words(self.sign(&row.model));
            let _ = write!(page, "<td>{words}</td><td>{}</td>", sure(measured.accuracy));
            if has_seeds {
                let sd = measured.accuracy.sd_over_seeds;
                let sd = sd.map_or_else(|| "–".into(), |sd| format!("{sd:.4}"));
                let _ = write!(page, "<td>{sd}</td>");
            }
            let _ = write!(
                page,
                "<td>{}</td><td>{:.4}</td><td>{:.4}</td>",
                sure(measured.macro_f1),
                measured.ece,
                measured.area_under_risk
            );
            if has_secs {
                let secs = row.fit_secs.map_or_else(|| "–".into(), formatted_secs);
                let _ = write!(page, "<td>{secs}</td>");
            }
            if has_micros {
                let micros = row.classify_micros.map(|[a, b]| format!("{a:.0} / {b:.0}"));
                let _ = write!(page, "<td>{}</td>", micros.unwrap_or_else(|| "–".into()));
            }
            page.push_str("</tr>\n");
        }
        page.push_str("</tbody></table></div>\n");
        let confidence = self.bootstrap.confidence * 100.0;
        let seeds = match has_seeds {
            true => " Values are means over the seeds of a model, sd is the spread over them.",
            false => "",
        };
        let _ = writeln!(
            page,
            "<p class=\"soft\">± is half of the {confidence} % bootstrap interval over texts. Accuracy, macro-F1 and ECE are of the most probable \
             intent, answered or not, of texts that ask for one; the risk area is the mean share of wrong answers over all coverages. Better and \
             worse: in accuracy than the strongest baseline, by p after Holm's correction. {MAJORITY} takes every text for the most frequent \
             intent of the training texts.{seeds}</p>"
        );
        page::push_gate(page, self.gate.as_ref());
    }

    fn push_answers(&self, page: &mut String) -> Result<(), EvalError> {
        if let Some(plot) = self.risk()? {
            let rows = self.with_curves();
            let name = |index: usize| tagged(rows[index]);
            palette::push_legend(page, rows.len(), self.strongest(), name);
            page::push_plots(page, &[plot]);
        }
        page.push_str("<h3>By the threshold of each model</h3>\n");
        self.push_rates(page, |row| Some(row.measured.rates));
        let from = |row: &IntentRow| row.measured.rates_from;
        if let Some(RatesFrom { min_confidence, .. }) = self.rows.first().and_then(from) {
            let _ = writeln!(page, "<h3>From a probability of {min_confidence} on</h3>");
            self.push_rates(page, |row| Some(from(row)?.rates));
        }
        page.push_str(
            "<p class=\"soft\">Right is a share of the answers, where an answer to a text out of scope is wrong. In-scope accuracy is the share of \
             the texts that ask for an intent and got it; false alarms are those that got no answer. Refused is the share of the texts out of \
             scope that got none.</p>\n",
        );
        Ok(())
    }

    fn push_rates(&self, page: &mut String, of: impl Fn(&IntentRow) -> Option<AnswerRates>) {
        let mut header = vec!["model", "answered", "right", "in-scope accuracy", "false alarms"];
        header.extend(self.has_strangers().then_some("refused"));
        push_header(page, &header);
        for (place, row) in self.rows.iter().enumerate() {
            let Some(rates) = of(row) else { continue };
            push_name(page, place, row);
            let _ = write!(
                page,
                "<td>{:.4}</td><td>{}</td><td>{:.4}</td><td>{:.4}</td>",
                rates.coverage,
                cell(rates.answered_precision, None),
                rates.in_scope_accuracy,
                rates.false_alarm_rate
            );
            if self.has_strangers() {
                let _ = write!(page, "<td>{}</td>", cell(rates.out_of_scope_recall, None));
            }
            page.push_str("</tr>\n");
        }
        page.push_str("</tbody></table></div>\n");
    }

    fn push_comparisons(&self, page: &mut String) {
        let comparisons = self.comparisons(PRIMARY);
        let Some(baseline) = self.strongest_baseline(PRIMARY).filter(|_| !comparisons.is_empty())
        else {
            return;
        };
        let _ = writeln!(
            page,
            "<h2>Is the difference real?</h2>\n<p>Paired bootstrap on the same texts, against {}, which has the highest accuracy of the baselines. \
             p is two-sided, of the accuracy; Holm corrects for all models.</p>",
            escaped(&baseline.model)
        );
        push_header(page, &["model", "accuracy", "macro-F1", "p", "p (Holm)"]);
        for (row, found, corrected) in comparisons {
            let _ = write!(page, "<tr><th scope=\"row\">{}</th>", tagged(row));
            for metric in IntentMetric::ALL {
                let found = row.against(&baseline.model, metric);
                let text = found.map_or_else(
                    || "–".into(),
                    |found| {
                        let half = found.interval.half_width();
                        format!("{:+.4} <span class=\"pm\">±{half:.4}</span>", found.difference)
                    },
                );
                let _ = write!(page, "<td>{text}</td>");
            }
            let [p, corrected] = [found.p_value, corrected].map(|p| escaped(&formatted_p(p)));
            let _ = writeln!(page, "<td>{p}</td><td>{corrected}</td></tr>");
        }
        page.push_str("</tbody></table></div>\n");
    }

    /// What the leading model takes for something else.
    fn push_confusions(&self, page: &mut String) {
        let with_pairs = |row: &&IntentRow| row.model != MAJORITY && !row.confusions.is_empty();
        let Some(leader) = self.rows.iter().find(with_pairs) else { return };
        let _ = writeln!(page, "<h2>What {} confuses</h2>", escaped(&leader.model));
        page.push_str(
            "<div class=\"scroll\"><table>\n<thead><tr><th>asked</th><th class=\"words\">taken for</th><th>texts</th>\
             <th class=\"words\">for example</th></tr></thead>\n<tbody>\n",
        );
        for pair in &leader.confusions {
            let examples: Vec<String> =
                pair.examples.iter().map(|example| escaped(&example.text)).collect();
            let _ = writeln!(
                page,
                "<tr><th scope=\"row\">{}</th><td class=\"words\">{}</td><td>{}</td><td class=\"words\">{}</td></tr>",
                escaped(&pair.asked),
                escaped(&pair.found),
                pair.n_texts,
                examples.join("<br>")
            );
        }
        page.push_str("</tbody></table></div>\n");
    }

    /// Each intent of one model, the worst first.
    fn push_details(&self, page: &mut String, row: &IntentRow) {
        let _ = writeln!(page, "<details><summary>{}</summary>", tagged(row));
        let seeds: Vec<String> = row.seeds.iter().map(u64::to_string).collect();
        let seeds = if seeds.is_empty() { "none needed".into() } else { seeds.join(", ") };
        let _ = writeln!(
            page,
            "<p class=\"soft\">seeds: {seeds}; hyperparameters: <code>{}</code></p>",
            escaped(&row.hyperparameters.to_string())
        );
        push_header(page, &["intent", "asked", "F1", "precision", "recall"]);
        let mut intents: Vec<_> = self.source.intents.iter().zip(&row.measured.by_intent).collect();
        intents.retain(|(_, counts)| counts.f1().is_some());
        // Stable: equal ones by their names.
        intents.sort_by(|(_, a), (_, b)| a.f1().unwrap_or(0.0).total_cmp(&b.f1().unwrap_or(0.0)));
        for (name, counts) in intents {
            let shares = [counts.f1(), counts.precision(), counts.recall()];
            let [f1, precision, recall] = shares.map(|share| cell(share, None));
            let _ = writeln!(
                page,
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{f1}</td><td>{precision}</td><td>{recall}</td></tr>",
                escaped(name),
                counts.n_asked
            );
        }
        page.push_str("</tbody></table></div></details>\n");
    }
}

/// The beginning of a table, up to its rows.
fn push_header(page: &mut String, names: &[&str]) {
    page.push_str("<div class=\"scroll\"><table>\n<thead><tr>");
    for name in names {
        let _ = write!(page, "<th>{name}</th>");
    }
    page.push_str("</tr></thead>\n<tbody>\n");
}

/// The beginning of the row of a model.
fn push_name(page: &mut String, place: usize, row: &IntentRow) {
    let class = if place == 0 { " class=\"first\"" } else { "" };
    let _ = write!(page, "<tr{class}><th scope=\"row\">{}</th>", tagged(row));
}

fn tagged(row: &IntentRow) -> String {
    page::tagged(&row.model, row.is_baseline)
}

fn sure(value: WithInterval) -> String {
    cell(Some(value.value), Some(value.interval))
}
