//! Spans of requests, as a collector gets them.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::Request;
use axum::routing::post;
use forecart_serve::{RawTelemetryConfig, Telemetry};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::served::Served;

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_a_span_of_the_trace_that_it_names() {
    let received = Arc::new(Mutex::new(Vec::<u8>::new()));
    let kept = received.clone();
    let take = move |body: Bytes| async move { kept.lock().unwrap().extend_from_slice(&body) };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let collector = Router::new().route("/v1/traces", post(take));
    tokio::spawn(async move { axum::serve(listener, collector).await });

    let raw = RawTelemetryConfig { endpoint: Some(endpoint), ..RawTelemetryConfig::default() };
    let telemetry = Telemetry::start(&raw).unwrap().unwrap();
    let subscriber = tracing_subscriber::registry().with(telemetry.layer());
    let served = Served::empty().await;
    {
        let _guard = tracing::subscriber::set_default(subscriber);
        // Other tests, on threads without a subscriber, may have said of a place in the code at the same moment that nobody listens to it.
        for _ in 0..20 {
            tracing::callsite::rebuild_interest_cache();
            let request = Request::builder()
                .uri("/v1/recommend/somebody?n=3")
                .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
            let answer = served.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(answer.status, 200);
        }
    }
    tokio::task::spawn_blocking(|| telemetry.end()).await.unwrap();
    let received = received.lock().unwrap();
    let trace = [
        0x4b, 0xf9, 0x2f, 0x35, 0x77, 0xb3, 0x4d, 0xa6, 0xa3, 0xce, 0x92, 0x9d, 0x0e, 0x0e, 0x47,
        0x36,
    ];
    assert!(holds(&received, &trace), "the trace is not that of the request");
    for said in ["GET /v1/recommend/{user_id}", "http.route", "forecart", "compute"] {
        assert!(holds(&received, said.as_bytes()), "{said}");
    }
    // Routes are said, users are not.
    assert!(!holds(&received, b"somebody"));
}
