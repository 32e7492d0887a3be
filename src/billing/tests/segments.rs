//! Rating against a model that counts on its fingers: it walks through a period in quarters of a unit,
//! remembers which it has met, and asks of each one what it costs.

use proptest::collection;
use proptest::prelude::*;

use crate::billing::{Measure, Rated, rate};
use crate::model::price::MeterPrice;
use crate::model::rate::{Bound, Tier, TierMode, TierShare};
use crate::model::{
    CreditLink, EntitlementIndex, MeterIndex, Money, Number, Quantity, Rate, UnitPrice,
    UnitsPerCredit, Used,
};

/// Units of a quantity in a quarter.
const QUARTER: i128 = 250_000_000_000;

fn quarters(count: i64) -> Quantity {
    Quantity::from_units(i128::from(count) * QUARTER)
}

fn quantity(text: &str) -> Quantity {
    Number::new(text).unwrap().to_quantity().unwrap()
}

fn unit_price(text: &str) -> UnitPrice {
    UnitPrice::parse(text).unwrap()
}

fn money(units: i64) -> Money {
    Money::from_minor(units)
}

fn priced(rate: Rate) -> MeterPrice {
    MeterPrice { meter: MeterIndex(0), rate, free_threshold: 0, minimum: None, maximum: None }
}

fn tier(up_to: Option<&str>, price: &str, flat_fee: i64) -> Tier {
    let price_per_unit = (price != "0").then(|| unit_price(price));
    Tier { up_to: up_to.map(quantity), price_per_unit, flat_fee: money(flat_fee) }
}

/// Up to 100 at 2 with a fee of 500, up to 1000 at 1, and the rest for nothing with a fee of 50.
fn three_tiers(mode: TierMode) -> MeterPrice {
    let tiers = vec![tier(Some("100"), "2", 500), tier(Some("1000"), "1", 0), tier(None, "0", 50)];
    priced(Rate::Tiered { mode, tiers })
}

fn whole(consumed: &str, price: &MeterPrice) -> Rated {
    rate(quantity(consumed), Measure::Additive, price, &Used::default(), true).unwrap()
}

/// A price in eighths of a minor unit, in tiers whose ends are in quarters.
#[derive(Clone, Debug)]
struct Sketch {
    kind: Kind,
    free: u64,
    minimum: Option<i64>,
    maximum: Option<i64>,
}

#[derive(Clone, Debug)]
enum Kind {
    PerUnit(i64),
    Package { size: i64, price: i64 },
    Tiered { mode: TierMode, tiers: Vec<SketchTier> },
}

/// The last one's end does not count.
#[derive(Clone, Debug)]
struct SketchTier {
    quarters: i64,
    eighths: i64,
    flat_fee: i64,
}

impl Sketch {
    fn price(&self) -> MeterPrice {
        let eighths =
            |eighths: i64| unit_price(&format!("{}.{:03}", eighths / 8, eighths % 8 * 125));
        let rate = match &self.kind {
            Kind::PerUnit(price) => Rate::PerUnit(eighths(*price)),
            Kind::Package { size, price } => {
                Rate::Package { size: u64::try_from(*size).unwrap(), price: eighths(*price) }
            }
            Kind::Tiered { mode, tiers } => {
                let mut end = 0;
                let tiers = tiers.iter().enumerate().map(|(place, tier)| {
                    end += tier.quarters;
                    Tier {
                        up_to: (place + 1 < tiers.len()).then(|| quarters(end)),
                        price_per_unit: (tier.eighths > 0).then(|| eighths(tier.eighths)),
                        flat_fee: money(tier.flat_fee),
                    }
                });
                Rate::Tiered { mode: *mode, tiers: tiers.collect() }
            }
        };
        MeterPrice {
            meter: MeterIndex(0),
            rate,
            free_threshold: self.free,
            minimum: self.minimum.map(money),
            maximum: self.maximum.map(money),
        }
    }

    fn free_quarters(&self) -> i64 {
        i64::try_from(self.free).unwrap() * 4
    }
}

/// The place of the tier into which the quarter with this number falls, the first of them 1.
fn tier_of(tiers: &[SketchTier], quarter: i64) -> usize {
    let ends = tiers.iter().scan(0, |end, tier| {
        *end += tier.quarters;
        Some(*end)
    });
    ends.take(tiers.len() - 1).filter(|end| quarter > *end).count()
}

