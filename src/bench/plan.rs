//! What the generator is told and what it answers: plain values that cross between the two
//! processes as JSON, the plan on standard input, the outcome on standard output.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::bench::event::{Origin, Tally};

/// Milliseconds of one entry of [`Outcome::slots`].
pub(crate) const SLOT_MS: u64 = 100;

/// What the generator is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// The server.
    pub(crate) server: SocketAddr,
    /// The API key.
    pub(crate) key: String,
    /// What each request asks for.
    pub(crate) work: Work,
    /// Connections, each with one request at a time.
    pub(crate) connections: usize,
    /// At the start, not measured.
    pub(crate) warm_up_ms: u64,
    /// Measured, after the warm-up.
    pub(crate) measured_ms: u64,
    /// Ends sooner, once so many requests were sent.
    pub(crate) requests_max: Option<u64>,
    /// Requests a second that fall due whatever becomes of earlier ones; without it a connection
    /// sends its next request as soon as it has its answer.
    pub(crate) rate: Option<u64>,
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Work {
    /// To count events.
    Ingest(Ingest),
    /// The usage of one meter by one customer, another customer each time.
    ReadUsage {
        /// Path and query, without the customer.
        target: String,
        /// Of what the events are made.
        origin: Origin,
        /// How many events are there: only their customers are asked for.
        known: u64,
    },
    /// Whether one of the first customers has credits for an event, another one each time.
    CheckCredits {
        /// The meter that counts it.
        meter: String,
        /// How many customers are asked for.
        customers: u64,
    },
    /// Whether the server is there: what any request takes, however little it asks for.
    Health,
    /// To subscribe one customer after the other.
    Subscribe {
        /// To this product.
        product: String,
    },
}

/// The events of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ingest {
    /// Events of a request.
    pub(crate) batch: usize,
    /// The number of the first new event.
    pub(crate) first: u64,
    /// Of what the events are made.
    pub(crate) origin: Origin,
    /// How many of a thousand events are sent again: drawn uniformly from all earlier numbers that
    /// were acknowledged.
    pub(crate) duplicate_permille: u64,
}

/// What became of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Length of the measured part, in microseconds.
    pub(crate) measured_us: u64,
    /// Requests answered with success in the measured part.
    pub(crate) requests: u64,
    /// Their events.
    pub(crate) events: u64,
    /// Events acknowledged in each 100 ms of the measured part.
    pub(crate) slots: Vec<u64>,
    /// Latencies of the measured part.
    pub(crate) latency_us: Latency,
    /// The longest time between two answers of the measured part.
    pub(crate) pause_us: u64,
    /// Over everything, warm-up included: what was acknowledged, by the server's word.
    pub(crate) acknowledged: Acknowledged,
    /// Over everything: what the acknowledged requests held, by the generator's own count.
    pub(crate) sent: Sent,
    /// Requests answered with 503, over everything.
    pub(crate) refused: u64,
    /// Those of them without `retry-after-ms`.
    pub(crate) refused_without_hint: u64,
    /// Requests answered with any other status, or not at all.
    pub(crate) failed: u64,
    /// Requests that fell due with no connection free for a second.
    pub(crate) unsent: u64,
    /// Processor time of the generator, in milliseconds.
    pub(crate) cpu_ms: u64,
    /// The number that no event has used yet.
    pub(crate) next: u64,
}

/// Percentiles in microseconds: from the moment a request was sent, or was due under a fixed rate,
/// to its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// Half of the requests are faster.
    pub(crate) p50: u64,
    /// 99 of 100 are.
    pub(crate) p99: u64,
    /// 999 of 1000 are.
    pub(crate) p999: u64,
    /// All are.
    pub(crate) max: u64,
}

/// Events by the server's answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Acknowledged {
    /// New ones.
    #[serde(rename = "ingested_count")]
    pub(crate) new: u64,
    /// Known ones.
    #[serde(rename = "duplicate_count")]
    pub(crate) duplicates: u64,
    /// Known ones with another content.
    #[serde(rename = "conflict_count")]
    pub(crate) conflicts: u64,
}

/// Events as the generator made them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sent {
    /// Events sent for the first time.
    pub(crate) new: u64,
    /// Events that were acknowledged before.
    pub(crate) duplicates: u64,
    /// What must have been counted for each watched customer, by its number.
    pub(crate) watched: Vec<Tally>,
}

impl Acknowledged {
    /// Adds what `other` holds.
    pub(crate) fn add(&mut self, other: Self) {
        self.new += other.new;
        self.duplicates += other.duplicates;
        self.conflicts += other.conflicts;
    }
}

impl Sent {
    /// Nothing yet, for so many watched customers.
    pub(crate) fn none(watched_customers: usize) -> Self {
        Self { watched: vec![Tally::default(); watched_customers], ..Self::default() }
    }

    /// Adds what `other` holds.
    pub(crate) fn add(&mut self, other: &Self) {
        self.new += other.new;
        self.duplicates += other.duplicates;
        for (tally, added) in self.watched.iter_mut().zip(&other.watched) {
            tally.add(*added);
        }
    }

    /// Back to nothing, with the room kept.
    pub(crate) fn clear(&mut self) {
        self.new = 0;
        self.duplicates = 0;
        self.watched.fill(Tally::default());
    }
}
