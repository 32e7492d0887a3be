//! What customers have of credits, on the wire.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::engine::bills::{BalanceView, CreditUsage};
use crate::http::auth::Read;
use crate::http::edge::Edge;
use crate::http::page::{self, Items, Paging};
use crate::http::query::Parameters;
use crate::http::reply::{self, ApiError, Failure};
use crate::http::route::{Routes, Segment, Segments};
use crate::http::text::Instant;
use crate::model::{CustomerId, EntitlementId, SubscriptionId};

/// What a customer has of a credit entitlement, at the instant of the answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CustomerCreditBalance)]
struct BalanceBody<'a> {
    id: String,
    credit_entitlement_id: &'a str,
    customer_id: &'a str,
    /// What can be spent: what is left of all grants that have not expired.
    balance: String,
    /// Usage beyond the credits that was neither invoiced nor forgiven, of all subscriptions.
    overage: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Instant,
    /// The instant of the newest row of the ledger.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_transaction_at: Option<Instant>,
}

/// What a customer has of a credit entitlement.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CustomerCreditEntitlement)]
struct HeldBody<'a> {
    credit_entitlement_id: &'a str,
    name: &'a str,
    description: Option<&'a str>,
    unit: &'a str,
    balance: String,
    overage: String,
}

/// What a subscription has of a credit entitlement that it hands out.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CreditUsage)]
struct UsageBody<'a> {
    credit_entitlement_id: &'a str,
    credit_entitlement_name: &'a str,
    unit: &'a str,
    /// Of the customer: its subscriptions share it.
    balance: String,
    /// Of all of the customer's subscriptions.
    overage: String,
    overage_enabled: bool,
    /// Of this subscription; `null` for no limit.
    overage_limit: Option<String>,
    /// Whether the overage of this subscription has come to its limit.
    limit_reached: bool,
    /// The overage that this subscription may still make: at `0` further usage is covered by nothing.
    /// `null` without overage or without a limit.
    remaining_headroom: Option<String>,
    /// Usage of the customer that nothing has ever covered, and that is never charged.
    uncovered: String,
    /// Whether usage of this subscription has taken the balance below its
    /// `low_balance_threshold_percent`, and nothing has brought it back.
    low_balance: bool,
}

/// What a subscription has of the credit entitlements that it hands out.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SubscriptionCreditUsage)]
struct SubscriptionUsageBody<'a> {
    subscription_id: &'a str,
    items: Vec<UsageBody<'a>>,
}

/// Adds the routes.
pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .add::<Read>(routes!(list_balances))
        .add::<Read>(routes!(get_balance))
        .add::<Read>(routes!(list_credits_of_customer))
        .add::<Read>(routes!(credit_usage))
}

/// List what customers have of a credit entitlement
///
/// Who came last to have any comes first.
#[utoipa::path(get, path = "/credit-entitlements/{id}/balances", tag = "credits",
    params(("id" = String, Path), ("customer_id" = Option<String>, Query),
        ("page_size" = Option<u32>, Query), ("page_number" = Option<u32>, Query)),
    responses((status = 200, body = page::Items<BalanceBody<'static>>)))]
async fn list_balances(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    parameters: Parameters,
    paging: Paging,
) -> Result<Response, Failure> {
    let id = EntitlementId::new(id);
    let customer = parameters.text("customer_id")?.map(CustomerId::new);
    let found =
        edge.read(move |engine| engine.balances(&id, customer.as_ref(), paging.into())).await??;
    let items = found.iter().map(BalanceBody::new).collect();
    Ok(reply::json(StatusCode::OK, &Items { items }))
}

/// Read what a customer has of a credit entitlement
///
/// Not found when the customer never had any.
#[utoipa::path(get, path = "/credit-entitlements/{id}/balances/{customer_id}", tag = "credits",
    params(("id" = String, Path), ("customer_id" = String, Path)),
    responses((status = 200, body = BalanceBody<'static>)))]
async fn get_balance(
    State(edge): State<Arc<Edge>>,
    Segments(id, customer): Segments,
) -> Result<Response, ApiError> {
    let found = edge.engine.balance(&EntitlementId::new(id), &CustomerId::new(customer))?;
    Ok(reply::json(StatusCode::OK, &BalanceBody::new(&found)))
}

/// What a customer has of every credit entitlement
///
/// In the order in which the customer came to have any.
#[utoipa::path(get, path = "/customers/{customer_id}/credit-entitlements", tag = "credits",
    params(("customer_id" = String, Path)),
    responses((status = 200, body = page::Items<HeldBody<'static>>)))]
async fn list_credits_of_customer(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
) -> Result<Response, ApiError> {
    let found = edge.engine.balances_of_customer(&CustomerId::new(id))?;
    let items = found.iter().map(HeldBody::new).collect();
    Ok(reply::json(StatusCode::OK, &Items { items }))
}

/// What a subscription has of the credit entitlements that it hands out
#[utoipa::path(get, path = "/subscriptions/{subscription_id}/credit-usage", tag = "credits",
    params(("subscription_id" = String, Path)),
    responses((status = 200, body = SubscriptionUsageBody<'static>)))]
async fn credit_usage(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
) -> Result<Response, ApiError> {
    let id = SubscriptionId::new(id);
    let found = edge.engine.credit_usage(&id)?;
    let items = found.iter().map(UsageBody::new).collect();
    let shown = SubscriptionUsageBody { subscription_id: id.as_str(), items };
    Ok(reply::json(StatusCode::OK, &shown))
}

impl<'a> BalanceBody<'a> {
    fn new(view: &'a BalanceView) -> Self {
        let entitlement_id = view.entitlement.id.as_str();
        // An entitlement's own part of its id, then the customer's number: the same for ever.
        let drawn = entitlement_id.rsplit('_').next().unwrap_or_default();
        Self {
            id: format!("ccb_{drawn}{:010}", view.kept.pool.customer().0),
            credit_entitlement_id: entitlement_id,
            customer_id: view.customer_id.as_str(),
            balance: view.balance().to_string(),
            overage: view.kept.pool.overage().to_string(),
            created_at: Instant(view.kept.created_at),
            updated_at: Instant(view.kept.updated_at),
            last_transaction_at: view.kept.last_row_at.map(Instant),
        }
    }
}

impl<'a> HeldBody<'a> {
    fn new(view: &'a BalanceView) -> Self {
        Self {
            credit_entitlement_id: view.entitlement.id.as_str(),
            name: &view.entitlement.name,
            description: view.entitlement.description.as_deref(),
            unit: &view.entitlement.unit,
            balance: view.balance().to_string(),
            overage: view.kept.pool.overage().to_string(),
        }
    }
}

impl<'a> UsageBody<'a> {
    fn new(usage: &'a CreditUsage) -> Self {
        let terms = &usage.attachment.terms.overage;
        Self {
            credit_entitlement_id: usage.entitlement.id.as_str(),
            credit_entitlement_name: &usage.entitlement.name,
            unit: &usage.entitlement.unit,
            balance: usage.balance.to_string(),
            overage: usage.overage.to_string(),
            overage_enabled: terms.is_enabled,
            overage_limit: terms.limit.map(|limit| limit.to_string()),
            limit_reached: usage.limit_reached,
            remaining_headroom: usage.headroom.map(|headroom| headroom.to_string()),
            uncovered: usage.uncovered.to_string(),
            low_balance: usage.is_low,
        }
    }
}
