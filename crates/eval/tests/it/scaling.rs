//! The scaling report's faces, and the loss on what was held out.

use forecart_data::dataset::Counts;
use forecart_data::{History, ItemIdx, Part, Silent};
use forecart_eval::report::Environment;
use forecart_eval::scaling::{
    ScalingFacts, ScalingPoint, ScalingReport, StepAxis, StepCurve, StepPoint, Training,
};
use forecart_eval::{DataFacts, EvalError, held_out_loss};

use crate::fixture::generated;

/// Losses that fall with the power 0.07 of compute, seconds that grow with the power 0.9.
fn training(place: i32) -> Training {
    let epoch_flop = 2e9 * 5f64.powi(place);
    let points = (1..=6).map(|epoch| {
        let flop = epoch_flop * f64::from(epoch);
        ScalingPoint {
            epoch: epoch as usize,
            flop,
            secs: (flop / 1e10).powf(0.9),
            train_loss: 30.0 * flop.powf(-0.07) * (1.0 + 0.3 / f64::from(epoch)),
            validation_ndcg_at_10: Some(0.02 + 0.004 * f64::from(place + epoch)),
        }
    });
    let points: Vec<_> = points.collect();
    let d_model = 16 << place;
    Training {
        name: format!("d {d_model}, layers 2 <&>"),
        d_model,
        n_layers: 2,
        n_parameters: 60_000 << place,
        epoch_flop,
        chosen_epoch: 5,
        validation_loss: 31.0 * (5.0 * epoch_flop).powf(-0.07),
        secs: points[5].secs,
        points,
    }
}

fn curve(axis: StepAxis, row: &str, sizes: &[u64], power: f64) -> StepCurve {
    let points = sizes.iter().map(|&size| StepPoint {
        size,
        step_ms: 0.2 * (size as f64).powf(power),
        memory_bytes: Some(9_000_000 + 40_000 * size),
        flop: 3e7 * size as f64,
    });
    StepCurve { axis, row: row.into(), about: format!("{row}, in words"), points: points.collect() }
}

/// A report of made-up numbers, so that its looks do not change with any measurement.
fn sample() -> ScalingReport {
    let facts = ScalingFacts {
        title: "Scaling of sasrec on <orders>".into(),
        model: "sasrec".into(),
        hyperparameters: serde_json::json!({"dropout": 0.2, "loss": "full"}),
        data: Some(DataFacts {
            data_hash: "5e".repeat(32),
            dataset_hash: "c0".repeat(32),
            counts: Counts {
                n_users: 4_000,
                n_items: 3_600,
                n_train: 300_000,
                ..Counts::default()
            },
        }),
        seed: 42,
        commit: None,
        environment: Environment {
            cpu: Some("AMD EPYC 9R14".into()),
            n_cores: 2,
            n_threads: 2,
            memory_bytes: Some(24 << 30),
            system: "linux x86_64".into(),
            made_at: None,
        },
    };
    let steps = vec![
        curve(StepAxis::Length, "sasrec-50", &[25, 50, 100, 200, 400], 1.05),
        curve(StepAxis::Length, "full-softmax", &[25, 50, 100, 200, 400], 1.2),
        curve(StepAxis::NItems, "full-softmax", &[1_000, 10_000, 100_000], 0.95),
        curve(StepAxis::Threads, "sasrec-50", &[1, 2], -0.9),
    ];
    ScalingReport::new(facts, (0..4).map(training).collect(), steps)
}

#[test]
fn on_a_terminal() {
    let table = sample().table();
    let measured = table.split("\ndata").next().unwrap();
    for line in measured.lines() {
        assert!(line.chars().count() <= 120, "{line}");
    }
    let cells = |start: &str| -> Vec<String> {
        let line = table.lines().find(|line| line.starts_with(start)).unwrap();
        line.split_whitespace().map(str::to_owned).collect()
    };
    // 60,000 · 4 weights; epoch 5 of 6; 5 · 5² · 2 GFLOP.
    let size = cells("d 64,");
    assert_eq!(size[..10], ["d", "64,", "layers", "2", "<&>", "240k", "5", "of", "6", "250G"]);
    assert_eq!(size[12..], ["5.065", "4.937", "0.0480"]);
    assert_eq!(cells("sasrec-50     sequence")[3..6], ["25", "5.87", "10.0"], "{table}");
    let law = cells("validation loss");
    assert_eq!(law[7..], ["-0.070", "-0.070", "1.000", "10G", "to", "1.25T,", "4", "points"]);
    let day = table.lines().find(|line| line.starts_with("A day of this machine is ")).unwrap();
    assert!(day.contains(" PFLOP, at the ") && day.contains(" GFLOP/s of "), "{day}");
}

