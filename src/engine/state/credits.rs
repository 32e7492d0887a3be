//! What records do to pools of credits.

use std::sync::Arc;

use super::{Applying, State};
use crate::billing::credits::{Attached, Debit, Ids, Left, NewGrant, Passage, Pool, passage};
use crate::engine::books::Books;
use crate::engine::books::routes::SegmentKey;
use crate::engine::books::segments::{PendingKey, PendingSample};
use crate::engine::catalogue::Catalogue;
use crate::engine::pools::draws::Draws;
use crate::engine::pools::moves::{CreditsMove, EntryKind, ManualEntry};
use crate::engine::pools::{EntryDigest, KeptPool, PoolKey, Pools};
use crate::engine::record::CreditsEntry;
use crate::engine::replies::KeptAnswer;
use crate::metering::accumulator::Kind;
use crate::model::credit::{GrantOrder, GrantSource};
use crate::model::invoice::CartItem;
use crate::model::{
    Attachment, Credits, CustomerIndex, EntitlementIndex, Lsn, MeterIndex, Payment, PaymentStatus,
    Price, Subscription, SubscriptionIndex, SubscriptionStatus, Timestamp,
};

impl State {
    pub(super) fn draws<'s>(
        &'s self,
        now: &'s mut Applying,
        books: &'s Books,
        catalogue: &'s Catalogue,
    ) -> Draws<'s> {
        let Applying { lsn, log_time, ids } = now;
        Draws::new((&self.pools, books, catalogue), (*lsn, *log_time), ids)
    }

    /// Puts a subscription in its place, and does to its customer's pools what the change means.
    pub(super) fn put_subscription(&self, now: &mut Applying, after: &Arc<Subscription>) {
        let mut books = self.books.write();
        let before = books.subscription(after.index).map(Arc::clone);
        books.put_subscription(Arc::clone(after));
        drop(books);
        let has_credits = |subscription: &Subscription| !subscription.credits.is_empty();
        let is_concerned = has_credits(after) || before.as_deref().is_some_and(has_credits);
        if is_concerned || !self.pools.lock().of_customer(after.customer).is_empty() {
            self.pass(now, before.as_deref(), after);
        }
        self.touch_subscription(now, after);
        self.tell_subscription(now, before.as_deref(), after);
    }

    fn pass(&self, now: &mut Applying, before: Option<&Subscription>, after: &Subscription) {
        let passage = passage(before, after);
        let (books, catalogue) = (self.books.read(), self.catalogue());
        let turns_at = |index: SubscriptionIndex| books.turns_at(index);
        let mut pools = self.pools.lock();
        if passage != Passage::Nothing {
            for key in concerned(&pools, before, after) {
                let handed_out = attachment(after, key.entitlement);
                let handed_out = handed_out.map(|attached| still_granted(attached, &books));
                let attached = Attached {
                    before: before.and_then(|before| attachment(before, key.entitlement)),
                    after: handed_out.as_ref(),
                };
                let pool = pools.index_or_make(key, now.log_time);
                let (moment, ids) = ((now.lsn, now.log_time), &mut now.ids);
                pools.change(pool, moment, turns_at, |pool| {
                    pool.pass(&passage, after.index, attached, ids)
                });
            }
        }
        // Dates may have moved, and with them which grants a turn ends.
        for index in pools.of_customer(after.customer).to_vec() {
            pools.reschedule(index, turns_at);
        }
        drop(pools);
        match passage {
            Passage::Turned { .. } => self.draw_late(now, after, &books, &catalogue),
            Passage::ChangedWithin { .. } => self.pass_marks(before, after, &books, &catalogue),
            Passage::Nothing
            | Passage::Begun { .. }
            | Passage::Paused { .. }
            | Passage::Ended { .. } => {}
        }
    }

    /// A period has begun whose events may have come before its turn: they draw now.
    fn draw_late(
        &self,
        now: &mut Applying,
        after: &Subscription,
        books: &Books,
        catalogue: &Catalogue,
    ) {
        let Some(running) = after.running else { return };
        let mut draws = self.draws(now, books, catalogue);
        for meter in books.meters(running.terms) {
            let key = SegmentKey { subscription: after.index, segment: running.opened_by, meter };
            let segment = (running.number, meter);
            let drawing = books.routes.drawing(after.customer, after.index, segment);
            let Some((rank, drawing)) = drawing else { continue };
            if self.segments.marks().get(&key).is_none() {
                continue;
            }
            let mut credits = Credits::ZERO;
            self.segments.marks().change(key, |mark| credits = mark.draw_deferred(&drawing.terms));
            draws.want(drawing, (rank, after.index), (after.customer, meter), credits);
        }
        draws.draw();
    }

    /// A plan has changed within a period: what was paid in money so far counts as used where the new plan
    /// draws credits. A mark that is there may lack what came after the parts that drew had their invoices.
    fn pass_marks(
        &self,
        before: Option<&Subscription>,
        after: &Subscription,
        books: &Books,
        catalogue: &Catalogue,
    ) {
        let (Some(before), Some(running)) = (before, after.running) else { return };
        // As long as the period before is not billed whole, what was billed is of that.
        let is_of_earlier = after.closing.iter().any(|of| of.segment.opened_by < running.opened_by);
        let billed = if is_of_earlier { &[] } else { before.used.as_slice() };
        let drawn = |terms| {
            let meters = books.price(terms).map(Price::meters).unwrap_or_default();
            let drawn = meters.iter().filter(|price| price.rate.credits().is_some());
            drawn.map(|price| price.meter).collect::<Vec<MeterIndex>>()
        };
        for meter in drawn(running.terms) {
            let key = SegmentKey { subscription: after.index, segment: running.opened_by, meter };
            let kind = catalogue.kind(meter).unwrap_or(Kind::Count);
            let used = billed.iter().find(|(known, _)| *known == meter).map(|(_, used)| *used);
            let mut so_far = used.unwrap_or_default();
            let closing = after.closing.iter().map(|closing| closing.segment);
            for segment in closing.filter(|segment| segment.opened_by == running.opened_by) {
                let key = SegmentKey { segment: segment.number, ..key };
                let value = self.segments.counted().get(&key).unwrap_or_default().value(kind);
                let reached = match kind {
                    Kind::Count | Kind::Sum => {
                        so_far.total = so_far.total.checked_add(value).unwrap_or(so_far.total);
                        so_far.total
                    }
                    Kind::Max | Kind::Last => value,
                };
                so_far.high = so_far.high.max(reached);
            }
            self.segments.marks().change(key, |mark| mark.pass(so_far.total, so_far.high));
        }
    }

    /// A payment has succeeded: what it hands out is handed out.
    pub(super) fn hand_out(&self, now: &mut Applying, payment: &Payment) {
        let handed_out = || {
            let each = |item: &CartItem| (item.credits.clone(), item.quantity);
            let items = payment.cart.iter().map(each);
            items.flat_map(|(credits, count)| credits.into_iter().map(move |of| (of, count)))
        };
        if payment.status != PaymentStatus::Succeeded || handed_out().next().is_none() {
            return;
        }
        let books = self.books.read();
        let mut pools = self.pools.lock();
        for (attached, count) in handed_out() {
            let attached = still_granted(&attached, &books);
            let at = payment.updated_at;
            let days = attached.terms.expires_after_days;
            let source = GrantSource::OneTime(payment.id.clone());
            let grant = NewGrant {
                expires_at: days.and_then(|days| at.days_later(days.into())),
                ..NewGrant::new(source, attached.amount.times(count), at)
            };
            let key = PoolKey { entitlement: attached.entitlement, customer: payment.customer };
            let pool = pools.index_or_make(key, now.log_time);
            let (moment, ids) = ((now.lsn, now.log_time), &mut now.ids);
            let turns_at = |index| books.turns_at(index);
            pools.change(pool, moment, turns_at, |pool| pool.grant(grant, ids));
        }
    }

    /// The close of a segment has billed its overage. What late events have drawn beyond the credits of a
    /// subscription that has ended was billed with it.
    pub(super) fn forget_overage(
        &self,
        now: &mut Applying,
        index: SubscriptionIndex,
        segment: u32,
    ) {
        let books = self.books.read();
        let Some(subscription) = books.subscription(index) else { return };
        let mut pools = self.pools.lock();
        for pool in pools.of_customer(subscription.customer).to_vec() {
            let Some(kept) = pools.get(pool) else { continue };
            let is_due = kept.pool.dues(index, Some(segment)).next().is_some();
            if !is_due && !kept.pool.concerns(index) {
                continue;
            }
            let (moment, ids) = ((now.lsn, now.log_time), &mut now.ids);
            let turns_at = |index| books.turns_at(index);
            pools.change(pool, moment, turns_at, |pool| {
                let left = settle_late(pool, subscription, segment, now.log_time, ids);
                pool.forget_due(index, Some(segment));
                left
            });
        }
    }

    pub(super) fn apply_credits(&self, now: &mut Applying, entry: &CreditsEntry) {
        if let CreditsMove::Reservation(moved) = &entry.moved {
            self.apply_reservation(now, moved, entry.identity);
            return;
        }
        let books = self.books.read();
        let turns_at = |index: SubscriptionIndex| books.turns_at(index);
        let mut pools = self.pools.lock();
        let moment = (now.lsn, now.log_time);
        let ids = &mut now.ids;
        match &entry.moved {
            CreditsMove::Settled(all) => {
                for pool in all {
                    pools.change(*pool, moment, turns_at, |pool| pool.settle(now.log_time, ids));
                }
            }
            CreditsMove::Expired { pools: all, at } => {
                for pool in all {
                    pools.change(*pool, moment, turns_at, |pool| pool.expire(*at, turns_at, ids));
                }
            }
            CreditsMove::Entered(manual) => {
                let pool = pools.index_or_make(manual.pool, now.log_time);
                if let Some(digest) = manual.digest {
                    pools.remember_entry(digest);
                }
                let order = self.catalogue().settings().credit_order;
                pools.change(pool, moment, turns_at, |pool| {
                    enter(pool, manual, order, now.log_time, ids)
                });
            }
            CreditsMove::Reservation(_) => {}
        }
        drop(pools);
        drop(books);
        if let CreditsMove::Entered(manual) = &entry.moved {
            let answer = || KeptAnswer::LedgerEntry(manual.pool);
            self.keep_reply(now.lsn, now.log_time, entry.identity, answer);
        }
    }

    /// Looks at the events of a customer whose time has come at `at` and that no record has let enter yet,
    /// in the order in which they will; nothing is applied meanwhile.
    pub fn with_entering<T>(
        &self,
        customer: CustomerIndex,
        at: Timestamp,
        look: impl FnOnce(&[(PendingKey, PendingSample)], &Books, &Catalogue) -> T,
    ) -> T {
        let (books, catalogue) = (self.books.read(), self.catalogue());
        let look = |entering: &[_]| look(entering, &books, &catalogue);
        self.segments.with_entering(customer, at, look)
    }

    /// Looks at the pools; `look` only copies.
    pub fn with_pools<T>(&self, look: impl FnOnce(&Pools) -> T) -> T {
        look(&self.pools.lock())
    }

    /// What was replayed is over: rows of ledgers are counted from here.
    pub fn count_rows_anew(&self) {
        self.pools.lock().count_rows_anew();
    }

    /// Loads the next pools of a snapshot, in the order of their indexes and behind the subscriptions.
    pub fn load_pools(&self, kept: Vec<Arc<KeptPool>>) {
        let books = self.books.read();
        let mut pools = self.pools.lock();
        for kept in kept {
            let index = pools.add(kept);
            pools.reschedule(index, |index| books.turns_at(index));
        }
    }

    /// Loads what manual entries are recognised by.
    pub fn load_entries(&self, digests: Vec<EntryDigest>) {
        let mut pools = self.pools.lock();
        for digest in digests {
            pools.remember_entry(digest);
        }
    }

    /// Forgets rows and ended grants of a part that are durable up to `lsn`.
    pub fn forget_recent_credits(&self, part: usize, lsn: Lsn) {
        let forgotten = self.pools.lock().take_recent(part, lsn);
        drop(forgotten);
    }
}

