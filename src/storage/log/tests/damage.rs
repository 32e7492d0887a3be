//! Torn tails that are dropped and damage that stops the start, byte by byte.

use super::disk::TestDisk;
use super::{
    Bounds, Durability, EVERYTHING, INCARNATION, INTERVAL, Model, append, fill, log_of, open_all,
    open_as, open_with, options, read_from,
};
use crate::model::Lsn;
use crate::storage::log::frame::{BLOCK_BYTES, Header, Place};
use crate::storage::log::{Damage, Incarnation, OpenError, Options, segment, verify};

/// A frame, and where it is.
#[derive(Clone, Debug)]
struct Located {
    file: String,
    offset: usize,
    header: Header,
}

impl Located {
    /// The end of what is checked; padding follows.
    fn end(&self) -> usize {
        self.offset + 40 + usize::try_from(self.header.payload_bytes).unwrap() + 4
    }
}

/// Every frame of every segment file, in log order.
fn frames_on(disk: &TestDisk) -> Vec<Located> {
    let mut frames = Vec::new();
    for file in disk.all_names() {
        if segment::number_of(&file).is_none() {
            continue;
        }
        let bytes = disk.bytes(&file);
        let salt = segment::Header::decode(&bytes[..4096]).unwrap().salt;
        let mut offset = 4096;
        while let Some(header) = bytes
            .get(offset..)
            .and_then(|at| Header::decode(at, Place { salt, offset: offset as u64 }))
        {
            frames.push(Located { file: file.clone(), offset, header });
            offset += header.frame_len();
        }
    }
    frames
}

fn damage_of(disk: &TestDisk, bounds: Bounds) -> Damage {
    match open_with(disk, Durability::Commit, bounds) {
        Err(OpenError::Damaged(damage)) => damage,
        Err(error) => panic!("another error: {error}"),
        Ok(opened) => panic!("opened: {:?}", opened.report),
    }
}

/// Applies `change` to a copy of the disk.
fn changed(disk: &TestDisk, file: &str, change: impl Fn(&mut Vec<u8>)) -> TestDisk {
    let copy = disk.fork();
    let mut bytes = disk.bytes(file);
    change(&mut bytes);
    copy.put(file, &bytes);
    copy
}

#[test]
fn a_torn_last_group_is_dropped_whatever_is_left_of_it() {
    let (disk, _, mut model) = log_of(&[(1, 10), (2, 900), (3, 700)]);
    let last = frames_on(&disk).last().unwrap().clone();
    assert_eq!(last.header.first_lsn, Lsn(4));
    let whole = model.frames.clone();
    model.cut(Lsn(3));
    let end = last.offset + last.header.frame_len();
    let tear = |at: usize, change: &dyn Fn(&mut Vec<u8>)| {
        let torn = changed(&disk, &last.file, change);
        let opened = open_all(&torn).unwrap_or_else(|error| panic!("torn at {at}: {error}"));
        let expected = if at >= last.end() { &whole } else { &model.frames };
        assert_eq!(&read_from(&opened.reader, Lsn(1)).unwrap(), expected, "torn at {at}");
    };
    for at in last.offset..end {
        tear(at, &|bytes| bytes.truncate(at));
        tear(at, &|bytes| bytes[at..end].fill(0));
        tear(at, &|bytes| bytes[at] ^= 0x40);
    }
}

#[test]
fn a_dropped_tail_is_reported_and_its_lsn_is_given_anew() {
    let (disk, _, mut model) = log_of(&[(1, 10), (2, 900), (3, 700)]);
    let last = frames_on(&disk).last().unwrap().clone();
    let torn = changed(&disk, &last.file, |bytes| bytes[last.offset + 100] ^= 1);
    let mut opened = open_all(&torn).unwrap();
    let dropped = opened.report.dropped.unwrap();
    assert_eq!((dropped.file, dropped.offset_bytes), (last.file, last.offset as u64));
    assert_eq!(dropped.first_lsn, Lsn(4));
    model.cut(Lsn(3));
    fill(&mut opened.wal, &mut model, &[(1, 33)]);
    drop(opened.wal);
    assert_eq!(read_from(&open_all(&torn).unwrap().reader, Lsn(1)).unwrap(), model.frames);
}

