//! Recovery: from what a killed daemon left to an engine that runs.
//!
//! Question: what does an event above the last checkpoint cost at a start?
//! Bound: 2.5 us an event: a start may take 5 s, and a checkpoint is made every 2 million events.
//! Opening the files and preparing a segment are part of it.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use quipu::engine::recover::Recovered;

use crate::body::REQUEST_EVENTS;
use crate::rig::{Rig, directory, open};
use crate::{Scale, Stage};

struct Recovery {
    requests: u64,
    /// What is recovered: never opened itself, because a start writes.
    left: TempDir,
    copy: TempDir,
    recovered: Option<Recovered>,
}

pub(crate) fn new(scale: Scale) -> Box<dyn Stage> {
    let (customers, requests) = match scale {
        Scale::Timed => (100_000, 200),
        Scale::Counted => (2_000, 10),
    };
    let left = directory();
    let mut rig = Rig::new(left.path(), customers);
    rig.ingest();
    rig.recovered.machine.checkpoint().expect("the disk takes a checkpoint");
    for _ in 0..requests {
        rig.ingest();
    }
    drop(rig);
    Box::new(Recovery { requests, left, copy: directory(), recovered: None })
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("list a directory") {
        let entry = entry.expect("list a directory");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copy a file");
    }
}

impl Stage for Recovery {
    fn items(&self) -> u64 {
        self.requests * REQUEST_EVENTS
    }

    fn prepare(&mut self) {
        self.recovered = None;
        self.copy = directory();
        copy(self.left.path(), self.copy.path());
    }

    fn run(&mut self) {
        let recovered = open(self.copy.path());
        assert_eq!(recovered.replayed, self.items(), "the whole log is replayed");
        self.recovered = Some(recovered);
    }
}
