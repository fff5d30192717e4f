//! The event schema: column names, event names, and the other names that trackers use for them.
//!
//! Names follow GA4's e-commerce events. A name that stands in no table is kept as it is: unknown
//! events are counted and shown, never dropped.

use std::sync::LazyLock;

use rustc_hash::FxHashMap;

/// The columns of the canonical event log, one place for all of their names.
pub mod columns {
    /// Who acted; text, never empty.
    pub const USER_ID: &str = "user_id";
    /// On what; text, never empty; null where an event such as a search is on nothing.
    pub const ITEM_ID: &str = "item_id";
    /// What was done: a name of [`super::STANDARD_EVENTS`] or the tracker's own.
    pub const EVENT: &str = "event";
    /// When; milliseconds since 1970-01-01 UTC, `i64`.
    pub const TIMESTAMP: &str = "timestamp";
    /// Position of the row in the whole input, from 0: the file's own order.
    pub const ROW_NUMBER: &str = "row_number";
    /// The tracker's id of this event; the same id twice is one event.
    pub const EVENT_ID: &str = "event_id";
    /// The tracker's session.
    pub const SESSION_ID: &str = "session_id";
    /// How much the event says: a rating, a weight, a share watched.
    pub const VALUE: &str = "value";
    /// Units bought or put in the basket; negative in a cancellation.
    pub const QUANTITY: &str = "quantity";
    /// Price of one unit.
    pub const PRICE: &str = "price";
    /// ISO 4217 code.
    pub const CURRENCY: &str = "currency";
    /// Text of a search.
    pub const QUERY: &str = "query";
    /// Position in the list that was shown, from 1.
    pub const POSITION: &str = "position";
    /// The answer that showed the item.
    pub const REQUEST_ID: &str = "request_id";
    /// Free text: what a customer asked, or the item's text in an order line.
    pub const TEXT: &str = "text";
    /// What a question asks, as a name.
    pub const INTENT: &str = "intent";
    /// The order that an order line belongs to.
    pub const ORDER_ID: &str = "order_id";
    /// Title of an item, in the catalog.
    pub const TITLE: &str = "title";
}

/// Event names that the program knows by themselves (GA4's, and ours for support questions).
pub const STANDARD_EVENTS: &[&str] = &[
    "view_item",
    "view_item_list",
    "select_item",
    "add_to_cart",
    "remove_from_cart",
    "add_to_wishlist",
    "begin_checkout",
    "purchase",
    "refund",
    "search",
    "view_promotion",
    "select_promotion",
    "rate",
    "like",
    "dislike",
    "hide",
    "ask",
];

/// Other trackers' names for our columns: `(ours, theirs)`. Compared without regard to case and
/// to `_`, `-` and blanks, so that `userId`, `USER_ID` and `User ID` need one line.
pub const COLUMN_ALIASES: &[(&str, &[&str])] = &[
    (
        columns::USER_ID,
        &[
            "user",
            "uid",
            "visitor_id",
            "user_token",
            "customer_id",
            "customer",
            "query_id",
            "user_pseudo_id",
            "anonymous_id",
            "用户",
            "用户id",
            "用户编号",
            "会员",
            "会员id",
            "会员编号",
            "买家",
            "买家id",
            "客户id",
            "客户编号",
        ],
    ),
    (
        columns::ITEM_ID,
        &[
            "item",
            "product_id",
            "product",
            "object_id",
            "sku",
            "article_id",
            "stock_code",
            "商品",
            "商品id",
            "商品编号",
            "商品编码",
            "货号",
            "产品id",
            "产品编号",
        ],
    ),
    (
        columns::EVENT,
        &[
            "event_type",
            "feedback_type",
            "type",
            "kind",
            "event_name",
            "行为",
            "行为类型",
            "事件",
            "事件类型",
        ],
    ),
    (
        columns::TIMESTAMP,
        &[
            "datetime",
            "time",
            "ts",
            "event_time",
            "event_timestamp",
            "sent_at",
            "occurred_at",
            "invoice_date",
            "时间",
            "时间戳",
            "日期",
            "发生时间",
            "行为时间",
            "下单时间",
            "订单时间",
        ],
    ),
    (columns::VALUE, &["rating", "weight", "event_value", "score", "评分"]),
    (columns::SESSION_ID, &["session", "user_session", "ga_session_id", "会话", "会话id"]),
    (columns::REQUEST_ID, &["recommendation_id", "recomm_id", "attribution_token", "ranking"]),
    (columns::EVENT_ID, &["insert_id", "message_id"]),
    (columns::QUANTITY, &["qty", "数量"]),
    (columns::PRICE, &["unit_price", "item_price", "单价", "价格"]),
    (columns::CURRENCY, &["currency_code"]),
    (columns::QUERY, &["search_term", "search_query"]),
    (columns::POSITION, &["rank"]),
    (columns::TEXT, &["description", "message", "商品名称", "商品描述"]),
    (columns::INTENT, &["intent_name", "意图"]),
    (
        columns::ORDER_ID,
        &["order", "invoice_no", "invoice", "transaction_id", "订单号", "订单编号"],
    ),
];

