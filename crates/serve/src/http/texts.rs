//! `POST /v1/classify`: what a customer asks. `POST /v1/questions`: what they will ask.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use forecart_data::{History, ItemIdx};
use forecart_models::model_file::{IntentModelFile, QuestionModelFile};
use forecart_models::support::Abstained;
use forecart_models::support::questions::Behavior;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::Body;
use super::error::{ApiError, ErrorBody};
use super::recommend::unless_away;
use crate::app::App;
use crate::consent::Purpose;
use crate::event::{MAX_TEXT_BYTES, check_id};
use crate::history::{PastEvent, UserHistory};
use crate::ids::new_id;
use crate::lists::STORE_AWAY;

/// Most texts or users of one request.
const MAX_ROWS: usize = 1_000;
/// Intents of an answer, where nothing is said.
const N_RANKED: usize = 5;

/// One text, or several.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClassifyBody {
    /// A text as it was typed.
    text: Option<String>,
    /// Several of them, in place of `text`.
    texts: Option<Vec<String>>,
    /// Who typed it; is not needed.
    #[serde(default)]
    #[expect(dead_code, reason = "a part of the interface that no model uses yet")]
    user_id: Option<String>,
    /// Intents in the ranking of each answer.
    n: Option<usize>,
}

/// An intent and how sure the model is.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct NamedIntent {
    name: String,
    confidence: f64,
}

/// What a text asks.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Classification {
    /// As it was read: masked.
    pub(super) text: String,
    /// Null where no answer is better than a wrong one.
    pub(super) intent: Option<NamedIntent>,
    pub(super) intent_ranking: Vec<NamedIntent>,
    abstain: bool,
    /// Why there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    reason: Option<Abstained>,
    language: Option<String>,
}

/// What texts ask.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Classifications {
    request_id: String,
    model: String,
    model_version: String,
    /// Of one `text`: its answer.
    #[serde(flatten)]
    one: Option<Classification>,
    /// Of `texts`: an answer each, in their order.
    #[serde(skip_serializing_if = "Option::is_none")]
    results: Option<Vec<Classification>>,
    took_ms: f64,
}

/// What a customer asks, with an honest confidence, or no answer where one would be wrong too often.
#[utoipa::path(post, path = "/v1/classify", tag = "support", request_body = ClassifyBody,
    responses((status = 200, body = Classifications), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody, description = "No model of this task is served"), (status = 413, body = ErrorBody), (status = 422, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(crate) async fn classify(
    State(app): State<Arc<App>>,
    Body(body): Body<ClassifyBody>,
) -> Result<Json<Classifications>, ApiError> {
    let is_one = body.text.is_some();
    let texts = match (body.text, body.texts) {
        (Some(text), None) => vec![text],
        (None, Some(texts)) => texts,
        _ => {
            let message = "send either text or texts";
            return Err(ApiError::unprocessable("wrong_fields", message).field("text"));
        }
    };
    let started = std::time::Instant::now();
    let (file, mut results) = classified(&app, texts, body.n.unwrap_or(N_RANKED)).await?;
    let header = file.header();
    Ok(Json(Classifications {
        request_id: new_id(),
        model: header.model.clone(),
        model_version: header.content_hash.clone(),
        one: if is_one { results.pop() } else { None },
        results: (!is_one).then_some(results),
        took_ms: started.elapsed().as_secs_f64() * 1e3,
    }))
}

/// What one text asks.
pub(super) async fn one(app: &App, text: String, n: usize) -> Result<Classification, ApiError> {
    let (_, mut results) = classified(app, vec![text], n).await?;
    Ok(results.remove(0))
}

/// What texts ask, in their order, and by which model.
async fn classified(
    app: &App,
    texts: Vec<String>,
    n: usize,
) -> Result<(Arc<IntentModelFile>, Vec<Classification>), ApiError> {
    check_rows(texts.len(), "texts")?;
    if let Some(text) = texts.iter().find(|text| text.len() > MAX_TEXT_BYTES) {
        let message = format!("a text has {} bytes, at most {MAX_TEXT_BYTES} are read", text.len());
        let error = ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "text_too_large", message);
        return Err(error.field("text"));
    }
    let file = app.models.live().support.clone().ok_or_else(|| ApiError::no_model("support"))?;
    let model = file.clone();
    let answered = app.workers.run(move || {
        texts.iter().map(|text| answer(&model, text, n)).collect::<Result<Vec<_>, ApiError>>()
    });
    Ok((file, answered.await??))
}

fn check_rows(n_rows: usize, field: &str) -> Result<(), ApiError> {
    if n_rows <= MAX_ROWS {
        return Ok(());
    }
    let message = format!("at most {MAX_ROWS} {field} are answered at once");
    let error = ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many_rows", message);
    Err(error.field(field).hint("send them in parts"))
}

fn answer(file: &IntentModelFile, text: &str, n: usize) -> Result<Classification, ApiError> {
    let predictor = file.predictor();
    let clean = predictor.pipeline().clean(text);
    let found = predictor.classify_clean(&clean)?;
    let named = |intent: usize| NamedIntent {
        name: predictor.intents().get(intent).to_owned(),
        confidence: (found.probabilities[intent] * 1e6).round() / 1e6,
    };
    let language = predictor.pipeline().language(&clean).map(|own| own.code.to_owned());
    Ok(Classification {
        intent: found.abstained.is_none().then(|| named(found.best())),
        intent_ranking: found.ranking().into_iter().take(n).map(named).collect(),
        abstain: found.abstained.is_some(),
        reason: found.abstained,
        language,
        text: clean,
    })
}

