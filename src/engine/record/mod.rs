//! What stands in the log: one payload a commit group, one record a request or change.
//!
//! Here are the records themselves; `payload.rs` writes and reads them. Names, keys and customers that
//! repeat within a request stand once, in its `texts`.

mod payload;

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::engine::alerts::FiredEntry;
use crate::engine::command::{Outcome, RequestIdentity};
use crate::engine::outbox::settle::SettledEntry;
use crate::engine::pools::moves::CreditsMove;
use crate::engine::state::MeterTotals;
use crate::metering::accumulator::Accumulator;
use crate::model::{
    Alert, ApiKey, CheckoutSession, CreditEntitlement, Customer, CustomerIndex, Endpoint,
    EndpointId, EndpointIndex, Event, Hour, Invoice, MessageId, Meter, MeterIndex, Payment,
    Product, Scalar, Settings, Subscription, Timestamp,
};

pub use payload::{
    EncodedEvents, PayloadError, VARIANT_EVENTS, decode_payload, encode_entry, entry_length,
    measured, payload_entries, splice_events, start_payload,
};

/// One record and when it was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry<'a> {
    /// The log time of the decision.
    pub log_time: Timestamp,
    /// What was decided.
    #[serde(borrow)]
    pub body: Body<'a>,
}

/// The kinds of record. A new kind breaks every place that must know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body<'a> {
    /// Admitted events of one request, one LSN each.
    #[serde(borrow)]
    Events(EventsEntry<'a>),
    /// A catalogue object as it is from now on; one LSN.
    Change(ChangeEntry),
    /// Log time moves to the entry's own, for a test clock or after a clock that was wrong; one LSN.
    ClockSet(Option<Identity>),
    /// A part of what a meter counts of the events before its creation; one LSN.
    Backfilled(BackfilledEntry),
    /// A boundary has passed, or a subscription has ended: it is like this from now on; one LSN.
    PeriodTurned(Arc<Subscription>),
    /// A payment was made, with its invoice unless it is another attempt; one LSN.
    CycleClosed(Box<ClosedEntry>),
    /// What became of a payment that waited; one LSN.
    PaymentMarked(Box<MarkedEntry>),
    /// Credits were moved; one LSN.
    CreditsMoved(Box<CreditsEntry>),
    /// Alerts fire; one LSN.
    AlertsFired(Box<FiredEntry>),
    /// What became of attempts to deliver messages; one LSN.
    WebhookSettled(Box<SettledEntry>),
}

impl Body<'_> {
    /// The payment, when it is one.
    pub fn closed(&self) -> Option<&ClosedEntry> {
        match self {
            Self::CycleClosed(entry) => Some(entry),
            Self::Events(_)
            | Self::Change(_)
            | Self::ClockSet(_)
            | Self::Backfilled(_)
            | Self::PeriodTurned(_)
            | Self::PaymentMarked(_)
            | Self::CreditsMoved(_)
            | Self::AlertsFired(_)
            | Self::WebhookSettled(_) => None,
        }
    }

    /// How many LSNs the record takes.
    pub fn lsn_count(&self) -> u64 {
        match self {
            Self::Events(entry) => entry.events.len() as u64,
            Self::Change(_)
            | Self::ClockSet(_)
            | Self::Backfilled(_)
            | Self::PeriodTurned(_)
            | Self::CycleClosed(_)
            | Self::PaymentMarked(_)
            | Self::CreditsMoved(_)
            | Self::AlertsFired(_)
            | Self::WebhookSettled(_) => 1,
        }
    }
}

/// Admitted events of one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsEntry<'a> {
    /// When the request arrived.
    pub received_at: Timestamp,
    /// Places in `texts` of the customers that this request creates, in the order of their indexes.
    pub created: Vec<u32>,
    /// Customers, names and metadata keys, each once.
    #[serde(borrow)]
    pub texts: Vec<&'a str>,
    /// The events, in LSN order.
    #[serde(borrow)]
    pub events: Vec<EventEntry<'a>>,
}

/// One event; customer, name and keys are places in the request's texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventEntry<'a> {
    /// The event id.
    pub id: &'a str,
    /// The customer.
    pub customer: u32,
    /// The event name.
    pub name: u32,
    /// When it happened.
    pub timestamp: Timestamp,
    /// Whether the client gave the timestamp.
    pub timestamp_given: bool,
    /// The metadata, in the client's order.
    #[serde(borrow)]
    pub metadata: Option<Vec<(u32, Scalar<'a>)>>,
}

impl<'a> EventsEntry<'a> {
    /// The text at a place.
    ///
    /// # Errors
    /// [`PayloadError::NoSuchText`] when there is none.
    pub fn text(&self, place: u32) -> Result<&'a str, PayloadError> {
        self.texts.get(place as usize).copied().ok_or(PayloadError::NoSuchText(place))
    }

    /// The event that an entry stands for.
    ///
    /// # Errors
    /// [`PayloadError::NoSuchText`] when it names a text that is not there.
    pub fn event(&self, entry: &EventEntry<'a>) -> Result<Event<'a>, PayloadError> {
        let metadata = match &entry.metadata {
            None => None,
            Some(members) => Some(
                members
                    .iter()
                    .map(|(key, value)| Ok((Cow::Borrowed(self.text(*key)?), value.clone())))
                    .collect::<Result<_, PayloadError>>()?,
            ),
        };
        Ok(Event {
            id: Cow::Borrowed(entry.id),
            customer_id: Cow::Borrowed(self.text(entry.customer)?),
            name: Cow::Borrowed(self.text(entry.name)?),
            timestamp: entry.timestamp,
            timestamp_given: entry.timestamp_given,
            metadata,
        })
    }
}

