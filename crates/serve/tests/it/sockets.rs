//! What only a socket shows: clients that are slow or break off, and the end of the process.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use forecart_serve::{RawServeConfig, ServeConfig, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// A server that listens; it ends when the sender says so, and the handle ends with it.
pub(crate) async fn listening(
    raw: RawServeConfig,
) -> (tempfile::TempDir, SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store.sqlite").display().to_string();
    let raw = RawServeConfig { store: Some(store), port: Some(0), ..raw };
    let config = ServeConfig::new(raw, NonZeroUsize::MIN).unwrap();
    let server = Server::start(config, false).await.unwrap();
    let address = server.address().unwrap();
    let (end, ended) = oneshot::channel();
    let running = tokio::spawn(server.run(async { drop(ended.await) }));
    (folder, address, end, running)
}

/// Sends bytes and reads what comes back until the connection ends.
async fn exchange(address: SocketAddr, sent: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(sent).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn post(body: &str, length: usize) -> Vec<u8> {
    format!("POST /v1/events HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

#[tokio::test]
async fn hostile_clients_are_told_so_and_harm_nobody() {
    let raw = RawServeConfig {
        timeout_secs: std::num::NonZeroU32::new(1),
        max_body_bytes: NonZeroUsize::new(1 << 20),
        ..RawServeConfig::default()
    };
    let (_folder, address, end, running) = listening(raw).await;
    assert!(
        exchange(address, b"\x16\x03\x01 not http at all\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 400")
    );
    // 100 MB are announced: nothing of them is waited for.
    let started = Instant::now();
    let huge = exchange(address, &post("[", 100 << 20)).await;
    assert!(huge.starts_with("HTTP/1.1 413"), "{huge}");
    assert!(started.elapsed() < Duration::from_millis(900));
    // A body that never comes whole ends with the time of a request.
    let slow = exchange(address, &post("[", 1000)).await;
    assert!(slow.starts_with("HTTP/1.1 408"), "{slow}");
    assert!(slow.contains("\"timeout\""));
    let broken = exchange(address, &post("\u{fffd}\u{1}", 4)).await;
    assert!(broken.starts_with("HTTP/1.1 400"), "{broken}");
    let mut invalid = post("", 2);
    invalid.extend([0xff, 0xfe]);
    assert!(exchange(address, &invalid).await.starts_with("HTTP/1.1 400"));
    let good =
        exchange(address, b"GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await;
    assert!(good.starts_with("HTTP/1.1 200") && good.ends_with("live\n"), "{good}");
    end.send(()).unwrap();
    running.await.unwrap();
}

#[tokio::test]
async fn a_request_that_began_is_answered_before_the_process_ends() {
    let (_folder, address, end, running) = listening(RawServeConfig::default()).await;
    let row = "{\"user_id\":\"u\",\"event\":\"search\"}";
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = post(row, row.len());
    let (first, rest) = request.split_at(request.len() - 5);
    stream.write_all(first).await.unwrap();
    // The head is read before the end is told: a connection without a request is closed.
    tokio::time::sleep(Duration::from_millis(200)).await;
    end.send(()).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(TcpStream::connect(address).await.is_err(), "it still listens");
    stream.write_all(rest).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    running.await.unwrap();
}
