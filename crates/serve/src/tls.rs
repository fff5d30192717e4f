//! TLS: a certificate and its key from two files, read again when they change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{Error, InconsistentKeys, ServerConfig};
use tokio_rustls::server::TlsStream;

/// How long a client may take for the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How often files are looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// What a client is told that speaks plain HTTP here.
const SPEAKS_TLS: &str = "{\"error\":{\"code\":\"tls_needed\",\"message\":\"this port speaks TLS\",\"field\":null,\"hint\":\"ask at https://\"}}";

/// Where certificate and key stand, as PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate, then those that lead to one that clients know.
    pub certificate: PathBuf,
    /// The private key of the first certificate.
    pub key: PathBuf,
    /// How often both are looked at again.
    pub look_again: Duration,
    /// How long a client may take for the handshake.
    pub handshake: Duration,
}

impl TlsFiles {
    /// Files that are looked at every minute; a handshake may take ten seconds.
    pub fn new(certificate: PathBuf, key: PathBuf) -> Self {
        Self { certificate, key, look_again: LOOK_AGAIN, handshake: HANDSHAKE }
    }
}

/// A certificate or a key that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{key} {path:?}: {reason}")]
pub struct TlsError {
    key: &'static str,
    path: PathBuf,
    reason: String,
}

impl TlsError {
    fn certificate(files: &TlsFiles, reason: impl Into<String>) -> Self {
        Self {
            key: "serve.tls_certificate",
            path: files.certificate.clone(),
            reason: reason.into(),
        }
    }

    fn key(files: &TlsFiles, reason: impl Into<String>) -> Self {
        Self { key: "serve.tls_key", path: files.key.clone(), reason: reason.into() }
    }
}

/// Files as they were read.
struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Pair {
    async fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        async fn read(path: &Path) -> Result<Vec<u8>, String> {
            tokio::fs::read(path).await.map_err(|error| format!("it cannot be read: {error}"))
        }
        Ok(Self {
            certificate: read(&files.certificate)
                .await
                .map_err(|reason| TlsError::certificate(files, reason))?,
            key: read(&files.key).await.map_err(|reason| TlsError::key(files, reason))?,
        })
    }

    fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.certificate.len().to_le_bytes());
        hash.update(&self.certificate);
        hash.update(&self.key);
        hash.finalize().into()
    }

    /// What errors say of a key never holds a part of it.
    fn checked(&self, files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| {
            let reason = "it holds no certificate as PEM (-----BEGIN CERTIFICATE-----)";
            TlsError::certificate(files, reason)
        })?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| {
            let reason =
                "it holds no private key as PEM (-----BEGIN PRIVATE KEY-----) without a password";
            TlsError::key(files, reason)
        })?;
        let provider = provider();
        let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                let reason = format!(
                    "it is not the key of the certificate {:?}; the two are made together, and the server's own certificate stands first",
                    files.certificate
                );
                TlsError::key(files, reason)
            }
            Error::InvalidCertificate(error) => {
                TlsError::certificate(files, format!("its first certificate cannot be read: {error}"))
            }
            _ => TlsError::key(files, "its key is not RSA, ECDSA or Ed25519 of a usual form"),
        })?;
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::key(files, error.to_string()))?;
        let mut config = builder
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// Named, so that another crate's choice of a provider for the process changes nothing here.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// What new connections are answered with.
#[derive(Debug)]
pub(crate) struct Tls {
    files: TlsFiles,
    current: ArcSwap<ServerConfig>,
    /// What was read last, whether it could be used or not: a broken pair is told once.
    seen: Mutex<[u8; 32]>,
}

impl Tls {
    /// Reads and checks both files.
    ///
    /// # Errors
    /// [`TlsError`].
    pub(crate) async fn start(files: TlsFiles) -> Result<Self, TlsError> {
        let pair = Pair::read(&files).await?;
        let current = ArcSwap::new(pair.checked(&files)?);
        Ok(Self { current, seen: Mutex::new(pair.hash()), files })
    }

    /// Uses a renewed pair for new connections, without end; one that cannot be used leaves the old one in place.
    pub(crate) async fn follow(&self) {
        let mut ticks = tokio::time::interval(self.files.look_again);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look_again().await;
        }
    }

    /// By what is in the files, not by their times: links and copies keep old ones.
    async fn look_again(&self) {
        let outcome = match Pair::read(&self.files).await {
            Ok(pair) => {
                let hash = pair.hash();
                if !self.is_new(hash) {
                    return;
                }
                pair.checked(&self.files)
            }
            Err(error) => {
                if !self.is_new([0; 32]) {
                    return;
                }
                Err(error)
            }
        };
        match outcome {
            Ok(config) => {
                self.current.store(config);
                tracing::info!(certificate = ?self.files.certificate, "new connections get the renewed certificate");
            }
            // It may be half renewed: then the next look finds the whole.
            Err(error) => {
                tracing::error!(%error, "the renewed certificate is not used; the earlier one still is");
            }
        }
    }

    fn is_new(&self, hash: [u8; 32]) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *seen, hash) != hash
    }

    /// The handshake; a client that takes too long, or speaks plain HTTP, gets no connection.
    pub(crate) async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let handshake = async {
            let mut first = [0; 1];
            stream.peek(&mut first).await?;
            if first[0].is_ascii_uppercase() {
                return refuse_plain(stream).await;
            }
            TlsAcceptor::from(self.current.load_full()).accept(stream).await
        };
        tokio::time::timeout(self.files.handshake, handshake).await?
    }
}

/// Answers a request of plain HTTP in its own language.
async fn refuse_plain<T>(mut stream: TcpStream) -> std::io::Result<T> {
    // What is unread when a socket closes takes the answer with it.
    let mut head = [0; 8 << 10];
    let _ = stream.read(&mut head).await?;
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{SPEAKS_TLS}",
        SPEAKS_TLS.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "plain HTTP where TLS is spoken"))
}
