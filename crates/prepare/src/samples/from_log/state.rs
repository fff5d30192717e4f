//! What is known of users and items at a moment, from the events before it.
//!
//! [`State::known`] is asked for all samples of a moment before [`State::apply`] takes in any event of that moment: events of the same
//! moment do not count, in whatever order they stand in the log.

use std::collections::VecDeque;

use super::events::{CLICK, Event, IMPRESSION, LOOK, PURCHASE};
use super::sessions::{Session, Sessions};

/// Items and categories that are kept of one user, those met last.
const MAX_MET: usize = 64;

/// A moment before all others.
pub(super) const NEVER: i64 = i64::MIN;

/// How often something happened, and when last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) events: u32,
    pub(super) impressions: u32,
    pub(super) clicks: u32,
    pub(super) looks: u32,
    pub(super) purchases: u32,
    pub(super) last_ms: i64,
}

impl Counts {
    const NONE: Self =
        Self { events: 0, impressions: 0, clicks: 0, looks: 0, purchases: 0, last_ms: NEVER };

    fn add(&mut self, event: &Event) {
        let add = |count: &mut u32, kind: u8| {
            *count = count.saturating_add(u32::from(event.kind & kind != 0));
        };
        self.events = self.events.saturating_add(1);
        add(&mut self.impressions, IMPRESSION);
        add(&mut self.clicks, CLICK);
        add(&mut self.looks, LOOK);
        add(&mut self.purchases, PURCHASE);
        self.last_ms = event.time_ms;
    }
}

/// Counts of what a user met, by its number; at most [`MAX_MET`], those met last.
#[derive(Debug, Clone, Default)]
struct Met(Vec<(u32, Counts)>);

impl Met {
    fn of(&self, number: u32) -> &Counts {
        let known = self.0.iter().find(|(known, _)| *known == number);
        known.map_or(&Counts::NONE, |(_, counts)| counts)
    }

    /// The one met last stands last.
    fn add(&mut self, number: u32, event: &Event) {
        let mut counts = match self.0.iter().position(|(known, _)| *known == number) {
            Some(place) => self.0.remove(place).1,
            None => Counts::NONE,
        };
        if self.0.len() == MAX_MET {
            self.0.remove(0);
        }
        counts.add(event);
        self.0.push((number, counts));
    }
}

/// A user.
#[derive(Debug, Clone)]
pub(super) struct User {
    pub(super) counts: Counts,
    pub(super) last_click_ms: i64,
    pub(super) last_purchase_ms: i64,
    /// Sum and number of the prices of what was looked at.
    prices: (f64, u32),
    items: Met,
    categories: Met,
    /// Items that were looked at, oldest first.
    pub(super) history: VecDeque<u32>,
    sessions: Sessions<()>,
}

impl User {
    fn new() -> Self {
        Self {
            counts: Counts::NONE,
            last_click_ms: NEVER,
            last_purchase_ms: NEVER,
            prices: (0.0, 0),
            items: Met::default(),
            categories: Met::default(),
            history: VecDeque::new(),
            sessions: Sessions::default(),
        }
    }

    /// Mean price of what was looked at.
    pub(super) fn mean_price(&self) -> Option<f64> {
        let (sum, n) = self.prices;
        (n > 0).then(|| sum / f64::from(n))
    }
}

/// What is known at the moment of an event, without the event itself.
#[derive(Debug)]
pub(super) struct Known<'a> {
    pub(super) event: &'a Event,
    pub(super) user: &'a User,
    pub(super) item: &'a Counts,
    /// Of this user with this item.
    pub(super) item_of_user: &'a Counts,
    /// Of this user with the item's category; nothing where the category is not known.
    pub(super) category_of_user: &'a Counts,
    pub(super) all: &'a Counts,
    pub(super) session: Option<&'a Session>,
    pub(super) prior_events: f64,
}

impl Known<'_> {
    /// `(n_hits + m p) / (n + m)`: the share of `n` that were hits, drawn to the share `p` of all events so far as if `m` further ones
    /// had it. Before the first event of the log, `p` is 0.
    pub(super) fn share(&self, n_hits: u32, n: u32, all_hits: u32, all: u32) -> f64 {
        let prior = f64::from(all_hits) / f64::from(all.max(1));
        let m = self.prior_events;
        (f64::from(n_hits) + m * prior) / (f64::from(n) + m)
    }

    /// Seconds from an earlier moment; NaN if it never was.
    pub(super) fn secs_since(&self, moment_ms: i64) -> f64 {
        match moment_ms {
            NEVER => f64::NAN,
            _ => self.event.time_ms.saturating_sub(moment_ms) as f64 / 1000.0,
        }
    }
}

