//! What a price would bill for an example of usage: a subscription to it begins, uses that much, turns once
//! and is closed, by the very functions that do so when it is real. Nothing is reckoned here.

use std::sync::Arc;
use std::time::Duration;

use crate::billing::close::{Bill, Closed, Consumption, Overflow, Prices, Reading, close_cycle};
use crate::billing::credits::{Attached, Draw, DrawTerms, Ids, Mark, Pool, Usage, passage};
use crate::billing::lifecycle::{Draft, activate, subscribe, turn};
use crate::billing::{Measure, close::first_bill};
use crate::model::checkout::Purchase;
use crate::model::credit::GrantOrder;
use crate::model::customer::Metadata;
use crate::model::invoice::OverageLine;
use crate::model::price::Recurrence;
use crate::model::product::TaxCategory;
use crate::model::subscription::BillingAddress;
use crate::model::{
    Attachment, CreditEntitlement, Credits, CustomerIndex, Lsn, Meter, PaymentId, Price,
    PriceVersion, Product, ProductId, ProductIndex, Quantity, Subscription, SubscriptionId,
    SubscriptionIndex, Terms, Timestamp,
};

/// A price, how many of it, and what is used of each of its meters.
#[derive(Clone, Copy, Debug)]
pub struct Example<'a> {
    /// What the product is called.
    pub name: &'a str,
    /// What it costs.
    pub price: &'a Price,
    /// How many; at least one.
    pub quantity: u32,
    /// One a meter of the price, in its order.
    pub usage: &'a [Quantity],
    /// Every meter, by its index.
    pub meters: &'a [Meter],
    /// The entitlements that the price hands out.
    pub entitlements: &'a [Arc<CreditEntitlement>],
    /// When the subscription begins.
    pub at: Timestamp,
}

/// What it comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worked {
    /// The bill of a cycle with the next one's fixed price, or of the purchase.
    pub bill: Bill,
    /// What became of the credits of the cycle, in the price's order.
    pub credits: Vec<WorkedCredits>,
}

/// Credits of a cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkedCredits {
    /// Of this entitlement.
    pub entitlement: Arc<CreditEntitlement>,
    /// What was granted.
    pub granted: Credits,
    /// What usage drew, covered or not.
    pub drawn: Credits,
    /// What went beyond the grant as overage.
    pub overage: Credits,
    /// What nothing covered, and nobody pays.
    pub uncovered: Credits,
}

/// The one price of the one product of an example.
const TERMS: Terms = Terms { product: ProductIndex(0), version: PriceVersion::FIRST };

/// Works an example out.
///
/// # Errors
/// [`Overflow`], also when the dates of a cycle cannot be written.
pub fn work_out(example: Example<'_>) -> Result<Worked, Overflow> {
    let products = [Arc::new(product(example))];
    let prices = Prices { products: &products, meters: example.meters };
    let Some(recurrence) = example.price.recurrence() else {
        let (quantity, credits) = (example.quantity, Vec::new());
        let once = Purchase { terms: TERMS, quantity, amount: None, credits };
        let bill = first_bill(None, &[once], prices)?;
        return Ok(Worked { bill, credits: granted_once(example) });
    };
    let begun = begin(recurrence, example).ok_or(Overflow)?;
    let turned = turn(&begun, Duration::ZERO).map_err(|_| Overflow)?;
    let closing = turned.closing.first().copied().ok_or(Overflow)?;
    let (credits, overage) = draw((&begun, &turned), example);
    let readings = example.usage.iter().map(|consumed| Reading { consumed: *consumed, lsns: None });
    let readings: Vec<Reading> = readings.collect();
    let consumption = Consumption { readings: &readings, overage: &overage };
    let Closed { bill, .. } = close_cycle(&turned, &closing, consumption, prices)?;
    Ok(Worked { bill, credits })
}

/// A product that has nothing but a price and a name.
fn product(example: Example<'_>) -> Product {
    Product {
        id: ProductId::new("example"),
        index: TERMS.product,
        name: example.name.to_owned(),
        description: None,
        tax_category: TaxCategory::Saas,
        metadata: Metadata::default(),
        prices: vec![example.price.clone()],
        created_at: example.at,
        updated_at: example.at,
        archived: false,
    }
}

/// The subscription as it begins; nothing when its dates cannot be written. It renews at the end of the
/// cycle, however short the term.
fn begin(recurrence: &Recurrence, example: Example<'_>) -> Option<Subscription> {
    let draft = Draft {
        id: SubscriptionId::new("example"),
        index: SubscriptionIndex(0),
        customer: CustomerIndex(0),
        terms: TERMS,
        quantity: example.quantity,
        credits: Arc::new(example.price.credits.clone()),
        interval: recurrence.payment_frequency,
        subscription_period: recurrence.subscription_period,
        trial_days: 0,
        on_demand: false,
        first_payment: PaymentId::new("example"),
        billing: Arc::new(BillingAddress {
            country: String::new(),
            city: None,
            state: None,
            street: None,
            zipcode: None,
        }),
        customer_business_name: None,
        tax_id: None,
        metadata: Metadata::default(),
        created_at: example.at,
    };
    let mut begun = activate(&subscribe(draft).ok()?, example.at).ok()?;
    // A term of one cycle would end with it, and the close would show no renewal.
    begun.cycle.expires_at = Timestamp::MAX;
    Some(begun)
}

