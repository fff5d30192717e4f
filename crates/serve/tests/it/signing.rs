//! Models of who is trusted: others are left out, say why, and change nothing of what answers.

use std::path::Path;

use axum::http::StatusCode;
use forecart_models::model_file::{SigningKey, sign_file};
use forecart_serve::RawServeConfig;
use serde_json::{Value, json};

use crate::served::{Answer, Served, dataset, write_model};

fn trusting(keys: &[&SigningKey]) -> RawServeConfig {
    let trusted_keys = keys.iter().map(|key| key.verifying_key().to_string()).collect();
    RawServeConfig { trusted_keys, ..RawServeConfig::default() }
}

async fn refresh(served: &Served) -> Value {
    let answer = served.post("/v1/models/refresh", &json!(null)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer.json()
}

async fn promote(served: &Served, version: &str) -> Answer {
    served.post("/v1/models/recommend/promote", &json!({"version": version})).await
}

/// The reason why a file is left out, which the list of models and readiness agree on.
async fn reason(served: &Served, file: &str) -> Option<String> {
    let of = |answer: Value| {
        let left_out = answer["left_out"].as_array().unwrap().clone();
        let found = left_out.iter().find(|own| own["file"] == file)?;
        Some(found["reason"].as_str().unwrap().to_owned())
    };
    let listed = of(served.get("/v1/models").await.json());
    assert_eq!(listed, of(served.get("/health/ready").await.json()));
    listed
}

async fn live(served: &Served) -> Value {
    served.get("/health/ready").await.json()["models"]["recommend"].clone()
}

fn flip(path: &Path, at: impl Fn(usize) -> usize) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = at(bytes.len());
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn only_files_of_trusted_keys_are_served() {
    let (ours, new, foreign) =
        (SigningKey::generate(), SigningKey::generate(), SigningKey::generate());
    let served = Served::with(trusting(&[&ours, &new])).await;
    let data = tempfile::tempdir().unwrap();
    let dataset = dataset(data.path());
    let path = |name: &str| served.models().join(name);
    let keys = json!({"n_epochs": 1, "n_factors": 4});
    let write = |name: &str, seed: u64, key: Option<&SigningKey>| {
        write_model("bpr", &keys, &dataset, seed, &path(name));
        if let Some(key) = key {
            sign_file(&path(name), key).unwrap();
        }
    };
    write("unsigned.forecart", 1, None);
    write("foreign.forecart", 2, Some(&foreign));
    let listed = refresh(&served).await;
    assert_eq!(listed["models"], json!([]));
    assert_eq!(live(&served).await, Value::Null);
    assert!(reason(&served, "unsigned.forecart").await.unwrap().contains("not signed"));
    let of_foreign = reason(&served, "foreign.forecart").await.unwrap();
    assert!(of_foreign.contains(&foreign.verifying_key().id().to_string()), "{of_foreign}");

    // Signed by either of the trusted keys, which is how one takes the place of another.
    for (name, seed, key) in [("ours.forecart", 3, &ours), ("new.forecart", 4, &new)] {
        write(name, seed, Some(key));
        let listed = refresh(&served).await;
        let models = listed["models"].as_array().unwrap();
        let found = models.iter().find(|own| own["file"] == name).unwrap();
        assert_eq!(found["signed_by"], key.verifying_key().id().to_string());
        let promoted = promote(&served, name).await;
        assert_eq!(promoted.status, StatusCode::OK, "{}", promoted.text);
    }
    let before = live(&served).await;
    assert_ne!(before, Value::Null);

    // What is refused cannot be promoted, by its name or by its version.
    for name in ["unsigned.forecart", "foreign.forecart"] {
        let header = forecart_models::model_file::LoadedModel::open(&path(name)).unwrap();
        for version in [name, &header.header().content_hash[..12]] {
            let refused = promote(&served, version).await;
            assert_eq!((refused.status.as_u16(), refused.code().as_str()), (409, "model_refused"));
            assert!(refused.text.contains(name), "{}", refused.text);
        }
    }
    assert_eq!(live(&served).await, before);

    // A bit of the weights of what answers is flipped: it is refused from then on, and what was loaded goes on answering.
    flip(&path("new.forecart"), |n| n - 1);
    refresh(&served).await;
    assert!(reason(&served, "new.forecart").await.unwrap().contains("altered"));
    assert_eq!(live(&served).await, before);
    assert_eq!(promote(&served, "new.forecart").await.code(), "model_refused");
    // So is one whose header says something else, with a content hash that is right again.
    write("new.forecart", 5, None);
    refresh(&served).await;
    assert!(reason(&served, "new.forecart").await.unwrap().contains("not signed"));
    // What was served before is still good.
    let back = promote(&served, "ours.forecart").await;
    assert_eq!(back.status, StatusCode::OK, "{}", back.text);
    sign_file(&path("new.forecart"), &new).unwrap();
    let good = promote(&served, "new.forecart").await;
    assert_eq!(good.status, StatusCode::OK, "{}", good.text);
    assert_eq!(reason(&served, "new.forecart").await, None);
}

/// A file that is changed between being listed and being loaded, with its time and size as they were.
#[tokio::test]
async fn what_is_loaded_is_what_is_checked() {
    let key = SigningKey::generate();
    let served = Served::with(trusting(&[&key])).await;
    let data = tempfile::tempdir().unwrap();
    let path = served.models().join("model.forecart");
    write_model("popularity", &json!(null), &dataset(data.path()), 1, &path);
    sign_file(&path, &key).unwrap();
    assert_eq!(served.get("/v1/models").await.json()["models"][0]["file"], "model.forecart");
    let written = std::fs::metadata(&path).unwrap().modified().unwrap();
    flip(&path, |n| n - 1);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(written).unwrap();
    let refused = promote(&served, "model.forecart").await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (409, "model_refused"));
    refresh(&served).await;
    assert!(reason(&served, "model.forecart").await.unwrap().contains("altered"));
    assert_eq!(live(&served).await, Value::Null);
}

#[tokio::test]
async fn signed_files_are_served_where_nobody_is_asked_for() {
    let served = Served::empty().await;
    let data = tempfile::tempdir().unwrap();
    let path = served.models().join("model.forecart");
    write_model("popularity", &json!(null), &dataset(data.path()), 1, &path);
    sign_file(&path, &SigningKey::generate()).unwrap();
    refresh(&served).await;
    assert_ne!(live(&served).await, Value::Null);
}
