//! What the store keeps beside events.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::event::Event;

/// An event of the log, with its place in it.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedEvent {
    /// Its place: later ones have larger numbers; some are missing.
    pub seq: i64,
    /// When it was written, in milliseconds since 1970.
    pub received_ms: i64,
    /// What it says.
    pub event: Event,
}

/// An item of the catalog as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ItemRecord {
    /// The shop's id.
    pub item_id: String,
    /// All attributes, as a JSON object.
    pub attributes: Map<String, Value>,
    /// Whether it was taken out of the catalog.
    pub is_removed: bool,
    /// When it was last changed.
    pub changed_ms: i64,
}

/// A user as kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserRecord {
    /// The shop's id.
    pub user_id: String,
    /// All attributes, as a JSON object; `consent` is one of them.
    pub attributes: Map<String, Value>,
    /// When it was last changed.
    pub changed_ms: i64,
}

/// That a user was forgotten; it does not say who.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Receipt {
    /// Its id, which the shop was given.
    pub receipt: String,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// Events that were removed.
    pub n_events: u64,
    /// Whether attributes were removed.
    pub had_attributes: bool,
}

/// That a version of a model was put in service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Promotion {
    /// The content hash of the model file.
    pub version: String,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
}

/// What a key may do; each may all that those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Ask for answers.
    Read,
    /// Send events, items and users too.
    Write,
    /// Models, deletion and export of users too.
    Admin,
}

impl Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        })
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "read" => Ok(Self::Read),
            "write" => Ok(Self::Write),
            "admin" => Ok(Self::Admin),
            other => Err(format!("{other:?} is none of read, write, admin")),
        }
    }
}

/// A key as it is kept: by its hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Its public part.
    pub key_id: String,
    /// SHA-256 of its secret part, in hexadecimal.
    pub secret_hash: String,
    /// What it may do.
    pub scope: Scope,
    /// When it was made.
    pub made_ms: i64,
    /// When it ends, if it does.
    pub ends_ms: Option<i64>,
}

/// How much is in a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoreCounts {
    /// Events.
    pub n_events: u64,
    /// Items of the catalog, without those removed.
    pub n_items: u64,
    /// Users with attributes.
    pub n_users: u64,
}
