//! Rate limits: whose requests are counted together, what is exempt, and what one too many is told.

use std::net::SocketAddr;
use std::num::NonZeroU32;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use forecart_serve::RawServeConfig;
use forecart_serve::store::{self, Scope};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use crate::served::{Answer, Served};
use crate::sockets::listening;

/// One a quarter of an hour: no test sees a bucket fill.
fn limited(burst: u32) -> RawServeConfig {
    RawServeConfig {
        rate_per_second: Some(1.0 / 900.0),
        rate_burst: NonZeroU32::new(burst),
        ..RawServeConfig::default()
    }
}

async fn ask(served: &Served, path: &str, key: Option<&str>, from: &str) -> Answer {
    let mut request = Request::builder().uri(path);
    if let Some(key) = key {
        request = request.header("x-api-key", key);
    }
    let mut request = request.body(Body::empty()).unwrap();
    let peer: SocketAddr = from.parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(peer));
    served.send(request).await
}

fn counted(text: &str, reason: &str) -> u64 {
    let line = format!("forecart_requests_limited_total{{reason=\"{reason}\"}} ");
    text.lines().find_map(|own| own.strip_prefix(&line)).map_or(0, |n| n.parse().unwrap())
}

#[tokio::test]
async fn keys_are_limited_each_for_itself() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("models")).unwrap();
    let store = store::open(folder.path().join("store.sqlite").to_str().unwrap()).await.unwrap();
    let keys = [0, 1].map(|_| forecart_serve::generate_key(Scope::Read, 1));
    for key in &keys {
        store.put_key(&key.record).await.unwrap();
    }
    store.close().await;
    let served = Served::at(folder, limited(3)).await;
    let (one, other) = (keys[0].token.as_str(), keys[1].token.as_str());
    let list = "/v1/recommend/u";
    // From wherever it is used.
    for from in ["192.0.2.1:1", "192.0.2.2:1", "[2001:db8::1]:1"] {
        assert_eq!(ask(&served, list, Some(one), from).await.status, 200);
    }
    let limited = ask(&served, list, Some(one), "192.0.2.3:1").await;
    assert_eq!((limited.status.as_u16(), limited.code().as_str()), (429, "rate_limited"));
    let secs: u64 = limited.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((800..=900).contains(&secs), "{secs}");
    assert_eq!(ask(&served, "/v1/models", Some(one), "192.0.2.1:1").await.status, 429);
    assert_eq!(ask(&served, list, Some(other), "192.0.2.1:1").await.status, 200);

    // Who guesses is told no more often than others are answered, and shuts nobody out at the same address.
    let guess = |n: u32| format!("forecart_{}_{n:064}", keys[0].record.key_id);
    for n in 0..3 {
        assert_eq!(ask(&served, list, Some(&guess(n)), "192.0.2.1:9").await.status, 401);
    }
    assert_eq!(ask(&served, list, Some(&guess(3)), "192.0.2.1:9").await.status, 429);
    assert_eq!(ask(&served, list, None, "192.0.2.1:9").await.status, 429);
    assert_eq!(ask(&served, list, Some(&guess(4)), "192.0.2.4:9").await.status, 401);
    assert_eq!(ask(&served, list, Some(other), "192.0.2.1:9").await.status, 200);

    // What watches the server is answered always.
    for _ in 0..20 {
        for path in ["/health/live", "/health/ready", "/version"] {
            assert_eq!(ask(&served, path, None, "192.0.2.1:9").await.status, 200, "{path}");
        }
    }
    let metrics = ask(&served, "/metrics", Some(one), "192.0.2.1:9").await;
    assert_eq!(metrics.status, 200);
    assert_eq!((counted(&metrics.text, "key"), counted(&metrics.text, "no_key")), (2, 2));
    assert_eq!(counted(&metrics.text, "address"), 0);
    // Not without a key that would do.
    assert_eq!(ask(&served, "/metrics", Some(&guess(5)), "192.0.2.1:9").await.status, 429);
}

#[tokio::test]
async fn addresses_are_limited_where_no_key_is_needed() {
    let served = Served::with(limited(2)).await;
    let list = "/v1/recommend/u";
    for from in ["192.0.2.1:1", "192.0.2.1:2", "[2001:db8:1:2::1]:1", "[2001:db8:1:2:9::]:1"] {
        assert_eq!(ask(&served, list, None, from).await.status, 200, "{from}");
    }
    for from in ["192.0.2.1:3", "[::ffff:192.0.2.1]:3", "[2001:db8:1:2:3::]:1"] {
        assert_eq!(ask(&served, list, None, from).await.status, 429, "{from}");
    }
    for from in ["192.0.2.2:1", "[2001:db8:1:3::1]:1"] {
        assert_eq!(ask(&served, list, None, from).await.status, 200, "{from}");
    }
    let text = ask(&served, "/metrics", None, "192.0.2.1:1").await.text;
    assert_eq!(counted(&text, "address"), 3);
}

#[tokio::test]
async fn many_rows_of_one_request_are_one_request() {
    let served = Served::with(limited(2)).await;
    let users: Vec<String> = (0..100).map(|n| format!("u{n}")).collect();
    let answer = served.post("/v1/recommend", &json!({"user_ids": users})).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(served.get("/v1/recommend/u").await.status, 200);
    assert_eq!(served.get("/v1/recommend/u").await.status, 429);
}

#[tokio::test]
async fn nothing_is_limited_where_nothing_is_said() {
    let served = Served::empty().await;
    for _ in 0..300 {
        assert_eq!(ask(&served, "/v1/recommend/u", None, "192.0.2.1:1").await.status, 200);
    }
}

/// The address is that of the socket.
#[tokio::test]
async fn each_peer_of_a_socket_is_its_own_client() {
    let (_folder, address, end, running) = listening(limited(2)).await;
    let status = async |from: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(from.parse().unwrap()).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        let request = b"GET /v1/recommend/u HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    for (from, want) in [
        ("127.0.0.1:0", "200"),
        ("127.0.0.1:0", "200"),
        ("127.0.0.1:0", "429"),
        ("127.0.0.2:0", "200"),
        ("127.0.0.1:0", "429"),
    ] {
        assert_eq!(status(from).await, want, "{from}");
    }
    end.send(()).unwrap();
    running.await.unwrap();
}

#[test]
fn the_document_says_which_routes_are_limited() {
    let document: Value = serde_json::from_str(&forecart_serve::document()).unwrap();
    let mut n_limited = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Some(responses) = operation.get("responses") else { continue };
            let is_limited = responses.get("429").is_some();
            assert_eq!(is_limited, path.starts_with("/v1/"), "{method} {path}");
            n_limited += usize::from(is_limited);
            if is_limited {
                let schema = &responses["429"]["content"]["application/json"]["schema"]["$ref"];
                assert_eq!(schema, "#/components/schemas/ErrorBody", "{method} {path}");
            }
        }
    }
    assert!(n_limited > 20, "{n_limited}");
}
