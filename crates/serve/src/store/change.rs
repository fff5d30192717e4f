//! What other processes change in a store that is shared.

use std::time::Instant;

/// A change that another process made, or how far changes are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Changes are listened to from now on; those before may have been missed.
    Begin,
    /// All changes that had been made at this moment were told.
    Until(Instant),
    /// Events were written: of each the user, and the item if it is on one.
    Events(Vec<(String, Option<String>)>),
    /// A user was forgotten.
    Forgotten(String),
    /// Items were written.
    Items,
    /// Another version of a model was promoted, or one was taken back.
    Promotions,
    /// A key was made, or ends.
    Keys,
}
