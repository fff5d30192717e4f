//! `[serve.nats]`: raw as it is written, then checked.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use async_nats::ServerAddr;
use serde::Deserialize;

use super::subject::{self, covers};
use crate::catalog::time;
use crate::config::ServeConfigError;

/// The `[serve.nats]` section as it is written; all but the address may be left out.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawNatsConfig {
    /// Address of the server; several with commas between.
    pub url: Option<String>,
    /// A file of credentials (a token and a key), as servers with accounts give them out, or of a user's key (nkey) alone.
    pub credentials: Option<PathBuf>,
    /// A file of certificates that sign the server's; those of the system where none is named. With it nothing is said without TLS.
    pub root_certificates: Option<PathBuf>,
    /// The stream that is read; it is made if it is not there.
    pub stream: Option<String>,
    /// What is read of the stream, and what it captures if it is made.
    pub subjects: Vec<String>,
    /// Name of the consumer that processes share.
    pub durable: Option<String>,
    /// Where messages go that are no events.
    pub dead_letter: Option<String>,
    /// Most messages that are written at once.
    pub batch: Option<NonZeroUsize>,
    /// The stream is read again from here on, once: a sequence number or a time.
    pub replay_from: Option<RawReplay>,
}

/// Where to read a stream again from, as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum RawReplay {
    /// A number of a message in the stream.
    Sequence(u64),
    /// A time of RFC 3339, or a number as text.
    Text(String),
}

/// Where events are read from.
#[derive(Debug, Clone)]
pub struct NatsConfig {
    pub(super) servers: Servers,
    pub(super) credentials: Option<PathBuf>,
    pub(super) root_certificates: Option<PathBuf>,
    pub(super) stream: String,
    /// Empty: the whole stream.
    pub(super) subjects: Vec<String>,
    pub(super) durable: String,
    pub(super) dead_letter: String,
    pub(super) batch: usize,
    pub(super) replay_from: Option<ReplayFrom>,
}

/// Where to read a stream again from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplayFrom {
    Sequence(u64),
    Time { ms: i64 },
}

impl fmt::Display for ReplayFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sequence(seq) => write!(f, "{seq}"),
            Self::Time { ms } => f.write_str(&time::in_words(*ms)),
        }
    }
}

/// Who the client is to the servers.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Identity {
    Password { user: String, password: String },
    Token(String),
}

/// Servers, and who the client is to them, which is in no address: the client library logs those.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Servers {
    pub(super) addresses: Vec<ServerAddr>,
    pub(super) identity: Option<Identity>,
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, server) in self.addresses.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{}://{}:{}", server.scheme(), server.host(), server.port())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Stream and subject, where the configuration names no stream.
const STREAM: &str = "forecart-events";
const SUBJECT: &str = "forecart.events";

impl NatsConfig {
    /// Checks a set-up, and fills in what is not said.
    pub(crate) fn new(raw: RawNatsConfig) -> Result<Self, ServeConfigError> {
        let url = raw.url.ok_or_else(|| {
            let reason = "names no server: say one, nats://127.0.0.1:4222, here or as FORECART_NATS in the environment";
            ServeConfigError::new("nats.url", reason)
        })?;
        let subjects = match (&raw.stream, raw.subjects) {
            (None, none) if none.is_empty() => vec![SUBJECT.to_owned()],
            (_, named) => named,
        };
        for subject in &subjects {
            subject::check(subject)
                .map_err(|reason| ServeConfigError::new("nats.subjects", reason))?;
        }
        let stream = raw.stream.unwrap_or_else(|| STREAM.to_owned());
        check_name(&stream).map_err(|reason| ServeConfigError::new("nats.stream", reason))?;
        let durable = raw.durable.unwrap_or_else(|| "forecart".to_owned());
        check_name(&durable).map_err(|reason| ServeConfigError::new("nats.durable", reason))?;
        let dead_letter = raw.dead_letter.unwrap_or_else(|| "forecart.dead-letter".to_owned());
        subject::check(&dead_letter)
            .map_err(|reason| ServeConfigError::new("nats.dead_letter", reason))?;
        if dead_letter.split('.').any(|part| part == "*" || part == ">") {
            return Err(ServeConfigError::new(
                "nats.dead_letter",
                format!("{dead_letter:?} is not one subject"),
            ));
        }
        if let Some(reader) = subjects.iter().find(|own| covers(own, &dead_letter)) {
            let reason = format!(
                "{dead_letter:?} is read as events by {reader:?}: choose another, or dead letters come back"
            );
            return Err(ServeConfigError::new("nats.dead_letter", reason));
        }
        let batch = raw.batch.map_or(1_000, NonZeroUsize::get);
        if batch > 10_000 {
            return Err(ServeConfigError::new("nats.batch", format!("{batch} is more than 10000")));
        }
        Ok(Self {
            servers: servers(&url)?,
            credentials: raw.credentials,
            root_certificates: raw.root_certificates,
            stream,
            subjects,
            durable,
            dead_letter,
            batch,
            replay_from: raw.replay_from.as_ref().map(replay_from).transpose()?,
        })
    }
}

