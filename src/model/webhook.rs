//! Webhook endpoints: where an application is told what has happened.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::id::{EndpointId, EndpointIndex};
use crate::model::time::Timestamp;

/// Bytes of the key that messages are signed with.
pub const SECRET_BYTES: usize = 24;

macro_rules! event_types {
    ($($name:ident => $text:literal,)*) => {
        /// What a message can tell of. Of these only payments, subscriptions, credits and tests occur
        /// here; the others are names of the wire format that a filter may hold.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[expect(missing_docs, reason = "the names are the wire format's and say it all")]
        pub enum EventType {
            $($name,)*
        }

        impl EventType {
            /// Every type, in the order in which the wire format lists them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Its name on the wire.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

event_types! {
    PaymentSucceeded => "payment.succeeded",
    PaymentFailed => "payment.failed",
    PaymentProcessing => "payment.processing",
    PaymentCancelled => "payment.cancelled",
    RefundSucceeded => "refund.succeeded",
    RefundFailed => "refund.failed",
    DisputeOpened => "dispute.opened",
    DisputeExpired => "dispute.expired",
    DisputeAccepted => "dispute.accepted",
    DisputeCancelled => "dispute.cancelled",
    DisputeChallenged => "dispute.challenged",
    DisputeWon => "dispute.won",
    DisputeLost => "dispute.lost",
    SubscriptionActive => "subscription.active",
    SubscriptionRenewed => "subscription.renewed",
    SubscriptionOnHold => "subscription.on_hold",
    SubscriptionPastDue => "subscription.past_due",
    SubscriptionPaused => "subscription.paused",
    SubscriptionUnpaused => "subscription.unpaused",
    SubscriptionCancelled => "subscription.cancelled",
    SubscriptionFailed => "subscription.failed",
    SubscriptionExpired => "subscription.expired",
    SubscriptionPlanChanged => "subscription.plan_changed",
    SubscriptionUpdated => "subscription.updated",
    SubscriptionUpdatePaymentMethod => "subscription.update_payment_method",
    LicenseKeyCreated => "license_key.created",
    PayoutCreated => "payout.created",
    PayoutOnHold => "payout.on_hold",
    PayoutInProgress => "payout.in_progress",
    PayoutFailed => "payout.failed",
    PayoutSuccess => "payout.success",
    CreditAdded => "credit.added",
    CreditDeducted => "credit.deducted",
    CreditExpired => "credit.expired",
    CreditRolledOver => "credit.rolled_over",
    CreditRolloverForfeited => "credit.rollover_forfeited",
    CreditOverageCharged => "credit.overage_charged",
    CreditOverageReset => "credit.overage_reset",
    CreditManualAdjustment => "credit.manual_adjustment",
    CreditBalanceLow => "credit.balance_low",
    AbandonedCheckoutDetected => "abandoned_checkout.detected",
    AbandonedCheckoutRecovered => "abandoned_checkout.recovered",
    DunningStarted => "dunning.started",
    DunningRecovered => "dunning.recovered",
    EntitlementGrantCreated => "entitlement_grant.created",
    EntitlementGrantDelivered => "entitlement_grant.delivered",
    EntitlementGrantFailed => "entitlement_grant.failed",
    EntitlementGrantRevoked => "entitlement_grant.revoked",
    UsageThresholdReached => "usage.threshold_reached",
    WebhookTest => "webhook.test",
}

impl EventType {
    /// The type with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|known| known.name() == name)
    }
}

/// A set of types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventTypes(u64);

// One bit each.
const _: () = assert!(EventType::ALL.len() <= 64);

impl EventTypes {
    /// No type.
    pub const NONE: Self = Self(0);
    /// Every type.
    pub const ALL: Self = Self(u64::MAX);

    /// The set with these bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// A bit each for the types in it.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether a type is in it.
    pub fn contains(self, wanted: EventType) -> bool {
        self.0 & bit(wanted) != 0
    }

    /// Whether the two have any type in common.
    pub fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The types of both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

fn bit(event_type: EventType) -> u64 {
    1 << (event_type as u64)
}

impl FromIterator<EventType> for EventTypes {
    fn from_iter<I: IntoIterator<Item = EventType>>(types: I) -> Self {
        Self(types.into_iter().fold(0, |set, each| set | bit(each)))
    }
}

/// A key that messages are signed with. It prints as nothing.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookSecret(pub [u8; SECRET_BYTES]);

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret")
    }
}

/// A key that another has taken the place of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetiredSecret {
    /// The key.
    pub secret: WebhookSecret,
    /// Messages are signed with it too until this instant of the machine's clock.
    pub until: Timestamp,
}

/// Why nothing is sent to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Disabled {
    /// Somebody said so. What happens meanwhile is not kept for it.
    ByRequest,
    /// No attempt has succeeded for days. What happens meanwhile waits until it is enabled again.
    Failing,
}

/// A webhook endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The id, `whk_…`.
    pub id: EndpointId,
    /// The number that stands for it.
    pub index: EndpointIndex,
    /// Where messages go.
    pub url: String,
    /// A text for people; may be empty.
    pub description: String,
    /// Why nothing is sent to it, when nothing is.
    pub disabled: Option<Disabled>,
    /// What it is told of, in the client's order, each once; everything when there is none.
    pub filter: Option<Vec<EventType>>,
    /// Headers that every request gets; names in lower case, each once.
    pub headers: Vec<(String, String)>,
    /// Free details.
    pub metadata: Vec<(String, String)>,
    /// Messages a second at most.
    pub rate_limit: Option<u32>,
    /// The key that messages are signed with.
    pub secret: WebhookSecret,
    /// Keys that it has taken the place of, the oldest first.
    pub retired: Vec<RetiredSecret>,
    /// The first attempt that failed since the last success, by the machine's clock.
    pub failing_since: Option<Timestamp>,
    /// Log time of the creation.
    pub created_at: Timestamp,
    /// Log time of the last change by a request.
    pub updated_at: Timestamp,
    /// Whether it was deleted: it is forgotten as soon as this is known.
    pub deleted: bool,
}

impl Endpoint {
    /// What it is told of.
    pub fn types(&self) -> EventTypes {
        self.filter.as_ref().map_or(EventTypes::ALL, |types| types.iter().copied().collect())
    }

    /// What is kept for it as it happens.
    pub fn wants(&self) -> EventTypes {
        match self.disabled {
            None | Some(Disabled::Failing) => self.types(),
            Some(Disabled::ByRequest) => EventTypes::NONE,
        }
    }

    /// The keys that messages are signed with at `now`, the present one first.
    pub fn secrets(&self, now: Timestamp) -> impl Iterator<Item = WebhookSecret> {
        let retired = self.retired.iter().rev().filter(move |retired| now < retired.until);
        std::iter::once(self.secret).chain(retired.map(|retired| retired.secret))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_stands_for_its_type_and_its_own_bit() {
        for event_type in EventType::ALL {
            assert_eq!(EventType::parse(event_type.name()), Some(*event_type));
            let alone: EventTypes = std::iter::once(*event_type).collect();
            let found = EventType::ALL.iter().filter(|known| alone.contains(**known));
            assert_eq!(found.collect::<Vec<_>>(), [event_type]);
        }
        assert_eq!(EventType::parse("payment"), None);
        assert_eq!(EventType::ALL.len(), 50);
    }

    #[test]
    fn a_secret_does_not_print() {
        let text = format!("{:?}", WebhookSecret([7; SECRET_BYTES]));
        assert_eq!(text, "WebhookSecret");
    }
}
