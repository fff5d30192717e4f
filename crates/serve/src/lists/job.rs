//! A list, from what was asked to what is answered.

use std::sync::Arc;
use std::time::Instant;

use forecart_data::SeenItems;
use forecart_models::model_file::LoadedModel;
use forecart_models::recommend::Scored;

use super::ask::{About, ListAsk};
use super::assembly::{Assembly, CONTENT, MODEL_SCORES};
use super::candidates::Proposed;
use super::fallback::{STORE_AWAY, fallback};
use super::list::{List, ListItem, unexplained};
use super::model_history::Known;
use super::reasons::{ListReason, reasons};
use super::seen::seen_rules;
use super::shop_rules::Scenario;
use super::trace::{Traced, trace};
use crate::app::App;
use crate::assemble::{Assembled, SeenRule};
use crate::catalog::Catalog;
use crate::clock::now_ms;
use crate::history::UserHistory;
use crate::metrics::{FilterLabels, ReasonLabels, RecommendLabels, StageLabels};
use crate::models::Live;

/// What was asked and what there is to answer with, on the way to a worker.
pub(crate) struct Job {
    pub(crate) app: Arc<App>,
    pub(crate) live: Arc<Live>,
    pub(crate) past: UserHistory,
    /// Whether the user's history could not be read.
    pub(crate) store_is_away: bool,
    pub(crate) ask: ListAsk,
    pub(crate) request_id: String,
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

/// A job of which is known what to ask the model.
pub(super) struct Begun {
    pub(super) job: Job,
    started: Instant,
    now_ms: i64,
    /// The history for the model, if one answers.
    known: Option<Known>,
    seen_rules: Vec<SeenRule>,
    pub(super) seen: SeenItems,
}

impl Begun {
    pub(super) fn new(job: Job) -> Self {
        let (started, now_ms) = (Instant::now(), now_ms());
        let file = job.file();
        let known = file.map(|file| Known::new(file, &job.past, &job.ask.session, now_ms));
        let usual = Scenario::default();
        // Who is held out sees no model, but what was seen is left out as it would be with one.
        let seen_by = job.usual_file().map(Arc::as_ref);
        let (seen_rules, seen) = seen_rules(&job.ask, job.scenario(&usual), seen_by);
        Self { job, started, now_ms, known, seen_rules, seen }
    }

    pub(super) fn pair(&self) -> Option<(&Arc<LoadedModel>, &Known)> {
        self.job.file().zip(self.known.as_ref())
    }

    /// Makes the list. `first` is what the model lists, where it was asked already; else it costs what the model's scores cost, and a little.
    pub(super) fn list(self, first: Option<Vec<Scored>>) -> List {
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
            let assembly = Assembly { app, catalog, scenario, seen, past, now_ms };
            let fresh = assembly.new_items(ask, self.job.file().map(Arc::as_ref));
            let assembled = assembly.assembled(ask, &mut proposed, &fresh);
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

/// Counts the list in the metrics.
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
