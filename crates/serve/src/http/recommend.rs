//! Lists: what a user wants next, what goes with an item, the order of given items; and how a list came about.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::body::{Asked, Body, InPath};
use super::error::{ApiError, ErrorBody};
use crate::app::App;
use crate::catalog::ColumnType;
use crate::clock::now_ms;
use crate::consent::Purpose;
use crate::event::check_id;
use crate::experiments::{Arm, takes_part};
use crate::history::UserHistory;
use crate::ids::new_id;
use crate::lists::{About, DEFAULT_SCENARIO, Job, List, ListAsk};
use crate::models::Live;
use crate::rules::{Boost, Filter, RuleError, Schema, Scope, Values};
use crate::store::StoreError;

/// Items of a list, where nothing is said.
const N_ITEMS: usize = 10;
/// Most items of a list.
const MAX_ITEMS: usize = 1_000;
/// Most items before the first of a page.
const MAX_OFFSET: usize = 100_000;
/// Most ids that a request may name.
const MAX_IDS: usize = 10_000;
/// Most users of a batch.
const MAX_BATCH: usize = 1_000;
/// Users of a batch whose lists are made at the same time.
const USERS_AT_ONCE: usize = 16;
/// Most boosts of a request.
const MAX_BOOSTS: usize = 16;

impl From<RuleError> for ApiError {
    fn from(error: RuleError) -> Self {
        let api = Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.code(), error.message());
        let api = api.hint(error.hint());
        match error.field() {
            Some(field) => api.field(field),
            None => api,
        }
    }
}

/// What may be said in the query.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// How many items [default: 10].
    #[param(minimum = 1, maximum = 1000)]
    n: Option<usize>,
    /// How many items of the list stand before these.
    #[param(maximum = 100_000)]
    offset: Option<usize>,
    /// The place of the shop, as it is configured.
    scenario: Option<String>,
    /// What must hold of every item: `item.in_stock and item.price < 100`.
    filter: Option<String>,
    /// Whether a network says why, too; models that count always do.
    #[serde(default)]
    explain: bool,
    /// Whether items that the user acted on are left out [default: as the scenario or the model's data say].
    leave_out_seen: Option<bool>,
}

/// What may be said in a body.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListBody {
    /// Whose list; none of a visitor.
    user_id: Option<String>,
    /// Several users, in place of `user_id`: a list for each.
    user_ids: Option<Vec<String>>,
    /// Item ids of this visit, oldest first.
    #[serde(default)]
    session: Vec<String>,
    /// What rules know as `context.…`.
    #[serde(default)]
    #[schema(value_type = std::collections::BTreeMap<String, Value>)]
    context: Map<String, Value>,
    #[schema(minimum = 1, maximum = 1000)]
    n: Option<usize>,
    #[schema(maximum = 100_000)]
    offset: Option<usize>,
    scenario: Option<String>,
    filter: Option<String>,
    /// `boost 1.2 if item.margin > 0.3`, one or several.
    #[serde(default)]
    boost: Vec<String>,
    /// Ids of items that may not be listed.
    #[serde(default)]
    exclude: Vec<String>,
    /// How much unlike one another the items should be, in 0..=1.
    diversity: Option<f32>,
    #[serde(default)]
    explain: bool,
    leave_out_seen: Option<bool>,
}

impl ListBody {
    /// A page of a list, and nothing else said.
    pub(super) fn page(n: Option<usize>, offset: Option<usize>) -> Self {
        Self { n, offset, ..Self::default() }
    }
}

impl From<ListQuery> for ListBody {
    fn from(query: ListQuery) -> Self {
        let ListQuery { n, offset, scenario, filter, explain, leave_out_seen } = query;
        Self { n, offset, scenario, filter, explain, leave_out_seen, ..Self::default() }
    }
}

/// Lists of several users, in their order.
#[derive(Debug, serde::Serialize, ToSchema)]
pub(crate) struct Lists {
    results: Vec<List>,
}

