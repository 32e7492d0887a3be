//! Snapshot files: checked chunks of opaque bytes that together are one checkpoint's accumulators.
//!
//! A file is written once under its own name and never changed. Nothing refers to it until it was
//! synced, read back and found good; then the row store names it together with its hash.
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | magic `QUIPUSNP` |
//! | 4 | format version |
//! | 16 | incarnation of the data directory |
//! | then per chunk: 4 | payload bytes, at least 1 |
//! | 4 | CRC32C of the length and the payload |
//! | … | payload |
//! | at the end: 4 | zero |
//! | 32 | BLAKE3 of everything before |
//!
//! Numbers are little-endian.

use std::io;
use std::sync::Arc;

use crate::world::disk::remove_if_there;
use crate::world::{Disk, DiskFile};

const MAGIC: &[u8; 8] = b"QUIPUSNP";
const VERSION: u32 = 1;
const HEAD_BYTES: usize = 8 + 4 + 16;
const CHUNK_HEAD_BYTES: usize = 4 + 4;
const HASH_BYTES: usize = 32;
/// No chunk is larger; a longer length is damage and is not believed.
pub const CHUNK_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Written and synced at once, so that a commit never waits long behind a snapshot.
const STEP_BYTES: usize = 4 * 1024 * 1024;

/// The hash of a whole snapshot file.
pub type SnapshotHash = [u8; HASH_BYTES];

/// Why a snapshot cannot be written or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read or written.
    #[error("access snapshot {name}")]
    Io {
        /// The file.
        name: String,
        /// The cause.
        #[source]
        cause: io::Error,
    },
    /// The file is not what was written.
    #[error("snapshot {name} is damaged at byte {offset}: {what}")]
    Damaged {
        /// The file.
        name: String,
        /// Where.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The file was written by a newer program, or belongs to another data directory.
    #[error("snapshot {name} {what}")]
    Foreign {
        /// The file.
        name: String,
        /// Why.
        what: &'static str,
    },
}

/// Writes a snapshot file.
#[derive(Debug)]
pub struct Writer {
    name: String,
    file: Arc<dyn DiskFile>,
    pending: Vec<u8>,
    /// Bytes written so far.
    offset: u64,
    hasher: blake3::Hasher,
    /// Failures to make names durable before this one was made.
    failed_name_syncs: u64,
}

impl Writer {
    /// Starts the file `name` of the data directory `incarnation`.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn create(disk: &dyn Disk, name: &str, incarnation: [u8; 16]) -> Result<Self, Error> {
        // Not emptied but removed: an earlier attempt at this LSN may have failed to make its name durable,
        // and no later sync could heal that.
        let failed_name_syncs = disk.failed_name_syncs();
        let file = remove_if_there(disk, name)
            .and_then(|()| disk.create(name))
            .map_err(|cause| Error::Io { name: name.to_owned(), cause })?;
        let mut pending = Vec::with_capacity(STEP_BYTES);
        pending.extend_from_slice(MAGIC);
        pending.extend_from_slice(&VERSION.to_le_bytes());
        pending.extend_from_slice(&incarnation);
        let hasher = blake3::Hasher::new();
        Ok(Self { name: name.to_owned(), file, pending, offset: 0, hasher, failed_name_syncs })
    }

    /// Appends a chunk; an empty one is left out. Writes and syncs whenever 4 MiB are together.
    ///
    /// # Errors
    /// [`Error::Io`]; the file is then of no use.
    ///
    /// # Panics
    /// When the chunk is larger than [`CHUNK_BYTES_MAX`].
    pub fn chunk(&mut self, payload: &[u8]) -> Result<(), Error> {
        assert!(payload.len() <= CHUNK_BYTES_MAX, "chunks are cut by the caller");
        if payload.is_empty() {
            return Ok(());
        }
        // Fits: at most CHUNK_BYTES_MAX.
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
        let crc = crc32c::crc32c_append(crc32c::crc32c(&length), payload);
        self.pending.extend_from_slice(&length);
        self.pending.extend_from_slice(&crc.to_le_bytes());
        self.pending.extend_from_slice(payload);
        if self.pending.len() >= STEP_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.hasher.update(&self.pending);
        let failed = |cause| Error::Io { name: self.name.clone(), cause };
        self.file.write_at(self.offset, &self.pending).map_err(failed)?;
        self.file.sync().map_err(failed)?;
        self.offset += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// Ends the file and makes it durable, its name too.
    ///
    /// # Errors
    /// [`Error::Io`]
    pub fn finish(mut self, disk: &dyn Disk) -> Result<SnapshotHash, Error> {
        self.pending.extend_from_slice(&0_u32.to_le_bytes());
        self.flush()?;
        let hash = *self.hasher.finalize().as_bytes();
        let failed = |cause| Error::Io { name: self.name.clone(), cause };
        self.file.write_at(self.offset, &hash).map_err(failed)?;
        self.file.sync().map_err(failed)?;
        disk.sync_names().map_err(failed)?;
        if disk.failed_name_syncs() != self.failed_name_syncs {
            // Somebody else's, who tries again: for this name that is too late.
            return Err(failed(io::Error::other("its name may not be durable")));
        }
        Ok(hash)
    }
}

