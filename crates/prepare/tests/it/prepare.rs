//! From an event log to a dataset: the protocols, the traps, and what must hold for any log.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use forecart_data::{
    Dataset, EventOrder, ItemIdx, Manifest, Part, Protocol, SeenItems, Silent, UserIdx,
};
use forecart_prepare::log::{FORMAT, FORMAT_VERSION};
use forecart_prepare::{
    LogManifest, PrepareConfig, PrepareError, RawPrepareConfig, RawSplitConfig, Resources, prepare,
};
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;

/// One row of a log; further columns are filled by name.
#[derive(Debug, Clone, Default)]
struct Event {
    user: Option<String>,
    item: String,
    event: String,
    time: i64,
    extra: BTreeMap<&'static str, String>,
}

fn event(user: &str, item: &str, time: i64) -> Event {
    Event {
        user: Some(user.into()),
        item: item.into(),
        event: "view_item".into(),
        time,
        ..Event::default()
    }
}

impl Event {
    fn named(mut self, event: &str) -> Self {
        self.event = event.into();
        self
    }

    fn with(mut self, column: &'static str, value: &str) -> Self {
        self.extra.insert(column, value.into());
        self
    }
}

const NUMBERS: &[&str] = &["value", "quantity", "price"];

/// Writes a log folder as import does. `n_files` parts in one month.
fn write_log(log: &Path, events: &[Event], has_time: bool, n_files: usize) {
    let folder = log.join(if has_time { "events/month=2026-01" } else { "events/month=none" });
    fs::create_dir_all(&folder).unwrap();
    let extra: BTreeSet<_> = events.iter().flat_map(|event| event.extra.keys().copied()).collect();
    let per_file = events.len().div_ceil(n_files).max(1);
    for (part, chunk) in events.chunks(per_file).enumerate() {
        let first = part * per_file;
        let text = |of: &dyn Fn(&Event) -> Option<String>| -> ArrayRef {
            Arc::new(chunk.iter().map(of).collect::<StringArray>())
        };
        let rows = (first..first + chunk.len()).map(|row| row as i64);
        let times: Int64Array = match has_time {
            true => chunk.iter().map(|event| event.time).collect::<Vec<_>>().into(),
            false => rows.clone().collect::<Vec<_>>().into(),
        };
        let mut columns: Vec<(&str, ArrayRef)> = vec![
            ("user_id", text(&|event| event.user.clone())),
            ("item_id", text(&|event| Some(event.item.clone()))),
            ("event", text(&|event| Some(event.event.clone()))),
            ("timestamp", Arc::new(times)),
            ("row_number", Arc::new(rows.collect::<Int64Array>())),
        ];
        for name in &extra {
            let values = |event: &Event| event.extra.get(name).cloned();
            columns.push(match NUMBERS.contains(name) {
                true => {
                    let numbers = chunk.iter().map(|e| values(e).map(|x| x.parse().unwrap()));
                    (name, Arc::new(numbers.collect::<Float64Array>()))
                }
                false => (name, text(&values)),
            });
        }
        write_parquet(&folder.join(format!("part-{part:05}.parquet")), columns);
    }
    let times = events.iter().map(|event| event.time);
    LogManifest {
        format: FORMAT.into(),
        format_version: FORMAT_VERSION,
        forecart_version: "0.0.0".into(),
        data_hash: "00".into(),
        inputs: Vec::new(),
        has_time,
        n_rows: events.len() as u64,
        n_rejected: 0,
        n_guests: 0,
        n_users: 0,
        n_items: 0,
        counts_are_exact: true,
        time_range_ms: times.clone().min().zip(times.max()).filter(|_| has_time),
        events: Vec::new(),
        columns: Vec::new(),
        extra_columns: Vec::new(),
        rejected: Vec::new(),
        warnings: Vec::new(),
        decisions: Vec::new(),
    }
    .write(log)
    .unwrap();
}

