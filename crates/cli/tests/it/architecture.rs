//! The invariants of ARCHITECTURE.md that can be read off the source.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Which of our crates a crate may use; the table of ARCHITECTURE.md.
const ALLOWED: &[(&str, &[&str])] = &[
    ("text", &[]),
    ("data", &[]),
    ("prepare", &["data", "text"]),
    ("nn", &[]),
    ("models", &["data", "nn", "text"]),
    ("eval", &["data"]),
    ("train", &["data", "models", "eval"]),
    ("serve", &["data", "models", "text"]),
    ("cli", &["data", "prepare", "models", "eval", "train", "serve"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn crates_depend_only_on_what_the_table_allows() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let mut n_crates = 0;
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        let manifest: toml::Table = toml::from_str(&manifest).unwrap();
        let allowed = allowed.get(name.as_str()).unwrap_or_else(|| panic!("{name}: not listed"));
        let sections = ["dependencies", "build-dependencies"];
        for section in sections.iter().filter_map(|section| manifest.get(*section)) {
            for dependency in section.as_table().unwrap().keys() {
                let ours = dependency.strip_prefix("forecart-");
                let fine = ours.is_none_or(|ours| allowed.contains(&ours));
                assert!(fine, "crates/{name} must not depend on {dependency}");
            }
        }
        n_crates += 1;
    }
    assert_eq!(n_crates, ALLOWED.len());
}

#[test]
fn unsafe_code_stands_in_the_kernels_alone() {
    let mut files = Vec::new();
    rust_files(&root().join("crates"), &mut files);
    let kernels = root().join("crates/nn/src/kernels");
    for file in files.iter().filter(|file| !file.starts_with(&kernels)) {
        let text = fs::read_to_string(file).unwrap();
        // Written apart, so that this file does not find itself.
        for word in [concat!("unsafe", " {"), concat!("unsafe", " fn"), concat!("unsafe", " impl")]
        {
            assert!(!text.contains(word), "{file:?} contains `{word}`");
        }
        assert!(!text.contains(concat!("allow(", "unsafe_code")), "{file:?}");
    }
    assert!(files.len() > 40, "the search found too few files to mean anything");
}

#[test]
fn no_async_stands_in_a_public_signature() {
    for name in ["text", "data", "nn", "models", "eval", "train", "prepare"] {
        let mut files = Vec::new();
        rust_files(&root().join("crates").join(name).join("src"), &mut files);
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            assert!(!text.contains("pub async fn"), "{file:?} shows async to its callers");
        }
    }
}

#[test]
fn what_makes_lists_knows_no_database_and_no_async() {
    for name in ["catalog", "rules", "assemble"] {
        let mut files = Vec::new();
        rust_files(&root().join("crates/serve/src").join(name), &mut files);
        assert!(!files.is_empty(), "{name}");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            for word in ["async ", ".await", "sqlx", "tokio", "axum", "crate::store"] {
                assert!(!text.contains(word), "{file:?} contains {word}");
            }
        }
    }
}

#[test]
fn files_stay_readable() {
    let mut files = Vec::new();
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        rust_files(&entry.unwrap().path().join("src"), &mut files);
    }
    for file in files {
        let n_lines = fs::read_to_string(&file).unwrap().lines().count();
        assert!(n_lines <= 800, "{file:?} has {n_lines} lines; look for its parts");
    }
}
