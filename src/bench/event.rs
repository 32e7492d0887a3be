//! The events that the generator sends: each is a pure function of its number and of the plan, so
//! that an event that is sent again is the same event, and anyone can say what a meter must count.
//!
//! All events have the same length. A body is built once and its digits are overwritten in place.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::Timestamp;

/// The name of every event.
pub(crate) const NAME: &str = "llm.completion";
/// The model that the filtered meter counts: every fourth event's.
pub(crate) const COUNTED_MODEL: &str = "model-0";
/// Customers whose usage the generator adds up itself, to compare it with the daemon's.
pub(crate) const WATCHED_CUSTOMERS: u64 = 16;

/// Digits at the end of a customer's id.
pub(crate) const CUSTOMER_DIGITS: usize = 8;

const MODELS: u64 = 4;
const TOKENS_MIN: u64 = 1_000;
const TOKENS_COUNT: u64 = 9_000;
/// Events whose timestamps share a millisecond. No daemon takes so many in, so that none is stamped
/// ahead of the clock: such events are kept apart until their time comes.
pub(crate) const EVENTS_PER_STAMP: u64 = 10_000;
const STAMP_BYTES: usize = "2026-01-31T00:00:00.000Z".len();
/// An event; runs of one of the letters `I`, `C`, `S`, `M` and `T` are what differs.
const TEMPLATE: &str = concat!(
    r#"{"event_id":"bench-IIIIIIIIIIIIIIII","customer_id":"cus_CCCCCCCC","#,
    r#""event_name":"llm.completion","timestamp":"SSSSSSSSSSSSSSSSSSSSSSSS","metadata":{"#,
    r#""model":"model-M","tokens":TTTT,"cached":false,"region":"eu-west-1","#,
    r#""latency_ms":381.25}}"#,
);
const OPENING: &str = r#"{"events":["#;
const CLOSING: &str = "]}";
const DIGIT_PAIRS: [[u8; 2]; 100] = digit_pairs();

/// From what the events of a plan are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// When the event with number 0 happened, in nanoseconds since 1970.
    pub(crate) start_nanos: i64,
    /// Customers that events are spread over.
    pub(crate) customer_count: u32,
    /// Whether the customers have their events in turn, instead of mixed.
    pub(crate) in_turn: bool,
}

/// What differs from event to event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// The customer's number.
    pub(crate) customer: u64,
    /// The model's number.
    pub(crate) model: u64,
    /// The tokens used.
    pub(crate) tokens: u64,
}

/// What the two meters must count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// Events.
    pub(crate) count: u64,
    /// Tokens of those events whose model is [`COUNTED_MODEL`].
    pub(crate) tokens: u64,
}

/// Where the events of a request stand in its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// Bytes before the body.
    body_at: usize,
    fields: Fields,
}

/// Where an event's differing parts start.
#[derive(Clone, Copy, Debug)]
struct Fields {
    id: usize,
    customer: usize,
    stamp: usize,
    model: usize,
    tokens: usize,
}

/// Timestamps as texts. Neighbours share one.
#[derive(Debug)]
pub(crate) struct Stamps {
    start: Timestamp,
    last: Option<(u64, [u8; STAMP_BYTES])>,
}

impl Content {
    /// The content of the event with this number.
    pub(crate) fn of(number: u64, origin: Origin) -> Self {
        let mixed = mix(number);
        let customer = if origin.in_turn {
            number % u64::from(origin.customer_count.max(1))
        } else {
            // The upper half spread over the customers without a division.
            ((mixed >> 32) * u64::from(origin.customer_count)) >> 32
        };
        let tokens = TOKENS_MIN + mixed % TOKENS_COUNT;
        Self { customer, model: number % MODELS, tokens }
    }

    /// Adds this event to what must be counted for its customer.
    pub(crate) fn count_in(self, tally: &mut Tally) {
        tally.count += 1;
        if self.model == 0 {
            tally.tokens += self.tokens;
        }
    }
}

impl Tally {
    /// Adds what `other` holds.
    pub(crate) fn add(&mut self, other: Self) {
        self.count += other.count;
        self.tokens += other.tokens;
    }
}

/// The id of the customer with this number.
pub(crate) fn customer_id(customer: u64) -> String {
    format!("cus_{customer:08}")
}

impl Stamps {
    /// The timestamps of events of `origin`.
    pub(crate) fn new(origin: Origin) -> Self {
        Self { start: Timestamp::from_nanos(origin.start_nanos), last: None }
    }

    fn text(&mut self, number: u64) -> [u8; STAMP_BYTES] {
        let millis = number / EVENTS_PER_STAMP;
        if let Some((known, text)) = self.last
            && known == millis
        {
            return text;
        }
        let stamp = self.start.plus(Duration::from_millis(millis));
        let text = format!("{stamp:.3}").into_bytes();
        let text = text.try_into().expect("years from 1678 to 2261 have four digits");
        self.last = Some((millis, text));
        text
    }
}

/// The JSON of a request of `event_count` events; their fields are to be set.
pub(crate) fn body(event_count: usize) -> String {
    format!("{OPENING}{}{CLOSING}", vec![TEMPLATE; event_count].join(","))
}

