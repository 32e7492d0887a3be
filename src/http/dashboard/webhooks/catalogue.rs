//! Everything that a message can tell of.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;

use super::Section;
use crate::http::dashboard::Dashboard;
use crate::http::dashboard::answer::{self, Answer};
use crate::http::dashboard::gate::Viewer;
use crate::http::dashboard::shell::{Place, Shell};
use crate::http::dashboard::table::{Cell, Table, Tone, number, text};
use crate::http::query::Parameters;
use crate::model::{Endpoint, EventType};

/// As many endpoints as there may be, and more.
const ENDPOINTS: usize = 250;

#[derive(Template)]
#[template(path = "dashboard/webhook_events.html", config = ".config/askama.toml")]
struct CataloguePage {
    shell: Shell,
    section: Section,
    table: Table,
}

/// The page.
pub(super) async fn show(
    State(dashboard): State<Arc<Dashboard>>,
    viewer: Viewer,
    parameters: Parameters,
) -> Answer {
    let endpoints = dashboard.edge.engine.webhook_endpoints(None, ENDPOINTS);
    let columns = vec![text("Type"), text("When"), text("Here"), number("Endpoints told")];
    let table = Table::new("webhook-events", "Event types", columns);
    let mut table = table.exported_at("/dashboard/webhooks/events?format=csv");
    table.rows = EventType::ALL.iter().map(|each| row(*each, &endpoints)).collect();
    if answer::wants_csv(&parameters)? {
        return Ok(answer::csv(&table));
    }
    answer::show(&CataloguePage {
        shell: Shell::new(&dashboard.edge, &viewer, Place::Webhooks, "Webhooks"),
        section: Section::Catalogue,
        table,
    })
}

fn row(event_type: EventType, endpoints: &[Arc<Endpoint>]) -> Vec<Cell> {
    let told = endpoints.iter().filter(|endpoint| {
        endpoint.disabled.is_none()
            && endpoint.filter.as_ref().is_none_or(|types| types.contains(&event_type))
    });
    let when = when(event_type);
    let (tone, words) = match when {
        Some(_) => (Tone::Good, "occurs"),
        None => (Tone::Plain, "name only"),
    };
    vec![
        Cell::code(event_type.name()),
        Cell::text(when.unwrap_or_default()),
        Cell::Badge(tone, words.to_owned()),
        Cell::number(&told.count()),
    ]
}

/// When it happens; nothing for what is but a name of the wire format.
pub(super) fn when(event_type: EventType) -> Option<&'static str> {
    Some(match event_type {
        EventType::PaymentSucceeded => "A payment was made, or marked as made.",
        EventType::PaymentFailed => "A payment was marked as failed.",
        EventType::PaymentProcessing => "An invoice waits for its payment.",
        EventType::SubscriptionActive => "A subscription began, or runs again.",
        EventType::SubscriptionRenewed => "A further cycle was paid.",
        EventType::SubscriptionOnHold => "A subscription was put on hold.",
        EventType::SubscriptionPastDue => "A payment failed; the time to pay runs.",
        EventType::SubscriptionPaused => "A subscription was paused.",
        EventType::SubscriptionUnpaused => "A subscription goes on after a pause.",
        EventType::SubscriptionCancelled => "A subscription was cancelled.",
        EventType::SubscriptionExpired => "A subscription came to its end.",
        EventType::SubscriptionPlanChanged => "A subscription has another plan or quantity.",
        EventType::SubscriptionUpdated => "Anything that a subscription shows has changed.",
        EventType::CreditAdded => "Credits were granted.",
        EventType::CreditDeducted => "Usage has drawn on credits.",
        EventType::CreditExpired => "Credits came to their end.",
        EventType::CreditRolledOver => "Credits went on at a turn.",
        EventType::CreditRolloverForfeited => "Credits had rolled over as often as they may.",
        EventType::CreditOverageCharged => "Overage was invoiced.",
        EventType::CreditOverageReset => "Overage was forgiven.",
        EventType::CreditManualAdjustment => "Somebody gave or took credits.",
        EventType::CreditBalanceLow => "A balance fell below its threshold.",
        EventType::UsageThresholdReached => "An alert has fired.",
        EventType::WebhookTest => "Somebody has asked for a test.",
        EventType::PaymentCancelled
        | EventType::RefundSucceeded
        | EventType::RefundFailed
        | EventType::DisputeOpened
        | EventType::DisputeExpired
        | EventType::DisputeAccepted
        | EventType::DisputeCancelled
        | EventType::DisputeChallenged
        | EventType::DisputeWon
        | EventType::DisputeLost
        | EventType::SubscriptionFailed
        | EventType::SubscriptionUpdatePaymentMethod
        | EventType::LicenseKeyCreated
        | EventType::PayoutCreated
        | EventType::PayoutOnHold
        | EventType::PayoutInProgress
        | EventType::PayoutFailed
        | EventType::PayoutSuccess
        | EventType::AbandonedCheckoutDetected
        | EventType::AbandonedCheckoutRecovered
        | EventType::DunningStarted
        | EventType::DunningRecovered
        | EventType::EntitlementGrantCreated
        | EventType::EntitlementGrantDelivered
        | EventType::EntitlementGrantFailed
        | EventType::EntitlementGrantRevoked => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::outbox::notices;

    #[test]
    fn whatever_happens_to_credits_is_said_to_occur() {
        assert!(notices::OF_CREDITS.iter().all(|each| when(*each).is_some()));
        assert!(when(EventType::DisputeWon).is_none());
    }
}
