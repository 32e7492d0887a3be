//! What records of billing do to the state.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Admitted, Applying, State};
use crate::billing::credits::{Ids, SETTLE_AFTER};
use crate::billing::{self, Step};
use crate::engine::bill_rows::BillRow;
use crate::engine::books::Books;
use crate::engine::books::routes::SegmentKey;
use crate::engine::books::segments::Segments;
use crate::engine::checkouts::Checkouts;
use crate::engine::packed::{Packed, PackedBill};
use crate::engine::record::{ClosedEntry, MarkedEntry};
use crate::engine::replies::KeptAnswer;
use crate::engine::rows::Row;
use crate::model::invoice::InvoiceCause;
use crate::model::{
    CheckoutSession, CustomerIndex, Invoice, Lsn, Payment, Subscription, SubscriptionIndex,
    Timestamp,
};

/// How far billing has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BillingMarks {
    /// The latest log time there ever was: every event of an earlier timestamp has entered.
    pub entered_through: Timestamp,
    /// The latest end of a segment that has its invoice: no new event before it is admitted.
    pub closed_through: Timestamp,
    /// The latest instant at which something was due and done.
    pub due_through: Timestamp,
    /// Log time when something due was last done.
    pub last_run: Option<Timestamp>,
}

impl Default for BillingMarks {
    fn default() -> Self {
        let never = Timestamp::MIN;
        Self { entered_through: never, closed_through: never, due_through: never, last_run: None }
    }
}

impl State {
    /// Lets the events enter their segments whose time has come.
    pub(super) fn enter_due(&self, now: &mut Applying) {
        let mut marks = self.marks.lock();
        marks.entered_through = marks.entered_through.max(now.log_time);
        drop(marks);
        if self.segments.is_any_due(now.log_time) {
            let (books, catalogue) = (self.books.read(), self.catalogue());
            let log_time = now.log_time;
            let mut draws = self.draws(now, &books, &catalogue);
            self.segments.release(log_time, &books.routes, &mut draws);
        }
    }

    /// Lets events enter their segments, request by request.
    pub(super) fn enter(&self, now: &mut Applying, admitted: &Admitted) {
        let mut from = 0;
        for request in &admitted.requests {
            if request.lsn != now.lsn {
                (now.lsn, now.ids) = (request.lsn, Ids::of(request.lsn));
            }
            now.log_time = request.log_time;
            self.enter_due(now);
            let deltas = admitted.deltas.get(from..request.deltas_end).unwrap_or_default();
            from = request.deltas_end;
            let (books, catalogue) = (self.books.read(), self.catalogue());
            let mut draws = self.draws(now, &books, &catalogue);
            self.segments.take_in(deltas, request.log_time, &books.routes, &mut draws);
        }
    }

    pub(super) fn apply_turned(&self, now: &mut Applying, subscription: &Arc<Subscription>) {
        let books = self.books.read();
        let before = books.subscription(subscription.index);
        let due = before.into_iter().flat_map(|before| billing::due(before));
        let turns = due.filter(|due| match due.step {
            Step::PastDueEnd | Step::Turn => true,
            Step::Close { .. } => false,
        });
        let done_at = turns.map(|due| due.at).min();
        drop(books);
        self.put_subscription(now, subscription);
        if let Some(at) = done_at {
            self.mark_done(at, None, now.log_time);
        }
    }

    pub(super) fn apply_closed(
        &self,
        now: &mut Applying,
        entry: &ClosedEntry,
        bill: Option<&PackedBill>,
    ) {
        let PackedBill { payment, invoice } =
            bill.map_or_else(|| PackedBill::of(entry), PackedBill::clone);
        let (lsn, log_time) = (now.lsn, now.log_time);
        if let Some(invoice) = &entry.invoice
            && let (InvoiceCause::Closed(segment), Some(index)) =
                (invoice.cause, invoice.subscription)
        {
            self.forget_overage(now, index, segment);
            self.forget_segment(index, segment, log_time);
        }
        let mut rows = self.rows.lock();
        if let Some((invoice, packed)) = entry.invoice.as_deref().zip(invoice.as_ref()) {
            rows.push_bill(BillRow::invoice(invoice.number, packed));
        }
        rows.push_bill(BillRow::payment(entry.payment.index, &payment));
        drop(rows);
        let mut books = self.books.write();
        if let Some((invoice, packed)) = entry.invoice.as_deref().zip(invoice) {
            books.payments.put_invoice(invoice, Some((lsn, packed)));
        }
        books.payments.put(&entry.payment, Some((lsn, payment)));
        drop(books);
        self.tell_payment(now, &entry.payment);
        if let Some(subscription) = &entry.subscription {
            self.put_subscription(now, subscription);
        }
        self.tell_renewal(now, &entry.payment);
        self.hand_out(now, &entry.payment);
        let answer = || KeptAnswer::Payment(entry.payment.id.clone());
        self.keep_reply(lsn, log_time, entry.identity, answer);
    }

