//! The two READMEs say the same, and what they name exists.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use forecart_prepare::config::{RawDataConfig, RawEventsConfig};
use forecart_prepare::prepare::{RawPrepareConfig, RawSplitConfig};
use forecart_prepare::samples::RawLogSamplesConfig;
use forecart_prepare::texts::PipelineConfig;
use forecart_prepare::{RawDemandConfig, RawQuestionsConfig, RawSamplesConfig, RawTextConfig};
use forecart_serve::experiments::{RawExperiment, RawVariant};
use forecart_serve::{
    RawNatsConfig, RawRetrainConfig, RawRule, RawScenario, RawSeenRule, RawServeConfig,
    RawTelemetryConfig,
};
use serde::de::DeserializeOwned;

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
    for name in
        ["README.md", "README.zh-CN.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"]
    {
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
fn the_notice_names_the_hashes_of_the_shipped_samples() {
    for name in
        ["online_retail", "online_shoppers", "open_bandit", "banking77_train", "banking77_test"]
    {
        let sample = root().join(format!("samples/{name}.parquet"));
        let hash = forecart_data::storage::sha256_file(&sample).unwrap();
        assert!(read("NOTICE").contains(&hash), "{name}: {hash}");
    }
}

/// Names of all keys of a raw section, as its error for an unknown one lists them.
fn keys<T: DeserializeOwned>() -> Vec<String> {
    let Err(error) = toml::from_str::<T>("no_such_key = 1") else { panic!("every key is taken") };
    let message = error.to_string();
    let known = message.split_once("expected").unwrap().1;
    known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_document_on_configuration_names_every_key_and_its_examples_are_valid() {
    let text = read("docs/configuration.md");
    let blocks = code_blocks(&text);
    let sections = [
        keys::<RawDataConfig>(),
        keys::<RawEventsConfig>(),
        keys::<RawPrepareConfig>(),
        keys::<RawSplitConfig>(),
        keys::<RawSamplesConfig>(),
        keys::<RawDemandConfig>(),
        keys::<RawTextConfig>(),
        keys::<RawQuestionsConfig>(),
        keys::<PipelineConfig>(),
        keys::<RawLogSamplesConfig>(),
        keys::<RawServeConfig>(),
        keys::<RawNatsConfig>(),
        keys::<RawRule>(),
        keys::<RawScenario>(),
        keys::<RawSeenRule>(),
        keys::<RawExperiment>(),
        keys::<RawVariant>(),
        keys::<RawRetrainConfig>(),
        keys::<RawTelemetryConfig>(),
    ];
    let tables = [
        "columns",
        "names",
        "log",
        "pipeline",
        "item",
        "user",
        "context",
        "rule",
        "scenario",
        "experiment",
        "variant",
        "nats",
        "retrain",
        "telemetry",
    ];
    for key in sections.concat().iter().filter(|key| !tables.contains(&key.as_str())) {
        let is_shown = blocks.iter().any(|block| block.contains(&format!("\n{key} = ")));
        let is_named = text.contains(&format!("`{key} = ")) || text.contains(&format!(".{key}."));
        assert!(is_shown || is_named, "{key} is missing");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("forecart.toml");
    for block in blocks {
        let config = block.strip_prefix("toml\n").expect("all blocks are TOML");
        fs::write(&file, config).unwrap();
        // Sections are checked before the log, which is not there, is looked for.
        for verb in [&["prepare", "--data", "none"][..], &["import", "none"]] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_forecart"));
            let output = command.current_dir(&folder).args(verb).output().unwrap();
            let message = String::from_utf8(output.stderr).unwrap();
            let is_about_the_log = message.contains("is not an event log");
            assert!(is_about_the_log || message.contains("cannot read"), "{message}\n{config}");
        }
    }
}
