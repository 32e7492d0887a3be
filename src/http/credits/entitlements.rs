//! Credit entitlements on the wire: what kinds of credit there are.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::engine::command::credits::{EntitlementPatch, NewEntitlement};
use crate::engine::{Command, Outcome};
use crate::http::auth::{Admin, Read};
use crate::http::edge::Edge;
use crate::http::identity::Mutation;
use crate::http::page::{Items, Paging};
use crate::http::price::IntervalWord;
use crate::http::query::Parameters;
use crate::http::reply::{self, ApiError, Failure};
use crate::http::route::{Routes, Segment};
use crate::http::text::{self, Clearable, Instant, Nullable};
use crate::http::{body, page};
use crate::model::credit::PRECISION_MAX;
use crate::model::{BusinessId, CreditEntitlement, Credits, EntitlementId};

use super::terms::{OverageWord, TermsInput};
use super::{AMOUNT_LIMIT, ONE, within};

/// Characters of what one credit is called.
const UNIT_CHARS_MAX: usize = 50;

/// A credit entitlement: a kind of credit, with the settings that products inherit.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CreditEntitlement)]
struct EntitlementBody<'a> {
    id: &'a str,
    business_id: &'a str,
    name: &'a str,
    description: Option<&'a str>,
    unit: &'a str,
    /// Digits behind the point of every amount.
    precision: u8,
    overage_enabled: bool,
    /// Whole credits; `null` for no limit.
    overage_limit: Option<i64>,
    overage_behavior: OverageWord,
    /// What a credit of overage costs, in the currency's minor unit.
    price_per_unit: Option<String>,
    currency: Option<String>,
    rollover_enabled: bool,
    /// `null` for all of what is left.
    rollover_percentage: Option<u8>,
    /// `null` until the next turn.
    rollover_timeframe_count: Option<u32>,
    rollover_timeframe_interval: Option<IntervalWord>,
    /// `null` for no limit.
    max_rollover_count: Option<u32>,
    /// `null` for never.
    expires_after_days: Option<u32>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Instant,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Instant,
}

#[derive(Deserialize, ToSchema)]
#[schema(as = CreditEntitlementCreate)]
struct EntitlementCreate {
    /// 1 to 255 characters.
    #[schema(value_type = String)]
    name: Option<String>,
    description: Option<String>,
    /// What one credit is called: 1 to 50 characters.
    #[schema(value_type = String)]
    unit: Option<String>,
    /// Digits behind the point of every amount, 0 to 10; never changes.
    #[schema(value_type = i64)]
    precision: Option<i64>,
    /// Whether usage goes on when nothing is left; needs `price_per_unit`.
    #[schema(value_type = bool)]
    overage_enabled: Option<bool>,
    /// Whole credits.
    overage_limit: Option<i64>,
    /// `forgive_at_reset` by default.
    overage_behavior: Option<OverageWord>,
    /// A decimal number in the currency's minor unit: more than zero, at most 5 digits before the point
    /// and 12 behind it; needs `currency`.
    price_per_unit: Option<String>,
    currency: Option<String>,
    #[schema(value_type = bool)]
    rollover_enabled: Option<bool>,
    /// 0 to 100.
    rollover_percentage: Option<i64>,
    /// With `rollover_timeframe_interval`, or neither.
    rollover_timeframe_count: Option<i64>,
    rollover_timeframe_interval: Option<IntervalWord>,
    max_rollover_count: Option<i64>,
    /// 1 to 36,500.
    expires_after_days: Option<i64>,
}

/// `null` clears what may be missing; the result is checked as a whole.
#[derive(Deserialize, ToSchema)]
#[schema(as = CreditEntitlementUpdate)]
struct EntitlementUpdate {
    name: Option<String>,
    #[serde(default, deserialize_with = "text::nullable")]
    #[schema(value_type = Option<String>)]
    description: Nullable,
    unit: Option<String>,
    /// What it is already.
    precision: Option<i64>,
    overage_enabled: Option<bool>,
    #[serde(default, deserialize_with = "text::nullable")]
    #[schema(value_type = Option<i64>)]
    overage_limit: Clearable<i64>,
    /// `null` stands for `forgive_at_reset`.
    #[serde(default, deserialize_with = "text::nullable")]
    #[schema(value_type = Option<OverageWord>)]
    overage_behavior: Clearable<OverageWord>,
    #[serde(default, deserialize_with = "text::nullable")]
    #[schema(value_type = Option<String>)]
    price_per_unit: Nullable,
    #[serde(default, deserialize_with = "text::nullable")]
    #[schema(value_type = Option<String>)]
    currency: Nullable,
    rollover_enabled: Option<bool>,
    #[serde(default, deserialize_with = "text::nullable")]
    #[schema(value_type = Option<i64>)]
    rollover_percentage: Clearable<i64>,
    #[serde(default, deserialize_with = "text::nullable")]
    #[schema(value_type = Option<i64>)]
    rollover_timeframe_count: Clearable<i64>,
    #[serde(default, deserialize_with = "text::nullable")]
    #[schema(value_type = Option<IntervalWord>)]
    rollover_timeframe_interval: Clearable<IntervalWord>,
    #[serde(default, deserialize_with = "text::nullable")]
    #[schema(value_type = Option<i64>)]
    max_rollover_count: Clearable<i64>,
    #[serde(default, deserialize_with = "text::nullable")]
    #[schema(value_type = Option<i64>)]
    expires_after_days: Clearable<i64>,
}

