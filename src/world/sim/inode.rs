//! One simulated file: what programs see, and what a power cut would leave of it.
//!
//! A power cut keeps the durable bytes. Of each unsynced change it keeps all, nothing, or any of
//! the 512-byte sectors it touches; later changes do not depend on earlier ones having survived.

use std::ops::Range;
use std::sync::Arc;

use super::journal::{Journal, Left, PowerCut};

/// Disks write sectors of this size whole or not at all.
const SECTOR_BYTES: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    journal: Journal<Change>,
    /// Shared with every open file, so that a nameless inode is kept while one is open.
    pub(super) handles: Arc<()>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Resize { size: usize },
}

impl Inode {
    /// A file whose bytes are all durable.
    pub(super) fn durable(bytes: Vec<u8>) -> Self {
        Self { live: bytes.clone(), durable: bytes, ..Self::default() }
    }

    /// The same file seen by the next process: nothing is lost, and nothing more is durable.
    pub(super) fn restarted(&self) -> Self {
        Self {
            live: self.live.clone(),
            durable: self.durable.clone(),
            journal: self.journal.clone(),
            handles: Arc::default(),
        }
    }

    pub(super) fn live(&self) -> &[u8] {
        &self.live
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let change = Change::Write { offset, bytes: bytes.to_vec() };
        change.apply(&mut self.live);
        self.journal.push(change);
    }

    pub(super) fn resize(&mut self, size: usize) {
        let change = Change::Resize { size };
        change.apply(&mut self.live);
        self.journal.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in self.journal.sync() {
            change.apply(&mut self.durable);
        }
    }

    pub(super) fn sync_failed(&mut self) {
        self.journal.sync_failed();
    }

    /// The bytes after a power cut.
    pub(super) fn cut(&self, power: &mut PowerCut) -> Vec<u8> {
        let mut image = self.durable.clone();
        for (left, change) in self.journal.cut(power) {
            match left {
                Left::All => change.apply(&mut image),
                Left::Some => change.apply_torn(&mut image, power),
                Left::Nothing => {}
            }
        }
        image
    }

    /// Flips a bit wherever the byte stands: seen, durable or waiting. False past the end.
    pub(super) fn flip(&mut self, offset: usize, bit: u8) -> bool {
        let mask = 1 << (bit % 8);
        let images = [self.live.get_mut(offset), self.durable.get_mut(offset)];
        let is_inside = images.iter().any(Option::is_some);
        let waiting = self.journal.changes_mut().filter_map(|change| change.byte_mut(offset));
        for byte in images.into_iter().flatten().chain(waiting) {
            *byte ^= mask;
        }
        is_inside
    }
}

impl Change {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => put(image, *offset, bytes),
            Self::Resize { size } => image.resize(*size, 0),
        }
    }

    fn apply_torn(&self, image: &mut Vec<u8>, power: &mut PowerCut) {
        match self {
            Self::Write { offset, bytes } => {
                for part in sectors(*offset, bytes.len()) {
                    if power.keeps_part() {
                        let sector = bytes.get(part.clone()).expect("sectors lie in the write");
                        put(image, offset + part.start, sector);
                    }
                }
            }
            // A size is one number in one sector.
            Self::Resize { size } => {
                if power.keeps_part() {
                    image.resize(*size, 0);
                }
            }
        }
    }

    fn byte_mut(&mut self, position: usize) -> Option<&mut u8> {
        match self {
            Self::Write { offset, bytes } => bytes.get_mut(position.checked_sub(*offset)?),
            Self::Resize { .. } => None,
        }
    }
}

fn put(image: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image.get_mut(offset..end).expect("the image was grown to the end").copy_from_slice(bytes);
}

/// The parts of a write of `count` bytes at `offset` that lie in one sector each.
fn sectors(offset: usize, count: usize) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest_of_sector = SECTOR_BYTES - (offset + start) % SECTOR_BYTES;
        let part = start..count.min(start + rest_of_sector);
        start = part.end;
        (!part.is_empty()).then_some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_cover_a_write_and_break_where_the_disk_does() {
        let parts: Vec<_> = sectors(500, 1_040).collect();
        assert_eq!(parts, [0..12, 12..524, 524..1_036, 1_036..1_040]);
        assert_eq!(sectors(512, 513).collect::<Vec<_>>(), [0..512, 512..513]);
        assert_eq!(sectors(3, 0).count(), 0);
    }
}
