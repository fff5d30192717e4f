//! What is read: the stream, its consumer and the stream of dead letters, as they are found or made.

use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::{
    self, AckPolicy, Consumer, DeliverPolicy, FromConsumer as _, pull,
};
use async_nats::jetstream::context::GetStreamByNameErrorKind;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{self, RetentionPolicy};
use async_nats::jetstream::{self, Context};
use serde_json::{Value, json};

use super::config::{NatsConfig, ReplayFrom};
use super::error::NatsError;
use super::subject::covers;
use crate::store::Store;

/// How long the server may take to answer.
pub(super) const ANSWER: Duration = Duration::from_secs(5);
/// After which time a message that is neither acknowledged nor said to be in progress comes again.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// Most messages that all processes together have fetched and not acknowledged.
const MAX_ACK_PENDING: i64 = 50_000;

/// How long other processes that share the consumer may take to note how far it is.
const NOTES: Duration = Duration::from_secs(5);

/// A stream and a consumer that can be read.
pub(super) struct Bound {
    pub(super) context: Context,
    pub(super) consumer: Consumer<pull::Config>,
    /// After which time a message comes again.
    pub(super) ack_wait: Duration,
    /// By which name the store knows the position. A stream that was made anew is another source: its numbers begin anew, too.
    pub(super) source: String,
}

/// Finds all that is read, and makes what is missing. What is there is never changed, but for a consumer where a replay is asked for, or,
/// at the start of a process, where the store is older than what was acknowledged.
pub(super) async fn bind(
    client: Client,
    config: &NatsConfig,
    store: &dyn Store,
    is_start: bool,
) -> Result<Bound, NatsError> {
    let mut context = jetstream::new(client);
    context.set_timeout(ANSWER);
    let stream = stream(&context, config).await?;
    if config.subjects.is_empty() {
        no_circle(&stream.config.subjects, config)?;
    }
    dead_letters(&context, config).await?;
    let created_ms = stream.created.unix_timestamp_nanos() / 1_000_000;
    let source = format!("nats/{}/{created_ms}/{}", config.stream, config.durable);

    let mut found = found(&context, config).await?;
    let replayed = match config.replay_from {
        Some(from) => {
            let name = format!("{source}/replayed/{from}");
            let is_new = store.position(&name).await?.is_none();
            is_new.then_some((from, name))
        }
        None => None,
    };
    if let Some((from, name)) = replayed {
        if found.is_some() {
            delete(&context, config).await?;
        }
        let begin = match from {
            ReplayFrom::Sequence(start_sequence) => {
                DeliverPolicy::ByStartSequence { start_sequence }
            }
            ReplayFrom::Time { ms } => {
                let time = async_nats::datetime::from_nanos(i128::from(ms) * 1_000_000);
                let start_time = time.map_err(NatsError::refused("serve.nats.replay_from"))?;
                DeliverPolicy::ByStartTime { start_time }
            }
        };
        tracing::info!(stream = config.stream, %from, "events of NATS are read again");
        found = Some(made(&context, config, begin).await?);
        store.note_position(&name, 0).await?;
    }
    // Of another kind of stream nothing that was acknowledged is left.
    if is_start
        && stream.config.retention == RetentionPolicy::Limits
        && let Some(own) = found.take()
    {
        found = unless_ahead(&context, config, store, &source, own).await?;
    }
    let found = match found {
        Some(found) => found,
        None => {
            let position = store.position(&source).await?;
            let begin = match position {
                // What such a stream still has was not acknowledged, and it lets no consumer begin elsewhere.
                _ if stream.config.retention == RetentionPolicy::WorkQueue => DeliverPolicy::All,
                None => DeliverPolicy::All,
                // A server that lost its last messages gives their numbers to others.
                Some(seq) => DeliverPolicy::ByStartSequence {
                    start_sequence: seq.min(stream.state.last_sequence) + 1,
                },
            };
            tracing::info!(
                stream = config.stream,
                durable = config.durable,
                after = position,
                "a consumer is made"
            );
            made(&context, config, begin).await?
        }
    };
    let info = checked(found, &stream, config)?;
    let own = pull::Config::try_from_consumer_config(info.config.clone());
    let own = own.map_err(NatsError::refused("the consumer cannot be read"))?;
    let ack_wait = if own.ack_wait.is_zero() { ACK_WAIT } else { own.ack_wait };
    Ok(Bound { consumer: Consumer::new(own, info, context.clone()), context, ack_wait, source })
}