fn write_parquet(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let nullable = columns.into_iter().map(|(name, array)| (name, array, true));
    let batch = RecordBatch::try_from_iter_with_nullable(nullable).unwrap();
    let file = fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

struct Prepared {
    root: tempfile::TempDir,
    manifest: Manifest,
}

impl Prepared {
    fn open(&self) -> Dataset {
        let dataset = Dataset::open(&self.root.path().join("dataset")).unwrap();
        dataset.verify().unwrap();
        dataset
    }
}

/// `toml` has the keys of `[prepare]`, then a line `[split]` and its keys.
fn config(toml: &str) -> PrepareConfig {
    let (raw, split) = toml.split_once("[split]").unwrap_or((toml, ""));
    let raw: RawPrepareConfig = toml::from_str(raw).unwrap();
    let split: RawSplitConfig = toml::from_str(split).unwrap();
    PrepareConfig::new(raw, split).unwrap()
}

fn resources(root: &Path, n_threads: usize) -> Resources {
    let memory_limit_bytes = Some(256 << 20);
    Resources { memory_limit_bytes, n_threads, scratch: root.join("scratch") }
}

fn try_run(toml: &str, events: &[Event], has_time: bool) -> Result<Prepared, PrepareError> {
    let root = tempfile::tempdir().unwrap();
    let log = root.path().join("log");
    write_log(&log, events, has_time, 1);
    let out = root.path().join("dataset");
    let resources = resources(root.path(), 2);
    let manifest = prepare(&log, &config(toml), &out, &resources, &Silent)?;
    check_steps(&manifest, events.len());
    Ok(Prepared { root, manifest })
}

fn run(toml: &str, events: &[Event], has_time: bool) -> Prepared {
    try_run(toml, events, has_time).unwrap()
}

/// No row is lost without a reason, and no step brings users or items back.
fn check_steps(manifest: &Manifest, n_rows: usize) {
    let mut n = n_rows as u64;
    let mut left = (u64::MAX, u64::MAX);
    for step in &manifest.description.steps {
        let dropped: u64 = step.reasons.iter().map(|reason| reason.n_rows).sum();
        assert_eq!((step.n_rows_in, step.n_rows_out), (n, n - dropped), "{}", step.step);
        n = step.n_rows_out;
        // Users become sessions here, as many or more.
        let n_users = if step.step == "sessions" { u64::MAX } else { left.0 };
        assert!(step.n_users <= n_users && step.n_items <= left.1, "{step:?} after {left:?}");
        left = (step.n_users, step.n_items);
    }
    assert_eq!(n, manifest.counts.n_events);
    assert_eq!(left.0, manifest.counts.n_users);
    if manifest.description.protocol == Protocol::LooFull {
        assert_eq!(left.1, manifest.counts.n_items);
    }
}

fn texts(dataset: &Dataset, items: &[ItemIdx]) -> Vec<String> {
    items.iter().map(|item| dataset.items.text(item.0).to_owned()).collect()
}

fn user(dataset: &Dataset, id: &str) -> UserIdx {
    UserIdx(dataset.users.index(id).unwrap_or_else(|| panic!("no user {id}")))
}

/// Items of the user's training, validation and test part.
fn parts(dataset: &Dataset, id: &str) -> [Vec<String>; 3] {
    let user = user(dataset, id);
    [Part::Train, Part::Validation, Part::Test]
        .map(|part| texts(dataset, dataset.events_in(user, part).items))
}

fn owned<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).into()
}

const LOO: &str = "[split]\nkind = \"loo-full\"";

#[test]
fn loo_full_takes_the_last_two_and_leaves_short_users_to_training() {
    let events: Vec<_> = [("a", "1"), ("a", "2"), ("b", "9"), ("b", "2"), ("a", "3"), ("a", "1")]
        .map(|(user, item)| event(user, item, 0))
        .into();
    let prepared = run(LOO, &events, false);
    let dataset = prepared.open();
    assert_eq!(parts(&dataset, "a"), [owned(["1", "2"]), owned(["3"]), owned(["1"])]);
    assert_eq!(parts(&dataset, "b"), [owned(["9", "2"]), vec![], vec![]]);
    // Trap: the model must not be trained on the validation item.
    assert_eq!(dataset.items.count(dataset.items.index("3").unwrap()), 0);
    assert_eq!(dataset.manifest.counts.n_train, 4);
    // Trap: the item universe is that of the file, items of validation and test included.
    assert_eq!(dataset.items.n_known(), 4);
    // Items by training count, then id; users as they appear in the file.
    let items: Vec<_> = dataset.items.iter().map(|(_, text, count)| (text, count)).collect();
    assert_eq!(items, [("2", 2), ("1", 1), ("9", 1), ("3", 0)]);
    assert_eq!(dataset.users.text(1), "a");
    assert!(dataset.sequences.timestamps_ms.is_empty());
    assert_eq!(dataset.manifest.description.protocol, Protocol::LooFull);
}

#[test]
fn users_and_their_events_stay_in_the_files_order_when_there_are_no_times() {
    // As the sequence files have them: ids that would sort otherwise, repeats that stay.
    let events: Vec<_> = [("10", "5"), ("10", "5"), ("10", "4"), ("9", "7"), ("2", "5")]
        .map(|(user, item)| event(user, item, 0))
        .into();
    let dataset = run(LOO, &events, false).open();
    let users: Vec<_> = dataset.users.iter().map(|(_, id, _)| id.to_owned()).collect();
    assert_eq!(users, ["10", "9", "2"]);
    assert_eq!(parts(&dataset, "10").concat(), ["5", "5", "4"]);
}

