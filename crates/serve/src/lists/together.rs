//! Lists of several requests at once: the model is asked once for all of them.

use std::sync::Arc;

use forecart_data::History;
use forecart_models::model_file::LoadedModel;
use forecart_models::recommend::{Scored, TopK};

use super::ask::About;
use super::candidates::first_k;
use super::job::{Begun, Job};
use super::list::List;
use crate::workers::Piece;

impl Piece for Job {
    type Answer = List;

    /// Only what one set of models answers is answered together.
    fn goes_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.live, &other.live)
    }

    fn answer(jobs: Vec<Self>) -> Vec<List> {
        let begun: Vec<Begun> = jobs.into_iter().map(Begun::new).collect();
        let first = first_lists(&begun);
        begun.into_iter().zip(first).map(|(begun, first)| begun.list(first)).collect()
    }
}

/// What the model lists for each of several requests for what comes next; `None` for the other requests.
fn first_lists(begun: &[Begun]) -> Vec<Option<Vec<Scored>>> {
    let mut lists = vec![None; begun.len()];
    let mut places = Vec::new();
    let mut requests: Vec<(History<'_>, TopK<'_>)> = Vec::new();
    let mut model: Option<&Arc<LoadedModel>> = None;
    for (place, own) in begun.iter().enumerate() {
        let ask = &own.job.ask;
        if let (About::Next, Some((file, known))) = (&ask.about, own.pair()) {
            // The one of their set of models; a variant of an experiment that has another is asked alone.
            if !Arc::ptr_eq(model.get_or_insert(file), file) {
                continue;
            }
            places.push(place);
            requests.push((known.history(), TopK::new(first_k(ask.n_read()), own.seen)));
        }
    }
    if let Some(file) = model {
        let together = file.model().recommend_together(&requests);
        places.into_iter().zip(together).for_each(|(place, list)| lists[place] = Some(list));
    }
    lists
}
