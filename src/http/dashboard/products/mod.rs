//! Products: what is sold, for how much, and what that comes to.

mod filled;
mod form;
mod list;
mod rows;
pub(super) mod show;
mod total;
pub(super) mod words;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use super::Dashboard;

/// The pages of products.
pub(super) fn screens() -> Router<Arc<Dashboard>> {
    Router::new()
        .route("/dashboard/products", get(list::show))
        .route("/dashboard/products/new", get(form::create))
        .route("/dashboard/products/total", post(total::of_form))
        .route("/dashboard/products/{id}", get(show::show))
        .route("/dashboard/products/{id}/edit", get(form::edit))
        .route("/dashboard/products/{id}/total", get(total::of_product))
}