/// A segment of a subscription is closed: when that has ended or is paused, overage that late events have
/// made since is settled as it was then, so that this invoice has it.
pub fn settle_late(
    pool: &mut Pool,
    subscription: &Subscription,
    segment: u32,
    at: Timestamp,
    ids: &mut Ids,
) -> Left {
    let passage = match (subscription.running, subscription.status) {
        (Some(_), _) => return Left::default(),
        (None, SubscriptionStatus::Cancelled | SubscriptionStatus::Expired) => {
            Passage::Ended { at, segment: Some(segment) }
        }
        // A paused one may be on hold as well.
        (
            None,
            SubscriptionStatus::Pending
            | SubscriptionStatus::Active
            | SubscriptionStatus::OnHold
            | SubscriptionStatus::PastDue
            | SubscriptionStatus::Paused,
        ) => Passage::Paused { at, segment },
    };
    let before = attachment(subscription, pool.entitlement()).copied();
    let attached = Attached { before: before.as_ref(), after: None };
    pool.pass(&passage, subscription.index, attached, ids)
}

/// Does what a manual entry says.
fn enter(
    pool: &mut Pool,
    manual: &ManualEntry,
    order: GrantOrder,
    now: Timestamp,
    ids: &mut Ids,
) -> Left {
    match manual.kind {
        EntryKind::Credit { expires_at } => {
            let grant = NewGrant {
                expires_at,
                reason: manual.reason.clone(),
                metadata: manual.metadata.clone(),
                ..NewGrant::new(GrantSource::Api, manual.amount, now)
            };
            pool.grant(grant, ids)
        }
        EntryKind::Debit => {
            let debit = Debit {
                amount: manual.amount,
                order,
                now,
                reason: manual.reason.clone(),
                metadata: manual.metadata.clone(),
            };
            pool.debit(debit, ids)
        }
    }
}

