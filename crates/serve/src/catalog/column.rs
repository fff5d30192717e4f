//! Columns: one value of one field for each item, or none.

use super::cell::Cell;
use super::dictionary::Dictionary;
use super::fields::ColumnType;
use super::item_row::ItemRow;

/// The code of a missing text or list.
pub(crate) const NO_CODE: u32 = u32::MAX;
/// A missing time; no time of the calendar has this number.
pub(crate) const NO_TIME: i64 = i64::MIN;

/// The values of one field. Rows past the end are missing: a column is as long as it must be.
#[derive(Debug, Clone)]
pub(crate) enum Column {
    /// NaN is missing: arithmetic and comparisons then need no second look. Fields are finite.
    Number(Vec<f64>),
    /// 0 false, 1 true, [`NO_BOOL`] missing.
    Bool(Vec<u8>),
    /// [`NO_TIME`] is missing.
    Time(Vec<i64>),
    Text(TextColumn),
    /// Of both [`ColumnType::Texts`] and [`ColumnType::Path`].
    Texts(TextsColumn),
}

/// A missing bool.
pub(crate) const NO_BOOL: u8 = 2;

/// Texts by code.
#[derive(Debug, Clone, Default)]
pub(crate) struct TextColumn {
    codes: Vec<u32>,
    texts: Dictionary<str>,
}

/// Lists of texts by code: whole lists stand once, as do their texts.
#[derive(Debug, Clone, Default)]
pub(crate) struct TextsColumn {
    codes: Vec<u32>,
    lists: Dictionary<[u32]>,
    /// Held once by each different list that they are in, as often as they are in it.
    texts: Dictionary<str>,
}

impl TextColumn {
    /// The code of a row's text, or [`NO_CODE`].
    #[inline]
    pub(crate) fn code(&self, row: ItemRow) -> u32 {
        self.codes.get(row.index()).copied().unwrap_or(NO_CODE)
    }

    /// A row's text.
    pub(crate) fn text(&self, row: ItemRow) -> Option<&str> {
        let code = self.code(row);
        (code != NO_CODE).then(|| self.texts.get(code))
    }

    /// The code of a text that some row holds.
    pub(crate) fn code_of(&self, text: &str) -> Option<u32> {
        self.texts.code(text)
    }

    fn set(&mut self, row: ItemRow, text: Option<&str>) {
        // Held before the old one is released: the same text again keeps its place.
        let new = text.map(|text| self.texts.hold(text).0);
        let old = put(&mut self.codes, row, new, NO_CODE);
        if old != NO_CODE {
            self.texts.release(old);
        }
    }
}

impl TextsColumn {
    /// The code of a row's list, or [`NO_CODE`]; equal lists have equal codes.
    #[inline]
    pub(crate) fn list_code(&self, row: ItemRow) -> u32 {
        self.codes.get(row.index()).copied().unwrap_or(NO_CODE)
    }

    /// The codes of a row's texts, in their order.
    #[inline]
    pub(crate) fn list(&self, row: ItemRow) -> Option<&[u32]> {
        let code = self.list_code(row);
        (code != NO_CODE).then(|| self.lists.get(code))
    }

    /// The text of a code that some list holds.
    pub(crate) fn text(&self, code: u32) -> &str {
        self.texts.get(code)
    }

    /// The code of a text that some list holds.
    pub(crate) fn code_of(&self, text: &str) -> Option<u32> {
        self.texts.code(text)
    }

    fn set(&mut self, row: ItemRow, texts: Option<&[String]>) {
        let new = texts.map(|texts| self.hold(texts));
        let old = put(&mut self.codes, row, new, NO_CODE);
        if old != NO_CODE
            && let Some(list) = self.lists.release(old)
        {
            list.iter().for_each(|text| drop(self.texts.release(*text)));
        }
    }

    fn hold(&mut self, texts: &[String]) -> u32 {
        let list: Vec<u32> = texts.iter().map(|text| self.texts.hold(text).0).collect();
        let (code, is_new) = self.lists.hold(&list);
        if !is_new {
            list.iter().for_each(|text| drop(self.texts.release(*text)));
        }
        code
    }
}

impl Column {
    pub(super) fn new(column_type: ColumnType) -> Self {
        match column_type {
            ColumnType::Number => Self::Number(Vec::new()),
            ColumnType::Bool => Self::Bool(Vec::new()),
            ColumnType::Time => Self::Time(Vec::new()),
            ColumnType::Text => Self::Text(TextColumn::default()),
            ColumnType::Texts | ColumnType::Path => Self::Texts(TextsColumn::default()),
        }
    }

