//! Lists over HTTP: the model's own, fallbacks, rules, traces.

use std::num::NonZeroUsize;

use axum::http::StatusCode;
use forecart_data::{History, ItemIdx, SeenItems};
use forecart_models::model_file::LoadedModel;
use forecart_serve::{RawServeConfig, store};
use serde_json::{Value, json};

use crate::served::{Served, dataset, write_model};

const DAY_MS: i64 = 86_400_000;

fn ids(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap_or_else(|| panic!("{list}"));
    items.iter().map(|item| item["item_id"].as_str().unwrap().to_owned()).collect()
}

/// A server with a model of the shop, and the histories that it learned from in its store.
pub(crate) async fn with_model(name: &str, keys: &Value, raw: RawServeConfig) -> Served {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("models")).unwrap();
    let data = dataset(folder.path());
    write_model(name, keys, &data, 1, &folder.path().join("models/model.forecart"));
    let path = folder.path().join("store.sqlite");
    let store = store::open(path.to_str().unwrap()).await.unwrap();
    let filled = forecart_serve::fill(store.as_ref(), &data, &forecart_data::Silent).await.unwrap();
    assert!(filled.n_new_events > 100, "{filled:?}");
    let again = forecart_serve::fill(store.as_ref(), &data, &forecart_data::Silent).await.unwrap();
    assert_eq!(again.n_new_events, 0);
    store.close().await;
    Served::at(folder, raw).await
}

/// `raw` with the section `[serve]` of a configuration.
fn configured(toml: &str) -> RawServeConfig {
    toml::from_str(toml).unwrap()
}

#[tokio::test]
async fn http_gives_the_scores_of_the_library_to_the_bit() {
    let small =
        json!({"n_epochs": 2, "d_model": 8, "n_heads": 2, "batch_size": 20, "n_negatives": 4});
    for (name, keys) in [("hstu", &small), ("seq-rules", &json!({})), ("vstan", &json!({}))] {
        let served = with_model(name, keys, RawServeConfig::default()).await;
        let model = LoadedModel::open(&served.models().join("model.forecart")).unwrap();
        let data = forecart_data::Dataset::open(&served.folder.path().join("dataset")).unwrap();
        let mut n_own = 0;
        for (user, id, _) in data.users.iter().take(40) {
            let history = data.sequences.history(forecart_data::UserIdx(user));
            // What cannot be named cannot be sent.
            let known: Vec<usize> =
                (0..history.items.len()).filter(|at| history.items[*at].is_known()).collect();
            let items: Vec<ItemIdx> = known.iter().map(|at| history.items[*at]).collect();
            let times: Vec<i64> = known.iter().map(|at| history.timestamps_ms[*at]).collect();
            let events: Vec<u8> = known.iter().map(|at| history.events[*at]).collect();
            let values: Vec<f32> =
                known.iter().filter_map(|at| history.values.get(*at).copied()).collect();
            let history =
                History { items: &items, timestamps_ms: &times, events: &events, values: &values };
            let k = NonZeroUsize::new(7).unwrap();
            let answer = model.recommend(history, k, SeenItems::Exclude);
            let path = format!("/v1/recommend/{}?n=7", id.replace('/', "%2F"));
            let list = served.get(&path).await.json();
            let scores: Vec<(String, u32)> = list["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| {
                    let score: f32 = item["score"].to_string().parse().unwrap();
                    (item["item_id"].as_str().unwrap().to_owned(), score.to_bits())
                })
                .collect();
            let expected: Vec<(String, u32)> = answer
                .items
                .iter()
                .map(|own| (own.item_id.to_owned(), own.score.to_bits()))
                .collect();
            assert_eq!(scores, expected, "{name}: {id}");
            assert_eq!(list["model_version"], model.header().content_hash);
            n_own += usize::from(answer.fallback.is_none());
            assert_eq!(list["fallback"].is_null(), answer.fallback.is_none());
            let candidates: Vec<Value> =
                (1..=60).map(|n| json!({"id": format!("item/{n}")})).collect();
            let ranked =
                served.post("/v1/rank", &json!({"user_id": id, "items": candidates})).await.json();
            for item in ranked["items"].as_array().unwrap() {
                let index = model.item(item["item_id"].as_str().unwrap());
                let score: f32 = item["score"].to_string().parse().unwrap();
                assert_eq!(score.to_bits(), model.model().score(history, &[index])[0].to_bits());
            }
        }
        assert!(n_own > 20, "{name}: {n_own}");
    }
}

