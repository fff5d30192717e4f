//! Vocabularies, and the last pass: rows into the dataset folder.

use std::collections::BTreeSet;

use forecart_data::dataset::EventRow;
use forecart_data::{DatasetWriter, ItemIdx, Progress, Vocabulary};

use super::config::{PrepareConfig, SplitRule};
use super::k_core::Core;
use super::parts::Cut;
use super::report::Left;
use super::scan::Scan;
use super::spool::Spool;
use crate::PrepareError;

/// How often users, items and events occur, by their numbers in the scan.
///
/// # Cost
/// 4 bytes a user, 16 an item.
#[derive(Debug)]
pub(super) struct Counted {
    /// Training events of each user of the spool.
    users: Vec<u32>,
    /// Training events of each item.
    items: Vec<u64>,
    /// Events of each item in any part.
    items_anywhere: Vec<u64>,
    events: Vec<u64>,
    events_anywhere: Vec<u64>,
    pub(super) n_rows: u64,
    pub(super) n_train: u64,
    n_users: u64,
}

impl Counted {
    pub(super) fn left(&self) -> Left {
        let n_items = self.items_anywhere.iter().filter(|n| **n > 0).count() as u64;
        Left { n_users: self.n_users, n_items }
    }
}

/// Counts what the core left.
pub(super) fn count(
    scan: &Scan,
    spool: &Spool,
    core: &Core,
    cut: &Cut,
) -> Result<Counted, PrepareError> {
    let (n_items, n_events) = (scan.items.len(), scan.events.len());
    let mut counted = Counted {
        users: vec![0; spool.n_users()],
        items: vec![0; n_items],
        items_anywhere: vec![0; n_items],
        events: vec![0; n_events],
        events_anywhere: vec![0; n_events],
        n_rows: 0,
        n_train: 0,
        n_users: 0,
    };
    spool.for_each_user(|place, _, rows| {
        let (n_train, _) = core.apply(cut, place, rows);
        counted.users[place] = n_train as u32;
        counted.n_train += n_train as u64;
        counted.n_rows += rows.len() as u64;
        counted.n_users += u64::from(!rows.is_empty());
        for (i, row) in rows.iter().enumerate() {
            let is_train = u64::from(i < n_train);
            counted.items[row.item as usize] += is_train;
            counted.items_anywhere[row.item as usize] += 1;
            counted.events[row.event as usize] += is_train;
            counted.events_anywhere[row.event as usize] += 1;
        }
        Ok(())
    })?;
    Ok(counted)
}

/// A vocabulary and, for each number of the scan, its index in it.
#[derive(Debug)]
pub(super) struct Indexed {
    pub(super) vocabulary: Vocabulary,
    index_of: Vec<u32>,
}

impl Indexed {
    /// The index of an event by its number in the scan; there are at most 255.
    pub(super) fn index_of(&self, event: u32) -> u8 {
        self.index_of[event as usize] as u8
    }
}

/// Items by training events, the most frequent first, equal ones by id.
///
/// For `loo-full` all items that occur in any part belong to it (the published protocols rank all
/// items of the file), for the others those of the training part; `min_count` training events at
/// least. The rest is the unknown bucket. The ids of `new_items` belong to it in any case; those that no line of the log
/// names come last, by id.
pub(super) fn items(
    scan: &Scan,
    counted: &Counted,
    config: &PrepareConfig,
    new_items: &[String],
) -> Result<Indexed, PrepareError> {
    let new_items: BTreeSet<&str> = new_items.iter().map(String::as_str).collect();
    let everywhere = config.split == SplitRule::LooFull;
    let is_in = |item: usize| {
        let n = if everywhere { counted.items_anywhere[item] } else { counted.items[item] };
        (n > 0 && counted.items[item] >= config.min_count)
            || (!new_items.is_empty() && new_items.contains(scan.items.text(item as u32)))
    };
    let of_log: BTreeSet<&str> = match new_items.is_empty() {
        true => BTreeSet::new(),
        false => scan.items.iter().collect(),
    };
    let others = new_items.difference(&of_log).copied();
    indexed(&counted.items, |item| scan.items.text(item), is_in, others)
}

/// Event names by training events, equal ones by name; all that occur.
pub(super) fn events(scan: &Scan, counted: &Counted) -> Result<Indexed, PrepareError> {
    let text = |event: u32| scan.events[event as usize].as_str();
    indexed(&counted.events, text, |event| counted.events_anywhere[event] > 0, [].into_iter())
}

fn indexed<'t>(
    counts: &[u64],
    text: impl Fn(u32) -> &'t str,
    is_in: impl Fn(usize) -> bool,
    others: impl Iterator<Item = &'t str>,
) -> Result<Indexed, PrepareError> {
    let mut order: Vec<u32> = (0..counts.len() as u32).filter(|i| is_in(*i as usize)).collect();
    order.sort_unstable_by(|a, b| {
        let by_count = counts[*b as usize].cmp(&counts[*a as usize]);
        by_count.then_with(|| text(*a).cmp(text(*b)))
    });
    let mut index_of = vec![0; counts.len()];
    for (index, number) in (1..).zip(&order) {
        index_of[*number as usize] = index;
    }
    let n_known: u64 = order.iter().map(|number| counts[*number as usize]).sum();
    let n_unknown = counts.iter().sum::<u64>() - n_known;
    let entries = order.iter().map(|number| (text(*number), counts[*number as usize]));
    let entries = entries.chain(others.map(|text| (text, 0)));
    Ok(Indexed { vocabulary: Vocabulary::from_entries(entries, n_unknown)?, index_of })
}

/// Writes all sequences and returns the users' vocabulary: in the order of their first row in the
/// log, with the number of their training events. Users without any row are left out.
pub(super) fn write(
    writer: &mut DatasetWriter,
    scan: &Scan,
    spool: &Spool,
    core: &Core,
    cut: &Cut,
    tables: (&Counted, &Indexed, &Indexed),
    progress: &dyn Progress,
) -> Result<Vocabulary, PrepareError> {
    let (counted, items, events) = tables;
    let mut users = Vec::with_capacity(spool.n_users());
    let mut ordinals: Vec<Option<u32>> = Vec::new();
    spool.for_each_user(|place, user, rows| {
        if place % 4096 == 0 && progress.is_cancelled() {
            return Err(PrepareError::Cancelled);
        }
        let (validation, test) = core.apply(cut, place, rows);
        progress.advance(rows.len() as u64);
        let Some(first) = rows.first() else { return Ok(()) };
        users.push((user, first.session, place));
        // What was dropped since may leave gaps between the numbers of sessions.
        ordinals.clear();
        let mut n_sessions = 0;
        for row in rows.iter() {
            let number = row.session as usize;
            if ordinals.len() <= number {
                ordinals.resize(number + 1, None);
            }
            let session = *ordinals[number].get_or_insert_with(|| {
                n_sessions += 1;
                n_sessions - 1
            });
            writer.push(EventRow {
                item: ItemIdx(items.index_of[row.item as usize]),
                timestamp_ms: row.timestamp_ms,
                event: events.index_of(row.event),
                session,
                value: row.value,
            })?;
        }
        Ok(writer.end_user(validation as u32, test as u32)?)
    })?;
    let entries = users.iter().map(|(user, session, place)| {
        (scan.sequence_id(*user, *session), u64::from(counted.users[*place]))
    });
    Ok(Vocabulary::from_entries(entries, 0)?)
}
