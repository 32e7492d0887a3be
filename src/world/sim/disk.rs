//! A disk made of memory that counts its operations, fails when told and can lose its power.
//!
//! It holds what programs see, what is durable, and every change between the two. A crash or
//! restart gives a new, healthy disk and leaves the old one as it was, so that one run can be cut
//! in many ways; files still open on the old disk cannot reach the new one.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::fault::{FaultKind, Operation, Plan, Repeat, Verdict};
use super::inode::Inode;
use super::journal::{Losses, PowerCut};
use super::names::{InodeNumber, Names};
use crate::world::disk::{Disk, DiskFile, check_name};

/// Room for anything a test writes, and far from overflow.
const DEFAULT_CAPACITY_BYTES: u64 = 1 << 40;

/// A simulated data directory; clones share it.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    inodes: BTreeMap<InodeNumber, Inode>,
    inodes_made: InodeNumber,
    names: Names,
    plan: Plan,
    capacity_bytes: u64,
    losses: Losses,
    failed_name_syncs: u64,
}

#[derive(Debug)]
struct SimFile {
    state: Arc<Mutex<State>>,
    inode: InodeNumber,
    /// Keeps the inode alive after its name is gone.
    _handle: Arc<()>,
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl SimDisk {
    /// An empty, healthy disk.
    pub fn new() -> Self {
        Self::with(BTreeMap::new(), Names::default(), DEFAULT_CAPACITY_BYTES)
    }

    fn with(inodes: BTreeMap<InodeNumber, Inode>, names: Names, capacity_bytes: u64) -> Self {
        let inodes_made = inodes.last_key_value().map_or(0, |(number, _)| *number);
        let (plan, losses) = (Plan::default(), Losses::default());
        let state = State {
            inodes,
            inodes_made,
            names,
            plan,
            capacity_bytes,
            losses,
            failed_name_syncs: 0,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Operations begun so far, failed ones too; the next one has this number plus one.
    pub fn operations(&self) -> u64 {
        self.state.lock().plan.operations()
    }

    /// Makes operation number `operation`, the first being 1, fail; with [`Repeat::Forever`] the
    /// later ones too. Operations that cannot meet this kind of fault pass.
    pub fn fail_at(&self, operation: u64, kind: FaultKind, repeat: Repeat) {
        self.state.lock().plan.fail_at(operation, kind, repeat);
    }

    /// Freezes the machine: from operation number `operation` on every operation fails and leaves
    /// no trace. Then [`SimDisk::crash`] says what a power cut at that instant leaves.
    pub fn stop_at(&self, operation: u64) {
        self.state.lock().plan.stop_at(operation);
    }

    /// Takes back all planned faults and stops; what failed stays failed.
    pub fn clear_faults(&self) {
        self.state.lock().plan.clear();
    }

    /// Makes `free_bytes` the room that is left now; files that grow use it up.
    pub fn set_free_bytes(&self, free_bytes: u64) {
        let mut state = self.state.lock();
        state.capacity_bytes = state.used_bytes().saturating_add(free_bytes);
    }

    /// The disk after a power cut: durable bytes and names, and of everything that was not synced a
    /// part that `seed` draws. Each unsynced write is kept, dropped or torn at 512-byte sectors,
    /// whatever became of earlier ones; each unsynced creation, rename or removal is kept or
    /// undone.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        self.cut(PowerCut::random(seed))
    }

    /// The disk after a power cut that leaves nothing but what was synced.
    #[must_use]
    pub fn crash_dropping_all(&self) -> Self {
        self.cut(PowerCut::drops_all())
    }

    /// The disk as the next process finds it after `kill -9`: all that was written, and of that
    /// nothing more durable than before. Doubt about failed syncs remains.
    #[must_use]
    pub fn restart(&self) -> Self {
        let state = self.state.lock();
        let inodes = state.inodes.iter().map(|(number, inode)| (*number, inode.restarted()));
        Self::with(inodes.collect(), state.names.clone(), state.capacity_bytes)
    }

    fn cut(&self, mut power: PowerCut) -> Self {
        let state = self.state.lock();
        let names = state.names.cut(&mut power);
        let inodes = names.values().filter_map(|number| {
            Some((*number, Inode::durable(state.inodes.get(number)?.cut(&mut power))))
        });
        let inodes = inodes.collect();
        let after = Self::with(inodes, Names::durable(names), state.capacity_bytes);
        after.state.lock().losses = power.losses();
        after
    }

    /// What the power cut that this disk came from did to what was not synced.
    pub fn losses(&self) -> Losses {
        self.state.lock().losses
    }

    /// Which kinds of fault which operations have met so far.
    pub fn faults_met(&self) -> BTreeSet<(FaultKind, Operation)> {
        self.state.lock().plan.met().clone()
    }

    /// The operation at which [`SimDisk::stop_at`] has frozen the machine.
    pub fn stopped_in(&self) -> Option<Operation> {
        self.state.lock().plan.stopped_in()
    }

    /// The content of the file `name` as programs see it; not an operation.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn image(&self, name: &str) -> Vec<u8> {
        let mut state = self.state.lock();
        state.named(name).expect("the file exists").1.live().to_vec()
    }

    /// Damages the file `name`: flips bit 0 to 7 of the byte at `offset`, for programs and on the
    /// medium; not an operation.
    ///
    /// # Panics
    /// When there is no such file or byte.
    pub fn flip_bit(&self, name: &str, offset: u64, bit: u8) {
        let mut state = self.state.lock();
        let inode = state.named(name).expect("the file exists").1;
        let is_inside = usize::try_from(offset).is_ok_and(|offset| inode.flip(offset, bit));
        assert!(is_inside, "byte {offset} lies in the file {name}");
    }

    /// Counts the operation; the disk when it goes well, or how it fails.
    fn begin(&self, operation: Operation) -> io::Result<MutexGuard<'_, State>> {
        begin(&self.state, operation).map_err(|failed| failed.error)
    }