#[test]
fn tied_times_keep_the_files_order_and_order_file_ignores_times() {
    let events: Vec<_> = [("d", 5), ("c", 5), ("b", 5), ("a", 5), ("z", 1)]
        .map(|(item, time)| event("u", item, time))
        .into();
    let dataset = run(LOO, &events, true).open();
    assert_eq!(parts(&dataset, "u").concat(), ["z", "d", "c", "b", "a"]);
    assert_eq!(dataset.sequences.timestamps_ms[..], [1, 5, 5, 5, 5]);
    assert_eq!(dataset.manifest.description.order, EventOrder::Time);
    let by_file = run(&format!("{LOO}\norder = \"file\""), &events, true).open();
    assert_eq!(parts(&by_file, "u").concat(), ["d", "c", "b", "a", "z"]);
    assert_eq!(by_file.sequences.timestamps_ms[..], [5, 5, 5, 5, 1]);
    assert_eq!(by_file.manifest.description.order, EventOrder::File);
}

#[test]
fn a_split_by_days_puts_new_items_into_the_unknown_bucket_and_keeps_cold_users() {
    const DAY: i64 = 86_400_000;
    let events = [
        event("a", "old", 0),
        event("a", "old", DAY),
        event("a", "mid", 8 * DAY),
        event("a", "new", 9 * DAY + 1),
        event("cold", "old", 10 * DAY),
    ];
    let prepared = run("[split]\ntest_days = 1\nvalidation_days = 2", &events, true);
    let dataset = prepared.open();
    let unknown = String::new();
    assert_eq!(parts(&dataset, "a"), [owned(["old", "old"]), vec![unknown.clone()], vec![unknown]]);
    assert_eq!(parts(&dataset, "cold"), [vec![], vec![], owned(["old"])]);
    assert_eq!(dataset.items.n_known(), 1);
    assert_eq!(dataset.manifest.counts.n_unknown_targets, 2);
    assert_eq!(dataset.history_before(user(&dataset, "cold"), Part::Test).items, []);
    let protocol = &dataset.manifest.description.protocol;
    let (validation_start_ms, test_start_ms) = (7 * DAY + 1, 9 * DAY + 1);
    assert_eq!(*protocol, Protocol::GlobalTime { validation_start_ms, test_start_ms });
}

#[test]
fn a_ratio_cuts_at_quantiles_of_the_events_times() {
    let events: Vec<_> = (0..10).map(|i| event(&format!("u{}", i % 2), "x", i * 7)).collect();
    let counts = run("[split]\nratio = [0.6, 0.2, 0.2]", &events, true).manifest.counts;
    assert_eq!((counts.n_train, counts.n_validation, counts.n_test), (6, 2, 2));
    // All at one moment: nothing is left for training, and that is said.
    let same: Vec<_> = (0..10).map(|i| event("u", &i.to_string(), 7)).collect();
    let error = try_run("", &same, true).err().unwrap();
    assert!(matches!(error, PrepareError::Unusable { step: "prepare split", .. }), "{error}");
}

#[test]
fn sessions_are_whole_and_keep_their_repeats() {
    const HOUR: i64 = 3_600_000;
    let click =
        |session: &str, item: &str, time| event("u", item, time).with("session_id", session);
    let events = [
        click("s1", "a", 0),
        click("s1", "a", 1),
        click("s1", "b", 2),
        click("s2", "a", 30 * HOUR),
        click("s2", "c", 30 * HOUR + 1),
        click("s3", "b", 60 * HOUR),
    ];
    let dataset = run("[split]\nkind = \"session\"", &events, true).open();
    // Trap: repeats in a session stay (and are not masked).
    assert_eq!(parts(&dataset, "s1"), [owned(["a", "a", "b"]), vec![], vec![]]);
    assert_eq!(parts(&dataset, "s2"), [vec![], vec!["a".into(), String::new()], vec![]]);
    assert_eq!(parts(&dataset, "s3"), [vec![], vec![], owned(["b"])]);
    assert_eq!(dataset.manifest.description.seen, SeenItems::Keep);
}

