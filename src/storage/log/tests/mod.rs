//! The log on a disk in memory: a driver, and what every law compares with.

mod damage;
mod disk;
mod faults;
mod ordinary;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::model::{Lsn, Timestamp};
use crate::storage::log::tests::disk::{TestDisk, TestEntropy};
use crate::storage::log::{
    Bounds, Durability, Error, Group, Incarnation, LogReader, OpenError, Opened, Options,
    OwnedFrame, ReadError, Wal, open,
};

const INCARNATION: Incarnation = Incarnation([7; 16]);
const SEGMENT_BYTES: u64 = 12 << 10;
const EVERYTHING: Bounds = Bounds { known_durable: Lsn::ZERO, from: Lsn(1) };

fn options(durability: Durability) -> Options {
    Options { incarnation: INCARNATION, segment_bytes: SEGMENT_BYTES, durability }
}

/// What the log is to hold.
#[derive(Clone, Debug, Default)]
struct Model {
    frames: Vec<OwnedFrame>,
}

impl Model {
    fn last_lsn(&self) -> Lsn {
        self.frames
            .last()
            .map_or(Lsn::ZERO, |frame| frame.first_lsn.plus(frame.count.into()).previous())
    }

    /// The next group, of `bytes` bytes.
    fn group(&mut self, count: u32, bytes: usize) -> OwnedFrame {
        let first_lsn = self.last_lsn().next();
        let fill = |at| u8::try_from((first_lsn.0 * 31 + at) % 251).unwrap();
        let payload = (0..bytes as u64).map(fill).collect();
        let log_time = Timestamp::from_nanos(i64::try_from(first_lsn.0).unwrap());
        self.frames.push(OwnedFrame { first_lsn, count, log_time, payload });
        self.frames.last().unwrap().clone()
    }

    /// Forgets what the log did not keep.
    fn cut(&mut self, last_lsn: Lsn) {
        self.frames.retain(|frame| frame.first_lsn <= last_lsn);
        assert_eq!(self.last_lsn(), last_lsn, "the log ends with a whole group");
    }
}

fn append(wal: &mut Wal, frame: &OwnedFrame) -> Result<(), Error> {
    let OwnedFrame { first_lsn, count, log_time, payload } = frame;
    let group = Group { first_lsn: *first_lsn, count: *count, log_time: *log_time, payload };
    wal.append(group).map(drop)
}

fn open_as(disk: &TestDisk, options: Options, bounds: Bounds) -> Result<Opened, OpenError> {
    let entropy = Arc::new(TestEntropy(Mutex::new(disk.seed())));
    open(Arc::new(disk.clone()), entropy, options, bounds)
}

fn open_with(disk: &TestDisk, durability: Durability, bounds: Bounds) -> Result<Opened, OpenError> {
    open_as(disk, options(durability), bounds)
}

fn open_all(disk: &TestDisk) -> Result<Opened, OpenError> {
    open_with(disk, Durability::Commit, EVERYTHING)
}

fn read_from(reader: &LogReader, from: Lsn) -> Result<Vec<OwnedFrame>, ReadError> {
    let mut frames = Vec::new();
    reader.visit(from..=Lsn(u64::MAX), |frame| {
        frames.push(frame.to_owned());
        Ok::<_, ReadError>(())
    })?;
    Ok(frames)
}

/// Appends these groups, each with its own sync, and nothing after the last one.
fn fill(wal: &mut Wal, model: &mut Model, groups: &[(u32, usize)]) {
    for (count, bytes) in groups {
        append(wal, &model.group(*count, *bytes)).unwrap();
        wal.sync().unwrap();
    }
}

/// A log that holds these groups, and its process.
fn log_of(groups: &[(u32, usize)]) -> (TestDisk, Opened, Model) {
    let (disk, mut model) = (TestDisk::new(5), Model::default());
    let mut opened = open_all(&disk).unwrap();
    fill(&mut opened.wal, &mut model, groups);
    (disk, opened, model)
}

const INTERVAL: Durability = Durability::Interval(Duration::from_millis(20));
