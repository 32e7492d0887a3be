//! From a priced bill to an invoice with its number and the payment of it.
//!
//! Whoever decides gives the numbers, in the order of the records. The rest needs nothing of the state: of a close
//! the log's thread makes it from a [`DraftInvoice`], because the committer is the busier of the two.

use std::sync::Arc;

use crate::billing::Bill;
use crate::engine::options::Collection;
use crate::engine::record::ClosedEntry;
use crate::engine::shared::Shared;
use crate::model::checkout::Offer;
use crate::model::customer::Metadata;
use crate::model::id::{GENERATED_CHARS, generated};
use crate::model::invoice::{
    BillTo, CartItem, ChargeType, FixedLine, Invoice, InvoiceCause, LineDetail, Payment,
    PaymentFailure, PaymentStatus,
};
use crate::model::subscription::BillingAddress;
use crate::model::{
    Currency, Customer, CustomerIndex, InvoiceId, InvoiceNumber, Lsn, Money, PaymentId,
    PaymentIndex, Period, Share, Subscription, SubscriptionIndex, Terms, Timestamp,
};
use crate::world::entropy::Entropy;

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

    /// The number of the next invoice.
    pub fn next_invoice(&self) -> InvoiceNumber {
        self.invoice
    }

    /// Those of an invoice and its first payment, by a record of `log_time` that reflects every event up to
    /// `cut_off`.
    fn take(&mut self, (log_time, cut_off): (Timestamp, Lsn)) -> Numbered {
        let invoice = self.invoice;
        self.invoice = InvoiceNumber(invoice.0 + 1);
        Numbered { invoice, payment: self.take_payment(), log_time, cut_off }
    }

    /// The index of the next payment.
    pub fn take_payment(&mut self) -> PaymentIndex {
        let index = self.payment;
        self.payment = PaymentIndex(index.0 + 1);
        index
    }
}

/// What the order of records says of an invoice and its first payment.
#[derive(Clone, Copy, Debug)]
struct Numbered {
    invoice: InvoiceNumber,
    payment: PaymentIndex,
    log_time: Timestamp,
    cut_off: Lsn,
}

/// Random bytes for ids, drawn for ever more of them at once: a draw asks the operating system.
#[derive(Debug, Default)]
pub struct Ids {
    drawn: Vec<u8>,
    used: usize,
}

impl Ids {
    /// Ids of one draw at most: half of as many closes.
    const DRAW_MAX: usize = 256;

