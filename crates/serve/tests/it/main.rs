//! Tests of the server, on real stores.

mod store;
