//! Texts that clients give to objects: how long they may be, and what they may hold.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::http::reply::ApiError;
use crate::metering::validate::check_id;
use crate::model::Timestamp;

/// Characters of a name.
pub(crate) const NAME_CHARS_MAX: usize = 255;
/// Characters of an address that mail can be sent to.
pub(crate) const EMAIL_CHARS_MAX: usize = 254;
/// Characters of a longer text.
const DESCRIPTION_CHARS_MAX: usize = 1_000;

/// A text that must be there: 1 to `chars_max` characters, none of them a control character.
///
/// # Errors
/// 422 that names `field`
pub(crate) fn required(
    field: &str,
    text: Option<String>,
    chars_max: usize,
) -> Result<String, ApiError> {
    let text = text.ok_or_else(|| ApiError::missing(field))?;
    if text.is_empty() {
        return Err(ApiError::invalid(field, format!("{field} is empty")));
    }
    line(field, text, chars_max)
}

/// An id or name that events are found by; what events may have there.
///
/// # Errors
/// 422 that names `field`
pub(crate) fn id(field: &str, text: Option<String>) -> Result<String, ApiError> {
    let text = text.ok_or_else(|| ApiError::missing(field))?;
    check_id(field, &text).map_err(|rejection| ApiError::invalid(field, rejection.to_string()))?;
    Ok(text)
}

/// A text of up to `chars_max` characters, none of them a control character.
///
/// # Errors
/// 422 that names `field`
pub(crate) fn line(field: &str, text: String, chars_max: usize) -> Result<String, ApiError> {
    bounded(field, text, chars_max, char::is_control)
}

/// A text of up to [`DESCRIPTION_CHARS_MAX`] characters; it may have several lines.
///
/// # Errors
/// 422 that names `field`
pub(crate) fn paragraph(field: &str, text: String) -> Result<String, ApiError> {
    let is_refused = |char: char| char.is_control() && !matches!(char, '\t' | '\n' | '\r');
    bounded(field, text, DESCRIPTION_CHARS_MAX, is_refused)
}

fn bounded(
    field: &str,
    text: String,
    chars_max: usize,
    is_refused: impl Fn(char) -> bool,
) -> Result<String, ApiError> {
    if text.chars().count() > chars_max {
        let message = format!("{field} has more than {chars_max} characters");
        return Err(ApiError::invalid(field, message));
    }
    if text.chars().any(is_refused) {
        return Err(ApiError::invalid(field, format!("{field} has a control character")));
    }
    Ok(text)
}

/// A text of a PATCH body: `None` when it is left out and `Some(None)` when it is `null`.
pub(crate) type Nullable = Clearable<String>;

/// A member of a PATCH body: `None` when it is left out and `Some(None)` when it is `null`.
pub(crate) type Clearable<T> = Option<Option<T>>;

/// Reads a member of a PATCH body; needs `default` beside it.
///
/// # Errors
/// When it is neither what is expected nor `null`.
pub(crate) fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Clearable<T>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// An instant that prints as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instant(pub(crate) Timestamp);

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_counted_in_characters_and_hold_no_control_characters() {
        assert!(required("name", Some("é".repeat(255)), 255).is_ok());
        for text in [None, Some(String::new()), Some("é".repeat(256)), Some("a\nb".to_owned())] {
            let error = required("name", text, 255).unwrap_err();
            assert_eq!(error.body().field.as_deref(), Some("name"));
        }
    }
    #[test]
    fn a_paragraph_has_lines_and_no_other_control_characters() {
        assert!(paragraph("description", "a\n\tb\r\n".to_owned()).is_ok());
        assert!(paragraph("description", String::new()).is_ok());
        assert!(paragraph("description", "a\0b".to_owned()).is_err());
        assert!(paragraph("description", "a".repeat(1_001)).is_err());
    }
}
