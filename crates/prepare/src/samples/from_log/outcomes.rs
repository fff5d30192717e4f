//! The first pass: which samples there are, and what came of each.
//!
//! A click answers the latest impression before it of the same user and item, of the same request where both name one, that is at
//! most a window old. A purchase is the conversion of the latest click before it of the same user (and item), by the same rule.
//! What is of the same moment counts as before. A purchase is the outcome of every row of its user and item that is at most a window
//! older, and of none of its own moment. Nothing of this pass reaches a feature.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use serde::Serialize;

use super::config::{LogConfig, Task};
use super::events::{CLICK, Event, IMPRESSION, LOOK, Moment, PURCHASE};
use super::sessions::Sessions;
use crate::prepare::DAY_MS;

/// A moment that never comes.
const NEVER: i64 = i64::MAX;

/// What came of a sample, and until when it could.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    /// When it happened; later than everything if it did not.
    at_ms: i64,
    /// The last moment at which it counts.
    pub(super) until_ms: i64,
}

impl Outcome {
    pub(super) fn open(until_ms: i64) -> Self {
        Self { at_ms: NEVER, until_ms }
    }

    pub(super) fn happened(&mut self, at_ms: i64) {
        self.at_ms = self.at_ms.min(at_ms);
    }

    /// When it happened; later than everything if it did not.
    pub(super) fn at_ms(&self) -> i64 {
        self.at_ms
    }

    /// What is known when all events before `end_ms` are: 1, 0, or NaN while the window is open. An open window is open whether or not something
    /// has happened in it: else what is known of the last samples would be mostly good news.
    pub(super) fn label(&self, end_ms: i64) -> f64 {
        match () {
            () if self.until_ms >= end_ms => f64::NAN,
            () if self.at_ms <= self.until_ms => 1.0,
            () => 0.0,
        }
    }

    /// Whether something has happened although the window is open.
    pub(super) fn is_early(&self, end_ms: i64) -> bool {
        self.until_ms >= end_ms && self.at_ms < end_ms
    }
}

/// A sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    /// Position of its event in the input.
    pub(super) row: i64,
    pub(super) time_ms: i64,
    pub(super) outcome: Outcome,
    /// Whether a purchase followed the click that followed the impression; of a second label.
    pub(super) converted: Outcome,
}

/// How events were joined; `forecart prepare` prints it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct JoinReport {
    /// Events of the log.
    pub n_events: u64,
    /// Events without a user, which are passed over.
    pub n_guests: u64,
    /// Events that are equal to another of the same moment in every column, which are passed over.
    pub n_repeated: u64,
    /// Impressions.
    pub n_impressions: u64,
    /// Clicks.
    pub n_clicks: u64,
    /// Clicks that are the first one of an impression.
    pub n_clicks_joined: u64,
    /// Clicks on an impression that had one.
    pub n_clicks_again: u64,
    /// Clicks without an impression in the window before them.
    pub n_clicks_alone: u64,
    /// Purchases.
    pub n_purchases: u64,
    /// Purchases that are the first one of a click, or of a day on which the user met the item.
    pub n_purchases_joined: u64,
    /// Purchases in windows that all had one.
    pub n_purchases_again: u64,
    /// Purchases without one in the window before them.
    pub n_purchases_alone: u64,
    /// Events of a history on a day on which the user had met the item before.
    #[serde(skip_serializing_if = "is_none")]
    pub n_met_again: u64,
    /// Sessions, of a table of purchases.
    pub n_sessions: u64,
    /// Sessions that ended before the event at which is predicted.
    pub n_sessions_short: u64,
    /// Sessions with a purchase up to that event.
    pub n_sessions_bought: u64,
    /// Samples whose window is open at the end of the log.
    pub n_open: u64,
    /// Those of them whose outcome has come although the window is open.
    pub n_open_early: u64,
    /// Samples of the training part whose window reaches over its end.
    pub n_over_train_end: u64,
    /// Samples of the validation part whose window reaches over its end.
    pub n_over_validation_end: u64,
    /// Samples of the training and the validation part whose window reaches over its end and that are kept with a weight.
    #[serde(skip_serializing_if = "is_none")]
    pub n_corrected: u64,
}

