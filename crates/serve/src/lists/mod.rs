//! From a request for a list to the list: history, candidates, rules.
//!
//! Every list, whatever it comes from, is made by [`crate::assemble`]: no path can forget a filter. Sources are asked in this order: the
//! model, with new items that it does not know mixed in; what was acted on most often lately; items most like the asked one, where one is asked about; all items.

mod candidates;
mod shop_rules;
mod together;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use forecart_data::{History, ItemIdx, SeenItems};
use forecart_models::model_file::{LoadedModel, NamedReason};
use forecart_models::recommend::{Fallback, Scored};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use self::candidates::{InCatalog, ModelList, Question};
use crate::app::App;
use crate::assemble::{
    Assembled, Blend, ByScore, Candidate, InOrder, ListRequest, Listed, NamedBoost, NamedFilter,
    Origin, Pin, SeenEvent, SeenRule, Source, assemble,
};
use crate::catalog::{Catalog, Column, ColumnType, ItemRow};
use crate::clock::now_ms;
use crate::experiments::Arm;
use crate::history::PastEvent;
use crate::metrics::{FilterLabels, ReasonLabels, RecommendLabels, StageLabels};
use crate::models::Live;
use crate::new_items::Proposal;
use crate::rules::{Boost, Facts, Filter, Values};

pub(crate) use self::shop_rules::{DEFAULT_SCENARIO, Scenario, ShopRules};
pub use self::shop_rules::{
    RawColumns, RawRule, RawScenario, RawSeenRule, RawShopRules, ShopRuleError,
};

/// Reasons of an item.
const N_REASONS: usize = 2;
/// The source of given items that the model has scores of.
const MODEL_SCORES: &str = "model";
/// The fallback of an answer without what the store knows of the user: it does not answer.
pub(crate) const STORE_AWAY: &str = "store_away";
/// The source of items that the model does not know.
const CONTENT: &str = "content";
/// What answers where no variant was chosen.
pub(crate) const ONLY_VARIANT: &str = "default";

/// What a list is asked for.
#[derive(Debug, Clone)]
pub(crate) enum About {
    /// What a user or visitor wants next.
    Next,
    /// What is like an item.
    Like(String),
    /// What is bought together with an item.
    With(String),
    /// The order of given items.
    Among(Vec<String>),
}

/// A request for a list, checked.
#[derive(Debug)]
pub(crate) struct ListAsk {
    pub(crate) about: About,
    pub(crate) user_id: Option<String>,
    /// Item ids of a visit, oldest first, after what is known of the user.
    pub(crate) session: Vec<String>,
    pub(crate) n: usize,
    pub(crate) offset: usize,
    pub(crate) scenario: String,
    pub(crate) filter: Option<Filter>,
    pub(crate) boosts: Vec<Boost>,
    pub(crate) exclude: Vec<String>,
    /// In place of the scenario's.
    pub(crate) diversity: Option<f32>,
    /// Whether items of the history are left out, in place of the scenario's rule.
    pub(crate) leave_out_seen: Option<bool>,
    pub(crate) user: Values,
    pub(crate) context: Values,
    pub(crate) explain: bool,
    /// Whether the user lets history and attributes shape the list.
    pub(crate) is_personal: bool,
    pub(crate) arm: Arm,
}

impl ListAsk {
    /// The scenario whose rules hold.
    fn shown_as(&self) -> &str {
        self.arm.scenario.as_deref().unwrap_or(&self.scenario)
    }

    /// Items of the list up to the last that is asked for.
    fn n_read(&self) -> usize {
        self.n.saturating_add(self.offset)
    }
}

