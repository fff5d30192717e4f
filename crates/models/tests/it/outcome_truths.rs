//! Data whose truth is what one model is for and another cannot say: the one must come near it, the other must not.

use std::path::Path;

use forecart_data::samples::{
    Cell, ColumnKind, Role, SampleColumn, SampleDescription, SampleSplit,
};
use forecart_data::{Part, SampleTable, SampleWriter, Silent};
use forecart_models::ads::{OutcomePredictor, Positions, Prediction, SampleView, registry};
use forecart_models::training::FitContext;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value as Json, json};

fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

/// Writes rows that `push` adds; of ten, six are for training, two validate, two test.
fn table(
    folder: &Path,
    columns: Vec<SampleColumn>,
    n_rows: usize,
    mut push: impl FnMut(usize, &mut SampleWriter),
) -> SampleTable {
    let mut writer = SampleWriter::new(folder, columns).unwrap();
    (0..n_rows).for_each(|row| push(row, &mut writer));
    let n_rows = writer.labels().len();
    let parts: Vec<u8> =
        (0..n_rows).map(|row| [0, 0, 0, 0, 0, 0, 1, 1, 2, 2][row * 10 / n_rows]).collect();
    let description = SampleDescription {
        task: "click".into(),
        split: SampleSplit::Order,
        negatives_kept: 1.0,
        data_hash: "00".into(),
        config: json!({}),
        steps: Vec::new(),
    };
    writer.finish(&parts, description).unwrap();
    SampleTable::open(folder).unwrap()
}

fn fit(table: &SampleTable, name: &str, keys: &Json) -> OutcomePredictor {
    let spec = registry::spec(name, keys).unwrap();
    let context = FitContext {
        seed: 3,
        n_threads: 2.try_into().unwrap(),
        progress: &Silent,
        memory_limit_bytes: None,
        checkpoint: None,
    };
    OutcomePredictor::fit(spec.as_ref(), &SampleView::new(table), &context).unwrap().0
}

fn test_predictions(predictor: &OutcomePredictor, table: &SampleTable) -> Vec<Prediction> {
    let rows = table.rows(Part::Test);
    predictor.predict(rows.iter().map(|row| table.row(*row)), Positions::AsLogged).unwrap()
}

/// Mean log loss against known probabilities, less that of those themselves: the divergence of Kullback and Leibler.
fn divergence(truth: &[f64], found: impl Iterator<Item = f64>) -> f64 {
    let losses = truth
        .iter()
        .zip(found)
        .map(|(q, p)| q * (q / p).ln() + (1.0 - q) * ((1.0 - q) / (1.0 - p)).ln());
    losses.sum::<f64>() / truth.len() as f64
}

fn category(name: &str) -> SampleColumn {
    SampleColumn::new(name, ColumnKind::Category, Role::Feature)
}

fn label(name: &str) -> SampleColumn {
    SampleColumn::new(name, ColumnKind::Number, Role::Label)
}

#[test]
fn attention_to_a_history_knows_whether_the_item_is_in_it_and_a_mean_does_not() {
    const N_ITEMS: usize = 60;
    let root = tempfile::tempdir().unwrap();
    let rng = &mut ChaCha8Rng::seed_from_u64(11);
    let names: Vec<String> = (0..N_ITEMS).map(|item| format!("i{item}")).collect();
    let columns = vec![
        category("item"),
        SampleColumn::new("seen", ColumnKind::List, Role::Feature).history_of("item"),
        label("click"),
    ];
    let mut truth = Vec::new();
    let table = table(&root.path().join("samples"), columns, 20_000, |_, writer| {
        let mut seen: Vec<usize> = (0..6).map(|_| rng.random_range(0..N_ITEMS)).collect();
        let item = rng.random_range(0..N_ITEMS);
        let is_seen = rng.random::<bool>();
        seen.retain(|other| *other != item);
        if is_seen {
            let at = rng.random_range(0..=seen.len());
            seen.insert(at, item);
        }
        let p = if is_seen { 0.8 } else { 0.1 };
        truth.push(p);
        let seen: Vec<&str> = seen.iter().map(|item| names[*item].as_str()).collect();
        let is_click = rng.random::<f64>() < p;
        let click = Cell::Number(f64::from(u8::from(is_click)));
        writer.push(&[Cell::Text(&names[item]), Cell::List(&seen), click]).unwrap();
    });
    let rows = table.rows(Part::Test);
    let truth: Vec<f64> = rows.iter().map(|row| truth[*row as usize]).collect();
    let keys = json!({"learning_rate": 0.005, "n_epochs": 30, "dropout": 0.0});
    let [din, mlp] = ["din", "mlp"].map(|name| {
        let predictor = fit(&table, name, &keys);
        let found = test_predictions(&predictor, &table);
        (divergence(&truth, found.iter().map(|p| p.probability)), predictor)
    });
    assert!(din.0 < 0.08 && mlp.0 > din.0 + 0.1, "din {}, mlp {}", din.0, mlp.0);
    // It says that the history adds more where the item is in it.
    let adds = |is_seen: bool| {
        let rows = rows.iter().zip(&truth).filter(|(_, p)| (**p > 0.5) == is_seen);
        let rows = rows.map(|(row, _)| table.row(*row)).take(100);
        let explanation = din.1.explain(rows, Positions::AsLogged).unwrap();
        assert!(explanation.rows.iter().all(|row| row.is_complete()));
        let at = explanation.columns.iter().position(|column| column == "seen").unwrap();
        explanation.rows.iter().map(|row| row.contributions[at]).sum::<f64>() / 100.0
    };
    let (seen, others) = (adds(true), adds(false));
    assert!(seen > others + 0.5, "{seen}, {others}");
}

