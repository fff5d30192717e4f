use std::collections::HashMap;

use super::*;

const HORIZON_MS: i64 = DAY_MS;
const N_INTENTS: usize = INTENTS.len();

fn config(n_users: u32, seed: u64) -> GenerateQuestionsConfig {
    GenerateQuestionsConfig { n_users, n_days: 45, seed }
}

fn text(config: &GenerateQuestionsConfig) -> String {
    let mut out = Vec::new();
    generate_questions(config, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// A row as it is known: event, item or page, time, and the intent of an ask.
struct Known {
    event: &'static str,
    object: String,
    at_ms: i64,
    intent: Option<usize>,
}

/// The rows of each user.
fn users(config: &GenerateQuestionsConfig) -> Vec<Vec<Known>> {
    let mut users: Vec<Vec<Known>> = (0..config.n_users).map(|_| Vec::new()).collect();
    for Row { at_ms, user, kind } in rows(config) {
        let (event, object, intent) = match kind {
            RowKind::Step(step) => (step.action.names().0, step.action.names().1, None),
            RowKind::Ask(intent) => ("ask", String::new(), Some(intent)),
        };
        users[user as usize].push(Known { event, object, at_ms, intent });
    }
    users
}

fn asked(rows: &[Known], place: usize) -> [bool; N_INTENTS] {
    let now_ms = rows[place].at_ms;
    let mut asked = [false; N_INTENTS];
    for row in rows.iter().filter(|row| (1..=HORIZON_MS).contains(&(row.at_ms - now_ms))) {
        row.intent.iter().for_each(|intent| asked[*intent] = true);
    }
    asked
}

fn behaviors(rows: &[Known]) -> Vec<Behavior<'_>> {
    rows.iter()
        .map(|row| Behavior { event: row.event, object: &row.object, timestamp_ms: row.at_ms })
        .collect()
}

/// A place of each user whose window is closed, at most the 60th. It does not depend on how many events follow: a place drawn from all of a
/// user's is more often one after which little happens.
fn one_place(user: usize, rows: &[Known], end_ms: i64) -> Option<usize> {
    let place = user.wrapping_mul(7919) % 60;
    rows.get(place).filter(|row| row.at_ms + HORIZON_MS < end_ms).map(|_| place)
}

fn end_ms(config: &GenerateQuestionsConfig) -> i64 {
    FIRST_MS + i64::from(config.n_days) * DAY_MS
}

fn place(intent: &str) -> usize {
    INTENTS.iter().position(|own| *own == intent).unwrap()
}

#[test]
fn same_seed_same_bytes_in_the_order_of_time() {
    let one = text(&config(50, 1));
    assert_eq!(one, text(&config(50, 1)));
    assert_ne!(one, text(&config(50, 2)));
    let rows: Vec<Vec<&str>> = one.lines().skip(1).map(|l| l.split(',').collect()).collect();
    assert!(rows.iter().all(|row| row.len() == 5 && (row[2] == "ask") != row[4].is_empty()));
    assert!(rows.windows(2).all(|pair| pair[0][3] <= pair[1][3]));
    // A user's rows do not depend on how many others there are.
    let of_first = |text: &str| {
        text.lines().filter(|l| l.starts_with("u0,")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(of_first(&one), of_first(&text(&config(5, 1))));
    assert!(generate_questions(&config(0, 1), Vec::new()).is_err());
}

#[test]
fn a_log_has_as_many_rows_and_questions_as_a_shop_might() {
    let config = config(1000, 3);
    let users = users(&config);
    let n_rows: usize = users.iter().map(Vec::len).sum();
    assert!((40_000..100_000).contains(&n_rows), "{n_rows}");
    let mut counts = [0; N_INTENTS];
    users.iter().flatten().filter_map(|row| row.intent).for_each(|intent| counts[intent] += 1);
    for (intent, count) in INTENTS.iter().zip(counts) {
        assert!((60..1500).contains(&count), "{intent} {count}");
    }
}

/// Questions come as often as the truth says, over all its probabilities. Users are independent, so a share over moments of
/// different users has the binomial's error; that of 200 futures is far below.
#[test]
fn what_is_asked_agrees_with_the_truth() {
    let config = config(4000, 5);
    let truth = Truth::new(HORIZON_MS);
    let mut all: Vec<(f64, bool)> = Vec::new();
    let mut by_intent = [(0.0, 0.0, 0.0); N_INTENTS];
    for (user, rows) in users(&config).iter().enumerate() {
        let Some(place) = one_place(user, rows, end_ms(&config)) else { continue };
        let probabilities = truth.probabilities(&behaviors(&rows[..=place]), user as u64);
        let asked = asked(rows, place);
        for (intent, (p, is)) in probabilities.iter().zip(asked).enumerate() {
            let (sum, variance, n) = &mut by_intent[intent];
            *sum += p;
            *variance += p * (1.0 - p);
            *n += f64::from(u8::from(is));
            all.push((*p, is));
        }
    }
    for (intent, (sum, variance, n)) in INTENTS.iter().zip(by_intent) {
        assert!((sum - n).abs() < 4.0 * f64::sqrt(variance), "{intent}: {sum} but {n} asked");
    }
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Deciles, and the last one once more: most of them are of moments without a cause.
    let (low, high) = all.split_at(all.len() * 9 / 10);
    for (at, bin) in low.chunks(low.len() / 9).chain(high.chunks(high.len() / 10)).enumerate() {
        let sum: f64 = bin.iter().map(|(p, _)| p).sum();
        let variance: f64 = bin.iter().map(|(p, _)| p * (1.0 - p)).sum();
        let n = bin.iter().filter(|(_, is)| *is).count() as f64;
        assert!((sum - n).abs() < 4.0 * variance.sqrt() + 1.0, "bin {at}: {sum} but {n} asked");
    }
    let spread = (all[all.len() / 2].0, all[all.len() * 99 / 100].0);
    assert!(spread.0 < 0.02 && spread.1 > 0.2, "{spread:?}");
}

/// The last behavior says some of what will be asked, and far from all.
#[test]
fn the_last_behavior_is_far_below_the_ceiling() {
    let config = config(2500, 8);
    let users = users(&config);
    let key = |row: &Known| match row.intent {
        Some(intent) => ("ask", INTENTS[intent].to_owned()),
        None => (row.event, row.object.clone()),
    };
    let mut overall = [0.0; N_INTENTS];
    let mut by_last: HashMap<(&str, String), [f64; N_INTENTS]> = HashMap::new();
    let (fitted, tested) = users.split_at(2000);
    for rows in fitted {
        for place in 0..rows.len() {
            let own = by_last.entry(key(&rows[place])).or_insert([0.0; N_INTENTS]);
            for (intent, is) in asked(rows, place).into_iter().enumerate() {
                own[intent] += f64::from(u8::from(is));
                overall[intent] += f64::from(u8::from(is));
            }
        }
    }
    let total: f64 = overall.iter().sum();
    let truth = Truth::new(HORIZON_MS);
    let mut hits = [0.0; 3];
    let mut n = 0.0;
    for rows in tested {
        for place in (0..rows.len()).step_by(5) {
            let asked = asked(rows, place);
            if !asked.contains(&true) {
                continue;
            }
            let popular = overall.to_vec();
            let mut last = by_last.get(&key(&rows[place])).map_or(popular.clone(), |l| l.to_vec());
            last.iter_mut().zip(overall).for_each(|(own, all)| *own += 20.0 * all / total);
            let best = truth.probabilities(&behaviors(&rows[..=place]), place as u64);
            n += 1.0;
            for (hits, scores) in hits.iter_mut().zip([popular, last, best]) {
                let mut order: Vec<usize> = (0..N_INTENTS).collect();
                order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
                *hits += f64::from(u8::from(order[..3].iter().any(|intent| asked[*intent])));
            }
        }
    }
    let [popular, last, ceiling] = hits.map(|hits| hits / n);
    assert!((0.3..0.45).contains(&popular), "{popular}");
    assert!((popular + 0.03..0.56).contains(&last), "{popular} {last}");
    assert!((0.74..0.88).contains(&ceiling), "{last} {ceiling}");
}

/// The probability of an intent after a history of event, object and minute, a moment ago.
fn after(intent: &str, history: &[(&'static str, &'static str, i64)]) -> f64 {
    let at = |(event, object, minute): &(&'static str, &'static str, i64)| Behavior {
        event,
        object,
        timestamp_ms: FIRST_MS + minute * 60_000,
    };
    let history: Vec<Behavior<'_>> = history.iter().map(at).collect();
    Truth::new(HORIZON_MS).probabilities(&history, 4)[place(intent)]
}

#[test]
fn a_cause_needs_all_of_it_and_ends_when_it_is_over() {
    let page = ("view_page", "delivery", 2000);
    let bought = ("purchase", "i7", 0);
    let alone = after("where_is_my_parcel", &[page]);
    let both = after("where_is_my_parcel", &[bought, page]);
    let thrice = [bought, page, ("view_page", "delivery", 2003), ("view_page", "delivery", 2005)];
    let often = after("where_is_my_parcel", &thrice);
    assert!(alone < 0.03 && both > alone + 0.02 && often > 0.2, "{alone} {both} {often}");
    let there = [&thrice[..], &[("shipped", "i7", 2006), ("delivered", "i7", 2007)]].concat();
    assert!(after("where_is_my_parcel", &there) < 0.05);
    // What lies between says nothing.
    let between = [&thrice[..], &[("view_item", "i9", 2006), ("ask", "", 2008)]].concat();
    assert!(after("where_is_my_parcel", &between) > 0.2);

    let failed = [("add_to_cart", "i3", 0), ("payment_failed", "i3", 1)];
    let paid = [&failed[..], &[("purchase", "i3", 2)]].concat();
    let (failed, paid) = (after("payment_failed", &failed), after("payment_failed", &paid));
    assert!(failed > 0.25 && paid < 0.05, "{failed} {paid}");

    let coupon = ("view_page", "coupons", 1);
    let empty = after("coupon_not_working", &[("view_item", "i3", 0), coupon]);
    let full = after("coupon_not_working", &[("add_to_cart", "i3", 0), coupon]);
    assert!(empty < 0.08 && full > 0.25, "{empty} {full}");
}

#[test]
fn the_cause_with_the_largest_share_is_named() {
    let at = |event, object, minute: i64| Behavior {
        event,
        object,
        timestamp_ms: FIRST_MS + minute * 60_000,
    };
    let history = [
        at("delivered", "i5", 0),
        at("view_page", "returns", 500),
        at("view_item", "i5", 501),
        at("search", "", 502),
    ];
    let truth = Truth::new(HORIZON_MS);
    let cause = truth.cause(&history, place("how_to_return"), 1).unwrap();
    assert_eq!(cause.trigger, ("view_page".into(), "returns".into()));
    assert_eq!(cause.needs, Some(("delivered".into(), "i5".into())));
    assert!(cause.share > 0.7 && cause.share <= 1.0, "{}", cause.share);
    let broken = truth.cause(&history, place("product_broken"), 1).unwrap();
    assert_eq!(broken.trigger, ("view_item".into(), "i5".into()));
    assert_eq!(truth.cause(&history, place("speak_to_human"), 1), None);
    assert_eq!(truth.cause(&[], place("how_to_return"), 1), None);
}

#[test]
fn the_truth_is_the_same_for_the_same_seed_and_within_its_error_for_another() {
    let at = |event, object, minute: i64| Behavior {
        event,
        object,
        timestamp_ms: FIRST_MS + minute * 60_000,
    };
    let history = [at("purchase", "i5", 0), at("view_page", "delivery", 500)];
    let truth = Truth::new(HORIZON_MS);
    let one = truth.probabilities(&history, 1);
    assert_eq!(one, truth.probabilities(&history, 1));
    let other = truth.probabilities(&history, 2);
    assert_ne!(one, other);
    assert!(one.iter().zip(other).all(|(a, b)| (a - b).abs() < 0.05));
}
