//! Why a data directory cannot be opened, and what an operator can do about it.

use crate::engine::bill_rows;
use crate::engine::clock_file;
use crate::engine::incarnation;
use crate::engine::machine::Fatal;
use crate::engine::replay::ReplayError;
use crate::model::Lsn;
use crate::storage::history;
use crate::storage::rows;
use crate::storage::{codec, index, log, snapshot};

/// Why a data directory cannot be opened. Nothing in it was changed that matters.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Who it is cannot be told.
    #[error("read the identity of the data directory")]
    Identity(#[from] incarnation::Error),
    /// What is kept of the clocks cannot be read.
    #[error("read file {}", clock_file::FILE)]
    Clock(#[source] std::io::Error),
    /// The rows of the last checkpoint.
    #[error("read the last checkpoint")]
    Rows(#[from] rows::Error),
    /// A row, or the checkpoint's own words, are not what was written.
    #[error("decode the last checkpoint")]
    Codec(#[from] codec::Error),
    /// The payments and invoices of the last checkpoint.
    #[error("read the last checkpoint")]
    Bills(#[from] bill_rows::Error),
    /// The row store opened, but it is not the one that was committed last.
    #[error("state.redb holds {found} {table} where its checkpoint counted {expected}")]
    RowCount {
        /// Which rows.
        table: &'static str,
        /// How many there are.
        found: u64,
        /// How many there were.
        expected: u64,
    },
    /// Neither snapshot that the checkpoint names is good.
    #[error("no snapshot of the last checkpoint is good")]
    Snapshots(#[source] SnapshotError),
    /// The id index.
    #[error("open the id index")]
    Index(#[from] index::Error),
    /// The id index is gone, and what is kept does not reach back to every id in it.
    #[error("{} is missing, and its ids are older than the events that are kept", index::FILE)]
    IndexGone,
    /// The log.
    #[error("recover the log")]
    Log(#[from] log::OpenError),
    /// The files that the log became.
    #[error("open history")]
    History(#[from] history::Error),
    /// The checkpoint is older than what left the log, or gone: the records between are missing.
    #[error("the checkpoint stands at lsn {checkpoint}, but the log begins after lsn {history}")]
    Behind {
        /// The checkpoint's LSN; zero when there is none.
        checkpoint: Lsn,
        /// The last LSN that left the log.
        history: Lsn,
    },
    /// The log is whole, but what it says cannot be applied.
    #[error("replay the log")]
    Replay(#[from] ReplayError),
    /// What must be logged at the start could not be.
    #[error("start")]
    Start(#[from] Fatal),
}

impl OpenError {
    /// Whether something that was written is not there as it was: a matter for a backup, not for
    /// another try.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Identity(error) => match error {
                incarnation::Error::Damaged | incarnation::Error::Missing => true,
                incarnation::Error::Io(_) | incarnation::Error::OtherFormat(_) => false,
            },
            Self::Log(error) => match error {
                log::OpenError::Damaged(_) | log::OpenError::OtherIncarnation { .. } => true,
                log::OpenError::NewerFormat { .. } | log::OpenError::Io { .. } => false,
            },
            Self::Replay(error) => match error {
                ReplayError::Payload(_) => true,
                ReplayError::History(error) => is_damaged(error),
                ReplayError::Index(error) => is_index_damaged(error),
                ReplayError::Log(error) => match error {
                    log::ReadError::Damaged(_) => true,
                    log::ReadError::Gone { .. } | log::ReadError::Io { .. } => false,
                },
            },
            Self::History(error) => is_damaged(error),
            Self::Codec(_)
            | Self::Behind { .. }
            | Self::IndexGone
            | Self::RowCount { .. }
            | Self::Snapshots(_) => true,
            Self::Rows(error) => error.is_damage(),
            Self::Bills(error) => error.is_damage(),
            Self::Index(error) => is_index_damaged(error),
            Self::Clock(_) | Self::Start(_) => false,
        }
    }
}

impl OpenError {
    /// Whether the disk refused: the same start may succeed once it does not.
    pub fn is_of_disk(&self) -> bool {
        match self {
            Self::Identity(error) => matches!(error, incarnation::Error::Io(_)),
            Self::Log(error) => matches!(error, log::OpenError::Io { .. }),
            Self::History(error) => matches!(error, history::Error::Io { .. }),
            Self::Index(error) => matches!(error, index::Error::Failed { .. }),
            Self::Replay(error) => match error {
                ReplayError::Payload(_) => false,
                ReplayError::History(error) => matches!(error, history::Error::Io { .. }),
                ReplayError::Index(error) => matches!(error, index::Error::Failed { .. }),
                ReplayError::Log(error) => matches!(error, log::ReadError::Io { .. }),
            },
            Self::Rows(error) => !error.is_damage(),
            Self::Bills(error) => !error.is_damage(),
            Self::Clock(_) | Self::Start(_) => true,
            Self::Codec(_)
            | Self::Behind { .. }
            | Self::IndexGone
            | Self::RowCount { .. }
            | Self::Snapshots(_) => false,
        }
    }
}

fn is_damaged(error: &history::Error) -> bool {
    match error {
        history::Error::Damaged(_)
        | history::Error::Foreign { .. }
        | history::Error::Missing { .. } => true,
        history::Error::Io { .. } | history::Error::Newer { .. } => false,
    }
}

fn is_index_damaged(error: &index::Error) -> bool {
    match error {
        index::Error::Damaged { .. } => true,
        index::Error::Failed { .. } | index::Error::NewerFormat { .. } => false,
    }
}

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file.
    #[error("read snapshot")]
    File(#[from] snapshot::Error),
    /// Its content.
    #[error("decode snapshot")]
    Codec(#[from] codec::Error),
    /// It is whole, but not what the checkpoint counted.
    #[error("the control totals of the snapshot differ")]
    ControlTotals,
}
