//! Filters as files, one per slice: `filter-<number>`. They only save a scan at the next start.
//!
//! Layout, little-endian: magic (8), version (4), length of a slice in ns (8), number (8), blocks
//! (8), runs (4); for each run first LSN, last LSN and ids (8 each); CRC32C of all that (4); the
//! blocks (64 each); CRC32C of the blocks (4). The runs are listed before the first block is read,
//! so that a filter that is being filled holds at least what its file says. A file that is missing,
//! damaged or does not fit the runs is as good as none.

use std::io;

use crate::model::Lsn;
use crate::storage::index::Slice;
use crate::storage::index::bloom::{BLOCK_BYTES, Filter};
use crate::storage::index::runs::Summary;
use crate::world::disk::read_exact_at;
use crate::world::{Disk, DiskFile};

const PREFIX: &str = "filter-";
const TEMPORARY: &str = "filter-new";
const MAGIC: [u8; 8] = *b"QUIPUFLT";
const VERSION: u32 = 1;
const FIXED_BYTES: usize = 8 + 4 + 8 + 8 + 8 + 4;
const COVERED_BYTES: usize = 24;
const CRC_BYTES: usize = 4;
/// Larger writes make a commit of the log wait for the disk.
const STEP_BLOCKS: usize = (4 << 20) / BLOCK_BYTES;

/// A run as a filter file names it. Within one log, a range of LSNs has the same ids for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Covered {
    first_lsn: Lsn,
    last_lsn: Lsn,
    ids: u64,
}

/// The runs whose ids the slice's filter holds.
pub(crate) fn covered(slice: &Slice) -> Vec<Covered> {
    let summaries = slice.runs.iter().map(|run| run.summary);
    summaries
        .map(|Summary { first_lsn, last_lsn, ids, .. }| Covered { first_lsn, last_lsn, ids })
        .collect()
}

/// Whether all ids of a run are in a filter that covers `covered`, perhaps as runs that were merged
/// since.
pub(crate) fn covers(covered: &[Covered], run: &Summary) -> bool {
    let within = covered
        .iter()
        .filter(|covered| run.first_lsn <= covered.first_lsn && covered.last_lsn <= run.last_lsn);
    within.map(|covered| covered.ids).sum::<u64>() == run.ids
}

/// Replaces the file of a slice's filter. Its name is durable after [`keep_only`].
pub(crate) fn save(
    disk: &dyn Disk,
    slice: &Slice,
    covered: &[Covered],
    slice_nanos: i64,
) -> io::Result<()> {
    let filter = &slice.filter;
    let mut bytes = header(slice.number, slice_nanos, filter.blocks_count(), covered);
    let file = disk.create(TEMPORARY)?;
    file.write_at(0, &bytes)?;
    let mut offset = bytes.len() as u64;
    let mut crc = 0;
    for first in (0..filter.blocks_count()).step_by(STEP_BLOCKS) {
        bytes.clear();
        filter.encode(first, STEP_BLOCKS, &mut bytes);
        crc = crc32c::crc32c_append(crc, &bytes);
        file.write_at(offset, &bytes)?;
        file.sync()?;
        offset += bytes.len() as u64;
    }
    file.write_at(offset, &crc.to_le_bytes())?;
    file.sync()?;
    disk.rename(TEMPORARY, &name(slice.number))
}

/// Removes the filter files of all other slices, and makes the names durable.
pub(crate) fn keep_only(disk: &dyn Disk, slices: &[Slice]) -> io::Result<()> {
    let kept: Vec<_> = slices.iter().map(|slice| name(slice.number)).collect();
    for file in disk.names()? {
        if file.starts_with(PREFIX) && !kept.contains(&file) {
            disk.remove(&file)?;
        }
    }
    disk.sync_names()
}

