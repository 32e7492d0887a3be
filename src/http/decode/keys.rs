//! The keys of the object before: objects of one list mostly have the same keys in the same order.
//!
//! A key that stands where it stood before is compared with that, and neither searched for its end nor told from
//! all others.

/// Keys that are kept of an object, so that a large one does not fill the memory.
const KEPT_MAX: usize = 64;
/// Tokens up to this length are compared by their first and last eight bytes.
const SHORT_MAX: usize = 16;

/// The keys of an object, each with what it stands for; see the module.
pub(super) struct Keys<'a, T> {
    /// At each place the key with its quotes and the colon right behind them.
    kept: Vec<(&'a [u8], T)>,
    /// Which key of the object comes next.
    place: usize,
}

impl<T> Default for Keys<'_, T> {
    fn default() -> Self {
        Self { kept: Vec::new(), place: 0 }
    }
}

impl<'a, T: Copy> Keys<'a, T> {
    /// The next object begins.
    pub(super) fn restart(&mut self) -> &mut Self {
        self.place = 0;
        self
    }

    /// How long the next key is in `text`, which begins with it, and what it stands for, when it is the one that
    /// stood there before; it is stepped over then.
    #[inline]
    pub(super) fn again(&mut self, text: &[u8]) -> Option<(usize, T)> {
        let (token, means) = *self.kept.get(self.place)?;
        begins_with(text, token).then(|| {
            self.place += 1;
            (token.len(), means)
        })
    }

    /// Steps over another key than before, and keeps it when it can be kept and every key before it is.
    pub(super) fn step_over(&mut self, key: Option<(&'a [u8], T)>) {
        if let Some(key) = key {
            if let Some(kept) = self.kept.get_mut(self.place) {
                *kept = key;
            } else if self.kept.len() == self.place && self.place < KEPT_MAX {
                self.kept.push(key);
            }
        }
        self.place += 1;
    }
}

#[inline]
fn begins_with(text: &[u8], token: &[u8]) -> bool {
    let Some(text) = text.get(..token.len()) else { return false };
    match (text.first_chunk::<8>(), text.last_chunk::<8>()) {
        (Some(first), Some(last)) if token.len() <= SHORT_MAX => {
            token.first_chunk() == Some(first) && token.last_chunk() == Some(last)
        }
        _ => text == token,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_beginning_is_what_a_comparison_byte_by_byte_says(
            token in prop::collection::vec(0_u8..3, 0..24),
            behind in prop::collection::vec(0_u8..3, 0..9),
            change in prop::option::of((any::<prop::sample::Index>(), 0_u8..3)),
            cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
        ) {
            let mut text = [&token[..], &behind].concat();
            if let (Some((at, byte)), false) = (change, text.is_empty()) {
                let at = at.index(text.len());
                text[at] = byte;
            }
            text.truncate(cut.map_or(text.len(), |cut| cut.index(text.len() + 1)));
            prop_assert_eq!(begins_with(&text, &token), text.starts_with(&token));
        }
    }
}
