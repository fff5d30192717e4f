//! The report as one HTML file: no script, no external resource, light and dark.

use std::fmt::Write as _;

use super::{CEILING, QuestionReport, QuestionRow};
use crate::error::EvalError;
use crate::intents::WithInterval;
use crate::questions::{QuestionMeasures, QuestionMetric};
use crate::report::page::{self, cell, escaped};
use crate::report::{against, formatted_p, formatted_secs, grouped, span_in_words};

impl QuestionReport {
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
        page.push_str("<h2>Are probabilities as large as what is asked?</h2>\n");
        page.push_str(
            "<p class=\"soft\">An outcome is one intent at one moment; those of all intents are together. Points on the line are right; each has \
             Wilson's interval of the observed share, as if outcomes did not depend on each other.</p>\n",
        );
        page::push_plots(&mut page, &self.reliability_plots()?);
        self.push_deletions(&mut page);
        self.push_comparisons(&mut page);
        page.push_str("<h2>Every intent</h2>\n");
        let leader = self.leader().map(|row| row.model.as_str());
        for row in &self.rows {
            let keys = escaped(&row.hyperparameters.to_string());
            let words = format!("<p class=\"soft\">hyperparameters: <code>{keys}</code></p>\n");
            let is_open = leader == Some(row.model.as_str());
            self.push_intents(&mut page, &tagged(row), &words, &row.measured, is_open);
        }
        if let Some(ceiling) = &self.ceiling {
            self.push_intents(&mut page, CEILING, "", ceiling, false);
        }
        page.push_str("<h2>How it was measured</h2>\n");
        page::push_facts(&mut page, self.facts());
        page.push_str(
            "<p class=\"soft\">Parts are cut by time. Models learn from the moments of the training part, and those of the validation part \
             calibrate; a model sees of a customer what happened up to the moment, and nothing later. The moments that are measured are spread \
             evenly over the part.</p>\n",
        );
        page::end(&mut page);
        Ok(page)
    }

    fn push_summary(&self, page: &mut String) {
        let _ = writeln!(
            page,
            "<p class=\"soft\">what a customer asks within {} of a moment, {} intents; {}</p>",
            span_in_words(self.source.horizon_ms),
            self.source.intents.len(),
            escaped(&self.counts())
        );
        let Some(first) = self.rows.first() else { return };
        let mut text = format!(
            "<b>{}</b> leads with a log loss of {}",
            escaped(&first.model),
            loss(first.measured.log_loss)
        );
        let all = self.comparisons();
        match all.iter().find(|(row, ..)| row.model == first.model) {
            Some((_, found, p)) => {
                let baseline = self.strongest_baseline().map_or("", |row| &row.model);
                let _ = write!(
                    text,
                    ", {:+.5} against the strongest baseline, {} (p = {} after Holm)",
                    found.difference,
                    escaped(baseline),
                    escaped(&formatted_p(*p))
                );
            }
            None if first.is_baseline => text.push_str(". It is a baseline: nothing here beats it"),
            None => {}
        }
        if let Some(hits) = first.measured.top_3 {
            let _ = write!(
                text,
                ". At {:.1} % of the moments before a question, one of its three most probable intents is asked",
                hits.value * 100.0
            );
        }
        if let Some(WithInterval { value, interval, .. }) = first.share_of_ceiling {
            let [value, low, high] =
                [value, interval.low, interval.high].map(|share| share * 100.0);
            let _ = write!(
                text,
                ": {value:.1} % ({low:.1} to {high:.1}) of what the best of all models could have"
            );
        }
        let _ = writeln!(page, "<p>{text}.</p>");
    }

    fn push_models(&self, page: &mut String) {
        let has_secs = self.rows.iter().any(|row| row.fit_secs.is_some());
        let has_seeds = self.rows.iter().any(|row| row.seeds.len() > 1);
        let mut header = vec!["model", "vs base", "top-3", "top-1", "log loss", "ECE", "by chance"];
        header.extend(has_seeds.then_some("sd of loss"));
        header.extend(self.ceiling.is_some().then_some("of the ceiling"));
        header.extend(has_secs.then_some("fit s"));
        push_header(page, &header);
        if let Some(ceiling) = &self.ceiling {
            let _ = write!(page, "<tr><th scope=\"row\">{CEILING}</th><td>–</td>");
            push_measures(page, ceiling);
            page.push_str(if has_seeds { "<td>–</td><td>–</td>" } else { "<td>–</td>" });
            page.push_str(if has_secs { "<td>–</td></tr>\n" } else { "</tr>\n" });
        }
        for (place, row) in self.rows.iter().enumerate() {
            let class = if place == 0 { " class=\"first\"" } else { "" };
            let words = against::words(self.sign(&row.model));
            let _ =
                write!(page, "<tr{class}><th scope=\"row\">{}</th><td>{words}</td>", tagged(row));
            push_measures(page, &row.measured);
            if has_seeds {
                let sd = row.measured.log_loss.sd_over_seeds;
                let sd = sd.map_or_else(|| "–".into(), |sd| format!("{sd:.5}"));
                let _ = write!(page, "<td>{sd}</td>");
            }
            if self.ceiling.is_some() {
                let _ = write!(page, "<td>{}</td>", sure(row.share_of_ceiling));
            }
            if has_secs {
                let secs = row.fit_secs.map_or_else(|| "–".into(), formatted_secs);
                let _ = write!(page, "<td>{secs}</td>");
            }
            page.push_str("</tr>\n");
        }
        page.push_str("</tbody></table></div>\n");
        let confidence = self.bootstrap.confidence * 100.0;
        let ceiling = match self.ceiling {
            Some(_) => {
                " The ceiling has the probabilities by which the log was drawn; of it, a model has the share of its top-3, and both are of the \
                 same resamples."
            }
            None => "",
        };
        let seeds = match has_seeds {
            true => {
                " Of several seeds, values are the means, and calibration is of the first; sd is the standard deviation of the log loss over them."
            }
            false => "",
        };
        let _ = writeln!(
            page,
            "<p class=\"soft\">± is half of the {confidence} % bootstrap interval over users. Top-3 is the share of the moments before a question \
             at which one of the three most probable intents was asked, top-1 that of the most probable one; log loss is the mean over \
             moments and intents, and ECE is over both, with what it would be by chance alone. Better and worse: in log loss than the strongest \
             baseline, by p after Holm's correction.{seeds}{ceiling}</p>"
        );
        page::push_gate(page, self.gate.as_ref());
    }

    /// Models whose explanations were checked.
    fn push_deletions(&self, page: &mut String) {
        let rows = || self.rows.iter().filter_map(|row| Some((row, row.deletion.as_ref()?)));
        if rows().next().is_none() {
            return;
        }
        page.push_str("<h2>Does what explanations name carry the probability?</h2>\n");
        push_header(
            page,
            &[
                "model",
                "moments",
                "behaviors named",
                "probability",
                "without them",
                "without as many others",
            ],
        );
        for (row, found) in rows() {
            let _ = writeln!(
                page,
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{:.2}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                tagged(row),
                grouped(found.n_moments),
                found.mean_named,
                sure(Some(found.probability)),
                sure(Some(found.without_named)),
                sure(Some(found.without_random))
            );
        }
        page.push_str("</tbody></table></div>\n");
        page.push_str(
            "<p class=\"soft\">Mean probabilities of what is the furthest above its usual rate, at moments where it is probable: of the whole history, without the \
             behaviors that the explanation names as its cause, and without as many others, drawn at random. They say whether explanations are true to the \
             model, not whether the model is right.</p>\n",
        );
    }

    fn push_comparisons(&self, page: &mut String) {
        let comparisons = self.comparisons();
        let Some(baseline) = self.strongest_baseline().filter(|_| !comparisons.is_empty()) else {
            return;
        };
        let _ = writeln!(
            page,
            "<h2>Is the difference real?</h2>\n<p>Paired bootstrap over the same users, against {}, which has the least log loss of the \
             baselines. p is two-sided, of the log loss; Holm corrects for all models.</p>",
            escaped(&baseline.model)
        );
        push_header(page, &["model", "top-3", "top-1", "log loss", "p", "p (Holm)"]);
        for (row, found, corrected) in comparisons {
            let _ = write!(page, "<tr><th scope=\"row\">{}</th>", tagged(row));
            for metric in QuestionMetric::ALL {
                let digits = if metric == QuestionMetric::LogLoss { 5 } else { 4 };
                let found = row.against(&baseline.model, metric);
                let text = found.map_or_else(
                    || "–".into(),
                    |found| {
                        let (difference, half) = (found.difference, found.interval.half_width());
                        format!("{difference:+.digits$} <span class=\"pm\">±{half:.digits$}</span>")
                    },
                );
                let _ = write!(page, "<td>{text}</td>");
            }
            let [p, corrected] = [found.p_value, corrected].map(|p| escaped(&formatted_p(p)));
            let _ = writeln!(page, "<td>{p}</td><td>{corrected}</td></tr>");
        }
        page.push_str("</tbody></table></div>\n");
    }

    /// Each intent of one model, the most frequent first; `name` and `words` are markup.
    fn push_intents(
        &self,
        page: &mut String,
        name: &str,
        words: &str,
        measured: &QuestionMeasures,
        is_open: bool,
    ) {
        let open = if is_open { " open" } else { "" };
        let _ = writeln!(page, "<details{open}><summary>{name}</summary>\n{words}");
        push_header(page, &["intent", "asked", "rate", "mean probability", "AUC", "AP"]);
        let mut intents: Vec<_> = self.source.intents.iter().zip(&measured.intents).collect();
        // Stable: equal ones by their places.
        intents.sort_by_key(|(_, own)| std::cmp::Reverse(own.n_asked));
        for (name, own) in intents {
            let _ = writeln!(
                page,
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{:.4}</td><td>{:.4}</td><td>{}</td><td>{}</td></tr>",
                escaped(name),
                grouped(own.n_asked),
                own.rate,
                own.mean_probability,
                cell(own.auc, None),
                cell(own.average_precision, None)
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

/// The cells from the hit rates to what the calibration error is by chance.
fn push_measures(page: &mut String, measured: &QuestionMeasures) {
    let _ = write!(
        page,
        "<td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.4}</td>",
        sure(measured.top_3),
        sure(measured.top_1),
        loss(measured.log_loss),
        sure(Some(measured.ece)),
        measured.noise_floor.mean
    );
}

fn tagged(row: &QuestionRow) -> String {
    page::tagged(&row.model, row.is_baseline)
}

fn sure(value: Option<WithInterval>) -> String {
    cell(value.map(|own| own.value), value.map(|own| own.interval))
}

/// A log loss, which has a digit more: most outcomes are so improbable that it is small.
fn loss(value: WithInterval) -> String {
    let half = value.interval.half_width();
    format!("{:.5} <span class=\"pm\">±{half:.5}</span>", value.value)
}