/// Credits of a purchase: nothing draws on them.
fn granted_once(example: Example<'_>) -> Vec<WorkedCredits> {
    let granted = example.price.credits.iter().filter_map(|attachment| {
        Some(WorkedCredits {
            entitlement: entitlement(attachment, example)?,
            granted: attachment.amount.times(example.quantity),
            drawn: Credits::ZERO,
            overage: Credits::ZERO,
            uncovered: Credits::ZERO,
        })
    });
    granted.collect()
}

fn entitlement(attachment: &Attachment, example: Example<'_>) -> Option<Arc<CreditEntitlement>> {
    let mut known = example.entitlements.iter();
    known.find(|known| known.index == attachment.entitlement).cloned()
}

/// Grants the credits of the cycle, lets usage draw on them and ends it: what became of them, and what the
/// close bills beyond them.
fn draw(
    (begun, turned): (&Subscription, &Subscription),
    example: Example<'_>,
) -> (Vec<WorkedCredits>, Vec<OverageLine>) {
    let (mut worked, mut lines) = (Vec::new(), Vec::new());
    let (started, ended) = (passage(None, begun), passage(Some(begun), turned));
    let segment = begun.running.map(|segment| segment.number);
    for attachment in &example.price.credits {
        let Some(entitlement) = entitlement(attachment, example) else { continue };
        let ids = &mut Ids::of(Lsn::ZERO);
        let mut pool = Pool::new(attachment.entitlement, begun.customer);
        let own = Some(attachment);
        drop(pool.pass(&started, begun.index, Attached { before: None, after: own }, ids));
        let granted = pool.balance_at(example.at);
        let drawn = drawn(attachment, example);
        let draw = Draw {
            subscription: begun.index,
            amount: drawn,
            overage: attachment.terms.overage,
            low_below: None,
            order: GrantOrder::OldestFirst,
            now: example.at,
        };
        drop(pool.draw(&draw, ids));
        let (overage, uncovered) = (pool.overage(), pool.totals().uncovered);
        drop(pool.pass(&ended, begun.index, Attached { before: own, after: own }, ids));
        lines.extend(pool.dues(begun.index, segment).map(|due| OverageLine {
            entitlement: entitlement.index,
            name: entitlement.name.clone(),
            unit: entitlement.unit.clone(),
            credits: due.credits,
            price: due.price,
        }));
        worked.push(WorkedCredits { entitlement, granted, drawn, overage, uncovered });
    }
    (worked, lines)
}

