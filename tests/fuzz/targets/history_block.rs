//! Blocks of history, whose checksum was right and whose bytes may still be anything.
//!
//! Laws: the items of a block have LSNs without a gap, from the first on; packing them anew gives a
//! block with the same items, and that one packs to its own bytes. The input is a block.

use quipu::model::{Lsn, Scalar};
use quipu::storage::history::{Record, Stored, pack_block, unpack_block};

const FIRST_LSN: Lsn = Lsn(7);
/// A writer takes no event with longer texts.
const EVENT_BYTES_MAX: usize = 1 << 20;
/// Nor a longer record.
const RECORD_BYTES_MAX: usize = 16 << 20;

/// Holds the laws for `data`.
///
/// # Panics
/// When one is broken.
pub fn check(data: &[u8]) {
    let Some(Some(packed)) = unpack_block(data, FIRST_LSN, repacked) else { return };
    let again = unpack_block(&packed, FIRST_LSN, pack_block);
    assert_eq!(again, Some(packed));
}

/// The block of these items, which was found to hold them; `None` when no writer would have taken
/// them.
fn repacked(events: &[Stored<'_>], records: &[Record<'_>]) -> Option<Vec<u8>> {
    let lsns = events.iter().map(|event| event.lsn).chain(records.iter().map(|it| it.lsn));
    let mut lsns: Vec<u64> = lsns.map(|lsn| lsn.0).collect();
    lsns.sort_unstable();
    assert!(lsns.iter().copied().eq((FIRST_LSN.0..).take(lsns.len())), "{lsns:?}");
    let is_writable = events.iter().all(|it| text_bytes(it) <= EVENT_BYTES_MAX)
        && records.iter().all(|it| it.payload.len() <= RECORD_BYTES_MAX);
    is_writable.then(|| {
        let packed = pack_block(events, records);
        let same = unpack_block(&packed, FIRST_LSN, |found_events, found_records| {
            assert_eq!(found_events, events);
            assert_eq!(found_records, records);
        });
        same.expect("what was packed can be unpacked");
        packed
    })
}

fn text_bytes(stored: &Stored<'_>) -> usize {
    let event = &stored.event;
    let value = |value: &Scalar<'_>| match value {
        Scalar::String(text) => text.len(),
        Scalar::Number(number) => number.as_str().len(),
        Scalar::Boolean(_) => 5,
    };
    let members = event.metadata.iter().flatten().map(|(key, it)| key.len() + value(it));
    event.id.len() + event.customer_id.len() + event.name.len() + members.sum::<usize>()
}
