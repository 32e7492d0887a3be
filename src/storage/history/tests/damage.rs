//! Damaged files: whatever byte is hit, it is an error that names the file, or nothing is wrong.

use super::{Draw, Item, OWNER, hash, hasher, open, owned, read, write};
use crate::model::Lsn;
use crate::storage::history::file::temporary_name_of;
use crate::storage::history::{Error, History, Query, Verification, verify};
use crate::storage::log::Incarnation;
use crate::world::Disk;
use crate::world::sim::SimDisk;

const NAME: &str = "history-00000000000000000011";

/// Three files, of which the one in the middle is to be damaged.
fn disk() -> (SimDisk, Vec<Item>) {
    let disk = SimDisk::new();
    let history = open(&disk).unwrap();
    let items = Draw(8).items(1, 40);
    for range in [0..10, 10..34, 34..40] {
        write(&history, &items[range]).unwrap();
    }
    (disk, items)
}

/// Everything that can be asked: each answer is right, or an error that names the file.
fn ask(disk: &SimDisk, items: &[Item]) -> Vec<Error> {
    let history = match open(disk) {
        Ok(history) => history,
        Err(error) => return vec![error],
    };
    let mut errors = Vec::new();
    match read(&history, 1, items.len() as u64) {
        Ok(read) => assert_eq!(read, items),
        Err(error) => errors.push(error),
    }
    for stored in items.iter().filter_map(Item::event) {
        match history.find(hash(&stored.event.id), &stored.event.id, owned) {
            Ok(found) => assert_eq!(found.as_ref(), Some(stored)),
            Err(error) => errors.push(error),
        }
    }
    let stored = items[20..].iter().find_map(Item::event).unwrap();
    let query = Query { customer_id: Some(&stored.event.customer_id), ..Query::default() };
    errors.extend(count(&history, &query, items).err());
    errors
}

fn count(history: &History, query: &Query<'_>, items: &[Item]) -> Result<(), Error> {
    let mut found = Vec::new();
    history.scan_back(query, Lsn(99), |stored| {
        found.push(stored.lsn);
        std::ops::ControlFlow::Continue(())
    })?;
    let of_customer = |it: &&super::Stored<'_>| Some(&*it.event.customer_id) == query.customer_id;
    let expected: Vec<_> =
        items.iter().filter_map(Item::event).filter(of_customer).map(|it| it.lsn).rev().collect();
    assert_eq!(found, expected);
    Ok(())
}

fn assert_names_the_file(errors: &[Error]) {
    for error in errors {
        assert!(error.to_string().starts_with(NAME), "{error}");
        if let Error::Damaged(damage) = error {
            assert!(damage.first_lsn >= Lsn(11) && damage.last_lsn <= Some(Lsn(34)), "{error}");
        }
    }
}

fn findings(disk: &SimDisk) -> usize {
    match verify(disk, Some(OWNER)) {
        Ok(Verification { damage, .. }) => damage.len(),
        Err(_) => 1,
    }
}

#[test]
fn every_flipped_bit_is_found_and_none_gives_a_wrong_answer() {
    let (disk, items) = disk();
    assert!(ask(&disk, &items).is_empty());
    assert_eq!(findings(&disk), 0);
    let size = disk.image(NAME).len() as u64;
    for offset in 0..size {
        let bit = u8::try_from(offset * 5 % 8).unwrap();
        disk.flip_bit(NAME, offset, bit);
        assert!(findings(&disk) > 0, "byte {offset}");
        // Of the mostly empty index pages only some bytes: asking everything takes a while.
        if offset % 7 == 0 || offset < 1500 || offset + 1000 > size {
            assert_names_the_file(&ask(&disk, &items));
        }
        disk.flip_bit(NAME, offset, bit);
    }
    assert_eq!(findings(&disk), 0);
}

#[test]
fn every_cut_and_an_addition_is_found() {
    let (disk, items) = disk();
    let whole = disk.image(NAME);
    for size in (0..whole.len()).filter(|size| size % 37 == 0 || size + 900 > whole.len()) {
        disk.create(NAME).unwrap().write_at(0, &whole[..size]).unwrap();
        let errors = ask(&disk, &items);
        assert!(matches!(errors[..], [Error::Damaged(_)]), "cut at {size}: {errors:?}");
        assert_names_the_file(&errors);
        assert!(findings(&disk) > 0, "cut at {size}");
    }
    disk.create(NAME).unwrap().write_at(0, &[&whole[..], &[0]].concat()).unwrap();
    let errors = ask(&disk, &items);
    let text = errors[0].to_string();
    assert!(text.contains("the end of the file is missing; lsn 11 to 34"), "{text}");
}

#[test]
fn parts_of_another_file_are_not_taken_for_its_own() {
    let (disk, items) = disk();
    let other = disk.image("history-00000000000000000001");
    disk.create(NAME).unwrap().write_at(0, &other).unwrap();
    let errors = ask(&disk, &items);
    assert!(errors[0].to_string().contains("another LSN"), "{}", errors[0]);
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let (disk, _) = disk();
    let other = History::open(std::sync::Arc::new(disk.clone()), Incarnation([8; 16]), hasher());
    assert!(matches!(other, Err(Error::Foreign { .. })));

    let mut newer = disk.image(NAME);
    newer[8] = 2;
    let crc = crc32c::crc32c(&newer[..36]).to_le_bytes();
    newer[36..40].copy_from_slice(&crc);
    disk.create(NAME).unwrap().write_at(0, &newer).unwrap();
    let error = open(&disk).unwrap_err();
    assert!(matches!(error, Error::Newer { version: 2, .. }), "{error}");
    assert!(matches!(verify(&disk, None), Err(Error::Newer { .. })));
    assert_eq!(disk.image(NAME), newer);
}

#[test]
fn files_of_other_names_are_not_looked_at_and_unfinished_ones_removed() {
    let (disk, items) = disk();
    let unfinished = temporary_name_of(Lsn(41));
    for name in ["history-1", "history-000000000000000000x1", "history-.tmp", &unfinished] {
        disk.create(name).unwrap();
    }
    assert_eq!(verify(&disk, None).unwrap().unfinished, std::slice::from_ref(&unfinished));
    assert!(ask(&disk, &items).is_empty());
    let names = disk.names().unwrap();
    assert!(!names.contains(&unfinished));
    assert_eq!(names.len(), 6);
}

#[test]
fn files_that_hold_the_same_lsns_are_refused() {
    let (disk, _) = disk();
    let history = open(&SimDisk::new()).unwrap();
    drop(history);
    let overlapping = SimDisk::new();
    write(&open(&overlapping).unwrap(), &Draw(1).items(30, 20)).unwrap();
    let image = overlapping.image("history-00000000000000000030");
    disk.create("history-00000000000000000030").unwrap().write_at(0, &image).unwrap();
    let error = open(&disk).unwrap_err();
    assert!(error.to_string().contains("the next file holds too"), "{error}");
}
