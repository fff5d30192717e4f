//! From a log to a question table, through the command line.

use std::fs;

use forecart_data::Questions;
use forecart_prepare::{GenerateQuestionsConfig, generate_questions};
use serde_json::Value;

use crate::program::{forecart, good, refused};

#[test]
fn from_behavior_to_what_was_asked_after_it() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    let mut text = Vec::new();
    let config = GenerateQuestionsConfig { n_users: 200, n_days: 40, seed: 2 };
    generate_questions(&config, &mut text).unwrap();
    fs::write(folder.join("events.csv"), text).unwrap();
    let said = good(&forecart(folder, &["import", "events.csv"]));
    assert!(!said.contains("rejected") && said.contains("intent"), "{said}");

    fs::write(folder.join("forecart.toml"), "[questions]\nmin_asks = 5\n").unwrap();
    let prepare = ["prepare", "--task", "question"];
    let said = good(&forecart(folder, &prepare));
    assert!(said.contains("13 intents") && said.contains("24 hours ahead"), "{said}");
    assert!(said.contains("window open at the end") && said.contains("wrote questions"), "{said}");
    let json = good(&forecart(folder, &[&prepare[..], &["--json"]].concat()));
    let manifest: Value = serde_json::from_str(&json).unwrap();
    let questions = Questions::open(&folder.join("questions")).unwrap();
    assert_eq!(manifest["content_hash"], questions.manifest().content_hash.as_str());
    assert_eq!(manifest["config"]["min_asks"], 5);
    assert!(questions.manifest().parts.iter().all(|part| part.n_asked > 0 && part.n_open > 0));

    let message = refused(&forecart(folder, &[&prepare[..], &["--protocol", "time"]].concat()), 2);
    assert!(message.contains("--protocol") && message.contains("[questions]"), "{message}");
    fs::write(folder.join("forecart.toml"), "[questions]\nhorizon_hours = 400\n").unwrap();
    let message = refused(&forecart(folder, &prepare), 3);
    assert!(message.contains("questions.horizon_hours"), "{message}");
    fs::write(folder.join("forecart.toml"), "[questions]\nhorizon = 24\n").unwrap();
    let message = refused(&forecart(folder, &prepare), 2);
    assert!(message.contains("horizon_hours"), "{message}");
    // What stood is still there.
    Questions::open(&folder.join("questions")).unwrap().verify().unwrap();
}
