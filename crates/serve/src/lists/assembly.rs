//! From what was proposed to the list, by the rules of the shop.

use std::num::NonZeroUsize;

use forecart_models::model_file::LoadedModel;

use super::ask::{About, ListAsk};
use super::candidates::{InCatalog, Proposed};
use super::shop_rules::Scenario;
use crate::app::App;
use crate::assemble::{
    Assembled, Blend, ByScore, Candidate, InOrder, ListRequest, NamedBoost, NamedFilter, Pin,
    SeenEvent, SeenRule, Source, assemble,
};
use crate::catalog::{Catalog, ItemRow};
use crate::history::PastEvent;
use crate::new_items::Proposal;
use crate::rules::Facts;

/// The source of given items that the model has scores of.
pub(super) const MODEL_SCORES: &str = "model";
/// The source of items that the model does not know.
pub(super) const CONTENT: &str = "content";

/// What a list is made of, on the catalog as it is.
pub(super) struct Assembly<'a> {
    pub(super) app: &'a App,
    pub(super) catalog: &'a Catalog,
    pub(super) scenario: &'a Scenario,
    pub(super) seen: &'a [SeenRule],
    pub(super) past: &'a [PastEvent],
    pub(super) now_ms: i64,
}

impl Assembly<'_> {
    fn rows(&self, ids: &[String]) -> Vec<ItemRow> {
        ids.iter().filter_map(|id| self.catalog.row(id)).collect()
    }

    /// Items that the model does not know and that are like what the user acted on last.
    pub(super) fn new_items(&self, ask: &ListAsk, file: Option<&LoadedModel>) -> Vec<Proposal> {
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

    pub(super) fn assembled(
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
