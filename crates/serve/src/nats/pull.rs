//! Asking a consumer for messages.
//!
//! The client's own batches end as if broken when one has as many bytes as were asked for; here that is a request like any other that is
//! over. The bytes bound the memory: a thousand messages may be a gigabyte.

use std::time::Duration;

use async_nats::jetstream::consumer::pull::BatchConfig;
use async_nats::jetstream::{Message, message};
use async_nats::{StatusCode, Subscriber};
use futures::{FutureExt as _, StreamExt as _};
use tokio::time::Instant;

use super::bound::{ANSWER, Bound};
use super::error::NatsError;

/// How long a request for messages waits at the server.
const EXPIRES: Duration = Duration::from_secs(5);
/// About the most bytes of one request.
const MAX_BYTES: usize = 8 << 20;
/// What a message has beside what `max_payload` counts.
const BESIDE_PAYLOAD: usize = 64 << 10;

/// Messages of a consumer, in requests one after the other.
pub(super) struct Pull<'a> {
    bound: &'a Bound,
    inbox: async_nats::Subject,
    messages: Subscriber,
    /// Messages of one request.
    n_messages: usize,
    /// Messages that the request under way may still bring.
    n_open: usize,
    /// When it must be over, even if its end was not heard.
    ends: Instant,
}

impl<'a> Pull<'a> {
    pub(super) async fn start(bound: &'a Bound, n_messages: usize) -> Result<Self, NatsError> {
        let client = bound.context.client();
        let inbox = async_nats::Subject::from(client.new_inbox());
        let messages = client.subscribe(inbox.clone()).await;
        let messages = messages.map_err(NatsError::refused("messages cannot be asked for"))?;
        Ok(Self { bound, inbox, messages, n_messages, n_open: 0, ends: Instant::now() })
    }

    /// The next message. Nothing is lost if it is not waited for to the end.
    pub(super) async fn next(&mut self) -> Result<Message, NatsError> {
        loop {
            if self.n_open == 0 {
                self.ask().await?;
            }
            match tokio::time::timeout_at(self.ends, self.messages.next()).await {
                Ok(Some(message)) => {
                    if let Some(message) = self.taken(message)? {
                        return Ok(message);
                    }
                }
                Ok(None) => return Err(NatsError::Disconnected),
                Err(_) => self.n_open = 0,
            }
        }
    }

    /// A message that is there already.
    pub(super) fn ready(&mut self) -> Result<Option<Message>, NatsError> {
        while let Some(Some(message)) = self.messages.next().now_or_never() {
            if let Some(message) = self.taken(message)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    async fn ask(&mut self) -> Result<(), NatsError> {
        let max_payload = self.bound.context.client().max_payload();
        let request = BatchConfig {
            batch: self.n_messages,
            expires: Some(EXPIRES),
            max_bytes: MAX_BYTES.max(max_payload + BESIDE_PAYLOAD),
            ..BatchConfig::default()
        };
        let asked = self.bound.consumer.request_batch(request, self.inbox.clone()).await;
        asked.map_err(NatsError::refused("messages cannot be asked for"))?;
        self.n_open = self.n_messages;
        self.ends = Instant::now() + EXPIRES + ANSWER;
        Ok(())
    }

    /// A message, or the end of a request.
    fn taken(&mut self, message: async_nats::Message) -> Result<Option<Message>, NatsError> {
        let said = message.description.as_deref().unwrap_or_default();
        match message.status {
            None | Some(StatusCode::OK) => {
                self.n_open = self.n_open.saturating_sub(1);
                let context = self.bound.context.clone();
                return Ok(Some(message::Message { message, context }));
            }
            Some(StatusCode::IDLE_HEARTBEAT) => {}
            Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => self.n_open = 0,
            // As many bytes as were asked for.
            Some(StatusCode::REQUEST_TERMINATED)
                if said.contains("MaxBytes") || said.contains("Batch Completed") =>
            {
                self.n_open = 0;
            }
            Some(status) => return Err(NatsError::Ended { reason: format!("{status} {said}") }),
        }
        Ok(None)
    }
}
