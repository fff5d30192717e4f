//! Messages and rows that are no events, for somebody to look at.

use async_nats::HeaderMap;
use async_nats::jetstream::Context;
use async_nats::jetstream::message::PublishMessage;
use axum::body::Bytes;

use super::error::NatsError;
use crate::event::EventError;

/// Letters on their way at once.
const AT_ONCE: usize = 256;
/// Longest text in a header, in bytes.
const MAX_HEADER_BYTES: usize = 1_000;

/// A message or a row of one that is no event.
#[derive(Debug)]
pub(super) struct DeadLetter {
    /// Place of its message in the batch.
    pub(super) place: usize,
    pub(super) stream: String,
    pub(super) subject: String,
    pub(super) sequence: u64,
    pub(super) published_ms: i64,
    /// Its row, if the rest of the message could be read.
    pub(super) row: Option<usize>,
    pub(super) error: EventError,
    /// As it was sent.
    pub(super) payload: Bytes,
}

impl DeadLetter {
    /// The message; a payload that has no room beside the reason is cut off.
    fn message(&self, max_payload: usize) -> PublishMessage {
        let mut headers = HeaderMap::new();
        headers.insert("Forecart-Code", self.error.code);
        headers.insert("Forecart-Message", line(&self.error.message));
        if !self.error.field.is_empty() {
            headers.insert("Forecart-Field", line(&self.error.field));
        }
        headers.insert("Forecart-Subject", line(&self.subject));
        headers.insert("Forecart-Stream", line(&self.stream));
        headers.insert("Forecart-Sequence", self.sequence.to_string());
        if let Some(row) = self.row {
            headers.insert("Forecart-Row", row.to_string());
        }
        let row = self.row.map_or_else(String::new, |row| format!("/{row}"));
        let id = format!("{}/{}/{}{row}", self.stream, self.published_ms, self.sequence);
        // Names, values and what stands between them; as many bytes again are left over.
        let n_headers = 1_024
            + headers
                .iter()
                .map(|(_, values)| 64 + values.iter().map(|own| own.as_str().len()).sum::<usize>())
                .sum::<usize>();
        let room = max_payload.saturating_sub(2 * n_headers);
        let mut payload = self.payload.clone();
        if payload.len() > room {
            headers.insert("Forecart-Bytes", payload.len().to_string());
            payload.truncate(room);
        }
        // One that is sent again is the same.
        PublishMessage::build().payload(payload).headers(headers).message_id(id)
    }
}

/// A text as it may stand in a header: one line, not too long.
fn line(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_HEADER_BYTES);
    text[..end].chars().map(|own| if own.is_control() { ' ' } else { own }).collect()
}

/// Publishes letters; all are kept by a stream when this ends.
pub(super) async fn publish(
    context: &Context,
    subject: &str,
    letters: &[DeadLetter],
) -> Result<(), NatsError> {
    let action = || format!("dead letters at {subject:?} are not kept");
    let max_payload = context.client().max_payload();
    for letters in letters.chunks(AT_ONCE) {
        let mut under_way = Vec::with_capacity(letters.len());
        for letter in letters {
            let sent = context.send_publish(subject.to_owned(), letter.message(max_payload)).await;
            under_way.push(sent.map_err(NatsError::refused(action()))?);
        }
        for kept in under_way {
            kept.await.map_err(NatsError::refused(action()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_one_line_of_bounded_length() {
        assert_eq!(line("a\r\nb\u{0}茶"), "a  b 茶");
        assert_eq!(line(&"茶".repeat(1_000)).len(), 999);
    }
}