fn is_none(n: &u64) -> bool {
    *n == 0
}

impl JoinReport {
    /// What there is to say, in words.
    pub fn lines(&self) -> Vec<(String, u64)> {
        let lines = [
            ("events without a user, passed over", self.n_guests),
            ("events that repeat another in every column, passed over", self.n_repeated),
            ("impressions", self.n_impressions),
            ("clicks", self.n_clicks),
            ("clicks that answer an impression", self.n_clicks_joined),
            ("clicks on an impression that had one", self.n_clicks_again),
            ("clicks without an impression in the window", self.n_clicks_alone),
            ("purchases", self.n_purchases),
            ("purchases that are the first in a window", self.n_purchases_joined),
            ("purchases in a window that had one", self.n_purchases_again),
            ("purchases in no window", self.n_purchases_alone),
            ("events with an item that the user had met on that day", self.n_met_again),
            ("sessions", self.n_sessions),
            ("sessions that ended before the event at which is predicted", self.n_sessions_short),
            ("sessions that bought up to that event", self.n_sessions_bought),
            ("samples whose window is open at the end of the log", self.n_open),
            ("of these with an outcome already", self.n_open_early),
            ("samples whose window reaches over the end of training", self.n_over_train_end),
            ("samples whose window reaches over the end of validation", self.n_over_validation_end),
            (
                "samples whose window reaches over the end of their part, kept with a weight",
                self.n_corrected,
            ),
        ];
        let lines = lines.into_iter().filter(|(_, n)| *n > 0);
        lines.map(|(what, n)| (what.to_owned(), n)).collect()
    }
}

/// What happened lately, by who did it on what: the newest stand last.
#[derive(Debug)]
struct Recent<T> {
    by_key: FxHashMap<(u32, u32), VecDeque<(i64, T)>>,
    /// Keys in the order of time; what is too old is forgotten, so memory holds one window.
    order: VecDeque<(i64, (u32, u32))>,
    window_ms: i64,
}

impl<T> Recent<T> {
    fn new(window_ms: i64) -> Self {
        Self { by_key: FxHashMap::default(), order: VecDeque::new(), window_ms }
    }

    fn push(&mut self, key: (u32, u32), time_ms: i64, value: T) {
        self.by_key.entry(key).or_default().push_back((time_ms, value));
        self.order.push_back((time_ms, key));
    }

    /// Forgets what no window reaches at `now_ms`.
    fn forget(&mut self, now_ms: i64) {
        while let Some((time_ms, key)) = self.order.front().copied() {
            if time_ms.saturating_add(self.window_ms) >= now_ms {
                return;
            }
            self.order.pop_front();
            if let Some(values) = self.by_key.get_mut(&key) {
                values.pop_front();
                if values.is_empty() {
                    self.by_key.remove(&key);
                }
            }
        }
    }

    /// The latest one that fits.
    fn latest(&mut self, key: (u32, u32), fits: impl Fn(&T) -> bool) -> Option<&mut T> {
        let values = self.by_key.get_mut(&key)?;
        values.iter_mut().rev().map(|(_, value)| value).find(|value| fits(value))
    }

    /// All of them, oldest first.
    fn all(&self, key: (u32, u32)) -> impl Iterator<Item = &T> {
        self.by_key.get(&key).into_iter().flatten().map(|(_, value)| value)
    }
}

/// An impression that waits for its click.
#[derive(Debug)]
struct Shown {
    sample: usize,
    request: u64,
    is_clicked: bool,
}

/// A click that waits for its purchase.
#[derive(Debug)]
struct Clicked {
    sample: Option<usize>,
    is_bought: bool,
}

/// A user's first event with an item on a day, which waits for a purchase.
#[derive(Debug)]
struct Met {
    sample: usize,
    /// Days from 1970 to that of the event, by the shop's clock.
    day: i64,
}

/// A session in which a purchase may come.
#[derive(Debug, Clone, Copy, Default)]
struct Bought {
    sample: Option<usize>,
    is_decided: bool,
    has_bought: bool,
}

/// Joins events as they come.
#[derive(Debug)]
pub(super) struct Joiner<'a> {
    config: &'a LogConfig,
    shown: Recent<Shown>,
    clicked: Recent<Clicked>,
    met: Recent<Met>,
    sessions: Vec<Sessions<Bought>>,
    pub(super) samples: Vec<Sample>,
    pub(super) report: JoinReport,
}

