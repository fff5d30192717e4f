//! `bench serve`: how much a server answers, and how fast, under requests that arrive whether or not earlier ones were answered.

use std::cell::Cell;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use forecart_data::dataset::{Description, EventRow, Tables};
use forecart_data::encode::FeatureProgram;
use forecart_data::storage::Scratch;
use forecart_data::{
    Dataset, DatasetWriter, EventOrder, ItemFeatures, ItemIdx, Progress as _, Protocol, SeenItems,
    TextTable, Vocabulary,
};
use forecart_models::model_file::{LoadedModel, Provenance};
use forecart_models::recommend::{FitContext, FitOn, TrainingView, registry};
use forecart_serve::{LoadOutcome, LoadPlan, LoadRequest, load};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::Context;
use crate::args::{ServeBenchArgs, ServeLoad};
use crate::failure::UsageError;
use crate::output::{self, count};

/// Events of each generated user: what answers go by.
const N_HISTORY: u32 = 50;
/// Events of one request.
const EVENTS_A_REQUEST: u64 = 100;
/// A server keeps up with a rate if it answers so much of it, and the median stays below this.
const KEEPS_UP: f64 = 0.97;
const MOST_MEDIAN_MS: f64 = 100.0;
/// How often the server's memory is read while it is asked.
const N_MEMORY_READINGS: u32 = 10;
/// The row that may take long.
const STEADY: &str = "lists, at 70 %";

/// A row of the table.
#[derive(Debug, Serialize)]
struct Row {
    what: String,
    offered: f64,
    answered: f64,
    n_failed: u64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    p999_ms: Option<f64>,
    /// Resident memory of the server, in equal steps of the time that it is asked.
    rss_mb: Vec<f64>,
}

impl Row {
    fn new(
        what: impl Into<String>,
        offered: f64,
        each: f64,
        outcome: &LoadOutcome,
        rss_mb: Vec<f64>,
    ) -> Self {
        Self {
            what: what.into(),
            offered: offered * each,
            answered: outcome.rate() * each,
            n_failed: outcome.n_failed(),
            p50_ms: outcome.quantile_ms(0.5),
            p99_ms: outcome.quantile_ms(0.99),
            p999_ms: outcome.quantile_ms(0.999),
            rss_mb,
        }
    }

    fn cells(&self) -> Vec<String> {
        let ms = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.2}"));
        vec![
            self.what.clone(),
            count(self.offered.round() as u64),
            count(self.answered.round() as u64),
            count(self.n_failed),
            ms(self.p50_ms),
            ms(self.p99_ms),
            ms(self.p999_ms),
            self.rss_mb.last().map_or_else(|| "-".to_owned(), |mb| format!("{mb:.0}")),
        ]
    }
}

/// A server in a process of its own; it ends with this.
struct Served {
    child: Child,
    address: SocketAddr,
}

impl Served {
    fn start(context: &Context, folder: &Path, data: &Path, model: &Path) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("find the program")?;
        let mut child = Command::new(program)
            .args(["serve", "--json", "--port", "0", "--threads"])
            .arg(context.config.threads().to_string())
            .arg("--store")
            .arg(folder.join("store.sqlite"))
            .arg("--data")
            .arg(data)
            .arg("--model")
            .arg(model)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("start the server")?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("read what the server says")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let said: serde_json::Value =
            serde_json::from_str(&line).with_context(|| format!("the server said {line:?}"))?;
        let address = said["listening"].as_str().context("the server says where it listens")?;
        Ok(Self { child, address: address.parse()? })
    }

    /// Resident memory now.
    fn rss_mb(&self) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kb: f64 = line.trim().split(' ').next()?.parse().ok()?;
        Some(kb / 1e3)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn run(context: &Context, arguments: &ServeBenchArgs) -> anyhow::Result<()> {
    if arguments.url.is_none() && !cfg!(target_os = "linux") {
        let message = "memory of the server is read from /proc; name a server by --url";
        return Err(UsageError(message.into()).into());
    }
    if arguments.steady.is_some() && arguments.only == Some(ServeLoad::Events) {
        let message = "--steady is about lists: leave --only events out";
        return Err(UsageError(message.into()).into());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let Some(address) = arguments.url else {
        let scratch = Scratch::new(&std::env::temp_dir())?;
        let (data, model) = generated(context, arguments, scratch.path())?;
        let served = Served::start(context, scratch.path(), &data, &model)?;
        let address = served.address;
        return runtime.block_on(measure(context, arguments, address, Some(&served)));
    };
    runtime.block_on(measure(context, arguments, address, None))
}

/// Asks for lists and sends events at rising rates until the server no longer keeps up, then at shares of what it could.
async fn measure(
    context: &Context,
    arguments: &ServeBenchArgs,
    address: SocketAddr,
    served: Option<&Served>,
) -> anyhow::Result<()> {
    let asked = Asked { context, arguments, address, served };
    let is_asked = |what| arguments.only.is_none_or(|only| only == what);
    let mut rows = Vec::new();
    if is_asked(ServeLoad::Lists) {
        rows.extend(asked.for_lists().await);
    }
    if is_asked(ServeLoad::Events) {
        rows.extend(asked.with_events().await);
    }
    context.display.end();
    if context.json {
        return output::json(&rows);
    }
    let cells: Vec<Vec<String>> = rows.iter().map(Row::cells).collect();
    let header =
        ["", "offered/s", "answered/s", "failed", "p50 ms", "p99 ms", "p99.9 ms", "memory MB"];
    output::line(&output::table(&header, &cells, 1))?;
    let is_long = |row: &&Row| row.what == STEADY && !row.rss_mb.is_empty();
    if arguments.steady.is_some()
        && let Some(row) = rows.iter().find(is_long)
    {
        let readings: Vec<String> = row.rss_mb.iter().map(|mb| format!("{mb:.0}")).collect();
        output::line(&format!("memory, {STEADY}: {} MB", readings.join(" ")))?;
    }
    Ok(())
}

/// A server that is measured.
struct Asked<'a> {
    context: &'a Context,
    arguments: &'a ServeBenchArgs,
    address: SocketAddr,
    served: Option<&'a Served>,
}