async fn stream(context: &Context, config: &NatsConfig) -> Result<stream::Info, NatsError> {
    if !config.subjects.is_empty() {
        let asked = stream::Config {
            name: config.stream.clone(),
            subjects: config.subjects.clone(),
            ..stream::Config::default()
        };
        let stream = context.get_or_create_stream(asked).await;
        let action = format!("the stream {:?}", config.stream);
        return Ok(stream.map_err(NatsError::refused(action))?.cached_info().clone());
    }
    found_stream(context, config).await
}

/// The stream, if it is there.
pub(super) async fn found_stream(
    context: &Context,
    config: &NatsConfig,
) -> Result<stream::Info, NatsError> {
    let action = || format!("the stream {:?}", config.stream);
    let subject = format!("STREAM.INFO.{}", config.stream);
    let answer: Response<stream::Info> =
        context.request(subject, &json!({})).await.map_err(NatsError::refused(action()))?;
    match answer {
        Response::Ok(info) => Ok(info),
        Response::Err { error } if error.code() == 404 => {
            Err(NatsError::NoStream { stream: config.stream.clone() })
        }
        Response::Err { error } => Err(NatsError::refused(action())(error)),
    }
}

/// Makes sure that a stream keeps the dead letters.
async fn dead_letters(context: &Context, config: &NatsConfig) -> Result<(), NatsError> {
    let action = || format!("a stream that keeps {:?}", config.dead_letter);
    match context.stream_by_subject(config.dead_letter.as_str()).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == GetStreamByNameErrorKind::NotFound => {
            let asked = stream::Config {
                name: format!("{}-dead-letter", config.stream),
                subjects: vec![config.dead_letter.clone()],
                description: Some("messages that are no events, with the reason".to_owned()),
                ..stream::Config::default()
            };
            context.create_stream(asked).await.map_err(NatsError::refused(action()))?;
            Ok(())
        }
        Err(error) => Err(NatsError::refused(action())(error)),
    }
}

/// The consumer as the server describes it, if it is there. As JSON, since subjects that it filters by are not in the client's own type.
async fn found(context: &Context, config: &NatsConfig) -> Result<Option<Value>, NatsError> {
    let action = || format!("the consumer {:?}", config.durable);
    let subject = format!("CONSUMER.INFO.{}.{}", config.stream, config.durable);
    let answer: Response<Value> =
        context.request(subject, &json!({})).await.map_err(NatsError::refused(action()))?;
    match answer {
        Response::Ok(found) => Ok(Some(found)),
        Response::Err { error } if error.code() == 404 => Ok(None),
        Response::Err { error } => Err(NatsError::refused(action())(error)),
    }
}

async fn delete(context: &Context, config: &NatsConfig) -> Result<(), NatsError> {
    let gone = context.delete_consumer_from_stream(&config.durable, &config.stream).await;
    gone.map_err(NatsError::refused("the consumer cannot be made anew"))?;
    Ok(())
}

/// The consumer that was found, or none if it had to be deleted, since messages behind the noted position were acknowledged: then the store is an older
/// one that was restored. A process that was killed leaves a note of a second before at the most; that those messages are read again changes nothing.
async fn unless_ahead(
    context: &Context,
    config: &NatsConfig,
    store: &dyn Store,
    source: &str,
    consumer: Value,
) -> Result<Option<Value>, NatsError> {
    if !is_ahead(&consumer, store.position(source).await?) {
        return Ok(Some(consumer));
    }
    if store.is_shared() {
        // Another process that reads notes what was acknowledged by now, if the store is the one that it wrote to.
        tokio::time::sleep(NOTES).await;
    }
    let position = store.position(source).await?;
    if !is_ahead(&consumer, position) {
        return Ok(Some(consumer));
    }
    match found(context, config).await? {
        Some(now) if now["created"] == consumer["created"] => {
            tracing::warn!(
                durable = config.durable,
                position,
                acknowledged = %consumer["ack_floor"]["stream_seq"],
                "more was acknowledged than the store knows of: it is read again"
            );
            delete(context, config).await?;
            Ok(None)
        }
        // Another process did the same.
        other => Ok(other),
    }
}

/// Whether a consumer acknowledged messages behind a position. One that has acknowledged nothing was made to begin where it is.
fn is_ahead(consumer: &Value, position: Option<u64>) -> bool {
    let floor = |of: &str| consumer["ack_floor"][of].as_u64().unwrap_or_default();
    floor("consumer_seq") > 0 && position.is_some_and(|position| floor("stream_seq") > position)
}