/// Why an item is in a list.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum ListReason {
    /// Because of an event of the user.
    BecauseOf {
        item_id: String,
        title: String,
        /// How much of the score it brought.
        contribution: f32,
    },
    /// Because many others chose it.
    Popular {
        #[serde(skip_serializing_if = "Option::is_none")]
        rank: Option<usize>,
    },
    /// Because it is chosen more often than before.
    Trending { times: f32 },
    /// Because it is new.
    New { days: f32 },
    /// Because the shop put it there.
    Pinned,
    /// Because it has much in common with the item.
    Similar,
    /// Because it has much in common with an item of the user's; it is too new for the model.
    SimilarTo { item_id: String },
}

/// An item of a list.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct ListItem {
    pub(crate) item_id: String,
    /// The score of its source; null of items that have none. Comparable within one source of one answer.
    pub(crate) score: Option<f32>,
    /// From 1, over all pages.
    pub(crate) rank: usize,
    /// Where it comes from.
    pub(crate) source: Vec<String>,
    pub(crate) reasons: Vec<ListReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) title: Option<String>,
}

/// A list.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct List {
    /// Send it with the events that follow: it says which answer they are of.
    pub(crate) request_id: String,
    /// Null where none is served.
    pub(crate) model: Option<String>,
    pub(crate) model_version: Option<String>,
    /// The experiment that the list is in; null if in none.
    pub(crate) experiment: Option<String>,
    /// The variant that answered; `default` outside of experiments.
    pub(crate) variant: String,
    /// Why the list is not the model's own; null if it is.
    pub(crate) fallback: Option<String>,
    pub(crate) items: Vec<ListItem>,
    pub(crate) took_ms: f64,
}

/// The history as a model takes it.
struct Known {
    items: Vec<ItemIdx>,
    timestamps_ms: Vec<i64>,
    events: Vec<u8>,
    values: Vec<f32>,
}

impl Known {
    /// Events on items of kinds that the model has learned from; then those of a visit, which are as new as can be.
    fn new(file: &LoadedModel, past: &[PastEvent], session: &[String], now_ms: i64) -> Self {
        let header = file.header();
        // The first name is that of unknown kinds.
        let kind = |event: &str| header.event_names.iter().skip(1).position(|own| own == event);
        let has_kinds = header.event_names.len() > 1;
        let mut known =
            Self { items: vec![], timestamps_ms: vec![], events: vec![], values: vec![] };
        let has_values = past.iter().any(|event| event.value.is_some());
        for event in past {
            let Some(item) = &event.item else { continue };
            let number = kind(&event.event).map_or(0, |place| place + 1);
            if has_kinds && number == 0 {
                continue;
            }
            known.items.push(file.item(item));
            known.timestamps_ms.push(event.timestamp_ms);
            known.events.push(u8::try_from(number).unwrap_or(0));
            if has_values {
                known.values.push(event.value.unwrap_or(1.0));
            }
        }
        for item in session {
            known.items.push(file.item(item));
            known.timestamps_ms.push(now_ms);
            let number = kind("view_item").map_or(usize::from(has_kinds), |place| place + 1);
            known.events.push(u8::try_from(number).unwrap_or(0));
            if has_values {
                known.values.push(1.0);
            }
        }
        if !header.dataset.has_time {
            known.timestamps_ms.clear();
        }
        known
    }

    fn history(&self) -> History<'_> {
        History {
            items: &self.items,
            timestamps_ms: &self.timestamps_ms,
            events: &self.events,
            values: &self.values,
        }
    }
}

/// What was asked and what there is to answer with, on the way to a worker.
pub(crate) struct Job {
    pub(crate) app: Arc<App>,
    pub(crate) live: Arc<Live>,
    pub(crate) past: crate::history::UserHistory,
    /// Whether the user's history could not be read.
    pub(crate) store_is_away: bool,
    pub(crate) ask: ListAsk,
    pub(crate) request_id: String,
}

/// A job of which is known what to ask the model.
struct Begun {
    job: Job,
    started: Instant,
    now_ms: i64,
    /// The history for the model, if one answers.
    known: Option<Known>,
    seen_rules: Vec<SeenRule>,
    seen: SeenItems,
}

