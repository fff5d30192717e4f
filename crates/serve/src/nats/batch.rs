//! From messages to events and dead letters.

use async_nats::jetstream::{AckKind, Message};

use super::dead_letter::DeadLetter;
use crate::app::App;
use crate::arrivals;
use crate::event::{Event, EventError};

/// Messages, and what is in them.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) messages: Vec<Message>,
    pub(super) events: Vec<Event>,
    /// What is no event, in the order of the messages.
    pub(super) letters: Vec<DeadLetter>,
    /// What each message is answered with once its events are written and its letters kept.
    pub(super) verdicts: Vec<AckKind>,
}

impl Batch {
    /// Reads messages by the checks of requests. An event that says no time happened when its message was published; one without an id
    /// has that of its place in the stream, so that it is the same event whenever the message comes.
    pub(super) fn read(app: &App, messages: Vec<Message>) -> Self {
        let mut batch = Self::default();
        for message in messages {
            batch.add(app, message);
        }
        batch
    }

    fn add(&mut self, app: &App, message: Message) {
        // Only the server writes to the inbox.
        let Ok(info) = message.info() else { return };
        let stream = info.stream.to_owned();
        let sequence = info.stream_sequence;
        let published_ns = info.published.unix_timestamp_nanos();
        let published_ms = i64::try_from(published_ns / 1_000_000).unwrap_or(i64::MAX);
        let (n_events, n_letters) = (self.events.len(), self.letters.len());
        let place = self.messages.len();
        let letter = |row, error, payload| DeadLetter {
            place,
            stream: stream.clone(),
            subject: message.subject.to_string(),
            sequence,
            published_ms,
            row,
            error,
            payload,
        };
        let most = app.config.max_body_bytes;
        let read = if message.payload.len() > most {
            let message = format!(
                "the message has {} bytes, at most {most} are taken: send it in parts, or raise serve.max_body_bytes",
                message.payload.len()
            );
            Err(EventError::new("message_too_large", "", message))
        } else {
            // The time of publication too: a stream that is made anew begins at 1 again.
            let id = |row| format!("nats/{stream}/{published_ns}/{sequence}/{row}");
            arrivals::read(&message.payload, published_ms, &app.texts, id)
        };
        match read {
            Ok(arrived) => {
                self.events.extend(arrived.events);
                let is_whole = self.events.len() == n_events && arrived.refused.len() == 1;
                for row in arrived.refused {
                    let payload = if is_whole { message.payload.clone() } else { row.bytes() };
                    self.letters.push(letter(Some(row.index), row.error, payload));
                }
            }
            Err(error) => self.letters.push(letter(None, error, message.payload.clone())),
        }
        let is_poison = self.letters.len() > n_letters && self.events.len() == n_events;
        self.verdicts.push(if is_poison { AckKind::Term } else { AckKind::Ack });
        self.messages.push(message);
    }
}
