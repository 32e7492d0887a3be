//! JSON strings: how far they are plain text, and what their escapes mean.
//!
//! Nearly every string is plain, so its end is searched eight bytes at a time and its text is
//! borrowed. Only a string with a backslash is copied.

use crate::http::decode::{DecodeError, malformed};

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// How many bytes stand before the first quote, backslash or control character.
#[inline]
pub(super) fn plain_length(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    let mut length = 0;
    while let Some((chunk, behind)) = rest.split_first_chunk::<8>() {
        let specials = special_bytes(u64::from_le_bytes(*chunk));
        if specials != 0 {
            return length + (specials.trailing_zeros() / 8) as usize;
        }
        length += 8;
        rest = behind;
    }
    length + rest.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..0x20)).count()
}

/// Sets the high bit of the first byte (the lowest, little-endian) that is a quote, a backslash or
/// below 0x20. A borrow may mark bytes above a marked one as well; the lowest mark is always right.
#[inline]
fn special_bytes(chunk: u64) -> u64 {
    let quote = chunk ^ (LOW_BITS * 0x22);
    let backslash = chunk ^ (LOW_BITS * 0x5c);
    let below = |bytes: u64, bound: u64| bytes.wrapping_sub(LOW_BITS * bound) & !bytes;
    (below(quote, 1) | below(backslash, 1) | below(chunk, 0x20)) & HIGH_BITS
}

/// The text of the string whose content begins at `start`, with its escapes replaced, and the
/// offset behind its closing quote.
#[cold]
pub(super) fn unescape(text: &str, start: usize) -> Result<(String, usize), DecodeError> {
    let bytes = text.as_bytes();
    let mut unescaped = String::new();
    let mut at = start;
    loop {
        let end = at + plain_length(bytes.get(at..).unwrap_or_default());
        unescaped.push_str(text.get(at..end).expect("special bytes stand between characters"));
        match bytes.get(end) {
            Some(b'"') => return Ok((unescaped, end + 1)),
            Some(b'\\') => {
                let (character, behind) = escape(bytes, end)?;
                unescaped.push(character);
                at = behind;
            }
            Some(_) => return Err(malformed(end, "control character in a string")),
            None => return Err(malformed(end, "the body ends too early")),
        }
    }
}

/// The character that the escape at `backslash` stands for, and the offset behind it.
fn escape(bytes: &[u8], backslash: usize) -> Result<(char, usize), DecodeError> {
    let character = match bytes.get(backslash + 1) {
        Some(byte @ (b'"' | b'\\' | b'/')) => char::from(*byte),
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return unicode_escape(bytes, backslash),
        Some(_) | None => return Err(malformed(backslash, "no such escape in a string")),
    };
    Ok((character, backslash + 2))
}

fn unicode_escape(bytes: &[u8], backslash: usize) -> Result<(char, usize), DecodeError> {
    let no_escape = malformed(backslash, "`\\u` without four hexadecimal digits");
    let lone_surrogate = malformed(backslash, "half of a surrogate pair in a string");
    let first = code_unit(bytes, backslash).ok_or(no_escape)?;
    if let Some(character) = char::from_u32(first.into()) {
        return Ok((character, backslash + 6));
    }
    let second = code_unit(bytes, backslash + 6).ok_or(lone_surrogate)?;
    match char::decode_utf16([first, second]).next() {
        Some(Ok(character)) => Ok((character, backslash + 12)),
        Some(Err(_)) | None => Err(lone_surrogate),
    }
}

/// The four digits of the `\uXXXX` at `backslash`.
fn code_unit(bytes: &[u8], backslash: usize) -> Option<u16> {
    let digits = bytes.get(backslash..backslash + 6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |unit: u16, digit| {
        let value = char::from(*digit).to_digit(16)?;
        Some(unit << 4 | u16::try_from(value).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_plain_part_ends_where_a_search_byte_by_byte_ends(
            bytes in prop::collection::vec(prop_oneof![3 => any::<u8>(), 1 => 0x1e_u8..0x24, 1 => 0x5b_u8..0x5e], 0..40),
        ) {
            let special = |byte: &u8| *byte == b'"' || *byte == b'\\' || *byte < 0x20;
            let expected = bytes.iter().position(special).unwrap_or(bytes.len());
            prop_assert_eq!(plain_length(&bytes), expected);
        }
    }

    #[test]
    fn every_byte_is_judged_rightly_in_every_place() {
        for byte in 0..=u8::MAX {
            let special = byte == b'"' || byte == b'\\' || byte < 0x20;
            for place in 0..17 {
                let mut bytes = [b'x'; 17];
                bytes[place] = byte;
                assert_eq!(plain_length(&bytes), if special { place } else { 17 }, "{byte}");
            }
        }
    }
}