impl Begun {
    fn new(job: Job) -> Self {
        let (started, now_ms) = (Instant::now(), now_ms());
        let file = job.file();
        let known = file.map(|file| Known::new(file, &job.past, &job.ask.session, now_ms));
        let usual = Scenario::default();
        // Who is held out sees no model, but what was seen is left out as it would be with one.
        let seen_by = job.usual_file().map(Arc::as_ref);
        let (seen_rules, seen) = seen_rules(&job.ask, job.scenario(&usual), seen_by);
        Self { job, started, now_ms, known, seen_rules, seen }
    }

    fn pair(&self) -> Option<(&Arc<LoadedModel>, &Known)> {
        self.job.file().zip(self.known.as_ref())
    }

    /// Makes the list. `first` is what the model lists, where it was asked already; else it costs what the model's scores cost, and a little.
    fn list(self, first: Option<Vec<Scored>>) -> List {
        let Job { app, past, ask, .. } = &self.job;
        let pair = self.pair();
        let fallback = match self.job.store_is_away {
            true => Some(STORE_AWAY),
            false => fallback(ask, pair, past),
        };
        let usual = Scenario::default();
        let scenario = self.job.scenario(&usual);
        // What costs time is computed before the catalog is locked, and after it: changes of the catalog do not wait for networks. (Where
        // filters take nearly all of the model's first items, it is asked for more under the lock.)
        let mut proposed = Proposed::new(ask, pair, self.seen, first);
        let mut on = |catalog: &Catalog| {
            let (seen, now_ms) = (&self.seen_rules, self.now_ms);
            let way = Way { app, catalog, scenario, seen, past, now_ms };
            let fresh = way.new_items(ask, self.job.file().map(Arc::as_ref));
            let assembled = way.assembled(ask, &mut proposed, &fresh);
            let listed = assembled.items.iter().map(|listed| {
                let mut item = unexplained(catalog, &assembled, listed);
                if item.source[0] == CONTENT {
                    let like = fresh.iter().find(|own| own.row == listed.row).map(|own| own.like);
                    let reason =
                        |row| ListReason::SimilarTo { item_id: catalog.id(row).to_owned() };
                    item.reasons.extend(like.map(reason));
                }
                item
            });
            let items: Vec<ListItem> = listed.collect();
            let trace = app.traces.are_kept().then(|| trace(catalog, ask, &assembled));
            (assembled, items, trace)
        };
        let (assembled, mut items, trace) = on(&app.memory.catalog());
        for item in &mut items {
            item.reasons = match (item.source[0].as_str(), pair) {
                (CONTENT, _) => continue,
                ("pin", _) => vec![ListReason::Pinned],
                ("similar", _) => vec![ListReason::Similar],
                ("popular", _) => vec![ListReason::Popular { rank: None }],
                (of, Some((file, known))) if of == MODEL_SCORES || of == file.header().model => {
                    reasons(file, known, &item.item_id, ask)
                }
                _ => Vec::new(),
            };
        }
        let header = pair.map(|(file, _)| file.header());
        let list = List {
            request_id: self.job.request_id.clone(),
            model: header.map(|header| header.model.clone()),
            model_version: header.map(|header| header.content_hash.clone()),
            experiment: ask.arm.experiment.clone(),
            variant: ask.arm.variant.clone(),
            fallback: fallback.map(str::to_owned),
            items,
            took_ms: self.started.elapsed().as_secs_f64() * 1e3,
        };
        count(app, ask, &list, &assembled);
        if let Some(way) = trace {
            // As text: scores keep the digits that they were answered with.
            let whole = serde_json::to_string(&Traced { answer: &list, way }).unwrap_or_default();
            app.traces.put(&list.request_id, ask.user_id.clone(), whole);
        }
        list
    }
}

impl Job {
    /// What answers it.
    fn file(&self) -> Option<&Arc<LoadedModel>> {
        self.usual_file().filter(|_| !self.ask.arm.is_held_out)
    }

