//! Writes an order table, item by item.

use std::path::Path;

use super::manifest::{FORMAT, FORMAT_VERSION, OrderDescription, OrderManifest};
use crate::background::{BackgroundFile, WrittenFile};
use crate::error::DataError;
use crate::folder::{self, FileEntry, Files};
use crate::storage::Replacement;
use crate::texts::TextTable;

/// Streams an order table into a temporary folder and puts it in place at the end.
///
/// # Cost
/// Memory grows with the ids of the items.
#[derive(Debug)]
pub struct OrderWriter {
    replacement: Replacement,
    items: TextTable,
    offsets: BackgroundFile,
    periods: BackgroundFile,
    units: BackgroundFile,
    n_orders: u64,
    last_period: u32,
}

impl OrderWriter {
    /// Starts a table that will stand in `folder`.
    ///
    /// # Errors
    /// [`DataError::Io`] if the files cannot be made.
    pub fn new(folder: &Path) -> Result<Self, DataError> {
        let replacement = Replacement::folder(folder)?;
        let file = |name: &str| BackgroundFile::create(&replacement.path().join(name), true);
        let mut offsets = file("offsets.u64")?;
        offsets.push(&[0u64])?;
        Ok(Self {
            offsets,
            periods: file("periods.u32")?,
            units: file("units.f64")?,
            items: TextTable::default(),
            n_orders: 0,
            last_period: 0,
            replacement,
        })
    }

    /// Adds an item, whose id is after those before, and its orders as period and units. They are sorted here.
    ///
    /// # Errors
    /// [`DataError::Inconsistent`] if the id is not after the one before or an order is of no units, [`DataError::Io`].
    pub fn push(&mut self, item: &str, orders: &mut [(u32, f64)]) -> Result<(), DataError> {
        let refuse = |reason: String| Err(DataError::Inconsistent { reason });
        if !self.items.is_empty() && self.items.get(self.items.len() - 1) >= item {
            return refuse(format!("item {item:?} is not after the one before"));
        }
        if let Some((_, units)) =
            orders.iter().find(|(_, units)| !(*units > 0.0 && units.is_finite()))
        {
            return refuse(format!("an order of {units} units of item {item:?}"));
        }
        orders.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        for (period, units) in &*orders {
            self.periods.push(&[*period])?;
            self.units.push(&[*units])?;
        }
        self.last_period = self.last_period.max(orders.last().map_or(0, |(period, _)| *period));
        self.n_orders += orders.len() as u64;
        self.offsets.push(&[self.n_orders])?;
        self.items.push(item);
        Ok(())
    }

    /// Items so far.
    pub fn n_items(&self) -> usize {
        self.items.len()
    }

    /// Writes ids and manifest, syncs, and puts the folder in place of an older one.
    ///
    /// # Errors
    /// [`DataError::Inconsistent`] if an order is past the last period, [`DataError::Io`].
    pub fn finish(self, description: OrderDescription) -> Result<OrderManifest, DataError> {
        let Self { replacement, items, offsets, periods, units, n_orders, last_period } = self;
        if n_orders > 0 && last_period >= description.n_periods {
            let reason = format!("an order in period {last_period} of {}", description.n_periods);
            return Err(DataError::Inconsistent { reason });
        }
        let root = replacement.path().to_owned();
        let mut files = Files::new();
        for (name, file) in
            [("offsets.u64", offsets), ("periods.u32", periods), ("units.f64", units)]
        {
            let WrittenFile { n_bytes, sha256 } = file.finish()?;
            let entry = FileEntry { n_bytes, sha256: sha256.unwrap_or_default() };
            files.insert(name.to_owned(), entry);
        }
        folder::write(&root, "items.texts", &items.to_bytes(), &mut files)?;
        let manifest = OrderManifest {
            format: FORMAT.into(),
            format_version: FORMAT_VERSION,
            forecart_version: env!("CARGO_PKG_VERSION").into(),
            content_hash: folder::content_hash(&files),
            n_items: items.len() as u64,
            n_orders,
            description,
            files,
        };
        folder::write_manifest(&root, &manifest)?;
        replacement.commit()?;
        Ok(manifest)
    }
}