/// Users and items, up to a moment.
///
/// # Cost
/// About 100 bytes a user and 32 an item, and of each user up to 64 items, 64 categories and its history.
#[derive(Debug)]
pub(super) struct State {
    users: Vec<User>,
    items: Vec<Counts>,
    all: Counts,
    nobody: User,
    history_length: usize,
    gap_ms: i64,
    prior_events: f64,
}

impl State {
    pub(super) fn new(history_length: usize, gap_ms: i64, prior_events: f64) -> Self {
        Self {
            users: Vec::new(),
            items: Vec::new(),
            all: Counts::NONE,
            nobody: User::new(),
            history_length,
            gap_ms,
            prior_events,
        }
    }

    /// What is known when this event comes.
    pub(super) fn known<'a>(&'a self, event: &'a Event) -> Known<'a> {
        let user = self.users.get(event.user as usize).unwrap_or(&self.nobody);
        let session = user.sessions.find(event.session, event.time_ms, self.gap_ms);
        Known {
            event,
            user,
            item: self.items.get(event.item as usize).unwrap_or(&Counts::NONE),
            item_of_user: user.items.of(event.item),
            category_of_user: event.category.map_or(&Counts::NONE, |of| user.categories.of(of)),
            all: &self.all,
            session: session.map(|(session, ())| session),
            prior_events: self.prior_events,
        }
    }

    /// Takes in an event.
    pub(super) fn apply(&mut self, event: &Event) {
        let (user, item) = (event.user as usize, event.item as usize);
        if user >= self.users.len() {
            self.users.resize_with(user + 1, User::new);
        }
        if item >= self.items.len() {
            self.items.resize(item + 1, Counts::NONE);
        }
        self.all.add(event);
        self.items[item].add(event);
        let user = &mut self.users[user];
        user.counts.add(event);
        user.sessions.enter(event.session, event.time_ms, self.gap_ms);
        user.items.add(event.item, event);
        if let Some(category) = event.category {
            user.categories.add(category, event);
        }
        if event.kind & CLICK != 0 {
            user.last_click_ms = event.time_ms;
        }
        if event.kind & PURCHASE != 0 {
            user.last_purchase_ms = event.time_ms;
        }
        if event.kind & LOOK != 0 {
            if event.price.is_finite() {
                user.prices.0 += event.price;
                user.prices.1 += 1;
            }
            if self.history_length > 0 {
                if user.history.len() == self.history_length {
                    user.history.pop_front();
                }
                user.history.push_back(event.item);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(user: u32, item: u32, kind: u8, time_ms: i64) -> Event {
        Event { user, item, kind, time_ms, category: Some(item % 2), ..Event::default() }
    }

    #[test]
    fn a_share_is_drawn_to_that_of_all() {
        let mut state = State::new(3, 1000, 2.0);
        let asked = event(0, 0, IMPRESSION, 100);
        assert_eq!(state.known(&asked).share(0, 0, 0, 0), 0.0);
        for (item, kind) in [(0, IMPRESSION), (0, CLICK), (1, IMPRESSION), (1, IMPRESSION)] {
            state.apply(&event(0, item, kind, 0));
        }
        let known = state.known(&asked);
        let (item, all) = (known.item, known.all);
        assert_eq!((item.clicks, item.impressions, all.clicks, all.impressions), (1, 1, 1, 3));
        let share = known.share(item.clicks, item.impressions, all.clicks, all.impressions);
        assert!((share - (1.0 + 2.0 / 3.0) / 3.0).abs() < 1e-12);
    }

    #[test]
    fn a_user_keeps_what_was_met_last() {
        let mut state = State::new(3, 1000, 2.0);
        for item in 0..70 {
            state.apply(&Event { price: f64::from(item), ..event(0, item, LOOK, i64::from(item)) });
        }
        let old = event(0, 5, LOOK, 100);
        assert_eq!(state.known(&old).item_of_user.looks, 0);
        assert_eq!(state.known(&old).category_of_user.looks, 35);
        let new = event(0, 69, LOOK, 5069);
        let known = state.known(&new);
        assert_eq!((known.item_of_user.looks, known.item.looks), (1, 1));
        assert_eq!(known.secs_since(known.item_of_user.last_ms), 5.0);
        assert!(known.secs_since(known.user.last_click_ms).is_nan());
        assert_eq!(known.user.history, [67, 68, 69]);
        assert_eq!(known.user.mean_price(), Some(34.5));
        assert_eq!((known.session, known.user.counts.events), (None, 70)); // the pause was too long
        let other = event(1, 69, LOOK, 5069);
        assert_eq!(state.known(&other).user.counts.events, 0);
    }
}
