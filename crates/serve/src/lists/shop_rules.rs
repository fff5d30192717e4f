//! The shop's rules, as they are written in the configuration: filters, boosts, and what each scenario asks for.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};

use serde::Deserialize;

use crate::assemble::{CategoryCap, SeenRule};
use crate::catalog::{Catalog, CatalogError, ColumnType};
use crate::rules::{Boost, Filter, RuleError, Schema, Scope};

const DAY_MS: f64 = 86_400_000.0;

/// A rule as it is written: either a filter or a boost.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRule {
    /// For traces and metrics.
    pub name: String,
    /// What must hold of every item: `item.in_stock and item.price < 100`.
    pub filter: Option<String>,
    /// What comes up, or down: `boost 1.2 if item.margin > 0.3`.
    pub boost: Option<String>,
    /// Scenarios that it is for; all, where none is named.
    #[serde(default)]
    pub scenarios: Vec<String>,
}

/// Which events of a user keep their item out of a list, as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawSeenRule {
    /// Kinds of events; any, where none is named.
    #[serde(default)]
    pub events: Vec<String>,
    /// Older events do not count.
    pub max_age_days: Option<f64>,
}

/// A place of the shop where lists are shown, as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawScenario {
    /// As requests name it: `home`.
    pub name: String,
    /// Which events keep an item out; the model's own rule where this is not said, nothing where it is empty.
    pub seen: Option<Vec<RawSeenRule>>,
    /// How much unlike one another items should be, in 0..=1.
    pub diversity: Option<f32>,
    /// Items of one category before more of it are listed.
    pub category_cap: Option<NonZeroU32>,
    /// Steps of the path that make a category.
    pub category_depth: Option<NonZeroUsize>,
    /// One item of each `group_id` before a second one.
    pub one_per_group: Option<bool>,
    /// Items at positions, from 1.
    #[serde(default)]
    pub pins: BTreeMap<String, NonZeroUsize>,
}

/// Names of columns and their types: `number`, `bool`, `text`, `texts`, `path`, `time`.
pub type RawColumns = BTreeMap<String, String>;

/// All of it as it is written.
#[derive(Debug, Clone, Default)]
pub struct RawShopRules {
    /// Further attributes of items that rules read.
    pub item: RawColumns,
    /// Attributes of users that rules read.
    pub user: RawColumns,
    /// What requests say in `context` that rules read.
    pub context: RawColumns,
    /// Filters and boosts.
    pub rules: Vec<RawRule>,
    /// Places of the shop.
    pub scenarios: Vec<RawScenario>,
}

impl RawShopRules {
    /// Names that requests may give as `scenario`.
    pub(crate) fn scenario_names(&self) -> Vec<&str> {
        let own = self.scenarios.iter().map(|scenario| scenario.name.as_str());
        own.filter(|name| *name != DEFAULT_SCENARIO).chain([DEFAULT_SCENARIO]).collect()
    }
}

/// A rule that cannot be used: the process does not start with it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShopRuleError {
    /// The language does not take it.
    #[error("serve.rule {name:?}:\n{error}")]
    Rule {
        /// The rule's name.
        name: String,
        /// What is wrong, and where.
        error: Box<RuleError>,
    },
    /// It is neither a filter nor a boost, or both.
    #[error("serve.rule {name:?}: write either filter or boost")]
    Kind {
        /// The rule's name.
        name: String,
    },
    /// A name stands twice, or names nothing.
    #[error("{what} {name:?}: {reason}")]
    Name {
        /// What has the name.
        what: &'static str,
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An attribute stands with another type already.
    #[error("serve.item: {0}")]
    Column(#[from] CatalogError),
}

/// A filter or boost with its name, and where it holds.
#[derive(Debug)]
pub(crate) struct Named<T> {
    pub(crate) name: String,
    pub(crate) rule: T,
    scenarios: Vec<String>,
}

impl<T> Named<T> {
    /// Whether it is for a scenario.
    pub(crate) fn is_for(&self, scenario: &str) -> bool {
        self.scenarios.is_empty() || self.scenarios.iter().any(|own| own == scenario)
    }
}

/// A scenario that can be used as it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scenario {
    /// `None`: the model's own rule.
    pub(crate) seen: Option<Vec<SeenRule>>,
    pub(crate) diversity: f32,
    pub(crate) category_cap: Option<CategoryCap>,
    pub(crate) one_per_group: bool,
    pub(crate) pins: Vec<(String, NonZeroUsize)>,
}

/// The rules of a shop, read and checked.
#[derive(Debug)]
pub(crate) struct ShopRules {
    pub(crate) schema: Schema,
    pub(crate) filters: Vec<Named<Filter>>,
    pub(crate) boosts: Vec<Named<Boost>>,
    pub(crate) scenarios: BTreeMap<String, Scenario>,
    pub(crate) context: BTreeMap<String, ColumnType>,
    /// Whether any rule, of a request too, may read attributes of users.
    pub(crate) reads_users: bool,
}

