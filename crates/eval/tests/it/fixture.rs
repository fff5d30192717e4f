//! Small datasets, written and opened like real ones.

use forecart_data::dataset::{Description, EventRow, Tables};
use forecart_data::{
    Dataset, DatasetWriter, EventOrder, ItemFeatures, ItemIdx, Protocol, SeenItems, TextTable,
    Vocabulary,
};

/// Sessions that have ids.
pub(crate) const SESSION: Protocol = Protocol::Session { gap_minutes: None };

/// One user: items with their session, and where validation and test start.
pub(crate) struct User {
    pub(crate) events: Vec<(u32, u32)>,
    pub(crate) validation_start: u32,
    pub(crate) test_start: u32,
}

/// A user of one session with the parts of leave-one-out.
pub(crate) fn leave_one_out(items: &[u32]) -> User {
    let n = items.len() as u32;
    User {
        events: items.iter().map(|item| (*item, 0)).collect(),
        validation_start: n.saturating_sub(2),
        test_start: n - 1,
    }
}

/// A user with parts of any length.
pub(crate) fn parts(train: &[u32], validation: &[u32], test: &[u32]) -> User {
    let events = [train, validation, test].concat();
    User {
        events: events.iter().map(|item| (*item, 0)).collect(),
        validation_start: train.len() as u32,
        test_start: (train.len() + validation.len()) as u32,
    }
}

/// A user whose sessions are all for test.
pub(crate) fn test_sessions(sessions: &[&[u32]]) -> User {
    let numbered = sessions.iter().enumerate();
    let events = numbered.flat_map(|(s, items)| items.iter().map(move |item| (*item, s as u32)));
    User { events: events.collect(), validation_start: 0, test_start: 0 }
}

/// An opened dataset in a temporary folder that goes away with it.
pub(crate) struct Fixture {
    pub(crate) dataset: Dataset,
    _folder: tempfile::TempDir,
}

/// Writes and opens a dataset of `n_items` items; users are called `u1`, `u2`, ...
pub(crate) fn dataset(
    protocol: Protocol,
    seen: SeenItems,
    n_items: usize,
    users: &[User],
) -> Fixture {
    write(protocol, seen, None, n_items, users)
}

/// The same of two kinds of events, views and purchases, where purchases are asked for; an event is a purchase if the number of
/// its session is odd.
pub(crate) fn dataset_of_purchases(seen: SeenItems, n_items: usize, users: &[User]) -> Fixture {
    write(Protocol::LooFull, seen, Some(2), n_items, users)
}

fn write(
    protocol: Protocol,
    seen: SeenItems,
    target_event: Option<u8>,
    n_items: usize,
    users: &[User],
) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dataset");
    let mut writer = DatasetWriter::new(&path, false).unwrap();
    let mut counts = vec![0u64; n_items + 1];
    for user in users {
        for (position, (item, session)) in user.events.iter().enumerate() {
            let row = EventRow {
                item: ItemIdx(*item),
                timestamp_ms: 0,
                event: if target_event.is_some() { 1 + (session % 2) as u8 } else { 1 },
                session: *session,
                value: 1.0,
            };
            writer.push(row).unwrap();
            counts[*item as usize] += u64::from(position < user.validation_start as usize);
        }
        writer.end_user(user.validation_start, user.test_start).unwrap();
    }
    let items = (1..=n_items).map(|item| (format!("i{item}"), counts[item]));
    let users = (1..=users.len()).map(|user| (format!("u{user}"), 1));
    let tables = Tables {
        users: Vocabulary::from_entries(users, 0).unwrap(),
        items: Vocabulary::from_entries(items, counts[0]).unwrap(),
        event_names: Vocabulary::from_entries([("view_item", 1), ("purchase", 1)], 0).unwrap(),
        titles: (0..=n_items).map(|_| "").collect::<TextTable>(),
        encoders: forecart_data::encode::FeatureProgram::default(),
        item_features: ItemFeatures::default(),
        description: Description {
            protocol,
            seen,
            target_event,
            has_time: false,
            order: EventOrder::File,
            data_hash: "5e".repeat(32),
            config: serde_json::Value::Null,
            steps: Vec::new(),
        },
    };
    writer.finish(tables).unwrap();
    Fixture { dataset: Dataset::open(&path).unwrap(), _folder: folder }
}

/// A leave-one-out dataset of `n_users` users whose items follow each other with some noise.
pub(crate) fn generated(n_users: u32, n_items: u32) -> Fixture {
    let item = |user: u32, step: u32| {
        let noise = user.wrapping_mul(2_654_435_761).rotate_left(step * 3) % 5;
        1 + (user * 7 + step + noise / 4) % n_items
    };
    let user = |user: u32| {
        let items: Vec<u32> = (0..4 + user % 5).map(|step| item(user, step)).collect();
        leave_one_out(&items)
    };
    let users: Vec<User> = (0..n_users).map(user).collect();
    dataset(Protocol::LooFull, SeenItems::Exclude, n_items as usize, &users)
}
