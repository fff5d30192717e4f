//! Spans of requests for a collector of OpenTelemetry, by OTLP over HTTP; nothing is sent unless an address is configured.

use std::collections::HashMap;
use std::pin::Pin;
use std::time::Duration;

use axum::http::Uri;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{Bytes, HeaderExtractor, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tracing::Span;
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt as _};
use tracing_subscriber::registry::LookupSpan;

/// Where OTLP wants spans, unless the address says another path.
const TRACES_PATH: &str = "/v1/traces";
/// How long a collector may take to take spans.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest answer of a collector that is read.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// The header by which another service says of which trace a request is a part.
const PARENT: &str = "traceparent";

/// The `[serve.telemetry]` section as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawTelemetryConfig {
    /// The collector: `http://127.0.0.1:4318`. Nothing is sent if it is not set.
    pub endpoint: Option<String>,
    /// Share of traces that are sent, of those that begin here; one that began elsewhere goes by what is said there [default: 1].
    pub sample: Option<f64>,
    /// Further headers of what is sent, such as a token.
    pub headers: HashMap<String, String>,
}

/// An address or a share that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("serve.telemetry.{key}: {reason}")]
pub struct TelemetryError {
    key: &'static str,
    reason: String,
}

/// Spans on their way to a collector.
#[derive(Debug)]
pub struct Telemetry {
    provider: SdkTracerProvider,
}

impl Telemetry {
    /// Begins to send; `None` if no address is set. It is called on a runtime of tokio, which sends.
    ///
    /// # Errors
    /// [`TelemetryError`] names the key.
    pub fn start(raw: &RawTelemetryConfig) -> Result<Option<Self>, TelemetryError> {
        let wrong = |key, reason: String| TelemetryError { key, reason };
        let Some(endpoint) = &raw.endpoint else { return Ok(None) };
        let sample = raw.sample.unwrap_or(1.0);
        if !(0.0..=1.0).contains(&sample) {
            return Err(wrong("sample", format!("{sample} is not in 0..=1")));
        }
        let url = url(endpoint).map_err(|reason| wrong("endpoint", reason))?;
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(Client { handle: Handle::current() })
            .with_headers(raw.headers.clone())
            .with_timeout(TIMEOUT)
            .with_endpoint(url)
            .build();
        let exporter = exporter.map_err(|error| wrong("endpoint", error.to_string()))?;
        let mut resource = Resource::builder();
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name("forecart");
        }
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(sample))))
            .with_resource(resource.build())
            .build();
        Ok(Some(Self { provider }))
    }

    /// The layer of a subscriber that spans go through.
    pub fn layer<S>(&self) -> OpenTelemetryLayer<S, SdkTracer>
    where
        S: tracing::Subscriber + for<'span> LookupSpan<'span>,
    {
        tracing_opentelemetry::layer()
            .with_location(false)
            .with_threads(false)
            .with_tracer(self.provider.tracer("forecart"))
    }

    /// Sends what waits, and ends. It waits for the collector: call it where waiting is allowed, while the runtime still runs.
    pub fn end(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(TIMEOUT) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// Makes a span part of the trace that a request says it belongs to.
pub(crate) fn follow(span: &Span, headers: &axum::http::HeaderMap) {
    if headers.contains_key(PARENT) {
        let context = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
        // Where nothing is sent, there is nothing to be part of.
        let _ = span.set_parent(context);
    }
}

fn url(endpoint: &str) -> Result<String, String> {
    let uri: Uri = endpoint.parse().map_err(|_| format!("{endpoint:?} is no address"))?;
    if uri.scheme_str() != Some("http") || uri.host().is_none() {
        return Err(format!(
            "{endpoint:?} is no http:// address; spans go to a collector beside the server, which sends them on by TLS"
        ));
    }
    match uri.path() {
        "" | "/" => Ok(format!("{}{TRACES_PATH}", endpoint.trim_end_matches('/'))),
        _ => Ok(endpoint.to_owned()),
    }
}

/// A client that sends on the runtime, whoever waits: the exporter has a thread of its own.
#[derive(Debug)]
struct Client {
    handle: Handle,
}

type Sent<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Client {
    fn send_bytes<'a, 'b>(&'a self, request: Request<Bytes>) -> Sent<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        // The timer too is the runtime's, so it is made there.
        let send = async move { tokio::time::timeout(TIMEOUT, send(request)).await };
        let sending = self.handle.spawn(send);
        Box::pin(async move { sending.await?? })
    }
}

async fn send(request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let host = request.uri().host().ok_or("no host")?;
    let port = request.uri().port_u16().unwrap_or(80);
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let (mut parts, body) = request.into_parts();
    if let Some(authority) = parts.uri.authority() {
        parts.headers.insert("host", authority.as_str().parse()?);
    }
    parts.uri = parts.uri.path_and_query().map_or("/", |own| own.as_str()).parse()?;
    let request = Request::from_parts(parts, Full::new(body));
    let (parts, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await?.to_bytes();
    connection.abort();
    Ok(Response::from_parts(parts, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_traces_is_said_once() {
        for (endpoint, expected) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://[::1]:4318/", "http://[::1]:4318/v1/traces"),
            ("http://collector/own/traces", "http://collector/own/traces"),
        ] {
            assert_eq!(url(endpoint).as_deref(), Ok(expected));
        }
        for endpoint in ["collector:4318", "https://collector", "", "http://"] {
            assert!(url(endpoint).is_err(), "{endpoint}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_used_names_its_key() {
        let raw = RawTelemetryConfig { endpoint: Some("x".into()), ..Default::default() };
        assert!(
            Telemetry::start(&raw).unwrap_err().to_string().contains("serve.telemetry.endpoint")
        );
        let raw = RawTelemetryConfig {
            endpoint: Some("http://x".into()),
            sample: Some(1.5),
            ..Default::default()
        };
        assert!(Telemetry::start(&raw).unwrap_err().to_string().contains("serve.telemetry.sample"));
        assert!(Telemetry::start(&RawTelemetryConfig::default()).unwrap().is_none());
    }
}
