//! The report as one HTML file: no script, no external resource, light and dark.

use std::fmt::Write as _;

use super::{CONSTANT, MAIN, OutcomeReport, OutcomeRow, PRIMARY, title};
use crate::error::EvalError;
use crate::probability::{Measurement, ProbabilityMetric, SegmentOffset};
use crate::report::page::{self, escaped};
use crate::report::{against, formatted_p, formatted_secs, grouped, palette};

impl OutcomeReport {
    /// The report as one self-contained page that can be mailed and opened without a network.
    ///
    /// # Errors
    /// [`EvalError::Render`] if a plot cannot be drawn.
    pub fn to_html(&self) -> Result<String, EvalError> {
        let mut page = page::begin(&self.title);
        self.push_summary(&mut page);
        page.push_str("<h2>Models</h2>\n");
        self.push_models(&mut page);
        page.push_str("<h2>Do the models tell rows apart?</h2>\n");
        let plots = self.models_plots()?;
        if plots.iter().any(|plot| plot.by_model) {
            let rows = self.with_curves();
            let name = |index: usize| tagged(rows[index]);
            palette::push_legend(&mut page, rows.len(), self.strongest(), name);
        }
        page::push_plots(&mut page, &plots);
        page.push_str("<h2>Are probabilities as large as what happens?</h2>\n");
        page.push_str(
            "<p class=\"soft\">Points on the line are right; each has the interval of the observed share. Probabilities that may be \
             multiplied by money lie on it.</p>\n",
        );
        page::push_plots(&mut page, &self.reliability_plots()?);
        self.push_segments(&mut page)?;
        for further in &self.further {
            let (task, counts) = (escaped(&further.source.task), escaped(&further.counts()));
            let _ = writeln!(page, "<h2>{task}</h2>\n<p class=\"soft\">{counts}</p>");
            further.push_models(&mut page);
            page::push_plots(&mut page, &further.reliability_plots()?);
        }
        self.push_comparisons(&mut page);
        page.push_str("<h2>Every metric</h2>\n");
        self.rows.iter().for_each(|row| push_details(&mut page, row));
        self.push_method(&mut page);
        page::end(&mut page);
        Ok(page)
    }

    fn push_summary(&self, page: &mut String) {
        let (task, part) = (escaped(&self.source.task), escaped(&self.part()));
        let _ = writeln!(page, "<p class=\"soft\">{task}, {part}</p>");
        if let Some(first) = self.rows.first() {
            let _ = writeln!(page, "<p>{}</p>", self.leads(first));
        }
        for leak in &self.leakage.leaks {
            let text = format!("Leak: {leak}. The numbers of this page cannot be trusted.");
            let _ = writeln!(page, "<p class=\"warn\">{}</p>", escaped(&text));
        }
        for left_out in &self.left_out {
            let text = format!("left out: {}", left_out.reason);
            let _ = writeln!(page, "<p class=\"warn\">{}</p>", escaped(&text));
        }
    }

    /// What is to be said of the leading model.
    fn leads(&self, first: &OutcomeRow) -> String {
        let mut text = format!("<b>{}</b> leads with a log loss of ", escaped(&first.model));
        text.push_str(
            &first
                .measured
                .measurements
                .iter()
                .find(|m| m.metric == PRIMARY)
                .map_or_else(|| "–".into(), cell),
        );
        let all = self.comparisons();
        let baseline = self.strongest_baseline(PRIMARY).map_or("", |row| &row.model);
        match all.iter().find(|(row, ..)| row.model == first.model) {
            Some((_, found, p)) => {
                let _ = write!(
                    text,
                    ", {:+.4} against the strongest baseline, {} (p = {} after Holm)",
                    found.difference,
                    escaped(baseline),
                    escaped(&formatted_p(*p))
                );
            }
            None => text.push_str(". It is a baseline: nothing here beats it"),
        }
        let is_calibrated = first.measured.reaches_noise_floor();
        text.push_str(match is_calibrated {
            true => {
                ". Its probabilities are as large as what happens, as far as these rows can tell."
            }
            false => ". Its probabilities are further from what happens than chance explains.",
        });
        text
    }

