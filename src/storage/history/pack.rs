//! Byte streams and columns of integers, packed: what the blocks of a history file are made of.
//!
//! A stream stands as `varint(bytes << 2 | form)`: 0 the bytes themselves, 1 one byte that all of them
//! are, 2 a varint length and a zstd frame. Each stream is a frame of its own, because digits, hex
//! and binary have unlike letters and one table for all of them would suit none. A column of integers
//! is a width and so many streams: its first bytes, its second bytes, and so on. Every length is held
//! against what is left, so that no input makes a reader allocate more than its budget.

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::compress_bound;

/// The fastest: 3 gives a usual event the same 29 bytes, and one with a random id 44 instead of 43
/// (measured), for it finds matches in digits and hex that cost more than they save.
const LEVEL: i32 = 1;

/// A stream below this many bytes costs more in zstd's own headers than it can save.
const COMPRESSED_BYTES_MIN: usize = 24;

const FORM_BITS: u32 = 2;
const PLAIN: u64 = 0;
const CONSTANT: u64 = 1;
const ZSTD: u64 = 2;

/// Why bytes whose checksum is right are not what a writer makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault(pub(super) &'static str);

const TOO_SHORT: Fault = Fault("a part ends too early");
const TOO_LONG: Fault = Fault("a part is longer than any that is written");

/// Appends `value` in groups of seven bits, lowest first.
pub(super) fn put_varint(value: u64, out: &mut Vec<u8>) {
    let mut rest = value;
    while rest >= 0x80 {
        out.push(low_byte(rest) | 0x80);
        rest >>= 7;
    }
    out.push(low_byte(rest));
}

/// A signed number as one whose bytes are few when it is near zero.
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// What [`zigzag`] was made of.
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

fn low_byte(value: u64) -> u8 {
    u8::try_from(value & 0xff).expect("eight bits")
}

/// Packs streams; keeps the compressor's tables between them.
pub(super) struct Packer {
    compressor: Compressor<'static>,
    compressed: Vec<u8>,
}

impl Packer {
    pub(super) fn new() -> Self {
        let compressor = Compressor::new(LEVEL).expect("zstd knows its default level");
        Self { compressor, compressed: Vec::new() }
    }

    /// Appends a stream.
    pub(super) fn stream(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let head = |form| ((bytes.len() as u64) << FORM_BITS) | form;
        if let Some((first, rest)) = bytes.split_first()
            && rest.iter().all(|byte| byte == first)
        {
            put_varint(head(CONSTANT), out);
            out.push(*first);
            return;
        }
        if bytes.len() >= COMPRESSED_BYTES_MIN {
            self.compressed.clear();
            self.compressed.reserve(compress_bound(bytes.len()));
            let stored = self
                .compressor
                .compress_to_buffer(bytes, &mut self.compressed)
                .expect("room for the worst case was reserved");
            if stored + size_of::<u32>() < bytes.len() {
                put_varint(head(ZSTD), out);
                put_varint(stored as u64, out);
                out.extend_from_slice(&self.compressed);
                return;
            }
        }
        put_varint(head(PLAIN), out);
        out.extend_from_slice(bytes);
    }

    /// Appends a column of integers.
    pub(super) fn integers(&mut self, values: &[u64], out: &mut Vec<u8>) {
        let all = values.iter().fold(0, |all, value| all | value);
        let width = (u64::BITS - all.leading_zeros()).div_ceil(u8::BITS);
        out.push(low_byte(width.into()));
        let mut plane = Vec::with_capacity(values.len());
        for place in 0..width {
            plane.clear();
            plane.extend(values.iter().map(|value| low_byte(value >> (place * u8::BITS))));
            self.stream(&plane, out);
        }
    }
}

/// Unpacks streams; keeps the decompressor's tables between them.
pub(super) struct Unpacker {
    decompressor: Decompressor<'static>,
    /// Bytes that may still be unpacked.
    budget: usize,
}

impl Unpacker {
    pub(super) fn new() -> Self {
        let decompressor = Decompressor::new().expect("a context needs nothing but memory");
        Self { decompressor, budget: 0 }
    }

    /// From now on no more than `bytes` are unpacked.
    pub(super) fn allow(&mut self, bytes: usize) {
        self.budget = bytes;
    }

    /// Takes `bytes` off the budget.
    pub(super) fn spend(&mut self, bytes: u64) -> Result<usize, Fault> {
        let bytes = usize::try_from(bytes).map_err(|_| TOO_LONG)?;
        self.budget = self.budget.checked_sub(bytes).ok_or(TOO_LONG)?;
        Ok(bytes)
    }

