//! Reading single events: by id and by LSN.

use std::sync::Arc;

use crate::model::Lsn;
use crate::storage::history::block::Block;
use crate::storage::history::file::{File, Handle};
use crate::storage::history::format::{BlockEntry, Table};
use crate::storage::history::lookup::first_page;
use crate::storage::history::pack::{Fault, Unpacker};
use crate::storage::history::{Error, History, Stored};
use crate::storage::index::IdHash;

/// What a thread needs for reading blocks, kept from one to the next: about 200 KiB.
pub struct Reader {
    unpacker: Unpacker,
    bytes: Vec<u8>,
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Reader {
    /// A reader for one thread.
    pub fn new() -> Self {
        Self { unpacker: Unpacker::new(), bytes: Vec::new() }
    }

    /// The block that a directory names.
    pub(super) fn block(
        &mut self,
        file: &File,
        handle: &Handle,
        entry: &BlockEntry,
    ) -> Result<Block, Error> {
        file.block_bytes(handle, entry, &mut self.bytes)?;
        let block = Block::unpack(&self.bytes, entry.first_lsn, &mut self.unpacker)
            .map_err(|Fault(what)| file.block_damage(entry, what))?;
        if block.items() == entry.items as usize && block.events() == entry.events as usize {
            Ok(block)
        } else {
            Err(file.block_damage(entry, "it has another number of items"))
        }
    }
}

impl History {
    /// Shows the newest event with this id to `see`, and says what `see` does. A file that does not
    /// have the id costs one read of 4 KiB.
    ///
    /// # Errors
    /// [`Error`]
    pub fn find<T>(
        &self,
        hash: IdHash,
        id: &str,
        mut see: impl FnMut(&Stored<'_>) -> T,
    ) -> Result<Option<T>, Error> {
        let mut reader = None;
        for file in self.snapshot().iter().rev() {
            let Some(handle) = self.open_file(file)? else { continue };
            let mut blocks = blocks_of(file, &handle, &file.footer.ids, hash)?;
            blocks.reverse();
            for number in blocks {
                let entry = block_entry(file, &handle, number)?;
                let block = reader.get_or_insert_with(Reader::new).block(file, &handle, entry)?;
                if let Some(event) = block.find(id) {
                    let stored =
                        block.event(event).map_err(|Fault(what)| file.block_damage(entry, what))?;
                    return Ok(Some(see(&stored)));
                }
            }
        }
        Ok(None)
    }

    /// Shows the event at `lsn` to `see`, and says what `see` does; `None` when history does not
    /// reach there or the record is no event.
    ///
    /// # Errors
    /// [`Error`]
    pub fn at<T>(
        &self,
        lsn: Lsn,
        mut see: impl FnMut(&Stored<'_>) -> T,
    ) -> Result<Option<T>, Error> {
        let files = self.snapshot();
        let place = files.partition_point(|file| file.summary.last_lsn < lsn);
        let Some(file) = files.get(place).filter(|file| file.summary.first_lsn <= lsn) else {
            return Ok(None);
        };
        let Some(handle) = self.open_file(file)? else { return Ok(None) };
        let blocks = &file.directory(&handle)?.blocks;
        let place = blocks.partition_point(|block| block.last_lsn() < lsn);
        let Some(entry) = blocks.get(place) else { return Ok(None) };
        let block = Reader::new().block(file, &handle, entry)?;
        let Some(event) = block.events_within(&(lsn..lsn.next())).next() else { return Ok(None) };
        let stored = block.event(event).map_err(|Fault(what)| file.block_damage(entry, what))?;
        Ok(Some(see(&stored)))
    }
}

/// The blocks of a file that may hold `hash`, ascending.
pub(super) fn blocks_of(
    file: &Arc<File>,
    handle: &Handle,
    table: &Table,
    hash: IdHash,
) -> Result<Vec<u16>, Error> {
    let mut blocks = Vec::new();
    for number in first_page(hash, table.places)..table.pages {
        let spills = file.page(handle, table, number, |page| {
            page.blocks(hash, &mut blocks);
            page.spills
        })?;
        if !spills {
            break;
        }
    }
    blocks.sort_unstable();
    blocks.dedup();
    Ok(blocks)
}

/// A block that a table names.
pub(super) fn block_entry<'h>(
    file: &File,
    handle: &'h Handle,
    number: u16,
) -> Result<&'h BlockEntry, Error> {
    let entry = file.directory(handle)?.blocks.get(usize::from(number));
    entry.ok_or_else(|| file.damage(file.footer.ids.offset, "an index names an unknown block"))
}