/// What the quarters cost that come after `before` others, in 32nds of a minor unit.
fn cost(kind: &Kind, before: i64, charged: i64) -> i64 {
    let numbers = before + 1..=before + charged;
    match kind {
        Kind::PerUnit(price) => numbers.map(|_| price).sum(),
        Kind::Package { size, price } => {
            // A package costs when its first quarter is met.
            numbers.filter(|number| (number - 1) % (size * 4) == 0).map(|_| price * 4).sum()
        }
        Kind::Tiered { mode: TierMode::Graduated, tiers } => numbers
            .map(|number| {
                let place = tier_of(tiers, number);
                let is_first = number == 1 || tier_of(tiers, number - 1) != place;
                tiers[place].eighths + if is_first { tiers[place].flat_fee * 32 } else { 0 }
            })
            .sum(),
        Kind::Tiered { mode: TierMode::Volume, tiers } => {
            let Some(last) = numbers.last() else { return 0 };
            let place = tier_of(tiers, last);
            let was_there = before > 0 && tier_of(tiers, before) == place;
            charged * tiers[place].eighths + if was_there { 0 } else { tiers[place].flat_fee * 32 }
        }
    }
}

/// What the model remembers of a period, in quarters and minor units.
#[derive(Default)]
struct Naive {
    total: i64,
    /// The most that usage was; every quarter of a sum up to here was met, free or paid.
    met: i64,
    charged: i64,
    amount: i64,
}

impl Naive {
    /// The quarters charged and the amount of a segment.
    fn bill(
        &mut self,
        consumed: i64,
        measure: Measure,
        sketch: &Sketch,
        ends_period: bool,
    ) -> (i64, i64) {
        let free = sketch.free_quarters();
        let (before, charged) = match measure {
            Measure::Additive => {
                self.total += consumed;
                let new = (self.met + 1..=self.total).filter(|number| *number > free).count();
                let before = (1..=self.met).filter(|number| *number > free).count();
                self.met = self.met.max(self.total);
                (i64::try_from(before).unwrap(), i64::try_from(new).unwrap())
            }
            Measure::Level => {
                self.met = self.met.max(consumed);
                let over = (1..=consumed).filter(|number| *number > free + self.charged).count();
                (self.charged, i64::try_from(over).unwrap())
            }
        };
        self.charged += charged;
        let cost = cost(&sketch.kind, before, charged);
        let mut amount = cost / 32 + i64::from(cost % 32 >= 16);
        if let Some(maximum) = sketch.maximum {
            amount = amount.min((maximum - self.amount).max(0));
        }
        if let (true, Some(minimum)) = (ends_period, sketch.minimum) {
            amount = amount.max(minimum - self.amount);
        }
        self.amount += amount;
        (charged, amount)
    }
}

fn any_tier() -> impl Strategy<Value = SketchTier> {
    let eighths = prop_oneof![Just(0_i64), 1_i64..40];
    (1_i64..30, eighths, prop_oneof![Just(0_i64), 1_i64..200])
        .prop_map(|(quarters, eighths, flat_fee)| SketchTier { quarters, eighths, flat_fee })
}

fn any_kind() -> impl Strategy<Value = Kind> {
    let mode = prop_oneof![Just(TierMode::Graduated), Just(TierMode::Volume)];
    prop_oneof![
        1 => (1_i64..100).prop_map(Kind::PerUnit),
        1 => (1_i64..9, 1_i64..100).prop_map(|(size, price)| Kind::Package { size, price }),
        4 => (mode, collection::vec(any_tier(), 1..5))
            .prop_map(|(mode, tiers)| Kind::Tiered { mode, tiers }),
    ]
}

fn any_sketch() -> impl Strategy<Value = Sketch> {
    let bound = || proptest::option::weighted(0.3, 0_i64..600);
    (any_kind(), prop_oneof![Just(0_u64), 0_u64..12], bound(), bound()).prop_map(
        |(kind, free, one, other)| {
            let (minimum, maximum) = match (one, other) {
                (Some(one), Some(other)) => (Some(one.min(other)), Some(one.max(other))),
                bounds => bounds,
            };
            Sketch { kind, free, minimum, maximum }
        },
    )
}

fn any_measure() -> impl Strategy<Value = Measure> {
    prop_oneof![Just(Measure::Additive), Just(Measure::Level)]
}