    /// What answers it, unless the user is held out.
    fn usual_file(&self) -> Option<&Arc<LoadedModel>> {
        let live = &self.live;
        match self.ask.about {
            About::With(_) => live.together.as_ref().or(live.recommend.as_ref()),
            _ => self.ask.arm.model.as_ref().or(live.recommend.as_ref()),
        }
    }

    fn scenario<'a>(&'a self, usual: &'a Scenario) -> &'a Scenario {
        self.app.rules.scenarios.get(self.ask.shown_as()).unwrap_or(usual)
    }
}

/// An item of the answer before it has reasons.
fn unexplained(catalog: &Catalog, assembled: &Assembled, listed: &Listed) -> ListItem {
    let of = match listed.origin {
        Origin::Pin => "pin",
        Origin::Source(place) => {
            assembled.trace.sources.get(place).map_or("", |source| source.name.as_str())
        }
    };
    let title = match catalog.column("title", ColumnType::Text) {
        Some(Column::Text(titles)) => titles.text(listed.row).map(str::to_owned),
        _ => None,
    };
    ListItem {
        item_id: catalog.id(listed.row).to_owned(),
        score: listed.score,
        rank: listed.rank,
        source: vec![of.to_owned()],
        reasons: Vec::new(),
        title,
    }
}

/// What a model says before the catalog is looked at.
#[derive(Default)]
struct Proposed<'a> {
    list: Option<ModelList<'a>>,
    /// Of given items the model's scores, where it knows them.
    scores: Vec<(&'a str, f32)>,
}

impl<'a> Proposed<'a> {
    fn new(
        ask: &'a ListAsk,
        pair: Option<(&'a Arc<LoadedModel>, &'a Known)>,
        seen: SeenItems,
        first: Option<Vec<Scored>>,
    ) -> Self {
        let Some((file, known)) = pair else { return Self::default() };
        let n = ask.n_read();
        let question = match &ask.about {
            About::Next => Some(Question::Next(known.history(), seen)),
            About::Like(item) | About::With(item) => {
                file.items().index(item).map(|index| Question::Like(ItemIdx(index)))
            }
            About::Among(items) => {
                let known_items =
                    items.iter().filter_map(|item| Some((item, file.items().index(item)?)));
                let (items, indices): (Vec<&String>, Vec<ItemIdx>) =
                    known_items.map(|(item, index)| (item, ItemIdx(index))).unzip();
                let scores = file.model().score(known.history(), &indices);
                let scores = items.into_iter().map(String::as_str).zip(scores).collect();
                return Self { list: None, scores };
            }
        };
        let list = question.map(|question| ModelList::new(file, question, n, first));
        Self { list, scores: Vec::new() }
    }
}

fn fallback(
    ask: &ListAsk,
    pair: Option<(&Arc<LoadedModel>, &Known)>,
    past: &[PastEvent],
) -> Option<&'static str> {
    if !ask.is_personal {
        return Some("no_consent");
    }
    if ask.arm.is_held_out {
        return Some("hold_out");
    }
    let Some((file, known)) = pair else { return Some("no_model") };
    match &ask.about {
        About::Like(item) | About::With(item) => {
            file.items().index(item).is_none().then_some("nothing_known")
        }
        About::Next | About::Among(_) => match file.model().fallback(known.history())? {
            _ if past.is_empty() && ask.session.is_empty() => Some("unknown_user"),
            Fallback::NoHistory => Some("no_history"),
            Fallback::NothingKnown => Some("nothing_known"),
        },
    }
}

/// From what was proposed to the list, on the catalog as it is.
struct Way<'a> {
    app: &'a App,
    catalog: &'a Catalog,
    scenario: &'a Scenario,
    seen: &'a [SeenRule],
    past: &'a [PastEvent],
    now_ms: i64,
}

