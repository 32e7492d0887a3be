//! A disk in memory that forgets what was not synced and fails when told.
//!
//! Every file has a live image and a durable one; what was written since the last sync lies between
//! them and survives a power cut in part, sector by sector. A failed sync behaves as Linux does: the
//! bytes stay readable, will never be durable, and the next sync says yes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::world::{Disk, DiskFile};

const SECTOR: usize = 512;

/// When the disk fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Never,
    /// The operation with this number fails, once.
    Once(u64),
    /// That operation and all after it.
    From(u64),
}

/// What a restart finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restart {
    /// The process was killed: what it wrote is there.
    Killed,
    /// The power went: of what was not synced, a part that the seed decides.
    PowerCut,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Resize { size: usize },
}

#[derive(Clone, Debug, Default)]
struct Inode {
    /// How often it is open.
    open: usize,
    live: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
    sync_failed: bool,
}

#[derive(Clone, Debug)]
enum Naming {
    Create { name: String, inode: usize },
    Rename { from: String, to: String },
    Remove { name: String },
}

#[derive(Clone, Debug)]
struct Inner {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending_names: Vec<Naming>,
    operations: u64,
    fault: Fault,
    random: u64,
    /// Files that were synced after a failed sync.
    synced_again: BTreeSet<String>,
    reads: BTreeMap<String, u64>,
}

#[derive(Clone, Debug)]
pub(super) struct TestDisk(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct TestFile {
    disk: TestDisk,
    inode: usize,
}

impl TestDisk {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            operations: 0,
            fault: Fault::Never,
            random: seed,
            synced_again: BTreeSet::new(),
            reads: BTreeMap::new(),
        })))
    }

    /// Counts operations from 0 again and fails as `fault` says.
    pub(super) fn set_fault(&self, fault: Fault) {
        let mut inner = self.0.lock();
        inner.operations = 0;
        inner.fault = fault;
    }

    pub(super) fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// Ends the process; the fault is over.
    pub(super) fn restart(&self, restart: Restart) {
        let mut inner = self.0.lock();
        inner.fault = Fault::Never;
        match restart {
            Restart::Killed => {}
            Restart::PowerCut => inner.cut_power(),
        }
    }

    /// Lets what is random go another way from here.
    pub(super) fn reseed(&self, seed: u64) {
        self.0.lock().random = seed;
    }

    /// A number that no call before returned.
    pub(super) fn seed(&self) -> u64 {
        self.0.lock().random()
    }

    /// An independent copy of everything.
    pub(super) fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.0.lock().clone())))
    }

    pub(super) fn synced_again(&self) -> BTreeSet<String> {
        self.0.lock().synced_again.clone()
    }

    pub(super) fn bytes(&self, name: &str) -> Vec<u8> {
        let inner = self.0.lock();
        inner.inodes[inner.names[name]].live.clone()
    }

    /// Puts a file there, durably.
    pub(super) fn put(&self, name: &str, bytes: &[u8]) {
        let mut inner = self.0.lock();
        let inode = inner.inodes.len();
        let (live, durable) = (bytes.to_vec(), bytes.to_vec());
        inner.inodes.push(Inode { live, durable, ..Inode::default() });
        inner.names.insert(name.to_owned(), inode);
        inner.durable_names.insert(name.to_owned(), inode);
    }

    pub(super) fn all_names(&self) -> Vec<String> {
        self.0.lock().names.keys().cloned().collect()
    }

    /// How many files are open that have no name: what they take is given back when they are closed.
    pub(super) fn nameless(&self) -> usize {
        let inner = self.0.lock();
        let is_named = |number: &usize| inner.names.values().any(|named| named == number);
        let open = (0..inner.inodes.len()).filter(|number| inner.inodes[*number].open > 0);
        open.filter(|number| !is_named(number)).count()
    }

    /// Bytes read from a file since the last call.
    pub(super) fn take_reads(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut self.0.lock().reads)
    }

    fn operate(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let mut inner = self.0.lock();
        let number = inner.operations;
        inner.operations += 1;
        let fails = match inner.fault {
            Fault::Never => false,
            Fault::Once(at) => number == at,
            Fault::From(at) => number >= at,
        };
        if fails { Err(inner.failure()) } else { Ok(inner) }
    }

    /// Like [`Self::operate`], but a failing operation is told so and may do a part.
    fn operate_partly(&self) -> (MutexGuard<'_, Inner>, Option<io::Error>) {
        match self.operate() {
            Ok(inner) => (inner, None),
            Err(cause) => (self.0.lock(), Some(cause)),
        }
    }
}

impl Inner {
    fn failure(&self) -> io::Error {
        io::Error::other(format!("the disk fails at operation {}", self.operations - 1))
    }

