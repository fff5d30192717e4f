//! Experiments: who is in which variant, what the variants answer, and what is read out of the events.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::StatusCode;
use forecart_serve::experiments::{
    Experiment, Experiments, RawExperiment, ReadOut, Verdict, read_out,
};
use forecart_serve::store::{self, Store};
use forecart_serve::{ConsentDefault, Consents, Event, RawServeConfig, Severity};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::served::{Served, dataset, write_model};

const HOUR_MS: i64 = 3_600_000;
const BEGINS_MS: i64 = 1_764_000_000_000;
const BEGINS: &str = "2025-11-24T16:00:00Z";

fn configured(toml: &str) -> RawServeConfig {
    toml::from_str(toml).unwrap()
}

fn experiment(toml: &str) -> Experiment {
    let raw: RawExperiment = toml::from_str(toml).unwrap();
    let all = Experiments::new(&[raw], &["home", "default"]).unwrap();
    all.all()[0].clone()
}

fn two_variants(keys: &str) -> Experiment {
    experiment(&format!(
        "name = \"trial\"\nusers = 2000\n{keys}\n[[variant]]\nname = \"old\"\n[[variant]]\nname = \"new\""
    ))
}

#[test]
fn users_stay_where_they_are_and_come_in_the_shares_of_the_weights() {
    let of = |share: f64, name: &str| {
        experiment(&format!(
            "name = \"{name}\"\nshare = {share}\n[[variant]]\nname = \"a\"\n[[variant]]\nname = \"b\"\nweight = 3"
        ))
    };
    let (few, many, other) = (of(0.3, "one"), of(0.8, "one"), of(1.0, "two"));
    let mut n_in = BTreeMap::<String, usize>::new();
    let mut n_both = 0;
    for user in 0..20_000 {
        let user = format!("user-{user}");
        let (before, after) = (few.variant_of(&user), many.variant_of(&user));
        // Who is in it stays in the same variant when the share grows.
        assert!(before.is_none() || before == after, "{user}");
        if let Some(variant) = after {
            *n_in.entry(variant.to_owned()).or_default() += 1;
            n_both += usize::from(variant == "a" && other.variant_of(&user) == Some("a"));
        }
    }
    // Four standard deviations.
    let near = |n: usize, expected: f64| (n as f64 - expected).abs() < 4.0 * expected.sqrt();
    assert!(near(n_in["a"], 4_000.0) && near(n_in["b"], 12_000.0), "{n_in:?}");
    assert!(near(n_both, 1_000.0), "experiments are not independent: {n_both}");
    // Other versions and machines must say the same: an assignment that changed would move users of experiments that run.
    let known =
        ["u1", "u2", "u3", "用户", ""].map(|user| many.variant_of(user).unwrap_or("-").to_owned());
    assert_eq!(known.join(" "), KNOWN);
}

const KNOWN: &str = "a b a - -";

#[test]
fn what_cannot_be_run_is_told_with_its_place() {
    let variants = "[[experiment.variant]]\nname = \"a\"\n[[experiment.variant]]\nname = \"b\"\n";
    let with = |keys: &str| format!("[[experiment]]\nname = \"x\"\n{keys}\n{variants}");
    let of_variants = |first: &str, second: &str| {
        format!(
            "[[experiment]]\nname = \"x\"\n[[experiment.variant]]\n{first}\n[[experiment.variant]]\n{second}"
        )
    };
    let cases = [
        (with("scenarios = [\"hom\"]"), "\"home\""),
        (with("share = 1.5"), "share"),
        (with("begins = \"soon\""), "begins"),
        (with("begins = \"2026-01-02T00:00:00Z\"\nends = \"2026-01-01T00:00:00Z\""), "ends"),
        (with("attribution_hours = 0"), "attribution_hours"),
        (with("alpha = 0.9"), "alpha"),
        (with("") + &with(""), "twice"),
        (with("") + &with("scenarios = [\"home\"]").replace("\"x\"", "\"y\""), "same scenario"),
        ("[[experiment]]\nname = \"x\"".to_owned(), "control"),
        (of_variants("name = \"a\"", "name = \"a\""), "twice"),
        (of_variants("name = \"a\"", "name = \"default\""), "default"),
        (of_variants("name = \"a\"", "name = \"b\"\nweight = 0"), "weight"),
        (of_variants("name = \"a\"", "name = \"b\"\nweight = nan"), "weight"),
        (of_variants("name = \"a\"", "name = \"b\"\nscenario = \"hmoe\""), "\"home\""),
        (of_variants("name = \"a\"", "name = \"b\"\npopular = true\nmodel = \"m\""), "popular"),
    ];
    for (toml, expected) in cases {
        let raw = configured(&format!("{toml}\n[[scenario]]\nname = \"home\""));
        let config = forecart_serve::ServeConfig::new(raw, std::num::NonZeroUsize::MIN).unwrap();
        let error = config.experiments().unwrap_err().to_string();
        assert!(error.contains("serve.experiment") && error.contains(expected), "{error}");
    }
    // One after the other in the same scenario is no overlap.
    let one = with("ends = \"2026-01-01T00:00:00Z\"");
    let two = with("begins = \"2026-01-01T00:00:00Z\"").replace("\"x\"", "\"y\"");
    let raw = configured(&(one + &two));
    let config = forecart_serve::ServeConfig::new(raw, std::num::NonZeroUsize::MIN).unwrap();
    assert_eq!(config.experiments().unwrap().all().len(), 2);
}

