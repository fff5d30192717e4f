//! Why an item is not taken as it was sent.

use super::fields::ColumnType;

/// Why the catalog did not take what it was given; nothing of it was applied.
///
/// ```
/// use forecart_serve::catalog::Catalog;
/// use serde_json::json;
///
/// let mut catalog = Catalog::new();
/// let error = catalog.upsert("mug", json!({"price": "9.90"}).as_object().unwrap()).unwrap_err();
/// assert_eq!(error.code(), "wrong_type");
/// assert_eq!(error.field(), Some("price"));
/// assert_eq!(error.hint(), "write it without quotes: 12.5");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// An id without a character.
    #[error("the id of an item is empty")]
    EmptyId,
    /// An id that is longer than [`MAX_ID_BYTES`](super::MAX_ID_BYTES).
    #[error("the id of an item has {n_bytes} bytes, more than {limit}")]
    LongId {
        /// How long it is.
        n_bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// `item_id` among the fields is not the id that the item is sent under.
    #[error("field item_id does not hold the id that the item is sent under, {id:?}")]
    OtherId {
        /// The id that the item is sent under.
        id: String,
    },
    /// No item that is served has this id.
    #[error("there is no item {id:?}")]
    UnknownItem {
        /// The id as it was sent.
        id: String,
    },
    /// More items than a 32-bit row can count.
    #[error("the catalog is full: it holds {limit} items, removed ones included")]
    TooManyItems {
        /// How many there may be.
        limit: usize,
    },
    /// A field that is none of the known ones.
    #[error("unknown field {field:?}")]
    UnknownField {
        /// The field as it was sent.
        field: String,
        /// The known field that is most alike, if one is.
        nearest: Option<String>,
    },
    /// A value of another type than the field's.
    #[error("field {field} is {found}, it must be {}", .expected.in_words())]
    WrongType {
        /// The field; `attributes.NAME` for an attribute.
        field: String,
        /// The field's type.
        expected: ColumnType,
        /// The type that was sent, in words.
        found: &'static str,
    },
    /// A value that no attribute can hold.
    #[error("attribute {field} is {found}, which an attribute cannot hold")]
    NoAttribute {
        /// `attributes.NAME`.
        field: String,
        /// The type that was sent, in words.
        found: &'static str,
    },
    /// `attributes` is not an object.
    #[error("field attributes is {found}, it must be an object")]
    AttributesNotObject {
        /// The type that was sent, in words.
        found: &'static str,
    },
    /// A number that is infinite or not a number.
    #[error("field {field} is not a finite number")]
    NotFinite {
        /// The field.
        field: String,
    },
    /// A text that is longer than [`MAX_TEXT_BYTES`](super::MAX_TEXT_BYTES).
    #[error("field {field} holds a text of {n_bytes} bytes, more than {limit}")]
    LongText {
        /// The field.
        field: String,
        /// How long it is.
        n_bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// A list with more than [`MAX_LIST_LEN`](super::MAX_LIST_LEN) texts.
    #[error("field {field} holds {n_texts} texts, more than {limit}")]
    LongList {
        /// The field.
        field: String,
        /// How many there are.
        n_texts: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A step of a category path that is empty or holds the sign between steps.
    #[error("field {field} has {step:?} as a step of a path")]
    BadStep {
        /// The field.
        field: String,
        /// The step.
        step: String,
    },
    /// A time that cannot be read.
    #[error("field {field} is {found:?}, which is not a time")]
    BadTime {
        /// The field.
        field: String,
        /// The value as it was sent.
        found: String,
    },
    /// A name that no attribute can have.
    #[error("an attribute cannot be called {name:?}: {reason}")]
    BadName {
        /// The name as it was sent.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// More attributes than [`MAX_ATTRIBUTES`](super::MAX_ATTRIBUTES) over all items.
    #[error("attribute {name:?} is new, and items have {limit} different attributes already")]
    TooManyAttributes {
        /// The attribute that is one too many.
        name: String,
        /// How many there may be.
        limit: usize,
    },
    /// A column that stands already, with another type.
    #[error("column {name} holds {}, it cannot hold {} too", .found.in_words(), .wanted.in_words())]
    OtherColumn {
        /// The column.
        name: String,
        /// Its type.
        found: ColumnType,
        /// The type that it was to have.
        wanted: ColumnType,
    },
}

impl CatalogError {
    /// What went wrong, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::EmptyId => "empty_id",
            Self::LongId { .. } => "id_too_long",
            Self::OtherId { .. } => "other_id",
            Self::UnknownItem { .. } => "unknown_item",
            Self::TooManyItems { .. } => "too_many_items",
            Self::UnknownField { .. } => "unknown_field",
            Self::WrongType { .. }
            | Self::NoAttribute { .. }
            | Self::AttributesNotObject { .. }
            | Self::OtherColumn { .. } => "wrong_type",
            Self::NotFinite { .. } => "not_finite",
            Self::LongText { .. } => "text_too_long",
            Self::LongList { .. } => "list_too_long",
            Self::BadStep { .. } => "bad_category",
            Self::BadTime { .. } => "bad_timestamp",
            Self::BadName { .. } => "bad_attribute_name",
            Self::TooManyAttributes { .. } => "too_many_attributes",
        }
    }

    /// What went wrong, for people.
    pub fn message(&self) -> String {
        self.to_string()
    }

    /// The field that it is about.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::EmptyId | Self::LongId { .. } | Self::OtherId { .. } => Some("item_id"),
            Self::UnknownItem { .. } => Some("item_id"),
            Self::TooManyItems { .. } => None,
            Self::AttributesNotObject { .. } => Some("attributes"),
            Self::UnknownField { field, .. }
            | Self::WrongType { field, .. }
            | Self::NoAttribute { field, .. }
            | Self::NotFinite { field }
            | Self::LongText { field, .. }
            | Self::LongList { field, .. }
            | Self::BadStep { field, .. }
            | Self::BadTime { field, .. } => Some(field),
            Self::BadName { name, .. }
            | Self::TooManyAttributes { name, .. }
            | Self::OtherColumn { name, .. } => Some(name),
        }
    }

    /// How to put it right.
    pub fn hint(&self) -> String {
        match self {
            Self::EmptyId => "give the item the id that it has in the shop's events".into(),
            Self::LongId { limit, .. } => format!("an id has at most {limit} bytes"),
            Self::OtherId { .. } => "leave item_id out, or write the id of the address".into(),
            Self::UnknownItem { .. } => "create it with PUT; PATCH changes what is there".into(),
            Self::TooManyItems { .. } => "start again with a catalog of the items that live".into(),
            Self::UnknownField { nearest: Some(nearest), .. } => {
                format!("did you mean {nearest:?}? Further fields go into \"attributes\"")
            }
            Self::UnknownField { nearest: None, .. } => {
                "further fields go into \"attributes\"".into()
            }
            Self::WrongType { expected, found, .. } => expected.hint(found).into(),
            Self::NoAttribute { .. } => {
                "an attribute is a number, true or false, a text or a list of texts".into()
            }
            Self::AttributesNotObject { .. } => {
                "write {\"attributes\": {\"color\": \"red\"}}".into()
            }
            Self::NotFinite { .. } => "send a finite number, or null where there is none".into(),
            Self::LongText { limit, .. } => format!("send at most {limit} bytes"),
            Self::LongList { limit, .. } => format!("send at most {limit} texts"),
            Self::BadStep { .. } => {
                "one item has one path: \"Books > Novels\" or [\"Books\", \"Novels\"]; \
                 further categories go into \"tags\""
                    .into()
            }
            Self::BadTime { .. } => super::time::HINT.into(),
            Self::BadName { .. } => "choose another name".into(),
            Self::TooManyAttributes { .. } => {
                "put what differs from item to item into \"tags\"".into()
            }
            Self::OtherColumn { .. } => "give it another name, or declare the type it has".into(),
        }
    }
}
