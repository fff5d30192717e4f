//! `manifest.json` of an order table.

use serde::{Deserialize, Serialize};

use crate::dataset::Reason;
use crate::folder::Files;

/// The newest format of order tables that this program writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// What `format` says in the manifest of every order table.
pub(super) const FORMAT: &str = "forecart-orders";

/// What the writer of an order table knows beside the orders.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrderDescription {
    /// Days of a period.
    pub period_days: u32,
    /// First moment of the first period, milliseconds UTC.
    pub start_ms: i64,
    /// Periods of the calendar; the last one is complete.
    pub n_periods: u32,
    /// Hash of the log's inputs.
    pub data_hash: String,
    /// The configuration that made it, after all defaults.
    pub config: serde_json::Value,
    /// Rows of the log that are in no order, by reason, most first.
    pub left_out: Vec<Reason>,
}

/// `manifest.json` of an order table. Holds no clock times and no paths: the same log and configuration give the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrderManifest {
    /// Always `forecart-orders`.
    pub format: String,
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Version of the program that wrote it.
    pub forecart_version: String,
    /// SHA-256 over the names and hashes of all files.
    pub content_hash: String,
    /// Items with an order.
    pub n_items: u64,
    /// Orders of an item, all items together.
    pub n_orders: u64,
    /// Where it came from and what was done.
    #[serde(flatten)]
    pub description: OrderDescription,
    /// The files, by name.
    pub files: Files,
}