    fn push_models(&self, page: &mut String) {
        let has_folds = self.rows.iter().any(|row| !row.fold_means.is_empty());
        let fold_metrics = [ProbabilityMetric::Auc, ProbabilityMetric::AveragePrecision];
        page.push_str("<div class=\"scroll\"><table>\n<thead><tr><th>model</th><th>vs base</th>");
        for metric in MAIN {
            let _ = write!(page, "<th>{}</th>", title(metric));
        }
        if has_folds {
            fold_metrics.iter().for_each(|metric| {
                let _ = write!(page, "<th>{}, folds</th>", title(*metric));
            });
        }
        page.push_str("<th>calibrated</th><th>fit s</th><th>KB</th></tr></thead>\n<tbody>\n");
        for (place, row) in self.rows.iter().enumerate() {
            let class = if place == 0 { " class=\"first\"" } else { "" };
            let _ = write!(page, "<tr{class}><th scope=\"row\">{}</th>", tagged(row));
            let words = against::words(self.sign(&row.model));
            let _ = write!(page, "<td>{words}</td>");
            for measurement in &row.measured.measurements {
                if MAIN.contains(&measurement.metric) {
                    let _ = write!(page, "<td>{}</td>", cell(measurement));
                }
            }
            if has_folds {
                for metric in fold_metrics {
                    let mean = row.fold_means.iter().find(|(own, _)| *own == metric);
                    let mean = mean.map_or_else(|| "–".into(), |(_, mean)| format!("{mean:.4}"));
                    let _ = write!(page, "<td>{mean}</td>");
                }
            }
            let calibrated = if row.measured.reaches_noise_floor() { "yes" } else { "no" };
            let secs = row.fit_secs.map_or_else(|| "–".into(), formatted_secs);
            let kb = row.learned_bytes as f64 / 1e3;
            let _ = writeln!(page, "<td>{calibrated}</td><td>{secs}</td><td>{kb:.1}</td></tr>");
        }
        page.push_str("</tbody></table></div>\n");
        let confidence = self.bootstrap.confidence * 100.0;
        let _ = writeln!(
            page,
            "<p class=\"soft\">± is half of the {confidence} % bootstrap interval. Entropy is log loss over that of the share of positive \
             rows, for every row: below 1, the model knows something. ECE is the distance of predicted from observed shares in bins of equal \
             numbers of rows; calibrated is what is not further off than chance. Better and worse: in log loss than the strongest \
             baseline, by p after Holm's correction. The constant is the share of positive training rows, for every row.{}</p>",
            match has_folds {
                true => " Folds: the mean over the folds, as cross-validation is published.",
                false => "",
            }
        );
    }

    fn push_segments(&self, page: &mut String) -> Result<(), EvalError> {
        let Some(leader) = self.rows.iter().find(|row| !row.segments.is_empty()) else {
            return Ok(());
        };
        page.push_str("<h2>Where probabilities are off</h2>\n");
        let n_segments: usize = leader.segments.iter().map(|column| column.segments.len()).sum();
        let level = (1.0 - self.bootstrap.confidence) * 100.0;
        let alarms = self.rows.iter().map(|row| (row, row.alarms().count()));
        let alarms = alarms.filter(|(row, _)| !row.segments.is_empty());
        let alarms: Vec<String> = alarms
            .map(|(row, n)| match n {
                0 => format!("{} none", escaped(&row.model)),
                n => format!("{} <b>{n}</b>", escaped(&row.model)),
            })
            .collect();
        let _ = writeln!(
            page,
            "<p>Of {n_segments} segments, off by more than chance: {}.</p>\n<p class=\"soft\">A segment is off where the mean \
             probability lies outside of what the observed share allows, after Holm's correction over all segments of the model: where \
             nothing is off, {level:.0} of 100 tables have an alarm. Columns of many texts are cut to the most frequent ones; numbers and \
             times are in quarters of the rows.</p>",
            alarms.join(", ")
        );
        let off: Vec<_> =
            self.rows.iter().flat_map(|row| row.alarms().map(move |alarm| (row, alarm))).collect();
        if !off.is_empty() {
            page.push_str(&segment_header("<th>model</th><th class=\"words\">segment</th>"));
            for (row, (column, segment)) in off {
                let name = escaped(&format!("{column} = {}", segment.name));
                let _ = write!(
                    page,
                    "<tr><th scope=\"row\">{}</th><td class=\"words\">{name}</td>",
                    tagged(row)
                );
                push_segment(page, segment);
            }
            page.push_str("</tbody></table></div>\n");
        }
        let _ = writeln!(page, "<h3>{}</h3>", tagged(leader));
        page::push_plots(page, &self.segment_plots(leader)?);
        page.push_str("<details><summary>Every segment</summary>");
        page.push_str(&segment_header("<th>segment</th>"));
        for column in &leader.segments {
            for segment in &column.segments {
                let name = escaped(&format!("{} = {}", column.column, segment.name));
                let _ = write!(page, "<tr><th scope=\"row\">{name}</th>");
                push_segment(page, segment);
            }
        }
        page.push_str("</tbody></table></div></details>\n");
        Ok(())
    }