/// Reads a snapshot file from front to back, checking as it goes.
#[derive(Debug)]
pub struct Reader {
    name: String,
    file: Arc<dyn DiskFile>,
    offset: u64,
    hasher: blake3::Hasher,
    recorded: SnapshotHash,
}

impl Reader {
    /// Opens the file `name` of the data directory `incarnation`; its hash was recorded.
    ///
    /// # Errors
    /// [`Error`]
    pub fn open(
        disk: &dyn Disk,
        name: &str,
        incarnation: [u8; 16],
        recorded: &SnapshotHash,
    ) -> Result<Self, Error> {
        let file = disk.open(name).map_err(|cause| Error::Io { name: name.to_owned(), cause })?;
        let name = name.to_owned();
        let (hasher, recorded) = (blake3::Hasher::new(), *recorded);
        let mut reader = Self { name, file, offset: 0, hasher, recorded };
        let head: [u8; HEAD_BYTES] = reader.read_array()?;
        let (magic, rest) = head.split_at(MAGIC.len());
        let (version, owner) = rest.split_at(4);
        if magic != MAGIC {
            return Err(reader.damaged("the magic is missing"));
        }
        if version != VERSION.to_le_bytes() {
            return Err(reader.foreign("has a format that this version of quipu does not know"));
        }
        if owner != incarnation {
            return Err(reader.foreign("belongs to another data directory"));
        }
        Ok(reader)
    }

    fn read_array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        let failed = |cause| Error::Io { name: self.name.clone(), cause };
        let got = self.file.read_at(self.offset, bytes).map_err(failed)?;
        if got != bytes.len() {
            return Err(self.damaged("the file ends too early"));
        }
        self.hasher.update(bytes);
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn damaged(&self, what: &'static str) -> Error {
        Error::Damaged { name: self.name.clone(), offset: self.offset, what }
    }

    fn foreign(&self, what: &'static str) -> Error {
        Error::Foreign { name: self.name.clone(), what }
    }

    /// The next chunk, or nothing when all were read and the whole file was found good.
    ///
    /// # Errors
    /// [`Error`]
    pub fn chunk(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let length_bytes: [u8; 4] = self.read_array()?;
        let length = u32::from_le_bytes(length_bytes) as usize;
        if length == 0 {
            return self.end().map(|()| None);
        }
        if length > CHUNK_BYTES_MAX {
            return Err(self.damaged("a chunk is longer than chunks are"));
        }
        let crc: [u8; CHUNK_HEAD_BYTES - 4] = self.read_array()?;
        let mut payload = vec![0; length];
        self.read(&mut payload)?;
        let found = crc32c::crc32c_append(crc32c::crc32c(&length_bytes), &payload);
        if found.to_le_bytes() != crc {
            return Err(self.damaged("the checksum of a chunk differs"));
        }
        Ok(Some(payload))
    }

    fn end(&mut self) -> Result<(), Error> {
        let hash = self.hasher.finalize();
        let stored: SnapshotHash = self.read_array()?;
        if hash != stored {
            return Err(self.damaged("the hash of the file differs"));
        }
        let failed = |cause| Error::Io { name: self.name.clone(), cause };
        if self.file.size().map_err(failed)? != self.offset {
            return Err(self.damaged("bytes follow the end"));
        }
        if stored != self.recorded {
            return Err(self.foreign("is not the one that was recorded"));
        }
        Ok(())
    }
}