/// The scenario of a request that names none.
pub(crate) const DEFAULT_SCENARIO: &str = "default";

impl ShopRules {
    /// Reads the rules, and makes room in `catalog` for the attributes that they read.
    pub(crate) fn new(raw: &RawShopRules, catalog: &mut Catalog) -> Result<Self, ShopRuleError> {
        let mut schema = Schema::new();
        for (name, column_type) in columns("serve.item", &raw.item)? {
            catalog.declare(&name, column_type)?;
            schema.declare(Scope::Item, name, column_type);
        }
        for (name, column_type) in columns("serve.user", &raw.user)? {
            schema.declare(Scope::User, name, column_type);
        }
        let context = columns("serve.context", &raw.context)?;
        for (name, column_type) in &context {
            schema.declare(Scope::Context, name, *column_type);
        }
        let mut scenarios = BTreeMap::from([(DEFAULT_SCENARIO.to_owned(), Scenario::default())]);
        for raw in &raw.scenarios {
            let is_first = scenarios.insert(raw.name.clone(), scenario(raw)?).is_none();
            if !is_first && raw.name != DEFAULT_SCENARIO {
                return Err(name("serve.scenario", &raw.name, "it stands twice"));
            }
        }
        let (mut filters, mut boosts) = (Vec::new(), Vec::new());
        for raw in &raw.rules {
            if let Some(unknown) = raw.scenarios.iter().find(|own| !scenarios.contains_key(*own)) {
                let known: Vec<&str> = scenarios.keys().map(String::as_str).collect();
                let reason =
                    format!("there is no scenario {unknown:?}; there are {}", known.join(", "));
                return Err(name("serve.rule", &raw.name, &reason));
            }
            let wrong = |error: RuleError| ShopRuleError::Rule {
                name: raw.name.clone(),
                error: Box::new(error),
            };
            let (own, scenarios) = (raw.name.clone(), raw.scenarios.clone());
            match (&raw.filter, &raw.boost) {
                (Some(source), None) => {
                    let rule = Filter::parse(source, &schema).map_err(wrong)?;
                    filters.push(Named { name: own, rule, scenarios });
                }
                (None, Some(source)) => {
                    let rule = Boost::parse(source, &schema).map_err(wrong)?;
                    boosts.push(Named { name: own, rule, scenarios });
                }
                _ => return Err(ShopRuleError::Kind { name: own }),
            }
        }
        let (context, reads_users) = (context.into_iter().collect(), !raw.user.is_empty());
        Ok(Self { schema, filters, boosts, scenarios, context, reads_users })
    }
}

fn name(what: &'static str, name: &str, reason: &str) -> ShopRuleError {
    ShopRuleError::Name { what, name: name.to_owned(), reason: reason.to_owned() }
}

fn columns(
    what: &'static str,
    raw: &RawColumns,
) -> Result<Vec<(String, ColumnType)>, ShopRuleError> {
    let column = |(own, column_type): (&String, &String)| {
        let column_type = match column_type.as_str() {
            "number" => ColumnType::Number,
            "bool" => ColumnType::Bool,
            "text" => ColumnType::Text,
            "texts" => ColumnType::Texts,
            "path" => ColumnType::Path,
            "time" => ColumnType::Time,
            other => {
                let reason = format!("{other:?} is none of number, bool, text, texts, path, time");
                return Err(name(what, own, &reason));
            }
        };
        Ok((own.clone(), column_type))
    };
    raw.iter().map(column).collect()
}

fn scenario(raw: &RawScenario) -> Result<Scenario, ShopRuleError> {
    let what = "serve.scenario";
    let diversity = raw.diversity.unwrap_or(0.0);
    if !(0.0..=1.0).contains(&diversity) {
        return Err(name(what, &raw.name, "diversity is in 0..=1"));
    }
    if raw.category_cap.is_none() && raw.category_depth.is_some() {
        return Err(name(
            what,
            &raw.name,
            "category_depth says how category_cap counts; write that too",
        ));
    }
    let seen = raw.seen.as_ref().map(|rules| {
        let rule = |rule: &RawSeenRule| {
            let days = rule.max_age_days;
            if days.is_some_and(|days| !days.is_finite() || days <= 0.0) {
                return Err(name(what, &raw.name, "max_age_days is above 0"));
            }
            let kinds =
                if rule.events.is_empty() { "any".to_owned() } else { rule.events.join("+") };
            Ok(SeenRule {
                name: kinds,
                events: rule.events.clone(),
                max_age_ms: days.map(|days| (days * DAY_MS) as i64),
            })
        };
        rules.iter().map(rule).collect()
    });
    let depth = raw.category_depth.unwrap_or(NonZeroUsize::MIN);
    Ok(Scenario {
        seen: seen.transpose()?,
        diversity,
        category_cap: raw.category_cap.map(|limit| CategoryCap { limit, depth }),
        one_per_group: raw.one_per_group.unwrap_or(false),
        pins: raw.pins.iter().map(|(item, position)| (item.clone(), *position)).collect(),
    })
}
