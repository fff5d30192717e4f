//! Order tables: how many units of each item were bought in which period, order by order; what demand is forecast from.
//!
//! ```text
//! orders/
//!   manifest.json      length of a period, first moment, counts, hash of every file
//!   items.texts        ids of the items, ascending
//!   offsets.u64        the start of each item's orders, [n_items + 1]
//!   periods.u32        the period of each order, never falling within an item, [n_orders]
//!   units.f64          the units of each order, [n_orders]
//! ```
//! Little endian and memory-mapped. Periods are all of one length and lie on one calendar for all items; an item without an order in a
//! period has sold nothing in it. Start at [`OrderTable::open`]; [`OrderWriter`] makes one.

mod manifest;
mod writer;

use std::path::{Path, PathBuf};

pub use manifest::{FORMAT_VERSION, OrderDescription, OrderManifest};
pub use writer::OrderWriter;

use crate::error::DataError;
use crate::folder::{self, MANIFEST};
use crate::sequences::Column;
use crate::texts::TextTable;

/// An order table, opened.
#[derive(Debug)]
pub struct OrderTable {
    folder: PathBuf,
    /// What the folder holds and how it was made.
    pub manifest: OrderManifest,
    items: TextTable,
    offsets: Column<u64>,
    periods: Column<u32>,
    units: Column<f64>,
}

/// The orders of one item, oldest first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Orders<'a> {
    /// The period of each, never falling.
    pub periods: &'a [u32],
    /// The units of each, above 0.
    pub units: &'a [f64],
}

impl<'a> Orders<'a> {
    /// Those before a period.
    pub fn before(self, period: u32) -> Self {
        let n = self.periods.partition_point(|at| *at < period);
        Self { periods: &self.periods[..n], units: &self.units[..n] }
    }

    /// The last `n` of them.
    pub fn newest(self, n: usize) -> Self {
        let first = self.periods.len().saturating_sub(n);
        Self { periods: &self.periods[first..], units: &self.units[first..] }
    }

    /// The period of the first order.
    pub fn first_period(self) -> Option<u32> {
        self.periods.first().copied()
    }

    /// Units sold in each of the first `n` periods of the calendar; what came later is left out.
    pub fn units_by_period(self, n: u32) -> Vec<f64> {
        let mut sums = vec![0.0; n as usize];
        let Orders { periods, units } = self.before(n);
        periods.iter().zip(units).for_each(|(period, units)| sums[*period as usize] += units);
        sums
    }

    /// Number of orders in each of the first `n` periods of the calendar.
    pub fn count_by_period(self, n: u32) -> Vec<f64> {
        let mut counts = vec![0.0; n as usize];
        self.before(n).periods.iter().for_each(|period| counts[*period as usize] += 1.0);
        counts
    }
}

impl OrderTable {
    /// Whether the folder says of itself that it is an order table.
    pub fn is_at(folder: &Path) -> bool {
        folder::format_of(folder).is_some_and(|format| format == manifest::FORMAT)
    }

    /// Opens the table in `folder` and checks everything that later reads rely on; the hashes of the files are not compared (see
    /// [`Self::verify`]).
    ///
    /// # Errors
    /// [`DataError::NotAnOrderTable`], [`DataError::FormatVersion`], [`DataError::Damaged`] or [`DataError::Io`].
    pub fn open(folder: &Path) -> Result<Self, DataError> {
        if !folder.join(MANIFEST).is_file() {
            return Err(DataError::NotAnOrderTable { path: folder.to_owned() });
        }
        let manifest: OrderManifest =
            folder::read_manifest(folder, manifest::FORMAT, FORMAT_VERSION)?;
        folder::check_files(folder, &manifest.files)?;
        let path = folder.join("items.texts");
        let table = Self {
            folder: folder.to_owned(),
            items: TextTable::from_bytes(&folder::read(&path)?, &path)?,
            offsets: folder::map(folder, "offsets.u64")?,
            periods: folder::map(folder, "periods.u32")?,
            units: folder::map(folder, "units.f64")?,
            manifest,
        };
        table.check().map_err(|reason| DataError::damaged(folder, reason))?;
        Ok(table)
    }

    fn check(&self) -> Result<(), String> {
        let Self { manifest, items, offsets, periods, units, .. } = self;
        let ends = (offsets.first(), offsets.last());
        if offsets.len() != items.len() + 1
            || ends != (Some(&0), Some(&(units.len() as u64)))
            || !offsets.is_sorted()
            || periods.len() != units.len()
        {
            return Err("the orders of the items are not those of its files".into());
        }
        if (manifest.n_items, manifest.n_orders) != (items.len() as u64, units.len() as u64) {
            return Err("items or orders are not as many as the manifest says".into());
        }
        if manifest.description.period_days == 0 {
            return Err("a period has no days".into());
        }
        if !units.iter().all(|units| *units > 0.0 && units.is_finite()) {
            return Err("an order is of no units".into());
        }
        let n_periods = manifest.description.n_periods;
        for item in 0..items.len() {
            let periods = self.orders(item).periods;
            if !periods.is_sorted() || periods.last().is_some_and(|last| *last >= n_periods) {
                return Err(format!("the periods of item {:?} are out of order", items.get(item)));
            }
            if item > 0 && items.get(item - 1) >= items.get(item) {
                return Err("its items are out of order".into());
            }
        }
        Ok(())
    }

    /// Reads every file and compares it with the hash in the manifest.
    ///
    /// # Errors
    /// [`DataError::Damaged`] names the first file that differs.
    pub fn verify(&self) -> Result<(), DataError> {
        folder::verify_files(&self.folder, &self.manifest.files)
    }

    /// The folder that was opened.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Number of items.
    pub fn n_items(&self) -> usize {
        self.items.len()
    }

    /// Periods of the calendar.
    pub fn n_periods(&self) -> u32 {
        self.manifest.description.n_periods
    }

    /// The id of an item.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn item_id(&self, item: usize) -> &str {
        self.items.get(item)
    }

    /// The item with this id.
    pub fn item(&self, id: &str) -> Option<usize> {
        let (mut low, mut high) = (0, self.items.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.items.get(middle).cmp(id) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(middle),
            }
        }
        None
    }

    /// The orders of an item.
    ///
    /// # Panics
    /// If there are not that many items.
    pub fn orders(&self, item: usize) -> Orders<'_> {
        let range = self.offsets[item] as usize..self.offsets[item + 1] as usize;
        Orders { periods: &self.periods[range.clone()], units: &self.units[range] }
    }
}