#[test]
fn without_session_ids_a_pause_ends_a_session() {
    const HOUR: i64 = 3_600_000;
    let events = [
        event("u", "a", 0),
        event("v", "a", 1),
        event("u", "a", 60_000),
        event("u", "b", 30 * HOUR),
        event("u", "c", 31 * HOUR),
        event("u#1", "b", 60 * HOUR),
    ];
    let prepared = run("[split]\nkind = \"session\"", &events, true);
    let dataset = prepared.open();
    // Each user's sessions side by side, users in the order of the file.
    let sessions: Vec<_> = dataset.users.iter().map(|(_, id, _)| id).collect();
    assert_eq!(sessions, ["u#1", "u#2", "u#3", "v#1", "u#1#1"]);
    assert_eq!(parts(&dataset, "u#1"), [owned(["a", "a"]), vec![], vec![]]);
    assert_eq!(parts(&dataset, "u#2")[1].len(), 1);
    assert_eq!(parts(&dataset, "u#1#1"), [vec![], vec![], owned([""])]);
    assert_eq!(dataset.sequences.sessions[..], [0; 6]);
    let protocol = |prepared: &Prepared| prepared.manifest.description.protocol.clone();
    assert_eq!(protocol(&prepared), Protocol::Session { gap_minutes: Some(30) });
    let longer = run("session_gap_minutes = 60\n[split]\nkind = \"session\"", &events, true);
    assert_eq!(longer.manifest.counts.n_users, 4);
    assert_eq!(protocol(&longer), Protocol::Session { gap_minutes: Some(60) });
    let with_ids = events.map(|event| {
        let id = event.user.clone().unwrap();
        event.with("session_id", &id)
    });
    let by_id = run("[split]\nkind = \"session\"\nvalidation_days = 0", &with_ids, true);
    assert_eq!(protocol(&by_id), Protocol::Session { gap_minutes: None });
}

#[test]
fn a_user_of_both_logs_has_sessions_in_both() {
    let root = tempfile::tempdir().unwrap();
    let (train, test) = (root.path().join("train"), root.path().join("test"));
    write_log(&train, &[event("u", "a", 0), event("u", "b", 1)], true, 1);
    write_log(&test, &[event("u", "b", 9), event("u", "a", 10)], true, 1);
    let toml = format!("[split]\nkind = \"session\"\nvalidation_days = 0\ntest_log = {test:?}");
    let out = root.path().join("dataset");
    prepare(&train, &config(&toml), &out, &resources(root.path(), 2), &Silent).unwrap();
    let dataset = Dataset::open(&out).unwrap();
    assert_eq!(parts(&dataset, "u#1"), [owned(["a", "b"]), vec![], vec![]]);
    assert_eq!(parts(&dataset, "u#test-1"), [vec![], vec![], owned(["b", "a"])]);
    fs::remove_dir_all(&test).unwrap();
    write_log(&test, &[event("u", "b", 9).with("session_id", "s")], true, 1);
    let error = prepare(&train, &config(&toml), &out, &resources(root.path(), 2), &Silent);
    assert!(error.unwrap_err().to_string().contains("one of the two logs has session ids"));
}

#[test]
fn a_test_log_gives_the_test_sessions_and_must_not_share_any() {
    let root = tempfile::tempdir().unwrap();
    let (train, test) = (root.path().join("train"), root.path().join("test"));
    let event =
        |session: &str, item: &str, time| event("u", item, time).with("session_id", session);
    write_log(&train, &[event("1", "a", 0), event("1", "b", 1), event("2", "a", 2)], true, 1);
    write_log(&test, &[event("3", "b", 0), event("3", "z", 1)], true, 1);
    let toml = format!("[split]\nkind = \"session\"\nvalidation_days = 0\ntest_log = {test:?}");
    let out = root.path().join("dataset");
    let manifest =
        prepare(&train, &config(&toml), &out, &resources(root.path(), 2), &Silent).unwrap();
    check_steps(&manifest, 5);
    let dataset = Dataset::open(&out).unwrap();
    assert_eq!(parts(&dataset, "1")[0], ["a", "b"]);
    assert_eq!(parts(&dataset, "3"), [vec![], vec![], vec!["b".into(), String::new()]]);
    // No path reaches the manifest.
    let text = fs::read_to_string(out.join("manifest.json")).unwrap();
    assert!(!text.contains(root.path().to_str().unwrap()));
    fs::remove_dir_all(&test).unwrap();
    write_log(&test, &[event("2", "b", 9)], true, 1);
    let error = prepare(&train, &config(&toml), &out, &resources(root.path(), 2), &Silent);
    assert!(error.unwrap_err().to_string().contains("\"2\" is in the log and in the test log"));
    Dataset::open(&out).unwrap(); // the older dataset stands as it was
}