#[tokio::test]
async fn nobody_and_nothing_known_is_answered_all_the_same() {
    let served = Served::empty().await;
    let list = served.get("/v1/recommend/nobody").await.json();
    assert_eq!((ids(&list), &list["fallback"]), (vec![], &json!("no_model")));
    let items = json!([
        {"item_id": "a", "price": 5, "in_stock": true, "title": "A"},
        {"item_id": "b", "price": 50, "in_stock": true},
        {"item_id": "c", "price": 7, "in_stock": false},
    ]);
    served.post("/v1/items", &items).await;
    assert_eq!(ids(&served.get("/v1/recommend/nobody").await.json()), ["a", "b", "c"]);
    for _ in 0..2 {
        served.event("u", "c", "view_item", 1_764_000_000).await;
    }
    served.event("u", "d", "view_item", 1_764_000_000).await;
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    let path = "/v1/recommend/nobody?filter=item.in_stock%20and%20item.price%20%3C%2010";
    assert_eq!(ids(&served.get(path).await.json()), ["a"]);
    let visitor =
        served.post("/v1/recommend", &json!({"session": ["a"], "leave_out_seen": true})).await;
    assert!(!ids(&visitor.json()).contains(&"a".to_owned()));
    let wrong = served.get("/v1/recommend/nobody?filter=item.prise%20%3C%2010").await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(wrong.text.contains("price"), "no nearest name: {}", wrong.text);
    for (query, code) in [
        ("n=0", "bad_n"),
        ("n=1001", "bad_n"),
        ("n=x", "bad_query"),
        ("m=1", "bad_query"),
        ("scenario=moon", "unknown_scenario"),
    ] {
        assert_eq!(served.get(&format!("/v1/recommend/u?{query}")).await.code(), code);
    }
}

#[tokio::test]
async fn an_event_that_was_accepted_changes_the_next_answer() {
    let served = with_model("seq-rules", &json!({}), RawServeConfig::default()).await;
    let before = served.get("/v1/recommend/new-user?n=5").await.json();
    assert_eq!(before["fallback"], "unknown_user");
    served.event("new-user", "item/10", "purchase", 1_764_000_000).await;
    let after = served.get("/v1/recommend/new-user?n=5").await.json();
    assert!(after["fallback"].is_null(), "{after}");
    assert_ne!(ids(&before), ids(&after));
    assert!(!ids(&after).contains(&"item/10".to_owned()));
    assert_eq!(after["items"][0]["reasons"][0]["kind"], "because_of", "{after}");
    assert_eq!(after["items"][0]["reasons"][0]["item_id"], "item/10");
    let many = json!({"user_ids": ["new-user", "nobody"], "n": 5});
    let lists = served.post("/v1/recommend", &many).await.json();
    assert_eq!(ids(&lists["results"][0]), ids(&after));
    assert_eq!(ids(&lists["results"][1]), ids(&before));
    served.ask("DELETE", "/v1/users/new-user", "").await;
    let forgotten = served.get("/v1/recommend/new-user?n=5").await.json();
    assert_eq!(ids(&forgotten), ids(&before));
    assert_eq!(forgotten["fallback"], "unknown_user");
}

