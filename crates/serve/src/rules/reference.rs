//! What rules mean, the slow and plain way: over JSON, by the tree of the text. And random rules and items to try it on.

use jiff::Timestamp;
use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value as Json, json};

use super::parser::parse_condition;
use super::schema::{Schema, Scope};
use super::syntax::{Arithmetic, Comparison, Function, Node, NodeKind};
use crate::catalog::{Catalog, ColumnType, FIELDS};

/// The time of all random requests: 2026-06-01.
pub(crate) const NOW_MS: i64 = 1_780_272_000_000;
const DAY_MS: i64 = 86_400_000;

/// What a rule is asked about.
#[derive(Debug)]
pub(crate) struct Plain<'a> {
    pub(crate) item: &'a Map<String, Json>,
    pub(crate) user: &'a Map<String, Json>,
    pub(crate) context: &'a Map<String, Json>,
}

#[derive(Debug, Clone, PartialEq)]
enum Found {
    Missing,
    Number(f64),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    Path(Vec<String>),
    Time(i64),
}

/// Whether a rule holds, by its text.
pub(crate) fn holds(rule: &str, facts: &Plain<'_>) -> bool {
    let node = parse_condition(rule).unwrap();
    value(&node, facts) == Found::Bool(true)
}

fn time_of(text: &str) -> i64 {
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    whole.parse::<Timestamp>().unwrap().as_millisecond()
}

fn path_of(text: &str) -> Vec<String> {
    text.split('>').map(|step| step.trim().to_owned()).collect()
}

fn column(scope: Scope, name: &str, facts: &Plain<'_>) -> Found {
    let found = match scope {
        Scope::Item => match facts.item.get("attributes").and_then(|a| a.get(name)) {
            Some(attribute) => Some(attribute),
            None => facts.item.get(name),
        },
        Scope::User => facts.user.get(name),
        Scope::Context => facts.context.get(name),
    };
    let known = FIELDS.iter().find(|(field, _)| scope == Scope::Item && *field == name);
    let is_time = known.is_some_and(|(_, column_type)| *column_type == ColumnType::Time);
    match found.unwrap_or(&Json::Null) {
        Json::Number(number) => Found::Number(number.as_f64().unwrap()),
        Json::Bool(is) => Found::Bool(*is),
        Json::String(text) if is_time || name == "since" => Found::Time(time_of(text)),
        Json::String(text) if scope == Scope::Item && name == "category" => {
            Found::Path(path_of(text))
        }
        Json::String(text) => Found::Text(text.clone()),
        Json::Array(texts) => {
            Found::Texts(texts.iter().map(|text| text.as_str().unwrap().to_owned()).collect())
        }
        _ => Found::Missing,
    }
}

fn value(node: &Node, facts: &Plain<'_>) -> Found {
    let of = |node: &Node| value(node, facts);
    let is_true = |node: &Node| of(node) == Found::Bool(true);
    match &node.kind {
        NodeKind::Number(number) => Found::Number(*number),
        NodeKind::Bool(is) => Found::Bool(*is),
        NodeKind::Text(text) => Found::Text(text.clone()),
        NodeKind::List(nodes) => Found::Texts(
            nodes
                .iter()
                .map(|node| match &node.kind {
                    NodeKind::Text(text) => text.clone(),
                    NodeKind::Number(number) => number.to_string(),
                    _ => unreachable!(),
                })
                .collect(),
        ),
        NodeKind::Column(scope, name) => column(*scope, name, facts),
        NodeKind::Now => Found::Time(NOW_MS),
        NodeKind::Negate(one) => match of(one) {
            Found::Number(number) => Found::Number(-number),
            _ => Found::Missing,
        },
        NodeKind::Arithmetic(operation, left, right) => match (of(left), of(right)) {
            (Found::Number(left), Found::Number(right)) => {
                let number = match operation {
                    Arithmetic::Add => left + right,
                    Arithmetic::Subtract => left - right,
                    Arithmetic::Multiply => left * right,
                    Arithmetic::Divide => left / right,
                };
                if number.is_finite() { Found::Number(number) } else { Found::Missing }
            }
            _ => Found::Missing,
        },
        NodeKind::Call(Function::Default, arguments) => match of(&arguments[0]) {
            Found::Missing => of(&arguments[1]),
            found => found,
        },
        NodeKind::Call(Function::AgeDays, arguments) => match of(&arguments[0]) {
            Found::Time(time_ms) => Found::Number((NOW_MS - time_ms) as f64 / DAY_MS as f64),
            Found::Text(text) => Found::Number((NOW_MS - time_of(&text)) as f64 / DAY_MS as f64),
            _ => Found::Missing,
        },
        NodeKind::Compare(comparison, left, right) => {
            Found::Bool(compare(*comparison, of(left), of(right)))
        }
        NodeKind::In(one, list) => Found::Bool(share(of(one), of(list))),
        NodeKind::Has(list, one) => Found::Bool(share(of(list), of(one))),
        NodeKind::IsMissing(one) => Found::Bool(of(one) == Found::Missing),
        NodeKind::Not(one) => Found::Bool(!is_true(one)),
        NodeKind::And(nodes) => Found::Bool(nodes.iter().all(is_true)),
        NodeKind::Or(nodes) => Found::Bool(nodes.iter().any(is_true)),
    }
}

