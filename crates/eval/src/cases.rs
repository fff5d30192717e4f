//! The cases of each protocol: what the scorer sees, and what is to be found.

use forecart_data::{Dataset, History, ItemIdx, Part, Protocol, UserIdx};

/// One list that is asked for.
#[derive(Debug)]
pub(crate) struct Case<'a> {
    /// All that is known at the moment, not yet cut to the newest events.
    pub(crate) history: History<'a>,
    /// The ground truth, distinct and ascending; the unknown item stands for all that the
    /// vocabulary does not hold.
    pub(crate) targets: Vec<ItemIdx>,
}

/// A group of cases that belong to one user and are resampled together.
///
/// - LOO-FULL and global time: one group and one case for each user with events in the part. The
///   targets are the distinct items of the part, of the target event where there is one, the history everything before it.
/// - Session: one group for each session of at least two events, one case for each of its prefixes,
///   with the next item as target. Earlier sessions of the user are not part of the history.
pub(crate) fn groups_of<'a>(dataset: &'a Dataset, user: UserIdx, part: Part) -> Vec<Vec<Case<'a>>> {
    let events = dataset.events_in(user, part);
    if events.items.is_empty() {
        return Vec::new();
    }
    let history = dataset.history_before(user, part);
    if !matches!(dataset.manifest.description.protocol, Protocol::Session { .. }) {
        let mut targets = dataset.targets(user, part);
        if targets.is_empty() {
            return Vec::new();
        }
        targets.sort_unstable();
        targets.dedup();
        return vec![vec![Case { history, targets }]];
    }
    let start = dataset.sequences.range(user).start + history.items.len();
    let sessions = &dataset.sequences.sessions[start..start + events.items.len()];
    let mut groups = Vec::new();
    let mut first = 0;
    for session in sessions.chunk_by(|a, b| a == b) {
        let end = first + session.len();
        let prefixes = (first + 1..end).map(|next| Case {
            history: events.slice(first..next),
            targets: vec![events.items[next]],
        });
        if session.len() > 1 {
            groups.push(prefixes.collect());
        }
        first = end;
    }
    groups
}
