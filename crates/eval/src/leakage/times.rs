//! Events and sessions on the wrong side of the cut.

use forecart_data::{Dataset, Part, Protocol};

use super::{Cases, LeakKind, Leakage, moment, user_name};

pub(super) fn search(dataset: &Dataset, found: &mut Leakage) {
    if !dataset.manifest.description.has_time {
        return;
    }
    match dataset.manifest.description.protocol {
        Protocol::GlobalTime { validation_start_ms, test_start_ms } => {
            across_cut(dataset, (validation_start_ms, test_start_ms), found);
        }
        Protocol::Session { .. } => sessions_after_test(dataset, found),
        Protocol::LooFull => order_broken(dataset, found),
    }
}

/// Every event of a part lies within the part's time.
fn across_cut(dataset: &Dataset, (validation, test): (i64, i64), found: &mut Leakage) {
    let spans = [
        (Part::Train, "train", i64::MIN..validation),
        (Part::Validation, "validation", validation..test),
        (Part::Test, "test", test..i64::MAX),
    ];
    for (part, name, span) in spans {
        let mut cases = Cases::default();
        for user in dataset.user_indices() {
            let events = dataset.events_in(user, part);
            for (item, time) in events.items.iter().zip(events.timestamps_ms) {
                if !span.contains(time) {
                    cases.add(|| {
                        let (user, item) = (user_name(dataset, user), dataset.items.text(item.0));
                        format!("{user}, item {item:?}, {}", moment(*time))
                    });
                }
            }
        }
        let place = format!("timestamps.i64, {name} part");
        found.leaks.extend(cases.leak(LeakKind::EventAcrossCut, &place, |n| {
            let edge = if part == Part::Test {
                format!("before the test part begins at {}", moment(span.start))
            } else {
                format!("at or after {}, where the next part begins", moment(span.end))
            };
            format!("{n} {name} events lie {edge}, or before their own part")
        }));
    }
}

/// Sessions are parted by when they end: none that is learned from ends after the first test session has ended.
fn sessions_after_test(dataset: &Dataset, found: &mut Leakage) {
    let end_in = |user, part| dataset.events_in(user, part).timestamps_ms.iter().max().copied();
    let first = dataset.user_indices().filter_map(|user| end_in(user, Part::Test)).min();
    let Some(first) = first else { return };
    let mut cases = Cases::default();
    for user in dataset.user_indices() {
        let end = end_in(user, Part::Train).max(end_in(user, Part::Validation));
        if let Some(end) = end.filter(|end| *end > first) {
            cases.add(|| format!("{} ends at {}", user_name(dataset, user), moment(end)));
        }
    }
    found.leaks.extend(cases.leak(
        LeakKind::SessionAfterTest,
        "timestamps.i64, train and validation parts",
        |n| {
            format!(
                "{n} sessions end after {}, when the first test session has ended",
                moment(first)
            )
        },
    ));
}

/// Where each user's last event is held out: no held-out event is older than one before it.
fn order_broken(dataset: &Dataset, found: &mut Leakage) {
    let mut cases = Cases::default();
    for user in dataset.user_indices() {
        let known = dataset.history_before(user, Part::Test);
        let held_out = dataset.events_in(user, Part::Test);
        let validation = dataset.events_in(user, Part::Validation);
        let train = dataset.history_before(user, Part::Validation);
        let newest = |times: &[i64]| times.iter().max().copied();
        for (before, after) in [(train, validation), (known, held_out)] {
            let Some(newest) = newest(before.timestamps_ms) else { continue };
            let mut asked = (0..after.items.len()).filter(|place| dataset.is_target(after, *place));
            if let Some(place) = asked.find(|place| after.timestamps_ms[*place] < newest) {
                cases.add(|| {
                    let user = user_name(dataset, user);
                    let item = dataset.items.text(after.items[place].0);
                    let (time, newest) = (moment(after.timestamps_ms[place]), moment(newest));
                    format!("{user}, item {item:?} at {time}, learned from up to {newest}")
                });
            }
        }
    }
    found.leaks.extend(cases.leak(
        LeakKind::OrderBroken,
        "timestamps.i64, validation and test parts",
        |n| format!("{n} held-out events are older than what the same user did before them"),
    ));
}
