//! A checkpoint: the snapshot file, what its chunks hold, and the rows beside it.
//!
//! Laws: the chunks of a file are those that a naive reading of the format's table finds, or the file
//! is refused as that reading refuses it; an object that is read and written again is no longer than
//! it was, and comes back as the same. The input is a kind; then the file's chunks, or one object.

use quipu::engine::checkpoint::{Checkpoints, SnapshotBase, SnapshotChunk};
use quipu::engine::replies::Reply;
use quipu::model::{ApiKey, Customer, Invoice, Payment};
use quipu::storage::codec;
use quipu::storage::snapshot::{CHUNK_BYTES_MAX, Error, Reader, verify};
use quipu::world::Disk;
use quipu::world::sim::SimDisk;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::input::{Input, field};

const NAME: &str = "snapshot-1";
const OWNER: [u8; 16] = [7; 16];

/// Holds the laws for `data`.
///
/// # Panics
/// When one is broken.
pub fn check(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind {
        0 => check_file(&mut Input(rest)),
        1 => check_object::<SnapshotBase>(rest),
        2 => check_object::<SnapshotChunk>(rest),
        3 => check_object::<Checkpoints>(rest),
        4 => check_object::<Customer>(rest),
        5 => check_object::<ApiKey>(rest),
        6 => check_object::<Reply>(rest),
        7 => check_object::<Invoice>(rest),
        8 => check_object::<Payment>(rest),
        _ => check_whole(rest, *blake3::hash(rest).as_bytes()),
    }
}

fn check_object<T: DeserializeOwned + Serialize>(bytes: &[u8]) {
    let Ok(object) = codec::decode::<T>(bytes) else { return };
    let written = encoded(&object);
    assert!(written.len() <= bytes.len());
    let again: T = codec::decode(&written).expect("what was written can be read");
    assert_eq!(encoded(&again), written);
}

fn encoded<T: Serialize>(object: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::encode(object, &mut bytes);
    bytes
}

/// Makes a file whose checksums are right but where the input says otherwise.
fn check_file(input: &mut Input<'_>) {
    let mut file = b"QUIPUSNP".to_vec();
    let flaws = input.byte();
    file.extend(u32::from(flaws & 1 == 0).to_le_bytes());
    file.extend(if flaws & 2 == 0 { OWNER } else { input.array() });
    while !input.is_empty() {
        let shape = input.byte();
        let count = usize::from(input.u16());
        let payload = input.bytes(count);
        let mut length = u32::try_from(payload.len()).unwrap();
        if shape & 0x80 != 0 {
            length = u32::from_le_bytes(input.array());
        }
        let checked = [&length.to_le_bytes()[..], payload].concat();
        file.extend(length.to_le_bytes());
        file.extend((crc32c::crc32c(&checked) ^ u32::from(shape & 0x40)).to_le_bytes());
        file.extend(payload);
    }
    if flaws & 4 == 0 {
        file.extend(0_u32.to_le_bytes());
    }
    let mut hash = *blake3::hash(&file).as_bytes();
    hash[0] ^= flaws & 8;
    file.extend(hash);
    if flaws & 0x10 != 0 {
        file.push(0);
    }
    hash[0] ^= flaws & 0x20;
    check_whole(&file, hash);
}

fn check_whole(file: &[u8], recorded: [u8; 32]) {
    let disk = SimDisk::new();
    disk.create(NAME).unwrap().write_at(0, file).unwrap();
    let found = read(&disk, &recorded);
    let expected = naive_chunks(file).filter(|(_, hash)| *hash == recorded).map(|it| it.0);
    assert_eq!(found.as_ref().ok(), expected.as_ref());
    assert_eq!(verify(&disk, NAME, OWNER, &recorded).is_ok(), expected.is_some());
    for chunk in found.iter().flatten() {
        check_object::<SnapshotBase>(chunk);
        check_object::<SnapshotChunk>(chunk);
    }
}

fn read(disk: &dyn Disk, recorded: &[u8; 32]) -> Result<Vec<Vec<u8>>, Error> {
    let mut reader = Reader::open(disk, NAME, OWNER, recorded)?;
    let mut chunks = Vec::new();
    while let Some(chunk) = reader.chunk()? {
        chunks.push(chunk);
    }
    Ok(chunks)
}

/// The chunks and the hash of a file, if it is whole.
fn naive_chunks(file: &[u8]) -> Option<(Vec<Vec<u8>>, [u8; 32])> {
    let head = [&b"QUIPUSNP"[..], &1_u32.to_le_bytes(), &OWNER].concat();
    if !file.starts_with(&head) {
        return None;
    }
    let mut at = head.len();
    let mut chunks = Vec::new();
    loop {
        let length = field(file, at).map(u32::from_le_bytes)? as usize;
        if length == 0 {
            break;
        }
        let crc = field(file, at + 4).map(u32::from_le_bytes)?;
        let payload = file.get(at + 8..at + 8 + length)?;
        let checked = [file.get(at..at + 4)?, payload].concat();
        if length > CHUNK_BYTES_MAX || crc32c::crc32c(&checked) != crc {
            return None;
        }
        chunks.push(payload.to_vec());
        at += 8 + length;
    }
    let hashed = file.get(..at + 4)?;
    let hash: [u8; 32] = file.get(at + 4..)?.try_into().ok()?;
    (hash == *blake3::hash(hashed).as_bytes()).then_some((chunks, hash))
}