fn compare(comparison: Comparison, left: Found, right: Found) -> bool {
    let order = match (left, right) {
        (Found::Missing, _) | (_, Found::Missing) => return false,
        (Found::Number(left), Found::Number(right)) => left.partial_cmp(&right).unwrap(),
        (Found::Time(left), Found::Time(right)) => left.cmp(&right),
        (Found::Time(left), Found::Text(right)) => left.cmp(&time_of(&right)),
        (Found::Text(left), Found::Time(right)) => time_of(&left).cmp(&right),
        (Found::Bool(left), Found::Bool(right)) => left.cmp(&right),
        (Found::Text(left), Found::Text(right)) => left.cmp(&right),
        (Found::Path(path), Found::Text(text)) | (Found::Text(text), Found::Path(path)) => {
            path.cmp(&path_of(&text))
        }
        other => unreachable!("{other:?}"),
    };
    match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    }
}

fn share(left: Found, right: Found) -> bool {
    let texts = |found: Found| match found {
        Found::Missing => vec![],
        Found::Text(text) => vec![text],
        Found::Texts(texts) => texts,
        Found::Number(number) => vec![number.to_string()],
        other => unreachable!("{other:?}"),
    };
    match (left, right) {
        (Found::Path(path), other) | (other, Found::Path(path)) => {
            texts(other).iter().any(|text| {
                let run = path_of(text);
                (0..path.len()).any(|start| path[start..].starts_with(&run))
            })
        }
        (left, right) => {
            let right = texts(right);
            texts(left).iter().any(|text| right.contains(text))
        }
    }
}

/// What the random rules may name.
pub(crate) fn random_schema() -> Schema {
    let mut schema = Schema::new();
    for (scope, name, column_type) in [
        (Scope::Item, "color", ColumnType::Text),
        (Scope::Item, "score", ColumnType::Number),
        (Scope::Item, "is new", ColumnType::Bool),
        (Scope::Item, "sizes", ColumnType::Texts),
        (Scope::User, "favorite_brand", ColumnType::Text),
        (Scope::User, "brands", ColumnType::Texts),
        (Scope::User, "age", ColumnType::Number),
        (Scope::Context, "max_price", ColumnType::Number),
        (Scope::Context, "is_member", ColumnType::Bool),
        (Scope::Context, "category", ColumnType::Text),
        (Scope::Context, "since", ColumnType::Time),
    ] {
        schema.declare(scope, name, column_type);
    }
    schema
}

/// A catalog with the columns of [`random_schema`].
pub(crate) fn random_catalog() -> Catalog {
    let mut catalog = Catalog::new();
    catalog.declare("color", ColumnType::Text).unwrap();
    catalog.declare("score", ColumnType::Number).unwrap();
    catalog.declare("is new", ColumnType::Bool).unwrap();
    catalog.declare("sizes", ColumnType::Texts).unwrap();
    catalog
}

