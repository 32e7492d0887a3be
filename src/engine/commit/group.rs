//! What waits for the committer, and the group that it decides into.

use std::time::Duration;

use crate::engine::command::{Changed, Refused};
use crate::engine::decide::Proposal;
use crate::engine::prepare::Prepared;
use crate::engine::record::BackfilledEntry;
use crate::engine::state::Record;
use crate::engine::{Ingested, checkpoint};
use crate::model::{Lsn, Timestamp};

/// A group is handed out at about this size: 7,000 events, synced in half a millisecond.
pub const GROUP_BYTES: usize = 1024 * 1024;

/// Called once with the answer; dropped uncalled when the log fails.
pub type Reply<T> = Box<dyn FnOnce(Result<T, Refused>) + Send>;

/// What waits for the committer.
pub enum Submission {
    /// Events of one request.
    Ingest(Box<Prepared>, Reply<Ingested>),
    /// A change.
    Change(Box<Proposal>, Reply<Changed>),
    /// A part of a backfill; what became of it stands in the state.
    Backfilled(Box<BackfilledEntry>),
    /// A checkpoint wants to start here.
    Cut(Box<dyn FnOnce(checkpoint::Cut) + Send>),
}

impl Submission {
    /// Answers whoever waits with `refused`. Jobs that wait for no answer look again by themselves.
    pub fn refuse(self, refused: Refused) {
        match self {
            Self::Ingest(_, reply) => reply(Err(refused)),
            Self::Change(_, reply) => reply(Err(refused)),
            Self::Backfilled(_) | Self::Cut(_) => {}
        }
    }
}

impl std::fmt::Debug for Submission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ingest(..) => "Ingest",
            Self::Change(..) => "Change",
            Self::Backfilled(_) => "Backfilled",
            Self::Cut(_) => "Cut",
        })
    }
}

impl Group {
    /// An empty group with this one's room, so that a run does not ask for it again and again.
    pub(super) fn emptied(mut self) -> Self {
        self.entries.clear();
        self.records.clear();
        if self.entries.capacity() > 2 * GROUP_BYTES {
            return Self::default();
        }
        Self { entries: self.entries, records: self.records, ..Self::default() }
    }
}

pub(super) enum Answer {
    Ingested(Reply<Ingested>, Ingested),
    Changed(Reply<Changed>, Changed),
}

/// Records that are written and synced together.
#[derive(Default)]
pub struct Group {
    /// The LSN of the first record.
    pub first_lsn: Lsn,
    /// How many LSNs the group takes; none when it only carries answers.
    pub lsn_count: u64,
    /// The log time of the last record.
    pub log_time: Timestamp,
    /// The records in the log's form, without the payload's head.
    pub entries: Vec<u8>,
    /// How many they are.
    pub entry_count: usize,
    /// How long the sync took.
    pub sync_took: Duration,
    /// Whether it is due work alone.
    pub(super) is_due_work: bool,
    /// When the first request was decided, since the machine's start.
    pub(super) opened_at: Option<Duration>,
    pub(super) records: Vec<(Lsn, Timestamp, Record)>,
    pub(super) answers: Vec<Answer>,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Group({}+{})", self.first_lsn, self.lsn_count)
    }
}
