//! A stretch of time: from its start to before its end.

use serde::{Deserialize, Serialize};

use crate::model::time::Timestamp;

/// Half-open: holds its start and not its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Period {
    /// The first instant in it.
    pub start: Timestamp,
    /// The first instant after it.
    pub end: Timestamp,
}

impl Period {
    /// Whether `instant` lies in it.
    pub fn holds(&self, instant: Timestamp) -> bool {
        self.start <= instant && instant < self.end
    }
}
