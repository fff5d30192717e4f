//! Which items could have stood in the place of the one that was shown, and what the row would have said of them.

use std::collections::BTreeMap;

use forecart_data::encode::{Row, Value};
use forecart_data::samples::{Role, SampleColumn};

/// Rows an item has on average from which on a column with one value for each item is taken to be the item's.
const ROWS_TO_TELL: usize = 5;

/// The items that were shown in rows of one kind, and where.
#[derive(Debug, Default)]
struct Pool {
    /// Rows of each item, ascending; items in the order of their names.
    shown: Vec<Vec<u32>>,
}

/// The candidates of each row.
#[derive(Debug)]
pub(super) struct Candidates {
    pools: Vec<Pool>,
    /// Of each row: its pool, and the place of its item there.
    of_row: Vec<(u32, u32)>,
    pub(super) n_items: usize,
}

/// A value as a key of a group.
fn text(value: &Value<'_>) -> String {
    match value {
        Value::Missing => String::new(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => text.trim().to_owned(),
        Value::List(texts) => texts.join("|"),
    }
}

impl Candidates {
    /// The candidates of a row are the items of all rows with the same values in the columns `within`.
    ///
    /// The first row without an item, if there is one.
    pub(super) fn new<R: Row>(rows: &[R], item: &str, within: &[String]) -> Result<Self, usize> {
        let mut pools: BTreeMap<Vec<String>, BTreeMap<String, Vec<u32>>> = BTreeMap::new();
        for (at, row) in rows.iter().enumerate() {
            let pool: Vec<String> = within.iter().map(|column| text(&row.value(column))).collect();
            let item = text(&row.value(item));
            if item.is_empty() {
                return Err(at);
            }
            pools.entry(pool).or_default().entry(item).or_default().push(at as u32);
        }
        let pools: Vec<Pool> = pools
            .into_values()
            .map(|items| Pool { shown: items.into_values().collect() })
            .collect();
        let mut of_row = vec![(0, 0); rows.len()];
        for (number, pool) in (0u32..).zip(&pools) {
            for (place, shown) in (0u32..).zip(&pool.shown) {
                shown.iter().for_each(|row| of_row[*row as usize] = (number, place));
            }
        }
        let n_items = pools.iter().map(|pool| pool.shown.len()).sum();
        Ok(Self { pools, of_row, n_items })
    }

    /// The place of the row's own item among its candidates.
    pub(super) fn shown(&self, row: usize) -> usize {
        self.of_row[row].1 as usize
    }

    /// For each candidate of a row the row that speaks of it: the last one that showed it, up to this one; where there is none, the first
    /// one after.
    pub(super) fn of(&self, row: usize) -> impl ExactSizeIterator<Item = usize> {
        self.pools[self.of_row[row].0 as usize].shown.iter().map(move |shown| {
            let n_before = shown.partition_point(|place| *place as usize <= row);
            shown[n_before.saturating_sub(1)] as usize
        })
    }

    /// Fewest and most candidates of a row.
    pub(super) fn sizes(&self) -> (usize, usize) {
        let sizes = self.pools.iter().map(|pool| pool.shown.len());
        (sizes.clone().min().unwrap_or(0), sizes.max().unwrap_or(0))
    }

    /// The columns that go with the item: itself, those that `named` names, those whose name begins with `item_` or `item.`, and those that have
    /// one value for each item in all rows but are not the same for all, where items are shown often enough to tell.
    pub(super) fn item_columns<R: Row>(
        &self,
        rows: &[R],
        columns: &[SampleColumn],
        (item, named, within): (&str, &[String], &[String]),
    ) -> Vec<String> {
        let is_feature = |column: &&SampleColumn| {
            matches!(column.role, Role::Feature) && !within.contains(&column.name)
        };
        let goes = |column: &&SampleColumn| {
            let name = column.name.as_str();
            name == item
                || named.iter().any(|named| named == name)
                || name.starts_with("item_")
                || name.starts_with("item.")
                || self.is_fixed(rows, name)
        };
        columns.iter().filter(is_feature).filter(goes).map(|column| column.name.clone()).collect()
    }

    fn is_fixed<R: Row>(&self, rows: &[R], column: &str) -> bool {
        if rows.len() < ROWS_TO_TELL * self.n_items {
            return false;
        }
        let mut items = self.pools.iter().flat_map(|pool| &pool.shown);
        let value = |row: &u32| rows[*row as usize].value(column);
        let first = value(&0);
        items.clone().any(|shown| value(&shown[0]) != first)
            && items.all(|shown| shown.iter().all(|row| value(row) == value(&shown[0])))
    }
}

/// A row as it would have been with another item.
#[derive(Debug)]
pub(super) struct WithItem<'a, R> {
    pub(super) row: &'a R,
    /// The row that speaks of the item.
    pub(super) item: &'a R,
    pub(super) item_columns: &'a [String],
}

