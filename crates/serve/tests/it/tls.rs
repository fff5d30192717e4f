//! TLS through sockets: certificates that are renewed, broken and mixed up, and clients that do not speak it.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use forecart_serve::{RawServeConfig, ServeConfig, Server, StartError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const GET: &[u8] = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
}

/// Certificate and key of a server, which change as the test says.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn of(name: &str) -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap() };
        files.put(name);
        files
    }

    fn certificate(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    fn put_certificate(&self, name: &str) {
        std::fs::copy(fixture(&format!("{name}.certificate.pem")), self.certificate()).unwrap();
    }

    fn put(&self, name: &str) {
        self.put_certificate(name);
        std::fs::write(self.key(), std::fs::read(fixture(&format!("{name}.key.pem"))).unwrap())
            .unwrap();
    }

    fn config(&self, raw: RawServeConfig) -> ServeConfig {
        let store = self.folder.path().join("store.sqlite").display().to_string();
        let raw = RawServeConfig {
            store: Some(store),
            port: Some(0),
            tls_certificate: Some(self.certificate()),
            tls_key: Some(self.key()),
            ..raw
        };
        let mut config = ServeConfig::new(raw, NonZeroUsize::MIN).unwrap();
        let tls = config.tls.as_mut().unwrap();
        tls.look_again = Duration::from_millis(20);
        tls.handshake = Duration::from_secs(1);
        config
    }

    async fn listening(
        &self,
        raw: RawServeConfig,
    ) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
        let server = Server::start(self.config(raw), false).await.unwrap();
        assert_eq!(server.scheme(), "https");
        let address = server.address().unwrap();
        let (end, ended) = oneshot::channel();
        (address, end, tokio::spawn(server.run(async { drop(ended.await) })))
    }

    async fn refusal(&self) -> String {
        match Server::start(self.config(RawServeConfig::default()), false).await {
            Err(error @ StartError::Tls(_)) => error.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

/// A connection of a client that trusts one certificate alone.
async fn connected(
    address: SocketAddr,
    trusted: &str,
    alpn: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let pem = std::fs::read(fixture(&format!("{trusted}.certificate.pem"))).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|own| own.to_vec()).collect();
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from("localhost").unwrap(), stream)
        .await
}

async fn answer(mut stream: TlsStream<TcpStream>, request: &[u8]) -> String {
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Until a client that trusts this certificate is answered.
async fn until_served(address: SocketAddr, trusted: &str) {
    let served = async {
        while connected(address, trusted, &[]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), served).await.unwrap();
}

#[tokio::test]
async fn requests_are_answered_and_other_languages_are_refused() {
    let files = Files::of("first");
    let (address, end, running) = files.listening(RawServeConfig::default()).await;
    let (one, two): (&[u8], &[u8]) = (b"http/1.1", b"h2");
    for alpn in [&[][..], &[one], &[two, one]] {
        let stream = connected(address, "first", alpn).await.unwrap();
        let spoken = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        assert_eq!(spoken, (!alpn.is_empty()).then(|| b"http/1.1".to_vec()));
        let text = answer(stream, GET).await;
        assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("live\n"), "{text}");
    }
    assert!(connected(address, "first", &[b"h2"]).await.is_err(), "only HTTP/1.1 is spoken");
    assert!(connected(address, "second", &[]).await.is_err(), "another certificate was shown");

    // Plain HTTP is told so in plain HTTP; what is neither gets no answer and harms nobody.
    let plain = |sent: &'static [u8]| async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    let told = plain(GET).await;
    assert!(told.starts_with("HTTP/1.1 400") && told.contains("\"tls_needed\""), "{told}");
    let (_, body) = told.split_once("\r\n\r\n").unwrap();
    serde_json::from_str::<serde_json::Value>(body).unwrap();
    assert!(!plain(b"\x16\x03\x01\x00\x05hello").await.contains("HTTP"));
    assert!(!plain(b"\0\0\0\0").await.contains("HTTP"));
    let text = answer(connected(address, "first", &[]).await.unwrap(), GET).await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    end.send(()).unwrap();
    running.await.unwrap();
}

