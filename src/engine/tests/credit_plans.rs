//! Credits where plans change within a period, and where a subscription waits for money.

use std::time::Duration;

use super::credits::{POOL, Shop, credits, overage};
use super::dice::Dice;
use super::goods::{new_meter, new_product, new_subscription, usage_price};
use super::rig::{Rig, Sent, tiny};
use crate::engine::command::billing::{
    Effective, Mark, NewMeterPrice, NewProduct, NewRate, PlanChange, SubscriptionPatch,
};
use crate::engine::command::credits::{CreditTermsPatch, NewAttachment, NewEntitlement};
use crate::engine::options::{Collection, Options};
use crate::engine::pools::view;
use crate::engine::{Command, Outcome};
use crate::model::credit::{CreditProration, OverageBehavior};
use crate::model::price::{Interval, IntervalUnit};
use crate::model::{
    Aggregation, MeterId, PaymentStatus, ProductId, ProrationMode, Quantity, Rate, SubscriptionId,
    SubscriptionStatus, UnitPrice, UnitsPerCredit,
};

const HOUR: Duration = Duration::from_hours(1);
const WEEK: Interval = Interval { count: 1, unit: IntervalUnit::Week };
const FREE: u64 = 5;

/// A customer with a plan that is paid in money and one that is paid in credits, of the same meter.
struct Plans {
    rig: Rig,
    subscription: SubscriptionId,
    of_money: ProductId,
    of_credits: ProductId,
    sent: u32,
}

impl Plans {
    fn new(aggregation: Aggregation) -> Self {
        let mut rig = Rig::new(tiny());
        rig.ingest(&[Sent::new("first", "c0")]).unwrap();
        let entitlement = rig.change(Command::CreateEntitlement(Box::new(NewEntitlement {
            name: "Tokens".to_owned(),
            description: None,
            unit: "token".to_owned(),
            precision: 0,
            terms: CreditTermsPatch::default(),
        })));
        let Outcome::Entitlement(entitlement) = entitlement.unwrap().outcome else { panic!() };
        let meter = rig.change(Command::CreateMeter(new_meter(aggregation)));
        let Outcome::Meter(meter) = meter.unwrap().outcome else { panic!() };
        let unit = NewRate::Money(Rate::PerUnit(UnitPrice::parse("1").unwrap()));
        let of_money = product(&mut rig, &meter.id, unit, Vec::new());
        let attachment = NewAttachment {
            entitlement_id: entitlement.id.clone(),
            amount: credits(20),
            trial_amount: None,
            trial_expires: false,
            low_balance_percent: None,
            proration: CreditProration::NoProrate,
            terms: CreditTermsPatch::default(),
        };
        let drawn = NewRate::Credits {
            entitlement_id: entitlement.id.clone(),
            units_per_credit: UnitsPerCredit::new(Quantity::from_count(1)).unwrap(),
        };
        let of_credits = product(&mut rig, &meter.id, drawn, vec![attachment]);
        let new = new_subscription("c0", &of_credits);
        let made = rig.change(Command::CreateSubscription(Box::new(new))).unwrap();
        let Outcome::Subscription(made) = made.outcome else { panic!() };
        Self { subscription: made.id.clone(), rig, of_money, of_credits, sent: 0 }
    }

    fn use_tokens(&mut self, tokens: u64) {
        self.sent += 1;
        let sent = Sent::new(format!("e{}", self.sent), "c0").with_tokens(&tokens.to_string());
        self.rig.ingest(&[sent]).unwrap();
        self.rig.advance(Duration::from_micros(1));
    }

    /// Changes the plan within the period.
    fn change(&mut self, is_paid_in_credits: bool) {
        let to = if is_paid_in_credits { &self.of_credits } else { &self.of_money };
        let change = PlanChange {
            product_id: to.clone(),
            quantity: 1,
            mode: ProrationMode::DoNotBill,
            effective: Effective::Now,
            replaces_scheduled: true,
            metadata: None,
        };
        self.rig.change(Command::ChangePlan(self.subscription.clone(), Box::new(change))).unwrap();
    }

    /// The number of the segment that the present period has begun with.
    fn period(&self) -> u32 {
        self.rig.engine.subscription(&self.subscription).unwrap().subscription.period_opened_by
    }

