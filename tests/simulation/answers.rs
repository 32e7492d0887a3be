//! What was submitted and not yet answered, and what the answers, or a restart, say of it.

use std::sync::Arc;

use quipu::engine::alerts::requests::AlertFilter;
use quipu::engine::bills::{PaymentFilter, ProductFilter, SubscriptionFilter};
use quipu::engine::command::alerts::NewAlert;
use quipu::engine::command::{Changed, Command, Outcome, RequestIdentity};
use quipu::engine::{CustomerFilter, Ingested, Page, Refused};
use quipu::model::{
    Alert, AlertId, CreditEntitlement, EventId, KeyId, Lsn, Meter, MeterId, PaymentId, ProductId,
    Timestamp,
};

use crate::desk::{
    Committing, check_commit_refusal, check_desk_refusal, is_forgotten, is_released,
    resolve_commit, resolve_release, resolve_reserve, take_commit,
};
use crate::event::Sent;
use crate::model::Model;
use crate::place::{Process, Slot};
use crate::reached::Reached;
use crate::told::resolve_webhook;
use crate::workload::TAG;

const ALL: Page = Page { offset: 0, limit: 100_000 };

/// A request that was submitted.
#[derive(Debug)]
pub(crate) enum Waiting {
    Events { sent: Vec<Sent>, received_at: Timestamp, slot: Slot<Ingested> },
    Change { asked: Box<Asked>, slot: Slot<Changed> },
    Commit { asked: Box<Committing>, slot: Slot<Changed> },
}

/// A request as it can be made again.
#[derive(Clone, Debug)]
pub(crate) enum Again {
    Change(Asked),
    Commit(Committing),
}

/// A change as a client asks for it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) command: Command,
    pub(crate) identity: RequestIdentity,
    /// It was applied before: the answer must be that of the first time.
    pub(crate) is_repeated: bool,
}

/// Moves the model on by what was answered. Gives back what was not, in order, and the changes that
/// were applied.
pub(crate) fn take_answers(
    process: &Process,
    model: &mut Model,
    waiting: Vec<Waiting>,
    is_disk_full: bool,
    reached: &mut Reached,
) -> (Vec<Waiting>, Vec<Again>) {
    let (mut unanswered, mut applied) = (Vec::new(), Vec::new());
    for waiting in waiting {
        match waiting {
            Waiting::Events { sent, received_at, slot } => match slot.take() {
                None => unanswered.push(Waiting::Events { sent, received_at, slot }),
                Some(Err(refused)) => {
                    check_refusal(model, &sent, received_at, &refused, is_disk_full);
                }
                Some(Ok(ingested)) => {
                    assert!(unanswered.is_empty(), "{sent:?} was answered before what it follows");
                    let expected = model.expected(&sent, received_at);
                    assert!(expected.may_be_admitted, "{sent:?} was admitted: {expected:?}");
                    let told = model.admit(&sent, received_at, ingested.lsn);
                    assert_eq!(ingested, told, "the answer to {sent:?}");
                    reached.add("duplicate answered", told.duplicates.into());
                    reached.add("conflict answered", told.conflicts.into());
                }
            },
            Waiting::Change { asked, slot } => match slot.take() {
                None => unanswered.push(Waiting::Change { asked, slot }),
                Some(Err(refused)) => {
                    let is_gone = is_forgotten(model, &asked.command, &refused);
                    assert!(!asked.is_repeated || is_gone, "{asked:?}: {refused}");
                    if let (Refused::Gone(_), Command::ConfirmCheckout(id, _)) =
                        (&refused, &asked.command)
                    {
                        assert!(model.may_have_ended(id), "{asked:?}: {refused}");
                    }
                    check_desk_refusal(model, &asked.command, &refused, reached);
                }
                Some(Ok(changed)) => {
                    assert!(unanswered.is_empty(), "a change was answered before what it follows");
                    let is_known = is_done(model, &asked.command);
                    let (found, expected) = (changed.replayed, asked.is_repeated || is_known);
                    assert_eq!(found, expected, "is it a repetition: {asked:?}: {changed:?}");
                    if let (true, Command::ConfirmCheckout(..)) = (is_known, &asked.command)
                        && !asked.is_repeated
                    {
                        reached.note("checkout: confirmed again");
                    }
                    if !changed.replayed {
                        if let Outcome::Checkout(session) = &changed.outcome {
                            model.put_session(process, &asked.command, session, reached);
                        } else {
                            put(model, changed.outcome, changed.lsn);
                        }
                        model.last_lsn = model.last_lsn.max(changed.lsn);
                        applied.push(Again::Change(*asked));
                    }
                }
            },
            Waiting::Commit { asked, slot } => match slot.take() {
                None => unanswered.push(Waiting::Commit { asked, slot }),
                Some(Err(refused)) => {
                    check_commit_refusal(model, &asked, &refused, is_disk_full, reached);
                }
                Some(Ok(changed)) => {
                    let is_first = !changed.replayed;
                    assert!(unanswered.is_empty() || !is_first, "{asked:?} before what it follows");
                    take_commit(model, &asked, &changed, reached);
                    if is_first {
                        applied.push(Again::Commit(*asked));
                    }
                }
            },
        }
    }
    (unanswered, applied)
}

