//! Customers: all of them, whom a search finds, and one with what it uses and owes.

mod list;
mod one;
mod order;
mod usage;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use super::{Dashboard, tags};
use crate::model::CustomerId;

pub(super) use order::IdOrder;
pub(super) use usage::{Period, columns};

pub(super) fn screens() -> Router<Arc<Dashboard>> {
    Router::new()
        .route("/dashboard/customers", get(list::show))
        .route("/dashboard/customer", get(one::show))
        .route("/dashboard/customer/live", get(one::live))
}

/// Where a customer's page is.
pub(super) fn path(id: &CustomerId) -> String {
    format!("/dashboard/customer?id={}", tags::encoded(id.as_str()))
}
