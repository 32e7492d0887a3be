//! A place where credits are reserved: one customer, one meter, and what subscriptions pay of it.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::command::Changed;
use crate::engine::command::billing::{NewMeterPrice, NewProduct, NewRate};
use crate::engine::command::credits::{CreditTermsPatch, NewAttachment, NewEntitlement};
use crate::engine::command::reservations::{Ask, NewReservation};
use crate::engine::options::Options;
use crate::engine::pools::{KeptPool, PoolKey, view};
use crate::engine::reservations::ask::Asked;
use crate::engine::reservations::requests::ReservationStatus;
use crate::engine::reservations::{Part, Reservation, Reservations};
use crate::engine::tests::goods::{new_meter, new_product, new_subscription, usage_price};
use crate::engine::tests::rig::{Crash, Rig, Sent, Slot, tiny};
use crate::engine::{Command, Outcome, Refused};
use crate::model::credit::{CreditProration, OverageBehavior};
use crate::model::price::{Interval, IntervalUnit};
use crate::model::{
    Aggregation, Credits, Currency, CustomerId, CustomerIndex, EntitlementId, EntitlementIndex,
    MeterId, Number, ProductId, Quantity, ReservationId, SubscriptionId, UnitPrice, UnitsPerCredit,
};

const MONTH: Interval = Interval { count: 1, unit: IntervalUnit::Month };
const POOL: PoolKey = PoolKey { entitlement: EntitlementIndex(0), customer: CustomerIndex(0) };

pub(in crate::engine::tests) fn credits(text: &str) -> Credits {
    Credits::from_units(units(text).as_units())
}

pub(super) fn units(text: &str) -> Quantity {
    Number::new(text).unwrap().to_quantity().unwrap()
}

/// An engine with one customer, and an entitlement of whole credits that usage of a meter draws on.
pub(in crate::engine::tests) struct Desk {
    pub rig: Rig,
    pub entitlement: EntitlementId,
    pub(super) meter: MeterId,
    sent: u64,
}

/// What one subscription pays of the meter.
#[derive(Clone, Copy)]
pub(in crate::engine::tests) struct Plan<'p> {
    pub amount: &'p str,
    pub ratio: &'p str,
    pub free_threshold: u64,
    /// As much overage as this; none without.
    pub limit: Option<&'p str>,
}

pub(in crate::engine::tests) const PLAIN: Plan<'static> =
    Plan { amount: "100", ratio: "1", free_threshold: 0, limit: None };

pub(super) fn tokens() -> Aggregation {
    Aggregation::Sum { key: "tokens".to_owned() }
}

pub(super) fn options() -> Options {
    Options { queue_length: 2_048, ..tiny() }
}

