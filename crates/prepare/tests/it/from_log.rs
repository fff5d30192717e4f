//! Sample tables from an event log.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use forecart_data::encode::{Row, Value};
use forecart_data::samples::{ColumnKind, Role, SampleSplit, SampleTable};
use forecart_data::{Part, Silent};
use forecart_prepare::{
    DataConfig, PrepareError, RawSamplesConfig, Resources, SamplesReport, prepare_from_log,
};
use proptest::prelude::*;

use crate::support::{bytes, import_with};

const NAMES: [&str; 4] = ["view_promotion", "select_promotion", "purchase", "view_item"];

/// One event; `tag` names it, in a column of its own.
#[derive(Debug, Clone, PartialEq)]
struct Given {
    user: u8,
    item: u8,
    name: &'static str,
    secs: i64,
    request: u8,
    price: u8,
    tag: String,
}

fn given(user: u8, item: u8, name: &'static str, secs: i64) -> Given {
    let tag = format!("{user}-{item}-{name}-{secs}");
    Given { user, item, name, secs, request: 0, price: 1 + item, tag }
}

/// The events as a file, in the given order. `planted`: a column that counts the clicks on the item in the whole log.
fn csv(events: &[Given], planted: bool) -> String {
    let mut text = "user_id,item_id,event,timestamp,request_id,price,position,tag".to_owned();
    text += if planted { ",planted\n" } else { "\n" };
    for event in events {
        let Given { user, item, name, secs, request, price, tag } = event;
        let request = if *request == 0 { String::new() } else { format!("r{request}") };
        let position = 1 + item % 3;
        let at = 1_600_000_000 + secs;
        write!(text, "u{user},i{item},{name},{at},{request},{price},{position},{tag}").unwrap();
        if planted {
            let clicks = events.iter().filter(|e| e.item == *item && e.name == NAMES[1]).count();
            write!(text, ",{clicks}").unwrap();
        }
        text.push('\n');
    }
    text
}

struct Made {
    folder: tempfile::TempDir,
    report: SamplesReport,
}

impl Made {
    fn table(&self) -> SampleTable {
        let table = SampleTable::open(&self.folder.path().join("out")).unwrap();
        table.verify().unwrap();
        table
    }
}

fn prepare(
    folder: &Path,
    config: &str,
    n_threads: usize,
    memory_limit_bytes: u64,
) -> Result<SamplesReport, PrepareError> {
    let raw: RawSamplesConfig = toml::from_str(config).unwrap();
    let scratch = folder.to_owned();
    let limit = Some(memory_limit_bytes);
    let resources = Resources { memory_limit_bytes: limit, n_threads, scratch };
    let (log, out) = (folder.join("log"), folder.join("out"));
    let data = DataConfig::default();
    prepare_from_log(&log, &data, &raw.try_into()?, &out, &resources, &Silent)
}

fn make(text: &str, config: &str) -> Result<Made, PrepareError> {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("events.csv");
    fs::write(&input, text).unwrap();
    import_with(&input, "", &folder.path().join("log"), 2)?;
    let report = prepare(folder.path(), config, 2, 1 << 30)?;
    Ok(Made { folder, report })
}

/// What a table says of each sample but its labels, by tag.
fn features(table: &SampleTable) -> BTreeMap<String, BTreeMap<String, String>> {
    let names: Vec<&str> = table
        .columns()
        .filter(|(column, _)| column.role != Role::Label)
        .map(|(column, _)| column.name.as_str())
        .collect();
    let row = |row: u32| {
        let row = table.row(row);
        let Value::Text(tag) = row.value("tag") else { panic!("no tag") };
        // Debug output of a float is read back to the same bits.
        let values =
            names.iter().map(|name| ((*name).to_owned(), format!("{:?}", row.value(name))));
        (tag.to_owned(), values.collect())
    };
    (0..table.n_rows() as u32).map(row).collect()
}

/// Columns in which samples up to a moment differ between two tables.
fn differences(one: &SampleTable, other: &SampleTable, up_to_secs: i64) -> Vec<String> {
    let (one, other) = (features(one), features(other));
    let mut found = Vec::new();
    for (tag, values) in &one {
        let Some(others) = other.get(tag) else { continue };
        let moment = values["moment"].trim_start_matches("Number(").trim_end_matches(')');
        if moment.parse::<f64>().unwrap() > (1_600_000_000 + up_to_secs) as f64 * 1000.0 {
            continue;
        }
        let columns = values.keys().filter(|column| values[*column] != others[*column]);
        found.extend(columns.cloned());
    }
    found
}