    /// What usage has come to in credits, covered or not.
    fn drawn(&self) -> i128 {
        let state = &self.rig.machine.shared.state;
        let pool = view::as_of(state, &[POOL], self.rig.engine.now()).pools[0].clone().unwrap();
        let totals = pool.pool.totals();
        totals.consumed.plus(totals.uncovered).as_units() / 1_000_000_000_000
    }
}

fn product(
    rig: &mut Rig,
    meter: &MeterId,
    rate: NewRate,
    credits: Vec<NewAttachment>,
) -> ProductId {
    let meter_id = meter.clone();
    let priced =
        NewMeterPrice { meter_id, rate, free_threshold: FREE, minimum: None, maximum: None };
    let Command::CreateProduct(plain) = new_product(usage_price(vec![priced], WEEK, 0)) else {
        panic!()
    };
    let product = NewProduct { credits, ..*plain };
    let made = rig.change(Command::CreateProduct(Box::new(product))).unwrap();
    let Outcome::Product(product) = made.outcome else { panic!() };
    product.id.clone()
}

/// Units of a period are numbered: what was free, or was paid in money before, is paid in credits no more,
/// whether the parts that were paid in money have their invoices or not.
#[test]
fn usage_is_paid_once_however_often_the_plan_changes_between_money_and_credits() {
    let key = || "tokens".to_owned();
    for (kind, adds_up) in
        [(Aggregation::Sum { key: key() }, true), (Aggregation::Max { key: key() }, false)]
    {
        for seed in 0..40 {
            let dice = Dice::new(seed);
            let mut plans = Plans::new(kind.clone());
            let (mut used, mut expected, mut is_paid_in_credits) = (0, 0, true);
            let beyond = |units: u64| i128::from(units.saturating_sub(FREE));
            for _ in 0..24 {
                match dice.below(4) {
                    0 | 1 => {
                        let tokens = dice.below(20);
                        plans.use_tokens(tokens);
                        let now = if adds_up { used + tokens } else { used.max(tokens) };
                        if is_paid_in_credits {
                            expected += beyond(now) - beyond(used);
                        }
                        used = now;
                    }
                    2 => {
                        is_paid_in_credits = !is_paid_in_credits;
                        plans.change(is_paid_in_credits);
                    }
                    _ => {
                        // What was cut has its invoice after a while.
                        let before = plans.period();
                        plans.rig.advance(HOUR * *dice.pick(&[1, 40]));
                        plans.rig.settle().unwrap();
                        if plans.period() != before {
                            used = 0;
                        }
                    }
                }
                assert_eq!(plans.drawn(), expected, "{kind:?}, seed {seed}");
            }
        }
    }
}

/// The close of what a pause has cut took a subscription that waits for money for one that had ended: its
/// grants expired, and overage that goes on was forgotten. A life of the simulation has shown it.
#[test]
fn a_paused_subscription_that_waits_for_money_keeps_its_credits() {
    let options = Options { collection: Collection::Manual, ..tiny() };
    let mut shop = Shop::under(options, overage(OverageBehavior::CarryDeficit, None));
    let id = shop.subscribe();
    shop.mark(Mark::Succeeded);
    // 100 credits, and 5 of overage, which a turn leaves.
    shop.call(0, 1_050);
    shop.pass(HOUR * 24 * 33);
    let before = (shop.balance(), shop.ledger());
    assert_eq!(before.0, ("100".to_owned(), "5".to_owned()));
    let paused = SubscriptionPatch { pause: Some(true), ..SubscriptionPatch::default() };
    shop.rig.change(Command::UpdateSubscription(id.clone(), Box::new(paused))).unwrap();
    shop.mark(Mark::Failed { code: None, message: None });
    shop.pass(HOUR * 24 * 3);
    let waiting = shop.rig.engine.subscription(&id).unwrap().subscription;
    assert_eq!((waiting.status, waiting.closing.len()), (SubscriptionStatus::OnHold, 0));
    assert_eq!((shop.balance(), shop.ledger()), before);
    assert_eq!(shop.open_payments(PaymentStatus::Failed).len(), 1);
    shop.killed();
}
