//! The `forecart` binary.
fn main() {}
