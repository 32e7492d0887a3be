//! A bounded file of what came last, best effort: two segments, of which the older one is dropped when the
//! newer one is full.
//!
//! Nothing that was promised to anybody stands here. Nothing is synced: a crash of the process loses nothing
//! that was written, one of the machine what the system had not written yet. What is torn or damaged ends its
//! segment and is dropped with all behind it.
//!
//! A segment, integers little-endian:
//!
//! | bytes | what |
//! | --- | --- |
//! | 8 | magic |
//! | 8 | generation: the segment with the higher one is the newer |
//! | 4 | CRC32C of these 16 bytes |
//! | … | frames |
//!
//! A frame:
//!
//! | bytes | what |
//! | --- | --- |
//! | 4 | length of the content |
//! | 4 | CRC32C of generation, offset in the file, length, time and content |
//! | 8 | time, nanoseconds since 1970 |
//! | length | content |

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use crate::model::Timestamp;
use crate::world::Disk;
use crate::world::disk::{DiskFile, read_exact_at, remove_if_there};

const MAGIC: [u8; 8] = *b"quipring";
const HEADER_BYTES: usize = 8 + 8 + 4;
const FRAME_HEADER_BYTES: usize = 4 + 4 + 8;

/// How much is kept, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a segment; there are two.
    pub segment_bytes_max: u64,
    /// What is older than this is not shown, and removed with its segment.
    pub keep: Duration,
}

/// The file; see the module.
#[derive(Debug)]
pub struct Ring {
    disk: Arc<dyn Disk>,
    limits: Limits,
    /// The newer one first.
    segments: [Segment; 2],
}

#[derive(Debug)]
struct Segment {
    name: String,
    /// Nothing when there is no such file, or none with a header.
    open: Option<OpenSegment>,
}

#[derive(Debug)]
struct OpenSegment {
    file: Arc<dyn DiskFile>,
    generation: u64,
    /// Behind the last frame.
    end: u64,
    /// The times of its first and its newest frame, when it has any.
    times: Option<(Timestamp, Timestamp)>,
}

/// Where a frame's content stands in a segment's bytes, and its time.
type Place = (Timestamp, std::ops::Range<usize>);

impl Ring {
    /// Opens the segments `<name>-0` and `<name>-1` of `disk` as far as they are there.
    ///
    /// # Errors
    /// The disk's. What is damaged is none: it is empty.
    pub fn open(disk: Arc<dyn Disk>, name: &str, limits: Limits) -> io::Result<Self> {
        let segment = |number: u32| -> io::Result<Segment> {
            let name = format!("{name}-{number}");
            let open = OpenSegment::read(&*disk, &name, limits.segment_bytes_max)?;
            Ok(Segment { name, open })
        };
        let mut segments = [segment(0)?, segment(1)?];
        segments.sort_by_key(|segment| std::cmp::Reverse(segment.generation()));
        Ok(Self { disk, limits, segments })
    }

