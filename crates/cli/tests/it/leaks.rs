//! Leaks planted in raw logs: `evaluate` ends with exit code 3 and says where; the clean log passes.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::commands::{forecart, stderr};

const N_USERS: usize = 400;
const N_ITEMS: usize = 100;
const DAY: i64 = 86_400;
const START: i64 = 1_600_000_017;

/// Numbers without order, the same in every run: SplitMix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[derive(Clone)]
struct Shop {
    protocol: &'static str,
    /// Names of users and items, by number.
    users: Vec<String>,
    items: Vec<String>,
    /// User, item, seconds; sorted by time.
    events: Vec<(usize, usize, i64)>,
    /// A value of each event of an item.
    ratings: Option<Vec<f64>>,
    /// Columns of the catalog.
    catalog: Vec<(&'static str, Vec<String>)>,
    config: &'static str,
    /// Lines of the file as they come, not by time.
    is_shuffled: bool,
}

impl Shop {
    fn new(protocol: &'static str) -> Self {
        let mut chance = Chance(7);
        let mut events = Vec::new();
        for user in 0..N_USERS {
            for _ in 0..5 + (chance.next() * 12.0) as usize {
                let time = START + (chance.next() * 100.0 * DAY as f64) as i64;
                let drift = ((time - START) / (10 * DAY)) as usize;
                let item = (chance.next().powi(2) * 90.0) as usize + drift;
                events.push((user, item % N_ITEMS, time));
            }
        }
        events.sort_by_key(|(user, _, time)| (*time, *user));
        Self {
            protocol,
            users: (0..N_USERS).map(|user| format!("u{}", 1000 + user * 617 % 4001)).collect(),
            items: (0..N_ITEMS).map(|item| format!("p{}", 500 + item * 61 % 307)).collect(),
            events,
            ratings: None,
            catalog: vec![("price", (0..N_ITEMS).map(|i| (i * 37 % 89 + 1).to_string()).collect())],
            config: "",
            is_shuffled: false,
        }
    }

    /// Places of each user's events.
    fn by_user(&self) -> Vec<Vec<usize>> {
        let mut places = vec![Vec::new(); self.users.len()];
        self.events.iter().enumerate().for_each(|(place, event)| places[event.0].push(place));
        places
    }

    /// From when on events are for test, by the default shares.
    fn cut(&self) -> i64 {
        self.events[self.events.len() * 9 / 10].2
    }

    /// Items, what sells most in the test part first.
    fn by_test_sales(&self) -> Vec<usize> {
        let mut counts = vec![0; N_ITEMS];
        match self.protocol {
            "time" => {
                let cut = self.cut();
                let late = self.events.iter().filter(|(_, _, time)| *time >= cut);
                late.for_each(|(_, item, _)| counts[*item] += 1);
            }
            _ => {
                for places in self.by_user() {
                    counts[self.events[*places.last().unwrap()].1] += 1;
                }
            }
        }
        let mut order: Vec<usize> = (0..N_ITEMS).collect();
        order.sort_by_key(|item| std::cmp::Reverse(counts[*item]));
        order
    }

    /// A catalog column with a value for each place in the order of test sales.
    fn with_column(mut self, name: &'static str, value: impl Fn(usize) -> String) -> Self {
        let mut column = vec![String::new(); N_ITEMS];
        for (place, item) in self.by_test_sales().into_iter().enumerate() {
            column[item] = value(place);
        }
        self.catalog.push((name, column));
        self
    }

    fn configured(self, config: &'static str) -> Self {
        Self { config, ..self }
    }

