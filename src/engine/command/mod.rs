//! Changes that a client asks for, and what becomes of them.

pub mod alerts;
pub mod billing;
pub mod credits;
pub mod entries;
pub mod reservations;
pub mod webhooks;

use std::sync::Arc;

use crate::engine::ClockState;
use crate::engine::pools::PoolKey;
use crate::engine::reservations::Reservation;
use crate::model::customer::Metadata;
use crate::model::{
    Aggregation, Alert, AlertId, ApiKey, CheckoutId, CheckoutSession, CreditEntitlement, Customer,
    CustomerId, Endpoint, EntitlementId, Filter, KeyDigest, KeyId, Lsn, Meter, MeterId, Payment,
    PaymentId, Product, ProductId, ReservationId, Scope, Subscription, SubscriptionId, Timestamp,
};

use alerts::NewAlert;
use billing::{
    ConfirmedBy, Mark, NewCharge, NewCheckout, NewProduct, NewSubscription, PlanChange,
    ProductPatch, SubscriptionPatch,
};
use credits::{EntitlementPatch, NewEntitlement};
use entries::NewEntry;
use reservations::NewReservation;
use webhooks::WebhookCommand;

/// A change that the committer decides on.
#[derive(Clone, Debug)]
pub enum Command {
    /// Create a meter.
    CreateMeter(NewMeter),
    /// Change what may change on a meter.
    UpdateMeter(MeterId, MeterPatch),
    /// Stop counting.
    ArchiveMeter(MeterId),
    /// Count again.
    UnarchiveMeter(MeterId),
    /// Create a customer, or complete one that an event made.
    CreateCustomer(NewCustomer),
    /// Change a customer.
    UpdateCustomer(CustomerId, CustomerPatch),
    /// Create a key.
    CreateKey(NewKey),
    /// Delete a key; it opens nothing from then on.
    DeleteKey(KeyId),
    /// Create a product.
    CreateProduct(Box<NewProduct>),
    /// Change a product; a new price is for new purchases.
    UpdateProduct(ProductId, Box<ProductPatch>),
    /// Sell a product no more.
    ArchiveProduct(ProductId),
    /// Sell it again.
    UnarchiveProduct(ProductId),
    /// Create a credit entitlement.
    CreateEntitlement(Box<NewEntitlement>),
    /// Change a credit entitlement; what was handed out stays as it is.
    UpdateEntitlement(EntitlementId, Box<EntitlementPatch>),
    /// Hand out no more of it.
    DeleteEntitlement(EntitlementId),
    /// Hand it out again.
    UndeleteEntitlement(EntitlementId),
    /// Make a subscription, with its first payment.
    CreateSubscription(Box<NewSubscription>),
    /// Change or end a subscription.
    UpdateSubscription(SubscriptionId, Box<SubscriptionPatch>),
    /// Change a subscription's plan, now or at its next boundary.
    ChangePlan(SubscriptionId, Box<PlanChange>),
    /// Let a subscription keep its plan at its next boundary.
    CancelScheduledChange(SubscriptionId),
    /// Charge a subscription on demand.
    Charge(SubscriptionId, Box<NewCharge>),
    /// Put an order together, and make it at once when it is confirmed.
    CreateCheckout(Box<NewCheckout>),
    /// Make the order of a session.
    ConfirmCheckout(CheckoutId, Box<ConfirmedBy>),
    /// Say what became of a payment that waited.
    MarkPayment(PaymentId, Mark),
    /// Try a payment that has failed again, with another payment.
    RetryPayment(PaymentId),
    /// Watch usage, its cost or balances.
    CreateAlert(Box<NewAlert>),
    /// Watch no more.
    DeleteAlert(AlertId),
    /// Give or take credits.
    EnterCredits(Box<NewEntry>),
    /// Hold credits for usage that is about to come.
    Reserve(Box<NewReservation>),
    /// Hold them no more: the usage does not come.
    ReleaseReservation(ReservationId),
    /// Change a webhook endpoint.
    Webhook(Box<WebhookCommand>),
    /// Move the test clock forward.
    AdvanceClock(Timestamp),
    /// Say that the wall clock is right.
    ConfirmClock,
}

/// A meter to be created; the caller has checked lengths and the filter's shape.
#[derive(Clone, Debug)]
pub struct NewMeter {
    /// The name people read.
    pub name: String,
    /// A longer text.
    pub description: Option<String>,
    /// The event name.
    pub event_name: String,
    /// The unit.
    pub measurement_unit: String,
    /// The aggregation.
    pub aggregation: Aggregation,
    /// The filter.
    pub filter: Option<Filter>,
}

/// Changes of a meter; `None` keeps.
#[derive(Clone, Debug, Default)]
pub struct MeterPatch {
    /// The name.
    pub name: Option<String>,
    /// The longer text; `Some(None)` clears it.
    pub description: Option<Option<String>>,
    /// The unit.
    pub measurement_unit: Option<String>,
}

