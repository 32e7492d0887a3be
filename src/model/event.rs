//! Events: as a client sent them ([`RawEvent`]) and as they were admitted ([`Event`]).
//!
//! Both borrow from the request's body or from the log, so that an event costs no allocation but
//! its list of metadata.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::model::number::Number;
use crate::model::time::Timestamp;

/// A JSON value of which only scalars are looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawValue<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean(bool),
    /// A number, as its text.
    Number(Number<'a>),
    /// A string, unescaped.
    String(Cow<'a, str>),
    /// An array; its content was skipped.
    Array,
    /// An object; its content was skipped.
    Object,
}

/// One event of a request's body: well-formed JSON, nothing else checked. A field that the client
/// left out is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawEvent<'a> {
    /// `event_id`
    pub event_id: Option<RawValue<'a>>,
    /// `customer_id`
    pub customer_id: Option<RawValue<'a>>,
    /// `event_name`
    pub event_name: Option<RawValue<'a>>,
    /// `timestamp`
    pub timestamp: Option<RawValue<'a>>,
    /// `metadata`
    pub metadata: RawMetadata<'a>,
}

/// The `metadata` field of a [`RawEvent`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RawMetadata<'a> {
    /// Left out or `null`.
    #[default]
    Absent,
    /// An object: its members in the order of the text, names unique.
    Members(Vec<(Cow<'a, str>, RawValue<'a>)>),
    /// Neither an object nor `null`.
    NotAnObject,
}

/// A metadata value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scalar<'a> {
    /// A string.
    String(#[serde(borrow)] Cow<'a, str>),
    /// A number, as its text.
    Number(#[serde(borrow)] Number<'a>),
    /// A boolean.
    Boolean(bool),
}

/// An event that follows every rule that can be checked without looking at other events. Only
/// `metering::validate` makes one from a client's input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The id, unique in the whole business.
    pub id: Cow<'a, str>,
    /// The customer who used something.
    pub customer_id: Cow<'a, str>,
    /// What was used.
    pub name: Cow<'a, str>,
    /// When it was used: the client's instant, or the arrival when the client gave none.
    pub timestamp: Timestamp,
    /// Whether the client gave the timestamp.
    pub timestamp_given: bool,
    /// Details, in the client's order; keys are unique. `None` when the client sent none or `null`.
    pub metadata: Option<Vec<(Cow<'a, str>, Scalar<'a>)>>,
}

impl<'a> Event<'a> {
    /// The metadata value under `key`.
    pub fn get(&self, key: &str) -> Option<&Scalar<'a>> {
        let members = self.metadata.as_deref().unwrap_or_default();
        members.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }
}