    fn opened(&self, inode: InodeNumber, state: &State) -> io::Result<Arc<dyn DiskFile>> {
        let handle = &state.inodes.get(&inode).ok_or(io::ErrorKind::NotFound)?.handles;
        let handle = Arc::clone(handle);
        Ok(Arc::new(SimFile { state: Arc::clone(&self.state), inode, _handle: handle }))
    }
}

impl State {
    fn named(&mut self, name: &str) -> Option<(InodeNumber, &mut Inode)> {
        let number = self.names.get(name)?;
        Some((number, self.inodes.get_mut(&number)?))
    }

    fn used_bytes(&self) -> u64 {
        let named = self.names.live().values().filter_map(|number| self.inodes.get(number));
        named.map(|inode| inode.live().len() as u64).sum()
    }

    fn free_bytes(&self) -> u64 {
        self.capacity_bytes.saturating_sub(self.used_bytes())
    }

    /// Refuses to grow the file to `size` when there is no room for that.
    fn make_room(&self, inode: InodeNumber, size: usize) -> io::Result<()> {
        let growth = size.saturating_sub(self.file(inode).live().len());
        if growth > 0 && growth as u64 > self.free_bytes() {
            return Err(FaultKind::NoSpace.error());
        }
        Ok(())
    }

    fn file(&self, inode: InodeNumber) -> &Inode {
        self.inodes.get(&inode).expect("an open file keeps its inode")
    }

    fn file_mut(&mut self, inode: InodeNumber) -> &mut Inode {
        self.inodes.get_mut(&inode).expect("an open file keeps its inode")
    }

    /// Forgets files that nobody has open and no power cut can bring back.
    fn collect(&mut self) {
        let reachable = self.names.reachable();
        self.inodes.retain(|number, inode| {
            reachable.contains(number) || Arc::strong_count(&inode.handles) > 1
        });
    }
}

/// An operation that fails, and the disk on which it may leave something behind all the same.
struct Failed<'a> {
    error: io::Error,
    /// None when the machine stands still.
    fault: Option<(FaultKind, MutexGuard<'a, State>)>,
}