impl Asked<'_> {
    fn plan(&self, rate: f64, secs: u32) -> LoadPlan {
        LoadPlan {
            address: self.address,
            rate,
            duration: Duration::from_secs(secs.into()),
            n_connections: self.arguments.connections.get(),
            key: self.arguments.key.clone(),
        }
    }

    async fn for_lists(&self) -> Vec<Row> {
        let (users, seed) = (u64::from(self.arguments.users.get()), self.context.config.seed);
        let list = move |n: u64| {
            let user = ChaCha8Rng::seed_from_u64(seed ^ n).random_range(0..users);
            LoadRequest { path: format!("/v1/recommend/user-{user}?n=10"), body: None }
        };
        // Every user once: what is measured is not the first reading of histories.
        load(&self.plan(500.0, 2), list).await;
        let once = |rate| async move { load(&self.plan(rate, 3), list).await };
        let most = match self.arguments.rate {
            Some(rate) => rate,
            None => saturation(self.context, "lists", 100.0, once).await,
        };
        let secs = self.arguments.seconds.get();
        let steady = self.arguments.steady.map_or(secs, NonZeroU32::get);
        let mut rows = Vec::new();
        for (what, share, secs) in [
            ("lists, all it answers", 1.0, secs),
            ("lists, at half of it", 0.5, secs),
            (STEADY, 0.7, steady),
        ] {
            rows.push(self.row(what, self.plan(most * share, secs), 1.0, list).await);
        }
        rows
    }

    async fn with_events(&self) -> Vec<Row> {
        let (users, items) = (self.arguments.users.get(), self.arguments.items.get());
        let (seed, run) = (self.context.config.seed, uuid_of_run());
        // An event is new once: each load has a number.
        let n_loads = Cell::new(0);
        let events = || {
            let (run, load) = (run.clone(), n_loads.replace(n_loads.get() + 1));
            move |n: u64| {
                let mut rng = ChaCha8Rng::seed_from_u64(seed ^ n);
                let row = |place: u64| {
                    let (user, item) = (rng.random_range(0..users), rng.random_range(0..items));
                    format!(
                        "{{\"event_id\":\"{run}-{load}-{n}-{place}\",\"user_id\":\"user-{user}\",\"item_id\":\"item-{item}\",\"event\":\"view_item\"}}"
                    )
                };
                let rows: Vec<String> = (0..EVENTS_A_REQUEST).map(row).collect();
                LoadRequest {
                    path: "/v1/events".to_owned(),
                    body: Some(format!("[{}]", rows.join(",")).into()),
                }
            }
        };
        let once = |rate| {
            let events = events();
            async move { load(&self.plan(rate, 3), events).await }
        };
        let most = saturation(self.context, "events", 20.0, once).await;
        let secs = self.arguments.seconds.get();
        let mut rows = Vec::new();
        for (what, share) in [("events, all it takes", 1.0), ("events, at half of it", 0.5)] {
            let plan = self.plan(most * share, secs);
            rows.push(self.row(what, plan, EVENTS_A_REQUEST as f64, events()).await);
        }
        rows
    }

    /// One load, and the server's memory in equal steps of it. `each` is what a request counts for.
    async fn row(
        &self,
        what: &str,
        plan: LoadPlan,
        each: f64,
        request: impl Fn(u64) -> LoadRequest + Send + Sync + 'static,
    ) -> Row {
        self.context.display.begin(what, None);
        let step = plan.duration / N_MEMORY_READINGS;
        let readings = async {
            let mut readings = Vec::new();
            for _ in 0..N_MEMORY_READINGS {
                tokio::time::sleep(step).await;
                readings.extend(self.served.and_then(Served::rss_mb));
            }
            readings
        };
        let (outcome, rss_mb) = tokio::join!(load(&plan, request), readings);
        Row::new(what, plan.rate, each, &outcome, rss_mb)
    }
}

