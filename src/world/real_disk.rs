//! The data directory on a real file system, held by one process at a time.
//!
//! A [`Directory`] holds the lock file `LOCK` for as long as it lives; a second one, in this
//! process or another, is refused. Files are for the owner alone. It knows plain names only:
//! nothing below the directory and nothing hidden is listed, opened or made, and `LOCK` is not one
//! of its files.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::world::disk::{Disk, DiskFile, check_name};

const LOCK: &str = "LOCK";
const OWNER_ONLY_DIRECTORY: u32 = 0o700;
const OWNER_ONLY_FILE: u32 = 0o600;

/// A locked data directory; the lock is given back when it is dropped.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// The directory itself, opened so that its names can be synced.
    handle: File,
    access: Access,
    failed_name_syncs: AtomicU64,
    /// None only for a directory opened for reading in which no process has ever locked.
    _lock: Option<File>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    ReadWrite,
    ReadOnly,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another process works on it.
    #[error(
        "the data directory {} is in use by another process; stop that one or choose another \
         directory",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// There is something of that name, but it is no directory.
    #[error("{} is not a directory", path.display())]
    NotADirectory {
        /// What was given as the directory.
        path: PathBuf,
    },
    /// The operating system says no.
    #[error("{attempted} {}", path.display())]
    Io {
        /// What was attempted, for example `open`.
        attempted: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl Directory {
    /// Opens and locks the directory at `path`; makes it, for the owner alone, when it is missing.
    ///
    /// # Errors
    /// [`DirectoryError`]
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        create_missing(path)?;
        let handle = open_directory(path)?;
        let lock_path = path.join(LOCK);
        let lock = options(Access::ReadWrite)
            .create(true)
            .open(&lock_path)
            .map_err(io_error("create", &lock_path))?;
        lock_or_refuse(&lock, path)?;
        Ok(Self {
            path: path.to_owned(),
            handle,
            access: Access::ReadWrite,
            failed_name_syncs: AtomicU64::new(0),
            _lock: Some(lock),
        })
    }

    /// Opens and locks an existing directory for offline tools. Nothing in it is created or
    /// changed: every attempt to do so is an error of kind `PermissionDenied`.
    ///
    /// # Errors
    /// [`DirectoryError`]; a missing directory is its `Io` of kind `NotFound`.
    pub fn open_read_only(path: &Path) -> Result<Self, DirectoryError> {
        let handle = open_directory(path)?;
        let lock_path = path.join(LOCK);
        let lock = match options(Access::ReadOnly).open(&lock_path) {
            Ok(lock) => {
                lock_or_refuse(&lock, path)?;
                Some(lock)
            }
            // No daemon has ever worked here: a restored copy.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(io_error("open", &lock_path)(error)),
        };
        Ok(Self {
            path: path.to_owned(),
            handle,
            access: Access::ReadOnly,
            failed_name_syncs: AtomicU64::new(0),
            _lock: lock,
        })
    }

    /// Where the directory is, as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn file_path(&self, name: &str) -> io::Result<PathBuf> {
        check_name(name)?;
        if name == LOCK {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "LOCK is not a data file"));
        }
        Ok(self.path.join(name))
    }

    fn writable(&self) -> io::Result<()> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the data directory is open for reading only",
            )),
        }
    }
}

