//! Reads of credits are exact at their instant, whatever comes next.

use std::time::Duration;

use super::credits::{Shop, line};
use super::rig::Sent;
use crate::engine::command::credits::CreditTermsPatch;
use crate::engine::command::entries::NewEntryKind;
use crate::model::Credits;
use crate::model::credit::TransactionType::{CreditDeducted, CreditExpired};

const SECOND: Duration = Duration::from_secs(1);

/// The event was drawn when the first record after its time was applied. When that was the very end of a
/// grant, the grant had expired by then: what every read in between had shown as drawn came back, expired,
/// and the event was covered by nothing.
#[test]
fn a_pending_event_draws_at_its_own_time_whenever_the_next_record_comes() {
    let mut shop = Shop::new(CreditTermsPatch::default());
    shop.subscribe();
    shop.enter(NewEntryKind::Debit, 100, "all").unwrap();
    let now = shop.rig.engine.now();
    let expires_at = Some(now.plus(120 * SECOND));
    shop.enter(NewEntryKind::Credit { expires_at }, 50, "for two minutes").unwrap();
    let ahead = Sent::new("ahead", "c0").at(now.plus(60 * SECOND));
    shop.rig.ingest(&[ahead]).unwrap();
    shop.rig.advance(90 * SECOND);
    assert_eq!(shop.balance(), ("49.9".to_owned(), "0".to_owned()));
    shop.pass(90 * SECOND);
    let expected =
        [line(CreditDeducted, "0.1", "49.9", "0"), line(CreditExpired, "49.9", "0", "0")];
    assert_eq!(shop.ledger()[3..], expected);
    let uncovered = shop.pool().pool.totals().uncovered;
    assert_eq!(uncovered, Credits::ZERO);
}
