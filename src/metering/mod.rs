//! What an event is worth: validation, filters, aggregation. Pure functions of their arguments.

pub mod accumulator;
pub mod content;
pub mod diagnose;
pub mod evaluate;
pub mod explain;
pub mod filter;
mod text;
pub mod validate;

pub use accumulator::{Accumulator, Kind, Sample, SkipReason};
pub use content::Fingerprinter;
pub use evaluate::{Contribution, MeterSet, evaluate};
pub use filter::FilterError;
pub use validate::{Lateness, Rejection, Rule, Rules, validate};
