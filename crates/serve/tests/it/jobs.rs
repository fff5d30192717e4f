//! Processes that train beside the server and go wrong: the job says why, and what answers stays.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use axum::http::StatusCode;
use forecart_serve::{RawServeConfig, RetrainPlan};
use serde_json::{Value, json};

use crate::served::{Running, config, dataset, within, write_model};

/// Much longer than anything here takes, also on a machine that does other things.
const LONG: Duration = Duration::from_secs(60);

/// A server with a model, whose jobs go wrong as `how` says.
async fn served(how: &str, timeout: Duration) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let models = folder.path().join("models");
    std::fs::create_dir(&models).unwrap();
    let dataset = dataset(folder.path());
    write_model("popularity", &json!({}), &dataset, 1, &models.join("live.forecart"));
    let mut config = config(&folder, RawServeConfig::default());
    config.retrain = Some(RetrainPlan {
        schedule: None,
        tasks: vec!["recommend".to_owned()],
        models: BTreeMap::new(),
        program: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/retrain.sh"),
        arguments: vec![how.into()],
        folder: Some(models),
        timeout,
        n_kept: 5,
    });
    Running::with(folder, config).await
}

async fn begin(served: &Running) {
    let begun = served.post("/v1/train", &json!({})).await;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{}", begun.text);
}

async fn job(served: &Running) -> Value {
    served.get("/v1/jobs").await.json()["jobs"][0].clone()
}

/// The job, once it has failed; what answers is what did before, and no other file is there.
async fn failed(served: &Running) -> Value {
    let version = async || served.get("/v1/recommend/u1").await.json()["model_version"].clone();
    let before = version().await;
    assert!(before.is_string(), "{before}");
    begin(served).await;
    within(LONG, "the end of the job", async || job(served).await["ended_ms"].is_number()).await;
    let ended = job(served).await;
    assert_eq!(ended["state"], "failed", "{ended}");
    assert_eq!(version().await, before);
    let found = served.get("/v1/models").await.json();
    assert_eq!(found["models"].as_array().unwrap().len(), 1, "{found}");
    let metrics = served.get("/metrics").await.text;
    assert!(metrics.contains("forecart_jobs_failed_total{kind=\"retrain\"} 1"), "{metrics}");
    ended
}

fn is_running(pid: &Path) -> bool {
    let pid = std::fs::read_to_string(pid).unwrap();
    let asked = Command::new("ps").args(["-o", "stat=", "-p", pid.trim()]).output().unwrap();
    // One that has ended is a zombie until somebody asks how.
    !asked.stdout.is_empty() && !asked.stdout.starts_with(b"Z")
}

/// Where the process writes its id, and where its child writes that it has ended.
fn traces(served: &Running) -> [PathBuf; 2] {
    ["pid", "child"].map(|name| served.models().join(name))
}

#[tokio::test]
async fn a_process_that_takes_too_long_is_ended_with_what_it_began() {
    let served = served("never-ends", Duration::from_secs(12)).await;
    let [pid, child] = traces(&served);
    let ended = failed(&served).await;
    let error = ended["error"].as_str().unwrap();
    assert!(error.contains("the 0.2 minutes of serve.retrain.timeout_minutes"), "{error}");
    assert_eq!(ended["log"], json!(["it began"]));
    assert!(!is_running(&pid));
    within(LONG, "the end of its child", async || child.exists()).await;
    // Another one may begin.
    begin(&served).await;
}

#[tokio::test]
async fn a_process_that_was_refused_memory_says_what_bounds_it() {
    let served = served("no-memory", LONG).await;
    let ended = failed(&served).await;
    let error = ended["error"].as_str().unwrap();
    assert!(error.contains("SIGABRT") && error.contains("serve.retrain.memory"), "{error}");
    assert!(error.ends_with("memory allocation of 30011 bytes failed"), "{error}");
    // One that is written where no memory is left may never end.
    assert_eq!(ended["log"][0], "note: backtraces 0");
}

#[tokio::test]
async fn a_process_ends_with_its_server() {
    let served = served("never-ends", LONG).await;
    let [pid, child] = traces(&served);
    begin(&served).await;
    within(LONG, "the beginning of the job", async || job(&served).await["log"] != json!([])).await;
    assert!(is_running(&pid) && !child.exists());
    let _folder = served.end().await;
    within(LONG, "the end of the job", async || !is_running(&pid) && child.exists()).await;
}