impl<'a> Joiner<'a> {
    pub(super) fn new(config: &'a LogConfig) -> Self {
        Self {
            config,
            shown: Recent::new(config.click_window_ms),
            clicked: Recent::new(config.conversion_window_ms),
            met: Recent::new(config.purchase_window_ms),
            sessions: Vec::new(),
            samples: Vec::new(),
            report: JoinReport::default(),
        }
    }

    /// Takes in all events of one moment; returns those that are samples.
    pub(super) fn take(&mut self, moment: &Moment) -> Vec<Event> {
        let events = &moment.events;
        let Some(first) = events.first() else { return Vec::new() };
        self.shown.forget(first.time_ms);
        self.clicked.forget(first.time_ms);
        self.met.forget(first.time_ms);
        let of_kind = |kind: u8| events.iter().filter(move |event| event.kind & kind != 0);
        let n_before = self.samples.len();
        let mut found = Vec::new();
        for event in of_kind(IMPRESSION) {
            self.report.n_impressions += 1;
            if self.config.task == Task::Click {
                self.show(event);
                found.push(*event);
            }
        }
        for event in of_kind(CLICK) {
            self.report.n_clicks += 1;
            if self.config.task == Task::Conversion {
                found.push(*event);
            }
            if matches!(self.config.task, Task::Click | Task::Conversion) {
                self.click(event);
            }
        }
        for event in of_kind(PURCHASE) {
            self.report.n_purchases += 1;
            match self.config.task {
                Task::Click | Task::Conversion => self.buy(event),
                Task::ItemPurchase => self.buy_met(event),
                Task::SessionPurchase => {}
            }
        }
        match self.config.task {
            Task::SessionPurchase => self.visit(events, &mut found),
            // After the purchases of the moment, which are known, not predicted.
            Task::ItemPurchase => of_kind(LOOK).for_each(|event| self.meet(event, &mut found)),
            Task::Click | Task::Conversion => {}
        }
        debug_assert_eq!(self.samples.len() - n_before, found.len());
        found
    }

    fn sample(&mut self, event: &Event, outcome: Outcome, converted: Outcome) -> usize {
        let sample = Sample { row: event.row, time_ms: event.time_ms, outcome, converted };
        self.samples.push(sample);
        self.samples.len() - 1
    }

    fn show(&mut self, event: &Event) {
        let clicked_until = event.time_ms.saturating_add(self.config.click_window_ms);
        let bought_until = clicked_until.saturating_add(self.config.conversion_window_ms);
        let sample = self.sample(event, Outcome::open(clicked_until), Outcome::open(bought_until));
        let shown = Shown { sample, request: event.request, is_clicked: false };
        self.shown.push((event.user, event.item), event.time_ms, shown);
    }

    /// Who clicked what, as far as a purchase has to agree.
    fn clicked_key(&self, event: &Event) -> (u32, u32) {
        (event.user, if self.config.of_any_item { u32::MAX } else { event.item })
    }

    fn click(&mut self, event: &Event) {
        let sample = match self.config.task {
            Task::Click => {
                let fits = |shown: &Shown| {
                    shown.request == event.request || shown.request == 0 || event.request == 0
                };
                let found = self.shown.latest((event.user, event.item), fits);
                match found {
                    Some(shown) if shown.is_clicked => {
                        self.report.n_clicks_again += 1;
                        Some(shown.sample)
                    }
                    Some(shown) => {
                        shown.is_clicked = true;
                        let sample = shown.sample;
                        self.samples[sample].outcome.happened(event.time_ms);
                        self.report.n_clicks_joined += 1;
                        Some(sample)
                    }
                    None => {
                        self.report.n_clicks_alone += 1;
                        None
                    }
                }
            }
            _ => {
                let until = event.time_ms.saturating_add(self.config.conversion_window_ms);
                Some(self.sample(event, Outcome::open(until), Outcome::open(until)))
            }
        };
        let clicked = Clicked { sample, is_bought: false };
        self.clicked.push(self.clicked_key(event), event.time_ms, clicked);
    }

