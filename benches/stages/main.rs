//! The stages of an event's way, each by itself: how long it takes, or how many instructions.
//!
//! `cargo bench --bench stages` measures times with criterion; a name behind it selects stages.
//! `stages --instructions` lists the stages, and `stages --instructions <stage>` runs one of them a
//! fixed number of times over smaller input and prints how many items that were. Under callgrind,
//! with collection on only within [`run_measured`], instructions by items are the figure that
//! `tests/bench/gate.py` holds to the committed one. Each module says what it asks and what bounds it.
//!
//! Everything that is drawn or looked at from outside is fixed: events, ids, secrets and the clock.

mod accumulate;
mod alerts;
mod body;
mod checkpoint;
mod cycles;
mod decode;
mod evaluate;
mod frame_and_sync;
mod index;
mod input;
mod recovery;
mod rig;

use std::hint::black_box;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use criterion::{Criterion, Throughput};

use quipu::world::Clock;
use quipu::world::clock::SystemClock;

/// Runs of a stage whose instructions are counted, after one that is not.
const COUNTED_RUNS: u64 = 4;

/// What a stage's input is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    /// Large enough that caches miss as they do in a daemon.
    Timed,
    /// Small: counting instructions takes fifty times as long, and caches do not matter.
    Counted,
}

/// A stage over input that was made for it.
trait Stage {
    /// How many items one run works on.
    fn items(&self) -> u64;

    /// Makes what the next run uses up, and frees what the last one left. Not measured.
    fn prepare(&mut self) {}

    /// Does the stage's work once.
    fn run(&mut self);
}

type Make = fn(Scale) -> Box<dyn Stage>;

const STAGES: [(&str, Make); 13] = [
    ("decode", decode::new),
    ("evaluate", evaluate::new),
    ("index", index::new),
    ("frame_and_sync_one", frame_and_sync::one),
    ("frame_and_sync_group", frame_and_sync::group),
    ("accumulate", accumulate::new),
    ("accumulate_watched", accumulate::watched),
    ("checkpoint", checkpoint::new),
    ("recovery", recovery::new),
    ("cycles", cycles::new),
    ("cycles_told", cycles::told),
    ("alerts_of_months", alerts::of_months),
    ("alerts_of_periods", alerts::of_periods),
];

/// That of the program.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["--instructions"] => STAGES.iter().for_each(|(name, _)| print(name)),
        ["--instructions", wanted] => {
            let Some((_, make)) = STAGES.iter().find(|(name, _)| name == wanted) else {
                print(&format!("there is no stage {wanted}"));
                return ExitCode::FAILURE;
            };
            print(&count(&mut *make(Scale::Counted)).to_string());
        }
        _ => measure(),
    }
    ExitCode::SUCCESS
}

fn print(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("standard output takes a line");
}

/// Everything that is measured happens below this function. Callgrind is told its name.
#[inline(never)]
fn run_measured(stage: &mut dyn Stage) {
    stage.run();
    // Keeps the call above from becoming a jump, which callgrind would not see the end of.
    black_box(());
}

/// Runs a stage for callgrind, and says how many items that were.
fn count(stage: &mut dyn Stage) -> u64 {
    stage.prepare();
    stage.run();
    let mut items = 0;
    for _ in 0..COUNTED_RUNS {
        stage.prepare();
        items += stage.items();
        run_measured(stage);
    }
    items
}

fn measure() {
    let criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(4));
    let mut criterion = criterion.configure_from_args();
    let mut group = criterion.benchmark_group("stages");
    for (name, make) in STAGES {
        let mut stage = make(Scale::Timed);
        group.throughput(Throughput::Elements(stage.items()));
        group.bench_function(name, |bencher| bencher.iter_custom(|runs| time(&mut *stage, runs)));
    }
    group.finish();
    criterion.final_summary();
}

/// How long that many runs take, without what makes them ready.
fn time(stage: &mut dyn Stage, runs: u64) -> Duration {
    let mut took = Duration::ZERO;
    for _ in 0..runs {
        stage.prepare();
        let start = SystemClock.since_boot();
        run_measured(stage);
        took += SystemClock.since_boot().saturating_sub(start);
    }
    took
}
