//! What is asked, and what makes a user ask it.

use super::process::{Action, Page, State, Step};

const HOUR_MS: f64 = 3_600_000.0;
const DAY_MS: i64 = 86_400_000;

/// What the users of a generated log ask, in the order in which [`Truth`](super::Truth) gives probabilities.
pub const INTENTS: [&str; 13] = [
    "speak_to_human",
    "where_is_my_parcel",
    "delivery_late",
    "change_address",
    "cancel_order",
    "payment_failed",
    "coupon_not_working",
    "invoice_request",
    "how_to_return",
    "refund_status",
    "product_broken",
    "size_advice",
    "item_available",
];
const HUMAN: usize = 0;
const PARCEL: usize = 1;
const LATE: usize = 2;
const ADDRESS: usize = 3;
const CANCEL: usize = 4;
const PAYMENT: usize = 5;
const COUPON: usize = 6;
const INVOICE: usize = 7;
const RETURN: usize = 8;
const REFUND: usize = 9;
const BROKEN: usize = 10;
const SIZE: usize = 11;
const AVAILABLE: usize = 12;

/// Questions a day without a cause. One intent is asked often and by anybody: what every list has on top.
pub(super) fn base_per_day(intent: usize) -> f64 {
    if intent == HUMAN { 0.02 } else { 0.0008 }
}

/// What a cause waits for to be over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    Never,
    /// The order with this number has left the shop.
    Shipped(u32),
    /// The order with this number is there.
    Delivered(u32),
    /// Anything is bought.
    Purchase,
}

/// Something that happened and makes a user ask: `weight` questions are to be expected of it if it is never over.
///
/// # Formula
/// The rate at age `a`, counted from `start_ms`, is `weight * a / scale^2 * exp(-a / scale)`: nothing at once, most at `a = scale`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cause {
    pub(super) intent: usize,
    pub(super) start_ms: i64,
    pub(super) scale_ms: f64,
    pub(super) weight: f64,
    pub(super) until: Until,
    /// Whether what it waited for has come.
    pub(super) is_over: bool,
    /// The behavior that set it off.
    pub(super) trigger: Action,
    /// The earlier behavior without which it would not have.
    pub(super) needs: Option<Action>,
}

impl Cause {
    /// The integral of the rate from `from_ms` to `to_ms`, over which the cause is as it is now.
    pub(super) fn expected(&self, from_ms: i64, to_ms: i64) -> f64 {
        if self.is_over {
            return 0.0;
        }
        let until = |at_ms: i64| {
            let age = ((at_ms - self.start_ms) as f64 / self.scale_ms).max(0.0);
            1.0 - (1.0 + age) * (-age).exp()
        };
        self.weight * (until(to_ms) - until(from_ms))
    }

    /// Whether nothing more is to be expected of it at `now_ms`.
    pub(super) fn is_spent(&self, now_ms: i64) -> bool {
        self.is_over || (now_ms - self.start_ms) as f64 > 16.0 * self.scale_ms
    }
}

/// The causes that `step` sets off; `state` is what was before it.
pub(super) fn set_off(state: &State, step: Step, out: &mut Vec<Cause>) {
    let at_ms = step.at_ms;
    let mut cause = |intent, weight, hours: f64, until, needs| {
        out.push(Cause {
            intent,
            start_ms: at_ms,
            scale_ms: hours * HOUR_MS,
            weight,
            until,
            is_over: false,
            trigger: step.action,
            needs,
        });
    };
    let within = |since_ms: i64, days: i64| at_ms - since_ms <= days * DAY_MS;
    let delivered = state.delivered.filter(|step| within(step.at_ms, 6));
    match step.action {
        Action::Page(Page::Delivery) => {
            if let Some(order) = state.orders.first() {
                let weight = [0.06, 0.14, 0.45][order.n_visits.min(2) as usize];
                let needs = Some(Action::Purchase(order.item));
                cause(PARCEL, weight, 7.0, Until::Delivered(order.number), needs);
            }
        }
        Action::Page(Page::Account) => {
            if let Some(order) = state.orders.iter().find(|order| order.shipped_ms.is_none()) {
                let needs = Some(Action::Purchase(order.item));
                cause(ADDRESS, 0.6, 6.0, Until::Shipped(order.number), needs);
            }
        }
        Action::Page(Page::Coupons) => {
            if let Some(added) = state.cart(at_ms) {
                let needs = Some(Action::AddToCart(added));
                cause(COUPON, 0.38, 5.0, Until::Never, needs);
            }
        }
        Action::Page(Page::Payment) => {
            if let Some(bought) = state.purchased.filter(|step| within(step.at_ms, 3)) {
                cause(INVOICE, 0.38, 9.0, Until::Never, Some(bought.action));
            }
        }
        Action::Page(Page::Returns) => {
            if let Some(delivered) = delivered {
                cause(RETURN, 0.38, 8.0, Until::Never, Some(delivered.action));
            }
        }
        Action::ViewItem(item) => {
            if let Some(delivered) = delivered.filter(|step| step.action.item() == item) {
                cause(BROKEN, 0.4, 8.0, Until::Never, Some(delivered.action));
            } else if state.n_views(item, at_ms) == 3 {
                cause(SIZE, 0.22, 5.0, Until::Never, None);
            }
        }
        Action::Search => {
            if state.n_searches(at_ms) == 2 {
                cause(AVAILABLE, 0.9, 5.0, Until::Never, None);
            }
        }
        Action::PaymentFailed(_) => cause(PAYMENT, 0.7, 5.0, Until::Purchase, None),
        Action::Purchase(_) => {
            if let Some(before) = state.purchased.filter(|step| within(step.at_ms, 1)) {
                cause(CANCEL, 0.8, 6.0, Until::Never, Some(before.action));
            }
        }
        Action::ReturnSent(_) => cause(REFUND, 1.2, 20.0, Until::Never, None),
        Action::Shipped(_) => {
            if let Some(order) = state.orders.iter().find(|order| order.shipped_ms.is_none()) {
                let needs = Some(Action::Purchase(order.item));
                cause(LATE, 0.5, 40.0, Until::Delivered(order.number), needs);
            }
        }
        Action::AddToCart(_) | Action::Page(Page::Sizes) | Action::Delivered(_) => {}
    }
}
