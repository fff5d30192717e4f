//! Leaks of every kind, planted in a clean log, are found; the clean log raises no alarm.

use forecart_data::dataset::{AttributeMoments, Description, EventRow, Tables};
use forecart_data::features::FeatureNames;
use forecart_data::{
    Dataset, DatasetWriter, EventOrder, ItemFeatures, ItemIdx, Protocol, SeenItems, TextTable,
    Vocabulary,
};
use forecart_eval::leakage::{LeakKind, Leakage, find_leaks};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const N_ITEMS: usize = 300;
const DAY_MS: i64 = 86_400_000;
const START_MS: i64 = 1_600_000_000_123;
const VALIDATION_MS: i64 = START_MS + 80 * DAY_MS;
const TEST_MS: i64 = START_MS + 90 * DAY_MS;
const TIME: Protocol =
    Protocol::GlobalTime { validation_start_ms: VALIDATION_MS, test_start_ms: TEST_MS };
const SESSION: Protocol = Protocol::Session { gap_minutes: None };

#[derive(Clone)]
struct Person {
    id: String,
    /// Item and moment, in the order of the file.
    events: Vec<(u32, i64)>,
    /// Places of the events that are views, where purchases are asked for.
    views: Vec<usize>,
    validation_start: usize,
    test_start: usize,
}

