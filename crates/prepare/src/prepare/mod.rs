//! From an event log to a dataset: clean, sessionize, split, encode, pack.
//!
//! ```text
//! events/*.parquet ─ scan ─► narrow lines ─ sort (engine, spills) ─► one user at a time ─ clean ─► spool
//!                   strings become numbers                          duplicates, codes, refunds…      │
//!                   window, events, guests            k-core ◄─ cut ◄──────────────────────────────┤
//!                                                     count ─► vocabularies ─► pack ─► dataset ◄─────┘
//! ```
//! The log's strings are read once. From then on a row is a few numbers: the engine sorts them under
//! its memory limit, and the cleaned rows lie in a scratch file that later passes stream through.
//! Beside the engine, memory holds about 40 bytes and the id's text for each user and item, the lines
//! of one user, and repeated event ids where there are any; nothing grows with the number of
//! events otherwise.
//!
//! Start at [`prepare`]; [`RawPrepareConfig`] and [`RawSplitConfig`] document every setting.

mod config;
mod folds;

mod codes;
pub(crate) mod interner;
mod line;
pub(crate) mod scan;
mod sort;

mod clean;
mod spool;

mod k_core;
mod parts;

mod catalog;
mod moments;
mod pack;
mod report;

use std::path::Path;
use std::sync::mpsc;

use datafusion::arrow::array::RecordBatch;
use forecart_data::dataset::{Description, Tables};
use forecart_data::{DatasetWriter, EventOrder, Manifest, Progress, Protocol, storage};

pub(crate) use config::{DAY_MS, DayEdge, moment};
pub use config::{
    KCoreOn, NamedCodes, NonProductCodes, OverCap, PrepareConfig, RawPrepareConfig, RawSplitConfig,
    SeenRule, SplitKind,
};
pub use folds::{Fold, folds};

use self::clean::{Cleaner, Rules};
use self::config::{SplitRule, Unit};
use self::k_core::Core;
use self::line::Layout;
use self::parts::Cut;
use self::report::{Left, Report, Step};
use self::scan::{Scan, Source};
use self::spool::{Spool, SpoolWriter};
use crate::log::items_file;
use crate::session::Session;
use crate::{PrepareError, Resources};

