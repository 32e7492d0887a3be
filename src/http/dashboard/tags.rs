//! Small things that templates print: instants, amounts, addresses.

use std::borrow::Borrow;
use std::fmt::{self, Write};

use askama::filters::HtmlSafe;

use crate::model::Timestamp;

/// An instant, as templates have it: by reference.
pub(super) fn moment(at: impl Borrow<Timestamp>) -> Moment {
    Moment(*at.borrow())
}

/// An instant in UTC; the script adds the viewer's own zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(pub(super) Timestamp);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (exact, second) = (self.0.to_string(), to_the_second(self.0));
        write!(f, "<time datetime=\"{exact}\">{second} <abbr>UTC</abbr></time>")
    }
}

// Digits, letters and signs of a date alone.
impl HtmlSafe for Moment {}

/// An instant within a sentence, to the second: `2026-11-22 10:00:00 UTC`.
pub(super) fn in_words(at: Timestamp) -> String {
    format!("{} UTC", to_the_second(at))
}

fn to_the_second(at: Timestamp) -> String {
    let exact = at.to_string();
    exact.get(..19).unwrap_or(&exact).replace('T', " ")
}

/// `text` as one value of an address's query, or one part of its path. Ids that clients choose go into the
/// query: browsers take a part that is two dots away, also when they are encoded.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// An address with one more parameter.
pub(super) fn with(address: &str, name: &str, value: &str) -> String {
    let sign = if address.contains('?') { '&' } else { '?' };
    format!("{address}{sign}{name}={}", encoded(value))
}

/// A whole number with its thousands apart, as people read it: `1 234 567.25`.
pub(super) fn grouped(number: &str) -> String {
    let (sign, digits) = number.strip_prefix('-').map_or(("", number), |rest| ("-", rest));
    let (whole, fraction) = digits.split_once('.').map_or((digits, ""), |parts| parts);
    let mut out = String::from(sign);
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            // A thin space that does not break.
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_shown_to_the_second_and_kept_exactly() {
        let at = Timestamp::parse("2026-11-22T10:00:00.123Z").unwrap();
        assert_eq!(
            Moment(at).to_string(),
            "<time datetime=\"2026-11-22T10:00:00.123Z\">2026-11-22 10:00:00 <abbr>UTC</abbr></time>"
        );
    }

    #[test]
    fn what_is_encoded_is_one_part_of_an_address() {
        for (text, expected) in [
            ("mtr_1", "mtr_1"),
            ("a/b c", "a%2Fb%20c"),
            ("é?#&=%", "%C3%A9%3F%23%26%3D%25"),
            ("\"><script>", "%22%3E%3Cscript%3E"),
        ] {
            assert_eq!(encoded(text), expected);
        }
    }

    #[test]
    fn parameters_follow_each_other() {
        let one = with("/a", "x", "1&2");
        assert_eq!(
            (one.as_str(), with(&one, "y", "3")),
            ("/a?x=1%262", "/a?x=1%262&y=3".to_owned())
        );
    }

    #[test]
    fn thousands_stand_apart() {
        for (number, expected) in [
            ("0", "0"),
            ("999", "999"),
            ("1000", "1\u{202f}000"),
            ("-1234567.25", "-1\u{202f}234\u{202f}567.25"),
            ("123456", "123\u{202f}456"),
        ] {
            assert_eq!(grouped(number), expected);
        }
    }
}
