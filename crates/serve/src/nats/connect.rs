//! How a server is asked for, and whether one is there.

use std::error::Error as _;
use std::io;
use std::path::Path;
use std::time::Duration;

use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, jetstream};
use tokio::time::timeout;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use super::bound::{ANSWER, found_stream};
use super::config::{Identity, NatsConfig};
use super::error::NatsError;

/// How long one who only looks waits.
const LOOK: Duration = Duration::from_secs(3);

/// Who the client is, whom it trusts and how long it waits. Files are read each time: what was renewed is used by the next connection.
pub(super) async fn options(config: &NatsConfig) -> Result<ConnectOptions, NatsError> {
    let mut options = ConnectOptions::new()
        .name("forecart")
        .connection_timeout(ANSWER)
        .request_timeout(Some(ANSWER));
    options = match config.servers.identity.clone() {
        Some(Identity::Password { user, password }) => options.user_and_password(user, password),
        Some(Identity::Token(token)) => options.token(token),
        None => options,
    };
    if let Some(path) = &config.root_certificates {
        check_roots(path).await?;
        // A server that is to be known by its certificate is told nothing without TLS, whatever it says of itself.
        options = options.add_root_certificates(path.clone()).require_tls(true);
    }
    match &config.credentials {
        Some(path) => with_credentials(options, path).await,
        None => Ok(options),
    }
}

/// A connection, or why there is none and what to do about it.
pub(super) async fn connected(
    options: ConnectOptions,
    config: &NatsConfig,
) -> Result<Client, NatsError> {
    let connected = options.connect(config.servers.addresses.as_slice()).await;
    connected.map_err(|error| {
        let reason = match advice(&error, config) {
            Some(advice) => format!("{error}: {advice}"),
            None => error.to_string(),
        };
        NatsError::Refused { action: "the connection".to_owned(), reason }
    })
}

/// A file without a certificate would trust nobody, without a word.
async fn check_roots(path: &Path) -> Result<(), NatsError> {
    let action = || format!("serve.nats.root_certificates {}", path.display());
    let pem = tokio::fs::read(path).await.map_err(NatsError::refused(action()))?;
    let is_good = CertificateDer::pem_slice_iter(&pem).next().is_some_and(|first| first.is_ok());
    match is_good {
        true => Ok(()),
        false => {
            let reason = "no certificate is in it: name the PEM file of the authority that signed the server's";
            Err(NatsError::Refused { action: action(), reason: reason.to_owned() })
        }
    }
}

/// Who the client is by a file: of a token and its key, or of a key alone.
async fn with_credentials(
    options: ConnectOptions,
    path: &Path,
) -> Result<ConnectOptions, NatsError> {
    let action = || format!("serve.nats.credentials {}", path.display());
    let text = tokio::fs::read_to_string(path).await.map_err(NatsError::refused(action()))?;
    if text.contains("NATS USER JWT") {
        return options.credentials(&text).map_err(NatsError::refused(action()));
    }
    match text.lines().map(str::trim).find(|line| line.starts_with("SU")) {
        Some(seed) => Ok(options.nkey(seed.to_owned())),
        None => {
            let reason = "it holds neither a user's token and key (.creds) nor a user's key, a line that begins with SU (.nk)";
            Err(NatsError::Refused { action: action(), reason: reason.to_owned() })
        }
    }
}

/// What to do about a connection that there is not, where that is not plain.
fn advice(error: &ConnectError, config: &NatsConfig) -> Option<String> {
    let credentials = config.credentials.as_ref().map(|path| path.display());
    if let Some(error) = tls_error(error) {
        use rustls::CertificateError::{
            BadSignature, Expired, ExpiredContext, NotValidForName, NotValidForNameContext,
            UnknownIssuer,
        };
        return Some(match error {
            rustls::Error::InvalidCertificate(Expired | ExpiredContext { .. }) => {
                "the server's certificate must be renewed".to_owned()
            }
            rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }) => {
                "write the server's name in serve.nats.url as its certificate has it".to_owned()
            }
            rustls::Error::InvalidCertificate(UnknownIssuer | BadSignature) => {
                let roots = match &config.root_certificates {
                    Some(path) => format!("of {}", path.display()),
                    None => "that the system trusts".to_owned(),
                };
                format!(
                    "no authority {roots} signed the server's certificate: name the file of the one that did in serve.nats.root_certificates"
                )
            }
            // The error says what the certificate is.
            rustls::Error::InvalidCertificate(_) => return None,
            _ => "is TLS on at the server? nats:// without serve.nats.root_certificates is without TLS".to_owned(),
        });
    }
    Some(match (error.kind(), credentials, &config.servers.identity) {
        (ConnectErrorKind::Tls, ..) => {
            "serve.nats.root_certificates names the file of the authority that signed the server's certificate".to_owned()
        }
        (ConnectErrorKind::Authentication, Some(path), _) => {
            format!("the key in serve.nats.credentials {path} is none")
        }
        (ConnectErrorKind::AuthorizationViolation, Some(path), _) => format!(
            "the server does not know who serve.nats.credentials {path} says, or that has ended: name a file that its account gave out"
        ),
        (ConnectErrorKind::AuthorizationViolation, None, Some(Identity::Password { .. })) => {
            "the server has no such user, or another password: FORECART_NATS=nats://user:password@host:4222, @ in them as %40".to_owned()
        }
        (ConnectErrorKind::AuthorizationViolation, None, Some(Identity::Token(_))) => {
            "the server has another token: FORECART_NATS=nats://token@host:4222".to_owned()
        }
        (ConnectErrorKind::AuthorizationViolation, None, None) => {
            "the server asks who the client is: FORECART_NATS=nats://user:password@host:4222 or nats://token@host:4222, or a file in serve.nats.credentials".to_owned()
        }
        _ => return None,
    })
}

/// What was wrong with TLS, if that was it.
fn tls_error(error: &ConnectError) -> Option<&rustls::Error> {
    error.source()?.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref()
}

/// Looks whether the server can be reached and has the stream, and makes nothing.
///
/// # Errors
/// Why no events could be read.
pub(crate) async fn examine(config: &NatsConfig) -> Result<String, String> {
    let servers = &config.servers;
    let look = async {
        let context = jetstream::new(connected(options(config).await?, config).await?);
        let name = &config.stream;
        match found_stream(&context, config).await {
            Ok(stream) => Ok(format!("the stream {name:?} has {} messages", stream.state.messages)),
            Err(NatsError::NoStream { .. }) if !config.subjects.is_empty() => {
                Ok(format!("the stream {name:?} will be made"))
            }
            Err(error) => Err(error),
        }
    };
    match timeout(LOOK, look).await {
        Ok(Ok(found)) => Ok(format!("{servers}: {found}")),
        Ok(Err(error)) => Err(format!("{servers}: {error}")),
        Err(_) => Err(format!("{servers} does not answer within {} s", LOOK.as_secs())),
    }
}
