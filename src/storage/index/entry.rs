//! An event id as the index knows it: a keyed hash with the LSN and fingerprint of its first copy.
//!
//! The hash is uniform and nobody outside can aim at one, so that tables, filters and runs use its
//! bits as they are. Two ids with one hash count as one id: at 10^12 ids the chance is 10^-15.

use siphasher::sip128::SipHasher13;

use crate::model::Lsn;

/// Bytes of one entry on disk: hash (16), LSN (8), fingerprint (4), each little-endian.
pub const ENTRY_BYTES: usize = 28;

/// The keyed hash of an event id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdHash(pub u128);

impl IdHash {
    /// The upper half: places an id in a table or filter, in the order of the hashes.
    pub(crate) fn high(self) -> u64 {
        u64::try_from(self.0 >> 64).expect("64 bits are left")
    }

    /// The lower half.
    pub(crate) fn low(self) -> u64 {
        u64::try_from(self.0 & u128::from(u64::MAX)).expect("64 bits are left")
    }

    /// A place below `count`, uniform and ascending with the hash.
    pub(crate) fn place(self, count: usize) -> usize {
        let product = u128::from(self.high()) * count as u128;
        usize::try_from(product >> 64).expect("below `count`")
    }
}

/// Hashes event ids under the secret of one data directory.
#[derive(Clone, Copy)]
pub struct IdHasher {
    hasher: SipHasher13,
}

impl IdHasher {
    /// A hasher for ids under `secret`; another secret gives unrelated hashes.
    pub fn new(secret: [u8; 16]) -> Self {
        Self { hasher: SipHasher13::new_with_key(&secret) }
    }

    /// The 128-bit SipHash-1-3 of the id's bytes.
    pub fn hash(&self, id: &str) -> IdHash {
        self.hash_bytes(id.as_bytes())
    }

    /// [`Self::hash`] of an id whose bytes were not checked to be UTF-8.
    pub(crate) fn hash_bytes(&self, id: &[u8]) -> IdHash {
        IdHash(self.hasher.hash(id).as_u128())
    }
}

impl std::fmt::Debug for IdHasher {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdHasher").finish_non_exhaustive()
    }
}

/// One event id with what is known of its first copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdEntry {
    /// The id.
    pub hash: IdHash,
    /// The LSN of the first copy; never zero.
    pub lsn: Lsn,
    /// The fingerprint of the first copy's content.
    pub fingerprint: u32,
}

/// What is known of an id that was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The LSN of the first copy.
    pub lsn: Lsn,
    /// The fingerprint of the first copy's content.
    pub fingerprint: u32,
}

impl IdEntry {
    /// The entry without its id.
    pub fn hit(self) -> Hit {
        Hit { lsn: self.lsn, fingerprint: self.fingerprint }
    }

    /// The entry as it stands in a block.
    pub fn to_bytes(self) -> [u8; ENTRY_BYTES] {
        let mut bytes = [0; ENTRY_BYTES];
        let (hash, rest) = bytes.split_at_mut(16);
        let (lsn, fingerprint) = rest.split_at_mut(8);
        hash.copy_from_slice(&self.hash.0.to_le_bytes());
        lsn.copy_from_slice(&self.lsn.0.to_le_bytes());
        fingerprint.copy_from_slice(&self.fingerprint.to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; ENTRY_BYTES]) -> Self {
        const WIDTHS: &str = "16, 8 and 4 bytes make an entry";
        let (hash, rest) = bytes.split_first_chunk().expect(WIDTHS);
        let (lsn, rest) = rest.split_first_chunk().expect(WIDTHS);
        let fingerprint = rest.first_chunk().expect(WIDTHS);
        Self {
            hash: IdHash(u128::from_le_bytes(*hash)),
            lsn: Lsn(u64::from_le_bytes(*lsn)),
            fingerprint: u32::from_le_bytes(*fingerprint),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_never_change_once_a_data_directory_exists() {
        // The reference vectors of SipHash have no 1-3 variant with 128 bits: these were computed
        // once with siphasher 1.0.4 and pin the format.
        let secret = std::array::from_fn(|index| u8::try_from(index).unwrap());
        let hasher = IdHasher::new(secret);
        assert_eq!(hasher.hash("").0, 1_579_449_343_150_111_799_909_517_415_639_973_607);
        assert_eq!(hasher.hash("evt_1").0, 29_706_256_987_792_602_787_702_469_519_258_419_030);
        assert_ne!(IdHasher::new([0; 16]).hash("evt_1"), hasher.hash("evt_1"));
        assert_eq!(format!("{hasher:?}"), "IdHasher { .. }");
    }

    #[test]
    fn entries_have_a_fixed_layout() {
        let entry = IdEntry {
            hash: IdHash(0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100),
            lsn: Lsn(0x1716_1514_1312_1110),
            fingerprint: 0x1b1a_1918,
        };
        let bytes = std::array::from_fn(|index| u8::try_from(index).unwrap());
        assert_eq!(entry.to_bytes(), bytes);
        assert_eq!(IdEntry::from_bytes(&bytes), entry);
    }

    #[test]
    fn places_ascend_with_the_hash_and_stay_below_the_count() {
        assert_eq!(IdHash(0).place(7), 0);
        assert_eq!(IdHash(u128::MAX).place(7), 6);
        assert_eq!(IdHash(u128::MAX / 2).place(7), 3);
    }
}