/// Adds the routes of credit entitlements.
pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .add::<Read>(routes!(list_entitlements))
        .add::<Admin>(routes!(create_entitlement))
        .add::<Read>(routes!(get_entitlement))
        .add::<Admin>(routes!(update_entitlement, delete_entitlement))
        .add::<Admin>(routes!(undelete_entitlement))
}

/// Create a credit entitlement
///
/// A kind of credit. Its settings are what products inherit that hand it out.
#[utoipa::path(post, path = "/credit-entitlements", tag = "credits",
    request_body = EntitlementCreate, responses((status = 201, body = EntitlementBody<'static>)))]
async fn create_entitlement(
    State(edge): State<Arc<Edge>>,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let new = body::object::<EntitlementCreate>(&mutation.body)?.into_new()?;
    let command = Command::CreateEntitlement(Box::new(new));
    let outcome = edge.change(command, mutation.identity).await?.outcome;
    let Outcome::Entitlement(entitlement) = outcome else {
        return Err(ApiError::internal().into());
    };
    let shown = EntitlementBody::new(&entitlement, &edge.options.business_id);
    Ok(reply::json(StatusCode::CREATED, &shown))
}

/// List credit entitlements
///
/// Newest first; deleted ones instead of the others with `deleted=true`.
#[utoipa::path(get, path = "/credit-entitlements", tag = "credits",
    params(("deleted" = Option<bool>, Query), ("page_size" = Option<u32>, Query),
        ("page_number" = Option<u32>, Query)),
    responses((status = 200, body = page::Items<EntitlementBody<'static>>)))]
async fn list_entitlements(
    State(edge): State<Arc<Edge>>,
    parameters: Parameters,
    paging: Paging,
) -> Result<Response, ApiError> {
    let deleted = parameters.boolean("deleted")?.unwrap_or(false);
    let entitlements = edge.engine.entitlements(deleted, paging.into());
    let shown = entitlements.iter();
    let shown = shown.map(|each| EntitlementBody::new(each, &edge.options.business_id));
    Ok(reply::json(StatusCode::OK, &Items { items: shown.collect() }))
}

/// Read a credit entitlement
///
/// A deleted one is not found.
#[utoipa::path(get, path = "/credit-entitlements/{id}", tag = "credits",
    params(("id" = String, Path)), responses((status = 200, body = EntitlementBody<'static>)))]
async fn get_entitlement(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
) -> Result<Response, ApiError> {
    let entitlement = edge.engine.entitlement(&EntitlementId::new(id));
    let entitlement = entitlement.ok_or_else(|| ApiError::not_found("credit entitlement"))?;
    let shown = EntitlementBody::new(&entitlement, &edge.options.business_id);
    Ok(reply::json(StatusCode::OK, &shown))
}

/// Change a credit entitlement
///
/// What products have attached, and what was granted, stays as it is.
#[utoipa::path(patch, path = "/credit-entitlements/{id}", tag = "credits",
    params(("id" = String, Path)), request_body = EntitlementUpdate,
    responses((status = 200, description = "No body")))]
async fn update_entitlement(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    mutation: Mutation,
) -> Result<Response, Failure> {
    let patch = body::object::<EntitlementUpdate>(&mutation.body)?.into_patch()?;
    let command = Command::UpdateEntitlement(EntitlementId::new(id), Box::new(patch));
    edge.change(command, mutation.identity).await?;
    Ok(reply::empty())
}

/// Delete a credit entitlement
///
/// No more of it is granted; what there is can be spent.
#[utoipa::path(delete, path = "/credit-entitlements/{id}", tag = "credits",
    params(("id" = String, Path)), responses((status = 200, description = "No body")))]
async fn delete_entitlement(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    mutation: Mutation,
) -> Result<Response, Failure> {
    edge.change(Command::DeleteEntitlement(EntitlementId::new(id)), mutation.identity).await?;
    Ok(reply::empty())
}

/// Offer a deleted credit entitlement again
#[utoipa::path(post, path = "/credit-entitlements/{id}/undelete", tag = "credits",
    params(("id" = String, Path)), responses((status = 200, description = "No body")))]
