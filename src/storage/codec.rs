//! Values to bytes and back: bincode's standard configuration, and the only file that names it.
//!
//! The bytes carry neither names nor types, so a layout is changed only together with the version
//! that stands in front of it, and the golden vectors below hold the primitive shapes still. Input
//! is never believed: trailing bytes are refused, and a length found inside the bytes is checked
//! against their number before anything is allocated for it.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::enc::write::Writer;
use bincode::error::{DecodeError, EncodeError};
use serde::{Deserialize, Serialize};

/// The longest encoded value: as long as a frame's payload may be.
pub const VALUE_BYTES_MAX: usize = 16 << 20;

/// Inputs up to this length are decoded under [`Small`], longer ones under [`Large`].
const SMALL_BYTES_MAX: usize = 64 << 10;

/// bincode counts an integer by its width in memory: one byte of input is charged at most the 16 of
/// a `u128`. A limit of 16 times the input thus never refuses a good value, and is the most that a
/// forged string length can make the decoder ask for.
const CHARGE_PER_BYTE_MAX: usize = size_of::<u128>();

/// The configuration of everything on disk: little-endian, integers of variable width.
type Standard = Configuration<LittleEndian, Varint>;
type Small = Configuration<LittleEndian, Varint, Limit<{ SMALL_BYTES_MAX * CHARGE_PER_BYTE_MAX }>>;
type Large = Configuration<LittleEndian, Varint, Limit<{ VALUE_BYTES_MAX * CHARGE_PER_BYTE_MAX }>>;

/// Why bytes are not the value that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are not an encoding of the type.
    #[error("decode a value of {bytes} bytes")]
    Malformed {
        /// Length of the input.
        bytes: usize,
        /// What did not fit.
        #[source]
        cause: DecodeError,
    },
    /// A value was found, and more bytes behind it.
    #[error("decode a value: {bytes} bytes are left over")]
    Trailing {
        /// How many bytes were left over.
        bytes: usize,
    },
    /// The input is longer than any value that was ever encoded.
    #[error("decode a value: {bytes} bytes are more than {VALUE_BYTES_MAX}")]
    TooLong {
        /// Length of the input.
        bytes: usize,
    },
}

/// Appends the encoding of `value`.
///
/// # Panics
/// When the encoding is longer than [`VALUE_BYTES_MAX`], for it could not be read back, or when the
/// type cannot be encoded at all (a sequence of unknown length).
pub fn encode<T: Serialize + ?Sized>(value: &T, into: &mut Vec<u8>) {
    let start = into.len();
    let standard: Standard = bincode::config::standard();
    bincode::serde::encode_into_writer(value, Append(into), standard)
        .expect("a vector takes every byte and our types know their lengths");
    assert!(into.len() - start <= VALUE_BYTES_MAX, "an encoded value is at most 16 MiB");
}

/// Appends what [`encode`] writes as the length of a `Vec` of `count` items: that many encoded items
/// appended after it are the encoding of the whole `Vec`.
pub fn encode_count(count: usize, into: &mut Vec<u8>) {
    encode_unsigned(count as u64, into);
}

/// Appends what [`encode`] writes of a `u16`, `u32` or `u64`, or of the variant of an enum. This and the next two
/// are for the events of a request, where the way over the library's traits shows.
#[inline]
pub fn encode_unsigned(value: u64, into: &mut Vec<u8>) {
    match u8::try_from(value) {
        Ok(byte) if byte < WIDE_FROM => into.push(byte),
        Ok(_) | Err(_) => encode_wide(value, into),
    }
}

fn encode_wide(value: u64, into: &mut Vec<u8>) {
    let [b0, b1, b2, b3, b4, b5, b6, b7] = value.to_le_bytes();
    if value <= u16::MAX.into() {
        into.extend_from_slice(&[WIDE_FROM, b0, b1]);
    } else if value <= u32::MAX.into() {
        into.extend_from_slice(&[WIDE_FROM + 1, b0, b1, b2, b3]);
    } else {
        into.extend_from_slice(&[WIDE_FROM + 2, b0, b1, b2, b3, b4, b5, b6, b7]);
    }
}