#[test]
fn any_flipped_byte_of_a_durable_group_stops_the_start_at_its_place() {
    let groups = [(1, 10), (2, 900), (3, 3000), (1, 3500), (1, 7000), (1, 14_000), (4, 1), (1, 2)];
    let (disk, mut opened, model) = log_of(&groups);
    opened.wal.write_idle_mark().unwrap();
    let frames = frames_on(&disk);
    assert!(frames.last().unwrap().file > frames[0].file, "there are several segments");
    let durable = model.last_lsn();
    for frame in frames.iter().filter(|frame| frame.header.count > 0) {
        for at in (frame.offset..frame.end())
            .filter(|at| *at < frame.offset + 48 || *at >= frame.end() - 5 || at % 211 == 0)
        {
            let flipped = changed(&disk, &frame.file, |bytes| bytes[at] ^= 0x10);
            let before = flipped.fork();
            let expected = Damage {
                file: frame.file.clone(),
                offset_bytes: frame.offset as u64,
                first_lsn: frame.header.first_lsn,
                last_lsn: durable,
            };
            assert_eq!(damage_of(&flipped, EVERYTHING), expected, "byte {at}");
            let named = verify(&flipped).unwrap().damage;
            let last_lsn = frame.header.next_lsn().previous();
            assert_eq!(named, [Damage { last_lsn, ..expected }], "byte {at}");
            assert_eq!(flipped.all_names(), before.all_names());
        }
    }
}

#[test]
fn a_flipped_byte_in_the_last_mark_is_no_damage() {
    let (disk, mut opened, model) = log_of(&[(1, 10), (2, 900)]);
    opened.wal.write_idle_mark().unwrap();
    let mark = frames_on(&disk).last().unwrap().clone();
    assert_eq!(mark.header.count, 0);
    for at in mark.offset..mark.end() {
        let flipped = changed(&disk, &mark.file, |bytes| bytes[at] ^= 2);
        let opened = open_all(&flipped).unwrap();
        assert_eq!(read_from(&opened.reader, Lsn(1)).unwrap(), model.frames);
    }
}

#[test]
fn a_damaged_mark_before_a_group_stops_the_start() {
    let (disk, mut opened, mut model) = log_of(&[(1, 10)]);
    opened.wal.write_idle_mark().unwrap();
    fill(&mut opened.wal, &mut model, &[(1, 20)]);
    let frames = frames_on(&disk);
    let mark = frames.iter().rfind(|frame| frame.header.count == 0).unwrap();
    let flipped = changed(&disk, &mark.file, |bytes| bytes[mark.offset] ^= 2);
    let damage = damage_of(&flipped, EVERYTHING);
    assert_eq!(damage.offset_bytes, mark.offset as u64);
    assert_eq!((damage.first_lsn, damage.last_lsn), (Lsn(2), Lsn(1)));
    assert!(damage.to_string().contains("a mark before lsn 2"), "{damage}");
    assert_eq!(verify(&flipped).unwrap().damage, [damage]);
}

#[test]
fn any_flipped_byte_of_a_segment_header_stops_the_start() {
    let (disk, _, _) = log_of(&[(1, 3000), (1, 3500), (1, 7000)]);
    for file in disk.all_names() {
        for at in (0..4096).filter(|at| *at < 48 || *at > 4090 || at % 97 == 0) {
            let flipped = changed(&disk, &file, |bytes| bytes[at] ^= 4);
            let damage = damage_of(&flipped, EVERYTHING);
            assert_eq!((damage.file, damage.offset_bytes), (file.clone(), 0), "byte {at}");
            let damage = verify(&flipped).unwrap().damage;
            assert_eq!((damage[0].file.as_str(), damage[0].offset_bytes), (file.as_str(), 0));
        }
    }
}

