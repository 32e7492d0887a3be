//! Identifiers, one type each, so that no two kinds can be mixed up.
//!
//! Text ids travel on the wire and in the log. Indexes are the small numbers that stand for them in
//! memory and in accumulator keys; they are given in log order and never reused. What a record makes many
//! of at once is called by its LSN and a number, so that nothing random is needed.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::lsn::Lsn;

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id with this text; the caller has checked its length and characters.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The id's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", stringify!($name), &*self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text_id!(
    /// An event's id, chosen by the client; the key of deduplication.
    EventId
);
text_id!(
    /// A customer's id.
    CustomerId
);
text_id!(
    /// A checkout session's id, `cks_…`.
    CheckoutId
);
text_id!(
    /// A meter's id, `mtr_…`.
    MeterId
);
text_id!(
    /// A product's id, `pdt_…`.
    ProductId
);
text_id!(
    /// A subscription's id, `sub_…`.
    SubscriptionId
);
text_id!(
    /// A payment's id, `pay_…`.
    PaymentId
);
text_id!(
    /// An invoice's id, `inv_…`.
    InvoiceId
);
text_id!(
    /// The id of a change of plan that will take effect, `pch_…`.
    PlanChangeId
);
text_id!(
    /// A credit entitlement's id, `cde_…`.
    EntitlementId
);
text_id!(
    /// A reservation's id, `crs_…`.
    ReservationId
);
text_id!(
    /// An alert's id, `alr_…`.
    AlertId
);
text_id!(
    /// A webhook endpoint's id, `whk_…`.
    EndpointId
);
text_id!(
    /// The public part of an API key.
    KeyId
);
text_id!(
    /// The business that every object names, `bus_…`; a setting.
    BusinessId
);
text_id!(
    /// The brand that some objects name, `brnd_…`; a setting.
    BrandId
);

macro_rules! index {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize,
            Deserialize,
        )]
        pub struct $name(pub u32);

        impl $name {
            /// The position in a list that holds one entry an index.
            pub fn position(self) -> usize {
                self.0 as usize
            }
        }
    };
}

index!(
    /// An alert's number.
    AlertIndex
);
index!(
    /// A customer's number: the n-th customer of the log.
    CustomerIndex
);
index!(
    /// A meter's number: the n-th meter of the log.
    MeterIndex
);

index!(
    /// A product's number: the n-th product of the log.
    ProductIndex
);
index!(
    /// A subscription's number: the n-th subscription of the log.
    SubscriptionIndex
);
index!(
    /// A credit entitlement's number: the n-th entitlement of the log.
    EntitlementIndex
);
index!(
    /// A payment's number: the n-th payment of the log.
    PaymentIndex
);
index!(
    /// A webhook endpoint's number: the n-th endpoint of the log.
    EndpointIndex
);

macro_rules! logged_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub struct $name {
            /// The record that made it.
            pub lsn: Lsn,
            /// Its number among what that record made.
            pub number: u32,
        }

        impl $name {
            /// No id is lower.
            pub const FIRST: Self = Self { lsn: Lsn(0), number: 0 };
            /// No id is higher.
            pub const LAST: Self = Self { lsn: Lsn(u64::MAX), number: u32::MAX };

            /// The id with this text.
            pub fn parse(text: &str) -> Option<Self> {
                let digits = text.strip_prefix(concat!($prefix, "_"))?.as_bytes();
                let (lsn, number) = digits.split_at_checked(LSN_DIGITS as usize)?;
                let number = u32::try_from(read_digits(number, NUMBER_DIGITS)?).ok()?;
                Some(Self { lsn: Lsn(read_digits(lsn, LSN_DIGITS)?), number })
            }
        }

        impl fmt::Display for $name {
            /// The prefix, the LSN and the number, of fixed width: texts sort as ids do.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!($prefix, "_"))?;
                write_digits(f, self.lsn.0, LSN_DIGITS)?;
                write_digits(f, self.number.into(), NUMBER_DIGITS)
            }
        }
    };
}

logged_id!(
    /// A grant's id, `cgr_…`.
    GrantId,
    "cgr"
);
logged_id!(
    /// A ledger entry's id, `cle_…`.
    LedgerEntryId,
    "cle"
);

logged_id!(
    /// A webhook message's id, `msg_…`.
    MessageId,
    "msg"
);

impl MessageId {
    /// The highest id that is lower; of the lowest itself.
    #[must_use]
    pub fn previous(self) -> Self {
        match self.number.checked_sub(1) {
            Some(number) => Self { number, ..self },
            None if self.lsn == Lsn(0) => self,
            None => Self { lsn: self.lsn.previous(), number: u32::MAX },
        }
    }
}

