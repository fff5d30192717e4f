//! The language as a whole: what rules mean, what they refuse, and that no text breaks them.

use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value as Json, json};

use super::parser::{parse_boost, parse_condition};
use super::reference::{self, NOW_MS, Plain, random_schema};
use super::syntax::{Arithmetic, Comparison, Function, Node, NodeKind};
use super::*;
use crate::catalog::{Catalog, ColumnType};

/// Whether a rule holds of one item, by the columns.
fn holds(rule: &str, item: &Json, user: &Json, context: &Json) -> bool {
    let mut catalog = reference::random_catalog();
    let row = catalog.upsert("item", item.as_object().unwrap()).unwrap();
    let values = |json: &Json| Values::from_json(json.as_object().unwrap());
    let (user, context) = (values(user), values(context));
    let filter = Filter::parse(rule, &random_schema()).unwrap_or_else(|error| panic!("{error}"));
    let facts = Facts { catalog: &catalog, user: &user, context: &context, now_ms: NOW_MS };
    filter.bind(&facts).matches(row)
}

#[test]
fn rules_mean_what_the_documentation_says() {
    let item = json!({
        "title": "A \"quoted\" mug", "brand": "Acme", "category": "Kitchen > Mugs > Red", "price": 12.5,
        "in_stock": true, "margin": 0.4, "stock_quantity": 0, "tags": ["sale", "new"],
        "published_at": "2026-05-22T00:00:00Z", "attributes": {"is new": false, "score": -2},
    });
    let user = json!({"favorite_brand": "Acme", "brands": ["Acme", "Bolt"], "age": 40});
    let context = json!({"max_price": 20, "category": "Mugs", "since": "2026-05-01"});
    for (rule, want) in [
        ("item.in_stock and item.price < 100", true),
        ("item.category in [\"Toys\", \"Mugs\"]", true),
        ("item.category in [\"Toys\", \"mugs\"]", false),
        ("item.category has \"Kitchen > Mugs\"", true),
        ("item.category has \"Mugs>Red\"", true),
        ("item.category has \"Kitchen > Red\"", false),
        ("item.category has context.category", true),
        ("item.category == \"Kitchen > Mugs > Red\"", true),
        ("item.category == \"Kitchen > Mugs\"", false),
        ("item.category != \"Kitchen > Mugs\"", true),
        ("item.tags has \"sale\"", true),
        ("item.tags has \"gift\"", false),
        ("item.tags in [\"gift\", \"new\"]", true),
        ("item.brand == user.favorite_brand", true),
        ("item.brand in user.brands", true),
        ("user.brands has item.brand", true),
        ("item.brand not in [\"Acme\"]", false),
        ("item.title == 'A \"quoted\" mug'", true),
        ("item.title == \"A \\\"quoted\\\" mug\"", true),
        ("item.price <= context.max_price", true),
        ("item.price in [1, 12.5]", true),
        ("item.price * (1 - item.margin) == 7.5", true),
        ("item.price - 2 - 0.5 == 10", true),
        ("1 + 2 * 3 == 7 and (1 + 2) * 3 == 9 and -2 - -3 == 1", true),
        ("item.score < -1.5", true),
        // Divided by zero: missing.
        ("item.price / item.stock_quantity > 0", false),
        ("item.price / item.stock_quantity is missing", true),
        ("item[\"is new\"]", false),
        ("not item[\"is new\"]", true),
        ("item[\"is new\"] == false", true),
        // Missing: every comparison is false, and only not makes true of it.
        ("item.color == \"red\"", false),
        ("item.color != \"red\"", false),
        ("not item.color == \"red\"", true),
        ("item.color is missing", true),
        ("item.color is not missing", false),
        ("default(item.color, \"red\") == \"red\"", true),
        ("default(item.price, 0) == 12.5", true),
        ("context.is_member", false),
        ("not context.is_member", true),
        ("item.sizes has \"S\"", false),
        ("item.sizes is missing", true),
        ("item.published_at > \"2026-05-01\"", true),
        ("item.published_at == \"2026-05-22\"", true),
        ("\"2026-05-22T00:00:01Z\" > item.published_at", true),
        ("item.published_at < now", true),
        ("item.published_at > context.since", true),
        ("item.expires_at > now or item.expires_at is missing", true),
        ("age_days(item.published_at) == 10", true),
        ("age_days(item.expires_at) < 1", false),
        ("true or false and false", true),
        ("(true or false) and false", false),
        ("not true == false", true),
    ] {
        assert_eq!(holds(rule, &item, &user, &context), want, "{rule}");
    }
}