    /// Puts a checked value into a row.
    ///
    /// # Panics
    /// If the value is of another type than the column.
    pub(super) fn set(&mut self, row: ItemRow, cell: &Cell) {
        match (self, cell) {
            (Self::Number(numbers), Cell::Number(number)) => {
                put(numbers, row, Some(*number), f64::NAN);
            }
            (Self::Number(numbers), Cell::Missing) => {
                put(numbers, row, None, f64::NAN);
            }
            (Self::Bool(bools), Cell::Bool(is)) => {
                put(bools, row, Some(u8::from(*is)), NO_BOOL);
            }
            (Self::Bool(bools), Cell::Missing) => {
                put(bools, row, None, NO_BOOL);
            }
            (Self::Time(times), Cell::Time(time)) => {
                put(times, row, Some(*time), NO_TIME);
            }
            (Self::Time(times), Cell::Missing) => {
                put(times, row, None, NO_TIME);
            }
            (Self::Text(column), Cell::Text(text)) => column.set(row, Some(text)),
            (Self::Text(column), Cell::Missing) => column.set(row, None),
            (Self::Texts(column), Cell::Texts(texts)) => column.set(row, Some(texts)),
            (Self::Texts(column), Cell::Missing) => column.set(row, None),
            (column, cell) => unreachable!("{cell:?} was checked to be of {column:?}"),
        }
    }

    /// The value of a row.
    pub(super) fn cell(&self, row: ItemRow) -> Cell {
        let at = row.index();
        match self {
            Self::Number(numbers) => match numbers.get(at) {
                Some(number) if !number.is_nan() => Cell::Number(*number),
                _ => Cell::Missing,
            },
            Self::Bool(bools) => match bools.get(at) {
                Some(&is) if is != NO_BOOL => Cell::Bool(is == 1),
                _ => Cell::Missing,
            },
            Self::Time(times) => match times.get(at) {
                Some(&time) if time != NO_TIME => Cell::Time(time),
                _ => Cell::Missing,
            },
            Self::Text(column) => {
                column.text(row).map_or(Cell::Missing, |text| Cell::Text(text.to_owned()))
            }
            Self::Texts(column) => column.list(row).map_or(Cell::Missing, |list| {
                Cell::Texts(list.iter().map(|code| column.text(*code).to_owned()).collect())
            }),
        }
    }

    pub(super) fn n_bytes(&self) -> usize {
        match self {
            Self::Number(numbers) => numbers.capacity() * 8,
            Self::Bool(bools) => bools.capacity(),
            Self::Time(times) => times.capacity() * 8,
            Self::Text(column) => column.codes.capacity() * 4 + column.texts.n_bytes(),
            Self::Texts(column) => {
                column.codes.capacity() * 4 + column.lists.n_bytes() + column.texts.n_bytes()
            }
        }
    }
}

/// Puts a value into a row, and returns what stood there.
///
/// Nothing past the end needs no room.
fn put<T: Copy>(values: &mut Vec<T>, row: ItemRow, value: Option<T>, missing: T) -> T {
    if row.index() >= values.len() {
        let Some(value) = value else { return missing };
        values.resize(row.index(), missing);
        values.push(value);
        return missing;
    }
    std::mem::replace(&mut values[row.index()], value.unwrap_or(missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_their_texts_are_given_back() {
        let mut column = TextsColumn::default();
        let list = |texts: &[&str]| -> Vec<String> { texts.iter().map(|t| (*t).into()).collect() };
        column.set(ItemRow(0), Some(&list(&["sale", "new"])));
        column.set(ItemRow(3), Some(&list(&["sale", "new"])));
        assert_eq!(column.list_code(ItemRow(0)), column.list_code(ItemRow(3)));
        assert_eq!(column.list(ItemRow(1)), None);
        column.set(ItemRow(0), None);
        assert!(column.code_of("new").is_some());
        column.set(ItemRow(3), Some(&list(&["sale"])));
        assert_eq!(column.code_of("new"), None);
        assert_eq!(column.text(column.list(ItemRow(3)).unwrap()[0]), "sale");
        column.set(ItemRow(3), Some(&[]));
        assert_eq!(column.list(ItemRow(3)), Some(&[][..]));
        assert_eq!(column.code_of("sale"), None);
    }
}
