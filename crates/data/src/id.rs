//! External ids and dense indices, as different types so that one is never taken for the other.

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! external_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The id as the shop writes it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl<T: Into<String>> From<T> for $name {
            fn from(id: T) -> Self {
                Self(id.into())
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

macro_rules! dense_index {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default,
            Serialize, Deserialize, bytemuck::Pod, bytemuck::Zeroable,
        )]
        #[repr(transparent)]
        #[serde(transparent)]
        pub struct $name(pub u32);

        impl $name {
            /// The bucket of everything that the vocabulary does not hold. Always index 0.
            pub const UNKNOWN: Self = Self(0);

            /// The index as a position in a table that has the unknown bucket as row 0.
            pub const fn row(self) -> usize {
                self.0 as usize
            }

            /// Whether this is a real entry, not the unknown bucket.
            pub const fn is_known(self) -> bool {
                self.0 != 0
            }
        }
    };
}

external_id! {
    /// A user's id as in the shop's log. Any characters are allowed; it is never empty.
    UserId
}
external_id! {
    /// An item's id as in the shop's log. Any characters are allowed; it is never empty.
    ItemId
}
dense_index! {
    /// Dense index of a user in a dataset's user vocabulary; 0 is the unknown user.
    UserIdx
}
dense_index! {
    /// Dense index of an item in a dataset's item vocabulary; 0 is the unknown item.
    ///
    /// Ties between equal scores are broken by this index, the smaller first.
    ItemIdx
}
