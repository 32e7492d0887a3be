//! Grants of credits on the wire.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::engine::bills::{GrantStatus, GrantView};
use crate::http::auth::Read;
use crate::http::edge::Edge;
use crate::http::page::{self, Items, Paging};
use crate::http::query::Parameters;
use crate::http::reply::{self, Failure};
use crate::http::route::{Routes, Segments};
use crate::http::scalar::{JsonScalar, Pairs};
use crate::http::text::Instant;
use crate::model::credit::GrantSource;
use crate::model::customer::MetadataValue;
use crate::model::{CustomerId, EntitlementId};

/// Where a grant comes from.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = CreditGrantSource)]
#[serde(rename_all = "snake_case")]
enum SourceWord {
    Subscription,
    OneTime,
    Api,
    Rollover,
}

/// Credits that were handed out at once.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CreditGrant)]
struct GrantBody<'a> {
    id: String,
    credit_entitlement_id: &'a str,
    customer_id: &'a str,
    source_type: SourceWord,
    /// The subscription or the payment that it comes from; `null` for a manual entry.
    source_id: Option<String>,
    /// The grant whose credits have rolled over into this one.
    parent_grant_id: Option<String>,
    initial_amount: String,
    /// Nothing of one that has expired.
    remaining_amount: String,
    rollover_count: u32,
    /// Whether what was left of it has gone on in another grant.
    is_rolled_over: bool,
    /// Whether it has ended before all of it was spent.
    is_expired: bool,
    /// It can be spent before this instant; `null` while nothing but a turn of its subscription ends it.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Instant>,
    #[schema(value_type = BTreeMap<String, JsonScalar<'static>>)]
    metadata: Pairs<String, MetadataValue>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Instant,
}

/// Adds the routes.
pub(super) fn routes(routes: Routes) -> Routes {
    routes.add::<Read>(routes!(list_grants))
}

/// List what a customer was granted of a credit entitlement
///
/// Newest first. `status` is `active`, `expired` or `depleted`.
#[utoipa::path(get, path = "/credit-entitlements/{id}/balances/{customer_id}/grants",
    tag = "credits",
    params(("id" = String, Path), ("customer_id" = String, Path),
        ("status" = Option<String>, Query),
        ("page_size" = Option<u32>, Query), ("page_number" = Option<u32>, Query)),
    responses((status = 200, body = page::Items<GrantBody<'static>>)))]
async fn list_grants(
    State(edge): State<Arc<Edge>>,
    Segments(id, customer): Segments,
    parameters: Parameters,
    paging: Paging,
) -> Result<Response, Failure> {
    let status = parameters.parsed("status", "active, expired or depleted", |text| match text {
        "active" => Some(GrantStatus::Active),
        "expired" => Some(GrantStatus::Expired),
        "depleted" => Some(GrantStatus::Depleted),
        _ => None,
    })?;
    let (id, customer) = (EntitlementId::new(id), CustomerId::new(customer));
    let owner = (id.clone(), customer.clone());
    let found =
        edge.read(move |engine| engine.grants(&id, &customer, status, paging.into())).await??;
    let items = found.iter().map(|view| GrantBody::new(view, (&owner.0, &owner.1))).collect();
    Ok(reply::json(StatusCode::OK, &Items { items }))
}

impl<'a> GrantBody<'a> {
    fn new(view: &GrantView, (entitlement, customer): (&'a EntitlementId, &'a CustomerId)) -> Self {
        let grant = &view.grant;
        let subscription = view.subscription_id.as_ref().map(|id| id.as_str().to_owned());
        let (source_type, source_id, parent) = match &grant.source {
            GrantSource::Subscription(_) => (SourceWord::Subscription, subscription, None),
            GrantSource::OneTime(payment) => {
                (SourceWord::OneTime, Some(payment.as_str().to_owned()), None)
            }
            GrantSource::Api => (SourceWord::Api, None, None),
            GrantSource::Rollover { parent, .. } => {
                (SourceWord::Rollover, subscription, Some(parent.to_string()))
            }
        };
        Self {
            id: grant.id.to_string(),
            credit_entitlement_id: entitlement.as_str(),
            customer_id: customer.as_str(),
            source_type,
            source_id,
            parent_grant_id: parent,
            initial_amount: grant.initial.to_string(),
            remaining_amount: grant.remaining.to_string(),
            rollover_count: grant.rollover_count,
            is_rolled_over: grant.is_rolled_over,
            is_expired: view.status == GrantStatus::Expired,
            expires_at: grant.expires_at.map(Instant),
            metadata: Pairs(grant.metadata.clone()),
            created_at: Instant(grant.created_at),
            updated_at: Instant(grant.updated_at),
        }
    }
}
