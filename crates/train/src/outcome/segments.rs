//! The parts of measured rows by the columns of their table.

use forecart_data::SampleTable;
use forecart_data::samples::{ColumnData, Role};
use forecart_eval::probability::SegmentColumn;

/// Texts of a column that are a segment of their own, the most frequent ones.
const N_TEXTS: usize = 9;

/// Segments by each column that models learn from, and by time. Lists are no parts: a row may have several values.
pub(super) fn segment_columns(table: &SampleTable, rows: &[u32]) -> Vec<(String, SegmentColumn)> {
    let is_one = |role| matches!(role, Role::Feature | Role::Position | Role::Time);
    let columns = table.columns().filter(|(column, _)| is_one(column.role));
    let found = columns.filter_map(|(column, data)| {
        let segments = match data {
            ColumnData::Category { codes, texts } => {
                let codes: Vec<u32> = rows.iter().map(|row| codes[*row as usize]).collect();
                // Row 0 of the texts is the missing value.
                let name = |code: usize| match code {
                    0 => "missing".to_owned(),
                    code => texts.get(code).to_owned(),
                };
                SegmentColumn::of_codes(&codes, texts.len(), N_TEXTS, name)
            }
            ColumnData::Number(values) => {
                let numbers: Vec<f64> = rows.iter().map(|row| values[*row as usize]).collect();
                SegmentColumn::quarters(&numbers, short)
            }
            ColumnData::Time(_) => {
                SegmentColumn::quarters_of_time(rows.iter().map(|row| data.time_ms(*row as usize)))
            }
            ColumnData::List { .. } => return None,
        };
        Some((column.name.clone(), segments))
    });
    found.collect()
}

/// Four significant digits.
fn short(number: f64) -> String {
    match format!("{number:.3e}").parse::<f64>() {
        Ok(rounded) if (1e-4..1e9).contains(&rounded.abs()) || rounded == 0.0 => {
            rounded.to_string()
        }
        Ok(rounded) => format!("{rounded:e}"),
        Err(_) => number.to_string(),
    }
}