/// A catalogue object as it is from now on, and the request that made it so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeEntry {
    /// The object.
    pub change: Change,
    /// What a repetition of the request is recognised by.
    pub identity: Option<Identity>,
}

/// The objects that a change can leave behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A meter, created or altered.
    Meter(Meter),
    /// A customer, created, completed or altered.
    Customer(Customer),
    /// A key, created or deleted.
    Key(ApiKey),
    /// Settings that the following records are counted under.
    Settings(Settings),
    /// A product, created or altered.
    Product(Arc<Product>),
    /// A subscription, created or altered.
    Subscription(Arc<Subscription>),
    /// A checkout session, created or confirmed.
    Checkout(Arc<CheckoutSession>),
    /// A credit entitlement, created or altered.
    Entitlement(Arc<CreditEntitlement>),
    /// An alert, created or deleted.
    Alert(Arc<Alert>),
    /// A webhook endpoint, created, altered or deleted.
    Endpoint(Arc<Endpoint>),
    /// Messages that somebody asks for.
    Webhook(WebhookChange),
}

impl Change {
    /// The answer to the request that made this change; settings are changed by no request.
    pub fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Meter(meter) => Some(Outcome::Meter(meter.clone())),
            Self::Customer(customer) => Some(Outcome::Customer(customer.clone())),
            Self::Key(key) => Some(Outcome::Key(key.clone())),
            Self::Settings(_) => None,
            Self::Product(product) => Some(Outcome::Product(Arc::clone(product))),
            Self::Subscription(subscription) => {
                Some(Outcome::Subscription(Arc::clone(subscription)))
            }
            Self::Checkout(session) => Some(Outcome::Checkout(Arc::clone(session))),
            Self::Entitlement(entitlement) => Some(Outcome::Entitlement(Arc::clone(entitlement))),
            Self::Alert(alert) => Some(Outcome::Alert(Arc::clone(alert))),
            Self::Endpoint(endpoint) => Some(Outcome::Endpoint(Arc::clone(endpoint))),
            Self::Webhook(_) => Some(Outcome::Queued),
        }
    }
}

/// Messages that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WebhookChange {
    /// One that tells this endpoint of nothing.
    Tested(EndpointIndex, EndpointId),
    /// These, once more.
    Requeued {
        /// For this endpoint.
        endpoint: EndpointIndex,
        /// Which.
        messages: Vec<MessageId>,
        /// When, by the machine's clock.
        due: Timestamp,
    },
}

/// A payment that was made, whatever its cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedEntry {
    /// The payment.
    pub payment: Arc<Payment>,
    /// Its invoice, unless an earlier payment of it failed.
    pub invoice: Option<Arc<Invoice>>,
    /// The subscription as it is from now on, when it differs.
    pub subscription: Option<Arc<Subscription>>,
    /// What a repetition of the request is recognised by, when the payment was asked for.
    pub identity: Option<Identity>,
}

/// What became of a payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkedEntry {
    /// The payment as it is now.
    pub payment: Arc<Payment>,
    /// The subscription as it is now; a cart has none.
    pub subscription: Option<Arc<Subscription>>,
    /// What a repetition of the request is recognised by.
    pub identity: Option<Identity>,
}

/// Credits were moved, by time or by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreditsEntry {
    /// What happened.
    pub moved: CreditsMove,
    /// What a repetition of the request is recognised by, when somebody asked.
    pub identity: Option<Identity>,
}

/// A part of what a meter counts of the events before its creation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackfilledEntry {
    /// The meter.
    pub meter: MeterIndex,
    /// What all those events come to, in the first record of a backfill and in no other.
    pub totals: Option<MeterTotals>,
    /// Hours that are in memory, ascending by customer and hour, above those of earlier records.
    pub entries: Vec<(CustomerIndex, Hour, Accumulator)>,
    /// How the backfill ends with this record, when it does.
    pub end: Option<BackfillEnd>,
}

/// How a backfill ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackfillEnd {
    /// The meter has counted every event.
    Complete,
    /// It cannot be finished: the meter goes on with the events after its creation.
    Failed,
}

impl BackfilledEntry {
    /// The record that ends the backfill of `meter` without success.
    pub fn failed(meter: MeterIndex) -> Self {
        Self { meter, totals: None, entries: Vec::new(), end: Some(BackfillEnd::Failed) }
    }
}

/// What a repetition of a request is recognised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Digest of API key, route and `Idempotency-Key`.
    pub explicit: Option<[u8; 32]>,
    /// Digest of API key, route and body.
    pub content: [u8; 32],
}

impl From<RequestIdentity> for Identity {
    fn from(identity: RequestIdentity) -> Self {
        Self { explicit: identity.explicit, content: identity.content }
    }
}
