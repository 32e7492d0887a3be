//! One frame: the bytes of one commit group, or a mark that carries no record.
//!
//! A frame starts at a multiple of [`BLOCK_BYTES`] in one segment and is padded with zeros to the
//! next one. Little-endian:
//!
//! | at | bytes | field |
//! | --- | --- | --- |
//! | 0 | 4 | magic |
//! | 4 | 4 | length of the payload |
//! | 8 | 8 | first LSN; of a mark, the next one to be given |
//! | 16 | 8 | highest LSN known to be durable when the frame was built |
//! | 24 | 8 | log time of the last record, ns since 1970 |
//! | 32 | 4 | number of LSNs; 0 is a mark |
//! | 36 | 4 | CRC32C of the fields above, the segment's salt and the frame's offset |
//! | 40 | n | payload |
//! | 40 + n | 4 | CRC32C of everything above and the salt |
//!
//! The length is not believed before the header's checksum passes. Salt and offset in the checksum
//! make a frame valid in one place only: not in a reused segment, a copied file or a misdirected
//! write. Zeros are never a frame.

use crate::model::{Lsn, Timestamp};
use crate::world::sabotage::{self, Sabotage};

/// Frames start at multiples of this; a disk writes so much at once or not at all.
pub(super) const BLOCK_BYTES: usize = 512;

/// The longest payload of a frame. A commit group is cut at 1 MiB; a single larger request must
/// still fit, and recovery holds one frame in memory.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 20;

/// "KNOT".
const MAGIC: u32 = 0x544f_4e4b;

const LENGTH_AT: usize = size_of_val(&MAGIC);
const FIRST_LSN_AT: usize = LENGTH_AT + size_of::<u32>();
const DURABLE_AT: usize = FIRST_LSN_AT + size_of::<u64>();
const LOG_TIME_AT: usize = DURABLE_AT + size_of::<u64>();
const COUNT_AT: usize = LOG_TIME_AT + size_of::<i64>();
const CHECKSUM_AT: usize = COUNT_AT + size_of::<u32>();
const PAYLOAD_AT: usize = CHECKSUM_AT + CHECKSUM_BYTES;
const CHECKSUM_BYTES: usize = size_of::<u32>();

/// Bytes of a frame's header: the part that is checked by itself.
pub(super) const HEADER_BYTES: usize = PAYLOAD_AT;

const _: () = assert!(HEADER_BYTES < BLOCK_BYTES, "a header never straddles two blocks");

/// The place a frame is valid in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The segment's salt.
    pub(super) salt: u64,
    /// The frame's first byte, from the start of the file.
    pub(super) offset: u64,
}

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Length of the payload.
    pub(super) payload_bytes: u32,
    /// The group's first LSN; of a mark, the next one to be given.
    pub(super) first_lsn: Lsn,
    /// The highest LSN known to be durable when the frame was built.
    pub(super) durable: Lsn,
    /// Log time of the last record.
    pub(super) log_time: Timestamp,
    /// How many LSNs the group has; 0 is a mark.
    pub(super) count: u32,
}

impl Header {
    /// The header that `bytes` begin with, if it is valid in this place.
    pub(super) fn decode(bytes: &[u8], place: Place) -> Option<Self> {
        if u32::from_le_bytes(field(bytes, 0)?) != MAGIC {
            return None;
        }
        let checked = bytes.get(..CHECKSUM_AT)?;
        if u32::from_le_bytes(field(bytes, CHECKSUM_AT)?) != header_checksum(checked, place) {
            return None;
        }
        let header = Self {
            payload_bytes: u32::from_le_bytes(field(bytes, LENGTH_AT)?),
            first_lsn: Lsn(u64::from_le_bytes(field(bytes, FIRST_LSN_AT)?)),
            durable: Lsn(u64::from_le_bytes(field(bytes, DURABLE_AT)?)),
            log_time: Timestamp::from_nanos(i64::from_le_bytes(field(bytes, LOG_TIME_AT)?)),
            count: u32::from_le_bytes(field(bytes, COUNT_AT)?),
        };
        let fits = header.payload_len() <= PAYLOAD_BYTES_MAX
            && header.first_lsn.0.checked_add(header.count.into()).is_some();
        fits.then_some(header)
    }