fn uuid_of_run() -> String {
    format!("bench-{}-{}", std::process::id(), jiff::Timestamp::now().as_millisecond())
}

/// The highest rate that the server keeps up with: doubled until it does not, then halved in between.
async fn saturation<F: Future<Output = LoadOutcome>>(
    context: &Context,
    what: &str,
    first: f64,
    load: impl Fn(f64) -> F,
) -> f64 {
    let (mut kept, mut next) = (first, first);
    let mut failed: Option<f64> = None;
    for _ in 0..14 {
        context.display.begin(&format!("{what}: {next:.0} requests a second"), None);
        let outcome = load(next).await;
        let keeps_up = outcome.n_failed() == 0
            && outcome.rate() >= KEEPS_UP * next
            && outcome.quantile_ms(0.5).is_some_and(|ms| ms < MOST_MEDIAN_MS);
        if keeps_up {
            kept = next;
        } else {
            failed = Some(next);
        }
        next = match failed {
            None => kept * 2.0,
            Some(failed) if failed / kept < 1.06 => break,
            Some(failed) => (failed * kept).sqrt(),
        };
    }
    kept
}

/// A shop of random events, and a network that has learned one epoch of it: answers cost what those of a real one cost.
fn generated(
    context: &Context,
    arguments: &ServeBenchArgs,
    folder: &Path,
) -> anyhow::Result<(std::path::PathBuf, std::path::PathBuf)> {
    let (n_users, n_items) = (arguments.users.get(), arguments.items.get());
    context.display.begin("generate a shop", None);
    let data = folder.join("dataset");
    let mut rng = ChaCha8Rng::seed_from_u64(context.config.seed);
    let mut writer = DatasetWriter::new(&data, true)?;
    let begin_ms = jiff::Timestamp::now().as_millisecond() - 90 * 86_400_000;
    for _ in 0..n_users {
        for place in 0..N_HISTORY {
            // Squared: some items are met often, most are not.
            let share: f64 = rng.random_range(0.0..1.0);
            let item = ((share * share * f64::from(n_items)) as u32).min(n_items - 1) + 1;
            let timestamp_ms = begin_ms
                + i64::from(place) * 86_400_000
                + i64::from(rng.random_range(0..86_400_000_u32));
            let item = ItemIdx(item);
            writer.push(EventRow { item, timestamp_ms, event: 1, session: 0, value: 1.0 })?;
        }
        writer.end_user(N_HISTORY - 2, N_HISTORY - 1)?;
    }
    let names = |prefix: &str, n: u32| {
        Vocabulary::from_entries((0..n).map(|index| (format!("{prefix}-{index}"), 1)), 0)
    };
    let n_rows = n_items as usize + 1;
    writer.finish(Tables {
        users: names("user", n_users)?,
        items: names("item", n_items)?,
        event_names: Vocabulary::from_entries([("view_item", 1)], 0)?,
        titles: (0..n_rows).map(|row| format!("Item {row}")).collect::<TextTable>(),
        encoders: FeatureProgram::default(),
        item_features: ItemFeatures::default(),
        description: Description {
            protocol: Protocol::LooFull,
            seen: SeenItems::Exclude,
            target_event: None,
            has_time: true,
            order: EventOrder::Time,
            data_hash: format!("generated, seed {}", context.config.seed),
            config: serde_json::Value::Null,
            steps: Vec::new(),
            attribute_moments: Vec::new(),
        },
    })?;
    let dataset = Dataset::open(&data)?;
    let keys = serde_json::json!({"d_model": 64, "n_epochs": 1, "max_history": N_HISTORY});
    let name = &arguments.model;
    let spec = match registry::spec(name, &keys) {
        Ok(spec) => spec,
        // One that has no epochs has no such keys.
        Err(_) => registry::spec(name, &serde_json::json!({}))?,
    };
    context.display.begin(&format!("train {name}, one epoch"), None);
    let fit = FitContext {
        seed: context.config.seed,
        n_threads: context.config.threads(),
        progress: &context.display,
        memory_limit_bytes: context.config.memory_limit_bytes,
        checkpoint: None,
    };
    let fitted = spec.fit(&TrainingView::new(&dataset, FitOn::Train), &fit)?;
    let provenance = Provenance {
        seed: Some(context.config.seed),
        record: fitted.record,
        ..Provenance::default()
    };
    let model = folder.join("model.forecart");
    LoadedModel::new(fitted.model, &dataset, provenance)?.save(&model)?;
    Ok((data, model))
}