    /// Adds contents, in order, all of the time `at`.
    ///
    /// # Errors
    /// The disk's; some may have been added.
    pub fn append(
        &mut self,
        at: Timestamp,
        contents: impl IntoIterator<Item = Vec<u8>>,
    ) -> io::Result<()> {
        let mut frames = Vec::new();
        for content in contents {
            let bytes = (FRAME_HEADER_BYTES + content.len()) as u64;
            if HEADER_BYTES as u64 + bytes > self.limits.segment_bytes_max {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            if !self.has_room(at, frames.len() as u64 + bytes) {
                self.write(at, &mut frames)?;
                self.begin_segment()?;
            }
            let [Segment { open: Some(open), .. }, _] = &self.segments else { continue };
            let place = (open.generation, open.end + frames.len() as u64);
            push_frame(&mut frames, place, at, &content)?;
        }
        self.write(at, &mut frames)
    }

    fn has_room(&self, at: Timestamp, bytes: u64) -> bool {
        let [Segment { open: Some(open), .. }, _] = &self.segments else { return false };
        // A segment spans no more than what is kept, so that no old one holds what is long over.
        let is_recent = open.times.is_none_or(|(first, _)| first >= at.minus(self.limits.keep));
        is_recent && open.end + bytes <= self.limits.segment_bytes_max
    }

    fn write(&mut self, at: Timestamp, frames: &mut Vec<u8>) -> io::Result<()> {
        let [Segment { open: Some(open), .. }, _] = &mut self.segments else { return Ok(()) };
        if frames.is_empty() {
            return Ok(());
        }
        open.file.write_at(open.end, frames)?;
        open.end += frames.len() as u64;
        let (first, newest) = open.times.unwrap_or((at, at));
        open.times = Some((first, newest.max(at)));
        frames.clear();
        Ok(())
    }

    /// Drops the older segment, and begins a new one in its place.
    fn begin_segment(&mut self) -> io::Result<()> {
        let generation = self.segments.iter().map(Segment::generation).max().unwrap_or(0) + 1;
        let [_, older] = &mut self.segments;
        older.open = None;
        let file = self.disk.create(&older.name)?;
        let mut header = MAGIC.to_vec();
        header.extend(generation.to_le_bytes());
        header.extend(crc32c::crc32c(&header).to_le_bytes());
        file.write_at(0, &header)?;
        older.open = Some(OpenSegment { file, generation, end: HEADER_BYTES as u64, times: None });
        self.segments.swap(0, 1);
        Ok(())
    }

    /// Shows what is there and was added after `now` less what is kept, newest first, until `visit` has
    /// enough.
    ///
    /// # Errors
    /// The disk's.
    pub fn visit_back(
        &self,
        now: Timestamp,
        mut visit: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> io::Result<()> {
        let oldest = now.minus(self.limits.keep);
        for open in self.segments.iter().filter_map(|segment| segment.open.as_ref()) {
            let bytes = open.bytes()?;
            for (at, content) in frames(&bytes, open.generation).into_iter().rev() {
                let content = bytes.get(content).unwrap_or_default();
                if at >= oldest && visit(content).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Removes segments in which all is older than what is kept.
    ///
    /// # Errors
    /// The disk's.
    pub fn forget_old(&mut self, now: Timestamp) -> io::Result<()> {
        let oldest = now.minus(self.limits.keep);
        for segment in &mut self.segments {
            let newest = segment.open.as_ref().and_then(|open| open.times);
            if newest.is_some_and(|(_, newest)| newest < oldest) {
                remove_if_there(&*self.disk, &segment.name)?;
                segment.open = None;
            }
        }
        // The newer one first, also when it alone is gone.
        self.segments.sort_by_key(|segment| std::cmp::Reverse(segment.generation()));
        Ok(())
    }
}

impl Segment {
    /// Zero of one that is not there.
    fn generation(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.generation)
    }
}

impl OpenSegment {
    fn read(disk: &dyn Disk, name: &str, bytes_max: u64) -> io::Result<Option<Self>> {
        let file = match disk.open(name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let size = file.size()?;
        let end = size.min(bytes_max);
        let mut open = Self { file, generation: 0, end, times: None };
        let bytes = open.bytes()?;
        let Some(generation) = generation(&bytes) else { return Ok(None) };
        let frames = frames(&bytes, generation);
        let end = frames.last().map_or(HEADER_BYTES, |(_, content)| content.end);
        let first = frames.first().map(|(at, _)| *at);
        let newest = frames.iter().map(|(at, _)| *at).max();
        open.generation = generation;
        open.end = end as u64;
        if open.end < size {
            // What stands behind must not seem to follow what is written next.
            open.file.resize(open.end)?;
        }
        open.times = first.zip(newest);
        Ok(Some(open))
    }

    fn bytes(&self) -> io::Result<Vec<u8>> {
        let size = usize::try_from(self.end).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut bytes = vec![0; size];
        read_exact_at(&*self.file, 0, &mut bytes)?;
        Ok(bytes)
    }
}

fn generation(bytes: &[u8]) -> Option<u64> {
    let (header, crc) = bytes.get(..HEADER_BYTES)?.split_last_chunk::<4>()?;
    let generation = header.strip_prefix(&MAGIC)?.first_chunk::<8>()?;
    let is_whole = crc32c::crc32c(header).to_le_bytes() == *crc;
    is_whole.then_some(u64::from_le_bytes(*generation))
}

/// The frames of a segment, up to the first that is not whole.
fn frames(bytes: &[u8], generation: u64) -> Vec<Place> {
    let mut found = Vec::new();
    let mut offset = HEADER_BYTES;
    while let Some((at, content)) = frame(bytes, generation, offset) {
        offset = content.end;
        found.push((at, content));
    }
    found
}

fn frame(bytes: &[u8], generation: u64, offset: usize) -> Option<Place> {
    let (length, rest) = bytes.get(offset..)?.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let (at, rest) = rest.split_first_chunk::<8>()?;
    let content = rest.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    let at = Timestamp::from_nanos(i64::from_le_bytes(*at));
    let is_whole = checksum((generation, offset as u64), at, content).to_le_bytes() == *crc;
    let start = offset + FRAME_HEADER_BYTES;
    is_whole.then(|| (at, start..start + content.len()))
}

fn push_frame(
    frames: &mut Vec<u8>,
    place: (u64, u64),
    at: Timestamp,
    content: &[u8],
) -> io::Result<()> {
    let length = u32::try_from(content.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    frames.extend(length.to_le_bytes());
    frames.extend(checksum(place, at, content).to_le_bytes());
    frames.extend(at.as_nanos().to_le_bytes());
    frames.extend(content);
    Ok(())
}

fn checksum((generation, offset): (u64, u64), at: Timestamp, content: &[u8]) -> u32 {
    let mut head = generation.to_le_bytes().to_vec();
    head.extend(offset.to_le_bytes());
    head.extend((content.len() as u64).to_le_bytes());
    head.extend(at.as_nanos().to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&head), content)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::world::sim::SimDisk;

    const LIMITS: Limits = Limits { segment_bytes_max: 300, keep: Duration::from_secs(100) };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_nanos(second * 1_000_000_000)
    }

    fn open(disk: &SimDisk) -> Ring {
        Ring::open(Arc::new(disk.clone()), "ring", LIMITS).unwrap()
    }

    fn all(ring: &Ring, now: i64) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        ring.visit_back(at(now), |content| {
            found.push(content.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
        found
    }

    #[derive(Clone, Debug)]
    enum Step {
        Append(Vec<usize>),
        Wait(i64),
        Restart,
        Forget,
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => prop::collection::vec(0..120_usize, 0..4).prop_map(Step::Append),
            1 => (0..70_i64).prop_map(Step::Wait),
            1 => Just(Step::Restart),
            1 => Just(Step::Forget),
        ]
    }

    #[test]
    fn what_is_as_old_as_what_is_kept_is_still_there() {
        let mut ring = open(&SimDisk::new());
        // The second does not fit beside the first.
        for fill in [1, 2] {
            ring.append(at(1_000), [vec![fill; 200]]).unwrap();
        }
        ring.append(at(1_100), [vec![3]]).unwrap();
        assert_eq!(all(&ring, 1_100), [vec![3], vec![2; 200], vec![1; 200]]);
        // Nothing of the older segment is shown any more when it goes.
        ring.append(at(1_101), [vec![4]]).unwrap();
        assert_eq!(all(&ring, 1_101), [vec![4], vec![3]]);
    }

    proptest! {
        #[test]
        fn what_came_last_is_there_newest_first(steps in prop::collection::vec(any_step(), 0..40)) {
            let mut disk = SimDisk::new();
            let mut ring = open(&disk);
            let mut now = 1_000;
            let mut added: Vec<(i64, Vec<u8>)> = Vec::new();
            for (step, number) in steps.into_iter().zip(0_u8..) {
                match step {
                    Step::Append(sizes) => {
                        let contents: Vec<_> = sizes.iter().map(|size| vec![number; *size]).collect();
                        ring.append(at(now), contents.clone()).unwrap();
                        added.extend(contents.into_iter().map(|content| (now, content)));
                    }
                    Step::Wait(seconds) => now += seconds,
                    Step::Restart => {
                        disk = disk.restart();
                        ring = open(&disk);
                    }
                    Step::Forget => ring.forget_old(at(now)).unwrap(),
                }
                let found = all(&ring, now);
                let kept = added.iter().rev().filter(|(added, _)| *added >= now - 100);
                let kept: Vec<Vec<u8>> = kept.map(|(_, content)| content.clone()).collect();
                // Nothing else, in order, and never fewer than what fits into one segment.
                prop_assert_eq!(&found[..], &kept[..found.len()]);
                if found.len() < kept.len() {
                    let bytes: usize = kept[..=found.len()].iter()
                        .map(|content| content.len() + FRAME_HEADER_BYTES).sum();
                    prop_assert!(bytes + HEADER_BYTES > 300, "{} of {}", found.len(), kept.len());
                }
                for name in disk.names().unwrap() {
                    prop_assert!(disk.open(&name).unwrap().size().unwrap() <= 300);
                }
            }
        }

        #[test]
        fn a_torn_or_damaged_segment_is_read_up_to_there(cut in 0..250_u64, flip: bool) {
            let disk = SimDisk::new();
            let mut ring = open(&disk);
            let contents: Vec<Vec<u8>> = (0..8).map(|number| vec![number; 12]).collect();
            ring.append(at(1), contents.clone()).unwrap();
            let file = disk.open("ring-1").or_else(|_| disk.open("ring-0")).unwrap();
            if flip {
                let mut byte = [0];
                read_exact_at(&*file, cut.min(243), &mut byte).unwrap();
                file.write_at(cut.min(243), &[byte[0] ^ 1]).unwrap();
            } else {
                file.resize(cut).unwrap();
            }
            let intact = if flip { cut.min(243) } else { cut.min(244) };
            let whole = usize::try_from(intact).unwrap().checked_sub(HEADER_BYTES);
            let whole = whole.map_or(0, |bytes| bytes / (FRAME_HEADER_BYTES + 12)).min(8);
            let mut ring = open(&disk);
            let mut expected: Vec<_> = contents[..whole].to_vec();
            expected.reverse();
            prop_assert_eq!(all(&ring, 2), expected.clone());
            // It goes on there.
            ring.append(at(2), [vec![99; 12]]).unwrap();
            let found = all(&ring, 2);
            prop_assert_eq!((&found[0], &found[1..=whole]), (&vec![99; 12], &expected[..]));
        }
    }

    #[test]
    fn what_does_not_fit_at_all_is_refused_and_changes_nothing() {
        let disk = SimDisk::new();
        let mut ring = open(&disk);
        ring.append(at(1), [vec![1; 10]]).unwrap();
        assert!(ring.append(at(1), [vec![2; 300]]).is_err());
        assert_eq!(all(&ring, 1), [vec![1; 10]]);
    }

    #[test]
    fn old_segments_are_removed() {
        let disk = SimDisk::new();
        let mut ring = open(&disk);
        ring.append(at(1), [vec![1; 10]]).unwrap();
        ring.forget_old(at(101)).unwrap();
        assert_eq!(disk.names().unwrap().len(), 1);
        ring.forget_old(at(102)).unwrap();
        assert_eq!(disk.names().unwrap(), Vec::<String>::new());
        assert_eq!(all(&ring, 102), Vec::<Vec<u8>>::new());
        ring.append(at(103), [vec![2; 10]]).unwrap();
        assert_eq!(all(&ring, 103), [vec![2; 10]]);
    }
}
