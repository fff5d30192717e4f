//! Why a process does not start.

use crate::experiments::ExperimentError;
use crate::lists::ShopRuleError;
use crate::models::ServedModelError;
use crate::store::StoreError;

/// Why a process does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The store cannot be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No model can be found.
    #[error(transparent)]
    Model(#[from] ServedModelError),
    /// A rule of the shop cannot be used.
    #[error(transparent)]
    Rules(#[from] ShopRuleError),
    /// TLS cannot be spoken.
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
    /// An experiment cannot be run.
    #[error(transparent)]
    Experiments(#[from] ExperimentError),
    /// The system refuses a thread, a socket or a file.
    #[error("{action}: {source}")]
    System {
        /// What was tried.
        action: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Anybody on the network could do everything.
    #[error(
        "{address} is open to the network and the store holds no key: make one by `forecart keygen --scope admin`, listen at 127.0.0.1, or say --open"
    )]
    Open {
        /// Where it should listen.
        address: std::net::SocketAddr,
    },
}