impl Way<'_> {
    fn rows(&self, ids: &[String]) -> Vec<ItemRow> {
        ids.iter().filter_map(|id| self.catalog.row(id)).collect()
    }

    /// Items that the model does not know and that are like what the user acted on last.
    fn new_items(&self, ask: &ListAsk, file: Option<&LoadedModel>) -> Vec<Proposal> {
        let new_items = self.app.memory.new_items();
        let (About::Next, Some(file), Some(_)) = (&ask.about, file, self.app.config.one_new_in)
        else {
            return Vec::new();
        };
        if new_items.is_empty() {
            return Vec::new();
        }
        let past = self.past.iter().rev().filter_map(|event| event.item.as_deref());
        let items = ask.session.iter().rev().map(String::as_str).chain(past);
        let recent = items.filter_map(|item| self.catalog.row(item));
        let mut proposals = new_items.like(self.catalog, recent, &self.app.texts);
        // Those of another version, for the moment in which models are swapped.
        proposals.retain(|own| file.items().index(self.catalog.id(own.row)).is_none());
        proposals
    }

    fn assembled(
        &self,
        ask: &ListAsk,
        proposed: &mut Proposed<'_>,
        fresh: &[Proposal],
    ) -> Assembled {
        let Self { app, catalog, scenario, seen, past, now_ms } = *self;
        let facts = Facts { catalog, user: &ask.user, context: &ask.context, now_ms };
        let mut filters: Vec<NamedFilter<'_>> = Vec::new();
        for own in app.rules.filters.iter().filter(|own| own.is_for(ask.shown_as())) {
            filters.push(NamedFilter { name: &own.name, filter: own.rule.bind(&facts) });
        }
        if let Some(filter) = &ask.filter {
            filters.push(NamedFilter { name: "request", filter: filter.bind(&facts) });
        }
        let mut boosts: Vec<NamedBoost<'_>> = Vec::new();
        for own in app.rules.boosts.iter().filter(|own| own.is_for(ask.shown_as())) {
            boosts.push(NamedBoost { name: &own.name, boost: own.rule.bind(&facts) });
        }
        for boost in &ask.boosts {
            boosts.push(NamedBoost { name: "request", boost: boost.bind(&facts) });
        }
        let mut exclude = self.rows(&ask.exclude);
        let mut pins: Vec<Pin> = Vec::new();
        match &ask.about {
            About::Like(item) | About::With(item) => exclude.extend(catalog.row(item)),
            About::Next => {
                let pin = |(item, position): &(String, NonZeroUsize)| {
                    Some(Pin { position: *position, row: catalog.row(item)? })
                };
                pins.extend(scenario.pins.iter().filter_map(pin));
            }
            About::Among(_) => {}
        }
        let mut events: Vec<SeenEvent<'_>> = Vec::new();
        for event in past {
            if let Some(row) = event.item.as_deref().and_then(|item| catalog.row(item)) {
                let time_ms = event.timestamp_ms;
                events.push(SeenEvent { row, event: &event.event, time_ms });
            }
        }
        for row in self.rows(&ask.session) {
            events.push(SeenEvent { row, event: "view_item", time_ms: now_ms });
        }
        let request = ListRequest {
            n: ask.n,
            offset: ask.offset,
            now_ms,
            filters,
            boosts,
            exclude,
            seen,
            events,
            one_per_group: scenario.one_per_group,
            diversity: ask.diversity.unwrap_or(scenario.diversity),
            category_cap: scenario.category_cap,
            pins,
            blend: None,
        };
        self.out_of_sources(ask, proposed, fresh, request)
    }

    fn out_of_sources(
        &self,
        ask: &ListAsk,
        proposed: &mut Proposed<'_>,
        fresh: &[Proposal],
        mut request: ListRequest<'_>,
    ) -> Assembled {
        let catalog = self.catalog;
        let unscored = |row: ItemRow| Candidate { row, score: None };
        if let About::Among(items) = &ask.about {
            let scores = proposed.scores.iter();
            let scores = scores.filter_map(|(item, score)| Some((catalog.row(item)?, *score)));
            let mut scored = ByScore::new(MODEL_SCORES, scores);
            let mut given = InOrder::new("given", self.rows(items).into_iter().map(unscored));
            return assemble(catalog, &mut [&mut scored, &mut given], &request);
        }
        let mut own = proposed.list.as_mut().map(|list| InCatalog { list, catalog });
        let mut alike = match &ask.about {
            About::Like(item) | About::With(item) => catalog.row(item).map(|row| {
                let alike = |other: ItemRow| (other, catalog.similarity(row, other));
                let alike = catalog.live_rows().map(alike).filter(|(_, score)| *score > 0.0);
                ByScore::new("similar", alike)
            }),
            About::Next | About::Among(_) => None,
        };
        let popular = self.app.memory.popularity.ranked();
        let popular = popular.iter().filter_map(|(item, n)| {
            Some(Candidate { row: catalog.row(item)?, score: Some(*n as f32) })
        });
        let mut popular = InOrder::new("popular", popular);
        let mut everything = InOrder::new("catalog", catalog.live_rows().map(unscored));
        let mut fresh = (!fresh.is_empty()).then(|| {
            let candidate = |own: &Proposal| Candidate { row: own.row, score: Some(own.score) };
            InOrder::new(CONTENT, fresh.iter().map(candidate))
        });
        let mut sources: Vec<&mut dyn Source> = Vec::new();
        sources.extend(own.as_mut().map(|own| own as &mut dyn Source));
        if let (Some(fresh), Some(one_in)) = (&mut fresh, self.app.config.one_new_in) {
            request.blend = Some(Blend { source: sources.len(), one_in });
            sources.push(fresh);
        }
        sources.extend(alike.as_mut().map(|alike| alike as &mut dyn Source));
        sources.push(&mut popular);
        sources.push(&mut everything);
        assemble(catalog, &mut sources, &request)
    }
}

