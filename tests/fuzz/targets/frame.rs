//! The write-ahead log: one segment of frames, good, torn and stray, opened as after a crash.
//!
//! Law: what is recovered is what a naive reading of the format's tables finds, group by group; the
//! log is refused exactly when that reading finds something durable missing; and a recovered log is
//! found whole by the next check. The input is a list of things that stand in the segment, so that
//! checksums are right where they should be.

use std::sync::Arc;

use quipu::model::Lsn;
use quipu::storage::log::{
    Bounds, Durability, Incarnation, OpenError, Options, PAYLOAD_BYTES_MAX, ReadError,
    SEGMENT_BYTES_MIN, open, verify,
};
use quipu::world::Disk;
use quipu::world::sim::{SimDisk, SimEntropy};

use super::input::{Input, field};

const BLOCK: usize = 512;
const PAGE: usize = 4096;
const SALT: u64 = 0x5a17;
const OWNER: [u8; 16] = [7; 16];
/// More blocks are no other case.
const SEGMENT_MAX: usize = 64 * BLOCK;

/// First LSN, count, log time and payload.
type GroupFound = (u64, u32, i64, Vec<u8>);

/// Holds the laws for `data`.
///
/// # Panics
/// When one is broken.
pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.byte();
    let is_pipelined = flags & 1 == 1;
    let known_durable = if flags & 2 == 0 { 0 } else { u64::from(input.byte()) };
    let image = segment(&mut input, is_pipelined);
    let expected = naive_open(&image, is_pipelined, known_durable);
    let disk = SimDisk::new();
    let file = disk.create("wal-0000000001").unwrap();
    file.write_at(0, &image).unwrap();
    let before = verify(&disk).unwrap();
    let options = Options {
        incarnation: Incarnation(OWNER),
        segment_bytes: SEGMENT_BYTES_MIN,
        durability: Durability::Commit,
    };
    let bounds = Bounds { known_durable: Lsn(known_durable), from: Lsn::ZERO };
    let opened = match open(Arc::new(disk.clone()), Arc::new(SimEntropy::new(1)), options, bounds) {
        Ok(opened) => opened,
        Err(error) => {
            assert!(matches!(error, OpenError::Damaged(_)), "{error}");
            assert_eq!(expected, None, "{error}");
            return;
        }
    };
    let expected = expected.expect("something durable is missing and the log was opened");
    let groups = before.segments.iter().map(|segment| segment.groups).sum::<u64>();
    assert!(groups >= expected.len() as u64, "{before:?}");
    let mut found: Vec<GroupFound> = Vec::new();
    let visited = opened.reader.visit(Lsn(1)..=opened.reader.last_lsn(), |frame| {
        let log_time = frame.log_time.as_nanos();
        found.push((frame.first_lsn.0, frame.count, log_time, frame.payload.to_vec()));
        Ok::<_, ReadError>(())
    });
    visited.unwrap();
    assert_eq!(found, expected);
    let next = expected.last().map_or(1, |(first, count, ..)| first + u64::from(*count));
    assert_eq!(opened.report.last_lsn, Lsn(next - 1));
    drop(opened);
    let after = verify(&disk).unwrap();
    assert!(after.damage.is_empty(), "{after:?}");
    assert_eq!(after.durable, Lsn(next - 1));
}

/// The file that the input describes.
fn segment(input: &mut Input<'_>, is_pipelined: bool) -> Vec<u8> {
    let mut image = b"QUIPUWAL".to_vec();
    image.extend(1_u32.to_le_bytes());
    image.extend(u32::from(is_pipelined).to_le_bytes());
    image.extend(OWNER);
    image.extend(SALT.to_le_bytes());
    image.resize(PAGE - 4, 0);
    image.extend(crc32c::crc32c(&image).to_le_bytes());
    let mut next_lsn = 1;
    while !input.is_empty() && image.len() < PAGE + SEGMENT_MAX {
        match input.byte() % 8 {
            0..=3 => put_frame(input, &mut image, &mut next_lsn, 0),
            4 => put_frame(input, &mut image, &mut next_lsn, 1),
            5 => image.extend([0; BLOCK]),
            6 => {
                let count = usize::from(input.u16()) % (2 * BLOCK);
                image.extend(input.bytes(count));
                image.resize(image.len().next_multiple_of(BLOCK), 0);
            }
            _ => {
                // A part of what stands there is written over.
                let at = PAGE + usize::from(input.u16()) % (image.len() - PAGE + 1);
                let patch = input.byte();
                if let Some(byte) = image.get_mut(at) {
                    *byte ^= patch;
                }
            }
        }
    }
    image
}