#[test]
fn order_lines_are_cleaned_step_by_step() {
    let line = |user: &str, item: &str, order: &str, quantity: &str, time| {
        event(user, item, time)
            .named(if quantity.starts_with('-') { "refund" } else { "purchase" })
            .with("order_id", order)
            .with("quantity", quantity)
    };
    let mut events = vec![
        line("a", "100", "o1", "2", 0),
        line("a", "100", "o1", "2", 0),  // a duplicate
        line("a", "100", "o1", "1", 0),  // another line of the same order
        line("a", "POST", "o1", "1", 0), // postage
        line("a", "200", "o2", "5", 10),
        line("a", "200", "c1", "-5", 20), // cancels it
        line("a", "300", "c2", "-1", 30), // nothing to cancel
        line("a", "400", "o3", "1", 40),
        line("b", "100", "o4", "1", 50),
    ];
    events.push(Event { user: None, ..line("", "100", "o5", "1", 60) });
    let prepared = run("[split]\nkind = \"loo-full\"", &events, true);
    let dataset = prepared.open();
    assert_eq!(parts(&dataset, "a").concat(), ["100", "400"]);
    let users_and_items: Vec<_> = prepared
        .manifest
        .description
        .steps
        .iter()
        .map(|step| (step.step.as_str(), step.n_users, step.n_items))
        .collect();
    let want = [
        ("time window", 2, 5),
        ("events", 2, 5),
        ("missing users", 2, 5),
        ("duplicates", 2, 5),
        ("non-products", 2, 4),  // without POST
        ("cancellations", 2, 2), // nor what came back
        ("repeats", 2, 2),
    ];
    assert_eq!(users_and_items, want);
    let dropped: BTreeMap<_, _> = prepared
        .manifest
        .description
        .steps
        .iter()
        .flat_map(|step| &step.reasons)
        .map(|reason| (reason.reason.as_str(), reason.n_rows))
        .collect();
    let want = [
        ("another line of the item in the same order", 1),
        ("equal to an earlier row in every column", 1),
        ("item is no product", 1),
        ("no user (a guest)", 1),
        ("purchase that was cancelled", 1),
        ("refund of a whole purchase", 1),
        ("refund without a purchase before it", 1),
    ];
    assert_eq!(dropped, BTreeMap::from(want));
}

#[test]
fn repeated_event_ids_are_one_event_even_of_different_moments() {
    let events = [
        event("a", "1", 5).with("event_id", "x"),
        event("a", "1", 9).with("event_id", "x"), // sent again later
        event("a", "1", 9).with("event_id", "y"),
        event("a", "2", 9),
        event("a", "3", 9),
    ];
    let prepared = run(LOO, &events, true);
    assert_eq!(parts(&prepared.open(), "a").concat(), ["1", "1", "2", "3"]);
    let all = run(&format!("drop_duplicates = false\n{LOO}"), &events, true);
    assert_eq!(all.manifest.counts.n_events, 5);
}

#[test]
fn a_difference_in_any_column_is_no_duplicate() {
    let seen = |page: &str| event("a", "1", 5).with("page", page);
    let events = [seen("x"), seen("y"), seen("x"), event("a", "1", 5), seen("")];
    assert_eq!(run(LOO, &events, true).manifest.counts.n_events, 4);
}

#[test]
fn only_the_chosen_events_and_the_window_are_kept() {
    let events = [
        event("a", "1", 0),
        event("a", "2", 1).named("purchase"),
        event("a", "3", 2).named("search"),
        event("a", "4", 3).named("zoom_picture"),
        event("a", "5", 86_400_000 * 3),
    ];
    let by_default = run(LOO, &events, true).open();
    assert_eq!(parts(&by_default, "a").concat(), ["1", "2", "4", "5"]);
    // Event names by training count, then name: view_item once, purchase once.
    assert_eq!(by_default.event_names.text(1), "purchase");
    let chosen = run(&format!("events = [\"purchase\", \"search\"]\n{LOO}"), &events, true).open();
    assert_eq!(parts(&chosen, "a").concat(), ["2", "3"]);
    let window = run(&format!("to = \"1970-01-01\"\n{LOO}"), &events, true).open();
    assert_eq!(parts(&window, "a").concat(), ["1", "2", "4"]);
    let newest = run(&format!("last_days = 1\n{LOO}"), &events, true).open();
    assert_eq!(parts(&newest, "a").concat(), ["5"]);
    let error = try_run(&format!("events = [\"no such\"]\n{LOO}"), &events, true).err().unwrap();
    assert!(error.to_string().contains("no event is left"), "{error}");
}

