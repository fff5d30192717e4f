//! Tests of the server, on real stores, through the routes and through sockets.

#[path = "../../../models/tests/it/shop.rs"]
#[expect(dead_code, reason = "the models' tests use more of it")]
mod shop;

mod cluster;
mod served;

mod compatible;
mod consent;
mod dump;
mod events;
mod experiments;
mod failures;
mod jobs;
mod keys;
mod limits;
mod lists;
mod nats;
mod patches;
mod replicas;
mod secrets;
mod sequence;
mod signing;
mod sockets;
mod store;
mod swaps;
mod telemetry;
mod tls;
mod together;