impl<R: Row> Row for WithItem<'_, R> {
    fn value(&self, column: &str) -> Value<'_> {
        match self.item_columns.iter().any(|own| own == column) {
            true => self.item.value(column),
            false => self.row.value(column),
        }
    }
}

#[cfg(test)]
mod tests {
    use forecart_data::samples::ColumnKind;

    use super::*;

    type Columns = Vec<(&'static str, Value<'static>)>;

    struct Given(Columns);

    impl Row for Given {
        fn value(&self, column: &str) -> Value<'_> {
            self.0.as_slice().value(column)
        }
    }

    fn row(campaign: &'static str, item: &'static str, price: f64, clicks: f64) -> Given {
        Given(vec![
            ("campaign", Value::Text(campaign)),
            ("id", Value::Text(item)),
            ("price", Value::Number(price)),
            ("item_clicks", Value::Number(clicks)),
            ("hour", Value::Number(clicks)),
        ])
    }

    #[test]
    fn candidates_are_of_the_same_kind_and_stand_as_they_last_stood() {
        let rows = [
            row("a", "x", 5.0, 0.0),
            row("b", "z", 7.0, 0.0),
            row("a", "y", 6.0, 0.0),
            row("a", "x", 5.0, 1.0),
            row("a", "y", 6.0, 3.0),
        ];
        let found = Candidates::new(&rows, "id", &["campaign".into()]).unwrap();
        let of = |row| found.of(row).collect::<Vec<_>>();
        assert_eq!(of(0), [0, 2]); // y has not been shown yet: its first row
        assert_eq!(of(1), [1]);
        assert_eq!((of(2), of(3), of(4)), (vec![0, 2], vec![3, 2], vec![3, 4]));
        assert_eq!((found.shown(3), found.shown(4), found.n_items), (0, 1, 3));
        assert_eq!(found.sizes(), (1, 2));
        let all = Candidates::new(&rows, "id", &[]).unwrap();
        assert_eq!(all.of(1).collect::<Vec<_>>(), [0, 2, 1]);
        assert_eq!(Candidates::new(&rows, "none", &[]).unwrap_err(), 0);

        let item_columns = ["id".to_owned(), "item_clicks".to_owned()];
        let other = WithItem { row: &rows[4], item: &rows[3], item_columns: &item_columns };
        assert_eq!(other.value("id"), Value::Text("x"));
        assert_eq!(other.value("item_clicks"), Value::Number(1.0));
        assert_eq!(other.value("hour"), Value::Number(3.0));
    }

    #[test]
    fn what_is_fixed_for_each_item_goes_with_it() {
        let columns = [("campaign", ColumnKind::Category), ("id", ColumnKind::Category)];
        let numbers = ["price", "item_clicks", "hour"].map(|name| (name, ColumnKind::Number));
        let columns: Vec<SampleColumn> = columns
            .into_iter()
            .chain(numbers)
            .map(|(name, kind)| SampleColumn::new(name, kind, Role::Feature))
            .collect();
        let rows: Vec<Given> =
            (0..10).map(|at| row("a", ["x", "y"][at % 2], [5.0, 6.0][at % 2], at as f64)).collect();
        let of = |rows: &[Given], named: &[String]| {
            let found = Candidates::new(rows, "id", &[]).unwrap();
            found.item_columns(rows, &columns, ("id", named, &[]))
        };
        assert_eq!(of(&rows, &[]), ["id", "price", "item_clicks"]);
        assert_eq!(of(&rows, &["hour".into()]), ["id", "price", "item_clicks", "hour"]);
        // Too few rows to tell.
        assert_eq!(of(&rows[..8], &[]), ["id", "item_clicks"]);
    }
}