#[test]
fn a_group_that_a_checkpoint_knows_of_cannot_be_torn() {
    let (disk, _, _) = log_of(&[(1, 10), (2, 900), (3, 700)]);
    let last = frames_on(&disk).last().unwrap().clone();
    let torn = changed(&disk, &last.file, |bytes| bytes.truncate(last.offset + 200));
    for known_durable in [Lsn(4), Lsn(5), Lsn(6)] {
        let damage = damage_of(&torn, Bounds { known_durable, from: Lsn(1) });
        assert_eq!((damage.first_lsn, damage.last_lsn), (Lsn(4), known_durable));
        assert_eq!((damage.file, damage.offset_bytes), (last.file.clone(), last.offset as u64));
    }
    assert!(open_all(&torn).is_ok());
}

#[test]
fn a_checkpoint_inside_a_group_vouches_for_all_of_it() {
    let (disk, _, model) = log_of(&[(1, 10), (4, 900)]);
    let bounds = Bounds { known_durable: Lsn(3), from: Lsn(4) };
    let opened = open_with(&disk, Durability::Commit, bounds).unwrap();
    assert_eq!(opened.report.groups_rewritten, 0);
    assert_eq!(read_from(&opened.reader, Lsn(4)).unwrap(), model.frames[1..]);
}

#[test]
fn a_missing_segment_is_damage() {
    let (disk, mut opened, model) =
        log_of(&[(1, 5000), (1, 5000), (2, 5000), (1, 5000), (1, 5000)]);
    opened.wal.write_idle_mark().unwrap();
    let files = disk.all_names();
    assert!(files.len() >= 4);
    for (index, file) in files.iter().enumerate() {
        let copy = disk.fork();
        crate::world::Disk::remove(&copy, file).unwrap();
        if index + 1 < files.len() {
            let damage = damage_of(&copy, EVERYTHING);
            let lost = frames_on(&disk)
                .into_iter()
                .find(|frame| frame.file == *file && frame.header.count > 0);
            assert_eq!(damage.first_lsn, lost.unwrap().header.first_lsn, "{file}");
        } else {
            let bounds = Bounds { known_durable: model.last_lsn(), from: Lsn(1) };
            damage_of(&copy, bounds);
        }
    }
    let none = TestDisk::new(1);
    let damage = damage_of(&none, Bounds { known_durable: Lsn(9), from: Lsn(10) });
    assert_eq!(damage.last_lsn, Lsn(9));
}

#[test]
fn another_incarnation_and_a_newer_format_are_refused_untouched() {
    let (disk, _, _) = log_of(&[(1, 10)]);
    disk.put("wal-spare", b"anything");
    let before = disk.fork();
    let other = Options { incarnation: Incarnation([8; 16]), ..options(Durability::Commit) };
    match open_as(&disk, other, EVERYTHING) {
        Err(OpenError::OtherIncarnation { found, expected, .. }) => {
            assert_eq!((found, expected), (INCARNATION, Incarnation([8; 16])));
        }
        result => panic!("{result:?}"),
    }
    let newer = changed(&disk, "wal-0000000001", |bytes| {
        bytes[8] = 2;
        let checksum = crc32c::crc32c(&bytes[..4092]);
        bytes[4092..4096].copy_from_slice(&checksum.to_le_bytes());
    });
    match open_all(&newer) {
        Err(OpenError::NewerFormat { file, version: 2 }) => assert_eq!(file, "wal-0000000001"),
        result => panic!("{result:?}"),
    }
    assert!(matches!(verify(&newer), Err(OpenError::NewerFormat { .. })));
    for name in before.all_names() {
        assert_eq!(disk.bytes(&name), before.bytes(&name), "{name} is as it was");
    }
    assert_eq!(newer.all_names(), before.all_names());
}

