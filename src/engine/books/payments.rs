//! Payments and invoices: in memory what lists are chosen by, on disk what they say.
//!
//! What they say stays in memory, too, until a checkpoint has made their rows durable; packed, because a cycle
//! makes millions of them.

use std::num::NonZeroU64;

use crate::engine::books::recent::Recent;
use crate::engine::long_list::LongList;
use crate::engine::packed::Packed;
use crate::engine::places::Places;
use crate::engine::wide::WideMap;
use crate::model::{
    Currency, CustomerIndex, Invoice, InvoiceId, InvoiceNumber, Lsn, Payment, PaymentId,
    PaymentIndex, PaymentStatus, ProductIndex, SubscriptionIndex, Timestamp,
};

/// What lists of payments are chosen by.
#[derive(Clone, Copy, Debug)]
pub struct PaymentHead {
    /// Who pays.
    pub customer: CustomerIndex,
    /// The subscription.
    pub subscription: Option<SubscriptionIndex>,
    /// The first product of its cart.
    pub product: ProductIndex,
    /// The currency.
    pub currency: Currency,
    /// Where it stands.
    pub status: PaymentStatus,
    /// Log time of the creation.
    pub created_at: Timestamp,
    /// The invoice that it pays.
    pub invoice: InvoiceNumber,
}

/// What lists of invoices are chosen by.
#[derive(Clone, Copy, Debug)]
pub struct InvoiceHead {
    /// Who pays.
    pub customer: CustomerIndex,
    /// The subscription.
    pub subscription: Option<SubscriptionIndex>,
    /// The invoice before of the same subscription.
    pub previous: Option<InvoiceNumber>,
    /// The newest payment of it.
    pub payment: Option<PaymentIndex>,
}

/// All payments and invoices.
#[derive(Debug, Default)]
pub struct Payments {
    heads: LongList<PaymentHead>,
    /// The products behind the first, of carts that have several.
    more_products: WideMap<PaymentIndex, Box<[ProductIndex]>>,
    ids: Places<PaymentIndex>,
    recent: Recent<Payment>,
    invoice_heads: LongList<InvoiceHead>,
    invoice_ids: Places<InvoiceNumber>,
    recent_invoices: Recent<Invoice>,
    /// By subscription, the number of the newest invoice.
    last_invoices: LongList<Option<NonZeroU64>>,
}

impl Payments {
    /// Puts a payment in its place; with what it is, and the LSN of its record, unless it was read from its
    /// row.
    ///
    /// # Panics
    /// When its index would leave a gap, or its cart is empty.
    pub fn put(&mut self, payment: &Payment, recent: Option<(Lsn, Packed<Payment>)>) {
        let (first, more) = payment.cart.split_first().expect("a payment pays for something");
        let head = PaymentHead {
            customer: payment.customer,
            subscription: payment.subscription,
            product: first.product,
            currency: payment.currency,
            status: payment.status,
            created_at: payment.created_at,
            invoice: payment.invoice,
        };
        if let Some(place) = self.heads.get_mut(payment.index.position()) {
            *place = head;
        } else {
            assert_eq!(payment.index, self.next_index(), "payments have no gaps");
            self.heads.push(head);
            self.ids.insert(payment.id.as_str(), payment.index);
            if !more.is_empty() {
                let more = more.iter().map(|item| item.product).collect();
                self.more_products.insert(payment.index, more);
            }
        }
        if let Some(invoice) = self.invoice_heads.get_mut(position(payment.invoice)) {
            invoice.payment = invoice.payment.max(Some(payment.index));
        }
        if let Some((lsn, packed)) = recent {
            self.recent.put(payment.index.0.into(), lsn, packed);
        }
    }

