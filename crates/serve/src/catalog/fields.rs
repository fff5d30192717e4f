//! The fields that every catalog has, the types of columns, and what an item may hold.

/// Longest id of an item, in bytes.
pub const MAX_ID_BYTES: usize = 512;
/// Longest text of a field, in bytes.
pub const MAX_TEXT_BYTES: usize = 16 * 1024;
/// Most texts of one list, such as the tags of an item.
pub const MAX_LIST_LEN: usize = 256;
/// Longest name of an attribute, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// Most different attributes over all items.
pub const MAX_ATTRIBUTES: usize = 256;
/// Most items, removed ones included.
pub const MAX_ITEMS: usize = u32::MAX as usize - 1;

/// Stands between the steps of a path when it is written as one text.
pub const PATH_SIGN: char = '>';

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ColumnType {
    /// Finite numbers.
    Number,
    /// True or false.
    Bool,
    /// A text.
    Text,
    /// A list of texts, such as tags.
    Texts,
    /// A path of texts from the widest to the narrowest, such as the category "Books > Novels".
    Path,
    /// A time, in milliseconds since 1970-01-01 UTC.
    Time,
}

impl ColumnType {
    /// With its article, for messages.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Number => "a number",
            Self::Bool => "true or false",
            Self::Text => "a text",
            Self::Texts => "a list of texts",
            Self::Path => "a path of categories",
            Self::Time => "a time",
        }
    }

    /// How a value of this type is written in JSON, to somebody who sent `found`.
    pub(super) fn hint(self, found: &str) -> &'static str {
        match (self, found) {
            (Self::Number, "a text") => "write it without quotes: 12.5",
            (Self::Number, _) => "write a number: 12.5",
            (Self::Bool, "a text") => "write it without quotes: true",
            (Self::Bool, _) => "write true or false",
            (Self::Text, "a number") => "write it in quotes: \"12\"",
            (Self::Text, _) => "write a text in quotes",
            (Self::Texts, "a text") => "put it into a list: [\"sale\"]",
            (Self::Texts, _) => "write a list of texts: [\"sale\", \"new\"]",
            (Self::Path, _) => "write \"Books > Novels\" or [\"Books\", \"Novels\"]",
            (Self::Time, _) => super::time::HINT,
        }
    }
}

/// The fields of every item and their types; everything further is an attribute. In the order in which they are
/// written; their columns have the same order.
pub const FIELDS: [(&str, ColumnType); 14] = [
    ("title", ColumnType::Text),
    ("description", ColumnType::Text),
    ("category", ColumnType::Path),
    ("brand", ColumnType::Text),
    ("price", ColumnType::Number),
    ("currency", ColumnType::Text),
    ("in_stock", ColumnType::Bool),
    ("stock_quantity", ColumnType::Number),
    ("margin", ColumnType::Number),
    ("published_at", ColumnType::Time),
    ("expires_at", ColumnType::Time),
    ("group_id", ColumnType::Text),
    ("image_url", ColumnType::Text),
    ("tags", ColumnType::Texts),
];

// Places in FIELDS of those that the assembly of lists reads itself.
pub(super) const CATEGORY: usize = 2;
pub(super) const BRAND: usize = 3;
pub(super) const PUBLISHED_AT: usize = 9;
pub(super) const EXPIRES_AT: usize = 10;
pub(super) const GROUP_ID: usize = 11;
pub(super) const TAGS: usize = 13;

/// The candidate that `name` was meant to be, if one is alike enough; the first of two that are equally so.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let mut best: Option<(f64, &str)> = None;
    for candidate in candidates {
        let similarity = strsim::jaro_winkler(name, candidate);
        if similarity >= 0.75 && best.is_none_or(|(other, _)| similarity > other) {
            best = Some((similarity, candidate));
        }
    }
    best.map(|(_, candidate)| candidate.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_of_the_fields_they_name() {
        let name = |place: usize| FIELDS[place].0;
        assert_eq!(name(CATEGORY), "category");
        assert_eq!(name(BRAND), "brand");
        assert_eq!(name(PUBLISHED_AT), "published_at");
        assert_eq!(name(EXPIRES_AT), "expires_at");
        assert_eq!(name(GROUP_ID), "group_id");
        assert_eq!(name(TAGS), "tags");
    }

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not() {
        let names = || FIELDS.iter().map(|(name, _)| *name);
        assert_eq!(nearest("prise", names()), Some("price".into()));
        assert_eq!(nearest("in_stok", names()), Some("in_stock".into()));
        assert_eq!(nearest("zzz", names()), None);
    }
}
