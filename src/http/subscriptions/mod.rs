//! Subscriptions on the wire.

mod charge;
mod credits;
mod input;
mod output;
mod plan;
mod preview;
mod update;
mod usage;
mod words;

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use serde::Serialize;
use utoipa_axum::routes;

use crate::engine::bills::{SubscriptionFilter, SubscriptionView};
use crate::engine::{Command, Outcome};
use crate::http::auth::{Admin, Read};
use crate::http::edge::Edge;
use crate::http::identity::Mutation;
use crate::http::page::{Items, Paging};
use crate::http::query::Parameters;
use crate::http::reply::{self, ApiError, Failure};
use crate::http::route::{Routes, Segment};
use crate::http::{body, page};
use crate::model::{CustomerId, ProductId, Subscription, SubscriptionId};

pub(in crate::http) use input::{CustomerInput, business_name, tax_id};
pub(in crate::http) use plan::change as plan_change;

use input::SubscriptionCreate;
use output::{CreatedBody, ListedBody, SubscriptionBody};
use update::SubscriptionUpdate;
use words::StatusWord;

/// Adds the routes of subscriptions.
pub(crate) fn routes(routes: Routes) -> Routes {
    let routes = routes
        .add::<Read>(routes!(list_subscriptions))
        .add::<Admin>(routes!(create_subscription))
        .add::<Read>(routes!(get_subscription))
        .add::<Admin>(routes!(update_subscription));
    usage::routes(charge::routes(plan::routes(routes)))
}

/// Create a subscription
///
/// With automatic collection it is active at once and its first payment has succeeded. With manual
/// collection it begins when its first payment is marked as succeeded.
#[utoipa::path(post, path = "/subscriptions", tag = "subscriptions",
    request_body = SubscriptionCreate<'static>, responses((status = 200, body = CreatedBody)))]
async fn create_subscription(
    State(edge): State<Arc<Edge>>,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let new = body::object::<SubscriptionCreate<'_>>(&mutation.body)?.into_new()?;
    input::refuse_not_offered(&mutation.body)?;
    let buys_once = !new.once.is_empty();
    let command = Command::CreateSubscription(Box::new(new));
    let view = changed(&edge, command, mutation).await?;
    let first = view.first_payment.clone();
    let first = if buys_once {
        Some(edge.read(move |engine| engine.payment(&first)).await??)
    } else {
        None
    };
    let body = CreatedBody::new(&view, first.flatten().as_ref());
    Ok(reply::json(StatusCode::OK, &body))
}

/// List subscriptions
///
/// Newest first.
#[utoipa::path(get, path = "/subscriptions", tag = "subscriptions",
    params(("customer_id" = Option<String>, Query), ("product_id" = Option<String>, Query),
        ("status" = Option<StatusWord>, Query),
        ("cancel_at_next_billing_date" = Option<bool>, Query),
        ("brand_id" = Option<String>, Query),
        ("created_at_gte" = Option<String>, Query, format = DateTime),
        ("created_at_lte" = Option<String>, Query, format = DateTime),
        ("page_size" = Option<u32>, Query), ("page_number" = Option<u32>, Query)),
    responses((status = 200, body = page::Items<ListedBody>)))]
async fn list_subscriptions(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
    paging: Paging,
) -> Result<Response, Failure> {
    let found = match filter(&parameters)? {
        Some(filter) if edge.is_our_brand(&parameters)? => {
            // With a filter every subscription is looked at.
            edge.read(move |engine| engine.subscriptions(&filter, paging.into())).await?
        }
        Some(_) | None => Vec::new(),
    };
    let items = found.iter().map(|view| ListedBody::new(view, &edge)).collect();
    Ok(reply::json(StatusCode::OK, &Items { items }))
}

/// What a list asks for; nothing when no subscription can be so.
fn filter(parameters: &Parameters) -> Result<Option<SubscriptionFilter>, ApiError> {
    let wish = "pending, active, on_hold, paused, cancelled, failed, expired or past_due";
    let status = parameters.parsed("status", wish, StatusWord::read)?;
    let filter = SubscriptionFilter {
        customer_id: parameters.text("customer_id")?.map(CustomerId::new),
        product_id: parameters.text("product_id")?.map(ProductId::new),
        status: status.and_then(StatusWord::status),
        cancel_at_next_billing_date: parameters.boolean("cancel_at_next_billing_date")?,
        created_from: parameters.timestamp("created_at_gte")?,
        created_to: parameters.timestamp("created_at_lte")?,
    };
    let can_be = status.is_none_or(|word| word.status().is_some());
    Ok(can_be.then_some(filter))
}

/// Read a subscription
#[utoipa::path(get, path = "/subscriptions/{subscription_id}", tag = "subscriptions",
    params(("subscription_id" = String, Path)),
    responses((status = 200, body = SubscriptionBody)))]
async fn get_subscription(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
) -> Result<Response, ApiError> {
    let view = edge.engine.subscription(&SubscriptionId::new(id));
    let view = view.ok_or_else(|| ApiError::not_found("subscription"))?;
    Ok(reply::json(StatusCode::OK, &SubscriptionBody::new(&view, &edge)))
}

/// Change or end a subscription
///
/// Everything that is asked for is done, or nothing. The status alone pauses a subscription (`paused`) and
/// lets it go on (`active`). A `next_billing_date` lies in the future, and the
/// cycle is anchored there. The subscription period can only be made longer.
#[utoipa::path(patch, path = "/subscriptions/{subscription_id}", tag = "subscriptions",
    params(("subscription_id" = String, Path)), request_body = SubscriptionUpdate<'static>,
    responses((status = 200, body = SubscriptionBody)))]
async fn update_subscription(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let patch = body::object::<SubscriptionUpdate<'_>>(&mutation.body)?.into_patch()?;
    update::refuse_not_offered_changes(&mutation.body)?;
    let command = Command::UpdateSubscription(SubscriptionId::new(id), Box::new(patch));
    let view = changed(&edge, command, mutation).await?;
    Ok(reply::json(StatusCode::OK, &SubscriptionBody::new(&view, &edge)))
}

/// The subscription as the change left it.
async fn changed(
    edge: &Edge,
    command: Command,
    mutation: Mutation,
) -> Result<SubscriptionView, Failure> {
    let changed = edge.change(command, mutation.identity).await?;
    let Outcome::Subscription(subscription) = changed.outcome else {
        return Err(ApiError::internal().into());
    };
    let view = view_of(edge, &subscription);
    Ok(view.ok_or_else(ApiError::internal)?)
}

fn view_of(edge: &Edge, subscription: &Arc<Subscription>) -> Option<SubscriptionView> {
    edge.engine.view(subscription)
}

/// A subscription as it is printed.
pub(in crate::http) fn shown(view: &SubscriptionView, edge: &Edge) -> impl Serialize + use<> {
    SubscriptionBody::new(view, edge)
}
