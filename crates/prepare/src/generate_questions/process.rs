//! What a user does next, as a function of what the user and the shop have done so far.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::causes::{Cause, Until, set_off};

const MINUTE_MS: f64 = 60_000.0;
const HOUR_MS: f64 = 60.0 * MINUTE_MS;
const DAY_MS: f64 = 24.0 * HOUR_MS;
/// Share of actions after which the session goes on.
const P_GOES_ON: f64 = 0.75;
/// Mean time to the next action of a session.
const IN_SESSION_MS: f64 = MINUTE_MS;
/// Mean time to the next session.
const PAUSE_MS: f64 = 2.8 * DAY_MS;
/// A longer wait begins a session.
const SESSION_MS: i64 = 1_800_000;
/// Until an order is shipped, and from then until it is there: Weibull distributions of shape 2 with these scales.
const SHIPPING_MS: f64 = DAY_MS;
const DELIVERY_MS: f64 = 3.0 * DAY_MS;
/// A cart is forgotten after this, and so are views and searches as reasons to ask.
const CART_MS: i64 = 2 * 86_400_000;
const VIEWS_MS: i64 = 3 * 86_400_000;
const SEARCHES_MS: i64 = 3_600_000;
const RECENT_DELIVERY_MS: i64 = 10 * 86_400_000;
const RECENT_PURCHASE_MS: i64 = 7 * 86_400_000;
/// Views and searches that are remembered at all.
const N_REMEMBERED: usize = 24;
/// Items of the shop, numbered from 1; 0 is an item that the history does not name.
pub(super) const N_ITEMS: u32 = 300;

/// A page of the shop that is no item's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    Delivery,
    Returns,
    Payment,
    Coupons,
    Account,
    Sizes,
}

impl Page {
    const ALL: [Self; 6] =
        [Self::Delivery, Self::Returns, Self::Payment, Self::Coupons, Self::Account, Self::Sizes];

    fn name(self) -> &'static str {
        match self {
            Self::Delivery => "delivery",
            Self::Returns => "returns",
            Self::Payment => "payment",
            Self::Coupons => "coupons",
            Self::Account => "account",
            Self::Sizes => "sizes",
        }
    }
}

/// What is done, with its item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    ViewItem(u32),
    AddToCart(u32),
    Purchase(u32),
    PaymentFailed(u32),
    Search,
    Page(Page),
    ReturnSent(u32),
    /// By the shop, as the next.
    Shipped(u32),
    Delivered(u32),
}

impl Action {
    /// The action of a row of the log; `None` for asks and for events of others.
    pub(super) fn of(event: &str, object: &str) -> Option<Self> {
        let item = || object.strip_prefix('i').and_then(|n| n.parse().ok()).unwrap_or(0);
        Some(match event {
            "view_item" => Self::ViewItem(item()),
            "add_to_cart" => Self::AddToCart(item()),
            "purchase" => Self::Purchase(item()),
            "payment_failed" => Self::PaymentFailed(item()),
            "search" => Self::Search,
            "view_page" => Self::Page(Page::ALL.into_iter().find(|page| page.name() == object)?),
            "return_sent" => Self::ReturnSent(item()),
            "shipped" => Self::Shipped(item()),
            "delivered" => Self::Delivered(item()),
            _ => return None,
        })
    }

    /// The event and the object of the log's row.
    pub(super) fn names(self) -> (&'static str, String) {
        let event = match self {
            Self::ViewItem(_) => "view_item",
            Self::AddToCart(_) => "add_to_cart",
            Self::Purchase(_) => "purchase",
            Self::PaymentFailed(_) => "payment_failed",
            Self::Search => "search",
            Self::Page(page) => return ("view_page", page.name().to_owned()),
            Self::ReturnSent(_) => "return_sent",
            Self::Shipped(_) => "shipped",
            Self::Delivered(_) => "delivered",
        };
        match self.item() {
            0 => (event, String::new()),
            item => (event, format!("i{item}")),
        }
    }

    pub(super) fn item(self) -> u32 {
        match self {
            Self::ViewItem(item)
            | Self::AddToCart(item)
            | Self::Purchase(item)
            | Self::PaymentFailed(item)
            | Self::ReturnSent(item)
            | Self::Shipped(item)
            | Self::Delivered(item) => item,
            Self::Search | Self::Page(_) => 0,
        }
    }

    fn is_by_shop(self) -> bool {
        matches!(self, Self::Shipped(_) | Self::Delivered(_))
    }
}

/// An action at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    pub(super) at_ms: i64,
    pub(super) action: Action,
}

/// What was bought and is not there yet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Order {
    pub(super) number: u32,
    pub(super) item: u32,
    pub(super) bought_ms: i64,
    pub(super) shipped_ms: Option<i64>,
    /// Visits to the page on delivery since it is the oldest order.
    pub(super) n_visits: u32,
}