async fn undelete_entitlement(
    State(edge): State<Arc<Edge>>,
    Segment(id): Segment,
    mutation: Mutation,
) -> Result<Response, Failure> {
    edge.change(Command::UndeleteEntitlement(EntitlementId::new(id)), mutation.identity).await?;
    Ok(reply::empty())
}

impl EntitlementCreate {
    fn into_new(self) -> Result<NewEntitlement, ApiError> {
        let missing = |field| ApiError::invalid(field, format!("{field} is missing"));
        let precision = self.precision.ok_or_else(|| missing("precision"))?;
        let terms = TermsInput {
            overage_enabled: Some(self.overage_enabled.ok_or_else(|| missing("overage_enabled"))?),
            overage_limit: self.overage_limit.map(limit).transpose()?.map(Some),
            overage_behavior: self.overage_behavior.map(Some),
            price_per_unit: self.price_per_unit.map(Some),
            currency: self.currency.map(Some),
            rollover_enabled: Some(
                self.rollover_enabled.ok_or_else(|| missing("rollover_enabled"))?,
            ),
            rollover_percentage: self.rollover_percentage.map(Some),
            rollover_timeframe_count: self.rollover_timeframe_count.map(Some),
            rollover_timeframe_interval: self.rollover_timeframe_interval.map(Some),
            max_rollover_count: self.max_rollover_count.map(Some),
            expires_after_days: self.expires_after_days.map(Some),
        };
        Ok(NewEntitlement {
            name: text::required("name", self.name, text::NAME_CHARS_MAX)?,
            description: self.description.map(description).transpose()?,
            unit: text::required("unit", self.unit, UNIT_CHARS_MAX)?,
            precision: within("precision", precision, 0, i64::from(PRECISION_MAX))?,
            terms: terms.checked("")?,
        })
    }
}

impl EntitlementUpdate {
    fn into_patch(self) -> Result<EntitlementPatch, ApiError> {
        let name = self.name.map(|name| text::required("name", Some(name), text::NAME_CHARS_MAX));
        let unit = self.unit.map(|unit| text::required("unit", Some(unit), UNIT_CHARS_MAX));
        let described = self.description.map(|text| text.map(description).transpose());
        let limited = self.overage_limit.map(|units| units.map(limit).transpose());
        let terms = TermsInput {
            overage_enabled: self.overage_enabled,
            overage_limit: limited.transpose()?,
            overage_behavior: self.overage_behavior,
            price_per_unit: self.price_per_unit,
            currency: self.currency,
            rollover_enabled: self.rollover_enabled,
            rollover_percentage: self.rollover_percentage,
            rollover_timeframe_count: self.rollover_timeframe_count,
            rollover_timeframe_interval: self.rollover_timeframe_interval,
            max_rollover_count: self.max_rollover_count,
            expires_after_days: self.expires_after_days,
        };
        Ok(EntitlementPatch {
            name: name.transpose()?,
            description: described.transpose()?,
            unit: unit.transpose()?,
            precision: self.precision,
            terms: terms.checked("")?,
        })
    }
}

fn description(text: String) -> Result<String, ApiError> {
    text::paragraph("description", text)
}

/// A limit in whole credits.
fn limit(credits: i64) -> Result<Credits, ApiError> {
    // Fits: the limit of amounts is 10^10.
    let most = i64::try_from(AMOUNT_LIMIT - 1).unwrap_or(i64::MAX);
    let credits: i64 = within("overage_limit", credits, 0, most)?;
    Ok(Credits::from_units(i128::from(credits) * ONE))
}

impl<'a> EntitlementBody<'a> {
    fn new(entitlement: &'a CreditEntitlement, business_id: &'a BusinessId) -> Self {
        let terms = &entitlement.terms;
        // Fits, and is whole: see `limit`.
        let whole = |limit: Credits| i64::try_from(limit.as_units() / ONE).unwrap_or(i64::MAX);
        Self {
            id: entitlement.id.as_str(),
            business_id: business_id.as_str(),
            name: &entitlement.name,
            description: entitlement.description.as_deref(),
            unit: &entitlement.unit,
            precision: entitlement.precision,
            overage_enabled: terms.overage.is_enabled,
            overage_limit: terms.overage.limit.map(whole),
            overage_behavior: terms.overage.behavior.into(),
            price_per_unit: terms.overage.price.map(|price| price.to_string()),
            currency: terms.overage.currency.map(|currency| currency.to_string()),
            rollover_enabled: terms.rollover.is_enabled,
            rollover_percentage: terms.rollover.percentage,
            rollover_timeframe_count: terms.rollover.timeframe.map(|frame| frame.count),
            rollover_timeframe_interval: terms.rollover.timeframe.map(|frame| frame.unit.into()),
            max_rollover_count: terms.rollover.count_max,
            expires_after_days: terms.expires_after_days,
            created_at: Instant(entitlement.created_at),
            updated_at: Instant(entitlement.updated_at),
        }
    }
}