/// Appends a frame whose header is valid; `damage` is mixed into the checksum of its payload.
fn put_frame(input: &mut Input<'_>, image: &mut Vec<u8>, next_lsn: &mut u64, damage: u32) {
    let shape = input.byte();
    let count = match shape & 3 {
        0 => 0,
        1 => u32::from(input.byte()),
        _ => 1,
    };
    let first_lsn = match shape >> 2 & 3 {
        0 => next_lsn.wrapping_add(u64::from(input.byte())).wrapping_sub(2),
        1 if shape & 0x80 != 0 => input.u64(),
        _ => *next_lsn,
    };
    // Zero stands before the first LSN, and no writer begins a frame with it.
    let first_lsn = first_lsn.max(1);
    let durable = match shape >> 4 & 3 {
        0 => first_lsn.saturating_sub(1),
        1 => u64::from(input.byte()),
        2 if shape & 0x80 != 0 => input.u64(),
        _ => 0,
    };
    let length = usize::from(input.u16()) % (2 * BLOCK);
    let payload = input.bytes(length).to_vec();
    let said = if shape & 0x40 == 0 { payload.len() as u64 } else { input.u64() >> 32 };
    let offset = image.len();
    let mut frame = b"KNOT".to_vec();
    frame.extend(u32::try_from(said).unwrap().to_le_bytes());
    frame.extend(first_lsn.to_le_bytes());
    frame.extend(durable.to_le_bytes());
    frame.extend(i64::from(shape).to_le_bytes());
    frame.extend(count.to_le_bytes());
    frame.extend(checksum(&[&frame, &SALT.to_le_bytes(), &offset.to_le_bytes()]).to_le_bytes());
    frame.extend(&payload);
    frame.extend((checksum(&[&frame, &SALT.to_le_bytes()]) ^ damage).to_le_bytes());
    frame.resize(frame.len().next_multiple_of(BLOCK), 0);
    image.extend(frame);
    *next_lsn = first_lsn.saturating_add(count.into());
}

fn checksum(parts: &[&[u8]]) -> u32 {
    crc32c::crc32c(&parts.concat())
}

/// A header as the table of `frame.rs` says.
#[derive(Clone, Copy, Debug)]
struct Header {
    first_lsn: u64,
    next_lsn: u64,
    durable: u64,
    log_time: i64,
    payload_bytes: usize,
}

impl Header {
    fn read(image: &[u8], at: usize) -> Option<Self> {
        let number = |offset| field(image, at + offset).map(u32::from_le_bytes);
        let long = |offset| field(image, at + offset).map(u64::from_le_bytes);
        let fields = image.get(at..at + 36)?;
        let whole = checksum(&[fields, &SALT.to_le_bytes(), &at.to_le_bytes()]);
        let payload_bytes = number(4)? as usize;
        let header = Self {
            first_lsn: long(8)?,
            next_lsn: long(8)?.checked_add(number(32)?.into())?,
            durable: long(16)?,
            log_time: long(24)?.cast_signed(),
            payload_bytes,
        };
        let is_good = fields.starts_with(b"KNOT") && number(36)? == whole;
        (is_good && payload_bytes <= PAYLOAD_BYTES_MAX).then_some(header)
    }

    fn payload(self, image: &[u8], at: usize) -> Option<&[u8]> {
        let end = at + 40 + self.payload_bytes;
        let checked = image.get(at..end)?;
        let whole = checksum(&[checked, &SALT.to_le_bytes()]);
        (field(image, end).map(u32::from_le_bytes)? == whole).then(|| &checked[40..])
    }

    fn end(self, at: usize) -> usize {
        at + (44 + self.payload_bytes).next_multiple_of(BLOCK)
    }
}

/// The groups of a log of this one segment; `None` when something durable is missing.
fn naive_open(image: &[u8], is_pipelined: bool, known_durable: u64) -> Option<Vec<GroupFound>> {
    let mut at = PAGE;
    let mut expected = Header::read(image, at).map_or(1, |opening| opening.first_lsn);
    if expected > 1 {
        return None;
    }
    let mut durable = known_durable;
    let mut groups = Vec::new();
    while let Some(header) = Header::read(image, at) {
        let Some(payload) = header.payload(image, at) else { break };
        if header.first_lsn != expected {
            return None;
        }
        durable = durable.max(header.durable);
        if header.next_lsn > header.first_lsn {
            let count = u32::try_from(header.next_lsn - header.first_lsn).unwrap();
            groups.push((header.first_lsn, count, header.log_time, payload.to_vec()));
        }
        expected = header.next_lsn;
        at = header.end(at);
    }
    let end = at;
    while at < image.len() {
        let Some(header) = Header::read(image, at) else {
            at += BLOCK;
            continue;
        };
        if at > end && !is_pipelined {
            return None;
        }
        durable = durable.max(header.durable);
        at = header.end(at);
    }
    (durable < expected).then_some(groups)
}
