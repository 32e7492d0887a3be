//! Brings what is about to be worked on into the caches.
//!
//! Due work goes by id, so that among a million subscriptions each piece meets memory that no cache has, a dozen
//! times, one after the other. Here the first lines of many are read at once, which the processor does side by
//! side as long as nothing waits in between: no lock, no counting of references.

use std::hint::black_box;
use std::sync::Arc;

use super::Books;
use super::routes::{Routes, SegmentKey};
use super::segments::Segments;
use crate::engine::record::ClosedEntry;
use crate::model::subscription::Segment;
use crate::model::{CustomerIndex, Price, Subscription, SubscriptionIndex};

/// Reads what the work on these subscriptions reads of them.
fn subscriptions(all: &[&Arc<Subscription>]) {
    // The pointers are there: the structures themselves.
    for of in all {
        let times = (of.created_at, of.cycle.anchor, of.cycle.expires_at, of.past_due_until);
        let plain = (of.index, of.running, of.next_segment, of.used.len(), of.unpaid.len());
        let texts = (of.first_payment.as_str().len(), of.billing.country.len(), of.metadata.len());
        black_box((times, plain, texts, of.pending_change.is_some(), of.tax_id.is_some()));
    }
    // What they point to.
    for of in all {
        let ids = [of.id.as_str(), of.first_payment.as_str(), &of.billing.country];
        black_box(ids.map(|text| text.as_bytes().first().copied()));
        black_box(of.closing.first().map(|closing| (closing.segment.number, closing.renewal)));
    }
}

impl Routes {
    /// Brings where events of these customers go into the caches.
    pub(super) fn warm(&self, all: impl Iterator<Item = CustomerIndex> + Clone) {
        all.clone().for_each(|customer| {
            black_box(self.is_any(customer));
        });
        all.for_each(|customer| self.look_at(customer));
    }
}

impl Books {
    /// Brings these subscriptions, and what their turns and closes read and change beside them, into the caches.
    pub fn warm(&self, all: &[&Arc<Subscription>], segments: &Segments) {
        for of in all {
            black_box(self.subscriptions.get(of.index.position()).map(Arc::as_ptr));
        }
        subscriptions(all);
        self.routes.warm(all.iter().map(|of| of.customer));
        let closing = all.iter().filter_map(|of| Some((of.index, of.closing.first()?.segment)));
        segments.look_at(closing.flat_map(|(index, segment)| self.counted(index, &segment)));
    }

    /// Under which keys a segment is counted.
    fn counted(
        &self,
        subscription: SubscriptionIndex,
        of: &Segment,
    ) -> impl Iterator<Item = SegmentKey> + use<'_> {
        let meters = self.price(of.terms).map(Price::meters).unwrap_or_default();
        let segment = of.number;
        meters.iter().map(move |priced| SegmentKey { subscription, segment, meter: priced.meter })
    }
    /// Brings where these payments and invoices will stand into the caches.
    pub fn warm_for<'e>(&self, closed: impl Iterator<Item = &'e ClosedEntry>) {
        for entry in closed {
            let invoice = entry.invoice.as_deref().map(|invoice| &invoice.id);
            self.payments.look_at(&entry.payment.id, invoice);
        }
    }
}
