//! The bodies of messages: the envelope, and in it a resource as the API shows it, with its kind.

use serde::Serialize;

use crate::engine::bills::{BalanceLowView, ThresholdView, ToldView};
use crate::http::edge::Edge;
use crate::http::text::Instant;
use crate::http::{alerts, credits, payments, subscriptions};
use crate::model::alert::Level;
use crate::model::{EntitlementId, MeterId, Notice, SubscriptionId};

#[derive(Serialize)]
struct Envelope<'a, T> {
    business_id: &'a str,
    #[serde(rename = "type")]
    event_type: &'a str,
    timestamp: Instant,
    data: Data<T>,
}

#[derive(Serialize)]
struct Data<T> {
    payload_type: &'static str,
    #[serde(flatten)]
    resource: T,
    /// Of a subscription that is past due: when its time to pay is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    past_due_ends_at: Option<Instant>,
}

/// A balance that has gone low.
#[derive(Serialize)]
struct BalanceLowBody<'a> {
    brand_id: &'a str,
    customer_id: &'a str,
    subscription_id: &'a str,
    credit_entitlement_id: &'a str,
    credit_entitlement_name: &'a str,
    available_balance: String,
    subscription_credits_amount: String,
    threshold_amount: String,
    threshold_percent: u8,
}

/// An alert that has fired.
#[derive(Serialize)]
struct ThresholdBody<'a> {
    brand_id: &'a str,
    alert_id: &'a str,
    alert_name: Option<&'a str>,
    alert_type: alerts::AlertWord,
    customer_id: &'a str,
    /// Whose period it is; `null` for a UTC month.
    subscription_id: Option<&'a str>,
    meter_id: Option<&'a str>,
    credit_entitlement_id: Option<&'a str>,
    threshold: String,
    /// What was found, in the threshold's unit.
    value: String,
    currency: Option<String>,
    period_start: Instant,
    period_end: Instant,
}

#[derive(Serialize)]
struct TestBody<'a> {
    webhook_id: &'a str,
}

/// The body of the message that tells of `notice`: the same at any time. Nothing when it names what does
/// not exist, which cannot be.
pub(in crate::http) fn body(notice: &Notice, edge: &Edge) -> Option<Vec<u8>> {
    Some(match edge.engine.told(&notice.told)? {
        ToldView::Payment(view) => {
            envelope(notice, edge, ("Payment", payments::shown(&view, edge)))
        }
        ToldView::Subscription(view) => {
            let ends_at = view.subscription.past_due_until.map(Instant);
            let shown = ("Subscription", subscriptions::shown(&view, edge));
            with_end(notice, edge, shown, ends_at)
        }
        ToldView::Ledger(view, entitlement, customer) => {
            let owner = (entitlement, customer);
            let shown = credits::shown_row(&view, edge, &owner);
            envelope(notice, edge, ("CreditLedgerEntry", shown))
        }
        ToldView::BalanceLow(view) => {
            let shown = BalanceLowBody::new(&view, edge);
            envelope(notice, edge, ("CreditBalanceLow", shown))
        }
        ToldView::Threshold(view) => {
            envelope(notice, edge, ("UsageThreshold", ThresholdBody::new(&view, edge)))
        }
        ToldView::Test(id) => {
            envelope(notice, edge, ("WebhookTest", TestBody { webhook_id: id.as_str() }))
        }
    })
}

fn envelope<T: Serialize>(notice: &Notice, edge: &Edge, data: (&'static str, T)) -> Vec<u8> {
    with_end(notice, edge, data, None)
}

fn with_end<T: Serialize>(
    notice: &Notice,
    edge: &Edge,
    (payload_type, resource): (&'static str, T),
    past_due_ends_at: Option<Instant>,
) -> Vec<u8> {
    let envelope = Envelope {
        business_id: edge.options.business_id.as_str(),
        event_type: notice.event_type.name(),
        timestamp: Instant(notice.at),
        data: Data { payload_type, resource, past_due_ends_at },
    };
    serde_json::to_vec(&envelope).expect("texts, integers and lists of them are JSON")
}

impl<'a> ThresholdBody<'a> {
    fn new(view: &'a ThresholdView, edge: &'a Edge) -> Self {
        let (alert, crossing) = (&view.alert.kept.alert, &view.crossing);
        let (alert_type, threshold, currency) = alerts::words(&alert.threshold);
        Self {
            brand_id: edge.options.brand_id.as_str(),
            alert_id: alert.id.as_str(),
            alert_name: alert.name.as_deref(),
            alert_type,
            customer_id: view.customer_id.as_str(),
            subscription_id: view.subscription_id.as_ref().map(SubscriptionId::as_str),
            meter_id: view.alert.meter_id.as_ref().map(MeterId::as_str),
            credit_entitlement_id: view.alert.entitlement_id.as_ref().map(EntitlementId::as_str),
            threshold,
            value: match crossing.level {
                Level::Usage(usage) => usage.to_string(),
                Level::Cost(_, cost) => cost.as_minor().to_string(),
                Level::Balance(balance) => balance.to_string(),
            },
            currency,
            period_start: Instant(crossing.period.start),
            period_end: Instant(crossing.period.end),
        }
    }
}

impl<'a> BalanceLowBody<'a> {
    fn new(view: &'a BalanceLowView, edge: &'a Edge) -> Self {
        let low = &view.low;
        Self {
            brand_id: edge.options.brand_id.as_str(),
            customer_id: view.customer_id.as_str(),
            subscription_id: view.subscription_id.as_str(),
            credit_entitlement_id: view.entitlement_id.as_str(),
            credit_entitlement_name: &low.entitlement_name,
            available_balance: low.available.to_string(),
            subscription_credits_amount: low.amount.to_string(),
            threshold_amount: low.threshold.to_string(),
            threshold_percent: low.percent,
        }
    }
}