#[tokio::test]
async fn answers_are_those_of_the_variant_and_say_so() {
    let raw = configured(
        r#"
        [[scenario]]
        name = "home"
        [[scenario]]
        name = "home-with-gift"
        pins = { "item/50" = 1 }
        [[rule]]
        name = "not-7"
        filter = "default(item.price, 0) != 7"
        scenarios = ["home-with-gift"]
        [[experiment]]
        name = "gift"
        scenarios = ["home"]
        [[experiment.variant]]
        name = "without"
        [[experiment.variant]]
        name = "with"
        scenario = "home-with-gift"
        [[experiment.variant]]
        name = "nothing"
        popular = true
        "#,
    );
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("models")).unwrap();
    let data = dataset(folder.path());
    write_model("seq-rules", &json!({}), &data, 1, &folder.path().join("models/m.forecart"));
    let served = Served::at(folder, raw).await;
    for n in 1..=60 {
        served.post("/v1/items", &json!({"item_id": format!("item/{n}"), "price": n})).await;
    }
    let mut of_variant = BTreeMap::<String, Vec<(String, Value)>>::new();
    for n in 0..40 {
        let user = format!("u{n}");
        served.event(&user, "item/10", "purchase", 1_764_000_000).await;
        let list = served.get(&format!("/v1/recommend/{user}?n=60&scenario=home")).await.json();
        assert_eq!(list["experiment"], "gift");
        let variant = list["variant"].as_str().unwrap().to_owned();
        let again = served.get(&format!("/v1/recommend/{user}?n=60&scenario=home")).await.json();
        assert_eq!(again["variant"], variant);
        // Not in other scenarios.
        let elsewhere = served.get(&format!("/v1/recommend/{user}?n=60")).await.json();
        assert_eq!(
            (&elsewhere["variant"], &elsewhere["experiment"]),
            (&json!("default"), &json!(null))
        );
        of_variant.entry(variant).or_default().push((user, list));
    }
    assert_eq!(of_variant.len(), 3, "{:?}", of_variant.keys());
    let ids = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().unwrap().iter();
        items.map(|item| item["item_id"].as_str().unwrap().to_owned()).collect()
    };
    for (_, list) in &of_variant["without"] {
        assert!(list["model"] == "seq-rules" && list["fallback"].is_null(), "{list}");
        assert!(ids(list)[0] != "item/50" && ids(list).contains(&"item/7".to_owned()));
    }
    for (_, list) in &of_variant["with"] {
        assert_eq!((&list["model"], ids(list)[0].as_str()), (&json!("seq-rules"), "item/50"));
        assert!(!ids(list).contains(&"item/7".to_owned()), "a filter of the scenario is left out");
    }
    for (_, list) in &of_variant["nothing"] {
        assert_eq!((&list["model"], &list["fallback"]), (&json!(null), &json!("hold_out")));
        // What the model would leave out as seen is left out here too.
        assert!(!ids(list).contains(&"item/10".to_owned()), "{list}");
    }
    let with = &of_variant["with"][0].1;
    let trace =
        served.get(&format!("/v1/requests/{}", with["request_id"].as_str().unwrap())).await.json();
    assert_eq!(trace["answer"]["variant"], "with");
    assert_eq!(
        (&trace["scenario"], &trace["shown_as"]),
        (&json!("home"), &json!("home-with-gift"))
    );
    let ranked = json!({"user_id": of_variant["nothing"][0].0, "scenario": "home", "items": [{"id": "item/3"}]});
    assert_eq!(served.post("/v1/rank", &ranked).await.json()["variant"], "nothing");
    let visitor = served
        .post("/v1/recommend", &json!({"session": ["item/3"], "scenario": "home"}))
        .await
        .json();
    assert_eq!((&visitor["variant"], &visitor["experiment"]), (&json!("default"), &json!(null)));
    let metrics = served.get("/metrics").await.text;
    let line =
        "forecart_recommend_requests_total{scenario=\"home\",model=\"seq-rules\",variant=\"with\"}";
    assert!(metrics.contains(line), "{metrics}");
    let refusing = &of_variant["with"][0].0;
    let refused = json!({"consent": {"experiments": false}}).to_string();
    served.ask("PATCH", &format!("/v1/users/{refusing}"), &refused).await;
    let list = served.get(&format!("/v1/recommend/{refusing}?scenario=home")).await.json();
    assert_eq!((&list["variant"], &list["fallback"]), (&json!("default"), &json!(null)));
}