/// Prepares the event log in folder `log` into a dataset that stands in `out` at the end, in place
/// of an older one. The same log and settings give the same bytes, whatever the resources.
///
/// The steps, each with a report in the manifest: time window, choice of events, missing users,
/// duplicates, codes that are no products, cancellations, repeats, cap on implausible users,
/// k-core. Then sessions, split, vocabularies and encoders fitted on the training part, and the
/// packed sequences.
///
/// # Errors
/// [`PrepareError::NotALog`] or [`PrepareError::Data`] if the log cannot be read,
/// [`PrepareError::Config`] for settings that do not fit the data, [`PrepareError::Unusable`] if
/// nothing is left or the log has no times where the split needs them, [`PrepareError::Cancelled`],
/// and [`PrepareError::Engine`].
pub fn prepare(
    log: &Path,
    config: &PrepareConfig,
    out: &Path,
    resources: &Resources,
    progress: &dyn Progress,
) -> Result<Manifest, PrepareError> {
    let session = Session::new(resources)?;
    let sources = open(log, config, &session)?;
    let has_time = sources.iter().all(|source| source.manifest.has_time);
    let unit = unit(&sources, config, has_time)?;
    check_times(config, has_time)?;
    let order = match config.raw_split.order {
        Some(order) => order,
        None if has_time => EventOrder::Time,
        None => EventOrder::File,
    };
    let layout = scan::layout(&sources, config, unit, order == EventOrder::Time);
    let mut writer = DatasetWriter::new(out, has_time)?;

    let Cleaned { scan, spool, mut report } =
        clean(&sources, config, layout, &session, resources, progress)?;
    let n_train_users = scan.users.len();
    let mut core = Core::all(&spool, scan.items.len(), config.k_core_on);
    let (min_user, min_item) = (config.raw.min_user_events, config.raw.min_item_events);
    let target = config.raw_split.target_event.as_deref();
    let target = target.map(|name| scan.target_number(name)).transpose()?;
    let cut = match config.k_core_on {
        KCoreOn::All => {
            core.shrink(&spool, min_user, min_item, &Cut::LooFull)?;
            // The core over all events does not look at the cut.
            Cut::new(config, &spool, n_train_users, target, |place, rows| {
                core.apply(&Cut::LooFull, place, rows);
            })?
        }
        KCoreOn::Train => {
            let cut = Cut::new(config, &spool, n_train_users, target, |_, _| {})?;
            core.shrink(&spool, min_user, min_item, &cut)?;
            cut
        }
    };
    progress.begin("count", None);
    let counted = pack::count(&scan, &spool, &core, &cut)?;
    if min_user > 1 || min_item > 1 {
        let what = if config.k_core_on == KCoreOn::All { "events" } else { "training events" };
        let reason = format!(
            "{what} outside the core of users with {min_user} and items with {min_item} or more \
             ({} users went, {} rounds)",
            core.n_gone(),
            core.n_rounds
        );
        report.step("k-core", [(reason, report.n_rows() - counted.n_rows)], counted.left());
    }
    if counted.n_rows == 0 {
        return Err(parts::nothing_left());
    }
    if counted.n_train == 0 {
        let reason = "no event is left for training; the test and validation parts take all".into();
        return Err(PrepareError::Unusable { step: "prepare split", reason });
    }
    let new_items = new_items(log, &sources, config)?;
    let items = pack::items(&scan, &counted, config, &new_items)?;
    let events = pack::events(&scan, &counted)?;
    let target = target.map(|number| events.index_of(number));
    if target == Some(0) {
        let reason =
            "no event of `split.target_event` is left; the steps' report says what dropped them";
        return Err(PrepareError::Unusable { step: "prepare split", reason: reason.into() });
    }
    progress.begin("pack", Some(counted.n_rows));
    let tables = (&counted, &items, &events);
    let users = pack::write(&mut writer, &scan, &spool, &core, &cut, tables, progress)?;
    let gap_minutes = (unit == Unit::SessionByGap).then_some(config.raw.session_gap_minutes);
    let features = config.raw.item_features.as_ref();
    let protocol = cut.protocol(gap_minutes);
    let test_start_ms = match protocol {
        Protocol::GlobalTime { test_start_ms, .. } => Some(test_start_ms),
        Protocol::LooFull | Protocol::Session { .. } => None,
    };
    let file = items_file(log);
    let catalog = catalog::read(file.as_deref(), features, &items.vocabulary, test_start_ms)?;
    Ok(writer.finish(Tables {
        users,
        items: items.vocabulary,
        event_names: events.vocabulary,
        titles: catalog.titles,
        encoders: catalog.encoders,
        item_features: catalog.features,
        description: Description {
            protocol,
            seen: config.seen.of(target),
            target_event: target,
            has_time,
            order,
            data_hash: data_hash(&sources),
            config: config.effective(),
            steps: report.steps,
            attribute_moments: catalog.moments,
        },
    })?)
}

/// Ids of the catalog that belong to the dataset without any event: where they are wanted, all products.
fn new_items(
    log: &Path,
    sources: &[Source],
    config: &PrepareConfig,
) -> Result<Vec<String>, PrepareError> {
    if !config.raw.new_items {
        return Ok(Vec::new());
    }
    let file = items_file(log);
    if file.is_none() {
        let reason = "the log has no item catalog; remove it or import one";
        return Err(PrepareError::config("prepare.new_items", reason));
    }
    let ids = catalog::ids(file.as_deref())?;
    let has_order_lines = sources.iter().any(Source::has_order_lines);
    let flags = config.codes.flags(ids.iter().map(String::as_str), has_order_lines);
    Ok(ids.into_iter().zip(flags).filter(|(_, is_code)| !is_code).map(|(id, _)| id).collect())
}

fn open(
    log: &Path,
    config: &PrepareConfig,
    session: &Session,
) -> Result<Vec<Source>, PrepareError> {
    let mut logs = vec![log];
    if let SplitRule::SessionLog { test_log, .. } = &config.split {
        logs.push(test_log);
    }
    let mut sources = Vec::new();
    for (number, log) in logs.into_iter().enumerate() {
        let mut source = Source::open(log)?;
        if config.raw.drop_duplicates {
            source.find_repeated_ids(session, log, &format!("events_{number}"))?;
        }
        sources.push(source);
    }
    Ok(sources)
}

