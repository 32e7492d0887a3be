//! A body that holds one event: `{"event": {…}}`.

use crate::http::decode::scanner::{Key, Scanner};
use crate::http::decode::{DecodeError, EventKeys, duplicate_key, event, malformed};
use crate::model::RawEvent;

/// The event of `body`, under the limits of ingest.
///
/// # Errors
/// [`DecodeError`], at the first place that is not right.
pub fn decode_one(body: &[u8]) -> Result<RawEvent<'_>, DecodeError> {
    let text = std::str::from_utf8(body)
        .map_err(|error| malformed(error.valid_up_to(), "not valid UTF-8"))?;
    let mut scanner = Scanner::new(text);
    let start = scanner.open(b'{', "the body is not an object")?;
    let mut found = None;
    let mut key = scanner.first_key()?;
    while let Some(Key { offset, name }) = key {
        if name == "event" {
            if found.is_some() {
                return Err(duplicate_key(offset));
            }
            found = Some(event(&mut scanner, &mut EventKeys::default())?);
        } else {
            scanner.value()?;
        }
        key = scanner.next_key()?;
    }
    scanner.end()?;
    found.ok_or(malformed(start, "the body has no field `event`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::decode::decode;

    fn refused(body: &str) -> &'static str {
        match decode_one(body.as_bytes()) {
            Err(DecodeError::Malformed { message, .. }) => message,
            Err(DecodeError::TooManyEvents) => "too many",
            Ok(_) => "read",
        }
    }

    #[test]
    fn one_event_is_read_as_in_a_list() {
        let event = r#"{"event_id":"a","customer_id":"é","metadata":{"n":1.50}}"#;
        let one = format!(r#" {{"other":[1],"event":{event}}} "#);
        let list = format!(r#"{{"events":[{event}]}}"#);
        let listed = decode(list.as_bytes(), 1).unwrap();
        assert_eq!(decode_one(one.as_bytes()).unwrap(), listed[0]);
    }

    #[test]
    fn what_is_no_event_is_refused() {
        assert_eq!(refused("{}"), "the body has no field `event`");
        assert_eq!(refused("[]"), "the body is not an object");
        assert_eq!(refused(r#"{"event":[]}"#), "an event is not an object");
        assert_eq!(refused(r#"{"event":{},"event":{}}"#), "duplicate key");
        assert_eq!(
            decode_one(b"{\"\xff").unwrap_err().to_string(),
            "malformed body at byte 2: not valid UTF-8"
        );
        assert_eq!(refused(r#"{"event":{}}"#), "read");
    }
}