/// Which events keep an item out of the list, and what the model is told of them.
fn seen_rules(
    ask: &ListAsk,
    scenario: &Scenario,
    file: Option<&LoadedModel>,
) -> (Vec<SeenRule>, SeenItems) {
    let any = || vec![SeenRule { name: "any".to_owned(), events: Vec::new(), max_age_ms: None }];
    match (ask.leave_out_seen, &scenario.seen, &ask.about) {
        (Some(true), _, _) => (any(), SeenItems::Exclude),
        (Some(false), _, _) => (Vec::new(), SeenItems::Keep),
        (None, Some(rules), _) => (rules.clone(), SeenItems::Keep),
        // What is like an item, and the order of given ones, is not about what was seen.
        (None, None, About::Like(_) | About::With(_) | About::Among(_)) => {
            (Vec::new(), SeenItems::Keep)
        }
        (None, None, About::Next) => match file.map(|file| file.header().dataset.seen) {
            Some(SeenItems::Exclude) => (any(), SeenItems::Exclude),
            Some(own @ SeenItems::ExcludeEvent(kind)) => {
                let names = file.map(|file| file.header().event_names.as_slice());
                let event = names.and_then(|names| names.get(usize::from(kind)).cloned());
                let events = event.into_iter().collect::<Vec<_>>();
                (vec![SeenRule { name: events.concat(), events, max_age_ms: None }], own)
            }
            Some(other) => (Vec::new(), other),
            None => (Vec::new(), SeenItems::Keep),
        },
    }
}

/// Reasons that the model gives. A model that counts gives them always; a network computes each by leaving events out, and is asked only
/// where the request says `explain`.
fn reasons(file: &LoadedModel, known: &Known, item_id: &str, ask: &ListAsk) -> Vec<ListReason> {
    let record = &file.header().provenance.record;
    let is_counted = record.curve.is_empty() && record.members.is_empty();
    if !matches!(ask.about, About::Next | About::Among(_)) || !(is_counted || ask.explain) {
        return Vec::new();
    }
    let named = file.reasons(known.history(), item_id, N_REASONS).unwrap_or_default();
    let reason = |reason: NamedReason<'_>| match reason {
        NamedReason::Event { item_id, title, contribution, .. } => ListReason::BecauseOf {
            item_id: item_id.to_owned(),
            title: title.to_owned(),
            contribution,
        },
        NamedReason::Popular { rank, .. } => ListReason::Popular { rank: Some(rank) },
        NamedReason::Trending { times, .. } => ListReason::Trending { times },
        NamedReason::New { days, .. } => ListReason::New { days },
    };
    named.into_iter().map(reason).collect()
}

