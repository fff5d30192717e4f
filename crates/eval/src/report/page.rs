//! The page around a report: one HTML file, no script, no external resource, light and dark.

use std::fmt::Write as _;

use plotters::style::RGBColor;

use super::canvas::color_of;

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

/// Plots with their captions.
pub(crate) fn push_figures<'a>(page: &mut String, plots: impl Iterator<Item = (&'a str, &'a str)>) {
    page.push_str("<div class=\"plots\">\n");
    for (svg, caption) in plots {
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