const COLUMNS: &str =
    "columns = { tag = \"category\", position = \"category\", planted = \"number\" }";

fn config(task: &str, planted: bool, log: &str) -> String {
    let columns =
        if planted { COLUMNS.to_owned() } else { COLUMNS.replace(", planted = \"number\"", "") };
    format!("task = \"{task}\"\nsplit = \"order\"\n{columns}\n[log]\n{log}")
}

const SHORT: &str =
    "click_window_minutes = 1\nconversion_window_days = 1\nsession_event = 2\nhistory_length = 4\n";

/// First and last events that every log has: all kinds occur, and all windows are closed.
fn framed(events: &[Given]) -> Vec<Given> {
    let first = NAMES.map(|name| given(9, 9, name, 0));
    // A session without a purchase, of two events.
    let quiet = [given(8, 9, NAMES[3], 0), given(8, 9, NAMES[3], 1)];
    let last = given(9, 9, NAMES[3], 10_000_000);
    first.into_iter().chain(quiet).chain(events.iter().cloned()).chain([last]).collect()
}

fn event() -> impl Strategy<Value = Given> {
    // Few users, items and moments: ties and meetings are frequent.
    let parts = (0_u8..4, 0_u8..4, 0_usize..4, 1_i64..200, 0_u8..3, 1_u8..9);
    parts.prop_map(|(user, item, name, secs, request, price)| Given {
        user,
        item,
        name: NAMES[name],
        secs,
        request,
        price,
        tag: String::new(),
    })
}

/// Names each event.
fn tagged(events: Vec<Given>, prefix: char) -> Vec<Given> {
    let events = events.into_iter().enumerate();
    events.map(|(at, event)| Given { tag: format!("{prefix}{at}"), ..event }).collect()
}

/// A log, a moment, and another log that is the same before the moment.
fn two_logs() -> impl Strategy<Value = (Vec<Given>, Vec<Given>, i64)> {
    let events = || prop::collection::vec(event(), 1..40);
    (events(), events(), 1_i64..200, prop::collection::vec(0_u8..3, 40), any::<bool>()).prop_map(
        |(events, new, moment, fates, comes_first)| {
            let mut other = Vec::new();
            let (events, new) = (tagged(events, 'a'), tagged(new, 'b'));
            let new: Vec<Given> = new
                .into_iter()
                .map(|event| Given { secs: event.secs.max(moment), ..event })
                .collect();
            if comes_first {
                other.extend(new.iter().cloned());
            }
            for (event, fate) in events.iter().zip(&fates) {
                match fate {
                    _ if event.secs < moment => other.push(event.clone()),
                    0 => other.push(event.clone()),
                    1 => {
                        let tag = format!("x{}", event.tag);
                        other.push(Given { item: (event.item + 1) % 4, tag, ..event.clone() });
                    }
                    _ => {}
                }
            }
            if !comes_first {
                other.extend(new);
            }
            (events, other, moment)
        },
    )
}

/// What came of each impression, by looking at all pairs.
fn clicked(events: &[Given], window_secs: i64) -> BTreeMap<String, bool> {
    let shown: Vec<&Given> = events.iter().filter(|event| event.name == NAMES[0]).collect();
    let mut found: BTreeMap<String, bool> =
        shown.iter().map(|event| (event.tag.clone(), false)).collect();
    for click in events.iter().filter(|event| event.name == NAMES[1]) {
        let answered = shown.iter().rev().enumerate().filter(|(_, shown)| {
            let age = click.secs - shown.secs;
            let is_same = (shown.user, shown.item) == (click.user, click.item);
            let agrees = shown.request == click.request || shown.request * click.request == 0;
            is_same && agrees && (0..=window_secs).contains(&age)
        });
        // The latest; of one moment the last in the file, which is the first of those turned around.
        if let Some((_, shown)) =
            answered.max_by_key(|(turned, shown)| (shown.secs, -(*turned as i64)))
        {
            found.insert(shown.tag.clone(), true);
        }
    }
    found
}

