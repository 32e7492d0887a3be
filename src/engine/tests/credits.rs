//! Credits through the engine: events draw, turns settle and renew, closes bill what went beyond, and a
//! replay comes to the same pools, rows and invoices.

use std::sync::Arc;
use std::time::Duration;

use super::goods::{new_meter, new_product, new_subscription, usage_price};
use super::rig::{Crash, Rig, Sent, tiny};
use crate::engine::bills::PaymentFilter;
use crate::engine::command::billing::{Mark, NewMeterPrice, NewProduct, NewRate};
use crate::engine::command::credits::{CreditTermsPatch, NewAttachment, NewEntitlement};
use crate::engine::command::entries::{NewEntry, NewEntryKind};
use crate::engine::options::Options;
use crate::engine::pools::{KeptPool, PoolKey, view};
use crate::engine::{Command, Outcome, Refused};
use crate::model::credit::TransactionType::{
    self, CreditAdded, CreditDeducted, ManualAdjustment, OverageCharged,
};
use crate::model::credit::{CreditProration, OverageBehavior};
use crate::model::price::{Interval, IntervalUnit};
use crate::model::{
    Aggregation, Credits, Currency, CustomerId, CustomerIndex, EntitlementId, EntitlementIndex,
    LedgerEntry, LedgerEntryId, MeterId, PaymentId, PaymentStatus, ProductId, Quantity,
    SubscriptionId, UnitPrice, UnitsPerCredit,
};

const DAY: Duration = Duration::from_hours(24);
const MONTH: Interval = Interval { count: 1, unit: IntervalUnit::Month };
pub(super) const POOL: PoolKey =
    PoolKey { entitlement: EntitlementIndex(0), customer: CustomerIndex(0) };

pub(super) fn credits(whole: i128) -> Credits {
    Credits::from_units(whole * 1_000_000_000_000)
}

/// An engine with one customer, an entitlement, and a plan of 100 credits a month that calls draw on.
pub(super) struct Shop {
    pub rig: Rig,
    pub entitlement: EntitlementId,
    meter: MeterId,
    pub product: ProductId,
    sent: u64,
}

pub(super) fn overage(behavior: OverageBehavior, limit: Option<Credits>) -> CreditTermsPatch {
    CreditTermsPatch {
        overage_enabled: Some(true),
        overage_behavior: Some(Some(behavior)),
        overage_limit: Some(limit),
        price_per_unit: Some(Some(UnitPrice::parse("50").unwrap())),
        currency: Some(Currency::from_code("USD")),
        ..CreditTermsPatch::default()
    }
}

impl Shop {
    pub(super) fn new(terms: CreditTermsPatch) -> Self {
        Self::under(tiny(), terms)
    }

    pub(super) fn under(options: Options, terms: CreditTermsPatch) -> Self {
        let mut rig = Rig::new(options);
        let entitlement = rig.change(Command::CreateEntitlement(Box::new(NewEntitlement {
            name: "Tokens".to_owned(),
            description: None,
            unit: "token".to_owned(),
            precision: 2,
            terms,
        })));
        let Outcome::Entitlement(entitlement) = entitlement.unwrap().outcome else { panic!() };
        let meter = rig.change(Command::CreateMeter(new_meter(Aggregation::Count)));
        let Outcome::Meter(meter) = meter.unwrap().outcome else { panic!() };
        let mut shop = Self {
            rig,
            entitlement: entitlement.id.clone(),
            meter: meter.id,
            product: ProductId::new(""),
            sent: 0,
        };
        shop.product = shop.product(10, 0);
        shop.call(0, 1);
        shop
    }

    pub(super) fn product(&mut self, ratio: i128, free_threshold: u64) -> ProductId {
        let units = Quantity::from_units(ratio * 1_000_000_000_000);
        let price = usage_price(
            vec![NewMeterPrice {
                meter_id: self.meter.clone(),
                rate: NewRate::Credits {
                    entitlement_id: self.entitlement.clone(),
                    units_per_credit: UnitsPerCredit::new(units).unwrap(),
                },
                free_threshold,
                minimum: None,
                maximum: None,
            }],
            MONTH,
            4900,
        );
        let Command::CreateProduct(plain) = new_product(price) else { panic!() };
        let attachment = NewAttachment {
            entitlement_id: self.entitlement.clone(),
            amount: credits(100),
            trial_amount: None,
            trial_expires: false,
            low_balance_percent: Some(20),
            proration: CreditProration::NoProrate,
            terms: CreditTermsPatch::default(),
        };
        let product = NewProduct { credits: vec![attachment], ..*plain };
        let product = self.rig.change(Command::CreateProduct(Box::new(product))).unwrap();
        let Outcome::Product(product) = product.outcome else { panic!() };
        product.id.clone()
    }

