//! The file of a forecast of demand.

use std::path::Path;

use forecart_data::{OrderTable, TextTable};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::container;
use super::header::{FORMAT, FORMAT_VERSION, FileHeader};
use crate::error::ModelError;
use crate::purchase::demand::{DemandSpec, FittedDemand};
use crate::tensors::{TensorData, Tensors};

/// The order table that a forecast learned from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrderFacts {
    /// Hash of the log's inputs.
    pub data_hash: String,
    /// Content hash of the folder.
    pub content_hash: String,
    /// Days of a period.
    pub period_days: u32,
    /// First moment of the first period, milliseconds UTC.
    pub start_ms: i64,
    /// Periods that have passed: the first forecast is of the next one.
    pub n_periods: u32,
}

impl OrderFacts {
    /// First moment of the period `ahead` periods after the first that is forecast, milliseconds UTC.
    pub fn period_start_ms(&self, ahead: u32) -> i64 {
        const DAY_MS: i64 = 86_400_000;
        let periods = i64::from(self.n_periods) + i64::from(ahead);
        let days = periods.saturating_mul(i64::from(self.period_days));
        self.start_ms.saturating_add(days.saturating_mul(DAY_MS))
    }
}

/// The header of the file. Holds no clock times, paths or numbers of threads: the same orders and hyperparameters give the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DemandHeader {
    /// SHA-256 over the rest of the header and all tensors. First, so that it can be left out of what is hashed.
    pub content_hash: String,
    /// Always `forecart-model`.
    pub format: String,
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// Version of the program that wrote it.
    pub forecart_version: String,
    /// Always `demand`.
    pub task: String,
    /// The model's name in the registry.
    pub model: String,
    /// Its hyperparameters.
    pub hyperparameters: Value,
    /// What it learned from.
    pub orders: OrderFacts,
}

impl FileHeader for DemandHeader {
    const TASKS: &'static str = "demand";

    fn is_of(task: &str) -> bool {
        task == "demand"
    }

    fn content_hash_mut(&mut self) -> &mut String {
        &mut self.content_hash
    }
}

/// A forecast of all items with what it came from: the content of a model file.
#[derive(Debug)]
pub struct DemandModelFile {
    header: DemandHeader,
    items: TextTable,
    fitted: FittedDemand,
}

container::as_file!(DemandModelFile);

impl DemandModelFile {
    /// `fitted`, which `spec` learned from all of `table`.
    ///
    /// # Errors
    /// [`ModelError::Damaged`] if it has not the items of the table.
    pub fn new(
        spec: &DemandSpec,
        fitted: FittedDemand,
        table: &OrderTable,
    ) -> Result<Self, ModelError> {
        if fitted.n_items() != table.n_items() {
            return Err(ModelError::damaged("it is of other items than the order table"));
        }
        let description = &table.manifest.description;
        let header = DemandHeader {
            content_hash: String::new(),
            format: FORMAT.to_owned(),
            format_version: FORMAT_VERSION,
            forecart_version: env!("CARGO_PKG_VERSION").to_owned(),
            task: DemandHeader::TASKS.to_owned(),
            model: spec.name().to_owned(),
            hyperparameters: spec.hyperparameters(),
            orders: OrderFacts {
                data_hash: description.data_hash.clone(),
                content_hash: table.manifest.content_hash.clone(),
                period_days: description.period_days,
                start_ms: description.start_ms,
                n_periods: description.n_periods,
            },
        };
        let items = (0..table.n_items()).map(|item| table.item_id(item)).collect();
        let mut file = Self { header, items, fitted };
        file.header = container::write(&file.header, &file.tensors()?)?.1;
        Ok(file)
    }

    fn tensors(&self) -> Result<Tensors, ModelError> {
        let fitted = serde_json::to_vec(&self.fitted)
            .map_err(|error| ModelError::damaged(format!("forecast: {error}")))?;
        let mut tensors = Tensors::default();
        tensors.insert("items", TensorData::U8(self.items.to_bytes()));
        tensors.insert("forecast", TensorData::U8(fitted));
        Ok(tensors)
    }

    /// Reads the bytes of a model file. Any bytes give a model or an error.
    ///
    /// # Errors
    /// [`ModelError::Damaged`], [`ModelError::FormatVersion`], [`ModelError::OtherTask`]; [`ModelError::UnknownModel`],
    /// [`ModelError::UnknownKey`] or [`ModelError::Hyperparameter`] for a model of another program.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        let (header, mut tensors): (DemandHeader, _) = container::read(bytes)?;
        DemandSpec::from_name(&header.model, &header.hyperparameters)?;
        let items = TextTable::from_bytes(&tensors.take_u8("items")?, Path::new("items"))?;
        let fitted: FittedDemand = serde_json::from_slice(&tensors.take_u8("forecast")?)
            .map_err(|error| ModelError::damaged(format!("forecast: {error}")))?;
        tensors.expect_empty()?;
        fitted.check()?;
        if fitted.n_items() != items.len() || header.orders.period_days == 0 {
            return Err(ModelError::damaged("its items, periods and forecasts do not fit"));
        }
        Ok(Self { header, items, fitted })
    }

    /// What the model is and where it came from.
    pub fn header(&self) -> &DemandHeader {
        &self.header
    }

    /// What answers, item by item.
    pub fn fitted(&self) -> &FittedDemand {
        &self.fitted
    }

    /// The ids of the items, in the order of the forecasts.
    pub fn items(&self) -> &TextTable {
        &self.items
    }
}
