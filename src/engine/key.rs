//! The text of an API key: `quipu_<id>_<secret>`.
//!
//! The id is public and names the key in lists and logs; the secret is shown once. Only a keyed
//! digest of the whole text is kept. Nothing here knows which keys exist or what they may do.

use subtle::ConstantTimeEq;

use crate::model::{KeyDigest, KeyId};
use crate::world::Entropy;
use crate::world::entropy;

const PREFIX: &str = "quipu_";
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^12 ids hold 71 bits: no two of a million keys collide.
const ID_CHARS: usize = 12;
/// Ids drawn elsewhere, for example by an operator, may be shorter, but not guessably short.
const ID_CHARS_MIN: usize = 8;
/// 62^43 secrets hold 256 bits.
const SECRET_CHARS: usize = 43;

/// Draws a new key: its public id and its whole text, which must be shown once and not kept.
pub fn draw(entropy: &dyn Entropy) -> (KeyId, String) {
    let id = letters(entropy, ID_CHARS);
    let text = format!("{PREFIX}{id}_{}", letters(entropy, SECRET_CHARS));
    (KeyId::new(id), text)
}

/// The public id in a key's text; none when the text has not the form of a key.
pub fn key_id(text: &str) -> Option<&str> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let is_key = id.len() >= ID_CHARS_MIN
        && secret.len() == SECRET_CHARS
        && [id, secret].iter().all(|part| part.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    is_key.then_some(id)
}

/// The digest of a key's whole text under the data directory's `pepper`: without the pepper, a
/// stolen digest cannot even be used to check guesses.
pub fn digest(pepper: &[u8; 32], text: &str) -> KeyDigest {
    KeyDigest(*blake3::keyed_hash(pepper, text.as_bytes()).as_bytes())
}

/// Whether two digests are equal, in a time that does not depend on where they differ.
pub fn matches(left: &KeyDigest, right: &KeyDigest) -> bool {
    left.0.ct_eq(&right.0).into()
}

fn letters(entropy: &dyn Entropy, count: usize) -> String {
    // The largest multiple of 62 in a byte: bytes beyond it would favour the first letters.
    const FAIR: u8 = 248;
    let mut drawn = String::with_capacity(count);
    while drawn.len() < count {
        let bytes: [u8; 64] = entropy::draw(entropy);
        let fair = bytes.iter().filter(|byte| **byte < FAIR);
        let chars = fair.filter_map(|byte| ALPHABET.get(usize::from(*byte) % ALPHABET.len()));
        drawn.extend(chars.take(count - drawn.len()).map(|byte| char::from(*byte)));
    }
    drawn
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::world::sim::SimEntropy;

    #[test]
    fn a_drawn_key_names_its_id_and_no_two_are_alike() {
        let entropy = SimEntropy::new(1);
        let mut texts = BTreeSet::new();
        for _ in 0..100 {
            let (id, text) = draw(&entropy);
            assert_eq!(key_id(&text), Some(id.as_str()));
            assert_eq!(text.len(), PREFIX.len() + ID_CHARS + 1 + SECRET_CHARS);
            assert!(texts.insert(text));
        }
    }

    #[test]
    fn all_letters_are_drawn_about_equally_often() {
        let text = letters(&SimEntropy::new(2), 62 * 1_000);
        for letter in ALPHABET {
            let count = text.bytes().filter(|byte| byte == letter).count();
            assert!((800..1_200).contains(&count), "{} {count}", char::from(*letter));
        }
    }

    #[test]
    fn texts_of_another_form_name_no_key() {
        let secret = "s".repeat(SECRET_CHARS);
        assert_eq!(key_id(&format!("quipu_abcdefgh_{secret}")), Some("abcdefgh"));
        for text in [
            String::new(),
            "quipu_".to_owned(),
            format!("quipu_short_{secret}"),
            format!("quipu_abcdefgh_{secret}x"),
            format!("quipu_abcdefgh-{secret}"),
            format!("quipu_abcdefg!_{secret}"),
            format!("quipu_abcdefgh_{}", "\u{e9}".repeat(21) + "s"),
            format!("other_abcdefgh_{secret}"),
            format!("quipu_abcdefgh_{} ", "s".repeat(SECRET_CHARS - 1)),
        ] {
            assert_eq!(key_id(&text), None, "{text}");
        }
    }

    #[test]
    fn a_digest_matches_its_text_under_its_pepper_alone() {
        let pepper = [7; 32];
        let kept = digest(&pepper, "quipu_id_secret");
        assert!(matches(&kept, &digest(&pepper, "quipu_id_secret")));
        assert!(!matches(&kept, &digest(&pepper, "quipu_id_secreT")));
        assert!(!matches(&kept, &digest(&[8; 32], "quipu_id_secret")));
    }
}