    pub(super) fn subscribe(&mut self) -> SubscriptionId {
        self.subscribe_customer(0)
    }

    pub(super) fn subscribe_customer(&mut self, customer: u64) -> SubscriptionId {
        let new = new_subscription(&format!("c{customer}"), &self.product);
        let made = self.rig.change(Command::CreateSubscription(Box::new(new))).unwrap();
        let Outcome::Subscription(subscription) = made.outcome else { panic!() };
        subscription.id.clone()
    }

    /// So many calls of a customer, at the present.
    pub(super) fn call(&mut self, customer: u64, count: u64) {
        for _ in 0..count {
            self.sent += 1;
            let sent = Sent::new(format!("e{}", self.sent), &format!("c{customer}"));
            let prepared = self.rig.prepare(&[sent]).unwrap();
            // What happens at an instant counts once that has passed.
            self.rig.advance(Duration::from_micros(1));
            let answer = self.rig.submit(prepared);
            self.rig.settle().unwrap();
            answer.answer().unwrap();
        }
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.rig.advance(time);
        self.rig.settle().unwrap();
    }

    pub(super) fn pool(&self) -> Arc<KeptPool> {
        let shared = &self.rig.machine.shared;
        view::as_of(&shared.state, &[POOL], self.rig.engine.now()).pools[0].clone().unwrap()
    }

    pub(super) fn balance(&self) -> (String, String) {
        let pool = &self.pool().pool;
        (pool.balance_at(self.rig.engine.now()).to_string(), pool.overage().to_string())
    }

    fn rows(&self) -> Vec<LedgerEntry> {
        self.rig.machine.shared.state.with_pools(|pools| {
            let index = pools.index(&POOL).unwrap();
            let mut rows: Vec<_> = pools
                .recent()
                .rows_below(index, LedgerEntryId::LAST)
                .map(|row| LedgerEntry::clone(row))
                .collect();
            rows.reverse();
            rows
        })
    }

    /// What each row says: what, how much, balance and overage after it.
    pub(super) fn ledger(&self) -> Vec<(TransactionType, String, String, String)> {
        let said = |row: LedgerEntry| {
            let text = |amount: Credits| amount.to_string();
            (row.transaction, text(row.amount), text(row.balance_after), text(row.overage_after))
        };
        self.rows().into_iter().map(said).collect()
    }

    /// The payments that stand so, newest first.
    pub(super) fn open_payments(&self, status: PaymentStatus) -> Vec<PaymentId> {
        let filter = PaymentFilter { status: Some(status), ..PaymentFilter::default() };
        let page = crate::engine::Page { offset: 0, limit: 100 };
        let found = self.rig.engine.payments(&filter, page).unwrap();
        found.iter().map(|view| view.payment.id.clone()).collect()
    }

    /// Says what became of the newest payment that waits.
    pub(super) fn mark(&mut self, mark: Mark) {
        let waiting = self.open_payments(PaymentStatus::Processing);
        self.rig.change(Command::MarkPayment(waiting[0].clone(), mark)).unwrap();
    }

    fn totals(&self) -> Vec<i64> {
        let invoices = self.rig.engine.invoices(
            &crate::engine::bills::InvoiceFilter::default(),
            crate::engine::Page { offset: 0, limit: 100 },
        );
        invoices.unwrap().iter().map(|view| view.invoice.total.as_minor()).rev().collect()
    }

    pub(super) fn enter(
        &mut self,
        kind: NewEntryKind,
        amount: i128,
        key: &str,
    ) -> Result<(), Refused> {
        let entry = NewEntry {
            entitlement_id: self.entitlement.clone(),
            customer_id: CustomerId::new("c0"),
            kind,
            amount: credits(amount),
            idempotency_key: Some(key.to_owned()),
            reason: None,
            metadata: Vec::new(),
        };
        self.rig.change(Command::EnterCredits(Box::new(entry))).map(drop)
    }

