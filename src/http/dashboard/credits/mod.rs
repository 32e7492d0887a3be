//! Credits: which kinds there are, what customers have of them, and what has happened to it.

mod entitlement;
mod form;
mod ledger;
mod list;
mod pool;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use super::{Dashboard, tags};
use crate::model::{CustomerId, EntitlementId};

pub(super) fn screens() -> Router<Arc<Dashboard>> {
    Router::new()
        .route("/dashboard/credits", get(list::show))
        .route("/dashboard/credits/new", get(form::create))
        .route("/dashboard/credits/{id}", get(entitlement::show))
        .route("/dashboard/credits/{id}/edit", get(form::update))
        .route("/dashboard/credits/{id}/customer", get(ledger::show))
        .route("/dashboard/credits/{id}/grants", get(pool::grants))
        .route("/dashboard/credits/{id}/reservations", get(pool::reservations))
}

/// Where the page of a kind of credit is.
fn path(id: &EntitlementId) -> String {
    format!("/dashboard/credits/{}", tags::encoded(id.as_str()))
}

/// Where a page about what a customer has of a kind of credit is.
fn path_of(id: &EntitlementId, page: &str, customer: &CustomerId) -> String {
    format!("{}/{page}?id={}", path(id), tags::encoded(customer.as_str()))
}