#[tokio::test]
async fn a_model_is_served_beside_the_live_one_or_the_experiment_waits_for_it() {
    let raw = configured(
        r#"
        [[experiment]]
        name = "model"
        [[experiment.variant]]
        name = "live"
        [[experiment.variant]]
        name = "other"
        model = "b.forecart"
        "#,
    );
    let served = Served::with(raw).await;
    let data = tempfile::tempdir().unwrap();
    let dataset = dataset(data.path());
    let file = |name: &str| served.models().join(name);
    write_model("seq-rules", &json!({}), &dataset, 1, &file("a.forecart"));
    std::fs::write(file("b.forecart"), "no model").unwrap();
    let refresh = async || served.post("/v1/models/refresh", &json!(null)).await.json();
    let state = async || {
        let all = served.get("/v1/experiments").await.json();
        (
            all["experiments"][0]["state"].as_str().unwrap().to_owned(),
            all["experiments"][0]["reason"].clone(),
        )
    };
    let models = async || {
        let mut found = BTreeMap::<String, String>::new();
        for n in 0..20 {
            let list = served.get(&format!("/v1/recommend/u{n}")).await.json();
            let text = |field: &str| list[field].as_str().unwrap().to_owned();
            found.insert(text("variant"), text("model"));
        }
        found.into_iter().map(|(variant, model)| format!("{variant} {model}")).collect::<Vec<_>>()
    };
    let left_out = refresh().await["left_out"].to_string();
    assert!(left_out.contains("for an experiment"), "{left_out}");
    let (suspended, reason) = state().await;
    assert!(suspended == "suspended" && reason.to_string().contains("b.forecart"), "{reason}");
    // Nobody is answered as a variant that is not what it says.
    assert_eq!(models().await, ["default seq-rules"]);
    write_model("popularity", &json!({}), &dataset, 1, &file("b.forecart"));
    let promoted =
        served.post("/v1/models/recommend/promote", &json!({"version": "a.forecart"})).await;
    assert_eq!(promoted.status, StatusCode::OK);
    assert_eq!(refresh().await["left_out"], json!([]));
    assert_eq!(
        (state().await, models().await),
        (
            ("running".to_owned(), json!(null)),
            vec!["live seq-rules".to_owned(), "other popularity".to_owned()],
        )
    );
    // The winner is promoted: now both would be the same.
    served.post("/v1/models/recommend/promote", &json!({"version": "b.forecart"})).await;
    let (suspended, reason) = state().await;
    assert!(suspended == "suspended" && reason.to_string().contains("alike"), "{reason}");
    assert_eq!(models().await, ["default popularity"]);
}