#[test]
fn products_that_differ_by_field_are_found_by_a_field_aware_machine_and_not_by_a_sum() {
    const N_VALUES: usize = 12;
    let root = tempfile::tempdir().unwrap();
    let rng = &mut ChaCha8Rng::seed_from_u64(12);
    // v[f][value][g]: one number for each other field.
    let draw = |rng: &mut ChaCha8Rng| 2.6 * (rng.random::<f64>() - 0.5);
    let vectors: Vec<Vec<[f64; 3]>> =
        (0..3).map(|_| (0..N_VALUES).map(|_| [(); 3].map(|()| draw(rng))).collect()).collect();
    let names: Vec<String> = (0..N_VALUES).map(|value| format!("v{value}")).collect();
    let columns = vec![category("a"), category("b"), category("c"), label("click")];
    let mut truth = Vec::new();
    let table = table(&root.path().join("samples"), columns, 20_000, |_, writer| {
        let values = [(); 3].map(|()| rng.random_range(0..N_VALUES));
        let product = |f: usize, g: usize| vectors[f][values[f]][g] * vectors[g][values[g]][f];
        let p = sigmoid(1.5 * (product(0, 1) + product(0, 2) + product(1, 2)));
        truth.push(p);
        let is_click = rng.random::<f64>() < p;
        let [a, b, c] = values.map(|value| Cell::Text(&names[value]));
        writer.push(&[a, b, c, Cell::Number(f64::from(u8::from(is_click)))]).unwrap();
    });
    let rows = table.rows(Part::Test);
    let truth: Vec<f64> = rows.iter().map(|row| truth[*row as usize]).collect();
    let keys = json!({"learning_rate": 0.01, "n_epochs": 30});
    let [ffm, lr] = ["ffm", "lr"].map(|name| {
        let found = test_predictions(&fit(&table, name, &keys), &table);
        divergence(&truth, found.iter().map(|p| p.probability))
    });
    assert!(ffm < 0.02 && lr > ffm + 0.05, "ffm {ffm}, lr {lr}");
}

#[test]
fn conversions_over_all_impressions_are_better_known_from_all_of_them_than_from_clicks_alone() {
    const N_ITEMS: usize = 250;
    let root = tempfile::tempdir().unwrap();
    let rng = &mut ChaCha8Rng::seed_from_u64(13);
    // What makes an item clicked makes it bought: of what is seldom clicked, clicks say nearly nothing, impressions much.
    let appeal: Vec<f64> = (0..N_ITEMS).map(|_| 4.0 * rng.random::<f64>() - 2.0).collect();
    let names: Vec<String> = (0..N_ITEMS).map(|item| format!("i{item}")).collect();
    struct Shown {
        item: usize,
        is_member: bool,
        is_click: bool,
        is_order: bool,
        rate: f64,
    }
    let shown: Vec<Shown> = (0..30_000)
        .map(|_| {
            let (item, is_member) = (rng.random_range(0..N_ITEMS), rng.random::<bool>());
            let member = if is_member { 0.5 } else { -0.5 };
            let is_click = rng.random::<f64>() < sigmoid(-2.0 + 1.2 * appeal[item] + member);
            let rate = sigmoid(-0.5 + 1.2 * appeal[item] - member);
            let is_order = is_click && rng.random::<f64>() < rate;
            Shown { item, is_member, is_click, is_order, rate }
        })
        .collect();
    let member = |shown: &Shown| Cell::Text(if shown.is_member { "yes" } else { "no" });
    let yes = |is_so: bool| Cell::Number(f64::from(u8::from(is_so)));
    let columns = vec![category("item"), category("member"), label("click"), label("order")];
    let all = table(&root.path().join("all"), columns, shown.len(), |row, writer| {
        let shown = &shown[row];
        let cells = [
            Cell::Text(&names[shown.item]),
            member(shown),
            yes(shown.is_click),
            yes(shown.is_order),
        ];
        writer.push(&cells).unwrap();
    });
    // The clicks of the same rows, in the same parts but for rounding.
    let columns = vec![category("item"), category("member"), label("order")];
    let clicks = table(&root.path().join("clicks"), columns, shown.len(), |row, writer| {
        let shown = &shown[row];
        if shown.is_click {
            let cells = [Cell::Text(&names[shown.item]), member(shown), yes(shown.is_order)];
            writer.push(&cells).unwrap();
        }
    });
    let rows = all.rows(Part::Test);
    let truth: Vec<f64> = rows.iter().map(|row| shown[*row as usize].rate).collect();
    let keys = json!({"learning_rate": 0.003, "n_epochs": 30});
    let esmm = test_predictions(&fit(&all, "esmm", &keys), &all);
    let esmm = divergence(&truth, esmm.iter().map(|p| p.conversion.unwrap().given_click));
    for name in ["mlp", "lr"] {
        let of_clicks = test_predictions(&fit(&clicks, name, &keys), &all);
        let of_clicks = divergence(&truth, of_clicks.iter().map(|p| p.probability));
        assert!(esmm < 0.75 * of_clicks, "esmm {esmm}, {name} of clicks alone {of_clicks}");
    }
}
