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