impl Desk {
    pub(super) fn new(aggregation: Aggregation, plans: &[Plan<'_>]) -> Self {
        Self::with_options(options(), aggregation, plans)
    }

    pub(in crate::engine::tests) fn with_options(
        options: Options,
        aggregation: Aggregation,
        plans: &[Plan<'_>],
    ) -> Self {
        let mut rig = Rig::new(options);
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
        let entitlement = entitlement.id.clone();
        let mut desk = Self { rig, entitlement, meter: meter.id, sent: 0 };
        // The customer is there; nobody bills this.
        desk.used("1");
        desk.rig.advance(Duration::from_micros(1));
        for plan in plans {
            desk.subscribe(plan);
        }
        desk
    }

    /// A desk of one plan whose meter sums tokens.
    pub(in crate::engine::tests) fn plain() -> Self {
        Self::new(tokens(), &[PLAIN])
    }

    pub(super) fn product(&mut self, plan: &Plan<'_>) -> ProductId {
        let price = usage_price(
            vec![NewMeterPrice {
                meter_id: self.meter.clone(),
                rate: NewRate::Credits {
                    entitlement_id: self.entitlement.clone(),
                    units_per_credit: UnitsPerCredit::new(units(plan.ratio)).unwrap(),
                },
                free_threshold: plan.free_threshold,
                minimum: None,
                maximum: None,
            }],
            MONTH,
            4900,
        );
        let Command::CreateProduct(bare) = new_product(price) else { panic!() };
        let overage = plan.limit.map(|limit| CreditTermsPatch {
            overage_enabled: Some(true),
            overage_behavior: Some(Some(OverageBehavior::CarryDeficit)),
            overage_limit: Some(Some(credits(limit))),
            price_per_unit: Some(Some(UnitPrice::parse("50").unwrap())),
            currency: Some(Currency::from_code("USD")),
            ..CreditTermsPatch::default()
        });
        let attachment = NewAttachment {
            entitlement_id: self.entitlement.clone(),
            amount: credits(plan.amount),
            trial_amount: None,
            trial_expires: false,
            low_balance_percent: None,
            proration: CreditProration::NoProrate,
            terms: overage.unwrap_or_default(),
        };
        let product = NewProduct { credits: vec![attachment], ..*bare };
        let product = self.rig.change(Command::CreateProduct(Box::new(product))).unwrap();
        let Outcome::Product(product) = product.outcome else { panic!() };
        product.id.clone()
    }

    pub(super) fn subscribe(&mut self, plan: &Plan<'_>) -> SubscriptionId {
        let product = self.product(plan);
        let new = new_subscription("c0", &product);
        let made = self.rig.change(Command::CreateSubscription(Box::new(new))).unwrap();
        let Outcome::Subscription(subscription) = made.outcome else { panic!() };
        subscription.id.clone()
    }

    /// An event of so many tokens, with an id that no other has.
    pub(in crate::engine::tests) fn event(&mut self, tokens: &str) -> Sent {
        self.sent += 1;
        Sent::new(format!("e{}", self.sent), "c0").with_tokens(tokens)
    }

    /// So many tokens are used now.
    pub(in crate::engine::tests) fn used(&mut self, tokens: &str) {
        let event = self.event(tokens);
        self.rig.ingest(&[event]).unwrap();
    }

    pub(in crate::engine::tests) fn ask(&self, amount: &str) -> Ask {
        Ask {
            customer_id: CustomerId::new("c0"),
            meter_id: self.meter.clone(),
            amount: units(amount),
            subscription_id: None,
        }
    }

    pub(in crate::engine::tests) fn checked(&self, amount: &str) -> Asked {
        self.rig.engine.check_credits(&self.ask(amount)).unwrap()
    }

    pub(in crate::engine::tests) fn submit(&self, ask: Ask) -> Slot<Changed> {
        let new = NewReservation { ask, lifetime: Duration::from_mins(10) };
        self.rig.propose(Command::Reserve(Box::new(new)), None)
    }

    /// What is reserved, when it is.
    pub(in crate::engine::tests) fn reserve(
        &mut self,
        amount: &str,
    ) -> Result<Arc<Reservation>, Refused> {
        let slot = self.submit(self.ask(amount));
        self.settled(&slot)
    }

    pub(in crate::engine::tests) fn commit(
        &mut self,
        id: &ReservationId,
        event: &Sent,
    ) -> Result<Arc<Reservation>, Refused> {
        let slot = self.rig.commit(id, event);
        self.settled(&slot)
    }

    pub(in crate::engine::tests) fn release(
        &mut self,
        id: &ReservationId,
    ) -> Result<Arc<Reservation>, Refused> {
        let slot = self.rig.propose(Command::ReleaseReservation(id.clone()), None);
        self.settled(&slot)
    }

    pub(super) fn settled(&mut self, slot: &Slot<Changed>) -> Result<Arc<Reservation>, Refused> {
        self.rig.settle().unwrap();
        slot.answer().map(outcome)
    }

    pub(in crate::engine::tests) fn pass(&mut self, time: Duration) {
        self.rig.advance(time);
        self.rig.settle().unwrap();
    }

    pub(in crate::engine::tests) fn pool(&self) -> Arc<KeptPool> {
        let at = self.rig.engine.now().plus(Duration::from_nanos(1));
        view::as_of(&self.rig.machine.shared.state, &[POOL], at).pools[0].clone().unwrap()
    }

    /// Balance, what of it nobody holds, overage and uncovered.
    pub(in crate::engine::tests) fn stand(&self) -> [String; 4] {
        let (kept, at) = (self.pool(), self.rig.engine.now());
        assert!(kept.pool.conserves());
        let pool = &kept.pool;
        [pool.balance_at(at), pool.spendable_at(at), pool.overage(), pool.totals().uncovered]
            .map(|amount| amount.to_string())
    }

    pub(in crate::engine::tests) fn status(
        &self,
        id: &ReservationId,
    ) -> Result<ReservationStatus, Refused> {
        self.rig.engine.reservation(id).map(|view| view.status)
    }

    pub(super) fn kept(&self) -> (Vec<Arc<Part>>, Vec<KeptPool>) {
        let state = &self.rig.machine.shared.state;
        let pools = state
            .with_pools(|pools| pools.all().iter().map(|kept| KeptPool::clone(kept)).collect());
        (state.with_reservations(Reservations::parts), pools)
    }

    /// Kills the process; what is there then must be what was there.
    pub(in crate::engine::tests) fn killed(self, crash: Crash) -> Self {
        let before = self.kept();
        let after = Self { rig: self.rig.place.after(crash).open(), ..self };
        assert_eq!(after.kept(), before);
        after
    }
}

pub(super) fn outcome(changed: Changed) -> Arc<Reservation> {
    let Outcome::Reservation(reservation) = changed.outcome else { panic!("no reservation") };
    reservation
}
