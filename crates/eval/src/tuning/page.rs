//! The search as one HTML file.

use std::fmt::Write as _;

use plotters::prelude::*;

use super::{Search, SearchReport, Trial, TrialState, plain};
use crate::error::EvalError;
use crate::report::canvas::{
    BASELINE, HEIGHT, INK, N_X_LABELS, N_Y_LABELS, PAPER, color_of, draw, mesh_with, span, trimmed,
};
use crate::report::formatted_secs;
use crate::report::page::{self, escaped};
use crate::report::plots::{self, Plot};

impl Search {
    /// The search as one self-contained page that can be mailed and opened without a network.
    ///
    /// # Errors
    /// [`EvalError::Render`] if a plot cannot be drawn.
    pub fn to_html(&self) -> Result<String, EvalError> {
        let mut page = page::begin(self.report.title());
        for line in self.lines() {
            let _ = writeln!(page, "<p>{}</p>", escaped(&line));
        }
        page.push_str("<h2>Trials</h2>\n");
        let objective = self.report.objective();
        let plot = |svg, caption| Plot { svg, caption, by_model: false };
        let mut figures = vec![plot(
            self.course()?,
            format!(
                "{objective} on validation of each trial: finished (disc), ended early (ring), the best so far (line)"
            ),
        )];
        figures.extend(self.epochs()?.map(|svg| {
            let caption = format!(
                "{} on validation after each epoch: the chosen trial in orange, those ended early in gray",
                objective.of_epochs()
            );
            plot(svg, caption)
        }));
        for name in self.trials[self.chosen].parameters.keys() {
            if let Some(svg) = self.against(name)? {
                let caption =
                    format!("{objective} on validation against {name}; the chosen trial in orange");
                figures.push(plot(svg, caption));
            }
        }
        // Lower than the others, so last.
        figures.extend(match &self.report {
            SearchReport::Lists(report) => vec![plots::validation_and_test(report)?],
            SearchReport::Outcomes(report) => report.values_plots()?,
            SearchReport::Intents(report) => report.values_plots()?,
            SearchReport::Questions(report) => report.values_plots()?,
        });
        page::push_plots(&mut page, &figures);
        page.push_str("<h2>Chosen</h2>\n");
        let _ = writeln!(
            page,
            "<pre><code>{}</code></pre>",
            self.to_toml().lines().map(escaped).collect::<Vec<_>>().join("\n")
        );
        page.push_str("<h2>Every trial</h2>\n");
        self.push_trials(&mut page);
        let _ = writeln!(
            page,
            "<p class=\"soft\">Trial 0 has the defaults. Validation chose; after the search: {}.</p>",
            escaped(self.test_readings())
        );
        page::end(&mut page);
        Ok(page)
    }

    /// A row for each trial, with a column for each parameter; the chosen one is marked.
    fn push_trials(&self, page: &mut String) {
        let chosen = &self.trials[self.chosen];
        let names: Vec<&String> = chosen.parameters.keys().collect();
        let has_epochs = self.trials.iter().any(|trial| !trial.epochs.is_empty());
        page.push_str(
            "<div class=\"scroll\"><table>\n<thead><tr><th>trial</th><th>validation</th>",
        );
        names.iter().for_each(|name| page.push_str(&format!("<th>{}</th>", escaped(name))));
        page.push_str(if has_epochs { "<th>epochs</th>" } else { "" });
        page.push_str("<th>s</th><th class=\"words\">ended</th></tr></thead>\n<tbody>\n");
        for trial in &self.trials {
            let is_chosen = trial.number == chosen.number;
            let class = if is_chosen { " class=\"first\"" } else { "" };
            let tags = [(trial.number == 0, "default"), (is_chosen, "chosen")];
            let tags = tags.iter().filter(|(is_so, _)| *is_so);
            let tags: String =
                tags.map(|(_, tag)| format!("<span class=\"tag\">{tag}</span>")).collect();
            let value = trial.shown(self.report.objective(), "–");
            let _ = write!(
                page,
                "<tr{class}><th scope=\"row\">{}{tags}</th><td>{value}</td>",
                trial.number
            );
            for name in &names {
                let value = trial.parameters.get(*name).map_or_else(|| "–".into(), plain);
                let _ = write!(page, "<td>{}</td>", escaped(&value));
            }
            if has_epochs {
                let _ = write!(page, "<td>{}</td>", trial.epochs.len());
            }
            let (secs, ended) = (formatted_secs(trial.secs), escaped(&ended(trial)));
            let _ = writeln!(page, "<td>{secs}</td><td class=\"words\">{ended}</td></tr>");
        }
        page.push_str("</tbody></table></div>\n");
    }