const BRANDS: [&str; 3] = ["Acme", "Bolt", "Crux"];
const STEPS: [&str; 3] = ["Books", "Novels", "Crime"];
const TAGS: [&str; 4] = ["sale", "new", "gift", "eco"];

fn pick<'a>(rng: &mut ChaCha8Rng, from: &[&'a str]) -> &'a str {
    from.choose(rng).unwrap()
}

fn some(rng: &mut ChaCha8Rng, from: &[&str]) -> Vec<String> {
    let n = rng.random_range(0..4);
    (0..n).map(|_| pick(rng, from).to_owned()).collect()
}

fn random_time(rng: &mut ChaCha8Rng) -> String {
    let time_ms = NOW_MS + rng.random_range(-3..=3) * DAY_MS;
    Timestamp::from_millisecond(time_ms).unwrap().to_string()
}

/// An item of which much is missing; `at_most` of its fields are.
pub(crate) fn random_item(rng: &mut ChaCha8Rng) -> Map<String, Json> {
    let n_steps = rng.random_range(1..=3);
    let path: Vec<&str> = (0..n_steps).map(|_| pick(rng, &STEPS)).collect();
    let mut published = random_time(rng);
    if rng.random_bool(0.5) {
        published = "2026-01-01T00:00:00Z".into();
    }
    let mut item = json!({
        "brand": pick(rng, &BRANDS),
        "category": path.join(" > "),
        "price": rng.random_range(0..6),
        "margin": f64::from(rng.random_range(0..5)) / 4.0,
        "stock_quantity": rng.random_range(-1..3),
        "in_stock": rng.random_bool(0.6),
        "group_id": rng.random_range(0..6).to_string(),
        "published_at": published,
        "expires_at": random_time(rng),
        "tags": some(rng, &TAGS),
    });
    let item = item.as_object_mut().unwrap();
    // An expired item is no candidate: keep most.
    if rng.random_bool(0.8) {
        item.remove("expires_at");
    }
    item.retain(|_, _| rng.random_bool(0.7));
    let mut attributes = json!({
        "color": pick(rng, &["red", "blue", "Acme"]),
        "score": f64::from(rng.random_range(-4..5)) / 2.0,
        "is new": rng.random_bool(0.5),
        "sizes": some(rng, &["S", "M", "sale"]),
    });
    attributes.as_object_mut().unwrap().retain(|_, _| rng.random_bool(0.6));
    if attributes.as_object().is_some_and(|attributes| !attributes.is_empty()) {
        item.insert("attributes".into(), attributes);
    }
    item.clone()
}

/// Values of a user and a context.
pub(crate) fn random_values(rng: &mut ChaCha8Rng) -> (Map<String, Json>, Map<String, Json>) {
    let user = json!({
        "favorite_brand": pick(rng, &BRANDS),
        "brands": some(rng, &BRANDS),
        "age": rng.random_range(0..6),
    });
    let context = json!({
        "max_price": rng.random_range(0..6),
        "is_member": rng.random_bool(0.5),
        "category": pick(rng, &["Books", "Novels > Crime", "Books > Novels", "none"]),
        "since": random_time(rng),
    });
    let mut values = [user, context].map(|json| json.as_object().unwrap().clone());
    for map in &mut values {
        map.retain(|_, _| rng.random_bool(0.7));
    }
    values.into()
}