/// Reads a whole snapshot and says whether it is good and has this hash.
///
/// # Errors
/// [`Error`]
pub fn verify(
    disk: &dyn Disk,
    name: &str,
    incarnation: [u8; 16],
    hash: &SnapshotHash,
) -> Result<(), Error> {
    let mut reader = Reader::open(disk, name, incarnation, hash)?;
    while reader.chunk()?.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::sim::{FaultKind, Repeat, SimDisk};

    const NAME: &str = "snapshot-1";
    const OWNER: [u8; 16] = [7; 16];

    fn written(disk: &dyn Disk, chunks: &[Vec<u8>]) -> SnapshotHash {
        let mut writer = Writer::create(disk, NAME, OWNER).unwrap();
        for chunk in chunks {
            writer.chunk(chunk).unwrap();
        }
        writer.finish(disk).unwrap()
    }

    fn read(disk: &dyn Disk, hash: &SnapshotHash) -> Result<Vec<Vec<u8>>, Error> {
        let mut reader = Reader::open(disk, NAME, OWNER, hash)?;
        let mut chunks = Vec::new();
        while let Some(chunk) = reader.chunk()? {
            chunks.push(chunk);
        }
        Ok(chunks)
    }

    /// Another job's attempt to make names durable fails, and its next one succeeds: this name may be lost all
    /// the same, as a life of the simulation has shown.
    #[test]
    fn a_name_that_was_in_the_making_when_a_sync_failed_is_not_relied_on() {
        let disk = SimDisk::new();
        let writer = Writer::create(&disk, NAME, OWNER).unwrap();
        disk.fail_at(disk.operations() + 1, FaultKind::Io, Repeat::Once);
        disk.sync_names().unwrap_err();
        disk.sync_names().unwrap();
        assert!(matches!(writer.finish(&disk), Err(Error::Io { .. })));
        let hash = written(&disk, &[b"again".to_vec()]);
        let after = disk.crash_dropping_all();
        assert_eq!(read(&after, &hash).unwrap(), [b"again".to_vec()]);
    }

    #[test]
    fn chunks_are_read_back_in_order() {
        let disk = SimDisk::new();
        let chunks = vec![vec![1; 5], vec![2; STEP_BYTES + 1], vec![3]];
        let hash = written(&disk, &chunks);
        assert_eq!(read(&disk.crash_dropping_all(), &hash).unwrap(), chunks);
        verify(&disk, NAME, OWNER, &hash).unwrap();
        let error = verify(&disk, NAME, OWNER, &[0; 32]).unwrap_err();
        assert!(matches!(error, Error::Foreign { .. }), "{error}");
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let disk = SimDisk::new();
        let hash = written(&disk, &[vec![1; 40], vec![2; 3]]);
        let size = disk.image(NAME).len() as u64;
        for offset in 0..size {
            for bit in 0..8 {
                disk.flip_bit(NAME, offset, bit);
                assert!(read(&disk, &hash).is_err(), "byte {offset} bit {bit}");
                disk.flip_bit(NAME, offset, bit);
            }
        }
        read(&disk, &hash).unwrap();
    }

    #[test]
    fn every_cut_and_every_addition_is_found() {
        let disk = SimDisk::new();
        let hash = written(&disk, &[vec![1; 40]]);
        let whole = disk.image(NAME);
        for size in 0..whole.len() {
            let file = disk.create(NAME).unwrap();
            file.write_at(0, &whole[..size]).unwrap();
            assert!(read(&disk, &hash).is_err(), "cut at {size}");
        }
        let file = disk.create(NAME).unwrap();
        file.write_at(0, &whole).unwrap();
        file.write_at(whole.len() as u64, &[0]).unwrap();
        assert!(read(&disk, &hash).is_err());
    }

    #[test]
    fn a_snapshot_of_another_directory_is_refused() {
        let disk = SimDisk::new();
        let hash = written(&disk, &[vec![1]]);
        let error = Reader::open(&disk, NAME, [8; 16], &hash).unwrap_err();
        assert!(matches!(error, Error::Foreign { .. }), "{error}");
    }
}