    /// Puts an invoice in its place; `recent` as for [`Payments::put`].
    ///
    /// # Panics
    /// When its number would leave a gap.
    pub fn put_invoice(&mut self, invoice: &Invoice, recent: Option<(Lsn, Packed<Invoice>)>) {
        if position(invoice.number) == self.invoice_heads.len() {
            let previous = invoice
                .subscription
                .and_then(|subscription| self.follow_up(subscription, invoice.number));
            self.invoice_heads.push(InvoiceHead {
                customer: invoice.customer,
                subscription: invoice.subscription,
                previous,
                payment: None,
            });
            self.invoice_ids.insert(invoice.id.as_str(), invoice.number);
        }
        assert!(position(invoice.number) < self.invoice_heads.len(), "invoices have no gaps");
        if let Some((lsn, packed)) = recent {
            self.recent_invoices.put(invoice.number.0, lsn, packed);
        }
    }

    /// Brings where the ids of a payment and its invoice will stand into the caches; see [`warm`](super::warm).
    pub fn look_at(&self, payment: &PaymentId, invoice: Option<&InvoiceId>) {
        self.ids.look_at(payment.as_str());
        if let Some(invoice) = invoice {
            self.invoice_ids.look_at(invoice.as_str());
        }
    }

    /// Notes the newest invoice of a subscription; gives the one before.
    fn follow_up(
        &mut self,
        subscription: SubscriptionIndex,
        newest: InvoiceNumber,
    ) -> Option<InvoiceNumber> {
        let place = subscription.position();
        let missing = (place + 1).saturating_sub(self.last_invoices.len());
        self.last_invoices.extend(std::iter::repeat_n(None, missing));
        let known = self.last_invoices.get_mut(place)?;
        std::mem::replace(known, NonZeroU64::new(newest.0))
            .map(|number| InvoiceNumber(number.get()))
    }

    /// What payments say whose rows are durable up to `lsn`, a part of it; see [`Recent::take`].
    pub fn take_recent(&mut self, from: u64, lsn: Lsn) -> Option<(Vec<Packed<Payment>>, u64)> {
        self.recent.take(from, lsn)
    }

    /// The same of invoices.
    pub fn take_recent_invoices(
        &mut self,
        from: u64,
        lsn: Lsn,
    ) -> Option<(Vec<Packed<Invoice>>, u64)> {
        self.recent_invoices.take(from, lsn)
    }

    /// The index that the next payment gets.
    ///
    /// # Panics
    /// After 2^32 payments.
    pub fn next_index(&self) -> PaymentIndex {
        PaymentIndex(u32::try_from(self.heads.len()).expect("fewer than 2^32 payments"))
    }

    /// The number that the next invoice gets.
    pub fn next_number(&self) -> InvoiceNumber {
        InvoiceNumber(self.invoice_heads.len() as u64 + 1)
    }

    /// The payment with this id.
    pub fn index(&self, id: &PaymentId) -> Option<PaymentIndex> {
        self.ids.get(id.as_str())
    }

    /// The invoice with this id.
    pub fn number(&self, id: &InvoiceId) -> Option<InvoiceNumber> {
        self.invoice_ids.get(id.as_str())
    }

    /// What is known of a payment without its row.
    pub fn head(&self, index: PaymentIndex) -> Option<&PaymentHead> {
        self.heads.get(index.position())
    }

    /// Whether a payment pays for this product, among others perhaps.
    pub fn pays_for(&self, index: PaymentIndex, product: ProductIndex) -> bool {
        self.head(index).is_some_and(|head| head.product == product)
            || self.more_products.get(&index).is_some_and(|more| more.contains(&product))
    }

    /// What is known of an invoice without its row.
    pub fn invoice_head(&self, number: InvoiceNumber) -> Option<&InvoiceHead> {
        self.invoice_heads.get(position(number))
    }

    /// The payment, when its row may not be durable yet.
    pub fn recent(&self, index: PaymentIndex) -> Option<Packed<Payment>> {
        self.recent.get(index.0.into()).cloned()
    }