    fn values(&self, state: TrialState) -> impl Iterator<Item = (&Trial, f64)> {
        let trials = self.trials.iter().filter(move |trial| trial.state == state);
        trials.filter_map(|trial| Some((trial, trial.value?)))
    }

    /// Writes values as people read them.
    fn y_label(&self) -> impl Fn(f64) -> String + use<> {
        let objective = self.report.objective();
        move |value| trimmed(objective.shown(value))
    }

    /// Values by number, and the best so far.
    fn course(&self) -> Result<String, EvalError> {
        let all = || self.trials.iter().filter_map(|trial| trial.value);
        let x = span(self.trials.iter().map(|trial| trial.number as f64), true);
        let y = span(all(), false);
        let mut best = f64::NEG_INFINITY;
        let mut course = Vec::new();
        for trial in &self.trials {
            if let Some(value) = trial.value.filter(|_| trial.state == TrialState::Complete) {
                best = best.max(value);
            }
            if best.is_finite() {
                course.push((trial.number as f64, best));
            }
        }
        draw("trials", HEIGHT, |area| {
            let mut chart = ChartBuilder::on(area)
                .margin_top(10)
                .margin_right(20)
                .x_label_area_size(48)
                .y_label_area_size(62)
                .build_cartesian_2d(x.0..x.1, y.0..y.1)?;
            let n_x = N_X_LABELS.min(self.trials.len());
            mesh_with(&mut chart, "trial", (n_x, N_Y_LABELS), [&trimmed, &self.y_label()])?;
            chart.draw_series(LineSeries::new(course, INK.stroke_width(2)))?;
            let at = |(trial, value): (&Trial, f64)| (trial.number as f64, value);
            let pruned: Vec<_> = self.values(TrialState::Pruned).map(at).collect();
            chart.draw_series(pruned.iter().map(|p| Circle::new(*p, 4, PAPER.filled())))?;
            chart
                .draw_series(pruned.iter().map(|p| Circle::new(*p, 4, BASELINE.stroke_width(2))))?;
            let complete = self.values(TrialState::Complete).map(at);
            chart.draw_series(complete.map(|p| Circle::new(p, 4, color_of(0).filled())))?;
            Ok(())
        })
    }

    /// A line for each trial that was trained by epochs, those ended early below the others.
    fn epochs(&self) -> Result<Option<String>, EvalError> {
        let chosen = self.trials[self.chosen].number;
        let mut trials: Vec<&Trial> =
            self.trials.iter().filter(|trial| !trial.epochs.is_empty()).collect();
        trials.sort_by_key(|trial| (trial.number == chosen, trial.state != TrialState::Pruned));
        if trials.is_empty() {
            return Ok(None);
        }
        let points = |trial: &Trial| -> Vec<(f64, f64)> {
            trial
                .epochs
                .iter()
                .zip(1u32..)
                .map(|(value, epoch)| (f64::from(epoch), *value))
                .collect()
        };
        let n_epochs = trials.iter().map(|trial| trial.epochs.len()).max().unwrap_or(0);
        let x = span([n_epochs as f64].into_iter(), true);
        let y = span(trials.iter().flat_map(|trial| &trial.epochs).copied(), false);
        let svg = draw("epochs of trials", HEIGHT, |area| {
            let mut chart = ChartBuilder::on(area)
                .margin_top(10)
                .margin_right(20)
                .x_label_area_size(48)
                .y_label_area_size(62)
                .build_cartesian_2d(x.0..x.1, y.0..y.1)?;
            mesh_with(
                &mut chart,
                "epoch",
                (N_X_LABELS.min(n_epochs + 1), N_Y_LABELS),
                [&trimmed, &self.y_label()],
            )?;
            for trial in trials {
                let (color, width) = match trial.state {
                    _ if trial.number == chosen => (color_of(1), 3),
                    TrialState::Pruned => (BASELINE, 1),
                    _ => (color_of(0), 1),
                };
                let line = LineSeries::new(points(trial), color.stroke_width(width));
                chart.draw_series(line.point_size(2))?;
            }
            Ok(())
        })?;
        Ok(Some(svg))
    }

