//! From a priced bill to an invoice with its number and the payment of it.

use std::sync::Arc;

use crate::billing::Bill;
use crate::engine::options::Collection;
use crate::engine::shared::Shared;
use crate::model::id::generated;
use crate::model::invoice::{
    BillTo, ChargeType, Invoice, InvoiceCause, Payment, PaymentFailure, PaymentStatus,
};
use crate::model::{
    Customer, InvoiceId, InvoiceNumber, Lsn, Money, PaymentId, PaymentIndex, Period, Subscription,
    Terms, Timestamp,
};
use crate::world::entropy::draw;

/// The numbers that the next invoice and payment get, while several are decided at once.
#[derive(Debug)]
pub struct Numbers {
    invoice: InvoiceNumber,
    payment: PaymentIndex,
    /// The latest end of a segment that was closed with these numbers.
    pub closed_through: Timestamp,
}

impl Numbers {
    /// The numbers that follow those in the state, which knows every decided record.
    pub fn next(shared: &Shared) -> Self {
        let (invoice, payment) = shared
            .state
            .with_books(|books| (books.payments.next_number(), books.payments.next_index()));
        Self { invoice, payment, closed_through: Timestamp::MIN }
    }

    fn take_invoice(&mut self) -> InvoiceNumber {
        let number = self.invoice;
        self.invoice = InvoiceNumber(number.0 + 1);
        number
    }

    /// The index of the next payment.
    pub fn take_payment(&mut self) -> PaymentIndex {
        let index = self.payment;
        self.payment = PaymentIndex(index.0 + 1);
        index
    }
}

/// What is billed.
#[derive(Debug)]
pub struct Billed {
    /// Who pays.
    pub customer: Arc<Customer>,
    /// What for.
    pub cause: InvoiceCause,
    /// The period on the invoice.
    pub period: Period,
    /// The instant it was scheduled for.
    pub due_at: Timestamp,
    /// What the fixed price pays for.
    pub service_period: Option<Period>,
    /// The price that is charged.
    pub terms: Terms,
    /// How many.
    pub quantity: u32,
    /// The lines and their sum.
    pub bill: Bill,
}

/// The payment of a total at once, or not yet.
pub fn first_status(shared: &Shared, total: Money) -> PaymentStatus {
    match shared.options.collection {
        Collection::Automatic => PaymentStatus::Succeeded,
        Collection::Manual if total == Money::ZERO => PaymentStatus::Succeeded,
        Collection::Manual => PaymentStatus::Processing,
    }
}

/// Makes the invoice and its first payment, by a record of `log_time` that reflects every event up
/// to `cut_off`.
///
/// # Panics
/// When the terms name no price: the products of subscriptions are never removed.
pub fn bill(
    shared: &Shared,
    subscription: &Subscription,
    billed: Billed,
    (log_time, cut_off): (Timestamp, Lsn),
    numbers: &mut Numbers,
) -> (Payment, Invoice) {
    let currency = shared.state.with_books(|books| {
        let price = books.price(billed.terms).or_else(|| books.price(subscription.terms));
        price.map(|price| price.currency)
    });
    let currency = currency.expect("the products of subscriptions are never removed");
    let random = |prefix| generated(prefix, draw(&*shared.world.entropy));
    let invoice = Invoice {
        id: InvoiceId::new(random("inv")),
        number: numbers.take_invoice(),
        cause: billed.cause,
        subscription: subscription.index,
        customer: subscription.customer,
        bill_to: bill_to(subscription, &billed.customer),
        currency,
        total: billed.bill.total,
        period: billed.period,
        due_at: billed.due_at,
        created_at: log_time,
        cut_off_lsn: cut_off,
        lines: billed.bill.lines,
    };
    let payment = Payment {
        id: match billed.cause {
            InvoiceCause::Created => subscription.first_payment.clone(),
            InvoiceCause::Closed(_) => PaymentId::new(random("pay")),
        },
        index: numbers.take_payment(),
        invoice: invoice.number,
        invoice_id: invoice.id.clone(),
        customer: subscription.customer,
        subscription: subscription.index,
        product: billed.terms.product,
        quantity: billed.quantity,
        currency,
        total: invoice.total,
        charge_type: match billed.cause {
            InvoiceCause::Created => ChargeType::New,
            InvoiceCause::Closed(_) => ChargeType::Renewal,
        },
        includes_usage: invoice.includes_usage(),
        service_period: billed.service_period,
        status: first_status(shared, invoice.total),
        failure: PaymentFailure::default(),
        retry_attempt: 0,
        billing: subscription.billing.clone(),
        metadata: subscription.metadata.clone(),
        created_at: log_time,
        updated_at: log_time,
    };
    (payment, invoice)
}

fn bill_to(subscription: &Subscription, customer: &Customer) -> BillTo {
    BillTo {
        name: customer.name.clone(),
        email: customer.email.clone(),
        business_name: subscription.customer_business_name.clone(),
        tax_id: subscription.tax_id.clone(),
        address: subscription.billing.clone(),
    }
}