#[test]
fn pipelined_groups_behind_a_torn_one_are_dropped_and_single_ones_are_not() {
    for (durability, kept) in [(INTERVAL, Some(2)), (Durability::Commit, None)] {
        let disk = TestDisk::new(3);
        let mut model = Model::default();
        let mut opened = open_with(&disk, durability, EVERYTHING).unwrap();
        for _ in 0..6 {
            append(&mut opened.wal, &model.group(1, 100)).unwrap();
        }
        drop(opened);
        let third = frames_on(&disk)[3].clone();
        assert_eq!(third.header.first_lsn, Lsn(3));
        let torn = changed(&disk, &third.file, |bytes| bytes[third.offset + 60] ^= 1);
        assert_eq!(verify(&torn).unwrap().damage.is_empty(), kept.is_some());
        match (open_with(&torn, durability, EVERYTHING), kept) {
            (Ok(opened), Some(kept)) => {
                let read = read_from(&opened.reader, Lsn(1)).unwrap();
                assert_eq!(read, model.frames[..kept]);
            }
            (Err(OpenError::Damaged(damage)), None) => assert_eq!(damage.first_lsn, Lsn(3)),
            (result, _) => panic!("{durability:?}: {result:?}"),
        }
    }
}

#[test]
fn frames_of_an_older_salt_are_never_accepted() {
    let (disk, _, _) = log_of(&[(1, 10), (1, 20)]);
    let fresh = segment::Header { incarnation: INCARNATION, salt: 99, pipelined: false };
    let reused = changed(&disk, "wal-0000000001", |bytes| {
        bytes[..4096].copy_from_slice(&fresh.encode());
    });
    let opened = open_all(&reused).unwrap();
    assert_eq!(opened.wal.durable(), Lsn::ZERO);
    assert_eq!(read_from(&opened.reader, Lsn(1)).unwrap(), []);
}

#[test]
fn a_frame_moved_to_another_block_or_file_is_not_accepted() {
    let (disk, mut opened, _) = log_of(&[(1, 10), (1, 20), (1, 30)]);
    opened.wal.write_idle_mark().unwrap();
    let frames = frames_on(&disk);
    let (from, to) = (frames[1].offset, frames[2].offset);
    let moved = changed(&disk, &frames[1].file, |bytes| {
        bytes.copy_within(from..from + BLOCK_BYTES, to);
    });
    assert_eq!(damage_of(&moved, EVERYTHING).offset_bytes, to as u64);
    let copied = disk.fork();
    copied.put("wal-0000000002", &disk.bytes("wal-0000000001"));
    assert!(matches!(open_all(&copied), Ok(_) | Err(OpenError::Damaged(_))));
}

#[test]
fn verify_names_every_hole_and_open_the_first() {
    let (disk, mut opened, _) =
        log_of(&[(1, 10), (2, 900), (3, 3000), (1, 3500), (1, 7000), (2, 5)]);
    opened.wal.write_idle_mark().unwrap();
    let sound = verify(&disk).unwrap();
    assert_eq!((sound.durable, sound.damage), (Lsn(10), vec![]));
    assert_eq!(sound.segments.iter().map(|segment| segment.groups).sum::<u64>(), 6);
    assert_eq!(sound.segments[0].incarnation, Some(INCARNATION));
    assert_eq!(sound.segments.last().unwrap().lsns.unwrap().1, Lsn(10));

    let frames: Vec<_> =
        frames_on(&disk).into_iter().filter(|frame| frame.header.count > 0).collect();
    let mut broken = disk.fork();
    for index in [1, 3, 5] {
        let at = frames[index].offset + 41;
        broken = changed(&broken, &frames[index].file, |bytes| bytes[at] ^= 1);
    }
    let named = verify(&broken).unwrap().damage;
    let lsns: Vec<_> = named.iter().map(|hole| (hole.first_lsn.0, hole.last_lsn.0)).collect();
    assert_eq!(lsns, [(2, 3), (7, 7), (9, 10)]);
    assert_eq!(damage_of(&broken, EVERYTHING).first_lsn, Lsn(2));
}