/// What a sequence is: where sessions are wanted and have no ids, pauses part them.
fn unit(sources: &[Source], config: &PrepareConfig, has_time: bool) -> Result<Unit, PrepareError> {
    if config.raw_split.kind != SplitKind::Session {
        return Ok(Unit::User);
    }
    let n_with_ids = sources.iter().filter(|source| source.has_session_ids()).count();
    let (key, reason) = match n_with_ids {
        n if n == sources.len() => return Ok(Unit::SessionById),
        0 if has_time => return Ok(Unit::SessionByGap),
        0 => {
            let reason = "the log has no times and no session ids, so nothing says where a session \
                          ends; name the column as `data.columns.session_id` and import again";
            ("split.kind", reason)
        }
        _ => ("split.test_log", "one of the two logs has session ids, the other has none"),
    };
    Err(PrepareError::config(key, reason))
}

/// Settings that speak of days and moments need a log with times.
fn check_times(config: &PrepareConfig, has_time: bool) -> Result<(), PrepareError> {
    if has_time {
        return Ok(());
    }
    let key = match &config.split {
        _ if config.raw.last_days.is_some() => "prepare.last_days",
        _ if config.raw.from.is_some() => "prepare.from",
        _ if config.raw.to.is_some() => "prepare.to",
        _ if config.raw_split.order == Some(EventOrder::Time) => "split.order",
        SplitRule::LooFull => return Ok(()),
        SplitRule::SessionLog { validation_ms: 0, .. } => return Ok(()),
        SplitRule::SessionLog { .. } => "split.validation_days",
        SplitRule::SessionDays { .. } => "split.test_days",
        SplitRule::Days { .. } | SplitRule::Moments { .. } | SplitRule::Ratio { .. } => {
            "split.kind"
        }
    };
    let reason = "the log has an order but no times; `kind = \"loo-full\"` needs none";
    Err(PrepareError::config(key, reason))
}

/// The log's hash; of the sorted hashes if there is a test log beside it.
fn data_hash(sources: &[Source]) -> String {
    let mut hashes: Vec<_> =
        sources.iter().map(|source| source.manifest.data_hash.as_str()).collect();
    if let [one] = hashes[..] {
        return one.to_owned();
    }
    hashes.sort_unstable();
    storage::sha256(hashes.join("\n").as_bytes())
}

/// What is left after cleaning.
struct Cleaned {
    scan: Scan,
    spool: Spool,
    report: Report,
}

/// Reads, sorts and cleans: everything that looks at rows of one user at a time.
fn clean(
    sources: &[Source],
    config: &PrepareConfig,
    layout: Layout,
    session: &Session,
    resources: &Resources,
    progress: &dyn Progress,
) -> Result<Cleaned, PrepareError> {
    let (senders, frame) = sort::sorted(session, &layout.schema(), resources.n_partitions())?;
    let n_rows = sources.iter().map(|source| source.manifest.n_rows).sum();
    progress.begin("read", Some(n_rows));
    let mut writer = SpoolWriter::create(session.scratch(), layout.unit == Unit::SessionByGap)?;
    let (found, finding) = mpsc::sync_channel(1);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let result = scan::scan(sources, config, layout, &senders, progress);
            // The result goes first: the sort ends, and is asked about, when the senders go.
            let _ = found.send(result);
            drop(senders);
        });
        let mut state: Option<(Scan, Cleaner)> = None;
        let mut user: Option<u32> = None;
        let (mut lines, mut rows) = (Vec::new(), Vec::new());
        // The first sorted batch comes when the scan is over.
        let start = || -> Result<(Scan, Cleaner), PrepareError> {
            let scan = finding.recv().ok().transpose()?.flatten();
            let mut scan = scan.ok_or(PrepareError::Cancelled)?;
            let reached = std::mem::take(&mut scan.reached);
            let cleaner = Cleaner::new(rules(sources, config, layout.by_time, &scan), reached);
            progress.begin("clean", None);
            Ok((scan, cleaner))
        };
        session.for_each(frame, |batch: RecordBatch| {
            if progress.is_cancelled() {
                return Err(PrepareError::Cancelled);
            }
            if state.is_none() {
                state = Some(start()?);
            }
            let (_, cleaner) = state.as_mut().expect("set above");
            layout.for_each_line(&batch, |line| {
                if user != Some(line.user) {
                    if let Some(user) = user {
                        cleaner.clean(&mut lines, &mut rows);
                        writer.push(user, &rows)?;
                        lines.clear();
                        rows.clear();
                    }
                    user = Some(line.user);
                }
                lines.push(line);
                Ok(())
            })
        })?;
        let (scan, mut cleaner) = match state {
            Some(state) => state,
            None => start()?,
        };
        if let Some(user) = user {
            cleaner.clean(&mut lines, &mut rows);
            writer.push(user, &rows)?;
        }
        let spool = writer.finish()?;
        let report = steps(&scan, &cleaner, config, spool.n_users() as u64);
        debug_assert_eq!(report.n_rows(), spool.n_rows());
        Ok(Cleaned { scan, spool, report })
    })
}

