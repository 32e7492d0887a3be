//! Invoices with their lines, and the payments of them.

mod list;
mod payments;
mod show;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use super::Dashboard;

pub(super) use payments::{columns as payment_columns, row as payment_row};

/// The pages of invoices and payments.
pub(super) fn screens() -> Router<Arc<Dashboard>> {
    Router::new()
        .route("/dashboard/invoices", get(list::show))
        .route("/dashboard/invoices/{id}", get(show::show))
        .route("/dashboard/invoices/{id}/pdf", get(show::pdf))
        .route("/dashboard/payments", get(payments::show))
        .route("/dashboard/payments/{id}", get(payments::invoice))
        .route("/dashboard/event/at/{lsn}", get(show::event_at))
}

/// The two lists: names and addresses.
const TABS: [(&str, &str); 2] =
    [("Invoices", "/dashboard/invoices"), ("Payments", "/dashboard/payments")];