impl Disk for Directory {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = options(self.access).open(self.file_path(name)?)?;
        Ok(Arc::new(RealFile { file }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.writable()?;
        let file = options(self.access).create(true).truncate(true).open(self.file_path(name)?)?;
        Ok(Arc::new(RealFile { file }))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one door for files")]
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.writable()?;
        std::fs::rename(self.file_path(from)?, self.file_path(to)?)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one door for files")]
    fn remove(&self, name: &str) -> io::Result<()> {
        self.writable()?;
        std::fs::remove_file(self.file_path(name)?)
    }

    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            if !entry.file_type()?.is_file() {
                continue;
            }
            let Ok(name) = entry.file_name().into_string() else { continue };
            if self.file_path(&name).is_ok() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.handle.sync_all().inspect_err(|_| {
            self.failed_name_syncs.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn failed_name_syncs(&self) -> u64 {
        self.failed_name_syncs.load(Ordering::Relaxed)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let space = rustix::fs::fstatvfs(&self.handle)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }
}

#[derive(Debug)]
struct RealFile {
    file: File,
}

impl DiskFile for RealFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut rest = buffer;
        let mut position = offset;
        let mut total = 0;
        while !rest.is_empty() {
            match self.file.read_at(rest, position) {
                Ok(0) => break,
                Ok(count) => {
                    total += count;
                    position = position.saturating_add(count as u64);
                    rest = rest.split_at_mut(count).1;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn resize(&self, size: u64) -> io::Result<()> {
        self.file.set_len(size)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one door for files")]
fn options(access: Access) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(access == Access::ReadWrite).mode(OWNER_ONLY_FILE);
    options
}

fn io_error<'a>(
    attempted: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> DirectoryError + use<'a> {
    move |source| DirectoryError::Io { attempted, path: path.to_owned(), source }
}

/// Makes `path` and what is missing above it, each name durable before the next is made in it.
fn create_missing(path: &Path) -> Result<(), DirectoryError> {
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.exists())
        .collect();
    for directory in missing.into_iter().rev() {
        match DirBuilder::new().mode(OWNER_ONLY_DIRECTORY).create(directory) {
            Ok(()) => {}
            // Another process was quicker.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(io_error("create", directory)(error)),
        }
        let parent = match directory.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            Some(_) | None => Path::new("."),
        };
        open_directory(parent)?.sync_all().map_err(io_error("sync", parent))?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "this is the one door for files")]
fn open_directory(path: &Path) -> Result<File, DirectoryError> {
    let handle = File::open(path).map_err(io_error("open", path))?;
    let metadata = handle.metadata().map_err(io_error("look at", path))?;
    if metadata.is_dir() {
        Ok(handle)
    } else {
        Err(DirectoryError::NotADirectory { path: path.to_owned() })
    }
}

fn lock_or_refuse(lock: &File, path: &Path) -> Result<(), DirectoryError> {
    match lock.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(DirectoryError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(io_error("lock", &path.join(LOCK))(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::world::disk;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_missing_directory_is_made_for_the_owner_alone() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let directory = Directory::open(&path).unwrap();
        directory.create("state").unwrap();
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join("state")), 0o600);
        assert_eq!(mode(&path.join(LOCK)), 0o600);
    }

    #[test]
    fn one_directory_has_one_holder_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let first = Directory::open(parent.path()).unwrap();
        for second in [Directory::open(parent.path()), Directory::open_read_only(parent.path())] {
            let error = second.unwrap_err();
            assert!(matches!(&error, DirectoryError::InUse { path } if path == parent.path()));
            assert!(error.to_string().contains("in use by another process"), "{error}");
        }
        drop(first);
        let reader = Directory::open_read_only(parent.path()).unwrap();
        assert!(matches!(Directory::open(parent.path()), Err(DirectoryError::InUse { .. })));
        drop(reader);
        Directory::open(parent.path()).unwrap();
    }

    #[test]
    fn a_file_in_place_of_the_directory_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("file");
        std::fs::write(&path, "").unwrap();
        for opened in [Directory::open(&path), Directory::open_read_only(&path)] {
            let error = opened.unwrap_err();
            assert!(matches!(error, DirectoryError::NotADirectory { .. }), "{error:?}");
        }
    }

    #[test]
    fn a_directory_open_for_reading_changes_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("copy");
        let missing = Directory::open_read_only(&path).unwrap_err();
        assert!(
            matches!(missing, DirectoryError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
        );
        assert!(!path.exists());

        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("state"), "before").unwrap();
        let directory = Directory::open_read_only(&path).unwrap();
        for refused in [
            directory.create("new").map(drop),
            directory.rename("state", "other"),
            directory.remove("state"),
        ] {
            assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        }
        directory.open("state").unwrap().write_at(0, b"after").unwrap_err();
        assert_eq!(disk::read_all(&directory, "state").unwrap(), b"before");
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 1);
    }

    #[test]
    fn only_plain_names_are_files_of_the_directory() {
        let parent = tempfile::tempdir().unwrap();
        let directory = Directory::open(parent.path()).unwrap();
        for name in ["", ".", "..", ".hidden", "a/b", "../up", "nul\0", LOCK] {
            assert_eq!(
                directory.create(name).unwrap_err().kind(),
                io::ErrorKind::InvalidInput,
                "{name:?}"
            );
            assert!(directory.rename("x", name).is_err(), "{name:?}");
        }
        std::fs::create_dir(parent.path().join("folder")).unwrap();
        std::fs::write(parent.path().join(".hidden"), "").unwrap();
        directory.create("b").unwrap();
        directory.create("a").unwrap();
        assert_eq!(directory.names().unwrap(), ["a", "b"]);
    }

    #[test]
    fn a_file_reads_back_what_was_written_and_ends_where_it_ends() {
        let parent = tempfile::tempdir().unwrap();
        let directory = Directory::open(parent.path()).unwrap();
        let file = directory.create("file").unwrap();
        file.write_at(4, b"later").unwrap();
        file.resize(12).unwrap();
        file.sync().unwrap();
        directory.sync_names().unwrap();
        let mut buffer = [9; 20];
        assert_eq!(file.read_at(2, &mut buffer).unwrap(), 10);
        assert_eq!(&buffer[..11], b"\0\0later\0\0\0\x09");
        assert_eq!(file.read_at(12, &mut buffer).unwrap(), 0);

        disk::replace(&directory, "file", b"new").unwrap();
        assert_eq!(disk::read_all(&directory, "file").unwrap(), b"new");
        assert_eq!(directory.names().unwrap(), ["file"]);
        assert_eq!(directory.open("none").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(directory.free_bytes().unwrap() > 0);
    }
}
