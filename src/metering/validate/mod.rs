//! From what a client sent to an event that may be admitted.
//!
//! [`validate`] checks every rule that one event can break by itself, except its age: an event
//! that comes too late is still a duplicate, not a refusal, when its id is known. So the age is
//! given back as a [`Lateness`], and whoever knows the ids asks it for the [`Rejection`].
//! Nothing else makes an [`Event`] from a client's input.

use std::borrow::Cow;
use std::time::Duration;

use crate::metering::text::{
    has_control, has_direction_mark, has_length, is_printable_ascii, is_within, shown,
};
use crate::model::event::RawMetadata;
use crate::model::{Event, RawEvent, RawValue, Scalar, Timestamp};

/// Characters that an event id, a customer id or an event name may have; at least one.
pub const ID_CHARS_MAX: usize = 255;
/// Metadata pairs that an event may have.
pub const METADATA_PAIRS_MAX: usize = 50;
/// Characters that a metadata key may have; at least one.
pub const METADATA_KEY_CHARS_MAX: usize = 100;
/// Characters that a metadata value may have: of a string its own, of a number those of its text.
pub const METADATA_VALUE_CHARS_MAX: usize = 500;

/// What an event must keep to; from the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How long before its arrival an event may have happened.
    pub max_age: Duration,
    /// How long after its arrival an event may be stamped.
    pub max_ahead: Duration,
}

/// The rule that an event breaks; the name stands in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// A required field is missing.
    Missing,
    /// A field has another type than it should.
    WrongType,
    /// A text is empty, too long, or has characters it may not have.
    BadText,
    /// The timestamp is not an RFC 3339 date-time.
    BadTimestamp,
    /// More metadata pairs than allowed.
    TooManyMetadata,
    /// The event happened too long before its arrival.
    TooOld,
    /// The event is stamped too far ahead of its arrival.
    TooFarAhead,
    /// The same id stands twice in one request.
    RepeatedId,
    /// The customer does not exist and is not created.
    UnknownCustomer,
    /// A meter's total could leave its 128 bits.
    Overflow,
}

impl Rule {
    /// The rule's name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::WrongType => "wrong_type",
            Self::BadText => "bad_text",
            Self::BadTimestamp => "bad_timestamp",
            Self::TooManyMetadata => "too_many_metadata",
            Self::TooOld => "too_old",
            Self::TooFarAhead => "too_far_ahead",
            Self::RepeatedId => "repeated_id",
            Self::UnknownCustomer => "unknown_customer",
            Self::Overflow => "overflow",
        }
    }
}

/// Why an event is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Rejection {
    /// The rule.
    pub rule: Rule,
    /// The field, for example `metadata.tokens`; a long key is cut, and characters that cannot be
    /// seen are escaped.
    pub field: String,
    /// What is wrong, for people.
    pub message: String,
}

impl Rejection {
    fn new(rule: Rule, field: &str, message: impl Into<String>) -> Self {
        Self { rule, field: field.to_owned(), message: message.into() }
    }
}

/// How an event's timestamp lies to its arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lateness {
    /// Within the limits, or exactly at one.
    InTime,
    /// Longer ago than `max_age`.
    TooOld,
    /// Further ahead than `max_ahead`.
    TooFarAhead,
}

impl Lateness {
    /// Where `timestamp` lies, seen from `received_at`.
    fn of(timestamp: Timestamp, received_at: Timestamp, rules: &Rules) -> Self {
        if timestamp < received_at.minus(rules.max_age) {
            Self::TooOld
        } else if timestamp > received_at.plus(rules.max_ahead) {
            Self::TooFarAhead
        } else {
            Self::InTime
        }
    }

    /// The refusal of a new event this late under `rules`; nothing when it is in time.
    pub fn rejection(self, rules: &Rules) -> Option<Rejection> {
        let (rule, message) = match self {
            Self::InTime => return None,
            Self::TooOld => {
                (Rule::TooOld, format!("more than {:?} before its arrival", rules.max_age))
            }
            Self::TooFarAhead => {
                (Rule::TooFarAhead, format!("more than {:?} after its arrival", rules.max_ahead))
            }
        };
        Some(Rejection::new(rule, "timestamp", message))
    }
}

/// The event that `raw` describes, arrived at `received_at`, and how late it is.
///
/// An event without a timestamp happened when it arrived.
///
/// # Errors
/// The first rule that the event breaks, in the order id, customer, name, timestamp, metadata.
pub fn validate<'a>(
    raw: RawEvent<'a>,
    received_at: Timestamp,
    rules: &Rules,
) -> Result<(Event<'a>, Lateness), Rejection> {
    let id = name_text(raw.event_id, "event_id")?;
    let customer_id = name_text(raw.customer_id, "customer_id")?;
    let name = name_text(raw.event_name, "event_name")?;
    let given = timestamp(raw.timestamp)?;
    let timestamp = given.unwrap_or(received_at);
    let metadata = metadata(raw.metadata)?;
    let timestamp_given = given.is_some();
    let event = Event { id, customer_id, name, timestamp, timestamp_given, metadata };
    Ok((event, Lateness::of(timestamp, received_at, rules)))
}

