//! The model file: what it says, what it refuses, and that old ones load.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use forecart_data::SeenItems;
use forecart_models::ModelError;
use forecart_models::model_file::{AnyHeader, FORMAT_VERSION, LoadedModel, NamedReason, inspect};
use forecart_models::recommend::registry;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::shop::{context, fit, shop, specs};

fn three() -> NonZeroUsize {
    NonZeroUsize::new(3).unwrap()
}

pub(crate) fn rules() -> LoadedModel {
    let (_folder, dataset) = shop();
    let spec = registry::spec("seq-rules", &json!({"window": 2})).unwrap();
    fit(spec.as_ref(), &dataset, &context(1, 1))
}

fn files() -> &'static [Vec<u8>] {
    static FILES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    FILES.get_or_init(|| {
        let (_folder, dataset) = shop();
        let models = specs().into_iter().map(|spec| fit(spec.as_ref(), &dataset, &context(1, 1)));
        models.map(|model| model.to_bytes().unwrap()).collect()
    })
}

#[test]
fn a_saved_model_answers_for_external_ids() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("models/rules.forecart");
    let model = rules();
    model.save(&path).unwrap();
    let back = LoadedModel::open(&path).unwrap();
    let history = ["item/7", "no such thing", "item/9"];
    let answer = back.recommend_ids(&history, three(), SeenItems::Exclude);
    assert_eq!(answer, model.recommend_ids(&history, three(), SeenItems::Exclude));
    assert_eq!((answer.items.len(), answer.fallback, answer.n_unknown), (3, None, 1));
    let first = answer.items[0];
    assert_eq!(first.rank, 1);
    assert_eq!(first.title, format!("第 {} 件", first.item_id.strip_prefix("item/").unwrap()));
    let reasons = back.reasons_ids(&history, first.item_id, 2).unwrap();
    assert!(
        matches!(reasons[0], NamedReason::Event { item_id, .. } if item_id.starts_with("item/"))
    );
    assert!(!back.similar_ids("item/7", three()).unwrap().is_empty());
    let error = back.similar_ids("杯子", three()).unwrap_err();
    assert!(matches!(error, ModelError::UnknownItem { id } if id == "杯子"));
}

#[test]
fn the_header_says_what_the_model_is_and_where_it_came_from() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("rules");
    let model = rules();
    model.save(&path).unwrap();
    let inspection = inspect(&path).unwrap();
    let AnyHeader::Recommend(header) = &inspection.header else { panic!("another task") };
    assert_eq!(header.as_ref(), model.header());
    assert_eq!(header.content_hash.len(), 64);
    assert_eq!(header.hyperparameters["window"], 2);
    assert_eq!(header.dataset.counts.n_items, 60);
    assert_eq!(header.event_names, ["", "purchase"]);
    assert_eq!(inspection.n_bytes, model.to_bytes().unwrap().len() as u64);
    let names: Vec<&str> = inspection.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    let want = ["encoders", "items", "model.item_counts", "model.items", "model.offsets"];
    assert_eq!(names[..5], want);
    let counts = &inspection.tensors[2];
    assert_eq!((counts.dtype.as_str(), &counts.shape[..], counts.n_bytes), ("F32", &[61][..], 244));
    let text = serde_json::to_string(&inspection.header).unwrap();
    assert!(!text.contains("thread"), "the number of threads is not part of a model");
}

/// The JSON part of a file rewritten by `change`.
fn with_header(bytes: &[u8], change: impl Fn(&mut Value)) -> Vec<u8> {
    let n_json = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut json: Value = serde_json::from_slice(&bytes[8..8 + n_json]).unwrap();
    change(&mut json);
    let json = serde_json::to_vec(&json).unwrap();
    [&(json.len() as u64).to_le_bytes()[..], &json, &bytes[8 + n_json..]].concat()
}