#[test]
fn a_k_core_on_training_events_leaves_the_test_part_whole() {
    let mut events: Vec<_> = (0..4)
        .flat_map(|i| [event(&format!("u{i}"), "hit", i), event(&format!("u{i}"), "b", i)])
        .collect();
    events.push(event("u0", "rare", 5));
    events.push(event("u0", "rare", 100));
    events.push(event("u1", "hit", 100));
    let toml = "min_item_events = 2\n[split]\ntest_start = \"1970-01-01T00:00:00.1Z\"";
    let train = run(toml, &events, true);
    // The rare item is gone from training; in the test part it is an unknown target.
    assert_eq!(train.manifest.counts.n_test, 2);
    assert_eq!(train.manifest.counts.n_unknown_targets, 1);
    assert_eq!(train.manifest.counts.n_train, 8);
    let all = run(&format!("k_core_on = \"all\"\n{toml}"), &events, true);
    // Counted over everything it stands twice, and stays.
    assert_eq!(all.manifest.counts.n_train, 9);
}

#[test]
fn values_are_those_of_the_log_else_the_units_that_did_not_come_back_else_one() {
    let bought = |item: &str, quantity: &str, time| {
        event("a", item, time).named("purchase").with("quantity", quantity)
    };
    let mut events = vec![
        event("a", "1", 0).with("value", "4.5"),
        event("a", "2", 1),
        bought("3", "12", 2),
        bought("4", "10", 3).with("value", "40"),
    ];
    let values = |events: &[Event]| run(LOO, events, true).open().sequences.values.to_vec();
    assert_eq!(values(&events), [4.5, 1.0, 12.0, 40.0]);
    events.push(bought("3", "-5", 5).named("refund"));
    events.push(bought("4", "-5", 6).named("refund"));
    assert_eq!(values(&events), [4.5, 1.0, 7.0, 20.0]);
}

#[test]
fn catalog_columns_are_encoded_by_what_occurs_in_training() {
    let root = tempfile::tempdir().unwrap();
    let log = root.path().join("log");
    let events: Vec<_> = (0..6).map(|i| event("a", &format!("i{}", i % 3), i)).collect();
    write_log(&log, &[&events[..], &[event("b", "late", 100)]].concat(), true, 1);
    let text = |texts: [Option<&str>; 5]| -> ArrayRef {
        Arc::new(texts.into_iter().collect::<StringArray>())
    };
    let prices = [Some(1.0), Some(3.0), None, Some(1000.0), Some(5.0)];
    write_parquet(
        &log.join("items.parquet"),
        vec![
            ("item_id", text([Some("i0"), Some("i1"), Some("i2"), Some("late"), Some("unused")])),
            ("title", text([Some("Lamp"), None, Some("杯子"), None, None])),
            ("category", text([Some("x|y"), Some("x"), None, Some("z"), None])),
            ("price", Arc::new(prices.into_iter().collect::<Float64Array>())),
        ],
    );
    let toml = r#"
        item_features.columns = [
            { kind = "numeric", column = "price", steps = ["standardize"] },
            { kind = "multi_hot", column = "category", separator = "|" },
        ]
        [split]
        test_start = "1970-01-01T00:00:00.1Z"
    "#;
    let out = root.path().join("dataset");
    prepare(&log, &config(toml), &out, &resources(root.path(), 1), &Silent).unwrap();
    let dataset = Dataset::open(&out).unwrap();
    let item = |id: &str| dataset.items.index(id).unwrap() as usize;
    assert_eq!(dataset.titles.get(item("i2")), "杯子");
    // Mean 2 and spread 1 of the training items; the price of 1000 was not seen.
    let features = &dataset.item_features;
    assert_eq!(features.dense_row(item("i1")), [1.0, 0.0]);
    assert_eq!(features.dense_row(item("i2")), [0.0, 1.0]);
    let active = |row: usize| -> Vec<&str> {
        let names = features.sparse_row(row).iter().map(|i| &features.names.sparse[*i as usize]);
        names.map(String::as_str).collect()
    };
    assert_eq!(active(item("i0")), ["category=x", "category=y"]);
    assert_eq!(active(item("i2")), ["category=<missing>"]);
    assert!(!features.names.sparse.contains(&"category=z".to_owned()));
    assert_eq!(active(0), ["category=<missing>"]);
    // Serving encodes with the same object.
    let request = serde_json::json!({"price": 3.0, "category": "z"});
    let encoded = dataset.encoders.encode(request.as_object().unwrap());
    assert_eq!(encoded.dense, features.dense_row(item("i1")));
    assert_eq!(features.names.sparse[encoded.sparse[0] as usize], "category=<unknown>");
}