    fn next(&mut self, prefix: &str, entropy: &dyn Entropy) -> Arc<str> {
        if self.used == self.drawn.len() {
            let ids = (self.drawn.len() / GENERATED_CHARS * 2).clamp(1, Self::DRAW_MAX);
            self.drawn.resize(ids * GENERATED_CHARS, 0);
            entropy.fill(&mut self.drawn);
            self.used = 0;
        }
        let random = self.drawn.get(self.used..).and_then(<[u8]>::first_chunk);
        self.used += GENERATED_CHARS;
        generated(prefix, *random.expect("whole ids were drawn"))
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
    pub period: Option<Period>,
    /// The instant it was scheduled for.
    pub due_at: Timestamp,
    /// What the fixed price pays for.
    pub service_period: Option<Period>,
    /// The part of the fixed price that is paid, when that is not all of it.
    pub share: Option<Share>,
    /// Free details of the payment; the subscription's own when there are none.
    pub metadata: Option<Metadata>,
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

/// The close of a segment that was decided, with its numbers.
#[derive(Debug)]
pub struct DraftInvoice {
    /// The subscription as it is from then on.
    pub subscription: Arc<Subscription>,
    /// What is billed.
    pub billed: Billed,
    currency: Currency,
    numbered: Numbered,
    /// Whether the record leaves the subscription out.
    #[cfg(feature = "sabotage")]
    pub is_half: bool,
}

impl DraftInvoice {
    /// Gives a close its numbers; `instants` as for [`bill`].
    ///
    /// # Panics
    /// As for [`bill`].
    pub fn new(
        shared: &Shared,
        subscription: Arc<Subscription>,
        billed: Billed,
        instants: (Timestamp, Lsn),
        numbers: &mut Numbers,
    ) -> Self {
        let currency = currency(shared, &subscription, &billed);
        let numbered = numbers.take(instants);
        Self {
            subscription,
            billed,
            currency,
            numbered,
            #[cfg(feature = "sabotage")]
            is_half: false,
        }
    }

    /// The record of the close.
    pub fn issue(self, shared: &Shared, ids: &mut Ids) -> ClosedEntry {
        let sale = sale(&self.subscription, self.billed, self.currency);
        let (payment, invoice) = issue(shared, sale, self.numbered, ids);
        let subscription = Some(self.subscription);
        #[cfg(feature = "sabotage")]
        let subscription = subscription.filter(|_| !self.is_half);
        ClosedEntry { payment, invoice: Some(invoice), subscription, identity: None }
    }
}

/// Makes the invoice of a subscription and its first payment, by a record of `log_time` that reflects
/// every event up to `cut_off`.
///
/// # Panics
/// When the terms name no price: the products of subscriptions are never removed.
pub fn bill(
    shared: &Shared,
    subscription: &Subscription,
    billed: Billed,
    instants: (Timestamp, Lsn),
    numbers: &mut Numbers,
) -> (Arc<Payment>, Arc<Invoice>) {
    let currency = currency(shared, subscription, &billed);
    let sale = sale(subscription, billed, currency);
    issue(shared, sale, numbers.take(instants), &mut Ids::default())
}

fn currency(shared: &Shared, subscription: &Subscription, billed: &Billed) -> Currency {
    let currency = shared.state.with_books(|books| {
        let price = books.price(billed.terms).or_else(|| books.price(subscription.terms));
        price.map(|price| price.currency)
    });
    currency.expect("the products of subscriptions are never removed")
}

fn sale(subscription: &Subscription, billed: Billed, currency: Currency) -> Sale {
    let subscribed =
        CartItem { product: billed.terms.product, quantity: billed.quantity, credits: Vec::new() };
    let charge_type = match billed.cause {
        InvoiceCause::Created => Some(ChargeType::New),
        InvoiceCause::Closed(_) => Some(ChargeType::Renewal),
        InvoiceCause::Changed => Some(ChargeType::PlanChange),
        InvoiceCause::Charged => Some(ChargeType::OnDemand),
        InvoiceCause::Cart => None,
    };
    let first_payment = match billed.cause {
        InvoiceCause::Created => Some(subscription.first_payment.clone()),
        InvoiceCause::Closed(_)
        | InvoiceCause::Changed
        | InvoiceCause::Charged
        | InvoiceCause::Cart => None,
    };
    Sale {
        cause: billed.cause,
        subscription: Some(subscription.index),
        customer: subscription.customer,
        bill_to: BillTo {
            name: billed.customer.name.clone(),
            email: billed.customer.email.clone(),
            business_name: subscription.customer_business_name.clone(),
            tax_id: subscription.tax_id.clone(),
            address: Arc::clone(&subscription.billing),
        },
        metadata: billed.metadata.unwrap_or_else(|| subscription.metadata.clone()),
        currency,
        period: billed.period,
        due_at: billed.due_at,
        charge_type,
        service_period: billed.service_period,
        share: billed.share,
        cart: std::iter::once(subscribed).chain(bought_once(&billed.bill)).collect(),
        payment_id: first_payment,
        bill: billed.bill,
    }
}

/// A cart that is sold without a subscription.
#[derive(Debug)]
pub struct Sold<'o> {
    /// Who pays.
    pub customer: &'o Customer,
    /// Where the customer lives.
    pub billing: &'o BillingAddress,
    /// What was offered.
    pub offer: &'o Offer,
    /// The lines and their sum.
    pub bill: Bill,
}

/// Makes the invoice of a cart and its payment; see [`bill`].
pub fn bill_cart(
    shared: &Shared,
    sold: Sold<'_>,
    (log_time, cut_off): (Timestamp, Lsn),
    numbers: &mut Numbers,
) -> (Arc<Payment>, Arc<Invoice>) {
    let Sold { customer, billing, offer, bill } = sold;
    let sale = Sale {
        cause: InvoiceCause::Cart,
        subscription: None,
        customer: customer.index,
        bill_to: BillTo {
            name: customer.name.clone(),
            email: customer.email.clone(),
            business_name: offer.customer_business_name.clone(),
            tax_id: offer.tax_id.clone(),
            address: Arc::new(billing.clone()),
        },
        metadata: offer.metadata.clone(),
        currency: offer.currency,
        period: None,
        due_at: log_time,
        charge_type: None,
        service_period: None,
        share: None,
        cart: bought_once(&bill).collect(),
        payment_id: None,
        bill,
    };
    issue(shared, sale, numbers.take((log_time, cut_off)), &mut Ids::default())
}

/// What a bill has beside a subscription's own lines.
fn bought_once(bill: &Bill) -> impl Iterator<Item = CartItem> {
    bill.lines.iter().filter_map(|line| match &line.detail {
        LineDetail::Fixed(FixedLine { period: None, quantity, .. }) => {
            Some(CartItem { product: line.product, quantity: *quantity, credits: Vec::new() })
        }
        LineDetail::Fixed(FixedLine { period: Some(_), .. })
        | LineDetail::Unused(_)
        | LineDetail::Usage(_)
        | LineDetail::Overage(_)
        | LineDetail::Charge(_)
        | LineDetail::Credit => None,
    })
}

/// Everything that an invoice and its first payment say but their ids and numbers.
struct Sale {
    cause: InvoiceCause,
    subscription: Option<SubscriptionIndex>,
    customer: CustomerIndex,
    bill_to: BillTo,
    metadata: Metadata,
    currency: Currency,
    period: Option<Period>,
    due_at: Timestamp,
    charge_type: Option<ChargeType>,
    service_period: Option<Period>,
    share: Option<Share>,
    cart: Vec<CartItem>,
    /// The payment's id, when it was given before.
    payment_id: Option<PaymentId>,
    bill: Bill,
}

fn issue(
    shared: &Shared,
    sale: Sale,
    numbered: Numbered,
    ids: &mut Ids,
) -> (Arc<Payment>, Arc<Invoice>) {
    let Numbered { log_time, cut_off, .. } = numbered;
    let entropy = &*shared.world.entropy;
    let mut random = |prefix| ids.next(prefix, entropy);
    let invoice = Invoice {
        id: InvoiceId::new(random("inv")),
        number: numbered.invoice,
        cause: sale.cause,
        subscription: sale.subscription,
        customer: sale.customer,
        bill_to: sale.bill_to,
        currency: sale.currency,
        total: sale.bill.total,
        period: sale.period,
        due_at: sale.due_at,
        created_at: log_time,
        cut_off_lsn: cut_off,
        lines: sale.bill.lines,
    };
    let payment = Payment {
        id: sale.payment_id.unwrap_or_else(|| PaymentId::new(random("pay"))),
        index: numbered.payment,
        invoice: invoice.number,
        invoice_id: invoice.id.clone(),
        customer: sale.customer,
        subscription: sale.subscription,
        cart: sale.cart,
        currency: sale.currency,
        total: invoice.total,
        charge_type: sale.charge_type,
        includes_usage: invoice.includes_usage(),
        service_period: sale.service_period,
        share: sale.share,
        status: first_status(shared, invoice.total),
        failure: PaymentFailure::default(),
        retry_attempt: 0,
        billing: Arc::clone(&invoice.bill_to.address),
        metadata: sale.metadata,
        checkout: None,
        created_at: log_time,
        updated_at: log_time,
    };
    (Arc::new(payment), Arc::new(invoice))
}
