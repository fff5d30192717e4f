//! Attributes that are moments, put against the cut.

use std::collections::BTreeSet;

use forecart_data::dataset::AttributeMoments;
use forecart_data::encode::{ColumnSpec, FeatureSpec, Row};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Moments in milliseconds from 1990 to 2100; prices and counts do not come near.
const MILLISECONDS: std::ops::Range<f64> = 6.3e11..4.1e12;
/// Seconds of the same years; only where the column's name speaks of time.
const SECONDS: std::ops::Range<f64> = 6.3e8..4.1e9;
/// Names of columns in which a moment of the future is a plan, known before it comes.
const PLANS: &[&str] = &["expire", "expir", "until", "valid_to", "end"];
const N_EXAMPLES: usize = 3;

/// Looks at the encoded columns of the catalog for moments after the test part has begun.
pub(super) struct Moments {
    test_start_ms: i64,
    columns: Vec<Column>,
}

struct Column {
    found: AttributeMoments,
    speaks_of_time: bool,
    /// A value that is no moment: the column holds something else.
    is_something_else: bool,
}

impl Moments {
    /// Without a cut in time there is nothing to look for.
    pub(super) fn new(spec: &FeatureSpec, test_start_ms: Option<i64>) -> Self {
        let names: BTreeSet<&str> = spec.columns.iter().map(ColumnSpec::column).collect();
        let columns = names.into_iter().map(|name| {
            let lower = name.to_lowercase();
            let found = AttributeMoments {
                column: name.to_owned(),
                n_items: 0,
                n_after_test_start: 0,
                examples: Vec::new(),
            };
            let words = ["time", "date", "_at", "since", "sold", "seen"];
            Column {
                found,
                speaks_of_time: words.iter().any(|word| lower.contains(word)),
                is_something_else: PLANS.iter().any(|plan| lower.contains(plan)),
            }
        });
        let columns = if test_start_ms.is_some() { columns.collect() } else { Vec::new() };
        Self { test_start_ms: test_start_ms.unwrap_or(i64::MAX), columns }
    }

    /// Looks at the attributes of an item that training has.
    pub(super) fn observe<R: Row>(&mut self, item: &str, row: &R) {
        for column in self.columns.iter_mut().filter(|column| !column.is_something_else) {
            let value = row.value(&column.found.column);
            let mut texts = Vec::new();
            value.for_each_text(None, |text| texts.push(text.to_owned()));
            let Some(text) = texts.first() else { continue };
            let Some(time_ms) = moment(value.number(), text, column.speaks_of_time) else {
                column.is_something_else = true;
                continue;
            };
            column.found.n_items += 1;
            if time_ms >= self.test_start_ms {
                column.found.n_after_test_start += 1;
                if column.found.examples.len() < N_EXAMPLES {
                    column.found.examples.push(format!("item {item:?}: {text}"));
                }
            }
        }
    }

    /// The columns that hold moments and nothing else.
    pub(super) fn finish(self) -> Vec<AttributeMoments> {
        let moments = self.columns.into_iter().filter(|column| !column.is_something_else);
        moments.map(|column| column.found).filter(|found| found.n_items > 0).collect()
    }
}

/// Milliseconds UTC of a value that is a moment or a day.
fn moment(number: Option<f64>, text: &str, speaks_of_time: bool) -> Option<i64> {
    if let Some(number) = number {
        return match number {
            n if MILLISECONDS.contains(&n) => Some(n as i64),
            n if speaks_of_time && SECONDS.contains(&n) => Some(n as i64 * 1000),
            _ => None,
        };
    }
    let instant = text.parse::<Timestamp>().ok();
    let civil = || text.parse::<DateTime>().ok()?.to_zoned_datetime(TimeZone::UTC).ok();
    let instant = instant.or_else(|| civil().map(|zoned| zoned.timestamp()));
    instant.map(Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::*;
    use forecart_data::encode::Value;

    const CUT: i64 = 1_700_000_000_000;

    fn found(column: &str, values: &[Value<'_>]) -> Vec<AttributeMoments> {
        let spec = FeatureSpec::new(vec![ColumnSpec::one_hot(column, 1)]);
        let mut moments = Moments::new(&spec, Some(CUT));
        for value in values {
            moments.observe("lamp", &MapRow(column, value.clone()));
        }
        moments.finish()
    }

    struct MapRow<'a>(&'a str, Value<'a>);

    impl Row for MapRow<'_> {
        fn value(&self, column: &str) -> Value<'_> {
            if column == self.0 { self.1.clone() } else { Value::Missing }
        }
    }

    #[test]
    fn moments_are_found_in_every_spelling() {
        let spellings = [
            Value::Number(1_800_000_000_000.0),
            Value::Number(1_800_000_000.0),
            Value::Text("2027-01-15"),
            Value::Text("2027-01-15T08:00:00Z"),
            Value::Text("2027-01-15 08:00:00"),
            Value::Text("1800000000"),
        ];
        for value in spellings {
            let found = found("last_sold_at", &[value.clone(), Value::Text("2020-02-01")]);
            assert_eq!((found[0].n_items, found[0].n_after_test_start), (2, 1), "{value:?}");
            assert_eq!(found[0].examples.len(), 1);
        }
    }

    #[test]
    fn other_columns_are_let_alone() {
        assert!(found("price", &[Value::Number(1_800_000_000.0)]).is_empty(), "rich, not late");
        assert!(found("expires_at", &[Value::Text("2027-01-15")]).is_empty(), "a plan");
        assert!(found("updated_at", &[Value::Text("2027-01-15"), Value::Text("never")]).is_empty());
        assert!(found("color", &[Value::Text("red")]).is_empty());
        let spec = FeatureSpec::new(vec![ColumnSpec::one_hot("updated_at", 1)]);
        let mut without_cut = Moments::new(&spec, None);
        without_cut.observe("lamp", &MapRow("updated_at", Value::Text("2027-01-15")));
        assert!(without_cut.finish().is_empty());
    }
}
