//! A budget for ads, through the command line.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::program::{forecart, good, refused};

/// Impressions on three sites, one of which is clicked often, and what they cost; cheap in the last half.
fn impressions(folder: &Path) {
    let mut text = String::from("click,site,slot,paid\n");
    // A small generator of its own: the numbers do not change with a library.
    let mut state = 12_345_u64;
    let mut random = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(u32::MAX >> 1)
    };
    for at in 0..6000 {
        let site = ["news", "games", "mail"][(random() * 3.0) as usize % 3];
        let chance = if site == "games" { 0.3 } else { 0.03 };
        let click = u8::from(random() < chance);
        let paid = (0.02 + 0.1 * random()) * if at > 3000 { 0.5 } else { 1.0 };
        writeln!(text, "{click},{site},{},{paid:.4}", (random() * 4.0) as u32).unwrap();
    }
    fs::write(folder.join("impressions.csv"), text).unwrap();
}

#[test]
fn bids_by_what_is_expected_buy_more_than_the_same_for_all() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    impressions(folder);
    fs::write(
        folder.join("forecart.toml"),
        "[samples]\nsplit = \"order\"\nignore = [\"paid\"]\nposition = \"slot\"\n",
    )
    .unwrap();
    good(&forecart(folder, &["prepare", "--samples", "impressions.csv"]));
    good(&forecart(folder, &["train", "--data", "samples", "--model", "lr"]));
    // Where the ad stands counts for nothing, and an explanation says which place stood for all.
    let explain = ["explain", "--in", "impressions.csv", "--json"];
    let said = good(&forecart(folder, &explain));
    assert!(said.lines().next().unwrap().contains("(for all)"), "{said:.300}");
    let said = good(&forecart(folder, &[&explain[..], &["--as-logged"]].concat()));
    assert!(!said.lines().next().unwrap().contains("(for all)"), "{said:.300}");
    let simulate = [
        "ads",
        "simulate",
        "--in",
        "impressions.csv",
        "--budget",
        "40",
        "--price",
        "paid",
        "--json",
    ];
    let found: Value = serde_json::from_str(&good(&forecart(folder, &simulate))).unwrap();
    let rows = found["rows"].as_array().unwrap();
    let of = |strategy: &str, name: &str| {
        let row = rows.iter().find(|row| row["strategy"] == strategy).unwrap();
        row[name].as_f64().unwrap()
    };
    assert_eq!(found["n_impressions"], 6000);
    for strategy in ["value, paced", "value", "constant"] {
        assert!(of(strategy, "spend") <= 40.0, "{found}");
    }
    assert!(of("value, paced", "n_clicks") > 1.3 * of("constant", "n_clicks"), "{found}");
    assert!(of("value, paced", "realized") > of("value", "realized"), "{found}");
    assert!(of("value, paced", "expected_regret") < 0.25, "{found}");
    // Expected and realized value are of one size: the probabilities are calibrated.
    let ratio = of("value, paced", "realized") / of("value, paced", "expected");
    assert!((0.8..1.25).contains(&ratio), "{ratio}");
    let table = good(&forecart(folder, &simulate[..8]));
    assert!(table.contains("value, paced") && table.contains("missed"), "{table}");
    let same = good(&forecart(
        folder,
        &["ads", "simulate", "--in", "impressions.csv", "--budget", "40", "--price", "0.05"],
    ));
    assert!(same.contains("6,000 impressions"), "{same}");
}

#[test]
fn what_cannot_be_bid_for_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path();
    impressions(folder);
    good(&forecart(folder, &["prepare", "--samples", "impressions.csv"]));
    good(&forecart(folder, &["train", "--data", "samples", "--model", "lr"]));
    let simulate = |more: &[&str]| {
        forecart(folder, &[&["ads", "simulate", "--in", "impressions.csv"][..], more].concat())
    };
    let message = refused(&simulate(&["--budget", "0", "--price", "paid"]), 2);
    assert!(message.contains("--budget"), "{message}");
    let message =
        refused(&simulate(&["--budget", "5", "--price", "paid", "--value-per-click", "0"]), 2);
    assert!(message.contains("--value-per-click"), "{message}");
    let message =
        refused(&simulate(&["--budget", "5", "--price", "paid", "--value-per-conversion", "1"]), 2);
    assert!(message.contains("esmm"), "{message}");
    let message = refused(&simulate(&["--budget", "5", "--price", "site"]), 3);
    assert!(message.contains("line 2") && message.contains("\"site\""), "{message}");
    good(&forecart(
        folder,
        &["prepare", "--samples", "impressions.csv", "--task", "purchase", "--out", "purchases"],
    ));
    good(&forecart(
        folder,
        &["train", "--data", "purchases", "--model", "lr", "--out", "purchase.forecart"],
    ));
    let message = refused(
        &simulate(&["--budget", "5", "--price", "paid", "--model", "purchase.forecart"]),
        2,
    );
    assert!(message.contains("for purchase"), "{message}");
}