/// Other trackers' event names: `(ours, theirs)`, compared like [`COLUMN_ALIASES`].
pub const EVENT_ALIASES: &[(&str, &[&str])] = &[
    (
        "view_item",
        &[
            "view",
            "viewed",
            "detail_page_view",
            "detail_view",
            "detail_views",
            "product_viewed",
            "page_view",
            "pv",
            "read",
            "浏览",
        ],
    ),
    ("view_item_list", &["impression", "category_page_view", "product_list_viewed"]),
    ("select_item", &["click", "clicked", "product_clicked", "点击"]),
    (
        "add_to_cart",
        &[
            "cart",
            "cart_addition",
            "cart_additions",
            "add2cart",
            "product_added",
            "basket",
            "加购",
            "加入购物车",
        ],
    ),
    ("remove_from_cart", &["product_removed", "cart_removal", "移出购物车"]),
    (
        "add_to_wishlist",
        &["favorite", "fav", "bookmark", "bookmarks", "product_added_to_wishlist", "收藏"],
    ),
    ("begin_checkout", &["checkout", "checkout_started"]),
    (
        "purchase",
        &[
            "buy",
            "bought",
            "order",
            "transaction",
            "purchase_complete",
            "purchases",
            "converted",
            "conversion",
            "order_completed",
            "购买",
            "下单",
            "支付",
        ],
    ),
    ("refund", &["return", "returned", "order_refunded", "退货", "退款"]),
    ("search", &["searched", "products_searched", "搜索"]),
    ("view_promotion", &["ad_impression", "promotion_viewed"]),
    ("select_promotion", &["ad_click", "promotion_clicked"]),
    ("rate", &["rating", "ratings", "star", "评价"]),
    ("ask", &["support_message", "咨询"]),
];

/// A name without what trackers vary: case, `_`, `-`, `.` and blanks.
///
/// ```
/// assert_eq!(forecart_data::event::folded("Add-To_cart"), "addtocart");
/// ```
pub fn folded(name: &str) -> String {
    let kept = name.chars().filter(|c| !matches!(c, '_' | '-' | ' ' | '.'));
    kept.flat_map(char::to_lowercase).collect()
}

/// Our name of the column that a tracker calls `name`, if there is one.
///
/// ```
/// assert_eq!(forecart_data::event::canonical_column("visitorId"), Some("user_id"));
/// assert_eq!(forecart_data::event::canonical_column("color"), None);
/// ```
pub fn canonical_column(name: &str) -> Option<&'static str> {
    static KNOWN: LazyLock<Known> = LazyLock::new(|| known(COLUMN_ALIASES, &[]));
    canonical(name, &KNOWN)
}

/// Our name of the event that a tracker calls `name`, or `None` if it stays as it is.
///
/// ```
/// assert_eq!(forecart_data::event::canonical_event("addtocart"), Some("add_to_cart"));
/// assert_eq!(forecart_data::event::canonical_event("zoom_picture"), None);
/// ```
pub fn canonical_event(name: &str) -> Option<&'static str> {
    static KNOWN: LazyLock<Known> = LazyLock::new(|| known(EVENT_ALIASES, STANDARD_EVENTS));
    canonical(name, &KNOWN)
}

/// Ours of every name that is known: as it is written, and folded.
type Known = FxHashMap<String, &'static str>;

fn known(aliases: &[(&'static str, &[&str])], standard: &[&'static str]) -> Known {
    let mut known = Known::default();
    let own = standard.iter().map(|ours| (*ours, [].as_slice()));
    for (ours, theirs) in own.chain(aliases.iter().copied()) {
        for name in std::iter::once(&ours).chain(theirs) {
            for written in [(*name).to_owned(), folded(name)] {
                known.entry(written).or_insert(ours);
            }
        }
    }
    known
}

fn canonical(name: &str, known: &Known) -> Option<&'static str> {
    known.get(name).or_else(|| known.get(&folded(name))).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_alias_stands_for_two_names() {
        for table in [COLUMN_ALIASES, EVENT_ALIASES] {
            let mut seen = HashSet::new();
            for (ours, theirs) in table {
                for name in std::iter::once(ours).chain(theirs.iter()) {
                    assert!(seen.insert(folded(name)), "{name} stands twice");
                }
            }
        }
    }

    #[test]
    fn the_names_of_common_trackers_are_known() {
        for name in ["USER_ID", "userID", "UserId", "visitorid", "userToken", "CustomerID"] {
            assert_eq!(canonical_column(name), Some(columns::USER_ID), "{name}");
        }
        for name in ["detail-page-view", "viewItem", "view"] {
            assert_eq!(canonical_event(name), Some("view_item"), "{name}");
        }
        assert_eq!(canonical_event("transaction"), Some("purchase"));
        assert_eq!(canonical_event("加入购物车"), Some("add_to_cart"));
        assert_eq!(canonical_column("用户ID"), Some(columns::USER_ID));
        assert_eq!(canonical_event("ad_click"), Some("select_promotion"));
    }
}
