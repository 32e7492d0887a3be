//! Blocks of the index of event ids.
//!
//! Laws: bytes are a block exactly when they are whole entries and their checksum; packing what was
//! unpacked gives the same bytes; an id is found exactly when a walk over all entries finds it. The
//! input is entries; a first byte says whether they are sorted, sealed or taken as they are.

use std::collections::BTreeMap;

use quipu::model::Lsn;
use quipu::storage::index::{
    BLOCK_IDS_MAX, ENTRY_BYTES, IdEntry, IdHash, find_packed, pack_block, unpack_block,
};

use super::input::{Input, field};

/// Holds the laws for `data`.
///
/// # Panics
/// When one is broken.
pub fn check(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind % 4 {
        0 => check_bytes(rest),
        1 => check_bytes(&[rest, &crc32c::crc32c(rest).to_le_bytes()].concat()),
        _ => check_entries(rest),
    }
}

/// What the table in `entry.rs` says of one entry.
fn naive_entry(bytes: &[u8]) -> IdEntry {
    IdEntry {
        hash: IdHash(u128::from_le_bytes(field(bytes, 0).unwrap())),
        lsn: Lsn(u64::from_le_bytes(field(bytes, 16).unwrap())),
        fingerprint: u32::from_le_bytes(field(bytes, 24).unwrap()),
    }
}

fn check_bytes(bytes: &[u8]) {
    let naive = bytes.split_last_chunk().filter(|(entries, crc)| {
        entries.len() % ENTRY_BYTES == 0 && crc32c::crc32c(entries).to_le_bytes() == **crc
    });
    let found = unpack_block(bytes);
    assert_eq!(found.is_some(), naive.is_some());
    let (Some(found), Some((entries, _))) = (found, naive) else { return };
    let read: Vec<_> = entries.chunks(ENTRY_BYTES).map(naive_entry).collect();
    assert!(read.iter().map(|entry| entry.to_bytes()).eq(found.iter().copied()));
    let mut packed = vec![1];
    pack_block(&read, &mut packed);
    assert_eq!(packed, bytes);
    for entry in &read {
        // Of unsorted entries, any found one must at least be there.
        let hit = find_packed(found, entry.hash);
        assert!(hit.is_none_or(|hit| read.iter().any(|other| other.hit() == hit)));
    }
}

fn check_entries(bytes: &[u8]) {
    let mut input = Input(bytes);
    let mut entries = BTreeMap::new();
    while !input.is_empty() && entries.len() < BLOCK_IDS_MAX {
        // Few different hashes, so that neighbours come up.
        let high = u128::from(input.byte()) << 120;
        let hash = high | u128::from(input.byte() & 3) << 64 | u128::from(input.byte() & 3);
        let lsn = Lsn(u64::from(input.u16()) + 1);
        entries.insert(hash, IdEntry { hash: IdHash(hash), lsn, fingerprint: input.byte().into() });
    }
    let sorted: Vec<_> = entries.values().copied().collect();
    let mut block = Vec::new();
    pack_block(&sorted, &mut block);
    assert_eq!(block.len(), sorted.len() * ENTRY_BYTES + 4);
    check_bytes(&block);
    let packed = unpack_block(&block).unwrap();
    for hash in entries.keys().flat_map(|hash| [hash.wrapping_sub(1), *hash, hash.wrapping_add(1)])
    {
        let expected = sorted.iter().find(|entry| entry.hash.0 == hash).map(|entry| entry.hit());
        assert_eq!(find_packed(packed, IdHash(hash)), expected);
    }
    if let Some(first) = bytes.first() {
        let (at, bit) = (usize::from(*first) * 7 % block.len(), first % 8);
        block[at] ^= 1 << bit;
        assert!(unpack_block(&block).is_none(), "a flipped bit is found");
    }
}
