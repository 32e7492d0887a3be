//! What the data directory holds, in figures.

use std::io;

use crate::engine::Engine;
use crate::engine::{checkpoint, incarnation};
use crate::storage::{index, rows};

/// A part of the data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The log: what was acknowledged last, and room for what follows.
    Log,
    /// Events that have left the log.
    History,
    /// The index of event ids.
    Index,
    /// Customers, invoices, ledgers, messages.
    Rows,
    /// The two last checkpoints of everything else.
    Checkpoint,
    /// Copies of refused events, and small files.
    Other,
}

/// How much a part takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartFigures {
    /// The part.
    pub part: Part,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// How much the data directory takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryFigures {
    /// Each part, also one without files.
    pub parts: Vec<PartFigures>,
    /// Free bytes of the disk.
    pub free_bytes: u64,
    /// Below so many free bytes events are refused.
    pub reserve_bytes: u64,
    /// The format of the directory.
    pub format_version: u32,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 6] =
        [Self::Log, Self::History, Self::Index, Self::Rows, Self::Checkpoint, Self::Other];

    /// The part that a file belongs to.
    fn of(name: &str) -> Self {
        if name.starts_with("wal-") {
            Self::Log
        } else if name.starts_with("history-") {
            Self::History
        } else if name.starts_with(index::FILE) || name.starts_with("filter-") {
            Self::Index
        } else if name.starts_with(rows::FILE) {
            Self::Rows
        } else if name.starts_with("snapshot-") || name.starts_with(checkpoint::META) {
            Self::Checkpoint
        } else {
            Self::Other
        }
    }
}

impl Engine {
    /// How much the data directory takes now. Reads the disk: call it off the reactor.
    ///
    /// # Errors
    /// When the directory cannot be read. A file that is removed meanwhile is left out.
    pub fn directory(&self) -> io::Result<DirectoryFigures> {
        let disk = &self.shared.world.disk;
        let mut parts = Part::ALL.map(|part| PartFigures { part, files: 0, bytes: 0 });
        for name in disk.names()? {
            let size = match disk.open(&name).and_then(|file| file.size()) {
                Ok(size) => size,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let part = Part::of(&name);
            for figures in parts.iter_mut().filter(|figures| figures.part == part) {
                figures.files += 1;
                figures.bytes = figures.bytes.saturating_add(size);
            }
        }
        Ok(DirectoryFigures {
            parts: parts.to_vec(),
            free_bytes: disk.free_bytes()?,
            reserve_bytes: self.shared.options.reserve_bytes,
            format_version: incarnation::FORMAT_VERSION,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_belongs_to_a_part() {
        for (name, part) in [
            ("wal-00000000000000000001", Part::Log),
            ("wal-spare", Part::Log),
            ("history-1", Part::History),
            ("ids.redb", Part::Index),
            ("filter-1", Part::Index),
            ("state.redb.new", Part::Rows),
            ("snapshot-00000000000000000001", Part::Checkpoint),
            ("checkpoints", Part::Checkpoint),
            ("identity", Part::Other),
        ] {
            assert_eq!(Part::of(name), part, "{name}");
        }
    }
}