/// One list, or several.
#[derive(Debug, serde::Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    /// To a `user_id`.
    One(List),
    /// To `user_ids`.
    Many(Lists),
}

fn unprocessable(code: &str, message: impl Into<String>, field: &str) -> ApiError {
    ApiError::unprocessable(code, message).field(field)
}

/// Checks all that is said but the user.
pub(super) fn checked(app: &App, about: About, body: &ListBody) -> Result<ListAsk, ApiError> {
    let n = body.n.unwrap_or(N_ITEMS);
    if n == 0 || n > MAX_ITEMS {
        return Err(unprocessable("bad_n", format!("n is in 1..={MAX_ITEMS}"), "n"));
    }
    let offset = body.offset.unwrap_or(0);
    if offset > MAX_OFFSET {
        return Err(unprocessable(
            "bad_offset",
            format!("offset is at most {MAX_OFFSET}"),
            "offset",
        ));
    }
    for (field, ids) in [("session", &body.session), ("exclude", &body.exclude)] {
        if ids.len() > MAX_IDS {
            return Err(unprocessable(
                "too_many_ids",
                format!("at most {MAX_IDS} are read"),
                field,
            ));
        }
    }
    if body.boost.len() > MAX_BOOSTS {
        return Err(unprocessable("too_many_boosts", format!("at most {MAX_BOOSTS}"), "boost"));
    }
    if body.diversity.is_some_and(|diversity| !(0.0..=1.0).contains(&diversity)) {
        return Err(unprocessable("bad_diversity", "diversity is in 0..=1", "diversity"));
    }
    let scenario = body.scenario.clone().unwrap_or_else(|| DEFAULT_SCENARIO.to_owned());
    if !app.rules.scenarios.contains_key(&scenario) {
        let known: Vec<&str> = app.rules.scenarios.keys().map(String::as_str).collect();
        let message = format!("there is no scenario {scenario:?}; there are {}", known.join(", "));
        return Err(unprocessable("unknown_scenario", message, "scenario"));
    }
    let context = Values::from_json(&body.context);
    for (name, value) in context.iter() {
        // Times and paths have no type of their own in JSON: one that cannot be read is missing.
        if let Some(column_type) = app.rules.context.get(name)
            && !matches!(column_type, ColumnType::Time | ColumnType::Path)
            && *column_type != value.value_type()
        {
            let message = format!("context.{name} is {}", column_type.in_words());
            return Err(unprocessable("wrong_type", message, &format!("context.{name}")));
        }
    }
    let (mut filter, mut boosts) = (None, Vec::new());
    if body.filter.is_some() || !body.boost.is_empty() {
        let mut schema = app.rules.schema.clone();
        declare_items(app, &mut schema);
        schema.declare_values(Scope::Context, &context);
        let own = body.filter.as_deref().map(|source| Filter::parse(source, &schema));
        filter = own.transpose().map_err(|error| error.in_field("filter"))?;
        for source in &body.boost {
            let boost = Boost::parse(source, &schema).map_err(|error| error.in_field("boost"))?;
            boosts.push(boost);
        }
    }
    Ok(ListAsk {
        about,
        user_id: None,
        session: body.session.clone(),
        n,
        offset,
        scenario,
        filter,
        boosts,
        exclude: body.exclude.clone(),
        diversity: body.diversity,
        leave_out_seen: body.leave_out_seen,
        user: Values::default(),
        context,
        explain: body.explain,
        is_personal: true,
        arm: Arm::default(),
    })
}

/// Attributes that items have by now.
fn declare_items(app: &App, schema: &mut Schema) {
    let catalog = app.memory.catalog();
    for (name, column_type) in catalog.column_types() {
        schema.declare(Scope::Item, name, column_type);
    }
}