/// Whether it asks for an order that was made already, or a release that was done: the answer is that of
/// the first time.
fn is_done(model: &Model, command: &Command) -> bool {
    if let Command::ConfirmCheckout(id, _) = command {
        return model.is_ordered(id);
    }
    let Command::ReleaseReservation(id) = command else { return false };
    model.is_ended(id, is_released)
}

pub(crate) fn check_refusal(
    model: &Model,
    sent: &[Sent],
    received_at: Timestamp,
    refused: &Refused,
    is_disk_full: bool,
) {
    match refused {
        // The disk could not be read, or a start is under way: the client is told to come back.
        Refused::Busy => {}
        Refused::StorageFull => assert!(is_disk_full, "there is room"),
        Refused::Event(refusal) => {
            let expected = model.expected(sent, received_at);
            let found = (refusal.event_index, refusal.rejection.rule);
            let is_right = expected.refusals.contains(&found);
            assert!(is_right, "{sent:?} at {received_at}: {expected:?}, found {refused:?}");
        }
        Refused::NotFound(_)
        | Refused::Conflict(_)
        | Refused::Gone(_)
        | Refused::Insufficient
        | Refused::NotCovered
        | Refused::TooManyReservations
        | Refused::Invalid { .. }
        | Refused::IdempotencyKeyReused => panic!("{sent:?}: {refused}"),
    }
}

/// Takes up an object as it was acknowledged.
fn put(model: &mut Model, outcome: Outcome, lsn: Lsn) {
    match outcome {
        Outcome::Meter(meter) => model.put_meter(&meter),
        Outcome::Customer(customer) => model.put_customer(&customer),
        Outcome::Key(key) if key.deleted_at.is_none() => {
            model.keys.insert(key.id.as_str().to_owned(), key);
        }
        Outcome::Key(key) => drop(model.keys.remove(key.id.as_str())),
        Outcome::Product(product) => model.put_product(&product),
        Outcome::Subscription(subscription) => model.put_subscription(&subscription),
        Outcome::Payment(payment) => model.put_payment(&payment),
        Outcome::Checkout(_) => panic!("it is taken up with its order"),
        Outcome::Entitlement(entitlement) => model.put_entitlement(&entitlement),
        Outcome::LedgerEntry(pool) => model.entries.push((pool, lsn)),
        Outcome::Reservation(reservation) => {
            model.reservations.insert(reservation.id.clone(), reservation);
        }
        Outcome::Alert(alert) => drop(model.alerts.insert(alert.id.clone(), alert)),
        Outcome::Endpoint(endpoint) => {
            model.endpoints.insert(endpoint.id.clone(), endpoint);
        }
        Outcome::Queued | Outcome::Clock(_) => {}
    }
}

/// Finds out what became of requests without an answer: each was applied whole or not at all, and
/// none that came after one that was lost. Gives back what can be asked for again.
pub(crate) fn resolve(
    process: &Process,
    model: &mut Model,
    waiting: &[Waiting],
    reached: &mut Reached,
) -> Result<Vec<Again>, String> {
    let mut is_lost = false;
    let mut again = Vec::new();
    for waiting in waiting {
        let applied = match waiting {
            Waiting::Events { sent, received_at, .. } => {
                resolve_events(process, model, sent, *received_at)?
            }
            Waiting::Change { asked, .. } => {
                let applied = resolve_change(process, model, &asked.command);
                let is_order = matches!(
                    asked.command,
                    Command::CreateCheckout(_) | Command::ConfirmCheckout(..)
                );
                if is_order && applied == Some(true) {
                    reached.note("checkout: confirmed without an answer");
                }
                let is_repeated = asked.is_repeated || applied == Some(true);
                again.push(Again::Change(Asked { is_repeated, ..Asked::clone(asked) }));
                applied
            }
            Waiting::Commit { asked, .. } => {
                let applied = resolve_commit(process, model, asked)?;
                let is_repeated = asked.is_repeated || applied == Some(true);
                again.push(Again::Commit(Committing { is_repeated, ..Committing::clone(asked) }));
                applied
            }
        };
        match applied {
            Some(true) => {
                assert!(!is_lost, "{waiting:?} was applied, an earlier one was not");
                reached.note("request without an answer that was applied");
            }
            Some(false) => {
                is_lost = true;
                reached.note("request without an answer that was lost");
            }
            None => {}
        }
    }
    Ok(again)
}

