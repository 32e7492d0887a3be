//! The vocabulary: plain values that every other folder speaks in.
//!
//! Nothing here reads a clock, a disk or a random source, takes a lock or waits.

pub mod customer;
pub mod event;
pub mod id;
pub mod key;
pub mod lsn;
pub mod meter;
pub mod number;
pub mod settings;
pub mod time;

pub use customer::{Customer, CustomerOrigin};
pub use event::{Event, RawEvent, RawValue, Scalar};
pub use id::{BrandId, BusinessId, CustomerId, CustomerIndex, EventId, KeyId, MeterId, MeterIndex};
pub use key::{ApiKey, KeyDigest, Scope};
pub use lsn::Lsn;
pub use meter::{
    Aggregation, Clauses, Condition, Conjunction, Filter, FilterValue, Meter, Operator,
};
pub use number::{Number, Quantity};
pub use settings::Settings;
pub use time::{Hour, Timestamp};