/// The amounts of a period's segments, the last of which ends it, and what is used then.
fn in_segments(consumed: &[i64], measure: Measure, price: &MeterPrice) -> (Vec<i64>, Used) {
    let mut used = Used::default();
    let mut amounts = Vec::new();
    for (place, consumed_here) in consumed.iter().enumerate() {
        let ends = place + 1 == consumed.len();
        let rated = rate(quarters(*consumed_here), measure, price, &used, ends).unwrap();
        amounts.push(rated.amount.as_minor());
        used = rated.used;
    }
    (amounts, used)
}

proptest! {
    #[test]
    fn a_period_in_segments_costs_what_fingers_count(
        segments in collection::vec((-30_i64..120, any_sketch()), 1..6),
        measure in any_measure(),
    ) {
        let (mut naive, mut used) = (Naive::default(), Used::default());
        for (place, (consumed, sketch)) in segments.iter().enumerate() {
            let ends_period = place + 1 == segments.len();
            let expected = naive.bill(*consumed, measure, sketch, ends_period);
            let price = sketch.price();
            let rated = rate(quarters(*consumed), measure, &price, &used, ends_period).unwrap();
            prop_assert_eq!((rated.chargeable, rated.amount.as_minor()), (quarters(expected.0), expected.1));
            assert_shares_add_up(&rated, &price);
            used = rated.used;
            prop_assert_eq!((used.billed, used.amount.as_minor()), (quarters(naive.charged), naive.amount));
            prop_assert_eq!((used.total, used.high), (quarters(naive.total), quarters(naive.met)));
        }
    }

    #[test]
    fn cuts_under_one_price_change_nothing_that_is_owed(
        consumed in collection::vec(-20_i64..80, 1..6),
        sketch in any_sketch(),
    ) {
        // Whole minor units a quarter, so that rounding hides no difference.
        let kind = match sketch.kind {
            Kind::PerUnit(price) => Kind::PerUnit(price * 32),
            Kind::Package { size, price } => Kind::Package { size, price: price * 32 },
            Kind::Tiered { tiers, .. } => {
                let whole = |tier: SketchTier| SketchTier { eighths: tier.eighths * 32, ..tier };
                let tiers = tiers.into_iter().map(whole).collect();
                Kind::Tiered { mode: TierMode::Graduated, tiers }
            }
        };
        let sketch = Sketch { kind, ..sketch };
        let unbounded = Sketch { minimum: None, maximum: None, ..sketch.clone() };
        // What a sum has reached once it has been billed, so the whole is the highest that it was.
        let mut total = 0;
        let totals = consumed.iter().map(|consumed| { total += consumed; total });
        let highest = totals.max().unwrap();
        let (amounts, used) = in_segments(&consumed, Measure::Additive, &unbounded.price());
        prop_assert!(amounts.iter().all(|amount| *amount >= 0));
        let (at_once, used_at_once) = in_segments(&[highest], Measure::Additive, &unbounded.price());
        prop_assert_eq!(amounts.iter().sum::<i64>(), at_once[0]);
        prop_assert_eq!(used.billed, used_at_once.billed);
        let (amounts, used) = in_segments(&consumed, Measure::Additive, &sketch.price());
        let most = sketch.maximum.unwrap_or(i64::MAX);
        let expected = at_once[0].min(most).max(sketch.minimum.unwrap_or(0));
        prop_assert_eq!(amounts.iter().sum::<i64>(), expected, "each bound once a period");
        prop_assert_eq!(used.amount.as_minor(), expected);
    }

    #[test]
    fn the_largest_of_all_segments_is_paid_whatever_their_number(
        consumed in collection::vec(-20_i64..80, 1..6),
        free in 0_u64..12,
    ) {
        let price = MeterPrice { free_threshold: free, ..priced(Rate::PerUnit(unit_price("4"))) };
        let (amounts, _) = in_segments(&consumed, Measure::Level, &price);
        let largest = consumed.iter().max().unwrap();
        let (at_once, _) = in_segments(&[*largest], Measure::Level, &price);
        prop_assert_eq!(amounts.iter().sum::<i64>(), at_once[0]);
    }

    #[test]
    fn what_is_paid_in_credits_has_the_same_units_and_costs_nothing(
        consumed in collection::vec(-40_i64..400, 1..6),
        free in 0_u64..50,
        is_level in any::<bool>(),
    ) {
        let units_per_credit = UnitsPerCredit::new(Quantity::from_count(3)).unwrap();
        let link = CreditLink { entitlement: EntitlementIndex(0), units_per_credit };
        let measure = if is_level { Measure::Level } else { Measure::Additive };
        let (mut in_money, mut in_credits) = (Used::default(), Used::default());
        for consumed in consumed {
            let units = |rate_kind, used: &Used| {
                let price = MeterPrice { free_threshold: free, ..priced(rate_kind) };
                rate(quarters(consumed), measure, &price, used, true).unwrap()
            };
            let paid = units(Rate::PerUnit(unit_price("2")), &in_money);
            let drawn = units(Rate::Credits(link), &in_credits);
            (in_money, in_credits) = (paid.used, drawn.used);
            prop_assert_eq!((drawn.chargeable, drawn.position), (paid.chargeable, paid.position));
            prop_assert_eq!((drawn.amount, drawn.bound, drawn.shares), (Money::ZERO, None, vec![]));
            prop_assert_eq!(in_credits, Used { amount: Money::ZERO, ..in_money });
        }
    }

    #[test]
    fn tiers_of_one_price_cost_what_units_do(
        units in 0..10_i128.pow(28),
        before in 0..10_i128.pow(28),
        ends in collection::vec(1..10_i128.pow(28), 0..6),
        price_units in 1_u64..10_u64.pow(14),
    ) {
        let price = unit_price(&format!("{}.{:012}", price_units / 10_u64.pow(12), price_units % 10_u64.pow(12)));
        let mut end = 0;
        let ends = ends.iter().map(|more| { end += more; Some(Quantity::from_units(end)) });
        let of = |up_to| Tier { up_to, price_per_unit: Some(price), flat_fee: Money::ZERO };
        let tiers: Vec<Tier> = ends.chain([None]).map(of).collect();
        let before = Quantity::from_units(before);
        let used = Used { total: before, high: before, billed: before, amount: Money::ZERO };
        let amount = |rate_kind| {
            let price = priced(rate_kind);
            let rated = rate(Quantity::from_units(units), Measure::Additive, &price, &used, true);
            rated.map(|rated| rated.amount)
        };
        let expected = amount(Rate::PerUnit(price));
        for mode in [TierMode::Graduated, TierMode::Volume] {
            prop_assert_eq!(amount(Rate::Tiered { mode, tiers: tiers.clone() }), expected);
        }
        prop_assert!(expected.is_some());
    }
}

