//! Whether every message that must exist does, the same at every look, and each endpoint as the log says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quipu::engine::command::webhooks::WebhookCommand;
use quipu::model::{EndpointIndex, LedgerEntry, Lsn, MessageId, Notice, Told};

use super::{Message, What, event_of_row};
use crate::check::Unread;
use crate::model::Model;
use crate::place::{Process, chain};

/// Compares every message and every endpoint; `rows` are those of all ledgers.
pub(crate) fn check_told(
    process: &Process,
    model: &mut Model,
    rows: &[Arc<LedgerEntry>],
) -> Result<(), Unread> {
    let outbox = model.credits.outbox.clone();
    let shown: Vec<_> = process.engine.webhook_endpoints(None, usize::MAX);
    let known: Vec<_> = outbox.endpoints.values().cloned().map(Arc::new).collect();
    assert_eq!(shown, known, "the endpoints");
    for (id, told) in &model.endpoints {
        let known = outbox.endpoints.get(&told.index);
        let words = known.map(|known| (&known.id, &known.url, &known.description, &known.filter));
        let expected = (!told.deleted).then_some((id, &told.url, &told.description, &told.filter));
        assert_eq!(words, expected, "as it was acknowledged");
    }
    let mut expected = outbox.told.clone();
    for row in rows {
        let event_type = event_of_row(row.transaction);
        let to = outbox.wanting(row.id.lsn, event_type);
        if !to.is_empty() {
            let what = What::Ledger(Arc::clone(row));
            let message = Message { event_type, at: row.created_at, to, what };
            expected.entry(row.id.lsn).or_default().push(message);
        }
    }
    let mut untried: BTreeMap<EndpointIndex, u64> = BTreeMap::new();
    let mut there = BTreeSet::new();
    for (lsn, messages) in expected {
        for (id, notice) in read(process, model, lsn, messages)? {
            there.insert(id);
            for to in &notice.to {
                let sent = outbox.sent.get(to);
                let waits = sent.is_some_and(|sent| !sent.tried.contains(&id));
                *untried.entry(*to).or_default() += u64::from(waits);
            }
            let notice = Arc::new(notice);
            let before = model.notices.entry(id).or_insert_with(|| Arc::clone(&notice));
            assert_eq!(*before, notice, "a message has changed: {id:?}");
        }
    }
    check_sent(process, model, (&untried, &there))
}

/// The messages of a record, when they are not forgotten: all, and no others.
fn read(
    process: &Process,
    model: &Model,
    lsn: Lsn,
    mut expected: Vec<Message>,
) -> Result<Vec<(MessageId, Notice)>, Unread> {
    let mut found = Vec::new();
    for number in 0..=u32::try_from(expected.len()).expect("few") {
        let id = MessageId { lsn, number };
        let notice = process.engine.notice(id).map_err(|error| chain(&error))?;
        found.extend(notice.map(|notice| (id, notice)));
    }
    let is_old = |message: &Message| model.may_forget_messages(message.at);
    if found.is_empty() && expected.iter().all(is_old) {
        return Ok(found);
    }
    for (id, notice) in &found {
        let place = expected.iter().position(|message| tells(notice, message));
        let place = place.unwrap_or_else(|| panic!("{id:?} {notice:?} is none of {expected:?}"));
        expected.swap_remove(place);
    }
    assert_eq!(expected, [], "nobody is told by {lsn}");
    Ok(found)
}

fn tells(notice: &Notice, message: &Message) -> bool {
    let Message { event_type, at, to, what } = message;
    let tells = match (&notice.told, what) {
        (Told::Payment { payment, .. }, What::Payment(known)) => payment == known,
        (Told::Subscription(told), What::Subscription(known)) => told.subscription == *known,
        (Told::Ledger(row), What::Ledger(known)) => row == known,
        (Told::BalanceLow(low), What::Low(of, entitlement)) => {
            (low.subscription, low.entitlement) == (*of, *entitlement)
        }
        (Told::Threshold(told), What::Threshold(known)) => told.crossing == *known,
        (Told::Test(id), What::Test(known)) => id == known,
        (
            Told::Payment { .. }
            | Told::Subscription(_)
            | Told::Ledger(_)
            | Told::BalanceLow(_)
            | Told::Threshold(_)
            | Told::Test(_),
            _,
        ) => false,
    };
    tells && (notice.event_type, notice.at, &notice.to) == (*event_type, *at, to)
}

/// Compares what became of messages.
fn check_sent(
    process: &Process,
    model: &Model,
    (untried, there): (&BTreeMap<EndpointIndex, u64>, &BTreeSet<MessageId>),
) -> Result<(), Unread> {
    let outbox = &model.credits.outbox;
    let backlogs = process.engine.webhook_backlogs().map_err(|error| chain(&error))?;
    for ((index, sent), backlog) in outbox.sent.iter().zip(&backlogs) {
        assert_eq!(backlog.endpoint, outbox.endpoints[index].id);
        let waiting = untried.get(index).copied().unwrap_or(0);
        let found = (backlog.untried, backlog.to_retry);
        assert_eq!(found, (waiting, sent.retries.len() as u64), "{index:?}");
        let found = process.engine.webhook_attempts(*index, None, usize::MAX, |_| true);
        let found = found.map_err(|error| chain(&error))?;
        let known = sent.attempts.iter().rev();
        for (found, (place, attempt)) in found.iter().zip(known.clone()) {
            assert_eq!((&found.place, &found.attempt), (place, attempt));
        }
        let is_whole = found.len() == sent.attempts.len();
        for id in sent.tried.intersection(there) {
            let found = process.engine.undelivered(*index, *id).map_err(|error| chain(&error))?;
            assert_eq!(found, sent.undelivered.get(id).copied(), "{id:?}");
        }
        let may_miss = model.forgets_messages() && found.len() < sent.attempts.len();
        assert!(is_whole || may_miss, "{found:?} {:?}", sent.attempts);
    }
    assert_eq!(backlogs.len(), outbox.sent.len());
    Ok(())
}

/// Finds out whether an endpoint was changed, though nobody was answered.
pub(crate) fn resolve_webhook(
    process: &Process,
    model: &mut Model,
    command: &WebhookCommand,
) -> Option<bool> {
    let all = process.engine.webhook_endpoints(None, usize::MAX);
    let described = |text: &str| all.iter().find(|endpoint| endpoint.description == text).cloned();
    let found = match command {
        WebhookCommand::Create(new) => described(&new.description)?,
        WebhookCommand::Update(_, patch) => described(patch.description.as_deref()?)?,
        WebhookCommand::Delete(id) => {
            let known = model.endpoints.get(id).filter(|known| !known.deleted)?;
            if all.iter().any(|endpoint| endpoint.id == *id) {
                return None;
            }
            let mut deleted = (**known).clone();
            deleted.deleted = true;
            Arc::new(deleted)
        }
        WebhookCommand::SetHeaders(..)
        | WebhookCommand::RotateSecret(_)
        | WebhookCommand::Test(_)
        | WebhookCommand::Requeue(..) => return None,
    };
    model.endpoints.insert(found.id.clone(), found);
    Some(true)
}