    fn push_comparisons(&self, page: &mut String) {
        let comparisons = self.comparisons();
        let Some(baseline) = self.strongest_baseline(PRIMARY).filter(|_| !comparisons.is_empty())
        else {
            return;
        };
        let _ = writeln!(
            page,
            "<h2>Is the difference real?</h2>\n<p>Paired bootstrap on the same rows, against {}, which has the lowest log loss of the \
             baselines. p is two-sided, of the log loss; Holm corrects for all models.</p>",
            escaped(&baseline.model)
        );
        page.push_str("<div class=\"scroll\"><table>\n<thead><tr><th>model</th>");
        for metric in MAIN {
            let _ = write!(page, "<th>{}</th>", title(metric));
        }
        page.push_str("<th>p</th><th>p (Holm)</th></tr></thead>\n<tbody>\n");
        for (row, found, corrected) in comparisons {
            let _ = write!(page, "<tr><th scope=\"row\">{}</th>", tagged(row));
            for metric in MAIN {
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
        page::push_gate(page, self.gate.as_ref());
    }

    fn push_method(&self, page: &mut String) {
        page.push_str("<h2>How it was measured</h2>\n");
        let notes = self.leakage.notes.iter().map(|note| ("noted", note.clone()));
        page::push_facts(page, self.facts().into_iter().chain(notes));
        page.push_str(
            "<p class=\"soft\">Encoders and models learn from the training rows, validation rows stop training and calibrate, and what is \
             measured is neither. Positions are as they were logged. Intervals of ECE are moved by the bias of resampling.</p>\n",
        );
    }
}

fn segment_header(first: &str) -> String {
    format!(
        "<div class=\"scroll\"><table>\n<thead><tr>{first}<th>rows</th><th>predicted</th><th>observed</th><th>interval</th>\
         <th>p (Holm)</th><th></th></tr></thead>\n<tbody>\n"
    )
}

/// The cells of a segment after its name.
fn push_segment(page: &mut String, segment: &SegmentOffset) {
    let offset = &segment.offset;
    let (low, high) = (offset.observed_rate.low, offset.observed_rate.high);
    let _ = writeln!(
        page,
        "<td>{}</td><td>{:.4}</td><td>{:.4}</td><td>{low:.4} … {high:.4}</td><td>{}</td><td>{}</td></tr>",
        grouped(segment.n_rows as u64),
        segment.mean_probability,
        segment.base_rate,
        escaped(&formatted_p(offset.corrected_p_value)),
        if offset.alarm { "<span class=\"tag off\">off</span>" } else { "" }
    );
}

fn push_details(page: &mut String, row: &OutcomeRow) {
    let _ = writeln!(page, "<details><summary>{}</summary>", tagged(row));
    let calibration = match row.calibration.is_empty() {
        true => String::new(),
        false => format!("calibration: {}; ", row.calibration.join(", ")),
    };
    let _ = writeln!(
        page,
        "<p class=\"soft\">mean probability {:.4}, share of positive rows {:.4}; ECE by chance alone {:.4}; {}hyperparameters: \
         <code>{}</code></p>",
        row.measured.mean_probability,
        row.measured.base_rate,
        row.measured.noise_floor.mean,
        escaped(&calibration),
        escaped(&row.hyperparameters.to_string())
    );
    page.push_str(
        "<div class=\"scroll\"><table>\n<thead><tr><th>metric</th><th>value</th><th>low</th><th>high</th></tr></thead>\n<tbody>\n",
    );
    for Measurement { metric, value, interval } in &row.measured.measurements {
        let number =
            |value: Option<f64>| value.map_or_else(|| "–".into(), |value| format!("{value:.4}"));
        let _ = writeln!(
            page,
            "<tr><th scope=\"row\">{metric}</th><td>{}</td><td>{}</td><td>{}</td></tr>",
            number(*value),
            number(interval.map(|interval| interval.low)),
            number(interval.map(|interval| interval.high))
        );
    }
    page.push_str("</tbody></table></div></details>\n");
}

/// The model's name, marked if it is a baseline.
fn tagged(row: &OutcomeRow) -> String {
    page::tagged(&row.model, row.is_baseline || row.model == CONSTANT)
}

fn cell(measurement: &Measurement) -> String {
    page::cell(measurement.value, measurement.interval)
}