fn count(app: &App, ask: &ListAsk, list: &List, assembled: &Assembled) {
    let metrics = &app.memory.metrics;
    let model = list.model.clone().unwrap_or_else(|| "none".to_owned());
    let stage = StageLabels {
        scenario: ask.scenario.clone(),
        model: model.clone(),
        stage: "list".to_owned(),
    };
    metrics.recommend.get_or_create(&stage).observe(list.took_ms / 1e3);
    let variant = list.variant.clone();
    let labels = RecommendLabels { scenario: ask.scenario.clone(), model, variant };
    metrics.recommended.get_or_create(&labels).inc();
    if let Some(reason) = &list.fallback {
        metrics.fallbacks.get_or_create(&ReasonLabels { reason: reason.clone() }).inc();
    }
    for tally in &assembled.trace.removed {
        let labels = FilterLabels { filter: tally.name.clone() };
        metrics.filtered.get_or_create(&labels).inc_by(tally.n as u64);
    }
}

/// A trace as it is kept.
#[derive(Serialize)]
struct Traced<'a> {
    answer: &'a List,
    #[serde(flatten)]
    way: Value,
}

/// How the list came about.
fn trace(catalog: &Catalog, ask: &ListAsk, assembled: &Assembled) -> Value {
    let trace = &assembled.trace;
    let ids = |rows: &[ItemRow]| rows.iter().map(|row| catalog.id(*row)).collect::<Vec<_>>();
    let tally = |tally: &crate::assemble::Tally| json!({"name": tally.name, "n": tally.n, "first": ids(&tally.first)});
    let tallies = |of: &[crate::assemble::Tally]| of.iter().map(tally).collect::<Vec<_>>();
    let source = |own: &crate::assemble::SourceTrace| {
        json!({"name": own.name, "n_candidates": own.n_candidates, "n_repeated": own.n_repeated,
            "n_eligible": own.n_eligible, "n_listed": own.n_listed})
    };
    let pin = |(pin, outcome): &(Pin, crate::assemble::PinOutcome)| json!({"item_id": catalog.id(pin.row), "position": pin.position, "outcome": format!("{outcome:?}")});
    let moved = |own: &crate::assemble::Moved| json!({"item_id": catalog.id(own.row), "from": own.from, "to": own.to});
    let boost = |listed: &Listed| {
        (listed.boost != 1.0)
            .then(|| json!({"item_id": catalog.id(listed.row), "factor": listed.boost}))
    };
    json!({
        "user_id": ask.user_id,
        "scenario": ask.scenario,
        "shown_as": ask.shown_as(),
        "about": match &ask.about {
            About::Next => json!("next"),
            About::Like(item) => json!({"like": item}),
            About::With(item) => json!({"with": item}),
            About::Among(items) => json!({"among": items.len()}),
        },
        "sources": trace.sources.iter().map(source).collect::<Vec<_>>(),
        "removed": tallies(&trace.removed),
        "boosts": tallies(&trace.boosts),
        "boosted": assembled.items.iter().filter_map(boost).collect::<Vec<_>>(),
        "held_by_group": tally(&trace.held_by_group),
        "held_by_cap": tally(&trace.held_by_cap),
        "moved_by_diversity": trace.moved_by_diversity.iter().map(moved).collect::<Vec<_>>(),
        "pins": trace.pins.iter().map(pin).collect::<Vec<_>>(),
    })
}
