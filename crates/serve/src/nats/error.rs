//! Why nothing is read now.

/// Why nothing is read now; it is tried again.
#[derive(Debug, thiserror::Error)]
pub(super) enum NatsError {
    /// The server refuses or does not answer.
    #[error("{action}: {reason}")]
    Refused { action: String, reason: String },
    /// There is nothing to read, and nothing says what to make.
    #[error(
        "there is no stream {stream:?}: make it, or say in serve.nats.subjects what it captures, and it is made"
    )]
    NoStream { stream: String },
    /// A consumer of that name is of another kind.
    #[error(
        "the consumer {durable:?} {reason}: delete it, or choose another name in serve.nats.durable"
    )]
    OtherConsumer { durable: String, reason: &'static str },
    /// Dead letters would be read as events.
    #[error(
        "dead letters at {dead_letter:?} come back as events by {subject:?} of the stream: choose another serve.nats.dead_letter, or say in serve.nats.subjects what is read, and delete a consumer that reads more"
    )]
    Circle { dead_letter: String, subject: String },
    /// The connection broke.
    #[error("the connection broke")]
    Disconnected,
    /// A request for messages was ended by the server.
    #[error("the server ended a request for messages: {reason}")]
    Ended { reason: String },
    /// The store did not say or note the position.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// The process ends.
    #[error("the process ends")]
    Stopped,
}

impl NatsError {
    /// What was tried, and what came of it.
    pub(super) fn refused<E: std::fmt::Display>(
        action: impl Into<String>,
    ) -> impl FnOnce(E) -> Self {
        let action = action.into();
        move |error| Self::Refused { action, reason: error.to_string() }
    }
}
