//! `serve`, `keygen`, `openapi`: the server and its keys.

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use forecart_data::{Dataset, Progress as _};
use forecart_models::model_file::Trust;
use forecart_serve::store::{self, KeyRecord, Store};
use forecart_serve::{
    RawRetrainConfig, RawServeConfig, RetrainPlan, ServeConfig, Server, StartError, Telemetry,
};
use sd_notify::NotifyState;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use super::store::{then_closed, with_store};
use super::{Context, signing};
use crate::args::{KeygenArgs, ServeArgs};
use crate::failure::UsageError;
use crate::output;

/// Names the key that processes that train sign by.
const SIGNING_KEY: &str = "FORECART_SIGNING_KEY";
/// Memory that a process that trains plans with, where nothing is said.
const TRAINING_MEMORY: &str = "2GiB";

pub(crate) fn run(context: &Context, arguments: &ServeArgs) -> anyhow::Result<()> {
    let raw = raw_config(context, arguments);
    serve(context, raw, arguments.data.as_deref(), arguments.open, |_| Ok(()))
}

/// The configuration, with the flags over it.
pub(super) fn raw_config(context: &Context, arguments: &ServeArgs) -> RawServeConfig {
    let mut raw = context.config.serve();
    if !arguments.model.is_empty() {
        raw.models.clone_from(&arguments.model);
    }
    raw.store = arguments.store.store.clone().or(raw.store);
    if let Some(url) = &arguments.nats {
        raw.nats.get_or_insert_default().url = Some(url.clone());
    }
    raw.host = arguments.host.clone().or(raw.host);
    raw.port = arguments.port.or(raw.port);
    raw.tls_certificate = arguments.tls_certificate.clone().or(raw.tls_certificate);
    raw.tls_key = arguments.tls_key.clone().or(raw.tls_key);
    raw.retrain.schedule = arguments.retrain.clone().or(raw.retrain.schedule);
    raw
}

/// Serves until the process is told to end; `ready` is called once it listens.
pub(super) fn serve(
    context: &Context,
    raw: RawServeConfig,
    data: Option<&Path>,
    is_open: bool,
    ready: impl FnOnce(SocketAddr) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let telemetry = {
        let _runtime = runtime.enter();
        Telemetry::start(&raw.telemetry).map_err(|error| UsageError(error.to_string()))?
    };
    log_to_standard_error(context.verbose, telemetry.as_ref());
    let retrain = raw.retrain.clone();
    let config = ServeConfig::new(raw, context.config.threads());
    let mut config = config.map_err(|error| UsageError(error.to_string()))?;
    for path in &config.models {
        if !path.exists() {
            let message = format!("--model {path:?}: there is no such file or folder");
            return Err(UsageError(message).into());
        }
    }
    config.retrain = Some(retrain_plan(context, &retrain, &config)?);
    let dataset = data.map(Dataset::open).transpose()?;
    let served = runtime.block_on(async {
        if let Some(dataset) = dataset {
            let filled = then_closed(store::open_to_serve(&config.store), async |store| {
                let filled = forecart_serve::fill(store, &dataset, &context.display).await;
                context.display.end();
                Ok(filled?)
            });
            let filled = filled.await?;
            context.display.announce(&format!(
                "the store has {} new events and {} items of the dataset",
                output::count(filled.n_new_events),
                output::count(filled.n_items),
            ));
        }
        let server = match Server::start(config, is_open).await {
            Err(error @ (StartError::Open { .. } | StartError::Rules(_) | StartError::Experiments(_) | StartError::Tls(_))) => return Err(UsageError(error.to_string()).into()),
            other => other?,
        };
        let (address, scheme) = (server.address()?, server.scheme());
        if context.json {
            output::json(&serde_json::json!({"listening": address.to_string(), "models": server.live()}))?;
        } else {
            output::line(&format!("forecart listens at {scheme}://{address}; its pages: {scheme}://{address}/docs"))?;
            for (slot, model, version) in server.live() {
                output::line(&format!("  {slot}: {model} {}", &version[..version.len().min(12)]))?;
            }
            for left_out in server.app().left_out() {
                output::line(&format!("  left out: {}: {}", left_out.file, left_out.reason))?;
            }
            if server.app().is_open() {
                output::line("  no key is needed: anybody who reaches this address may do everything; forecart keygen makes keys")?;
            }
        }
        ready(address)?;
        let watchdog = tell_service_manager();
        let end = async {
            told_to_end().await;
            let _ = sd_notify::notify(&[NotifyState::Stopping]);
        };
        server.run(end).await;
        watchdog.abort();
        Ok(())
    });
    if let Some(telemetry) = telemetry {
        telemetry.end();
    }
    served
}

