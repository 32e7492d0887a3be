//! What settings of credits come to, whoever changes them.

use crate::engine::command::Refused;
use crate::engine::command::credits::CreditTermsPatch;
use crate::model::credit::{CreditTerms, OverageBehavior, OverageTerms, RolloverTerms};
use crate::model::price::Interval;

/// The settings of an entitlement of which nothing was said.
pub(super) const DEFAULT: CreditTerms = CreditTerms {
    overage: OverageTerms {
        is_enabled: false,
        limit: None,
        behavior: OverageBehavior::ForgiveAtReset,
        price: None,
        currency: None,
    },
    rollover: RolloverTerms {
        is_enabled: false,
        percentage: None,
        timeframe: None,
        count_max: None,
    },
    expires_after_days: None,
};

/// The settings after a change, which hold together.
///
/// # Errors
/// When they do not; names a member behind `prefix`, which is empty or ends with a point.
pub(super) fn changed(
    base: CreditTerms,
    patch: &CreditTermsPatch,
    prefix: &str,
) -> Result<CreditTerms, Refused> {
    let CreditTerms { overage, rollover, expires_after_days } = base;
    let behavior = patch.overage_behavior;
    let terms = CreditTerms {
        overage: OverageTerms {
            is_enabled: patch.overage_enabled.unwrap_or(overage.is_enabled),
            limit: patch.overage_limit.unwrap_or(overage.limit),
            behavior: behavior
                .map_or(overage.behavior, |behavior| behavior.unwrap_or(DEFAULT.overage.behavior)),
            price: patch.price_per_unit.unwrap_or(overage.price),
            currency: patch.currency.unwrap_or(overage.currency),
        },
        rollover: RolloverTerms {
            is_enabled: patch.rollover_enabled.unwrap_or(rollover.is_enabled),
            percentage: patch.rollover_percentage.unwrap_or(rollover.percentage),
            timeframe: timeframe(rollover.timeframe, patch, prefix)?,
            count_max: patch.rollover_count_max.unwrap_or(rollover.count_max),
        },
        expires_after_days: patch.expires_after_days.unwrap_or(expires_after_days),
    };
    if terms.overage.is_enabled && terms.overage.price.is_none() {
        return Err(missing(prefix, "price_per_unit", "overage_enabled"));
    }
    if terms.overage.price.is_some() && terms.overage.currency.is_none() {
        return Err(missing(prefix, "currency", "price_per_unit"));
    }
    Ok(terms)
}

/// How long credits live that have rolled over: count and unit, or neither.
fn timeframe(
    base: Option<Interval>,
    patch: &CreditTermsPatch,
    prefix: &str,
) -> Result<Option<Interval>, Refused> {
    let count = patch.rollover_timeframe_count.unwrap_or(base.map(|base| base.count));
    let unit = patch.rollover_timeframe_unit.unwrap_or(base.map(|base| base.unit));
    match (count, unit) {
        (Some(count), Some(unit)) => Ok(Some(Interval { count, unit })),
        (None, None) => Ok(None),
        (Some(_), None) => {
            Err(missing(prefix, "rollover_timeframe_interval", "rollover_timeframe_count"))
        }
        (None, Some(_)) => {
            Err(missing(prefix, "rollover_timeframe_count", "rollover_timeframe_interval"))
        }
    }
}

