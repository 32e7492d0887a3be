//! Seeded simulation: the whole engine, its row store and id index too, on a disk that fails, tears
//! and forgets, against a naive model that knows what was acknowledged.
//!
//! One seed is one life of a data directory on one thread, without sleeping: it runs the same way every
//! time. `QUIPU_CRASH_POINTS=10000` sets how many crash points are visited, `QUIPU_SEED=7` lives one
//! life alone, `QUIPU_FIRST_SEED=1000` begins elsewhere.

#![cfg(test)]

mod answers;
mod billing_run;
mod check;
mod credits;
mod damage;
mod desk;
mod dice;
mod event;
mod life;
mod model;
mod one_id;
mod options;
mod oracle;
mod orders;
mod place;
#[cfg(feature = "sabotage")]
mod proof;
mod reached;
mod told;
mod trust;
mod turns;
mod workload;

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use life::live;
use reached::Reached;

/// Crash points of an ordinary `cargo test`: enough that what is missing would be seen.
const POINTS: u64 = 2_000;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[derive(Default)]
struct Sum {
    points: AtomicU64,
    events: AtomicU64,
    invoices: AtomicU64,
    reached: Mutex<Reached>,
}

fn run(seed: u64, is_told: bool, sum: &Sum) {
    let lived = catch_unwind(|| live(seed, is_told)).unwrap_or_else(|_| {
        panic!("seed {seed} failed: QUIPU_SEED={seed} cargo test --test simulation -- --nocapture")
    });
    sum.points.fetch_add(lived.points, Ordering::Relaxed);
    sum.events.fetch_add(lived.events, Ordering::Relaxed);
    sum.invoices.fetch_add(lived.invoices, Ordering::Relaxed);
    sum.reached.lock().merge(&lived.reached);
}

#[test]
fn whatever_fails_what_was_acknowledged_is_there_once() {
    let sum = Sum::default();
    if let Some(seed) = setting("QUIPU_SEED") {
        run(seed, true, &sum);
        sum.reached.lock().print();
        return;
    }
    let wanted = setting("QUIPU_CRASH_POINTS").unwrap_or(POINTS);
    let first = setting("QUIPU_FIRST_SEED").unwrap_or(0);
    let next = AtomicU64::new(first);
    let failed = AtomicBool::new(false);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while sum.points.load(Ordering::Relaxed) < wanted && !failed.load(Ordering::Relaxed)
                {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let ended =
                        catch_unwind(std::panic::AssertUnwindSafe(|| run(seed, false, &sum)));
                    if ended.is_err() {
                        failed.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert!(!failed.into_inner(), "a life failed; its seed is printed above");
    let (points, reached) = (sum.points.into_inner(), sum.reached.into_inner());
    println!(
        "{points} crash points in {} lives; {} events, {} invoices",
        next.into_inner() - first,
        sum.events.into_inner(),
        sum.invoices.into_inner()
    );
    reached.print();
    let missing = reached.missing(points);
    assert!(missing.is_empty(), "never or seldom reached: {missing:#?}");
}
