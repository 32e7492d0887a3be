//! Payments and invoices, from memory or from their rows.

use std::sync::Arc;

use super::{BillsError, InvoiceFilter, InvoiceView, PaymentFilter, PaymentView};
use crate::engine::bill_rows::{self, Place};
use crate::engine::books::Books;
use crate::engine::books::payments::{InvoiceHead, PaymentHead, Payments};
use crate::engine::shared::Shared;
use crate::engine::{Engine, Page};
use crate::model::invoice::Invoice;
use crate::model::{
    CustomerIndex, InvoiceId, InvoiceNumber, Payment, PaymentId, PaymentIndex, ProductId,
    ProductIndex, SubscriptionId, SubscriptionIndex,
};

/// The payment with this id.
///
/// # Errors
/// [`BillsError`]
pub(in crate::engine) fn payment_by_id(
    shared: &Shared,
    id: &PaymentId,
) -> Result<Option<Arc<Payment>>, BillsError> {
    let index = shared.state.with_books(|books| books.payments.index(id));
    index.map(|index| payment_at(shared, index)).transpose()
}

pub(super) fn payment_at(shared: &Shared, index: PaymentIndex) -> Result<Arc<Payment>, BillsError> {
    // Memory first: what is not there any more has a row.
    match shared.state.with_books(|books| books.payments.recent(index)) {
        Some(packed) => Ok(Arc::new(packed.unpack()?)),
        None => row(shared, Place::of_payment(index), "payment"),
    }
}

pub(super) fn invoice_at(
    shared: &Shared,
    number: InvoiceNumber,
) -> Result<Arc<Invoice>, BillsError> {
    match shared.state.with_books(|books| books.payments.recent_invoice(number)) {
        Some(packed) => Ok(Arc::new(packed.unpack()?)),
        None => row(shared, Place::of_invoice(number), "invoice"),
    }
}

fn row<T: serde::de::DeserializeOwned>(
    shared: &Shared,
    place: Place,
    what: &'static str,
) -> Result<Arc<T>, BillsError> {
    let found = bill_rows::read(&shared.rows.read()?, place)?;
    found.map(Arc::new).ok_or(BillsError::NotFound(what))
}

/// What a filter's ids stand for; nothing when one of them stands for nothing.
struct Wanted {
    customer: Option<CustomerIndex>,
    subscription: Option<SubscriptionIndex>,
    product: Option<ProductIndex>,
}

impl Wanted {
    fn of_payments(shared: &Shared, filter: &PaymentFilter) -> Option<Self> {
        let customer = filter
            .customer_id
            .as_ref()
            .map(|id| shared.state.with_accounts(|accounts| accounts.index(id.as_str())));
        shared.state.with_books(|books| {
            let subscription = filter.subscription_id.as_ref();
            let subscription = subscription.map(|id| books.subscription_by_id(id));
            let product = filter.product_id.as_ref().map(|id| books.product_by_id(id));
            Some(Self {
                customer: all_or_nothing(customer)?,
                subscription: all_or_nothing(subscription)?.map(|found| found.index),
                product: all_or_nothing(product)?.map(|found| found.index),
            })
        })
    }

    fn holds(
        &self,
        filter: &PaymentFilter,
        payments: &Payments,
        (index, head): (PaymentIndex, &PaymentHead),
    ) -> bool {
        self.customer.is_none_or(|wanted| wanted == head.customer)
            && self.subscription.is_none_or(|wanted| Some(wanted) == head.subscription)
            && self.product.is_none_or(|wanted| payments.pays_for(index, wanted))
            && filter.status.is_none_or(|wanted| wanted == head.status)
            && filter.currency.is_none_or(|wanted| wanted == head.currency)
            && filter.created_from.is_none_or(|from| head.created_at >= from)
            && filter.created_to.is_none_or(|to| head.created_at <= to)
    }

    fn holds_invoice(&self, head: &InvoiceHead) -> bool {
        self.customer.is_none_or(|wanted| wanted == head.customer)
            && self.subscription.is_none_or(|wanted| Some(wanted) == head.subscription)
    }
}

/// `None` when something was asked for that does not exist.
#[expect(clippy::option_option, reason = "asked for and found are two questions")]
fn all_or_nothing<T>(found: Option<Option<T>>) -> Option<Option<T>> {
    match found {
        None => Some(None),
        Some(None) => None,
        Some(found) => Some(found),
    }
}

/// The id of the subscription that something belongs to; of a cart nothing.
fn subscription_id(
    books: &Books,
    index: Option<SubscriptionIndex>,
) -> Result<Option<SubscriptionId>, BillsError> {
    let Some(index) = index else { return Ok(None) };
    let found = books.subscription(index).map(|found| found.id.clone());
    found.map(Some).ok_or(BillsError::NotFound("subscription"))
}

