//! The form of a new subscription.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::plan;
use crate::http::countries::COUNTRIES;
use crate::http::dashboard::Dashboard;
use crate::http::dashboard::answer::{self, Answer};
use crate::http::dashboard::forms::only_who_may_change;
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::shell::{Place, Shell};
use crate::http::query::Parameters;

#[derive(Template)]
#[template(path = "dashboard/subscription_form.html", config = ".config/askama.toml")]
struct Page {
    shell: Shell,
    rows_js: &'static str,
    /// Whom it is for, when the page before has said.
    customer_id: String,
    product_id: String,
    /// Ids, names and prices: what is subscribed to, and what is bought once.
    products: Vec<(String, String, String)>,
    once: Vec<(String, String, String)>,
    countries: &'static [(&'static str, &'static str)],
}

/// The page.
pub(in crate::http::dashboard) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    parameters: Parameters,
) -> Answer {
    only_who_may_change(&viewer)?;
    let shell = Shell::new(&dashboard.edge, &viewer, Place::Subscriptions, "New subscription");
    answer::show(&Page {
        rows_js: &shell.assets.rows_js,
        shell,
        customer_id: parameters.text("customer_id")?.unwrap_or_default().to_owned(),
        product_id: parameters.text("product_id")?.unwrap_or_default().to_owned(),
        products: plan::products(&dashboard, Some(true)),
        once: plan::products(&dashboard, Some(false)),
        countries: &COUNTRIES,
    })
}