    /// The invoice, when its row may not be durable yet.
    pub fn recent_invoice(&self, number: InvoiceNumber) -> Option<Packed<Invoice>> {
        self.recent_invoices.get(number.0).cloned()
    }

    /// The payments that match, newest first.
    pub fn list(
        &self,
        matches: impl Fn(PaymentIndex, &PaymentHead) -> bool,
    ) -> impl Iterator<Item = PaymentIndex> {
        // Fits: there are fewer than 2^32 payments.
        let count = u32::try_from(self.heads.len()).unwrap_or(u32::MAX);
        let indexes = (0..count).rev().map(PaymentIndex);
        indexes.filter(move |index| self.head(*index).is_some_and(|head| matches(*index, head)))
    }

    /// The invoices that match, newest first.
    pub fn list_invoices(
        &self,
        matches: impl Fn(&InvoiceHead) -> bool,
    ) -> impl Iterator<Item = InvoiceNumber> {
        let numbers = (1..=self.invoice_heads.len() as u64).rev().map(InvoiceNumber);
        numbers.filter(move |number| self.invoice_head(*number).is_some_and(&matches))
    }

    /// The invoices of a subscription, newest first.
    pub fn invoices_of(
        &self,
        subscription: SubscriptionIndex,
    ) -> impl Iterator<Item = InvoiceNumber> {
        let newest = self.last_invoices.get(subscription.position()).copied().flatten();
        let newest = newest.map(|number| InvoiceNumber(number.get()));
        std::iter::successors(newest, |number| self.invoice_head(*number)?.previous)
    }

    /// How many invoices there are.
    pub fn invoice_count(&self) -> u64 {
        self.invoice_heads.len() as u64
    }
}

fn position(number: InvoiceNumber) -> usize {
    // Fits: a number beyond the address space stands for no invoice in memory.
    usize::try_from(number.0.saturating_sub(1)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::invoice::{CartItem, PaymentFailure};
    use crate::model::subscription::BillingAddress;

    fn payment(index: u32, cart: &[u32]) -> Payment {
        let item = |product: &u32| CartItem {
            product: ProductIndex(*product),
            quantity: 1,
            credits: Vec::new(),
        };
        Payment {
            id: PaymentId::new(format!("pay_{index}")),
            index: PaymentIndex(index),
            invoice: InvoiceNumber(1),
            invoice_id: InvoiceId::new("inv_1"),
            customer: CustomerIndex(0),
            subscription: None,
            cart: cart.iter().map(item).collect(),
            currency: Currency::from_code("USD").unwrap(),
            total: crate::model::Money::ZERO,
            charge_type: None,
            includes_usage: false,
            service_period: None,
            share: None,
            status: PaymentStatus::Succeeded,
            failure: PaymentFailure::default(),
            retry_attempt: 0,
            billing: Arc::new(BillingAddress {
                country: "PE".to_owned(),
                city: None,
                state: None,
                street: None,
                zipcode: None,
            }),
            metadata: Vec::new(),
            checkout: None,
            created_at: Timestamp::MIN,
            updated_at: Timestamp::MIN,
        }
    }

    #[test]
    fn a_payment_is_found_by_every_product_of_its_cart() {
        let mut payments = Payments::default();
        payments.put(&payment(0, &[1]), None);
        let recent = payment(1, &[2, 1, 3]);
        payments.put(&recent, Some((Lsn(1), Packed::of(&recent))));
        payments.put(&payment(2, &[3, 3]), None);
        assert_eq!(payments.recent(PaymentIndex(1)).unwrap().unpack().unwrap(), recent);
        let of = |product| -> Vec<u32> {
            let found = payments.list(|index, _| payments.pays_for(index, ProductIndex(product)));
            found.map(|index| index.0).collect()
        };
        assert_eq!([of(0), of(1), of(2), of(3)], [vec![], vec![1, 0], vec![1], vec![2, 1]]);
    }
}