/// The saved filter of a slice with the runs it covers, when there is a sound one.
pub(crate) fn load(
    disk: &dyn Disk,
    number: i64,
    slice_nanos: i64,
) -> Option<(Filter, Vec<Covered>)> {
    let file = disk.open(&name(number)).ok()?;
    let (blocks, covered) = load_header(&*file, number, slice_nanos)?;
    let filter = Filter::with_blocks(blocks);
    let mut offset = header_bytes(covered.len()) as u64;
    let mut bytes = Vec::new();
    let mut crc = 0;
    for first in (0..blocks).step_by(STEP_BLOCKS) {
        bytes.resize((blocks - first).min(STEP_BLOCKS) * BLOCK_BYTES, 0);
        read_exact_at(&*file, offset, &mut bytes).ok()?;
        crc = crc32c::crc32c_append(crc, &bytes);
        filter.decode(first, &bytes);
        offset += bytes.len() as u64;
    }
    let mut found = [0; CRC_BYTES];
    read_exact_at(&*file, offset, &mut found).ok()?;
    let ids: u64 = covered.iter().map(|covered| covered.ids).sum();
    filter.add_ids(usize::try_from(ids).ok()?);
    (u32::from_le_bytes(found) == crc).then_some((filter, covered))
}

fn name(number: i64) -> String {
    format!("{PREFIX}{number}")
}

fn header_bytes(covered: usize) -> usize {
    FIXED_BYTES + covered * COVERED_BYTES + CRC_BYTES
}

fn header(number: i64, slice_nanos: i64, blocks: usize, covered: &[Covered]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(header_bytes(covered.len()));
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&slice_nanos.to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&(blocks as u64).to_le_bytes());
    let count = u32::try_from(covered.len()).expect("far fewer runs than 2^32 in one slice");
    bytes.extend_from_slice(&count.to_le_bytes());
    for Covered { first_lsn, last_lsn, ids } in covered {
        bytes.extend_from_slice(&first_lsn.0.to_le_bytes());
        bytes.extend_from_slice(&last_lsn.0.to_le_bytes());
        bytes.extend_from_slice(&ids.to_le_bytes());
    }
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes
}

/// Blocks and covered runs, when the header is sound, is for this slice and fits the file's size.
fn load_header(
    file: &dyn DiskFile,
    number: i64,
    slice_nanos: i64,
) -> Option<(usize, Vec<Covered>)> {
    let size = usize::try_from(file.size().ok()?).ok()?;
    let mut fixed = [0; FIXED_BYTES];
    read_exact_at(file, 0, &mut fixed).ok()?;
    let count = usize::try_from(u32::from_le_bytes(*fixed.last_chunk()?)).ok()?;
    if header_bytes(count) > size {
        return None;
    }
    let mut bytes = vec![0; header_bytes(count)];
    read_exact_at(file, 0, &mut bytes).ok()?;
    let (content, crc) = bytes.split_last_chunk()?;
    if crc32c::crc32c(content) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (head, covered) = content.split_at_checked(FIXED_BYTES)?;
    let (blocks_before, rest) = head.split_at_checked(FIXED_BYTES - 12)?;
    let blocks = usize::try_from(u64::from_le_bytes(*rest.first_chunk()?)).ok()?;
    let covered: Vec<_> = covered.as_chunks().0.iter().filter_map(covered_run).collect();
    let expected_size = blocks.checked_mul(BLOCK_BYTES)?.checked_add(bytes.len() + CRC_BYTES)?;
    // Everything before the number of blocks is known: it must be what would be written today.
    let fits = header(number, slice_nanos, blocks, &covered).starts_with(blocks_before);
    (fits && size == expected_size && blocks > 0).then_some((blocks, covered))
}

fn covered_run(bytes: &[u8; COVERED_BYTES]) -> Option<Covered> {
    let (first_lsn, rest) = bytes.split_first_chunk()?;
    let (last_lsn, rest) = rest.split_first_chunk()?;
    let ids = rest.first_chunk()?;
    Some(Covered {
        first_lsn: Lsn(u64::from_le_bytes(*first_lsn)),
        last_lsn: Lsn(u64::from_le_bytes(*last_lsn)),
        ids: u64::from_le_bytes(*ids),
    })
}