/// All of a history that the future depends on.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    /// The user's last action.
    last: Option<Step>,
    views: Vec<Step>,
    searches_ms: Vec<i64>,
    added: Option<Step>,
    n_orders: u32,
    pub(super) orders: Vec<Order>,
    pub(super) purchased: Option<Step>,
    pub(super) delivered: Option<Step>,
    /// Whether the page on returns was visited since the last delivery.
    reads_returns: bool,
    pub(super) causes: Vec<Cause>,
}

impl State {
    /// The item last put into the cart, if it is still in there.
    pub(super) fn cart(&self, now_ms: i64) -> Option<u32> {
        let added = self.added.filter(|step| now_ms - step.at_ms <= CART_MS)?;
        Some(added.action.item())
    }

    /// Recent views of an item.
    pub(super) fn n_views(&self, item: u32, now_ms: i64) -> usize {
        let is_one =
            |step: &&Step| step.action == Action::ViewItem(item) && now_ms - step.at_ms <= VIEWS_MS;
        self.views.iter().filter(is_one).count()
    }

    /// Searches of the last hour.
    pub(super) fn n_searches(&self, now_ms: i64) -> usize {
        self.searches_ms.iter().filter(|at_ms| now_ms - **at_ms <= SEARCHES_MS).count()
    }

    /// Forgets causes of which nothing more is to be expected.
    pub(super) fn forget(&mut self, now_ms: i64) {
        self.causes.retain(|cause| !cause.is_spent(now_ms));
    }

    /// The next step after `now_ms`, until which nothing happens: whichever of three clocks rings first, each of which has not rung
    /// since what it depends on.
    pub(super) fn next(&self, now_ms: i64, rng: &mut ChaCha8Rng) -> Step {
        let since = |at_ms: i64| (now_ms - at_ms) as f64;
        let mut wait_ms = self.pause(now_ms, rng);
        let mut by_shop = None;
        let unshipped = self.orders.iter().find(|order| order.shipped_ms.is_none());
        if let Some(order) = unshipped {
            let ms = remaining(since(order.bought_ms), SHIPPING_MS, rng);
            if ms < wait_ms {
                (wait_ms, by_shop) = (ms, Some(Action::Shipped(order.item)));
            }
        }
        // Orders are shipped oldest first, so that the oldest one is shipped if any is.
        let oldest = self.orders.first().and_then(|order| Some((order, order.shipped_ms?)));
        if let Some((order, shipped_ms)) = oldest {
            let ms = remaining(since(shipped_ms), DELIVERY_MS, rng);
            if ms < wait_ms {
                (wait_ms, by_shop) = (ms, Some(Action::Delivered(order.item)));
            }
        }
        let at_ms = now_ms + 1 + wait_ms as i64;
        let action = by_shop.unwrap_or_else(|| self.choose(at_ms, rng));
        Step { at_ms, action }
    }

    /// Time to the user's next action: exponential with one of two means, the session's or the pause's. The longer nothing came, the more
    /// likely it is a pause.
    fn pause(&self, now_ms: i64, rng: &mut ChaCha8Rng) -> f64 {
        let goes_on = self.last.map_or(0.0, |last| {
            let waited_ms = (now_ms - last.at_ms) as f64;
            let short = P_GOES_ON * (-waited_ms / IN_SESSION_MS).exp();
            let long = (1.0 - P_GOES_ON) * (-waited_ms / PAUSE_MS).exp();
            short / (short + long)
        });
        let mean_ms = if rng.random::<f64>() < goes_on { IN_SESSION_MS } else { PAUSE_MS };
        mean_ms * exponential(rng)
    }

