//! The copy: a cut and the stripes as they were at it, piece by piece into a snapshot file.

use std::sync::Arc;

use super::Error;
use super::cut::{Cut, SnapshotBase, SnapshotChunk};
use crate::billing::credits::Mark;
use crate::engine::books::routes::SegmentKey;
use crate::engine::books::segments::{PendingKey, PendingSample, SegmentAccumulator};
use crate::engine::books::shelf::DRAWER;
use crate::engine::outbox::OutboxCut;
use crate::engine::shared::Shared;
use crate::engine::stripes::Key;
use crate::metering::accumulator::Accumulator;
use crate::storage::{codec, snapshot};
use crate::world::Disk;

/// Entries of one chunk of a snapshot: 20,000 of 80 bytes stay below a step's 4 MiB.
const CHUNK_ENTRIES: usize = 20_000;
/// Pools of one chunk, when they have few grants: some 3 KiB each at most.
const CHUNK_POOLS: usize = 1_000;
/// A pool with more grants than this begins a chunk of its own.
const FEW_GRANTS: usize = 8;

/// A snapshot that is being written.
#[derive(Debug)]
pub(super) struct Copying {
    pub(super) cut: Cut,
    pub(super) name: String,
    pub(super) writer: snapshot::Writer,
    pub(super) place: usize,
    pub(super) hours: Vec<(Key, Accumulator)>,
    pub(super) segments: Vec<(SegmentKey, SegmentAccumulator)>,
    pub(super) pending: Vec<(PendingKey, PendingSample)>,
    pub(super) marks: Vec<(SegmentKey, Mark)>,
    pub(super) moved: Vec<(Key, Accumulator)>,
    pub(super) accumulators: u64,
    pub(super) counted: u64,
}

impl Copying {
    /// Begins the snapshot of a cut.
    pub(super) fn start(
        cut: Cut,
        name: String,
        disk: &dyn Disk,
        incarnation: [u8; 16],
    ) -> Result<Self, Error> {
        let mut writer = snapshot::Writer::create(disk, &name, incarnation)?;
        write_base(&cut.base, &mut writer)?;
        let OutboxCut { endpoints, next } = &cut.outbox;
        write_chunk(&SnapshotChunk::Endpoints(endpoints.clone(), *next), &mut writer)?;
        Ok(Self {
            cut,
            name,
            writer,
            place: 0,
            hours: Vec::new(),
            segments: Vec::new(),
            pending: Vec::new(),
            marks: Vec::new(),
            moved: Vec::new(),
            accumulators: 0,
            counted: 0,
        })
    }

    /// Writes the next subscriptions, a drawer of them: their texts and metadata take some 35 KiB each at most.
    /// Whether there were any.
    pub(super) fn write_subscriptions(&mut self) -> Result<bool, Error> {
        let Some(drawer) = self.cut.subscriptions.next() else { return Ok(false) };
        let chunk = Arc::unwrap_or_clone(drawer);
        write_chunk(&SnapshotChunk::Subscriptions(chunk), &mut self.writer)?;
        Ok(true)
    }

    /// Writes the next pools; whether there were any. What manual entries are recognised by goes first, then
    /// reservations.
    pub(super) fn write_pools(&mut self) -> Result<bool, Error> {
        if !self.cut.entries.is_empty() {
            write_all(&mut self.cut.entries, 0, SnapshotChunk::Entries, &mut self.writer)?;
        }
        if let Some(part) = self.cut.reservations.pop() {
            let chunk = SnapshotChunk::Reservations(part.values().map(Arc::clone).collect());
            write_chunk(&chunk, &mut self.writer)?;
            return Ok(true);
        }
        let drawers = self.cut.pools.by_ref().take(CHUNK_POOLS / DRAWER);
        let chunk: Vec<_> = drawers.flat_map(Arc::unwrap_or_clone).collect();
        if chunk.is_empty() {
            return Ok(false);
        }
        for part in chunk.chunk_by(|_, next| next.pool.grants().len() <= FEW_GRANTS) {
            write_chunk(&SnapshotChunk::Pools(part.to_vec()), &mut self.writer)?;
        }
        Ok(true)
    }

