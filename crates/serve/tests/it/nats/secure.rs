//! TLS and clients that a server knows: who is not trusted gets nothing and says why, while requests are answered.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::ConnectOptions;
use axum::http::StatusCode;
use forecart_serve::{RawNatsConfig, RawServeConfig, Severity};

use super::clients::{Client, ways};
use super::server::{NatsServer, until};
use super::{Process, SUBJECT, found, publish, search};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
}

fn of(nats: RawNatsConfig) -> RawServeConfig {
    RawServeConfig { nats: Some(nats), ..RawServeConfig::default() }
}

async fn process(nats: RawNatsConfig) -> Process {
    Process::on(tempfile::tempdir().unwrap(), of(nats)).await
}

/// Reads what a client publishes.
async fn reads(nats: &NatsServer, raw: RawNatsConfig, options: ConnectOptions) {
    let seen = found(of(raw.clone())).await;
    assert_eq!(seen.severity, Severity::Ok, "{seen:?}");
    let process = process(raw).await;
    process.until_reading(true).await;
    publish(&nats.context_by(options).await, SUBJECT, search("u", 1)).await;
    process.until_has("u", 1).await;
    process.end().await;
}

/// Reads nothing, and answers all the same; what a look before the start says of it.
async fn refused(raw: RawNatsConfig) -> String {
    let seen = found(of(raw.clone())).await;
    assert_eq!(seen.severity, Severity::Warning, "{seen:?}");
    let process = process(raw).await;
    // Some tries.
    tokio::time::sleep(Duration::from_millis(800)).await;
    process.until_reading(false).await;
    process.served.event("u", "i", "purchase", 1_764_000_000).await;
    let list = process.served.get("/v1/recommend/u").await;
    assert_eq!(list.status, StatusCode::OK, "{}", list.text);
    process.end().await;
    seen.found
}

async fn with_tls(name: &str) -> Option<NatsServer> {
    let file = |what: &str| fixture(&format!("{name}.{what}.pem")).display().to_string();
    let (certificate, key) = (file("certificate"), file("key"));
    NatsServer::start_with(&["--tls", "--tlscert", &certificate, "--tlskey", &key]).await
}

fn trusting(nats: &NatsServer, scheme: &str, roots: Option<PathBuf>) -> RawNatsConfig {
    let url = Some(nats.url().replace("nats://", scheme));
    RawNatsConfig { url, root_certificates: roots, ..RawNatsConfig::default() }
}

#[tokio::test]
async fn a_server_is_known_by_its_certificate() {
    let Some(nats) = with_tls("signed").await else { return };
    let authority = fixture("authority.certificate.pem");
    for scheme in ["tls://", "nats://"] {
        let options = ConnectOptions::new().add_root_certificates(authority.clone());
        reads(&nats, trusting(&nats, scheme, Some(authority.clone())), options).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("none.pem");
    for (roots, said) in [
        (Some(fixture("first.certificate.pem")), "UnknownIssuer"),
        (None, "certificate"),
        (Some(fixture("signed.key.pem")), "no certificate is in it"),
        (Some(none), "none.pem"),
    ] {
        let why = refused(trusting(&nats, "tls://", roots)).await;
        assert!(why.contains(said) && why.contains("serve.nats.root_certificates"), "{why}");
    }
    // A server with another name than it is asked by.
    let Some(other) = with_tls("first").await else { return };
    let roots = Some(fixture("first.certificate.pem"));
    let why = refused(trusting(&other, "tls://", roots)).await;
    assert!(why.contains("not valid for name") && why.contains("serve.nats.url"), "{why}");
}

/// Neither by `tls://` nor where an authority is named is anything said to a server without TLS.
#[tokio::test]
async fn nothing_is_said_in_clear_where_tls_is_asked_for() {
    let Some(nats) = NatsServer::start().await else { return };
    let authority = Some(fixture("authority.certificate.pem"));
    for (scheme, roots) in [("tls://", authority.clone()), ("nats://", authority)] {
        let why = refused(trusting(&nats, scheme, roots)).await;
        assert!(why.contains("is TLS on"), "{why}");
    }
}

#[tokio::test]
async fn an_authority_that_is_put_in_place_is_trusted_without_a_restart() {
    let Some(nats) = with_tls("signed").await else { return };
    let folder = tempfile::tempdir().unwrap();
    let roots = folder.path().join("authority.pem");
    std::fs::copy(fixture("second.certificate.pem"), &roots).unwrap();
    let process = process(trusting(&nats, "tls://", Some(roots.clone()))).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    process.until_reading(false).await;
    std::fs::copy(fixture("authority.certificate.pem"), &roots).unwrap();
    process.until_reading(true).await;
    process.end().await;
}

#[tokio::test]
async fn a_client_that_is_not_known_reads_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for way in ways(folder.path()).await {
        let arguments: Vec<&str> = way.arguments.iter().map(String::as_str).collect();
        let Some(nats) = NatsServer::start_with(&arguments).await else { return };
        until("the server asks who it is", async || {
            found(of(Client::default().of(&nats))).await.found.contains("asks who the client is")
        })
        .await;
        let why = refused(way.unknown.of(&nats)).await;
        assert!(why.contains("authorization violation") && why.contains(way.advice), "{why}");
        for secret in &way.secrets {
            assert!(!why.contains(secret), "{why}");
        }
        reads(&nats, way.known.of(&nats), way.options).await;
    }
}

#[tokio::test]
async fn a_file_of_credentials_that_holds_none_is_named() {
    let Some(nats) = NatsServer::start().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.creds");
    let raw = RawNatsConfig { credentials: Some(path.clone()), ..super::raw_nats(&nats) };
    for (text, said) in [
        (None, "No such file"),
        (Some("nothing"), "neither a user's token and key"),
        (Some("-----BEGIN NATS USER JWT-----\nabc\n"), "JWT"),
        (Some("SUNOKEY"), "is none"),
    ] {
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        let why = refused(raw.clone()).await;
        assert!(why.contains(said) && why.contains("serve.nats.credentials"), "{why}");
        assert!(why.contains("shop.creds") && !why.contains("SUNOKEY"), "{why}");
    }
}
