//! What a history file says of itself: header at the front, directory, footer and trailer at the end.
//!
//! | part | bytes | what |
//! | --- | --- | --- |
//! | header | 8 | "QUIPUHST" |
//! | | 4 | format version |
//! | | 16 | incarnation of the data directory |
//! | | 8 | first LSN |
//! | | 4 | CRC32C of the header up to here |
//! | blocks | … | `block.rs`, one behind the other |
//! | ids, customers | pages | `lookup.rs` |
//! | directory | … | [`Directory`] as the codec writes it |
//! | footer | … | [`Footer`] as the codec writes it |
//! | trailer | 4 | bytes of the footer |
//! | | 4 | checksum of the footer |
//! | | 4 | checksum of the trailer up to here |
//! | | 8 | "QUIPUEND" |
//!
//! Numbers are little-endian. A checksum is the CRC32C of the file's first LSN, the offset of what is
//! checked, and its bytes: a block that strayed into another file or place is damage. It does not
//! cover the incarnation, so that a restored directory changes headers alone.

use serde::{Deserialize, Serialize};

use crate::model::{Lsn, Timestamp};
use crate::storage::codec;
use crate::storage::history::lookup::Site;
use crate::storage::history::pack::Fault;
use crate::storage::log::Incarnation;

pub(super) const FORMAT_VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"QUIPUHST";
const END_MAGIC: &[u8; 8] = b"QUIPUEND";

pub(super) const HEADER_BYTES: usize = 8 + 4 + 16 + 8 + 4;
pub(super) const TRAILER_BYTES: usize = 4 + 4 + 4 + 8;

/// The longest footer: some numbers, and the hashes of at most [`NAMES_MAX`] names.
pub(super) const FOOTER_BYTES_MAX: usize = 4096;

/// Event names that a block or a file's footer lists, at most; with more it says only "any". The
/// footer's stay in memory.
pub(super) const NAMES_MAX: usize = 64;

/// Blocks of a file, at most: their numbers are two bytes in the tables.
pub(super) const BLOCKS_MAX: usize = 1 << 16;

/// The longest [`BlockEntry`]: a full list of names and every number at its widest.
const BLOCK_ENTRY_BYTES_MAX: usize = 9 + 5 + 5 + 9 + 3 + 3 + 19 + 2 + 3 * NAMES_MAX;
const _: () =
    assert!(BLOCKS_MAX * BLOCK_ENTRY_BYTES_MAX + 9 * DIRECTORY_NAMES_MAX < codec::VALUE_BYTES_MAX);

/// Event names that a file's directory knows, at most.
pub(super) const DIRECTORY_NAMES_MAX: usize = 1024;

/// The checksum of `bytes` that stand at `offset` of the file that begins with `first_lsn`.
pub(super) fn checksum(first_lsn: Lsn, offset: u64, bytes: &[u8]) -> u32 {
    let place =
        crc32c::crc32c_append(crc32c::crc32c(&first_lsn.0.to_le_bytes()), &offset.to_le_bytes());
    crc32c::crc32c_append(place, bytes)
}

/// The front of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) incarnation: Incarnation,
    pub(super) first_lsn: Lsn,
}

/// Why the front of a file cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    /// It is not what was written.
    Damaged,
    /// A newer Quipu wrote it.
    Newer(u32),
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.incarnation.0);
        bytes.extend_from_slice(&self.first_lsn.0.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderFault> {
        let (version, header) = Self::fields(bytes).ok_or(HeaderFault::Damaged)?;
        match version {
            FORMAT_VERSION => Ok(header),
            newer if newer > FORMAT_VERSION => Err(HeaderFault::Newer(newer)),
            _ => Err(HeaderFault::Damaged),
        }
    }

    fn fields(bytes: &[u8]) -> Option<(u32, Self)> {
        let (fields, crc) = bytes.split_last_chunk()?;
        let rest = fields.strip_prefix(MAGIC)?;
        if u32::from_le_bytes(*crc) != crc32c::crc32c(fields) {
            return None;
        }
        let (version, rest) = rest.split_first_chunk()?;
        let (incarnation, rest) = rest.split_first_chunk()?;
        let first_lsn = Lsn(u64::from_le_bytes(rest.try_into().ok()?));
        let header = Self { incarnation: Incarnation(*incarnation), first_lsn };
        Some((u32::from_le_bytes(*version), header))
    }
}

/// What is known of each block without reading it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Directory {
    /// In LSN order.
    pub(super) blocks: Vec<BlockEntry>,
    /// Hashes of event names; blocks name them by place.
    pub(super) names: Vec<u64>,
}

/// One block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BlockEntry {
    pub(super) offset: u64,
    pub(super) bytes: u32,
    pub(super) crc: u32,
    pub(super) first_lsn: Lsn,
    /// Events and other records.
    pub(super) items: u32,
    pub(super) events: u32,
    /// The earliest and the latest timestamp of its events.
    pub(super) times: Option<(Timestamp, Timestamp)>,
    /// Its events' names, ascending; `None` when they are too many to list.
    pub(super) names: Option<Vec<u16>>,
}

impl BlockEntry {
    pub(super) fn last_lsn(&self) -> Lsn {
        self.first_lsn.plus(self.items.into()).previous()
    }
}

/// Some bytes of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Section {
    pub(super) offset: u64,
    pub(super) bytes: u32,
    pub(super) crc: u32,
}