/// Appends what [`encode`] writes of an integer with a sign.
#[inline]
pub fn encode_signed(value: i64, into: &mut Vec<u8>) {
    encode_unsigned(((value << 1) ^ (value >> (i64::BITS - 1))).cast_unsigned(), into);
}

/// Appends what [`encode`] writes of a text.
#[inline]
pub fn encode_text(text: &str, into: &mut Vec<u8>) {
    encode_unsigned(text.len() as u64, into);
    into.extend_from_slice(text.as_bytes());
}

/// The value that `bytes` encode, borrowing from them where `T` can.
///
/// # Errors
/// [`Error`] when the bytes are not exactly one encoded `T`.
pub fn decode<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Error> {
    if bytes.len() > VALUE_BYTES_MAX {
        return Err(Error::TooLong { bytes: bytes.len() });
    }
    let (value, used) = decode_front(bytes)?;
    match bytes.len() - used {
        0 => Ok(value),
        left => Err(Error::Trailing { bytes: left }),
    }
}

/// The value at the front of `bytes` and how many bytes it took; what follows is not looked at.
///
/// # Errors
/// [`Error::Malformed`] when no encoded `T` stands there.
pub fn decode_front<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<(T, usize), Error> {
    let front = bytes.get(..VALUE_BYTES_MAX).unwrap_or(bytes);
    let decoded = if front.len() <= SMALL_BYTES_MAX {
        bincode::serde::borrow_decode_from_slice(front, Small::default())
    } else {
        bincode::serde::borrow_decode_from_slice(front, Large::default())
    };
    decoded.map_err(|cause| Error::Malformed { bytes: front.len(), cause })
}

/// Encoded values one after the other, stepped over field by field: for finding what is worth
/// decoding. Texts are not checked to be UTF-8.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    left: &'a [u8],
}

/// Integers below this stand in one byte; this and the next two are followed by 2, 4 and 8 bytes.
const WIDE_FROM: u8 = 251;

impl<'a> Fields<'a> {
    /// The fields of `bytes`, from the first one on.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    /// What was not stepped over yet.
    pub fn left(&self) -> &'a [u8] {
        self.left
    }

    /// A `u16`, `u32`, `u64`, `usize`, the length of a list or the variant of an enum; `None` when none
    /// stands there.
    #[inline]
    pub fn unsigned(&mut self) -> Option<u64> {
        let first = self.byte()?;
        if first < WIDE_FROM { Some(first.into()) } else { self.wide(first) }
    }

    /// An integer with a sign; `None` when none stands there.
    #[inline]
    pub fn signed(&mut self) -> Option<i64> {
        let folded = self.unsigned()?;
        Some((folded >> 1).cast_signed() ^ -(folded & 1).cast_signed())
    }

    /// A `bool`, a `u8` or whether an `Option` is there; `None` at the end of the bytes.
    #[inline]
    pub fn byte(&mut self) -> Option<u8> {
        let (byte, left) = self.left.split_first()?;
        self.left = left;
        Some(*byte)
    }

    /// Four bytes, little-endian, of whatever value; `None` when they are not there.
    #[inline]
    pub fn fixed_u32(&mut self) -> Option<u32> {
        self.fixed().map(u32::from_le_bytes)
    }

    /// Steps over so many bytes; `None` when they are not there.
    #[inline]
    pub fn skip(&mut self, count: usize) -> Option<()> {
        self.take(count).map(|_| ())
    }

    /// The bytes of a text; `None` when none stands there.
    #[inline]
    pub fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.unsigned()?;
        self.take(usize::try_from(length).ok()?)
    }

    /// A whole value.
    ///
    /// # Errors
    /// As for [`decode_front`].
    pub fn value<T: Deserialize<'a>>(&mut self) -> Result<T, Error> {
        let (value, used) = decode_front(self.left)?;
        self.take(used).ok_or_else(|| self.malformed())?;
        Ok(value)
    }

    /// The error for what is not there.
    #[cold]
    pub fn malformed(&self) -> Error {
        let cause = DecodeError::UnexpectedEnd { additional: 1 };
        Error::Malformed { bytes: self.left.len(), cause }
    }

    #[inline]
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, left) = self.left.split_at_checked(count)?;
        self.left = left;
        Some(taken)
    }

    #[inline]
    fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, left) = self.left.split_first_chunk()?;
        self.left = left;
        Some(*bytes)
    }

    #[inline]
    fn wide(&mut self, first: u8) -> Option<u64> {
        match first - WIDE_FROM {
            0 => self.fixed().map(|bytes| u16::from_le_bytes(bytes).into()),
            1 => self.fixed().map(|bytes| u32::from_le_bytes(bytes).into()),
            2 => self.fixed().map(u64::from_le_bytes),
            _ => None,
        }
    }
}