/// Whether the request was applied; `None` when it had nothing new, or may have been refused.
fn resolve_events(
    process: &Process,
    model: &mut Model,
    sent: &[Sent],
    received_at: Timestamp,
) -> Result<Option<bool>, String> {
    let expected = model.expected(sent, received_at);
    let new = model.new_of(sent);
    if new.is_empty() || !expected.may_be_admitted {
        return Ok(None);
    }
    let mut found = Vec::new();
    for sent in &new {
        let event = process.engine.event(&EventId::new(sent.id.as_str()));
        found.extend(event.map_err(|error| crate::place::chain(&error))?);
    }
    if found.is_empty() {
        return Ok(expected.refusals.is_empty().then_some(false));
    }
    assert_eq!(found.len(), new.len(), "a request was torn: {sent:?}");
    let last: Lsn = found.iter().map(|event| event.lsn).max().expect("there is one");
    model.admit(sent, received_at, last);
    Ok(Some(true))
}

/// Takes up what the change left behind, when it can be told that it was applied.
fn resolve_change(process: &Process, model: &mut Model, command: &Command) -> Option<bool> {
    let engine = &process.engine;
    match command {
        Command::CreateMeter(new) => {
            let meters = engine.meters(false, ALL).into_iter().chain(engine.meters(true, ALL));
            let found = meters.into_iter().find(|meter| meter.name == new.name);
            found.map(|meter| model.put_meter(&meter)).is_some().then_some(true)
        }
        Command::UpdateMeter(id, patch) => {
            resolve_meter(process, model, id, |meter| patch.name.as_ref() == Some(&meter.name))
        }
        Command::ArchiveMeter(id) => resolve_meter(process, model, id, |meter| meter.archived),
        Command::UnarchiveMeter(id) => resolve_meter(process, model, id, |meter| !meter.archived),
        Command::CreateCustomer(new) => resolve_customer(process, model, &new.name),
        Command::UpdateCustomer(_, patch) => {
            resolve_customer(process, model, patch.name.as_deref().expect("it is always drawn"))
        }
        Command::CreateKey(new) => resolve_key(process, model, &new.name),
        Command::CreateProduct(new) => {
            let products = engine.products(ProductFilter::default(), ALL);
            let found = products.into_iter().find(|product| product.name == new.name)?;
            model.put_product(&found);
            Some(true)
        }
        Command::CreateSubscription(new) => resolve_subscription(process, model, &new.metadata),
        Command::UpdateSubscription(_, patch) => {
            resolve_subscription(process, model, patch.metadata.as_ref().expect("always drawn"))
        }
        Command::ChangePlan(_, change) => {
            resolve_subscription(process, model, change.metadata.as_ref().expect("always drawn"))
        }
        Command::CancelScheduledChange(id) => {
            let found = engine.subscription(id).expect("it was acknowledged").subscription;
            let known = model.subscriptions.iter().find(|known| known.id == *id);
            let had_one = known.is_some_and(|known| known.scheduled_change.is_some());
            // A turn or an end may have taken it as well.
            let is_dropped = had_one && found.scheduled_change.is_none();
            is_dropped.then(|| model.put_subscription(&found));
            None
        }
        Command::Charge(_, charge) => {
            resolve_charge(process, model, charge.metadata.as_ref().expect("always drawn"))
        }
        Command::MarkPayment(id, _) => resolve_mark(process, model, id),
        Command::DeleteKey(id) => resolve_end_of_key(process, model, id),
        Command::UpdateProduct(id, _)
        | Command::ArchiveProduct(id)
        | Command::UnarchiveProduct(id) => resolve_product(process, model, id),
        Command::CreateCheckout(new) => model.resolve_creation(process, &new.metadata),
        Command::ConfirmCheckout(id, _) => model.resolve_confirmation(process, id),
        Command::CreateEntitlement(new) => {
            resolve_entitlement(process, model, |found| found.name == new.name)
        }
        Command::UpdateEntitlement(id, _)
        | Command::DeleteEntitlement(id)
        | Command::UndeleteEntitlement(id) => {
            resolve_entitlement(process, model, |found| found.id == *id)
        }
        Command::EnterCredits(new) => model.resolve_entry(process, new),
        Command::Reserve(new) => resolve_reserve(process, model, new),
        Command::ReleaseReservation(id) => resolve_release(process, model, id),
        Command::Webhook(command) => resolve_webhook(process, model, command),
        Command::CreateAlert(new) => resolve_alert(process, model, new),
        Command::DeleteAlert(id) => resolve_end_of_alert(process, model, id),
        Command::AdvanceClock(_) => panic!("not drawn"),
        // A retry makes a payment, which is seen as such.
        Command::RetryPayment(_) | Command::ConfirmClock => None,
    }
}