/// How this server trains anew: by this program itself.
pub(super) fn retrain_plan(
    context: &Context,
    raw: &RawRetrainConfig,
    config: &ServeConfig,
) -> anyhow::Result<RetrainPlan> {
    let program = std::env::current_exe().context("find the program itself")?;
    let plan = RetrainPlan::new(raw, &config.models, program, training_flags(context, raw));
    let plan = plan.map_err(|error| UsageError(error.to_string()))?;
    if plan.schedule.is_some()
        && config.trust != Trust::Any
        && std::env::var_os(SIGNING_KEY).is_none()
    {
        let message = format!(
            "serve.trusted_keys refuses models that are not signed, and what is trained anew would not be: {SIGNING_KEY} names no key to sign by"
        );
        return Err(UsageError(message).into());
    }
    Ok(plan)
}

/// What the process that trains is told of this one's configuration. It leaves half of the threads to the server.
fn training_flags(context: &Context, raw: &RawRetrainConfig) -> Vec<OsString> {
    let mut flags = Vec::new();
    if let Some(path) = &context.config.path {
        flags.extend([OsString::from("--config"), path.into()]);
    }
    if let Some(seed) = context.config.given_seed {
        flags.extend(["--seed".into(), seed.to_string().into()]);
    }
    let threads = raw.threads.map_or(context.config.threads().get().div_ceil(2), NonZeroUsize::get);
    flags.extend(["--threads".into(), threads.to_string().into()]);
    let memory = raw.memory.clone().unwrap_or_else(|| TRAINING_MEMORY.to_owned());
    flags.extend(["--memory-limit".into(), memory.into()]);
    flags
}

pub(crate) fn keygen(context: &Context, arguments: &KeygenArgs) -> anyhow::Result<()> {
    if let Some(path) = arguments.out.as_deref().filter(|_| arguments.signing) {
        return signing::keygen(context, path);
    }
    with_store(context, &arguments.store, async |store| {
        change_keys(context, arguments, store).await
    })
}

async fn change_keys(
    context: &Context,
    arguments: &KeygenArgs,
    store: &dyn Store,
) -> anyhow::Result<()> {
    let now_ms = jiff::Timestamp::now().as_millisecond();
    if arguments.list {
        let keys = store.keys().await?;
        if context.json {
            let rows = keys.iter().map(|key| {
                serde_json::json!({"key_id": key.key_id, "scope": key.scope, "made_ms": key.made_ms, "ends_ms": key.ends_ms})
            });
            return output::json(&rows.collect::<Vec<_>>());
        }
        let rows: Vec<Vec<String>> = keys.iter().map(|key| row(key, now_ms)).collect();
        return output::line(&output::table(&["key", "may", "made", "ends"], &rows, usize::MAX));
    }
    if let Some(id) = &arguments.end {
        let keys = store.keys().await?;
        let Some(key) = keys.into_iter().find(|key| key.key_id == *id) else {
            let message = format!("--end {id}: there is no such key; --list shows them");
            return Err(UsageError(message).into());
        };
        let ends_ms = now_ms + i64::from(arguments.in_hours) * 3_600_000;
        // One that ends earlier stays so: nothing brings a key back.
        let ends_ms = key.ends_ms.map_or(ends_ms, |earlier| earlier.min(ends_ms));
        store.put_key(&KeyRecord { ends_ms: Some(ends_ms), ..key }).await?;
        return output::line(&format!("the key {id} ends {}", in_words(ends_ms)));
    }
    let scope = arguments.scope.context("a key is made for a scope")?;
    let key = forecart_serve::generate_key(scope.into(), now_ms);
    store.put_key(&key.record).await?;
    if context.json {
        return output::json(&serde_json::json!({
            "key_id": key.record.key_id, "key": key.token, "scope": key.record.scope,
        }));
    }
    output::line(&format!(
        "{}\nmay {}; it is not shown again. A server that runs knows it within seconds: send it as `Authorization: Bearer KEY`",
        key.token, key.record.scope
    ))
}

