//! The task that reads: sessions with the server, one after the other, until the process ends.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{AckKind, Message};
use async_nats::{Client, Event as ClientEvent};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, timeout};

use super::batch::Batch;
use super::bound::{ANSWER, Bound, bind};
use super::config::NatsConfig;
use super::connect;
use super::dead_letter;
use super::error::NatsError;
use super::pull::Pull;
use crate::app::App;
use crate::arrivals::name_intents;
use crate::event::Event;
use crate::intake::{IntakeError, Source, room_of};

/// Pauses after what failed: the first, and the longest after many.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// A session that lasted so long was a good one.
const GOOD: Duration = Duration::from_secs(30);
/// How long room in the queue is waited for before it is looked for again.
const FULL: Duration = Duration::from_millis(50);
/// How often it is looked at how far the consumer is.
const LOOK: Duration = Duration::from_secs(1);
/// How soon a connection that answers nothing is broken: after two of these.
const PING: Duration = Duration::from_secs(10);
/// When a message comes again whose dead letter could not be kept.
const LETTER_AGAIN: Duration = Duration::from_secs(5);
/// Most events of one write.
const MAX_EVENTS: usize = 10_000;

/// A pause that grows.
struct Pause(Duration);

impl Pause {
    fn new() -> Self {
        Self(PAUSES.0)
    }

    fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(PAUSES.1);
        pause
    }
}

/// Reads until told to stop.
pub(super) async fn read(app: Arc<App>, config: NatsConfig, stop: watch::Receiver<bool>) {
    let reader = Reader { app, config, stop };
    let mut pause = Pause::new();
    let mut said = String::new();
    let mut was_bound = false;
    loop {
        let began = Instant::now();
        let error = match reader.session(&mut was_bound).await {
            Ok(()) => break,
            Err(error) => error.to_string(),
        };
        reader.app.nats.set(false);
        if began.elapsed() > GOOD {
            pause = Pause::new();
        }
        let again = pause.next();
        // A server that is away for a night says so once.
        if error == said && began.elapsed() < GOOD {
            tracing::debug!(error, ?again, "no events are read from NATS");
        } else {
            tracing::warn!(error, servers = %reader.config.servers, "no events are read from NATS; it is tried again");
        }
        said = error;
        if reader.is_stopped_within(again).await {
            break;
        }
    }
    reader.app.nats.set(false);
}

struct Reader {
    app: Arc<App>,
    config: NatsConfig,
    stop: watch::Receiver<bool>,
}

impl Reader {
    async fn stopped(&self) {
        // A sender that has gone says the same.
        let _ = self.stop.clone().wait_for(|stop| *stop).await;
    }

    async fn is_stopped_within(&self, time: Duration) -> bool {
        timeout(time, self.stopped()).await.is_ok()
    }

    /// Connects and reads until the process ends, which is well, or something breaks.
    async fn session(&self, was_bound: &mut bool) -> Result<(), NatsError> {
        let (up, mut link) = watch::channel(true);
        let is_start = !*was_bound;
        let begun = async {
            let client = self.connect(up).await?;
            bind(client, &self.config, self.app.store.as_ref(), is_start).await
        };
        let bound = tokio::select! {
            bound = begun => bound?,
            () = self.stopped() => return Ok(()),
        };
        *was_bound = true;
        let mut pull = Pull::start(&bound, self.config.batch).await?;
        let mut noted = None;
        self.look(&bound, &mut noted).await?;
        tracing::info!(servers = %self.config.servers, stream = self.config.stream, "events are read from NATS");
        let mut looks = interval_at(Instant::now() + LOOK, LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let first = tokio::select! {
                biased;
                () = self.stopped() => break,
                () = broken(&mut link) => return Err(NatsError::Disconnected),
                _ = looks.tick() => {
                    self.look(&bound, &mut noted).await?;
                    continue;
                }
                message = pull.next() => message?,
            };
            let mut messages = vec![first];
            let mut ended = Ok(());
            while messages.len() < self.config.batch {
                match pull.ready() {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => break,
                    Err(error) => {
                        ended = Err(error);
                        break;
                    }
                }
            }
            match self.take(&bound, messages).await {
                Err(NatsError::Stopped) => break,
                other => other?,
            }
            ended?;
        }
        let mut rest = Vec::new();
        while let Ok(Some(message)) = pull.ready() {
            rest.push(message);
        }
        answer(&bound, rest.iter().map(|message| (message, AckKind::Nak(None))).collect()).await;
        let _ = self.look(&bound, &mut noted).await;
        Ok(())
    }

    async fn connect(&self, up: watch::Sender<bool>) -> Result<Client, NatsError> {
        let n_servers = self.config.servers.addresses.len();
        let state = self.app.nats.clone();
        let options = connect::options(&self.config)
            .await?
            .ping_interval(PING)
            // A session whose connection broke is over; the next one connects anew.
            .max_reconnects(n_servers)
            .event_callback(move |event| {
                let is_end = matches!(event, ClientEvent::Disconnected | ClientEvent::Closed);
                // A session that is over is not spoken of.
                if is_end && up.send(false).is_ok() {
                    state.set(false);
                }
                std::future::ready(())
            });
        connect::connected(options, &self.config).await
    }

