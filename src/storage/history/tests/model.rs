//! Random histories against a list: whatever is asked, the answer is the list's.

use std::ops::ControlFlow;

use proptest::prelude::*;

use super::{Draw, Item, hash, nanos, open, owned, read, write};
use crate::model::Lsn;
use crate::storage::history::{Error, History, Query, Retention, Stored, expired, verify};
use crate::world::sim::SimDisk;

struct World {
    disk: SimDisk,
    history: History,
    items: Vec<Item>,
}

/// A history of files with so many items each, reopened.
fn world(seed: u64, first: u64, sizes: &[u64]) -> World {
    let disk = SimDisk::new();
    let mut history = open(&disk).unwrap();
    let mut draw = Draw(seed);
    let mut items = Vec::new();
    for (number, size) in sizes.iter().enumerate() {
        let more = draw.items(first + items.len() as u64, *size);
        write(&history, &more).unwrap();
        items.extend(more);
        if number == 0 {
            history = open(&disk).unwrap();
        }
    }
    World { disk, history, items }
}

fn sizes() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(prop_oneof![1..20_u64, 1000..2300_u64], 1..4)
}

fn back(history: &History, query: &Query<'_>, below: Lsn, limit: usize) -> Vec<Stored<'static>> {
    let mut found = Vec::new();
    if limit > 0 {
        let visit = |stored: &Stored<'_>| {
            found.push(owned(stored));
            if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        history.scan_back(query, below, visit).unwrap();
    }
    found
}

fn is_wanted(query: &Query<'_>, stored: &Stored<'_>) -> bool {
    let event = &stored.event;
    query.customer_id.is_none_or(|it| it == event.customer_id)
        && query.event_name.is_none_or(|it| it == event.name)
        && query.start.is_none_or(|it| event.timestamp >= it)
        && query.end.is_none_or(|it| event.timestamp < it)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_scan_forward_gives_back_exactly_what_was_put_in(
        seed: u64,
        first in 1..9_u64,
        sizes in sizes(),
        cut in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
    ) {
        let World { disk, history, items } = world(seed, first, &sizes);
        let last = first + items.len() as u64 - 1;
        prop_assert_eq!(&read(&history, first, last).unwrap(), &items);
        let (a, b) = (cut.0.index(items.len()), cut.1.index(items.len()));
        let (a, b) = (a.min(b), a.max(b));
        prop_assert_eq!(&read(&history, first + a as u64, first + b as u64).unwrap(), &items[a..=b]);
        prop_assert_eq!(history.first_lsn(), Some(Lsn(first)));
        prop_assert_eq!(history.last_lsn(), Lsn(last));
        prop_assert!(history.gaps().is_empty());
        let report = verify(&disk, None).unwrap();
        prop_assert!(report.damage.is_empty(), "{:?}", report.damage);
        let events = items.iter().filter(|item| item.event().is_some()).count() as u64;
        prop_assert_eq!(report.files.iter().map(|file| file.events).sum::<u64>(), events);
        prop_assert_eq!(history.files().iter().map(|file| file.events).sum::<u64>(), events);
    }

    #[test]
    fn every_event_is_found_by_id_and_by_lsn(seed: u64, sizes in sizes()) {
        let World { history, items, .. } = world(seed, 1, &sizes);
        let mut newest = std::collections::BTreeMap::new();
        for item in &items {
            let at = history.at(item.lsn(), owned).unwrap();
            prop_assert_eq!(at.as_ref(), item.event());
            if let Some(stored) = item.event() {
                newest.insert(&stored.event.id, stored);
            }
        }
        for (id, stored) in newest {
            let found = history.find(hash(id), id, owned).unwrap();
            prop_assert_eq!(found.as_ref(), Some(stored));
        }
        for number in 0..200 {
            let id = format!("other_{number}");
            prop_assert_eq!(history.find(hash(&id), &id, owned).unwrap(), None);
        }
        prop_assert_eq!(history.at(Lsn(items.len() as u64 + 1), owned).unwrap(), None);
        prop_assert_eq!(history.at(Lsn::ZERO, owned).unwrap(), None);
    }

    #[test]
    fn a_scan_back_shows_what_matches_newest_first(
        seed: u64,
        sizes in sizes(),
        given in (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()),
        likely: prop::sample::Index,
        span in (0..4000_i64, 0..4000_i64),
        below in 0..5000_u64,
        limit in prop_oneof![0..5_usize, Just(usize::MAX)],
    ) {
        let World { history, items, .. } = world(seed, 1, &sizes);
        let events: Vec<_> = items.iter().filter_map(Item::event).collect();
        prop_assume!(!events.is_empty());
        let pattern = &likely.get(&events).event;
        let query = Query {
            customer_id: given.0.then_some(&*pattern.customer_id),
            event_name: given.1.then_some(&*pattern.name),
            start: given.2.then_some(nanos(span.0.min(span.1) * 1000)),
            end: given.3.then_some(nanos(span.0.max(span.1) * 1000)),
        };
        let expected: Vec<_> = events
            .iter()
            .rev()
            .filter(|stored| stored.lsn < Lsn(below) && is_wanted(&query, stored))
            .take(limit)
            .map(|stored| (*stored).clone())
            .collect();
        prop_assert_eq!(back(&history, &query, Lsn(below), limit), expected);
    }

    #[test]
    fn what_was_removed_is_gone_and_the_rest_stays(
        seed: u64,
        sizes in prop::collection::vec(1..30_u64, 1..8),
        floor in 0..100_u64,
    ) {
        let World { disk, history, items } = world(seed, 1, &sizes);
        let retention = Retention { keep: std::time::Duration::ZERO, bytes_max: None };
        let now = crate::model::Timestamp::MAX;
        let names = expired(&history.files(), &retention, now, Lsn(floor));
        let mut scan = history.scan_forward(Lsn(1)..=Lsn(1)).unwrap();
        let part = scan.next().unwrap().unwrap();
        history.remove(&names).unwrap();
        let removed: u64 = sizes[..names.len()].iter().sum();
        for history in [&history, &open(&disk.crash_dropping_all()).unwrap()] {
            prop_assert_eq!(history.files().len(), sizes.len() - names.len());
            let kept = usize::try_from(removed).unwrap();
            if kept < items.len() {
                let read = read(history, removed + 1, items.len() as u64).unwrap();
                prop_assert_eq!(&read, &items[kept..]);
            }
            if removed > 0 {
                let error = read(history, removed, removed).unwrap_err();
                let missing = matches!(error, Error::Missing { first_lsn, .. } if first_lsn == Lsn(removed));
                prop_assert!(missing, "{}", error);
            }
            let expected: Vec<_> = items[kept..].iter().filter_map(Item::event).rev().cloned().collect();
            prop_assert_eq!(back(history, &Query::default(), Lsn(9999), usize::MAX), expected);
        }
        // Whoever had a block in hand when its file went reads it all the same.
        let mut read = 0;
        part.events::<Error>(&mut crate::storage::history::Reader::new(), |_| { read += 1; Ok(()) }).unwrap();
        part.records::<Error>(&mut crate::storage::history::Reader::new(), |_| { read += 1; Ok(()) }).unwrap();
        prop_assert_eq!(read, 1);
    }
}

#[test]
fn a_file_that_somebody_took_away_is_noticed() {
    let World { disk, .. } = world(5, 1, &[10, 10, 10]);
    crate::world::Disk::remove(&disk, "history-00000000000000000011").unwrap();
    let history = open(&disk).unwrap();
    assert_eq!(history.gaps(), [Lsn(11)..=Lsn(20)]);
    let error = read(&history, 5, 25).unwrap_err();
    assert_eq!(error.to_string(), "lsn 11 to 20 are not in history");
    let visit = |_: &Stored<'_>| ControlFlow::Continue(());
    let error = history.scan_back(&Query::default(), Lsn(99), visit).unwrap_err();
    assert_eq!(error.to_string(), "lsn 11 to 20 are not in history");
    let damage = verify(&disk, None).unwrap().damage;
    assert_eq!(
        damage.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "history-00000000000000000021 is damaged at byte 0: it does not follow the file before it; \
          lsn 11 to 20"
        ]
    );
}

