//! Reservations through the engine: what is held is there when its usage comes, once, and nobody else
//! draws it.

use std::sync::Arc;
use std::time::Duration;

use super::goods::{new_meter, new_product, new_subscription, usage_price};
use super::rig::{Crash, Rig, Sent, Slot, tiny};
use crate::engine::command::Changed;
use crate::engine::command::billing::{NewMeterPrice, NewProduct, NewRate};
use crate::engine::command::credits::{CreditTermsPatch, NewAttachment, NewEntitlement};
use crate::engine::command::reservations::{Ask, NewReservation};
use crate::engine::options::Options;
use crate::engine::pools::{KeptPool, PoolKey, view};
use crate::engine::reservations::ask::Asked;
use crate::engine::reservations::requests::ReservationStatus;
use crate::engine::reservations::{Ending, Novelty, Part, Reservation, Reservations};
use crate::engine::{Command, Outcome, Refused};
use crate::model::credit::{CreditProration, OverageBehavior};
use crate::model::price::{Interval, IntervalUnit};
use crate::model::{
    Aggregation, Credits, Currency, CustomerId, CustomerIndex, EntitlementId, EntitlementIndex,
    MeterId, Number, ProductId, Quantity, ReservationId, SubscriptionId, UnitPrice, UnitsPerCredit,
};

const MONTH: Interval = Interval { count: 1, unit: IntervalUnit::Month };
const POOL: PoolKey = PoolKey { entitlement: EntitlementIndex(0), customer: CustomerIndex(0) };

pub(super) fn credits(text: &str) -> Credits {
    Credits::from_units(units(text).as_units())
}

fn units(text: &str) -> Quantity {
    Number::new(text).unwrap().to_quantity().unwrap()
}

/// An engine with one customer, and an entitlement of whole credits that usage of a meter draws on.
pub(super) struct Desk {
    pub rig: Rig,
    pub entitlement: EntitlementId,
    meter: MeterId,
    sent: u64,
}

/// What one subscription pays of the meter.
#[derive(Clone, Copy)]
pub(super) struct Plan<'p> {
    pub amount: &'p str,
    pub ratio: &'p str,
    pub free_threshold: u64,
    /// As much overage as this; none without.
    pub limit: Option<&'p str>,
}

pub(super) const PLAIN: Plan<'static> =
    Plan { amount: "100", ratio: "1", free_threshold: 0, limit: None };

fn tokens() -> Aggregation {
    Aggregation::Sum { key: "tokens".to_owned() }
}

fn options() -> Options {
    Options { queue_length: 2_048, ..tiny() }
}