    fn choose(&self, now_ms: i64, rng: &mut ChaCha8Rng) -> Action {
        let recent = |step: Option<Step>, ms: i64| step.filter(|step| now_ms - step.at_ms <= ms);
        let last = self.last.map(|step| step.action);
        let cart = self.cart(now_ms);
        let is_open = !self.orders.is_empty();
        let is_unshipped = self.orders.iter().any(|order| order.shipped_ms.is_none());
        let delivered = recent(self.delivered, RECENT_DELIVERY_MS).map(|step| step.action.item());
        let has_bought = recent(self.purchased, RECENT_PURCHASE_MS).is_some();
        let viewed = match last {
            Some(Action::ViewItem(item)) => Some(item),
            _ => None,
        };
        let just_added = matches!(last, Some(Action::AddToCart(_)));
        let just_failed = matches!(last, Some(Action::PaymentFailed(_)));
        let just_searched = matches!(last, Some(Action::Search));
        let if_else = |is: bool, yes: f64, no: f64| if is { yes } else { no };
        let begins = self.last.is_none_or(|last| now_ms - last.at_ms > SESSION_MS);
        let page = |page, weight| (Action::Page(page), if begins { 8.0 * weight } else { weight });
        let choices = [
            (Action::ViewItem(0), 9.0),
            (Action::AddToCart(viewed.unwrap_or(0)), if_else(viewed.is_some(), 1.5, 0.0)),
            (
                Action::Purchase(cart.unwrap_or(0)),
                if_else(cart.is_some(), if_else(just_added, 3.5, 1.0), 0.0),
            ),
            (
                Action::PaymentFailed(cart.unwrap_or(0)),
                if_else(cart.is_some() && !just_failed, 0.35, 0.0),
            ),
            (Action::Search, if_else(just_searched, 2.0, 0.7)),
            page(Page::Delivery, if_else(is_open, 1.2, 0.12)),
            page(Page::Returns, if_else(delivered.is_some(), 0.7, 0.12)),
            page(Page::Payment, if_else(has_bought, 0.5, 0.12)),
            page(Page::Coupons, if_else(cart.is_some(), 0.5, 0.12)),
            page(Page::Account, if_else(is_unshipped, 0.7, 0.12)),
            page(Page::Sizes, 0.15),
            (
                Action::ReturnSent(delivered.unwrap_or(0)),
                if_else(delivered.is_some() && self.reads_returns, 1.0, 0.0),
            ),
        ];
        let total: f64 = choices.iter().map(|(_, weight)| weight).sum();
        let mut left = rng.random::<f64>() * total;
        let chosen = choices.iter().find(|(_, weight)| {
            left -= weight;
            left < 0.0
        });
        match chosen {
            Some((Action::ViewItem(_), _)) | None => {
                Action::ViewItem(self.choose_item(now_ms, rng))
            }
            Some((action, _)) => *action,
        }
    }

    /// Every fourth view is of an item that was viewed or delivered of late, the others of any, popular ones more often.
    fn choose_item(&self, now_ms: i64, rng: &mut ChaCha8Rng) -> u32 {
        let delivered = self.delivered.filter(|step| now_ms - step.at_ms <= RECENT_DELIVERY_MS);
        let known = self.views.iter().rev().take(4).chain(&delivered);
        let n_known = known.clone().count();
        if n_known > 0 && rng.random::<f64>() < 0.25 {
            let at = rng.random_range(0..n_known);
            return known.clone().nth(at).map_or(1, |step| step.action.item());
        }
        let u: f64 = rng.random();
        1 + (f64::from(N_ITEMS) * u * u) as u32
    }

    /// Takes in what has happened.
    pub(super) fn apply(&mut self, step: Step) {
        let Step { at_ms, action } = step;
        let mut new = std::mem::take(&mut self.causes);
        set_off(self, step, &mut new);
        self.causes = new;
        match action {
            Action::ViewItem(_) => remember(&mut self.views, step),
            Action::AddToCart(_) => self.added = Some(step),
            Action::Purchase(item) => {
                self.n_orders += 1;
                let number = self.n_orders;
                let order = Order { number, item, bought_ms: at_ms, shipped_ms: None, n_visits: 0 };
                self.orders.push(order);
                self.added = None;
                self.purchased = Some(step);
                self.end(Until::Purchase);
            }
            Action::Search => remember(&mut self.searches_ms, at_ms),
            Action::Page(Page::Delivery) => {
                self.orders.first_mut().iter_mut().for_each(|order| order.n_visits += 1);
            }
            Action::Page(Page::Returns) => self.reads_returns = true,
            Action::Shipped(_) => {
                let order = self.orders.iter_mut().find(|order| order.shipped_ms.is_none());
                if let Some(order) = order {
                    order.shipped_ms = Some(at_ms);
                    let number = order.number;
                    self.end(Until::Shipped(number));
                }
            }
            Action::Delivered(_) => {
                if !self.orders.is_empty() {
                    let order = self.orders.remove(0);
                    self.end(Until::Delivered(order.number));
                }
                self.delivered = Some(step);
                self.reads_returns = false;
            }
            Action::ReturnSent(_) => self.delivered = None,
            Action::Page(_) | Action::PaymentFailed(_) => {}
        }
        if !action.is_by_shop() {
            self.last = Some(step);
        }
    }

    fn end(&mut self, until: Until) {
        self.causes.iter_mut().filter(|cause| cause.until == until).for_each(|c| c.is_over = true);
    }
}

fn remember<T>(all: &mut Vec<T>, new: T) {
    if all.len() == N_REMEMBERED {
        all.remove(0);
    }
    all.push(new);
}

/// An exponential variable of mean 1.
pub(super) fn exponential(rng: &mut ChaCha8Rng) -> f64 {
    -(1.0 - rng.random::<f64>()).ln()
}

/// What is left of a Weibull variable of shape 2 that is larger than `age`: its hazard is `2 age / scale^2`.
fn remaining(age: f64, scale: f64, rng: &mut ChaCha8Rng) -> f64 {
    (age * age + scale * scale * exponential(rng)).sqrt() - age
}
