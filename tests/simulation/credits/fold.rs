//! What each record of the log does to credits.

use std::sync::Arc;

use quipu::engine::pools::moves::{CreditsMove, EntryKind, ManualEntry};
use quipu::engine::record::{Body, Change, ClosedEntry, EventsEntry, PayloadError, decode_payload};
use quipu::model::credit::Attachment;
use quipu::model::invoice::{InvoiceCause, LineDetail};
use quipu::model::{
    Customer, CustomerIndex, EntitlementIndex, Invoice, Lsn, Payment, PaymentStatus, Share,
    Subscription, SubscriptionStatus, Timestamp,
};
use quipu::storage::log::ReadError;

use super::pool::{Due, Given, Source};
use super::turn::Turn;
use super::usage::Event;
use super::{Credits, PoolKey, ended};
use crate::check::Unread;
use crate::model::Model;
use crate::place::{Process, chain};

/// Why the log was not followed to its end.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("read the log")]
    Read(#[from] ReadError),
    #[error("decode the log")]
    Payload(#[from] PayloadError),
}

/// What a change of a subscription means.
#[derive(Clone, Copy, Debug)]
enum Passage {
    Begun,
    Turned { segment: u32, grants: bool, trial_ended: bool },
    Changed { share: Share },
    Paused { segment: u32 },
    Ended { segment: Option<u32> },
}

impl Credits {
    /// Does every record that the engine has applied and that was not done yet.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub(crate) fn follow(&mut self, process: &Process, model: &Model) -> Result<(), Unread> {
        let last = process.engine.stats().last_lsn;
        if last <= self.lsn {
            return Ok(());
        }
        let visited = process.machine.shared.log.visit::<Error>(self.lsn.next()..=last, |frame| {
            let mut lsn = frame.first_lsn;
            for entry in decode_payload(frame.payload)? {
                let next = lsn.plus(entry.body.lsn_count());
                if lsn > self.lsn && lsn <= last {
                    self.now = lsn;
                    self.pass(entry.log_time);
                    self.apply(lsn, &entry.body, model);
                    self.lsn = next.previous();
                }
                lsn = next;
            }
            Ok(())
        });
        visited.map_err(|error| chain(&error))?;
        self.check_none_is_awaited();
        Ok(())
    }

    fn apply(&mut self, lsn: Lsn, body: &Body<'_>, model: &Model) {
        let events = if let Body::Events(events) = body { Some(events) } else { None };
        self.meet_awaited(lsn, events);
        match body {
            Body::Events(events) => self.apply_events(lsn, events, model),
            Body::Change(entry) => self.apply_change(lsn, &entry.change),
            Body::ClockSet(_) | Body::Backfilled(_) => {}
            Body::AlertsFired(entry) => self.fire(lsn, entry),
            Body::WebhookSettled(entry) => self.outbox.settle(lsn, entry),
            Body::PeriodTurned(subscription) => self.put(lsn, subscription),
            Body::CycleClosed(entry) => self.apply_closed(lsn, entry),
            Body::PaymentMarked(entry) => {
                if let Some(subscription) = &entry.subscription {
                    self.put(lsn, subscription);
                }
                self.tell_payment(lsn, &entry.payment);
                self.hand_out(lsn, &entry.payment);
            }
            Body::CreditsMoved(entry) => match &entry.moved {
                CreditsMove::Settled(_) => {}
                CreditsMove::Reservation(moved) => self.apply_reservation(lsn, moved, model),
                CreditsMove::Expired { pools, at } => {
                    let places: Vec<usize> = pools.iter().map(|pool| pool.0 as usize).collect();
                    self.expire(&places, *at, lsn);
                }
                CreditsMove::Entered(manual) => self.apply_entry(lsn, manual),
            },
        }
    }

    fn apply_events(&mut self, lsn: Lsn, entry: &EventsEntry<'_>, model: &Model) {
        for place in &entry.created {
            let index = self.customers.values().map(|known| known.0 + 1).max().unwrap_or(0);
            let name = entry.text(*place).expect("it stands there");
            self.customers.insert(name.to_owned(), CustomerIndex(index));
        }
        for (event, place) in entry.events.iter().zip(0..) {
            let kept = model.event(event.id).unwrap_or_else(|| panic!("{} is unknown", event.id));
            let live = self.meters.iter().filter(|meter| !meter.archived);
            let values = live.filter_map(|meter| {
                let value = kept.sent.seen_by(meter)?.ok()?;
                Some((meter.index, value.as_units()))
            });
            let (lsn, at) = (lsn.plus(place), kept.at());
            let customer = self.customers[&kept.sent.customer];
            let values: Vec<_> = values.collect();
            self.touch_usage(lsn, at, customer, &values);
            self.now = lsn;
            self.take_in(Event { lsn, at, customer, values });
        }
    }

    fn apply_change(&mut self, lsn: Lsn, change: &Change) {
        match change {
            Change::Meter(meter) => match self.meters.get_mut(meter.index.position()) {
                Some(known) => known.clone_from(meter),
                None => self.meters.push(meter.clone()),
            },
            Change::Customer(Customer { id, index, .. }) => {
                self.customers.insert(id.as_str().to_owned(), *index);
            }
            Change::Product(product) => {
                self.products.insert(product.index, Arc::clone(product));
            }
            Change::Entitlement(entitlement) => {
                if entitlement.deleted {
                    self.meet("credits: entitlement deleted");
                }
                self.entitlements.insert(entitlement.index, Arc::clone(entitlement));
            }
            Change::Settings(settings) => self.order = settings.credit_order,
            Change::Subscription(subscription) => self.put(lsn, subscription),
            Change::Alert(alert) => self.put_alert(lsn, alert),
            Change::Endpoint(endpoint) => self.outbox.put_endpoint(lsn, endpoint),
            Change::Webhook(change) => self.outbox.apply(lsn, self.log_time, change),
            Change::Key(_) | Change::Checkout(_) => {}
        }
    }

    /// A subscription is like this from now on.
    fn put(&mut self, lsn: Lsn, after: &Arc<Subscription>) {
        let before = self.subscriptions.insert(after.index, Arc::clone(after));
        self.note_change(lsn, after);
        self.outbox.tell_subscription(lsn, self.log_time, before.as_deref(), after);
        let Some((passage, at)) = passage(before.as_deref(), after) else { return };
        let attached = before.iter().chain([after]).flat_map(|of| of.credits.iter());
        let mut keys: Vec<PoolKey> =
            attached.map(|attached| key(attached.entitlement, after)).collect();
        keys.sort_unstable();
        for key in keys {
            self.pool(key);
        }
        let turn = |segment| Turn { of: after.index, at, segment, lsn };
        for place in 0..self.pools.len() {
            let (key, pool) = &mut self.pools[place];
            if key.customer != after.customer {
                continue;
            }
            let is_deleted = self.entitlements[&key.entitlement].deleted;
            let old = before.as_deref().and_then(|before| attachment(before, *key));
            let new = attachment(after, *key).map(|new| still_granted(new, is_deleted));
            let new = new.as_ref();
            match passage {
                Passage::Begun => pool.begin(&turn(None), new, after.in_trial),
                Passage::Turned { segment, grants, trial_ended } => {
                    pool.turn(&turn(Some(segment)), (old, new), (grants, trial_ended));
                }
                Passage::Changed { share } => {
                    pool.change(&turn(None), (old, new), (share, after.in_trial));
                }
                Passage::Paused { segment } => pool.pause(&turn(Some(segment)), old),
                Passage::Ended { segment } => pool.end(&turn(segment), old),
            }
        }
        match passage {
            Passage::Turned { .. } => self.enter_late(after),
            Passage::Changed { .. } => self.change_usage(after),
            Passage::Begun | Passage::Paused { .. } | Passage::Ended { .. } => {}
        }
    }

    fn apply_closed(&mut self, lsn: Lsn, entry: &ClosedEntry) {
        if let Some(invoice) = &entry.invoice {
            self.apply_invoice(lsn, invoice);
        }
        if let Some(subscription) = &entry.subscription {
            self.put(lsn, subscription);
        }
        self.tell_payment(lsn, &entry.payment);
        self.hand_out(lsn, &entry.payment);
    }

    fn tell_payment(&mut self, lsn: Lsn, payment: &Arc<Payment>) {
        let subscription = payment.subscription.and_then(|of| self.subscriptions.get(&of));
        self.outbox.tell_payment(lsn, self.log_time, payment, subscription);
    }

    /// An invoice has the overage of the segment that it closes, and nothing else.
    fn apply_invoice(&mut self, lsn: Lsn, invoice: &Invoice) {
        let lines = invoice.lines.iter().filter_map(|line| match &line.detail {
            LineDetail::Overage(overage) => {
                let amount = i128::from(line.amount.as_minor());
                Some((overage.entitlement, overage.credits.as_units(), overage.price, amount))
            }
            LineDetail::Fixed(_)
            | LineDetail::Unused(_)
            | LineDetail::Usage(_)
            | LineDetail::Charge(_)
            | LineDetail::Credit => None,
        });
        let lines: Vec<_> = lines.collect();
        let (InvoiceCause::Closed(segment), Some(index)) = (invoice.cause, invoice.subscription)
        else {
            assert!(lines.is_empty(), "{invoice:?}");
            return;
        };
        let of = Arc::clone(&self.subscriptions[&index]);
        let turn = Turn { of: index, at: self.log_time, segment: Some(segment), lsn };
        let mut expected = Vec::new();
        for (key, pool) in &mut self.pools {
            if key.customer != of.customer {
                continue;
            }
            // What late events have drawn since it was paused, or has ended.
            if ended(&of) {
                pool.end(&turn, attachment(&of, *key));
            } else if of.paused_at.is_some() {
                pool.pause(&turn, attachment(&of, *key));
            }
            let is_billed = |due: &Due| (due.of, due.segment) == (index, Some(segment));
            let billed = pool.dues.iter().filter(|due| is_billed(due));
            expected.extend(billed.map(|due| {
                let exact = due.amount * due.price.as_units();
                let one = 10_i128.pow(24);
                (key.entitlement, due.amount, due.price, (2 * exact + one) / (2 * one))
            }));
            pool.dues.retain(|due| !is_billed(due));
        }
        assert_eq!(lines, expected, "{invoice:?}");
        if !lines.is_empty() {
            self.meet("credits: overage on an invoice");
        }
    }

    fn hand_out(&mut self, lsn: Lsn, payment: &Payment) {
        if payment.status != PaymentStatus::Succeeded {
            return;
        }
        for item in &payment.cart {
            for attached in &item.credits {
                let is_deleted = self.entitlements[&attached.entitlement].deleted;
                let attached = still_granted(attached, is_deleted);
                let (entitlement, at) = (attached.entitlement, payment.updated_at);
                let days = attached.terms.expires_after_days;
                let given = Given {
                    source: Source::Purchase,
                    at,
                    expires_at: days.and_then(|days| at.days_later(days.into())),
                    lsn,
                };
                let amount = attached.amount.as_units() * i128::from(item.quantity);
                let key = PoolKey { entitlement, customer: payment.customer };
                self.pool(key).give(amount, given);
                self.touch_pool(lsn, key);
            }
        }
    }

    fn expire(&mut self, places: &[usize], at: Timestamp, lsn: Lsn) {
        let subscriptions = &self.subscriptions;
        for place in places {
            self.pools[*place].1.expire(at, lsn, |of, end| {
                let running = subscriptions[&of].running;
                running.is_some_and(|running| running.period.end == end)
            });
            self.watched.touch_pool(lsn, self.pools[*place].0);
        }
    }

    fn apply_entry(&mut self, lsn: Lsn, manual: &ManualEntry) {
        let (amount, at, order) = (manual.amount.as_units(), self.log_time, self.order);
        self.touch_pool(lsn, manual.pool);
        let pool = self.pool(manual.pool);
        match manual.kind {
            EntryKind::Credit { expires_at } => {
                pool.give(amount, Given { source: Source::Api, at, expires_at, lsn });
            }
            EntryKind::Debit => pool.debit(amount, order, at, lsn),
        }
    }
}