#[test]
fn items_of_the_catalog_belong_to_the_dataset_where_they_are_wanted() {
    let root = tempfile::tempdir().unwrap();
    let log = root.path().join("log");
    let events: Vec<_> = (0..6).map(|i| event("a", &format!("i{}", i % 2), i)).collect();
    write_log(&log, &[&events[..], &[event("b", "late", 100)]].concat(), true, 1);
    let text = |texts: [&str; 5]| -> ArrayRef {
        Arc::new(texts.into_iter().map(Some).collect::<StringArray>())
    };
    let toml = r#"
        non_product_codes = ["fee*"]
        new_items = true
        [split]
        test_start = "1970-01-01T00:00:00.1Z"
    "#;
    let out = root.path().join("dataset");
    let run = |toml: &str| prepare(&log, &config(toml), &out, &resources(root.path(), 1), &Silent);
    let error = run(toml).unwrap_err().to_string();
    assert!(error.contains("new_items") && error.contains("no item catalog"), "{error}");
    write_parquet(
        &log.join("items.parquet"),
        vec![
            ("item_id", text(["i1", "new", "fee1", "late", "new"])),
            ("title", text(["Lamp", "Mug", "Fee", "Bowl", "Other"])),
        ],
    );
    run(toml).unwrap();
    let dataset = Dataset::open(&out).unwrap();
    let items: Vec<_> = dataset.items.iter().map(|(_, text, count)| (text, count)).collect();
    assert_eq!(items, [("i0", 3), ("i1", 3), ("late", 0), ("new", 0)]);
    assert_eq!(dataset.titles.get(4), "Mug");
    // The event of the test part is of a known item now.
    assert_eq!(dataset.manifest.counts.n_unknown_targets, 0);
    run(&toml.replace("new_items = true", "")).unwrap();
    let dataset = Dataset::open(&out).unwrap();
    assert_eq!(dataset.items.n_known(), 2);
    assert_eq!(dataset.manifest.counts.n_unknown_targets, 1);
}

#[test]
fn settings_that_do_not_fit_the_log_are_refused() {
    let events = [event("a", "1", 0), event("a", "2", 1), event("a", "3", 2)];
    for toml in ["", "last_days = 3\n[split]\nkind = \"loo-full\"", "[split]\nkind = \"session\""] {
        let error = try_run(toml, &events, false).err().unwrap();
        assert!(error.is_usage() && error.to_string().contains("no times"), "{toml}: {error}");
    }
    let toml =
        format!("item_features.columns = [{{ kind = \"one_hot\", column = \"brand\" }}]\n{LOO}");
    assert!(try_run(&toml, &events, true).err().unwrap().is_usage());
    let missing = PathBuf::from("/no/such/log");
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("d");
    let error = prepare(&missing, &config(LOO), &out, &resources(root.path(), 1), &Silent);
    assert!(matches!(error, Err(PrepareError::NotALog { .. })));
    assert!(!out.exists());
}

fn random_log() -> impl Strategy<Value = Vec<Event>> {
    let one = (0u8..6, 0u8..8, 0i64..40, 0u8..5, prop::option::of(0u8..3), -2i8..4);
    prop::collection::vec(one, 1..80).prop_map(|rows| {
        let event = |(user, item, time, name, id, quantity)| {
            let mut event = event(&format!("u{user}"), &format!("i{item}"), time * 3_600_000)
                .named(["purchase", "purchase", "view_item", "refund", "search"][usize::from(name)])
                .with("quantity", &i8::to_string(&quantity));
            if let Some(id) = id {
                event = event.with("order_id", &u8::to_string(&id));
            }
            if user == 5 {
                event.user = None;
            }
            event
        };
        rows.into_iter().map(event).collect()
    })
}

