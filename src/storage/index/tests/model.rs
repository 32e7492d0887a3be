//! Random histories against a map: no id of the window is ever taken for new.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::disk::MemoryDisk;
use super::{TINY, entry, hash};
use crate::model::{Lsn, Timestamp};
use crate::storage::index::{
    Generation, Generations, Hit, IdHash, Index, Opened, Options, Progress, View, verify,
};

const IDS_MAX: usize = 6;

#[derive(Clone, Debug)]
enum Act {
    /// An event with this id arrives and is admitted when the id is not known.
    Send(u64),
    /// A worker takes the current view and keeps it.
    TakeView,
    SyncLog,
    Seal,
    Step(usize),
    Pass(u64),
    SaveFilters,
    /// The process ends; whether what was not synced is lost.
    Restart(bool),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        30 => (0..60_u64).prop_map(Act::Send),
        3 => Just(Act::TakeView),
        6 => Just(Act::SyncLog),
        2 => Just(Act::Seal),
        12 => (1..40_usize).prop_map(Act::Step),
        5 => (0..60_u64).prop_map(Act::Pass),
        1 => Just(Act::SaveFilters),
        1 => any::<bool>().prop_map(Act::Restart),
    ];
    prop::collection::vec(act, 1..400)
}

/// A daemon reduced to what the index needs: a log, a clock, a committer that decides.
struct Daemon {
    options: Options,
    disk: MemoryDisk,
    opened: Opened,
    generations: Generations,
    worker_view: Arc<View>,
    now: Timestamp,
    /// Id and arrival by LSN, from 1.
    log: Vec<(u64, Timestamp)>,
    durable: usize,
}

impl Daemon {
    fn new(options: Options) -> Self {
        let disk = MemoryDisk::new();
        let opened = Index::open(&disk, options).unwrap();
        Self {
            options,
            worker_view: opened.index.view(),
            opened,
            disk,
            generations: Generations::new(IDS_MAX),
            now: Timestamp::from_nanos(0),
            log: Vec::new(),
            durable: 0,
        }
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Send(id) => self.send(*id),
            Act::TakeView => self.worker_view = self.opened.index.view(),
            Act::SyncLog => self.durable = self.log.len(),
            Act::Seal => {
                self.generations.seal_current();
            }
            Act::Step(budget) => self.step(*budget),
            Act::Pass(nanos) => self.now = self.now.plus(Duration::from_nanos(*nanos)),
            Act::SaveFilters => self.opened.index.save_filters(&self.disk).unwrap(),
            Act::Restart(is_power_cut) => self.restart(*is_power_cut),
        }
    }

    fn find(&self, hash: IdHash) -> Option<Hit> {
        let prepared = self.worker_view.look_up(&[hash]).unwrap()[0];
        let flushed = if self.worker_view.version() >= self.generations.complete_from() {
            prepared
        } else {
            self.opened.index.view().look_up(&[hash]).unwrap()[0]
        };
        self.generations.find(hash).or(flushed)
    }

    /// What the last admitted copies are, with their arrivals.
    fn admitted(&self) -> BTreeMap<u64, (Lsn, Timestamp)> {
        let numbered = self.log.iter().zip(1..);
        numbered.map(|((id, arrival), lsn)| (*id, (Lsn(lsn), *arrival))).collect()
    }

    fn check(&self, id: u64, admitted: Option<&(Lsn, Timestamp)>) -> Option<Hit> {
        let found = self.find(hash(id));
        match (found, admitted) {
            (Some(hit), Some((lsn, _))) => assert_eq!(hit, entry(id, *lsn).hit(), "id {id}"),
            (Some(hit), None) => panic!("id {id} was never admitted, but found: {hit:?}"),
            (None, Some((lsn, arrival))) => assert!(
                !self.options.window.is_zero() && arrival.plus(self.options.window) < self.now,
                "id {id} of LSN {lsn} was taken for new within the window"
            ),
            (None, None) => {}
        }
        found
    }

    fn send(&mut self, id: u64) {
        if self.check(id, self.admitted().get(&id)).is_none() {
            self.log.push((id, self.now));
            self.remember(self.log.len());
        }
    }

    fn remember(&mut self, lsn: usize) {
        while self.generations.room() == 0 {
            self.durable = self.durable.max(lsn - 1);
            self.step(1000);
        }
        let (id, arrival) = self.log[lsn - 1];
        self.generations.insert(entry(id, Lsn(lsn as u64)), arrival);
        if let Some(ids) = self.generations.wants_next() {
            self.generations.put_next(Generation::touched(ids));
        }
    }

    fn step(&mut self, budget: usize) {
        if !self.opened.flusher.is_flushing()
            && let Some(generation) = self.generations.oldest_sealed()
        {
            self.opened.flusher.start(generation);
        }
        let durable = Lsn(self.durable as u64);
        match self.opened.flusher.step(durable, self.now, budget).unwrap() {
            Progress::Flushed { generation, view_version } => {
                self.generations.flushed(&generation, view_version);
            }
            Progress::Worked | Progress::WaitsForLog | Progress::Idle => {}
        }
    }

    fn restart(&mut self, is_power_cut: bool) {
        if is_power_cut {
            self.log.truncate(self.durable);
            self.disk = self.disk.after_crash(|| false);
        } else {
            self.durable = self.log.len();
            self.disk = self.disk.after_kill();
        }
        let report = verify(&self.disk).unwrap();
        assert!(report.findings.is_empty(), "{:?}", report.findings);
        self.opened = Index::open(&self.disk, self.options).unwrap();
        self.worker_view = self.opened.index.view();
        self.generations = Generations::new(IDS_MAX);
        let flushed_through = self.opened.index.flushed_through();
        assert!(flushed_through.0 <= self.durable as u64, "a run is never ahead of the log");
        for lsn in usize::try_from(flushed_through.0).unwrap()..self.log.len() {
            self.remember(lsn + 1);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn every_id_of_the_window_is_found_through_generations_and_view(
        acts in acts(),
        window_nanos in prop_oneof![Just(0), 1..300_u64],
    ) {
        let window = Duration::from_nanos(window_nanos);
        let mut daemon = Daemon::new(Options { window, ..TINY });
        for act in &acts {
            daemon.act(act);
        }
        for is_power_cut in [false, true] {
            daemon.act(&Act::SyncLog);
            daemon.restart(is_power_cut);
            let admitted = daemon.admitted();
            for id in 0..60 {
                daemon.check(id, admitted.get(&id));
            }
            let runs_max = if window_nanos == 0 { 3 + 2 } else { u64::MAX };
            for _ in 0..400 {
                daemon.step(1000);
            }
            prop_assert!(daemon.opened.index.stats().runs <= runs_max);
            prop_assert!(daemon.opened.index.stats().slices <= 9);
        }
    }
}