#[test]
fn a_newer_format_says_why_not() {
    let bytes = with_header(&files()[0], |json| {
        let text = json["__metadata__"]["forecart-model"].as_str().unwrap();
        let newer = text.replace("\"format_version\":1", "\"format_version\":7");
        json["__metadata__"]["forecart-model"] = newer.into();
    });
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("newer");
    std::fs::write(&path, bytes).unwrap();
    for error in [LoadedModel::open(&path).unwrap_err(), inspect(&path).unwrap_err()] {
        let text = error.to_string();
        assert!(
            matches!(error, ModelError::FormatVersion { found: 7, supported: FORMAT_VERSION, .. }),
            "{text}"
        );
        assert!(text.contains("newer") && text.contains("written by forecart 0."), "{text}");
    }
}

#[test]
fn a_changed_header_is_noticed() {
    let bytes = with_header(&files()[0], |json| {
        let text = json["__metadata__"]["forecart-model"].as_str().unwrap();
        json["__metadata__"]["forecart-model"] = text.replace("\"ab\"", "\"cd\"").into();
    });
    let error = LoadedModel::from_bytes(&bytes).unwrap_err().to_string();
    assert!(error.contains("its content has the hash"), "{error}");
}

/// The file with something else in its header, and the hash that it has then, which is what the error of `read` says.
pub(crate) fn forged(
    bytes: &[u8],
    [old, new]: &[String; 2],
    read: impl Fn(&[u8]) -> Result<(), ModelError>,
) -> Vec<u8> {
    let replaced = |bytes: &[u8], old: &str, new: &str| {
        with_header(bytes, |json| {
            let text = json["__metadata__"]["forecart-model"].as_str().unwrap();
            assert!(text.contains(old), "{old}: {text}");
            json["__metadata__"]["forecart-model"] = text.replacen(old, new, 1).into();
        })
    };
    let changed = replaced(bytes, old, new);
    let error = read(&changed).unwrap_err().to_string();
    let hash = |text: &str| text.split("hash ").nth(1).unwrap()[..64].to_owned();
    let found = hash(&error);
    let at = b"\\\"content_hash\\\":\\\"";
    let at = bytes.windows(at.len()).position(|window| window == at).unwrap() + at.len();
    let said = String::from_utf8(bytes[at..at + 64].to_vec()).unwrap();
    replaced(&changed, &said, &found)
}

/// Nothing of that size is made: tests have not got so much memory.
#[test]
fn a_header_that_asks_for_a_larger_network_than_the_file_holds_is_refused() {
    let (_folder, dataset) = shop();
    for name in ["sasrec", "gru4rec", "hstu", "bert4rec", "esasrec"] {
        let keys = json!({"d_model": 8, "n_layers": 1, "n_heads": 1, "d_ff": 11, "max_history": 13, "n_epochs": 1});
        let spec = registry::spec(name, &keys).unwrap();
        let bytes = fit(spec.as_ref(), &dataset, &context(1, 1)).to_bytes().unwrap();
        let network = LoadedModel::from_bytes(&bytes).unwrap();
        assert_eq!(network.header().hyperparameters["max_history"], 13);
        for (key, size) in [("d_model", 8), ("n_layers", 1), ("d_ff", 11), ("max_history", 13)] {
            // A recurrence has no table of positions.
            if (name, key) == ("gru4rec", "max_history") {
                continue;
            }
            let huge = size * 100_000_000;
            let change = [format!("\"{key}\":{size}"), format!("\"{key}\":{huge}")];
            let read = |bytes: &[u8]| LoadedModel::from_bytes(bytes).map(drop);
            let error = read(&forged(&bytes, &change, read)).unwrap_err().to_string();
            assert!(error.contains("its hyperparameters ask for"), "{name} {key}: {error}");
        }
    }
}

