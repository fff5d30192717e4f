//! A load generator: requests arrive at a constant rate, whether or not earlier ones were answered.
//!
//! A generator that waits for an answer before it sends the next request asks a slow server less often and so hides how slow it is ("coordinated
//! omission", Gil Tene). Here every request has its moment; one that finds all connections busy waits, and its time runs from that moment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Method, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

/// What is sent, how often and for how long.
#[derive(Debug, Clone)]
pub struct LoadPlan {
    /// The server.
    pub address: SocketAddr,
    /// Requests a second.
    pub rate: f64,
    /// For how long.
    pub duration: Duration,
    /// Connections, which is how many requests can be under way at once.
    pub n_connections: usize,
    /// A key, if one is needed.
    pub key: Option<String>,
}

/// A request of a load.
#[derive(Debug, Clone)]
pub struct LoadRequest {
    /// Path and query.
    pub path: String,
    /// What is posted; a request without is a GET.
    pub body: Option<Bytes>,
}

/// What came of a load.
#[derive(Debug, Clone, Default)]
pub struct LoadOutcome {
    /// Requests whose moment came.
    pub n_sent: u64,
    /// Answers by status; 0 where the connection broke.
    pub statuses: BTreeMap<u16, u64>,
    /// Microseconds from the moment of each request that was answered by 2xx to its whole answer, ascending.
    pub latencies_us: Vec<u32>,
    /// From the first moment to the last answer.
    pub took: Duration,
}

impl LoadOutcome {
    /// Answers of 2xx a second.
    pub fn rate(&self) -> f64 {
        self.latencies_us.len() as f64 / self.took.as_secs_f64().max(1e-9)
    }

    /// Requests that were not answered by 2xx.
    pub fn n_failed(&self) -> u64 {
        self.n_sent - self.latencies_us.len() as u64
    }

    /// The latency in milliseconds that a share of the answers does not exceed; `None` without an answer.
    pub fn quantile_ms(&self, share: f64) -> Option<f64> {
        let place = (self.latencies_us.len() as f64 * share).ceil() as usize;
        let place = place.clamp(1, self.latencies_us.len().max(1)) - 1;
        self.latencies_us.get(place).map(|us| f64::from(*us) / 1e3)
    }
}

struct Client {
    address: SocketAddr,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    async fn send(&mut self, request: Request<Full<Bytes>>) -> Option<u16> {
        if self.sender.as_ref().is_none_or(SendRequest::is_closed) {
            let stream = TcpStream::connect(self.address).await.ok()?;
            stream.set_nodelay(true).ok()?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
            tokio::spawn(connection);
            self.sender = Some(sender);
        }
        let sender = self.sender.as_mut()?;
        let answer = async {
            sender.ready().await.ok()?;
            let response = sender.send_request(request).await.ok()?;
            let status = response.status().as_u16();
            response.into_body().collect().await.ok()?;
            Some(status)
        };
        let answer = answer.await;
        if answer.is_none() {
            self.sender = None;
        }
        answer
    }
}

/// Sends requests, the `n`-th of them at `n / rate` seconds.
pub async fn load(
    plan: &LoadPlan,
    request: impl Fn(u64) -> LoadRequest + Send + Sync + 'static,
) -> LoadOutcome {
    let n_requests = (plan.rate * plan.duration.as_secs_f64()).ceil() as u64;
    let next = Arc::new(AtomicU64::new(0));
    let request = Arc::new(request);
    let begin = Instant::now() + Duration::from_millis(20);
    let tasks: Vec<_> = (0..plan.n_connections)
        .map(|_| {
            let (plan, next, request) = (plan.clone(), next.clone(), request.clone());
            tokio::spawn(async move {
                let mut client = Client { address: plan.address, sender: None };
                let mut outcome = LoadOutcome::default();
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= n_requests {
                        return outcome;
                    }
                    let mut from = begin + Duration::from_secs_f64(n as f64 / plan.rate);
                    if Instant::now() < from {
                        sleep_until(from).await;
                        // The timer has steps of a millisecond: what it oversleeps is not the server's.
                        from = Instant::now();
                    }
                    let LoadRequest { path, body } = request(n);
                    let method = if body.is_some() { Method::POST } else { Method::GET };
                    let mut builder =
                        Request::builder().method(method).uri(path).header(header::HOST, "bench");
                    if let Some(key) = &plan.key {
                        builder = builder.header("x-api-key", key);
                    }
                    let Ok(sent) = builder.body(Full::new(body.unwrap_or_default())) else {
                        *outcome.statuses.entry(0).or_default() += 1;
                        continue;
                    };
                    let status = client.send(sent).await.unwrap_or(0);
                    *outcome.statuses.entry(status).or_default() += 1;
                    if (200..300).contains(&status) {
                        let us = from.elapsed().as_micros();
                        outcome.latencies_us.push(u32::try_from(us).unwrap_or(u32::MAX));
                    }
                }
            })
        })
        .collect();
    let mut all = LoadOutcome { n_sent: n_requests, ..LoadOutcome::default() };
    for task in tasks {
        let Ok(one) = task.await else { continue };
        all.latencies_us.extend(one.latencies_us);
        for (status, n) in one.statuses {
            *all.statuses.entry(status).or_default() += n;
        }
    }
    all.took = begin.elapsed();
    all.latencies_us.sort_unstable();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_answers_that_were_counted() {
        let latencies_us = (1..=1000).map(|ms| ms * 1000).collect();
        let outcome = LoadOutcome {
            n_sent: 1010,
            latencies_us,
            took: Duration::from_secs(2),
            ..LoadOutcome::default()
        };
        assert_eq!(outcome.quantile_ms(0.5), Some(500.0));
        assert_eq!(outcome.quantile_ms(0.99), Some(990.0));
        assert_eq!(outcome.quantile_ms(0.999), Some(999.0));
        assert_eq!(outcome.quantile_ms(1.0), Some(1000.0));
        assert_eq!((outcome.rate(), outcome.n_failed()), (500.0, 10));
        assert_eq!(LoadOutcome::default().quantile_ms(0.5), None);
    }

    /// A server that answers one request at a time, each after 20 ms, is asked for 100 a second: a generator that waited would see 20 ms.
    #[tokio::test]
    async fn a_server_that_is_too_slow_cannot_hide_it() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let one_at_a_time = Arc::new(tokio::sync::Mutex::new(()));
        let router = axum::Router::new().fallback(move || {
            let one_at_a_time = one_at_a_time.clone();
            async move {
                let _turn = one_at_a_time.lock().await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        let plan = LoadPlan {
            address,
            rate: 100.0,
            duration: Duration::from_secs(1),
            n_connections: 8,
            key: None,
        };
        let outcome = load(&plan, |_| LoadRequest { path: "/".to_owned(), body: None }).await;
        assert_eq!((outcome.n_sent, outcome.n_failed()), (100, 0));
        // Half of the requests cannot be answered in the second: the last ones wait for about another.
        let slowest = outcome.quantile_ms(1.0).unwrap();
        assert!(slowest > 500.0, "{slowest}");
    }
}