    /// The next stream of `input`.
    pub(super) fn stream(&mut self, input: &mut Input<'_>) -> Result<Vec<u8>, Fault> {
        let head = input.varint()?;
        let count = self.spend(head >> FORM_BITS)?;
        match head & ((1 << FORM_BITS) - 1) {
            PLAIN => Ok(input.take(count)?.to_vec()),
            CONSTANT => Ok(vec![input.byte()?; count]),
            ZSTD => {
                let stored = usize::try_from(input.varint()?).map_err(|_| TOO_SHORT)?;
                let compressed = input.take(stored)?;
                let mut bytes = Vec::with_capacity(count);
                let written = self.decompressor.decompress_to_buffer(compressed, &mut bytes);
                if written.ok() == Some(count) { Ok(bytes) } else { Err(Fault("zstd refuses it")) }
            }
            _ => Err(Fault("a stream has an unknown form")),
        }
    }

    /// The next column of `count` integers of `input`.
    pub(super) fn integers(
        &mut self,
        input: &mut Input<'_>,
        count: usize,
    ) -> Result<Vec<u64>, Fault> {
        let width = u32::from(input.byte()?);
        if width > u64::BITS / u8::BITS {
            return Err(Fault("an integer is wider than eight bytes"));
        }
        self.spend((count as u64).saturating_mul(size_of::<u64>() as u64))?;
        let mut values = vec![0; count];
        for place in 0..width {
            let plane = self.stream(input)?;
            if plane.len() != count {
                return Err(Fault("a column has another number of values"));
            }
            for (value, byte) in values.iter_mut().zip(plane) {
                *value |= u64::from(byte) << (place * u8::BITS);
            }
        }
        Ok(values)
    }
}

/// Bytes that are read from the front.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(TOO_SHORT)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Fault> {
        self.take(1)?.first().copied().ok_or(TOO_SHORT)
    }

    pub(super) fn varint(&mut self) -> Result<u64, Fault> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Fault("a number has no end"))
    }

    /// A number that counts things of which each takes memory.
    pub(super) fn count(&mut self, max: usize) -> Result<usize, Fault> {
        let count = usize::try_from(self.varint()?).map_err(|_| TOO_LONG)?;
        if count <= max { Ok(count) } else { Err(TOO_LONG) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BUDGET: usize = 1 << 20;

    fn unpacker() -> Unpacker {
        let mut unpacker = Unpacker::new();
        unpacker.allow(BUDGET);
        unpacker
    }

    #[test]
    fn the_forms_of_a_stream_never_change() {
        let packed = |bytes: &[u8]| {
            let mut out = Vec::new();
            Packer::new().stream(bytes, &mut out);
            out
        };
        assert_eq!(packed(b""), [0]);
        assert_eq!(packed(b"ab"), [2 << 2, b'a', b'b']);
        assert_eq!(packed(&[7; 300]), [0xb1, 0x09, 7]);
        let zstd = packed("abcdefgh".repeat(20).as_bytes());
        assert_eq!(&zstd[..2], [0x82, 0x05]);
        assert_eq!(usize::from(zstd[2]), zstd.len() - 3);
        let mut out = Vec::new();
        Packer::new().integers(&[1, 0x203], &mut out);
        assert_eq!(out, [2, 2 << 2, 1, 3, 2 << 2, 0, 2]);
    }

    #[test]
    fn a_forged_length_allocates_nothing() {
        for form in 0..4 {
            let mut bytes = Vec::new();
            put_varint((1 << 61) | form, &mut bytes);
            bytes.extend([0; 40]);
            assert!(unpacker().stream(&mut Input(&bytes)).is_err(), "{form}");
        }
        assert!(unpacker().integers(&mut Input(&[0]), 1 << 60).is_err());
    }

    proptest! {
        #[test]
        fn streams_and_columns_come_back(
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..200),
                prop::collection::vec(0..3_u8, 0..2000),
            ],
            values in prop::collection::vec(prop_oneof![0..9_u64, any::<u64>()], 0..50),
        ) {
            let mut packed = Vec::new();
            let mut packer = Packer::new();
            packer.stream(&bytes, &mut packed);
            packer.integers(&values, &mut packed);
            let mut input = Input(&packed);
            let mut unpacker = unpacker();
            prop_assert_eq!(unpacker.stream(&mut input).unwrap(), bytes);
            prop_assert_eq!(unpacker.integers(&mut input, values.len()).unwrap(), values);
            prop_assert!(input.0.is_empty());
        }

        #[test]
        fn signed_numbers_and_varints_come_back(value: i64, count: u64) {
            prop_assert_eq!(unzigzag(zigzag(value)), value);
            let mut bytes = Vec::new();
            put_varint(count, &mut bytes);
            prop_assert_eq!(Input(&bytes).varint(), Ok(count));
        }

        #[test]
        fn no_bytes_make_reading_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = unpacker().stream(&mut Input(&bytes));
            let _ = unpacker().integers(&mut Input(&bytes), 5);
        }
    }
}