/// A customer to be created.
#[derive(Clone, Debug)]
pub struct NewCustomer {
    /// The id, when the client chose one.
    pub id: Option<CustomerId>,
    /// The name.
    pub name: String,
    /// The address.
    pub email: String,
    /// A phone number.
    pub phone_number: Option<String>,
    /// A language code.
    pub preferred_locale: Option<String>,
    /// Free details.
    pub metadata: Metadata,
}

/// Changes of a customer; `None` keeps, `Some(None)` clears.
#[derive(Clone, Debug, Default)]
pub struct CustomerPatch {
    /// The name.
    pub name: Option<String>,
    /// The address.
    pub email: Option<String>,
    /// A phone number.
    pub phone_number: Option<Option<String>>,
    /// A language code.
    pub preferred_locale: Option<Option<String>>,
    /// Free details.
    pub metadata: Option<Metadata>,
}

/// A key to be created; the caller drew its text and shows it once.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The public part.
    pub id: KeyId,
    /// The name people read.
    pub name: String,
    /// What it may do.
    pub scope: Scope,
    /// The keyed digest of its text.
    pub digest: KeyDigest,
}

/// What makes two requests the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestIdentity {
    /// Digest of API key, route and `Idempotency-Key`, when the client sent one.
    pub explicit: Option<[u8; 32]>,
    /// Digest of API key, route and body.
    pub content: [u8; 32],
    /// Whether the client says that it sends this request again.
    pub is_retry: bool,
}

/// What a change left behind.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The meter as it is now.
    Meter(Meter),
    /// The customer as it is now.
    Customer(Customer),
    /// The key as it is now.
    Key(ApiKey),
    /// The product as it is now.
    Product(Arc<Product>),
    /// The credit entitlement as it is now.
    Entitlement(Arc<CreditEntitlement>),
    /// The alert, or what it was.
    Alert(Arc<Alert>),
    /// The subscription as it is now.
    Subscription(Arc<Subscription>),
    /// The checkout session as it is now.
    Checkout(Arc<CheckoutSession>),
    /// The payment as it is now.
    Payment(Arc<Payment>),
    /// The last row that the change has made in the ledger of this pool.
    LedgerEntry(PoolKey),
    /// The reservation as it is now.
    Reservation(Arc<Reservation>),
    /// The webhook endpoint as it is now.
    Endpoint(Arc<Endpoint>),
    /// Messages wait to be sent.
    Queued,
    /// The clock as it is now.
    Clock(ClockState),
}

/// The answer to a change that was applied and is durable.
#[derive(Clone, Debug)]
pub struct Changed {
    /// What it left behind.
    pub outcome: Outcome,
    /// Whether this is the answer of an earlier request that this one repeats.
    pub replayed: bool,
    /// The change's LSN.
    pub lsn: Lsn,
}

/// Why a request was not applied. Nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// An event breaks a rule.
    #[error("event {}: {}", .0.event_index, .0.rejection)]
    Event(EventRefusal),
    /// The thing does not exist.
    #[error("{0} does not exist")]
    NotFound(&'static str),
    /// The thing exists already, or the state forbids the change.
    #[error("{0}")]
    Conflict(String),
    /// The thing was there, and its time is over.
    #[error("{0}")]
    Gone(&'static str),
    /// A field has a value that the state forbids.
    #[error("{field}: {message}")]
    Invalid {
        /// The field, as a path into the body.
        field: String,
        /// What is wrong with it.
        message: String,
    },
    /// There is not as much as is to be taken.
    #[error("the balance is lower than this amount")]
    Insufficient,
    /// Credits and overage together do not cover what is to be held.
    #[error("the balance and the overage that is allowed do not cover this amount")]
    NotCovered,
    /// So many reservations are open that no more are made for now.
    #[error("too many reservations are open")]
    TooManyReservations,
    /// The `Idempotency-Key` was used with another request.
    #[error("this Idempotency-Key was used with another body")]
    IdempotencyKeyReused,
    /// The free space of the disk is below the reserve.
    #[error("the disk is nearly full")]
    StorageFull,
    /// The engine is behind or stops; a retry is welcome.
    #[error("the daemon is busy")]
    Busy,
}

impl Refused {
    /// A field has a value that the state forbids.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), message: message.into() }
    }

    /// The same, where the field stands in an object of this name.
    #[must_use]
    pub fn within(mut self, name: &str) -> Self {
        if let Self::Invalid { field, .. } = &mut self {
            *field = format!("{name}.{field}");
        }
        self
    }

    /// A field is not there that the state needs.
    pub fn missing(field: &str) -> Self {
        Self::invalid(field, "it is missing")
    }
}

/// An event that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRefusal {
    /// Its place in the request, from 0.
    pub event_index: usize,
    /// The rule and the field.
    pub rejection: crate::metering::Rejection,
}