/// The pools that a change of a subscription concerns: those that it had or has attached, and those where
/// something of it is left.
fn concerned(pools: &Pools, before: Option<&Subscription>, after: &Subscription) -> Vec<PoolKey> {
    let customer = after.customer;
    let attached = before.into_iter().chain([after]).flat_map(|known| known.credits.iter());
    let mut keys: Vec<PoolKey> = attached
        .map(|attachment| PoolKey { entitlement: attachment.entitlement, customer })
        .collect();
    let others = pools.of_customer(customer).iter().filter_map(|index| pools.get(*index));
    let others = others.filter(|kept| kept.pool.concerns(after.index));
    keys.extend(others.map(|kept| PoolKey { entitlement: kept.pool.entitlement(), customer }));
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// An attachment as it is handed out now: of a deleted entitlement nothing is, and the rest stays.
fn still_granted(attached: &Attachment, books: &Books) -> Attachment {
    let is_deleted = books.entitlements.get(attached.entitlement).is_some_and(|of| of.deleted);
    if is_deleted {
        Attachment { amount: Credits::ZERO, trial_amount: None, ..*attached }
    } else {
        *attached
    }
}

/// What a subscription has attached of an entitlement.
pub fn attachment(
    subscription: &Subscription,
    entitlement: EntitlementIndex,
) -> Option<&Attachment> {
    subscription.credits.iter().find(|attached| attached.entitlement == entitlement)
}
