//! What can go wrong with the index of event ids, by what the caller can do about it.

use std::io;

use crate::storage::redb_disk::damage;

/// Why the index of event ids could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading or writing failed. After a failed write the index stays unusable until it is opened
    /// anew; nothing that was published before is lost.
    #[error("{action}")]
    Failed {
        /// What was attempted.
        action: &'static str,
        /// What the operating system or redb says.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What was read is not what was written: the file must be replaced, by a refill from the log
    /// or from a backup.
    #[error("{action}: damaged, {what}")]
    Damaged {
        /// What was attempted.
        action: &'static str,
        /// Where, and what is wrong there.
        what: String,
    },
    /// A newer version of this program wrote the file; it was not touched.
    #[error("open the id index: it has format {found}, this program knows {known}")]
    NewerFormat {
        /// The file's format.
        found: u64,
        /// The newest format this program knows.
        known: u64,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Failed { action, cause: Box::new(cause) }
    }

    pub(crate) fn redb<E: Into<redb::Error>>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |cause| {
            let cause = cause.into();
            match damage(&cause) {
                Some(what) => Self::Damaged { action, what },
                None => Self::Failed { action, cause: Box::new(cause) },
            }
        }
    }
}
