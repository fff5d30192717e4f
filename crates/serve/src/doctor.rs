//! What would keep a server from serving well, found before it starts.

use std::path::Path;

use serde::Serialize;

use crate::catalog::Catalog;
use crate::clock::now_ms;
use crate::config::ServeConfig;
use crate::keys::Keys;
use crate::lists::ShopRules;
use crate::models::{Models, SLOTS};
use crate::store;
use crate::tls::Tls;

/// A disk with less room than this fills soon.
const LITTLE_DISK_BYTES: u64 = 1 << 30;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// It serves, but look at it.
    Warning,
    /// It does not serve, or loses something.
    Failed,
}

/// What was found of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: String,
    /// How bad it is.
    pub severity: Severity,
    /// What is there.
    pub found: String,
    /// What helps, where something is wrong.
    pub advice: Option<String>,
}

impl Finding {
    /// All is well.
    pub fn ok(check: &str, found: impl Into<String>) -> Self {
        let (check, found) = (check.to_owned(), found.into());
        Self { check, severity: Severity::Ok, found, advice: None }
    }

    /// Something should be looked at.
    pub fn warning(check: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        let severity = Severity::Warning;
        Self { severity, advice: Some(advice.into()), ..Self::ok(check, found) }
    }

    /// Something is wrong.
    pub fn failed(check: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { severity: Severity::Failed, ..Self::warning(check, found, advice) }
    }
}

/// Looks at all that a server with this set-up would use: rules, store, disk, models, keys, NATS, address. It changes nothing but that a
/// store that is not there is made, and the tables of one that is are brought up to date.
pub async fn examine(config: &ServeConfig) -> Vec<Finding> {
    let mut findings = vec![rules(config)];
    findings.extend(experiments(config));
    findings.extend(tls(config).await);
    findings.extend(nats(config).await);
    let opened = store::open(&config.store).await;
    match opened {
        Err(error) => {
            let advice =
                "is the address right, is the database there, may this user write to the folder?";
            findings.push(Finding::failed("store", error.to_string(), advice));
        }
        Ok(store) => {
            findings.push(match (store.probe(now_ms()).await, store.counts().await) {
                (Ok(()), Ok(counts)) => {
                    let counts = format!(
                        "{}: {} events, {} items, {} users",
                        store.kind(),
                        counts.n_events,
                        counts.n_items,
                        counts.n_users
                    );
                    Finding::ok("store", counts)
                }
                (Err(error), _) | (_, Err(error)) => {
                    let advice =
                        "it can be opened but not used: is the disk full, is it read-only?";
                    Finding::failed("store", error.to_string(), advice)
                }
            });
            if !store.is_shared() {
                findings.extend(disk(Path::new(&config.store)));
            }
            findings.extend(models(config, &store).await);
            findings.push(keys(config, store.as_ref()).await);
            store.close().await;
        }
    }
    findings.push(address(config).await);
    findings
}

fn rules(config: &ServeConfig) -> Finding {
    let raw = &config.rules;
    match ShopRules::new(raw, &mut Catalog::new()) {
        Ok(_) => {
            let found = format!("{} rules, {} scenarios", raw.rules.len(), raw.scenarios.len());
            Finding::ok("rules", found)
        }
        Err(error) => {
            Finding::failed("rules", error.to_string(), "a server does not start with this rule")
        }
    }
}

fn experiments(config: &ServeConfig) -> Option<Finding> {
    match config.experiments() {
        Ok(own) if own.all().is_empty() => None,
        Ok(own) => Some(Finding::ok("experiments", format!("{} are set up", own.all().len()))),
        Err(error) => {
            let advice = "a server does not start with this experiment";
            Some(Finding::failed("experiments", error.to_string(), advice))
        }
    }
}

async fn tls(config: &ServeConfig) -> Option<Finding> {
    let files = config.tls.clone()?;
    Some(match Tls::start(files).await {
        Ok(_) => Finding::ok("TLS", "certificate and key fit"),
        Err(error) => Finding::failed("TLS", error.to_string(), "a server does not start so"),
    })
}