    fn write(&self, folder: &Path) {
        let mut log = String::from("user_id,item_id,event,timestamp,value\n");
        let mut events = self.events.clone();
        if self.is_shuffled {
            let mut chance = Chance(3);
            let mut keys: HashMap<(usize, usize, i64), f64> = HashMap::new();
            events.iter().for_each(|event| _ = keys.insert(*event, chance.next()));
            events.sort_by(|a, b| keys[a].total_cmp(&keys[b]));
        }
        for (user, item, time) in events {
            let (user, id) = (&self.users[user], &self.items[item]);
            let value = self.ratings.as_ref().map_or(1.0, |ratings| ratings[item]);
            let _ = writeln!(log, "{user},{id},purchase,{time},{value}");
        }
        fs::write(folder.join("log.csv"), log).unwrap();
        let mut items = String::from("item_id");
        self.catalog.iter().for_each(|(name, _)| _ = write!(items, ",{name}"));
        items.push('\n');
        for (item, id) in self.items.iter().enumerate() {
            items.push_str(id);
            self.catalog.iter().for_each(|(_, column)| _ = write!(items, ",{}", column[item]));
            items.push('\n');
        }
        fs::write(folder.join("items.csv"), items).unwrap();
        let config = format!("[data]\nitems = \"items.csv\"\n{}", self.config);
        fs::write(folder.join("forecart.toml"), config).unwrap();
    }

    /// Exit code and message of `evaluate`.
    fn evaluate(&self, more: &[&str]) -> (i32, String) {
        let folder = tempfile::tempdir().unwrap();
        self.write(folder.path());
        let evaluate = ["evaluate", "--input", "log.csv", "--protocol", self.protocol];
        let models = ["--models", "popularity", "--no-baselines"];
        let output = forecart(folder.path(), &[&evaluate[..], &models, more].concat());
        (output.status.code().unwrap(), stderr(&output))
    }