fn servers(url: &str) -> Result<Servers, ServeConfigError> {
    let mut servers = Servers { addresses: Vec::new(), identity: None };
    for address in url.split(',') {
        // Not what was written: it may hold a password.
        let (address, identity) = server(address).ok_or_else(|| {
            ServeConfigError::new(
                "nats.url",
                "is no address of NATS: write nats://host:4222, or tls://host:4222; several with commas between",
            )
        })?;
        if servers.identity.is_some() && identity.is_some() && servers.identity != identity {
            return Err(ServeConfigError::new(
                "nats.url",
                "names several users or tokens: one is used for all servers, say it once",
            ));
        }
        servers.addresses.push(address);
        servers.identity = servers.identity.or(identity);
    }
    Ok(servers)
}

/// An address without what identifies the client, and that.
fn server(address: &str) -> Option<(ServerAddr, Option<Identity>)> {
    let server = address.trim().parse::<ServerAddr>().ok()?;
    if !matches!(server.scheme(), "nats" | "tls") || server.host().is_empty() {
        return None;
    }
    let identity = match (server.username(), server.password()) {
        (None, None) => None,
        // As all clients of NATS read it.
        (Some(token), None) => Some(Identity::Token(decoded(token)?)),
        (user, Some(password)) => Some(Identity::Password {
            user: decoded(user.unwrap_or_default())?,
            password: decoded(password)?,
        }),
    };
    let mut url = server.into_inner();
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some((ServerAddr::from_url(url).ok()?, identity))
}

/// A part of an address with its `%40` as `@`.
fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).filter(|own| own.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match digits.and_then(|own| u8::from_str_radix(own, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend_from_slice(&part.as_bytes()[2..]);
            }
            None => {
                bytes.push(b'%');
                bytes.extend_from_slice(part.as_bytes());
            }
        }
    }
    String::from_utf8(bytes).ok()
}

/// Names of streams and consumers, which are parts of subjects and names of folders.
fn check_name(name: &str) -> Result<(), String> {
    let is_good = |own: char| !own.is_whitespace() && !own.is_control() && !".*>/\\".contains(own);
    if name.is_empty() || name.len() > 255 || !name.chars().all(is_good) {
        return Err(format!(
            "{name:?} is no name: 1 to 255 bytes without spaces, `.`, `*`, `>`, `/` and `\\`"
        ));
    }
    Ok(())
}