/// Variants that name one model by two names would be told apart by chance alone; those that name it by the same are meant to.
#[tokio::test]
async fn variants_of_one_model_are_an_experiment_only_if_they_say_so() {
    let named = |one: &str, other: &str| {
        configured(&format!(
            "[[scenario]]\nname = \"home\"\n[[experiment]]\nname = \"model\"\n[[experiment.variant]]\nname = \"one\"\n{one}\n\
             [[experiment.variant]]\nname = \"other\"\n{other}"
        ))
    };
    let mut folder = tempfile::tempdir().unwrap();
    let models = folder.path().join("models");
    std::fs::create_dir(&models).unwrap();
    let dataset = dataset(folder.path());
    for (name, seed) in [("seq-rules", 1), ("popularity", 1)] {
        write_model(name, &json!({}), &dataset, seed, &models.join(format!("{name}.forecart")));
    }
    std::fs::copy(models.join("popularity.forecart"), models.join("copy.forecart")).unwrap();
    let header = forecart_models::model_file::LoadedModel::open(&models.join("copy.forecart"));
    let version = header.unwrap().header().content_hash[..12].to_owned();
    let (first, copy) = ("model = \"popularity.forecart\"", "model = \"copy.forecart\"");
    let by_version = format!("model = \"{version}\"");
    let cases = [
        (first, copy, true),
        (first, by_version.as_str(), true),
        (by_version.as_str(), copy, true),
        (first, first, false),
        (first, "model = \"seq-rules.forecart\"", false),
        // Other rules hold there.
        (first, "model = \"copy.forecart\"\nscenario = \"home\"", false),
        (first, "popular = true", false),
    ];
    for (place, (one, other, is_suspended)) in cases.into_iter().enumerate() {
        let store = folder.path().join(format!("{place}.sqlite")).display().to_string();
        let raw = RawServeConfig { store: Some(store), ..named(one, other) };
        let placed = Served::placed(&folder, raw.clone());
        let config = forecart_serve::ServeConfig::new(placed, std::num::NonZeroUsize::MIN);
        let findings = forecart_serve::examine(&config.unwrap()).await;
        let served = Served::at(folder, raw).await;
        let all = served.get("/v1/experiments").await.json();
        let (state, reason) = (&all["experiments"][0]["state"], &all["experiments"][0]["reason"]);
        let found = findings.iter().find(|own| own.check == "experiment model");
        let case = format!("{one}, {other}: {all}");
        if is_suspended {
            assert_eq!(state, "suspended", "{case}");
            let reason = reason.as_str().unwrap();
            for part in ["\"one\"", "\"other\"", "one and the same", "say the same in both"] {
                assert!(reason.contains(part), "{case}");
            }
            let found = found.unwrap_or_else(|| panic!("{case}: {findings:?}"));
            assert_eq!((found.severity, &*found.found), (Severity::Warning, reason));
        } else {
            assert_eq!((state, found), (&json!("running"), None), "{case}");
        }
        let list = served.get("/v1/recommend/u1").await.json();
        assert_eq!(list["variant"] == "default", is_suspended, "{case}");
        folder = served.end();
    }
}

/// Events of one user of an experiment.
struct Told {
    events: Vec<Event>,
}

impl Told {
    fn event(&mut self, user: &str, kind: &str, time_ms: i64, further: Value) {
        let Value::Object(further) = further else { panic!("no object") };
        self.events.push(Event {
            event_id: format!("{user}-{kind}-{}", self.events.len()),
            user_id: user.to_owned(),
            item_id: Some("i".to_owned()),
            event: kind.to_owned(),
            timestamp_ms: time_ms,
            value: None,
            further,
        });
    }
}

async fn empty_store() -> (tempfile::TempDir, Arc<dyn Store>) {
    let folder = tempfile::tempdir().unwrap();
    let store = store::open(folder.path().join("s.sqlite").to_str().unwrap()).await.unwrap();
    (folder, store)
}

async fn read(store: &dyn Store, experiment: &Experiment, now_ms: i64) -> ReadOut {
    let consents = Consents::read(store, ConsentDefault::Granted).await.unwrap();
    read_out(store, experiment, &consents, now_ms).await.unwrap()
}

/// Sums over the users of both variants, by metric.
fn sums(read_out: &ReadOut) -> BTreeMap<&str, f64> {
    let sum = |metric: &forecart_serve::experiments::MetricReadOut| {
        metric.variants.iter().map(|own| own.mean * own.n_users as f64).sum::<f64>().round()
    };
    read_out.metrics.iter().map(|own| (own.metric.as_str(), sum(own))).collect()
}