#[test]
fn more_names_than_are_listed_are_found_all_the_same() {
    let disk = SimDisk::new();
    let history = open(&disk).unwrap();
    let mut draw = Draw(1);
    let mut items = draw.items(1, 3000);
    for item in &mut items {
        if let Item::Event(stored) = item {
            // Few names in the first block, many in the second, and a few again.
            let names = if (1025..2049).contains(&stored.lsn.0) { 500 } else { 50 };
            stored.event.name = format!("n{}", stored.lsn.0 % names).into();
        }
    }
    write(&history, &items).unwrap();
    for name in ["n0", "n49", "n50", "n499", "n500"] {
        let query = Query { event_name: Some(name), ..Query::default() };
        let expected: Vec<_> = items
            .iter()
            .filter_map(Item::event)
            .filter(|it| it.event.name == name)
            .rev()
            .cloned()
            .collect();
        assert_eq!(back(&history, &query, Lsn(9999), usize::MAX), expected, "{name}");
    }
}

#[test]
fn more_files_than_are_kept_open_are_read() {
    let count = crate::storage::history::OPEN_FILES_MAX as u64 + 5;
    let World { history, items, .. } = world(2, 1, &vec![1; usize::try_from(count).unwrap()]);
    for _ in 0..2 {
        assert_eq!(read(&history, 1, count).unwrap(), items);
        let expected: Vec<_> = items.iter().filter_map(Item::event).rev().cloned().collect();
        assert_eq!(back(&history, &Query::default(), Lsn(9999), usize::MAX), expected);
    }
    assert!(history.shared.open.lock().len() <= crate::storage::history::OPEN_FILES_MAX);
}
