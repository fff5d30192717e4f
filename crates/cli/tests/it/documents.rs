//! The two READMEs say the same, and what they name exists.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The text between code fences, in order.
fn code_blocks(text: &str) -> Vec<&str> {
    text.split("```").skip(1).step_by(2).collect()
}

fn numbers(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !(c.is_ascii_digit() || c == '.'));
    let mut found: Vec<String> = words
        .map(|word| word.trim_matches('.').to_owned())
        .filter(|word| word.len() > 2 && word.contains('.'))
        .collect();
    found.sort();
    found
}

#[test]
fn both_readmes_show_the_same_commands_and_figures() {
    let (english, chinese) = (read("README.md"), read("README.zh-CN.md"));
    assert_eq!(code_blocks(&english), code_blocks(&chinese));
    assert!(code_blocks(&english).len() >= 3);
    let headings = |text: &str| text.lines().filter(|line| line.starts_with('#')).count();
    assert_eq!(headings(&english), headings(&chinese));
    assert_eq!(numbers(&english), numbers(&chinese));
}

#[test]
fn documents_link_to_files_that_exist() {
    for name in ["README.md", "README.zh-CN.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = read(name);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !link.starts_with("http") && !link.starts_with('#') {
                let file = link.split('#').next().unwrap();
                assert!(root().join(file).exists(), "{name} links to {link}");
            }
        }
    }
}

#[test]
fn the_notice_names_the_hash_of_the_shipped_sample() {
    let sample = root().join("samples/online_retail.parquet");
    let hash = forecart_data::storage::sha256_file(&sample).unwrap();
    assert!(read("NOTICE").contains(&hash), "{hash}");
}