#[tokio::test]
async fn an_item_that_was_sent_just_now_is_like_those_that_share_its_fields() {
    let served = with_model("seq-rules", &json!({}), RawServeConfig::default()).await;
    for (item, category) in [("new/1", "Tea > Green"), ("new/2", "Tea > Green"), ("new/3", "Mugs")]
    {
        let path = format!("/v1/items/{}", item.replace('/', "%2F"));
        let body = json!({"title": item, "category": category, "in_stock": true}).to_string();
        assert_eq!(served.ask("PUT", &path, &body).await.status, StatusCode::NO_CONTENT);
    }
    let list = served.get("/v1/items/new%2F1/similar?n=3").await.json();
    assert_eq!((ids(&list)[0].as_str(), &list["fallback"]), ("new/2", &json!("nothing_known")));
    assert_eq!(list["items"][0]["reasons"][0]["kind"], "similar");
    let known = served.get("/v1/items/item%2F10/similar?n=3").await.json();
    assert!(known["fallback"].is_null() && ids(&known).len() == 3, "{known}");
    assert!(!ids(&known).contains(&"item/10".to_owned()));
    assert_eq!(served.get("/v1/items/none/similar").await.code(), "unknown_item");
    assert_eq!(ids(&served.get("/v1/items/item%2F10/together?n=4").await.json()).len(), 4);
}

#[tokio::test]
async fn an_item_that_was_taken_out_stays_out_of_every_list() {
    let served = with_model("seq-rules", &json!({}), RawServeConfig::default()).await;
    for path in ["/v1/items/item%2F10", "/v1/items/never-seen"] {
        assert_eq!(served.ask("DELETE", path, "").await.status, StatusCode::NO_CONTENT);
    }
    served.event("u", "never-seen", "view_item", 1_764_000_000).await;
    served.event("u", "item/10", "view_item", 1_764_000_000).await;
    let folder = served.end();
    // Filled again, as at every start: what was taken out is not brought back.
    let data = forecart_data::Dataset::open(&folder.path().join("dataset")).unwrap();
    let store = store::open(folder.path().join("store.sqlite").to_str().unwrap()).await.unwrap();
    forecart_serve::fill(store.as_ref(), &data, &forecart_data::Silent).await.unwrap();
    store.close().await;
    let again = Served::at(folder, RawServeConfig::default()).await;
    for _ in 0..2 {
        let listed = ids(&again.get("/v1/recommend/nobody?n=100").await.json());
        assert_eq!(listed.len(), 59, "{listed:?}");
        assert!(
            !listed.contains(&"item/10".to_owned()) && !listed.contains(&"never-seen".to_owned())
        );
        again.event("v", "item/10", "view_item", 1_764_000_000).await;
    }
}