/// A table of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Table {
    pub(super) offset: u64,
    /// Pages that hashes are spread over.
    pub(super) places: u32,
    /// All pages; some may follow those places.
    pub(super) pages: u32,
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Footer {
    pub(super) first_lsn: Lsn,
    pub(super) last_lsn: Lsn,
    pub(super) events: u64,
    /// Records that are no events.
    pub(super) records: u64,
    pub(super) blocks: u32,
    /// The earliest and the latest timestamp of an event.
    pub(super) times: Option<(Timestamp, Timestamp)>,
    /// The earliest and the latest arrival of an event or log time of another record.
    pub(super) arrivals: (Timestamp, Timestamp),
    /// Hashes of the events' names; `None` when they are too many to list.
    pub(super) names: Option<Vec<u64>>,
    pub(super) ids: Table,
    pub(super) customers: Table,
    pub(super) directory: Section,
}

impl Footer {
    /// Where a table stands.
    pub(super) fn site(&self, table: &Table) -> Site {
        Site { first_lsn: self.first_lsn, offset: table.offset }
    }

    /// The footer and the trailer, which stand at `offset` and end the file.
    pub(super) fn encode(&self, offset: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        codec::encode(self, &mut bytes);
        assert!(bytes.len() <= FOOTER_BYTES_MAX, "some numbers and 64 names");
        let length = u32::try_from(bytes.len()).expect("at most 4096");
        let crc = checksum(self.first_lsn, offset, &bytes);
        let mut trailer = Vec::with_capacity(TRAILER_BYTES);
        trailer.extend_from_slice(&length.to_le_bytes());
        trailer.extend_from_slice(&crc.to_le_bytes());
        let own = checksum(self.first_lsn, offset.saturating_add(length.into()), &trailer);
        trailer.extend_from_slice(&own.to_le_bytes());
        trailer.extend_from_slice(END_MAGIC);
        bytes.append(&mut trailer);
        bytes
    }

    /// The footer of a file of `file_bytes` bytes that begins with `first_lsn`, of which `tail` are
    /// the last bytes.
    pub(super) fn decode(first_lsn: Lsn, file_bytes: u64, tail: &[u8]) -> Result<Self, Fault> {
        const TRAILER: Fault = Fault("the end of the file is missing");
        let (before, trailer) = tail.split_last_chunk::<TRAILER_BYTES>().ok_or(TRAILER)?;
        let trailer_at = file_bytes.saturating_sub(TRAILER_BYTES as u64);
        let (length, footer_crc) = trailer_fields(first_lsn, trailer_at, trailer).ok_or(TRAILER)?;
        let start = before.len().checked_sub(length as usize).ok_or(TRAILER)?;
        let bytes = before.split_at(start).1;
        let offset = trailer_at.saturating_sub(length.into());
        if checksum(first_lsn, offset, bytes) != footer_crc {
            return Err(Fault("the checksum of the footer differs"));
        }
        let footer: Self = codec::decode(bytes).map_err(|_| Fault("the footer is not one"))?;
        footer.check(first_lsn, offset)?;
        Ok(footer)
    }

    /// Holds what it says against the file, so that nothing is read or allocated beyond that.
    fn check(&self, first_lsn: Lsn, offset: u64) -> Result<(), Fault> {
        let inside = |at: u64, bytes: u64| at.checked_add(bytes).is_some_and(|end| end <= offset);
        let page_bytes = super::lookup::PAGE_BYTES as u64;
        let table = |it: &Table| {
            inside(it.offset, page_bytes * u64::from(it.pages))
                && (1..=it.pages).contains(&it.places)
        };
        let items = self.events.checked_add(self.records);
        let whole = self.first_lsn == first_lsn
            && self.last_lsn.0.checked_sub(first_lsn.0).and_then(|more| more.checked_add(1))
                == items
            && inside(self.directory.offset, self.directory.bytes.into())
            && self.directory.bytes as usize <= codec::VALUE_BYTES_MAX
            && table(&self.ids)
            && table(&self.customers);
        if whole { Ok(()) } else { Err(Fault("the footer says what cannot be")) }
    }
}

/// The footer's length and checksum, if the trailer is whole.
fn trailer_fields(
    first_lsn: Lsn,
    offset: u64,
    trailer: &[u8; TRAILER_BYTES],
) -> Option<(u32, u32)> {
    let (fields, magic) = trailer.split_last_chunk::<8>()?;
    let (checked, crc) = fields.split_last_chunk()?;
    let whole =
        magic == END_MAGIC && u32::from_le_bytes(*crc) == checksum(first_lsn, offset, checked);
    let (length, footer_crc) = checked.split_first_chunk()?;
    let footer_crc = footer_crc.first_chunk()?;
    whole.then(|| (u32::from_le_bytes(*length), u32::from_le_bytes(*footer_crc)))
}

impl Directory {
    /// The directory whose bytes these are, held against the footer.
    pub(super) fn decode(bytes: &[u8], footer: &Footer) -> Result<Self, Fault> {
        let directory: Self =
            codec::decode(bytes).map_err(|_| Fault("the directory is not one"))?;
        let mut next_lsn = footer.first_lsn.0;
        let mut offset = HEADER_BYTES as u64;
        for block in &directory.blocks {
            if block.first_lsn.0 != next_lsn || block.offset != offset || block.items == 0 {
                return Err(Fault("the directory has a gap"));
            }
            next_lsn = next_lsn.saturating_add(block.items.into());
            offset = offset.saturating_add(block.bytes.into());
        }
        let whole = Lsn(next_lsn).previous() == footer.last_lsn
            && offset == footer.ids.offset
            && directory.blocks.len() == footer.blocks as usize;
        if whole { Ok(directory) } else { Err(Fault("the directory is not of this file")) }
    }
}