#[test]
fn foreign_files_are_refused_in_words() {
    let root = tempfile::tempdir().unwrap();
    let missing = root.path().join("missing");
    assert!(matches!(LoadedModel::open(&missing), Err(ModelError::Data(_))));
    let path = root.path().join("foreign");
    let plain = b"\x02\0\0\0\0\0\0\0{}".as_slice();
    let giant = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    let overflowing = {
        let n = usize::MAX - 3;
        let json = format!(r#"{{"a":{{"dtype":"U8","shape":[{n}],"data_offsets":[0,{n}]}}}}"#);
        [&(json.len() as u64).to_le_bytes()[..], json.as_bytes()].concat()
    };
    for bytes in [b"".as_slice(), b"PK\x03\x04", plain, &giant, &overflowing, &[0; 4000]] {
        std::fs::write(&path, bytes).unwrap();
        for error in [LoadedModel::open(&path).unwrap_err(), inspect(&path).unwrap_err()] {
            assert!(
                matches!(&error, ModelError::Damaged { path: of, .. } if *of == path),
                "{error}"
            );
        }
    }
}

#[test]
fn cut_files_are_refused_at_every_length() {
    for bytes in files() {
        for len in (0..bytes.len()).step_by(97).chain(bytes.len() - 9..bytes.len()) {
            assert!(LoadedModel::from_bytes(&bytes[..len]).is_err(), "cut at {len}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn flipped_bytes_never_panic_and_never_change_a_value(
        file in any::<prop::sample::Index>(),
        position in any::<prop::sample::Index>(),
        byte: u8,
    ) {
        let good = file.get(files());
        let mut bytes = good.clone();
        bytes[position.index(good.len())] = byte;
        // Blanks after the JSON part may differ and mean the same; everything else is hashed.
        if let Ok(model) = LoadedModel::from_bytes(&bytes) {
            prop_assert!(model.to_bytes().unwrap() == *good);
        }
    }

    /// Past the hash: tensors that no fit has written must be refused by the models themselves.
    #[test]
    fn altered_tensors_with_a_right_hash_never_panic(
        file in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let good = file.get(files());
        let n_json = u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
        let mut bytes = good.clone();
        for (position, byte) in edits {
            let first = 8 + n_json;
            bytes[first + position.index(good.len() - first)] = byte;
        }
        let bytes = rehashed(&bytes);
        if let Ok(model) = LoadedModel::from_bytes(&bytes) {
            let answer = model.recommend_ids(&["item/1", "item/60"], three(), SeenItems::Keep);
            prop_assert!(answer.items.len() <= 3);
            let _ = model.similar_ids("item/1", three());
            let _ = model.reasons_ids(&["item/1"], "item/2", 3);
        }
    }
}

/// The file with the content hash that its bytes have: an attacker's, or a newer writer's.
fn rehashed(bytes: &[u8]) -> Vec<u8> {
    let error = match LoadedModel::from_bytes(bytes) {
        Ok(_) => return bytes.to_vec(),
        Err(error) => error.to_string(),
    };
    let Some((_, want)) = error.split_once("its content has the hash ") else {
        return bytes.to_vec();
    };
    let want = &want[..64];
    with_header(bytes, |json| {
        let text = json["__metadata__"]["forecart-model"].as_str().unwrap();
        let (head, tail) = (&text[..17], &text[17 + 64..]);
        json["__metadata__"]["forecart-model"] = format!("{head}{want}{tail}").into();
    })
}

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Files of format version 1 must load and answer as on the day they were written. To write one for
/// a new model: `FORECART_WRITE_FIXTURES=1 cargo test -p forecart-models`.
#[test]
fn files_of_version_1_still_load() {
    for name in ["seq-rules", "mlp"] {
        let path = fixture(&format!("{name}.v1.forecart"));
        if std::env::var_os("FORECART_WRITE_FIXTURES").is_some() && !path.exists() {
            let (_folder, dataset) = shop();
            let spec = specs().into_iter().find(|spec| spec.name() == name).unwrap();
            fit(spec.as_ref(), &dataset, &context(1, 1)).save(&path).unwrap();
        }
        let model = LoadedModel::open(&path).unwrap();
        assert_eq!(model.header().format_version, 1);
        assert_eq!(model.header().model, name);
        let answer = model.recommend_ids(&["item/7", "item/9"], three(), SeenItems::Exclude);
        let ids: Vec<&str> = answer.items.iter().map(|item| item.item_id).collect();
        let want = match name {
            "seq-rules" => WANT_SEQ_RULES,
            _ => WANT_MLP,
        };
        assert_eq!(ids, want, "{name}");
    }
}

const WANT_SEQ_RULES: [&str; 3] = ["item/11", "item/12", "item/8"];
const WANT_MLP: [&str; 3] = ["item/37", "item/45", "item/49"];
