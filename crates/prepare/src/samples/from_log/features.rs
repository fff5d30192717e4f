//! Numbers from what is known at the moment of a sample.

use super::state::Known;

/// The log has impressions.
pub(super) const IMPRESSIONS: u8 = 1;
/// The log has clicks.
pub(super) const CLICKS: u8 = 2;
/// The log has purchases.
pub(super) const PURCHASES: u8 = 4;
/// It is known of which category items are.
pub(super) const CATEGORIES: u8 = 8;
/// Prices are known.
pub(super) const PRICES: u8 = 16;

/// One column of numbers.
pub(super) struct Feature {
    pub(super) name: &'static str,
    /// What it says; "before" is strictly before the moment of the sample.
    pub(super) meaning: &'static str,
    /// What has to be there for it to say anything.
    pub(super) needs: u8,
    /// NaN where nothing is known.
    pub(super) of: fn(&Known<'_>) -> f64,
}

const fn feature(
    name: &'static str,
    meaning: &'static str,
    needs: u8,
    of: fn(&Known<'_>) -> f64,
) -> Feature {
    Feature { name, meaning, needs, of }
}

/// All of them, in the order of the table's columns.
pub(super) const FEATURES: &[Feature] = &[
    feature("price", "of the event, else of the catalog", PRICES, |k| k.event.price),
    feature(
        "price_ratio",
        "price over the mean price of what the user looked at before",
        PRICES,
        |k| {
            k.user
                .mean_price()
                .filter(|mean| *mean > 0.0)
                .map_or(f64::NAN, |mean| k.event.price / mean)
        },
    ),
    feature("user_events", "events of the user before", 0, |k| k.user.counts.events.into()),
    feature("user_impressions", "impressions of the user before", IMPRESSIONS, |k| {
        k.user.counts.impressions.into()
    }),
    feature("user_clicks", "clicks of the user before", CLICKS, |k| k.user.counts.clicks.into()),
    feature("user_looks", "items that the user looked at before", 0, |k| {
        k.user.counts.looks.into()
    }),
    feature("user_purchases", "purchases of the user before", PURCHASES, |k| {
        k.user.counts.purchases.into()
    }),
    feature(
        "user_click_rate",
        "clicks over impressions of the user before, smoothed",
        IMPRESSIONS | CLICKS,
        |k| {
            let (own, all) = (&k.user.counts, k.all);
            k.share(own.clicks, own.impressions, all.clicks, all.impressions)
        },
    ),
    feature(
        "user_purchase_rate",
        "purchases over looks of the user before, smoothed",
        PURCHASES,
        |k| {
            let (own, all) = (&k.user.counts, k.all);
            k.share(own.purchases, own.looks, all.purchases, all.looks)
        },
    ),
    feature("item_events", "events of the item before", 0, |k| k.item.events.into()),
    feature("item_impressions", "impressions of the item before", IMPRESSIONS, |k| {
        k.item.impressions.into()
    }),
    feature("item_clicks", "clicks on the item before", CLICKS, |k| k.item.clicks.into()),
    feature("item_looks", "looks at the item before", 0, |k| k.item.looks.into()),
    feature("item_purchases", "purchases of the item before", PURCHASES, |k| {
        k.item.purchases.into()
    }),
    feature(
        "item_click_rate",
        "clicks over impressions of the item before, smoothed",
        IMPRESSIONS | CLICKS,
        |k| k.share(k.item.clicks, k.item.impressions, k.all.clicks, k.all.impressions),
    ),
    feature(
        "item_purchase_rate",
        "purchases over looks of the item before, smoothed",
        PURCHASES,
        |k| k.share(k.item.purchases, k.item.looks, k.all.purchases, k.all.looks),
    ),
    feature(
        "user_item_impressions",
        "impressions of this item to the user before",
        IMPRESSIONS,
        |k| k.item_of_user.impressions.into(),
    ),
    feature("user_item_clicks", "clicks of the user on this item before", CLICKS, |k| {
        k.item_of_user.clicks.into()
    }),
    feature("user_item_looks", "looks of the user at this item before", 0, |k| {
        k.item_of_user.looks.into()
    }),
    feature("user_item_purchases", "purchases of this item by the user before", PURCHASES, |k| {
        k.item_of_user.purchases.into()
    }),
    feature(
        "user_category_impressions",
        "impressions of this category to the user before",
        CATEGORIES | IMPRESSIONS,
        |k| k.category_of_user.impressions.into(),
    ),
    feature(
        "user_category_clicks",
        "clicks of the user in this category before",
        CATEGORIES | CLICKS,
        |k| k.category_of_user.clicks.into(),
    ),
    feature("user_category_looks", "looks of the user in this category before", CATEGORIES, |k| {
        k.category_of_user.looks.into()
    }),
    feature(
        "user_category_purchases",
        "purchases of the user in this category before",
        CATEGORIES | PURCHASES,
        |k| k.category_of_user.purchases.into(),
    ),
    feature("secs_since_event", "seconds since the user's last event", 0, |k| {
        k.secs_since(k.user.counts.last_ms)
    }),
    feature("secs_since_click", "seconds since the user's last click", CLICKS, |k| {
        k.secs_since(k.user.last_click_ms)
    }),
    feature("secs_since_purchase", "seconds since the user's last purchase", PURCHASES, |k| {
        k.secs_since(k.user.last_purchase_ms)
    }),
    feature("secs_since_item", "seconds since the user last met the item", 0, |k| {
        k.secs_since(k.item_of_user.last_ms)
    }),
    feature("session_events", "events of this session before", 0, |k| {
        k.session.map_or(0.0, |session| session.n_events.into())
    }),
    feature("session_secs", "seconds since this session began", 0, |k| {
        k.session.map_or(0.0, |session| k.secs_since(session.start_ms))
    }),
];