fn key(entitlement: EntitlementIndex, of: &Subscription) -> PoolKey {
    PoolKey { entitlement, customer: of.customer }
}

fn attachment(of: &Subscription, key: PoolKey) -> Option<&Attachment> {
    of.credits.iter().find(|attached| attached.entitlement == key.entitlement)
}

/// Of a deleted entitlement nothing is handed out.
fn still_granted(attached: &Attachment, is_deleted: bool) -> Attachment {
    let mut attached = *attached;
    if is_deleted {
        attached.amount = quipu::model::Credits::ZERO;
        attached.trial_amount = None;
    }
    attached
}

/// What a change of a subscription means for its credits, and when that happened.
fn passage(before: Option<&Subscription>, after: &Subscription) -> Option<(Passage, Timestamp)> {
    let before = before.filter(|before| before.next_segment > 0);
    let Some(before) = before else {
        return after.running.map(|first| (Passage::Begun, first.period.start));
    };
    if ended(before) {
        return None;
    }
    let cut = before
        .running
        .and_then(|was| after.closing.iter().find(|closing| closing.segment.number == was.number));
    if ended(after) {
        let by_cut = cut.map(|cut| cut.segment.period.end);
        let at = by_cut.or(after.cancellation.at).unwrap_or(after.cycle.expires_at);
        let segment = after.closing.last().map(|closing| closing.segment.number);
        return Some((Passage::Ended { segment }, at));
    }
    let (cut, segment) = (cut?, cut?.segment.number);
    let at = cut.segment.period.end;
    let Some(running) = after.running else { return Some((Passage::Paused { segment }, at)) };
    if running.opened_by == running.number {
        let grants = after.status == SubscriptionStatus::Active;
        let trial_ended = before.in_trial;
        return Some((Passage::Turned { segment, grants, trial_ended }, at));
    }
    let cycle = &before.cycle;
    let length = cycle.next_billing_date.since(cycle.previous_billing_date);
    let whole = length.saturating_sub(cycle.paused);
    let part = cycle.next_billing_date.since(cut.due_at);
    Some((Passage::Changed { share: Share { part: part.min(whole), whole } }, at))
}
