//! Subscriptions: who pays for what, what that has come to, and what becomes of it.

mod create;
mod list;
mod plan;
mod show;
mod usage;
pub(super) mod words;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use super::Dashboard;
use super::answer::NotShown;
use crate::engine::bills::SubscriptionView;
use crate::model::SubscriptionId;

/// The pages of subscriptions.
pub(super) fn screens() -> Router<Arc<Dashboard>> {
    Router::new()
        .route("/dashboard/subscriptions", get(list::show))
        .route("/dashboard/subscriptions/new", get(create::show))
        .route("/dashboard/subscriptions/{id}", get(show::show))
        .route("/dashboard/subscriptions/{id}/usage", get(usage::show))
        .route("/dashboard/subscriptions/{id}/usage/rows", get(usage::rows))
        .route("/dashboard/subscriptions/{id}/plan", get(plan::show))
        .route("/dashboard/subscriptions/{id}/plan/preview", post(plan::preview))
}

/// Where a subscription's page is.
pub(super) fn path(id: &SubscriptionId) -> String {
    format!("/dashboard/subscriptions/{id}")
}

/// The pages of one subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tab {
    Overview,
    Usage,
    Plan,
}

impl Tab {
    /// Names and addresses, each with whether it is this one.
    fn all(self, id: &SubscriptionId, may_change: bool) -> Vec<(&'static str, String, bool)> {
        let own = path(id);
        let mut tabs = vec![
            ("Overview", own.clone(), self == Self::Overview),
            ("Usage", format!("{own}/usage"), self == Self::Usage),
        ];
        if may_change {
            tabs.push(("Change plan", format!("{own}/plan"), self == Self::Plan));
        }
        tabs
    }
}

fn find(dashboard: &Dashboard, id: String) -> Result<SubscriptionView, NotShown> {
    let view = dashboard.edge.engine.subscription(&SubscriptionId::new(id));
    view.ok_or_else(|| NotShown::not_found("subscription"))
}
