//! Encoders: from raw attributes to numbers, the same object in training and in serving.
//!
//! A [`FeatureSpec`] says how columns become numbers. Fitted on rows, and on no others, it becomes a
//! [`FeatureProgram`], which encodes any row: of training, of test, or of a request. Numbers never
//! come out as NaN or infinite, whatever went in.
//!
//! ```
//! use forecart_data::encode::{ColumnSpec, FeatureSpec, NumericStep, Value};
//!
//! let spec = FeatureSpec::new(vec![
//!     ColumnSpec::numeric("price", vec![NumericStep::Log1p, NumericStep::Standardize]),
//!     ColumnSpec::one_hot("brand", 1),
//! ]);
//! let row = |price, brand| [("price", Value::Number(price)), ("brand", Value::Text(brand))];
//! let program = spec.fit([&row(1.0, "acme")[..], &row(3.0, "globex")[..]]).unwrap();
//! let encoded = program.encode(&row(1.0, "never seen")[..]);
//! assert_eq!(program.names().sparse[encoded.sparse[0] as usize], "brand=<unknown>");
//! ```
//!
//! Start at [`spec`]; [`program`] holds fitting and encoding, [`numeric`], [`categories`] and
//! [`time`] the parts. [`hashed`] is another way: one table of slots for features of any name.

pub mod spec;
pub mod value;

pub mod categories;
pub mod hashed;
mod name_hash;
pub mod numeric;
pub mod time;

mod fit;
pub mod program;

pub use fit::Fitter;
pub use hashed::{
    HashSpace, HashedColumn, HashedFeature, HashedNumbers, HashedRow, HashedRows, SpaceSeed,
};
pub use program::{EncodedRow, FeatureProgram, InputColumns};
pub use spec::{BucketEncoding, ColumnSpec, FeatureSpec, Fill, HistorySpec, NumericStep};
pub use time::TimePart;
pub use value::{Row, Value};