/// A user, or several.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct QuestionsBody {
    /// Whose question.
    user_id: Option<String>,
    /// Several of them, in place of `user_id`.
    user_ids: Option<Vec<String>>,
    /// Questions in each answer.
    n: Option<usize>,
    /// Whether to say which behavior led to each.
    #[serde(default)]
    explain: bool,
}

/// A behavior that led to a question.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct NamedBehavior {
    /// What was done.
    event: String,
    /// On what; empty where that plays no part.
    object: String,
    count: usize,
    last_ms: i64,
    /// How much less probable the question would be without it.
    effect: f64,
}

/// A question that a user may ask.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Expected {
    rank: usize,
    intent: String,
    /// That it is asked within the model's hours.
    p: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<Vec<NamedBehavior>>,
}

/// What a user may ask.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UserQuestions {
    user_id: String,
    /// Why the answer is how often things are asked at all, null if it is the user's own.
    fallback: Option<&'static str>,
    questions: Vec<Expected>,
}

/// What users may ask.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QuestionAnswers {
    request_id: String,
    model: String,
    model_version: String,
    results: Vec<UserQuestions>,
    took_ms: f64,
}

/// What a user is likely to ask next, from what they did: most probable first.
#[utoipa::path(post, path = "/v1/questions", tag = "support", request_body = QuestionsBody,
    responses((status = 200, body = QuestionAnswers), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody, description = "No model of this task is served"), (status = 413, body = ErrorBody), (status = 422, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(crate) async fn questions(
    State(app): State<Arc<App>>,
    Body(body): Body<QuestionsBody>,
) -> Result<Json<QuestionAnswers>, ApiError> {
    let users = match (body.user_id, body.user_ids) {
        (Some(user), None) => vec![user],
        (None, Some(users)) => users,
        _ => {
            let message = "send either user_id or user_ids";
            return Err(ApiError::unprocessable("wrong_fields", message).field("user_id"));
        }
    };
    check_rows(users.len(), "user_ids")?;
    users.iter().try_for_each(|user| check_id("user_id", user))?;
    let file = app.models.live().question.clone().ok_or_else(|| ApiError::no_model("question"))?;
    let started = std::time::Instant::now();
    let (n, explain) = (body.n.unwrap_or(N_RANKED), body.explain);
    let mut results = Vec::with_capacity(users.len());
    for user_id in users {
        let is_personal = app.consents.allows(&user_id, Purpose::Personalization);
        let past = match is_personal {
            true => unless_away(app.memory.histories.of(&user_id).await)?,
            false => Some(UserHistory::default()),
        };
        let store_is_away = past.is_none();
        let past = past.unwrap_or_default();
        let model = file.clone();
        let answered = app.workers.run(move || expected(&model, &past, n, explain));
        let (fallback, questions) = answered.await??;
        let fallback = match (is_personal, store_is_away) {
            (false, _) => Some("no_consent"),
            (true, true) => Some(STORE_AWAY),
            (true, false) => fallback,
        };
        results.push(UserQuestions { user_id, fallback, questions });
    }
    let header = file.header();
    Ok(Json(QuestionAnswers {
        request_id: new_id(),
        model: header.model.clone(),
        model_version: header.content_hash.clone(),
        results,
        took_ms: started.elapsed().as_secs_f64() * 1e3,
    }))
}

fn expected(
    file: &QuestionModelFile,
    past: &[PastEvent],
    n: usize,
    explain: bool,
) -> Result<(Option<&'static str>, Vec<Expected>), ApiError> {
    let predictor = file.predictor();
    let names = predictor.names();
    let object = |own: &PastEvent| {
        let named = if &*own.event == "ask" { &own.intent } else { &own.item };
        ItemIdx(names.objects.index_or_unknown(named.as_deref().unwrap_or_default()))
    };
    let items: Vec<ItemIdx> = past.iter().map(object).collect();
    let event = |own: &PastEvent| u8::try_from(names.events.index_or_unknown(&own.event));
    let events: Vec<u8> = past.iter().map(|own| event(own).unwrap_or(0)).collect();
    let timestamps_ms: Vec<i64> = past.iter().map(|own| own.timestamp_ms).collect();
    let history =
        History { items: &items, timestamps_ms: &timestamps_ms, events: &events, values: &[] };
    let probabilities = predictor.probabilities(history)?;
    let mut ranking: Vec<usize> = (0..probabilities.len()).collect();
    // Stable: equal ones by their place.
    ranking.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]));
    // One for all intents: what is left out says what is left of each.
    let deletions = match explain && !past.is_empty() {
        true => Some(predictor.deletions(history)?),
        false => None,
    };
    let mut questions = Vec::new();
    for (rank, intent) in (1..).zip(ranking.into_iter().take(n)) {
        let because = deletions.as_ref().map(|deletions| {
            let named = |own: &Behavior| NamedBehavior {
                event: names.events.text(own.event.into()).to_owned(),
                object: names.objects.text(own.object).to_owned(),
                count: own.count,
                last_ms: own.last_ms,
                effect: own.effect,
            };
            deletions.of(intent).cause().iter().map(named).collect()
        });
        questions.push(Expected {
            rank,
            intent: predictor.intent(intent).to_owned(),
            p: probabilities[intent],
            because,
        });
    }
    Ok((past.is_empty().then_some("unknown_user"), questions))
}
