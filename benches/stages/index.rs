//! Index: hash the ids of a request, look them up on disk and in memory, remember the new ones.
//!
//! Question: what does it cost to know that an event is new, with one in twenty sent before?
//! Bound: 300 ns an event, what the prototype took for it. A new id that passes no filter reads
//! nothing; a known one reads one block of a run.

use std::hint::black_box;
use std::sync::Arc;

use tempfile::TempDir;

use quipu::model::{Lsn, Timestamp};
use quipu::storage::index::{
    Flusher, Generation, Generations, Hit, IdEntry, IdHash, IdHasher, Index, Options, Progress,
};
use quipu::world::Directory;

use crate::body::{REQUEST_EVENTS, spread};
use crate::input::arrival;
use crate::rig::directory;
use crate::{Scale, Stage};

/// Ids of one generation in memory.
const GENERATION_IDS: usize = 250_000;
/// One id in so many was sent before.
const KNOWN_EVERY: u64 = 20;

struct Lookup {
    index: Arc<Index>,
    hasher: IdHasher,
    generations: Generations,
    flushed: u64,
    next: u64,
    sent: Vec<String>,
    _flusher: Flusher,
    _directory: TempDir,
}

pub(crate) fn new(scale: Scale) -> Box<dyn Stage> {
    let generations: u64 = match scale {
        Scale::Timed => 8,
        Scale::Counted => 1,
    };
    let place = directory();
    let disk = Directory::open(place.path()).expect("open the bench's directory");
    let opened = Index::open(&disk, Options::default()).expect("make an index");
    let hasher = IdHasher::new([7; 16]);
    let (mut flusher, mut next) = (opened.flusher, 1);
    for _ in 0..generations {
        let mut generation = Generation::new(GENERATION_IDS);
        while !generation.is_full() {
            generation.insert(entry(&hasher, next), arrival());
            next += 1;
        }
        flush(&mut flusher, Arc::new(generation));
    }
    Box::new(Lookup {
        index: opened.index,
        hasher,
        generations: Generations::new(GENERATION_IDS),
        flushed: next - 1,
        next,
        sent: Vec::new(),
        _flusher: flusher,
        _directory: place,
    })
}

fn id(number: u64) -> String {
    format!("bench-{number:016}")
}

fn entry(hasher: &IdHasher, number: u64) -> IdEntry {
    IdEntry { hash: hasher.hash(&id(number)), lsn: Lsn(number), fingerprint: 0 }
}

fn flush(flusher: &mut Flusher, generation: Arc<Generation>) {
    flusher.start(generation);
    loop {
        let step = flusher.step(Lsn(u64::MAX), Timestamp::MIN, GENERATION_IDS);
        match step.expect("the disk takes a run") {
            Progress::Idle => return,
            Progress::Worked | Progress::Flushed { .. } | Progress::WaitsForLog => {}
        }
    }
}

impl Stage for Lookup {
    fn items(&self) -> u64 {
        REQUEST_EVENTS
    }

    fn prepare(&mut self) {
        if self.generations.room() < 2 * GENERATION_IDS {
            self.generations = Generations::new(GENERATION_IDS);
        }
        let numbers = self.next..self.next + REQUEST_EVENTS;
        let flushed = self.flushed;
        let is_known = |number: u64| number.is_multiple_of(KNOWN_EVERY);
        let id_of = |number| if is_known(number) { 1 + spread(number, flushed) } else { number };
        self.sent = numbers.map(|number| id(id_of(number))).collect();
    }

    fn run(&mut self) {
        let hashes: Vec<IdHash> = self.sent.iter().map(|id| self.hasher.hash(id)).collect();
        let view = self.index.view();
        let mut found: Vec<Option<Hit>> = view.look_up(&hashes).expect("the runs can be read");
        self.generations.find_all(&hashes, view.version(), &mut found);
        self.generations.touch(&hashes);
        for (hash, found) in hashes.iter().zip(&found) {
            if black_box(found).is_none() {
                let entry = IdEntry { hash: *hash, lsn: Lsn(self.next), fingerprint: 0 };
                self.generations.insert(entry, arrival());
            }
            self.next += 1;
        }
    }
}