#[test]
fn laws_are_those_of_the_numbers() {
    let report = sample();
    let exponent = |y: &str, x: &str| {
        report.laws.iter().find(|law| law.y == y && law.x == x).unwrap().law.exponent
    };
    assert!((exponent("validation loss", "FLOP") + 0.07).abs() < 1e-9);
    assert!((exponent("training loss", "FLOP") + 0.07).abs() < 1e-9);
    assert!((exponent("seconds", "FLOP") - 0.9).abs() < 1e-9);
    assert!((exponent("time of a step", "threads") + 0.9).abs() < 1e-9);
    let json = report.to_json().unwrap();
    let back: ScalingReport = serde_json::from_str(&json).unwrap();
    assert_eq!(back.trainings.len(), 4);
    assert_eq!(back.steps, report.steps);
}

#[test]
fn runs_are_put_together_where_they_belong_together() {
    let whole = sample();
    let part = |places: &[usize], has_steps: bool| {
        let mut part = sample();
        part.trainings = places.iter().map(|place| whole.trainings[*place].clone()).collect();
        if !has_steps {
            part.steps.clear();
        }
        part
    };
    let joined = part(&[3, 1], false).with_earlier(part(&[0, 1, 2], true)).unwrap();
    assert_eq!(joined, whole);
    let steps_alone = ScalingReport { data: None, ..part(&[], true) };
    let joined = part(&[0, 1, 2, 3], false).with_earlier(steps_alone).unwrap();
    assert_eq!(joined, whole);
    let other = ScalingReport { seed: 1, ..sample() };
    let error = sample().with_earlier(other).unwrap_err();
    assert!(error.to_string().ends_with("other seed"), "{error}");
}

#[test]
fn the_page_is_self_contained_and_draws_every_curve() {
    let page = sample().to_html().unwrap();
    // For a look with a browser; the page is no part of the test's result.
    std::fs::write(concat!(env!("CARGO_TARGET_TMPDIR"), "/scaling.html"), &page).unwrap();
    assert!(page.starts_with("<!doctype html>\n<html lang=\"en\">"));
    for forbidden in
        ["<script", "<link", "src=", "href=", "url(", "@import", "<orders>", "<&>", "NaN"]
    {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    // Four of trainings; time and memory of each of three axes.
    assert_eq!(page.matches("<figure>").count(), 10);
    assert!(page.contains("exponent -0.070"), "{page}");
    // Nothing measured, nothing drawn.
    let facts = ScalingFacts {
        title: "empty".into(),
        model: "sasrec".into(),
        hyperparameters: serde_json::Value::Null,
        data: None,
        seed: 1,
        commit: None,
        environment: Environment::detect(1),
    };
    let empty = ScalingReport::new(facts, Vec::new(), Vec::new());
    assert!(empty.day.is_none() && empty.laws.is_empty());
    assert!(!empty.to_html().unwrap().contains("<figure>"));
}

#[test]
fn the_loss_of_what_was_held_out() {
    let fixture = generated(60, 20);
    let dataset = &fixture.dataset;
    let n_items = dataset.items.len() - 1;
    // To know nothing is to lose the logarithm of the number of items.
    let nothing = |_: History<'_>, scores: &mut [f32]| scores.fill(0.5);
    let loss = held_out_loss(dataset, &nothing, 50, &Silent).unwrap();
    assert!((loss - (n_items as f64).ln()).abs() < 1e-9, "{loss}");

    // By definition, with scores that depend on the history's last item.
    let score = |last: u32, item: usize| ((last as usize * 7 + item * 3) % 11) as f32 * 0.3;
    let model = |history: History<'_>, scores: &mut [f32]| {
        let last = history.items.last().map_or(0, |item| item.0);
        for (item, value) in scores.iter_mut().enumerate() {
            *value = score(last, item);
        }
        scores[0] = 1e9; // the unknown item is no answer
    };
    let (mut sum, mut n) = (0.0, 0);
    for user in dataset.user_indices() {
        let last = dataset.history_before(user, Part::Validation).items.last();
        let last = last.map_or(0, |item| item.0);
        let total: f64 = (1..=n_items).map(|item| f64::from(score(last, item)).exp()).sum();
        let mut targets: Vec<ItemIdx> = dataset.events_in(user, Part::Validation).items.to_vec();
        targets.sort_unstable();
        targets.dedup();
        for target in targets.iter().filter(|target| target.is_known()) {
            sum += total.ln() - f64::from(score(last, target.row()));
            n += 1;
        }
    }
    let loss = held_out_loss(dataset, &model, 50, &Silent).unwrap();
    assert!(n > 0 && (loss - sum / f64::from(n)).abs() < 1e-6, "{loss} {}", sum / f64::from(n));
    let broken = |_: History<'_>, scores: &mut [f32]| scores.fill(f32::NAN);
    let error = held_out_loss(dataset, &broken, 50, &Silent).unwrap_err();
    assert!(matches!(error, EvalError::NanScore { .. }), "{error}");
}