fn assert_shares_add_up(rated: &Rated, price: &MeterPrice) {
    match &price.rate {
        Rate::PerUnit(_) | Rate::Package { .. } | Rate::Credits(_) => {
            assert_eq!(rated.shares, []);
        }
        Rate::Tiered { tiers, .. } => {
            let units = rated.shares.iter().map(|share| share.units.as_units());
            assert_eq!(units.sum::<i128>(), rated.chargeable.as_units());
            for share in &rated.shares {
                assert!(share.units > Quantity::ZERO);
                let tier = tiers.iter().find(|tier| tier.up_to == share.up_to).unwrap();
                assert_eq!(share.price_per_unit, tier.price_per_unit);
                assert!([Money::ZERO, tier.flat_fee].contains(&share.flat_fee));
            }
        }
    }
}

#[test]
fn each_unit_costs_what_its_tier_does() {
    let price = three_tiers(TierMode::Graduated);
    for (consumed, amount) in [
        ("-5", 0),
        ("0", 0),
        ("0.25", 501),
        ("0.2", 500),
        ("100", 700),
        ("100.5", 701),
        ("1000", 1_600),
        ("1000.000000000001", 1_650),
        ("9999999", 1_650),
    ] {
        assert_eq!(whole(consumed, &price).amount, money(amount), "{consumed}");
    }
    let share = |up_to: Option<&str>, units, price: Option<&str>, flat_fee| TierShare {
        up_to: up_to.map(quantity),
        units: quantity(units),
        price_per_unit: price.map(unit_price),
        flat_fee: money(flat_fee),
    };
    let expected = [
        share(Some("100"), "100", Some("2"), 500),
        share(Some("1000"), "900", Some("1"), 0),
        share(None, "500.5", None, 50),
    ];
    assert_eq!(whole("1500.5", &price).shares, expected);
}