    /// Kills the process; what a replay comes to must be what was there.
    pub(super) fn killed(self) -> Self {
        let all = |rig: &Rig| {
            rig.machine.shared.state.with_pools(|pools| {
                pools.all().iter().map(|kept| KeptPool::clone(kept)).collect::<Vec<_>>()
            })
        };
        let before = (all(&self.rig), self.rows());
        let rig = self.rig.place.after(Crash::Killed).open();
        assert_eq!(all(&rig), before.0);
        let after = Self { rig, ..self };
        assert_eq!(after.rows(), before.1);
        after
    }
}

pub(super) fn line(what: TransactionType, amount: &str, balance: &str, overage: &str) -> Line {
    (what, amount.to_owned(), balance.to_owned(), overage.to_owned())
}

pub(super) type Line = (TransactionType, String, String, String);

#[test]
fn calls_draw_and_what_goes_beyond_is_on_the_next_invoice() {
    let mut shop = Shop::new(overage(OverageBehavior::InvoiceAtBilling, None));
    shop.subscribe();
    assert_eq!(shop.balance(), ("100".to_owned(), "0".to_owned()));
    // Before the subscription there was one call, which it does not bill; ten calls are a credit.
    shop.call(0, 15);
    assert_eq!(shop.balance(), ("98.5".to_owned(), "0".to_owned()));
    shop.pass(Duration::from_secs(59));
    assert_eq!(shop.ledger(), [line(CreditAdded, "100", "100", "0")]);
    shop.pass(Duration::from_secs(2));
    assert_eq!(shop.ledger()[1..], [line(CreditDeducted, "1.5", "98.5", "0")]);
    shop.call(0, 986);
    let drawn = [
        // Below 20 of 100, then at zero.
        line(CreditDeducted, "78.6", "19.9", "0"),
        line(CreditDeducted, "19.9", "0", "0"),
    ];
    assert_eq!(shop.ledger()[2..], drawn);
    assert_eq!(shop.balance(), ("0".to_owned(), "0.1".to_owned()));
    let mut shop = shop.killed();
    shop.call(0, 4);
    assert_eq!(shop.balance(), ("0".to_owned(), "0.5".to_owned()));
    shop.pass(32 * DAY);
    let after = [
        line(CreditDeducted, "0.5", "0", "0.5"),
        line(OverageCharged, "0.5", "0", "0"),
        line(CreditAdded, "100", "100", "0"),
    ];
    assert_eq!(shop.ledger()[4..], after);
    assert_eq!(shop.totals(), [4900, 4900 + 25]);
    shop.killed();
}

#[test]
fn a_deleted_entitlement_is_drawn_on_and_hands_out_no_more() {
    let mut shop = Shop::new(CreditTermsPatch::default());
    shop.subscribe();
    let delete = Command::DeleteEntitlement(shop.entitlement.clone());
    shop.rig.change(delete).unwrap();
    shop.call(0, 10);
    assert_eq!(shop.balance(), ("99".to_owned(), "0".to_owned()));
    shop.pass(32 * DAY);
    assert_eq!(shop.balance(), ("0".to_owned(), "0".to_owned()));
    let again = Command::UndeleteEntitlement(shop.entitlement.clone());
    shop.rig.change(again).unwrap();
    shop.pass(32 * DAY);
    assert_eq!(shop.balance(), ("100".to_owned(), "0".to_owned()));
    shop.killed();
}

#[test]
fn an_entry_by_hand_gives_or_takes_once() {
    let mut shop = Shop::new(CreditTermsPatch::default());
    let credit = NewEntryKind::Credit { expires_at: None };
    assert_eq!(shop.enter(NewEntryKind::Debit, 1, "a"), Err(Refused::Insufficient));
    shop.enter(credit, 500, "b").unwrap();
    shop.enter(NewEntryKind::Debit, 200, "c").unwrap();
    assert_eq!(shop.enter(NewEntryKind::Debit, 301, "d"), Err(Refused::Insufficient));
    assert!(matches!(shop.enter(credit, 1, "b"), Err(Refused::Conflict(_))));
    let mut shop = shop.killed();
    assert!(matches!(shop.enter(NewEntryKind::Debit, 1, "c"), Err(Refused::Conflict(_))));
    assert_eq!(shop.balance(), ("300".to_owned(), "0".to_owned()));
    let expected =
        [line(CreditAdded, "500", "500", "0"), line(ManualAdjustment, "200", "300", "0")];
    assert_eq!(shop.ledger(), expected);
}