fn rules(sources: &[Source], config: &PrepareConfig, by_time: bool, scan: &Scan) -> Rules {
    let has_time = sources.iter().all(|source| source.manifest.has_time);
    let has_order_lines = sources.iter().any(Source::has_order_lines);
    let code_of =
        |name: &str| scan.events.iter().position(|event| event == name).map(|code| code as u8);
    let purchase_and_refund = match scan::cancels(config) {
        // A log with refunds and no purchase has nothing to cancel: any other code will do.
        true => code_of("refund").map(|refund| (code_of("purchase").unwrap_or(u8::MAX), refund)),
        false => None,
    };
    Rules {
        drop_duplicates: config.raw.drop_duplicates && has_time,
        by_time,
        non_products: config.codes.flags(scan.items.iter(), has_order_lines),
        purchase_and_refund,
        merge_order_lines: config.raw.merge_order_lines,
        merge_consecutive: config.raw.merge_consecutive,
        max_user_events: config.raw.max_user_events,
        over_cap: config.raw.over_cap,
        session_gap_ms: has_time.then(|| i64::from(config.raw.session_gap_minutes) * 60_000),
    }
}

fn steps(scan: &Scan, cleaner: &Cleaner, config: &PrepareConfig, n_sequences: u64) -> Report {
    let dropped = cleaner.dropped;
    let left = |step: Step| cleaner.reached.after(step);
    let mut report = Report::new(scan.n_read);
    let reason = |reason: &str, n_rows: u64| (reason.to_owned(), n_rows);
    let outside = [reason("outside the time window", scan.outside_window)];
    report.step("time window", outside, left(Step::Window));
    let others = scan.other_events.iter();
    report.step(
        "events",
        others
            .map(|(event, n)| (format!("event {event:?} does not count as an interaction"), *n))
            .chain([reason("no item", scan.missing_items)]),
        left(Step::Events),
    );
    let missing = match scan.unit {
        Unit::SessionById => "no session id",
        Unit::User | Unit::SessionByGap => "no user (a guest)",
    };
    report.step("missing users", [reason(missing, scan.missing_users)], left(Step::Users));
    report.step(
        "duplicates",
        [
            reason("repeated event id", scan.repeated_ids),
            reason("equal to an earlier row in every column", dropped.duplicates),
        ],
        left(Step::Duplicates),
    );
    let non_products = [reason("item is no product", dropped.non_products)];
    report.step("non-products", non_products, left(Step::NonProducts));
    report.step(
        "cancellations",
        [
            reason("purchase that was cancelled", dropped.cancelled),
            reason("refund of a whole purchase", dropped.refunds),
            reason("refund of a part of a purchase", dropped.partial_refunds),
            reason("refund without a purchase before it", dropped.refunds_alone),
        ],
        left(Step::Cancellations),
    );
    report.step(
        "repeats",
        [
            reason("another line of the item in the same order", dropped.order_lines),
            reason("the same item again, with nothing between", dropped.consecutive),
        ],
        left(Step::Cancellations), // one of the repeats always stays
    );
    if let Some(max) = config.raw.max_user_events {
        let what = match config.raw.over_cap {
            OverCap::Drop => "all",
            OverCap::Newest => "the older",
        };
        let users = dropped.users_over_cap;
        let text = format!("{what} events of {users} users with more than {max}");
        report.step("implausible users", [(text, dropped.over_cap)], left(Step::Cap));
    }
    if scan.unit == Unit::SessionByGap {
        report.step("sessions", [], Left { n_users: n_sequences, ..left(Step::Cap) });
    }
    report
}
