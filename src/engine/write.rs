//! The log's side of a commit: one frame a group, synced before anything of it is acknowledged.

use std::sync::Arc;

use crate::engine::commit::Group;
use crate::engine::invoicing::Ids;
use crate::engine::record::start_payload;
use crate::engine::shared::Shared;
use crate::model::Causes;
use crate::storage::log::{self, Durability, Wal};
use crate::world::sync::atomic::Ordering;

/// Writes groups; owned by the log's thread.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    wal: Wal,
    payload: Vec<u8>,
    ids: Ids,
}

impl Writer {
    /// A writer that goes on where the log ends.
    pub fn new(shared: Arc<Shared>, wal: Wal) -> Self {
        Self { shared, wal, payload: Vec::new(), ids: Ids::default() }
    }

    /// Writes a group and makes it durable. A group without records only waits its turn.
    ///
    /// # Errors
    /// [`log::Error`]: the log is poisoned, nothing may be acknowledged any more.
    pub fn write(&mut self, group: &mut Group) -> Result<(), log::Error> {
        if group.lsn_count == 0 {
            return Ok(());
        }
        self.payload.clear();
        start_payload(group.entry_count, &mut self.payload);
        group.encode(&mut self.payload, |draft| draft.issue(&self.shared, &mut self.ids));
        self.wal.append(log::Group {
            first_lsn: group.first_lsn,
            // Fits: a group holds at most a few requests of at most 1000 events.
            count: u32::try_from(group.lsn_count).unwrap_or(u32::MAX),
            log_time: group.log_time,
            payload: &self.payload,
        })?;
        // Before anybody can ask for the group. Without it more is read, nothing else.
        if let Err(error) = self.shared.outline.add(&self.payload, group.first_lsn) {
            tracing::error!(error = %Causes(&error), "outline the log");
        }
        let written = self.shared.world.clock.since_boot();
        match self.shared.options.durability {
            Durability::Commit => drop(self.wal.sync()?),
            Durability::Interval(_) => drop(self.wal.sync_if_due(written)?),
        }
        group.sync_took = self.shared.world.clock.since_boot().saturating_sub(written);
        self.publish();
        Ok(())
    }

    fn publish(&self) {
        self.shared.durable.store(self.wal.durable().0, Ordering::Release);
    }

    /// Syncs what is not synced.
    ///
    /// # Errors
    /// As for [`Writer::write`].
    pub fn sync(&mut self) -> Result<(), log::Error> {
        self.wal.sync()?;
        self.publish();
        Ok(())
    }

    /// Syncs what is not synced, and says in the log that everything before is durable: called when
    /// the log has been idle for a moment, and at the end. Writes nothing when that was said already.
    ///
    /// # Errors
    /// As for [`Writer::write`].
    pub fn mark_idle(&mut self) -> Result<(), log::Error> {
        self.sync()?;
        self.wal.write_idle_mark()?;
        Ok(())
    }
}
