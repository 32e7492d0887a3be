//! Bundles: some values that are alike, kept as one.
//!
//! | bytes | what |
//! | --- | --- |
//! | varint | how many bytes follow once they are unpacked |
//! | … | a zstd frame: each value as a varint length and its bytes; one that is missing has none |
//!
//! Varints are those of [`codec`]. A bundle carries no checksum: its row has one.

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::compress_bound;

use crate::storage::codec::{self, VALUE_BYTES_MAX};

/// Values of one bundle at most.
pub const VALUES_MAX: usize = 16;

/// The fastest but for the negative ones.
const LEVEL: i32 = 1;

/// Why bytes are not a bundle.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A length, or a value, is not what was written.
    #[error("read a bundle's lengths")]
    Codec(#[from] codec::Error),
    /// The rest is not what was written.
    #[error("a bundle is not as it was packed")]
    Malformed,
}

/// Packs bundles; keeps the tables between them.
pub struct Packer {
    compressor: Compressor<'static>,
    plain: Vec<u8>,
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Packer")
    }
}

impl Default for Packer {
    fn default() -> Self {
        let compressor = Compressor::new(LEVEL).expect("zstd knows its first level");
        Self { compressor, plain: Vec::new() }
    }
}

impl Packer {
    /// The bundle of these values, in their order; an empty one is a missing one.
    ///
    /// # Panics
    /// With more than [`VALUES_MAX`] of them, which could not be read back.
    pub fn pack<'v>(&mut self, values: impl Iterator<Item = &'v [u8]>) -> Vec<u8> {
        self.plain.clear();
        let mut count = 0;
        for value in values {
            codec::encode_count(value.len(), &mut self.plain);
            self.plain.extend_from_slice(value);
            count += 1;
        }
        assert!(count <= VALUES_MAX, "a bundle has few values");
        let mut packed = Vec::new();
        codec::encode_count(self.plain.len(), &mut packed);
        let mut frame = Vec::with_capacity(compress_bound(self.plain.len()));
        self.compressor
            .compress_to_buffer(&self.plain, &mut frame)
            .expect("room for the worst case was reserved");
        packed.extend_from_slice(&frame);
        packed
    }
}

/// Unpacks bundles; keeps the tables between them.
pub struct Unpacker {
    decompressor: Decompressor<'static>,
}

impl std::fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unpacker")
    }
}

impl Default for Unpacker {
    fn default() -> Self {
        let decompressor = Decompressor::new().expect("a context needs nothing but memory");
        Self { decompressor }
    }
}

impl Unpacker {
    /// The values of a bundle, in their order.
    ///
    /// # Errors
    /// [`Error`] when it is none.
    pub fn unpack(&mut self, packed: &[u8]) -> Result<Bundle, Error> {
        let (count, head) = length(packed)?;
        if count > VALUES_MAX * (VALUE_BYTES_MAX + size_of::<u64>() + 1) {
            return Err(Error::Malformed);
        }
        let frame = packed.get(head..).unwrap_or_default();
        let plain =
            self.decompressor.decompress(frame, count).map_err(|_refused| Error::Malformed)?;
        if plain.len() != count {
            return Err(Error::Malformed);
        }
        let mut places = Vec::with_capacity(VALUES_MAX);
        let mut at = 0;
        while let Some(rest) = plain.get(at..).filter(|rest| !rest.is_empty()) {
            let (count, head) = length(rest)?;
            let start = at + head;
            at = start
                .checked_add(count)
                .filter(|end| *end <= plain.len())
                .ok_or(Error::Malformed)?;
            places.push((start, at));
        }
        if places.len() > VALUES_MAX { Err(Error::Malformed) } else { Ok(Bundle { plain, places }) }
    }
}

/// A length at the front, and how many bytes it takes itself.
fn length(bytes: &[u8]) -> Result<(usize, usize), Error> {
    let (length, used) = codec::decode_front::<u64>(bytes)?;
    Ok((usize::try_from(length).map_err(|_| Error::Malformed)?, used))
}

/// Values that were unpacked.
#[derive(Debug)]
pub struct Bundle {
    plain: Vec<u8>,
    /// Where each begins and ends.
    places: Vec<(usize, usize)>,
}

impl Bundle {
    /// The value at `place`, unless it is missing.
    pub fn get(&self, place: usize) -> Option<&[u8]> {
        let (start, end) = *self.places.get(place)?;
        self.plain.get(start..end).filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_packed_is_unpacked(
            values in prop::collection::vec(prop::collection::vec(0..4_u8, 0..300), 0..=VALUES_MAX),
        ) {
            let (mut packer, mut unpacker) = (Packer::default(), Unpacker::default());
            // Twice: nothing of the first is left in the second.
            for _ in 0..2 {
                let packed = packer.pack(values.iter().map(Vec::as_slice));
                let bundle = unpacker.unpack(&packed).unwrap();
                for place in 0..=VALUES_MAX {
                    let value = values.get(place).filter(|value| !value.is_empty());
                    prop_assert_eq!(bundle.get(place), value.map(Vec::as_slice));
                }
            }
        }

        #[test]
        fn what_is_no_bundle_is_refused(
            values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 1..VALUES_MAX),
            cut in any::<prop::sample::Index>(),
            noise in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let packed = Packer::default().pack(values.iter().map(Vec::as_slice));
            let cut = cut.index(packed.len());
            prop_assert!(Unpacker::default().unpack(&packed[..cut]).is_err());
            // Whatever it is, it is read without harm.
            drop(Unpacker::default().unpack(&noise));
        }
    }

    #[test]
    fn lengths_that_are_no_lengths_are_refused() {
        let forged = |length: u64, plain: &[u8]| {
            let mut packed = Vec::new();
            codec::encode(&length, &mut packed);
            packed.extend(zstd::bulk::compress(plain, LEVEL).unwrap());
            Unpacker::default().unpack(&packed)
        };
        assert!(forged(3, &[2, 7, 7]).is_ok());
        assert!(forged(u64::MAX, &[2, 7, 7]).is_err());
        assert!(forged(4, &[2, 7, 7]).is_err());
        assert!(forged(2, &[2, 7, 7]).is_err());
        assert!(forged(3, &[3, 7, 7]).is_err());
        assert!(forged(17, &[0; 17]).is_err());
        let mut beyond = Vec::new();
        codec::encode(&u64::MAX, &mut beyond);
        assert!(forged(beyond.len() as u64, &beyond).is_err());
    }
}