    fn buy(&mut self, event: &Event) {
        let key = self.clicked_key(event);
        let Some(clicked) = self.clicked.latest(key, |_| true) else {
            self.report.n_purchases_alone += 1;
            return;
        };
        let count = match clicked.is_bought {
            true => &mut self.report.n_purchases_again,
            false => &mut self.report.n_purchases_joined,
        };
        *count += 1;
        clicked.is_bought = true;
        if let Some(sample) = clicked.sample {
            let sample = &mut self.samples[sample];
            let outcome = match self.config.task {
                Task::Click => &mut sample.converted,
                _ => &mut sample.outcome,
            };
            outcome.happened(event.time_ms);
        }
    }

    /// A sample, unless the user met the item on this day before.
    fn meet(&mut self, event: &Event, found: &mut Vec<Event>) {
        let day = event.time_ms.saturating_add(self.config.utc_offset_ms).div_euclid(DAY_MS);
        let key = (event.user, event.item);
        if self.met.latest(key, |met| met.day == day).is_some() {
            self.report.n_met_again += 1;
            return;
        }
        let until = event.time_ms.saturating_add(self.config.purchase_window_ms);
        let sample = self.sample(event, Outcome::open(until), Outcome::open(until));
        self.met.push(key, event.time_ms, Met { sample, day });
        found.push(*event);
    }

    /// A purchase of an item is the outcome of each day on which the user met it in the window before.
    fn buy_met(&mut self, event: &Event) {
        let samples = &mut self.samples;
        let mut is_first = false;
        let mut n_met = 0;
        for met in self.met.all((event.user, event.item)) {
            let outcome = &mut samples[met.sample].outcome;
            is_first |= outcome.at_ms() == NEVER;
            outcome.happened(event.time_ms);
            n_met += 1;
        }
        let count = match n_met {
            0 => &mut self.report.n_purchases_alone,
            _ if is_first => &mut self.report.n_purchases_joined,
            _ => &mut self.report.n_purchases_again,
        };
        *count += 1;
    }

    /// Sessions: a sample at the wanted event, unless there was a purchase up to its moment.
    fn visit(&mut self, events: &[Event], found: &mut Vec<Event>) {
        let gap_ms = self.config.session_gap_ms;
        let users = events.iter().map(|event| event.user as usize).max().unwrap_or(0);
        if users >= self.sessions.len() {
            self.sessions.resize_with(users + 1, Sessions::default);
        }
        let mut reached = Vec::new();
        for event in events {
            let sessions = &mut self.sessions[event.user as usize];
            let (session, bought) = sessions.enter(event.session, event.time_ms, gap_ms);
            self.report.n_sessions += u64::from(session.n_events == 1);
            if session.n_events == self.config.raw.session_event {
                reached.push(event);
            }
            let is_purchase = event.kind & PURCHASE != 0;
            bought.has_bought |= is_purchase;
            if let Some(sample) = bought.sample {
                let outcome = &mut self.samples[sample].outcome;
                outcome.until_ms = event.time_ms.saturating_add(gap_ms);
                if is_purchase {
                    outcome.happened(event.time_ms);
                }
            }
        }
        for event in reached {
            let sessions = &mut self.sessions[event.user as usize];
            let Some(place) = sessions.place(event.session, event.time_ms, gap_ms) else {
                continue; // it was pushed out by many others of the same moment
            };
            let bought = sessions.at_mut(place);
            if bought.is_decided {
                continue;
            }
            bought.is_decided = true;
            if bought.has_bought {
                self.report.n_sessions_bought += 1;
                continue;
            }
            let until = event.time_ms.saturating_add(gap_ms);
            bought.sample = Some(self.samples.len());
            self.sample(event, Outcome::open(until), Outcome::open(until));
            found.push(*event);
        }
    }

    /// Samples in the order of their events, and the report.
    pub(super) fn finish(mut self) -> (Vec<Sample>, JoinReport) {
        let report = &mut self.report;
        if self.config.task == Task::SessionPurchase {
            let n_reached = self.samples.len() as u64 + report.n_sessions_bought;
            report.n_sessions_short = report.n_sessions - n_reached;
        }
        (self.samples, self.report)
    }
}
