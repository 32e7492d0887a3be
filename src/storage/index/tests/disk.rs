//! A disk of memory that forgets what was not synced and fails from a chosen operation on.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::world::{Disk, DiskFile};

#[derive(Debug)]
pub(super) struct MemoryDisk {
    names: Mutex<Names>,
    faults: Arc<Faults>,
}

#[derive(Debug, Default)]
struct Names {
    live: BTreeMap<String, Arc<MemoryFile>>,
    durable: BTreeMap<String, Arc<MemoryFile>>,
}

#[derive(Debug)]
struct Faults {
    operations: AtomicU64,
    fail_from: AtomicU64,
}

#[derive(Debug)]
struct MemoryFile {
    content: Mutex<Content>,
    faults: Arc<Faults>,
}

#[derive(Clone, Debug, Default)]
struct Content {
    live: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Resize(u64),
}

impl Faults {
    fn pass(&self) -> io::Result<()> {
        let operation = self.operations.fetch_add(1, Ordering::Relaxed);
        if operation < self.fail_from.load(Ordering::Relaxed) {
            Ok(())
        } else {
            Err(io::Error::other("the disk fails as told"))
        }
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, written) => {
                let offset = usize::try_from(*offset).unwrap();
                let end = offset + written.len();
                bytes.resize(bytes.len().max(end), 0);
                bytes[offset..end].copy_from_slice(written);
            }
            Self::Resize(size) => bytes.resize(usize::try_from(*size).unwrap(), 0),
        }
    }
}

impl MemoryDisk {
    pub(super) fn new() -> Self {
        let fail_from = AtomicU64::new(u64::MAX);
        let faults = Arc::new(Faults { operations: AtomicU64::new(0), fail_from });
        Self { names: Mutex::default(), faults }
    }

    /// Lets every operation from number `operation` on fail.
    pub(super) fn fail_from(&self, operation: u64) {
        self.faults.fail_from.store(operation, Ordering::Relaxed);
    }

    pub(super) fn operations(&self) -> u64 {
        self.faults.operations.load(Ordering::Relaxed)
    }

    /// The disk after a power cut: of what was not synced, only the changes that `keep` chooses.
    pub(super) fn after_crash(&self, mut keep: impl FnMut() -> bool) -> Self {
        let crashed = Self::new();
        let names = self.names.lock();
        let survivors = if keep() { &names.live } else { &names.durable };
        for (name, file) in survivors {
            let content = file.content.lock();
            let mut bytes = content.durable.clone();
            for change in content.unsynced.iter().filter(|_| keep()) {
                change.apply(&mut bytes);
            }
            crashed.put(name, bytes);
        }
        crashed
    }

    /// The disk as a new process finds it, with everything that was written.
    pub(super) fn after_kill(&self) -> Self {
        let copy = Self::new();
        for (name, file) in &self.names.lock().live {
            copy.put(name, file.content.lock().live.clone());
        }
        copy
    }

    pub(super) fn get(&self, name: &str) -> Vec<u8> {
        self.names.lock().live[name].content.lock().live.clone()
    }

    pub(super) fn put(&self, name: &str, bytes: Vec<u8>) {
        let content = Content { live: bytes.clone(), durable: bytes, unsynced: Vec::new() };
        let file = MemoryFile { content: Mutex::new(content), faults: Arc::clone(&self.faults) };
        let file = Arc::new(file);
        let mut names = self.names.lock();
        names.live.insert(name.to_owned(), Arc::clone(&file));
        names.durable.insert(name.to_owned(), file);
    }
}

impl Disk for MemoryDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.faults.pass()?;
        let names = self.names.lock();
        let file = names.live.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::clone(file) as Arc<dyn DiskFile>)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.faults.pass()?;
        let faults = Arc::clone(&self.faults);
        let file = Arc::new(MemoryFile { content: Mutex::default(), faults });
        self.names.lock().live.insert(name.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.faults.pass()?;
        let mut names = self.names.lock();
        let file = names.live.remove(from).ok_or(io::ErrorKind::NotFound)?;
        names.live.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.faults.pass()?;
        let removed = self.names.lock().live.remove(name);
        removed.map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.faults.pass()?;
        Ok(self.names.lock().live.keys().cloned().collect())
    }

    fn failed_name_syncs(&self) -> u64 {
        0
    }

    fn sync_names(&self) -> io::Result<()> {
        self.faults.pass()?;
        let mut names = self.names.lock();
        names.durable = names.live.clone();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

impl MemoryFile {
    fn change(&self, change: Change) -> io::Result<()> {
        self.faults.pass()?;
        let mut content = self.content.lock();
        change.apply(&mut content.live);
        content.unsynced.push(change);
        Ok(())
    }
}

impl DiskFile for MemoryFile {
    fn size(&self) -> io::Result<u64> {
        self.faults.pass()?;
        Ok(self.content.lock().live.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.faults.pass()?;
        let content = self.content.lock();
        let offset = usize::try_from(offset).unwrap().min(content.live.len());
        let count = buffer.len().min(content.live.len() - offset);
        buffer[..count].copy_from_slice(&content.live[offset..offset + count]);
        Ok(count)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.change(Change::Write(offset, bytes.to_vec()))
    }

    fn resize(&self, size: u64) -> io::Result<()> {
        self.change(Change::Resize(size))
    }

    fn sync(&self) -> io::Result<()> {
        self.faults.pass()?;
        let mut content = self.content.lock();
        let unsynced = std::mem::take(&mut content.unsynced);
        for change in unsynced {
            change.apply(&mut content.durable);
        }
        Ok(())
    }
}
