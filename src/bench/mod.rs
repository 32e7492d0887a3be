//! `quipu bench`: measures the daemon on the machine it stands on, and holds it to its count.
//!
//! This process measures nothing itself: the daemon, two floors and the load generator are processes
//! of their own, started from this very program. Floors and daemon take turns in each round, with the
//! same requests over the same number of connections, and what counts is the ratio within a round.
//! After every load the daemon's metrics and usage are compared with what was sent; a difference ends
//! the benchmark. Used by the command line alone.

mod answer;
pub mod arguments;
mod billing;
mod client;
mod connection;
mod credits;
mod event;
mod figures;
mod floor;
mod hooks;
mod load;
mod plan;
mod process;
mod rates;
mod source;
mod statistics;
mod strain;
mod trial;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

use crate::bench::arguments::{Bench, BenchFloor, Mode};
use crate::bench::figures::Section;
use crate::bench::trial::{Shape, Trial};

/// Measured by default in a round.
const ROUND: Duration = Duration::from_secs(3);
/// Measured by default where a rate is to be held.
const LONG: Duration = Duration::from_secs(30);
/// The longest warm-up; a short round has a shorter one.
const WARM_UP_MS_MAX: u64 = 500;
/// Every mode, in the order of [`Mode::All`].
const ALL: [Mode; 15] = [
    Mode::Batch1000,
    Mode::Batch100,
    Mode::Single,
    Mode::Latency,
    Mode::Usage,
    Mode::Overload,
    Mode::Sustained,
    Mode::Duplicates,
    Mode::Restart,
    Mode::Memory,
    Mode::CreditsCheck,
    Mode::CreditsLedger,
    Mode::Alerts,
    Mode::Webhooks,
    Mode::Billing,
];

/// What all modes share: the arguments, and where the data goes.
#[derive(Debug)]
struct Bed<'a> {
    arguments: &'a Bench,
    directory: PathBuf,
}

/// Measures what was asked for and prints it.
///
/// # Errors
/// When something cannot be measured, or the daemon counts wrong.
pub fn run(arguments: &Bench, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("quipu-bench-").disable_cleanup(arguments.data_dir.is_some());
    let parent = arguments.data_dir.clone().unwrap_or_else(std::env::temp_dir);
    // Lives until everything is measured.
    let directory = builder.tempdir_in(parent).context("make a directory for the data")?;
    let bed = Bed { arguments, directory: directory.path().to_owned() };
    let modes: &[Mode] = match arguments.mode {
        Mode::All => &ALL,
        Mode::Batch1000
        | Mode::Batch100
        | Mode::Single
        | Mode::Duplicates
        | Mode::Latency
        | Mode::Sustained
        | Mode::Usage
        | Mode::Overload
        | Mode::Restart
        | Mode::Memory
        | Mode::CreditsCheck
        | Mode::CreditsLedger
        | Mode::Alerts
        | Mode::Webhooks
        | Mode::Billing => &[arguments.mode],
    };
    let mut sections = Vec::new();
    for mode in modes {
        let section = bed.measure(*mode)?;
        if !arguments.json {
            figures::write_text(&section, out)?;
        }
        sections.push(section);
    }
    if arguments.json {
        figures::write_json(&sections, out)?;
    }
    Ok(())
}

/// Runs a floor in this process, until it is ended.
///
/// # Errors
/// When it cannot listen.
pub fn run_floor(arguments: BenchFloor, out: &mut dyn Write) -> anyhow::Result<()> {
    floor::run(arguments.floor, out)
}

/// Runs the generator in this process: a plan on standard input, its outcome on `out`.
///
/// # Errors
/// When the server cannot be reached or does not answer.
pub fn run_load(out: &mut dyn Write) -> anyhow::Result<()> {
    load::run(out)
}

impl Bed<'_> {
    fn measure(&self, mode: Mode) -> anyhow::Result<Section> {
        match mode {
            Mode::Batch1000 => rates::batches(self, "batch-1000", 1_000),
            Mode::Batch100 => rates::batches(self, "batch-100", 100),
            Mode::Single => rates::batches(self, "single", 1),
            Mode::Duplicates => rates::sustained(self, "duplicates", true),
            Mode::Latency => rates::latency(self, "latency"),
            Mode::Sustained => rates::sustained(self, "sustained", false),
            Mode::Usage => strain::usage(self, "usage"),
            Mode::Overload => strain::overload(self, "overload"),
            Mode::Restart => strain::restart(self, "restart"),
            Mode::Memory => strain::footprint(self, "memory"),
            Mode::CreditsCheck => credits::check(self, "credits-check"),
            Mode::CreditsLedger => credits::ledger(self, "credits-ledger"),
            Mode::Alerts => hooks::alerts(self, "alerts"),
            Mode::Webhooks => hooks::webhooks(self, "webhooks"),
            Mode::Billing => billing::billing(self, "billing"),
            Mode::All => anyhow::bail!("all is not one mode"),
        }
    }

    /// A new daemon on a directory named after the mode.
    fn trial(&self, mode: &str) -> anyhow::Result<Trial> {
        Trial::start(&self.directory.join(mode))
    }

    /// Requests of `batch` events for a round.
    fn shape(&self, batch: usize) -> Shape {
        self.shape_for(batch, ROUND)
    }

    /// Requests of `batch` events for as long as a rate is to be held.
    fn long_shape(&self, batch: usize) -> Shape {
        self.shape_for(batch, LONG)
    }

    fn shape_for(&self, batch: usize, default: Duration) -> Shape {
        let measured = self.arguments.seconds.unwrap_or(default);
        let measured_ms = u64::try_from(measured.as_millis()).unwrap_or(u64::MAX);
        let usual = match batch {
            500.. => 16,
            50.. => 32,
            _ => 64,
        };
        Shape {
            batch,
            connections: self.arguments.connections.map_or(usual, usize::from),
            warm_up_ms: (measured_ms / 4).min(WARM_UP_MS_MAX),
            measured_ms,
            events_max: None,
            rate: None,
            duplicate_permille: 0,
        }
    }
}