fn missing(prefix: &str, name: &str, needed_by: &str) -> Refused {
    Refused::Invalid {
        field: format!("{prefix}{name}"),
        message: format!("is missing: {needed_by} needs it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::price::IntervalUnit;
    use crate::model::{Currency, UnitPrice};

    fn refused(base: CreditTerms, patch: &CreditTermsPatch) -> Option<String> {
        let refused = changed(base, patch, "at.0.").err()?;
        let Refused::Invalid { field, .. } = refused else { panic!("{refused:?}") };
        Some(field)
    }

    #[test]
    fn what_belongs_together_comes_together() {
        let (price, currency) = (UnitPrice::parse("0.5").unwrap(), Currency::from_code("USD"));
        let priced = CreditTermsPatch {
            price_per_unit: Some(Some(price)),
            currency: Some(currency),
            ..CreditTermsPatch::default()
        };
        let on = CreditTermsPatch { overage_enabled: Some(true), ..priced };
        let full = changed(DEFAULT, &on, "").unwrap();
        let keep = CreditTermsPatch::default();
        let table = [
            (DEFAULT, CreditTermsPatch { overage_enabled: Some(true), ..keep }, "price_per_unit"),
            (DEFAULT, CreditTermsPatch { currency: None, ..priced }, "currency"),
            (full, CreditTermsPatch { price_per_unit: Some(None), ..keep }, "price_per_unit"),
            (full, CreditTermsPatch { currency: Some(None), ..keep }, "currency"),
        ];
        for (base, patch, field) in table {
            assert_eq!(refused(base, &patch), Some(format!("at.0.{field}")), "{patch:?}");
        }
        // A currency alone, or a price that nobody asks for, does no harm.
        for patch in [priced, CreditTermsPatch { price_per_unit: None, ..priced }, on] {
            assert_eq!(refused(DEFAULT, &patch), None, "{patch:?}");
        }
        let off = CreditTermsPatch {
            overage_enabled: Some(false),
            price_per_unit: Some(None),
            currency: Some(None),
            ..keep
        };
        assert_eq!(changed(full, &off, "").unwrap(), DEFAULT);
    }

    #[test]
    fn a_timeframe_is_a_count_and_a_unit_or_neither() {
        let patch = |count, unit| CreditTermsPatch {
            rollover_timeframe_count: count,
            rollover_timeframe_unit: unit,
            ..CreditTermsPatch::default()
        };
        let (count, month) = ("rollover_timeframe_count", "rollover_timeframe_interval");
        let base = changed(DEFAULT, &patch(Some(Some(2)), Some(Some(IntervalUnit::Month))), "");
        let base = base.unwrap();
        let check = |base: CreditTerms, count, unit, expected: Result<Option<u32>, &str>| {
            let found = changed(base, &patch(count, unit), "at.0.");
            let found = found.map(|terms| terms.rollover.timeframe.map(|frame| frame.count));
            let found = found.map_err(|_refused| refused(base, &patch(count, unit)).unwrap());
            assert_eq!(found, expected.map_err(|field| format!("at.0.{field}")));
        };
        check(base, None, None, Ok(Some(2)));
        check(base, Some(Some(3)), None, Ok(Some(3)));
        check(base, Some(None), Some(None), Ok(None));
        check(base, Some(None), None, Err(count));
        check(base, None, Some(None), Err(month));
        check(DEFAULT, Some(Some(3)), None, Err(month));
        check(DEFAULT, None, Some(Some(IntervalUnit::Day)), Err(count));
    }

    #[test]
    fn what_is_cleared_has_no_end_and_is_forgiven() {
        let some = CreditTermsPatch {
            overage_behavior: Some(Some(OverageBehavior::CarryDeficit)),
            rollover_enabled: Some(true),
            rollover_percentage: Some(Some(75)),
            rollover_count_max: Some(Some(3)),
            expires_after_days: Some(Some(30)),
            ..CreditTermsPatch::default()
        };
        let terms = changed(DEFAULT, &some, "").unwrap();
        assert_eq!(terms.overage.behavior, OverageBehavior::CarryDeficit);
        let rollover = (terms.rollover.percentage, terms.rollover.count_max);
        assert_eq!((rollover, terms.expires_after_days), ((Some(75), Some(3)), Some(30)));
        assert_eq!(changed(terms, &CreditTermsPatch::default(), "").unwrap(), terms);
        let none = CreditTermsPatch {
            overage_behavior: Some(None),
            rollover_enabled: Some(false),
            rollover_percentage: Some(None),
            rollover_count_max: Some(None),
            expires_after_days: Some(None),
            ..CreditTermsPatch::default()
        };
        assert_eq!(changed(terms, &none, "").unwrap(), DEFAULT);
    }
}