/// Every rule of docs/rules.md that stands in a block is one.
#[test]
fn the_rules_of_the_documentation_are_rules() {
    let mut schema = random_schema();
    for (scope, name, column_type) in [
        (Scope::Item, "country", ColumnType::Text),
        (Scope::Item, "min_age", ColumnType::Number),
        (Scope::User, "country", ColumnType::Text),
        (Scope::User, "usual_price", ColumnType::Number),
        (Scope::Context, "currency", ColumnType::Text),
    ] {
        schema.declare(scope, name, column_type);
    }
    let text = include_str!("../../../../docs/rules.md");
    let (mut is_block, mut n_rules) = (false, 0);
    for line in text.lines() {
        match line {
            "```text" => is_block = true,
            "```" => is_block = false,
            _ if !is_block => {}
            // The example of an error.
            line if ["prise", "^", "?"].iter().any(|part| line.contains(part)) => {}
            rule if rule.starts_with("boost") => {
                Boost::parse(rule, &schema).unwrap_or_else(|error| panic!("{error}"));
                n_rules += 1;
            }
            rule => {
                Filter::parse(rule, &schema).unwrap_or_else(|error| panic!("{error}"));
                n_rules += 1;
            }
        }
    }
    assert_eq!(n_rules, 16);
}

#[test]
fn mistakes_are_named_with_place_and_fix() {
    let schema = random_schema();
    for (rule, code, column, hint) in [
        ("", "rule_syntax", 1, "write a condition, such as item.in_stock"),
        ("item.prise < 1", "unknown_column", 1, "did you mean item.price?"),
        ("user.price < 1", "unknown_column", 1, "did you mean item.price?"),
        (
            "item.xyzzy",
            "unknown_column",
            1,
            "name a field or an attribute of items, or declare the attribute",
        ),
        ("item[\"is mew\"]", "unknown_column", 1, "did you mean item[\"is new\"]?"),
        ("price < 1", "rule_syntax", 1, "did you mean item.price?"),
        (
            "item.in_stock AND true",
            "rule_syntax",
            15,
            "words are written small: and, or, not, in, has, is missing",
        ),
        ("item.in_stock and itm.price < 1", "rule_syntax", 19, "did you mean item?"),
        ("ages_days(now) < 1", "rule_syntax", 1, "did you mean age_days?"),
        ("item.price < \"100\"", "rule_type", 14, "a number stands without quotes: 100"),
        ("item.brand == 7", "rule_type", 15, "a text stands in quotes: \"7\""),
        ("item.brand < \"b\"", "rule_type", 1, "texts, true and false have no order: use == or !="),
        ("item.tags == \"sale\"", "rule_type", 1, "ask what a list has: item.tags has \"sale\""),
        (
            "item.brand has \"x\"",
            "rule_type",
            1,
            "only lists have something: item.tags has \"sale\"; a single value is compared: item.brand == \"Acme\"",
        ),
        (
            "item.brand in \"x\"",
            "rule_type",
            15,
            "write a list: item.brand in [\"Acme\", \"Bolt\"]",
        ),
        ("item.price in [1, \"a\"]", "rule_type", 19, "a number stands without quotes: 100"),
        ("item.price", "rule_type", 1, "compare it: item.price < 100"),
        ("item.in_stock and item.price", "rule_type", 19, "compare it: item.price < 100"),
        (
            "item.published_at > \"soon\"",
            "bad_timestamp",
            21,
            "write \"2026-05-01T09:30:00Z\", or a date (midnight UTC)",
        ),
        (
            "now - item.published_at > 1",
            "rule_type",
            1,
            "age_days(item.published_at) is a number of days",
        ),
        (
            "1 < item.price < 3",
            "rule_syntax",
            16,
            "a comparison has two sides: join two comparisons by and",
        ),
        (
            "default(item.price)",
            "rule_syntax",
            1,
            "write default(item.price, 0) or age_days(item.published_at)",
        ),
        ("(item.in_stock", "rule_syntax", 15, "write \")\" here"),
        ("item.brand in []", "rule_syntax", 16, "write a number or a text in quotes here"),
        ("item.in_stock == null", "rule_syntax", 18, "did you mean is missing?"),
    ] {
        let error = Filter::parse(rule, &schema).expect_err(rule);
        let got = (error.code(), error.position().1, error.hint());
        let hint = hint.replace("\"7\"", "\"100\"");
        assert_eq!(got, (code, column, hint), "{rule}");
        assert_eq!(error.position().0, 1);
        assert_eq!(error.clone().in_field("filter").field(), Some("filter"));
        assert!(error.message().contains(&format!("column {column}")));
    }
}

