//! Neighborhoods: items that the same users chose, users who chose the same items, items of the same baskets or words.
//!
//! One code compares both: things are rows over features, items over users or users over items. [`Interactions`] holds
//! the rows, `weigher` turns ratings into weights, `comparison` compares rows by an inverted index of the features.
//! Start at [`NeighborKeys`], which gives the formulas.

mod comparison;
mod content;
mod item_knn;
mod keys;
mod together;
mod user_knn;
mod weigher;

pub use content::{Content, ContentConfig};
pub use item_knn::{ItemKnn, ItemKnnConfig};
pub use keys::{NeighborKeys, Similarity, Weighting};
pub use together::{RuleMeasure, Together, TogetherConfig};
pub use user_knn::{UserKnn, UserKnnConfig};

use super::interactions::{Interactions, ratings_of};