async fn nats(config: &ServeConfig) -> Option<Finding> {
    Some(match crate::nats::examine(config.nats.as_ref()?).await {
        Ok(found) => Finding::ok("NATS", found),
        Err(found) => {
            let advice = "a server starts, reads no events from there and tries it again: is the address right, is JetStream on?";
            Finding::warning("NATS", found, advice)
        }
    })
}

#[cfg(unix)]
fn disk(store: &Path) -> Option<Finding> {
    let folder = store.parent().filter(|folder| !folder.as_os_str().is_empty());
    let disk = rustix::fs::statvfs(folder.unwrap_or_else(|| Path::new("."))).ok()?;
    let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
    let found = format!("{:.1} GB are free where the store is", free_bytes as f64 / 1e9);
    Some(if free_bytes < LITTLE_DISK_BYTES {
        let advice = "events are refused when the disk is full: make room, or set serve.keep_days";
        Finding::warning("disk", found, advice)
    } else {
        Finding::ok("disk", found)
    })
}

#[cfg(not(unix))]
fn disk(_store: &Path) -> Option<Finding> {
    None
}

async fn models(config: &ServeConfig, store: &std::sync::Arc<dyn store::Store>) -> Vec<Finding> {
    let experiments = config.experiments().unwrap_or_default();
    let models = Models::new(config.models.clone(), store.clone())
        .trusting(config.trust.clone())
        .beside(experiments.models());
    if let Err(error) = models.refresh().await {
        let advice = "name a file of `forecart train`, or a folder of them, by --model";
        return vec![Finding::failed("models", error.to_string(), advice)];
    }
    let live = models.live();
    let mut findings: Vec<Finding> = SLOTS
        .iter()
        .filter_map(|slot| {
            let (model, version) = live.in_slot(slot)?;
            let version = version.get(..12).unwrap_or(version);
            Some(Finding::ok(&format!("model of {slot}"), format!("{model} {version}")))
        })
        .collect();
    if live.recommend.is_none() {
        let advice = "train one: `forecart train`, or `forecart retrain --into DIR` from the store";
        let found = "no model of lists: what is popular is answered";
        findings.push(Finding::warning("models", found, advice));
    }
    for left_out in models.left_out() {
        let advice = "it is not served: train it again, or take it out of the folder";
        findings.push(Finding::failed(&left_out.file, left_out.reason, advice));
    }
    for experiment in experiments.all() {
        if let Some(reason) = experiment.status(Some(&live), now_ms()).reason {
            let advice = "it is suspended, and all users are answered as if it was not there";
            findings.push(Finding::warning(
                &format!("experiment {}", experiment.name()),
                reason,
                advice,
            ));
        }
    }
    findings
}

async fn keys(config: &ServeConfig, store: &dyn store::Store) -> Finding {
    let keys = Keys::default();
    if let Err(error) = keys.refresh(store).await {
        return Finding::failed("keys", error.to_string(), "the store holds them");
    }
    match (keys.is_open(), config.address.ip().is_loopback()) {
        (false, _) => Finding::ok("keys", "every request needs one"),
        (true, true) => {
            let found = "none: whoever is on this machine may do everything";
            Finding::warning("keys", found, "`forecart keygen --scope admin` makes the first")
        }
        (true, false) => {
            let found = format!("none, and {} is open to the network", config.address);
            let advice = "a server does not start so: `forecart keygen --scope admin` makes a key";
            Finding::failed("keys", found, advice)
        }
    }
}

async fn address(config: &ServeConfig) -> Finding {
    match tokio::net::TcpListener::bind(config.address).await {
        Ok(_) => Finding::ok("address", format!("{} is free", config.address)),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            let found = format!("something listens at {} already", config.address);
            let advice = "well if it is this server; else choose another --port";
            Finding::warning("address", found, advice)
        }
        Err(error) => {
            let found = format!("{}: {error}", config.address);
            Finding::failed("address", found, "choose another --host or --port")
        }
    }
}
