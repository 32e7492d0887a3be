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

/// Looks at every byte instead of stopping early, which lets the compiler test many at once.
fn is_printable_ascii(text: &str) -> bool {
    text.bytes().fold(true, |printable, byte| printable & (0x20..0x7f).contains(&byte))
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
    }
}