#[tokio::test]
async fn a_renewed_certificate_is_for_new_connections_and_a_broken_one_for_none() {
    let files = Files::of("first");
    let (address, end, running) = files.listening(RawServeConfig::default()).await;
    let mut earlier = connected(address, "first", &[]).await.unwrap();
    // Half of the pair, then the whole.
    files.put_certificate("second");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(connected(address, "first", &[]).await.is_ok(), "half a pair was used");
    files.put("second");
    until_served(address, "second").await;
    assert!(connected(address, "first", &[]).await.is_err());
    // A connection that was there before goes on.
    earlier.write_all(GET).await.unwrap();
    let mut text = String::new();
    earlier.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    // What is broken is not used, what is gone neither.
    for broken in [&b"no certificate"[..], b""] {
        std::fs::write(files.certificate(), broken).unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(connected(address, "second", &[]).await.is_ok());
    }
    std::fs::remove_file(files.key()).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(connected(address, "second", &[]).await.is_ok());
    files.put("first");
    until_served(address, "first").await;
    end.send(()).unwrap();
    running.await.unwrap();
}

#[tokio::test]
async fn a_pair_that_cannot_be_used_stops_the_start_and_is_named() {
    let files = Files::of("first");
    files.put_certificate("second");
    let mixed = files.refusal().await;
    assert!(mixed.starts_with("serve.tls_key ") && mixed.contains("not the key of"), "{mixed}");
    files.put("first");
    let secret = std::fs::read_to_string(files.key()).unwrap();
    let secret_line = secret.lines().nth(1).unwrap();
    // Certificate and key in each other's place.
    std::fs::copy(files.certificate(), files.folder.path().join("kept")).unwrap();
    std::fs::write(files.certificate(), &secret).unwrap();
    let swapped = files.refusal().await;
    assert!(
        swapped.starts_with("serve.tls_certificate ") && swapped.contains("no certificate"),
        "{swapped}"
    );
    files.put("first");
    for (key, want) in [
        (secret.replace("BEGIN PRIVATE", "BEGIN SOME"), "no private key"),
        (secret.replace(secret_line, "AAAA"), "RSA, ECDSA or Ed25519"),
        (secret.replace("-----END", "---END"), "no private key"),
        (String::new(), "no private key"),
    ] {
        std::fs::write(files.key(), key).unwrap();
        let refusal = files.refusal().await;
        assert!(refusal.starts_with("serve.tls_key ") && refusal.contains(want), "{refusal}");
        assert!(!refusal.contains(&secret_line[..16]), "{refusal}");
    }
    std::fs::remove_file(files.key()).unwrap();
    let missing = files.refusal().await;
    assert!(missing.contains("key.pem") && missing.contains("cannot be read"), "{missing}");
}

/// Two connections may be there; two that say nothing take both, until their time for the handshake is over.
#[tokio::test]
async fn a_handshake_that_never_comes_holds_no_place_for_ever() {
    let files = Files::of("first");
    let raw = RawServeConfig { max_connections: NonZeroUsize::new(2), ..RawServeConfig::default() };
    let (address, end, running) = files.listening(raw).await;
    let silent = TcpStream::connect(address).await.unwrap();
    let mut stuck = TcpStream::connect(address).await.unwrap();
    stuck.write_all(b"\x16\x03\x01\x02\x00").await.unwrap();
    let began = std::time::Instant::now();
    let waiting = async {
        let stream = connected(address, "first", &[]).await.unwrap();
        answer(stream, GET).await
    };
    let text = tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(began.elapsed() > Duration::from_millis(500), "there was room for a third");
    drop((silent, stuck));
    end.send(()).unwrap();
    running.await.unwrap();
}
