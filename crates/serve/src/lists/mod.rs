//! From a request for a list to the list: history, candidates, rules.
//!
//! A worker takes a [`Job`], alone or with others (`together`), and answers with a [`List`]; start reading at `job`.
//! Every list, whatever it comes from, is made by [`crate::assemble`]: no path can forget a filter. Sources are asked in this order
//! (`assembly`): the model, with new items that it does not know mixed in; items most like the asked one, where one is asked about; what was
//! acted on most often lately; all items.

mod ask;
mod list;
mod reasons;
mod shop_rules;

mod assembly;
mod candidates;
mod fallback;
mod job;
mod model_history;
mod seen;
mod together;
mod trace;

pub(crate) use self::ask::{About, ListAsk};
pub(crate) use self::fallback::STORE_AWAY;
pub(crate) use self::job::Job;
pub(crate) use self::list::List;
pub(crate) use self::shop_rules::{DEFAULT_SCENARIO, ShopRules};
pub use self::shop_rules::{
    RawColumns, RawRule, RawScenario, RawSeenRule, RawShopRules, ShopRuleError,
};
