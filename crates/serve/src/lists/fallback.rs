//! Why a list is not the model's own.

use std::sync::Arc;

use forecart_models::model_file::LoadedModel;
use forecart_models::recommend::Fallback;

use super::ask::{About, ListAsk};
use super::model_history::Known;
use crate::history::PastEvent;

/// The fallback of an answer without what the store knows of the user: it does not answer.
pub(crate) const STORE_AWAY: &str = "store_away";

/// The fallback of an answer, if it is one.
pub(super) fn fallback(
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
