//! Frame and sync: a commit group into the log, on the disk that the build directory is on.
//!
//! Question: what does a group cost between "decided" and "durable", for a single event and for a
//! full group of a mebibyte?
//! Bound: the device. On the reference machine `fdatasync` over zeroed blocks takes 0.16 to 0.20 ms
//! for 4 KiB and 0.45 to 0.6 ms for 1 MiB; framing may add 0.1 ms to the latter (a checksum, a copy),
//! which is about 10 ns an event. Instructions show the framing alone: the kernel's do not count.

use std::sync::Arc;

use tempfile::TempDir;

use quipu::model::Lsn;
use quipu::storage::log::{self, Bounds, Durability, Group, Incarnation, Options, Progress};
use quipu::world::Directory;
use quipu::world::sim::SimEntropy;

use crate::body::mix;
use crate::input::arrival;
use crate::rig::directory;
use crate::{Scale, Stage};

/// What an event of the benches takes in the log.
const EVENT_BYTES: u32 = 128;
/// Events of a full group.
const GROUP_EVENTS: u32 = 8_192;

struct FrameAndSync {
    log: log::Opened,
    payload: Vec<u8>,
    events: u32,
    next: Lsn,
    _directory: TempDir,
}

pub(crate) fn one(scale: Scale) -> Box<dyn Stage> {
    new(1, scale)
}

pub(crate) fn group(scale: Scale) -> Box<dyn Stage> {
    new(GROUP_EVENTS, scale)
}

fn new(events: u32, scale: Scale) -> Box<dyn Stage> {
    let place = directory();
    let disk = Directory::open(place.path()).expect("open the bench's directory");
    let options = Options {
        incarnation: Incarnation([7; 16]),
        segment_bytes: match scale {
            Scale::Timed => 64 << 20,
            Scale::Counted => 8 << 20,
        },
        durability: Durability::Commit,
    };
    let bounds = Bounds { known_durable: Lsn::ZERO, from: Lsn(1) };
    let log = log::open(Arc::new(disk), Arc::new(SimEntropy::new(7)), options, bounds);
    let words = u64::from(events * EVENT_BYTES / 8);
    let mut stage = FrameAndSync {
        log: log.expect("begin a log"),
        payload: (0..words).flat_map(|word| mix(word).to_le_bytes()).collect(),
        events,
        next: Lsn(1),
        _directory: place,
    };
    // Zeroing the first segment takes as long as many groups, and would mislead the first sample.
    stage.prepare();
    Box::new(stage)
}

impl Stage for FrameAndSync {
    fn items(&self) -> u64 {
        self.events.into()
    }

    /// Keeps a segment ready and gives back old ones, as the daemon does in the background.
    fn prepare(&mut self) {
        let upkeep = &mut self.log.upkeep;
        upkeep.retire_below(self.next).expect("the disk takes segments back");
        while upkeep.step(4 << 20).expect("the disk takes zeros") == Progress::Working {}
    }

    fn run(&mut self) {
        let group = Group {
            first_lsn: self.next,
            count: self.events,
            log_time: arrival(),
            payload: &self.payload,
        };
        self.log.wal.append(group).expect("the disk takes a group");
        self.log.wal.sync().expect("the disk syncs");
        self.next = self.next.plus(self.events.into());
    }
}