/// Makes the consumer, unless another process just did.
async fn made(
    context: &Context,
    config: &NatsConfig,
    deliver_policy: DeliverPolicy,
) -> Result<Value, NatsError> {
    let action = || format!("the consumer {:?} cannot be made", config.durable);
    let asked = pull::Config {
        durable_name: Some(config.durable.clone()),
        name: Some(config.durable.clone()),
        description: Some("forecart serve".to_owned()),
        deliver_policy,
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_deliver: -1,
        max_ack_pending: MAX_ACK_PENDING,
        ..pull::Config::default()
    };
    let mut asked = serde_json::to_value(asked).map_err(NatsError::refused(action()))?;
    asked["filter_subjects"] = json!(config.subjects);
    let subject = format!("CONSUMER.CREATE.{}.{}", config.stream, config.durable);
    let asked = json!({"stream_name": config.stream, "config": asked, "action": "create"});
    let answer: Response<Value> =
        context.request(subject, &asked).await.map_err(NatsError::refused(action()))?;
    match answer {
        Response::Ok(made) => Ok(made),
        Response::Err { error } => match found(context, config).await? {
            Some(of_another) => Ok(of_another),
            None => Err(NatsError::refused(action())(error)),
        },
    }
}

/// A consumer that can be shared and read, and does not read what is written of it.
fn checked(
    found: Value,
    stream: &stream::Info,
    config: &NatsConfig,
) -> Result<consumer::Info, NatsError> {
    let filters = filters(&found["config"]);
    if filters != config.subjects {
        tracing::warn!(
            consumer = config.durable,
            reads = ?filters,
            configured = ?config.subjects,
            "the consumer stays as it was made: delete it, and it is made anew from where it was"
        );
    }
    let read = if filters.is_empty() { &stream.config.subjects } else { &filters };
    no_circle(read, config)?;
    let info: consumer::Info = serde_json::from_value(found)
        .map_err(NatsError::refused("what the server says of the consumer"))?;
    match unfit(&info.config) {
        Some(reason) => Err(NatsError::OtherConsumer { durable: config.durable.clone(), reason }),
        None => Ok(info),
    }
}

/// Why a consumer cannot be read without loss, if so.
fn unfit(consumer: &consumer::Config) -> Option<&'static str> {
    if consumer.deliver_subject.is_some() {
        return Some("is told messages and cannot be asked for them");
    }
    if consumer.ack_policy != AckPolicy::Explicit {
        return Some("does not ask for each message to be acknowledged");
    }
    if consumer.max_deliver > 0 {
        return Some("gives no message more often than max_deliver says, and so loses some");
    }
    if !consumer.backoff.is_empty() {
        return Some("gives messages again by backoff, whether or not they are in progress");
    }
    None
}

/// Dead letters must not be read as events: each would make another.
fn no_circle(read: &[String], config: &NatsConfig) -> Result<(), NatsError> {
    match read.iter().find(|own| covers(own, &config.dead_letter)) {
        Some(subject) => Err(NatsError::Circle {
            dead_letter: config.dead_letter.clone(),
            subject: subject.clone(),
        }),
        None => Ok(()),
    }
}

fn filters(consumer: &Value) -> Vec<String> {
    let many = consumer["filter_subjects"].as_array().into_iter().flatten();
    let texts = many.chain(Some(&consumer["filter_subject"])).filter_map(Value::as_str);
    texts.filter(|own| !own.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_that_loses_messages_is_not_read() {
        let good = || consumer::Config { max_deliver: -1, ..consumer::Config::default() };
        assert_eq!(good().ack_policy, AckPolicy::Explicit);
        assert_eq!(unfit(&good()), None);
        let cases = [
            ("told", consumer::Config { deliver_subject: Some("a".to_owned()), ..good() }),
            ("acknowledged", consumer::Config { ack_policy: AckPolicy::All, ..good() }),
            ("max_deliver", consumer::Config { max_deliver: 5, ..good() }),
            ("backoff", consumer::Config { backoff: vec![ACK_WAIT], ..good() }),
        ];
        for (what, config) in cases {
            assert!(unfit(&config).is_some_and(|reason| reason.contains(what)), "{what}");
        }
    }

    #[test]
    fn a_consumer_is_ahead_of_a_store_that_is_older() {
        let consumer =
            |n: u64, seq: u64| json!({"ack_floor": {"consumer_seq": n, "stream_seq": seq}});
        assert!(is_ahead(&consumer(9, 20), Some(10)));
        for (consumer, position) in [
            (consumer(9, 20), Some(20)),
            (consumer(9, 20), Some(21)),
            (consumer(9, 20), None),
            // It was made to begin there.
            (consumer(0, 20), Some(10)),
            (json!({}), Some(0)),
        ] {
            assert!(!is_ahead(&consumer, position), "{consumer} {position:?}");
        }
    }
}