fn replay_from(raw: &RawReplay) -> Result<ReplayFrom, ServeConfigError> {
    let read = match raw {
        RawReplay::Sequence(seq) => Some(ReplayFrom::Sequence(*seq)),
        RawReplay::Text(text) => match text.trim().parse() {
            Ok(seq) => Some(ReplayFrom::Sequence(seq)),
            Err(_) => time::of_text(text).map(|ms| ReplayFrom::Time { ms }),
        },
    };
    // A stream begins at 1.
    read.filter(|from| *from != ReplayFrom::Sequence(0)).ok_or_else(|| {
        ServeConfigError::new(
            "nats.replay_from",
            format!("{raw:?} is no place of a stream: write the number of a message, from 1 on, or a time such as 2026-05-01T09:30:00Z"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(toml: &str) -> Result<NatsConfig, String> {
        let raw: RawNatsConfig = toml::from_str(toml).map_err(|error| error.to_string())?;
        NatsConfig::new(raw).map_err(|error| error.to_string())
    }

    #[test]
    fn an_address_is_enough() {
        let config = config("url = 'nats://127.0.0.1'").unwrap();
        assert_eq!(config.servers.to_string(), "nats://127.0.0.1:4222");
        assert_eq!((config.stream.as_str(), config.durable.as_str()), (STREAM, "forecart"));
        assert_eq!(config.subjects, [SUBJECT]);
        assert_eq!(config.replay_from, None);
    }

    #[test]
    fn a_stream_that_is_named_is_read_whole() {
        let config = config("url = 'a:1, tls://b:2'\nstream = 'shop'\nreplay_from = 7").unwrap();
        assert_eq!(config.servers.to_string(), "nats://a:1,tls://b:2");
        assert_eq!(config.subjects, [] as [&str; 0]);
        assert_eq!(config.replay_from, Some(ReplayFrom::Sequence(7)));
    }

    #[test]
    fn nobody_reads_a_password_in_a_log_or_an_error() {
        let good = config("url = 'nats://shop:secret@a:4222'").unwrap();
        assert!(!format!("{good:?}").contains("secret"), "{good:?}");
        let bad = config("url = 'ftp://shop:secret@a:4222'").unwrap_err();
        assert!(bad.starts_with("serve.nats.url: ") && !bad.contains("secret"), "{bad}");
        let two = config("url = 'nats://shop:secret@a, nats://shop:other@b'").unwrap_err();
        assert!(two.starts_with("serve.nats.url: ") && !two.contains("secret"), "{two}");
    }

    #[test]
    fn who_the_client_is_stands_in_no_address() {
        let servers = |url: &str| config(&format!("url = '{url}'")).unwrap().servers;
        let of = |user: &str, password: &str| {
            Some(Identity::Password { user: user.to_owned(), password: password.to_owned() })
        };
        for (url, identity) in [
            ("nats://a:4222, tls://b", None),
            ("nats://shop:secret@a, tls://b", of("shop", "secret")),
            ("a, nats://shop:secret@b", of("shop", "secret")),
            ("nats://shop:se%40c%25ret%C3%A9%@a", of("shop", "se@c%reté%")),
            ("nats://:secret@a", of("", "secret")),
            ("tls://secret@a:1", Some(Identity::Token("secret".to_owned()))),
        ] {
            let servers = servers(url);
            assert!(servers.identity == identity, "{url}");
            let is_bare = |own: &ServerAddr| own.username().is_none() && own.password().is_none();
            assert!(servers.addresses.iter().all(is_bare), "{url}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let cases = [
            ("", "serve.nats.url: "),
            ("url = 'a'\nstream = 'a.b'", "serve.nats.stream: "),
            ("url = 'a'\ndurable = ''", "serve.nats.durable: "),
            ("url = 'a'\nsubjects = ['a..b']", "serve.nats.subjects: "),
            ("url = 'a'\ndead_letter = 'a.*'", "serve.nats.dead_letter: "),
            (
                "url = 'a'\nsubjects = ['shop.>']\ndead_letter = 'shop.bad'",
                "serve.nats.dead_letter: ",
            ),
            ("url = 'a'\nbatch = 10001", "serve.nats.batch: "),
            ("url = 'a'\nreplay_from = 0", "serve.nats.replay_from: "),
            ("url = 'a'\nreplay_from = 'yesterday'", "serve.nats.replay_from: "),
        ];
        for (toml, begin) in cases {
            let error = config(toml).unwrap_err();
            assert!(error.starts_with(begin), "{toml:?}: {error}");
        }
        let from = |text: &str| config(&format!("url = 'a'\nreplay_from = '{text}'")).unwrap();
        assert_eq!(from("12").replay_from, Some(ReplayFrom::Sequence(12)));
        let time = Some(ReplayFrom::Time { ms: 1000 });
        assert_eq!(from("1970-01-01T00:00:01Z").replay_from, time);
    }
}
