//! One process that answers over HTTP and learns of new events.
//!
//! - [`Server`] is the process: [`ServeConfig`] says how it is set up, [`App`] holds what it knows, [`router`] is all it answers.
//! - [`store`] is what outlives it; events come in through [`Intake`], are durable before they are acknowledged, and then change what
//!   [`Histories`] and the catalog say.
//! - [`Consents`] are what users allow; [`experiments`] show users one of several variants and say what came of it.
//! - [`models`] are files that others have trained: nothing here trains.
//!
//! A request for a list goes from the user's history to the scores of the model, to the rules of the shop, to the answer.

pub mod event;
pub mod store;

mod consent;

pub mod assemble;
pub mod catalog;
pub mod rules;

mod arrivals;
mod circuit;
mod clock;
pub mod experiments;
mod history;
mod ids;
mod intake;
mod jobs;
mod keys;
mod limits;
mod lists;
mod metrics;
pub mod models;
mod nats;
mod new_items;
mod popularity;
mod replicas;
mod retrain;
mod schedule;
mod traces;
mod trusted;
mod workers;

mod app;
mod config;
mod doctor;
mod dump;
mod fill;
mod http;
mod load;
mod server;
mod telemetry;
mod tls;
mod training_log;

pub use app::{App, StartError};
pub use config::{
    DEFAULT_STORE, RETRAIN_TASKS, RawRetrainConfig, RawServeConfig, ServeConfig, ServeConfigError,
};
pub use consent::{ConsentDefault, ConsentError, Consents, Purpose, check_consent};
pub use doctor::{Finding, Severity, examine};
pub use dump::{DumpError, Dumped, dump, restore};
pub use event::{Event, EventError};
pub use fill::{Filled, fill};
pub use history::{Histories, PastEvent, UserHistory};
pub use http::{document, router};
pub use intake::{Intake, IntakeError, Source};
pub use jobs::{Job, JobError, JobState, RetrainPlan};
pub use keys::{NewKey, generate as generate_key};
pub use limits::Rate;
pub use lists::{RawColumns, RawRule, RawScenario, RawSeenRule, RawShopRules, ShopRuleError};
pub use load::{LoadOutcome, LoadPlan, LoadRequest, load};
pub use models::{Found, LeftOut, Live, Models, ServedModelError};
pub use nats::{NatsConfig, RawNatsConfig, RawReplay};
pub use schedule::Schedule;
pub use server::Server;
pub use telemetry::{RawTelemetryConfig, Telemetry, TelemetryError};
pub use tls::{TlsError, TlsFiles};
pub use training_log::{ExportError, TrainingLog, export};
