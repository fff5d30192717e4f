//! From files to blocks of whole records, in bounded memory.
//!
//! Read [`source`] for bytes and compression, [`blocks`] for where text is cut, [`records`] for
//! fields within a block, [`dialect`] for how a layout is recognized.

pub(crate) mod blocks;
pub(crate) mod dialect;
pub(crate) mod inputs;
pub(crate) mod records;
pub(crate) mod source;