fn begin(state: &Mutex<State>, operation: Operation) -> Result<MutexGuard<'_, State>, Failed<'_>> {
    let mut state = state.lock();
    match state.plan.begin(operation) {
        Verdict::Goes => Ok(state),
        Verdict::Fails(kind) => Err(Failed { error: kind.error(), fault: Some((kind, state)) }),
        Verdict::Stopped => Err(Failed { error: FaultKind::Io.error(), fault: None }),
    }
}

impl Disk for SimDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        check_name(name)?;
        let state = self.begin(Operation::Open)?;
        let inode = state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        self.opened(inode, &state)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        check_name(name)?;
        let mut state = self.begin(Operation::Create)?;
        let number = if let Some((number, inode)) = state.named(name) {
            inode.resize(0);
            number
        } else {
            state.inodes_made += 1;
            let number = state.inodes_made;
            state.inodes.insert(number, Inode::default());
            state.names.create(name, number);
            number
        };
        self.opened(number, &state)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_name(from)?;
        check_name(to)?;
        let renamed = self.begin(Operation::Rename)?.names.rename(from, to);
        renamed.then_some(()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        check_name(name)?;
        let removed = self.begin(Operation::Remove)?.names.remove(name);
        removed.then_some(()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.begin(Operation::Names)?.names.live().keys().cloned().collect())
    }

    fn sync_names(&self) -> io::Result<()> {
        match begin(&self.state, Operation::SyncNames) {
            Ok(mut state) => {
                state.names.sync();
                state.collect();
                Ok(())
            }
            Err(failed) => {
                if let Some((_, mut state)) = failed.fault {
                    state.names.sync_failed();
                    state.failed_name_syncs += 1;
                }
                Err(failed.error)
            }
        }
    }

    fn failed_name_syncs(&self) -> u64 {
        self.state.lock().failed_name_syncs
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.begin(Operation::FreeBytes)?.free_bytes())
    }
}

impl SimFile {
    fn begin(&self, operation: Operation) -> Result<MutexGuard<'_, State>, Failed<'_>> {
        begin(&self.state, operation)
    }
}

impl DiskFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        let state = self.begin(Operation::Size).map_err(|failed| failed.error)?;
        Ok(state.file(self.inode).live().len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.begin(Operation::ReadAt).map_err(|failed| failed.error)?;
        let live = state.file(self.inode).live();
        let start = position(offset).map_or(live.len(), |start| start.min(live.len()));
        let rest = live.get(start..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer.split_at_mut(count).0.copy_from_slice(rest.split_at(count).0);
        Ok(count)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = position(offset)?;
        let end = offset.checked_add(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        match self.begin(Operation::WriteAt) {
            Ok(mut state) => {
                state.make_room(self.inode, end)?;
                state.file_mut(self.inode).write(offset, bytes);
                Ok(())
            }
            Err(failed) => {
                if let Some((FaultKind::ShortWrite, mut state)) = failed.fault {
                    let written = bytes.split_at(bytes.len() / 2).0;
                    state.make_room(self.inode, offset + written.len())?;
                    state.file_mut(self.inode).write(offset, written);
                }
                Err(failed.error)
            }
        }
    }

    fn resize(&self, size: u64) -> io::Result<()> {
        let size = position(size)?;
        let mut state = self.begin(Operation::Resize).map_err(|failed| failed.error)?;
        state.make_room(self.inode, size)?;
        state.file_mut(self.inode).resize(size);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        match self.begin(Operation::Sync) {
            Ok(mut state) => {
                state.file_mut(self.inode).sync();
                Ok(())
            }
            Err(failed) => {
                if let Some((_, mut state)) = failed.fault {
                    state.file_mut(self.inode).sync_failed();
                }
                Err(failed.error)
            }
        }
    }
}

/// A place in a file, refused before memory is asked for when no real disk could hold it.
fn position(bytes: u64) -> io::Result<usize> {
    if bytes > DEFAULT_CAPACITY_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    usize::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge.into())
}