/// A log that can be spoiled in many ways before it is written.
#[derive(Clone)]
struct Log {
    protocol: Protocol,
    people: Vec<Person>,
    item_ids: Vec<String>,
    /// One value an item, by column name.
    dense: Vec<(&'static str, Vec<f32>)>,
    /// Whether an item has the column, by its name.
    sparse: Vec<(&'static str, Vec<bool>)>,
    moments: Vec<AttributeMoments>,
    /// Added to the vocabulary's counts.
    extra_counts: Vec<u64>,
    titles: Vec<String>,
    /// What an event of an item says, where not 1.
    values: Vec<f32>,
    /// Purchases are asked for, views are not.
    asks_for_purchases: bool,
}

impl Log {
    /// 800 people, items as unequally popular as in a shop, people of a taste, popularity that drifts with time.
    fn clean(protocol: Protocol) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let mut people = Vec::new();
        for number in 0..800u32 {
            let n_events = rng.random_range(4..16);
            let is_session = matches!(protocol, Protocol::Session { .. });
            let first = rng.random_range(0.0..95.0f64);
            let mut times: Vec<i64> = (0..n_events)
                .map(|step| match is_session {
                    true => START_MS + (first * DAY_MS as f64) as i64 + step * 61_007,
                    false => START_MS + rng.random_range(0..100 * DAY_MS),
                })
                .collect();
            times.sort_unstable();
            let events: Vec<(u32, i64)> = times
                .into_iter()
                .map(|time| {
                    let u: f64 = rng.random_range(0.0..1.0);
                    let drift = (time - START_MS) / (10 * DAY_MS);
                    let item = (u * u * u * N_ITEMS as f64) as i64 + drift;
                    ((item as u32 * 7919) % N_ITEMS as u32 + 1, time)
                })
                .collect();
            people.push(Person {
                id: format!("u{number}"),
                events,
                views: Vec::new(),
                validation_start: 0,
                test_start: 0,
            });
        }
        let mut log = Self {
            protocol,
            people,
            item_ids: (1..=N_ITEMS)
                .map(|item| format!("item{}", 1000 + item * 37 % 1009))
                .collect(),
            dense: Vec::new(),
            sparse: Vec::new(),
            moments: Vec::new(),
            extra_counts: vec![0; N_ITEMS],
            titles: (0..N_ITEMS).map(|item| format!("Lamp no. {item}")).collect(),
            values: vec![1.0; N_ITEMS],
            asks_for_purchases: false,
        };
        let price = (0..N_ITEMS).map(|item| ((item * 7919) % 97) as f32);
        log.dense.push(("price", price.collect()));
        log.sparse.push(("category=lamps", (0..N_ITEMS).map(|item| item % 5 == 0).collect()));
        log.split();
        log
    }

    /// Where the parts of each person begin, by the protocol.
    fn split(&mut self) {
        for person in &mut self.people {
            let n = person.events.len();
            let before = |moment| person.events.iter().filter(|(_, time)| *time < moment).count();
            let end = person.events.last().map_or(0, |(_, time)| *time);
            (person.validation_start, person.test_start) = match self.protocol {
                Protocol::LooFull => (n - 2, n - 1),
                Protocol::GlobalTime { .. } => (before(VALIDATION_MS), before(TEST_MS)),
                Protocol::Session { .. } if end >= TEST_MS => (0, 0),
                Protocol::Session { .. } if end >= VALIDATION_MS => (0, n),
                Protocol::Session { .. } => (n, n),
            };
        }
    }

    /// Events of each item in the test part.
    fn test_counts(&self) -> Vec<f32> {
        let mut counts = vec![0.0; N_ITEMS];
        for person in &self.people {
            let places = person.test_start..person.events.len();
            for place in places.filter(|place| !person.views.contains(place)) {
                counts[person.events[place].0 as usize - 1] += 1.0;
            }
        }
        counts
    }

    /// Items, those that sell most in the test part first.
    fn by_test_sales(&self) -> Vec<usize> {
        let counts = self.test_counts();
        let mut order: Vec<usize> = (0..N_ITEMS).collect();
        order.sort_by(|a, b| counts[*b].total_cmp(&counts[*a]));
        order
    }

    /// Items in the order of their first events, or of their last ones.
    fn by_time(&self, by_last: bool) -> Vec<usize> {
        let mut moments = vec![if by_last { i64::MIN } else { i64::MAX }; N_ITEMS];
        for (item, time) in self.people.iter().flat_map(|person| &person.events) {
            let own = &mut moments[*item as usize - 1];
            *own = if by_last { (*own).max(*time) } else { (*own).min(*time) };
        }
        let mut order: Vec<usize> = (0..N_ITEMS).collect();
        order.sort_by_key(|item| moments[*item]);
        order
    }

    fn search(&self) -> Leakage {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dataset");
        let mut writer = DatasetWriter::new(&path, true).unwrap();
        let mut counts = self.extra_counts.clone();
        for person in &self.people {
            for (position, (item, timestamp_ms)) in person.events.iter().enumerate() {
                let item_idx = ItemIdx(*item);
                let row = EventRow {
                    item: item_idx,
                    timestamp_ms: *timestamp_ms,
                    event: if person.views.contains(&position) { 2 } else { 1 },
                    session: 0,
                    value: self.values[*item as usize - 1],
                };
                writer.push(row).unwrap();
                counts[*item as usize - 1] += u64::from(position < person.validation_start);
            }
            writer.end_user(person.validation_start as u32, person.test_start as u32).unwrap();
        }
        let names = FeatureNames {
            dense: self.dense.iter().map(|(name, _)| (*name).to_owned()).collect(),
            sparse: self.sparse.iter().map(|(name, _)| (*name).to_owned()).collect(),
        };
        let (mut dense, mut sparse, mut offsets) = (Vec::new(), Vec::new(), vec![0u64, 0]);
        dense.extend(self.dense.iter().map(|_| 0.0f32));
        for item in 0..N_ITEMS {
            dense.extend(self.dense.iter().map(|(_, values)| values[item]));
            let columns = (0u32..).zip(&self.sparse).filter(|(_, (_, has))| has[item]);
            sparse.extend(columns.map(|(column, _)| column));
            offsets.push(sparse.len() as u64);
        }
        let items = self.item_ids.iter().cloned().zip(counts);
        let tables = Tables {
            users: Vocabulary::from_entries(self.people.iter().map(|p| (p.id.clone(), 1)), 0)
                .unwrap(),
            items: Vocabulary::from_entries(items, 0).unwrap(),
            event_names: Vocabulary::from_entries([("purchase", 1), ("view_item", 1)], 0).unwrap(),
            titles: [""]
                .into_iter()
                .chain(self.titles.iter().map(String::as_str))
                .collect::<TextTable>(),
            encoders: forecart_data::encode::FeatureProgram::default(),
            item_features: ItemFeatures {
                names,
                dense: dense.into(),
                sparse_offsets: offsets.into(),
                sparse_indices: sparse.into(),
            },
            description: Description {
                protocol: self.protocol.clone(),
                seen: SeenItems::Keep,
                target_event: self.asks_for_purchases.then_some(1),
                has_time: true,
                order: EventOrder::Time,
                data_hash: "5e".repeat(32),
                config: serde_json::Value::Null,
                steps: Vec::new(),
                attribute_moments: self.moments.clone(),
            },
        };
        writer.finish(tables).unwrap();
        find_leaks(&Dataset::open(&path).unwrap())
    }

    /// The leak of the kind, alone, with its text.
    #[track_caller]
    fn finds(&self, kind: LeakKind, words: &[&str]) {
        let found = self.search();
        let kinds: Vec<LeakKind> = found.leaks.iter().map(|leak| leak.kind).collect();
        assert_eq!(kinds, [kind], "{found:#?}");
        let text = found.leaks[0].to_string();
        for word in words {
            assert!(text.contains(word), "{word:?} is missing in {text}");
        }
    }
}

#[test]
fn clean_logs_raise_no_alarm() {
    for protocol in [Protocol::LooFull, TIME, SESSION] {
        let found = Log::clean(protocol.clone()).search();
        assert_eq!(found, Leakage::default(), "{protocol:?}");
    }
}

#[test]
fn training_events_after_the_cut() {
    let mut log = Log::clean(TIME);
    let late = log.people.iter_mut().filter(|p| p.test_start < p.events.len()).take(7);
    late.for_each(|person| {
        (person.validation_start, person.test_start) = (person.events.len(), person.events.len())
    });
    log.finds(LeakKind::EventAcrossCut, &["train part", "user \"u", "item \"item", "2020-"]);
}

#[test]
fn a_test_event_older_than_what_was_learned_from() {
    let mut log = Log::clean(Protocol::LooFull);
    for person in log.people.iter_mut().take(9) {
        let last = person.events.len() - 1;
        person.events.swap(0, last);
    }
    log.finds(LeakKind::OrderBroken, &["18 held-out events", "\"u0\""]);
}

#[test]
fn sessions_that_end_after_test_sessions() {
    let mut log = Log::clean(SESSION);
    for person in log.people.iter_mut().filter(|p| p.test_start == 0).step_by(3) {
        (person.validation_start, person.test_start) = (person.events.len(), person.events.len());
    }
    log.finds(LeakKind::SessionAfterTest, &["sessions end after", "\"u"]);
}

#[test]
fn rows_that_stand_in_two_parts() {
    let mut log = Log::clean(Protocol::LooFull);
    for person in log.people.iter_mut().take(5) {
        // The last event once more, and cut between the two.
        let last = *person.events.last().unwrap();
        person.events.push(last);
        let n = person.events.len();
        (person.validation_start, person.test_start) = (n - 1, n - 1);
    }
    log.finds(LeakKind::DuplicateRow, &["5 held-out events", "2020-"]);
}

#[test]
fn people_under_two_ids() {
    let mut log = Log::clean(Protocol::LooFull);
    for number in 0..40 {
        // A copy that went on: what is held out of the first is learned from.
        let mut copy = log.people[number].clone();
        copy.id = format!("copy{number}");
        let after = copy.events.last().unwrap().1 + 1000;
        copy.events.extend([(5, after), (9, after + 1000)]);
        copy.validation_start += 2;
        copy.test_start += 2;
        log.people.push(copy);
    }
    log.finds(LeakKind::DuplicateUser, &["40 of 840", "\"copy"]);
}

#[test]
fn sessions_under_two_ids() {
    let mut log = Log::clean(SESSION);
    let mut tests = log.people.iter().filter(|p| p.test_start == 0 && p.validation_start == 0);
    let (mut a, mut b) = (tests.next().unwrap().clone(), tests.next().unwrap().clone());
    for (number, copy) in [&mut a, &mut b].into_iter().enumerate() {
        copy.id = format!("copy{number}");
    }
    log.people.extend([a, b]);
    log.finds(LeakKind::DuplicateUser, &["\"copy"]);
}

#[test]
fn the_vocabulary_was_counted_over_all_parts() {
    let mut log = Log::clean(TIME);
    log.extra_counts = log.test_counts().iter().map(|n| *n as u64).collect();
    log.finds(LeakKind::CountsOfTheFuture, &["items.vocab", "item \"item"]);
}

#[test]
fn a_number_that_counts_the_test_part() {
    for protocol in [Protocol::LooFull, TIME, SESSION] {
        let mut log = Log::clean(protocol);
        let mut totals = log.test_counts();
        for person in &log.people {
            for (item, _) in &person.events[..person.test_start] {
                totals[*item as usize - 1] += 0.5;
            }
        }
        log.dense.push(("n_reviews", totals));
        log.finds(LeakKind::AttributeOfTheFuture, &["n_reviews", "dense.f32"]);
    }
}

#[test]
fn a_text_that_says_what_is_bought_later() {
    let mut log = Log::clean(TIME);
    let sold = log.test_counts().iter().map(|n| *n >= 3.0).collect();
    log.sparse.push(("status=sold_in_december", sold));
    log.finds(LeakKind::AttributeOfTheFuture, &["sold_in_december", "sparse"]);
}

#[test]
fn a_moment_after_the_cut() {
    let mut log = Log::clean(TIME);
    log.moments.push(AttributeMoments {
        column: "last_sold_at".into(),
        n_items: 290,
        n_after_test_start: 120,
        examples: vec!["item \"item1037\": 2020-12-20".into()],
    });
    log.finds(LeakKind::MomentAfterCut, &["120 of 290", "last_sold_at", "item1037"]);
}

#[test]
fn item_ids_by_what_sells_later() {
    let mut log = Log::clean(TIME);
    let counts = log.test_counts();
    let mut order: Vec<usize> = (0..N_ITEMS).collect();
    order.sort_by(|a, b| counts[*b].total_cmp(&counts[*a]));
    for (rank, item) in order.into_iter().enumerate() {
        log.item_ids[item] = format!("{}", rank + 1);
    }
    log.finds(LeakKind::ItemIdOfTheFuture, &["ids of 300 items"]);
}

#[test]
fn user_ids_that_name_the_target() {
    let mut log = Log::clean(Protocol::LooFull);
    for person in &mut log.people {
        let target = &log.item_ids[person.events.last().unwrap().0 as usize - 1];
        person.id = format!("{}:{target}", person.id);
    }
    log.finds(LeakKind::UserIdOfTheFuture, &["800 of 800 user ids", ":item"]);
}

#[test]
fn users_in_the_order_of_their_targets() {
    let mut log = Log::clean(Protocol::LooFull);
    log.people.sort_by_key(|person| person.events.last().unwrap().0);
    log.finds(LeakKind::UserIdOfTheFuture, &["the order of users"]);
}

/// What a shop numbers when it lists an item is sold in nearly that order.
#[test]
fn ids_that_tell_the_time_are_noted_and_as_an_attribute_a_leak() {
    let mut log = Log::clean(TIME);
    let mut order = log.by_time(false);
    order.chunks_mut(30).for_each(<[usize]>::reverse);
    let mut ids = vec![0.0f32; N_ITEMS];
    for (rank, item) in order.into_iter().enumerate() {
        log.item_ids[item] = format!("sku-{:06}", 5 * rank);
        ids[item] = rank as f32;
    }
    let found = log.search();
    assert!(found.leaks.is_empty(), "{found:#?}");
    assert!(found.notes[0].contains("item ids tell when"), "{found:#?}");
    log.dense.push(("sku", ids));
    log.finds(LeakKind::IdAsAttribute, &["\"sku\"", "dense.f32"]);
}

#[test]
fn item_ids_in_the_order_of_the_whole_log() {
    for (by_last, word) in [(false, "first come in the log"), (true, "last chosen")] {
        let mut log = Log::clean(TIME);
        for (rank, item) in log.by_time(by_last).into_iter().enumerate() {
            log.item_ids[item] = format!("{}-x{rank}-b", 1000 + item * 37 % 1009);
        }
        log.finds(LeakKind::ItemIdTellsTime, &[word, "items.vocab", "300 items"]);
    }
}

#[test]
fn user_ids_in_the_order_of_last_events() {
    let mut log = Log::clean(TIME);
    let mut order: Vec<usize> = (0..log.people.len()).collect();
    order.sort_by_key(|person| log.people[*person].events.last().unwrap().1);
    for (rank, person) in order.into_iter().enumerate() {
        log.people[person].id = format!("customer {rank}");
    }
    log.finds(LeakKind::UserIdTellsTime, &["800 users", "last came"]);
    // Customers are numbered when they first come: no leak.
    let mut log = Log::clean(TIME);
    log.people.sort_by_key(|person| person.events[0].1);
    (0..).zip(&mut log.people).for_each(|(n, person)| person.id = format!("customer {n}"));
    let found = log.search();
    assert!(found.leaks.is_empty(), "{found:#?}");
    assert!(found.notes[0].contains("user first came"), "{found:#?}");
}

/// Each text has twelve items: too few to be seen by itself.
#[test]
fn a_text_of_many_values_that_ranks_by_later_sales() {
    let mut log = Log::clean(TIME);
    let order = log.by_test_sales();
    let names: Vec<&'static str> =
        (0..25).map(|tier| &*Box::leak(format!("tier={tier}").into_boxed_str())).collect();
    for (tier, name) in names.into_iter().enumerate() {
        // Mixed, so that nothing grows with the number of the tier.
        let tier = tier * 7 % 25;
        let members = &order[tier * 12..(tier + 1) * 12];
        log.sparse.push((name, (0..N_ITEMS).map(|item| members.contains(&item)).collect()));
    }
    log.finds(LeakKind::AttributeOfTheFuture, &["\"tier\"", "sparse_indices.u32"]);
}

/// Each span of numbers has items that sell alike, in no order.
#[test]
fn a_number_that_is_a_code_of_later_sales() {
    let mut log = Log::clean(TIME);
    let mut code = vec![0.0f32; N_ITEMS];
    for (rank, item) in log.by_test_sales().into_iter().enumerate() {
        code[item] = ((rank / 15 * 7 % 20) * 15 + rank % 15) as f32;
    }
    log.dense.push(("shelf", code));
    log.finds(LeakKind::AttributeOfTheFuture, &["\"shelf\"", "dense.f32", "same"]);
}

#[test]
fn a_word_of_titles_that_was_added_afterwards() {
    let mut log = Log::clean(TIME);
    for item in log.by_test_sales().into_iter().take(60) {
        log.titles[item].push_str(" (Bestseller)");
    }
    log.finds(LeakKind::AttributeOfTheFuture, &["bestseller", "titles.texts"]);
}

#[test]
fn a_rating_that_knows_what_sells_later() {
    let mut log = Log::clean(TIME);
    for (rank, item) in log.by_test_sales().into_iter().enumerate() {
        log.values[item] = 5.0 - (rank / 60) as f32;
    }
    log.finds(LeakKind::AttributeOfTheFuture, &["\"value\"", "values.f32"]);
}

#[test]
fn an_attribute_that_names_the_buyer() {
    let mut log = Log::clean(Protocol::LooFull);
    let mut buyer: Vec<Option<&str>> = vec![None; N_ITEMS];
    for person in &log.people {
        buyer[person.events.last().unwrap().0 as usize - 1] = Some(&person.id);
    }
    let names: Vec<(String, usize)> = buyer
        .iter()
        .enumerate()
        .filter_map(|(item, buyer)| Some((format!("last_buyer={}", (*buyer)?), item)))
        .collect();
    for (name, own) in names {
        let name: &'static str = Box::leak(name.into_boxed_str());
        log.sparse.push((name, (0..N_ITEMS).map(|item| item == own).collect()));
    }
    log.finds(LeakKind::AttributeOfTheFuture, &["last_buyer", "names user \"u"]);
}

/// The order line alone, not what came before it.
#[test]
fn order_lines_under_another_user_id() {
    let mut log = Log::clean(Protocol::LooFull);
    for number in 0..20 {
        let line = *log.people[number].events.last().unwrap();
        let other = &mut log.people[number + 400];
        other.events.insert(0, line);
        other.events.sort_by_key(|(_, time)| *time);
        // Two more events, so that the line is not held out of the other user too.
        let end = other.events.last().unwrap().1;
        other.events.extend([(3, end + 1000), (4, end + 2000)]);
    }
    log.split();
    log.finds(LeakKind::DuplicateUser, &["2.5 %", "\"u4"]);
}

/// A second copy of the log, an hour behind.
#[test]
fn a_log_that_was_read_twice_in_two_time_zones() {
    let mut log = Log::clean(Protocol::LooFull);
    for person in &mut log.people {
        let copies = person.events.iter().map(|(item, time)| (*item, time + 3_600_000));
        person.events.extend(copies.collect::<Vec<_>>());
        person.events.sort_by_key(|(_, time)| *time);
    }
    log.split();
    log.finds(LeakKind::DuplicateRow, &["3600 s before", "known of the same user"]);
}

/// The test part once more, months before and under other ids.
#[test]
fn what_is_bought_later_moved_before_the_cut() {
    let mut log = Log::clean(TIME);
    let late: Vec<Person> = log
        .people
        .iter()
        .filter(|person| person.events.len() - person.test_start >= 4)
        .cloned()
        .collect();
    assert!(late.len() >= 5, "{}", late.len());
    for (number, mut copy) in late.into_iter().enumerate() {
        copy.id = format!("copy{number}");
        copy.events.drain(..copy.test_start);
        copy.events.iter_mut().for_each(|(_, time)| *time -= 60 * DAY_MS);
        log.people.push(copy);
    }
    log.split();
    log.finds(LeakKind::DuplicateUser, &["does what user \"copy"]);
}

/// Sorted by text, ids lie beside each other where the same item is held out; nothing grows with them.
#[test]
fn user_ids_that_begin_with_a_code_of_the_target() {
    let mut log = Log::clean(Protocol::LooFull);
    for (number, person) in log.people.iter_mut().enumerate() {
        let target = person.events.last().unwrap().0;
        person.id = format!("{:x}-{number}", target.wrapping_mul(2_654_435_761));
    }
    log.finds(LeakKind::UserIdOfTheFuture, &["user ids", "lie beside each other"]);
}

/// Views are known, not asked for: what only views of the test part tell is no leak, what purchases tell is one.
#[test]
fn only_what_is_asked_for_can_leak() {
    let mut log = Log::clean(TIME);
    log.asks_for_purchases = true;
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for person in &mut log.people {
        // Events at odd places are views, of items of their own taste.
        for place in (1..person.events.len()).step_by(2) {
            person.views.push(place);
            person.events[place].0 = rng.random_range(1..=N_ITEMS as u32);
        }
    }
    assert_eq!(log.search(), Leakage::default());
    let bought = log.test_counts();
    let mut viewed = vec![0.0f32; N_ITEMS];
    for person in &log.people {
        for place in person.views.iter().filter(|place| **place >= person.test_start) {
            viewed[person.events[*place].0 as usize - 1] += 1.0;
        }
    }
    let mut of_views = log.clone();
    of_views.dense.push(("n_viewed_later", viewed));
    assert_eq!(of_views.search(), Leakage::default());
    log.dense.push(("n_bought_later", bought));
    log.finds(LeakKind::AttributeOfTheFuture, &["n_bought_later"]);
}

/// A view that stands on both sides is known anyway; a purchase is a leak.
#[test]
fn rows_that_stand_in_two_parts_count_where_they_are_asked_for() {
    let mut log = Log::clean(Protocol::LooFull);
    log.asks_for_purchases = true;
    for person in log.people.iter_mut().take(5) {
        let last = *person.events.last().unwrap();
        person.events.push(last);
        let n = person.events.len();
        person.views = vec![n - 2, n - 1];
        (person.validation_start, person.test_start) = (n - 1, n - 1);
    }
    assert_eq!(log.search(), Leakage::default());
    log.people.iter_mut().for_each(|person| person.views.clear());
    log.finds(LeakKind::DuplicateRow, &["5 held-out events"]);
}

/// A handful of users and items: nothing to find, and nothing to fall over.
#[test]
fn tiny_logs_are_searched_too() {
    for n_people in [1, 2, 3] {
        for protocol in [Protocol::LooFull, TIME, SESSION] {
            let mut log = Log::clean(protocol);
            log.people.truncate(n_people);
            assert!(log.search().leaks.is_empty());
            // All ties.
            for person in &mut log.people {
                person.events.iter_mut().for_each(|(item, _)| *item = 1);
            }
            log.search();
        }
    }
}