    /// The LSN after the frame's last one.
    pub(super) fn next_lsn(&self) -> Lsn {
        self.first_lsn.plus(self.count.into())
    }

    /// Whether the frame holds `lsn`.
    pub(super) fn holds(&self, lsn: Lsn) -> bool {
        self.first_lsn <= lsn && lsn < self.next_lsn()
    }

    /// How much of the file the frame takes, padding included.
    pub(super) fn frame_bytes(&self) -> u64 {
        self.frame_len() as u64
    }

    /// [`Self::frame_bytes`], as a length in memory.
    pub(super) fn frame_len(&self) -> usize {
        (PAYLOAD_AT + self.payload_len() + CHECKSUM_BYTES).next_multiple_of(BLOCK_BYTES)
    }

    fn payload_len(&self) -> usize {
        usize::try_from(self.payload_bytes).expect("a u32 fits a usize on every target of ours")
    }
}

/// A whole frame, its payload borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The group's first LSN.
    pub first_lsn: Lsn,
    /// How many LSNs the group has, never 0.
    pub count: u32,
    /// Log time of the last record.
    pub log_time: Timestamp,
    /// The group's bytes.
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// The LSN after the group's last one.
    pub fn next_lsn(&self) -> Lsn {
        self.first_lsn.plus(self.count.into())
    }

    /// The same, owning its payload.
    pub fn to_owned(&self) -> OwnedFrame {
        let Self { first_lsn, count, log_time, payload } = *self;
        OwnedFrame { first_lsn, count, log_time, payload: payload.to_vec() }
    }
}

/// A whole frame that owns its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedFrame {
    /// The group's first LSN.
    pub first_lsn: Lsn,
    /// How many LSNs the group has, never 0.
    pub count: u32,
    /// Log time of the last record.
    pub log_time: Timestamp,
    /// The group's bytes.
    pub payload: Vec<u8>,
}

/// Replaces `buffer` by the frame's bytes, padding included.
pub(super) fn encode(header: &Header, payload: &[u8], place: Place, buffer: &mut Vec<u8>) {
    assert_eq!(payload.len(), header.payload_len(), "a header says how long its payload is");
    buffer.clear();
    buffer.reserve(header.frame_len());
    buffer.extend_from_slice(&MAGIC.to_le_bytes());
    buffer.extend_from_slice(&header.payload_bytes.to_le_bytes());
    buffer.extend_from_slice(&header.first_lsn.0.to_le_bytes());
    buffer.extend_from_slice(&header.durable.0.to_le_bytes());
    buffer.extend_from_slice(&header.log_time.as_nanos().to_le_bytes());
    buffer.extend_from_slice(&header.count.to_le_bytes());
    let checksum = header_checksum(buffer, place);
    buffer.extend_from_slice(&checksum.to_le_bytes());
    buffer.extend_from_slice(payload);
    let checksum = frame_checksum(buffer, place.salt);
    buffer.extend_from_slice(&checksum.to_le_bytes());
    buffer.resize(header.frame_len(), 0);
}

/// The payload of the frame whose bytes are `bytes`, if all of it is there and its checksum passes.
pub(super) fn payload<'a>(bytes: &'a [u8], header: &Header, salt: u64) -> Option<&'a [u8]> {
    let checksum_at = PAYLOAD_AT + header.payload_len();
    let checked = bytes.get(..checksum_at)?;
    let checksum = u32::from_le_bytes(field(bytes, checksum_at)?);
    let is_whole = checksum == frame_checksum(checked, salt) || sabotage::is(Sabotage::Checksum);
    is_whole.then(|| checked.get(PAYLOAD_AT..))?
}

