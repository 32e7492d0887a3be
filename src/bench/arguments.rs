//! What `quipu bench` and its two hidden helpers are told on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::bench::figures;

/// Measure the daemon on this machine.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(after_long_help = figures::explanation())]
pub struct Bench {
    /// What is measured
    #[arg(long, value_enum, default_value_t = Mode::All)]
    pub mode: Mode,
    /// Rounds of the modes that have rounds; each visits the floors and the daemon in turn
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Measured seconds of a round; 3 by default, 30 for sustained and duplicates
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub seconds: Option<Duration>,
    /// Connections; 16, 32 and 64 by default for 1000, 100 and 1 event a request
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=900))]
    pub connections: Option<u16>,
    /// Requests a second of latency, overload, the reads of usage and credits-check; by default half and five times
    /// what was measured, and 100 reads, and 500 questions for credits
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub rate: Option<u64>,
    /// Events before the kill of restart (10,000,000) and of memory's first step (5,000,000)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub events: Option<u64>,
    /// Subscriptions of billing, credits-ledger and webhooks; 1,000,000 by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub subscriptions: Option<u32>,
    /// Leave out of billing the second cycle, beside ingest: its boundary must be waited for
    #[arg(long)]
    pub no_ingest: bool,
    /// Where the data is written, in a new directory that stays; a temporary one by default
    #[arg(long, value_name = "PATH")]
    pub data_dir: Option<PathBuf>,
    /// Leave the floors out
    #[arg(long)]
    pub no_floors: bool,
    /// Print one JSON object when everything is measured
    #[arg(long)]
    pub json: bool,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Requests of 1000 events, as many as are answered
    #[value(name = "batch-1000")]
    Batch1000,
    /// Requests of 100 events
    #[value(name = "batch-100")]
    Batch100,
    /// Requests of one event
    Single,
    /// Requests of 1000 events, held, with 5 % drawn from all earlier ids
    Duplicates,
    /// Requests of one event at a fixed rate, timed from when they were due
    Latency,
    /// Requests of 1000 events, held, second by second
    Sustained,
    /// Reads of one counter while batches come in
    Usage,
    /// Five times the capacity, and the recovery from it
    Overload,
    /// Kill -9 after many events, and the next start
    Restart,
    /// The resident set, and what it grows by
    Memory,
    /// Questions for credits while batches come in at half the capacity
    CreditsCheck,
    /// A million changed balances brought to their ledgers beside ingest
    CreditsLedger,
    /// Looks of alerts beside ingest
    Alerts,
    /// A million messages that nobody takes: memory, restart, ingest
    Webhooks,
    /// A million subscriptions turned and closed, alone and beside ingest
    Billing,
    /// Everything
    All,
}

/// A floor, as the benchmark starts it.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq)]
pub struct BenchFloor {
    /// How much of a request is done
    #[arg(value_enum)]
    pub floor: FloorName,
}

/// A floor's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FloorName {
    /// Reads bodies
    Discard,
    /// Reads bodies and takes them apart
    Parse,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if duration >= Duration::from_millis(100) => Ok(duration),
        Ok(_) | Err(_) => Err("expected at least 0.1 seconds".to_owned()),
    }
}