    /// Writes what messages hold, keeps what is no event, and acknowledges them.
    async fn take(&self, bound: &Bound, messages: Vec<Message>) -> Result<(), NatsError> {
        let Batch { messages, mut events, letters, verdicts } = Batch::read(&self.app, messages);
        let work = async {
            name_intents(&self.app, &mut events).await;
            self.write(events).await?;
            dead_letter::publish(&bound.context, &self.config.dead_letter, &letters).await
        };
        let done = in_progress(bound, &messages, work).await;
        let mut answers: Vec<(&Message, AckKind)> = messages.iter().zip(verdicts).collect();
        match &done {
            Ok(()) => self.tell_of(&letters),
            Err(NatsError::Stopped) => {
                answers.iter_mut().for_each(|(_, kind)| *kind = AckKind::Nak(None));
            }
            // All events are written; those messages come again whose letters were not kept.
            Err(_) => {
                for letter in &letters {
                    answers[letter.place].1 = AckKind::Nak(Some(LETTER_AGAIN));
                }
            }
        }
        answer(bound, answers).await;
        done
    }

    /// Writes events, durably, however long the queue is full or the store refuses.
    async fn write(&self, events: Vec<Event>) -> Result<(), NatsError> {
        // Room for requests is left.
        let most = (self.app.intake.n_room() / 4).max(crate::intake::MAX_ROOM_OF_ONE);
        let mut pause = Pause::new();
        for events in portions(events, most) {
            loop {
                let again = match self.app.intake.write(events.clone(), Source::Nats).await {
                    Ok(_) => break,
                    Err(IntakeError::Full { .. }) => FULL,
                    Err(IntakeError::Closing) => return Err(NatsError::Stopped),
                    // The intake has said why.
                    Err(IntakeError::Store(_) | IntakeError::TooMany { .. }) => pause.next(),
                };
                if self.is_stopped_within(again).await {
                    return Err(NatsError::Stopped);
                }
            }
        }
        Ok(())
    }

    fn tell_of(&self, letters: &[dead_letter::DeadLetter]) {
        for letter in letters {
            self.app.memory.metrics.count_rejected(letter.error.code);
        }
        if let Some(first) = letters.first() {
            tracing::warn!(
                n = letters.len(),
                code = first.error.code,
                sequence = first.sequence,
                dead_letter = self.config.dead_letter,
                "messages or rows of them are no events"
            );
        }
    }

    /// How far the consumer is: for metrics, and noted in the store. All up to its floor was acknowledged, by whichever process, and so is written.
    async fn look(&self, bound: &Bound, noted: &mut Option<u64>) -> Result<(), NatsError> {
        let info = bound.consumer.get_info().await;
        let info = info.map_err(NatsError::refused("how far the consumer is"))?;
        let n_pending = info.num_pending + info.num_ack_pending as u64;
        self.app.memory.metrics.nats_pending.set(i64::try_from(n_pending).unwrap_or(i64::MAX));
        let floor = info.ack_floor.stream_sequence;
        if floor > 0 && *noted != Some(floor) {
            match self.app.store.note_position(&bound.source, floor).await {
                Ok(()) => *noted = Some(floor),
                // Readiness says that the store is not well; the next look notes it.
                Err(error) => tracing::debug!(%error, "the position was not noted"),
            }
        }
        self.app.nats.set(true);
        Ok(())
    }
}

/// Waits until the connection broke.
async fn broken(link: &mut watch::Receiver<bool>) {
    let _ = link.wait_for(|is_up| !is_up).await;
}

/// Does something, while the server hears that the messages are in progress and gives them to nobody else.
async fn in_progress<T>(bound: &Bound, messages: &[Message], work: impl Future<Output = T>) -> T {
    let mut ticks = interval(bound.ack_wait / 3);
    // The first is at once.
    ticks.tick().await;
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = ticks.tick() => {
                let messages = messages.iter().map(|message| (message, AckKind::Progress)).collect();
                // The work goes on beside it, whatever becomes of the connection.
                tokio::select! {
                    done = &mut work => return done,
                    () = answer(bound, messages) => {}
                }
            }
        }
    }
}

/// Answers to messages, sent when this ends. One that is lost makes its message come again, which changes nothing.
async fn answer(bound: &Bound, answers: Vec<(&Message, AckKind)>) {
    let sent = async {
        for (message, kind) in answers {
            message.ack_with(kind).await.map_err(|error| error.to_string())?;
        }
        bound.context.client().flush().await.map_err(|error| error.to_string())
    };
    match timeout(ANSWER, sent).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(error, "messages were not answered"),
        Err(_) => tracing::debug!("messages were not answered in time"),
    }
}

/// Events in portions that take `most` room at once.
fn portions(events: Vec<Event>, most: usize) -> Vec<Vec<Event>> {
    let mut portions = Vec::new();
    let (mut portion, mut room) = (Vec::new(), 0);
    for event in events {
        let own = room_of(&event);
        if !portion.is_empty() && (room + own > most || portion.len() == MAX_EVENTS) {
            portions.push(std::mem::take(&mut portion));
            room = 0;
        }
        room += own;
        portion.push(event);
    }
    if !portion.is_empty() {
        portions.push(portion);
    }
    portions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portions_are_in_order_and_fit() {
        let event = |n: usize| Event {
            event_id: n.to_string(),
            user_id: "u".repeat(if n.is_multiple_of(3) { 5_000 } else { 1 }),
            item_id: None,
            event: "search".to_owned(),
            timestamp_ms: 0,
            value: None,
            further: serde_json::Map::new(),
        };
        let events: Vec<Event> = (0..100).map(event).collect();
        let portions = portions(events.clone(), 12);
        assert!(portions.len() > 10);
        for portion in &portions {
            assert!(!portion.is_empty() && portion.iter().map(room_of).sum::<usize>() <= 12);
        }
        assert_eq!(portions.concat(), events);
        assert!(super::portions(Vec::new(), 12).is_empty());
    }

    #[test]
    fn pauses_grow_to_the_longest() {
        let mut pause = Pause::new();
        let pauses: Vec<u128> = (0..7).map(|_| pause.next().as_millis()).collect();
        assert_eq!(pauses, [250, 500, 1_000, 2_000, 4_000, 5_000, 5_000]);
    }
}
