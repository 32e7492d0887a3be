//! A line of usage for people: how its amount came about, a tier a line.

use super::{major, point_moved};
use crate::http::rate::{packages, price_text};
use crate::model::invoice::UsageLine;
use crate::model::rate::{Bound, TierMode, TierShare};
use crate::model::{Currency, Money, Rate, UnitPrice, Used};

/// The quantity, the price of one, and how they came about line by line.
pub(super) fn usage(usage: &UsageLine, currency: Currency) -> (String, String, Vec<String>) {
    let mut how = vec![format!("used {}, free {}", usage.consumed, usage.free_threshold)];
    how.extend(earlier(&usage.used, currency));
    let (quantity, price) = match &usage.rate {
        Rate::PerUnit(price) => (usage.chargeable.to_string(), unit_price(Some(*price), currency)),
        Rate::Package { size, price } => {
            how.push(format!("{} in packages of {size}", usage.chargeable));
            // A line that was made has counted them.
            let count = packages(usage).map_or_else(String::new, |count| count.to_string());
            (count, unit_price(Some(*price), currency))
        }
        Rate::Tiered { mode, .. } => {
            how.extend(usage.shares.iter().map(|share| tier(*mode, share, currency)));
            (usage.chargeable.to_string(), "by tier".to_owned())
        }
        Rate::Credits(link) => {
            how.push(format!("one credit covers {}", link.units_per_credit));
            (usage.chargeable.to_string(), "in credits".to_owned())
        }
    };
    how.extend(bound(usage, currency));
    (quantity, price, how)
}

fn tier(mode: TierMode, share: &TierShare, currency: Currency) -> String {
    let place = match share.up_to {
        Some(end) => format!("tier up to {end}"),
        None => "last tier".to_owned(),
    };
    let whose = match mode {
        TierMode::Graduated => "",
        TierMode::Volume => "all ",
    };
    let price = unit_price(share.price_per_unit, currency);
    let fee = match share.flat_fee {
        Money::ZERO => String::new(),
        fee => format!(", flat fee {}", major(fee, currency)),
    };
    format!("{place}: {whose}{} at {price}{fee}", share.units)
}

fn earlier(used: &Used, currency: Currency) -> Option<String> {
    let (units, amount) = (used.billed, major(used.amount, currency));
    (*used != Used::default())
        .then(|| format!("earlier in this period: used {}, paid {units} for {amount}", used.total))
}

fn bound(usage: &UsageLine, currency: Currency) -> Option<String> {
    let (word, amount) = match usage.bound? {
        Bound::Minimum => ("minimum", usage.minimum?),
        Bound::Maximum => ("maximum", usage.maximum?),
    };
    Some(format!("{word} of a period: {}", major(amount, currency)))
}

/// A price in the major unit, with all its digits.
pub(crate) fn unit_price(price: Option<UnitPrice>, currency: Currency) -> String {
    point_moved(&price_text(price), currency.minor_digits() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::document::tests::usage as sample;
    use crate::model::rate::Tier;
    use crate::model::{CreditLink, EntitlementIndex, Quantity, UnitsPerCredit};

    fn check(line: &UsageLine, quantity: &str, price: &str, how: &[&str]) {
        let expected = (quantity.to_owned(), price.to_owned());
        let (found, found_price, lines) = usage(line, Currency::from_code("USD").unwrap());
        assert_eq!(
            ((found, found_price), lines),
            (expected, how.iter().map(|line| (*line).to_owned()).collect())
        );
    }

    fn tiered(mode: TierMode) -> Rate {
        let two = UnitPrice::parse("2").unwrap();
        let end = Some(Quantity::from_count(1_000));
        let tiers = vec![
            Tier { up_to: end, price_per_unit: Some(two), flat_fee: Money::from_minor(500) },
            Tier { up_to: None, price_per_unit: None, flat_fee: Money::ZERO },
        ];
        Rate::Tiered { mode, tiers }
    }

    #[test]
    fn tiers_stand_below_each_other() {
        let used = "used 2500, free 1000";
        check(
            &sample(tiered(TierMode::Graduated), 1_000, 2_500),
            "1500",
            "by tier",
            &[used, "tier up to 1000: 1000 at 0.02, flat fee 5.00", "last tier: 500 at 0"],
        );
        let volume = sample(tiered(TierMode::Volume), 1_000, 2_500);
        check(&volume, "1500", "by tier", &[used, "last tier: all 1500 at 0"]);
        let nothing = sample(tiered(TierMode::Volume), 1_000, 10);
        check(&nothing, "0", "by tier", &["used 10, free 1000"]);
    }

    #[test]
    fn what_is_paid_in_credits_says_how_much_one_covers() {
        let units_per_credit = UnitsPerCredit::new(Quantity::from_count(1_000)).unwrap();
        let link = CreditLink { entitlement: EntitlementIndex(0), units_per_credit };
        let lines = ["used 2500, free 1000", "one credit covers 1000"];
        check(&sample(Rate::Credits(link), 1_000, 2_500), "1500", "in credits", &lines);
    }

    #[test]
    fn packages_are_counted_and_bounds_and_earlier_parts_said() {
        let price = UnitPrice::parse("250").unwrap();
        let line = sample(Rate::Package { size: 400, price }, 1_000, 2_500);
        let packages = "1500 in packages of 400";
        check(&line, "4", "2.5", &["used 2500, free 1000", packages]);
        let one = Quantity::from_count(1);
        let line = UsageLine {
            bound: Some(Bound::Maximum),
            maximum: Some(Money::from_minor(900)),
            used: Used { total: one, high: one, billed: one, amount: Money::from_minor(250) },
            ..line
        };
        let earlier = "earlier in this period: used 1, paid 1 for 2.50";
        let lines = ["used 2500, free 1000", earlier, packages, "maximum of a period: 9.00"];
        check(&line, "4", "2.5", &lines);
        let line = UsageLine {
            bound: Some(Bound::Minimum),
            minimum: Some(Money::from_minor(5)),
            used: Used::default(),
            ..line
        };
        let lines = ["used 2500, free 1000", packages, "minimum of a period: 0.05"];
        check(&line, "4", "2.5", &lines);
    }
}