    /// A segment has its invoice: what it has counted is not needed any more.
    fn forget_segment(&self, index: SubscriptionIndex, number: u32, log_time: Timestamp) {
        let books = self.books.read();
        let subscription = books.subscription(index);
        let mut closing = subscription.into_iter().flat_map(|subscription| &subscription.closing);
        let Some(closing) = closing.find(|closing| closing.segment.number == number) else {
            return;
        };
        for meter in books.meters(closing.segment.terms) {
            self.segments.forget(&SegmentKey { subscription: index, segment: number, meter });
        }
        if closing.ends_period {
            // A mark stands under the segment that the period began with, and outlives a change of plan.
            let earlier = subscription.into_iter().flat_map(|known| &known.used);
            let earlier = earlier.map(|(meter, _)| *meter);
            for meter in books.meters(closing.segment.terms).into_iter().chain(earlier) {
                let segment = closing.segment.opened_by;
                self.segments.marks().remove(&SegmentKey { subscription: index, segment, meter });
            }
        }
        let (end, close_at) = (closing.segment.period.end, closing.close_at);
        drop(books);
        self.mark_done(close_at, Some(end), log_time);
    }

    /// Notes that something due was done; with the end of the segment when that was its close.
    fn mark_done(&self, due_at: Timestamp, closed: Option<Timestamp>, log_time: Timestamp) {
        let mut marks = self.marks.lock();
        marks.due_through = marks.due_through.max(due_at);
        marks.last_run = Some(log_time);
        if let Some(end) = closed {
            marks.closed_through = marks.closed_through.max(end);
        }
    }

    pub(super) fn apply_marked(&self, now: &mut Applying, entry: &MarkedEntry) {
        let packed = Packed::of(&*entry.payment);
        self.rows.lock().push_bill(BillRow::payment(entry.payment.index, &packed));
        self.books.write().payments.put(&entry.payment, Some((now.lsn, packed)));
        self.tell_payment(now, &entry.payment);
        if let Some(subscription) = &entry.subscription {
            self.put_subscription(now, subscription);
        }
        self.tell_renewal(now, &entry.payment);
        self.hand_out(now, &entry.payment);
        let answer = || KeptAnswer::Payment(entry.payment.id.clone());
        self.keep_reply(now.lsn, now.log_time, entry.identity, answer);
    }

    /// Ends and forgets the checkout sessions whose time has come.
    pub(super) fn end_checkouts(&self, log_time: Timestamp) {
        if self.checkouts.read().is_any_due(log_time) {
            let rows = self.checkouts.write().pass(log_time);
            self.rows.lock().extend(rows);
        }
    }

    pub(super) fn put_checkout(&self, session: &Arc<CheckoutSession>) {
        self.rows.lock().push(Row::checkout(session));
        self.checkouts.write().put(Arc::clone(session));
    }

    /// Looks at the checkout sessions; `look` only copies.
    pub fn with_checkouts<T>(&self, look: impl FnOnce(&Checkouts) -> T) -> T {
        look(&self.checkouts.read())
    }

    /// Loads a checkout session's row.
    pub fn load_checkout(&self, session: CheckoutSession) {
        self.checkouts.write().put(Arc::new(session));
    }

    /// Looks at products, subscriptions, payments and invoices; `look` only copies.
    pub fn with_books<T>(&self, look: impl FnOnce(&Books) -> T) -> T {
        look(&self.books.read())
    }

    /// When the next thing is due, of subscriptions or pools.
    pub fn first_due(&self) -> Option<Timestamp> {
        let of_books = self.books.read().due().next().map(|work| work.at);
        let of_pools = self.pools.lock().due_behind(None).next().map(|work| work.at);
        of_books.into_iter().chain(of_pools).chain(self.entering_due()).min()
    }

    /// When the first pending event must have entered, although nothing else is written: its draws stand in
    /// the ledger then. Nothing while nobody has credits.
    pub fn entering_due(&self) -> Option<Timestamp> {
        if self.pools.lock().is_empty() {
            return None;
        }
        self.segments.first_pending().map(|at| at.plus(SETTLE_AFTER))
    }

    /// The timestamp of the last pending event of a customer that a record of this log time lets enter.
    pub fn last_entering(&self, customer: CustomerIndex, log_time: Timestamp) -> Option<Timestamp> {
        self.segments.with_entering(customer, log_time, |entering| {
            entering.last().map(|(pending, _)| pending.at)
        })
    }

    /// What segments have counted.
    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    /// How far billing has come.
    pub fn billing_marks(&self) -> BillingMarks {
        *self.marks.lock()
    }

    /// Forgets what payments and invoices say whose rows are durable up to `lsn`; a part at a time, and what
    /// is dropped holds no lock.
    pub fn forget_recent_bills(&self, lsn: Lsn) {
        let mut from = 0;
        let payments = |from| self.books.write().payments.take_recent(from, lsn);
        while let Some((forgotten, next)) = payments(from) {
            from = next;
            drop(forgotten);
        }
        from = 0;
        let invoices = |from| self.books.write().payments.take_recent_invoices(from, lsn);
        while let Some((forgotten, next)) = invoices(from) {
            from = next;
            drop(forgotten);
        }
    }

    /// Loads a payment row; its invoice was loaded before.
    pub fn load_payment(&self, payment: &Payment) {
        self.books.write().payments.put(payment, None);
    }

    /// Loads an invoice row.
    pub fn load_invoice(&self, invoice: &Invoice) {
        self.books.write().payments.put_invoice(invoice, None);
    }

    /// Loads a subscription of a snapshot; the products were loaded before.
    pub fn load_subscription(&self, subscription: Arc<Subscription>) {
        self.books.write().put_subscription(subscription);
    }
}