#[test]
fn every_unit_costs_what_the_last_ones_tier_does() {
    let price = three_tiers(TierMode::Volume);
    for (consumed, amount) in
        [("-5", 0), ("0", 0), ("100", 700), ("100.5", 101), ("1000", 1_000), ("1001", 50)]
    {
        assert_eq!(whole(consumed, &price).amount, money(amount), "{consumed}");
    }
}

#[test]
fn a_package_that_was_begun_costs_as_much_as_a_whole_one() {
    let price = priced(Rate::Package { size: 1_000, price: unit_price("250") });
    let price = MeterPrice { free_threshold: 500, ..price };
    for (consumed, amount) in
        [("500", 0), ("500.000000000001", 250), ("1500", 250), ("1500.5", 500), ("-1", 0)]
    {
        assert_eq!(whole(consumed, &price).amount, money(amount), "{consumed}");
    }
}

#[test]
fn bounds_hold_for_the_period_and_say_so() {
    let price = MeterPrice {
        minimum: Some(money(500)),
        maximum: Some(money(900)),
        ..priced(Rate::PerUnit(unit_price("1")))
    };
    let mut used = Used::default();
    let mut bill = |consumed, ends_period| {
        let rated =
            rate(quantity(consumed), Measure::Additive, &price, &used, ends_period).unwrap();
        used = rated.used;
        (rated.amount.as_minor(), rated.bound)
    };
    assert_eq!(bill("100", false), (100, None));
    assert_eq!(bill("-50", false), (0, None));
    assert_eq!(bill("60", true), (400, Some(Bound::Minimum)));
    assert_eq!(bill("1000", false), (400, Some(Bound::Maximum)));
    assert_eq!(bill("1000", true), (0, Some(Bound::Maximum)));
    assert_eq!(whole("0", &price).amount, money(500));
    let found = [("500", None), ("900", None), ("901", Some(Bound::Maximum))];
    assert!(found.iter().all(|(consumed, bound)| whole(consumed, &price).bound == *bound));
}

#[test]
fn what_leaves_its_integers_or_its_tiers_is_not_rated() {
    let of = |consumed, measure, price: &MeterPrice, used: &Used| {
        rate(Quantity::from_units(consumed), measure, price, used, true).map(|rated| rated.amount)
    };
    let (none, most) = (Used::default(), i128::MAX);
    let units = priced(Rate::PerUnit(unit_price("1")));
    assert_eq!(of(most, Measure::Additive, &units, &none), None, "the amount");
    assert_eq!(of(i128::MIN, Measure::Level, &units, &none), Some(Money::ZERO));
    let full = Used { total: Quantity::from_units(most), ..none };
    assert_eq!(of(1, Measure::Additive, &units, &full), None, "the total");
    let full = Used { billed: Quantity::from_units(most), ..none };
    assert_eq!(of(0, Measure::Level, &units, &full), Some(Money::ZERO));
    let free = MeterPrice { free_threshold: 1, ..units.clone() };
    assert_eq!(of(0, Measure::Level, &free, &full), None, "what is free or paid");
    let full = Used { amount: money(i64::MAX), ..none };
    assert_eq!(of(QUARTER * 4, Measure::Additive, &units, &full), None, "the period's amount");
    let packages = priced(Rate::Package { size: 1, price: unit_price("99999") });
    assert_eq!(of(most, Measure::Additive, &packages, &none), None, "the packages");
    let fees = |up_to, flat_fee| Tier { up_to, price_per_unit: None, flat_fee: money(flat_fee) };
    let tiers = vec![fees(Some(quarters(1)), i64::MAX), fees(Some(quarters(8)), 1)];
    let fees = priced(Rate::Tiered { mode: TierMode::Graduated, tiers: tiers.clone() });
    assert_eq!(of(QUARTER, Measure::Additive, &fees, &none), Some(money(i64::MAX)));
    assert_eq!(of(QUARTER * 2, Measure::Additive, &fees, &none), None, "the fees");
    let capped = MeterPrice { maximum: Some(money(700)), ..fees };
    assert_eq!(of(QUARTER * 2, Measure::Additive, &capped, &none), Some(money(700)));
    for mode in [TierMode::Graduated, TierMode::Volume] {
        let short = priced(Rate::Tiered { mode, tiers: tiers.clone() });
        assert_eq!(of(QUARTER * 9, Measure::Additive, &short, &none), None, "tiers that end");
    }
}
