//! How a server is asked for, and whether one is there.

use std::time::Duration;

use async_nats::ConnectOptions;
use async_nats::jetstream;
use tokio::time::timeout;

use super::bound::{ANSWER, found_stream};
use super::config::{Identity, NatsConfig};
use super::error::NatsError;

/// How long one who only looks waits.
const LOOK: Duration = Duration::from_secs(3);

/// Who the client is, whom it trusts and how long it waits.
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
        options = options.add_root_certificates(path.clone());
    }
    if let Some(path) = &config.credentials {
        let read = options.credentials_file(path).await;
        options = read.map_err(NatsError::refused(format!("credentials {}", path.display())))?;
    }
    Ok(options)
}

/// Looks whether the server can be reached and has the stream, and makes nothing.
///
/// # Errors
/// Why no events could be read.
pub(crate) async fn examine(config: &NatsConfig) -> Result<String, String> {
    let servers = &config.servers;
    let look = async {
        let options = options(config).await?;
        let client = options.connect(servers.addresses.as_slice()).await;
        let context = jetstream::new(client.map_err(NatsError::refused("the connection"))?);
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