impl Desk {
    fn new(aggregation: Aggregation, plans: &[Plan<'_>]) -> Self {
        Self::with_options(options(), aggregation, plans)
    }

    pub(super) fn with_options(
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
    pub(super) fn plain() -> Self {
        Self::new(tokens(), &[PLAIN])
    }

    fn product(&mut self, plan: &Plan<'_>) -> ProductId {
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

    fn subscribe(&mut self, plan: &Plan<'_>) -> SubscriptionId {
        let product = self.product(plan);
        let new = new_subscription("c0", &product);
        let made = self.rig.change(Command::CreateSubscription(Box::new(new))).unwrap();
        let Outcome::Subscription(subscription) = made.outcome else { panic!() };
        subscription.id.clone()
    }

    /// An event of so many tokens, with an id that no other has.
    pub(super) fn event(&mut self, tokens: &str) -> Sent {
        self.sent += 1;
        Sent::new(format!("e{}", self.sent), "c0").with_tokens(tokens)
    }

    /// So many tokens are used now.
    pub(super) fn used(&mut self, tokens: &str) {
        let event = self.event(tokens);
        self.rig.ingest(&[event]).unwrap();
    }

    pub(super) fn ask(&self, amount: &str) -> Ask {
        Ask {
            customer_id: CustomerId::new("c0"),
            meter_id: self.meter.clone(),
            amount: units(amount),
            subscription_id: None,
        }
    }

    pub(super) fn checked(&self, amount: &str) -> Asked {
        self.rig.engine.check_credits(&self.ask(amount)).unwrap()
    }

    pub(super) fn submit(&self, ask: Ask) -> Slot<Changed> {
        let new = NewReservation { ask, lifetime: Duration::from_mins(10) };
        self.rig.propose(Command::Reserve(Box::new(new)), None)
    }

    /// What is reserved, when it is.
    pub(super) fn reserve(&mut self, amount: &str) -> Result<Arc<Reservation>, Refused> {
        let slot = self.submit(self.ask(amount));
        self.settled(&slot)
    }

    pub(super) fn commit(
        &mut self,
        id: &ReservationId,
        event: &Sent,
    ) -> Result<Arc<Reservation>, Refused> {
        let slot = self.rig.commit(id, event);
        self.settled(&slot)
    }

    pub(super) fn release(&mut self, id: &ReservationId) -> Result<Arc<Reservation>, Refused> {
        let slot = self.rig.propose(Command::ReleaseReservation(id.clone()), None);
        self.settled(&slot)
    }

    fn settled(&mut self, slot: &Slot<Changed>) -> Result<Arc<Reservation>, Refused> {
        self.rig.settle().unwrap();
        slot.answer().map(outcome)
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.rig.advance(time);
        self.rig.settle().unwrap();
    }

    pub(super) fn pool(&self) -> Arc<KeptPool> {
        let at = self.rig.engine.now().plus(Duration::from_nanos(1));
        view::as_of(&self.rig.machine.shared.state, &[POOL], at).pools[0].clone().unwrap()
    }

    /// Balance, what of it nobody holds, overage and uncovered.
    pub(super) fn stand(&self) -> [String; 4] {
        let (kept, at) = (self.pool(), self.rig.engine.now());
        assert!(kept.pool.conserves());
        let pool = &kept.pool;
        [pool.balance_at(at), pool.spendable_at(at), pool.overage(), pool.totals().uncovered]
            .map(|amount| amount.to_string())
    }

    pub(super) fn status(&self, id: &ReservationId) -> Result<ReservationStatus, Refused> {
        self.rig.engine.reservation(id).map(|view| view.status)
    }

    fn kept(&self) -> (Vec<Arc<Part>>, Vec<KeptPool>) {
        let state = &self.rig.machine.shared.state;
        let pools = state
            .with_pools(|pools| pools.all().iter().map(|kept| KeptPool::clone(kept)).collect());
        (state.with_reservations(Reservations::parts), pools)
    }

    /// Kills the process; what is there then must be what was there.
    pub(super) fn killed(self, crash: Crash) -> Self {
        let before = self.kept();
        let after = Self { rig: self.rig.place.after(crash).open(), ..self };
        assert_eq!(after.kept(), before);
        after
    }
}

fn outcome(changed: Changed) -> Arc<Reservation> {
    let Outcome::Reservation(reservation) = changed.outcome else { panic!("no reservation") };
    reservation
}

/// The field that a request is refused for.
fn field<T: std::fmt::Debug>(refused: Result<T, Refused>) -> String {
    if let Err(Refused::Invalid { field, .. }) = refused {
        return field;
    }
    panic!("{refused:?}");
}

fn novelty(reservation: &Reservation) -> Option<Novelty> {
    match &reservation.end.as_ref()?.how {
        Ending::Committed(event) => Some(event.novelty),
        Ending::Released | Ending::TimedOut => None,
    }
}

fn stand(balance: &str, available: &str, overage: &str, uncovered: &str) -> [String; 4] {
    [balance, available, overage, uncovered].map(str::to_owned)
}

#[test]
fn a_thousand_reserves_on_a_balance_of_500_grant_exactly_500() {
    let mut desk = Desk::new(tokens(), &[Plan { amount: "500", ..PLAIN }]);
    let slots: Vec<_> = (0..1_000).map(|_| desk.submit(desk.ask("1"))).collect();
    desk.rig.settle().unwrap();
    let answers: Vec<_> = slots.iter().map(Slot::answer).collect();
    let granted = answers.iter().filter(|answer| answer.is_ok()).count();
    let refused = answers.iter().filter(|answer| matches!(answer, Err(Refused::NotCovered)));
    assert_eq!((granted, refused.count()), (500, 500));
    assert_eq!(desk.stand(), stand("500", "0", "0", "0"));
    let mut desk = desk.killed(Crash::Killed);
    assert_eq!(desk.reserve("1"), Err(Refused::NotCovered));
    desk.rig.machine.checkpoint().unwrap();
    let mut desk = desk.killed(Crash::DropsAll);
    assert_eq!(desk.reserve("1"), Err(Refused::NotCovered));
    let first = answers.into_iter().flatten().next().unwrap();
    let first = outcome(first);
    desk.release(&first.id).unwrap();
    assert!(desk.reserve("1").is_ok());
    assert_eq!(desk.reserve("1"), Err(Refused::NotCovered));
}

#[test]
fn nobody_else_draws_what_is_held() {
    let mut desk = Desk::plain();
    let held = desk.reserve("60").unwrap();
    assert_eq!(held.credits(), credits("60"));
    assert_eq!(desk.stand(), stand("100", "40", "0", "0"));
    let asked = desk.checked("41");
    assert_eq!((asked.cover, asked.credits), (None, credits("41")));
    assert!(desk.checked("40").cover.is_some());
    desk.used("70");
    assert_eq!(desk.stand(), stand("60", "0", "0", "30"));
    // Its own event comes at the very instant of the commit, and finds what was held.
    let event = desk.event("60");
    desk.commit(&held.id, &event).unwrap();
    assert_eq!(desk.stand(), stand("0", "0", "0", "30"));
    assert_eq!(desk.reserve("1"), Err(Refused::NotCovered));
    desk.killed(Crash::DropsAll);
}

#[test]
fn an_event_may_be_worth_more_or_less_than_was_reserved() {
    let limited = Plan { limit: Some("10"), ..PLAIN };
    let mut desk = Desk::new(tokens(), &[limited]);
    let less = desk.reserve("50").unwrap();
    let event = desk.event("20");
    desk.commit(&less.id, &event).unwrap();
    assert_eq!(desk.stand(), stand("80", "80", "0", "0"));
    // Eighty of the balance and five of the overage that is allowed.
    let more = desk.reserve("85").unwrap();
    assert_eq!((more.hold.balance, more.hold.overage), (credits("80"), credits("5")));
    assert_eq!(desk.checked("6").cover, None);
    assert_eq!(desk.checked("5").headroom, Some(credits("5")));
    let event = desk.event("95");
    desk.commit(&more.id, &event).unwrap();
    assert_eq!(desk.stand(), stand("0", "0", "10", "5"));
    assert_eq!(desk.reserve("1"), Err(Refused::NotCovered));
    assert!(desk.reserve("0").is_ok());
}

#[test]
fn a_known_event_gives_back_and_counts_nothing_twice() {
    let mut desk = Desk::plain();
    let event = desk.event("30");
    desk.rig.ingest(std::slice::from_ref(&event)).unwrap();
    let first = desk.reserve("50").unwrap();
    let ended = desk.commit(&first.id, &event).unwrap();
    assert_eq!(novelty(&ended), Some(Novelty::Duplicate));
    assert_eq!(desk.stand(), stand("70", "70", "0", "0"));
    let second = desk.reserve("50").unwrap();
    let other = Sent::new(event.id.clone(), "c0").with_tokens("31");
    let ended = desk.commit(&second.id, &other).unwrap();
    assert_eq!(novelty(&ended), Some(Novelty::Conflict));
    assert_eq!(desk.stand(), stand("70", "70", "0", "0"));
    // The event of a commit is known to ingest, and to other commits.
    let (third, new) = (desk.reserve("10").unwrap(), desk.event("10"));
    assert_eq!(novelty(&desk.commit(&third.id, &new).unwrap()), Some(Novelty::New));
    let mut desk = desk.killed(Crash::Killed);
    assert_eq!(desk.rig.ingest(&[new]).unwrap().duplicates, 1);
    assert_eq!(desk.stand(), stand("60", "60", "0", "0"));
}

#[test]
fn a_reservation_ends_once() {
    let mut desk = Desk::plain();
    let (one, two) = (desk.reserve("10").unwrap(), desk.reserve("20").unwrap());
    let (event, other) = (desk.event("10"), desk.event("20"));
    // Both commits are under way at once: the second finds what the first has done.
    let slots = [desk.rig.commit(&one.id, &event), desk.rig.commit(&one.id, &other)];
    desk.rig.settle().unwrap();
    let [committed, again] = slots.map(|slot| outcome(slot.answer().unwrap()));
    assert_eq!((novelty(&committed), &again), (Some(Novelty::New), &committed));
    assert_eq!(desk.commit(&one.id, &other), Ok(committed));
    assert!(matches!(desk.release(&one.id), Err(Refused::Conflict(_))));
    let released = desk.release(&two.id).unwrap();
    assert_eq!(desk.release(&two.id), Ok(released));
    assert!(matches!(desk.commit(&two.id, &other), Err(Refused::Conflict(_))));
    assert_eq!(desk.stand(), stand("90", "90", "0", "0"));
    // The other event was counted by nobody, and still can be.
    assert_eq!(desk.rig.ingest(&[other]).unwrap().new, 1);
    assert_eq!(desk.stand(), stand("70", "70", "0", "0"));
    let unknown = ReservationId::new("crs_none");
    assert_eq!(desk.release(&unknown), Err(Refused::NotFound("reservation")));
    desk.pass(Duration::from_hours(24) + Duration::from_nanos(1));
    for id in [&one.id, &two.id] {
        assert_eq!(desk.status(id), Err(Refused::NotFound("reservation")));
        assert_eq!(desk.release(id), Err(Refused::NotFound("reservation")));
    }
}

#[test]
fn what_is_not_committed_in_time_is_given_back_and_counts_nothing() {
    let mut desk = Desk::plain();
    let held = desk.reserve("60").unwrap();
    desk.rig.advance(Duration::from_mins(10) - Duration::from_nanos(1));
    let mut desk = desk.killed(Crash::Killed);
    desk.rig.settle().unwrap();
    assert_eq!(desk.stand()[1], "40");
    desk.rig.advance(Duration::from_nanos(1));
    // Its record does not stand yet, and nobody can tell.
    assert_eq!(desk.status(&held.id), Ok(ReservationStatus::TimedOut));
    let event = desk.event("60");
    assert!(matches!(desk.commit(&held.id, &event), Err(Refused::Gone(_))));
    assert!(matches!(desk.release(&held.id), Err(Refused::Gone(_))));
    assert_eq!(desk.stand(), stand("100", "100", "0", "0"));
    let mut desk = desk.killed(Crash::DropsAll);
    assert!(matches!(desk.commit(&held.id, &event), Err(Refused::Gone(_))));
    assert_eq!(desk.rig.ingest(&[event]).unwrap().new, 1);
    assert_eq!(desk.stand(), stand("40", "40", "0", "0"));
    // Whoever reserves at that instant finds what another's end has given back.
    let all = desk.reserve("40").unwrap();
    desk.rig.advance(Duration::from_mins(10));
    assert!(desk.reserve("40").is_ok());
    assert_eq!(desk.status(&all.id), Ok(ReservationStatus::TimedOut));
}

#[test]
fn what_is_free_and_what_waits_is_given_to_one_alone() {
    let free = Plan { free_threshold: 100, ratio: "10", ..PLAIN };
    let mut desk = Desk::new(tokens(), &[free]);
    let held = |desk: &mut Desk, amount: &str| desk.reserve(amount).unwrap().credits().to_string();
    assert_eq!(held(&mut desk, "100"), "0");
    let drawn: Vec<_> = (0..20).map(|_| held(&mut desk, "1")).collect();
    let whole = drawn.iter().filter(|drawn| *drawn == "1").count();
    assert_eq!((whole, drawn.len()), (2, 20));
    assert_eq!(held(&mut desk, "979"), "97");
    assert_eq!(desk.checked("1").cover.map(|hold| hold.balance), Some(credits("1")));
    assert_eq!(desk.reserve("11"), Err(Refused::NotCovered));
}

#[test]
fn of_a_largest_value_the_value_that_is_reached_is_asked() {
    let max = Aggregation::Max { key: "tokens".to_owned() };
    let mut desk = Desk::new(max, &[PLAIN]);
    let held = desk.reserve("40").unwrap();
    let event = desk.event("40");
    desk.commit(&held.id, &event).unwrap();
    assert_eq!(desk.checked("30").credits, Credits::ZERO);
    assert_eq!(desk.checked("45").credits, credits("5"));
    // Either may come alone.
    assert_eq!(desk.reserve("60").unwrap().credits(), credits("20"));
    assert_eq!(desk.reserve("60").unwrap().credits(), credits("20"));
    assert_eq!(desk.stand(), stand("60", "20", "0", "0"));
}

#[test]
fn only_an_event_of_that_customer_and_meter_commits() {
    let mut desk = Desk::plain();
    let held = desk.reserve("10").unwrap();
    desk.rig.ingest(&[Sent::new("x", "c1")]).unwrap();
    for customer in ["c1", "c2"] {
        let other = Sent::new("y", customer).with_tokens("1");
        assert_eq!(field(desk.commit(&held.id, &other)), "event.customer_id");
    }
    let uncounted = [Sent::new("y", "c0"), Sent { name: "other".to_owned(), ..desk.event("1") }];
    for event in uncounted {
        assert_eq!(field(desk.commit(&held.id, &event)), "event");
    }
    assert_eq!(desk.stand(), stand("100", "90", "0", "0"));
    assert_eq!(desk.status(&held.id), Ok(ReservationStatus::Open));
    let event = desk.event("10");
    assert!(desk.commit(&held.id, &event).is_ok());
}

#[test]
fn of_subscriptions_that_pay_differently_one_is_named() {
    let mut desk = Desk::new(tokens(), &[]);
    let refused = |desk: &mut Desk, ask: Ask| {
        let check = desk.rig.engine.check_credits(&ask).map(drop);
        let slot = desk.submit(ask);
        let reserve = desk.settled(&slot).map(drop);
        assert_eq!(check, reserve);
        if let Err(Refused::NotFound(what)) = check {
            return format!("no {what}");
        }
        field(check)
    };
    let plain = desk.ask("1");
    assert_eq!(refused(&mut desk, plain.clone()), "meter_id");
    let mut alike = [desk.subscribe(&PLAIN), desk.subscribe(&PLAIN)];
    alike.sort();
    assert_eq!(desk.checked("1").subscription.id, alike[0]);
    let other = desk.subscribe(&Plan { ratio: "2", ..PLAIN });
    assert_eq!(refused(&mut desk, plain.clone()), "subscription_id");
    let named = |id: &SubscriptionId| Ask { subscription_id: Some(id.clone()), ..plain.clone() };
    for (id, drawn) in [(&alike[0], "4"), (&alike[1], "4"), (&other, "2")] {
        let ask = Ask { amount: units("4"), ..named(id) };
        let asked = desk.rig.engine.check_credits(&ask).unwrap();
        assert_eq!((&asked.subscription.id, asked.credits), (id, credits(drawn)));
    }
    let none = SubscriptionId::new("sub_none");
    assert_eq!(refused(&mut desk, named(&none)), "no subscription");
    let stranger = Ask { customer_id: CustomerId::new("c9"), ..plain.clone() };
    assert_eq!(refused(&mut desk, stranger), "no customer");
    let nothing = Ask { meter_id: MeterId::new("mtr_none"), ..plain.clone() };
    assert_eq!(refused(&mut desk, nothing), "no meter");
    desk.rig.ingest(&[Sent::new("x", "c1")]).unwrap();
    let others = Ask { customer_id: CustomerId::new("c1"), ..named(&other) };
    assert_eq!(refused(&mut desk, others), "subscription_id");
}

#[test]
fn so_many_are_open_and_no_more() {
    let options = Options { reservations_max: 2, ..options() };
    let mut desk = Desk::with_options(options, tokens(), &[PLAIN]);
    let first = desk.reserve("1").unwrap();
    desk.reserve("1").unwrap();
    assert_eq!(desk.reserve("1"), Err(Refused::TooManyReservations));
    assert_eq!(desk.rig.engine.stats().credit_reservations_open, 2);
    desk.release(&first.id).unwrap();
    assert_eq!(desk.rig.engine.stats().credit_reservations_open, 1);
    assert!(desk.reserve("1").is_ok());
}