/// The list of one user, or of a visitor.
pub(super) async fn answer(
    app: &Arc<App>,
    live: &Arc<Live>,
    mut ask: ListAsk,
    user_id: Option<String>,
) -> Result<List, ApiError> {
    let (mut past, mut store_is_away) = (UserHistory::default(), false);
    if let Some(user_id) = &user_id {
        check_id("user_id", user_id)?;
        ask.is_personal = app.consents.allows(user_id, Purpose::Personalization);
        if ask.is_personal {
            let known = unless_away(app.memory.histories.of(user_id).await)?;
            store_is_away = known.is_none();
            past = known.unwrap_or_default();
            if app.rules.reads_users {
                let user = app.memory.circuit.ask(app.store.user(user_id)).await;
                let user = unless_away(user)?;
                store_is_away |= user.is_none();
                let attributes = user.flatten().map(|own| Values::from_json(&own.attributes));
                ask.user = attributes.unwrap_or_default();
            }
        } else {
            ask.session.clear();
        }
        if !app.experiments.all().is_empty() && takes_part(&app.consents, user_id) {
            ask.arm = app.experiments.arm(&ask.scenario, user_id, live, now_ms());
        }
    }
    ask.user_id = user_id;
    let (own, live, request_id) = (app.clone(), live.clone(), new_id());
    let job = Job { app: own, live, past, store_is_away, ask, request_id };
    Ok(app.workers.together(job).await?)
}

/// What the store says; nothing where it does not answer, and the answer does without.
pub(super) fn unless_away<T>(read: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match read {
        Err(error) if error.is_outage() => Ok(None),
        other => other.map(Some),
    }
}