#[tokio::test]
async fn rules_and_scenarios_of_the_shop_hold_on_every_path() {
    let raw = configured(
        r#"
        [user]
        favorite = "text"
        [context]
        max_price = "number"
        [[rule]]
        name = "stock"
        filter = "default(item.in_stock, true)"
        [[rule]]
        name = "cheap"
        filter = "default(item.price, 0) <= context.max_price"
        scenarios = ["basket"]
        [[rule]]
        name = "favorite"
        boost = "boost 100 if item.brand == user.favorite"
        [[scenario]]
        name = "home"
        seen = [{ events = ["purchase"], max_age_days = 30 }]
        pins = { "item/50" = 2 }
        [[scenario]]
        name = "basket"
        "#,
    );
    let served = with_model("seq-rules", &json!({}), raw).await;
    for n in 1..=60 {
        let item = json!({"item_id": format!("item/{n}"), "in_stock": n % 2 == 0, "price": n, "brand": if n == 40 { "Rare" } else { "Usual" }});
        served.post("/v1/items", &item).await;
    }
    let now_ms = jiff::Timestamp::now().as_millisecond();
    served.event("u", "item/10", "purchase", now_ms).await;
    served.event("u", "item/12", "purchase", now_ms - 60 * DAY_MS).await;
    let number = |id: &String| id.trim_start_matches("item/").parse::<u32>().unwrap();
    for user in ["u", "nobody"] {
        let list = served.get(&format!("/v1/recommend/{user}?n=60&scenario=home")).await.json();
        let listed = ids(&list);
        assert!(listed.iter().all(|id| number(id) % 2 == 0), "{listed:?}");
        assert_eq!(listed[1], "item/50");
        assert_eq!(listed.contains(&"item/10".to_owned()), user == "nobody", "{listed:?}");
        assert!(listed.contains(&"item/12".to_owned()));
        assert_eq!(listed.len(), if user == "u" { 29 } else { 30 });
    }
    let basket =
        json!({"user_id": "u", "scenario": "basket", "n": 60, "context": {"max_price": 20}});
    let listed = ids(&served.post("/v1/recommend", &basket).await.json());
    assert!(!listed.is_empty() && listed.iter().all(|id| number(id) <= 20 && number(id) % 2 == 0));
    // What is not said in the context makes the comparison false: nothing is cheap enough.
    let unsaid = json!({"user_id": "u", "scenario": "basket"});
    assert_eq!(ids(&served.post("/v1/recommend", &unsaid).await.json()), Vec::<String>::new());
    let wrong = json!({"scenario": "basket", "context": {"max_price": "20"}});
    assert_eq!(served.post("/v1/recommend", &wrong).await.code(), "wrong_type");
    let plain = ids(&served.get("/v1/recommend/u?n=1").await.json());
    served.ask("PUT", "/v1/users/u", "{\"favorite\": \"Rare\"}").await;
    let list = served.get("/v1/recommend/u?n=1").await.json();
    assert_eq!((ids(&list), plain == ["item/40"]), (vec!["item/40".to_owned()], false));
    let id = list["request_id"].as_str().unwrap();
    let trace = served.get(&format!("/v1/requests/{id}")).await.json();
    assert_eq!(trace["answer"]["items"], list["items"]);
    assert_eq!(trace["boosted"][0], json!({"item_id": "item/40", "factor": 100.0}));
    let removed = trace["removed"].as_array().unwrap();
    assert!(
        removed.iter().any(|own| own["name"] == "stock" && own["n"].as_u64() > Some(0)),
        "{trace}"
    );
    assert_eq!(trace["sources"][0]["name"], "seq-rules");
    served.ask("DELETE", "/v1/users/u", "").await;
    assert_eq!(served.get(&format!("/v1/requests/{id}")).await.code(), "unknown_request");
}