impl Layout {
    /// The layout of a request whose [`body`] starts at byte `body_at`.
    pub(crate) fn new(body_at: usize) -> Self {
        let place = |letters| TEMPLATE.find(letters).expect("the template has every field");
        let fields = Fields {
            id: place("IIII"),
            customer: place("CCCC"),
            stamp: place("SSSS"),
            model: place("M\""),
            tokens: place("TTTT"),
        };
        Self { body_at, fields }
    }

    /// Makes the event at `place` of `request` the one with this number.
    pub(crate) fn set(
        &self,
        request: &mut [u8],
        place: usize,
        (number, content): (u64, Content),
        stamps: &mut Stamps,
    ) {
        let start = self.body_at + OPENING.len() + place * (TEMPLATE.len() + 1);
        let event = request.get_mut(start..start + TEMPLATE.len());
        let event = event.expect("the place lies within the body");
        let mut write = |at: usize, bytes: usize, value| {
            digits(event.get_mut(at..at + bytes).expect("a field lies in its event"), value);
        };
        write(self.fields.id, 16, number);
        write(self.fields.customer, CUSTOMER_DIGITS, content.customer);
        write(self.fields.model, 1, content.model);
        write(self.fields.tokens, 4, content.tokens);
        let at = self.fields.stamp;
        let stamp = event.get_mut(at..at + STAMP_BYTES).expect("a field lies in its event");
        stamp.copy_from_slice(&stamps.text(number));
    }
}

/// Fills `field` with `value` in decimal, with leading zeros; higher digits are lost.
pub(crate) fn digits(field: &mut [u8], mut value: u64) {
    let mut pairs = field.rchunks_exact_mut(2);
    for pair in &mut pairs {
        let low = usize::try_from(value % 100).expect("below 100");
        pair.copy_from_slice(DIGIT_PAIRS.get(low).expect("there are 100 pairs"));
        value /= 100;
    }
    for digit in pairs.into_remainder() {
        *digit = b'0' + u8::try_from(value % 10).expect("below 10");
    }
}

#[expect(clippy::indexing_slicing, reason = "evaluated at build time")]
const fn digit_pairs() -> [[u8; 2]; 100] {
    const DIGITS: &[u8; 10] = b"0123456789";
    let mut pairs = [[0; 2]; 100];
    let mut value = 0;
    while value < 100 {
        pairs[value] = [DIGITS[value / 10], DIGITS[value % 10]];
        value += 1;
    }
    pairs
}

/// `SplitMix64`'s finalizer: a fixed shuffle of all numbers.
pub(crate) fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::http::decode::decode;
    use crate::metering::Rules;
    use crate::metering::validate::validate;
    use crate::model::Scalar;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn origin() -> Origin {
        let start = Timestamp::parse("2026-11-22T23:59:59.998Z").unwrap();
        Origin { start_nanos: start.as_nanos(), customer_count: 100_000, in_turn: false }
    }

    #[test]
    fn every_patched_body_decodes_to_the_events_of_its_numbers() {
        let origin = origin();
        let start = Timestamp::from_nanos(origin.start_nanos);
        let mut stamps = Stamps::new(origin);
        let mut request = format!("head{}", body(3)).into_bytes();
        let layout = Layout::new(4);
        for numbers in [[0, 1, 2], [9_999, 10_000, 20_001], [9_999_999_999_999, 7, 123_456]] {
            for (place, number) in numbers.into_iter().enumerate() {
                let event = (number, Content::of(number, origin));
                layout.set(&mut request, place, event, &mut stamps);
            }
            let events = decode(&request[4..], 1_000).unwrap();
            assert_eq!(events.len(), 3);
            for (raw, number) in events.into_iter().zip(numbers) {
                let content = Content::of(number, origin);
                let rules = Rules { max_age: HOUR, max_ahead: Duration::MAX };
                let (event, _) = validate(raw, start, &rules).unwrap();
                assert_eq!(event.id, format!("bench-{number:016}"));
                assert_eq!(event.customer_id, customer_id(content.customer));
                assert_eq!(event.name, NAME);
                assert_eq!(event.timestamp, start.plus(Duration::from_millis(number / 10_000)));
                let model = Scalar::String(format!("model-{}", number % 4).into());
                assert_eq!(event.get("model"), Some(&model));
                let Some(Scalar::Number(tokens)) = event.get("tokens") else { panic!("{event:?}") };
                assert_eq!(tokens.as_str(), content.tokens.to_string());
            }
        }
    }

    #[test]
    fn an_event_is_as_long_as_a_real_one() {
        assert!((210..260).contains(&TEMPLATE.len()), "{}", TEMPLATE.len());
        assert!(TEMPLATE.contains(NAME));
        assert_eq!(COUNTED_MODEL, format!("model-{}", Content::of(4, origin()).model));
    }

    #[test]
    fn customers_are_all_used_and_none_beyond() {
        let origin = Origin { customer_count: 50, ..origin() };
        let used: BTreeSet<_> = (0..2_000).map(|id| Content::of(id, origin).customer).collect();
        assert_eq!(used, (0..50).collect());
        let in_turn = Origin { in_turn: true, ..origin };
        let found = (97..153).map(|id| Content::of(id, in_turn).customer);
        assert!(found.eq((47..50).chain(0..50).chain(0..3)));
    }

    #[test]
    fn digits_fill_their_field() {
        for (value, expected) in [(0, "000"), (7, "007"), (987, "987"), (12_345, "345")] {
            let mut field = *b"xxx";
            digits(&mut field, value);
            assert_eq!(field, expected.as_bytes());
        }
    }
}