/// What a user wants next. A user who is not known is answered with what is popular, and `fallback` says so.
#[utoipa::path(get, path = "/v1/recommend/{user_id}", tag = "lists", params(("user_id" = String, Path), ListQuery),
    responses((status = 200, body = List), (status = 400, body = ErrorBody), (status = 422, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    InPath(user_id): InPath,
    Asked(query): Asked<ListQuery>,
) -> Result<Json<List>, ApiError> {
    let ask = checked(&app, About::Next, &query.into())?;
    Ok(Json(answer(&app, &app.models.live(), ask, Some(user_id)).await?))
}

/// What a user, a visitor or each of several users wants next.
#[utoipa::path(post, path = "/v1/recommend", tag = "lists", request_body = ListBody,
    responses((status = 200, body = OneOrMany), (status = 400, body = ErrorBody), (status = 413, body = ErrorBody), (status = 422, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(crate) async fn post(
    State(app): State<Arc<App>>,
    Body(mut body): Body<ListBody>,
) -> Result<Json<OneOrMany>, ApiError> {
    // Once: a batch is answered by one set of models.
    let live = app.models.live();
    let Some(users) = body.user_ids.take() else {
        let ask = checked(&app, About::Next, &body)?;
        let list = answer(&app, &live, ask, body.user_id).await?;
        return Ok(Json(OneOrMany::One(list)));
    };
    if body.user_id.is_some() {
        return Err(unprocessable("wrong_fields", "send either user_id or user_ids", "user_ids"));
    }
    if users.len() > MAX_BATCH {
        let message = format!("at most {MAX_BATCH} users are answered at once");
        return Err(unprocessable("too_many_rows", message, "user_ids"));
    }
    let mut results = Vec::with_capacity(users.len());
    // So many at once that they are answered together, and that others have their turn.
    let n_at_once = USERS_AT_ONCE.min(app.config.queue_answers / 4).max(1);
    for users in users.chunks(n_at_once) {
        let mut answers = FuturesOrdered::new();
        for user_id in users {
            let ask = checked(&app, About::Next, &body)?;
            answers.push_back(answer(&app, &live, ask, Some(user_id.clone())));
        }
        while let Some(list) = answers.next().await {
            results.push(list?);
        }
    }
    Ok(Json(OneOrMany::Many(Lists { results })))
}

async fn about_item(
    app: &Arc<App>,
    item_id: String,
    about: fn(String) -> About,
    query: ListQuery,
) -> Result<Json<List>, ApiError> {
    let is_known = {
        let catalog = app.memory.catalog();
        catalog.row(&item_id).is_some()
    };
    if !is_known {
        let message = format!("there is no item {item_id:?}");
        return Err(ApiError::new(StatusCode::NOT_FOUND, "unknown_item", message));
    }
    let ask = checked(app, about(item_id), &query.into())?;
    Ok(Json(answer(app, &app.models.live(), ask, None).await?))
}

/// What is like an item.
#[utoipa::path(get, path = "/v1/items/{id}/similar", tag = "lists", params(("id" = String, Path), ListQuery),
    responses((status = 200, body = List), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(crate) async fn similar(
    State(app): State<Arc<App>>,
    InPath(id): InPath,
    Asked(query): Asked<ListQuery>,
) -> Result<Json<List>, ApiError> {
    about_item(&app, id, About::Like, query).await
}

/// What is bought together with an item: by a model `together` where one is served, else by the model of lists.
#[utoipa::path(get, path = "/v1/items/{id}/together", tag = "lists", params(("id" = String, Path), ListQuery),
    responses((status = 200, body = List), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(crate) async fn together(
    State(app): State<Arc<App>>,
    InPath(id): InPath,
    Asked(query): Asked<ListQuery>,
) -> Result<Json<List>, ApiError> {
    about_item(&app, id, About::With, query).await
}

/// An item to put in order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RankItem {
    id: String,
}

/// Items to put in order for a user or visitor.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RankBody {
    user_id: Option<String>,
    /// Item ids of this visit, oldest first.
    #[serde(default)]
    session: Vec<String>,
    items: Vec<RankItem>,
    #[serde(default)]
    #[schema(value_type = std::collections::BTreeMap<String, Value>)]
    context: Map<String, Value>,
    scenario: Option<String>,
    filter: Option<String>,
    #[serde(default)]
    boost: Vec<String>,
    #[serde(default)]
    explain: bool,
}

/// Given items, best first for a user. Those that a rule of the shop keeps out, or that are not in the catalog, are not in the answer.
#[utoipa::path(post, path = "/v1/rank", tag = "lists", request_body = RankBody,
    responses((status = 200, body = List), (status = 400, body = ErrorBody), (status = 413, body = ErrorBody), (status = 422, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(crate) async fn rank(
    State(app): State<Arc<App>>,
    Body(body): Body<RankBody>,
) -> Result<Json<List>, ApiError> {
    let RankBody { user_id, session, items, context, scenario, filter, boost, explain } = body;
    let ids = items.into_iter().map(|item| item.id).collect();
    let body =
        ListBody { session, context, scenario, filter, boost, explain, ..ListBody::default() };
    let ask = checked_ranking(&app, ids, body)?;
    Ok(Json(answer(&app, &app.models.live(), ask, user_id).await?))
}

/// Checks a request for the order of given items.
pub(super) fn checked_ranking(
    app: &App,
    ids: Vec<String>,
    body: ListBody,
) -> Result<ListAsk, ApiError> {
    if ids.is_empty() || ids.len() > MAX_ITEMS {
        let message = format!("1 to {MAX_ITEMS} items are put in order");
        return Err(unprocessable("bad_items", message, "items"));
    }
    let body = ListBody { n: Some(ids.len()), ..body };
    checked(app, About::Among(ids), &body)
}

/// How a list came about: candidates by source, what each filter removed, boosts, pins, scores. The last ones of this process are kept.
#[utoipa::path(get, path = "/v1/requests/{id}", tag = "lists", params(("id" = String, Path)),
    responses((status = 200, body = Value), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub(crate) async fn trace(
    State(app): State<Arc<App>>,
    InPath(id): InPath,
) -> Result<Response, ApiError> {
    let trace = app.traces.get(&id).ok_or_else(|| {
        let message = format!("no trace of {id:?} is kept");
        ApiError::new(StatusCode::NOT_FOUND, "unknown_request", message)
            .hint("serve.traces says how many are")
    })?;
    let kind = [(header::CONTENT_TYPE, "application/json")];
    Ok((kind, trace.to_string()).into_response())
}