    /// Values against one parameter: evenly by logarithm where the space says so, side by side where it is a choice.
    fn against(&self, name: &str) -> Result<Option<String>, EvalError> {
        let space = self.space.as_array();
        let own = space.and_then(|all| all.iter().find(|parameter| parameter["name"] == name));
        let kind = own.and_then(|parameter| parameter["range"]["kind"].as_str()).unwrap_or("float");
        let is_log = kind.starts_with("log");
        let choices: Vec<&serde_json::Value> = match own {
            Some(own) if kind == "choice" => {
                own["range"]["values"].as_array().into_iter().flatten().collect()
            }
            _ => Vec::new(),
        };
        let place = |trial: &Trial| {
            let value = trial.parameters.get(name)?;
            if kind == "choice" {
                return choices
                    .iter()
                    .position(|choice| plain(choice) == plain(value))
                    .map(|at| at as f64);
            }
            let value = value.as_f64()?;
            if is_log { (value > 0.0).then(|| value.log10()) } else { Some(value) }
        };
        let chosen = self.trials[self.chosen].number;
        let mut points: Vec<(bool, f64, f64)> = self
            .values(TrialState::Complete)
            .filter_map(|(trial, value)| Some((trial.number == chosen, place(trial)?, value)))
            .collect();
        if points.is_empty() {
            return Ok(None);
        }
        points.sort_by_key(|(is_chosen, ..)| *is_chosen); // above those at its place
        let all = (0..choices.len()).map(|place| place as f64);
        let x = span(points.iter().map(|point| point.1).chain(all), false);
        let y = span(points.iter().map(|point| point.2), false);
        let x_name = if is_log { format!("{name} (logarithmic)") } else { name.to_owned() };
        let label = |x: f64| match kind {
            "choice" if (x - x.round()).abs() > 1e-6 || x < -0.5 => String::new(),
            "choice" => choices.get(x.round() as usize).map_or_else(String::new, |v| plain(v)),
            _ if is_log => short(10f64.powf(x)),
            _ => trimmed(x),
        };
        let svg = draw("trials against a parameter", HEIGHT, |area| {
            let mut chart = ChartBuilder::on(area)
                .margin_top(10)
                .margin_right(20)
                .x_label_area_size(48)
                .y_label_area_size(62)
                .build_cartesian_2d(x.0..x.1, y.0..y.1)?;
            // Lines at the choices alone, not between them.
            let n_x = if choices.is_empty() { N_X_LABELS } else { choices.len() };
            mesh_with(&mut chart, &x_name, (n_x, N_Y_LABELS), [&label, &self.y_label()])?;
            chart.draw_series(points.iter().map(|(is_chosen, x, y)| {
                let (size, color) = if *is_chosen { (6, color_of(1)) } else { (4, color_of(0)) };
                Circle::new((*x, *y), size, color.filled())
            }))?;
            Ok(())
        })?;
        Ok(Some(svg))
    }
}

/// Two significant digits.
fn short(value: f64) -> String {
    let rounded: f64 = format!("{value:.1e}").parse().unwrap_or(value);
    if rounded < 0.001 { format!("{rounded:e}") } else { trimmed(rounded) }
}

/// How a trial ended, in words.
fn ended(trial: &Trial) -> String {
    match trial.state {
        TrialState::Complete => "finished".to_owned(),
        TrialState::Pruned => "early".to_owned(),
        TrialState::Failed => format!("failed: {}", trial.reason.as_deref().unwrap_or("–")),
    }
}
