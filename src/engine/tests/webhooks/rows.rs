//! What stands in rows: what memory holds beside them, what is counted and forgotten, and reads that fail.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{HOUR, attempt, create, endpoint, kept, pump_all, settle, test, told};
use crate::engine::command::webhooks::WebhookCommand;
use crate::engine::options::Options;
use crate::engine::outbox::backlog::Backlog;
use crate::engine::outbox::keys;
use crate::engine::outbox::pump::Pump;
use crate::engine::tests::rig::{Crash, Rig, tiny};
use crate::model::MessageId;
use crate::storage::rows::Table;

#[test]
fn what_is_old_is_forgotten_with_its_attempts() {
    let mut rig = Rig::new(Options { webhook_keep: 48 * HOUR, ..tiny() });
    let (id, dead) = (create(&mut rig, None), create(&mut rig, None));
    let mut pump = Pump::new(&kept(&rig, &id));
    let index = kept(&rig, &id).endpoint.index;
    let (early, lost) = (test(&mut rig, &id), test(&mut rig, &dead));
    pump_all(&mut rig, &mut pump, |_| false);
    let mut dead_pump = Pump::new(&kept(&rig, &dead));
    pump_all(&mut rig, &mut dead_pump, |_| false);
    endpoint(&mut rig, WebhookCommand::Delete(dead));
    rig.machine.checkpoint().unwrap();
    rig.advance(24 * HOUR);
    let late = test(&mut rig, &id);
    rig.machine.checkpoint().unwrap();
    assert!(rig.engine.notice(early).unwrap().is_some());
    rig.advance(24 * HOUR);
    test(&mut rig, &id);
    rig.machine.checkpoint().unwrap();
    assert_eq!(rig.engine.notice(early).unwrap(), None);
    assert_eq!(rig.engine.notice(lost).unwrap(), None);
    assert_eq!(rig.engine.undelivered(index, early).unwrap(), None);
    assert_eq!(rig.engine.webhook_attempts(index, None, 9, |_| true).unwrap(), []);
    assert!(rig.engine.notice(late).unwrap().is_some());
    // What was to be tried again is dropped; the other two arrive.
    assert_eq!(pump_all(&mut rig, &mut pump, |delivery| delivery.id != early), 2);
    let rig = rig.place.after(Crash::Killed).open();
    assert!(rig.engine.notice(late).unwrap().is_some());
    assert_eq!(rig.engine.notice(early).unwrap(), None);
}

#[test]
fn memory_holds_only_what_no_checkpoint_has() {
    let mut rig = Rig::new(Options { outbox_bytes_max: 4_096, ..tiny() });
    let id = create(&mut rig, None);
    let mut most = 0;
    for _ in 0..400 {
        test(&mut rig, &id);
        let bytes = rig.machine.shared.state.with_outbox(|outbox| outbox.rows().bytes());
        most = most.max(bytes);
        if rig.machine.checkpointer.is_due() {
            rig.machine.checkpoint().unwrap();
        }
    }
    assert!((4_096..4_300).contains(&most), "{most}");
    assert_eq!(told(&rig).len(), 400);
    let mut pump = Pump::new(&kept(&rig, &id));
    assert_eq!(pump_all(&mut rig, &mut pump, |_| true), 400);
}

#[test]
fn what_waits_is_counted_for_each_endpoint() {
    let mut rig = Rig::new(tiny());
    let (id, idle) = (create(&mut rig, None), create(&mut rig, Some(Vec::new())));
    let waits = |rig: &Rig, rows_max| {
        let all = rig.engine.backlogs_within(rows_max).unwrap();
        let ids: Vec<_> = all.iter().map(|backlog| &backlog.endpoint).collect();
        assert_eq!(ids, [&id, &idle]);
        let standing =
            |backlog: &Backlog| (backlog.untried, backlog.to_retry, backlog.oldest.is_some());
        assert_eq!(standing(&all[1]), (0, 0, false));
        (all[0].untried, all[0].to_retry, all[0].oldest)
    };
    assert_eq!(waits(&rig, 99), (0, 0, None));
    let first = rig.engine.now();
    for _ in 0..5 {
        test(&mut rig, &id);
        rig.advance(Duration::from_mins(1));
    }
    assert_eq!(waits(&rig, 99), (5, 0, Some(first)));
    assert_eq!(waits(&rig, 4), (2, 0, Some(first)));
    // The first two fail; what is under way, or over and not logged, waits like the others.
    let mut pump = Pump::new(&kept(&rig, &id));
    let now = rig.engine.real_now();
    let found = pump.next(&rig.engine, now, 2).unwrap();
    found.deliveries.iter().for_each(|delivery| pump.ended(attempt(delivery, now, false)));
    assert_eq!(waits(&rig, 99), (5, 0, Some(first)));
    let entry = pump.take_news(&rig.engine).unwrap();
    settle(&mut rig, entry.clone());
    pump.logged(&entry);
    assert_eq!(waits(&rig, 99), (3, 2, Some(first)));
    assert_eq!(waits(&rig, 2), (1, 1, Some(first)));
    rig.machine.checkpoint().unwrap();
    assert_eq!(waits(&rig, 99), (3, 2, Some(first)));
    let mut rig = rig.place.after(Crash::Killed).open();
    assert_eq!(waits(&rig, 99), (3, 2, Some(first)));
    let mut pump = Pump::new(&kept(&rig, &id));
    pump_all(&mut rig, &mut pump, |_| true);
    assert_eq!(waits(&rig, 99), (0, 2, Some(first)));
    rig.advance(HOUR);
    pump_all(&mut rig, &mut pump, |_| true);
    assert_eq!(waits(&rig, 99), (0, 0, None));
}

/// Writes a row to the disk, or removes it.
fn write_row(rig: &Rig, key: &[u8], value: Option<&[u8]>) {
    let batch = rig.machine.shared.rows.begin().unwrap();
    batch.write(Table::Objects, std::iter::once((key, value))).unwrap();
    batch.commit().unwrap();
}

#[test]
fn a_read_that_fails_loses_no_message() {
    let mut rig = Rig::new(tiny());
    let id = create(&mut rig, None);
    let ids: BTreeSet<_> = (0..6).map(|_| test(&mut rig, &id)).collect();
    rig.machine.checkpoint().unwrap();
    // Nobody can understand what stands behind the third.
    let third = *ids.iter().nth(2).unwrap();
    let damaged = keys::message(MessageId { number: third.number + 1, ..third });
    write_row(&rig, &damaged, Some(b"?"));
    let mut pump = Pump::new(&kept(&rig, &id));
    for _ in 0..3 {
        pump.next(&rig.engine, rig.engine.real_now(), 16).unwrap_err();
        assert_eq!(pump.under_way(), 0);
    }
    write_row(&rig, &damaged, None);
    let mut arrived = BTreeSet::new();
    pump_all(&mut rig, &mut pump, |delivery| arrived.insert(delivery.id));
    assert_eq!(arrived, ids);
    assert_eq!(kept(&rig, &id).queue.ahead, BTreeSet::new());
}