impl Engine {
    /// Payments that match, newest first. Reads the disk: call it off the reactor.
    ///
    /// # Errors
    /// [`BillsError`]
    pub fn payments(
        &self,
        filter: &PaymentFilter,
        page: Page,
    ) -> Result<Vec<PaymentView>, BillsError> {
        let Some(wanted) = Wanted::of_payments(&self.shared, filter) else { return Ok(Vec::new()) };
        let page = |books: &Books| -> Vec<PaymentIndex> {
            let payments = &books.payments;
            let matching =
                payments.list(|index, head| wanted.holds(filter, payments, (index, head)));
            matching.skip(page.offset).take(page.limit).collect()
        };
        let found = self.shared.state.with_books(page).into_iter();
        found.map(|index| self.view_payment(payment_at(&self.shared, index)?)).collect()
    }

    /// One payment. Reads the disk: call it off the reactor.
    ///
    /// # Errors
    /// [`BillsError`]
    pub fn payment(&self, id: &PaymentId) -> Result<Option<PaymentView>, BillsError> {
        let found = payment_by_id(&self.shared, id)?;
        found.map(|payment| self.view_payment(payment)).transpose()
    }

    /// The newest payment of an invoice. Reads the disk: call it off the reactor.
    ///
    /// # Errors
    /// [`BillsError`]
    pub fn payment_of(&self, id: &InvoiceId) -> Result<Option<PaymentView>, BillsError> {
        let index = self.shared.state.with_books(|books| {
            let number = books.payments.number(id)?;
            books.payments.invoice_head(number)?.payment
        });
        index.map(|index| self.view_payment(payment_at(&self.shared, index)?)).transpose()
    }

    fn view_payment(&self, payment: Arc<Payment>) -> Result<PaymentView, BillsError> {
        let state = &self.shared.state;
        let customer = state.with_accounts(|accounts| accounts.at(payment.customer));
        let (subscription, products, newest) = state.with_books(|books| {
            let products = payment.cart.iter().map(|item| {
                let product = books.product(item.product).map(|product| product.id.clone());
                product.ok_or(BillsError::NotFound("product"))
            });
            let products: Result<Vec<ProductId>, BillsError> = products.collect();
            let invoice = books.payments.invoice_head(payment.invoice);
            let newest = invoice.and_then(|invoice| invoice.payment);
            (subscription_id(books, payment.subscription), products, newest)
        });
        Ok(PaymentView {
            customer: customer.ok_or(BillsError::NotFound("customer"))?,
            subscription_id: subscription?,
            product_ids: products?,
            is_newest: newest == Some(payment.index),
            payment,
        })
    }

    /// Invoices that match, newest first. Reads the disk: call it off the reactor.
    ///
    /// # Errors
    /// [`BillsError`]
    pub fn invoices(
        &self,
        filter: &InvoiceFilter,
        page: Page,
    ) -> Result<Vec<InvoiceView>, BillsError> {
        let wanted = Wanted::of_payments(
            &self.shared,
            &PaymentFilter {
                customer_id: filter.customer_id.clone(),
                subscription_id: filter.subscription_id.clone(),
                ..PaymentFilter::default()
            },
        );
        let Some(wanted) = wanted else { return Ok(Vec::new()) };
        let page = |books: &Books| -> Vec<InvoiceNumber> {
            let matching = books.payments.list_invoices(|head| wanted.holds_invoice(head));
            matching.skip(page.offset).take(page.limit).collect()
        };
        let found = self.shared.state.with_books(page).into_iter();
        found.map(|number| self.view_invoice(invoice_at(&self.shared, number)?)).collect()
    }

    /// One invoice. Reads the disk: call it off the reactor.
    ///
    /// # Errors
    /// [`BillsError`]
    pub fn invoice(&self, id: &InvoiceId) -> Result<Option<InvoiceView>, BillsError> {
        let number = self.shared.state.with_books(|books| books.payments.number(id));
        number.map(|number| self.view_invoice(invoice_at(&self.shared, number)?)).transpose()
    }

    /// The invoice that a payment pays. Reads the disk: call it off the reactor.
    ///
    /// # Errors
    /// [`BillsError`]
    pub fn invoice_of(&self, id: &PaymentId) -> Result<Option<InvoiceView>, BillsError> {
        let number = self.shared.state.with_books(|books| {
            let index = books.payments.index(id)?;
            books.payments.head(index).map(|head| head.invoice)
        });
        number.map(|number| self.view_invoice(invoice_at(&self.shared, number)?)).transpose()
    }

    fn view_invoice(&self, invoice: Arc<Invoice>) -> Result<InvoiceView, BillsError> {
        let state = &self.shared.state;
        let customer = state.with_accounts(|all| all.id_at(invoice.customer).cloned());
        let catalogue = state.catalogue();
        let (subscription, products) = state.with_books(|books| {
            let products = invoice.lines.iter().filter_map(|line| books.product(line.product));
            let products = products.map(|product| product.id.clone()).collect();
            (subscription_id(books, invoice.subscription), products)
        });
        let meter_ids = invoice.lines.iter().map(|line| {
            let usage = line.detail.usage()?;
            catalogue.meters().get(usage.meter.position()).map(|meter| meter.id.clone())
        });
        Ok(InvoiceView {
            customer_id: customer.ok_or(BillsError::NotFound("customer"))?,
            subscription_id: subscription?,
            meter_ids: meter_ids.collect(),
            product_ids: products,
            invoice,
        })
    }
}