/// The `N` bytes at `at`, if there are so many.
pub(super) fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn header_checksum(fields: &[u8], place: Place) -> u32 {
    let checksum = crc32c::crc32c_append(crc32c::crc32c(fields), &place.salt.to_le_bytes());
    crc32c::crc32c_append(checksum, &place.offset.to_le_bytes())
}

fn frame_checksum(bytes: &[u8], salt: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(bytes), &salt.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLACE: Place = Place { salt: 0x0123_4567_89ab_cdef, offset: 4096 };

    fn header(payload: &[u8]) -> Header {
        Header {
            payload_bytes: u32::try_from(payload.len()).unwrap(),
            first_lsn: Lsn(77),
            durable: Lsn(76),
            log_time: Timestamp::from_nanos(-5),
            count: 3,
        }
    }

    fn encoded(payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![1, 2, 3];
        encode(&header(payload), payload, PLACE, &mut bytes);
        bytes
    }

    #[test]
    fn the_layout_never_changes() {
        // The checksums were computed by another program, bit by bit.
        let bytes = encoded(b"abc");
        let mut expected = Vec::new();
        expected.extend(b"KNOT");
        expected.extend([3, 0, 0, 0]);
        expected.extend([77, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([76, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend([251, 255, 255, 255, 255, 255, 255, 255]);
        expected.extend([3, 0, 0, 0]);
        expected.extend([0x51, 0x3c, 0x68, 0xab]);
        expected.extend(b"abc");
        expected.extend([0xdc, 0x61, 0xb0, 0x77]);
        expected.resize(BLOCK_BYTES, 0);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn zeros_are_never_a_frame() {
        assert_eq!(Header::decode(&[0; BLOCK_BYTES], Place { salt: 0, offset: 0 }), None);
    }

    #[test]
    fn a_length_above_the_limit_is_not_believed() {
        let mut bytes = encoded(b"abc");
        bytes[LENGTH_AT..FIRST_LSN_AT]
            .copy_from_slice(&u32::try_from(PAYLOAD_BYTES_MAX + 1).unwrap().to_le_bytes());
        let checksum = header_checksum(&bytes[..CHECKSUM_AT], PLACE);
        bytes[CHECKSUM_AT..PAYLOAD_AT].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(Header::decode(&bytes, PLACE), None);
    }

    proptest! {
        #[test]
        fn a_frame_comes_back_in_its_place_and_in_no_other(
            payload in prop::collection::vec(any::<u8>(), 0..2000), salt: u64, block in 0_u64..99,
        ) {
            let bytes = encoded(&payload);
            prop_assert_eq!(bytes.len() % BLOCK_BYTES, 0);
            let decoded = Header::decode(&bytes, PLACE);
            prop_assert_eq!(decoded, Some(header(&payload)));
            prop_assert_eq!(super::payload(&bytes, &decoded.unwrap(), PLACE.salt), Some(&payload[..]));
            let elsewhere = Place { salt: PLACE.salt, offset: block * 512 };
            prop_assert_eq!(Header::decode(&bytes, elsewhere).is_some(), elsewhere.offset == PLACE.offset);
            prop_assert_eq!(Header::decode(&bytes, Place { salt, ..PLACE }), None);
        }

        #[test]
        fn any_flipped_byte_is_found(
            payload in prop::collection::vec(any::<u8>(), 0..700), at: prop::sample::Index, flip in 1_u8..,
        ) {
            let mut bytes = encoded(&payload);
            let at = at.index(PAYLOAD_AT + payload.len() + CHECKSUM_BYTES);
            bytes[at] ^= flip;
            let intact = Header::decode(&bytes, PLACE)
                .and_then(|header| super::payload(&bytes, &header, PLACE.salt).map(<[u8]>::len));
            prop_assert_eq!(intact, None);
        }

        #[test]
        fn hostile_bytes_are_no_frame(mut bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            prop_assert_eq!(Header::decode(&bytes, PLACE), None);
            bytes.splice(0..bytes.len().min(4), MAGIC.to_le_bytes());
            prop_assert_eq!(Header::decode(&bytes, PLACE), None);
        }
    }
}