#[tokio::test]
async fn a_click_counts_if_it_follows_an_impression_of_its_user_and_answer() {
    let (_folder, store) = empty_store().await;
    let own = two_variants(&format!("begins = \"{BEGINS}\"\nscenarios = [\"home\"]"));
    let mut told = Told { events: Vec::new() };
    let at = |hours: i64| BEGINS_MS + hours * HOUR_MS;
    let nothing = || json!({});
    // In time, and the click comes in before its impression.
    told.event("good", "select_item", at(2), nothing());
    told.event("good", "view_item_list", at(1), nothing());
    told.event("good", "select_item", at(1 + 24), nothing());
    // Before the impression, too late, of another scenario, of another answer.
    told.event("early", "select_item", at(1), nothing());
    told.event("early", "view_item_list", at(2), nothing());
    told.event("late", "view_item_list", at(1), nothing());
    told.event("late", "select_item", at(26), nothing());
    told.event("elsewhere", "view_item_list", at(1), json!({"scenario": "home"}));
    told.event("elsewhere", "select_item", at(2), json!({"scenario": "basket"}));
    told.event("other-answer", "view_item_list", at(1), json!({"request_id": "r1"}));
    told.event("other-answer", "select_item", at(2), json!({"request_id": "r2"}));
    told.event("own-answer", "view_item_list", at(1), json!({"request_id": "r1"}));
    told.event("own-answer", "select_item", at(2), json!({"request_id": "r1"}));
    told.event("bought", "view_item_list", at(1), nothing());
    told.event("bought", "purchase", at(2), json!({"price": "2.5", "quantity": 4}));
    // Not exposed: before the beginning, in another scenario, as another variant, without an impression.
    told.event("before", "view_item_list", at(-1), nothing());
    told.event("before", "select_item", at(1), nothing());
    told.event("basket", "view_item_list", at(1), json!({"scenario": "basket"}));
    told.event("default", "view_item_list", at(1), json!({"variant": "default"}));
    let wrong = if own.variant_of("wrong") == Some("old") { "new" } else { "old" };
    told.event("wrong", "view_item_list", at(1), json!({"variant": wrong}));
    told.event("unseen", "select_item", at(1), nothing());
    // Their time is not over.
    told.event("new", "view_item_list", at(80), nothing());
    told.event("new", "select_item", at(81), nothing());
    store.append(&told.events, 1).await.unwrap();
    let found = read(store.as_ref(), &own, at(100)).await;
    assert_eq!((found.n_users, found.n_waiting), (7, 1), "{found:?}");
    let expected = [("clicked", 2.0), ("clicks", 3.0), ("purchases", 1.0), ("revenue", 10.0)];
    assert_eq!(sums(&found), expected.into());
    assert!(found.metrics.iter().flat_map(|own| &own.variants).all(|variant| {
        variant
            .difference
            .as_ref()
            .is_none_or(|own| own.verdict == Verdict::TooFewUsers && own.lower.is_none())
    }));
    // Without a beginning only what says its variant counts.
    let unsaid = read(store.as_ref(), &two_variants(""), at(100)).await;
    assert_eq!(unsaid.n_users, 0);
    assert!(unsaid.problems[0].contains("begins"), "{:?}", unsaid.problems);
    // Who is in no experiment by consent, and who is forgotten, is not in the read-out.
    let refused = json!({"consent": {"experiments": false}}).as_object().unwrap().clone();
    let user = store::UserRecord { user_id: "good".to_owned(), attributes: refused, changed_ms: 1 };
    store.put_users(&[user]).await.unwrap();
    store.forget("bought", "r", 1).await.unwrap();
    let fewer = read(store.as_ref(), &own, at(100)).await;
    assert_eq!((fewer.n_users, sums(&fewer)["clicked"]), (5, 1.0));
    store.close().await;
}