/// Whether each user who met an item on a day bought it in the window after the first event, by looking at all pairs. The last event of all
/// ends the log; what it leaves open is not among them.
fn bought(events: &[Given], window_secs: i64) -> BTreeMap<String, bool> {
    let day = |event: &Given| (1_600_000_000 + event.secs).div_euclid(86_400);
    let end = events.iter().map(|event| event.secs).max().unwrap();
    let is_look =
        |event: &&Given| ["select_promotion", "view_item", "purchase"].contains(&event.name);
    let mut days = BTreeMap::new();
    for event in events.iter().filter(is_look) {
        days.entry((event.user, event.item, day(event))).or_insert(event);
    }
    let rows = days.into_values().filter(|row| row.secs + window_secs <= end);
    let is_bought = |row: &Given| {
        events.iter().any(|event| {
            let is_same = (event.user, event.item) == (row.user, row.item);
            let after = event.secs - row.secs;
            is_same && event.name == "purchase" && after > 0 && after <= window_secs
        })
    };
    rows.map(|row| (row.tag.clone(), is_bought(row))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn no_feature_knows_what_comes_at_its_moment_or_later((one, other, moment) in two_logs()) {
        let of_items = format!("{SHORT}purchase_of = \"item\"\npurchase_window_days = 1\n");
        let tasks = [("click", SHORT), ("conversion", SHORT), ("purchase", SHORT), ("purchase", &*of_items)];
        for (task, log) in tasks {
            let tables = [&one, &other].map(|events| {
                make(&csv(&framed(events), false), &config(task, false, log)).unwrap()
            });
            let found = differences(&tables[0].table(), &tables[1].table(), moment);
            prop_assert!(found.is_empty(), "{task}: {found:?}");
        }
    }

    #[test]
    fn rows_of_users_and_items_are_what_all_pairs_say(events in prop::collection::vec(event(), 1..60)) {
        // Moments a fifth of a day apart, so that days and windows end among them.
        let spread = events.into_iter().map(|event| Given { secs: event.secs * 17_280, ..event });
        let mut events = framed(&tagged(spread.collect(), 'a'));
        events.sort_by_key(|event| event.secs);
        let log = "purchase_of = \"item\"\npurchase_window_days = 2\n";
        let made = make(&csv(&events, false), &config("purchase", false, log)).unwrap();
        let wanted = bought(&events, 2 * 86_400);
        let table = made.table();
        let found: BTreeMap<String, bool> = (0..table.n_rows() as u32)
            .filter(|row| !table.label(*row).is_nan())
            .map(|row| {
                let values = table.row(row);
                let Value::Text(tag) = values.value("tag") else { panic!("no tag") };
                (tag.to_owned(), table.label(row) == 1.0)
            })
            .collect();
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn clicks_are_joined_as_all_pairs_say(events in prop::collection::vec(event(), 1..60)) {
        let events = framed(&tagged(events, 'a'));
        let made = make(&csv(&events, false), &config("click", false, SHORT)).unwrap();
        let table = made.table();
        let wanted = clicked(&events, 60);
        let found: BTreeMap<String, bool> = (0..table.n_rows() as u32)
            .map(|row| {
                let values = table.row(row);
                let Value::Text(tag) = values.value("tag") else { panic!("no tag") };
                (tag.to_owned(), table.label(row) == 1.0)
            })
            .collect();
        prop_assert_eq!(&found, &wanted);
        let join = made.report.join.unwrap();
        prop_assert_eq!(join.n_clicks_joined, wanted.values().filter(|clicked| **clicked).count() as u64);
        prop_assert_eq!(join.n_clicks_joined + join.n_clicks_again + join.n_clicks_alone, join.n_clicks);
    }
}

#[test]
fn a_planted_column_that_knows_the_future_is_found() {
    let events = [
        given(1, 1, "view_promotion", 10),
        given(1, 1, "select_promotion", 20),
        given(1, 2, "view_promotion", 30),
    ];
    let later = [&events[..], &[given(2, 1, "select_promotion", 40)]].concat();
    let planted = |events: &[Given]| {
        make(&csv(&framed(events), true), &config("click", true, SHORT)).unwrap()
    };
    let found = differences(&planted(&events).table(), &planted(&later).table(), 30);
    assert_eq!(found, ["planted"]);
}

#[test]
fn clicks_go_to_the_latest_impression_in_the_window() {
    let text = "user_id,item_id,event,timestamp,request_id,price,device\n\
                u1,a,view_promotion,1700000000,r1,3,phone\n\
                u1,a,view_promotion,1700000600,r2,3,phone\n\
                u1,a,select_promotion,1700000700,,3,phone\n\
                u1,a,select_promotion,1700000800,,3,phone\n\
                u1,a,purchase,1700000900,,3,phone\n\
                u2,b,view_promotion,1700001000,r3,5,desk\n\
                u2,b,view_promotion,1700001100,r4,5,desk\n\
                u2,b,select_promotion,1700001200,r3,5,desk\n\
                u2,b,select_promotion,1700005000,r3,5,desk\n\
                u3,c,view_promotion,1700200000,r5,7,desk\n\
                u3,c,view_promotion,1700200000,r5,7,desk\n\
                u4,c,view_promotion,1700300000,r6,7,phone\n\
                u1,c,view_promotion,1700990000,r7,7,phone\n\
                u1,c,select_promotion,1700990010,r7,7,phone\n";
    let config = "task = \"click\"\nvalidation = 0.2\ntest = 0.2\n\
                  [log]\nconverted = true\nutc_offset_minutes = 480\nconversion_window_days = 1\n";
    let made = make(text, config).unwrap();
    let table = made.table();
    let label = |name: &str| -> Vec<Option<f64>> {
        let number = |row| match table.row(row).value(name) {
            Value::Number(number) => Some(number),
            _ => None,
        };
        (0..table.n_rows() as u32).map(number).collect()
    };
    // The repeated row is none; the last window is open although its click has come.
    let (no, yes) = (Some(0.0), Some(1.0));
    assert_eq!(label("clicked"), [no, yes, yes, no, no, no, None]);
    let split = &table.manifest.description.split;
    assert!(matches!(split, SampleSplit::Time { .. }), "{split:?}");
    assert_eq!(label("converted"), [no, yes, no, no, no, no, None]);
    let join = made.report.join.unwrap();
    assert_eq!((join.n_repeated, join.n_impressions, join.n_clicks), (1, 7, 5));
    assert_eq!((join.n_clicks_joined, join.n_clicks_again, join.n_clicks_alone), (3, 1, 1));
    assert_eq!((join.n_open, join.n_open_early), (1, 1));
    // What is known of u1 at its last impression.
    let row = table.row(6);
    for (name, want) in [
        ("user_impressions", 2.0),
        ("user_clicks", 2.0),
        ("user_purchases", 1.0),
        ("user_item_impressions", 0.0),
        ("item_impressions", 2.0),
        ("secs_since_purchase", 989_100.0),
        ("price_ratio", 7.0 / 3.0),
        ("session_events", 0.0),
        // 2 of 2 and 20 at 4 of 6.
        ("user_click_rate", (2.0 + 20.0 * (4.0 / 6.0)) / 22.0),
    ] {
        assert_eq!(row.value(name), Value::Number(want), "{name}");
    }
    assert_eq!(row.value("device"), Value::Text("phone"));
    // 2023-11-26 09:13 UTC is 17:13 of a Sunday in the shop.
    assert_eq!((row.value("hour"), row.value("weekday")), (Value::Text("17"), Value::Text("7")));
    let Value::List(history) = row.value("history") else { panic!("no list") };
    assert_eq!(history, ["a", "a", "a"]);
    let (history, _) = table.columns().find(|(column, _)| column.name == "history").unwrap();
    assert_eq!(history.history_of.as_deref(), Some("item_id"));
    let (group, _) = table.with_role(Role::Group).unwrap();
    assert_eq!((group.name.as_str(), group.kind), ("user_id", ColumnKind::Category));
}

/// A click a day for 100 days, by a user of its own each; every second one converts after five days.
fn delayed() -> String {
    let mut events = Vec::new();
    for day in 0..100_i64 {
        let user = day as u8;
        events.push(given(user, 1, "select_promotion", day * 86_400));
        if day % 2 == 0 {
            events.push(given(user, 1, "purchase", (day + 5) * 86_400));
        }
    }
    events.sort_by_key(|event| event.secs);
    csv(&events, false)
}

#[test]
fn a_part_knows_of_no_conversion_after_its_end() {
    let config =
        "task = \"conversion\"\nvalidation = 0.2\ntest = 0.2\n[log]\nconversion_window_days = 7\n";
    let made = make(&delayed(), &format!("ignore = [\"tag\"]\n{config}")).unwrap();
    let table = made.table();
    let SampleSplit::Time { validation_start_ms, test_start_ms } = table.manifest.description.split
    else {
        panic!("by time")
    };
    let moment = |row: u32| match table.row(row).value("moment") {
        Value::Number(moment) => moment as i64,
        _ => panic!("no moment"),
    };
    let day_ms = 86_400_000;
    // The log ends with the last conversion, on day 103.
    let end_ms = (1_600_000_000 + 103 * 86_400) * 1000 + 1;
    let ends = [validation_start_ms, test_start_ms, end_ms];
    for (part, end_ms) in [Part::Train, Part::Validation, Part::Test].into_iter().zip(ends) {
        let rows = table.rows(part);
        assert!(!rows.is_empty());
        for row in &rows {
            assert!(moment(*row) + 7 * day_ms < end_ms, "{part:?}");
            let is_even = (moment(*row) / 1000 - 1_600_000_000) / 86_400 % 2 == 0;
            assert_eq!(table.label(*row), f64::from(u8::from(is_even)));
        }
        // Neither good nor bad news is left out more often.
        let positive = rows.iter().filter(|row| table.label(**row) == 1.0).count();
        assert!(positive.abs_diff(rows.len() - positive) <= 1, "{positive} of {}", rows.len());
    }
    let join = made.report.join.unwrap();
    assert_eq!((join.n_open, join.n_over_train_end, join.n_over_validation_end), (3, 7, 7));
    assert_eq!(table.manifest.n_open, 17);
    assert!((0..100).all(|row| {
        let is_in = [Part::Train, Part::Validation, Part::Test]
            .iter()
            .any(|part| table.rows(*part).contains(&row));
        is_in != table.label(row).is_nan()
    }));

    let long = "task = \"conversion\"\nignore = [\"tag\"]\n[log]\nconversion_window_days = 30\n";
    let message = make(&delayed(), long).err().unwrap().to_string();
    assert!(message.contains("validation") && message.contains("[samples.log]"), "{message}");
    let longer = long.replace("30", "300");
    let message = make(&delayed(), &longer).err().unwrap().to_string();
    assert!(message.contains("all 100 samples are open"), "{message}");
}

#[test]
fn any_purchase_may_be_the_conversion() {
    let text = "user_id,item_id,event,timestamp\n\
                u1,a,select_promotion,1700000000\n\
                u1,b,select_promotion,1700000100\n\
                u1,a,purchase,1700000200\n\
                u2,c,select_promotion,1700000300\n\
                u3,c,view_item,1702000000\n";
    let labels = |of: &str| {
        let config =
            format!("task = \"conversion\"\nsplit = \"order\"\n[log]\nconversion_of = \"{of}\"\n");
        let table = make(text, &config).unwrap().table();
        (0..3).map(|row| table.label(row)).collect::<Vec<_>>()
    };
    assert_eq!(labels("item"), [1.0, 0.0, 0.0]);
    // The last click has it.
    assert_eq!(labels("any"), [0.0, 1.0, 0.0]);
}

#[test]
fn sessions_are_asked_at_their_kth_event() {
    let text = "user_id,item_id,event,timestamp\n\
                u1,a,view_item,1700000000\n\
                u1,b,view_item,1700000010\n\
                u1,b,purchase,1700000020\n\
                u2,a,view_item,1700001000\n\
                u2,a,view_item,1700001010\n\
                u3,a,view_item,1700002000\n\
                u4,a,purchase,1700003000\n\
                u4,a,view_item,1700003010\n\
                u1,c,view_item,1700004000\n\
                u1,c,add_to_cart,1700004010\n\
                u5,c,view_item,1702000000\n\
                u5,c,view_item,1702000005\n";
    let config = "task = \"purchase\"\nsplit = \"order\"\n[log]\nsession_event = 2\n";
    let made = make(text, config).unwrap();
    let table = made.table();
    let join = made.report.join.unwrap();
    assert_eq!((join.n_sessions, join.n_sessions_short, join.n_sessions_bought), (6, 1, 1));
    let rows: Vec<(String, f64)> = (0..table.n_rows() as u32)
        .map(|row| {
            let values = table.row(row);
            let Value::Text(item) = values.value("item_id") else { panic!("no item") };
            (item.to_owned(), table.label(row))
        })
        .collect();
    let rows: Vec<(&str, f64)> = rows.iter().map(|(item, label)| (item.as_str(), *label)).collect();
    // The last session may go on.
    assert_eq!(rows[..3], [("b", 1.0), ("a", 0.0), ("c", 0.0)]);
    assert!(rows.len() == 4 && rows[3].1.is_nan(), "{rows:?}");
    assert_eq!(table.row(2).value("event"), Value::Text("add_to_cart"));
    assert_eq!(table.row(0).value("session_events"), Value::Number(1.0));
    assert_eq!(table.row(0).value("session_secs"), Value::Number(10.0));
}

#[test]
fn users_are_asked_once_a_day_of_what_they_met() {
    let text = "user_id,item_id,event,timestamp\n\
                u1,a,view_item,1700000000\n\
                u1,a,view_item,1700000100\n\
                u1,a,view_item,1700100000\n\
                u1,b,add_to_cart,1700100000\n\
                u1,,search,1700100050\n\
                u1,a,purchase,1700100100\n\
                u1,a,purchase,1700200000\n\
                u2,a,purchase,1700200000\n\
                u2,b,purchase,1700900000\n\
                u3,a,view_item,1701000000\n";
    let config = "task = \"purchase\"\nsplit = \"order\"\n[log]\npurchase_of = \"item\"\npurchase_window_days = 1\n\
                  history = [\"view_item\", \"add_to_cart\", \"search\", \"purchase\"]\n";
    let made = make(text, config).unwrap();
    let table = made.table();
    let rows: Vec<(String, String, f64)> = (0..table.n_rows() as u32)
        .map(|row| {
            let text = |name: &str| match table.row(row).value(name) {
                Value::Text(text) => text.to_string(),
                _ => panic!("no {name}"),
            };
            (text("item_id"), text("event"), table.label(row))
        })
        .collect();
    let shown = |(item, event, label): &(String, String, f64)| format!("{item} {event} {label}");
    let rows: Vec<String> = rows.iter().map(shown).collect();
    let wanted = [
        "a view_item 0", // bought on the second day after, which is more than a day
        "a view_item 1", // a hundred seconds later
        "b add_to_cart 0",
        "a purchase 0", // what is bought at its moment is known, not predicted
        "a purchase 0", // of u2
        "b purchase 0",
        "a view_item NaN",
    ];
    assert_eq!(rows, wanted);
    let join = made.report.join.unwrap();
    assert_eq!((join.n_met_again, join.n_purchases), (2, 4));
    assert_eq!(
        (join.n_purchases_joined, join.n_purchases_again, join.n_purchases_alone),
        (1, 0, 3)
    );
    // At the second look, the first two are known.
    assert_eq!(table.row(1).value("user_item_looks"), Value::Number(2.0));
}

#[test]
fn attributes_of_items_and_users_stand_beside_the_counters() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("shop");
    fs::create_dir(&input).unwrap();
    let mut events = "user_id,item_id,event,timestamp\n".to_owned();
    for at in 0..60 {
        let (user, item, at_secs) = (at % 4, at % 3, 1_700_000_000 + at * 7000);
        writeln!(events, "u{user},i{item},view_promotion,{at_secs}").unwrap();
        if at % 5 == 0 {
            writeln!(events, "u{user},i{item},select_promotion,{}", at_secs + 5).unwrap();
        }
    }
    fs::write(input.join("events.csv"), events).unwrap();
    let items =
        "item_id,title,category,color,price\ni0,Lamp,home,red,2\ni1,Cup,home|kitchen,blue,4\n";
    fs::write(folder.path().join("goods.csv"), items).unwrap();
    fs::write(folder.path().join("people.csv"), "user_id,city\nu0,Rome\nu1,Oslo\n").unwrap();
    let data = format!(
        "[data]\nitems = {:?}\nusers = {:?}\n",
        folder.path().join("goods.csv"),
        folder.path().join("people.csv")
    );
    import_with(&input.join("events.csv"), &data, &folder.path().join("log"), 2).unwrap();
    let config =
        "task = \"click\"\nignore = [\"user_events\", \"hour\"]\n[log]\nhistory_length = 0\n";
    let report = prepare(folder.path(), config, 2, 1 << 30).unwrap();
    let made = Made { folder, report };
    let table = made.table();
    let names: Vec<&str> = table.columns().map(|(column, _)| column.name.as_str()).collect();
    for name in
        ["item.color", "item.category", "item.price", "user.city", "price", "user_category_looks"]
    {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    for name in ["item.title", "user_events", "hour", "history", "user_purchases"] {
        assert!(!names.contains(&name), "{name}: {names:?}");
    }
    let row = table.row(57); // u1, i0
    assert_eq!(row.value("item.color"), Value::Text("red"));
    assert_eq!(row.value("user.city"), Value::Text("Oslo"));
    assert_eq!(row.value("price"), Value::Number(2.0));
    assert_eq!(table.row(2).value("item.color"), Value::Missing); // i2 stands in no catalog
    assert_eq!(table.row(1).value("item.category"), {
        Value::List(vec!["home".into(), "kitchen".into()])
    });
}

#[test]
fn threads_and_memory_do_not_change_a_byte() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("events.csv");
    let mut events = Vec::new();
    for at in 0..20_000_u32 {
        let (user, item) = ((at * 7 % 251) as u8, (at * 13 % 41) as u8);
        let secs = i64::from(at / 3) * 11;
        events.push(given(user, item, NAMES[(at as usize * 5 / 3) % 4], secs));
    }
    fs::write(&input, csv(&events, false)).unwrap();
    import_with(&input, "", &folder.path().join("log"), 2).unwrap();
    let config = "task = \"click\"\nignore = [\"tag\"]\n";
    let mut found = Vec::new();
    for (n_threads, memory) in [(1, 64 << 20), (2, 1 << 30), (5, 200 << 20)] {
        prepare(folder.path(), config, n_threads, memory).unwrap();
        found.push(bytes(&folder.path().join("out")));
    }
    assert!(found[0] == found[1] && found[1] == found[2]);
}

#[test]
fn what_a_log_lacks_is_said_with_what_it_has() {
    let text =
        "user_id,item_id,event,timestamp\nu1,a,view_item,1700000000\nu1,a,purchase,1700000010\n";
    let refused = |config: &str| make(text, config).err().unwrap();
    let error = refused("task = \"click\"");
    assert!(error.is_data_invalid());
    let message = error.to_string();
    for part in ["view_promotion", "purchase (1), view_item (1)", "samples.log.impressions"] {
        assert!(message.contains(part), "{message}");
    }
    let message = refused("task = \"conversion\"").to_string();
    assert!(message.contains("samples.log.clicks"), "{message}");
    let message = refused("task = \"purchase\"").to_string();
    assert!(message.contains("samples.log.session_event"), "{message}");
    for (config, key) in [
        ("label = \"x\"", "samples.label"),
        ("time = \"x\"", "samples.time"),
        ("task = \"purchase\"\n[log]\nsession_event = 0", "samples.log.session_event"),
    ] {
        let error = refused(config);
        assert!(error.is_usage() && error.to_string().contains(key), "{error}");
    }
    let clicks = "user_id,item_id,event,timestamp\nu1,a,view_promotion,1700000000\nu1,a,select_promotion,1700000010\n\
                  u1,a,view_promotion,1700009000\nu1,a,view_promotion,1700019000\nu1,a,view_item,1700990000\n";
    for (config, key) in [
        ("split = \"order\"\nposition = \"slot\"", "samples.position"),
        ("split = \"order\"\nignore = [\"colour\"]", "samples.ignore"),
        ("split = \"order\"\ncolumns = { colour = \"number\" }", "samples.columns"),
    ] {
        let error = make(clicks, config).err().unwrap();
        assert!(error.is_usage() && error.to_string().contains(key), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let error = prepare(folder.path(), "", 1, 1 << 30).unwrap_err();
    assert!(matches!(error, PrepareError::NotALog { .. }), "{error}");
    let ordered = "user_id,item_id,event\nu1,a,view_promotion\nu1,a,select_promotion\n";
    fs::write(folder.path().join("events.csv"), ordered).unwrap();
    let config = "[data]\norder_only = true\n";
    import_with(&folder.path().join("events.csv"), config, &folder.path().join("log"), 1).unwrap();
    let error = prepare(folder.path(), "", 1, 1 << 30).unwrap_err();
    assert!(error.to_string().contains("no times"), "{error}");
}
