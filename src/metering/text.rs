//! Which characters a text may have, how many, and how to show one that may have any.
//!
//! A control character or an invisible change of writing direction in an id would let two ids look
//! alike on a page, and would break lines of logs.

/// Characters of a foreign text that are shown before it is cut.
const SHOWN_CHARS_MAX: usize = 64;

/// Whether `text` has at least one and at most `max` characters.
pub(super) fn has_length(text: &str, max: usize) -> bool {
    !text.is_empty() && is_within(text, max)
}

/// Whether `text` has at most `max` characters.
pub(super) fn is_within(text: &str, max: usize) -> bool {
    // A character has one to four bytes, so most texts need no counting.
    text.len() <= max || (text.len() / 4 <= max && text.chars().count() <= max)
}

/// Whether `text` has a control character: C0, DEL or C1.
pub(super) fn has_control(text: &str) -> bool {
    !is_printable_ascii(text) && text.chars().any(char::is_control)
}

/// Whether `text` has an invisible character that changes the direction of writing.
pub(super) fn has_direction_mark(text: &str) -> bool {
    !text.is_ascii() && text.chars().any(is_direction_mark)
}

/// `text` with its control characters and direction marks escaped, cut after 64 characters.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for (index, character) in text.chars().enumerate() {
        if index == SHOWN_CHARS_MAX {
            shown.push('…');
            break;
        }
        if character.is_control() || is_direction_mark(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Whether `text` has printable ASCII alone, as nearly every text has that is no prose; eight bytes at a time.
pub(super) fn is_printable_ascii(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (chunks, rest) = bytes.as_chunks();
    let bad = chunks.iter().fold(0, |bad, chunk| bad | unprintable(*chunk));
    let last = bytes.last_chunk().copied().unwrap_or_else(|| {
        let mut padded = [b' '; 8];
        padded.iter_mut().zip(rest).for_each(|(place, byte)| *place = *byte);
        padded
    });
    // The last eight overlap the chunk before.
    bad | unprintable(last) == 0
}

/// Zero when all of these are printable ASCII.
fn unprintable(bytes: [u8; 8]) -> u64 {
    const LOW_BITS: u64 = 0x0101_0101_0101_0101;
    const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
    let bytes = u64::from_le_bytes(bytes);
    // The lowest byte below 0x20 borrows; where none is above 0x7f, 0x7f alone becomes 0x80.
    (bytes | bytes.wrapping_sub(LOW_BITS * 0x20) | bytes.wrapping_add(LOW_BITS)) & HIGH_BITS
}

fn is_direction_mark(character: char) -> bool {
    matches!(
        character,
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_shown_text_is_short_and_has_nothing_invisible() {
        assert_eq!(shown("model"), "model");
        assert_eq!(shown("a\n\u{202e}é"), "a\\u{a}\\u{202e}é");
        assert_eq!(shown(&"é".repeat(1_000_000)), format!("{}…", "é".repeat(64)));
        assert_eq!(shown(&"x".repeat(64)), "x".repeat(64));
    }

    proptest! {
        #[test]
        fn shortcuts_agree_with_counting_characters(text in any::<String>(), max in 0_usize..40) {
            let count = text.chars().count();
            prop_assert_eq!(is_within(&text, max), count <= max);
            prop_assert_eq!(has_length(&text, max), (1..=max).contains(&count));
            prop_assert_eq!(has_control(&text), text.chars().any(char::is_control));
            prop_assert_eq!(has_direction_mark(&text), text.chars().any(is_direction_mark));
        }

        #[test]
        fn printable_is_what_is_printable_byte_by_byte(
            bytes in prop::collection::vec(prop_oneof![6 => 0x20_u8..0x7f, 1 => 0_u8..0x80], 0..30),
            other in prop::option::of(any::<char>()),
        ) {
            let mut text = String::from_utf8(bytes).unwrap();
            text.extend(other);
            let expected = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
            prop_assert_eq!(is_printable_ascii(&text), expected);
        }
    }
}
