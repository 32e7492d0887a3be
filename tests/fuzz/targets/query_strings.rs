//! Query strings and what lists read out of them, against a naive decoding.
//!
//! Laws: a parameter has the value that percent-decoding by hand finds, an empty one is none and a
//! second one an error; whole numbers, booleans and instants are read exactly as written; a page is
//! never longer than 100 items, or 200 for a client that skips page 1. The input is the query.

use hyper::Uri;
use quipu::http::{Paging, Parameters};
use quipu::model::Timestamp;

/// Holds the laws for `data`.
///
/// # Panics
/// When one is broken.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(uri) = format!("/?{text}").parse::<Uri>() else { return };
    let pairs = naive_pairs(uri.query().unwrap_or_default());
    let parameters = Parameters::of(&uri).unwrap();
    for name in pairs.iter().map(|(name, _)| name.as_str()).chain(["page_size", "page_number"]) {
        let expected = only(&pairs, name);
        assert_eq!(parameters.text(name).map_err(|_| Refused), expected, "{name}");
        let Ok(text) = expected else {
            assert!(parameters.boolean(name).is_err() && parameters.timestamp(name).is_err());
            continue;
        };
        assert_eq!(parameters.whole(name).map_err(|_| Refused), read(text, whole), "{name}");
        assert_eq!(parameters.boolean(name).map_err(|_| Refused), read(text, boolean), "{name}");
        assert_eq!(
            parameters.timestamp(name).map_err(|_| Refused),
            read(text, |text| Timestamp::parse(text).ok())
        );
    }
    for skips in [false, true] {
        let expected = naive_page(&pairs, skips).map(|(offset, limit)| Paging { offset, limit });
        assert_eq!(Paging::read(&parameters, skips).ok(), expected);
    }
}

/// Names and values, as the form encoding of the web says.
fn naive_pairs(query: &str) -> Vec<(String, String)> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (decoded(name), decoded(value))
    };
    parts.map(pair).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let hex = |at: usize| behind.get(at).and_then(|b| char::from(*b).to_digit(16));
        rest = behind;
        bytes.push(match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                rest = &behind[2..];
                u8::try_from(high * 16 + low).unwrap()
            }
            (b'+', ..) => b' ',
            (byte, ..) => *byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A parameter is given twice, or its value is of another type.
#[derive(Debug, PartialEq, Eq)]
struct Refused;

/// The value of a parameter, if it has one.
fn only<'p>(pairs: &'p [(String, String)], name: &str) -> Result<Option<&'p str>, Refused> {
    let mut values = pairs.iter().filter(|(given, value)| given == name && !value.is_empty());
    let value = values.next().map(|(_, value)| value.as_str());
    if values.next().is_none() { Ok(value) } else { Err(Refused) }
}

/// What is read out of a value, if there is one.
fn read<T>(
    text: Option<&str>,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Refused> {
    text.map(|text| parse(text).ok_or(Refused)).transpose()
}

fn whole(text: &str) -> Option<usize> {
    let mut value = 0_usize;
    for digit in text.chars() {
        let digit = usize::try_from(digit.to_digit(10)?).unwrap();
        value = value.checked_mul(10)?.checked_add(digit)?;
    }
    Some(value)
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// Offset and limit.
fn naive_page(pairs: &[(String, String)], skips: bool) -> Option<(usize, usize)> {
    let number = |name| read(only(pairs, name)?, whole);
    let size = number("page_size").ok()?.unwrap_or(10);
    let page = number("page_number").ok()?;
    match page {
        _ if size == 0 || size > 100 => None,
        None if skips => Some((0, size * 2)),
        None => Some((0, size)),
        Some(page) => Some((page.saturating_mul(size), size)),
    }
}
