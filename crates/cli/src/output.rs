//! Printing: tables for people, one JSON object for programs.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, presets};
use serde::Serialize;

/// Whether nothing is written: a verb runs others.
static IS_QUIET: AtomicBool = AtomicBool::new(false);

/// Does something that others would see the output of, and writes none of it.
pub(crate) fn quietly<T>(work: impl FnOnce() -> T) -> T {
    IS_QUIET.store(true, Ordering::Relaxed);
    let done = work();
    IS_QUIET.store(false, Ordering::Relaxed);
    done
}

/// Writes a line to standard output. A closed pipe (`forecart ... | head`) ends the program as it
/// ends others: quietly.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    if IS_QUIET.load(Ordering::Relaxed) {
        return Ok(());
    }
    written(writeln!(std::io::stdout().lock(), "{text}"))
}

/// What became of writing to standard output, with the quiet end of [`line()`].
pub(crate) fn written(result: std::io::Result<()>) -> anyhow::Result<()> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        result => result.context("write to standard output"),
    }
}

/// Prints `value` as one JSON object on one line.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string(value)?)
}

/// A table with right-aligned columns from `first_number` on.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>], first_number: usize) -> String {
    let mut table = Table::new();
    let style = presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none());
    table.load_style(style).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header);
    for row in rows {
        table.add_row(row.iter().enumerate().map(|(column, text)| {
            let alignment =
                if column >= first_number { CellAlignment::Right } else { CellAlignment::Left };
            Cell::new(text).set_alignment(alignment)
        }));
    }
    table.to_string()
}

/// A count with thousands separators: `541,909`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn counts_have_separators() {
        for (n, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (541_909, "541,909")] {
            assert_eq!(super::count(n), text);
        }
    }
}