fn resolve_alert(process: &Process, model: &mut Model, new: &NewAlert) -> Option<bool> {
    let all = process.engine.alerts(&AlertFilter::default(), ALL).into_iter();
    let found = all.map(|view| view.kept.alert).find(|alert| alert.name == new.name)?;
    model.alerts.insert(found.id.clone(), found);
    Some(true)
}

fn resolve_end_of_alert(process: &Process, model: &mut Model, id: &AlertId) -> Option<bool> {
    let is_gone = process.engine.alert(id).is_none();
    let known = model.alerts.get_mut(id).filter(|known| is_gone && !known.deleted)?;
    *known = Arc::new(Alert { deleted: true, ..Alert::clone(known) });
    Some(true)
}

fn resolve_key(process: &Process, model: &mut Model, name: &str) -> Option<bool> {
    let found = process.engine.keys().into_iter().find(|key| key.name == name)?;
    model.keys.insert(found.id.as_str().to_owned(), found);
    Some(true)
}

fn resolve_end_of_key(process: &Process, model: &mut Model, id: &KeyId) -> Option<bool> {
    let is_gone = process.engine.keys().iter().all(|key| key.id != *id);
    let was_known = model.keys.contains_key(id.as_str());
    (is_gone && was_known).then(|| drop(model.keys.remove(id.as_str()))).map(|()| true)
}

fn resolve_mark(process: &Process, model: &mut Model, id: &PaymentId) -> Option<bool> {
    let found = process.engine.payment(id).ok()??.payment;
    let is_new = model.payments.get(id) != Some(&found);
    is_new.then(|| model.put_payment(&found)).map(|()| true)
}

fn resolve_charge(
    process: &Process,
    model: &mut Model,
    metadata: &quipu::model::customer::Metadata,
) -> Option<bool> {
    let payments = process.engine.payments(&PaymentFilter::default(), ALL).ok()?;
    let found = payments.into_iter().find(|view| view.payment.metadata == *metadata)?;
    model.put_payment(&found.payment);
    Some(true)
}

fn resolve_meter(
    process: &Process,
    model: &mut Model,
    id: &MeterId,
    is_changed: impl FnOnce(&Meter) -> bool,
) -> Option<bool> {
    let found = process.engine.meter(id).expect("it was acknowledged");
    let known = model.meters.iter().find(|meter| meter.id == *id);
    let is_new = known != Some(&found) && is_changed(&found);
    is_new.then(|| model.put_meter(&found)).map(|()| true)
}

fn resolve_product(process: &Process, model: &mut Model, id: &ProductId) -> Option<bool> {
    let archived = ProductFilter { archived: true, ..ProductFilter::default() };
    let products = [ProductFilter::default(), archived].map(|of| process.engine.products(of, ALL));
    let found = products.into_iter().flatten().find(|product| product.id == *id)?;
    let is_new = model.products.iter().all(|known| *known != found);
    is_new.then(|| model.put_product(&found)).map(|()| true)
}

fn resolve_entitlement(
    process: &Process,
    model: &mut Model,
    is_it: impl Fn(&CreditEntitlement) -> bool,
) -> Option<bool> {
    let all = [false, true].map(|deleted| process.engine.entitlements(deleted, ALL));
    let found = all.into_iter().flatten().find(|found| is_it(found))?;
    let is_new = model.entitlements.iter().all(|known| *known != found);
    is_new.then(|| model.put_entitlement(&found)).map(|()| true)
}

fn resolve_customer(process: &Process, model: &mut Model, name: &str) -> Option<bool> {
    let customers = process.engine.customers(&CustomerFilter::default(), ALL);
    let found = customers.into_iter().find(|customer| customer.name == name)?;
    model.put_customer(&found);
    Some(true)
}

fn resolve_subscription(
    process: &Process,
    model: &mut Model,
    metadata: &quipu::model::customer::Metadata,
) -> Option<bool> {
    assert_eq!(metadata[0].0, TAG);
    let all = process.engine.subscriptions(&SubscriptionFilter::default(), ALL);
    let found = all.into_iter().find(|view| view.subscription.metadata == *metadata)?;
    model.put_subscription(&found.subscription);
    Some(true)
}