/// A condition of [`random_schema`], nested up to `depth`.
pub(crate) fn random_condition(rng: &mut ChaCha8Rng, depth: u32) -> String {
    if depth > 0 && rng.random_bool(0.5) {
        let one = random_condition(rng, depth - 1);
        let other = random_condition(rng, depth - 1);
        return match rng.random_range(0..4) {
            0 => format!("({one}) and ({other})"),
            1 => format!("{one} or {other}"),
            2 => format!("not ({one})"),
            _ => format!("({one}) == ({other})"),
        };
    }
    let signs = ["==", "!=", "<", "<=", ">", ">="];
    let sign = pick(rng, &signs);
    let equality = pick(rng, &signs[..2]);
    match rng.random_range(0..16) {
        0..4 => format!("{} {sign} {}", random_number(rng, depth), random_number(rng, depth)),
        4 => format!("{} {sign} {}", random_moment(rng), random_moment(rng)),
        5 | 6 => format!("{} {equality} {}", random_text(rng), random_text(rng)),
        7 => format!("item.category {equality} {}", random_path(rng)),
        8 => format!("item.category has {}", random_path(rng)),
        9 => format!("item.category in [{}, {}]", "\"Novels\"", "\"Books > Crime\""),
        10 => format!("{} in {}", random_text(rng), random_list(rng)),
        11 => format!("{} has {}", random_list(rng), random_text(rng)),
        12 => format!("{} in [1, 0.5, -1]", random_number(rng, depth)),
        13 => random_bool(rng).into(),
        14 => format!("{} {equality} {}", random_bool(rng), random_bool(rng)),
        _ => {
            let not = pick(rng, &["", "not "]);
            let one = match rng.random_range(0..5) {
                0 => random_number(rng, depth),
                1 => random_text(rng),
                2 => random_list(rng),
                3 => random_moment(rng),
                _ => pick(rng, &["item.category", "item.in_stock", "context.is_member"]).into(),
            };
            format!("{one} is {not}missing")
        }
    }
}

fn random_bool(rng: &mut ChaCha8Rng) -> &'static str {
    pick(
        rng,
        &[
            "item.in_stock",
            "item[\"is new\"]",
            "context.is_member",
            "true",
            "false",
            "default(item.in_stock, context.is_member)",
            "default(item[\"is new\"], true)",
        ],
    )
}

fn random_number(rng: &mut ChaCha8Rng, depth: u32) -> String {
    if depth > 0 && rng.random_bool(0.3) {
        let (one, other) = (random_number(rng, depth - 1), random_number(rng, depth - 1));
        return match rng.random_range(0..6) {
            0 => format!("default({one}, {other})"),
            1 => format!("-({one})"),
            n => format!("({one} {} {other})", ["+", "-", "*", "/"][n - 2]),
        };
    }
    match rng.random_range(0..9) {
        0 => rng.random_range(-2..6).to_string(),
        1 => (f64::from(rng.random_range(0..8)) / 4.0).to_string(),
        2 => format!("age_days({})", random_moment(rng)),
        n => ["price", "margin", "stock_quantity", "score"].get(n - 3).map_or_else(
            || pick(rng, &["user.age", "context.max_price"]).into(),
            |name| format!("item.{name}"),
        ),
    }
}

fn random_moment(rng: &mut ChaCha8Rng) -> String {
    match rng.random_range(0..6) {
        0 => "now".into(),
        1 => format!("default(item.published_at, \"{}\")", random_time(rng)),
        2 => "context.since".into(),
        3 => "item.expires_at".into(),
        4 => "default(context.since, item.published_at)".into(),
        _ => "item.published_at".into(),
    }
}

fn random_text(rng: &mut ChaCha8Rng) -> String {
    let texts = [
        "item.brand",
        "item.color",
        "item.brand",
        "user.favorite_brand",
        "\"Acme\"",
        "'sale'",
        "\"no such\"",
        "default(item.brand, \"Acme\")",
        "default(user.favorite_brand, item.color)",
        "default(item.color, item.brand)",
    ];
    pick(rng, &texts).into()
}

fn random_list(rng: &mut ChaCha8Rng) -> String {
    let lists = ["item.tags", "item.sizes", "user.brands", "[\"Acme\", \"sale\"]", "[\"none\"]"];
    pick(rng, &lists).into()
}

fn random_path(rng: &mut ChaCha8Rng) -> String {
    let texts =
        ["\"Books\"", "\"Novels > Crime\"", "\"Books>Novels\"", "context.category", "item.brand"];
    pick(rng, &texts).into()
}