#[test]
fn the_mark_stands_under_the_place() {
    let error = Filter::parse("item.in_stock\n\tand item.größe > 1", &Schema::new()).unwrap_err();
    assert_eq!(error.position(), (2, 6));
    let lines: Vec<String> = error.to_string().lines().map(str::to_owned).collect();
    assert_eq!(lines[1..3], ["  \tand item.größe > 1", "  \t    ^"]);
    let long = format!("{}item.x", "item.in_stock and ".repeat(20));
    let error = Filter::parse(&long, &Schema::new()).unwrap_err().to_string();
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines[1].chars().nth(lines[2].len() - 1), Some('i'));
    assert!(lines.iter().all(|line| line.len() < 90));
}

#[test]
fn boosts_have_a_factor_above_zero() {
    let schema = Schema::new();
    let boost = Boost::parse("boost 1.2 if item.margin > 0.3", &schema).unwrap();
    assert_eq!(
        (boost.factor(), boost.condition().to_string().as_str()),
        (1.2, "item.margin > 0.3")
    );
    assert_eq!(boost.to_string(), "boost 1.2 if item.margin > 0.3");
    for (rule, code, column) in [
        ("boost 0 if item.in_stock", "bad_factor", 7),
        ("boost -2 if item.in_stock", "bad_factor", 7),
        ("boost 1e999 if item.in_stock", "rule_syntax", 7),
        ("boost if item.in_stock", "rule_syntax", 7),
        ("boost 2 item.in_stock", "rule_syntax", 9),
        ("item.in_stock", "rule_syntax", 1),
        ("boost 2 if item.price", "rule_type", 12),
    ] {
        let error = Boost::parse(rule, &schema).expect_err(rule);
        assert_eq!((error.code(), error.position().1), (code, column), "{rule}");
    }
}