    /// Found, by itself, and the place named; and nothing is left when it may be measured all the same.
    #[track_caller]
    fn leaks(&self, words: &[&str]) {
        let (code, message) = self.evaluate(&[]);
        assert_eq!(code, 3, "{message}");
        for word in words {
            assert!(message.contains(word), "{word:?} is missing in {message}");
        }
        let (code, message) = self.evaluate(&["--allow-leaks"]);
        assert_eq!(code, 0, "{message}");
    }
}

#[test]
fn a_clean_shop_passes() {
    for protocol in ["time", "loo-full"] {
        let (code, message) = Shop::new(protocol).evaluate(&[]);
        assert_eq!(code, 0, "{protocol}: {message}");
    }
}

const SALES_RANK: &str =
    "[[prepare.item_features.columns]]\nkind = \"numeric\"\ncolumn = \"rank\"\n";

#[test]
fn an_attribute_that_is_the_rank_of_later_sales() {
    for protocol in ["time", "loo-full"] {
        let shop = Shop::new(protocol).with_column("rank", |place| place.to_string());
        shop.configured(SALES_RANK).leaks(&["dense.f32, column \"rank\"", "test part"]);
    }
}

#[test]
fn the_rank_of_later_sales_with_noise_under_another_name() {
    let noise = |place: usize| ((place * 29 % 41) as f64 - 20.0) * 1.2;
    let shop = Shop::new("time").with_column("rank", |p| format!("{}", p as f64 + noise(p)));
    shop.configured(SALES_RANK).leaks(&["column \"rank\""]);
}

/// Taken without configuration; each tier has five items, and no number.
#[test]
fn a_category_made_of_later_sales() {
    let shop = Shop::new("time").with_column("category", |place| format!("tier {}", place / 5));
    shop.leaks(&["sparse_indices.u32, column \"category\"", "chosen alike"]);
}

#[test]
fn a_title_that_was_changed_afterwards() {
    let shop = Shop::new("time").with_column("title", |place| match place {
        0..30 => format!("Lamp {place} SOLD OUT"),
        _ => format!("Lamp {place}"),
    });
    shop.leaks(&["titles.texts, column \"sold\""]);
}

/// What sold is reduced afterwards: the price is encoded without configuration.
#[test]
fn a_price_that_was_changed_after_the_sale() {
    let mut shop = Shop::new("time").with_column("price", |place| (20 + place * 3).to_string());
    shop.catalog.remove(0);
    shop.leaks(&["dense.f32, column \"price\""]);
}

#[test]
fn an_attribute_that_is_a_moment_after_the_cut() {
    let mut shop = Shop::new("time");
    let mut last = vec![0; N_ITEMS];
    shop.events.iter().for_each(|(_, item, time)| last[*item] = *time * 1000);
    shop.catalog.push(("last_sold_at", last.iter().map(i64::to_string).collect()));
    let config =
        "[[prepare.item_features.columns]]\nkind = \"numeric\"\ncolumn = \"last_sold_at\"\n";
    shop.configured(config).leaks(&["a moment after the cut", "last_sold_at", "items.parquet"]);
}

#[test]
fn an_attribute_that_names_the_buyer() {
    let mut shop = Shop::new("loo-full");
    let mut buyer = vec![String::new(); N_ITEMS];
    for places in shop.by_user() {
        let (user, item, _) = shop.events[*places.last().unwrap()];
        buyer[item] = shop.users[user].clone();
    }
    shop.catalog.push(("last_buyer", buyer));
    let config = "[[prepare.item_features.columns]]\nkind = \"one_hot\"\ncolumn = \"last_buyer\"\n\
                  min_count = 1\n";
    shop.configured(config).leaks(&["column \"last_buyer\"", "names user"]);
}

#[test]
fn a_rating_that_knows_what_sells_later() {
    let mut shop = Shop::new("time");
    let mut ratings = vec![0.0; N_ITEMS];
    let order = shop.by_test_sales();
    order
        .into_iter()
        .enumerate()
        .for_each(|(place, item)| ratings[item] = 5.0 - place as f64 / 25.0);
    shop.ratings = Some(ratings);
    shop.leaks(&["values.f32, column \"value\""]);
}

#[test]
fn user_ids_that_hold_the_target() {
    let mut shop = Shop::new("loo-full");
    for places in shop.by_user() {
        let (user, item, _) = shop.events[*places.last().unwrap()];
        shop.users[user] = format!("{user}-{}", shop.items[item]);
    }
    shop.leaks(&["400 of 400 user ids", "users.vocab", "chooses item"]);
}

#[test]
fn user_ids_in_the_order_of_last_purchases() {
    let mut shop = Shop::new("time");
    let mut last = vec![0; N_USERS];
    shop.events.iter().for_each(|(user, _, time)| last[*user] = *time);
    let mut order: Vec<usize> = (0..N_USERS).collect();
    order.sort_by_key(|user| last[*user]);
    order.into_iter().enumerate().for_each(|(rank, user)| shop.users[user] = format!("c{rank}"));
    shop.leaks(&["users.vocab", "when a user last came"]);
}

#[test]
fn item_ids_in_the_order_of_the_whole_log() {
    let mut shop = Shop::new("time");
    let mut first = vec![i64::MAX; N_ITEMS];
    for (_, item, time) in &shop.events {
        first[*item] = first[*item].min(*time);
    }
    let mut order: Vec<usize> = (0..N_ITEMS).collect();
    order.sort_by_key(|item| first[*item]);
    order.into_iter().enumerate().for_each(|(rank, item)| shop.items[item] = format!("{rank}"));
    shop.leaks(&["items.vocab", "first come in the log"]);
}

#[test]
fn item_ids_by_later_sales() {
    let mut shop = Shop::new("time");
    let order = shop.by_test_sales();
    order.into_iter().enumerate().for_each(|(rank, item)| shop.items[item] = format!("p{rank}"));
    shop.leaks(&["items.vocab", "ids of", "chosen in the test part"]);
}

/// The last line of some users once more, as the first one of others.
#[test]
fn order_lines_under_another_user_id() {
    let mut shop = Shop::new("loo-full");
    let places = shop.by_user();
    for (number, places) in places.iter().take(20).enumerate() {
        let (_, item, time) = shop.events[*places.last().unwrap()];
        let other = number + 200;
        shop.events.push((other, item, time));
        // Later ones, so that the line is learned from.
        shop.events.extend([(other, 3, time + 9 * DAY), (other, 5, time + 10 * DAY)]);
    }
    shop.events.sort_by_key(|(user, _, time)| (*time, *user));
    shop.leaks(&["under another id", "test part against the train part", "does what user"]);
}

#[test]
fn a_log_that_was_read_twice_in_two_time_zones() {
    let mut shop = Shop::new("loo-full");
    let copies: Vec<_> =
        shop.events.iter().map(|(u, item, time)| (*u, *item, time + 7200)).collect();
    shop.events.extend(copies);
    shop.events.sort_by_key(|(user, _, time)| (*time, *user));
    shop.leaks(&["known before it", "7200 s before", "same user"]);
}

#[test]
fn the_test_part_moved_before_the_cut_under_other_ids() {
    let mut shop = Shop::new("time");
    let cut = shop.cut();
    let late: Vec<_> = shop.events.iter().filter(|(_, _, time)| *time >= cut).copied().collect();
    let mut n_late = vec![0; N_USERS];
    late.iter().for_each(|(user, ..)| n_late[*user] += 1);
    shop.users.extend((0..N_USERS).map(|user| format!("v{}", user * 617 % 4001)));
    let copied = late.into_iter().filter(|(user, ..)| n_late[*user] >= 4);
    shop.events.extend(
        copied.map(|(u, item, time)| (u + N_USERS, item, time - 45 * DAY)).collect::<Vec<_>>(),
    );
    shop.events.sort_by_key(|(user, _, time)| (*time, *user));
    shop.leaks(&["under another id", "does what user \"v"]);
}

#[test]
fn a_file_whose_order_is_taken_for_the_time() {
    let mut shop = Shop::new("loo-full").configured("[split]\norder = \"file\"\n");
    assert_eq!(shop.evaluate(&[]).0, 0, "a file in the order of time");
    shop.is_shuffled = true;
    shop.leaks(&["held-out events older than training events", "learned from up to"]);
}

/// Sessions of the training file that end after the first of the test file has ended, and test sessions that stand in the
/// training file under another id.
#[test]
fn sessions_of_two_files_that_overlap() {
    let session = |id: &str, start: i64, items: &[usize]| -> String {
        let line = |(step, item): (usize, &usize)| {
            let pause = 61 * step as i64 + (*item as i64 * 7) % 50;
            format!("{id},p{item},{}\n", START + start + pause)
        };
        items.iter().enumerate().map(line).collect()
    };
    let mut chance = Chance(9);
    let mut items = || -> Vec<usize> {
        (0..3 + (chance.next() * 3.0) as usize).map(|_| (chance.next() * 60.0) as usize).collect()
    };
    let (mut train, mut test, mut copies) = (String::new(), String::new(), String::new());
    let sessions: Vec<_> = (0..300).map(|n| (n, items())).collect();
    for (n, items) in &sessions {
        let start = n * 3_000;
        match n {
            0..270 => train.push_str(&session(&format!("s{}", n * 71 % 1009), start, items)),
            _ => {
                test.push_str(&session(&format!("t{n}"), start, items));
                copies.push_str(&session(&format!("s{}", 2000 + n), start - 500_000, items));
            }
        }
    }
    let evaluate = |train: &str| {
        let folder = tempfile::tempdir().unwrap();
        let header = "session_id,item_id,timestamp\n";
        fs::write(folder.path().join("train.csv"), format!("{header}{train}")).unwrap();
        fs::write(folder.path().join("test.csv"), format!("{header}{test}")).unwrap();
        let files = ["evaluate", "--input", "train.csv", "--test", "test.csv"];
        let models = ["--protocol", "session", "--models", "popularity", "--no-baselines"];
        let output = forecart(folder.path(), &[&files[..], &models].concat());
        (output.status.code().unwrap(), stderr(&output))
    };
    assert_eq!(evaluate(&train).0, 0, "{}", evaluate(&train).1);
    let late = format!("{train}{}", session("s3000", 290 * 3_000, &[1, 2, 3]));
    let (code, message) = evaluate(&late);
    assert_eq!(code, 3, "{message}");
    assert!(message.contains("training sessions later than test sessions"), "{message}");
    assert!(message.contains("s3000"), "{message}");
    let (code, message) = evaluate(&format!("{train}{copies}"));
    assert_eq!(code, 3, "{message}");
    assert!(message.contains("under another id") && message.contains("s2"), "{message}");
}
