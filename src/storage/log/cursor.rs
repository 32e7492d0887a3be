//! Reading frames of one segment file, forward, with read-ahead.
//!
//! A cursor says what stands at an offset; whether that is the expected frame, a torn tail or damage
//! is decided by whoever asks.

use std::io;

use crate::model::Lsn;
use crate::storage::log::frame::{self, BLOCK_BYTES, Frame, Header, Place};
use crate::world::DiskFile;

/// For reading much: one large group, or 2048 blocks of a torn tail, with one call.
pub(super) const READ_AHEAD_LONG_BYTES: usize = 1 << 20;
/// For finding one frame: most groups of single requests in one call.
pub(super) const READ_AHEAD_SHORT_BYTES: usize = 16 << 10;

/// A reading position in a file.
#[derive(Debug)]
pub(super) struct Cursor<'f> {
    file: &'f dyn DiskFile,
    salt: u64,
    read_ahead_bytes: usize,
    /// The file's bytes from `start` on.
    buffer: Vec<u8>,
    start: u64,
}

/// What stands at an offset.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// A whole frame.
    Frame(Header, Frame<'a>),
    /// A valid header whose payload is not there. What the header says is true all the same.
    Torn(Header),
    /// No valid header: zeros, the end of the file, or anything.
    Nothing,
}

impl<'f> Cursor<'f> {
    /// A cursor over the frames that `salt` makes valid.
    pub(super) fn new(file: &'f dyn DiskFile, salt: u64, read_ahead_bytes: usize) -> Self {
        Self { file, salt, read_ahead_bytes, buffer: Vec::new(), start: 0 }
    }

    /// Reads so much with one call from here on.
    pub(super) fn read_ahead(&mut self, bytes: usize) {
        self.read_ahead_bytes = bytes;
    }

    /// What stands at `offset`.
    pub(super) fn frame_at(&mut self, offset: u64) -> io::Result<Found<'_>> {
        let Some(header) = self.header_at(offset)? else { return Ok(Found::Nothing) };
        let salt = self.salt;
        let bytes = self.load(offset, header.frame_len())?;
        Ok(match frame::payload(bytes, &header, salt) {
            Some(payload) => Found::Frame(
                header,
                Frame {
                    first_lsn: header.first_lsn,
                    count: header.count,
                    log_time: header.log_time,
                    payload,
                },
            ),
            None => Found::Torn(header),
        })
    }

    /// The valid header at `offset`.
    pub(super) fn header_at(&mut self, offset: u64) -> io::Result<Option<Header>> {
        let place = Place { salt: self.salt, offset };
        Ok(Header::decode(self.load(offset, frame::HEADER_BYTES)?, place))
    }

    /// The first valid header at or after `offset`, a frame's boundary.
    pub(super) fn next_header(&mut self, mut offset: u64) -> io::Result<Option<(u64, Header)>> {
        loop {
            let place = Place { salt: self.salt, offset };
            let bytes = self.load(offset, frame::HEADER_BYTES)?;
            if bytes.len() < frame::HEADER_BYTES {
                return Ok(None);
            }
            if let Some(header) = Header::decode(bytes, place) {
                return Ok(Some((offset, header)));
            }
            offset += BLOCK_BYTES as u64;
        }
    }

    /// Whether the block at `offset` is zero or lies behind the end of the file.
    pub(super) fn is_blank(&mut self, offset: u64) -> io::Result<bool> {
        Ok(self.load(offset, BLOCK_BYTES)?.iter().take(BLOCK_BYTES).all(|byte| *byte == 0))
    }

    /// The offset of the frame that holds `lsn`, going from frame to frame at `offset` until `end`.
    pub(super) fn find(&mut self, lsn: Lsn, mut offset: u64, end: u64) -> io::Result<Option<u64>> {
        while offset < end {
            match self.header_at(offset)? {
                Some(header) if header.holds(lsn) => return Ok(Some(offset)),
                Some(header) if header.first_lsn <= lsn => offset += header.frame_bytes(),
                Some(_) | None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// `bytes` bytes at `offset`; fewer only at the end of the file.
    fn load(&mut self, offset: u64, bytes: usize) -> io::Result<&[u8]> {
        if self.cached(offset, bytes).is_none() {
            let wanted = bytes.max(self.read_ahead_bytes);
            if self.buffer.capacity() < wanted {
                // Not resized: fresh zeros cost nothing beyond what the file fills of them.
                self.buffer = vec![0; wanted];
            } else {
                self.buffer.resize(wanted, 0);
            }
            let filled = self.file.read_at(offset, &mut self.buffer)?;
            self.buffer.truncate(filled);
            self.start = offset;
        }
        let cached = self.cached(offset, bytes);
        Ok(cached.unwrap_or(self.buffer.as_slice()))
    }

    fn cached(&self, offset: u64, bytes: usize) -> Option<&[u8]> {
        let at = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.buffer.get(at..)?.get(..bytes)
    }
}
