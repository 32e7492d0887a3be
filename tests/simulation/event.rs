//! Events as clients send them, and what they mean to a meter: computed from their texts, by hand.

use std::borrow::Cow;

use quipu::engine::StoredEvent;
use quipu::model::customer::{Metadata, MetadataValue};
use quipu::model::event::RawMetadata;
use quipu::model::{
    Aggregation, Clauses, FilterValue, Lsn, Meter, Number, Quantity, RawEvent, RawValue, Timestamp,
};

/// A metadata value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Number(String),
    Text(&'static str),
    Flag(bool),
}

/// An event as a client sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) id: String,
    pub(crate) customer: String,
    pub(crate) name: &'static str,
    /// None: it happens when it arrives.
    pub(crate) at: Option<Timestamp>,
    pub(crate) metadata: Vec<(&'static str, Value)>,
}

/// An event that was admitted.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) lsn: Lsn,
    pub(crate) received_at: Timestamp,
    pub(crate) sent: Sent,
}

/// Why a meter does not count an event of its name and filter, in the order of the engine's counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Skip {
    Missing,
    NotANumber,
    OutOfRange,
}

impl Sent {
    pub(crate) fn raw(&self) -> RawEvent<'_> {
        let text = |text: &str| Some(RawValue::String(Cow::Owned(text.to_owned())));
        let members = self.metadata.iter().map(|(key, value)| {
            let value = match value {
                Value::Number(text) => RawValue::Number(Number::new(text).expect("a number")),
                Value::Text(text) => RawValue::String(Cow::Borrowed(text)),
                Value::Flag(flag) => RawValue::Boolean(*flag),
            };
            (Cow::Borrowed(*key), value)
        });
        RawEvent {
            event_id: text(&self.id),
            customer_id: text(&self.customer),
            event_name: text(self.name),
            timestamp: self.at.and_then(|at| text(&at.to_string())),
            metadata: if self.metadata.is_empty() {
                RawMetadata::Absent
            } else {
                RawMetadata::Members(members.collect())
            },
        }
    }

    /// When it happens, if it arrives at `received_at`.
    pub(crate) fn at(&self, received_at: Timestamp) -> Timestamp {
        self.at.unwrap_or(received_at)
    }

    /// What it means to a meter; `None` when that does not look at it.
    pub(crate) fn seen_by(&self, meter: &Meter) -> Option<Result<Quantity, Skip>> {
        if meter.event_name != self.name || !self.passes(meter) {
            return None;
        }
        let key = match &meter.aggregation {
            Aggregation::Count => return Some(Ok(Quantity::from_count(1))),
            Aggregation::Sum { key } | Aggregation::Max { key } | Aggregation::Last { key } => key,
        };
        let found = self.metadata.iter().find(|(name, _)| name == key);
        Some(match found {
            None => Err(Skip::Missing),
            Some((_, Value::Text(_) | Value::Flag(_))) => Err(Skip::NotANumber),
            Some((_, Value::Number(text))) => {
                let units = units(text);
                let is_counted = units.unsigned_abs() < 10_u128.pow(27);
                if is_counted { Ok(Quantity::from_units(units)) } else { Err(Skip::OutOfRange) }
            }
        })
    }

    /// The only filters here: one text must be equal.
    fn passes(&self, meter: &Meter) -> bool {
        let Some(filter) = &meter.filter else { return true };
        let Clauses::Conditions(conditions) = &filter.clauses else { panic!("not drawn") };
        conditions.iter().all(|condition| {
            let FilterValue::String(wanted) = &condition.value else { panic!("not drawn") };
            self.metadata.iter().any(|(key, value)| {
                *key == condition.key && matches!(value, Value::Text(text) if text == wanted)
            })
        })
    }
}

impl Kept {
    pub(crate) fn at(&self) -> Timestamp {
        self.sent.at(self.received_at)
    }

    /// Whether this is what was read back.
    pub(crate) fn is(&self, stored: &StoredEvent) -> bool {
        let pairs = self.sent.metadata.iter().map(|(key, value)| {
            let value = match value {
                Value::Number(text) => MetadataValue::Number(text.clone()),
                Value::Text(text) => MetadataValue::String((*text).to_owned()),
                Value::Flag(flag) => MetadataValue::Boolean(*flag),
            };
            ((*key).to_owned(), value)
        });
        let metadata: Metadata = pairs.collect();
        (stored.lsn, stored.received_at, stored.timestamp)
            == (self.lsn, self.received_at, self.at())
            && stored.id.as_str() == self.sent.id
            && stored.customer_id.as_str() == self.sent.customer
            && stored.name == self.sent.name
            && stored.metadata == (!metadata.is_empty()).then_some(metadata)
    }
}

/// Units of 10^-12 of a plain decimal with at most twelve fractional digits.
fn units(text: &str) -> i128 {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let units: i128 = format!("{whole}{fraction:0<12}").parse().expect("digits");
    sign * units
}