/// What the usage of all linked meters draws on one entitlement.
fn drawn(attachment: &Attachment, example: Example<'_>) -> Credits {
    let linked = example.price.meters().iter().zip(example.usage).filter_map(|(meter, used)| {
        let link = meter.rate.credits()?;
        if link.entitlement != attachment.entitlement {
            return None;
        }
        let terms = DrawTerms {
            free_threshold: meter.free_threshold,
            units_per_credit: link.units_per_credit,
            precision: attachment.precision,
        };
        let known = example.meters.get(meter.meter.position())?;
        let usage = match Measure::of(&known.aggregation) {
            Measure::Additive => Usage::By(*used),
            Measure::Level => Usage::To(*used),
        };
        Some(Mark::default().enter(usage, &terms))
    });
    Credits::sum(linked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::credit::{
        CreditLink, CreditProration, CreditTerms, OverageBehavior, OverageTerms, RolloverTerms,
    };
    use crate::model::price::{Interval, IntervalUnit, MeterPrice, PriceKind};
    use crate::model::{
        Aggregation, Currency, EntitlementId, EntitlementIndex, MeterId, MeterIndex, Money, Rate,
        UnitPrice, UnitsPerCredit,
    };

    const MONTH: Interval = Interval { count: 1, unit: IntervalUnit::Month };

    fn at() -> Timestamp {
        Timestamp::parse("2026-01-31T10:00:00Z").unwrap()
    }

    fn meter() -> Meter {
        Meter {
            id: MeterId::new("mtr_1"),
            index: MeterIndex(0),
            name: "Calls".to_owned(),
            description: None,
            event_name: "call".to_owned(),
            measurement_unit: "calls".to_owned(),
            aggregation: Aggregation::Count,
            filter: None,
            created_at: at(),
            updated_at: at(),
            archived: false,
        }
    }

    fn terms(behavior: OverageBehavior, limit: Option<i128>) -> CreditTerms {
        let limit = limit.map(|limit| Credits::from_units(limit * 1_000_000_000_000));
        CreditTerms {
            overage: OverageTerms {
                is_enabled: true,
                limit,
                behavior,
                price: Some(UnitPrice::parse("3").unwrap()),
                currency: Currency::from_code("USD"),
            },
            rollover: RolloverTerms {
                is_enabled: false,
                percentage: None,
                timeframe: None,
                count_max: None,
            },
            expires_after_days: None,
        }
    }

    fn entitlement(terms: CreditTerms) -> Arc<CreditEntitlement> {
        Arc::new(CreditEntitlement {
            id: EntitlementId::new("cde_1"),
            index: EntitlementIndex(4),
            name: "Compute".to_owned(),
            description: None,
            unit: "credits".to_owned(),
            precision: 1,
            terms,
            created_at: at(),
            updated_at: at(),
            deleted: false,
        })
    }

    /// 49.00 a month, which lasts no longer, and this rate beyond 10 free calls.
    fn price(rate: Rate, credits: Vec<Attachment>) -> Price {
        let recurrence =
            Recurrence { payment_frequency: MONTH, subscription_period: MONTH, trial_days: 9 };
        let meter = MeterPrice {
            meter: MeterIndex(0),
            rate,
            free_threshold: 10,
            minimum: None,
            maximum: Some(Money::from_minor(70_000)),
        };
        Price {
            currency: Currency::from_code("USD").unwrap(),
            fixed: Money::from_minor(4_900),
            discount_bps: 0,
            tax_inclusive: false,
            purchasing_power_parity: false,
            kind: PriceKind::UsageBased { recurrence, meters: vec![meter] },
            credits,
        }
    }

    fn worked(price: &Price, used: u64, quantity: u32) -> Result<Worked, Overflow> {
        let known = price.credits.first().map(|credits| entitlement(credits.terms));
        work_out(Example {
            name: "Plan",
            price,
            quantity,
            usage: &[Quantity::from_count(used)],
            meters: &[meter()],
            entitlements: known.as_slice(),
            at: at(),
        })
    }

    fn amounts(price: &Price, used: u64) -> Vec<i64> {
        let worked = worked(price, used, 2).unwrap();
        worked.bill.lines.iter().map(|line| line.amount.as_minor()).collect()
    }

    #[test]
    fn a_cycle_is_the_next_fixed_price_and_the_usage_of_the_one_that_ends() {
        let price = price(Rate::PerUnit(UnitPrice::parse("2.5").unwrap()), Vec::new());
        assert_eq!(amounts(&price, 0), [9_800, 0]);
        assert_eq!(amounts(&price, 11), [9_800, 3]);
        assert_eq!(amounts(&price, 100_000), [9_800, 70_000], "the most of a period");
        assert_eq!(worked(&price, 11, 2).unwrap().bill.total, Money::from_minor(9_803));
        let worked = worked(&Price { fixed: Money::from_minor(i64::MAX), ..price }, 0, 2);
        assert_eq!(worked, Err(Overflow));
    }

    fn drawn(behavior: OverageBehavior, limit: Option<i128>) -> (Vec<i64>, [i128; 4]) {
        let units_per_credit = UnitsPerCredit::new(Quantity::from_count(8)).unwrap();
        let link = CreditLink { entitlement: EntitlementIndex(4), units_per_credit };
        let attachment = Attachment {
            entitlement: EntitlementIndex(4),
            precision: 1,
            amount: Credits::from_units(5_000_000_000_000),
            trial_amount: Some(Credits::from_units(1)),
            trial_expires: false,
            low_balance_percent: Some(50),
            proration: CreditProration::NoProrate,
            terms: terms(behavior, limit),
        };
        let price = price(Rate::Credits(link), vec![attachment]);
        let worked = worked(&price, 110, 1).unwrap();
        let [WorkedCredits { granted, drawn, overage, uncovered, .. }] = &worked.credits[..] else {
            panic!("{worked:?}");
        };
        let tenths = |credits: &Credits| credits.as_units() / 100_000_000_000;
        let credits = [granted, drawn, overage, uncovered].map(tenths);
        let lines = worked.bill.lines.iter().map(|line| line.amount.as_minor());
        (lines.collect(), credits)
    }

    #[test]
    fn usage_beyond_credits_is_billed_as_their_terms_say() {
        // 100 calls of 8 a credit are 12.5; 5 are there.
        assert_eq!(
            drawn(OverageBehavior::InvoiceAtBilling, None),
            (vec![4_900, 0, 23], [50, 125, 75, 0])
        );
        assert_eq!(
            drawn(OverageBehavior::InvoiceAtBilling, Some(4)),
            (vec![4_900, 0, 12], [50, 125, 40, 35])
        );
        assert_eq!(
            drawn(OverageBehavior::ForgiveAtReset, None),
            (vec![4_900, 0], [50, 125, 75, 0])
        );
    }
}