    /// Writes the next part of where alerts have fired; whether there was any. Who was touched goes first.
    pub(super) fn write_fired(&mut self) -> Result<bool, Error> {
        if !self.cut.touched.is_empty() {
            write_all(&mut self.cut.touched, 0, SnapshotChunk::Touched, &mut self.writer)?;
        }
        let Some(part) = self.cut.fired.pop() else { return Ok(false) };
        let mut entries = part.iter().map(|(key, until)| (*key, *until)).peekable();
        while entries.peek().is_some() {
            let chunk = SnapshotChunk::Fired(entries.by_ref().take(CHUNK_ENTRIES).collect());
            write_chunk(&chunk, &mut self.writer)?;
        }
        Ok(true)
    }

    pub(super) fn copy_stripe(&mut self, shared: &Shared) -> Result<(), Error> {
        let state = &shared.state;
        for (key, accumulator) in state.stripes().striped().copy(self.place) {
            if key.hour < self.cut.memory_from {
                self.moved.push((key, accumulator));
            } else {
                self.accumulators += 1;
                self.counted = self.counted.wrapping_add(accumulator.count());
                self.hours.push((key, accumulator));
            }
        }
        for (key, accumulator) in state.segments().counted().copy(self.place) {
            self.accumulators += 1;
            self.counted = self.counted.wrapping_add(accumulator.count());
            self.segments.push((key, accumulator));
        }
        let pending = state.segments().pending().copy(self.place);
        self.accumulators += pending.len() as u64;
        self.pending.extend(pending);
        let marks = state.segments().marks().copy(self.place);
        self.accumulators += marks.len() as u64;
        self.marks.extend(marks);
        self.place += 1;
        self.write_chunks(CHUNK_ENTRIES)
    }

    /// Writes what has come together of a kind when it is at least `entries_min`.
    pub(super) fn write_chunks(&mut self, entries_min: usize) -> Result<(), Error> {
        let writer = &mut self.writer;
        write_all(&mut self.hours, entries_min, SnapshotChunk::Hours, writer)?;
        write_all(&mut self.segments, entries_min, SnapshotChunk::Segments, writer)?;
        write_all(&mut self.pending, entries_min, SnapshotChunk::Pending, writer)?;
        write_all(&mut self.marks, entries_min, SnapshotChunk::Marks, writer)
    }
}

fn write_all<E: Clone>(
    entries: &mut Vec<E>,
    entries_min: usize,
    chunk: fn(Vec<E>) -> SnapshotChunk,
    writer: &mut snapshot::Writer,
) -> Result<(), Error> {
    if entries.len() < entries_min {
        return Ok(());
    }
    for part in entries.chunks(CHUNK_ENTRIES) {
        write_chunk(&chunk(part.to_vec()), writer)?;
    }
    entries.clear();
    Ok(())
}

fn write_chunk(chunk: &SnapshotChunk, writer: &mut snapshot::Writer) -> Result<(), Error> {
    let mut payload = Vec::new();
    codec::encode(chunk, &mut payload);
    Ok(writer.chunk(&payload)?)
}

/// Writes the base: a chunk that says how many follow, and those.
fn write_base(base: &SnapshotBase, writer: &mut snapshot::Writer) -> Result<(), Error> {
    let mut bytes = Vec::new();
    codec::encode(base, &mut bytes);
    let pieces = bytes.chunks(snapshot::CHUNK_BYTES_MAX);
    let mut count = Vec::new();
    codec::encode(&pieces.len(), &mut count);
    writer.chunk(&count)?;
    for piece in pieces {
        writer.chunk(piece)?;
    }
    Ok(())
}