fn row(key: &KeyRecord, now_ms: i64) -> Vec<String> {
    let ends = match key.ends_ms {
        None => "never".to_owned(),
        Some(ends_ms) if ends_ms <= now_ms => format!("ended {}", in_words(ends_ms)),
        Some(ends_ms) => in_words(ends_ms),
    };
    vec![key.key_id.clone(), key.scope.to_string(), in_words(key.made_ms), ends]
}

fn in_words(time_ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(time_ms).unwrap_or_default();
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

pub(crate) fn openapi() -> anyhow::Result<()> {
    output::line(&forecart_serve::document())
}

pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.context("cannot start the threads of the server")
}

/// Says to systemd, where it asks, that the server is ready, and then again and again that it lives.
fn tell_service_manager() -> tokio::task::JoinHandle<()> {
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    let pause = sd_notify::watchdog_enabled();
    tokio::spawn(async move {
        let Some(pause) = pause else { return };
        let mut ticks = tokio::time::interval(pause / 3);
        loop {
            ticks.tick().await;
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        }
    })
}

/// An interrupt, or what service managers send.
async fn told_to_end() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        let kind = tokio::signal::unix::SignalKind::terminate();
        match tokio::signal::unix::signal(kind) {
            Ok(mut terminate) => {
                tokio::select! {
                    _ = interrupt => {}
                    _ = terminate.recv() => {}
                }
            }
            Err(_) => drop(interrupt.await),
        }
    }
    #[cfg(not(unix))]
    drop(interrupt.await);
}

/// Lines for people on a terminal, JSON lines otherwise; `FORECART_LOG=debug` says more. Spans go to a collector too, if there is one.
fn log_to_standard_error(verbose: bool, telemetry: Option<&Telemetry>) {
    let usual = if verbose { "forecart_serve=debug,warn" } else { "forecart_serve=info,warn" };
    let filter = EnvFilter::try_from_env("FORECART_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = if std::io::stderr().is_terminal() {
        lines.with_target(false).boxed()
    } else {
        lines.json().flatten_event(true).with_span_list(false).boxed()
    };
    let registry = tracing_subscriber::registry().with(lines.with_filter(filter));
    let spans = telemetry.map(|own| own.layer().with_filter(EnvFilter::new("forecart_serve=info")));
    // A second one, in tests, changes nothing.
    let _ = registry.with(spans).try_init();
}

/// What the demo made, served.
pub(super) fn demo(
    context: &Context,
    out: &Path,
    port: Option<u16>,
    user: &str,
) -> anyhow::Result<()> {
    let raw = RawServeConfig {
        store: Some(out.join("store.sqlite").display().to_string()),
        models: vec![out.join("model.forecart")],
        port,
        ..RawServeConfig::default()
    };
    let data: PathBuf = out.join("dataset");
    serve(context, raw, Some(&data), false, |address| {
        output::line(&format!(
            "try:\n  curl \"http://{address}/v1/recommend/{user}?n=3\"\nCtrl-C ends it"
        ))
    })
}