    fn random(&mut self) -> u64 {
        // SplitMix64.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.random;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn cut_power(&mut self) {
        for number in 0..self.inodes.len() {
            let pending = std::mem::take(&mut self.inodes[number].pending);
            let style = self.random() % 3;
            for change in pending {
                let lucky = |inner: &mut Self| match style {
                    0 => false,
                    1 => true,
                    _ => inner.random().is_multiple_of(2),
                };
                match change {
                    Change::Resize { size } => {
                        if lucky(self) {
                            self.inodes[number].durable.resize(size, 0);
                        }
                    }
                    Change::Write { offset, bytes } => {
                        for (index, sector) in bytes.chunks(SECTOR).enumerate() {
                            if lucky(self) {
                                let at = offset + index * SECTOR;
                                overwrite(&mut self.inodes[number].durable, at, sector);
                            }
                        }
                    }
                }
            }
            let inode = &mut self.inodes[number];
            inode.live = inode.durable.clone();
            inode.sync_failed = false;
        }
        let pending = std::mem::take(&mut self.pending_names);
        let kept = usize::try_from(self.random()).unwrap() % (pending.len() + 1);
        for naming in &pending[..kept] {
            naming.apply(&mut self.durable_names);
        }
        self.names = self.durable_names.clone();
    }

    fn name_of(&self, inode: usize) -> String {
        let name = self.names.iter().find(|(_, it)| **it == inode);
        name.map_or_else(|| format!("(removed {inode})"), |(name, _)| name.clone())
    }

    fn rename_or_so(&mut self, naming: Naming) {
        naming.apply(&mut self.names);
        self.pending_names.push(naming);
    }
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            Self::Rename { from, to } => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Self::Remove { name } => {
                names.remove(name);
            }
        }
    }
}

impl Disk for TestDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.operate()?;
        let inode = *inner.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        inner.inodes[inode].open += 1;
        Ok(Arc::new(TestFile { disk: self.clone(), inode }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut inner = self.operate()?;
        let inode = if let Some(inode) = inner.names.get(name).copied() {
            inner.inodes[inode].live.clear();
            inner.inodes[inode].pending.push(Change::Resize { size: 0 });
            inode
        } else {
            inner.inodes.push(Inode::default());
            let inode = inner.inodes.len() - 1;
            inner.rename_or_so(Naming::Create { name: name.to_owned(), inode });
            inode
        };
        inner.inodes[inode].open += 1;
        Ok(Arc::new(TestFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.operate()?;
        inner.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        inner.rename_or_so(Naming::Rename { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.operate()?;
        inner.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        inner.rename_or_so(Naming::Remove { name: name.to_owned() });
        Ok(())
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.operate()?.names.keys().cloned().collect())
    }

    fn failed_name_syncs(&self) -> u64 {
        0
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut inner = self.operate()?;
        inner.pending_names.clear();
        inner.durable_names = inner.names.clone();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        self.disk.0.lock().inodes[self.inode].open -= 1;
    }
}

impl DiskFile for TestFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.operate()?.inodes[self.inode].live.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut inner = self.disk.operate()?;
        let live = &inner.inodes[self.inode].live;
        let rest = live.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let filled = rest.len().min(buffer.len());
        buffer[..filled].copy_from_slice(&rest[..filled]);
        let name = inner.name_of(self.inode);
        *inner.reads.entry(name).or_default() += filled as u64;
        Ok(filled)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (mut inner, failure) = self.disk.operate_partly();
        let offset = usize::try_from(offset).unwrap();
        let written = match &failure {
            None => bytes.len(),
            Some(_) => usize::try_from(inner.random()).unwrap() % (bytes.len() + 1),
        };
        let bytes = &bytes[..written];
        let inode = &mut inner.inodes[self.inode];
        overwrite(&mut inode.live, offset, bytes);
        inode.pending.push(Change::Write { offset, bytes: bytes.to_vec() });
        failure.map_or(Ok(()), Err)
    }

    fn resize(&self, size: u64) -> io::Result<()> {
        let mut inner = self.disk.operate()?;
        let size = usize::try_from(size).unwrap();
        inner.inodes[self.inode].live.resize(size, 0);
        inner.inodes[self.inode].pending.push(Change::Resize { size });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let (mut inner, failure) = self.disk.operate_partly();
        let name = inner.name_of(self.inode);
        let inode = &mut inner.inodes[self.inode];
        let pending = std::mem::take(&mut inode.pending);
        if let Some(failure) = failure {
            inode.sync_failed = true;
            return Err(failure);
        }
        let again = inode.sync_failed;
        for change in pending {
            match change {
                Change::Write { offset, bytes } => overwrite(&mut inode.durable, offset, &bytes),
                Change::Resize { size } => inode.durable.resize(size, 0),
            }
        }
        if again {
            inner.synced_again.insert(name);
        }
        Ok(())
    }
}

fn overwrite(image: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(bytes);
}

/// Random bytes from a seed.
#[derive(Debug)]
pub(super) struct TestEntropy(pub(super) Mutex<u64>);

impl crate::world::Entropy for TestEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let mut word = self.0.lock();
        for byte in bytes {
            *word = word
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            *byte = word.to_le_bytes()[7];
        }
    }
}
