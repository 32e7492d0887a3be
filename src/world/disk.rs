//! Files as they come in from outside: one flat data directory.
//!
//! Names are plain file names; nothing a client sends ever becomes one. A file's bytes are durable
//! after [`DiskFile::sync`]; that a name exists, no longer exists or means another file is durable
//! after [`Disk::sync_names`].

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

/// One data directory.
pub trait Disk: Debug + Send + Sync {
    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// `NotFound` when there is none, or what the operating system says.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Creates an empty file that only the owner may read, or empties the one of that name.
    ///
    /// # Errors
    /// What the operating system says.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, replacing the file of that name.
    ///
    /// # Errors
    /// What the operating system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound` when there is none, or what the operating system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// The names of all files, sorted.
    ///
    /// # Errors
    /// What the operating system says.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Makes creations, removals and renames durable.
    ///
    /// # Errors
    /// What the operating system says; afterwards it is unknown which of them are durable.
    fn sync_names(&self) -> io::Result<()>;

    /// How often [`Disk::sync_names`] has failed, for anybody. Names that were made before such a failure may
    /// not be durable, although a later call says so: whoever relies on one that it has made must have seen
    /// no failure since.
    fn failed_name_syncs(&self) -> u64;

    /// Bytes that can still be written.
    ///
    /// # Errors
    /// What the operating system says.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// An open file. Offsets are bytes from its start.
pub trait DiskFile: Debug + Send + Sync {
    /// The file's size in bytes.
    ///
    /// # Errors
    /// What the operating system says.
    fn size(&self) -> io::Result<u64>;

    /// Reads up to `buffer.len()` bytes at `offset` and says how many; fewer only at the end.
    ///
    /// # Errors
    /// What the operating system says.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`, growing the file if needed.
    ///
    /// # Errors
    /// What the operating system says; any part may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file off at `size` bytes, or grows it with zeros.
    ///
    /// # Errors
    /// What the operating system says.
    fn resize(&self, size: u64) -> io::Result<()>;

    /// Makes the bytes and the size durable (`fdatasync`).
    ///
    /// # Errors
    /// What the operating system says; afterwards the file's unsynced bytes are in doubt for ever
    /// and the file must not be synced again.
    fn sync(&self) -> io::Result<()>;
}

/// Reads exactly `buffer.len()` bytes at `offset`.
///
/// # Errors
/// `UnexpectedEof` when the file is shorter.
pub fn read_exact_at(file: &dyn DiskFile, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    if file.read_at(offset, buffer)? == buffer.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// The whole content of the file `name`.
///
/// # Errors
/// `NotFound` when there is none, or what the operating system says.
pub fn read_all(disk: &dyn Disk, name: &str) -> io::Result<Vec<u8>> {
    let file = disk.open(name)?;
    let size = usize::try_from(file.size()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; size];
    read_exact_at(&*file, 0, &mut bytes)?;
    Ok(bytes)
}

/// Writes a small file so that after a crash either the old content is there or the new one.
///
/// # Errors
/// What the operating system says; the old content is then still in place.
pub fn replace(disk: &dyn Disk, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = format!("{name}.tmp");
    // Not emptied but removed: whatever lies there may have failed a sync.
    remove_if_there(disk, &temporary)?;
    let file = disk.create(&temporary)?;
    file.write_at(0, bytes)?;
    file.sync()?;
    disk.rename(&temporary, name)?;
    disk.sync_names()
}

/// Bytes of a file that are given back at once.
const GIVEN_BACK_AT_ONCE: u64 = 4 << 20;

/// Gives back a little of what a file takes that has lost its name and that nobody will read any more; false
/// when only little is left, which may go when it is closed.
///
/// A file system may tell its disk of all that becomes free, while it makes that durable (ext4's `discard`),
/// and whoever syncs any other file waits for it. A sync of the log that took 0.5 ms took 24 to 62 beside
/// the removal of 256 MiB at once, and 1.4 at most with these steps (measured).
///
/// # Errors
/// What the operating system says; the rest is given back when the file is closed.
pub fn give_back(file: &dyn DiskFile) -> io::Result<bool> {
    let bytes = file.size()?;
    if bytes <= GIVEN_BACK_AT_ONCE {
        return Ok(false);
    }
    file.resize(bytes - GIVEN_BACK_AT_ONCE)?;
    file.sync()?;
    Ok(true)
}

/// Removes a file that nobody has open, and gives back what it took, a little at a time (see [`give_back`]). Until
/// names are synced, a power cut may bring it back with a part of its content.
///
/// # Errors
/// What the operating system says of the name; that less was given back hurts nobody.
pub fn remove_large(disk: &dyn Disk, name: &str) -> io::Result<()> {
    let file = disk.open(name);
    disk.remove(name)?;
    if let Ok(file) = file {
        while give_back(&*file).unwrap_or(false) {}
    }
    Ok(())
}

/// Removes a file that may not exist.
///
/// # Errors
/// What the operating system says.
pub fn remove_if_there(disk: &dyn Disk, name: &str) -> io::Result<()> {
    match disk.remove(name) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => Err(cause),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Refuses what is not a plain file name: empty, hidden, or reaching into another directory.
pub(super) fn check_name(name: &str) -> io::Result<()> {
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{name:?} is not a plain file name"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::sim::{FaultKind, Repeat, SimDisk};

    const STEP: u64 = GIVEN_BACK_AT_ONCE;

    #[test]
    fn a_large_file_loses_its_name_and_is_given_back_a_little_at_a_time() {
        for (bytes, rest) in
            [(0, 0), (1, 1), (STEP, STEP), (STEP + 1, 1), (3 * STEP, STEP), (3 * STEP + 7, 7)]
        {
            let disk = SimDisk::new();
            let file = disk.create("large").unwrap();
            file.resize(bytes).unwrap();
            let before = disk.operations();
            remove_large(&disk, "large").unwrap();
            let steps = bytes.saturating_sub(rest) / STEP;
            // Open, remove, size; then a cut, a sync and a size each.
            assert_eq!(disk.operations() - before, 3 + 3 * steps);
            assert_eq!((disk.names().unwrap(), file.size().unwrap()), (Vec::new(), rest));
        }
        let missing = remove_large(&SimDisk::new(), "missing").unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_name_goes_whatever_becomes_of_the_content() {
        for failing in 1..10 {
            let disk = SimDisk::new();
            let file = disk.create("large").unwrap();
            file.resize(3 * STEP).unwrap();
            disk.fail_at(disk.operations() + failing, FaultKind::Io, Repeat::Once);
            let removed = remove_large(&disk, "large").is_ok();
            disk.clear_faults();
            // The second operation is the removal itself.
            assert_eq!(removed, failing != 2);
            assert_eq!(disk.names().unwrap().is_empty(), removed);
            assert!(removed || file.size().unwrap() == 3 * STEP, "what keeps its name is whole");
        }
    }
}