#[test]
fn long_and_deep_rules_are_refused() {
    let schema = Schema::new();
    let code = |rule: &str| Filter::parse(rule, &schema).map_err(|error| error.code());
    assert_eq!(code(&format!("{}true", " ".repeat(MAX_RULE_BYTES))), Err("rule_too_long"));
    let nested = |n: usize| format!("{}true{}", "(".repeat(n), ")".repeat(n));
    assert!(code(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(code(&nested(MAX_DEPTH + 1)), Err("rule_too_long"));
    assert_eq!(code(&format!("{}true", "not ".repeat(900))), Err("rule_too_long"));
    assert_eq!(code(&format!("1{} > 2", " + 1".repeat(900))), Err("rule_too_long"));
    assert_eq!(code(&format!("{}1 > 2", "- ".repeat(900))), Err("rule_too_long"));
    // Conditions side by side are not deep.
    assert!(code(&format!("true{}", " and true".repeat(400))).is_ok());
}

#[test]
fn a_column_of_another_type_is_missing() {
    let mut catalog = Catalog::new();
    let item = json!({"attributes": {"color": 3}});
    let row = catalog.upsert("a", item.as_object().unwrap()).unwrap();
    let filter = Filter::parse("item.color is missing", &random_schema()).unwrap();
    let values = Values::default();
    let facts = Facts { catalog: &catalog, user: &values, context: &values, now_ms: 0 };
    assert!(filter.bind(&facts).matches(row));
    assert_eq!(Schema::of(&catalog).column_type(Scope::Item, "color"), Some(ColumnType::Number));
}

/// Trees of any form, whether or not their types fit.
fn nodes() -> impl Strategy<Value = Node> {
    let text = || prop_oneof!["[a-z]{0,4}", "\\PC{0,6}", "[\"'\\\\\n\t\r\u{1}]{0,4}"];
    let number = prop_oneof![
        (-100i32..100).prop_map(f64::from),
        any::<f64>().prop_filter("finite", |number| number.is_finite()),
    ];
    let constant = prop_oneof![
        number.prop_map(NodeKind::Number),
        text().prop_map(NodeKind::Text),
        any::<bool>().prop_map(NodeKind::Bool),
    ]
    .prop_map(|kind| Node::new(kind, 0));
    let scopes = prop_oneof![Just(Scope::Item), Just(Scope::User), Just(Scope::Context)];
    let leaf = prop_oneof![
        constant.clone(),
        (scopes, text()).prop_map(|(scope, name)| Node::new(NodeKind::Column(scope, name), 0)),
        Just(Node::new(NodeKind::Now, 0)),
        prop::collection::vec(constant, 1..4).prop_map(|list| Node::new(NodeKind::List(list), 0)),
    ];
    leaf.prop_recursive(6, 40, 4, |inner| {
        let one = || inner.clone().prop_map(Box::new);
        let operations =
            [Arithmetic::Add, Arithmetic::Subtract, Arithmetic::Multiply, Arithmetic::Divide];
        let comparisons = [
            Comparison::Equal,
            Comparison::NotEqual,
            Comparison::Less,
            Comparison::LessOrEqual,
            Comparison::Greater,
            Comparison::GreaterOrEqual,
        ];
        let many = || prop::collection::vec(inner.clone(), 2..4);
        prop_oneof![
            one().prop_map(NodeKind::Negate),
            (prop::sample::select(operations.to_vec()), one(), one())
                .prop_map(|(operation, a, b)| NodeKind::Arithmetic(operation, a, b)),
            (prop::sample::select(comparisons.to_vec()), one(), one())
                .prop_map(|(comparison, a, b)| NodeKind::Compare(comparison, a, b)),
            (one(), one()).prop_map(|(a, b)| NodeKind::In(a, b)),
            (one(), one()).prop_map(|(a, b)| NodeKind::Has(a, b)),
            one().prop_map(NodeKind::IsMissing),
            one().prop_map(NodeKind::Not),
            many().prop_map(NodeKind::And),
            many().prop_map(NodeKind::Or),
            many().prop_map(|list| NodeKind::Call(Function::Default, list)),
        ]
        .prop_map(|kind| Node::new(kind, 0))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_printed_rule_reads_as_the_same(node in nodes()) {
        let printed = node.to_string();
        prop_assume!(printed.len() <= MAX_RULE_BYTES);
        let read = parse_condition(&printed);
        prop_assert!(read.is_ok(), "{printed}: {}", read.unwrap_err());
        prop_assert_eq!(&read.unwrap(), &node, "{}", printed);
    }

    #[test]
    fn no_text_breaks_the_parser(text in "\\PC{0,60}") {
        let _ = Filter::parse(&text, &random_schema()).map_err(|error| error.to_string());
        let _ = parse_boost(&text).map_err(|error| error.to_string());
    }

    #[test]
    fn no_row_of_tokens_breaks_the_checker(
        tokens in prop::collection::vec(prop::sample::select(TOKENS.to_vec()), 0..14)
    ) {
        let rule = tokens.join(" ");
        let catalog = reference::random_catalog();
        let values = Values::default();
        let facts = Facts { catalog: &catalog, user: &values, context: &values, now_ms: 0 };
        match Filter::parse(&rule, &random_schema()) {
            Ok(filter) => {
                let again = Filter::parse(&filter.to_string(), &random_schema()).unwrap();
                prop_assert_eq!(&again, &filter);
                filter.bind(&facts).matches(crate::catalog::ItemRow(0));
            }
            Err(error) => prop_assert!(!error.to_string().is_empty() && !error.hint().is_empty()),
        }
    }

    #[test]
    fn columns_say_what_the_plain_way_says(seed: u64) {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let rule = reference::random_condition(rng, 3);
        let (user, context) = reference::random_values(rng);
        let mut catalog = reference::random_catalog();
        let items: Vec<_> = (0..6).map(|_| reference::random_item(rng)).collect();
        let rows: Vec<_> = items
            .iter()
            .enumerate()
            .map(|(at, item)| catalog.upsert(&at.to_string(), item).unwrap())
            .collect();
        let filter = Filter::parse(&rule, &random_schema());
        prop_assert!(filter.is_ok(), "{}", filter.unwrap_err());
        let filter = filter.unwrap();
        let (user_values, context_values) = (Values::from_json(&user), Values::from_json(&context));
        let facts =
            Facts { catalog: &catalog, user: &user_values, context: &context_values, now_ms: NOW_MS };
        let bound = filter.bind(&facts);
        for (row, item) in rows.iter().zip(&items) {
            let plain = Plain { item, user: &user, context: &context };
            prop_assert_eq!(
                bound.matches(*row),
                reference::holds(&rule, &plain),
                "{} of {:?}, {:?}, {:?}", rule, item, user, context
            );
        }
    }
}

const TOKENS: [&str; 38] = [
    "and",
    "or",
    "not",
    "in",
    "has",
    "is",
    "missing",
    "true",
    "false",
    "now",
    "item",
    ".",
    "price",
    "item.price",
    "item.brand",
    "item.tags",
    "item.category",
    "item.in_stock",
    "item.published_at",
    "user.brands",
    "context.max_price",
    "context.since",
    "default",
    "age_days",
    "(",
    ")",
    "[",
    "]",
    ",",
    "==",
    "<",
    "+",
    "-",
    "*",
    "1",
    "\"Acme\"",
    "\"2026-01-01\"",
    "if",
];