#[tokio::test]
async fn a_planted_lift_is_read_out_over_http() {
    const N_USERS: usize = 3_000;
    let raw = configured(&format!(
        "[[experiment]]\nname = \"lift\"\nbegins = \"{BEGINS}\"\nusers = 3000\n\
         [[experiment.variant]]\nname = \"old\"\n[[experiment.variant]]\nname = \"new\"\n[[experiment.variant]]\nname = \"same\""
    ));
    let served = Served::with(raw).await;
    let rng = &mut ChaCha8Rng::seed_from_u64(5);
    let mut rows = Vec::new();
    let (mut n_users, mut n_clicked) =
        (BTreeMap::<String, u64>::new(), BTreeMap::<String, u64>::new());
    let ms = |hours: i64| BEGINS_MS + hours * HOUR_MS;
    for n in 0..N_USERS {
        let user = format!("u{n}");
        let list = served.get(&format!("/v1/recommend/{user}")).await.json();
        let variant = list["variant"].as_str().unwrap().to_owned();
        *n_users.entry(variant.clone()).or_default() += 1;
        rows.push(json!({"user_id": user, "event": "view_item_list", "timestamp": ms(1), "request_id": list["request_id"], "variant": variant}));
        if rng.random::<f64>() < if variant == "new" { 0.3 } else { 0.15 } {
            *n_clicked.entry(variant).or_default() += 1;
            rows.push(json!({"user_id": user, "item_id": "i", "event": "select_item", "timestamp": ms(2), "request_id": list["request_id"]}));
        }
    }
    let taken = served.post("/v1/events", &json!(rows)).await.json();
    assert_eq!(taken["accepted"], rows.len(), "{taken}");
    let found = served.get("/v1/experiments/lift").await.json();
    assert_eq!((&found["is_valid"], &found["n_users"]), (&json!(true), &json!(N_USERS)), "{found}");
    let clicked = &found["metrics"][0];
    assert_eq!(clicked["metric"], "clicked");
    for (place, name) in ["old", "new", "same"].into_iter().enumerate() {
        let own = &clicked["variants"][place];
        assert_eq!((&own["variant"], &own["n_users"]), (&json!(name), &json!(n_users[name])));
        let mean = n_clicked[name] as f64 / n_users[name] as f64;
        assert!((own["mean"].as_f64().unwrap() - mean).abs() < 1e-12, "{own}");
    }
    let (new, same) =
        (&clicked["variants"][1]["difference"], &clicked["variants"][2]["difference"]);
    assert!(new["verdict"] == "better" && new["lower"].as_f64() > Some(0.0), "{new}");
    assert_eq!(same["verdict"], "not_decided", "{same}");
    assert!(same["in_words"].as_str().unwrap().contains("more users"), "{same}");
    assert_eq!(served.get("/v1/experiments/lfit").await.code(), "unknown_experiment");
    assert!(served.get("/v1/experiments/lfit").await.text.contains("did you mean"));
    // Answered from memory for some seconds.
    let late = json!({"user_id": "late", "event": "view_item_list", "timestamp": ms(1)});
    served.post("/v1/events", &late).await;
    assert_eq!(served.get("/v1/experiments/lift").await.json()["counted_at"], found["counted_at"]);
}

#[tokio::test]
async fn users_who_are_missing_from_a_variant_make_the_read_out_invalid() {
    let (_folder, store) = empty_store().await;
    let own = two_variants(&format!("begins = \"{BEGINS}\""));
    let mut told = Told { events: Vec::new() };
    for n in 0..4_000 {
        let user = format!("u{n}");
        // A third of one variant's lists come out empty, and nothing is shown.
        let is_new = own.variant_of(&user) == Some("new");
        if !is_new || n % 3 != 0 {
            told.event(&user, "view_item_list", BEGINS_MS, json!({}));
        }
        if is_new {
            told.event(&user, "select_item", BEGINS_MS + 1, json!({}));
        }
    }
    store.append(&told.events, 1).await.unwrap();
    let found = read(store.as_ref(), &own, BEGINS_MS + 48 * HOUR_MS).await;
    assert!(!found.is_valid && !found.sample_ratio.is_as_expected, "{found:?}");
    assert!(found.problems[0].contains("out of sight"), "{:?}", found.problems);
    let verdicts = found.metrics.iter().filter_map(|own| own.variants[1].difference.as_ref());
    assert!(
        verdicts.clone().count() == 3
            && verdicts.clone().all(|own| own.verdict == Verdict::Invalid)
    );
    store.close().await;
}