#[tokio::test]
async fn a_rule_that_cannot_be_used_stops_the_start_and_points_at_its_column() {
    for (toml, expected) in [
        ("[[rule]]\nname = \"r\"\nfilter = \"item.prise < 3\"", "price"),
        ("[[rule]]\nname = \"r\"\nfilter = \"item.price < \\\"a\\\"\"", "number"),
        ("[[rule]]\nname = \"r\"", "either filter or boost"),
        ("[[rule]]\nname = \"r\"\nfilter = \"item.in_stock\"\nscenarios = [\"moon\"]", "moon"),
        ("[[scenario]]\nname = \"s\"\ndiversity = 3", "diversity"),
        ("[item]\ncolor = \"colour\"", "colour"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store.sqlite").display().to_string();
        let raw = RawServeConfig { store: Some(store), ..configured(toml) };
        let config = forecart_serve::ServeConfig::new(raw, NonZeroUsize::MIN).unwrap();
        let error = forecart_serve::App::start(config).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_new_item_is_recommended_to_who_looked_at_what_is_like_it() {
    let served = with_model("seq-rules", &json!({}), RawServeConfig::default()).await;
    let put = async |id: &str, fields: &Value| {
        let path = format!("/v1/items/{}", id.replace('/', "%2F"));
        let answer = served.ask("PUT", &path, &fields.to_string()).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.text);
    };
    let list = async |query: &str| served.get(&format!("/v1/recommend/u?{query}")).await.json();
    put("item/10", &json!({"title": "Sencha green tea 100 g", "brand": "Ume"})).await;
    put("item/12", &json!({"title": "Cast iron pan", "brand": "Iron"})).await;
    served.event("u", "item/10", "purchase", 1_764_000_000).await;
    served.event("u", "item/12", "purchase", 1_764_000_100).await;
    let before = list("n=30").await;
    // One that is like nothing of the user's changes nothing.
    put("new/rope", &json!({"title": "Rope"})).await;
    assert_eq!(list("n=30").await["items"], before["items"]);

    let started = std::time::Instant::now();
    put("new/tea", &json!({"title": "Gyokuro green tea 50 g", "in_stock": true})).await;
    let after = list("n=30").await;
    assert!(started.elapsed() < std::time::Duration::from_secs(1));
    // At the tenth place, and nothing else has moved.
    let item = &after["items"][9];
    assert_eq!((&item["item_id"], &item["source"]), (&json!("new/tea"), &json!(["content"])));
    assert_eq!(item["reasons"], json!([{"kind": "similar_to", "item_id": "item/10"}]));
    assert!(item["score"].as_f64().is_some_and(|score| score > 0.15 && score < 1.0), "{item}");
    let (mut listed, mut own) = (ids(&after), ids(&before));
    listed.remove(9);
    own.truncate(29);
    assert_eq!(listed, own);
    let trace = after["request_id"].as_str().unwrap();
    let trace = served.get(&format!("/v1/requests/{trace}")).await.json();
    let sources = trace["sources"].as_array().unwrap();
    let content = sources.iter().find(|own| own["name"] == "content").unwrap();
    assert_eq!((&content["n_candidates"], &content["n_listed"]), (&json!(1), &json!(1)));

    // In a visit, by what was looked at in it; pages are of one list.
    put("new/pan", &json!({"title": "Iron pan"})).await;
    let visit = json!({"session": ["item/10", "item/12"], "n": 20});
    let visit = ids(&served.post("/v1/recommend", &visit).await.json());
    assert_eq!((visit[9].as_str(), visit[19].as_str()), ("new/pan", "new/tea"));
    let whole = ids(&list("n=40").await);
    let mut pages = ids(&list("n=15").await);
    pages.extend(ids(&list("n=25&offset=15").await));
    assert_eq!(pages, whole);
    assert_eq!(whole.iter().filter(|id| id.starts_with("new/")).count(), 2);

    // Rules hold here as everywhere.
    let filtered = ids(&list("n=40&filter=default(item.in_stock,false)").await);
    assert_eq!(filtered, ["new/tea"]);
    served.event("u", "new/pan", "purchase", 1_764_000_200).await;
    assert!(!ids(&list("n=40&leave_out_seen=true").await).contains(&"new/pan".to_owned()));
    assert_eq!(
        served.ask("DELETE", "/v1/items/new%2Ftea", "").await.status,
        StatusCode::NO_CONTENT
    );
    assert!(!ids(&list("n=60").await).contains(&"new/tea".to_owned()));

    // None, where none is wanted.
    let raw = RawServeConfig { new_items: Some(0.0), ..RawServeConfig::default() };
    let served = Served::at(served.end(), raw).await;
    served.ask("PUT", "/v1/items/new%2Ftea", "{\"title\": \"Gyokuro green tea 50 g\"}").await;
    let path = "/v1/recommend/u?n=50";
    let listed = served.get(path).await.json();
    let is_content = |item: &Value| item["source"] == json!(["content"]);
    assert!(!listed["items"].as_array().unwrap().iter().any(is_content), "{listed}");
    let raw = RawServeConfig { new_items: Some(1.5), ..RawServeConfig::default() };
    let error = forecart_serve::ServeConfig::new(raw, NonZeroUsize::MIN).unwrap_err();
    assert!(error.to_string().contains("serve.new_items"), "{error}");
}