struct Append<'a>(&'a mut Vec<u8>);

impl Writer for Append<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes_of<T: Serialize>(value: &T) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(value, &mut bytes);
        bytes
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Shape<'a> {
        Unit,
        Pair(u8, i64),
        Text {
            #[serde(borrow)]
            borrowed: &'a str,
            owned: String,
            list: Vec<Option<u128>>,
        },
    }

    #[test]
    fn the_encoding_of_primitive_shapes_never_changes() {
        assert_eq!(bytes_of(&0_u8), [0]);
        assert_eq!(bytes_of(&250_u64), [250]);
        assert_eq!(bytes_of(&251_u64), [251, 251, 0]);
        assert_eq!(bytes_of(&65_536_u64), [252, 0, 0, 1, 0]);
        assert_eq!(bytes_of(&u64::MAX), [253, 255, 255, 255, 255, 255, 255, 255, 255]);
        assert_eq!(bytes_of(&-1_i64), [1]);
        assert_eq!(bytes_of(&(1_i128 << 100)).first(), Some(&254));
        assert_eq!(bytes_of(&true), [1]);
        assert_eq!(bytes_of(&"knot"), [4, b'k', b'n', b'o', b't']);
        assert_eq!(bytes_of(&[7_u8; 3]), [7, 7, 7]);
        assert_eq!(bytes_of(&vec![1_u16, 300]), [2, 1, 251, 44, 1]);
        assert_eq!(bytes_of(&Some(5_u32)), [1, 5]);
        assert_eq!(bytes_of(&None::<u32>), [0]);
        assert_eq!(bytes_of(&Shape::Unit), [0]);
        assert_eq!(bytes_of(&Shape::Pair(9, -2)), [1, 9, 3]);
    }

    #[test]
    fn values_borrow_and_come_back_whole() {
        let shape = Shape::Text {
            borrowed: "a",
            owned: "b".repeat(300),
            list: vec![None, Some(u128::MAX)],
        };
        let bytes = bytes_of(&shape);
        assert_eq!(decode::<Shape<'_>>(&bytes).unwrap(), shape);
    }

    #[test]
    fn trailing_bytes_are_refused_and_left_by_the_front() {
        let mut bytes = bytes_of(&Shape::Pair(1, 2));
        let used = bytes.len();
        bytes.extend([1, 2, 3]);
        assert!(matches!(decode::<Shape<'_>>(&bytes), Err(Error::Trailing { bytes: 3 })));
        assert_eq!(decode_front::<Shape<'_>>(&bytes).unwrap(), (Shape::Pair(1, 2), used));
    }

    #[test]
    fn input_above_the_limit_is_refused() {
        let bytes = vec![0; VALUE_BYTES_MAX + 1];
        assert!(matches!(decode::<u8>(&bytes), Err(Error::TooLong { .. })));
    }

    #[test]
    fn a_forged_length_allocates_nothing_to_speak_of() {
        for length in [1_u64 << 30, 1 << 40, 1 << 62, u64::MAX] {
            let mut bytes = bytes_of(&length);
            assert!(decode::<String>(&bytes).is_err());
            assert!(decode::<Vec<String>>(&bytes).is_err());
            assert!(decode::<Vec<[u64; 32]>>(&bytes).is_err());
            bytes.resize(SMALL_BYTES_MAX + 1, 0);
            assert!(decode::<String>(&bytes).is_err());
        }
    }

    #[test]
    fn the_dearest_values_of_either_limit_come_back() {
        for count in [SMALL_BYTES_MAX - 3, SMALL_BYTES_MAX + 1] {
            let bytes = bytes_of(&vec![1_u128; count]);
            assert_eq!(decode::<Vec<u128>>(&bytes).unwrap().len(), count);
        }
        let longest = "x".repeat(VALUE_BYTES_MAX - 5);
        assert_eq!(decode::<String>(&bytes_of(&longest)).unwrap(), longest);
    }

    proptest! {
        #[test]
        fn a_count_and_its_items_are_the_encoding_of_the_list(items: Vec<(u64, String)>) {
            let mut spliced = Vec::new();
            encode_count(items.len(), &mut spliced);
            for item in &items {
                encode(item, &mut spliced);
            }
            prop_assert_eq!(spliced, bytes_of(&items));
        }

        #[test]
        fn a_count_is_the_length_of_a_list(count in 0_usize..200_000) {
            let mut bytes = Vec::new();
            encode_count(count, &mut bytes);
            let list = bytes_of(&vec![0_u8; count]);
            prop_assert_eq!(&bytes[..], &list[..list.len() - count]);
        }

        #[test]
        fn what_is_encoded_by_hand_is_what_the_library_writes(
            wide: u64, shift in 0_u32..64, narrow: u16, signed: i64, text: String,
        ) {
            // Of every width, and around the borders between them.
            let unsigned = wide >> shift;
            let signed = signed >> shift;
            let check = |by_hand: &dyn Fn(&mut Vec<u8>), library: Vec<u8>| {
                let mut bytes = vec![7];
                by_hand(&mut bytes);
                prop_assert_eq!(bytes.get(1..), Some(&*library));
                Ok(())
            };
            for value in [unsigned, u64::from(narrow % 260), 1 << shift, (1 << shift) - 1] {
                check(&|into| encode_unsigned(value, into), bytes_of(&value))?;
            }
            check(&|into| encode_unsigned(narrow.into(), into), bytes_of(&narrow))?;
            for value in [signed, i64::from(narrow % 260) - 130, i64::MIN, i64::MAX] {
                check(&|into| encode_signed(value, into), bytes_of(&value))?;
            }
            check(&|into| encode_text(&text, into), bytes_of(&text))?;
        }

        #[test]
        fn fields_are_what_was_encoded(
            unsigned: u64, narrow: u16, signed: i64, flag: bool, text: String, list: Vec<u32>,
        ) {
            let bytes = bytes_of(&(unsigned, signed, flag, &text, &list, narrow));
            let mut fields = Fields::new(&bytes);
            prop_assert_eq!(fields.unsigned().unwrap(), unsigned);
            prop_assert_eq!(fields.signed().unwrap(), signed);
            prop_assert_eq!(fields.byte().unwrap(), u8::from(flag));
            prop_assert_eq!(fields.text().unwrap(), text.as_bytes());
            prop_assert_eq!(fields.clone().value::<Vec<u32>>().unwrap(), list.clone());
            prop_assert_eq!(fields.unsigned().unwrap(), list.len() as u64);
            for item in list {
                prop_assert_eq!(fields.unsigned().unwrap(), u64::from(item));
            }
            prop_assert_eq!(fields.unsigned().unwrap(), u64::from(narrow));
            prop_assert!(fields.left().is_empty());
            prop_assert!(fields.byte().is_none() && fields.text().is_none());
        }

        #[test]
        fn hostile_bytes_are_an_error_or_a_value(bytes: Vec<u8>) {
            let _ = decode::<Shape<'_>>(&bytes);
            let _ = decode::<Vec<(String, Vec<u64>)>>(&bytes);
            let _ = decode_front::<std::collections::BTreeMap<String, Vec<String>>>(&bytes);
            let mut fields = Fields::new(&bytes);
            while fields.text().is_some() && fields.signed().is_some() {}
        }
    }
}
