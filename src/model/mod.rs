//! The vocabulary: plain values that every other folder speaks in.
//!
//! Nothing here reads a clock, a disk or a random source, takes a lock or waits.

pub mod alert;
pub mod causes;
pub mod checkout;
pub mod credit;
pub mod currency;
pub mod customer;
pub mod event;
pub mod id;
pub mod invoice;
pub mod key;
pub mod lsn;
pub mod meter;
pub mod money;
pub mod notice;
pub mod number;
pub mod period;
pub mod plan;
pub mod price;
pub mod product;
pub mod rate;
pub mod settings;
pub mod subscription;
pub mod time;
pub mod webhook;

pub use alert::Alert;
pub use causes::Causes;
pub use checkout::CheckoutSession;
pub use credit::{
    Attachment, CreditEntitlement, CreditLink, Credits, Grant, LedgerEntry, UnitsPerCredit,
};
pub use currency::Currency;
pub use customer::{Customer, CustomerOrigin};
pub use event::{Event, RawEvent, RawValue, Scalar};
pub use id::{
    AlertId, AlertIndex, BrandId, BusinessId, CheckoutId, CustomerId, CustomerIndex, EndpointId,
    EndpointIndex, EntitlementId, EntitlementIndex, EventId, GrantId, InvoiceId, KeyId,
    LedgerEntryId, MessageId, MeterId, MeterIndex, PaymentId, PaymentIndex, PlanChangeId,
    ProductId, ProductIndex, ReservationId, SubscriptionId, SubscriptionIndex,
};
pub use invoice::{Invoice, InvoiceNumber, Payment, PaymentStatus};
pub use key::{ApiKey, KeyDigest, Scope};
pub use lsn::Lsn;
pub use meter::{
    Aggregation, Clauses, Condition, Conjunction, Filter, FilterValue, Meter, Operator,
};
pub use money::Money;
pub use notice::{Notice, Told};
pub use number::{Number, Quantity};
pub use period::{Period, Share};
pub use plan::{Plan, ProrationMode};
pub use price::{Price, UnitPrice};
pub use product::{PriceVersion, Product};
pub use rate::{Rate, Used};
pub use settings::Settings;
pub use subscription::{Subscription, SubscriptionStatus, Terms};
pub use time::{Hour, Timestamp};
pub use webhook::{Endpoint, EventType};