/// Digits of base 62 that hold every LSN, and every number of 32 bits.
const LSN_DIGITS: u32 = 11;
const NUMBER_DIGITS: u32 = 6;
const _: () = assert!(62_u128.pow(LSN_DIGITS) > u64::MAX as u128);
const _: () = assert!(62_u64.pow(NUMBER_DIGITS) > u32::MAX as u64);

/// The digits of base 62, in the order of their bytes.
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

fn write_digits(f: &mut fmt::Formatter<'_>, value: u64, digits: u32) -> fmt::Result {
    for place in (0..digits).rev() {
        // Fits: the remainder is below 62, and 62^10 has 60 bits.
        let digit = value / 62_u64.pow(place) % 62;
        let byte = usize::try_from(digit).ok().and_then(|digit| ALPHABET.get(digit));
        f.write_char(byte.map_or('0', |byte| char::from(*byte)))?;
    }
    Ok(())
}

/// The number that so many digits stand for.
fn read_digits(text: &[u8], digits: u32) -> Option<u64> {
    if text.len() != digits as usize {
        return None;
    }
    text.iter().try_fold(0_u64, |value, byte| {
        let digit = ALPHABET.iter().position(|known| known == byte)?;
        value.checked_mul(62)?.checked_add(digit as u64)
    })
}

/// Characters of the random part of a generated id: 21 of 62 hold 125 bits.
pub const GENERATED_CHARS: usize = 21;

/// The letter or digit that each byte draws: a table, because a close draws 42 of them.
#[expect(clippy::indexing_slicing, reason = "a place that is not there fails the build")]
const DRAWN: [u8; 256] = {
    let mut drawn = [0; 256];
    let mut byte = 0;
    while byte < drawn.len() {
        drawn[byte] = ALPHABET[byte % ALPHABET.len()];
        byte += 1;
    }
    drawn
};

/// A generated id: `prefix`, an underscore and 21 letters or digits drawn from `random`.
///
/// # Panics
/// When the prefix has more than ten characters.
pub fn generated(prefix: &str, random: [u8; GENERATED_CHARS]) -> Arc<str> {
    let mut id = [b'_'; 10 + 1 + GENERATED_CHARS];
    let length = prefix.len() + 1 + GENERATED_CHARS;
    let id = id.get_mut(..length).expect("a prefix has a few characters");
    let (start, end) = id.split_at_mut(prefix.len());
    start.copy_from_slice(prefix.as_bytes());
    let drawn = random.map(|byte| DRAWN.get(usize::from(byte)).copied().unwrap_or(b'0'));
    let places = end.last_chunk_mut().expect("as long as this");
    *places = drawn;
    std::str::from_utf8(id).expect("letters and digits are UTF-8").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_ids_have_the_prefix_and_only_letters_and_digits() {
        let id = generated("mtr", std::array::from_fn(|i| u8::try_from(i * 12).unwrap()));
        assert_eq!(id.len(), 3 + 1 + GENERATED_CHARS);
        assert!(id.starts_with("mtr_"));
        assert!(id.chars().skip(4).all(|c| c.is_ascii_alphanumeric()));
    }

    #[test]
    fn texts_of_logged_ids_sort_as_the_ids_do() {
        let id = |lsn, number| GrantId { lsn: Lsn(lsn), number };
        let ids = [id(0, 0), id(0, 1), id(1, 0), id(61, 61), id(62, 0), id(u64::MAX, u32::MAX)];
        assert!(ids.is_sorted());
        let texts = ids.map(|id| id.to_string());
        assert_eq!(texts[0], "cgr_00000000000000000");
        assert_eq!(texts[3], "cgr_0000000000z00000z");
        assert_eq!(texts[5], "cgr_LygHa16AHYF4gfFC3");
        assert!(texts.is_sorted());
        for id in ids {
            let id = MessageId { lsn: id.lsn, number: id.number };
            assert_eq!(MessageId::parse(&id.to_string()), Some(id));
        }
        for text in ["", "msg_", "msg_0", "cgr_00000000000000000", "msg_0000000000000000é"] {
            assert_eq!(MessageId::parse(text), None, "{text}");
        }
        assert_eq!(MessageId::parse("msg_zzzzzzzzzzz000000"), None);
        let id = |lsn, number| MessageId { lsn: Lsn(lsn), number };
        assert_eq!(id(2, 1).previous(), id(2, 0));
        assert_eq!(id(2, 0).previous(), id(1, u32::MAX));
        assert_eq!(id(0, 0).previous(), id(0, 0));
    }
}
