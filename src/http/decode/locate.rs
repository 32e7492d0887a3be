//! Where in a body the event stands that a request was refused for. For the few that are refused: what is
//! admitted never comes here.

use std::ops::Range;

use crate::http::decode::scanner::{Key, Scanner};
use crate::http::decode::{DecodeError, EventKeys, event, malformed};
use crate::model::RawEvent;

/// Bytes that are shown behind the place at which a body is malformed.
const BEHIND_BYTES: usize = 256;

/// A part of a body, and the event in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Located<'a> {
    /// Where it stands, in bytes.
    pub(crate) range: Range<usize>,
    /// The event, when the part is one.
    pub(crate) event: Option<RawEvent<'a>>,
}

/// The event at the place `wanted` of `body`, from 0. When the body is malformed before that: the event in which
/// it goes wrong, up to a little behind that place. Of a body that is well formed, without a place, its
/// beginning.
pub(crate) fn locate(body: &[u8], wanted: Option<usize>) -> Option<Located<'_>> {
    let (text, broken_at) = match std::str::from_utf8(body) {
        Ok(text) => (text, None),
        Err(error) => {
            let end = error.valid_up_to();
            (std::str::from_utf8(body.get(..end)?).ok()?, Some(end))
        }
    };
    let mut begun = 0;
    match walk(text, wanted, &mut begun) {
        Ok(found) => found,
        Err(DecodeError::Malformed { offset, .. }) => {
            let offset = broken_at.unwrap_or(offset);
            let end = body.len().min(offset.saturating_add(BEHIND_BYTES));
            Some(Located { range: begun.min(end)..end, event: None })
        }
        Err(DecodeError::TooManyEvents) => None,
    }
}

/// Goes over a body as ingest does; `begun` is where the event begins that is under way, or that was the last.
fn walk<'a>(
    text: &'a str,
    wanted: Option<usize>,
    begun: &mut usize,
) -> Result<Option<Located<'a>>, DecodeError> {
    let mut scanner = Scanner::new(text);
    scanner.open(b'{', "the body is not an object")?;
    let mut key = scanner.first_key()?;
    while let Some(Key { name, .. }) = key {
        if name == "events" {
            scanner.open(b'[', "`events` is not an array")?;
            let mut more = scanner.first_element()?;
            let mut place = 0;
            while more {
                scanner.token();
                *begun = scanner.at();
                let event = event(&mut scanner, &mut EventKeys::default())?;
                if wanted == Some(place) {
                    return Ok(Some(Located { range: *begun..scanner.at(), event: Some(event) }));
                }
                place += 1;
                more = scanner.next_element()?;
            }
        } else {
            *begun = scanner.at();
            scanner.value()?;
        }
        key = scanner.next_key()?;
    }
    scanner.end()?;
    match wanted {
        // Well formed, and yet refused as a whole: its beginning.
        None => {
            *begun = 0;
            Err(malformed(0, ""))
        }
        Some(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::decode::decode;

    fn part(body: &[u8], wanted: Option<usize>) -> Option<&[u8]> {
        locate(body, wanted).map(|located| &body[located.range])
    }

    #[test]
    fn an_event_is_found_by_its_place() {
        let body = br#" {"x":[1,{"y":2}], "events" : [ {"event_id":"a"} ,{"event_id":"b","metadata":{"k":"}"}}] , "z":0}"#;
        let events = decode(body, 10).unwrap();
        for (place, expected) in
            [&br#"{"event_id":"a"}"#[..], br#"{"event_id":"b","metadata":{"k":"}"}}"#]
                .iter()
                .enumerate()
        {
            let located = locate(body, Some(place)).unwrap();
            assert_eq!(&&body[located.range], expected);
            assert_eq!(located.event.as_ref(), events.get(place));
        }
        assert_eq!(locate(body, Some(2)), None);
    }

    #[test]
    fn where_a_body_goes_wrong_the_event_is_shown_up_to_there() {
        let fill = " ".repeat(300);
        let shown = |body: &str| {
            let part = part(body.as_bytes(), None).unwrap();
            std::str::from_utf8(part).unwrap().trim_end().to_owned()
        };
        let broken = format!(r#"{{"events":[{{"event_id":"a"}},{{"event_id":b{fill}"#);
        assert_eq!(shown(&broken), r#"{"event_id":b"#);
        // The place is too far in, and is behind the fault.
        assert_eq!(part(broken.as_bytes(), Some(7)), part(broken.as_bytes(), None));
        assert_eq!(shown("[1, 2]"), "[1, 2]");
        assert_eq!(shown(""), "");
        assert_eq!(
            part(b"{\"events\":[{\"a\":\"\xff\"}]}", None),
            Some(&b"{\"a\":\"\xff\"}]}"[..])
        );
    }

    proptest::proptest! {
        #[test]
        fn no_body_is_too_odd(body: Vec<u8>, wanted: Option<u8>) {
            if let Some(located) = locate(&body, wanted.map(usize::from)) {
                proptest::prop_assert!(body.get(located.range).is_some());
            }
        }
    }
}
