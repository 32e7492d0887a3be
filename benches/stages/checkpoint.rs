//! Checkpoint: the whole state onto disk, read back and committed.
//!
//! Question: what does an accumulator cost at a checkpoint that moves no hour?
//! Bound: 0.09 s a million accumulators in the prototype, with two syncs, one copy and without rows;
//! reading the file back and hashing it may double that: 200 ns an accumulator. It is background work.

use tempfile::TempDir;

use crate::rig::{Rig, directory};
use crate::{Scale, Stage};

struct Checkpoint {
    rig: Rig,
    _directory: TempDir,
}

pub(crate) fn new(scale: Scale) -> Box<dyn Stage> {
    let (customers, requests) = match scale {
        Scale::Timed => (100_000, 300),
        Scale::Counted => (2_000, 10),
    };
    let place = directory();
    let mut rig = Rig::new(place.path(), customers);
    for _ in 0..requests {
        rig.ingest();
    }
    Box::new(Checkpoint { rig, _directory: place })
}

impl Stage for Checkpoint {
    fn items(&self) -> u64 {
        self.rig.recovered.machine.shared.state.stripes().striped().len() as u64
    }

    /// A checkpoint is only made when something is new.
    fn prepare(&mut self) {
        self.rig.ingest();
    }

    fn run(&mut self) {
        self.rig.recovered.machine.checkpoint().expect("the disk takes a checkpoint");
    }
}