#[inline]
fn name_text<'a>(value: Option<RawValue<'a>>, field: &str) -> Result<Cow<'a, str>, Rejection> {
    match value {
        Some(RawValue::String(text)) if is_usual(&text, ID_CHARS_MAX) => Ok(text),
        other => unusual_name_text(other, field),
    }
}

/// Whether a text keeps to every rule of ids, names and keys, as nearly all do; what does not is looked at closer.
#[inline]
fn is_usual(text: &str, chars_max: usize) -> bool {
    (1..=chars_max).contains(&text.len()) && is_printable_ascii(text)
}

#[cold]
fn unusual_name_text<'a>(
    value: Option<RawValue<'a>>,
    field: &str,
) -> Result<Cow<'a, str>, Rejection> {
    let text = match value {
        Some(RawValue::String(text)) => text,
        None => return Err(Rejection::new(Rule::Missing, field, "is required")),
        Some(
            RawValue::Null
            | RawValue::Boolean(_)
            | RawValue::Number(_)
            | RawValue::Array
            | RawValue::Object,
        ) => return Err(Rejection::new(Rule::WrongType, field, "must be a string")),
    };
    check_id(field, &text)?;
    Ok(text)
}

/// Makes sure that events can have `text` as an id or name: 1 to [`ID_CHARS_MAX`] characters that all
/// show.
///
/// # Errors
/// [`Rule::BadText`] in `field`.
pub fn check_id(field: &str, text: &str) -> Result<(), Rejection> {
    if !has_length(text, ID_CHARS_MAX) {
        let message = format!("must have 1 to {ID_CHARS_MAX} characters");
        return Err(Rejection::new(Rule::BadText, field, message));
    }
    if has_control(text) {
        return Err(Rejection::new(Rule::BadText, field, "must not have control characters"));
    }
    if has_direction_mark(text) {
        let message = "must not have characters that change the writing direction";
        return Err(Rejection::new(Rule::BadText, field, message));
    }
    Ok(())
}

fn timestamp(value: Option<RawValue<'_>>) -> Result<Option<Timestamp>, Rejection> {
    match value {
        None | Some(RawValue::Null) => Ok(None),
        Some(RawValue::String(text)) => match Timestamp::parse(&text) {
            Ok(timestamp) => Ok(Some(timestamp)),
            Err(error) => {
                Err(Rejection::new(Rule::BadTimestamp, "timestamp", format!("is {error}")))
            }
        },
        Some(RawValue::Boolean(_) | RawValue::Number(_) | RawValue::Array | RawValue::Object) => {
            Err(Rejection::new(Rule::WrongType, "timestamp", "must be a string or null"))
        }
    }
}

type Pairs<'a> = Vec<(Cow<'a, str>, Scalar<'a>)>;

fn metadata(raw: RawMetadata<'_>) -> Result<Option<Pairs<'_>>, Rejection> {
    let members = match raw {
        RawMetadata::Absent => return Ok(None),
        RawMetadata::Members(members) => members,
        RawMetadata::NotAnObject => {
            let message = "must be an object or null";
            return Err(Rejection::new(Rule::WrongType, "metadata", message));
        }
    };
    if members.len() > METADATA_PAIRS_MAX {
        let message = format!("must have at most {METADATA_PAIRS_MAX} pairs");
        return Err(Rejection::new(Rule::TooManyMetadata, "metadata", message));
    }
    members.into_iter().map(|(key, value)| pair(key, value)).collect::<Result<_, _>>().map(Some)
}

#[inline]
fn pair<'a>(
    key: Cow<'a, str>,
    value: RawValue<'a>,
) -> Result<(Cow<'a, str>, Scalar<'a>), Rejection> {
    if !is_usual(&key, METADATA_KEY_CHARS_MAX) {
        check_key(&key)?;
    }
    let (value, is_short) = match value {
        RawValue::String(text) => {
            let is_short = is_within(&text, METADATA_VALUE_CHARS_MAX);
            (Scalar::String(text), is_short)
        }
        RawValue::Number(number) => {
            let is_short = number.as_str().len() <= METADATA_VALUE_CHARS_MAX;
            (Scalar::Number(number), is_short)
        }
        RawValue::Boolean(value) => (Scalar::Boolean(value), true),
        RawValue::Null | RawValue::Array | RawValue::Object => {
            let message = "must be a string, number or boolean".to_owned();
            return Err(refuse_pair(&key, Rule::WrongType, message));
        }
    };
    if !is_short {
        let message = format!("must have at most {METADATA_VALUE_CHARS_MAX} characters");
        return Err(refuse_pair(&key, Rule::BadText, message));
    }
    Ok((key, value))
}

#[cold]
fn check_key(key: &str) -> Result<(), Rejection> {
    if !has_length(key, METADATA_KEY_CHARS_MAX) {
        let message = format!("the key must have 1 to {METADATA_KEY_CHARS_MAX} characters");
        return Err(refuse_pair(key, Rule::BadText, message));
    }
    if has_control(key) {
        let message = "the key must not have control characters".to_owned();
        return Err(refuse_pair(key, Rule::BadText, message));
    }
    Ok(())
}

#[cold]
fn refuse_pair(key: &str, rule: Rule, message: String) -> Rejection {
    Rejection::new(rule, &format!("metadata.{}", shown(key)), message)
}

#[cfg(test)]
mod tests;