const KINDS: [&str; 5] = [
    "[split]\nkind = \"loo-full\"",
    "[split]\nratio = [0.5, 0.25, 0.25]",
    "[split]\ntest_days = 1\nvalidation_days = 1",
    "[split]\nkind = \"session\"",
    "[split]\nkind = \"loo-full\"\norder = \"file\"",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_row_has_a_reason_and_every_training_event_is_before_every_test_event(
        events in random_log(), kind in 0..KINDS.len(), min in 1u32..3, on in 0usize..2,
        merge: bool, cap in prop::option::of(3u32..9),
    ) {
        let on = ["train", "all"][on];
        let cap = cap.map_or(String::new(), |cap| format!("max_user_events = {cap}\n"));
        let toml = format!(
            "min_user_events = {min}\nmin_item_events = {min}\nk_core_on = \"{on}\"\n\
             merge_consecutive = {merge}\n{cap}{}", KINDS[kind],
        );
        // `try_run` checks the steps.
        let prepared = match try_run(&toml, &events, true) {
            Ok(prepared) => prepared,
            Err(PrepareError::Unusable { .. }) => return Ok(()),
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        let dataset = prepared.open();
        let times = |part: Part| -> Vec<i64> {
            let of = |user| dataset.events_in(user, part).timestamps_ms.iter().copied();
            dataset.user_indices().flat_map(of).collect()
        };
        if kind == 1 || kind == 2 {
            let [train, validation, test] =
                [Part::Train, Part::Validation, Part::Test].map(times);
            let (train, test_start) = (train.iter().max(), test.iter().min());
            for (before, after) in [(train, validation.iter().min()),
                (validation.iter().max(), test_start), (train, test_start)] {
                if let (Some(before), Some(after)) = (before, after) {
                    prop_assert!(before < after);
                }
            }
        }
        // Vocabularies count training events and nothing else.
        let counted: u64 = dataset.items.iter().map(|(_, _, count)| count).sum();
        prop_assert_eq!(counted + dataset.items.count(0), dataset.manifest.counts.n_train);
        for user in dataset.user_indices() {
            let train = dataset.events_in(user, Part::Train).items.len() as u64;
            prop_assert_eq!(dataset.users.count(user.0), train);
            let sessions = &dataset.sequences.sessions[dataset.sequences.range(user)];
            prop_assert_eq!(sessions.first(), Some(&0));
        }
    }

    #[test]
    fn threads_and_files_change_no_byte(events in random_log(), kind in 0..KINDS.len()) {
        let root = tempfile::tempdir().unwrap();
        let manifests: Vec<_> = [(1, 1), (2, 1), (3, 4)]
            .into_iter()
            .map(|(n_threads, n_files)| {
                let log = root.path().join(format!("log{n_files}"));
                write_log(&log, &events, true, n_files);
                let out = root.path().join(format!("out{n_threads}"));
                let resources = resources(root.path(), n_threads);
                let result = prepare(&log, &config(KINDS[kind]), &out, &resources, &Silent);
                // The manifest has the hash of every file.
                result.map(|_| fs::read(out.join("manifest.json")).unwrap())
                    .map_err(|error| error.to_string())
            })
            .collect();
        prop_assert_eq!(&manifests[0], &manifests[1]);
        prop_assert_eq!(&manifests[0], &manifests[2]);
    }
}

#[test]
fn one_event_is_held_out_among_others() {
    let events: Vec<Event> = [
        ("a", "view_item"),
        ("b", "purchase"),
        ("c", "view_item"),
        ("c", "add_to_cart"),
        ("c", "purchase"),
        ("d", "view_item"),
        ("e", "purchase"),
        ("f", "view_item"),
    ]
    .into_iter()
    .zip(1..)
    .map(|((item, name), time)| event("u", item, time).named(name))
    .chain([event("v", "a", 1), event("v", "b", 2)])
    .collect();
    let prepared = run("[split]\nkind = \"loo-full\"\ntarget_event = \"purchase\"", &events, true);
    let dataset = prepared.open();
    assert_eq!(
        parts(&dataset, "u"),
        [owned(["a", "b", "c", "c"]), owned(["c", "d"]), owned(["e", "f"])]
    );
    assert_eq!(parts(&dataset, "v")[0].len(), 2, "who bought nothing is for training");
    let u = user(&dataset, "u");
    let target = |part| texts(&dataset, &dataset.targets(u, part));
    assert_eq!([target(Part::Validation), target(Part::Test)], [owned(["c"]), owned(["e"])]);
    let description = &dataset.manifest.description;
    let event = description.target_event.unwrap();
    assert_eq!(dataset.event_names.text(event.into()), "purchase");
    // What was bought is hidden, what was viewed or put into the cart is not.
    let hidden: Vec<ItemIdx> =
        description.seen.hidden(dataset.history_before(u, Part::Test)).collect();
    assert_eq!(texts(&dataset, &hidden), owned(["b", "c"]));
    let bare = dataset.history_before(u, Part::Test);
    let bare = forecart_data::History { events: &[], ..bare };
    assert_eq!(description.seen.hidden(bare).count(), 6, "where no kinds are known");
}

#[test]
fn a_target_that_does_not_fit_is_named() {
    let events = [event("u", "a", 1), event("u", "b", 2), event("u", "c", 3)];
    let refused = |toml: &str| match try_run(toml, &events, true) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{toml}"),
    };
    let error = refused("[split]\nkind = \"loo-full\"\ntarget_event = \"purchase\"");
    assert!(error.contains("split.target_event") && error.contains("view_item"), "{error}");
    for (prepare, split, key) in [
        (
            "events = [\"view_item\"]",
            "kind = \"loo-full\"\ntarget_event = \"purchase\"",
            "target_event",
        ),
        ("", "kind = \"session\"\ntarget_event = \"view_item\"", "target_event"),
        ("seen = \"exclude_target\"", "kind = \"loo-full\"", "prepare.seen"),
    ] {
        let raw: RawPrepareConfig = toml::from_str(prepare).unwrap();
        let error =
            PrepareConfig::new(raw, toml::from_str(split).unwrap()).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
}
