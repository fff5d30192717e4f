//! The page around a report: one HTML file, no script, no external resource, light and dark.

use std::fmt::Write as _;

use plotters::style::RGBColor;

use super::Gate;
use super::canvas::color_of;
use super::plots::Plot;
use crate::bootstrap::Interval;

const STYLE: &str = include_str!("style.css");

/// A page up to its heading.
pub(crate) fn begin(title: &str) -> String {
    let title = escaped(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n"
    )
}

pub(crate) fn end(page: &mut String) {
    page.push_str("</main>\n</body>\n</html>\n");
}

/// What the colors of the lines stand for, in their order; the names are markup.
pub(crate) fn push_legend(page: &mut String, names: impl Iterator<Item = String>) {
    push_colors(page, names.enumerate().map(|(index, name)| (color_of(index), name)));
}

/// What colors stand for; the names are markup.
pub(crate) fn push_colors(page: &mut String, names: impl Iterator<Item = (RGBColor, String)>) {
    page.push_str("<ul class=\"legend\">");
    for (color, name) in names {
        let (red, green, blue) = (color.0, color.1, color.2);
        let _ =
            write!(page, "<li><i style=\"background:rgb({red},{green},{blue})\"></i>{name}</li>");
    }
    page.push_str("</ul>\n");
}

/// A model's name, marked if it is a baseline.
pub(crate) fn tagged(name: &str, is_baseline: bool) -> String {
    let name = escaped(name);
    if is_baseline { format!("{name}<span class=\"tag\">baseline</span>") } else { name }
}

/// A value with half of its interval.
pub(crate) fn cell(value: Option<f64>, interval: Option<Interval>) -> String {
    let Some(value) = value else { return "–".into() };
    interval.map_or_else(
        || format!("{value:.4}"),
        |interval| format!("{value:.4} <span class=\"pm\">±{:.4}</span>", interval.half_width()),
    )
}

/// A list of names and what they stand for.
pub(crate) fn push_facts<'a>(
    page: &mut String,
    facts: impl IntoIterator<Item = (&'a str, String)>,
) {
    page.push_str("<dl>\n");
    for (name, fact) in facts {
        let _ = writeln!(page, "<dt>{name}</dt><dd>{}</dd>", escaped(&fact));
    }
    page.push_str("</dl>\n");
}

/// What a gate says, a paragraph for each model.
pub(crate) fn push_gate(page: &mut String, gate: Option<&Gate>) {
    for line in gate.into_iter().flat_map(Gate::lines) {
        let _ = writeln!(page, "<p>{}</p>", escaped(line.trim_start()));
    }
}

/// Plots with their captions.
pub(crate) fn push_plots(page: &mut String, plots: &[Plot]) {
    page.push_str("<div class=\"plots\">\n");
    for Plot { svg, caption, .. } in plots {
        let caption = escaped(caption);
        let label = format!("<svg role=\"img\" aria-label=\"{caption}\" ");
        let svg = svg.replacen("<svg ", &label, 1);
        let _ = writeln!(
            page,
            "<figure><figcaption>{caption}</figcaption>\n{}</figure>",
            svg.trim_start()
        );
    }
    page.push_str("</div>\n");
}

/// Text that cannot be taken for markup, in content and in quoted attributes.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}
